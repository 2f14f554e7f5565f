//! What `status` and `check` claim: that a server is protected only where nobody but its clients
//! gets in.

mod command;

use command::{Cluster, Run};

/// etcd of the kubeadm sample, protected as the guides do it.
fn etcd_protected() -> Cluster {
    let cluster = Cluster::own("kubeadm");
    cluster.does(&[
        "server", "etcd", "--node", "cp-1", "--node", "cp-2", "--prune", "--yes",
    ]);
    claims(&cluster, "etcd", "protected", "holds", 0);
    cluster
}

/// Felix's metrics of the example, protected on one interface of a worker.
fn metrics_on(interface: &str, cluster: &Cluster) -> Run {
    cluster.does(&[
        "server",
        "felix-metrics",
        "--node",
        "worker-1",
        "--interface",
        interface,
        "--yes",
    ])
}

/// The word of `status` and of `check`, and the code with which `check` ends.
#[track_caller]
fn claims(cluster: &Cluster, server: &str, word: &str, holds: &str, code: i32) -> [Run; 2] {
    let arguments = ["status", server];
    let status = cluster.run(&arguments);
    status.ended(0, &arguments);
    let first = status.out.lines().next().unwrap_or_default();
    assert!(first.ends_with(&format!("  {word}")), "{status}");
    let arguments = ["check", server];
    let check = cluster.run(&arguments);
    check.ended(code, &arguments);
    check.shows(&format!("{server}  {holds} ({word})\n"));
    [status, check]
}

#[track_caller]
fn edit(cluster: &Cluster, file: &str, from: &str, to: &str) {
    let text = cluster.read(file);
    assert!(text.contains(from), "{text}");
    cluster.write(file, text.replace(from, to));
}

const POLICY: &str = "globalnetworkpolicy-protected-etcd-server.yaml";

#[test]
fn a_rule_of_the_protect_policy_that_lets_everybody_in_is_drift() {
    let cluster = etcd_protected();
    let rule = "  ingress:\n  - action: Allow\n    source: {nets: [0.0.0.0/0]}\n";
    edit(&cluster, POLICY, "  ingress:\n", rule);
    let [status, check] = claims(&cluster, "etcd", "drifted", "does not hold", 7);
    status.shows("allow by default; has other rules than the recipe's\n");
    status.shows("  open to    tcp/2379: everybody over IPv4 at ");
    check.shows("  policy protected-etcd-server has other rules than the recipe's\n");
    check.shows("  tcp/2379 open to ");
}

#[test]
fn a_rule_of_the_protect_policy_that_only_logs_is_no_drift() {
    let cluster = etcd_protected();
    edit(
        &cluster,
        POLICY,
        "  ingress:\n",
        "  ingress:\n  - action: Log\n",
    );
    claims(&cluster, "etcd", "protected", "holds", 0);
}

#[test]
fn a_known_server_whose_policy_is_for_another_port_has_drifted() {
    for (from, to, shown) in [
        ("2379", "2399", "is for tcp/2399 instead of tcp/2379"),
        ("TCP", "UDP", "is for udp/2379 instead of tcp/2379"),
    ] {
        let cluster = etcd_protected();
        edit(&cluster, POLICY, from, to);
        let [status, check] = claims(&cluster, "etcd", "drifted", "does not hold", 7);
        status.shows("etcd  tcp/2379  drifted\n").shows(shown);
        check.shows(shown);
        let arguments = ["server", "etcd", "--node", "cp-1", "--yes"];
        cluster.does(&arguments);
        claims(&cluster, "etcd", "protected", "holds", 0);
    }
}

#[test]
fn ports_that_were_asked_for_are_no_drift() {
    let cluster = Cluster::example();
    cluster.does(&[
        "server",
        "felix-metrics",
        "--port",
        "tcp/9191",
        "--node",
        "cp-1",
        "--yes",
    ]);
    let [status, _] = claims(&cluster, "felix-metrics", "protected", "holds", 0);
    status.shows("felix-metrics  tcp/9191  protected\n");
    // And they are kept where nothing is said of them.
    cluster.does(&["server", "felix-metrics", "--node", "worker-1", "--yes"]);
    let [status, _] = claims(&cluster, "felix-metrics", "protected", "holds", 0);
    status.shows("felix-metrics  tcp/9191  protected\n");
}

