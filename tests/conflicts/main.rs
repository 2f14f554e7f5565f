//! Another writer comes in between reading and writing: a plan that still means what was shown goes
//! on, any other stops and tells the difference.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod going_on;
mod taking_back;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use calicoctl_protect::apply::{Folder, Record, record};
use calicoctl_protect::calico::edit::apply;
use calicoctl_protect::calico::{
    Datastore, DatastoreKind, Kind, Object, ObjectId, Snapshot, Stored,
};
use calicoctl_protect::cli::args::{Global, LogLevel, PlanFormat, Running};
use calicoctl_protect::cli::error::CliError;
use calicoctl_protect::cli::exit::Exit;
use calicoctl_protect::cli::hint::Typed;
use calicoctl_protect::cli::session::Session;
use calicoctl_protect::cli::ui::{Color, Ui};
use calicoctl_protect::cli::write::{Order, conclude, prepare};
use calicoctl_protect::plan::Course;
use calicoctl_protect::plan::saved::Waivers;
use calicoctl_protect::plugin::called::Called;
use calicoctl_protect::recipe::grant::{Clients, grant};
use calicoctl_protect::recipe::hosts::NodeChoice;
use calicoctl_protect::store::{Store, StoreError, StoreErrorKind, Wanted, Write};
use serde_json::{Value, json};

/// What another writer does to the objects.
type Meddling = Box<dyn Fn(&mut Objects)>;

type Objects = BTreeMap<ObjectId, (Value, u64)>;

/// A store in memory, with revisions, in which somebody else writes at chosen moments.
struct Shared {
    objects: Objects,
    clock: u64,
    /// What happens before the write with this number, counted from zero.
    meddling: Vec<(usize, Meddling)>,
    /// What happens before it is read again, once so many writes were made.
    meddling_before_read: Vec<(usize, Meddling)>,
    writes: usize,
    /// What somebody else changes before every single write.
    restless: Option<ObjectId>,
    /// Whether it gives no answers.
    away: bool,
}

impl Shared {
    fn new(objects: &[Value]) -> Self {
        let read = |value: &Value| {
            let object = Object::new(value.clone()).unwrap();
            (object.id().clone(), (value.clone(), 1))
        };
        Self {
            objects: objects.iter().map(read).collect(),
            clock: 1,
            meddling: Vec::new(),
            meddling_before_read: Vec::new(),
            writes: 0,
            restless: None,
            away: false,
        }
    }

    fn before_write(mut self, number: usize, meddling: impl Fn(&mut Objects) + 'static) -> Self {
        self.meddling.push((number, Box::new(meddling)));
        self
    }

    fn value(&self, kind: Kind, name: &str) -> &Value {
        &self.objects[&ObjectId::global(kind, name)].0
    }

    fn behind_write(mut self, count: usize, meddling: impl Fn(&mut Objects) + 'static) -> Self {
        self.meddling_before_read.push((count, Box::new(meddling)));
        self
    }

    fn meddle(&mut self, reading: bool) {
        let number = self.writes;
        let all = match reading {
            true => &mut self.meddling_before_read,
            false => &mut self.meddling,
        };
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(all)
            .into_iter()
            .partition(|(at, _)| *at == number);
        *all = later;
        for (_, meddling) in now {
            let before = self.objects.clone();
            meddling(&mut self.objects);
            self.clock += 1;
            for (id, (value, revision)) in &mut self.objects {
                if before.get(id).is_none_or(|(old, _)| old != value) {
                    *revision = self.clock;
                }
            }
        }
    }

    fn write_one(&mut self, write: &Write) -> Result<(), StoreError> {
        self.meddle(false);
        if let Some((_, revision)) = self
            .restless
            .as_ref()
            .and_then(|id| self.objects.get_mut(id))
        {
            self.clock += 1;
            *revision = self.clock;
        }
        let id = write.id().clone();
        let stored = self.objects.get(&id).cloned();
        let known = match write {
            Write::Create(_) => None,
            Write::Update { revision, .. } | Write::Delete { revision, .. } => revision.clone(),
        };
        let is = stored.as_ref().map(|(_, revision)| revision.to_string());
        if known.is_some() && known != is || matches!(write, Write::Create(_)) && is.is_some() {
            return Err(StoreError::new(
                StoreErrorKind::Conflict,
                format!("`{id}` has changed since it was read"),
            ));
        }
        self.clock += 1;
        self.writes += 1;
        match write {
            Write::Create(object) => {
                let entry = (object.value().clone(), self.clock);
                self.objects.insert(id, entry);
            }
            Write::Update { edits, .. } => {
                let mut value = stored.unwrap().0;
                apply(&mut value, edits).unwrap();
                self.objects.insert(id, (value, self.clock));
            }
            Write::Delete { .. } => {
                self.objects.remove(&id);
            }
        }
        Ok(())
    }
}

