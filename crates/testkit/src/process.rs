//! Child processes that do not outlive their test.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait_until;

/// A child in a process group of its own. When dropped, the whole group is killed and the child reaped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to the file `log`, after what is there already.
    ///
    /// # Errors
    /// The file cannot be written or the program cannot be started.
    pub fn spawn(command: &mut Command, log: &Path) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { name, child, status: None, log: log.to_owned() })
    }

    /// The child's process id, which is its group's too.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// How the child ended, or nothing while it runs.
    ///
    /// # Errors
    /// The child cannot be waited for.
    pub fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Sends `signal` to the child alone.
    ///
    /// # Errors
    /// The child has been reaped already.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match self.status()? {
            Some(status) => Err(io::Error::other(format!("{} ended already: {status}", self.name))),
            // Not reaped, so the id is still the child's.
            None => Ok(kill(self.pid(), signal)?),
        }
    }

    /// Sends `signal` to the child and waits until it ends.
    ///
    /// # Errors
    /// The child ended before, or does not end in time.
    pub async fn stop(&mut self, signal: Signal, within: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(signal)?;
        self.ended(within).await
    }

    /// Waits until the child ends.
    ///
    /// # Errors
    /// It does not end in time; the message has its last output.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("end of {}", self.name);
        let outcome = wait_until(&what, within, async || self.status().transpose()).await;
        match outcome {
            Ok(status) => Ok(status?),
            Err(error) => Err(error.context(format!("last output:\n{}", self.last_output()))),
        }
    }

    /// The program that was started.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last lines of the output, for messages.
    #[must_use]
    pub fn last_output(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // As long as anything of the group is left, or the child is not reaped, no new process gets its id. Where nothing
        // is left, the kernel would have to run through all ids within one test to give it to another.
        match killpg(self.pid(), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => eprint(&format!("failed to end {}: {error}", self.name)),
        }
        if self.status.is_none() {
            let _ = self.child.wait();
        }
    }
}

/// A guard cannot return an error.
#[allow(clippy::print_stderr, reason = "a test's output is where this belongs")]
fn eprint(message: &str) {
    eprintln!("{message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &Path) -> Process {
        Process::spawn(Command::new("sh").args(["-c", script]), &directory.join("log")).unwrap()
    }

    fn exists(pid: Pid) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn dropping_ends_the_child_and_its_group() {
        let directory = crate::directory::temporary();
        let child = directory.path().join("child");
        let process = shell(
            &format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", child.display()),
            directory.path(),
        );
        let grandchild = wait_until("grandchild", Duration::from_secs(10), async || {
            fs::read_to_string(&child).ok()?.trim().parse().ok().map(Pid::from_raw)
        });
        let (grandchild, pid) = (grandchild.await.unwrap(), process.pid());
        assert!(exists(grandchild) && exists(pid));
        drop(process);
        wait_until("end of both", Duration::from_secs(10), async || {
            (!exists(pid) && !exists(grandchild)).then_some(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn ends_are_seen_and_output_is_kept() {
        let directory = crate::directory::temporary();
        let mut process = shell("echo hello; exec sleep 1000", directory.path());
        wait_until("output", Duration::from_secs(10), async || {
            (process.last_output() == "hello").then_some(())
        })
        .await
        .unwrap();
        assert!(process.ended(Duration::from_millis(30)).await.unwrap_err().to_string().contains("hello"));
        assert!(!process.stop(Signal::SIGTERM, Duration::from_secs(10)).await.unwrap().success());
        assert!(process.signal(Signal::SIGTERM).is_err());
    }
}
