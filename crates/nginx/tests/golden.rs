//! The whole document of one layout. After a wanted change: `UPDATE_GOLDEN=1 cargo test -p muster-nginx --test golden`.

use std::collections::BTreeMap;
use std::path::Path;

use muster_model::route::PathMatch::{Exact, Prefix};
use muster_model::route::Route;
use muster_model::route::Traffic::{Api, Push, Query, Upload};
use muster_model::{HTTP_PORT, Product, Role};
use muster_nginx::{Layout, Server, layout};

fn upstreams(units: &[(Role, &[&str])]) -> BTreeMap<Role, Vec<Server>> {
    let server = |address: &&str| Server::new(address, HTTP_PORT).expect("an address");
    units.iter().map(|(role, addresses)| (*role, addresses.iter().map(server).collect())).collect()
}

fn text(upstreams: &BTreeMap<Role, Vec<Server>>, tls: bool) -> String {
    let route = |path, role, traffic| Route { path, role, traffic };
    let routes = [
        route(Exact("/api/v1/push"), Role::Distributor, Push),
        route(Prefix("/prometheus/config/v1/rules"), Role::Ruler, Api),
        route(Prefix("/prometheus"), Role::QueryFrontend, Query),
        route(Prefix("/api/v1/upload/block/"), Role::Compactor, Upload),
    ];
    layout(&Layout { product: Product::Mimir, routes: &routes, upstreams, tls }).to_string()
}

#[test]
fn mimir() {
    let units = upstreams(&[
        (Role::Compactor, &["127.10.1.1"]),
        (Role::Distributor, &["127.10.1.5", "127.10.1.3", "127.10.1.4"]),
        (Role::QueryFrontend, &["fd00::6", "mimir-read-1.mimir.svc"]),
    ]);
    let text = text(&units, true);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mimir.nginx.conf");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(text == golden, "differs from {}:\n{text}", path.display());
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
