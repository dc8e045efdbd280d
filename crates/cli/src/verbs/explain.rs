//! `muster explain APPLICATION`.

use muster_model::AppName;

use crate::explain;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::substrate::Substrate;

/// Explains an application's status.
pub(crate) async fn run(
    name: &AppName,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let status = substrate.status().await?;
    let text = explain::application(name, &status, printer.screen.width).ok_or_else(|| {
        Failure::new(format!("{name} is no application of model {:?} and no topic", status.model))
            .hint("see: muster explain, muster status")
    })?;
    printer.data(&text)?;
    Ok(Answer::Yes)
}
