//! Label and field selectors of list requests.

use serde_json::Value;

use super::kinds::Kind;
use super::objects::meta;
use super::status::{Outcome, bad_request};

/// One requirement on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Greater(String, i64),
    Less(String, i64),
}

/// A parsed label selector; empty selects everything.
#[derive(Debug, Clone, Default)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`; the server's text for a bad one.
    pub fn parse(text: &str) -> Outcome<Self> {
        Parser {
            tokens: tokens(text),
            at: 0,
        }
        .requirements()
        .map(Self)
        .map_err(|why| bad_request(format!("unable to parse requirement: {why}")))
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let number = |key: &String| labels[key].as_str().and_then(|v| v.parse::<i64>().ok());
        self.0.iter().all(|r| match r {
            Requirement::Exists(k) => labels.get(k).is_some(),
            Requirement::Absent(k) => labels.get(k).is_none(),
            Requirement::In(k, vs) => labels[k]
                .as_str()
                .is_some_and(|v| vs.iter().any(|x| x == v)),
            Requirement::NotIn(k, vs) => !labels[k]
                .as_str()
                .is_some_and(|v| vs.iter().any(|x| x == v)),
            Requirement::Greater(k, n) => number(k).is_some_and(|v| v > *n),
            Requirement::Less(k, n) => number(k).is_some_and(|v| v < *n),
        })
    }
}

/// Words and signs of a selector.
fn tokens(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let sign = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"]
            .into_iter()
            .find(|s| rest.starts_with(s));
        let len = match sign {
            Some(s) => s.len(),
            None => rest
                .find(|c: char| c.is_whitespace() || "=!(),<>".contains(c))
                .unwrap_or(rest.len())
                .max(first.len_utf8()),
        };
        let (token, tail) = rest.split_at(len);
        out.push(token.to_owned());
        rest = tail.trim_start();
    }
    out
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn take(&mut self) -> String {
        let token = self.peek().to_owned();
        self.at += 1;
        token
    }

    fn requirements(mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        while self.at < self.tokens.len() {
            out.push(self.requirement()?);
            match self.take().as_str() {
                "" => break,
                "," => {}
                other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
            }
        }
        Ok(out)
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.peek() == "!" {
            self.take();
            return self.key().map(Requirement::Absent);
        }
        let key = self.key()?;
        if matches!(self.peek(), "" | ",") {
            return Ok(Requirement::Exists(key));
        }
        let operator = self.take();
        match operator.as_str() {
            "=" | "==" => Ok(Requirement::In(key, vec![self.value()])),
            "!=" => Ok(Requirement::NotIn(key, vec![self.value()])),
            "in" => self.values().map(|vs| Requirement::In(key, vs)),
            "notin" => self.values().map(|vs| Requirement::NotIn(key, vs)),
            ">" | "<" => {
                let n = self.take();
                let n = n
                    .parse()
                    .map_err(|_| format!("values[0][{key}]: Invalid value: {n:?}: for 'Gt', 'Lt' operators, the value must be an integer"))?;
                Ok(if operator == ">" {
                    Requirement::Greater(key, n)
                } else {
                    Requirement::Less(key, n)
                })
            }
            other => Err(format!(
                "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
            )),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.take();
        if key.is_empty() || "=!(),<>".contains(&key) || key == "==" || key == "!=" {
            return Err(format!("found '{key}', expected: identifier"));
        }
        Ok(key)
    }

    /// The value after `=`; nothing means the empty value.
    fn value(&mut self) -> String {
        if matches!(self.peek(), "" | ",") {
            String::new()
        } else {
            self.take()
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.take();
        if open != "(" {
            return Err(format!("found '{open}' expected: '('"));
        }
        let mut out = Vec::new();
        loop {
            match self.take().as_str() {
                ")" => return Ok(out),
                "," => {}
                "" => return Err("found '', expected: ',' or ')'".into()),
                word => out.push(word.to_owned()),
            }
        }
    }
}

/// A field requirement: path, wanted value, and whether it must be equal.
type Field = (String, String, bool);

/// A parsed field selector.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<Field>);

/// Fields that can be selected besides name and namespace.
fn selectable(kind: &Kind) -> &'static [&'static str] {
    match (kind.group, kind.plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "namespaces") => &["status.phase"],
        ("", "nodes") => &["spec.unschedulable"],
        ("projectcalico.org", plural) if plural.ends_with("policies") => &["spec.tier"],
        _ => &[],
    }
}

impl Fields {
    /// Parses `a=b,c!=d`; fields that the kind does not offer are refused.
    pub fn parse(text: &str, kind: &Kind) -> Outcome<Self> {
        let mut out = Vec::new();
        for term in text.split(',').filter(|t| !t.is_empty()) {
            let (path, value, equal) = if let Some((p, v)) = term.split_once("!=") {
                (p, v, false)
            } else if let Some((p, v)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (p, v, true)
            } else {
                return Err(bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            let always = path == "metadata.name" || path == "metadata.namespace";
            if !always && !selectable(kind).contains(&path) {
                return Err(bad_request(format!("field label not supported: {path}")));
            }
            out.push((path.into(), value.into(), equal));
        }
        Ok(Self(out))
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, wanted, equal)| {
            let found = match path.strip_prefix("metadata.") {
                Some(key) => meta(object, key).to_owned(),
                None => {
                    let at = format!("/{}", path.replace('.', "/"));
                    match object.pointer(&at) {
                        Some(Value::String(s)) => s.clone(),
                        Some(Value::Bool(b)) => b.to_string(),
                        None if matches!(
                            path.as_str(),
                            "spec.hostNetwork" | "spec.unschedulable"
                        ) =>
                        {
                            "false".into()
                        }
                        _ => String::new(),
                    }
                }
            };
            (found == *wanted) == *equal
        })
    }
}
