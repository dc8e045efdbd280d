//! The S3 probe and the embedded S3 server: what a person is told, and what survives.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, StatusCode};
use muster_model::{ObjectStorage, Reason, Secret};
use muster_s3::{ProbeError, keys, probe};
use muster_testkit::http::Client;
use muster_testkit::prometheus;
use muster_testkit::remote_write::{Settings, Writer};
use muster_testkit::tcp_proxy::Mode;
use muster_testkit::{Process, TcpProxy, binaries, directory, loopback, s3, servers, wait_until};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const ACCESS_KEY: &str = "muster";
const SECRET_KEY: &str = "correct-horse";
const SOON: Duration = Duration::from_secs(20);

/// The embedded server in a process, with a directory of its own.
struct ObjectStore {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
}

impl ObjectStore {
    async fn start() -> Self {
        let directory = directory::temporary();
        let keys = directory.path().join("keys");
        fs::write(&keys, format!("{ACCESS_KEY}\n{SECRET_KEY}\n")).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        let address = loopback::free();
        let process = Self::spawn(&directory, address);
        let mut store = Self { process, address, directory };
        store.healthy().await;
        store
    }

    fn spawn(directory: &TempDir, address: SocketAddr) -> Process {
        let path = |name: &str| directory.path().join(name);
        let mut command = Command::new(binaries::path("object-store"));
        command.arg(path("root")).arg(address.to_string()).arg(path("keys")).env("RUST_BACKTRACE", "0");
        Process::spawn(&mut command, &path("log")).unwrap()
    }

    async fn healthy(&mut self) {
        let mut client = Client::new(&format!("http://{}", self.address)).unwrap();
        let what = format!("object store on {}", self.address);
        let healthy = wait_until(&what, SOON, async || {
            assert!(self.process.status().unwrap().is_none(), "it ended:\n{}", self.process.last_output());
            client.get("/-/healthy", SOON).await.ok()
        });
        healthy.await.unwrap();
    }

    async fn kill_and_restart(&mut self) {
        let status = self.process.stop(Signal::SIGKILL, SOON).await.unwrap();
        assert!(!status.success());
        self.process = Self::spawn(&self.directory, self.address);
        self.healthy().await;
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn bucket(&self, bucket: &str) -> ObjectStorage {
        fs::create_dir_all(self.root().join(bucket)).unwrap();
        storage(self.address, &[("bucket", bucket)])
    }
}

fn storage(address: SocketAddr, pairs: &[(&str, &str)]) -> ObjectStorage {
    let endpoint = format!("http://{address}");
    let mut data: BTreeMap<String, Secret> = [
        ("endpoint", endpoint.as_str()),
        ("bucket", "mimir"),
        ("access-key", ACCESS_KEY),
        ("secret-key", SECRET_KEY),
    ]
    .map(|(key, value)| (key.to_owned(), Secret::new(value)))
    .into();
    data.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))));
    ObjectStorage::from_secret(&data).unwrap()
}

/// The error of a probe that must fail, checked for what every message must have and must not have.
async fn refused(storage: &ObjectStorage, timeout: Duration) -> ProbeError {
    let error = probe(storage, timeout).await.expect_err("the probe must fail");
    let message = error.to_string();
    assert!(
        message.contains(&storage.endpoint.to_string()) && message.contains(&storage.bucket),
        "{message}"
    );
    assert!(!message.contains(storage.secret_key.expose()), "{message}");
    error
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()))
        } else {
            found.push(entry.path())
        }
    }
    found
}

