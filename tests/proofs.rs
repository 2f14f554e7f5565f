//! The unsafe ways of the main job are refused or warned about, and the safe way goes through: on a
//! cluster made for these tests, and on the larger one where it is at hand.

mod command;

use command::{Cluster, Run};
use serde_json::Value;

const CONTROL_PLANE: &str = "has(node-role.kubernetes.io/control-plane)";

/// The clusters that every way is tried on: name, and the arguments that name Typha's hosts.
fn clusters() -> Vec<(Cluster, &'static [&'static str])> {
    let mut all: Vec<(Cluster, &[&str])> = vec![(Cluster::own("kubeadm"), &["--node", "w-1"])];
    if let Some(large) = Cluster::beside("kubeadm-v3/yaml") {
        let typha = &["--node", "cp-2", "--node", "worker-1", "--node", "worker-3"];
        all.push((large, typha));
    }
    all
}

fn assert_refused(run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.code, Some(code), "{run}");
    for word in words {
        assert!(run.err.contains(word), "no `{word}` in\n{run}");
    }
}

#[test]
fn protecting_etcd_for_all_interfaces_without_loopback_is_refused() {
    for (cluster, _) in clusters() {
        let before = cluster.tree();
        let run = cluster.run(&[
            "server",
            "etcd",
            "--node-selector",
            CONTROL_PLANE,
            "--no-self",
            "--prune",
            "--yes",
        ]);
        let words = [
            "would be cut",
            "etcd-loopback:cp-1:cp-1",
            "protected-etcd-server",
            "grant etcd --net 127.0.0.0/8",
            "--allow-lockout",
        ];
        assert_refused(&run, 3, &words);
        assert!(before == cluster.tree(), "something was written");
    }
}

#[test]
fn pruning_typha_before_its_clients_are_let_in_is_refused() {
    for (cluster, hosts) in clusters() {
        let protect = [&["server", "typha", "--yes"][..], hosts].concat();
        assert_eq!(cluster.run(&protect).code, Some(0));
        let before = cluster.tree();
        let run = cluster.run(&["prune", "typha", "--yes"]);
        assert_refused(
            &run,
            3,
            &[
                "agent-to-typha:cp-1:",
                "after failsafes",
                "grant typha --node",
            ],
        );
        assert!(before == cluster.tree(), "something was written");
        // The command that the hint names opens the way.
        assert_eq!(
            cluster
                .run(&["grant", "typha", "--all-nodes", "--yes"])
                .code,
            Some(0)
        );
        let run = cluster.run(&["prune", "typha", "--yes"]);
        assert_eq!(run.code, Some(0), "{run}");
    }
}

#[test]
fn yes_waives_nothing_and_a_waiver_waives_one_flow() {
    let cluster = Cluster::own("kubeadm");
    let no_self = [
        "server",
        "etcd",
        "--node",
        "cp-1",
        "--no-self",
        "--prune",
        "--dry-run",
    ];
    let flows = [
        "apiserver-to-etcd:cp-1:cp-1",
        "etcd-loopback:cp-1:cp-1",
        "etcd-peers:cp-2:cp-1",
    ];
    let refused = cluster.run(&no_self);
    assert_refused(&refused, 3, &flows[..2]);
    let one = [&no_self[..], &["--allow-lockout", flows[0]]].concat();
    let still = cluster.run(&one);
    assert_refused(&still, 3, &flows[1..2]);
    assert!(!still.err.contains(flows[0]), "{still}");
    let both = [&one[..], &["--allow-lockout", flows[1]]].concat();
    let run = cluster.run(&both);
    assert_eq!(run.code, Some(0), "{run}");
}

