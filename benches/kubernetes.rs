//! How fast a cluster is written to, what reading it costs, and how that compares: ratios of one
//! run, over the API server double in a process of its own.
//!
//! `cargo bench --bench kubernetes` prints them. The server is the same for all; so is the machine.
//! `cargo bench --bench kubernetes -- live KUBECONFIG` measures writing on a real server, with host
//! endpoints of its own, which it takes away again. The kubeconfig has a token and names the file of
//! the authority.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench shows its figures and stops at the first failure"
)]

#[path = "../tests/double/mod.rs"]
#[expect(dead_code, reason = "the double can do more than is needed here")]
mod double;
#[path = "support/endpoints.rs"]
mod endpoints;

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use calicoctl_protect::apply::{self, Actor, End, Folder, Header, Journal, Outcome, RunId};
use calicoctl_protect::calico::edit::diff;
use calicoctl_protect::calico::{FieldEdit, FieldPath, Kind, Snapshot};
use calicoctl_protect::plan::reading::Question;
use calicoctl_protect::plan::saved::Waivers;
use calicoctl_protect::plan::{Change, Plan};
use calicoctl_protect::recipe::Stage;
use calicoctl_protect::store::config::{Kubeconfig, KubernetesConfig};
use calicoctl_protect::store::kubernetes::{KubernetesStore, Limits};
use calicoctl_protect::store::{Store, Write};
use double::{ADMIN_TOKEN, Credentials, Double, Shape};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENDPOINTS: usize = endpoints::COUNT;
const NODES: usize = 5_000;
const PODS: usize = 50_000;
const CLIENTS: usize = 10;
/// `kubectl label` is slow enough for a sample to stand for the whole loop.
const SAMPLE: usize = 50;
const ROUNDS: usize = 3;
const IN_FLIGHT: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "serve", dir, rest @ ..] => serve(Path::new(dir), rest.contains(&"pods")),
        [_, "ours", kubeconfig, shape] => block_on(ours(Path::new(kubeconfig), shape)),
        [_, "journal", kubeconfig] => block_on(journal(Path::new(kubeconfig))),
        [_, "bare", kubeconfig] => block_on(bare(Path::new(kubeconfig))),
        [_, "read", kubeconfig, pods] => block_on(read(Path::new(kubeconfig), pods)),
        [_, "live", kubeconfig, ..] => live(kubeconfig),
        // `cargo test` runs benches, too; there is nothing to test here.
        words if words.contains(&"--bench") => compare(),
        _ => {}
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

fn compare() {
    for shape in ["v3", "v1"] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start(dir.path(), &[shape]);
        compare_writing(shape, &server.kubeconfig());
        println!("  {}", server.ask("counters"));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &["v3", "pods"]);
    println!(
        "reading {ENDPOINTS} host endpoints, {NODES} nodes, {PODS} pods of which {CLIENTS} are clients:"
    );
    let mut bytes = Vec::new();
    for what in ["clients", "all"] {
        server.ask("reset");
        let figures = client(&["read", &server.kubeconfig(), what]);
        let of: Value = serde_json::from_str(&server.ask("bytes")).unwrap();
        bytes.push(of["pods"].as_f64().unwrap());
        println!(
            "  pods: {what:8} {:.1} s, {:.0} MB at most, {:.2} MB of pods and {:.1} MB of all else received",
            figures[0],
            figures[1],
            of["pods"].as_f64().unwrap() / 1e6,
            of["rest"].as_f64().unwrap() / 1e6,
        );
    }
    println!("  {:.5} of the bytes of all pods", bytes[0] / bytes[1]);
}

/// Measures writing on a real server.
fn live(kubeconfig: &str) {
    struct Own<'a>(&'a Path);
    impl Drop for Own<'_> {
        fn drop(&mut self) {
            block_on(async { endpoints::clear(&mut mk_store(self.0)).await });
        }
    }
    let own = Own(Path::new(kubeconfig));
    block_on(async {
        let mut store = mk_store(own.0);
        endpoints::clear(&mut store).await;
        endpoints::make(&mut store).await;
    });
    compare_writing("live", kubeconfig);
}

