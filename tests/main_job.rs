//! The main job on whole clusters, there and back.
//!
//! For every cluster: protect etcd on the control plane, let all nodes and one network in, protect
//! Typha and Felix's metrics, let a pod in, prune tcp/2379. Every command a second time has nothing
//! to do and touches no file. Then all of it is undone by the opposite verbs in the opposite order,
//! and after each of them the folder is, byte for byte, what it was before the verb.
//!
//! The variants below do the same for other orders and options: clients first, as the examples
//! advise; undone in the order in which it was done; `server --prune` with `remove --restore`;
//! `prune --keep-net`, `--node`, `--direction`; a tier, there already or new; deny by default;
//! `--interface`; `--into FILE` and one file instead of a folder; `--net-set`; an address; a
//! workload in a tier; a server of one's own; several servers and failsafes in every order.

#![expect(
    clippy::print_stdout,
    reason = "a test that fails says on which cluster"
)]

mod support;

use support::Cluster;

/// A command and its opposite.
type Pair<'a> = (&'a [&'a str], &'a [&'a str]);

const MASTERS: &str = "has(node-role.kubernetes.io/control-plane)";
const NET: &str = "198.51.100.0/28";

/// The clusters on which everything is tried: our own, and those beside the sources. With each a
/// pod, a host, and a port of Felix's lists.
fn clusters() -> Vec<(&'static str, Cluster, &'static str)> {
    let own = [
        (
            "example",
            Cluster::example(),
            "monitoring/app == \"prometheus\"",
        ),
        ("team", Cluster::own("team"), "tools/app == \"dashboard\""),
        (
            "export-v1",
            Cluster::own("export-v1"),
            "monitoring/app == \"prometheus\"",
        ),
    ];
    let beside = [
        ("gitops", "tools/app == \"dashboard\""),
        ("kubeadm-v3/yaml", "monitoring/app == \"prometheus\""),
        ("legacy-v1/yaml", "monitoring/all()"),
    ];
    let beside = beside
        .into_iter()
        .filter_map(|(name, pod)| Cluster::beside(name).map(|cluster| (name, cluster, pod)));
    own.into_iter().chain(beside).collect()
}

/// Runs a command that changes something, then once more, when there is nothing left to do.
#[track_caller]
fn twice(cluster: &Cluster, command: &[&str]) {
    let arguments = [command, &["--yes"]].concat();
    cluster.does(&arguments).says("done: ");
    again(cluster, &arguments);
}

#[track_caller]
fn again(cluster: &Cluster, arguments: &[&str]) {
    let run = cluster.refused(0, arguments);
    run.says("nothing to do").shows_nothing();
}

/// There and back, in the opposite order, exact at every step.
#[track_caller]
fn there_and_back(cluster: &Cluster, pairs: &[Pair<'_>]) {
    let mut before = Vec::new();
    for (command, _) in pairs {
        before.push(cluster.tree());
        twice(cluster, command);
    }
    for ((_, opposite), tree) in pairs.iter().zip(before).rev() {
        twice(cluster, opposite);
        cluster.tree().assert_same(&tree, opposite);
    }
}

/// There, and back in the same order: only the end must be what the beginning was.
#[track_caller]
fn there_and_back_in_order(cluster: &Cluster, pairs: &[Pair<'_>]) {
    let before = cluster.tree();
    for (command, _) in pairs {
        twice(cluster, command);
    }
    for (_, opposite) in pairs {
        cluster.does(&[*opposite, &["--yes"]].concat());
    }
    let all: Vec<&str> = pairs.iter().flat_map(|(_, o)| o.iter().copied()).collect();
    cluster.tree().assert_same(&before, &all);
}

fn main_job(pod: &str) -> Vec<(Vec<&str>, Vec<&str>)> {
    let masters = ["--node-selector", MASTERS];
    vec![
        (
            [&["server", "etcd"][..], &masters].concat(),
            vec!["remove", "etcd"],
        ),
        (
            vec!["grant", "etcd", "--all-nodes", "--net", NET],
            vec!["revoke", "etcd", "--all-nodes", "--net", NET],
        ),
        (
            [&["server", "typha"][..], &masters].concat(),
            vec!["remove", "typha"],
        ),
        (
            vec!["server", "felix-metrics", "--all-nodes"],
            vec!["remove", "felix-metrics"],
        ),
        (
            vec!["grant", "felix-metrics", "--workload", pod],
            vec!["revoke", "felix-metrics", "--workload", pod],
        ),
        (vec!["prune", "tcp/2379"], vec!["restore", "tcp/2379"]),
    ]
}

fn borrowed<'a>(pairs: &'a [(Vec<&'a str>, Vec<&'a str>)]) -> Vec<Pair<'a>> {
    let pair = |(command, opposite): &'a (Vec<&'a str>, Vec<&'a str>)| {
        (command.as_slice(), opposite.as_slice())
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn the_main_job_there_and_back_in_the_opposite_order() {
    for (name, cluster, pod) in clusters() {
        println!("{name}");
        there_and_back(&cluster, &borrowed(&main_job(pod)));
    }
}

#[test]
fn the_main_job_with_the_clients_first() {
    for (name, cluster, pod) in clusters() {
        println!("{name}");
        let mut pairs = main_job(pod);
        pairs.swap(0, 1);
        there_and_back(&cluster, &borrowed(&pairs));
    }
}

#[test]
fn the_main_job_undone_in_the_order_in_which_it_was_done() {
    for (name, cluster, pod) in clusters() {
        println!("{name}");
        there_and_back_in_order(&cluster, &borrowed(&main_job(pod)));
    }
}