#[test]
fn protecting_a_pod_with_the_plain_recipe_is_refused_and_a_tier_goes_through() {
    let cluster = Cluster::own("kubeadm");
    let plain = [
        "server",
        "postgres",
        "--port",
        "tcp/5432",
        "--workload",
        "shop/app == \"db\"",
        "--yes",
    ];
    let run = cluster.run(&plain);
    assert_refused(&run, 3, &["would close all their other ports", "--tier"]);
    let tier = [&plain[..], &["--tier", "guard"]].concat();
    let run = cluster.run(&tier);
    assert_eq!(run.code, Some(0), "{run}");
    // The controller makes its pods anew from the template; here the test does.
    let pods = cluster.read("pods.yaml");
    let label = "app: db\n    protected-postgres-server: \"true\"";
    cluster.write("pods.yaml", pods.replace("app: db", label));
    let explain = |from: &str, port: &str| {
        let run = cluster.run(&[
            "explain",
            "--from",
            from,
            "--to",
            "pod/shop/db-1",
            "--port",
            port,
            "-o",
            "json",
        ]);
        let value: Value = serde_json::from_str(&run.out).unwrap();
        value["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(explain("pod/monitoring/prometheus-1", "tcp/5432"), "deny");
    assert_eq!(explain("pod/monitoring/prometheus-1", "tcp/9187"), "allow");
}

#[test]
fn granting_a_pod_behind_nat_outgoing_is_warned_about() {
    for (cluster, _) in clusters() {
        let run = cluster.run(&[
            "grant",
            "felix-metrics",
            "--workload",
            "monitoring/app == \"prometheus\"",
            "--yes",
        ]);
        assert_eq!(run.code, Some(0), "{run}");
        for word in ["natOutgoing", "address of their node", "--node"] {
            assert!(run.err.contains(word), "no `{word}` in\n{run}");
        }
    }
}

#[test]
fn the_safe_way_goes_through_and_holds() {
    for (cluster, typha) in clusters() {
        let etcd = [
            "server",
            "etcd",
            "--node-selector",
            CONTROL_PLANE,
            "--grant-needed",
            "--prune",
            "--yes",
        ];
        let run = cluster.run(&etcd);
        assert_eq!(run.code, Some(0), "{run}");
        let protect = [
            &["server", "typha", "--grant-needed", "--prune", "--yes"][..],
            typha,
        ]
        .concat();
        let run = cluster.run(&protect);
        assert_eq!(run.code, Some(0), "{run}");
        let check = cluster.run(&["check", "-o", "json"]);
        assert_eq!(check.code, Some(0), "{check}");
        let value: Value = serde_json::from_str(&check.out).unwrap();
        let holds = |server: &Value| server["holds"] == true;
        assert!(
            value["servers"].as_array().unwrap().iter().all(holds),
            "{check}"
        );
        let stranger = cluster.run(&[
            "explain",
            "--from",
            "203.0.113.77",
            "--to",
            "cp-1",
            "--port",
            "tcp/2379",
        ]);
        assert!(stranger.out.contains("deny"), "{stranger}");
        assert!(stranger.out.contains("protected-etcd-server"), "{stranger}");
    }
}

#[test]
fn check_tells_a_failsafe_by_its_exit_code_and_names_the_list() {
    let cluster = Cluster::own("kubeadm");
    assert_eq!(cluster.run(&["check"]).code, Some(0));
    let protect = ["server", "etcd", "--node-selector", CONTROL_PLANE, "--yes"];
    assert_eq!(cluster.run(&protect).code, Some(0));
    let run = cluster.run(&["check"]);
    assert_eq!(run.code, Some(7), "{run}");
    assert!(
        run.out
            .contains("inbound failsafe tcp/2379 (built-in list)"),
        "{run}"
    );
}

#[test]
fn check_tells_a_protection_that_cannot_be_decided_by_its_exit_code_and_what_would_decide_it() {
    // Nothing here shows the environment of calico-node, which may turn IPv6 off.
    let cluster = Cluster::of(&[(
        "cluster.yaml",
        "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\nspec: {calicoVersion: v3.32.1, clusterType: bgp, datastoreReady: true}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1}\nspec:\n  addresses: [{address: 192.0.2.1, type: InternalIP}, {address: '2001:db8::1', type: InternalIP}]\n  bgp: {ipv4Address: 192.0.2.1/24, ipv6Address: '2001:db8::1/64'}\n",
    )]);
    let protect = ["server", "etcd", "--node", "n1", "--prune", "--yes"];
    let run = cluster.run(&protect);
    assert_eq!(run.code, Some(0), "{run}");
    let run = cluster.run(&["check"]);
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.out.contains("etcd  is unproven\n"), "{run}");
    assert!(
        run.err
            .contains("hint: `ipv6Support` in FelixConfiguration/default makes it known"),
        "{run}"
    );
    let json = cluster.run(&["check", "-o", "json"]);
    let value: Value = serde_json::from_str(&json.out).unwrap();
    let server = &value["servers"][0];
    assert_eq!(
        (&server["holds"], &server["unproven"]),
        (&false.into(), &true.into())
    );
    cluster.write(
        "node.yaml",
        "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: node.n1}\nspec: {ipv6Support: true}\n",
    );
    let run = cluster.run(&["check"]);
    assert_eq!(run.code, Some(0), "{run}");
}

#[test]
fn check_tells_a_cut_flow_by_its_exit_code() {
    let cluster = Cluster::own("kubeadm");
    cluster.write(
        "deny.yaml",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: no-kubelet}\nspec:\n  order: 1\n  selector: kubernetes.io/hostname == \"w-2\"\n  types: [Ingress]\n  ingress:\n  - {action: Deny, protocol: TCP, destination: {ports: [10250]}}\n  - {action: Allow}\n",
    );
    let run = cluster.run(&["check"]);
    assert_eq!(run.code, Some(3), "{run}");
    assert!(
        run.out.contains("cut apiserver-to-kubelet:cp-1:w-2"),
        "{run}"
    );
    let waived = [
        "check",
        "--allow-lockout",
        "apiserver-to-kubelet:cp-1:w-2",
        "--allow-lockout",
        "apiserver-to-kubelet:cp-2:w-2",
    ];
    assert_eq!(cluster.run(&waived).code, Some(0));
}

