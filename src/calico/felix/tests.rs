use std::collections::BTreeMap;

use super::*;
use crate::calico::snapshot::{Datastore, DatastoreKind, Stored};
use crate::calico::{Object, Snapshot};

fn snapshot(version: &str, objects: Vec<Value>) -> Snapshot {
    let datastore = Datastore {
        kind: DatastoreKind::Manifests,
        location: "test".into(),
        cluster_guid: None,
        version: Some(version.parse().unwrap()),
    };
    let stored = objects.into_iter().map(|value| Stored {
        object: Object::new(value).unwrap(),
        revision: String::new(),
        place: String::new(),
    });
    Snapshot::new(datastore, stored)
}

fn felix(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
        "metadata": {"name": name}, "spec": spec})
}

fn daemon_set(env: Value, env_from: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [
            {"name": "calico-node", "env": env, "envFrom": env_from}]}}}})
}

fn inbound(snapshot: &Snapshot, node: &str) -> Effective {
    let labels = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
    let matches = |selector: &str, labels: &BTreeMap<String, String>| {
        selector == "all()" || labels.contains_key(selector)
    };
    FailsafeLayers::read(snapshot).effective(Direction::Inbound, node, &labels, &matches)
}

fn ports(effective: &Effective) -> Vec<String> {
    effective.entries.iter().map(ToString::to_string).collect()
}

