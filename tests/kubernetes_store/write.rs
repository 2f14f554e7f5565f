//! Writing: the smallest patch, for the version that was read, and nothing lost.

use std::sync::atomic::{AtomicBool, Ordering};

use calicoctl_protect::calico::{FieldEdit, FieldPath, Kind, ObjectId};
use calicoctl_protect::store::{Store, StoreErrorKind, Write};
use serde_json::{Value, json};

use crate::double::{Fault, Shape, When};
use crate::support::*;

const KINDS: [Kind; 3] = [
    Kind::HostEndpoint,
    Kind::GlobalNetworkPolicy,
    Kind::GlobalNetworkSet,
];

#[tokio::test]
async fn changes_and_their_opposites_leave_everything_as_it_was() {
    for (shape, version) in SERVERS {
        let mut bench = mk_bench(shape, version);
        let case = format!("{shape:?} {version}");
        bench.load([
            mk_hep("h", &[("a", "1")]),
            mk_hep("bare", &[]),
            mk_set("s", &["192.0.2.0/24"]),
        ]);
        let before = bench.stored(&KINDS);
        let snapshot = bench.read(&KINDS).await;
        let (h, bare) = (hep_id("h"), hep_id("bare"));
        let set = ObjectId::global(Kind::GlobalNetworkSet, "s");
        let insert = FieldEdit::Insert {
            path: FieldPath::of(["spec", "nets"]),
            index: 1,
            value: json!("198.51.100.0/24"),
        };
        let forth = [
            Write::Create(mk_policy("p")),
            Write::Create(mk_hep("new", &[("b", "2")])),
            set_label(&snapshot, &h, "x", "1"),
            set_label(&snapshot, &bare, "x", "1"),
            update(&snapshot, &set, vec![insert]),
        ];
        assert_eq!(
            bench.write(&forth).await,
            (vec![0, 1, 2, 3, 4], Ok(())),
            "{case}"
        );

        let middle = bench.read(&KINDS).await;
        assert_eq!(middle.get(&h).unwrap().label("x"), Some("1"), "{case}");
        assert_eq!(middle.get(&bare).unwrap().label("x"), Some("1"), "{case}");
        let nets = middle.get(&set).unwrap().spec("nets").unwrap();
        assert_eq!(nets, &json!(["192.0.2.0/24", "198.51.100.0/24"]), "{case}");
        let policy = ObjectId::global(Kind::GlobalNetworkPolicy, "p");
        let found = middle.get(&policy).unwrap();
        assert_eq!(found.spec("order"), Some(&json!(500)), "{case}");

        let take = FieldEdit::Delete {
            path: FieldPath::of(["spec", "nets"]),
            index: 1,
        };
        let back = [
            update(&middle, &set, vec![take]),
            remove_label(&middle, &bare, "x"),
            remove_label(&middle, &h, "x"),
            delete(&middle, &hep_id("new")),
            delete(&middle, &policy),
        ];
        assert_eq!(
            bench.write(&back).await,
            (vec![0, 1, 2, 3, 4], Ok(())),
            "{case}"
        );
        assert_eq!(bench.stored(&KINDS), before, "{case}");
    }
}

#[tokio::test]
async fn a_patch_is_small_and_bound_to_the_version_that_was_read() {
    let mut bench = native();
    bench.load([mk_hep("h", &[("a", "1")])]);
    let snapshot = bench.read(&KINDS).await;
    let id = hep_id("h");
    bench
        .write(&[set_label(&snapshot, &id, "x", "1")])
        .await
        .1
        .unwrap();
    let requests = bench.double.requests();
    let patch = requests.iter().find(|r| r.method == "PATCH").unwrap();
    let revision = &snapshot.stored(&id).unwrap().revision;
    assert_eq!(
        serde_json::from_str::<Value>(&patch.body).unwrap(),
        json!({"metadata": {"labels": {"x": "1"}, "resourceVersion": revision}})
    );
    assert_eq!(patch.header("content-type"), "application/merge-patch+json");
    assert_eq!(patch.param("fieldManager"), "calicoctl-protect");
    let managers = &bench
        .double
        .get("hostendpoints.projectcalico.org", "h")
        .unwrap();
    assert_eq!(
        managers["metadata"]["managedFields"][0]["manager"],
        "calicoctl-protect"
    );
}

