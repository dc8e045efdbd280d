//! What is observed of one coordinator and its workers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use muster_api::{CoordinatorSpec, OptionValue, WorkerSpec};
use muster_model::{AppName, Finding, ObjectStorage, Reason, Revision, RoleSet, TlsMaterial, UnitName};
use muster_relation::{Applied, Assignment, Report, Run, Service};
use serde::{Deserialize, Serialize};

use crate::abandon::{Abandonment, Consent};
use crate::config::Rendered;
use crate::hold::{Departed, Held};
use crate::remote_write::RemoteWriteTarget;
use crate::transition::Transition;
use crate::trial::{Failure, Trial};

/// The epoch of an assignment that no agent ever got.
pub(crate) const NO_EPOCH: u64 = 0;

/// Everything that a plan depends on, besides the time.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The coordinator's name.
    pub name: AppName,
    /// A text that no other cluster shares: the gossip label.
    pub cluster_id: String,
    /// The coordinator's spec.
    pub spec: CoordinatorSpec,
    /// Whether the coordinator is being removed.
    pub removing: bool,
    /// The load balancer's units by number.
    pub balancers: BTreeMap<u32, ObservedUnit>,
    /// The workers that are related to this coordinator.
    pub workers: BTreeMap<AppName, ObservedWorker>,
    /// The S3 relation.
    pub object_store: ObjectStore,
    /// The server certificate.
    pub tls: Tls,
    /// What the names in `spec.remoteWrite` stand for.
    pub remote_write: BTreeMap<String, RemoteWriteTarget>,
    /// Where units reach the load balancer, without a port. `None`: it has no address yet.
    pub gateway: Option<String>,
    /// Where new units find others to gossip with.
    pub seeds: Seeds,
    /// Whether an application that does not belong to this coordinator has the [name](crate::Temporary::name_for) of its temporary worker.
    pub temporary_name_taken: bool,
    /// What the substrate could not do, in its words.
    pub obstacles: Vec<Finding>,
    /// What the last plan decided and this one must remember.
    pub carry: CarryOver,
}

impl Observed {
    /// The load balancer's address, where units can speak to it: one with a certificate they would have to be told the authorities of.
    pub(crate) fn usable_gateway(&self) -> Option<&str> {
        self.gateway.as_deref().filter(|_| self.spec.tls.is_none())
    }
}

/// Where units find others to gossip with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seeds {
    /// At the addresses of the first units.
    #[default]
    Units,
    /// At a name that stands for all units, with its port. No unit's coming or going changes anybody's assignment.
    Name(String),
}

/// One worker application.
#[derive(Debug, Clone, Default)]
pub struct ObservedWorker {
    /// Its spec.
    pub spec: WorkerSpec,
    /// Whether it is being removed or its relation was taken away.
    pub removing: bool,
    /// Its units by number.
    pub units: BTreeMap<u32, ObservedUnit>,
    /// Whether its document cannot be read, and the spec is no more than what its units show. They stay as they are.
    pub unreadable: bool,
    /// Whether the coordinator made it itself, for a while: it serves, but is nothing that anybody asked for.
    pub temporary: bool,
}

impl ObservedWorker {
    /// Whether somebody asks for it, and goes on to.
    pub(crate) fn is_asked_for(&self) -> bool {
        !self.removing && !self.temporary
    }
}

/// One unit that exists.
#[derive(Debug, Clone, Default)]
pub struct ObservedUnit {
    /// The address that others reach it at, without a port.
    pub address: Option<String>,
    /// What it was last told.
    pub assigned: Option<Assignment>,
    /// What it last said.
    pub report: Option<Report>,
    /// Whether its agent can be reached now.
    pub connected: bool,
    /// Whether it is certain that neither agent nor workload run: there is no pod, or it was never started.
    pub absent: bool,
    /// Whether what it was told may have been lost, and it has not yet said what it does. It is told nothing until it has.
    pub unknown: bool,
    /// Whether the substrate's own probe finds the workload ready. It is asked where nothing else is known.
    pub answers_probe: bool,
    /// Whether the unit must be made anew to be as its application asks: another image, other resources.
    pub outdated: bool,
    /// Whether what ran here last may have left data on its disk that is nowhere else, while nobody is there who could tell.
    pub left_data: bool,
    /// Why its agent cannot be started, in one line.
    pub agent_problem: Option<String>,
    /// What tells it from a later one of the same name: the pod's uid, or on one machine an id made when the unit was.
    pub instance: Option<String>,
    /// What a person consented to lose with it.
    pub consent: Option<Consent>,
}

impl ObservedUnit {
    /// Makes up for an assignment that was lost: the unit was told to run what it runs. The epoch is none that agents obey, so that
    /// the next assignment is a new one.
    pub fn recall(&mut self) {
        let applied = self.report.as_ref().and_then(|report| report.applied.clone());
        if let (None, Some(Applied { revision, roles })) = (&self.assigned, applied) {
            self.assigned = Some(Assignment {
                epoch: NO_EPOCH,
                revision,
                roles,
                run: Run::Start,
                gives_up: false,
                quiesces: false,
                forgets: BTreeSet::new(),
                peers: BTreeMap::new(),
                seeds: Vec::new(),
            });
        }
    }

