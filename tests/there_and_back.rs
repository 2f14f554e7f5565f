//! Commands of many kinds and their opposites: the folder is what it was, byte for byte, when they
//! are undone in the opposite order, at every step, and in the same order, in the end.
//!
//! Covered: `server --prune` with `remove --restore`; `prune --keep-net`, `--node`, `--direction`,
//! annotations; `restore --add`; a tier, there already or new; deny by default; `--interface`;
//! `--into FILE` and one file instead of a folder; `--net-set`, addresses, networks one by one; a
//! workload in a tier; several servers and failsafes.

mod command;

use command::trips::{
    ETCD, OWN, Pair, copy, there_and_back, there_and_back_in_order, twice, words,
};
use command::{Cluster, Run};
use serde_json::Value;

/// Runs pairs on a fresh copy of clusters, in both orders of undoing.
#[track_caller]
fn on(names: &[&str], pairs: &[Pair<'_>]) {
    for name in names {
        if let Some(cluster) = copy(name) {
            there_and_back(&cluster, pairs);
        }
        if let Some(cluster) = copy(name) {
            there_and_back_in_order(&cluster, pairs);
        }
    }
}

#[test]
fn a_server_that_is_no_failsafe_leaves_the_lists_alone() {
    on(
        &OWN,
        &[(
            "server felix-metrics --all-nodes --prune",
            "remove felix-metrics --restore",
        )],
    );
}

#[test]
fn failsafes_pruned_one_after_the_other() {
    let etcd = ("prune etcd", "restore etcd");
    let peers = ("prune etcd-peer", "restore etcd-peer");
    on(&["team"], &[etcd, peers]);
    let others = (
        "prune tcp/22 udp/68 --direction inbound",
        "restore udp/68 tcp/22",
    );
    on(&["example"], &[etcd, others, peers]);
}

#[test]
fn all_failsafes_pruned_and_put_back() {
    on(
        &["example"],
        &[(
            "prune tcp/22 udp/68 udp/53 udp/67 tcp/179 tcp/2379 tcp/2380 tcp/5473 tcp/6443 tcp/6666 tcp/6667",
            "restore tcp/6667 tcp/6666 tcp/6443 tcp/5473 tcp/2380 tcp/2379 tcp/179 udp/67 udp/53 udp/68 tcp/22",
        )],
    );
}

#[test]
fn failsafes_narrowed_to_networks() {
    on(
        &["example", "team"],
        &[
            ("prune tcp/22 --keep-net 198.51.100.0/28", "restore tcp/22"),
            (
                "prune etcd --keep-net 198.51.100.0/28 --keep-net 2001:db8::/32 --direction inbound",
                "restore etcd --direction inbound",
            ),
        ],
    );
}

#[test]
fn failsafes_of_single_nodes() {
    on(
        &["team"],
        &[
            (
                "prune tcp/2380 --node alder --node birch",
                "restore tcp/2380 --node alder --node birch",
            ),
            ("prune tcp/22 --node birch", "restore tcp/22 --node birch"),
        ],
    );
    on(
        &["export-v1"],
        &[(
            "prune tcp/6443 --node right --direction outbound",
            "restore tcp/6443 --node right",
        )],
    );
}

#[test]
fn failsafes_of_annotations() {
    let cluster = Cluster::of(&[(
        "felix.yaml",
        "apiVersion: projectcalico.org/v3\n\
         kind: FelixConfiguration\n\
         metadata:\n\
         \x20 name: default\n\
         \x20 annotations:\n\
         \x20   config.projectcalico.org/failsafeinboundhostports: \"TCP:22, 2379,tcp:10.0.0.0/8:2379\"\n\
         spec: {}\n",
    )]);
    there_and_back(&cluster, &[("prune etcd", "restore etcd")]);
    cluster
        .does(&words("prune tcp/22 --yes"))
        .shows("tcp:2379,tcp:10.0.0.0/8:2379");
}

#[test]
fn a_port_that_other_hands_took_out_comes_back_when_asked_for_twice() {
    let Some(cluster) = copy("team") else { return };
    let bare = cluster
        .read("felix.yaml")
        .replace("    - protocol: tcp\n      port: 2380\n", "");
    cluster.write("felix.yaml", &bare);
    let untouched = cluster.refused(0, &words("restore etcd-peer --yes"));
    untouched
        .says("calicoctl-protect did not take tcp/2380 out of FelixConfiguration/default")
        .says("hint: `restore … --add`")
        .says("nothing to do");
    twice(&cluster, "restore etcd-peer --direction inbound --add");
    let back = cluster.read("felix.yaml");
    assert_eq!(back.matches("port: 2380").count(), 2, "{back}");
}

#[test]
fn a_tier_of_its_own_and_one_that_is_there() {
    let grant = ("grant etcd --all-nodes", "revoke etcd --all-nodes");
    for tier in ["guard", "audit"] {
        let server = format!("{ETCD} --tier {tier}");
        on(&OWN, &[grant, (&server, "remove etcd")]);
    }
}

#[test]
fn two_servers_in_one_tier() {
    let etcd = format!("{ETCD} --tier guard");
    on(
        &OWN,
        &[
            ("grant etcd --all-nodes", "revoke etcd --all-nodes"),
            (&etcd, "remove etcd"),
            (
                "server felix-metrics --all-nodes --tier guard",
                "remove felix-metrics",
            ),
        ],
    );
}

#[test]
fn a_workload_in_a_tier() {
    for (name, pod) in [
        ("example", "monitoring/app == \"prometheus\""),
        ("team", "tools/has(app)"),
        ("export-v1", "monitoring/all()"),
    ] {
        let Some(cluster) = copy(name) else { continue };
        let start = cluster.tree();
        twice(
            &cluster,
            &format!("server web --port tcp/8080 --port udp/8080 --workload '{pod}' --tier guard"),
        );
        let between = cluster.tree();
        twice(
            &cluster,
            &format!("grant web --workload '{pod}' --net 198.51.100.0/28"),
        );
        let back = format!("revoke web --workload '{pod}' --net 198.51.100.0/28");
        twice(&cluster, &back);
        cluster.tree().assert_same(&between, &words(&back));
        cluster.does(&["remove", "web", "--yes"]);
        cluster.tree().assert_same(&start, &["remove", "web"]);
    }
}

/// Options that waive every needed flow which a command would be refused for.
fn waivers(cluster: &Cluster, line: &str) -> String {
    let look = [&words(line)[..], &["--dry-run", "-o", "json"]].concat();
    let run: Run = cluster.run(&look);
    let document: Value = serde_json::from_str(&run.out).unwrap_or_default();
    let flows = document.pointer("/proof/flows").and_then(Value::as_array);
    let mut options = String::new();
    for flow in flows.into_iter().flatten() {
        let text = |field: &str| flow.get(field).and_then(Value::as_str).unwrap_or_default();
        match text("fate") {
            "cut" => options.push_str(&format!(" --allow-lockout {}", text("id"))),
            "unproven" => options.push_str(&format!(" --accept-unproven {}", text("id"))),
            _ => {}
        }
    }
    options
}

/// One pair on clusters, with whatever waivers it takes.
#[track_caller]
fn waived(names: &[&str], (command, opposite): Pair<'_>) {
    for name in names {
        let Some(cluster) = copy(name) else { continue };
        let before = cluster.tree();
        let options = waivers(&cluster, command);
        twice(&cluster, &format!("{command}{options}"));
        let options = waivers(&cluster, opposite);
        twice(&cluster, &format!("{opposite}{options}"));
        cluster.tree().assert_same(&before, &words(opposite));
    }
}

#[test]
fn everything_else_dropped() {
    let command = format!("{ETCD} --approach deny-by-default");
    waived(&OWN, (&command, "remove etcd"));
}

#[test]
fn single_interfaces() {
    waived(
        &["team"],
        (
            "server felix-metrics --node cedar --interface eth0",
            "remove felix-metrics",
        ),
    );
    waived(
        &["team"],
        (
            "server kubelet --node cedar --interface eth1 --interface eth0",
            "remove kubelet",
        ),
    );
}

#[test]
fn interfaces_whose_names_are_no_dns_names() {
    for interface in ["bond0.100", "Eth_0", "lan-", "eth0.", "-"] {
        let server = format!("server kubelet --node right --interface={interface}");
        waived(&["export-v1"], (&server, "remove kubelet"));
    }
}

#[test]
fn new_objects_in_one_file() {
    for (name, file) in [
        ("example", "protect.yaml"),
        ("team", "policies/global.yaml"),
    ] {
        let server = format!("server felix-metrics --all-nodes --into {file}");
        let grant = format!("grant felix-metrics --net 198.51.100.0/28 --into {file}");
        on(
            &[name],
            &[
                (&server, "remove felix-metrics"),
                (&grant, "revoke felix-metrics --net 198.51.100.0/28"),
            ],
        );
    }
}

#[test]
fn one_file_instead_of_a_folder() {
    let (cluster, example) = (Cluster::empty(), Cluster::example());
    let mut all = String::new();
    for name in example.tree().names() {
        all.push_str("---\n");
        all.push_str(&example.read(&name));
    }
    cluster.write("../one.yaml", &all);
    let run = |line: &str| {
        let mut command = cluster.bare();
        command
            .args(["--manifests", "one.yaml"])
            .args(words(line))
            .arg("--yes");
        Run::of(command).ended(0, &words(line));
    };
    run("grant etcd --all-nodes --net 198.51.100.0/28");
    run(&format!("{ETCD} --prune"));
    assert_ne!(cluster.read("../one.yaml"), all);
    run("remove etcd --restore");
    run("revoke etcd --all-nodes --net 198.51.100.0/28");
    assert_eq!(cluster.read("../one.yaml"), all);
    assert!(cluster.tree().names().is_empty());
}

#[test]
fn sets_and_addresses() {
    on(
        &["team"],
        &[
            (
                "grant etcd --net-set office --net-set printers",
                "revoke etcd --net-set office --net-set printers",
            ),
            (
                "grant typha --ip 203.0.113.7 --ip 2001:db8::7",
                "revoke typha --ip 2001:db8::7 --ip 203.0.113.7",
            ),
            (
                "grant typha --node cedar --ip 203.0.113.41",
                "revoke typha --node cedar --ip 203.0.113.41",
            ),
        ],
    );
}

#[test]
fn networks_come_and_go_one_by_one() {
    on(
        &OWN,
        &[
            (
                "grant etcd --net 198.51.100.0/28",
                "revoke etcd --net 198.51.100.0/28",
            ),
            (
                "grant etcd --net 198.51.100.32/28",
                "revoke etcd --net 198.51.100.32/28",
            ),
        ],
    );
}

#[test]
fn many_servers_on_the_same_hosts() {
    let servers = [
        "felix-metrics",
        "typha-metrics",
        "kube-scheduler",
        "kube-proxy-metrics",
    ];
    let commands = servers.map(|server| format!("server {server} --all-nodes"));
    let opposites = servers.map(|server| format!("remove {server}"));
    let pairs: Vec<Pair<'_>> = commands
        .iter()
        .zip(&opposites)
        .map(|(command, opposite)| (command.as_str(), opposite.as_str()))
        .collect();
    on(&OWN, &pairs);
}

#[test]
fn an_object_without_a_spec_is_without_one_again() {
    for (name, text) in [
        (
            "felix.yaml",
            "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata:\n  name: default\n",
        ),
        (
            "no-newline.yml",
            "kind: FelixConfiguration\napiVersion: projectcalico.org/v3\nmetadata: {name: default}",
        ),
        (
            "felix.json",
            "{\"apiVersion\": \"projectcalico.org/v3\", \"kind\": \"FelixConfiguration\",\n \"metadata\": {\"name\": \"default\"}}",
        ),
        (
            "empty.yaml",
            "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {}\n",
        ),
    ] {
        let cluster = Cluster::of(&[(name, text)]);
        there_and_back(&cluster, &[("prune etcd", "restore etcd")]);
        there_and_back(&cluster, &[("prune etcd tcp/22", "restore tcp/22 etcd")]);
    }
}
