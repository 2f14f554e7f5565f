//! The traps of the manual recipe: what the command says, and what it does instead.

mod command;

use command::Cluster;

const CONTROLLERS: &str = "\
apiVersion: projectcalico.org/v3
kind: KubeControllersConfiguration
metadata: {name: default}
spec: {controllers: {node: {hostEndpoint: {autoCreate: Enabled}}}}
";

const WORKLOADS: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: lost-1
  namespace: shop
  labels: {app: lost}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: lost, uid: x, controller: true}]
spec: {}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: shop}
spec: {template: {metadata: {labels: {app: agent}}, spec: {hostNetwork: true}}}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: shop, labels: {app: bare}}
spec: {}
";

#[test]
fn automatic_host_endpoints_are_labelled_through_their_node() {
    let cluster = Cluster::example();
    cluster.write("controllers.yaml", CONTROLLERS);
    for name in ["hosts/control-plane.yaml", "hosts/workers.yaml"] {
        assert!(std::fs::remove_file(cluster.path().join(name)).is_ok());
    }
    let run = cluster.does(&["grant", "etcd", "--all-nodes", "--yes"]);
    run.shows("~ Node/worker-1  nodes.yaml:16\n  clients: lets worker-1 in: its automatic host endpoint copies the Node's labels\n")
        .shows("0 to create, 3 to change, 0 to delete\n");
    let run = cluster.does(&["server", "etcd", "--node", "cp-1", "--yes"]);
    run.shows("~ Node/cp-1  nodes.yaml:1\n  protected labels: protects cp-1: its automatic host endpoint copies the Node's labels\n");
    assert!(!run.changes().contains("HostEndpoint/"), "{run}");
}

#[test]
fn an_automatic_host_endpoint_without_its_node_is_not_labelled() {
    let cluster = Cluster::example();
    cluster.write(
        "auto.yaml",
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata:\n  name: w9-auto-hep\n  labels: {projectcalico.org/created-by: calico-kube-controllers}\n\
         spec: {node: w9, interfaceName: '*', expectedIPs: [192.0.2.99], profiles: [projectcalico-default-allow]}\n",
    );
    for arguments in [
        &["server", "etcd", "--node", "w9", "--yes"][..],
        &["grant", "etcd", "--node", "w9", "--yes"],
    ] {
        cluster.refused(1, arguments).says_all(&[
            "error: the object of node `w9` is not here",
            "hint: host endpoint `w9-auto-hep` is automatic and copies its labels from the Node: add the Node's object, or label the Node by hand",
        ]);
    }
}

#[test]
fn pods_are_not_protected_without_a_tier_that_passes() {
    let details = [
        "error: protecting pods `monitoring/all()` without a tier would close all their other ports",
        "  a policy that covers ingress makes the end of the default tier drop what no rule allows",
        "  a default-allow policy beside it would cancel every network policy of these pods",
    ];
    let server = [
        "server",
        "web",
        "--port",
        "tcp/80",
        "--workload",
        "monitoring/all()",
        "--yes",
    ];
    let hint = "hint: add `--tier NAME`: a tier of its own that passes everything else on";
    let cluster = Cluster::example();
    cluster
        .refused(3, &server)
        .says_all(&[&details[..], &[hint]].concat());
    let default = [&server[..], &["--tier", "default"]].concat();
    cluster.refused(3, &default).says(hint);
    let old = "hint: Calico v3.28.5 has no tiers: tighten the pods' own network policies instead";
    Cluster::of_version("v3.28.5")
        .refused(3, &server)
        .says_all(&[&details[..], &[old]].concat());
}

#[test]
fn a_tier_must_pass_and_come_before_the_default_one() {
    let cluster = Cluster::example();
    cluster.write(
        "tiers.yaml",
        "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: deny}\nspec: {order: 10}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: late}\nspec: {order: 2000000, defaultAction: Pass}\n",
    );
    let server = ["server", "etcd", "--node", "cp-1", "--yes", "--tier"];
    cluster.refused(3, &[&server[..], &["deny"]].concat()).says_all(&[
        "error: tier `deny` drops what none of its policies decides",
        "  a host endpoint that the protect policy selects would lose everything that tier `deny` does not allow",
        "hint: use a tier with `defaultAction: Pass`, or leave `--tier deny` out",
    ]);
    cluster
        .refused(3, &[&server[..], &["late"]].concat())
        .says_all(&[
            "error: tier `late` comes after the default tier",
            "  an Allow of the default tier would decide before the protect policy",
            "hint: use a tier of an order below 1000000",
        ]);
}

