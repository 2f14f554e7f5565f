//! Manifests: the process is killed at each system call that brings a file to disk or gives it its
//! name, and each of these calls fails as on a full or broken disk; somebody else edits every file
//! before each batch.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store, Wanted};
use tempfile::TempDir;

use crate::command::Run;
use crate::disk::{self, OF_JOURNAL, OF_MANIFESTS};
use crate::field::{Field, Home, State};
use crate::inside;
use crate::judge::{Ends, Tally, judge, shut};
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

const COMMENT: &str = "# seen by somebody else\n";

/// A state once somebody has edited these files.
fn edited(state: &State, files: &BTreeSet<String>) -> State {
    let edit = |(name, text): (&String, &String)| match files.contains(name) {
        true => (name.clone(), format!("{COMMENT}{text}")),
        false => (name.clone(), text.clone()),
    };
    state.iter().map(edit).collect()
}

/// Runs a command while somebody else edits, before the k-th batch, every file of the start that is
/// still there; beside it those files, and how many batches there were.
fn edit_before(
    home: &Home,
    folder: &Folder,
    line: &str,
    k: usize,
) -> (Run, BTreeSet<String>, usize) {
    let start = folder.state();
    let mut files = BTreeSet::new();
    let other = |batch| {
        for name in start.keys().filter(|_| batch == k) {
            let path = folder.0.path().join(name);
            if let Ok(text) = fs::read_to_string(&path) {
                fs::write(path, format!("{COMMENT}{text}")).unwrap();
                files.insert(name.clone());
            }
        }
    };
    let mut store = inside::Shared {
        store: Manifests::open(folder.0.path()).unwrap(),
        other,
        batches: 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let run = runtime
        .unwrap()
        .block_on(inside::run(home, &mut store, line));
    let batches = store.batches;
    (run, files, batches)
}

/// How many batches an undisturbed run has.
fn batches(folder: &Folder, line: &str) -> usize {
    edit_before(&Home::new(), folder, line, 0).2
}

fn try_scenario(scenario: &Scenario, tally: &mut Tally) {
    let prepared = Folder::sample();
    let elsewhere = Home::new();
    for line in scenario.before {
        elsewhere.does(&prepared, &format!("{line} --yes"));
    }
    let start = prepared.state();
    let shut = shut(&prepared.snapshot());
    let command = format!("{} --yes", scenario.command);
    let faults = [&OF_MANIFESTS[..], &OF_JOURNAL].concat();
    let undisturbed = Folder::of(&start);
    let (run, calls) = disk::count(&Home::new(), &undisturbed, &command, &faults);
    assert_eq!(run.code, Some(0), "{}: {run}", scenario.name);
    let ends = Ends {
        end: undisturbed.state(),
        start,
        shut,
    };
    let home = Home::new();
    home.does(&Folder::of(&ends.start), &command);
    for bytes in disk::cuts(&home) {
        let point = format!("{}: no room for more than {bytes} bytes", scenario.name);
        tally.try_point(&point, |way| {
            let (home, folder) = (Home::new(), Folder::of(&ends.start));
            let run = disk::cramp(&home, &folder, &command, bytes);
            judge(&folder, &home, scenario, &ends, way, &run, &point);
        });
    }
    for k in 1..=batches(&Folder::of(&ends.start), &command) {
        let point = format!("{}: edited before batch {k}", scenario.name);
        tally.try_point(&point, |way| {
            let (home, folder) = (Home::new(), Folder::of(&ends.start));
            let (run, files, _) = edit_before(&home, &folder, &command, k);
            assert!(!files.is_empty(), "{point}: nothing was edited");
            let ends = Ends {
                start: edited(&ends.start, &files),
                end: edited(&ends.end, &files),
                shut: ends.shut.clone(),
            };
            judge(&folder, &home, scenario, &ends, way, &run, &point);
        });
    }
    for fault in faults {
        for k in 1..=calls[fault.name] {
            let point = format!("{}: {}, call {k}", scenario.name, fault.name);
            tally.try_point(&point, |way| {
                let (home, folder) = (Home::new(), Folder::of(&ends.start));
                let run = disk::strike(&home, &folder, &command, k, fault);
                judge(&folder, &home, scenario, &ends, way, &run, &point);
            });
        }
    }
}

#[test]
fn on_manifests() {
    if !disk::strace_works() {
        return;
    }
    let mut tally = Tally::default();
    for scenario in chosen(&KUBERNETES, 0, 2) {
        try_scenario(&scenario, &mut tally);
    }
    tally.end("manifests", 60);
}
