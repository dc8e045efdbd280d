//! Every path of every product's HTTP API, tried through the load balancer with the real servers: what is for clients reaches the
//! role that serves it, all else is refused by the load balancer itself, with every method and however it is spelled.
//!
//! Each role runs in a process of its own, so that a path that goes to the wrong one is not found there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use hyper::header::{CONTENT_TYPE, HeaderName, UPGRADE};
use hyper::{Method, StatusCode};
use muster_model::Product;
use muster_model::route::{PathMatch, Protocol};
use muster_products::{charm, workload};
use muster_testkit::http::{Client, Response};
use muster_testkit::model::Model;
use muster_testkit::{servers, wait_until};
use muster_tests::traces::grpc;
use muster_tests::{ACTIVE, SAID, model, nothing_left};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);
const METHODS: [Method; 6] =
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];

/// A path of a product's API, as the product's own router writes it.
struct Path {
    template: &'static str,
    /// The methods that clients use. Empty: it is not for clients.
    methods: &'static [Method],
    /// Whether the product knows it as Muster configures it.
    known: bool,
}

const fn open(template: &'static str, methods: &'static [Method]) -> Path {
    Path { template, methods, known: true }
}

const fn closed(template: &'static str) -> Path {
    Path { template, methods: &[], known: true }
}