/// Measures writing by all ways, in turns.
fn compare_writing(name: &str, kubeconfig: &str) {
    let (mut ours, mut plain, mut rehearsed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_cost, mut plain_cost) = (Vec::new(), Vec::new());
    let mut memory = 0.0_f64;
    for round in 0..ROUNDS {
        let figures = client(&["ours", kubeconfig, &format!("{round}")]);
        ours.push(figures[0]);
        memory = memory.max(figures[1]);
        rehearsed.push(figures[2]);
        our_cost.push(figures[3]);
        let figures = client(&["bare", kubeconfig]);
        plain.push(figures[0]);
        plain_cost.push(figures[1]);
    }
    let (ours, plain) = (median(ours), median(plain));
    println!("{name}: {ENDPOINTS} labels on host endpoints, median of {ROUNDS} rounds:");
    println!("  ours               {ours:8.0} a second, {memory:.0} MB at most");
    // Every write is tried without effect first, and asked for by kind: not part of the rate.
    println!("  ours, rehearsed    {:8.0} a second", median(rehearsed));
    println!(
        "  bare PATCHes       {plain:8.0} a second: ours is {:.2} of it",
        ours / plain
    );
    println!(
        "  processor time of the client: {:.0} µs for one of ours, {:.0} µs for a bare PATCH",
        median(our_cost),
        median(plain_cost)
    );
    if let Some(kubectl) = kubectl(kubeconfig) {
        println!(
            "  kubectl label loop {kubectl:8.1} a second (from {SAMPLE} runs): ours is {:.0} times as fast",
            ours / kubectl
        );
    }
    let figures = client(&["journal", kubeconfig]);
    println!(
        "  journal            {:8.2} % on top of {:.2} s of a run, {:.2} % on top of {:.2} s of \
         processor time ({:.1} MB)",
        figures[1], figures[0], figures[3], figures[2], figures[4]
    );
    println!(
        "  of writing alone   {:8.2} % on top of {:.2} s",
        figures[6], figures[5]
    );
}

/// Runs a client in a process of its own; the figures that it prints.
fn client(words: &[&str]) -> Vec<f64> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(words)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The double in another process.
struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    dir: PathBuf,
}

impl Server {
    fn start(dir: &Path, words: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .arg(dir)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // It says its URL once it listens.
        stdout.read_line(&mut String::new()).unwrap();
        Self {
            child,
            stdin,
            stdout,
            dir: dir.to_owned(),
        }
    }

    fn kubeconfig(&self) -> String {
        self.dir.join("kubeconfig").to_str().unwrap().to_owned()
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.stdin, "{what}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server: prints its URL, then answers questions until nobody asks any more.
fn serve(dir: &Path, with_pods: bool) {
    let v1 = std::env::args().any(|word| word == "v1");
    let (shape, version) = if v1 {
        (Shape::LegacyV1, "v3.28.5")
    } else {
        (Shape::NativeV3, "v3.32.1")
    };
    let double = Double::builder(shape).calico(version).start();
    double.kubeconfig_with(dir, &Credentials::Token(ADMIN_TOKEN.into()));
    let version = version.parse().unwrap();
    double.load((0..ENDPOINTS).map(|n| {
        let hep = endpoints::mk(n);
        if v1 {
            calicoctl_protect::calico::v1::create(&hep, version)
        } else {
            hep.into_value()
        }
    }));
    if with_pods {
        double.load((0..NODES).map(mk_node));
        double.load((0..PODS).map(mk_pod));
    }
    println!("{}", double.url());
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.as_str() {
            "reset" => double.reset_journal(),
            "counters" => {
                let counters = double.counters();
                println!(
                    "{} connections in all, {} requests at once at most",
                    counters.connections, counters.max_in_flight
                );
                continue;
            }
            _ => {}
        }
        let counters = double.counters();
        let of = |pods: bool| {
            let chosen = counters
                .bytes
                .iter()
                .filter(|(path, _)| path.ends_with("/pods") == pods);
            chosen.map(|(_, bytes)| bytes).sum::<usize>()
        };
        println!("{}", json!({"pods": of(true), "rest": of(false)}));
    }
}

fn mk_node(n: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("node-{n}"), "labels": {
            "kubernetes.io/hostname": format!("node-{n}"), "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": format!("z{}", n % 3)},
            "annotations": {"projectcalico.org/IPv4Address": format!("10.{}.{}.7/16", n / 250, n % 250)}},
        "spec": {"podCIDR": format!("172.{}.{}.0/24", 16 + n / 250, n % 250)},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("10.{}.{}.7", n / 250, n % 250)}],
            "images": (0..20).map(|i| json!({"names": [format!("registry.example/image-{i}:v1")], "sizeBytes": 1_000_000})).collect::<Vec<_>>(),
            "nodeInfo": {"kubeletVersion": "v1.33.0", "osImage": "Linux", "kernelVersion": "6.1"}},
    })
}

