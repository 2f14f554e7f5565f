//! Reading: lists in pages, all of them at one revision.

use std::collections::{BTreeMap, BTreeSet};

use super::client::Client;
use super::fault::Fault;
use super::keys;
use super::proto::{KeyValue, RangeRequest};
use super::values::{self, View};
use crate::calico::names::stored_name;
use crate::calico::{Datastore, DatastoreKind, Kind, ObjectId, Snapshot, Stored, Version};
use crate::store::{Pods, StoreError, StoreErrorKind, Wanted};

/// Keys asked for at once.
const PAGE: i64 = 1000;

/// How often a read begins anew because its revision has been compacted away.
const RESTARTS: usize = 3;

/// A picture, and under which keys its objects are.
pub struct Picture {
    /// The picture.
    pub snapshot: Snapshot,
    /// Keys of the objects.
    pub keys: BTreeMap<ObjectId, String>,
}

/// What ClusterInformation says.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Identity.
    pub guid: Option<String>,
    /// The text of the version.
    pub version: Option<String>,
    /// Whether the datastore is open to Calico's components.
    pub ready: bool,
    /// Revision at which it was last written.
    pub mod_revision: i64,
}

impl Cluster {
    /// Reads ClusterInformation.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub fn of(found: Option<&KeyValue>, location: &str) -> Result<Self, StoreError> {
        let Some(kv) = found else {
            return Err(failed(format!(
                "etcd at `{location}` holds no datastore of Calico's"
            ))
            .detail(format!("no key `{}`", keys::cluster_information()))
            .hint("look for a typing error in ETCD_ENDPOINTS"));
        };
        let kind = Kind::ClusterInformation;
        let view = values::view(kind, None, "default", &kv.value, Version::NEWEST);
        let view = view.map_err(|why| {
            failed(format!(
                "`{}` cannot be read: {why}",
                keys::cluster_information()
            ))
            .hint("Calico's own components cannot read it either; repair it with etcdctl")
        })?;
        let object = view.object;
        let text = |field| {
            object
                .spec_str(field)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
        };
        Ok(Self {
            guid: text("clusterGUID"),
            version: text("calicoVersion"),
            ready: object
                .spec("datastoreReady")
                .and_then(|ready| ready.as_bool())
                != Some(false),
            mod_revision: kv.mod_revision,
        })
    }
}

/// Reads what is wanted.
///
/// # Errors
///
/// When etcd refuses or does not answer, or is no datastore of Calico's.
pub async fn read(client: &Client, wanted: &Wanted) -> Result<Picture, StoreError> {
    let mut restarts = 0;
    loop {
        match read_once(client, wanted).await {
            // The store was compacted while it was read; a newer revision is as good.
            Err((_, fault)) if fault.is_compacted() && restarts < RESTARTS => restarts += 1,
            Err((what, fault)) => return Err(fault.into_error(&what, client.user())),
            Ok(picture) => return Ok(picture),
        }
    }
}

async fn read_once(client: &Client, wanted: &Wanted) -> Result<Picture, (String, Fault)> {
    let key = keys::cluster_information();
    let at = |fault| (format!("`{key}`"), fault);
    let first = client.range(&RangeRequest::key(&key)).await.map_err(at)?;
    let cluster = Cluster::of(first.kvs.first(), &client.location());
    let cluster = cluster.map_err(|error| at(Fault::Final(error)))?;
    let revision = first.header.map_or(0, |header| header.revision);

    let mut kinds = kinds(wanted);
    let known = cluster
        .version
        .as_deref()
        .and_then(|text| text.parse().ok());
    if known.is_none() {
        kinds.insert(Kind::Tier);
    }
    let lists = kinds.into_iter().map(|kind| async move {
        let prefix = keys::prefix(kind);
        let kvs = list(client, &prefix, revision).await;
        kvs.map(|kvs| (kind, kvs))
            .map_err(|fault| (format!("`{prefix}`"), fault))
    });
    let lists = futures::future::try_join_all(lists).await?;
    let mut warnings = Vec::new();
    let version = known.unwrap_or_else(|| guess_version(&cluster, &lists, &mut warnings));
    if version.is_unknown() {
        warnings.push(format!(
            "Calico {version} is newer than {}, the newest that this tool knows",
            Version::NEWEST
        ));
    }
    if !cluster.ready {
        warnings.push(
            "the datastore is locked (`datastoreReady` is false): writes will be refused".into(),
        );
    }
    let mut shelf = Shelf::new(version, warnings);
    for (kind, kvs) in &lists {
        kvs.iter().for_each(|kv| shelf.put(*kind, kv));
    }
    Ok(shelf.picture(Datastore {
        kind: DatastoreKind::Etcd,
        location: client.location(),
        cluster_guid: cluster.guid,
        version: Some(version),
    }))
}

/// The kinds behind what is wanted: in etcd Calico keeps its own copy of what Kubernetes has.
fn kinds(wanted: &Wanted) -> BTreeSet<Kind> {
    let mut kinds: BTreeSet<Kind> = wanted
        .kinds
        .iter()
        .filter_map(|kind| match kind {
            Kind::Node => Some(Kind::CalicoNode),
            // Labels and rules of namespaces and service accounts are in profiles.
            Kind::Namespace | Kind::ServiceAccount => Some(Kind::Profile),
            Kind::WorkloadEndpoint => None,
            kind => kind.is_calico().then_some(*kind),
        })
        .collect();
    kinds.insert(Kind::ClusterInformation);
    // etcd cannot select by labels: endpoints of workloads are read whole.
    if wanted.pods != Pods::None || wanted.further.is_some() {
        kinds.extend([Kind::WorkloadEndpoint, Kind::Profile]);
    }
    kinds
}

