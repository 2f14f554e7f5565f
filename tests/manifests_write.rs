//! What writing does to files: in place, whole or not at all, and never over a foreign change.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod manifests_support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use calicoctl_protect::calico::{FieldEdit, FieldPath, Kind, Object, ObjectId};
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store, StoreErrorKind, Wanted, Write};
use manifests_support::{bytes, deletion, folder, id, label, opposite, read, run, update, write};
use serde_json::json;

fn set(name: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata:\n  name: {name} # n\nspec: {{nets: [192.0.2.1]}}\n"
    )
}

fn gns(name: &str) -> ObjectId {
    id(Kind::GlobalNetworkSet, name)
}

fn object(name: &str) -> Object {
    let mut object = Object::empty(gns(name));
    object.set_spec("nets", json!(["192.0.2.7"]));
    object
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let names = bytes(folder).into_iter();
    names.map(|(name, _)| name.display().to_string()).collect()
}

#[test]
fn one_file_is_replaced_once_and_each_write_is_reported() {
    let folder = folder(&[
        ("a.yaml", &format!("{}---\n{}", set("a"), set("b"))),
        ("c.yaml", &set("c")),
    ]);
    let (mut store, snapshot) = read(folder.path());
    let batch: Vec<_> = ["a", "c", "b"]
        .iter()
        .map(|n| update(&snapshot, &gns(n), label(&snapshot, &gns(n), "k", "v")))
        .collect();
    assert_eq!(write(&mut store, &batch).unwrap(), [0, 2, 1]);
    let labelled = set("a").replace("# n\n", "# n\n  labels:\n    k: \"v\"\n");
    assert_eq!(
        text(folder.path(), "a.yaml"),
        format!("{labelled}---\n{}", labelled.replace("name: a", "name: b"))
    );
}

#[test]
fn batches_follow_each_other_on_one_file() {
    let folder = folder(&[("a.yaml", &format!("{}---\n{}", set("a"), set("b")))]);
    let (mut store, snapshot) = read(folder.path());
    for name in ["a", "b", "a"] {
        let key = format!("k-{name}");
        let edits = vec![FieldEdit::Set {
            path: FieldPath::of(["metadata", "labels", key.as_str()]),
            value: json!("v"),
        }];
        write(&mut store, &[update(&snapshot, &gns(name), edits)]).unwrap();
        run(store.read(&Wanted::everything())).unwrap();
    }
    write(&mut store, &[deletion(&snapshot, &gns("a"))]).unwrap();
    let (_, now) = read(folder.path());
    assert_eq!(now.len(), 1);
    assert_eq!(now.get(&gns("b")).unwrap().label("k-b"), Some("v"));
}

