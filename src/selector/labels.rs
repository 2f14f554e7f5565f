//! Where the labels of an object come from.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// The labels of one object, looked up by name.
///
/// What belongs to an object's labels (its own, those of its profiles) is for the implementor to
/// say; a selector only asks.
pub trait Labels {
    /// The value of label `key`, or `None` when the object does not carry it. A label with an empty
    /// value is `Some("")`, which selectors tell from a missing one.
    fn get(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn get(&self, key: &str) -> Option<&str> {
        BTreeMap::get(self, key).map(String::as_str)
    }
}

impl<S: BuildHasher> Labels for HashMap<String, String, S> {
    fn get(&self, key: &str) -> Option<&str> {
        HashMap::get(self, key).map(String::as_str)
    }
}

/// The first pair with the name counts.
impl Labels for [(&str, &str)] {
    fn get(&self, key: &str) -> Option<&str> {
        self.iter()
            .find_map(|(name, value)| (*name == key).then_some(*value))
    }
}

/// As for the slice.
impl<const N: usize> Labels for [(&str, &str); N] {
    fn get(&self, key: &str) -> Option<&str> {
        Labels::get(self.as_slice(), key)
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn get(&self, key: &str) -> Option<&str> {
        (**self).get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role<L: Labels + ?Sized>(labels: &L) -> Option<&str> {
        labels.get("role")
    }

    #[test]
    fn every_collection_answers_alike() {
        let tree = BTreeMap::from([("role".to_owned(), "db".to_owned())]);
        let hash = HashMap::from([("role".to_owned(), "db".to_owned())]);
        let pairs = [("zone", "a"), ("role", "db"), ("role", "web")];
        assert_eq!(role(&tree), Some("db"));
        assert_eq!(role(&&hash), Some("db"));
        assert_eq!(role(&pairs), Some("db"));
        assert_eq!(role(pairs.as_slice()), Some("db"));
        assert_eq!(role(&[]), None);
    }
}
