//! What plans mean: who loses, keeps and gains access, exactly.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod impact_support;

use calicoctl_protect::cli::show_impact;
use calicoctl_protect::plan::impact::{Change, ServerImpact, Who};
use calicoctl_protect::plan::report::Impact;
use calicoctl_protect::reach::Addresses;
use impact_support::*;

fn set(nets: &[&str]) -> Addresses {
    Addresses::of(
        nets.iter()
            .map(|n| calicoctl_protect::reach::parse_net(n).unwrap()),
    )
}

fn names(who: &[Who]) -> Vec<String> {
    let name = |who: &Who| match who {
        Who::Itself(_) => "itself".to_owned(),
        Who::Everyone => "everyone".to_owned(),
        Who::Node { name, whole, .. } => format!("node {name} {whole}"),
        Who::Set { id, .. } => id.to_string(),
        Who::Pods { id, count, .. } => format!("{id} x{count}"),
        Who::Addresses(addresses) => addresses.to_string(),
        Who::EveryoneElse { .. } => "everyone else".to_owned(),
    };
    who.iter().map(name).collect()
}

const BACKUP: &str = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: backup, labels: {role: backup}}, spec: {nets: [198.51.100.32/28]}}";

#[test]
fn clients_keep_their_access_and_everyone_else_loses_it() {
    let cluster = mk_pruned(&mk_cluster(&[BACKUP]), "etcd");
    let granted = mk_grant(&cluster, "etcd", |g| {
        g.nodes.names = vec!["worker-1".to_owned()];
        g.nets = vec!["198.51.100.0/28".parse().unwrap()];
    });
    let shown = mk_protect(&granted.after, "etcd", |_| ());
    let keeps = shown.part("etcd", Change::Keeps);
    assert_eq!(
        names(&keeps.who),
        [
            "itself",
            "node worker-1 true",
            "GlobalNetworkSet/allowed-etcd-client"
        ]
    );
    assert!(keeps.addresses.contains_all(&set(&[
        "192.0.2.21",
        "10.244.1.0",
        "198.51.100.0/28",
        "127.0.0.1"
    ])));
    let loses = shown.part("etcd", Change::Loses);
    assert_eq!(
        names(&loses.who),
        ["node m1 true", "GlobalNetworkSet/backup", "everyone else"]
    );
    assert!(loses.addresses.contains_all(&set(&[
        "198.51.100.32/28",
        "192.0.2.101",
        "8.8.8.8",
        "2001:db8:2::1"
    ])));
    // Every address of both families is in exactly one part; a host does not meet its own from
    // outside.
    assert!(keeps.addresses.intersection(&loses.addresses).is_empty());
    let all = keeps.addresses.union(&loses.addresses);
    let rest = all.complement().difference(&set(&["127.0.0.0/8"]));
    assert!(rest.is_empty(), "{rest}");
    assert!(
        loses
            .reason
            .to_string()
            .contains("protected-etcd-server in tier default, ingress rule 1: Deny")
    );
}

#[test]
fn a_grant_on_a_protected_server_gains_access_and_a_revoke_of_nothing_is_nothing() {
    let cluster = mk_protected(&mk_pruned(&mk_cluster(&[]), "etcd"), "etcd", |_| ());
    let shown = mk_grant(&cluster, "etcd", |g| {
        g.nets = vec!["198.51.100.0/28".parse().unwrap()]
    });
    let gains = shown.part("etcd", Change::Gains);
    assert_eq!(gains.addresses, set(&["198.51.100.0/28"]));
    assert_eq!(names(&gains.who), ["GlobalNetworkSet/allowed-etcd-client"]);
    let stays = shown.part("etcd", Change::StaysOut);
    assert!(stays.addresses.contains("8.8.8.8".parse().unwrap()));
    assert!(mk_plan(&cluster, |_| Ok(())).impact.servers.is_empty());
}

#[test]
fn a_label_on_a_node_counts_through_its_automatic_endpoint() {
    let cluster = mk_protected(&mk_pruned(&mk_cluster(&[]), "etcd"), "etcd", |_| ());
    let shown = mk_grant(&cluster, "etcd", |g| {
        g.nodes.names = vec!["worker-1".to_owned()]
    });
    let gains = shown.part("etcd", Change::Gains);
    assert_eq!(names(&gains.who), ["node worker-1 true"]);
    assert_eq!(gains.addresses, set(&["192.0.2.21", "10.244.1.0"]));
}

#[test]
fn a_protection_of_pods_names_pods_and_leaves_their_own_policy_alone() {
    let shown = mk_protect(&mk_cluster(&[]), "shop-web", |p| {
        p.ports = vec!["tcp/8080".parse().unwrap()];
        p.nodes.names.clear();
        p.workloads = vec![mk_workload("shop", "app == 'web'")];
        p.tier = Some("guard".to_owned());
    });
    let server = &shown.impact.servers[0];
    assert_eq!(server.classes.len(), 1, "{server:#?}");
    assert_eq!(
        server.classes[0].targets,
        ["shop/web-77f-a", "shop/web-77f-b"]
    );
    let loses = shown.part("shop-web", Change::Loses);
    assert!(
        names(&loses.who).contains(&"everyone".to_owned()),
        "{loses:?}"
    );
    assert!(shown.impact.flips.is_empty(), "{:?}", shown.impact.flips);
}

