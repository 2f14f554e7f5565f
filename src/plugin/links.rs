//! The links by which the tool is found, in a folder of the user's.
//!
//! A link is ours when it leads, by an absolute path, to this program, or to a file whose name begins
//! with this program's: what an earlier version left. A link by the program's own name can be a user's
//! as well: it is ours when another link beside it leads to the same path, since all that are made in
//! a folder do. Everything else of the same name is somebody else's, and stays as it is.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::called::{CALICOCTL, PROGRAM};
use super::search::{FileId, Program, SearchPath};

/// The name that krew gives the program. What has it is moved to another version by krew.
const KREW: &str = "kubectl-calico_protect";

/// Whose users a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Those of calicoctl.
    Calicoctl,
    /// Those of kubectl.
    Kubectl,
}

/// One link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: &'static str,
    /// What works by it.
    pub makes: &'static str,
    /// Whose users it is for; `None` for all.
    pub audience: Option<Audience>,
}

/// Every link.
pub const LINKS: [Link; 4] = [
    Link {
        name: PROGRAM,
        makes: "calicoctl-protect",
        audience: None,
    },
    Link {
        name: CALICOCTL,
        makes: "calicoctl protect",
        audience: Some(Audience::Calicoctl),
    },
    Link {
        name: "kubectl-calico-protect",
        makes: "kubectl calico protect",
        audience: Some(Audience::Kubectl),
    },
    Link {
        name: "kubectl_complete-calico-protect",
        makes: "completion of kubectl calico protect",
        audience: Some(Audience::Kubectl),
    },
];

/// What stands where a link goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Missing,
    /// A link to this program.
    Installed,
    /// A link to another place where this program was, or is in another version.
    Stale(PathBuf),
    /// This program itself, or a link to it that is not ours.
    Program,
    /// Nothing, and nothing is needed: by this name, what is found on `PATH` is this program.
    Elsewhere(PathBuf),
    /// Something that is not ours.
    Foreign,
}

/// A link that was made or taken away, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which link.
    pub link: Link,
    /// Where.
    pub path: PathBuf,
    /// What stood there before.
    pub before: State,
}

/// Why links cannot be made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A file of somebody else's is in the way.
    #[error("`{}` is not a link of calicoctl-protect's, so it stays as it is", .path.display())]
    Foreign {
        /// It.
        path: PathBuf,
        /// Whether other links can be had without the one in whose place it is.
        others: bool,
    },
    /// The folder is a file.
    #[error("`{}` is not a folder", .0.display())]
    NoFolder(PathBuf),
    /// The file system refuses.
    #[error("cannot {what} `{}`: {error}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// How it failed.
        error: io::Error,
    },
}

impl LinkError {
    fn io(what: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            error,
        }
    }
}

/// A folder for links, and the program that they lead to.
#[derive(Debug, Clone)]
pub struct LinkFolder {
    /// The folder, as an absolute path.
    pub folder: PathBuf,
    /// The program, by the path that links are given.
    pub target: Program,
    /// Where else programs are found.
    path: SearchPath,
}

impl LinkFolder {
    /// Of a folder, for this program. Where the program is on `PATH`, or is linked to in the folder by
    /// somebody else, links are given that path: it outlives the file that it leads to when a package
    /// manager replaces it.
    ///
    /// # Errors
    ///
    /// When the folder's path cannot be made absolute, it is no folder, or this program is not found
    /// any more.
    pub fn new(folder: &Path, path: SearchPath) -> Result<Self, LinkError> {
        let folder = std::path::absolute(folder).map_err(|e| LinkError::io("find", folder, e))?;
        if folder.exists() && !folder.is_dir() {
            return Err(LinkError::NoFolder(folder));
        }
        let this =
            std::env::current_exe().map_err(|e| LinkError::io("find", Path::new(PROGRAM), e))?;
        let this = Program::at(this.clone())
            .ok_or_else(|| LinkError::io("find", &this, io::ErrorKind::NotFound.into()))?;
        let lasts = |p: &Program| p.id == this.id && p.path.is_absolute() && !is_made(&p.path);
        let found = path.all(OsStr::new(PROGRAM));
        let found = found.chain(Program::at(folder.join(PROGRAM)));
        let lasting = found.chain(path.all(OsStr::new(KREW))).find(lasts);
        Ok(Self {
            folder,
            target: lasting.unwrap_or(this),
            path,
        })
    }

