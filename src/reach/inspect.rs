//! What the model knows of nodes, tiers and settings.

use crate::calico::ObjectId;
use crate::calico::felix::{Direction, Effective};

use super::oracle::Oracle;
use super::topology::LOOPBACK;
use super::verdict::EndpointToHostAction;
use super::wires::Interface;
use super::world::World;

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
