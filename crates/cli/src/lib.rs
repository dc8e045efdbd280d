//! `muster`: the user's tool, which kubectl knows as `kubectl muster`.
//!
//! A verb that works on a model is written once, in [`verbs`], against [`substrate::Substrate`]; [`local`] is the one
//! on this machine, [`kubernetes`] the one on a cluster, and [`place`] decides between them. What a verb does to
//! documents is pure and stands apart: [`deploy`](mod@deploy), [`options`], [`relations`]. Everything that is written
//! goes through [`printer::Printer`]: data to standard output, talk to standard error. Start reading at [`args`].

mod applications;
mod args;
mod check;
mod config_check;
mod deploy;
mod diff;
mod explain;
mod failure;
#[cfg(test)]
mod fake;
mod kubernetes;
mod local;
mod location;
mod object_store;
mod options;
mod place;
mod printer;
mod programs;
mod reference;
mod relations;
mod settings;
mod status_view;
mod substrate;
mod table;
mod text;
mod transition_view;
mod up;
mod verbs;

use std::env;
use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use muster_model::AppName;

use crate::args::{Arguments, ColorWhen, ModelVerb, Program, Verb};
use crate::explain::Topic;
use crate::failure::{Answer, Failure};
use crate::kubernetes::{Kubernetes, is_cluster_known};
use crate::local::Local;
use crate::location::{Location, locate};
use crate::place::{Place, Said, There, choose};
use crate::printer::{Printer, Screen};
use crate::substrate::Substrate;

/// Wrong usage, or the work could not be done.
const FAILED: u8 = 2;

/// How often a verb is tried that always finds the model edited by others between its reading and its writing.
const MOST_TRIES: usize = 20;

/// Reads the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let words: Vec<_> = env::args_os().collect();
    if args::is_completion(words.first()) {
        let mut printer = Printer::new(&mut out, &mut err, Screen::detect(ColorWhen::Never));
        let candidates = reference::candidates(words.get(1..).unwrap_or_default());
        return end(printer.data(&candidates).map(|()| Answer::Yes), &mut printer);
    }
    let program = Program::of(words.first());
    let arguments = match Arguments::read(program, words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let mut printer = Printer::new(&mut out, &mut err, Screen::detect(ColorWhen::Auto));
            let answer = usage(&error, program, &mut printer);
            return end(answer, &mut printer);
        }
    };
    let mut printer = Printer::new(&mut out, &mut err, Screen::detect(arguments.color));
    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("failed to start: {e}")))
        .and_then(|runtime| runtime.block_on(run(program, arguments, &mut printer)));
    end(answer, &mut printer)
}

/// Says what failed and gives the exit code.
fn end(answer: Result<Answer, Failure>, printer: &mut Printer<'_>) -> ExitCode {
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(FAILED)
        }
    }
}

/// Prints the help that was asked for, or what is wrong with the arguments.
fn usage(error: &clap::Error, program: Program, printer: &mut Printer<'_>) -> Result<Answer, Failure> {
    let rendered = error.render();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = if printer.screen.colour { rendered.ansi().to_string() } else { rendered.to_string() };
        printer.data(&text)?;
        return Ok(Answer::Yes);
    }
    let text = rendered.to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        text.lines().for_each(|line| printer.say(line));
        return Err(Failure::new("no verb is given"));
    }
    let message = text.strip_prefix("error: ").unwrap_or(&text);
    let (message, rest) = message.split_once("\n\n").unwrap_or((message, ""));
    let hint = rest
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let hint = hint.collect::<Vec<_>>().join("; ");
    let hint = if hint.is_empty() { format!("{} --help", program.as_str()) } else { hint };
    Err(Failure::new(message.trim()).hint(hint))
}

async fn run(program: Program, arguments: Arguments, printer: &mut Printer<'_>) -> Result<Answer, Failure> {
    match &arguments.verb {
        Verb::Up(args) => {
            if let Some(flag) = arguments.cluster.flag() {
                return Err(Failure::new(format!("up runs a model on this machine; leave {flag} out")));
            }
            up::run(args.clone(), location(&arguments)?, arguments.color, printer).await
        }
        Verb::Model(verb) => on_model(Task::Verb(verb.clone()), program, &arguments, printer).await,
        Verb::Explain(args) => match explain::topic(&args.topic).map_err(Failure::new)? {
            Topic::Application(name) => on_model(Task::Explain(name), program, &arguments, printer)
                .await
                .map_err(|failure| failure.hint("what is explained without a model: muster explain")),
            topic => printer.data(&explain::text(&topic, printer.screen.width)?).map(|()| Answer::Yes),
        },
        Verb::Check(args) => check::run(args.clone(), printer).await,
        Verb::Completion { shell } => printer.bytes(&reference::completion(*shell)).map(|()| Answer::Yes),
        Verb::Man { verb } => printer.bytes(&reference::man(verb.as_deref())?).map(|()| Answer::Yes),
        Verb::ObjectStore(args) => object_store::run(args).await,
        Verb::GenerateDocs => printer.data(&reference::markdown()).map(|()| Answer::Yes),
    }
}

/// The place of the model on this machine that the arguments name.
fn location(arguments: &Arguments) -> Result<Location, Failure> {
    let (state_home, home) = (env::var_os("XDG_STATE_HOME"), env::var_os("HOME"));
    locate(&arguments.model, state_home.as_deref(), home.as_deref()).map_err(Failure::new)
}

/// What needs a model.
#[derive(Clone)]
enum Task {
    /// A verb on it.
    Verb(ModelVerb),
    /// The explanation of one of its applications.
    Explain(AppName),
}

/// Does a task with the model that is meant, wherever it is.
async fn on_model(
    task: Task,
    program: Program,
    arguments: &Arguments,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let said = Said { program, cluster_flag: arguments.cluster.flag(), model: arguments.model_from };
    let there = if said.leaves_open() { look(arguments).await } else { There::default() };
    match choose(&said, &there).map_err(Failure::new)? {
        Place::Here => {
            perform(task, &mut Local::connect(&location(arguments)?.directory).await?, printer).await
        }
        Place::Cluster => perform(task, &mut Kubernetes::connect(&arguments.cluster).await?, printer).await,
        Place::Nowhere => {
            let none = Local::connect(&location(arguments)?.directory).await;
            let mut model = none.map_err(|failure| {
                failure
                    .hint("for a model on a cluster name its kubeconfig: --kubeconfig FILE, or $KUBECONFIG")
            })?;
            perform(task, &mut model, printer).await
        }
    }
}

/// What there is to work on.
async fn look(arguments: &Arguments) -> There {
    let model = match location(arguments) {
        Ok(location) => Local::connect(&location.directory).await.is_ok(),
        Err(_) => false,
    };
    There { model, cluster: is_cluster_known() }
}

/// Does a task with a model. What others edited meanwhile is read anew.
async fn perform(
    task: Task,
    model: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    for _ in 0..MOST_TRIES {
        let answer = match task.clone() {
            Task::Verb(verb) => verbs::run(verb, model, printer).await,
            Task::Explain(name) => verbs::explain::run(&name, model, printer).await,
        };
        match answer {
            Err(Failure::Stale) => {}
            // What is missed may be what was left out.
            Err(failure) => {
                return Err(model.left_out().iter().fold(failure, |failure, line| failure.hint(line)));
            }
            answer => return answer,
        }
    }
    Err(Failure::Stale)
}
