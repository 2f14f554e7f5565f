use super::*;
use crate::recipe::workloads::WorkloadChoice;
use crate::selector::Selector;

fn mk_labels(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}})
}

/// A workload of Kubernetes with more fields in its spec.
fn mk_workload(kind: &str, name: &str, more: &Value) -> Value {
    let api = if kind.ends_with("Job") {
        "batch/v1"
    } else {
        "apps/v1"
    };
    let mut spec = match kind {
        "CronJob" => json!({"jobTemplate": {"spec": {"template": mk_labels("shop")}}}),
        _ => json!({"template": mk_labels("shop")}),
    };
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "n"}, "spec": spec})
}

fn mk_pod(name: &str, owner: Option<(&str, &str)>) -> Value {
    let owners: Vec<Value> = owner
        .map(|(kind, name)| json!({"kind": kind, "name": name, "controller": true}))
        .into_iter()
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "n", "ownerReferences": owners,
            "labels": {"app": "shop", "pod-template-hash": "77f"}},
        "status": {"phase": "Running"}})
}

fn owned(mut value: Value, kind: &str, name: &str) -> Value {
    value["metadata"]["ownerReferences"] =
        json!([{"kind": kind, "name": name, "controller": true}]);
    value
}

/// A cluster that is no folder of files.
fn mk_live(objects: impl IntoIterator<Item = Value>) -> Snapshot {
    let mut snapshot = mk_cluster(objects);
    snapshot.datastore.kind = DatastoreKind::NativeV3;
    snapshot
}

fn mk_choice(selector: &str, pods_only: bool) -> Clients {
    Clients {
        workloads: vec![WorkloadChoice {
            namespace: "n".into(),
            selector: Selector::parse(selector).unwrap(),
            pods_only,
        }],
        ..mk_clients("web", &[], &[])
    }
}

fn refusal(before: &Snapshot, intent: &Clients) -> String {
    let mut draft = Draft::new(before);
    let error = grant(&mut draft, intent).unwrap_err();
    format!("{}\n{}", error.message, error.hint.unwrap_or_default())
}

#[test]
fn what_becomes_of_running_pods_is_announced() {
    for (kind, more, expected) in [
        (
            "Deployment",
            json!({"replicas": 3}),
            "rollout restart: Deployment/n/w makes its pods (3 pods) anew, some at a time",
        ),
        (
            "Deployment",
            json!({"strategy": {"type": "Recreate"}}),
            "rollout restart: Deployment/n/w ends all its pods (1 pod) before it makes new ones (strategy `Recreate`)",
        ),
        (
            "Deployment",
            json!({"replicas": 2, "paused": true}),
            "Deployment/n/w is paused: its pods (2 pods) stay as they are until it is resumed",
        ),
        (
            "StatefulSet",
            json!({"replicas": 5, "updateStrategy": {"rollingUpdate": {"partition": 3}}}),
            "rollout restart: StatefulSet/n/w makes its pods (5 pods) anew from number 3 on (`partition`); those below stay as they are",
        ),
        (
            "DaemonSet",
            json!({"updateStrategy": {"type": "OnDelete"}}),
            "DaemonSet/n/w keeps its pods (0 pods) as they are until each is deleted: strategy `OnDelete`",
        ),
        (
            "ReplicaSet",
            json!({"replicas": 2}),
            "ReplicaSet/n/w keeps its pods (2 pods) as they are until each is deleted: a ReplicaSet replaces none",
        ),
        (
            "CronJob",
            json!({}),
            "CronJob/n/w: pods of the next run follow the template; those of a run under way stay as they are",
        ),
        (
            "Job",
            json!({"suspend": true}),
            "Job/n/w: pods of the next run follow the template; those of a run under way stay as they are",
        ),
    ] {
        let before = mk_live([mk_policy("web"), mk_workload(kind, "w", &more)]);
        let intent = mk_choice("app == 'shop'", false);
        let outcome = granted(&before, &intent);
        assert_eq!(outcome.notes, [expected], "{kind}");
        let back = revoked(&outcome.after, &intent);
        assert_eq!(back.notes, [expected], "{kind}");
        assert_same(&back.after, &before);
    }
}

#[test]
fn the_template_of_a_job_that_has_begun_is_left_alone() {
    let before = mk_live([mk_policy("web"), mk_workload("Job", "w", &json!({}))]);
    assert_eq!(
        refusal(&before, &mk_choice("app == 'shop'", false)),
        "the pod template of Job/n/w cannot be changed: Kubernetes keeps that of a Job that has begun\n\
         a new Job needs the label `allowed-web-client` in its template; `--pods-only` labels the pods that run, until they are made anew"
    );
    let files = mk_cluster([mk_policy("web"), mk_workload("Job", "w", &json!({}))]);
    let outcome = granted(&files, &mk_choice("app == 'shop'", false));
    assert_eq!(outcome.told(), ["clients: ~ Job/n/w"]);
    assert_eq!(
        outcome.notes,
        ["Job/n/w: Kubernetes takes no other template for a Job that has begun"]
    );
}

#[test]
fn what_has_ended_is_not_let_in() {
    let mut job = mk_workload("Job", "w", &json!({}));
    job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    let mut pod = mk_pod("w-x", None);
    pod["status"]["phase"] = json!("Succeeded");
    let before = mk_live([mk_policy("web"), job, pod]);
    for pods_only in [false, true] {
        assert!(refusal(&before, &mk_choice("app == 'shop'", pods_only)).starts_with("no "));
    }
}

