//! Where the journals of a cluster are kept, and who may write to the cluster now.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::id::RunId;
use crate::calico::{Datastore, DatastoreKind};
use crate::store::{StoreError, StoreErrorKind};

/// How files of journals end.
const ENDING: &str = "jsonl";

/// Longer than it takes to look into a file.
const INSTANT: Duration = Duration::from_millis(10);

/// The folder of one cluster's journals.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// Who does something, for people who find its traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// The user's name.
    pub user: String,
    /// The machine.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// The command, word by word.
    pub command: Vec<String>,
}

impl Actor {
    /// This process, which was called with a command.
    #[must_use]
    pub fn this(command: &[String]) -> Self {
        let name = |key: &str| std::env::var(key).ok().filter(|name| !name.is_empty());
        let user = name("USER").or_else(|| name("LOGNAME"));
        Self {
            user: user.or_else(number).unwrap_or_else(|| "unknown".to_owned()),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            pid: std::process::id(),
            command: command.iter().map(|word| without_password(word)).collect(),
        }
    }

    /// `alice@laptop`.
    #[must_use]
    pub fn who(&self) -> String {
        format!("{}@{}", self.user, self.host)
    }
}

/// The number of this process's user, where the system tells it.
#[cfg(unix)]
fn number() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let process = fs::metadata("/proc/self").ok()?;
    Some(format!("uid-{}", process.uid()))
}

#[cfg(not(unix))]
fn number() -> Option<String> {
    None
}

/// A word of a command line without the password of a URL in it.
fn without_password(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => word.to_owned(),
    }
}

/// The folder of all journals: what the user names, or the XDG state folder.
///
/// # Errors
///
/// When there is no home folder.
pub fn root(chosen: Option<&Path>) -> Result<PathBuf, StoreError> {
    if let Some(chosen) = chosen {
        return Ok(chosen.to_owned());
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    // By the XDG specification a relative path counts as none.
    let state = state.filter(|path| path.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    let state = state.or_else(|| Some(home()?.join(".local/state")));
    state
        .map(|state| state.join("calicoctl-protect"))
        .ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Failed,
                "there is no home folder to keep the journal in",
            )
            .hint("name a folder: `--journal DIR`, or set XDG_STATE_HOME")
        })
}

/// The name under which a cluster's journals are kept: by its own identity where it has one, so
/// that it is the same from every machine and by every name of its server.
#[must_use]
pub fn key(datastore: &Datastore) -> String {
    if datastore.kind == DatastoreKind::Manifests {
        let path = Path::new(&datastore.location);
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        return format!(
            "manifests-{}-{}",
            plain(&name),
            short(real.as_os_str().as_encoded_bytes())
        );
    }
    match &datastore.cluster_guid {
        Some(guid) => format!("cluster-{}", plain(guid)),
        None => format!(
            "server-{}-{}",
            plain(&datastore.location),
            short(datastore.location.as_bytes())
        ),
    }
}

/// What of a text can be a part of a file's name everywhere.
fn plain(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let text: String = text.chars().map(kept).take(48).collect();
    text.trim_matches('-').to_owned()
}

fn short(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Folder {
    /// The folder of a cluster, below that of all. It need not be there.
    #[must_use]
    pub fn of(root: &Path, datastore: &Datastore) -> Self {
        Self {
            path: root.join(key(datastore)),
        }
    }

    /// The folders of all clusters.
    ///
    /// # Errors
    ///
    /// When there may be some, and they cannot be listed.
    pub fn all(root: &Path) -> Result<Vec<Self>, StoreError> {
        let mut paths = inside(root)?;
        paths.retain(|path| path.is_dir());
        paths.sort();
        Ok(paths.into_iter().map(|path| Self { path }).collect())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a run's journal.
    #[must_use]
    pub fn file(&self, id: RunId) -> PathBuf {
        self.path.join(format!("{id}.{ENDING}"))
    }

    /// The file that tells whether a run is kept.
    #[must_use]
    pub fn verdict(&self, id: RunId) -> PathBuf {
        self.path.join(format!("{id}.verdict"))
    }

    /// Every run that has a journal, oldest first.
    ///
    /// # Errors
    ///
    /// When there may be some, and they cannot be listed.
    pub fn runs(&self) -> Result<Vec<RunId>, StoreError> {
        let id = |path: &PathBuf| {
            let journal = path.extension().is_some_and(|e| e == ENDING);
            let id = path.file_stem()?.to_str()?.parse().ok();
            id.filter(|_| journal)
        };
        let mut ids: Vec<RunId> = inside(&self.path)?.iter().filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Whether another cluster has a run of this id.
    ///
    /// # Errors
    ///
    /// When the folders of clusters cannot be listed.
    pub fn is_taken_elsewhere(&self, id: RunId) -> Result<bool, StoreError> {
        let Some(root) = self.path.parent() else {
            return Ok(false);
        };
        let mut others = Self::all(root)?.into_iter();
        Ok(others.any(|other| other.path != self.path && other.file(id).exists()))
    }

    /// Makes the folder, for this user alone.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn make(&self) -> Result<(), StoreError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&self.path)
            .map_err(|error| cannot("make", &self.path, &error))
    }

    /// Takes the right to write to the cluster until the lock is dropped. Others of this machine
    /// (and of those that share the folder) have to wait: a proof holds only while nobody else of
    /// this tool writes.
    ///
    /// # Errors
    ///
    /// A conflict that names who writes now; a failure when the folder cannot be used.
    pub fn lock(&self, actor: &Actor) -> Result<Lock, StoreError> {
        self.make()?;
        let path = self.path.join("lock");
        let mut file = private(
            OpenOptions::new().read(true).write(true).create(true),
            &path,
        )
        .map_err(|error| cannot("write", &path, &error))?;
        // Whoever looks whether somebody is at work holds the file for an instant, too.
        let mut tries = 0;
        loop {
            tries += 1;
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < 5 => thread::sleep(INSTANT),
                Err(TryLockError::WouldBlock) => return Err(busy(holder(&mut file))),
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &path, &error)),
            }
        }
        let holder = Holder {
            actor: actor.clone(),
            since: Timestamp::now(),
        };
        // Only words for whoever has to wait: that they cannot be written takes nothing away.
        let _ = note(&mut file, &holder);
        Ok(Lock { file })
    }

    /// Who writes to the cluster now; `None` when nobody does.
    #[must_use]
    pub fn busy(&self) -> Option<String> {
        let mut file = File::open(self.path.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(words(holder(&mut file))),
            _ => None,
        }
    }
}

