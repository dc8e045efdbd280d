//! The load balancer's document under a real nginx, with stub units behind it.

#![expect(clippy::print_stdout, reason = "measured figures belong in the output")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::Method;
use muster_model::route::PathMatch::{self, Exact, Prefix};
use muster_model::route::Traffic::{Api, Push, Query, Upload};
use muster_model::route::{Listener, Protocol, Route, Traffic, Upstream};
use muster_model::{HTTP_PORT, Product, Revision, Role};
use muster_nginx::{
    CONNECTIONS_PATH, Connections, DRAIN_DEADLINE_MS, Layout, READY_PATH, SETTLE_MS, STATUS_PORT, Server,
    Tenant, UnitValues, arguments, check_arguments, files, layout, ready_body, unit_document,
    waiting_connections,
};
use muster_tests::load::{Load, Request};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, geteuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const fn upstream(role: Role) -> Upstream {
    Upstream { role, port: HTTP_PORT }
}

const fn route(path: PathMatch, role: Role, traffic: Traffic) -> Route {
    Route { path, to: upstream(role), traffic }
}

/// Routes of the same kinds as Mimir's.
const ROUTES: &[Route] = &[
    route(Exact("/api/v1/push"), Role::Distributor, Push),
    route(Prefix("/prometheus/config/v1/rules"), Role::Ruler, Api),
    route(Prefix("/prometheus"), Role::QueryFrontend, Query),
    route(Prefix("/alertmanager"), Role::Alertmanager, Api),
    route(Prefix("/api/v1/upload/block/"), Role::Compactor, Upload),
];

/// A path of each route.
const PATHS: [&str; 5] = [
    "/api/v1/push",
    "/prometheus/config/v1/rules/ns",
    "/prometheus/api/v1/query",
    "/alertmanager/api/v2/alerts",
    "/api/v1/upload/block/01A/start",
];

/// An address of this machine that no other test uses.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    let [_, _, high, low] = pid.to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

type Upstreams = BTreeMap<Upstream, Vec<Server>>;

/// The same units for every role of [`ROUTES`].
fn upstreams<'a>(units: impl IntoIterator<Item = &'a Stub>) -> Upstreams {
    let servers: Vec<_> = units.into_iter().map(Stub::server).collect();
    ROUTES.iter().map(|route| (route.to, servers.clone())).collect()
}

fn text(routes: &'static [Route], upstreams: &Upstreams, tls: bool) -> String {
    of_tenant(Tenant::One("anonymous"), routes, upstreams, tls)
}

fn of_tenant(tenant: Tenant, routes: &'static [Route], upstreams: &Upstreams, tls: bool) -> String {
    let listeners = [Listener { port: HTTP_PORT, protocol: Protocol::Http, name: "http", routes }];
    layout(&Layout { product: Product::Mimir, listeners: &listeners, upstreams, tls, tenant }).to_string()
}

// nginx ------------------------------------------------------------------------------------------------------------

/// A prefix directory as an agent makes it.
fn prefix() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in files::DIRECTORIES {
        std::fs::create_dir(directory.path().join(name)).expect("a directory in the prefix");
    }
    directory
}

fn set_connections(prefix: &Path, revision: &Revision, state: Connections) {
    let next = prefix.join("run/next");
    std::os::unix::fs::symlink(state.target(), &next).expect("a link");
    std::fs::rename(next, prefix.join(files::connections(revision))).expect("a link under its name");
}

fn is_root() -> bool {
    geteuid().is_root()
}

