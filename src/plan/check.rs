//! Whether protections hold as they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::settle::settled;
use crate::calico::endpoint::ALL_INTERFACES;
use crate::calico::names::ServerName;
use crate::calico::workload::makers;
use crate::calico::{HostEndpointSpec, Kind, Object, ServerPort, Snapshot};
use crate::reach::{Addresses, Piece, Place, Reason, Verdict, World};
use crate::recipe::RecipeError;
use crate::recipe::status::{
    PolicyStatus, ServerStatus, Verdict as Word, labelling_profiles, status,
};

/// Where a protection lets somebody in who is no client.
#[derive(Debug, Clone, PartialEq)]
pub struct Leak {
    /// The port.
    pub port: ServerPort,
    /// Hosts where it is so, by place: `192.0.2.11 on cp-1`.
    pub places: Vec<String>,
    /// The sources that get in.
    pub sources: Addresses,
    /// Whether they are certain to get in, or it cannot be decided.
    pub certain: bool,
    /// Why.
    pub reason: Reason,
}

/// One server's protection, tried against everybody.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What stands there; its word takes into account who gets in.
    pub status: ServerStatus,
    /// Who gets in who should not.
    pub leaks: Vec<Leak>,
    /// Everybody who gets in, per port and class of hosts.
    pub open_to: Vec<OpenTo>,
}

/// Who gets in at a class of places.
#[derive(Debug, Clone)]
pub struct OpenTo {
    /// The port.
    pub port: ServerPort,
    /// The places.
    pub places: Vec<String>,
    /// Who gets in.
    pub allowed: Addresses,
    /// Those of them who are no clients.
    pub others: Addresses,
    /// For whom it cannot be decided.
    pub unproven: Addresses,
    /// Whether nobody at all is shut out.
    pub everybody: bool,
    /// Whether it is the host's own loopback.
    pub loopback: bool,
}

impl Checked {
    /// Whether the protection holds: it is complete and nobody gets in who is no client. Whether
    /// somebody does may be unproven.
    #[must_use]
    pub fn holds(&self) -> Proven {
        match self.status.verdict {
            Word::Protected => Proven::Yes,
            Word::Unproven => Proven::Undecided,
            _ => Proven::No,
        }
    }

    /// Whether anything is there that is meant to shut somebody out; client labels alone are not.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        let status = &self.status;
        let labelled = !status.endpoints.is_empty() || !status.workloads.is_empty();
        labelled || status.policy != PolicyStatus::Missing
    }
}

/// What is proven of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proven {
    /// It is true.
    Yes,
    /// It is not.
    No,
    /// An input is missing that would decide it.
    Undecided,
}

/// Tries the protection of one server, or of all.
///
/// # Errors
///
/// When the server is not known, or a host endpoint cannot be read.
pub fn check(
    snapshot: &Snapshot,
    server: Option<&ServerName>,
) -> Result<Vec<Checked>, RecipeError> {
    let state = settled(snapshot, snapshot.clone());
    let world = World::from_snapshot(&state);
    let checked = status(snapshot, server)?.into_iter().map(|mut status| {
        let clients = clients(&state, &world, &status.server);
        let (leaks, open_to) = tried(&state, &world, &status, &clients);
        status.verdict = word(&status, &leaks, &open_to);
        Checked {
            status,
            leaks,
            open_to,
        }
    });
    Ok(checked.collect())
}

/// The whole in one word, by who gets in: that all parts are there is not enough.
fn word(status: &ServerStatus, leaks: &[Leak], open_to: &[OpenTo]) -> Word {
    if status.verdict != Word::Protected {
        return status.verdict;
    }
    let outside: Vec<&OpenTo> = open_to.iter().filter(|open| !open.loopback).collect();
    let everybody = outside.iter().filter(|open| open.everybody).count();
    if everybody > 0 && everybody == outside.len() {
        Word::Open
    } else if everybody > 0 || leaks.iter().any(|leak| leak.certain) {
        Word::Partial
    } else if !leaks.is_empty() || outside.is_empty() && !status.endpoints.is_empty() {
        Word::Unproven
    } else {
        Word::Protected
    }
}

