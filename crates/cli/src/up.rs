//! `muster up`: runs a model here and shows what becomes of it.

use std::env;
use std::path::PathBuf;
use std::pin::pin;

use muster_api::{FORMAT_VERSION, ModelStatus};
use muster_local::up::{Binaries, UpSettings, up};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::args;
use crate::failure::{Answer, Failure};
use crate::location::Location;
use crate::printer::{Printer, Screen};
use crate::text::counted;
use crate::{programs, status_view};

/// Said after the first Ctrl-C.
const STOPPING: &str = "Stopping all units in order; a second Ctrl-C leaves them running";

/// Runs the model until it is told to stop: once to stop in order, twice to leave at once.
pub(crate) async fn run(
    args: args::Up,
    location: Location,
    color: args::ColorWhen,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let binaries = binaries(args.search, args.nginx)?;
    let settings =
        UpSettings { directory: location.directory, name: location.name, file: args.file, binaries };
    let mut signals = Signals::new()?;
    let (sender, mut statuses) = watch::channel(ModelStatus {
        format_version: FORMAT_VERSION,
        problem: None,
        model: settings.name.clone(),
        context: None,
        substrate: "local".to_owned(),
        applications: Default::default(),
    });
    let shutdown = CancellationToken::new();
    let mut shown: Option<ModelStatus> = None;
    let mut running = pin!(up(settings, sender, shutdown.clone()));
    loop {
        tokio::select! {
            // What was shown last is the end state, and only then the prompt comes back.
            biased;
            Ok(()) = statuses.changed() => {
                let status = statuses.borrow_and_update().clone();
                if printer.screen.height.is_some() {
                    // The window may have another size by now.
                    printer.screen = Screen::detect(color);
                }
                show(&status, shown.as_ref(), shutdown.is_cancelled(), printer)?;
                shown = Some(status);
            }
            ended = &mut running => {
                ended.map_err(|error| Failure::of(&error))?;
                printer.say("Stopped");
                return Ok(Answer::Yes);
            }
            () = signals.next() => {
                if shutdown.is_cancelled() {
                    return Err(left_running(shown.as_ref()));
                }
                shutdown.cancel();
                match &shown {
                    // Below the tables: a line of talk would stand where the next ones are drawn.
                    Some(status) if printer.screen.height.is_some() => show(status, shown.as_ref(), true, printer)?,
                    _ => printer.say(STOPPING),
                }
            }
        }
    }
}

/// Tables drawn in place on a terminal; elsewhere one line per change.
fn show(
    status: &ModelStatus,
    before: Option<&ModelStatus>,
    stopping: bool,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    if printer.screen.height.is_none() {
        let lines = status_view::changes(before, status);
        return if lines.is_empty() { Ok(()) } else { printer.data(&lines.join("\n")) };
    }
    let foot = if stopping { STOPPING } else { "Ctrl-C stops everything in order" };
    printer.redraw(&format!("{}\n{foot}", status_view::tables(status, printer.screen)))
}

/// What is there when a person does not wait for the end.
fn left_running(shown: Option<&ModelStatus>) -> Failure {
    let units: Vec<String> = shown
        .into_iter()
        .flat_map(|status| status.applications.values())
        .flat_map(|application| application.units.keys().map(ToString::to_string))
        .collect();
    let count = counted(u32::try_from(units.len()).unwrap_or(u32::MAX), "unit");
    let list = if units.is_empty() { String::new() } else { format!(" ({})", units.join(", ")) };
    Failure::new(format!("left before everything was stopped: {count}{list} may still run"))
        .hint("muster up takes them over again, and Ctrl-C there stops them")
}

/// The signals that ask to stop: Ctrl-C, `kill`, and a terminal that was closed.
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    /// From now on they end nothing by themselves.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|e| Failure::new(format!("failed to listen for signals: {e}")));
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self([listen(interrupt)?, listen(terminate)?, listen(hangup)?]))
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// The programs of a model: the agents stand beside this one, workloads are looked for by who runs them, nginx is
/// looked for here.
fn binaries(search: Vec<PathBuf>, nginx: Option<PathBuf>) -> Result<Binaries, Failure> {
    let muster = env::current_exe()
        .map_err(|e| Failure::new(format!("cannot find out where muster itself is: {e}")))?;
    let beside = |name: &str| {
        let path = muster.with_file_name(name);
        let missing = || {
            Failure::new(format!("{name} is not beside muster: {} is missing", path.display()))
                .hint("install muster, worker and coordinator into one directory")
        };
        if path.is_file() { Ok(path.clone()) } else { Err(missing()) }
    };
    programs::directories(&search)?;
    let nginx = programs::nginx(nginx)?.ok_or_else(|| {
        Failure::new("nginx is not on PATH").hint("install it, or say where it is: muster up --nginx PATH")
    })?;
    Ok(Binaries {
        worker: beside("worker")?,
        coordinator: beside("coordinator")?,
        muster,
        workloads: search,
        nginx,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::starting;

    #[test]
    fn outside_a_terminal_only_changes_are_written() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let screen = Screen { width: 100, height: None, colour: false, interactive: false };
        let mut printer = Printer::new(&mut out, &mut err, screen);
        show(&starting(), None, false, &mut printer).unwrap();
        show(&starting(), Some(&starting()), false, &mut printer).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("mimir-read/10: waiting: starting\n").count(), 1, "{text}");
        assert!(text.contains("mimir: push at http://127.77.0.2:8080/api/v1/push\n"), "{text}");
    }

    #[test]
    fn leaving_early_says_what_still_runs() {
        let message = left_running(Some(&starting())).to_string();
        assert!(
            message.contains("4 units (mimir/0, mimir-read/0, mimir-read/2, mimir-read/10)"),
            "{message}"
        );
    }
}