#[test]
fn built_in_lists_grow_with_3_14_1_and_3_15() {
    let list = |d: Direction, v: &str| {
        let entries = d.built_in(v.parse().unwrap());
        entries
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let old = "tcp/22 udp/68 tcp/179 tcp/2379 tcp/2380 tcp/6666 tcp/6667";
    assert_eq!(list(Direction::Inbound, "v3.14.0"), old);
    let api = "tcp/22 udp/68 tcp/179 tcp/2379 tcp/2380 tcp/6443 tcp/6666 tcp/6667";
    assert_eq!(list(Direction::Inbound, "v3.14.1"), api);
    let now = "udp/53 udp/67 tcp/179 tcp/2379 tcp/2380 tcp/5473 tcp/6443 tcp/6666 tcp/6667";
    assert_eq!(list(Direction::Outbound, "v3.32.1"), now);
}

#[test]
fn the_text_form_is_read_as_felix_reads_it() {
    let read = |text| {
        parse_list(text)
            .map(|list| list.map(|l| l.iter().map(ToString::to_string).collect::<Vec<_>>()))
    };
    assert_eq!(read("").unwrap(), None);
    assert_eq!(read("NONE").unwrap(), Some(vec![]));
    assert_eq!(
        read("22, UDP:68 ,,tcp:192.0.2.9/24:10250,tcp:[2001:db8::1/32]:22")
            .unwrap()
            .unwrap(),
        [
            "tcp/22",
            "udp/68",
            "tcp/10250 for 192.0.2.0/24",
            "tcp/22 for 2001:db8::/32"
        ]
    );
    assert_eq!(
        read("udp:68 ,tcp:22, +22 ,[2001:db8::/32]:22,tcp::22,tcp:[192.0.2.0/24]:22,-0")
            .unwrap()
            .unwrap(),
        [
            "udp/68",
            "tcp/22",
            "tcp/22",
            "tcp/22 for 2001:db8::/32",
            "tcp/22",
            "tcp/22 for 192.0.2.0/24",
            "tcp/0",
        ]
    );
    for bad in [
        "sctp:1",
        ":22",
        "tcp: 22",
        "tcp:22;tcp:23",
        "tcp:[192.0.2.0/24]22",
        "tcp:]1[:22",
        "tcp:[::/0]:192.0.2.0/24:1:2",
        "tcp:-1",
        "tcp:70000",
        "tcp:",
        "udp:68\t",
        "tcp:2001:db8::/32:22",
        "tcp:x:1",
        "tcp:010.0.0.1/32:9",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_entry_that_stops_felix_is_an_error() {
    for bad in [
        json!({"port": 22}),
        json!({"protocol": "SCTP", "port": 1}),
        json!({"protocol": "ICMP", "port": 1}),
        json!({"protocol": "TCP", "port": 65536}),
        json!({"protocol": "TCP", "port": -1}),
        json!({"protocol": "TCP", "port": 1, "net": "banana"}),
    ] {
        assert!(Failsafe::from_value(&bad).is_err(), "{bad}");
    }
    let fine = json!({"protocol": "tcp", "port": 1, "net": ""});
    assert_eq!(
        Failsafe::from_value(&fine).unwrap(),
        Failsafe::any(ServerPort::tcp(1))
    );
}

#[test]
fn absent_means_built_in_and_empty_means_none() {
    let none = snapshot(
        "v3.32.1",
        vec![felix("default", json!({"failsafeInboundHostPorts": []}))],
    );
    assert_eq!(inbound(&none, "n").entries, []);
    let absent = snapshot("v3.32.1", vec![felix("default", json!({}))]);
    assert_eq!(inbound(&absent, "n").source, FailsafeSource::BuiltIn);
    let null = snapshot(
        "v3.32.1",
        vec![felix("default", json!({"failsafeInboundHostPorts": null}))],
    );
    assert_eq!(inbound(&null, "n").source, FailsafeSource::BuiltIn);
}

#[test]
fn the_highest_layer_that_sets_the_list_decides() {
    let list = |port: u16| json!({"failsafeInboundHostPorts": [{"protocol": "tcp", "port": port}]});
    let mut scoped = felix("racks", list(3));
    scoped["spec"]["nodeSelector"] = json!("rack");
    let mut objects = vec![felix("default", list(4)), scoped.clone()];
    let s = snapshot("v3.32.1", objects.clone());
    assert_eq!(ports(&inbound(&s, "n")), ["tcp/3"]);
    // Up to v3.31 only `default` and `node.<name>` count.
    let s = snapshot("v3.31.0", objects.clone());
    assert_eq!(ports(&inbound(&s, "n")), ["tcp/4"]);
    objects.push(felix("node.n", list(2)));
    let s = snapshot("v3.32.1", objects.clone());
    assert_eq!(ports(&inbound(&s, "n")), ["tcp/2"]);
    assert_eq!(ports(&inbound(&s, "other")), ["tcp/3"]);
    objects.push(daemon_set(
        json!([{"name": "felix_FailsafeInboundHostPorts", "value": "tcp:1"}]),
        json!([]),
    ));
    let s = snapshot("v3.32.1", objects);
    assert_eq!(ports(&inbound(&s, "n")), ["tcp/1"]);
}

#[test]
fn of_several_scoped_configurations_the_oldest_stands_whole() {
    let scoped = |name: &str, created: &str, spec: Value| {
        let mut object = felix(name, spec);
        object["metadata"]["creationTimestamp"] = json!(created);
        object["spec"]["nodeSelector"] = json!("all()");
        object
    };
    let list = json!({"failsafeInboundHostPorts": []});
    let s = snapshot(
        "v3.32.1",
        vec![
            scoped("a", "2026-02-01T00:00:00Z", list),
            scoped("b", "2026-01-01T00:00:00Z", json!({})),
        ],
    );
    assert_eq!(inbound(&s, "n").source, FailsafeSource::BuiltIn);
}

#[test]
fn an_annotation_stands_above_the_field_and_an_empty_one_takes_it_away() {
    let mut object = felix("default", json!({"failsafeInboundHostPorts": []}));
    object["metadata"]["annotations"] =
        json!({"config.projectcalico.org/failsafeinboundhostports": "udp:1"});
    assert_eq!(
        ports(&inbound(&snapshot("v3.32.1", vec![object.clone()]), "n")),
        ["udp/1"]
    );
    object["metadata"]["annotations"] =
        json!({"config.projectcalico.org/FailsafeInboundHostPorts": ""});
    assert_eq!(
        inbound(&snapshot("v3.32.1", vec![object]), "n").source,
        FailsafeSource::BuiltIn
    );
}

#[test]
fn env_from_with_a_prefix_is_an_override_and_an_empty_variable_is_not() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "felix", "namespace": "kube-system"},
        "data": {"FAILSAFEINBOUNDHOSTPORTS": "tcp:7"}});
    let from = json!([{"prefix": "FELIX_", "configMapRef": {"name": "felix"}}]);
    let s = snapshot("v3.32.1", vec![map, daemon_set(json!([]), from)]);
    let effective = inbound(&s, "n");
    assert_eq!(ports(&effective), ["tcp/7"]);
    assert!(
        effective
            .source
            .to_string()
            .contains("ConfigMap/kube-system/felix")
    );
    let empty = json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": ""}]);
    let s = snapshot("v3.32.1", vec![daemon_set(empty, json!([]))]);
    assert_eq!(inbound(&s, "n").source, FailsafeSource::BuiltIn);
}

