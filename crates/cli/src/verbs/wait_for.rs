//! `muster wait-for`.

use muster_api::{ApplicationStatus, ModelStatus};
use muster_model::WorkloadStatus;
use tokio::time::Instant;

use crate::applications::Applications;
use crate::args;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::substrate::Substrate;

/// Waits until an application has a status. Its name must be in the model at the start: a typing error is not worth
/// waiting for. What carries the model may be away for a while.
pub(crate) async fn run(
    args: args::WaitFor,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let app = &args.app;
    let started = Instant::now();
    let deadline = started + args.timeout;
    if !substrate.status().await?.applications.contains_key(app) {
        let apps = Applications::new(substrate.documents().await?);
        apps.get(app).map_err(Failure::from)?;
    }
    loop {
        let status = match substrate.status().await {
            Err(failure) if failure.is_passing() && Instant::now() < deadline => {
                tokio::time::sleep_until(deadline.min(Instant::now() + substrate.pace())).await;
                continue;
            }
            status => status?,
        };
        if status.applications.get(app).is_some_and(|application| has(application, args.status)) {
            printer.say(&format!("{app} is {} after {:.1} s", args.status, started.elapsed().as_secs_f64()));
            return Ok(Answer::Yes);
        }
        if Instant::now() >= deadline {
            printer.say(&format!("{app} is not {} after {} s", args.status, args.timeout.as_secs()));
            for line in missing(&status, app.as_str()) {
                printer.say(&line);
            }
            return Ok(Answer::No);
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + substrate.pace())).await;
    }
}

/// Whether the application has the status. It is active only together with all the units that are asked for.
fn has(application: &ApplicationStatus, wanted: WorkloadStatus) -> bool {
    let complete = application.units.len() == application.scale as usize
        && application.units.values().all(|unit| unit.status.status == WorkloadStatus::Active);
    application.status.status == wanted && (wanted != WorkloadStatus::Active || complete)
}

/// What an application still lacks, one line each.
fn missing(status: &ModelStatus, app: &str) -> Vec<String> {
    let Some((name, application)) = status.applications.iter().find(|(name, _)| name.as_str() == app) else {
        return vec![format!("{app} is not in the model any more")];
    };
    let mut lines = vec![format!("{name}: {}", application.status)];
    if application.units.len() != application.scale as usize {
        lines.push(format!("{name}: {} of {} units are there", application.units.len(), application.scale));
    }
    let idle = application.units.iter().filter(|(_, unit)| unit.status.status != WorkloadStatus::Active);
    lines.extend(idle.map(|(name, unit)| format!("{name}: {}", unit.status)));
    lines
}

#[cfg(test)]
mod tests {
    use muster_model::{Status, WorkloadStatus};

    use crate::failure::Answer;
    use crate::fake::{Fake, app, starting, unit};
    use crate::verbs::tests::{run, said};

    #[tokio::test]
    async fn it_waits_until_the_last_unit_is_active() {
        let mut active = starting();
        let read = active.applications.get_mut(&app("mimir-read")).unwrap();
        read.status = Status::new(WorkloadStatus::Active, "");
        let early = active.clone();
        let read = active.applications.get_mut(&app("mimir-read")).unwrap();
        read.units.insert(app("mimir-read").unit(10), unit(WorkloadStatus::Active, "", "127.77.0.4", &[]));
        let mut fake = Fake { statuses: vec![starting(), starting(), early, active], ..Fake::with_model("") };
        let done = run(&mut fake, &["wait-for", "mimir-read", "--timeout", "1m"]).await;
        assert_eq!(done.as_ref().unwrap().answer, Answer::Yes);
        assert!(said(&done).starts_with("mimir-read is active after "), "{}", said(&done));
        assert_eq!(fake.statuses.len(), 1, "every earlier status was looked at");
    }

    #[tokio::test]
    async fn a_timeout_says_what_is_missing() {
        let mut fake = Fake { statuses: vec![starting()], ..Fake::with_model("") };
        let done = run(&mut fake, &["wait-for", "mimir-read", "--timeout", "0s"]).await;
        assert_eq!(done.as_ref().unwrap().answer, Answer::No);
        assert_eq!(
            said(&done),
            "mimir-read is not active after 0 s\nmimir-read: waiting: 1 of 2 units is ready\nmimir-read/10: waiting: starting\n"
        );
        let done = run(&mut fake, &["wait-for", "mimir", "--status", "blocked", "--timeout", "0s"]).await;
        assert_eq!(done.unwrap().answer, Answer::Yes);
        assert!(run(&mut fake, &["wait-for", "mimri", "--timeout", "0s"]).await.is_err());
    }
}
