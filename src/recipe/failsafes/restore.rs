//! Putting ports back into the failsafe lists.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::memory::Memory;
use super::{
    Failsafes, Layers, as_text, asked_ports, chosen_hosts, configuration, deciding_annotation,
    effective_lists, filled, from_text, in_words, listed, node_matches, places, readable_layers,
    refuse_hidden, values,
};
use crate::calico::felix::{Direction, Effective, Failsafe, FailsafeLayers, override_annotation};
use crate::calico::{Kind, Object, ObjectId, ServerPort, Version};
use crate::recipe::{Draft, Importance, RecipeError, Stage, marks};

/// Drafts the opposite of [`super::prune`]: what was pruned comes back as it was. A port that
/// nobody pruned is added to the lists that decide only where the intent says so: otherwise a
/// second run, or the opposite of a pruning that found nothing, would open it.
///
/// # Errors
///
/// As [`super::prune`].
pub fn restore(draft: &mut Draft<'_>, intent: &Failsafes) -> Result<(), RecipeError> {
    let ports = asked_ports(draft.snapshot(), intent)?;
    let failsafes = readable_layers(draft.snapshot())?;
    if intent.add {
        refuse_hidden(&failsafes, &intent.directions)?;
    }
    let layers = Layers::read(draft.snapshot(), failsafes)?;
    let chosen = chosen_hosts(&layers.hosts, intent)?;
    let meant: BTreeSet<&str> = chosen.iter().map(|host| host.name.as_str()).collect();
    let concerned = |configuration: &str| {
        let node = configuration.strip_prefix("node.");
        intent.nodes.is_empty() || node.is_some_and(|node| meant.contains(node))
    };
    let mut remembering: Vec<ObjectId> = draft
        .snapshot()
        .of(Kind::FelixConfiguration)
        .filter(|c| c.annotation(marks::PRUNED).is_some() && concerned(c.name()))
        .map(|c| c.id().clone())
        .collect();
    let mut back: BTreeMap<Direction, BTreeSet<ServerPort>> = BTreeMap::new();
    // From below upwards: whether a list may follow the layers below again depends on what comes
    // back there.
    let level = |id: &ObjectId| match id.name.as_str() {
        "default" => 0,
        name if name.starts_with("node.") => 2,
        _ => 1,
    };
    remembering.sort_by_key(level);
    let mut below = None;
    for ids in remembering.chunk_by(|a, b| level(a) == level(b)) {
        let failsafes = below.as_ref().unwrap_or(&layers.failsafes);
        for id in ids {
            for direction in &intent.directions {
                let ports = put_back(draft, &layers, failsafes, id, *direction, &ports);
                back.entry(*direction).or_default().extend(ports);
            }
            drop_if_emptied(draft, &layers, id);
        }
        below = Some(FailsafeLayers::read(&draft.state()));
    }
    for direction in &intent.directions {
        let back = back.remove(direction).unwrap_or_default();
        let others: Vec<ServerPort> = ports
            .iter()
            .copied()
            .filter(|p| !back.contains(p))
            .collect();
        if others.is_empty() {
            continue;
        }
        let lists = effective_lists(&layers.failsafes, *direction, &chosen);
        if intent.add {
            add_missing(draft, &layers, &lists, *direction, &others, intent)?;
        } else {
            note_not_pruned(draft, &lists, *direction, &others);
        }
    }
    Ok(())
}

/// Puts remembered entries back; returns the ports that came back.
fn put_back(
    draft: &mut Draft<'_>,
    layers: &Layers<'_>,
    failsafes: &FailsafeLayers,
    id: &ObjectId,
    direction: Direction,
    ports: &[ServerPort],
) -> Vec<ServerPort> {
    let Some(mut object) = draft.current(id).cloned() else {
        return Vec::new();
    };
    let mut memory = Memory::read(&object);
    let Some(pruned) = memory.list(direction) else {
        return Vec::new();
    };
    let annotation = override_annotation(&object, direction.parameter())
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
    let annotation = annotation.filter(|_| pruned.text.is_some());
    let mut entries = match &annotation {
        Some((_, text)) => from_text(text),
        None => {
            let field = object.spec(direction.field()).and_then(Value::as_array);
            field.cloned().unwrap_or_default()
        }
    };
    let back = pruned.put_back(&mut entries, ports);
    if back.is_empty() {
        return back;
    }
    let (absent, text) = (pruned.absent, pruned.text.clone());
    let complete = pruned.removed.is_empty();
    let goes = absent && pruned.is_whole() && {
        let node = id.name.strip_prefix("node.").unwrap_or_default();
        let labels = layers.labels_of(node);
        decides_without(failsafes, id, direction, node, labels, &entries)
    };
    if complete || goes {
        *memory.list(direction) = None;
    }
    match annotation {
        Some((key, _)) => {
            // The text comes back letter for letter when it still means the same.
            let text = text.filter(|t| complete && from_text(t) == entries);
            object.set_annotation(&key, &text.unwrap_or_else(|| as_text(&entries)));
        }
        None if goes => object.remove_spec(direction.field()),
        None => object.set_spec(direction.field(), Value::Array(entries)),
    }
    memory.write(&mut object);
    filled::keep_what_holds(draft, layers, &mut object);
    draft.put(
        Stage::Failsafes,
        object,
        format!("{direction} failsafe for {} again", listed(&back)),
    );
    back
}

