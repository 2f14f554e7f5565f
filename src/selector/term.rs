//! The smallest parts of a selector: label names, values and sets of values. Each can be written
//! in the language by construction, so a syntax tree made of them always has a text.

use std::fmt;
use std::ops::Deref;

/// The longest label name, in bytes (Calico's tokenizer, `MaxLabelLength`).
pub const MAX_LABEL_BYTES: usize = 512;

/// A label name or a value that Calico's selector language cannot write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTerm {
    /// The name is empty, too long, or holds a character that label names cannot have.
    #[error(
        "`{}` is no label name (1 to {MAX_LABEL_BYTES} of A-Z a-z 0-9 _ . / -)",
        super::error::shown(&.0.escape_debug().to_string())
    )]
    Label(String),
    /// The value holds both kinds of quote; the language has no escapes.
    #[error(
        "a selector cannot hold the value `{}`: it has both kinds of quote",
        super::error::shown(&.0.escape_debug().to_string())
    )]
    Value(String),
}

/// The name of a label: 1 to 512 bytes of `A-Z a-z 0-9 _ . / -`, in any order (Calico's selector
/// grammar; it has no rule about the first or last character, unlike Kubernetes).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelName(Box<str>);

impl LabelName {
    /// The label name `name`.
    ///
    /// # Errors
    ///
    /// When the grammar does not take it as a label name.
    pub fn new(name: &str) -> Result<Self, InvalidTerm> {
        if !name.is_empty() && name.len() <= MAX_LABEL_BYTES && name.bytes().all(is_label_byte) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidTerm::Label(name.to_owned()))
        }
    }

    /// For the parser, whose lexer has checked the name.
    pub(super) fn lexed(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a byte may stand in a label name.
pub(super) const fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-')
}

/// A value that a label is compared with: any text that lacks at least one kind of quote (Calico's
/// selector grammar: literals stand in `'` or `"` and have no escapes).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Literal(Box<str>);

impl Literal {
    /// The value `value`.
    ///
    /// # Errors
    ///
    /// When it holds both kinds of quote.
    pub fn new(value: &str) -> Result<Self, InvalidTerm> {
        if value.contains('"') && value.contains('\'') {
            Err(InvalidTerm::Value(value.to_owned()))
        } else {
            Ok(Self(value.into()))
        }
    }

    /// For the parser: what stood between two equal quotes holds that quote no more.
    pub(super) fn lexed(value: &str) -> Self {
        Self(value.into())
    }

    /// The value, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! reads_as_str {
    ($($name:ident),*) => {$(
        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}

reads_as_str!(LabelName, Literal);

/// A set of values, sorted by bytes and without duplicates, which is the order of Calico's
/// canonical form and lets membership be found by halving.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Values(Vec<Literal>);

impl Values {
    /// Whether `value` is a member; bytes are compared.
    #[must_use]
    pub fn contains(&self, value: &str) -> bool {
        self.0
            .binary_search_by(|member| member.as_str().cmp(value))
            .is_ok()
    }

    /// The members in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Literal> {
        self.0.iter()
    }
}

impl FromIterator<Literal> for Values {
    fn from_iter<I: IntoIterator<Item = Literal>>(values: I) -> Self {
        let mut values: Vec<Literal> = values.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        Self(values)
    }
}

impl<'a> IntoIterator for &'a Values {
    type Item = &'a Literal;
    type IntoIter = std::slice::Iter<'a, Literal>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_name_has_any_order_of_its_characters() {
        for name in [
            "a",
            "9.-/_",
            "-",
            "projectcalico.org/namespace",
            "has",
            "in",
        ] {
            assert_eq!(LabelName::new(name).unwrap().as_str(), name);
        }
        assert!(LabelName::new(&"a".repeat(512)).is_ok());
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "a b", "a)", "rôle", "a:b", "x) || has(y", "a\n"] {
            assert!(LabelName::new(name).is_err(), "{name}");
        }
        let error = LabelName::new(&"a".repeat(513)).unwrap_err();
        assert!(error.to_string().len() < 120, "{error}");
    }

    #[test]
    fn a_value_lacks_one_kind_of_quote() {
        assert!(Literal::new(r#"it"s"#).is_ok());
        assert!(Literal::new("it's").is_ok());
        assert!(Literal::new("").is_ok());
        assert_eq!(
            Literal::new("'\"\n").unwrap_err().to_string(),
            r#"a selector cannot hold the value `\'\"\n`: it has both kinds of quote"#
        );
    }

    #[test]
    fn sets_are_sorted_by_bytes_without_duplicates() {
        let values: Values = ["b", "é", "B", "b", "", "a"]
            .into_iter()
            .map(Literal::lexed)
            .collect();
        let members: Vec<&str> = values.iter().map(Literal::as_str).collect();
        assert_eq!(members, ["", "B", "a", "b", "é"]);
        assert!(values.contains("é") && values.contains("") && !values.contains("e"));
    }
}
