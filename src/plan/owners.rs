//! Whose hands a plan meets in the objects that it changes.

use std::collections::BTreeMap;

use super::{Action, Change};
use crate::calico::owner::{Grip, Owner};
use crate::calico::{DatastoreKind, Kind, Snapshot};
use crate::recipe::{Importance, Note};

/// Warnings of those who may put back what changes, one for each owner. Files are what others
/// deploy from: nobody puts them back.
pub fn notes(snapshot: &Snapshot, changes: &[Change]) -> Vec<Note> {
    if snapshot.datastore.kind == DatastoreKind::Manifests {
        return Vec::new();
    }
    let mut objects: BTreeMap<Owner, Vec<String>> = BTreeMap::new();
    for change in changes {
        // A pod's controller makes new ones; it does not look at the labels of the old.
        let returns = |owner: &Owner| match owner.grip {
            Grip::Controls => change.id.kind != Kind::Pod && change.action() != Action::Delete,
            Grip::Deployed { .. } | Grip::Sets { .. } => true,
            Grip::Beside => false,
        };
        for owner in change.owners.iter().filter(|owner| returns(owner)) {
            let ids = objects.entry(owner.clone()).or_default();
            let id = change.id.to_string();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    objects
        .iter()
        .map(|(owner, ids)| note(owner, ids))
        .collect()
}

fn note(owner: &Owner, ids: &[String]) -> Note {
    const SHOWN: usize = 3;
    let mut objects = ids
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more) = ids.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        objects.push_str(&format!(" and {more} more"));
    }
    let name = &owner.name;
    let (text, hint) = match &owner.grip {
        Grip::Sets { fields } => (
            format!(
                "{name} sets {} of {objects}: it may set it back",
                fields.join(", ")
            ),
            "make the same change where it has the value from",
        ),
        Grip::Deployed { .. } => (
            format!("{name} deployed {objects}: its next run may put back what changes here"),
            "make the same change in its source",
        ),
        Grip::Controls | Grip::Beside => (
            format!("{name} controls {objects}: it may put back what changes here"),
            "make the same change where it has the object from",
        ),
    };
    Note {
        importance: Importance::Warning,
        text,
        hint: Some(hint.to_owned()),
    }
}
