//! Tokens to a tree, by Calico's selector grammar:
//!
//! ```text
//! selector = [ or ]                                 nothing at all selects everything
//! or       = and { "||" and }
//! and      = term { "&&" term }
//! term     = { "!" } ( has | all | global | "(" or ")" | label op )
//! op       = ( "==" | "!=" | "contains" | "starts with" | "ends with" ) literal
//!          | ( "in" | "not in" ) "{" [ literal { "," literal } [ "," ] ] "}"
//! ```
//!
//! Open brackets are kept in a list rather than on the call stack, so no text can exhaust it.

use std::ops::Range;

use super::error::{ParseError, shown};
use super::expr::Expr;
use super::hints;
use super::lexer::{Lexeme, Lexer, Op, Token};
use super::term::{LabelName, Literal, Values};

/// How many brackets may be open at once.
///
/// Calico itself has no limit, but its API takes selectors of at most 1024 characters, which hold
/// no more than 509. The limit keeps the tree shallow enough for the functions that walk it.
pub const MAX_NESTING: usize = 512;

/// What a bracket, or the whole text, has gathered so far: `or` groups ended by `||`, and the
/// members of the `&&` group that is being read.
#[derive(Default)]
struct Level {
    or: Vec<Expr>,
    and: Vec<Expr>,
    /// Whether an odd number of `!` stands before the bracket.
    negated: bool,
    opened: Range<usize>,
}

impl Level {
    /// The `&&` group, ended by its last member.
    fn end_and(&mut self, last: Expr) -> Expr {
        if self.and.is_empty() {
            return last;
        }
        let mut members = std::mem::take(&mut self.and);
        members.push(last);
        Expr::And(members)
    }

    /// The whole level, ended by its last member.
    fn end(mut self, last: Expr) -> Expr {
        let and = self.end_and(last);
        let group = if self.or.is_empty() {
            and
        } else {
            self.or.push(and);
            Expr::Or(self.or)
        };
        negate_if(self.negated, group)
    }
}

/// Not [`Expr::negated`]: Calico keeps both `!` of `!(!has(a))`, which matters to the canonical
/// form.
fn negate_if(negated: bool, term: Expr) -> Expr {
    if negated {
        Expr::Not(Box::new(term))
    } else {
        term
    }
}

/// The tree of the text.
pub(super) fn parse(source: &str) -> Result<Expr, ParseError> {
    let mut lexer = Lexer::new(source);
    let mut lexeme = lexer.advance()?;
    if lexeme.token == Token::End {
        return Ok(Expr::All);
    }
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    loop {
        // Runs of `!` are legal at any length, and only their parity counts.
        let mut negated = false;
        while lexeme.token == Token::Not {
            negated = !negated;
            lexeme = lexer.advance()?;
        }
        if lexeme.token == Token::Open {
            if outer.len() >= MAX_NESTING {
                let message = format!("brackets are nested more than {MAX_NESTING} deep");
                return Err(lexer.error(lexeme.span(), message));
            }
            let inner = Level {
                negated,
                opened: lexeme.span(),
                ..Level::default()
            };
            outer.push(std::mem::replace(&mut level, inner));
            lexeme = lexer.advance()?;
            continue;
        }
        let mut term = negate_if(negated, parse_term(&mut lexer, lexeme)?);
        loop {
            lexeme = lexer.advance()?;
            match lexeme.token {
                Token::And => {
                    level.and.push(term);
                    break;
                }
                Token::Or => {
                    let and = level.end_and(term);
                    level.or.push(and);
                    break;
                }
                Token::Close => {
                    let Some(around) = outer.pop() else {
                        return Err(lexer.error(lexeme.span(), "no bracket is open here to close"));
                    };
                    term = std::mem::replace(&mut level, around).end(term);
                }
                Token::End if outer.is_empty() => return Ok(level.end(term)),
                Token::End => return Err(lexer.error(level.opened, "the bracket is not closed")),
                found => {
                    let message = format!("expected `&&`, `||` or the end, found {}", named(found));
                    return Err(lexer
                        .error(lexeme.span(), message)
                        .maybe_hint(hints::no_connective(found)));
                }
            }
        }
        lexeme = lexer.advance()?;
    }
}

