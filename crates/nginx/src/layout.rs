//! The load balancer's document, from listeners and ready units.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::route::{Listener, PathMatch, Protocol, Route, Traffic, Upstream};
use muster_model::{Product, Role};

use crate::directive::{Argument, Directive, Document, Name};
use crate::files;
use crate::server::Server;
use crate::status::{CONNECTIONS_PATH, READY_PATH, STATUS_PORT, ready_text};
use crate::unit::{REVISION, UNIT_ADDRESS, UNIT_HOST};

/// What the load balancer is to do.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    /// The product behind it.
    pub product: Product,
    /// The ports, each once, and the paths that are let through. Where two routes of a port match the same path in the same
    /// way, the first one counts.
    pub listeners: &'a [Listener],
    /// The ready units that routes go to. Their order and repetitions do not matter.
    pub upstreams: &'a BTreeMap<Upstream, Vec<Server>>,
    /// Whether users speak TLS to it, with the files [`files::CERTIFICATE`] and [`files::KEY`].
    pub tls: bool,
    /// Whose the requests are.
    pub tenant: Tenant,
}

/// Whose requests are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenant {
    /// All are this one tenant's, whatever clients say.
    One(&'static str),
    /// The one's whom clients name. Data that is nobody's is refused; queries go on as they came, and units know what to do with them.
    MustBeSaid,
}

impl Tenant {
    /// The directive that sets the header, where it is not the client's.
    fn header(self, name: Name) -> Option<Directive> {
        match self {
            Self::One(tenant) => Some(simple(name, [TENANT, tenant])),
            Self::MustBeSaid => None,
        }
    }
}

/// The header with the tenant.
const TENANT: &str = "X-Scope-OrgID";

/// How long old workers may go on with requests after a reload or a graceful stop, in seconds. Longer than every read
/// timeout, so that a reload never cuts a slow query.
pub const SHUTDOWN_TIMEOUT_SECONDS: u32 = 310;

/// Seconds after which clients should try again where a role has no ready unit.
const RETRY_AFTER: &str = "5";

/// Request targets whose path could mean another one to the server behind than to nginx: nginx picks the location by
/// the decoded and normalised path, yet sends the target on as the client wrote it (an encoded slash in a rule
/// namespace must survive). Dot segments in every spelling, empty segments, a fragment, a backslash.
const CROOKED_TARGET: &str = "~*^[^?]*(?:[#\\\\]|//|(?:/|%2f)(?:[.]|%2e){1,2}(?:/|%2f|[?]|$))";

/// Makes the document. It depends on nothing but `input`, and not on upstreams that no route uses, so equal needs give
/// equal text and cause no reload.
#[must_use]
pub fn layout(input: &Layout<'_>) -> Document {
    let upstreams = used_upstreams(input);
    let mut http = http_settings(input.tenant);
    http.extend(upstreams.iter().map(|(name, servers)| upstream(*name, servers)));
    http.extend(input.listeners.iter().map(|listener| match listener.protocol {
        Protocol::Http => user_server(input, listener, &upstreams),
        Protocol::Grpc => grpc_server(input, listener, &upstreams),
    }));
    http.push(status_server());
    Document(vec![
        // Not `auto`: that counts the machine's processors, not the container's share of them.
        simple(Name::WorkerProcesses, ["2"]),
        // Two descriptors for each connection: the client's and the unit's.
        simple(Name::WorkerRlimitNofile, ["8192"]),
        simple(Name::WorkerShutdownTimeout, [seconds(SHUTDOWN_TIMEOUT_SECONDS)]),
        simple(Name::ErrorLog, ["stderr", "error"]),
        simple(Name::Pid, [files::PID]),
        Directive::block(Name::Events, vec![simple(Name::WorkerConnections, ["4096"])]),
        Directive::block(Name::Http, http),
    ])
}

