//! `muster status`.

use std::time::Duration;

use muster_api::ModelStatus;

use crate::args::{self, Format, StatusFormat};
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::status_view::{self, Selection};
use crate::substrate::Substrate;

/// Shows the status once, or every change of it.
pub(crate) async fn run(
    args: args::Status,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let selection = Selection::new(args.select);
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
    use muster_api::ModelStatus;

    use crate::fake::{Fake, model_status, starting};
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
    async fn emptiness_is_said() {
        let mut fake = Fake { statuses: vec![model_status([])], ..Fake::default() };
        assert_eq!(said(&run(&mut fake, &["status"]).await), "Model \"default\" is empty\n");
        let mut fake = Fake { statuses: vec![starting()], ..Fake::default() };
        assert_eq!(said(&run(&mut fake, &["status", "nobody"]).await), "Nothing matched the selection\n");
    }
}
