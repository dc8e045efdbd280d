//! The shared configs of Loki and Tempo, as text: goldens, secrets, bytes, overrides and what units fill in.
//!
//! `UPDATE_GOLDENS=1 cargo test -p muster-products` writes the goldens again.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail the test too")]

use std::collections::BTreeMap;
use std::path::Path;

use muster_model::{ObjectStorage, Product, Role, RoleSet, Secret, yaml};
use muster_products::charm::Options;
use muster_products::{ConfigInputs, RemoteWrite, UnitValues, charm, supported_versions, workload};
use serde_json::{Map, Value, json};

const BOTH: [Product; 2] = [Product::Loki, Product::Tempo];

fn storage(path: Option<&str>, chain: bool) -> ObjectStorage {
    let mut data: BTreeMap<_, _> = [
        ("endpoint", "https://s3.example:9000"),
        ("bucket", "bucket"),
        ("access-key", "the-access-key"),
        ("secret-key", "the-secret-key"),
    ]
    .map(|(key, value)| (key.to_owned(), Secret::new(value)))
    .into();
    data.extend(path.map(|path| ("path".to_owned(), Secret::new(path))));
    let mut storage = ObjectStorage::from_secret(&data).unwrap();
    storage.tls_ca_chain = chain.then(|| "a chain".to_owned());
    storage
}

fn shared(
    product: Product,
    config: &Value,
    storage: &ObjectStorage,
    overrides: Option<&Map<String, Value>>,
) -> String {
    let config = config.as_object().unwrap().clone().into_iter().collect();
    let (options, problems) = charm::coordinator(product).validate(&config);
    assert_eq!(problems, []);
    workload(product).shared_config(&ConfigInputs { overrides, ..inputs(product, storage, &options) })
}

fn inputs<'a>(product: Product, storage: &'a ObjectStorage, options: &'a Options) -> ConfigInputs<'a> {
    ConfigInputs {
        cluster_id: "demo",
        version: supported_versions(product)[0],
        storage,
        options,
        replication_factor: 3,
        gateway: None,
        remote_write: &[],
        overrides: None,
    }
}

fn plain(product: Product) -> String {
    shared(product, &json!({}), &storage(None, false), None)
}

fn unit(roles: &[Role], peers: &[(Role, &str)]) -> UnitValues {
    UnitValues {
        address: "127.0.9.1".to_owned(),
        id: "backend-0".to_owned(),
        data_directory: "/data".to_owned(),
        seeds: vec!["127.0.9.1:7946".to_owned()],
        peers: peers.iter().map(|(role, host)| (*role, (*host).to_owned())).collect(),
        roles: roles.iter().copied().collect(),
        access_key: Secret::new("the-access-key"),
        secret_key: Secret::new("the-secret-key"),
        ca_file: Some("ca.pem".to_owned()),
    }
}

fn filled(product: Product, values: &UnitValues) -> Value {
    yaml::from_str(&workload(product).unit_config(&plain(product), values).unwrap()).unwrap()
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "{name} differs; if that is meant, run with UPDATE_GOLDENS=1");
}

#[test]
fn goldens() {
    for product in BOTH {
        golden(&format!("{product}.shared.yaml"), &plain(product));
    }
    let loki = json!({ "retention-period": 30, "ingestion-rate-mb": 8, "reporting-enabled": true });
    let overrides = json!({ "limits_config": { "ingestion_rate_mb": 9, "volume_enabled": null }, "querier": { "max_concurrent": 8 } });
    let loki = shared(Product::Loki, &loki, &storage(Some("team-1"), true), overrides.as_object());
    let values = unit(&[Role::Backend], &[(Role::Compactor, "127.0.9.2")]);
    golden("loki.unit.yaml", &workload(Product::Loki).unit_config(&loki, &values).unwrap());
    let receivers = ["otlp-grpc", "otlp-http", "zipkin", "jaeger-grpc", "jaeger-thrift-http"];
    let tempo: Map<_, _> =
        receivers.iter().map(|name| (format!("always-enable-{name}"), true.into())).collect();
    let overrides = json!({ "ingester": { "trace_idle_period": "5s" } });
    let tempo = shared(Product::Tempo, &tempo.into(), &storage(Some("a/b"), true), overrides.as_object());
    let values = unit(&[Role::Querier], &[(Role::QueryFrontend, "fd00::7")]);
    golden("tempo.unit.yaml", &workload(Product::Tempo).unit_config(&tempo, &values).unwrap());
}

