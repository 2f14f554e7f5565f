//! Live completion: what can follow on a command line.
//!
//! The question and the answer are those of programs made with cobra, which kubectl asks of its
//! plugins, and calicoctl's newer completion scripts of calicoctl: `__complete WORDS… LAST`, one
//! candidate a line with a tab before its explanation, and last a line `:N` of `Directive`s. The
//! scripts in `completions/` ask the same way.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::sync::Arc;

use clap::{Command, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};

use crate::plugin::called::{Called, PROGRAM};

mod line;
mod values;

use line::Line;
use values::{Known, Values};

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
    let line = Line::read(&plain, words);
    let values = Arc::new(Values::new(&line));
    let mut live = with_values(super::command(called), &values);
    let mut all = vec![OsString::from(PROGRAM)];
    all.extend(line.words);
    let last = all.len() - 1;
    let here = std::env::current_dir().ok();
    let mut found = complete(&mut live, all, last, here.as_deref()).unwrap_or_default();
    // Options come up when they are asked for, or when nothing else can follow.
    let is_option = |c: &CompletionCandidate| c.get_value().as_encoded_bytes().starts_with(b"-");
    let typed = words.last().map(OsString::as_os_str).unwrap_or_default();
    if typed.is_empty() && !found.iter().all(is_option) {
        found.retain(|candidate| !is_option(candidate));
    }
    written(&found, explained)
}

fn written(found: &[CompletionCandidate], explained: bool) -> String {
    let mut text = String::new();
    let mut goes_on = !found.is_empty();
    for candidate in found {
        let Some(value) = candidate.get_value().to_str() else {
            continue;
        };
        // A name of a file or from a cluster must not end the line, or do worse to a terminal.
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
    let space = if goes_on { Directive::NO_SPACE } else { 0 };
    let _ = writeln!(text, ":{}", Directive::NO_FILES | space);
    text
}

/// The command line with something behind each argument that says what its values can be. What they
/// can be is told by the name of the value.
fn with_values(command: Command, values: &Arc<Values>) -> Command {
    let command = command.mut_args(|arg| {
        let name = arg.get_value_names().and_then(<[_]>::first);
        let Some(known) = name.and_then(|name| Known::of(name.as_str())) else {
            return arg;
        };
        if known == Known::Path {
            return arg.value_hint(ValueHint::AnyPath);
        }
        let values = Arc::clone(values);
        let candidates = move |typed: &OsStr| values.candidates(known, typed);
        arg.add(ArgValueCompleter::new(candidates))
    });
    command.mut_subcommands(|inner| with_values(inner, values))
}
