//! What holds of every plan on every cluster, on random clusters that look like real ones:
//!
//! - what has been applied leaves nothing to do;
//! - a grant that is revoked, and any run that is taken back, leave the cluster as it was;
//! - no prefix of a plan that is let through cuts a needed flow, by either evaluator;
//! - a grant takes no connection away, and a pruned failsafe opens none.
//!
//! `CALICOCTL_PROTECT_LAWS_CASES` and `CALICOCTL_PROTECT_LAWS_SEED` try more, or others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

#[path = "proof_classes/cluster.rs"]
mod cluster;
#[expect(dead_code, reason = "this test uses a part of it")]
mod naive;
#[path = "generate/rng.rs"]
mod rng;
#[path = "every_fault/wires.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod wires;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use calicoctl_protect::calico::felix::Direction as Failsafe;
use calicoctl_protect::calico::{Host, Kind, Object, ObjectId, ServerPort, Snapshot};
use calicoctl_protect::plan::proof::{Fate, prove_by_classes, standing};
use calicoctl_protect::plan::rebase::Precedence;
use calicoctl_protect::plan::replay::{Direction, replay};
use calicoctl_protect::plan::settle::settled;
use calicoctl_protect::plan::{Course, Plan};
use calicoctl_protect::reach::{Connection, Party, Verdict, World};
use calicoctl_protect::recipe::failsafes::{Failsafes, PortChoice, prune, restore};
use calicoctl_protect::recipe::grant::{Clients, grant, revoke};
use calicoctl_protect::recipe::hosts::NodeChoice;
use calicoctl_protect::recipe::policies::{Approach, DEFAULT_ALLOW};
use calicoctl_protect::recipe::remove::{RemoveServer, remove};
use calicoctl_protect::recipe::server::{ProtectServer, protect};
use calicoctl_protect::recipe::{Draft, RecipeError};
use naive::Naive;
use rng::Rng;
use serde_json::Value;