    /// Makes the unit one that has stopped, whatever it does: somebody said that nobody waits for it any more.
    pub(crate) fn count_as_gone(&mut self) {
        (self.absent, self.left_data, self.unknown, self.connected) = (true, false, false, false);
        self.report = None;
        if let Some(assigned) = &mut self.assigned {
            assigned.run = Run::Stop;
        }
    }

    /// Whether the unit serves what it was told: its agent is there, and its process runs and says that it is ready with
    /// the assigned revision and roles. A unit that refused a new config and kept the old one serves too.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let (Some(assigned), Some(report)) = (&self.assigned, &self.report) else { return false };
        let applied = report.applied.as_ref().is_some_and(|a| {
            (a.revision == assigned.revision && a.roles == assigned.roles) || self.refused().is_some()
        });
        assigned.run == Run::Start && applied && self.answers() && !report.ending
    }

    /// Whether the unit has said something since it got its last assignment. Until then it may be carrying out an earlier one that was
    /// taken back.
    pub(crate) fn obeys(&self) -> bool {
        let (Some(assigned), Some(report)) = (&self.assigned, &self.report) else { return false };
        report.epoch >= assigned.epoch
    }

    /// Whether anybody can tell what the unit does: one that cannot be seen may serve all the same.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.connected && self.report.is_some()
    }

    /// Whether a change of the unit does what it is meant to do: somebody can tell what it does, or it certainly does nothing.
    pub(crate) fn can_be_changed(&self) -> bool {
        self.absent || self.is_seen()
    }

    /// Whether the unit's process runs and says that it is ready, with whatever it runs.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.connected && self.answered()
    }

    /// Whether the unit's process ran and said that it was ready when its agent was last heard.
    #[must_use]
    pub fn answered(&self) -> bool {
        !self.absent && self.report.as_ref().is_some_and(|r| r.ready && r.service == Service::Running)
    }

    /// The complaint of the unit's own binary about the config that it was told to run.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        let (assigned, report) = (self.assigned.as_ref()?, self.report.as_ref()?);
        let check = report
            .check
            .as_ref()
            .filter(|c| c.revision == assigned.revision && report.epoch >= assigned.epoch)?;
        check.rejected.as_deref()
    }

    /// `next` with the epoch that it needs to be obeyed, or what the unit was told last if `next` is no news. The first epoch of a
    /// unit of which nothing is known is left open.
    pub(crate) fn tell(&self, next: Assignment) -> Assignment {
        let now = self.assigned.as_ref();
        let epoch = now.map(|a| a.epoch).max(self.report.as_ref().map(|r| r.epoch));
        match now {
            Some(now)
                if now.same_process(&next)
                    && now.seeds == next.seeds
                    && now.quiesces == next.quiesces
                    && now.forgets == next.forgets
                    && epoch == Some(now.epoch) =>
            {
                now.clone()
            }
            // An agent that has seen a higher epoch, because the coordinator lost its memory, obeys a higher one only.
            _ => Assignment { epoch: epoch.map_or(NO_EPOCH, |epoch| epoch + 1), ..next },
        }
    }

    /// What makes the unit stop. What was never started need not be stopped. `gives_up`: it need not keep what it cannot upload.
    /// `seeds`: where those are who must hear that it leaves, if there are any.
    pub(crate) fn tell_to_stop(&self, gives_up: bool, seeds: &[String]) -> Option<Assignment> {
        let mut next = self.assigned.clone()?;
        if next.run == Run::Start && !seeds.is_empty() {
            next.seeds = seeds.to_vec();
        }
        Some(self.tell(Assignment { run: Run::Stop, gives_up, quiesces: false, ..next }))
    }

    /// Whether something says that the unit will not serve soon: its process ended by itself or has not been ready for long, or
    /// nobody hears its agent.
    pub(crate) fn is_in_trouble(&self) -> bool {
        let says = |report: &Report| report.last_exit.is_some() || report.waiting.is_some();
        !self.connected || self.agent_problem.is_some() || self.report.as_ref().is_some_and(says)
    }

    /// Whether the unit was told to run.
    #[must_use]
    pub fn is_told_to_run(&self) -> bool {
        self.assigned.as_ref().is_some_and(|a| a.run == Run::Start)
    }

    /// Whether the unit has carried out the order to stop, or never had one to start.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        match (&self.assigned, &self.report) {
            (None, None) => !self.unknown,
            // What it was told was lost, and its process is about to be there or to end: then it says more.
            (None, Some(report)) => {
                matches!(report.service, Service::Inactive | Service::Stopped | Service::Backoff)
            }
            // Whoever comes back to that disk finishes what was begun.
            (Some(assigned), _) if self.absent => assigned.run == Run::Stop && !self.left_data,
            (Some(assigned), Some(report)) => {
                assigned.run == Run::Stop
                    && report.epoch >= assigned.epoch
                    && matches!(report.service, Service::Stopped | Service::Inactive)
            }
            (Some(_), None) => false,
        }
    }

    /// The roles of the running process, or else the roles it was last told.
    #[must_use]
    pub fn current_roles(&self) -> RoleSet {
        let applied = self.report.as_ref().and_then(|r| r.applied.as_ref()).map(|a| &a.roles);
        applied.or(self.assigned.as_ref().map(|a| &a.roles)).cloned().unwrap_or_default()
    }
}

