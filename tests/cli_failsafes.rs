//! What the command says of failsafe lists: which decides, what is claimed and what is not.

mod command;

use command::Cluster;

#[test]
fn a_policy_before_the_prune_is_said_to_do_nothing() {
    let cluster = Cluster::example();
    let run = cluster.does(&["server", "etcd", "--node", "cp-1", "--yes"]);
    run.says(
        "warning: tcp/2379 is an inbound failsafe on cp-1 (built-in list): the policy does nothing there until it is pruned\n\
         hint: let the clients in first (`grant etcd`), then `prune etcd`\n",
    )
    .says("done: 4 changes written and read back\n");
}

#[test]
fn every_list_that_decides_is_named() {
    let cluster = Cluster::own("team");
    let run = cluster.refused(
        0,
        &[
            "server",
            "etcd",
            "--node-selector",
            "has(rack)",
            "--dry-run",
        ],
    );
    run.says("tcp/2379 is an inbound failsafe on 2 nodes (FelixConfiguration/default)")
        .says("tcp/2379 is an inbound failsafe on birch (FelixConfiguration/node.birch)");
}

#[test]
fn the_built_in_list_is_that_of_the_version() {
    let prune = ["prune", "typha", "--direction", "inbound", "--dry-run"];
    Cluster::of_version("v3.14.2")
        .refused(0, &prune)
        .says("note: nothing to prune inbound: tcp/5473 is not in the built-in list\n");
    Cluster::example()
        .refused(0, &prune)
        .shows("+  failsafeInboundHostPorts:\n");
    Cluster::of_version("v3.17.1")
        .refused(64, &["prune", "tcp/22", "--keep-net", "192.0.2.0/24"])
        .says_all(&[
            "error: failsafes cannot be narrowed to networks in Calico v3.17.1",
            "hint: networks came with v3.18: leave `--keep-net` out",
        ]);
}

#[test]
fn where_the_environment_decides_nothing_is_claimed() {
    let cluster = Cluster::own("export-v1");
    let refused = [
        "error: the failsafe list is set by `FELIX_FAILSAFEINBOUNDHOSTPORTS` of DaemonSet/kube-system/calico-node, above all of Calico's API",
        "  no FelixConfiguration can change it: the port would stay as it is",
    ];
    for (arguments, list) in [
        (
            &["prune", "typha", "--yes"][..],
            "tcp:22,udp:68,tcp:179,tcp:6443",
        ),
        (
            &["prune", "tcp/22", "--keep-net", "192.0.2.0/24", "--yes"],
            "tcp:192.0.2.0/24:22,udp:68,tcp:179,tcp:5473,tcp:6443",
        ),
        (
            &["restore", "kubelet", "--add", "--yes"],
            "tcp:22,udp:68,tcp:179,tcp:5473,tcp:6443,tcp:10250",
        ),
    ] {
        let hint = format!(
            "hint: change the variable: `kubectl -n kube-system set env daemonset/calico-node FELIX_FAILSAFEINBOUNDHOSTPORTS={list}`"
        );
        cluster
            .refused(1, arguments)
            .says_all(&[&refused[..], &[&hint]].concat());
    }
}

#[test]
fn lists_that_sleep_are_told() {
    let cluster = Cluster::own("export-v1");
    cluster
        .refused(0, &["prune", "tcp/2379", "--direction", "inbound", "--yes"])
        .says_all(&[
            "note: nothing to prune inbound: tcp/2379 is not in FELIX_FAILSAFEINBOUNDHOSTPORTS of DaemonSet/kube-system/calico-node",
            "note: FelixConfiguration/default lists tcp/2379 inbound, too; another layer decides, so it does nothing now",
            "nothing to do",
        ]);
}

#[test]
fn an_empty_list_is_none_and_an_absent_one_is_the_built_in_one() {
    let cluster = Cluster::example();
    let felix = cluster.read("felix.yaml");
    cluster.write(
        "felix.yaml",
        format!("{felix}  failsafeInboundHostPorts: []\n"),
    );
    cluster
        .refused(0, &["prune", "etcd", "--direction", "inbound", "--yes"])
        .says("note: nothing to prune inbound: tcp/2379 is not in FelixConfiguration/default\n");
    let run = cluster.refused(0, &["status", "etcd"]);
    run.shows("  failsafe   none inbound\n");
    cluster.write("felix.yaml", felix);
    cluster
        .refused(0, &["status", "etcd"])
        .shows("  failsafe   tcp/2379 from built-in list on 3 nodes\n");
}
