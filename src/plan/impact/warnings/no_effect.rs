//! Protections that do less than they say, and why.

use std::collections::BTreeMap;

use super::super::{Both, Change, ServerImpact, Warning, few};
use super::{Subject, about};
use crate::calico::{Kind, ServerPort};
use crate::plan::check::clients;
use crate::reach::{Addresses, Reason};
use crate::recipe::status::PolicyStatus;
use crate::recipe::{Stage, policies};

/// Warns where others than clients get in though the server is protected.
pub fn of(both: &Both<'_>, subject: &Subject, server: &ServerImpact, warnings: &mut Vec<Warning>) {
    let Some(name) = &subject.server else { return };
    let [_, Some(after)] = &subject.status else {
        return;
    };
    if after.policy == PolicyStatus::Missing {
        return;
    }
    if !subject.is_protected(true) {
        nowhere(both, subject, warnings);
        return;
    }
    let own = policies::find(both.after, name).map(|p| p.id().clone());
    let allowed = clients(both.after, both.is, name).union(&super::super::servers::loopback());
    let mut found: BTreeMap<Cause<'_>, Others> = BTreeMap::new();
    for class in &server.classes {
        for part in &class.parts {
            if !matches!(part.change, Change::Keeps | Change::Gains) {
                continue;
            }
            let own_rule =
                matches!(&part.reason, Reason::Rule { policy, .. } if Some(policy) == own.as_ref());
            let others = part
                .addresses
                .difference(&allowed)
                .difference(&own_addresses(both, &class.targets));
            if own_rule || others.is_empty() {
                continue;
            }
            let entry = found.entry((&part.reason, &class.ports)).or_default();
            entry.0.extend(class.targets.iter().cloned());
            entry.1 = entry.1.union(&others);
        }
    }
    for ((reason, ports), (hosts, others)) in found {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let who = whom(&others);
        warnings.extend(warning(
            both,
            subject,
            reason,
            &ports.join(", "),
            &who,
            hosts,
        ));
    }
}

/// Why, and on which ports, others get in.
type Cause<'r> = (&'r Reason, &'r [ServerPort]);
/// On which hosts, and who they are.
type Others = (Vec<String>, Addresses);

/// The hosts' own addresses: a way to them is no way in for others.
fn own_addresses(both: &Both<'_>, hosts: &[String]) -> Addresses {
    Addresses::of_hosts(hosts.iter().flat_map(|h| both.is.addresses_of_node(h)))
}

fn warning(
    both: &Both<'_>,
    subject: &Subject,
    reason: &Reason,
    ports: &str,
    who: &str,
    hosts: Vec<String>,
) -> Option<Warning> {
    let name = &subject.name;
    let about = |code, text| about(subject, code, hosts.clone(), text);
    Some(match reason {
        Reason::Failsafe { source, .. } => {
            // The recipe says so when it protects.
            let protects = |s: &Stage| matches!(s, Stage::ProtectPolicy | Stage::ProtectedLabels);
            if both.plan.changes.iter().any(|c| protects(&c.stage)) {
                return None;
            }
            about(
                "failsafe",
                format!("{ports} is an inbound failsafe ({source}): the protection of `{name}` does nothing for {who} until it is pruned"),
            )
            .hint(format!("`prune {name}` takes it out, once its clients are let in"))
        }
        Reason::Rule { policy, tier, .. } => {
            let order = both.after.get(policy).and_then(|p| p.spec("order").cloned());
            let order = order.map_or_else(String::new, |o| format!(", order {o}"));
            about(
                "decided-before",
                format!("{who} still get in on {ports}: {policy} (tier {tier}{order}) lets them in before the protect policy is asked"),
            )
            .hint("narrow its rule, or put the protect policy before it with `--order` or `--tier`")
        }
        Reason::Profile { name: profile, .. } => about(
            "decided-before",
            format!("{who} still get in on {ports}: a Pass, or no policy, hands them to profile {profile} before the protect policy is asked"),
        )
        .hint("look for a Pass rule of a lower order, and for labels that are missing"),
        Reason::NoEndpoint { .. } => about(
            "no-endpoint",
            format!("{who} still get in on {ports}: no host endpoint governs the interface"),
        ),
        Reason::Ipv6NotPoliced => about(
            "ipv6-off",
            format!("Felix runs without IPv6 support: over IPv6 `{name}` stays open to everybody"),
        )
        .hint("set `ipv6Support: true` (or FELIX_IPV6SUPPORT), or let the server listen on IPv4 only"),
        Reason::IpvsNodePort { .. } => about(
            "ipvs",
            format!("kube-proxy runs in IPVS mode: {ports} is in the node-port range, which skips host policy, so `{name}` stays open"),
        )
        .hint("give the server a port outside the node-port range"),
        Reason::NotPolicedInterface => about(
            "bpf-interface",
            format!("in eBPF mode Felix ignores host endpoints of interfaces that `bpfDataIfacePattern` does not match: `{name}` stays open to {who} there"),
        )
        .hint("add the interfaces to `bpfDataIfacePattern`"),
        _ => return None,
    })
}

/// A policy, or client labels, for a server that is protected nowhere.
fn nowhere(both: &Both<'_>, subject: &Subject, warnings: &mut Vec<Warning>) {
    let label = subject.server.as_ref().map(|s| s.protected_label());
    let Some(label) = label else { return };
    let kinds = [Kind::HostEndpoint, Kind::Node, Kind::CalicoNode];
    let mut all = kinds.iter().flat_map(|kind| both.after.of(*kind));
    if all.any(|o| o.label(&label) == Some("true")) {
        return;
    }
    let text = format!(
        "`{}` is protected nowhere: no endpoint carries `{label}`",
        subject.name
    );
    warnings.push(about(subject, "protected-nowhere", Vec::new(), text).note());
}

/// Sources for people: everybody, or the first networks.
pub fn whom(addresses: &Addresses) -> String {
    let most = |ipv6: bool| {
        let part = addresses.only(ipv6);
        let rest = Addresses::family(ipv6).difference(&part);
        match (part.count_v6(), rest.count_v6()) {
            (None, _) => true,
            (Some(part6), Some(rest6)) => part6 > rest6 || part.count_v4() > rest.count_v4(),
            (Some(_), None) => false,
        }
    };
    if !addresses.is_empty() && (most(false) || most(true)) {
        return "others than its clients".to_owned();
    }
    let nets: Vec<ipnet::IpNet> = addresses.nets().take(200).collect();
    few(&nets)
}
