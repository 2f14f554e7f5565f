//! How long proofs take, by the size of the cluster. Run with `cargo bench --bench reach`; the name
//! of a part (`small`, `large`, `growth`, `plans`) as an argument runs it alone.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark of generated input, which prints what it measured"
)]

#[path = "../tests/support/generate.rs"]
mod generate;

use std::hint::black_box;
use std::time::{Duration, Instant};

use calicoctl_protect::calico::felix::Direction;
use calicoctl_protect::calico::{ServerPort, Snapshot};
use calicoctl_protect::plan::check::check;
use calicoctl_protect::plan::proof::{Fate, FlowProof, Proof, prove as prove_plan, standing};
use calicoctl_protect::plan::{Course, Plan};
use calicoctl_protect::reach::needs::families;
use calicoctl_protect::reach::{Connection, Party, Place, Verdict, World};
use calicoctl_protect::recipe::Draft;
use calicoctl_protect::recipe::failsafes::{Failsafes, PortChoice, prune};
use calicoctl_protect::recipe::grant::grant_needed;
use calicoctl_protect::recipe::hosts::NodeChoice;
use calicoctl_protect::recipe::server::{ProtectServer, protect};
use generate::Size;

const SMALL: Size = Size {
    hosts: 100,
    servers: 20,
    policies: 100,
    addresses: 2_500,
};
const LARGE: Size = Size {
    hosts: 5_000,
    servers: 20,
    policies: 10_000,
    addresses: 250_000,
};

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    println!(
        "{:>7} {:>8} {:>9} | {:>9} {:>9} {:>9} | {:>7} {:>7} | {:>10} | {:>8}",
        "hosts",
        "policies",
        "addresses",
        "model",
        "proof",
        "both",
        "classes",
        "pieces",
        "explain",
        "peak MB"
    );
    if wants("small") {
        measure(SMALL);
    }
    if wants("growth") {
        for hosts in [500, 5_000, 50_000] {
            measure(Size { hosts, ..LARGE });
        }
    } else if wants("large") {
        measure(LARGE);
    }
    if wants("plans") {
        measure_plans();
    }
}

/// Proofs of whole clusters as they stand, and of plans of two changes for each host: every
/// protection and every needed flow.
fn measure_plans() {
    println!(
        "\n{:>7} {:>8} | {:>9} {:>9} {:>9} | {:>7} {:>6} {:>6} {:>9} | {:>9} | {:>9}",
        "hosts",
        "policies",
        "check",
        "flows",
        "proof",
        "changes",
        "proofs",
        "states",
        "flows",
        "proof",
        "cut: proof"
    );
    for size in [
        SMALL,
        Size {
            hosts: 500,
            ..LARGE
        },
        LARGE,
        Size {
            hosts: 50_000,
            ..LARGE
        },
    ] {
        let snapshot = generate::cluster(size);
        let ((), checked) = best(2, || assert_eq!(check(&snapshot, None).unwrap().len(), 20));
        let (proof, stands) = best(2, || standing(&snapshot));
        let (safe, cut) = (plan(&snapshot, true), plan(&snapshot, false));
        let (kept, safe_took) = best(1, || prove_plan(&snapshot, &safe, &[]));
        assert_eq!(kept.count(Fate::Cut), 0);
        let (closed, cut_took) = best(1, || prove_plan(&snapshot, &cut, &[]));
        assert!(closed.count(Fate::Cut) >= all(&closed) / 2);
        println!(
            "{:>7} {:>8} | {checked:>9.2?} {:>9} {stands:>9.2?} | {:>7} {:>6} {:>6} {:>9} | {safe_took:>9.2?} | {cut_took:>9.2?} | {} MB",
            size.hosts,
            size.policies,
            all(&proof),
            safe.changes.len(),
            kept.flows.len(),
            kept.states,
            all(&kept),
            peak(),
        );
    }
}

fn all(proof: &Proof) -> usize {
    proof.flows.iter().map(FlowProof::count).sum()
}

