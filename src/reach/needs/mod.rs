//! Needed flows: connections without which the cluster, or whoever runs it, is cut off.
//!
//! The catalogue is data ([`RULES`]); what makes a rule apply is evidence found in the snapshot,
//! and every flow carries it.

use super::connection::{Connection, Party};
use crate::calico::ServerPort;

mod api;
mod bgp;
mod components;
mod etcd;
mod family;
mod ports;
mod sites;
mod webhooks;

pub use bgp::Speakers;
pub use components::{ApiServer, Components};
pub use family::{Evidence, Family, Servers, families};
pub use sites::{Site, Target};
pub use webhooks::asked_services;

/// A kind of needed flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The first part of a flow's id.
    pub name: &'static str,
    /// What happens without it.
    pub without: &'static str,
    /// The known server that the flow goes to, for `grant`.
    pub server: Option<&'static str>,
    /// The usual port of servers that may as well serve on others. Those are part of a flow's id:
    /// `agent-to-typha/5474:worker-1:cp-2`.
    pub port: Option<u16>,
}

impl Rule {
    const fn at(self, port: u16) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }
}

const fn rule(name: &'static str, server: Option<&'static str>, without: &'static str) -> Rule {
    Rule {
        name,
        without,
        server,
        port: None,
    }
}

/// Felix and the other agents of a node sync from Typha.
pub const TYPHA: Rule = rule(
    "agent-to-typha",
    Some("typha"),
    "the node gets no policy and no routes any more",
)
.at(5473);
/// Agents of a node read their configuration from the API server.
pub const API: Rule = rule(
    "agent-to-apiserver",
    Some("kube-apiserver"),
    "the node is cut off from the cluster and from any correction",
);
/// The API server keeps everything in etcd.
pub const API_TO_ETCD: Rule = rule("apiserver-to-etcd", Some("etcd"), "the API server stops");
/// Neighbours on the same host talk to etcd over loopback.
pub const ETCD_SELF: Rule = rule(
    "etcd-loopback",
    Some("etcd"),
    "the API server beside etcd, and etcdctl on the host, lose it",
);
/// Agents of a node keep Calico's data in etcd.
pub const AGENT_TO_ETCD: Rule = rule(
    "agent-to-etcd",
    Some("etcd"),
    "the node is cut off from Calico's data and from any correction",
);
/// Members of etcd talk to each other.
pub const ETCD_PEERS: Rule = rule("etcd-peers", Some("etcd-peer"), "etcd loses its quorum");
/// Nodes exchange routes.
pub const BGP: Rule = rule(
    "bgp-mesh",
    Some("bgp"),
    "routes to the other node's pods are lost",
);
/// Nodes exchange routes over IPv6.
pub const BGP_V6: Rule = rule("bgp-mesh-ipv6", BGP.server, BGP.without);
/// Nodes exchange routes with nodes that a `BGPPeer` names, such as route reflectors.
pub const BGP_NODES: Rule = rule(
    "bgp-nodes",
    Some("bgp"),
    "routes that the nodes learn from each other are lost",
);
/// As [`BGP_NODES`], over IPv6.
pub const BGP_NODES_V6: Rule = rule("bgp-nodes-ipv6", BGP_NODES.server, BGP_NODES.without);
/// Nodes exchange routes with routers outside, and dial them.
pub const BGP_PEER: Rule = rule(
    "bgp-peer",
    None,
    "routes to and from the router are lost, unless it dials the node",
);
/// Routers outside dial nodes: whether they do is not known here.
pub const BGP_FROM_PEER: Rule = rule(
    "bgp-from-peer",
    Some("bgp"),
    "routes to and from the router are lost, unless it waits for the node to dial",
);
/// The API server talks to kubelets.
pub const KUBELET: Rule = rule(
    "apiserver-to-kubelet",
    Some("kubelet"),
    "logs, exec and metrics of the node's pods are lost",
)
.at(10250);
/// The API server asks webhooks before it stores objects.
pub const WEBHOOK: Rule = rule(
    "apiserver-to-webhook",
    None,
    "objects that the webhook must see cannot be written any more",
);
/// The API server passes requests on to servers of further APIs.
pub const AGGREGATED: Rule = rule(
    "apiserver-to-aggregated-api",
    None,
    "the objects that it serves can be neither read nor written any more",
);
/// Whoever logs in to a host goes on being able to.
pub const SSH: Rule = rule(
    "ssh",
    None,
    "nobody can log in any more from there to put things right",
);
/// Whoever uses an API server goes on being able to.
pub const OPERATOR_API: Rule = rule(
    "operator-api",
    Some("kube-apiserver"),
    "whoever works from there is cut off from the cluster",
);

/// Every rule of the catalogue.
pub const RULES: [Rule; 17] = [
    TYPHA,
    API,
    API_TO_ETCD,
    ETCD_SELF,
    AGENT_TO_ETCD,
    ETCD_PEERS,
    BGP,
    BGP_V6,
    BGP_NODES,
    BGP_NODES_V6,
    BGP_PEER,
    BGP_FROM_PEER,
    KUBELET,
    WEBHOOK,
    AGGREGATED,
    SSH,
    OPERATOR_API,
];

/// A connection that must come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What a waiver names: `agent-to-typha:worker-1:cp-2`.
    pub id: String,
    /// The rule of the catalogue.
    pub rule: Rule,
    /// What makes the rule apply.
    pub evidence: String,
    /// Set where nothing tells where the server is: what it is called. The connection is to one
    /// place where it may be.
    pub named: Option<String>,
    /// The connection.
    pub connection: Connection,
    /// Where either end may open the connection: the port that the server dials at the client. One of
    /// the two is enough.
    pub back: Option<ServerPort>,
    /// The node that is the client, for the command that would let it in.
    pub client: Option<String>,
}

impl Need {
    /// The part of the id before the ends: the rule, and the port where it is not the usual one.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.id.split(':').next().unwrap_or_default()
    }

    /// The connection for people: `node worker-1 to node cp-2, tcp/5473`.
    #[must_use]
    pub fn connection_text(&self) -> String {
        let Connection {
            from, to, traffic, ..
        } = &self.connection;
        match &self.named {
            None => format!("{from} to {to}, {traffic}"),
            Some(name) => format!("{from} to {name}, which may be {to}, {traffic}"),
        }
    }

    /// Whether it goes from a host to itself over loopback.
    #[must_use]
    pub fn connection_is_loopback(&self) -> bool {
        matches!(
            &self.connection.to,
            Party::Node { address: Some(ip), .. } | Party::Address(ip) if ip.is_loopback()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rules_stand_once() {
        let names: std::collections::BTreeSet<&str> = RULES.iter().map(|r| r.name).collect();
        assert_eq!(names.len(), RULES.len());
    }
}
