//! `muster diff`.

use std::path::Path;

use muster_api::{Document, FORMAT_VERSION};
use muster_model::{AppName, Finding, Revision, yaml};
use muster_planner::{Change, Preview};
use serde::Serialize;
use serde_json::Value;

use crate::applications::{Applications, Nature, nature};
use crate::args;
use crate::check::{self, subject};
use crate::diff::{painted, unified};
use crate::failure::{Answer, Failure};
use crate::options;
use crate::printer::Printer;
use crate::settings;
use crate::substrate::{Depth, Proposal, Substrate};

/// The machine-readable answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    format_version: u32,
    changes: Vec<Changed>,
    /// What the edit would leave for a person to act on, or to wait for.
    warnings: Vec<Finding>,
}

/// One document that would change.
#[derive(Serialize)]
struct Changed {
    coordinator: AppName,
    /// `config` or `nginx.conf`.
    document: &'static str,
    /// The revision that is published; null where there is none.
    before: Option<Revision>,
    /// The revision that would be.
    after: Option<Revision>,
    /// The unified diff of the texts.
    diff: String,
}

/// Shows what would change, and changes nothing.
pub(crate) async fn run(
    args: args::Diff,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let (proposal, named) = match (&args.file, &args.app) {
        (Some(path), _) => {
            let documents = read(path)?;
            let named = documents.iter().filter_map(|(document, _)| coordinator(document)).collect();
            (Proposal::File(documents), named)
        }
        (None, Some(app)) => {
            let set = settings::parse(&args.settings, settings::read_file).map_err(Failure::new)?;
            let apps = Applications::new(substrate.documents().await?);
            let named = coordinator(apps.get(app)?).into_iter().collect::<Vec<_>>();
            if set.is_empty() && args.reset.is_empty() {
                (Proposal::Nothing, named)
            } else {
                (Proposal::Edit(vec![options::edit(&apps, app, &set, &args.reset)?]), named)
            }
        }
        (None, None) => return Err(Failure::new("give an application, or a file: muster diff -f FILE")),
    };
    // An option of a coordinator is nobody else's.
    let only = if args.file.is_none() { named.first() } else { None };
    let previews = substrate.preview(proposal, Depth::Documents, only).await?;

    let mut refusals = Vec::new();
    let mut answered = Answered { format_version: FORMAT_VERSION, changes: Vec::new(), warnings: Vec::new() };
    for (name, preview) in previews {
        // What was wrong before and is not what was asked about.
        if !preview.prevented.is_empty() && preview.findings.is_empty() && !named.contains(&name) {
            continue;
        }
        refusals.extend(preview.refusals().into_iter().map(said));
        answered.changes.extend(changed(&name, &preview));
        answered.warnings.extend(preview.findings);
    }
    if !refusals.is_empty() {
        return Err(Failure::new(refusals.join("; ")));
    }
    match args.output {
        Some(format) => printer.value(&answered, format)?,
        None => {
            for change in &answered.changes {
                printer.data(&painted(&change.diff, printer.screen.colour))?;
            }
            for finding in &answered.warnings {
                printer.say(&format!(
                    "WARNING {} would be {}: {}",
                    subject(finding),
                    finding.status,
                    finding.message
                ));
            }
            if answered.changes.is_empty() {
                printer.say("config and nginx.conf would stay as they are");
            }
        }
    }
    Ok(if answered.changes.is_empty() { Answer::Yes } else { Answer::No })
}

/// The documents of a file, each also as it is written.
pub(crate) fn read(path: &Path) -> Result<Vec<(Document, Value)>, Failure> {
    let refuse = |problem: &dyn std::fmt::Display| Failure::new(format!("{}: {problem}", path.display()));
    let bytes = check::read(path).map_err(Failure::new)?;
    let documents = check::parse(&bytes).map_err(|problem| refuse(&problem))?;
    let text = String::from_utf8_lossy(&bytes);
    let written = yaml::documents::<Value>(&text).map_err(|problem| refuse(&problem))?;
    if documents.is_empty() {
        return Err(refuse(&"it has no documents"));
    }
    Ok(documents.into_iter().zip(written.into_iter().filter(|value| !value.is_null())).collect())
}

/// The name of a document that is a coordinator.
pub(crate) fn coordinator(document: &Document) -> Option<AppName> {
    document.name().ok().filter(|_| nature(document) == Nature::Coordinator)
}

pub(crate) fn said(finding: &Finding) -> String {
    format!("{}: {}", subject(finding), finding.message)
}

