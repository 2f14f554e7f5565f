//! The model that questions are put to, made once of everything that was read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::calico::kubernetes::{PodView, SliceView};
use crate::calico::{DatastoreKind, Host, Kind, ObjectId, Protocol, Snapshot, Transport, Version};

use super::addresses::Addresses;
use super::engine::Gate;
use super::labels::{Group, LabelIndex, Mentions};
use super::missing::Missing;
use super::objects::{Endpoints, HostEndpoint, Wanted, Workload};
use super::oracle::Oracle;
use super::packet::Packet;
use super::policies::{Compiled, Ignored, Policies, Policy, Profile, Profiles, Tier};
use super::routes::Routes;
use super::sets::Sets;
use super::settings::SettingsLayers;
use super::topology::{Encapsulation, Topology};
use super::verdict::Purpose;
use super::wires::{self, Interface, Node};

/// Everything that decides who can reach what, compiled for questions.
#[derive(Debug)]
pub struct World {
    pub(super) version: Version,
    pub(super) index: LabelIndex,
    pub(super) sets: Sets,
    tiers: Vec<Tier>,
    policies: Vec<Policy>,
    /// Policies that select each group of labels, in order.
    selected: Vec<Vec<u32>>,
    /// A number for each group; groups with equal lists have equal numbers.
    selection: Vec<usize>,
    profiles: HashMap<String, Profile>,
    hosts: Vec<HostEndpoint>,
    workloads: Vec<Workload>,
    by_address: HashMap<IpAddr, usize>,
    /// Workloads by namespace and name: of the endpoint, and of its pod.
    by_name: HashMap<(String, String), usize>,
    /// Nodes of host-networked pods, by namespace and name.
    host_pods: HashMap<(String, String), String>,
    nodes: BTreeMap<String, Node>,
    node_of: HashMap<IpAddr, String>,
    /// Addresses that host endpoints expect of nodes which may have more than they report.
    claims: HashMap<IpAddr, String>,
    /// Where tunnels between nodes end.
    pub(super) tunnel_ends: Addresses,
    pub(super) routes: Routes,
    /// Whether hosts find each other by IPv6 neighbour discovery.
    pub(super) is_discovering: bool,
    /// Whether there is untracked policy at all.
    pub(super) has_untracked: bool,
    ignored: Vec<Ignored>,
}

impl World {
    /// Makes a model of what was read from a datastore.
    ///
    /// What the objects do not tell is unknown and makes answers unproven where it matters. Taken
    /// for granted are only things outside Calico: that the kernel's own policies accept, and that
    /// nobody overrides a setting in a file on a host.
    #[must_use]
    pub fn from_snapshot(snapshot: &Snapshot) -> Self {
        Self::compiled(snapshot, &Topology::default(), &mut Compiled::default())
    }

    /// Makes a model like [`Self::from_snapshot`], with what was made of the same objects before.
    #[must_use]
    pub fn with_compiled(snapshot: &Snapshot, compiled: &mut Compiled) -> Self {
        Self::compiled(snapshot, &Topology::default(), compiled)
    }

    /// Makes a model of what was read from a datastore, completed by what is known from elsewhere.
    #[must_use]
    pub fn with_topology(snapshot: &Snapshot, topology: &Topology) -> Self {
        Self::compiled(snapshot, topology, &mut Compiled::default())
    }

