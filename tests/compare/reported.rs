//! Differences that are known and wait for the product to follow. Each goes when its fault goes.

use std::net::IpAddr;

use calicoctl_protect::calico::Version;
use calicoctl_protect::reach::{Decision, Missing, Reason};
use serde_json::Value;

use crate::naive::case::{Case, Query};
use crate::naive::version_of;

/// Whether a difference may be one of those.
pub fn all(case: &Case, query: &Query, naive: &Decision, engine: &Decision) -> bool {
    by_case(case, query) || by_answer(naive, engine)
}

/// By what is in the case.
pub fn by_case(case: &Case, query: &Query) -> bool {
    let bpf = case.felix.contains_key("bpfEnabled");
    let encapsulated = case
        .topology
        .encapsulation
        .as_deref()
        .is_some_and(|e| e != "none");
    let before_dnat = case.resources.iter().any(|r| r["spec"]["preDNAT"] == true);
    // In eBPF mode a specific host endpoint hides the one for all interfaces before NAT as well.
    (bpf && before_dnat)
        // Up to v3.29 eBPF mode polices tunnel devices.
        || (bpf && encapsulated && version_of(case) < Version::new(3, 30, 0))
        // Felix masquerades what a host sends into a tunnel with another of its addresses.
        || (encapsulated && (query.from.ip.is_some() || !case.topology.dnat.is_empty()))
        // What a host endpoint expects is not what a node has.
        || claims(case, query)
}

/// With less known: by which interface a second address is reached, and what leaves from it.
pub fn second_address(case: &Case, query: &Query) -> bool {
    let ends = [&query.from, &query.to];
    let asked: Vec<IpAddr> = ends.iter().filter_map(|end| end.ip).collect();
    case.topology.nodes.iter().any(|node| {
        let first = node.default_interface();
        let second = node.interfaces.iter().filter(|(name, _)| *name != first);
        second.flat_map(|(_, ips)| ips).any(|ip| asked.contains(ip))
    })
}

fn claims(case: &Case, query: &Query) -> bool {
    let of = |kind: &'static str| case.resources.iter().filter(move |r| r["kind"] == kind);
    let texts = |r: &Value, field: &str| -> Vec<String> {
        let items = r["spec"][field].as_array().into_iter().flatten();
        items.filter_map(|i| Some(i.as_str()?.to_owned())).collect()
    };
    let claimed: Vec<IpAddr> = of("HostEndpoint")
        .flat_map(|h| texts(h, "expectedIPs"))
        .filter_map(|ip| ip.parse().ok())
        .collect();
    let owned = |ip: &IpAddr| case.topology.nodes.iter().any(|n| n.has(*ip));
    let mut asked: Vec<IpAddr> = [&query.from, &query.to]
        .iter()
        .filter_map(|e| e.ip)
        .collect();
    asked.retain(|ip| !owned(ip));
    let workloads = of("WorkloadEndpoint").flat_map(|w| texts(w, "ipNetworks"));
    asked.extend(workloads.filter_map(|n| n.split('/').next()?.parse::<IpAddr>().ok()));
    asked.iter().any(|ip| claimed.contains(ip))
}

/// By what is answered.
pub fn by_answer(naive: &Decision, engine: &Decision) -> bool {
    let missing = |d: &Decision| match d.reason() {
        Some(Reason::Missing(missing)) => Some(missing.clone()),
        _ => None,
    };
    let (ours, theirs) = (missing(naive), missing(engine));
    let lists = |m: &Option<Missing>| matches!(m, Some(Missing::Failsafes { .. }));
    // The node-port range of IPVS leaves INPUT before workloads are looked at.
    naive.steps.iter().any(|s| s.reason == Reason::IpvsNodePort)
        // Host endpoints without an interface are none of workloads' interfaces.
        || engine.steps.iter().any(|s| s.interface.as_deref() == Some(""))
        || matches!(&theirs, Some(Missing::InterfaceAddresses { interface, .. }) if interface.is_empty())
        // An entry that stops Felix stops it where it is read.
        || matches!(theirs, Some(Missing::FelixStopped { .. }))
        // Lists that cannot be read hold no SCTP, and may hold what lower layers have for others.
        || lists(&ours) != lists(&theirs)
        // The type of an ICMP packet is one type, and may be neighbour discovery.
        || (ours == Some(Missing::IcmpType)) != (theirs == Some(Missing::IcmpType))
        // A tunnel's own and second addresses are not those of known nodes.
        || engine.steps.iter().any(|s| s.reason == Reason::TunnelOfKnownNode)
}
