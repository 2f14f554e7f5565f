//! Documents as values, read strictly: no key twice, no alias bombs, keys are strings.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::edit::{Syntax, tree};

/// Values that aliases may add to a document, beyond what stands in its text.
const ALIAS_BUDGET: usize = 100_000;

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// What is wrong: one line, lower case.
    pub message: String,
    /// The place in the text, as a byte offset, where it is known.
    pub offset: Option<usize>,
    /// The key that stands twice in a map.
    pub twice: Option<String>,
}

/// Reads one document. An empty one is null.
///
/// Merge keys are carried out. Numbers that JSON cannot hold become strings; no field that this
/// tool reads has such a value.
///
/// # Errors
///
/// When the text is no document, holds a key twice, or expands to much more than its size.
pub fn read(text: &str, syntax: Syntax) -> Result<Value, ReadError> {
    let seed = Strict {
        left: &Cell::new(text.len() + ALIAS_BUDGET),
    };
    if syntax == Syntax::Yaml && may_be_deep(text) {
        tree::yaml(text).map_err(|e| ReadError {
            message: e.message,
            offset: Some(e.offset),
            twice: None,
        })?;
    }
    let read = match syntax {
        Syntax::Yaml => seed
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .map_err(|e| yaml_error(text, &e)),
        Syntax::Json => {
            let mut json = serde_json::Deserializer::from_str(text);
            seed.deserialize(&mut json)
                .and_then(|value| json.end().map(|()| value))
                .map_err(|e| json_error(text, &e))
        }
    };
    read.map(|mut value| {
        if syntax == Syntax::Yaml && text.contains("<<") {
            merge(&mut value);
        }
        value
    })
}

/// Whether brackets may be nested deeper than readers take them. The YAML reader's time grows with
/// the square of that depth, and it looks at the depth last; the reader of places stops in time.
fn may_be_deep(text: &str) -> bool {
    let mut depth: usize = 0;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > 128
    })
}

const TWICE: &str = "duplicate key ";

fn yaml_error(text: &str, error: &serde_yaml::Error) -> ReadError {
    let message = error.to_string();
    // The place is told apart from the message.
    let message = match message.split_once(" at line ") {
        Some((before, rest)) => {
            let behind = rest.split_once(", ").map(|(_, context)| context);
            let context = behind.and_then(|c| c.split(" at line ").next());
            context.map_or(before.to_owned(), |c| format!("{before} {c}"))
        }
        None => message,
    };
    let offset = error.location().map(|l| l.index().min(text.len()));
    with_key(message, offset)
}

fn json_error(text: &str, error: &serde_json::Error) -> ReadError {
    let message = error.to_string();
    let message = message
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned();
    let line_start = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum::<usize>();
    let offset = line_start + error.column().saturating_sub(1);
    with_key(message, Some(offset.min(text.len())))
}

fn with_key(message: String, offset: Option<usize>) -> ReadError {
    let twice = message
        .split_once(TWICE)
        .and_then(|(_, key)| serde_json::Deserializer::from_str(key).into_iter().next())
        .and_then(Result::ok);
    let message = match &twice {
        Some(key) => format!("key `{key}` stands twice in one map"),
        None => message,
    };
    ReadError {
        message,
        offset,
        twice,
    }
}

