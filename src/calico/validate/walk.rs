//! Walking through an object and noting what is wrong.

use std::collections::HashSet;

use serde_json::Value;

use super::{Effect, Violation, Who};
use crate::calico::{FieldPath, Version};

/// A value and where it is.
#[derive(Debug, Clone)]
pub(super) struct At<'v> {
    pub(super) value: &'v Value,
    pub(super) path: FieldPath,
}

impl<'v> At<'v> {
    /// A member. Null means the same as absence to every reader.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|v| !v.is_null())?;
        let path = self.path.key(key);
        Some(At { value, path })
    }
}

/// Collects who minds, by release.
#[derive(Debug, Clone)]
pub(super) struct By {
    version: Version,
    who: Vec<Who>,
}

impl By {
    pub(super) fn libcalico(self) -> Self {
        self.and(Who::Libcalico)
    }

    pub(super) fn libcalico_since(self, since: Version) -> Self {
        let holds = self.version >= since;
        if holds { self.libcalico() } else { self }
    }

    pub(super) fn server(self) -> Self {
        self.and(Who::Server)
    }

    pub(super) fn server_since(self, since: Version) -> Self {
        let holds = self.version >= since;
        if holds { self.server() } else { self }
    }

    pub(super) fn felix(self, effect: Effect) -> Self {
        self.and(Who::Felix(effect))
    }

    pub(super) fn and(mut self, who: Who) -> Self {
        self.who.push(who);
        self
    }
}

/// What was found so far, and what the rules depend on.
pub(super) struct Checks<'a> {
    pub(super) version: Version,
    selector: &'a dyn Fn(&str) -> Result<(), String>,
    found: Vec<Violation>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(version: Version, selector: &'a dyn Fn(&str) -> Result<(), String>) -> Self {
        Self {
            version,
            selector,
            found: Vec::new(),
        }
    }

    pub(super) fn into_found(self) -> Vec<Violation> {
        self.found
    }

    /// Nobody yet.
    pub(super) fn by(&self) -> By {
        By {
            version: self.version,
            who: Vec::new(),
        }
    }

    /// libcalico, which minds nearly everything.
    pub(super) fn libcalico(&self) -> By {
        self.by().libcalico()
    }

    /// Notes a violation, unless nobody minds it in this release.
    pub(super) fn add(&mut self, path: &FieldPath, by: By, message: impl Into<String>) {
        if !by.who.is_empty() {
            self.found.push(Violation {
                path: path.clone(),
                message: message.into(),
                by: by.who,
            });
        }
    }

    /// Notes a value that no reader can take for what the field is.
    pub(super) fn wrong_type(&mut self, path: &FieldPath, wanted: &str) {
        let by = self.libcalico().server().felix(Effect::Unreadable);
        self.add(path, by, format!("must be {wanted}"));
    }

    pub(super) fn text<'v>(&mut self, parent: &At<'v>, key: &str) -> Option<(&'v str, FieldPath)> {
        let at = parent.get(key)?;
        match at.value.as_str() {
            Some(text) => Some((text, at.path)),
            None => {
                self.wrong_type(&at.path, "a string");
                None
            }
        }
    }

    /// A string that is not empty; to every reader an empty one means the same as absence.
    pub(super) fn filled<'v>(
        &mut self,
        parent: &At<'v>,
        key: &str,
    ) -> Option<(&'v str, FieldPath)> {
        self.text(parent, key).filter(|(text, _)| !text.is_empty())
    }

    /// A boolean, absent for false.
    pub(super) fn flag(&mut self, parent: &At<'_>, key: &str) -> bool {
        let Some(at) = parent.get(key) else {
            return false;
        };
        at.value.as_bool().unwrap_or_else(|| {
            self.wrong_type(&at.path, "true or false");
            false
        })
    }

    /// A map, if it is there.
    pub(super) fn map<'v>(&mut self, parent: &At<'v>, key: &str) -> Option<At<'v>> {
        let at = parent.get(key)?;
        if at.value.is_object() {
            return Some(at);
        }
        self.wrong_type(&at.path, "a map");
        None
    }

    /// The items of a list, none when it is absent.
    pub(super) fn list<'v>(&mut self, parent: &At<'v>, key: &str) -> Vec<At<'v>> {
        let Some(at) = parent.get(key) else {
            return Vec::new();
        };
        let Some(items) = at.value.as_array() else {
            self.wrong_type(&at.path, "a list");
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items
            .map(|(i, value)| At {
                value,
                path: at.path.item(i),
            })
            .collect()
    }

    /// The strings of a list. Two of the same are refused by the server from `unique_since` on.
    pub(super) fn texts<'v>(
        &mut self,
        parent: &At<'v>,
        key: &str,
        unique_since: Version,
    ) -> Vec<(&'v str, FieldPath)> {
        let mut texts: Vec<(&'v str, FieldPath)> = Vec::new();
        let mut seen: HashSet<&str> = HashSet::new();
        for at in self.list(parent, key) {
            let Some(text) = at.value.as_str() else {
                self.wrong_type(&at.path, "a string");
                continue;
            };
            if !seen.insert(text) {
                let by = self.by().server_since(unique_since);
                self.add(&at.path, by, format!("`{text}` is in the list twice"));
            }
            texts.push((text, at.path));
        }
        texts
    }

    /// A value out of a few, as libcalico takes it; the server from `since` on.
    pub(super) fn one_of(&mut self, parent: &At<'_>, key: &str, allowed: &[&str], since: Version) {
        let Some((text, path)) = self.filled(parent, key) else {
            return;
        };
        if !allowed.contains(&text) {
            let by = self.libcalico().server_since(since);
            let allowed = allowed.join("`, `");
            self.add(
                &path,
                by,
                format!("must be one of `{allowed}`, not `{text}`"),
            );
        }
    }

    /// More items than the schema allows.
    pub(super) fn at_most(&mut self, parent: &At<'_>, key: &str, max: usize, since: Version) {
        let count = parent
            .get(key)
            .and_then(|at| Some(at.value.as_array()?.len()));
        if let Some(count) = count.filter(|n| *n > max) {
            let by = self.by().server_since(since);
            let message = format!("has {count} items, more than {max}");
            self.add(&parent.path.key(key), by, message);
        }
    }

    /// Why a selector is not legal.
    pub(super) fn selector_fault(&self, text: &str) -> Option<String> {
        (self.selector)(text).err()
    }
}
