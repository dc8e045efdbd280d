//! The shared config of Mimir, as text: goldens, secrets, bytes and overrides.
//!
//! `UPDATE_GOLDENS=1 cargo test -p muster-products` writes the goldens again.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail the test too")]

use std::collections::BTreeMap;
use std::path::Path;

use muster_model::{ObjectStorage, Product, Role, RoleSet, Secret, yaml};
use muster_products::charm::{self, Options};
use muster_products::{ConfigInputs, UnitValues, Workload, supported_versions, workload};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn mimir() -> &'static dyn Workload {
    workload(Product::Mimir)
}

fn storage(more: &[(&str, &str)]) -> ObjectStorage {
    let mut data: BTreeMap<_, _> = [
        ("endpoint", "http://s3.example:9000"),
        ("bucket", "metrics"),
        ("access-key", "the-access-key"),
        ("secret-key", "the-secret-key"),
    ]
    .map(|(key, value)| (key.to_owned(), Secret::new(value)))
    .into();
    data.extend(more.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))));
    ObjectStorage::from_secret(&data).unwrap()
}

fn options(config: &Value) -> Options {
    let config = config.as_object().unwrap().clone().into_iter().collect();
    let (options, problems) = charm::coordinator(Product::Mimir).validate(&config);
    assert_eq!(problems, []);
    options
}

fn shared(
    storage: &ObjectStorage,
    options: &Options,
    replication_factor: u8,
    overrides: Option<&Map<String, Value>>,
) -> String {
    let version = supported_versions(Product::Mimir)[0];
    mimir().shared_config(&ConfigInputs {
        cluster_id: "demo-mimir",
        version,
        storage,
        options,
        replication_factor,
        gateway: None,
        remote_write: &[],
        overrides,
    })
}

fn plain(overrides: Option<&Map<String, Value>>) -> String {
    shared(&storage(&[]), &options(&json!({})), 1, overrides)
}

fn unit(roles: RoleSet) -> UnitValues {
    UnitValues {
        address: "127.0.9.1".to_owned(),
        id: "mimir-worker-0".to_owned(),
        data_directory: "/data".to_owned(),
        peers: BTreeMap::new(),
        seeds: vec!["127.0.9.1:7946".to_owned(), "127.0.9.2:7946".to_owned()],
        roles,
        access_key: Secret::new("the-access-key"),
        secret_key: Secret::new("the-secret-key"),
        ca_file: None,
    }
}

fn tree(document: &str) -> Value {
    yaml::from_str(document).unwrap()
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "{name} differs; if that is meant, run with UPDATE_GOLDENS=1");
}

#[test]
fn goldens() {
    golden("mimir.shared.yaml", &plain(None));
    let chain = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let mut storage =
        storage(&[("endpoint", "https://s3.example"), ("path", "team1"), ("region", "eu-west-1")]);
    storage.tls_ca_chain = Some(chain.to_owned());
    let options = options(
        &json!({ "retention-period": "1y", "ingestion-rate": 50000, "max-global-series-per-user": 7 }),
    );
    let overrides = json!({
        "limits": { "ingestion_rate": 40000, "ruler_max_rule_groups_per_tenant": null },
        "querier": { "timeout": "1m" },
        "ruler": { "disabled_tenants": "${muster:unit-id} $5" },
    });
    let document = shared(&storage, &options, 3, overrides.as_object());
    golden("mimir.shared.replicated.yaml", &document);
    let mut values = unit(RoleSet::from([Role::All]));
    values.ca_file = Some("/run/s3-ca.pem".to_owned());
    golden("mimir.unit.yaml", &mimir().unit_config(&document, &values).unwrap());
}

#[test]
fn units_find_schedulers_by_their_roles() {
    let mode = |roles| {
        let config = mimir().unit_config(&plain(None), &unit(roles)).unwrap();
        tree(&config)["query_scheduler"]["service_discovery_mode"].clone()
    };
    assert_eq!(mode(RoleSet::from([Role::All])), "dns");
    assert_eq!(mode(RoleSet::from([Role::Querier, Role::QueryFrontend])), "ring");
}