async fn list(client: &Client, prefix: &str, revision: i64) -> Result<Vec<KeyValue>, Fault> {
    let mut request = RangeRequest {
        key: prefix.into(),
        range_end: keys::end_of(prefix),
        limit: PAGE,
        revision,
    };
    let mut found: Vec<KeyValue> = Vec::new();
    loop {
        let page = client.range(&request).await?;
        let Some(last) = page.kvs.last() else {
            return Ok(found);
        };
        request.key.clone_from(&last.key);
        // The smallest key behind the last one.
        request.key.push(0);
        found.extend(page.kvs);
        if !page.more {
            return Ok(found);
        }
    }
}

/// The release, by the tiers that its components make, where ClusterInformation does not tell:
/// OpenStack's driver may leave the version out. Names of policies depend on it.
fn guess_version(
    cluster: &Cluster,
    lists: &[(Kind, Vec<KeyValue>)],
    warnings: &mut Vec<String>,
) -> Version {
    let has = |name: &str| {
        let key = keys::of(Kind::Tier, None, name);
        let tiers = lists.iter().filter(|(kind, _)| *kind == Kind::Tier);
        tiers
            .flat_map(|(_, kvs)| kvs)
            .any(|kv| kv.key == key.as_bytes())
    };
    let (version, why) = if has("kube-admin") {
        (Version::new(3, 32, 0), "there is a tier `kube-admin`")
    } else if has("baselineadminnetworkpolicy") {
        (
            Version::new(3, 30, 1),
            "there is a tier `baselineadminnetworkpolicy`",
        )
    } else if has("default") {
        (Version::new(3, 29, 4), "there is a tier `default`")
    } else {
        (Version::new(3, 28, 0), "there are no tiers")
    };
    let said = match &cluster.version {
        Some(text) => format!("`calicoVersion` is `{text}`"),
        None => "there is no `calicoVersion`".into(),
    };
    warnings.push(format!(
        "{said} in ClusterInformation; taken for {version}, since {why}"
    ));
    version
}

/// Objects as they come in.
struct Shelf {
    version: Version,
    warnings: Vec<String>,
    objects: BTreeMap<ObjectId, Stored>,
}

impl Shelf {
    fn new(version: Version, warnings: Vec<String>) -> Self {
        Self {
            version,
            warnings,
            objects: BTreeMap::new(),
        }
    }

    fn put(&mut self, kind: Kind, kv: &KeyValue) {
        let place = String::from_utf8_lossy(&kv.key).into_owned();
        let Some((namespace, stored)) = keys::parse(kind, &place) else {
            self.warnings
                .push(format!("`{place}` is no key of Calico's; it is left out"));
            return;
        };
        match values::view(kind, namespace, stored, &kv.value, self.version) {
            Err(why) => self.warnings.push(format!(
                "`{place}` cannot be read, and Calico passes over it without a word: {why}"
            )),
            Ok(View { object, oddities }) => {
                for oddity in oddities {
                    self.warnings.push(format!("`{place}`: {oddity}"));
                }
                let revision = kv.mod_revision.to_string();
                let incoming = Stored {
                    object,
                    revision,
                    place: place.clone(),
                };
                self.put_object(incoming, stored);
            }
        }
    }

    /// Two policies can have one name: one under the name that older releases store it by. Both
    /// are enforced, so both stay visible: the one that the release would not write keeps the name
    /// it is stored under.
    fn put_object(&mut self, incoming: Stored, stored: &str) {
        let id = incoming.object.id().clone();
        let Some(present) = self.objects.remove(&id) else {
            self.objects.insert(id, incoming);
            return;
        };
        let canonical = stored_name(id.kind, &id.name, self.version);
        let (main, mut other) = if stored == canonical {
            (incoming, present)
        } else {
            (present, incoming)
        };
        let name = other
            .place
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let shown = renamed(&other, &name).filter(|_| name != id.name);
        let shown = shown.filter(|object| !self.objects.contains_key(object.id()));
        let (first, second) = (&main.place, &other.place);
        let fate = match &shown {
            Some(_) => format!("shown here as `{name}`"),
            None => "left out here".into(),
        };
        self.warnings.push(format!(
            "{id} is stored twice, at `{first}` and `{second}`; Felix enforces both; the latter is {fate}"
        ));
        if let Some(object) = shown {
            other.object = object;
            self.objects.insert(other.object.id().clone(), other);
        }
        self.objects.insert(id, main);
    }

    fn picture(self, datastore: Datastore) -> Picture {
        let place = |(id, stored): (&ObjectId, &Stored)| (id.clone(), stored.place.clone());
        let keys = self.objects.iter().map(place).collect();
        let mut snapshot = Snapshot::new(datastore, self.objects.into_values());
        snapshot.warnings = self.warnings;
        Picture { snapshot, keys }
    }
}

fn renamed(stored: &Stored, name: &str) -> Option<crate::calico::Object> {
    let mut value = stored.object.value().clone();
    *value.pointer_mut("/metadata/name")? = name.into();
    crate::calico::Object::new(value).ok()
}

fn failed(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, message)
}
