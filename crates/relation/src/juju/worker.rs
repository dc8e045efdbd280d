//! What workers tell their coordinator.

use muster_model::{AppName, RoleSet, UnitName};
use serde::{Deserialize, Serialize};

use super::Address;
use super::databag::{Databag, DatabagError, put, required};

const ROLE: &str = "role";
const JUJU_TOPOLOGY: &str = "juju_topology";

/// The application databag of a worker; its leader writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerApplication {
    /// The roles as declared, meta roles among them. Which of them a product has is for its role table to say.
    pub roles: RoleSet,
}

impl WorkerApplication {
    /// The whole databag: the roles in alphabetical order with commas between. Without roles it is empty, since a
    /// coordinator would count an empty text as a role, and one that is left from before as still there.
    #[must_use]
    pub fn encode(&self) -> Databag {
        let Self { roles } = self;
        let mut bag = Databag::new();
        if !roles.is_empty() {
            put(&mut bag, ROLE, &roles.to_string());
        }
        bag
    }

    /// Reads a databag. Keys that this build does not know are ignored.
    ///
    /// # Errors
    /// `role` is missing, is no text, or names a role that no product has.
    pub fn decode(bag: &Databag) -> Result<Self, DatabagError> {
        let text: String = required(bag, ROLE, "role names in double quotes, for example \"read,write\"")?;
        let role = |name: &str| name.parse().map_err(|_| DatabagError::UnknownRole(shown(name)));
        Ok(Self { roles: text.split(',').map(role).collect::<Result<_, _>>()? })
    }
}

/// The most of an unknown role that an error shows, in characters. The longest known role has 18.
const MAX_SHOWN: usize = 64;

fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN).collect()
}

/// The unit databag of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerUnit {
    /// Where coordinator and other units reach the unit. In a charm it is the pod's name in the headless service,
    /// `<app>-<n>.<app>-endpoints.<model>.svc.cluster.local`.
    pub address: Address,
    /// The unit, which tells its application.
    pub unit: UnitName,
    /// The charm that runs the unit, for example `mimir-worker-k8s`. A label on what the coordinator scrapes.
    pub charm_name: String,
}

/// The fields are written in this order.
#[derive(Serialize, Deserialize)]
struct Topology {
    application: AppName,
    unit: UnitName,
    charm_name: String,
}

impl WorkerUnit {
    /// The whole databag, apart from what Juju itself puts into each unit's.
    #[must_use]
    pub fn encode(&self) -> Databag {
        let Self { address, unit, charm_name } = self;
        let topology = Topology {
            application: unit.application().clone(),
            unit: unit.clone(),
            charm_name: charm_name.clone(),
        };
        let mut bag = Databag::new();
        put(&mut bag, Address::KEY, address.as_str());
        put(&mut bag, JUJU_TOPOLOGY, &topology);
        bag
    }

    /// Reads a databag. Keys that this build does not know, Juju's own among them, are ignored whatever they hold,
    /// and so are further fields of the topology.
    ///
    /// # Errors
    /// A key is missing, the address is none, or the topology lacks a name or contradicts itself.
    pub fn decode(bag: &Databag) -> Result<Self, DatabagError> {
        let expected = "an object with the texts \"application\", \"unit\" (of that application, for example \"mimir-read/0\") and \"charm_name\"";
        let address: String = required(bag, Address::KEY, "a text in double quotes")?;
        let topology: Topology = required(bag, JUJU_TOPOLOGY, expected)?;
        if topology.unit.application() != &topology.application {
            return Err(DatabagError::Unusable { key: JUJU_TOPOLOGY, expected });
        }
        Ok(Self { address: Address::new(address)?, unit: topology.unit, charm_name: topology.charm_name })
    }
}
