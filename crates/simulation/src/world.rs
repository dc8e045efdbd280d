//! Everything together: the API, the coordinator with the real planner, units, clients, the object store, users.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use muster_agent::machine::FAREWELLS;
use muster_api::{CoordinatorSpec, WorkerSpec};
use muster_model::{AppName, ObjectStorage, Reason, Role, RoleSet, RoleTable, Secret, UnitName};
use muster_planner::{
    CarryOver, ObjectStore, Observed, ObservedUnit, ObservedWorker, Plan, Probe, Seeds, Temporary, Tls, plan,
};
use muster_products::{Workload, role_table, supported_versions, workload};
use muster_relation::{Assignment, ClusterData};

use crate::bug::Bug;
use crate::ground::{Fault, Ground};
use crate::layout::{self, Start, app};
use crate::promises;
use crate::step::Step;
use crate::unit::{Unit, Uploads};

/// How long a good answer of the object store is trusted, and how soon a bad one is asked for again.
const PROBE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(5));
/// How many things may happen while time passes before it counts as running in circles.
const TOO_MUCH: u32 = 20_000;

/// A worker as the API has it.
#[derive(Debug, Clone)]
struct Document {
    spec: WorkerSpec,
    removing: bool,
    /// Whether the coordinator made it.
    temporary: bool,
}

/// Something that the coordinator does for a plan. It may be killed before each.
#[derive(Debug, Clone)]
enum Effect {
    Save(Box<Saved>),
    Deploy(Box<Temporary>),
    Withdraw(AppName),
    Create(UnitName),
    /// `takes`: it takes away a unit that serves.
    Assign {
        unit: UnitName,
        next: Assignment,
        takes: bool,
    },
    Remove(UnitName),
    Forget(AppName),
}

/// What the coordinator keeps beyond its life.
#[derive(Debug, Clone, Default)]
struct Saved {
    carry: CarryOver,
    cluster: Option<ClusterData>,
    balancer_cluster: Option<ClusterData>,
}

impl Saved {
    /// What the units of this one's kind share.
    fn shared_with(&self, unit: &Unit) -> Option<&ClusterData> {
        if unit.balances { self.balancer_cluster.as_ref() } else { self.cluster.as_ref() }
    }
}

/// The simulated cluster.
#[derive(Clone)]
pub struct World {
    start: Start,
    table: &'static RoleTable,
    workload: &'static dyn Workload,
    pub(crate) ground: Ground,
    storage: Box<ObjectStorage>,
    spec: CoordinatorSpec,
    /// What users want, also of workers that are still on their way out.
    wanted: BTreeMap<AppName, WorkerSpec>,
    documents: BTreeMap<AppName, Document>,
    units: BTreeMap<UnitName, Unit>,
    saved: Saved,
    /// What the coordinator's process remembers beyond that.
    memory: Option<CarryOver>,
    effects: VecDeque<Effect>,
    probe: Option<(Duration, bool)>,
    pub(crate) last: Option<Plan>,
    api_is_up: bool,
    /// Units that served, were told another process and are not back.
    away: BTreeMap<UnitName, RoleSet>,
    addresses: u16,
    pushed: u64,
}

/// The outcome of a cluster that came to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// The coordinator's status.
    pub status: String,
    /// What every unit runs that runs.
    pub runs: BTreeMap<UnitName, (RoleSet, String)>,
}

impl World {
    /// A cluster that was just deployed.
    ///
    /// # Panics
    /// The product has no version.
    #[must_use]
    pub fn new(start: Start, bug: Option<Bug>) -> Self {
        let wanted = layout::workers(start.product, start.layout);
        Self::with(start, bug, layout::coordinator(start), wanted)
    }

    fn with(
        start: Start,
        bug: Option<Bug>,
        spec: CoordinatorSpec,
        wanted: BTreeMap<AppName, WorkerSpec>,
    ) -> Self {
        let version = *supported_versions(start.product).first().expect("every product has a version");
        let mut world = Self {
            start,
            table: role_table(start.product, version).expect("a supported version has a role table"),
            workload: workload(start.product),
            ground: Ground::new(start.product, bug),
            storage: Box::new(storage()),
            spec,
            wanted,
            documents: BTreeMap::new(),
            units: BTreeMap::new(),
            saved: Saved::default(),
            memory: None,
            effects: VecDeque::new(),
            probe: None,
            last: None,
            api_is_up: true,
            away: BTreeMap::new(),
            addresses: 0,
            pushed: 0,
        };
        world.edit();
        world
    }