#[test]
fn running_pods_alone_are_labelled_and_forget() {
    let before = mk_live([
        mk_policy("web"),
        mk_workload("Deployment", "w", &json!({})),
        owned(
            mk_workload("ReplicaSet", "w-77f", &json!({})),
            "Deployment",
            "w",
        ),
        mk_pod("w-77f-a", Some(("ReplicaSet", "w-77f"))),
        mk_pod("w-77f-b", Some(("ReplicaSet", "w-77f"))),
        mk_pod("by-hand", None),
    ]);
    let intent = mk_choice("app == 'shop'", true);
    let outcome = granted(&before, &intent);
    assert_eq!(
        outcome.told(),
        [
            "clients: ~ Pod/n/by-hand",
            "clients: ~ Pod/n/w-77f-a",
            "clients: ~ Pod/n/w-77f-b"
        ]
    );
    assert_eq!(
        outcome.steps[0].why,
        ["lets its pods in: the pod has no controller"]
    );
    assert_eq!(
        outcome.steps[1].why,
        ["lets its pods in until Deployment/n/w makes the pod anew"]
    );
    assert_eq!(
        outcome.notes,
        ["a restart loses the label: Deployment/n/w makes new pods without it"]
    );
    assert_eq!(granted(&outcome.after, &intent).told(), [""; 0]);
    // Both ways of taking it back are exact.
    for pods_only in [true, false] {
        let back = revoked(&outcome.after, &mk_choice("app == 'shop'", pods_only));
        assert_same(&back.after, &before);
    }
}

#[test]
fn a_template_and_its_pods_come_and_go_together() {
    let before = mk_live([
        mk_policy("web"),
        mk_workload(
            "DaemonSet",
            "w",
            &json!({"updateStrategy": {"type": "OnDelete"}}),
        ),
        mk_pod("w-a", Some(("DaemonSet", "w"))),
    ]);
    let template = granted(&before, &mk_choice("app == 'shop'", false)).after;
    let both = granted(&template, &mk_choice("app == 'shop'", true));
    assert_eq!(both.told(), ["clients: ~ Pod/n/w-a"]);
    let back = revoked(&both.after, &mk_choice("app == 'shop'", false));
    assert_same(&back.after, &before);
}

#[test]
fn pods_are_followed_up_to_what_makes_them() {
    // Their own labels may be ones that the template does not have.
    let before = mk_live([
        mk_policy("web"),
        mk_workload("Deployment", "w", &json!({})),
        owned(
            mk_workload("ReplicaSet", "w-77f", &json!({})),
            "Deployment",
            "w",
        ),
        mk_pod("w-77f-a", Some(("ReplicaSet", "w-77f"))),
    ]);
    let outcome = granted(&before, &mk_choice("pod-template-hash == '77f'", false));
    assert_eq!(outcome.told(), ["clients: ~ Deployment/n/w"]);
}

#[test]
fn who_is_no_controller_of_kubernetes_would_take_the_label_off() {
    let set = owned(
        mk_workload("StatefulSet", "prom", &json!({})),
        "Prometheus",
        "k8s",
    );
    let before = mk_live([
        mk_policy("web"),
        set,
        mk_pod("prom-0", Some(("StatefulSet", "prom"))),
    ]);
    assert_eq!(
        refusal(&before, &mk_choice("app == 'shop'", false)),
        "StatefulSet/n/prom is controlled by Prometheus/k8s, which would take the label off again\n\
         set the label where Prometheus/k8s keeps the pods' labels; `--pods-only` labels the pods that run, until they are made anew"
    );
    let outcome = granted(&before, &mk_choice("app == 'shop'", true));
    assert_eq!(outcome.told(), ["clients: ~ Pod/n/prom-0"]);
    let clone = mk_pod("clone-0", Some(("CloneSet", "clone")));
    let before = mk_live([mk_policy("web"), clone]);
    assert!(
        refusal(&before, &mk_choice("app == 'shop'", false))
            .starts_with("Pod/n/clone-0 is controlled by CloneSet/clone, which would take")
    );
}

#[test]
fn what_cannot_be_labelled_beside_what_can_is_named() {
    let before = mk_live([
        mk_policy("web"),
        mk_workload("Deployment", "w", &json!({})),
        mk_pod("lost", Some(("ReplicaSet", "lost-5d"))),
    ]);
    let outcome = granted(&before, &mk_choice("app == 'shop'", false));
    assert_eq!(outcome.told(), ["clients: ~ Deployment/n/w"]);
    assert_eq!(
        outcome.notes[0],
        "left out: Pod/n/lost is controlled by ReplicaSet/lost-5d, which is not here"
    );
}

/// The policy by which a server of one's own is known.
fn mk_policy(server: &str) -> Value {
    let before = mk_cluster([mk_node("a", "192.0.2.1"), mk_automatic("a", "192.0.2.1")]);
    let mut intent = mk_server(server, &["a"]);
    intent.ports = vec!["tcp/8080".parse().unwrap()];
    let after = protected(&before, &intent).after;
    let id = ObjectId::global(
        Kind::GlobalNetworkPolicy,
        format!("protected-{server}-server"),
    );
    after.get(&id).unwrap().clone().into_value()
}