#[test]
fn no_secret_is_shared() {
    for product in BOTH {
        let text = plain(product);
        assert!(!text.contains("the-access-key") && !text.contains("the-secret-key"), "{product}");
    }
}

#[test]
fn one_compactor_leads_and_the_others_work_for_it() {
    let mode = |roles: &[Role], peers: &[(Role, &str)]| {
        let tree = filled(Product::Loki, &unit(roles, peers));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&tree["compactor"]["horizontal_scaling_mode"]), text(&tree["common"]["compactor_grpc_address"]))
    };
    let is = |mode: &str, address: &str| (mode.to_owned(), address.to_owned());
    // Who is told of nobody leads.
    assert_eq!(mode(&[Role::All], &[]), is("disabled", "127.0.9.1:9095"));
    assert_eq!(mode(&[Role::Backend], &[]), is("disabled", "127.0.9.1:9095"));
    assert_eq!(mode(&[Role::Backend], &[(Role::Compactor, "127.0.9.2")]), is("worker", "127.0.9.2:9095"));
    assert_eq!(mode(&[Role::Read], &[(Role::Compactor, "127.0.9.2")]), is("disabled", "127.0.9.2:9095"));
}

#[test]
fn who_only_asks_the_compactor_does_so_through_the_load_balancer() {
    let storage = storage(None, false);
    let (options, _) = charm::coordinator(Product::Loki).validate(&BTreeMap::new());
    let inputs = ConfigInputs { gateway: Some("loki.logs.svc"), ..inputs(Product::Loki, &storage, &options) };
    let document = workload(Product::Loki).shared_config(&inputs);
    let grpc = |roles: &[Role], peers: &[(Role, &str)]| {
        let filled = workload(Product::Loki).unit_config(&document, &unit(roles, peers)).unwrap();
        let tree: Value = yaml::from_str(&filled).unwrap();
        assert_eq!(tree["common"]["compactor_address"], "http://loki.logs.svc:3100");
        tree["common"]["compactor_grpc_address"].as_str().unwrap().to_owned()
    };
    for roles in [&[Role::Read][..], &[Role::Write], &[Role::Read, Role::Write]] {
        assert_eq!(grpc(roles, &[]), "", "{roles:?}: an address for gRPC would come first");
    }
    assert_eq!(grpc(&[Role::Backend], &[]), "127.0.9.1:9095");
    assert_eq!(grpc(&[Role::All], &[(Role::Compactor, "127.0.9.2")]), "127.0.9.2:9095");
    let tree = filled(Product::Loki, &unit(&[Role::Read], &[(Role::Compactor, "127.0.9.2")]));
    assert!(tree["common"]["compactor_address"].is_null(), "there is none to go through");
}

#[test]
fn queriers_find_their_frontend() {
    let address = |roles: &[Role], peers: &[(Role, &str)]| {
        let tree = filled(Product::Tempo, &unit(roles, peers));
        tree["querier"]["frontend_worker"]["frontend_address"].clone()
    };
    assert_eq!(address(&[Role::All], &[]), "127.0.9.1:9095");
    assert_eq!(address(&[Role::Querier], &[(Role::QueryFrontend, "127.0.9.3")]), "127.0.9.3:9095");
}

#[test]
fn receivers_are_closed_unless_asked_for() {
    let tree: Value = yaml::from_str(&plain(Product::Tempo)).unwrap();
    assert_eq!(tree["distributor"]["receivers"], json!({}));
}

