//! Needed flows: connections without which the cluster, or whoever runs it, is cut off.
//!
//! The catalogue is data ([`RULES`]); what makes a rule apply is evidence found in the snapshot,
//! and every flow carries it.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::connection::{Connection, Party};
use crate::calico::{Host, Kind, ServerPort, Snapshot};

mod components;

pub use components::{ApiServer, Components};

/// A kind of needed flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The first part of a flow's id.
    pub name: &'static str,
    /// What happens without it.
    pub without: &'static str,
    /// The known server that the flow goes to, for `grant`.
    pub server: Option<&'static str>,
}

const fn rule(name: &'static str, server: Option<&'static str>, without: &'static str) -> Rule {
    Rule {
        name,
        without,
        server,
    }
}

/// Felix and the other agents of a node sync from Typha.
pub const TYPHA: Rule = rule(
    "agent-to-typha",
    Some("typha"),
    "the node gets no policy and no routes any more",
);
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
/// Routers outside exchange routes with nodes.
pub const BGP_PEER: Rule = rule(
    "bgp-peer",
    Some("bgp"),
    "routes to and from the router are lost",
);
/// The API server talks to kubelets.
pub const KUBELET: Rule = rule(
    "apiserver-to-kubelet",
    Some("kubelet"),
    "logs, exec and metrics of the node's pods are lost",
);
/// The API server asks webhooks before it stores objects.
pub const WEBHOOK: Rule = rule(
    "apiserver-to-webhook",
    None,
    "objects that the webhook must see cannot be written any more",
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
pub const RULES: [Rule; 12] = [
    TYPHA,
    API,
    API_TO_ETCD,
    ETCD_SELF,
    AGENT_TO_ETCD,
    ETCD_PEERS,
    BGP,
    BGP_PEER,
    KUBELET,
    WEBHOOK,
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
    /// The connection.
    pub connection: Connection,
    /// Whether the same connection the other way round would do: either end of BGP may open it.
    pub either_way: bool,
    /// The node that is the client, for the command that would let it in.
    pub client: Option<String>,
}

impl Need {
    /// The connection for people: `node worker-1 to node cp-2, tcp/5473`.
    #[must_use]
    pub fn connection_text(&self) -> String {
        let Connection {
            from, to, traffic, ..
        } = &self.connection;
        format!("{from} to {to}, {traffic}")
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

/// More hosts than any etcd cluster has members: labelled hosts beyond that are no cluster.
const ETCD_MEMBERS: usize = 32;

/// Largest number of nodes whose mesh is written out pair by pair. Beyond some hundred nodes a
/// full mesh is not run; route reflectors are.
const MESH_LIMIT: usize = 300;

/// The needed flows of a snapshot, in order of their ids.
#[must_use]
pub fn needs(snapshot: &Snapshot) -> Vec<Need> {
    let components = Components::find(snapshot);
    let hosts = Host::all(snapshot);
    let nodes: Vec<&str> = hosts.keys().map(String::as_str).collect();
    let mut needs = Vec::new();
    typha(&components, &nodes, &mut needs);
    api_servers(&components, &nodes, &mut needs);
    etcd(snapshot, &components, &nodes, &mut needs);
    mesh(snapshot, &components, &hosts, &mut needs);
    webhooks(snapshot, &components, &mut needs);
    needs.sort_by(|a, b| a.id.cmp(&b.id));
    needs.dedup_by(|a, b| a.id == b.id);
    needs
}

fn need(rule: Rule, from: &str, to: &str, evidence: &str, connection: Connection) -> Need {
    Need {
        id: format!("{}:{from}:{to}", rule.name),
        rule,
        evidence: evidence.to_owned(),
        connection,
        either_way: false,
        client: Some(from.to_owned()),
    }
}

fn between(rule: Rule, from: &str, to: &str, port: u16, evidence: &str) -> Need {
    let connection = Connection::to_port(Party::node(from), Party::node(to), ServerPort::tcp(port));
    need(rule, from, to, evidence, connection)
}

fn typha(components: &Components, nodes: &[&str], needs: &mut Vec<Need>) {
    for (server, evidence) in &components.typha {
        for node in nodes {
            needs.push(between(TYPHA, node, server, 5473, evidence));
        }
    }
}

fn api_servers(components: &Components, nodes: &[&str], needs: &mut Vec<Need>) {
    for (server, api) in &components.api_servers {
        for node in nodes {
            needs.push(between(API, node, server, api.port, &api.evidence));
            needs.push(between(KUBELET, server, node, 10250, &api.evidence));
        }
        for (address, port) in &api.etcd {
            let (to, party) = if address.is_loopback() {
                (server.clone(), Party::node(server).at(*address))
            } else {
                (address.to_string(), Party::Address(*address))
            };
            let from = if address.is_loopback() {
                Party::node(server).at(*address)
            } else {
                Party::node(server)
            };
            let connection = Connection::to_port(from, party, ServerPort::tcp(*port));
            needs.push(need(API_TO_ETCD, server, &to, &api.evidence, connection));
        }
    }
}

fn etcd(snapshot: &Snapshot, components: &Components, nodes: &[&str], needs: &mut Vec<Need>) {
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let in_etcd = snapshot.datastore.kind == crate::calico::DatastoreKind::Etcd;
    for (server, evidence) in &components.etcd {
        let this = Party::node(server).at(LOOPBACK);
        let connection = Connection::to_port(this.clone(), this, ServerPort::tcp(2379));
        needs.push(need(ETCD_SELF, server, server, evidence, connection));
        if in_etcd {
            for node in nodes {
                needs.push(between(AGENT_TO_ETCD, node, server, 2379, evidence));
            }
        }
        let peers = components.etcd.iter().filter(|(peer, _)| *peer != server);
        for (peer, _) in peers.filter(|_| components.etcd.len() <= ETCD_MEMBERS) {
            needs.push(between(ETCD_PEERS, peer, server, 2380, evidence));
        }
    }
}

fn mesh(
    snapshot: &Snapshot,
    components: &Components,
    hosts: &std::collections::BTreeMap<String, Host>,
    needs: &mut Vec<Need>,
) {
    let port = snapshot
        .global(Kind::BgpConfiguration, "default")
        .and_then(|c| c.spec("listenPort")?.as_u64())
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(179);
    if let Some(evidence) = components
        .bgp
        .as_ref()
        .filter(|_| hosts.len() <= MESH_LIMIT)
    {
        let names: Vec<&String> = hosts.keys().collect();
        for (i, a) in names.iter().enumerate() {
            for b in names.iter().skip(i + 1) {
                let mut flow = between(BGP, a, b, port, evidence);
                flow.either_way = true;
                needs.push(flow);
            }
        }
    }
    for peer in snapshot.of(Kind::BgpPeer) {
        let Some(address) = peer
            .spec_str("peerIP")
            .and_then(|ip| ip.parse::<IpAddr>().ok())
        else {
            continue;
        };
        let node = peer.spec_str("node");
        for name in hosts
            .keys()
            .filter(|name| node.is_none_or(|n| n == name.as_str()))
        {
            let connection = Connection::to_port(
                Party::node(name),
                Party::Address(address),
                ServerPort::tcp(port),
            );
            let evidence = format!("{} names it", peer.id());
            let mut flow = need(BGP_PEER, name, &address.to_string(), &evidence, connection);
            flow.either_way = true;
            needs.push(flow);
        }
    }
}

fn webhooks(snapshot: &Snapshot, components: &Components, needs: &mut Vec<Need>) {
    let kinds = [
        Kind::ValidatingWebhookConfiguration,
        Kind::MutatingWebhookConfiguration,
    ];
    for configuration in kinds.into_iter().flat_map(|kind| snapshot.of(kind)) {
        let list = configuration
            .value()
            .get("webhooks")
            .and_then(Value::as_array);
        for webhook in list.into_iter().flatten() {
            // A webhook whose failure is ignored cuts nothing off.
            if webhook.get("failurePolicy").and_then(Value::as_str) == Some("Ignore") {
                continue;
            }
            let service = webhook.pointer("/clientConfig/service");
            let text = |key: &str| service.and_then(|s| s.get(key)?.as_str());
            let (Some(namespace), Some(name)) = (text("namespace"), text("name")) else {
                continue;
            };
            for (address, port, backend) in backends(snapshot, namespace, name) {
                for server in components.api_servers.keys() {
                    let connection = Connection::to_port(
                        Party::node(server),
                        Party::Address(address),
                        ServerPort::tcp(port),
                    );
                    let evidence =
                        format!("{} asks Service/{namespace}/{name}", configuration.id());
                    let to = format!("{backend}:{port}");
                    needs.push(need(WEBHOOK, server, &to, &evidence, connection));
                }
            }
        }
    }
}

/// The addresses that API servers ask webhooks at.
#[must_use]
pub fn webhook_backends(snapshot: &Snapshot, components: &Components) -> Vec<IpAddr> {
    let mut needs = Vec::new();
    webhooks(snapshot, components, &mut needs);
    let to = |need: &Need| match need.connection.to {
        Party::Address(ip) => Some(ip),
        _ => None,
    };
    needs.iter().filter_map(to).collect()
}

/// Addresses, ports and names of the backends of a service.
fn backends(snapshot: &Snapshot, namespace: &str, service: &str) -> Vec<(IpAddr, u16, String)> {
    let mut found = Vec::new();
    for slice in snapshot.of(Kind::EndpointSlice) {
        if slice.id().namespace.as_deref() != Some(namespace)
            || slice.label("kubernetes.io/service-name") != Some(service)
        {
            continue;
        }
        let list = |key: &str| slice.value().get(key).and_then(Value::as_array);
        let ports: Vec<u16> = list("ports")
            .into_iter()
            .flatten()
            .filter_map(|p| u16::try_from(p.get("port")?.as_u64()?).ok())
            .collect();
        for endpoint in list("endpoints").into_iter().flatten() {
            let addresses = endpoint.get("addresses").and_then(Value::as_array);
            let target = endpoint.pointer("/targetRef/name").and_then(Value::as_str);
            for address in addresses.into_iter().flatten().filter_map(Value::as_str) {
                let Ok(ip) = address.parse::<IpAddr>() else {
                    continue;
                };
                let backend = target.map_or_else(|| address.to_owned(), str::to_owned);
                found.extend(ports.iter().map(|port| (ip, *port, backend.clone())));
            }
        }
    }
    found
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
