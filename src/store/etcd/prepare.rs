//! From a write to what a transaction needs: the conditions under which it holds, and the value.

use std::collections::BTreeMap;

use super::proto::{Compare, KeyValue, RequestOp};
use super::values::{self, View};
use super::{Etcd, keys};
use crate::calico::names::{candidates, stored_name};
use crate::calico::{FieldEdit, Kind, Object, ObjectId, Version};
use crate::store::{StoreError, StoreErrorKind, Write};

/// What was found under the keys that a batch is about.
pub type Seen = BTreeMap<String, KeyValue>;

/// A write as a part of a transaction.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its place in the batch.
    pub index: usize,
    /// The object.
    pub id: ObjectId,
    /// The key that is written.
    pub key: String,
    /// Revision that the key must have; 0 when it must be absent.
    pub before: i64,
    /// Revision that the plan speaks of.
    pub asked: i64,
    /// What is done.
    pub operation: Operation,
    /// Other keys that must stay as they are, with their revision.
    pub others: Vec<(String, i64)>,
}

/// What is done to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// It gets a value.
    Put {
        /// The value.
        text: String,
        /// The lease it has.
        lease: i64,
    },
    /// It goes away.
    Delete,
    /// Nothing: the value is as it should be. It must stay so while the rest is written.
    Keep,
}

impl Prepared {
    /// The conditions, as key and revision; 0 for an absent key.
    pub fn guards(&self) -> impl Iterator<Item = (&str, i64)> {
        let others = self.others.iter().map(|(key, rev)| (key.as_str(), *rev));
        std::iter::once((self.key.as_str(), self.before)).chain(others)
    }

    /// The operation.
    #[must_use]
    pub fn request(&self) -> Option<RequestOp> {
        match &self.operation {
            Operation::Put { text, lease } => Some(RequestOp::put(&self.key, text, *lease)),
            Operation::Delete => Some(RequestOp::delete(&self.key)),
            Operation::Keep => None,
        }
    }

    /// About how many bytes it adds to a transaction.
    #[must_use]
    pub fn size(&self) -> usize {
        let keys: usize = self.guards().map(|(key, _)| 2 * key.len() + 48).sum();
        let text = match &self.operation {
            Operation::Put { text, .. } => text.len(),
            Operation::Delete | Operation::Keep => 0,
        };
        keys + self.key.len() + text + 32
    }

    /// That the object is not what it was when it was read. `now` is what is under the key that
    /// does not fit.
    #[must_use]
    pub fn conflict(&self, key: &str, now: Option<&KeyValue>) -> StoreError {
        match now {
            Some(_) if self.before == 0 => exists(&self.id, key),
            Some(_) => changed(&self.id, key),
            None => deleted(&self.id),
        }
    }
}

/// The condition that a key has a revision; 0 for an absent one.
#[must_use]
pub fn compare(key: &str, revision: i64) -> Compare {
    if revision == 0 {
        Compare::absent(key)
    } else {
        Compare::unchanged(key, revision)
    }
}

/// The keys that must be looked at before a write.
#[must_use]
pub fn keys_of(store: &Etcd, write: &Write, version: Version) -> Vec<String> {
    let id = write.id();
    let mut keys = match (write, store.keys.get(id)) {
        (Write::Update { .. } | Write::Delete { .. }, Some(key)) => vec![key.clone()],
        _ => possible_keys(id, version),
    };
    if let Write::Create(object) = write {
        keys.extend(tier_key(object, version));
    }
    keys
}

/// The keys under which an object may be stored, that of `version` first.
fn possible_keys(id: &ObjectId, version: Version) -> Vec<String> {
    let mut names = vec![stored_name(id.kind, &id.name, version)];
    names.extend(
        candidates(id.kind, &id.name)
            .filter(|name| !names.contains(name))
            .collect::<Vec<_>>(),
    );
    let key = |name: String| keys::of(id.kind, id.namespace.as_deref(), &name);
    names.into_iter().map(key).collect()
}

fn tier_key(object: &Object, version: Version) -> Option<String> {
    let concerned = object.id().kind.is_tiered_policy() && version.has_tiers();
    let tier = object.spec_str("tier").filter(|tier| !tier.is_empty());
    concerned.then(|| keys::of(Kind::Tier, None, tier.unwrap_or("default")))
}

/// Prepares one write.
///
/// # Errors
///
/// When what is there is not what the write was planned for.
pub fn prepare(
    store: &Etcd,
    seen: &Seen,
    version: Version,
    index: usize,
    write: &Write,
) -> Result<Prepared, StoreError> {
    match write {
        Write::Create(object) => create(seen, version, index, object),
        Write::Update {
            id,
            edits,
            revision,
        } => {
            let (kv, mut prepared) =
                existing(store, seen, version, index, id, revision.as_deref())?;
            prepared.operation = updated(version, id, kv, edits)?;
            Ok(prepared)
        }
        Write::Delete { id, revision } => {
            let (_, mut prepared) = existing(store, seen, version, index, id, revision.as_deref())?;
            prepared.operation = Operation::Delete;
            Ok(prepared)
        }
    }
}

