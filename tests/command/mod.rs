//! Runs the command on copies of clusters, each in a folder of its own, with nothing of the
//! machine's environment, and keeps both streams and the exit code.

#![allow(
    dead_code,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking and say what they skip; not every one uses every helper"
)]

pub mod journals;
pub mod trips;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The folder that the command is given, as it is seen from where the command runs.
pub const FOLDER: &str = "cluster";

/// A copy of a cluster's manifests.
pub struct Cluster {
    home: TempDir,
}

/// What a run of the command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
}

/// A file of a cluster: what a reader sees of it, and marks by which a rewrite is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    bytes: Vec<u8>,
    mode: u32,
    inode: u64,
    modified: Option<std::time::SystemTime>,
}

/// Every file of a cluster, hidden ones too, and every folder.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Option<File>>);

impl Cluster {
    /// A cluster of these files.
    #[track_caller]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let cluster = Self::empty();
        for (name, text) in files {
            cluster.write(name, text);
        }
        cluster
    }

    /// An empty folder.
    #[track_caller]
    pub fn empty() -> Self {
        let home = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let cluster = Self { home };
        make_folder(&cluster.path());
        cluster
    }

    /// The sample cluster that everybody gets with the sources.
    #[track_caller]
    pub fn example() -> Self {
        Self::copy_of(&sources().join("examples/cluster"))
    }

    /// The same for another version of Calico.
    #[track_caller]
    pub fn of_version(version: &str) -> Self {
        let cluster = Self::example();
        let text = cluster.read("cluster.yaml").replace("v3.32.1", version);
        cluster.write("cluster.yaml", text);
        cluster
    }

    /// A cluster of the tests' own data.
    #[track_caller]
    pub fn own(name: &str) -> Self {
        Self::copy_of(&sources().join("tests/data/clusters").join(name))
    }

    /// A sample cluster that lies beside the sources on some machines.
    #[track_caller]
    pub fn beside(name: &str) -> Option<Self> {
        let sources = sources();
        let found = sources
            .ancestors()
            .map(|a| a.join("shared/clusters").join(name))
            .find(|path| path.is_dir());
        if found.is_none() {
            println!("skipped: the sample cluster `{name}` is not beside these sources");
        }
        found.map(|path| Self::copy_of(&path))
    }

    /// A copy of the manifests in a folder.
    #[track_caller]
    pub fn copy_of(from: &Path) -> Self {
        let cluster = Self::empty();
        copy_all(from, &cluster.path());
        cluster
    }

    /// Where the manifests are.
    pub fn path(&self) -> PathBuf {
        self.home.path().join(FOLDER)
    }

    /// Where the command runs.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where the command keeps its journal.
    pub fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Writes a file.
    #[track_caller]
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        if let Some(folder) = path.parent() {
            make_folder(folder);
        }
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Reads a file.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let path = self.path().join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Every file as it is now.
    pub fn tree(&self) -> Tree {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(self.path()).unwrap_or(&path).to_owned();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                    files.insert(name, None);
                } else {
                    files.insert(name, File::read(&path));
                }
            }
        }
        Tree(files)
    }

    /// The program without arguments, with nothing of this machine's environment.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calicoctl-protect"));
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("XDG_STATE_HOME", self.state())
            .stdin(Stdio::null());
        command
    }

    /// The program on this cluster.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare();
        command.args(["--manifests", FOLDER]).args(arguments);
        command
    }

    /// Runs the command on the cluster.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments))
    }

    /// Runs the command, which must end with an exit code and without having touched any file.
    #[track_caller]
    pub fn refused(&self, code: i32, arguments: &[&str]) -> Run {
        let before = self.tree();
        let run = self.run(arguments);
        run.ended(code, arguments);
        self.tree().assert_untouched(&before, arguments);
        run
    }

    /// Runs the command, which must refuse with exactly these lines, without any result and without
    /// having touched any file.
    #[track_caller]
    pub fn refuses(&self, code: i32, arguments: &[&str], lines: &[&str]) {
        let run = self.refused(code, arguments);
        run.shows_nothing().says_all(lines);
    }

    /// Runs the command, which must do its work.
    #[track_caller]
    pub fn does(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        run.ended(0, arguments);
        run
    }
}

impl Run {
    /// Runs a command to its end.
    #[track_caller]
    pub fn of(mut command: Command) -> Self {
        let output = command
            .output()
            .unwrap_or_else(|e| panic!("cannot run the command: {e}"));
        Self::from(output)
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn ended(&self, code: i32, arguments: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{arguments:?}\n{self}");
        self
    }

    /// Checks that something was said beside the result.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.err.contains(text), "no `{text}` in\n{self}");
        self
    }