#[test]
fn replicas_and_the_place_in_the_ring() {
    for (replicas, gives_its_place_up) in [(1_u8, true), (3, false), (5, false)] {
        let tree = tree(&shared(&storage(&[]), &options(&json!({})), replicas, None));
        assert_eq!(tree["ingester"]["ring"]["replication_factor"], replicas);
        // Blocks are in S3 once and are loaded by three, so that one that comes or goes leaves no gap in the reads.
        assert_eq!(tree["store_gateway"]["sharding_ring"]["replication_factor"], replicas.max(3));
        assert_eq!(tree["alertmanager"]["sharding_ring"]["replication_factor"], replicas);
        assert_eq!(tree["ingester"]["ring"]["unregister_on_shutdown"], gives_its_place_up);
    }
}

#[test]
fn a_missing_authority_file_is_an_error() {
    let mut storage = storage(&[("endpoint", "https://s3.example")]);
    storage.tls_ca_chain = Some(String::new());
    let document = shared(&storage, &options(&json!({})), 1, None);
    let error = mimir().unit_config(&document, &unit(RoleSet::from([Role::All]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the shared config needs ${muster:s3-ca-file}, which this unit was not given"
    );
}

#[test]
fn only_paths_that_mimir_can_express_are_accepted() {
    assert_eq!(mimir().check_storage(&storage(&[])), None);
    assert_eq!(mimir().check_storage(&storage(&[("path", "team1")])), None);
    for path in ["a/b", "a-b", "a_b"] {
        let problem = mimir().check_storage(&storage(&[("path", path)])).unwrap();
        assert!(problem.contains(path) && problem.contains("letters and digits"), "{problem}");
    }
}

/// Calls `leaf` with the path and value of everything that is not a map.
fn leaves(value: &Value, path: &str, leaf: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(value, &path, leaf);
            }
        }
        leaf_value => leaf(path, leaf_value),
    }
}

fn nested(path: &str, value: Value) -> Map<String, Value> {
    let value = path.rsplit('.').fold(value, |below, key| json!({ key: below }));
    value.as_object().unwrap().clone()
}

#[test]
fn what_a_unit_fills_in_cannot_be_overridden() {
    let base = plain(None);
    let mut checked = 0;
    leaves(&tree(&base), "", &mut |path, value| {
        if value.to_string().contains("${muster:") {
            for replacement in [json!("x"), json!({ "x": 1 }), Value::Null] {
                let overrides = nested(path, replacement);
                assert_eq!(mimir().owned_overrides(&overrides).len(), 1, "{path}");
                assert_eq!(plain(Some(&overrides)), base, "{path}");
            }
            let above = path.split('.').next().unwrap();
            assert_eq!(mimir().owned_overrides(&nested(above, Value::Null)).len(), 1, "{above}");
            checked += 1;
        }
    });
    assert!(checked > 20, "{checked}");
}

#[test]
fn limits_can_be_overridden() {
    let overrides = nested("limits.ingestion_rate", json!(50_000));
    assert_eq!(mimir().owned_overrides(&overrides), []);
    assert_eq!(tree(&plain(Some(&overrides)))["limits"]["ingestion_rate"], 50_000);
    let message =
        mimir().owned_overrides(&nested("ingester.ring.replication_factor", json!(3)))[0].to_string();
    assert_eq!(
        message,
        "override \"ingester.ring.replication_factor\" is set by Muster: set the option replication-factor"
    );
}

#[test]
fn arguments_name_every_target() {
    let all = RoleSet::from([Role::All]);
    let targets = "-target=alertmanager,compactor,distributor,ingester,overrides-exporter,querier,query-frontend,ruler,store-gateway";
    assert_eq!(mimir().arguments(&all, "/run/c.yaml"), ["-config.file=/run/c.yaml", targets]);
    assert_eq!(
        mimir().check_arguments(&all, "/run/c.yaml"),
        ["-config.file=/run/c.yaml", targets, "-modules"]
    );
}

