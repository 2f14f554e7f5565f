//! Tests of the journal: what is read is what was written, up to wherever it was cut.

use std::fs;

use jiff::Timestamp;
use proptest::prelude::*;

use super::window::{self, Verdict};
use super::{Actor, End, Entry, Folder, Header, Journal, Record, RunId, State, record};
use crate::calico::{Datastore, DatastoreKind, Kind, Object, ObjectId};
use crate::plan::Change;
use crate::plan::saved::Waivers;
use crate::recipe::Stage;
use crate::store::Keepsake;

fn mk_actor() -> Actor {
    Actor {
        user: "alice".into(),
        host: "laptop".into(),
        pid: 7,
        command: vec!["server".into(), "etcd".into()],
    }
}

fn mk_change(name: &str) -> Change {
    let id = ObjectId::global(Kind::HostEndpoint, name);
    Change {
        stage: Stage::HostEndpoints,
        after: Some(Object::empty(id.clone())),
        id,
        before: None,
        edits: Vec::new(),
        why: vec!["because".into()],
        place: None,
        revision: None,
        owners: Vec::new(),
    }
}

fn mk_header(steps: usize) -> Header {
    Header {
        format_version: super::journal::FORMAT_VERSION.into(),
        id: "000000".parse().unwrap(),
        started: "2026-11-29T09:00:00Z".parse::<Timestamp>().unwrap(),
        tool: "0.1.0".into(),
        by: mk_actor(),
        datastore: Datastore {
            kind: DatastoreKind::Etcd,
            location: "https://etcd:2379".into(),
            cluster_guid: Some("ab12".into()),
            version: None,
        },
        undoes: None,
        confirm_within: None,
        waivers: Waivers {
            allow_lockout: vec!["a:b".into()],
            accept_unproven: Vec::new(),
        },
        before: Waivers::default(),
        kept: 3,
        steps: (0..steps).map(|n| mk_change(&format!("h{n}"))).collect(),
    }
}

struct Home {
    root: tempfile::TempDir,
    folder: Folder,
}

fn mk_home() -> Home {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::of(root.path(), &mk_header(0).datastore);
    folder.make().unwrap();
    Home { root, folder }
}

/// The journal of a run of four steps in two stages whose last one came to nothing and was planned
/// anew as two, and that was resumed and taken back.
fn mk_journal(home: &Home) -> RunId {
    let mut journal = Journal::begin(&home.folder, mk_header(4)).unwrap();
    let keepsake = Keepsake(serde_json::json!({"file": "a.yaml"}));
    journal.intend(&[0, 1], vec![keepsake]).unwrap();
    journal.done(1);
    journal.done(0);
    journal.intend(&[2, 3], Vec::new()).unwrap();
    journal.done(2);
    journal.end(End::Partly, Some("disk full".into())).unwrap();
    let at = Timestamp::UNIX_EPOCH;
    let (dropped, steps) = (vec![3], vec![mk_change("h3"), mk_change("h4")]);
    let again = Entry::Replanned { at, dropped, steps };
    journal.note(&again).unwrap();
    journal.intend(&[4, 5], Vec::new()).unwrap();
    journal.done(4);
    let by = mk_actor();
    journal.note(&Entry::Resumed { at, by }).unwrap();
    journal.done(5);
    journal.read_back(5);
    journal.end(End::Done, None).unwrap();
    let by = "6gw8r0".parse().unwrap();
    journal.note(&Entry::Undone { at, by }).unwrap();
    journal.id()
}

#[test]
fn what_is_read_is_what_was_written() {
    let home = mk_home();
    let id = mk_journal(&home);
    let record = Record::read(&home.folder, id).unwrap();
    let mut header = Header { id, ..mk_header(4) };
    header.steps.extend([mk_change("h3"), mk_change("h4")]);
    assert_eq!(record.header, header);
    assert_eq!(record.intended, [0, 1, 2, 4, 5].into());
    assert_eq!(record.done, [0, 1, 2, 4, 5].into());
    assert_eq!(record.read, [5].into());
    assert_eq!(record.onward(), [0, 1, 2, 4, 5]);
    assert_eq!(record.back(), [5, 4, 2, 1, 0]);
    assert_eq!(record.keepsakes.len(), 1);
    assert_eq!(record.state(), State::Undone);
    assert_eq!(record.why(), None);
    assert_eq!(
        record.length,
        fs::metadata(home.folder.file(id)).unwrap().len()
    );
}

