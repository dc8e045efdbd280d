//! What the units of a coordinator would be told, one of each kind: enough to check its documents before there is any unit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;
use muster_model::{GOSSIP_PORT, Role, RoleSet, Secret, UnitName, host_and_port};
use muster_relation::{Assignment, ClusterData, Run};

use crate::abandon::Abandonments;
use crate::balancer;
use crate::gate::Gate;
use crate::observed::{NO_EPOCH, ObjectStore, Observed, ObservedUnit, Tls};
use crate::peers::Peers;
use crate::plan::{members, plan};
use crate::rollout::Want;
use crate::validate;

/// Stands for the S3 credentials: whether they are right no config check can tell, so they need not be at hand or in any file.
const CREDENTIAL: &str = "sample";
/// As many units of a worker as make a difference to what each is told: whether it is alone.
const MOST_OF_A_WORKER: u32 = 2;

/// One unit that could be, and what it would be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specimen {
    /// Its name.
    pub unit: UnitName,
    /// Its address, on the loopback network.
    pub address: Ipv4Addr,
    /// What it would be told.
    pub assignment: Assignment,
}

/// The documents of a coordinator with the units that they could be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specimens {
    /// What the workers share, with samples in the place of the S3 credentials, and one unit for each different set of roles. Absent
    /// where the config cannot be made; the findings of the [plan] say why.
    pub workers: Option<(ClusterData, Vec<Specimen>)>,
    /// The load balancer's document and unit. Absent where its certificate is not usable.
    pub balancer: Option<(ClusterData, Specimen)>,
}

/// Makes up units for what is observed of a coordinator without any. Nothing comes of a product that this build cannot run.
#[must_use]
pub fn specimens(observed: &Observed) -> Option<Specimens> {
    let planned = plan(observed, Timestamp::UNIX_EPOCH);
    let mut observed = observed.clone();
    let addresses = populate(&mut observed);
    let mut findings = Vec::new();
    let line = validate::line(&observed, &mut findings)?;
    let checked = validate::options(&observed, &line, &mut findings);
    let declared = validate::workers(&observed, &line, &mut findings);
    let members = members(&observed, &line, &declared, Gate::Open, &Abandonments::default());
    let peers = Peers::choose(&members, &line, observed.usable_gateway());
    let mut kinds: BTreeMap<&RoleSet, &UnitName> = BTreeMap::new();
    for member in &members {
        if let Want::Run(roles) = &member.want {
            kinds.entry(roles).or_insert(&member.name);
        }
    }
    // Without a worker the config can be right or wrong all the same.
    let (everything, nobody) = (RoleSet::from([Role::All]), observed.name.unit(0));
    if kinds.is_empty() {
        kinds.insert(&everything, &nobody);
    }
    let seed = host_and_port(&Ipv4Addr::LOCALHOST.to_string(), GOSSIP_PORT);
    let tell = |revision, roles: &RoleSet, unit: &UnitName| Specimen {
        unit: unit.clone(),
        address: addresses.get(unit).copied().unwrap_or(Ipv4Addr::LOCALHOST),
        assignment: Assignment {
            epoch: NO_EPOCH + 1,
            revision,
            roles: roles.clone(),
            run: Run::Start,
            gives_up: false,
            quiesces: false,
            forgets: BTreeSet::new(),
            peers: peers.of(unit),
            seeds: vec![seed.clone()],
        },
    };
    let workers = match (planned.carry.rendered, &observed.object_store) {
        (Some(rendered), ObjectStore::Related { storage, .. }) => {
            let mut storage = storage.as_ref().clone();
            storage.access_key = Secret::new(CREDENTIAL);
            storage.secret_key = Secret::new(CREDENTIAL);
            let cluster = ClusterData {
                product: line.product,
                version: line.version,
                documents: [(rendered.revision.clone(), rendered.text.to_string())].into(),
                object_storage: Some(storage),
                tls: None,
            };
            let units = kinds.iter().map(|(roles, unit)| tell(rendered.revision.clone(), roles, unit));
            Some((cluster, units.collect()))
        }
        _ => None,
    };
    let usable = !matches!(observed.tls, Tls::Invalid(_));
    let balancer = usable.then(|| {
        let listeners = line.workload.listeners(&checked.options);
        let tenant = balancer::tenant(&line, &checked.options);
        let balancer = balancer::balancer(&observed, &line, &listeners, tenant, &members, &BTreeSet::new());
        let unit = tell(balancer.revision, &RoleSet::new(), &observed.name.unit(0));
        (balancer.cluster, unit)
    });
    Some(Specimens { workers, balancer })
}

/// Gives every worker units, and each of these an address.
fn populate(observed: &mut Observed) -> BTreeMap<UnitName, Ipv4Addr> {
    let mut addresses = BTreeMap::new();
    let mut next = Ipv4Addr::LOCALHOST.to_bits();
    for (name, worker) in &mut observed.workers {
        worker.units.clear();
        for number in 0..worker.spec.units.min(MOST_OF_A_WORKER) {
            let address = Ipv4Addr::from_bits(next);
            next += 1;
            let unit =
                ObservedUnit { address: Some(address.to_string()), absent: true, ..ObservedUnit::default() };
            worker.units.insert(number, unit);
            addresses.insert(name.unit(number), address);
        }
    }
    addresses
}