fn http_settings(tenant: Tenant) -> Vec<Directive> {
    let mut settings = vec![
        simple(Name::AccessLog, ["off"]),
        simple(Name::ServerTokens, ["off"]),
        simple(Name::DefaultType, ["text/plain"]),
        simple(Name::ClientBodyTempPath, ["run/body"]),
        simple(Name::ProxyTempPath, ["run/proxy"]),
        simple(Name::FastcgiTempPath, ["run/fastcgi"]),
        simple(Name::UwsgiTempPath, ["run/uwsgi"]),
        simple(Name::ScgiTempPath, ["run/scgi"]),
        // Long queries come in the request line.
        simple(Name::LargeClientHeaderBuffers, ["4", "64k"]),
        // Larger bodies go through a file in run/body.
        simple(Name::ClientBodyBufferSize, ["1m"]),
        // Answers never do: the unit waits for a slow client instead. And buffered answers are cut by reloads: where an answer pauses
        // when a buffer has just been filled, as Go's do after each 4096 bytes, nginx (1.22 at least) waits for the rest without a timer,
        // and a worker that is to end, and counts timers, does not wait for it. It would not end an answer that never goes on either.
        simple(Name::ProxyBuffering, ["off"]),
        // One read of an answer, which is passed on at once.
        simple(Name::ProxyBufferSize, ["8k"]),
        simple(Name::ProxyHttpVersion, ["1.1"]),
    ];
    settings.extend(request_headers("", tenant));
    settings.extend(tenant.header(Name::GrpcSetHeader));
    if tenant == Tenant::MustBeSaid {
        settings.push(Directive::map("$http_x_scope_orgid", "$muster_nobody", &[("default", ""), ("", "1")]));
    }
    settings.extend([
        // WebSockets and nothing else: a connection that became HTTP/2 would carry requests for any path past the locations.
        Directive::map(
            "$http_upgrade",
            "$muster_websocket",
            &[("default", ""), ("~*^websocket$", "websocket")],
        ),
        Directive::map("$muster_websocket", "$muster_upgrade", &[("default", "upgrade"), ("", "")]),
        // See the crate's section on reloads.
        Directive::map("$realpath_root", "$muster_closing", &[("default", ""), ("~/run/close$", "close")]),
        Directive::map("$request_uri", "$muster_crooked", &[("default", ""), (CROOKED_TARGET, "1")]),
    ]);
    settings
}

/// The headers that units get besides the client's. A location that sets one of its own must set all of these again, or loses them.
fn request_headers(connection: &'static str, tenant: Tenant) -> Vec<Directive> {
    let headers = [
        ["Connection", connection],
        ["Host", "$http_host"],
        ["X-Forwarded-For", "$proxy_add_x_forwarded_for"],
        ["X-Forwarded-Proto", "$scheme"],
    ];
    let headers = headers.into_iter().map(|header| simple(Name::ProxySetHeader, header));
    headers.chain(tenant.header(Name::ProxySetHeader)).collect()
}

/// The servers that some route needs, where there are any.
fn used_upstreams<'a>(input: &Layout<'a>) -> Used<'a> {
    let routes = input.listeners.iter().flat_map(|listener| listener.routes);
    let used: BTreeSet<Upstream> = routes.map(|route| route.to).collect();
    let ready = input.upstreams.iter().filter(|(name, servers)| used.contains(name) && !servers.is_empty());
    ready.map(|(name, servers)| (*name, servers.iter().collect())).collect()
}

type Used<'a> = BTreeMap<Upstream, BTreeSet<&'a Server>>;

/// The parameter of a server that is asked again however often it has failed.
pub(crate) const NEVER_LEFT_OUT: &str = "max_fails=0";

/// Round robin, not `least_conn`: a unit that fails fast always has the fewest connections, and would draw all traffic.
fn upstream(name: Upstream, servers: &BTreeSet<&Server>) -> Directive {
    // nginx never leaves out a server that is the only one, whatever is said of it. So a unit that is the only one is written the same
    // whether it serves or is expected to, and nothing changes when it begins.
    let alone = servers.len() == 1;
    let server = |server: &&Server| {
        let mut words = vec![Argument::from(server.to_string())];
        if alone || server.is_expected() {
            words.push(NEVER_LEFT_OUT.into());
        } else {
            words.extend(["max_fails=1".into(), "fail_timeout=5s".into()]);
        }
        simple(Name::Server, words)
    };
    let mut block: Vec<_> = servers.iter().map(server).collect();
    block.push(simple(Name::Keepalive, ["32"]));
    Directive::with(Name::Upstream, [name.to_string()], block)
}

fn user_server(input: &Layout<'_>, listener: &Listener, upstreams: &Used<'_>) -> Directive {
    let mut block = listen(listener.port, Protocol::Http, input.tls);
    block.push(simple(Name::Root, [format!("{}{REVISION}", files::CONNECTIONS)]));
    block.push(closing());
    block.push(Directive::with(
        Name::If,
        ["($muster_crooked)"],
        vec![answer(
            "400",
            "the path has empty or dot segments, a fragment or a backslash: write it without\n",
        )],
    ));
    let about = format!("Muster load balancer for {}\n", input.product);
    let mut locations = Locations::default();
    locations.exact("/", vec![answer("200", about)]);
    locations.exact(READY_PATH, vec![ready()]);
    locations.exact(CONNECTIONS_PATH, connections());
    for route in listener.routes {
        let block = if upstreams.contains_key(&route.to) {
            proxied(route, input.tenant)
        } else {
            unavailable(route.to.role)
        };
        locations.route(route, [nobodys(input, route, listener.protocol), block].concat());
    }
    locations.below("", vec![answer("404", "not found: this path is not served here\n")]);
    block.extend(locations.0);
    Directive::block(Name::Server, block)
}

