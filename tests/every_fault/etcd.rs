//! etcd: each transaction is killed before and after it takes effect, refused, or lost.

use std::process::Stdio;
use std::time::{Duration, Instant};

use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::store::config::EtcdConfig;
use calicoctl_protect::store::etcd::Etcd;
use calicoctl_protect::store::{Store, Wanted};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::command::Run;
use crate::etcd_server::{EtcdServer, say};
use crate::field::{Field, Home, State};
use crate::judge::{Ends, Way, judge, shut};
use crate::relay::{Fault, Relay};
use crate::scenarios::{HOSTS, Scenario, chosen};

/// A datastore behind a relay.
struct Datastore {
    runtime: Runtime,
    server: EtcdServer,
    relay: Relay,
    config: tempfile::TempDir,
}

impl Datastore {
    fn start() -> Option<Self> {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(EtcdServer::start())?;
        let relay = runtime.block_on(Relay::to(server.port()));
        let config = tempfile::tempdir().unwrap();
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  \
             datastoreType: etcdv3\n  etcdEndpoints: {}\n",
            relay.url()
        );
        std::fs::write(config.path().join("calicoctl.cfg"), text).unwrap();
        Some(Self {
            runtime,
            server,
            relay,
            config,
        })
    }

    /// Puts exactly these keys there.
    fn reset(&self, pairs: &[(String, Vec<u8>)]) {
        self.runtime.block_on(async {
            let raw = self.server.raw();
            raw.delete_all("/calico/").await;
            raw.put_all(pairs.to_vec()).await;
        });
        self.relay.clear();
    }

    fn pairs(&self) -> Vec<(String, Vec<u8>)> {
        let read = async { self.server.raw().all("/calico/").await };
        let all = self.runtime.block_on(read);
        all.into_iter().map(|kv| (kv.key, kv.value)).collect()
    }
}

impl Field for Datastore {
    fn arguments(&self) -> Vec<String> {
        let file = self.config.path().join("calicoctl.cfg");
        vec!["--config".into(), file.to_str().unwrap().into()]
    }

    fn state(&self) -> State {
        self.pairs().into_iter().map(plain).collect()
    }

    fn snapshot(&self) -> Snapshot {
        let config = EtcdConfig {
            endpoints: vec![self.server.url()],
            ..EtcdConfig::default()
        };
        self.runtime.block_on(async {
            let mut store = Etcd::connect(&config).await.unwrap();
            store.read(&Wanted::everything()).await.unwrap()
        })
    }
}

/// A value without what a client makes anew for a new object.
fn plain((key, value): (String, Vec<u8>)) -> (String, String) {
    let Ok(mut object) = serde_json::from_slice::<Value>(&value) else {
        return (key, String::from_utf8(value).unwrap());
    };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("uid");
        metadata.remove("creationTimestamp");
    }
    (key, serde_json::to_string_pretty(&object).unwrap())
}

fn sample() -> Vec<(String, Vec<u8>)> {
    let dump = include_str!("../data/etcd/dump.jsonl");
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let value = match &row["value"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (row["key"].as_str().unwrap().to_owned(), value.into_bytes())
    };
    dump.lines().map(row).collect()
}

const FAULTS: [(&str, Fault); 8] = [
    ("killed before", Fault::StallBefore),
    ("killed after", Fault::StallAfter),
    ("torn before", Fault::CutBefore),
    ("answer lost", Fault::CutAfter),
    ("unavailable", Fault::Refuse(14, "etcdserver: no leader")),
    (
        "time-out",
        Fault::Refuse(14, "etcdserver: request timed out"),
    ),
    (
        "space",
        Fault::Refuse(8, "etcdserver: mvcc: database space exceeded"),
    ),
    (
        "token expired",
        Fault::Refuse(16, "etcdserver: invalid auth token"),
    ),
];

fn strike(home: &Home, store: &Datastore, line: &str, k: usize, fault: Fault) -> Run {
    store.relay.fault(k, fault);
    let run = if matches!(fault, Fault::StallBefore | Fault::StallAfter) {
        let mut command = home.command(store, line);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while store.relay.stalled() == 0 && child.try_wait().unwrap().is_none() {
            assert!(
                begin.elapsed() < Duration::from_secs(120),
                "nothing happens"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        Run::from(child.wait_with_output().unwrap())
    } else {
        home.run(store, line)
    };
    store.relay.clear();
    run
}

fn try_scenario(store: &Datastore, scenario: &Scenario) -> usize {
    store.reset(&sample());
    let elsewhere = Home::new();
    for line in scenario.before {
        elsewhere.does(store, &format!("{line} --yes"));
    }
    let (start, pairs) = (store.state(), store.pairs());
    let shut = shut(&store.snapshot());
    let command = format!("{} --yes", scenario.command);
    store.relay.clear();
    Home::new().does(store, &command);
    let transactions = store.relay.transactions();
    assert!(transactions > 0, "{}: nothing is written", scenario.name);
    let ends = Ends {
        end: store.state(),
        start,
        shut,
    };
    let mut points = 0;
    for (name, fault) in FAULTS {
        for k in 1..=transactions {
            for way in Way::BOTH {
                let point = format!("{name} at transaction {k} of {transactions}");
                store.reset(&pairs);
                let home = Home::new();
                let run = strike(&home, store, &command, k, fault);
                judge(store, &home, scenario, &ends, way, &run, &point);
                points += 1;
            }
        }
    }
    points
}

#[test]
fn on_etcd() {
    let Some(store) = Datastore::start() else {
        return;
    };
    let points: usize = chosen(&HOSTS, 1)
        .iter()
        .map(|s| try_scenario(&store, s))
        .sum();
    say(&format!("etcd: {points} points of disturbance tried"));
    assert!(points > 10, "only {points} points");
}
