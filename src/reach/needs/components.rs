//! Where Calico's and Kubernetes' own servers run, and what tells so.

use std::collections::BTreeMap;

use serde_json::Value;

use super::api;
use super::etcd::CLIENTS;
use super::sites::{Sites, Target};
use crate::calico::felix::variable;
use crate::calico::{Kind, Object, Snapshot};

/// Nodes on which a component runs, each with the object that tells so.
pub type Nodes = BTreeMap<String, String>;

/// Everything that was found.
#[derive(Debug, Clone, Default)]
pub struct Components {
    /// kube-apiserver, with the port that it serves on.
    pub api_servers: BTreeMap<String, ApiServer>,
    /// API servers that agents are told of, and what tells them.
    pub api_told: api::Told,
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
    /// The etcd servers that it is told to use.
    pub etcd: Vec<Target>,
}

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// The port that API servers serve on, where nothing says otherwise.
pub const API_PORT: u16 = 6443;

impl Components {
    /// Looks for them.
    #[must_use]
    pub fn find(snapshot: &Snapshot) -> Self {
        Self::with_sites(snapshot, &Sites::of(snapshot))
    }

    /// Looks for them, where names are read already.
    #[must_use]
    pub fn with_sites(snapshot: &Snapshot, sites: &Sites<'_>) -> Self {
        let mut found = Self::default();
        for pod in snapshot.of(Kind::Pod) {
            found.add_pod(pod, sites);
        }
        found.add_protected(snapshot);
        found.add_slices(snapshot);
        api::published(snapshot, sites, &mut found);
        found.add_control_plane(snapshot);
        found.api_told.extend(api::told(snapshot, sites));
        found.bgp = bgp(snapshot);
        found
    }

    fn add_pod(&mut self, pod: &Object, sites: &Sites<'_>) {
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
            let options = Options::of(pod);
            let etcd = |urls: &str| sites.targets(urls, CLIENTS, Some(pod.value()));
            let mut servers = options.last("--etcd-servers").map(etcd).unwrap_or_default();
            // Of single resources: `RESOURCE#SERVERS`, with `;` between servers.
            let overrides = options.last("--etcd-servers-overrides").unwrap_or_default();
            let overrides = overrides.split(',').filter_map(|o| o.split_once('#'));
            for target in overrides.flat_map(|(_, urls)| etcd(urls)) {
                if !servers.contains(&target) {
                    servers.push(target);
                }
            }
            let server = ApiServer {
                evidence,
                port: options
                    .last("--secure-port")
                    .and_then(|p| p.parse().ok())
                    .unwrap_or(API_PORT),
                etcd: servers,
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
        if !self.api_servers.is_empty() || !self.api_told.is_empty() {
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

/// The command line of a pod's containers, word by word.
struct Options(Vec<String>);

impl Options {
    fn of(pod: &Object) -> Self {
        let containers = pod
            .value()
            .pointer("/spec/containers")
            .and_then(Value::as_array);
        let mut words = Vec::new();
        for container in containers.into_iter().flatten() {
            for field in ["command", "args"] {
                let list = container.get(field).and_then(Value::as_array);
                let list = list.into_iter().flatten().filter_map(Value::as_str);
                // A shell's command line is one argument.
                words.extend(list.flat_map(str::split_whitespace).map(str::to_owned));
            }
        }
        Self(words)
    }

    /// The value of an option: of several the last counts, and it may be a word of its own.
    fn last(&self, name: &str) -> Option<&str> {
        let mut value = None;
        let mut words = self.0.iter();
        while let Some(word) = words.next() {
            let (option, given) = match word.split_once('=') {
                Some((option, given)) => (option, Some(given)),
                None => (word.as_str(), None),
            };
            if option.replace('_', "-") == name {
                value = given.or_else(|| words.next().map(String::as_str));
            }
        }
        value
    }
}

/// A variable of calico-node's environment, and the workload that sets it.
pub fn of_calico_node(snapshot: &Snapshot, name: &str) -> Option<(String, String)> {
    let mut found = snapshot.of(Kind::DaemonSet).filter_map(|set| {
        let containers = set.value().pointer("/spec/template/spec/containers")?;
        let mut containers = containers.as_array()?.iter();
        let container =
            containers.find(|c| c.get("name").and_then(Value::as_str) == Some("calico-node"))?;
        let value = variable(snapshot, set, container, name)?.value?;
        Some((set.id().to_string(), value))
    });
    found.find(|(_, value)| !value.is_empty())
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
    fn an_option_is_read_in_every_way_to_write_it() {
        let words = |line: &str| Options(line.split(' ').map(str::to_owned).collect());
        let read = |line: &str| words(line).last("--etcd-servers").map(str::to_owned);
        assert_eq!(read("x --etcd-servers=a=b --v 1").as_deref(), Some("a=b"));
        assert_eq!(
            read("--etcd-servers a --etcd-servers b").as_deref(),
            Some("b")
        );
        assert_eq!(read("--etcd_servers a").as_deref(), Some("a"));
        assert_eq!(read("--etcd-servers-overrides=a --other b"), None);
        assert_eq!(read("x --etcd-servers"), None);
    }
}