/// gRPC has no place for texts: a code alone is what clients turn into a status (gRPC's own mapping:
/// 401 is UNAUTHENTICATED, 404 is UNIMPLEMENTED, 503 is UNAVAILABLE). Nothing asks clients to close: a reload sends them GOAWAY.
fn grpc_server(input: &Layout<'_>, listener: &Listener, upstreams: &Used<'_>) -> Directive {
    let mut block = listen(listener.port, Protocol::Grpc, input.tls);
    let mut locations = Locations::default();
    for route in listener.routes {
        let there = upstreams.contains_key(&route.to);
        let block = if there { grpc_proxied(route) } else { vec![simple(Name::Return, ["503"])] };
        locations.route(route, [nobodys(input, route, listener.protocol), block].concat());
    }
    locations.below("", vec![simple(Name::Return, ["404"])]);
    block.extend(locations.0);
    Directive::block(Name::Server, block)
}

/// The agent's own server: without TLS, so that the agent needs no certificate, and without keep-alive, so that every
/// poll meets a worker that still accepts connections.
fn status_server() -> Directive {
    let mut locations = Locations::default();
    locations.exact(READY_PATH, vec![ready()]);
    locations.exact(CONNECTIONS_PATH, connections());
    locations.below("", vec![answer("404", "not found: this path is not served here\n")]);
    let mut block = listen(STATUS_PORT, Protocol::Http, false);
    block.push(simple(Name::KeepaliveTimeout, ["0"]));
    block.extend(locations.0);
    Directive::block(Name::Server, block)
}

/// `deferred`: a connection reaches nginx with its first bytes. Those on which no request has come yet are thus not
/// among the waiting ones that a reload wants gone, and never sit with a worker that is about to end.
///
/// `http2` as a word of `listen`, which nginx 1.25 and later still take, because earlier ones know no directive for it.
fn listen(port: u16, protocol: Protocol, tls: bool) -> Vec<Directive> {
    let mut listen = vec![Argument::from(format!("{UNIT_HOST}:{port}")), "deferred".into()];
    if tls {
        listen.push("ssl".into());
    }
    if protocol == Protocol::Grpc {
        listen.push("http2".into());
    }
    if !tls {
        return vec![simple(Name::Listen, listen)];
    }
    vec![
        simple(Name::Listen, listen),
        simple(Name::SslCertificate, [files::CERTIFICATE]),
        simple(Name::SslCertificateKey, [files::KEY]),
        simple(Name::SslProtocols, ["TLSv1.2", "TLSv1.3"]),
    ]
}

/// Locations in the order of their declaration, each once. Always with a modifier: without one, nginx would look for
/// it in the path's first characters.
#[derive(Default)]
struct Locations(Vec<Directive>);

impl Locations {
    fn exact(&mut self, path: &'static str, block: Vec<Directive>) {
        self.add("=", path.into(), block);
    }

    fn route(&mut self, route: &Route, block: Vec<Directive>) {
        match route.path {
            PathMatch::Exact(path) => self.exact(path, block),
            PathMatch::Prefix(path) => self.below(path, block),
        }
    }

    /// The path and everything below it.
    fn below(&mut self, path: &'static str, block: Vec<Directive>) {
        let path = path.trim_end_matches('/');
        if !path.is_empty() {
            self.add("=", path.into(), block.clone());
        }
        self.add("^~", format!("{path}/").into(), block);
    }

    fn add(&mut self, modifier: &'static str, path: Argument, block: Vec<Directive>) {
        let arguments = [Argument::Borrowed(modifier), path];
        if !self.0.iter().any(|location| location.arguments == arguments) {
            self.0.push(Directive::with(Name::Location, arguments, block));
        }
    }
}

fn proxied(route: &Route, tenant: Tenant) -> Vec<Directive> {
    let mut block = match route.traffic {
        Traffic::Push => [limits("100m", 60), retry(Repeat::Always)].concat(),
        Traffic::Query => [limits("100m", 300), retry(Repeat::Always)].concat(),
        Traffic::Api => [limits("100m", 60), retry(Repeat::Idempotent)].concat(),
        Traffic::Tail => [
            limits("1m", TAIL_SECONDS),
            vec![simple(Name::ProxySetHeader, ["Upgrade", "$muster_websocket"])],
            request_headers("$muster_upgrade", tenant),
            retry(Repeat::Always),
        ]
        .concat(),
        Traffic::Upload => [
            limits("0", 300),
            vec![simple(Name::ProxyRequestBuffering, ["off"]), simple(Name::ProxyNextUpstream, ["off"])],
        ]
        .concat(),
    };
    block.push(simple(Name::ProxyPass, [format!("http://{}", route.to)]));
    block
}

