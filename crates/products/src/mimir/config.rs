//! The config that all Mimir units of a cluster share. What each setting is for, with measurements, is told where it
//! is set; the rest is Mimir's default.

use muster_model::{GOSSIP_PORT, GRPC_PORT, HTTP_PORT, ObjectStorage, Role};
use serde_json::{Value, json};

use crate::charm::MULTI_TENANCY;
use crate::object_store::s3;
use crate::overrides::{
    self, FIRST, LABEL, LEAVING, Owned, PEER_PORT, PORT, REPLICAS, RINGS, STORE, TENANTS, TLS, UNIT, owned,
};
use crate::placeholder::{FillError, Placeholder, literal};
use crate::{ConfigInputs, UnitValues, unit};

/// How often the compactor writes the bucket index that store-gateways and queriers read (default 900 s).
pub(super) const CLEANUP_INTERVAL_SECONDS: u64 = 30;

/// How many store-gateways load each block, of those that there are: Mimir's default.
const STORE_GATEWAYS: u8 = 3;

/// See [`crate::Workload::shared_config`].
pub(super) fn shared(inputs: &ConfigInputs<'_>) -> String {
    overrides::document(generated(inputs), inputs.overrides, OWNED)
}

fn generated(inputs: &ConfigInputs<'_>) -> Value {
    let replicas = inputs.replication_factor.max(1);
    let address = Placeholder::UnitAddress.to_string();
    let data = |directory: &str| format!("{}/{directory}", Placeholder::UnitData);
    let integer = |option| inputs.options.integer(option);
    json!({
        "multitenancy_enabled": inputs.options.boolean(MULTI_TENANCY),
        "usage_stats": { "enabled": false },
        // Else a file in the working directory.
        "activity_tracker": { "filepath": "" },
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
            // Only for the goodbye; ring changes are waited for apart from it. When all units stop at once nobody is left
            // to hear the last one, which then takes 21 s with the default of 20 s.
            "leave_timeout": "2s",
        },
        "common": { "storage": { "backend": "s3", "s3": s3(inputs.storage) } },
        "blocks_storage": {
            "storage_prefix": prefix(inputs.storage, "blocks"),
            "tsdb": {
                "dir": data("tsdb"),
                // A mere restart goes on with what is on the disk. A unit that leaves is told to upload first.
                "flush_blocks_on_shutdown": false,
            },
            "bucket_store": {
                "sync_dir": data("tsdb-sync"),
                // How soon a fresh block is seen (default 15m).
                "sync_interval": "15s",
                // Together with querier.query_store_after: with only one of them changed, queries over fresh blocks
                // fail or find nothing. By default blocks are not looked at for 10 to 12 hours.
                "ignore_blocks_within": "0s",
            },
        },
        "ruler_storage": { "storage_prefix": prefix(inputs.storage, "rules") },
        "alertmanager_storage": { "storage_prefix": prefix(inputs.storage, "alerts") },
        "querier": { "query_store_after": "0s" },
        "compactor": {
            "data_dir": data("compactor"),
            "cleanup_interval": format!("{CLEANUP_INTERVAL_SECONDS}s"),
            "sharding_ring": ring(json!({})),
        },
        "distributor": { "ring": ring(json!({})) },
        "ingester": {
            "ring": ring(json!({
                "replication_factor": replicas,
                // By default 15 s from the first look at /ready, which tells nothing about the ring.
                "min_ready_duration": "0s",
                // A restarted ingester goes on with the series that are on its disk.
                "tokens_file_path": data("ingester-tokens"),
                // With replicas a restarting ingester keeps its place: the others need not take its series over, and
                // it is ready in 0.2 s instead of 1.1. With a single replica a place without its ingester makes all
                // pushes and queries fail while it is away, so there it is given up: queries are short of what is on
                // its disk for that time, and pushes go elsewhere (measured with two ingesters).
                "unregister_on_shutdown": replicas == 1,
            })),
        },
        "store_gateway": {
            "sharding_ring": ring(json!({
                // Copies of indexes, not of data: the one that takes over has loaded all before the other one goes. With one copy,
                // queries fail for some seconds each time a store-gateway is replaced or restarted.
                "replication_factor": replicas.max(STORE_GATEWAYS),
                // A restarted store-gateway serves the blocks whose indexes are on its disk.
                "tokens_file_path": data("store-gateway-tokens"),
            })),
        },
        "ruler": { "rule_path": data("ruler"), "ring": ring(json!({})) },
        "alertmanager": {
            "data_dir": data("alertmanager"),
            "sharding_ring": ring(json!({ "replication_factor": replicas })),
        },
        "overrides_exporter": { "ring": ring(json!({})) },
        "query_scheduler": {
            "service_discovery_mode": Placeholder::SchedulerDiscovery.to_string(),
            "ring": ring(json!({})),
        },
        "frontend": { "address": address },
        "frontend_worker": {
            "id": Placeholder::UnitId.to_string(),
            // Used only with discovery by dns: the queriers of a unit that runs everything serve its own frontend.
            // Mimir's default is 127.0.0.1, where nothing listens.
            "frontend_address": format!("{address}:{GRPC_PORT}"),
        },
        "limits": {
            "ingestion_rate": integer("ingestion-rate"),
            "ingestion_burst_size": integer("ingestion-burst-size"),
            "max_global_series_per_user": integer("max-global-series-per-user"),
            "max_global_exemplars_per_user": integer("max-global-exemplars-per-user"),
            "compactor_blocks_retention_period": literal(inputs.options.text("retention-period")),
            // No limit, as in Canonical's charms: rules come from the deployment's own charms, not from strangers.
            "ruler_max_rules_per_rule_group": 0,
            "ruler_max_rule_groups_per_tenant": 0,
        },
    })
}

