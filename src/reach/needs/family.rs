//! Needed flows by the family: those of one rule between many hosts are told by their ends, not one
//! by one. A mesh of five thousand nodes has twelve million flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::api::agents;
use super::bgp::{self, Speakers};
use super::components::{Components, Nodes};
use super::etcd::etcd;
use super::ports;
use super::sites::{Site, Sites, Target};
use super::webhooks::webhooks;
use super::{API, KUBELET, Need, Rule, TYPHA};
use crate::calico::{Host, ServerPort, Snapshot};
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
    /// Whoever a name means of which nothing tells where it is: one of these hosts, in order of
    /// name, or somebody outside the cluster.
    Somewhere {
        /// The name.
        name: String,
        /// The hosts.
        hosts: Vec<String>,
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

    /// One of the family's flows. `server` is a host, or the name of the address. Where the server
    /// is somewhere, it is a host that it may be on.
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
            Servers::Hosts(_) | Servers::Others(_) | Servers::Somewhere { .. } => {}
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
        let named = match &self.servers {
            Servers::Somewhere { name, .. } => Some(name.clone()),
            _ => None,
        };
        let called = named.as_deref().unwrap_or(server);
        Need {
            id: format!("{}:{client}:{called}", self.kind()),
            named,
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
                Servers::Hosts(hosts) | Servers::Somewhere { hosts, .. } => hosts.iter().collect(),
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

/// Where one server is that the clients of a family are told of; `usual` is the port that is not
/// worth a word, and `hosts` are those that an unknown name may mean.
pub fn to_target(target: &Target, usual: u16, hosts: &[String]) -> Servers {
    let is_usual = target.port == usual;
    match &target.site {
        Site::Host(name) => Servers::Hosts(vec![name.clone()]),
        Site::Address(ip) if ip.is_loopback() && is_usual => Servers::Itself(*ip),
        Site::Address(ip) => Servers::Address {
            name: match is_usual {
                true => ip.to_string(),
                false => SocketAddr::new(*ip, target.port).to_string(),
            },
            address: *ip,
        },
        Site::Unknown(name) => Servers::Somewhere {
            name: match is_usual {
                true => name.clone(),
                false => format!("{name}:{}", target.port),
            },
            hosts: hosts.to_vec(),
        },
    }
}

/// The families of needed flows of a snapshot, in the order of the catalogue.
#[must_use]
pub fn families(snapshot: &Snapshot) -> Vec<Family> {
    let sites = Sites::of(snapshot);
    let components = Components::with_sites(snapshot, &sites);
    let hosts = Host::all(snapshot);
    let nodes: Vec<String> = hosts.keys().cloned().collect();
    let mut found = Vec::new();
    typha(snapshot, &components, &nodes, &mut found);
    api_servers(snapshot, &components, &nodes, &mut found);
    agents(snapshot, &sites, &components, &nodes, &mut found);
    etcd(snapshot, &sites, &components, &nodes, &mut found);
    bgp::add(snapshot, &hosts, components.bgp.as_ref(), &mut found);
    webhooks(snapshot, &sites, &components, &nodes, &mut found);
    let nobody = |hosts: &Vec<String>| hosts.is_empty();
    found.retain(|family| {
        let none = match &family.servers {
            Servers::Hosts(hosts)
            | Servers::Others(hosts)
            | Servers::Below { hosts, .. }
            | Servers::Peers { hosts, .. } => nobody(hosts),
            Servers::EachOther { .. } => family.clients.len() < 2,
            Servers::Itself(_)
            | Servers::Address { .. }
            | Servers::From { .. }
            | Servers::Somewhere { .. } => false,
        };
        !none && !nobody(&family.clients)
    });
    found
}

/// The names of nodes.
pub fn names(nodes: &Nodes) -> Vec<String> {
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
}
