//! Transactions, conflicts, names, and going forth and back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use calicoctl_protect::calico::{Kind, Object, ObjectId, Snapshot};
use calicoctl_protect::store::{Store as _, StoreErrorKind, Write};
use serde_json::{Value, json};

use super::etcd_server::{EtcdServer, say};
use super::support::*;

fn mk_policy(name: &str, spec: Value) -> Write {
    Write::Create(mk_global(Kind::GlobalNetworkPolicy, name, spec))
}

/// The main job by hand: policies and sets, labels on everything that can have them, failsafes.
fn the_main_job(snapshot: &Snapshot) -> Vec<Vec<Write>> {
    let allow = json!({
        "selector": "bl-default-allow == \"true\"", "order": 5000, "types": ["Ingress", "Egress"],
        "ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]});
    let protect = json!({
        "selector": "protected-etcd-server == \"true\" && has(x)", "order": 500.0, "types": ["Ingress"],
        "ingress": [{"action": "Deny", "protocol": "TCP", "destination": {"ports": [2379]},
                     "source": {"notSelector": "has(allowed-etcd-client)"}}]});
    let mut set = mk_global(
        Kind::GlobalNetworkSet,
        "allowed-etcd-client",
        json!({"nets": ["127.0.0.0/8"]}),
    );
    set.set_label("allowed-etcd-client", "true");
    let ids = |kinds: &[Kind]| -> Vec<ObjectId> {
        let all = kinds.iter().flat_map(|kind| snapshot.of(*kind));
        all.map(|object| object.id().clone()).collect()
    };
    let labelled = |ids: Vec<ObjectId>, label: &str| -> Vec<Write> {
        ids.iter()
            .map(|id| mk_label(snapshot, id, label, "true"))
            .collect()
    };
    let others = ids(&[
        Kind::CalicoNode,
        Kind::WorkloadEndpoint,
        Kind::GlobalNetworkSet,
        Kind::GlobalNetworkPolicy,
        Kind::NetworkPolicy,
        Kind::Profile,
    ]);
    let failsafes = ids(&[Kind::FelixConfiguration]);
    let prune = |object: &mut Object| {
        for field in ["failsafeInboundHostPorts", "failsafeOutboundHostPorts"] {
            let mut list = object.spec(field).cloned().unwrap_or_else(
                || json!([{"protocol": "TCP", "port": 22}, {"protocol": "TCP", "port": 2379}]),
            );
            let list = list.as_array_mut().unwrap();
            list.retain(|entry| entry["port"] != 2379);
            object.set_spec(field, json!(list));
        }
    };
    vec![
        vec![mk_policy("bl-default-allow", allow), Write::Create(set)],
        labelled(others, "allowed-etcd-client"),
        vec![mk_policy("protected-etcd-server", protect)],
        labelled(ids(&[Kind::HostEndpoint]), "protected-etcd-server"),
        failsafes
            .iter()
            .map(|id| mk_update(snapshot, id, prune))
            .collect(),
    ]
}

async fn forth_and_back(dump: &[(String, String)]) {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    load(&server, dump).await;
    let before = contents(&server).await;
    let mut store = open_at(&server).await;
    let then = read(&mut store).await;
    for batch in the_main_job(&then) {
        write_all(&mut store, &batch).await;
    }
    let done = read(&mut store).await;
    assert_eq!(done.len(), then.len() + 3);
    let protected = done
        .of(Kind::HostEndpoint)
        .all(|hep| hep.label("protected-etcd-server") == Some("true"));
    assert!(protected);
    assert!(contents(&server).await != before);

    let back = between(&done, &then);
    assert!(back.len() > 15);
    write_all(&mut store, &back).await;
    assert_eq!(contents(&server).await, before);

    // What goes away and comes back has its identity and form, too.
    let now = read(&mut store).await;
    let kinds = [
        Kind::HostEndpoint,
        Kind::GlobalNetworkSet,
        Kind::FelixConfiguration,
    ];
    let has_identity = |object: &&Object| object.value().pointer("/metadata/uid").is_some();
    let objects = kinds.iter().flat_map(|kind| now.of(*kind));
    let ids = objects
        .filter(has_identity)
        .map(|object| object.id().clone());
    let delete = |id: ObjectId| Write::Delete {
        revision: now.stored(&id).map(|stored| stored.revision.clone()),
        id,
    };
    let deletes: Vec<Write> = ids.map(delete).collect();
    write_all(&mut store, &deletes).await;
    let gone = read(&mut store).await;
    write_all(&mut store, &between(&gone, &then)).await;
    assert_eq!(contents(&server).await, before);
}

#[tokio::test]
async fn the_main_job_forth_and_back_leaves_every_value_as_it_was() {
    forth_and_back(&own_dump()).await;
}

#[tokio::test]
async fn the_main_job_on_a_cluster_from_the_field() {
    match large_dump() {
        Some(dump) => forth_and_back(&dump).await,
        None => say("skipped: there is no larger dump"),
    }
}

#[tokio::test]
async fn new_policies_have_the_form_of_the_release() {
    for (version, path, name, annotation, label) in [
        ("v3.27.5", "default.p", "default.p", None, None),
        (
            "v3.31.2",
            "default.p",
            "default.p",
            Some("{\"name\":\"p\"}"),
            None,
        ),
        (
            "v3.32.1",
            "p",
            "p",
            Some("{\"name\":\"p\"}"),
            Some("default"),
        ),
    ] {
        let Some(server) = start_empty(version).await else {
            return;
        };
        let mut store = open_at(&server).await;
        read(&mut store).await;
        write_all(
            &mut store,
            &[mk_policy("p", json!({"types": ["Ingress"], "order": 1}))],
        )
        .await;
        let kv = get(&server, &format!("globalnetworkpolicies/{path}")).await;
        let value = kv.json();
        let metadata = &value["metadata"];
        assert_eq!(metadata["name"], name, "{version}");
        let found = metadata.pointer("/annotations/projectcalico.org~1metadata");
        assert_eq!(found.and_then(Value::as_str), annotation, "{version}");
        let found = metadata.pointer("/labels/projectcalico.org~1tier");
        assert_eq!(found.and_then(Value::as_str), label, "{version}");
        let members: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(members, ["kind", "apiVersion", "metadata", "spec"]);
        assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
        let created = metadata["creationTimestamp"].as_str().unwrap();
        assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
        assert!(
            kv.text()
                .ends_with(r#""spec":{"order":1,"types":["Ingress"]}}"#)
        );
        // Whoever reads it sees the name that was asked for.
        let snapshot = read(&mut store).await;
        assert!(snapshot.global(Kind::GlobalNetworkPolicy, "p").is_some());
    }
}

#[tokio::test]
async fn a_policy_that_is_there_under_its_other_name_is_not_made_again() {
    let Some(server) = start_empty("v3.32.1").await else {
        return;
    };
    let value = stored("GlobalNetworkPolicy", "default.p", json!({}));
    server
        .raw()
        .put(&format!("{ROOT}globalnetworkpolicies/default.p"), value)
        .await;
    let mut store = open_at(&server).await;
    let (done, result) = write(&mut store, &[mk_policy("p", json!({}))]).await;
    let error = result.unwrap_err();
    assert!(done.is_empty());
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    assert!(error.message.contains("exists already"), "{error}");
    assert!(
        error.message.contains("globalnetworkpolicies/default.p"),
        "{error}"
    );
    // It is found under that name, too, without a list before.
    let kv = get(&server, "globalnetworkpolicies/default.p").await;
    let delete = Write::Delete {
        id: ObjectId::global(Kind::GlobalNetworkPolicy, "p"),
        revision: Some(kv.mod_revision.to_string()),
    };
    write_all(&mut store, &[delete]).await;
    write_all(&mut store, &[mk_policy("p", json!({}))]).await;
}

#[tokio::test]
async fn a_conflict_names_the_object_and_nothing_is_written() {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    load(&server, &own_dump()).await;
    let mut store = open_at(&server).await;
    let snapshot = read(&mut store).await;
    let raw = server.raw();
    let path = "hostendpoints/m2-eth0";
    let text = get(&server, path).await.text();
    raw.put(&format!("{ROOT}{path}"), text).await;
    let before = contents(&server).await;
    let batch = [
        mk_label(&snapshot, &hep("m1-eth0"), "a", "1"),
        mk_label(&snapshot, &hep("m2-eth0"), "a", "1"),
        Write::Create(mk_hep("new")),
    ];
    let (done, result) = write(&mut store, &batch).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    let expected =
        format!("`HostEndpoint/m2-eth0` was changed since it was read, at `{ROOT}{path}`");
    assert_eq!(error.message, expected);
    assert!(done.is_empty());
    assert_eq!(contents(&server).await, before);

    for (write_it, message) in [
        (
            Write::Create(mk_hep("m1-eth0")),
            "`HostEndpoint/m1-eth0` exists already",
        ),
        (
            Write::Delete {
                id: hep("m9-eth0"),
                revision: Some("5".into()),
            },
            "`HostEndpoint/m9-eth0` was deleted since it was read",
        ),
    ] {
        let (_, result) = write(&mut store, &[write_it]).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Conflict);
        assert!(error.message.starts_with(message), "{error}");
    }
}

#[tokio::test]
async fn a_large_batch_is_split_and_all_of_it_reported() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let mut store = open_at(&server).await;
    let batch: Vec<Write> = (0..300)
        .map(|i| Write::Create(mk_hep(&format!("h{i}"))))
        .collect();
    write_all(&mut store, &batch).await;
    let all = server.raw().all(&format!("{ROOT}hostendpoints/")).await;
    assert_eq!(all.len(), 300);
    let revisions: BTreeSet<i64> = all.iter().map(|kv| kv.mod_revision).collect();
    assert_eq!(revisions.len(), 3, "as few transactions as etcd allows");
    // A conflict in the last part leaves the first ones done, and says which.
    let snapshot = read(&mut store).await;
    let heps: Vec<ObjectId> = snapshot
        .of(Kind::HostEndpoint)
        .map(|o| o.id().clone())
        .collect();
    let batch: Vec<Write> = heps
        .iter()
        .map(|id| mk_label(&snapshot, id, "a", "b"))
        .collect();
    write_all(&mut store, &batch).await;
    // Other words for the same objects: the revisions of the first picture are ours to replace.
    let batch: Vec<Write> = heps
        .iter()
        .map(|id| mk_label(&snapshot, id, "a", "c"))
        .collect();
    write_all(&mut store, &batch).await;
    let kv = get(&server, "hostendpoints/h7").await;
    assert_eq!(kv.version, 3);
    assert_eq!(kv.json()["metadata"]["labels"], json!({"a": "c"}));
}

#[tokio::test]
async fn a_server_that_takes_less_gets_less() {
    let flags = ["--max-txn-ops=16", "--max-request-bytes=65536"];
    let Some(server) = EtcdServer::start_with(&flags).await else {
        return;
    };
    let key = format!("{ROOT}clusterinformations/default");
    server.raw().put(&key, basics("v3.27.5").remove(0).1).await;
    let mut store = open_at(&server).await;
    let batch: Vec<Write> = (0..40)
        .map(|i| Write::Create(mk_hep(&format!("h{i}"))))
        .collect();
    write_all(&mut store, &batch).await;
    let nets: Vec<String> = (0..8000)
        .map(|i| format!("10.{}.{}.0/24", i / 250, i % 250))
        .collect();
    let large = mk_global(Kind::GlobalNetworkSet, "large", json!({"nets": nets}));
    let (_, result) = write(&mut store, &[Write::Create(large)]).await;
    let error = result.unwrap_err();
    assert!(error.message.contains("larger than it takes"), "{error}");
}

#[tokio::test]
async fn an_object_is_written_in_steps_by_the_revision_of_the_one_reading() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let mut store = open_at(&server).await;
    write_all(&mut store, &[Write::Create(mk_hep("h"))]).await;
    // A step of a plan that made the object itself knows no revision of it.
    let mut labelled = mk_hep("h");
    labelled.set_label("a", "1");
    let edits = calicoctl_protect::calico::edit::diff(mk_hep("h").value(), labelled.value());
    let update = |revision: Option<&str>| Write::Update {
        id: hep("h"),
        edits: edits.clone(),
        revision: revision.map(str::to_owned),
    };
    write_all(&mut store, &[update(None)]).await;
    let snapshot = read(&mut store).await;
    let twice = [
        mk_label(&snapshot, &hep("h"), "b", "2"),
        mk_label(&snapshot, &hep("h"), "c", "3"),
    ];
    write_all(&mut store, &twice).await;
    write_all(&mut store, &[mk_label(&snapshot, &hep("h"), "d", "4")]).await;
    let kv = get(&server, "hostendpoints/h").await;
    let labels = json!({"a": "1", "b": "2", "c": "3", "d": "4"});
    assert_eq!(kv.json()["metadata"]["labels"], labels);
    // Somebody else's write in between is a conflict all the same.
    server.raw().put(&kv.key, kv.text()).await;
    let (_, result) = write(&mut store, &[mk_label(&snapshot, &hep("h"), "e", "5")]).await;
    assert_eq!(result.unwrap_err().kind, StoreErrorKind::Conflict);
    // As is a revision that was never read.
    let (_, result) = write(&mut store, &[update(Some("1"))]).await;
    assert_eq!(result.unwrap_err().kind, StoreErrorKind::Conflict);
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    load(&server, &own_dump()).await;
    let mut store = open_at(&server).await;
    let snapshot = read(&mut store).await;
    write_all(
        &mut store,
        &[mk_label(&snapshot, &hep("m1-eth0"), "zone", "a")],
    )
    .await;
    assert_eq!(get(&server, "hostendpoints/m1-eth0").await.version, 1);
}