#[test]
fn shutting_everybody_out_of_ssh_is_unproven_until_it_is_accepted() {
    let cluster = Cluster::own("kubeadm");
    let close = ["server", "ssh", "--node", "w-2", "--prune", "--dry-run"];
    let run = cluster.run(&close);
    assert_refused(
        &run,
        5,
        &[
            "ssh:w-2",
            "where you come from is not known",
            "--accept-unproven ssh:w-2",
        ],
    );
    let accepted = [&close[..], &["--accept-unproven", "ssh:w-2"]].concat();
    assert_eq!(cluster.run(&accepted).code, Some(0));
}

#[test]
fn the_proof_is_part_of_the_output_as_data() {
    let cluster = Cluster::own("kubeadm");
    let run = cluster.run(&[
        "server",
        "etcd",
        "--node",
        "cp-1",
        "--dry-run",
        "-o",
        "json",
    ]);
    let value: Value = serde_json::from_str(&run.out).unwrap();
    let flows = value["proof"]["flows"].as_array().unwrap();
    let flow = flows
        .iter()
        .find(|f| f["id"] == "agent-to-typha:w-2:w-1")
        .unwrap();
    assert_eq!(flow["fate"], "kept");
    assert!(
        flow["evidence"]
            .as_str()
            .unwrap()
            .contains("calico-typha-1")
    );
    assert!(!flow["steps"].as_array().unwrap().is_empty());
    assert!(value["proof"]["states"].as_u64().unwrap() > 3);
}

/// A cluster of `count` workers beside one control-plane node that runs Typha, too.
fn many(count: usize) -> Cluster {
    use std::fmt::Write as _;
    let mut text = String::from(
        "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\nspec: {calicoVersion: v3.32.1, clusterType: \"k8s,kdd\", datastoreReady: true}\n",
    );
    for i in 0..=count {
        let (name, role) = match i {
            0 => (
                "cp".to_owned(),
                "node-role.kubernetes.io/control-plane: \"\"",
            ),
            _ => (format!("w{i:03}"), "zone: \"1\""),
        };
        let ip = format!("192.0.2.{}", i + 1);
        let _ = write!(
            text,
            "---\napiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {{name: {name}, labels: {{kubernetes.io/hostname: {name}, {role}}}}}\nspec:\n  bgp: {{ipv4Address: {ip}/24}}\n  interfaces: [{{name: eth0, addresses: [{ip}]}}]\n---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {{name: {name}, labels: {{host: {name}}}}}\nspec: {{node: {name}, interfaceName: \"*\", expectedIPs: [{ip}], profiles: [projectcalico-default-allow]}}\n",
        );
    }
    Cluster::of(&[("all.yaml", &text)])
}

