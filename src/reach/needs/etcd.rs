//! Who needs etcd: API servers, agents where Calico's own data are in it, and its members.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::components::{Components, Nodes, of_calico_node};
use super::family::{Evidence, Family, Servers, names, to_target};
use super::sites::{Site, Sites, Target};
use super::{AGENT_TO_ETCD, API_TO_ETCD, ETCD_PEERS, ETCD_SELF, Rule};
use crate::calico::{DatastoreKind, Kind, ObjectId, ServerPort, Snapshot};

/// More hosts than any etcd cluster has members: labelled hosts beyond that are no cluster.
const ETCD_MEMBERS: usize = 32;

/// The port that etcd serves clients on, where nothing says otherwise.
pub const CLIENTS: u16 = 2379;
/// The port that its members speak to each other on.
const PEERS: u16 = 2380;

/// What members and a datastore are called in ids of which nothing tells where they are.
const MEMBERS: &str = "members";
const DATASTORE: &str = "datastore";

/// Adds the flows to etcd.
pub fn etcd(
    snapshot: &Snapshot,
    sites: &Sites<'_>,
    components: &Components,
    nodes: &[String],
    found: &mut Vec<Family>,
) {
    let mut targets: BTreeMap<&Target, Nodes> = BTreeMap::new();
    for (node, api) in &components.api_servers {
        for target in &api.etcd {
            let clients = targets.entry(target).or_default();
            clients.insert(node.clone(), api.evidence.clone());
        }
    }
    let calico = OfCalico::find(snapshot, sites);
    let of_calico = calico.iter().flat_map(|calico| &calico.told);
    let all: BTreeSet<&Target> = targets.keys().copied().chain(of_calico).collect();
    let unknown = all.iter().filter(|t| matches!(t.site, Site::Unknown(_)));
    let unknown = unknown.count();
    let members = &components.etcd;
    // Each name is that of a member: where as many are known, it is taken to be theirs.
    let is_known = !members.is_empty() && members.len() >= unknown;
    let may_be = if is_known {
        names(members)
    } else {
        nodes.to_vec()
    };
    for (target, clients) in targets {
        found.push(Family {
            rule: API_TO_ETCD,
            port: ServerPort::tcp(target.port),
            clients: names(&clients),
            servers: to_target(target, CLIENTS, &may_be),
            evidence: Evidence::OfClient(clients),
        });
    }
    let hosts = all.iter().filter_map(|target| {
        let host = sites.host_of(&target.site)?;
        Some((host.to_owned(), "etcd's clients are told of it".to_owned()))
    });
    let hosts: Nodes = hosts.collect();
    let mut add = |rule, evidence, port, clients, servers| {
        found.push(Family {
            rule,
            evidence,
            port: ServerPort::tcp(port),
            clients,
            servers,
        });
    };
    let each = |nodes: &Nodes| Evidence::OfServer(nodes.clone());
    add(
        ETCD_SELF,
        Evidence::OfClient(members.clone()),
        CLIENTS,
        names(members),
        Servers::Itself(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    );
    if let Some(calico) = &calico {
        for target in &calico.told {
            add(
                AGENT_TO_ETCD,
                Evidence::All(calico.evidence.clone()),
                target.port,
                nodes.to_vec(),
                to_target(target, CLIENTS, &may_be),
            );
        }
        if calico.is_unknown() {
            add(
                AGENT_TO_ETCD,
                each(members),
                CLIENTS,
                nodes.to_vec(),
                Servers::Hosts(names(members)),
            );
        }
    }
    for members in [members, &hosts] {
        if members.len() <= ETCD_MEMBERS {
            add(
                ETCD_PEERS,
                each(members),
                PEERS,
                names(members),
                Servers::Others(names(members)),
            );
        }
    }
    let nowhere = |calico: &OfCalico| calico.told.is_empty() && members.is_empty();
    let nowhere = calico.filter(nowhere);
    let mut somewhere = |rule: Rule, name: &str, port, evidence: &str| {
        add(
            rule,
            Evidence::All(evidence.to_owned()),
            port,
            nodes.to_vec(),
            Servers::Somewhere {
                name: name.to_owned(),
                hosts: nodes.to_vec(),
            },
        );
    };
    if let Some(calico) = &nowhere {
        somewhere(AGENT_TO_ETCD, DATASTORE, CLIENTS, &calico.evidence);
    }
    match nowhere {
        Some(calico) => somewhere(ETCD_PEERS, MEMBERS, PEERS, &calico.evidence),
        None if unknown > 0 && !is_known => somewhere(
            ETCD_PEERS,
            MEMBERS,
            PEERS,
            "etcd's clients are told of its members by name",
        ),
        None => {}
    }
}

/// Calico's own data, where they are in etcd.
struct OfCalico {
    /// Where agents find it.
    told: Vec<Target>,
    /// What says that it is in etcd.
    evidence: String,
}

impl OfCalico {
    /// Looks for what says that Calico's data are in etcd, and where. Files do not say where they
    /// come from, but the environment of calico-node does, and so does the cluster type: Calico's
    /// clients append `kdd` to it whenever Kubernetes is their datastore (libcalico-go,
    /// `clientv3.EnsureInitialized`).
    fn find(snapshot: &Snapshot, sites: &Sites<'_>) -> Option<Self> {
        match snapshot.datastore.kind {
            DatastoreKind::Etcd => {
                let mut told = sites.targets(&snapshot.datastore.location, CLIENTS, None);
                // An end of a tunnel, or etcd beside whoever asks: not where agents find it.
                let is_here = |t: &Target| matches!(t.site, Site::Address(ip) if ip.is_loopback());
                told.retain(|target| !is_here(target));
                Some(Self {
                    told,
                    evidence: "Calico's data are read from etcd".to_owned(),
                })
            }
            DatastoreKind::Manifests => {
                let datastore = of_calico_node(snapshot, "DATASTORE_TYPE");
                let is_kubernetes =
                    datastore.is_some_and(|(_, value)| value.eq_ignore_ascii_case("kubernetes"));
                let told = told_endpoints(snapshot).filter(|_| !is_kubernetes);
                if let Some((evidence, urls)) = told {
                    let told = sites.targets(&urls, CLIENTS, None);
                    return Some(Self { told, evidence });
                }
                let information = snapshot.global(Kind::ClusterInformation, "default")?;
                let kinds = information.spec_str("clusterType")?;
                let no_kdd = !kinds.is_empty() && kinds.split(',').all(|part| part != "kdd");
                no_kdd.then(|| Self {
                    told: Vec::new(),
                    evidence: format!(
                        "{} has the type {kinds}, without kdd: Calico's data are in etcd",
                        information.id()
                    ),
                })
            }
            DatastoreKind::AggregatedV3 | DatastoreKind::NativeV3 | DatastoreKind::CrdV1 => None,
        }
    }

    /// Whether members that are known otherwise may be those of Calico's etcd.
    fn is_unknown(&self) -> bool {
        let unknown = |target: &Target| matches!(target.site, Site::Unknown(_));
        self.told.is_empty() || self.told.iter().any(unknown)
    }
}

/// The endpoints of Calico's etcd that manifests tell, and what tells them.
fn told_endpoints(snapshot: &Snapshot) -> Option<(String, String)> {
    let of_agents = of_calico_node(snapshot, "ETCD_ENDPOINTS")
        .map(|(workload, urls)| (format!("{workload} sets ETCD_ENDPOINTS"), urls));
    let map = snapshot
        .of(Kind::ConfigMap)
        .find(|map| map.name() == "calico-config");
    let of_map = map.and_then(|map| {
        let urls = map.value().pointer("/data/etcd_endpoints")?;
        let id: &ObjectId = map.id();
        Some((
            format!("{id} sets etcd_endpoints"),
            Value::as_str(urls)?.to_owned(),
        ))
    });
    let mut told = of_agents.into_iter().chain(of_map);
    told.find(|(_, urls)| !urls.trim().is_empty())
}
