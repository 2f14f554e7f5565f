//! Questions to a person at a terminal.

#![expect(
    clippy::print_stdout,
    reason = "a test that cannot be run here says so"
)]

mod command;

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use command::journals::{journals, last};
use command::{Cluster, FOLDER, Run};

/// Longer than anything takes that is waited for here.
const LONG: Duration = Duration::from_secs(120);

/// The command on a terminal of its own.
struct Terminal {
    child: Child,
    pieces: Receiver<Vec<u8>>,
    shown: Vec<u8>,
}

impl Terminal {
    /// Runs the command, and then another one on the same terminal; `None` where the machine has no
    /// `script`.
    fn open(cluster: &Cluster, arguments: &[&str], then: &str) -> Option<Self> {
        let program = "/usr/bin/script";
        if !std::path::Path::new(program).exists() {
            println!("skipped: there is no {program} here");
            return None;
        }
        let binary = env!("CARGO_BIN_EXE_calicoctl-protect");
        // The shell outlives a Ctrl-C that comes before the question reads keys, which is for all on
        // the terminal, as an interactive shell does.
        let first = if then.is_empty() { "" } else { "trap : INT; " };
        let line = format!(
            "{first}'{binary}' --manifests {FOLDER} {}{then}",
            arguments.join(" ")
        );
        let mut child = Command::new(program)
            .args(["-qec", &line, "/dev/null"])
            .current_dir(cluster.home())
            .env_clear()
            .env("XDG_STATE_HOME", cluster.state())
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut out = child.stdout.take()?;
        let (tell, pieces) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(read) = out.read(&mut piece) {
                let piece: Vec<u8> = piece.iter().take(read).copied().collect();
                if read == 0 || tell.send(piece).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            child,
            pieces,
            shown: Vec::new(),
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Whether something is shown within a time.
    fn shows(&mut self, text: &str, within: Duration) -> bool {
        let begun = Instant::now();
        while !self.text().contains(text) {
            let left = within.saturating_sub(begun.elapsed());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.shown.extend(piece),
                Err(_) => return false,
            }
        }
        true
    }

    #[track_caller]
    fn asks(&mut self, question: &str) {
        assert!(self.shows(question, LONG), "{}", self.text());
    }

    #[track_caller]
    fn types(&mut self, keys: &str) {
        let typed = self.child.stdin.as_mut().map(|input| {
            input.write_all(keys.as_bytes())?;
            input.flush()
        });
        assert!(matches!(typed, Some(Ok(()))), "{typed:?}");
    }

    #[track_caller]
    fn ends(mut self) -> Run {
        loop {
            match self.pieces.recv_timeout(LONG) {
                Ok(piece) => self.shown.extend(piece),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    assert!(self.shown.is_empty(), "it does not end: {}", self.text());
                }
            }
        }
        let shown = self.text();
        let output = self.child.wait_with_output();
        assert!(output.is_ok(), "{output:?}");
        Run {
            code: output.ok().and_then(|output| output.status.code()),
            out: shown,
            err: String::new(),
        }
    }
}

const GRANT: [&str; 4] = ["grant", "etcd", "--node", "worker-1"];

/// A question of a command, which is answered after something has happened while it stood.
#[track_caller]
fn answered(cluster: &Cluster, answer: &str, meanwhile: impl FnOnce()) -> Option<Run> {
    let mut terminal = Terminal::open(cluster, &GRANT, "")?;
    terminal.asks("[y/N]");
    meanwhile();
    terminal.types(answer);
    Some(terminal.ends())
}

#[test]
fn a_person_is_asked_and_may_say_yes() {
    let cluster = Cluster::example();
    let Some(run) = answered(&cluster, "y\n", || ()) else {
        return;
    };
    run.ended(0, &["y"])
        .shows("Write 2 changes to cluster?")
        .shows("done: 2 changes written");
    assert!(
        run.out.contains("\u{1b}[32m"),
        "a terminal has colours: {run}"
    );
    cluster
        .refused(0, &["grant", "etcd", "--node", "worker-1", "--yes"])
        .says("nothing to do");
}

#[test]
fn a_person_is_asked_and_may_say_no() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    for answer in ["n\n", "\n"] {
        let Some(run) = answered(&cluster, answer, || ()) else {
            return;
        };
        run.ended(1, &[answer])
            .shows("not confirmed: nothing was written");
        cluster.tree().assert_untouched(&before, &[answer]);
    }
}

