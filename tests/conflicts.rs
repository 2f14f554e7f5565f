//! Another writer comes in between reading and writing: a plan that still means what was shown goes
//! on, any other stops and tells the difference.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use calicoctl_protect::apply::{Folder, Record, State, record};
use calicoctl_protect::calico::edit::apply;
use calicoctl_protect::calico::{
    Datastore, DatastoreKind, Kind, Object, ObjectId, Snapshot, Stored,
};
use calicoctl_protect::cli::args::{Global, LogLevel, PlanFormat, Running};
use calicoctl_protect::cli::error::CliError;
use calicoctl_protect::cli::exit::Exit;
use calicoctl_protect::cli::hint::Typed;
use calicoctl_protect::cli::session::Session;
use calicoctl_protect::cli::take_back::take_back;
use calicoctl_protect::cli::ui::{Color, Ui};
use calicoctl_protect::cli::undo::go_through;
use calicoctl_protect::cli::write::{Order, conclude, prepare};
use calicoctl_protect::plan::Course;
use calicoctl_protect::plan::rebase::Precedence;
use calicoctl_protect::plan::replay::{Direction, replay};
use calicoctl_protect::plan::saved::Waivers;
use calicoctl_protect::plugin::called::Called;
use calicoctl_protect::recipe::failsafes::{Failsafes, PortChoice, prune};
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

/// Takes tcp/179 out of the failsafe lists.
fn pruning() -> Order {
    let failsafes = bgp();
    Order::new("prune", Course::Forward, move |draft| {
        prune(draft, &failsafes)
    })
}

fn bgp() -> Failsafes {
    Failsafes {
        ports: vec![PortChoice::Port("tcp/179".parse().unwrap())],
        directions: calicoctl_protect::calico::felix::Direction::BOTH.to_vec(),
        nodes: Vec::new(),
        keep_nets: Vec::new(),
        add: false,
    }
}

/// Lets m1 and m2 in, and takes tcp/179 out of the failsafe lists behind that.
fn granting_and_pruning() -> Order {
    let (clients, failsafes) = (clients(&["m1", "m2"]), bgp());
    Order::new("server", Course::Forward, move |draft| {
        grant(draft, &clients)?;
        prune(draft, &failsafes)
    })
}

fn carried_out(order: &Order, store: &mut Shared) -> Result<Exit, CliError> {
    recorded(order, store).0
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

/// What a store holds, without revisions.
fn contents(store: &Shared) -> BTreeMap<ObjectId, Value> {
    let objects = store.objects.iter();
    objects
        .map(|(id, (value, _))| (id.clone(), value.clone()))
        .collect()
}

/// Takes a run back by what its journal says.
fn taken_back(record: &Record, store: &mut Shared) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let now = runtime.block_on(store.read(&Wanted::everything())).unwrap();
    let (steps, order) = (&record.header.steps, record.back());
    let back = replay(steps, &order, &now, Direction::Back, Precedence::Theirs, "");
    assert_eq!(back.overlaps, []);
    for change in &back.plan.changes {
        store.write_one(&change.write()).unwrap();
    }
}

#[test]
fn a_run_that_was_planned_anew_on_its_way_is_one_run_and_taken_back_as_one() {
    let mut store = cluster().before_write(1, rewritten("m2-eth0"));
    let (end, runs) = recorded(&granting(), &mut store);
    assert_eq!(end, Ok(Exit::Ok));
    let [run] = runs.as_slice() else {
        panic!("{runs:#?}")
    };
    assert_eq!(run.state(), State::Done);
    assert!(run.was_replanned());
    // Each endpoint once, the second as it was planned anew; nothing of the first plan is left over.
    assert_eq!(run.onward(), [0, 2]);
    assert_eq!((&run.done, &run.read), (&[0, 2].into(), &[0, 2].into()));
    assert_eq!(run.intended, [0, 2].into());
    taken_back(run, &mut store);
    let mut start = cluster();
    rewritten("m2-eth0")(&mut start.objects);
    assert_eq!(contents(&store), contents(&start));
}

#[test]
fn a_run_that_met_a_conflict_before_it_wrote_anything_is_one_run_too() {
    let mut store = cluster().before_write(0, rewritten("m1-eth0"));
    let (end, runs) = recorded(&granting(), &mut store);
    assert_eq!(end, Ok(Exit::Ok));
    let [run] = runs.as_slice() else {
        panic!("{runs:#?}")
    };
    assert_eq!((run.state(), run.done.len()), (State::Done, 2));
}