    /// Where a link goes.
    #[must_use]
    pub fn place(&self, link: Link) -> PathBuf {
        self.folder.join(link.name)
    }

    /// What stands there.
    #[must_use]
    pub fn state(&self, link: Link) -> State {
        let place = self.place(link);
        let Ok(metadata) = place.symlink_metadata() else {
            return self
                .elsewhere(link)
                .map_or(State::Missing, State::Elsewhere);
        };
        let is_this = FileId::at(&place) == Some(self.target.id);
        let to = metadata.is_symlink().then(|| fs::read_link(&place).ok());
        let ours = |to: &PathBuf| {
            let known = *to == self.target.path || is_of_ours(to);
            known && (link.name != PROGRAM || is_made(&place))
        };
        match (to.flatten().filter(ours), is_this) {
            (Some(_), true) => State::Installed,
            (Some(to), false) => State::Stale(to),
            (None, true) => State::Program,
            (None, false) => State::Foreign,
        }
    }

    /// By what a link's name leads here without it.
    fn elsewhere(&self, link: Link) -> Option<PathBuf> {
        let mut found = self.path.all(OsStr::new(link.name));
        let first = found.find(|p| !is_in(&p.path, &self.folder))?;
        (first.id == self.target.id).then_some(first.path)
    }

    /// The links that are missing or lead elsewhere.
    ///
    /// # Errors
    ///
    /// When something that is not ours stands where one of them goes: then none is made.
    pub fn to_install(&self, only: Option<Audience>) -> Result<Vec<Step>, LinkError> {
        let steps: Vec<Step> = chosen(only).map(|link| self.step(link)).collect();
        match steps.iter().find(|step| step.before == State::Foreign) {
            Some(step) => Err(LinkError::Foreign {
                path: step.path.clone(),
                others: only.is_none() && step.link.audience.is_some(),
            }),
            None => Ok(steps
                .into_iter()
                .filter(|step| matches!(step.before, State::Missing | State::Stale(_)))
                .collect()),
        }
    }

    /// The links of ours. That of the program's own name goes with the last of the others.
    #[must_use]
    pub fn to_remove(&self, only: Option<Audience>) -> Vec<Step> {
        let is_ours = |step: &Step| matches!(step.before, State::Installed | State::Stale(_));
        let rest = LINKS.into_iter().filter(|link| !is_chosen(link, only));
        let others_stay = rest.map(|link| self.step(link)).any(|step| is_ours(&step));
        let steps = chosen(only).map(|link| self.step(link)).filter(is_ours);
        steps
            .filter(|step| step.link.name != PROGRAM || !others_stay)
            .collect()
    }

    fn step(&self, link: Link) -> Step {
        Step {
            link,
            path: self.place(link),
            before: self.state(link),
        }
    }

    /// Makes a link, and the folder where there is none.
    ///
    /// # Errors
    ///
    /// When the file system refuses, or something else came to stand there in the meantime.
    pub fn install(&self, step: &Step) -> Result<(), LinkError> {
        fs::create_dir_all(&self.folder).map_err(|e| LinkError::io("make", &self.folder, e))?;
        let link = |place: &Path| std::os::unix::fs::symlink(&self.target.path, place);
        if step.before == State::Missing {
            return link(&step.path).map_err(|e| LinkError::io("make", &step.path, e));
        }
        // A link takes the place of another in one step, so that there is one at any time.
        let beside = tempfile::Builder::new()
            .prefix(".calicoctl-protect-")
            .make_in(&self.folder, link)
            .map_err(|e| LinkError::io("make", &step.path, e))?;
        if self.state(step.link) != step.before {
            let path = step.path.clone();
            let others = false;
            return Err(LinkError::Foreign { path, others });
        }
        let replaced = beside.into_temp_path().persist(&step.path);
        replaced.map_err(|e| LinkError::io("replace", &step.path, e.error))
    }

