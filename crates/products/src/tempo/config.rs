//! The config that all Tempo units of a cluster share. What each setting is for, with measurements, is told where it is set; the
//! rest is Tempo's default.

use muster_model::{GOSSIP_PORT, GRPC_PORT, HTTP_PORT, ObjectStorage, Role, host_and_port};
use serde_json::{Map, Value, json};

use super::receivers;
use crate::charm::{MULTI_TENANCY, Options};
use crate::overrides::{
    self, FIRST, LABEL, LEAVING, Owned, PEER_PORT, PORT, REPLICAS, RINGS, STORE, TENANTS, TLS, UNIT, owned,
};
use crate::placeholder::{FillError, Placeholder, literal};
use crate::{ConfigInputs, RemoteWrite, UnitValues, mimir, unit};

/// See [`crate::Workload::shared_config`].
pub(super) fn shared(inputs: &ConfigInputs<'_>) -> String {
    overrides::document(generated(inputs), inputs.overrides, OWNED)
}

fn generated(inputs: &ConfigInputs<'_>) -> Value {
    let address = Placeholder::UnitAddress.to_string();
    let data = |directory: &str| format!("{}/{directory}", Placeholder::UnitData);
    let mut config = json!({
        "multitenancy_enabled": inputs.options.boolean(MULTI_TENANCY),
        "usage_report": { "reporting_enabled": false },
        "server": {
            "http_listen_address": address,
            "http_listen_port": HTTP_PORT,
            "grpc_listen_address": address,
            "grpc_listen_port": GRPC_PORT,
        },
        "memberlist": {
            // A foreign label is refused on both sides.
            "cluster_label": literal(inputs.cluster_id),
            "bind_addr": [address],
            "bind_port": GOSSIP_PORT,
            "advertise_addr": address,
            "join_members": Placeholder::GossipSeeds.to_string(),
            "abort_if_cluster_join_fails": false,
            // Without it a restarted seed stays split from the others.
            "rejoin_interval": "10s",
            // By default a late seed is joined after up to 60 s, and after ten tries never.
            "max_join_backoff": "2s",
            "max_join_retries": 0,
            // Only for the goodbye, which nobody hears when all stop at once.
            "leave_timeout": "2s",
        },
        "distributor": { "receivers": receivers(inputs.options), "ring": ring() },
        "ingester": {
            // Tempo acknowledges spans that are in memory alone, so every SIGTERM uploads.
            "flush_all_on_shutdown": true,
            "lifecycler": {
                "address": address,
                "id": Placeholder::UnitId.to_string(),
                // By default 15 s from the first look at /ready, which tells nothing about the ring.
                "min_ready_duration": "0s",
                // Else a unit is not ready before all others are active in what it has heard of them by gossip, which may take
                // ten seconds; and one that was killed keeps every new one from it. Units are taken one at a time all the same.
                "readiness_check_ring_health": false,
                "ring": {
                    "kvstore": { "store": "memberlist" },
                    "replication_factor": inputs.replication_factor.max(1),
                    // How long a unit that was killed counts as alive (default 5m).
                    "heartbeat_timeout": "1m",
                },
            },
        },
        "compactor": {
            "ring": compactor_ring(),
            "compaction": { "block_retention": format!("{}h", inputs.options.integer("retention-period")) },
        },
        "metrics_generator": {
            "ring": ring(),
            "storage": { "path": data("generator") },
        },
        "query_frontend": { "search": {
            // By default traces younger than 15 minutes are not looked for in the object store: after an ingester has left, a search
            // misses what it held.
            "query_backend_after": "0s",
            "query_ingesters_until": "30m",
        } },
        "querier": { "frontend_worker": {
            "frontend_address": Placeholder::FrontendAddress.to_string(),
            "id": Placeholder::UnitId.to_string(),
        } },
        "storage": { "trace": {
            "backend": "s3",
            "s3": s3(inputs.storage),
            "wal": { "path": data("wal") },
            // How soon a fresh block is seen: twice this (default 5m).
            "blocklist_poll": "15s",
        } },
    });
    if !inputs.remote_write.is_empty() {
        config["metrics_generator"]["storage"]["remote_write"] =
            inputs.remote_write.iter().map(|target| remote_write(target, inputs.options)).collect();
        // Tempo tells the series of its units apart by the host's name, which several units of one machine share.
        config["metrics_generator"]["registry"] =
            json!({ "external_labels": { "muster_unit": Placeholder::UnitId.to_string() } });
        // Without them the distributors send the generators nothing.
        config["overrides"] = json!({ "defaults": { "metrics_generator": { "processors": ["service-graphs", "span-metrics"] } } });
    }
    config
}

/// One place that the metrics-generators write to, in Prometheus's words. Where Tempo has tenants, it names each metric's itself.
fn remote_write(target: &RemoteWrite, options: &Options) -> Value {
    let mut section = json!({ "name": literal(&target.name), "url": literal(&target.url) });
    if let Some(ca) = &target.ca {
        section["tls_config"] = json!({ "ca": literal(ca) });
    }
    if target.needs_tenant && !options.boolean(MULTI_TENANCY) {
        // The one to whom everything belongs that was written before Mimir had tenants.
        section["headers"] = json!({ "X-Scope-OrgID": mimir::ONE_TENANT });
    }
    section
}