/// What nginx says against the filled document `config`. `None`: it would take it.
async fn refusal(prefix: &Path, config: &str) -> Option<String> {
    std::fs::write(prefix.join("next.conf"), config).expect("a document");
    let output = tokio::process::Command::new("nginx")
        .args(check_arguments(prefix.to_str().expect("a plain path"), is_root(), "next.conf"))
        .current_dir(prefix)
        .output()
        .await
        .expect("nginx runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A running nginx, ended with the test.
struct Nginx {
    child: std::process::Child,
    prefix: tempfile::TempDir,
    address: Ipv4Addr,
    revision: Revision,
}

impl Nginx {
    async fn start(text: &str) -> Self {
        Self::start_in(prefix(), address(), text).await
    }

    async fn start_in(prefix: tempfile::TempDir, address: Ipv4Addr, text: &str) -> Self {
        let revision = Revision::of([text.as_bytes()]);
        set_connections(prefix.path(), &revision, Connections::Keep);
        let config = fill(text, address, &revision);
        assert_eq!(refusal(prefix.path(), &config).await, None);
        std::fs::write(prefix.path().join(files::CONFIG), config).expect("the document");
        let child = std::os::unix::process::CommandExt::process_group(
            Command::new("nginx")
                .args(arguments(prefix.path().to_str().expect("a plain path"), is_root()))
                .current_dir(prefix.path())
                .stdin(Stdio::null()),
            0,
        )
        .spawn()
        .expect("nginx starts");
        let nginx = Self { child, prefix, address, revision };
        nginx.wait_ready().await;
        nginx
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    async fn status_page(&self, path: &str) -> Option<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        exchange(SocketAddr::from((self.address, STATUS_PORT)), request.as_bytes()).await.ok()
    }

    async fn wait_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let expected = ready_body(&self.revision);
        while self.status_page(READY_PATH).await.is_none_or(|answer| answer.body != expected.as_bytes()) {
            assert!(Instant::now() < deadline, "nginx does not serve revision {}", self.revision);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The steps of the crate's documentation; `politely` false leaves out those that spare keep-alive clients.
    async fn reload(&mut self, text: &str, politely: bool) {
        let next = Revision::of([text.as_bytes()]);
        let config = fill(text, self.address, &next);
        assert_eq!(refusal(self.prefix.path(), &config).await, None);
        std::fs::rename(self.prefix.path().join("next.conf"), self.prefix.path().join(files::CONFIG))
            .expect("the document under its name");
        set_connections(self.prefix.path(), &next, Connections::Keep);
        if politely {
            set_connections(self.prefix.path(), &self.revision, Connections::Close);
            let deadline = Instant::now() + Duration::from_millis(DRAIN_DEADLINE_MS);
            while Instant::now() < deadline && self.waiting().await != 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        kill(self.pid(), Signal::SIGHUP).expect("nginx is there");
        self.revision = next;
        self.wait_ready().await;
        if politely {
            self.wait_settled().await;
        }
    }

    /// Waits until the generation before this one accepts no more.
    async fn wait_settled(&self) {
        let expected = ready_body(&self.revision);
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(SETTLE_MS) {
            let answer = self.status_page(READY_PATH).await.expect("nginx answers");
            if answer.body != expected.as_bytes() {
                since = Instant::now();
            }
            assert!(Instant::now() < deadline, "the old generation goes on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn waiting(&self) -> u64 {
        let page = self.status_page(CONNECTIONS_PATH).await.expect("nginx answers");
        waiting_connections(&String::from_utf8_lossy(&page.body)).expect("a stub_status page")
    }

    /// Sends one request on a connection of its own. `head`: request line, and more header lines if any.
    async fn request(&self, head: &str, body: &[u8]) -> Answer {
        let head = format!("{head}\r\nHost: lb.test:8080\r\nConnection: close\r\n");
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = [head.as_bytes(), length.as_bytes(), b"\r\n", body].concat();
        exchange(SocketAddr::from((self.address, HTTP_PORT)), &request).await.expect("nginx answers")
    }

    async fn get(&self, target: &str) -> Answer {
        self.request(&format!("GET {target} HTTP/1.1"), b"").await
    }

    async fn post(&self, target: &str, body: &[u8]) -> Answer {
        self.request(&format!("POST {target} HTTP/1.1"), body).await
    }
}

fn fill(text: &str, address: Ipv4Addr, revision: &Revision) -> String {
    let address = address.to_string();
    unit_document(text, &UnitValues { address: &address, revision }).expect("a load balancer document")
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // An error means that it has ended already; then there is nothing to do.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// An answer read to the end of its connection.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// The values of the header fields with this lower-case name.
    fn header(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// Sends `request` and reads until the other side closes.
async fn exchange(to: SocketAddr, request: &[u8]) -> std::io::Result<Answer> {
    let run = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(request).await?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        answer(&all).ok_or_else(|| std::io::Error::other(format!("no HTTP answer: {}", all.escape_ascii())))
    };
    tokio::time::timeout(Duration::from_secs(20), run).await.map_err(std::io::Error::other)?
}

fn answer(all: &[u8]) -> Option<Answer> {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: all[end + 4..].to_vec() })
}

/// A connection that is used for one request after the other.
struct Kept(TcpStream);

impl Kept {
    async fn connect(nginx: &Nginx) -> Self {
        Self(TcpStream::connect((nginx.address, HTTP_PORT)).await.expect("nginx listens"))
    }

    /// Sends a request's head, without the empty line at its end.
    async fn send(&mut self, head: &str) {
        self.0.write_all(format!("{head}\r\n\r\n").as_bytes()).await.expect("nginx reads");
    }

    /// Reads an answer up to the end of its head and what of its body has come with it.
    async fn answer(&mut self) -> Answer {
        let run = async {
            let mut all = Vec::new();
            loop {
                assert!(
                    self.0.read_buf(&mut all).await.expect("nginx answers") > 0,
                    "no answer: {}",
                    all.escape_ascii()
                );
                if let Some(answer) = answer(&all) {
                    return answer;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), run).await.expect("nginx answers in time")
    }
}

// Stub units -------------------------------------------------------------------------------------------------------

/// A request as it arrived, not interpreted.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: usize,
}

impl Seen {
    fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The value of `name=` in the query, which tells the stub what to do.
    fn order(&self, name: &str) -> Option<u64> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

/// A unit that records what it is sent. `?delay=MS` makes its answer late, `?status=CODE` sets its code, with `?early=1`
/// it answers before it has the body, with `?drop=1` it closes the connection without an answer, and with `?pause=MS` it answers with a
/// body of [`PAUSING_BODY`], and all but the first [`SENT_AT_ONCE`] bytes of the answer come so much later.
struct Stub {
    address: Ipv4Addr,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: JoinHandle<()>,
}

/// What Go's servers send at once, which is a buffer of nginx by default.
const SENT_AT_ONCE: usize = 4096;
/// The body of an answer that pauses.
const PAUSING_BODY: usize = 8000;

impl Stub {
    async fn start() -> Self {
        let address = address();
        let listener = TcpListener::bind((address, HTTP_PORT)).await.expect("the stub's address is free");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, which ends the connections' tasks too.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&recorded)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, seen, accepting }
    }

    fn server(&self) -> Server {
        Server::new(&self.address.to_string(), HTTP_PORT).expect("an address")
    }

    /// Waits until a request has arrived since the last [`take`](Self::take).
    async fn wait_seen(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.seen.lock().expect("no stub panicked").is_empty() {
            assert!(Instant::now() < deadline, "no request arrives");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("no stub panicked"))
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves one connection until the other side closes, or asks for what a stub does not know.
async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            (stream.read_buf(&mut buffer).await.ok()? > 0).then_some(())?;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
        let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
        let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let mut request = Seen { method, target, headers, body: 0 };
        if request.order("early").is_none() {
            request.body = request.header("content-length").first().map_or(Some(0), |n| n.parse().ok())?;
        }
        buffer.drain(..end + 4);
        while buffer.len() < request.body {
            (stream.read_buf(&mut buffer).await.ok()? > 0).then_some(())?;
        }
        buffer.drain(..request.body);
        let (delay, status) = (request.order("delay"), request.order("status").unwrap_or(200));
        let pause = request.order("pause");
        let dropped = request.order("drop").is_some();
        seen.lock().ok()?.push(request);
        if dropped {
            return None;
        }
        if let Some(delay) = delay {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let body = if pause.is_some() { ".".repeat(PAUSING_BODY) } else { "ok\n".to_owned() };
        let answer = format!("HTTP/1.1 {status} Stub\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut answer = answer.as_bytes();
        if let Some(pause) = pause {
            let (first, rest) = answer.split_at(SENT_AT_ONCE);
            stream.write_all(first).await.ok()?;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            answer = rest;
        }
        stream.write_all(answer).await.ok()?;
    }
}

// Documents --------------------------------------------------------------------------------------------------------

fn write_certificate(prefix: &Path, address: Ipv4Addr) {
    let names = vec![address.to_string()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(prefix.join(files::CERTIFICATE), made.cert.pem()).expect("the certificate's file");
    std::fs::write(prefix.join(files::KEY), made.signing_key.serialize_pem()).expect("the key's file");
}

const HOSTILE: &[Route] = &[
    route(Prefix("/a b"), Role::Ruler, Api),
    route(Exact("/\";}server{listen 81;}#"), Role::Ruler, Api),
    route(Exact("/$host${x}"), Role::Ruler, Api),
    route(Exact("/\\"), Role::Ruler, Api),
    route(Exact("/\r\n\t'"), Role::Ruler, Api),
    route(Exact("~ ["), Role::Ruler, Api),
    route(Prefix("@name"), Role::Ruler, Api),
    route(Prefix("=/x"), Role::Distributor, Push),
    route(Prefix(""), Role::Distributor, Push),
    route(Exact(""), Role::Distributor, Push),
    route(Exact("/ready"), Role::Distributor, Push),
    route(Prefix("/twice"), Role::Distributor, Push),
    route(Prefix("/twice/"), Role::Ruler, Api),
    route(Exact("/twice"), Role::Ruler, Api),
    route(Exact("/é\u{202e}"), Role::Ruler, Api),
];

#[tokio::test]
async fn nginx_takes_every_document() {
    let (prefix, address) = (prefix(), address());
    write_certificate(prefix.path(), address);
    for count in [0_u16, 1, 1000] {
        let servers: Vec<_> = (0..count)
            .map(|n| {
                let [high, low] = n.to_be_bytes();
                let ip = if n % 2 == 0 {
                    IpAddr::from([10, 0, high, low])
                } else {
                    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n])
                };
                Server::new(&ip.to_string(), HTTP_PORT).expect("an address")
            })
            .collect();
        for (routes, tls) in [(ROUTES, false), (ROUTES, true), (HOSTILE, false), (&[], true)] {
            let upstreams = routes.iter().map(|route| (route.to, servers.clone())).collect();
            let text = text(routes, &upstreams, tls);
            let config = fill(&text, address, &Revision::of([text.as_bytes()]));
            let started = Instant::now();
            assert_eq!(refusal(prefix.path(), &config).await, None, "{count} servers, TLS {tls}\n{text}");
            println!("nginx -t, {count} servers per role, TLS {tls}: {:?}", started.elapsed());
        }
    }
    let unfilled = text(ROUTES, &Upstreams::new(), false);
    assert!(
        refusal(prefix.path(), &unfilled).await.is_some(),
        "a document without the unit's values never runs"
    );
}

#[tokio::test]
async fn hostile_paths_match_themselves_alone() {
    let stub = Stub::start().await;
    let upstreams = [(upstream(Role::Ruler), vec![stub.server()])].into();
    let nginx = Nginx::start(&text(HOSTILE, &upstreams, false)).await;
    for target in
        ["/a%20b", "/a%20b/c", "/%22;%7Dserver%7Blisten%2081;%7D%23", "/$host$%7Bx%7D", "/%5C", "/%0d%0a%09'"]
    {
        assert_eq!(nginx.get(target).await.status, 200, "{target}");
        assert_eq!(stub.take()[0].target, target, "the target arrives as it was sent");
    }
    // The rest is below `Prefix("")`, whose role has no unit.
    for target in ["/lb.test", "/a", "/a%20bc", "/twice", "/twice/x"] {
        assert_eq!(nginx.get(target).await.status, 503, "{target}");
    }
    assert_eq!(nginx.get("/ready").await.status, 200, "no route can hide the load balancer's own pages");
}

// Requests ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_location_passes_the_tenant_and_the_host() {
    let stub = Stub::start().await;
    let one = Nginx::start(&text(ROUTES, &upstreams([&stub]), false)).await;
    let many = Nginx::start(&of_tenant(Tenant::MustBeSaid, ROUTES, &upstreams([&stub]), false)).await;
    let named = "\r\nX-Scope-OrgID: team-a";
    let cases: [(&Nginx, &str, &[&str]); 4] = [
        (&one, "", &["anonymous"]),
        (&one, named, &["anonymous"]),
        (&many, "", &[]),
        (&many, named, &["team-a"]),
    ];
    for path in PATHS {
        for (nginx, given, expected) in &cases {
            if path == "/api/v1/push" && expected.is_empty() {
                let answer = nginx.request(&format!("POST {path} HTTP/1.1"), b"body").await;
                assert_eq!(answer.status, 401);
                assert!(stub.take().is_empty(), "data of nobody is refused");
                continue;
            }
            let answer = nginx.request(&format!("POST {path}?a=%2F HTTP/1.1{given}"), b"body").await;
            assert_eq!(answer.status, 200, "{path}");
            let seen = stub.take();
            assert_eq!(seen.len(), 1, "{path}");
            assert_eq!(seen[0].target, format!("{path}?a=%2F"));
            assert_eq!((seen[0].method.as_str(), seen[0].body), ("POST", 4));
            assert_eq!(seen[0].header("x-scope-orgid"), *expected, "{path}");
            assert_eq!(seen[0].header("host"), ["lb.test:8080"], "{path}");
            assert_eq!(seen[0].header("connection"), [""; 0], "{path}");
            assert_eq!(seen[0].header("x-forwarded-for"), ["127.0.0.1"], "{path}");
            assert_eq!(seen[0].header("x-forwarded-proto"), ["http"], "{path}");
        }
    }
}

#[tokio::test]
async fn prefixes_end_at_segments() {
    let stub = Stub::start().await;
    let nginx = Nginx::start(&text(ROUTES, &upstreams([&stub]), false)).await;
    for (target, status) in [
        ("/prometheus", 200),
        ("/prometheus/", 200),
        ("/prometheus?x=/..", 200),
        ("/prometheus/api/v1/labels", 200),
        ("/prometheusx", 404),
        ("/prometheus-x/api", 404),
        ("/api/v1/push", 200),
        ("/api/v1/push/", 404),
        ("/api/v1/pushx", 404),
        ("/api/v1/upload/block", 200),
        ("/api/v1/upload/blocks", 404),
    ] {
        assert_eq!(nginx.get(target).await.status, status, "{target}");
        assert_eq!(stub.take().len(), usize::from(status == 200), "{target}");
    }
}

#[tokio::test]
async fn admin_paths_stay_closed_whatever_they_are_spelled_like() {
    let stub = Stub::start().await;
    let nginx = Nginx::start(&text(ROUTES, &upstreams([&stub]), false)).await;
    for target in [
        "/ingester/flush",
        "/ingester/shutdown",
        "/ingester/ring",
        "/store-gateway/ring",
        "/compactor/ring",
        "/config",
        "/memberlist",
        "/metrics",
        "/debug/pprof/",
        "/flush",
        "/shutdown",
        "/multitenant_alertmanager/configs",
        "/api/v1/user_stats",
        "/%69ngester/flush",
        "/ingester%2fflush",
        "http://other/ingester/flush",
    ] {
        assert_eq!(nginx.get(target).await.status, 404, "{target}");
    }
    for target in [
        "//ingester/flush",
        "/prometheus/../ingester/flush",
        "/prometheus/%2e%2e/ingester/flush",
        "/prometheus/.%2E/ingester/flush",
        "/prometheus/..%2fingester/flush",
        "/prometheus%2F..%2Fingester/flush",
        "/prometheus//../ingester/flush",
        "/prometheus/./../ingester/flush",
        "/ingester/flush/../../prometheus/x",
        "/ingester/flush/%2e%2e/%2e%2e/prometheus/x",
        "/ingester/flush%2f..%2f..%2fprometheus/x",
        "/ingester/flush/..//../prometheus/x",
        "//prometheus/x",
        "/prometheus/x/..",
        "/prometheus/x/..?a=b",
        "/prometheus/#/../../ingester/flush",
        "/prometheus\\..\\ingester\\flush",
        "http://other/prometheus/../ingester/flush",
    ] {
        assert_eq!(nginx.get(target).await.status, 400, "{target}");
    }
    assert!(stub.take().is_empty(), "none of them reached a unit");
    // What looks alike and is fine.
    for target in [
        "/prometheus/config/v1/rules/a%2Fb/c%20d",
        "/prometheus/config/v1/rules/%2Fetc%2Frules.yml/g",
        "/prometheus/api/v1/label/...x/values",
        "/prometheus/api/v1/query?query=a/../b//c%2e%2e",
        "/prometheus/%252e%252e/ingester/flush",
    ] {
        assert_eq!(nginx.get(target).await.status, 200, "{target}");
        assert_eq!(stub.take()[0].target, target, "the target arrives as it was sent");
    }
}

/// Only a tail is upgraded, and only to a WebSocket: as HTTP/2 the connection would lead to every path of the unit.
#[tokio::test]
async fn upgrades_are_websockets_of_tails() {
    const TAIL: &[Route] = &[
        route(Exact("/tail"), Role::Distributor, Traffic::Tail),
        route(Exact("/query"), Role::Distributor, Query),
        route(Exact("/push"), Role::Distributor, Push),
        route(Exact("/rules"), Role::Distributor, Api),
        route(Exact("/upload"), Role::Distributor, Upload),
    ];
    let stub = Stub::start().await;
    let nginx = Nginx::start(&text(TAIL, &upstreams([&stub]), false)).await;
    for path in ["/tail", "/query", "/push", "/rules", "/upload"] {
        for protocol in ["websocket", "WebSocket", "h2c", "websocket, h2c"] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\r\n"
            );
            let mut kept = Kept::connect(&nginx).await;
            kept.0.write_all(request.as_bytes()).await.expect("nginx reads");
            assert_eq!(kept.answer().await.status, 200);
            let seen = stub.take();
            assert_eq!(seen.len(), 1);
            let passed = path == "/tail" && protocol.eq_ignore_ascii_case("websocket");
            let (upgrade, connection) = (seen[0].header("upgrade"), seen[0].header("connection"));
            assert_eq!(upgrade, if passed { vec!["websocket"] } else { vec![] }, "{path} {protocol}");
            assert_eq!(connection, if passed { vec!["upgrade"] } else { vec![] }, "{path} {protocol}");
        }
    }
}

#[tokio::test]
async fn a_role_without_units_answers_503_with_its_name() {
    let stub = Stub::start().await;
    let some =
        [(upstream(Role::QueryFrontend), vec![stub.server()]), (upstream(Role::Distributor), Vec::new())]
            .into();
    let nginx = Nginx::start(&text(ROUTES, &some, false)).await;
    for (path, role) in
        [(PATHS[0], "distributor"), (PATHS[1], "ruler"), (PATHS[3], "alertmanager"), (PATHS[4], "compactor")]
    {
        let answer = nginx.post(path, b"x").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, vec!["5"]), "{path}");
        assert_eq!(answer.header("content-type"), ["application/json"]);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body["error"], format!("no ready unit has the role {role}"));
    }
    assert_eq!(nginx.get(PATHS[2]).await.status, 200);
}

#[tokio::test]
async fn own_pages() {
    let nginx = Nginx::start(&text(ROUTES, &Upstreams::new(), false)).await;
    let ready = nginx.get("/ready").await;
    assert_eq!((ready.status, ready.body), (200, ready_body(&nginx.revision).into_bytes()));
    let about = nginx.get("/").await;
    assert_eq!((about.status, about.body.as_slice()), (200, b"Muster load balancer for mimir\n".as_slice()));
    let connections = nginx.get(CONNECTIONS_PATH).await;
    assert_eq!(connections.status, 200);
    assert!(waiting_connections(&String::from_utf8_lossy(&connections.body)).is_some());
    assert_eq!(nginx.status_page("/prometheus").await.map(|answer| answer.status), Some(404));
}

#[tokio::test]
async fn bodies_have_the_size_that_their_route_allows() {
    let stub = Stub::start().await;
    let nginx = Nginx::start(&text(ROUTES, &upstreams([&stub]), false)).await;
    let large = vec![b'x'; 5 << 20];
    for path in PATHS {
        assert_eq!(nginx.post(path, &large).await.status, 200, "{path}");
        assert_eq!(stub.take()[0].body, large.len(), "{path}");
    }
    // The length alone decides; nothing of the body is sent.
    let over = (100 << 20) + 1;
    for path in &PATHS[..4] {
        let mut kept = Kept::connect(&nginx).await;
        kept.send(&format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {over}")).await;
        assert_eq!(kept.answer().await.status, 413, "{path}");
    }
    // An upload is streamed: the unit sees its head while most of the body is not sent yet.
    let mut upload = Kept::connect(&nginx).await;
    upload.send(&format!("POST {}?early=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {over}", PATHS[4])).await;
    let answer = upload.answer().await;
    assert_eq!(
        (answer.status, stub.take()[0].header("content-length")),
        (200, vec![over.to_string().as_str()])
    );
}

// Retries ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn each_kind_of_traffic_is_repeated_as_it_may_be() {
    let (one, two) = (Stub::start().await, Stub::start().await);
    let text = text(ROUTES, &upstreams([&one, &two]), false);
    // (path, method, attempts where every unit closes the connection without an answer)
    for (path, method, attempts) in [
        (PATHS[0], "POST", 2),
        (PATHS[2], "POST", 2),
        (PATHS[2], "GET", 2),
        (PATHS[1], "POST", 1),
        (PATHS[1], "GET", 2),
        (PATHS[3], "DELETE", 2),
        (PATHS[4], "POST", 1),
        (PATHS[4], "GET", 1),
    ] {
        // A fresh one each time, which thinks well of both units.
        let nginx = Nginx::start(&text).await;
        let answer = nginx.request(&format!("{method} {path}?drop=1 HTTP/1.1"), b"x").await;
        assert_eq!(answer.status, 502, "{method} {path}");
        assert_eq!(one.take().len() + two.take().len(), attempts, "{method} {path}");
    }
}

#[tokio::test]
async fn two_refusals_do_not_close_the_route() {
    let (one, two) = (Stub::start().await, Stub::start().await);
    let nginx = Nginx::start(&text(ROUTES, &upstreams([&one, &two]), false)).await;
    assert_eq!(nginx.post("/api/v1/push?status=503", b"x").await.status, 503);
    for n in 0..20 {
        assert_eq!(nginx.post("/api/v1/push", b"x").await.status, 200, "request {n}");
    }
}

#[tokio::test]
async fn a_killed_unit_fails_no_request() {
    let (one, two) = (Stub::start().await, Stub::start().await);
    let nginx = Nginx::start(&text(ROUTES, &upstreams([&one, &two]), false)).await;
    let load = Load::start(SocketAddr::from((nginx.address, HTTP_PORT)), clients(8));
    load.progress(200).await.expect("answers");
    drop(one);
    load.progress(2000).await.expect("answers");
    assert_eq!(load.stop().await.expect("clients that work"), BTreeMap::new());
    assert!(!two.take().is_empty());
}

// Reloads ----------------------------------------------------------------------------------------------------------

/// Pushes and queries at full speed; every fourth client waits for slow queries.
fn clients(count: usize) -> Vec<Request> {
    let request = |n| {
        let (method, target, body): (_, _, &[u8]) = match n % 4 {
            0 => (Method::GET, "/prometheus/api/v1/query?delay=300", b""),
            1 => (Method::GET, "/prometheus/api/v1/query?delay=3", b""),
            _ => (Method::POST, "/api/v1/push", b"sample"),
        };
        Request { method, target, body, pause: Duration::ZERO, answer: b"ok\n" }
    };
    (0..count).map(request).collect()
}

/// Reloads `times` times under 16 clients, each time with other upstreams.
async fn reload_under_load(times: usize, politely: bool) -> BTreeMap<String, usize> {
    let stubs = [Stub::start().await, Stub::start().await, Stub::start().await];
    let document = |n: usize| {
        let chosen = n % 7 + 1;
        let units = stubs.iter().enumerate().filter(|(at, _)| chosen & (1 << at) != 0).map(|(_, stub)| stub);
        text(ROUTES, &upstreams(units), false)
    };
    let mut nginx = Nginx::start(&document(0)).await;
    let load = Load::start(SocketAddr::from((nginx.address, HTTP_PORT)), clients(16));
    load.progress(100).await.expect("answers");
    let mut durations = Vec::new();
    for n in 1..=times {
        let started = Instant::now();
        nginx.reload(&document(n), politely).await;
        durations.push(started.elapsed());
        load.progress(50).await.expect("answers");
    }
    let answered = load.answered();
    let failures = load.stop().await.expect("clients that work");
    durations.sort();
    println!(
        "{times} reloads, {}: {answered} requests answered, {} failed; a reload took {:?} (median), {:?} (longest)",
        if politely { "connections drained first" } else { "bare SIGHUP" },
        failures.values().sum::<usize>(),
        durations[times / 2],
        durations[times - 1],
    );
    failures
}

#[tokio::test]
async fn reloads_fail_no_request_of_keep_alive_clients() {
    let failures = reload_under_load(35, true).await;
    assert_eq!(failures, BTreeMap::new());
}

/// Only counted: a bare signal need not fail requests every time. It shows what the steps before it are for.
#[tokio::test]
async fn bare_reloads_for_comparison() {
    let failures = reload_under_load(35, false).await;
    for (failure, count) in failures.iter().take(3) {
        println!("for example, {count} times: {failure}");
    }
}

#[tokio::test]
async fn every_answer_says_that_the_connection_closes() {
    let stub = Stub::start().await;
    let some = [(upstream(Role::QueryFrontend), vec![stub.server()])].into();
    let nginx = Nginx::start(&text(ROUTES, &some, false)).await;
    let mut targets = vec!["/", "/ready", CONNECTIONS_PATH, "/nowhere", "/prometheus/.."];
    targets.extend(PATHS);
    for (state, expected) in
        [(Connections::Keep, ["keep-alive"].as_slice()), (Connections::Close, &["keep-alive", "close"])]
    {
        set_connections(nginx.prefix.path(), &nginx.revision, state);
        for target in &targets {
            let mut kept = Kept::connect(&nginx).await;
            kept.send(&format!("GET {target} HTTP/1.1\r\nHost: x")).await;
            let answer = kept.answer().await;
            assert_eq!(answer.header("connection"), expected, "{target} {state:?}");
        }
    }
}

#[tokio::test]
async fn a_query_that_began_before_says_it_too() {
    let stub = Stub::start().await;
    let nginx = Nginx::start(&text(ROUTES, &upstreams([&stub]), false)).await;
    let mut kept = Kept::connect(&nginx).await;
    kept.send("GET /prometheus?delay=200 HTTP/1.1\r\nHost: x").await;
    stub.wait_seen().await;
    set_connections(nginx.prefix.path(), &nginx.revision, Connections::Close);
    assert_eq!(kept.answer().await.header("connection"), ["keep-alive", "close"]);
}

#[tokio::test]
async fn a_query_that_runs_through_a_reload_ends_well() {
    let stub = Stub::start().await;
    let mut nginx = Nginx::start(&text(ROUTES, &upstreams([&stub]), false)).await;
    let mut early = Kept::connect(&nginx).await;
    let mut kept = Kept::connect(&nginx).await;
    kept.send("GET /prometheus?delay=2000 HTTP/1.1\r\nHost: x").await;
    stub.wait_seen().await;
    let started = Instant::now();
    nginx.reload(&text(ROUTES, &Upstreams::new(), false), true).await;
    assert!(started.elapsed() < Duration::from_millis(1900), "the reload does not wait for the query");
    for _ in 0..20 {
        assert_eq!(nginx.get("/prometheus").await.status, 503, "the new generation alone serves");
    }
    let answer = kept.answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection").last(), Some(&"close"));
    // A connection that was opened before the reload, and not used, is served.
    early.send("GET /ready HTTP/1.1\r\nHost: x").await;
    assert_eq!(early.answer().await.status, 200);
}

#[tokio::test]
async fn an_answer_that_pauses_at_a_full_buffer_is_not_cut_by_a_reload() {
    let stub = Stub::start().await;
    let mut nginx = Nginx::start(&text(ROUTES, &upstreams([&stub]), false)).await;
    let mut kept = Kept::connect(&nginx).await;
    kept.send("GET /prometheus?pause=2000 HTTP/1.1\r\nHost: x").await;
    let started = Instant::now();
    let answer = kept.answer().await;
    assert_eq!((answer.status, answer.header("content-length")), (200, vec![&*PAUSING_BODY.to_string()]));
    nginx.reload(&text(ROUTES, &Upstreams::new(), false), true).await;
    assert!(started.elapsed() < Duration::from_millis(1900), "the reload does not wait for the answer");
    let mut rest = Vec::new();
    kept.0.read_to_end(&mut rest).await.expect("the rest comes");
    assert_eq!(answer.body.len() + rest.len(), PAUSING_BODY);
}

// TLS --------------------------------------------------------------------------------------------------------------

/// One request through `openssl s_client`. Gives all that it wrote.
async fn over_tls(nginx: &Nginx, version: &[&str]) -> String {
    let certificate = nginx.prefix.path().join(files::CERTIFICATE);
    let mut client = tokio::process::Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("{}:{HTTP_PORT}", nginx.address),
            "-ign_eof",
            "-verify_return_error",
        ])
        .args(["-verify_ip", &nginx.address.to_string(), "-CAfile"])
        .arg(certificate)
        .args(version)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl runs");
    let mut stdin = client.stdin.take().expect("piped");
    // A refused handshake closes the pipe early; what openssl wrote says so.
    let _ = stdin.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let output = tokio::time::timeout(Duration::from_secs(10), client.wait_with_output());
    let output = output.await.expect("openssl ends").expect("openssl's output");
    drop(stdin);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn tls_is_new_enough_or_refused() {
    let stub = Stub::start().await;
    let (prefix, address) = (prefix(), address());
    write_certificate(prefix.path(), address);
    let nginx = Nginx::start_in(prefix, address, &text(ROUTES, &upstreams([&stub]), true)).await;
    let ready = ready_body(&nginx.revision);
    for version in ["-tls1_2", "-tls1_3"] {
        let output = over_tls(&nginx, &[version]).await;
        assert!(output.contains("HTTP/1.1 200 OK") && output.contains(&ready), "{version}: {output}");
    }
    // The lowered security level makes openssl offer the old versions, so that it is nginx that refuses them.
    for version in ["-tls1", "-tls1_1"] {
        let output = over_tls(&nginx, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]).await;
        assert!(output.contains("alert protocol version"), "{version}: {output}");
        assert!(!output.contains("HTTP/1.1"), "{version}: {output}");
    }
    assert_eq!(nginx.get("/prometheus").await.status, 400, "plain HTTP is refused");
    assert!(stub.take().is_empty());
}
