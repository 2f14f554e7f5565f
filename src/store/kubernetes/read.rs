//! Reading: one list for each kind, in pages, as of one moment.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::access;
use super::cluster::{Cluster, Identity};
use super::pods;
use super::resource::{Resource, escaped, is_essential};
use super::transport::{Answer, Transport};
use super::trouble::{self, failed};
use crate::calico::names::stored_name;
use crate::calico::owner::may_return;
use crate::calico::{DatastoreKind, Kind, Object, ObjectId, Snapshot, Stored, Version, v1};
use crate::selector::Selector;
use crate::store::{Part, Pods, StoreError, Wanted};

/// Lists that are read at the same time.
const AT_ONCE: usize = 8;

/// Why a list could not be read.
pub(super) enum Unread {
    /// The moment it is to be of has been forgotten by the server: begin anew.
    Expired,
    /// For good.
    Failed(StoreError),
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Where an object is, and its version: what writing it needs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its URL.
    pub path: String,
    /// The UID on the server.
    pub uid: String,
    /// The version that was read; empty when it was made by this run.
    pub read: String,
    /// The version after this run's own writes.
    pub latest: String,
    /// The object as it is stored.
    pub base: Base,
}

/// The stored form of an object.
#[derive(Debug, Clone)]
pub(super) enum Base {
    /// It was not kept, which saves memory for kinds whose labels alone are changed.
    Unkept,
    /// As it was read.
    Value(Box<Value>),
    /// As the server answered to a write; most are never looked at again.
    Text(Box<[u8]>),
}

impl Base {
    /// The value, if it was kept.
    pub fn value(&self) -> Option<Cow<'_, Value>> {
        match self {
            Self::Unkept => None,
            Self::Value(value) => Some(Cow::Borrowed(&**value)),
            Self::Text(text) => serde_json::from_slice(text).ok().map(Cow::Owned),
        }
    }
}

/// All that was read.
pub(super) struct Reading {
    pub identity: Identity,
    pub snapshot: Snapshot,
    pub places: HashMap<ObjectId, Place>,
    pub warnings: Vec<String>,
    /// The version of the store that each list is of.
    pub revisions: BTreeMap<Kind, String>,
    /// Not yet in the snapshot.
    fresh: Vec<Stored>,
}

/// One list to read.
struct Job {
    resource: Resource,
    kind: Kind,
    namespace: Option<String>,
    label_selector: String,
    /// What is meant of the list.
    meant: Option<Selector>,
}

struct Listed {
    kind: Kind,
    resource: Resource,
    meant: Option<Selector>,
    items: Vec<Value>,
    revision: String,
    warning: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    r#continue: String,
}

/// A way to read one cluster.
pub(super) struct Reader<'r> {
    pub transport: &'r Transport,
    pub cluster: &'r Cluster,
    /// Objects in a page; none for whole lists, which never expire.
    pub page: Option<usize>,
}

