//! The syntax tree of a selector, and its evaluation.

use std::collections::BTreeSet;

use super::Labels;
use super::term::{InvalidTerm, LabelName, Literal, Values};

/// A selector as a tree.
///
/// The tree is as deep as the brackets of the text; chains of one operator are one level whatever
/// their length. It keeps the brackets that group (`a && (b && c)` is not `a && b && c`), because
/// Calico's canonical form does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expr {
    /// `all()`, and the empty selector: true for every object.
    All,
    /// `global()`: true for every object as far as evaluation goes. Calico gives it its meaning
    /// (objects outside every namespace) by rewriting it where a rule uses it.
    Global,
    /// `has(label)`: the label is there, whatever its value.
    Has(LabelName),
    /// `label == "value"`: the label is there and has that value, byte for byte.
    Eq(LabelName, Literal),
    /// `label != "value"`: the label has another value **or is missing**.
    Ne(LabelName, Literal),
    /// `label contains "value"`: the label is there and its value has that part.
    Contains(LabelName, Literal),
    /// `label starts with "value"`: the label is there and its value begins so.
    StartsWith(LabelName, Literal),
    /// `label ends with "value"`: the label is there and its value ends so.
    EndsWith(LabelName, Literal),
    /// `label in {"value", …}`: the label is there and its value is a member.
    In(LabelName, Values),
    /// `label not in {"value", …}`: the value is no member **or the label is missing**.
    NotIn(LabelName, Values),
    /// `!term`.
    Not(Box<Expr>),
    /// `term && term …`: true when every member is; so the empty group, which no text gives, is
    /// true.
    And(Vec<Expr>),
    /// `term || term …`: true when a member is; so the empty group, which no text gives, is false.
    Or(Vec<Expr>),
}

impl Expr {
    /// Whether an object with these labels is selected.
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        // Plain loops, not iterator adapters: fewer stack frames for each level of nesting.
        match self {
            Self::All | Self::Global => true,
            Self::Has(label) => labels.get(label).is_some(),
            Self::Eq(label, value) => labels.get(label) == Some(value),
            Self::Ne(label, value) => labels.get(label) != Some(value),
            Self::Contains(label, part) => labels.get(label).is_some_and(|v| v.contains(&**part)),
            Self::StartsWith(label, part) => {
                labels.get(label).is_some_and(|v| v.starts_with(&**part))
            }
            Self::EndsWith(label, part) => labels.get(label).is_some_and(|v| v.ends_with(&**part)),
            Self::In(label, values) => labels.get(label).is_some_and(|v| values.contains(v)),
            Self::NotIn(label, values) => !labels.get(label).is_some_and(|v| values.contains(v)),
            Self::Not(inner) => !inner.matches(labels),
            Self::And(members) => {
                for member in members {
                    if !member.matches(labels) {
                        return false;
                    }
                }
                true
            }
            Self::Or(members) => {
                for member in members {
                    if member.matches(labels) {
                        return true;
                    }
                }
                false
            }
        }
    }

    /// The label that the term is about; `None` for constants and for terms made of others.
    #[must_use]
    pub fn label(&self) -> Option<&LabelName> {
        match self {
            Self::Has(label)
            | Self::Eq(label, _)
            | Self::Ne(label, _)
            | Self::Contains(label, _)
            | Self::StartsWith(label, _)
            | Self::EndsWith(label, _)
            | Self::In(label, _)
            | Self::NotIn(label, _) => Some(label),
            Self::All | Self::Global | Self::Not(_) | Self::And(_) | Self::Or(_) => None,
        }
    }

    /// The terms that this one is made of: the operand of `!`, the members of a group, else none.
    #[must_use]
    pub fn children(&self) -> &[Self] {
        match self {
            Self::Not(inner) => std::slice::from_ref(inner),
            Self::And(members) | Self::Or(members) => members,
            _ => &[],
        }
    }

    /// The names of all labels in the tree.
    #[must_use]
    pub fn labels(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        let mut rest = vec![self];
        while let Some(expr) = rest.pop() {
            names.extend(expr.label().map(LabelName::as_str));
            rest.extend(expr.children());
        }
        names
    }

    /// The opposite; a `!` is taken away rather than doubled.
    #[must_use]
    pub(super) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// The tree with every constant and single-label term put through `leaf`, and without doubled
    /// `!`.
    pub(super) fn rewritten<E>(
        &self,
        leaf: &mut impl FnMut(&Self) -> Result<Self, E>,
    ) -> Result<Self, E> {
        Ok(match self {
            Self::Not(inner) => inner.rewritten(leaf)?.negated(),
            Self::And(members) => Self::And(rewritten_members(members, leaf)?),
            Self::Or(members) => Self::Or(rewritten_members(members, leaf)?),
            term => leaf(term)?,
        })
    }

    /// The term with its label renamed; other terms as they are.
    pub(super) fn renamed(
        &self,
        rename: &mut impl FnMut(&str) -> String,
    ) -> Result<Self, InvalidTerm> {
        let mut renamed = self.clone();
        if let Self::Has(label)
        | Self::Eq(label, _)
        | Self::Ne(label, _)
        | Self::Contains(label, _)
        | Self::StartsWith(label, _)
        | Self::EndsWith(label, _)
        | Self::In(label, _)
        | Self::NotIn(label, _) = &mut renamed
        {
            *label = LabelName::new(&rename(label))?;
        }
        Ok(renamed)
    }
}

