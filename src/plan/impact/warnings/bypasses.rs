//! Ways round a protection that policy of the host does not see.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::{Both, Change, ServerImpact, Warning, few, sorted};
use super::{Subject, about};
use crate::calico::kubernetes::{PodView, SliceView};
use crate::calico::{Kind, Object};
use crate::reach::topology::LOOPBACK;
use crate::reach::verdict::EndpointToHostAction;
use crate::reach::{Addresses, Place, Verdict};

/// Warns of every way round a new protection.
pub fn of(both: &Both<'_>, subject: &Subject, server: &ServerImpact, warnings: &mut Vec<Warning>) {
    own_pods(both, subject, server, warnings);
    other_interfaces(both, subject, warnings);
    node_ports(both, subject, warnings);
    host_ports(both, subject, warnings);
}

/// Pods reach their own host without its endpoint being asked.
fn own_pods(
    both: &Both<'_>,
    subject: &Subject,
    server: &ServerImpact,
    warnings: &mut Vec<Warning>,
) {
    // Where nobody is shut out, a way round is no news.
    let shuts = |c: &super::super::ClassImpact| {
        let mut parts = c.parts.iter();
        parts.any(|p| matches!(p.change, Change::Loses | Change::StaysOut))
    };
    let closed = server.classes.iter().filter(|c| shuts(c));
    let closed: BTreeSet<&String> = closed.flat_map(|c| &c.targets).collect();
    let mut groups: BTreeMap<Option<EndpointToHostAction>, Vec<String>> = BTreeMap::new();
    for host in subject.hosts.keys().filter(|h| closed.contains(h)) {
        let Some(facts) = both.is.facts(host) else {
            continue;
        };
        if facts.endpoint_to_host != Some(EndpointToHostAction::Drop) {
            let group = groups.entry(facts.endpoint_to_host).or_default();
            group.push(host.clone());
        }
    }
    let has_pods = both.is.workload_endpoints().next().is_some()
        || both.after.of(Kind::IpPool).next().is_some();
    for (action, hosts) in groups {
        let (text, warn) = match action {
            Some(action) => (
                format!(
                    "pods on these hosts reach `{}` on their own host past its host endpoint: defaultEndpointToHostAction is {action}",
                    subject.name
                ),
                true,
            ),
            None => (
                format!(
                    "pods on these hosts may reach `{}` on their own host past its host endpoint: defaultEndpointToHostAction is not known here",
                    subject.name
                ),
                has_pods,
            ),
        };
        if warn {
            let hint = "egress policy on the pods, pre-DNAT policy on a `*` host endpoint, or `defaultEndpointToHostAction: Drop` stops them";
            warnings.push(about(subject, "own-pods", hosts, text).hint(hint));
        }
    }
}

/// Where only endpoints for single interfaces are protected: everything else of the host.
fn other_interfaces(both: &Both<'_>, subject: &Subject, warnings: &mut Vec<Warning>) {
    let [_, Some(status)] = &subject.status else {
        return;
    };
    let mut protected: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for endpoint in &status.endpoints {
        let interfaces = protected.entry(endpoint.host.as_str()).or_default();
        interfaces.insert(endpoint.interface.as_str());
    }
    protected.retain(|_, interfaces| !interfaces.contains("*") && !interfaces.contains(""));
    let clients = subject.server.as_ref();
    let clients = clients.map(|s| crate::plan::check::clients(both.after, both.is, s));
    let clients = clients.unwrap_or_else(Addresses::none);
    let mut groups: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (host, interfaces) in protected {
        let open = |place: &Place| {
            subject.ports.iter().any(|port| {
                let reach = both.is.reachability(place, *port);
                let open = reach
                    .with(Verdict::Allow)
                    .union(&reach.with(Verdict::Unproven));
                !open.difference(&clients).is_empty()
            })
        };
        let doors = subject
            .hosts
            .get(host)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let is_door = |ip: IpAddr| doors.iter().any(|d| d.address == ip);
        let tunnels = both.is.tunnels_of(host);
        let places = both.is.places(host).into_iter();
        let others: Vec<Place> = places
            .filter(|p| !p.address.is_loopback() && !is_door(p.address))
            .filter(open)
            .collect();
        let mut named: Vec<String> = Vec::new();
        let of_tunnels = others.iter().filter_map(|p| {
            let device = tunnels.iter().find(|(_, ip)| *ip == p.address);
            device.map(|(device, _)| format!("tunnel {device}"))
        });
        named.extend(sorted(of_tunnels));
        let is_tunnel = |p: &&Place| tunnels.iter().any(|(_, ip)| *ip == p.address);
        let rest = others.iter().filter(|p| !is_tunnel(p));
        named.extend(sorted(rest.map(|p| match &p.interface {
            Some(interface) => format!("interface {interface}"),
            None => "its other addresses".to_owned(),
        })));
        if both.is.interfaces_of(host).is_none() {
            named.push("interfaces that it does not report".to_owned());
        }
        if !interfaces.contains(LOOPBACK) {
            named.push("loopback".to_owned());
        }
        let interfaces: Vec<&str> = interfaces.into_iter().collect();
        // Loopback is the last.
        let ways = match named.split_last() {
            Some((last, [])) => format!("{last} stays"),
            Some((last, others)) => format!("{} and {last} stay", others.join(", ")),
            None => continue,
        };
        let key = (interfaces.join(", "), ways);
        groups.entry(key).or_default().push(host.to_owned());
    }
    for ((interfaces, ways), hosts) in groups {
        let text = format!(
            "`{}` is protected on {interfaces} only: {ways} open, and a tunnel address is reached from every pod and node",
            subject.name
        );
        let warning = about(subject, "other-interfaces", hosts, text);
        warnings
            .push(warning.hint(
                "protect all interfaces: leave `--interface` out, or give `--interface '*'`",
            ));
    }
}

