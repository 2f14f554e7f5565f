//! Which files of a folder are read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::{StoreError, StoreErrorKind};

use super::kustomize;
use super::picture::Source;
use super::read::lower;

/// Folders may not be deeper than this.
const DEPTH: usize = 64;

/// What a folder, or one file, holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// The files to read, in order of their names.
    pub sources: Vec<Source>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Lists the YAML and JSON files below a folder, or the one file itself.
///
/// Hidden files and folders are left out, and files that a kustomization names as patches.
/// Symbolic links are followed inside the folder; no file is listed twice.
///
/// # Errors
///
/// When the path or a folder below it cannot be read.
pub fn list(root: &Path) -> Result<Listing, StoreError> {
    let real = fs::canonicalize(root).map_err(|e| unusable(root, &e))?;
    if real.is_file() {
        let source = Source {
            name: root.display().to_string(),
            path: real,
        };
        return Ok(Listing {
            sources: vec![source],
            warnings: Vec::new(),
        });
    }
    let mut walk = Walk {
        root: real.clone(),
        seen: BTreeSet::new(),
        files: BTreeMap::new(),
        links: Vec::new(),
        kustomizations: Vec::new(),
        warnings: Vec::new(),
    };
    walk.folder(&real, Path::new(""), 0)?;
    walk.follow()?;
    let patches = walk.patches()?;
    let mut sources: Vec<_> = walk
        .files
        .into_iter()
        .filter(|(path, _)| !patches.contains(path))
        .map(|(path, name)| Source { name, path })
        .collect();
    sources.sort();
    Ok(Listing {
        sources,
        warnings: walk.warnings,
    })
}

/// Checks that there is something at a path.
///
/// # Errors
///
/// When there is not.
pub fn check(root: &Path) -> Result<(), StoreError> {
    fs::metadata(root).map(drop).map_err(|e| unusable(root, &e))
}

fn unusable(root: &Path, error: &io::Error) -> StoreError {
    let shown = root.display();
    if error.kind() == io::ErrorKind::NotFound {
        return StoreError::new(
            StoreErrorKind::Usage,
            format!("no such file or folder: `{shown}`"),
        )
        .hint("give `--manifests` a folder of YAML files, or one file");
    }
    StoreError::new(
        StoreErrorKind::Failed,
        format!("cannot read `{shown}`: {}", lower(error)),
    )
    .hint("check that the folder can be read by this user")
}

struct Walk {
    root: PathBuf,
    /// Folders that were looked into.
    seen: BTreeSet<PathBuf>,
    /// Real paths of files and the names they are known by.
    files: BTreeMap<PathBuf, String>,
    /// Symbolic links, looked at when all else is known: a file is known by its own name first.
    links: Vec<(PathBuf, PathBuf)>,
    kustomizations: Vec<(PathBuf, String)>,
    warnings: Vec<String>,
}

impl Walk {
    fn folder(&mut self, real: &Path, name: &Path, depth: usize) -> Result<(), StoreError> {
        if !self.seen.insert(real.to_owned()) {
            return Ok(());
        }
        if depth > DEPTH {
            let message = format!("`{}` is more than {DEPTH} folders deep", name.display());
            return Err(StoreError::new(StoreErrorKind::Failed, message)
                .hint("point `--manifests` at the folder that holds the manifests"));
        }
        let failed = |e: &io::Error| {
            let shown = if name.as_os_str().is_empty() {
                real
            } else {
                name
            };
            unusable(shown, e)
        };
        for entry in fs::read_dir(real).map_err(|e| failed(&e))? {
            let entry = entry.map_err(|e| failed(&e))?;
            let file_name = entry.file_name();
            if file_name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (path, name) = (entry.path(), name.join(&file_name));
            let kind = entry.file_type().map_err(|e| failed(&e))?;
            if kind.is_dir() {
                self.folder(&path, &name, depth + 1)?;
            } else if kind.is_symlink() {
                self.links.push((path, name));
            } else if kind.is_file() {
                self.file(path, &name);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, name: &Path) {
        let shown = name.display().to_string();
        if kustomize::is_kustomization(name) {
            self.kustomizations.push((path.clone(), shown.clone()));
        }
        if is_manifest(name) {
            self.files.entry(path).or_insert(shown);
        }
    }

    fn follow(&mut self) -> Result<(), StoreError> {
        let mut links = std::mem::take(&mut self.links);
        links.sort();
        // Folders behind links may hold further links.
        while let Some((path, name)) = links.pop() {
            let shown = name.display();
            let Ok(target) = fs::canonicalize(&path) else {
                if is_manifest(&name) {
                    self.warnings
                        .push(format!("`{shown}` is a symbolic link that leads nowhere"));
                }
                continue;
            };
            if !target.starts_with(&self.root) {
                if target.is_dir() || is_manifest(&name) {
                    self.warnings.push(format!(
                        "`{shown}` is a symbolic link out of the folder; it was not followed"
                    ));
                }
            } else if target.is_dir() {
                self.folder(&target, &name, 0)?;
                links.append(&mut self.links);
            } else if target.is_file() {
                self.file(target, &name);
            }
        }
        Ok(())
    }

    /// The files that kustomizations name as patches. They look like objects and are none.
    fn patches(&self) -> Result<BTreeSet<PathBuf>, StoreError> {
        let mut patches = BTreeSet::new();
        for (path, name) in &self.kustomizations {
            let source = Source {
                name: name.clone(),
                path: path.clone(),
            };
            let folder = path.parent().unwrap_or(&self.root);
            for patch in kustomize::patches(&source)? {
                if let Ok(path) = fs::canonicalize(folder.join(patch)) {
                    patches.insert(path);
                }
            }
        }
        Ok(patches)
    }
}

/// Whether a file is read, by its name.
fn is_manifest(name: &Path) -> bool {
    let extension = name.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["yaml", "yml", "json"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}
