//! Whether what a plan leads to is legal: a last look before anything is written, since stores
//! like a folder of manifests take whatever they are given.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Plan;
use crate::calico::validate::{Violation, validate_with};
use crate::calico::{Object, ObjectId, Version};
use crate::selector::Selector;

/// What the plan makes wrong: violations of objects in the end that were not there before.
#[must_use]
pub fn faults(plan: &Plan, version: Version) -> Vec<(ObjectId, Violation)> {
    let mut ends: BTreeMap<&ObjectId, (Option<&Object>, Option<&Object>)> = BTreeMap::new();
    for change in &plan.changes {
        let end = ends
            .entry(&change.id)
            .or_insert((change.before.as_ref(), None));
        end.1 = change.after.as_ref();
    }
    let selector = |text: &str| match Selector::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.message),
    };
    let of = |object: Option<&Object>| {
        object.map_or_else(Vec::new, |o| validate_with(o, version, &selector))
    };
    let faults = ends.into_par_iter().flat_map_iter(|(id, (before, after))| {
        let known = of(before);
        let new = of(after).into_iter().filter(move |v| !known.contains(v));
        new.map(|violation| (id.clone(), violation))
    });
    faults.collect()
}