/// Not for clients, and there only with settings that users may make.
const fn dormant(template: &'static str) -> Path {
    Path { template, methods: &[], known: false }
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const ASK: &[Method] = &[Method::GET, Method::POST];
const KEEP: &[Method] = &[Method::GET, Method::POST, Method::DELETE];

const MIMIR: &[Path] = &[
    open("/api/v1/push", POST),
    open("/api/v1/push/influx/write", POST),
    open("/otlp/v1/metrics", POST),
    open("/prometheus/api/v1/read", POST),
    open("/prometheus/api/v1/query", ASK),
    open("/prometheus/api/v1/query_range", ASK),
    open("/prometheus/api/v1/query_exemplars", ASK),
    open("/prometheus/api/v1/labels", ASK),
    open("/prometheus/api/v1/label/{name}/values", GET),
    open("/prometheus/api/v1/series", KEEP),
    open("/prometheus/api/v1/metadata", GET),
    open("/prometheus/api/v1/cardinality/label_names", ASK),
    open("/prometheus/api/v1/cardinality/label_values", ASK),
    open("/prometheus/api/v1/cardinality/active_series", ASK),
    open("/prometheus/api/v1/cardinality/active_native_histogram_metrics", ASK),
    open("/prometheus/api/v1/format_query", ASK),
    open("/prometheus/api/v1/status/buildinfo", GET),
    open("/prometheus/api/v1/rules", GET),
    open("/prometheus/api/v1/alerts", GET),
    open("/prometheus/config/v1/rules", GET),
    open("/prometheus/config/v1/rules/{namespace}", KEEP),
    open("/prometheus/config/v1/rules/{namespace}/{groupName}", &[Method::GET, Method::DELETE]),
    open("/api/v1/status/buildinfo", GET),
    open("/api/v1/alerts", KEEP),
    open("/alertmanager", GET),
    open("/alertmanager/api/v2/alerts", ASK),
    open("/alertmanager/api/v2/alerts/groups", GET),
    open("/alertmanager/api/v2/silences", ASK),
    open("/alertmanager/api/v2/silence/{id}", &[Method::GET, Method::DELETE]),
    open("/alertmanager/api/v2/status", GET),
    open("/alertmanager/api/v2/receivers", GET),
    open("/alertmanager/api/v1/status/buildinfo", GET),
    open("/api/v1/upload/block/{block}/start", POST),
    open("/api/v1/upload/block/{block}/files", POST),
    open("/api/v1/upload/block/{block}/finish", POST),
    open("/api/v1/upload/block/{block}/check", GET),
    closed("/config"),
    dormant("/runtime_config"),
    closed("/services"),
    closed("/memberlist"),
    closed("/metrics"),
    closed("/static/{file}"),
    closed("/debug/pprof"),
    closed("/debug/pprof/heap"),
    closed("/debug/fgprof"),
    closed("/api/v1/status/config"),
    closed("/api/v1/status/flags"),
    dormant("/api/v1/user_limits"),
    closed("/api/v1/user_stats"),
    closed("/distributor/ring"),
    closed("/distributor/all_user_stats"),
    closed("/distributor/ha_tracker"),
    closed("/ingester/ring"),
    closed("/ingester/flush"),
    closed("/ingester/shutdown"),
    closed("/ingester/prepare-shutdown"),
    closed("/ingester/prepare-partition-downscale"),
    closed("/ingester/prepare-instance-ring-downscale"),
    closed("/ingester/unregister-on-shutdown"),
    closed("/ingester/tsdb_metrics"),
    closed("/ingester/tenants"),
    closed("/ingester/tsdb/{tenant}"),
    closed("/store-gateway/ring"),
    closed("/store-gateway/tenants"),
    closed("/store-gateway/tenant/{tenant}/blocks"),
    closed("/store-gateway/prepare-shutdown"),
    closed("/compactor/ring"),
    closed("/compactor/delete_tenant"),
    closed("/compactor/delete_tenant_status"),
    closed("/compactor/tenants"),
    closed("/compactor/tenant/{tenant}/planned_jobs"),
    closed("/ruler/ring"),
    closed("/ruler/tenants"),
    closed("/ruler/rule_groups"),
    closed("/ruler/tenant/{tenant}/rule_groups"),
    closed("/ruler/delete_tenant_config"),
    closed("/multitenant_alertmanager/status"),
    closed("/multitenant_alertmanager/configs"),
    closed("/multitenant_alertmanager/ring"),
    closed("/multitenant_alertmanager/delete_tenant_config"),
    closed("/query-scheduler/ring"),
    closed("/overrides-exporter/ring"),
];

const LOKI: &[Path] = &[
    open("/loki/api/v1/push", POST),
    open("/otlp/v1/logs", POST),
    open("/api/prom/push", POST),
    open("/loki/api/v1/query", ASK),
    open("/loki/api/v1/query_range", ASK),
    open("/loki/api/v1/labels", ASK),
    open("/loki/api/v1/label", ASK),
    open("/loki/api/v1/label/{name}/values", ASK),
    open("/loki/api/v1/series", ASK),
    open("/loki/api/v1/index/stats", ASK),
    open("/loki/api/v1/index/shards", ASK),
    open("/loki/api/v1/index/volume", ASK),
    open("/loki/api/v1/index/volume_range", ASK),
    open("/loki/api/v1/patterns", ASK),
    open("/loki/api/v1/detected_labels", ASK),
    open("/loki/api/v1/detected_fields", ASK),
    open("/loki/api/v1/detected_field/{name}/values", ASK),
    open("/loki/api/v1/tail", ASK),
    open("/loki/api/v1/format_query", ASK),
    open("/loki/api/v1/drilldown-limits", GET),
    open("/loki/api/v1/status/buildinfo", GET),
    open("/loki/api/v1/delete", &[Method::GET, Method::POST, Method::PUT, Method::DELETE]),
    open("/loki/api/v1/cache/generation_numbers", GET),
    open("/loki/api/v1/rules", GET),
    open("/loki/api/v1/rules/{namespace}", KEEP),
    open("/loki/api/v1/rules/{namespace}/{groupName}", &[Method::GET, Method::DELETE]),
    open("/api/prom/rules", GET),
    open("/api/prom/rules/{namespace}", KEEP),
    open("/api/prom/rules/{namespace}/{groupName}", &[Method::GET, Method::DELETE]),
    open("/prometheus/api/v1/rules", GET),
    open("/prometheus/api/v1/alerts", GET),
    open("/api/prom/query", ASK),
    open("/api/prom/label", ASK),
    open("/api/prom/label/{name}/values", ASK),
    open("/api/prom/series", ASK),
    open("/api/prom/tail", ASK),
    closed("/config"),
    closed("/config/tenant/v1/limits"),
    closed("/services"),
    closed("/memberlist"),
    closed("/log_level"),
    closed("/metrics"),
    closed("/debug/pprof"),
    closed("/debug/pprof/heap"),
    closed("/debug/fgprof"),
    closed("/ring"),
    closed("/distributor/ring"),
    closed("/scheduler/ring"),
    closed("/ruler/ring"),
    closed("/indexgateway/ring"),
    closed("/compactor/ring"),
    closed("/compactor/ui/api/v1/deletes"),
    closed("/flush"),
    closed("/ingester/shutdown"),
    closed("/ingester/prepare_shutdown"),
    closed("/ingester/prepare_partition_downscale"),
    dormant("/analytics"),
];

const TEMPO: &[Path] = &[
    open("/api/traces/{traceID}", GET),
    open("/api/v2/traces/{traceID}", GET),
    open("/api/search", GET),
    open("/api/search/tags", GET),
    open("/api/search/tag/{tagName}/values", GET),
    open("/api/v2/search/tags", GET),
    open("/api/v2/search/tag/{tagName}/values", GET),
    open("/api/metrics/summary", GET),
    open("/api/metrics/query", GET),
    open("/api/metrics/query_range", GET),
    open("/api/overrides", &[Method::GET, Method::POST, Method::PATCH, Method::DELETE]),
    open("/api/echo", GET),
    open("/api/status/buildinfo", GET),
    closed("/status"),
    closed("/status/{endpoint}"),
    closed("/status/overrides"),
    closed("/status/overrides/{tenant}"),
    closed("/status/usage-stats"),
    closed("/memberlist"),
    closed("/metrics"),
    closed("/static"),
    closed("/debug/pprof"),
    closed("/flush"),
    closed("/shutdown"),
    closed("/ingester/ring"),
    dormant("/distributor/ring"),
    closed("/compactor/ring"),
    closed("/metrics-generator/ring"),
    closed("/generator/api/metrics"),
    closed("/generator/api/metrics/query_range"),
    closed("/querier/api/traces/{traceID}"),
    closed("/querier/api/v2/traces/{traceID}"),
    closed("/querier/api/search"),
    closed("/querier/api/search/tags"),
    closed("/querier/api/search/tag/{tagName}/values"),
    closed("/querier/api/v2/search/tags"),
    closed("/querier/api/v2/search/tag/{tagName}/values"),
    closed("/querier/api/metrics/summary"),
    closed("/querier/api/metrics/query_range"),
];

/// What stands for the parts of a path that are free.
const VALUES: [(&str, &str); 10] = [
    ("{block}", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ("{endpoint}", "config"),
    ("{file}", "mimir-styles.css"),
    ("{groupName}", "group"),
    ("{id}", "7d8a26f4-6b5b-4d57-9d3c-3c4f5c2f3a10"),
    ("{name}", "job"),
    ("{namespace}", "name.space"),
    ("{tagName}", "service.name"),
    ("{tenant}", "anonymous"),
    ("{traceID}", "0123456789abcdef0123456789abcdef"),
];

impl Path {
    fn is_open(&self) -> bool {
        !self.methods.is_empty()
    }

    /// A request path of that form.
    fn sample(&self) -> String {
        VALUES.iter().fold(self.template.to_owned(), |path, (name, value)| path.replace(name, value))
    }

    /// Whether it is the same as a path of the server: one link, or one route with its own names of the free parts.
    fn is(&self, other: &str) -> bool {
        let other = other.trim_end_matches('/');
        let (mut own, mut others) = (self.template.split('/'), other.split('/'));
        loop {
            match (own.next(), others.next()) {
                (None, None) => return true,
                (Some(own), Some(other)) if own == other || own.starts_with('{') => {}
                _ => return false,
            }
        }
    }
}

/// An answer of the load balancer for what it does not pass.
fn is_refusal(answer: &Response) -> bool {
    let said = answer.excerpt();
    (answer.status == StatusCode::NOT_FOUND && said == "not found: this path is not served here\n")
        || (answer.status == StatusCode::BAD_REQUEST
            && said.starts_with("the path has empty or dot segments"))
}

/// An answer of a process that does not know the path, or not with this method.
fn is_unknown(answer: &Response) -> bool {
    answer.status == StatusCode::METHOD_NOT_ALLOWED
        || (answer.status == StatusCode::NOT_FOUND && answer.excerpt() == "404 page not found\n")
}

/// Ways in which somebody could write `path` to get past the load balancer, given the paths that it passes.
fn disguises(path: &str, passed: &[&str]) -> Vec<String> {
    let below = path.trim_start_matches('/');
    let letter = below.as_bytes().first().copied().unwrap_or_default();
    let rest = below.get(1..).unwrap_or_default();
    let mut all = vec![
        format!("/{path}"),
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}/."),
        format!("{path}%2F"),
        format!("{path};x=1"),
        format!("{path}?x=/api"),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("/%2E{path}"),
        format!("/x/%2e%2E{path}"),
        format!("/x/.%2e{path}"),
        format!("/%2F{below}"),
        format!("/%{letter:02X}{rest}"),
        format!("/{}", below.replace('/', "//")),
        format!("/{}", below.replace('/', "%2F")),
        format!("/{}", below.replace('/', "/./")),
        format!("http://elsewhere{path}"),
    ];
    if path.to_uppercase() != path {
        all.push(path.to_uppercase());
    }
    for start in passed {
        let up = start.matches('/').count();
        all.push(format!("{start}{}{path}", "/..".repeat(up)));
        all.push(format!("{start}{}{path}", "/%2e%2e".repeat(up)));
        all.push(format!("{start}{}%2F{below}", "%2f..".repeat(up)));
        all.push(format!("http://elsewhere{start}{}{path}", "/..".repeat(up)));
    }
    all
}

async fn ask(client: &mut Client, method: Method, path: &str) -> anyhow::Result<Response> {
    let answer = client.send(method.clone(), path, &[], Bytes::new(), DEADLINE).await;
    answer.with_context(|| format!("{method} {path}"))
}

/// The HTTP addresses of all units that run the product, by name.
async fn units(model: &Model, coordinator: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let status = model.status().await?;
    let workers = status["applications"].as_object().into_iter().flatten();
    let workers = workers.filter(|(_, app)| app["relations"]["cluster"] == coordinator);
    let units = workers.flat_map(|(_, app)| app["units"].as_object().into_iter().flatten());
    let units = units.map(|(name, unit)| {
        let address = unit["address"].as_str().with_context(|| format!("{name} has no address"))?;
        anyhow::Ok((name.clone(), format!("http://{address}:8080")))
    });
    units.collect()
}

/// Tries every path through the load balancer at `gateway`.
async fn every_path(gateway: &str, product: Product, paths: &[Path]) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    let mut client = Client::new(gateway)?;
    for path in paths.iter().filter(|path| path.is_open()) {
        for method in path.methods {
            let answer = ask(&mut client, method.clone(), &path.sample()).await?;
            let (status, said) = (answer.status, answer.excerpt());
            // The load balancer's own words for a role that is not there, or not reached.
            let lost =
                [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
            if is_refusal(&answer) || is_unknown(&answer) || lost.contains(&status) {
                problems.push(format!("{method} {}: {status} {said:?}", path.template));
            }
        }
    }
    let passed: BTreeSet<&str> = routes(product).map(|(_, path)| path).collect();
    let passed: Vec<&str> = passed.into_iter().collect();
    let admin = paths.iter().filter(|path| !path.is_open()).map(Path::sample);
    let tries: Vec<_> = admin
        .flat_map(|path| std::iter::once(path.clone()).chain(disguises(&path, &passed)).collect::<Vec<_>>())
        .flat_map(|path| METHODS.map(|method| (method, path.clone())))
        .collect();
    ensure!(tries.len() > 1000, "{} tries", tries.len());
    let tried = tries.chunks(tries.len() / 8 + 1).map(async |tries| {
        let mut client = Client::new(gateway)?;
        let mut problems = Vec::new();
        for (method, path) in tries {
            let answer = ask(&mut client, method.clone(), path).await?;
            if !is_refusal(&answer) {
                problems.push(format!("{method} {path}: {} {:?}", answer.status, answer.excerpt()));
            }
        }
        anyhow::Ok(problems)
    });
    problems.extend(try_join_all(tried).await?.into_iter().flatten());
    ensure!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    Ok(())
}

/// The paths that the load balancer passes on the product's main port, and whether what is below is passed as well.
fn routes(product: Product) -> impl Iterator<Item = (bool, &'static str)> {
    let (options, _) = charm::coordinator(product).validate(&BTreeMap::new());
    let main = workload(product).listeners(&options).into_iter().next();
    main.into_iter().flat_map(|listener| listener.routes).map(|route| match route.path {
        PathMatch::Exact(path) => (false, path),
        PathMatch::Prefix(path) => (true, path),
    })
}

/// The table has a path for everything that the load balancer passes.
fn no_route_is_untried(product: Product, paths: &[Path]) -> anyhow::Result<()> {
    for (below, route) in routes(product) {
        let tried = paths.iter().filter(|path| path.is_open()).map(Path::sample).any(|path| {
            path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || below && rest.starts_with('/'))
        });
        ensure!(tried, "no path of the table goes to {route}");
    }
    Ok(())
}