type Recipe = Box<dyn Fn(&mut Draft<'_>) -> Result<(), RecipeError>>;

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Tries a law on many clusters; it tells of how many things it held.
fn hold(cases: u64, law: impl Fn(u64, &mut Rng, &Snapshot) -> usize) {
    let seed = number("CALICOCTL_PROTECT_LAWS_SEED", 0);
    let cases = number("CALICOCTL_PROTECT_LAWS_CASES", cases);
    let mut held = 0;
    for seed in seed..seed + cases {
        let mut rng = Rng::new(seed);
        let snapshot = cluster::cluster(&mut rng);
        held += law(seed, &mut rng, &snapshot);
    }
    println!("held {held} times on {cases} clusters");
    assert!(held as u64 >= cases / 2, "held {held} times only");
}

fn nodes(rng: &mut Rng) -> NodeChoice {
    match rng.below(3) {
        0 => NodeChoice {
            names: vec!["h01".to_owned(), "h02".to_owned()],
            ..NodeChoice::default()
        },
        1 => NodeChoice {
            selector: "zone == 'z1'".parse().ok(),
            ..NodeChoice::default()
        },
        _ => NodeChoice {
            all: true,
            ..NodeChoice::default()
        },
    }
}

const SERVERS: [&str; 6] = ["typha", "bgp", "kubelet", "kube-apiserver", "ssh", "etcd"];

fn clients(rng: &mut Rng, server: &str) -> Clients {
    let nets = ["198.51.100.0/28", "10.0.0.0/29"].map(|net| net.parse().unwrap());
    Clients {
        server: server.parse().unwrap(),
        nodes: nodes(rng),
        ips: Vec::new(),
        workloads: Vec::new(),
        nets: rng.some(&nets, 40),
        net_sets: rng.some(&["a".to_owned(), "b".to_owned()], 20),
    }
}

fn failsafes(rng: &mut Rng, server: &str) -> Failsafes {
    Failsafes {
        ports: vec![PortChoice::Server(server.parse().unwrap())],
        directions: Failsafe::BOTH.to_vec(),
        nodes: Vec::new(),
        keep_nets: rng.some(&["10.0.0.0/24".parse().unwrap()], 30),
        add: false,
    }
}

/// A command.
fn recipe(rng: &mut Rng) -> (&'static str, Course, Recipe) {
    let server = *rng.pick(&SERVERS);
    let name = server.parse().unwrap();
    match rng.below(6) {
        0 => {
            let intent = clients(rng, server);
            let go = move |draft: &mut Draft<'_>| grant(draft, &intent);
            ("grant", Course::Forward, Box::new(go))
        }
        1 => {
            let intent = clients(rng, server);
            let go = move |draft: &mut Draft<'_>| revoke(draft, &intent);
            ("revoke", Course::Backward, Box::new(go))
        }
        2 => {
            let intent = failsafes(rng, server);
            let go = move |draft: &mut Draft<'_>| prune(draft, &intent);
            ("prune", Course::Forward, Box::new(go))
        }
        3 => {
            let intent = RemoveServer {
                server: name,
                all: true,
            };
            let go = move |draft: &mut Draft<'_>| remove(draft, &intent);
            ("remove", Course::Backward, Box::new(go))
        }
        _ => {
            let intent = ProtectServer {
                server: name,
                ports: Vec::new(),
                nodes: nodes(rng),
                interfaces: vec!["*".to_owned()],
                workloads: Vec::new(),
                approach: approach(rng),
                tier: tier(rng),
                order: None,
                allow_self: rng.chance(70),
                overwrite: false,
            };
            let go = move |draft: &mut Draft<'_>| protect(draft, &intent).map(drop);
            ("server", Course::Forward, Box::new(go))
        }
    }
}

fn approach(rng: &mut Rng) -> Option<Approach> {
    *rng.pick(&[
        None,
        Some(Approach::AllowByDefault),
        Some(Approach::DenyByDefault),
    ])
}

fn tier(rng: &mut Rng) -> Option<String> {
    let tier = *rng.pick(&[None, None, Some("default"), Some("guard"), Some("other")]);
    tier.map(str::to_owned)
}

/// The plan of a recipe; `None` where it refuses.
fn plan(snapshot: &Snapshot, course: Course, recipe: &Recipe) -> Option<Plan> {
    let mut draft = Draft::new(snapshot);
    recipe(&mut draft).ok()?;
    Some(Plan::new(draft, course))
}

/// The cluster once a plan has been written, and controllers have done their part.
fn applied(snapshot: &Snapshot, plan: &Plan) -> Snapshot {
    settled(snapshot, plan.after(snapshot, plan.changes.len()))
}

fn objects(snapshot: &Snapshot) -> BTreeMap<ObjectId, Value> {
    let all = snapshot.all().map(|stored| &stored.object);
    all.map(|object| (object.id().clone(), plain(object.value().clone())))
        .collect()
}

/// An object without maps that servers leave out when they are empty.
fn plain(mut object: Value) -> Value {
    for map in ["labels", "annotations"] {
        let metadata = object["metadata"].as_object_mut().unwrap();
        if metadata
            .get(map)
            .and_then(Value::as_object)
            .is_some_and(|map| map.is_empty())
        {
            metadata.shift_remove(map);
        }
    }
    object
}

#[track_caller]
fn assert_same(now: &Snapshot, start: &Snapshot, what: &str) {
    let (now, start) = (objects(now), objects(start));
    let ids = now.keys().chain(start.keys());
    let differing: Vec<_> = ids.filter(|id| now.get(*id) != start.get(*id)).collect();
    let shown = differing.first().map(|id| (now.get(*id), start.get(*id)));
    assert!(differing.is_empty(), "{what}: {differing:?}: {shown:#?}");
}

#[test]
fn what_has_been_applied_leaves_nothing_to_do() {
    hold(80, |seed, rng, snapshot| {
        let start = settled(snapshot, snapshot.clone());
        let mut held = 0;
        for _ in 0..4 {
            let (command, course, recipe) = recipe(rng);
            let Some(first) = plan(&start, course, &recipe) else {
                continue;
            };
            let after = applied(&start, &first);
            let mut draft = Draft::new(&after);
            if let Err(refused) = recipe(&mut draft) {
                // What is gone cannot be removed again, and the command says so.
                let gone = matches!(command, "remove" | "revoke");
                assert!(gone, "seed {seed}: {command}: {refused:?}");
                continue;
            }
            let second = Plan::new(draft, course);
            assert!(
                second.is_empty(),
                "seed {seed}: {command}: {:#?}",
                second.changes
            );
            held += usize::from(!first.is_empty());
        }
        held
    });
}

#[test]
fn a_run_that_is_taken_back_leaves_the_cluster_as_it_was() {
    hold(80, |seed, rng, snapshot| {
        let start = settled(snapshot, snapshot.clone());
        let mut held = 0;
        for _ in 0..4 {
            let (command, course, recipe) = recipe(rng);
            let Some(plan) = plan(&start, course, &recipe) else {
                continue;
            };
            // Whole, and stopped anywhere.
            for count in [plan.changes.len(), rng.below(plan.changes.len() + 1)] {
                let now = settled(&start, plan.after(&start, count));
                let order: Vec<usize> = (0..count).rev().collect();
                let (back, theirs) = (Direction::Back, Precedence::Theirs);
                let undo = replay(&plan.changes, &order, &now, back, theirs, "back");
                let what = format!("seed {seed}: undo of {count} changes of {command}");
                assert!(undo.overlaps.is_empty(), "{what}: {:?}", undo.overlaps);
                assert_same(&applied(&now, &undo.plan), &start, &what);
                held += usize::from(count > 0);
            }
        }
        held
    });
}

#[test]
fn a_protection_that_takes_another_form_and_its_old_one_again_is_as_it_was() {
    hold(80, |seed, rng, snapshot| {
        let start = settled(snapshot, snapshot.clone());
        let server = *rng.pick(&SERVERS);
        let mut intent = ProtectServer {
            server: server.parse().unwrap(),
            ports: Vec::new(),
            nodes: nodes(rng),
            interfaces: vec!["*".to_owned()],
            workloads: Vec::new(),
            approach: None,
            tier: None,
            order: None,
            allow_self: rng.chance(70),
            overwrite: true,
        };
        let approaches = [Approach::AllowByDefault, Approach::DenyByDefault];
        let forms = match rng.below(2) {
            0 => [(approaches[0], "default"), (approaches[1], "default")],
            _ => [(approaches[0], "default"), (approaches[0], "guard")],
        };
        let [one, other] = forms;
        let way = match rng.chance(50) || other.1 == "guard" {
            true => [one, other, one],
            false => [other, one, other],
        };
        let mut states = vec![start];
        for (approach, tier) in way {
            intent.approach = Some(approach);
            intent.tier = Some(tier.to_owned());
            let intent = intent.clone();
            let go: Recipe = Box::new(move |draft| protect(draft, &intent).map(drop));
            let now = states.last().unwrap();
            let Some(plan) = plan(now, Course::Forward, &go) else {
                return 0;
            };
            states.push(applied(now, &plan));
        }
        // A policy that a label has waited for since before stays with it.
        let kind = Kind::GlobalNetworkPolicy;
        let has_policy = states[1].global(kind, DEFAULT_ALLOW).is_some();
        let waits = |object: &Object| object.label(DEFAULT_ALLOW).is_some();
        if !has_policy && states[1].all().any(|stored| waits(&stored.object)) {
            return 0;
        }
        let what = format!("seed {seed}: {server} by {way:?}");
        assert_same(&states[3], &states[1], &what);
        usize::from(objects(&states[1]) != objects(&states[2]))
    });
}

#[test]
fn a_grant_that_is_revoked_leaves_the_cluster_as_it_was() {
    hold(80, |seed, rng, snapshot| {
        let start = settled(snapshot, snapshot.clone());
        // Servers that the cluster holds no clients of yet.
        let server = *rng.pick(&["kubelet", "kube-apiserver", "ssh", "etcd"]);
        let intent = clients(rng, server);
        let (again, intent) = (intent.clone(), intent);
        let there: Recipe = Box::new(move |draft| grant(draft, &intent));
        let back: Recipe = Box::new(move |draft| revoke(draft, &again));
        let Some(granted) = plan(&start, Course::Forward, &there) else {
            return 0;
        };
        let after = applied(&start, &granted);
        let revoked = plan(&after, Course::Backward, &back).expect("what was granted");
        let what = format!("seed {seed}: grant and revoke of {server}");
        assert_same(&applied(&after, &revoked), &start, &what);
        1
    });
}

#[test]
fn failsafes_that_are_restored_are_as_they_were() {
    hold(80, |seed, rng, snapshot| {
        let server = *rng.pick(&SERVERS);
        let intent = failsafes(rng, server);
        let opposite = Failsafes {
            keep_nets: Vec::new(),
            ..intent.clone()
        };
        let there: Recipe = Box::new(move |draft| prune(draft, &intent));
        let back: Recipe = Box::new(move |draft| restore(draft, &opposite));
        let Some(pruned) = plan(snapshot, Course::Forward, &there) else {
            return 1;
        };
        let after = applied(snapshot, &pruned);
        let Some(restored) = plan(&after, Course::Backward, &back) else {
            assert!(
                pruned.is_empty(),
                "seed {seed}: {server} cannot be restored"
            );
            return 1;
        };
        let what = format!("seed {seed}: prune and restore of {server}");
        let start = settled(snapshot, snapshot.clone());
        assert_same(&applied(&after, &restored), &start, &what);
        1
    });
}

#[test]
fn no_prefix_of_a_plan_that_is_let_through_cuts_a_needed_flow() {
    let mut naively = Cell::new(0);
    hold(40, |seed, _, _| {
        let (snapshot, plan) = cluster::case(seed);
        let proof = prove_by_classes(&snapshot, &plan, &[], usize::MAX);
        if proof.count(Fate::Cut) + proof.count(Fate::Unproven) > 0 || plan.is_empty() {
            return 0;
        }
        let kept: Vec<_> = standing(&settled(&snapshot, snapshot.clone()))
            .flows
            .into_iter()
            .filter(|flow| flow.fate == Fate::Kept && flow.need.back.is_none())
            // Where a server is that may be anywhere, a plan may tell.
            .filter(|flow| flow.need.named.is_none())
            .map(|flow| flow.need)
            .collect();
        let mut held = 0;
        for count in 0..=plan.changes.len() {
            let state = settled(&snapshot, plan.after(&snapshot, count));
            let world = World::from_snapshot(&state);
            let case = wires::case(&state);
            let naive = Naive::new(&case);
            for need in &kept {
                let what = format!("seed {seed}, {} after {count} changes", need.id);
                let proved = world.explain(&need.connection);
                assert_eq!(proved.verdict, Verdict::Allow, "{what}: {proved}");
                held += 1;
                let Some(query) = wires::query(&need.connection) else {
                    continue;
                };
                let walked = naive.decide(&query);
                assert_ne!(walked.verdict, Verdict::Deny, "{what}: {walked}");
                naively.set(naively.get() + usize::from(walked.verdict == Verdict::Allow));
            }
        }
        held
    });
    assert!(*naively.get_mut() > 1000, "{naively:?}");
}

/// Connections of all kinds: hosts and strangers to some hosts, at ports that matter.
fn connections(rng: &mut Rng, snapshot: &Snapshot) -> Vec<Connection> {
    let hosts: Vec<String> = Host::all(snapshot).into_keys().collect();
    let node = |name: &String| Party::Node {
        name: name.clone(),
        address: None,
    };
    let strangers = ["203.0.113.9", "198.51.100.3", "10.0.0.3", "10.244.1.5"];
    let strangers = strangers.map(|ip| Party::Address(ip.parse::<IpAddr>().unwrap()));
    let ports = [
        "tcp/22",
        "tcp/179",
        "tcp/2379",
        "tcp/5473",
        "tcp/6443",
        "tcp/10250",
        "tcp/8080",
    ];
    let ports = ports.map(|port| port.parse::<ServerPort>().unwrap());
    let from: Vec<Party> = rng
        .some(&hosts, 30)
        .iter()
        .map(node)
        .chain(strangers)
        .collect();
    let to: Vec<Party> = rng.some(&hosts, 30).iter().map(node).collect();
    let pairs = from
        .iter()
        .flat_map(|from| to.iter().map(move |to| (from, to)));
    let all = pairs.flat_map(|(from, to)| {
        ports.map(|port| Connection::to_port(from.clone(), to.clone(), port))
    });
    all.collect()
}

/// Compares connections before and after a command; tells how many it changed nothing wrong of.
fn compare(
    seed: u64,
    rng: &mut Rng,
    snapshot: &Snapshot,
    recipe: &Recipe,
    wrong: (Verdict, Verdict),
) -> usize {
    let Some(plan) = plan(snapshot, Course::Forward, recipe) else {
        return 0;
    };
    let start = settled(snapshot, snapshot.clone());
    let (before, after) = (start.clone(), applied(snapshot, &plan));
    let (before, after) = (World::from_snapshot(&before), World::from_snapshot(&after));
    let connections = connections(rng, &start);
    for connection in &connections {
        let (was, is) = (before.explain(connection), after.explain(connection));
        let verdicts = (was.verdict, is.verdict);
        assert_ne!(verdicts, wrong, "seed {seed}: {connection:?}\n{was}\n{is}");
    }
    connections.len()
}

#[test]
fn a_grant_takes_no_connection_away() {
    hold(40, |seed, rng, snapshot| {
        let server = *rng.pick(&SERVERS);
        let intent = clients(rng, server);
        let recipe: Recipe = Box::new(move |draft| grant(draft, &intent));
        let lost = (Verdict::Allow, Verdict::Deny);
        compare(seed, rng, snapshot, &recipe, lost)
    });
}

#[test]
fn a_pruned_failsafe_opens_no_connection() {
    hold(40, |seed, rng, snapshot| {
        let server = *rng.pick(&SERVERS);
        let intent = failsafes(rng, server);
        let recipe: Recipe = Box::new(move |draft| prune(draft, &intent));
        let won = (Verdict::Deny, Verdict::Allow);
        compare(seed, rng, snapshot, &recipe, won)
    });
}
