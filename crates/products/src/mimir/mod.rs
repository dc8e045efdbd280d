//! Grafana Mimir.

mod config;
mod drain;
pub mod roles;
mod routes;

use std::io;
use std::time::Duration;

use muster_model::route::{Listener, Protocol};
use muster_model::{HTTP_PORT, ObjectStorage, Role, RoleSet, Version};
use serde_json::{Map, Value};

use crate::charm::Options;
use crate::held::{Disk, Ending};
use crate::placeholder::FillError;
use crate::{
    ConfigInputs, Endpoint, Flushed, HttpCall, OwnedOverride, Peer, Quiesce, Ring, RoleConflict, UnitValues,
    Workload, overrides,
};

/// The version lines that a coordinator may ask for, newest first.
pub const SUPPORTED: &[Version] = &[Version { major: 2, minor: 17 }];

/// The tenant of a Mimir without tenants.
pub(crate) const ONE_TENANT: &str = "anonymous";

/// Mimir as a workload.
#[derive(Debug)]
pub struct Mimir;

impl Workload for Mimir {
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

    fn assign_roles(&self, declared: &RoleSet, scheduler_elsewhere: bool) -> Result<RoleSet, RoleConflict> {
        roles::assign(declared, scheduler_elsewhere)
    }

    fn arguments(&self, roles: &RoleSet, config: &str) -> Vec<String> {
        vec![format!("-config.file={config}"), format!("-target={}", roles::processes(roles))]
    }

    fn check_arguments(&self, roles: &RoleSet, config: &str) -> Vec<String> {
        let mut arguments = self.arguments(roles, config);
        // Reads and validates the whole config, then lists the targets and exits: there is no flag that only checks.
        arguments.push("-modules".to_owned());
        arguments
    }

    fn check_message(&self, stderr: &str) -> String {
        crate::check::message("mimir", stderr)
    }

    fn listeners(&self, _: &Options) -> Vec<Listener> {
        vec![Listener { port: HTTP_PORT, protocol: Protocol::Http, name: "http", routes: routes::ROUTES }]
    }

    fn advice(&self, _: &Options) -> Option<&'static str> {
        None
    }

    fn endpoints(&self, _: &Options) -> Vec<Endpoint> {
        let endpoint = |purpose, path| Endpoint { purpose, port: HTTP_PORT, path: Some(path) };
        vec![endpoint("push", "/api/v1/push"), endpoint("query", "/prometheus")]
    }

    fn one_tenant(&self) -> &'static str {
        ONE_TENANT
    }

    fn ready_path(&self) -> &'static str {
        "/ready"
    }

    fn in_ring(&self, role: Role) -> bool {
        drain::in_ring(role)
    }

    fn relies_on(&self, role: Role) -> Option<Role> {
        // Query-frontends and queriers of separate units find each other through the scheduler's ring alone; a frontend
        // that finds no scheduler is ready all the same and lets every query time out.
        matches!(role, Role::QueryFrontend | Role::Querier).then_some(Role::QueryScheduler)
    }

    fn answers_beside(&self, _: &RoleSet, _: Role) -> bool {
        true
    }

    fn replicated_role(&self) -> Role {
        Role::Ingester
    }

    fn needs_peer(&self, _: &RoleSet) -> Option<Peer> {
        None
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

    fn quiesce(&self, roles: &RoleSet) -> Option<&'static Quiesce> {
        drain::quiesce(roles)
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
