use super::*;
use crate::calico::{Datastore, DatastoreKind, Stored};

fn mk_snapshot(objects: impl IntoIterator<Item = Value>) -> Snapshot {
    let datastore = Datastore {
        kind: DatastoreKind::Manifests,
        location: "test".into(),
        cluster_guid: None,
        version: None,
    };
    let stored = objects.into_iter().map(|value| Stored {
        object: Object::new(value).unwrap(),
        revision: String::new(),
        place: String::new(),
    });
    Snapshot::new(datastore, stored)
}

fn mk_node(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {
            "projectcalico.org/IPv4IPIPTunnelAddr": "10.244.0.1"}},
        "status": {"addresses": [{"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "InternalIP", "address": "192.0.2.1"}]}})
}

fn mk_automatic(name: &str, node: &str, labels: Value) -> Value {
    let mut labels = labels;
    labels[CREATED_BY] = json!(KUBE_CONTROLLERS);
    json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
        "metadata": {"name": name, "labels": labels},
        "spec": {"node": node, "interfaceName": "*", "expectedIPs": ["192.0.2.1"]}})
}

fn mk_controllers(host_endpoint: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "KubeControllersConfiguration",
        "metadata": {"name": "default"},
        "spec": {"controllers": {"node": {"hostEndpoint": host_endpoint}}}})
}

fn hep<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Object {
    snapshot.global(Kind::HostEndpoint, name).unwrap()
}

#[test]
fn an_automatic_endpoint_has_the_labels_of_its_node_and_no_others() {
    let before = mk_snapshot([
        mk_node("n1", json!({"a": "1", "gone": "1"})),
        mk_automatic("n1-auto-hep", "n1", json!({"by-hand": "1", "gone": "1"})),
    ]);
    let mut state = before.clone();
    let mut node = state.global(Kind::Node, "n1").unwrap().clone();
    node.set_label("b", "2");
    node.remove_label("gone");
    state.put(node);
    let after = settled(&before, state);
    let labels: Vec<_> = hep(&after, "n1-auto-hep").labels().collect();
    let expected = [(CREATED_BY, KUBE_CONTROLLERS), ("a", "1"), ("b", "2")];
    assert_eq!(
        labels.iter().collect::<BTreeSet<_>>(),
        expected.iter().collect()
    );
}

#[test]
fn an_endpoint_of_a_template_keeps_the_template_s_labels() {
    let before = mk_snapshot([
        mk_node("n1", json!({"a": "1"})),
        mk_automatic("n1-lan-auto-hep", "n1", json!({"zone": "lan", "x": "1"})),
        mk_automatic(
            "n1-wan-eth0-auto-hep",
            "n1",
            json!({"zone": "wan", "a": "1"}),
        ),
        mk_controllers(
            json!({"autoCreate": "Enabled", "createDefaultHostEndpoint": "Disabled",
            "templates": [{"generateName": "lan", "labels": {"zone": "lan"}}]}),
        ),
    ]);
    let after = settled(&before, before.clone());
    let lan = hep(&after, "n1-lan-auto-hep");
    assert_eq!(
        (lan.label("zone"), lan.label("a"), lan.label("x")),
        (Some("lan"), Some("1"), None)
    );
    // Its template is not known, so nothing is taken away.
    assert_eq!(
        hep(&after, "n1-wan-eth0-auto-hep").label("zone"),
        Some("wan")
    );
    assert!(after.global(Kind::HostEndpoint, "n1-auto-hep").is_none());
}

#[test]
fn labels_of_a_stub_of_a_node_are_added_and_nothing_is_taken_away() {
    let before = mk_snapshot([
        mk_node("n1", json!({})),
        mk_automatic("n1-auto-hep", "n1", json!({"a": "1"})),
    ]);
    let mut state = before.clone();
    let mut node = state.global(Kind::Node, "n1").unwrap().clone();
    node.set_label("b", "2");
    state.put(node);
    let after = settled(&before, state);
    let endpoint = hep(&after, "n1-auto-hep");
    assert_eq!(
        (endpoint.label("a"), endpoint.label("b")),
        (Some("1"), Some("2"))
    );
}

