//! `muster config`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::applications::Applications;
use crate::args;
use crate::failure::{Answer, Failure};
use crate::options::{self, OptionView};
use crate::printer::Printer;
use crate::settings;
use crate::substrate::{Substrate, Write};
use crate::table::{Cell, Column, Table};
use crate::text;
use crate::verbs::plan;

/// The machine-readable list.
#[derive(Serialize)]
struct Listed<'a> {
    application: &'a str,
    charm: &'a str,
    options: BTreeMap<String, OptionView>,
}

/// Lists, prints, sets or resets options.
pub(crate) async fn run(
    args: args::Config,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let app = &args.app;
    let (writes, reads): (Vec<String>, Vec<String>) =
        args.settings.into_iter().partition(|s| s.contains('='));
    let changes = !writes.is_empty() || !args.reset.is_empty();
    if reads.len() > 1 || (changes && !reads.is_empty()) {
        return Err(Failure::new(
            "give one KEY to print its value, or KEY=VALUE pairs to set them, not both",
        ));
    }
    let set = settings::parse(&writes, settings::read_file).map_err(Failure::new)?;
    let apps = Applications::new(substrate.documents().await?);
    if changes {
        let document = options::edit(&apps, app, &set, &args.reset)?;
        if args.dry_run {
            return plan::foresee_edit(vec![document], args.output, substrate, printer).await;
        }
        let changed = substrate.apply(vec![document], Write::Replace).await?;
        let keys = set.keys().cloned().chain(args.reset.iter().cloned()).collect::<Vec<_>>().join(", ");
        printer.say(&if changed {
            format!("Configured {app}: {keys}")
        } else {
            format!("{app} is so already: {keys}")
        });
        return Ok(Answer::Yes);
    }
    if args.dry_run {
        return Err(Failure::new("--dry-run is for changes; give KEY=VALUE pairs, or --reset KEY"));
    }
    let charm = apps.charm(app).map_err(Failure::from)?;
    let views = options::list(&apps, app)?;
    if let Some(key) = reads.first() {
        let Some(view) = views.get(key) else {
            let names = views.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(
                Failure::new(format!("{app} has no option {key:?}")).hint(format!("its options are {names}"))
            );
        };
        if view.hidden {
            return Err(Failure::new(format!("{key} is a secret and is not printed")));
        }
        // The bare value, exact and harmless: what else is data for scripts.
        printer
            .data(&format!("{}\n", text::plain_lines(&view.value.as_ref().map(shown).unwrap_or_default())))?;
        return Ok(Answer::Yes);
    }
    match args.output {
        Some(format) => {
            printer
                .value(&Listed { application: app.as_str(), charm: &charm.name, options: views }, format)?;
        }
        None => printer.data(&table(app.as_str(), &charm.name, &views, printer.screen.width))?,
    }
    Ok(Answer::Yes)
}

/// Options as a table with the description of each below it.
fn table(app: &str, charm: &str, views: &BTreeMap<String, OptionView>, width: usize) -> String {
    const INDENT: &str = "    ";
    let mut table = Table::new([
        Column::new("Option"),
        Column::new("Value").cut(0, 16),
        Column::new("Default").cut(1, 10),
        Column::new("Source").cut(8, 7),
        Column::new("Type").cut(8, 7),
    ]);
    for (name, view) in views {
        let value = if view.hidden {
            "(hidden)".to_owned()
        } else {
            view.value.as_ref().map(shown).unwrap_or_default()
        };
        table.push([
            Cell::new(name),
            Cell::new(value),
            Cell::new(view.default.as_ref().map(shown).unwrap_or_default()),
            Cell::new(view.source.as_str()),
            Cell::new(&view.kind),
        ]);
    }
    let mut lines = text::wrap(&text::plain(&format!("{app} is deployed from charm {charm}.")), width);
    lines.push(String::new());
    let mut rows = table.lay_out(width, false).lines.into_iter();
    lines.extend(rows.next());
    for (row, view) in rows.zip(views.values()) {
        lines.push(row);
        let help = text::wrap(&text::plain(&view.description), width.saturating_sub(INDENT.len()));
        lines.extend(help.into_iter().map(|line| format!("{INDENT}{line}")));
    }
    lines.join("\n")
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use crate::fake::{Fake, app};
    use crate::verbs::tests::{data, run, said};

    #[tokio::test]
    async fn options_are_set_and_read_back() {
        let mut fake = Fake::with_model("");
        let done = run(&mut fake, &["config", "mimir", "retention-period=30d", "replication-factor=3"]).await;
        assert_eq!(said(&done), "Configured mimir: replication-factor, retention-period\n");
        assert_eq!(data(&run(&mut fake, &["config", "mimir", "retention-period"]).await), "30d\n");
        let again = run(&mut fake, &["config", "mimir", "retention-period=30d"]).await;
        assert_eq!(said(&again), "mimir is so already: retention-period\n");
        run(&mut fake, &["config", "mimir", "--reset", "retention-period,replication-factor"]).await.unwrap();
        assert_eq!(data(&run(&mut fake, &["config", "mimir", "replication-factor"]).await), "0\n");
        run(&mut fake, &["config", "mimir-read", "role-write=true"]).await.unwrap();
        assert_eq!(data(&run(&mut fake, &["config", "mimir-read", "role-write"]).await), "true\n");
    }

    #[tokio::test]
    async fn the_list_shows_everything_but_secrets() {
        let mut fake = Fake::with_model("");
        let list = data(&run(&mut fake, &["config", "s3"]).await);
        assert!(list.contains("http://127.0.0.1:9000") && list.contains("(hidden)"), "{list}");
        for hidden in ["hunter2", "key-id"] {
            assert!(!list.contains(hidden), "{list}");
            for format in ["json", "yaml"] {
                assert!(!data(&run(&mut fake, &["config", "s3", "-o", format]).await).contains(hidden));
            }
        }
        assert!(run(&mut fake, &["config", "s3", "secret-key"]).await.is_err());
        let list = data(&run(&mut fake, &["config", "mimir-read"]).await);
        for expected in ["role-read", "true", "user", "default", "boolean", "Runs queries"] {
            assert!(list.contains(expected), "{expected} is not in {list}");
        }
        assert!(list.lines().all(|line| crate::text::width(line) <= 100), "{list}");
    }

    #[tokio::test]
    async fn refused_changes_write_nothing() {
        let mut fake = Fake::with_model("");
        for words in [
            &["config", "mimir", "colour=red"][..],
            &["config", "mimir", "replication-factor=many"],
            &["config", "mimir", "retention-period=30d", "colour=red"],
            &["config", "mimir", "retention-period", "replication-factor=1"],
            &["config", "mimir", "a", "b"],
            &["config", "mimir", "colour"],
            &["config", "s3", "secret-key=hunter3"],
            &["config", "s3", "endpoint=http://h/path"],
            &["config", "nobody", "a=b"],
            &["config", "nobody"],
        ] {
            assert!(run(&mut fake, words).await.is_err(), "{words:?}");
        }
        assert!(fake.writes.is_empty());
        assert!(fake.applications().get(&app("mimir")).is_ok());
    }
}