#[test]
fn metrics_are_made_where_somebody_takes_them() {
    let storage = storage(None, false);
    let (options, _) = charm::coordinator(Product::Tempo).validate(&BTreeMap::new());
    let place = RemoteWrite {
        name: "metrics".to_owned(),
        url: "https://127.0.9.9:8080/api/v1/push".to_owned(),
        ca: Some("${muster:unit-id}".to_owned()),
        needs_tenant: true,
    };
    let places =
        [place.clone(), RemoteWrite { name: "more".to_owned(), ca: None, needs_tenant: false, ..place }];
    let inputs = ConfigInputs { remote_write: &places, ..inputs(Product::Tempo, &storage, &options) };
    let document = workload(Product::Tempo).shared_config(&inputs);
    let filled =
        workload(Product::Tempo).unit_config(&document, &unit(&[Role::MetricsGenerator], &[])).unwrap();
    let tree: Value = yaml::from_str(&filled).unwrap();
    let url = "https://127.0.9.9:8080/api/v1/push";
    assert_eq!(
        tree["metrics_generator"]["storage"]["remote_write"],
        json!([
            { "name": "metrics", "url": url, "tls_config": { "ca": "${muster:unit-id}" }, "headers": { "X-Scope-OrgID": "anonymous" } },
            { "name": "more", "url": url },
        ])
    );
    assert_eq!(
        tree["overrides"]["defaults"]["metrics_generator"]["processors"],
        json!(["service-graphs", "span-metrics"])
    );
    assert_eq!(tree["metrics_generator"]["registry"]["external_labels"]["muster_unit"], "backend-0");
    let none: Value = yaml::from_str(&plain(Product::Tempo)).unwrap();
    assert_eq!((&none["overrides"], &none["metrics_generator"]["registry"]), (&Value::Null, &Value::Null));
}

#[test]
fn tenants_are_told_apart_where_the_option_says_so() {
    for (product, key) in [
        (Product::Mimir, "multitenancy_enabled"),
        (Product::Loki, "auth_enabled"),
        (Product::Tempo, "multitenancy_enabled"),
    ] {
        for on in [false, true] {
            let text = shared(product, &json!({ "multi-tenancy": on }), &storage(None, false), None);
            let tree: Value = yaml::from_str(&text).unwrap();
            assert_eq!(tree[key], on, "{product}");
        }
        let overrides = json!({ key: true });
        let owned = workload(product).owned_overrides(overrides.as_object().unwrap());
        assert!(owned[0].said_of("x").contains("muster config x multi-tenancy=true"), "{owned:?}");
    }
}

/// Every leaf with a value that only the unit knows, or that other parts count on, is somebody's who says what to do instead.
#[test]
fn what_a_unit_fills_in_cannot_be_overridden() {
    fn leaves(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    path.push(key.clone());
                    leaves(value, path, found);
                    path.pop();
                }
            }
            Value::Array(items) => items.iter().for_each(|item| leaves(item, path, found)),
            Value::String(text) if text.contains("${muster:") => found.push(path.clone()),
            _ => {}
        }
    }
    for product in BOTH {
        let tree: Value = yaml::from_str(&plain(product)).unwrap();
        let mut found = Vec::new();
        leaves(&tree, &mut Vec::new(), &mut found);
        assert!(found.len() > 10, "{product}");
        for path in found {
            let nested = path.iter().rev().fold(json!("mine"), |value, key| json!({ key: value }));
            let owned = workload(product).owned_overrides(nested.as_object().unwrap());
            assert_eq!(owned.len(), 1, "{product}: {path:?}");
            let with = shared(product, &json!({}), &storage(None, false), nested.as_object());
            assert_eq!(with, plain(product), "{path:?}");
        }
    }
}

#[test]
fn paths_in_the_bucket_are_checked() {
    let check = |product, path| workload(product).check_storage(&storage(Some(path), false));
    assert_eq!(check(Product::Loki, "team-1"), None);
    assert_eq!(check(Product::Tempo, "a/b_c"), None);
    assert!(check(Product::Loki, "a/b").unwrap().contains("letters, digits and '-'"));
}

#[test]
fn who_reads_beside_an_index_gateway_reads_the_index_itself() {
    for (roles, targets) in [
        (RoleSet::from([Role::Read]), &["-target=read"][..]),
        (RoleSet::from([Role::Backend]), &["-target=backend"]),
        (RoleSet::from([Role::All]), &["-target=all"]),
        (RoleSet::from([Role::Backend, Role::Read]), &["-target=read", "-legacy-read-mode=true"]),
    ] {
        let arguments = workload(Product::Loki).arguments(&roles, "c.yaml");
        assert_eq!(arguments[1..], *targets, "{roles}");
    }
}
