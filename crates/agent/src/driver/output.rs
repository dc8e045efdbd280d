//! Reads what a process writes: forwards it in whole lines and remembers the last ones.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::log::Log;
use super::sink::SinkWriter;

/// How many lines are remembered. Pebble's number.
pub(crate) const TAIL_LINES: usize = 20;
/// A line that is longer is broken into several, in bytes.
const MAX_LINE: usize = 8 << 10;
/// How much of a line is remembered, in bytes.
const MAX_TAIL_LINE: usize = 1000;

/// The last lines of one process, from both its outputs.
#[derive(Debug, Clone)]
pub(crate) enum Tail {
    /// In the order in which they were read.
    Read(LastLines),
    /// Read when they are asked for.
    Log(Log),
}

impl Tail {
    /// The lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Read(lines) => lines.get(),
            Self::Log(log) => {
                let lines = LastLines::default();
                lines.push(&log.end());
                lines.get()
            }
        }
    }
}

/// The last lines of what was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    /// Takes in whole lines.
    fn push(&self, block: &[u8]) {
        if block.is_empty() {
            return;
        }
        let block = block.strip_suffix(b"\n").unwrap_or(block);
        let mut last: Vec<_> = block.rsplit(|byte| *byte == b'\n').take(TAIL_LINES).collect();
        last.reverse();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in last {
            if lines.len() == TAIL_LINES {
                lines.pop_front();
            }
            let text = String::from_utf8_lossy(&line[..line.len().min(MAX_TAIL_LINE)]);
            lines.push_back(text.chars().filter(|c| !c.is_control() || *c == '\t').collect());
        }
    }

    fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Cuts a stream of bytes into whole lines, none longer than [`MAX_LINE`].
#[derive(Debug, Default)]
struct Lines {
    /// The beginning of a line whose end has not come yet; shorter than [`MAX_LINE`].
    begun: Vec<u8>,
}

impl Lines {
    /// Takes in bytes; returns the lines that they complete, each with its line break.
    fn push(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.begun.len() + bytes.len());
        while !bytes.is_empty() {
            let room = MAX_LINE - self.begun.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let take = end.unwrap_or_else(|| room.min(bytes.len()));
            self.begun.extend_from_slice(&bytes[..take]);
            if end.is_some() || self.begun.len() == MAX_LINE {
                whole.append(&mut self.begun);
                whole.push(b'\n');
            }
            bytes = &bytes[take + usize::from(end.is_some())..];
        }
        whole
    }

    /// What came after the last line break, as a line.
    fn finish(&mut self) -> Vec<u8> {
        if !self.begun.is_empty() {
            self.begun.push(b'\n');
        }
        std::mem::take(&mut self.begun)
    }
}

/// Forwards everything that comes through a pipe until all its writers are gone.
pub(crate) async fn forward(pipe: OwnedFd, sink: SinkWriter, tail: LastLines) -> io::Result<()> {
    let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
    let mut buffer = vec![0; 16 << 10];
    let mut lines = Lines::default();
    loop {
        let read = pipe.read(&mut buffer).await?;
        let whole = if read == 0 { lines.finish() } else { lines.push(&buffer[..read]) };
        if !whole.is_empty() {
            tail.push(&whole);
            sink.write(whole);
        }
        if read == 0 {
            return Ok(());
        }
        // A flood must leave the agent time for everything else.
        tokio::task::yield_now().await;
    }
}

/// Reads at most `limit` bytes and throws away the rest.
pub(crate) async fn collect(pipe: OwnedFd, limit: usize) -> io::Result<Vec<u8>> {
    let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
    let mut collected = Vec::new();
    let mut buffer = vec![0; 4 << 10];
    loop {
        let read = pipe.read(&mut buffer).await?;
        if read == 0 {
            return Ok(collected);
        }
        let room = limit - collected.len();
        collected.extend_from_slice(&buffer[..read.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_come_out_as_they_went_in_however_they_are_cut(
            text in prop::collection::vec(prop_oneof![9 => Just(b'x'), 1 => Just(b'\n')], 0..500),
            cuts in prop::collection::vec(1usize..50, 1..50)
        ) {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            let mut rest = &text[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                let whole = lines.push(now);
                prop_assert!(whole.is_empty() || whole.ends_with(b"\n"));
                out.extend(whole);
                rest = later;
            }
            out.extend(lines.finish());
            let mut expected = text.clone();
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                expected.push(b'\n');
            }
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn endless_lines_are_broken_and_memory_stays_bounded() {
        let mut lines = Lines::default();
        let mut written = 0;
        for _ in 0..100 {
            written += lines.push(&[b'x'; 10_000]).len();
            assert!(lines.begun.len() < MAX_LINE);
        }
        assert!(written > 900_000);
    }

    #[test]
    fn the_last_twenty_lines_are_remembered_without_control_characters() {
        let tail = LastLines::default();
        for number in 0..30 {
            tail.push(format!("line {number}\x1b[0m\n").as_bytes());
        }
        tail.push(&[b"\xff\xfe\n".as_slice(), &[b'y'; 5000]].concat());
        let lines = tail.get();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines[0], "line 12[0m");
        assert_eq!(lines[TAIL_LINES - 1].len(), MAX_TAIL_LINE);
    }
}
