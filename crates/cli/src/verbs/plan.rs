//! `muster plan`, and what `--dry-run` of other verbs prints.

use std::fmt::Write as _;

use muster_api::{Document, FORMAT_VERSION};
use muster_model::{AppName, Finding, Status};
use muster_planner::{Data, Forecast, Obstacle, Service, Step};
use serde::Serialize;

use crate::args::{self, Format};
use crate::check::subject;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::substrate::{Depth, Proposal, Substrate};
use crate::text;
use crate::verbs::diff;

/// How far the lines of a step stand behind its number.
const INDENT: &str = "   ";

/// The machine-readable answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    format_version: u32,
    plans: Vec<Planned>,
}

/// What is to be done for one coordinator.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Planned {
    coordinator: AppName,
    /// What is, or would be, wrong with it.
    findings: Vec<Finding>,
    steps: Vec<Said>,
    obstacles: Vec<Obstacle>,
    reloads: usize,
    comes_to_rest: bool,
    end: Status,
    is_gone: bool,
}

/// A step with its words.
#[derive(Serialize)]
struct Said {
    what: String,
    #[serde(flatten)]
    step: Step,
}

/// Shows what is to be done for files, or what is left to do, and does nothing.
pub(crate) async fn run(
    args: args::Plan,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let mut documents = Vec::new();
    for path in &args.files {
        documents.extend(diff::read(path)?);
    }
    let proposal = if documents.is_empty() { Proposal::Nothing } else { Proposal::File(documents) };
    foresee(proposal, None, args.output, substrate, printer).await
}

/// Shows what a verb would do that edits these documents.
pub(crate) async fn foresee_edit(
    documents: Vec<Document>,
    output: Option<Format>,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    // What is asked of a coordinator is nobody else's.
    let only = match documents.as_slice() {
        [document] => diff::coordinator(document),
        _ => None,
    };
    foresee(Proposal::Edit(documents), only.as_ref(), output, substrate, printer).await
}

/// Shows the steps that a proposal takes.
pub(crate) async fn foresee(
    proposal: Proposal,
    only: Option<&AppName>,
    output: Option<Format>,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let edits = proposal != Proposal::Nothing;
    let previews = substrate.preview(proposal, Depth::Steps, only).await?;
    let mut refusals = Vec::new();
    let mut plans = Vec::new();
    for (coordinator, preview) in previews {
        // What was wrong before and is not what was asked about is no reason to refuse.
        if edits && !preview.findings.is_empty() {
            refusals.extend(preview.refusals().into_iter().map(diff::said));
        }
        plans.extend(preview.forecast.map(|forecast| (coordinator, forecast)));
    }
    if !refusals.is_empty() {
        return Err(Failure::new(refusals.join("; ")));
    }
    let is_idle =
        plans.iter().all(|(_, forecast)| forecast.steps.is_empty() && forecast.obstacles.is_empty());
    if let Some(format) = output {
        let plans = plans.into_iter().map(|(coordinator, forecast)| planned(coordinator, forecast)).collect();
        printer.value(&Answered { format_version: FORMAT_VERSION, plans }, format)?;
    } else {
        let state = if edits { "would be" } else { "is" };
        for finding in plans.iter().flat_map(|(_, forecast)| &forecast.findings) {
            printer.say(&format!(
                "WARNING {} {state} {}: {}",
                subject(finding),
                finding.status,
                finding.message
            ));
        }
        let texts: Vec<String> = plans
            .iter()
            .filter(|(_, forecast)| !forecast.steps.is_empty() || !forecast.obstacles.is_empty())
            .map(|(coordinator, forecast)| told(coordinator, forecast, printer.screen.width))
            .collect();
        if !texts.is_empty() {
            printer.data(&texts.join("\n"))?;
        }
        if is_idle {
            printer.say(if edits { "the edit takes no step" } else { "nothing is to be done" });
        }
    }
    Ok(if is_idle { Answer::Yes } else { Answer::No })
}

