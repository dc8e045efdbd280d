//! `muster run`.

use std::time::Duration;

use muster_api::{Abandoned, ModelStatus, UnitView};
use muster_model::UnitName;
use muster_planner::ABANDON_DATA;
use tokio::time::{Instant, sleep};

use crate::args;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::substrate::Substrate;
use crate::text;

/// How long a consent may take until it is acted on.
const TAKEN_UP: Duration = Duration::from_secs(30);

/// Runs an action on a unit.
pub(crate) async fn run(
    args: args::Run,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    match args.action.as_deref() {
        Some(ABANDON_DATA) => abandon_data(&args.unit, args.yes_i_lose, substrate, printer).await,
        Some(other) => Err(Failure::new(format!("no action is called {other:?}")).hint(actions(&args.unit))),
        None => Err(Failure::new("no action is given").hint(actions(&args.unit))),
    }
}

/// All actions.
fn actions(unit: &UnitName) -> String {
    format!(
        "there is one: muster run {unit} {ABANDON_DATA} lets a unit go that cannot upload what it holds, and loses that"
    )
}

/// Lets a unit go that is kept from leaving, if what is lost with it is quoted.
async fn abandon_data(
    unit: &UnitName,
    given: Option<String>,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let before = substrate.status().await?;
    let view = find(&before, unit)?;
    let Some(at_risk) = view.at_risk.clone() else {
        return Err(Failure::new(format!(
            "nothing keeps {unit} from leaving, so nothing of it is given up; it is {}",
            view.status
        ))
        .hint("only a unit that is to leave and cannot is let go: see muster status"));
    };
    let words = text::plain(&at_risk);
    let Some(given) = given else {
        printer.data(&question(unit, &words))?;
        return Ok(Answer::No);
    };
    if text::plain(given.trim()) != words.trim() {
        printer.say("Nothing is given up: these are not the words for what is at risk");
        printer.data(&question(unit, &words))?;
        return Ok(Answer::No);
    }
    substrate.abandon_data(unit, &at_risk).await?;
    let deadline = Instant::now() + TAKEN_UP;
    loop {
        let now = substrate.status().await?;
        if is_let_go(unit, &before, &now) {
            break;
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(format!(
                "the consent is written, and {unit} was not let go within {} s",
                TAKEN_UP.as_secs()
            ))
            .hint(format!(
                "see whether something else is at risk by now: muster run {unit} {ABANDON_DATA}"
            )));
        }
        sleep(substrate.pace()).await;
    }
    printer.say(&format!("{unit} is let go without {words}"));
    Ok(Answer::Yes)
}

/// What would be lost, and what to type for it.
fn question(unit: &UnitName, at_risk: &str) -> String {
    format!(
        "{unit} is to leave and cannot. Without it this is lost:\n  {at_risk}\nIt goes by itself once that is in the object store. \
         To let it go now and lose that:\n  muster run {unit} {ABANDON_DATA} --yes-i-lose {}",
        quoted(at_risk)
    )
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn find<'a>(status: &'a ModelStatus, unit: &UnitName) -> Result<&'a UnitView, Failure> {
    let application = status.applications.get(unit.application());
    let application = application
        .ok_or_else(|| Failure::new(format!("no application is called {}", unit.application())))?;
    application.units.get(unit).ok_or_else(|| {
        let units: Vec<String> = application.units.keys().map(ToString::to_string).collect();
        let there = if units.is_empty() { "none".to_owned() } else { units.join(", ") };
        Failure::new(format!("there is no unit {unit}"))
            .hint(format!("units of {}: {there}", unit.application()))
    })
}

/// Whether a consent since `before` was taken up: it is recorded, or the unit is gone and with it perhaps who recorded it.
fn is_let_go(unit: &UnitName, before: &ModelStatus, now: &ModelStatus) -> bool {
    let known: Vec<&Abandoned> = records(before).collect();
    find(now, unit).is_err()
        || records(now).any(|record| record.unit == unit.to_string() && !known.contains(&record))
}

fn records(status: &ModelStatus) -> impl Iterator<Item = &Abandoned> {
    status.applications.values().flat_map(|application| &application.abandoned)
}

#[cfg(test)]
mod tests {
    use muster_api::Abandoned;
    use muster_model::WorkloadStatus::Waiting;