#[test]
fn a_foreign_change_is_a_conflict_and_stays() {
    let folder = folder(&[("a.yaml", &set("a")), ("b.yaml", &set("b"))]);
    let (mut store, snapshot) = read(folder.path());
    let path = folder.path().join("b.yaml");
    let foreign = format!("{}# by hand\n", set("b"));
    fs::write(&path, &foreign).unwrap();
    let batch: Vec<_> = ["a", "b"]
        .iter()
        .map(|n| update(&snapshot, &gns(n), label(&snapshot, &gns(n), "k", "v")))
        .collect();
    let error = write(&mut store, &batch).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    assert_eq!(error.message, "`b.yaml` has changed since it was read");
    assert!(error.hint.is_some());
    assert_eq!(
        text(folder.path(), "a.yaml"),
        set("a"),
        "no file was touched"
    );
    assert_eq!(text(folder.path(), "b.yaml"), foreign);

    // Read again: the old revision stays refused, the new one is taken.
    let again = run(store.read(&Wanted::everything())).unwrap();
    let error = write(&mut store, &batch[1..]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    let edits = label(&again, &gns("b"), "k", "v");
    write(&mut store, &[update(&again, &gns("b"), edits)]).unwrap();

    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    let error = write(&mut store, &batch[..1]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
}

#[test]
fn objects_that_appear_or_vanish_are_conflicts() {
    let folder = folder(&[("a.yaml", &set("a"))]);
    let (mut store, snapshot) = read(folder.path());
    let error = write(&mut store, &[Write::Create(object("a"))]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    assert!(error.message.contains("`a.yaml`"), "{error:?}");
    let mut gone = update(&snapshot, &gns("a"), Vec::new());
    if let Write::Update { id, .. } = &mut gone {
        *id = gns("z");
    }
    assert_eq!(
        write(&mut store, &[gone]).unwrap_err().kind,
        StoreErrorKind::Conflict
    );
}

#[test]
fn new_objects_get_a_file_each_and_never_one_that_is_there() {
    let folder = folder(&[("globalnetworkset-x.yaml", "# mine\n")]);
    let (mut store, _) = read(folder.path());
    let batch = [Write::Create(object("x")), Write::Create(object("w"))];
    assert_eq!(write(&mut store, &batch).unwrap(), [0, 1]);
    assert_eq!(
        files(folder.path()),
        [
            "globalnetworkset-w.yaml",
            "globalnetworkset-x-2.yaml",
            "globalnetworkset-x.yaml"
        ]
    );
    assert_eq!(
        text(folder.path(), "globalnetworkset-w.yaml"),
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata:\n  name: w\nspec:\n  nets:\n  - 192.0.2.7\n"
    );
    // Made and taken away again in one go.
    let (mut store, snapshot) = read(folder.path());
    let batch = [
        deletion(&snapshot, &gns("x")),
        deletion(&snapshot, &gns("w")),
        Write::Create(object("w")),
    ];
    assert_eq!(write(&mut store, &batch).unwrap(), [0, 1, 2]);
    assert_eq!(
        files(folder.path()),
        ["globalnetworkset-w.yaml", "globalnetworkset-x.yaml"]
    );
}

#[test]
fn one_file_takes_its_new_objects_in() {
    for before in [
        set("a"),
        set("a").trim_end().to_owned(),
        format!("{}...\n", set("a")),
        set("a").replace('\n', "\r\n"),
        format!("\u{feff}{}", set("a")),
    ] {
        let folder = folder(&[("a.yaml", &before)]);
        let path = folder.path().join("a.yaml");
        let (mut store, _) = read(&path);
        let batch = [Write::Create(object("x")), Write::Create(object("w"))];
        assert_eq!(write(&mut store, &batch).unwrap(), [0, 1]);
        let after = text(folder.path(), "a.yaml");
        assert!(after.starts_with(&before), "{after:?}");
        assert_eq!(after.ends_with('\n'), before.ends_with('\n'));
        assert_eq!(after.contains("\r\n"), before.contains("\r\n"));
        let (mut store, snapshot) = read(&path);
        assert_eq!(snapshot.len(), 3);
        for name in ["w", "x"] {
            write(&mut store, &[deletion(&snapshot, &gns(name))]).unwrap();
        }
        assert_eq!(text(folder.path(), "a.yaml"), before);
        assert_eq!(files(folder.path()), ["a.yaml"]);
    }
}

#[test]
fn a_file_for_new_objects_is_made_filled_and_checked() {
    let folder = folder(&[
        ("a.yaml", &set("a")),
        (
            "sub/j.json",
            "{\"apiVersion\":\"projectcalico.org/v3\",\"kind\":\"Tier\",\"metadata\":{\"name\":\"t\"}}",
        ),
        (".h.yaml", ""),
    ]);
    let into = |file: &str| Manifests::open(folder.path()).unwrap().into_file(file);
    let mut store = into("sub/new.yaml");
    let snapshot = run(store.read(&Wanted::everything())).unwrap();
    assert_eq!(snapshot.len(), 2);
    let batch = [Write::Create(object("x")), Write::Create(object("w"))];
    assert_eq!(write(&mut store, &batch).unwrap(), [0, 1]);
    assert_eq!(
        text(folder.path(), "sub/new.yaml").matches("---").count(),
        1
    );
    write(&mut store, &[Write::Create(object("z"))]).unwrap();
    let (_, now) = read(folder.path());
    assert_eq!(now.stored(&gns("z")).unwrap().place, "sub/new.yaml:17");

    for wrong in [
        "../x.yaml",
        "none/x.yaml",
        "x.json",
        "x.txt",
        ".x.yaml",
        ".h.yaml",
        "/",
    ] {
        let error = run(into(wrong).read(&Wanted::everything())).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Usage, "{wrong}: {error:?}");
        assert!(error.hint.is_some());
    }
    let error = write(&mut into("sub/j.json"), &[Write::Create(object("v"))]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Usage);
}

#[test]
fn deleting_leaves_what_is_about_the_file() {
    let head = "# about this file\n";
    let folder = folder(&[(
        "a.yaml",
        &format!("{head}---\n{}---\n# b\n{}", set("a"), set("b")),
    )]);
    let (mut store, snapshot) = read(folder.path());
    write(&mut store, &[deletion(&snapshot, &gns("a"))]).unwrap();
    assert_eq!(
        text(folder.path(), "a.yaml"),
        format!("{head}---\n# b\n{}", set("b"))
    );
    write(&mut store, &[deletion(&snapshot, &gns("b"))]).unwrap();
    assert_eq!(text(folder.path(), "a.yaml"), head);
}

#[test]
fn items_of_every_list_are_deleted() {
    let list = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSetList\nitems: # all\n# first\n- metadata: {name: a}\n- metadata:\n    name: b\n";
    let json = "[\n  {\"apiVersion\": \"projectcalico.org/v3\", \"kind\": \"GlobalNetworkSet\", \"metadata\": {\"name\": \"c\"}},\n  {\"apiVersion\": \"projectcalico.org/v3\", \"kind\": \"GlobalNetworkSet\", \"metadata\": {\"name\": \"d\"}}\n]\n";
    let folder = folder(&[("a.yaml", list), ("b.json", json)]);
    let (mut store, snapshot) = read(folder.path());
    let delete = |name: &str| deletion(&snapshot, &gns(name));
    write(&mut store, &[delete("a"), delete("d")]).unwrap();
    assert!(text(folder.path(), "a.yaml").contains("# first\n- metadata:\n    name: b\n"));
    assert!(text(folder.path(), "b.json").ends_with("\"c\"}}\n]\n"));
    write(&mut store, &[delete("b"), delete("c")]).unwrap();
    assert!(
        text(folder.path(), "a.yaml").ends_with("items: [] # all\n"),
        "{}",
        text(folder.path(), "a.yaml")
    );
    assert_eq!(text(folder.path(), "b.json"), "[]\n");
    let (_, now) = read(folder.path());
    assert!(now.is_empty());
}

#[test]
fn items_that_share_values_are_edited_only_where_that_is_safe() {
    let list = "- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: a, labels: &l {x: y}}}\n- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: b, labels: *l}}\n- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: c}}\n";
    let folder = folder(&[("a.yaml", list)]);
    let (mut store, snapshot) = read(folder.path());
    for name in ["a", "b"] {
        let edits = label(&snapshot, &gns(name), "k", "v");
        let error = write(&mut store, &[update(&snapshot, &gns(name), edits)]).unwrap_err();
        assert!(error.message.contains("shared"), "{error:?}");
        assert!(error.detail[0].contains("a.yaml:"), "{error:?}");
    }
    let error = write(&mut store, &[deletion(&snapshot, &gns("a"))]).unwrap_err();
    assert!(error.message.contains("shared"), "{error:?}");
    let edits = label(&snapshot, &gns("c"), "k", "v");
    write(&mut store, &[update(&snapshot, &gns("c"), edits)]).unwrap();
    assert!(text(folder.path(), "a.yaml").contains("{name: c, labels: {k: \"v\"}}"));
}

#[test]
fn stored_form_is_written_where_the_folder_has_it() {
    let stored = "apiVersion: crd.projectcalico.org/v1\nkind: HostEndpoint\nmetadata:\n  name: h\n  annotations:\n    projectcalico.org/metadata: '{\"labels\":{\"a\":\"b\"}}'\n";
    let folder = folder(&[("a.yaml", stored)]);
    let (mut store, snapshot) = read(folder.path());
    let host = id(Kind::HostEndpoint, "h");
    let edits = label(&snapshot, &host, "k", "v");
    write(
        &mut store,
        &[update(&snapshot, &host, edits), Write::Create(object("x"))],
    )
    .unwrap();
    assert_eq!(
        text(folder.path(), "a.yaml"),
        stored.replace("\"b\"}", "\"b\",\"k\":\"v\"}")
    );
    assert!(
        text(folder.path(), "globalnetworkset-x.yaml")
            .contains("apiVersion: crd.projectcalico.org/v1\n")
    );
    let back = vec![FieldEdit::Remove {
        path: FieldPath::of(["metadata", "labels", "k"]),
    }];
    write(&mut store, &[update(&snapshot, &host, back)]).unwrap();
    assert_eq!(text(folder.path(), "a.yaml"), stored);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::process::Command;

    use super::*;

    #[test]
    fn mode_and_links_stay() {
        let folder = folder(&[("real/a.yaml", &set("a"))]);
        let real = folder.path().join("real/a.yaml");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        let linked = tempfile::tempdir_in(folder.path()).unwrap();
        let link = linked.path().join("a.yaml");
        symlink(&real, &link).unwrap();
        let (mut store, snapshot) = read(&link);
        let edits = label(&snapshot, &gns("a"), "k", "v");
        write(&mut store, &[update(&snapshot, &gns("a"), edits)]).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::read_to_string(&real).unwrap().contains("k: \"v\""));
    }

    #[test]
    fn a_folder_that_may_not_be_written_is_told() {
        let folder = folder(&[("a.yaml", &set("a"))]);
        let (mut store, snapshot) = read(folder.path());
        let edits = label(&snapshot, &gns("a"), "k", "v");
        let batch = [update(&snapshot, &gns("a"), edits)];
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let result = write(&mut store, &batch);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // The administrator may write everywhere.
        let Err(error) = result else { return };
        assert_eq!(error.kind, StoreErrorKind::Failed);
        assert_eq!(error.message, "cannot write `a.yaml`: permission denied");
        assert_eq!(text(folder.path(), "a.yaml"), set("a"));
    }

    /// Runs itself again with a limit on the size of files, so that a write ends half-way.
    #[test]
    fn a_write_that_ends_half_way_leaves_the_old_file() {
        const LIMITED: &str = "MANIFESTS_TEST_LIMITED";
        if std::env::var_os(LIMITED).is_some() {
            let long = format!("{}# {}\n", set("a"), "x".repeat(200_000));
            let folder = folder(&[]);
            let path = folder.path().join("a.yaml");
            // Piece by piece, or the limit would stop this file already.
            fs::write(&path, set("a")).unwrap();
            let (mut store, snapshot) = read(folder.path());
            let edits = label(&snapshot, &gns("a"), "k", &long);
            let error = write(&mut store, &[update(&snapshot, &gns("a"), edits)]).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Failed);
            assert!(
                error.message.starts_with("cannot write `a.yaml`: "),
                "{error:?}"
            );
            assert_eq!(text(folder.path(), "a.yaml"), set("a"));
            assert_eq!(files(folder.path()), ["a.yaml"], "no temporary file stays");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let status = Command::new("bash")
            .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact unix::a_write_that_ends_half_way_leaves_the_old_file"])
            .arg(this)
            .env(LIMITED, "1")
            .output()
            .unwrap();
        assert!(
            status.status.success(),
            "{}",
            String::from_utf8_lossy(&status.stdout)
        );
    }
}

/// The folder `before` of the test data becomes the folder `after`, and `before` again.
#[test]
fn files_of_every_kind_change_as_their_authors_would_change_them() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests");
    let folder = folder(&[]);
    for (name, contents) in bytes(&data.join("before")) {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    let (mut store, snapshot) = read(folder.path());
    let mut there = Vec::new();
    for host in snapshot.of(Kind::HostEndpoint) {
        let edits = label(&snapshot, host.id(), "protected-etcd-server", "true");
        there.push((host.id().clone(), edits));
    }
    let prune = FieldEdit::Delete {
        path: FieldPath::of(["spec", "failsafeInboundHostPorts"]),
        index: 1,
    };
    there.push((id(Kind::FelixConfiguration, "default"), vec![prune]));
    let mut batch = Vec::new();
    let mut back = Vec::new();
    for (id, edits) in there {
        let undo = opposite(snapshot.get(&id).unwrap().value(), &edits);
        back.push(update(&snapshot, &id, undo));
        batch.push(update(&snapshot, &id, edits));
    }
    write(&mut store, &batch).unwrap();
    let after = data.join("after");
    for (name, found) in bytes(folder.path()) {
        let wanted = fs::read_to_string(after.join(&name)).unwrap_or_default();
        assert_eq!(
            String::from_utf8_lossy(&found),
            wanted,
            "{}",
            name.display()
        );
    }
    write(&mut store, &back).unwrap();
    assert!(bytes(folder.path()) == bytes(&data.join("before")));
}

#[test]
fn who_is_asked_to_stop_writes_no_further_file() {
    let names: Vec<String> = (0..40).map(|n| format!("s{n:02}")).collect();
    let texts: Vec<(String, String)> = names
        .iter()
        .map(|n| (format!("{n}.yaml"), set(n)))
        .collect();
    let texts: Vec<(&str, &str)> = texts
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    let folder = folder(&texts);
    let before = bytes(folder.path());
    let (mut store, snapshot) = read(folder.path());
    let labelled = |name: &String| {
        update(
            &snapshot,
            &gns(name),
            label(&snapshot, &gns(name), "k", "v"),
        )
    };
    let batch: Vec<_> = names.iter().map(labelled).collect();
    let (stop, mut done) = (AtomicBool::new(false), Vec::new());
    let result = run(store.write(&batch, &stop, &mut |index| {
        done.push(index);
        stop.store(true, Ordering::Relaxed);
    }));
    assert_eq!(result, Ok(()));
    let after = bytes(folder.path());
    assert_eq!(after.len(), before.len(), "hidden files are left");
    let changed = (0..names.len()).filter(|n| before[*n] != after[*n]);
    assert_eq!(done, changed.collect::<Vec<_>>());
    assert!((1..names.len()).contains(&done.len()), "{done:?}");
}
