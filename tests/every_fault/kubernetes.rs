//! Kubernetes: each write is killed before and after it takes effect, refused, or lost.

use std::process::{Child, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::store::config::{Kubeconfig, KubernetesConfig};
use calicoctl_protect::store::kubernetes::{KubernetesStore, Limits};
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store, Wanted, Write};
use serde_json::Value;
use tempfile::TempDir;

use crate::command::Run;
use crate::disk::{self, OF_JOURNAL};
use crate::double::{Double, Fault, Shape, When};
use crate::field::{Field, Home, State};
use crate::inside;
use crate::judge::{Ends, Tally, judge, shut};
use crate::scenarios::{KUBERNETES, Scenario, chosen};

/// A cluster behind an API server.
struct Cluster {
    double: Double,
    folder: TempDir,
    version: &'static str,
}

impl Cluster {
    fn of(shape: Shape, version: &'static str, objects: Vec<Value>) -> Self {
        let double = Double::builder(shape)
            .calico(version)
            .bare()
            .plain()
            .start();
        double.load(objects);
        let folder = tempfile::tempdir().unwrap();
        double.token("operator-token", "operator", &[crate::double::MASTERS]);
        double.kubeconfig_with(
            folder.path(),
            &crate::double::Credentials::Token("operator-token".into()),
        );
        Self {
            double,
            folder,
            version,
        }
    }

    /// The sample cluster, its Calico objects written as this store writes them.
    fn sample(shape: Shape, version: &'static str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/clusters/kubeadm");
        let read =
            |mut store: Manifests| block_on(async move { store.read(&Wanted::everything()).await });
        let snapshot = read(Manifests::open(folder.as_ref()).unwrap()).unwrap();
        let (calico, core): (Vec<_>, Vec<_>) = snapshot
            .all()
            .map(|stored| stored.object.clone())
            .partition(|object| object.id().kind.is_calico());
        let double = Double::builder(shape).calico(version).start();
        double.load(core.iter().map(|object| object.value().clone()));
        let cluster = Self::of(shape, version, double.everything());
        let served = |write: &Write| {
            !matches!(write.id().kind.name(), "ClusterInformation")
                && write.id().name != "default-tier"
        };
        let writes: Vec<Write> = calico
            .into_iter()
            .map(Write::Create)
            .filter(served)
            .collect();
        let mut store = cluster.store();
        block_on(async {
            store.read(&Wanted::everything()).await.unwrap();
            store
                .write(&writes, &AtomicBool::new(false), &mut |_| ())
                .await
                .unwrap();
        });
        cluster
    }

    fn store(&self) -> KubernetesStore {
        self.store_with(Limits::default())
    }