/// Every address that a server's clients are declared to have: of the objects that carry its client
/// label, by themselves or by a profile.
pub(super) fn clients(snapshot: &Snapshot, world: &World, server: &ServerName) -> Addresses {
    let label = server.allowed_label();
    let profiles = labelling_profiles(snapshot, &label);
    let is_client = |object: &Object| {
        let mut named = object.spec_strs("profiles");
        object.label(&label).is_some() || named.any(|profile| profiles.contains(profile))
    };
    let mut nets: Vec<IpNet> = Vec::new();
    for kind in [Kind::GlobalNetworkSet, Kind::NetworkSet] {
        for set in snapshot.of(kind).filter(|o| o.label(&label).is_some()) {
            let read = |net| crate::calico::net::parse_cidr_or_ip(net).ok();
            nets.extend(set.spec_strs("nets").filter_map(read));
        }
    }
    for endpoint in snapshot.of(Kind::HostEndpoint).filter(|o| is_client(o)) {
        let ips = endpoint
            .spec_strs("expectedIPs")
            .filter_map(|ip| ip.parse::<IpAddr>().ok());
        nets.extend(ips.map(IpNet::from));
    }
    for endpoint in world.workload_endpoints() {
        if snapshot.get(endpoint.id).is_some_and(is_client) {
            let namespace = endpoint.id.namespace.as_deref().unwrap_or_default();
            let ips = world.addresses_of_pod(namespace, &endpoint.id.name);
            nets.extend(ips.into_iter().map(IpNet::from));
        }
    }
    Addresses::of(nets)
}

fn tried(
    state: &Snapshot,
    world: &World,
    status: &ServerStatus,
    clients: &Addresses,
) -> (Vec<Leak>, Vec<OpenTo>) {
    let mut leaks: Vec<Leak> = Vec::new();
    let mut open_to = Vec::new();
    let pods = pods(state, world, status);
    let mut all = ways_in(state, world, status);
    all.extend(pods.keys().cloned());
    let name = |place: &Place| match pods.get(place) {
        Some(pod) => format!("{} of pod {pod}", place.address),
        None => place.to_string(),
    };
    for (places, possible, loopback) in by_loopback(all) {
        for port in &status.ports {
            for class in world.classes(&places, *port) {
                let places = class.places.iter().filter_map(|at| places.get(*at));
                let names: Vec<String> = places.map(name).collect();
                let mut others = Addresses::none();
                for piece in &class.reachability.pieces {
                    let foreign = piece.sources.intersection(&possible).difference(clients);
                    let harmless = loopback && is_unpoliced(&piece.reason);
                    if piece.verdict == Verdict::Deny || foreign.is_empty() || harmless {
                        continue;
                    }
                    if piece.verdict == Verdict::Allow {
                        others = others.union(&foreign);
                    }
                    add_leak(&mut leaks, *port, &names, foreign, piece);
                }
                let with = |verdict| class.reachability.with(verdict).intersection(&possible);
                let unproven = with(Verdict::Unproven);
                open_to.push(OpenTo {
                    port: *port,
                    places: names,
                    allowed: with(Verdict::Allow),
                    others,
                    everybody: unproven.is_empty() && with(Verdict::Deny).is_empty(),
                    unproven,
                    loopback,
                });
            }
        }
    }
    (leaks, open_to)
}

/// Whether no policy is asked at all. At loopback that lets in nobody but the host's own processes.
fn is_unpoliced(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NoEndpoint { .. } | Reason::Ipv6NotPoliced | Reason::NotPolicedInterface
    )
}

/// The pods of protected workloads, by place: those that carry the protected label, and those of
/// a template that does, whether they have followed it or not.
fn pods(state: &Snapshot, world: &World, status: &ServerStatus) -> BTreeMap<Place, String> {
    let label = status.server.protected_label();
    let mut found = BTreeMap::new();
    for endpoint in world.workload_endpoints() {
        let Some(object) = state.get(endpoint.id) else {
            continue;
        };
        let made = || {
            makers(state, object)
                .iter()
                .any(|id| status.workloads.contains(id))
        };
        if object.label(&label) != Some("true") && (status.workloads.is_empty() || !made()) {
            continue;
        }
        let namespace = endpoint.id.namespace.as_deref().unwrap_or_default();
        for address in world.addresses_of_pod(namespace, &endpoint.id.name) {
            let place = Place {
                node: endpoint.node.to_owned(),
                interface: None,
                address,
            };
            found.insert(place, format!("{namespace}/{}", endpoint.id.name));
        }
    }
    found
}

