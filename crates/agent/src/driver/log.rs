//! A workload's output in a file that is kept small.
//!
//! The workload writes to the file by itself, so that it neither ends nor waits where its agent was killed: through a pipe to the agent a
//! server written in Go would end with the next line that it writes. The agent reads the end of the file when it is asked for it, and looks
//! from time to time whether it has grown too large. While no agent is there it grows.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// When a log has grown beyond this many bytes, its last ones become the older log, `.1`, of which there is one.
pub(crate) const ROTATE_AT: u64 = 10 << 20;
/// How much of the older log is left for what is written while it is made.
const ROOM: u64 = 1 << 20;
/// Between two looks at a log that grows by more than [`MUCH`] from one to the next, or whose process was started a moment ago.
const SOON: Duration = Duration::from_millis(50);
/// Between two looks at any other log. A look is one of the few things that wake an agent at rest.
const LATER: Duration = Duration::from_secs(2);
const MUCH: u64 = 64 << 10;
/// How much of a log's end is read, in bytes: more than the lines that are told have.
const END: u64 = 64 << 10;

/// The log, as one process writes it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    path: PathBuf,
    /// Where the process's own lines begin.
    begin: Arc<AtomicU64>,
}

impl Log {
    /// The log that a process writes to that a former agent started.
    pub(crate) fn of_orphan(path: &Path) -> Self {
        Self { path: path.to_owned(), begin: Arc::default() }
    }

    /// Opens the log for a process that is about to start: for its output, and for what it complains of.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, [File; 2])> {
        // Every line goes to the end, also when that has come closer because the log was cut.
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        if last != [b'\n'] {
            // What ran before was killed in the middle of a line. On a full disk the lines run together.
            let _ = file.write_all(b"\n");
        }
        let begin = Arc::new(AtomicU64::new(file.metadata()?.len()));
        let again = file.try_clone()?;
        Ok((Self { path: path.to_owned(), begin }, [file, again]))
    }

    /// The end of what the process has written.
    pub(crate) fn end(&self) -> Vec<u8> {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            let from = self.begin.load(Ordering::Relaxed).max(length.saturating_sub(END));
            file.seek(SeekFrom::Start(from))?;
            let mut end = Vec::new();
            file.take(END).read_to_end(&mut end)?;
            Ok(end)
        };
        read().unwrap_or_default()
    }

    /// Keeps the log small until it is dropped.
    pub(crate) async fn keep_small(self) {
        let mut pause = SOON;
        let mut before = 0;
        loop {
            let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
            if length > ROTATE_AT && self.rotate().is_err() {
                // The disk is full of it: the older log makes room for a part of the newer one.
                let _ = std::fs::remove_file(older(&self.path));
            }
            let grows = length.saturating_sub(before) > MUCH;
            before = if length > ROTATE_AT { 0 } else { length };
            pause = if grows { SOON } else { (pause * 2).min(LATER) };
            sleep(pause).await;
        }
    }

    /// Makes the last part the older log, and begins anew. A line that is written in this very moment is lost.
    fn rotate(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let from = file.metadata()?.len().saturating_sub(ROTATE_AT - ROOM);
        file.seek(SeekFrom::Start(from))?;
        let mut old =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(older(&self.path))?;
        io::copy(&mut (&file).take(ROTATE_AT), &mut old)?;
        file.set_len(0)?;
        self.begin.store(0, Ordering::Relaxed);
        Ok(())
    }
}

fn older(path: &Path) -> PathBuf {
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    older.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_log_stays_small_and_one_older_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (log, [mut file, _]) = Log::open(&path).unwrap();
        let keeper = tokio::spawn(log.keep_small());
        for letter in *b"xyz" {
            for _ in 0..12 {
                file.write_all(&[letter; 1 << 20]).unwrap();
            }
            file.write_all(b"\n").unwrap();
            while std::fs::metadata(&path).unwrap().len() > 0 {
                sleep(SOON).await;
            }
        }
        file.write_all(b"goes on\n").unwrap();
        keeper.abort();
        assert_eq!(std::fs::read(&path).unwrap(), b"goes on\n");
        let old = std::fs::read(directory.path().join("log.1")).unwrap();
        assert_eq!((old.len() as u64, old[0], &old[old.len() - 2..]), (ROTATE_AT - ROOM, b'z', &b"z\n"[..]));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_process_s_lines_begin_where_the_last_one_s_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (_, [mut file, _]) = Log::open(&path).unwrap();
        file.write_all(b"one\nkilled in the mid").unwrap();
        let (log, [mut file, mut again]) = Log::open(&path).unwrap();
        assert_eq!(log.end(), b"");
        file.write_all(b"two\n").unwrap();
        again.write_all(b"three\n").unwrap();
        assert_eq!(log.end(), b"two\nthree\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"one\nkilled in the mid\ntwo\nthree\n");
        log.rotate().unwrap();
        file.write_all(b"four\n").unwrap();
        assert_eq!(log.end(), b"four\n");
    }
}
