//! YAML and JSON files on disk as a datastore: a GitOps repository, or a rehearsal.
//!
//! Reading takes every object of a known kind below a folder, in whatever form it is written.
//! Writing changes the files in place: outside the lines that a change is about they stay byte for
//! byte, and a file is replaced whole or not at all.

mod amend;
mod batch;
mod commit;
mod document;
mod documents;
mod edit;
mod files;
mod folder;
mod keepsake;
mod kustomize;
mod labels;
mod picture;
mod place;
mod read;
mod rewrite;
mod save;
mod strings;
mod value;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::calico::{Snapshot, Version};

pub(super) use self::amend::amend;
use self::batch::{Home, Ready};
use self::folder::Folder;
use self::keepsake::Memory;
use super::{Keepsake, Store, StoreError, Wanted, Write};

/// A folder of manifests, or one file.
#[derive(Debug)]
pub struct Manifests {
    root: PathBuf,
    into: Option<PathBuf>,
    assumed: Option<Version>,
    folder: Option<Folder>,
    /// What a batch leads to that is to be written next.
    ready: Option<(Vec<Write>, Ready)>,
    memory: Memory,
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
            ready: None,
            memory: Memory::default(),
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
        home(&self.root, self.into.as_deref(), &self.memory).check(&folder)?;
        if let Some(before) = self.folder.take() {
            folder.remember(before);
        }
        self.folder = Some(folder);
        self.ready = None;
        Ok(snapshot)
    }

    fn loaded(&mut self) -> Result<(), StoreError> {
        match self.folder {
            Some(_) => Ok(()),
            None => self.load().map(drop),
        }
    }
}

fn home<'p>(root: &'p Path, into: Option<&'p Path>, memory: &'p Memory) -> Home<'p> {
    Home { root, into, memory }
}

impl Store for Manifests {
    async fn read(&mut self, _wanted: &Wanted) -> Result<Snapshot, StoreError> {
        self.load()
    }

    async fn preflight(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.loaded()?;
        match &self.folder {
            Some(folder) => batch::check_unchanged(folder, writes),
            None => Ok(()),
        }
    }

    async fn keepsakes(&mut self, batch: &[Write]) -> Result<Vec<Keepsake>, StoreError> {
        self.loaded()?;
        let Some(folder) = &self.folder else {
            return Ok(Vec::new());
        };
        let home = home(&self.root, self.into.as_deref(), &self.memory);
        let ready = batch::begin(folder, &home, batch)?;
        let kept = ready
            .iter()
            .filter_map(|(prepared, _)| keepsake::of(prepared));
        let kept = kept.collect();
        self.ready = Some((batch.to_vec(), ready));
        Ok(kept)
    }

    fn tidy(&mut self) {
        let files = self.folder.iter().flat_map(|folder| &folder.files);
        let paths = files
            .flatten()
            .map(|file| file.picture.source.path.as_path());
        let mut folders: BTreeSet<&Path> = paths.filter_map(Path::parent).collect();
        folders.insert(&self.root);
        folders.into_iter().for_each(save::sweep);
    }

    fn recall(&mut self, keepsakes: &[Keepsake]) {
        if let Some(folder) = &self.folder {
            self.memory = Memory::of(keepsakes, folder);
        }
    }

    async fn write(
        &mut self,
        batch: &[Write],
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        self.loaded()?;
        let ready = self.ready.take().filter(|(same, _)| same == batch);
        let Some(folder) = &mut self.folder else {
            return Ok(());
        };
        let home = home(&self.root, self.into.as_deref(), &self.memory);
        let ready = ready.map(|(_, ready)| ready);
        batch::write(folder, &home, batch, ready, stop, done)
    }
}
