//! Sessions of BGP: who has one with whom, and which end opens the connection.
//!
//! The facts are those of confd, which writes BIRD's configuration: the templates `bird.cfg.template`
//! and `bird6.cfg.template` of Calico v3.24 to v3.31, `bgp_processor.go` since v3.32, and
//! `updatePeersV1` of `confd/pkg/backends/calico/client.go` in all of them.
//!
//! * In the mesh of nodes the end with the greater address dials; the other one is passive.
//!   Addresses are compared as text: `192.0.2.9` is greater than `192.0.2.11`. A node has a session
//!   for each family in which it has an address of BGP. Route reflectors are not part of the mesh.
//! * A `BGPPeer` gives a session to the nodes that it names, and, where the peer is a node, to that
//!   node as well. Neither end is passive, save where all nodes peer with the address of a node:
//!   there the greater of two such addresses dials.
//! * What a router outside does is not known: it may be passive, or be the one that dials.
//!
//! Peers that are local workloads (`localWorkloadSelector`) are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::family::{Evidence, Family, Servers};
use super::{BGP, BGP_FROM_PEER, BGP_NODES, BGP_NODES_V6, BGP_PEER, BGP_V6, Rule};
use crate::calico::felix::variable;
use crate::calico::{DatastoreKind, Host, Kind, Object, ServerPort, Snapshot};
use crate::selector::Selector;

/// The port that BIRD listens on where nothing else is configured.
const PORT: u16 = 179;

/// Addresses that nodes use BGP with, of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Speakers(BTreeMap<String, (String, IpAddr)>);

impl Speakers {
    fn of(addresses: impl Iterator<Item = (String, IpAddr)>) -> Arc<Self> {
        let told = addresses.map(|(host, ip)| (host, (ip.to_string(), ip)));
        Arc::new(Self(told.collect()))
    }

    /// The address of a node.
    #[must_use]
    pub fn address(&self, host: &str) -> Option<IpAddr> {
        self.0.get(host).map(|(_, ip)| *ip)
    }

    /// A node's address as text, in the order of which one end of a session dials the other.
    #[must_use]
    pub fn text(&self, host: &str) -> &str {
        self.0.get(host).map_or("", |(text, _)| text)
    }
}

/// Adds the families of BGP. `mesh` is what tells that the nodes have sessions with each other.
pub(super) fn add(
    snapshot: &Snapshot,
    hosts: &BTreeMap<String, Host>,
    mesh: Option<&String>,
    found: &mut Vec<Family>,
) {
    if !is_spoken(snapshot) {
        return;
    }
    let nodes = Nodes::read(snapshot, hosts);
    if let Some(evidence) = mesh {
        nodes.mesh(evidence, found);
    }
    for peer in snapshot.of(Kind::BgpPeer) {
        nodes.peer(peer, found);
    }
}

/// Whether calico-node runs BIRD at all, as far as its settings can be read.
fn is_spoken(snapshot: &Snapshot) -> bool {
    let of_map = snapshot
        .of(Kind::ConfigMap)
        .find(|map| map.name() == "calico-config")
        .and_then(|map| map.value().pointer("/data/calico_backend")?.as_str())
        .map(str::to_owned);
    let of_workload = || {
        snapshot.of(Kind::DaemonSet).find_map(|set| {
            let containers = set.value().pointer("/spec/template/spec/containers")?;
            let named = |c: &&Value| c.get("name").and_then(Value::as_str) == Some("calico-node");
            let container = containers.as_array()?.iter().find(named)?;
            variable(snapshot, set, container, "CALICO_NETWORKING_BACKEND")?.value
        })
    };
    let backend = of_workload().or(of_map);
    !matches!(backend.as_deref(), Some("vxlan" | "none"))
}

/// What is known of the nodes.
struct Nodes<'s> {
    hosts: &'s BTreeMap<String, Host>,
    /// IPv4, IPv6.
    speakers: [Arc<Speakers>; 2],
    reflectors: BTreeSet<&'s str>,
    port: u16,
    own_ports: BTreeMap<&'s str, u16>,
    /// Those that all nodes peer with by address. No other peer says anything of sessions with them.
    peers_of_all: BTreeSet<String>,
}