    fn compiled(snapshot: &Snapshot, topology: &Topology, compiled: &mut Compiled) -> Self {
        let version = topology.version.unwrap_or_else(|| snapshot.version());
        let policies = Policies::read(snapshot, version, compiled);
        let mut profiles = Profiles::read(snapshot, &mut compiled.sets);
        let mut sets = Sets::new(&compiled.sets);
        let mut mentions = Mentions::default();
        policies
            .policies
            .iter()
            .for_each(|p| mentions.add(&p.selector));
        compiled.sets.mention(&mut mentions);
        let mut index = LabelIndex::new(mentions);
        let endpoints = Endpoints::read(snapshot, &mut profiles, &mut index);
        sets.fill(index.len(), endpoints.peers);
        for object in snapshot.of(Kind::EndpointSlice) {
            if let Some(slice) = SliceView::read(object) {
                let namespace = object.id().namespace.as_deref().unwrap_or_default();
                let ips: Vec<IpAddr> = slice.endpoints.iter().map(|(ip, _)| *ip).collect();
                let ports: Vec<_> = slice.ports.iter().map(|(_, t, p)| (*t, *p)).collect();
                sets.add_slice(namespace, &slice.service, &ips, &ports);
            }
        }
        let mut selected: Vec<Vec<u32>> = vec![Vec::new(); index.len()];
        for (at, policy) in (0_u32..).zip(&policies.policies) {
            for group in index.select(&policy.selector) {
                if let Some(list) = selected.get_mut(group) {
                    list.push(at);
                }
            }
        }
        let mut numbers: HashMap<&[u32], usize> = HashMap::new();
        let selection = selected.iter().map(|list| {
            let next = numbers.len();
            *numbers.entry(list).or_insert(next)
        });
        let selection = selection.collect();
        let mut ignored = policies.ignored;
        ignored.extend(profiles.ignored);
        ignored.extend(endpoints.ignored);
        let mut world = Self {
            version,
            index,
            sets,
            tiers: policies.tiers,
            is_discovering: !topology.neighbours_are_set,
            has_untracked: (policies.policies.iter()).any(|p| p.is_for(Purpose::Untracked)),
            policies: policies.policies,
            selected,
            selection,
            profiles: profiles.by_name,
            hosts: endpoints.hosts,
            workloads: endpoints.workloads,
            by_address: HashMap::new(),
            by_name: HashMap::new(),
            host_pods: HashMap::new(),
            nodes: BTreeMap::new(),
            node_of: HashMap::new(),
            claims: HashMap::new(),
            tunnel_ends: Addresses::none(),
            routes: Routes::read(snapshot, topology),
            ignored,
        };
        world.add_nodes(snapshot, topology, version);
        world.add_workloads(snapshot);
        world
    }

    fn add_nodes(&mut self, snapshot: &Snapshot, topology: &Topology, version: Version) {
        let mut layers = SettingsLayers::read(snapshot, version, topology.felix.clone());
        let hosts = Host::all(snapshot);
        // A datastore and a picture have all nodes, so that endpoints of others govern nothing.
        // Files may have some only: a node that only endpoints speak of is one, too, of which
        // nothing else is known.
        let partial =
            snapshot.datastore.kind == DatastoreKind::Manifests && topology.nodes.is_empty();
        let named = self.hosts.iter().map(|h| &h.node);
        let named = named.chain(self.workloads.iter().map(|w| &w.node));
        let named = named.filter(|_| partial);
        let names = hosts.keys().chain(topology.nodes.keys());
        let names: BTreeSet<String> = names.chain(named).cloned().collect();
        let by_node = wires::by_node(&self.hosts);
        let no_labels = BTreeMap::new();
        let mut tunnel_ends: Vec<IpAddr> = Vec::new();
        for name in &names {
            let host = hosts.get(name);
            let labels = host.map_or(&no_labels, |h| &h.labels);
            let is_kubernetes = host.is_some_and(|h| h.kind == Kind::Node);
            let settings = layers.of(name, labels, is_kubernetes);
            let mut node = Node::new(name, host, topology.nodes.get(name), settings);
            if let Some((specific, wildcard)) = by_node.get(name.as_str()) {
                node.specific.clone_from(specific);
                node.wildcard = *wildcard;
            }
            for ipv6 in [false, true] {
                let main = host.and_then(|h| h.main_address(ipv6));
                let listening = || node.listening().into_iter().find(|ip| ip.is_ipv6() == ipv6);
                tunnel_ends.extend(main.or_else(listening));
            }
            for ip in node.addresses() {
                self.node_of.entry(ip).or_insert_with(|| name.clone());
            }
            self.nodes.insert(name.clone(), node);
        }
        // An address that no node reports but a host endpoint expects may be its node's, if that
        // does not report its interfaces; which interface carries it stays open. Where nothing
        // describes any node it is taken for true. Such a word counts for nothing against a
        // workload's address.
        let of_workloads = self.workloads.iter().flat_map(|w| &w.addresses);
        let of_workloads: BTreeSet<IpAddr> = of_workloads.copied().collect();
        for endpoint in &self.hosts {
            let node = self.nodes.get(&endpoint.node);
            if node.is_none_or(|n| n.interfaces.is_some()) {
                continue;
            }
            let free = |ip: &&IpAddr| !of_workloads.contains(*ip) && !ip.is_loopback();
            for ip in endpoint.addresses.iter().filter(free) {
                let node = || endpoint.node.clone();
                if hosts.is_empty() {
                    tunnel_ends.push(*ip);
                    self.node_of.entry(*ip).or_insert_with(node);
                } else {
                    self.claims.entry(*ip).or_insert_with(node);
                }
            }
        }
        self.tunnel_ends = Addresses::of_hosts(tunnel_ends);
    }

