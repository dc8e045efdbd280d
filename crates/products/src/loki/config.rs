//! The config that all Loki units of a cluster share. What each setting is for, with measurements, is told where it is set; the
//! rest is Loki's default.

use muster_model::{GOSSIP_PORT, GRPC_PORT, HTTP_PORT, ObjectStorage, Role, RoleSet, host_and_port};
use serde_json::{Value, json};

use crate::charm::MULTI_TENANCY;
use crate::object_store::s3;
use crate::overrides::{
    self, FIRST, LABEL, LEAVING, Owned, PEER_PORT, PORT, REPLICAS, RINGS, STORE, TENANTS, TLS, UNIT, owned,
};
use crate::placeholder::{FillError, Placeholder, literal};
use crate::{ConfigInputs, UnitValues, unit};

/// See [`crate::Workload::shared_config`].
pub(super) fn shared(inputs: &ConfigInputs<'_>) -> String {
    overrides::document(generated(inputs), inputs.overrides, OWNED)
}

fn generated(inputs: &ConfigInputs<'_>) -> Value {
    let address = Placeholder::UnitAddress.to_string();
    let id = Placeholder::UnitId.to_string();
    let integer = |option| inputs.options.integer(option);
    let prefix = literal(inputs.storage.path.as_deref().unwrap_or_default());
    let mut config = json!({
        "auth_enabled": inputs.options.boolean(MULTI_TENANCY),
        "analytics": { "reporting_enabled": inputs.options.boolean("reporting-enabled") },
        "server": {
            "http_listen_address": address,
            "http_listen_port": HTTP_PORT,
            "grpc_listen_address": address,
            "grpc_listen_port": GRPC_PORT,
        },
        "common": {
            // Every durable path follows it: log, index, cache, compactor, rules.
            "path_prefix": Placeholder::UnitData.to_string(),
            // Goes to every ring, the frontend, the index gateway and gossip.
            "instance_addr": address,
            "compactor_grpc_address": Placeholder::CompactorAddress.to_string(),
            "replication_factor": inputs.replication_factor.max(1),
            // A restarted unit keeps its share of the streams.
            "persist_tokens": true,
            "ring": { "instance_id": id, "kvstore": { "store": "memberlist" } },
            "storage": { "object_store": { "s3": s3(inputs.storage), "storage_prefix": prefix } },
        },
        "memberlist": {
            // A foreign label is refused on both sides.
            "cluster_label": literal(inputs.cluster_id),
            "bind_addr": [address],
            "bind_port": GOSSIP_PORT,
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
        // Entries are only ever added here: they say how what lies in the bucket was written.
        "schema_config": { "configs": [{
            "from": "2024-01-01",
            "store": "tsdb",
            "object_store": "s3",
            "schema": "v13",
            "index": { "prefix": "index_", "period": "24h" },
        }] },
        "storage_config": {
            // The only client that Loki 4.0 keeps, and the only one that knows a path in the bucket.
            "use_thanos_objstore": true,
            // How soon a new index is seen, besides a minute that cannot be changed (default 5m).
            "tsdb_shipper": { "resync_interval": "10s" },
        },
        // Without a store of its own Loki starts no ruler.
        "ruler_storage": { "backend": "s3", "s3": s3(inputs.storage), "storage_prefix": prefix },
        "ruler": { "enable_api": true, "enable_sharding": true },
        "ingester": {
            "wal": {
                "enabled": true,
                // A mere restart goes on with what is on the disk. A unit that leaves is told to upload first.
                "flush_on_shutdown": false,
            },
            "lifecycler": {
                // By default 15 s from the first look at /ready, which tells nothing about the ring.
                "min_ready_duration": "0s",
                // Else a unit is not ready before all others are active in what it has heard of them by gossip, which may take
                // ten seconds; and one that was killed keeps every new one from it. Units are taken one at a time all the same.
                "readiness_check_ring_health": false,
            },
            // Else a unit that was killed keeps every new one from becoming ready, until somebody forgets it by hand.
            "autoforget_unhealthy": true,
        },
        "compactor": {
            // Without it there is no API for deletes. What is kept how long is a limit.
            "retention_enabled": true,
            "delete_request_store": "s3",
            "horizontal_scaling_mode": Placeholder::CompactorMode.to_string(),
            // By default 4, of which each asks the leader for work every 5 s. It hands out none.
            "worker_config": { "num_sub_workers": 1 },
        },
        "query_scheduler": {
            // Queriers of units that run everything are not handed the queries of the others: next to write units they look into
            // the object store only for what they wrote themselves.
            "scheduler_ring": { "kvstore": { "store": "memberlist", "prefix": Placeholder::SchedulerPrefix.to_string() } },
        },
        // By default 10 s of not being ready.
        "frontend": { "scheduler_dns_lookup_period": "1s" },
        "frontend_worker": { "id": id, "dns_lookup_duration": "1s" },
        "limits_config": {
            "ingestion_rate_mb": integer("ingestion-rate-mb"),
            "ingestion_burst_size_mb": integer("ingestion-burst-size-mb"),
            "per_stream_rate_limit": format!("{}MB", integer("ingestion-rate-mb")),
            "per_stream_rate_limit_burst": format!("{}MB", integer("ingestion-burst-size-mb")),
            "max_global_streams_per_user": integer("max-global-streams-per-user"),
            "retention_period": format!("{}h", 24 * integer("retention-period")),
            // Grafana's log volume asks for it.
            "volume_enabled": true,
        },
    });
    if let Some(gateway) = inputs.gateway {
        // Whoever only asks which deletes are pending goes through the load balancer, which knows the leader of the moment: nobody is
        // restarted for another one. An address for gRPC would come before it.
        config["common"]["compactor_address"] =
            format!("http://{}", host_and_port(gateway, super::PORT)).into();
        config["common"]["compactor_grpc_address"] = Placeholder::CompactorOfCompactors.to_string().into();
    }
    config
}

/// See [`crate::Workload::check_storage`].
pub(super) fn check_storage(storage: &ObjectStorage) -> Option<String> {
    let path = storage.path.as_deref()?;
    let usable = path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let message = "is not usable: loki's storage prefix holds letters, digits and '-' only, so write a path without '/' and '_', or none";
    (!usable).then(|| format!("path {path:?} {message}"))
}

/// The roles with a compactor.
pub(super) const WITH_COMPACTOR: &[Role] = &[Role::Backend, Role::All];

/// Whether a unit with these roles has one.
pub(super) fn compacts(roles: &RoleSet) -> bool {
    WITH_COMPACTOR.iter().any(|role| roles.contains(*role))
}

/// See [`crate::Workload::unit_config`].
pub(super) fn fill(document: &str, values: &UnitValues) -> Result<String, FillError> {
    let leader = values.peers.get(&Role::Compactor);
    let compacts = compacts(&values.roles);
    unit::fill(document, values, |placeholder| match placeholder {
        Placeholder::SchedulerPrefix if values.roles.contains(Role::All) => {
            Some("collectors-all/".to_owned())
        }
        Placeholder::SchedulerPrefix => Some("collectors/".to_owned()),
        Placeholder::CompactorOfCompactors if !compacts => Some(String::new()),
        Placeholder::CompactorAddress | Placeholder::CompactorOfCompactors => {
            Some(host_and_port(leader.unwrap_or(&values.address), GRPC_PORT))
        }
        // The leader does all by itself, whether it is alone or not: as `main` it would leave deletes that have a line filter to workers,
        // of which there may be none. As a worker the others take no part in the election of the one that compacts.
        Placeholder::CompactorMode if leader.is_some() && compacts => Some("worker".to_owned()),
        Placeholder::CompactorMode => Some("disabled".to_owned()),
        _ => None,
    })
}

const SCHEDULERS: &str = "remove it, query-schedulers are found through their ring";
const COMPACTORS: &str = "remove it, one compactor leads and all units are told which";
const FRESH: &str = "remove it, draining counts on how soon fresh logs are seen";
const PATHS: &str = "remove it, the load balancer counts on the paths";
const SCHEMA: &str = "remove it, what lies in the bucket was written by it";

/// What the other parts of Muster count on. Limits are not among them: an override of a limit wins over the option.
pub(super) const OWNED: &[Owned] = &[
    owned("target", "set role-… of the workers"),
    owned("auth_enabled", TENANTS),
    owned("http_prefix", PATHS),
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
    owned("memberlist.abort_if_cluster_fast_join_fails", FIRST),
    owned("memberlist.rejoin_interval", RINGS),
    owned("memberlist.max_join_retries", RINGS),
    owned("common.path_prefix", UNIT),
    owned("common.instance_addr", UNIT),
    owned("common.instance_interface_names", UNIT),
    owned("common.compactor_address", COMPACTORS),
    owned("common.compactor_grpc_address", COMPACTORS),
    owned("common.replication_factor", REPLICAS),
    owned("common.persist_tokens", RINGS),
    owned("common.ring", RINGS),
    owned("common.storage", STORE),
    owned("storage_config.use_thanos_objstore", STORE),
    owned("storage_config.object_store", STORE),
    owned("storage_config.aws", STORE),
    owned("storage_config.tsdb_shipper.active_index_directory", UNIT),
    owned("storage_config.tsdb_shipper.cache_location", UNIT),
    owned("storage_config.tsdb_shipper.resync_interval", FRESH),
    owned("ruler_storage", STORE),
    owned("ruler.storage", STORE),
    owned("ruler.rule_path", UNIT),
    owned("ruler.ring", RINGS),
    owned("schema_config", SCHEMA),
    owned("ingester.wal.enabled", LEAVING),
    owned("ingester.wal.dir", UNIT),
    owned("ingester.wal.flush_on_shutdown", LEAVING),
    owned("ingester.lifecycler.ring", RINGS),
    owned("ingester.lifecycler.address", UNIT),
    owned("ingester.lifecycler.id", UNIT),
    owned("ingester.lifecycler.tokens_file_path", UNIT),
    owned("ingester.lifecycler.unregister_on_shutdown", LEAVING),
    owned("ingester.shutdown_marker_path", LEAVING),
    owned("distributor.ring", RINGS),
    owned("index_gateway.ring", RINGS),
    owned("compactor.working_directory", UNIT),
    owned("compactor.compactor_ring", RINGS),
    owned("compactor.horizontal_scaling_mode", COMPACTORS),
    owned("compactor.delete_request_store", STORE),
    owned("query_scheduler.scheduler_ring", SCHEDULERS),
    owned("query_scheduler.use_scheduler_ring", SCHEDULERS),
    owned("frontend.scheduler_address", SCHEDULERS),
    owned("frontend.instance_addr", UNIT),
    owned("frontend_worker.scheduler_address", SCHEDULERS),
    owned("frontend_worker.frontend_address", SCHEDULERS),
    owned("frontend_worker.id", UNIT),
];