#[test]
fn a_run_whose_rest_another_writer_has_done_is_at_its_end() {
    let mut store = cluster().before_write(1, |objects| {
        let (labels, key) = ("/metadata/labels", "allowed-etcd-client");
        let to = Some(json!("true"));
        set(objects, Kind::HostEndpoint, "m2-eth0", labels, key, to);
    });
    let (end, runs) = recorded(&granting(), &mut store);
    assert_eq!(end, Ok(Exit::Ok));
    let [run] = runs.as_slice() else {
        panic!("{runs:#?}")
    };
    assert_eq!(run.state(), State::Done);
    taken_back(run, &mut store);
    // There is no telling by whose hand the second one got its label.
    assert_eq!(contents(&store), contents(&cluster()));
}

#[test]
fn a_run_that_was_planned_anew_and_is_not_kept_is_taken_back_whole() {
    let mut store = cluster().before_write(1, rewritten("m2-eth0"));
    let window = Some(Duration::from_millis(300));
    let (end, runs) = recorded_within(&granting(), &mut store, window);
    let error = end.unwrap_err();
    assert_eq!(error.exit, Exit::Failed, "{error:?}");
    assert!(error.message.contains("it is taken back"), "{error:?}");
    let states: Vec<State> = runs.iter().map(Record::state).collect();
    assert_eq!(states, [State::Undone, State::Done]);
    let mut start = cluster();
    rewritten("m2-eth0")(&mut start.objects);
    assert_eq!(contents(&store), contents(&start));
}

#[test]
fn another_writer_does_not_stop_a_run_from_being_taken_back() {
    let mut store = cluster()
        .before_write(2, rewritten("m1-eth0"))
        .before_write(3, rewritten("m2-eth0"));
    let window = Some(Duration::from_millis(300));
    let (end, runs) = recorded_within(&granting(), &mut store, window);
    let error = end.unwrap_err();
    assert!(error.message.contains("it is taken back"), "{error:?}");
    let mut start = cluster();
    rewritten("m1-eth0")(&mut start.objects);
    rewritten("m2-eth0")(&mut start.objects);
    assert_eq!(contents(&store), contents(&start));
    assert_eq!(runs[0].state(), State::Undone);
    let open = |run: &&Record| run.state() == State::Partly;
    assert_eq!(runs.iter().filter(open).count(), 0, "{runs:#?}");
}

#[test]
fn taking_back_ends_where_another_writer_never_rests() {
    let mut store = cluster();
    let state = tempfile::tempdir().unwrap();
    let session = written(&mut store, &global(state.path()));
    let id = session.folder.runs().unwrap()[0];
    store.restless = Some(ObjectId::global(Kind::HostEndpoint, "m2-eth0"));
    let error = block_on(take_back(id, &session, &mut store, ui())).unwrap_err();
    assert_eq!(error.exit, Exit::Partly, "{error:?}");
    let words = format!("run {id} is written and could not be taken back: ");
    assert!(error.message.starts_with(&words), "{error:?}");
    assert_eq!(error.hint, Some(format!("`undo {id}` tries again")));
}

#[test]
fn a_cluster_that_does_not_come_back_in_time_is_left_to_be_taken_back_by_hand() {
    let mut store = cluster();
    let state = tempfile::tempdir().unwrap();
    let mut session = written(&mut store, &global(state.path()));
    let id = session.folder.runs().unwrap()[0];
    let whole = contents(&store);
    session.patience = Duration::from_millis(50);
    store.away = true;
    let error = block_on(take_back(id, &session, &mut store, ui())).unwrap_err();
    assert_eq!(error.exit, Exit::Partly, "{error:?}");
    let words = format!("run {id} is written and could not be taken back: no connection");
    assert_eq!(error.message, words);
    let hint = format!("`undo {id}` tries again; is it running?");
    assert_eq!(error.hint, Some(hint));
    assert_eq!(contents(&store), whole);
    store.away = false;
    let error = block_on(take_back(id, &session, &mut store, ui())).unwrap_err();
    assert!(error.message.contains("it is taken back"), "{error:?}");
    assert_eq!(contents(&store), contents(&cluster()));
}