    use super::*;
    use crate::fake::{Fake, app, application, model_status, unit};
    use crate::verbs::tests::{data, run, said};

    const LOST: &str = "1 block of tenant \"o'hara\" not uploaded";

    /// A unit that is kept from leaving, one that stays, and what was given up so far.
    fn status(at_risk: &str, abandoned: &[&str]) -> ModelStatus {
        let mut mimir = application("mimir-coordinator-k8s", Waiting, "", 1);
        mimir.abandoned = abandoned
            .iter()
            .map(|lost| Abandoned { unit: "w/1".to_owned(), lost: (*lost).to_owned(), at: "then".to_owned() })
            .collect();
        let mut worker = application("mimir-worker-k8s", Waiting, "", 1);
        worker.units.insert(app("w").unit(0), unit(Waiting, "starting", "127.0.0.2", &[]));
        let mut kept = unit(Waiting, "keeps it", "127.0.0.3", &[]);
        kept.at_risk = Some(at_risk.to_owned());
        worker.units.insert(app("w").unit(1), kept);
        model_status([("mimir", mimir), ("w", worker)])
    }

    fn fake(statuses: Vec<ModelStatus>) -> Fake {
        Fake { statuses, ..Fake::default() }
    }

    #[tokio::test]
    async fn what_is_lost_is_said_with_the_words_that_lose_it() {
        let asked = "w/1 is to leave and cannot. Without it this is lost:\n  1 block of tenant \"o'hara\" not uploaded\n\
                     It goes by itself once that is in the object store. To let it go now and lose that:\n  \
                     muster run w/1 abandon-data --yes-i-lose '1 block of tenant \"o'\\''hara\" not uploaded'\n";
        let mut model = fake(vec![status(LOST, &[])]);
        let question = run(&mut model, &["run", "w/1", "abandon-data"]).await;
        assert_eq!((data(&question).as_str(), said(&question).as_str()), (asked, ""));
        assert_eq!(question.unwrap().answer, Answer::No);
        for wrong in ["", "yes", "2 blocks of tenant \"o'hara\" not uploaded"] {
            let refused = run(&mut model, &["run", "w/1", "abandon-data", "--yes-i-lose", wrong]).await;
            assert_eq!(data(&refused), asked);
            assert!(said(&refused).contains("these are not the words"), "{wrong}");
            assert_eq!(refused.unwrap().answer, Answer::No);
        }
        assert!(model.writes.is_empty(), "{:?}", model.writes);
    }

    #[tokio::test]
    async fn the_right_words_let_a_unit_go() {
        let mut model =
            fake(vec![status(LOST, &["other"]), status(LOST, &["other"]), status(LOST, &["other", LOST])]);
        let done = run(&mut model, &["run", "w/1", "abandon-data", "--yes-i-lose", LOST]).await;
        assert_eq!(said(&done), format!("w/1 is let go without {LOST}\n"));
        assert_eq!(done.unwrap().answer, Answer::Yes);
        assert_eq!(model.writes, [format!("Abandon w/1: {LOST}")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consent_that_nobody_takes_up_is_no_success() {
        let mut model = fake(vec![status(LOST, &[LOST])]);
        let done = run(&mut model, &["run", "w/1", "abandon-data", "--yes-i-lose", LOST]).await;
        assert!(done.unwrap_err().to_string().contains("was not let go within 30 s"));
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_said() {
        let mut model = fake(vec![status(LOST, &[])]);
        for (words, expect) in [
            (["run", "w/0", "abandon-data"], "nothing keeps w/0 from leaving"),
            (["run", "w/2", "abandon-data"], "there is no unit w/2"),
            (["run", "x/2", "abandon-data"], "no application is called x"),
            (["run", "w/1", "abandon"], "no action is called \"abandon\""),
        ] {
            let Err(Failure::Refused { message, hint, .. }) = run(&mut model, &words).await else { panic!() };
            assert!(message.contains(expect), "{message}");
            assert!(expect.contains('x') || hint.is_some(), "{message}");
        }
        let Err(Failure::Refused { hint, .. }) = run(&mut model, &["run", "w/1"]).await else { panic!() };
        assert!(hint.unwrap().contains("muster run w/1 abandon-data"));
    }
}
