//! Which of Calico's API groups is alive (data model, 4.2 to 4.4).

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use calicoctl_protect::calico::DatastoreKind;
use calicoctl_protect::store::config::{ApiGroup, KubernetesConfig};
use calicoctl_protect::store::kubernetes::KubernetesStore;
use calicoctl_protect::store::{Store, Write};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::*;

/// A server of fixed documents; everything else is a 404, or a 403 where it says so.
async fn serve(documents: BTreeMap<String, Value>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let documents = documents.clone();
            tokio::spawn(async move {
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else {
                            return;
                        };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split([' ', '?']).nth(1).unwrap();
                    let (status, body) = match documents.get(path) {
                        Some(Value::Number(status)) => (status.to_string(), String::new()),
                        Some(value) => ("200".into(), value.to_string()),
                        None => ("404".into(), "404 page not found".into()),
                    };
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

const SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v3.projectcalico.org";
const MIGRATION: &str = "/apis/migration.projectcalico.org/v1beta1/datastoremigrations/v1-to-v3";

/// A cluster that serves some groups; `ready` as its ClusterInformations say.
fn mk_cluster(groups: &[(&str, &str)], ready: [bool; 2]) -> BTreeMap<String, Value> {
    let list: Vec<Value> = groups
        .iter()
        .map(|(name, version)| {
            let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
            json!({"name": name, "versions": [version], "preferredVersion": version})
        })
        .collect();
    let mut documents = BTreeMap::from([("/apis".to_owned(), json!({"groups": list}))]);
    for ((group, version), ready) in [("crd.projectcalico.org", "v1"), ("projectcalico.org", "v3")]
        .into_iter()
        .zip(ready)
    {
        let root = format!("/apis/{group}/{version}");
        let info = json!({"metadata": {"name": "default"}, "spec": {
            "calicoVersion": "v3.32.1", "clusterGUID": group, "datastoreReady": ready}});
        let names = [
            "globalnetworkpolicies",
            "clusterinformations",
            "hostendpoints",
        ];
        let resources: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        documents.insert(root.clone(), json!({"resources": resources}));
        documents.insert(
            format!("{root}/clusterinformations"),
            json!({"metadata": {"resourceVersion": "7"}, "items": [info]}),
        );
        documents.insert(format!("{root}/clusterinformations/default"), info);
    }
    documents
}

async fn shape_of(
    documents: BTreeMap<String, Value>,
    api_group: Option<ApiGroup>,
) -> Result<(DatastoreKind, Vec<String>, Result<(), String>), String> {
    let mut store = KubernetesStore::new(
        KubernetesConfig {
            endpoint: Some(serve(documents).await),
            api_group,
            ..KubernetesConfig::default()
        },
        limits(),
    );
    let snapshot = store
        .read(&kinds_wanted(&[]))
        .await
        .map_err(|e| words(&e))?;
    let create = [Write::Create(mk_hep("h", &[]))];
    let written = store
        .write(&create, &AtomicBool::new(false), &mut |_| ())
        .await;
    let refused = match written {
        // The server of documents takes no writes: getting so far is what counts.
        Err(error) if !error.message.contains("refused to create") => Err(error.message),
        _ => Ok(()),
    };
    Ok((snapshot.datastore.kind, snapshot.warnings, refused))
}

const V1: (&str, &str) = ("crd.projectcalico.org", "v1");
const V3: (&str, &str) = ("projectcalico.org", "v3");
const MOVES: (&str, &str) = ("migration.projectcalico.org", "v1beta1");

fn with(
    mut documents: BTreeMap<String, Value>,
    path: &str,
    value: Value,
) -> BTreeMap<String, Value> {
    documents.insert(path.to_owned(), value);
    documents
}

fn phase(phase: &str) -> Value {
    json!({"status": {"phase": phase}})
}

#[tokio::test]
async fn the_three_shapes_are_told_apart() {
    use DatastoreKind::{AggregatedV3, CrdV1, NativeV3};
    let service = json!({"spec": {"service": {"name": "calico-api"}}});
    let local = json!({"spec": {"service": null}});
    let both = || mk_cluster(&[V1, V3], [true, true]);
    for (case, documents, expected) in [
        ("v1 alone", mk_cluster(&[V1], [true, true]), CrdV1),
        ("v3 alone", mk_cluster(&[V3], [true, true]), NativeV3),
        (
            "v3 alone, local",
            with(mk_cluster(&[V3], [true, true]), SERVICE, local.clone()),
            NativeV3,
        ),
        ("aggregated", with(both(), SERVICE, service), AggregatedV3),
        (
            "hidden APIService",
            with(both(), SERVICE, json!(403)),
            AggregatedV3,
        ),
        (
            "hidden, v3 alone",
            with(mk_cluster(&[V3], [true, true]), SERVICE, json!(403)),
            NativeV3,
        ),
        (
            "leftover v3 definitions",
            with(both(), SERVICE, local.clone()),
            CrdV1,
        ),
        (
            "leftover v1 definitions",
            with(mk_cluster(&[V1, V3], [false, true]), SERVICE, local),
            NativeV3,
        ),
    ] {
        let found = shape_of(documents, None).await;
        assert_eq!(found, Ok((expected, Vec::new(), Ok(()))), "{case}");
    }
}

#[tokio::test]
async fn while_data_moves_nothing_is_written() {
    use DatastoreKind::{CrdV1, NativeV3};
    for (now, kind, warns, writes) in [
        ("Converged", NativeV3, false, true),
        ("Complete", NativeV3, false, true),
        ("Migrating", CrdV1, true, false),
        ("WaitingForConflictResolution", CrdV1, true, false),
        ("Pending", CrdV1, true, true),
        ("Failed", CrdV1, true, true),
    ] {
        let documents = mk_cluster(&[V1, V3, MOVES], [now != "Complete", true]);
        let found = shape_of(with(documents, MIGRATION, phase(now)), None).await;
        let (shape, warnings, written) = found.unwrap();
        assert_eq!(
            (shape, !warnings.is_empty(), written.is_ok()),
            (kind, warns, writes),
            "{now}"
        );
        if let Err(error) = written {
            assert!(
                error.contains(&format!("DatastoreMigration `v1-to-v3` is `{now}`")),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_cluster_without_calico_and_a_group_that_is_not_there_are_named() {
    let other = ("apps", "v1");
    let error = shape_of(mk_cluster(&[other], [true, true]), None)
        .await
        .unwrap_err();
    assert!(error.contains("has no Calico resources"), "{error}");
    assert!(error.contains("`DATASTORE_TYPE=etcdv3`"), "{error}");
    for (groups, wanted, name) in [
        ([V1], ApiGroup::V3, "projectcalico.org/v3"),
        ([V3], ApiGroup::CrdV1, "crd.projectcalico.org/v1"),
    ] {
        let error = shape_of(mk_cluster(&groups, [true, true]), Some(wanted))
            .await
            .unwrap_err();
        assert!(
            error.contains(&format!("does not serve `{name}`")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_users_choice_of_group_counts() {
    use DatastoreKind::{AggregatedV3, CrdV1, NativeV3};
    let service = json!({"spec": {"service": {"name": "calico-api"}}});
    let both = || mk_cluster(&[V1, V3], [true, true]);
    for (documents, wanted, expected) in [
        (
            with(both(), SERVICE, service.clone()),
            ApiGroup::CrdV1,
            CrdV1,
        ),
        (with(both(), SERVICE, service), ApiGroup::V3, AggregatedV3),
        (both(), ApiGroup::V3, NativeV3),
        (both(), ApiGroup::CrdV1, CrdV1),
    ] {
        let (shape, ..) = shape_of(documents, Some(wanted)).await.unwrap();
        assert_eq!(shape, expected);
    }
}
