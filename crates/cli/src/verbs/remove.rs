//! `muster remove-application`.

use crate::applications::Applications;
use crate::args;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::relations;
use crate::substrate::{Proposal, Substrate, Write};
use crate::verbs::plan;

/// Removes an application, after its relations: so a removal that is cut short leaves no document that names what
/// is not there, and can be asked for again.
pub(crate) async fn run(
    args: args::Remove,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let app = &args.app;
    let apps = Applications::new(substrate.documents().await?);
    let kind = apps.get(app).map_err(Failure::from)?.kind();
    if args.look.dry_run {
        let proposal = Proposal::Remove(relations::without(&apps, app), kind, app.clone());
        return plan::foresee(proposal, None, args.look.output, substrate, printer).await;
    }
    if printer.screen.interactive
        && !args.yes
        && !printer.confirm(&format!("Remove {app} with all its units?"))?
    {
        printer.say(&format!("{app} stays"));
        return Ok(Answer::No);
    }
    let related = relations::without(&apps, app);
    if !related.is_empty() {
        substrate.apply(related, Write::Replace).await?;
    }
    let there = substrate.delete(kind, app).await?;
    printer.say(&if there {
        format!("Removing application {app}")
    } else {
        format!("{app} is being removed already")
    });
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use crate::fake::{Fake, app};
    use crate::verbs::tests::{run, said};

    #[tokio::test]
    async fn relations_go_first() {
        let mut fake = Fake::with_model("");
        assert_eq!(
            said(&run(&mut fake, &["remove-application", "mimir"]).await),
            "Removing application mimir\n"
        );
        assert_eq!(fake.writes, ["Replace Worker mimir-read", "Delete Coordinator mimir"]);
        assert!(fake.applications().get(&app("mimir")).is_err());
        assert!(run(&mut fake, &["remove-application", "mimir"]).await.is_err());
        run(&mut fake, &["remove-application", "mimir-read", "--yes"]).await.unwrap();
        assert_eq!(fake.documents.len(), 1);
    }
}
