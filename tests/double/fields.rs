//! Field ownership: `managedFields` with `FieldsV1` sets.
//!
//! A path is a list of steps as FieldsV1 spells them: `f:name`, `k:{"type":"Ready"}`, `v:"x"`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::objects::meta_mut;
use super::schema::Schema;

/// Steps to a field.
pub type Path = Vec<String>;

/// A set of fields.
pub type Set = BTreeSet<Path>;

/// Metadata that nobody owns.
const UNOWNED: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// The fields of an object: leaves with their values, maps and lists in between without.
pub type Nodes = BTreeMap<Path, Option<Value>>;

/// How a list is owned.
enum List {
    Atomic,
    Set,
    Map(Vec<&'static str>),
}

/// What is known about the types below a place.
#[derive(Clone, Copy)]
enum Hint {
    Schema(Option<Schema>),
    Core,
}

impl Hint {
    fn member(self, name: &str) -> Self {
        match self {
            Self::Schema(s) => Self::Schema(s.and_then(|s| s.member(name))),
            Self::Core => Self::Core,
        }
    }

    fn items(self) -> Self {
        match self {
            Self::Schema(s) => Self::Schema(s.and_then(Schema::items)),
            Self::Core => Self::Core,
        }
    }

    fn list(self, path: &Path) -> List {
        let name = path.last().map_or("", |s| s.trim_start_matches("f:"));
        if path.first().is_some_and(|s| s == "f:metadata") {
            return match name {
                "finalizers" => List::Set,
                "ownerReferences" => List::Map(vec!["uid"]),
                _ => List::Atomic,
            };
        }
        match self {
            Self::Schema(Some(s)) => match s.list_type() {
                Some("set") => List::Set,
                Some("map") => List::Map(s.list_keys()),
                _ => List::Atomic,
            },
            Self::Schema(None) => List::Atomic,
            Self::Core => core_list(name),
        }
    }
}

/// Keys of the lists of core types.
fn core_list(name: &str) -> List {
    match name {
        "podCIDRs" => List::Set,
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" | "secrets" => {
            List::Map(vec!["name"])
        }
        "ports" => List::Map(vec!["containerPort", "protocol"]),
        "volumeMounts" => List::Map(vec!["mountPath"]),
        "conditions" | "addresses" => List::Map(vec!["type"]),
        "podIPs" | "hostIPs" => List::Map(vec!["ip"]),
        _ => List::Atomic,
    }
}

/// All fields of an object.
pub fn nodes(kind: &Kind, object: &Value) -> Nodes {
    let mut out = Nodes::new();
    let hint = if kind.custom {
        Hint::Schema(Schema::of(kind.kind))
    } else {
        Hint::Core
    };
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = vec![format!("f:{name}")];
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for (m, v) in value.as_object().into_iter().flatten() {
                    if !UNOWNED.contains(&m.as_str()) {
                        let mut path = path.clone();
                        path.push(format!("f:{m}"));
                        walk(Hint::Schema(None), v, path, &mut out);
                    }
                }
            }
            _ => walk(hint.member(name), value, path, &mut out),
        }
    }
    if !kind.custom {
        // Fields that a core type always prints are there before anybody sets them.
        out.retain(|path, value| {
            let last = path.last().map_or("", String::as_str);
            value.is_some() || !(path.len() == 1 || matches!(last, "f:containers" | "f:template"))
        });
    }
    out
}

fn walk(hint: Hint, value: &Value, path: Path, out: &mut Nodes) {
    let below = |step: String| {
        let mut path = path.clone();
        path.push(step);
        path
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, v) in members {
                walk(hint.member(name), v, below(format!("f:{name}")), out);
            }
            out.insert(path, None);
        }
        Value::Array(items) if !items.is_empty() => match hint.list(&path) {
            List::Atomic => {
                out.insert(path, Some(value.clone()));
            }
            List::Set => {
                for item in items {
                    out.insert(below(format!("v:{item}")), Some(item.clone()));
                }
                out.insert(path, None);
            }
            List::Map(keys) => {
                for item in items {
                    let key: Map<String, Value> = keys
                        .iter()
                        .filter_map(|k| Some(((*k).to_owned(), item.get(*k)?.clone())))
                        .collect();
                    walk(
                        hint.items(),
                        item,
                        below(format!("k:{}", Value::from(key))),
                        out,
                    );
                }
                out.insert(path, None);
            }
        },
        leaf => {
            out.insert(path, Some(leaf.clone()));
        }
    }
}

