//! A stand-in for a workload, as kind or as hostile as a test wants it. The binary `standin` runs it.
//!
//! Flags come from the command line and from the environment variable `STANDIN`, so that an agent which passes a
//! product's own arguments can still be tested. Arguments that are not flags of the stand-in are a product's and are ignored.

mod flags;
mod server;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{SigSet, Signal};

pub use flags::Flags;

/// The environment variable with more flags.
pub const ENVIRONMENT: &str = "STANDIN";
/// A config with this text is refused by the stand-in's check.
pub const REJECT: &str = "reject-me";
/// What the stand-in's check says then.
pub const REJECTION: &str = "the stand-in does not like this config";

/// Runs the stand-in until it ends as the flags say.
///
/// # Errors
/// The flags cannot be carried out.
pub fn run(flags: &Flags) -> io::Result<ExitCode> {
    if flags.check {
        return check(flags);
    }
    // Blocked before any thread starts, so that all of them leave the signals to `wait` below.
    let signals: SigSet =
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    record(flags, &format!("start {} {}", std::process::id(), now_nanos()))?;
    for line in 0..flags.lines {
        writeln!(io::stdout(), "line {line}")?;
    }
    descendants(flags)?;
    if let Some((after, code)) = flags.die {
        thread::sleep(after);
        return Ok(ExitCode::from(code));
    }
    if let Some(address) = flags.listen {
        server::start(flags.clone(), address, Instant::now())?;
    }
    if flags.flood {
        thread::spawn(|| {
            let block = [b"flood ".repeat(20).as_slice(), b"\n"].concat().repeat(100);
            while io::stdout().write_all(&block).is_ok() {}
        });
    }
    if let Some(pause) = flags.chat {
        thread::spawn(move || {
            let line = format!("{}\n", "chat ".repeat(819));
            while io::stdout().write_all(line.as_bytes()).is_ok() {
                thread::sleep(pause);
            }
            #[expect(clippy::exit, reason = "it ends where nobody reads what it says, as Go's programs do")]
            std::process::exit(1);
        });
    }
    if flags.endless_line {
        thread::spawn(|| while io::stderr().write_all(&[b'x'; 4096]).is_ok() {});
    }
    loop {
        let signal = signals.wait()?;
        record(flags, signal.as_str())?;
        if !flags.ignore_signals && signal != Signal::SIGHUP {
            thread::sleep(flags.stop_after);
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn check(flags: &Flags) -> io::Result<ExitCode> {
    record(flags, "check")?;
    let config = flags.config.as_ref().map(fs::read_to_string).transpose()?.unwrap_or_default();
    if config.contains(REJECT) {
        writeln!(io::stderr(), "{REJECTION}")?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Children that sleep for ever in the stand-in's group, one that has left it, and orphans that end by themselves.
fn descendants(flags: &Flags) -> io::Result<()> {
    let sleeper = |own_group: bool| {
        let mut command = Command::new("sleep");
        command.arg("100000").stdin(Stdio::null());
        if own_group {
            command.process_group(0);
        }
        command.spawn()
    };
    for _ in 0..flags.grandchildren {
        let child = sleeper(false)?;
        record(flags, &format!("grandchild {}", child.id()))?;
    }
    if flags.daemon {
        let child = sleeper(true)?;
        record(flags, &format!("grandchild {}", child.id()))?;
    }
    for _ in 0..flags.orphans {
        // The shell ends at once; what it leaves behind goes to the nearest reaper and ends there.
        Command::new("sh").args(["-c", "sleep 0.1 &"]).stdin(Stdio::null()).status()?;
    }
    Ok(())
}

/// Appends a line to the record, in one write.
fn record(flags: &Flags, line: &str) -> io::Result<()> {
    let Some(path) = &flags.record else { return Ok(()) };
    OpenOptions::new().create(true).append(true).open(path)?.write_all(format!("{line}\n").as_bytes())
}

/// The time since 1970, in nanoseconds: the record's times are compared with another process' clock.
#[must_use]
pub fn now_nanos() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos())
}

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}