impl Reader<'_> {
    /// Reads what is wanted.
    pub async fn read(&self, wanted: &Wanted) -> Result<Reading, Unread> {
        let first = self.identity().await?;
        let identity = Identity::of(first.items.first());
        let version = identity.version();
        let datastore = identity.datastore(self.cluster.shape, self.transport.server());
        let mut reading = Reading {
            warnings: identity.warnings.clone(),
            identity,
            snapshot: Snapshot::new(datastore, []),
            places: HashMap::new(),
            revisions: BTreeMap::new(),
            fresh: Vec::new(),
        };
        let at = first.revision.clone();
        self.take(first, version, &mut reading)?;
        let mut asked: BTreeSet<Part> = BTreeSet::new();
        let mut next = parts(wanted);
        while !next.is_empty() {
            let jobs = next.iter().flat_map(|part| self.jobs(part));
            let mut lists = stream::iter(jobs.collect::<Vec<_>>())
                .map(|job| self.list(job, &at))
                .buffer_unordered(AT_ONCE);
            while let Some(listed) = lists.next().await {
                self.take(listed?, version, &mut reading)?;
            }
            let fresh = std::mem::take(&mut reading.fresh);
            reading.snapshot.extend(fresh);
            asked.append(&mut next);
            if let Some(further) = &wanted.further {
                let whole = |part: &Part| asked.contains(&Part::whole(part.kind));
                next = further.parts(&reading.snapshot);
                next.retain(|part| !asked.contains(part) && !whole(part));
            }
        }
        let fresh = std::mem::take(&mut reading.fresh);
        reading.snapshot.extend(fresh);
        if self.cluster.shape == DatastoreKind::AggregatedV3 && version.has_tiers() {
            let read = asked.iter().map(|part| part.kind).collect();
            access::all_tiers_in_sight(self.transport, &reading.snapshot, &read).await?;
        }
        Ok(reading)
    }

    /// The lists that together hold a part, and what is meant of each.
    fn jobs(&self, part: &Part) -> Vec<Job> {
        let kind = part.kind;
        let resource = self
            .cluster
            .resource(kind)
            .filter(|_| self.cluster.serves(kind));
        let Some(resource) = resource else {
            return Vec::new();
        };
        let labels = match &part.selector {
            Some(selector) => pods::label_selectors(selector),
            None => vec![String::new()],
        };
        let job = |label_selector| Job {
            resource: resource.clone(),
            kind,
            namespace: part.namespace.clone(),
            label_selector,
            meant: part.selector.clone(),
        };
        labels.into_iter().map(job).collect()
    }

    /// ClusterInformation, whose list also tells the present moment.
    async fn identity(&self) -> Result<Listed, Unread> {
        let kind = Kind::ClusterInformation;
        let Some(resource) = self.cluster.resource(kind) else {
            return Err(failed("ClusterInformation has no resource").into());
        };
        let job = Job {
            resource,
            kind,
            namespace: None,
            label_selector: String::new(),
            meant: None,
        };
        self.list(job, "").await
    }

    /// Reads a list as of the version `at` of the store (empty for now).
    async fn list(&self, job: Job, at: &str) -> Result<Listed, Unread> {
        let collection = job.resource.collection(job.namespace.as_deref());
        let mut query = Vec::new();
        if !job.label_selector.is_empty() {
            query.push(format!("labelSelector={}", escaped(&job.label_selector)));
        }
        if let Some(page) = self.page {
            query.push(format!("limit={page}"));
        }
        let mut listed = Listed {
            kind: job.kind,
            resource: job.resource,
            meant: job.meant,
            items: Vec::new(),
            revision: String::new(),
            warning: None,
        };
        // Calico's own API server counts versions as its backend does, which may not be the one
        // that all other kinds are counted in.
        let own_count =
            listed.kind.is_calico() && self.cluster.shape == DatastoreKind::AggregatedV3;
        let exact = !at.is_empty() && !own_count;
        let mut place = if exact {
            format!("resourceVersion={}&resourceVersionMatch=Exact", escaped(at))
        } else {
            String::new()
        };
        loop {
            let all: Vec<&str> = query
                .iter()
                .map(String::as_str)
                .chain([place.as_str()])
                .collect();
            let all: Vec<&str> = all.into_iter().filter(|part| !part.is_empty()).collect();
            let path = match all.as_slice() {
                [] => collection.clone(),
                parts => format!("{collection}?{}", parts.join("&")),
            };
            let answer = self.transport.get(path).await?;
            let Some(page) = self.page_of(&mut listed, &answer)? else {
                return Ok(listed);
            };
            for item in page.items.into_iter().flatten() {
                listed
                    .items
                    .extend(completed(item, &listed.resource, listed.kind));
            }
            listed.revision = page.metadata.resource_version;
            if page.metadata.r#continue.is_empty() {
                return Ok(listed);
            }
            place = format!("continue={}", escaped(&page.metadata.r#continue));
        }
    }

    /// A page, or nothing where there is no such list.
    fn page_of(&self, listed: &mut Listed, answer: &Answer) -> Result<Option<Page>, Unread> {
        let resource = &listed.resource;
        let server = self.transport.server();
        match answer.status {
            _ if trouble::is_web_page(answer) => {
                Err(trouble::of_answer(server, answer, "list", resource).into())
            }
            200 => {
                let page = serde_json::from_slice(&answer.body).map_err(|error| {
                    failed(format!(
                        "`{server}` sent a list of {resource} that does not parse: {error}"
                    ))
                    .hint("does a proxy on the way change answers? `kubectl get --raw` shows what comes")
                })?;
                Ok(Some(page))
            }
            410 => Err(Unread::Expired),
            // A kind that this release of Calico or Kubernetes does not have.
            404 => Ok(None),
            403 if !is_essential(listed.kind) => {
                let error = trouble::forbidden("list", resource, None);
                listed.warning = Some(format!(
                    "{resource} were left out: {} ({})",
                    error.message,
                    error.hint.unwrap_or_default()
                ));
                Ok(None)
            }
            _ => Err(trouble::of_answer(server, answer, "list", resource).into()),
        }
    }

    /// Turns stored objects into the tool's own.
    fn take(&self, listed: Listed, version: Version, into: &mut Reading) -> Result<(), StoreError> {
        // A kind that is read in parts is left out in parts, and said to be once.
        let said = |w: &String| into.warnings.contains(w);
        let warning = listed.warning.filter(|w| !said(w));
        into.warnings.extend(warning);
        into.revisions.insert(listed.kind, listed.revision);
        for value in listed.items {
            let (object, place) = taken(value, &listed.resource, self.cluster.shape, version)?;
            let meant = listed.meant.as_ref();
            if meant.is_some_and(|selector| !pods::may_match(selector, &object)) {
                continue;
            }
            let object = match into.places.get(object.id()) {
                Some(other) if other.path != place.path => {
                    match apart(object, other, &place, version, &mut into.warnings) {
                        Ok(object) => object,
                        Err(object) => {
                            // The other one goes under its stored name instead.
                            move_away(object.id(), into);
                            *object
                        }
                    }
                }
                _ => object,
            };
            let id = object.id().clone();
            into.fresh.push(Stored {
                revision: place.read.clone(),
                place: place.path.clone(),
                object,
            });
            into.places.insert(id, place);
        }
        Ok(())
    }
}

