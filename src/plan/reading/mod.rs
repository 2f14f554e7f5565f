//! What has to be read so that an answer is exact.
//!
//! Everything that decides about hosts is read whole. Pods are too many for that, and most of them
//! decide nothing: a server's host sees a pod as an address like any other, unless a rule selects
//! it. [`Question::parts`] names the objects that count, from what has been read already: first
//! without any pod, then with those that it named, until there is nothing more to name.
//!
//! Pods that count, and why:
//!
//! * those that carry a label of the recipe, or that the command line chooses;
//! * those that run Typha, etcd or the API server: where they are tells which flows are needed;
//! * backends of webhooks and of aggregated APIs: the API server must reach them;
//! * those that a rule selects which hosts may ask about a client;
//! * those with a `hostPort`, by the template of their controller, and all that nobody known
//!   controls: their host forwards packets to them.
//!
//! All pods are read where each of them counts: for a server that runs in pods, where a rule
//! selects clients by what is no label of theirs, and, to tell by name who is shut out, where pods
//! speak to hosts by addresses of their own (a pool without `natOutgoing`, or no pools at all). One
//! connection needs fewer ([`Ends`]): its ends, and what services lead it to, unless an address may
//! be any pod's.
//!
//! Three things are taken for granted: that pods with the labels of Kubernetes' controllers were
//! made by them, so that their `hostPort`s are in templates; that a server of which nothing is there
//! but a client label on pods, in no template, is none; and that no pod has a network of its own and
//! a node's address.

mod ends;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::calico::endpoint::pod_label_path;
use crate::calico::names::ServerName;
use crate::calico::policy::{EntityRule, PolicyType, policy_spec};
use crate::calico::{Kind, Object, Snapshot};
use crate::reach::needs::asked_services;
use crate::recipe::policies::servers_here;
use crate::recipe::workloads::{WorkloadChoice, pod_labels};
use crate::selector::{Expr, Selector};
use crate::store::{Further, Part, Wanted};

pub use ends::Ends;

/// What a command is about, as far as it decides what has to be read.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Pods that the command line chooses.
    pub workloads: Vec<WorkloadChoice>,
    /// Servers that it names.
    pub servers: Vec<ServerName>,
    /// Whether clients can lose access, so that they are to be told by name.
    pub shuts_out: bool,
    /// Whether any pod may be meant.
    pub any_pod: bool,
    /// The one connection that it is about.
    pub ends: Option<Ends>,
}

/// More namespaces than this are not asked for one by one.
const MOST_NAMESPACES: usize = 32;

/// More parts of a kind than this cost more than the whole.
const MOST_PARTS: usize = 100;

/// Namespaces of Calico's own workloads and of kube-proxy: their ConfigMaps are settings.
const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "calico-system"];

/// Labels that the controllers of Kubernetes put on the pods they make.
const OF_CONTROLLERS: [&str; 4] = [
    "pod-template-hash",
    "controller-revision-hash",
    "job-name",
    "batch.kubernetes.io/job-name",
];

