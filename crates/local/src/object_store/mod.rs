//! The embedded S3 server: one directory, one pair of keys, for a model that brings no object storage of its own.
//!
//! It speaks S3 through `s3s` and keeps objects with `s3s-fs`; `store` adds what acknowledged data needs: an object
//! appears whole and synced, or not at all. Start reading at [`serve`].

mod listing;
mod store;

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::fcntl::{Flock, FlockArg};
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::path::check_bucket_name;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::store::{Store, UsableNames};

/// `GET` here answers 200 without a signature once the server serves. No bucket can have such a name.
pub const HEALTH_PATH: &str = "/-/healthy";

/// How long requests in flight may take after the server is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long a client may take to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long accepting rests when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the buckets below `root` on `address` until SIGTERM or SIGINT, then lets requests in flight end.
///
/// Buckets are directories directly below `root`; [`create_bucket`] or the S3 API makes them.
///
/// # Errors
/// The directory cannot be made or written, another server holds it, or the address cannot be bound.
pub async fn serve(root: &Path, address: SocketAddr, access_key: &str, secret_key: &str) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    serve_until(root, address, access_key, secret_key, async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

/// [`serve`], until `stop` is done.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until(
    root: &Path,
    address: SocketAddr,
    access_key: &str,
    secret_key: &str,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let _held = hold(root)?;
    let service = {
        let mut builder = S3ServiceBuilder::new(Store::open(root)?);
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        builder.set_access(UsableNames::below(root));
        builder.build()
    };
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, root = %root.display(), "object store serves");

    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, service.clone(), stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
        tracing::warn!("requests in flight did not end in time and are cut off");
    }
    Ok(())
}

/// Makes the bucket `name` below `root` if it is not there yet.
///
/// # Errors
/// The name breaks S3's rules, or the directory cannot be made.
pub fn create_bucket(root: &Path, name: &str) -> io::Result<()> {
    if !check_bucket_name(name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a bucket")));
    }
    make_private_directory(&root.join(name))?;
    File::open(root)?.sync_all()
}

fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes `root` and locks it: two servers on one directory would use the same names for temporary files.
fn hold(root: &Path) -> io::Result<Flock<File>> {
    make_private_directory(root)?;
    Flock::lock(File::open(root)?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another object store serves {}; stop it first", root.display()),
        ),
        errno => errno.into(),
    })
}

/// Serves one connection. When told to stop it ends after the request in flight.
async fn converse(stream: TcpStream, service: S3Service, mut stopped: watch::Receiver<bool>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move {
            let response = if request.method() == Method::GET && request.uri().path() == HEALTH_PATH {
                Response::new(Body::from("ok\n".to_owned()))
            } else {
                hyper::service::Service::call(&service, request).await.unwrap_or_else(|error| {
                    tracing::error!(?error, "a request could not be answered");
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
                    response
                })
            };
            Ok::<_, Infallible>(response)
        }
    });
    let _ = stream.set_nodelay(true);
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), answer)
    );
    let told = async { drop(stopped.wait_for(|stopped| *stopped).await) };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = told => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}
