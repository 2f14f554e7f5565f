//! Needed flows by the family: those of one rule between many hosts are told by their ends, not one
//! by one. A mesh of five thousand nodes has twelve million flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde_json::Value;

use super::bgp::{self, Speakers};
use super::components::{Components, Nodes};
use super::ports;
use super::{
    AGENT_TO_ETCD, API, API_TO_ETCD, ETCD_PEERS, ETCD_SELF, KUBELET, Need, Rule, TYPHA, WEBHOOK,
};
use crate::calico::{DatastoreKind, Host, Kind, ServerPort, Snapshot};
use crate::reach::connection::{Connection, Party};

/// Flows of one rule of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The rule.
    pub rule: Rule,
    /// What makes it apply.
    pub evidence: Evidence,
    /// The port that is dialled.
    pub port: ServerPort,
    /// The hosts that need it, in order of name.
    pub clients: Vec<String>,
    /// Whom each of them needs.
    pub servers: Servers,
}

/// Whom the clients of a family need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// Each of these hosts, in order of name; a client that is one of them needs itself, too.
    Hosts(Vec<String>),
    /// Each of these hosts but itself.
    Others(Vec<String>),
    /// Those of these hosts, in order of name, whose address of BGP is less than its own as text.
    Below {
        /// The hosts.
        hosts: Vec<String>,
        /// The addresses of clients and servers.
        speakers: Arc<Speakers>,
    },
    /// Each of these hosts, none of which is a client. Either end may open the connection.
    Peers {
        /// The hosts.
        hosts: Vec<String>,
        /// The port that they dial at clients.
        back: ServerPort,
        /// The addresses of clients and servers.
        speakers: Arc<Speakers>,
    },
    /// Every other client. Either end may open the connection.
    EachOther {
        /// The port of the client that is the server then.
        back: ServerPort,
        /// Their addresses.
        speakers: Arc<Speakers>,
    },
    /// Itself, at an address of loopback.
    Itself(IpAddr),
    /// Whoever has an address.
    Address {
        /// What it is called in ids.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// Whoever has an address, and that is who opens the connection.
    From {
        /// What it is called in ids.
        name: String,
        /// The address.
        address: IpAddr,
        /// The addresses that it dials.
        speakers: Arc<Speakers>,
    },
}

/// What makes a rule apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The same for all flows.
    All(String),
    /// By server.
    OfServer(Nodes),
    /// By client.
    OfClient(Nodes),
}

impl Family {
    /// The hosts that open its connections.
    pub fn diallers(&self) -> impl Iterator<Item = &String> {
        let (clients, more): (&[String], &[String]) = match &self.servers {
            Servers::From { .. } => (&[], &[]),
            Servers::Peers { hosts, .. } => (&self.clients, hosts),
            _ => (&self.clients, &[]),
        };
        clients.iter().chain(more)
    }

    /// The address outside that opens its connections.
    #[must_use]
    pub fn dialler_outside(&self) -> Option<IpAddr> {
        match self.servers {
            Servers::From { address, .. } => Some(address),
            _ => None,
        }
    }

    fn kind(&self) -> String {
        let Rule { name, port, .. } = self.rule;
        let own = self.port.port;
        match port.filter(|usual| *usual != own) {
            Some(_) => format!("{name}/{own}"),
            None => name.to_owned(),
        }
    }

    /// One of the family's flows. `server` is a host, or the name of the address.
    #[must_use]
    pub fn need(&self, client: &str, server: &str) -> Need {
        let (mut from, mut to, mut back) = (Party::node(client), Party::node(server), None);
        let mut opens = Some(client);
        let of_bgp = |host: &str, speakers: &Speakers| {
            let party = Party::node(host);
            match speakers.address(host) {
                Some(ip) => party.at(ip),
                None => party,
            }
        };
        match &self.servers {
            Servers::Hosts(_) | Servers::Others(_) => {}
            Servers::Below { speakers, .. } => {
                (from, to) = (of_bgp(client, speakers), of_bgp(server, speakers));
            }
            Servers::Peers {
                back: port,
                speakers,
                ..
            }
            | Servers::EachOther {
                back: port,
                speakers,
            } => {
                (from, to) = (of_bgp(client, speakers), of_bgp(server, speakers));
                back = Some(*port);
            }
            Servers::Itself(loopback) => {
                from = from.at(*loopback);
                to = to.at(*loopback);
            }
            Servers::Address { address, .. } => to = Party::Address(*address),
            Servers::From {
                address, speakers, ..
            } => {
                (from, to) = (Party::Address(*address), of_bgp(client, speakers));
                opens = None;
            }
        }
        let known = match &self.evidence {
            Evidence::All(text) => Some(text),
            Evidence::OfServer(by_host) => by_host.get(server),
            Evidence::OfClient(by_host) => by_host.get(client),
        };
        Need {
            id: format!("{}:{client}:{server}", self.kind()),
            rule: self.rule,
            evidence: known.cloned().unwrap_or_default(),
            connection: Connection::to_port(from, to, self.port),
            back,
            client: opens.map(str::to_owned),
        }
    }

