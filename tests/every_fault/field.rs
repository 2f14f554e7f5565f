//! A field of trial: a cluster of some kind that commands run on, and that can be looked at.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use calicoctl_protect::calico::Snapshot;
use tempfile::TempDir;

use crate::command::Run;
use crate::command::trips::words;

/// What is stored, without what servers keep for themselves: a text for each object or file.
pub type State = BTreeMap<String, String>;

/// A cluster of some kind.
pub trait Field {
    /// The arguments that lead the command to it.
    fn arguments(&self) -> Vec<String>;

    /// What is stored now.
    fn state(&self) -> State;

    /// What the product reads of it.
    fn snapshot(&self) -> Snapshot;
}

/// The folder in which one run of the command and what follows it keep their files.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where the journals are.
    pub fn journals(&self) -> std::path::PathBuf {
        self.0.path().join("state")
    }

    /// Where strace writes to.
    pub fn trace(&self) -> std::path::PathBuf {
        self.0.path().join("trace")
    }

    /// The command on a field, with nothing of this machine's environment.
    pub fn command(&self, field: &impl Field, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calicoctl-protect"));
        self.prepare(&mut command);
        command.args(field.arguments()).args(words(line));
        command
    }

    /// Gives a command this home.
    pub fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .env("XDG_STATE_HOME", self.journals())
            .stdin(Stdio::null());
    }

    /// Runs the command to its end.
    pub fn run(&self, field: &impl Field, line: &str) -> Run {
        Run::of(self.command(field, line))
    }

    /// Runs the command, which must do its work.
    #[track_caller]
    pub fn does(&self, field: &impl Field, line: &str) -> Run {
        let run = self.run(field, line);
        assert_eq!(run.code, Some(0), "{line}: {run}");
        run
    }
}