/// What is wanted, apart from what only the reading tells. ClusterInformation comes first anyway.
fn parts(wanted: &Wanted) -> BTreeSet<Part> {
    let kinds = wanted.kinds.iter().copied();
    let kinds = kinds.filter(|kind| !matches!(kind, Kind::Pod | Kind::ClusterInformation));
    let mut parts: BTreeSet<Part> = kinds.map(Part::whole).collect();
    match &wanted.pods {
        Pods::None => {}
        Pods::All => drop(parts.insert(Part::whole(Kind::Pod))),
        Pods::Matching(choices) => {
            parts.extend(choices.iter().map(|(namespace, selector)| Part {
                namespace: namespace.clone(),
                ..Part::pods(selector.clone())
            }));
        }
    }
    parts
}

/// An item with what lists leave out, and without what nobody here reads.
fn completed(item: Value, resource: &Resource, kind: Kind) -> Option<Value> {
    let Value::Object(item) = item else {
        return None;
    };
    let mut object = Map::new();
    let api_version = match resource.group {
        "" => resource.version.to_owned(),
        group => format!("{group}/{}", resource.version),
    };
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.name().into());
    object.extend(item);
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        // Who set what matters where somebody may set it back.
        let managers = metadata.get_mut("managedFields").map(Value::take);
        let managers = managers.filter(|_| kind != Kind::Pod);
        let managers = managers.and_then(|m| serde_json::from_value::<Vec<Value>>(m).ok());
        let kept: Vec<Value> = managers.into_iter().flatten().filter(may_return).collect();
        if kept.is_empty() {
            metadata.shift_remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), Value::Array(kept));
        }
    }
    match kind {
        Kind::Pod => pods::shrink(&mut object),
        Kind::Node => {
            if let Some(Value::Object(status)) = object.get_mut("status") {
                status.shift_remove("images");
            }
        }
        _ => {}
    }
    Some(Value::Object(object))
}

/// An object of the tool's, and where it is, from its stored form.
pub(super) fn taken(
    value: Value,
    resource: &Resource,
    shape: DatastoreKind,
    version: Version,
) -> Result<(Object, Place), StoreError> {
    let text = |pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let namespace = Some(text("/metadata/namespace")).filter(|ns| !ns.is_empty());
    let name = text("/metadata/name");
    let path = resource.object(namespace, name);
    let mut place = Place {
        uid: text("/metadata/uid").to_owned(),
        read: text("/metadata/resourceVersion").to_owned(),
        latest: text("/metadata/resourceVersion").to_owned(),
        base: Base::Unkept,
        path,
    };
    let is_calico = resource.kind.is_some_and(Kind::is_calico);
    let object = if is_calico && shape == DatastoreKind::CrdV1 {
        let mut view = v1::to_v3(&value, version).map_err(|error| {
            failed(error.to_string()).hint(format!(
                "no Calico component can read it either: repair it with `kubectl edit {}.{} {name}`",
                resource.plural, resource.group
            ))
        })?;
        let managers = value.pointer("/metadata/managedFields").cloned();
        if let (Some(managers), Some(Value::Object(metadata))) =
            (managers, view.get_mut("metadata"))
        {
            metadata.insert("managedFields".into(), managers);
        }
        place.base = Base::Value(Box::new(value));
        Object::new(view)
    } else {
        if is_calico {
            place.base = Base::Value(Box::new(value.clone()));
        }
        Object::new(value)
    };
    let object = object.map_err(|error| failed(format!("an object of {resource}: {error}")))?;
    Ok((object, place))
}

/// Two stored policies of one name: both are live. The one that Calico's release looks for keeps
/// the name; the other is shown under the name it is stored by. `Err` gives the object back when
/// it is this one that keeps the name.
fn apart(
    object: Object,
    other: &Place,
    place: &Place,
    version: Version,
    warnings: &mut Vec<String>,
) -> Result<Object, Box<Object>> {
    let id = object.id().clone();
    warnings.push(format!(
        "{id} is stored twice, as `{}` and as `{}`: both may be in force; delete the one that is not wanted with `kubectl delete`",
        other.path, place.path
    ));
    let keeps = place.path.rsplit('/').next() == Some(&stored_name(id.kind, &id.name, version));
    if keeps {
        return Err(Box::new(object));
    }
    Ok(renamed(object, &place.path))
}

/// The same object under the last part of its URL.
fn renamed(object: Object, path: &str) -> Object {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut value = object.value().clone();
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.insert("name".into(), name.into());
    }
    Object::new(value).unwrap_or(object)
}

fn move_away(id: &ObjectId, reading: &mut Reading) {
    let Some(place) = reading.places.remove(id) else {
        return;
    };
    if let Some(stored) = reading.fresh.iter_mut().find(|s| s.object.id() == id) {
        stored.object = renamed(stored.object.clone(), &place.path);
        reading.places.insert(stored.object.id().clone(), place);
    }
}
