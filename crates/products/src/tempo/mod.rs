//! Grafana Tempo.

mod config;
mod drain;
mod receivers;
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
pub const SUPPORTED: &[Version] = &[Version { major: 2, minor: 10 }];

/// Where clients query: Tempo's own default.
const PORT: u16 = 3200;
/// Where Grafana streams the results of searches, as in Canonical's charms.
const STREAMING_PORT: u16 = 9096;

/// Tempo as a workload.
#[derive(Debug)]
pub struct Tempo;

impl Workload for Tempo {
    fn shared_config(&self, inputs: &ConfigInputs<'_>) -> String {
        config::shared(inputs)
    }

    fn owned_overrides(&self, overrides: &Map<String, Value>) -> Vec<OwnedOverride> {
        overrides::touched(overrides, config::OWNED)
    }

    fn check_storage(&self, _: &ObjectStorage) -> Option<String> {
        None
    }

    fn unit_config(&self, document: &str, values: &UnitValues) -> Result<String, FillError> {
        config::fill(document, values)
    }

    fn assign_roles(&self, declared: &RoleSet, _scheduler_elsewhere: bool) -> Result<RoleSet, RoleConflict> {
        Ok(roles::assign(declared))
    }

    fn arguments(&self, roles: &RoleSet, config: &str) -> Vec<String> {
        vec![format!("-config.file={config}"), format!("-target={}", roles::target(roles))]
    }

    fn check_arguments(&self, roles: &RoleSet, config: &str) -> Vec<String> {
        let mut arguments = self.arguments(roles, config);
        arguments.push("-config.verify=true".to_owned());
        arguments
    }

    fn check_message(&self, stderr: &str) -> String {
        crate::check::message("tempo", stderr)
    }

    fn listeners(&self, options: &Options) -> Vec<Listener> {
        let mut listeners = vec![
            Listener { port: PORT, protocol: Protocol::Http, name: "http", routes: routes::QUERIES },
            Listener {
                port: STREAMING_PORT,
                protocol: Protocol::Grpc,
                name: "grpc-streaming",
                routes: routes::STREAMING,
            },
        ];
        listeners.extend(receivers::open(options).map(|receiver| receiver.listener));
        listeners
    }

    fn advice(&self, options: &Options) -> Option<&'static str> {
        let none = receivers::open(options).next().is_none();
        none.then_some("no receiver is open, so no span can come in; open one: muster config COORDINATOR always-enable-otlp-grpc=true")
    }

    fn endpoints(&self, options: &Options) -> Vec<Endpoint> {
        let mut endpoints = vec![Endpoint { purpose: "query", port: PORT, path: Some("") }];
        endpoints.extend(receivers::open(options).map(|receiver| Endpoint {
            purpose: receiver.listener.name,
            port: receiver.listener.port,
            path: receiver.path,
        }));
        endpoints.sort_by_key(|endpoint| endpoint.purpose);
        endpoints
    }

    fn one_tenant(&self) -> &'static str {
        "single-tenant"
    }

    fn ready_path(&self) -> &'static str {
        "/ready"
    }

    fn in_ring(&self, role: Role) -> bool {
        role == Role::Ingester
    }

    fn relies_on(&self, role: Role) -> Option<Role> {
        // A query-frontend without queriers takes queries and lets them wait for ever.
        (role == Role::QueryFrontend).then_some(Role::Querier)
    }

    fn answers_beside(&self, _: &RoleSet, _: Role) -> bool {
        true
    }

    fn replicated_role(&self) -> Role {
        Role::Ingester
    }

    fn needs_peer(&self, roles: &RoleSet) -> Option<Peer> {
        // A querier takes one address; an address of all would serve only one of them.
        const FRONTENDS: Peer = Peer {
            role: Role::QueryFrontend,
            provided_by: &[Role::QueryFrontend],
            choice: Choice::Spread,
            through_gateway: false,
        };
        roles.contains(Role::Querier).then_some(FRONTENDS)
    }

    fn holds_data(&self, role: Role) -> bool {
        role == Role::Ingester
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

    fn flushed(&self, roles: &RoleSet) -> Option<Flushed> {
        drain::flushed(roles)
    }

    fn kill_delay(&self, roles: &RoleSet) -> Duration {
        drain::kill_delay(roles)
    }
}
