//! `muster integrate` and `muster remove-relation`.

use crate::applications::Applications;
use crate::args::Pair;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::relations;
use crate::substrate::{Substrate, Write};
use crate::verbs::plan;

/// Relates two applications.
pub(crate) async fn add(
    pair: Pair,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let apps = Applications::new(substrate.documents().await?);
    let relation = relations::between(&apps, &pair.one, &pair.other)?;
    let (holder, named) = relation.sides();
    match relation.add(&apps)? {
        Some(document) if pair.look.dry_run => {
            return plan::foresee_edit(vec![document], pair.look.output, substrate, printer).await;
        }
        Some(document) => {
            substrate.apply(vec![document], Write::Replace).await?;
            printer.say(&format!("Related {holder} and {named}"));
        }
        None => printer.say(&format!("{holder} and {named} are related already")),
    }
    Ok(Answer::Yes)
}

/// Takes a relation away.
pub(crate) async fn remove(
    pair: Pair,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let apps = Applications::new(substrate.documents().await?);
    let relation = relations::between(&apps, &pair.one, &pair.other)?;
    let (holder, named) = relation.sides();
    let document = relation.remove(&apps)?;
    if pair.look.dry_run {
        return plan::foresee_edit(vec![document], pair.look.output, substrate, printer).await;
    }
    substrate.apply(vec![document], Write::Replace).await?;
    printer.say(&format!("Removed the relation of {holder} and {named}"));
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use crate::fake::Fake;
    use crate::verbs::tests::{run, said};

    #[tokio::test]
    async fn relations_come_and_go() {
        let mut fake = Fake::with_model("");
        let again = said(&run(&mut fake, &["integrate", "mimir", "mimir-read"]).await);
        assert_eq!(again, "mimir-read:cluster and mimir:cluster are related already\n");
        assert!(fake.writes.is_empty());
        let gone = said(&run(&mut fake, &["remove-relation", "mimir", "mimir-read"]).await);
        assert_eq!(gone, "Removed the relation of mimir-read:cluster and mimir:cluster\n");
        assert!(run(&mut fake, &["remove-relation", "mimir", "mimir-read"]).await.is_err());
        let back = said(&run(&mut fake, &["relate", "mimir-read", "mimir:cluster"]).await);
        assert_eq!(back, "Related mimir-read:cluster and mimir:cluster\n");
        assert_eq!(fake.documents, Fake::with_model("").documents);
    }
}