#[tokio::test]
async fn a_locked_datastore_is_read_but_not_written() {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    load(&server, &own_dump()).await;
    let mut store = open_at(&server).await;
    let key = format!("{ROOT}clusterinformations/default");
    let open = get(&server, "clusterinformations/default").await.text();
    let locked = open.replace("\"datastoreReady\":true", "\"datastoreReady\":false");
    server.raw().put(&key, locked).await;
    let snapshot = read(&mut store).await;
    assert!(snapshot.warnings[0].contains("is locked"));
    let (_, result) = write(&mut store, &[Write::Create(mk_hep("h"))]).await;
    let error = result.unwrap_err();
    assert!(error.message.contains("datastoreReady"), "{error}");
    assert!(error.hint.unwrap().contains("migrate unlock"));
    server.raw().put(&key, open).await;
    write_all(&mut store, &[Write::Create(mk_hep("h"))]).await;
}

#[tokio::test]
async fn a_policy_needs_its_tier() {
    let Some(server) = start_empty("v3.32.1").await else {
        return;
    };
    let mut store = open_at(&server).await;
    let policy = mk_policy("p", json!({"tier": "platform"}));
    let (_, result) = write(&mut store, std::slice::from_ref(&policy)).await;
    let error = result.unwrap_err();
    assert!(
        error.message.contains("there is no tier `platform`"),
        "{error}"
    );
    let tier = mk_global(
        Kind::Tier,
        "platform",
        json!({"order": 10, "defaultAction": "Pass"}),
    );
    write_all(&mut store, &[policy, Write::Create(tier)]).await;
    let labels = get(&server, "globalnetworkpolicies/p").await.json()["metadata"]["labels"].clone();
    assert_eq!(labels, json!({"projectcalico.org/tier": "platform"}));
}

