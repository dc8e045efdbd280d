//! The load balancer: which units are in its upstreams, and what its own units are to run.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::route::{Listener, Upstream};
use muster_model::{Revision, Role, RoleSet, TlsMaterial, UnitName};
use muster_nginx::{Layout, Server, Tenant, layout};
use muster_products::charm::{MULTI_TENANCY, Options};
use muster_relation::{Assignment, ClusterData, Run, Service};

use crate::config::balancer_revision;
use crate::gate::Gate;
use crate::observed::{NO_EPOCH, Observed, ObservedUnit, Tls};
use crate::peers::Peers;
use crate::rollout::{Member, stays};
use crate::validate::Line;

/// The load balancer's document and its hash.
pub(crate) struct Balancer {
    pub(crate) revision: Revision,
    pub(crate) cluster: ClusterData,
}

/// Lays out the load balancer: every role that a route names gets the ready units that run it; where there is none, those that are
/// `leaving`, else those that cannot be seen, and else those that are to run it. Before the deployment has been complete for the first
/// time, nobody relies on it: then all that are on their way are there from the start, and it opens with the readiness of the last one.
pub(crate) fn balancer(
    observed: &Observed,
    line: &Line,
    listeners: &[Listener],
    tenant: Tenant,
    members: &[Member<'_>],
    leaving: &BTreeSet<UnitName>,
) -> Balancer {
    let routed = routed(listeners);
    let mut provided = provided(members, line, &BTreeSet::new());
    let lasting = self::provided(members, line, leaving);
    let answers_alone = |roles: &RoleSet, role: Role, provided: &RoleSet| {
        roles.contains(Role::All)
            || line.workload.relies_on(role).is_none_or(|needed| provided.contains(needed))
    };
    let mut hosts: BTreeMap<Role, Vec<&str>> = BTreeMap::new();
    let mut expected: BTreeMap<Role, Vec<&str>> = BTreeMap::new();
    let mut add = |among: &RoleSet, serves: &dyn Fn(&Member<'_>) -> bool, provided: &RoleSet| {
        // A role that has a unit already wants no other of this kind.
        let roles: RoleSet = among.iter().filter(|role| !hosts.contains_key(role)).collect();
        for member in members.iter().filter(|m| serves(m)) {
            let Some(address) = member.unit.address.as_deref() else { continue };
            let current = member.unit.current_roles();
            for role in line.table.expand(&current).iter().filter(|role| roles.contains(*role)) {
                if answers_alone(&current, role, provided) {
                    hosts.entry(role).or_default().push(address);
                }
            }
        }
    };
    // Where others serve, nobody is sent to a unit that relies on one which is about to go.
    let lasts = |m: &Member<'_>| m.unit.is_ready() && !leaving.contains(&m.name);
    // Units that run everything are not asked for what they do not answer whole beside others, while others answer.
    let apart: RoleSet =
        routed.iter().filter(|role| !line.workload.answers_beside(&lasting, *role)).collect();
    add(&apart, &|m| lasts(m) && !m.unit.current_roles().contains(Role::All), &lasting);
    add(&routed, &lasts, &lasting);
    // Where a role has no such unit, one that is told something new and still answers is better than none: it may refuse
    // the new config, and serves until it stops.
    add(&routed, &|m| m.unit.is_told_to_run() && m.unit.answers(), &provided);
    // One that nobody sees may serve all the same: a node whose kubelet is silent still runs its pods.
    add(&routed, &|m| m.unit.is_told_to_run() && m.unit.answered(), &provided);
    // Those that are on their way serve as soon as they can, without another document in between.
    let opening = !observed.carry.opened && !is_complete(members, line);
    let unready = || members.iter().filter(|m| !m.unit.is_ready());
    let coming = || unready().filter_map(|m| Some((m, m.unit.address.as_deref()?, m.comes_with()?)));
    for (_, _, roles) in coming().filter(|(_, _, roles)| !roles.contains(Role::All)) {
        provided.extend(line.table.expand(roles).iter());
    }
    for (member, address, roles) in coming() {
        let beside_others = opening && !member.unit.is_in_trouble();
        for role in line.table.expand(roles).iter().filter(|role| routed.contains(*role)) {
            if (beside_others || !hosts.contains_key(&role)) && answers_alone(roles, role, &provided) {
                expected.entry(role).or_default().push(address);
            }
        }
    }
    // A role that no worker takes is led by one unit.
    for role in routed.iter().filter(|role| !line.table.knows(*role)) {
        let leader = Peers::leading(members, line, role);
        let leader = leader.filter(|leader| leader.unit.answered() || leader.comes_with().is_some());
        hosts.extend(leader.and_then(|leader| Some((role, vec![leader.unit.address.as_deref()?]))));
    }
    // A unit reports its own address; one that is none is left out instead of reaching the document.
    let servers = |upstream: Upstream| {
        let servers = |hosts: &BTreeMap<Role, Vec<&str>>| {
            let hosts = hosts.get(&upstream.role).into_iter().flatten();
            hosts.filter_map(|host| Server::new(host, upstream.port).ok()).collect::<Vec<_>>()
        };
        let serving =
            servers(&hosts).into_iter().map(|server| if opening { server.expected() } else { server });
        let expected = servers(&expected).into_iter().map(Server::expected);
        serving.chain(expected).collect::<Vec<_>>()
    };
    // Many routes lead to each.
    let targets: BTreeSet<Upstream> = targets(listeners).collect();
    let upstreams: BTreeMap<Upstream, Vec<Server>> =
        targets.into_iter().map(|upstream| (upstream, servers(upstream))).collect();
    let tls = match &observed.tls {
        Tls::On(material) => Some(material.clone()),
        Tls::Off | Tls::Invalid(_) => None,
    };
    let document = layout(&Layout {
        product: line.product,
        listeners,
        upstreams: &upstreams,
        tls: tls.is_some(),
        tenant,
    });
    let text = document.to_string();
    let revision = balancer_revision(
        &text,
        tls.as_ref().map(|TlsMaterial { certificate, key, .. }| (certificate.as_str(), key)),
    );
    let cluster = ClusterData {
        product: line.product,
        version: line.version,
        documents: [(revision.clone(), text)].into(),
        object_storage: None,
        tls,
    };
    Balancer { revision, cluster }
}

/// Whether every unit that is to run serves.
pub(crate) fn is_complete(members: &[Member<'_>], line: &Line) -> bool {
    members.iter().filter(|m| stays(m, line)).all(|m| m.unit.is_ready())
}

/// Whether the load balancer may be given a document. It keeps what it has while some unit that it routes to is about to say what it
/// does, and while it would have to serve without its certificate.
pub(crate) fn publishes(observed: &Observed, members: &[Member<'_>]) -> bool {
    let has_certificate = !matches!(observed.tls, Tls::Invalid(_));
    has_certificate && !members.iter().any(|m| m.unit.unknown && m.unit.answers_probe)
}

/// Whose requests are.
pub(crate) fn tenant(line: &Line, options: &Options) -> Tenant {
    if options.boolean(MULTI_TENANCY) { Tenant::MustBeSaid } else { Tenant::One(line.workload.one_tenant()) }
}

fn targets(listeners: &[Listener]) -> impl Iterator<Item = Upstream> {
    listeners.iter().flat_map(|listener| listener.routes).map(|route| route.to)
}

/// The roles that some route leads to.
pub(crate) fn routed(listeners: &[Listener]) -> RoleSet {
    targets(listeners).map(|upstream| upstream.role).collect()
}

/// The roles that units other than those that are `leaving` answer in, and that other units can rely on. What `all` runs serves its own
/// process only.
fn provided(members: &[Member<'_>], line: &Line, leaving: &BTreeSet<UnitName>) -> RoleSet {
    let mut provided = RoleSet::new();
    for member in members.iter().filter(|m| m.unit.answered() && !leaving.contains(&m.name)) {
        let roles = member.unit.current_roles();
        if !roles.contains(Role::All) {
            provided.extend(line.table.expand(&roles).iter());
        }
    }
    provided
}

/// Whether every load balancer unit that runs has taken up `revision`.
pub(crate) fn all_run(observed: &Observed, revision: &Revision) -> bool {
    observed.balancers.values().filter(|unit| unit.unknown || is_running(unit)).all(|unit| {
        unit.connected
            && unit
                .report
                .as_ref()
                .and_then(|r| r.applied.as_ref())
                .is_some_and(|applied| applied.revision == *revision)
    })
}

fn is_running(unit: &ObservedUnit) -> bool {
    unit.report.as_ref().is_some_and(|r| r.service == Service::Running && r.applied.is_some())
}

/// What one load balancer unit is to be told. A reload disturbs nobody, so there are no waves. Without a `revision` it keeps its own.
pub(crate) fn assignment(
    unit: &ObservedUnit,
    wanted: bool,
    gate: Gate,
    revision: Option<&Revision>,
) -> Option<Assignment> {
    if unit.unknown {
        return None;
    }
    let now = unit.assigned.as_ref();
    let run = match gate {
        _ if !wanted => Run::Stop,
        Gate::Open => Run::Start,
        Gate::Stop => Run::Stop,
        Gate::Hold => now?.run,
    };
    match run {
        Run::Stop => unit.tell_to_stop(false, &[]),
        Run::Start => Some(unit.tell(Assignment {
            epoch: NO_EPOCH,
            revision: revision.or(now.map(|now| &now.revision))?.clone(),
            roles: RoleSet::new(),
            run,
            gives_up: false,
            quiesces: false,
            forgets: BTreeSet::new(),
            peers: BTreeMap::new(),
            seeds: Vec::new(),
        })),
    }
}

/// The load balancer units that are made anew now: one that does not answer at once, else one while all others answer.
pub(crate) fn replace(observed: &Observed, wanted: &std::ops::Range<u32>) -> impl Iterator<Item = u32> {
    let outdated = || observed.balancers.iter().filter(|(n, unit)| unit.outdated && wanted.contains(n));
    let all_answer = observed.balancers.values().all(ObservedUnit::answers);
    let idle = outdated().filter(|(_, unit)| !unit.answers() && unit.can_be_changed()).map(|(n, _)| *n);
    let next = outdated().next().filter(|_| all_answer).map(|(n, _)| *n);
    let numbers: BTreeSet<u32> = idle.chain(next).collect();
    numbers.into_iter()
}
