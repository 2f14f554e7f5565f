//! Warnings about host endpoints that a plan makes or relabels.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use super::super::{Both, Change, Fallback, Flip, ServerImpact, Warning, Who, few, sorted};
use super::{Defaults, Subject, about};
use crate::calico::policy::PolicyType;
use crate::calico::{Host, HostEndpointSpec, Kind, ObjectId};
use crate::plan::Action;
use crate::reach::{Connection, Party, Traffic, Verdict, World};
use crate::recipe::Importance;
use crate::recipe::catalogue::distance;
use crate::recipe::policies::DEFAULT_ALLOW;

/// Warnings about endpoints by themselves.
pub fn of(both: &Both<'_>, defaults: &Defaults) -> Vec<Warning> {
    let mut warnings = closed(both, defaults);
    created(both, &mut warnings);
    shadowed(both, &mut warnings);
    unknown_nodes(both, &mut warnings);
    warnings
}

fn general(code: &'static str, hosts: Vec<String>, text: impl Into<String>) -> Warning {
    Warning {
        code,
        importance: Importance::Warning,
        server: String::new(),
        hosts,
        text: text.into(),
        hint: None,
    }
}

fn protected_label(key: &str) -> bool {
    key.starts_with("protected-") && key.ends_with("-server")
}

fn client_label(key: &str) -> bool {
    key.starts_with("allowed-") && key.ends_with("-client")
}

/// Endpoints on which everything that no rule allows is dropped from now on.
fn closed(both: &Both<'_>, defaults: &Defaults) -> Vec<Warning> {
    type Group<'f> = (
        BTreeSet<&'f ObjectId>,
        BTreeSet<&'f str>,
        BTreeSet<PolicyType>,
    );
    let mut groups: BTreeMap<(&'static str, String, Option<String>), Group<'_>> = BTreeMap::new();
    for flip in defaults.flips.iter().filter(|f| f.closes()) {
        // Endpoints with the same policies may still carry different labels of the recipe.
        for (endpoint, case) in flip.endpoints.iter().map(|e| (e, case(both, e, flip))) {
            let group = groups.entry(case).or_default();
            group.0.insert(endpoint);
            group.1.extend(flip.hosts.iter().map(String::as_str));
            group.2.insert(flip.direction);
        }
    }
    let mut warnings = Vec::new();
    for ((code, cause, hint), (endpoints, hosts, directions)) in groups {
        let ids: Vec<&ObjectId> = endpoints.iter().copied().collect();
        let hosts = sorted(hosts.into_iter().map(str::to_owned));
        let which: Vec<&str> = directions.iter().map(lower).collect();
        let (verb, what) = match ids.len() {
            1 => ("drops", "its"),
            _ => ("drop", "their"),
        };
        let all = format!(
            "{} {verb} all {} but failsafes and what rules allow, on {what} interfaces: {cause}",
            few(&ids),
            which.join(" and ")
        );
        let mut warning = general(code, hosts.clone(), all);
        warning.hint = hint;
        warnings.push(warning);
        let lost = |node: &String| {
            let ips = both.is.addresses_of_node(node).into_iter();
            let mut ips = ips.filter(|ip| ip.is_ipv6() && !ip.is_loopback());
            ips.any(|ip| !solicits(both.is, node, ip))
        };
        let ipv6: Vec<String> = hosts.into_iter().filter(lost).collect();
        if !ipv6.is_empty() && ids.iter().any(|id| id.kind == Kind::HostEndpoint) {
            let text = "IPv6 neighbour discovery is dropped with everything else: over IPv6 even failsafe ports cannot be reached";
            let warning = general("ipv6-neighbours", ipv6, text);
            warnings.push(warning.hint("allow ICMPv6 by a policy of your own first"));
        }
    }
    warnings
}