    fn add_workloads(&mut self, snapshot: &Snapshot) {
        for (at, workload) in self.workloads.iter().enumerate() {
            for ip in &workload.addresses {
                self.by_address.entry(*ip).or_insert(at);
            }
            let namespace = workload.id.namespace.clone().unwrap_or_default();
            let mut add = |name: &str| {
                let key = (namespace.clone(), name.to_owned());
                self.by_name.entry(key).or_insert(at);
            };
            add(&workload.id.name);
            workload.pod.iter().for_each(|pod| add(pod));
        }
        for object in snapshot.of(Kind::Pod) {
            if let Some(view) = PodView::read(object).filter(|v| v.host_network) {
                let namespace = object.id().namespace.clone().unwrap_or_default();
                let key = (namespace, object.name().to_owned());
                self.host_pods.insert(key, view.node);
            }
        }
    }

    /// Objects that Felix treats as absent, because they break its rules.
    pub fn ignored(&self) -> impl Iterator<Item = &Ignored> {
        self.ignored.iter()
    }

    /// The nodes' names, in order.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The addresses of a node: its own network's first, then those of tunnels. Loopback is left
    /// out.
    #[must_use]
    pub fn addresses_of_node(&self, node: &str) -> Vec<IpAddr> {
        let node = self.nodes.get(node);
        node.map(|n| n.addresses().collect()).unwrap_or_default()
    }

    /// The addresses of a workload, by namespace and name of its endpoint or pod.
    #[must_use]
    pub fn addresses_of_pod(&self, namespace: &str, name: &str) -> Vec<IpAddr> {
        let workload = self.find_workload(namespace, name);
        let workload = workload.and_then(|at| self.workload(at));
        workload.map(|w| w.addresses.clone()).unwrap_or_default()
    }

    /// Who has an address: a node or a workload.
    #[must_use]
    pub fn owner_of(&self, ip: IpAddr) -> Option<Owner<'_>> {
        if let Some(node) = self.node_of.get(&ip) {
            return Some(Owner::Node(node));
        }
        let workload = self.workload(*self.by_address.get(&ip)?)?;
        Some(Owner::Workload(&workload.id))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub(super) fn node_with(&self, ip: IpAddr) -> Option<&Node> {
        self.nodes.get(self.node_of.get(&ip)?)
    }

    /// The node that may have an address, by the word of a host endpoint alone.
    pub(super) fn node_claiming(&self, ip: IpAddr) -> Option<&Node> {
        self.nodes.get(self.claims.get(&ip)?)
    }

    pub(super) fn tier(&self, at: usize) -> Option<&Tier> {
        self.tiers.get(at)
    }

    pub(super) fn tiers(&self) -> impl Iterator<Item = &Tier> {
        self.tiers.iter()
    }

    pub(super) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    pub(super) fn host_endpoint(&self, at: usize) -> Option<&HostEndpoint> {
        self.hosts.get(at)
    }

    pub(super) fn workload(&self, at: usize) -> Option<&Workload> {
        self.workloads.get(at)
    }

    pub(super) fn workload_with(&self, ip: IpAddr) -> Option<usize> {
        self.by_address.get(&ip).copied()
    }

    pub(super) fn find_workload(&self, namespace: &str, name: &str) -> Option<usize> {
        let key = (namespace.to_owned(), name.to_owned());
        self.by_name.get(&key).copied()
    }

    pub(super) fn node_of_host_pod(&self, namespace: &str, name: &str) -> Option<&str> {
        let key = (namespace.to_owned(), name.to_owned());
        self.host_pods.get(&key).map(String::as_str)
    }

