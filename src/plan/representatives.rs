//! Hosts that stand for others in a proof.
//!
//! A decision sees of a host its endpoints' labels (as far as a selector mentions them), profiles
//! and interfaces, its settings, its servers, the subnet it is in, and, of its addresses, in which
//! network sets and rule networks they are. Hosts that agree in all of that, before a plan and
//! after it, and whose objects the plan changes at the same stages, cannot be told apart: a flow
//! between two hosts of some classes is decided as one between any two of the same classes. Three
//! hosts of a class are enough for every pair, and for a third that is neither.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use serde_json::Value;

use super::{Change, Plan};
use crate::calico::net::parse_cidr_or_ip;
use crate::calico::policy::policy_spec;
use crate::calico::{Host, HostEndpointSpec, Kind, Object, PolicyType, Snapshot};
use crate::reach::needs::Components;
use crate::selector::Selector;

/// How many hosts of a class are kept.
const OF_A_CLASS: usize = 3;

/// The hosts of a snapshot that stand for all; `None` where every host stands for itself.
pub fn representatives(
    start: &Snapshot,
    end: &Snapshot,
    plan: &Plan,
    always: &BTreeSet<String>,
) -> Option<BTreeSet<String>> {
    let mut keys: BTreeMap<String, DefaultHasher> = BTreeMap::new();
    for state in [start, end] {
        describe(state, &mut keys);
    }
    for change in &plan.changes {
        let object = change.after.as_ref().or(change.before.as_ref());
        if let Some(key) = object
            .and_then(host_of)
            .and_then(|host| keys.get_mut(&host))
        {
            (change.stage, change.id.kind, change.action()).hash(key);
        }
    }
    let mut classes: HashMap<u64, usize> = HashMap::new();
    let all = keys.len();
    let kept: BTreeSet<String> = keys
        .into_iter()
        .filter(|(host, key)| {
            let count = classes.entry(key.finish()).or_default();
            *count += 1;
            *count <= OF_A_CLASS || always.contains(host)
        })
        .map(|(host, _)| host)
        .collect();
    (kept.len() < all).then_some(kept)
}

/// A snapshot with the objects of some hosts only.
pub fn only(snapshot: &Snapshot, hosts: &BTreeSet<String>) -> Snapshot {
    let kept = snapshot
        .all()
        .filter(|stored| is_kept(&stored.object, hosts));
    let mut small = Snapshot::new(snapshot.datastore.clone(), kept.cloned());
    small.warnings.clone_from(&snapshot.warnings);
    small
}

/// A plan with the changes of some hosts only.
pub fn only_changes(plan: &Plan, hosts: &BTreeSet<String>) -> Plan {
    let kept = |change: &&Change| {
        let object = change.after.as_ref().or(change.before.as_ref());
        object.is_none_or(|object| is_kept(object, hosts))
    };
    Plan {
        datastore: plan.datastore.clone(),
        changes: plan.changes.iter().filter(kept).cloned().collect(),
        notes: Vec::new(),
    }
}

fn is_kept(object: &Object, hosts: &BTreeSet<String>) -> bool {
    host_of(object).is_none_or(|host| hosts.contains(&host))
}

/// The host that an object belongs to.
fn host_of(object: &Object) -> Option<String> {
    let name = match object.id().kind {
        Kind::HostEndpoint | Kind::WorkloadEndpoint => object.spec_str("node")?,
        Kind::Node | Kind::CalicoNode => object.name(),
        Kind::Pod => object.spec_str("nodeName")?,
        Kind::FelixConfiguration => object.name().strip_prefix("node.")?,
        _ => return None,
    };
    Some(name.to_owned())
}

