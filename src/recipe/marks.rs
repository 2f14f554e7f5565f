//! Marks that the tool leaves on objects, so that the opposite command puts back exactly what was
//! there before and never takes away what somebody else made.
//!
//! They are annotations, which no selector of Calico sees.

use crate::calico::{Object, ServerPort};

/// On objects that the tool made.
pub const CREATED: &str = "calicoctl-protect/created";
/// On objects of somebody else's that carry recipe labels which the tool added beside recipe
/// labels that were there before: the added ones, in order, separated by commas.
pub const LABELS: &str = "calicoctl-protect/labels";
/// On FelixConfigurations: what was pruned from their failsafe lists, as JSON.
pub const PRUNED: &str = "calicoctl-protect/pruned-failsafes";
/// On protect policies: the ports that were asked for, where they are not those of the catalogue;
/// in order, separated by commas.
pub const PORTS: &str = "calicoctl-protect/ports";

/// Whether the tool made an object.
#[must_use]
pub fn is_created(object: &Object) -> bool {
    object.annotation(CREATED) == Some("true")
}

/// Marks an object as made by the tool.
pub fn set_created(object: &mut Object) {
    object.set_annotation(CREATED, "true");
}

/// Whether a label is marked as added by the tool.
#[must_use]
pub fn has_label(object: &Object, label: &str) -> bool {
    marked(object).any(|known| known == label)
}

/// Marks a label as added by the tool.
pub fn add_label(object: &mut Object, label: &str) {
    let mut labels: Vec<String> = marked(object).map(str::to_owned).collect();
    if !labels.iter().any(|known| known == label) {
        labels.push(label.to_owned());
        labels.sort();
        object.set_annotation(LABELS, &labels.join(","));
    }
}

/// Takes the mark of a label away.
pub fn remove_label(object: &mut Object, label: &str) {
    let left: Vec<&str> = marked(object).filter(|known| *known != label).collect();
    let left = left.join(",");
    if left.is_empty() {
        object.remove_annotation(LABELS);
    } else {
        object.set_annotation(LABELS, &left);
    }
}

/// The ports that a protect policy was asked to have, where it was.
#[must_use]
pub fn ports(policy: &Object) -> Option<Vec<ServerPort>> {
    let list = policy.annotation(PORTS)?.split(',');
    list.map(|port| port.trim().parse().ok()).collect()
}

/// Writes down the ports that a protect policy was asked to have, or that none were.
pub fn set_ports(policy: &mut Object, ports: Option<&[ServerPort]>) {
    match ports {
        Some(ports) => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            policy.set_annotation(PORTS, &ports.join(","));
        }
        None => {
            policy.remove_annotation(PORTS);
        }
    }
}

fn marked(object: &Object) -> impl Iterator<Item = &str> {
    let list = object.annotation(LABELS).unwrap_or_default();
    list.split(',').filter(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::{Kind, ObjectId};

    #[test]
    fn marks_of_labels_come_and_go_one_by_one() {
        let mut object = Object::empty(ObjectId::global(Kind::HostEndpoint, "h"));
        let before = object.clone();
        for label in ["b", "a", "b"] {
            add_label(&mut object, label);
        }
        assert_eq!(object.annotation(LABELS), Some("a,b"));
        remove_label(&mut object, "b");
        assert!(has_label(&object, "a") && !has_label(&object, "b"));
        remove_label(&mut object, "a");
        assert_eq!(object.annotation(LABELS), None);
        assert_eq!(object.labels().count(), before.labels().count());
    }
}
