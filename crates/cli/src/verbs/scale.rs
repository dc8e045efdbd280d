//! `muster scale`.

use muster_api::Document;

use crate::applications::Applications;
use crate::args;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::substrate::{Substrate, Write};
use crate::text::counted;
use crate::verbs::plan;

/// Sets how many units an application has. Of a coordinator these are its load balancers.
pub(crate) async fn run(
    args: args::Scale,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let apps = Applications::new(substrate.documents().await?);
    let mut document = apps.get(&args.app).map_err(Failure::from)?.clone();
    let units = match &mut document {
        Document::Coordinator(coordinator) => &mut coordinator.spec.units,
        Document::Worker(worker) => &mut worker.spec.units,
        Document::Secret(_) => {
            return Err(Failure::new(format!(
                "{} has no units: only coordinators and workers can be scaled",
                args.app
            )));
        }
    };
    let before = std::mem::replace(units, args.units);
    if args.look.dry_run {
        return plan::foresee_edit(vec![document], args.look.output, substrate, printer).await;
    }
    let changed = substrate.apply(vec![document], Write::Replace).await?;
    let now = counted(args.units, "unit");
    printer.say(&if changed {
        format!("{} scaled to {now}, from {before}", args.app)
    } else {
        format!("{} has {now} already", args.app)
    });
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use crate::fake::Fake;
    use crate::verbs::tests::{run, said};

    #[tokio::test]
    async fn units_are_set() {
        let mut fake = Fake::with_model("");
        assert_eq!(
            said(&run(&mut fake, &["scale", "mimir-read", "4"]).await),
            "mimir-read scaled to 4 units, from 1\n"
        );
        assert_eq!(
            said(&run(&mut fake, &["scale", "mimir-read", "4"]).await),
            "mimir-read has 4 units already\n"
        );
        assert_eq!(
            said(&run(&mut fake, &["scale-application", "mimir", "0"]).await),
            "mimir scaled to 0 units, from 1\n"
        );
        assert!(run(&mut fake, &["scale", "s3", "2"]).await.is_err());
        assert!(run(&mut fake, &["scale", "nobody", "2"]).await.is_err());
    }
}
