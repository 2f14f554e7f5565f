//! Batches: changes that may take effect in any order.
//!
//! A batch is made so that no flow depends on more than two of its changes: one on its client's
//! side and one on its server's. A host may have several endpoints, and settings of its own; its
//! changes are spread over several batches. What is the whole cluster's is written alone.

use std::collections::{BTreeMap, BTreeSet};

use super::Change;
use super::alike::describe::{Owner, owner};
use crate::calico::{Kind, Object, ObjectId};
use crate::recipe::Step;

/// Whose side of a connection an object is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// The whole cluster's.
    Cluster,
    /// A host's.
    Host(String),
    /// That of pods.
    Pods(ObjectId),
}

fn side(object: Option<&Object>, id: &ObjectId) -> Side {
    match object.and_then(owner) {
        Some(Owner::Host(host)) => Side::Host(host.to_owned()),
        Some(Owner::Pod { .. }) => Side::Pods(id.clone()),
        None if id.kind.is_calico() || id.kind == Kind::ConfigMap => Side::Cluster,
        // Controllers of pods.
        None => Side::Pods(id.clone()),
    }
}

/// Puts the steps of each stage, which are together, in the order of batches: what is the
/// cluster's, then a first change of everybody, then a second of those who have one, and so on.
pub fn spread(steps: &mut [Step]) {
    for stage in steps.chunk_by_mut(|a, b| a.stage == b.stage) {
        let mut seen: BTreeMap<Side, usize> = BTreeMap::new();
        stage.sort_by_cached_key(|step| {
            let side = side(step.after.as_ref().or(step.before.as_ref()), &step.id);
            if side == Side::Cluster {
                return 0;
            }
            let round = seen.entry(side).or_default();
            *round += 1;
            *round
        });
    }
}

/// Cuts changes into batches.
pub fn batches(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    let mut rest = changes;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let mut sides = BTreeSet::new();
        let fits = |change: &&Change| {
            let object = change.after.as_ref().or(change.before.as_ref());
            let side = side(object, &change.id);
            // The cluster's changes stand alone.
            let alone =
                sides.contains(&Side::Cluster) || (side == Side::Cluster && !sides.is_empty());
            change.stage == first.stage && !alone && sides.insert(side)
        };
        let count = rest.iter().take_while(fits).count();
        let (batch, others) = rest.split_at(count);
        rest = others;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::calico::{Datastore, DatastoreKind, Snapshot};
    use crate::recipe::Stage;

    fn step(stage: Stage, kind: &str, name: &str, spec: serde_json::Value) -> Step {
        let object = Object::new(json!({"apiVersion": "projectcalico.org/v3", "kind": kind,
            "metadata": {"name": name}, "spec": spec}));
        let object = object.unwrap();
        Step {
            stage,
            id: object.id().clone(),
            before: None,
            after: Some(object),
            why: Vec::new(),
        }
    }

    fn endpoint(stage: Stage, host: &str, interface: &str) -> Step {
        let spec = json!({"node": host, "interfaceName": interface});
        step(stage, "HostEndpoint", &format!("{host}-{interface}"), spec)
    }

    #[test]
    fn a_batch_holds_one_change_of_a_host_and_none_beside_one_of_the_cluster() {
        let clients = Stage::Clients;
        let mut steps = vec![
            endpoint(clients, "a", "eth0"),
            endpoint(clients, "a", "eth1"),
            endpoint(clients, "b", "eth0"),
            step(clients, "GlobalNetworkSet", "one", json!({})),
            endpoint(clients, "b", "eth1"),
            step(clients, "GlobalNetworkSet", "two", json!({})),
            step(clients, "FelixConfiguration", "node.a", json!({})),
            endpoint(Stage::ProtectedLabels, "c", "eth0"),
        ];
        spread(&mut steps);
        let datastore = Datastore {
            kind: DatastoreKind::Manifests,
            location: String::new(),
            cluster_guid: None,
            version: None,
        };
        let snapshot = Snapshot::new(datastore, Vec::new());
        let changes = super::super::changes(&snapshot, steps);
        let names = |batch: &[Change]| {
            let names = batch.iter().map(|change| change.id.name.as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        let found: Vec<String> = batches(&changes).map(names).collect();
        let wanted = [
            "one",
            "two",
            "a-eth0 b-eth0",
            "a-eth1 b-eth1",
            "node.a",
            "c-eth0",
        ];
        assert_eq!(found, wanted);
    }
}
