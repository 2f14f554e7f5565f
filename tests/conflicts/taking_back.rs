//! What others write while a run is taken back, gone on with, or planned anew.

use std::collections::BTreeMap;
use std::time::Duration;

use calicoctl_protect::apply::{Folder, Record, State, record};
use calicoctl_protect::calico::{Kind, Object, ObjectId};
use calicoctl_protect::cli::args::Global;
use calicoctl_protect::cli::error::CliError;
use calicoctl_protect::cli::exit::Exit;
use calicoctl_protect::cli::take_back::take_back;
use calicoctl_protect::cli::undo::go_through;
use calicoctl_protect::plan::rebase::Precedence;
use calicoctl_protect::plan::replay::{Direction, replay};
use calicoctl_protect::plan::saved::Waivers;
use calicoctl_protect::store::{Store as _, Wanted};
use serde_json::{Value, json};

use crate::{
    Shared, block_on, cluster, ended, global, granting, granting_to, host, label, recorded,
    recorded_within, rewritten, running, set, ui, written,
};

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
