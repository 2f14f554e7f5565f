//! What a call costs before it does anything: `cargo bench --bench start`.
//!
//! `calicoctl/alone` is a calicoctl that does nothing; `calicoctl/dispatched` is the same behind the
//! dispatcher, so their difference is what the dispatcher costs.

#![expect(clippy::expect_used, reason = "a bench stops at the first failure")]

use std::ffi::OsString;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use criterion::{Criterion, criterion_group, criterion_main};

const PROGRAM: &str = env!("CARGO_BIN_EXE_calicoctl-protect");

fn run(program: &Path, path: &OsString, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(black_box(status).is_ok_and(|status| status.success()));
}

fn starts(criterion: &mut Criterion) {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folders = ["links", "bin"].map(|name| root.path().join(name));
    for folder in &folders {
        std::fs::create_dir(folder).expect("a folder");
    }
    let [dispatcher, alone] = folders.each_ref().map(|folder| folder.join("calicoctl"));
    std::os::unix::fs::symlink(PROGRAM, &dispatcher).expect("a link");
    std::os::unix::fs::symlink("/bin/true", &alone).expect("a link");
    let path = std::env::join_paths(&folders).expect("a search path");
    let cluster = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster");
    let cluster = cluster.to_str().expect("a path of text");
    let bare = PathBuf::from(PROGRAM);
    let node = [
        "__complete",
        "--manifests",
        cluster,
        "grant",
        "etcd",
        "--node",
        "",
    ];
    let server = ["__complete", "--manifests", cluster, "grant", ""];
    let through = ["__complete", "protect", "--manifests", cluster, "grant", ""];
    let calls: [(&str, &Path, &[&str]); 8] = [
        ("calicoctl/alone", &alone, &["get"]),
        ("calicoctl/dispatched", &dispatcher, &["get"]),
        ("protect/help", &bare, &["--help"]),
        (
            "protect/help-dispatched",
            &dispatcher,
            &["protect", "--help"],
        ),
        ("complete/commands", &bare, &["__complete", ""]),
        ("complete/servers", &bare, &server),
        ("complete/servers-dispatched", &dispatcher, &through),
        ("complete/nodes", &bare, &node),
    ];
    for (name, program, arguments) in calls {
        criterion.bench_function(name, |bench| {
            bench.iter(|| run(program, &path, arguments));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = starts
}
criterion_main!(benches);
