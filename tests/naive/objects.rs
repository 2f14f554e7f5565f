//! What the resources hold besides policy: endpoints, profiles and the addresses that selectors
//! stand for (semantics, sections 2.3, 2.4 and 3.1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use calicoctl_protect::calico::{Kind, ObjectId};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::case::Node;
use super::json::{at, list, map, net, nets, text, texts};
use super::rules::{self, Rule, protocol_number};
use super::selector::{Expr, Labels};

/// A port that an endpoint declares by name.
#[derive(Debug, Clone)]
struct NamedPort {
    name: String,
    protocol: u8,
    port: u16,
}

/// Something that gives its addresses to every selector that matches its labels.
#[derive(Debug, Clone)]
struct Member {
    labels: Labels,
    nets: Vec<IpNet>,
    ports: Vec<NamedPort>,
}

/// What one EndpointSlice says.
#[derive(Debug, Clone)]
struct Slice {
    namespace: String,
    service: String,
    addresses: Vec<IpAddr>,
    ports: Vec<(u8, u16)>,
}

/// The addresses that selectors, named ports and services stand for.
#[derive(Debug, Clone, Default)]
pub struct Sets {
    members: Vec<Member>,
    slices: Vec<Slice>,
}

impl Sets {
    /// Whether an address is one of those that a selector stands for.
    pub fn contains(&self, selector: &Expr, ip: IpAddr) -> bool {
        let carry = |m: &&Member| m.nets.iter().any(|n| n.contains(&ip));
        self.members
            .iter()
            .filter(carry)
            .any(|m| selector.matches(&m.labels))
    }

    /// Whether an endpoint among those of a selector declares a named port at an address.
    pub fn declares(&self, among: &Expr, ip: IpAddr, name: &str, protocol: u8, port: u16) -> bool {
        let carry = |m: &&Member| m.nets.iter().any(|n| n.contains(&ip));
        let wanted = |p: &NamedPort| p.name == name && p.protocol == protocol && p.port == port;
        self.members
            .iter()
            .filter(carry)
            .any(|m| m.ports.iter().any(wanted) && among.matches(&m.labels))
    }

    /// The ports that anything declares under a name.
    pub fn ports_named(&self, name: &str) -> Vec<u16> {
        let ports = self.members.iter().flat_map(|m| &m.ports);
        ports.filter(|p| p.name == name).map(|p| p.port).collect()
    }

    /// Whether a service has an address, or an address with a port. Readiness does not count.
    pub fn serves(
        &self,
        namespace: &str,
        service: &str,
        ip: IpAddr,
        wanted: Option<(u8, u16)>,
    ) -> bool {
        self.slices
            .iter()
            .filter(|s| s.namespace == namespace && s.service == service)
            .filter(|s| s.addresses.contains(&ip))
            .any(|s| wanted.is_none_or(|w| s.ports.contains(&w)))
    }
}

/// A profile: labels and rules.
#[derive(Debug, Clone)]
pub struct Profile {
    labels: Labels,
    pub ingress: Vec<Rule>,
    pub egress: Vec<Rule>,
}

/// What policies select: a host endpoint or a workload.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: ObjectId,
    /// Its own labels over those of its profiles.
    pub labels: Labels,
    pub profiles: Vec<String>,
}

impl Endpoint {
    pub fn is_host(&self) -> bool {
        self.id.kind == Kind::HostEndpoint
    }
}

/// A host endpoint.
#[derive(Debug, Clone)]
pub struct HostEndpoint {
    pub endpoint: Endpoint,
    pub node: String,
    pub interface: String,
    pub addresses: Vec<IpAddr>,
}

/// A workload on a node.
#[derive(Debug, Clone)]
pub struct Workload {
    pub endpoint: Endpoint,
    pub node: String,
    pub interface: String,
    pub addresses: Vec<IpAddr>,
}

/// Everything that the resources say besides policy.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub sets: Sets,
    pub profiles: BTreeMap<String, Profile>,
    pub hosts: Vec<HostEndpoint>,
    pub workloads: Vec<Workload>,
}

/// Whether a resource is of a kind of Calico's.
pub fn is(resource: &Value, kind: &str) -> bool {
    text(resource, "/kind") == kind && text(resource, "/apiVersion") == "projectcalico.org/v3"
}

/// Whether a resource is of a kind of Kubernetes'.
pub fn is_kubernetes(resource: &Value, kind: &str) -> bool {
    text(resource, "/kind") == kind && !text(resource, "/apiVersion").contains("projectcalico.org")
}

/// A resource's namespace.
pub fn namespace(resource: &Value) -> &str {
    match text(resource, "/metadata/namespace") {
        "" => "default",
        namespace => namespace,
    }
}

