//! Multi-tenancy on this machine with the real Mimir, Loki, Tempo and nginx.

use anyhow::ensure;
use hyper::StatusCode;
use muster_testkit::model::{Model, is_active};
use muster_testkit::prometheus::Client;
use muster_testkit::remote_write::{Settings, push_one};
use muster_testkit::wait_until;
use muster_tests::logs::Logs;
use muster_tests::traces::{On, Span};
use muster_tests::{ACTIVE, SAID, documents, model, nothing_left, says};
use serde_json::Value;

const ALL: [&str; 3] = ["mimir", "loki", "tempo"];

/// Where clients talk to.
struct Gateways {
    mimir: String,
    loki: String,
    traces: String,
    http: String,
    grpc: String,
}

impl Gateways {
    async fn of(model: &Model) -> anyhow::Result<Self> {
        Ok(Self {
            mimir: model.gateway("mimir").await?,
            loki: model.endpoint("loki", "query").await?,
            traces: model.endpoint("tempo", "query").await?,
            http: model.endpoint("tempo", "otlp-http").await?,
            grpc: model.endpoint("tempo", "otlp-grpc").await?,
        })
    }

    /// Pushes something of each kind on behalf of a tenant, to be found under `run`.
    async fn push(&self, tenant: Option<&str>, run: &str) -> anyhow::Result<Pushed> {
        let settings =
            Settings { tenant: tenant.map(str::to_owned), ..Settings::new(self.mimir.as_str(), run) };
        push_one(&settings, 7).await?;
        self.logs(tenant, run).push(3).await?;
        let pushed = Pushed { run: run.to_owned(), http: Span::random(), grpc: Span::random() };
        let answer = On(tenant).otlp_http(&self.http, &pushed.http, run).await?;
        ensure!(answer.status == StatusCode::OK, "{} {}", answer.status, answer.excerpt());
        let answer = On(tenant).otlp_grpc(&self.grpc, &pushed.grpc, run).await?;
        ensure!(answer.grpc_status.as_deref() == Some("0"), "{answer:?}");
        Ok(pushed)
    }

    fn logs(&self, tenant: Option<&str>, run: &str) -> Logs {
        let logs = Logs::new(&self.loki, run);
        match tenant {
            Some(tenant) => logs.of_tenant(tenant),
            None => logs,
        }
    }

    /// What a tenant sees of it: whether its sample, its lines and both of its spans are there.
    async fn seen(&self, tenant: Option<&str>, pushed: &Pushed) -> anyhow::Result<[bool; 4]> {
        let run = &pushed.run;
        let client = Client { tenant: tenant.map(str::to_owned), ..Client::new(self.mimir.as_str()) };
        let sample = client.read_back(run).await?.contains(&7);
        let lines = self.logs(tenant, run).lines(&format!("{{run={run:?}}}")).await?;
        let mut spans = [false; 2];
        for (seen, span) in spans.iter_mut().zip([&pushed.http, &pushed.grpc]) {
            let status = On(tenant).trace(&self.traces, span.trace).await?;
            ensure!([StatusCode::OK, StatusCode::NOT_FOUND].contains(&status), "{status}");
            *seen = status == StatusCode::OK;
        }
        Ok([sample, lines.len() == 3, spans[0], spans[1]])
    }

    async fn sees_all(&self, tenant: Option<&str>, pushed: &Pushed) -> anyhow::Result<()> {
        let mut last = String::new();
        let what = format!("{} for {tenant:?}", pushed.run);
        let seen = wait_until(&what, SAID, async || {
            let seen = self.seen(tenant, pushed).await;
            last = format!("{seen:?}");
            seen.ok().filter(|seen| *seen == [true; 4]).map(drop)
        });
        seen.await.map_err(|error| error.context(last))
    }
}

/// A sample, lines and spans of one run.
struct Pushed {
    run: String,
    http: Span,
    grpc: Span,
}

fn revisions(status: &Value) -> [Value; 3] {
    ALL.map(|name| status["applications"][name]["revision"].clone())
}

/// Switches multi-tenancy on in all three, and waits until every unit has taken it up.
async fn switch_on(model: &Model) -> anyhow::Result<()> {
    let before = revisions(&model.status().await?);
    for name in ALL {
        model.muster(&["config", name, "multi-tenancy=true"]).await?;
    }
    let other = |status: &Value| revisions(status).iter().zip(&before).all(|(now, before)| now != before);
    model.wait("multi-tenancy to be on", ACTIVE, |status| is_active(status) && other(status)).await?;
    Ok(())
}

