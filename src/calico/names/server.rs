//! The name of a protected server, and the names made of it.

use std::fmt;
use std::str::FromStr;

use super::syntax::{LABEL_MAX, SyntaxError, check_dns_label};

/// The name of a server that is or will be protected, such as `typha`.
///
/// Labels and the policy of the server are made of it, so it holds what all of them can: the
/// characters of a DNS label, and as many as fit into a label key beside `protected-` and
/// `-server` (data model, section 10).
///
/// ```
/// use calicoctl_protect::calico::names::ServerName;
/// let typha: ServerName = "typha".parse()?;
/// assert_eq!(typha.protected_label(), "protected-typha-server");
/// assert_eq!(typha.allowed_label(), "allowed-typha-client");
/// let error = "My_Server".parse::<ServerName>().unwrap_err();
/// assert_eq!(error.suggestion(), Some("my-server"));
/// # Ok::<(), calicoctl_protect::calico::names::ServerNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(String);

/// A text that cannot name a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server name `{name}` {fault}")]
pub struct ServerNameError {
    name: String,
    fault: SyntaxError,
    suggestion: Option<String>,
}

impl ServerNameError {
    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &SyntaxError {
        &self.fault
    }

    /// The nearest name that would do, where there is an obvious one.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }

    /// What to do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.suggestion {
            Some(name) => format!("use `{name}`"),
            None => format!(
                "use at most {} of a-z, 0-9 and `-`, so that the label `protected-<name>-server` \
                 is not longer than {LABEL_MAX}",
                ServerName::MAX
            ),
        }
    }
}

impl ServerName {
    /// The characters that a name may have.
    pub const MAX: usize = LABEL_MAX - "protected--server".len();

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The label of the endpoints of the server.
    #[must_use]
    pub fn protected_label(&self) -> String {
        format!("protected-{}-server", self.0)
    }

    /// The label of everything that may connect to the server.
    #[must_use]
    pub fn allowed_label(&self) -> String {
        format!("allowed-{}-client", self.0)
    }

    /// The policy that protects the server.
    #[must_use]
    pub fn policy_name(&self) -> String {
        self.protected_label()
    }

    /// A network set of clients: the one of the server, or one more for what `suffix` says.
    ///
    /// ```
    /// use calicoctl_protect::calico::names::ServerName;
    /// let etcd: ServerName = "etcd".parse()?;
    /// assert_eq!(etcd.client_set_name(None), "allowed-etcd-client");
    /// assert_eq!(etcd.client_set_name(Some("loopback")), "allowed-etcd-client-loopback");
    /// # Ok::<(), calicoctl_protect::calico::names::ServerNameError>(())
    /// ```
    #[must_use]
    pub fn client_set_name(&self, suffix: Option<&str>) -> String {
        match suffix {
            Some(suffix) => format!("{}-{suffix}", self.allowed_label()),
            None => self.allowed_label(),
        }
    }

    fn check(name: &str) -> Result<(), SyntaxError> {
        let length = name.chars().count();
        match check_dns_label(name) {
            Ok(()) | Err(SyntaxError::TooLong { .. }) if length > Self::MAX => {
                Err(SyntaxError::TooLong {
                    max: Self::MAX,
                    over: length - Self::MAX,
                })
            }
            result => result,
        }
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(name: &str) -> Result<Self, ServerNameError> {
        let Err(fault) = Self::check(name) else {
            return Ok(Self(name.to_owned()));
        };
        let nearest = name.to_ascii_lowercase().replace(['.', '_', ' '], "-");
        let nearest = nearest.trim_matches('-');
        Err(ServerNameError {
            name: name.to_owned(),
            fault,
            suggestion: Self::check(nearest).is_ok().then(|| nearest.to_owned()),
        })
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::names::check_label_key;

    #[test]
    fn the_longest_name_fits_into_every_label() {
        let name: ServerName = "a".repeat(46).parse().unwrap();
        assert_eq!(name.protected_label().len(), 63);
        assert!(check_label_key(&name.protected_label()).is_ok());
        assert!(check_label_key(&name.allowed_label()).is_ok());
        let error = "a".repeat(49).parse::<ServerName>().unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is 3 characters too long (at most 46)")
        );
        assert_eq!(error.suggestion(), None);
        assert!(error.hint().contains("at most 46 of a-z"));
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_would_do() {
        for (bad, message, hint) in [
            (
                "Etcd",
                "server name `Etcd` must not have upper-case letters",
                "use `etcd`",
            ),
            (
                "my.etcd",
                "server name `my.etcd` must not have `.` in it",
                "use `my-etcd`",
            ),
            (
                "my_etcd",
                "server name `my_etcd` must not have `_` in it",
                "use `my-etcd`",
            ),
            (
                "-etcd",
                "server name `-etcd` must begin and end with a letter or a digit, not with `-`",
                "use `etcd`",
            ),
        ] {
            let error = bad.parse::<ServerName>().unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.hint(), hint);
        }
        for bad in ["", "-", "é", "a/b"] {
            assert_eq!(bad.parse::<ServerName>().unwrap_err().suggestion(), None);
        }
        let both = "A".repeat(50).parse::<ServerName>().unwrap_err();
        assert!(both.suggestion().is_none());
    }

    #[test]
    fn names_of_calicos_own_servers_are_names() {
        for name in ["typha", "etcd", "kube-controllers", "felix-metrics", "0"] {
            assert_eq!(name.parse::<ServerName>().unwrap().to_string(), name);
        }
    }
}