#[test]
fn tiers_came_with_a_version() {
    let server = [
        "server",
        "etcd",
        "--node",
        "cp-1",
        "--tier",
        "guard",
        "--dry-run",
    ];
    Cluster::of_version("v3.28.5")
        .refused(64, &server)
        .says_all(&[
            "error: tier `guard` cannot be used: Calico v3.28.5 has no tiers",
            "hint: tiers came with v3.29: leave `--tier` out",
        ]);
    // From v3.29 to v3.31 the tier is part of the policy's name.
    let prefixed = "+ GlobalNetworkPolicy/guard.protected-etcd-server\n";
    Cluster::of_version("v3.30.7")
        .refused(0, &server)
        .shows(prefixed);
    let plain = "+ GlobalNetworkPolicy/protected-etcd-server\n";
    Cluster::example().refused(0, &server).shows(plain);
}

#[test]
fn the_version_is_the_one_given_where_the_manifests_do_not_tell() {
    let cluster = Cluster::example();
    let text = cluster
        .read("cluster.yaml")
        .replace("calicoVersion: v3.32.1", "clusterType: k8s");
    cluster.write(
        "cluster.yaml",
        text.replace("clusterType: k8s,bgp,kubeadm,kdd", ""),
    );
    let server = [
        "server",
        "etcd",
        "--node",
        "cp-1",
        "--tier",
        "guard",
        "--dry-run",
    ];
    cluster.refused(0, &server);
    cluster
        .refused(
            64,
            &[&server[..], &["--calico-version", "v3.28.5"]].concat(),
        )
        .says("Calico v3.28.5 has no tiers");
    // What the manifests tell stands.
    Cluster::example().refused(0, &[&server[..], &["--calico-version", "v3.28.5"]].concat());
}

#[test]
fn a_server_keeps_its_tier_and_approach_when_more_hosts_join() {
    let cluster = Cluster::example();
    cluster.does(&["grant", "felix-metrics", "--all-nodes", "--yes"]);
    cluster.does(&[
        "server",
        "felix-metrics",
        "--node",
        "worker-1",
        "--tier",
        "guard",
        "--yes",
    ]);
    let run = cluster.does(&["server", "felix-metrics", "--node", "worker-2", "--yes"]);
    assert!(!run.changes().contains("bl-default-allow"), "{run}");
    assert!(!run.changes().contains("GlobalNetworkPolicy"), "{run}");
    // A workload may join as well: the policy is in a tier already.
    cluster.refused(
        0,
        &[
            "server",
            "felix-metrics",
            "--workload",
            "monitoring/all()",
            "--dry-run",
        ],
    );

    let cluster = Cluster::own("team");
    let deny = [
        "server",
        "felix-metrics",
        "--node",
        "alder",
        "--approach",
        "deny-by-default",
        "--yes",
    ];
    cluster.does(&deny);
    // The new endpoint would drop everything: a reason more to see that the approach is kept.
    let run = cluster.refused(
        3,
        &["server", "felix-metrics", "--node", "birch", "--dry-run"],
    );
    let policy = "GlobalNetworkPolicy/protected-felix-metrics-server";
    assert!(!run.changes().contains(policy), "{run}");
}

#[test]
fn deny_by_default_does_not_hold_where_the_allow_label_is() {
    let cluster = Cluster::own("team");
    let run = cluster.refused(
        0,
        &[
            "server",
            "etcd",
            "--node",
            "alder",
            "--approach",
            "deny-by-default",
            "--dry-run",
        ],
    );
    run.says(
        "warning: HostEndpoint/alder-star carries `bl-default-allow`, which lets everybody in behind the protect policy: `etcd` stays open there\n\
         hint: take the label away, or protect it without `--approach deny-by-default`\n",
    );
}

#[test]
fn a_needed_flow_that_would_be_cut_is_named_with_the_way_to_keep_it() {
    let cluster = Cluster::own("team");
    let server = [
        "server",
        "etcd",
        "--node",
        "birch",
        "--prune",
        "--no-self",
        "--yes",
    ];
    let run = cluster.refused(3, &server);
    run.says("error: refused: ")
        .says("hint: ")
        .says("--allow-lockout ");
    let kept = [&server[..5], &["--grant-needed", "--yes"]].concat();
    cluster.does(&kept).shows("needed flows: ");
}

#[test]
fn pods_behind_nat_are_warned_about() {
    let grant = [
        "grant",
        "etcd",
        "--workload",
        "monitoring/app == \"prometheus\"",
        "--dry-run",
    ];
    let cluster = Cluster::example();
    cluster.refused(0, &grant).says_all(&[
        "note: rollout restart: Deployment/monitoring/prometheus makes its pods (1 pod) anew, some at a time",
        "warning: pods `monitoring/app == \"prometheus\"` leave a pool with `natOutgoing`: a server in the host's network sees the address of their node, and the label does nothing there",
        "hint: let their nodes in instead: `--node NAME`",
        "dry run: nothing was written",
    ]);
    let routed = cluster
        .read("cluster.yaml")
        .replace("natOutgoing: true", "natOutgoing: false");
    cluster.write("cluster.yaml", routed);
    cluster.refused(0, &grant).silent_about("natOutgoing");
}

