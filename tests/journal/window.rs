//! Runs that are taken back unless they are confirmed.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::Cluster;
use crate::command::journals::{history, journals, last};
use crate::{SERVER, end, same};

/// A run that waits to be confirmed, once it does.
#[track_caller]
fn waiting(cluster: &Cluster, window: &str) -> Option<Child> {
    let mut command = cluster.command(&[&SERVER[..], &["--confirm-within", window]].concat());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(120) {
        if journals(cluster).last().is_some_and(|path| {
            fs::read_to_string(path).is_ok_and(|text| text.contains("{\"awaiting\""))
        }) {
            return child.ok();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("the run does not wait");
    None
}

#[test]
fn a_run_is_kept_by_a_word_from_elsewhere() {
    let cluster = Cluster::example();
    let Some(child) = waiting(&cluster, "1h") else {
        panic!("no run waits");
    };
    assert_eq!(last(&cluster).1, "unconfirmed");
    let after = cluster.tree();
    // Nobody else writes meanwhile.
    cluster
        .refused(4, &["grant", "etcd", "--all-nodes", "--yes"])
        .says("error: somebody is changing this cluster now: `--manifests cluster server");
    let (id, _) = last(&cluster);
    cluster
        .refused(0, &["confirm"])
        .says(&format!("run {id} is kept"));
    end(child).ended(0, &["server"]).says("done: ");
    same(&cluster.tree(), &after, "confirm");
    assert_eq!(last(&cluster).1, "done");
    cluster
        .refused(64, &["confirm"])
        .says("no run waits to be confirmed");
    cluster
        .refused(0, &["confirm", &id])
        .says("is kept already");
}

#[test]
fn a_run_that_nobody_confirms_is_taken_back() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    let run = cluster.run(&[&SERVER[..], &["--confirm-within", "1s"]].concat());
    run.ended(1, &SERVER)
        .says("warning: not confirmed within 1s: run ")
        .says("it is taken back, and that is read back and proved");
    same(&cluster.tree(), &before, "time-out");
    let states: Vec<Value> = history(&cluster)
        .iter()
        .map(|run| run["state"].clone())
        .collect();
    assert_eq!(states, ["undone", "done"]);
    let (undo, _) = last(&cluster);
    cluster.refused(
        4,
        &[
            "confirm",
            history(&cluster)[0]["id"].as_str().unwrap_or_default(),
        ],
    );
    cluster.does(&["undo", &undo, "--yes"]);
}

#[cfg(unix)]
#[test]
fn a_run_whose_terminal_hangs_up_is_taken_back() {
    for signal in ["HUP", "TERM", "INT"] {
        let cluster = Cluster::example();
        let before = cluster.tree();
        let Some(child) = waiting(&cluster, "1h") else {
            panic!("no run waits");
        };
        let kill = std::process::Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status();
        assert!(kill.is_ok(), "{kill:?}");
        end(child)
            .ended(1, &[signal])
            .says("interrupted before it was confirmed");
        same(&cluster.tree(), &before, signal);
    }
}

#[test]
fn a_run_is_taken_back_though_it_cannot_be_noted_that_time_is_up() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    let Some(child) = waiting(&cluster, "3s") else {
        panic!("no run waits");
    };
    let folder = journals(&cluster)[0].with_extension(format!("verdict-{}", child.id()));
    fs::create_dir(&folder).unwrap();
    end(child)
        .ended(1, &["server"])
        .says("it is taken back, and that is read back and proved");
    same(&cluster.tree(), &before, "time-out");
}

#[test]
fn a_word_from_an_earlier_window_does_not_count_in_a_later_one() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    let Some(child) = waiting(&cluster, "1h") else {
        panic!("no run waits");
    };
    let (id, _) = last(&cluster);
    cluster.refused(0, &["confirm"]);
    end(child).ended(0, &[&id]);
    // Somebody takes a part of it away, which is made again by the journal.
    let name = "hosts/control-plane.yaml";
    let text = cluster.read(name);
    let without = text.replacen("    protected-felix-metrics-server: \"true\"\n", "", 1);
    assert_ne!(text, without);
    cluster.write(name, &without);
    let resume = ["apply", "--resume", &id, "--yes", "--confirm-within", "2s"];
    let run = cluster.run(&resume);
    run.ended(1, &resume).says("not confirmed within 2s");
    same(&cluster.tree(), &before, "time-out");
}

#[test]
fn a_run_whose_process_died_while_it_waited_can_be_kept_or_taken_back() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    for kept in [true, false] {
        let Some(mut child) = waiting(&cluster, "1h") else {
            panic!("no run waits");
        };
        let killed = child.kill().and_then(|()| child.wait());
        assert!(killed.is_ok(), "{killed:?}");
        let (id, state) = last(&cluster);
        assert_eq!(state, "unconfirmed");
        cluster
            .refused(0, &["grant", "etcd", "--all-nodes", "--dry-run"])
            .says(&format!(
                "hint: `calicoctl-protect confirm {id} --manifests cluster` keeps it, `calicoctl-protect undo {id} --manifests cluster` takes it back"
            ));
        if kept {
            cluster.refused(0, &["confirm"]);
            assert_eq!(last(&cluster).1, "done");
        }
        cluster.does(&["undo", "--yes"]);
        same(&cluster.tree(), &before, "undo");
    }
}

#[test]
fn a_run_whose_process_died_before_it_took_it_back_can_be_kept_or_taken_back() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    for kept in [true, false] {
        let Some(mut child) = waiting(&cluster, "1h") else {
            panic!("no run waits");
        };
        child.kill().and_then(|()| child.wait()).unwrap();
        let (id, _) = last(&cluster);
        let journal = journals(&cluster).pop().unwrap();
        fs::write(journal.with_extension("verdict"), "lapsed by me@here\n").unwrap();
        cluster
            .refused(4, &["confirm", &id])
            .says(&format!(
                "too late: whoever was to take run {id} back was killed"
            ))
            .says(&format!(
                "`calicoctl-protect undo {id} --manifests cluster` takes it back, `calicoctl-protect apply --resume {id} --manifests cluster` keeps it"
            ));
        if kept {
            cluster.refused(0, &["apply", "--resume", &id, "--yes"]);
            assert_eq!(last(&cluster), (id.clone(), "done".to_owned()));
        }
        cluster.does(&["undo", &id, "--yes"]);
        same(&cluster.tree(), &before, "undo");
    }
}

#[test]
fn a_span_of_time_has_a_unit() {
    let cluster = Cluster::example();
    cluster
        .refused(64, &[&SERVER[..], &["--confirm-within", "5"]].concat())
        .says("`5` is no span of time: write `30s`, `5m` or `1h`");
}
