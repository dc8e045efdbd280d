//! Malformed and hostile coordinators and workers at a real API server: each is refused with words that say what to write, or accepted
//! and told about in its status, and harms nobody: the operator goes on, and a deployment of somebody else is not touched.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use muster_api::Coordinator;
use muster_testkit::kubernetes::Level;
use muster_testkit::wait_until;
use muster_tests::kubernetes::{Operator, Site, objects, s3_secret};
use serde_json::{Map, Value, json};

/// How long a step may take on a machine that builds and tests at the same time.
const SETTLED: Duration = Duration::from_secs(60);
/// How long it may take until a status that is there says the right thing.
const WORDS: Duration = Duration::from_secs(10);
/// How long a namespace must look the same to be taken for settled.
const REST: Duration = Duration::from_secs(2);
/// How many specs are made by mutation.
const MUTATIONS: usize = 240;
/// How many accepted ones are there at a time.
const AT_ONCE: usize = 40;
const HOSTILE: &str = "hostile";

/// What is to become of a document.
enum Expected {
    /// The API server refuses it with these words.
    Refused(&'static str),
    /// It is accepted, and these words are in its status, in what its coordinator says, or in what a worker of it says.
    Said(&'static str),
    /// It is refused with the first words, or accepted and told about with the second.
    Either(&'static str, &'static str),
    /// It is accepted, and can run.
    Harmless,
}

use Expected::{Either, Harmless, Refused, Said};

fn document(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "muster.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A coordinator's spec with these fields changed.
fn coordinator(more: Value) -> (&'static str, Value) {
    ("Coordinator", with(json!({"product": "mimir", "s3": {"secret": "s3"}}), more))
}

/// A worker's spec with these fields changed.
fn worker(more: Value) -> (&'static str, Value) {
    ("Worker", with(json!({"coordinator": "nobody", "units": 1}), more))
}

/// The spec of a worker of the coordinator `host`, which can run.
fn hosted(more: Value) -> (&'static str, Value) {
    ("Worker", with(json!({"coordinator": "host", "units": 1, "roles": {"ingester": true}}), more))
}

fn with(mut spec: Value, more: Value) -> Value {
    let Value::Object(more) = more else { return more };
    for (key, value) in more {
        spec[key] = value;
    }
    spec
}

/// Maps in maps.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
}

fn long(length: usize) -> String {
    "x".repeat(length)
}

/// Those that people have thought of.
fn written() -> Vec<((&'static str, Value), Expected)> {
    let bomb: Map<String, Value> =
        (0..9).map(|letter| (format!("l{letter}"), json!(vec!["lol"; 200]))).collect();
    let many: Map<String, Value> = (0..33).map(|number| (format!("role-{number}"), json!(true))).collect();
    let options: Map<String, Value> =
        (0..500).map(|number| (format!("option-{number}"), json!(number))).collect();
    vec![
        // What the schema knows.
        (
            coordinator(json!({"product": "thanos"})),
            Refused("supported values: \"mimir\", \"loki\", \"tempo\""),
        ),
        (coordinator(json!({"product": null})), Refused("spec.product")),
        (coordinator(json!({"product": 1})), Refused("spec.product")),
        (coordinator(json!({"product": "mimir\n"})), Refused("supported values")),
        (coordinator(json!({"units": -1})), Refused("should be greater than or equal to 0")),
        (coordinator(json!({"units": 10_001})), Refused("should be less than or equal to 10000")),
        (coordinator(json!({"units": "2"})), Refused("spec.units")),
        (coordinator(json!({"units": 1.5})), Refused("spec.units")),
        (coordinator(json!({"units": 4_294_967_296_i64})), Refused("should be less than or equal to 10000")),
        (coordinator(json!({"units": i64::MAX})), Refused("should be less than or equal to 10000")),
        (coordinator(json!({"units": true})), Refused("spec.units")),
        (coordinator(json!({"onIncoherent": "Never"})), Refused("supported values: \"Stop\", \"Hold\"")),
        (coordinator(json!({"s3": {}})), Refused("spec.s3.secret: Required value")),
        (coordinator(json!({"s3": {"secret": ""}})), Refused("spec.s3.secret")),
        (coordinator(json!({"s3": {"secret": "../other/s3"}})), Refused("spec.s3.secret")),
        (coordinator(json!({"s3": {"secret": "kube-system/token"}})), Refused("spec.s3.secret")),
        (coordinator(json!({"s3": {"secret": long(254)}})), Refused("spec.s3.secret")),
        (coordinator(json!({"s3": {"secret": "s3\n"}})), Refused("spec.s3.secret")),
        (coordinator(json!({"s3": {"secret": "S3"}})), Refused("spec.s3.secret")),
        (coordinator(json!({"s3": "s3"})), Refused("spec.s3")),
        (coordinator(json!({"tls": {"secret": "../../etc"}})), Refused("spec.tls.secret")),
        (coordinator(json!({"tls": {}})), Refused("spec.tls.secret: Required value")),
        (coordinator(json!({"colour": "red"})), Refused("field not declared in schema")),
        (
            coordinator(json!({"s3": {"secret": "s3", "colour": "red"}})),
            Refused("field not declared in schema"),
        ),
        (coordinator(json!({"images": {"workload": 1}})), Refused("spec.images.workload")),
        (coordinator(json!({"images": {"pullSecrets": "x"}})), Refused("spec.images.pullSecrets")),
        (coordinator(json!({"config": ["a"]})), Refused("spec.config")),
        (coordinator(json!({"overrides": "a: b"})), Refused("spec.overrides")),
        (coordinator(json!({"networkPolicies": "yes"})), Refused("spec.networkPolicies")),
        (coordinator(json!({"labels": {"a": 1}})), Refused("spec.labels")),
        (coordinator(json!({"remoteWrite": ["mimir"]})), Refused("spec.remoteWrite is for tempo")),
        (coordinator(json!({"product": "tempo", "remoteWrite": "mimir"})), Refused("spec.remoteWrite")),
        (coordinator(json!({"product": "tempo", "remoteWrite": ["m", "m"]})), Refused("duplicate entries")),
        (coordinator(json!({"product": "tempo", "remoteWrite": ["../m"]})), Refused("spec.remoteWrite[0]")),
        (coordinator(json!({"tolerations": {}})), Refused("spec.tolerations")),
        (
            coordinator(json!({"resources": {"limits": {"cpu": "a lot"}}})),
            Either("spec.resources.limits", "quantities must match"),
        ),
        (("Coordinator", json!(null)), Refused("spec")),
        (("Coordinator", json!([])), Refused("spec")),
        (("Coordinator", json!("mimir")), Refused("spec")),
        (("Coordinator", json!({})), Refused("spec.product: Required value")),
        (worker(json!({"units": -5})), Refused("should be greater than or equal to 0")),
        (worker(json!({"units": 1_000_000})), Refused("should be less than or equal to 10000")),
        (worker(json!({"units": "all"})), Refused("spec.units")),
        (worker(json!({"product": "cortex"})), Refused("supported values: \"mimir\", \"loki\", \"tempo\"")),
        (worker(json!({"coordinator": ""})), Refused("spec.coordinator")),
        (worker(json!({"coordinator": long(54)})), Refused("spec.coordinator")),
        (worker(json!({"coordinator": 7})), Refused("spec.coordinator")),
        (worker(json!({"roles": {"all": "true"}})), Refused("spec.roles.all")),
        (worker(json!({"roles": ["all"]})), Refused("spec.roles")),
        (worker(json!({"roles": "all"})), Refused("spec.roles")),
        (worker(json!({ "roles": many })), Refused("spec.roles")),
        (worker(json!({"storage": {"size": "big"}})), Refused("spec.storage.size")),
        (worker(json!({"storage": {"size": "-1Gi"}})), Refused("spec.storage.size")),
        (worker(json!({"storage": {"size": 10}})), Refused("spec.storage.size")),
        (
            worker(json!({"storage": {"retain": "Sometimes"}})),
            Refused("supported values: \"Always\", \"WhenScaled\", \"Never\""),
        ),
        (
            worker(json!({"coordinator": "host", "resources": {"requests": {"memory": "1 Gi"}}})),
            Either("spec.resources.requests", "quantities must match"),
        ),
        (worker(json!({"secret": "x"})), Refused("field not declared in schema")),
        // The rules, whose messages say what to write.
        (
            worker(json!({"roles": {"cook": true}})),
            Refused("no product has such a role; the roles of each are listed by: muster explain roles"),
        ),
        (worker(json!({"roles": {"": true}})), Refused("no product has such a role")),
        (worker(json!({"roles": {"all\u{0}": true}})), Refused("no product has such a role")),
        (worker(json!({"roles": {"ALL": true}})), Refused("no product has such a role")),
        (
            worker(json!({"product": "loki", "roles": {"ingester": true}})),
            Refused("spec.roles: loki has all, backend, read, write"),
        ),
        (
            worker(json!({"product": "tempo", "roles": {"read": true}})),
            Refused(
                "spec.roles: tempo has all, compactor, distributor, ingester, metrics-generator, querier, query-frontend",
            ),
        ),
        (
            worker(json!({"product": "mimir", "roles": {"metrics-generator": true}})),
            Refused("spec.roles: mimir has alertmanager, all,"),
        ),
        // What is told in a status.
        (coordinator(json!({"version": "0.1"})), Said("0.1")),
        (coordinator(json!({"version": "latest; rm -rf /"})), Said("latest; rm -rf /")),
        (coordinator(json!({"version": ""})), Said("version")),
        (coordinator(json!({"version": "2.17.999999999999999999999"})), Said("2.17.999999999999999999999")),
        (coordinator(json!({"version": long(10_000)})), Said("version")),
        (coordinator(json!({"product": "tempo", "version": "3.0"})), Said("tempo 3.0 is not supported")),
        (coordinator(json!({"product": "loki", "version": "4.0"})), Said("loki 4.0 is not supported")),
        (coordinator(json!({"s3": null})), Said("no S3 relation; relate one: muster integrate")),
        (
            coordinator(json!({"s3": {"secret": "absent"}})),
            Said("S3 application \"absent\" does not exist; deploy it"),
        ),
        (coordinator(json!({"s3": {"secret": "a..b"}})), Said("S3 application \"a..b\"")),
        (
            coordinator(json!({"tls": {"secret": "absent"}})),
            Said("Secret \"absent\" of type kubernetes.io/tls does not exist"),
        ),
        (coordinator(json!({"tls": {"secret": "s3"}})), Said("it is of type muster.dev/s3")),
        (coordinator(json!({"config": {"no-such-option": 1}})), Said("no-such-option")),
        (coordinator(json!({"config": {"": ""}})), Said("is not known to mimir-coordinator-k8s")),
        (coordinator(json!({"config": {"ingestion-rate": "many"}})), Said("ingestion-rate")),
        (coordinator(json!({"config": {"ingestion-rate": -1}})), Said("ingestion-rate")),
        (coordinator(json!({"config": {"ingestion-rate": i64::MAX}})), Said("")),
        (coordinator(json!({"config": {"ingestion-rate": u64::MAX}})), Said("ingestion-rate")),
        (coordinator(json!({"config": {"ingestion-rate": 1e300}})), Said("ingestion-rate")),
        (coordinator(json!({"config": {"ingestion-rate": null}})), Said("")),
        (coordinator(json!({"config": {"ingestion-rate": {"a": [1]}}})), Said("ingestion-rate")),
        (coordinator(json!({"config": {"replication-factor": 2}})), Said("replication-factor")),
        (coordinator(json!({"config": {"replication-factor": 1_000_000}})), Said("replication-factor")),
        (coordinator(json!({"config": {"retention-period": "1h\n  evil: true"}})), Said("retention-period")),
        (coordinator(json!({"config": {"retention-period": "${HOME}"}})), Said("retention-period")),
        (coordinator(json!({"config": {"retention-period": "9999999999999999y"}})), Said("retention-period")),
        (
            coordinator(json!({"config": {"retention-period": "; return 200 'x'; #"}})),
            Said("retention-period"),
        ),
        (coordinator(json!({"config": {"retention-period": long(100_000)}})), Said("retention-period")),
        (coordinator(json!({ "config": options })), Said("option-0")),
        (
            coordinator(json!({"overrides": {"common": {"storage": {"s3": {"region": "x"}}}}})),
            Said("common.storage.s3.region"),
        ),
        (coordinator(json!({"overrides": {"server": {"http_listen_port": 1}}})), Said("http_listen_port")),
        (coordinator(json!({"overrides": {"target": "all"}})), Said("target")),
        (coordinator(json!({"overrides": {"limits": {"x": "${AWS_SECRET_ACCESS_KEY}"}}})), Harmless),
        (coordinator(json!({"overrides": {"limits": {"x": "a\nb: c\n---\n!!python/object x"}}})), Harmless),
        (coordinator(json!({"overrides": {"limits": {"x": "@MUSTER@ {{ . }} %s"}}})), Harmless),
        (coordinator(json!({ "overrides": deep(30) })), Harmless),
        (coordinator(json!({ "overrides": deep(31) })), Refused("30 levels")),
        (coordinator(json!({ "overrides": {"a": [deep(120)]} })), Refused("30 levels")),
        (coordinator(json!({"overrides": {"limits": bomb}})), Harmless),
        (coordinator(json!({"overrides": {"limits": {"ü\u{202e}": "\u{85}\u{2028}"}}})), Harmless),
        (
            coordinator(json!({"overrides": {"limits": {"x": "\u{0}"}}})),
            Either("control characters are not allowed", ""),
        ),
        (coordinator(json!({"units": 0})), Harmless),
        (coordinator(json!({"images": {"workload": ""}})), Refused("spec.images.workload")),
        (coordinator(json!({"images": {"nginx": " not an image "}})), Either("spec.images.nginx", "image")),
        (coordinator(json!({"images": {"pullSecrets": ["../../x"]}})), Harmless),
        (coordinator(json!({"nodeSelector": {"bad key!!": "x"}})), Said("bad key!!")),
        (coordinator(json!({"labels": {"a": "spaces are not allowed"}})), Said("spaces are not allowed")),
        (
            coordinator(
                json!({"labels": {"app.kubernetes.io/managed-by": "me", "muster.dev/coordinator": "host"}}),
            ),
            Harmless,
        ),
        (coordinator(json!({"priorityClassName": "No Such Class"})), Said("No Such Class")),
        (coordinator(json!({"tolerations": [{"operator": "Nope"}]})), Said("Nope")),
        (
            coordinator(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            Said("must be less than or equal to"),
        ),
        (worker(json!({})), Said("coordinator \"nobody\" does not exist")),
        (worker(json!({"coordinator": null})), Said("no coordinator; relate one: muster integrate")),
        (worker(json!({"coordinator": "../host"})), Said("coordinator \"../host\" does not exist")),
        (worker(json!({"coordinator": "Not A Name\n"})), Said("does not exist")),
        (worker(json!({"units": 10_000})), Said("coordinator \"nobody\" does not exist")),
        (
            hosted(json!({"product": "loki", "roles": {"read": true}})),
            Said("this worker's charm is for \"loki\""),
        ),
        (hosted(json!({"roles": {}})), Said("no role assigned; switch one on: muster config")),
        (hosted(json!({"roles": {"all": false, "read": false}})), Said("no role assigned")),
        (hosted(json!({"roles": {"metrics-generator": true}})), Said("has no role metrics-generator")),
        (hosted(json!({"units": 0})), Said("")),
        (hosted(json!({"storage": {"size": "0"}})), Said("storage")),
        (hosted(json!({"storage": {"class": "Bad Class"}})), Harmless),
        (hosted(json!({"storage": {"size": "99999999999999999999999999Ei"}})), Harmless),
        (hosted(json!({"nodeSelector": {"": ""}})), Said("nodeSelector")),
        (hosted(json!({"labels": {"../../x": "y"}})), Said("../../x")),
        (hosted(json!({"priorityClassName": "../admin"})), Said("../admin")),
        (
            hosted(
                json!({"topologySpreadConstraints": [{"maxSkew": -1, "topologyKey": "x", "whenUnsatisfiable": "DoNotSchedule"}]}),
            ),
            Said("maxSkew"),
        ),
        (hosted(json!({"tolerations": [{"effect": "Explode"}]})), Said("Explode")),
        (hosted(json!({"resources": {"claims": [{"name": "nothing"}]}})), Said("nothing")),
        (hosted(json!({"resources": {"requests": {"memory": "-1Gi"}}})), Said("-1Gi")),
        (
            hosted(
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
            ),
            Said("nodeSelectorTerms"),
        ),
    ]
}

/// Names that are refused, whatever the kind.
fn names() -> Vec<(String, &'static str)> {
    let rule = "metadata.name: write at most 53 lower-case letters, digits and '-', starting with a letter";
    vec![
        ("x".repeat(54), rule),
        ("1st".to_owned(), rule),
        ("a.b".to_owned(), rule),
        ("Upper".to_owned(), "a lowercase RFC 1123 subdomain"),
        ("under_score".to_owned(), "a lowercase RFC 1123 subdomain"),
        ("-dash".to_owned(), "a lowercase RFC 1123 subdomain"),
        ("ü".to_owned(), "a lowercase RFC 1123 subdomain"),
    ]
}

/// Values that stand where others belong.
fn hostile_values() -> Vec<Value> {
    let wide: Map<String, Value> = (0..2000).map(|number| (format!("k{number}"), json!(number))).collect();
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(2_147_483_648_i64),
        json!(i64::MIN),
        json!(1e308),
        json!(0.1),
        json!(""),
        json!(" "),
        json!("true"),
        json!("null"),
        json!("../../../etc/passwd"),
        json!("${HOME}"),
        json!("$(id)"),
        json!("a\nb: c"),
        json!("{{ .Values.x }}"),
        json!("; return 200 'x'; #"),
        json!("&a [*a, *a]"),
        json!("\u{202e}ünï\u{1f4a3}"),
        json!("\u{1}\u{7f}"),
        json!(long(20_000)),
        json!([]),
        json!([[[[[[]]]]]]),
        json!({}),
        json!({"": {"": ""}}),
        json!([{"name": null}]),
        json!(vec![0; 3000]),
        Value::Object(wide),
        deep(80),
    ]
}

/// Whole specs to put such values into. What is accepted of them must not ask for many pods.
fn seeds() -> Vec<(&'static str, Value)> {
    vec![
        coordinator(json!({
            "version": "2.17", "units": 1, "config": {"ingestion-rate": 5, "retention-period": "1d"},
            "overrides": {"limits": {"ingestion_burst_size": 7}}, "onIncoherent": "Hold", "tls": {"secret": "tls"},
            "images": {"workload": "w:1", "nginx": "n:1", "pullSecrets": ["p"]}, "networkPolicies": true,
            "resources": {"requests": {"cpu": "1"}}, "nodeSelector": {"a": "b"}, "labels": {"c": "d"},
            "tolerations": [{"key": "k", "operator": "Exists"}], "priorityClassName": "low",
        })),
        hosted(json!({
            "product": "mimir", "storage": {"size": "1Gi", "class": "fast", "retain": "Never"},
            "resources": {"limits": {"memory": "1Gi"}}, "nodeSelector": {"a": "b"}, "labels": {"c": "d"},
            "affinity": {"nodeAffinity": {}}, "tolerations": [{"key": "k"}], "priorityClassName": "low",
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "ScheduleAnyway"}],
        })),
    ]
}

/// The places in a value that something else can be put at.
fn places(value: &Value, path: &str, all: &mut Vec<String>) {
    all.push(path.to_owned());
    match value {
        Value::Object(map) => {
            map.iter()
                .for_each(|(key, value)| places(value, &format!("{path}/{}", key.replace('/', "~1")), all));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &format!("{path}/{index}"), all));
        }
        _ => {}
    }
}

