//! Live completion: what can follow on a command line.
//!
//! The question and the answer are those of programs made with cobra, which kubectl asks of its
//! plugins, and calicoctl's newer completion scripts of calicoctl: `__complete WORDS… LAST`, one
//! candidate a line with a tab before its explanation, and last a line `:N` of `Directive`s. Of
//! `--option=value` the candidates are values alone, and paths are left to the shell. The scripts in
//! `completions/` ask the same way.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::sync::Arc;

use clap::Command;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};

use crate::plugin::called::{Called, PROGRAM};

mod line;
mod values;

use line::Line;
use values::{Known, Paths, Values};

/// The word by which shells ask.
const COMPLETE: &str = "__complete";
/// The same without explanations.
const COMPLETE_BARE: &str = "__completeNoDesc";

/// What the shell is told beside the candidates; the numbers are cobra's.
struct Directive;

impl Directive {
    /// No blank behind the candidate: it goes on.
    const NO_SPACE: u8 = 2;
    /// Files are not meant where there is no candidate.
    const NO_FILES: u8 = 4;
    /// Folders are meant.
    const FOLDERS: u8 = 16;
}

/// The words to complete, when a shell asks for completion: those behind the program's name, the
/// last of them up to the cursor.
#[must_use]
pub fn asked(completing: bool, arguments: &[OsString]) -> Option<(bool, &[OsString])> {
    match arguments.split_first() {
        Some((first, words)) if first == COMPLETE => Some((true, words)),
        Some((first, words)) if first == COMPLETE_BARE => Some((false, words)),
        _ => completing.then_some((true, arguments)),
    }
}

/// The answer. Where anything fails there are fewer candidates: nobody reads an error here.
#[must_use]
pub fn answer(called: Called, explained: bool, words: &[OsString]) -> String {
    let mut plain = super::command(called);
    plain.build();
    let Some((typed, before)) = words.split_last() else {
        return answer(called, explained, &[OsString::new()]);
    };
    let before = before.iter().map(|word| expanded(word));
    let words: Vec<OsString> = before.chain([typed.clone()]).collect();
    let line = Line::read(&plain, &words);
    let values = Arc::new(Values::new(&line));
    let mut live = with_values(super::command(called), &values);
    let mut all = vec![OsString::from(PROGRAM)];
    all.extend(line.words);
    let last = all.len() - 1;
    let mut found = complete(&mut live, all, last, None).unwrap_or_default();
    // Options come up when they are asked for, or when nothing else can follow.
    let is_option = |c: &CompletionCandidate| c.get_value().as_encoded_bytes().starts_with(b"-");
    let follows = values.paths().is_some() || !found.iter().all(is_option);
    if typed.is_empty() && follows {
        found.retain(|candidate| !is_option(candidate));
    }
    let typed = typed.to_string_lossy();
    let option = typed.split_once('=').map(|(option, _)| option);
    let option = option.filter(|option| option.starts_with('-'));
    written(&found, option, values.paths(), explained)
}

/// A word as the shell will hand it on: with the home folder and the environment's variables in it.
/// Shells ask with words as they were typed.
fn expanded(word: &OsStr) -> OsString {
    let Some(text) = word.to_str() else {
        return word.to_owned();
    };
    let (home, rest) = match (text.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => (format!("{home}/"), rest),
        _ => (String::new(), text),
    };
    let mut parts = rest.split('$');
    let mut done = home + parts.next().unwrap_or_default();
    for part in parts {
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = match part.strip_prefix('{').and_then(|part| part.split_once('}')) {
            Some(braced) => braced,
            None => part.split_at(part.find(|c| !in_name(c)).unwrap_or(part.len())),
        };
        match std::env::var(name) {
            Ok(value) if !name.is_empty() && name.chars().all(in_name) => done += &(value + rest),
            _ => done += &format!("${part}"),
        }
    }
    done.into()
}

fn written(
    found: &[CompletionCandidate],
    option: Option<&str>,
    paths: Option<Paths>,
    explained: bool,
) -> String {
    let mut text = String::new();
    let mut goes_on = !found.is_empty();
    for candidate in found {
        let Some(value) = candidate.get_value().to_str() else {
            continue;
        };
        let bare = option.and_then(|option| value.strip_prefix(option)?.strip_prefix('='));
        let value = bare.unwrap_or(value);
        // A name from a cluster must not end the line, or do worse to a terminal.
        if value.contains(char::is_control) {
            continue;
        }
        goes_on &= value.ends_with(['/', '=']);
        text.push_str(value);
        if let Some(help) = candidate.get_help().filter(|_| explained) {
            let help = help.to_string();
            let first = super::ui::clean(help.lines().next().unwrap_or_default());
            let _ = write!(text, "\t{}", first.replace('\t', " "));
        }
        text.push('\n');
    }
    let directive = match paths {
        Some(Paths::All) => 0,
        Some(Paths::Folders) => Directive::FOLDERS,
        None if goes_on => Directive::NO_FILES | Directive::NO_SPACE,
        None => Directive::NO_FILES,
    };
    let _ = writeln!(text, ":{directive}");
    text
}

/// The command line with something behind each argument that says what its values can be. What they
/// can be is told by the name of the value.
fn with_values(command: Command, values: &Arc<Values>) -> Command {
    let command = command.mut_args(|arg| {
        let Some(known) = Known::of(&arg) else {
            return arg;
        };
        let values = Arc::clone(values);
        let candidates = move |typed: &OsStr| values.candidates(known, typed);
        arg.add(ArgValueCompleter::new(candidates))
    });
    command.mut_subcommands(|inner| with_values(inner, values))
}