#[test]
fn a_default_that_flips_is_told_with_what_catches_it() {
    let shown = mk_protect(&mk_cluster(&[]), "etcd", |_| ());
    // The default allow covers egress as well.
    let [flip, _] = shown.impact.flips.as_slice() else {
        panic!("{:?}", shown.impact.flips)
    };
    assert_eq!(flip.hosts, ["cp-1"]);
    assert!(!flip.closes());
    let caught = flip.caught_by[1].as_ref().unwrap().to_string();
    assert_eq!(caught, "GlobalNetworkPolicy/bl-default-allow");
}

#[test]
fn a_pruned_port_without_a_server_is_told_on_every_host_with_endpoints() {
    let ssh = mk_prune(&mk_cluster(&[]), "ssh");
    let [server] = ssh.impact.servers.as_slice() else {
        panic!("{:?}", ssh.impact.servers)
    };
    assert_eq!((server.name.as_str(), server.touched), ("ssh", true));
    assert_eq!(server.classes[0].targets, ["cp-1", "worker-1"]);
    let keeps = ssh.part("ssh", Change::Keeps);
    assert!(
        keeps
            .reason
            .to_string()
            .contains("profile projectcalico-default-allow"),
        "{}",
        keeps.reason
    );
}

#[test]
fn servers_that_the_plan_does_not_touch_are_not_shown() {
    let typha = mk_protected(&mk_cluster(&[]), "typha", |_| ());
    let shown = mk_protect(&typha, "etcd", |_| ());
    let touched: Vec<(&str, bool)> = shown
        .impact
        .servers
        .iter()
        .map(|s| (s.name.as_str(), s.touched))
        .collect();
    assert_eq!(touched, [("etcd", true), ("typha", false)]);
    let text = show_impact::text(&shown.impact);
    assert!(text.contains("etcd") && !text.contains("typha"), "{text}");
    assert_eq!(Impact::from(&shown.impact).servers.len(), 2);
}

/// A cluster with many hosts beside the others; every tenth reports its interfaces.
fn mk_large(hosts: u32) -> calicoctl_protect::calico::Snapshot {
    let mut objects = Vec::new();
    for at in 0..hosts {
        let ip = format!("10.{}.{}.{}", 64 + (at >> 16), (at >> 8) & 255, at & 255);
        let interfaces = if at % 10 == 0 {
            format!(", interfaces: [{{name: eth0, addresses: [{ip}/8]}}]")
        } else {
            String::new()
        };
        objects.push(format!("{{apiVersion: projectcalico.org/v3, kind: Node, metadata: {{name: h{at:05}, labels: {{a: b}}}}, spec: {{addresses: [{{address: {ip}, type: InternalIP}}]{interfaces}}}}}"));
        objects.push(format!("{{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {{name: h{at:05}-all}}, spec: {{node: h{at:05}, interfaceName: '*', expectedIPs: [{ip}], profiles: [projectcalico-default-allow]}}}}"));
    }
    let texts: Vec<&str> = objects.iter().map(String::as_str).collect();
    mk_pruned(&mk_cluster(&texts), "etcd")
}

fn large_impact(hosts: u32) -> ServerImpact {
    let cluster = mk_large(hosts);
    let shown = mk_protect(&cluster, "etcd", |p| {
        p.nodes.names.clear();
        p.nodes.all = true;
    });
    shown.impact.servers[0].clone()
}

#[test]
fn the_number_of_classes_does_not_grow_with_the_hosts() {
    let (few, many) = (large_impact(20), large_impact(400));
    assert_eq!(few.classes.len(), many.classes.len());
    assert_eq!(
        many.classes.len(),
        1,
        "{:?}",
        many.classes
            .iter()
            .map(|c| c.targets.len())
            .collect::<Vec<_>>()
    );
    assert_eq!(many.classes[0].targets.len(), 403);
}

#[test]
fn long_lists_are_cut_for_people_and_whole_in_json() {
    let cluster = mk_large(30);
    let shown = mk_protect(&cluster, "etcd", |p| {
        p.nodes.names.clear();
        p.nodes.all = true;
    });
    let text = show_impact::text(&shown.impact);
    assert!(
        text.contains("cp-1, h00000, h00001, h00002, h00003, h00004 and 27 more"),
        "{text}"
    );
    let whole = Impact::from(&shown.impact);
    assert_eq!(whole.servers[0].hosts[0].on.len(), 33);
}

#[test]
fn people_read_names_first_and_reasons_below() {
    let cluster = mk_pruned(&mk_cluster(&[BACKUP]), "etcd");
    let shown = mk_protect(&cluster, "etcd", |_| ());
    let text = anstream::adapter::strip_str(&show_impact::text(&shown.impact)).to_string();
    let wanted = "\
etcd (tcp/2379) on cp-1
  keeps    itself (10.244.0.0, 127.0.0.1, 192.0.2.11, …)
           GlobalNetworkPolicy/bl-default-allow in tier default, ingress rule 1: Allow
  loses    nodes m1, worker-1 (10.244.1.0, 10.244.2.0, 192.0.2.21, …); set backup (198.51.100.32/28); everyone else
           GlobalNetworkPolicy/protected-etcd-server in tier default, ingress rule 1: Deny

other policy on these endpoints
  default of ingress and egress for HostEndpoint/cp-1-auto-hep: profile projectcalico-default-allow → end of tier default (drop); GlobalNetworkPolicy/bl-default-allow allows everything before that

";
    assert_eq!(text, wanted);
}
