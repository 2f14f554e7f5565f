//! Commands there and back on every store, and what they must agree in.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::place::{Place, Run, STORES, What, neutral};

/// Exit code and command line.
type Step = (i32, &'static str);

/// Commands, and those that undo them.
#[derive(Debug, Default)]
pub struct Scenario {
    pub forth: &'static [Step],
    pub back: &'static [Step],
    /// It is about objects of Kubernetes, which etcd does not hold.
    pub of_kubernetes: bool,
    /// Releases without tiers refuse it as wrong usage.
    pub needs_tiers: bool,
    /// What is written differs by release: before v3.32 a policy's name begins with its tier, so one
    /// that moves is another one.
    pub moves: bool,
}

/// What all stores must agree in.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// What each command said it would do.
    plans: Vec<Value>,
    /// What the store held after all of them.
    objects: BTreeMap<String, Value>,
}

pub async fn on_every_store(scenario: &Scenario) {
    let mut first: Option<(String, Outcome)> = None;
    for (what, version) in STORES {
        if what == What::Etcd && scenario.of_kubernetes {
            continue;
        }
        let Some(place) = Place::new(what, version).await else {
            continue;
        };
        let name = format!("{what:?} {version}");
        if scenario.needs_tiers && !place.version.has_tiers() {
            refused(&place, scenario, &name).await;
            continue;
        }
        let outcome = forth_and_back(&place, scenario, &name).await;
        match &first {
            None => first = Some((name, outcome)),
            Some((reference, expected)) => {
                let mut outcome = outcome;
                if scenario.moves {
                    outcome.plans.clear();
                }
                compare(expected, outcome, (reference, &name), what);
            }
        }
    }
}

async fn refused(place: &Place, scenario: &Scenario, name: &str) {
    let before = place.stored().await;
    let (_, line) = scenario.forth[0];
    let run = place.run(&format!("{line} --yes -o json"));
    assert_eq!(run.code, 64, "{name}: {line}\n{run:#?}");
    assert!(
        run.err.contains("tiers came with v3.29"),
        "{name}: {run:#?}"
    );
    assert_eq!(place.stored().await, before, "{name}");
}

async fn forth_and_back(place: &Place, scenario: &Scenario, name: &str) -> Outcome {
    let before = place.stored().await;
    assert!(before.len() > usize::from(place.what != What::Manifests) * 10);
    let mut plans = Vec::new();
    for (code, line) in scenario.forth {
        let unchanged = (*code != 0).then_some(place.stored().await);
        let run = place.run(&format!("{line} --yes -o json"));
        assert_eq!(run.code, *code, "{name}: {line}\n{run:#?}");
        if let Some(unchanged) = unchanged {
            assert_eq!(
                place.stored().await,
                unchanged,
                "{name}: {line} wrote something"
            );
        }
        plans.push(plan(line, &run));
    }
    let objects = place.objects().await;
    for (code, line) in scenario.back {
        let run = place.run(&format!("{line} --yes -o json"));
        assert_eq!(run.code, *code, "{name}: {line}\n{run:#?}");
        plans.push(plan(line, &run));
    }
    let after = place.stored().await;
    for (key, value) in &before {
        assert_eq!(after.get(key), Some(value), "{name}: {key}");
    }
    assert_eq!(
        after.len(),
        before.len(),
        "{name}: something is left behind"
    );
    Outcome { plans, objects }
}

/// What a command showed, without what depends on release, server and place.
fn plan(line: &str, run: &Run) -> Value {
    if run.out.is_empty() {
        // Nothing was drafted.
        let error = run.err.lines().find(|line| line.starts_with("error: "));
        return json!({"command": line, "exit": run.code, "refusal": error});
    }
    let shown: Value = serde_json::from_str(&run.out).unwrap();
    let changes = shown["changes"].as_array().unwrap().iter().map(|change| {
        let object = |when: &str| match &change[when] {
            Value::Null => Value::Null,
            object => neutral(object.clone()),
        };
        json!({"action": change["action"], "stage": change["stage"], "kind": change["kind"],
            "name": change["name"], "namespace": change["namespace"], "why": change["why"],
            "before": object("before"), "after": object("after")})
    });
    json!({"command": line, "exit": run.code, "changes": changes.collect::<Vec<_>>(),
        "summary": shown["summary"], "proof": shown["proof"]})
}

fn compare(expected: &Outcome, mut found: Outcome, names: (&str, &str), what: What) {
    let mut plans = expected.plans.clone();
    let mut objects = expected.objects.clone();
    if what == What::Etcd {
        // Nodes have another form there, and other flows are needed.
        for plan in plans.iter_mut().chain(&mut found.plans) {
            without_nodes(plan);
        }
        let kept = |name: &String| {
            ["HostEndpoint", "GlobalNetwork", "Felix", "Tier"]
                .iter()
                .any(|k| name.starts_with(k))
        };
        objects.retain(|name, _| kept(name));
        found.objects.retain(|name, _| kept(name));
    }
    let (reference, name) = names;
    for (one, other) in plans.iter().zip(&found.plans) {
        same(
            one,
            other,
            &format!("{reference} and {name}: {}", one["command"]),
        );
    }
    // Releases without tiers have no object for the default one.
    for all in [&mut objects, &mut found.objects] {
        all.remove("Tier/default");
    }
    let all = |objects: &BTreeMap<String, Value>| json!(objects);
    same(
        &all(&objects),
        &all(&found.objects),
        &format!("{reference} and {name}: in the end"),
    );
}

/// Of a change of a Node, only what becomes of the recipe's labels.
fn without_nodes(plan: &mut Value) {
    plan["proof"].take();
    for change in plan["changes"].as_array_mut().into_iter().flatten() {
        if change["kind"] == "Node" {
            for when in ["before", "after"] {
                let labels = change[when]["metadata"]["labels"].take();
                let labels = labels.as_object().into_iter().flatten();
                let recipe =
                    labels.filter(|(key, _)| key.ends_with("-client") || key.ends_with("-server"));
                change[when] = recipe
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
            }
        }
    }
}

fn same(one: &Value, other: &Value, what: &str) {
    // Before v3.32 a policy's name begins with its tier.
    let text = |value: &Value| {
        serde_json::to_string_pretty(value)
            .unwrap()
            .replace("guard.protected-", "protected-")
    };
    let [one, other] = [text(one), text(other)];
    if one != other {
        let diff = similar::TextDiff::from_lines(&one, &other);
        panic!("{what}\n{}", diff.unified_diff().context_radius(8));
    }
}