    /// The first invariant that was broken.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.ground.fault.as_ref()
    }

    /// Tells what stands where, for people who look for a fault.
    #[must_use]
    pub fn describe(&self) -> String {
        let units: Vec<_> = self.units.values().map(Unit::to_string).collect();
        format!(
            "{:?} {}\n  {}\n  away: {:?}",
            self.ground.now,
            self.status(),
            units.join("\n  "),
            self.away.keys()
        )
    }

    /// Takes one step.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Plan => self.coordinate(),
            Step::Round => {
                self.round();
            }
            Step::Pass(ms) => self.pass(Duration::from_millis(ms.into())),
            Step::Push(writes) => (0..writes).for_each(|_| self.push()),
            Step::Ship(unit) => self.with_unit(unit, Unit::ship),
            Step::KillProcess(unit) => self.with_unit(unit, |unit, ground| unit.kill_process(ground.now)),
            Step::KillAgent(unit) => self.with_unit(unit, |unit, ground| unit.kill_agent(ground.now)),
            Step::KillUnit(unit) => self.with_unit(unit, |unit, ground| unit.kill(ground.now)),
            Step::Restart(unit) => self.with_unit(unit, Unit::restart),
            Step::KillCoordinator => self.kill_coordinator(),
            Step::Cut(unit) => self.with_unit(unit, |unit, _| unit.cut = true),
            Step::Mend(unit) => self.with_unit(unit, |unit, _| unit.cut = false),
            Step::Freeze(unit) => self.with_unit(unit, |unit, _| unit.frozen = true),
            Step::Thaw(unit) => self.with_unit(unit, |unit, _| unit.frozen = false),
            Step::Forget(unit) => self.with_unit(unit, |unit, _| unit.heard = None),
            Step::ApiDown => self.api_is_up = false,
            Step::ApiUp => self.api_is_up = true,
            Step::StoreDown => self.ground.store_is_up = false,
            Step::StoreUp => self.ground.store_is_up = true,
            Step::FailUploads(unit) => self.with_unit(unit, |unit, _| unit.uploads = Uploads::Fail),
            Step::SlowUploads(unit) => self.with_unit(unit, |unit, _| unit.uploads = Uploads::Slow),
            Step::MendUploads(unit) => self.with_unit(unit, |unit, _| unit.uploads = Uploads::Work),
            Step::Scale(worker, units) => self.edit_worker(worker, |spec| spec.units = units),
            Step::Toggle(worker, role) => {
                let RoleTable { required, optional, meta, .. } = self.table;
                let known: RoleSet =
                    required.iter().chain(optional.iter()).chain(meta.keys().copied()).collect();
                let roles: Vec<Role> = known.iter().collect();
                let role = roles[role as usize % roles.len()].to_string();
                self.edit_worker(worker, |spec| {
                    let is_on = spec.roles.entry(role).or_insert(false);
                    *is_on = !*is_on;
                });
            }
            Step::Trade(one, other) => {
                if let (Some(one), Some(other)) = (self.worker(one), self.worker(other)) {
                    let roles = |name: &AppName| self.wanted.get(name).map(|spec| spec.roles.clone());
                    for (name, roles) in [(&one, roles(&other)), (&other, roles(&one))] {
                        if let (Some(spec), Some(roles)) = (self.wanted.get_mut(name), roles) {
                            spec.roles = roles;
                        }
                    }
                }
            }
            Step::Dismiss => self.dismiss(),
            Step::Remove(worker) => {
                if let Some(name) = self.worker(worker) {
                    self.wanted.remove(&name);
                }
            }
            Step::Become(number) => self.wanted = layout::workers(self.start.product, number),
            Step::Set(number) => layout::set(&mut self.spec, self.start.product, number),
            Step::EditBack => self.edit_back(),
        }
        self.edit();
        self.look();
    }

    /// Takes all edits back.
    pub(crate) fn edit_back(&mut self) {
        self.wanted = layout::workers(self.start.product, self.start.layout);
        self.spec = layout::coordinator(self.start);
    }

    /// Removes the temporary worker, as a user may.
    fn dismiss(&mut self) {
        let temporary = self.documents.values_mut().filter(|document| document.temporary);
        temporary.for_each(|document| document.removing |= self.api_is_up);
    }

    fn with_unit(&mut self, number: u32, act: impl FnOnce(&mut Unit, &mut Ground)) {
        let count = self.units.len().max(1);
        if let Some(unit) = self.units.values_mut().nth(number as usize % count) {
            act(unit, &mut self.ground);
        }
    }

    fn worker(&self, number: u32) -> Option<AppName> {
        self.wanted.keys().nth(number as usize % self.wanted.len().max(1)).cloned()
    }

    fn edit_worker(&mut self, number: u32, edit: impl FnOnce(&mut WorkerSpec)) {
        if let Some(spec) = self.worker(number).and_then(|name| self.wanted.get_mut(&name)) {
            edit(spec);
        }
    }

    /// Brings what users want into the API. What is on its way out is deployed again once it is gone.
    fn edit(&mut self) {
        if !self.api_is_up {
            return;
        }
        for (name, document) in self.documents.iter_mut().filter(|(_, document)| !document.temporary) {
            match self.wanted.get(name) {
                None => document.removing = true,
                Some(spec) if !document.removing && document.spec != *spec => {
                    document.spec.clone_from(spec);
                }
                Some(_) => {}
            }
        }
        for (name, spec) in &self.wanted {
            self.documents.entry(name.clone()).or_insert_with(|| Document {
                spec: spec.clone(),
                removing: false,
                temporary: false,
            });
        }
    }

    fn name() -> AppName {
        app("coordinator")
    }

    fn timestamp(&self) -> Timestamp {
        let now = i64::try_from(self.ground.now.as_millis()).unwrap_or(i64::MAX);
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(now)
    }

    // The coordinator.

    fn kill_coordinator(&mut self) {
        self.effects.clear();
        self.memory = None;
        self.probe = None;
        let json = serde_json::to_vec(&self.saved.carry).expect("what is carried over has a JSON form");
        self.saved.carry = serde_json::from_slice(&json).expect("what was written can be read");
    }

    fn coordinate(&mut self) {
        match self.effects.pop_front() {
            _ if !self.api_is_up => {}
            Some(effect) => self.carry_out(effect),
            None => self.plan(),
        }
    }

    /// Carries out what is left, plans, and carries that out. Says whether that plan changed anything.
    pub(crate) fn round(&mut self) -> bool {
        if !self.api_is_up {
            return false;
        }
        let drain = |world: &mut Self| {
            while let Some(effect) = world.effects.pop_front() {
                world.carry_out(effect);
            }
        };
        drain(self);
        self.plan();
        let busy = !self.effects.is_empty();
        drain(self);
        self.edit();
        busy
    }

    fn gather(&mut self) -> Observed {
        let now = self.ground.now;
        let due = self.probe.is_none_or(|(at, good)| now >= at + if good { PROBE.0 } else { PROBE.1 });
        if due {
            self.probe = Some((now, self.ground.store_is_up));
        }
        let at = self.timestamp();
        let probe = match self.probe {
            Some((_, true)) => Probe::Ready { at },
            _ => Probe::Failed {
                at,
                reason: Reason::ObjectStoreUnreachable,
                message: "the object store does not answer".to_owned(),
            },
        };
        let mut carry = self.saved.carry.clone();
        if let Some(memory) = &self.memory {
            carry.remember(memory);
        }
        let mut balancers = BTreeMap::new();
        let mut workers: BTreeMap<AppName, ObservedWorker> = self
            .documents
            .iter()
            .map(|(name, document)| {
                let worker = ObservedWorker {
                    spec: document.spec.clone(),
                    removing: document.removing,
                    temporary: document.temporary,
                    ..ObservedWorker::default()
                };
                (name.clone(), worker)
            })
            .collect();
        for (name, unit) in &mut self.units {
            let connected = !unit.cut && unit.agent.is_some();
            if connected && !unit.frozen {
                unit.heard = unit.report();
            }
            let observed = ObservedUnit {
                address: Some(unit.address.clone()),
                assigned: unit.assigned.clone(),
                report: unit.heard.clone(),
                connected,
                ..ObservedUnit::default()
            };
            if unit.balances {
                balancers.insert(name.number(), observed);
            } else if let Some(worker) = workers.get_mut(name.application()) {
                worker.units.insert(name.number(), observed);
            }
        }
        Observed {
            name: Self::name(),
            cluster_id: "id".to_owned(),
            spec: self.spec.clone(),
            removing: false,
            balancers,
            workers,
            object_store: ObjectStore::Related { storage: self.storage.clone(), probe },
            tls: Tls::Off,
            remote_write: BTreeMap::new(),
            gateway: Some("gateway".to_owned()),
            temporary_name_taken: false,
            seeds: Seeds::Name("gossip:7946".to_owned()),
            obstacles: Vec::new(),
            carry,
        }
    }

    fn plan(&mut self) {
        let observed = self.gather();
        let mut plan = plan(&observed, self.timestamp());
        #[cfg(feature = "deliberate-bugs")]
        crate::sabotage::spoil(&mut plan, &observed, self.ground.bug);
        let changes = plan.changes(&observed);
        let terms = self.terms();
        promises::of_plan(&terms, &observed, &plan, &changes, &mut self.ground);

        let mut effects = VecDeque::new();
        let strip = |mut cluster: ClusterData| {
            // Nobody here reads the texts.
            cluster.documents.values_mut().for_each(String::clear);
            cluster
        };
        let saved = Saved {
            carry: plan.carry.clone(),
            cluster: plan.cluster.clone().map(strip).or_else(|| self.saved.cluster.clone()),
            balancer_cluster: plan
                .balancer_cluster
                .clone()
                .map(strip)
                .or_else(|| self.saved.balancer_cluster.clone()),
        };
        self.memory = Some(plan.carry.clone());
        let binds = !saved.carry.decides_like(&observed.carry)
            || saved.cluster != self.saved.cluster
            || saved.balancer_cluster != self.saved.balancer_cluster;
        let mut save = (binds || saved.carry != self.saved.carry).then(|| Effect::Save(Box::new(saved)));
        if binds {
            effects.extend(save.take());
        }
        effects.extend(changes.deploy.map(|temporary| Effect::Deploy(Box::new(temporary))));
        effects.extend(changes.withdraw.map(Effect::Withdraw));
        effects.extend(changes.create.into_iter().map(Effect::Create));
        let stops = promises::stops_all(&terms, &observed, &plan);
        for (unit, next) in changes.assign {
            let takes = !stops && promises::takes(&observed, &unit, &next);
            if takes && promises::is_held(&terms, &observed, &unit, &next, self.start.copies as usize) {
                self.check_found(&unit);
            }
            effects.push_back(Effect::Assign { unit, next, takes });
        }
        for name in &changes.remove {
            let in_ring = self.units.get(name).is_some_and(|unit| unit.in_ring);
            // Where all stop the ring ends with them.
            if in_ring
                && !stops
                && let Some(witness) = promises::sees_ring(&terms, &observed, &changes.remove)
            {
                self.ground.breaks("places in rings", || {
                    format!("{name} is taken away while {witness} sees it in the ring")
                });
            }
        }
        effects.extend(changes.remove.into_iter().map(Effect::Remove));
        let gone =
            observed.workers.iter().filter(|(name, w)| w.removing && plan.is_gone(name, &Self::name()));
        effects.extend(gone.map(|(name, _)| Effect::Forget(name.clone())));
        effects.extend(save);
        self.effects = effects;
        self.last = Some(plan);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Save(saved) => self.saved = *saved,
            Effect::Deploy(temporary) => {
                let Temporary { name, spec } = *temporary;
                self.documents.entry(name).or_insert(Document { spec, removing: false, temporary: true });
            }
            Effect::Withdraw(name) => {
                if let Some(document) = self.documents.get_mut(&name) {
                    document.removing = true;
                }
            }
            Effect::Create(name) => {
                self.addresses += 1;
                let [high, low] = self.addresses.to_be_bytes();
                let balances = *name.application() == Self::name();
                let unit = Unit::new(name.clone(), format!("127.20.{high}.{low}"), balances, self.ground.now);
                self.units.entry(name).or_insert(unit);
            }
            Effect::Assign { unit, next, takes } => self.assign(&unit, next, takes),
            Effect::Remove(name) => {
                let Some(unit) = self.units.remove(&name) else { return };
                self.away.remove(&name);
                if let Some(write) = self.ground.only_here(unit.disk.writes()) {
                    self.ground.breaks("acknowledged writes", || {
                        format!("{name} was taken away with its disk, which alone had write {write}")
                    });
                }
                // Its agent gives up in the end where its process never ends in good order.
                if unit.in_ring && unit.ring_is_noted && unit.killed < FAREWELLS {
                    self.ground.breaks("places in rings", || {
                        format!("{name} was taken away and is still in its ring")
                    });
                }
            }
            Effect::Forget(name) => {
                self.documents.remove(&name);
            }
        }
    }

    /// Checks that everybody has found what a unit uploaded that is told to give up data.
    fn check_found(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get(name) else { return };
        let quiesce = self.workload.quiesce(&unit.is_to_run(self.table));
        let found = quiesce.and_then(|_| unit.is_found_at(self.workload.found_after()));
        let now = self.ground.now;
        if let Some(at) = found.filter(|at| now < *at) {
            self.ground.breaks("found before it goes", || {
                format!("{name} is told to go {:?} before others find what it uploaded", at - now)
            });
        }
    }

    fn assign(&mut self, name: &UnitName, next: Assignment, takes: bool) {
        let Some(unit) = self.units.get_mut(name) else { return };
        if let Some(before) = unit.assigned.as_ref().filter(|before| before.epoch >= next.epoch) {
            self.ground.breaks("monotone epochs", || {
                format!("{name} was told epoch {} after {}", next.epoch, before.epoch)
            });
        }
        let before = unit.assigned.replace(next);
        if !takes {
            return;
        }
        let roles = self.table.expand(&before.map(|before| before.roles).unwrap_or_default());
        let rings: RoleSet = roles.iter().filter(|role| self.workload.in_ring(*role)).collect();
        for (other, away) in self.away.iter().filter(|(other, _)| *other != name) {
            if let Some(role) = rings.iter().find(|role| away.contains(*role)) {
                self.ground.breaks("quorum budget", || {
                    format!("{name} was told another process while {other} is away from the ring of {role}")
                });
            }
        }
        self.away.insert(name.clone(), rings);
    }

    // Time.

    fn deliver(&mut self) {
        if self.api_is_up {
            for unit in self.units.values_mut() {
                unit.deliver(self.saved.shared_with(unit), &mut self.ground);
            }
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.ground.now + time;
        self.deliver();
        for _ in 0..TOO_MUCH {
            let next = self.units.values_mut().filter_map(|unit| Some((unit.due()?, unit)));
            let Some((at, unit)) = next.min_by_key(|(at, _)| *at).filter(|(at, _)| *at <= until) else {
                self.ground.now = until;
                return self.look();
            };
            self.ground.now = self.ground.now.max(at);
            let name = unit.name.clone();
            unit.happen(&mut self.ground);
            self.forget();
            let Some(unit) = self.units.get_mut(&name) else { continue };
            if self.api_is_up {
                unit.deliver(self.saved.shared_with(unit), &mut self.ground);
            }
            self.come_back();
        }
        self.ground.breaks("time passes", || "an agent runs in circles".to_owned());
    }

    /// Takes away the places in the ring that an agent has given up.
    fn forget(&mut self) {
        for name in std::mem::take(&mut self.ground.forgotten) {
            let Some(unit) = self.units.get_mut(&name) else { continue };
            unit.in_ring = false;
            if unit.ingests() {
                self.ground.breaks("places in rings", || format!("{name} serves and lost its place"));
            }
        }
    }

    /// Forgets who was away and is not any more.
    fn come_back(&mut self) {
        let (units, table, workload) = (&self.units, self.table, self.workload);
        self.away.retain(|name, rings| {
            let Some(unit) = units.get(name).filter(|unit| !unit.has_settled()) else { return false };
            // What it gave up and what held data it is away from until it has uploaded all.
            let is_away = |role: Role| {
                unit.is_to_run(table).contains(role) || (workload.holds_data(role) && unit.holds_data())
            };
            *rings = rings.iter().filter(|role| is_away(*role)).collect();
            !rings.is_empty()
        });
    }

    /// What is checked after every step.
    fn look(&mut self) {
        self.come_back();
        let on_disks: BTreeSet<_> = self.units.values().flat_map(|unit| unit.disk.writes()).collect();
        let lost = |write: &&u64| !self.ground.bucket.contains(write) && !on_disks.contains(write);
        let lost = self.ground.acknowledged.iter().find(lost).copied();
        if let Some(write) = lost {
            self.ground.breaks("acknowledged writes", || format!("write {write} is nowhere"));
        }
    }

    // Clients.

    /// A client sends one write to the ring, and notes whether it was acknowledged.
    fn push(&mut self) {
        self.pushed += 1;
        let (write, copies) = (self.pushed, self.start.copies as usize);
        let takes = [Role::Distributor, Role::Write];
        let distributes = self.units.values().filter_map(|unit| unit.process.as_ref()).any(|process| {
            let roles = self.table.expand(&process.order.assignment.roles);
            process.ready && !process.stopping && takes.iter().any(|role| roles.contains(*role))
        });
        let ring: Vec<_> = self.units.values_mut().filter(|unit| unit.in_ring).collect();
        if !distributes || ring.is_empty() {
            return;
        }
        let first = usize::try_from(write).unwrap_or(0) % ring.len();
        let (mut replicas, mut taken) = (0, 0);
        let (before, after): (Vec<_>, Vec<_>) = ring.into_iter().enumerate().partition(|(n, _)| *n < first);
        for (_, unit) in after.into_iter().chain(before) {
            // Another one stands in for a unit that is on its way out.
            if unit.leaving || unit.read_only || replicas == copies {
                continue;
            }
            replicas += 1;
            if unit.ingests() {
                unit.disk.append(write);
                taken += 1;
            }
        }
        if taken > copies / 2 {
            self.ground.acknowledged.insert(write);
        }
    }

    // The end.

    /// Every fault ends.
    pub(crate) fn heal(&mut self) {
        self.api_is_up = true;
        self.ground.store_is_up = true;
        for unit in self.units.values_mut() {
            (unit.cut, unit.frozen, unit.uploads) = (false, false, Uploads::Work);
        }
        self.edit();
    }

    /// Lets everything happen until nothing does, or says what still goes on.
    pub(crate) fn settle(&mut self) -> Result<Rest, String> {
        let mut calm = 0;
        for _ in 0..600 {
            let busy = self.round();
            let rests = self.units.values().all(Unit::rests);
            calm = if busy || !rests { 0 } else { calm + 1 };
            if self.ground.fault.is_some() {
                return Err("a broken invariant".to_owned());
            }
            if calm >= 3 {
                return Ok(self.rest());
            }
            self.deliver();
            let due = self.units.values().filter_map(Unit::due).min();
            // At rest it is the time that brings something: a probe, a deadline.
            let wait = match due {
                Some(at) => at.saturating_sub(self.ground.now),
                None if busy => Duration::from_millis(10),
                None => Duration::from_secs(61),
            };
            self.pass(wait);
        }
        let busy = self.units.values().filter(|unit| !unit.rests() || !unit.has_settled());
        let busy: Vec<_> = busy.map(Unit::to_string).collect();
        Err(format!("it never comes to rest: {}; {}", self.status(), busy.join("; ")))
    }

    fn rest(&self) -> Rest {
        let runs = self.units.values().filter(|unit| !unit.balances).filter_map(|unit| {
            let order = &unit.process.as_ref()?.order.assignment;
            Some((unit.name.clone(), (order.roles.clone(), order.revision.to_string())))
        });
        Rest { status: self.status(), runs: runs.collect() }
    }

    /// The first acknowledged write that no query finds.
    pub(crate) fn unreadable(&self) -> Option<u64> {
        let served: BTreeSet<_> =
            self.units.values().filter(|unit| unit.ingests()).flat_map(|unit| unit.disk.writes()).collect();
        let hidden = |write: &&u64| !self.ground.bucket.contains(write) && !served.contains(write);
        self.ground.acknowledged.iter().find(hidden).copied()
    }

    /// The same documents, just deployed.
    pub(crate) fn afresh(&self) -> Self {
        Self::with(self.start, None, self.spec.clone(), self.wanted.clone())
    }

    /// Tells this world's documents from others.
    pub(crate) fn documents(&self) -> String {
        format!("{:?} {:?} {:?}", self.start, self.spec.config, self.wanted)
    }

    /// Whether a worker's roles are refused, so that it keeps what it ran last.
    pub(crate) fn keeps_old_roles(&self) -> bool {
        self.wanted.values().any(|spec| promises::is_refused(&self.terms(), spec))
    }

    fn terms(&self) -> promises::Terms {
        promises::Terms { table: self.table, workload: self.workload }
    }

    /// The temporary worker that is there.
    pub(crate) fn temporary(&self) -> Option<&AppName> {
        self.documents.iter().find(|(_, document)| document.temporary).map(|(name, _)| name)
    }

    /// What the last plan says is under way.
    pub(crate) fn transition(&self) -> Option<&str> {
        Some(self.last.as_ref()?.transition.as_ref()?.message.as_str())
    }

    /// The last plan's status.
    #[must_use]
    pub fn status(&self) -> String {
        self.last.as_ref().map(|plan| plan.status.to_string()).unwrap_or_default()
    }
}

fn storage() -> ObjectStorage {
    let pairs = [
        ("endpoint", "http://127.0.0.1:9000"),
        ("bucket", "objects"),
        ("access-key", "AK"),
        ("secret-key", "SK"),
    ];
    ObjectStorage::from_secret(&pairs.map(|(k, v)| (k.to_owned(), Secret::new(v))).into())
        .expect("the S3 data is complete")
}
