//! Text to tokens, by the lexical rules of Calico's selector grammar (the tokenizer of Calico 3.30
//! and later).
//!
//! White space is space and tab only. Words have no meaning of their own: what follows a label name
//! must be an operator, elsewhere `has(`, `all(` and `global(` are known by the bracket glued to
//! them, and every other word is a label name.

use std::ops::Range;

use super::error::{ParseError, shown};
use super::hints;
use super::term::{MAX_LABEL_BYTES, is_label_byte};

/// What stands between a label and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Contains,
    StartsWith,
    EndsWith,
    In,
    NotIn,
}

/// A token; names and values borrow from the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Open,
    Close,
    OpenSet,
    CloseSet,
    Comma,
    Not,
    And,
    Or,
    Op(Op),
    Has(&'a str),
    All,
    Global,
    Label(&'a str),
    Literal(&'a str),
    End,
}

/// A token and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lexeme<'a> {
    pub token: Token<'a>,
    start: usize,
    end: usize,
}

impl Lexeme<'_> {
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

pub(super) struct Lexer<'a> {
    source: &'a str,
    rest: &'a str,
    /// The label name just read: the next word must be an operator.
    after_label: Option<&'a str>,
}

impl<'a> Lexer<'a> {
    pub fn new(source: &'a str) -> Self {
        Self {
            source,
            rest: source,
            after_label: None,
        }
    }