#[test]
fn an_interface_that_the_node_does_not_report_protects_nothing() {
    let cluster = Cluster::example();
    let run = metrics_on("enP1s0", &cluster);
    run.says("warning: worker-1 reports no interface `enP1s0`: as long as it has none, nothing is protected there\nhint: it reports eth0\n");
    assert!(!run.out.contains("loses"), "{run}");
    let [status, check] = claims(&cluster, "felix-metrics", "open", "does not hold", 7);
    status.shows("  open to    tcp/9091: everybody over IPv4 at ");
    check.shows("  tcp/9091 open to everybody over IPv4 at 192.0.2.21 on eth0 of worker-1: ");
}

#[test]
fn an_interface_of_workloads_is_refused() {
    let cluster = Cluster::example();
    let arguments = |name| {
        [
            "server",
            "felix-metrics",
            "--node",
            "worker-1",
            "--interface",
            name,
            "--yes",
        ]
    };
    cluster
        .refused(64, &arguments("cali123"))
        .says("interface `cali123` cannot be protected: Felix takes those that begin with `cali` for workloads'\nhint: interfaces of worker-1: eth0\n");
    edit(
        &cluster,
        "felix.yaml",
        "spec:\n",
        "spec:\n  interfacePrefix: \"cali,tap\"\n",
    );
    cluster.refused(64, &arguments("tap0"));
}

#[test]
fn loopback_by_name_is_not_said_to_stay_open() {
    let cluster = Cluster::example();
    let run = metrics_on("lo", &cluster);
    assert!(!run.err.contains("loopback stay"), "{run}");
    claims(&cluster, "felix-metrics", "open", "does not hold", 7);
}

#[test]
fn a_tunnel_that_traffic_comes_in_by_is_not_protected_with_another_interface() {
    let one = Cluster::example();
    metrics_on("eth0", &one);
    // All nodes are in one network, so nothing comes in by the tunnel.
    claims(&one, "felix-metrics", "protected", "holds", 0);
    edit(&one, "cluster.yaml", "CrossSubnet", "Always");
    let [status, check] = claims(&one, "felix-metrics", "partial", "does not hold", 7);
    status.shows("tcp/9091: everybody over IPv4 at 1 address\n");
    check.shows(
        "  tcp/9091 open to everybody over IPv4 at 10.244.1.64 on vxlan.calico of worker-1: ",
    );

    let two = Cluster::example();
    metrics_on("eth0", &two);
    edit(&two, "nodes.yaml", "192.0.2.22/24", "198.51.100.22/24");
    claims(&two, "felix-metrics", "partial", "does not hold", 7);
}

#[test]
fn another_interface_of_the_host_is_open() {
    let cluster = Cluster::example();
    let reported = r#"[{"name":"eth0","addresses":["192.0.2.21"]}"#;
    let both = format!(r#"{reported},{{"name":"eth1","addresses":["203.0.113.21"]}}"#);
    edit(&cluster, "nodes.yaml", reported, &both);
    metrics_on("eth0", &cluster);
    let [_, check] = claims(&cluster, "felix-metrics", "partial", "does not hold", 7);
    check.shows("at 203.0.113.21 on eth1 of worker-1: ");
}

#[test]
fn pods_that_have_not_followed_their_template_are_not_protected() {
    let cluster = Cluster::own("kubeadm");
    let workload = "monitoring/app == \"prometheus\"";
    cluster.does(&[
        "server",
        "prom",
        "--port",
        "tcp/9090",
        "--workload",
        workload,
        "--tier",
        "guard",
        "--yes",
    ]);
    let [status, check] = claims(&cluster, "prom", "open", "does not hold", 7);
    status.shows("  open to    tcp/9090: everybody over IPv4 at 1 address\n");
    check.shows("at 10.244.12.7 of pod monitoring/prometheus-1: ");
    edit(
        &cluster,
        "pods.yaml",
        "    app: prometheus\n",
        "    app: prometheus\n    protected-prom-server: \"true\"\n",
    );
    claims(&cluster, "prom", "protected", "holds", 0);
}

#[test]
fn deny_by_default_in_a_tier_that_passes_is_refused() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    let arguments = [
        "server",
        "etcd",
        "--node",
        "cp-1",
        "--approach",
        "deny-by-default",
        "--tier",
        "guard",
        "--prune",
        "--yes",
    ];
    cluster
        .refused(64, &arguments)
        .says("deny by default in tier `guard` would shut nobody out\n")
        .says("hint: choose one: ");
    cluster.tree().assert_untouched(&before, &arguments);
}

