//! Grafana Loki.

mod config;
mod drain;
pub mod roles;
mod routes;

use std::io;
use std::time::Duration;

use muster_model::route::{Listener, Protocol};
use muster_model::{ObjectStorage, Role, RoleSet, Version};
use serde_json::{Map, Value};

use crate::charm::Options;
use crate::held::{Disk, Ending};
use crate::placeholder::FillError;
use crate::{
    Choice, ConfigInputs, Endpoint, Flushed, HttpCall, OwnedOverride, Peer, Quiesce, Ring, RoleConflict,
    UnitValues, Workload, overrides,
};

/// The version lines that a coordinator may ask for, newest first.
pub const SUPPORTED: &[Version] = &[Version { major: 3, minor: 7 }];

/// Where clients reach Loki: its own default.
const PORT: u16 = 3100;

/// Loki as a workload.
#[derive(Debug)]
pub struct Loki;

impl Workload for Loki {
    fn shared_config(&self, inputs: &ConfigInputs<'_>) -> String {
        config::shared(inputs)
    }

    fn owned_overrides(&self, overrides: &Map<String, Value>) -> Vec<OwnedOverride> {
        overrides::touched(overrides, config::OWNED)
    }

    fn check_storage(&self, storage: &ObjectStorage) -> Option<String> {
        config::check_storage(storage)
    }

    fn unit_config(&self, document: &str, values: &UnitValues) -> Result<String, FillError> {
        config::fill(document, values)
    }

    fn assign_roles(&self, declared: &RoleSet, _scheduler_elsewhere: bool) -> Result<RoleSet, RoleConflict> {
        roles::assign(declared)
    }

    fn arguments(&self, roles: &RoleSet, config: &str) -> Vec<String> {
        let config = format!("-config.file={config}");
        if roles.contains(Role::Read) && roles.contains(Role::Backend) {
            // Next to queriers an index gateway asks gateways, itself first, so that queries never end. In this mode `read` has all of
            // `backend` in it, and reads the index itself.
            return vec![config, format!("-target={}", Role::Read), "-legacy-read-mode=true".to_owned()];
        }
        vec![config, format!("-target={roles}")]
    }

    fn check_arguments(&self, roles: &RoleSet, config: &str) -> Vec<String> {
        let mut arguments = self.arguments(roles, config);
        arguments.push("-verify-config".to_owned());
        arguments
    }

    fn check_message(&self, stderr: &str) -> String {
        crate::check::message("loki", stderr)
    }

    fn listeners(&self, _: &Options) -> Vec<Listener> {
        vec![Listener { port: PORT, protocol: Protocol::Http, name: "http", routes: routes::ROUTES }]
    }

    fn advice(&self, _: &Options) -> Option<&'static str> {
        None
    }

    fn endpoints(&self, _: &Options) -> Vec<Endpoint> {
        let endpoint = |purpose, path| Endpoint { purpose, port: PORT, path: Some(path) };
        vec![endpoint("otlp", "/otlp"), endpoint("push", "/loki/api/v1/push"), endpoint("query", "")]
    }

    fn one_tenant(&self) -> &'static str {
        "fake"
    }

    fn ready_path(&self) -> &'static str {
        "/ready"
    }

    fn in_ring(&self, role: Role) -> bool {
        drain::in_ring(role)
    }

    fn relies_on(&self, role: Role) -> Option<Role> {
        // `read` has no query-scheduler of its own and is not ready before it has met one.
        (role == Role::Read).then_some(Role::Backend)
    }

    fn answers_beside(&self, others: &RoleSet, role: Role) -> bool {
        // The queriers of a unit that runs everything leave what is young in the object store to the units that hold fresh data, of which
        // `write` units do not look there.
        role != Role::Read || !others.contains(Role::Write)
    }

    fn replicated_role(&self) -> Role {
        Role::Write
    }

    fn needs_peer(&self, roles: &RoleSet) -> Option<Peer> {
        // Delete requests are kept by the compactor that got them; queries ask it which are pending.
        roles.iter().any(|role| role != Role::Write).then(|| Peer {
            role: Role::Compactor,
            provided_by: config::WITH_COMPACTOR,
            choice: Choice::Leader,
            // Work is handed out by gRPC, which the load balancer does not lead to.
            through_gateway: !config::compacts(roles),
        })
    }

    fn holds_data(&self, role: Role) -> bool {
        drain::holds_data(role)
    }

    fn held(&self, roles: &RoleSet, disk: &dyn Disk, ending: Ending) -> io::Result<Option<String>> {
        drain::held(roles, disk, ending)
    }

    fn ring(&self) -> Ring {
        drain::RING
    }

    // The index of what an ingester holds appears only when its process ends.
    fn quiesce(&self, _roles: &RoleSet) -> Option<&'static Quiesce> {
        None
    }

    fn found_after(&self) -> Duration {
        drain::FOUND_AFTER
    }

    fn leave_calls(&self, roles: &RoleSet) -> &'static [HttpCall] {
        drain::leave_calls(roles)
    }

    fn flushed(&self, _: &RoleSet) -> Option<Flushed> {
        None
    }

    fn kill_delay(&self, roles: &RoleSet) -> Duration {
        drain::kill_delay(roles)
    }
}
