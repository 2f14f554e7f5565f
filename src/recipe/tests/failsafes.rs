use proptest::strategy::Strategy as _;

use super::*;
use crate::recipe::RecipeErrorKind;

const TCP: &str = "TCP";

/// calico-node with an environment.
fn mk_agent(variable: &str, value: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [
            {"name": "calico-node", "env": [{"name": variable, "value": value}]}]}}}})
}

fn inbound(ports: &[&str]) -> Failsafes {
    Failsafes {
        directions: vec![Direction::Inbound],
        ..mk_ports(ports)
    }
}

fn changed(outcome: &Outcome) -> Vec<String> {
    outcome.steps.iter().map(|s| s.id.name.clone()).collect()
}

#[test]
fn the_list_that_decides_is_the_one_that_changes() {
    let scoped = |name: &str, selector: &str| {
        let mut scoped = mk_felix(name, &[(TCP, 22), (TCP, 2379)]);
        scoped["spec"]["nodeSelector"] = json!(selector);
        scoped
    };
    let nodes = [mk_node("a", "192.0.2.1"), mk_node("b", "192.0.2.2")];
    let default = mk_felix("default", &[(TCP, 22), (TCP, 2379)]);
    let own = mk_felix("node.a", &[(TCP, 2379)]);
    let quiet = mk(
        "FelixConfiguration",
        "node.a",
        &json!({"logSeverityScreen": "Info"}),
    );
    let cases: [(&str, Vec<Value>, &[&str]); 6] = [
        ("built-in", vec![], &["default"]),
        ("default", vec![default.clone()], &["default"]),
        (
            "own",
            vec![default.clone(), own.clone()],
            &["default", "node.a"],
        ),
        (
            "own without list",
            vec![default.clone(), quiet],
            &["default"],
        ),
        (
            "scoped",
            vec![default.clone(), scoped("rack", "host == 'b'")],
            &["default", "rack"],
        ),
        (
            "own above scoped",
            vec![own, scoped("all", "all()")],
            &["all", "node.a"],
        ),
    ];
    for (name, objects, wanted) in cases {
        let before = mk_cluster(nodes.iter().cloned().chain(objects));
        let intent = inbound(&["tcp/2379"]);
        let outcome = pruned(&before, &intent);
        let mut places = changed(&outcome);
        places.sort();
        assert_eq!(places, wanted, "{name}");
        assert_eq!(pruned(&outcome.after, &intent).told(), [""; 0], "{name}");
        let back = restored(&outcome.after, &intent);
        assert_same(&back.after, &before);
        assert_eq!(restored(&back.after, &intent).told(), [""; 0], "{name}");
    }
}

#[test]
fn scoped_configurations_do_nothing_before_v3_32() {
    let mut scoped = mk_felix("rack", &[(TCP, 2379)]);
    scoped["spec"]["nodeSelector"] = json!("all()");
    let before = mk_cluster_of(Version::new(3, 31, 0), [mk_node("a", "192.0.2.1"), scoped]);
    let outcome = pruned(&before, &inbound(&["tcp/2379"]));
    assert_eq!(changed(&outcome), ["default"]);
    assert!(outcome.notes[0].starts_with("FelixConfiguration/rack lists tcp/2379 inbound, too"));
}

#[test]
fn the_environment_is_above_all_of_it() {
    let list = "tcp:22,tcp:2379,udp:68";
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_felix("default", &[(TCP, 2379)]),
        mk_agent("FELIX_FAILSAFEINBOUNDHOSTPORTS", list),
    ]);
    let mut draft = Draft::new(&before);
    let error = prune(&mut draft, &inbound(&["tcp/2379"])).unwrap_err();
    assert_eq!(error.kind, RecipeErrorKind::Failed);
    assert!(
        error
            .hint
            .unwrap()
            .ends_with("FELIX_FAILSAFEINBOUNDHOSTPORTS=tcp:22,udp:68`")
    );
    // A port that it does not open needs no change, and the outbound list is its own matter.
    assert_eq!(pruned(&before, &inbound(&["tcp/5473"])).told(), [""; 0]);
    let outbound = Failsafes {
        directions: vec![Direction::Outbound],
        ..mk_ports(&["tcp/2379"])
    };
    assert_eq!(changed(&pruned(&before, &outbound)), ["default"]);
}

