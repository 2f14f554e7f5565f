//! The syntax of names, labels and ports that Kubernetes prescribes and Calico follows.

/// Characters that the name part of a label key, and a label value, may have.
pub const LABEL_MAX: usize = 63;
/// Characters that a name may have.
pub const SUBDOMAIN_MAX: usize = 253;

/// What is wrong with a text, worded to follow it: "`x` {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// There is nothing.
    #[error("must not be empty")]
    Empty,
    /// There is too much.
    #[error("is {over} character{} too long (at most {max})", if *over == 1 { "" } else { "s" })]
    TooLong {
        /// Characters allowed.
        max: usize,
        /// Characters above that.
        over: usize,
    },
    /// Letters in upper case.
    #[error("must not have upper-case letters")]
    UpperCase,
    /// A character that may not stand in it.
    #[error("must not have `{0}` in it")]
    Character(char),
    /// A character that may not stand at an end.
    #[error("must begin and end with a letter or a digit, not with `{0}`")]
    End(char),
    /// Two dots in a row, or one at an end.
    #[error("must not have an empty part between dots")]
    EmptyPart,
    /// More than one slash in a label key.
    #[error("must not have more than one `/`")]
    Slashes,
    /// The part of a label key before the slash.
    #[error("has a prefix before `/` that {0}")]
    Prefix(Box<SyntaxError>),
}

/// Whether the text is a DNS label: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 characters.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check_dns_label(text: &str) -> Result<(), SyntaxError> {
    check_length(text, LABEL_MAX)?;
    check_dns_part(text)
}

/// Whether the text is a DNS subdomain: labels with dots between them, at most 253 characters.
/// Kubernetes does not limit the labels by themselves.
///
/// ```
/// use calicoctl_protect::calico::names::check_dns_subdomain;
/// assert!(check_dns_subdomain("m1-bond0.100").is_ok());
/// let error = check_dns_subdomain("m1-Eth0").unwrap_err();
/// assert_eq!(error.to_string(), "must not have upper-case letters");
/// ```
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check_dns_subdomain(text: &str) -> Result<(), SyntaxError> {
    check_length(text, SUBDOMAIN_MAX)?;
    for part in text.split('.') {
        if part.is_empty() {
            return Err(SyntaxError::EmptyPart);
        }
        check_dns_part(part)?;
    }
    Ok(())
}

/// Whether the text is a label key: a name of at most 63 characters, before it perhaps a DNS
/// subdomain and a slash.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check_label_key(text: &str) -> Result<(), SyntaxError> {
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => return Err(SyntaxError::Slashes),
        Some((prefix, name)) => {
            check_dns_subdomain(prefix).map_err(|e| SyntaxError::Prefix(Box::new(e)))?;
            name
        }
    };
    check_length(name, LABEL_MAX)?;
    check_label_text(name)
}

/// Whether the text is a label value: nothing, or at most 63 letters, digits, `-`, `_` and `.`
/// with a letter or digit at both ends.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check_label_value(text: &str) -> Result<(), SyntaxError> {
    if text.is_empty() {
        return Ok(());
    }
    check_length(text, LABEL_MAX)?;
    check_label_text(text)
}

/// Whether the text is the name of a port: at most 15 characters `[a-z0-9-]`, a letter among them,
/// no `-` at an end and no two in a row.
#[must_use]
pub fn is_port_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && check_dns_part(text).is_ok()
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.contains("--")
}

/// Whether the text is a name of an interface as Calico takes it: 1 to 15 of `[a-zA-Z0-9_.-]`.
#[must_use]
pub fn is_interface_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn check_length(text: &str, max: usize) -> Result<(), SyntaxError> {
    let length = text.chars().count();
    match length.checked_sub(max) {
        _ if length == 0 => Err(SyntaxError::Empty),
        Some(over) if over > 0 => Err(SyntaxError::TooLong { max, over }),
        _ => Ok(()),
    }
}

fn check_dns_part(text: &str) -> Result<(), SyntaxError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(c) = text
        .chars()
        .find(|c| !allowed(*c) && !c.is_ascii_uppercase())
    {
        return Err(SyntaxError::Character(c));
    }
    if text.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(SyntaxError::UpperCase);
    }
    check_ends(text)
}

fn check_label_text(text: &str) -> Result<(), SyntaxError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(SyntaxError::Character(c)),
        None => check_ends(text),
    }
}

fn check_ends(text: &str) -> Result<(), SyntaxError> {
    let ends = [text.chars().next(), text.chars().next_back()];
    let wrong = ends
        .into_iter()
        .flatten()
        .find(|c| !c.is_ascii_alphanumeric());
    wrong.map_or(Ok(()), |c| Err(SyntaxError::End(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels() {
        for good in ["a", "0", "a-b", "a--b", &"a".repeat(63)] {
            assert_eq!(check_dns_label(good), Ok(()), "{good}");
        }
        for (bad, error) in [
            ("", SyntaxError::Empty),
            ("a.b", SyntaxError::Character('.')),
            ("A", SyntaxError::UpperCase),
            ("-a", SyntaxError::End('-')),
            ("ä", SyntaxError::Character('ä')),
            (&"a".repeat(65), SyntaxError::TooLong { max: 63, over: 2 }),
        ] {
            assert_eq!(check_dns_label(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn dns_subdomains() {
        for good in ["a", "a.b-c.0", &"a".repeat(253)] {
            assert_eq!(check_dns_subdomain(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a.-b",
            "a_b",
            "A.b",
            &"a".repeat(254),
        ] {
            assert!(check_dns_subdomain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn label_keys() {
        let long = "a".repeat(63);
        for good in [
            "a",
            "A_b.c-0",
            "kubernetes.io/os",
            &long,
            &format!("x.y/{long}"),
        ] {
            assert_eq!(check_label_key(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a/b/c",
            "_a",
            "a-",
            "a b",
            "X/a",
            &format!("{long}a"),
        ] {
            assert!(check_label_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn label_values() {
        for good in ["", "true", "1.10", "A_b", &"a".repeat(63)] {
            assert_eq!(check_label_value(good), Ok(()), "{good}");
        }
        for bad in ["-a", "a.", "a/b", "a b", &"a".repeat(64)] {
            assert!(check_label_value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn port_and_interface_names() {
        assert!(["http", "a-1", "1a"].into_iter().all(is_port_name));
        assert!(
            !["", "80", "a--b", "-a", "HTTP", "a_b", "abcdefghijklmnop"]
                .into_iter()
                .any(is_port_name)
        );
        assert!(
            ["eth0", "bond0.100", "Eth_0", "br-x"]
                .into_iter()
                .all(is_interface_name)
        );
        assert!(
            !["", "*", "eth0:1", "abcdefghijklmnop"]
                .into_iter()
                .any(is_interface_name)
        );
    }
}
