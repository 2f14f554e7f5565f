//! The selector language, read by recursive descent straight from section 1 of the semantics, and
//! on purpose without the product's own parser: a fault there must not hide here.

use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// A selector.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    All,
    Global,
    Has(String),
    /// Label, operator as it is written canonically, literals.
    Test(String, &'static str, Vec<String>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

struct Reader<'a>(&'a [u8]);

/// Reads a selector; `None` where Calico refuses it.
pub fn parse(text: &str) -> Option<Expr> {
    let mut reader = Reader(text.as_bytes());
    reader.blanks();
    if reader.0.is_empty() {
        return Some(Expr::All);
    }
    let expr = reader.or()?;
    reader.blanks();
    reader.0.is_empty().then_some(expr)
}

fn names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte)
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.skip(|b| b == b' ' || b == b'\t');
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let length = self.0.iter().take_while(|b| wanted(**b)).count();
        self.0 = &self.0[length..];
        length
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blanks();
        match self.0.strip_prefix(token.as_bytes()) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn or(&mut self) -> Option<Expr> {
        let mut terms = vec![self.and()?];
        while self.eat("||") {
            terms.push(self.and()?);
        }
        Some(if terms.len() == 1 {
            terms.remove(0)
        } else {
            Expr::Or(terms)
        })
    }

    fn and(&mut self) -> Option<Expr> {
        let mut terms = vec![self.term()?];
        while self.eat("&&") {
            terms.push(self.term()?);
        }
        Some(if terms.len() == 1 {
            terms.remove(0)
        } else {
            Expr::And(terms)
        })
    }

    fn term(&mut self) -> Option<Expr> {
        let mut negated = false;
        while self.eat("!") {
            negated = !negated;
        }
        let expr = if self.eat("has(") {
            self.blanks();
            let label = self.label()?;
            self.eat(")").then_some(Expr::Has(label))?
        } else if self.eat("all(") {
            self.eat(")").then_some(Expr::All)?
        } else if self.eat("global(") {
            self.eat(")").then_some(Expr::Global)?
        } else if self.eat("(") {
            let inner = self.or()?;
            self.eat(")").then_some(inner)?
        } else {
            self.test()?
        };
        Some(if negated {
            Expr::Not(Box::new(expr))
        } else {
            expr
        })
    }

    fn label(&mut self) -> Option<String> {
        let all = self.0;
        let length = self.skip(names);
        let label = String::from_utf8(all[..length].to_vec()).ok()?;
        (1..=512).contains(&length).then_some(label)
    }

    fn test(&mut self) -> Option<Expr> {
        let label = self.label()?;
        let (operator, set) = self.operator()?;
        let values = if set {
            self.set()?
        } else {
            vec![self.literal()?]
        };
        Some(Expr::Test(label, operator, values))
    }

    /// The operator behind a label, and whether a set follows it.
    fn operator(&mut self) -> Option<(&'static str, bool)> {
        if self.eat("==") {
            return Some(("==", false));
        }
        if self.eat("!=") {
            return Some(("!=", false));
        }
        let found = if self.eat("contains") {
            ("contains", false)
        } else if self.eat("starts") {
            self.eat("with").then_some(("starts with", false))?
        } else if self.eat("ends") {
            self.eat("with").then_some(("ends with", false))?
        } else if self.eat("not") {
            self.eat("in").then_some(("not in", true))?
        } else if self.eat("in") {
            ("in", true)
        } else {
            return None;
        };
        let word_goes_on = self.0.first().is_some_and(|b| names(*b));
        (!word_goes_on).then_some(found)
    }

    fn literal(&mut self) -> Option<String> {
        self.blanks();
        let quote = *self.0.first().filter(|b| b"'\"".contains(b))?;
        let rest = &self.0[1..];
        let end = rest.iter().position(|b| *b == quote)?;
        self.0 = &rest[end + 1..];
        String::from_utf8(rest[..end].to_vec()).ok()
    }

    fn set(&mut self) -> Option<Vec<String>> {
        if !self.eat("{") {
            return None;
        }
        let mut values = Vec::new();
        while !self.eat("}") {
            values.push(self.literal()?);
            if !self.eat(",") {
                return self.eat("}").then_some(values);
            }
        }
        Some(values)
    }
}

impl Expr {
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::All | Self::Global => true,
            Self::Has(label) => labels.contains_key(label),
            Self::Not(inner) => !inner.matches(labels),
            Self::And(terms) => terms.iter().all(|t| t.matches(labels)),
            Self::Or(terms) => terms.iter().any(|t| t.matches(labels)),
            Self::Test(label, operator, values) => {
                let has = labels.get(label);
                let test = |wanted: fn(&str, &str) -> bool| {
                    has.is_some_and(|v| values.iter().any(|x| wanted(v, x)))
                };
                match *operator {
                    "==" | "in" => test(|v, x| v == x),
                    "!=" | "not in" => !test(|v, x| v == x),
                    "contains" => test(|v, x| v.contains(x)),
                    "starts with" => test(|v, x| v.starts_with(x)),
                    _ => test(|v, x| v.ends_with(x)),
                }
            }
        }
    }

    /// The canonical text, with `prefix` before every label.
    pub fn text(&self, prefix: &str) -> String {
        let join = |terms: &[Expr], by: &str| {
            let texts: Vec<String> = terms.iter().map(|t| t.text(prefix)).collect();
            format!("({})", texts.join(by))
        };
        match self {
            Self::All => "all()".into(),
            Self::Global => "global()".into(),
            Self::Has(label) => format!("has({prefix}{label})"),
            Self::Not(inner) => format!("!{}", inner.text(prefix)),
            Self::And(terms) => join(terms, " && "),
            Self::Or(terms) => join(terms, " || "),
            Self::Test(label, operator, values) => {
                let quoted: Vec<String> = values.iter().map(|v| quote(v)).collect();
                let right = match *operator {
                    "in" | "not in" => format!("{{{}}}", quoted.join(", ")),
                    _ => quoted.concat(),
                };
                format!("{prefix}{label} {operator} {right}")
            }
        }
    }
}

fn quote(value: &str) -> String {
    if value.contains('"') {
        format!("'{value}'")
    } else {
        format!("\"{value}\"")
    }
}
