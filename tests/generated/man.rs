//! Man pages.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::sections;

/// The page of a command: the name of its file, and its text.
pub fn page(command: &Command) -> (String, String) {
    let version = format!("calicoctl-protect {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone())
        .source(version)
        .manual("calicoctl-protect");
    let mut text = Vec::new();
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    synopsis.text([roman(usage)]);
    synopsis.to_writer(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text).unwrap();
    }
    let mut rest = Roff::new();
    for (title, lines) in sections(command) {
        // As they are: an example is no running text.
        rest.control("SH", [title.to_uppercase().as_str()]);
        rest.control("nf", []);
        for line in lines {
            rest.text([roman(line)]);
        }
        rest.control("fi", []);
    }
    if command.get_bin_name() != Some("calicoctl-protect") {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([roman("calicoctl-protect(1)")]);
    }
    rest.to_writer(&mut text).unwrap();
    (man.get_filename(), String::from_utf8(text).unwrap())
}