/// Carries out merge keys: entries of the map under `<<`, or of the maps in the list under it,
/// count where the map itself has none of that name.
fn merge(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(merge),
        Value::Object(map) => {
            map.values_mut().for_each(merge);
            let sources = match map.get("<<") {
                Some(Value::Object(_)) => vec![map.shift_remove("<<")],
                Some(Value::Array(list)) if list.iter().all(Value::is_object) => {
                    match map.shift_remove("<<") {
                        Some(Value::Array(list)) => list.into_iter().map(Some).collect(),
                        _ => Vec::new(),
                    }
                }
                _ => Vec::new(),
            };
            for source in sources.into_iter().flatten() {
                if let Value::Object(source) = source {
                    for (key, value) in source {
                        map.entry(key).or_insert(value);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Reads any value and counts down the values that a document may have.
#[derive(Clone, Copy)]
struct Strict<'b> {
    left: &'b Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => {
                return Err(D::Error::custom(
                    "the aliases expand to far more than the document holds",
                ));
            }
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i128<E>(self, v: i128) -> Result<Value, E> {
        Ok(Value::String(v.to_string()))
    }

    fn visit_u128<E>(self, v: u128) -> Result<Value, E> {
        Ok(Value::String(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or_else(|| Value::String(v.to_string()), Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Key)? {
            if map.contains_key(&key) {
                let quoted = Value::String(key);
                return Err(A::Error::custom(format_args!("{TWICE}{quoted}")));
            }
            let value = access.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    /// A value with a tag of its own is taken without it, as Kubernetes takes it.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let (_, value) = access.variant_seed(Key)?;
        value.newtype_variant_seed(self)
    }
}

/// Reads a map key. Scalars become strings as Go's YAML readers make them for JSON.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key (a template has to be rendered first)")
    }

    fn visit_bool<E>(self, v: bool) -> Result<String, E> {
        Ok(v.to_string())
    }

    fn visit_i64<E>(self, v: i64) -> Result<String, E> {
        Ok(v.to_string())
    }

    fn visit_u64<E>(self, v: u64) -> Result<String, E> {
        Ok(v.to_string())
    }

    fn visit_f64<E>(self, v: f64) -> Result<String, E> {
        Ok(v.to_string())
    }

    fn visit_str<E>(self, v: &str) -> Result<String, E> {
        Ok(v.to_owned())
    }

    fn visit_string<E>(self, v: String) -> Result<String, E> {
        Ok(v)
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn yaml(text: &str) -> Result<Value, ReadError> {
        read(text, Syntax::Yaml)
    }

    #[test]
    fn scalars_tags_and_merge_keys_become_json() {
        let text = "a: &x {p: 1, q: on}\nb: {<<: *x, p: 2}\nc: !Ref z\n1: true\nd: .inf\ne: ~\nf: !!str 5\n";
        assert_eq!(
            yaml(text).unwrap(),
            json!({"a": {"p": 1, "q": "on"}, "b": {"p": 2, "q": "on"}, "c": "z", "1": true,
                "d": "inf", "e": null, "f": "5"})
        );
        assert_eq!(yaml("").unwrap(), Value::Null);
        assert_eq!(yaml("# c\n").unwrap(), Value::Null);
        assert_eq!(yaml("---\n...\n").unwrap(), Value::Null);
        assert_eq!(
            yaml("l: {<<: [{a: 1}, {a: 2, b: 3}]}").unwrap(),
            json!({"l": {"a": 1, "b": 3}})
        );
    }

    #[test]
    fn a_key_that_stands_twice_is_named() {
        for text in ["a: 1\na: 2\n", "x: {a: 1, \"a\": 2}", "1: x\n\"1\": y\n"] {
            let key = if text.starts_with('1') { "1" } else { "a" };
            assert_eq!(
                yaml(text).unwrap_err().twice.as_deref(),
                Some(key),
                "{text}"
            );
        }
        let error = read(r#"{"x\"": 1, "x\"": 2}"#, Syntax::Json).unwrap_err();
        assert_eq!(error.twice.as_deref(), Some("x\""));
    }

    #[test]
    fn broken_texts_have_a_place_and_one_line() {
        for (text, line) in [
            ("a: [1\nb: 2", 2),
            ("a:\n\tb: 1", 2),
            ("x: 1\n{{- if y }}\n", 2),
            ("a: {{ .Values.b }}\n", 1),
            ("a: *b\n", 1),
            ("a: 'x\n", 1),
        ] {
            let error = yaml(text).unwrap_err();
            assert!(
                !error.message.contains('\n') && !error.message.contains("line"),
                "{error:?}"
            );
            let at = error.offset.unwrap();
            let found = text.get(..at).unwrap().matches('\n').count() + 1;
            assert!(found.abs_diff(line) <= 1, "{text:?}: {error:?}");
        }
        assert_eq!(
            read("{\n \"a\" 1}", Syntax::Json).unwrap_err().offset,
            Some(7)
        );
    }

    #[test]
    fn bombs_and_deep_nesting_are_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let alias = format!("*a{}", i - 1);
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![alias; 9].join(", ")));
        }
        assert!(yaml(&bomb).is_err());
        let wide = format!(
            "a: &a [{}]\nb: [{}]\n",
            "x, ".repeat(5000),
            "*a, ".repeat(900)
        );
        assert!(yaml(&wide).is_err());
        assert!(yaml(&"[".repeat(50_000)).is_err());
        assert!(yaml(&format!("{}1{}", "[".repeat(500), "]".repeat(500))).is_err());
        assert!(read(&"[".repeat(50_000), Syntax::Json).is_err());
    }
}
