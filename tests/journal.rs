//! The journal on manifests: what is written is known, can be gone on with and taken back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

mod command;

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use command::journals::{history, journals, last};
use command::trips::{ETCD, OWN, copy, words};
use command::{Cluster, Run, Tree};
use serde_json::Value;

const BESIDE: [&str; 3] = ["gitops", "kubeadm-v3/yaml", "legacy-v1/yaml"];

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

/// Commands of the main job that go through one after the other.
fn main_job(name: &str) -> Vec<&'static str> {
    let mut lines = vec![ETCD, "grant etcd --all-nodes --net 198.51.100.0/28"];
    if ["team", "gitops"].contains(&name) {
        lines.push("grant typha --all-nodes");
    }
    lines.extend([
        "server felix-metrics --all-nodes",
        "prune tcp/2379",
        "revoke etcd --net 198.51.100.0/28",
        "restore tcp/2379",
        "remove felix-metrics",
    ]);
    lines
}

#[test]
fn undo_gives_back_every_byte() {
    for name in OWN.into_iter().chain(BESIDE) {
        let Some(cluster) = copy(name) else { continue };
        let mut trees = vec![cluster.tree()];
        for line in main_job(name) {
            does(&cluster, line).says("done: ");
            trees.push(cluster.tree());
        }
        trees.pop();
        for (line, before) in main_job(name).into_iter().zip(trees).rev() {
            does(&cluster, "undo").says("done: ");
            same(
                &cluster.tree(),
                &before,
                &format!("undo of {line} on {name}"),
            );
        }
        cluster
            .refused(64, &["undo", "--yes"])
            .says("there is no run to undo");
    }
}

#[test]
fn undo_puts_back_comments_quotes_and_files() {
    let cluster = Cluster::example();
    cluster.does(&["grant", "etcd", "--net", "198.51.100.0/28", "--yes"]);
    // Somebody makes the file of the tool their own.
    let names = cluster.tree().names();
    let name = names
        .iter()
        .find(|name| name.contains("allowed-etcd-client"));
    assert!(name.is_some(), "{names:?}");
    let name = name.map_or("", String::as_str);
    let text = format!(
        "# why: ask Joe\n{}\n---\n# nothing here\n",
        cluster.read(name)
    );
    cluster.write(
        name,
        text.replace("198.51.100.0/28", "198.51.100.0/28 # backup"),
    );
    let before = cluster.tree();
    cluster.does(&["revoke", "etcd", "--net", "198.51.100.0/28", "--yes"]);
    assert!(!cluster.read(name).contains("backup"));
    cluster.does(&["undo", "--yes"]);
    same(&cluster.tree(), &before, "undo of revoke");
}

