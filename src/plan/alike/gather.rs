//! All versions of the objects of each host and workload, and what tells hosts and workloads apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use rayon::prelude::*;

use super::describe::{Described, Owner, PodName, Says, Shape, describe, owner};
use super::{States, servers};
use crate::calico::kubernetes::PodView;
use crate::calico::{Kind, Object, ObjectId, Snapshot};
use crate::plan::Action;
use crate::reach::needs::{Family, Need, Servers};
use crate::reach::{Connection, Distinctions, Memberships, Party, service_addresses};
use crate::recipe::Stage;

/// In which states an object is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// Before the plan.
    Start,
    /// Behind it, where that is another version.
    End,
    /// After a change.
    After(Stage, Action),
}

/// The versions of one object; `None` where it is not there.
type Versions<'s> = Vec<(When, Option<&'s Object>)>;
/// The objects of a host or workload, in order of identity.
type Objects<'s> = BTreeMap<&'s ObjectId, Versions<'s>>;

/// The keys of hosts, and those of workloads.
pub type Keys = (Vec<(String, HostKey)>, Vec<(PodName, PodKey)>);

/// Everything that belongs to hosts and workloads.
#[derive(Debug, Default)]
pub struct Gathered<'s> {
    pub hosts: BTreeMap<String, Objects<'s>>,
    pods: BTreeMap<PodName, Objects<'s>>,
}

impl<'s> Gathered<'s> {
    /// Gathers the versions of all states.
    pub fn of(states: States<'s>, families: &[Family]) -> Self {
        let mut gathered = Self::default();
        for family in families {
            for host in family.clients.iter().chain(servers(family)) {
                gathered.hosts.entry(host.clone()).or_default();
            }
        }
        for stored in states.start.all() {
            let object = &stored.object;
            gathered.add(object, When::Start, Some(object));
            if states.end.get(object.id()).is_none() {
                gathered.add(object, When::End, None);
            }
        }
        for stored in states.end.all() {
            let object = &stored.object;
            if states.start.get(object.id()) != Some(object) {
                gathered.add(object, When::End, Some(object));
            }
        }
        for change in &states.plan.changes {
            let when = When::After(change.stage, change.action());
            if let Some(object) = change.after.as_ref().or(change.before.as_ref()) {
                gathered.add(object, when, change.after.as_ref());
            }
        }
        gathered
    }