/// Adds what a state says of each host to its key.
fn describe(state: &Snapshot, keys: &mut BTreeMap<String, DefaultHasher>) {
    let mentioned = mentioned_labels(state);
    let hosts = Host::all(state);
    let components = Components::find(state);
    let mut addresses: BTreeSet<IpAddr> = hosts
        .values()
        .flat_map(|host| host.addresses.iter().map(|(ip, _)| *ip))
        .collect();
    let endpoints: Vec<(&Object, HostEndpointSpec)> = state
        .of(Kind::HostEndpoint)
        .map(|object| (object, object.typed_spec().unwrap_or_default()))
        .collect();
    addresses.extend(endpoints.iter().flat_map(|(_, spec)| spec.addresses()));
    let places = memberships(state, &addresses);
    let member = |ip: &IpAddr| (ip.is_ipv6(), places.get(ip).copied());
    for (name, host) in &hosts {
        let key = keys.entry(name.clone()).or_default();
        for (label, value) in host.labels.iter().filter(|(l, _)| mentioned.contains(*l)) {
            (label, value).hash(key);
        }
        for (ip, role) in &host.addresses {
            (role, member(ip)).hash(key);
        }
        for (interface, ips) in host.interfaces.iter().flatten() {
            interface.hash(key);
            ips.iter().for_each(|ip| member(ip).hash(key));
        }
        (
            components.typha.contains_key(name),
            components.etcd.contains_key(name),
            components
                .api_servers
                .get(name)
                .map(|api| (api.port, &api.etcd)),
        )
            .hash(key);
    }
    for node in [Kind::Node, Kind::CalicoNode]
        .into_iter()
        .flat_map(|kind| state.of(kind))
    {
        let key = keys.entry(node.name().to_owned()).or_default();
        subnets(node).hash(key);
    }
    for (object, spec) in &endpoints {
        let key = keys.entry(spec.node.clone()).or_default();
        (
            &spec.interface_name,
            &spec.profiles,
            format!("{:?}", spec.ports),
        )
            .hash(key);
        for (label, value) in object.labels().filter(|(l, _)| mentioned.contains(*l)) {
            (label, value).hash(key);
        }
        spec.addresses().for_each(|ip| member(&ip).hash(key));
    }
    for configuration in state.of(Kind::FelixConfiguration) {
        if let Some(key) = host_of(configuration).and_then(|host| keys.get_mut(&host)) {
            configuration
                .value()
                .get("spec")
                .map(ToString::to_string)
                .hash(key);
            format!("{:?}", configuration.annotations().collect::<Vec<_>>()).hash(key);
        }
    }
}

/// The networks that a node's own addresses are in, by the masks that it states: which other nodes
/// are in one subnet with it decides about tunnels.
fn subnets(node: &Object) -> Vec<String> {
    let texts = [
        node.annotation("projectcalico.org/IPv4Address"),
        node.annotation("projectcalico.org/IPv6Address"),
        node.value()
            .pointer("/spec/bgp/ipv4Address")
            .and_then(|v| v.as_str()),
        node.value()
            .pointer("/spec/bgp/ipv6Address")
            .and_then(|v| v.as_str()),
    ];
    let network = |text: &str| {
        text.parse::<ipnet::IpNet>()
            .ok()
            .map(|net| net.trunc().to_string())
    };
    texts
        .into_iter()
        .map(|text| text.and_then(network).unwrap_or_default())
        .collect()
}

/// Every label that some selector of a state looks at, those of recipe labels included.
fn mentioned_labels(state: &Snapshot) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    let mut add = |text: &Option<String>| {
        let read = text.as_deref().and_then(|text| Selector::parse(text).ok());
        labels.extend(read.iter().flat_map(|s| s.labels()).map(str::to_owned));
    };
    for policy in state
        .all()
        .map(|s| &s.object)
        .filter(|o| o.id().kind.is_tiered_policy())
    {
        let Ok(spec) = policy_spec(policy) else {
            continue;
        };
        for text in [
            &spec.selector,
            &spec.namespace_selector,
            &spec.service_account_selector,
        ] {
            add(text);
        }
        let rules = [PolicyType::Ingress, PolicyType::Egress].map(|d| spec.rules(d));
        for side in rules
            .into_iter()
            .flatten()
            .flat_map(|r| [&r.source, &r.destination])
        {
            for text in [&side.selector, &side.not_selector, &side.namespace_selector] {
                add(text);
            }
        }
    }
    for configuration in state.of(Kind::FelixConfiguration) {
        add(&configuration.spec_str("nodeSelector").map(str::to_owned));
    }
    labels
}