/// Undoes the last run.
fn undone(store: &mut Shared, global: &Global) -> Result<Exit, CliError> {
    let (which, running) = ((Direction::Back, None, None), running(None));
    let undo = go_through(which, &running, Waivers::default(), global, store, ui());
    block_on(undo)
}

#[test]
fn another_writer_does_not_stop_an_undo_that_means_the_same() {
    for at in [0, 1] {
        let mut store = cluster();
        let state = tempfile::tempdir().unwrap();
        let global = global(state.path());
        assert_eq!(ended(&granting(), &mut store, &global, None), Ok(Exit::Ok));
        // Undo begins with the last one.
        let name = ["m2-eth0", "m1-eth0"][at];
        store = store.before_write(2 + at, rewritten(name));
        assert_eq!(undone(&mut store, &global), Ok(Exit::Ok), "{name}");
        let mut start = cluster();
        rewritten(name)(&mut start.objects);
        assert_eq!(contents(&store), contents(&start));
        let folder = &Folder::all(state.path()).unwrap()[0];
        let runs = record::all(folder).unwrap().known;
        let states: Vec<State> = runs.iter().map(Record::state).collect();
        assert_eq!(states, [State::Undone, State::Done], "one run is one undo");
        // The undo is taken back as one, too.
        taken_back(&runs[1], &mut store);
        for object in ["m1-eth0", "m2-eth0"] {
            let endpoint = store.value(Kind::HostEndpoint, object);
            assert!(label(endpoint, "allowed-etcd-client").is_some());
        }
    }
}

#[test]
fn an_undo_stops_where_others_change_the_same_in_between() {
    let mut store = cluster();
    let state = tempfile::tempdir().unwrap();
    let global = global(state.path());
    assert_eq!(ended(&granting(), &mut store, &global, None), Ok(Exit::Ok));
    store = store.before_write(2, |objects| {
        let (labels, key) = ("/metadata/labels", "allowed-etcd-client");
        let to = Some(json!("theirs"));
        set(objects, Kind::HostEndpoint, "m2-eth0", labels, key, to);
    });
    let before = store.value(Kind::HostEndpoint, "m1-eth0").clone();
    let error = undone(&mut store, &global).unwrap_err();
    assert_eq!(error.exit, Exit::Conflict, "{error:?}");
    assert_eq!(error.message, "others have changed the same meanwhile");
    let line = "HostEndpoint/m2-eth0: metadata.labels.allowed-etcd-client is \"theirs\", and would become nothing";
    assert_eq!(error.detail, [line]);
    assert_eq!(*store.value(Kind::HostEndpoint, "m1-eth0"), before);
}

#[test]
fn another_writer_does_not_stop_a_run_from_being_gone_on_with() {
    let mut store = cluster().before_write(1, |objects| {
        let at = ObjectId::global(Kind::HostEndpoint, "m2-eth0");
        objects.remove(&at);
    });
    let state = tempfile::tempdir().unwrap();
    let global = global(state.path());
    let half = ended(&granting(), &mut store, &global, None).unwrap_err();
    assert_eq!(half.exit, Exit::Partly, "{half:?}");
    let [_, endpoint] = host("m2", "192.0.2.2");
    let id = ObjectId::global(Kind::HostEndpoint, "m2-eth0");
    store.objects.insert(id, (endpoint, 9));
    store.clock = 10;
    store = store.before_write(1, rewritten("m2-eth0"));
    let (which, running) = ((Direction::Onward, half.run, None), running(None));
    let onward = go_through(
        which,
        &running,
        Waivers::default(),
        &global,
        &mut store,
        ui(),
    );
    assert_eq!(block_on(onward), Ok(Exit::Ok));
    let endpoint = store.value(Kind::HostEndpoint, "m2-eth0");
    assert_eq!(
        label(endpoint, "allowed-etcd-client").as_deref(),
        Some("true")
    );
    assert_eq!(label(endpoint, "theirs").as_deref(), Some("rewritten"));
    let folder = &Folder::all(state.path()).unwrap()[0];
    let runs = record::all(folder).unwrap().known;
    let states: Vec<State> = runs.iter().map(Record::state).collect();
    assert_eq!(states, [State::Done]);
}