/// The documents of a coordinator that would change.
fn changed(coordinator: &AppName, preview: &Preview) -> impl Iterator<Item = Changed> {
    let documents = [("config", &preview.config), ("nginx.conf", &preview.balancer)];
    documents.into_iter().filter_map(move |(document, change)| {
        let Change { before, after } = change;
        Some(Changed {
            coordinator: coordinator.clone(),
            document,
            before: before.as_ref().map(|before| before.revision.clone()),
            after: after.as_ref().map(|after| after.revision.clone()),
            diff: unified(&format!("{coordinator}: {document}"), change)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::fake::{Fake, MODEL};
    use crate::verbs::tests::{data, run, said};

    fn fake() -> Fake {
        Fake { documents: check::parse(covered().as_bytes()).unwrap(), ..Fake::default() }
    }

    /// The model with every role.
    fn covered() -> String {
        MODEL.replace("{all: false, read: true}", "{all: true}")
    }

    #[tokio::test]
    async fn an_option_shows_its_line_and_is_not_set() {
        let mut fake = fake();
        let done = run(&mut fake, &["diff", "mimir", "retention-period=30d"]).await;
        assert_eq!(done.as_ref().unwrap().answer, Answer::No);
        let diff = data(&done);
        assert!(diff.starts_with("--- mimir: config ") && diff.contains("\n+++ mimir: config "), "{diff}");
        assert!(diff.contains("\n+  compactor_blocks_retention_period: 30d\n"), "{diff}");
        assert!(!diff.contains("nginx.conf") && !diff.contains("hunter2"), "{diff}");
        assert!(fake.writes.is_empty());
        for words in [&["diff", "mimir"][..], &["diff", "mimir", "retention-period=0"]] {
            let done = run(&mut fake, words).await;
            assert_eq!((done.as_ref().unwrap().answer, data(&done).as_str()), (Answer::Yes, ""));
            assert_eq!(self::said(&done), "config and nginx.conf would stay as they are\n");
        }
    }

    #[tokio::test]
    async fn the_load_balancer_s_document_is_compared_too() {
        let text = covered().replace("product: mimir", "product: tempo");
        let mut fake = Fake { documents: check::parse(text.as_bytes()).unwrap(), ..Fake::default() };
        let done = run(&mut fake, &["diff", "mimir", "always-enable-zipkin=true", "-o", "json"]).await;
        let answered: Value = serde_json::from_str(&data(&done)).unwrap();
        let changes = answered["changes"].as_array().unwrap();
        let documents: Vec<_> = changes.iter().map(|change| change["document"].as_str().unwrap()).collect();
        assert_eq!(documents, ["config", "nginx.conf"], "{answered}");
        assert_eq!(answered["formatVersion"], json!(FORMAT_VERSION));
        for change in changes {
            assert_eq!(change["coordinator"], "mimir");
            assert!(change["before"].is_string() && change["before"] != change["after"], "{change}");
            assert!(change["diff"].as_str().unwrap().contains("@@"), "{change}");
        }
    }

    #[tokio::test]
    async fn what_an_object_store_s_options_change_is_shown_of_who_uses_it() {
        let mut fake = fake();
        let done = run(&mut fake, &["diff", "s3", "bucket=elsewhere"]).await;
        assert_eq!(done.as_ref().unwrap().answer, Answer::No);
        assert!(
            data(&done).starts_with("--- mimir: config ") && data(&done).contains("elsewhere"),
            "{}",
            data(&done)
        );
        let done = run(&mut fake, &["diff", "s3"]).await;
        assert_eq!((done.as_ref().unwrap().answer, data(&done).as_str()), (Answer::Yes, ""));
    }

    #[tokio::test]
    async fn mistakes_are_refused_as_config_refuses_them() {
        let mut fake = fake();
        for setting in ["retention-period=banana", "colour=red", "replication-factor=2", "secret-key=x", "x"]
        {
            let refused = run(&mut fake, &["diff", "mimir", setting]).await.unwrap_err().to_string();
            let set = run(&mut fake, &["config", "mimir", setting]).await;
            // Without a value `config` reads it.
            assert!(setting == "x" || set.unwrap_err().to_string() == refused, "{setting}: {refused}");
        }
        assert!(fake.writes.is_empty());
        let unknown = run(&mut fake, &["diff", "mimri"]).await.unwrap_err().to_string();
        assert!(unknown.contains("mimir, mimir-read, s3"), "{unknown}");
    }

    #[tokio::test]
    async fn a_file_is_compared_and_what_is_owned_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.yaml");
        let mut fake = fake();
        let mut of = async |text: &str| {
            fs::write(&path, text).unwrap();
            run(&mut fake, &["diff", "-f", path.to_str().unwrap()]).await
        };
        assert_eq!(of(&covered()).await.unwrap().answer, Answer::Yes);
        let with =
            |spec: &str| covered().replace("s3: {secret: s3}}", &format!("s3: {{secret: s3}}, {spec}}}"));
        let limited = of(&with("overrides: {limits: {ingestion_rate: 7}}")).await;
        assert!(data(&limited).contains("\n+  ingestion_rate: 7"), "{}", data(&limited));
        let owned = of(&with("overrides: {server: {http_listen_port: 1}}")).await.unwrap_err().to_string();
        assert!(owned.starts_with("mimir: ") && owned.contains("http_listen_port"), "{owned}");
        let bare = of(&covered().replace(", s3: {secret: s3}", "")).await.unwrap_err().to_string();
        assert!(bare.contains("no S3 relation"), "{bare}");
        let roles = of(&covered().replace("{all: true}", "{read: true}")).await;
        assert_eq!(roles.as_ref().unwrap().answer, Answer::Yes);
        let warned = self::said(&roles);
        assert!(warned.contains("WARNING mimir would be blocked: missing required roles"), "{warned}");
        let keys = of(&covered().replace("hunter2", "hunter3")).await;
        assert_eq!(keys.as_ref().unwrap().answer, Answer::No);
        assert!(
            data(&keys).contains("the secrets that go with it change") && !data(&keys).contains("hunter")
        );
        for bad in ["", "kind: Pod\n", ": ["] {
            let refused = of(bad).await.unwrap_err().to_string();
            assert!(refused.contains("model.yaml"), "{refused}");
        }
    }
}
