//! A cluster that Muster is installed on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{
    Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective,
};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use muster_api::{Coordinator, Worker};
use muster_testkit::kubernetes::{Cluster, Level};
use muster_testkit::servers::workspace;
use muster_testkit::{Process, binaries, directory, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::doubles::Doubles;
use super::{Operator, objects};

/// Where the S3 server of a site is, inside of the cluster's network: for the operator, and for pods where there are any.
pub const S3_ADDRESS: &str = "10.77.0.1:9000";
/// The S3 server's keys.
const KEYS: [&str; 2] = ["AK", "SK-of-the-site"];
/// How long anything may take that is no more than a few requests.
const SOON: Duration = Duration::from_secs(30);

/// A cluster with the custom resources and rules of an installation, and an S3 server. Everything ends with this value.
pub struct Site {
    /// The cluster.
    pub cluster: Cluster,
    /// A client with all rights.
    pub client: Client,
    /// The site's own files: logs, keys, objects in S3.
    pub directory: TempDir,
    /// The operator's program.
    pub program: PathBuf,
    store: Option<Process>,
}

impl Site {
    /// A cluster of that size, with `deploy/install.yaml` applied. The calling thread is in its network from now on.
    pub async fn start(level: Level) -> Self {
        let first = if level == Level::Controllers { Level::Api } else { level };
        let cluster = Cluster::start(first);
        cluster.enter();
        Self::install(cluster, level).await
    }

    /// The same with a log of every request at the API server.
    pub async fn start_audited(level: Level) -> Self {
        let first = if level == Level::Controllers { Level::Api } else { level };
        let cluster = Cluster::start_audited(first);
        cluster.enter();
        Self::install(cluster, level).await
    }

    /// The same in a cluster that is there, in whose network the calling thread is.
    pub async fn install(cluster: Cluster, level: Level) -> Self {
        let directory = directory::temporary();
        let install = workspace().join("deploy/install.yaml");
        cluster.kubectl(&["apply", "-f", install.to_str().unwrap()]).unwrap();
        for plural in ["coordinators", "workers", "units"] {
            let crd = format!("crd/{plural}.muster.dev");
            cluster.kubectl(&["wait", "--for=condition=Established", &crd, "--timeout=30s"]).unwrap();
        }
        // Garbage collection and autoscaling learn of new kinds every 30 s only: this way they know them from the start.
        match level {
            Level::Api => {}
            Level::Controllers => drop(cluster.run(&["start", "kcm"])),
            Level::Nodes(_) => {
                cluster.run(&["kill", "kcm"]);
                cluster.run(&["start", "kcm"]);
            }
        }
        let client = cluster.client().await;
        let mut site =
            Self { cluster, client, directory, program: binaries::path("coordinator"), store: None };
        site.start_store().await;
        site
    }

    /// Starts the S3 server, or starts it again.
    pub async fn start_store(&mut self) {
        self.start_store_with(KEYS).await;
    }

    /// The same with these keys and no others.
    pub async fn start_store_with(&mut self, access: [&str; 2]) {
        self.stop_store();
        let root = self.directory.path().join("objects");
        let keys = self.directory.path().join("keys");
        fs::write(&keys, access.join("\n")).unwrap();
        let mut command = Command::new(binaries::path("object-store"));
        command.arg(&root).arg(S3_ADDRESS).arg(&keys);
        self.store =
            Some(Process::spawn(&mut command, &self.directory.path().join("object-store.log")).unwrap());
        let mut http = muster_testkit::http::Client::new(&format!("http://{S3_ADDRESS}")).unwrap();
        let healthy = async || http.get(muster_local::object_store::HEALTH_PATH, SOON).await.ok();
        wait_until("the S3 server", SOON, healthy).await.unwrap();
    }

    /// The access key that the S3 server takes.
    #[must_use]
    pub fn access_key(&self) -> &'static str {
        KEYS[0]
    }

    /// The secret key that the S3 server takes.
    #[must_use]
    pub fn secret_key(&self) -> &'static str {
        KEYS[1]
    }

    /// Ends the S3 server at once.
    pub fn stop_store(&mut self) {
        self.store = None;
    }

    /// Makes a namespace with the Secret `s3` of a bucket of its own.
    pub async fn namespace(&self, name: &str) {
        let namespace = json!({"metadata": {"name": name}});
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
        self.apply(name, &[s3_secret("s3", name)]).await;
    }

    /// Applies documents of any kind as a user does.
    pub async fn apply(&self, namespace: &str, documents: &[Value]) {
        for document in documents {
            self.try_apply(namespace, document).await.unwrap_or_else(|error| panic!("{document}: {error}"));
        }
    }

    /// Applies one document.
    ///
    /// # Errors
    /// What the API server says against it.
    pub async fn try_apply(&self, namespace: &str, document: &Value) -> kube::Result<DynamicObject> {
        let object: DynamicObject = serde_json::from_value(document.clone()).unwrap();
        let name = object.metadata.name.clone().unwrap();
        let params = PatchParams::apply("user").force().validation(ValidationDirective::Strict);
        self.dynamic(namespace, document).patch(&name, &params, &Patch::Apply(&object)).await
    }

    fn dynamic(&self, namespace: &str, document: &Value) -> Api<DynamicObject> {
        let (version, kind) = (document["apiVersion"].as_str().unwrap(), document["kind"].as_str().unwrap());
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let plural = format!("{}s", kind.to_lowercase());
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: document["apiVersion"].as_str().unwrap().to_owned(),
            kind: kind.to_owned(),
            plural,
        };
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// The objects of a kind in a namespace.
    #[must_use]
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Changes a worker's spec.
    pub async fn patch_worker(&self, namespace: &str, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api::<Worker>(namespace).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Changes a coordinator's spec.
    pub async fn patch_coordinator(&self, namespace: &str, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api::<Coordinator>(namespace).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A coordinator as it is there now.
    pub async fn coordinator(&self, namespace: &str, name: &str) -> Option<Coordinator> {
        self.api::<Coordinator>(namespace).get_opt(name).await.ok()?
    }

    /// Waits until a coordinator speaks of its newest spec and says `status`, with `words` in the message.
    pub async fn wait_status(
        &self,
        namespace: &str,
        name: &str,
        status: &str,
        words: &str,
        within: Duration,
    ) {
        let mut last = String::new();
        let what = format!("{namespace}/{name} {status}");
        let said = wait_until(&what, within, async || {
            let coordinator = self.coordinator(namespace, name).await?;
            let now = coordinator.status?;
            last = format!("{}: {}", now.status, now.message);
            let current = now.observed_generation == coordinator.metadata.generation;
            (current && now.status == status && now.message.contains(words)).then_some(())
        });
        if let Err(error) = said.await {
            panic!("{error:#}; it says {last:?}");
        }
    }

    /// Waits until a worker says `status`, with `words` in the message.
    pub async fn wait_worker(
        &self,
        namespace: &str,
        name: &str,
        status: &str,
        words: &str,
        within: Duration,
    ) {
        let mut last = String::new();
        let what = format!("{namespace}/{name} {status}");
        let said = wait_until(&what, within, async || {
            let now = self.api::<Worker>(namespace).get_opt(name).await.ok()??.status?;
            last = format!("{}: {}", now.status, now.message);
            (now.status == status && now.message.contains(words)).then_some(())
        });
        if let Err(error) = said.await {
            panic!("{error:#}; it says {last:?}");
        }
    }

    /// Waits until a coordinator is active and every unit runs what it should.
    pub async fn wait_active(&self, namespace: &str, name: &str, within: Duration) {
        self.wait_status(namespace, name, "active", "", within).await;
    }

    /// Starts the operator as a process of its own, with the rights of its ServiceAccount and the identity of that pod name.
    pub fn operator(&self, identity: &str) -> Operator {
        Operator::start(&self.cluster, self.directory.path(), &self.program, identity, None)
    }

    /// The same for one namespace.
    pub fn operator_in(&self, identity: &str, namespace: &str) -> Operator {
        Operator::start(&self.cluster, self.directory.path(), &self.program, identity, Some(namespace))
    }

    /// Starts to play kubelets and agents.
    pub fn doubles(&self) -> Doubles {
        Doubles::start(self.cluster.kubeconfig())
    }

    /// A client with the access that a pod has: a token of its ServiceAccount, bound to the pod that is there now.
    pub async fn pod_client(&self, namespace: &str, pod: &str) -> Client {
        let there = self.api::<Pod>(namespace).get(pod).await.unwrap();
        let account = there.spec.unwrap().service_account_name.unwrap();
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": there.metadata.uid});
        self.account_client(namespace, &account, Some(bound)).await
    }

    /// A client with a token of a ServiceAccount, bound to an object or to none.
    pub async fn account_client(&self, namespace: &str, account: &str, bound: Option<Value>) -> Client {
        let request = json!({"spec": {"audiences": [], "boundObjectRef": bound}});
        let request: TokenRequest = serde_json::from_value(request).unwrap();
        let accounts = self.api::<ServiceAccount>(namespace);
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        let mut file = Kubeconfig::read_from(self.cluster.kubeconfig()).unwrap();
        let token = serde_json::from_value::<AuthInfo>(json!({"token": answer.status.unwrap().token}));
        file.auth_infos[0].auth_info = Some(token.unwrap());
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    /// The requests of the operators that the audit log has and that change something, besides those about leases: verb, object,
    /// answer.
    #[must_use]
    pub fn audited_writes(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.cluster.audit_log()).unwrap_or_default();
        let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        all.filter(|request| {
            let reads = ["get", "list", "watch"].iter().any(|verb| request["verb"] == *verb);
            let operator = "system:serviceaccount:muster-system:muster-operator";
            !reads && request["user"]["username"] == operator && request["objectRef"]["resource"] != "leases"
        })
        .collect()
    }

    /// Waits until the API server serves again.
    pub async fn wait_api(&self, within: Duration) {
        let answers =
            async || self.api::<Coordinator>("default").list(&ListParams::default().limit(1)).await.ok();
        wait_until("an API server that answers", within, answers).await.unwrap();
    }

    /// Everything in a namespace, waited for until two looks with so much time between them see the same.
    pub async fn at_rest(
        &self,
        namespace: &str,
        rest: Duration,
        within: Duration,
    ) -> BTreeMap<String, Value> {
        let mut last: Option<(Instant, BTreeMap<String, Value>)> = None;
        let what = format!("{namespace} at rest");
        wait_until(&what, within, async || {
            let now = objects::settled(&self.client, namespace).await.ok()?;
            match &last {
                Some((since, seen)) if *seen == now => (since.elapsed() >= rest).then_some(now),
                _ => {
                    last = Some((Instant::now(), now));
                    None
                }
            }
        })
        .await
        .unwrap()
    }

    /// Waits until a namespace is what it is to be.
    pub async fn wait_settled(&self, namespace: &str, expected: &BTreeMap<String, Value>, within: Duration) {
        let mut last = Vec::new();
        let same = wait_until(namespace, within, async || {
            last = objects::difference(expected, &objects::settled(&self.client, namespace).await.ok()?);
            last.is_empty().then_some(())
        });
        if let Err(error) = same.await {
            panic!("{error:#}; it differs from what it should be:\n{}", last.join("\n"));
        }
    }

    /// The file in which everything about the site's operators is written.
    #[must_use]
    pub fn log(&self, identity: &str) -> PathBuf {
        self.directory.path().join(format!("{identity}.log"))
    }
}

/// The S3 relation to a bucket of the site's server.
#[must_use]
pub fn s3_secret(name: &str, bucket: &str) -> Value {
    let [access_key, secret_key] = KEYS;
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "muster.dev/s3",
        "stringData": {
            "endpoint": format!("http://{S3_ADDRESS}"), "bucket": bucket, "access-key": access_key,
            "secret-key": secret_key, "create-bucket": "true",
        },
    })
}