    /// The next token; [`Token::End`] again and again once the text is used up.
    pub fn advance(&mut self) -> Result<Lexeme<'a>, ParseError> {
        self.skip_blanks();
        let start = self.at();
        let token = self.token()?;
        self.after_label = match token {
            Token::Label(name) => Some(name),
            _ => None,
        };
        let end = self.at();
        Ok(Lexeme { token, start, end })
    }

    /// The text from byte `at` on.
    pub fn text_from(&self, at: usize) -> &'a str {
        self.source.get(at..).unwrap_or_default()
    }

    /// An error about bytes `span` of the text.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> ParseError {
        ParseError::new(self.source, span, message)
    }

    fn at(&self) -> usize {
        self.source.len() - self.rest.len()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Result<Token<'a>, ParseError> {
        let Some(first) = self.rest.bytes().next() else {
            return Ok(Token::End);
        };
        let (text, token) = match first {
            b'(' => ("(", Token::Open),
            b')' => (")", Token::Close),
            b'{' => ("{", Token::OpenSet),
            b'}' => ("}", Token::CloseSet),
            b',' => (",", Token::Comma),
            b'=' => ("==", Token::Op(Op::Eq)),
            b'&' => ("&&", Token::And),
            b'|' => ("||", Token::Or),
            b'!' if self.rest.starts_with("!=") => ("!=", Token::Op(Op::Ne)),
            b'!' => ("!", Token::Not),
            b'"' | b'\'' => return self.literal(first),
            _ => return self.word(),
        };
        let start = self.at();
        if !self.eat(text) {
            return Err(self.halved(text));
        }
        // One `=` too many would be an error in any place; here it can be named.
        if matches!(token, Token::Op(_)) && self.rest.starts_with('=') {
            let extra = start..self.at() + 1;
            return Err(self
                .error(extra, format!("expected `{text}`, found `{text}=`"))
                .with_hint(hints::OPERATORS));
        }
        Ok(token)
    }

    /// A single `=`, `&` or `|`.
    fn halved(&self, whole: &str) -> ParseError {
        let half = whole.get(..1).unwrap_or_default();
        let at = self.at();
        self.error(
            at..at + 1,
            format!("expected `{whole}`, found a single `{half}`"),
        )
        .with_hint(match half {
            "=" => hints::SINGLE_EQUALS,
            "&" => hints::SINGLE_AND,
            _ => hints::SINGLE_OR,
        })
    }

    fn literal(&mut self, quote: u8) -> Result<Token<'a>, ParseError> {
        let inside = self.rest.get(1..).unwrap_or_default();
        match inside.split_once(char::from(quote)) {
            Some((value, rest)) => {
                self.rest = rest;
                Ok(Token::Literal(value))
            }
            None => Err(self
                .error(
                    self.at()..self.source.len(),
                    "the value's quote is not closed",
                )
                .maybe_hint(hints::unclosed_quote(char::from(quote), inside))),
        }
    }

    fn word(&mut self) -> Result<Token<'a>, ParseError> {
        if let Some(label) = self.after_label {
            return self.operator(label);
        }
        if self.eat("has(") {
            self.skip_blanks();
            let name = self.label_name("has() needs a label name")?;
            self.close("has(")?;
            Ok(Token::Has(name))
        } else if self.eat("all(") {
            self.close("all(")?;
            Ok(Token::All)
        } else if self.eat("global(") {
            self.close("global(")?;
            Ok(Token::Global)
        } else {
            Ok(Token::Label(self.label_name("")?))
        }
    }

    /// The bracket at the end of `has(…)`, `all()` and `global()`.
    fn close(&mut self, opened: &str) -> Result<(), ParseError> {
        self.skip_blanks();
        if self.eat(")") {
            return Ok(());
        }
        let message = match self.rest.chars().next() {
            None => format!("`{opened}` is not closed"),
            Some(_) if opened == "has(" => "has() takes exactly one label name".to_owned(),
            Some(_) => format!("`{opened})` takes nothing between its brackets"),
        };
        Err(self
            .error(self.here(), message)
            .maybe_hint(hints::foreign_character(self.rest)))
    }

    /// A label name. When there is none: the error `missing`, or one that names the character.
    fn label_name(&mut self, missing: &str) -> Result<&'a str, ParseError> {
        let (name, rest) = self.split_word();
        if name.is_empty() {
            let error = if missing.is_empty() {
                self.error(self.here(), hints::unexpected_character(self.rest))
            } else {
                self.error(self.here(), missing)
            };
            return Err(error.maybe_hint(hints::foreign_character(self.rest)));
        }
        if name.len() > MAX_LABEL_BYTES {
            let at = self.at();
            return Err(self.error(
                at..at + name.len(),
                format!("the label name is longer than {MAX_LABEL_BYTES} bytes"),
            ));
        }
        self.rest = rest;
        Ok(name)
    }

    /// The operator that must follow a label name.
    fn operator(&mut self, label: &str) -> Result<Token<'a>, ParseError> {
        const WORDS: [(&str, &str, Op); 5] = [
            ("contains", "", Op::Contains),
            ("starts", "with", Op::StartsWith),
            ("ends", "with", Op::EndsWith),
            ("not", "in", Op::NotIn),
            ("in", "", Op::In),
        ];
        for (first, second, op) in WORDS {
            let Some(rest) = self.rest.strip_prefix(first) else {
                continue;
            };
            // Any run of blanks, also none, joins the two words of an operator.
            let rest = if second.is_empty() {
                Some(rest)
            } else {
                rest.trim_start_matches([' ', '\t']).strip_prefix(second)
            };
            if let Some(rest) = rest
                && !rest.bytes().next().is_some_and(is_label_byte)
            {
                self.rest = rest;
                return Ok(Token::Op(op));
            }
        }
        let (word, _) = self.split_word();
        if word.is_empty() {
            return Err(self
                .error(self.here(), hints::unexpected_character(self.rest))
                .maybe_hint(hints::foreign_character(self.rest)));
        }
        let at = self.at();
        Err(self
            .error(
                at..at + word.len(),
                format!(
                    "expected an operator after the label `{}`, found `{}`",
                    shown(label),
                    shown(word)
                ),
            )
            .with_hint(hints::wrong_operator(label, self.rest)))
    }

    /// The label characters at the front, and what follows them.
    fn split_word(&self) -> (&'a str, &'a str) {
        let end = self.rest.bytes().position(|byte| !is_label_byte(byte));
        end.and_then(|end| self.rest.split_at_checked(end))
            .unwrap_or((self.rest, ""))
    }

    /// The next character, or the end of the text.
    fn here(&self) -> Range<usize> {
        let at = self.at();
        at..at + self.rest.chars().next().map_or(0, char::len_utf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(source: &str) -> Result<Vec<Token<'_>>, ParseError> {
        let mut lexer = Lexer::new(source);
        let mut tokens = Vec::new();
        loop {
            match lexer.advance()?.token {
                Token::End => return Ok(tokens),
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn punctuation_needs_no_blanks() {
        assert_eq!(
            tokens("(){},==!=!&&||").unwrap(),
            [
                Token::Open,
                Token::Close,
                Token::OpenSet,
                Token::CloseSet,
                Token::Comma,
                Token::Op(Op::Eq),
                Token::Op(Op::Ne),
                Token::Not,
                Token::And,
                Token::Or,
            ]
        );
    }

    #[test]
    fn words_are_operators_only_after_a_label() {
        for (text, op) in [
            ("in in", Op::In),
            ("contains contains", Op::Contains),
            ("not notin", Op::NotIn),
            ("not not \t in", Op::NotIn),
            ("starts startswith", Op::StartsWith),
            ("ends ends  with", Op::EndsWith),
        ] {
            let label = text.split(' ').next().unwrap();
            assert_eq!(
                tokens(text).unwrap(),
                [Token::Label(label), Token::Op(op)],
                "{text}"
            );
        }
    }

    #[test]
    fn the_words_with_brackets_need_the_bracket_glued_on() {
        assert_eq!(
            tokens("has( a\t) all( ) global()").unwrap(),
            [Token::Has("a"), Token::All, Token::Global]
        );
        assert_eq!(tokens("has (").unwrap(), [Token::Label("has"), Token::Open]);
        assert_eq!(
            tokens("-has(").unwrap(),
            [Token::Label("-has"), Token::Open]
        );
        assert!(tokens("a has(b)").is_err());
    }

    #[test]
    fn an_operator_ends_where_its_word_does() {
        for text in [
            "a inn",
            "a in-",
            "a containsx",
            "a starts withs",
            "a noting",
        ] {
            assert!(tokens(text).is_err(), "{text}");
        }
        for text in ["a in{", "a in", "a contains'x'", "a notin\t{", "a in("] {
            assert!(tokens(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_literal_holds_everything_but_its_quote() {
        assert_eq!(
            tokens("'a\"\\\n\té'\"'\"''").unwrap(),
            [
                Token::Literal("a\"\\\n\té"),
                Token::Literal("'"),
                Token::Literal("")
            ]
        );
        assert!(tokens("'").is_err());
        assert!(tokens("'a\"").is_err());
    }

    #[test]
    fn label_names_end_at_512_bytes() {
        let longest = "a".repeat(512);
        assert_eq!(tokens(&longest).unwrap(), [Token::Label(&longest)]);
        assert!(tokens(&"a".repeat(513)).is_err());
        assert!(tokens(&format!("has({})", "a".repeat(513))).is_err());
    }

    #[test]
    fn only_space_and_tab_are_blanks() {
        assert_eq!(tokens(" \t ").unwrap(), []);
        for blank in ["\n", "\r", "\u{b}", "\u{c}", "\u{a0}", "\u{2003}", "\0"] {
            assert!(tokens(blank).is_err(), "{blank:?}");
        }
    }

    #[test]
    fn tokens_know_their_place() {
        let mut lexer = Lexer::new("  rolé");
        assert_eq!(lexer.advance().unwrap().span(), 2..5);
        assert_eq!(lexer.advance().unwrap_err().span, 5..7);
        let mut lexer = Lexer::new("a ");
        lexer.advance().unwrap();
        assert_eq!(lexer.advance().unwrap().span(), 2..2);
    }
}
