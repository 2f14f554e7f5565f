use super::*;
use crate::plan::{Course, Plan};
use crate::recipe::base::DISCOVERY;
use crate::recipe::policies::{Approach, DEFAULT_ALLOW};
use crate::recipe::{RecipeErrorKind, marks};

const PROTECTED: &str = "protected-etcd-server";

fn two_hosts() -> Snapshot {
    mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_node("b", "192.0.2.2"),
        mk_endpoint("a-eth0", "a", "eth0", &["192.0.2.1"]),
    ])
}

#[test]
fn the_stages_are_written_in_the_safe_order_and_undone_backwards() {
    let before = two_hosts();
    let (server, ports) = (mk_server("etcd", &["a"]), mk_ports(&["tcp/2379"]));
    let mut draft = Draft::new(&before);
    protect(&mut draft, &server).unwrap();
    prune(&mut draft, &ports).unwrap();
    let stages = |plan: &Plan| -> Vec<Stage> {
        let mut stages: Vec<Stage> = plan.changes.iter().map(|c| c.stage).collect();
        stages.dedup();
        stages
    };
    let there = Plan::new(draft, Course::Forward);
    let order = [
        Stage::DefaultAllow,
        Stage::Clients,
        Stage::HostEndpoints,
        Stage::ProtectPolicy,
        Stage::ProtectedLabels,
        Stage::Failsafes,
    ];
    assert_eq!(stages(&there), order);

    let between = there.after(&before, there.changes.len());
    let mut draft = Draft::new(&between);
    restore(&mut draft, &ports).unwrap();
    let intent = RemoveServer {
        server: "etcd".parse().unwrap(),
        all: false,
    };
    remove(&mut draft, &intent).unwrap();
    let back = Plan::new(draft, Course::Backward);
    assert_eq!(stages(&back), order.into_iter().rev().collect::<Vec<_>>());
    assert_same(&back.after(&between, back.changes.len()), &before);
}

#[test]
fn a_tier_comes_first_of_all() {
    let intent = ProtectServer {
        tier: Some("guard".into()),
        ..mk_server("etcd", &["a"])
    };
    let outcome = protected(&two_hosts(), &intent);
    assert_eq!(outcome.told()[0], "tier: + Tier/guard");
    assert!(!outcome.told().join("\n").contains(DEFAULT_ALLOW));
    let back = removed(&outcome.after, "etcd");
    assert_same(&back.after, &two_hosts());
}

#[test]
fn a_new_endpoint_is_born_open_and_protected_later() {
    let outcome = protected(&two_hosts(), &mk_server("etcd", &["b"]));
    let of_b: Vec<&Step> = outcome
        .steps
        .iter()
        .filter(|s| s.id.kind == Kind::HostEndpoint)
        .collect();
    let [born, labelled] = of_b[..] else {
        panic!("{:?}", outcome.told());
    };
    assert_eq!(
        (born.stage, labelled.stage),
        (Stage::HostEndpoints, Stage::ProtectedLabels)
    );
    let born = born.after.as_ref().unwrap();
    assert_eq!(born.label(DEFAULT_ALLOW), Some("true"));
    assert_eq!(born.label(PROTECTED), None);
    assert_eq!(born.spec_str("interfaceName"), Some("*"));
    assert_eq!(
        born.spec_strs("expectedIPs").collect::<Vec<_>>(),
        ["192.0.2.2"]
    );
}