/// Texts that break careless quoting, careless expansion, or both.
fn hostile() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "${muster:",
        "${muster:unit-id}",
        "${muster:s3-secret-key}",
        "${muster:dollar}",
        "}",
        "$",
        "$$",
        "${HOME}",
        "\"",
        "'",
        "#",
        " #",
        ": ",
        ":",
        "- ",
        "\n",
        "\r",
        "\t",
        "\\",
        "|",
        ">",
        "&a",
        "*a",
        "!t",
        "%",
        "@",
        "`",
        "{",
        "[",
        ",",
        "null",
        "true",
        "yes",
        "1e3",
        "0x1",
        "~",
        "é",
        "😀",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{0}",
        " ",
        "a",
    ]);
    prop::collection::vec(parts, 0..8).prop_map(|parts| parts.concat())
}

fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        hostile().prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(hostile(), inner, 1..4).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn hostile_overrides_come_out_as_they_were(value in values()) {
        let overrides = nested("ruler.custom", value.clone());
        let document = plain(Some(&overrides));
        let config = mimir().unit_config(&document, &unit(RoleSet::from([Role::All]))).unwrap();
        prop_assert_eq!(&tree(&config)["ruler"]["custom"], &value);
    }

    #[test]
    fn hostile_values_of_a_unit_come_out_as_they_were(texts in prop::collection::vec(hostile(), 7)) {
        let [address, id, data_directory, seed, access_key, secret_key, ca_file]: [String; 7] = texts.try_into().unwrap();
        let values = UnitValues {
            address, id, data_directory, peers: BTreeMap::new(), seeds: vec![seed], roles: RoleSet::from([Role::Ingester]),
            access_key: Secret::new(access_key), secret_key: Secret::new(secret_key), ca_file: Some(ca_file),
        };
        let mut storage = storage(&[]);
        storage.tls_ca_chain = Some(String::new());
        let config = mimir().unit_config(&shared(&storage, &options(&json!({})), 1, None), &values).unwrap();
        let tree = tree(&config);
        let s3 = &tree["common"]["storage"]["s3"];
        prop_assert_eq!(&s3["access_key_id"], values.access_key.expose());
        prop_assert_eq!(&s3["secret_access_key"], values.secret_key.expose());
        prop_assert_eq!(&s3["http"]["tls_ca_path"], values.ca_file.as_deref().unwrap());
        prop_assert_eq!(&tree["server"]["http_listen_address"], &values.address);
        prop_assert_eq!(&tree["ingester"]["ring"]["instance_id"], &values.id);
        prop_assert_eq!(&tree["memberlist"]["join_members"], &json!(values.seeds));
        prop_assert_eq!(&tree["ruler"]["rule_path"], &format!("{}/ruler", values.data_directory));
    }

    #[test]
    fn hostile_inputs_come_out_as_they_were(cluster_id in hostile()) {
        let (storage, options, version) = (storage(&[]), options(&json!({})), supported_versions(Product::Mimir)[0]);
        let inputs = ConfigInputs {
            cluster_id: &cluster_id, version, storage: &storage, options: &options, replication_factor: 1,
            gateway: None, remote_write: &[], overrides: None,
        };
        let config = mimir().unit_config(&mimir().shared_config(&inputs), &unit(RoleSet::new())).unwrap();
        prop_assert_eq!(&tree(&config)["memberlist"]["cluster_label"], &cluster_id);
    }

    #[test]
    fn the_shared_config_has_no_secret(access in "[A-Z0-9]{12,20}", secret in "[A-Za-z0-9/+]{16,40}") {
        let storage = storage(&[("access-key", &access), ("secret-key", &secret)]);
        let document = shared(&storage, &options(&json!({})), 3, None);
        prop_assert!(!document.contains(&access) && !document.contains(&secret));
        // Nor any address or name: other credentials give the same bytes.
        prop_assert_eq!(document, shared(&self::storage(&[]), &options(&json!({})), 3, None));
    }

    #[test]
    fn equal_inputs_give_equal_bytes_in_any_order(entries in prop::collection::btree_map("[a-z]{1,6}", 0..9_i64, 0..8)) {
        let forward: Map<_, _> = entries.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let backward: Map<_, _> = entries.iter().rev().map(|(key, value)| (key.clone(), json!(value))).collect();
        let (forward, backward) = (nested("ruler.custom", forward.into()), nested("ruler.custom", backward.into()));
        prop_assert_eq!(plain(Some(&forward)), plain(Some(&backward)));
    }
}
