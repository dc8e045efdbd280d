//! The model's control socket, through which the CLI's verbs reach a running `muster up`.

mod client;
mod protocol;
mod server;

pub use client::{Client, ControlError};
pub use protocol::{Request, Response};
pub(crate) use server::{Question, Server};

/// The longest request, in bytes.
const MAX_LINE: usize = 4 << 20;
