//! Structural schemas of the custom resources: pruning, defaults, validation.
//!
//! `schema.json` holds the facts of Calico's CRDs in a short notation: `s` string, `i` integer, `n`
//! number, `b` boolean, `ios` integer or string, `l` list (`of`, `lt` set or map with `keys`), `o`
//! object (`p` members, `req` required), `m` map (`of`), `x` anything, `ref` a shared part.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::status::Cause;

/// The notation, parsed once.
static SCHEMAS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("schema.json")).expect("schema.json is JSON")
});

/// Members of an object that every schema has.
const ROOT: &[&str] = &["apiVersion", "kind", "metadata"];

/// Members of metadata.
const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// A place in a schema.
#[derive(Debug, Clone, Copy)]
pub struct Schema(&'static Value);

impl Schema {
    /// The schema of a Calico kind; kinds without one accept everything.
    pub fn of(kind: &str) -> Option<Self> {
        SCHEMAS["kinds"].get(kind).map(Self)
    }

    /// The node with its reference followed.
    fn node(self) -> &'static Value {
        match self.0.get("ref").and_then(Value::as_str) {
            Some(name) => &SCHEMAS["refs"][name],
            None => self.0,
        }
    }

    /// The type letter.
    fn kind(self) -> &'static str {
        let node = self.node();
        node.as_str().or_else(|| node["t"].as_str()).unwrap_or("x")
    }

    fn rule(self, name: &str) -> Option<&'static Value> {
        self.node().get(name)
    }

    /// The schema of a member, of the values of a map, or of anything below `x`.
    pub fn member(self, name: &str) -> Option<Self> {
        match self.kind() {
            "o" => self.node()["p"].get(name).map(Self),
            "m" => self.node().get("of").map(Self),
            "x" => Some(self),
            _ => None,
        }
    }

    /// The schema of list items.
    pub fn items(self) -> Option<Self> {
        match self.kind() {
            "l" => self.node().get("of").map(Self),
            "x" => Some(self),
            _ => None,
        }
    }

    /// `set`, `map` or nothing (atomic).
    pub fn list_type(self) -> Option<&'static str> {
        self.rule("lt").and_then(Value::as_str)
    }

    /// Keys of a `map` list.
    pub fn list_keys(self) -> Vec<&'static str> {
        let keys = self.rule("keys").and_then(Value::as_array);
        keys.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }
}

fn join(path: &str, step: &str) -> String {
    if path.is_empty() {
        step.into()
    } else {
        format!("{path}.{step}")
    }
}

/// Takes fields away that the schema does not know and returns their paths.
pub fn prune(schema: Option<Schema>, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let (Some(schema), Some(members)) = (schema, object.as_object_mut()) else {
        return unknown;
    };
    members.retain(|name, value| {
        if name == "metadata" {
            if let Some(meta) = value.as_object_mut() {
                meta.retain(|m, _| {
                    keep(METADATA.contains(&m.as_str()), join(name, m), &mut unknown)
                });
            }
            return true;
        }
        if ROOT.contains(&name.as_str()) {
            return true;
        }
        match schema.member(name) {
            Some(below) => {
                prune_below(below, value, name, &mut unknown);
                true
            }
            None => keep(false, name.clone(), &mut unknown),
        }
    });
    unknown
}

fn keep(known: bool, path: String, unknown: &mut Vec<String>) -> bool {
    if !known {
        unknown.push(path);
    }
    known
}

