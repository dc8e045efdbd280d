//! Every transition with the real servers, one after the other, while clients write and read; `MUSTER_TRANSITIONS` narrows them by texts
//! in their names, with commas between. Prints the table of `docs/performance.md`.

use anyhow::ensure;
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
