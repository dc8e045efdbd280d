//! The channel at a server in this process, with a clock that jumps to the next thing that happens.

use std::time::Duration;

use muster_model::{ObjectStorage, Product, Revision, Role, RoleSet};
use muster_relation::{Applied, Assignment, ClusterData, Report, Run, Service, ToAgent};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::fake::{Fake, Fault, Kind};
use super::{Ends, Place, carry};

const SOON: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn revision(text: &str) -> Revision {
    Revision::of([text.as_bytes()])
}

fn unit(epoch: u64, text: &str) -> Value {
    let assignment = Assignment {
        epoch,
        revision: revision(text),
        roles: RoleSet::new(),
        run: Run::Start,
        gives_up: false,
        quiesces: false,
        forgets: std::collections::BTreeSet::new(),
        peers: std::collections::BTreeMap::new(),
        seeds: vec![],
    };
    json!({
        "apiVersion": "muster.dev/v1alpha1",
        "kind": "Unit",
        "metadata": {"name": "app-0", "namespace": "ns"},
        "spec": {"podUID": "uid", "assignment": assignment, "field-of-a-newer-version": 1},
    })
}

fn secret(texts: &[&str]) -> Value {
    let cluster = ClusterData {
        product: Product::Mimir,
        version: "2.17".parse().unwrap(),
        documents: texts.iter().map(|text| (revision(text), (*text).to_owned())).collect(),
        object_storage: None::<ObjectStorage>,
        tls: None,
    };
    let data = cluster.to_entries().into_iter();
    let data = data.map(|(name, text)| (name, k8s_openapi::ByteString(text.expose().into()))).collect();
    let metadata = kube::api::ObjectMeta { name: Some("app-cluster".into()), ..Default::default() };
    let secret = k8s_openapi::api::core::v1::Secret { metadata, data: Some(data), ..Default::default() };
    serde_json::to_value(secret).unwrap()
}

fn report() -> Report {
    Report::new("uid", "10.0.0.1", "1")
}

/// The agent's side of a channel to a fake.
struct Agent {
    api: Fake,
    updates: mpsc::Receiver<ToAgent>,
    reports: watch::Sender<Report>,
    channel: JoinHandle<()>,
}

impl Agent {
    fn start(api: Fake) -> Self {
        let (sender, updates) = mpsc::channel(8);
        let reports = watch::Sender::new(report());
        let ends = Ends { updates: sender, reports: reports.subscribe() };
        let place = Place { namespace: "ns".into(), secret: "app-cluster".into() };
        let channel = tokio::spawn(carry(api.client(), place, "app-0".into(), "uid".into(), ends));
        Self { api, updates, reports, channel }
    }

    /// An agent that was told epoch 1, and whose first report is written.
    async fn settled() -> Self {
        let api = Fake::default();
        api.put(Kind::Secret, Some(secret(&["a"])));
        api.put(Kind::Unit, Some(unit(1, "a")));
        let mut agent = Self::start(api);
        assert_eq!(agent.told(SOON).await, Some(1));
        sleep(MINUTE).await;
        agent.is_written();
        agent
    }

    /// The epoch that the agent is told within that time.
    async fn told(&mut self, within: Duration) -> Option<u64> {
        let ToAgent::Update { assignment, cluster } = timeout(within, self.updates.recv()).await.ok()??;
        assert!(cluster.documents.contains_key(&assignment.revision));
        Some(assignment.epoch)
    }

