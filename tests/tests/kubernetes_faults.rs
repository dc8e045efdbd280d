//! Faults of the operator, of the API server, of other users and of units, at a real API server with doubles of kubelets and agents:
//! everything comes to where it would have come without them, and what cannot be mended is said.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]
#![expect(clippy::print_stdout, reason = "measured figures belong in the output")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use muster_api::{Coordinator, Unit, Worker};
use muster_testkit::kubernetes::Level;
use muster_testkit::wait_until;
use muster_tests::kubernetes::doubles::Doubles;
use muster_tests::kubernetes::{Operator, Site, objects, s3_secret};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;

/// How long a step may take on a machine that builds and tests at the same time.
const SETTLED: Duration = Duration::from_secs(60);
/// How long a namespace must look the same to be taken for settled: longer than all that the operator puts off, also on a busy machine.
const REST: Duration = Duration::from_secs(4);
/// How long it may take until an edit by hand is undone.
const MENDED: Duration = Duration::from_secs(20);
/// How long others wait for a leader that is silent.
const LEASE: Duration = Duration::from_secs(15);
/// How long the next leader may take to act, after a silent one or one that let go.
const TAKE_OVER: Duration = Duration::from_secs(3);
/// How soon the operator acts on an edit after the API server is back.
const CAUGHT_UP: Duration = Duration::from_secs(20);
/// After how long the operator tries again what the API server refused, and how long that may take then.
const AFTER_REFUSAL: Duration = Duration::from_secs(45);

/// A cluster with an operator that leads.
async fn operated(level: Level) -> (Site, Operator) {
    let site = Site::start(level).await;
    let operator = site.operator("operator-0");
    operator.wait_leads(SETTLED).await;
    (site, operator)
}

/// One whose units go at once, not two minutes later.
fn coordinator(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"product": "mimir", "s3": {"secret": "s3"}, "transitions": {"readHold": "Never"}});
    merge(&mut whole, spec);
    json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Coordinator", "metadata": {"name": name}, "spec": whole})
}

fn worker(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"coordinator": "mimir"});
    merge(&mut whole, spec);
    json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Worker", "metadata": {"name": name}, "spec": whole})
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// A coordinator `mimir` and a worker `base` with every role, and waits until they are active.
async fn deploy(site: &Site, namespace: &str) {
    site.namespace(namespace).await;
    let spec = json!({"roles": {"all": true}});
    site.apply(namespace, &[coordinator("mimir", &json!({})), worker("base", &spec)]).await;
    site.wait_active(namespace, "mimir", SETTLED).await;
}

fn assert_sound(operator: &mut Operator) {
    let log = operator.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains("SK-of-the-site"), "the log has a secret key");
    assert_eq!(operator.process().status().unwrap(), None, "the operator has ended");
}

/// What a user does to a deployment, in this order.
#[derive(Debug, Clone, Copy)]
enum Action {
    Deploy,
    ToggleRole,
    ScaleUp,
    ScaleDown,
    ChangeOption,
    RotateStore,
    RemoveWorker,
    RemoveCoordinator,
}

const ACTIONS: [Action; 8] = [
    Action::Deploy,
    Action::ToggleRole,
    Action::ScaleUp,
    Action::ScaleDown,
    Action::ChangeOption,
    Action::RotateStore,
    Action::RemoveWorker,
    Action::RemoveCoordinator,
];

