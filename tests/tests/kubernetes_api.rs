//! The operator at a real API server, with doubles of kubelets and agents: what a user asks for and what becomes of it.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::config::Kubeconfig;
use muster_model::yaml;
use muster_testkit::kubernetes::Level;
use muster_testkit::{binaries, wait_until};
use muster_tests::kubernetes::{S3_ADDRESS, Site, objects, s3_secret};
use serde_json::{Value, json};

/// How long a step may take on a machine that builds and tests at the same time.
const SETTLED: Duration = Duration::from_secs(30);

/// One whose units go at once, not two minutes later.
fn coordinator(name: &str) -> Value {
    json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Coordinator", "metadata": {"name": name},
           "spec": {"product": "mimir", "s3": {"secret": "s3"}, "transitions": {"readHold": "Never"}}})
}

fn worker(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["coordinator"] = "mimir".into();
    json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Worker", "metadata": {"name": name}, "spec": spec})
}

/// Waits until a StatefulSet has so many pods.
async fn wait_pods(site: &Site, namespace: &str, name: &str, pods: u32) {
    wait_until(&format!("{pods} pods of {name}"), SETTLED, async || {
        let set = objects::api(&site.client, namespace, "StatefulSet").get(name).await.ok()?;
        (set.data["status"]["replicas"].as_u64().unwrap_or(0) == u64::from(pods)).then_some(())
    })
    .await
    .unwrap();
}

async fn claims(site: &Site, namespace: &str) -> Vec<String> {
    let api = site.api::<PersistentVolumeClaim>(namespace);
    api.list(&ListParams::default()).await.unwrap().iter().map(|claim| claim.name_any()).collect()
}

