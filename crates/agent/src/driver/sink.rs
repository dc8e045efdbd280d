//! Where a workload's output goes: standard output, or a file that is kept small.
//!
//! A thread of its own writes, so that a reader who does not read or a disk that is full never stops the agent, and the
//! workload neither. The queue to it is bounded; what does not fit is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

/// A log file that would grow beyond this many bytes is renamed to `.1`, of which there is one.
pub(crate) const ROTATE_AT: u64 = 10 << 20;
/// How many blocks may wait. With blocks of at most 24 KiB this is 1.5 MiB.
const QUEUE: usize = 64;

/// The way to the writing thread. Dropping it ends the thread once it has written what waits.
#[derive(Debug)]
pub(crate) struct Sink {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicUsize>,
    done: Receiver<()>,
}

/// The part of a [`Sink`] that readers of output hold.
#[derive(Debug, Clone)]
pub(crate) struct SinkWriter {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicUsize>,
}

impl Sink {
    /// Starts the thread. `log`: a file, or standard output.
    pub(crate) fn start(log: Option<PathBuf>) -> io::Result<Self> {
        let (queue, blocks) = sync_channel(QUEUE);
        let (finished, done) = channel();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new().name("log".to_owned()).stack_size(128 << 10).spawn(move || {
            let mut output = log.map_or(Output::Standard, |path| Output::File { path, open: None });
            write_all(&blocks, &counter, &mut output);
            let _ = finished.send(());
        })?;
        Ok(Self { queue, dropped, done })
    }

    pub(crate) fn writer(&self) -> SinkWriter {
        SinkWriter { queue: self.queue.clone(), dropped: Arc::clone(&self.dropped) }
    }

    /// Waits until everything is written, but not for long: a reader who does not read must not hold up the end.
    pub(crate) fn finish(self) {
        let Self { queue, done, .. } = self;
        drop(queue);
        let _ = done.recv_timeout(Duration::from_secs(1));
    }
}

impl SinkWriter {
    /// Hands over whole lines.
    pub(crate) fn write(&self, lines: Vec<u8>) {
        if let Err(TrySendError::Full(lines)) = self.queue.try_send(lines) {
            let count = lines.iter().filter(|byte| **byte == b'\n').count();
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

fn write_all(blocks: &Receiver<Vec<u8>>, dropped: &AtomicUsize, output: &mut Output) {
    while let Ok(block) = blocks.recv() {
        let missed = dropped.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let _ = output.write(
                format!("[{missed} lines dropped: they came faster than they could be written]\n").as_bytes(),
            );
        }
        // A full disk or a closed reader loses lines, nothing else.
        let _ = output.write(&block);
    }
}

enum Output {
    Standard,
    File { path: PathBuf, open: Option<(File, u64)> },
}

impl Output {
    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        match self {
            Self::Standard => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(block)?;
                stdout.flush()
            }
            Self::File { path, open } => {
                let written = write_file(path, open, block);
                if written.is_err() {
                    *open = None;
                }
                written
            }
        }
    }
}

fn write_file(path: &Path, open: &mut Option<(File, u64)>, block: &[u8]) -> io::Result<()> {
    let length = block.len() as u64;
    if open.as_ref().is_some_and(|(_, size)| *size > 0 && size + length > ROTATE_AT) {
        *open = None;
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        std::fs::rename(path, old)?;
    }
    let (file, size) = match open {
        Some(open) => open,
        None => {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            let size = file.metadata()?.len();
            open.insert((file, size))
        }
    };
    file.write_all(block)?;
    *size += length;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_stays_small_and_one_older_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut output = Output::File { path: path.clone(), open: None };
        let block = vec![b'x'; 1 << 20];
        for _ in 0..25 {
            output.write(&block).unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 5 << 20);
        assert_eq!(std::fs::metadata(directory.path().join("log.1")).unwrap().len(), 10 << 20);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_was_handed_over_is_written_when_the_sink_finishes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let sink = Sink::start(Some(path.clone())).unwrap();
        let writer = sink.writer();
        writer.write(b"one\n".to_vec());
        writer.write(b"two\n".to_vec());
        drop(writer);
        sink.finish();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }
}