impl Store for Shared {
    async fn read(&mut self, _: &Wanted) -> Result<Snapshot, StoreError> {
        if self.away {
            let error = StoreError::new(StoreErrorKind::Failed, "no connection");
            return Err(error.hint("is it running?"));
        }
        self.meddle(true);
        let datastore = Datastore {
            kind: DatastoreKind::NativeV3,
            location: "memory".into(),
            cluster_guid: Some("g".into()),
            version: "v3.32.1".parse().ok(),
        };
        let stored = self.objects.values().map(|(value, revision)| Stored {
            object: Object::new(value.clone()).unwrap(),
            revision: revision.to_string(),
            place: String::new(),
        });
        Ok(Snapshot::new(datastore, stored.collect::<Vec<_>>()))
    }

    async fn write(
        &mut self,
        batch: &[Write],
        _: &AtomicBool,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        for (index, write) in batch.iter().enumerate() {
            self.write_one(write)?;
            done(index);
        }
        Ok(())
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind,
        "metadata": {"name": name, "labels": {}}, "spec": spec})
}

fn host(name: &str, ip: &str) -> [Value; 2] {
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"projectcalico.org/IPv4Address": format!("{ip}/24")}},
        "status": {"addresses": [{"address": ip, "type": "InternalIP"}]}});
    let spec = json!({"node": name, "interfaceName": "eth0", "expectedIPs": [ip]});
    [node, object("HostEndpoint", &format!("{name}-eth0"), &spec)]
}

fn cluster() -> Shared {
    let mut objects = vec![object(
        "FelixConfiguration",
        "default",
        &json!({"logSeverityScreen": "Info"}),
    )];
    objects.extend(host("m1", "192.0.2.1"));
    objects.extend(host("m2", "192.0.2.2"));
    Shared::new(&objects)
}

/// Lets m1 and m2 in.
fn granting() -> Order {
    granting_to(&["m1", "m2"])
}

fn granting_to(nodes: &[&str]) -> Order {
    let clients = clients(nodes);
    Order::new("grant", Course::Forward, move |draft| {
        grant(draft, &clients)
    })
}

fn clients(nodes: &[&str]) -> Clients {
    Clients {
        server: "etcd".parse().unwrap(),
        nodes: NodeChoice {
            names: nodes.iter().map(|name| (*name).to_owned()).collect(),
            selector: None,
            all: false,
        },
        ips: Vec::new(),
        workloads: Vec::new(),
        nets: Vec::new(),
        net_sets: Vec::new(),
    }
}

/// What came of an order, and the runs of the journal.
fn recorded(order: &Order, store: &mut Shared) -> (Result<Exit, CliError>, Vec<Record>) {
    recorded_within(order, store, None)
}

/// The same of a run that has to be kept within a time.
fn recorded_within(
    order: &Order,
    store: &mut Shared,
    confirm_within: Option<Duration>,
) -> (Result<Exit, CliError>, Vec<Record>) {
    let state = tempfile::tempdir().unwrap();
    let end = ended(order, store, &global(state.path()), confirm_within);
    let folders = Folder::all(state.path()).unwrap();
    let runs = folders.iter().map(|folder| record::all(folder).unwrap());
    (end, runs.flat_map(|runs| runs.known).collect())
}

fn ui() -> Ui {
    Ui::new(Color::Never, true, Typed::by(Called::Bare))
}

/// Options with a journal of the caller's.
fn global(state: &Path) -> Global {
    Global {
        manifests: None,
        config: None,
        context: None,
        kubeconfig: None,
        journal: Some(state.to_owned()),
        log_level: LogLevel::default(),
        calico_version: None,
        color: Color::Never,
        quiet: true,
        allow_version_mismatch: false,
    }
}

fn running(confirm_within: Option<Duration>) -> Running {
    Running {
        dry_run: false,
        detailed_exitcode: false,
        yes: true,
        output: PlanFormat::Text,
        confirm_within,
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

fn ended(
    order: &Order,
    store: &mut Shared,
    global: &Global,
    confirm_within: Option<Duration>,
) -> Result<Exit, CliError> {
    let running = running(confirm_within);
    block_on(async {
        let prepared = prepare(order, store, ui()).await?;
        let waivers = Waivers::default();
        conclude(order, prepared, &waivers, &running, global, store, ui()).await
    })
}

/// Somebody rewrites a label of an endpoint.
fn rewritten(name: &'static str) -> impl Fn(&mut Objects) + 'static {
    move |objects| {
        let (labels, to) = ("/metadata/labels", Some(json!("rewritten")));
        set(objects, Kind::HostEndpoint, name, labels, "theirs", to);
    }
}

/// A session with a run that is written.
fn written(store: &mut Shared, global: &Global) -> Session {
    assert_eq!(ended(&granting(), store, global, None), Ok(Exit::Ok));
    let datastore = block_on(store.read(&Wanted::default())).unwrap().datastore;
    Session::open(global, &datastore).unwrap()
}

fn label(object: &Value, key: &str) -> Option<String> {
    let labels = object.pointer("/metadata/labels")?;
    labels.get(key)?.as_str().map(str::to_owned)
}

/// Sets a field of an object: `None` takes it away.
fn set(objects: &mut Objects, kind: Kind, name: &str, pointer: &str, key: &str, to: Option<Value>) {
    let (value, _) = objects.get_mut(&ObjectId::global(kind, name)).unwrap();
    let map = value.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    match to {
        Some(to) => map.insert(key.into(), to),
        None => map.shift_remove(key),
    };
}