#[tokio::test]
async fn a_deployment_comes_changes_and_goes() {
    let site = Site::start(Level::Controllers).await;
    let _doubles = site.doubles();
    let operator = site.operator("operator-0");
    operator.wait_leads(SETTLED).await;
    site.namespace("shop").await;
    site.apply("shop", &[coordinator("mimir"), worker("mimir-worker", &json!({}))]).await;
    site.wait_active("shop", "mimir", SETTLED).await;
    site.wait_worker("shop", "mimir-worker", "active", "", SETTLED).await;
    let kubectl = |arguments: &[&str]| site.cluster.kubectl(&[&["-n", "shop"], arguments].concat()).unwrap();
    let columns = kubectl(&["get", "coordinators,workers,units"]);
    for column in ["PRODUCT", "STATUS", "MESSAGE", "REVISION", "COORDINATOR", "ROLES", "READY"] {
        assert!(columns.contains(column), "{column} is missing in {columns}");
    }
    assert!(kubectl(&["get", "wk", "--field-selector", "spec.coordinator=mimir"]).contains("mimir-worker"));

    kubectl(&["scale", "worker/mimir-worker", "--replicas=3"]);
    wait_pods(&site, "shop", "mimir-worker", 3).await;
    site.wait_active("shop", "mimir", SETTLED).await;

    // Foreground deletion would take the units away before they have flushed.
    let refused =
        site.cluster.kubectl(&["-n", "shop", "delete", "worker/mimir-worker", "--cascade=foreground"]);
    assert!(refused.unwrap_err().contains("delete with --cascade=background"));
    kubectl(&["delete", "coordinator/mimir", "worker/mimir-worker", "--timeout=30s"]);
    wait_until("an empty namespace", SETTLED, async || {
        let left = objects::settled(&site.client, "shop").await.ok()?;
        let kept = |name: &String| name == "Secret/s3" || name.starts_with("PersistentVolumeClaim/");
        left.keys().all(kept).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(claims(&site, "shop").await.len(), 3, "claims are kept unless something else is asked for");
}

#[tokio::test]
async fn claims_follow_what_the_worker_says_of_them() {
    let site = Site::start(Level::Controllers).await;
    let _doubles = site.doubles();
    let _operator = site.operator("operator-0");
    site.namespace("shop").await;
    let keeps = |retain: &str| json!({"units": 2, "storage": {"size": "1Gi", "retain": retain}});
    let workers = [("always", "Always"), ("scaled", "WhenScaled"), ("never", "Never")];
    site.apply("shop", &[coordinator("mimir")]).await;
    for (name, retain) in workers {
        site.apply("shop", &[worker(name, &keeps(retain))]).await;
    }
    site.wait_active("shop", "mimir", SETTLED).await;
    for (name, _) in workers {
        wait_pods(&site, "shop", name, 2).await;
        site.patch_worker("shop", name, json!({"units": 1})).await;
    }
    let left = async |expected: &[&str]| {
        wait_until(&format!("claims {expected:?}"), SETTLED, async || {
            (claims(&site, "shop").await == expected).then_some(())
        })
        .await
        .unwrap();
    };
    left(&["data-always-0", "data-always-1", "data-never-0", "data-scaled-0", "data-scaled-1"]).await;
    // The last two that serve stay until the deployment goes as a whole.
    site.cluster
        .kubectl(&["-n", "shop", "delete", "coordinators,workers", "--all", "--timeout=30s"])
        .unwrap();
    left(&["data-always-0", "data-always-1"]).await;
}

#[tokio::test]
async fn the_verbs_of_one_machine_work_on_a_cluster() {
    let site = Site::start(Level::Controllers).await;
    let _doubles = site.doubles();
    let _operator = site.operator("operator-0");
    site.cluster.kubectl(&["create", "namespace", "shop"]).unwrap();
    let key = site.directory.path().join("secret-key");
    fs::write(&key, site.secret_key()).unwrap();
    let program = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(binaries::path(name));
        command.arg("--kubeconfig").arg(site.cluster.kubeconfig()).args(["--namespace", "shop"]);
        let output = command.args(arguments).output().unwrap();
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        if output.status.success() { Ok(said) } else { Err(said) }
    };
    let muster =
        |arguments: &[&str]| program("muster", arguments).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));

    muster(&["deploy", "mimir-coordinator-k8s", "mimir"]);
    muster(&["deploy", "mimir-worker-k8s", "mimir-worker"]);
    site.wait_status("shop", "mimir", "blocked", "", SETTLED).await;
    muster(&["integrate", "mimir", "mimir-worker"]);
    site.wait_status("shop", "mimir", "blocked", "muster integrate mimir", SETTLED).await;
    let endpoint = format!("endpoint=http://{S3_ADDRESS}");
    let config = ["bucket=verbs", &format!("access-key={}", site.access_key()), "create-bucket=true"];
    let config: Vec<&str> = config.iter().flat_map(|pair| ["--config", *pair]).collect();
    let store =
        ["deploy", "s3-integrator", "s3", "--config", &endpoint, "--secret-key-file", key.to_str().unwrap()];
    muster(&[&store[..], &config].concat());
    muster(&["integrate", "mimir", "s3"]);
    muster(&["wait-for", "mimir", "--timeout", "30s"]);
    let secret = site.api::<Secret>("shop").get("s3").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("muster.dev/s3"));

    muster(&[
        "deploy",
        "mimir-worker-k8s",
        "mimir-read",
        "--units",
        "2",
        "--config",
        "role-read=true",
        "--config",
        "role-all=false",
    ]);
    muster(&["integrate", "mimir", "mimir-read"]);
    muster(&["wait-for", "mimir-read", "--timeout", "30s"]);
    muster(&["scale", "mimir-read", "3"]);
    wait_pods(&site, "shop", "mimir-read", 3).await;
    muster(&["config", "mimir", "retention-period=30d"]);
    assert!(muster(&["config", "mimir", "retention-period"]).contains("30d"));
    let refused = program("muster", &["config", "mimir", "retention-period=banana"]).unwrap_err();
    assert!(refused.contains("retention-period"), "{refused}");
    let status = program("kubectl-muster", &["status"]).unwrap();
    assert!(
        ["kubernetes", "mimir-read/2", "s3-integrator"].iter().all(|word| status.contains(word)),
        "{status}"
    );
    assert!(!status.contains(site.secret_key()) && !muster(&["export"]).contains(site.secret_key()));
    muster(&["remove-relation", "mimir", "mimir-read"]);
    muster(&["remove-application", "--yes", "mimir-read"]);
    wait_until("an end of mimir-read", SETTLED, async || {
        (!muster(&["status"]).contains("mimir-read")).then_some(())
    })
    .await
    .unwrap();
    muster(&["wait-for", "mimir", "--timeout", "30s"]);
}

/// A kubeconfig of a ServiceAccount.
fn kubeconfig_of(site: &Site, namespace: &str, account: &str) -> PathBuf {
    let token = site.cluster.kubectl(&["-n", namespace, "create", "token", account]).unwrap();
    let mut file = serde_json::to_value(Kubeconfig::read_from(site.cluster.kubeconfig()).unwrap()).unwrap();
    file["users"][0]["user"] = json!({"token": token.trim()});
    let path = site.directory.path().join(format!("{account}.kubeconfig"));
    fs::write(&path, file.to_string()).unwrap();
    path
}