/// Every path of the table is one that some unit knows: none is misspelled. `PATCH` is a method that nothing acts on.
async fn every_path_is_known(units: &BTreeMap<String, String>, paths: &[Path]) -> anyhow::Result<()> {
    let mut clients = units.values().map(|base| Client::new(base)).collect::<Result<Vec<_>, _>>()?;
    let mut unknown = Vec::new();
    for path in paths.iter().filter(|path| path.known) {
        let mut known = false;
        for client in &mut clients {
            let answer = ask(client, Method::PATCH, &path.sample()).await?;
            known |= answer.status == StatusCode::METHOD_NOT_ALLOWED || !is_unknown(&answer);
        }
        unknown.extend((!known).then_some(path.template));
    }
    ensure!(unknown.is_empty(), "no unit knows {unknown:?}");
    Ok(())
}

/// Every path that the servers tell of is in the table.
fn every_told_path_is_tried(told: &BTreeSet<String>, paths: &[Path]) -> anyhow::Result<()> {
    let new: Vec<_> = told.iter().filter(|told| !paths.iter().any(|path| path.is(told))).collect();
    ensure!(new.is_empty(), "the table lacks {new:?}");
    Ok(())
}

fn document(product: Product, coordinator: &str, roles: &[&str]) -> String {
    let head = "apiVersion: muster.dev/v1alpha1\nkind:";
    let mut text = format!(
        "{head} Coordinator\nmetadata: {{name: {product}}}\nspec:\n  product: {product}\n  s3: {{secret: s3}}\n{coordinator}"
    );
    for role in roles {
        text += &format!(
            "---\n{head} Worker\nmetadata: {{name: {role}}}\nspec: {{product: {product}, coordinator: {product}, roles: {{{role}: true}}}}\n"
        );
    }
    text
}

