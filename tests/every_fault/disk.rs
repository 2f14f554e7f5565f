//! Disks that fill up and processes that are killed at a system call, by strace. The journal is brought
//! to disk with `fdatasync`, manifests and folders with `fsync`: so each can be met by itself.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::command::Run;
use crate::etcd_server::say;
use crate::field::{Field, Home};

/// Calls that give a file its name, as strace names them.
const NAMING: &str = "rename,renameat,renameat2,link,linkat";
const SYNCING: &str = "fsync";
const JOURNAL: &str = "fdatasync";

/// One disturbance: which calls, what happens, and whether to all later ones, too.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub name: &'static str,
    calls: &'static str,
    effect: &'static str,
    onward: bool,
}

/// What can happen to the journal, wherever the cluster is.
pub const OF_JOURNAL: [Fault; 2] = [
    fault(
        "killed while the journal is brought to disk",
        JOURNAL,
        "signal=KILL",
        false,
    ),
    fault("no room for the journal", JOURNAL, "error=ENOSPC", true),
];

/// What can happen to manifests.
pub const OF_MANIFESTS: [Fault; 5] = [
    fault(
        "killed before a file gets its name",
        NAMING,
        "signal=KILL",
        false,
    ),
    fault(
        "killed while a file is brought to disk",
        SYNCING,
        "signal=KILL",
        false,
    ),
    fault("a file cannot get its name", NAMING, "error=EIO", false),
    fault("no room for files", SYNCING, "error=ENOSPC", true),
    fault("no room for anything", "write", "error=ENOSPC", true),
];

const fn fault(
    name: &'static str,
    calls: &'static str,
    effect: &'static str,
    onward: bool,
) -> Fault {
    Fault {
        name,
        calls,
        effect,
        onward,
    }
}

/// Whether strace is there and may trace.
pub fn strace_works() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    let works = tried.is_ok_and(|output| output.status.success());
    if !works {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "strace is not installed or may not trace, and CI must run these tests"
        );
        say("skipped: strace is not installed or may not trace");
    }
    works
}

/// Runs a command with its k-th call of a kind, and all later ones where that is meant, disturbed.
pub fn strike(home: &Home, field: &impl Field, line: &str, k: usize, fault: Fault) -> Run {
    let Fault {
        calls,
        effect,
        onward,
        ..
    } = fault;
    let onward = if onward { "+" } else { "" };
    traced(
        home,
        field,
        line,
        &format!("inject={calls}:{effect}:when={k}{onward}"),
    )
}

/// Runs a command undisturbed; tells how often its main thread makes the calls of each fault.
pub fn count(
    home: &Home,
    field: &impl Field,
    line: &str,
    faults: &[Fault],
) -> (Run, BTreeMap<&'static str, usize>) {
    let trace = format!("trace={NAMING},{SYNCING},{JOURNAL},write");
    let run = traced(home, field, line, &trace);
    let trace = fs::read_to_string(home.trace()).unwrap();
    let main = trace.split_whitespace().next().unwrap_or_default();
    let of_main = |line: &&str| line.split_whitespace().next() == Some(main);
    let called = |line: &str| {
        let call = line.split_whitespace().nth(1)?;
        Some(call.split('(').next()?.to_owned())
    };
    let calls: Vec<String> = trace.lines().filter(of_main).filter_map(called).collect();
    let count = |fault: &Fault| {
        let kinds: Vec<&str> = fault.calls.split(',').collect();
        let met = calls.iter().filter(|call| kinds.contains(&call.as_str()));
        (fault.name, met.count())
    };
    (run, faults.iter().map(count).collect())
}

/// The command under strace with an expression.
fn traced(home: &Home, field: &impl Field, line: &str, expression: &str) -> Run {
    let plain = home.command(field, line);
    let mut command = Command::new("strace");
    home.prepare(&mut command);
    command.args(["-f", "-qq", "-o"]).arg(home.trace());
    command.args(["-e", expression]);
    command.arg(plain.get_program()).args(plain.get_args());
    Run::of(command)
}