    fn add(&mut self, object: &'s Object, when: When, version: Option<&'s Object>) {
        let to = |objects: &mut Objects<'s>| {
            let versions = objects.entry(object.id()).or_default();
            versions.push((when, version));
        };
        match owner(object) {
            None => {}
            Some(Owner::Host(host)) => to(self.hosts.entry(host.to_owned()).or_default()),
            Some(Owner::Pod { name, host }) => {
                to(self.pods.entry(name).or_default());
                let leads = |view: PodView| !view.host_ports.is_empty();
                let is_port =
                    object.id().kind == Kind::Pod && PodView::read(object).is_some_and(leads);
                if let Some(host) = host.filter(|_| is_port) {
                    to(self.hosts.entry(host.to_owned()).or_default());
                }
            }
        }
    }

    /// Whether a service might stand in the way of a needed flow and send it to other hosts.
    pub fn may_be_translated(&self, states: States<'_>, families: &[Family]) -> bool {
        let ports: BTreeSet<u16> = families.iter().map(|f| f.port.port).collect();
        let of_nodes = |state: &Snapshot| -> BTreeSet<IpAddr> {
            let hosts = crate::calico::Host::all(state).into_values();
            hosts.flat_map(|h| h.addresses).map(|(ip, _)| ip).collect()
        };
        [states.start, states.end].into_iter().any(|state| {
            let mut services = state.of(Kind::Service).peekable();
            if services.peek().is_none() {
                return false;
            }
            let own = of_nodes(state);
            services.any(|service| {
                let listed = service.spec("ports").and_then(|p| p.as_array());
                let listed = listed.into_iter().flatten();
                let number = |port: &serde_json::Value, field| {
                    let number = port.get(field).and_then(serde_json::Value::as_u64);
                    number.and_then(|n| u16::try_from(n).ok())
                };
                let at_hosts = service_addresses(service).iter().any(|ip| own.contains(ip));
                let mut asked = listed.flat_map(|port| {
                    let dialled = number(port, "port").filter(|_| at_hosts);
                    [number(port, "nodePort"), dialled]
                });
                asked.any(|port| port.is_some_and(|port| ports.contains(&port)))
            })
        })
    }

    /// What tells hosts and workloads apart. Those with equal keys cannot be told apart.
    pub fn keys(self, distinctions: &Distinctions, families: &[Family], further: &[Need]) -> Keys {
        let routed: BTreeSet<&String> = families
            .iter()
            .filter(|family| {
                matches!(
                    family.servers,
                    Servers::Address { .. } | Servers::From { .. } | Servers::Somewhere { .. }
                )
            })
            .flat_map(|family| &family.clients)
            .collect();
        let told = |objects: &Objects<'_>, is_routed: bool| -> Vec<Told> {
            let versions = objects.values().enumerate();
            let versions = versions.flat_map(|(at, v)| v.iter().map(move |(w, o)| (at, *w, *o)));
            let told = versions.map(|(at, when, object)| Told {
                at,
                when,
                described: object.map(|o| describe(o, distinctions, is_routed)),
            });
            told.collect()
        };
        let hosts: Vec<(&String, Vec<Told>)> = self
            .hosts
            .par_iter()
            .map(|(name, objects)| (name, told(objects, routed.contains(name))))
            .collect();
        let pods: Vec<(&PodName, Vec<Told>)> = self
            .pods
            .par_iter()
            .map(|(name, objects)| (name, told(objects, false)))
            .collect();
        let claims = Claims::of(&hosts, &pods);
        let everything = hosts.iter().flat_map(|(_, told)| told);
        let everything = everything.chain(pods.iter().flat_map(|(_, told)| told));
        let addresses: BTreeSet<IpAddr> =
            everything.flat_map(Told::addresses).map(|a| a.0).collect();
        let places = distinctions.memberships(&addresses);
        let alone = alone(families, further, &claims, &self.pods);
        let mut flows = flows(families);
        let keys = hosts.iter().map(|(name, told)| {
            let of_host = told.iter().flat_map(Told::addresses);
            let is_alone =
                alone.contains(name.as_str()) || of_host.clone().any(|(ip, _)| claims.is_mixed(ip));
            let mut seen: HashMap<IpAddr, usize> = HashMap::new();
            let addresses = of_host.map(|(ip, _)| {
                let next = seen.len();
                Local {
                    first: *seen.entry(ip).or_insert(next),
                    is_ipv6: ip.is_ipv6(),
                    member: places.get(&ip).copied().unwrap_or_default(),
                    shared: claims.shared(ip, name),
                }
            });
            let key = HostKey {
                alone: is_alone.then(|| (*name).clone()),
                addresses: addresses.collect(),
                objects: shapes(told),
                flows: flows.remove(name.as_str()).unwrap_or_default(),
            };
            ((*name).clone(), key)
        });
        let keys = keys.collect();
        let pods = pods.iter().map(|(name, told)| {
            let of_pod = told.iter().flat_map(Told::addresses);
            let is_alone = of_pod.clone().any(|(ip, _)| claims.is_mixed(ip));
            let member = |ip: &IpAddr| places.get(ip).copied().unwrap_or_default();
            let key = PodKey {
                alone: is_alone.then(|| (*name).clone()),
                addresses: of_pod.map(|(ip, _)| (ip.is_ipv6(), member(&ip))).collect(),
                objects: shapes(told),
            };
            ((*name).clone(), key)
        });
        (keys, pods.collect())
    }
}

/// A version of an object, described; `at` tells objects of one owner apart.
struct Told {
    at: usize,
    when: When,
    described: Option<Described>,
}

impl Told {
    fn addresses(&self) -> impl Iterator<Item = (IpAddr, Says)> + Clone + use<'_> {
        let described = self.described.iter();
        described.flat_map(|d| d.addresses.iter().copied())
    }
}

type Shapes = Vec<(usize, When, Option<Shape>)>;

fn shapes(told: &[Told]) -> Shapes {
    let shape = |t: &Told| t.described.as_ref().map(|d| d.shape.clone());
    told.iter().map(|t| (t.at, t.when, shape(t))).collect()
}

/// What tells hosts apart.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HostKey {
    /// Set for a host that stands for itself.
    alone: Option<String>,
    objects: Shapes,
    addresses: Vec<Local>,
    /// The families that it is a client (`true`) or server of.
    flows: Vec<(usize, bool)>,
}

/// What tells workloads apart that no flow goes to.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PodKey {
    alone: Option<PodName>,
    objects: Shapes,
    addresses: Vec<(bool, Memberships)>,
}

/// An address of a host.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Local {
    /// Equal for equal addresses of the host.
    first: usize,
    is_ipv6: bool,
    member: Memberships,
    /// Set for an address that other hosts speak of, too; and whether the host is the first of
    /// those that have it, and of those that are expected to: such an address counts as theirs.
    shared: Option<(IpAddr, bool, bool)>,
}

/// Who speaks of an address.
#[derive(Default)]
struct Claim<'h> {
    first: Option<&'h str>,
    has: Option<&'h str>,
    /// By the name of the endpoint's host.
    expected: Option<&'h str>,
    is_shared: bool,
    /// The plan makes it expected where it was not.
    is_moving: bool,
    is_pod: bool,
}

struct Claims<'h>(HashMap<IpAddr, Claim<'h>>);