/// The label of an EndpointSlice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl Question {
    /// How a server stands, or all of them.
    #[must_use]
    pub fn of(server: Option<&ServerName>) -> Self {
        Self {
            servers: server.into_iter().cloned().collect(),
            ..Self::default()
        }
    }

    /// Who can reach whom, whoever that is.
    #[must_use]
    pub fn of_anybody() -> Self {
        Self {
            any_pod: true,
            ..Self::default()
        }
    }

    /// What decides about one connection.
    #[must_use]
    pub fn of_connection(ends: Ends) -> Self {
        Self {
            ends: Some(ends),
            ..Self::default()
        }
    }

    /// The question as a store takes it.
    #[must_use]
    pub fn wanted(self) -> Wanted {
        let in_parts = [
            Kind::Pod,
            Kind::ReplicaSet,
            Kind::ConfigMap,
            Kind::EndpointSlice,
        ];
        let whole = Kind::ALL.iter().copied();
        Wanted {
            kinds: whole.filter(|kind| !in_parts.contains(kind)).collect(),
            further: Some(std::sync::Arc::new(self)),
            ..Wanted::default()
        }
    }

    /// Objects that count, from what has been read so far.
    #[must_use]
    pub fn parts(&self, read: &Snapshot) -> BTreeSet<Part> {
        let mut parts = BTreeSet::new();
        config_maps(read, &mut parts);
        self.replica_sets(&mut parts);
        let services = self.services(read, &mut parts);
        if let Some(ends) = &self.ends {
            ends.parts(read, &mut parts);
        }
        if self.any_pod || self.ends.is_none() && self.all_count(read) {
            parts.insert(Part::whole(Kind::Pod));
        } else {
            self.pods(read, &services, &mut parts);
        }
        for kind in [Kind::Pod, Kind::EndpointSlice, Kind::ReplicaSet] {
            let of_kind = parts.iter().filter(|part| part.kind == kind);
            let whole = Part::whole(kind);
            if parts.contains(&whole) || of_kind.count() > MOST_PARTS {
                parts.retain(|part| part.kind != kind);
                parts.insert(whole);
            }
        }
        parts
    }

    /// Pods that count where not all do.
    fn pods(
        &self,
        read: &Snapshot,
        services: &BTreeSet<(String, String)>,
        parts: &mut BTreeSet<Part>,
    ) {
        let mut servers = servers_here(read);
        servers.extend(self.servers.iter().cloned());
        for server in &servers {
            for label in [server.protected_label(), server.allowed_label()] {
                parts.extend(Selector::has(&label).ok().map(Part::pods));
            }
        }
        for choice in &self.workloads {
            parts.insert(Part {
                namespace: Some(choice.namespace.clone()),
                ..Part::pods(choice.selector.clone())
            });
        }
        parts.extend(components().map(Part::pods));
        backends(read, services, parts);
        if self.ends.is_none() {
            clients(read, parts);
        }
        forwarded(read, parts);
    }

    /// Whether every pod counts.
    fn all_count(&self, read: &Snapshot) -> bool {
        let mut pools = read.of(Kind::IpPool).peekable();
        let hides = |pool: &Object| pool.spec("natOutgoing") == Some(&Value::Bool(true));
        let seen = pools.peek().is_none() || !pools.all(hides);
        self.shuts_out && seen || runs_in_pods(read, &self.servers)
    }

    /// ReplicaSets that no Deployment made, and all where pods are chosen: pods of a Deployment
    /// tell its name by theirs.
    fn replica_sets(&self, parts: &mut BTreeSet<Part>) {
        let part = |namespace: Option<String>, selector| Part {
            kind: Kind::ReplicaSet,
            namespace,
            selector,
        };
        let made = Selector::has("pod-template-hash").ok();
        parts.insert(part(None, made.map(Selector::not)));
        for choice in &self.workloads {
            parts.insert(part(Some(choice.namespace.clone()), None));
        }
    }

    /// Backends of services that hosts may be asked for, and which of them API servers ask.
    fn services(&self, read: &Snapshot, parts: &mut BTreeSet<Part>) -> BTreeSet<(String, String)> {
        if self.any_pod {
            parts.insert(Part::whole(Kind::EndpointSlice));
            return BTreeSet::new();
        }
        let asked = asked_services(read);
        let mut wanted = asked.clone();
        wanted.insert(("default".to_owned(), "kubernetes".to_owned()));
        for service in read.of(Kind::Service) {
            let outside = matches!(service.spec_str("type"), Some("NodePort" | "LoadBalancer"))
                || service.spec_strs("externalIPs").next().is_some();
            if outside && let Some(namespace) = &service.id().namespace {
                wanted.insert((namespace.clone(), service.name().to_owned()));
            }
        }
        for side in sides(read, false) {
            if let Some(service) = side.services
                && let Some(namespace) = service.namespace
            {
                wanted.insert((namespace, service.name));
            }
        }
        for (namespace, name) in wanted {
            parts.insert(Part {
                kind: Kind::EndpointSlice,
                namespace: Some(namespace),
                selector: Selector::equals(SERVICE_NAME, &name).ok(),
            });
        }
        asked
    }
}

impl Further for Question {
    fn parts(&self, read: &Snapshot) -> BTreeSet<Part> {
        Self::parts(self, read)
    }
}

