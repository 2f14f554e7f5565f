//! Sets of addresses that rules look into: by selector, by named port, by service. Each is worked
//! out when a packet first meets it, since most rules never do.
//!
//! Source: semantics, sections 2.1 to 2.3.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::calico::Transport;
use crate::selector::Selector;

use super::addresses::Addresses;
use super::labels::{Group, LabelIndex, Mentions};

/// A set of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SetId(usize);

/// A set of pairs of address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PortSetId(usize);

/// Protocol and port, and the addresses that have it.
pub(super) type PortMap = BTreeMap<(Transport, u16), Addresses>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SetKey {
    Selector(Selector),
    /// Namespace and name.
    Service(String, String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PortSetKey {
    Named {
        name: String,
        selector: Option<Selector>,
    },
    /// Namespace and name.
    Service(String, String),
}

/// What objects with one group of labels bring into sets.
#[derive(Debug, Default)]
struct Members {
    addresses: Addresses,
    ports: BTreeMap<Box<str>, PortMap>,
}

/// An object that brings addresses into sets.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub addresses: Addresses,
    /// Named ports.
    pub ports: Vec<(String, Transport, u16)>,
}

/// The sets that rules speak of, by number. More may come, but none gets another number: a rule that
/// was compiled once stays good.
#[derive(Debug, Default)]
pub(super) struct SetNames {
    keys: Vec<Arc<SetKey>>,
    by_key: HashMap<Arc<SetKey>, SetId>,
    port_keys: Vec<Arc<PortSetKey>>,
    by_port_key: HashMap<Arc<PortSetKey>, PortSetId>,
}

impl SetNames {
    pub fn selector(&mut self, selector: Selector) -> SetId {
        self.set(SetKey::Selector(selector))
    }

    pub fn service(&mut self, namespace: &str, name: &str) -> SetId {
        self.set(SetKey::Service(namespace.to_owned(), name.to_owned()))
    }

    fn set(&mut self, key: SetKey) -> SetId {
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let (id, key) = (SetId(self.keys.len()), Arc::new(key));
        self.keys.push(Arc::clone(&key));
        self.by_key.insert(key, id);
        id
    }

    pub fn named_port(&mut self, name: &str, selector: Option<Selector>) -> PortSetId {
        self.port_set(PortSetKey::Named {
            name: name.to_owned(),
            selector,
        })
    }

    pub fn service_ports(&mut self, namespace: &str, name: &str) -> PortSetId {
        self.port_set(PortSetKey::Service(namespace.to_owned(), name.to_owned()))
    }

    fn port_set(&mut self, key: PortSetKey) -> PortSetId {
        if let Some(known) = self.by_port_key.get(&key) {
            return *known;
        }
        let (id, key) = (PortSetId(self.port_keys.len()), Arc::new(key));
        self.port_keys.push(Arc::clone(&key));
        self.by_port_key.insert(key, id);
        id
    }

    /// Every selector that a set is made by.
    pub fn mention(&self, mentions: &mut Mentions) {
        for key in &self.keys {
            if let SetKey::Selector(selector) = &**key {
                mentions.add(selector);
            }
        }
        for key in &self.port_keys {
            if let PortSetKey::Named {
                selector: Some(selector),
                ..
            } = &**key
            {
                mentions.add(selector);
            }
        }
    }
}

/// The sets of one model, each worked out when it is first looked at.
#[derive(Debug, Default)]
pub(super) struct Sets {
    keys: Vec<(Arc<SetKey>, OnceLock<Addresses>)>,
    port_keys: Vec<(Arc<PortSetKey>, OnceLock<PortMap>)>,
    /// By group of labels.
    members: Vec<Members>,
    /// Backends of services by namespace and name.
    services: HashMap<(String, String), PortMap>,
    /// Addresses of services, those of slices without ports as well.
    service_addresses: HashMap<(String, String), Addresses>,
}

static NO_ADDRESS: OnceLock<Addresses> = OnceLock::new();
static NO_PORT: OnceLock<PortMap> = OnceLock::new();

impl Sets {
    /// Sets by their names, with nothing in them yet.
    pub fn new(names: &SetNames) -> Self {
        let fresh = |key: &Arc<SetKey>| (Arc::clone(key), OnceLock::new());
        let fresh_ports = |key: &Arc<PortSetKey>| (Arc::clone(key), OnceLock::new());
        Self {
            keys: names.keys.iter().map(fresh).collect(),
            port_keys: names.port_keys.iter().map(fresh_ports).collect(),
            ..Self::default()
        }
    }

    /// Takes the objects in, by their group of labels.
    pub fn fill(&mut self, groups: usize, peers: Vec<(Group, Peer)>) {
        let mut addresses: Vec<Vec<Addresses>> = Vec::new();
        addresses.resize_with(groups, Vec::new);
        self.members.resize_with(groups, Members::default);
        for (group, peer) in peers {
            let Some(members) = self.members.get_mut(group) else {
                continue;
            };
            for (name, transport, port) in peer.ports {
                let known = members.ports.entry(name.into()).or_default();
                let known = known.entry((transport, port)).or_default();
                *known = known.union(&peer.addresses);
            }
            if let Some(list) = addresses.get_mut(group) {
                list.push(peer.addresses);
            }
        }
        for (members, list) in self.members.iter_mut().zip(&addresses) {
            members.addresses = Addresses::union_of(list);
        }
    }

    /// Takes the backends of a service in. `ports` without a number add nothing.
    pub fn add_slice(
        &mut self,
        namespace: &str,
        service: &str,
        addresses: &[IpAddr],
        ports: &[(Transport, u16)],
    ) {
        let key = (namespace.to_owned(), service.to_owned());
        let hosts = Addresses::of_hosts(addresses.iter().copied());
        for port in ports {
            let known = self.services.entry(key.clone()).or_default();
            let known = known.entry(*port).or_default();
            *known = known.union(&hosts);
        }
        let known = self.service_addresses.entry(key).or_default();
        *known = known.union(&hosts);
    }

    /// The addresses of a set.
    pub fn addresses(&self, id: SetId, index: &LabelIndex) -> &Addresses {
        let empty = NO_ADDRESS.get_or_init(Addresses::none);
        let Some((key, known)) = self.keys.get(id.0) else {
            return empty;
        };
        match &**key {
            SetKey::Selector(selector) => known.get_or_init(|| {
                let groups = index.select(selector);
                let members = groups.iter().filter_map(|g| self.members.get(*g));
                Addresses::union_of(members.map(|m| &m.addresses))
            }),
            SetKey::Service(namespace, name) => {
                let key = (namespace.clone(), name.clone());
                self.service_addresses.get(&key).unwrap_or(empty)
            }
        }
    }

    /// The pairs of a set.
    pub fn ports(&self, id: PortSetId, index: &LabelIndex) -> &PortMap {
        let empty = NO_PORT.get_or_init(PortMap::new);
        let Some((key, known)) = self.port_keys.get(id.0) else {
            return empty;
        };
        match &**key {
            PortSetKey::Named { name, selector } => known.get_or_init(|| {
                let groups = match selector {
                    Some(selector) => index.select(selector),
                    None => (0..self.members.len()).collect(),
                };
                self.declared(&groups, name)
            }),
            PortSetKey::Service(namespace, name) => {
                let key = (namespace.clone(), name.clone());
                self.services.get(&key).unwrap_or(empty)
            }
        }
    }

    fn declared(&self, groups: &[Group], name: &str) -> PortMap {
        let mut found = PortMap::new();
        for members in groups.iter().filter_map(|g| self.members.get(*g)) {
            for ((transport, port), addresses) in members.ports.get(name).into_iter().flatten() {
                let known = found.entry((*transport, *port)).or_default();
                *known = known.union(addresses);
            }
        }
        found
    }
}
