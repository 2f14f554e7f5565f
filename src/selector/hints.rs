//! What the writer of a wrong selector probably meant. Guesses only: nothing here decides whether
//! a text is a selector.

use super::error::{shown, shown_char};
use super::lexer::Token;

pub(super) const OPERATORS: &str =
    "the operators are `==`, `!=`, `in`, `not in`, `contains`, `starts with`, `ends with`";
pub(super) const SINGLE_EQUALS: &str = "equality is written `==`";
pub(super) const SINGLE_AND: &str = "\"and\" is written `&&`";
pub(super) const SINGLE_OR: &str = "\"or\" is written `||`";
pub(super) const NEGATION: &str = "\"not\" is written `!`, as in `!has(a)`";
pub(super) const SET: &str = "a set is written in braces: `{\"a\", \"b\"}`";

/// The message for a character that begins no token.
pub(super) fn unexpected_character(rest: &str) -> String {
    match rest.chars().next() {
        Some('\n' | '\r') => "a line break is not allowed outside quotes".to_owned(),
        Some(c) => format!("unexpected character `{}`", shown_char(c)),
        None => "unexpected end".to_owned(),
    }
}

/// For a character, the first of `rest`, that has no place where it stands.
pub(super) fn foreign_character(rest: &str) -> Option<&'static str> {
    Some(match rest.chars().next()? {
        '\n' | '\r' if rest.trim().is_empty() => {
            "take the line break at the end away (in YAML: `>-` or `|-` instead of `>` or `|`)"
        }
        '\n' | '\r' => "a selector is one line (in YAML: `>-` joins lines)",
        '\'' | '"' => "a label name has no quotes",
        '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '`' => "quotes are plain `'` or `\"`",
        '#' => "there are no comments",
        '*' | '?' => "there are no wild cards: use `starts with`, `ends with` or `contains`",
        '<' | '>' => "there are no ordering operators",
        '~' | '^' | '$' => "there are no regular expressions: use `starts with` or `contains`",
        '\\' => "there are no escapes: `'` may stand inside `\"…\"`, and `\"` inside `'…'`",
        c if c.is_whitespace() || c.is_control() => {
            "only spaces and tabs may stand between the parts of a selector"
        }
        ':' | '@' | '+' | '%' => "label names are made of `A-Z a-z 0-9 _ . / -`",
        c if !c.is_ascii() => "label names are made of `A-Z a-z 0-9 _ . / -`",
        _ => return None,
    })
}

/// For a quote that is not closed; `inside` is the text behind it.
pub(super) fn unclosed_quote(quote: char, inside: &str) -> Option<String> {
    let other = if quote == '"' { '\'' } else { '"' };
    inside
        .contains(other)
        .then(|| format!("a value opened with `{quote}` must close with `{quote}`, not `{other}`"))
}

/// For a word, the first of `rest`, that stands after a label and is no operator.
pub(super) fn wrong_operator(label: &str, rest: &str) -> String {
    if label.eq_ignore_ascii_case("not") {
        return NEGATION.to_owned();
    }
    let word = rest.split([' ', '\t', '{', '\'', '"', '(']).next();
    let word = word.unwrap_or_default();
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "in" | "notin" | "contains" | "startswith" | "endswith" if word != lower => {
            format!("operators are written in lower case: `{lower}`")
        }
        "not" => "the operator is `not in`".to_owned(),
        "starts" | "ends" => format!("the operator is `{lower} with`"),
        "is" | "eq" | "equals" => SINGLE_EQUALS.to_owned(),
        "exists" | "and" | "or" => presence(label),
        _ => OPERATORS.to_owned(),
    }
}

/// For what follows a label where an operator is wanted; `rest` begins with it.
pub(super) fn no_operator(label: &str, found: Token<'_>, rest: &str) -> String {
    let lower = label.to_ascii_lowercase();
    match found {
        Token::Open if lower == "not" => NEGATION.to_owned(),
        Token::Open if matches!(lower.as_str(), "has" | "all" | "global") => {
            if label == lower {
                format!("no blank may stand between `{label}` and `(`")
            } else {
                format!("`{lower}` is written in lower case")
            }
        }
        Token::Not => {
            let operand = rest.trim_start_matches(['!', ' ', '\t']);
            if operand.starts_with('=') {
                "no blank may stand inside `!=`".to_owned()
            } else {
                "the operators with \"not\" are `!=` and `not in`".to_owned()
            }
        }
        Token::End | Token::And | Token::Or | Token::Close => presence(label),
        _ => OPERATORS.to_owned(),
    }
}

