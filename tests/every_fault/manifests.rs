//! Manifests: the process is killed at each system call that brings a file to disk or gives it its
//! name, and each of these calls fails as on a full or broken disk.

use std::fs;
use std::path::{Path, PathBuf};

use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store, Wanted};
use tempfile::TempDir;

use crate::disk::{self, OF_JOURNAL, OF_MANIFESTS};
use crate::field::{Field, Home, State};
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
