//! A small cluster with questions, in the schema of the reachability vectors.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A cluster and what is asked about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    #[serde(default)]
    pub title: String,
    /// The version of Calico; the newest one where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The kind of store that the resources are read back from: `manifests`, `native-v3`, `crd-v1`
    /// or `etcd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// Settings of Felix on every node, above those of the resources.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub felix: Map<String, Value>,
    #[serde(default)]
    pub topology: Wires,
    #[serde(default)]
    pub resources: Vec<Value>,
    #[serde(default)]
    pub queries: Vec<Query>,
}

/// What is known besides the resources.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wires {
    pub nodes: Vec<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encapsulation: Option<String>,
    /// `discovered` where hosts find each other by IPv6 neighbour discovery. Else they were told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_pools: Vec<Pool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dnat: Vec<Dnat>,
}

/// A node with its interfaces; `lo` is implied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub name: String,
    #[serde(default)]
    pub interfaces: BTreeMap<String, Vec<IpAddr>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_interface: Option<String>,
}

/// An IP pool, where source NAT matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    pub cidr: IpNet,
    #[serde(default)]
    pub nat_outgoing: bool,
}

/// A destination NAT rule that stands for kube-proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dnat {
    pub node: String,
    /// `PREROUTING` or `OUTPUT`.
    pub chain: String,
    pub protocol: String,
    pub ip: IpAddr,
    pub port: u16,
    pub to: std::net::SocketAddr,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    pub from: End,
    pub to: End,
    pub protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    #[serde(default = "end_to_end")]
    pub direction: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub confidence: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
}

fn end_to_end() -> String {
    "end-to-end".to_owned()
}

/// One end of a connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl Case {
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        serde_yaml::from_str(text).map_err(|e| e.to_string())
    }

    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).expect("a case is plain data")
    }
}

impl Wires {
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The device by which wrapped packets leave and arrive.
    pub fn tunnel(&self, ipv6: bool) -> Option<&'static str> {
        match (self.encapsulation.as_deref(), ipv6) {
            (Some("vxlan"), false) => Some("vxlan.calico"),
            (Some("vxlan"), true) => Some("vxlan-v6.calico"),
            (Some("ipip"), false) => Some("tunl0"),
            _ => None,
        }
    }
}

impl Node {
    /// Whether it is not known by which interface the default route goes.
    pub fn has_unknown_route(&self) -> bool {
        self.default_interface.as_deref() == Some("unknown")
    }

    pub fn default_interface(&self) -> &str {
        self.default_interface.as_deref().unwrap_or("eth0")
    }

    /// The addresses of an interface.
    pub fn addresses(&self, interface: &str) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = match interface {
            "lo" => vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
            _ => Vec::new(),
        };
        found.extend(self.interfaces.get(interface).into_iter().flatten());
        found
    }

    /// Whether an address is one of the node's own, loopback networks included.
    pub fn has(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.interfaces.values().flatten().any(|a| *a == ip)
    }

    /// The interface that carries an address.
    pub fn interface_of(&self, ip: IpAddr) -> Option<&str> {
        let carries = |(_, addresses): &(&String, &Vec<IpAddr>)| addresses.contains(&ip);
        self.interfaces
            .iter()
            .find(carries)
            .map(|(name, _)| name.as_str())
    }

    /// The first address of a family on an interface.
    pub fn first(&self, interface: &str, ipv6: bool) -> Option<IpAddr> {
        self.addresses(interface)
            .into_iter()
            .find(|a| a.is_ipv6() == ipv6)
    }
}
