//! Warnings about who is let in, and by what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::{Both, Warning, sorted};
use super::{Subject, about};
use crate::calico::endpoint::{controller, is_automatic, pod_label_path};
use crate::calico::names::ServerName;
use crate::calico::net::parse_cidr_or_ip;
use crate::calico::policy::{Action, PolicyType, Rule, policy_spec};
use crate::calico::{Kind, Object, PortMatch, ServerPort};
use crate::reach::Owner;
use crate::recipe::policies;
use crate::recipe::workloads::pod_labels;
use crate::selector::{Expr, Selector};

/// Warns about the clients of a server that the plan touches.
pub fn of(both: &Both<'_>, subject: &Subject, warnings: &mut Vec<Warning>) {
    let Some(server) = &subject.server else {
        return;
    };
    nodes_for_pods(both, subject, server, warnings);
    without_ipv6(both, subject, server, warnings);
    labels_without_effect(both, subject, server, warnings);
    negative_selectors(both, subject, warnings);
}

/// Nodes that the plan lets in: by label, or by their address in a set.
fn granted(both: &Both<'_>, server: &ServerName) -> BTreeSet<String> {
    let label = server.allowed_label();
    let mut nodes = BTreeSet::new();
    for change in &both.plan.changes {
        let Some(object) = &change.after else {
            continue;
        };
        let was = change.before.as_ref();
        if object.label(&label).is_none() {
            continue;
        }
        let known = was.is_some_and(|o| o.label(&label).is_some());
        match object.id().kind {
            Kind::Node | Kind::CalicoNode if !known => {
                nodes.insert(object.name().to_owned());
            }
            Kind::HostEndpoint if !known => {
                nodes.extend(object.spec_str("node").map(str::to_owned));
            }
            Kind::GlobalNetworkSet => {
                let old: BTreeSet<&str> = was
                    .filter(|_| known)
                    .map(|o| o.spec_strs("nets").collect())
                    .unwrap_or_default();
                let new = object.spec_strs("nets").filter(|net| !old.contains(net));
                let hosts = new.filter_map(|net| parse_cidr_or_ip(net).ok());
                let hosts = hosts.filter(|net| net.prefix_len() == net.max_prefix_len());
                nodes.extend(hosts.filter_map(|net| match both.is.owner_of(net.addr())? {
                    Owner::Node(name) => Some(name.to_owned()),
                    Owner::Workload(_) => None,
                }));
            }
            _ => {}
        }
    }
    nodes
}

/// A node that is let in stands for whoever comes with its address.
fn nodes_for_pods(
    both: &Both<'_>,
    subject: &Subject,
    server: &ServerName,
    warnings: &mut Vec<Warning>,
) {
    let on = |pool: &&Object| pool.spec("natOutgoing") == Some(&serde_json::Value::Bool(true));
    let pools = sorted(
        both.after
            .of(Kind::IpPool)
            .filter(on)
            .map(|p| p.name().to_owned()),
    );
    let nodes = granted(both, server);
    if nodes.is_empty() || pools.is_empty() {
        return;
    }
    let outside = both.after.of(Kind::Service).any(|s| {
        matches!(s.spec_str("type"), Some("NodePort" | "LoadBalancer"))
            && s.spec_str("externalTrafficPolicy") != Some("Local")
    });
    let and = if outside {
        ", and for clients from outside that come by a node port of theirs"
    } else {
        ""
    };
    let text = format!(
        "who is let in as a node stands for all pods on it (pool {} has natOutgoing, so a server on another host sees the node's address){and}",
        super::few(&pools)
    );
    let warning = about(
        subject,
        "nodes-stand-for-pods",
        nodes.into_iter().collect(),
        text,
    );
    warnings.push(
        warning.hint("egress policy on the pods keeps those out that have no business there"),
    );
}

/// Nodes that are let in by IPv4 alone, where the server is reached by IPv6 and others are let in
/// by both.
fn without_ipv6(
    both: &Both<'_>,
    subject: &Subject,
    server: &ServerName,
    warnings: &mut Vec<Warning>,
) {
    let mut doors = subject.hosts.values().flatten();
    if !doors.any(|d| d.address.is_ipv6()) {
        return;
    }
    let nodes = granted(both, server);
    let (with, without): (Vec<String>, Vec<String>) = nodes.into_iter().partition(|node| {
        let ips = both.is.addresses_of_node(node);
        ips.iter().any(IpAddr::is_ipv6)
    });
    if with.is_empty() || without.is_empty() {
        return;
    }
    let text = format!(
        "no IPv6 address of these nodes is known: over IPv6 `{}` does not take them for clients",
        subject.name
    );
    let warning = about(subject, "no-ipv6-address", without, text).note();
    warnings.push(warning.hint("if they have one, add it: `grant … --ip ADDRESS`"));
}

