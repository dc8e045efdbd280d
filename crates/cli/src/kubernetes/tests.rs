//! What is sent to an API server, and what becomes of its answers.

use std::sync::{Arc, Mutex};

use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use super::*;
use crate::fake::app;
use crate::verbs::tests::{Done, data, run, said};

/// A request: method, path with query, body.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    method: String,
    path: String,
    body: Value,
}

/// Every request that was made.
#[derive(Debug, Clone, Default)]
struct Journal(Arc<Mutex<Vec<Sent>>>);

impl Journal {
    fn push(&self, sent: &Sent) {
        self.0.lock().unwrap().push(sent.clone());
    }

    /// The writes in order, trials marked.
    fn writes(&self) -> Vec<String> {
        let sent = self.0.lock().unwrap();
        let writes = sent.iter().filter(|sent| sent.method != "GET");
        writes
            .map(|sent| {
                let (path, query) = sent.path.split_once('?').unwrap_or((&sent.path, ""));
                let object = path.split_once("/namespaces/team/").unwrap().1;
                let trial = if query.contains("dryRun=All") { " as a trial" } else { "" };
                format!("{} {object}{trial}", sent.method)
            })
            .collect()
    }

    fn last_body(&self, method: &str) -> Value {
        let sent = self.0.lock().unwrap();
        sent.iter().rev().find(|sent| sent.method == method).unwrap().body.clone()
    }
}

/// A namespace `team` behind a service that answers as `answer` says.
fn cluster(answer: impl Fn(&Sent) -> (u16, Value) + Send + Clone + 'static) -> (Kubernetes, Journal) {
    let journal = Journal::default();
    let journal_of_service = journal.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (journal, answer) = (journal_of_service.clone(), answer.clone());
        async move {
            let method = request.method().to_string();
            let path = request.uri().path_and_query().unwrap().to_string();
            let body = request.into_body().collect_bytes().await?;
            let sent = Sent { method, path, body: serde_json::from_slice(&body).unwrap_or_default() };
            journal.push(&sent);
            let (status, body) = answer(&sent);
            let bytes = match body {
                Value::String(text) => text.into_bytes(),
                body => body.to_string().into_bytes(),
            };
            Ok::<_, BoxError>(Response::builder().status(status).body(Body::from(bytes)).unwrap())
        }
    });
    let client = Client::new(service, "default");
    (
        Kubernetes::new(client, "team".to_owned(), Some("dev".to_owned()), "https://api:6443".to_owned()),
        journal,
    )
}

fn refusal(code: u16, reason: &str, message: &str, details: Value) -> (u16, Value) {
    (
        code,
        json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        }),
    )
}

fn list(kind: &str, items: Value) -> (u16, Value) {
    (200, json!({ "kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {}, "items": items }))
}

fn coordinator() -> Value {
    json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "Coordinator",
        "metadata": { "name": "mimir", "namespace": "team", "uid": "1", "resourceVersion": "10", "generation": 1 },
        "spec": { "product": "mimir", "units": 1, "s3": { "secret": "s3" } },
        "status": { "status": "active", "message": "", "observedGeneration": 1 },
    })
}

fn worker(name: &str) -> Value {
    json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "Worker",
        "metadata": { "name": name, "namespace": "team", "uid": "2", "resourceVersion": "11", "generation": 1 },
        "spec": { "product": "mimir", "coordinator": "mimir", "units": 1, "roles": { "all": false, "read": true } },
    })
}

fn store() -> Value {
    json!({
        "metadata": { "name": "s3", "namespace": "team", "resourceVersion": "12" },
        "type": "muster.dev/s3",
        "data": { "endpoint": "aHR0cDovL2g6OTAwMA==", "bucket": "YmJi", "access-key": "aw==", "secret-key": "aHVudGVyMg==" },
    })
}

fn certificate(name: &str) -> Value {
    json!({ "metadata": { "name": name, "resourceVersion": "13" }, "type": "kubernetes.io/tls", "data": { "tls.crt": "eA==" } })
}

