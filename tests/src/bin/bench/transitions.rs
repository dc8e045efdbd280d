//! Every transition with the real servers, one after the other, while clients write and read; `MUSTER_TRANSITIONS` narrows them by texts
//! in their names, with commas between. Prints the table of `docs/performance.md`.

use anyhow::ensure;
use muster_tests::kubernetes::node::in_cluster;
use muster_tests::kubernetes::transition::{Carried, in_a_row};
use muster_tests::transition::{self, Outcome};

use crate::Figure;

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let cases = transition::selected();
    ensure!(!cases.is_empty(), "no transition has such a text in its name");
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for case in cases {
        let name = case.name();
        let (measured, holds) = match transition::run(&case).await {
            Ok(outcome) => {
                let (row, misses) = (outcome.row(), outcome.misses());
                anstream::println!("{row}\n{}", outcome.why());
                rows.push(row);
                (format!("{} lost; misses: {}", outcome.lost, misses.join(", ")), misses.is_empty())
            }
            Err(error) => {
                anstream::println!("{name}: {error:#}");
                ("not carried out".to_owned(), false)
            }
        };
        figures.push(Figure { what: name, measured, bar: "docs/performance.md".to_owned(), holds });
    }
    anstream::println!("\n{}\n{}\n", Outcome::HEAD, rows.join("\n"));
    Ok(figures)
}

/// Mimir's transitions on a cluster with a node, those of each number of copies in one deployment; the same variable narrows them.
pub(crate) fn in_clusters() -> anyhow::Result<Vec<Figure>> {
    let cases = transition::selected();
    let mut figures = Vec::new();
    for copies in [1, 3] {
        if !cases.iter().any(|case| case.copies == copies) {
            continue;
        }
        let mut came_to = None;
        std::thread::scope(|scope| {
            // The cluster's network is one thread's own.
            scope.spawn(|| {
                in_cluster(1, 64, async |site| came_to = Some(in_a_row(&site, copies, &cases).await));
            });
        });
        let Some(carried) = came_to else { continue };
        let Carried { journal, stages } = &carried.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let refused = carried.as_ref().map_or(0, Carried::refused);
        for (what, took) in stages {
            anstream::println!("{what}: {:.0} s", took.as_secs_f64());
        }
        figures.push(Figure {
            what: format!("Mimir with {copies} copies, {} changes: samples refused twice, gap", stages.len()),
            measured: format!(
                "{refused} of {}, {:.1} s",
                journal.attempted,
                journal.longest_gap().as_secs_f64()
            ),
            bar: if copies == 1 { "printed" } else { "0" }.to_owned(),
            holds: copies == 1 || refused == 0,
        });
    }
    Ok(figures)
}
