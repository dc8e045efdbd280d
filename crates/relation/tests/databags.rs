//! The databags of Canonical's charms: examples that their own code wrote (`databags/`), its schema, the rules of its
//! encoding, and what no charm would write.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use muster_model::{AppName, Product, Role, RoleSet, Secret, UnitName};
use muster_relation::juju::{
    Address, CoordinatorApplication, Databag, DatabagError, RemoteWriteEndpoint, WorkerApplication,
    WorkerUnit, endpoint, interface,
};
use proptest::prelude::*;
use serde_json::Value;

/// The keys whose order within the value the charms leave open. We write them sorted.
const ANY_ORDER: [&str; 2] = ["loki_endpoints", "worker_ports"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databags")
}

fn file(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

/// The examples by name, each of a product and a mode: `mimir.tls`.
fn examples() -> BTreeMap<String, Value> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names = fs::read_dir(folder()).unwrap().map(|entry| name(entry.unwrap().path()));
    let examples = names.filter(|name| !["schema.json", "encoding-rules.json"].contains(&name.as_str()));
    examples.map(|name| (name.trim_end_matches(".json").to_owned(), file(&name))).collect()
}

fn bag(value: &Value) -> Databag {
    serde_json::from_value(value.clone()).unwrap()
}

/// A databag of an example. The longer examples have what its values mean beside it.
fn example_bag(value: &Value) -> Databag {
    let Some(raw) = value.get("raw") else { return bag(value) };
    let raw = bag(raw);
    let read: serde_json::Map<_, _> = raw.iter().map(|(k, v)| (k.clone(), json(v))).collect();
    assert_eq!(Value::Object(read), value["decoded"]);
    raw
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn sorted(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            items.iter().map(Value::to_string).collect::<BTreeSet<_>>().into_iter().collect()
        }
        Value::Object(fields) => {
            fields.iter().map(|field| format!("{field:?}")).collect::<BTreeSet<_>>().into_iter().collect()
        }
        other => vec![other.to_string()],
    }
}

/// Byte for byte the same; where the order is open, the same entries and as many bytes.
#[track_caller]
fn assert_same(written: &Databag, example: &Databag) {
    assert_eq!(written.keys().collect::<Vec<_>>(), example.keys().collect::<Vec<_>>());
    for (key, expect) in example {
        let text = &written[key];
        if ANY_ORDER.contains(&key.as_str()) {
            assert_eq!(sorted(&json(text)), sorted(&json(expect)), "{key}");
            assert_eq!(text.len(), expect.len(), "{key}");
        } else {
            assert_eq!(text, expect, "{key}");
        }
    }
}

fn databag<const N: usize>(entries: [(&str, &str); N]) -> Databag {
    entries.map(|(key, text)| (key.to_owned(), text.to_owned())).into()
}

#[test]
fn every_example_is_read_and_written_as_it_was() {
    let examples = examples();
    assert_eq!(examples.len(), 9, "three products in three modes");
    for (name, example) in &examples {
        let about = &example["_about"];
        let product: Product = about["app"].as_str().unwrap().parse().unwrap();
        if let Some(named) = about.get("endpoint") {
            assert_eq!(named, endpoint(product));
            assert_eq!(&about["interface"], interface(product));
        }

        let coordinator = example_bag(&example["coordinator_app_databag"]);
        let read = CoordinatorApplication::decode(&coordinator).unwrap();
        assert_same(&read.encode(), &coordinator);
        assert!(read.worker_config.expose().contains("EXAMPLESECRETKEY"), "{name}");
        let tls = [&read.ca_cert, &read.server_cert, &read.privkey_secret_id, &read.s3_tls_ca_chain];
        assert!(tls.iter().all(|value| value.is_some() == name.ends_with(".tls")), "{name}");
        assert_eq!(read.remote_write_endpoints.is_some(), product == Product::Tempo, "{name}");
        assert_eq!(read.worker_labels.unwrap()["app.kubernetes.io/part-of"], product.as_str());

        let application = example_bag(&example["worker_app_databag"]);
        let read = WorkerApplication::decode(&application).unwrap();
        assert_eq!(read.encode(), application);
        assert_eq!(read.roles.len(), 1, "{name}");

        let units =
            example.get("worker_unit_databag").or_else(|| example.get("worker_unit_databags")).unwrap();
        for unit in units.as_object().unwrap().values() {
            let unit = example_bag(unit);
            let read = WorkerUnit::decode(&unit).unwrap();
            assert_eq!(read.encode(), unit);
            let app = read.unit.application();
            assert_eq!(
                read.address.as_str(),
                format!("{}.{app}-endpoints.cos.svc.cluster.local", read.unit.label())
            );
            assert_eq!(read.charm_name, format!("{product}-worker-k8s"));
        }
    }
}

