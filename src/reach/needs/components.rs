//! Where Calico's and Kubernetes' own servers run, and what tells so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use crate::calico::{Kind, Object, Snapshot};

/// Nodes on which a component runs, each with the object that tells so.
pub type Nodes = BTreeMap<String, String>;

/// Everything that was found.
#[derive(Debug, Clone, Default)]
pub struct Components {
    /// kube-apiserver, with the port that it serves on.
    pub api_servers: BTreeMap<String, ApiServer>,
    /// etcd members that run as pods, or hosts that are protected as such.
    pub etcd: Nodes,
    /// Typha.
    pub typha: Nodes,
    /// Hosts that carry a server's protected label, by server.
    pub protected: BTreeMap<String, Nodes>,
    /// What tells that the nodes exchange routes by BGP in a full mesh.
    pub bgp: Option<String>,
}

/// An API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiServer {
    /// What tells that it is there.
    pub evidence: String,
    /// The port that it serves on.
    pub port: u16,
    /// The etcd endpoints that it is told to use: addresses and ports.
    pub etcd: Vec<(IpAddr, u16)>,
}

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
const API_PORT: u16 = 6443;

impl Components {
    /// Looks for them.
    #[must_use]
    pub fn find(snapshot: &Snapshot) -> Self {
        let mut found = Self::default();
        for pod in snapshot.of(Kind::Pod) {
            found.add_pod(pod);
        }
        found.add_protected(snapshot);
        found.add_slices(snapshot);
        found.add_control_plane(snapshot);
        found.bgp = bgp(snapshot);
        found
    }

    fn add_pod(&mut self, pod: &Object) {
        let at = |pointer: &str| pod.value().pointer(pointer);
        let (Some(node), Some(Value::Bool(true))) = (
            at("/spec/nodeName").and_then(Value::as_str),
            at("/spec/hostNetwork"),
        ) else {
            return;
        };
        if matches!(
            at("/status/phase").and_then(Value::as_str),
            Some("Succeeded" | "Failed")
        ) {
            return;
        }
        let evidence = format!("{} runs there", pod.id());
        if pod.label("k8s-app") == Some("calico-typha") {
            self.typha.insert(node.to_owned(), evidence);
        } else if pod.label("component") == Some("etcd") {
            self.etcd.insert(node.to_owned(), evidence);
        } else if pod.label("component") == Some("kube-apiserver") {
            let arguments = arguments(pod);
            let option = |name: &str| {
                let given = arguments.iter().rev();
                let mut given = given.filter_map(|a| a.strip_prefix(name)?.strip_prefix('='));
                given.next()
            };
            let server = ApiServer {
                evidence,
                port: option("--secure-port")
                    .and_then(|p| p.parse().ok())
                    .unwrap_or(API_PORT),
                etcd: option("--etcd-servers").map(endpoints).unwrap_or_default(),
            };
            self.api_servers.insert(node.to_owned(), server);
        }
    }

    /// Hosts that carry `protected-<server>-server`: whoever put it there says that the server
    /// runs on them.
    fn add_protected(&mut self, snapshot: &Snapshot) {
        for endpoint in snapshot.of(Kind::HostEndpoint) {
            let Some(node) = endpoint.spec_str("node") else {
                continue;
            };
            for (key, _) in endpoint.labels().filter(|(_, value)| *value == "true") {
                let server = key
                    .strip_prefix("protected-")
                    .and_then(|k| k.strip_suffix("-server"));
                if let Some(server) = server {
                    let evidence = format!("{} carries `{key}`", endpoint.id());
                    let nodes = self.protected.entry(server.to_owned()).or_default();
                    nodes.entry(node.to_owned()).or_insert(evidence);
                }
            }
        }
        for (server, nodes) in [("etcd", &mut self.etcd), ("typha", &mut self.typha)] {
            for (node, evidence) in self.protected.get(server).into_iter().flatten() {
                nodes
                    .entry(node.clone())
                    .or_insert_with(|| evidence.clone());
            }
        }
    }

    /// Typha's backends, where its pods are not at hand.
    fn add_slices(&mut self, snapshot: &Snapshot) {
        if !self.typha.is_empty() {
            return;
        }
        for slice in snapshot.of(Kind::EndpointSlice) {
            if slice.label("kubernetes.io/service-name") != Some("calico-typha") {
                continue;
            }
            let endpoints = slice.value().get("endpoints").and_then(Value::as_array);
            for endpoint in endpoints.into_iter().flatten() {
                if let Some(node) = endpoint.get("nodeName").and_then(Value::as_str) {
                    let evidence = format!("{} names it", slice.id());
                    self.typha.insert(node.to_owned(), evidence);
                }
            }
        }
    }

    /// Nodes with the control-plane role, where the API server's pods are not at hand.
    fn add_control_plane(&mut self, snapshot: &Snapshot) {
        if !self.api_servers.is_empty() {
            return;
        }
        for (name, host) in crate::calico::Host::all(snapshot) {
            if host.labels.contains_key(CONTROL_PLANE) {
                let server = ApiServer {
                    evidence: format!("Node/{name} carries `{CONTROL_PLANE}`"),
                    port: API_PORT,
                    etcd: Vec::new(),
                };
                self.api_servers.insert(name, server);
            }
        }
    }
}

fn arguments(pod: &Object) -> Vec<&str> {
    let containers = pod
        .value()
        .pointer("/spec/containers")
        .and_then(Value::as_array);
    let mut found = Vec::new();
    for container in containers.into_iter().flatten() {
        for field in ["command", "args"] {
            let list = container.get(field).and_then(Value::as_array);
            found.extend(list.into_iter().flatten().filter_map(Value::as_str));
        }
    }
    found
}

/// Addresses and ports of a list of URLs; names cannot be told and are left out.
fn endpoints(urls: &str) -> Vec<(IpAddr, u16)> {
    let read = |url: &str| {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = authority.split('/').next()?;
        let (host, port) = authority.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.parse().ok()?, port.parse().ok()?))
    };
    let all: BTreeSet<_> = urls.split(',').filter_map(read).collect();
    all.into_iter().collect()
}

/// What tells that nodes exchange routes by BGP in a full mesh.
fn bgp(snapshot: &Snapshot) -> Option<String> {
    let configuration = snapshot.global(Kind::BgpConfiguration, "default");
    let mesh = configuration.and_then(|c| c.spec("nodeToNodeMeshEnabled"));
    if mesh == Some(&Value::Bool(false)) {
        return None;
    }
    let backend = snapshot
        .of(Kind::ConfigMap)
        .find(|map| map.name() == "calico-config")
        .and_then(|map| map.value().pointer("/data/calico_backend")?.as_str());
    if matches!(backend, Some("vxlan" | "none")) {
        return None;
    }
    if let Some(configuration) = configuration {
        return Some(format!("{} leaves the mesh on", configuration.id()));
    }
    let information = snapshot.global(Kind::ClusterInformation, "default")?;
    let kinds = information.spec_str("clusterType").unwrap_or_default();
    kinds
        .split(',')
        .any(|kind| kind == "bgp")
        .then(|| format!("{} has the type bgp", information.id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_from_urls() {
        let read =
            endpoints("https://127.0.0.1:2379,https://[2001:db8::1]:2379,http://etcd.example:1");
        let shown: Vec<String> = read
            .iter()
            .map(|(ip, port)| format!("{ip} {port}"))
            .collect();
        assert_eq!(shown, ["127.0.0.1 2379", "2001:db8::1 2379"]);
    }
}