    /// Takes a link away.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn remove(step: &Step) -> Result<(), LinkError> {
        fs::remove_file(&step.path).map_err(|e| LinkError::io("remove", &step.path, e))
    }

    /// Whether shells look into the folder.
    #[must_use]
    pub fn is_on_path(&self) -> bool {
        self.path.place_of(&self.folder).is_some()
    }

    /// What a shell makes of the links that are there, and of those that are not needed.
    #[must_use]
    pub fn findings(&self, only: Option<Audience>) -> Vec<Finding> {
        let (mut findings, mut present) = (Vec::new(), Vec::new());
        for link in chosen(only) {
            match self.state(link) {
                State::Installed | State::Program => present.push(link),
                State::Elsewhere(by) if link.name != PROGRAM => {
                    findings.push(Finding::Works { link, by });
                }
                _ => {}
            }
        }
        if self.is_on_path() {
            findings.extend(present.into_iter().flat_map(|link| self.order(link)));
        } else if !present.is_empty() || findings.is_empty() {
            findings.push(Finding::NotOnPath(self.folder.clone()));
        }
        findings
    }

    /// What else has the name of a link, before and behind it.
    fn order(&self, link: Link) -> Option<Finding> {
        let all: Vec<Program> = self.path.all(OsStr::new(link.name)).collect();
        let own = all.iter().position(|p| is_in(&p.path, &self.folder));
        let (before, behind) = all.split_at(own.unwrap_or_default());
        let other = |p: &&Program| p.id != self.target.id;
        let name = link.name;
        if let Some(first) = before.iter().find(other) {
            let by = first.path.clone();
            return Some(Finding::Hidden { name, by });
        }
        let next = behind.iter().find(other).map(|p| p.path.clone());
        match (next, link.name == CALICOCTL) {
            (Some(hides), true) => Some(Finding::HandsOnTo(hides)),
            (Some(hides), false) => Some(Finding::Hides { name, hides }),
            (None, true) => Some(Finding::NoCalicoctl),
            (None, false) => None,
        }
    }
}

/// How links and what else is on `PATH` stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// No link is needed: what is found by its name is this program.
    Works {
        /// The link that is not there.
        link: Link,
        /// What is found.
        by: PathBuf,
    },
    /// Shells do not look into the folder.
    NotOnPath(PathBuf),
    /// A program of the same name is found first.
    Hidden {
        /// The name.
        name: &'static str,
        /// What is found.
        by: PathBuf,
    },
    /// The link is found, and a program of the same name is not any more.
    Hides {
        /// The name.
        name: &'static str,
        /// What is not found any more.
        hides: PathBuf,
    },
    /// The dispatcher is found, and hands on to this calicoctl.
    HandsOnTo(PathBuf),
    /// The dispatcher is found, and there is no calicoctl behind it.
    NoCalicoctl,
}

fn chosen(only: Option<Audience>) -> impl Iterator<Item = Link> {
    LINKS.into_iter().filter(move |link| is_chosen(link, only))
}

fn is_chosen(link: &Link, only: Option<Audience>) -> bool {
    only.is_none() || link.audience.is_none_or(|a| Some(a) == only)
}

/// Whether a link's text is one that an installation wrote.
fn is_of_ours(to: &Path) -> bool {
    let name = to.file_name().and_then(OsStr::to_str);
    to.is_absolute() && name.is_some_and(|name| name.starts_with(PROGRAM) || name == KREW)
}

/// Whether a link is one of those that are made together: another one beside it leads to the same path.
fn is_made(place: &Path) -> bool {
    let Some(to) = fs::read_link(place).ok().filter(|to| to.is_absolute()) else {
        return false;
    };
    let others = LINKS.map(|link| place.with_file_name(link.name));
    let mut others = others.iter().filter(|other| *other != place);
    others.any(|other| fs::read_link(other).ok().as_ref() == Some(&to))
}

fn is_in(path: &Path, folder: &Path) -> bool {
    let parent = path.parent().and_then(FileId::at);
    parent.is_some() && parent == FileId::at(folder)
}
