//! Folders of manifests to test on, and ways to run a store over them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking and say when they skip"
)]
#![allow(dead_code, reason = "not every test binary uses every helper")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use calicoctl_protect::calico::edit::Step;
use calicoctl_protect::calico::{FieldEdit, FieldPath, Kind, ObjectId, Snapshot};
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store, StoreError, Wanted, Write};
use serde_json::Value;
use tempfile::TempDir;

/// Runs a store's answer to its end.
pub fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// A folder with these files.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// A copy of a sample cluster, if this machine has them beside the sources.
pub fn sample(name: &str) -> Option<TempDir> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here
        .ancestors()
        .map(|a| a.join("shared/clusters").join(name))
        .find(|path| path.is_dir());
    let Some(found) = found else {
        println!("skipped: the sample cluster `{name}` is not here");
        return None;
    };
    let copy = tempfile::tempdir().unwrap();
    copy_all(&found, copy.path());
    Some(copy)
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// Every file below a folder, hidden ones too, with its bytes.
pub fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap().to_owned();
                all.push((name, fs::read(entry.path()).unwrap_or_default()));
            }
        }
    }
    all.sort();
    all
}

/// Reads a folder that can be read.
#[track_caller]
pub fn read(path: &Path) -> (Manifests, Snapshot) {
    let mut store = Manifests::open(path).unwrap();
    let snapshot = run(store.read(&Wanted::everything())).unwrap_or_else(|e| panic!("{e:#?}"));
    (store, snapshot)
}

/// Why a folder cannot be read.
#[track_caller]
pub fn unreadable(path: &Path) -> StoreError {
    match Manifests::open(path) {
        Ok(mut store) => run(store.read(&Wanted::everything())).unwrap_err(),
        Err(error) => error,
    }
}

/// Writes a batch and tells what was reported as done.
pub fn write(store: &mut Manifests, batch: &[Write]) -> Result<Vec<usize>, StoreError> {
    let mut done = Vec::new();
    run(store.write(batch, &AtomicBool::new(false), &mut |i| done.push(i))).map(|()| done)
}

/// A cluster-scoped object's identity.
pub fn id(kind: Kind, name: &str) -> ObjectId {
    ObjectId::global(kind, name)
}

/// An update of an object as it was read.
#[track_caller]
pub fn update(snapshot: &Snapshot, id: &ObjectId, edits: Vec<FieldEdit>) -> Write {
    let stored = snapshot.stored(id).unwrap_or_else(|| panic!("no {id}"));
    Write::Update {
        id: id.clone(),
        edits,
        revision: Some(stored.revision.clone()),
    }
}

/// The deletion of an object as it was read.
#[track_caller]
pub fn deletion(snapshot: &Snapshot, id: &ObjectId) -> Write {
    let stored = snapshot.stored(id).unwrap_or_else(|| panic!("no {id}"));
    Write::Delete {
        id: id.clone(),
        revision: Some(stored.revision.clone()),
    }
}

/// Sets a label.
pub fn label(snapshot: &Snapshot, id: &ObjectId, key: &str, value: &str) -> Vec<FieldEdit> {
    let before = snapshot.get(id).unwrap();
    let mut after = before.clone();
    after.set_label(key, value);
    calicoctl_protect::calico::edit::diff(before.value(), after.value())
}

/// The edits that take others back.
pub fn opposite(value: &Value, edits: &[FieldEdit]) -> Vec<FieldEdit> {
    let mut value = value.clone();
    let mut back = Vec::new();
    for edit in edits {
        back.push(one_opposite(&value, edit));
        calicoctl_protect::calico::edit::apply(&mut value, std::slice::from_ref(edit)).unwrap();
    }
    back.reverse();
    back
}

fn one_opposite(value: &Value, edit: &FieldEdit) -> FieldEdit {
    let at = |path: &FieldPath| {
        path.steps().iter().try_fold(value, |v, step| match step {
            Step::Key(key) => v.get(key),
            Step::Index(index) => v.get(index),
        })
    };
    match edit.clone() {
        FieldEdit::Set { path, .. } => match at(&path).cloned() {
            Some(value) => FieldEdit::Set { path, value },
            None => FieldEdit::Remove { path },
        },
        FieldEdit::Remove { path } => {
            let value = at(&path).unwrap().clone();
            FieldEdit::Set { path, value }
        }
        FieldEdit::Insert { path, index, .. } => FieldEdit::Delete { path, index },
        FieldEdit::Delete { path, index } => {
            let value = at(&path.item(index)).unwrap().clone();
            FieldEdit::Insert { path, index, value }
        }
    }
}