    fn store_with(&self, limits: Limits) -> KubernetesStore {
        let config = KubernetesConfig {
            kubeconfig: Kubeconfig::Files(vec![self.folder.path().join("kubeconfig")]),
            ..KubernetesConfig::default()
        };
        KubernetesStore::new(config, limits)
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

impl Field for Cluster {
    fn arguments(&self) -> Vec<String> {
        let kubeconfig = self.folder.path().join("kubeconfig");
        vec!["--kubeconfig".into(), kubeconfig.to_str().unwrap().into()]
    }

    fn state(&self) -> State {
        self.double.everything().into_iter().map(plain).collect()
    }

    fn snapshot(&self) -> Snapshot {
        block_on(async { self.store().read(&Wanted::everything()).await.unwrap() })
    }
}

/// An object without what the server keeps for itself.
fn plain(mut object: Value) -> (String, String) {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in [
        "resourceVersion",
        "managedFields",
        "generation",
        "uid",
        "creationTimestamp",
    ] {
        metadata.remove(field);
    }
    // The metadata that v1 CRDs keep in an annotation holds the same.
    if let Some(Value::String(text)) = metadata
        .get_mut("annotations")
        .and_then(|a| a.get_mut("projectcalico.org/metadata"))
    {
        let mut kept: Value = serde_json::from_str(text).unwrap();
        for field in ["uid", "creationTimestamp"] {
            kept.as_object_mut().unwrap().remove(field);
        }
        *text = kept.to_string();
    }
    let name = |field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let id = format!(
        "{} {}/{}",
        object["kind"].as_str().unwrap_or_default(),
        name("namespace"),
        name("name")
    );
    object.sort_all_objects();
    (id, serde_json::to_string_pretty(&object).unwrap())
}

/// What happens to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    KilledBefore,
    KilledAfter,
    Interrupted,
    Conflict,
    TooMany,
    Internal,
    Unavailable,
    TornBefore,
    AnswerLost,
    TokenExpired,
    /// No answer within the deadline, and no effect.
    Late,
    /// No answer within the deadline, though it took effect.
    LateAfter,
    /// No answer to any further write.
    Silent,
}

const WEATHER: [Weather; 13] = [
    Weather::KilledBefore,
    Weather::KilledAfter,
    Weather::Interrupted,
    Weather::Conflict,
    Weather::TooMany,
    Weather::Internal,
    Weather::Unavailable,
    Weather::TornBefore,
    Weather::AnswerLost,
    Weather::TokenExpired,
    Weather::Late,
    Weather::LateAfter,
    Weather::Silent,
];

impl Weather {
    /// Runs the command with the k-th write in this weather.
    fn strike(self, home: &Home, cluster: &Cluster, line: &str, k: usize) -> Run {
        let nth = When::write().nth(k);
        let (when, fault) = match self {
            Self::KilledBefore | Self::Late => (nth, Fault::StallBefore),
            Self::KilledAfter | Self::LateAfter => (nth, Fault::StallAfter),
            Self::Silent => (When::write().from(k), Fault::StallBefore),
            Self::Interrupted => (nth, Fault::Slow(Duration::from_millis(300))),
            Self::Conflict => (nth, Fault::Conflict),
            Self::TooMany => (
                nth,
                Fault::FlowControl {
                    retry_after: Some(0),
                },
            ),
            Self::Internal => (nth, Fault::Internal),
            Self::Unavailable => (nth, Fault::Unavailable),
            Self::TornBefore => (nth, Fault::CutBefore),
            Self::AnswerLost => (nth, Fault::CutAfter),
            Self::TokenExpired => (When::write().from(k), Fault::Unauthorized),
        };
        cluster.double.fault(when, fault);
        let run = match self {
            Self::KilledBefore | Self::KilledAfter => {
                let mut child = spawn(home, cluster, line);
                wait(&mut child, || cluster.double.stalled() > 0);
                child.kill().unwrap();
                Run::from(child.wait_with_output().unwrap())
            }
            Self::Interrupted => {
                let mut child = spawn(home, cluster, line);
                let writes = || {
                    cluster
                        .double
                        .requests()
                        .iter()
                        .filter(|r| r.is_write())
                        .count()
                };
                wait(&mut child, || writes() >= k);
                interrupt(&child);
                Run::from(child.wait_with_output().unwrap())
            }
            Self::Late | Self::LateAfter | Self::Silent => {
                let impatient = Limits {
                    answer: Duration::from_millis(500),
                    tries: 2,
                    ..Limits::default()
                };
                block_on(inside::run(home, &mut cluster.store_with(impatient), line))
            }
            _ => home.run(cluster, line),
        };
        cluster.double.clear_faults();
        run
    }
}

fn spawn(home: &Home, cluster: &Cluster, line: &str) -> Child {
    let mut command = home.command(cluster, line);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until something has happened or the process has ended.
fn wait(child: &mut Child, happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !happened() && child.try_wait().unwrap().is_none() {
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "nothing happens"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ctrl-C.
fn interrupt(child: &Child) {
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.is_ok());
}

fn try_scenario(scenario: &Scenario, start: &Cluster, shape: Shape, tally: &mut Tally) {
    let elsewhere = Home::new();
    for line in scenario.before {
        elsewhere.does(start, &format!("{line} --yes"));
    }
    let objects = start.double.everything();
    let command = format!("{} --yes", scenario.command);
    let cluster = || Cluster::of(shape, start.version, objects.clone());
    let undisturbed = cluster();
    let begin = undisturbed.state();
    let shut = shut(&undisturbed.snapshot());
    undisturbed.double.reset_journal();
    let home = Home::new();
    home.does(&undisturbed, &command);
    let ends = Ends {
        start: begin,
        shut,
        end: undisturbed.state(),
    };
    let requests = undisturbed.double.requests();
    let writes = requests.iter().filter(|r| r.is_write()).count();
    assert!(writes > 0, "{}: nothing is written", scenario.name);
    let mut try_point = |point: &str, strike: &dyn Fn(&Home, &Cluster) -> Run| {
        let point = format!("{}: {point}", scenario.name);
        tally.try_point(&point, |way| {
            let (home, cluster) = (Home::new(), cluster());
            let run = strike(&home, &cluster);
            judge(&cluster, &home, scenario, &ends, way, &run, &point);
        });
    };
    for weather in WEATHER {
        for k in 1..=writes {
            let point = format!("{weather:?} at write {k} of {writes}");
            try_point(&point, &|home, cluster| {
                weather.strike(home, cluster, &command, k)
            });
        }
    }
    for bytes in disk::cuts(&home) {
        let point = format!("no room for more than {bytes} bytes of the journal");
        try_point(&point, &|home, cluster| {
            disk::cramp(home, cluster, &command, bytes)
        });
    }
    if disk::strace_works() {
        let (_, calls) = disk::count(&Home::new(), &cluster(), &command, &OF_JOURNAL);
        for fault in OF_JOURNAL {
            for k in 1..=calls[fault.name] {
                let point = format!("{}, call {k}", fault.name);
                try_point(&point, &|home, cluster| {
                    disk::strike(home, cluster, &command, k, fault)
                });
            }
        }
    }
}

/// Tries scenarios: all of them on demand, else those from one on.
#[track_caller]
fn try_all(shape: Shape, version: &'static str, from: usize, few: usize, least: usize) {
    let mut tally = Tally::default();
    for scenario in chosen(&KUBERNETES, from, few) {
        let start = Cluster::sample(shape, version);
        try_scenario(&scenario, &start, shape, &mut tally);
    }
    tally.end(&format!("{shape:?} {version}"), least);
}

#[test]
fn on_native_v3() {
    try_all(Shape::NativeV3, "v3.32.1", 0, 1, 50);
}

#[test]
fn on_aggregated_v3() {
    try_all(Shape::AggregatedV3, "v3.30.7", 8, 2, 30);
}

#[test]
fn on_v1_definitions() {
    try_all(Shape::LegacyV1, "v3.30.7", 9, 1, 15);
}