#[test]
fn labels_go_where_they_hold() {
    let cluster = Cluster::example();
    cluster.write("workloads.yaml", WORKLOADS);
    cluster.refused(1, &["grant", "etcd", "--workload", "shop/app == \"lost\""]).says_all(&[
        "error: Pod/shop/lost-1 is controlled by ReplicaSet/lost, which is not here",
        "hint: a label on the pod itself is lost when the pod is made anew: add the controller's object, or label its pod template by hand; `--pods-only` labels the pods that run, until they are made anew",
    ]);
    cluster.refused(1, &["grant", "etcd", "--workload", "shop/app == \"agent\""]).says_all(&[
        "error: pods of DaemonSet/shop/agent use their host's network: labels on them count for nothing",
        "hint: name their nodes instead: `--node NAME` or `--node-selector SELECTOR`",
    ]);
    cluster
        .refused(0, &["grant", "etcd", "--workload", "shop/app == \"bare\"", "--dry-run"])
        .shows("~ Pod/shop/bare  workloads.yaml:15\n  clients: lets its pods in: the pod has no controller\n");
}

#[test]
fn a_host_without_a_node_object_is_known_by_its_endpoint() {
    let cluster = Cluster::own("team");
    cluster
        .refused(0, &["server", "felix-metrics", "--node", "dogwood", "--dry-run"])
        .shows("+ HostEndpoint/dogwood-all\n")
        .says("note: node `dogwood` is known from its host endpoints only: addresses that they do not list are not known\n");
}

#[test]
fn interfaces_get_host_endpoints_of_their_own_with_their_own_addresses() {
    let cluster = Cluster::own("team");
    let run = cluster.refused(
        0,
        &[
            "server",
            "felix-metrics",
            "--node",
            "cedar",
            "--interface",
            "eth1",
            "--dry-run",
        ],
    );
    run.shows("+ HostEndpoint/cedar-eth1\n")
        .shows("+  - \"203.0.113.41\"\n");
    assert!(!run.changes().contains("192.0.2.41"), "{run}");
    // Loopback is not policed by an endpoint of one interface, so nothing is let in for it.
    assert!(!run.changes().contains("127.0.0.0/8"), "{run}");
    for (interface, name) in [
        ("bond0.100", "+ HostEndpoint/cedar-bond0.100\n"),
        ("Eth_0", "+ HostEndpoint/cedar-eth-0-"),
    ] {
        let run = cluster.refused(
            0,
            &[
                "server",
                "felix-metrics",
                "--node",
                "cedar",
                "--interface",
                interface,
                "--dry-run",
            ],
        );
        run.shows(name)
            .shows(&format!("+  interfaceName: {interface}\n"));
    }
}

#[test]
fn an_endpoint_of_all_interfaces_governs_each() {
    let cluster = Cluster::own("team");
    cluster
        .refused(
            0,
            &["server", "felix-metrics", "--node", "alder", "--interface", "eth1", "--dry-run"],
        )
        .shows("~ HostEndpoint/alder-star  ")
        .says("note: the host endpoint for all interfaces of `alder` governs `eth1` too: its other interfaces and loopback are protected with it\n");
}

#[test]
fn what_was_there_before_stays_and_is_told() {
    let cluster = Cluster::own("export-v1");
    cluster.refused(0, &["remove", "typha", "--yes"]).says_all(&[
        "warning: GlobalNetworkPolicy/protected-typha-server and its label on 1 object stay: calicoctl-protect did not make them",
        "hint: `remove typha --all` takes them away, too",
        "note: the client label `allowed-typha-client` stays on 1 object; without the protection it does nothing",
        "hint: `revoke typha …` takes it away",
        "nothing to do",
    ]);
    let cluster = Cluster::own("team");
    cluster.refused(0, &["remove", "typha", "--yes"]).says(
        "warning: GlobalNetworkPolicy/protected-typha-server stays: calicoctl-protect did not make it\n\
         hint: `remove typha --all` takes it away, too\n",
    );
    cluster
        .does(&["remove", "typha", "--all", "--yes"])
        .shows("- GlobalNetworkPolicy/protected-typha-server");
}

#[test]
fn who_is_still_let_in_after_a_revoke_is_told() {
    let cluster = Cluster::example();
    for net in ["198.51.100.0/24", "203.0.113.0/28"] {
        cluster.does(&["grant", "etcd", "--net", net, "--yes"]);
    }
    let run = cluster.refused(0, &["revoke", "etcd", "--net", "198.51.100.0/28", "--yes"]);
    run.says("warning: 198.51.100.0/24 is still let in by GlobalNetworkSet/allowed-etcd-client\n")
        .says("nothing to do\n");
}

#[test]
fn everybody_is_warned_about() {
    Cluster::example()
        .refused(0, &["grant", "etcd", "--net", "0.0.0.0/0", "--dry-run"])
        .says("warning: `0.0.0.0/0` is everybody: ");
}