#[tokio::test]
async fn one_object_may_change_in_several_batches() {
    for (shape, version) in SERVERS {
        let mut bench = mk_bench(shape, version);
        bench.load([mk_hep("h", &[("a", "1")])]);
        let snapshot = bench.read(&KINDS).await;
        let id = hep_id("h");
        for (key, value) in [("x", "1"), ("y", "2"), ("x", "3")] {
            let write = set_label(&snapshot, &id, key, value);
            assert_eq!(
                bench.write(&[write]).await,
                (vec![0], Ok(())),
                "{shape:?} {version}"
            );
        }
        // Also one that was made by this run, in one batch, in order.
        let new = mk_hep("new", &[("a", "1")]);
        let edit = |key: &str, value: &str| Write::Update {
            id: hep_id("new"),
            edits: vec![FieldEdit::Set {
                path: FieldPath::of(["metadata", "labels", key]),
                value: json!(value),
            }],
            revision: None,
        };
        let batch = [Write::Create(new), edit("a", "2"), edit("b", "3")];
        assert_eq!(
            bench.write(&batch).await,
            (vec![0, 1, 2], Ok(())),
            "{shape:?} {version}"
        );
        let after = bench.read(&KINDS).await;
        let labels = |name: &str| {
            let object = after.get(&hep_id(name)).unwrap();
            let labels = object.labels().map(|(k, v)| format!("{k}={v}"));
            labels.collect::<Vec<_>>().join(",")
        };
        assert_eq!(labels("h"), "a=1,x=3,y=2", "{shape:?} {version}");
        assert_eq!(labels("new"), "a=2,b=3", "{shape:?} {version}");
        let gone = Write::Delete {
            id: hep_id("new"),
            revision: None,
        };
        assert_eq!(bench.write(&[gone]).await, (vec![0], Ok(())));
    }
}

#[tokio::test]
async fn what_was_changed_or_deleted_meanwhile_is_a_conflict_and_stays() {
    for (shape, version) in SERVERS {
        let mut bench = mk_bench(shape, version);
        bench.load([mk_hep("h", &[("a", "1")]), mk_hep("gone", &[("a", "1")])]);
        let snapshot = bench.read(&KINDS).await;
        let mut other = bench.another();
        let theirs = other.read(&kinds_wanted(&KINDS)).await.unwrap();
        write(
            &mut other,
            &[set_label(&theirs, &hep_id("h"), "theirs", "1")],
        )
        .await
        .1
        .unwrap();
        bench
            .double
            .remove(&bench.resource(Kind::HostEndpoint), "gone");
        let before = bench.stored(&KINDS);
        for (attempt, says) in [
            (
                set_label(&snapshot, &hep_id("h"), "x", "1"),
                "changed since it was read",
            ),
            (delete(&snapshot, &hep_id("h")), "changed since it was read"),
            (
                set_label(&snapshot, &hep_id("gone"), "x", "1"),
                "not there any more",
            ),
            (delete(&snapshot, &hep_id("gone")), "not there any more"),
            (Write::Create(mk_hep("h", &[])), "is there already"),
        ] {
            let (done, result) = bench.write(&[attempt]).await;
            let error = result.unwrap_err();
            assert!(done.is_empty());
            assert_eq!(error.kind, StoreErrorKind::Conflict, "{}", words(&error));
            assert!(error.message.contains(says), "{}", error.message);
        }
        assert_eq!(bench.stored(&KINDS), before, "{shape:?} {version}");
    }
}