    /// The policies that select endpoints of a group, in the order in which they are walked.
    pub(super) fn policies_of(&self, group: Group) -> impl Iterator<Item = &Policy> + use<'_> {
        let selected = self.selected.get(group).into_iter().flatten();
        selected.filter_map(|at| self.policies.get(usize::try_from(*at).ok()?))
    }

    /// A number that is equal for groups that the same policies select.
    pub(super) fn selection_of(&self, group: Group) -> usize {
        self.selection.get(group).copied().unwrap_or(usize::MAX)
    }

    /// Whether policies of a purpose select a group, staged ones included.
    pub(super) fn has_policy(&self, group: Group, purpose: Purpose) -> bool {
        let some = |p: &Policy| p.is_for(purpose) && (p.ingress.is_some() || p.egress.is_some());
        self.policies_of(group).any(some)
    }

    /// Whether a packet is one of a tunnel that Felix knows (IPIP or VXLAN, where it is enabled).
    pub(super) fn is_tunnel_packet(
        &self,
        node: &Node,
        packet: &Packet,
        oracle: &mut Oracle,
    ) -> bool {
        let ipv6 = packet.is_ipv6();
        let (encapsulation, enabled, name) = if packet.transport() == Some(Transport::Udp)
            && packet.goes_to() == Some(node.settings.vxlan_port)
        {
            let enabled = node.settings.vxlan_enabled.filter(|_| !ipv6);
            (Encapsulation::Vxlan, enabled, "vxlanEnabled")
        } else if packet.protocol == Protocol::number(4) && !ipv6 {
            (
                Encapsulation::IpIp,
                node.settings.ipip_enabled,
                "ipipEnabled",
            )
        } else {
            return false;
        };
        // Felix enables what the pools use, unless its configuration says otherwise.
        let enabled = enabled.or_else(|| self.routes.uses(encapsulation, ipv6));
        oracle.is(&node.name, enabled, || Missing::Setting {
            node: node.name.clone(),
            name,
        })
    }

    /// Who governs an interface of a node.
    pub(super) fn gate(
        &self,
        node: &Node,
        interface: &Interface,
        packet: &Packet,
        oracle: &mut Oracle,
    ) -> Gate {
        let (name, specific) = self.specific(node, interface, oracle);
        let exempt = node.exempts(name.as_deref(), packet, self.version, oracle);
        let is_unknown = node.takes_for_unknown(name.as_deref(), oracle);
        Gate {
            interface: name,
            is_unknown,
            specific,
            wildcard: node.wildcard,
            workload: None,
            exempt,
        }
    }

    /// The gate of a workload's interface. Host endpoints for single interfaces cannot be there.
    pub(super) fn workload_gate(&self, at: usize) -> Gate {
        let workload = self.workload(at);
        let node = workload.and_then(|w| self.node(&w.node));
        Gate {
            interface: workload.and_then(|w| w.interface.clone()),
            specific: None,
            wildcard: node.and_then(|n| n.wildcard),
            workload: Some(at),
            exempt: false,
            is_unknown: false,
        }
    }

    /// The host endpoint for one interface: of those that fit, the first by name.
    pub(super) fn specific(
        &self,
        node: &Node,
        interface: &Interface,
        oracle: &mut Oracle,
    ) -> (Option<String>, Option<usize>) {
        if let Interface::Named(name) = interface
            && node.settings.is_of_workload(name)
        {
            return (Some(name.clone()), None);
        }
        let addresses = node.addresses_of(interface);
        // For each candidate in order of name: it fits, does not, or that cannot be known.
        let fits = |at: usize| -> Option<bool> {
            let endpoint = self.hosts.get(at)?;
            match (&endpoint.wanted, interface) {
                (Wanted::All, _) => Some(false),
                (Wanted::Named(name), Interface::Named(this)) => Some(name == this),
                (Wanted::Named(_), Interface::Carrying(_)) => None,
                (Wanted::ByAddress, _) => {
                    let lists =
                        |ips: &Vec<IpAddr>| ips.iter().any(|ip| endpoint.addresses.contains(ip));
                    match (&addresses, interface) {
                        (Some(ips), _) if lists(ips) => Some(true),
                        (Some(_), Interface::Named(_)) => Some(false),
                        // The interface may carry other addresses of the node, too.
                        _ => None,
                    }
                }
            }
        };
        let mut possible: Vec<Option<usize>> = Vec::new();
        let mut certain = false;
        for at in &node.specific {
            match fits(*at) {
                Some(false) => {}
                Some(true) => {
                    possible.push(Some(*at));
                    certain = true;
                    break;
                }
                None => possible.push(Some(*at)),
            }
        }
        if !certain {
            possible.push(None);
        }
        let missing = match interface {
            Interface::Carrying(ip) => Missing::Interface {
                node: node.name.clone(),
                address: *ip,
            },
            Interface::Named(name) => Missing::InterfaceAddresses {
                node: node.name.clone(),
                interface: name.clone(),
            },
        };
        let chosen = oracle.choose(&node.name, missing, possible.len());
        let governor = possible.get(chosen).copied().flatten();
        let name = match interface {
            Interface::Named(name) => Some(name.clone()),
            Interface::Carrying(_) => {
                governor.and_then(|at| match self.hosts.get(at).map(|h| &h.wanted) {
                    Some(Wanted::Named(name)) => Some(name.clone()),
                    _ => None,
                })
            }
        };
        (name, governor)
    }
}

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'w> {
    /// A node, by name.
    Node(&'w str),
    /// A workload: its WorkloadEndpoint, or its Pod.
    Workload(&'w ObjectId),
}
