//! Servers of which nothing tells where they are.
//!
//! Such a flow is looked at wherever its server may be: on every host that may run it, at each of
//! its addresses, and at addresses outside the cluster, one for each way in which rules tell
//! addresses apart. It is kept where it is kept in all these places. Where a plan cuts it in one of
//! them, it is unproven.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::alike::{self, Classes};
use super::proof::{Alike, Fate, FlowProof, Pairs};
use crate::calico::{Host, Kind, Snapshot};
use crate::reach::needs::{Family, Need, Servers};
use crate::reach::{
    Addresses, Compiled, Decision, Effect, Missing, Party, Reason, Step, Verdict, parse_net,
    service_addresses,
};

/// Where servers may be.
pub struct Places {
    /// Addresses of hosts' own networks.
    hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses of nobody in the cluster.
    outside: Vec<IpAddr>,
}

impl Places {
    /// Adds a flow for each place where a server of `families` may be.
    pub fn add(
        states: alike::States<'_>,
        families: &[Family],
        classes: &Classes,
        compiled: &mut Compiled,
        flows: &mut Vec<(Need, Option<Alike>)>,
    ) {
        let is_lost = |family: &&Family| matches!(family.servers, Servers::Somewhere { .. });
        let mut lost = families.iter().filter(is_lost).peekable();
        if lost.peek().is_none() {
            return;
        }
        let places = Self::of(states, compiled);
        for family in lost {
            places.flows(family, classes, flows);
        }
    }

    fn of(states: alike::States<'_>, compiled: &mut Compiled) -> Self {
        let hosts = Host::all(states.start).into_iter();
        let hosts: BTreeMap<String, Vec<IpAddr>> = hosts
            .map(|(name, host)| (name, host.underlay().collect()))
            .collect();
        let own = own_addresses(states.start).union(&own_addresses(states.end));
        let free = |ip: IpAddr| is_unicast(ip) && !own.contains(ip);
        Self {
            hosts,
            outside: alike::distinctions(states, compiled).samples(free),
        }
    }

    fn flows(&self, family: &Family, classes: &Classes, flows: &mut Vec<(Need, Option<Alike>)>) {
        let Servers::Somewhere { name, hosts } = &family.servers else {
            return;
        };
        let servers = classes.split(hosts);
        for (class, clients) in classes.split(&family.clients) {
            let Some(client) = clients.first() else {
                continue;
            };
            let alike = (clients.len() > 1).then(|| Alike {
                clients: clients.iter().map(|host| (*host).clone()).collect(),
                servers: Arc::from([name.clone()]),
                pairs: Pairs::Each,
                speakers: None,
            });
            let mut add = |to: Party| {
                let mut need = family.need(client, client);
                need.connection.to = to;
                flows.push((need, alike.clone()));
            };
            let own = self.hosts.get(client.as_str());
            let has = |ip: &IpAddr| {
                own.is_none_or(|own| {
                    own.is_empty() || own.iter().any(|o| o.is_ipv6() == ip.is_ipv6())
                })
            };
            for (of, hosts) in &servers {
                // Of the client's own class itself and another.
                let itself = hosts.iter().find(|host| *of == class && *host == client);
                let other = hosts.iter().find(|host| *host != client);
                for host in itself.into_iter().chain(other) {
                    let ips = self.hosts.get(host.as_str()).into_iter().flatten();
                    let mut ips = ips.filter(|ip| has(ip)).peekable();
                    if ips.peek().is_none() {
                        add(Party::node(host.as_str()));
                    }
                    ips.for_each(|ip| add(Party::node(host.as_str()).at(*ip)));
                }
            }
            let outside = self.outside.iter().filter(|ip| has(ip));
            outside.for_each(|ip| add(Party::Address(*ip)));
        }
    }
}

/// Addresses of hosts, pods and services.
fn own_addresses(state: &Snapshot) -> Addresses {
    let hosts = Host::all(state).into_values();
    let hosts = hosts.flat_map(|host| host.addresses).map(|(ip, _)| ip);
    let endpoints = state.of(Kind::HostEndpoint);
    let expected = endpoints.flat_map(|e| e.spec_strs("expectedIPs"));
    let expected = expected.filter_map(|ip| ip.parse().ok());
    let services = state.of(Kind::Service).flat_map(service_addresses);
    let pools = state.of(Kind::IpPool);
    let pools = pools.filter_map(|pool| parse_net(pool.spec_str("cidr")?));
    let singles = hosts.chain(expected).chain(services);
    Addresses::of_hosts(singles).union(&Addresses::of(pools))
}

/// Whether a server may have an address.
fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            (1..224).contains(&first) && !ip.is_loopback() && !ip.is_link_local()
        }
        IpAddr::V6(ip) => {
            let [first, ..] = ip.segments();
            (0x2000..0xfe00).contains(&first)
        }
    }
}

/// The flows with those made one that stand for one server in several places. They come in order
/// of their ids.
pub fn merged(flows: Vec<FlowProof>) -> Vec<FlowProof> {
    let mut merged: Vec<FlowProof> = Vec::with_capacity(flows.len());
    for flow in flows {
        match merged.last_mut().filter(|last| is_one(last, &flow)) {
            Some(last) => worse(last, flow),
            None => merged.push(flow),
        }
    }
    for flow in &mut merged {
        lose(flow);
    }
    merged
}

fn is_one(one: &FlowProof, other: &FlowProof) -> bool {
    let (a, b) = (&one.need, &other.need);
    a.id == b.id && a.named.is_some() && a.connection.traffic == b.connection.traffic
}

/// Keeps the worse of two places. Where they differ and no plan makes the difference, nothing is
/// certain.
fn worse(known: &mut FlowProof, other: FlowProof) {
    let fates = [known.fate, other.fate];
    if other.fate > known.fate || other.fate == known.fate && is_denied(&other) && !is_denied(known)
    {
        *known = other;
    }
    if fates.contains(&Fate::Kept) && known.fate == Fate::ClosedBefore {
        known.fate = Fate::Undecided;
    }
}

/// A place where it is denied says more than one where it is not known what happens.
fn is_denied(flow: &FlowProof) -> bool {
    flow.decision.verdict == Verdict::Deny
}

/// Says of a flow that is not decided alike everywhere that its server's place is not known.
fn lose(flow: &mut FlowProof) {
    let Some(name) = &flow.need.named else { return };
    flow.fate = match flow.fate {
        Fate::Cut => Fate::Unproven,
        fate => fate,
    };
    if matches!(flow.fate, Fate::Kept | Fate::ClosedBefore) {
        return;
    }
    let missing = Missing::Whereabouts {
        name: name.clone(),
        at: flow.need.connection.to.to_string(),
        because: flow.decision.why(),
    };
    let steps = std::mem::take(&mut flow.decision.steps);
    let node = steps.last().map(|step| step.node.clone());
    flow.decision = Decision {
        verdict: Verdict::Unproven,
        steps: vec![Step {
            node: node.unwrap_or_default(),
            interface: None,
            endpoint: None,
            chain: None,
            reply: false,
            effect: Effect::Unknown,
            reason: Reason::Missing(missing),
        }],
    };
}