async fn up(text: &str) -> anyhow::Result<Model> {
    let mut model = model()?;
    model.up(Some(text))?;
    model.wait_active(ACTIVE).await?;
    Ok(model)
}

#[tokio::test]
async fn mimir() -> anyhow::Result<()> {
    let overrides = "  overrides:\n    distributor: {influx_endpoint_enabled: true}\n    limits: {compactor_block_upload_enabled: true, \
                     compactor_block_upload_validation_enabled: false}\n";
    let roles = [
        "alertmanager",
        "compactor",
        "distributor",
        "ingester",
        "overrides-exporter",
        "querier",
        "query-frontend",
        "query-scheduler",
        "ruler",
        "store-gateway",
    ];
    no_route_is_untried(Product::Mimir, MIMIR)?;
    let mut model = up(&document(Product::Mimir, overrides, &roles)).await?;
    let units = units(&model, "mimir").await?;
    ensure!(units.len() == roles.len());
    every_path_is_known(&units, MIMIR).await?;
    // Each unit's index page has links to the pages of its roles.
    let mut told = BTreeSet::new();
    for base in units.values() {
        let page = Client::new(base)?.get("/", DEADLINE).await?;
        let page = String::from_utf8_lossy(&page).into_owned();
        let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split(['"', '?']).next());
        told.extend(links.filter(|link| link.starts_with('/')).map(str::to_owned));
    }
    ensure!(told.len() > 15, "{told:?}");
    every_told_path_is_tried(&told, MIMIR)?;

    let gateway = model.gateway("mimir").await?;
    every_path(&gateway, Product::Mimir, MIMIR).await?;
    a_large_push_passes(&gateway).await?;
    a_block_is_uploaded(&gateway).await?;
    // What Prometheus' Alertmanager shows beside its API is closed by Mimir itself.
    let mut client = Client::new(&gateway)?;
    for path in ["/alertmanager/metrics", "/alertmanager/-/reload", "/alertmanager/debug/pprof/heap"] {
        let answer = ask(&mut client, Method::POST, path).await?;
        ensure!(answer.status.is_client_error(), "{path}: {} {}", answer.status, answer.excerpt());
    }
    model.stop().await?;
    nothing_left(&model)
}