#[tokio::test]
async fn what_an_edit_would_change_is_shown_to_who_may_read_what_it_depends_on() {
    let site = Site::start(Level::Controllers).await;
    let _doubles = site.doubles();
    let _operator = site.operator("operator-0");
    site.namespace("shop").await;
    site.apply("shop", &[coordinator("mimir"), worker("mimir-worker", &json!({"units": 2}))]).await;
    site.wait_active("shop", "mimir", SETTLED).await;
    let kubectl = |arguments: &[&str]| site.cluster.kubectl(&[&["-n", "shop"], arguments].concat()).unwrap();
    let diff_as = |kubeconfig: &Path, arguments: &[&str], code: i32| {
        let mut command = Command::new(binaries::path("muster"));
        command.arg("--kubeconfig").arg(kubeconfig).args(["--namespace", "shop", "diff"]).args(arguments);
        let output = command.output().unwrap();
        let [out, said] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{said}");
        assert!(!format!("{out}{said}").contains(site.secret_key()));
        (out, said)
    };
    let diff = |arguments: &[&str], code: i32| diff_as(&site.cluster.kubeconfig(), arguments, code);

    let (out, said) = diff(&["mimir"], 0);
    assert_eq!((out.as_str(), said.as_str()), ("", "config and nginx.conf would stay as they are\n"));
    let generation = site.coordinator("shop", "mimir").await.unwrap().metadata.generation;
    let (out, _) = diff(&["mimir", "retention-period=30d"], 1);
    assert!(
        out.contains("\n+  compactor_blocks_retention_period: 30d\n") && !out.contains("nginx.conf"),
        "{out}"
    );
    let (_, said) = diff(&["mimir", "retention-period=banana"], 2);
    assert!(said.contains("retention-period"), "{said}");
    let (_, said) = diff(&["mimir", "replication-factor=3"], 2);
    assert!(said.contains("replication-factor stays 1"), "{said}");
    assert_eq!(site.coordinator("shop", "mimir").await.unwrap().metadata.generation, generation);

    // What was foretold comes true.
    let foretold: Value =
        serde_json::from_str(&diff(&["mimir", "retention-period=30d", "-o", "json"], 1).0).unwrap();
    site.patch_coordinator("shop", "mimir", json!({"config": {"retention-period": "30d"}})).await;
    site.wait_active("shop", "mimir", SETTLED).await;
    let revision = site.coordinator("shop", "mimir").await.unwrap().status.unwrap().revision.unwrap();
    let after = foretold["changes"][0]["after"].as_str().unwrap();
    assert!(after.starts_with(&revision), "{after} was foretold, and it is {revision}");
    diff(&["mimir"], 0);

    // A file as kubectl takes it: what others did beside it stays.
    let file = site.directory.path().join("model.json");
    let path = file.to_str().unwrap();
    fs::write(&file, coordinator("mimir").to_string()).unwrap();
    diff(&["-f", path], 0);
    let with = |field: &str, value: Value| {
        let mut document = coordinator("mimir");
        document["spec"][field] = value;
        fs::write(&file, document.to_string()).unwrap();
    };
    with("overrides", json!({"limits": {"ingestion_rate": 123_456}}));
    let (out, _) = diff(&["-f", path], 1);
    assert!(out.contains("\n+  ingestion_rate: 123456\n") && !out.contains("\n-  compactor"), "{out}");
    with("overrides", json!({"server": {"http_listen_port": 1}}));
    assert!(diff(&["-f", path], 2).1.contains("http_listen_port"));
    with("product", json!("loki"));
    assert!(diff(&["-f", path], 2).1.contains("cannot change"));

    // Who may not read a Secret is told which.
    kubectl(&["create", "serviceaccount", "viewer"]);
    let kinds =
        "--resource=coordinators.muster.dev,workers.muster.dev,units.muster.dev,pods,statefulsets.apps";
    kubectl(&["create", "role", "viewer", "--verb=get,list", kinds]);
    kubectl(&["create", "rolebinding", "viewer", "--role=viewer", "--serviceaccount=shop:viewer"]);
    let viewer = kubeconfig_of(&site, "shop", "viewer");
    let (_, said) = diff_as(&viewer, &["mimir"], 2);
    for words in ["secrets \"mimir-balancer\" is forbidden", "cannot get resource", "a preview reads"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let named = ["s3", "mimir-cluster", "mimir-balancer"].map(|name| format!("--resource-name={name}"));
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    kubectl(&[&["create", "role", "secrets", "--verb=get", "--resource=secrets"], &named[..]].concat());
    kubectl(&["create", "rolebinding", "secrets", "--role=secrets", "--serviceaccount=shop:viewer"]);
    wait_until("the right", SETTLED, async || {
        let arguments = ["auth", "can-i", "get", "secrets/s3", "--as=system:serviceaccount:shop:viewer"];
        site.cluster.kubectl(&[&["-n", "shop"], &arguments[..]].concat()).ok()
    })
    .await
    .unwrap();
    let (out, _) = diff_as(&viewer, &["mimir", "retention-period=60d"], 1);
    assert!(out.contains("+  compactor_blocks_retention_period: 60d"), "{out}");
}

/// The newest shared config of a coordinator.
async fn config(site: &Site, namespace: &str, name: &str) -> Option<Value> {
    let revision = site.coordinator(namespace, name).await?.status?.revision?;
    let secret = site.api::<Secret>(namespace).get(&format!("{name}-cluster")).await.ok()?;
    let text = String::from_utf8(secret.data?.remove(&format!("{revision}.conf"))?.0).ok()?;
    yaml::from_str(&text).ok()
}

/// Waits until a Tempo's config says this about where metrics are written to.
async fn wait_remote_write(site: &Site, pointer: &str, expected: &Value) {
    let mut last = None;
    let place = format!("/metrics_generator/storage/remote_write{pointer}");
    wait_until(&format!("{expected} at {place}"), SETTLED, async || {
        last = config(site, "shop", "tempo").await;
        (last.as_ref()?.pointer(&place).unwrap_or(&Value::Null) == expected).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}: {last:?}"));
}

/// Nothing that happens to the Mimir is an event of the Tempo, and each is looked at for it all the same.
#[tokio::test]
async fn a_tempo_follows_the_mimir_that_it_writes_metrics_to() {
    let site = Site::start(Level::Controllers).await;
    let _doubles = site.doubles();
    let operator = site.operator("operator-0");
    operator.wait_leads(SETTLED).await;
    site.namespace("shop").await;
    let tempo = json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Coordinator", "metadata": {"name": "tempo"},
                       "spec": {"product": "tempo", "s3": {"secret": "s3"}, "remoteWrite": ["mimir"],
                                "config": {"always-enable-otlp-grpc": true}}});
    let mut traces = worker("tempo-worker", &json!({}));
    traces["spec"]["coordinator"] = "tempo".into();
    site.apply("shop", &[tempo, traces]).await;
    site.wait_status("shop", "tempo", "blocked", "coordinator \"mimir\" does not exist", SETTLED).await;
    wait_remote_write(&site, "", &Value::Null).await;

    let mut mimir = coordinator("mimir");
    mimir["spec"]["s3"]["secret"] = "mimir-s3".into();
    site.apply("shop", &[s3_secret("mimir-s3", "shop-mimir"), mimir, worker("mimir-worker", &json!({}))])
        .await;
    let url = |scheme| json!(format!("{scheme}://mimir.shop.svc:8080/api/v1/push"));
    wait_remote_write(&site, "/0/url", &url("http")).await;
    site.wait_active("shop", "tempo", SETTLED).await;

    site.patch_coordinator("shop", "mimir", json!({"config": {"multi-tenancy": true}})).await;
    wait_remote_write(&site, "/0/headers/X-Scope-OrgID", &json!("anonymous")).await;
    // A certificate that is yet to come changes nothing; the one that comes does.
    site.patch_coordinator("shop", "mimir", json!({"tls": {"secret": "mimir-tls"}})).await;
    site.wait_status("shop", "tempo", "waiting", "waiting for the certificate of mimir", SETTLED).await;
    wait_remote_write(&site, "/0/url", &url("http")).await;
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    let certificate = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mimir-tls"},
                             "type": "kubernetes.io/tls",
                             "stringData": {"tls.crt": pem("CERTIFICATE"), "tls.key": pem("PRIVATE KEY"),
                                            "ca.crt": pem("CERTIFICATE")}});
    site.apply("shop", &[certificate]).await;
    wait_remote_write(&site, "/0/url", &url("https")).await;
    wait_remote_write(&site, "/0/tls_config/ca", &json!(pem("CERTIFICATE"))).await;

    let output = Command::new(binaries::path("muster"))
        .arg("--kubeconfig")
        .arg(site.cluster.kubeconfig())
        .args(["--namespace", "shop", "remove-relation", "tempo:send-remote-write", "mimir"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_remote_write(&site, "", &Value::Null).await;
    site.wait_status("shop", "tempo", "active", "metrics-generator disabled", SETTLED).await;
}

#[tokio::test]
async fn an_operator_of_one_namespace_leaves_others_alone() {
    let site = Site::start(Level::Controllers).await;
    let _doubles = site.doubles();
    for namespace in ["ours", "theirs"] {
        site.namespace(namespace).await;
        site.apply(namespace, &[coordinator("mimir"), worker("mimir-worker", &json!({}))]).await;
    }
    let _operator = site.operator_in("operator-0", "ours");
    site.wait_active("ours", "mimir", SETTLED).await;
    let other = site.coordinator("theirs", "mimir").await.unwrap();
    assert!(other.status.is_none() && other.metadata.finalizers.is_none(), "{other:?}");
}
