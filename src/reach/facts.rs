//! What a model knows besides verdicts: settings of nodes, and which policies are on an endpoint.

use std::net::IpAddr;

use crate::calico::ObjectId;
use crate::calico::felix::{Direction, Effective};
use crate::calico::policy::PolicyType;

use super::labels::Group;
use super::objects::Wanted;
use super::oracle::Oracle;
use super::policies::Policy;
use super::topology::ProxyMode;
use super::verdict::{EndpointToHostAction, Purpose};
use super::world::World;

/// Settings of Felix on a node that decide outside rules. `None` is one that cannot be known.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'w> {
    /// A number that is equal for nodes with equal settings.
    pub settings: usize,
    /// What becomes of connections from workloads to their own host.
    pub endpoint_to_host: Option<EndpointToHostAction>,
    /// Whether Felix polices IPv6.
    pub ipv6: Option<bool>,
    /// Whether Felix runs in eBPF mode.
    pub bpf: Option<bool>,
    /// Whether an Allow hands packets on to later rules of the kernel.
    pub allow_returns: Option<bool>,
    /// How kube-proxy works.
    pub proxy_mode: Option<ProxyMode>,
    /// The inbound failsafes.
    pub inbound: &'w Effective,
}

/// Which interfaces a host endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interfaces<'w> {
    /// All that no other endpoint governs.
    All,
    /// The one with this name.
    Named(&'w str),
    /// Those that carry one of its addresses.
    ByAddress,
}

/// An endpoint as policies see it.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'w> {
    /// The HostEndpoint, the WorkloadEndpoint, or the Pod.
    pub id: &'w ObjectId,
    /// Its node.
    pub node: &'w str,
    /// The interfaces; `None` for workloads.
    pub interfaces: Option<Interfaces<'w>>,
    /// Its profiles.
    pub profiles: &'w [String],
    /// A number that is equal for endpoints which the same policies select.
    pub selection: usize,
    group: Group,
}

/// A policy that selects an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct PolicyOn<'w> {
    /// The policy.
    pub id: &'w ObjectId,
    /// Its tier.
    pub tier: &'w str,
    /// Whether the tier passes on what none of its policies decided.
    pub tier_passes: bool,
    /// Whether it never decides.
    pub staged: bool,
    /// What it is for.
    pub purpose: Purpose,
    policy: &'w Policy,
}

impl PolicyOn<'_> {
    /// Whether it covers a direction.
    #[must_use]
    pub fn covers(&self, direction: PolicyType) -> bool {
        self.policy.rules(direction).is_some()
    }

    /// Whether it decides about connections that begin or end at the endpoint: it is enforced,
    /// normal, and covers the direction.
    #[must_use]
    pub fn counts(&self, direction: PolicyType) -> bool {
        !self.staged && self.purpose == Purpose::Normal && self.covers(direction)
    }
}

impl World {
    /// Settings of a node; `None` for a node that nothing describes.
    #[must_use]
    pub fn facts(&self, node: &str) -> Option<Facts<'_>> {
        let settings = &self.node(node)?.settings;
        Some(Facts {
            settings: std::sync::Arc::as_ptr(settings) as usize,
            endpoint_to_host: settings.endpoint_to_host,
            ipv6: settings.ipv6,
            bpf: settings.bpf,
            allow_returns: settings.allow_returns,
            proxy_mode: settings.proxy_mode,
            inbound: settings.failsafes(Direction::Inbound),
        })
    }

    /// Whether a workload of a node reaches hosts with the node's address instead of its own.
    #[must_use]
    pub fn is_masqueraded(&self, node: &str, workload: IpAddr) -> bool {
        let spared = self.node(node).is_some_and(|n| n.settings.nat_spares_hosts);
        !spared && self.routes.pool_masquerades(workload)
    }

    /// The interfaces of a node with their addresses, tunnels and loopback included; `None` where
    /// the node does not report them.
    #[must_use]
    pub fn interfaces_of(&self, node: &str) -> Option<Vec<(&str, &[IpAddr])>> {
        let interfaces = self.node(node)?.interfaces.as_ref()?.iter();
        let named = interfaces.map(|(name, ips)| (name.as_str(), ips.as_slice()));
        Some(named.collect())
    }

    /// The tunnel devices of a node with their addresses.
    #[must_use]
    pub fn tunnels_of(&self, node: &str) -> Vec<(&str, IpAddr)> {
        let tunnels = self.node(node).into_iter().flat_map(|n| &n.tunnels);
        tunnels.map(|(name, ip)| (name.as_str(), *ip)).collect()
    }

    /// Every host endpoint that Felix knows, in order of name.
    pub fn host_endpoints(&self) -> impl Iterator<Item = Endpoint<'_>> {
        let found = (0..).map_while(|at| self.host_endpoint(at));
        found.map(|endpoint| Endpoint {
            id: &endpoint.id,
            node: &endpoint.node,
            interfaces: Some(match &endpoint.wanted {
                Wanted::All => Interfaces::All,
                Wanted::Named(name) => Interfaces::Named(name),
                Wanted::ByAddress => Interfaces::ByAddress,
            }),
            profiles: &endpoint.profiles,
            selection: self.selection_of(endpoint.group),
            group: endpoint.group,
        })
    }

    /// Every workload that Felix knows.
    pub fn workload_endpoints(&self) -> impl Iterator<Item = Endpoint<'_>> {
        let found = (0..).map_while(|at| self.workload(at));
        found.map(|endpoint| Endpoint {
            id: &endpoint.id,
            node: &endpoint.node,
            interfaces: None,
            profiles: &endpoint.profiles,
            selection: self.selection_of(endpoint.group),
            group: endpoint.group,
        })
    }

    /// Whether packets to an address of a node may come in by a tunnel from some other node.
    #[must_use]
    pub fn is_tunnelled_to(&self, node: &str, ip: IpAddr) -> bool {
        let Some(to) = self.node(node) else {
            return false;
        };
        let mut others = self.nodes().filter(|from| from.name != to.name);
        others.any(|from| {
            let mut oracle = Oracle::default();
            let by_pools = self.routes.tunnel(from, to, ip, &mut oracle).is_some();
            by_pools || oracle.was_asked() || to.settings.wireguard.iter().any(Option::is_some)
        })
    }

    /// The policies that select an endpoint, in the order in which they are walked.
    pub fn policies_on(&self, endpoint: &Endpoint<'_>) -> impl Iterator<Item = PolicyOn<'_>> {
        let policies = self.policies_of(endpoint.group);
        policies.map(|policy| {
            let tier = self.tier(policy.tier);
            PolicyOn {
                id: &policy.id,
                tier: tier.map_or("", |t| t.name.as_str()),
                tier_passes: tier.is_some_and(|t| t.passes),
                staged: policy.staged,
                purpose: policy.purpose,
                policy,
            }
        })
    }
}