/// A forecast for programs.
pub(crate) fn planned(coordinator: AppName, forecast: Forecast) -> Planned {
    let Forecast { findings, steps, obstacles, reloads, comes_to_rest, end, is_gone } = forecast;
    let steps = steps.into_iter().map(|step| Said { what: step.what(), step }).collect();
    Planned { coordinator, findings, steps, obstacles, reloads, comes_to_rest, end, is_gone }
}

/// A forecast for people.
pub(crate) fn told(coordinator: &AppName, forecast: &Forecast, width: usize) -> String {
    let count = u32::try_from(forecast.steps.len()).unwrap_or(u32::MAX);
    let mut told = format!("plan of {coordinator}: {}, if nothing fails\n", text::counted(count, "step"));
    let mut line = |first: &str, line: &str| {
        let room = width.saturating_sub(first.len()).max(20);
        for (place, part) in text::wrap(&text::plain(line), room).iter().enumerate() {
            let begin = if place == 0 { first.to_owned() } else { " ".repeat(first.len()) };
            let _ = writeln!(told, "{begin}{part}");
        }
    };
    for (place, step) in forecast.steps.iter().enumerate() {
        line(&format!("{}. ", place + 1), &step.what());
        line(INDENT, &format!("waits for: {}", step.waits()));
        let effects = [step.on_writes(), step.on_reads(), step.on_data()];
        for effect in effects.into_iter().flatten() {
            line(INDENT, &effect);
        }
    }
    if !forecast.comes_to_rest {
        line("", "more steps follow; no further was looked");
    }
    for Obstacle { unit, why } in &forecast.obstacles {
        line("", &format!("{unit} stays as it is, and others may wait for it: {why}"));
    }
    if count > 0 {
        line("", &summary(forecast));
    }
    let end = if forecast.is_gone { "gone".to_owned() } else { forecast.end.to_string() };
    if forecast.comes_to_rest {
        line("", &format!("in the end {coordinator} is {end}"));
    }
    told
}

