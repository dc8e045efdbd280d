//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{
    Arg, ArgGroup, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint,
};
use muster_api::MAX_UNITS;
use muster_model::{AppName, UnitName, WorkloadStatus};

/// Run Grafana Mimir, Loki and Tempo as a coordinator and its workers.
#[derive(Debug, Parser)]
#[command(
    name = "muster",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 the answer is no (a wait timed out, a check found errors), 2 wrong usage or failure."
)]
pub(crate) struct Arguments {
    /// The model on this machine: a name, or a path with a '/' in it
    #[arg(
        short,
        long,
        global = true,
        env = "MUSTER_MODEL",
        default_value = "default",
        value_name = "NAME|PATH"
    )]
    pub(crate) model: OsString,
    /// Who chose the model.
    #[arg(skip)]
    pub(crate) model_from: ModelFrom,
    /// When to use colours
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: ColorWhen,
    /// Where a cluster is.
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Who chose the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ModelFrom {
    /// Nobody.
    #[default]
    Default,
    /// `MUSTER_MODEL`.
    Environment,
    /// `--model`.
    Flag,
}

/// Where a cluster is, and which namespace of it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Kubernetes")]
pub(crate) struct Cluster {
    /// Work on the cluster of this kubeconfig context
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The namespace, which is the model there; the context's own where none is given
    #[arg(short, long, global = true, value_name = "NAME", value_parser = namespace)]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig; $KUBECONFIG or ~/.kube/config where none is given
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) kubeconfig: Option<PathBuf>,
}

impl Cluster {
    /// The flag that says that a cluster is meant, if one is given.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        let given = [
            ("--context", self.context.is_some()),
            ("--namespace", self.namespace.is_some()),
            ("--kubeconfig", self.kubeconfig.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }
}

/// `--namespace` for verbs that have another `-n` of Juju's.
fn long_namespace() -> Arg {
    Arg::new("namespace")
        .long("namespace")
        .value_name("NAME")
        .value_parser(namespace)
        .help("The namespace, which is the model there; the context's own where none is given")
        .help_heading("Kubernetes")
}

/// The name that the program was called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// `muster`.
    Muster,
    /// `kubectl muster`, which kubectl runs as `kubectl-muster`.
    Plugin,
}

impl Program {
    /// Tells from the first word of a command line.
    pub(crate) fn of(first: Option<&OsString>) -> Self {
        if called(first, "kubectl-muster") { Self::Plugin } else { Self::Muster }
    }

    /// What a person types.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Muster => "muster",
            Self::Plugin => "kubectl muster",
        }
    }
}

/// Whether kubectl asks how words after `kubectl muster` could be completed.
pub(crate) fn is_completion(first: Option<&OsString>) -> bool {
    called(first, "kubectl_complete-muster")
}

fn called(first: Option<&OsString>, name: &str) -> bool {
    first.and_then(|first| Path::new(first).file_name()).is_some_and(|file| file == name)
}

impl Arguments {
    /// Reads a command line, whose first word is the program's own name.
    pub(crate) fn read(program: Program, words: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command: Command = Self::command().bin_name(program.as_str());
        let matches = command.try_get_matches_from_mut(words)?;
        let mut arguments = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        arguments.model_from = match matches.value_source("model") {
            Some(ValueSource::CommandLine) => ModelFrom::Flag,
            Some(ValueSource::EnvVariable) => ModelFrom::Environment,
            _ => ModelFrom::Default,
        };
        Ok(arguments)
    }
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Verb {
    /// Run a model on this machine until Ctrl-C
    Up(Up),
    /// Verbs on a model that runs.
    #[command(flatten)]
    Model(ModelVerb),
    /// Explain a product's roles, a charm's options, statuses and reasons, a rule, or an application
    Explain(Explain),
    /// Check files of YAML documents without a running model
    Check(Check),
    /// Print a shell's completion script
    ///
    /// kubectl completes `kubectl muster` by itself where kubectl_complete-muster on PATH is a link to muster.
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print a man page
    Man {
        /// The verb to describe; the whole tool where none is given
        verb: Option<String>,
    },
    /// Print docs/reference/cli.md
    #[command(hide = true)]
    GenerateDocs,
    /// Serve the embedded S3 of a model; its agent runs this
    #[command(hide = true)]
    ObjectStore(ObjectStore),
}

/// What to do with a model that runs.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ModelVerb {
    /// Show applications, units and endpoints
    Status(Status),
    /// Add an application
    Deploy(Deploy),
    /// Read or change an application's options
    Config(Config),
    /// Show what a change of options, or a file, would change in the workload's config and in nginx.conf
    Diff(Diff),
    /// Show the steps that files would take, or that are left to take, and what each means for writes, queries and data
    Plan(Plan),
    /// Relate two applications
    #[command(visible_alias = "relate")]
    Integrate(Pair),
    /// Take a relation away
    RemoveRelation(Pair),
    /// Remove an application and its units
    RemoveApplication(Remove),
    /// Set how many units an application has
    #[command(visible_alias = "scale-application")]
    Scale(Scale),
    /// Run an action on a unit
    Run(Run),
    /// Wait until an application has a status
    WaitFor(WaitFor),
    /// Show what units last wrote
    DebugLog(DebugLog),
    /// Print the model as YAML documents
    Export(Export),
}