impl<'h> Claims<'h> {
    fn of(hosts: &[(&'h String, Vec<Told>)], pods: &[(&PodName, Vec<Told>)]) -> Self {
        let mut claims: HashMap<IpAddr, Claim<'h>> = HashMap::new();
        for (host, told) in hosts {
            let host = host.as_str();
            let before = told.iter().filter(|one| one.when == When::Start);
            let before = before.flat_map(Told::addresses);
            let before = before.filter(|(_, says)| *says == Says::Expected);
            let before: BTreeSet<IpAddr> = before.map(|(ip, _)| ip).collect();
            for one in told {
                for (ip, says) in one.addresses() {
                    let claim = claims.entry(ip).or_default();
                    let slot = match says {
                        Says::Has => &mut claim.has,
                        Says::Expected => &mut claim.expected,
                        Says::Pod | Says::Part => continue,
                    };
                    slot.get_or_insert(host);
                    claim.is_moving |= says == Says::Expected && !before.contains(&ip);
                    claim.is_shared |= *claim.first.get_or_insert(host) != host;
                }
            }
        }
        let of_pods = pods.iter().flat_map(|(_, told)| told);
        for (ip, says) in of_pods.flat_map(Told::addresses) {
            if let Some(claim) = claims.get_mut(&ip).filter(|_| says == Says::Pod) {
                claim.is_pod = true;
            }
        }
        Self(claims)
    }

    /// Whether it cannot be told by a rule whose the address is.
    fn is_mixed(&self, ip: IpAddr) -> bool {
        let claim = self.0.get(&ip);
        claim.is_some_and(|c| c.is_pod || c.is_shared && (c.is_moving || c.has.is_none()))
    }

    fn shared(&self, ip: IpAddr, host: &str) -> Option<(IpAddr, bool, bool)> {
        let claim = self.0.get(&ip).filter(|c| c.is_shared)?;
        Some((ip, claim.has == Some(host), claim.expected == Some(host)))
    }

    fn hosts(&self, ip: IpAddr) -> impl Iterator<Item = &'h str> + use<'h> {
        let claim = self.0.get(&ip);
        let found = claim.map_or([None, None], |c| [c.has, c.expected]);
        found.into_iter().flatten()
    }
}

/// Hosts that flows reach by an address, of their own or of a workload there, and hosts that
/// further flows name.
fn alone(
    families: &[Family],
    further: &[Need],
    claims: &Claims<'_>,
    pods: &BTreeMap<PodName, Objects<'_>>,
) -> BTreeSet<String> {
    let of_families = families.iter().filter_map(|family| match family.servers {
        Servers::Address { address, .. } | Servers::From { address, .. } => {
            Some(Party::Address(address))
        }
        _ => None,
    });
    let parties = further.iter().flat_map(|need| {
        let Connection { from, to, .. } = &need.connection;
        [from.clone(), to.clone()]
    });
    let (mut hosts, mut ips, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for party in of_families.chain(parties) {
        match party {
            Party::Node { name, address } => {
                hosts.insert(name);
                ips.extend(address);
            }
            Party::Pod {
                namespace,
                name,
                address,
            } => {
                names.insert((namespace, name));
                ips.extend(address);
            }
            Party::Address(ip) => {
                ips.insert(ip);
            }
        }
    }
    hosts.extend(
        ips.iter()
            .flat_map(|ip| claims.hosts(*ip))
            .map(str::to_owned),
    );
    for (name, objects) in pods {
        let versions = objects.values().flatten();
        for object in versions.filter_map(|(_, object)| *object) {
            let Some(Owner::Pod {
                host: Some(host), ..
            }) = owner(object)
            else {
                continue;
            };
            let is_meant =
                names.contains(name) || pod_addresses(object).any(|ip| ips.contains(&ip));
            if is_meant {
                hosts.insert(host.to_owned());
            }
        }
    }
    hosts
}

/// The addresses of a Pod or WorkloadEndpoint.
fn pod_addresses(object: &Object) -> impl Iterator<Item = IpAddr> + use<'_> {
    let view = PodView::read(object).map(|view| view.addresses);
    let nets = object.spec_strs("ipNetworks");
    let nets = nets.filter_map(|net| net.split('/').next()?.parse().ok());
    view.into_iter().flatten().chain(nets)
}

/// The families that each host has to do with.
fn flows(families: &[Family]) -> HashMap<&str, Vec<(usize, bool)>> {
    let mut flows: HashMap<&str, Vec<(usize, bool)>> = HashMap::new();
    for (at, family) in families.iter().enumerate() {
        let clients = family.clients.iter().map(|host| (host, true));
        let servers = servers(family).iter().map(|host| (host, false));
        for (host, is_client) in clients.chain(servers) {
            flows.entry(host).or_default().push((at, is_client));
        }
    }
    flows
}