/// How long a WebSocket may be silent: as long as Loki keeps one open by default.
const TAIL_SECONDS: u32 = 3600;

/// Refuses data that names no tenant where clients must. Not all products do so in a way that tells clients not to try again: Tempo's
/// receivers say that they are unavailable.
fn nobodys(input: &Layout<'_>, route: &Route, protocol: Protocol) -> Vec<Directive> {
    if input.tenant != Tenant::MustBeSaid || route.traffic != Traffic::Push {
        return Vec::new();
    }
    let refusal = match protocol {
        Protocol::Http => answer("401", "no tenant: name it in the header X-Scope-OrgID\n"),
        Protocol::Grpc => simple(Name::Return, ["401"]),
    };
    vec![Directive::with(Name::If, ["($muster_nobody)"], vec![refusal])]
}

fn grpc_proxied(route: &Route) -> Vec<Directive> {
    vec![
        simple(Name::ClientMaxBodySize, ["100m"]),
        simple(Name::GrpcConnectTimeout, ["2s"]),
        // The default of 60 s cuts streams that are silent for so long.
        simple(Name::GrpcReadTimeout, [seconds(300)]),
        simple(Name::GrpcSendTimeout, [seconds(300)]),
        simple(Name::GrpcNextUpstream, ["error", "timeout", "http_502", "http_503", "non_idempotent"]),
        simple(Name::GrpcNextUpstreamTries, ["2"]),
        simple(Name::GrpcNextUpstreamTimeout, ["20s"]),
        simple(Name::GrpcPass, [format!("grpc://{}", route.to)]),
    ]
}

/// The largest request body (`0`: any), and how long a unit may be silent before and within its answer.
fn limits(body: &'static str, read_seconds: u32) -> Vec<Directive> {
    vec![
        simple(Name::ClientMaxBodySize, [body]),
        simple(Name::ProxyConnectTimeout, ["2s"]),
        simple(Name::ProxySendTimeout, ["60s"]),
        simple(Name::ProxyReadTimeout, [seconds(read_seconds)]),
    ]
}

/// Which requests another unit may get after one has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// All. A repeated sample changes nothing, and a query neither.
    Always,
    /// Those whose method says so, and those of which no byte was sent.
    Idempotent,
}

fn retry(repeat: Repeat) -> Vec<Directive> {
    let mut conditions = vec!["error", "timeout", "http_502", "http_503"];
    if repeat == Repeat::Always {
        conditions.push("non_idempotent");
    }
    vec![
        simple(Name::ProxyNextUpstream, conditions),
        simple(Name::ProxyNextUpstreamTries, ["2"]),
        // No second try after a unit was silent for the whole read timeout.
        simple(Name::ProxyNextUpstreamTimeout, ["20s"]),
    ]
}

/// What a role without ready units answers, in the shape of Prometheus' API errors.
fn unavailable(role: Role) -> Vec<Directive> {
    let body = format!(
        "{{\"status\":\"error\",\"errorType\":\"unavailable\",\"error\":\"no ready unit has the role {role}\"}}\n"
    );
    vec![
        // A location with a response header of its own must repeat the server's.
        closing(),
        simple(Name::AddHeader, ["Retry-After", RETRY_AFTER, "always"]),
        simple(Name::DefaultType, ["application/json"]),
        answer("503", body),
    ]
}

/// Adds nothing while the variable is empty.
fn closing() -> Directive {
    simple(Name::AddHeader, ["Connection", "$muster_closing", "always"])
}

fn ready() -> Directive {
    answer("200", ready_text(REVISION))
}

fn connections() -> Vec<Directive> {
    vec![
        simple(Name::Allow, [UNIT_ADDRESS]),
        simple(Name::Allow, ["127.0.0.0/8"]),
        simple(Name::Allow, ["::1"]),
        simple(Name::Deny, ["all"]),
        simple::<&str>(Name::StubStatus, []),
    ]
}

fn answer(code: &'static str, body: impl Into<Argument>) -> Directive {
    simple(Name::Return, [code.into(), body.into()])
}

fn simple<A: Into<Argument>>(name: Name, arguments: impl IntoIterator<Item = A>) -> Directive {
    Directive::simple(name, arguments)
}

fn seconds(n: u32) -> String {
    format!("{n}s")
}
