//! What the journal holds, and where.

use std::fs;

use crate::command::Cluster;
use crate::command::journals::{journals, last};
use crate::{SERVER, same};

#[test]
fn what_is_written_is_in_the_history() {
    let cluster = Cluster::example();
    cluster.refused(0, &["history"]).shows_nothing();
    let run = cluster.does(&SERVER);
    let (id, state) = last(&cluster);
    run.says(&format!(
        "hint: `calicoctl-protect undo {id} --manifests cluster` takes it back\n"
    ));
    assert_eq!(state, "done");
    let list = cluster.refused(0, &["history"]);
    list.shows("COMMAND")
        .shows("server felix-metrics --node cp-1 --yes")
        .shows("4/4");
    let detail = cluster.refused(0, &["history", &id]);
    detail
        .shows(&format!("run {id}  done"))
        .shows("4, 4 written, 4 read back")
        .shows("+ GlobalNetworkPolicy/protected-felix-metrics-server")
        .shows("+    protected-felix-metrics-server: \"true\"");
    let nowhere = ["history", "zzzzzz"];
    cluster
        .refused(64, &nowhere)
        .says("error: there is no run `zzzzzz`");
}

#[cfg(unix)]
#[test]
fn journals_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::example();
    cluster.does(&SERVER);
    let files = journals(&cluster);
    assert_eq!(files.len(), 1);
    for path in files {
        let mode = |path: &std::path::Path| {
            fs::metadata(path)
                .map(|m| m.permissions().mode() & 0o777)
                .unwrap_or(0)
        };
        assert_eq!(mode(&path), 0o600);
        assert_eq!(path.parent().map(mode), Some(0o700));
    }
}

#[test]
fn a_dry_run_and_a_refusal_leave_no_journal() {
    let cluster = Cluster::example();
    cluster.refused(0, &[&SERVER[..4], &["--dry-run"]].concat());
    cluster.refused(64, &SERVER[..4]);
    assert!(journals(&cluster).is_empty());
}

#[test]
fn without_a_place_for_the_journal_nothing_is_written() {
    let cluster = Cluster::example();
    let file = cluster.home().join("file");
    let made = fs::write(&file, "no folder");
    assert!(made.is_ok(), "{made:?}");
    cluster
        .refused(1, &[&SERVER[..], &["--journal", "file"]].concat())
        .says("error: cannot make the journal at `file/")
        .says("`--journal DIR`");
}

#[test]
fn a_copy_of_a_journal_is_as_good() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    cluster.does(&SERVER);
    let from = cluster.state().join("calicoctl-protect");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&from, &cluster.home().join("copy")])
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::remove_dir_all(&from).unwrap();
    cluster.refused(64, &["undo", "--yes"]);
    cluster.does(&["undo", "--yes", "--journal", "copy"]);
    same(&cluster.tree(), &before, "undo by the copy");
}