/// A spec in which one or two places hold what does not belong there.
fn mutation(random: &mut fastrand::Rng) -> (&'static str, Value) {
    let seeds = seeds();
    let (kind, mut spec) = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(1..=2) {
        let mut all = Vec::new();
        places(&spec, "", &mut all);
        // The whole spec is one place of many.
        let place = all[random.usize(..all.len())].clone();
        let values = hostile_values();
        let value = values[random.usize(..values.len())].clone();
        if let (Some(Value::Object(map)), 0) = (spec.pointer_mut(&place), random.u8(..4)) {
            map.insert("stray".to_owned(), value);
        } else if let Some(there) = spec.pointer_mut(&place) {
            *there = value;
        }
    }
    (kind, spec)
}

/// The version of every object in a namespace: any write changes one.
async fn versions(site: &Site, namespace: &str) -> BTreeMap<String, String> {
    let lists = objects::KINDS.map(|(_, _, kind, _)| async move {
        let list = objects::api(&site.client, namespace, kind).list(&ListParams::default()).await.unwrap();
        let version = |object: &kube::api::DynamicObject| {
            (format!("{kind}/{}", object.name_any()), object.resource_version().unwrap())
        };
        list.iter().map(version).collect::<Vec<_>>()
    });
    join_all(lists).await.into_iter().flatten().collect()
}