#[tokio::test]
async fn an_object_made_anew_under_the_same_name_is_not_deleted() {
    let mut bench = native();
    bench.load([mk_hep("h", &[])]);
    let snapshot = bench.read(&KINDS).await;
    let resource = bench.resource(Kind::HostEndpoint);
    let revision = &snapshot.stored(&hep_id("h")).unwrap().revision;
    bench.double.remove(&resource, "h");
    let mut again = mk_hep("h", &[]).into_value();
    again["metadata"]["resourceVersion"] = json!(revision);
    bench.double.load([again]);
    let error = bench
        .write(&[delete(&snapshot, &hep_id("h"))])
        .await
        .1
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    assert!(bench.double.get(&resource, "h").is_some());
}

#[tokio::test]
async fn a_policy_stored_under_its_other_name_is_not_made_twice() {
    let mut bench = mk_bench(Shape::LegacyV1, "v3.32.1");
    bench.read(&[]).await;
    bench.double.load([json!({
        "apiVersion": "crd.projectcalico.org/v1", "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "default.p", "annotations": {"projectcalico.org/metadata": "{}"}},
        "spec": {},
    })]);
    let error = bench
        .write(&[Write::Create(mk_policy("p"))])
        .await
        .1
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    assert!(error.message.contains("stored as `default.p`"));
}

#[tokio::test]
async fn objects_that_calico_would_not_act_on_are_refused() {
    for (shape, version) in [(Shape::NativeV3, "v3.32.1"), (Shape::LegacyV1, "v3.28.5")] {
        let mut bench = mk_bench(shape, version);
        let mut broken = mk_policy("p").into_value();
        broken["spec"]["ingress"][0]
            .as_object_mut()
            .unwrap()
            .shift_remove("protocol");
        let bad = mk_set("s", &["no-net"]);
        bench.load([bad]);
        let snapshot = bench.read(&KINDS).await;
        let (done, result) = bench.write(&[Write::Create(object(broken))]).await;
        let error = result.unwrap_err();
        assert_eq!(
            (done.len(), error.message.as_str()),
            (0, "GlobalNetworkPolicy/p would not be valid")
        );
        assert!(error.detail[0].contains("ports"), "{:?}", error.detail);
        assert_eq!(
            bench
                .double
                .requests()
                .iter()
                .filter(|r| r.is_write())
                .count(),
            0
        );
        // What was wrong before does not stand in the way of something else.
        let set = ObjectId::global(Kind::GlobalNetworkSet, "s");
        let (done, result) = bench.write(&[set_label(&snapshot, &set, "x", "1")]).await;
        assert_eq!((done, result), (vec![0], Ok(())));
        // Labels are looked at by themselves.
        for (key, value) in [("x", "no value!"), ("no key!", "1")] {
            let label = set_label(&snapshot, &set, key, value);
            let (done, result) = bench.write(&[label]).await;
            let error = result.unwrap_err();
            assert!(done.is_empty());
            assert_eq!(error.message, "GlobalNetworkSet/s would not be valid");
            assert!(error.detail[0].contains("no "), "{:?}", error.detail);
        }
    }
}

#[tokio::test]
async fn many_writes_are_under_way_at_once_but_no_more_than_the_limit() {
    let limits = calicoctl_protect::store::kubernetes::Limits {
        in_flight: 16,
        ..limits()
    };
    let mut bench = mk_bench_with(Shape::NativeV3, "v3.32.1", limits);
    bench.load((0..200).map(|n| mk_hep(&format!("h{n}"), &[("a", "1")])));
    let snapshot = bench.read(&KINDS).await;
    bench.double.latency(std::time::Duration::from_millis(5));
    bench.double.reset_journal();
    let batch: Vec<Write> = (0..200)
        .map(|n| set_label(&snapshot, &hep_id(&format!("h{n}")), "x", "1"))
        .collect();
    let (done, result) = bench.write(&batch).await;
    assert_eq!((done.len(), result), (200, Ok(())));
    let counters = bench.double.counters();
    assert_eq!(counters.max_in_flight, 16);
    assert_eq!(
        counters.connections, 0,
        "the connection that is there is used"
    );
}