impl<'s> Nodes<'s> {
    fn read(snapshot: &'s Snapshot, hosts: &'s BTreeMap<String, Host>) -> Self {
        // Files need not hold what calico-node adds to a Node when it starts.
        let is_guessed = snapshot.datastore.kind == DatastoreKind::Manifests;
        let speaker = |host: &Host, ipv6: bool| {
            let known = host.bgp.iter().find(|ip| ip.is_ipv6() == ipv6).copied();
            let guess = || host.main_address(ipv6).filter(|_| host.bgp.is_empty());
            known.or_else(|| guess().filter(|_| is_guessed))
        };
        let speakers = [false, true].map(|ipv6| {
            let told = hosts.iter();
            Speakers::of(told.filter_map(|(name, host)| Some((name.clone(), speaker(host, ipv6)?))))
        });
        let nodes = [Kind::CalicoNode, Kind::Node];
        let reflectors = nodes.into_iter().flat_map(|kind| snapshot.of(kind));
        let reflectors = reflectors.filter(|node| {
            let field = node.value().pointer("/spec/bgp/routeReflectorClusterID");
            let field = field.and_then(Value::as_str);
            let id = field.or_else(|| node.annotation("projectcalico.org/RouteReflectorClusterID"));
            id.is_some_and(|id| !id.is_empty())
        });
        let port = |object: &Object| u16::try_from(object.spec("listenPort")?.as_u64()?).ok();
        let configurations = snapshot.of(Kind::BgpConfiguration);
        let mut nodes = Self {
            hosts,
            speakers,
            reflectors: reflectors.map(Object::name).collect(),
            port: snapshot
                .global(Kind::BgpConfiguration, "default")
                .and_then(port)
                .unwrap_or(PORT),
            own_ports: configurations
                .filter_map(|c| Some((c.name().strip_prefix("node.")?, port(c)?)))
                .collect(),
            peers_of_all: BTreeSet::new(),
        };
        let selecting = [
            "localWorkloadSelector",
            "nodeSelector",
            "node",
            "peerSelector",
        ];
        let of_all = snapshot.of(Kind::BgpPeer);
        let of_all = of_all.filter(|peer| selecting.iter().all(|f| text(peer, f).is_none()));
        let named =
            of_all.filter_map(|peer| nodes.with(address_and_port(text(peer, "peerIP")?)?.0));
        nodes.peers_of_all = named.cloned().collect();
        nodes
    }

