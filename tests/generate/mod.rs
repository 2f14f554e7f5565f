//! Random clusters: small, and nasty on purpose. One seed always gives the same cluster.

mod cluster_policies;
mod count;
mod policies;
mod queries;
mod rng;
mod settings;
mod things;
mod words;

use std::net::IpAddr;

use calicoctl_protect::calico::Version;
use serde_json::{Map, Value, json};

use crate::naive::case::{Case, Wires};
pub use count::Count;
pub use rng::Rng;

/// A cluster in the making.
pub struct Cluster<'a> {
    rng: &'a mut Rng,
    /// Whether objects may be such that Felix refuses them.
    flaws: bool,
    version: Version,
    wires: Wires,
    felix: Map<String, Value>,
    resources: Vec<Value>,
    /// Everything with an address.
    addresses: Vec<IpAddr>,
    /// Workloads as `namespace/name`, with their addresses.
    pods: Vec<(String, Vec<IpAddr>)>,
    /// Services as namespace and name.
    services: Vec<(String, String)>,
}

/// The cluster of a seed, with some questions.
pub fn case(seed: u64) -> Case {
    let mut rng = Rng::new(seed);
    let flaws = rng.chance(25);
    let version = *rng.pick(&[
        "v3.33.0", "v3.33.0", "v3.33.0", "v3.32.1", "v3.31.2", "v3.30.4", "v3.29.5", "v3.28.2",
        "v3.24.1",
    ]);
    let datastore = rng
        .chance(25)
        .then(|| rng.pick(&["native-v3", "crd-v1", "etcd"]).to_string());
    let mut cluster = Cluster {
        rng: &mut rng,
        flaws,
        version: version.parse().expect("a version"),
        wires: Wires::default(),
        felix: Map::new(),
        resources: Vec::new(),
        addresses: Vec::new(),
        pods: Vec::new(),
        services: Vec::new(),
    };
    cluster.nodes();
    cluster.namespaces();
    cluster.workloads();
    cluster.services();
    cluster.profiles();
    cluster.host_endpoints();
    cluster.network_sets();
    cluster.tiers_and_policies();
    cluster.settings();
    cluster.nat();
    if cluster.rng.chance(15) {
        cluster.wires.neighbours = Some("discovered".to_owned());
    }
    let queries = cluster.queries();
    cluster.routes(&queries);
    Case {
        name: format!("seed-{seed}"),
        title: String::new(),
        version: Some(version.to_owned()),
        datastore,
        felix: cluster.felix,
        topology: cluster.wires,
        resources: cluster.resources,
        queries,
    }
}

impl Cluster<'_> {
    /// True in so many of a hundred cases, in clusters that may have flaws.
    fn flawed(&mut self, percent: usize) -> bool {
        self.flaws && self.rng.chance(percent * 4)
    }

    /// Adds a global object of Calico's.
    fn add(&mut self, kind: &str, name: &str, spec: Value) -> &mut Value {
        self.resources.push(json!({
            "apiVersion": "projectcalico.org/v3", "kind": kind,
            "metadata": {"name": name}, "spec": spec,
        }));
        self.resources.last_mut().expect("it was just added")
    }

    /// Adds an object of a namespace.
    fn add_in(&mut self, kind: &str, namespace: &str, name: &str, spec: Value) -> &mut Value {
        let object = self.add(kind, name, spec);
        object["metadata"]["namespace"] = json!(namespace);
        object
    }
}