/// A term that is no bracket and has no `!`, from its first token on.
fn parse_term(lexer: &mut Lexer<'_>, first: Lexeme<'_>) -> Result<Expr, ParseError> {
    Ok(match first.token {
        Token::Has(label) => Expr::Has(LabelName::lexed(label)),
        Token::All => Expr::All,
        Token::Global => Expr::Global,
        Token::Label(label) => parse_comparison(lexer, label)?,
        found => {
            let message = format!(
                "expected a label, `has(…)`, `all()`, `!` or `(`, found {}",
                named(found)
            );
            return Err(lexer
                .error(first.span(), message)
                .maybe_hint(hints::no_term(found)));
        }
    })
}

fn parse_comparison(lexer: &mut Lexer<'_>, label: &str) -> Result<Expr, ParseError> {
    let lexeme = lexer.advance()?;
    let Token::Op(op) = lexeme.token else {
        let message = format!(
            "expected an operator after the label `{}`, found {}",
            shown(label),
            named(lexeme.token)
        );
        let hint = hints::no_operator(label, lexeme.token, lexer.text_from(lexeme.span().start));
        return Err(lexer.error(lexeme.span(), message).with_hint(hint));
    };
    let name = LabelName::lexed(label);
    Ok(match op {
        Op::Eq => Expr::Eq(name, parse_value(lexer)?),
        Op::Ne => Expr::Ne(name, parse_value(lexer)?),
        Op::Contains => Expr::Contains(name, parse_value(lexer)?),
        Op::StartsWith => Expr::StartsWith(name, parse_value(lexer)?),
        Op::EndsWith => Expr::EndsWith(name, parse_value(lexer)?),
        Op::In => Expr::In(name, parse_set(lexer)?),
        Op::NotIn => Expr::NotIn(name, parse_set(lexer)?),
    })
}

fn parse_value(lexer: &mut Lexer<'_>) -> Result<Literal, ParseError> {
    let lexeme = lexer.advance()?;
    match lexeme.token {
        Token::Literal(value) => Ok(Literal::lexed(value)),
        found => Err(not_a_value(lexer, lexeme, found)),
    }
}

fn not_a_value(lexer: &Lexer<'_>, lexeme: Lexeme<'_>, found: Token<'_>) -> ParseError {
    let message = format!("expected a value in quotes, found {}", named(found));
    lexer
        .error(lexeme.span(), message)
        .maybe_hint(hints::no_value(found))
}

fn parse_set(lexer: &mut Lexer<'_>) -> Result<Values, ParseError> {
    let lexeme = lexer.advance()?;
    if lexeme.token != Token::OpenSet {
        let message = format!("expected a set, found {}", named(lexeme.token));
        return Err(lexer.error(lexeme.span(), message).with_hint(hints::SET));
    }
    let opened = lexeme.span();
    let mut values = Vec::new();
    loop {
        let lexeme = lexer.advance()?;
        match lexeme.token {
            Token::Literal(value) => values.push(Literal::lexed(value)),
            Token::CloseSet => break,
            Token::End => return Err(lexer.error(opened, "the set is not closed")),
            found => return Err(not_a_value(lexer, lexeme, found)),
        }
        let lexeme = lexer.advance()?;
        match lexeme.token {
            Token::Comma => {}
            Token::CloseSet => break,
            Token::End => return Err(lexer.error(opened, "the set is not closed")),
            found => {
                let message = format!("expected `,` or `}}`, found {}", named(found));
                return Err(lexer.error(lexeme.span(), message));
            }
        }
    }
    Ok(values.into_iter().collect())
}

