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

mod command;

use command::Cluster;

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

/// Runs pairs on a fresh copy of every one of our own clusters, in both orders of undoing.
#[track_caller]
fn on_own(names: &[&str], pairs: &[Pair<'_>]) {
    for name in names {
        println!("{name}: {pairs:?}");
        let fresh = || match *name {
            "example" => Cluster::example(),
            name => Cluster::own(name),
        };
        there_and_back(&fresh(), pairs);
        there_and_back_in_order(&fresh(), pairs);
    }
}

const ALL: [&str; 3] = ["example", "team", "export-v1"];

#[test]
fn a_server_with_its_failsafes_in_one_command() {
    let opposite: &[&str] = &["remove", "etcd", "--restore"];
    let command: &[&str] = &["server", "etcd", "--node-selector", MASTERS, "--prune"];
    on_own(&ALL, &[(command, opposite)]);
}

#[test]
fn a_server_without_failsafes_in_one_command_leaves_the_lists_alone() {
    let command: &[&str] = &["server", "felix-metrics", "--all-nodes", "--prune"];
    let opposite: &[&str] = &["remove", "felix-metrics", "--restore"];
    on_own(&ALL, &[(command, opposite)]);
}

#[test]
fn failsafes_pruned_one_after_the_other() {
    let etcd: Pair<'_> = (&["prune", "etcd"], &["restore", "etcd"]);
    let peers: Pair<'_> = (&["prune", "etcd-peer"], &["restore", "etcd-peer"]);
    on_own(&["team"], &[etcd, peers]);
    on_own(
        &["example"],
        &[
            etcd,
            (
                &["prune", "tcp/22", "udp/68", "--direction", "inbound"],
                &["restore", "udp/68", "tcp/22"],
            ),
            peers,
        ],
    );
}

#[test]
fn all_failsafes_pruned_and_put_back() {
    let ports = [
        "tcp/22", "udp/68", "udp/53", "udp/67", "tcp/179", "tcp/2379", "tcp/2380", "tcp/5473",
        "tcp/6443", "tcp/6666", "tcp/6667",
    ];
    let prune = [&["prune"][..], &ports].concat();
    let mut backwards = ports;
    backwards.reverse();
    let restore = [&["restore"][..], &backwards].concat();
    on_own(&["example"], &[(&prune, &restore)]);
}

#[test]
fn failsafes_narrowed_to_networks() {
    let narrow: &[&str] = &["prune", "tcp/22", "--keep-net", NET];
    let to_two: &[&str] = &[
        "prune",
        "etcd",
        "--keep-net",
        NET,
        "--keep-net",
        "2001:db8::/32",
        "--direction",
        "inbound",
    ];
    on_own(
        &["example", "team"],
        &[
            (narrow, &["restore", "tcp/22"]),
            (to_two, &["restore", "etcd", "--direction", "inbound"]),
        ],
    );
}

#[test]
fn failsafes_of_single_nodes() {
    on_own(
        &["team"],
        &[
            (
                &["prune", "tcp/2380", "--node", "alder", "--node", "birch"],
                &["restore", "tcp/2380", "--node", "alder", "--node", "birch"],
            ),
            (
                &["prune", "tcp/22", "--node", "birch"],
                &["restore", "tcp/22", "--node", "birch"],
            ),
        ],
    );
    on_own(
        &["export-v1"],
        &[(
            &[
                "prune",
                "tcp/6443",
                "--node",
                "right",
                "--direction",
                "outbound",
            ],
            &["restore", "tcp/6443", "--node", "right"],
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
    there_and_back(&cluster, &[(&["prune", "etcd"], &["restore", "etcd"])]);
}

#[test]
fn a_tier_of_its_own_and_one_that_is_there() {
    for tier in ["guard", "audit"] {
        let server = ["server", "etcd", "--node-selector", MASTERS, "--tier", tier];
        let grant: Pair<'_> = (
            &["grant", "etcd", "--all-nodes"],
            &["revoke", "etcd", "--all-nodes"],
        );
        on_own(&ALL, &[(&server, &["remove", "etcd"]), grant]);
    }
}

#[test]
fn two_servers_in_one_tier() {
    on_own(
        &ALL,
        &[
            (
                &[
                    "server",
                    "etcd",
                    "--node-selector",
                    MASTERS,
                    "--tier",
                    "guard",
                ],
                &["remove", "etcd"],
            ),
            (
                &["server", "kubelet", "--all-nodes", "--tier", "guard"],
                &["remove", "kubelet"],
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
        let server = [
            "server",
            "web",
            "--port",
            "tcp/8080",
            "--port",
            "udp/8080",
            "--workload",
            pod,
            "--tier",
            "guard",
        ];
        let grant: Pair<'_> = (
            &["grant", "web", "--workload", pod, "--net", NET],
            &["revoke", "web", "--workload", pod, "--net", NET],
        );
        println!("{name}");
        let cluster = match name {
            "example" => Cluster::example(),
            name => Cluster::own(name),
        };
        let before = cluster.tree();
        let mut between = Vec::new();
        for command in [&server[..], grant.0] {
            between.push(cluster.tree());
            twice(&cluster, command);
        }
        // A server of one's own is known by its policy and labels: once they are gone it is not.
        for opposite in [grant.1, &["remove", "web"]] {
            cluster.does(&[opposite, &["--yes"]].concat());
            if let Some(tree) = between.pop() {
                cluster.tree().assert_same(&tree, opposite);
            }
        }
        cluster.tree().assert_same(&before, &["all"]);
    }
}

#[test]
fn a_server_of_ones_own_is_known_by_its_clients_when_its_policy_is_gone() {
    for cluster in [Cluster::example(), Cluster::own("export-v1")] {
        let before = cluster.tree();
        cluster.does(&[
            "server",
            "postgres",
            "--port",
            "tcp/5432",
            "--all-nodes",
            "--yes",
        ]);
        cluster.does(&["grant", "postgres", "--net", NET, "--all-nodes", "--yes"]);
        cluster.does(&["remove", "postgres", "--yes"]);
        cluster.does(&["status", "postgres"]).shows("open");
        cluster.does(&["revoke", "postgres", "--net", NET, "--all-nodes", "--yes"]);
        cluster.tree().assert_same(&before, &["revoke postgres"]);
    }
}

#[test]
fn everything_else_dropped() {
    on_own(
        &["team", "export-v1"],
        &[
            (
                &["grant", "etcd", "--all-nodes"],
                &["revoke", "etcd", "--all-nodes"],
            ),
            (
                &[
                    "server",
                    "etcd",
                    "--node-selector",
                    MASTERS,
                    "--approach",
                    "deny-by-default",
                ],
                &["remove", "etcd"],
            ),
        ],
    );
}

#[test]
fn single_interfaces() {
    on_own(
        &["team"],
        &[
            (
                &[
                    "server",
                    "felix-metrics",
                    "--node",
                    "cedar",
                    "--interface",
                    "eth0",
                ],
                &["remove", "felix-metrics"],
            ),
            (
                &[
                    "server",
                    "kubelet",
                    "--node",
                    "cedar",
                    "--interface",
                    "eth1",
                    "--interface",
                    "eth0",
                ],
                &["remove", "kubelet"],
            ),
        ],
    );
    on_own(
        &["export-v1"],
        &[(
            &[
                "server",
                "kubelet",
                "--node",
                "right",
                "--interface",
                "bond0.100",
            ],
            &["remove", "kubelet"],
        )],
    );
}

#[test]
fn interfaces_whose_names_are_no_dns_names() {
    for interface in ["bond0.100", "Eth_0", "lan-", "wg@1"] {
        let server = [
            "server",
            "kubelet",
            "--node",
            "right",
            "--interface",
            interface,
        ];
        on_own(&["export-v1"], &[(&server, &["remove", "kubelet"])]);
    }
}

#[test]
fn new_objects_in_one_file() {
    for (name, file) in [
        ("example", "protect.yaml"),
        ("team", "policies/global.yaml"),
    ] {
        let server = ["server", "etcd", "--node-selector", MASTERS, "--into", file];
        let grant = ["grant", "etcd", "--net", NET, "--into", file];
        on_own(
            &[name],
            &[
                (&server, &["remove", "etcd"]),
                (&grant, &["revoke", "etcd", "--net", NET]),
            ],
        );
    }
}

#[test]
fn one_file_instead_of_a_folder() {
    let cluster = Cluster::empty();
    let example = Cluster::example();
    let mut all = String::new();
    for name in example.tree().names() {
        all.push_str("---\n");
        all.push_str(&example.read(&name));
    }
    cluster.write("../one.yaml", &all);
    let run = |arguments: &[&str]| {
        let mut command = cluster.command(&[]);
        // The last of several stands.
        command.args(arguments).arg("--yes");
        let mut single = std::process::Command::new(command.get_program());
        single
            .args(["--manifests", "one.yaml"])
            .args(arguments)
            .arg("--yes");
        single.current_dir(cluster.home()).env_clear();
        command::Run::of(single).ended(0, arguments).clone()
    };
    run(&["server", "etcd", "--node-selector", MASTERS, "--prune"]);
    run(&["grant", "etcd", "--all-nodes", "--net", NET]);
    assert_ne!(cluster.read("../one.yaml"), all);
    run(&["revoke", "etcd", "--all-nodes", "--net", NET]);
    run(&["remove", "etcd", "--restore"]);
    assert_eq!(cluster.read("../one.yaml"), all);
    assert!(cluster.tree().names().is_empty());
}

#[test]
fn sets_and_addresses() {
    on_own(
        &["team"],
        &[
            (
                &[
                    "grant",
                    "etcd",
                    "--net-set",
                    "office",
                    "--net-set",
                    "printers",
                ],
                &[
                    "revoke",
                    "etcd",
                    "--net-set",
                    "office",
                    "--net-set",
                    "printers",
                ],
            ),
            (
                &[
                    "grant",
                    "typha",
                    "--ip",
                    "203.0.113.7",
                    "--ip",
                    "2001:db8::7",
                ],
                &[
                    "revoke",
                    "typha",
                    "--ip",
                    "2001:db8::7",
                    "--ip",
                    "203.0.113.7",
                ],
            ),
            (
                &["grant", "typha", "--node", "cedar", "--ip", "203.0.113.41"],
                &["revoke", "typha", "--node", "cedar", "--ip", "203.0.113.41"],
            ),
        ],
    );
}

#[test]
fn networks_come_and_go_one_by_one() {
    let [one, two] = [NET, "198.51.100.32/28"];
    on_own(
        &ALL,
        &[
            (
                &["grant", "etcd", "--net", one],
                &["revoke", "etcd", "--net", one],
            ),
            (
                &["grant", "etcd", "--net", two],
                &["revoke", "etcd", "--net", two],
            ),
        ],
    );
}

#[test]
fn many_servers_on_the_same_hosts() {
    let servers = ["etcd", "typha", "kubelet", "bgp"];
    let commands: Vec<[&str; 3]> = servers.map(|s| ["server", s, "--all-nodes"]).to_vec();
    let opposites: Vec<[&str; 2]> = servers.map(|s| ["remove", s]).to_vec();
    let pairs: Vec<Pair<'_>> = commands
        .iter()
        .zip(&opposites)
        .map(|(c, o)| (c.as_slice(), o.as_slice()))
        .collect();
    on_own(&ALL, &pairs);
}

#[test]
fn the_example_script_leaves_the_protection_that_the_readme_shows() {
    let cluster = Cluster::example();
    for arguments in [
        &["grant", "etcd", "--all-nodes", "--net", NET, "--yes"][..],
        &["server", "etcd", "--node-selector", MASTERS, "--yes"],
        &["prune", "etcd", "--yes"],
    ] {
        cluster.does(arguments);
    }
    let status = cluster.does(&["status", "etcd"]);
    status.shows("etcd  tcp/2379  protected\n");
}
