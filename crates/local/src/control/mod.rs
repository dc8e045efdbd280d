//! The model's control socket, through which the CLI's verbs reach a running `muster up`.

mod protocol;

pub use protocol::{Request, Response};
