//! Cluster-wide policies of Kubernetes (AdminNetworkPolicy and its successors) as policies of
//! Calico's, after libcalico-go's `conversion.go` and `clusternetworkpolicy.go`.

use calicoctl_protect::calico::{Kind, Version};
use serde_json::{Value, json};

use super::json::{at, list, text, texts};
use super::objects::is_kubernetes;
use super::rules::kubernetes_selector;

/// The kind of such a policy, where Calico of a version looks at it.
pub fn kind(resource: &Value, version: Version) -> Option<Kind> {
    let minor = |n| Version::new(3, n, 0);
    let kinds = [
        (Kind::AdminNetworkPolicy, 29, 31),
        (Kind::BaselineAdminNetworkPolicy, 30, 31),
        (Kind::ClusterNetworkPolicy, 32, 999),
    ];
    let (kind, first, last) = kinds
        .into_iter()
        .find(|(kind, ..)| is_kubernetes(resource, kind.name()))?;
    (version >= minor(first) && version < minor(last + 1)).then_some(kind)
}

/// Tiers that come with them: name and order. They pass on.
pub fn tiers(version: Version) -> Vec<(&'static str, f64)> {
    if version >= Version::new(3, 32, 0) {
        return vec![("kube-admin", 1e3), ("kube-baseline", 1e7)];
    }
    let mut tiers = Vec::new();
    if version >= Version::new(3, 29, 0) {
        tiers.push(("adminnetworkpolicy", 1e3));
    }
    if version >= Version::new(3, 30, 0) {
        tiers.push(("baselineadminnetworkpolicy", 1e7));
    }
    tiers
}

/// The spec of the global policy that Calico makes of one, if it makes any.
pub fn spec(kind: Kind, spec: &Value) -> Option<Value> {
    let (tier, order) = match (kind, text(spec, "/tier")) {
        (Kind::AdminNetworkPolicy, _) => ("adminnetworkpolicy", at(spec, "/priority").clone()),
        (Kind::BaselineAdminNetworkPolicy, _) => ("baselineadminnetworkpolicy", json!(1000)),
        (_, "Admin") => ("kube-admin", at(spec, "/priority").clone()),
        (_, "Baseline") => ("kube-baseline", at(spec, "/priority").clone()),
        _ => return None,
    };
    let subject = at(spec, "/subject");
    let (selector, namespaces) = if at(subject, "/namespaces").is_object() {
        let all = "projectcalico.org/orchestrator == 'k8s'".to_owned();
        (all, of_namespaces(at(subject, "/namespaces")))
    } else if at(subject, "/pods").is_object() {
        of_pods(at(subject, "/pods"))
    } else {
        return None;
    };
    let ingress = rules(kind, list(spec, "/ingress"), "/from");
    let egress = rules(kind, list(spec, "/egress"), "/to");
    let mut types = Vec::new();
    if !ingress.is_empty() {
        types.push("Ingress");
    }
    if !egress.is_empty() {
        types.push("Egress");
    }
    // Without rules it covers nothing.
    if types.is_empty() {
        return None;
    }
    Some(
        json!({"tier": tier, "order": order, "selector": selector, "namespaceSelector": namespaces,
        "types": types, "ingress": ingress, "egress": egress}),
    )
}

fn of_namespaces(selector: &Value) -> String {
    match kubernetes_selector(selector).join(" && ").as_str() {
        "" => "all()".to_owned(),
        text => text.to_owned(),
    }
}

fn of_pods(pods: &Value) -> (String, String) {
    let mut parts = vec!["projectcalico.org/orchestrator == 'k8s'".to_owned()];
    parts.extend(kubernetes_selector(at(pods, "/podSelector")));
    (
        parts.join(" && "),
        of_namespaces(at(pods, "/namespaceSelector")),
    )
}

fn rules(kind: Kind, rules: &[Value], peers: &str) -> Vec<Value> {
    let mut made = Vec::new();
    for rule in rules {
        let action = match (kind, text(rule, "/action")) {
            (Kind::ClusterNetworkPolicy, "Accept") => "Allow",
            (Kind::ClusterNetworkPolicy, "Allow") => continue,
            (_, "Allow") => "Allow",
            (Kind::BaselineAdminNetworkPolicy, "Pass") => continue,
            (_, "Pass") => "Pass",
            (_, "Deny") => "Deny",
            _ => continue,
        };
        match converted(kind, rule, peers, action) {
            Some(rules) => made.extend(rules),
            // A rule that cannot be converted fails closed.
            None if action != "Allow" => made.push(json!({"action": "Deny"})),
            None => {}
        }
    }
    made
}

