//! `muster up`: takes hold of a model directory and carries the model until it is told to stop.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use muster_api::{Document, DocumentError, ModelStatus};
use muster_model::yaml::{MAX_LEN, YamlError};
use muster_model::{AGENT_PORT, AppName, GOSSIP_PORT, GRPC_PORT, HTTP_PORT};
use muster_nginx::STATUS_PORT;
use muster_products::{charm, workload};
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
    /// Somebody listens on a port of the model on every address.
    #[error(
        "this model needs {}, on which something listens on every loopback address; stop that first (ss -ltnp shows it)",
        ports_named(.0)
    )]
    PortsTaken(BTreeSet<u16>),
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
            let network = free_network(directory.root(), &ports(documents.as_deref().unwrap_or_default()))?;
            State::new(settings.name.clone(), network, id)
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

/// Every port on which something of these documents' model listens.
fn ports(documents: &[Document]) -> BTreeSet<u16> {
    let mut ports =
        BTreeSet::from([HTTP_PORT, GRPC_PORT, GOSSIP_PORT, AGENT_PORT, STATUS_PORT, embedded::S3_PORT]);
    for document in documents {
        let Document::Coordinator(coordinator) = document else { continue };
        // What is wrong with products and options is said once the model is up.
        let Ok(product) = coordinator.spec.product.parse() else { continue };
        let config = &coordinator.spec.config;
        let config =
            config.iter().map(|(k, v)| (k.clone(), serde_json::to_value(v).unwrap_or_default())).collect();
        let (options, _) = charm::coordinator(product).validate(&config);
        ports.extend(workload(product).listeners(&options).iter().map(|listener| listener.port));
    }
    ports
}

/// A loopback network on which nobody listens on these ports, starting the search at one that the model's directory decides,
/// so that two models rarely try the same.
fn free_network(root: &Path, ports: &BTreeSet<u16>) -> Result<u8, UpError> {
    const FIRST: u16 = 16;
    const COUNT: u16 = 239;
    let hash = muster_model::Revision::of([root.as_os_str().as_encoded_bytes()]);
    let start = u16::from_str_radix(&hash.as_str()[..2], 16).unwrap_or(0);
    // The addresses that every model uses.
    let is_free = |network, port| {
        [1, 2].iter().all(|host| TcpListener::bind((Ipv4Addr::new(127, network, 0, *host), port)).is_ok())
    };
    let mut taken_everywhere = ports.clone();
    for network in (0..COUNT).filter_map(|i| u8::try_from(FIRST + (start + i) % COUNT).ok()) {
        let taken: BTreeSet<u16> = ports.iter().copied().filter(|port| !is_free(network, *port)).collect();
        if taken.is_empty() {
            return Ok(network);
        }
        taken_everywhere.retain(|port| taken.contains(port));
    }
    Err(if taken_everywhere.is_empty() { UpError::NoNetwork } else { UpError::PortsTaken(taken_everywhere) })
}

fn ports_named(ports: &BTreeSet<u16>) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    format!("port{} {}", if ports.len() == 1 { "" } else { "s" }, ports.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<Document> {
        Document::parse_stream(text).unwrap()
    }

    const TEMPO: &str = "apiVersion: muster.dev/v1alpha1\nkind: Coordinator\nmetadata: {name: tempo}\n\
                         spec: {product: tempo, config: {always-enable-zipkin: true}}\n";

    #[test]
    fn a_models_ports_are_those_of_its_products_and_open_receivers() {
        let own = ports(&[]);
        assert!(own.contains(&HTTP_PORT) && own.contains(&GOSSIP_PORT), "{own:?}");
        let of_tempo: Vec<_> = ports(&documents(TEMPO)).difference(&own).copied().collect();
        assert_eq!(of_tempo, [3200, 9096, 9411]);
        let with_loki = TEMPO.replace("tempo", "loki").replace("always-enable-zipkin: true", "");
        assert!(ports(&documents(&with_loki)).contains(&3100));
        let unknown = TEMPO.replace("product: tempo", "product: graphite");
        assert_eq!(ports(&documents(&unknown)), own);
    }

    #[test]
    fn a_network_is_passed_over_when_one_of_the_ports_is_taken_there() {
        let root = Path::new("/a/model");
        // Whatever the kernel would hand out, so that no other test has it.
        let everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = everywhere.local_addr().unwrap().port();
        let error = free_network(root, &[port].into()).unwrap_err().to_string();
        assert!(error.contains(&format!("needs port {port},")), "{error}");
        drop(everywhere);
        let first = free_network(root, &[port].into()).unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::new(127, first, 0, 2), port)).unwrap();
        assert_ne!(free_network(root, &[port].into()).unwrap(), first);
    }
}