#[test]
fn an_absent_list_is_written_out_by_version_and_goes_away_again() {
    for (version, count) in [
        ((3, 8, 0), 7),
        ((3, 14, 1), 8),
        ((3, 15, 0), 9),
        ((3, 32, 1), 9),
    ] {
        let version = Version::new(version.0, version.1, version.2);
        let felix = mk(
            "FelixConfiguration",
            "default",
            &json!({"reportingInterval": "0s"}),
        );
        let before = mk_cluster_of(version, [mk_node("a", "192.0.2.1"), felix]);
        let outcome = pruned(&before, &inbound(&["tcp/2379"]));
        let after = outcome.after.get(&felix_id("default")).unwrap();
        let list = after
            .spec("failsafeInboundHostPorts")
            .and_then(Value::as_array);
        assert_eq!(list.map(Vec::len), Some(count - 1), "{version}");
        assert_same(
            &restored(&outcome.after, &inbound(&["tcp/2379"])).after,
            &before,
        );
    }
}

#[test]
fn an_empty_list_is_none_at_all() {
    let before = mk_cluster([mk_node("a", "192.0.2.1"), mk_felix("default", &[])]);
    let outcome = pruned(&before, &inbound(&["tcp/22"]));
    assert_eq!(outcome.told(), [""; 0]);
    assert_eq!(
        outcome.notes[0],
        "nothing to prune inbound: tcp/22 is not in FelixConfiguration/default"
    );
}

#[test]
fn the_last_entry_leaves_an_empty_list_and_not_an_absent_one() {
    let before = mk_cluster([mk_node("a", "192.0.2.1"), mk_felix("default", &[(TCP, 22)])]);
    let outcome = pruned(&before, &inbound(&["tcp/22"]));
    let after = outcome.after.get(&felix_id("default")).unwrap();
    assert_eq!(after.spec("failsafeInboundHostPorts"), Some(&json!([])));
    assert_same(
        &restored(&outcome.after, &inbound(&["tcp/22"])).after,
        &before,
    );
}

#[test]
fn ports_come_back_in_any_order_and_in_any_company() {
    let ports = ["tcp/22", "tcp/2379", "udp/68"];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let lists = [
        mk_felix(
            "default",
            &[
                (TCP, 22),
                ("udp", 68),
                (TCP, 2379),
                ("tcp", 2379),
                (TCP, 99),
            ],
        ),
        mk("FelixConfiguration", "default", &json!({})),
        json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
            "metadata": {"name": "default", "annotations":
                {"config.projectcalico.org/FailsafeInboundHostPorts": "22, TCP:2379,udp:68,tcp:[2001:db8::/32]:22"}}}),
    ];
    for list in lists {
        let before = mk_cluster([mk_node("a", "192.0.2.1"), list]);
        for there in orders {
            let open = there.iter().fold(before.clone(), |state, i| {
                pruned(&state, &mk_ports(&[ports[*i]])).after
            });
            for back in orders {
                let end = back.iter().fold(open.clone(), |state, i| {
                    restored(&state, &mk_ports(&[ports[*i]])).after
                });
                assert_same(&end, &before);
            }
        }
    }
}

#[test]
fn what_was_not_pruned_is_put_back_only_when_asked_for() {
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_felix("default", &[(TCP, 22), (TCP, 6443)]),
    ]);
    let intent = inbound(&["tcp/2379"]);
    let outcome = restored(&before, &intent);
    assert_eq!(outcome.told(), [""; 0]);
    assert_eq!(
        outcome.notes,
        [
            "nothing to restore inbound: calicoctl-protect did not take tcp/2379 out of FelixConfiguration/default"
        ]
    );
    let asked = Failsafes {
        add: true,
        ..intent
    };
    let outcome = restored(&before, &asked);
    let after = outcome.after.get(&felix_id("default")).unwrap();
    let ports: Vec<u64> = after
        .spec("failsafeInboundHostPorts")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter_map(|entry| entry["port"].as_u64())
        .collect();
    assert_eq!(ports, [22, 2379, 6443], "where the built-in list has it");
    assert_eq!(restored(&outcome.after, &asked).told(), [""; 0]);
}

#[test]
fn a_single_node_gets_a_list_of_its_own() {
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_node("b", "192.0.2.2"),
        mk_felix("default", &[(TCP, 22), (TCP, 2379)]),
    ]);
    let intent = Failsafes {
        nodes: vec!["b".into()],
        ..inbound(&["tcp/2379"])
    };
    let outcome = pruned(&before, &intent);
    assert_eq!(outcome.told(), ["failsafes: + FelixConfiguration/node.b"]);
    assert_same(&restored(&outcome.after, &intent).after, &before);
}

