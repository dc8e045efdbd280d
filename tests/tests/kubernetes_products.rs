//! The examples of all three products on a real cluster with nodes, with the real servers, and what their configs may do there.

#![expect(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use muster_testkit::wait_until;
use muster_tests::condition;
use muster_tests::kubernetes::Site;
use muster_tests::kubernetes::node::{
    ACTIVE, address, example, in_cluster, muster, say, wait_all_active, wait_status,
};
use muster_tests::logs::Logs;
use muster_tests::traces::{self, Span};
use muster_tests::traffic::Traffic;
use serde_json::{Value, json};

/// How long what was pushed may take to be found.
const FOUND: Duration = Duration::from_secs(60);
/// How long a unit may take to become ready in a test of one that cannot, in seconds.
const DEADLINE: u64 = 20;

/// Applies an example in a namespace of its own, whose pods are held to the strictest rules, and waits until it serves.
async fn deploy(site: &Site, namespace: &str, name: &str) {
    site.namespace(namespace).await;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    site.cluster.kubectl(&["label", "namespace", namespace, label]).unwrap();
    site.cluster.kubectl(&["apply", "-n", namespace, "-f", &example(name)]).unwrap();
    wait_all_active(site, namespace).await;
    say(&muster(site, namespace, &["status"]));
}

/// Removes everything and waits until nothing of it is left.
async fn remove(site: &Site, namespace: &str) {
    site.cluster
        .kubectl(&["delete", "coordinators,workers", "--all", "-n", namespace, "--timeout=180s"])
        .unwrap();
    let gone = async || {
        let pods = site.cluster.kubectl(&["get", "pods", "-n", namespace, "-o", "name"]).ok()?;
        pods.trim().is_empty().then_some(())
    };
    wait_until("an end of all pods", ACTIVE, gone).await.unwrap();
}

async fn operator_is_there(site: &Site) {
    let ready = ["deploy/muster-operator", "-n", "muster-system", "--for=condition=Available"];
    site.cluster.kubectl(&[&["wait", "--timeout=120s"], &ready[..]].concat()).unwrap();
}

/// Mimir with nine workers: an option is rolled out, a config that Mimir refuses reaches nobody, and one that a unit cannot run with
/// is taken back, while samples are written.
#[test]
fn mimir_with_a_worker_for_each_role_keeps_running_whatever_its_config() {
    in_cluster(2, 16, async |site| {
        let namespace = "mimir";
        operator_is_there(&site).await;
        deploy(&site, namespace, "mimir-distributed.yaml").await;
        let gateway = format!("http://{}", address(&site, namespace, "mimir", 8080).await);
        let traffic = Traffic::through(&gateway, "distributed").await.unwrap();
        let patch = async |spec: Value| site.patch_coordinator(namespace, "mimir", spec).await;

        let listed = muster(&site, namespace, &["config", "mimir"]);
        say(&listed);
        assert!(listed.contains("retention-period"), "{listed}");
        muster(&site, namespace, &["config", "mimir", "retention-period=30d"]);
        wait_status(&site, namespace, "a rollout that can be seen", ACTIVE, |status| {
            let message = status["applications"]["mimir"]["message"].as_str().unwrap_or_default();
            message.starts_with("rolling out ") && message.ends_with(" units")
        })
        .await;
        wait_all_active(&site, namespace).await;
        traffic.flows().await.unwrap();

        patch(json!({"overrides": {"limits": {"no_such_key": 1}}})).await;
        let refused = wait_status(&site, namespace, "a refused config", ACTIVE, |status| {
            condition(status, "mimir", "ConfigAccepted")["reason"] == "ConfigRejected"
        })
        .await;
        let message = condition(&refused, "mimir", "ConfigAccepted")["message"].clone();
        assert!(message.as_str().unwrap().contains("no_such_key"), "{message}");
        traffic.flows().await.unwrap();

        // It is accepted, and no ingester becomes ready with it.
        let endless = json!({"ingester": {"ring": {"min_ready_duration": "1h"}}});
        patch(json!({"overrides": null})).await;
        patch(json!({"overrides": endless, "progressDeadlineSeconds": DEADLINE})).await;
        let halted = wait_status(&site, namespace, "the way back", ACTIVE, |status| {
            let units = status["applications"].as_object().into_iter().flatten();
            let mut units =
                units.flat_map(|(_, app)| app["units"].as_object().into_iter().flat_map(|all| all.values()));
            condition(status, "mimir", "RolledOut")["reason"] == "RolloutHalted"
                && units.all(|unit| unit["status"] == "active")
        })
        .await;
        let message = halted["applications"]["mimir"]["message"].as_str().unwrap();
        say(message);
        assert!(message.contains("mimir-ingester/") && message.contains("is back at"), "{message}");
        assert!(message.contains("not ready after 20s: Ingester not ready"), "{message}");
        traffic.flows().await.unwrap();

        patch(json!({"overrides": null, "progressDeadlineSeconds": null})).await;
        wait_all_active(&site, namespace).await;
        let journal = traffic.finish().await.unwrap();
        say(&format!("longest write gap {:?}", journal.longest_gap()));
        remove(&site, namespace).await;
    });
}