#[test]
fn a_journal_that_is_cut_anywhere_is_understood_up_to_the_cut() {
    let home = mk_home();
    let id = mk_journal(&home);
    let bytes = fs::read(home.folder.file(id)).unwrap();
    let whole = Record::parse(bytes.as_slice()).unwrap();
    let first = bytes.iter().position(|b| *b == b'\n').unwrap();
    for cut in 0..bytes.len() {
        let record = Record::parse(&bytes[..cut]);
        if cut <= first {
            assert!(record.is_err(), "cut at {cut}");
            continue;
        }
        let record = record.unwrap();
        assert!(record.length <= cut as u64 && bytes[record.length as usize - 1] == b'\n');
        // A step that came to nothing is taken for one that may be in effect until that is told.
        let mut intended = record.intended.clone();
        intended.remove(&3);
        assert!(intended.is_subset(&whole.intended), "cut at {cut}");
        let known = record.header.steps.len();
        assert!(record.back().iter().all(|n| *n < known), "cut at {cut}");
        assert!(record.onward().iter().all(|n| *n < known), "cut at {cut}");
        assert!(record.done.is_subset(&record.intended), "cut at {cut}");
        assert!(whole.events.starts_with(&record.events), "cut at {cut}");
    }
}

#[test]
fn states_follow_from_what_happened() {
    let home = mk_home();
    let id = mk_journal(&home);
    let text = fs::read_to_string(home.folder.file(id)).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let state = |count: usize| {
        Record::parse(lines[..count].concat().as_bytes())
            .unwrap()
            .state()
    };
    assert_eq!(state(1), State::Nothing);
    assert_eq!(state(2), State::Nothing, "a keepsake is no intention");
    assert_eq!(state(3), State::Partly);
    assert_eq!(state(9), State::Partly);
    assert_eq!(state(11), State::Partly, "planned anew");
    assert_eq!(state(15), State::Partly, "resumed, and not at its end");
    assert_eq!(state(18), State::Done);
    assert_eq!(state(19), State::Undone);
    let mut windowed = mk_header(1);
    windowed.confirm_within = Some(300);
    let mut journal = Journal::begin(&home.folder, windowed).unwrap();
    journal.intend(&[0], Vec::new()).unwrap();
    let (at, until) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    journal.note(&Entry::Awaiting { until }).unwrap();
    let state = |id| Record::read(&home.folder, id).unwrap().state();
    assert_eq!(state(journal.id()), State::Unconfirmed);
    let open: Vec<RunId> = record::unfinished(&home.folder)
        .unwrap()
        .known
        .iter()
        .map(Record::id)
        .collect();
    assert_eq!(open, [journal.id()]);
    journal.note(&Entry::Confirmed { at }).unwrap();
    journal.end(End::Done, None).unwrap();
    assert_eq!(state(journal.id()), State::Done);
    assert!(record::unfinished(&home.folder).unwrap().known.is_empty());
}

#[test]
fn a_torn_line_is_taken_away_before_the_journal_goes_on() {
    let home = mk_home();
    let id = mk_journal(&home);
    let path = home.folder.file(id);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 9);
    fs::write(&path, bytes).unwrap();
    assert_eq!(Record::read(&home.folder, id).unwrap().state(), State::Done);
    let mut journal = Journal::reopen(&home.folder, id).unwrap();
    let (at, by) = (Timestamp::UNIX_EPOCH, id);
    journal.note(&Entry::Undone { at, by }).unwrap();
    let record = Record::read(&home.folder, id).unwrap();
    assert_eq!(record.state(), State::Undone);
    assert_eq!(record.length, fs::metadata(path).unwrap().len());
}