/// Off, it makes no difference what clients say. On, data is its tenant's, and who names none is refused, in all three products. What
/// was written before belongs to a tenant with a name.
#[tokio::test]
async fn data_is_its_tenants_alone_where_clients_name_them() -> anyhow::Result<()> {
    let mut model = model()?;
    model.up(Some(&documents::example("lgtm")?))?;
    model.wait_active(ACTIVE).await?;
    let gateways = Gateways::of(&model).await?;
    let old = gateways.push(Some("a"), "before").await?;
    for tenant in [None, Some("b")] {
        gateways.sees_all(tenant, &old).await?;
    }

    // The load balancer must know of it.
    let checked = documents::example("lgtm")?
        .replace("product: loki\n  version", "product: loki\n  overrides: {auth_enabled: true}\n  version");
    let path = model.directory().with_file_name("checked.yaml");
    std::fs::write(&path, checked)?;
    let output = model.run(&["check", &path.to_string_lossy()]).await?;
    let wrapped = String::from_utf8_lossy(&output.stdout).into_owned();
    says(
        &wrapped.split_whitespace().collect::<Vec<_>>().join(" "),
        &["muster config loki multi-tenancy=true"],
    )?;

    switch_on(&model).await?;
    let a = gateways.push(Some("a"), "tenants").await?;
    gateways.sees_all(Some("a"), &a).await?;
    ensure!(gateways.seen(Some("b"), &a).await? == [false; 4]);
    refused(&gateways, &a).await?;
    // What was written without tenants.
    let one = |name: &'static str| async { gateways.seen(Some(name), &old).await };
    ensure!(one("anonymous").await?[0] && one("fake").await?[1]);
    ensure!(one("single-tenant").await?[2..] == [true; 2]);
    ensure!(one("a").await? == [false; 4]);

    // Units flush and leave as ever.
    for name in ALL {
        let (charm, next) = (format!("{name}-worker-k8s"), format!("{name}-next"));
        model.muster(&["deploy", &charm, &next]).await?;
        model.muster(&["integrate", name, &next]).await?;
    }
    let all = |status: &Value| {
        is_active(status) && ALL.iter().all(|name| !status["applications"][format!("{name}-next")].is_null())
    };
    model.wait("the next workers", ACTIVE, all).await?;
    for name in ALL {
        model.muster(&["remove-application", "--yes", &format!("{name}-worker")]).await?;
    }
    let gone = |status: &Value| {
        is_active(status) && ALL.iter().all(|name| status["applications"][format!("{name}-worker")].is_null())
    };
    model.wait("the first workers to be gone", ACTIVE, gone).await?;
    let found = async || {
        let [.., http, grpc] = gateways.seen(Some("a"), &a).await.ok()?;
        (http && grpc).then_some(())
    };
    wait_until("spans that were flushed", SAID, found).await?;
    let b = gateways.seen(Some("b"), &a).await?;
    ensure!(b == [false; 4], "{b:?}");
    model.stop().await?;
    nothing_left(&model)
}

/// Whatever names no tenant.
async fn refused(gateways: &Gateways, pushed: &Pushed) -> anyhow::Result<()> {
    let run = &pushed.run;
    let unauthorized = |what: &str, answer: anyhow::Result<()>| match answer {
        Ok(()) => Err(anyhow::anyhow!("{what} is not refused")),
        Err(error) => says(&format!("{error:#}"), &["401"]),
    };
    let client = Client::new(gateways.mimir.as_str());
    unauthorized("a sample", push_one(&Settings::new(gateways.mimir.as_str(), run.as_str()), 8).await)?;
    unauthorized("a query of metrics", client.read_back(run).await.map(drop))?;
    unauthorized("a line", gateways.logs(None, run).push(1).await.map(drop))?;
    unauthorized("a query of logs", gateways.logs(None, run).lines("{a=\"b\"}").await.map(drop))?;
    ensure!(On(None).trace(&gateways.traces, pushed.http.trace).await? == StatusCode::UNAUTHORIZED);
    let answer = On(None).otlp_http(&gateways.http, &Span::random(), run).await?;
    let grpc = On(None).otlp_grpc(&gateways.grpc, &Span::random(), run).await?;
    ensure!(answer.status == StatusCode::UNAUTHORIZED, "{} {}", answer.status, answer.excerpt());
    ensure!(grpc.status == StatusCode::UNAUTHORIZED, "{grpc:?}");
    Ok(())
}
