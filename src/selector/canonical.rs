//! The canonical text of a selector: the one by which Calico compares selectors and names the sets
//! it derives from them (`Selector.String` of the reference).
//!
//! Single spaces stand round operators, double quotes round values (single ones round a value that
//! holds a double one), brackets round every group of `&&` and `||` and nowhere else.

use std::fmt::{self, Write as _};

use super::expr::Expr;
use super::term::{LabelName, Literal, Values};

/// The canonical text.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::Global => f.write_str("global()"),
            Self::Has(label) => write!(f, "has({label})"),
            Self::Eq(label, value) => write!(f, "{label} == {value}"),
            Self::Ne(label, value) => write!(f, "{label} != {value}"),
            Self::Contains(label, part) => write!(f, "{label} contains {part}"),
            Self::StartsWith(label, part) => write!(f, "{label} starts with {part}"),
            Self::EndsWith(label, part) => write!(f, "{label} ends with {part}"),
            Self::In(label, values) => write!(f, "{label} in {values}"),
            Self::NotIn(label, values) => write!(f, "{label} not in {values}"),
            Self::Not(inner) => {
                f.write_char('!')?;
                write!(f, "{inner}")
            }
            Self::And(members) => group(f, members, " && ", "all()"),
            Self::Or(members) => group(f, members, " || ", "!all()"),
        }
    }
}

/// Groups of no or one member come from no text, but they have a value, and so a text.
fn group(f: &mut fmt::Formatter<'_>, members: &[Expr], operator: &str, empty: &str) -> fmt::Result {
    let Some((first, rest)) = members.split_first() else {
        return f.write_str(empty);
    };
    if rest.is_empty() {
        return write!(f, "{first}");
    }
    f.write_char('(')?;
    write!(f, "{first}")?;
    for member in rest {
        f.write_str(operator)?;
        write!(f, "{member}")?;
    }
    f.write_char(')')
}

/// The name itself.
impl fmt::Display for LabelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// The value in quotes, as a selector writes it.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.contains('"') { '\'' } else { '"' };
        f.write_char(quote)?;
        f.write_str(self)?;
        f.write_char(quote)
    }
}

/// The set in braces, as a selector writes it.
impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (i, value) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{value}")?;
        }
        f.write_char('}')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_has(name: &str) -> Expr {
        Expr::Has(LabelName::new(name).unwrap())
    }

    #[test]
    fn a_value_with_a_double_quote_stands_in_single_ones() {
        for (value, text) in [
            ("x", r#""x""#),
            ("it's", r#""it's""#),
            (r#"it"s"#, r#"'it"s'"#),
            ("", r#""""#),
            ("a\n", "\"a\n\""),
        ] {
            assert_eq!(Literal::new(value).unwrap().to_string(), text);
        }
    }

    #[test]
    fn members_of_a_set_choose_their_quotes_each() {
        let values: Values = ["'", "\"", "c"]
            .map(|v| Literal::new(v).unwrap())
            .into_iter()
            .collect();
        assert_eq!(values.to_string(), r#"{'"', "'", "c"}"#);
        assert_eq!(Values::default().to_string(), "{}");
    }

    #[test]
    fn only_groups_have_brackets() {
        let and = Expr::And(vec![mk_has("a"), mk_has("b")]);
        assert_eq!(and.to_string(), "(has(a) && has(b))");
        assert_eq!(
            Expr::Or(vec![and.clone(), mk_has("c")]).to_string(),
            "((has(a) && has(b)) || has(c))"
        );
        assert_eq!(Expr::Not(Box::new(and)).to_string(), "!(has(a) && has(b))");
        assert_eq!(Expr::Not(Box::new(mk_has("a"))).to_string(), "!has(a)");
    }

    #[test]
    fn groups_that_no_text_gives_have_a_text_of_the_same_value() {
        assert_eq!(Expr::And(vec![]).to_string(), "all()");
        assert_eq!(Expr::Or(vec![]).to_string(), "!all()");
        assert_eq!(Expr::And(vec![mk_has("a")]).to_string(), "has(a)");
        // `!` collapses with the text of the empty group, which keeps its value: a run of two.
        assert_eq!(Expr::Not(Box::new(Expr::Or(vec![]))).to_string(), "!!all()");
    }
}