#[test]
fn what_was_planned_anew_is_gone_through_in_the_safe_order() {
    let home = mk_home();
    let staged = |name: &str, stage| Change {
        stage,
        ..mk_change(name)
    };
    for backward in [false, true] {
        let mut plan = vec![
            staged("a", Stage::Clients),
            staged("b", Stage::ProtectedLabels),
        ];
        let mut anew = vec![
            staged("c", Stage::Clients),
            staged("b", Stage::ProtectedLabels),
        ];
        if backward {
            plan.reverse();
            anew.reverse();
        }
        // Forward: a, c, b. Backward: b (written), b (again), c.
        let wanted = [0, 2, 3];
        let header = Header {
            steps: plan,
            ..mk_header(0)
        };
        let mut journal = Journal::begin(&home.folder, header).unwrap();
        journal.intend(&[0], Vec::new()).unwrap();
        journal.done(0);
        journal.intend(&[1], Vec::new()).unwrap();
        let (at, dropped) = (Timestamp::UNIX_EPOCH, vec![1]);
        let again = Entry::Replanned {
            at,
            dropped,
            steps: anew,
        };
        journal.note(&again).unwrap();
        journal.intend(&[2], Vec::new()).unwrap();
        let record = Record::read(&home.folder, journal.id()).unwrap();
        assert_eq!(record.onward(), wanted, "backward: {backward}");
        let stages: Vec<Stage> = record.changes().iter().map(|c| c.stage).collect();
        let ordered = if backward {
            stages.is_sorted_by_key(|stage| std::cmp::Reverse(*stage))
        } else {
            stages.is_sorted()
        };
        assert!(ordered, "backward: {backward}: {stages:?}");
        assert_eq!(record.back().len(), 2);
    }
}

#[test]
fn runs_of_one_second_have_ids_of_their_own_in_order() {
    let home = mk_home();
    let ids: Vec<RunId> = (0..3).map(|_| mk_journal(&home)).collect();
    assert!(ids.is_sorted() && ids[0] != ids[1] && ids[1] != ids[2]);
    assert_eq!(home.folder.runs().unwrap(), ids);
    assert_eq!(record::all(&home.folder).unwrap().known.len(), 3);
    assert_eq!(Folder::all(home.root.path()).unwrap().len(), 1);
}

#[test]
fn runs_of_one_second_on_two_clusters_have_ids_of_their_own() {
    let home = mk_home();
    let first = mk_journal(&home);
    let other = Datastore {
        cluster_guid: Some("cd34".into()),
        ..mk_header(0).datastore
    };
    let other = Folder::of(home.root.path(), &other);
    other.make().unwrap();
    let second = Journal::begin(&other, mk_header(1)).unwrap().id();
    assert!(first < second, "{first} {second}");
    assert_eq!(other.runs().unwrap(), [second]);
    assert_eq!(home.folder.runs().unwrap(), [first]);
}

#[test]
fn an_unknown_major_version_is_refused_and_a_minor_one_is_not() {
    let home = mk_home();
    let id = mk_journal(&home);
    let text = fs::read_to_string(home.folder.file(id)).unwrap();
    let version = |version: &str| text.replacen("\"1.0\"", &format!("\"{version}\""), 1);
    assert!(Record::parse(version("1.7").as_bytes()).is_ok());
    let error = Record::parse(version("2.0").as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "its form `2.0` is not known");
}

#[test]
fn whoever_decides_first_has_decided() {
    let home = mk_home();
    let id: RunId = "6g0793".parse().unwrap();
    assert_eq!(window::verdict(&home.folder, id), None);
    let decide = |verdict| window::decide(&home.folder, id, verdict, &mk_actor()).unwrap();
    assert_eq!(decide(Verdict::Kept), Verdict::Kept);
    assert_eq!(decide(Verdict::Lapsed), Verdict::Kept);
    assert_eq!(window::verdict(&home.folder, id), Some(Verdict::Kept));
    assert!(home.folder.runs().unwrap().is_empty());
}

#[test]
fn spans_of_time_are_written_with_their_unit() {
    for text in ["30s", "5m", "1h", "90s"] {
        assert_eq!(window::shown(window::duration(text).unwrap()), text);
    }
    for text in [
        "",
        "5",
        "m",
        "0s",
        "-1m",
        "5 m",
        "1d",
        "200h",
        "99999999999999999999s",
    ] {
        assert!(window::duration(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_damage_makes_the_reader_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let home = mk_home();
        let id = mk_journal(&home);
        let mut bytes = fs::read(home.folder.file(id)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(record) = Record::parse(bytes.as_slice()) {
            prop_assert!(record.length <= bytes.len() as u64);
            prop_assert!(!record.state().word().is_empty());
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Record::parse(bytes.as_slice()).is_err());
    }
}