async fn act(site: &Site, namespace: &str, action: Action) {
    match action {
        Action::Deploy => {
            let documents = [
                coordinator("mimir", &json!({"networkPolicies": true})),
                worker("base", &json!({"roles": {"all": true}})),
                worker("more", &json!({"roles": {"write": true}})),
            ];
            site.apply(namespace, &documents).await;
        }
        Action::ToggleRole => {
            let spec = json!({"roles": {"write": false, "ingester": true}});
            site.patch_worker(namespace, "more", spec).await;
        }
        Action::ScaleUp => site.patch_worker(namespace, "more", json!({"units": 3})).await,
        Action::ScaleDown => site.patch_worker(namespace, "more", json!({"units": 1})).await,
        Action::ChangeOption => {
            site.patch_coordinator(namespace, "mimir", json!({"config": {"ingestion-rate": 12345}})).await;
        }
        Action::RotateStore => {
            let patch = json!({"stringData": {"region": "eu-north-1"}});
            let secrets = site.api::<Secret>(namespace);
            secrets.patch("s3", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
        Action::RemoveWorker => {
            drop(site.api::<Worker>(namespace).delete("more", &DeleteParams::default()).await.unwrap());
        }
        Action::RemoveCoordinator => {
            drop(site.api::<Coordinator>(namespace).delete("mimir", &DeleteParams::default()).await.unwrap());
        }
    }
}

/// What there is once an action is done and nothing disturbed it.
async fn undisturbed(site: &Site, namespace: &str, action: Action) -> BTreeMap<String, Value> {
    act(site, namespace, action).await;
    match action {
        Action::RemoveCoordinator => {
            wait_until("the coordinator's end", SETTLED, async || {
                site.coordinator(namespace, "mimir").await.is_none().then_some(())
            })
            .await
            .unwrap();
        }
        _ => site.wait_active(namespace, "mimir", SETTLED).await,
    }
    site.at_rest(namespace, REST, SETTLED).await
}

/// Whether nothing but the revision tells an action that is done from one that is not begun.
fn tells_by_revision(action: Action) -> bool {
    matches!(action, Action::ChangeOption | Action::RotateStore)
}

/// The revision that the coordinator moves its units to.
async fn revision(site: &Site, namespace: &str) -> Option<String> {
    site.coordinator(namespace, "mimir").await?.status?.revision
}

/// The operator killed with SIGKILL at random points in the middle of each action, in many namespaces at once: each comes to the same
/// end as one in which nothing happened.
#[tokio::test]
async fn an_operator_killed_at_any_point_leaves_no_trace() {
    /// So many namespaces are in the middle of an action with each kill.
    const NAMESPACES: usize = 10;
    const KILLS: usize = 3;
    let seed = std::env::var("MUSTER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: MUSTER_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let (site, mut operator) = operated(Level::Controllers).await;
    let _doubles = site.doubles();
    site.namespace("calm").await;
    let mut expected = Vec::new();
    for action in ACTIONS {
        let started = Instant::now();
        let state = undisturbed(&site, "calm", action).await;
        expected.push((action, state, started.elapsed().saturating_sub(REST)));
    }

    let namespaces: Vec<String> = (0..NAMESPACES).map(|number| format!("storm-{number}")).collect();
    join_all(namespaces.iter().map(|namespace| site.namespace(namespace))).await;
    let (mut all, mut disturbed) = (0, 0);
    for (action, state, took) in &expected {
        let started = Instant::now();
        let before = join_all(namespaces.iter().map(|namespace| revision(&site, namespace))).await;
        join_all(namespaces.iter().map(|namespace| act(&site, namespace, *action))).await;
        let mut hit = 0;
        for kill in 0..KILLS {
            if kill > 0 {
                operator.wait_leads(SETTLED).await;
            }
            // A random point in the action, counted from when there is somebody to carry it out.
            sleep(took.mul_f64(random.f64())).await;
            operator.kill().await;
            // What is not at its end without an operator was in the middle of the action.
            let states = namespaces.iter().map(|namespace| objects::settled(&site.client, namespace));
            let states = join_all(states).await;
            for ((namespace, before), now) in namespaces.iter().zip(&before).zip(states) {
                let begun = !tells_by_revision(*action) || revision(&site, namespace).await != *before;
                let ended = now.is_ok_and(|now| objects::difference(state, &now).is_empty());
                hit += usize::from(!(begun && ended));
            }
            operator.start_again();
        }
        for (namespace, before) in namespaces.iter().zip(&before) {
            if tells_by_revision(*action) {
                let changed = async || (revision(&site, namespace).await != *before).then_some(());
                wait_until("another revision", SETTLED, changed).await.unwrap();
            }
            site.wait_settled(namespace, state, SETTLED).await;
        }
        all += NAMESPACES * KILLS;
        disturbed += hit;
        println!(
            "{action:?}: undisturbed in {took:.1?}, with {KILLS} kills in {:.1?}, {hit} times in the middle",
            started.elapsed()
        );
    }
    println!("{all} kills times actions, {disturbed} of them in the middle of the action");
    assert!(disturbed >= 100, "only {disturbed} actions were disturbed");
    assert_sound(&mut operator);
}

/// Applies a coordinator that something is to be said of, and waits until it is.
async fn is_served(site: &Site, namespace: &str, since: Instant, within: Duration) -> Duration {
    let spec = json!({"product": "mimir"});
    let document = json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Coordinator",
                          "metadata": {"name": "lone"}, "spec": spec});
    site.apply(namespace, &[document]).await;
    site.wait_status(namespace, "lone", "blocked", "no S3 relation", within).await;
    since.elapsed()
}

/// Of two operators one acts. The other takes over when the first is killed, when it is frozen, and when it lets go; one that is
/// thawed after that does no more.
#[tokio::test]
async fn one_operator_acts_and_another_takes_over() {
    let (site, mut first) = operated(Level::Api).await;
    let mut second = site.operator("operator-1");
    for namespace in ["one", "two", "three", "four"] {
        site.namespace(namespace).await;
    }
    is_served(&site, "one", Instant::now(), SETTLED).await;
    assert!(first.leads().await && !second.leads().await);
    assert!(first.writes().await > 0);
    assert_eq!(second.metric("muster_operator_requests", "").await, Some(0.0));

    first.kill().await;
    let killed = is_served(&site, "two", Instant::now(), LEASE + TAKE_OVER).await;
    assert!(second.leads().await);

    first.start_again();
    wait_until("an operator that stands by", SETTLED, async || (!first.leads().await).then_some(()))
        .await
        .unwrap();
    second.process().signal(Signal::SIGSTOP).unwrap();
    let frozen = is_served(&site, "three", Instant::now(), LEASE + TAKE_OVER).await;
    assert!(first.leads().await);
    let before = site.api::<Coordinator>("three").get("lone").await.unwrap().metadata.resource_version;
    second.process().signal(Signal::SIGCONT).unwrap();
    wait_until("that the thawed one lets go", TAKE_OVER, async || {
        (second.metric("muster_operator_leader", "").await == Some(0.0)).then_some(())
    })
    .await
    .unwrap();
    assert!(first.leads().await);
    let after = site.api::<Coordinator>("three").get("lone").await.unwrap().metadata.resource_version;
    assert_eq!(before, after, "the thawed one wrote");

    let asked = Instant::now();
    first.stop().await;
    let released = is_served(&site, "four", asked, TAKE_OVER).await;
    assert!(second.leads().await);
    println!(
        "next leader acts after: a kill {killed:.1?}, a freeze {frozen:.1?}, a clean end {released:.1?}"
    );
    assert!(killed <= LEASE + TAKE_OVER && frozen <= LEASE + TAKE_OVER && released <= TAKE_OVER);
    assert_sound(&mut second);
}

/// The API server and etcd gone for a while, and watches that have expired: what was edited meanwhile or right after is acted on.
#[tokio::test]
async fn an_api_server_that_was_away_is_caught_up_with() {
    let (site, mut operator) = operated(Level::Controllers).await;
    let _doubles = site.doubles();
    deploy(&site, "shop").await;
    let pid = operator.process().pid();
    let mut states = Vec::new();
    for units in [2, 1] {
        site.patch_worker("shop", "base", json!({ "units": units })).await;
        site.wait_active("shop", "mimir", SETTLED).await;
        states.push(site.at_rest("shop", REST, SETTLED).await);
        assert_eq!(states.last().unwrap()["StatefulSet/base"]["replicas"], units);
    }
    let [two, one] = states.try_into().unwrap();

    // Longer than the leader waits before it gives up: it must get the lease again.
    site.cluster.run(&["kill", "apiserver"]);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(operator.process().status().unwrap(), None);
    site.cluster.run(&["start", "apiserver"]);
    site.wait_api(SETTLED).await;
    // Kubernetes' controllers take half a minute to come back by themselves.
    site.cluster.run(&["kill", "kcm"]);
    site.cluster.run(&["start", "kcm"]);
    let back = Instant::now();
    site.patch_worker("shop", "base", json!({"units": 2})).await;
    let acted = wait_replicas(&site, 2).await;
    site.wait_settled("shop", &two, SETTLED).await;
    println!(
        "API server away for 12 s: an edit right after is acted on after {acted:.1?}, done after {:.1?}",
        back.elapsed()
    );

    site.cluster.run(&["kill", "etcd"]);
    sleep(Duration::from_secs(3)).await;
    site.cluster.run(&["start", "etcd"]);
    let back = Instant::now();
    wait_until("an etcd that takes a write", SETTLED, async || {
        let patch = Patch::Merge(json!({"spec": {"units": 1}}));
        site.api::<Worker>("shop").patch("base", &PatchParams::default(), &patch).await.ok()
    })
    .await
    .unwrap();
    let acted = wait_replicas(&site, 1).await;
    site.wait_settled("shop", &one, SETTLED).await;
    println!(
        "etcd away for 3 s: an edit right after is acted on after {acted:.1?}, done after {:.1?}",
        back.elapsed()
    );

    // Watches that cannot be resumed (410): what happened while nobody watched is found by listing.
    operator.process().signal(Signal::SIGSTOP).unwrap();
    site.patch_worker("shop", "base", json!({"units": 2})).await;
    let gone = [("Service", "mimir-gossip"), ("Unit", "base-0"), ("Secret", "mimir-cluster")];
    for (kind, name) in gone {
        objects::api(&site.client, "shop", kind).delete(name, &DeleteParams::default()).await.unwrap();
    }
    site.cluster.run(&["kill", "apiserver"]);
    site.cluster.run(&["start", "apiserver"]);
    site.wait_api(SETTLED).await;
    // Kubernetes' controllers take half a minute to come back by themselves.
    site.cluster.run(&["kill", "kcm"]);
    site.cluster.run(&["start", "kcm"]);
    let back = Instant::now();
    operator.process().signal(Signal::SIGCONT).unwrap();
    let acted = wait_replicas(&site, 2).await;
    site.wait_settled("shop", &two, SETTLED).await;
    println!(
        "what happened while all watches expired is acted on after {acted:.1?}, done after {:.1?}",
        back.elapsed()
    );
    assert_eq!(operator.process().pid(), pid);
    assert_sound(&mut operator);
}

/// How long until the operator has changed the StatefulSet. What follows is for Kubernetes' controllers to do, which take longer to
/// find an API server that was away.
async fn wait_replicas(site: &Site, replicas: u32) -> Duration {
    let started = Instant::now();
    let sets = objects::api(&site.client, "shop", "StatefulSet");
    wait_until("the operator's write", CAUGHT_UP, async || {
        (sets.get("base").await.ok()?.data["spec"]["replicas"] == replicas).then_some(())
    })
    .await
    .unwrap();
    started.elapsed()
}

/// A user who writes as fast as the API server takes it, while the operator works: it comes to an end, with no more writes than the
/// user's. And then there is quiet: a minute without a single write.
#[tokio::test]
async fn a_storm_of_edits_ends_and_then_there_is_quiet() {
    const STORM: Duration = Duration::from_secs(5);
    const QUIET: Duration = Duration::from_secs(60);
    let site = Site::start_audited(Level::Controllers).await;
    let mut operator = site.operator("operator-0");
    operator.wait_leads(SETTLED).await;
    let _doubles = site.doubles();
    deploy(&site, "calm").await;
    deploy(&site, "shop").await;
    site.patch_coordinator("calm", "mimir", json!({"config": {"ingestion-rate": 777}})).await;
    site.patch_worker("calm", "base", json!({"units": 2})).await;
    site.wait_active("calm", "mimir", SETTLED).await;
    let expected = site.at_rest("calm", REST, SETTLED).await;

    let before = operator.writes().await;
    let started = Instant::now();
    let params = PatchParams::default();
    let mut edits = 0_u64;
    while started.elapsed() < STORM {
        let tag = json!({"metadata": {"annotations": {"example.com/edit": edits.to_string()}}});
        let rate = json!({"spec": {"config": {"ingestion-rate": 1000 + edits % 3}}});
        let units =
            json!({"spec": {"units": 1 + edits % 2}, "metadata": {"labels": {"edit": edits.to_string()}}});
        let (coordinators, workers) = (site.api::<Coordinator>("shop"), site.api::<Worker>("shop"));
        coordinators.patch("mimir", &params, &Patch::Merge(&tag)).await.unwrap();
        workers.patch("base", &params, &Patch::Merge(&tag)).await.unwrap();
        if edits.is_multiple_of(5) {
            coordinators.patch("mimir", &params, &Patch::Merge(&rate)).await.unwrap();
            workers.patch("base", &params, &Patch::Merge(&units)).await.unwrap();
            edits += 2;
        }
        edits += 2;
    }
    site.patch_coordinator("shop", "mimir", json!({"config": {"ingestion-rate": 777}})).await;
    let last = json!({"spec": {"units": 2}, "metadata": {"labels": {"edit": null}}});
    site.api::<Worker>("shop").patch("base", &params, &Patch::Merge(&last)).await.unwrap();
    let ended = Instant::now();
    site.wait_active("shop", "mimir", SETTLED).await;
    site.wait_settled("shop", &expected, SETTLED).await;
    let writes = operator.writes().await - before;
    println!(
        "storm: {edits} edits in {STORM:?}, {writes} writes of the operator; settled {:.1?} after",
        ended.elapsed()
    );
    assert!(writes <= edits, "{writes} writes after {edits} edits");

    // Writes that were put off are made, and then none.
    site.at_rest("shop", REST, SETTLED).await;
    let (before, audited) = (operator.writes().await, site.audited_writes().len());
    assert!(audited > 0, "the audit log has nothing");
    sleep(QUIET).await;
    let said: Vec<String> = site.audited_writes().split_off(audited).iter().map(said).collect();
    println!(
        "quiet: {} writes in {QUIET:?}, {} by the audit log",
        operator.writes().await - before,
        said.len()
    );
    assert_eq!((operator.writes().await - before, said), (0, Vec::new()));
    assert_sound(&mut operator);
}

fn said(request: &Value) -> String {
    let object = &request["objectRef"];
    format!("{} {} {}/{}", request["verb"], object["resource"], object["namespace"], object["name"])
}

/// Others who delete and edit what is Muster's, pods and units that fail, and pods that say what is not theirs to say.
#[tokio::test]
async fn what_others_do_to_a_deployment_is_mended_or_said() {
    let (site, mut operator) = operated(Level::Controllers).await;
    let doubles = site.doubles();
    let left = owned_objects_are_mended(&site).await;
    a_pod_comes_back(&site).await;
    a_unit_that_is_silent_is_said(&site, &doubles).await;
    a_config_that_is_refused_changes_nothing(&site, &doubles).await;
    reports_are_written_by_their_own_pods(&site, &mut operator).await;
    assert_sound(&mut operator);
    assert!(left.is_empty(), "{}", left.join("\n"));
}

const MANAGED: &str = "app.kubernetes.io/managed-by=muster";

/// Every object of a kind that is Muster's, by name.
async fn owned(site: &Site, namespace: &str, kind: &str) -> Vec<DynamicObject> {
    let params = ListParams::default().labels(MANAGED);
    objects::api(&site.client, namespace, kind).list(&params).await.unwrap().items
}

/// The kinds that Muster makes, and whose objects it brings back.
const OWNED: [&str; 9] = [
    "Service",
    "ServiceAccount",
    "Secret",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Role",
    "RoleBinding",
    "Unit",
    "StatefulSet",
];

/// Edits of an object: our label taken away, our labels changed, and fields that Muster sets changed. Fields that it does not set are
/// others' to set: admission webhooks do.
fn edits(kind: &str, object: &DynamicObject) -> Vec<(&'static str, Value)> {
    let unlabelled = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    let labels = json!({"muster.dev/coordinator": "stranger", "muster.dev/application": "stranger"});
    let relabelled = json!({"metadata": {"labels": labels}});
    let changed = match kind {
        "Service" => json!({"spec": {"selector": {"stray": "x"}, "ports": [{"name": "stray", "port": 1}]}}),
        "ServiceAccount" => json!({"automountServiceAccountToken": true}),
        "Secret" => {
            let mut data: BTreeMap<&str, &str> = [("stray", "eA==")].into();
            data.extend(
                object.data["data"].as_object().into_iter().flatten().map(|(key, _)| (key.as_str(), "eA==")),
            );
            json!({ "data": data })
        }
        "PodDisruptionBudget" => json!({"spec": {"maxUnavailable": "100%"}}),
        "NetworkPolicy" => json!({"spec": {"ingress": [{}], "policyTypes": ["Ingress"]}}),
        "Role" => json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
        "RoleBinding" => {
            json!({"subjects": [{"kind": "ServiceAccount", "name": "stray", "namespace": "default"}]})
        }
        "Unit" => {
            let epoch = object.data["spec"]["assignment"]["epoch"].as_u64().unwrap();
            json!({"spec": {"assignment": {"run": "Stop", "epoch": epoch + 100}, "podUID": "forged"}})
        }
        "StatefulSet" => {
            let containers = json!([{"name": "stray", "image": "stray"}]);
            json!({"spec": {"template": {"spec": {"serviceAccountName": "default", "containers": containers}}}})
        }
        other => panic!("{other}"),
    };
    vec![("unlabelled", unlabelled), ("relabelled", relabelled), ("changed", changed)]
}

/// What there is with all that the Secrets hold.
async fn everything(site: &Site, namespace: &str) -> Option<BTreeMap<String, Value>> {
    let mut all = objects::settled(&site.client, namespace).await.ok()?;
    for secret in objects::api(&site.client, namespace, "Secret").list(&ListParams::default()).await.ok()? {
        let name = secret.name_any();
        let mut data = secret.data["data"].clone();
        if name == "mimir-balancer" {
            // What it says, and its revision, follow the addresses of the pods.
            let texts = data.as_object().unwrap().values();
            data = texts.map(|text| *text == json!("eA==")).collect();
        }
        all.insert(format!("data of {name}"), data);
    }
    Some(all)
}

/// How long until what was edited by hand is as it was, or what is left of the edit.
async fn mended(
    site: &Site,
    namespace: &str,
    expected: &BTreeMap<String, Value>,
    what: &str,
) -> Result<Duration, String> {
    let started = Instant::now();
    let mut last = Vec::new();
    let mended = wait_until(what, MENDED, async || {
        last = objects::difference(expected, &everything(site, namespace).await?);
        last.is_empty().then_some(())
    });
    match mended.await {
        Ok(()) => Ok(started.elapsed()),
        Err(error) => Err(format!("{error:#}; what is left:\n{}", last.join("\n"))),
    }
}

/// An owned object of each kind deleted by hand, and edited by hand in three ways. Answers what is left of that.
async fn owned_objects_are_mended(site: &Site) -> Vec<String> {
    let namespace = "mended";
    site.namespace(namespace).await;
    let documents = [
        coordinator("mimir", &json!({"networkPolicies": true})),
        worker("base", &json!({"roles": {"all": true}})),
    ];
    site.apply(namespace, &documents).await;
    site.wait_active(namespace, "mimir", SETTLED).await;
    site.at_rest(namespace, REST, SETTLED).await;
    let expected = everything(site, namespace).await.unwrap();
    let mut failures = Vec::new();
    for kind in OWNED {
        let api = objects::api(&site.client, namespace, kind);
        let there = owned(site, namespace, kind).await;
        assert!(!there.is_empty(), "no {kind}");
        let mut took = Vec::new();
        for number in 0..4_usize {
            let mut what = format!("{kind} deleted");
            for object in owned(site, namespace, kind).await {
                let name = object.name_any();
                if let Some(number) = number.checked_sub(1) {
                    let (edit, patch) = edits(kind, &object).swap_remove(number);
                    what = format!("{kind} {edit}");
                    api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
                } else {
                    api.delete(&name, &DeleteParams::default()).await.unwrap();
                }
            }
            match mended(site, namespace, &expected, &what).await {
                Ok(after) => took.push(after),
                Err(failure) => {
                    failures.push(failure);
                    // Made anew, so that the next edit finds it as it should be.
                    for object in &there {
                        drop(api.delete(&object.name_any(), &DeleteParams::default()).await);
                    }
                    mended(site, namespace, &expected, &format!("{kind} deleted after {what}"))
                        .await
                        .unwrap();
                }
            }
        }
        println!(
            "{kind} ({}): deleted, unlabelled, relabelled, changed; mended after {took:.1?}",
            there.len()
        );
    }
    failures
}

/// A pod deleted by hand comes back, and its unit is told what it was told before.
async fn a_pod_comes_back(site: &Site) {
    let namespace = "pods";
    deploy(site, namespace).await;
    let expected = site.at_rest(namespace, REST, SETTLED).await;
    let pods = site.api::<Pod>(namespace);
    for name in ["base-0", "mimir-0"] {
        let before = pods.get(name).await.unwrap().uid();
        pods.delete(name, &DeleteParams::default()).await.unwrap();
        let unit = wait_until("another pod's unit", SETTLED, async || {
            let uid = pods.get(name).await.ok()?.uid();
            let unit = site.api::<Unit>(namespace).get(name).await.ok()?;
            (uid != before && unit.spec.pod_uid == uid).then_some(unit)
        })
        .await
        .unwrap();
        assert!(unit.spec.assignment.is_some());
        site.wait_settled(namespace, &expected, SETTLED).await;
    }
    // One that the StatefulSet does not know any more is missed, and well again when it does.
    let labelled =
        |label: Option<&str>| json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": label}}});
    pods.patch("base-0", &PatchParams::default(), &Patch::Merge(labelled(None))).await.unwrap();
    wait_until("a status that misses the pod", SETTLED, async || {
        let status = site.coordinator(namespace, "mimir").await?.status?;
        (status.status != "active").then_some(())
    })
    .await
    .unwrap();
    pods.patch("base-0", &PatchParams::default(), &Patch::Merge(labelled(Some("muster")))).await.unwrap();
    site.wait_settled(namespace, &expected, SETTLED).await;
}

/// Waits until a worker says this.
async fn wait_worker(site: &Site, namespace: &str, name: &str, words: &str) {
    let mut last = String::new();
    let said = wait_until(words, SETTLED, async || {
        let status = site.api::<Worker>(namespace).get(name).await.ok()?.status?;
        last = serde_json::to_string(&status).unwrap();
        last.contains(words).then_some(())
    });
    if let Err(error) = said.await {
        panic!("{error:#}; it says {last}");
    }
}

/// A unit that does not do what it is told, and one whose node is lost: the status says so, and the others serve.
async fn a_unit_that_is_silent_is_said(site: &Site, doubles: &Doubles) {
    let namespace = "silent";
    deploy(site, namespace).await;
    site.patch_worker(namespace, "base", json!({"units": 2})).await;
    site.wait_active(namespace, "mimir", SETTLED).await;
    let expected = site.at_rest(namespace, REST, SETTLED).await;
    doubles.silence(namespace, "base-0");
    doubles.silence(namespace, "base-1");
    site.patch_coordinator(namespace, "mimir", json!({"config": {"ingestion-rate": 4321}})).await;
    wait_worker(site, namespace, "base", "restarting with another config").await;
    wait_until("a rollout that waits", SETTLED, async || {
        let status = site.coordinator(namespace, "mimir").await?.status?;
        (status.status != "active" && status.message.contains("/2 units")).then_some(())
    })
    .await
    .unwrap();
    let told = |unit: Unit| unit.spec.assignment.unwrap()["revision"].clone();
    let units = site.api::<Unit>(namespace);
    let revisions = [told(units.get("base-0").await.unwrap()), told(units.get("base-1").await.unwrap())];
    assert_ne!(revisions[0], revisions[1], "a silent unit did not stop the rollout");
    doubles.behave();
    site.patch_coordinator(namespace, "mimir", json!({"config": null})).await;
    site.wait_settled(namespace, &expected, SETTLED).await;

    // As the node controller writes it when a node no longer answers.
    let ready = |ready: &str| {
        json!({"status": {"conditions": [
        {"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": "True"}]}})
    };
    let pods = site.api::<Pod>(namespace);
    pods.patch_status("base-1", &PatchParams::default(), &Patch::Strategic(ready("False"))).await.unwrap();
    wait_worker(site, namespace, "base", "agent cannot be reached").await;
    pods.patch_status("base-1", &PatchParams::default(), &Patch::Strategic(ready("True"))).await.unwrap();
    site.wait_settled(namespace, &expected, SETTLED).await;
}

/// A config that the workload's own binary refuses stays with the unit that tried it.
async fn a_config_that_is_refused_changes_nothing(site: &Site, doubles: &Doubles) {
    let namespace = "refused";
    deploy(site, namespace).await;
    site.patch_worker(namespace, "base", json!({"units": 3})).await;
    site.wait_active(namespace, "mimir", SETTLED).await;
    let expected = site.at_rest(namespace, REST, SETTLED).await;
    let applied = async || {
        let units = site.api::<Unit>(namespace).list(&ListParams::default()).await.unwrap();
        let reports = units.into_iter().filter(|unit| unit.spec.application == "base");
        let applied = reports.map(|unit| unit.status.unwrap().report.unwrap()["applied"].clone());
        applied.collect::<Vec<_>>()
    };
    let before = applied().await;
    for unit in ["base-0", "base-1", "base-2"] {
        doubles.refuse(namespace, unit);
    }
    site.patch_coordinator(namespace, "mimir", json!({"overrides": {"limits": {"bad_key": 1}}})).await;
    site.wait_status(namespace, "mimir", "blocked", "field bad_key not found", SETTLED).await;
    let status = site.coordinator(namespace, "mimir").await.unwrap().status.unwrap();
    let conditions = serde_json::to_value(&status.conditions).unwrap();
    let accepted = conditions.as_array().unwrap().iter().find(|c| c["type"] == "ConfigAccepted").unwrap();
    assert_eq!(
        (&accepted["status"], &accepted["reason"]),
        (&json!("False"), &json!("ConfigRejected")),
        "{accepted}"
    );
    assert!(accepted["message"].as_str().unwrap().contains("field bad_key not found"), "{accepted}");
    site.at_rest(namespace, REST, SETTLED).await;
    assert_eq!(applied().await, before, "some unit runs something else");
    let units = site.api::<Unit>(namespace).list(&ListParams::default()).await.unwrap();
    let checked =
        |unit: &Unit| !unit.status.as_ref().unwrap().report.as_ref().unwrap()["check"]["rejected"].is_null();
    assert_eq!(units.iter().filter(|unit| checked(unit)).count(), 1, "one unit tries for all");
    doubles.behave();
    site.patch_coordinator(namespace, "mimir", json!({"overrides": null})).await;
    site.wait_settled(namespace, &expected, SETTLED).await;
}

/// The code and the message of a refused request.
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.message),
        other => panic!("not refused: {other:?}"),
    }
}

