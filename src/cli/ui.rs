//! The terminal: results on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Effects, Style};

use super::error::CliError;
use super::hint::Typed;
use super::interrupt::Interrupt;
use crate::plugin::called::Called;

/// Red, for errors and what goes away.
pub const RED: Style = AnsiColor::Red.on_default();
/// Green, for what comes.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Yellow, for changes and warnings.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Cyan, for places and hunk headers.
pub const CYAN: Style = AnsiColor::Cyan.on_default();
/// Bold, for names.
pub const BOLD: Style = Style::new().effects(Effects::BOLD);

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal that can, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// After so long it is said what takes its time.
pub const SILENCE: Duration = Duration::from_secs(5);

/// Where output goes.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    quiet: bool,
    typed: Typed,
}

impl Ui {
    /// Sets colours up for the whole process.
    #[must_use]
    pub fn new(color: Color, quiet: bool, typed: Typed) -> Self {
        let choice = match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        Self { quiet, typed }
    }

    /// Writes the result. A reader that went away is no error.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written to, such as on a full disk.
    pub fn result(self, text: &str) -> Result<(), CliError> {
        let plain = anstream::stdout().current_choice() == anstream::ColorChoice::Never;
        // Standard output writes line by line; a plan of thousands of objects goes out in large parts.
        let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let written = match plain {
            true => write!(out, "{}", anstream::adapter::strip_str(text)),
            false => out.write_all(text.as_bytes()),
        };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::new(
                super::exit::Exit::Failed,
                format!("cannot write to standard output: {error}"),
            )),
            _ => Ok(()),
        }
    }

    /// The name that the tool was called by.
    #[must_use]
    pub const fn called(self) -> Called {
        self.typed.called()
    }

    /// Says something beside the result, unless asked to be quiet. Commands are shown by the name
    /// that the tool was called by ([`Called::name_commands`]).
    pub fn say(self, text: &str) {
        if !self.quiet {
            Self::to_stderr(&self.called().name_commands(text));
        }
    }

    /// A text whose commands can be typed as they are shown ([`Typed::whole`]).
    #[must_use]
    pub fn whole(self, text: &str) -> String {
        self.typed.whole(text)
    }

    /// Says what to do next, unless asked to be quiet ([`Typed::whole`]).
    pub fn hint(self, text: &str) {
        if !self.quiet {
            Self::to_stderr(&format!("hint: {}", self.typed.whole(&clean(text))));
        }
    }

    /// Warns, also when asked to be quiet.
    pub fn warn(self, text: &str) {
        Self::to_stderr(&format!("{YELLOW}warning:{YELLOW:#} {}", clean(text)));
    }

    /// Shows an error with its details and hint.
    pub fn error(self, error: &CliError) {
        let mut text = format!("{RED}error:{RED:#} {}", clean(&error.message));
        for line in &error.detail {
            text.push_str("\n  ");
            text.push_str(&clean(line));
        }
        if let Some(hint) = &error.hint {
            let hint = self.typed.whole(&clean(hint));
            text.push_str(&format!("\n{CYAN}hint:{CYAN:#} {hint}"));
        }
        Self::to_stderr(&text);
    }

    /// Whether a person is there to answer questions.
    #[must_use]
    pub fn can_ask(self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Does something that may take long, and says so once where it does.
    pub async fn patiently<T>(self, words: &str, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(SILENCE) => self.say(words),
        }
        work.await
    }

    fn to_stderr(text: &str) {
        let mut err = anstream::stderr().lock();
        // Nobody is left to tell when standard error fails.
        let _ = writeln!(err, "{text}");
    }
}

/// Asks a question. Ctrl-C is no answer, and leaves the terminal as it was.
///
/// # Errors
///
/// When nobody can be asked.
pub fn answer<T>(
    ask: impl FnOnce() -> dialoguer::Result<Option<T>>,
) -> dialoguer::Result<Option<T>> {
    // Or it would end the process at once, while the cursor is hidden.
    let _ = Interrupt::listen();
    match ask() {
        Err(dialoguer::Error::IO(error)) if error.kind() == io::ErrorKind::Interrupted => {
            let _ = console::Term::stderr().show_cursor();
            Ui::to_stderr("");
            Ok(None)
        }
        answer => answer,
    }
}

/// Text from the cluster without control characters, which could change what a terminal shows.
#[must_use]
pub fn clean(text: &str) -> String {
    let dangerous = |c: char| {
        c.is_control() && c != '\n' && c != '\t'
        // Marks that turn the direction of writing make text look like other text.
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(dangerous) {
        text.chars()
            .map(|c| if dangerous(c) { '\u{fffd}' } else { c })
            .collect()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_the_cluster_do_not_reach_the_terminal() {
        assert_eq!(
            clean("a\u{1b}[31mb\u{7}\u{202e}c\td\n"),
            "a\u{fffd}[31mb\u{fffd}\u{fffd}c\td\n"
        );
    }
}
