//! etcd: each transaction is killed before and after it takes effect, refused, or lost.

use std::process::Stdio;
use std::time::{Duration, Instant};

use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::store::config::EtcdConfig;
use calicoctl_protect::store::etcd::{Etcd, Patience};
use calicoctl_protect::store::{Store, Wanted};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::command::Run;
use crate::disk::{self, OF_JOURNAL};
use crate::etcd_server::EtcdServer;
use crate::field::{Field, Home, State};
use crate::inside;
use crate::judge::{Ends, Tally, judge, shut};
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
        let relay = runtime.block_on(async { Relay::to(server.port(), server.raw()).await });
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

/// How the command meets what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It is killed once it waits for an answer.
    Killed,
    /// It soon gives up waiting.
    Impatient,
    /// It does what it always does.
    Usual,
}

const FAULTS: [(&str, Fault, How); 13] = [
    ("killed before", Fault::StallBefore, How::Killed),
    ("killed after", Fault::StallAfter, How::Killed),
    ("late", Fault::StallBefore, How::Impatient),
    ("late after", Fault::StallAfter, How::Impatient),
    ("torn before", Fault::CutBefore, How::Usual),
    ("answer lost", Fault::CutAfter, How::Usual),
    ("another writer before", Fault::Touch, How::Usual),
    (
        "too many requests",
        Fault::Refuse(8, "etcdserver: too many requests"),
        How::Usual,
    ),
    (
        "internal error",
        Fault::Refuse(13, "something went wrong"),
        How::Usual,
    ),
    (
        "unavailable",
        Fault::Refuse(14, "etcdserver: no leader"),
        How::Usual,
    ),
    (
        "time-out in etcd",
        Fault::Refuse(14, "etcdserver: request timed out"),
        How::Usual,
    ),
    (
        "no room in etcd",
        Fault::Refuse(8, "etcdserver: mvcc: database space exceeded"),
        How::Usual,
    ),
    (
        "token expired",
        Fault::Refuse(16, "etcdserver: invalid auth token"),
        How::Usual,
    ),
];

fn strike(home: &Home, store: &Datastore, line: &str, k: usize, fault: Fault, how: How) -> Run {
    store.relay.fault(k, fault);
    let run = match how {
        How::Killed => {
            let mut command = home.command(store, line);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let begin = Instant::now();
            while store.relay.stalled() == 0 && child.try_wait().unwrap().is_none() {
                let waited = begin.elapsed();
                assert!(waited < Duration::from_secs(120), "nothing happens");
                std::thread::sleep(Duration::from_millis(2));
            }
            child.kill().unwrap();
            Run::from(child.wait_with_output().unwrap())
        }
        How::Impatient => store.runtime.block_on(async {
            let config = EtcdConfig {
                endpoints: vec![store.relay.url()],
                ..EtcdConfig::default()
            };
            let patience = Patience {
                answer: Duration::from_millis(500),
                ..Patience::default()
            };
            let mut impatient = Etcd::connect_with(&config, patience).await.unwrap();
            inside::run(home, &mut impatient, line).await
        }),
        How::Usual => home.run(store, line),
    };
    store.relay.clear();
    run
}

fn try_scenario(store: &Datastore, scenario: &Scenario, tally: &mut Tally) {
    store.reset(&sample());
    let elsewhere = Home::new();
    for line in scenario.before {
        elsewhere.does(store, &format!("{line} --yes"));
    }
    let (start, pairs) = (store.state(), store.pairs());
    let shut = shut(&store.snapshot());
    let command = format!("{} --yes", scenario.command);
    store.relay.clear();
    let home = Home::new();
    home.does(store, &command);
    let transactions = store.relay.transactions();
    assert!(transactions > 0, "{}: nothing is written", scenario.name);
    let ends = Ends {
        end: store.state(),
        start,
        shut,
    };
    let mut try_point = |point: &str, strike: &dyn Fn(&Home) -> Run| {
        let point = format!("{}: {point}", scenario.name);
        tally.try_point(&point, |way| {
            store.reset(&pairs);
            let home = Home::new();
            let run = strike(&home);
            judge(store, &home, scenario, &ends, way, &run, &point);
        });
    };
    for (name, fault, how) in FAULTS {
        for k in 1..=transactions {
            let point = format!("{name} at transaction {k} of {transactions}");
            try_point(&point, &|home| strike(home, store, &command, k, fault, how));
        }
    }
    for bytes in disk::cuts(&home) {
        let point = format!("no room for more than {bytes} bytes of the journal");
        try_point(&point, &|home| disk::cramp(home, store, &command, bytes));
    }
    if disk::strace_works() {
        store.reset(&pairs);
        let (_, calls) = disk::count(&Home::new(), store, &command, &OF_JOURNAL);
        for fault in OF_JOURNAL {
            for k in 1..=calls[fault.name] {
                let point = format!("{}, call {k}", fault.name);
                try_point(&point, &|home| {
                    disk::strike(home, store, &command, k, fault)
                });
            }
        }
    }
}

#[test]
fn on_etcd() {
    let Some(store) = Datastore::start() else {
        return;
    };
    let mut tally = Tally::default();
    for scenario in chosen(&HOSTS, 0, 1) {
        try_scenario(&store, &scenario, &mut tally);
    }
    tally.end("etcd", 30);
}