/// A pod writes the report of its own unit, and nothing else; it reads the Secret that it needs, and no other.
async fn reports_are_written_by_their_own_pods(site: &Site, operator: &mut Operator) {
    let namespace = "reports";
    deploy(site, namespace).await;
    site.apply(namespace, &[worker("other", &json!({"roles": {"ingester": true}, "units": 2}))]).await;
    site.wait_active(namespace, "mimir", SETTLED).await;
    let expected = site.at_rest(namespace, REST, SETTLED).await;
    let own = site.pod_client(namespace, "other-0").await;
    let units = |client: &Client| Api::<Unit>::namespaced(client.clone(), namespace);
    let params = PatchParams::default();
    let forged = json!({"status": {"report": {"lastError": "forged", "ready": false}}});
    let write = async |client: &Client, unit: &str| {
        units(client).patch_status(unit, &params, &Patch::Merge(&forged)).await
    };

    let smuggled = json!({"spec": {"assignment": {"run": "Stop"}}, "metadata": {"labels": {"stray": "x"}},
                          "status": {"report": {"restarts": 1}}});
    let written = units(&own).patch_status("other-0", &params, &Patch::Merge(&smuggled)).await.unwrap();
    assert_eq!(written.spec.assignment.unwrap()["run"], "Start");
    assert!(!written.metadata.labels.unwrap().contains_key("stray"));
    for (what, client, unit, words) in [
        ("another unit of its worker", &own, "other-1", "is written by its own pod, not by pod other-0"),
        ("a unit of another worker", &own, "base-0", "is written by its own pod, not by pod other-0"),
        ("a load balancer unit", &own, "mimir-0", "is written by its own pod, not by pod other-0"),
    ] {
        let (code, message) = refusal(write(client, unit).await);
        assert!(code == 403 && message.contains(words), "{what}: {code} {message}");
    }
    let nobody = site.account_client(namespace, "other", None).await;
    let (code, message) = refusal(write(&nobody, "other-0").await);
    assert!(code == 403 && message.contains("is written by its own pod"), "no pod: {code} {message}");
    site.namespace("elsewhere").await;
    let stranger = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other-0"},
                          "spec": {"containers": [{"name": "c", "image": "none"}], "serviceAccountName": "default"}});
    wait_until("a service account", SETTLED, async || site.try_apply("elsewhere", &stranger).await.ok())
        .await
        .unwrap();
    let elsewhere = site.pod_client("elsewhere", "other-0").await;
    assert_eq!(refusal(write(&elsewhere, "other-0").await).0, 403, "a pod of its name elsewhere");

    // An earlier pod of its name.
    operator.process().signal(Signal::SIGSTOP).unwrap();
    let uid = json!({"spec": {"podUID": "another"}});
    units(&site.client).patch("other-0", &params, &Patch::Merge(&uid)).await.unwrap();
    let (code, message) = refusal(write(&own, "other-0").await);
    assert!(code == 403 && message.contains("is another pod by now"), "{code} {message}");
    operator.process().signal(Signal::SIGCONT).unwrap();
    site.wait_settled(namespace, &expected, SETTLED).await;

    for spec in
        [json!({"spec": {"assignment": {"run": "Stop"}}}), json!({"metadata": {"labels": {"stray": "x"}}})]
    {
        assert_eq!(
            refusal(units(&own).patch("other-0", &params, &Patch::Merge(&spec)).await).0,
            403,
            "{spec}"
        );
    }
    assert_eq!(refusal(units(&own).delete("other-0", &DeleteParams::default()).await).0, 403);
    let secrets: Api<Secret> = Api::namespaced(own.clone(), namespace);
    secrets.get("mimir-cluster").await.unwrap();
    for secret in ["s3", "mimir-balancer"] {
        assert_eq!(refusal(secrets.get(secret).await).0, 403, "{secret}");
    }
    assert_eq!(refusal(secrets.list(&ListParams::default()).await).0, 403);
    let balancer = site.pod_client(namespace, "mimir-0").await;
    let secrets: Api<Secret> = Api::namespaced(balancer, namespace);
    secrets.get("mimir-balancer").await.unwrap();
    assert_eq!(refusal(secrets.get("mimir-cluster").await).0, 403);

    // A pod that is gone: its token is worth nothing, also where another has its name.
    let pods: Api<Pod> = site.api(namespace);
    let gone = pods.get("other-0").await.unwrap().uid();
    pods.delete("other-0", &DeleteParams::default()).await.unwrap();
    // Until then the pod is there, and its report is its own.
    wait_until("the unit is another pod of that name", SETTLED, async || {
        let next = pods.get("other-0").await.ok()?.uid().filter(|uid| Some(uid) != gone.as_ref())?;
        (units(&site.client).get("other-0").await.ok()?.spec.pod_uid? == next).then_some(())
    })
    .await
    .unwrap();
    let (code, message) = refusal(write(&own, "other-0").await);
    assert!([401, 403].contains(&code), "{code} {message}");
    site.wait_settled(namespace, &expected, SETTLED).await;
}

