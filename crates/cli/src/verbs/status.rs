//! `muster status`.

use std::time::Duration;

use muster_api::{FORMAT_VERSION, ModelStatus, TransitionStatus};
use muster_model::AppName;
use serde::Serialize;

use crate::args::{self, Format, StatusFormat};
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::status_view::{self, Selection};
use crate::substrate::{Depth, Proposal, Substrate};
use crate::transition_view;
use crate::verbs::plan::{self, Planned};

/// Shows the status once, or every change of it.
pub(crate) async fn run(
    args: args::Status,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let selection = Selection::new(args.select);
    if args.transition {
        return transitions(&selection, args.output, substrate, printer).await;
    }
    let Some(seconds) = args.watch else {
        let whole = substrate.status().await?;
        let selected = selection.of(&whole);
        print(&selected, args.output, printer)?;
        if whole.applications.is_empty() {
            printer.say(&format!("Model {:?} is empty", whole.model));
        } else if selected.applications.is_empty() {
            printer.say("Nothing matched the selection");
        }
        return Ok(Answer::Yes);
    };
    let mut last: Option<ModelStatus> = None;
    loop {
        let selected = selection.of(&substrate.status().await?);
        if last.as_ref() != Some(&selected) {
            show_change(&selected, last.as_ref(), args.output, printer)?;
            last = Some(selected);
        }
        tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    }
}

/// The machine-readable form of `--transition`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    format_version: u32,
    transitions: Vec<UnderWay>,
}

/// What is under way of one coordinator.
#[derive(Serialize)]
struct UnderWay {
    coordinator: AppName,
    transition: TransitionStatus,
    /// What is left to be done. Absent where that cannot be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Planned>,
}

/// Shows what is under way: the phases as the status has them, and the steps that are left as [`plan`] foresees them from here.
async fn transitions(
    selection: &Selection,
    output: StatusFormat,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let status = selection.of(&substrate.status().await?);
    let under_way: Vec<_> = status
        .applications
        .into_iter()
        .filter_map(|(name, application)| Some((name, application.transition?)))
        .collect();
    if under_way.is_empty() && output == StatusFormat::Tabular {
        printer.say("Nothing is under way");
        return Ok(Answer::Yes);
    }
    let mut answered = Vec::new();
    let mut texts = Vec::new();
    for (coordinator, transition) in under_way {
        let forecast = match substrate.preview(Proposal::Nothing, Depth::Steps, Some(&coordinator)).await {
            Ok(mut previews) => previews.remove(&coordinator).and_then(|preview| preview.forecast),
            Err(failure) => {
                printer.say(&format!("The steps that are left cannot be shown: {failure}"));
                None
            }
        };
        let mut text = transition_view::phases(&coordinator, &transition, printer.screen);
        if let Some(forecast) = forecast.as_ref().filter(|f| !f.steps.is_empty() || !f.obstacles.is_empty()) {
            text.push('\n');
            text.push_str(&plan::told(&coordinator, forecast, printer.screen.width));
        }
        texts.push(text);
        let plan = forecast.map(|forecast| plan::planned(coordinator.clone(), forecast));
        answered.push(UnderWay { coordinator, transition, plan });
    }
    let answered = Answered { format_version: FORMAT_VERSION, transitions: answered };
    match output {
        StatusFormat::Tabular => printer.data(&texts.join("\n"))?,
        StatusFormat::Json => printer.value(&answered, Format::Json)?,
        StatusFormat::Yaml => printer.value(&answered, Format::Yaml)?,
    }
    Ok(Answer::Yes)
}

fn print(status: &ModelStatus, output: StatusFormat, printer: &mut Printer<'_>) -> Result<(), Failure> {
    match output {
        StatusFormat::Tabular => printer.data(&status_view::tables(status, printer.screen)),
        StatusFormat::Json => printer.value(status, Format::Json),
        StatusFormat::Yaml => printer.value(status, Format::Yaml),
    }
}

/// Redraws the tables on a terminal; elsewhere tables follow each other after an empty line, JSON is one line each,
/// YAML one document each.
fn show_change(
    status: &ModelStatus,
    last: Option<&ModelStatus>,
    output: StatusFormat,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    match output {
        StatusFormat::Tabular if printer.screen.height.is_some() => {
            printer.redraw(&status_view::tables(status, printer.screen))
        }
        StatusFormat::Json => printer.json_line(status),
        StatusFormat::Tabular | StatusFormat::Yaml => {
            if last.is_some() {
                printer.data(if output == StatusFormat::Yaml { "---\n" } else { "\n" })?;
            }
            print(status, output, printer)
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_api::{Document, ModelStatus};

    use crate::fake::{Fake, MODEL, in_transition, model_status, starting};
    use crate::verbs::tests::{data, run, said};

    #[tokio::test]
    async fn every_form_says_the_same() {
        let mut fake = Fake { statuses: vec![starting()], ..Fake::default() };
        assert!(data(&run(&mut fake, &["status"]).await).contains("mimir-read/10"));
        let json = data(&run(&mut fake, &["status", "-o", "json"]).await);
        assert_eq!(serde_json::from_str::<ModelStatus>(&json).unwrap(), starting());
        let yaml = data(&run(&mut fake, &["status", "-o", "yaml"]).await);
        assert_eq!(muster_model::yaml::from_str::<ModelStatus>(&yaml).unwrap(), starting());
        let one = data(&run(&mut fake, &["status", "s3", "-o", "json"]).await);
        assert_eq!(serde_json::from_str::<ModelStatus>(&one).unwrap().applications.len(), 1);
    }

    #[test]
    fn the_reference_page_shows_the_form() {
        let page = include_str!("../../../../docs/reference/status.md");
        let example = page.split("```json").nth(1).unwrap().split("```").next().unwrap();
        let written: serde_json::Value = serde_json::from_str(example).unwrap();
        let read: ModelStatus = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
    }

    #[tokio::test]
    async fn what_is_under_way_is_shown_with_the_steps_that_are_left() {
        let covered = MODEL.replace("{all: false, read: true}", "{all: true}");
        let mut fake = Fake {
            documents: Document::parse_stream(&covered).unwrap(),
            statuses: vec![in_transition()],
            ..Fake::default()
        };
        let shown = data(&run(&mut fake, &["status", "--transition"]).await);
        assert!(shown.starts_with("mimir: transition 2/3: draining mimir-read/10"), "{shown}");
        assert!(shown.contains("\nplan of mimir: "), "{shown}");
        let json = data(&run(&mut fake, &["status", "--transition", "-o", "json"]).await);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let first = &json["transitions"][0];
        assert_eq!((&first["coordinator"], &first["transition"]["phase"]), (&"mimir".into(), &2.into()));
        assert_eq!(first["transition"]["phases"][1]["work"], "drain");
        assert!(first["plan"]["steps"].is_array(), "{json}");
        let mut idle = Fake { statuses: vec![starting()], ..Fake::default() };
        assert_eq!(said(&run(&mut idle, &["status", "--transition"]).await), "Nothing is under way\n");
        let json = data(&run(&mut idle, &["status", "--transition", "-o", "json"]).await);
        assert!(json.contains("\"transitions\": []"), "{json}");
    }

    #[tokio::test]
    async fn emptiness_is_said() {
        let mut fake = Fake { statuses: vec![model_status([])], ..Fake::default() };
        assert_eq!(said(&run(&mut fake, &["status"]).await), "Model \"default\" is empty\n");
        let mut fake = Fake { statuses: vec![starting()], ..Fake::default() };
        assert_eq!(said(&run(&mut fake, &["status", "nobody"]).await), "Nothing matched the selection\n");
    }
}