#[tokio::test]
async fn a_good_bucket_passes_and_is_left_as_it_was() {
    let store = ObjectStore::start().await;
    let storage = store.bucket("mimir");
    probe(&storage, SOON).await.unwrap();
    let below_path = self::storage(store.address, &[("path", "some/where")]);
    probe(&below_path, SOON).await.unwrap();
    assert_eq!(keys(&storage, "").await.unwrap(), Vec::<String>::new());
    assert_eq!(files(&store.root()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn wrong_keys_are_denied() {
    let store = ObjectStore::start().await;
    store.bucket("mimir");
    for (key, value) in [("access-key", "somebody"), ("secret-key", "wrong-horse")] {
        let error = refused(&storage(store.address, &[(key, value)]), SOON).await;
        assert_eq!(error.reason(), Reason::ObjectStoreDenied, "{key}: {error}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named_and_made_only_when_allowed() {
    let store = ObjectStore::start().await;
    let error = refused(&storage(store.address, &[]), SOON).await;
    assert_eq!(error.reason(), Reason::BucketMissing, "{error}");
    assert!(!store.root().join("mimir").exists());
    let allowed = storage(store.address, &[("create-bucket", "true")]);
    probe(&allowed, SOON).await.unwrap();
    assert!(store.root().join("mimir").is_dir());
    probe(&allowed, SOON).await.unwrap();
    let elsewhere = [("create-bucket", "true"), ("bucket", "elsewhere"), ("region", "eu-central-1")];
    probe(&storage(store.address, &elsewhere), SOON).await.unwrap();
}

#[tokio::test]
async fn a_closed_port_is_unreachable_at_once() {
    let started = Instant::now();
    let error = refused(&storage(loopback::free(), &[]), Duration::from_secs(60)).await;
    assert_eq!(error.reason(), Reason::ObjectStoreUnreachable, "{error}");
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_store_that_never_answers_is_unreachable_after_the_timeout() {
    // The kernel accepts; nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(500);
    let started = Instant::now();
    let error = refused(&storage(silent.local_addr().unwrap(), &[]), timeout).await;
    assert_eq!(error.reason(), Reason::ObjectStoreUnreachable, "{error}");
    assert!(error.to_string().contains("no answer"), "{error}");
    assert!(
        (timeout..timeout + Duration::from_secs(5)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_cut_network_is_unreachable_and_heals() {
    let store = ObjectStore::start().await;
    store.bucket("mimir");
    let proxy = TcpProxy::start(store.address).await.unwrap();
    let storage = storage(proxy.address(), &[]);
    probe(&storage, SOON).await.unwrap();
    for mode in [Mode::Cut, Mode::Stall] {
        proxy.set(mode);
        let error = refused(&storage, Duration::from_millis(500)).await;
        assert_eq!(error.reason(), Reason::ObjectStoreUnreachable, "{mode:?}: {error}");
        proxy.set(Mode::Pass);
        probe(&storage, SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_and_a_server_without_tls_are_unreachable() {
    let store = ObjectStore::start().await;
    store.bucket("mimir");
    let error =
        refused(&storage(store.address, &[("endpoint", "http://no-such-host.invalid:9000")]), SOON).await;
    assert_eq!(error.reason(), Reason::ObjectStoreUnreachable, "{error}");
    let authority = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let over_tls = [("endpoint", format!("https://{}", store.address)), ("tls-ca-chain", authority)];
    let over_tls = over_tls.each_ref().map(|(key, value)| (*key, value.as_str()));
    let error = refused(&storage(store.address, &over_tls), SOON).await;
    assert_eq!(error.reason(), Reason::ObjectStoreUnreachable, "{error}");
    assert!(error.to_string().contains("http or https"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_no_s3_api_is_said_to_be_none() {
    let other = TcpProxy::start(plain_http_server().await).await.unwrap();
    let error = refused(&storage(other.address(), &[]), SOON).await;
    assert_eq!(error.reason(), Reason::ObjectStoreInvalid, "{error}");
}

/// Answers every request with 200 and a text.
async fn plain_http_server() -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 16384];
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn long_listings_are_complete() {
    let store = ObjectStore::start().await;
    let storage = store.bucket("mimir");
    let mut expected = BTreeSet::new();
    for number in 0..2500 {
        let key = format!("blocks/{}/chunk-{number}", number % 7);
        let path = store.root().join("mimir").join(&key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
        expected.insert(key);
    }
    let listed = keys(&storage, "").await.unwrap();
    assert_eq!(listed, expected.iter().cloned().collect::<Vec<_>>());
    let some: Vec<_> = expected.iter().filter(|key| key.starts_with("blocks/3/chunk-1")).cloned().collect();
    assert!(!some.is_empty());
    assert_eq!(keys(&storage, "blocks/3/chunk-1").await.unwrap(), some);
    let error = keys(&self::storage(store.address, &[("bucket", "other")]), "").await.unwrap_err();
    assert_eq!(error.reason(), Reason::BucketMissing);
}

#[tokio::test]
async fn two_servers_never_share_a_directory() {
    let store = ObjectStore::start().await;
    let mut second = ObjectStore::spawn(&store.directory, loopback::free());
    assert!(!second.ended(SOON).await.unwrap().success());
    assert!(second.last_output().contains("another object store"), "{}", second.last_output());
}

#[tokio::test]
async fn the_server_ends_when_asked() {
    let mut store = ObjectStore::start().await;
    let storage = store.bucket("mimir");
    probe(&storage, SOON).await.unwrap();
    // A connection that is kept open does not hold it up.
    let mut idle = Client::new(&format!("http://{}", store.address)).unwrap();
    idle.get("/-/healthy", SOON).await.unwrap();
    let status = store.process.stop(Signal::SIGTERM, Duration::from_secs(5)).await.unwrap();
    assert!(status.success(), "{status}: {}", store.process.last_output());
}

fn client(address: SocketAddr) -> s3::Client {
    s3::Client::new(&format!("http://{address}"), "mimir", ACCESS_KEY, SECRET_KEY).unwrap()
}

/// The content that belongs to a version of a key: long enough that a write takes many steps.
fn content(key: &str, version: u64) -> Vec<u8> {
    format!("{key} {version}\n").repeat(20_000).into_bytes()
}

/// Whether these bytes are one whole version of the key.
fn is_whole(key: &str, found: &[u8]) -> bool {
    let line = found.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let version =
        line.and_then(|line| line.strip_prefix(key)).and_then(|version| version.trim().parse().ok());
    version.is_some_and(|version| found == content(key, version))
}

/// Kills the server again and again while clients write new objects and write over old ones, and others read. No reader
/// ever sees a part of an object, and each round leaves every acknowledged object whole: the acknowledged version, or a
/// later one whose answer was cut off.
#[tokio::test]
async fn a_killed_server_keeps_what_it_acknowledged_and_shows_no_half_object() {
    const WRITERS: u64 = 4;
    let mut store = ObjectStore::start().await;
    let storage = store.bucket("mimir");
    let address = store.address;
    // Per key: the last acknowledged version (0 for none) and the last attempted one.
    let mut versions: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for round in 0..5 {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                let mut own: BTreeMap<String, (u64, u64)> = (0..8)
                    .map(|slot| {
                        if slot < 4 {
                            format!("w{writer}/over/{slot}")
                        } else {
                            format!("w{writer}/{round}/new/{slot}")
                        }
                    })
                    .map(|key| (key.clone(), versions.get(&key).copied().unwrap_or_default()))
                    .collect();
                tokio::spawn(async move {
                    let mut client = client(address);
                    'writing: loop {
                        for (key, (last, attempted)) in &mut own {
                            if stop.load(Ordering::Relaxed) {
                                break 'writing;
                            }
                            *attempted += 1;
                            if client.put(key, content(key, *attempted)).await.is_err() {
                                break 'writing;
                            }
                            *last = *attempted;
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    own
                })
            })
            .collect();
        // Reading the files themselves is faster than asking the server, so it sees more moments.
        let reader = {
            let (stop, bucket) = (Arc::clone(&stop), store.root().join("mimir"));
            std::thread::spawn(move || {
                let keys: Vec<_> = (0..WRITERS).map(|writer| format!("w{writer}/over/0")).collect();
                for key in keys.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let Ok(found) = fs::read(bucket.join(key)) else { continue };
                    assert!(
                        is_whole(key, &found),
                        "round {round}: a reader sees {} bytes of {key}",
                        found.len()
                    );
                }
            })
        };
        let goal = 30 + round * 7;
        wait_until("acknowledged puts", SOON, async || {
            (acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await
        .unwrap();
        store.kill_and_restart().await;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            versions.extend(writer.await.unwrap());
        }
        reader.join().expect("every object is whole at every moment");

        let listed: BTreeSet<String> = keys(&storage, "").await.unwrap().into_iter().collect();
        let mut reader = client(address);
        for (key, (last, attempted)) in &mut versions {
            assert!(*last == 0 || listed.contains(key), "round {round}: {key} is lost");
            if !listed.contains(key) {
                continue;
            }
            let found = reader.get(key).await.unwrap();
            let version = (*last..=*attempted).find(|version| found == content(key, *version));
            let version = version.unwrap_or_else(|| {
                panic!(
                    "round {round}: {key} has {} bytes that are none of versions {last} to {attempted}",
                    found.len()
                )
            });
            // What was read once stays.
            (*last, *attempted) = (version, version);
        }
        assert!(
            listed.iter().all(|key| versions.contains_key(key)),
            "round {round}: unknown keys in {listed:?}"
        );
        let staged: Vec<_> = files(&store.root().join(".staging"));
        assert_eq!(staged, Vec::<PathBuf>::new(), "round {round}");
    }
    probe(&storage, SOON).await.unwrap();
}

#[tokio::test]
async fn objects_are_written_read_in_part_copied_and_deleted() {
    let store = ObjectStore::start().await;
    let storage = store.bucket("mimir");
    let mut client = client(store.address);
    client.put("a/b", "0123456789").await.unwrap();
    assert_eq!(client.get_range("a/b", "bytes=2-4").await.unwrap(), "234");
    assert_eq!(client.get_range("a/b", "bytes=-3").await.unwrap(), "789");
    client.put("a/b", "new").await.unwrap();
    assert_eq!(client.get("a/b").await.unwrap(), "new");
    client.put("empty", "").await.unwrap();
    assert_eq!(client.get("empty").await.unwrap(), "");

    let source = [(HeaderName::from_static("x-amz-copy-source"), "/mimir/a/b")];
    client.send(Method::PUT, "copy", &[], &source, Bytes::new()).await.unwrap();
    assert_eq!(client.get("copy").await.unwrap(), "new");

    // A directory of other keys is no object.
    let error = client.get("a").await.unwrap_err().to_string();
    assert!(error.contains("NoSuchKey"), "{error}");

    let by_directory = [("delimiter", "/"), ("list-type", "2")];
    let listing = client.send(Method::GET, "", &by_directory, &[], Bytes::new()).await.unwrap().excerpt();
    assert!(listing.contains("<Prefix>a/</Prefix>") && listing.contains("<Key>copy</Key>"), "{listing}");
    assert!(!listing.contains("a/b"), "{listing}");

    for key in ["a/b", "copy", "empty", "never/there"] {
        client.send(Method::DELETE, key, &[], &[], Bytes::new()).await.unwrap();
    }
    assert_eq!(keys(&storage, "").await.unwrap(), Vec::<String>::new());
    assert_eq!(files(&store.root()), Vec::<PathBuf>::new());
    assert!(!store.root().join("mimir/a").exists(), "an empty directory stays");
}

#[tokio::test]
async fn conditions_on_writes_hold() {
    let store = ObjectStore::start().await;
    store.bucket("mimir");
    let mut client = client(store.address);
    let absent = [(IF_NONE_MATCH, "*")];
    client.send(Method::PUT, "k", &[], &absent, Bytes::from("first")).await.unwrap();
    let error =
        client.send(Method::PUT, "k", &[], &absent, Bytes::from("second")).await.unwrap_err().to_string();
    assert!(error.contains("PreconditionFailed"), "{error}");
    let wrong = [(IF_MATCH, "\"0123456789abcdef0123456789abcdef\"")];
    client.send(Method::PUT, "k", &[], &wrong, Bytes::from("third")).await.unwrap_err();
    // MD5 of "first".
    let right = [(IF_MATCH, "\"8b04d5e3775d298e78455efc5ca404d5\"")];
    assert_eq!(client.get("k").await.unwrap(), "first");
    client.send(Method::PUT, "k", &[], &right, Bytes::from("fourth")).await.unwrap();
    assert_eq!(client.get("k").await.unwrap(), "fourth");
}

#[tokio::test]
async fn hostile_keys_and_unsigned_requests_are_refused() {
    let store = ObjectStore::start().await;
    store.bucket("mimir");
    store.bucket("other");
    let mut client = client(store.address);
    client.put("file", "x").await.unwrap();
    for key in
        ["a//b", "a/./b", "a/../b", "../other/x", "../../outside", "a/", "file/below", &"k".repeat(300)]
    {
        client.put(key, "x").await.expect_err(key);
    }
    let mut unsigned = Client::new(&format!("http://{}", store.address)).unwrap();
    for path in ["/", "/mimir", "/mimir/file"] {
        let response = unsigned.send(Method::GET, path, &[], "", SOON).await.unwrap();
        assert_eq!(response.status, StatusCode::FORBIDDEN, "{path}");
    }
    // Buckets are not removed through the API, least of all with objects in them.
    client.send(Method::DELETE, "", &[], &[], Bytes::new()).await.unwrap_err();
    let found: Vec<_> =
        files(&store.root()).into_iter().filter(|f| !f.to_string_lossy().contains("/.bucket-")).collect();
    assert_eq!(found, [store.root().join("mimir/file")]);
}

#[tokio::test]
async fn an_object_in_parts_appears_when_it_is_complete() {
    let store = ObjectStore::start().await;
    let storage = store.bucket("mimir");
    let mut client = client(store.address);
    let started = client.send(Method::POST, "big", &[("uploads", "")], &[], Bytes::new()).await.unwrap();
    let started = String::from_utf8(started.body.to_vec()).unwrap();
    let upload = started.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap();
    let parts = [vec![1; 5 << 20], vec![2; 1000]];
    for (number, part) in ["1", "2"].into_iter().zip(&parts) {
        let query = [("partNumber", number), ("uploadId", upload)];
        client.send(Method::PUT, "big", &query, &[], Bytes::from(part.clone())).await.unwrap();
    }
    assert_eq!(keys(&storage, "").await.unwrap(), Vec::<String>::new());
    let complete = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>\
                    <Part><PartNumber>2</PartNumber><ETag>\"b\"</ETag></Part></CompleteMultipartUpload>";
    client.send(Method::POST, "big", &[("uploadId", upload)], &[], Bytes::from(complete)).await.unwrap();
    assert_eq!(keys(&storage, "").await.unwrap(), ["big"]);
    assert!(client.get("big").await.unwrap() == parts.concat());
}

/// The real Mimir writes samples, flushes them, loses its disk, and reads all of them back from the store.
#[tokio::test]
async fn mimir_keeps_its_blocks_there() {
    let store = ObjectStore::start().await;
    let storage = store.bucket("mimir");
    let directory = directory::temporary();
    let mut mimir = Mimir::start(&directory, "1", store.address).await;

    let writer = Writer::start(Settings::new(&mimir.base, "r")).unwrap();
    writer.progress(100, SOON).await.unwrap();
    let journal = writer.stop().await.unwrap();
    assert!(journal.acknowledged.len() >= 100, "{:?}", journal.failures);
    let queries = prometheus::Client::new(&mimir.base);
    assert_eq!(journal.lost(&queries.read_back("r").await.unwrap()), BTreeSet::new());

    let mut http = Client::new(&mimir.base).unwrap();
    let flushed =
        http.send(Method::POST, "/ingester/shutdown", &[], "", Duration::from_secs(60)).await.unwrap();
    assert!(flushed.status.is_success(), "{}: {}", flushed.status, flushed.excerpt());
    wait_until("block in the store", SOON, async || {
        keys(&storage, "blocks/").await.ok()?.iter().any(|key| key.ends_with("/meta.json")).then_some(())
    })
    .await
    .unwrap();
    mimir.process.stop(Signal::SIGTERM, Duration::from_secs(60)).await.unwrap();

    let mimir = Mimir::start(&directory, "2", store.address).await;
    let queries = prometheus::Client::new(&mimir.base);
    let complete = wait_until("all samples from the store", Duration::from_secs(60), async || {
        journal.lost(&queries.read_back("r").await.ok()?).is_empty().then_some(())
    });
    complete.await.unwrap_or_else(|error| panic!("{error}; Mimir said:\n{}", mimir.process.last_output()));
}

struct Mimir {
    process: Process,
    base: String,
}

impl Mimir {
    /// A Mimir of all components with an empty disk.
    async fn start(directory: &TempDir, name: &str, store: SocketAddr) -> Self {
        let data = directory.path().join(name);
        fs::create_dir(&data).unwrap();
        let [http, grpc, gossip] =
            [loopback::free(), loopback::free(), loopback::free()].map(|address| address.port());
        let config = data.join("mimir.yaml");
        fs::write(
            &config,
            format!(
                r#"
multitenancy_enabled: false
usage_stats: {{enabled: false}}
server: {{http_listen_address: 127.0.0.1, http_listen_port: {http}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}}}
memberlist: {{bind_addr: [127.0.0.1], bind_port: {gossip}, advertise_addr: 127.0.0.1}}
common:
  storage:
    backend: s3
    s3: {{endpoint: "{store}", bucket_name: mimir, access_key_id: {ACCESS_KEY}, secret_access_key: {SECRET_KEY}, insecure: true}}
blocks_storage:
  storage_prefix: blocks
  tsdb: {{dir: {data}/tsdb}}
  bucket_store: {{sync_dir: {data}/sync, sync_interval: 1s, ignore_blocks_within: 0s}}
querier: {{query_store_after: 0s}}
ingester: {{ring: {{instance_addr: 127.0.0.1, replication_factor: 1, min_ready_duration: 0s}}}}
distributor: {{ring: {{instance_addr: 127.0.0.1}}}}
store_gateway: {{sharding_ring: {{instance_addr: 127.0.0.1, replication_factor: 1, wait_stability_min_duration: 0s}}}}
compactor: {{data_dir: {data}/compactor, cleanup_interval: 1s, sharding_ring: {{instance_addr: 127.0.0.1, wait_stability_min_duration: 0s}}}}
ruler: {{rule_path: {data}/ruler, ring: {{instance_addr: 127.0.0.1}}}}
frontend: {{address: 127.0.0.1}}
ruler_storage: {{backend: filesystem, filesystem: {{dir: {data}/rules}}}}
alertmanager_storage: {{backend: filesystem, filesystem: {{dir: {data}/alerts}}}}
"#,
                data = data.display()
            ),
        )
        .unwrap();
        let mut command = Command::new(servers::mimir());
        command.arg(format!("-config.file={}", config.display())).arg("-target=all").current_dir(&data);
        let process = Process::spawn(&mut command, &data.join("log")).unwrap();
        let mut mimir = Self { process, base: format!("http://127.0.0.1:{http}") };
        let mut client = Client::new(&mimir.base).unwrap();
        let ready = wait_until("Mimir ready", Duration::from_secs(90), async || {
            assert!(
                mimir.process.status().unwrap().is_none(),
                "Mimir ended:\n{}",
                mimir.process.last_output()
            );
            client.get("/ready", Duration::from_secs(2)).await.ok()
        });
        let ready = ready.await;
        ready.unwrap_or_else(|error| panic!("{error}:\n{}", mimir.process.last_output()));
        mimir
    }
}
