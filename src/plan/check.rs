//! Whether protections hold as they stand.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::settle::settled;
use crate::calico::endpoint::{ALL_INTERFACES, pod_label_path};
use crate::calico::names::ServerName;
use crate::calico::{HostEndpointSpec, Kind, Object, ServerPort, Snapshot};
use crate::reach::{Addresses, Piece, Place, Reason, Verdict, World};
use crate::recipe::status::{ServerStatus, Verdict as Word, status};
use crate::recipe::workloads::pod_labels;
use crate::recipe::{RecipeError, policies};

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
    /// What stands there.
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
    /// For whom it cannot be decided.
    pub unproven: Addresses,
}

impl Checked {
    /// Whether the protection holds: it is complete and nobody gets in who is no client. Whether
    /// somebody does may be unproven.
    #[must_use]
    pub fn holds(&self) -> Proven {
        if self.status.verdict != Word::Protected || self.leaks.iter().any(|leak| leak.certain) {
            Proven::No
        } else if self.leaks.is_empty() {
            Proven::Yes
        } else {
            Proven::Undecided
        }
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
    let checked = status(snapshot, server)?.into_iter().map(|status| {
        let clients = clients(&state, &status.server);
        let (leaks, open_to) = tried(&state, &world, &status, &clients);
        Checked {
            status,
            leaks,
            open_to,
        }
    });
    Ok(checked.collect())
}

/// Every address that carries a server's client label.
pub(super) fn clients(snapshot: &Snapshot, server: &ServerName) -> Addresses {
    let label = server.allowed_label();
    let mut nets: Vec<IpNet> = Vec::new();
    for kind in [Kind::GlobalNetworkSet, Kind::NetworkSet] {
        for set in snapshot.of(kind).filter(|o| o.label(&label).is_some()) {
            let read = |net| crate::calico::net::parse_cidr_or_ip(net).ok();
            nets.extend(set.spec_strs("nets").filter_map(read));
        }
    }
    for endpoint in snapshot
        .of(Kind::HostEndpoint)
        .filter(|o| o.label(&label).is_some())
    {
        let ips = endpoint
            .spec_strs("expectedIPs")
            .filter_map(|ip| ip.parse::<IpAddr>().ok());
        nets.extend(ips.map(IpNet::from));
    }
    for kind in [Kind::Pod, Kind::WorkloadEndpoint] {
        let Some(path) = pod_label_path(kind) else {
            continue;
        };
        for pod in snapshot
            .of(kind)
            .filter(|o| pod_labels(o, &path).contains_key(&label))
        {
            let ips = pod
                .value()
                .pointer("/status/podIPs")
                .and_then(|v| v.as_array());
            let ips = ips
                .into_iter()
                .flatten()
                .filter_map(|ip| ip.get("ip")?.as_str());
            let nets_of = pod.spec_strs("ipNetworks");
            let read = |net: &str| crate::calico::net::parse_cidr_or_ip(net).ok();
            nets.extend(ips.chain(nets_of).filter_map(read));
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
    let own = policies::find(state, &status.server).map(|policy| policy.id().clone());
    let mut leaks: Vec<Leak> = Vec::new();
    let mut open_to = Vec::new();
    for (places, possible) in by_loopback(guarded(state, world, status)) {
        for port in &status.ports {
            for class in world.classes(&places, *port) {
                let names: Vec<String> = class
                    .places
                    .iter()
                    .filter_map(|at| places.get(*at))
                    .map(ToString::to_string)
                    .collect();
                for piece in &class.reachability.pieces {
                    let foreign = piece.sources.intersection(&possible).difference(clients);
                    let ours = matches!(&piece.reason, Reason::Rule { policy, .. } if Some(policy) == own.as_ref());
                    if piece.verdict == Verdict::Deny || foreign.is_empty() || ours {
                        continue;
                    }
                    add_leak(&mut leaks, *port, &names, foreign, piece);
                }
                open_to.push(OpenTo {
                    port: *port,
                    places: names,
                    allowed: class
                        .reachability
                        .with(Verdict::Allow)
                        .intersection(&possible),
                    unproven: class
                        .reachability
                        .with(Verdict::Unproven)
                        .intersection(&possible),
                });
            }
        }
    }
    (leaks, open_to)
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
        if !known.is_empty() {
            places.extend(known);
            continue;
        }
        // The host does not report its interfaces: the endpoint's addresses are taken for those
        // of the interface that it names.
        let spec = state
            .get(&endpoint.object)
            .map(Object::typed_spec::<HostEndpointSpec>);
        for address in spec
            .into_iter()
            .flatten()
            .flat_map(|s| s.addresses().collect::<Vec<_>>())
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
fn by_loopback(places: Vec<Place>) -> [(Vec<Place>, Addresses); 2] {
    let loopback = Addresses::parse("127.0.0.0/8").unwrap_or_else(Addresses::none);
    let loopback = loopback.union(&Addresses::of_hosts([IpAddr::V6(Ipv6Addr::LOCALHOST)]));
    let (inside, outside) = places.into_iter().partition(|p| p.address.is_loopback());
    [(outside, loopback.complement()), (inside, loopback)]
}
