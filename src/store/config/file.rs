//! calicoctl's configuration file.

use serde_yaml::Value;

use super::fields::{FIELDS, Field, Holds, Values};
use super::wrong;
use crate::calico::kind::V3;
use crate::store::StoreError;

const KIND: &str = "CalicoAPIConfig";

/// Reads the text of the file at `path`. Unknown members are errors, as for calicoctl; names are
/// matched without regard to case, as Go does.
pub(super) fn parse(text: &str, path: &str) -> Result<Values, StoreError> {
    let at = |message: String| wrong(format!("configuration file `{path}`: {message}"));
    let text = text.trim_start_matches('\u{feff}');
    // The parser's messages hold names and places, never values: those may be secret.
    let mut root: Value = serde_yaml::from_str(text).map_err(|error| {
        let place = error
            .location()
            .map(|l| format!(" (line {}, column {})", l.line(), l.column()));
        at(format!(
            "no valid YAML or JSON{}",
            place.unwrap_or_default()
        ))
    })?;
    root.apply_merge()
        .map_err(|_| at("a merge key `<<` does not name a map".into()))?;
    let Value::Mapping(members) = root else {
        return Err(at(format!("not an object of kind `{KIND}`")));
    };
    let (mut kind, mut version) = (None, None);
    let mut values = Values::default();
    for (key, value) in &members {
        let key = key.as_str().unwrap_or_default();
        if key.eq_ignore_ascii_case("kind") {
            kind = value.as_str();
        } else if key.eq_ignore_ascii_case("apiVersion") {
            version = value.as_str();
        } else if key.eq_ignore_ascii_case("spec") {
            spec(value, &mut values).map_err(|error| at(error.message))?;
        } else if !key.eq_ignore_ascii_case("metadata") {
            return Err(at(format!("unknown field `{key}`")));
        }
    }
    if kind != Some(KIND) || version != Some(V3) {
        return Err(
            at(format!("not an object of kind `{KIND}` of `{V3}`")).hint(format!(
                "it begins with `apiVersion: {V3}` and `kind: {KIND}`"
            )),
        );
    }
    Ok(values)
}

fn spec(value: &Value, into: &mut Values) -> Result<(), StoreError> {
    let members = match value {
        Value::Null => return Ok(()),
        Value::Mapping(members) => members,
        _ => return Err(wrong("`spec` is no map")),
    };
    for (key, value) in members {
        let key = key.as_str().unwrap_or_default();
        let field = FIELDS.iter().find(|f| f.json.eq_ignore_ascii_case(key));
        let field = field.ok_or_else(|| wrong(format!("unknown field `spec.{key}`")))?;
        let from = format!("`spec.{}`", field.json);
        let text = scalar(field, value).ok_or_else(|| wrong(format!("{from} has a wrong type")))?;
        if !(text.is_empty() && field.holds != Holds::Text) {
            into.put(field, &text, from)?;
        }
    }
    Ok(())
}

/// A value as calicoctl's conversion from YAML to the type of the field gives it (data model, 9.6).
fn scalar(field: &Field, value: &Value) -> Option<String> {
    Some(match (value, field.holds) {
        (Value::Null, _) => String::new(),
        (Value::Bool(value), Holds::Text | Holds::Bool) => value.to_string(),
        (Value::Number(value), Holds::Text | Holds::Number) => value.to_string(),
        (Value::String(text), Holds::Text) => text.clone(),
        // The YAML of Go has more words for booleans than this parser's.
        (Value::String(text), Holds::Bool) => match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "on" => "true".into(),
            "n" | "no" | "off" => "false".into(),
            _ => return None,
        },
        _ => return None,
    })
}
