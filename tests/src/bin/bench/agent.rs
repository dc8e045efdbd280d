//! How fast an agent turns an assignment with other roles into a new process.

use std::time::Duration;

use muster_tests::agent::toggles;

use crate::{Figure, milliseconds};

const TOGGLES: u64 = 100;
/// How long the stand-in takes to end; not counted.
const STOP: Duration = Duration::from_millis(20);
const BAR: Duration = Duration::from_millis(50);

pub(crate) async fn figures() -> Vec<Figure> {
    let beyond = toggles(TOGGLES, STOP).await;
    let (least, median, most) = (beyond[0], beyond[beyond.len() / 2], beyond[beyond.len() - 1]);
    vec![Figure {
        what: format!(
            "role toggled to new process, median of {TOGGLES} ({} to {})",
            milliseconds(least),
            milliseconds(most)
        ),
        measured: milliseconds(median),
        bar: milliseconds(BAR),
        holds: median <= BAR,
    }]
}