/// For each address a number that tells in which network sets, rule networks and pools it is:
/// equal numbers, equal memberships. One sweep over all networks in order.
fn memberships(state: &Snapshot, addresses: &BTreeSet<IpAddr>) -> HashMap<IpAddr, u64> {
    let mut edges: Vec<(u128, bool, bool, u64)> = Vec::new();
    let mut add = |owner: u64, text: &str| {
        if let Ok(net) = parse_cidr_or_ip(text) {
            let ipv6 = net.addr().is_ipv6();
            edges.push((number(net.network()), ipv6, true, owner));
            edges.push((number(net.broadcast()), ipv6, false, owner));
        }
    };
    for kind in [Kind::GlobalNetworkSet, Kind::NetworkSet] {
        for set in state.of(kind) {
            set.spec_strs("nets")
                .for_each(|net| add(hash_of(set.id()), net));
        }
    }
    for pool in state.of(Kind::IpPool) {
        pool.spec_str("cidr")
            .iter()
            .for_each(|net| add(hash_of(pool.id()), net));
    }
    for policy in state
        .all()
        .map(|s| &s.object)
        .filter(|o| o.id().kind.is_tiered_policy())
    {
        let Ok(spec) = policy_spec(policy) else {
            continue;
        };
        for direction in [PolicyType::Ingress, PolicyType::Egress] {
            for (i, rule) in spec.rules(direction).iter().enumerate() {
                let lists = [
                    &rule.source.nets,
                    &rule.source.not_nets,
                    &rule.destination.nets,
                    &rule.destination.not_nets,
                ];
                for (j, list) in lists.into_iter().enumerate() {
                    let owner = hash_of(&(policy.id(), direction, i, j));
                    list.iter().for_each(|net| add(owner, net));
                }
            }
        }
    }
    for kind in [Kind::KubernetesNetworkPolicy, Kind::ClusterNetworkPolicy] {
        for policy in state.of(kind) {
            let mut texts = Vec::new();
            strings(policy.value(), &mut texts);
            for (i, text) in texts.iter().enumerate() {
                add(hash_of(&(policy.id(), i)), text);
            }
        }
    }
    // At one number: beginnings, then the addresses there, then ends.
    edges.sort_unstable_by_key(|(at, ipv6, begins, _)| (*ipv6, *at, !*begins));
    let mut active: HashMap<u64, usize> = HashMap::new();
    let mut sum: u64 = 0;
    let mut found = HashMap::with_capacity(addresses.len());
    let mut edges = edges.into_iter().peekable();
    let mut sorted: Vec<&IpAddr> = addresses.iter().collect();
    sorted.sort_unstable_by_key(|ip| (ip.is_ipv6(), number(**ip)));
    for ip in sorted {
        let here = (ip.is_ipv6(), number(*ip));
        while let Some((_, _, begins, owner)) = edges
            .next_if(|(at, ipv6, begins, _)| (*ipv6, *at) < here || (*ipv6, *at) == here && *begins)
        {
            let count = active.entry(owner).or_default();
            match (begins, *count) {
                (true, 0) => sum = sum.wrapping_add(owner),
                (false, 1) => sum = sum.wrapping_sub(owner),
                _ => {}
            }
            *count = if begins {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
        }
        found.insert(*ip, sum);
    }
    found
}

/// Every text in a value; those that are networks are the only ones that count.
fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(map) => map.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