/// A ring's section: the unit's place in it, and `settings` of this ring alone.
fn ring(mut settings: Value) -> Value {
    settings["instance_addr"] = Placeholder::UnitAddress.to_string().into();
    settings["instance_id"] = Placeholder::UnitId.to_string().into();
    settings["kvstore"] = json!({ "store": "memberlist" });
    // A member that misses the first notice of its own entry waits for its next heartbeat before it is ready (seen for
    // ruler and store-gateway, in 6 of 240 monolithic starts): 16 s with the default of 15 s, 6 s with this.
    settings["heartbeat_period"] = "5s".into();
    settings
}

/// One bucket holds all three kinds of objects, so they differ by prefix. Mimir takes letters and digits only and puts
/// no separator before them, so a path stands directly before the kind.
fn prefix(storage: &ObjectStorage, kind: &str) -> String {
    format!("{}{kind}", literal(storage.path.as_deref().unwrap_or_default()))
}

/// See [`crate::Workload::check_storage`].
pub(super) fn check_storage(storage: &ObjectStorage) -> Option<String> {
    let path = storage.path.as_deref()?;
    let usable = path.bytes().all(|b| b.is_ascii_alphanumeric());
    let message = "is not usable: mimir's storage prefixes hold letters and digits only, so write a path without '/', '-' and '_', or none";
    (!usable).then(|| format!("path {path:?} {message}"))
}

/// See [`crate::Workload::unit_config`].
pub(super) fn fill(document: &str, values: &UnitValues) -> Result<String, FillError> {
    unit::fill(document, values, |placeholder| match placeholder {
        // A unit that runs everything has no query-scheduler: its queriers take from its own frontend.
        Placeholder::SchedulerDiscovery if values.roles.contains(Role::All) => Some("dns".to_owned()),
        Placeholder::SchedulerDiscovery => Some("ring".to_owned()),
        _ => None,
    })
}

const SCHEDULERS: &str = "remove it, query-schedulers are found through their ring";
const FRESH: &str = "remove it, draining counts on how soon fresh blocks are seen";

