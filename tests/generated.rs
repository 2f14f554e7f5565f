//! The manual: man pages and the command reference, made from the same source as help.
//!
//! `UPDATE=1 cargo test --test generated` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

#[path = "generated/man.rs"]
mod man;
#[path = "generated/reference.rs"]
mod reference;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use calicoctl_protect::cli;
use calicoctl_protect::plugin::called::Called;
use clap::Command;

/// The whole command line, as help shows it.
fn command() -> Command {
    let mut command = cli::command(Called::Bare).disable_help_subcommand(true);
    command.build();
    command
}

/// A command and all below it that help shows, outermost first.
fn all(command: &Command) -> Vec<&Command> {
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    std::iter::once(command)
        .chain(shown.flat_map(all))
        .collect()
}

/// What stands behind a command's options: sections with a heading and indented lines.
fn sections(command: &Command) -> Vec<(String, Vec<String>)> {
    let text = command.get_after_long_help();
    let text = text.or_else(|| command.get_after_help());
    let text = text.map(ToString::to_string);
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.unwrap_or_default().lines() {
        match line
            .strip_suffix(':')
            .filter(|title| !title.starts_with(' '))
        {
            Some(title) => sections.push((title.to_owned(), Vec::new())),
            None => match sections.last_mut() {
                Some((_, lines)) => lines.push(line.strip_prefix("  ").unwrap_or(line).to_owned()),
                None => panic!("`{line}` of {} has no heading", command.get_name()),
            },
        }
    }
    for (_, lines) in &mut sections {
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
    }
    sections
}

/// Compares files with what they should hold, or writes them where that is wanted.
fn hold(folder: &str, expected: &BTreeMap<String, String>, is_ours: impl Fn(&str) -> bool) {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let present = || -> Vec<String> {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| is_ours(name)).collect()
    };
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for name in present()
            .iter()
            .filter(|name| !expected.contains_key(*name))
        {
            fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, text) in expected {
            fs::write(folder.join(name), text).unwrap();
        }
        return;
    }
    let differs = |name: &&String| {
        let text = fs::read_to_string(folder.join(name)).ok();
        text.as_ref() != expected.get(*name)
    };
    let mut names: Vec<String> = expected.keys().cloned().chain(present()).collect();
    names.sort();
    names.dedup();
    let stale: Vec<&String> = names.iter().filter(differs).collect();
    assert!(
        stale.is_empty(),
        "{stale:?} in {} are not what the program says: `UPDATE=1 cargo test --test generated` writes them anew",
        folder.display()
    );
}

#[test]
fn man_pages_are_what_help_says() {
    let command = command();
    let pages = all(&command).into_iter().map(man::page).collect();
    hold("docs/man", &pages, |name| name.ends_with(".1"));
}

#[test]
fn the_command_reference_is_what_help_says() {
    let text = reference::text(&command());
    let file = BTreeMap::from([("reference.md".to_owned(), text)]);
    hold("docs", &file, |name| name == "reference.md");
}

#[test]
fn every_command_is_explained_and_shows_an_example() {
    for command in all(&command()) {
        let name = command.get_bin_name().unwrap_or_default();
        assert!(command.get_about().is_some(), "{name} says what it does");
        let leads_on = command.has_subcommands() || name.ends_with("version");
        let examples = sections(command);
        let shows = examples.iter().any(|(title, lines)| {
            title == "Examples" && lines.iter().any(|line| line.starts_with(name))
        });
        assert!(
            shows || leads_on,
            "{name} shows an example that begins with it"
        );
        for arg in command.get_arguments() {
            let explained = arg.get_help().is_some();
            assert!(
                explained || arg.is_hide_set(),
                "{name} explains {}",
                arg.get_id()
            );
        }
    }
}