/// Arguments of `up`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Up {
    /// YAML documents to start with; those of an earlier `up` where none is given
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Look for workload binaries here, before PATH. Repeatable
    #[arg(long = "bin", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) search: Vec<PathBuf>,
    /// The nginx to use as load balancer; the one on PATH where none is given
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) nginx: Option<PathBuf>,
}

/// Arguments of `object-store`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ObjectStore {
    /// The directory of the buckets
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// A file with the access key and the secret key, a line each
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: PathBuf,
}

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Status {
    /// Show only these: application names, unit names, or statuses such as blocked
    pub(crate) select: Vec<String>,
    /// Show every change until Ctrl-C; looks every SECONDS (1 where not given)
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) watch: Option<u16>,
    /// Show what is under way instead: the phases, what they wait for and why, and the steps that are left
    #[arg(long, conflicts_with = "watch")]
    pub(crate) transition: bool,
    /// The form of the output
    #[arg(short, long, default_value = "tabular", value_name = "FORMAT")]
    pub(crate) output: StatusFormat,
}

/// Arguments of `deploy`.
#[derive(Debug, Clone, Args)]
#[command(arg(long_namespace()))]
pub(crate) struct Deploy {
    /// The charm: {mimir,loki,tempo}-{coordinator,worker}-k8s or s3-integrator
    pub(crate) charm: String,
    /// The application's name; the charm's where none is given
    pub(crate) name: Option<AppName>,
    /// How many units
    #[arg(short = 'n', long, visible_alias = "num-units", default_value_t = 1, value_name = "N", value_parser = units)]
    pub(crate) units: u32,
    /// An option's value, or @FILE to read it from a file, @- from standard input. Repeatable
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Read the S3 secret key from this file: the same as --config secret-key=@FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret_key_file: Option<String>,
}

