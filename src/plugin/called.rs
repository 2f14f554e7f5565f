//! The name that the tool was called by.

use std::ffi::OsStr;
use std::path::Path;

/// The name of the program, of its package, and of its marks on objects.
pub const PROGRAM: &str = "calicoctl-protect";

/// calicoctl's name; by it, a link leads to the dispatcher.
pub const CALICOCTL: &str = "calicoctl";

/// By which words people reach the tool. Help, examples and hints show these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Called {
    /// `calicoctl-protect`, or any other file name.
    #[default]
    Bare,
    /// `calicoctl protect`, through the dispatcher.
    Calicoctl,
    /// `kubectl calico protect`: file names' dashes are kubectl's blanks.
    Kubectl,
    /// `kubectl calico-protect`: file names' underscores are kubectl's dashes. krew installs
    /// plugins of two words this way.
    KubectlDashed,
}

impl Called {
    /// What kubectl puts before the name of a plugin, and before that of the program that
    /// completes it (kubectl 1.26 and later).
    const KUBECTL: [(&str, bool); 2] = [("kubectl-", false), ("kubectl_complete-", true)];

    /// From the first argument of the process: the name, and whether kubectl asks for completion.
    ///
    /// ```
    /// use calicoctl_protect::plugin::called::Called;
    ///
    /// let called = |name: &str| Called::from_program(name.as_ref());
    /// assert_eq!(called("/usr/bin/calicoctl-protect"), (Called::Bare, false));
    /// assert_eq!(called("kubectl-calico-protect"), (Called::Kubectl, false));
    /// assert_eq!(called("kubectl_complete-calico_protect"), (Called::KubectlDashed, true));
    /// ```
    #[must_use]
    pub fn from_program(program: &OsStr) -> (Self, bool) {
        let name = Path::new(program).file_name().and_then(OsStr::to_str);
        for (prefix, completing) in Self::KUBECTL {
            match name.and_then(|name| name.strip_prefix(prefix)) {
                Some("calico-protect") => return (Self::Kubectl, completing),
                Some("calico_protect") => return (Self::KubectlDashed, completing),
                _ => {}
            }
        }
        (Self::Bare, false)
    }

    /// The words as they are typed.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Bare => PROGRAM,
            Self::Calicoctl => "calicoctl protect",
            Self::Kubectl => "kubectl calico protect",
            Self::KubectlDashed => "kubectl calico-protect",
        }
    }

    /// A text whose commands are typed by this name. Texts are written for the bare program: its
    /// name is a command where a word follows, at the beginning of a line, behind a blank, a
    /// bracket or a backtick.
    ///
    /// ```
    /// use calicoctl_protect::plugin::called::Called;
    ///
    /// let text = "what calicoctl-protect made: `calicoctl-protect status`";
    /// let shown = Called::Kubectl.name_commands(text);
    /// assert_eq!(shown, "what calicoctl-protect made: `kubectl calico protect status`");
    /// ```
    #[must_use]
    pub fn name_commands(self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut done = 0;
        for (at, _) in text.match_indices(PROGRAM) {
            let (before, from) = text.split_at(at);
            let line = before.rsplit('\n').next().unwrap_or_default();
            let begins = line.ends_with(['`', '(']) || line.bytes().all(|byte| byte == b' ');
            let end = at + PROGRAM.len();
            if begins
                && from
                    .get(PROGRAM.len()..)
                    .is_some_and(|t| t.starts_with(' '))
            {
                shown.push_str(before.get(done..).unwrap_or_default());
                shown.push_str(self.words());
                done = end;
            }
        }
        shown.push_str(text.get(done..).unwrap_or_default());
        shown
    }
}