#[test]
fn a_bad_entry_is_fatal_even_where_a_higher_layer_decides() {
    let s = snapshot(
        "v3.32.1",
        vec![
            felix(
                "default",
                json!({"failsafeInboundHostPorts": [{"protocol": "SCTP", "port": 1}]}),
            ),
            daemon_set(
                json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": "tcp:1"}]),
                json!([]),
            ),
        ],
    );
    assert_eq!(FailsafeLayers::read(&s).fatal.len(), 1);
}

#[test]
fn a_variable_out_of_a_secret_is_reported_as_unseen() {
    let env = json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS",
        "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    let s = snapshot("v3.32.1", vec![daemon_set(env, json!([]))]);
    let layers = FailsafeLayers::read(&s);
    assert_eq!(layers.unseen.len(), 1);
    let source = layers.hidden_source(Direction::Inbound).unwrap();
    assert!(
        source
            .to_string()
            .starts_with("FELIX_FAILSAFEINBOUNDHOSTPORTS of")
    );
    assert!(!layers.is_hidden(Direction::Outbound));
}

#[test]
fn sources_of_the_environment_that_are_not_here_are_reported_as_unseen() {
    let from = json!([
        {"secretRef": {"name": "s"}},
        {"configMapRef": {"name": "gone"}},
        {"configMapRef": {"name": "perhaps", "optional": true}},
    ]);
    let s = snapshot("v3.32.1", vec![daemon_set(json!([]), from)]);
    let unseen = FailsafeLayers::read(&s).unseen;
    assert_eq!(unseen.len(), 2, "{unseen:?}");
    assert!(
        unseen[0].contains("from Secret/kube-system/s:"),
        "{unseen:?}"
    );
    assert!(
        unseen[1].contains("from ConfigMap/kube-system/gone:"),
        "{unseen:?}"
    );
}

#[test]
fn a_source_of_the_environment_that_cannot_be_read_may_set_the_lists() {
    let layers = |env: Value, from: Value, more: Vec<Value>| {
        let mut objects = more;
        objects.push(daemon_set(env, from));
        FailsafeLayers::read(&snapshot("v3.32.1", objects))
    };
    let hidden = |env: Value, from: Value, more: Vec<Value>| {
        layers(env, from, more).is_hidden(Direction::Inbound)
    };
    let none = || json!([]);
    assert!(hidden(
        none(),
        json!([{"secretRef": {"name": "s"}}]),
        vec![]
    ));
    assert!(hidden(
        none(),
        json!([{"secretRef": {"name": "s", "optional": true}}]),
        vec![]
    ));
    assert!(hidden(
        none(),
        json!([{"prefix": "felix_", "secretRef": {"name": "s"}}]),
        vec![]
    ));
    assert!(hidden(
        none(),
        json!([{"configMapRef": {"name": "gone"}}]),
        vec![]
    ));
    // What it cannot hold, what stands above it, and what is not there at all.
    assert!(!hidden(
        none(),
        json!([{"prefix": "ETCD_", "secretRef": {"name": "s"}}]),
        vec![]
    ));
    let own = json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": "tcp:1"}]);
    let both = layers(own, json!([{"secretRef": {"name": "s"}}]), vec![]);
    assert!(!both.is_hidden(Direction::Inbound) && both.is_hidden(Direction::Outbound));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "felix", "namespace": "kube-system"},
        "data": {"FELIX_FAILSAFEINBOUNDHOSTPORTS": "tcp:7"}});
    let later = json!([{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "felix"}}]);
    assert!(!hidden(none(), later, vec![map]));
    assert!(!hidden(
        none(),
        json!([{"configMapRef": {"name": "x", "optional": true}}]),
        vec![]
    ));
    let key = |optional: bool| {
        json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "valueFrom":
            {"configMapKeyRef": {"name": "x", "key": "k", "optional": optional}}}])
    };
    assert!(hidden(key(false), none(), vec![]));
    assert!(!hidden(key(true), none(), vec![]));
}