#[test]
fn protecting_twice_changes_nothing_on_any_cluster() {
    let automatic = mk(
        "KubeControllersConfiguration",
        "default",
        &json!({"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}),
    );
    let nodes = || [mk_node("a", "192.0.2.1"), mk_node("b", "192.0.2.2")];
    let clusters: Vec<Vec<Value>> = vec![
        nodes().to_vec(),
        nodes().into_iter().chain([automatic]).collect(),
        nodes()
            .into_iter()
            .chain([mk_automatic("a", "192.0.2.1")])
            .collect(),
        nodes()
            .into_iter()
            .chain([mk_endpoint("a-eth0", "a", "eth0", &["192.0.2.1"])])
            .collect(),
        nodes()
            .into_iter()
            .chain([mk_endpoint("x", "b", "", &["192.0.2.2"])])
            .collect(),
    ];
    let interfaces = [vec!["*"], vec!["eth0"], vec!["bond0.100", "Eth_0"]];
    let approaches = [None, Some(Approach::DenyByDefault)];
    let versions = [(3, 8, 0), (3, 27, 5), (3, 29, 0), (3, 32, 1)];
    for objects in clusters {
        for names in &interfaces {
            for approach in approaches {
                for (major, minor, patch) in versions {
                    let version = Version::new(major, minor, patch);
                    let before = mk_cluster_of(version, objects.clone());
                    let intent = ProtectServer {
                        interfaces: names.iter().map(|&n| n.to_owned()).collect(),
                        approach,
                        ..mk_server("etcd", &["a", "b"])
                    };
                    let first = protected(&before, &intent);
                    assert!(!first.steps.is_empty());
                    let second = protected(&first.after, &intent);
                    assert_eq!(second.told(), [""; 0], "{names:?} {approach:?} {version}");
                    let back = removed(&first.after, "etcd");
                    assert_same(&back.after, &before);
                    assert_eq!(removed(&back.after, "etcd").told(), [""; 0]);
                }
            }
        }
    }
}

#[test]
fn what_was_half_protected_is_completed_and_left_as_it_was() {
    let policy = mk(
        "GlobalNetworkPolicy",
        PROTECTED,
        &json!({"order": 500, "selector": "protected-etcd-server == 'true'", "types": ["Ingress"],
            "ingress": [{"action": "Deny", "protocol": "TCP", "source": {"notSelector": "has( allowed-etcd-client )"},
                "destination": {"ports": [2379]}}]}),
    );
    let begun = labelled(
        mk_endpoint("a-all", "a", "*", &["192.0.2.1"]),
        PROTECTED,
        "true",
    );
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_node("b", "192.0.2.2"),
        begun,
        mk_endpoint("b-all", "b", "*", &["192.0.2.2"]),
        policy,
    ]);
    let outcome = protected(&before, &mk_server("etcd", &["a", "b"]));
    let told = outcome.told().join("\n");
    assert!(!told.contains("protect policy"), "{told}");
    let [a, b] = ["a-all", "b-all"].map(|name| endpoint(&outcome.after, name));
    assert!(!marks::has_label(a, PROTECTED) && marks::has_label(b, PROTECTED));
    assert_eq!(a.label(DEFAULT_ALLOW), Some("true"));

    let back = removed(&outcome.after, "etcd");
    assert_eq!(
        endpoint(&back.after, "a-all").label(PROTECTED),
        Some("true")
    );
    assert_eq!(endpoint(&back.after, "b-all").label(PROTECTED), None);
    assert!(
        back.after
            .global(Kind::GlobalNetworkPolicy, PROTECTED)
            .is_some()
    );
    assert_eq!(
        back.notes,
        [
            "GlobalNetworkPolicy/protected-etcd-server and its label on 1 object stay: calicoctl-protect did not make them"
        ]
    );
}

#[test]
fn two_servers_share_a_host_endpoint_until_the_last_goes() {
    let before = two_hosts();
    let etcd = protected(&before, &mk_server("etcd", &["a"])).after;
    let both = protected(&etcd, &mk_server("kubelet", &["a"])).after;
    for (first, second) in [("etcd", "kubelet"), ("kubelet", "etcd")] {
        let one = removed(&both, first).after;
        let shared = endpoint(&one, "a-all");
        assert_eq!(shared.label(DEFAULT_ALLOW), Some("true"), "{first}");
        assert!(
            one.global(Kind::GlobalNetworkPolicy, DEFAULT_ALLOW)
                .is_some()
        );
        let none = removed(&one, second).after;
        assert_same(&none, &before);
    }
}

#[test]
fn an_endpoint_that_a_client_needs_stays_until_the_client_goes() {
    let before = two_hosts();
    let server = protected(&before, &mk_server("etcd", &["b"])).after;
    let client = mk_clients("typha", &["b"], &[]);
    let both = granted(&server, &client).after;
    assert_eq!(
        endpoint(&both, "b-all").label("allowed-typha-client"),
        Some("true")
    );
    let one = removed(&both, "etcd").after;
    let kept = endpoint(&one, "b-all");
    assert_eq!(kept.label(PROTECTED), None);
    assert_eq!(kept.label("allowed-typha-client"), Some("true"));
    assert_same(&revoked(&one, &client).after, &before);
}

#[test]
fn a_default_allow_of_somebody_elses_stays_with_its_labels() {
    let mut policy = crate::recipe::policies::default_allow().into_value();
    policy["metadata"] = json!({"name": DEFAULT_ALLOW});
    let mine = labelled(
        mk_endpoint("a-all", "a", "*", &["192.0.2.1"]),
        DEFAULT_ALLOW,
        "true",
    );
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mine,
        mk_endpoint("b-all", "b", "*", &["192.0.2.2"]),
        policy,
    ]);
    let outcome = protected(&before, &mk_server("etcd", &["a", "b"]));
    assert!(marks::has_label(
        endpoint(&outcome.after, "b-all"),
        DEFAULT_ALLOW
    ));
    assert_same(&removed(&outcome.after, "etcd").after, &before);
}

#[test]
fn the_approach_and_tier_of_the_policy_that_is_there_are_kept() {
    let deny = ProtectServer {
        approach: Some(Approach::DenyByDefault),
        ..mk_server("etcd", &["a"])
    };
    let first = protected(&two_hosts(), &deny).after;
    let more = protected(&first, &mk_server("etcd", &["b"]));
    let told = more.told().join("\n");
    assert!(!told.contains("GlobalNetworkPolicy"), "{told}");
    assert_eq!(endpoint(&more.after, "b-all").label(DEFAULT_ALLOW), None);
    assert_eq!(endpoint(&more.after, "b-all").spec("profiles"), None);

    let tier = ProtectServer {
        tier: Some("guard".into()),
        ..mk_server("etcd", &["a"])
    };
    let first = protected(&two_hosts(), &tier).after;
    let told = protected(&first, &mk_server("etcd", &["b"]))
        .told()
        .join("\n");
    assert!(!told.contains("GlobalNetworkPolicy"), "{told}");
}

