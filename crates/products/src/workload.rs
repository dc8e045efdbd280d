//! What differs between products once they run.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use muster_model::route::Listener;
use muster_model::{ObjectStorage, Product, Role, RoleSet, Secret, Version};
use serde_json::{Map, Value};

use crate::charm::Options;
use crate::held::{Disk, Ending};
use crate::placeholder::FillError;
use crate::{OwnedOverride, Quiesce, Ring, loki, mimir, tempo};

/// The longest message of [`Workload::check_message`], in bytes.
pub const MAX_MESSAGE_LEN: usize = 1024;

/// One product as something that can be configured, started and stopped.
pub trait Workload: Sync {
    /// The config that all units share: a YAML document with [placeholders](crate::placeholder). Total; equal inputs
    /// give equal bytes; free of secrets, unit names, counts and addresses. Overrides that touch what Muster owns
    /// are left out.
    fn shared_config(&self, inputs: &ConfigInputs<'_>) -> String;

    /// The overrides that touch what Muster owns, each with what to do instead.
    fn owned_overrides(&self, overrides: &Map<String, Value>) -> Vec<OwnedOverride>;

    /// Why the product cannot keep its objects there, as one line that names the fix. `None`: it can.
    fn check_storage(&self, storage: &ObjectStorage) -> Option<String>;

    /// Fills the placeholders of a shared config for one unit. The result holds the S3 credentials.
    fn unit_config(&self, document: &str, values: &UnitValues) -> Result<String, FillError>;

    /// The roles to run on a unit whose worker declares `declared`. `scheduler_elsewhere`: another unit runs a
    /// query-scheduler. Roles that the product does not know are left out; no role gives no role.
    fn assign_roles(&self, declared: &RoleSet, scheduler_elsewhere: bool) -> Result<RoleSet, RoleConflict>;

    /// The arguments of the binary that run `roles` with the config file at `config`.
    fn arguments(&self, roles: &RoleSet, config: &str) -> Vec<String>;

    /// The arguments of the same binary that check the config file offline: exit code 0 if it is good, else the
    /// reason on stderr. Opens no socket and touches no other file.
    fn check_arguments(&self, roles: &RoleSet, config: &str) -> Vec<String>;

    /// The binary's own complaint out of the stderr of a failed check: one line of at most
    /// [`MAX_MESSAGE_LEN`] bytes without control characters.
    fn check_message(&self, stderr: &str) -> String;

    /// What the load balancer listens on with these options, the main port first. No admin path.
    fn listeners(&self, options: &Options) -> Vec<Listener>;

    /// What makes a deployment with these options useless although nothing is wrong, with the option that changes it.
    fn advice(&self, options: &Options) -> Option<&'static str>;

    /// Where clients send data and queries with these options, by purpose.
    fn endpoints(&self, options: &Options) -> Vec<Endpoint>;

    /// The tenant that everything belongs to where clients name none.
    fn one_tenant(&self) -> &'static str;

    /// The path that answers 200 once the unit can serve.
    fn ready_path(&self) -> &'static str;

    /// Whether only one unit of this role may be away at a time, lest replicas are missing.
    fn in_ring(&self, role: Role) -> bool;

    /// The role of some other unit without which a unit of `role` takes requests and answers none. A unit that runs `all`
    /// relies on nobody.
    fn relies_on(&self, role: Role) -> Option<Role>;

    /// Whether a unit that runs `all` answers all that `role` is asked for where `others` are run by units of their own. If not, it serves
    /// only where nobody else does.
    fn answers_beside(&self, others: &RoleSet, role: Role) -> bool;

    /// The role whose units keep the copies of fresh data: the replication factor counts them.
    fn replicated_role(&self) -> Role;

    /// The ring of the [replicated role](Self::replicated_role), as units show it.
    fn ring(&self) -> Ring;

    /// The role of the one unit that a unit with these (assigned) roles must be told of because it finds it nowhere else.
    fn needs_peer(&self, roles: &RoleSet) -> Option<Peer>;

    /// Whether a unit of this role holds acknowledged data that is not yet in the object store.
    fn holds_data(&self, role: Role) -> bool;

    /// How a unit with these (assigned) roles uploads what it holds, and takes nothing more where it can, while it answers queries. `None`:
    /// it holds nothing, or cannot.
    fn quiesce(&self, roles: &RoleSet) -> Option<&'static Quiesce>;

    /// How long after an upload everybody is sure to find it in the object store, with the settings of the shared config.
    fn found_after(&self) -> Duration;

    /// The calls to the unit's HTTP port before the SIGTERM of a unit that leaves for good: with them it uploads
    /// what it holds and leaves its rings.
    fn leave_calls(&self, roles: &RoleSet) -> &'static [HttpCall];

    /// What a unit that ran `roles` and has ended holds on its disk that is not in the object store, in one line. `None`: all is there.
    ///
    /// # Errors
    /// The disk cannot be read, so nobody knows.
    fn held(&self, roles: &RoleSet, disk: &dyn Disk, ending: Ending) -> io::Result<Option<String>>;

    /// How to see, after SIGTERM, that a unit holds nothing any more, where its process may go on for ever all the same.
    fn flushed(&self, roles: &RoleSet) -> Option<Flushed>;

    /// How long SIGTERM may take before SIGKILL: the flush budget of the slowest role.
    fn kill_delay(&self, roles: &RoleSet) -> Duration;
}

/// What differs between products once they run.
#[must_use]
pub fn workload(product: Product) -> &'static dyn Workload {
    match product {
        Product::Mimir => &mimir::Mimir,
        Product::Tempo => &tempo::Tempo,
        Product::Loki => &loki::Loki,
    }
}

