//! `muster debug-log`.

use crate::args;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::substrate::{Substrate, UnitLog};
use crate::text;

/// Prints the last lines of units, each with its unit's name before it.
pub(crate) async fn run(
    args: args::DebugLog,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let logs = substrate.logs(args.lines).await?;
    let chosen = |log: &&UnitLog| {
        let application = log.unit.split('/').next().unwrap_or_default();
        args.select.is_empty() || args.select.iter().any(|word| word == &log.unit || word == application)
    };
    let chosen: Vec<&UnitLog> = logs.iter().filter(chosen).collect();
    if chosen.is_empty() && !logs.is_empty() {
        let names = logs.iter().map(|log| log.unit.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Failure::new("no unit matched").hint(format!("the units are {names}")));
    }
    for log in chosen {
        let unit = text::plain(&log.unit);
        match &log.lines {
            Ok(lines) => {
                let lines = lines.iter().map(|line| format!("{unit}: {}\n", text::plain(line)));
                printer.data(&lines.collect::<String>())?;
            }
            Err(problem) => printer.say(&format!("{unit} has no log: {problem}")),
        }
    }
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use crate::fake::Fake;
    use crate::substrate::UnitLog;
    use crate::verbs::tests::{data, run, said};

    #[tokio::test]
    async fn lines_name_their_unit_and_steer_nothing() {
        let log = |unit: &str, lines: &[&str]| UnitLog {
            unit: unit.to_owned(),
            lines: Ok(lines.iter().map(|line| (*line).to_owned()).collect()),
        };
        let silent = UnitLog { unit: "mimir-read/1".to_owned(), lines: Err("it is not there".to_owned()) };
        let mut fake = Fake {
            logs: vec![log("mimir/0", &["a", "b\u{1b}[2Jc"]), log("mimir-read/0", &["d"]), silent],
            ..Fake::default()
        };
        let all = run(&mut fake, &["debug-log"]).await;
        assert_eq!(data(&all), "mimir/0: a\nmimir/0: bc\nmimir-read/0: d\n");
        assert_eq!(said(&all), "mimir-read/1 has no log: it is not there\n");
        assert_eq!(data(&run(&mut fake, &["debug-log", "-n", "1", "mimir"]).await), "mimir/0: bc\n");
        assert_eq!(data(&run(&mut fake, &["debug-log", "mimir-read/0"]).await), "mimir-read/0: d\n");
        assert!(run(&mut fake, &["debug-log", "nobody"]).await.is_err());
    }
}