/// Loki in one process, and with its three roles apart.
#[test]
fn loki_takes_lines_and_finds_them() {
    in_cluster(2, 16, async |site| {
        operator_is_there(&site).await;
        for (namespace, name) in [("loki-all", "loki-monolithic.yaml"), ("loki-apart", "loki-scalable.yaml")]
        {
            deploy(&site, namespace, name).await;
            let gateway = format!("http://{}", address(&site, namespace, "loki", 3100).await);
            let mut logs = Logs::new(&gateway, namespace);
            logs.push(100).await.unwrap();
            let mut last = None;
            let read = wait_until("every acknowledged line", FOUND, async || {
                last = logs.all_readable().await.err();
                last.is_none().then_some(())
            });
            read.await.unwrap_or_else(|error| panic!("{error:#}: {last:?}"));
            // Another pod leads the compactors, where it did.
            site.cluster
                .kubectl(&["delete", "pod", "-n", namespace, "-l", "muster.dev/coordinator=loki"])
                .unwrap();
            wait_all_active(&site, namespace).await;
            logs.push(10).await.unwrap();
            let read =
                wait_until("every line after the pods", FOUND, async || logs.all_readable().await.ok());
            read.await.unwrap();
            refuses_and_goes_back(&site, namespace, "loki").await;
            remove(&site, namespace).await;
        }
    });
}

/// Tempo in one process, and with a worker for each role.
#[test]
fn tempo_takes_spans_and_finds_them() {
    in_cluster(2, 16, async |site| {
        operator_is_there(&site).await;
        for (namespace, name) in
            [("tempo-all", "tempo-monolithic.yaml"), ("tempo-apart", "tempo-distributed.yaml")]
        {
            deploy(&site, namespace, name).await;
            let at = async |port| address(&site, namespace, "tempo", port).await;
            let (query, http) = (format!("http://{}", at(3200).await), format!("http://{}", at(4318).await));
            let rpc = at(4317).await;
            let spans: Vec<Span> = (0..20).map(|_| Span::random()).collect();
            for (n, span) in spans.iter().enumerate() {
                let pushed = match n % 2 {
                    0 => traces::push_otlp_http(&http, span, namespace).await,
                    _ => traces::push_otlp_grpc(&rpc, span, namespace).await,
                };
                pushed.unwrap();
            }
            for span in &spans {
                wait_until(&format!("trace {:032x}", span.trace), FOUND, async || {
                    traces::is_found(&query, span.trace).await.ok().filter(|found| *found)
                })
                .await
                .unwrap();
            }
            wait_until("all traces by TraceQL", FOUND, async || {
                let traceql = format!("{{ resource.service.name = \"{namespace}\" }}");
                let found = traces::search(&query, &traceql).await.ok()?;
                (found == spans.len()).then_some(())
            })
            .await
            .unwrap();
            refuses_and_goes_back(&site, namespace, "tempo").await;
            remove(&site, namespace).await;
        }
    });
}

/// A config that the binary refuses is said, and one that a unit cannot run with is taken back.
async fn refuses_and_goes_back(site: &Site, namespace: &str, coordinator: &str) {
    site.patch_coordinator(namespace, coordinator, json!({"overrides": {"no_such_section": {"key": 1}}}))
        .await;
    wait_status(site, namespace, "a refused config", ACTIVE, |status| {
        let accepted = condition(status, coordinator, "ConfigAccepted");
        accepted["message"].as_str().unwrap_or_default().contains("no_such_section")
    })
    .await;
    site.patch_coordinator(namespace, coordinator, json!({"overrides": null})).await;
    let endless = json!({"ingester": {"lifecycler": {"min_ready_duration": "1h"}}});
    let spec = json!({"overrides": endless, "progressDeadlineSeconds": DEADLINE});
    site.patch_coordinator(namespace, coordinator, spec).await;
    let halted = wait_status(site, namespace, "the way back", ACTIVE, |status| {
        condition(status, coordinator, "RolledOut")["reason"] == "RolloutHalted"
    })
    .await;
    say(halted["applications"][coordinator]["message"].as_str().unwrap());
    site.patch_coordinator(namespace, coordinator, json!({"overrides": null})).await;
    wait_all_active(site, namespace).await;
}
