//! Stores over doubles, and objects to put into them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use calicoctl_protect::calico::{
    FieldEdit, FieldPath, Kind, Object, ObjectId, Snapshot, Version, v1,
};
use calicoctl_protect::store::config::{Kubeconfig, KubernetesConfig};
use calicoctl_protect::store::kubernetes::{KubernetesStore, Limits};
use calicoctl_protect::store::{Store, StoreError, Wanted, Write};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::double::{ADMIN_TOKEN, Credentials, Double, Shape};

/// Every shape with every way of storing that its releases have.
pub const SERVERS: [(Shape, &str); 9] = [
    (Shape::LegacyV1, "v3.27.4"),
    (Shape::LegacyV1, "v3.27.5"),
    (Shape::LegacyV1, "v3.28.5"),
    (Shape::LegacyV1, "v3.30.7"),
    (Shape::LegacyV1, "v3.32.1"),
    (Shape::AggregatedV3, "v3.29.7"),
    (Shape::AggregatedV3, "v3.30.7"),
    (Shape::AggregatedV3, "v3.32.1"),
    (Shape::NativeV3, "v3.32.1"),
];

/// A double with a store over it.
pub struct Bench {
    pub double: Double,
    pub store: KubernetesStore,
    pub dir: TempDir,
    pub version: Version,
    shape: Shape,
}

/// Pauses short enough for tests, deadlines long enough for slow machines.
pub fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(20),
        answer: Duration::from_secs(20),
        tries: 4,
        first_pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(20),
        ..Limits::default()
    }
}

pub fn config(kubeconfig: impl AsRef<Path>) -> KubernetesConfig {
    KubernetesConfig {
        kubeconfig: Kubeconfig::Files(vec![kubeconfig.as_ref().to_owned()]),
        ..KubernetesConfig::default()
    }
}

pub async fn try_read(config: KubernetesConfig) -> Result<usize, StoreError> {
    let mut store = KubernetesStore::new(config, limits());
    let snapshot = store.read(&kinds_wanted(&[Kind::HostEndpoint])).await?;
    Ok(snapshot.of(Kind::HostEndpoint).count())
}

pub fn mk_double() -> (Double, TempDir) {
    let double = Double::builder(Shape::NativeV3).start();
    double.load([mk_hep("h", &[]).into_value()]);
    (double, tempfile::tempdir().unwrap())
}

/// A kubeconfig of a token, changed by `change`.
pub fn mk_kubeconfig(double: &Double, dir: &TempDir, change: impl FnOnce(&mut Value)) -> PathBuf {
    let token = Credentials::Token(ADMIN_TOKEN.into());
    let path = double.kubeconfig_with(dir.path(), &token);
    let text = fs::read_to_string(&path).unwrap();
    let mut value: Value = serde_yaml::from_str(&text).unwrap();
    change(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    path
}

pub fn mk_bench(shape: Shape, version: &str) -> Bench {
    mk_bench_with(shape, version, limits())
}

pub fn mk_bench_with(shape: Shape, version: &str, limits: Limits) -> Bench {
    let double = Double::builder(shape).calico(version).start();
    let dir = tempfile::tempdir().unwrap();
    let store = KubernetesStore::new(config(double.kubeconfig(dir.path())), limits);
    Bench {
        double,
        store,
        dir,
        version: version.parse().unwrap(),
        shape,
    }
}

/// The shape that needs no mapping.
pub fn native() -> Bench {
    mk_bench(Shape::NativeV3, "v3.32.1")
}

impl Bench {
    /// Another store over the same double, as another run of the tool would have.
    pub fn another(&self) -> KubernetesStore {
        KubernetesStore::new(config(self.dir.path().join("kubeconfig")), limits())
    }

    /// Puts v3 objects into the double as this release stores them.
    pub fn load(&self, objects: impl IntoIterator<Item = Object>) {
        let stored = objects.into_iter().map(|object| match self.shape {
            Shape::LegacyV1 => v1::create(&object, self.version),
            _ => object.into_value(),
        });
        self.double.load(stored.collect::<Vec<_>>());
    }

    /// `plural.group` of a kind.
    pub fn resource(&self, kind: Kind) -> String {
        match (kind.is_calico(), self.shape) {
            (true, Shape::LegacyV1) => format!("{}.crd.projectcalico.org", kind.plural()),
            (true, _) => format!("{}.projectcalico.org", kind.plural()),
            (false, _) if kind.group().is_empty() => kind.plural().to_owned(),
            (false, _) => format!("{}.{}", kind.plural(), kind.group()),
        }
    }

    pub async fn read(&mut self, kinds: &[Kind]) -> Snapshot {
        self.store.read(&kinds_wanted(kinds)).await.unwrap()
    }

    pub async fn write(&mut self, batch: &[Write]) -> (Vec<usize>, Result<(), StoreError>) {
        write(&mut self.store, batch).await
    }

    /// Everything that is stored of some kinds, without what servers keep for themselves.
    pub fn stored(&self, kinds: &[Kind]) -> Vec<Value> {
        let all = kinds
            .iter()
            .flat_map(|kind| self.double.list(&self.resource(*kind)));
        all.map(plain).collect()
    }
}

pub async fn write(
    store: &mut KubernetesStore,
    batch: &[Write],
) -> (Vec<usize>, Result<(), StoreError>) {
    let mut done = Vec::new();
    let result = store
        .write(batch, &AtomicBool::new(false), &mut |index| {
            done.push(index)
        })
        .await;
    done.sort_unstable();
    (done, result)
}

pub fn kinds_wanted(kinds: &[Kind]) -> Wanted {
    Wanted {
        kinds: kinds.to_vec(),
        ..Wanted::default()
    }
}

/// An object without what servers keep for themselves.
pub fn plain(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "resourceVersion",
            "uid",
            "generation",
            "managedFields",
            "creationTimestamp",
        ] {
            metadata.shift_remove(field);
        }
    }
    object
}