/// What the other parts of Muster count on. Limits are not among them: an override of a limit wins over the option.
pub(super) const OWNED: &[Owned] = &[
    owned("target", "set role-… of the workers"),
    owned("multitenancy_enabled", TENANTS),
    owned("server.http_listen_network", UNIT),
    owned("server.http_listen_address", UNIT),
    owned("server.http_listen_port", PORT),
    owned("server.grpc_listen_network", UNIT),
    owned("server.grpc_listen_address", UNIT),
    owned("server.grpc_listen_port", PEER_PORT),
    owned("server.http_path_prefix", "remove it, the load balancer counts on the paths"),
    owned("server.http_tls_config", TLS),
    owned("server.grpc_tls_config", TLS),
    owned("api.prometheus_http_prefix", "remove it, the load balancer counts on the paths"),
    owned("api.alertmanager_http_prefix", "remove it, the load balancer counts on the paths"),
    owned("memberlist.cluster_label", LABEL),
    owned("memberlist.cluster_label_verification_disabled", LABEL),
    owned("memberlist.node_name", UNIT),
    owned("memberlist.bind_addr", UNIT),
    owned("memberlist.bind_port", PEER_PORT),
    owned("memberlist.advertise_addr", UNIT),
    owned("memberlist.advertise_port", UNIT),
    owned("memberlist.join_members", UNIT),
    owned("memberlist.abort_if_cluster_join_fails", FIRST),
    owned("memberlist.abort_if_cluster_fast_join_fails", FIRST),
    owned("memberlist.rejoin_interval", RINGS),
    owned("memberlist.max_join_retries", RINGS),
    owned("common.storage.backend", STORE),
    owned("common.storage.s3.endpoint", STORE),
    owned("common.storage.s3.region", STORE),
    owned("common.storage.s3.bucket_name", STORE),
    owned("common.storage.s3.access_key_id", STORE),
    owned("common.storage.s3.secret_access_key", STORE),
    owned("common.storage.s3.insecure", STORE),
    owned("common.storage.s3.http.tls_ca_path", STORE),
    owned("blocks_storage.backend", STORE),
    owned("blocks_storage.storage_prefix", STORE),
    owned("blocks_storage.s3", STORE),
    owned("ruler_storage.backend", STORE),
    owned("ruler_storage.storage_prefix", STORE),
    owned("ruler_storage.s3", STORE),
    owned("alertmanager_storage.backend", STORE),
    owned("alertmanager_storage.storage_prefix", STORE),
    owned("alertmanager_storage.s3", STORE),
    owned("blocks_storage.tsdb.dir", UNIT),
    owned("blocks_storage.tsdb.flush_blocks_on_shutdown", LEAVING),
    owned("blocks_storage.bucket_store.sync_dir", UNIT),
    owned("blocks_storage.bucket_store.sync_interval", FRESH),
    owned("blocks_storage.bucket_store.ignore_blocks_within", FRESH),
    owned("querier.query_store_after", FRESH),
    owned("compactor.cleanup_interval", FRESH),
    owned("compactor.data_dir", UNIT),
    owned("ruler.rule_path", UNIT),
    owned("alertmanager.data_dir", UNIT),
    owned("activity_tracker.filepath", UNIT),
    owned("compactor.sharding_ring.instance_addr", UNIT),
    owned("compactor.sharding_ring.instance_id", UNIT),
    owned("compactor.sharding_ring.kvstore", RINGS),
    owned("distributor.ring.instance_addr", UNIT),
    owned("distributor.ring.instance_id", UNIT),
    owned("distributor.ring.kvstore", RINGS),
    owned("ingester.ring.instance_addr", UNIT),
    owned("ingester.ring.instance_id", UNIT),
    owned("ingester.ring.kvstore", RINGS),
    owned("ingester.ring.replication_factor", REPLICAS),
    owned("ingester.ring.tokens_file_path", UNIT),
    owned("ingester.ring.unregister_on_shutdown", LEAVING),
    owned("store_gateway.sharding_ring.instance_addr", UNIT),
    owned("store_gateway.sharding_ring.instance_id", UNIT),
    owned("store_gateway.sharding_ring.kvstore", RINGS),
    owned("store_gateway.sharding_ring.replication_factor", REPLICAS),
    owned("store_gateway.sharding_ring.tokens_file_path", UNIT),
    owned("store_gateway.sharding_ring.unregister_on_shutdown", LEAVING),
    owned("ruler.ring.instance_addr", UNIT),
    owned("ruler.ring.instance_id", UNIT),
    owned("ruler.ring.kvstore", RINGS),
    owned("alertmanager.sharding_ring.instance_addr", UNIT),
    owned("alertmanager.sharding_ring.instance_id", UNIT),
    owned("alertmanager.sharding_ring.kvstore", RINGS),
    owned("alertmanager.sharding_ring.replication_factor", REPLICAS),
    owned("overrides_exporter.ring.instance_addr", UNIT),
    owned("overrides_exporter.ring.instance_id", UNIT),
    owned("overrides_exporter.ring.kvstore", RINGS),
    owned("query_scheduler.service_discovery_mode", SCHEDULERS),
    owned("query_scheduler.ring.instance_addr", UNIT),
    owned("query_scheduler.ring.instance_id", UNIT),
    owned("query_scheduler.ring.kvstore", RINGS),
    owned("frontend.scheduler_address", SCHEDULERS),
    owned("frontend.address", UNIT),
    owned("frontend_worker.scheduler_address", SCHEDULERS),
    owned("frontend_worker.frontend_address", SCHEDULERS),
    owned("frontend_worker.id", UNIT),
];
