//! API servers that agents are told of, beside those whose pods are at hand.

use std::collections::BTreeSet;

use serde_json::Value;

use super::API;
use super::components::{API_PORT, ApiServer, Components, of_calico_node};
use super::family::{Evidence, Family, Servers, to_target};
use super::sites::{Authority, Site, Sites, Target, backends};
use crate::calico::{Kind, ObjectId, ServerPort, Snapshot};

/// What API servers are called in ids of which nothing tells where they are.
const API_SERVER: &str = "kube-apiserver";

/// Where API servers are, by what tells so.
pub type Told = Vec<(Target, String)>;

/// API servers that the cluster's own service leads to: they put themselves there.
pub fn published(snapshot: &Snapshot, sites: &Sites<'_>, into: &mut Components) {
    let evidence = "EndpointSlices of Service/default/kubernetes name it";
    for backend in backends(snapshot, "default", "kubernetes") {
        let target = Target {
            site: Site::Address(backend.address),
            port: backend.port,
        };
        into.api_told.push((target, evidence.to_owned()));
    }
    // Those that run on hosts of the cluster ask kubelets, webhooks and the like from there.
    let without_pods = into.api_servers.is_empty();
    for (target, evidence) in into.api_told.iter().filter(|_| without_pods) {
        if let Some(host) = sites.host_of(&target.site) {
            let server = ApiServer {
                evidence: evidence.clone(),
                port: target.port,
                etcd: Vec::new(),
            };
            into.api_servers.entry(host.to_owned()).or_insert(server);
        }
    }
}

/// Where agents and kubelets are told that an API server is.
pub fn told(snapshot: &Snapshot, sites: &Sites<'_>) -> Told {
    let mut told: Vec<(Authority, String)> = Vec::new();
    if let Some((workload, host)) = of_calico_node(snapshot, "KUBERNETES_SERVICE_HOST") {
        let port = of_calico_node(snapshot, "KUBERNETES_SERVICE_PORT");
        if let Some(mut url) = Authority::read(&host) {
            url.port = port.and_then(|(_, port)| port.parse().ok()).or(Some(443));
            told.push((url, format!("{workload} sets KUBERNETES_SERVICE_HOST")));
        }
    }
    // What kubeadm has given to kube-proxy and to kubelets.
    let maps = [
        (
            "kube-proxy",
            "kubeconfig.conf",
            "/clusters/0/cluster/server",
        ),
        (
            "kubeadm-config",
            "ClusterConfiguration",
            "/controlPlaneEndpoint",
        ),
    ];
    for (name, key, pointer) in maps {
        let id = ObjectId::namespaced(Kind::ConfigMap, "kube-system", name);
        let text = snapshot
            .get(&id)
            .and_then(|map| map.value().get("data")?.get(key)?.as_str());
        let value: Option<Value> = text.and_then(|text| serde_yaml::from_str(text).ok());
        let url = value.as_ref().and_then(|value| value.pointer(pointer));
        if let Some(url) = url.and_then(Value::as_str).and_then(Authority::read) {
            told.push((url, format!("{id} names it")));
        }
    }
    let all = told.into_iter().flat_map(|(url, evidence)| {
        let targets = sites.target(&url, API_PORT, None);
        targets.into_iter().map(move |t| (t, evidence.clone()))
    });
    // An agent that dials loopback finds what balances its connections there.
    let is_here = |target: &Target| matches!(target.site, Site::Address(ip) if ip.is_loopback());
    all.filter(|(target, _)| !is_here(target)).collect()
}

/// Adds the flows of agents to API servers that are told of.
pub fn agents(
    snapshot: &Snapshot,
    sites: &Sites<'_>,
    components: &Components,
    nodes: &[String],
    found: &mut Vec<Family>,
) {
    let known = &components.api_servers;
    let may_be: Vec<String> = if known.is_empty() {
        nodes.to_vec()
    } else {
        known.keys().cloned().collect()
    };
    let mut seen: BTreeSet<&Target> = BTreeSet::new();
    for (target, evidence) in &components.api_told {
        let host = sites.host_of(&target.site);
        let is_pod = |host: &str| known.get(host).is_some_and(|api| api.port == target.port);
        if host.is_some_and(is_pod) || !seen.insert(target) {
            continue;
        }
        found.push(Family {
            rule: API,
            evidence: Evidence::All(evidence.clone()),
            port: ServerPort::tcp(target.port),
            clients: nodes.to_vec(),
            servers: to_target(target, API_PORT, &may_be),
        });
    }
    let has_kubernetes = snapshot.of(Kind::Node).next().is_some();
    if known.is_empty() && components.api_told.is_empty() && has_kubernetes {
        found.push(Family {
            rule: API,
            evidence: Evidence::All("nothing here tells where API servers are".to_owned()),
            port: ServerPort::tcp(API_PORT),
            clients: nodes.to_vec(),
            servers: Servers::Somewhere {
                name: API_SERVER.to_owned(),
                hosts: nodes.to_vec(),
            },
        });
    }
}
