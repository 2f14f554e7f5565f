//! Calico's selector language: text to tree, evaluation against labels, canonical form.
//!
//! The language is that of Calico 3.30 and later. Releases up to 3.29 take line breaks too inside
//! `has(…)`, `all()` and `global()` and between the words of an operator. What this room takes,
//! they take as well, and with the same meaning.
//!
//! Two facts to keep in mind when writing selectors:
//!
//! * a label that is missing satisfies `!=` and `not in`;
//! * what an empty selector or `all()` selects depends on the field it stands in. Here it is true
//!   of every object.

mod canonical;
mod error;
mod expr;
mod hints;
mod labels;
mod lexer;
mod parser;
#[cfg(test)]
mod properties;
mod term;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use error::ParseError;
pub use expr::Expr;
pub use labels::Labels;
pub use parser::MAX_NESTING;
pub use term::{InvalidTerm, LabelName, Literal, MAX_LABEL_BYTES, Values};

/// A selector that Calico accepts. Clones share the tree.
///
/// Equality is that of the trees, which is finer than meaning (`has(a)` and `has(a) && has(a)`
/// differ); selectors read from text are equal when their canonical texts are.
/// [`fmt::Display`] writes the canonical text.
///
/// ```
/// use calicoctl_protect::selector::Selector;
/// let selector: Selector = "has(protected-etcd-server)&&zone notin {'b','a'}".parse().unwrap();
/// assert!(selector.matches(&[("protected-etcd-server", "true")]));
/// assert!(!selector.matches(&[("protected-etcd-server", "true"), ("zone", "a")]));
/// assert_eq!(
///     selector.to_string(),
///     r#"(has(protected-etcd-server) && zone not in {"a", "b"})"#
/// );
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Arc<Expr>);

