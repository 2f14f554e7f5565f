//! What the product proves with less known is true.
//!
//! The naive evaluator knows a cluster's wires; the product is shown the objects of the datastore
//! and now and then a part of the wires. It may say that it cannot know. What it says is proven
//! must be so.

use std::fmt::Write as _;

use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::reach::topology::FelixOverrides;
use calicoctl_protect::reach::{Topology, Verdict, World};
use serde_json::{Map, Value, json};

use super::{engine, shrink};
use crate::generate::{Count, Rng};
use crate::naive::Naive;
use crate::naive::case::{Case, Node, Query};

/// Looks at the questions of a case; what is said to be proven and is wrong, if anything is.
pub fn check(case: &Case, rng: &mut Rng, count: &mut Count) -> Option<String> {
    let case = tellable(case)?;
    let seed = rng.next();
    let (naive, world) = (Naive::new(&case), shown(&case, seed));
    for query in &case.queries {
        let expected = naive.decide(query);
        let got = world.explain(&engine::connection(query));
        count.add(&got);
        if contradict(got.verdict, expected.verdict) {
            let asked = Case {
                queries: vec![query.clone()],
                ..case.clone()
            };
            return Some(told(&asked, seed));
        }
    }
    None
}

/// Whether the product claims to know what is not so.
fn wrong(case: &Case, seed: u64) -> bool {
    let [query] = case.queries.as_slice() else {
        return false;
    };
    let got = shown(case, seed)
        .explain(&engine::connection(query))
        .verdict;
    let truth = Naive::new(case).decide(query).verdict;
    contradict(got, truth)
}

fn contradict(claimed: Verdict, truth: Verdict) -> bool {
    claimed != Verdict::Unproven && truth != Verdict::Unproven && claimed != truth
}

/// The case without what objects do not tell and nobody doubts: NAT rules and the kernel's own
/// policies. Encapsulated workloads have pools that say so.
fn tellable(case: &Case) -> Option<Case> {
    let mut case = case.clone();
    let open = case.topology.nodes.iter().any(Node::has_unknown_route);
    if open || !case.topology.dnat.is_empty() {
        return None;
    }
    case.felix.remove("hostInputPolicy");
    case.felix.remove("hostForwardPolicy");
    // Which Nodes of Kubernetes there are is among what is not shown.
    for object in &mut case.resources {
        if let Some(spec) = object.pointer_mut("/spec/template/spec") {
            spec["nodeSelector"] = json!({});
        }
    }
    Some(case)
}

/// The product's model of a case, from objects and, as the seed says, a part of the wires.
fn shown(case: &Case, seed: u64) -> World {
    let mut rng = Rng::new(seed);
    let mut shown = case.clone();
    shown.resources.retain(|r| r["kind"] != "Node");
    for node in &case.topology.nodes {
        shown.resources.push(node_object(case, node, &mut rng));
    }
    pools(case, &mut shown.resources);
    settings(&case.felix, &mut shown.resources);
    let full = engine::topology(case);
    let mut topology = Topology {
        neighbours_are_set: full.neighbours_are_set,
        version: full.version,
        felix: FelixOverrides {
            proxy_mode: full.felix.proxy_mode.filter(|_| rng.chance(80)),
            ..FelixOverrides::default()
        },
        ..Topology::default()
    };
    for (name, wires) in full.nodes {
        if rng.chance(40) {
            topology.nodes.insert(name, wires);
        }
    }
    if rng.chance(30) {
        topology.encapsulation = full.encapsulation;
        topology.pools = full.pools;
    }
    if rng.chance(60) {
        topology.felix.endpoint_to_host = full.felix.endpoint_to_host;
        topology.felix.ipv6_support = full.felix.ipv6_support;
    }
    let snapshot: Snapshot = engine::snapshot(&shown);
    World::with_topology(&snapshot, &topology)
}