fn name(resource: &Value) -> &str {
    text(resource, "/metadata/name")
}

fn prefixed(labels: Labels, prefix: &str, name: &str) -> Labels {
    let own = (format!("{prefix}projectcalico.org/name"), name.to_owned());
    let labels = labels.into_iter().map(|(k, v)| (format!("{prefix}{k}"), v));
    labels.chain([own]).collect()
}

/// A regular expression of Felix's validator: letters, digits and `_.-`, of some length.
fn plain_name(name: &str, longest: usize) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=longest).contains(&name.len()) && name.bytes().all(fine)
}

impl Objects {
    pub fn read(resources: &[Value]) -> Self {
        let mut objects = Self::default();
        objects.read_profiles(resources);
        for resource in resources {
            if is(resource, "HostEndpoint") {
                objects.read_host(resource);
            } else if is(resource, "WorkloadEndpoint") {
                objects.read_workload(resource);
            } else if is(resource, "GlobalNetworkSet") {
                let labels = map(resource, "/metadata/labels");
                objects.add(labels, nets(resource, "/spec/nets"), Vec::new());
            } else if is(resource, "NetworkSet") {
                let namespace = namespace(resource).to_owned();
                let mut own = map(resource, "/metadata/labels");
                own.insert("projectcalico.org/namespace".into(), namespace.clone());
                let labels = objects.with_profiles(own, &[format!("kns.{namespace}")]);
                objects.add(labels, nets(resource, "/spec/nets"), Vec::new());
            } else if is_kubernetes(resource, "EndpointSlice") {
                objects.read_slice(resource);
            }
        }
        objects
    }

    fn add(&mut self, labels: Labels, nets: Vec<IpNet>, ports: Vec<NamedPort>) {
        self.sets.members.push(Member {
            labels,
            nets,
            ports,
        });
    }

    fn read_profiles(&mut self, resources: &[Value]) {
        let allow = [json!({"action": "Allow"})];
        let allow = rules::read_all(&allow, "").expect("a rule without criteria");
        let open = |labels| Profile {
            labels,
            ingress: allow.clone(),
            egress: allow.clone(),
        };
        for resource in resources {
            let name = name(resource);
            let in_namespace = text(resource, "/metadata/namespace");
            if is_kubernetes(resource, "Namespace") {
                let labels = prefixed(map(resource, "/metadata/labels"), "pcns.", name);
                self.profiles.insert(format!("kns.{name}"), open(labels));
            } else if is_kubernetes(resource, "ServiceAccount") {
                let profile = Profile {
                    labels: prefixed(map(resource, "/metadata/labels"), "pcsa.", name),
                    ingress: Vec::new(),
                    egress: Vec::new(),
                };
                let key = format!("ksa.{}.{name}", namespace(resource));
                self.profiles.insert(key, profile);
            } else if is(resource, "Profile") {
                let rules = |at| rules::read_all(list(resource, at), "");
                if let (Ok(ingress), Ok(egress)) = (rules("/spec/ingress"), rules("/spec/egress")) {
                    let profile = Profile {
                        labels: map(resource, "/spec/labelsToApply"),
                        ingress,
                        egress,
                    };
                    self.profiles.insert(name.to_owned(), profile);
                }
            }
            // A namespace that only its contents speak of exists without labels.
            if !in_namespace.is_empty() {
                let labels = prefixed(Labels::new(), "pcns.", in_namespace);
                self.profiles
                    .entry(format!("kns.{in_namespace}"))
                    .or_insert_with(|| open(labels));
            }
        }
        self.profiles
            .insert("projectcalico-default-allow".into(), open(Labels::new()));
    }

