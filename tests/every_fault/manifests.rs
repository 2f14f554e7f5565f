//! Manifests: the process is killed at each system call that brings a file to disk or gives it its
//! name, and each of these calls fails as on a full or broken disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store, Wanted};
use tempfile::TempDir;

use crate::command::Run;
use crate::etcd_server::say;
use crate::field::{Field, Home, State};
use crate::judge::{Ends, Way, judge, shut};
use crate::scenarios::{KUBERNETES, Scenario, chosen};

/// A folder of manifests.
struct Folder(TempDir);

impl Folder {
    fn sample() -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clusters/kubeadm");
        let files = fs::read_dir(from).unwrap().map(|entry| entry.unwrap());
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        Self::of(&files.map(|f| (name(&f.path()), read(f.path()))).collect())
    }

    fn of(state: &State) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in state {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Field for Folder {
    fn arguments(&self) -> Vec<String> {
        vec!["--manifests".into(), self.0.path().to_str().unwrap().into()]
    }

    fn state(&self) -> State {
        let files = fs::read_dir(self.0.path()).unwrap();
        let paths = files.map(|entry| entry.unwrap().path());
        paths
            .map(|path| (name(&path), fs::read_to_string(&path).unwrap()))
            .collect()
    }

    fn snapshot(&self) -> Snapshot {
        let mut store = Manifests::open(self.0.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(store.read(&Wanted::everything())).unwrap()
    }
}

/// Kinds of calls, as strace names them.
const NAMING: &str = "rename,renameat,renameat2,link,linkat";
const SYNCING: &str = "fsync,fdatasync";

/// One disturbance: which calls, what happens, and whether to all later ones, too.
#[derive(Clone, Copy)]
struct Fault {
    name: &'static str,
    calls: &'static str,
    effect: &'static str,
    onward: bool,
}

const FAULTS: [Fault; 5] = [
    fault(
        "killed before a file gets its name",
        NAMING,
        "signal=KILL",
        false,
    ),
    fault(
        "killed while bringing to disk",
        SYNCING,
        "signal=KILL",
        false,
    ),
    fault("a file cannot get its name", NAMING, "error=EIO", false),
    fault("the disk is full", SYNCING, "error=ENOSPC", true),
    fault(
        "the disk is full when writing",
        "write",
        "error=ENOSPC",
        true,
    ),
];

const fn fault(
    name: &'static str,
    calls: &'static str,
    effect: &'static str,
    onward: bool,
) -> Fault {
    Fault {
        name,
        calls,
        effect,
        onward,
    }
}

/// strace, if it is there and may trace.
fn strace_works() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    let works = tried.is_ok_and(|output| output.status.success());
    if !works {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "strace is not installed or may not trace, and CI must run these tests"
        );
        say("skipped: strace is not installed or may not trace");
    }
    works
}

/// The command under strace with more options.
fn traced(home: &Home, folder: &Folder, line: &str, options: &[String]) -> Run {
    let plain = home.command(folder, line);
    let mut command = Command::new("strace");
    home.prepare(&mut command);
    command
        .args(["-f", "-qq", "-o"])
        .arg(home.trace())
        .args(options);
    command.arg(plain.get_program()).args(plain.get_args());
    Run::of(command)
}

/// How often the main thread makes calls of each kind in an undisturbed run.
fn count_calls(home: &Home) -> BTreeMap<&'static str, usize> {
    let trace = fs::read_to_string(home.trace()).unwrap();
    let main = trace.split_whitespace().next().unwrap_or_default();
    let of_main = |line: &&str| line.split_whitespace().next() == Some(main);
    let called = |line: &str| {
        let call = line.split_whitespace().nth(1)?;
        Some(call.split('(').next()?.to_owned())
    };
    let calls: Vec<String> = trace.lines().filter(of_main).filter_map(called).collect();
    FAULTS
        .iter()
        .map(|fault| {
            let kinds: Vec<&str> = fault.calls.split(',').collect();
            let count = calls.iter().filter(|c| kinds.contains(&c.as_str())).count();
            (fault.calls, count)
        })
        .collect()
}

fn try_scenario(scenario: &Scenario) -> usize {
    let prepared = Folder::sample();
    let elsewhere = Home::new();
    for line in scenario.before {
        elsewhere.does(&prepared, &format!("{line} --yes"));
    }
    let start = prepared.state();
    let shut = shut(&prepared.snapshot());
    let command = format!("{} --yes", scenario.command);
    let home = Home::new();
    let undisturbed = Folder::of(&start);
    let trace = format!("trace={NAMING},{SYNCING},write");
    let run = traced(&home, &undisturbed, &command, &["-e".into(), trace]);
    assert_eq!(run.code, Some(0), "{}: {run}", scenario.name);
    let ends = Ends {
        end: undisturbed.state(),
        start,
        shut,
    };
    let calls = count_calls(&home);
    let mut points = 0;
    for fault in FAULTS {
        for k in 1..=calls[fault.calls] {
            for way in Way::of_point(k) {
                let point = format!("{}, call {k}", fault.name);
                let (home, folder) = (Home::new(), Folder::of(&ends.start));
                let onward = if fault.onward { "+" } else { "" };
                let inject = format!("inject={}:{}:when={k}{onward}", fault.calls, fault.effect);
                let run = traced(&home, &folder, &command, &["-e".into(), inject]);
                judge(&folder, &home, scenario, &ends, way, &run, &point);
                points += 1;
            }
        }
    }
    points
}

#[test]
fn on_manifests() {
    if !strace_works() {
        return;
    }
    let points: usize = chosen(&KUBERNETES, 2).iter().map(try_scenario).sum();
    say(&format!("manifests: {points} points of disturbance tried"));
    assert!(points > 20, "only {points} points");
}
