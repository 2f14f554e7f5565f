//! What must hold wherever a run was disturbed.

use std::collections::{BTreeMap, BTreeSet};

use calicoctl_protect::calico::{Host, Kind, Snapshot};
use calicoctl_protect::plan::proof::standing;
use calicoctl_protect::reach::topology::NodeWires;
use calicoctl_protect::reach::{Party, Topology, Traffic, Verdict, World};

use crate::command::Run;
use crate::field::{Field, Home, State};
use crate::naive::Naive;
use crate::naive::case::{Case, End, Node, Pool, Query, Wires};
use crate::scenarios::Scenario;

/// The ends between which a scenario leads.
pub struct Ends {
    pub start: State,
    pub end: State,
    /// Needed flows that do not come about at the start, by id.
    pub shut: BTreeSet<String>,
}

/// Needed flows that do not come about, by id.
pub fn shut(snapshot: &Snapshot) -> BTreeSet<String> {
    let case = case(snapshot);
    let world = World::with_topology(snapshot, &topology(&case, snapshot));
    let flows = standing(snapshot).flows.into_iter().map(|flow| flow.need);
    let shut = flows.filter(|need| world.explain(&need.connection).verdict != Verdict::Allow);
    shut.map(|need| need.id).collect()
}

/// How a disturbed run is brought to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Resume,
    Undo,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Resume, Self::Undo];

    /// The ways tried at one point of many: one and the other by turns.
    pub fn of_point(k: usize) -> [Self; 1] {
        if k.is_multiple_of(2) {
            [Self::Resume]
        } else {
            [Self::Undo]
        }
    }
}

/// Judges a field after a disturbed run, and brings the run to an end.
#[track_caller]
pub fn judge<F: Field>(
    field: &F,
    home: &Home,
    scenario: &Scenario,
    ends: &Ends,
    way: Way,
    run: &Run,
    point: &str,
) {
    let what = format!("{} ({point}, {way:?})", scenario.name);
    let now = field.state();
    no_needed_flow_is_cut(&field.snapshot(), ends, &what, run);
    if run.code == Some(0) {
        assert_same(&now, &ends.end, &what, run);
    }
    if way == Way::Undo && run.code == Some(0) {
        // A run that met a conflict and went on by itself is two runs, the later taken back first.
        for _ in 0..2 {
            if field.state() != ends.start {
                let undone = home.run(field, "undo --yes");
                assert_eq!(undone.code, Some(0), "{what}: {run}\nundo: {undone}");
            }
        }
        return assert_same(&field.state(), &ends.start, &what, run);
    }
    match (way, half_done(home, field)) {
        (Way::Resume, Some(id)) => {
            let resumed = home.run(field, &format!("apply --resume {id} --yes"));
            assert_eq!(resumed.code, Some(0), "{what}: {run}\nresume: {resumed}");
            assert_same(&field.state(), &ends.end, &what, &resumed);
        }
        (Way::Undo, Some(id)) => {
            let undone = home.run(field, &format!("undo {id} --yes"));
            assert_eq!(undone.code, Some(0), "{what}: {run}\nundo: {undone}");
            assert_same(&field.state(), &ends.start, &what, &undone);
        }
        (Way::Resume, None) => {
            // Nothing is half-done: the same command leads to the end.
            let again = home.run(field, &format!("{} --yes", scenario.command));
            assert_eq!(again.code, Some(0), "{what}: {run}\nagain: {again}");
            assert_same(&field.state(), &ends.end, &what, &again);
        }
        (Way::Undo, None) => assert_same(&now, &ends.start, &what, run),
    }
    assert_eq!(half_done(home, field), None, "{what}: still half-done");
}

/// The run that the history calls half-done.
fn half_done(home: &Home, field: &impl Field) -> Option<String> {
    let run = home.does(field, "history -o json");
    let history: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    let runs = history["runs"].as_array().expect("a list of runs");
    let mut open = runs.iter().filter(|run| run["state"] == "partly");
    let id = open
        .next()
        .map(|run| run["id"].as_str().unwrap().to_owned());
    assert!(open.next().is_none(), "two runs are half-done: {history}");
    id
}

