//! Grafana Mimir.

mod check;
mod config;
mod drain;
pub mod roles;
mod routes;

use std::time::Duration;

use muster_model::route::Route;
use muster_model::{ObjectStorage, Role, RoleSet, Version};
use serde_json::{Map, Value};

use crate::placeholder::FillError;
use crate::{ConfigInputs, HttpCall, OwnedOverride, RoleConflict, UnitValues, Workload, overrides};

/// The version lines that a coordinator may ask for, newest first.
pub const SUPPORTED: &[Version] = &[Version { major: 2, minor: 17 }];

/// Mimir as a workload.
#[derive(Debug)]
pub struct Mimir;

impl Workload for Mimir {
    fn shared_config(&self, inputs: &ConfigInputs<'_>) -> String {
        config::shared(inputs)
    }

    fn owned_overrides(&self, overrides: &Map<String, Value>) -> Vec<OwnedOverride> {
        overrides::owned(overrides, config::OWNED)
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
        check::message(stderr)
    }

    fn routes(&self) -> &'static [Route] {
        routes::ROUTES
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

    fn holds_data(&self, role: Role) -> bool {
        drain::holds_data(role)
    }

    fn leave_calls(&self, roles: &RoleSet) -> &'static [HttpCall] {
        drain::leave_calls(roles)
    }

    fn kill_delay(&self, roles: &RoleSet) -> Duration {
        drain::kill_delay(roles)
    }
}