/// Arguments of `config`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Config {
    /// The application
    pub(crate) app: AppName,
    /// KEY prints one value, KEY=VALUE sets it, KEY=@FILE reads it from a file; without any, all options are listed
    #[arg(value_name = "KEY[=VALUE]")]
    pub(crate) settings: Vec<String>,
    /// Set options back to their defaults. Repeatable, or separated by commas
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub(crate) reset: Vec<String>,
    /// Show the steps that it would take, as plan does, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The form of the list of options, or of the steps
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// Arguments of `diff`.
#[derive(Debug, Clone, Args)]
#[command(
    group(ArgGroup::new("what").required(true).args(["app", "file"])),
    after_help = "Exit codes: 0 nothing would change, 1 something would, 2 wrong usage, failure, or an edit that would be refused."
)]
pub(crate) struct Diff {
    /// The application. Without options, what is published is compared with what would be published now
    pub(crate) app: Option<AppName>,
    /// An option's value as for config. Nothing is set
    #[arg(value_name = "KEY=VALUE", conflicts_with = "file")]
    pub(crate) settings: Vec<String>,
    /// Options that would be set back to their defaults. Repeatable, or separated by commas
    #[arg(long, value_name = "KEY", value_delimiter = ',', conflicts_with = "file")]
    pub(crate) reset: Vec<String>,
    /// YAML documents as muster up and kubectl apply take them; - is standard input
    #[arg(short, long, visible_alias = "filename", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// The form of the answer; a unified diff where none is given
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// Arguments of `plan`.
#[derive(Debug, Clone, Args)]
#[command(after_help = PLAN_EXIT_CODES)]
pub(crate) struct Plan {
    /// YAML documents as muster up and kubectl apply take them; - is standard input. Without any, what is left to do is shown
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// The form of the answer; text where none is given
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// What `plan` answers, and every verb with `--dry-run`.
const PLAN_EXIT_CODES: &str = "Exit codes: 0 nothing is to be done, 1 something is, 2 wrong usage, failure, or an edit that would be refused.";

/// Whether a verb only says what it would do.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DryRun {
    /// Show the steps that it would take, as plan does, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The form of the steps; text where none is given
    #[arg(short, long, value_name = "FORMAT", requires = "dry_run")]
    pub(crate) output: Option<Format>,
}

/// Two applications.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pair {
    /// One application, with an endpoint where it matters which
    #[arg(value_name = "APP[:ENDPOINT]")]
    pub(crate) one: Side,
    /// The other
    #[arg(value_name = "APP[:ENDPOINT]")]
    pub(crate) other: Side,
    /// Whether to look only.
    #[command(flatten)]
    pub(crate) look: DryRun,
}

/// One side of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    /// The application.
    pub(crate) app: AppName,
    /// The endpoint, where one is given.
    pub(crate) endpoint: Option<String>,
}

impl std::str::FromStr for Side {
    type Err = muster_model::NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (app, endpoint) = match text.split_once(':') {
            Some((app, endpoint)) => (app, Some(endpoint.to_owned())),
            None => (text, None),
        };
        Ok(Self { app: app.parse()?, endpoint })
    }
}

/// Arguments of `remove-application`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remove {
    /// The application
    pub(crate) app: AppName,
    /// Do not ask
    #[arg(short, long, visible_alias = "no-prompt")]
    pub(crate) yes: bool,
    /// Whether to look only.
    #[command(flatten)]
    pub(crate) look: DryRun,
}

/// Arguments of `scale`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scale {
    /// The application
    pub(crate) app: AppName,
    /// How many units
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_UNITS)))]
    pub(crate) units: u32,
    /// Whether to look only.
    #[command(flatten)]
    pub(crate) look: DryRun,
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Actions:\n  abandon-data  Let a unit go that is to leave and cannot upload what it holds, and lose that\n\n\
                  Without --yes-i-lose it says what is at risk and changes nothing.\n\n\
                  Exit codes: 0 done, 1 nothing was given up, 2 wrong usage or failure."
)]
pub(crate) struct Run {
    /// The unit, as application/number
    pub(crate) unit: UnitName,
    /// The action
    pub(crate) action: Option<String>,
    /// What is lost, in the words that the action prints
    #[arg(long, value_name = "WHAT")]
    pub(crate) yes_i_lose: Option<String>,
}

/// Arguments of `wait-for`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitFor {
    /// The application
    pub(crate) app: AppName,
    /// The status to wait for. For active, all units that are asked for must be there and active too
    #[arg(long, default_value = "active", value_parser = status_word)]
    pub(crate) status: WorkloadStatus,
    /// How long to wait, for example 90s, 5m or 1h30m
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Arguments of `debug-log`.
#[derive(Debug, Clone, Args)]
#[command(arg(long_namespace()))]
pub(crate) struct DebugLog {
    /// Show only these units, or all units of these applications
    pub(crate) select: Vec<String>,
    /// How many lines of each unit
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N", value_parser = lines)]
    pub(crate) lines: usize,
}

/// Arguments of `explain`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Explain {
    /// PRODUCT [VERSION], a charm, a status, a reason, an application, "options CHARM", "application APP",
    /// "statuses" or "replication-factor"
    #[arg(num_args = 0..=2)]
    pub(crate) topic: Vec<String>,
}

