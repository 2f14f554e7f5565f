//! The journal on manifests: what is written is known, can be gone on with and taken back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

#[path = "../command/mod.rs"]
mod command;
mod history;
mod killed;
mod undo;
mod window;

use std::process::Child;

use command::trips::words;
use command::{Cluster, Run, Tree};

const SERVER: [&str; 5] = ["server", "felix-metrics", "--node", "cp-1", "--yes"];

/// Runs a line that must do its work.
#[track_caller]
fn does(cluster: &Cluster, line: &str) -> Run {
    cluster.does(&[&words(line)[..], &["--yes"]].concat())
}

#[track_caller]
fn same(now: &Tree, before: &Tree, what: &str) {
    now.assert_same(before, &[what]);
}

/// What is in the files of a cluster.
fn files(cluster: &Cluster) -> std::collections::BTreeMap<String, String> {
    let names = cluster.tree().names().into_iter();
    names
        .map(|name| (name.clone(), cluster.read(&name)))
        .collect()
}

#[track_caller]
fn end(child: Child) -> Run {
    let output = child.wait_with_output();
    assert!(output.is_ok(), "{output:?}");
    output.map_or_else(
        |_| Run {
            out: String::new(),
            err: String::new(),
            code: None,
        },
        Run::from,
    )
}
