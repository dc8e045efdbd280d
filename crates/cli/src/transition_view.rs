//! A transition as lines: its phases, and what the present one waits for.

use muster_api::TransitionStatus;
use muster_model::{AppName, WorkloadStatus};

use crate::printer::Screen;
use crate::status_view::colour_of;
use crate::table::{Cell, Column, Table};
use crate::text;

/// The phases of a coordinator's transition, within the screen's width.
pub(crate) fn phases(coordinator: &AppName, transition: &TransitionStatus, screen: Screen) -> String {
    let mut lines = text::wrap(&text::plain(&format!("{coordinator}: {}", transition.message)), screen.width);
    lines.push(String::new());
    let mut table = Table::new([
        Column::new("Phase").right(),
        Column::new("State"),
        Column::new("Done").right(),
        Column::new("Work").cut(1, 8),
        Column::new("Units").cut(0, 16),
    ]);
    let present = usize::try_from(transition.phase).unwrap_or(usize::MAX);
    for (place, phase) in (1..).zip(&transition.phases) {
        let (state, colour) = match place.cmp(&present) {
            std::cmp::Ordering::Less => ("over", colour_of(WorkloadStatus::Active)),
            std::cmp::Ordering::Equal => ("now", colour_of(WorkloadStatus::Maintenance)),
            std::cmp::Ordering::Greater => ("to come", anstyle::Style::new()),
        };
        table.push([
            Cell::new(place.to_string()),
            Cell::new(state).styled(colour),
            Cell::new(format!("{}/{}", phase.done, phase.total)),
            Cell::new(phase.work.verb()),
            Cell::new(&phase.units),
        ]);
    }
    lines.extend(table.lay_out(screen.width, screen.colour).lines);
    let mut also = |heading: &str, said: &[String]| {
        for line in said {
            lines.extend(text::wrap(&text::plain(&format!("{heading}: {line}")), screen.width));
        }
    };
    also("waits for", &transition.waits_for);
    also("edited half-way", &transition.edited);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{app, in_transition};

    #[test]
    fn every_phase_is_shown_with_what_it_waits_for() {
        let transition = in_transition().applications[&app("mimir")].transition.clone().unwrap();
        for width in [60, 100] {
            let screen = Screen { width, height: None, colour: false, interactive: false };
            let shown = phases(&app("mimir"), &transition, screen);
            assert!(shown.lines().all(|line| text::width(line) <= width), "{shown}");
            let parts =
                ["over", "now", "to come", "3/3", "1/3", "waits for: mimir-read/10", "edited half-way: "];
            for part in parts {
                assert!(shown.contains(part), "{part}: {shown}");
            }
        }
    }
}
