//! The command reference, as Markdown.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::{all, sections};

/// The heading under which every command has the same options.
const GLOBAL: &str = "Global options";

/// The whole reference.
pub fn text(root: &Command) -> String {
    let mut text = "# Command reference\n\n\
        Written by `UPDATE=1 cargo test --test generated` from the same source as `--help`: change the\n\
        program, not this file.\n\n"
        .to_owned();
    let commands = all(root);
    for command in &commands {
        let name = name(command);
        let about = command.get_about().map(ToString::to_string);
        let anchor = name.to_lowercase().replace(' ', "-");
        let _ = writeln!(
            text,
            "- [`{name}`](#{anchor}): {}",
            about.unwrap_or_default()
        );
    }
    for command in &commands {
        section(&mut text, command);
    }
    text
}

fn name(command: &Command) -> &str {
    command.get_bin_name().unwrap()
}

fn section(text: &mut String, command: &Command) {
    let _ = writeln!(text, "\n## {}\n", name(command));
    let about = command.get_long_about().or_else(|| command.get_about());
    let _ = writeln!(text, "{}", about.unwrap().to_string().trim_end());
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    let _ = writeln!(text, "\n```text\n{usage}\n```");
    let is_root = name(command) == "calicoctl-protect";
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let mut groups: Vec<(String, Vec<&Arg>)> = Vec::new();
    for arg in command.get_arguments().filter(shown) {
        let group = match arg.get_help_heading() {
            Some(heading) => heading.to_owned(),
            None if arg.is_positional() => "Arguments".to_owned(),
            None => "Options".to_owned(),
        };
        match groups.iter_mut().find(|(title, _)| *title == group) {
            Some((_, args)) => args.push(arg),
            None => groups.push((group, vec![arg])),
        }
    }
    for (title, args) in groups {
        if title == GLOBAL && !is_root {
            continue;
        }
        let _ = writeln!(text, "\n{title}:\n");
        for arg in args {
            item(text, arg);
        }
    }
    if !is_root {
        let _ = writeln!(text, "\nAnd the [global options](#calicoctl-protect).");
    }
    for (title, lines) in sections(command) {
        let kind = if title == "Examples" { "sh" } else { "text" };
        let _ = writeln!(text, "\n{title}:\n\n```{kind}\n{}\n```", lines.join("\n"));
    }
}

fn item(text: &mut String, arg: &Arg) {
    let values = arg.get_value_names().unwrap_or_default();
    let takes_value = arg.get_num_args().is_some_and(|n| n.takes_values());
    let value = match values {
        [value, ..] if takes_value => format!("<{value}>"),
        _ => String::new(),
    };
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let words: Vec<String> = short.into_iter().chain(long).collect();
    let shown = match (words.is_empty(), value.is_empty()) {
        (true, _) => value,
        (false, true) => words.join(", "),
        (false, false) => format!("{} {value}", words.join(", ")),
    };
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<String> = help
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    // The first has no full stop of its own.
    let _ = write!(text, "- `{shown}`: {}", paragraphs.join(". "));
    if takes_value {
        let defaults = arg.get_default_values().iter();
        let defaults: Vec<String> = defaults.map(|d| format!("`{}`", d.display())).collect();
        if !defaults.is_empty() {
            let _ = write!(text, " (default: {})", defaults.join(", "));
        }
        text.push('\n');
        for value in arg
            .get_possible_values()
            .iter()
            .filter(|v| !v.is_hide_set())
        {
            let help = value.get_help().map(|help| format!(": {help}"));
            let _ = writeln!(
                text,
                "  - `{}`{}",
                value.get_name(),
                help.unwrap_or_default()
            );
        }
    } else {
        text.push('\n');
    }
}