fn mk_pod(n: usize) -> Value {
    let mut labels =
        json!({"app": format!("app-{}", n % 500), "pod-template-hash": format!("{n:x}")});
    if n.is_multiple_of(PODS / CLIENTS) {
        labels["allowed-etcd-client"] = json!("true");
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{n}"), "namespace": format!("ns-{}", n % 100), "labels": labels},
        "spec": {"nodeName": format!("node-{}", n % NODES), "serviceAccountName": "default",
            "containers": [{"name": "main", "image": "registry.example/image-1:v1",
                "ports": [{"containerPort": 8080}], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets", "readOnly": true}]}],
            "volumes": [{"name": "token", "projected": {"defaultMode": 420}}]},
        "status": {"phase": "Running", "podIP": format!("172.16.{}.{}", n / 250 % 250, n % 250),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}

fn mk_store(kubeconfig: &Path) -> KubernetesStore {
    let config = KubernetesConfig {
        kubeconfig: Kubeconfig::Files(vec![kubeconfig.to_owned()]),
        ..KubernetesConfig::default()
    };
    KubernetesStore::new(config, Limits::default())
}

/// Labels all host endpoints through the store: rate, peak of memory in MB, and the rate of the
/// rehearsal before; then microseconds of processor time for each write.
async fn ours(kubeconfig: &Path, value: &str) {
    let mut store = mk_store(kubeconfig);
    let wanted = endpoints::wanted();
    let snapshot = store.read(&wanted).await.unwrap();
    let batch: Vec<Write> = endpoints::of(&snapshot)
        .map(|stored| Write::Update {
            id: stored.object.id().clone(),
            edits: vec![FieldEdit::Set {
                path: FieldPath::of(["metadata", "labels", "ours"]),
                value: json!(value),
            }],
            revision: Some(stored.revision.clone()),
        })
        .collect();
    assert_eq!(batch.len(), ENDPOINTS);
    let started = Instant::now();
    store.preflight(&batch).await.unwrap();
    let rehearsed = rate(started.elapsed());
    let (started, before) = (Instant::now(), Cost::now());
    let mut done = 0;
    store
        .write(&batch, &AtomicBool::new(false), &mut |_| done += 1)
        .await
        .unwrap();
    assert_eq!(done, ENDPOINTS);
    let (took, cost) = (started.elapsed(), before.since().each());
    println!("{} {} {rehearsed} {cost}", rate(took), peak());
}

/// Labels all host endpoints without a journal and with one, by turns, each pair in the other order
/// than the last: a run as a command makes it, with the rehearsal before and the reading back behind.
/// Prints the median of its seconds without a journal, and of what a journal adds in percent: by the
/// clock, then of processor time; the size of the last journal in MB; and by the clock the same of the
/// writing alone. Planning and proofs are left out, so the share of a whole command is smaller.
async fn journal(kubeconfig: &Path) {
    let mut store = mk_store(kubeconfig);
    let wanted = endpoints::wanted();
    let root = tempfile::tempdir().unwrap();
    let (mut runs, mut writing, mut size) = (Pairs::default(), Pairs::default(), 0);
    for round in 0..ROUNDS * 3 {
        let mut took = [(Cost::default(), Cost::default()); 2];
        for turn in [round % 2, 1 - round % 2] {
            let snapshot = store.read(&wanted).await.unwrap();
            let plan = labels(&snapshot, &format!("journal-{round}-{turn}"));
            let never = AtomicBool::new(false);
            let begun = Cost::now();
            let writes: Vec<Write> = plan.changes.iter().map(Change::write).collect();
            store.preflight(&writes).await.unwrap();
            let before = Cost::now();
            let mut kept = None;
            if turn == 0 {
                for batch in plan.batches() {
                    let batch: Vec<Write> = batch.iter().map(Change::write).collect();
                    store.write(&batch, &never, &mut |_| ()).await.unwrap();
                }
            } else {
                let folder = Folder::of(root.path(), &plan.datastore);
                folder.make().unwrap();
                let mut journal = Journal::begin(&folder, header(&plan)).unwrap();
                let steps: Vec<usize> = (0..plan.changes.len()).collect();
                let outcome =
                    apply::run(&plan, &wanted, &steps, &mut store, &mut journal, &never).await;
                assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
                kept = Some((folder, journal));
            }
            let mut alone = before.since();
            let stored = store.read(&wanted).await.unwrap();
            assert_eq!(endpoints::of(&stored).count(), ENDPOINTS);
            if let Some((folder, mut journal)) = kept {
                let before = Cost::now();
                (0..plan.changes.len()).for_each(|step| journal.read_back(step));
                journal.end(End::Done, None).unwrap();
                alone = alone.and(before.since());
                size = std::fs::metadata(folder.file(journal.id())).unwrap().len();
            }
            took[turn] = (begun.since(), alone);
        }
        let [plain, with] = took;
        runs.push(plain.0, with.0);
        writing.push(plain.1, with.1);
    }
    let clock = |costs: &[Cost]| median(costs.iter().map(|cost| cost.clock).collect());
    let processor = |costs: &[Cost]| median(costs.iter().map(|cost| cost.processor).collect());
    println!(
        "{} {} {} {} {} {} {}",
        clock(&runs.without),
        clock(&runs.added),
        processor(&runs.without),
        processor(&runs.added),
        size as f64 / 1e6,
        clock(&writing.without),
        clock(&writing.added),
    );
}

/// What runs cost without a journal, and what one adds in percent.
#[derive(Default)]
struct Pairs {
    without: Vec<Cost>,
    added: Vec<Cost>,
}

impl Pairs {
    fn push(&mut self, without: Cost, with: Cost) {
        let percent = |with: f64, without: f64| (with / without - 1.0) * 100.0;
        self.without.push(without);
        self.added.push(Cost {
            clock: percent(with.clock, without.clock),
            processor: percent(with.processor, without.processor),
        });
    }
}

/// Seconds by the clock, and of processor time of the only thread that works here; 0 where the system
/// does not tell.
#[derive(Clone, Copy, Default)]
struct Cost {
    clock: f64,
    processor: f64,
}

impl Cost {
    /// Since some moment.
    fn now() -> Self {
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanoseconds = told.split(' ').next().and_then(|n| n.parse::<f64>().ok());
        Self {
            clock: BEGIN.elapsed().as_secs_f64(),
            processor: nanoseconds.unwrap_or_default() / 1e9,
        }
    }

    /// Microseconds of processor time for each of the endpoints.
    fn each(self) -> f64 {
        self.processor * 1e6 / ENDPOINTS as f64
    }

    fn and(self, more: Self) -> Self {
        Self {
            clock: self.clock + more.clock,
            processor: self.processor + more.processor,
        }
    }

    fn since(self) -> Self {
        let now = Self::now();
        Self {
            clock: now.clock - self.clock,
            processor: now.processor - self.processor,
        }
    }
}

/// A plan that labels every host endpoint.
fn labels(snapshot: &Snapshot, value: &str) -> Plan {
    let changes = endpoints::of(snapshot).map(|stored| {
        let mut after = stored.object.clone();
        after.set_label("ours", value);
        Change {
            stage: Stage::Clients,
            id: after.id().clone(),
            edits: diff(stored.object.value(), after.value()),
            before: Some(stored.object.clone()),
            after: Some(after),
            why: vec!["lets it in".to_owned()],
            place: Some(stored.place.clone()),
            revision: Some(stored.revision.clone()),
            owners: Vec::new(),
        }
    });
    let changes: Vec<Change> = changes.collect();
    assert_eq!(changes.len(), ENDPOINTS);
    Plan {
        datastore: snapshot.datastore.clone(),
        changes,
        notes: Vec::new(),
    }
}

fn header(plan: &Plan) -> Header {
    let started = jiff::Timestamp::now();
    Header {
        format_version: apply::journal::FORMAT_VERSION.to_owned(),
        id: RunId::at(started),
        started,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        by: Actor::this(&[]),
        datastore: plan.datastore.clone(),
        undoes: None,
        confirm_within: None,
        waivers: Waivers::default(),
        before: Waivers::default(),
        kept: 0,
        steps: plan.changes.clone(),
    }
}

/// The same patches from a client that does nothing else: no version, no look at the answer.
async fn bare(kubeconfig: &Path) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = std::fs::read_to_string(kubeconfig).unwrap();
    let config: Value = serde_yaml::from_str(&config).unwrap();
    let text = |pointer| config.pointer(pointer).and_then(Value::as_str).unwrap();
    let url = text("/clusters/0/cluster/server");
    let token = text("/users/0/user/token");
    let ca = std::fs::read(text("/clusters/0/cluster/certificate-authority")).unwrap();
    let ca = reqwest::Certificate::from_pem(&ca).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .build()
        .unwrap();
    let v1 = client
        .get(format!("{url}/apis/projectcalico.org/v3"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .status()
        .is_client_error();
    let group = if v1 {
        "crd.projectcalico.org/v1"
    } else {
        "projectcalico.org/v3"
    };
    let value = std::process::id().to_string();
    let patch = json!({"metadata": {"labels": {"bare": value}}}).to_string();
    let (started, before) = (Instant::now(), Cost::now());
    let sent = stream::iter(0..ENDPOINTS).map(|n| {
        client
            .patch(format!(
                "{url}/apis/{group}/hostendpoints/{}?fieldManager=bare",
                endpoints::name(n)
            ))
            .bearer_auth(token)
            .header("content-type", "application/merge-patch+json")
            .body(patch.clone())
            .send()
    });
    let mut answers = sent.buffer_unordered(IN_FLIGHT);
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    println!("{} {}", rate(started.elapsed()), before.since().each());
}

fn rate(took: Duration) -> f64 {
    ENDPOINTS as f64 / took.as_secs_f64()
}

/// Labels a second of a loop of `kubectl label`, where there is a kubectl.
fn kubectl(kubeconfig: &str) -> Option<f64> {
    let started = Instant::now();
    for n in 0..SAMPLE {
        let status = Command::new("kubectl")
            .args([
                "--kubeconfig",
                kubeconfig,
                "label",
                "--overwrite",
                "hostendpoints",
            ])
            .arg(endpoints::name(n))
            .arg(format!("kubectl=x{n}"))
            .stdout(Stdio::null())
            .status();
        if !status.ok()?.success() {
            return None;
        }
    }
    Some(SAMPLE as f64 / started.elapsed().as_secs_f64())
}

/// Reads what `grant etcd` needs, or all pods: seconds, and peak of memory in MB.
async fn read(kubeconfig: &Path, pods: &str) {
    let mut store = mk_store(kubeconfig);
    let question = match pods {
        "all" => Question::of_anybody(),
        _ => Question::of(Some(&"etcd".parse().unwrap())),
    };
    let wanted = question.wanted();
    let started = Instant::now();
    let snapshot = store.read(&wanted).await.unwrap();
    let took = started.elapsed();
    let found = snapshot.of(Kind::Pod).count();
    assert_eq!(found, if pods == "all" { PODS } else { CLIENTS });
    println!("{} {}", took.as_secs_f64(), peak());
}

/// The most memory that this process ever had, in MB; 0 where the system does not tell.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kb.unwrap_or_default() / 1024.0
}
