//! Ports of Calico's and Kubernetes' own servers, where something tells that they are not the usual
//! ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Rule;
use super::components::Nodes;
use crate::calico::felix::variable;
use crate::calico::{Kind, Object, Snapshot};

/// Ports by host.
type Told = BTreeMap<String, BTreeSet<u16>>;

/// Hosts by the port that a server of theirs serves on: what is told of it, what the policy that
/// protects it names, or else the usual port.
pub(super) fn by_port(
    rule: Rule,
    hosts: &[String],
    told: &Told,
    protected: Option<&Nodes>,
    named: &BTreeSet<u16>,
) -> BTreeMap<u16, Vec<String>> {
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for host in hosts {
        let mut ports = told.get(host).cloned().unwrap_or_default();
        if protected.is_some_and(|nodes| nodes.contains_key(host)) {
            ports.extend(named);
        }
        if ports.is_empty() {
            ports.extend(rule.port);
        }
        for port in ports {
            found.entry(port).or_default().push(host.clone());
        }
    }
    found
}

/// The TCP ports that the protect policy of a server names.
pub(super) fn of_policy(snapshot: &Snapshot, server: &str) -> BTreeSet<u16> {
    let name = format!("protected-{server}-server");
    let is_its = |policy: &&Object| policy.name().rsplit('.').next() == Some(&name);
    let policies = snapshot.of(Kind::GlobalNetworkPolicy).filter(is_its);
    let rules = policies.filter_map(|policy| policy.spec("ingress")?.as_array());
    let tcp = |rule: &&Value| match rule.get("protocol") {
        Some(Value::String(name)) => name.eq_ignore_ascii_case("tcp"),
        Some(number) => number.as_u64() == Some(6),
        None => false,
    };
    let rules = rules.flatten().filter(tcp);
    let ports = rules.filter_map(|rule| rule.pointer("/destination/ports")?.as_array());
    ports.flatten().filter_map(number).collect()
}

/// What pods of Typha and the slices of its service say. Agents look Typha up in the slices, by
/// the name of the port.
pub(super) fn typha(snapshot: &Snapshot) -> Told {
    const PORT: &str = "calico-typha";
    let mut told = Told::new();
    for pod in snapshot.of(Kind::Pod) {
        let node = pod.spec_str("nodeName");
        let Some(node) = node.filter(|_| pod.label("k8s-app") == Some("calico-typha")) else {
            continue;
        };
        let containers = pod.spec("containers").and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            let set = variable(snapshot, pod, container, "TYPHA_SERVERPORT");
            let set = set.and_then(|set| set.value?.trim().parse().ok());
            let port = set.filter(|port| *port != 0).or_else(|| {
                let ports = container.get("ports")?.as_array()?.iter();
                let mut ports = ports.filter(|port| text(port, "name") == Some(PORT));
                number(ports.next()?.get("containerPort")?)
            });
            told.entry(node.to_owned()).or_default().extend(port);
        }
    }
    for slice in snapshot.of(Kind::EndpointSlice) {
        if slice.label("kubernetes.io/service-name") != Some("calico-typha") {
            continue;
        }
        let list = |key: &str| slice.value().get(key).and_then(Value::as_array);
        let ports = list("ports").into_iter().flatten();
        let mut ports = ports.filter(|port| text(port, "name") == Some(PORT));
        let port = ports.next().and_then(|port| number(port.get("port")?));
        for endpoint in list("endpoints").into_iter().flatten() {
            if let (Some(node), Some(port)) = (text(endpoint, "nodeName"), port) {
                told.entry(node.to_owned()).or_default().insert(port);
            }
        }
    }
    told
}

/// What kubelets say on their nodes.
pub(super) fn kubelet(snapshot: &Snapshot) -> Told {
    let nodes = snapshot.of(Kind::Node);
    let told = nodes.filter_map(|node| {
        let pointer = "/status/daemonEndpoints/kubeletEndpoint/Port";
        let port = number(node.value().pointer(pointer)?)?;
        Some((node.name().to_owned(), BTreeSet::from([port])))
    });
    told.filter(|(_, ports)| !ports.contains(&0)).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn number(port: &Value) -> Option<u16> {
    match port {
        Value::String(text) => text.parse().ok(),
        port => u16::try_from(port.as_u64()?).ok(),
    }
}