#[test]
fn who_gets_in_past_the_policy_is_named_before_the_clients() {
    let cluster = etcd_protected();
    cluster.write(
        "early.yaml",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: early}\n\
         spec:\n  order: 100\n  selector: has(protected-etcd-server)\n  types: [Ingress]\n  ingress:\n\
         \x20 - {action: Allow, source: {nets: [198.51.100.0/24]}}\n",
    );
    let [status, _] = claims(&cluster, "etcd", "partial", "does not hold", 7);
    status.shows("  open to    tcp/2379: 198.51.100.0/24 (no client), 10.244.1.0, ");
}

#[test]
fn a_policy_that_comes_too_late_leaves_the_server_open() {
    let cluster = etcd_protected();
    edit(&cluster, POLICY, "order: 500", "order: 6000");
    claims(&cluster, "etcd", "open", "does not hold", 7);
}

#[test]
fn a_policy_that_is_applied_in_another_way_has_drifted() {
    let cluster = etcd_protected();
    edit(
        &cluster,
        POLICY,
        "  order: 500",
        "  doNotTrack: true\n  applyOnForward: true\n  order: 500",
    );
    claims(&cluster, "etcd", "drifted", "does not hold", 7);
}

#[test]
fn a_server_whose_clients_are_everybody_is_open() {
    let cluster = etcd_protected();
    cluster.write(
        "all.yaml",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n\
         metadata: {name: allowed-etcd-client-all, labels: {allowed-etcd-client: \"true\"}}\n\
         spec: {nets: [0.0.0.0/1, 128.0.0.0/1]}\n",
    );
    let [_, check] = claims(&cluster, "etcd", "open", "does not hold", 7);
    check
        .shows("  tcp/2379 shuts nobody out at ")
        .shows("the clients are everybody over IPv4\n");
}

#[test]
fn a_client_by_the_label_of_a_profile_is_a_client() {
    let cluster = etcd_protected();
    cluster.write(
        "profile.yaml",
        "apiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {name: backup}\n\
         spec: {labelsToApply: {allowed-etcd-client: \"true\"}}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: backup-eth0}\n\
         spec: {node: backup, interfaceName: eth0, expectedIPs: [198.51.100.9], profiles: [backup]}\n",
    );
    let [status, _] = claims(&cluster, "etcd", "protected", "holds", 0);
    status.shows("             HostEndpoint/backup-eth0: 198.51.100.9\n");
}

#[test]
fn check_does_not_call_it_well_where_there_is_nothing_to_check() {
    let cluster = Cluster::of(&[("x.yaml", "")]);
    cluster
        .refused(1, &["check"])
        .says("there is nothing to check here: no node and no host endpoint\n");
}

#[test]
fn check_does_not_mind_client_labels_without_a_protection() {
    let cluster = Cluster::example();
    cluster.does(&["grant", "etcd", "--all-nodes", "--yes"]);
    let arguments = ["check"];
    let check = cluster.run(&arguments);
    check.ended(0, &arguments);
    assert!(!check.out.contains("etcd  "), "{check}");
    check.says("note: `etcd` is not protected here; its client labels do nothing\nhint: `revoke etcd …` takes them away\n");
    // Who asks for it by name gets an answer.
    claims(&cluster, "etcd", "open", "does not hold", 7);
}

#[test]
fn explain_does_not_mix_address_families() {
    let cluster = Cluster::own("kubeadm");
    let explain = |from, to| {
        let port = ["--port", "tcp/2379"];
        let mut arguments = vec!["explain", "--from", from, "--to", to];
        arguments.extend(port);
        cluster.refused(64, &arguments)
    };
    explain("2001:db8::77", "cp-1").says("have no address family in common\n");
    explain("198.51.100.77", "cp-1@2001:db8::1")
        .says("`2001:db8::1` is no address of node `cp-1`\nhint: addresses of cp-1: 192.0.2.11, 10.244.1.0\n");
    explain("198.51.100.77", "cp-1@192.0.2.12")
        .says("`192.0.2.12` is no address of node `cp-1`: it is that of node cp-2\n");
}