/// A session with a run that is written.
fn written(store: &mut Shared, global: &Global) -> Session {
    assert_eq!(ended(&granting(), store, global, None), Ok(Exit::Ok));
    let datastore = block_on(store.read(&Wanted::default())).unwrap().datastore;
    Session::open(global, &datastore).unwrap()
}

#[test]
fn a_run_that_must_not_go_on_does_not_wait_for_a_word_to_be_taken_back() {
    let mut store = cluster().before_write(2, |objects| {
        let (at, to) = ("/spec", Some(json!("eth7")));
        set(
            objects,
            Kind::HostEndpoint,
            "m3-eth0",
            at,
            "interfaceName",
            to,
        );
        objects.retain(|id, _| id.name != "m1-eth0");
    });
    for object in host("m3", "192.0.2.3") {
        let id = Object::new(object.clone()).unwrap().id().clone();
        store.objects.insert(id, (object, 1));
    }
    let window = Some(Duration::from_secs(600));
    let (end, runs) = recorded_within(&granting_to(&["m1", "m2", "m3"]), &mut store, window);
    let error = end.unwrap_err();
    assert!(error.message.contains("it is taken back"), "{error:?}");
    let states: Vec<State> = runs.iter().map(Record::state).collect();
    assert_eq!(states, [State::Undone, State::Done]);
    let endpoint = store.value(Kind::HostEndpoint, "m2-eth0");
    assert_eq!(label(endpoint, "allowed-etcd-client"), None);
}

