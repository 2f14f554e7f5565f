//! Lists, names, versions, and values that cannot be read.

use calicoctl_protect::calico::{DatastoreKind, Kind, ObjectId, Version};
use calicoctl_protect::store::{Pods, Store, StoreErrorKind, Wanted};
use serde_json::json;

use super::etcd_server::EtcdServer;
use super::support::*;

#[tokio::test]
async fn everything_is_read_in_its_v3_form() {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    load(&server, &own_dump()).await;
    let mut store = open_at(&server).await;
    let snapshot = read(&mut store).await;

    assert_eq!(snapshot.datastore.kind, DatastoreKind::Etcd);
    assert_eq!(snapshot.datastore.location, server.url());
    assert_eq!(snapshot.datastore.version, Some(Version::new(3, 32, 1)));
    let guid = snapshot.datastore.cluster_guid.as_deref();
    assert_eq!(guid, Some("5b7a9c1e0d2f4a6b8c9d0e1f2a3b4c5d"));
    assert_eq!(snapshot.warnings, Vec::<String>::new());
    assert_eq!(
        snapshot.len(),
        own_dump().len() - 1,
        "all but the agent's report"
    );

    let policies: Vec<&str> = snapshot
        .of(Kind::GlobalNetworkPolicy)
        .map(|o| o.name())
        .collect();
    assert_eq!(
        policies,
        ["mgmt", "old"],
        "the older one without its prefix"
    );
    let old = ObjectId::global(Kind::GlobalNetworkPolicy, "old");
    let place = &snapshot.stored(&old).unwrap().place;
    assert_eq!(place, &format!("{ROOT}globalnetworkpolicies/default.old"));
    let mgmt = snapshot.global(Kind::GlobalNetworkPolicy, "mgmt").unwrap();
    let annotations: Vec<_> = mgmt.annotations().collect();
    assert_eq!(
        annotations,
        [("zz", "1")],
        "the record of the name is not seen"
    );
    assert_eq!(
        mgmt.spec_str("selector"),
        Some("has(host) && role != 'x<y>'")
    );

    let set = ObjectId::namespaced(Kind::NetworkSet, "shop", "db");
    let set = snapshot.stored(&set).unwrap();
    let kv = get(&server, "networksets/shop/db").await;
    assert_eq!(set.revision, kv.mod_revision.to_string());
    assert_eq!(
        set.object.value(),
        &kv.json(),
        "no resource version is put in"
    );
    for kind in [
        Kind::CalicoNode,
        Kind::WorkloadEndpoint,
        Kind::Profile,
        Kind::Tier,
    ] {
        assert!(snapshot.of(kind).next().is_some(), "{kind}");
    }
}

#[tokio::test]
async fn only_what_is_wanted_is_read() {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    load(&server, &own_dump()).await;
    let mut store = open_at(&server).await;
    let mut wanted = Wanted {
        kinds: vec![Kind::HostEndpoint, Kind::Node, Kind::Deployment],
        pods: Pods::None,
        ..Wanted::default()
    };
    let snapshot = store.read(&wanted).await.unwrap();
    assert!(
        snapshot
            .global(Kind::ClusterInformation, "default")
            .is_some()
    );
    assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 3);
    assert_eq!(
        snapshot.of(Kind::CalicoNode).count(),
        3,
        "what etcd has for nodes"
    );
    assert_eq!(snapshot.len(), 7);
    wanted.pods = Pods::All;
    let snapshot = store.read(&wanted).await.unwrap();
    assert_eq!(snapshot.of(Kind::WorkloadEndpoint).count(), 1);
}

