//! Runs, and undos of runs, that stopped at odd moments, and journals that cannot be used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

mod command;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use command::journals::{history, journals};
use command::{Cluster, Run};

const SERVER: [&str; 7] = [
    "server",
    "etcd",
    "--node",
    "cp-1",
    "--grant-needed",
    "--prune",
    "--yes",
];
const GRANT: [&str; 5] = ["grant", "felix-metrics", "--node", "worker-1", "--yes"];

/// Files of a cluster with what is in them.
type Files = BTreeMap<String, String>;

fn files(cluster: &Cluster) -> Files {
    let names = cluster.tree().names().into_iter();
    let files = names.filter(|name| cluster.path().join(name).is_file());
    files
        .map(|name| (name.clone(), cluster.read(&name)))
        .collect()
}

fn differing(one: &Files, other: &Files) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name));
    differ.cloned().collect()
}

/// A run, as if it had been killed when it had announced everything and written only the first
/// `count` of its files: its id.
#[track_caller]
fn killed(cluster: &Cluster, arguments: &[&str], count: usize) -> String {
    let before = files(cluster);
    let known: BTreeMap<_, _> = contents(cluster);
    cluster.does(arguments);
    let after = files(cluster);
    for name in differing(&before, &after).into_iter().skip(count) {
        match before.get(&name) {
            Some(text) => cluster.write(&name, text),
            None => fs::remove_file(cluster.path().join(&name)).unwrap(),
        }
    }
    // What it noted in the journals of others goes, too.
    for (path, text) in known {
        fs::write(path, text).unwrap();
    }
    let path = journals(cluster).pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let hints = ["{\"done\"", "{\"read\"", "{\"ended\""];
    let kept = text.split_inclusive('\n');
    let kept = kept.filter(|line| !hints.iter().any(|hint| line.starts_with(hint)));
    fs::write(&path, kept.collect::<String>()).unwrap();
    id(&path)
}