#[track_caller]
fn assert_same(now: &State, wanted: &State, what: &str, run: &Run) {
    let names = now.keys().chain(wanted.keys());
    let mut different: Vec<_> = names
        .filter(|name| now.get(*name) != wanted.get(*name))
        .map(|name| {
            let text = |state: &State| state.get(name).cloned().unwrap_or_default();
            let (is, should) = (text(now), text(wanted));
            let diff = similar::TextDiff::from_lines(&should, &is);
            let diff = diff.unified_diff().header("should be", "is").to_string();
            format!("{name}\n{diff}")
        })
        .collect();
    different.dedup();
    assert!(
        different.is_empty(),
        "{what}:\n{}\n{run}",
        different.join("\n")
    );
}

/// Every needed flow that can be decided comes about, by both evaluators.
#[track_caller]
fn no_needed_flow_is_cut(snapshot: &Snapshot, ends: &Ends, what: &str, run: &Run) {
    let case = case(snapshot);
    let topology = topology(&case, snapshot);
    let world = World::with_topology(snapshot, &topology);
    let naive = Naive::new(&case);
    let mut looked_at = 0;
    for need in standing(snapshot).flows.into_iter().map(|flow| flow.need) {
        let proved = world.explain(&need.connection);
        assert!(
            proved.verdict == Verdict::Allow || ends.shut.contains(&need.id),
            "{what}: {}: {proved}\n{run}",
            need.id
        );
        let Some(query) = query(&need.connection) else {
            continue;
        };
        let walked = naive.decide(&query);
        assert_eq!(
            walked.verdict, proved.verdict,
            "{what}: {}\n{proved}\n{walked}",
            need.id
        );
        looked_at += 1;
    }
    assert!(looked_at > 0, "{what}: no needed flow was looked at");
}

/// The cluster in the words of the naive evaluator.
fn case(snapshot: &Snapshot) -> Case {
    let hosts = Host::all(snapshot);
    let nodes = hosts.iter().map(|(name, host)| {
        let outer: Vec<_> = host.underlay().collect();
        let all = host.addresses.iter().map(|(ip, _)| *ip);
        let tunnel = all.filter(|ip| !outer.contains(ip)).collect();
        Node {
            name: name.clone(),
            interfaces: BTreeMap::from([
                ("eth0".to_owned(), outer),
                ("vxlan.calico".to_owned(), tunnel),
            ]),
            default_interface: Some("eth0".to_owned()),
        }
    });
    let pools = snapshot.of(Kind::IpPool).filter_map(|pool| {
        Some(Pool {
            cidr: pool.spec_str("cidr")?.parse().ok()?,
            nat_outgoing: pool.value().pointer("/spec/natOutgoing") == Some(&true.into()),
        })
    });
    Case {
        name: "disturbed".into(),
        title: String::new(),
        version: Some(snapshot.version().to_string()),
        datastore: None,
        felix: serde_json::Map::from_iter([("ipv6Support".to_owned(), false.into())]),
        topology: Wires {
            nodes: nodes.collect(),
            encapsulation: Some("vxlan".into()),
            ip_pools: pools.collect(),
            dnat: Vec::new(),
        },
        resources: snapshot.all().map(|s| s.object.value().clone()).collect(),
        queries: Vec::new(),
    }
}

/// The same wires for the product.
fn topology(case: &Case, snapshot: &Snapshot) -> Topology {
    let wires = |node: &Node| NodeWires {
        interfaces: node.interfaces.clone(),
        default_interface: node.default_interface.clone(),
    };
    let nodes = case.topology.nodes.iter();
    Topology {
        nodes: nodes.map(|node| (node.name.clone(), wires(node))).collect(),
        version: Some(snapshot.version()),
        ..Topology::default()
    }
}

fn query(connection: &calicoctl_protect::reach::Connection) -> Option<Query> {
    let end = |party: &Party| match party {
        Party::Node { name, address } => End {
            node: Some(name.clone()),
            ip: *address,
            pod: None,
        },
        Party::Pod {
            namespace,
            name,
            address,
        } => End {
            pod: Some(format!("{namespace}/{name}")),
            ip: *address,
            node: None,
        },
        Party::Address(ip) => End {
            ip: Some(*ip),
            ..End::default()
        },
    };
    let Traffic::Port(port) = connection.traffic else {
        return None;
    };
    Some(Query {
        from: end(&connection.from),
        to: end(&connection.to),
        protocol: port.transport.to_string().to_uppercase(),
        port: Some(port.port),
        source_port: connection.client_port,
        icmp_type: None,
        icmp_code: None,
        direction: "end-to-end".into(),
        expect: None,
        because: String::new(),
        confidence: String::new(),
        evidence: String::new(),
    })
}