/// Objects of others, object stores that are not as they should be, and documents of a newer version: they are refused or said, and
/// what runs goes on.
#[tokio::test]
async fn what_cannot_be_followed_is_said_and_harms_nothing() {
    let (mut site, mut operator) = operated(Level::Controllers).await;
    let _doubles = site.doubles();
    tokio::join!(objects_of_others_are_left_alone(&site), documents_of_a_newer_version_stop_nothing(&site));
    an_object_store_that_is_not_right_is_said(&mut site).await;
    assert_sound(&mut operator);
}

/// Objects that have names which Muster needs and belong to somebody else.
async fn objects_of_others_are_left_alone(site: &Site) {
    let port = json!({"selector": {"app": "theirs"}, "ports": [{"port": 80}]});
    let template = json!({"metadata": {"labels": {"app": "theirs"}},
                          "spec": {"containers": [{"name": "c", "image": "none"}]}});
    let set = json!({"replicas": 0, "serviceName": "x", "selector": {"matchLabels": {"app": "theirs"}}, "template": template});
    let data = json!({"theirs": "x"});
    let label = json!({"app.kubernetes.io/managed-by": "muster", "muster.dev/coordinator": "mimir"});
    let foreign = [
        ("service", "Service", "v1", "mimir", json!({}), json!({ "spec": port })),
        ("set", "StatefulSet", "apps/v1", "base", json!({}), json!({ "spec": set })),
        ("secret", "Secret", "v1", "mimir-cluster", json!({}), json!({ "stringData": data })),
        // Of another operator of ours, or of a coordinator that is gone.
        ("labelled", "Service", "v1", "mimir-gossip", label, json!({ "spec": port })),
    ];
    for (namespace, kind, version, name, labels, content) in &foreign {
        site.namespace(namespace).await;
        let mut object =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}});
        merge(&mut object, content);
        if *namespace == "labelled" {
            object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs",
                                                            "uid": config_map(site, namespace).await, "controller": true}]);
        }
        let documents = [object, coordinator("mimir", &json!({})), worker("base", &json!({}))];
        site.apply(namespace, &documents).await;
    }
    // One of a kind that Muster does not need stands in nobody's way.
    site.namespace("config").await;
    config_map(site, "config").await;
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mimir"}, "data": {"a": "b"}});
    site.apply("config", &[theirs, coordinator("mimir", &json!({})), worker("base", &json!({}))]).await;
    site.wait_active("config", "mimir", SETTLED).await;
    let kept: ConfigMap = site.api("config").get("mimir").await.unwrap();
    assert_eq!(kept.data.unwrap()["a"], "b");

    for (namespace, kind, _, name, ..) in &foreign {
        let api = objects::api(&site.client, namespace, kind);
        let words = format!("{kind} {namespace}/{name} is there already");
        let mut last = String::new();
        let said = wait_until(&words, SETTLED, async || {
            let coordinator = site.coordinator(namespace, "mimir").await?.status;
            let worker = site.api::<Worker>(namespace).get("base").await.ok()?.status;
            last = format!("{coordinator:?} {worker:?}");
            last.contains(&words).then_some(())
        });
        if let Err(error) = said.await {
            panic!("{error:#}; it says {last}");
        }
        let there = api.get(name).await.unwrap();
        let writers: Vec<_> =
            there.metadata.managed_fields.iter().flatten().filter_map(|f| f.manager.clone()).collect();
        assert!(!writers.iter().any(|writer| writer == "muster"), "{kind} {name} was written: {writers:?}");
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let gone = Instant::now();
    for (namespace, ..) in &foreign {
        site.wait_active(namespace, "mimir", AFTER_REFUSAL).await;
    }
    println!("objects of others: said by name; active {:.1?} after they went", gone.elapsed());
}

