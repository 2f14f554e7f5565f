//! A batch of writes, file by file.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::calico::{Object, v1};
use crate::store::{StoreError, StoreErrorKind, Write};

use super::commit::{self, Prepared, Target};
use super::document;
use super::folder::{Folder, Tracked, settle};
use super::keepsake::Memory;
use super::picture::Source;
use super::read::{self, Found};
use super::rewrite::{Changes, rewrite};
use super::save;

/// Where new objects go.
#[derive(Debug)]
pub struct Home<'p> {
    /// The folder, or the one file.
    pub root: &'p Path,
    /// The file for all new objects.
    pub into: Option<&'p Path>,
    /// What files said before.
    pub memory: &'p Memory,
}

/// What a part of a batch leads to: files, and the numbers of the writes that are in each.
pub type Ready = Vec<(Prepared, Vec<usize>)>;

/// Carries a batch out. Every write is checked before the first file is touched. `ready` is what
/// [`begin`] has made of the batch, where it was asked.
///
/// # Errors
///
/// When a write is refused or fails; files that were reported to `done` have been written.
pub fn write(
    folder: &mut Folder,
    home: &Home<'_>,
    batch: &[Write],
    mut ready: Option<Ready>,
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize),
) -> Result<(), StoreError> {
    let mut rest = batch;
    let mut first = 0;
    while !rest.is_empty() && !stop.load(Ordering::Relaxed) {
        let count = independent(rest);
        let (now, later) = rest.split_at(count);
        let files = match ready.take() {
            Some(ready) => ready,
            None => group(folder, home, now)?,
        };
        commit::all(folder, files, stop, &mut |i| done(first + i))?;
        first += count;
        rest = later;
    }
    Ok(())
}

/// Checks that the files of all objects that writes are about are still what was read.
///
/// # Errors
///
/// When one of them has changed since.
pub fn check_unchanged(folder: &Folder, writes: &[Write]) -> Result<(), StoreError> {
    let numbers: BTreeSet<usize> = writes
        .iter()
        .filter_map(|write| folder.index.get(write.id()).copied())
        .collect();
    for number in numbers {
        if let Some(Tracked { picture, .. }) = folder.files.get(number).and_then(Option::as_ref) {
            save::unchanged(&picture.source, &picture.bytes())?;
        }
    }
    Ok(())
}

/// Prepares the beginning of a batch: all of it, unless one object is concerned more than once.
///
/// # Errors
///
/// When a write is refused.
pub fn begin(folder: &Folder, home: &Home<'_>, batch: &[Write]) -> Result<Ready, StoreError> {
    group(
        folder,
        home,
        batch.get(..independent(batch)).unwrap_or_default(),
    )
}

/// How many writes can be done at once: up to the first that concerns an object which an earlier
/// one makes or takes away.
fn independent(batch: &[Write]) -> usize {
    let mut ids = BTreeSet::new();
    let mut settled = BTreeSet::new();
    for (number, write) in batch.iter().enumerate() {
        let again = !ids.insert(write.id());
        let update = matches!(write, Write::Update { .. });
        if settled.contains(write.id()) || (again && !update) {
            return number;
        }
        if !update {
            settled.insert(write.id());
        }
    }
    batch.len()
}

fn group(folder: &Folder, home: &Home<'_>, batch: &[Write]) -> Result<Ready, StoreError> {
    let mut order: Vec<Target> = Vec::new();
    let mut targets: BTreeMap<Target, Vec<usize>> = BTreeMap::new();
    for (number, write) in batch.iter().enumerate() {
        let target = target(folder, home, write, &targets)?;
        let writes = targets.entry(target.clone()).or_default();
        if writes.is_empty() {
            order.push(target);
        }
        writes.push(number);
    }
    let mut ready = Vec::new();
    for target in order {
        let numbers = targets.remove(&target).unwrap_or_default();
        let writes = numbers.iter().filter_map(|n| batch.get(*n));
        ready.push((prepare(folder, home, target, writes)?, numbers));
    }
    Ok(ready)
}