pub fn mk_hep(name: &str, labels: &[(&str, &str)]) -> Object {
    let mut hep = object(json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "HostEndpoint",
        "metadata": {"name": name},
        "spec": {"node": "n1", "interfaceName": "eth0", "expectedIPs": ["192.0.2.1"]},
    }));
    for (key, value) in labels {
        hep.set_label(key, value);
    }
    hep
}

pub fn mk_policy(name: &str) -> Object {
    object(json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": {
            "order": 500,
            "selector": "has(x)",
            "types": ["Ingress"],
            "ingress": [{
                "action": "Deny",
                "protocol": "TCP",
                "source": {"notSelector": "has(y)"},
                "destination": {"ports": [2379]},
            }],
        },
    }))
}

pub fn mk_set(name: &str, nets: &[&str]) -> Object {
    object(json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkSet",
        "metadata": {"name": name, "labels": {"a": "1"}},
        "spec": {"nets": nets},
    }))
}

pub fn object(value: Value) -> Object {
    Object::new(value).unwrap()
}

pub fn hep_id(name: &str) -> ObjectId {
    ObjectId::global(Kind::HostEndpoint, name)
}

/// Sets a label for the version that a snapshot has.
pub fn set_label(snapshot: &Snapshot, id: &ObjectId, key: &str, value: &str) -> Write {
    let path = FieldPath::of(["metadata", "labels"]);
    let has_labels = snapshot.get(id).unwrap().labels().next().is_some();
    let edit = if has_labels {
        FieldEdit::Set {
            path: path.key(key),
            value: json!(value),
        }
    } else {
        FieldEdit::Set {
            path,
            value: json!({ key: value }),
        }
    };
    update(snapshot, id, vec![edit])
}

pub fn remove_label(snapshot: &Snapshot, id: &ObjectId, key: &str) -> Write {
    let path = FieldPath::of(["metadata", "labels", key]);
    update(snapshot, id, vec![FieldEdit::Remove { path }])
}

pub fn update(snapshot: &Snapshot, id: &ObjectId, edits: Vec<FieldEdit>) -> Write {
    Write::Update {
        id: id.clone(),
        edits,
        revision: Some(snapshot.stored(id).unwrap().revision.clone()),
    }
}

pub fn delete(snapshot: &Snapshot, id: &ObjectId) -> Write {
    Write::Delete {
        id: id.clone(),
        revision: Some(snapshot.stored(id).unwrap().revision.clone()),
    }
}

/// An error as a user sees it, in one line.
pub fn words(error: &StoreError) -> String {
    assert!(!error.message.contains('\n'), "{}", error.message);
    format!(
        "{} | {} | {}",
        error.message,
        error.detail.join(" / "),
        error.hint.as_deref().unwrap_or("")
    )
}