    /// Own labels, then those of the profiles in order; the first that has a name wins.
    fn with_profiles(&self, mut own: Labels, profiles: &[String]) -> Labels {
        for profile in profiles.iter().filter_map(|p| self.profiles.get(p)) {
            for (key, value) in &profile.labels {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        own
    }

    fn read_host(&mut self, resource: &Value) {
        let interface = text(resource, "/spec/interfaceName");
        let profiles = owned(texts(resource, "/spec/profiles"));
        let ports = named_ports(resource);
        // Felix refuses the whole object for an interface, a profile or a port that cannot be.
        let interface_fits = interface.is_empty() || interface == "*" || plain_name(interface, 15);
        let Some(ports) = ports.filter(|_| interface_fits) else {
            return;
        };
        if !profiles.iter().all(|p| plain_name(p, 128)) {
            return;
        }
        let expected = texts(resource, "/spec/expectedIPs");
        let addresses: Vec<IpAddr> = expected.iter().filter_map(|ip| ip.parse().ok()).collect();
        let labels = self.with_profiles(map(resource, "/metadata/labels"), &profiles);
        let nets = addresses.iter().copied().map(IpNet::from).collect();
        self.add(labels.clone(), nets, ports);
        self.hosts.push(HostEndpoint {
            endpoint: Endpoint {
                id: ObjectId::global(Kind::HostEndpoint, name(resource)),
                labels,
                profiles,
            },
            node: text(resource, "/spec/node").to_owned(),
            interface: interface.to_owned(),
            addresses,
        });
    }

    fn read_workload(&mut self, resource: &Value) {
        let namespace = namespace(resource);
        let mut own = map(resource, "/metadata/labels");
        own.retain(|key, _| !key.starts_with("pcns.") && !key.starts_with("pcsa."));
        own.insert("projectcalico.org/namespace".into(), namespace.to_owned());
        own.insert("projectcalico.org/orchestrator".into(), "k8s".into());
        let profiles = match at(resource, "/spec/profiles") {
            Value::Array(_) => owned(texts(resource, "/spec/profiles")),
            _ => vec![format!("kns.{namespace}")],
        };
        let Some(ports) = named_ports(resource) else {
            return;
        };
        let networks = texts(resource, "/spec/ipNetworks");
        let addresses: Vec<IpAddr> = networks
            .into_iter()
            .filter_map(net)
            .map(|n| n.addr())
            .collect();
        let labels = self.with_profiles(own, &profiles);
        let nets = addresses.iter().copied().map(IpNet::from).collect();
        self.add(labels.clone(), nets, ports);
        self.workloads.push(Workload {
            endpoint: Endpoint {
                id: ObjectId::namespaced(Kind::WorkloadEndpoint, namespace, name(resource)),
                labels,
                profiles,
            },
            node: text(resource, "/spec/node").to_owned(),
            interface: text(resource, "/spec/interfaceName").to_owned(),
            addresses,
        });
    }

    fn read_slice(&mut self, resource: &Value) {
        let addresses = list(resource, "/endpoints")
            .iter()
            .flat_map(|e| texts(e, "/addresses"))
            .filter_map(|a| a.parse().ok());
        let ports = list(resource, "/ports").iter().filter_map(|p| {
            let name = match text(p, "/protocol") {
                "" => "TCP",
                name => name,
            };
            let port = at(p, "/port").as_u64()?;
            Some((protocol_number(name)?, u16::try_from(port).ok()?))
        });
        let service = text(resource, "/metadata/labels/kubernetes.io~1service-name");
        self.sets.slices.push(Slice {
            namespace: namespace(resource).to_owned(),
            service: service.to_owned(),
            addresses: addresses.collect(),
            ports: ports.collect(),
        });
    }

    /// The host endpoint that governs an interface by name or address: of all that match the one
    /// with the smallest name.
    pub fn specific(&self, node: &Node, interface: &str) -> Option<&HostEndpoint> {
        if interface.starts_with("cali") {
            return None;
        }
        let local = node.addresses(interface);
        let matches = |h: &&HostEndpoint| {
            h.node == node.name
                && (h.interface == interface
                    || (h.interface.is_empty() && h.addresses.iter().any(|a| local.contains(a))))
        };
        let name = |h: &&HostEndpoint| h.endpoint.id.name.clone();
        self.hosts.iter().filter(matches).min_by_key(name)
    }

    /// The host endpoint for all interfaces that no other governs.
    pub fn wildcard(&self, node: &Node) -> Option<&HostEndpoint> {
        let matches = |h: &&HostEndpoint| h.node == node.name && h.interface == "*";
        let name = |h: &&HostEndpoint| h.endpoint.id.name.clone();
        self.hosts.iter().filter(matches).min_by_key(name)
    }

    /// The host endpoint that governs an interface.
    pub fn governor(&self, node: &Node, interface: &str) -> Option<&HostEndpoint> {
        self.specific(node, interface)
            .or_else(|| self.wildcard(node))
    }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

/// The named ports of an endpoint; `None` where Felix refuses one.
fn named_ports(resource: &Value) -> Option<Vec<NamedPort>> {
    let read = |port: &Value| {
        let protocol = protocol_number(text(port, "/protocol"))?;
        let number = at(port, "/port").as_u64()?;
        Some(NamedPort {
            name: text(port, "/name").to_owned(),
            protocol: Some(protocol).filter(|p| [6, 17, 132].contains(p))?,
            port: u16::try_from(number).ok()?,
        })
    };
    list(resource, "/spec/ports").iter().map(read).collect()
}