fn rewritten_members<E>(
    members: &[Expr],
    leaf: &mut impl FnMut(&Expr) -> Result<Expr, E>,
) -> Result<Vec<Expr>, E> {
    let mut rewritten = Vec::with_capacity(members.len());
    for member in members {
        rewritten.push(member.rewritten(leaf)?);
    }
    Ok(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_label(name: &str) -> LabelName {
        LabelName::new(name).unwrap()
    }

    fn mk_value(value: &str) -> Literal {
        Literal::new(value).unwrap()
    }

    fn mk_values(values: &[&str]) -> Values {
        values.iter().copied().map(mk_value).collect()
    }

    /// What a term says of the label `k` with values "abc", "" and of its absence.
    fn verdicts(expr: &Expr) -> [bool; 3] {
        [
            expr.matches(&[("k", "abc")]),
            expr.matches(&[("k", "")]),
            expr.matches(&[("other", "abc")]),
        ]
    }

    #[test]
    fn constants_are_true_of_everything() {
        assert_eq!(verdicts(&Expr::All), [true; 3]);
        assert_eq!(verdicts(&Expr::Global), [true; 3]);
    }

    #[test]
    fn only_negative_comparisons_hold_for_a_missing_label() {
        let (k, v) = (|| mk_label("k"), || mk_value("abc"));
        let set = || mk_values(&["x", "abc"]);
        assert_eq!(verdicts(&Expr::Has(k())), [true, true, false]);
        assert_eq!(verdicts(&Expr::Eq(k(), v())), [true, false, false]);
        assert_eq!(verdicts(&Expr::Ne(k(), v())), [false, true, true]);
        assert_eq!(verdicts(&Expr::In(k(), set())), [true, false, false]);
        assert_eq!(verdicts(&Expr::NotIn(k(), set())), [false, true, true]);
    }

    #[test]
    fn parts_are_looked_for_in_values_that_are_there() {
        type Make = fn(LabelName, Literal) -> Expr;
        for (make, part) in [
            (Expr::Contains as Make, "b"),
            (Expr::StartsWith, "ab"),
            (Expr::EndsWith, "bc"),
        ] {
            let term = |part| make(mk_label("k"), mk_value(part));
            assert_eq!(verdicts(&term(part)), [true, false, false]);
            assert_eq!(verdicts(&term("")), [true, true, false]);
            assert_eq!(verdicts(&term("abcd")), [false; 3]);
        }
    }

    #[test]
    fn the_empty_set_has_no_members() {
        assert_eq!(
            verdicts(&Expr::In(mk_label("k"), mk_values(&[]))),
            [false; 3]
        );
        assert_eq!(
            verdicts(&Expr::NotIn(mk_label("k"), mk_values(&[]))),
            [true; 3]
        );
    }

    #[test]
    fn groups_are_ordinary_booleans() {
        let (yes, no) = (|| Expr::All, || Expr::Not(Box::new(Expr::All)));
        for (and, or, members) in [
            (true, true, vec![yes(), yes()]),
            (false, true, vec![no(), yes()]),
            (false, false, vec![no(), no()]),
            (true, false, vec![]),
        ] {
            assert_eq!(Expr::And(members.clone()).matches(&[]), and);
            assert_eq!(Expr::Or(members).matches(&[]), or);
        }
    }

    #[test]
    fn negating_twice_gives_the_term_itself() {
        let term = Expr::Has(mk_label("k"));
        assert_eq!(term.clone().negated().negated(), term);
    }
}