const JSON: (HeaderName, &str) = (CONTENT_TYPE, "application/json");

async fn sent(gateway: &str, method: Method, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Response> {
    let answer = Client::new(gateway)?.send(method, path, &[JSON], body, DEADLINE).await?;
    ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.excerpt());
    Ok(answer)
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Milliseconds since 1970, UTC.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// Four megabytes of samples in one request.
async fn a_large_push_passes(gateway: &str) -> anyhow::Result<()> {
    let points: Vec<_> = (0..2000)
        .map(|n| {
            let label = json!({ "key": "label", "value": { "stringValue": format!("{n:02000}") } });
            json!({ "asInt": "1", "timeUnixNano": format!("{}000000", now()), "attributes": [label] })
        })
        .collect();
    let metric = json!({ "name": "large", "gauge": { "dataPoints": points } });
    let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] }).to_string();
    ensure!(body.len() > 4_000_000);
    sent(gateway, Method::POST, "/otlp/v1/metrics", body).await?;
    Ok(())
}

/// A block in two files, one of several megabytes, in the steps that `mimirtool backfill` takes.
async fn a_block_is_uploaded(gateway: &str) -> anyhow::Result<()> {
    let base = "/api/v1/upload/block/01BX5ZZKBKACTAV9WEVGEMMVS0";
    let (index, chunks) = (Bytes::from(vec![7; 12_000_000]), Bytes::from(vec![8; 300_000]));
    let file = |path: &str, body: &Bytes| json!({ "rel_path": path, "size_bytes": body.len() });
    // An hour of yesterday: Mimir refuses a block of more than one day (UTC), which an hour before now is after midnight.
    let today = now() / DAY_MS * DAY_MS;
    let meta = json!({
        "version": 1, "minTime": today - 2 * HOUR_MS, "maxTime": today - HOUR_MS, "compaction": { "level": 1 },
        "thanos": { "version": 1, "files": [file("index", &index), file("chunks/000001", &chunks), { "rel_path": "meta.json" }] },
    });
    sent(gateway, Method::POST, &format!("{base}/start"), meta.to_string()).await?;
    sent(gateway, Method::POST, &format!("{base}/files?path=index"), index).await?;
    sent(gateway, Method::POST, &format!("{base}/files?path=chunks%2F000001"), chunks).await?;
    sent(gateway, Method::POST, &format!("{base}/finish"), Bytes::new()).await?;
    let checked = sent(gateway, Method::GET, &format!("{base}/check"), Bytes::new()).await?;
    ensure!(checked.excerpt().contains("\"complete\""), "{}", checked.excerpt());
    Ok(())
}

