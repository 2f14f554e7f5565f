use super::*;

const ALLOWED: &str = "allowed-etcd-client";

fn nets(snapshot: &Snapshot, set: &str) -> Vec<String> {
    let set = snapshot.global(Kind::GlobalNetworkSet, set);
    let nets = |set: &Object| set.spec_strs("nets").map(str::to_owned).collect();
    set.map(nets).unwrap_or_default()
}

#[test]
fn a_host_is_let_in_by_its_endpoint_and_the_rest_of_its_addresses_by_a_set() {
    let mut node = mk_node("a", "192.0.2.1");
    node["metadata"]["annotations"] =
        json!({"projectcalico.org/IPv4VXLANTunnelAddr": "10.244.0.1"});
    let before = mk_cluster([
        node,
        mk_endpoint("a-eth0", "a", "eth0", &["192.0.2.1"]),
        mk_endpoint("a-eth1", "a", "eth1", &[]),
    ]);
    let intent = mk_clients("etcd", &["a"], &[]);
    let outcome = granted(&before, &intent);
    assert_eq!(
        endpoint(&outcome.after, "a-eth0").label(ALLOWED),
        Some("true")
    );
    assert_eq!(endpoint(&outcome.after, "a-eth1").label(ALLOWED), None);
    assert_eq!(
        nets(&outcome.after, "allowed-etcd-client-nodes"),
        ["10.244.0.1/32"]
    );
    assert_eq!(granted(&outcome.after, &intent).told(), [""; 0]);
    assert_same(&revoked(&outcome.after, &intent).after, &before);
}

#[test]
fn an_automatic_endpoint_is_labelled_through_its_node() {
    let before = mk_cluster([mk_node("a", "192.0.2.1"), mk_automatic("a", "192.0.2.1")]);
    let intent = mk_clients("etcd", &["a"], &[]);
    let outcome = granted(&before, &intent);
    assert_eq!(outcome.told(), ["clients: ~ Node/a"]);
    assert_eq!(
        outcome.steps[0].why,
        ["lets a in: its automatic host endpoint copies the Node's labels"]
    );
    assert_same(&revoked(&outcome.after, &intent).after, &before);
}

#[test]
fn a_label_with_another_value_lets_in_as_well_and_stays() {
    let there = labelled(
        mk_endpoint("a-eth0", "a", "eth0", &["192.0.2.1"]),
        ALLOWED,
        "since-2019",
    );
    let before = mk_cluster([mk_node("a", "192.0.2.1"), there]);
    assert_eq!(
        granted(&before, &mk_clients("etcd", &["a"], &[])).told(),
        [""; 0]
    );
}

#[test]
fn networks_that_are_let_in_already_are_not_listed_again() {
    let before = mk_cluster([]);
    let wide = granted(&before, &mk_clients("etcd", &[], &["198.51.100.0/24"])).after;
    let narrow = mk_clients("etcd", &[], &["198.51.100.0/28"]);
    assert_eq!(granted(&wide, &narrow).told(), [""; 0]);
    let still = revoked(&wide, &narrow);
    assert_eq!(still.told(), [""; 0]);
    assert_eq!(
        still.notes,
        ["198.51.100.0/24 is still let in by GlobalNetworkSet/allowed-etcd-client"]
    );
}

#[test]
fn a_revoke_tells_every_object_that_still_lets_in() {
    let other = mk(
        "GlobalNetworkSet",
        "backup",
        &json!({"nets": ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4/31"]}),
    );
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_endpoint("b-eth0", "b", "eth0", &["192.0.2.1"]),
        labelled(other, ALLOWED, "true"),
    ]);
    let all = granted(&before, &mk_clients("etcd", &["b"], &["192.0.2.0/29"])).after;
    let outcome = revoked(&all, &mk_clients("etcd", &[], &["192.0.2.0/29"]));
    assert_eq!(
        outcome.notes,
        [
            "192.0.2.1 is still let in by HostEndpoint/b-eth0",
            "192.0.2.1, 192.0.2.2, 192.0.2.3 and 1 more are still let in by GlobalNetworkSet/backup",
        ]
    );
}

#[test]
fn a_set_of_somebody_elses_keeps_what_they_put_in() {
    let theirs = mk(
        "GlobalNetworkSet",
        ALLOWED,
        &json!({"nets": ["203.0.113.0/28"]}),
    );
    let before = mk_cluster([labelled(theirs, ALLOWED, "true")]);
    let intent = mk_clients("etcd", &[], &["198.51.100.0/28"]);
    let outcome = granted(&before, &intent);
    assert_eq!(
        nets(&outcome.after, ALLOWED),
        ["203.0.113.0/28", "198.51.100.0/28"]
    );
    assert_same(&revoked(&outcome.after, &intent).after, &before);
    let last = revoked(&before, &mk_clients("etcd", &[], &["203.0.113.0/28"]));
    assert!(last.after.global(Kind::GlobalNetworkSet, ALLOWED).is_some());
}

#[test]
fn grants_of_a_server_come_and_go_in_any_order() {
    let before = mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_node("b", "192.0.2.2"),
        mk_endpoint("a-eth0", "a", "eth0", &["192.0.2.1"]),
    ]);
    let intents = [
        mk_clients("etcd", &["a"], &[]),
        mk_clients("etcd", &["b"], &[]),
        mk_clients("etcd", &[], &["198.51.100.0/28"]),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
        let all = intents.iter().fold(before.clone(), |state, intent| {
            granted(&state, intent).after
        });
        let none = order
            .iter()
            .fold(all, |state, i| revoked(&state, &intents[*i]).after);
        assert_same(&none, &before);
    }
}
