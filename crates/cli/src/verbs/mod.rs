//! What each verb does with a model. Written against [`Substrate`](crate::substrate::Substrate), so that each works
//! wherever the model runs.

pub(crate) mod config;
pub(crate) mod debug_log;
pub(crate) mod deploy;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod integrate;
pub(crate) mod plan;
pub(crate) mod remove;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod status;
pub(crate) mod wait_for;

use crate::args::ModelVerb;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::substrate::Substrate;

/// Carries out a verb on a model.
pub(crate) async fn run(
    verb: ModelVerb,
    model: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    match verb {
        ModelVerb::Status(args) => status::run(args, model, printer).await,
        ModelVerb::Deploy(args) => deploy::run(args, model, printer).await,
        ModelVerb::Config(args) => config::run(args, model, printer).await,
        ModelVerb::Diff(args) => diff::run(args, model, printer).await,
        ModelVerb::Plan(args) => plan::run(args, model, printer).await,
        ModelVerb::Integrate(pair) => integrate::add(pair, model, printer).await,
        ModelVerb::RemoveRelation(pair) => integrate::remove(pair, model, printer).await,
        ModelVerb::RemoveApplication(args) => remove::run(args, model, printer).await,
        ModelVerb::Scale(args) => scale::run(args, model, printer).await,
        ModelVerb::Run(args) => self::run::run(args, model, printer).await,
        ModelVerb::WaitFor(args) => wait_for::run(args, model, printer).await,
        ModelVerb::DebugLog(args) => debug_log::run(args, model, printer).await,
        ModelVerb::Export(args) => export::run(args, model, printer).await,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Verb};
    use crate::printer::Screen;

    /// What a verb answered and wrote.
    #[derive(Debug)]
    pub(crate) struct Done {
        pub(crate) answer: Answer,
        out: String,
        err: String,
    }

    /// Runs `muster WORDS` on a model, on no terminal.
    pub(crate) async fn run(model: &mut impl Substrate, words: &[&str]) -> Result<Done, Failure> {
        let arguments =
            Arguments::try_parse_from(std::iter::once("muster").chain(words.iter().copied())).unwrap();
        let Verb::Model(verb) = arguments.verb else { panic!("{words:?} needs no model") };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let screen = Screen { width: 100, height: None, colour: false, interactive: false };
        let answer = super::run(verb, model, &mut Printer::new(&mut out, &mut err, screen)).await?;
        Ok(Done { answer, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() })
    }

    /// What was written to standard output.
    pub(crate) fn data(done: &Result<Done, Failure>) -> String {
        done.as_ref().unwrap().out.clone()
    }

    /// What was written to standard error.
    pub(crate) fn said(done: &Result<Done, Failure>) -> String {
        done.as_ref().unwrap().err.clone()
    }
}