    /// All its flows, one by one.
    pub fn needs(&self) -> impl Iterator<Item = Need> + '_ {
        let clients = self.clients.iter().enumerate();
        clients.flat_map(move |(at, client)| {
            let servers: Vec<&String> = match &self.servers {
                Servers::Hosts(hosts) => hosts.iter().collect(),
                Servers::Others(hosts) => hosts.iter().filter(|host| *host != client).collect(),
                Servers::Peers { hosts, .. } => hosts.iter().collect(),
                Servers::Below { hosts, speakers } => {
                    let own = speakers.text(client);
                    let below = hosts.iter().filter(|host| speakers.text(host) < own);
                    below.collect()
                }
                Servers::EachOther { .. } => {
                    self.clients.iter().skip(at.saturating_add(1)).collect()
                }
                Servers::Itself(_) => vec![client],
                Servers::Address { name, .. } | Servers::From { name, .. } => vec![name],
            };
            let needs = servers.into_iter().map(move |to| self.need(client, to));
            needs.collect::<Vec<_>>()
        })
    }
}

/// More hosts than any etcd cluster has members: labelled hosts beyond that are no cluster.
const ETCD_MEMBERS: usize = 32;

/// The families of needed flows of a snapshot, in the order of the catalogue.
#[must_use]
pub fn families(snapshot: &Snapshot) -> Vec<Family> {
    let components = Components::find(snapshot);
    let hosts = Host::all(snapshot);
    let nodes: Vec<String> = hosts.keys().cloned().collect();
    let mut found = Vec::new();
    typha(snapshot, &components, &nodes, &mut found);
    api_servers(snapshot, &components, &nodes, &mut found);
    etcd(snapshot, &components, &nodes, &mut found);
    bgp::add(snapshot, &hosts, components.bgp.as_ref(), &mut found);
    webhooks(snapshot, &components, &mut found);
    let nobody = |hosts: &Vec<String>| hosts.is_empty();
    found.retain(|family| {
        let none = match &family.servers {
            Servers::Hosts(hosts)
            | Servers::Others(hosts)
            | Servers::Below { hosts, .. }
            | Servers::Peers { hosts, .. } => nobody(hosts),
            Servers::EachOther { .. } => family.clients.len() < 2,
            Servers::Itself(_) | Servers::Address { .. } | Servers::From { .. } => false,
        };
        !none && !nobody(&family.clients)
    });
    found
}

fn names(nodes: &Nodes) -> Vec<String> {
    nodes.keys().cloned().collect()
}

fn typha(snapshot: &Snapshot, components: &Components, nodes: &[String], found: &mut Vec<Family>) {
    let servers = names(&components.typha);
    for (port, hosts) in ports_of(snapshot, components, TYPHA, &servers) {
        found.push(Family {
            rule: TYPHA,
            evidence: Evidence::OfServer(components.typha.clone()),
            port: ServerPort::tcp(port),
            clients: nodes.to_vec(),
            servers: Servers::Hosts(hosts),
        });
    }
}

fn ports_of(
    snapshot: &Snapshot,
    components: &Components,
    rule: Rule,
    hosts: &[String],
) -> BTreeMap<u16, Vec<String>> {
    let server = rule.server.unwrap_or_default();
    let told = match server {
        "typha" => ports::typha(snapshot),
        _ => ports::kubelet(snapshot),
    };
    let named = ports::of_policy(snapshot, server);
    ports::by_port(rule, hosts, &told, components.protected.get(server), &named)
}