/// Arguments of `export`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Export {
    /// Print the values of Secrets too
    #[arg(long)]
    pub(crate) show_secrets: bool,
    /// The form of the output
    #[arg(short, long, default_value = "yaml", value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Where the product's own binary is found, it checks the config as on a unit, and nginx the load balancer's document. \
                  The object store is not asked, and its keys are not used.\n\n\
                  Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage, or a check that could not be carried out."
)]
pub(crate) struct Check {
    /// Files of YAML documents, read as one model; - is standard input
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// Look for workload binaries here, before PATH: each product's own binary checks the config that it would be given. Repeatable
    #[arg(long = "bin", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) search: Vec<PathBuf>,
    /// The nginx that checks the load balancer's config; the one on PATH where none is given
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) nginx: Option<PathBuf>,
    /// The form of the findings
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The forms of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    /// Tables for people
    Tabular,
    /// The stable form of docs/reference/status.md
    Json,
    /// The same as YAML
    Yaml,
}

/// Forms for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// All statuses, from the best to the worst.
pub(crate) const STATUSES: [WorkloadStatus; 5] = [
    WorkloadStatus::Active,
    WorkloadStatus::Waiting,
    WorkloadStatus::Maintenance,
    WorkloadStatus::Blocked,
    WorkloadStatus::Error,
];

/// The status that a word names.
pub(crate) fn status_word(word: &str) -> Result<WorkloadStatus, String> {
    STATUSES
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| format!("use one of {}", STATUSES.map(WorkloadStatus::as_str).join(", ")))
}

/// Reads the `-n` of `deploy`, where people who know kubectl write a namespace.
fn units(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| *n <= MAX_UNITS).ok_or_else(|| {
        format!("use a number of units from 0 to {MAX_UNITS}; a namespace is given with --namespace")
    })
}

/// Reads the `-n` of `debug-log`, likewise.
fn lines(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=100_000).contains(n)).ok_or_else(|| {
        "use a number of lines from 1 to 100000; a namespace is given with --namespace".to_owned()
    })
}

/// Checks a namespace's name, which becomes part of a path.
fn namespace(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_label {
        Ok(text.to_owned())
    } else {
        Err("write at most 63 lower-case letters, digits and '-', neither first nor last".to_owned())
    }
}