/// A token as messages call it.
fn named(token: Token<'_>) -> String {
    let text = match token {
        Token::End => return "the end".to_owned(),
        Token::Literal(_) => return "a value".to_owned(),
        Token::Label(name) => return format!("`{}`", shown(name)),
        Token::Has(name) => return format!("`has({})`", shown(name)),
        Token::Open => "(",
        Token::Close => ")",
        Token::OpenSet => "{",
        Token::CloseSet => "}",
        Token::Comma => ",",
        Token::Not => "!",
        Token::And => "&&",
        Token::Or => "||",
        Token::All => "all()",
        Token::Global => "global()",
        Token::Op(Op::Eq) => "==",
        Token::Op(Op::Ne) => "!=",
        Token::Op(Op::Contains) => "contains",
        Token::Op(Op::StartsWith) => "starts with",
        Token::Op(Op::EndsWith) => "ends with",
        Token::Op(Op::In) => "in",
        Token::Op(Op::NotIn) => "not in",
    };
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_has(name: &str) -> Expr {
        Expr::Has(LabelName::new(name).unwrap())
    }

    fn mk_not(expr: Expr) -> Expr {
        Expr::Not(Box::new(expr))
    }

    fn wrong(text: &str) -> (Range<usize>, String) {
        let error = parse(text).unwrap_err();
        (error.span, error.message)
    }

    #[test]
    fn and_binds_tighter_than_or() {
        let (a, b, c) = (mk_has("a"), mk_has("b"), mk_has("c"));
        assert_eq!(
            parse("has(a) || has(b) && has(c)").unwrap(),
            Expr::Or(vec![a.clone(), Expr::And(vec![b.clone(), c.clone()])])
        );
        assert_eq!(
            parse("(has(a) || has(b)) && has(c)").unwrap(),
            Expr::And(vec![Expr::Or(vec![a, b]), c])
        );
    }

    #[test]
    fn chains_are_one_level_and_brackets_another() {
        let (a, b, c) = (mk_has("a"), mk_has("b"), mk_has("c"));
        assert_eq!(
            parse("has(a)&&has(b)&&has(c)").unwrap(),
            Expr::And(vec![a.clone(), b.clone(), c.clone()])
        );
        assert_eq!(
            parse("has(a)&&(has(b)&&has(c))").unwrap(),
            Expr::And(vec![a, Expr::And(vec![b, c])])
        );
        assert_eq!(parse("(((has(a))))").unwrap(), mk_has("a"));
    }

    #[test]
    fn a_run_of_bangs_counts_by_parity_but_brackets_divide_it() {
        assert_eq!(parse("!! !has(a)").unwrap(), mk_not(mk_has("a")));
        assert_eq!(parse("!!has(a)").unwrap(), mk_has("a"));
        assert_eq!(parse("!(!has(a))").unwrap(), mk_not(mk_not(mk_has("a"))));
        assert_eq!(parse("!!(!has(a))").unwrap(), mk_not(mk_has("a")));
    }

    #[test]
    fn a_bang_covers_the_nearest_term() {
        assert_eq!(
            parse("!a == '1' && has(b)").unwrap(),
            Expr::And(vec![parse("!(a == '1')").unwrap(), mk_has("b")])
        );
    }

    #[test]
    fn errors_point_at_what_is_wrong() {
        assert_eq!(wrong("(has(a)").0, 0..1);
        assert_eq!(wrong("has(b) && ((has(a))").0, 10..11);
        assert_eq!(wrong("has(a))").0, 6..7);
        assert_eq!(wrong("has(a) &&").0, 9..9);
        assert_eq!(wrong("a in {'x'").0, 5..6);
        assert_eq!(wrong("a in {'x' 'y'}").0, 10..13);
        assert_eq!(wrong("a == db").0, 5..7);
        assert_eq!(wrong("a").0, 1..1);
        assert_eq!(wrong("()").0, 1..2);
        assert_eq!(wrong("a in {").0, 5..6);
        assert_eq!(wrong("a === 'b'").0, 2..5);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, message) in [
            ("a in {", "the set is not closed"),
            ("a in {'x' b}", "expected `,` or `}`, found `b`"),
            ("a in {'x' (", "expected `,` or `}`, found `(`"),
            ("has(a b)", "has() takes exactly one label name"),
            ("all(a)", "`all()` takes nothing between its brackets"),
            ("has(a", "`has(` is not closed"),
        ] {
            assert_eq!(wrong(text).1, message, "{text}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth| format!("{}has(a){}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(parse(&nested(MAX_NESTING)).unwrap(), mk_has("a"));
        let (span, message) = wrong(&nested(MAX_NESTING + 1));
        assert_eq!(span, MAX_NESTING..MAX_NESTING + 1);
        assert_eq!(message, "brackets are nested more than 512 deep");
    }
}