/// Something that clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is for, in one word or two.
    pub purpose: &'static str,
    /// The load balancer's port.
    pub port: u16,
    /// The path below it. `None`: gRPC, which is named by `host:port`.
    pub path: Option<&'static str>,
}

impl Endpoint {
    /// How a client is given it, on a load balancer at `host`.
    #[must_use]
    pub fn at(&self, host: &str, tls: bool) -> String {
        match self.path {
            Some(path) => format!("{}://{host}:{}{path}", if tls { "https" } else { "http" }, self.port),
            None => format!("{host}:{}", self.port),
        }
    }
}

/// A unit that others are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// What it is turned to for: the key of `Assignment::peers`.
    pub role: Role,
    /// One of the assigned roles that make a unit such a peer.
    pub provided_by: &'static [Role],
    /// How many such units are used.
    pub choice: Choice,
    /// Whether the load balancer leads to it as well: where units can reach that, this one need be told of nobody.
    pub through_gateway: bool,
}

/// How many peers of a kind are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// One leads, and everybody turns to it, itself included. It stays the same as long as it is there, and is told of nobody.
    Leader,
    /// All, each by a part of the units.
    Spread,
}

/// All that the shared config is made from.
#[derive(Debug, Clone, Copy)]
pub struct ConfigInputs<'a> {
    /// Tells this cluster's gossip from others'. Unique per coordinator and model.
    pub cluster_id: &'a str,
    /// The product's version line.
    pub version: Version,
    /// Where the objects go. Its credentials do not get into the config.
    pub storage: &'a ObjectStorage,
    /// The coordinator charm's options, validated.
    pub options: &'a Options,
    /// How many units hold each piece of data; 1 or more. The option of that name is not read: its 0 stands for a
    /// choice that the planner makes.
    pub replication_factor: u8,
    /// Where units reach the load balancer, without a port. `None`: that is not known, or it speaks TLS with a certificate that they need
    /// not know.
    pub gateway: Option<&'a str>,
    /// Where the metrics go that the product makes of its data, in the order of their names. None are made where there is none.
    pub remote_write: &'a [RemoteWrite],
    /// Merged into the document: maps deeply, lists and scalars replaced, null removes.
    pub overrides: Option<&'a Map<String, Value>>,
}

/// A place that takes metrics by Prometheus's remote-write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWrite {
    /// What it is called: the coordinator's name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// The authorities that sign its certificate, in PEM. The machine's own where there is none.
    pub ca: Option<String>,
    /// Whether it refuses what names no tenant.
    pub needs_tenant: bool,
}

/// What only the unit knows: fills the placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitValues {
    /// The address that it listens on and that others reach it at, without a port.
    pub address: String,
    /// Its name in rings: unique and the same after a restart.
    pub id: String,
    /// The directory for its data, which exists and is writable. Absolute.
    pub data_directory: String,
    /// Gossip seeds, `host:port`.
    pub seeds: Vec<String>,
    /// Where the unit finds the one unit of a role that it is to turn to: a host without a port.
    pub peers: BTreeMap<Role, String>,
    /// Its roles, as [`Workload::assign_roles`] gave them.
    pub roles: RoleSet,
    /// The S3 access key.
    pub access_key: Secret,
    /// The S3 secret key.
    pub secret_key: Secret,
    /// A file with the authorities that sign the S3 endpoint's certificate; there if and only if the S3 relation
    /// has a chain.
    pub ca_file: Option<String>,
}

/// One HTTP request without a body. Any 2xx status is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpCall {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
}

/// A page with a table of the process's services, `| NAME | STATE | … |`, that says whether one of them has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// The page, answered to GET.
    pub path: &'static str,
    /// The service. It ends when everything that it holds is in the object store.
    pub service: &'static str,
}

impl Flushed {
    /// Whether the page says so.
    #[must_use]
    pub fn is_said(&self, page: &str) -> bool {
        page.lines().any(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            cells.next() == Some(self.service) && cells.next() == Some("Terminated")
        })
    }
}

/// One process cannot run these roles together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleConflict {
    /// Mimir panics, and no other unit runs a query-scheduler that would make this one's superfluous.
    #[error(
        "querier and query-scheduler cannot share a unit, and no other unit runs a query-scheduler: set role-all=true, or give query-scheduler (part of backend) to another worker"
    )]
    SchedulerBesideQuerier,
    /// Loki sets up its index by the roles of a process: with `write` among them queries never look into the object store.
    #[error(
        "write cannot share a unit with read or backend, whose queries would miss all that is in the object store: set role-all=true, or give write to another worker"
    )]
    WriteBesideOthers,
}