/// Whether a list is the one that decides without the field: then the field goes away, so that
/// the list follows the layers below again, as it did before.
fn decides_without(
    failsafes: &FailsafeLayers,
    id: &ObjectId,
    direction: Direction,
    node: &str,
    labels: &BTreeMap<String, String>,
    entries: &[Value],
) -> bool {
    let below =
        failsafes.effective_without_field_of(&id.name, direction, node, labels, &node_matches);
    let read: Option<Vec<Failsafe>> = entries
        .iter()
        .map(|v| Failsafe::from_value(v).ok())
        .collect();
    read == Some(below.entries)
}

/// A FelixConfiguration that the tool made for pruned lists goes away with them.
fn drop_if_emptied(draft: &mut Draft<'_>, layers: &Layers<'_>, id: &ObjectId) {
    let emptied =
        |object: &Object| marks::is_created(object) && filled::says_nothing(layers, object);
    if draft.current(id).is_some_and(emptied) {
        draft.delete(Stage::Failsafes, id, "was made for the pruned lists");
    }
}

/// Ports that a list does not open to everybody.
fn closed(list: &Effective, ports: &[ServerPort]) -> Vec<ServerPort> {
    let closed = |port: &&ServerPort| list.of(**port).all(|f| f.net.is_some());
    ports.iter().filter(closed).copied().collect()
}

/// Adds ports that nobody remembers having pruned to the layer that decides.
fn add_missing(
    draft: &mut Draft<'_>,
    layers: &Layers<'_>,
    lists: &BTreeMap<Effective, Vec<String>>,
    direction: Direction,
    ports: &[ServerPort],
    intent: &Failsafes,
) -> Result<(), RecipeError> {
    let mut nothing = true;
    let version = draft.snapshot().version();
    for (list, names) in lists {
        let missing = closed(list, ports);
        if missing.is_empty() {
            continue;
        }
        nothing = false;
        let mut wanted = values(list);
        add(&mut wanted, &missing, direction, version);
        for id in places(draft.snapshot(), list, names, intent, &wanted)? {
            let object = configuration(draft, layers, &id);
            let object = with_ports(object, list, direction, &missing, version);
            let why = format!("{direction} failsafe for {}", listed(&missing));
            draft.put(Stage::Failsafes, object, why);
        }
    }
    if nothing {
        note_there(draft, direction, ports);
    }
    Ok(())
}

fn note_there(draft: &mut Draft<'_>, direction: Direction, ports: &[ServerPort]) {
    let verb = if ports.len() == 1 { "is" } else { "are" };
    draft.note(
        Importance::Note,
        format!(
            "nothing to restore {direction}: {} {verb} there",
            listed(ports)
        ),
        None,
    );
}

/// Says which lists lack a port that was not pruned from them: they stay as they are.
fn note_not_pruned(
    draft: &mut Draft<'_>,
    lists: &BTreeMap<Effective, Vec<String>>,
    direction: Direction,
    ports: &[ServerPort],
) {
    let mut nothing = true;
    for list in lists.keys() {
        let missing = closed(list, ports);
        if missing.is_empty() {
            continue;
        }
        nothing = false;
        draft.note(
            Importance::Note,
            format!(
                "nothing to restore {direction}: calicoctl-protect did not take {} out of {}",
                listed(&missing),
                in_words(&list.source)
            ),
            Some("`restore … --add` puts a port there all the same".to_owned()),
        );
    }
    if nothing {
        note_there(draft, direction, ports);
    }
}

fn with_ports(
    mut object: Object,
    list: &Effective,
    direction: Direction,
    missing: &[ServerPort],
    version: Version,
) -> Object {
    let annotation = deciding_annotation(list, object.id());
    let mut entries: Vec<Value> = match annotation {
        Some(_) => values(list),
        None => {
            let field = object.spec(direction.field()).and_then(Value::as_array);
            field.cloned().unwrap_or_else(|| values(list))
        }
    };
    add(&mut entries, missing, direction, version);
    match annotation {
        Some(key) => object.set_annotation(key, &as_text(&entries)),
        None => object.set_spec(direction.field(), Value::Array(entries)),
    }
    object
}

/// Adds ports to entries, each where the built-in list has it.
fn add(entries: &mut Vec<Value>, ports: &[ServerPort], direction: Direction, version: Version) {
    for port in ports {
        let at = built_in_place(&direction.built_in(version), entries, *port);
        entries.insert(at, Failsafe::any(*port).to_value());
    }
}

/// Where a port stands among entries, in the order of the built-in list; others come last.
fn built_in_place(order: &[Failsafe], entries: &[Value], port: ServerPort) -> usize {
    let rank = |p: ServerPort| order.iter().position(|known| known.port == p);
    let Some(own) = rank(port) else {
        return entries.len();
    };
    let behind = |value: &Value| {
        let other = Failsafe::from_value(value).ok().and_then(|f| rank(f.port));
        other.is_some_and(|other| other > own)
    };
    entries.iter().position(behind).unwrap_or(entries.len())
}
