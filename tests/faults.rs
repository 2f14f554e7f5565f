//! Faults of the machine: what may not be read or written, a full disk, a reader that goes away.

#![expect(
    clippy::print_stdout,
    reason = "a test that cannot be run here says so"
)]

mod command;

use std::fs;
use std::process::Stdio;

use command::{Cluster, FOLDER, Run};

const SERVER: [&str; 4] = ["server", "etcd", "--all-nodes", "--yes"];

/// The program as somebody who may not do everything: as another user, where the tests run as
/// root. `None` where that cannot be had.
fn unprivileged(cluster: &Cluster) -> Option<std::process::Command> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let home = cluster.home();
    let mut command = cluster.bare();
    if fs::metadata(home).ok()?.uid() == 0 {
        use std::os::unix::process::CommandExt as _;
        fs::set_permissions(home, fs::Permissions::from_mode(0o755)).ok()?;
        command.uid(65_534).gid(65_534);
        let mut probe = cluster.bare();
        probe.arg("version").uid(65_534).gid(65_534);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            println!("skipped: this machine lets root be nobody else");
            return None;
        }
    }
    // The journal goes where that user may write.
    let state = cluster.state();
    fs::create_dir_all(&state).ok()?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).ok()?;
    command.args(["--manifests", FOLDER]);
    Some(command)
}

fn chmod(cluster: &Cluster, name: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = cluster.path().join(name);
    let changed = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    assert!(changed.is_ok(), "{changed:?}");
}

#[test]
fn a_file_that_may_not_be_read() {
    let cluster = Cluster::example();
    chmod(&cluster, "felix.yaml", 0o000);
    let Some(mut command) = unprivileged(&cluster) else {
        return;
    };
    command.args(SERVER);
    let run = Run::of(command);
    chmod(&cluster, "felix.yaml", 0o644);
    run.ended(1, &SERVER).shows_nothing().says_all(&[
        "error: cannot read `felix.yaml`: permission denied",
        "hint: check that the file can be read by this user",
    ]);
}

#[test]
fn a_folder_that_may_not_be_written_to() {
    let cluster = Cluster::example();
    chmod(&cluster, "", 0o555);
    chmod(&cluster, "hosts", 0o555);
    let before = cluster.tree();
    let Some(mut command) = unprivileged(&cluster) else {
        return;
    };
    command.args(["grant", "etcd", "--all-nodes", "--yes"]);
    let run = Run::of(command);
    cluster.tree().assert_untouched(&before, &["grant"]);
    chmod(&cluster, "", 0o755);
    chmod(&cluster, "hosts", 0o755);
    run.ended(1, &["grant"])
        .says("error: cannot write `")
        .says(": permission denied\n")
        .says("hint: check that this user may write into the folder of the file\n");
}

/// The command under a limit on the size of files, in blocks of 512 bytes: what a full disk is
/// like, on any machine.
fn on_a_full_disk(cluster: &Cluster, blocks: u32, arguments: &[&str]) -> Run {
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
            "sh",
        ])
        .arg(blocks.to_string())
        .arg(env!("CARGO_BIN_EXE_calicoctl-protect"))
        .args(["--manifests", FOLDER])
        .args(arguments)
        .current_dir(cluster.home())
        .env_clear()
        .env("XDG_STATE_HOME", cluster.state())
        .stdin(Stdio::null());
    Run::of(shell)
}

#[test]
fn a_disk_that_is_full_from_the_start() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    let arguments = ["grant", "etcd", "--all-nodes", "--yes"];
    let run = on_a_full_disk(&cluster, 0, &arguments);
    run.ended(1, &arguments)
        .says("error: cannot write the journal at `")
        .says("hint: make room, or keep the journal elsewhere: `--journal DIR` (a copy of it, for what is to be undone or resumed)\n");
    cluster.tree().assert_untouched(&before, &arguments);
    // Nothing was written, so there is nothing to tell of.
    cluster.refused(0, &["history"]).says("nothing was written");
}

#[test]
fn a_disk_that_fills_half_way_leaves_no_half_file() {
    let cluster = Cluster::example();
    let mut long = cluster.read("hosts/control-plane.yaml");
    long.push_str(&"# a long story\n".repeat(8000));
    cluster.write("hosts/control-plane.yaml", &long);
    let arguments = ["server", "felix-metrics", "--node", "cp-1", "--yes"];
    let run = on_a_full_disk(&cluster, 128, &arguments);
    run.ended(6, &arguments)
        .says("error: 3 of 4 steps were written, then: cannot write `hosts/control-plane.yaml`: ")
        .says("  not written: ~ HostEndpoint/cp-1-all\n")
        .says("hint: what is written is safe as it is; `calicoctl-protect apply --resume ");
    assert_eq!(cluster.read("hosts/control-plane.yaml"), long);
    assert!(
        cluster
            .tree()
            .names()
            .iter()
            .all(|name| !name.contains("/.") && !name.starts_with('.'))
    );
    // With room again the same command ends what it began.
    cluster
        .does(&arguments)
        .says("stopped half-way, with 3 of 4 steps written")
        .says("done: 1 change written");
    cluster
        .refused(0, &arguments)
        .says("nothing to do")
        .silent_about("half-way");
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let cluster = Cluster::example();
    for arguments in [
        &[
            "server",
            "etcd",
            "--all-nodes",
            "--dry-run",
            "--grant-needed",
        ][..],
        &["completion", "bash"],
        &["--help"],
    ] {
        let mut command = cluster.command(arguments);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            assert!(child.is_ok(), "{child:?}");
            return;
        };
        drop(child.stdout.take());
        let Ok(output) = child.wait_with_output() else {
            continue;
        };
        let run = Run::from(output);
        run.ended(0, arguments).silent_about("error");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let cluster = Cluster::example();
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else {
        println!("skipped: there is no /dev/full here");
        return;
    };
    let mut command = cluster.command(&["status", "etcd"]);
    let output = command.stdout(full).stderr(Stdio::piped()).spawn();
    let run = output
        .and_then(std::process::Child::wait_with_output)
        .map(Run::from);
    assert!(run.is_ok(), "{run:?}");
    if let Ok(run) = run {
        run.ended(1, &["status"])
            .says("error: cannot write to standard output: ");
    }
}

#[test]
fn a_dry_run_tells_by_its_exit_code_whether_something_is_to_be_done() {
    let cluster = Cluster::example();
    let grant = ["grant", "etcd", "--all-nodes"];
    let look = [&grant[..], &["--dry-run", "--detailed-exitcode"]].concat();
    cluster
        .refused(2, &look)
        .says("dry run: nothing was written");
    cluster.refused(0, &[&grant[..], &["--dry-run"]].concat());
    cluster.does(&[&grant[..], &["--yes"]].concat());
    cluster.refused(0, &look).says("nothing to do");
}