/// The file that a write goes to; refuses a write that does not fit what was read.
fn target(
    folder: &Folder,
    home: &Home<'_>,
    write: &Write,
    taken: &BTreeMap<Target, Vec<usize>>,
) -> Result<Target, StoreError> {
    let known = folder.index.get(write.id()).copied();
    match write {
        Write::Update { id, revision, .. } | Write::Delete { id, revision } => {
            let tracked = known.and_then(|n| Some((n, folder.files.get(n)?.as_ref()?)));
            let Some((number, tracked)) = tracked else {
                return Err(save::conflict(format!(
                    "{id} is not in the manifests any more"
                )));
            };
            let accepted = revision
                .as_ref()
                .is_none_or(|r| tracked.accepted.contains(r));
            if !accepted {
                return Err(save::changed(&tracked.picture.source.name));
            }
            Ok(Target::Known(number))
        }
        Write::Create(object) => {
            if let Some(tracked) = known.and_then(|n| folder.files.get(n)?.as_ref()) {
                let name = &tracked.picture.source.name;
                return Err(save::conflict(format!(
                    "{} is there already, in `{name}`",
                    object.id()
                )));
            }
            match home.memory.home(object.id(), folder) {
                Some((_, Some(number))) => return Ok(Target::Known(number)),
                Some((name, None)) => return Ok(Target::New(home.path_of(name))),
                None => {}
            }
            if let Some(into) = home.file()? {
                return home.existing(folder, &into);
            }
            let names = document::file_names(object.id());
            let mut paths = names.map(|name| home.root.join(name));
            paths
                .find(|path| {
                    fs::symlink_metadata(path).is_err()
                        && !taken.contains_key(&Target::New(path.clone()))
                })
                .map(Target::New)
                .ok_or_else(|| {
                    StoreError::new(StoreErrorKind::Failed, "no name is left for a new file")
                })
        }
    }
}

impl Home<'_> {
    /// The one file that new objects go into, if there is one.
    fn file(&self) -> Result<Option<PathBuf>, StoreError> {
        match self.into {
            Some(into) if self.root.is_dir() => Ok(Some(self.root.join(into))),
            Some(into) => {
                let parent = self.root.parent().unwrap_or(Path::new(""));
                Ok(Some(parent.join(into)))
            }
            None if self.root.is_dir() => Ok(None),
            None => Ok(Some(self.root.to_owned())),
        }
    }

    /// Checks that the file for new objects is one that will be read again.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check(&self, folder: &Folder) -> Result<(), StoreError> {
        match self.file()? {
            Some(into) => self.existing(folder, &into).map(drop),
            None => Ok(()),
        }
    }

    fn existing(&self, folder: &Folder, into: &Path) -> Result<Target, StoreError> {
        let shown = into.display();
        let usage = |message: String, hint: &str| {
            Err(StoreError::new(StoreErrorKind::Usage, message).hint(hint))
        };
        const INSIDE: &str = "name a YAML file inside the folder of the manifests";
        if let Ok(real) = fs::canonicalize(into) {
            let number = folder.files.iter().position(|tracked| {
                tracked
                    .as_ref()
                    .is_some_and(|t| t.picture.source.path == real)
            });
            return match number {
                Some(number) => Ok(Target::Known(number)),
                None => usage(
                    format!("`{shown}` is not one of the files that are read as manifests"),
                    INSIDE,
                ),
            };
        }
        let name = into.file_name().unwrap_or_default().to_string_lossy();
        let extension = into.extension().unwrap_or_default().to_string_lossy();
        let yaml = ["yaml", "yml"]
            .iter()
            .any(|e| extension.eq_ignore_ascii_case(e));
        if !yaml || name.starts_with('.') {
            return usage(format!("`{shown}` is no name for a YAML file"), INSIDE);
        }
        let inside = |root: &Path| {
            let root = fs::canonicalize(root).ok()?;
            let folder = fs::canonicalize(into.parent()?).ok()?;
            let below = folder.strip_prefix(&root).ok()?;
            let hidden = below
                .iter()
                .any(|part| part.as_encoded_bytes().starts_with(b"."));
            (!hidden).then_some(())
        };
        if inside(self.root).is_none() {
            return usage(
                format!("the folder of `{shown}` is not there, or is outside the manifests"),
                INSIDE,
            );
        }
        Ok(Target::New(into.to_owned()))
    }

    /// The file that people know by a name.
    fn path_of(&self, name: &str) -> PathBuf {
        if self.root.is_dir() {
            self.root.join(name)
        } else {
            self.root.to_owned()
        }
    }

    /// The name of a new file that people know.
    fn shown(&self, path: &Path) -> String {
        let name = path.strip_prefix(self.root).unwrap_or(path);
        name.display().to_string()
    }
}