/// Whether a host and another on its link can ask for each other's link address.
fn solicits(world: &World, node: &str, ip: IpAddr) -> bool {
    let own = || Party::node(node).at(ip);
    let other = || Party::Address(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
    let solicitation = Traffic::Icmp {
        kind: Some(135),
        code: Some(0),
    };
    let ways = [(other(), own()), (own(), other())];
    ways.into_iter().all(|(from, to)| {
        let traffic = solicitation;
        let asked = Connection {
            from,
            to,
            traffic,
            client_port: None,
            arrives_on: None,
        };
        world.explain(&asked).verdict == Verdict::Allow
    })
}

const fn lower(direction: &PolicyType) -> &'static str {
    match direction {
        PolicyType::Ingress => "ingress",
        PolicyType::Egress => "egress",
    }
}

/// Why an endpoint drops everything, and what would keep it open.
fn case(both: &Both<'_>, id: &ObjectId, flip: &Flip) -> (&'static str, String, Option<String>) {
    let object = both.after.get(id);
    let any = |is: fn(&str) -> bool| object.is_some_and(|o| o.labels().any(|(k, _)| is(k)));
    let carries = object.is_some_and(|o| o.label(DEFAULT_ALLOW) == Some("true"));
    let end = match &flip.after {
        Fallback::EndOfTier(tier) => format!("the end of tier `{tier}` drops what is left"),
        _ => "no policy and no profile lets anything through".to_owned(),
    };
    let allow = both.after.global(Kind::GlobalNetworkPolicy, DEFAULT_ALLOW);
    match (carries, allow, &flip.after) {
        (true, Some(policy), Fallback::EndOfTier(tier))
            if policy.spec_str("tier").unwrap_or("default") != tier =>
        {
            let cause = format!("{end} before policy `{DEFAULT_ALLOW}` is reached");
            let hint =
                format!("give tier `{tier}` `defaultAction: Pass`, or allow there what is needed");
            ("default-allow-shadowed", cause, Some(hint))
        }
        (true, None, _) => {
            let cause = format!("they carry `{DEFAULT_ALLOW}`, but there is no such policy; {end}");
            let hint = format!(
                "keep policy `{DEFAULT_ALLOW}`, or the profile `projectcalico-default-allow`"
            );
            ("default-allow-gone", cause, Some(hint))
        }
        (true, Some(_), _) => {
            let cause = format!("policy `{DEFAULT_ALLOW}` does not select them; {end}");
            (
                "default-allow-gone",
                cause,
                Some("restore its selector".to_owned()),
            )
        }
        (false, _, _) if any(protected_label) => {
            let cause = format!("protected without `{DEFAULT_ALLOW}`; {end}");
            let hint = format!(
                "label them `{DEFAULT_ALLOW}: \"true\"`, or open every port that is needed first"
            );
            ("lock-out", cause, Some(hint))
        }
        (false, _, _) if any(client_label) && before(both, id).is_none() => {
            let cause = format!("made to let a client in only; {end}");
            let hint = "a GlobalNetworkSet with the client's addresses lets it in without closing its host";
            ("client-endpoint-closes", cause, Some(hint.to_owned()))
        }
        _ => ("closed", end, None),
    }
}

fn before<'b>(both: &Both<'b>, id: &ObjectId) -> Option<&'b crate::calico::Object> {
    both.before.get(id)
}

/// What begins with a host endpoint, whatever its policy.
fn created(both: &Both<'_>, warnings: &mut Vec<Warning>) {
    let created = both
        .plan
        .changes
        .iter()
        .filter(|c| c.id.kind == Kind::HostEndpoint && c.action() == Action::Create);
    let nodes = created.filter_map(|c| c.after.as_ref()?.spec_str("node"));
    let nodes = sorted(nodes.map(str::to_owned));
    if nodes.is_empty() {
        return;
    }
    let facts = |node: &str| both.is.facts(node);
    let kernel = |node: &&String| {
        facts(node).is_none_or(|f| f.allow_returns != Some(true) && f.bpf != Some(true))
    };
    let accepting: Vec<String> = nodes.iter().filter(kernel).cloned().collect();
    if !accepting.is_empty() {
        let text = "what Felix allows is accepted in the kernel from now on: rules behind its own (ufw, firewalld, written by hand) are no longer asked on these interfaces";
        let hint = "`iptablesFilterAllowAction: Return` in FelixConfiguration keeps them in force";
        warnings.push(general("kernel-accepts", accepting, text).hint(hint));
    }
    let text = "packets that connection tracking holds for invalid are dropped as soon as the host endpoint exists: asymmetric routes and direct server return break";
    let hint = "`disableConntrackInvalidCheck: true` in FelixConfiguration lets them through";
    warnings.push(general("invalid-packets", nodes, text).note().hint(hint));
}

