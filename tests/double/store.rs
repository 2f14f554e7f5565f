//! The object store: every version of every object under one counter, as etcd keeps them.
//!
//! Reading at an older resourceVersion works until it is compacted away; paging rests on that.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::objects::meta_mut;

/// Where an object is. The order is the order of lists: by namespace, then name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `group/plural`.
    pub resource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(
        resource: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// A version of an object: when it came, and what it was (`None` once deleted).
type Version = (u64, Option<Arc<Value>>);

/// All objects with their history.
#[derive(Debug, Default)]
pub struct Store {
    counter: u64,
    compacted: u64,
    versions: BTreeMap<Key, Vec<Version>>,
}

impl Store {
    /// The number of the last write: what lists report.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Lets the counter jump, as writes of other kinds would. Never goes back.
    pub fn advance(&mut self, to: u64) {
        self.counter = self.counter.max(to);
    }

    /// Forgets the history before the present: older lists cannot be continued.
    pub fn compact(&mut self) {
        self.compacted = self.counter;
        for versions in self.versions.values_mut() {
            let last = versions.pop();
            versions.clear();
            versions.extend(last);
        }
        self.versions
            .retain(|_, versions| versions.last().is_some_and(|(_, v)| v.is_some()));
    }

    /// Whether the state at a resourceVersion is gone.
    pub fn is_compacted(&self, at: u64) -> bool {
        at < self.compacted
    }

    /// Every present object.
    pub fn present(&self) -> impl Iterator<Item = Arc<Value>> {
        let last = |versions: &Vec<Version>| versions.last()?.1.clone();
        self.versions.values().filter_map(last)
    }

    /// The present object.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.versions.get(key)?.last()?.1.clone()
    }

    /// Objects of a resource as they were at `at`, in list order.
    pub fn at(&self, resource: &str, namespace: Option<&str>, at: u64) -> Vec<(Key, Arc<Value>)> {
        let from = Key::new(resource, namespace.unwrap_or_default(), "");
        self.versions
            .range(from..)
            .take_while(|(k, _)| {
                k.resource == resource && namespace.is_none_or(|ns| k.namespace == ns)
            })
            .filter_map(|(k, versions)| {
                let (_, object) = versions.iter().rev().find(|(rv, _)| *rv <= at)?;
                Some((k.clone(), object.clone()?))
            })
            .collect()
    }

    /// Stores an object under the next number and returns it as stored.
    pub fn put(&mut self, key: Key, object: Value) -> Arc<Value> {
        self.counter += 1;
        self.put_at(key, object, self.counter)
    }

    /// Stores an object as it is read from an export: with the number it has, when it has one.
    pub fn load(&mut self, key: Key, object: Value) -> Arc<Value> {
        let given = super::objects::meta(&object, "resourceVersion")
            .parse()
            .ok();
        let rv = given.unwrap_or(self.counter + 1);
        self.counter = self.counter.max(rv);
        self.versions.remove(&key);
        self.put_at(key, object, rv)
    }

    fn put_at(&mut self, key: Key, mut object: Value, rv: u64) -> Arc<Value> {
        meta_mut(&mut object).insert("resourceVersion".into(), rv.to_string().into());
        let object = Arc::new(object);
        self.versions
            .entry(key)
            .or_default()
            .push((rv, Some(object.clone())));
        object
    }

    /// Deletes an object; the deletion takes a number too.
    pub fn remove(&mut self, key: &Key) {
        if let Some(versions) = self.versions.get_mut(key) {
            self.counter += 1;
            versions.push((self.counter, None));
        }
    }
}