fn create(
    seen: &Seen,
    version: Version,
    index: usize,
    object: &Object,
) -> Result<Prepared, StoreError> {
    let id = object.id();
    if !id.kind.is_calico() {
        return Err(failed(format!(
            "`{id}` cannot be kept in etcd: it is Kubernetes' own"
        )));
    }
    let uid = new_uid()?;
    let now = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let fresh = values::create(object, version, &uid, &now);
    let key = keys::of(id.kind, id.namespace.as_deref(), &fresh.stored);
    let mut others = Vec::new();
    for other in possible_keys(id, version) {
        let Some(kv) = seen.get(&other) else {
            if other != key {
                others.push((other, 0));
            }
            continue;
        };
        // A key of the other form may hold this policy, written by another release, or one that
        // really has that name.
        if other == key || view_of(id.kind, &other, kv, version).is_some_and(|o| o.id() == id) {
            return Err(exists(id, &other));
        }
        others.push((other, kv.mod_revision));
    }
    Ok(Prepared {
        index,
        id: id.clone(),
        key,
        before: 0,
        asked: 0,
        operation: Operation::Put {
            text: fresh.text,
            lease: 0,
        },
        others,
    })
}

/// That the tiers of new policies exist or are made in the same batch; Felix sorts the policies
/// of a missing tier behind all others, and Calico's own clients refuse to make them.
///
/// # Errors
///
/// When a tier is missing.
pub fn check_tiers(seen: &Seen, version: Version, batch: &[Write]) -> Result<(), StoreError> {
    for write in batch {
        let Write::Create(object) = write else {
            continue;
        };
        let Some(key) = tier_key(object, version) else {
            continue;
        };
        let tier = key.rsplit('/').next().unwrap_or_default();
        let made = batch.iter().any(|other| {
            matches!(other, Write::Create(tier_object)
                if tier_object.id() == &ObjectId::global(Kind::Tier, tier))
        });
        if !made && !seen.contains_key(&key) {
            let error = failed(format!(
                "`{}` cannot be made: there is no tier `{tier}`",
                object.id()
            ));
            return Err(if tier == "default" {
                error.hint("Calico makes it at its start: is the datastore set up completely?")
            } else {
                error.hint(format!("make the tier `{tier}` first"))
            });
        }
    }
    Ok(())
}

fn existing<'s>(
    store: &Etcd,
    seen: &'s Seen,
    version: Version,
    index: usize,
    id: &ObjectId,
    revision: Option<&str>,
) -> Result<(&'s KeyValue, Prepared), StoreError> {
    let asked = revision.map(|text| {
        text.parse::<i64>().map_err(|_| {
            failed(format!(
                "`{text}` is no revision of etcd's, so `{id}` is not written"
            ))
        })
    });
    // An object that this run has made has no revision that could have been read.
    let asked = asked.transpose()?.unwrap_or(0);
    let (key, kv) = find(store, seen, version, id).ok_or_else(|| deleted(id))?;
    let own = store.own.get(&key);
    let own = own.filter(|own| own.replaced.contains(&asked));
    let before = own.map_or(asked, |own| own.now);
    if before == 0 || kv.mod_revision != before {
        return Err(changed(id, &key));
    }
    let prepared = Prepared {
        index,
        id: id.clone(),
        key,
        before,
        asked,
        operation: Operation::Keep,
        others: Vec::new(),
    };
    Ok((kv, prepared))
}

fn find<'s>(
    store: &Etcd,
    seen: &'s Seen,
    version: Version,
    id: &ObjectId,
) -> Option<(String, &'s KeyValue)> {
    if let Some(key) = store.keys.get(id) {
        return seen.get(key).map(|kv| (key.clone(), kv));
    }
    possible_keys(id, version).into_iter().find_map(|key| {
        let kv = seen.get(&key)?;
        let object = view_of(id.kind, &key, kv, version)?;
        (object.id() == id).then_some((key, kv))
    })
}

fn updated(
    version: Version,
    id: &ObjectId,
    kv: &KeyValue,
    edits: &[FieldEdit],
) -> Result<Operation, StoreError> {
    let key = String::from_utf8_lossy(&kv.key);
    let wrong = |why: String| failed(format!("cannot change `{id}`: {why}"));
    let text = std::str::from_utf8(&kv.value).map_err(|_| wrong("its value is no text".into()))?;
    let view = view_of(id.kind, &key, kv, version)
        .ok_or_else(|| wrong("its value cannot be read".into()))?;
    let after = values::update(&view, text, edits).map_err(wrong)?;
    Ok(if after == text {
        Operation::Keep
    } else {
        Operation::Put {
            text: after,
            lease: kv.lease,
        }
    })
}

fn view_of(kind: Kind, key: &str, kv: &KeyValue, version: Version) -> Option<Object> {
    let (namespace, stored) = keys::parse(kind, key)?;
    let view: View = values::view(kind, namespace, stored, &kv.value, version).ok()?;
    Some(view.object)
}

/// A random UUID of version 4.
fn new_uid() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    let filled = random.fill(&mut bytes);
    filled.map_err(|_| failed("the system has no random numbers for a new UID"))?;
    let number = u128::from_be_bytes(bytes);
    // The version stands in bits 76 to 79, the variant in bits 62 and 63.
    let number = (number & !(0xf << 76)) | (4 << 76);
    let number = (number & !(3 << 62)) | (2 << 62);
    let hex = format!("{number:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    Ok([
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-"))
}

fn exists(id: &ObjectId, key: &str) -> StoreError {
    conflict(format!("`{id}` exists already, at `{key}`"))
}

fn changed(id: &ObjectId, key: &str) -> StoreError {
    conflict(format!("`{id}` was changed since it was read, at `{key}`"))
}

fn deleted(id: &ObjectId) -> StoreError {
    conflict(format!("`{id}` was deleted since it was read"))
}

fn conflict(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Conflict, message)
        .hint("run the command again to plan against what is there now")
}

fn failed(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_random_uuids_of_version_4() {
        let (a, b) = (new_uid().unwrap(), new_uid().unwrap());
        assert_ne!(a, b);
        let lengths: Vec<usize> = a.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&a[14..15], "4");
        assert!("89ab".contains(&a[19..20]), "{a}");
    }
}