#[test]
fn a_comment_that_comes_while_the_question_stands_stays_and_the_plan_goes_on() {
    let cluster = Cluster::example();
    let mut theirs = cluster.read("hosts/workers.yaml");
    theirs.push_str("# somebody was faster\n");
    let meanwhile = || cluster.write("hosts/workers.yaml", &theirs);
    let Some(run) = answered(&cluster, "y\n", meanwhile) else {
        return;
    };
    run.ended(0, &["y"])
        .shows("`hosts/workers.yaml` has changed since it was read")
        .shows("the plan changes and means the same")
        .shows("done: 2 changes written");
    let file = cluster.read("hosts/workers.yaml");
    assert!(file.contains("# somebody was faster\n"), "{file}");
    assert!(file.contains("allowed-etcd-client"), "{file}");
}

#[test]
fn a_change_of_meaning_while_the_question_stands_is_a_conflict() {
    let cluster = Cluster::example();
    let theirs = cluster
        .read("hosts/workers.yaml")
        .replace("192.0.2.21", "192.0.2.99");
    let meanwhile = || cluster.write("hosts/workers.yaml", &theirs);
    let Some(run) = answered(&cluster, "y\n", meanwhile) else {
        return;
    };
    run.ended(4, &["y"])
        .shows("`hosts/workers.yaml` has changed since it was read")
        .shows("the plan no longer means what was shown")
        .shows("- approved, + now")
        .shows("run the command again to see the plan as it is now");
    assert_eq!(cluster.read("hosts/workers.yaml"), theirs);
    let names = cluster.tree().names();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("allowed-etcd-client")),
        "{names:?}"
    );
}

/// Presses Ctrl-C while a question stands, and checks what is left of the terminal.
#[track_caller]
fn interrupted(cluster: &Cluster, arguments: &[&str], question: &str, code: i32, words: &str) {
    // The shell stays to tell how the terminal is.
    let then = "; echo \"ended with $?\"; stty -a";
    let Some(mut terminal) = Terminal::open(cluster, arguments, then) else {
        return;
    };
    let before = cluster.tree();
    let runs = journals(cluster);
    terminal.asks(question);
    terminal.asks("\u{1b}[?25l");
    // Keys count from when the question reads them.
    let ended = (0..60).any(|_| {
        terminal.types("\u{3}");
        terminal.shows("ended with", Duration::from_secs(2))
    });
    assert!(ended, "{}", terminal.text());
    let run = terminal.ends();
    run.shows(words).shows(&format!("ended with {code}"));
    let (hidden, visible) = (run.out.rfind("\u{1b}[?25l"), run.out.rfind("\u{1b}[?25h"));
    assert!(visible > hidden, "the cursor is hidden: {run}");
    for setting in [" echo ", " icanon ", " isig ", " icrnl ", " opost "] {
        let settings = run.out.replace(['\r', '\n', ';'], " ");
        assert!(settings.contains(setting), "no{setting}in {run}");
    }
    cluster.tree().assert_untouched(&before, arguments);
    assert_eq!(journals(cluster), runs);
}

#[test]
fn ctrl_c_at_the_question_whether_to_write_leaves_the_terminal_as_it_was() {
    let cluster = Cluster::example();
    let words = "not confirmed: nothing was written";
    interrupted(&cluster, &GRANT, "[y/N]", 1, words);
    cluster.does(&["grant", "etcd", "--node", "worker-1", "--yes"]);
    let words = "not confirmed: nothing was written";
    interrupted(&cluster, &["undo"], "[y/N]", 1, words);
}

#[test]
fn ctrl_c_at_the_question_whose_word_counts_leaves_the_terminal_as_it_was() {
    let cluster = Cluster::example();
    cluster.does(&["grant", "etcd", "--node", "worker-1", "--yes"]);
    let theirs = cluster.read("hosts/workers.yaml").replacen(
        "allowed-etcd-client: \"true\"",
        "allowed-etcd-client: \"mine\"",
        1,
    );
    cluster.write("hosts/workers.yaml", theirs);
    let question = "What is to become of them";
    let words = "stopped: nothing was written";
    interrupted(&cluster, &["undo"], question, 4, words);
}

#[test]
fn enter_keeps_a_run_once_that_is_asked_for() {
    let cluster = Cluster::example();
    let arguments = [&GRANT[..], &["--yes", "--confirm-within", "1h"]].concat();
    let Some(mut terminal) = Terminal::open(&cluster, &arguments, "") else {
        return;
    };
    terminal.asks("press Enter here, or run `calicoctl-protect confirm ");
    terminal.types("\n");
    terminal.ends().ended(0, &arguments).shows("done: ");
    assert_eq!(last(&cluster).1, "done");
}

#[test]
fn enter_that_was_pressed_before_it_was_asked_for_keeps_nothing() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    let arguments = [&GRANT[..], &["--confirm-within", "2s"]].concat();
    let Some(mut terminal) = Terminal::open(&cluster, &arguments, "") else {
        return;
    };
    terminal.asks("[y/N]");
    terminal.types("y\n\n");
    terminal
        .ends()
        .ended(1, &arguments)
        .shows("not confirmed within 2s");
    cluster.tree().assert_same(&before, &arguments);
}