fn converted(kind: Kind, rule: &Value, peers: &str, action: &str) -> Option<Vec<Value>> {
    let mut made = Vec::new();
    for (protocol, ports) in ports(kind, rule)? {
        for peer in list(rule, peers) {
            let mut side = json!({});
            if at(peer, "/namespaces").is_object() {
                side["namespaceSelector"] = json!(of_namespaces(at(peer, "/namespaces")));
            }
            if at(peer, "/pods").is_object() {
                let (selector, namespaces) = of_pods(at(peer, "/pods"));
                side["selector"] = json!(selector);
                side["namespaceSelector"] = json!(namespaces);
            }
            let nets = texts(peer, "/networks");
            if peers == "/to" && !nets.is_empty() {
                if nets.iter().any(|net| !net.contains('/')) {
                    return None;
                }
                side["nets"] = json!(nets);
            }
            if side == json!({}) {
                return None;
            }
            let mut rule = json!({"action": action});
            match peers {
                "/from" => {
                    rule["source"] = side;
                    rule["destination"] = json!({});
                }
                _ => rule["destination"] = side,
            }
            if !ports.is_empty() {
                rule["destination"]["ports"] = json!(ports);
            }
            if !protocol.is_empty() {
                rule["protocol"] = json!(protocol);
            }
            made.push(rule);
        }
    }
    Some(made)
}

/// Ports by protocol, in order of protocols; no ports beside a protocol: all of them.
fn ports(kind: Kind, rule: &Value) -> Option<Vec<(String, Vec<Value>)>> {
    let field = match kind {
        Kind::ClusterNetworkPolicy => "/protocols",
        _ => "/ports",
    };
    let mut entries: Vec<(String, Option<Value>)> = Vec::new();
    for entry in list(rule, field) {
        let found = match kind {
            Kind::ClusterNetworkPolicy => cluster_port(entry)?,
            _ => admin_port(entry)?,
        };
        // An entry that says nothing stands for everything.
        let Some(found) = found else {
            return Some(vec![(String::new(), Vec::new())]);
        };
        entries.push(found);
    }
    if entries.is_empty() {
        return Some(vec![(String::new(), Vec::new())]);
    }
    let mut protocols: Vec<String> = entries.iter().map(|(p, _)| p.clone()).collect();
    protocols.sort();
    protocols.dedup();
    let of = |protocol: String| {
        let own: Vec<&Option<Value>> = entries
            .iter()
            .filter_map(|(p, port)| (*p == protocol).then_some(port))
            .collect();
        let all = own.iter().any(|port| port.is_none());
        let ports = own.into_iter().flatten().cloned().collect();
        (protocol, if all { Vec::new() } else { ports })
    };
    Some(protocols.into_iter().map(of).collect())
}

/// A protocol, and a port if it is not all of them.
type Entry = (String, Option<Value>);

fn range(start: &Value, end: &Value) -> Option<Value> {
    let (low, high) = (start.as_u64()?, end.as_u64()?);
    (low <= high).then(|| json!(format!("{low}:{high}")))
}

fn admin_port(entry: &Value) -> Option<Option<Entry>> {
    let protocol = |at_protocol: &str| match text(entry, at_protocol) {
        "" => "TCP".to_owned(),
        protocol => protocol.to_owned(),
    };
    let (one, many) = (at(entry, "/portNumber"), at(entry, "/portRange"));
    Some(if one.is_object() {
        let port = at(one, "/port").clone();
        Some((protocol("/portNumber/protocol"), Some(port)))
    } else if many.is_object() {
        let ports = range(at(many, "/start"), at(many, "/end"))?;
        Some((protocol("/portRange/protocol"), Some(ports)))
    } else {
        None
    })
}

fn cluster_port(entry: &Value) -> Option<Option<Entry>> {
    for (field, name) in [("/tcp", "TCP"), ("/udp", "UDP"), ("/sctp", "SCTP")] {
        let ports = at(entry, field);
        if !ports.is_object() {
            continue;
        }
        let number = at(ports, "/destinationPort/number");
        let many = at(ports, "/destinationPort/range");
        let port = if number.is_u64() {
            Some(number.clone())
        } else if many.is_object() {
            Some(range(at(many, "/start"), at(many, "/end"))?)
        } else {
            None
        };
        return Some(Some((name.to_owned(), port)));
    }
    Some(match text(entry, "/destinationNamedPort") {
        "" => None,
        name => Some((String::new(), Some(json!(name)))),
    })
}
