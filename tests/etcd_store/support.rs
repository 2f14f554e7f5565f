//! Data and short names for the tests.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use calicoctl_protect::calico::edit::diff;
use calicoctl_protect::calico::{Kind, Object, ObjectId, Snapshot};
use calicoctl_protect::store::config::EtcdConfig;
use calicoctl_protect::store::etcd::{Etcd, Patience};
use calicoctl_protect::store::{Store, StoreError, Wanted, Write};
use serde_json::{Value, json};

use super::etcd_server::EtcdServer;
use super::etcd_server::raw::KeyValue;

pub const ROOT: &str = "/calico/resources/v3/projectcalico.org/";

/// The small datastore that is part of this repository.
pub fn own_dump() -> Vec<(String, String)> {
    parse(include_str!("../data/etcd/dump.jsonl"))
}

/// A larger one, where it is at hand.
pub fn large_dump() -> Option<Vec<(String, String)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../shared/clusters/etcd-baremetal/dump.jsonl");
    let near = std::fs::read_to_string(path);
    let named = std::env::var("CALICOCTL_PROTECT_TEST_ETCD_DUMP");
    let text = near.or_else(|error| named.map_err(|_| error).and_then(std::fs::read_to_string));
    text.ok().map(|text| parse(&text))
}

fn parse(text: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let value = match &row["value"] {
            Value::String(text) => text.clone(),
            other => go_json(other),
        };
        (row["key"].as_str().unwrap().to_owned(), value)
    };
    text.lines().map(row).collect()
}

/// JSON as Go writes it.
pub fn go_json(value: &Value) -> String {
    let text = value.to_string();
    text.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

pub async fn load(server: &EtcdServer, dump: &[(String, String)]) {
    let pairs = dump
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    server.raw().put_all(pairs).await;
}

/// Everything below `/calico/`, as it was loaded.
pub async fn contents(server: &EtcdServer) -> Vec<(String, String)> {
    let all = server.raw().all("/calico/").await;
    all.iter().map(|kv| (kv.key.clone(), kv.text())).collect()
}

pub async fn get(server: &EtcdServer, path: &str) -> KeyValue {
    let found = server.raw().get(&format!("{ROOT}{path}")).await;
    found.unwrap_or_else(|| panic!("no key {path}"))
}

/// A datastore with nothing but ClusterInformation, and the tiers where the version has them.
pub async fn start_empty(version: &str) -> Option<EtcdServer> {
    let server = EtcdServer::start().await?;
    load(&server, &basics(version)).await;
    Some(server)
}

pub fn basics(version: &str) -> Vec<(String, String)> {
    let mut found = vec![(
        format!("{ROOT}clusterinformations/default"),
        stored(
            "ClusterInformation",
            "default",
            json!({
            "clusterGUID": "5b7a9c1e0d2f4a6b8c9d0e1f2a3b4c5d", "calicoVersion": version,
            "datastoreReady": true}),
        ),
    )];
    if version >= "v3.29" {
        let tier = stored(
            "Tier",
            "default",
            json!({"order": 1_000_000, "defaultAction": "Deny"}),
        );
        found.push((format!("{ROOT}tiers/default"), tier));
    }
    found
}

/// A stored value of a cluster-scoped kind.
pub fn stored(kind: &str, name: &str, spec: Value) -> String {
    go_json(&json!({
        "kind": kind, "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "uid": "6f1c2f0e-7f5b-4a5a-9a55-0f6f0d1f5a11",
                     "creationTimestamp": "2026-11-01T10:00:00Z"},
        "spec": spec}))
}

pub fn mk_config(url: &str) -> EtcdConfig {
    EtcdConfig {
        endpoints: vec![url.to_owned()],
        ..EtcdConfig::default()
    }
}

/// Short deadlines, long enough for a slow machine.
pub fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(10),
        return_of_server: Duration::from_secs(30),
    }
}

pub async fn open(config: &EtcdConfig) -> Result<Etcd, StoreError> {
    Etcd::connect_with(config, patience()).await
}

pub async fn open_at(server: &EtcdServer) -> Etcd {
    open(&mk_config(&server.url())).await.unwrap()
}

pub async fn read(store: &mut Etcd) -> Snapshot {
    store.read(&Wanted::everything()).await.unwrap()
}

/// Writes a batch; returns what was reported as done.
pub async fn write(store: &mut Etcd, batch: &[Write]) -> (Vec<usize>, Result<(), StoreError>) {
    let mut done = Vec::new();
    let result = store
        .write(batch, &AtomicBool::new(false), &mut |index| {
            done.push(index)
        })
        .await;
    (done, result)
}

pub async fn write_all(store: &mut Etcd, batch: &[Write]) {
    let (done, result) = write(store, batch).await;
    result.unwrap();
    assert_eq!(done, (0..batch.len()).collect::<Vec<_>>());
}

pub fn mk_global(kind: Kind, name: &str, spec: Value) -> Object {
    let mut object = Object::empty(ObjectId::global(kind, name));
    object.replace_spec(spec);
    object
}

pub fn mk_hep(name: &str) -> Object {
    let spec = json!({"node": "m1", "interfaceName": "eth0", "expectedIPs": ["192.0.2.1"]});
    mk_global(Kind::HostEndpoint, name, spec)
}

pub fn hep(name: &str) -> ObjectId {
    ObjectId::global(Kind::HostEndpoint, name)
}

/// The update that `change` makes of an object of the snapshot.
pub fn mk_update(snapshot: &Snapshot, id: &ObjectId, change: impl FnOnce(&mut Object)) -> Write {
    let before = snapshot.stored(id).unwrap_or_else(|| panic!("no {id}"));
    let mut after = before.object.clone();
    change(&mut after);
    Write::Update {
        id: id.clone(),
        edits: diff(before.object.value(), after.value()),
        revision: Some(before.revision.clone()),
    }
}

pub fn mk_label(snapshot: &Snapshot, id: &ObjectId, key: &str, value: &str) -> Write {
    mk_update(snapshot, id, |object| object.set_label(key, value))
}

/// What leads from one picture to another, as an undo would do it.
pub fn between(now: &Snapshot, then: &Snapshot) -> Vec<Write> {
    let mut writes = Vec::new();
    for stored in then.all() {
        let id = stored.object.id().clone();
        match now.stored(&id) {
            None => writes.push(Write::Create(stored.object.clone())),
            Some(current) if current.object != stored.object => writes.push(Write::Update {
                edits: diff(current.object.value(), stored.object.value()),
                revision: Some(current.revision.clone()),
                id,
            }),
            Some(_) => {}
        }
    }
    let gone = now
        .all()
        .filter(|stored| then.get(stored.object.id()).is_none());
    writes.extend(gone.map(|stored| Write::Delete {
        id: stored.object.id().clone(),
        revision: Some(stored.revision.clone()),
    }));
    writes
}