#[test]
fn loopback_and_own_addresses_are_let_in_where_they_are_policed() {
    let own = |snapshot: &Snapshot| -> Vec<String> {
        let set = snapshot.global(Kind::GlobalNetworkSet, "allowed-etcd-client-self");
        set.into_iter()
            .flat_map(|set| set.spec_strs("nets").map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let all = protected(&two_hosts(), &mk_server("etcd", &["a"])).after;
    assert_eq!(own(&all), ["127.0.0.0/8", "192.0.2.1/32", "::1/128"]);
    let named = ProtectServer {
        interfaces: vec!["eth0".into()],
        ..mk_server("etcd", &["a"])
    };
    assert!(own(&protected(&two_hosts(), &named).after).is_empty());
    let without = ProtectServer {
        allow_self: false,
        ..mk_server("etcd", &["a"])
    };
    assert!(own(&protected(&two_hosts(), &without).after).is_empty());
}

#[test]
fn addresses_that_another_set_lets_in_are_not_listed_twice() {
    let loopback = mk(
        "GlobalNetworkSet",
        "loopback",
        &json!({"nets": ["127.0.0.0/8", "192.0.2.0/24"]}),
    );
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        labelled(loopback, "allowed-etcd-client", "yes"),
    ]);
    let after = protected(&before, &mk_server("etcd", &["a"])).after;
    let set = after.global(Kind::GlobalNetworkSet, "allowed-etcd-client-self");
    assert_eq!(
        set.unwrap().spec_strs("nets").collect::<Vec<_>>(),
        ["::1/128"]
    );
}

#[test]
fn names_that_are_taken_are_refused() {
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_endpoint("a-all", "b", "eth7", &["192.0.2.2"]),
    ]);
    let mut draft = Draft::new(&before);
    let error = protect(&mut draft, &mk_server("etcd", &["a"])).unwrap_err();
    assert_eq!(error.kind, RecipeErrorKind::Failed);
    assert!(
        error
            .message
            .contains("`a-all` is needed for interface `*` of node `a`")
    );
    assert_eq!(error.detail, ["it is for interface `eth7` of node `b`"]);
}

#[test]
fn ipv6_discovery_is_let_through_until_the_last_that_drops_the_rest_goes() {
    let mut node = mk_node("a", "192.0.2.1");
    let ipv6 = json!({"type": "InternalIP", "address": "2001:db8::1"});
    node["status"]["addresses"]
        .as_array_mut()
        .unwrap()
        .push(ipv6);
    let before = mk_cluster([node]);
    let deny = |server| ProtectServer {
        approach: Some(Approach::DenyByDefault),
        ..mk_server(server, &["a"])
    };
    let one = protected(&before, &deny("etcd"));
    let told = one.told().join("\n");
    assert!(told.contains("default allow: + GlobalNetworkPolicy/bl-ipv6-discovery"));
    let born = one.steps.iter().find(|s| s.id.kind == Kind::HostEndpoint);
    let born = born.unwrap().after.as_ref().unwrap();
    assert_eq!(born.label(DISCOVERY), Some("true"));
    let both = protected(&one.after, &deny("kubelet")).after;
    for (first, second) in [("etcd", "kubelet"), ("kubelet", "etcd")] {
        let left = removed(&both, first).after;
        assert_eq!(endpoint(&left, "a-all").label(DISCOVERY), Some("true"));
        assert_same(&removed(&left, second).after, &before);
    }
}

#[test]
fn ipv6_discovery_of_somebody_elses_endpoint_comes_and_goes_by_its_profile() {
    let of = |profiles: Value| {
        let mut endpoint = mk_endpoint("a-all", "a", "*", &["2001:db8::1"]);
        endpoint["spec"]["profiles"] = profiles;
        mk_cluster([mk_node("a", "2001:db8::1"), endpoint])
    };
    let intent = ProtectServer {
        approach: Some(Approach::DenyByDefault),
        ..mk_server("etcd", &["a"])
    };
    for (profiles, by_label) in [
        (json!(["projectcalico-default-allow"]), false),
        (json!([]), true),
    ] {
        let before = of(profiles);
        let there = protected(&before, &intent);
        let rules = there.after.global(Kind::GlobalNetworkPolicy, PROTECTED);
        let rules = rules.unwrap().spec("ingress").unwrap().to_string();
        assert_eq!(rules.contains("ICMPv6"), !by_label);
        let label = endpoint(&there.after, "a-all").label(DISCOVERY);
        assert_eq!(label.is_some(), by_label);
        assert_eq!(protected(&there.after, &intent).told(), [""; 0]);
        assert_same(&removed(&there.after, "etcd").after, &before);
    }
}