/// What is in a folder that need not be there.
fn inside(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    entries.map_err(|error| cannot("read", folder, &error))
}

/// The right to write to a cluster.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The words go first: whoever comes next would take them for those of somebody at work.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    #[serde(flatten)]
    actor: Actor,
    since: Timestamp,
}

fn note(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(holder)?.as_bytes())
}

fn holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn words(holder: Option<Holder>) -> String {
    match holder {
        Some(Holder { actor, since }) => format!(
            "`{}` by {} (process {}, since {})",
            actor.command.join(" "),
            actor.who(),
            actor.pid,
            since.strftime("%Y-%m-%d %H:%M:%SZ"),
        ),
        None => "another run of this tool".to_owned(),
    }
}

fn busy(holder: Option<Holder>) -> StoreError {
    StoreError::new(
        StoreErrorKind::Conflict,
        format!("somebody is changing this cluster now: {}", words(holder)),
    )
    .hint("wait until it has ended; `history` shows what it does")
}

/// Opens a file that only this user may read.
pub(super) fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

/// Makes names in the folder of a file durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

pub(super) fn cannot(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room, or keep the journal elsewhere: `--journal DIR` (a copy of it, for what is to be undone or resumed)"
        }
        _ => {
            "keep the journal elsewhere: `--journal DIR` (a copy of it, for what is to be undone or resumed)"
        }
    };
    let text = error.to_string();
    // Without `(os error 28)` behind it.
    let text = text
        .split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase();
    StoreError::new(
        StoreErrorKind::Failed,
        format!("cannot {verb} the journal at `{}`: {text}", path.display()),
    )
    .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_datastore(kind: DatastoreKind, location: &str, guid: Option<&str>) -> Datastore {
        Datastore {
            kind,
            location: location.to_owned(),
            cluster_guid: guid.map(str::to_owned),
            version: None,
        }
    }

    fn mk_actor() -> Actor {
        Actor {
            user: "alice".into(),
            host: "laptop".into(),
            pid: 7,
            command: vec!["server".into(), "etcd".into()],
        }
    }

    #[test]
    fn a_cluster_is_the_same_by_every_name_of_its_server() {
        let of = |location| key(&mk_datastore(DatastoreKind::CrdV1, location, Some("ab12")));
        assert_eq!(of("https://a"), "cluster-ab12");
        assert_eq!(of("https://a"), of("https://b"));
    }

    #[test]
    fn a_folder_is_the_same_by_every_path_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::create_dir(&path).unwrap();
        let of = |path: &Path| {
            let text = path.display().to_string();
            key(&mk_datastore(DatastoreKind::Manifests, &text, Some("ab12")))
        };
        assert_eq!(of(&path), of(&folder.path().join("x/../x")));
        assert_ne!(of(&path), of(folder.path()));
    }

    #[test]
    fn names_of_clusters_are_no_paths() {
        let guid = mk_datastore(DatastoreKind::Etcd, "", Some("../../etc"));
        assert_eq!(key(&guid), "cluster-etc");
        let location = mk_datastore(DatastoreKind::Etcd, "https://a:2379", None);
        assert!(key(&location).starts_with("server-https---a-2379-"));
    }

    #[test]
    fn whoever_comes_second_is_told_who_is_at_work() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::of(root.path(), &mk_datastore(DatastoreKind::Etcd, "x", None));
        let lock = folder.lock(&mk_actor()).unwrap();
        let error = folder.lock(&mk_actor()).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Conflict);
        assert!(
            error
                .message
                .contains("`server etcd` by alice@laptop (process 7"),
            "{error}"
        );
        assert!(folder.busy().is_some());
        drop(lock);
        assert!(folder.busy().is_none());
        assert!(folder.lock(&mk_actor()).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_look_into_a_journal() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::of(root.path(), &mk_datastore(DatastoreKind::Etcd, "x", None));
        let _lock = folder.lock(&mk_actor()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.path().join("lock")), 0o600);
    }

    #[test]
    fn passwords_of_urls_are_not_kept() {
        assert_eq!(
            without_password("https://u:p@host:1/x"),
            "https://…@host:1/x"
        );
        assert_eq!(without_password("--config=/a@b"), "--config=/a@b");
        assert_eq!(without_password("https://host/@x"), "https://host/@x");
    }
}