#[test]
fn every_encoding_rule_is_kept() {
    let rules = file("encoding-rules.json");
    let rules: BTreeMap<String, Databag> = serde_json::from_value(rules).unwrap();
    let config =
        |text: &str| CoordinatorApplication { worker_config: Secret::new(text), ..Default::default() };
    let none = || Some(BTreeMap::new());
    for (rule, bag) in &rules {
        match rule.as_str() {
            // A text is quoted; what has no value is left out.
            "provider_minimal" => {
                assert_eq!(CoordinatorApplication::decode(bag).unwrap(), config("a: 1\n"));
                assert_eq!(&config("a: 1\n").encode(), bag);
            }
            // What is empty is written; what is not ASCII is escaped; a space follows a colon.
            "provider_with_empty_collections" => {
                let expect = CoordinatorApplication {
                    loki_endpoints: none(),
                    charm_tracing_receivers: none(),
                    remote_write_endpoints: Some(Vec::new()),
                    worker_ports: Some(BTreeSet::new()),
                    worker_labels: Some([("k".to_owned(), "v".to_owned())].into()),
                    ..config("a: 1\nb: 'é'\n")
                };
                assert_eq!(CoordinatorApplication::decode(bag).unwrap(), expect);
                assert_eq!(&expect.encode(), bag);
            }
            // Roles are one text, with commas between.
            "requirer_app" => {
                let expect = WorkerApplication { roles: [Role::Write, Role::Read].into() };
                assert_eq!(WorkerApplication::decode(bag).unwrap(), expect);
                assert_eq!(&expect.encode(), bag);
            }
            // The topology's fields have an order, and a space follows a comma.
            "requirer_unit" => {
                let expect = WorkerUnit {
                    address: Address::new("w-0.w-endpoints.ns.svc.cluster.local").unwrap(),
                    unit: "w/0".parse().unwrap(),
                    charm_name: "c".to_owned(),
                };
                assert_eq!(WorkerUnit::decode(bag).unwrap(), expect);
                assert_eq!(&expect.encode(), bag);
            }
            other => panic!("the rule {other:?} has no test"),
        }
    }
    assert_eq!(rules.len(), 4);
}

fn full_coordinator() -> CoordinatorApplication {
    let one = |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
    let text = |text: &str| Some(text.to_owned());
    CoordinatorApplication {
        worker_config: Secret::new("secret_key: hunter2"),
        loki_endpoints: one("loki/0", "http://loki/push"),
        charm_tracing_receivers: one("otlp_http", "http://tempo:4318"),
        workload_tracing_receivers: one("otlp_http", "http://tempo:4318"),
        remote_write_endpoints: Some(vec![RemoteWriteEndpoint { url: "http://mimir/write".to_owned() }]),
        worker_ports: Some([9095, 8080].into()),
        ca_cert: text("ca"),
        server_cert: text("cert"),
        privkey_secret_id: text("secret:3ymoam7wa2h7d6ev3v8g"),
        s3_tls_ca_chain: text("chain"),
        worker_labels: one("k", "v"),
    }
}

fn worker_application() -> WorkerApplication {
    WorkerApplication { roles: [Role::Ingester].into() }
}

fn worker_unit() -> WorkerUnit {
    WorkerUnit {
        address: Address::new("10.1.2.3").unwrap(),
        unit: "mimir-read/10".parse().unwrap(),
        charm_name: "mimir-worker-k8s".to_owned(),
    }
}

/// All fields of the schema are written, no others, and those that it requires are missed.
#[test]
fn the_schema_is_covered() {
    fn check(model: &str, full: &Databag, decode: impl Fn(&Databag) -> Option<DatabagError>) {
        let schema = &file("schema.json")[model];
        let properties: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let mut keys: Vec<_> = full.keys().cloned().collect();
        keys.sort_by_key(|key| properties.iter().position(|property| property == key));
        assert_eq!(keys, properties);
        for key in keys {
            let required = schema["required"].as_array().unwrap().contains(&key.as_str().into());
            let mut bag = full.clone();
            bag.remove(&key);
            match decode(&bag) {
                Some(DatabagError::Missing(missing)) => assert!(required && missing == key, "{key}"),
                other => assert!(!required && other.is_none(), "{key}: {other:?}"),
            }
            // Null is as good as absent where absent is good.
            bag.insert(key.clone(), "null".to_owned());
            assert_eq!(decode(&bag).is_some(), required, "{key}");
        }
    }
    check("ClusterProviderAppData", &full_coordinator().encode(), |bag| {
        CoordinatorApplication::decode(bag).err()
    });
    check("ClusterRequirerAppData", &worker_application().encode(), |bag| {
        WorkerApplication::decode(bag).err()
    });
    check("ClusterRequirerUnitData", &worker_unit().encode(), |bag| WorkerUnit::decode(bag).err());
}