/// Client labels that let nobody in.
fn labels_without_effect(
    both: &Both<'_>,
    subject: &Subject,
    server: &ServerName,
    warnings: &mut Vec<Warning>,
) {
    let label = server.allowed_label();
    let [_, status] = &subject.status;
    let idle = status
        .iter()
        .flat_map(|s| &s.clients)
        .filter(|c| c.without_effect);
    for client in idle {
        let text = format!(
            "`{label}` on {} lets nobody in: it lists no address",
            client.object
        );
        let warning = about(subject, "client-without-address", Vec::new(), text);
        warnings.push(warning.hint("list its addresses, or put them into a GlobalNetworkSet"));
    }
    for kind in [
        Kind::Pod,
        Kind::Deployment,
        Kind::DaemonSet,
        Kind::StatefulSet,
    ] {
        let Some(path) = pod_label_path(kind) else {
            continue;
        };
        let pointer = if kind == Kind::Pod {
            "/spec/hostNetwork"
        } else {
            "/spec/template/spec/hostNetwork"
        };
        let labelled = both
            .after
            .of(kind)
            .filter(|o| pod_labels(o, &path).contains_key(&label));
        for object in labelled {
            let own = controller(object).is_none_or(|(kind, _)| kind == "Node");
            if own && object.value().pointer(pointer) == Some(&true.into()) {
                let text = format!(
                    "`{label}` on {} lets nobody in: its pods use their host's network, where labels of pods count for nothing",
                    object.id()
                );
                let warning = about(subject, "client-on-host-network", Vec::new(), text);
                warnings.push(warning.hint(format!(
                    "let their nodes in: `grant {} --node NAME`",
                    subject.name
                )));
            }
        }
    }
    // What was read still shows labels that the controller takes away again.
    let mut reverted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for endpoint in both.read.of(Kind::HostEndpoint).filter(|o| is_automatic(o)) {
        for key in [label.clone(), server.protected_label()] {
            let stays = both
                .after
                .get(endpoint.id())
                .is_none_or(|o| o.label(&key).is_some());
            if endpoint.label(&key).is_some() && !stays {
                reverted
                    .entry(key)
                    .or_default()
                    .push(endpoint.id().to_string());
            }
        }
    }
    for (key, endpoints) in reverted {
        let text = format!(
            "`{key}` on {} does not last: calico-kube-controllers sets the labels of automatic host endpoints to those of their Node",
            super::few(&endpoints)
        );
        let warning = about(subject, "label-on-automatic-endpoint", Vec::new(), text);
        warnings.push(warning.hint("label the Node instead"));
    }
}

/// Policies of others that mean to protect the server, but look for clients that lack a label
/// among known objects: addresses that no object has are none of those, and get in.
fn negative_selectors(both: &Both<'_>, subject: &Subject, warnings: &mut Vec<Warning>) {
    let own = subject.server.as_ref();
    let own = own
        .and_then(|s| policies::find(both.after, s))
        .map(Object::id);
    for kind in [Kind::GlobalNetworkPolicy, Kind::NetworkPolicy] {
        for policy in both.after.of(kind).filter(|p| Some(p.id()) != own) {
            let Ok(spec) = policy_spec(policy) else {
                continue;
            };
            let mut rules = spec.rules(PolicyType::Ingress).iter();
            let found = rules.find_map(|rule| weakness(rule, kind, &subject.ports));
            if let Some(why) = found {
                let text = format!(
                    "{} looks as if it shut others out of `{}`, but {why}: addresses from outside get past it",
                    policy.id(),
                    subject.name
                );
                let warning = about(subject, "negative-selector", Vec::new(), text);
                warnings.push(warning.hint("`source.notSelector` in a GlobalNetworkPolicy matches every address that no labelled object has"));
            }
        }
    }
}

/// Why a Deny rule for a server's port misses clients from outside.
fn weakness(rule: &Rule, kind: Kind, ports: &[ServerPort]) -> Option<&'static str> {
    let names = |port: &ServerPort| {
        let transport = rule.protocol.and_then(crate::calico::Protocol::transport);
        let mut listed = rule.destination.ports.iter();
        transport == Some(port.transport)
            && listed.any(
                |p| matches!(p, PortMatch::Range(low, high) if (low..=high).contains(&&port.port)),
            )
    };
    if rule.action != Action::Deny || !ports.iter().any(names) {
        return None;
    }
    let source = &rule.source;
    let selector = source
        .selector
        .as_deref()
        .and_then(|s| Selector::parse(s).ok());
    if selector.is_some_and(|s| is_negative(s.as_expr())) {
        return Some("`source.selector` with `!` only looks at addresses of known objects");
    }
    (kind == Kind::NetworkPolicy && source.not_selector.is_some()).then_some(
        "`notSelector` in a namespaced policy only looks at addresses of its own namespace",
    )
}

/// Whether an expression only says what labels an object must not have.
fn is_negative(expr: &Expr) -> bool {
    match expr {
        Expr::Not(_) | Expr::Ne(..) | Expr::NotIn(..) => true,
        Expr::And(members) => !members.is_empty() && members.iter().all(is_negative),
        _ => false,
    }
}
