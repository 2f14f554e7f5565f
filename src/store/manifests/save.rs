//! Files replaced whole or not at all.
//!
//! New contents go into a hidden file in the same folder, which then takes the name of the old
//! one. Whoever reads the folder meanwhile, or after a crash, finds the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::store::{StoreError, StoreErrorKind};

use super::picture::Source;
use super::read::lower;

const PREFIX: &str = ".calicoctl-protect-";

/// New contents that are on disk under another name, or another end of a file.
#[derive(Debug)]
pub struct Staged(Kind);

#[derive(Debug)]
enum Kind {
    /// Nothing is to be done.
    Same,
    /// Takes the place of a file.
    Replacement(NamedTempFile),
    /// Becomes a new file.
    New(NamedTempFile),
    /// The file goes.
    Gone,
}

/// Brings what is to replace a file to disk. Mode and, where possible, owner will stay.
///
/// # Errors
///
/// A conflict when the file has changed; otherwise a failure to write.
pub fn replace(source: &Source, old: &[u8], new: &[u8]) -> Result<Staged, StoreError> {
    unchanged(source, old)?;
    let failed = |e: io::Error| cannot_write(&source.name, &e);
    let before = fs::metadata(&source.path).map_err(failed)?;
    let file = temporary(&source.path, new, Some(&before)).map_err(failed)?;
    Ok(Staged(Kind::Replacement(file)))
}

/// Brings a new file to disk.
///
/// # Errors
///
/// When it cannot be written.
pub fn create(source: &Source, new: &[u8]) -> Result<Staged, StoreError> {
    let file = temporary(&source.path, new, None).map_err(|e| cannot_write(&source.name, &e))?;
    Ok(Staged(Kind::New(file)))
}

/// Takes the hidden files of runs that were killed out of a folder. One that cannot go is in nobody's
/// way.
pub fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let hidden = entries.filter(|entry| {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        ours && entry.file_type().is_ok_and(|kind| kind.is_file())
    });
    for entry in hidden {
        let _ = fs::remove_file(entry.path());
    }
}

impl Staged {
    /// For a file that stays as it is.
    #[must_use]
    pub fn same() -> Self {
        Self(Kind::Same)
    }

    /// For a file that goes.
    #[must_use]
    pub fn gone() -> Self {
        Self(Kind::Gone)
    }

    /// Whether nobody would notice but by the contents: owner, group and mode are those of the file,
    /// this user may write to it, and it has no other name.
    #[must_use]
    pub fn stands_for(&self, source: &Source) -> bool {
        let Kind::Replacement(file) = &self.0 else {
            return false;
        };
        let writable = fs::OpenOptions::new().write(true).open(&source.path);
        let (Ok(now), Ok(before)) = (
            file.as_file().metadata(),
            writable.and_then(|f| f.metadata()),
        ) else {
            return false;
        };
        is_alike(&now, &before)
    }

    /// Takes the place of the file, if that still holds `old`.
    ///
    /// # Errors
    ///
    /// A conflict when the file has changed, or a new one has been made meanwhile; otherwise a
    /// failure to write.
    pub fn take_place(self, source: &Source, old: Option<&[u8]>) -> Result<(), StoreError> {
        let failed = |e: io::Error| cannot_write(&source.name, &e);
        if let Some(old) = old {
            unchanged(source, old)?;
        }
        match self.0 {
            Kind::Same => Ok(()),
            Kind::Replacement(file) => {
                file.persist(&source.path).map_err(|e| failed(e.error))?;
                Ok(())
            }
            Kind::New(file) => match file.persist_noclobber(&source.path) {
                Ok(_) => Ok(()),
                Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Err(conflict(format!(
                    "`{}` was made by somebody else meanwhile",
                    source.name
                ))),
                Err(e) => Err(failed(e.error)),
            },
            Kind::Gone => fs::remove_file(&source.path).map_err(failed),
        }
    }
}

/// Checks that a file holds what was read.
///
/// # Errors
///
/// A conflict when it does not, or is gone.
pub fn unchanged(source: &Source, old: &[u8]) -> Result<(), StoreError> {
    match fs::read(&source.path) {
        Ok(now) if now == old => Ok(()),
        Ok(_) => Err(changed(&source.name)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(changed(&source.name)),
        Err(e) => Err(cannot_write(&source.name, &e)),
    }
}

/// The failure that a file is not what was read.
#[must_use]
pub fn changed(name: &str) -> StoreError {
    conflict(format!("`{name}` has changed since it was read"))
}

/// A conflict with another writer.
#[must_use]
pub fn conflict(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Conflict, message)
        .hint("run the command again to plan against the new contents")
}

fn cannot_write(name: &str, error: &io::Error) -> StoreError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "check that this user may write into the folder of the file"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the file is as it was; make room and run the command again"
        }
        _ => "the file is as it was; see to the cause and run the command again",
    };
    StoreError::new(
        StoreErrorKind::Failed,
        format!("cannot write `{name}`: {}", lower(error)),
    )
    .hint(hint)
}

fn temporary(
    path: &Path,
    contents: &[u8],
    before: Option<&fs::Metadata>,
) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    if let Some(permissions) = before.map(fs::Metadata::permissions).or_else(usual) {
        builder.permissions(permissions);
    }
    // The path in an error of `tempfile` is that of the hidden file, which nobody knows.
    let plain = |e: io::Error| match e.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::from(e.kind()),
    };
    let mut file = builder.tempfile_in(folder).map_err(plain)?;
    file.write_all(contents)?;
    if let Some(before) = before {
        keep_owner(file.as_file(), before);
        // Giving a file another owner may take mode bits away, and the user's mask does.
        file.as_file().set_permissions(before.permissions())?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

/// What a new file is allowed by default; the user's mask takes from it.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
fn usual() -> Option<fs::Permissions> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(fs::Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn usual() -> Option<fs::Permissions> {
    None
}

/// Gives a file the owner and group of another, as far as this user may.
#[cfg(unix)]
fn keep_owner(file: &File, before: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let Ok(now) = file.metadata() else { return };
    if now.gid() != before.gid() {
        drop(fchown(file, None, Some(before.gid())));
    }
    if now.uid() != before.uid() {
        drop(fchown(file, Some(before.uid()), None));
    }
}

#[cfg(unix)]
fn is_alike(now: &fs::Metadata, before: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |file: &fs::Metadata| (file.uid(), file.gid(), file.mode(), file.nlink());
    of(now) == of(before)
}

#[cfg(not(unix))]
fn is_alike(now: &fs::Metadata, before: &fs::Metadata) -> bool {
    now.permissions() == before.permissions()
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &fs::Metadata) {}

/// Makes new names in a folder durable. Not every file system can; the files themselves are durable
/// already.
pub fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        drop(folder.sync_all());
    }
}