#[test]
fn what_is_wrong_is_named_and_not_shown() {
    const ENDPOINTS: &str = "key \"remote_write_endpoints\" is not usable: write a list of objects with a text each, for example [{\"url\": \"http://host/api/v1/push\"}]";
    const PORTS: &str =
        "key \"worker_ports\" is not usable: write a list of port numbers, for example [8080, 9095]";
    const TOPOLOGY: &str = "key \"juju_topology\" is not usable: write an object with the texts \"application\", \"unit\" (of that application, for example \"mimir-read/0\") and \"charm_name\"";
    const ADDRESS: &str =
        "key \"address\" is not usable: write a DNS name or an IP address, without scheme and port";
    const CONFIG: &str = "key \"worker_config\" is not usable: write a text in double quotes";
    const NO_JSON: &str =
        "key \"worker_config\" is not JSON: write one JSON document, and texts in double quotes";
    let deep = "[".repeat(1 << 20);
    for (key, text, expect) in [
        ("worker_config", "", NO_JSON),
        ("worker_config", "a: hunter2", NO_JSON),
        ("worker_config", "\"hunter2", NO_JSON),
        ("worker_config", "\"hunter2\" \"hunter2\"", NO_JSON),
        ("worker_config", "\"hunter2\n\"", NO_JSON),
        ("worker_config", "\"\\ud800\"", NO_JSON),
        ("worker_config", "NaN", NO_JSON),
        ("worker_config", "1e999", NO_JSON),
        ("worker_config", &deep, NO_JSON),
        ("worker_config", "{\"secret_key\": \"hunter2\"}", CONFIG),
        ("worker_config", "[\"hunter2\"]", CONFIG),
        ("worker_config", "1", CONFIG),
        ("worker_config", "null", CONFIG),
        ("ca_cert", "[]", "key \"ca_cert\" is not usable: write a text in double quotes"),
        (
            "loki_endpoints",
            "{\"loki/0\": null}",
            "key \"loki_endpoints\" is not usable: write an object whose values are texts, for example {\"otlp_http\": \"http://host:4318\"}",
        ),
        (
            "worker_labels",
            "[]",
            "key \"worker_labels\" is not usable: write an object whose values are texts, for example {\"app.kubernetes.io/part-of\": \"mimir\"}",
        ),
        ("remote_write_endpoints", "[{}]", ENDPOINTS),
        ("remote_write_endpoints", "[\"http://mimir\"]", ENDPOINTS),
        ("worker_ports", "[-1]", PORTS),
        ("worker_ports", "[65536]", PORTS),
        ("worker_ports", "[80.5]", PORTS),
        ("worker_ports", "{\"a\": 1}", PORTS),
        ("worker_ports", "8080", PORTS),
        ("role", "read", "key \"role\" is not JSON: write one JSON document, and texts in double quotes"),
        (
            "role",
            "[\"read\"]",
            "key \"role\" is not usable: write role names in double quotes, for example \"read,write\"",
        ),
        (
            "role",
            "\"read,reed\"",
            "key \"role\" is not usable: role \"reed\" is not known; write roles with commas and no spaces between",
        ),
        (
            "role",
            "\"read, write\"",
            "key \"role\" is not usable: role \" write\" is not known; write roles with commas and no spaces between",
        ),
        (
            "role",
            "\"\"",
            "key \"role\" is not usable: role \"\" is not known; write roles with commas and no spaces between",
        ),
        ("address", "\"http://w-0\"", ADDRESS),
        ("address", "\"w-0; } server {\"", ADDRESS),
        ("address", "\"\"", ADDRESS),
        ("juju_topology", "{}", TOPOLOGY),
        ("juju_topology", "{\"application\": \"w\", \"unit\": \"w\", \"charm_name\": \"c\"}", TOPOLOGY),
        (
            "juju_topology",
            "{\"application\": \"../w\", \"unit\": \"../w/0\", \"charm_name\": \"c\"}",
            TOPOLOGY,
        ),
        // Not of that application.
        ("juju_topology", "{\"application\": \"v\", \"unit\": \"w/0\", \"charm_name\": \"c\"}", TOPOLOGY),
    ] {
        let mut bag = full_coordinator().encode();
        bag.extend(worker_application().encode());
        bag.extend(worker_unit().encode());
        bag.insert(key.to_owned(), text.to_owned());
        let error = first_error(&bag).expect(key);
        assert_eq!(error.to_string(), expect);
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

/// What the first of the three readers that refuses it says of a databag that has the keys of all.
fn first_error(bag: &Databag) -> Option<DatabagError> {
    let worker = || WorkerApplication::decode(bag).err().or_else(|| WorkerUnit::decode(bag).err());
    CoordinatorApplication::decode(bag).err().or_else(worker)
}

#[test]
fn an_unknown_role_is_shown_in_part() {
    let bag = databag([("role", &format!("\"{}\"", "x".repeat(1 << 20)))]);
    assert!(WorkerApplication::decode(&bag).unwrap_err().to_string().len() < 200);
}

#[test]
fn an_empty_databag_is_one_that_nobody_wrote_yet() {
    let bag = Databag::new();
    assert!(matches!(CoordinatorApplication::decode(&bag), Err(DatabagError::Missing("worker_config"))));
    assert!(matches!(WorkerApplication::decode(&bag), Err(DatabagError::Missing("role"))));
    assert!(matches!(WorkerUnit::decode(&bag), Err(DatabagError::Missing("address"))));
}

#[test]
fn a_worker_without_roles_writes_none() {
    assert_eq!(WorkerApplication::default().encode(), Databag::new());
}

#[test]
fn any_json_and_any_order_of_roles_is_read() {
    let bag = databag([
        ("worker_config", " \"\\u0061: 1\\/2\" \n"),
        ("worker_ports", "[3100,\t80 ,3100]"),
        ("loki_endpoints", "{\"a\":\"1\",\"a\":\"2\"}"),
        ("remote_write_endpoints", "[{\"url\":\"u\",\"name\":\"n\"}]"),
    ]);
    let read = CoordinatorApplication::decode(&bag).unwrap();
    let expect = databag([
        ("worker_config", "\"a: 1/2\""),
        ("worker_ports", "[80, 3100]"),
        ("loki_endpoints", "{\"a\": \"2\"}"),
        ("remote_write_endpoints", "[{\"url\": \"u\"}]"),
    ]);
    assert_eq!(read.encode(), expect);
    let roles = WorkerApplication::decode(&databag([("role", "\"write,all,write\"")])).unwrap();
    assert_eq!(roles.encode(), databag([("role", "\"all,write\"")]));
}

#[test]
fn ports_that_the_coordinator_does_not_name_are_the_charms() {
    let mut read = CoordinatorApplication::default();
    assert_eq!(read.ports(Product::Mimir), [8080].into());
    assert_eq!(read.ports(Product::Loki), [3100].into());
    assert_eq!(read.ports(Product::Tempo).len(), 8);
    read.worker_ports = Some(BTreeSet::new());
    assert_eq!(read.ports(Product::Tempo), BTreeSet::new());
}

#[test]
fn debug_does_not_show_the_config() {
    let shown = format!("{:?}", full_coordinator());
    assert!(shown.contains("[redacted]") && !shown.contains("hunter2"), "{shown}");
}

fn any_texts() -> impl Strategy<Value = Option<BTreeMap<String, String>>> {
    proptest::option::of(proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4))
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(any::<String>())
}

fn any_coordinator() -> impl Strategy<Value = CoordinatorApplication> {
    let urls = proptest::collection::vec(any::<String>().prop_map(|url| RemoteWriteEndpoint { url }), 0..4);
    let ports = proptest::collection::btree_set(any::<u16>(), 0..8);
    let telemetry = (any_texts(), any_texts(), any_texts(), proptest::option::of(urls));
    let tls = (any_text(), any_text(), any_text(), any_text());
    (any::<String>(), telemetry, proptest::option::of(ports), tls, any_texts()).prop_map(
        |(config, (loki, charm, workload, remote_write), ports, (ca, certificate, key, chain), labels)| {
            CoordinatorApplication {
                worker_config: Secret::new(config),
                loki_endpoints: loki,
                charm_tracing_receivers: charm,
                workload_tracing_receivers: workload,
                remote_write_endpoints: remote_write,
                worker_ports: ports,
                ca_cert: ca,
                server_cert: certificate,
                privkey_secret_id: key,
                s3_tls_ca_chain: chain,
                worker_labels: labels,
            }
        },
    )
}

fn any_roles() -> impl Strategy<Value = RoleSet> {
    proptest::sample::subsequence(Role::ALL, 1..=Role::ALL.len())
        .prop_map(|roles| roles.into_iter().collect())
}

fn any_unit() -> impl Strategy<Value = WorkerUnit> {
    let unit = ("[a-z]([a-z0-9-]{0,20}[a-z0-9])?", any::<u32>())
        .prop_map(|(app, number): (String, u32)| -> UnitName { AppName::new(app).unwrap().unit(number) });
    let address =
        prop_oneof!["[a-zA-Z0-9._-]{1,40}", any::<std::net::IpAddr>().prop_map(|ip| ip.to_string())];
    (address, unit, any::<String>()).prop_map(|(address, unit, charm_name)| WorkerUnit {
        address: Address::new(address).unwrap(),
        unit,
        charm_name,
    })
}

/// Entries that a newer side, or Juju itself, may add: with names that we do not know, and no JSON.
fn any_others() -> impl Strategy<Value = Databag> {
    proptest::collection::btree_map("x-[a-z]{1,8}", any::<String>(), 0..4)
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "(read|write|all|,){0,4}".prop_map(Value::from),
    ];
    let name = || prop_oneof![any::<String>(), "url|application|unit|charm_name"];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Databags with keys that are known and values that are anything.
fn any_bag() -> impl Strategy<Value = Databag> {
    let bags = [full_coordinator().encode(), worker_application().encode(), worker_unit().encode()];
    let keys: Vec<String> = bags.into_iter().flat_map(Databag::into_keys).collect();
    let text = prop_oneof![any::<String>(), any_json().prop_map(|value| value.to_string())];
    let entries = proptest::collection::btree_map(proptest::sample::select(keys), text, 0..8);
    // Without a config nothing else of a coordinator's would be looked at.
    let config = any_text().prop_map(|text| text.map(|text| Value::from(text).to_string()));
    (entries, config).prop_map(|(mut bag, config)| {
        bag.extend(config.map(|text| ("worker_config".to_owned(), text)));
        bag
    })
}

/// What can be read is written, and then always in the same bytes.
fn settles<T: PartialEq + std::fmt::Debug>(
    bag: &Databag,
    decode: impl Fn(&Databag) -> Result<T, DatabagError>,
    encode: impl Fn(&T) -> Databag,
) -> Result<(), TestCaseError> {
    if let Ok(read) = decode(bag) {
        let written = encode(&read);
        let again = decode(&written);
        prop_assert!(again.is_ok(), "{again:?}");
        let again = again.unwrap();
        prop_assert_eq!(encode(&again), written);
        prop_assert_eq!(again, read);
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_a_coordinator_writes_is_read(told in any_coordinator(), others in any_others()) {
        let written = told.encode();
        prop_assert_eq!(&written, &told.clone().encode());
        for text in written.values() {
            prop_assert!(text.is_ascii() && serde_json::from_str::<Value>(text).is_ok(), "{text}");
        }
        let mut bag = others;
        bag.extend(written.clone());
        let read = CoordinatorApplication::decode(&bag).unwrap();
        prop_assert_eq!(&read, &told);
        prop_assert_eq!(read.encode(), written, "what is not known is not kept");
    }

    #[test]
    fn what_a_worker_writes_is_read(roles in any_roles(), unit in any_unit(), others in any_others()) {
        let application = WorkerApplication { roles };
        let mut bag = others.clone();
        bag.extend(application.encode());
        let read = WorkerApplication::decode(&bag).unwrap();
        prop_assert_eq!(read.encode(), application.encode());
        prop_assert_eq!(read, application);

        let mut bag = others;
        bag.extend(unit.encode());
        let read = WorkerUnit::decode(&bag).unwrap();
        prop_assert_eq!(read.encode(), unit.encode());
        prop_assert_eq!(read, unit);
    }

    #[test]
    fn nothing_in_a_databag_is_too_much(bag in any_bag()) {
        settles(&bag, CoordinatorApplication::decode, CoordinatorApplication::encode)?;
        settles(&bag, WorkerApplication::decode, WorkerApplication::encode)?;
        settles(&bag, WorkerUnit::decode, WorkerUnit::encode)?;
    }
}
