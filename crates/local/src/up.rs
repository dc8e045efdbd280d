//! `muster up`: takes hold of a model directory and carries the model until it is told to stop.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use muster_api::{Document, DocumentError, ModelStatus};
use muster_model::AppName;
use muster_model::yaml::{MAX_LEN, YamlError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::directory::{DirectoryError, ModelDirectory};
use crate::edits::{self, EditError};
use crate::embedded;
use crate::engine::Engine;
use crate::state::{EmbeddedStore, State};

/// The programs that a model needs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The workers' agent.
    pub worker: PathBuf,
    /// The load balancer's agent.
    pub coordinator: PathBuf,
    /// `muster` itself, which also serves the embedded S3.
    pub muster: PathBuf,
    /// Where the products' binaries are looked for, before `PATH`.
    pub workloads: Vec<PathBuf>,
    /// The nginx binary.
    pub nginx: PathBuf,
}

/// What `muster up` is asked.
#[derive(Debug, Clone)]
pub struct UpSettings {
    /// The model directory.
    pub directory: PathBuf,
    /// The model's name.
    pub name: String,
    /// Documents to apply first.
    pub file: Option<PathBuf>,
    /// The programs.
    pub binaries: Binaries,
}

/// Why a model cannot be brought up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The model directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The file cannot be read.
    #[error("failed to read {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The file is not a stream of documents.
    #[error("{}: {source}", path.display())]
    ParseFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DocumentError,
    },
    /// The documents contradict the model.
    #[error("{0}")]
    Edit(#[from] EditError),
    /// There is nothing to bring up.
    #[error("model {0:?} does not exist yet; give a file: muster up FILE")]
    Empty(String),
    /// No loopback network is free.
    #[error(
        "no free loopback network was found between 127.16.0.0 and 127.254.0.0; stop some other model first"
    )]
    NoNetwork,
    /// Something that must work did not.
    #[error("failed to {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// Reads a file of documents, within the limits of size and encoding.
pub fn read_documents(path: &Path) -> Result<Vec<Document>, UpError> {
    let unreadable = |source| UpError::ReadFile { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // What claims to be short may not be: a pipe, or a device.
    (&mut file).take(MAX_LEN as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_LEN {
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let size = usize::try_from(size).unwrap_or(usize::MAX).max(bytes.len());
        return Err(UpError::ParseFile { path: path.to_owned(), source: YamlError::TooLong(size).into() });
    }
    let not_text = |e| unreadable(io::Error::new(io::ErrorKind::InvalidData, e));
    let text = String::from_utf8(bytes).map_err(not_text)?;
    Document::parse_stream(&text).map_err(|source| UpError::ParseFile { path: path.to_owned(), source })
}

/// Brings the model up and carries it until `shutdown`; then stops everything in order. The status goes to `status` whenever
/// it changes.
pub async fn up(
    settings: UpSettings,
    status: watch::Sender<ModelStatus>,
    shutdown: CancellationToken,
) -> Result<(), UpError> {
    let documents = settings.file.as_deref().map(read_documents).transpose()?;
    let directory = ModelDirectory::open(&settings.directory, &settings.name)?;
    let mut state = match directory.load()? {
        Some(state) => state,
        None if documents.is_none() => return Err(UpError::Empty(settings.name)),
        None => {
            let id = embedded::random_hex(4)
                .map_err(|source| UpError::Io { action: "read random bytes", source })?;
            State::new(settings.name.clone(), free_network(directory.root()).ok_or(UpError::NoNetwork)?, id)
        }
    };
    if let Some(documents) = documents {
        apply_file(&mut state, documents)?;
    }
    directory.save(&state)?;
    Engine::start(directory, state, settings.binaries, status)?.run(shutdown).await
}

/// Writes the documents of a file, and gives coordinators whose object store nobody has a bucket of the embedded S3 server.
pub(crate) fn apply_file(state: &mut State, documents: Vec<Document>) -> Result<(), UpError> {
    let missing = edits::missing_object_stores(state, &documents);
    edits::apply_file(state, documents)?;
    for (coordinator, reference) in missing {
        // The reference was taken from a document; its name is checked when the Secret is written.
        let name = AppName::new(&reference.secret).map_err(|e| EditError::Name(e.to_string()))?;
        embed(state, &name, &coordinator)?;
    }
    Ok(())
}

/// Gives the coordinator a bucket of the embedded S3 server.
fn embed(state: &mut State, secret: &AppName, coordinator: &AppName) -> Result<(), UpError> {
    let address = state.address(&embedded::unit()).ok_or(UpError::NoNetwork)?.to_string();
    let store = match &state.object_store {
        Some(store) => store.clone(),
        None => {
            EmbeddedStore::generate().map_err(|source| UpError::Io { action: "read random bytes", source })?
        }
    };
    // Bucket names have at least three characters, application names at least one.
    let document = store.secret(secret, &format!("muster-{coordinator}"), &address);
    state.object_store = Some(store);
    edits::apply(state, vec![document], false)?;
    Ok(())
}

/// A loopback network on which nobody listens at the places that Muster uses, starting the search at one that the model's
/// directory decides, so that two models rarely try the same.
fn free_network(root: &Path) -> Option<u8> {
    const FIRST: u16 = 16;
    const COUNT: u16 = 239;
    let hash = muster_model::Revision::of([root.as_os_str().as_encoded_bytes()]);
    let start = u16::from_str_radix(&hash.as_str()[..2], 16).unwrap_or(0);
    (0..COUNT).filter_map(|i| u8::try_from(FIRST + (start + i) % COUNT).ok()).find(|network| {
        [
            (1, embedded::S3_PORT),
            (1, muster_model::HTTP_PORT),
            (2, muster_model::HTTP_PORT),
            (2, muster_model::GOSSIP_PORT),
        ]
        .iter()
        .all(|(host, port)| TcpListener::bind((Ipv4Addr::new(127, *network, 0, *host), *port)).is_ok())
    })
}
