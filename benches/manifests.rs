//! How long a folder of ten thousand host endpoints takes to read, to edit, and to plan the
//! protection of every host for (the whole command), and how much memory.
//!
//! Each case runs in a process of its own, so that its peak of memory is its own, too.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench shows its figures and stops at the first failure"
)]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use calicoctl_protect::calico::edit::diff;
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store, Wanted, Write};
use support::folders::{Layout, host_endpoints};

const COUNT: usize = 10_000;
const CASES: [(&str, Layout, bool); 6] = [
    ("read one file", Layout::OneFile, false),
    ("read one list", Layout::OneList, false),
    ("read many files", Layout::ManyFiles, false),
    ("label one file", Layout::OneFile, true),
    ("label one list", Layout::OneList, true),
    ("label many files", Layout::ManyFiles, true),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let case = CASES
        .iter()
        .find(|(name, ..)| arguments.contains(&(*name).to_owned()));
    if let Some((name, layout, edit)) = case {
        return run(name, *layout, *edit);
    }
    // `cargo test` runs benches, too; there is nothing to test here.
    if !arguments.iter().any(|a| a == "--bench") {
        return;
    }
    for (name, ..) in CASES {
        let this = std::env::current_exe().unwrap();
        assert!(Command::new(this).arg(name).status().unwrap().success());
    }
    for interface in ["*", "eth0"] {
        for (name, layout) in [
            ("plan of one file", Layout::OneFile),
            ("plan of many files", Layout::ManyFiles),
        ] {
            plan(&format!("{name}, {interface}"), layout, interface);
        }
    }
}

/// The command `server etcd --all-nodes --dry-run` in a process of its own: time by the wall and
/// by the processor, most memory. Endpoints for `*` get a label each; beside those for one
/// interface the plan makes one for all others, and has three changes for each host.
fn plan(name: &str, layout: Layout, interface: &str) {
    let folder = tempfile::tempdir().unwrap();
    host_endpoints(folder.path(), layout, COUNT, interface).unwrap();
    let start = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_calicoctl-protect"))
        .arg("--manifests")
        .arg(folder.path())
        .args(["server", "etcd", "--all-nodes", "--dry-run"])
        .stdout(fs::File::create(folder.path().join("plan.txt")).unwrap())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id()));
    let (mut most, mut spent) = (0, 0);
    // Of a process that has ended and was not waited for, the times are still told.
    while let Ok(stat) = of("stat") {
        let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        spent = (ticks(11) + ticks(12)) * 10;
        if fields[0] == "Z" {
            break;
        }
        most = most.max(of("status").ok().and_then(|s| high_water(&s)).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    let wall = start.elapsed();
    assert!(child.wait().unwrap().success());
    println!(
        "{name:<25} {:>8} ms {most:>6} MB ({spent} ms of processor)",
        milliseconds(wall)
    );
}

fn run(name: &str, layout: Layout, edit: bool) {
    let folder = tempfile::tempdir().unwrap();
    host_endpoints(folder.path(), layout, COUNT, "eth0").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let start = Instant::now();
    let mut store = Manifests::open(folder.path()).unwrap();
    let snapshot = runtime.block_on(store.read(&Wanted::everything())).unwrap();
    let read = start.elapsed();
    assert_eq!(snapshot.len(), COUNT);
    let batch: Vec<_> = snapshot
        .all()
        .filter(|_| edit)
        .map(|stored| {
            let mut after = stored.object.clone();
            after.set_label("protected-etcd-server", "true");
            Write::Update {
                id: after.id().clone(),
                edits: diff(stored.object.value(), after.value()),
                revision: Some(stored.revision.clone()),
            }
        })
        .collect();
    let start = Instant::now();
    let mut done = 0;
    runtime
        .block_on(store.write(&batch, &AtomicBool::new(false), &mut |_| done += 1))
        .unwrap();
    let written = start.elapsed();
    assert_eq!(done, batch.len());
    let shown = if edit { written } else { read };
    println!(
        "{name:<25} {:>8} ms {:>6} MB",
        milliseconds(shown),
        peak().unwrap_or(0)
    );
}

fn milliseconds(duration: Duration) -> u128 {
    duration.as_millis()
}

/// The most memory that this process had, in MB.
fn peak() -> Option<u64> {
    high_water(&fs::read_to_string("/proc/self/status").ok()?)
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024)
}