fn add_leak(
    leaks: &mut Vec<Leak>,
    port: ServerPort,
    places: &[String],
    sources: Addresses,
    piece: &Piece,
) {
    let certain = piece.verdict == Verdict::Allow;
    let same = |leak: &&mut Leak| {
        leak.port == port && leak.certain == certain && leak.reason == piece.reason
    };
    match leaks.iter_mut().find(same) {
        Some(leak) => {
            leak.sources = leak.sources.union(&sources);
            leak.places.extend(places.iter().cloned());
        }
        None => leaks.push(Leak {
            port,
            places: places.to_vec(),
            sources,
            certain,
            reason: piece.reason.clone(),
        }),
    }
}

/// Every place at which others can knock on the hosts of protected endpoints. An endpoint for one
/// interface leaves a host's other interfaces as they are; its loopback is no way in for others.
fn ways_in(state: &Snapshot, world: &World, status: &ServerStatus) -> Vec<Place> {
    let mut places: BTreeSet<Place> = guarded(state, world, status).into_iter().collect();
    let known: BTreeSet<(String, IpAddr)> = places
        .iter()
        .map(|place| (place.node.clone(), place.address))
        .collect();
    let hosts: BTreeSet<&str> = status.endpoints.iter().map(|e| e.host.as_str()).collect();
    for host in hosts {
        let reported = world.interfaces_of(host).is_some();
        let tunnels = world.tunnels_of(host);
        let is_used = |place: &Place| match &place.interface {
            // An address that is on none of the host's interfaces is translated before it.
            None => !reported,
            Some(_) if tunnels.iter().any(|(_, ip)| *ip == place.address) => {
                world.is_tunnelled_to(host, place.address)
            }
            Some(_) => true,
        };
        let others = world.places(host).into_iter().filter(|place| {
            !place.address.is_loopback()
                && !known.contains(&(place.node.clone(), place.address))
                && is_used(place)
        });
        places.extend(others);
    }
    places.into_iter().collect()
}

/// The places behind protected endpoints: all of a host for an endpoint of all interfaces, those
/// of its interface for another.
pub(super) fn guarded(state: &Snapshot, world: &World, status: &ServerStatus) -> Vec<Place> {
    let mut places: BTreeSet<Place> = BTreeSet::new();
    for endpoint in &status.endpoints {
        let of_host = world.places(&endpoint.host);
        let interface = endpoint.interface.as_str();
        if interface == ALL_INTERFACES || interface.is_empty() {
            places.extend(of_host);
            continue;
        }
        let on = |place: &Place| place.interface.as_deref() == Some(interface);
        let known: Vec<Place> = of_host.into_iter().filter(on).collect();
        if !known.is_empty() || world.interfaces_of(&endpoint.host).is_some() {
            places.extend(known);
            continue;
        }
        // The host does not report its interfaces: the endpoint's addresses are taken for those
        // of the interface that it names.
        let spec = state
            .get(&endpoint.object)
            .map(Object::typed_spec::<HostEndpointSpec>);
        let tunnels = world.tunnels_of(&endpoint.host);
        for address in spec
            .into_iter()
            .flatten()
            .flat_map(|s| s.addresses().collect::<Vec<_>>())
            .filter(|address| !tunnels.iter().any(|(_, ip)| ip == address))
        {
            places.insert(Place {
                node: endpoint.host.clone(),
                interface: Some(interface.to_owned()),
                address,
            });
        }
    }
    places.into_iter().collect()
}

/// Places with the sources that can knock there at all: loopback at loopback, everybody else
/// elsewhere.
fn by_loopback(places: Vec<Place>) -> [(Vec<Place>, Addresses, bool); 2] {
    let loopback = Addresses::parse("127.0.0.0/8").unwrap_or_else(Addresses::none);
    let loopback = loopback.union(&Addresses::of_hosts([IpAddr::V6(Ipv6Addr::LOCALHOST)]));
    let (inside, outside) = places.into_iter().partition(|p| p.address.is_loopback());
    [
        (outside, loopback.complement(), false),
        (inside, loopback, true),
    ]
}