fn presence(label: &str) -> String {
    format!(
        "to ask whether a label is there, write `has({})`",
        shown(label)
    )
}

/// For what stands where a value is wanted.
pub(super) fn no_value(found: Token<'_>) -> Option<String> {
    match found {
        Token::Label(word) => Some(format!("put the value in quotes: `\"{}\"`", shown(word))),
        Token::OpenSet => Some("a set is compared with `in` or `not in`".to_owned()),
        _ => None,
    }
}

/// For what stands where a term is wanted.
pub(super) fn no_term(found: Token<'_>) -> Option<&'static str> {
    match found {
        Token::Literal(_) => Some(
            "a comparison has the label on the left, without quotes, and the value on the right",
        ),
        _ => None,
    }
}

/// For what follows a term where `&&`, `||` or the end is wanted.
pub(super) fn no_connective(found: Token<'_>) -> Option<&'static str> {
    match found {
        Token::Label(word) if word.eq_ignore_ascii_case("and") => Some(SINGLE_AND),
        Token::Label(word) if word.eq_ignore_ascii_case("or") => Some(SINGLE_OR),
        Token::Comma
        | Token::Label(_)
        | Token::Has(_)
        | Token::All
        | Token::Global
        | Token::Not
        | Token::Open => Some("terms are joined with `&&` or `||`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::selector::Selector;

    /// The error and the hint for `text`.
    fn told(text: &str) -> (String, String) {
        let error = Selector::parse(text).unwrap_err();
        (error.to_string(), error.hint.unwrap_or_default())
    }

    #[test]
    fn common_slips_get_a_hint() {
        for (text, part) in [
            ("role = 'db'", "equality is written `==`"),
            ("role === 'db'", "the operators are"),
            ("role == db", "put the value in quotes: `\"db\"`"),
            (
                "role == true && has(x)",
                "put the value in quotes: `\"true\"`",
            ),
            ("has (role)", "no blank may stand between `has` and `(`"),
            ("!all ()", "no blank may stand between `all` and `(`"),
            ("has(a)\n", "line break at the end"),
            ("has(a) &&\n has(b)", "one line"),
            ("has(a)\u{a0}&& has(b)", "only spaces and tabs"),
            ("role IN {'x'}", "lower case: `in`"),
            ("role StartsWith 'x'", "lower case: `startswith`"),
            ("HAS(x)", "`has` is written in lower case"),
            ("has(a) & has(b)", "`&&`"),
            ("has(a) | has(b)", "`||`"),
            ("has(a) and has(b)", "`&&`"),
            ("a == 'x' OR b == 'y'", "`||`"),
            ("has(a), has(b)", "joined with"),
            ("not has(a)", "`!`"),
            ("not (has(a))", "`!`"),
            ("role == \"db'", "must close with `\"`"),
            ("role ! = 'x'", "no blank may stand inside `!=`"),
            ("zone ! in {'x'}", "`not in`"),
            ("zone in ('x')", "braces"),
            ("zone in 'x'", "braces"),
            ("zone == {'x'}", "`in` or `not in`"),
            ("zone in {a}", "put the value in quotes"),
            ("role", "`has(role)`"),
            ("has(a) && role", "`has(role)`"),
            ("role exists", "`has(role)`"),
            ("role starts 'x'", "`starts with`"),
            ("'db' == role", "label on the left"),
            ("has('x')", "no quotes"),
            ("has(x*)", "wild cards"),
            ("has(x) # note", "comments"),
            ("role > 'x'", "ordering"),
            ("role =~ 'x'", "`==`"),
            ("role == \u{201c}db\u{201d}", "plain"),
            ("rôle == 'x'", "A-Z"),
        ] {
            let (message, hint) = told(text);
            assert!(hint.contains(part), "{text:?}: {message}: {hint}");
        }
    }

    #[test]
    fn messages_are_one_short_lower_case_line() {
        let long = "a".repeat(9999);
        for text in [
            "\n",
            "\u{7}",
            "a\nb",
            "a %",
            "%",
            "(",
            ")",
            "a",
            "'",
            "a == \n",
            "a \u{2028}",
            "A",
            "a in {",
            &long,
            &format!("{} {long}", "x"),
            &format!("a == {long}"),
            &format!("has(a) {long}"),
        ] {
            let message = Selector::parse(text).unwrap_err().message;
            assert!(message.len() < 140, "{message}");
            assert!(!message.contains(char::is_control), "{message}");
            assert!(
                message.starts_with(|c: char| c.is_lowercase() || c == '`'),
                "{message}"
            );
        }
    }
}
