//! Programs on `PATH`, and when two of them are one.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folders in which a shell looks for programs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchPath(Vec<PathBuf>);

impl SearchPath {
    /// Of the text of `PATH`; an empty entry is the folder in which the process runs.
    #[must_use]
    pub fn new(text: &OsStr) -> Self {
        let folders = std::env::split_paths(text).map(|folder| {
            if folder.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                folder
            }
        });
        Self(folders.collect())
    }

    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(&std::env::var_os("PATH").unwrap_or_default())
    }

    /// The folders, in order.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(PathBuf::as_path)
    }

    /// Every program of a name, in order: the first is the one that a shell runs.
    pub fn all<'a>(&'a self, name: &'a OsStr) -> impl Iterator<Item = Program> + 'a {
        let paths = self.folders().map(move |folder| folder.join(name));
        paths.filter_map(Program::at)
    }

    /// The program of a name that a shell runs.
    #[must_use]
    pub fn find(&self, name: &OsStr) -> Option<Program> {
        self.all(name).next()
    }

    /// The place of a folder, whichever way its entry is written; 0 is looked at first.
    #[must_use]
    pub fn place_of(&self, folder: &Path) -> Option<usize> {
        let wanted = FileId::at(folder)?;
        self.0
            .iter()
            .position(|entry| FileId::at(entry) == Some(wanted))
    }
}

/// A file that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it was found.
    pub path: PathBuf,
    /// Which file it is.
    pub id: FileId,
}

impl Program {
    /// The program at a path; `None` when there is none, or nobody may execute it.
    #[must_use]
    pub fn at(path: PathBuf) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        let executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        executable.then(|| Self {
            path,
            id: FileId::of(&metadata),
        })
    }

    /// The program that this process runs.
    #[must_use]
    pub fn of_process() -> Option<Self> {
        Self::at(std::env::current_exe().ok()?)
    }
}

/// Device and inode: two paths with the same are one file, by whatever links they lead there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// Of what is at a path, links followed.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().as_ref().map(Self::of)
    }

    /// As text that [`Self::parse`] reads.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{:x}:{:x}", self.device, self.inode)
    }

    /// Reads it back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (device, inode) = text.split_once(':')?;
        Some(Self {
            device: u64::from_str_radix(device, 16).ok()?,
            inode: u64::from_str_radix(inode, 16).ok()?,
        })
    }
}
