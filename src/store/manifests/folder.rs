//! A folder as it was read: its files, and in which of them each object is.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use crate::calico::kind::V3;
use crate::calico::{
    Datastore, DatastoreKind, Kind, Object, ObjectId, Snapshot, Stored, Version, v1,
};
use crate::store::{StoreError, StoreErrorKind};

use super::files;
use super::picture::{Form, Located, Picture, Source};
use super::place::failed_at;
use super::read::{self, Contents, Found};

/// So many label warnings are told one by one.
const WARNINGS: usize = 20;

/// A file, and the revisions under which it may be written.
#[derive(Debug)]
pub struct Tracked {
    /// The file as this store last read or wrote it.
    pub picture: Picture,
    /// The revision that was read, and those that this store made of it since. Whoever planned
    /// with one of them knows of every change.
    pub accepted: BTreeSet<String>,
}

/// What is known of a folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// The files. Those that this store removed are `None`.
    pub files: Vec<Option<Tracked>>,
    /// In which file an object is.
    pub index: HashMap<ObjectId, usize>,
    /// The version of Calico, if the folder tells it.
    pub version: Option<Version>,
    /// Whether new objects are written in the form of `crd.projectcalico.org/v1`.
    pub crd_v1: bool,
}

impl Folder {
    /// The version by which v1 forms are read and written.
    #[must_use]
    pub fn version_or_newest(&self) -> Version {
        self.version.unwrap_or(Version::NEWEST)
    }

    /// Takes over what an earlier reading knew of files that are still as this store left them:
    /// the revisions from before its own writes.
    pub fn remember(&mut self, before: Self) {
        let mut known: HashMap<_, _> = before
            .files
            .into_iter()
            .flatten()
            .map(|t| ((t.picture.source.path, t.picture.revision), t.accepted))
            .collect();
        for tracked in self.files.iter_mut().flatten() {
            let picture = &tracked.picture;
            let key = (picture.source.path.clone(), picture.revision.clone());
            if let Some(accepted) = known.remove(&key) {
                tracked.accepted.extend(accepted);
            }
        }
    }
}

/// Reads a folder, or one file. `assumed` is the version where the manifests do not tell it.
///
/// # Errors
///
/// When any file cannot be read or an object is there twice.
pub fn read(root: &Path, assumed: Option<Version>) -> Result<(Folder, Snapshot), StoreError> {
    let listing = files::list(root)?;
    let contents = read_all(&listing.sources)?;
    let information = information(&contents);
    let field = |name: &str| {
        let value = information?.value.pointer(&format!("/spec/{name}"))?;
        value.as_str().filter(|s| !s.is_empty())
    };
    let datastore = Datastore {
        kind: DatastoreKind::Manifests,
        location: root.display().to_string(),
        cluster_guid: field("clusterGUID").map(str::to_owned),
        version: field("calicoVersion")
            .and_then(|v| v.parse().ok())
            .or(assumed),
    };
    let mut folder = Folder {
        version: datastore.version,
        crd_v1: mostly_v1(&contents),
        ..Folder::default()
    };
    let mut warnings = listing.warnings;
    let mut labels = Vec::new();
    let mut all = Vec::new();
    for mut contents in contents {
        labels.append(&mut contents.warnings);
        let (picture, objects) = settle(contents, folder.version_or_newest())?;
        for (object, line) in objects {
            let place = format!("{}:{line}", picture.source.name);
            if let Some(file) = folder.index.insert(object.id().clone(), folder.files.len()) {
                let id = object.id();
                return Err(duplicate(
                    id,
                    &first_place(&folder, &picture, file, id, line),
                    &place,
                ));
            }
            all.push(Stored {
                object,
                revision: picture.revision.clone(),
                place,
            });
        }
        folder.files.push(Some(Tracked {
            accepted: BTreeSet::from([picture.revision.clone()]),
            picture,
        }));
    }
    let more = labels.len().saturating_sub(WARNINGS);
    labels.truncate(WARNINGS);
    warnings.append(&mut labels);
    if more > 0 {
        warnings.push(format!("{more} more unquoted values were read as strings"));
    }
    let mut snapshot = Snapshot::new(datastore, all);
    snapshot.warnings = warnings;
    Ok((folder, snapshot))
}