/// Answers of a namespace with `mimir`, `mimir-read`, `mimir-write`, `s3`, and a certificate that somebody else put there.
fn namespace(sent: &Sent) -> (u16, Value) {
    let (path, query) = sent.path.split_once('?').unwrap_or((&sent.path, ""));
    match (sent.method.as_str(), path.rsplit('/').next().unwrap()) {
        ("GET", "coordinators") => list("Coordinator", json!([coordinator()])),
        ("GET", "workers") => list("Worker", json!([worker("mimir-read"), worker("mimir-write")])),
        ("GET", "units") => list("Unit", json!([])),
        ("GET", "secrets") if query.contains("muster.dev") => list("Secret", json!([store()])),
        ("GET", "secrets") => list("Secret", json!([certificate("ingress")])),
        ("POST", _) => (201, sent.body.clone()),
        ("PATCH", name) => (
            200,
            json!({
                "apiVersion": "muster.dev/v1alpha1", "kind": "Worker", "metadata": { "name": name, "resourceVersion": "20" },
            }),
        ),
        ("DELETE", _) => (200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" })),
        other => panic!("{other:?}"),
    }
}

/// [`namespace`] with another answer to one method on paths that end so.
fn except(
    method: &'static str,
    end: &'static str,
    answer: (u16, Value),
) -> impl Fn(&Sent) -> (u16, Value) + Send + Clone + 'static {
    move |sent| {
        let path = sent.path.split('?').next().unwrap();
        if sent.method == method && path.ends_with(end) { answer.clone() } else { namespace(sent) }
    }
}

fn refused(done: Result<Done, Failure>) -> (String, String) {
    let Failure::Refused { message, hint, .. } = done.unwrap_err() else { panic!("not refused") };
    (message, hint.unwrap_or_default())
}

#[tokio::test]
async fn an_application_is_made_by_one_request() {
    let (mut model, journal) = cluster(namespace);
    let done =
        run(&mut model, &["deploy", "mimir-worker-k8s", "w", "--config", "role-write=true", "-n", "2"]).await;
    assert_eq!(
        said(&done),
        "Deployed w from charm mimir-worker-k8s, 2 units\nhint: it needs its coordinator: muster integrate mimir w\n"
    );
    assert_eq!(journal.writes(), ["POST workers"]);
    let body = journal.last_body("POST");
    assert_eq!((&body["kind"], &body["metadata"]), (&json!("Worker"), &json!({ "name": "w" })));
    assert_eq!(body["spec"]["roles"], json!({ "all": true, "write": true }));
    let sent = journal.0.lock().unwrap().last().unwrap().path.clone();
    assert!(sent.contains("fieldManager=muster-cli"), "{sent}");
}

#[tokio::test]
async fn a_name_that_was_taken_meanwhile_is_refused_as_on_one_machine() {
    let exists =
        refusal(409, "AlreadyExists", "workers.muster.dev \"w\" already exists", json!({ "name": "w" }));
    let (mut model, _) = cluster(except("POST", "/workers", exists));
    let (message, _) = refused(run(&mut model, &["deploy", "mimir-worker-k8s", "w"]).await);
    assert_eq!(message, EditError::Exists(app("w")).to_string());
}

#[tokio::test]
async fn a_certificate_takes_no_application_s_name() {
    let (mut model, journal) = cluster(namespace);
    run(&mut model, &["deploy", "mimir-worker-k8s", "ingress"]).await.unwrap();
    assert_eq!(journal.writes(), ["POST workers"]);
    assert!(run(&mut model, &["deploy", "s3-integrator", "ingress"]).await.is_err());
    assert!(run(&mut model, &["deploy", "mimir-worker-k8s", "s3"]).await.is_err());
}

#[tokio::test]
async fn an_edit_is_a_patch_of_what_was_read() {
    let (mut model, journal) = cluster(namespace);
    let done = run(&mut model, &["config", "mimir-read", "role-write=true"]).await;
    assert_eq!(said(&done), "Configured mimir-read: role-write\n");
    assert_eq!(journal.writes(), ["PATCH workers/mimir-read"]);
    let expected = json!({ "metadata": { "resourceVersion": "11" }, "spec": { "roles": { "write": true } } });
    assert_eq!(journal.last_body("PATCH"), expected);
    let again = run(&mut model, &["scale", "mimir-read", "1"]).await;
    assert_eq!(said(&again), "mimir-read has 1 unit already\n");
    run(&mut model, &["config", "s3", "bucket=ccc"]).await.unwrap();
    assert_eq!(journal.last_body("PATCH")["data"], json!({ "bucket": "Y2Nj" }));
    assert_eq!(journal.writes().len(), 2);
}

