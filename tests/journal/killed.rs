//! Runs whose process was killed.

use std::fs;

use crate::command::Cluster;
use crate::command::journals::{journals, last};
use crate::{SERVER, same};

/// Cuts a journal to what it was when a stage had been announced and nothing of it was written,
/// and takes back the files that the later stages wrote: a run that was killed there.
#[track_caller]
fn killed_at(cluster: &Cluster, stage: usize, trees: &[Vec<(String, String)>]) {
    let path = journals(cluster).pop().unwrap_or_default();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let mut seen = 0;
    let mut was_done = false;
    let kept: Vec<&str> = text
        .split_inclusive('\n')
        .take_while(|line| {
            let intended = line.contains("{\"intended\"");
            seen += usize::from(intended && (was_done || seen == 0));
            was_done = line.contains("{\"done\"") || (was_done && !intended);
            seen <= stage && !line.contains("{\"ended\"") && !line.contains("{\"read\"")
        })
        .collect();
    let written = fs::write(&path, kept.concat());
    assert!(written.is_ok(), "{written:?}");
    for (name, text) in &trees[stage] {
        cluster.write(name, text);
    }
}

#[test]
fn a_run_that_was_killed_is_told_of_gone_on_with_and_taken_back() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    let control_plane = cluster.read("hosts/control-plane.yaml");
    cluster.does(&SERVER);
    let whole = cluster.tree();
    // The last stage was announced, and never written.
    let undone = vec![("hosts/control-plane.yaml".to_owned(), control_plane)];
    let stages = vec![Vec::new(), Vec::new(), Vec::new(), undone];
    killed_at(&cluster, 3, &stages);
    let half = cluster.tree();
    let (id, state) = last(&cluster);
    assert_eq!(state, "partly");
    cluster
        .refused(0, &["grant", "etcd", "--all-nodes", "--dry-run"])
        .says(&format!(
            "warning: run {id} (`--manifests cluster server felix-metrics"
        ))
        .says(&format!(
            "hint: `calicoctl-protect apply --resume {id} --manifests cluster` ends it, `calicoctl-protect undo {id} --manifests cluster` takes it back"
        ));
    cluster
        .refused(64, &["apply", "--resume", &id])
        .shows("HostEndpoint/cp-1-all");
    cluster
        .does(&["apply", "--resume", &id, "--yes"])
        .says("done: ");
    same(&cluster.tree(), &whole, "apply --resume");
    assert_eq!(last(&cluster), (id.clone(), "done".to_owned()));
    cluster
        .refused(0, &["apply", "--resume", &id, "--yes"])
        .says("nothing to do: all of the run is in effect");
    cluster.does(&["undo", &id, "--yes"]);
    same(&cluster.tree(), &before, "undo of what was gone on with");
    // And without going on.
    cluster.does(&SERVER);
    killed_at(&cluster, 3, &stages);
    same(&cluster.tree(), &half, "killed again");
    cluster.does(&["undo", "--yes"]);
    same(&cluster.tree(), &before, "undo of a half");
}

#[test]
fn a_run_that_was_killed_before_it_wrote_anything_is_forgotten() {
    let cluster = Cluster::example();
    cluster.does(&["grant", "etcd", "--net", "198.51.100.0/28", "--yes"]);
    cluster.does(&["undo", "--yes"]);
    let before = cluster.tree();
    cluster.does(&SERVER);
    let path = journals(&cluster).pop().unwrap_or_default();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let header: String = text.split_inclusive('\n').take(1).collect();
    cluster.does(&["undo", "--yes"]);
    for path in journals(&cluster).into_iter().skip(2) {
        let removed = fs::remove_file(path);
        assert!(removed.is_ok(), "{removed:?}");
    }
    for cut in [header.len(), header.len() - 1, header.len() / 2, 0] {
        let cut = fs::write(&path, header.get(..cut).unwrap_or_default());
        assert!(cut.is_ok(), "{cut:?}");
        cluster
            .refused(0, &["grant", "etcd", "--all-nodes", "--dry-run"])
            .silent_about("half-way");
    }
    same(&cluster.tree(), &before, "nothing");
}

#[test]
fn hidden_files_that_a_run_had_to_leave_go_with_the_next_one() {
    let cluster = Cluster::example();
    for name in [".calicoctl-protect-Ab12", "hosts/.calicoctl-protect-Cd34"] {
        cluster.write(name, "half a file");
    }
    let ours = |cluster: &Cluster| {
        let names = cluster.tree().names().into_iter();
        names
            .filter(|name| name.contains(".calicoctl-protect-"))
            .count()
    };
    cluster.refused(0, &[&SERVER[..4], &["--dry-run"]].concat());
    assert_eq!(ours(&cluster), 2, "a dry run touches nothing");
    cluster.does(&SERVER);
    assert_eq!(ours(&cluster), 0);
}
