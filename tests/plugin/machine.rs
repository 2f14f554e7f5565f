//! A machine of its own for each test: a home, folders of programs, and a `PATH` over them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_calicoctl-protect");

/// The sample cluster that comes with the sources.
pub fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster")
}

pub struct Machine {
    root: TempDir,
    path: Vec<PathBuf>,
}

impl Machine {
    /// With these folders on `PATH`, before those of the system, which hold no calicoctl.
    pub fn with(folders: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = folders.iter().map(|name| root.path().join(name)).collect();
        let machine = Self { root, path };
        folders.iter().for_each(|name| machine.folder(name));
        machine
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn folder(&self, name: &str) {
        fs::create_dir_all(self.at(name)).unwrap();
    }

    /// A link to the program under test.
    pub fn link(&self, name: &str) -> PathBuf {
        self.link_to(name, Path::new(PROGRAM))
    }

    pub fn link_to(&self, name: &str, to: &Path) -> PathBuf {
        symlink(to, self.at(name)).unwrap();
        self.at(name)
    }

    /// A shell script.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        let draft = self.at("draft");
        fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        copy(&draft, &path);
        path
    }

    /// A program that writes down what it was given, and ends with a code of its own.
    pub fn stand_in(&self, name: &str) -> StandIn {
        let record = self.at(&format!("{name}.record"));
        fs::create_dir_all(&record).unwrap();
        let to = record.display();
        let text = format!(
            "printf '%s\\0' \"$@\" > '{to}/arguments'\n[ $# != 0 ] || : > '{to}/arguments'\n\
             echo $$ > '{to}/process'\nenv -0 > '{to}/environment'\ncat > '{to}/input'\n\
             echo to standard output\necho to standard error >&2\nexit 42"
        );
        self.script(name, &text);
        StandIn { record }
    }

    pub fn search_path(&self) -> OsString {
        let system = ["/usr/bin", "/bin"].map(PathBuf::from);
        std::env::join_paths(self.path.iter().cloned().chain(system)).unwrap()
    }

    /// A program by its path, with nothing of this machine's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.root())
            .env_clear()
            .env("PATH", self.search_path())
            .env("HOME", self.at("home"))
            .stdin(Stdio::null());
        command
    }

    pub fn run<I: AsRef<OsStr>>(&self, program: &Path, arguments: &[I]) -> Output {
        self.command(program).args(arguments).output().unwrap()
    }
}

/// Copies a program, in a process of its own: a file that this one has open to write is held open by
/// whatever another thread starts at that moment, and cannot be executed so long ("text file busy").
pub fn copy(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    let status = cp.arg("-p").args([from, to]).status().unwrap();
    assert!(status.success(), "{from:?} {to:?}");
}

/// A program that writes down what it was given.
pub struct StandIn {
    record: PathBuf,
}

impl StandIn {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.record.join(name)).ok()
    }

    /// Its arguments; `None` when it did not run.
    pub fn arguments(&self) -> Option<Vec<OsString>> {
        let text = self.read("arguments")?;
        let words = text.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let mut words: Vec<OsString> = words.map(OsString::from_vec).collect();
        words.pop();
        Some(words)
    }

    pub fn input(&self) -> Vec<u8> {
        self.read("input").unwrap()
    }

    pub fn process(&self) -> u32 {
        let text = String::from_utf8(self.read("process").unwrap()).unwrap();
        text.trim().parse().unwrap()
    }

    pub fn environment(&self) -> BTreeMap<OsString, OsString> {
        let text = self.read("environment").unwrap();
        let lines = text
            .split(|byte| *byte == 0)
            .filter(|line| !line.is_empty());
        let pair = |line: &[u8]| {
            let at = line.iter().position(|byte| *byte == b'=').unwrap();
            let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
            (part(&line[..at]), part(&line[at + 1..]))
        };
        lines.map(pair).collect()
    }
}

/// What a run printed.
pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a run said.
pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether a program of the system is there; in CI it has to be.
pub fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "{program} is needed in CI");
        println!("skipped: no {program}");
    }
    found
}