#[tokio::test]
async fn what_others_edited_meanwhile_is_read_anew() {
    let tries = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&tries);
    let (mut model, journal) = cluster(move |sent| {
        if sent.method == "PATCH" {
            *counted.lock().unwrap() += 1;
            if *counted.lock().unwrap() < 3 {
                return refusal(
                    409,
                    "Conflict",
                    "the object has been modified",
                    json!({ "name": "mimir-read" }),
                );
            }
        }
        namespace(sent)
    });
    assert!(matches!(run(&mut model, &["scale", "mimir-read", "3"]).await, Err(Failure::Stale)));
    assert!(matches!(run(&mut model, &["scale", "mimir-read", "3"]).await, Err(Failure::Stale)));
    run(&mut model, &["scale", "mimir-read", "3"]).await.unwrap();
    let reads = journal.0.lock().unwrap().iter().filter(|sent| sent.path.ends_with("/workers?")).count();
    assert_eq!((reads, journal.writes().len()), (3, 3));

    let gone = refusal(
        404,
        "NotFound",
        "workers.muster.dev \"mimir-read\" not found",
        json!({ "name": "mimir-read" }),
    );
    let (mut model, _) = cluster(except("PATCH", "/mimir-read", gone));
    assert!(matches!(run(&mut model, &["scale", "mimir-read", "3"]).await, Err(Failure::Stale)));
}

#[tokio::test]
async fn several_writes_are_tried_before_the_first_is_made() {
    let (mut model, journal) = cluster(namespace);
    let done = run(&mut model, &["remove-application", "mimir"]).await;
    assert_eq!(said(&done), "Removing application mimir\n");
    assert_eq!(
        journal.writes(),
        [
            "PATCH workers/mimir-read as a trial",
            "PATCH workers/mimir-write as a trial",
            "PATCH workers/mimir-read",
            "PATCH workers/mimir-write",
            "DELETE coordinators/mimir",
        ]
    );
    assert_eq!(journal.last_body("DELETE")["propagationPolicy"], "Background");

    let denied = refusal(403, "Forbidden", "workers.muster.dev \"mimir-write\" is forbidden", json!({}));
    let (mut model, journal) = cluster(except("PATCH", "/mimir-write", denied));
    let (message, hint) = refused(run(&mut model, &["remove-application", "mimir"]).await);
    assert!(message.contains("is forbidden") && hint.contains("kubectl auth can-i"), "{message} {hint}");
    assert!(journal.writes().iter().all(|write| write.ends_with("as a trial")), "{:?}", journal.writes());
}

#[tokio::test]
async fn what_is_being_removed_is_edited_no_more() {
    let mut going = worker("mimir-read");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let (mut model, journal) = cluster(except("GET", "/workers", list("Worker", json!([going]))));
    let (message, _) = refused(run(&mut model, &["scale", "mimir-read", "3"]).await);
    assert_eq!(message, EditError::Removing(app("mimir-read")).to_string());
    assert!(journal.writes().is_empty());
    let done = run(&mut model, &["remove-application", "mimir-read"]).await;
    assert_eq!(said(&done), "mimir-read is being removed already\n");
}

#[tokio::test]
async fn secrets_that_may_not_be_read_are_left_out_and_that_is_said() {
    let denied = || refusal(403, "Forbidden", "secrets is forbidden", json!({ "kind": "secrets" }));
    let (mut model, _) = cluster(except("GET", "/secrets", denied()));
    let status = run(&mut model, &["status"]).await;
    let shown = data(&status);
    assert!(shown.contains("mimir-read") && shown.contains("kubernetes") && shown.contains("dev"), "{shown}");
    assert_eq!(shown.matches("Problem: Secrets of namespace team may not be read").count(), 1, "{shown}");
    let (message, _) = refused(run(&mut model, &["integrate", "mimir", "s4"]).await);
    assert!(message.contains("s4 is not in the model"), "{message}");
    assert!(model.left_out()[0].contains("may not be read"));
    let export = run(&mut model, &["export"]).await;
    assert!(data(&export).contains("mimir-read") && said(&export).contains("may not be read"));
}