impl Selector {
    /// Reads a selector. Text of nothing but spaces and tabs is [`Selector::all`].
    ///
    /// Unlike [`normalise`], this takes no white space but space and tab, not even at the end:
    /// neither does Calico.
    ///
    /// # Errors
    ///
    /// When Calico would not accept the text, or when more than [`MAX_NESTING`] brackets are open
    /// at once.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text).map(Self::from)
    }

    /// `all()`: true of every object.
    #[must_use]
    pub fn all() -> Self {
        Self::from(Expr::All)
    }

    /// `has(label)`.
    ///
    /// # Errors
    ///
    /// When `label` is no label name.
    pub fn has(label: &str) -> Result<Self, InvalidTerm> {
        Ok(Self::from(Expr::Has(LabelName::new(label)?)))
    }

    /// `label == "value"`.
    ///
    /// # Errors
    ///
    /// When `label` is no label name, or `value` cannot be written (it holds both kinds of quote).
    pub fn equals(label: &str, value: &str) -> Result<Self, InvalidTerm> {
        Ok(Self::from(Expr::Eq(
            LabelName::new(label)?,
            Literal::new(value)?,
        )))
    }

    /// True where both are. Chains of `and`, on either side, stay one group.
    ///
    /// The tree grows deeper only where `and` and `or` take turns. [`Selector::parse`] does not
    /// take more than [`MAX_NESTING`] brackets back.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::join(self, other, Expr::And, |expr| match expr {
            Expr::And(members) => Ok(members),
            other => Err(other),
        })
    }

    /// True where one of them is. Chains of `or`, on either side, stay one group; see
    /// [`Selector::and`] on depth.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::join(self, other, Expr::Or, |expr| match expr {
            Expr::Or(members) => Ok(members),
            other => Err(other),
        })
    }

    fn join(
        left: Self,
        right: Self,
        group: fn(Vec<Expr>) -> Expr,
        members_of: fn(Expr) -> Result<Vec<Expr>, Expr>,
    ) -> Self {
        let mut members = members_of(left.into_expr()).unwrap_or_else(|single| vec![single]);
        match members_of(right.into_expr()) {
            Ok(more) => members.extend(more),
            Err(single) => members.push(single),
        }
        Self::from(group(members))
    }

    /// True where this one is false.
    #[expect(
        clippy::should_implement_trait,
        reason = "named like `and` and `or`, which no operator can stand for"
    )]
    #[must_use]
    pub fn not(self) -> Self {
        Self::from(self.into_expr().negated())
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        self.0.matches(labels)
    }

    /// The tree.
    #[must_use]
    pub fn as_expr(&self) -> &Expr {
        &self.0
    }

    fn into_expr(self) -> Expr {
        Arc::unwrap_or_clone(self.0)
    }

    /// The text by which Calico compares selectors and names the sets it derives from them.
    ///
    /// It parses to an equal selector, save that a `!` before a bracket that holds nothing but
    /// another negation (`!(!has(a))`) is written as Calico writes it, `!!has(a)`, which reads as
    /// `has(a)`.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.to_string()
    }

    /// The names of all labels that the selector mentions. The verdict on an object depends on no
    /// others.
    #[must_use]
    pub fn labels(&self) -> BTreeSet<&str> {
        self.0.labels()
    }

    /// The selector with every label name put through `rename`, and without doubled `!`. Calico
    /// so turns a selector on namespaces into one on workloads, by the prefix `pcns.`.
    ///
    /// ```
    /// use calicoctl_protect::selector::Selector;
    /// let namespaces = Selector::parse("all() && env != 'test'").unwrap();
    /// let workloads = namespaces
    ///     .map_labels(|name| format!("pcns.{name}"))
    ///     .unwrap()
    ///     .replace_all(&Selector::has("projectcalico.org/namespace").unwrap());
    /// assert_eq!(
    ///     workloads.to_string(),
    ///     r#"(has(projectcalico.org/namespace) && pcns.env != "test")"#
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// When `rename` gives something that is no label name, for instance by making it too long.
    pub fn map_labels(&self, mut rename: impl FnMut(&str) -> String) -> Result<Self, InvalidTerm> {
        self.0
            .rewritten(&mut |term| term.renamed(&mut rename))
            .map(Self::from)
    }

    /// The selector with `with` in place of every `all()`, and without doubled `!`.
    ///
    /// Calico replaces the text `all()`, in values as well; label values cannot hold brackets, so
    /// that no object shows the difference.
    #[must_use]
    pub fn replace_all(&self, with: &Self) -> Self {
        self.replace(&Expr::All, with)
    }

    /// The selector with `with` in place of every `global()`; see [`Selector::replace_all`].
    #[must_use]
    pub fn replace_global(&self, with: &Self) -> Self {
        self.replace(&Expr::Global, with)
    }

    fn replace(&self, constant: &Expr, with: &Self) -> Self {
        let replaced = self.0.rewritten(&mut |term| {
            let term = if term == constant { &with.0 } else { term };
            Ok::<_, Infallible>(term.clone())
        });
        match replaced {
            Ok(expr) => Self::from(expr),
        }
    }
}

/// Every tree has a text, so every tree is a selector.
impl From<Expr> for Selector {
    fn from(expr: Expr) -> Self {
        Self(Arc::new(expr))
    }
}

impl FromStr for Selector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

/// The canonical text.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The canonical text, which is easier to read than the tree.
impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({})", self.0)
    }
}

/// The canonical form of a text as Calico's `Normalise` gives it: white space of every kind is
/// taken from both ends first, and what is no selector even then stays as it is without that white
/// space.
///
/// So two texts of one normal form mean the same where both parse, but not both need parse:
/// `"all()\n"` normalises to `all()`, and Calico refuses it nevertheless. Use this to compare, not
/// to repair.
///
/// ```
/// use calicoctl_protect::selector::normalise;
/// assert_eq!(normalise(" role=='db'\n"), r#"role == "db""#);
/// assert_eq!(normalise(""), "all()");
/// assert_eq!(normalise(" role  = 'db' "), "role  = 'db'");
/// ```
#[must_use]
pub fn normalise(text: &str) -> String {
    // Rust's and Go's notions of white space are the same Unicode property.
    let text = text.trim();
    Selector::parse(text).map_or_else(|_| text.to_owned(), |selector| selector.canonical())
}

#[cfg(test)]
mod tests;