/// Where the first of two equal objects is: in a file read before, or in this one.
fn first_place(
    folder: &Folder,
    picture: &Picture,
    file: usize,
    id: &ObjectId,
    below: usize,
) -> String {
    let earlier = folder.files.get(file).and_then(Option::as_ref);
    let picture = earlier.map_or(picture, |tracked| &tracked.picture);
    let line = picture
        .documents
        .iter()
        .flat_map(|d| &d.objects)
        .find(|located| located.id == *id)
        .map_or(below, |located| located.line);
    format!("{}:{line}", picture.source.name)
}

/// Reads files on all processors. Of several that cannot be read the first by name is told.
fn read_all(sources: &[Source]) -> Result<Vec<Contents>, StoreError> {
    let read: Vec<_> = sources.par_iter().map(read::file).collect();
    read.into_iter().collect()
}

/// The cluster's own description, in whichever form it is written.
fn information(contents: &[Contents]) -> Option<&Found> {
    let text = |found: &Found, pointer: &str, text: &str| {
        found.value.pointer(pointer).and_then(Value::as_str) == Some(text)
    };
    contents.iter().flat_map(|c| &c.found).find(|found| {
        text(found, "/kind", Kind::ClusterInformation.name())
            && text(found, "/metadata/name", "default")
    })
}

/// Whether the kinds that this tool writes are there in v1 form and in no other.
fn mostly_v1(contents: &[Contents]) -> bool {
    let written = [
        Kind::GlobalNetworkPolicy,
        Kind::HostEndpoint,
        Kind::FelixConfiguration,
    ];
    let mut forms = contents
        .iter()
        .flat_map(|c| &c.found)
        .filter(|found| {
            let text = |key| found.value.get(key).and_then(Value::as_str);
            let calico = found.form == Form::CrdV1 || text("apiVersion") == Some(V3);
            calico && written.iter().any(|k| text("kind") == Some(k.name()))
        })
        .map(|found| found.form)
        .peekable();
    forms.peek().is_some() && forms.all(|form| form == Form::CrdV1)
}

/// Makes objects of what was found in a file, and notes in the picture where they are.
///
/// # Errors
///
/// When a v1 form cannot be converted.
pub fn settle(
    contents: Contents,
    version: Version,
) -> Result<(Picture, Vec<(Object, usize)>), StoreError> {
    let mut picture = contents.picture;
    let mut objects = Vec::with_capacity(contents.found.len());
    for found in contents.found {
        let name = &picture.source.name;
        let value = match found.form {
            Form::Plain => found.value,
            Form::CrdV1 => v1::to_v3(&found.value, version).map_err(|e| {
                let at = found.cut.as_ref().map_or(0, |cut| cut.start);
                failed_at(
                    format!("cannot read `{name}`: {e}"),
                    name,
                    &picture.text,
                    at,
                )
                .hint("Calico fails on this object, too: correct it or leave it out")
            })?,
        };
        let object = object_at(value, name, found.line)?;
        if let Some(document) = picture.documents.get_mut(found.document) {
            document.objects.push(Located {
                id: object.id().clone(),
                form: found.form,
                line: found.line,
                item: found.item,
                cut: found.cut,
            });
        }
        objects.push((object, found.line));
    }
    Ok((picture, objects))
}

/// The object in a value, or the failure with its place.
///
/// # Errors
///
/// When the value is no object of a known kind.
fn object_at(value: Value, name: &str, line: usize) -> Result<Object, StoreError> {
    Object::new(value).map_err(|e| {
        StoreError::new(
            StoreErrorKind::Failed,
            format!("cannot read the object at `{name}:{line}`: {e}"),
        )
        .hint(read::LEAVE_OUT)
    })
}

/// Both places of an object that is there twice.
fn duplicate(id: &ObjectId, first: &str, second: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Failed,
        format!("{id} is there twice: `{first}` and `{second}`"),
    )
    .hint("remove one of the two, or point `--manifests` at a folder that holds only one of them")
}