    /// The node that uses BGP with an address.
    fn with(&self, address: IpAddr) -> Option<&'s String> {
        let mut nodes = self.hosts.keys();
        nodes.find(|host| {
            let mut families = self.speakers.iter();
            families.any(|speakers| speakers.address(host) == Some(address))
        })
    }

    fn port(&self, host: &str) -> u16 {
        self.own_ports.get(host).copied().unwrap_or(self.port)
    }

    /// Hosts that have an address of a family, by the port that they listen on.
    fn by_port(&self, hosts: &[String], speakers: &Speakers) -> BTreeMap<u16, Vec<String>> {
        let mut by_port: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for host in hosts.iter().filter(|h| speakers.address(h).is_some()) {
            by_port
                .entry(self.port(host))
                .or_default()
                .push(host.clone());
        }
        by_port
    }

    fn mesh(&self, evidence: &str, found: &mut Vec<Family>) {
        for (rule, speakers) in [BGP, BGP_V6].into_iter().zip(&self.speakers) {
            let members = self.hosts.keys();
            let members = members.filter(|host| !self.reflectors.contains(host.as_str()));
            let members: Vec<String> = members.cloned().collect();
            self.below(rule, evidence, [&members, &members], speakers, found);
        }
    }

    /// Sessions between clients and servers in which the greater address dials.
    fn below(
        &self,
        rule: Rule,
        evidence: &str,
        [clients, servers]: [&[String]; 2],
        speakers: &Arc<Speakers>,
        found: &mut Vec<Family>,
    ) {
        let clients = clients.iter().filter(|h| speakers.address(h).is_some());
        let clients: Vec<String> = clients.cloned().collect();
        for (port, servers) in self.by_port(servers, speakers) {
            found.push(Family {
                rule,
                evidence: Evidence::All(evidence.to_owned()),
                port: ServerPort::tcp(port),
                clients: clients.clone(),
                servers: Servers::Below {
                    hosts: servers,
                    speakers: Arc::clone(speakers),
                },
            });
        }
    }

    fn matching(&self, selector: &str) -> Vec<String> {
        let Ok(selector) = Selector::parse(selector) else {
            return Vec::new();
        };
        let hosts = self.hosts.values();
        let hosts = hosts.filter(|host| selector.matches(&host.labels));
        hosts.map(|host| host.name.clone()).collect()
    }

    fn peer(&self, peer: &Object, found: &mut Vec<Family>) {
        let text = |field: &str| text(peer, field);
        if text("localWorkloadSelector").is_some() {
            return;
        }
        let evidence = format!("{} names it", peer.id());
        let is_of_all = text("nodeSelector").or(text("node")).is_none();
        let own = match (text("nodeSelector"), text("node")) {
            (Some(selector), _) => self.matching(selector),
            (None, Some(node)) => self.hosts.keys().filter(|h| *h == node).cloned().collect(),
            (None, None) => self.hosts.keys().cloned().collect(),
        };
        let rules = [BGP_NODES, BGP_NODES_V6];
        if let Some(selector) = text("peerSelector") {
            let peers = self.matching(selector);
            for (rule, speakers) in rules.into_iter().zip(&self.speakers) {
                self.either(rule, &evidence, [&own, &peers], None, speakers, found);
            }
            return;
        }
        let Some((address, port)) = text("peerIP").and_then(address_and_port) else {
            return;
        };
        let at = usize::from(address.is_ipv6());
        let (Some(speakers), Some(rule)) = (self.speakers.get(at), rules.get(at)) else {
            return;
        };
        match self.with(address) {
            Some(node) => {
                let node = std::slice::from_ref(node);
                if is_of_all {
                    self.below(*rule, &evidence, [node, &own], speakers, found);
                    self.below(*rule, &evidence, [&own, node], speakers, found);
                } else {
                    self.either(*rule, &evidence, [&own, node], port, speakers, found);
                }
            }
            None => self.router(&evidence, &own, (address, port), speakers, found),
        }
    }

    /// Sessions between nodes that either end may open. `port` is that of the peers, where it is
    /// not the one that they listen on.
    fn either(
        &self,
        rule: Rule,
        evidence: &str,
        [own, peers]: [&[String]; 2],
        port: Option<u16>,
        speakers: &Arc<Speakers>,
        found: &mut Vec<Family>,
    ) {
        let others = |hosts: &[String]| -> Vec<String> {
            let others = hosts.iter().filter(|h| !self.peers_of_all.contains(*h));
            others.cloned().collect()
        };
        let (own, peers) = (others(own), others(peers));
        let (is_own, is_peer): (BTreeSet<&String>, BTreeSet<&String>) =
            (own.iter().collect(), peers.iter().collect());
        let split = |hosts: &[String], others: &BTreeSet<&String>| -> [Vec<String>; 2] {
            let (both, one) = hosts.iter().cloned().partition(|h| others.contains(h));
            [one, both]
        };
        let mut add = |clients: &[String], servers: &[String], back: u16, to: u16, each_other| {
            let (hosts, speakers) = (servers.to_vec(), Arc::clone(speakers));
            let back = ServerPort::tcp(back);
            found.push(Family {
                rule,
                evidence: Evidence::All(evidence.to_owned()),
                port: ServerPort::tcp(port.unwrap_or(to)),
                clients: clients.to_vec(),
                servers: if each_other {
                    Servers::EachOther { back, speakers }
                } else {
                    Servers::Peers {
                        hosts,
                        back,
                        speakers,
                    }
                },
            });
        };
        for (back, own) in self.by_port(&own, speakers) {
            for (to, peers) in self.by_port(&peers, speakers) {
                let [own_only, own_both] = split(&own, &is_peer);
                let [peers_only, peers_both] = split(&peers, &is_own);
                add(&own_only, &peers, back, to, false);
                add(&own_both, &peers_only, back, to, false);
                // Who is on both sides has one session with each other one.
                if back == to {
                    add(&own_both, &[], back, to, true);
                } else if back < to {
                    add(&own_both, &peers_both, back, to, false);
                }
            }
        }
    }

    /// Sessions with a router outside.
    fn router(
        &self,
        evidence: &str,
        own: &[String],
        (address, port): (IpAddr, Option<u16>),
        speakers: &Arc<Speakers>,
        found: &mut Vec<Family>,
    ) {
        let name = match port {
            Some(port) if port != PORT => format!("{address}:{port}"),
            _ => address.to_string(),
        };
        for (listening, nodes) in self.by_port(own, speakers) {
            found.push(Family {
                rule: BGP_PEER,
                evidence: Evidence::All(evidence.to_owned()),
                port: ServerPort::tcp(port.unwrap_or(PORT)),
                clients: nodes.clone(),
                servers: Servers::Address {
                    name: name.clone(),
                    address,
                },
            });
            found.push(Family {
                rule: BGP_FROM_PEER,
                evidence: Evidence::All(evidence.to_owned()),
                port: ServerPort::tcp(listening),
                clients: nodes,
                servers: Servers::From {
                    name: name.clone(),
                    address,
                    speakers: Arc::clone(speakers),
                },
            });
        }
    }
}

/// A text of a peer's spec; empty ones say nothing.
fn text<'p>(peer: &'p Object, field: &str) -> Option<&'p str> {
    peer.spec_str(field).filter(|text| !text.is_empty())
}

/// What `peerIP` says: an address, or one with a port: `192.0.2.1:1790`, `[2001:db8::1]:1790`.
fn address_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Some((address, None));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.parse().ok()?, Some(port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_written_with_and_without_a_port() {
        let read = |text: &str| {
            let (ip, port) = address_and_port(text)?;
            Some(format!("{ip} {}", port.unwrap_or_default()))
        };
        assert_eq!(read("192.0.2.1").unwrap(), "192.0.2.1 0");
        assert_eq!(read("192.0.2.1:1790").unwrap(), "192.0.2.1 1790");
        assert_eq!(read("2001:db8::1").unwrap(), "2001:db8::1 0");
        assert_eq!(read("[2001:db8::1]:1790").unwrap(), "2001:db8::1 1790");
        assert_eq!(read("router.example.test"), None);
        assert_eq!(read("192.0.2.1:99999"), None);
    }
}