/// Services with a node port that lead to the server.
fn node_ports(both: &Both<'_>, subject: &Subject, warnings: &mut Vec<Warning>) {
    let doors = subject
        .hosts
        .values()
        .chain(subject.pods.values())
        .flatten();
    let addresses: BTreeSet<IpAddr> = doors.map(|d| d.address).collect();
    let mut services: BTreeSet<(String, String)> = BTreeSet::new();
    for slice in both.after.of(Kind::EndpointSlice) {
        let Some(view) = SliceView::read(slice) else {
            continue;
        };
        let leads = view.endpoints.iter().any(|(ip, _)| addresses.contains(ip));
        let fits = |(_, transport, port): &(String, _, u16)| {
            let mut ports = subject.ports.iter();
            ports.any(|p| p.transport == *transport && p.port == *port)
        };
        if leads && view.ports.iter().any(fits) {
            let namespace = slice.id().namespace.clone().unwrap_or_default();
            services.insert((namespace, view.service));
        }
    }
    for service in both.after.of(Kind::Service) {
        let namespace = service.id().namespace.clone().unwrap_or_default();
        if !services.contains(&(namespace, service.name().to_owned())) {
            continue;
        }
        let ports = node_ports_of(service);
        if ports.is_empty() {
            continue;
        }
        let local = service.spec_str("externalTrafficPolicy") == Some("Local");
        let seen = if local {
            "rules see the server's own port"
        } else {
            "rules see the server's own port, and clients from outside with the address of the node that they dialled"
        };
        let text = format!(
            "{} leads to `{}` by node port {}: {seen}",
            service.id(),
            subject.name,
            few(&ports)
        );
        let mut warning = about(subject, "node-port", Vec::new(), text);
        if !local {
            warning.hint = Some(
                "`externalTrafficPolicy: Local` keeps clients' addresses; a node that is let in lets them all in"
                    .to_owned(),
            );
        }
        warnings.push(warning);
    }
}

fn node_ports_of(service: &Object) -> Vec<u64> {
    let ports = service.spec("ports").and_then(|p| p.as_array());
    let ports = ports.into_iter().flatten();
    ports.filter_map(|p| p.get("nodePort")?.as_u64()).collect()
}

/// Pods that serve one of the ports on their host: the host forwards to them.
fn host_ports(both: &Both<'_>, subject: &Subject, warnings: &mut Vec<Warning>) {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pod in both.after.of(Kind::Pod) {
        let Some(view) = PodView::read(pod).filter(|v| subject.hosts.contains_key(&v.node)) else {
            continue;
        };
        for (_, transport, outside, _) in &view.host_ports {
            let port = subject
                .ports
                .iter()
                .find(|p| p.transport == *transport && p.port == *outside);
            if let Some(port) = port {
                let text = format!(
                    "{port} is a hostPort of {}: it is forwarded to the pod, and policy of the host does not cover it",
                    pod.id()
                );
                found.entry(text).or_default().insert(view.node.clone());
            }
        }
    }
    for (text, hosts) in found {
        let warning = about(subject, "host-port", hosts.into_iter().collect(), text);
        warnings
            .push(warning.hint("protect the pods instead: `--workload NS/SELECTOR --tier NAME`"));
    }
}