/// Reads a duration of hours, minutes and seconds, each a whole number with its unit: `90s`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || "write whole numbers with h, m or s, for example 90s, 5m or 1h30m".to_owned();
    let mut seconds = 0_u64;
    let mut number = String::new();
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(refuse()),
        };
        let amount: u64 = number.parse().map_err(|_| refuse())?;
        number.clear();
        seconds = amount.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(refuse)?;
    }
    if text.is_empty() || !number.is_empty() || seconds > 365 * 24 * 3600 {
        Err(refuse())
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, ErrorKind> {
        Arguments::try_parse_from(std::iter::once("muster").chain(words.iter().copied()))
            .map_err(|e| e.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_issue_s_lines_are_understood() {
        let line = [
            "deploy",
            "mimir-worker-k8s",
            "--config",
            "role-read=true",
            "--config",
            "role-all=false",
            "mimir-read",
            "-n",
            "2",
        ];
        let Verb::Model(ModelVerb::Deploy(deploy)) = parse(&line).unwrap().verb else { panic!() };
        assert_eq!(
            (deploy.charm.as_str(), deploy.name.unwrap().as_str(), deploy.units),
            ("mimir-worker-k8s", "mimir-read", 2)
        );
        assert_eq!(deploy.settings, ["role-read=true", "role-all=false"]);
        let Verb::Model(ModelVerb::Status(status)) =
            parse(&["status", "--watch", "mimir", "-o", "json"]).unwrap().verb
        else {
            panic!()
        };
        assert_eq!(
            (status.watch, status.select, status.output),
            (Some(1), vec!["mimir".to_owned()], StatusFormat::Json)
        );
        let Verb::Model(ModelVerb::Integrate(pair)) = parse(&["integrate", "mimir:s3", "s3"]).unwrap().verb
        else {
            panic!()
        };
        assert_eq!(pair.one.endpoint.as_deref(), Some("s3"));
        assert_eq!(pair.other, Side { app: AppName::new("s3").unwrap(), endpoint: None });
        let Verb::Model(ModelVerb::WaitFor(wait)) = parse(&["wait-for", "mimir"]).unwrap().verb else {
            panic!()
        };
        assert_eq!((wait.status, wait.timeout), (WorkloadStatus::Active, Duration::from_secs(300)));
        assert_eq!(parse(&["status", "-m", "./here"]).unwrap().model, "./here");
    }

    #[test]
    fn a_namespace_stands_before_or_after_the_verb() {
        for words in [
            &["-n", "team", "status"][..],
            &["status", "-n", "team"],
            &["scale", "mimir", "2", "--namespace", "team"],
            &["--namespace=team", "deploy", "c", "-n", "2"],
            &["deploy", "c", "-n", "2", "--namespace", "team"],
            &["debug-log", "-n", "5", "--namespace", "team"],
            &["-n", "team", "debug-log", "-n", "5"],
        ] {
            let arguments = parse(words).unwrap();
            assert_eq!(arguments.cluster.namespace.as_deref(), Some("team"), "{words:?}");
            assert_eq!(arguments.cluster.flag(), Some("--namespace"));
            if let Verb::Model(ModelVerb::Deploy(deploy)) = arguments.verb {
                assert_eq!(deploy.units, 2);
            }
        }
        let error = |words: &[&str]| {
            let words = std::iter::once("muster").chain(words.iter().copied());
            Arguments::try_parse_from(words).unwrap_err().to_string()
        };
        for words in [&["deploy", "c", "-n", "team"][..], &["debug-log", "-n", "team"]] {
            assert!(error(words).contains("--namespace"), "{}", error(words));
        }
        for bad in ["", "a/b", "..", "A", "-a", "a-", &"a".repeat(64)] {
            assert!(parse(&["status", &format!("--namespace={bad}")]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_plugin_is_the_same_program_under_another_name() {
        let read = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let program = Program::of(words.first());
            (program, Arguments::read(program, words))
        };
        let (program, arguments) = read(&["/usr/bin/kubectl-muster", "status", "--context", "dev"]);
        assert_eq!((program, arguments.unwrap().cluster.context.as_deref()), (Program::Plugin, Some("dev")));
        let usage = |words: &[&str]| read(words).1.unwrap_err().to_string();
        assert!(usage(&["kubectl-muster", "scale", "--help"]).contains("Usage: kubectl muster scale"));
        assert!(usage(&["muster", "scale", "--help"]).contains("Usage: muster scale"));
        assert_eq!(read(&["muster", "-m", "x", "status"]).1.unwrap().model_from, ModelFrom::Flag);
        assert_eq!(read(&["muster", "status", "-m", "x"]).1.unwrap().model_from, ModelFrom::Flag);
        assert_eq!(Program::of(None), Program::Muster);
    }

    #[test]
    fn wrong_usage_is_refused() {
        let long = "a".repeat(1 << 20);
        for words in [
            &["no-such-verb"][..],
            &[],
            &["scale", "mimir"],
            &["scale", "mimir", "-1"],
            &["scale", "mimir", "10001"],
            &["scale", "mimir", "many"],
            &["scale", "Mimir", "1"],
            &["scale", &long, "1"],
            &["scale", "", "1"],
            &["deploy"],
            &["deploy", "c", "n", "-n", "1", "-n", "2"],
            &["integrate", "mimir"],
            &["integrate", ":x", "mimir"],
            &["status", "--watch=0"],
            &["status", "-o", "xml"],
            &["wait-for", "mimir", "--timeout", "5"],
            &["wait-for", "mimir", "--status", "happy"],
            &["debug-log", "-n", "0"],
            &["check"],
            &["diff"],
            &["diff", "a=b"],
            &["diff", "mimir", "-f", "file"],
            &["diff", "-f", "file", "--reset", "a"],
            &["explain", "a", "b", "c"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        assert!(
            Arguments::try_parse_from([bytes(b"muster"), bytes(b"scale"), bytes(b"\xff"), bytes(b"1")])
                .is_err()
        );
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in
            ["", "5", "m", "-1s", "1.5s", "5d", "99999999999999999999s", "18446744073709551615h", "1 s"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
