//! Makes a case that shows a difference as small as it gets: whatever can go while the difference
//! stays, goes.

use serde_json::Value;

use crate::naive::case::Case;

/// Takes away resources, nodes, rules, fields and items one by one, over and over, as long as
/// `still` holds.
pub fn shrink(case: &Case, still: impl Fn(&Case) -> bool) -> Case {
    let mut small = serde_json::to_value(case).expect("a case is plain data");
    let mut last = usize::MAX;
    // A thing that could not go may be able to go when others are gone, so again and again.
    while size(&small) < last {
        last = size(&small);
        for pointer in places(&small) {
            let smaller = without(&small, &pointer);
            let fits = smaller.and_then(|s| Some((read(&s)?, s)));
            if let Some((case, smaller)) = fits
                && is_whole(&case)
                && still(&case)
            {
                small = smaller;
            }
        }
    }
    read(&small).expect("only what can be read was kept")
}

fn read(value: &Value) -> Option<Case> {
    serde_json::from_value(value.clone()).ok()
}

/// Whether the wires of every node are known that a Node, a workload or a question names.
fn is_whole(case: &Case) -> bool {
    let known = |name: &str| name == "elsewhere" || case.topology.node(name).is_some();
    let of = |kind: &'static str| case.resources.iter().filter(move |r| r["kind"] == kind);
    let nodes = of("Node").filter_map(|r| r["metadata"]["name"].as_str());
    let workloads = of("WorkloadEndpoint").filter_map(|r| r["spec"]["node"].as_str());
    let ends = case.queries.iter().flat_map(|q| [&q.from, &q.to]);
    let asked = ends.filter_map(|end| end.node.as_deref());
    nodes.chain(workloads).chain(asked).all(known)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// Pointers to everything that may go, outer things before what is in them, last items first so
/// that the pointers before them stay right.
fn places(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => {
            let numbered = items.iter().enumerate().rev();
            numbered.map(|(n, v)| (n.to_string(), v)).collect()
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v))
            .collect(),
        _ => return,
    };
    for (name, child) in children {
        let inner = format!("{pointer}/{name}");
        if !must_stay(&inner) {
            found.push(inner.clone());
        }
        collect(child, &inner, found);
    }
}

/// What makes a thing what it is, and the question itself.
fn must_stay(pointer: &str) -> bool {
    let parts: Vec<&str> = pointer.split('/').skip(1).collect();
    match parts.as_slice() {
        ["name" | "title" | "version" | "datastore" | "queries" | "resources" | "topology"] => true,
        ["topology", "nodes"] => true,
        // A node keeps its addresses and the interfaces that routes lead to.
        ["topology", "nodes", _, "interfaces" | "defaultInterface"] => true,
        ["topology", "nodes", _, "interfaces", "eth1"] => false,
        ["topology", "nodes", _, "interfaces", ..] => true,
        ["queries", _, field] => !["sourcePort", "icmpType", "icmpCode"].contains(field),
        ["queries", ..] => true,
        ["resources", _, "apiVersion" | "kind" | "metadata"] => true,
        ["resources", _, "metadata", "name" | "namespace"] => true,
        ["resources", _, "spec", "node" | "interfaceName"] => true,
        _ => false,
    }
}

/// The value without what a pointer points to; `None` if there is no such thing any more.
fn without(value: &Value, pointer: &str) -> Option<Value> {
    let mut smaller = value.clone();
    let (parent, name) = pointer.rsplit_once('/')?;
    let name = name.replace("~1", "/").replace("~0", "~");
    match smaller.pointer_mut(parent)? {
        Value::Array(items) => {
            let place: usize = name.parse().ok()?;
            if place >= items.len() {
                return None;
            }
            items.remove(place);
        }
        Value::Object(fields) => {
            fields.shift_remove(&name)?;
        }
        _ => return None,
    }
    Some(smaller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;

    #[test]
    fn only_what_the_difference_needs_is_left() {
        let case = (0..).map(generate::case).find(|c| c.resources.len() > 12);
        let case = case.expect("some cluster is large");
        let wanted = case.resources.last().expect("it has resources").clone();
        let small = shrink(&case, |c| {
            c.resources
                .iter()
                .any(|r| r["metadata"]["name"] == wanted["metadata"]["name"])
        });
        assert_eq!(small.resources.len(), 1);
        assert!(small.topology.nodes.len() <= 1 && small.felix.is_empty());
    }
}
