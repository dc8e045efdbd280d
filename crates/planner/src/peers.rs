//! Which units are told where to find one another, because gossip does not tell them.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{Role, UnitName};
use muster_products::{Choice, Peer};
use muster_relation::Run;

use crate::rollout::{Member, Want};
use crate::validate::Line;

/// What every unit is told of others.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    hosts: BTreeMap<UnitName, BTreeMap<Role, String>>,
    /// Units whose peer is there but has no address yet. They are told nothing new until it has.
    pub(crate) waiting: BTreeSet<UnitName>,
}

impl Peers {
    /// The peers of one unit by role.
    pub(crate) fn of(&self, unit: &UnitName) -> BTreeMap<Role, String> {
        self.hosts.get(unit).cloned().unwrap_or_default()
    }

    /// Chooses them. With a `gateway` that units can use they are told of nobody whom it leads to as well.
    pub(crate) fn choose(members: &[Member<'_>], line: &Line, gateway: Option<&str>) -> Self {
        let mut peers = Self::default();
        // Of each kind once: there may be hundreds of units.
        let mut kinds = BTreeMap::new();
        for member in members {
            let Want::Run(roles) = &member.want else { continue };
            let peer = line.workload.needs_peer(roles);
            let Some(peer) = peer.filter(|peer| !(peer.through_gateway && gateway.is_some())) else {
                continue;
            };
            let (candidates, leader) = kinds.entry(peer.role).or_insert_with(|| {
                let candidates = candidates(members, &peer);
                let leader = leader(members, &peer, &candidates);
                (candidates, leader)
            });
            let chosen = match peer.choice {
                Choice::Leader => *leader,
                Choice::Spread => {
                    candidates.get(member.name.number() as usize % candidates.len().max(1)).copied()
                }
            };
            // A unit that is told of nobody turns to itself. So it need not be changed when its address does, or when it is alone no more.
            let Some(chosen) = chosen.filter(|chosen| chosen.name != member.name) else { continue };
            match chosen.unit.address.clone() {
                Some(host) => {
                    peers.hosts.entry(member.name.clone()).or_default().insert(peer.role, host);
                }
                None => drop(peers.waiting.insert(member.name.clone())),
            }
        }
        peers
    }

    /// The unit that leads in `role`: the one that others turn to, or the only one that could.
    pub(crate) fn leading<'a>(members: &'a [Member<'a>], line: &Line, role: Role) -> Option<&'a Member<'a>> {
        let wanted = members.iter().filter_map(|member| match &member.want {
            Want::Run(roles) => line.workload.needs_peer(roles),
            _ => None,
        });
        let peer = wanted.into_iter().find(|peer| peer.role == role && peer.choice == Choice::Leader)?;
        leader(members, &peer, &candidates(members, &peer))
    }
}

/// The units that may be such a peer: those with an earlier role of the list first, then by name. What goes soon is turned to by nobody:
/// all would have to be changed again.
fn candidates<'a>(members: &'a [Member<'a>], peer: &Peer) -> Vec<&'a Member<'a>> {
    let rank = |member: &Member<'_>| match &member.want {
        Want::Run(roles) if !member.temporary => {
            peer.provided_by.iter().position(|role| roles.contains(*role))
        }
        _ => None,
    };
    let mut ranked: Vec<_> = members.iter().filter_map(|member| Some((rank(member)?, member))).collect();
    ranked.sort_by_key(|(rank, member)| (*rank, &member.name));
    ranked.into_iter().map(|(_, member)| member).collect()
}

/// The candidate that most units turn to by what they were told last, else the first one.
fn leader<'a>(members: &[Member<'_>], peer: &Peer, candidates: &[&'a Member<'a>]) -> Option<&'a Member<'a>> {
    let mut told = BTreeMap::<&str, usize>::new();
    for assigned in members.iter().filter_map(|member| member.unit.assigned.as_ref()) {
        if let Some(host) = assigned.peers.get(&peer.role) {
            *told.entry(host).or_default() += 1;
        }
    }
    let times = |candidate: &Member<'_>| {
        let others = candidate.unit.address.as_deref().and_then(|host| told.get(host)).copied().unwrap_or(0);
        others + usize::from(leads(candidate, peer))
    };
    let most = candidates.iter().map(|candidate| times(candidate)).max()?;
    candidates.iter().find(|candidate| times(candidate) == most).copied()
}

/// Whether a unit turns to itself by what it was told last.
fn leads(member: &Member<'_>, peer: &Peer) -> bool {
    member.unit.assigned.as_ref().is_some_and(|assigned| {
        assigned.run == Run::Start
            && !assigned.peers.contains_key(&peer.role)
            && peer.provided_by.iter().any(|role| assigned.roles.contains(*role))
    })
}

#[cfg(test)]
mod tests {
    use muster_model::{AppName, Product, RoleSet};
    use muster_products::{role_table, supported_versions, workload};
    use muster_relation::Assignment;

    use super::*;
    use crate::observed::ObservedUnit;

    fn line(product: Product) -> Line {
        let version = supported_versions(product)[0];
        Line { product, version, table: role_table(product, version).unwrap(), workload: workload(product) }
    }

    /// A unit that was told nothing yet.
    fn unit(address: &str) -> ObservedUnit {
        ObservedUnit { address: (!address.is_empty()).then(|| address.to_owned()), ..ObservedUnit::default() }
    }

    /// A unit that runs a role, and turns to another one or to itself.
    fn runs(role: Role, address: &str, told: Option<&str>) -> ObservedUnit {
        let peers = told.map(|host| (Role::Compactor, host.to_owned())).into_iter().collect();
        ObservedUnit {
            assigned: Some(Assignment {
                epoch: 1,
                revision: muster_model::Revision::of([b"r".as_slice()]),
                roles: RoleSet::from([role]),
                run: Run::Start,
                gives_up: false,
                quiesces: false,
                forgets: BTreeSet::new(),
                peers,
                seeds: Vec::new(),
            }),
            ..unit(address)
        }
    }