#[test]
fn a_list_that_changed_meanwhile_keeps_the_change() {
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_felix("default", &[(TCP, 22), (TCP, 2379)]),
    ]);
    let mut state = pruned(&before, &inbound(&["tcp/2379"])).after;
    let mut theirs = state.get(&felix_id("default")).unwrap().clone();
    let entry = |port: u16| json!({"protocol": "TCP", "port": port});
    theirs.set_spec("failsafeInboundHostPorts", json!([entry(22), entry(9100)]));
    state.put(theirs);
    let after = restored(&state, &inbound(&["tcp/2379"])).after;
    let list = after.get(&felix_id("default")).unwrap();
    assert_eq!(
        list.spec("failsafeInboundHostPorts"),
        Some(&json!([entry(22), entry(2379), entry(9100)]))
    );
}

#[test]
fn a_node_s_own_list_gets_back_what_was_pruned_below_it() {
    let default = mk_felix("default", &[(TCP, 22), (TCP, 2379), (TCP, 5473)]);
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_node("b", "192.0.2.2"),
        default,
    ]);
    let of_a = |port| Failsafes {
        nodes: vec!["a".into()],
        ..inbound(&[port])
    };
    let below = pruned(&before, &inbound(&["tcp/2379"])).after;
    let both = pruned(&below, &of_a("tcp/5473")).after;
    let first = restored(&both, &inbound(&["tcp/2379"])).after;
    let own = first.get(&felix_id("node.a")).unwrap();
    let entry = |port: u16| json!({"protocol": "TCP", "port": port});
    assert_eq!(
        own.spec("failsafeInboundHostPorts"),
        Some(&json!([entry(22), entry(2379)]))
    );
    assert_same(&restored(&first, &inbound(&["tcp/5473"])).after, &before);
}

#[test]
fn a_node_s_own_list_goes_when_the_list_below_it_is_whole_again() {
    let before = mk_cluster([mk_node("a", "192.0.2.1"), mk_node("b", "192.0.2.2")]);
    let (etcd, typha) = (inbound(&["tcp/2379"]), inbound(&["tcp/5473"]));
    let of_a = |intent: &Failsafes| Failsafes {
        nodes: vec!["a".into()],
        ..intent.clone()
    };
    let own = pruned(&before, &of_a(&etcd)).after;
    let both = pruned(&own, &etcd).after;
    assert_same(&restored(&both, &etcd).after, &before);

    let below = pruned(&before, &etcd).after;
    let copied = pruned(&below, &of_a(&typha)).after;
    assert_same(&restored(&copied, &typha).after, &below);
}

proptest::proptest! {
    #[test]
    fn what_was_pruned_in_any_order_comes_back_in_any_order(
        has_list in proptest::bool::ANY,
        prunes in proptest::collection::vec((0..3_usize, 0..4_u8, 0..4_usize), 1..6),
        order in proptest::sample::subsequence(vec![0, 1, 2], 3).prop_shuffle(),
    ) {
        const PORTS: [&str; 3] = ["tcp/22", "tcp/2379", "tcp/5473"];
        const KEPT: [&[&str]; 4] = [&[], &[], &["192.0.2.0/28"], &["192.0.2.0/25", "2001:db8::/32"]];
        let mut objects = vec![mk_node("a", "192.0.2.1"), mk_node("b", "192.0.2.2")];
        if has_list {
            let mut own = mk_felix("default", &[(TCP, 5473), (TCP, 22), (TCP, 2379), ("UDP", 68)]);
            let list = own["spec"]["failsafeInboundHostPorts"].as_array_mut().unwrap();
            let narrow = json!({"protocol": TCP, "port": 2379, "net": "192.0.2.0/24"});
            list.insert(1, narrow);
            objects.push(own);
        }
        let before = mk_cluster(objects);
        let mut now = before.clone();
        for (port, hosts, narrow) in prunes {
            let nodes: &[&str] = match hosts {
                0 | 1 => &[],
                2 => &["a"],
                _ => &["a", "b"],
            };
            let intent = Failsafes {
                nodes: nodes.iter().copied().map(Into::into).collect(),
                keep_nets: KEPT[narrow].iter().map(|net| net.parse().unwrap()).collect(),
                ..inbound(&[PORTS[port]])
            };
            now = pruned(&now, &intent).after;
        }
        for port in order {
            now = restored(&now, &inbound(&[PORTS[port]])).after;
        }
        assert_same(&now, &before);
    }
}