/// The receivers that are asked for, on the unit's address.
fn receivers(options: &Options) -> Value {
    let mut all = Map::new();
    for receiver in receivers::open(options) {
        let endpoint =
            json!({ "endpoint": format!("{}:{}", Placeholder::UnitAddress, receiver.listener.port) });
        match receiver.key {
            (kind, None) => drop(all.insert(kind.to_owned(), endpoint)),
            (kind, Some(protocol)) => {
                let of_kind = all.entry(kind).or_insert_with(|| json!({ "protocols": {} }));
                of_kind["protocols"][protocol] = endpoint;
            }
        }
    }
    all.into()
}

/// A ring's section: the unit's place in it.
fn ring() -> Value {
    json!({
        "kvstore": { "store": "memberlist" },
        "instance_addr": Placeholder::UnitAddress.to_string(),
        "instance_id": Placeholder::UnitId.to_string(),
    })
}

fn compactor_ring() -> Value {
    let mut ring = ring();
    // By default a compactor, and with it a unit that runs everything, is not ready for a minute.
    ring["wait_stability_min_duration"] = "0s".into();
    ring
}

fn s3(storage: &ObjectStorage) -> Value {
    let mut s3 = json!({
        // Tempo wants the host alone.
        "endpoint": literal(&storage.endpoint.authority),
        "insecure": storage.endpoint.is_insecure(),
        "region": literal(&storage.region),
        "bucket": literal(&storage.bucket),
        "access_key": Placeholder::AccessKey.to_string(),
        "secret_key": Placeholder::SecretKey.to_string(),
        "forcepathstyle": true,
    });
    if let Some(path) = &storage.path {
        s3["prefix"] = literal(path).into();
    }
    if storage.tls_ca_chain.is_some() {
        s3["tls_ca_path"] = Placeholder::CaFile.to_string().into();
    }
    s3
}

/// See [`crate::Workload::unit_config`].
pub(super) fn fill(document: &str, values: &UnitValues) -> Result<String, FillError> {
    // A unit that runs everything serves its own frontend; one that was told of none looks for it where nothing listens.
    let frontend = values.peers.get(&Role::QueryFrontend).unwrap_or(&values.address);
    unit::fill(document, values, |placeholder| match placeholder {
        Placeholder::FrontendAddress => Some(host_and_port(frontend, GRPC_PORT)),
        _ => None,
    })
}

const FRONTENDS: &str = "remove it, queriers are told of the query-frontends";
const FRESH: &str = "remove it, draining counts on how soon fresh blocks are seen";
const PATHS: &str = "remove it, the load balancer counts on the paths";

/// What the other parts of Muster count on.
pub(super) const OWNED: &[Owned] = &[
    owned("target", "set role-… of the workers"),
    owned("multitenancy_enabled", TENANTS),
    owned("http_api_prefix", PATHS),
    owned("stream_over_http_enabled", PORT),
    owned("server.http_listen_network", UNIT),
    owned("server.http_listen_address", UNIT),
    owned("server.http_listen_port", PORT),
    owned("server.grpc_listen_network", UNIT),
    owned("server.grpc_listen_address", UNIT),
    owned("server.grpc_listen_port", PEER_PORT),
    owned("server.http_path_prefix", PATHS),
    owned("server.http_tls_config", TLS),
    owned("server.grpc_tls_config", TLS),
    owned("memberlist.cluster_label", LABEL),
    owned("memberlist.cluster_label_verification_disabled", LABEL),
    owned("memberlist.node_name", UNIT),
    owned("memberlist.bind_addr", UNIT),
    owned("memberlist.bind_port", PEER_PORT),
    owned("memberlist.advertise_addr", UNIT),
    owned("memberlist.advertise_port", UNIT),
    owned("memberlist.join_members", UNIT),
    owned("memberlist.abort_if_cluster_join_fails", FIRST),
    owned("memberlist.rejoin_interval", RINGS),
    owned("memberlist.max_join_retries", RINGS),
    owned("distributor.receivers", "set the options always-enable-…"),
    owned("distributor.ring", RINGS),
    owned("ingester.flush_all_on_shutdown", LEAVING),
    owned("ingester.lifecycler.address", UNIT),
    owned("ingester.lifecycler.id", UNIT),
    owned("ingester.lifecycler.tokens_file_path", UNIT),
    owned("ingester.lifecycler.unregister_on_shutdown", LEAVING),
    owned("ingester.lifecycler.ring.kvstore", RINGS),
    owned("ingester.lifecycler.ring.replication_factor", REPLICAS),
    owned("compactor.ring.kvstore", RINGS),
    owned("compactor.ring.instance_addr", UNIT),
    owned("compactor.ring.instance_id", UNIT),
    owned("metrics_generator.ring", RINGS),
    owned("metrics_generator.storage.path", UNIT),
    owned("query_frontend.search.query_backend_after", FRESH),
    owned("querier.frontend_worker.frontend_address", FRONTENDS),
    owned("querier.frontend_worker.id", UNIT),
    owned("storage.trace.backend", STORE),
    owned("storage.trace.s3", STORE),
    owned("storage.trace.wal.path", UNIT),
    owned("storage.trace.blocklist_poll", FRESH),
];