#[test]
fn a_run_that_must_not_go_on_can_be_resumed_or_taken_back_by_its_id() {
    let mut store = cluster().before_write(1, |objects| {
        let to = Some(json!("eth7"));
        set(
            objects,
            Kind::HostEndpoint,
            "m2-eth0",
            "/spec",
            "interfaceName",
            to,
        );
        objects.retain(|id, _| id.name != "m1-eth0");
    });
    let (end, runs) = recorded(&granting(), &mut store);
    assert_eq!(end.unwrap_err().exit, Exit::Partly);
    let [run] = runs.as_slice() else {
        panic!("{runs:#?}")
    };
    assert_eq!((run.state(), run.back()), (State::Partly, vec![1, 0]));
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

#[test]
fn labels_that_a_controller_rewrites_in_between_do_not_stop_a_grant() {
    let mut store = cluster().before_write(0, |objects| {
        let labels = Some(json!("rewritten"));
        set(
            objects,
            Kind::HostEndpoint,
            "m1-eth0",
            "/metadata/labels",
            "theirs",
            labels,
        );
    });
    assert_eq!(carried_out(&granting(), &mut store), Ok(Exit::Ok));
    let endpoint = store.value(Kind::HostEndpoint, "m1-eth0");
    assert_eq!(label(endpoint, "theirs").as_deref(), Some("rewritten"));
    assert_eq!(
        label(endpoint, "allowed-etcd-client").as_deref(),
        Some("true")
    );
}

#[test]
fn a_setting_that_an_operator_writes_in_between_does_not_stop_a_prune() {
    let mut store = cluster().before_write(0, |objects| {
        let level = Some(json!("Debug"));
        set(
            objects,
            Kind::FelixConfiguration,
            "default",
            "/spec",
            "logSeverityScreen",
            level,
        );
    });
    let end = carried_out(&pruning(), &mut store);
    assert_eq!(end, Ok(Exit::Ok));
    let felix = store.value(Kind::FelixConfiguration, "default");
    assert_eq!(felix["spec"]["logSeverityScreen"], "Debug");
    assert!(felix["spec"]["failsafeInboundHostPorts"].is_array());
}

#[test]
fn a_failsafe_list_that_an_operator_writes_in_between_stops_a_prune_with_the_difference() {
    let mut store = cluster().before_write(0, |objects| {
        let list = json!([{"protocol": "tcp", "port": 22}, {"protocol": "tcp", "port": 179}]);
        set(
            objects,
            Kind::FelixConfiguration,
            "default",
            "/spec",
            "failsafeInboundHostPorts",
            Some(list),
        );
    });
    let error = carried_out(&pruning(), &mut store).unwrap_err();
    assert_eq!(error.exit, Exit::Conflict, "{error:?}");
    assert!(
        error
            .message
            .starts_with("`FelixConfiguration/default` has changed since it was read; "),
        "{error:?}"
    );
    let gone = error
        .detail
        .iter()
        .any(|line| line.starts_with("  - FelixConfiguration/default"));
    let come = error
        .detail
        .iter()
        .any(|line| line.starts_with("  + FelixConfiguration/default"));
    assert!(gone && come, "{error:?}");
    assert_eq!(store.writes, 0);
}

#[test]
fn the_rest_of_a_half_written_plan_goes_on_where_it_is_what_was_shown() {
    let mut store = cluster().before_write(1, |objects| {
        let labels = Some(json!("rewritten"));
        set(
            objects,
            Kind::HostEndpoint,
            "m2-eth0",
            "/metadata/labels",
            "theirs",
            labels,
        );
    });
    assert_eq!(carried_out(&granting(), &mut store), Ok(Exit::Ok));
    for name in ["m1-eth0", "m2-eth0"] {
        let endpoint = store.value(Kind::HostEndpoint, name);
        assert_eq!(
            label(endpoint, "allowed-etcd-client").as_deref(),
            Some("true"),
            "{name}"
        );
    }
}

#[test]
fn a_half_written_plan_stops_with_the_difference_where_the_rest_would_be_another() {
    let mut store = cluster().before_write(1, |objects| {
        // The endpoint that was labelled first is made anew, without its label and elsewhere.
        set(
            objects,
            Kind::HostEndpoint,
            "m1-eth0",
            "/metadata/labels",
            "allowed-etcd-client",
            None,
        );
        set(
            objects,
            Kind::HostEndpoint,
            "m2-eth0",
            "/spec",
            "interfaceName",
            Some(json!("eth7")),
        );
        objects.retain(|id, _| id.name != "m1-eth0");
    });
    let error = carried_out(&granting(), &mut store).unwrap_err();
    assert_eq!(error.exit, Exit::Partly, "{error:?}");
    assert!(error.message.contains("going on is refused"), "{error:?}");
    assert!(
        error.detail.iter().any(|line| line.starts_with("+ ")),
        "{error:?}"
    );
    assert_eq!(store.writes, 1);
}

#[test]
fn the_next_stage_is_not_begun_where_what_it_rests_on_did_not_stay() {
    type Case = (&'static str, fn(&mut Objects), &'static str);
    let cases: [Case; 2] = [
        (
            "label",
            |objects| {
                let (labels, key) = ("/metadata/labels", "allowed-etcd-client");
                set(objects, Kind::HostEndpoint, "m1-eth0", labels, key, None);
            },
            "HostEndpoint/m1-eth0: metadata.labels.allowed-etcd-client is not as written",
        ),
        (
            "object",
            |objects| objects.retain(|id, _| id.name != "m2-eth0"),
            "HostEndpoint/m2-eth0: is gone",
        ),
    ];
    for (what, meddling, words) in cases {
        let mut store = cluster().behind_write(2, meddling);
        let (end, runs) = recorded(&granting_and_pruning(), &mut store);
        let error = end.unwrap_err();
        assert_eq!(error.exit, Exit::Partly, "{what}: {error:?}");
        assert!(
            error.message.starts_with(
                "2 of 3 steps were written, then: 1 object did not stay as written; the rest"
            ),
            "{error:?}"
        );
        assert_eq!(error.detail, [words], "{what}");
        assert_eq!(store.writes, 2, "the failsafe list stays");
        assert_eq!(runs[0].state(), State::Partly);
    }
}

#[test]
fn what_another_writer_has_done_already_is_not_done_again() {
    let mut store = cluster().before_write(0, |objects| {
        for name in ["m1-eth0", "m2-eth0"] {
            let (labels, key) = ("/metadata/labels", "allowed-etcd-client");
            set(
                objects,
                Kind::HostEndpoint,
                name,
                labels,
                key,
                Some(json!("true")),
            );
        }
    });
    assert_eq!(carried_out(&granting(), &mut store), Ok(Exit::Ok));
    assert_eq!(store.writes, 0);
}

#[test]
fn a_writer_who_never_rests_ends_in_a_refusal_and_not_in_a_loop() {
    let mut store = cluster();
    store.restless = Some(ObjectId::global(Kind::HostEndpoint, "m1-eth0"));
    let error = carried_out(&granting(), &mut store).unwrap_err();
    assert_eq!(error.exit, Exit::Conflict, "{error:?}");
    assert_eq!(store.writes, 0);
}