    fn is_written(&self) {
        assert_eq!(self.api.report(), serde_json::to_value(&*self.reports.borrow()).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_is_told_once_both_halves_of_it_are_there() {
    let mut agent = Agent::start(Fake::default());
    assert_eq!(agent.told(MINUTE).await, None);
    agent.api.put(Kind::Unit, Some(unit(1, "a")));
    assert_eq!(agent.told(MINUTE).await, None);
    agent.api.put(Kind::Secret, Some(secret(&["a"])));
    assert_eq!(agent.told(SOON).await, Some(1));
    // The next order comes before what it names; then the other way round.
    agent.api.put(Kind::Unit, Some(unit(2, "b")));
    assert_eq!(agent.told(MINUTE).await, None);
    agent.api.put(Kind::Secret, Some(secret(&["a", "b", "c"])));
    assert_eq!(agent.told(SOON).await, Some(2));
    agent.api.put(Kind::Unit, Some(unit(3, "c")));
    assert_eq!(agent.told(SOON).await, Some(3));
    // What is gone changes nothing.
    agent.api.put(Kind::Secret, None);
    agent.api.put(Kind::Unit, None);
    assert_eq!(agent.told(HOUR).await, None);
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_lose_nothing() {
    for forget in [false, true] {
        let mut agent = Agent::settled().await;
        agent.api.fault(Fault::Away);
        agent.api.cut(forget);
        agent.api.put(Kind::Secret, Some(secret(&["b"])));
        agent.api.put(Kind::Unit, Some(unit(2, "b")));
        sleep(SECOND).await;
        agent.api.fault(None);
        assert_eq!(agent.told(MINUTE).await, Some(2), "forget: {forget}");
        agent.api.put(Kind::Unit, Some(unit(3, "b")));
        assert_eq!(agent.told(SOON).await, Some(3), "forget: {forget}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_asked_ever_more_rarely_and_found_again() {
    for fault in [Fault::Away, Fault::Refuses(500), Fault::Refuses(503), Fault::Refuses(401)] {
        for fresh in [true, false] {
            let mut agent = if fresh {
                let api = Fake::default();
                api.put(Kind::Secret, Some(secret(&["a"])));
                api.put(Kind::Unit, Some(unit(1, "a")));
                Agent::start(api)
            } else {
                Agent::settled().await
            };
            agent.api.fault(fault);
            agent.api.cut(true);
            agent.reports.send_modify(|report| report.epoch = 7);
            let before = agent.api.requests("").len();
            assert_eq!(agent.told(HOUR).await, None);
            let requests = agent.api.requests("").len() - before;
            // Two watches and the report, each every 15 to 30 seconds.
            assert!((240..800).contains(&requests), "{requests} requests");
            agent.api.fault(None);
            agent.api.put(Kind::Unit, Some(unit(2, "a")));
            assert_eq!(agent.told(31 * SECOND).await, Some(2));
            sleep(31 * SECOND).await;
            agent.is_written();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_settled_channel_is_quiet() {
    let agent = Agent::settled().await;
    assert_eq!(agent.api.writes().len(), 1);
    sleep(HOUR).await;
    agent.api.edit_unit(|unit| unit["spec"]["assignment"]["epoch"] = json!(2));
    sleep(HOUR).await;
    assert_eq!(agent.api.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_others_wait_for_is_written_at_once_and_the_rest_soon_after() {
    let agent = Agent::settled().await;
    let start = Instant::now();
    let change = |change: fn(&mut Report)| agent.reports.send_modify(change);
    change(|report| report.epoch = 2);
    sleep(SOON).await;
    change(|report| report.service = Service::Starting);
    sleep(SOON).await;
    assert_eq!(agent.api.writes().len(), 1);
    change(|report| report.ready = true);
    sleep(SOON).await;
    agent.is_written();
    change(|report| report.service = Service::Running);
    sleep(MINUTE).await;
    agent.is_written();
    let writes: Vec<_> = agent.api.writes()[1..].iter().map(|at| at.duration_since(start)).collect();
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert!(writes[0] < 3 * SOON && (3 * SECOND..4 * SECOND).contains(&writes[1]), "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_joins_costs_three_writes() {
    let api = Fake::default();
    api.put(Kind::Secret, Some(secret(&["a"])));
    api.put(Kind::Unit, Some(unit(1, "a")));
    let mut agent = Agent::start(api);
    agent.told(SOON).await.unwrap();
    agent.reports.send_modify(|report| report.epoch = 1);
    sleep(3 * SOON).await;
    agent.reports.send_modify(|report| {
        report.service = Service::Starting;
        report.check = Some(muster_relation::Check { revision: revision("a"), rejected: None });
        report.applied = Some(Applied { revision: revision("a"), roles: RoleSet::from([Role::Querier]) });
    });
    sleep(SECOND).await;
    agent.reports.send_modify(|report| report.service = Service::Running);
    sleep(5 * SECOND).await;
    agent.reports.send_modify(|report| report.ready = true);
    sleep(MINUTE).await;
    agent.is_written();
    assert_eq!(agent.api.writes().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_flaps_costs_a_write_a_second() {
    let agent = Agent::settled().await;
    for _ in 0..600 {
        agent.reports.send_modify(|report| {
            report.ready = !report.ready;
            report.restarts += 1;
        });
        sleep(SOON).await;
    }
    let writes = agent.api.writes().len();
    assert!((60..75).contains(&writes), "{writes} writes in a minute");
    sleep(3 * SECOND).await;
    agent.is_written();
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_lost_is_written_again() {
    let agent = Agent::settled().await;
    // By hand, with something that merging would leave.
    agent.api.edit_unit(|unit| {
        unit["status"]["report"]["ready"] = json!(true);
        unit["status"]["report"]["lastError"] = json!("made up");
    });
    sleep(SOON).await;
    agent.is_written();
    agent.api.edit_unit(|unit| unit["status"] = json!(null));
    sleep(5 * SECOND).await;
    agent.is_written();
    agent.api.put(Kind::Unit, None);
    sleep(MINUTE).await;
    agent.api.put(Kind::Unit, Some(unit(1, "a")));
    sleep(5 * SECOND).await;
    agent.is_written();
    // Deleted and made while nobody watched.
    agent.api.fault(Fault::Away);
    agent.api.cut(true);
    agent.api.put(Kind::Unit, None);
    agent.api.put(Kind::Unit, Some(unit(1, "a")));
    sleep(MINUTE).await;
    agent.api.fault(None);
    sleep(MINUTE).await;
    agent.is_written();
    assert_eq!(agent.api.writes().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_reported_while_the_api_server_is_away_is_not_lost() {
    let agent = Agent::settled().await;
    for fault in [Fault::Away, Fault::Silent, Fault::RefusesWrites(500), Fault::RefusesWrites(409)] {
        agent.api.fault(fault);
        let before = agent.api.writes().len();
        for _ in 0..60 {
            agent.reports.send_modify(|report| report.restarts += 1);
            sleep(MINUTE).await;
        }
        let tries = agent.api.writes().len() - before;
        assert!((60..300).contains(&tries), "{tries} tries in an hour");
        agent.api.fault(None);
        sleep(45 * SECOND).await;
        agent.is_written();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_to_the_unit_of_another_pod() {
    let agent = Agent::settled().await;
    agent.api.edit_unit(|unit| unit["spec"]["podUID"] = json!("another"));
    // A report that is written before the watch says so is refused by the API server.
    sleep(SOON).await;
    agent.reports.send_modify(|report| report.ready = true);
    sleep(HOUR).await;
    assert_eq!(agent.api.writes().len(), 1);
    // Nor to one that is gone without anybody having seen it go.
    agent.api.cut(true);
    agent.api.put(Kind::Unit, None);
    agent.reports.send_modify(|report| report.ready = false);
    sleep(HOUR).await;
    assert_eq!(agent.api.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_made_again_goes_on_and_reports_once_its_unit_is_about_it() {
    let api = Fake::default();
    api.put(Kind::Secret, Some(secret(&["a"])));
    let mut earlier = unit(7, "a");
    earlier["spec"]["podUID"] = json!("earlier");
    earlier["status"]["report"] = json!({"instance": "earlier"});
    api.put(Kind::Unit, Some(earlier));
    let mut agent = Agent::start(api);
    assert_eq!(agent.told(SOON).await, Some(7), "with no operator there");
    agent.reports.send_modify(|report| report.epoch = 7);
    sleep(HOUR).await;
    assert!(agent.api.writes().is_empty());
    agent.api.edit_unit(|unit| unit["spec"]["podUID"] = json!("uid"));
    sleep(5 * SECOND).await;
    agent.is_written();
    assert_eq!(agent.told(MINUTE).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_says_so_if_it_can_at_once() {
    let Agent { api, updates: _listens, reports, channel } = Agent::settled().await;
    reports.send_modify(|report| report.epoch = 9);
    drop(reports);
    timeout(SOON, channel).await.unwrap().unwrap();
    assert_eq!(api.report()["epoch"], 9);

    let Agent { api, updates: _listens, reports, channel } = Agent::settled().await;
    api.fault(Fault::Silent);
    reports.send_modify(|report| report.epoch = 9);
    drop(reports);
    timeout(SECOND, channel).await.unwrap().unwrap();
}