/// A cluster in a store of its own kind, whose `default` says what a new FelixConfiguration would be
/// filled with otherwise.
fn mk_filling(kind: DatastoreKind, own: Option<Value>) -> Snapshot {
    let mut default = mk_felix("default", &[(TCP, 22), (TCP, 2379)]);
    for (field, value) in [
        ("nftablesMode", "Enabled"),
        ("floatingIPs", "Enabled"),
        ("bpfConnectTimeLoadBalancing", "TCP"),
    ] {
        default["spec"][field] = json!(value);
    }
    let objects = [mk_node("a", "192.0.2.1"), default];
    let mut cluster = mk_cluster(objects.into_iter().chain(own));
    cluster.datastore.kind = kind;
    cluster
}

#[test]
fn a_node_s_own_configuration_says_what_would_be_filled_in_above_the_cluster_s() {
    let intent = Failsafes {
        nodes: vec!["a".into()],
        ..inbound(&["tcp/2379"])
    };
    let own = mk_felix("node.a", &[(TCP, 22), (TCP, 2379)]);
    let both = ["nftablesMode", "floatingIPs"];
    let cases: [(DatastoreKind, Option<&Value>, &[&str]); 8] = [
        (DatastoreKind::Manifests, None, &both),
        (DatastoreKind::AggregatedV3, None, &both),
        (DatastoreKind::NativeV3, None, &both[..1]),
        (DatastoreKind::CrdV1, None, &both[..1]),
        (DatastoreKind::Etcd, None, &[]),
        (DatastoreKind::NativeV3, Some(&own), &[]),
        (DatastoreKind::AggregatedV3, Some(&own), &both[1..]),
        (DatastoreKind::Etcd, Some(&own), &[]),
    ];
    for (kind, own, wanted) in cases {
        let before = mk_filling(kind, own.cloned());
        let outcome = pruned(&before, &intent);
        let written = outcome.after.get(&felix_id("node.a")).unwrap();
        let said: Vec<&str> = [
            "nftablesMode",
            "nftablesFlowTableOffload",
            "floatingIPs",
            "bpfConnectTimeLoadBalancing",
        ]
        .into_iter()
        .filter(|field| written.spec(field).is_some_and(|value| value == "Enabled"))
        .collect();
        assert_eq!(said, wanted, "{kind} {own:?}");
        assert_eq!(
            outcome
                .notes
                .iter()
                .filter(|n| n.contains("would be filled"))
                .count(),
            wanted.len()
        );
        let back = restored(&outcome.after, &intent);
        if own.is_none() || wanted.is_empty() {
            assert_same(&back.after, &before);
        } else {
            // Taken away, it would be filled in again, with another value.
            let kept = back.after.get(&felix_id("node.a")).unwrap();
            assert_eq!(kept.spec_str("floatingIPs"), Some("Enabled"));
        }
    }
}

#[test]
fn a_configuration_of_which_only_what_was_filled_in_is_left_goes_away() {
    let intent = Failsafes {
        nodes: vec!["a".into()],
        ..inbound(&["tcp/2379"])
    };
    for (default, filled, goes) in [
        (None, "Auto", true),
        (None, "Enabled", false), // somebody's choice
        (Some("Enabled"), "Enabled", true),
        (Some("Enabled"), "Auto", false), // without it the node would change its mode
    ] {
        let mut cluster = mk_felix("default", &[(TCP, 2379)]);
        if let Some(mode) = default {
            cluster["spec"]["nftablesMode"] = json!(mode);
        }
        let mut before = mk_cluster([mk_node("a", "192.0.2.1"), cluster]);
        before.datastore.kind = DatastoreKind::NativeV3;
        let mut after = pruned(&before, &intent).after;
        let mut own = after.get(&felix_id("node.a")).unwrap().clone();
        own.set_spec("nftablesMode", json!(filled));
        own.set_spec("bpfLogLevel", json!("")); // what libcalico makes of an absent one
        after.put(own);
        let back = restored(&after, &intent).after;
        assert_eq!(
            back.get(&felix_id("node.a")).is_none(),
            goes,
            "{default:?} {filled}"
        );
        if goes {
            assert_same(&back, &before);
        }
    }
}