/// One manager's part of `managedFields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: String,
    /// `Update` or `Apply`.
    pub operation: String,
    /// In which version of the type.
    pub api_version: String,
    /// When the set last changed.
    pub time: String,
    /// `status` for the subresource.
    pub subresource: Option<String>,
    /// What.
    pub set: Set,
}

impl Entry {
    /// Whether two entries belong to the same manager, operation, version and subresource.
    pub fn same_owner(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.api_version == other.api_version
            && self.subresource == other.subresource
    }
}

/// Reads `managedFields` of an object.
pub fn entries(object: &Value) -> Vec<Entry> {
    let list = object["metadata"]["managedFields"].as_array();
    list.into_iter()
        .flatten()
        .map(|e| {
            let text = |k: &str| e[k].as_str().unwrap_or_default().to_owned();
            let mut set = Set::new();
            read(&e["fieldsV1"], &mut Vec::new(), &mut set);
            Entry {
                manager: text("manager"),
                operation: text("operation"),
                api_version: text("apiVersion"),
                time: text("time"),
                subresource: e["subresource"].as_str().map(str::to_owned),
                set,
            }
        })
        .collect()
}

fn read(value: &Value, path: &mut Path, set: &mut Set) {
    let Some(members) = value.as_object() else {
        return;
    };
    if members.is_empty() && !path.is_empty() {
        set.insert(path.clone());
    }
    for (step, below) in members {
        if step == "." {
            set.insert(path.clone());
        } else {
            path.push(step.clone());
            read(below, path, set);
            path.pop();
        }
    }
}

/// A set as `fieldsV1`.
fn written(set: &Set) -> Value {
    let mut root = json!({});
    for path in set {
        let mut at = &mut root;
        for step in path {
            at = &mut super::objects::child_value(at)[step.as_str()];
        }
        if at.is_null() {
            *at = json!({});
        }
    }
    mark(&mut root, &mut Vec::new(), set);
    super::objects::sorted(&root)
}

/// Marks inner fields that are members themselves with `.`.
fn mark(value: &mut Value, path: &mut Path, set: &Set) {
    if let Some(members) = value.as_object_mut().filter(|m| !m.is_empty()) {
        for (step, below) in members.iter_mut() {
            path.push(step.clone());
            mark(below, path, set);
            path.pop();
        }
        if set.contains(path) {
            members.insert(".".into(), json!({}));
        }
    }
}

/// Writes `managedFields` in the server's order: Apply before Update, then time, manager.
pub fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|e| !e.set.is_empty());
    entries.sort_by(|a, b| {
        (
            &a.operation,
            &a.time,
            &a.manager,
            &a.api_version,
            &a.subresource,
        )
            .cmp(&(
                &b.operation,
                &b.time,
                &b.manager,
                &b.api_version,
                &b.subresource,
            ))
    });
    let list: Vec<Value> = entries
        .iter()
        .map(|e| {
            let mut entry = json!({
                "manager": e.manager,
                "operation": e.operation,
                "apiVersion": e.api_version,
                "time": e.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": written(&e.set),
            });
            if let Some(sub) = &e.subresource {
                entry["subresource"] = sub.clone().into();
            }
            entry
        })
        .collect();
    let meta = meta_mut(object);
    if list.is_empty() {
        meta.remove("managedFields");
    } else {
        meta.insert("managedFields".into(), list.into());
    }
}

/// Fields that are new or changed, and fields that are gone.
pub fn difference(old: &Nodes, new: &Nodes) -> (Set, Set) {
    let changed = new
        .iter()
        .filter(|(path, value)| match old.get(*path) {
            None => true,
            Some(before) => value.is_some() && before != *value,
        })
        .map(|(path, _)| path.clone())
        .collect();
    let removed = old
        .keys()
        .filter(|path| !new.contains_key(*path))
        .cloned()
        .collect();
    (changed, removed)
}

/// Gives the changed fields to `owner` and takes them, and removed ones, from everybody else.
pub fn update(kind: &Kind, old: Option<&Value>, new: &mut Value, owner: Entry) {
    let before = old.map(|o| nodes(kind, o)).unwrap_or_default();
    let (changed, removed) = difference(&before, &nodes(kind, new));
    let mut all = old.map(entries).unwrap_or_default();
    let mut found = false;
    for entry in &mut all {
        let kept = entry.set.clone();
        entry.set.retain(|path| !removed.contains(path));
        if entry.same_owner(&owner) {
            found = true;
            entry.set.extend(changed.iter().cloned());
            if entry.set != kept {
                entry.time.clone_from(&owner.time);
            }
        } else {
            entry.set.retain(|path| !changed.contains(path));
        }
    }
    if !found {
        all.push(Entry {
            set: changed,
            ..owner
        });
    }
    write(new, all);
}
