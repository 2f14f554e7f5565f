//! New contents of files, brought to disk some files at a time.
//!
//! Making a file durable takes milliseconds in which nothing else has to wait: the new contents of
//! several files go to disk side by side, and only then take the names of the old ones, in order.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::store::StoreError;

use super::folder::{Folder, Tracked};
use super::picture::{Picture, Source};
use super::save::{self, Staged};

/// So many files are brought to disk side by side.
const SIDE_BY_SIDE: usize = 16;

/// Where writes of a batch go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A file that was read, by its number.
    Known(usize),
    /// A file to be made.
    New(PathBuf),
}

/// A file's new contents.
#[derive(Debug)]
pub struct Prepared {
    /// Which file.
    pub target: Target,
    /// The bytes that were read; `None` for a file to be made.
    pub before: Option<Vec<u8>>,
    /// The bytes to be written, and what they say; `None` for a file that goes.
    pub after: Option<(Vec<u8>, Picture)>,
    /// The file.
    pub source: Source,
}

/// Writes files in order, and tells which writes have taken effect, by their numbers.
///
/// # Errors
///
/// At the first file that cannot be written. Those before it have been.
pub fn all(
    folder: &mut Folder,
    files: Vec<(Prepared, Vec<usize>)>,
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize),
) -> Result<(), StoreError> {
    let mut files = files.into_iter().peekable();
    while files.peek().is_some() && !stop.load(Ordering::Relaxed) {
        let some: Vec<_> = files.by_ref().take(SIDE_BY_SIDE).collect();
        let staged = stage(&some);
        let mut folders = BTreeSet::new();
        let mut finished = Vec::new();
        let mut result = Ok(());
        for ((prepared, numbers), staged) in some.into_iter().zip(staged) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            folders.extend(prepared.source.path.parent().map(PathBuf::from));
            result = staged.and_then(|staged| prepared.take_place(staged, folder));
            if result.is_err() {
                break;
            }
            finished.extend(numbers);
        }
        folders.iter().for_each(|folder| save::sync(folder));
        finished.into_iter().for_each(&mut *done);
        result?;
    }
    Ok(())
}

fn stage(files: &[(Prepared, Vec<usize>)]) -> Vec<Result<Staged, StoreError>> {
    if let [(only, _)] = files {
        return vec![only.stage()];
    }
    thread::scope(|scope| {
        let handles: Vec<_> = files
            .iter()
            .map(|(prepared, _)| (prepared, scope.spawn(|| prepared.stage())))
            .collect();
        handles
            .into_iter()
            .map(|(prepared, handle)| handle.join().unwrap_or_else(|_| prepared.stage()))
            .collect()
    })
}

impl Prepared {
    /// Brings the new contents to disk under another name.
    fn stage(&self) -> Result<Staged, StoreError> {
        match (&self.before, &self.after) {
            (Some(before), Some((bytes, _))) if before == bytes => Ok(Staged::same()),
            (Some(before), Some((bytes, _))) => save::replace(&self.source, before, bytes),
            (None, Some((bytes, _))) => save::create(&self.source, bytes),
            (_, None) => Ok(Staged::gone()),
        }
    }

    /// Gives the new contents their name and brings the folder's picture up to date.
    fn take_place(self, staged: Staged, folder: &mut Folder) -> Result<(), StoreError> {
        let Self {
            target,
            before,
            after,
            mut source,
        } = self;
        staged.take_place(&source, before.as_deref())?;
        let number = match target {
            Target::Known(number) => number,
            Target::New(_) => {
                if let Ok(real) = fs::canonicalize(&source.path) {
                    source.path = real;
                }
                folder.files.push(None);
                folder.files.len() - 1
            }
        };
        let Some(slot) = folder.files.get_mut(number) else {
            return Ok(());
        };
        let mut accepted = BTreeSet::new();
        if let Some(old) = slot.take() {
            for located in old.picture.documents.iter().flat_map(|d| &d.objects) {
                folder.index.remove(&located.id);
            }
            accepted = old.accepted;
        }
        let Some((_, mut picture)) = after else {
            return Ok(());
        };
        picture.source = source;
        accepted.insert(picture.revision.clone());
        for located in picture.documents.iter().flat_map(|d| &d.objects) {
            folder.index.insert(located.id.clone(), number);
        }
        *slot = Some(Tracked { picture, accepted });
        Ok(())
    }
}