/// Of two endpoints for one interface the first by name governs; the other's labels are dead.
fn shadowed(both: &Both<'_>, warnings: &mut Vec<Warning>) {
    let mut first: BTreeMap<(&str, crate::reach::Interfaces<'_>), &ObjectId> = BTreeMap::new();
    for endpoint in both.is.host_endpoints() {
        let Some(interfaces) = endpoint.interfaces else {
            continue;
        };
        if interfaces == crate::reach::Interfaces::ByAddress {
            continue;
        }
        let governor = *first
            .entry((endpoint.node, interfaces))
            .or_insert(endpoint.id);
        let labels = both.after.get(endpoint.id);
        let matters = labels.is_some_and(|o| o.labels().any(|(k, _)| protected_label(k)));
        if governor != endpoint.id && matters {
            let text = format!(
                "{} governs nothing: {governor} is for the same interface and comes first by name, so the labels of the later one are dead",
                endpoint.id
            );
            let warning = general("shadowed", vec![endpoint.node.to_owned()], text);
            warnings.push(warning.hint(format!("delete one of them, or label {governor}")));
        }
    }
}

/// Host endpoints that the plan touches and whose `spec.node` is nobody's name.
fn unknown_nodes(both: &Both<'_>, warnings: &mut Vec<Warning>) {
    let known = Host::all(both.after);
    if known.is_empty() {
        return;
    }
    let mut seen = BTreeSet::new();
    for change in &both.plan.changes {
        let Some(object) = change.after.as_ref() else {
            continue;
        };
        if object.id().kind != Kind::HostEndpoint || !seen.insert(object.id()) {
            continue;
        }
        let spec: HostEndpointSpec = object.typed_spec().unwrap_or_default();
        if known.contains_key(&spec.node) {
            continue;
        }
        let text = format!(
            "{}: its `spec.node` `{}` is no known node: if Calico knows none of exactly that name, it governs nothing, though its addresses count",
            object.id(),
            spec.node
        );
        let nearest = known.keys().min_by_key(|name| distance(name, &spec.node));
        let mut warning = general("unknown-node", Vec::new(), text);
        warning.hint = nearest
            .filter(|name| distance(name, &spec.node).saturating_mul(3) <= name.len())
            .map(|name| format!("did you mean `{name}`?"));
        warnings.push(warning);
    }
}

/// Local clients that a protection shuts out.
pub fn loopback(subject: &Subject, server: &ServerImpact, warnings: &mut Vec<Warning>) {
    let mut hosts = BTreeSet::new();
    for class in &server.classes {
        let out = |p: &super::super::Part| {
            matches!(p.change, Change::Loses) && p.who.iter().any(|w| matches!(w, Who::Itself(_)))
        };
        if class.parts.iter().any(out) {
            hosts.extend(class.targets.iter().cloned());
        }
    }
    if hosts.is_empty() {
        return;
    }
    let text = format!(
        "an endpoint for all interfaces polices loopback, too: clients of `{}` on the hosts themselves (127.0.0.1, their own addresses, health checks) are shut out",
        subject.name
    );
    let warning = about(subject, "loopback", hosts.into_iter().collect(), text);
    warnings.push(
        warning.hint("leave `--no-self` out: it lets loopback and the hosts' own addresses in"),
    );
}
