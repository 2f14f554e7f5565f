//! Taking ports out of the failsafe lists.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::memory::{Memory, Pruned, Removed};
use super::{
    Failsafes, Layers, as_text, asked_ports, chosen_hosts, configuration, deciding_annotation,
    effective_lists, in_words, listed, places, readable_layers, refuse_hidden, values,
};
use crate::calico::felix::{Direction, Effective, Failsafe, FailsafeLayers};
use crate::calico::{Kind, Object, ObjectId, ServerPort, Snapshot};
use crate::recipe::{Draft, Importance, RecipeError, Stage};

/// Drafts the pruning: the list that decides on each host loses the ports.
///
/// # Errors
///
/// When a port cannot be a failsafe, when a host is not known, when a list cannot be read, or when
/// a list is set in the environment of calico-node, where Calico's API does not reach.
pub fn prune(draft: &mut Draft<'_>, intent: &Failsafes) -> Result<(), RecipeError> {
    let version = draft.snapshot().version();
    let ports = asked_ports(draft.snapshot(), intent)?;
    if !intent.keep_nets.is_empty() && !version.has_failsafe_nets() {
        return Err(RecipeError::usage(format!(
            "failsafes cannot be narrowed to networks in Calico {version}"
        ))
        .hint("networks came with v3.18: leave `--keep-net` out"));
    }
    let failsafes = readable_layers(draft.snapshot())?;
    refuse_hidden(&failsafes, &intent.directions)?;
    let layers = Layers::read(draft.snapshot(), failsafes)?;
    let chosen = chosen_hosts(&layers.hosts, intent)?;
    let mut wanted: BTreeMap<ObjectId, BTreeMap<Direction, Effective>> = BTreeMap::new();
    for direction in &intent.directions {
        let lists = effective_lists(&layers.failsafes, *direction, &chosen);
        let changes = |f: &Failsafe| {
            ports.contains(&f.port) && !f.net.is_some_and(|net| intent.keep_nets.contains(&net))
        };
        let mut found = false;
        for (list, names) in lists
            .iter()
            .filter(|(list, _)| list.entries.iter().any(changes))
        {
            found = true;
            let mut left = values(list);
            Pruned::default().take_out(&mut left, &ports, &intent.keep_nets);
            for id in places(draft.snapshot(), list, names, intent, &left)? {
                wanted
                    .entry(id)
                    .or_default()
                    .insert(*direction, list.clone());
            }
        }
        if !found {
            note_nothing(draft, *direction, &ports, &lists);
        }
        note_dormant(draft, *direction, &ports, &lists);
    }
    for (id, lists) in wanted {
        let object = configuration(draft, &layers, &id);
        let object = pruned(draft.snapshot(), object, &lists, &ports, intent);
        let why: Vec<String> = lists
            .iter()
            .map(|(direction, list)| {
                let gone: Vec<ServerPort> = ports
                    .iter()
                    .filter(|p| list.of(**p).next().is_some())
                    .copied()
                    .collect();
                format!("no {direction} failsafe for {}", listed(&gone))
            })
            .collect();
        draft.put(Stage::Failsafes, object, why.join("; "));
    }
    note_unseen(draft, &layers.failsafes);
    Ok(())
}

fn pruned(
    snapshot: &Snapshot,
    mut object: Object,
    lists: &BTreeMap<Direction, Effective>,
    ports: &[ServerPort],
    intent: &Failsafes,
) -> Object {
    let id = object.id().clone();
    let mut memory = Memory::read(&object);
    memory.begin(&object);
    for (direction, effective) in lists {
        let annotation = deciding_annotation(effective, &id);
        let text = annotation
            .and_then(|key| object.annotation(key))
            .map(str::to_owned);
        let field = object
            .spec(direction.field())
            .and_then(Value::as_array)
            .cloned();
        let pruned = memory.list(*direction).get_or_insert_with(|| Pruned {
            absent: field.is_none() && annotation.is_none(),
            text: text.clone(),
            // A list that is taken over from the layer below lacks what was pruned there.
            removed: match (&field, annotation) {
                (None, None) => taken_out_below(snapshot, effective, *direction),
                _ => Vec::new(),
            },
        });
        let mut entries = match annotation {
            Some(_) => values(effective),
            None => field.unwrap_or_else(|| values(effective)),
        };
        pruned.take_out(&mut entries, ports, &intent.keep_nets);
        match annotation {
            Some(key) => object.set_annotation(key, &as_text(&entries)),
            None => object.set_spec(direction.field(), Value::Array(entries)),
        }
    }
    memory.write(&mut object);
    object
}

/// What was taken out of the list that is in force, where it is a FelixConfiguration's.
fn taken_out_below(
    snapshot: &Snapshot,
    effective: &Effective,
    direction: Direction,
) -> Vec<Removed> {
    let below = effective.source.configuration();
    let below = below.and_then(|name| snapshot.global(Kind::FelixConfiguration, name));
    let pruned = below.and_then(|below| Memory::read(below).list(direction).take());
    pruned.map(Pruned::for_copy).unwrap_or_default()
}

fn note_nothing(
    draft: &mut Draft<'_>,
    direction: Direction,
    ports: &[ServerPort],
    lists: &BTreeMap<Effective, Vec<String>>,
) {
    let sources: BTreeSet<String> = lists.keys().map(|list| in_words(&list.source)).collect();
    let sources: Vec<String> = sources.into_iter().collect();
    draft.note(
        Importance::Note,
        format!(
            "nothing to prune {direction}: {} {} not in {}",
            listed(ports),
            if ports.len() == 1 { "is" } else { "are" },
            sources.join(", ")
        ),
        None,
    );
}

/// Lists that hold a port but are overridden: they would open it again the day the other layer
/// goes.
fn note_dormant(
    draft: &mut Draft<'_>,
    direction: Direction,
    ports: &[ServerPort],
    lists: &BTreeMap<Effective, Vec<String>>,
) {
    let deciding: BTreeSet<&str> = lists
        .keys()
        .filter_map(|l| l.source.configuration())
        .collect();
    let holds = |configuration: &Object| {
        let entries = configuration
            .spec(direction.field())
            .and_then(Value::as_array);
        let mut entries = entries.into_iter().flatten();
        entries.any(|v| Failsafe::from_value(v).is_ok_and(|f| ports.contains(&f.port)))
    };
    let dormant: Vec<String> = draft
        .snapshot()
        .of(Kind::FelixConfiguration)
        .filter(|c| !deciding.contains(c.name()) && holds(c))
        .map(|c| c.id().to_string())
        .collect();
    for id in dormant {
        draft.note(
            Importance::Note,
            format!(
                "{id} lists {} {direction}, too; another layer decides, so it does nothing now",
                listed(ports)
            ),
            None,
        );
    }
}

fn note_unseen(draft: &mut Draft<'_>, layers: &FailsafeLayers) {
    for unseen in &layers.unseen {
        draft.note(
            Importance::Warning,
            format!("{unseen}: it may set the list instead"),
            None,
        );
    }
    if draft
        .snapshot()
        .of(Kind::DaemonSet)
        .all(|d| d.name() != "calico-node")
    {
        draft.note(
            Importance::Note,
            "calico-node's environment and the hosts' felix.cfg cannot be seen here; where they set a failsafe list, they decide",
            None,
        );
    }
}
