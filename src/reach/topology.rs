//! What an answer needs besides the resources: interfaces, routes, tunnels, NAT and the kernel's
//! own policies.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::calico::felix::Failsafe;
use crate::calico::{Protocol, Version};

use super::verdict::EndpointToHostAction;

/// The name of the loopback interface.
pub const LOOPBACK: &str = "lo";

/// A cluster as a picture of wires, where it is known better than the resources tell.
///
/// Everything is optional: what is not given here is taken from the resources, and what is not
/// there either is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topology {
    /// Whether hosts know each other's link addresses without IPv6 neighbour discovery, as where
    /// they were set by hand. Otherwise host policy that drops discovery cuts them off.
    pub neighbours_are_set: bool,
    /// The nodes by name. Nodes that only the resources describe need not be here.
    pub nodes: BTreeMap<String, NodeWires>,
    /// How traffic between workloads of different nodes travels; `None`: as the IP pools say.
    pub encapsulation: Option<Encapsulation>,
    /// IP pools, instead of those of the resources.
    pub pools: Option<Vec<Pool>>,
    /// Destination NAT rules that stand for kube-proxy.
    pub dnat: Vec<Dnat>,
    /// Whether [`Self::dnat`] is all there is. If not, connections to Services of the resources
    /// are followed through their EndpointSlices.
    pub dnat_is_complete: bool,
    /// Settings of Felix on every node, above those of the resources.
    pub felix: FelixOverrides,
    /// The version of Calico, instead of the snapshot's.
    pub version: Option<Version>,
}

/// A node's wires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeWires {
    /// Interfaces with their addresses. `lo` with 127.0.0.1 and ::1 is implied.
    pub interfaces: BTreeMap<String, Vec<IpAddr>>,
    /// The interface with the default route. Clients outside the cluster come in here, and
    /// addresses outside the node are reached through it unless a tunnel leads there.
    pub default_interface: Option<String>,
}

/// How traffic between nodes is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encapsulation {
    /// Not at all.
    None,
    /// IP in IP, by `tunl0`.
    IpIp,
    /// VXLAN, by `vxlan.calico`, for IPv6 `vxlan-v6.calico`.
    Vxlan,
}

impl Encapsulation {
    /// The device on which wrapped packets of a family leave and arrive.
    #[must_use]
    pub const fn device(self, ipv6: bool) -> Option<&'static str> {
        match (self, ipv6) {
            (Self::None, _) | (Self::IpIp, true) => None,
            (Self::IpIp, false) => Some("tunl0"),
            (Self::Vxlan, false) => Some("vxlan.calico"),
            (Self::Vxlan, true) => Some("vxlan-v6.calico"),
        }
    }
}

/// An IP pool, as far as NAT is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Its addresses.
    pub cidr: IpNet,
    /// Whether workloads in it leave the pools with the address of their node.
    pub nat_outgoing: bool,
}

/// A chain in which destination NAT happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DnatChain {
    /// Packets that arrive on an interface, of workloads as well.
    Prerouting,
    /// Packets of the node's own processes.
    Output,
}

/// One destination NAT rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dnat {
    /// The node it is on.
    pub node: String,
    /// Where on the node.
    pub chain: DnatChain,
    /// The protocol.
    pub protocol: Protocol,
    /// The address dialled; `None` for every address of the node.
    pub ip: Option<IpAddr>,
    /// The port dialled.
    pub port: u16,
    /// The address it becomes.
    pub to_ip: IpAddr,
    /// The port it becomes.
    pub to_port: u16,
}

/// What the kernel does at the end of a chain that nobody decided in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum KernelPolicy {
    /// Accept: the default of Linux, and what is assumed where nothing is said, since rules other
    /// than Calico's are outside this tool's sight.
    #[default]
    Accept,
    /// Drop.
    Drop,
}

impl KernelPolicy {
    /// Whether it accepts.
    #[must_use]
    pub fn accepts(self) -> bool {
        self == Self::Accept
    }
}

/// How kube-proxy does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyMode {
    /// With iptables or nftables rules.
    Rules,
    /// With IPVS: the node-port range then skips normal host policy (semantics, section 3.3).
    Ipvs,
}

/// Settings of Felix that are known from elsewhere than the resources. `None` leaves a setting as
/// the resources have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FelixOverrides {
    /// What becomes of connections from workloads to their own host.
    pub endpoint_to_host: Option<EndpointToHostAction>,
    /// Whether Felix polices IPv6.
    pub ipv6_support: Option<bool>,
    /// Whether Felix runs in eBPF mode.
    pub bpf_enabled: Option<bool>,
    /// Inbound failsafes; an empty list is none.
    pub failsafe_inbound: Option<Vec<Failsafe>>,
    /// Outbound failsafes; an empty list is none.
    pub failsafe_outbound: Option<Vec<Failsafe>>,
    /// Policy of the kernel's INPUT chain.
    pub input_policy: Option<KernelPolicy>,
    /// Policy of the kernel's FORWARD chain.
    pub forward_policy: Option<KernelPolicy>,
    /// kube-proxy's mode.
    pub proxy_mode: Option<ProxyMode>,
}
