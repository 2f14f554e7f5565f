//! Labels and annotations, whose values are strings however they are written.

use serde_json::{Value, json};

use super::edit::tree::{Node, NodeKind, Style};
use super::strings;

/// The text of a scalar without quotes, and where it is.
pub type Plain = (String, usize);

/// A value that was no string and was read as one.
#[derive(Debug)]
pub struct Unquoted {
    /// What it is: label or annotation, and the key.
    pub what: String,
    /// How it is written.
    pub plain: String,
    /// What it was read as.
    pub string: String,
    /// Where it is.
    pub offset: Option<usize>,
}

/// A value that can be no string: a list or a map.
#[derive(Debug)]
pub struct NoString {
    /// What it is: label or annotation, and the key.
    pub what: String,
    /// Where it is.
    pub offset: Option<usize>,
}

/// The maps in which every value is a string.
const STRING_MAPS: [(&str, &str); 4] = [
    ("/metadata/labels", "label"),
    ("/metadata/annotations", "annotation"),
    ("/spec/template/metadata/labels", "label"),
    ("/spec/template/metadata/annotations", "annotation"),
];

/// Makes strings of the values of an object's labels and annotations, and tells which were none.
/// Null is the empty string to every reader.
///
/// # Errors
///
/// When a value is a list or a map.
pub fn settle(
    object: &mut Value,
    find: &dyn Fn(&[String]) -> Option<Plain>,
) -> Result<Vec<Unquoted>, NoString> {
    let mut all = Vec::new();
    for (pointer, what) in STRING_MAPS {
        let Some(Value::Object(map)) = object.pointer_mut(pointer) else {
            continue;
        };
        let path: Vec<String> = pointer.split('/').skip(1).map(str::to_owned).collect();
        for (key, value) in map.iter_mut().filter(|(_, v)| doubtful(v)) {
            let steps: Vec<String> = path.iter().chain([key]).cloned().collect();
            let place = find(&steps);
            let what = format!("{what} `{key}`");
            let offset = place.as_ref().map(|(_, at)| *at);
            let plain = place.map(|(plain, _)| plain);
            let string = match value {
                Value::Null => Some(String::new()),
                Value::Array(_) | Value::Object(_) => return Err(NoString { what, offset }),
                // Without a place it is quoted, or behind an alias.
                Value::String(_) => plain.as_deref().and_then(strings::as_string),
                Value::Bool(_) | Value::Number(_) => {
                    let written = plain.clone().unwrap_or_else(|| value.to_string());
                    strings::as_string(&written).or_else(|| Some(value.to_string()))
                }
            };
            let Some(string) = string else { continue };
            if !value.is_null() {
                all.push(Unquoted {
                    what,
                    plain: plain.unwrap_or_else(|| value.to_string()),
                    string: string.clone(),
                    offset,
                });
            }
            *value = json!(string);
        }
    }
    Ok(all)
}

/// Whether a value is no string, or one that is a string in YAML 1.2 alone unless it is quoted. A
/// string that looks like a number or a boolean of YAML 1.2 was quoted, or it would be one.
fn doubtful(value: &Value) -> bool {
    let Value::String(text) = value else {
        return true;
    };
    let digits = text.trim_start_matches(['+', '-']);
    let octal = digits.len() > 1 && digits.starts_with('0');
    text.len() < 32
        && (text.len() < 4 || octal || text.contains('_'))
        && strings::as_string(text).is_some_and(|string| octal || string != *text)
}

/// The text and place of a scalar without quotes.
pub fn plain_at(root: &Node<'_>, path: &[String], base: usize) -> Option<Plain> {
    let node = path.iter().try_fold(root, |node, key| node.get(key))?;
    match &node.kind {
        NodeKind::Scalar(Style::Plain, text) => Some((text.to_string(), base + node.span.start)),
        NodeKind::Map { .. } | NodeKind::List { .. } => Some((String::new(), base + node.outer)),
        _ => None,
    }
}