/// The services that Loki's units have. Loki tells no routes, but which parts run: another one could have routes of its own.
const LOKI_SERVICES: [&str; 18] = [
    "cache-generation-loader",
    "compactor",
    "distributor",
    "index-gateway",
    "index-gateway-ring",
    "ingester",
    "ingester-querier",
    "memberlist-kv",
    "querier",
    "query-frontend",
    "query-frontend-tripperware",
    "query-scheduler",
    "query-scheduler-ring",
    "ring",
    "rule-evaluator",
    "ruler",
    "server",
    "store",
];

/// Every text of Loki's program that begins as the paths of its API do begins with one of the table. What follows it there is
/// another text: Go puts no end between them.
fn every_path_in_the_program_is_tried(paths: &[Path]) -> anyhow::Result<()> {
    let program = std::fs::read(servers::LOKI.built())?;
    let (mut seen, mut from) = (0, 0);
    while let Some(next) = program[from..].iter().position(|byte| *byte == b'/') {
        let text = &program[from + next..];
        from += next + 1;
        if [&b"/loki/api/v1/"[..], b"/api/prom/"].iter().any(|start| text.starts_with(start)) {
            seen += 1;
            let known = paths.iter().any(|path| text.starts_with(path.template.as_bytes()));
            let text = String::from_utf8_lossy(&text[..text.len().min(80)]);
            ensure!(known, "the table lacks the path with which this begins: {text}");
        }
    }
    ensure!(seen > 25, "{seen} paths in the program");
    Ok(())
}

