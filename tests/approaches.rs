//! How traffic to all other ports is treated: what stays open where it is dropped.

mod command;

use command::trips::{twice, words};
use command::{Cluster, Run};

const DENY: &str = "server etcd --node cp-1 --node cp-2 --approach deny-by-default";

/// What an operator opens on purpose beside etcd: kubelets for the API servers. Endpoints without a
/// profile need it outwards, too, from birth on.
fn open_kubelets(cluster: &Cluster, outwards: bool) {
    let rule = "[{action: Allow, protocol: TCP, destination: {ports: [10250]}}]";
    let egress = format!("  egress: {rule}\n");
    let (selector, types, egress) = match outwards {
        true => (
            "'!has(projectcalico.org/namespace)'",
            "Ingress, Egress",
            egress.as_str(),
        ),
        false => ("has(protected-etcd-server)", "Ingress", ""),
    };
    let policy = format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: kubelets}}\n\
         spec:\n  order: 400\n  selector: {selector}\n  types: [{types}]\n\
         \x20 ingress: {rule}\n{egress}"
    );
    cluster.write("kubelets.yaml", policy);
}

/// The sample cluster of kubeadm, with the addresses of another family.
fn ipv6_only() -> Cluster {
    let cluster = Cluster::own("kubeadm");
    for name in [
        "nodes.yaml",
        "host-endpoints.yaml",
        "calico.yaml",
        "workloads.yaml",
        "pods.yaml",
    ] {
        let mut text = cluster.read(name);
        let mut replace = |from: &str, to: &str| text = text.replace(from, to);
        for host in ["11", "12", "21", "22"] {
            replace(
                &format!("//192.0.2.{host}:"),
                &format!("//[2001:db8::{host}]:"),
            );
            replace(
                &format!("192.0.2.{host}/24"),
                &format!("2001:db8::{host}/64"),
            );
            replace(&format!("192.0.2.{host}"), &format!("2001:db8::{host}"));
        }
        replace("10.244.0.0/16", "fd00::/48");
        for address in ["1.0", "2.0", "11.0", "11.9", "12.0", "12.7"] {
            let ends = address.replace('.', ":");
            replace(&format!("10.244.{address}\n"), &format!("fd00::{ends}\n"));
        }
        replace("127.0.0.1", "[::1]");
        replace("IPv4", "IPv6");
        replace("ipv4", "ipv6");
        replace("  ipipMode: Never\n", "");
        replace(
            "FELIX_IPV6SUPPORT\n          value: \"false\"",
            "FELIX_IPV6SUPPORT\n          value: \"true\"",
        );
        cluster.write(name, &text);
    }
    cluster
}

/// The same without host endpoints: the command makes them, and they have no profile.
fn without_endpoints(cluster: Cluster) -> Cluster {
    let text = cluster.read("calico.yaml");
    cluster.write(
        "calico.yaml",
        text.replace("autoCreate: Enabled", "autoCreate: Disabled"),
    );
    assert!(std::fs::remove_file(cluster.path().join("host-endpoints.yaml")).is_ok());
    cluster
}

/// The line that counts needed flows by what becomes of them.
#[track_caller]
fn flows(run: &Run) -> String {
    let mut lines = run.out.lines();
    let line = lines.find(|line| line.starts_with("needed flows: "));
    assert!(line.is_some(), "{run}");
    let line = line.unwrap_or_default();
    line.split(" (").next().unwrap_or_default().to_owned()
}

fn dry_run(cluster: &Cluster, line: &str) -> Run {
    cluster.run(&[&words(line)[..], &["--dry-run"]].concat())
}

#[test]
fn deny_by_default_cuts_over_ipv6_what_it_cuts_over_ipv4() {
    let pairs = [
        (Cluster::own("kubeadm"), ipv6_only(), "28 kept, 4 cut"),
        (
            without_endpoints(Cluster::own("kubeadm")),
            without_endpoints(ipv6_only()),
            "24 kept, 8 cut",
        ),
    ];
    for (ipv4, ipv6, expected) in pairs {
        let [ipv4, ipv6] = [ipv4, ipv6].map(|cluster| dry_run(&cluster, DENY));
        assert_eq!(flows(&ipv4), format!("needed flows: {expected}"), "{ipv4}");
        assert_eq!(flows(&ipv6), flows(&ipv4), "{ipv6}");
        assert!(!ipv4.out.contains("ICMPv6"), "{ipv4}");
        ipv6.silent_about("neighbour discovery");
    }
}

#[test]
fn deny_by_default_over_ipv6_is_proved_and_taken_back() {
    let clusters = [(ipv6_only(), false), (without_endpoints(ipv6_only()), true)];
    for (cluster, outwards) in clusters {
        open_kubelets(&cluster, outwards);
        let before = cluster.tree();
        let run = dry_run(&cluster, DENY);
        run.ended(0, &[DENY]).shows("    protocol: ICMPv6\n");
        assert_eq!(flows(&run), "needed flows: 32 kept", "{run}");
        twice(&cluster, DENY);
        cluster.does(&["status", "etcd"]).shows("deny by default\n");
        twice(&cluster, "remove etcd");
        cluster.tree().assert_same(&before, &["remove", "etcd"]);
    }
}

#[test]
fn without_ipv6_in_felix_no_discovery_is_let_through() {
    let cluster = ipv6_only();
    let text = cluster.read("workloads.yaml");
    let off = text.replace(
        "FELIX_IPV6SUPPORT\n          value: \"true\"",
        "FELIX_IPV6SUPPORT\n          value: \"false\"",
    );
    assert_ne!(text, off);
    cluster.write("workloads.yaml", off);
    let run = dry_run(&cluster, DENY);
    assert!(!run.out.contains("ICMPv6"), "{run}");
}

#[test]
fn other_discovery_rules_than_the_recipes_are_drift() {
    let cluster = ipv6_only();
    open_kubelets(&cluster, false);
    cluster.does(&[&words(DENY)[..], &["--yes"]].concat());
    let name = "globalnetworkpolicy-protected-etcd-server.yaml";
    let status = cluster.does(&["status", "etcd"]);
    assert!(
        !status.out.contains("other rules than the recipe's"),
        "{status}"
    );
    let text = cluster.read(name);
    let less = text.replacen("type: 135", "type: 128", 1);
    assert_ne!(text, less);
    cluster.write(name, less);
    let status = cluster.does(&["status", "etcd"]);
    status.shows("has other rules than the recipe's");
    // Another run puts them back.
    cluster.does(&[&words(DENY)[..], &["--yes"]].concat());
    assert_eq!(cluster.read(name), text);
}