#[tokio::test]
async fn who_is_asked_to_stop_begins_no_more_and_tells_what_was_under_way() {
    let limits = calicoctl_protect::store::kubernetes::Limits {
        in_flight: 4,
        ..limits()
    };
    let mut bench = mk_bench_with(Shape::NativeV3, "v3.32.1", limits);
    bench.load((0..40).map(|n| mk_hep(&format!("h{n:02}"), &[("a", "1")])));
    let snapshot = bench.read(&KINDS).await;
    let batch: Vec<Write> = (0..40)
        .map(|n| set_label(&snapshot, &hep_id(&format!("h{n:02}")), "x", "1"))
        .collect();
    let (stop, mut done) = (AtomicBool::new(false), Vec::new());
    let mut tell = |index| {
        done.push(index);
        stop.store(true, Ordering::Relaxed);
    };
    let result = bench.store.write(&batch, &stop, &mut tell).await;
    assert_eq!(result, Ok(()));
    done.sort_unstable();
    assert!((1..=4).contains(&done.len()), "{done:?}");
    let changed = (0..40).filter(|n| {
        let hep = bench
            .double
            .get("hostendpoints.projectcalico.org", &format!("h{n:02}"));
        hep.unwrap()["metadata"]["labels"].get("x").is_some()
    });
    assert_eq!(done, changed.collect::<Vec<usize>>());
}

#[tokio::test]
async fn the_first_failure_stops_the_rest_and_what_was_under_way_is_told() {
    let limits = calicoctl_protect::store::kubernetes::Limits {
        in_flight: 4,
        ..limits()
    };
    let mut bench = mk_bench_with(Shape::NativeV3, "v3.32.1", limits);
    bench.load((0..40).map(|n| mk_hep(&format!("h{n:02}"), &[("a", "1")])));
    let snapshot = bench.read(&KINDS).await;
    bench.double.latency(std::time::Duration::from_millis(3));
    bench
        .double
        .fault(When::method("PATCH").nth(10), Fault::Conflict);
    let batch: Vec<Write> = (0..40)
        .map(|n| set_label(&snapshot, &hep_id(&format!("h{n:02}")), "x", "1"))
        .collect();
    let (done, result) = bench.write(&batch).await;
    assert_eq!(result.unwrap_err().kind, StoreErrorKind::Conflict);
    assert!(done.len() >= 9 && done.len() < 16, "{}", done.len());
    let changed: Vec<usize> = (0..40)
        .filter(|n| {
            let hep = bench
                .double
                .get("hostendpoints.projectcalico.org", &format!("h{n:02}"));
            hep.unwrap()["metadata"]["labels"].get("x").is_some()
        })
        .collect();
    assert_eq!(done, changed, "what was reported is what took effect");
}

#[tokio::test]
async fn nodes_and_templates_of_pods_are_changed_like_everything_else() {
    let mut bench = native();
    bench.double.load([
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"a": "1"}}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "ns"},
            "spec": {"template": {"metadata": {"labels": {"app": "d"}},
                     "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
    ]);
    let snapshot = bench.read(&[Kind::Node, Kind::Deployment]).await;
    let node = ObjectId::global(Kind::Node, "n1");
    let deployment = ObjectId::namespaced(Kind::Deployment, "ns", "d");
    let template = FieldEdit::Set {
        path: FieldPath::of(["spec", "template", "metadata", "labels", "x"]),
        value: json!("1"),
    };
    // A whole map takes the place of another: that needs to know the other.
    let map = FieldEdit::Set {
        path: FieldPath::of(["metadata", "labels"]),
        value: json!({"b": "2"}),
    };
    let batch = [
        update(&snapshot, &node, vec![map]),
        update(&snapshot, &deployment, vec![template]),
    ];
    assert_eq!(bench.write(&batch).await, (vec![0, 1], Ok(())));
    let stored = bench.double.get("nodes", "n1").unwrap();
    assert_eq!(stored["metadata"]["labels"], json!({"b": "2"}));
    let stored = bench.double.get("deployments.apps", "ns/d").unwrap();
    assert_eq!(
        stored["spec"]["template"]["metadata"]["labels"],
        json!({"app": "d", "x": "1"})
    );
}

