//! YAML and JSON files on disk as a datastore: a GitOps repository, or a rehearsal.
//!
//! Reading takes every object of a known kind below a folder, in whatever form it is written.
//! Writing changes the files in place: outside the lines that a change is about they stay byte for
//! byte, and a file is replaced whole or not at all.

mod batch;
mod commit;
mod document;
mod documents;
mod edit;
mod files;
mod folder;
mod kustomize;
mod labels;
mod picture;
mod place;
mod read;
mod rewrite;
mod save;
mod strings;
mod value;

use std::path::{Path, PathBuf};

use crate::calico::{Snapshot, Version};

use self::batch::Home;
use self::folder::Folder;
use super::{Store, StoreError, Wanted, Write};

/// A folder of manifests, or one file.
#[derive(Debug)]
pub struct Manifests {
    root: PathBuf,
    into: Option<PathBuf>,
    assumed: Option<Version>,
    folder: Option<Folder>,
}

impl Manifests {
    /// Opens a folder or a file. New objects get a file each in the folder, or are put behind
    /// those in the one file.
    ///
    /// # Errors
    ///
    /// When there is no such folder or file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        files::check(path)?;
        Ok(Self {
            root: path.to_owned(),
            into: None,
            assumed: None,
            folder: None,
        })
    }

    /// The same manifests, with all new objects put into one file. A relative path is taken from
    /// the folder. The file is made when it is not there.
    #[must_use]
    pub fn into_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.into = Some(file.into());
        self
    }

    /// The same manifests, for a version of Calico where they do not tell it themselves.
    #[must_use]
    pub fn assuming(mut self, version: Option<Version>) -> Self {
        self.assumed = version;
        self
    }

    fn load(&mut self) -> Result<Snapshot, StoreError> {
        let (mut folder, snapshot) = folder::read(&self.root, self.assumed)?;
        let home = Home {
            root: &self.root,
            into: self.into.as_deref(),
        };
        home.check(&folder)?;
        if let Some(before) = self.folder.take() {
            folder.remember(before);
        }
        self.folder = Some(folder);
        Ok(snapshot)
    }
}

impl Store for Manifests {
    async fn read(&mut self, _wanted: &Wanted) -> Result<Snapshot, StoreError> {
        self.load()
    }

    async fn write(
        &mut self,
        batch: &[Write],
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        if self.folder.is_none() {
            self.load()?;
        }
        let Some(folder) = &mut self.folder else {
            return Ok(());
        };
        let home = Home {
            root: &self.root,
            into: self.into.as_deref(),
        };
        batch::write(folder, &home, batch, done)
    }
}