fn api_servers(
    snapshot: &Snapshot,
    components: &Components,
    nodes: &[String],
    found: &mut Vec<Family>,
) {
    let servers = &components.api_servers;
    let with = |wanted: &dyn Fn(&super::ApiServer) -> bool| -> Nodes {
        let all = servers.iter().filter(|(_, api)| wanted(api));
        all.map(|(node, api)| (node.clone(), api.evidence.clone()))
            .collect()
    };
    let ports: BTreeSet<u16> = servers.values().map(|api| api.port).collect();
    for port in ports {
        let serving = with(&|api| api.port == port);
        found.push(Family {
            rule: API,
            port: ServerPort::tcp(port),
            clients: nodes.to_vec(),
            servers: Servers::Hosts(names(&serving)),
            evidence: Evidence::OfServer(serving),
        });
    }
    let all = with(&|_| true);
    for (port, hosts) in ports_of(snapshot, components, KUBELET, nodes) {
        found.push(Family {
            rule: KUBELET,
            port: ServerPort::tcp(port),
            clients: names(&all),
            servers: Servers::Hosts(hosts),
            evidence: Evidence::OfClient(all.clone()),
        });
    }
    let etcd: BTreeSet<(IpAddr, u16)> = servers.values().flat_map(|a| a.etcd.clone()).collect();
    for (address, port) in etcd {
        let clients = with(&|api| api.etcd.contains(&(address, port)));
        let servers = if address.is_loopback() {
            Servers::Itself(address)
        } else {
            Servers::Address {
                name: address.to_string(),
                address,
            }
        };
        found.push(Family {
            rule: API_TO_ETCD,
            port: ServerPort::tcp(port),
            clients: names(&clients),
            servers,
            evidence: Evidence::OfClient(clients),
        });
    }
}

fn etcd(snapshot: &Snapshot, components: &Components, nodes: &[String], found: &mut Vec<Family>) {
    let members = &components.etcd;
    let mut add = |rule, evidence, port, clients, servers| {
        found.push(Family {
            rule,
            evidence,
            port: ServerPort::tcp(port),
            clients,
            servers,
        });
    };
    add(
        ETCD_SELF,
        Evidence::OfClient(members.clone()),
        2379,
        names(members),
        Servers::Itself(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    );
    if keeps_its_data_in_etcd(snapshot) {
        add(
            AGENT_TO_ETCD,
            Evidence::OfServer(members.clone()),
            2379,
            nodes.to_vec(),
            Servers::Hosts(names(members)),
        );
    }
    if members.len() <= ETCD_MEMBERS {
        add(
            ETCD_PEERS,
            Evidence::OfServer(members.clone()),
            2380,
            names(members),
            Servers::Others(names(members)),
        );
    }
}

/// Whether Calico's own data are in etcd. Files do not say where they come from, but the cluster type
/// does: Calico's clients append `kdd` to it whenever Kubernetes is their datastore
/// (libcalico-go, `clientv3.EnsureInitialized`).
fn keeps_its_data_in_etcd(snapshot: &Snapshot) -> bool {
    match snapshot.datastore.kind {
        DatastoreKind::Etcd => true,
        DatastoreKind::Manifests => snapshot
            .global(Kind::ClusterInformation, "default")
            .and_then(|info| info.spec_str("clusterType"))
            .is_some_and(|kind| !kind.is_empty() && kind.split(',').all(|part| part != "kdd")),
        DatastoreKind::AggregatedV3 | DatastoreKind::NativeV3 | DatastoreKind::CrdV1 => false,
    }
}

fn webhooks(snapshot: &Snapshot, components: &Components, found: &mut Vec<Family>) {
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
                let evidence = format!("{} asks Service/{namespace}/{name}", configuration.id());
                found.push(Family {
                    rule: WEBHOOK,
                    evidence: Evidence::All(evidence),
                    port: ServerPort::tcp(port),
                    clients: components.api_servers.keys().cloned().collect(),
                    servers: Servers::Address {
                        name: format!("{backend}:{port}"),
                        address,
                    },
                });
            }
        }
    }
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