#[tokio::test]
async fn a_saved_plan_can_be_written_without_reading_first() {
    for (shape, version) in SERVERS {
        let mut bench = mk_bench(shape, version);
        bench.load([mk_hep("h", &[("a", "1")]), mk_policy("p")]);
        let snapshot = bench.read(&KINDS).await;
        let policy = ObjectId::global(Kind::GlobalNetworkPolicy, "p");
        let batch = [
            set_label(&snapshot, &hep_id("h"), "x", "1"),
            delete(&snapshot, &policy),
        ];
        let mut fresh = bench.another();
        let result = write(&mut fresh, &batch).await;
        assert_eq!(result, (vec![0, 1], Ok(())), "{shape:?} {version}");
        let mut late = bench.another();
        let (_, result) = write(&mut late, &batch[..1]).await;
        assert_eq!(result.unwrap_err().kind, StoreErrorKind::Conflict);
    }
}

#[tokio::test]
async fn a_locked_or_empty_datastore_is_not_written_to() {
    for (shape, version) in SERVERS {
        let mut bench = mk_bench(shape, version);
        let resource = bench.resource(Kind::ClusterInformation);
        let mut info = bench.double.get(&resource, "default").unwrap();
        info["spec"]["datastoreReady"] = json!(false);
        info["metadata"]
            .as_object_mut()
            .unwrap()
            .shift_remove("resourceVersion");
        bench.double.load([info]);
        let create = [Write::Create(mk_hep("h", &[]))];
        let error = bench.write(&create).await.1.unwrap_err();
        assert!(
            error.message.contains("`datastoreReady: false`"),
            "{}",
            error.message
        );
        let error = bench.store.preflight(&create).await.unwrap_err();
        assert!(
            error.message.contains("`datastoreReady: false`"),
            "{}",
            error.message
        );
        bench.double.remove(&resource, "default");
        let error = bench.another().preflight(&create).await.unwrap_err();
        assert!(error.message.starts_with("there is no ClusterInformation"));
        assert_eq!(
            bench.double.list(&bench.resource(Kind::HostEndpoint)).len(),
            0
        );
    }
}

#[tokio::test]
async fn what_was_deleted_can_be_made_again_as_it_was_read() {
    for (shape, version) in SERVERS {
        let mut bench = mk_bench(shape, version);
        bench.read(&[]).await;
        let made = [
            Write::Create(mk_hep("h", &[("a", "1")])),
            Write::Create(mk_policy("p")),
        ];
        bench.write(&made).await.1.unwrap();
        let before = bench.stored(&KINDS);
        let snapshot = bench.read(&KINDS).await;
        let policy = ObjectId::global(Kind::GlobalNetworkPolicy, "p");
        let ids = [hep_id("h"), policy];
        let gone: Vec<Write> = ids.iter().map(|id| delete(&snapshot, id)).collect();
        bench.write(&gone).await.1.unwrap();
        let again: Vec<Write> = ids
            .iter()
            .map(|id| Write::Create(snapshot.get(id).unwrap().clone()))
            .collect();
        bench.store.preflight(&again).await.unwrap();
        assert_eq!(
            bench.write(&again).await,
            (vec![0, 1], Ok(())),
            "{shape:?} {version}"
        );
        let times = |objects: Vec<Value>| -> Vec<Value> {
            objects
                .into_iter()
                .map(|mut object| {
                    // The stored form keeps the time of the first making.
                    let annotation = "/metadata/annotations/projectcalico.org~1metadata";
                    if let Some(text) = object.pointer_mut(annotation) {
                        let mut meta: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
                        let map = meta.as_object_mut().unwrap();
                        map.shift_remove("creationTimestamp");
                        map.shift_remove("uid");
                        *text = meta.to_string().into();
                    }
                    object
                })
                .collect()
        };
        assert_eq!(
            times(bench.stored(&KINDS)),
            times(before),
            "{shape:?} {version}"
        );
    }
}