#[tokio::test]
async fn identity_is_not_for_editing() {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    load(&server, &own_dump()).await;
    let mut store = open_at(&server).await;
    let snapshot = read(&mut store).await;
    let rename = mk_update(&snapshot, &hep("m1-eth0"), |object| {
        object.value_mut()["metadata"]["name"] = json!("x");
    });
    let (_, result) = write(&mut store, &[rename]).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Failed);
    assert!(
        error.message.contains("`metadata.name` cannot be changed"),
        "{error}"
    );
}

#[tokio::test]
async fn who_is_asked_to_stop_begins_no_further_transaction() {
    let Some(server) = start_empty("v3.32.1").await else {
        return;
    };
    let mut store = open_at(&server).await;
    read(&mut store).await;
    let create = |n: usize| Write::Create(mk_hep(&format!("stop-{n:03}")));
    let batch: Vec<Write> = (0..300).map(create).collect();
    let (stop, mut done) = (AtomicBool::new(false), 0);
    let mut tell = |_| {
        done += 1;
        stop.store(true, Ordering::Relaxed);
    };
    let result = store.write(&batch, &stop, &mut tell).await;
    assert_eq!(result, Ok(()));
    let there = |id: &ObjectId| id.name.starts_with("stop-");
    let snapshot = read(&mut store).await;
    let there = snapshot
        .of(Kind::HostEndpoint)
        .filter(|hep| there(hep.id()));
    assert_eq!(there.count(), done);
    assert!(0 < done && done < 300, "{done}");
}