    fn members<'a>(units: &'a [(&str, u32, Role, ObservedUnit)]) -> Vec<Member<'a>> {
        let member = |(app, number, role, unit): &'a (&str, u32, Role, ObservedUnit)| Member {
            name: AppName::new(*app).unwrap().unit(*number),
            unit,
            want: Want::Run(RoleSet::from([*role])),
            leaves: false,
            temporary: false,
        };
        units.iter().map(member).collect()
    }

    fn told(units: &[(&str, u32, Role, ObservedUnit)], line: &Line) -> Vec<Option<String>> {
        told_beside(units, line, None)
    }

    fn told_beside(
        units: &[(&str, u32, Role, ObservedUnit)],
        line: &Line,
        gateway: Option<&str>,
    ) -> Vec<Option<String>> {
        let members = members(units);
        let peers = Peers::choose(&members, line, gateway);
        members.iter().map(|member| peers.of(&member.name).into_values().next()).collect()
    }

    fn some(hosts: &[&str]) -> Vec<Option<String>> {
        hosts.iter().map(|host| (!host.is_empty()).then(|| (*host).to_owned())).collect()
    }

    #[test]
    fn one_compactor_leads_and_stays_the_leader() {
        let line = line(Product::Loki);
        let fresh = [
            ("backend", 0, Role::Backend, unit("2")),
            ("backend", 1, Role::Backend, unit("3")),
            ("read", 0, Role::Read, unit("4")),
            ("write", 0, Role::Write, unit("5")),
        ];
        assert_eq!(told(&fresh, &line), some(&["", "2", "2", ""]));
        // Another application comes that sorts before it, and units of `all` too.
        let grown = [
            ("all", 0, Role::All, runs(Role::All, "1", Some("3"))),
            ("another", 0, Role::Backend, unit("6")),
            ("backend", 0, Role::Backend, runs(Role::Backend, "2", Some("3"))),
            ("backend", 1, Role::Backend, runs(Role::Backend, "3", None)),
        ];
        assert_eq!(told(&grown, &line), some(&["3", "3", "3", ""]));
        assert_eq!(
            Peers::leading(&members(&grown), &line, Role::Compactor).unwrap().name.to_string(),
            "backend/1"
        );
        // It goes: the next one that has the role by itself leads.
        assert_eq!(told(&grown[..3], &line), some(&["6", "", "6"]));
        // It comes back elsewhere: the others are told where, and it need not be.
        let mut moved = grown;
        moved[3].3.address = Some("7".to_owned());
        moved[1].3 = runs(Role::Backend, "6", Some("3"));
        assert_eq!(told(&moved, &line), some(&["7", "7", "7", ""]));
        moved[3].3.address = None;
        let members = members(&moved);
        let waiting = Peers::choose(&members, &line, None).waiting;
        assert!(waiting.len() == 3 && !waiting.contains(&members[3].name), "{waiting:?}");
    }

    #[test]
    fn whom_the_load_balancer_leads_to_is_told_to_those_alone_whom_it_does_not_lead() {
        let line = line(Product::Loki);
        let units = [
            ("backend", 0, Role::Backend, unit("2")),
            ("backend", 1, Role::Backend, unit("3")),
            ("read", 0, Role::Read, unit("4")),
            ("reads-all", 0, Role::All, unit("5")),
        ];
        assert_eq!(told_beside(&units, &line, Some("gateway")), some(&["", "2", "", "2"]));
        assert_eq!(
            Peers::leading(&members(&units), &line, Role::Compactor).unwrap().name.to_string(),
            "backend/0"
        );
    }

    #[test]
    fn the_only_compactor_is_told_the_same_when_others_come_and_go() {
        let line = line(Product::Loki);
        let alone = ("loki", 0, Role::All, runs(Role::All, "1", None));
        assert_eq!(told(&[("loki", 0, Role::All, unit("1"))], &line), some(&[""]));
        assert_eq!(told(std::slice::from_ref(&alone), &line), some(&[""]));
        let others = [
            ("another", 0, Role::Backend, unit("2")),
            ("loki", 1, Role::All, unit("3")),
            ("read", 0, Role::Read, unit("4")),
        ];
        let grown = [others[0].clone(), alone, others[1].clone(), others[2].clone()];
        assert_eq!(told(&grown, &line), some(&["1", "", "1", "1"]));
        // One that had another role until now does not lead for that.
        let turned = [("another", 0, Role::All, runs(Role::Write, "2", None)), grown[1].clone()];
        assert_eq!(told(&turned, &line), some(&["1", ""]));
    }

    #[test]
    fn queriers_are_spread_over_the_frontends_and_wait_for_their_address() {
        let line = line(Product::Tempo);
        let units = [
            ("frontend", 0, Role::QueryFrontend, unit("1")),
            ("frontend", 1, Role::QueryFrontend, unit("2")),
            ("querier", 0, Role::Querier, unit("3")),
            ("querier", 1, Role::Querier, unit("4")),
            ("querier", 2, Role::Querier, unit("5")),
        ];
        assert_eq!(told(&units, &line), some(&["", "", "1", "2", "1"]));
        assert_eq!(told(&units[2..], &line), some(&["", "", ""]));
        let late = [("frontend", 0, Role::QueryFrontend, unit("")), units[2].clone()];
        let members = members(&late);
        let peers = Peers::choose(&members, &line, None);
        assert_eq!(peers.waiting, BTreeSet::from([members[1].name.clone()]));
    }
}
