//! What the user reads when something is wrong. Every room's errors come together here.

use super::exit::Exit;
use crate::apply::RunId;
use crate::calico::names::ServerNameError;
use crate::calico::net::NetError;
use crate::calico::port::PortError;
use crate::plugin::links::LinkError;
use crate::recipe::{RecipeError, RecipeErrorKind};
use crate::selector::ParseError;
use crate::store::{StoreError, StoreErrorKind};

/// A failure as the user sees it: `error:` line, lines below it, `hint:` line, exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// One line, lower case, the user's input in backticks.
    pub message: String,
    /// Shown below the message as they are.
    pub detail: Vec<String>,
    /// The next thing to do.
    pub hint: Option<String>,
    /// Whether another writer came in between: reading and planning again may help.
    pub conflict: bool,
    /// The run that came to no end by it, where its journal can be gone on with.
    pub run: Option<RunId>,
}

impl CliError {
    /// A failure without hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            detail: Vec::new(),
            hint: None,
            conflict: false,
            run: None,
        }
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, unless it has one.
    #[must_use]
    pub fn or_hint(self, hint: impl Into<String>) -> Self {
        match self.hint {
            Some(_) => self,
            None => self.hint(hint),
        }
    }

    /// The same with a line below the message.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.detail.push(line.into());
        self
    }

    /// A selector that does not parse, with the place marked.
    #[must_use]
    pub fn selector(source: &str, error: &ParseError) -> Self {
        let shown = Self::usage(format!(
            "`{}` is no selector: {}",
            source.trim(),
            error.message
        ));
        let shown = error.pointed(source).lines().fold(shown, CliError::detail);
        match &error.hint {
            Some(hint) => shown.hint(hint),
            None => shown.hint(
                "selectors look like `has(role)`, `role == \"db\"`, `zone in {\"a\", \"b\"}`",
            ),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self {
            exit: match error.kind {
                StoreErrorKind::Failed => Exit::Failed,
                StoreErrorKind::Conflict => Exit::Conflict,
                StoreErrorKind::Usage => Exit::Usage,
            },
            message: error.message,
            detail: error.detail,
            hint: error.hint,
            conflict: error.kind == StoreErrorKind::Conflict,
            run: None,
        }
    }
}

impl From<RecipeError> for CliError {
    fn from(error: RecipeError) -> Self {
        Self {
            exit: match error.kind {
                RecipeErrorKind::Usage => Exit::Usage,
                RecipeErrorKind::Failed => Exit::Failed,
                RecipeErrorKind::Refused => Exit::Cut,
            },
            message: error.message,
            detail: error.detail,
            hint: error.hint,
            conflict: false,
            run: None,
        }
    }
}

impl From<LinkError> for CliError {
    fn from(error: LinkError) -> Self {
        let shown = Self::new(Exit::Failed, error.to_string());
        match error {
            LinkError::Foreign { others: true, .. } => shown.hint(
                "move it away, leave its link out with `--only`, or name another folder with `--dir`",
            ),
            LinkError::Foreign { .. } => {
                shown.hint("move it away, or name another folder with `--dir`")
            }
            LinkError::NoFolder(_) | LinkError::Io { .. } => {
                shown.hint("name another folder with `--dir`")
            }
        }
    }
}

impl From<ServerNameError> for CliError {
    fn from(error: ServerNameError) -> Self {
        Self::usage(error.to_string()).hint(error.hint())
    }
}

impl From<PortError> for CliError {
    fn from(error: PortError) -> Self {
        Self::usage(error.to_string()).hint("ports are written `tcp/2379` or `udp/51820`")
    }
}

impl From<NetError> for CliError {
    fn from(error: NetError) -> Self {
        let shown = Self::usage(error.to_string());
        match error.network() {
            Some(net) => shown.hint(format!("did you mean `{net}`?")),
            None => shown.hint("networks are written `192.0.2.0/24` or `2001:db8::/32`"),
        }
    }
}