fn prepare<'w>(
    folder: &Folder,
    home: &Home<'_>,
    target: Target,
    writes: impl Iterator<Item = &'w Write>,
) -> Result<Prepared, StoreError> {
    let version = folder.version_or_newest();
    let mut changes = Changes::default();
    for write in writes {
        match write {
            Write::Create(object) => changes.creates.push(stored(object, folder)),
            Write::Update { id, edits, .. } => {
                changes
                    .updates
                    .entry(id)
                    .or_default()
                    .extend(edits.iter().cloned());
            }
            Write::Delete { id, .. } => changes.deletes.push(id),
        }
    }
    let (source, before, text, mark) = match &target {
        Target::Known(number) => {
            let tracked = folder.files.get(*number).and_then(Option::as_ref);
            let Some(Tracked { picture, .. }) = tracked else {
                return Err(save::conflict(
                    "a file is gone that was written before".into(),
                ));
            };
            let before = picture.bytes();
            save::unchanged(&picture.source, &before)?;
            let text = rewrite(picture, &changes, version)?;
            (picture.source.clone(), Some(before), text, picture.mark)
        }
        Target::New(path) => {
            let text: Vec<_> = changes
                .creates
                .iter()
                .map(|v| document::print(v, "\n"))
                .collect();
            let name = home.shown(path);
            let source = Source {
                name,
                path: path.clone(),
            };
            (source, None, Some(text.join("---\n")), false)
        }
    };
    let after = match text {
        Some(text) => {
            let mut bytes = if mark {
                super::picture::MARK.as_bytes().to_vec()
            } else {
                Vec::new()
            };
            bytes.extend_from_slice(text.as_bytes());
            let revision = match &target {
                Target::Known(number) => folder.files.get(*number).and_then(Option::as_ref),
                Target::New(_) => None,
            };
            let revision = revision.map(|tracked| &tracked.picture.revision);
            let said = home.memory.same(&source, revision, &bytes, version);
            let recalled = said.is_some();
            let bytes = said.unwrap_or(bytes);
            let contents = read::contents(source.clone(), bytes.clone())?;
            if before.is_none() && !recalled {
                check_new(&contents.found, &changes.creates, &source)?;
            }
            let (picture, _) = settle(contents, version)?;
            Some((bytes, picture))
        }
        None => None,
    };
    Ok(Prepared {
        target,
        before,
        after,
        source,
    })
}

/// An object as it is to be written.
fn stored(object: &Object, folder: &Folder) -> Value {
    if folder.crd_v1 && object.id().kind.is_calico() {
        v1::create(object, folder.version_or_newest())
    } else {
        object.value().clone()
    }
}

/// Checks that a new file says what was meant.
fn check_new(found: &[Found], meant: &[Value], source: &Source) -> Result<(), StoreError> {
    if found.iter().map(|f| &f.value).eq(meant) {
        return Ok(());
    }
    let message = format!(
        "cannot write `{}`: an object cannot be written as YAML",
        source.name
    );
    Err(StoreError::new(StoreErrorKind::Failed, message)
        .hint("this is a fault of the program; nothing was written to this file"))
}
