//! What the model knows of endpoints, policies and settings, for those who compare two models.

use crate::calico::ObjectId;
use crate::calico::felix::{Direction, Effective};
use crate::calico::policy::PolicyType;

use super::labels::Group;
use super::oracle::Oracle;
use super::policies::Policy;
use super::topology::LOOPBACK;
use super::verdict::{EndpointToHostAction, Purpose};
use super::wires::Interface;
use super::world::World;

/// A policy that applies to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<'w> {
    /// The policy.
    pub policy: &'w ObjectId,
    /// Its tier.
    pub tier: &'w str,
    /// What it is for: untracked, pre-DNAT or normal.
    pub purpose: Purpose,
    /// Whether it counts for forwarded packets as well.
    pub on_forward: bool,
    /// Whether it covers connections to the endpoint.
    pub ingress: bool,
    /// Whether it covers connections from the endpoint.
    pub egress: bool,
    /// Whether it is staged and so never decides.
    pub staged: bool,
}

impl World {
    /// The host endpoint that governs an interface of a node: of those that fit the first by name,
    /// else the first for all interfaces. `None` where there is none or where it cannot be known.
    #[must_use]
    pub fn governor(&self, node: &str, interface: &str) -> Option<&ObjectId> {
        let node = self.node(node)?;
        let interface = Interface::Named(interface.to_owned());
        let mut oracle = Oracle::default();
        let (_, specific) = self.specific(node, &interface, &mut oracle);
        if oracle.was_asked() {
            return None;
        }
        let governor = specific.or(node.wildcard)?;
        self.host_endpoint(governor).map(|h| &h.id)
    }

    /// The interfaces of a node that are known by name, loopback included, in order. A node that
    /// does not report its interfaces gives loopback and the tunnel devices.
    #[must_use]
    pub fn interfaces(&self, node: &str) -> Vec<&str> {
        let Some(node) = self.node(node) else {
            return Vec::new();
        };
        let tunnels = node.tunnels.iter().map(|(device, _)| device.as_str());
        let known = node.interfaces.iter().flatten();
        let mut names: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
        names.extend(tunnels.chain([LOOPBACK]));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The policies that apply to an endpoint, in the order in which they are walked.
    pub fn policies_on(&self, endpoint: &ObjectId) -> impl Iterator<Item = Applied<'_>> {
        let group = self.group_of(endpoint);
        let policies = group.into_iter().flat_map(|group| self.policies_of(group));
        policies.map(|policy| self.applied(policy))
    }

    fn applied<'w>(&'w self, policy: &'w Policy) -> Applied<'w> {
        Applied {
            policy: &policy.id,
            tier: self.tier(policy.tier).map_or("", |t| t.name.as_str()),
            purpose: policy.purpose,
            on_forward: policy.on_forward,
            ingress: policy.rules(PolicyType::Ingress).is_some(),
            egress: policy.rules(PolicyType::Egress).is_some(),
            staged: policy.staged,
        }
    }

    fn group_of(&self, endpoint: &ObjectId) -> Option<Group> {
        let host = self.host_endpoints().find(|h| h.id == *endpoint);
        let workload = || self.workloads().find(|w| w.id == *endpoint);
        host.map(|h| h.group)
            .or_else(|| workload().map(|w| w.group))
    }

    /// The names of the tiers that have policies, in the order in which they are walked.
    pub fn tier_names(&self) -> impl Iterator<Item = &str> {
        self.tiers().map(|tier| tier.name.as_str())
    }

    /// The failsafes in force on a node, and where the list comes from.
    #[must_use]
    pub fn failsafes(&self, node: &str, direction: Direction) -> Option<&Effective> {
        self.node(node).map(|n| n.settings.failsafes(direction))
    }

    /// What becomes of connections from workloads of a node to the node; `None` where that is not
    /// known.
    #[must_use]
    pub fn endpoint_to_host(&self, node: &str) -> Option<EndpointToHostAction> {
        self.node(node)?.settings.endpoint_to_host
    }

    /// Whether Felix polices IPv6 on a node; `None` where that is not known.
    #[must_use]
    pub fn polices_ipv6(&self, node: &str) -> Option<bool> {
        self.node(node)?.settings.ipv6
    }
}