/// The S3 relation.
#[derive(Debug, Clone)]
pub enum ObjectStore {
    /// `spec.s3` is absent.
    NotRelated,
    /// The Secret that `spec.s3` names is not there, or is no S3 Secret.
    SecretMissing(String),
    /// The Secret's content cannot be right.
    Invalid {
        /// The Secret's name.
        secret: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Another coordinator has the same bucket and path.
    Taken {
        /// The bucket.
        bucket: String,
        /// The coordinator that was first, as far as it must be named to be found.
        by: String,
    },
    /// The Secret is complete.
    Related {
        /// What it says.
        storage: Box<ObjectStorage>,
        /// What the last probe with exactly this data found.
        probe: Probe,
    },
}

/// The result of a probe of the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// None has finished yet.
    Pending,
    /// Put, head, list, get and delete worked.
    Ready {
        /// When.
        at: Timestamp,
    },
    /// It failed.
    Failed {
        /// When.
        at: Timestamp,
        /// How, as a stable word.
        reason: Reason,
        /// How, and what to do.
        message: String,
    },
}

/// The server certificate.
#[derive(Debug, Clone)]
pub enum Tls {
    /// `spec.tls` is absent.
    Off,
    /// The Secret is absent or unusable.
    Invalid(String),
    /// The material.
    On(TlsMaterial),
}

/// What a plan must remember of the last one. Kept with the coordinator's status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CarryOver {
    /// The replication factor that data is written with. Only ever raised, once enough units are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u8>,
    /// The charm config that was last good, as it was given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, OptionValue>,
    /// The revision that units were last moved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Revision>,
    /// The last revision that every unit became ready with, or the first that any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Revision>,
    /// The last revision that a unit became ready with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Revision>,
    /// The revision that units could not run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
    /// Units that run a revision which is not known to be good. Not kept beyond the process: their time begins anew then.
    #[serde(skip)]
    pub(crate) trials: BTreeMap<UnitName, Trial>,
    /// The text of every revision that some unit's assignment names, besides the published one.
    #[serde(default)]
    pub documents: BTreeMap<Revision, String>,
    /// The config that the last plan of this process rendered: rendering takes longer than all the rest of a plan. Not kept
    /// beyond the process, because another build may render the same inputs otherwise.
    #[serde(skip)]
    pub(crate) rendered: Option<Rendered>,
    /// Units that were taken out of the load balancer so that they can be stopped next.
    #[serde(default)]
    pub leaving_balancer: BTreeSet<UnitName>,
    /// Whether every unit was ready at some time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opened: bool,
    /// The unit that ended with the published revision and was not ready since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<UnitName>,
    /// Units that quiesce because they are about to give up data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) held: BTreeMap<UnitName, Held>,
    /// Units that went with data, until everybody finds what they uploaded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) departed: Departed,
    /// The [place](crate::Claim::place) in an object store that the units were last allowed to run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// What is under way from what ran to what is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transition: Option<Transition>,
    /// What units were let go without, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<Abandonment>,
}

impl CarryOver {
    /// Takes over what an earlier plan of this process worked out and what is not kept beyond the process, or is kept late.
    pub fn remember(&mut self, earlier: &Self) {
        self.rendered.clone_from(&earlier.rendered);
        self.trials.clone_from(&earlier.trials);
        self.transition.clone_from(&earlier.transition);
    }

    /// Whether the next plan decides the same with `other`, whatever it says. If it does, a plan may be carried out before its carry-over is
    /// kept; else whoever comes after a crash would not know what was begun.
    #[must_use]
    pub fn decides_like(&self, other: &Self) -> bool {
        let Self {
            replication_factor,
            config,
            published,
            good,
            proven,
            failure,
            leaving_balancer,
            opened,
            halted,
            held,
            departed,
            store,
            abandoned,
            // Kept with what units share.
            documents: _,
            // Not kept at all.
            rendered: _,
            trials: _,
            // Decides nothing.
            transition: _,
        } = self;
        *replication_factor == other.replication_factor
            && *config == other.config
            && *published == other.published
            && *good == other.good
            && *proven == other.proven
            && *failure == other.failure
            && *leaving_balancer == other.leaving_balancer
            && *opened == other.opened
            && *halted == other.halted
            && *held == other.held
            && *departed == other.departed
            && *store == other.store
            && *abandoned == other.abandoned
    }

    /// The last good revision, where it is another one than the target and its text is at hand.
    pub(crate) fn way_back(&self, target: &Revision) -> Option<&Revision> {
        self.good.as_ref().filter(|good| *good != target && self.documents.contains_key(good))
    }
}
