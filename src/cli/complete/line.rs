//! An unfinished command line.

use std::ffi::OsString;

use clap::{Arg, Command};

/// What can be told of a line before it is finished.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// The words; an option and its value are one (`--node=cp-1`), so that no value can be taken for
    /// a command of its name. The last is to be completed.
    pub words: Vec<OsString>,
    /// The commands in it, from the outermost.
    pub commands: Vec<String>,
    /// The options of every command, with their values.
    pub global: Vec<OsString>,
}

impl Line {
    /// Reads the words for a command that has been built.
    pub fn read(root: &Command, words: &[OsString]) -> Self {
        let mut line = Self::default();
        let mut command = root;
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            if words.peek().is_none() {
                line.words.push(word.clone());
                break;
            }
            let text = word.to_string_lossy();
            if let Some(option) = valued(command, &text)
                && let Some(value) = words.next()
            {
                if words.peek().is_none() {
                    // It is the value that is to be completed.
                    line.words.extend([word.clone(), value.clone()]);
                    break;
                }
                let mut joined = word.clone();
                if text.starts_with("--") {
                    joined.push("=");
                }
                joined.push(value);
                if option.is_global_set() {
                    line.global.push(joined.clone());
                }
                line.words.push(joined);
                continue;
            }
            if is_global(command, &text) {
                line.global.push(word.clone());
            } else if let Some(inner) = command.find_subcommand(&*text) {
                line.commands.push(inner.get_name().to_owned());
                command = inner;
            }
            line.words.push(word.clone());
        }
        if line.words.is_empty() {
            line.words.push(OsString::new());
        }
        line
    }
}

/// The option that a word names, when the next word is its value.
fn valued<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let takes_value = |arg: &&Arg| arg.get_num_args().is_some_and(|n| n.takes_values());
    let named = |arg: &&Arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => word
            .strip_prefix('-')
            .is_some_and(|short| arg.get_short().is_some_and(|c| short == c.to_string())),
    };
    command
        .get_arguments()
        .find(|arg| named(arg) && takes_value(arg))
}

/// Whether a word holds an option of every command and its value.
fn is_global(command: &Command, word: &str) -> bool {
    let Some((name, _)) = word
        .strip_prefix("--")
        .and_then(|long| long.split_once('='))
    else {
        return false;
    };
    let mut arguments = command.get_arguments();
    arguments.any(|arg| arg.is_global_set() && arg.get_long() == Some(name))
}