    /// Checks that something was not said beside the result.
    #[track_caller]
    pub fn silent_about(&self, text: &str) -> &Self {
        assert!(!self.err.contains(text), "`{text}` in\n{self}");
        self
    }

    /// Checks that the result holds something.
    #[track_caller]
    pub fn shows(&self, text: &str) -> &Self {
        assert!(self.out.contains(text), "no `{text}` in\n{self}");
        self
    }

    /// Checks that there is no result.
    #[track_caller]
    pub fn shows_nothing(&self) -> &Self {
        assert!(self.out.is_empty(), "a result in\n{self}");
        self
    }

    /// The lines of the result that tell of changes: objects with their signs, and what is added
    /// to them and taken from them.
    pub fn changes(&self) -> String {
        let changed = |line: &&str| line.starts_with(['+', '-', '~']);
        let lines: Vec<&str> = self.out.lines().filter(changed).collect();
        lines.join("\n")
    }

    /// Checks all that was said beside the result, line by line.
    #[track_caller]
    pub fn says_all(&self, lines: &[&str]) -> &Self {
        let said: Vec<&str> = self.err.lines().collect();
        assert_eq!(said, lines, "{self}");
        self
    }

    /// Checks the result, line by line.
    #[track_caller]
    pub fn shows_all(&self, text: &str) -> &Self {
        if self.out != text {
            let diff = similar::TextDiff::from_lines(text, &self.out)
                .unified_diff()
                .header("expected", "shown")
                .to_string();
            panic!("{diff}\n{self}");
        }
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit code {:?}\n--- stdout\n{}--- stderr\n{}---",
            self.code, self.out, self.err
        )
    }
}

impl File {
    #[cfg(unix)]
    fn read(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::symlink_metadata(path).ok()?;
        Some(Self {
            bytes: fs::read(path).unwrap_or_default(),
            mode: metadata.mode(),
            inode: metadata.ino(),
            modified: metadata.modified().ok(),
        })
    }

    #[cfg(not(unix))]
    fn read(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some(Self {
            bytes: fs::read(path).unwrap_or_default(),
            mode: 0,
            inode: 0,
            modified: metadata.modified().ok(),
        })
    }
}

impl Tree {
    /// Names of the files.
    pub fn names(&self) -> Vec<String> {
        let files = self.0.iter().filter(|(_, file)| file.is_some());
        files.map(|(name, _)| name.display().to_string()).collect()
    }

    /// Checks that every file holds the same bytes with the same mode, and that there are no
    /// other files.
    #[track_caller]
    pub fn assert_same(&self, before: &Self, after_what: &[&str]) {
        let mut differences = String::new();
        let names = self.0.keys().chain(before.0.keys());
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            let shown = name.display();
            match (before.0.get(name), self.0.get(name)) {
                (Some(_), None) => differences.push_str(&format!("{shown} is gone\n")),
                (None, Some(_)) => differences.push_str(&format!("{shown} is new\n")),
                (Some(Some(old)), Some(Some(new))) if old.bytes != new.bytes => {
                    let (old, new) = (text(old), text(new));
                    let diff = similar::TextDiff::from_lines(&old, &new);
                    let diff = diff.unified_diff().header("before", "after").to_string();
                    differences.push_str(&format!("{shown} differs:\n{diff}"));
                }
                (Some(Some(old)), Some(Some(new))) if old.mode != new.mode => {
                    differences.push_str(&format!("{shown} has another mode\n"));
                }
                _ => {}
            }
        }
        assert!(
            differences.is_empty(),
            "after {after_what:?}:\n{differences}"
        );
    }

    /// Checks that no file was so much as written anew.
    #[track_caller]
    pub fn assert_untouched(&self, before: &Self, after_what: &[&str]) {
        self.assert_same(before, after_what);
        for (name, file) in &self.0 {
            assert_eq!(
                before.0.get(name),
                Some(file),
                "{} was written anew after {after_what:?}",
                name.display()
            );
        }
    }
}

fn text(file: &File) -> String {
    String::from_utf8_lossy(&file.bytes).into_owned()
}

fn sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn make_folder(path: &Path) {
    fs::create_dir_all(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[track_caller]
fn copy_all(from: &Path, to: &Path) {
    let entries = fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    for entry in entries.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            make_folder(&target);
            copy_all(&path, &target);
        } else {
            let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            fs::write(&target, bytes).unwrap_or_else(|e| panic!("{}: {e}", target.display()));
        }
    }
}