/// ConfigMaps that workloads of Calico and kube-proxy take settings from.
fn config_maps(read: &Snapshot, parts: &mut BTreeSet<Part>) {
    let felix = read.of(Kind::DaemonSet).filter(|set| {
        let containers = set.value().pointer("/spec/template/spec/containers");
        let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
        containers.any(|c| c.get("name").and_then(Value::as_str) == Some("calico-node"))
    });
    let felix = felix.filter_map(|set| set.id().namespace.clone());
    let system = SYSTEM_NAMESPACES.map(str::to_owned);
    parts.extend(felix.chain(system).map(|namespace| Part {
        kind: Kind::ConfigMap,
        namespace: Some(namespace),
        selector: None,
    }));
}

/// Whether a server runs in pods: one that carries its label, or a template that does.
fn runs_in_pods(read: &Snapshot, more: &[ServerName]) -> bool {
    let mut servers = servers_here(read);
    servers.extend(more.iter().cloned());
    let labels: Vec<String> = servers.iter().map(ServerName::protected_label).collect();
    let mut objects = read.all().map(|stored| &stored.object);
    objects.any(|object| {
        let path = pod_label_path(object.id().kind);
        let found = path.map(|path| pod_labels(object, &path));
        found.is_some_and(|found| labels.iter().any(|label| found.contains_key(label)))
    })
}

/// Pods that tell where Kubernetes' and Calico's own servers run.
fn components() -> impl Iterator<Item = Selector> {
    let typha = Selector::equals("k8s-app", "calico-typha");
    let static_pods = ["etcd", "kube-apiserver"].map(|c| Selector::equals("component", c));
    [typha].into_iter().chain(static_pods).flatten()
}

/// The pods behind services: those that the service selects, or all of its namespace when it
/// selects none and somebody else says which they are.
fn backends(read: &Snapshot, services: &BTreeSet<(String, String)>, parts: &mut BTreeSet<Part>) {
    for service in read.of(Kind::Service) {
        let namespace = service.id().namespace.clone().unwrap_or_default();
        if !services.contains(&(namespace.clone(), service.name().to_owned())) {
            continue;
        }
        parts.insert(Part {
            kind: Kind::Pod,
            namespace: Some(namespace),
            selector: service.spec("selector").and_then(labelled),
        });
    }
}

/// Pods that are clients in the eyes of a rule for hosts.
fn clients(read: &Snapshot, parts: &mut BTreeSet<Part>) {
    for side in sides(read, true) {
        let Some(namespaces) = namespaces(read, side.namespace_selector.as_deref()) else {
            continue;
        };
        let texts = [&side.selector, &side.not_selector];
        let mut selectors: Vec<Selector> = texts
            .into_iter()
            .flatten()
            .filter_map(|text| Selector::parse(text).ok())
            .collect();
        if selectors.is_empty() {
            let by_account = side.service_accounts.is_some();
            let by_namespace = side.namespace_selector.is_some();
            // Nets, ports and services say nothing of labels.
            if !by_account && !by_namespace {
                continue;
            }
            selectors.push(Selector::all());
        }
        for selector in selectors {
            let own = own_namespaces(selector.as_expr());
            let inside: Vec<Option<String>> = match (&own, &namespaces) {
                (Some(own), _) => own.iter().cloned().map(Some).collect(),
                (None, found) if found.len() <= MOST_NAMESPACES => found.clone(),
                (None, _) => vec![None],
            };
            parts.extend(inside.into_iter().map(|namespace| Part {
                namespace,
                ..Part::pods(selector.clone())
            }));
        }
    }
}