#[tokio::test]
async fn three_thousand_keys_are_read_in_pages_of_one_revision() {
    let Some(server) = start_empty("v3.32.1").await else {
        return;
    };
    let raw = server.raw();
    let key = |i: usize| format!("{ROOT}hostendpoints/h{i:04}");
    let value = |i: usize, turn: &str| {
        let spec = json!({"node": "m1", "interfaceName": "eth0"});
        let text = stored("HostEndpoint", &format!("h{i:04}"), spec);
        text.replace("\"spec\"", &format!("\"turn\":\"{turn}\",\"spec\""))
            .into_bytes()
    };
    raw.put_all((0..3000).map(|i| (key(i), value(i, "0"))))
        .await;
    // The first and the last key, always changed together: a list that is not of one revision
    // sees them differ.
    let writer = tokio::spawn({
        let raw = raw.clone();
        async move {
            for turn in 1.. {
                let turn = format!("{turn}");
                raw.put_all([0, 2999].map(|i| (key(i), value(i, &turn))))
                    .await;
            }
        }
    });
    let mut store = open_at(&server).await;
    let mut turns = Vec::new();
    for _ in 0..10 {
        let snapshot = read(&mut store).await;
        assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 3000);
        let turn =
            |name| snapshot.global(Kind::HostEndpoint, name).unwrap().value()["turn"].clone();
        assert_eq!(turn("h0000"), turn("h2999"));
        turns.push(turn("h0000").to_string());
    }
    writer.abort();
    turns.dedup();
    assert!(turns.len() > 1, "the writer was not at work");
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_named_and_passed_over() {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    load(&server, &own_dump()).await;
    let raw = server.raw();
    let heps = format!("{ROOT}hostendpoints");
    raw.put(&format!("{heps}/broken"), "{\"kind\":\"HostEndpoint\"")
        .await;
    raw.put(&format!("{heps}/list"), "[]").await;
    raw.put(&format!("{heps}/binary"), [0xff, 0xfe]).await;
    raw.put(&format!("{heps}/nested/name"), "{}").await;
    let policy = |name: &str, annotation: &str| {
        go_json(&json!({
            "kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": name, "annotations": {"projectcalico.org/metadata": annotation}},
            "spec": {}}))
    };
    let policies = format!("{ROOT}globalnetworkpolicies");
    raw.put(&format!("{policies}/note"), policy("note", "no JSON"))
        .await;
    raw.put(&format!("{policies}/key"), policy("other", "{}"))
        .await;

    let mut store = open_at(&server).await;
    let snapshot = read(&mut store).await;
    assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 3);
    assert!(snapshot.global(Kind::GlobalNetworkPolicy, "note").is_some());
    assert!(snapshot.global(Kind::GlobalNetworkPolicy, "key").is_some());
    let warned = |name: &str, text: &str| {
        let mut all = snapshot.warnings.iter();
        assert!(
            all.any(|w| w.contains(&format!("{name}`")) && w.contains(text)),
            "{name}: {:?}",
            snapshot.warnings
        );
    };
    warned("hostendpoints/broken", "passes over it");
    warned("hostendpoints/list", "not an object");
    warned("hostendpoints/binary", "no JSON");
    warned("hostendpoints/nested/name", "no key of Calico's");
    warned("globalnetworkpolicies/note", "is no JSON object");
    warned("globalnetworkpolicies/key", "the key counts");
    assert_eq!(snapshot.warnings.len(), 6);
}

#[tokio::test]
async fn a_policy_under_both_of_its_names_is_seen_twice() {
    let Some(server) = start_empty("v3.32.1").await else {
        return;
    };
    let raw = server.raw();
    for name in ["x", "default.x"] {
        let value = stored("GlobalNetworkPolicy", name, json!({"selector": "all()"}));
        raw.put(&format!("{ROOT}globalnetworkpolicies/{name}"), value)
            .await;
    }
    let mut store = open_at(&server).await;
    let snapshot = read(&mut store).await;
    let names: Vec<&str> = snapshot
        .of(Kind::GlobalNetworkPolicy)
        .map(|o| o.name())
        .collect();
    assert_eq!(names, ["default.x", "x"]);
    assert!(
        snapshot.warnings[0].contains("is stored twice"),
        "{:?}",
        snapshot.warnings
    );
    // Both can be written, each where it is.
    let id = ObjectId::global(Kind::GlobalNetworkPolicy, "default.x");
    let change = mk_label(&snapshot, &id, "a", "b");
    write_all(&mut store, &[change]).await;
    let kv = get(&server, "globalnetworkpolicies/default.x").await;
    assert_eq!(kv.json()["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(get(&server, "globalnetworkpolicies/x").await.version, 1);
}

#[tokio::test]
async fn a_version_that_is_missing_is_guessed_from_the_tiers() {
    let Some(server) = start_empty("").await else {
        return;
    };
    let mut store = open_at(&server).await;
    let snapshot = read(&mut store).await;
    assert_eq!(snapshot.datastore.version, Some(Version::new(3, 28, 0)));
    assert!(snapshot.warnings[0].contains("there are no tiers"));
    let tier = stored("Tier", "kube-admin", json!({"order": 1000}));
    server
        .raw()
        .put(&format!("{ROOT}tiers/kube-admin"), tier)
        .await;
    let snapshot = read(&mut store).await;
    assert_eq!(snapshot.datastore.version, Some(Version::new(3, 32, 0)));
}

#[tokio::test]
async fn an_etcd_that_is_not_calicos_is_refused() {
    let Some(server) = EtcdServer::start().await else {
        return;
    };
    let error = open(&mk_config(&server.url())).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Failed);
    let expected = format!("etcd at `{}` holds no datastore of Calico's", server.url());
    assert_eq!(error.message, expected);
    assert!(
        error
            .hint
            .unwrap()
            .contains("typing error in ETCD_ENDPOINTS")
    );
    let key = format!("{ROOT}clusterinformations/default");
    server.raw().put(&key, "no JSON").await;
    let error = open(&mk_config(&server.url())).await.unwrap_err();
    assert!(error.message.contains("cannot be read"), "{error}");
}