struct Trial<'a> {
    site: &'a Site,
    operator: Operator,
    good: BTreeMap<String, Value>,
    versions: BTreeMap<String, String>,
    refused: usize,
    accepted: usize,
}

impl Trial<'_> {
    /// Applies a document. Answers why it was refused, if it was.
    async fn tries(&mut self, document: &Value) -> Option<String> {
        match self.site.try_apply(HOSTILE, document).await {
            Ok(_) => {
                self.accepted += 1;
                None
            }
            Err(kube::Error::Api(status)) if [400, 413, 422, 500].contains(&status.code) => {
                assert!(!status.message.is_empty(), "refused without a word: {document}");
                self.refused += 1;
                Some(status.message)
            }
            Err(error) => panic!("{error}: {}", excerpt(document)),
        }
    }

    /// Waits until something is said of an accepted document, and then for these words. Answers what is wrong.
    async fn said(&self, document: &Value, words: &str) -> Result<(), String> {
        let (kind, name) =
            (document["kind"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap());
        let api = objects::api(&self.site.client, HOSTILE, kind);
        let mut last = String::new();
        let mut status = async || {
            let status = api.get(name).await.ok()?.data["status"].clone();
            last = status.to_string();
            (!status["status"].as_str()?.is_empty()).then_some(last.clone())
        };
        let said = match wait_until("a status", SETTLED, &mut status).await {
            Ok(_) => {
                // As they are in JSON.
                let words = Value::from(words).to_string();
                let words = words.strip_prefix('"').and_then(|words| words.strip_suffix('"')).unwrap();
                wait_until("these words", WORDS, async || status().await.filter(|said| said.contains(words)))
                    .await
            }
            silent => silent,
        };
        let last: String = last.chars().take(2000).collect();
        said.map(drop)
            .map_err(|error| format!("{error:#}: {words:?} of {}; it says {last}", excerpt(document)))
    }

    /// Deletes what was accepted, and waits until it is gone. Answers what is wrong, and takes that away by force.
    async fn clear(&self, documents: &[Value]) -> Vec<String> {
        let of = |document: &Value| {
            let (kind, name) =
                (document["kind"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap());
            (objects::api(&self.site.client, HOSTILE, kind), name.to_owned())
        };
        for (api, name) in documents.iter().map(of) {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
        }
        let deadline = Instant::now() + SETTLED;
        let mut wrong = Vec::new();
        for document in documents {
            let (api, name) = of(document);
            let left = deadline.saturating_duration_since(Instant::now());
            let gone =
                wait_until(&name, left, async || api.get_opt(&name).await.ok()?.is_none().then_some(()));
            if let (Err(_), Ok(there)) = (gone.await, api.get(&name).await) {
                let said = &there.data["status"];
                wrong.push(format!("it cannot be deleted: {}; it says {said}", excerpt(document)));
                let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                drop(api.patch(&name, &PatchParams::default(), &patch).await);
            }
        }
        if !wrong.is_empty() {
            let log = self.operator.log();
            let failed = log.lines().rfind(|line| line.contains("failed to write"));
            wrong.push(format!("the last failure that the operator says: {failed:?}"));
        }
        wrong
    }

    /// The operator is the one that was started, and the deployment of others is as it was.
    async fn is_harmless(&mut self) {
        assert_eq!(self.operator.process().status().unwrap(), None, "the operator has ended");
        let log = self.operator.log();
        if let Some(at) = log.find("panicked") {
            panic!("{}", log[at.saturating_sub(500)..].chars().take(2000).collect::<String>());
        }
        let now = objects::settled(&self.site.client, "good").await.unwrap();
        assert_eq!(objects::difference(&self.good, &now), Vec::<String>::new());
        assert_eq!(versions(self.site, "good").await, self.versions, "something was written");
        let good = self.site.coordinator("good", "mimir").await.unwrap();
        assert_eq!(good.status.unwrap().status, "active");
    }
}

fn excerpt(document: &Value) -> String {
    document.to_string().chars().take(1000).collect()
}

/// At least 200 specs, written and made by mutation.
#[tokio::test]
async fn hostile_specs_are_refused_or_said_and_harm_nothing() {
    let seed = std::env::var("MUSTER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: MUSTER_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::start(Level::Controllers).await;
    let mut operator = site.operator("operator-0");
    operator.wait_leads(SETTLED).await;
    let _doubles = site.doubles();
    for namespace in ["good", HOSTILE] {
        site.namespace(namespace).await;
    }
    let good = [
        document("Coordinator", "mimir", json!({"product": "mimir", "s3": {"secret": "s3"}})),
        document("Worker", "base", json!({"coordinator": "mimir"})),
    ];
    site.apply("good", &good).await;
    site.wait_active("good", "mimir", SETTLED).await;
    let good = site.at_rest("good", REST, SETTLED).await;
    let pid = operator.process().pid();
    // What workers belong to that are tried in a deployment.
    let host = document("Coordinator", "host", json!({"product": "mimir", "s3": {"secret": "s3"}}));
    site.apply(HOSTILE, &[host]).await;
    let versions = versions(&site, "good").await;
    let mut trial = Trial { site: &site, operator, good, versions, refused: 0, accepted: 0 };

    let mut wrong = Vec::new();
    let mut accepted = Vec::new();
    for (number, ((kind, mut spec), expected)) in written().into_iter().enumerate() {
        if kind == "Coordinator" && spec["s3"] == json!({"secret": "s3"}) {
            // A bucket of its own: it is not this that is to be said.
            let secret = format!("s3-{number}");
            site.apply(HOSTILE, &[s3_secret(&secret, &format!("hostile-{number}"))]).await;
            spec["s3"]["secret"] = secret.into();
        }
        let document = document(kind, &format!("w-{number}"), spec);
        match (trial.tries(&document).await, expected) {
            (Some(message), Refused(words) | Either(words, _)) if message.contains(words) => {}
            (Some(message), Refused(words) | Either(words, _)) => {
                wrong.push(format!("{words:?} expected, {message:?} said of {}", excerpt(&document)));
            }
            (Some(message), _) => wrong.push(format!("refused: {message:?}: {}", excerpt(&document))),
            (None, Refused(words)) => {
                wrong.push(format!("not refused with {words:?}: {}", excerpt(&document)));
                accepted.push((document, ""));
            }
            (None, Said(words) | Either(_, words)) => accepted.push((document, words)),
            (None, Harmless) => accepted.push((document, "")),
        }
    }
    for chunk in accepted.chunks(AT_ONCE) {
        for (document, words) in chunk {
            wrong.extend(trial.said(document, words).await.err());
        }
        let documents: Vec<Value> = chunk.iter().map(|(document, _)| document.clone()).collect();
        wrong.extend(trial.clear(&documents).await);
        trial.is_harmless().await;
    }
    for kind in ["Coordinator", "Worker"] {
        for (name, words) in names() {
            let spec = if kind == "Coordinator" { json!({"product": "mimir"}) } else { json!({}) };
            let message = trial.tries(&document(kind, &name, spec)).await;
            if !message.as_ref().is_some_and(|message| message.contains(words)) {
                wrong.push(format!("{words:?} expected, {message:?} said of {kind} {name:?}"));
            }
        }
    }
    cannot_change(&mut trial, &mut wrong).await;
    println!("written: {} refused, {} accepted", trial.refused, trial.accepted);

    let (refused, before) = (trial.refused, trial.accepted);
    let mut tried = 0;
    while tried < MUTATIONS {
        let mut documents = Vec::new();
        while documents.len() < AT_ONCE && tried < MUTATIONS {
            let (kind, spec) = mutation(&mut random);
            let document = document(kind, &format!("m-{tried}"), spec);
            tried += 1;
            if trial.tries(&document).await.is_none() {
                documents.push(document);
            }
        }
        for document in &documents {
            wrong.extend(trial.said(document, "").await.err());
        }
        wrong.extend(trial.clear(&documents).await);
        trial.is_harmless().await;
    }
    println!("mutated: {} refused, {} accepted", trial.refused - refused, trial.accepted - before);
    let all = trial.refused + trial.accepted;
    println!("{all} specs: {} refused, {} accepted and said", trial.refused, trial.accepted);
    assert!(all >= 200);
    assert_eq!(trial.operator.process().pid(), pid);

    // Nothing of them is left but what is kept on purpose.
    wrong.extend(trial.clear(&[document("Coordinator", "host", Value::Null)]).await);
    wait_until("an empty namespace", SETTLED, async || {
        let left = objects::settled(&site.client, HOSTILE).await.ok()?;
        let kept =
            |name: &String| name.starts_with("Secret/s3") || name.starts_with("PersistentVolumeClaim/");
        left.keys().all(kept).then_some(())
    })
    .await
    .unwrap();
    trial.is_harmless().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What cannot change once it is there.
async fn cannot_change(trial: &mut Trial<'_>, wrong: &mut Vec<String>) {
    let fixed = [
        document("Coordinator", "fixed", json!({"product": "mimir"})),
        document("Worker", "fixed-worker", json!({"product": "mimir"})),
    ];
    for document in &fixed {
        assert_eq!(trial.tries(document).await, None);
    }
    for (kind, name, spec, words) in [
        (
            "Coordinator",
            "fixed",
            json!({"product": "loki"}),
            "spec.product cannot change; deploy another coordinator",
        ),
        (
            "Worker",
            "fixed-worker",
            json!({"product": "loki"}),
            "spec.product cannot change; deploy another worker",
        ),
        ("Worker", "fixed-worker", json!({}), "spec.product cannot change; deploy another worker"),
    ] {
        let message = trial.tries(&document(kind, name, spec)).await;
        if !message.as_ref().is_some_and(|message| message.contains(words)) {
            wrong.push(format!("{words:?} expected, {message:?} said of a change of {kind}"));
        }
    }
    wrong.extend(trial.clear(&fixed).await);
    let left: Api<Coordinator> = trial.site.api(HOSTILE);
    assert!(left.get_opt("fixed").await.unwrap().is_none());
}