/// The sides of rules that hosts may ask about somebody else: sources of what comes in and, where
/// connections are not tracked, the destinations of replies. With `clients` false all sides.
fn sides(read: &Snapshot, clients: bool) -> Vec<EntityRule> {
    let mut sides = Vec::new();
    let no_track = |policy: &Object| policy.spec("doNotTrack") == Some(&Value::Bool(true));
    let replies = read.of(Kind::GlobalNetworkPolicy).any(no_track);
    for policy in read.of(Kind::GlobalNetworkPolicy) {
        // What does not parse Felix leaves out as well.
        let Ok(spec) = policy_spec(policy) else {
            continue;
        };
        let of_namespaces = spec.namespace_selector.as_deref().unwrap_or_default();
        let of_accounts = spec.service_account_selector.as_deref().unwrap_or_default();
        let for_hosts =
            matches!(of_namespaces.trim(), "" | "global()") && of_accounts.trim().is_empty();
        if clients && !for_hosts {
            continue;
        }
        for rule in spec.rules(PolicyType::Ingress) {
            sides.push(rule.source.clone());
            sides.extend((!clients).then(|| rule.destination.clone()));
        }
        for rule in spec.rules(PolicyType::Egress) {
            let asked = !clients || replies;
            sides.extend(asked.then(|| rule.destination.clone()));
            sides.extend((!clients).then(|| rule.source.clone()));
        }
    }
    sides
}

/// The namespaces that a rule's selector means; `[None]` for all of them, and `None` where it
/// means no pod at all.
fn namespaces(read: &Snapshot, selector: Option<&str>) -> Option<Vec<Option<String>>> {
    let Some(selector) = selector.filter(|text| !text.trim().is_empty()) else {
        return Some(vec![None]);
    };
    let selector = Selector::parse(selector).ok()?;
    match selector.as_expr() {
        Expr::Global => return None,
        Expr::All => return Some(vec![None]),
        _ => {}
    }
    let matching = read.of(Kind::Namespace).filter(|namespace| {
        let own = namespace
            .labels()
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let mut labels: BTreeMap<String, String> = own.collect();
        labels.insert("projectcalico.org/name".into(), namespace.name().to_owned());
        selector.matches(&labels)
    });
    Some(matching.map(|n| Some(n.name().to_owned())).collect())
}

/// The namespaces that a selector confines itself to by the label that Calico adds.
fn own_namespaces(expr: &Expr) -> Option<Vec<String>> {
    const NAMESPACE: &str = "projectcalico.org/namespace";
    match expr {
        Expr::Eq(label, value) if label.as_str() == NAMESPACE => Some(vec![value.to_string()]),
        Expr::In(label, values) if label.as_str() == NAMESPACE => {
            Some(values.iter().map(ToString::to_string).collect())
        }
        Expr::And(members) => members.iter().find_map(own_namespaces),
        _ => None,
    }
}

/// Pods that their host forwards packets to.
fn forwarded(read: &Snapshot, parts: &mut BTreeSet<Part>) {
    let unmade = OF_CONTROLLERS
        .into_iter()
        .filter_map(|label| Selector::has(label).ok());
    let unmade = unmade.map(Selector::not).reduce(Selector::and);
    parts.extend(unmade.map(Part::pods));
    let kinds = [
        Kind::Deployment,
        Kind::DaemonSet,
        Kind::StatefulSet,
        Kind::ReplicaSet,
        Kind::Job,
    ];
    for controller in kinds.into_iter().flat_map(|kind| read.of(kind)) {
        let pod = controller.value().pointer("/spec/template/spec");
        if pod.is_some_and(has_host_port) {
            let labels = controller.value().pointer("/spec/selector/matchLabels");
            parts.insert(Part {
                kind: Kind::Pod,
                namespace: controller.id().namespace.clone(),
                selector: labels.and_then(labelled),
            });
        }
    }
}

fn has_host_port(pod: &Value) -> bool {
    if pod.get("hostNetwork") == Some(&Value::Bool(true)) {
        return false;
    }
    let containers = ["containers", "initContainers"].map(|field| pod.get(field));
    let containers = containers.into_iter().flatten().filter_map(Value::as_array);
    let mut ports = containers
        .flatten()
        .filter_map(|c| c.get("ports")?.as_array());
    ports.any(|ports| ports.iter().any(|port| port.get("hostPort").is_some()))
}

/// The selector of a map of labels; `None` for an empty one.
fn labelled(map: &Value) -> Option<Selector> {
    let labels = map.as_object()?.iter();
    let terms = labels.filter_map(|(k, v)| Selector::equals(k, v.as_str()?).ok());
    terms.reduce(Selector::and)
}
