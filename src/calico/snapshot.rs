//! Everything that was read from a datastore at one moment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Object, ObjectId, Version};

/// What kind of datastore a snapshot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DatastoreKind {
    /// Files on disk. They may describe only a part of the cluster behind them.
    #[serde(rename = "manifests")]
    Manifests,
    /// Kubernetes with the aggregated `projectcalico.org/v3` API.
    #[serde(rename = "Kubernetes, aggregated projectcalico.org/v3")]
    AggregatedV3,
    /// Kubernetes with native `projectcalico.org/v3` resource definitions.
    #[serde(rename = "Kubernetes, native projectcalico.org/v3")]
    NativeV3,
    /// Kubernetes with `crd.projectcalico.org/v1` resource definitions.
    #[serde(rename = "Kubernetes, crd.projectcalico.org/v1")]
    CrdV1,
    /// etcd v3.
    #[serde(rename = "etcd v3")]
    Etcd,
}

impl DatastoreKind {
    /// Whether Calico keeps its data in the Kubernetes API.
    #[must_use]
    pub fn is_kubernetes(self) -> bool {
        matches!(self, Self::AggregatedV3 | Self::NativeV3 | Self::CrdV1)
    }
}

impl fmt::Display for DatastoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifests => "manifests",
            Self::AggregatedV3 => "Kubernetes, aggregated projectcalico.org/v3",
            Self::NativeV3 => "Kubernetes, native projectcalico.org/v3",
            Self::CrdV1 => "Kubernetes, crd.projectcalico.org/v1",
            Self::Etcd => "etcd v3",
        })
    }
}

/// Which datastore this is, so that a person and a saved plan can tell clusters apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Datastore {
    /// The kind of store.
    pub kind: DatastoreKind,
    /// Where it is: a folder, a server's URL, endpoints. Never holds a secret.
    pub location: String,
    /// `clusterGUID` of ClusterInformation, where there is one.
    #[serde(rename = "clusterGUID")]
    pub cluster_guid: Option<String>,
    /// The installed version of Calico, where it is known.
    #[serde(rename = "calicoVersion")]
    #[schemars(with = "Option<String>")]
    pub version: Option<Version>,
}

/// An object, the version it was read at, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The object.
    pub object: Object,
    /// The store's version of it: a resource version, a mod revision or a digest of the file.
    pub revision: String,
    /// Where a person finds it: `hosts/m1.yaml:12`, a URL path, an etcd key.
    pub place: String,
}

/// An immutable picture of a datastore. Copies share what is in it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Which datastore it was taken of.
    pub datastore: Datastore,
    /// What the reader of the store wants a person to know.
    pub warnings: Vec<String>,
    objects: BTreeMap<Arc<ObjectId>, Arc<Stored>>,
}

impl Snapshot {
    /// A picture of `objects`. Of two with one identity the later stands; stores refuse such
    /// input before they come here.
    pub fn new(datastore: Datastore, objects: impl IntoIterator<Item = Stored>) -> Self {
        Self {
            datastore,
            warnings: Vec::new(),
            objects: objects.into_iter().map(keyed).collect(),
        }
    }

    /// Every object of a kind, in order of namespace and name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        let from = ObjectId {
            kind,
            namespace: None,
            name: String::new(),
        };
        self.objects
            .range::<ObjectId, _>(from..)
            .take_while(move |(id, _)| id.kind == kind)
            .map(|(_, stored)| &stored.object)
    }

    /// An object by identity.
    #[must_use]
    pub fn get(&self, id: &ObjectId) -> Option<&Object> {
        self.objects.get(id).map(|stored| &stored.object)
    }

    /// An object of a cluster-scoped kind by name.
    #[must_use]
    pub fn global(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.get(&ObjectId::global(kind, name))
    }

    /// An object with its version and place.
    #[must_use]
    pub fn stored(&self, id: &ObjectId) -> Option<&Stored> {
        self.objects.get(id).map(Arc::as_ref)
    }

    /// Everything, in order of kind, namespace and name.
    pub fn all(&self) -> impl Iterator<Item = &Stored> {
        self.objects.values().map(Arc::as_ref)
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The installed version of Calico, or the newest known one where nothing tells.
    #[must_use]
    pub fn version(&self) -> Version {
        self.datastore.version.unwrap_or(Version::NEWEST)
    }

    /// The same datastore with an object put in place of the one of its identity, or added.
    /// Used to look at the state a plan leads to.
    pub fn put(&mut self, object: Object) {
        match self.objects.get_mut(object.id()) {
            Some(stored) => Arc::make_mut(stored).object = object,
            None => {
                let stored = Stored {
                    object,
                    revision: String::new(),
                    place: String::new(),
                };
                self.objects.extend([keyed(stored)]);
            }
        }
    }

    /// The same datastore with more that was read of it. Of two with one identity the later stands.
    pub fn extend(&mut self, objects: impl IntoIterator<Item = Stored>) {
        self.objects.extend(objects.into_iter().map(keyed));
    }

    /// The same datastore without an object.
    pub fn remove(&mut self, id: &ObjectId) {
        self.objects.remove(id);
    }
}

fn keyed(stored: Stored) -> (Arc<ObjectId>, Arc<Stored>) {
    (stored.object.shared_id(), Arc::new(stored))
}