fn prune_below(schema: Schema, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match (schema.kind(), value) {
        ("o" | "m", Value::Object(members)) => members.retain(|name, v| {
            let at = join(path, name);
            match schema.member(name) {
                Some(below) => {
                    prune_below(below, v, &at, unknown);
                    true
                }
                None => keep(false, at, unknown),
            }
        }),
        ("l", Value::Array(items)) => {
            if let Some(below) = schema.items() {
                for (i, item) in items.iter_mut().enumerate() {
                    prune_below(below, item, &format!("{path}[{i}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

/// Fills in the schema's defaults. `minor` is Calico's: older releases have fewer.
pub fn fill(schema: Option<Schema>, object: &mut Value, minor: u32) {
    if let (Some(schema), Some(_)) = (schema, object.get("spec"))
        && let Some(spec) = schema.member("spec")
        && minor >= 32
    {
        fill_below(spec, &mut object["spec"]);
    }
}

fn fill_below(schema: Schema, value: &mut Value) {
    match value {
        Value::Object(members) if schema.kind() == "o" => {
            let known = schema.node()["p"].as_object();
            for (name, node) in known.into_iter().flatten() {
                let below = Schema(node);
                if let Some(default) = below.rule("def")
                    && !members.contains_key(name)
                {
                    members.insert(name.clone(), default.clone());
                }
                if let Some(v) = members.get_mut(name) {
                    fill_below(below, v);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.items() {
                items.iter_mut().for_each(|item| fill_below(below, item));
            }
        }
        _ => {}
    }
}

/// How far validation goes: CRDs before Calico v3.32 check types only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Types, required members, enumerations.
    Types,
    /// Limits, patterns, sets too.
    Full,
}

/// What the schema refuses.
pub fn validate(schema: Option<Schema>, object: &Value, depth: Depth) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let (Some(schema), Some(members)) = (schema, object.as_object()) {
        for (name, value) in members {
            if let (false, Some(below)) = (ROOT.contains(&name.as_str()), schema.member(name)) {
                check(below, value, name, depth, &mut causes);
            }
        }
    }
    causes
}

/// Whether causes of this kind keep the CEL rules from being run.
pub fn blocks_rules(cause: &Cause) -> bool {
    matches!(
        cause.reason,
        "FieldValueTypeInvalid"
            | "FieldValueRequired"
            | "FieldValueNotSupported"
            | "FieldValueTooLong"
            | "FieldValueTooMany"
    )
}

fn check(schema: Schema, value: &Value, path: &str, depth: Depth, causes: &mut Vec<Cause>) {
    let wanted = match schema.kind() {
        "s" => "string",
        "i" => "integer",
        "n" => "number",
        "b" => "boolean",
        "l" => "array",
        "o" | "m" => "object",
        "ios" if !matches!(value, Value::String(_)) && !value.is_i64() => "integer,string",
        _ => "",
    };
    let found = type_name(value);
    let fits = wanted.is_empty() || found == wanted || (wanted == "number" && found == "integer");
    if !fits {
        causes.push(Cause::new(
            "FieldValueTypeInvalid",
            path,
            format!("Invalid value: {found:?}: {path} in body must be of type {wanted}: {found:?}"),
        ));
        return;
    }
    if let Some(allowed) = schema.rule("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        causes.push(Cause::new(
            "FieldValueNotSupported",
            path,
            format!(
                "Unsupported value: {value}: supported values: {}",
                list.join(", ")
            ),
        ));
    }
    if depth == Depth::Full {
        limits(schema, value, path, causes);
    }
    match value {
        Value::Object(members) => {
            let required = schema.rule("req").and_then(Value::as_array);
            for name in required.into_iter().flatten().filter_map(Value::as_str) {
                if !members.contains_key(name) {
                    causes.push(Cause::required(join(path, name), ""));
                }
            }
            for (name, v) in members {
                if let Some(below) = schema.member(name) {
                    check(below, v, &join(path, name), depth, causes);
                }
            }
        }
        Value::Array(items) => {
            let unique = depth == Depth::Full && schema.list_type() == Some("set");
            let mut seen = HashSet::new();
            for (i, item) in items.iter().enumerate() {
                let at = format!("{path}[{i}]");
                if unique && !seen.insert(item.to_string()) {
                    causes.push(Cause::new(
                        "FieldValueDuplicate",
                        at.clone(),
                        format!("Duplicate value: {item}"),
                    ));
                }
                if let Some(below) = schema.items() {
                    check(below, item, &at, depth, causes);
                }
            }
        }
        _ => {}
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn limits(schema: Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let number = |rule: &str| schema.rule(rule).and_then(Value::as_f64);
    let mut invalid = |text: String| {
        causes.push(Cause::new(
            "FieldValueInvalid",
            path,
            format!("Invalid value: {value}: {path} in body {text}"),
        ));
    };
    if let Some(n) = value.as_f64() {
        if let Some(max) = number("max").filter(|max| n > *max) {
            invalid(format!("should be less than or equal to {max}"));
        }
        if let Some(min) = number("min").filter(|min| n < *min) {
            invalid(format!("should be greater than or equal to {min}"));
        }
    }
    if let Some(text) = value.as_str() {
        if let Some(min) = number("minlen").filter(|min| (text.len() as f64) < *min) {
            invalid(format!("should be at least {min} chars long"));
        }
        if let Some(pattern) = schema.rule("pat").and_then(Value::as_str)
            && !matches_pattern(pattern, text)
        {
            invalid(format!("should match '{pattern}'"));
        }
        if schema.rule("fmt").is_some_and(|f| f == "cidr") && text.parse::<ipnet::IpNet>().is_err()
        {
            invalid(format!("must be of type cidr: {value}"));
        }
        if let Some(max) = number("maxlen").filter(|max| text.len() as f64 > *max) {
            causes.push(Cause::new(
                "FieldValueTooLong",
                path,
                format!("Too long: may not be more than {max} bytes"),
            ));
        }
    }
    if let Some(items) = value.as_array() {
        let n = items.len();
        if let Some(max) = number("maxitems").filter(|max| n as f64 > *max) {
            causes.push(Cause::new(
                "FieldValueTooMany",
                path,
                format!("Too many: {n}: must have at most {max} items"),
            ));
        }
        if let Some(min) = number("minitems").filter(|min| (n as f64) < *min) {
            causes.push(Cause::new(
                "FieldValueInvalid",
                path,
                format!("Invalid value: {n}: {path} in body should have at least {min} items"),
            ));
        }
    }
}

/// Matches the patterns that Calico's CRDs use most: words in any case, durations. Others pass.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    if let Some(words) = pattern
        .strip_prefix("^(?i)(")
        .and_then(|p| p.strip_suffix(")?$"))
    {
        return text.is_empty() || words.split('|').any(|w| w.eq_ignore_ascii_case(text));
    }
    // As written there, a fraction begins with a backslash: `1.5s` is refused.
    let dot = match pattern {
        r"^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$" => "\\",
        r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))*$" => ".",
        _ => return true,
    };
    let mut rest = text;
    while !rest.is_empty() {
        let digits = |t: &str| t.len() - t.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits(rest));
        let Some(unit) = (!number.is_empty()).then_some(tail) else {
            return false;
        };
        let unit = match unit.strip_prefix(dot) {
            Some(t) => t.get(digits(t)..).unwrap_or_default(),
            None => unit,
        };
        let Some(after) = ["ms", "s", "m", "h"]
            .iter()
            .find_map(|u| unit.strip_prefix(u))
        else {
            return false;
        };
        rest = after;
    }
    true
}

/// Names of the CRDs with CEL rules in this double, for the hint that rules were not run.
pub fn has_rules(kind: &str) -> bool {
    matches!(
        kind,
        "HostEndpoint"
            | "GlobalNetworkPolicy"
            | "NetworkPolicy"
            | "StagedGlobalNetworkPolicy"
            | "StagedNetworkPolicy"
            | "FelixConfiguration"
            | "IPPool"
            | "Tier"
            | "BGPConfiguration"
            | "BGPPeer"
    )
}
