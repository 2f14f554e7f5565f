//! Disks that fill up and processes that are killed at a system call, by strace. The journal is brought
//! to disk with `fdatasync`, manifests and folders with `fsync`: so each can be met by itself. A disk
//! that is full in the middle of a line is a limit on the size of files.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use calicoctl_protect::apply::Folder;

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

/// Runs a command where no file can be longer than so many bytes: what is written beyond is cut off,
/// and then fails.
pub fn cramp(home: &Home, field: &impl Field, line: &str, bytes: usize) -> Run {
    let plain = home.command(field, line);
    let mut command = Command::new("sh");
    home.prepare(&mut command);
    let limited = "trap '' XFSZ; exec prlimit --fsize=\"$0\" -- \"$@\"";
    command.args(["-c", limited]).arg(bytes.to_string());
    command.arg(plain.get_program()).args(plain.get_args());
    Run::of(command)
}

/// Sizes at which a disk is full in the middle of a line of the one journal at home: of the first
/// line, and of the first of each further kind in a row.
pub fn cuts(home: &Home) -> Vec<usize> {
    let folders = Folder::all(&home.journals().join("calicoctl-protect")).unwrap();
    let mut runs = folders
        .iter()
        .flat_map(|folder| folder.runs().unwrap().into_iter().map(|id| folder.file(id)));
    let text = fs::read_to_string(runs.next().unwrap()).unwrap();
    assert_eq!(runs.next(), None, "more than one journal");
    let (mut start, mut last, mut cuts) = (0, "", Vec::new());
    for line in text.split_inclusive('\n') {
        let kind = line.split('"').nth(1).unwrap();
        if kind != last {
            cuts.push(start + line.len() / 2);
        }
        (start, last) = (start + line.len(), kind);
    }
    cuts
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