/// BGP is protected on all hosts and pruned from the failsafes, with all nodes let in or not.
fn plan(snapshot: &Snapshot, granted: bool) -> Plan {
    let server: calicoctl_protect::calico::names::ServerName = "bgp".parse().unwrap();
    let mut draft = Draft::new(snapshot);
    if granted {
        grant_needed(&mut draft, &server, &families(snapshot)).unwrap();
    }
    let intent = ProtectServer {
        server: server.clone(),
        ports: Vec::new(),
        nodes: NodeChoice {
            all: true,
            ..NodeChoice::default()
        },
        interfaces: vec!["*".to_owned()],
        workloads: Vec::new(),
        approach: None,
        tier: None,
        order: None,
        allow_self: false,
        overwrite: false,
    };
    protect(&mut draft, &intent).unwrap();
    let failsafes = Failsafes {
        ports: vec![PortChoice::Server(server)],
        directions: Direction::BOTH.to_vec(),
        nodes: Vec::new(),
        keep_nets: Vec::new(),
        add: false,
    };
    prune(&mut draft, &failsafes).unwrap();
    Plan::new(draft, Course::Forward)
}

/// A moment: by the wall, and by what this process has had of all processors.
#[derive(Clone, Copy)]
struct Moment(Instant, Option<Duration>);

impl Moment {
    fn now() -> Self {
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        let spent = threads.flatten().map(|thread| {
            let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            told.split_whitespace().next()?.parse::<u64>().ok()
        });
        let spent: Option<u64> = spent.sum();
        let spent = spent.filter(|spent| *spent > 0);
        Self(Instant::now(), spent.map(Duration::from_nanos))
    }

    /// Time since then, as one processor would have taken. What other processes took of it does not
    /// count, where the system tells; its clock is too coarse for short times.
    fn elapsed(self) -> Duration {
        let now = Self::now();
        let wall = now.0 - self.0;
        let spent = now
            .1
            .zip(self.1)
            .map(|(now, then)| now.saturating_sub(then));
        let coarse = Duration::from_millis(50);
        spent.filter(|spent| *spent > coarse).unwrap_or(wall)
    }
}

/// The best of a few runs.
fn best<T>(runs: u32, mut run: impl FnMut() -> T) -> (T, Duration) {
    let mut best: Option<(T, Duration)> = None;
    for _ in 0..runs {
        let start = Moment::now();
        let made = run();
        let took = start.elapsed();
        if best.as_ref().is_none_or(|(_, known)| took < *known) {
            best = Some((made, took));
        }
    }
    best.unwrap()
}

fn measure(size: Size) {
    let snapshot = generate::cluster(size);
    let before = peak();
    let (world, model) = best(3, || World::from_snapshot(&snapshot));
    // Sets are worked out when they are first looked at: each run has a model of its own.
    let mut proof = Duration::MAX;
    let (mut classes, mut pieces) = (0, 0);
    for _ in 0..3 {
        let fresh = World::from_snapshot(&snapshot);
        let start = Moment::now();
        (classes, pieces) = prove(&fresh, size);
        proof = proof.min(start.elapsed());
    }
    let questions = 200;
    let ((), explain) = best(3, || {
        for at in 0..questions {
            black_box(world.explain(&question(size, at)));
        }
    });
    println!(
        "{:>7} {:>8} {:>9} | {:>9.2?} {:>9.2?} {:>9.2?} | {classes:>7} {pieces:>7} | {:>10.2?} | {:>8} (snapshot {before})",
        size.hosts,
        size.policies,
        size.addresses,
        model,
        proof,
        model + proof,
        explain / questions,
        peak(),
    );
}

/// Who reaches each server on each of its hosts, by its address and over loopback.
fn prove(world: &World, size: Size) -> (usize, usize) {
    let (mut classes, mut pieces) = (0, 0);
    for server in 0..size.servers {
        let hosts = generate::hosts_of(size, server);
        let places: Vec<Place> = hosts
            .flat_map(|h| world.places(&generate::host(h)))
            .collect();
        let port = ServerPort::tcp(generate::port(server));
        for class in world.classes(&places, port) {
            classes += 1;
            pieces += class.reachability.pieces.len();
            assert!(class.reachability.with(Verdict::Unproven).is_empty());
        }
    }
    (classes, pieces)
}

fn question(size: Size, at: u32) -> Connection {
    let server = at % size.servers;
    let to = generate::hosts_of(size, server)
        .nth(at as usize % 5)
        .unwrap();
    let from = (at * 7919) % size.hosts;
    Connection::to_port(
        Party::node(generate::host(from)),
        Party::node(generate::host(to)),
        ServerPort::tcp(generate::port(server)),
    )
}

/// The most memory that the process had at any time, in megabytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    let number = line.and_then(|l| l.split_whitespace().nth(1));
    number.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}
