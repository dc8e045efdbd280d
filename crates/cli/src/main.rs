//! `muster`: the user's tool.
//!
//! A verb that works on a model is written once, in [`verbs`], against [`substrate::Substrate`]; [`local`] is the one
//! on this machine. What a verb does to documents is pure and stands apart: [`deploy`](mod@deploy), [`options`],
//! [`relations`]. Everything that is written goes through [`printer::Printer`]: data to standard output, talk to
//! standard error. Start reading at [`args`].

mod applications;
mod args;
mod check;
mod deploy;
mod explain;
mod failure;
#[cfg(test)]
mod fake;
mod local;
mod location;
mod object_store;
mod options;
mod printer;
mod reference;
mod relations;
mod settings;
mod status_view;
mod substrate;
mod table;
mod text;
mod up;
mod verbs;

use std::env;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Arguments, ColorWhen, Verb};
use crate::explain::Topic;
use crate::failure::{Answer, Failure};
use crate::local::Local;
use crate::location::{Location, locate};
use crate::printer::{Printer, Screen};
use crate::substrate::Substrate;

/// Wrong usage, or the work could not be done.
const FAILED: u8 = 2;

/// How often a verb is tried that always finds the model edited by others between its reading and its writing.
const MOST_TRIES: usize = 20;

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let mut printer = Printer::new(&mut out, &mut err, Screen::detect(ColorWhen::Auto));
            let answer = usage(&error, &mut printer);
            return end(answer, &mut printer);
        }
    };
    let mut printer = Printer::new(&mut out, &mut err, Screen::detect(arguments.color));
    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("failed to start: {e}")))
        .and_then(|runtime| runtime.block_on(run(arguments, &mut printer)));
    end(answer, &mut printer)
}

/// Says what failed and gives the exit code.
fn end(answer: Result<Answer, Failure>, printer: &mut Printer<'_>) -> ExitCode {
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(FAILED)
        }
    }
}

/// Prints the help that was asked for, or what is wrong with the arguments.
fn usage(error: &clap::Error, printer: &mut Printer<'_>) -> Result<Answer, Failure> {
    let rendered = error.render();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = if printer.screen.colour { rendered.ansi().to_string() } else { rendered.to_string() };
        printer.data(&text)?;
        return Ok(Answer::Yes);
    }
    let text = rendered.to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        text.lines().for_each(|line| printer.say(line));
        return Err(Failure::new("no verb is given"));
    }
    let message = text.strip_prefix("error: ").unwrap_or(&text);
    let (message, rest) = message.split_once("\n\n").unwrap_or((message, ""));
    let hint = rest
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let hint = hint.collect::<Vec<_>>().join("; ");
    Err(Failure::new(message.trim()).hint(if hint.is_empty() { "muster --help".to_owned() } else { hint }))
}

async fn run(arguments: Arguments, printer: &mut Printer<'_>) -> Result<Answer, Failure> {
    let place = || -> Result<Location, Failure> {
        let (state_home, home) = (env::var_os("XDG_STATE_HOME"), env::var_os("HOME"));
        locate(&arguments.model, state_home.as_deref(), home.as_deref()).map_err(Failure::new)
    };
    match arguments.verb {
        Verb::Up(args) => up::run(args, place()?, arguments.color, printer).await,
        Verb::Model(verb) => {
            let mut model = Local::connect(&place()?.directory).await?;
            for _ in 0..MOST_TRIES {
                match verbs::run(verb.clone(), &mut model, printer).await {
                    Err(Failure::Stale) => {}
                    answer => return answer,
                }
            }
            Err(Failure::Stale)
        }
        Verb::Explain(args) => {
            let width = printer.screen.width;
            match explain::topic(&args.topic).map_err(Failure::new)? {
                Topic::Application(name) => {
                    let connected = Local::connect(&place()?.directory).await;
                    let mut model = connected.map_err(|failure| {
                        failure.hint("what is explained without a model: muster explain")
                    })?;
                    let status = model.status().await?;
                    let text = explain::application(&name, &status, width).ok_or_else(|| {
                        Failure::new(format!(
                            "{name} is no application of model {:?} and no topic",
                            status.model
                        ))
                        .hint("see: muster explain, muster status")
                    })?;
                    printer.data(&text)?;
                }
                topic => printer.data(&explain::text(&topic, width)?)?,
            }
            Ok(Answer::Yes)
        }
        Verb::Check(args) => check::run(&args, printer),
        Verb::Completion { shell } => printer.bytes(&reference::completion(shell)).map(|()| Answer::Yes),
        Verb::Man { verb } => printer.bytes(&reference::man(verb.as_deref())?).map(|()| Answer::Yes),
        Verb::ObjectStore(args) => object_store::run(&args).await,
        Verb::GenerateDocs => printer.data(&reference::markdown()).map(|()| Answer::Yes),
    }
}