fn contents(cluster: &Cluster) -> BTreeMap<std::path::PathBuf, String> {
    let paths = journals(cluster).into_iter();
    paths
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn id(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn states(cluster: &Cluster) -> Vec<String> {
    let runs = history(cluster).into_iter();
    runs.map(|run| run["state"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn equal(cluster: &Cluster, files_then: &Files, what: &str) {
    assert_eq!(differing(&files(cluster), files_then), [""; 0], "{what}");
}

/// A cluster with a run that is in effect: as it was before, and as it is.
#[track_caller]
fn protected() -> (Cluster, Files, Files) {
    let cluster = Cluster::example();
    let before = files(&cluster);
    cluster.does(&SERVER);
    let whole = files(&cluster);
    (cluster, before, whole)
}

#[test]
fn an_undo_that_was_killed_before_it_wrote_anything_has_undone_nothing() {
    let (cluster, before, whole) = protected();
    killed(&cluster, &["undo", "--yes"], 0);
    equal(&cluster, &whole, "killed");
    // The next run finds out how it ended.
    cluster.does(&GRANT);
    assert_eq!(states(&cluster), ["done", "nothing written", "done"]);
    cluster.does(&["undo", "--yes"]);
    cluster.does(&["undo", "--yes"]);
    equal(&cluster, &before, "both undone");
}

#[test]
fn what_a_run_notes_of_an_earlier_one_is_no_other_writer() {
    let (cluster, ..) = protected();
    let undo = killed(&cluster, &["undo", "--yes"], 0);
    cluster.does(&GRANT).silent_about("meanwhile");
    let noted = cluster.refused(0, &["history", &undo]);
    noted.shows("found so by a later run");
}

#[test]
fn an_undo_that_was_killed_half_way_is_gone_on_with() {
    let (cluster, before, _) = protected();
    let undo = killed(&cluster, &["undo", "--yes"], 2);
    assert_eq!(states(&cluster), ["done", "partly"]);
    cluster.does(&["apply", "--resume", &undo, "--yes"]);
    equal(&cluster, &before, "gone on with");
    assert_eq!(states(&cluster), ["undone", "done"]);
}

#[test]
fn an_undo_that_was_killed_half_way_is_undone() {
    let (cluster, before, whole) = protected();
    let undo = killed(&cluster, &["undo", "--yes"], 2);
    cluster.does(&["undo", &undo, "--yes"]);
    equal(&cluster, &whole, "the undo is undone");
    assert_eq!(states(&cluster), ["done", "undone", "done"]);
    cluster.does(&["undo", "--yes"]);
    equal(&cluster, &before, "undone after all");
}

#[test]
fn another_undo_does_the_rest_of_one_that_was_killed_half_way() {
    let (cluster, before, _) = protected();
    killed(&cluster, &["undo", "--yes"], 2);
    cluster.does(&["undo", "--yes"]);
    equal(&cluster, &before, "undone");
    assert_eq!(states(&cluster), ["undone", "done", "done"]);
    cluster
        .refused(0, &["grant", "etcd", "--node", "worker-1", "--dry-run"])
        .silent_about("half-way");
}

#[test]
fn two_runs_that_stopped_half_way_are_told_and_undone_one_by_one() {
    let cluster = Cluster::example();
    let before = files(&cluster);
    let (server, grant) = (killed(&cluster, &SERVER, 1), killed(&cluster, &GRANT, 1));
    let told = cluster.refused(0, &["grant", "typha", "--node", "worker-1", "--dry-run"]);
    for id in [&server, &grant] {
        told.says(&format!(
            "hint: `calicoctl-protect apply --resume {id} --manifests cluster` ends it, `calicoctl-protect undo {id} --manifests cluster` takes it back"
        ));
    }
    cluster.does(&["undo", "--yes"]);
    assert_eq!(states(&cluster), ["partly", "undone", "done"]);
    cluster.does(&["undo", "--yes"]);
    assert_eq!(states(&cluster), ["undone", "undone", "done", "done"]);
    equal(&cluster, &before, "both undone");
}

#[test]
fn two_runs_that_stopped_half_way_are_gone_on_with_in_any_order() {
    let undisturbed = protected().0;
    undisturbed.does(&GRANT);
    for backward in [false, true] {
        let cluster = Cluster::example();
        let mut ids = [killed(&cluster, &SERVER, 1), killed(&cluster, &GRANT, 1)];
        if backward {
            ids.reverse();
        }
        for id in &ids {
            cluster.does(&["apply", "--resume", id, "--yes"]);
        }
        equal(&cluster, &files(&undisturbed), "gone on with");
        assert_eq!(states(&cluster), ["done", "done"]);
    }
}

#[test]
fn a_run_whose_rest_a_later_one_has_done_has_nothing_left_to_do() {
    let cluster = Cluster::example();
    let before = files(&cluster);
    let half = killed(&cluster, &SERVER, 1);
    cluster.does(&SERVER);
    cluster
        .refused(0, &["apply", "--resume", &half, "--yes"])
        .says("nothing to do: all of the run is in effect");
    assert_eq!(states(&cluster), ["done", "done"]);
    cluster.does(&["undo", "--yes"]);
    cluster.does(&["undo", "--yes"]);
    equal(&cluster, &before, "both undone");
}

#[test]
fn going_on_with_a_run_does_not_write_over_what_a_later_one_chose() {
    let cluster = Cluster::example();
    let half = killed(&cluster, &SERVER, 3);
    let later = ["server", "etcd", "--node", "cp-1", "--order", "300"];
    cluster.does(&[&later[..], &["--overwrite", "--yes"]].concat());
    cluster
        .refused(4, &["apply", "--resume", &half, "--yes"])
        .says("spec.order is 300, and would become 500")
        .says("hint: choose: `--overlaps keep`");
    let keep = ["apply", "--resume", &half, "--overlaps", "keep", "--yes"];
    cluster.does(&keep);
    let policy = cluster.read("globalnetworkpolicy-protected-etcd-server.yaml");
    assert!(policy.contains("order: 300"), "{policy}");
}

#[test]
fn a_run_that_is_undone_is_not_gone_on_with() {
    let (cluster, ..) = protected();
    let run = id(&journals(&cluster)[0]);
    cluster.does(&["undo", "--yes"]);
    cluster
        .refused(64, &["apply", "--resume", &run, "--yes"])
        .says(&format!(
            "error: run {run} is undone: it did not stop half-way"
        ));
    assert_eq!(states(&cluster), ["undone", "done"]);
}

#[test]
fn a_run_of_another_cluster_is_neither_undone_nor_gone_on_with() {
    let (cluster, ..) = protected();
    let path = journals(&cluster).pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let guid = "5d1f6c2ae0f04b0e9f0b1d7c3a9e4c11";
    let theirs = text.replacen(guid, "00000000000000000000000000000000", 1);
    assert_ne!(text, theirs);
    fs::write(&path, theirs).unwrap();
    let run = id(&path);
    for arguments in [
        &["undo", "--yes"][..],
        &["undo", &run, "--dry-run"],
        &["apply", "--resume", &run, "--yes"],
    ] {
        cluster
            .refused(4, arguments)
            .says(&format!(
                "error: refused: run {run} is one of another cluster"
            ))
            .says(&format!("this one:  cluster (cluster {guid})"));
    }
}

/// A cluster with two runs, of which the journal of the last cannot be used.
#[track_caller]
fn unusable(damage: impl Fn(&str) -> String) -> Cluster {
    let cluster = Cluster::example();
    cluster.does(&["grant", "typha", "--net", "192.0.2.0/28", "--yes"]);
    cluster.does(&GRANT);
    let path = journals(&cluster).pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, damage(&text)).unwrap();
    cluster
}

fn newer(text: &str) -> String {
    text.replacen(
        "\"format_version\":\"1.0\"",
        "\"format_version\":\"2.0\"",
        1,
    )
}

#[test]
fn the_history_tells_of_journals_that_cannot_be_used() {
    let cluster = unusable(newer);
    cluster
        .refused(0, &["history"])
        .shows("grant typha")
        .says("cannot be used: its form `2.0` is not known")
        .says("hint: use the version of the tool that wrote it");
    let cluster = unusable(|text| format!("?\n{text}"));
    cluster
        .refused(0, &["history"])
        .shows("grant typha")
        .says("cannot be used: expected value");
}

#[test]
fn the_last_run_is_not_guessed_where_a_journal_cannot_be_used() {
    let cluster = unusable(newer);
    cluster
        .refused(1, &["undo", "--yes"])
        .says("cannot be used: its form `2.0` is not known")
        .says("hint: name the run that you mean: `undo ID`");
    let first = id(&journals(&cluster)[0]);
    cluster.does(&["undo", &first, "--yes"]);
}

#[test]
fn a_run_that_may_have_stopped_half_way_is_told_though_its_journal_cannot_be_used() {
    let grant = ["grant", "etcd", "--node", "worker-2", "--dry-run"];
    let half = |text: &str| {
        let lines = newer(text);
        let lines = lines.split_inclusive('\n');
        lines
            .filter(|line| !line.starts_with("{\"ended\""))
            .collect()
    };
    unusable(half)
        .refused(0, &grant)
        .says("warning: the journal `")
        .says("cannot be used: its form `2.0` is not known");
    // One that is at its end needs nobody's care.
    unusable(newer).refused(0, &grant).silent_about("journal");
}

#[test]
fn journals_that_cannot_be_looked_at_are_no_empty_history() {
    let cluster = Cluster::example();
    fs::write(cluster.state(), "not a folder").unwrap();
    for arguments in [&["history"][..], &["history", "--all"], &["confirm"]] {
        cluster
            .refused(1, arguments)
            .says("error: cannot read the journal at `")
            .says("not a directory");
    }
}

#[test]
fn a_run_of_elsewhere_is_told_to_be_looked_for_there() {
    let cluster = Cluster::example();
    let hint = "hint: `calicoctl-protect history --all --manifests cluster` lists the runs of this user on this machine; `--journal DIR` names the journals of others";
    let tell = |arguments: &[&str]| -> Run { cluster.refused(64, arguments) };
    tell(&["confirm", "6g0793"])
        .says("error: there is no run `6g0793`")
        .says(hint);
    tell(&["confirm"])
        .says("error: no run waits to be confirmed")
        .says(hint);
    tell(&["history", "6g0793"]).says(hint);
}