/// Makes a ConfigMap `theirs`; answers its uid.
async fn config_map(site: &Site, namespace: &str) -> String {
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "theirs"}})).unwrap();
    site.api::<ConfigMap>(namespace).create(&PostParams::default(), &map).await.unwrap().uid().unwrap()
}

/// Lets the API server take documents that this build cannot read, as with custom resources of a newer version.
fn newer_version(site: &Site) {
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for (crd, place) in [("coordinators", "onIncoherent"), ("workers", "storage/properties/retain")] {
        let patch = json!([
            {"op": "add", "path": format!("{spec}/{place}/enum/-"), "value": "Sometimes"},
            {"op": "add", "path": format!("{spec}/future"),
             "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        ]);
        let (crd, patch) = (format!("crd/{crd}.muster.dev"), patch.to_string());
        site.cluster.kubectl(&["patch", &crd, "--type=json", "-p", &patch]).unwrap();
    }
}

/// Coordinators and workers with fields and values of a newer version.
async fn documents_of_a_newer_version_stop_nothing(site: &Site) {
    for namespace in ["newer", "older", "going"] {
        deploy(site, namespace).await;
    }
    let expected = site.at_rest("newer", REST, SETTLED).await;
    let older = site.at_rest("older", REST, SETTLED).await;
    newer_version(site);

    // A field that is not known is passed over.
    let future = json!({"spec": {"future": {"anything": [1]}}});
    let coordinators = site.api::<Coordinator>("newer");
    wait_until("a field of a newer version", SETTLED, async || {
        let raw = objects::api(&site.client, "newer", "Coordinator");
        let written = raw.patch("mimir", &PatchParams::default(), &Patch::Merge(&future)).await.ok()?;
        (written.data["spec"]["future"]["anything"] == json!([1])).then_some(())
    })
    .await
    .unwrap();
    site.wait_active("newer", "mimir", SETTLED).await;

    // A value that is not known makes the object unreadable: all stays as it is, and that is said.
    let params = PatchParams::default();
    let raw = |namespace: &str, kind: &str| objects::api(&site.client, namespace, kind);
    let unreadable = json!({"spec": {"onIncoherent": "Sometimes"}});
    let worker_unreadable = json!({"spec": {"storage": {"retain": "Sometimes"}}});
    let said = async |namespace: &str, kind: &str, name: &str| {
        let mut last = Value::Null;
        let said = wait_until("an error in the status", SETTLED, async || {
            last = raw(namespace, kind).get(name).await.ok()?.data["status"].clone();
            let message = last["message"].as_str()?;
            (last["status"] == "error" && message.contains("Sometimes")).then(|| message.to_owned())
        });
        said.await.unwrap_or_else(|error| panic!("{error:#}; {kind} {name} says {last}"))
    };
    raw("newer", "Coordinator").patch("mimir", &params, &Patch::Merge(&unreadable)).await.unwrap();
    println!("{}", said("newer", "Coordinator", "mimir").await);
    raw("going", "Worker").patch("base", &params, &Patch::Merge(&worker_unreadable)).await.unwrap();
    println!("{}", said("going", "Worker", "base").await);
    site.wait_status("going", "mimir", "blocked", "worker base cannot be read", SETTLED).await;

    // Its deployment is as it was, and the others go on.
    let unchanged = |now: &BTreeMap<String, Value>, than: &BTreeMap<String, Value>| {
        let differences = objects::difference(than, now);
        let parts = differences
            .iter()
            .filter(|what| !what.starts_with("Coordinator/") && !what.starts_with("Worker/"));
        assert_eq!(parts.collect::<Vec<_>>(), Vec::<&String>::new());
    };
    unchanged(&site.at_rest("newer", REST, SETTLED).await, &expected);
    unchanged(&site.at_rest("going", REST, SETTLED).await, &expected);
    let revision = async || site.coordinator("older", "mimir").await?.status?.revision;
    let before = revision().await;
    site.patch_coordinator("older", "mimir", json!({"config": {"ingestion-rate": 5}})).await;
    wait_until("another revision", SETTLED, async || (revision().await != before).then_some(()))
        .await
        .unwrap();
    site.wait_active("older", "mimir", SETTLED).await;
    site.patch_coordinator("older", "mimir", json!({"config": null})).await;
    site.wait_settled("older", &older, SETTLED).await;

    // Corrected, it is acted on again; deleted, it goes.
    let readable = json!({"spec": {"onIncoherent": "Stop", "future": null}});
    raw("newer", "Coordinator").patch("mimir", &params, &Patch::Merge(&readable)).await.unwrap();
    site.wait_settled("newer", &expected, SETTLED).await;
    drop(coordinators);
    let gone = async |namespace: &str, kind: &str, name: &str| {
        let started = Instant::now();
        raw(namespace, kind).delete(name, &DeleteParams::default()).await.unwrap();
        wait_until("the end of what cannot be read", SETTLED, async || {
            raw(namespace, kind).get_opt(name).await.ok()?.is_none().then_some(())
        })
        .await
        .unwrap_or_else(|error| panic!("{kind} {name}: {error:#}"));
        println!("{kind} {name}, unreadable, is gone {:.1?} after its deletion", started.elapsed());
    };
    gone("going", "Worker", "base").await;
    raw("newer", "Coordinator").patch("mimir", &params, &Patch::Merge(&unreadable)).await.unwrap();
    said("newer", "Coordinator", "mimir").await;
    gone("newer", "Coordinator", "mimir").await;
}

/// The S3 relation absent, of the wrong type, incomplete, denied, changed and deleted while units run.
async fn an_object_store_that_is_not_right_is_said(site: &mut Site) {
    let namespace = "store";
    site.namespace(namespace).await;
    let secrets = site.api::<Secret>(namespace);
    let params = PatchParams::default();
    secrets.delete("s3", &DeleteParams::default()).await.unwrap();
    site.apply(namespace, &[coordinator("mimir", &json!({})), worker("base", &json!({}))]).await;
    let blocked = async |site: &Site, words: &str| {
        site.wait_status(namespace, "mimir", "blocked", words, SETTLED).await
    };
    blocked(site, "S3 application \"s3\" does not exist").await;

    let mut secret = s3_secret("s3", namespace);
    secret["type"] = json!("Opaque");
    site.apply(namespace, &[secret]).await;
    blocked(site, "it is of type Opaque").await;
    secrets.delete("s3", &DeleteParams::default()).await.unwrap();
    let mut secret = s3_secret("s3", namespace);
    secret["stringData"].as_object_mut().unwrap().remove("bucket");
    site.apply(namespace, &[secret]).await;
    blocked(site, "bucket").await;
    site.apply(namespace, &[s3_secret("s3", namespace)]).await;
    site.wait_active(namespace, "mimir", SETTLED).await;
    let expected = site.at_rest(namespace, REST, SETTLED).await;
    let units = async |site: &Site| {
        let all = objects::settled(&site.client, namespace).await.unwrap();
        all.into_iter().filter(|(name, _)| name.starts_with("Unit/")).collect::<BTreeMap<_, _>>()
    };
    let running = units(site).await;
    assert!(running.values().all(|unit| unit["spec"]["assignment"]["run"] == "Start"), "{running:?}");

    let patch = |data: Value| Patch::Merge(json!({ "stringData": data }));
    let ok = json!({"endpoint": format!("http://{}", muster_tests::kubernetes::S3_ADDRESS), "secret-key": "SK-of-the-site"});
    for (wrong, words) in [
        (json!({"secret-key": "wrong"}), "SignatureDoesNotMatch"),
        (json!({"endpoint": "http://10.77.0.1:9"}), "10.77.0.1:9"),
        (json!({"endpoint": "nonsense://"}), "endpoint"),
    ] {
        secrets.patch("s3", &params, &patch(wrong)).await.unwrap();
        blocked(site, words).await;
        assert_eq!(objects::difference(&running, &units(site).await), Vec::<String>::new(), "{words}");
        secrets.patch("s3", &params, &patch(ok.clone())).await.unwrap();
        site.wait_settled(namespace, &expected, SETTLED).await;
    }
    secrets.delete("s3", &DeleteParams::default()).await.unwrap();
    blocked(site, "S3 application \"s3\" does not exist").await;
    assert_eq!(objects::difference(&running, &units(site).await), Vec::<String>::new(), "deleted");
    // What runs without its relation is still looked after.
    site.api::<Pod>(namespace).delete("base-0", &DeleteParams::default()).await.unwrap();
    wait_until("units that run", SETTLED, async || {
        objects::difference(&running, &units(site).await).is_empty().then_some(())
    })
    .await
    .unwrap();
    site.apply(namespace, &[s3_secret("s3", namespace)]).await;
    site.wait_settled(namespace, &expected, SETTLED).await;

    // Other keys at the store, and then in the Secret.
    site.start_store_with(["AK2", "SK2-of-the-site"]).await;
    secrets
        .patch("s3", &params, &patch(json!({"access-key": "AK2", "secret-key": "SK2-of-the-site"})))
        .await
        .unwrap();
    site.wait_settled(namespace, &expected, SETTLED).await;
    let kept = serde_json::to_string(
        &objects::api(&site.client, namespace, "Unit").list(&ListParams::default()).await.unwrap().items,
    );
    assert!(!kept.unwrap().contains("of-the-site"), "a Unit holds a secret key");
    let _: Service = site.api(namespace).get("mimir").await.unwrap();
}
