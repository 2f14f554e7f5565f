//! Exit codes. They are a contract: runbooks branch on them.

use std::process::{ExitCode, Termination};

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Ok,
    /// Input or output, permission, a server's error.
    Failed,
    /// Changes are pending (only with `--detailed-exitcode`).
    Pending,
    /// Refused: a needed flow would be cut.
    Cut,
    /// Refused: the plan is stale, or another writer conflicts.
    Conflict,
    /// Refused: a needed flow cannot be decided and was not accepted.
    Unproven,
    /// Partly applied.
    Partly,
    /// `check`: a protection does not hold.
    NotProtected,
    /// Wrong usage.
    Usage,
}

impl Exit {
    /// Every way to end, with its meaning as help and manual give it.
    pub const TABLE: [(Self, &'static str); 9] = [
        (Self::Ok, "done, or nothing to do"),
        (
            Self::Failed,
            "failed: input or output, permission, a server's error",
        ),
        (
            Self::Pending,
            "changes are pending (only with --detailed-exitcode)",
        ),
        (Self::Cut, "refused: a needed flow would be cut"),
        (
            Self::Conflict,
            "refused: the plan is stale, or another writer conflicts",
        ),
        (
            Self::Unproven,
            "refused: a needed flow cannot be decided and was not accepted (check: or a protection)",
        ),
        (
            Self::Partly,
            "partly applied; how to resume or undo is printed",
        ),
        (Self::NotProtected, "check: a protection does not hold"),
        (Self::Usage, "wrong usage"),
    ];

    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Pending => 2,
            Self::Cut => 3,
            Self::Conflict => 4,
            Self::Unproven => 5,
            Self::Partly => 6,
            Self::NotProtected => 7,
            Self::Usage => 64,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_that_runbooks_rely_on() {
        let codes: Vec<u8> = Exit::TABLE.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 64]);
    }
}