/// A node as Kubernetes shows it, with Calico's annotations.
fn node_object(case: &Case, node: &Node, rng: &mut Rng) -> Value {
    let mut annotations = Map::new();
    let own = node.addresses(node.default_interface());
    // All addresses but those of tunnels, which annotations tell, stand in the status.
    let wired = node
        .interfaces
        .iter()
        .filter(|(name, _)| name.as_str() == node.default_interface() || name.starts_with("eth"));
    let mut addresses: Vec<Value> = wired
        .flat_map(|(_, ips)| ips)
        .map(|ip| json!({"type": "InternalIP", "address": ip}))
        .collect();
    addresses.sort_by_key(|a| a["address"] != json!(own.first()));
    if let Some(ip) = own.iter().find(|ip| ip.is_ipv4())
        && rng.chance(60)
    {
        let text = json!(format!("{ip}/24"));
        annotations.insert("projectcalico.org/IPv4Address".into(), text);
    }
    for (device, annotation) in [
        ("tunl0", "projectcalico.org/IPv4IPIPTunnelAddr"),
        ("vxlan.calico", "projectcalico.org/IPv4VXLANTunnelAddr"),
        ("vxlan-v6.calico", "projectcalico.org/IPv6VXLANTunnelAddr"),
    ] {
        if let Some(ip) = node.addresses(device).first() {
            annotations.insert(annotation.into(), json!(ip));
        }
    }
    if rng.chance(40) {
        let all = node.interfaces.iter();
        let list: Vec<Value> = all
            .map(|(name, ips)| json!({"name": name, "addresses": ips}))
            .collect();
        let text = Value::Array(list).to_string();
        annotations.insert("projectcalico.org/Interfaces".into(), json!(text));
    }
    let known = case
        .resources
        .iter()
        .find(|r| r["kind"] == "Node" && r["metadata"]["name"] == node.name.as_str());
    let labels = known.map_or(Value::Null, |n| n["metadata"]["labels"].clone());
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node.name, "labels": labels, "annotations": annotations},
        "status": {"addresses": addresses}})
}

/// The pools behind encapsulation and source NAT.
fn pools(case: &Case, resources: &mut Vec<Value>) {
    let mode = case.topology.encapsulation.as_deref();
    let (vxlan, ipip) = match mode {
        Some("vxlan") => ("Always", "Never"),
        Some("ipip") => ("Never", "Always"),
        _ => ("Never", "Never"),
    };
    let mut known: Vec<(String, bool)> = case
        .topology
        .ip_pools
        .iter()
        .map(|p| (p.cidr.to_string(), p.nat_outgoing))
        .collect();
    if known.is_empty() && mode.is_some_and(|m| m != "none") {
        known = vec![
            ("10.65.0.0/16".into(), false),
            ("fd00:65::/32".into(), false),
        ];
    }
    for (number, (cidr, nat)) in known.into_iter().enumerate() {
        let ipip = if cidr.contains(':') { "Never" } else { ipip };
        resources.push(
            json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool",
            "metadata": {"name": format!("pool-{number}")},
            "spec": {"cidr": cidr, "natOutgoing": nat, "vxlanMode": vxlan, "ipipMode": ipip}}),
        );
    }
}

/// Felix's settings as the object that holds them.
fn settings(felix: &Map<String, Value>, resources: &mut Vec<Value>) {
    let default =
        |r: &Value| r["kind"] == "FelixConfiguration" && r["metadata"]["name"] == "default";
    if !resources.iter().any(default) {
        resources.push(
            json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
            "metadata": {"name": "default"}, "spec": {}}),
        );
    }
    let Some(object) = resources.iter_mut().find(|r| default(r)) else {
        return;
    };
    for field in ["defaultEndpointToHostAction", "ipv6Support", "bpfEnabled"] {
        if let Some(value) = felix.get(field) {
            object["spec"][field] = value.clone();
        }
    }
}

fn told(case: &Case, seed: u64) -> String {
    let small = shrink::shrink(case, |c| wrong(c, seed));
    let mut text = small.to_yaml();
    let query: &Query = &small.queries[0];
    let naive = Naive::new(&small).decide(query);
    let got = shown(&small, seed).explain(&engine::connection(query));
    for (who, decision) in [("with all known", naive), ("claimed", got)] {
        let steps: Vec<String> = decision.steps.iter().map(ToString::to_string).collect();
        let steps = steps.join("\n#   ");
        write!(text, "# {who}: {decision}\n#   {steps}\n").expect("texts take texts");
    }
    text
}