#[tokio::test]
async fn refusals_come_with_the_next_step() {
    let invalid = "Worker.muster.dev \"w\" is invalid: spec.roles: no product has such a role";
    for (method, end, answer, expected, next) in [
        ("GET", "/workers", (404, json!("404 page not found\n")), "not installed", "deploy/install.yaml"),
        (
            "GET",
            "/coordinators",
            refusal(404, "NotFound", "the server could not find the requested resource", json!({})),
            "not installed",
            "deploy/install.yaml",
        ),
        (
            "POST",
            "/workers",
            refusal(422, "Invalid", invalid, json!({ "kind": "Worker", "name": "w" })),
            invalid,
            "kubectl explain worker.spec",
        ),
        (
            "POST",
            "/workers",
            refusal(
                404,
                "NotFound",
                "namespaces \"team\" not found",
                json!({ "name": "team", "kind": "namespaces" }),
            ),
            "namespace team does not exist",
            "kubectl create namespace team",
        ),
        (
            "GET",
            "/workers",
            refusal(401, "Unauthorized", "Unauthorized", Value::Null),
            "credentials",
            "--context",
        ),
        (
            "GET",
            "/workers",
            refusal(
                403,
                "Forbidden",
                "workers.muster.dev is forbidden: User \"me\"",
                json!({ "kind": "workers" }),
            ),
            "User \"me\"",
            "kubectl auth can-i --list -n team",
        ),
        (
            "GET",
            "/workers",
            refusal(500, "InternalError", "etcd is on fire", json!({})),
            "etcd is on fire",
            "",
        ),
        ("GET", "/workers", (200, json!("no JSON")), "https://api:6443", ""),
    ] {
        let (mut model, _) = cluster(except(method, end, answer));
        let (message, hint) = refused(run(&mut model, &["deploy", "mimir-worker-k8s", "w"]).await);
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        assert!(hint.contains(next), "{hint:?} lacks {next:?}");
        assert!(!format!("{message}{hint}").contains("muster up"), "{message} {hint}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_given_up() {
    let silent = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>());
    let dead =
        service_fn(|_: Request<Body>| async { Err::<Response<Body>, BoxError>("connection refused".into()) });
    let model = |client| Kubernetes::new(client, "team".to_owned(), None, "https://api:6443".to_owned());
    let started = tokio::time::Instant::now();
    let (message, hint) = refused(run(&mut model(Client::new(silent, "default")), &["status"]).await);
    assert!(message.contains("https://api:6443 does not answer") && !hint.is_empty(), "{message}");
    assert_eq!(started.elapsed(), DEADLINE);
    let (message, hint) = refused(run(&mut model(Client::new(dead, "default")), &["status"]).await);
    assert!(
        message.ends_with("cannot be reached: connection refused") && hint.contains("--context"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_outlasts_a_server_that_is_away_for_a_moment() {
    let looks = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&looks);
    let away = move |until: u32| {
        let looks = Arc::clone(&counted);
        cluster(move |sent| {
            if sent.path.contains("/coordinators") {
                *looks.lock().unwrap() += 1;
                if (2..until).contains(&*looks.lock().unwrap()) {
                    return refusal(500, "InternalError", "etcd has no leader", json!({}));
                }
            }
            namespace(sent)
        })
    };
    let (mut model, _) = away(6);
    run(&mut model, &["wait-for", "mimir-read", "--status", "waiting", "--timeout", "1m"]).await.unwrap();
    assert_eq!(*looks.lock().unwrap(), 6);
    *looks.lock().unwrap() = 0;
    let (mut model, _) = away(1000);
    let (message, _) = refused(run(&mut model, &["wait-for", "mimir", "--timeout", "1m"]).await);
    assert!(message.contains("etcd has no leader"), "{message}");
}

#[tokio::test]
async fn logs_are_those_of_the_workload_s_container() {
    let pod = |name: &str, application: &str| json!({ "metadata": { "name": name, "labels": { "muster.dev/application": application } } });
    let (mut model, journal) = cluster(move |sent| {
        let path = sent.path.split('?').next().unwrap();
        match path.split("/pods").nth(1).unwrap() {
            "" => list(
                "Pod",
                json!([
                    pod("mimir-read-10", "mimir-read"),
                    pod("mimir-read-2", "mimir-read"),
                    pod("mimir-0", "mimir"),
                    pod("x", "mimir")
                ]),
            ),
            "/mimir-read-10/log" => {
                refusal(400, "BadRequest", "the container is waiting to start", json!({}))
            }
            _ => (200, json!("a\nb\n")),
        }
    });
    let done = run(&mut model, &["debug-log", "-n", "2"]).await;
    assert_eq!(data(&done), "mimir/0: a\nmimir/0: b\nmimir-read/2: a\nmimir-read/2: b\n");
    assert_eq!(said(&done), "mimir-read/10 has no log: the container is waiting to start\n");
    let log = journal.0.lock().unwrap().last().unwrap().path.clone();
    assert!(log.contains("container=workload") && log.contains("tailLines=2"), "{log}");
}

#[tokio::test]
async fn only_what_belongs_to_the_model_is_exported() {
    let (mut model, _) = cluster(namespace);
    let text = data(&run(&mut model, &["export"]).await);
    assert!(
        !text.contains("ingress") && !text.contains("hunter2") && !text.contains("resourceVersion"),
        "{text}"
    );
    assert_eq!(Document::parse_stream(&text).unwrap().len(), 4);
}

/// A consent is for the pod that the Unit speaks of and for what it was told last, and is written where whoever edits workers may write.
#[tokio::test]
async fn a_consent_stands_beside_the_worker() {
    const LOST: &str = "1 block of tenant \"anonymous\" not uploaded";
    let asked = Arc::new(Mutex::new(0));
    let (mut model, journal) = cluster(move |sent| {
        let unit = json!({
            "apiVersion": "muster.dev/v1alpha1", "kind": "Unit", "metadata": { "name": "mimir-read-1" },
            "spec": { "application": "mimir-read", "coordinator": "mimir", "podUID": "uid", "assignment": { "epoch": 7 } },
        });
        let path = sent.path.split('?').next().unwrap();
        match path.rsplit('/').next().unwrap() {
            "workers" => {
                let mut worker = worker("mimir-read");
                let said = json!({ "status": "waiting", "message": "keeps it", "atRisk": LOST });
                worker["status"] =
                    json!({ "status": "waiting", "message": "", "unitStatuses": { "1": said } });
                list("Worker", json!([worker]))
            }
            "coordinators" => {
                let mut coordinator = coordinator();
                *asked.lock().unwrap() += 1;
                if *asked.lock().unwrap() > 1 {
                    coordinator["status"]["abandoned"] =
                        json!([{ "unit": "mimir-read/1", "lost": LOST, "at": "2026-01-01T00:00:00Z" }]);
                }
                list("Coordinator", json!([coordinator]))
            }
            "units" => list("Unit", json!([unit])),
            "mimir-read-1" => (200, unit),
            _ => namespace(sent),
        }
    });
    let done = run(&mut model, &["run", "mimir-read/1", "abandon-data", "--yes-i-lose", LOST]).await;
    assert_eq!(said(&done), format!("mimir-read/1 is let go without {LOST}\n"));
    assert_eq!(journal.writes(), ["PATCH workers/mimir-read"]);
    let body = journal.last_body("PATCH");
    let consent = body["metadata"]["annotations"]["abandon-data.muster.dev/1"].as_str().unwrap();
    let consent: Consent = serde_json::from_str(consent).unwrap();
    assert_eq!((consent.instance.as_deref(), consent.order, consent.lost.as_str()), (Some("uid"), 7, LOST));
}