#[test]
fn of_many_hosts_a_few_stand_for_all_and_a_cut_names_every_one() {
    let cluster = many(80);
    let safe = cluster.run(&[
        "server",
        "typha",
        "--node",
        "cp",
        "--grant-needed",
        "--prune",
        "--dry-run",
    ]);
    assert_eq!(safe.code, Some(0), "{safe}");
    assert!(safe.out.contains("hosts that stand for 81"), "{safe}");
    let unsafe_way = cluster.run(&[
        "server",
        "typha",
        "--node",
        "cp",
        "--prune",
        "--dry-run",
        "-o",
        "json",
    ]);
    assert_eq!(unsafe_way.code, Some(3), "{unsafe_way}");
    let value: Value = serde_json::from_str(&unsafe_way.out).unwrap();
    let flows = value["proof"]["flows"].as_array().unwrap();
    let cut = flows.iter().filter(|f| f["fate"] == "cut");
    let cut: Vec<&Value> = cut.collect();
    let count: u64 = cut.iter().map(|f| f["flows"].as_u64().unwrap()).sum();
    assert_eq!(count, 80);
    let named = |host: &str| {
        cut.iter()
            .any(|f| f["clients"].as_array().unwrap().contains(&host.into()))
    };
    assert!((1..=80).all(|i| named(&format!("w{i:03}"))));
}

#[test]
fn a_host_that_a_policy_singles_out_is_never_stood_for() {
    let cluster = many(80);
    cluster.write(
        "one.yaml",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: one}\nspec:\n  order: 400\n  selector: host == \"w077\"\n  types: [Egress]\n  egress:\n  - {action: Deny, protocol: TCP, destination: {ports: [5473], selector: \"has(protected-typha-server)\"}}\n  - {action: Allow}\n",
    );
    let run = cluster.run(&["prune", "tcp/5473", "--direction", "outbound", "--yes"]);
    assert_eq!(run.code, Some(0), "{run}");
    let run = cluster.run(&[
        "server",
        "typha",
        "--node",
        "cp",
        "--grant-needed",
        "--dry-run",
    ]);
    assert_eq!(run.code, Some(3), "{run}");
    assert!(run.err.contains("agent-to-typha:w077:cp"), "{run}");
}

#[test]
fn agents_of_a_cluster_that_keeps_its_data_in_etcd_need_it_and_its_files_tell_so() {
    let cluster = Cluster::own("bare-metal");
    let protect = [
        "server", "etcd", "--node", "infra-1", "--node", "infra-2", "--node", "infra-3",
    ];
    let run = cluster.run(&[&protect[..], &["--prune", "--dry-run"]].concat());
    let words = [
        "agent-to-etcd:compute-1:infra-1",
        "would be cut",
        "grant etcd --node compute-1 --node compute-2",
    ];
    assert_refused(&run, 3, &words);
    let run = cluster.run(&[&protect[..], &["--grant-needed", "--prune", "--yes"]].concat());
    assert_eq!(run.code, Some(0), "{run}");
    let run = cluster.run(&["check"]);
    assert_eq!(run.code, Some(0), "{run}");
}

/// The sample with external etcd, whose API server is told of it by names.
fn by_name() -> Cluster {
    let cluster = Cluster::own("external-etcd");
    let text = cluster.read("kube-apiserver.yaml");
    let text = text.replace("--etcd-servers=", "--etcd-servers\n    - ");
    let text = (1..=3).fold(text, |text, n| {
        text.replace(
            &format!("198.51.100.4{n}"),
            &format!("etcd-{n}.example.test"),
        )
    });
    cluster.write("kube-apiserver.yaml", &text);
    let text = cluster.read("calico.yaml");
    cluster.write("calico.yaml", text.replace("k8s,bgp,", "k8s,kdd,"));
    cluster
}

