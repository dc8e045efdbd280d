//! The whole document of one layout. After a wanted change: `UPDATE_GOLDEN=1 cargo test -p muster-nginx --test golden`.

use std::collections::BTreeMap;
use std::path::Path;

use muster_model::route::PathMatch::{Exact, Prefix};
use muster_model::route::Traffic::{Api, Push, Query, Tail, Upload};
use muster_model::route::{Listener, PathMatch, Protocol, Route, Traffic, Upstream};
use muster_model::{HTTP_PORT, Product, Role};
use muster_nginx::{Layout, Server, Tenant, layout};

const fn route(path: PathMatch, role: Role, traffic: Traffic) -> Route {
    Route { path, to: Upstream { role, port: HTTP_PORT }, traffic }
}

const ROUTES: &[Route] = &[
    route(Exact("/api/v1/push"), Role::Distributor, Push),
    route(Prefix("/prometheus/config/v1/rules"), Role::Ruler, Api),
    route(Prefix("/prometheus"), Role::QueryFrontend, Query),
    route(Prefix("/api/v1/upload/block/"), Role::Compactor, Upload),
];
const SPANS: &[Route] = &[Route {
    path: Prefix("/opentelemetry.proto.collector.trace.v1.TraceService"),
    to: Upstream { role: Role::Distributor, port: 4317 },
    traffic: Push,
}];
const TAIL: &[Route] = &[route(Exact("/loki/api/v1/tail"), Role::Read, Tail)];

fn upstreams(units: &[(Role, &[&str])]) -> BTreeMap<Upstream, Vec<Server>> {
    let server = |address: &&str, port| Server::new(address, port).expect("an address");
    let mut upstreams = BTreeMap::new();
    for (role, addresses) in units {
        for port in [HTTP_PORT, 4317] {
            let servers = addresses.iter().map(|address| server(address, port)).collect();
            upstreams.insert(Upstream { role: *role, port }, servers);
        }
    }
    upstreams
}

fn text(upstreams: &BTreeMap<Upstream, Vec<Server>>, tls: bool) -> String {
    let listeners = [Listener { port: HTTP_PORT, protocol: Protocol::Http, name: "http", routes: ROUTES }];
    layout(&Layout {
        product: Product::Mimir,
        listeners: &listeners,
        upstreams,
        tls,
        tenant: Tenant::One("anonymous"),
    })
    .to_string()
}

/// Every kind of port and traffic that Mimir has none of.
#[test]
fn grpc_and_websockets() {
    let upstreams =
        upstreams(&[(Role::Distributor, &["127.10.1.3", "127.10.1.4"]), (Role::Read, &["fd00::6"])]);
    let listeners = [
        Listener { port: 3100, protocol: Protocol::Http, name: "http", routes: TAIL },
        Listener { port: 4317, protocol: Protocol::Grpc, name: "otlp-grpc", routes: SPANS },
    ];
    let input = Layout {
        product: Product::Tempo,
        listeners: &listeners,
        upstreams: &upstreams,
        tls: false,
        tenant: Tenant::One("single-tenant"),
    };
    let text = layout(&input).to_string();
    golden("grpc.nginx.conf", &text);
    golden("tenants.nginx.conf", &layout(&Layout { tenant: Tenant::MustBeSaid, ..input }).to_string());
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("a golden is written");
    }
    let golden = std::fs::read_to_string(&path).expect("there is a golden");
    assert!(text == golden, "differs from {}:\n{text}", path.display());
}

#[test]
fn mimir() {
    let units = upstreams(&[
        (Role::Compactor, &["127.10.1.1"]),
        (Role::Distributor, &["127.10.1.5", "127.10.1.3", "127.10.1.4"]),
        (Role::QueryFrontend, &["fd00::6", "mimir-read-1.mimir.svc"]),
    ]);
    golden("mimir.nginx.conf", &text(&units, true));
}

#[test]
fn what_makes_no_difference_changes_no_byte() {
    let base = text(&upstreams(&[(Role::Distributor, &["10.0.0.1", "10.0.0.2"])]), false);
    let same: [&[(Role, &[&str])]; 4] = [
        &[(Role::Distributor, &["10.0.0.2", "10.0.0.1"])],
        &[(Role::Distributor, &["10.0.0.1", "10.0.0.2", "10.0.0.1"])],
        &[(Role::Distributor, &["10.0.0.1", "10.0.0.2"]), (Role::Ruler, &[])],
        &[(Role::Distributor, &["10.0.0.1", "10.0.0.2"]), (Role::Ingester, &["10.0.0.9"])],
    ];
    for units in same {
        assert_eq!(text(&upstreams(units), false), base);
    }
    assert_ne!(text(&upstreams(&[(Role::Distributor, &["10.0.0.1"])]), false), base);
}
