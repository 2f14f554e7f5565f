//! The main job on whole clusters, there and back.
//!
//! For every cluster: protect etcd on the control plane, let all nodes and one network in, protect
//! Typha and Felix's metrics, let a pod in, prune tcp/2379, without waiving any needed flow. Every
//! command a second time has nothing to do and touches no file. Then all of it is undone by the
//! opposite verbs in the opposite order, and after each of them the folder is, byte for byte, what
//! it was before the verb. Also: clients first, as the examples advise; undone in another order;
//! all in one command.

mod command;

use command::trips::{ETCD, OWN, Pair, copy, there_and_back, twice, words};

const BESIDE: [&str; 3] = ["gitops", "kubeadm-v3/yaml", "legacy-v1/yaml"];

/// The main job on a cluster.
fn main_job(name: &str) -> Vec<Pair<'static>> {
    let mut pairs = vec![
        (ETCD, "remove etcd"),
        (
            "grant etcd --all-nodes --net 198.51.100.0/28",
            "revoke etcd --all-nodes --net 198.51.100.0/28",
        ),
    ];
    // Where a host has a failsafe list of its own without Typha, its clients are cut off at once.
    if ["team", "gitops"].contains(&name) {
        pairs.push(("grant typha --all-nodes", "revoke typha --all-nodes"));
    }
    pairs.extend([
        (
            "server typha --node-selector has(node-role.kubernetes.io/control-plane)",
            "remove typha",
        ),
        ("server felix-metrics --all-nodes", "remove felix-metrics"),
    ]);
    pairs.push(match name {
        "team" | "gitops" => (
            "grant felix-metrics --workload 'tools/app == \"dashboard\"'",
            "revoke felix-metrics --workload 'tools/app == \"dashboard\"'",
        ),
        "legacy-v1/yaml" => (
            "grant felix-metrics --workload monitoring/all()",
            "revoke felix-metrics --workload monitoring/all()",
        ),
        _ => (
            "grant felix-metrics --workload 'monitoring/app == \"prometheus\"'",
            "revoke felix-metrics --workload 'monitoring/app == \"prometheus\"'",
        ),
    });
    pairs.push(("prune tcp/2379", "restore tcp/2379"));
    pairs
}

#[test]
fn the_main_job_there_and_back_in_the_opposite_order() {
    for name in OWN.into_iter().chain(BESIDE) {
        if let Some(cluster) = copy(name) {
            there_and_back(&cluster, &main_job(name));
        }
    }
}

#[test]
fn the_main_job_with_the_clients_first() {
    for name in OWN.into_iter().chain(BESIDE) {
        if let Some(cluster) = copy(name) {
            let mut pairs = main_job(name);
            pairs.swap(0, 1);
            there_and_back(&cluster, &pairs);
        }
    }
}

#[test]
fn the_main_job_undone_with_the_failsafes_first_and_the_rest_as_it_was_done() {
    for name in OWN.into_iter().chain(BESIDE) {
        if let Some(cluster) = copy(name) {
            let mut pairs = main_job(name);
            pairs.rotate_right(1);
            pairs.swap(1, 2);
            let before = cluster.tree();
            for (command, _) in pairs.iter().skip(1).chain(pairs.first()) {
                twice(&cluster, command);
            }
            // Servers before their clients, else the clients would be cut off.
            pairs.sort_by_key(|(_, opposite)| opposite.starts_with("revoke"));
            for (_, opposite) in pairs {
                cluster.does(&[&words(opposite)[..], &["--yes"]].concat());
            }
            cluster.tree().assert_same(&before, &["all"]);
        }
    }
}

#[test]
fn a_server_with_its_failsafes_in_one_command() {
    let line = format!("{ETCD} --prune --grant-needed");
    for name in OWN {
        let Some(cluster) = copy(name) else { continue };
        let before = cluster.tree();
        twice(&cluster, &line);
        twice(&cluster, "remove etcd --restore");
        cluster.does(&["revoke", "etcd", "--all-nodes", "--yes"]);
        cluster.tree().assert_same(&before, &["revoke"]);
    }
}

#[test]
fn the_example_ends_with_etcd_protected() {
    let Some(cluster) = copy("example") else {
        return;
    };
    cluster.does(&words("grant etcd --all-nodes --net 198.51.100.0/28 --yes"));
    cluster.does(&words(&format!("{ETCD} --yes")));
    cluster.does(&words("prune etcd --yes"));
    cluster
        .does(&["status", "etcd"])
        .shows("etcd  tcp/2379  protected\n");
}

#[test]
fn a_server_of_ones_own_is_known_by_its_clients_when_its_policy_is_gone() {
    for name in ["example", "export-v1"] {
        let Some(cluster) = copy(name) else { continue };
        let before = cluster.tree();
        for line in [
            "server postgres --port tcp/5432 --all-nodes --yes",
            "grant postgres --net 198.51.100.0/28 --all-nodes --yes",
            "remove postgres --yes",
        ] {
            cluster.does(&words(line));
        }
        cluster
            .does(&["status", "postgres"])
            .shows("postgres  ports unknown  open\n");
        let last = words("revoke postgres --net 198.51.100.0/28 --all-nodes --yes");
        cluster.does(&last);
        cluster.tree().assert_same(&before, &last);
    }
}
