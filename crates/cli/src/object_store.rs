//! `muster object-store`: the embedded S3 server of a model, as the process that its agent supervises.

use std::fs;

use muster_local::object_store;

use crate::args;
use crate::failure::{Answer, Failure};

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(args: &args::ObjectStore) -> Result<Answer, Failure> {
    let file = args.credentials.display();
    let keys = fs::read_to_string(&args.credentials)
        .map_err(|e| Failure::new(format!("failed to read {file}: {e}")))?;
    let Some((access_key, secret_key)) = keys.trim_end().split_once('\n') else {
        return Err(Failure::new(format!("{file} must hold the access key and the secret key, a line each")));
    };
    let served = object_store::serve(&args.root, args.listen, access_key, secret_key).await;
    served.map_err(|e| {
        let root = args.root.display();
        Failure::new(format!("failed to serve {root} on {}: {e}", args.listen))
    })?;
    Ok(Answer::Yes)
}