#[tokio::test]
async fn loki() -> anyhow::Result<()> {
    let roles = ["backend", "read", "write"];
    no_route_is_untried(Product::Loki, LOKI)?;
    every_path_in_the_program_is_tried(LOKI)?;
    let mut model = up(&document(Product::Loki, "", &roles)).await?;
    let units = units(&model, "loki").await?;
    ensure!(units.len() == roles.len());
    every_path_is_known(&units, LOKI).await?;
    let mut services = BTreeSet::new();
    for base in units.values() {
        let page = Client::new(base)?.get("/services", DEADLINE).await?;
        let lines = String::from_utf8_lossy(&page).into_owned();
        services.extend(lines.lines().filter_map(|line| Some(line.split_once(" => ")?.0.to_owned())));
    }
    let new: Vec<_> = services.iter().filter(|name| !LOKI_SERVICES.contains(&name.as_str())).collect();
    ensure!(new.is_empty(), "look for the routes of these services: {new:?}");

    let gateway = model.endpoint("loki", "query").await?;
    every_path(&gateway, Product::Loki, LOKI).await?;
    // Four megabytes in one push: 40 lines of 100 kB.
    let values: Vec<_> = (0..40).map(|n| json!([format!("{}{n:06}", now()), "x".repeat(100_000)])).collect();
    let body = json!({ "streams": [{ "stream": { "run": "large" }, "values": values }] }).to_string();
    sent(&gateway, Method::POST, "/loki/api/v1/push", body).await?;
    // Only the tail is upgraded, and only to a WebSocket.
    let switched = async |path: &str, to: &str| {
        let headers = [
            (hyper::header::CONNECTION, "Upgrade"),
            (UPGRADE, to),
            (hyper::header::SEC_WEBSOCKET_VERSION, "13"),
            (hyper::header::SEC_WEBSOCKET_KEY, "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        let answer = Client::new(&gateway)?.send(Method::GET, path, &headers, Bytes::new(), DEADLINE).await?;
        anyhow::Ok(answer.status == StatusCode::SWITCHING_PROTOCOLS)
    };
    let query = "query=%7Brun%3D%22large%22%7D";
    for path in ["/loki/api/v1/tail", "/api/prom/tail"] {
        ensure!(switched(&format!("{path}?{query}"), "WebSocket").await?, "{path}");
        ensure!(!switched(&format!("{path}?{query}"), "h2c").await?, "{path}");
    }
    for path in ["/loki/api/v1/query", "/loki/api/v1/query_range", "/loki/api/v1/labels"] {
        ensure!(!switched(&format!("{path}?{query}"), "websocket").await?, "{path}");
    }
    model.stop().await?;
    nothing_left(&model)
}

#[tokio::test]
async fn tempo() -> anyhow::Result<()> {
    let roles = ["compactor", "distributor", "ingester", "metrics-generator", "querier", "query-frontend"];
    let place = tempfile::tempdir()?;
    // The overrides that users may set themselves.
    let coordinator = format!(
        "  config: {{always-enable-otlp-grpc: true, always-enable-otlp-http: true, always-enable-zipkin: true,\n    \
         always-enable-jaeger-grpc: true, always-enable-jaeger-thrift-http: true}}\n  overrides: {{overrides: \
         {{user_configurable_overrides: {{enabled: true, client: {{backend: local, local: {{path: {}}}}}}}}}}}\n",
        place.path().display()
    );
    no_route_is_untried(Product::Tempo, TEMPO)?;
    let mut model = up(&document(Product::Tempo, &coordinator, &roles)).await?;
    let units = units(&model, "tempo").await?;
    ensure!(units.len() == roles.len());
    let mut told = BTreeSet::new();
    for base in units.values() {
        let page = Client::new(base)?.get("/status/endpoints", DEADLINE).await?;
        let page = String::from_utf8_lossy(&page).into_owned();
        let names = page.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
        told.extend(names.filter(|name| name.starts_with('/')).map(str::to_owned));
    }
    ensure!(told.len() > 20, "{told:?}");
    told.remove("/ready");
    every_told_path_is_tried(&told, TEMPO)?;
    let unknown = TEMPO.iter().filter(|path| path.known && !told.iter().any(|told| path.is(told)));
    let unknown: Vec<_> = unknown.map(|path| path.template).collect();
    ensure!(unknown.is_empty(), "no unit knows {unknown:?}");

    let gateway = model.endpoint("tempo", "query").await?;
    every_path(&gateway, Product::Tempo, TEMPO).await?;
    let host = gateway.trim_start_matches("http://").rsplit_once(':').context("a port")?.0.to_owned();
    receivers_take_spans_alone(&host).await?;
    // Four megabytes of spans in one push, each the only one of its trace.
    let spans: Vec<_> = (1..=2000)
        .map(|n| {
            let attribute = json!({ "key": "large", "value": { "stringValue": "x".repeat(2000) } });
            json!({
                "traceId": format!("{n:032x}"), "spanId": format!("{n:016x}"), "name": "op", "attributes": [attribute],
                "startTimeUnixNano": format!("{}000000", now()), "endTimeUnixNano": format!("{}000000", now() + 1),
            })
        })
        .collect();
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
    ensure!(body.len() > 4_000_000);
    let receiver = model.endpoint("tempo", "otlp-http").await?;
    // A distributor takes spans once it has heard of an ingester, which may be a moment after both are ready.
    let mut last = None;
    wait_until("a large push", SAID, async || {
        last = Some(sent(&receiver, Method::POST, "/v1/traces", body.clone()).await);
        last.as_ref().is_some_and(Result::is_ok).then_some(())
    })
    .await
    .with_context(|| format!("{last:?}"))?;
    // Answers of searches as a stream; everything else on that port is closed.
    let streaming = format!("{host}:9096");
    for method in ["Search", "SearchTags", "SearchTagsV2", "SearchTagValuesV2", "MetricsQueryRange"] {
        let answer = grpc(&streaming, &format!("/tempopb.StreamingQuerier/{method}"), &[]).await?;
        let unknown = ["12", "14"].map(|code| Some(code.to_owned())).contains(&answer.grpc_status);
        ensure!(
            answer.status == StatusCode::OK && answer.grpc_status.is_some() && !unknown,
            "{method}: {answer:?}"
        );
    }
    for address in [&streaming, &format!("{host}:4317"), &format!("{host}:14250")] {
        for method in [
            "/tempopb.Pusher/PushBytesV2",
            "/tempopb.Querier/FindTraceByID",
            "/tempopb.MetricsGenerator/GetMetrics",
            "/frontend.Frontend/Process",
            "/frontend.Frontend/NotifyClientShutdown",
            "/grpc.health.v1.Health/Check",
            "/tempopb.streamingquerier/Search",
            "/tempopb.StreamingQuerier/../tempopb.Pusher/PushBytesV2",
        ] {
            let answer = grpc(address, method, &[]).await?;
            ensure!(answer.status == StatusCode::NOT_FOUND, "{address} {method}: {answer:?}");
        }
    }
    model.stop().await?;
    nothing_left(&model)
}

/// The ports of receivers pass the one path of their protocol, and nothing of Tempo's own API.
async fn receivers_take_spans_alone(host: &str) -> anyhow::Result<()> {
    let all: BTreeMap<String, Value> = ["otlp-http", "zipkin", "jaeger-thrift-http"]
        .map(|name| (format!("always-enable-{name}"), true.into()))
        .into();
    let (options, problems) = charm::coordinator(Product::Tempo).validate(&all);
    ensure!(problems.is_empty(), "{problems:?}");
    let listeners = workload(Product::Tempo).listeners(&options);
    let receivers: Vec<_> =
        listeners.iter().skip(1).filter(|listener| listener.protocol == Protocol::Http).collect();
    ensure!(receivers.len() == 3);
    for listener in receivers {
        let mut client = Client::new(&format!("http://{host}:{}", listener.port))?;
        for route in listener.routes {
            let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = route.path;
            let answer = ask(&mut client, Method::POST, path).await?;
            let lost = answer.status.is_server_error();
            ensure!(
                !is_refusal(&answer) && !is_unknown(&answer) && !lost,
                "{path}: {} {}",
                answer.status,
                answer.excerpt()
            );
        }
        for path in TEMPO.iter().map(Path::sample) {
            for method in METHODS {
                let answer = ask(&mut client, method, &path).await?;
                ensure!(is_refusal(&answer), "{path} on {}: {}", listener.port, answer.status);
            }
        }
    }
    Ok(())
}
