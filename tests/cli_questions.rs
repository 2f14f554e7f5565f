//! Questions to a person at a terminal.

#![expect(
    clippy::print_stdout,
    reason = "a test that cannot be run here says so"
)]

mod command;

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use command::{Cluster, FOLDER, Run};

/// The command on a terminal of its own; `None` where the machine has no `script`.
fn on_a_terminal(cluster: &Cluster, arguments: &[&str]) -> Option<Command> {
    let program = "/usr/bin/script";
    if !std::path::Path::new(program).exists() {
        println!("skipped: there is no {program} here");
        return None;
    }
    let binary = env!("CARGO_BIN_EXE_calicoctl-protect");
    let line = format!("'{binary}' --manifests {FOLDER} {}", arguments.join(" "));
    let mut command = Command::new(program);
    command
        .args(["-qec", &line, "/dev/null"])
        .current_dir(cluster.home())
        .env_clear()
        .env("XDG_STATE_HOME", cluster.state())
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command)
}

/// Answers the question, after something has happened while it stood.
fn answered(mut command: Command, answer: &str, meanwhile: impl FnOnce()) -> Option<Run> {
    let mut child = command.spawn().ok()?;
    let mut shown = Vec::new();
    let mut out = child.stdout.take()?;
    let mut piece = [0; 1024];
    while !String::from_utf8_lossy(&shown).contains("[y/N]") {
        let read = out.read(&mut piece).ok().filter(|read| *read > 0)?;
        shown.extend(piece.iter().take(read));
    }
    meanwhile();
    child.stdin.as_mut()?.write_all(answer.as_bytes()).ok()?;
    out.read_to_end(&mut shown).ok()?;
    let mut run = Run::from(child.wait_with_output().ok()?);
    run.out = String::from_utf8_lossy(&shown).into_owned();
    Some(run)
}

#[test]
fn a_person_is_asked_and_may_say_yes() {
    let cluster = Cluster::example();
    let Some(command) = on_a_terminal(&cluster, &["grant", "etcd", "--node", "worker-1"]) else {
        return;
    };
    let run = answered(command, "y\n", || ());
    assert!(run.is_some());
    if let Some(run) = run {
        run.ended(0, &["y"])
            .shows("Write 2 changes to cluster?")
            .shows("done: 2 changes written");
        assert!(
            run.out.contains("\u{1b}[32m"),
            "a terminal has colours: {run}"
        );
    }
    cluster
        .refused(0, &["grant", "etcd", "--node", "worker-1", "--yes"])
        .says("nothing to do");
}

#[test]
fn a_person_is_asked_and_may_say_no() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    for answer in ["n\n", "\n"] {
        let Some(command) = on_a_terminal(&cluster, &["grant", "etcd", "--node", "worker-1"])
        else {
            return;
        };
        let run = answered(command, answer, || ());
        assert!(run.is_some());
        if let Some(run) = run {
            run.ended(1, &[answer])
                .shows("not confirmed: nothing was written");
        }
        cluster.tree().assert_untouched(&before, &[answer]);
    }
}

#[test]
fn a_comment_that_comes_while_the_question_stands_stays_and_the_plan_goes_on() {
    let cluster = Cluster::example();
    let Some(command) = on_a_terminal(&cluster, &["grant", "etcd", "--node", "worker-1"]) else {
        return;
    };
    let mut theirs = cluster.read("hosts/workers.yaml");
    theirs.push_str("# somebody was faster\n");
    let run = answered(command, "y\n", || {
        cluster.write("hosts/workers.yaml", &theirs)
    });
    assert!(run.is_some());
    if let Some(run) = run {
        run.ended(0, &["y"])
            .shows("`hosts/workers.yaml` has changed since it was read")
            .shows("the plan changes and means the same")
            .shows("done: 2 changes written");
    }
    let file = cluster.read("hosts/workers.yaml");
    assert!(file.contains("# somebody was faster\n"), "{file}");
    assert!(file.contains("allowed-etcd-client"), "{file}");
}

#[test]
fn a_change_of_meaning_while_the_question_stands_is_a_conflict() {
    let cluster = Cluster::example();
    let Some(command) = on_a_terminal(&cluster, &["grant", "etcd", "--node", "worker-1"]) else {
        return;
    };
    let theirs = cluster
        .read("hosts/workers.yaml")
        .replace("192.0.2.21", "192.0.2.99");
    let run = answered(command, "y\n", || {
        cluster.write("hosts/workers.yaml", &theirs)
    });
    assert!(run.is_some());
    if let Some(run) = run {
        run.ended(4, &["y"])
            .shows("`hosts/workers.yaml` has changed since it was read")
            .shows("the plan does not mean any more what was shown")
            .shows("- approved, + now")
            .shows("run the command again to see the plan as it is now");
    }
    assert_eq!(cluster.read("hosts/workers.yaml"), theirs);
    let names = cluster.tree().names();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("allowed-etcd-client")),
        "{names:?}"
    );
}