#[test]
fn endpoints_that_the_controller_makes_are_there_even_where_they_were_not_read() {
    let foreign = json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
        "metadata": {"name": "n2-auto-hep"}, "spec": {"node": "n2", "interfaceName": "eth0"}});
    let before = mk_snapshot([
        mk_node("n1", json!({"a": "1"})),
        mk_node("n2", json!({"a": "2"})),
        foreign.clone(),
        mk_controllers(json!({"autoCreate": "Enabled"})),
    ]);
    let after = settled(&before, before.clone());
    let made = hep(&after, "n1-auto-hep");
    assert!(is_automatic(made) && made.label("a") == Some("1"));
    assert_eq!(made.spec_str("interfaceName"), Some("*"));
    assert_eq!(
        made.spec_strs("profiles").collect::<Vec<_>>(),
        [ALLOW_PROFILE]
    );
    // An external address stands for translation in front of the host.
    assert_eq!(
        made.spec_strs("expectedIPs").collect::<Vec<_>>(),
        ["10.244.0.1", "192.0.2.1"]
    );
    assert_eq!(hep(&after, "n2-auto-hep").value(), &foreign);
    let off = mk_snapshot([
        mk_node("n1", json!({"a": "1"})),
        mk_controllers(json!({"autoCreate": "Disabled"})),
    ]);
    assert_eq!(settled(&off, off.clone()).len(), off.len());
}

fn mk_pod(name: &str, owner: Value, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels,
            "ownerReferences": [owner]},
        "spec": {"nodeName": "n1"}, "status": {"podIP": "10.244.0.9"}})
}

fn mk_controller(kind: &str, name: &str, owner: Option<(&str, &str)>) -> Value {
    let api = if kind == "Job" || kind == "CronJob" {
        "batch/v1"
    } else {
        "apps/v1"
    };
    let template = json!({"metadata": {"labels": {"app": "web", "old": "1"}}});
    let spec = match kind {
        "CronJob" => json!({"jobTemplate": {"spec": {"template": template}}}),
        _ => json!({"template": template}),
    };
    let owners: Vec<Value> = owner
        .map(|(kind, name)| json!({"kind": kind, "name": name, "controller": true}))
        .into_iter()
        .collect();
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name,
        "namespace": "shop", "ownerReferences": owners}, "spec": spec})
}

#[test]
fn pods_get_the_changes_of_the_template_they_are_made_from() {
    let by = |kind: &str, name: &str| json!({"kind": kind, "name": name, "controller": true});
    let labels = json!({"app": "web", "old": "1", "pod-template-hash": "77f"});
    let cases = [
        ("Deployment", "web", by("ReplicaSet", "web-77f"), true),
        ("Deployment", "web", by("ReplicaSet", "web-77f"), false),
        ("DaemonSet", "web", by("DaemonSet", "web"), false),
        ("StatefulSet", "web", by("StatefulSet", "web"), false),
        ("CronJob", "web", by("Job", "web-29100"), true),
        ("CronJob", "web", by("Job", "web-29100"), false),
    ];
    for (kind, name, owner, between) in cases {
        let mut objects = vec![
            mk_controller(kind, name, None),
            mk_pod("web-1", owner.clone(), labels.clone()),
            mk_pod("other", by("DaemonSet", "else"), labels.clone()),
            json!({"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint",
                "metadata": {"name": "n1-k8s-web-eth0", "namespace": "shop",
                    "labels": {"app": "web", "old": "1", "projectcalico.org/orchestrator": "k8s"}},
                "spec": {"node": "n1", "pod": "web-1"}}),
        ];
        if between {
            let middle = owner["kind"].as_str().unwrap();
            let name_of = owner["name"].as_str().unwrap();
            objects.push(mk_controller(middle, name_of, Some((kind, name))));
        }
        let before = mk_snapshot(objects);
        let mut state = before.clone();
        let mut found = before.all().map(|s| &s.object);
        let controller = found.find(|o| o.id().kind.name() == kind && o.name() == name);
        let mut controller = controller.unwrap().clone();
        let path = pod_label_path(controller.id().kind).unwrap();
        controller.set_at(&path, "allowed-etcd-client", "true");
        controller.remove_at(&path, "old");
        state.put(controller);
        let after = settled(&before, state);
        let of = |kind: Kind, name: &str| {
            let id = ObjectId::namespaced(kind, "shop", name);
            let object = after.get(&id).unwrap();
            let text = |key: &str| object.label(key).map(str::to_owned);
            if kind == Kind::WorkloadEndpoint {
                assert_eq!(
                    text("projectcalico.org/orchestrator").as_deref(),
                    Some("k8s")
                );
            }
            (text("allowed-etcd-client"), text("old"), text("app"))
        };
        let changed = (Some("true".to_owned()), None, Some("web".to_owned()));
        let same = (None, Some("1".to_owned()), Some("web".to_owned()));
        assert_eq!(of(Kind::Pod, "web-1"), changed, "{kind} {between}");
        assert_eq!(
            of(Kind::WorkloadEndpoint, "n1-k8s-web-eth0"),
            changed,
            "{kind}"
        );
        assert_eq!(of(Kind::Pod, "other"), same, "{kind}");
    }
}
