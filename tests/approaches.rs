//! How traffic to all other ports is treated: what stays open where it is dropped, and how a
//! protection goes over to the other approach.

mod command;

use std::collections::BTreeMap;

use command::trips::{twice, words};
use command::{Cluster, Run};

const DENY: &str = "server etcd --node cp-1 --node cp-2 --approach deny-by-default";

/// What an operator opens on purpose beside etcd: kubelets for the API servers. Endpoints without a
/// profile need it outwards, too, and etcd, from birth on.
fn open_kubelets(cluster: &Cluster, outwards: bool) {
    let rule = "[{action: Allow, protocol: TCP, destination: {ports: [10250]}}]";
    let egress = format!("  egress: {}\n", rule.replace("[10250]", "[2379, 10250]"));
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
    let counts = line.and_then(|line| line.split(" (").next());
    counts.unwrap_or_default().to_owned()
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
fn each_of_two_servers_lets_discovery_through_by_itself() {
    let cluster = ipv6_only();
    open_kubelets(&cluster, false);
    let server = |name: &str, more: &str| format!("server {name} --node cp-1 --node cp-2{more}");
    done(&cluster, &server("etcd", ""));
    done(&cluster, &server("etcd-peer", ""));
    done(&cluster, &server("etcd", " --approach deny-by-default"));
    done(
        &cluster,
        &server("etcd-peer", " --approach deny-by-default"),
    );
    for name in ["etcd", "etcd-peer"] {
        let file = format!("globalnetworkpolicy-protected-{name}-server.yaml");
        let policy = cluster.read(&file);
        assert!(policy.contains("protocol: ICMPv6"), "{policy}");
    }
    let run = done(&cluster, "remove etcd-peer");
    assert_eq!(flows(&run), "needed flows: 32 kept", "{run}");
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

const ALLOW: &str = "server etcd --node cp-1 --node cp-2 --approach allow-by-default";

/// Runs a command that changes something, and tells what it showed.
#[track_caller]
fn done(cluster: &Cluster, line: &str) -> Run {
    cluster.does(&[&words(line)[..], &["--yes"]].concat())
}

/// The lines of every file, whatever their order: labels have none.
fn lines(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let files = std::fs::read_dir(cluster.path()).into_iter().flatten();
    let names = files
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned());
    let sorted = |name: String| {
        let text = cluster.read(&name);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        (name, lines)
    };
    names.map(sorted).collect()
}

#[test]
fn deny_by_default_is_switched_and_switched_back_without_a_trace() {
    switched_and_back(DENY, ALLOW);
}

#[test]
fn allow_by_default_is_switched_and_switched_back_without_a_trace() {
    switched_and_back(ALLOW, DENY);
}

#[track_caller]
fn switched_and_back(first: &str, second: &str) {
    let clusters = [
        (Cluster::own("kubeadm"), false),
        (without_endpoints(Cluster::own("kubeadm")), true),
        (ipv6_only(), false),
        (without_endpoints(ipv6_only()), true),
    ];
    for (cluster, outwards) in clusters {
        open_kubelets(&cluster, outwards);
        let before = cluster.tree();
        done(&cluster, &format!("{first} --grant-needed --prune"));
        let begun = cluster.tree();
        twice(&cluster, second);
        let status = cluster.does(&["status", "etcd"]);
        status.shows("etcd  tcp/2379  protected\n");
        // The other form is the one that a first run makes.
        let fresh = Cluster::copy_of(&cluster.path());
        done(&fresh, "restore etcd");
        done(&fresh, "remove etcd");
        done(&fresh, &format!("{second} --prune"));
        assert_eq!(
            fresh.does(&["status", "etcd"]).out.lines().nth(1),
            status.out.lines().nth(1)
        );
        assert_eq!(lines(&fresh), lines(&cluster));
        done(&cluster, "undo");
        cluster.tree().assert_same(&begun, &["undo"]);
        let expected = lines(&cluster);
        done(&cluster, second);
        twice(&cluster, first);
        assert_eq!(lines(&cluster), expected);
        let begun = cluster.tree();
        done(&cluster, second);
        done(&cluster, "undo");
        cluster.tree().assert_same(&begun, &["undo"]);
        // With the failsafe gone, endpoints that drop the rest go before what lets clients in.
        done(&cluster, "remove etcd");
        done(&cluster, "restore etcd");
        done(&cluster, "revoke etcd --all-nodes");
        cluster.tree().assert_same(&before, &["remove", "etcd"]);
    }
}

#[test]
fn an_approach_is_switched_for_every_host_that_is_protected() {
    let cluster = Cluster::own("kubeadm");
    open_kubelets(&cluster, false);
    done(&cluster, DENY);
    let run = done(&cluster, &ALLOW.replace(" --node cp-2", ""));
    for node in ["cp-1", "cp-2"] {
        run.shows(&format!("~ Node/{node}  nodes.yaml"));
    }
    cluster
        .refused(0, &[&words(ALLOW)[..], &["--yes"]].concat())
        .says("nothing to do");
}

const METRICS: &str = "server felix-metrics --node worker-1";

/// The sample of everybody, with the clients of Felix's metrics let in.
fn metrics(version: &str) -> Cluster {
    let cluster = Cluster::of_version(version);
    done(&cluster, "grant felix-metrics --all-nodes");
    cluster
}

/// How many protect policies and tiers the files hold.
fn policies_and_tiers(cluster: &Cluster) -> [usize; 2] {
    let names = std::fs::read_dir(cluster.path()).into_iter().flatten();
    let names = names.flatten().map(|entry| entry.file_name());
    let names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let count = |is: fn(&str) -> bool| names.iter().filter(|name| is(name)).count();
    [
        count(|name| name.contains("protected-felix-metrics-server")),
        count(|name| name.starts_with("tier-")),
    ]
}

#[test]
fn a_policy_moves_from_tier_to_tier() {
    for version in ["v3.29.3", "v3.30.7", "v3.32.1"] {
        let cluster = metrics(version);
        let before = cluster.tree();
        twice(&cluster, METRICS);
        let begun = cluster.tree();
        for (tier, tiers) in [("guard", 1), ("other", 1), ("default", 0), ("other", 1)] {
            twice(&cluster, &format!("{METRICS} --tier {tier}"));
            assert_eq!(policies_and_tiers(&cluster), [1, tiers], "{version} {tier}");
            let status = cluster.does(&["status", "felix-metrics"]);
            status.shows("felix-metrics  tcp/9091  protected\n");
            status.shows(&format!("in tier {tier}, order 500, allow by default\n"));
            if tier == "default" {
                cluster.tree().assert_same(&begun, &[version, tier]);
            }
        }
        done(&cluster, "remove felix-metrics");
        cluster.tree().assert_same(&before, &[version, "remove"]);
    }
}

#[test]
fn a_policy_that_leaves_the_default_tier_says_that_the_rest_stays_open() {
    let cluster = metrics("v3.32.1");
    let note = "all other traffic stays open there, as it is";
    done(&cluster, METRICS).silent_about(note);
    done(&cluster, &format!("{METRICS} --tier guard")).says(note);
    done(&cluster, &format!("{METRICS} --tier other")).silent_about(note);
}

#[test]
fn policies_of_two_tiers_are_told_and_become_one() {
    let twins = || {
        let cluster = metrics("v3.30.7");
        let before = cluster.tree();
        done(&cluster, &format!("{METRICS} --tier guard"));
        let guard = cluster.read("globalnetworkpolicy-guard.protected-felix-metrics-server.yaml");
        let plain = guard
            .replace("guard.protected", "protected")
            .replace("  tier: guard\n", "");
        cluster.write(
            "globalnetworkpolicy-protected-felix-metrics-server.yaml",
            plain,
        );
        (cluster, before)
    };
    let (cluster, before) = twins();
    let status = cluster.does(&["status", "felix-metrics"]);
    status.shows("guard.protected-felix-metrics-server as well: ");
    done(&cluster, "remove felix-metrics");
    cluster.tree().assert_same(&before, &["remove"]);
    for (tier, tiers) in [("", 0), (" --tier default", 0), (" --tier guard", 1)] {
        let (cluster, _) = twins();
        done(&cluster, &format!("{METRICS}{tier}"));
        assert_eq!(policies_and_tiers(&cluster), [1, tiers], "{tier}");
    }
}

#[test]
fn what_cannot_be_moved_safely_is_refused_with_the_way_to_go() {
    let cluster = metrics("v3.30.7");
    done(&cluster, &format!("{METRICS} --tier guard"));
    let both = format!("{METRICS} --tier default --approach deny-by-default");
    cluster
        .refused(3, &words(&both))
        .says("approach and tier of `felix-metrics` cannot change at once\n")
        .says("hint: first `server felix-metrics … --tier default`, then `server felix-metrics … --approach deny-by-default`\n");

    let name = "globalnetworkpolicy-guard.protected-felix-metrics-server.yaml";
    let made = "  annotations:\n    calicoctl-protect/created: \"true\"\n";
    let text = cluster.read(name);
    assert!(text.contains(made), "{text}");
    cluster.write(name, text.replace(made, ""));
    cluster
        .refused(3, &words(&format!("{METRICS} --tier other")))
        .says("cannot go into tier `other`: calicoctl-protect did not make it\n");

    let cluster = Cluster::example();
    let pods =
        "server prom --port tcp/9090 --workload 'monitoring/app == \"prometheus\"' --tier guard";
    done(&cluster, pods);
    cluster
        .refused(3, &words("server prom --node worker-1 --tier default"))
        .says("`prom` cannot leave tier `guard`: that would close all other ports of its pods\n");
}