/// What clients notice of all steps together, and what becomes of data.
fn summary(forecast: &Forecast) -> String {
    let numbered = |is: &dyn Fn(&Step) -> bool| {
        let steps = forecast.steps.iter().enumerate().filter(|(_, step)| is(step));
        steps.map(|(place, _)| (place + 1).to_string()).collect::<Vec<_>>()
    };
    let at = |what: &str, steps: &[String]| {
        let noun = if steps.len() == 1 { "step" } else { "steps" };
        format!("{what} ({noun} {})", steps.join(", "))
    };
    let path = |of: &dyn Fn(&Step) -> Service| {
        let ends = numbered(&|step| matches!(of(step), Service::Fails { ends: false, .. }));
        let fails = numbered(&|step| matches!(of(step), Service::Fails { .. }));
        let short = numbered(&|step| matches!(of(step), Service::Short | Service::Late));
        match (fails.is_empty(), short.is_empty()) {
            _ if !ends.is_empty() => at("none in the end", &ends),
            (false, _) => at("a gap", &fails),
            (true, false) => at("no gap, but short for a while", &short),
            (true, true) => "no gap".to_owned(),
        }
    };
    let lost = numbered(&|step| step.data == Data::GivenUp);
    let uploaded = numbered(&|step| step.data == Data::Uploaded);
    let data = match (lost.is_empty(), uploaded.is_empty()) {
        (false, _) => at("given up", &lost),
        (true, false) => at("uploaded before it goes", &uploaded),
        (true, true) => "stays where it is".to_owned(),
    };
    format!(
        "writes: {}; queries: {}; data: {data}",
        path(&|step| step.writes.clone()),
        path(&|step| step.reads.clone())
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use muster_api::Document;
    use serde_json::Value;

    use super::*;
    use crate::fake::{Fake, MODEL};
    use crate::verbs::tests::{data, run, said};

    /// The model with every role.
    fn covered() -> String {
        MODEL.replace("{all: false, read: true}", "{all: true}")
    }

    fn fake() -> Fake {
        Fake { documents: Document::parse_stream(&covered()).unwrap(), ..Fake::default() }
    }

    #[tokio::test]
    async fn verbs_say_what_they_would_do_and_do_nothing() {
        let mut fake = fake();
        for words in [
            &["plan"][..],
            &["config", "mimir", "retention-period=30d", "--dry-run"],
            &["config", "mimir-read", "role-all=false", "role-read=true", "--dry-run"],
            &["scale", "mimir-read", "2", "--dry-run"],
            &["remove-relation", "mimir", "mimir-read", "--dry-run"],
            &["remove-application", "mimir-read", "--dry-run"],
        ] {
            let done = run(&mut fake, words).await;
            assert_eq!(done.as_ref().unwrap().answer, Answer::No, "{words:?} {done:?}");
            assert!(data(&done).starts_with("plan of mimir: "), "{words:?} {}", data(&done));
            assert!(fake.writes.is_empty(), "{words:?}");
        }
        let up = data(&run(&mut fake, &["scale", "mimir-read", "2", "--dry-run"]).await);
        assert!(
            up.contains("mimir-read/0, mimir-read/1 are made and start with all\n   waits for: nothing\n"),
            "{up}"
        );
        assert!(up.ends_with("in the end mimir is active\n"), "{up}");
    }

    #[tokio::test]
    async fn what_changes_nothing_takes_no_step() {
        let mut fake = fake();
        for words in [
            &["config", "mimir", "--dry-run", "--reset", "retention-period"][..],
            &["scale", "mimir-read", "1", "--dry-run"],
        ] {
            let done = run(&mut fake, words).await;
            assert_eq!((done.as_ref().unwrap().answer, data(&done).as_str()), (Answer::Yes, ""), "{words:?}");
            assert!(self::said(&done).contains("the edit takes no step"), "{words:?} {done:?}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_comes_first() {
        let mut fake = fake();
        let done =
            run(&mut fake, &["config", "mimir-read", "role-all=false", "role-read=true", "--dry-run"]).await;
        let warned = self::said(&done);
        assert!(warned.starts_with("WARNING mimir would be blocked: missing required roles"), "{warned}");
        for setting in ["retention-period=banana", "colour=red", "replication-factor=2"] {
            let refused = run(&mut fake, &["config", "mimir", setting, "--dry-run"]).await.unwrap_err();
            let set = run(&mut fake, &["diff", "mimir", setting]).await.unwrap_err();
            assert_eq!(refused.to_string(), set.to_string());
        }
        assert!(run(&mut fake, &["scale", "s3", "2", "--dry-run"]).await.is_err());
        assert!(run(&mut fake, &["config", "mimir", "--dry-run"]).await.is_err());
    }

    #[tokio::test]
    async fn files_are_planned_and_scripts_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.yaml");
        let mut fake = fake();
        fs::write(
            &path,
            covered().replace("product: mimir, coordinator", "units: 3, product: mimir, coordinator"),
        )
        .unwrap();
        let done = run(&mut fake, &["plan", path.to_str().unwrap(), "-o", "json"]).await;
        assert_eq!(done.as_ref().unwrap().answer, Answer::No);
        let answered: Value = serde_json::from_str(&data(&done)).unwrap();
        let plan = &answered["plans"][0];
        assert_eq!(plan["coordinator"], "mimir");
        let step = &plan["steps"][1];
        assert_eq!(step["what"], "mimir-read/0…/2 are made and start with all", "{answered}");
        assert_eq!(step["acts"][1]["act"], "start");
        assert_eq!(step["waves"][0].as_array().unwrap().len(), 3);
        assert_eq!((&step["writes"]["effect"], &step["data"]), (&"none".into(), &"none".into()));
        let bad = run(&mut fake, &["plan", "/nowhere"]).await.unwrap_err().to_string();
        assert!(bad.contains("/nowhere"), "{bad}");
        fs::write(&path, covered().replace(", s3: {secret: s3}", "")).unwrap();
        let bare = run(&mut fake, &["plan", path.to_str().unwrap()]).await.unwrap_err().to_string();
        assert!(bare.contains("no S3 relation"), "{bare}");
    }
}
