//! A workload's output on the agent's own standard output.
//!
//! A thread of its own writes, so that a reader who does not read never stops the agent, and the workload neither. The queue to it is
//! bounded; what does not fit is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

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
    /// Starts the thread. `output`: what it writes to.
    pub(crate) fn start(mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, blocks) = sync_channel(QUEUE);
        let (finished, done) = channel();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new().name("log".to_owned()).stack_size(128 << 10).spawn(move || {
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

fn write_all(blocks: &Receiver<Vec<u8>>, dropped: &AtomicUsize, output: &mut impl Write) {
    while let Ok(block) = blocks.recv() {
        let missed = dropped.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let _ = writeln!(output, "[{missed} lines dropped: they came faster than they could be written]");
        }
        // A closed reader loses lines, nothing else.
        let _ = output.write_all(&block).and_then(|()| output.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_written_when_the_sink_finishes() {
        let (mut reader, output) = io::pipe().unwrap();
        let sink = Sink::start(output).unwrap();
        let writer = sink.writer();
        writer.write(b"one\n".to_vec());
        writer.write(b"two\n".to_vec());
        drop(writer);
        sink.finish();
        let mut written = String::new();
        io::Read::read_to_string(&mut reader, &mut written).unwrap();
        assert_eq!(written, "one\ntwo\n");
    }
}