#[test]
fn etcd_that_is_told_of_by_name_is_unproven_where_a_plan_may_cut_it() {
    let cluster = by_name();
    let protect = [
        "server", "etcd", "--node", "etcd-1", "--node", "etcd-2", "--node", "etcd-3",
    ];
    let before = cluster.tree();
    let run = cluster.run(&[&protect[..], &["--prune", "--yes"]].concat());
    let words = [
        "3 needed flows cannot be proved",
        "apiserver-to-etcd:cp-1:etcd-1.example.test",
        "nothing tells where `etcd-1.example.test` is, and at node etcd-1 (198.51.100.41)",
        "--accept-unproven",
    ];
    assert_refused(&run, 5, &words);
    assert!(before == cluster.tree(), "something was written");
    // What has nothing to do with etcd goes through, and so does etcd with its clients let in.
    let run = cluster.run(&["server", "felix-metrics", "--node", "w-1", "--yes"]);
    assert_eq!(run.code, Some(0), "{run}");
    let run = cluster.run(&[&protect[..], &["--grant-needed", "--prune", "--yes"]].concat());
    assert_eq!(run.code, Some(0), "{run}");
    let run = cluster.run(&["check"]);
    assert_eq!(run.code, Some(0), "{run}");
}

/// A policy that lets hosts be reached by SSH and BGP alone.
const NARROW: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: narrow}\nspec:\n  order: 10\n  selector: has(role)\n  types: [Ingress]\n  ingress:\n  - {action: Allow, protocol: TCP, destination: {ports: [22, 179]}}\n  - {action: Deny}\n";

#[test]
fn the_datastore_of_a_cluster_without_kubernetes_may_be_on_any_host_until_it_is_told() {
    let cluster = Cluster::own("bare-metal");
    cluster.write("narrow.yaml", NARROW);
    let prune = ["prune", "etcd", "etcd-peer", "--dry-run"];
    let run = cluster.run(&prune);
    let words = [
        "cannot be proved",
        "agent-to-etcd:compute-1:datastore",
        "etcd-peers:compute-1:members",
    ];
    assert_refused(&run, 5, &words);
    cluster.write(
        "calico-node.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: calico-config, namespace: kube-system}\ndata:\n  etcd_endpoints: https://192.0.2.61:2379,https://192.0.2.62:2379,https://192.0.2.63:2379\n",
    );
    let run = cluster.run(&prune);
    let words = [
        "would be cut",
        "agent-to-etcd:compute-1:192.0.2.61",
        "etcd-peers:infra-1:infra-2",
    ];
    assert_refused(&run, 3, &words[..2]);
    let run = cluster.run(&["prune", "etcd-peer", "--dry-run"]);
    assert_refused(&run, 3, &[words[0], words[2]]);
}

#[test]
fn an_api_server_outside_is_needed_by_agents() {
    let cluster = Cluster::of(&[
        (
            "nodes.yaml",
            "apiVersion: v1\nkind: Node\nmetadata: {name: w-1, labels: {role: worker}, annotations: {projectcalico.org/Interfaces: '[{\"name\":\"eth0\",\"addresses\":[\"192.0.2.21\"]}]'}}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.21}]}\n---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: w-1, labels: {role: worker}}\nspec: {node: w-1, interfaceName: \"*\", expectedIPs: [192.0.2.21]}\n",
        ),
        (
            "egress.yaml",
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: egress}\nspec:\n  order: 10\n  selector: role == 'worker'\n  types: [Ingress, Egress]\n  ingress: [{action: Allow}]\n  egress:\n  - {action: Allow, protocol: UDP, destination: {ports: [53]}}\n  - {action: Deny}\n",
        ),
    ]);
    let prune = ["prune", "tcp/6443", "--dry-run"];
    let run = cluster.run(&prune);
    assert_refused(&run, 5, &["agent-to-apiserver:w-1:kube-apiserver"]);
    cluster.write(
        "kubernetes.yaml",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}\naddressType: IPv4\nendpoints: [{addresses: [203.0.113.50]}]\nports: [{name: https, port: 6443, protocol: TCP}]\n",
    );
    let run = cluster.run(&prune);
    assert_refused(&run, 3, &["agent-to-apiserver:w-1:203.0.113.50"]);
}