#[test]
fn an_undo_can_be_undone() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    cluster.does(&SERVER);
    let after = cluster.tree();
    let (first, _) = last(&cluster);
    cluster.does(&["undo", "--yes"]);
    same(&cluster.tree(), &before, "undo");
    let (second, _) = last(&cluster);
    let states = |cluster: &Cluster| -> Vec<String> {
        let runs = history(cluster);
        runs.iter()
            .map(|run| run["state"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(states(&cluster), ["undone", "done"]);
    cluster
        .refused(0, &["undo", &first, "--yes"])
        .says(&format!("nothing to do: run {first} is undone already"));
    cluster.does(&["undo", &second, "--yes"]);
    same(&cluster.tree(), &after, "undo of undo");
    assert_eq!(states(&cluster), ["done", "undone", "done"]);
    cluster.does(&["undo", &first, "--yes"]);
    same(&cluster.tree(), &before, "undo again");
}

#[test]
fn the_history_marks_who_took_whom_back() {
    let cluster = Cluster::example();
    cluster.does(&SERVER);
    let (first, _) = last(&cluster);
    cluster.does(&["undo", "--yes"]);
    let (second, _) = last(&cluster);
    let list = cluster.refused(0, &["history"]);
    let rows: Vec<&str> = list.out.lines().skip(1).collect();
    let is = |row: &str, id: &str, state: &str, end: &str| {
        assert!(row.starts_with(id) && row.ends_with(end), "{list}");
        assert!(row.contains(&format!("  {state}  ")), "{list}");
    };
    let undone = format!("undone by {second}");
    is(rows[0], &first, &undone, "--node cp-1 --yes");
    let takes_back = format!("undo --yes  (takes back {first})");
    is(rows[1], &second, "done", &takes_back);
    assert_eq!(rows.len(), 2, "{list}");
    let told = |runs: &[Value], key: &str| -> Vec<Value> {
        runs.iter().map(|run| run[key].clone()).collect()
    };
    let runs = history(&cluster);
    assert_eq!(
        told(&runs, "undoneBy"),
        [second.as_str().into(), Value::Null]
    );
    assert_eq!(told(&runs, "undoes"), [Value::Null, first.as_str().into()]);
    cluster
        .refused(0, &["history", &second])
        .shows(&format!("  takes back run {first}\n"));
    cluster
        .refused(0, &["history", &first])
        .shows(&format!("run {first}  {undone}\n"))
        .shows(&format!(" by run {second}\n"));
    // The mark goes where the one that took it back is taken back itself.
    cluster.does(&["undo", &second, "--yes"]);
    let (third, _) = last(&cluster);
    let runs = history(&cluster);
    let nothing = Value::Null;
    assert_eq!(
        told(&runs, "undoneBy"),
        [nothing.clone(), third.into(), nothing]
    );
}

#[test]
fn undo_takes_failsafes_back_first() {
    let cluster = Cluster::example();
    cluster.does(&words(&format!("{ETCD} --grant-needed --prune --yes")));
    let run = cluster.refused(0, &["undo", "--dry-run"]);
    let order: Vec<usize> = [
        "FelixConfiguration/",
        "protected labels: ",
        "- GlobalNetworkSet/",
    ]
    .iter()
    .filter_map(|part| run.out.find(part))
    .collect();
    assert!(order.len() == 3 && order.is_sorted(), "{run}");
}

#[test]
fn an_undo_that_would_cut_a_needed_flow_is_refused() {
    let cluster = Cluster::own("kubeadm");
    cluster.does(&["grant", "typha", "--all-nodes", "--yes"]);
    let (grant, _) = last(&cluster);
    cluster.does(&["server", "typha", "--node", "w-1", "--yes"]);
    cluster.does(&["prune", "typha", "--yes"]);
    cluster
        .refused(3, &["undo", &grant, "--yes"])
        .says("would be cut")
        .says("agent-to-typha:");
}

#[test]
fn undo_keeps_what_others_have_changed_since() {
    let cluster = Cluster::example();
    let before = cluster.read("hosts/control-plane.yaml");
    cluster.does(&SERVER);
    let mine = |text: &str| {
        text.replacen(
            "role: control-plane",
            "role: control-plane\n    mine: \"1\"",
            1,
        )
    };
    let text = mine(&cluster.read("hosts/control-plane.yaml"));
    cluster.write("hosts/control-plane.yaml", text);
    cluster.does(&["undo", "--yes"]);
    assert_eq!(cluster.read("hosts/control-plane.yaml"), mine(&before));
}

#[test]
fn an_object_that_is_gone_is_told_once_and_the_rest_is_put_back() {
    let cluster = Cluster::example();
    let name = "hosts/control-plane.yaml";
    let mut before = files(&cluster);
    // Two steps of the run are about the endpoint.
    does(&cluster, &format!("{ETCD} --grant-needed"));
    cluster.write(name, "");
    let run = does(&cluster, "undo");
    let words = "HostEndpoint/cp-1-all is not there any more";
    assert_eq!(run.err.matches(words).count(), 1, "{run}");
    before.insert(name.into(), String::new());
    assert_eq!(files(&cluster), before);
}

#[test]
fn an_object_that_others_have_made_anew_is_theirs() {
    let name = "globalnetworkpolicy-protected-felix-metrics-server.yaml";
    let theirs = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  \
        name: protected-felix-metrics-server\nspec:\n  order: 7\n  selector: none == 'x'\n";
    for (whose, stays) in [("keep", true), ("restore", false)] {
        let cluster = Cluster::example();
        let mut before = files(&cluster);
        cluster.does(&SERVER);
        cluster.write(name, theirs);
        cluster
            .refused(4, &["undo", "--yes"])
            .says("GlobalNetworkPolicy/protected-felix-metrics-server: spec.order is 7, and would become nothing")
            .says("GlobalNetworkPolicy/protected-felix-metrics-server: spec.types is gone, and the object would go");
        cluster.does(&["undo", "--yes", "--overlaps", whose]);
        if stays {
            before.insert(name.into(), theirs.into());
        }
        assert_eq!(files(&cluster), before, "{whose}");
    }
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

/// What is in the files of a cluster.
fn files(cluster: &Cluster) -> std::collections::BTreeMap<String, String> {
    let names = cluster.tree().names().into_iter();
    names
        .map(|name| (name.clone(), cluster.read(&name)))
        .collect()
}

#[test]
fn where_others_have_changed_the_same_undo_asks_or_refuses() {
    let set = |cluster: &Cluster, value: &str| {
        let name = "hosts/control-plane.yaml";
        let label = "protected-felix-metrics-server: ";
        let text = cluster.read(name);
        let changed = text.replacen(
            &format!("{label}\"true\""),
            &format!("{label}\"{value}\""),
            1,
        );
        assert_ne!(text, changed);
        cluster.write(name, changed);
    };
    let cluster = Cluster::example();
    let before = cluster.tree();
    cluster.does(&SERVER);
    set(&cluster, "mine");
    cluster
        .refused(4, &["undo", "--yes"])
        .says("HostEndpoint/cp-1-all: metadata.labels.protected-felix-metrics-server is \"mine\", and would become nothing")
        .says("`--overlaps keep`");
    let restored = cluster.refused(0, &["undo", "--dry-run", "--overlaps", "restore"]);
    restored.shows("-    protected-felix-metrics-server: mine");
    cluster.does(&["undo", "--yes", "--overlaps", "restore"]);
    same(&cluster.tree(), &before, "undo");
    cluster.does(&SERVER);
    set(&cluster, "mine");
    cluster.does(&["undo", "--yes", "--overlaps", "keep"]);
    let text = cluster.read("hosts/control-plane.yaml");
    assert!(
        text.contains("mine") && !text.contains("bl-default-allow"),
        "{text}"
    );
}

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

#[test]
fn a_span_of_time_has_a_unit() {
    let cluster = Cluster::example();
    cluster
        .refused(64, &[&SERVER[..], &["--confirm-within", "5"]].concat())
        .says("`5` is no span of time: write `30s`, `5m` or `1h`");
}
