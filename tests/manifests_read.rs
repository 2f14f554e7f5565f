//! What is read of a folder, and what is refused with which words.

mod manifests_support;

use std::fs;

use calicoctl_protect::calico::{DatastoreKind, Kind, Version};
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store as _, StoreError, StoreErrorKind, Wanted};
use manifests_support::{folder, id, read, run, unreadable};

const SET: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n";

fn set(name: &str) -> String {
    format!("{SET}metadata:\n  name: {name}\n")
}

fn names(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    let (_, snapshot) = read(folder.path());
    snapshot.all().map(|s| s.object.name().to_owned()).collect()
}

/// The failure to read one file of this text.
#[track_caller]
fn broken(text: &str) -> StoreError {
    let folder = folder(&[("a/x.yaml", text)]);
    let error = unreadable(folder.path());
    assert_eq!(error.kind, StoreErrorKind::Failed);
    assert!(error.hint.is_some(), "{error:?}");
    assert!(!error.message.contains('\n'), "{error:?}");
    error
}

#[test]
fn folders_are_read_to_the_bottom_and_hidden_files_are_not() {
    let found = names(&[
        ("a.yaml", &set("a")),
        ("deep/er/still/b.YML", &set("b")),
        (
            "c.json",
            r#"{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"c"}}"#,
        ),
        (".git/d.yaml", &set("d")),
        (".e.yaml", &set("e")),
        ("f.txt", &set("f")),
        ("g.yaml~", "{{"),
    ]);
    assert_eq!(found, ["a", "b", "c"]);
}

#[test]
fn one_file_can_be_read_alone() {
    let folder = folder(&[("a.yaml", &set("a")), ("b.yaml", "{{")]);
    let path = folder.path().join("a.yaml");
    let (_, snapshot) = read(&path);
    assert_eq!(snapshot.len(), 1);
    assert_eq!(snapshot.datastore.kind, DatastoreKind::Manifests);
    assert_eq!(snapshot.datastore.location, path.display().to_string());
    let place = &snapshot
        .stored(&id(Kind::GlobalNetworkSet, "a"))
        .unwrap()
        .place;
    assert_eq!(*place, format!("{}:1", path.display()));
}

#[test]
fn documents_come_in_every_shape() {
    let text = format!(
        "\u{feff}# only a comment\n---\n---\n{}...\n# more\n---\n{}--- # again\n{SET}metadata: {{name: c}}\n--- \n\n",
        set("a").replace('\n', "\r\n"),
        set("b"),
    );
    assert_eq!(names(&[("x.yaml", &text)]), ["a", "b", "c"]);
    assert_eq!(
        names(&[("x.yaml", ""), ("y.yaml", "# c\n"), ("z.json", " \n")]),
        [""; 0]
    );
}

#[test]
fn lists_come_in_every_shape() {
    let typed = "kind: HostEndpointList\napiVersion: projectcalico.org/v3\nitems:\n- metadata: {name: a}\n-\n  # c\n  metadata: {name: b}\n";
    let generic = format!(
        "kind: List\napiVersion: v1\nitems:\n  - {}  - kind: Foreign\n",
        set("c").replace('\n', "\n    ").trim_end_matches(' ')
    );
    let array = "[{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: d}}, 1, x]\n";
    let json = r#"[{"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "e\ud83d\ude00"}}]"#;
    let stream = "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"f\"}}\n{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"g\"}}\n";
    let folder = folder(&[
        ("1.yaml", typed),
        ("2.yaml", &generic),
        ("3.yaml", array),
        ("4.json", json),
        ("5.json", stream),
    ]);
    let (_, snapshot) = read(folder.path());
    let places: Vec<_> = snapshot.all().map(|s| s.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "1.yaml:4", "1.yaml:5", "2.yaml:4", "3.yaml:1", "4.json:1", "5.json:1", "5.json:2"
        ]
    );
}

#[test]
fn what_is_not_calicos_is_left_alone() {
    let found = names(&[
        ("values.yaml", "replicas: 2\nimage: {tag: x}\n"),
        (
            "kustomization.yaml",
            "kind: Kustomization\nresources: [a.yaml]\n",
        ),
        ("stack.yaml", "Resources:\n  A: !Ref B\n  C: !Sub {x: 1}\n"),
        ("list.yaml", "- 1\n- a: b\n"),
        ("word.yaml", "word\n"),
        (
            "crd.yaml",
            "apiVersion: example.test/v1\nkind: Tier\nmetadata: {name: x}\n",
        ),
        (
            "job.yaml",
            "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: x-}\n",
        ),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn patches_of_a_kustomization_are_no_objects() {
    let patch = format!("{}  labels: {{x: y}}\n", set("a"));
    for kustomization in [
        "patches:\n- path: p/a.yaml\n",
        "patchesStrategicMerge: [p/a.yaml]\n",
        "patchesJson6902:\n- {path: ./p/a.yaml}\n",
    ] {
        let found = names(&[
            ("base/a.yaml", &set("a")),
            ("over/kustomization.yml", kustomization),
            ("over/p/a.yaml", &patch),
        ]);
        assert_eq!(found, ["a"]);
    }
}

#[test]
fn an_object_that_is_there_twice_is_told_with_both_places() {
    let stored = "apiVersion: crd.projectcalico.org/v1\nkind: GlobalNetworkPolicy\nmetadata: {name: default.a}\n";
    let policy =
        "\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\n";
    let info = "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\nspec: {calicoVersion: v3.28.1}\n";
    let first = folder(&[("a.yaml", stored), ("b/c.yaml", policy), ("i.yaml", info)]);
    let error = unreadable(first.path());
    assert_eq!(
        error.message,
        "GlobalNetworkPolicy/a is there twice: `a.yaml:1` and `b/c.yaml:2`"
    );
    let same = folder(&[("a.yaml", &format!("{}---\n{}", set("a"), set("a")))]);
    let error = unreadable(same.path());
    assert_eq!(
        error.message,
        "GlobalNetworkSet/a is there twice: `a.yaml:1` and `a.yaml:6`"
    );
}

#[test]
fn a_broken_file_is_told_with_its_place() {
    let error = broken(&format!("{}---\n{SET}metadata: [\n", set("a")));
    assert!(
        error.message.starts_with("cannot read `a/x.yaml`: "),
        "{error:?}"
    );
    assert!(error.detail[0].contains("a/x.yaml:"), "{error:?}");
    assert_eq!(error.detail.len(), 4);

    let error = broken("a: 1\nmetadata:\n  labels: {x: 1, y: 2,\n    x: 3}\n");
    assert_eq!(
        error.message,
        "cannot read `a/x.yaml`: key `x` stands twice in one map, first on line 3"
    );
    assert_eq!(
        error.detail,
        [" --> a/x.yaml:4:5", "  |", "4 |     x: 3}", "  |     ^"]
    );

    let error = broken("kind: X\n{{- if .Values.calico }}\n");
    assert!(error.hint.unwrap().contains("template"));
    let error = broken("name: {{ .Values.name }}\n");
    assert!(error.hint.unwrap().contains("template"));
    let error = broken(&format!("{SET}spec: {{}}\n"));
    assert_eq!(
        error.message,
        "cannot read `a/x.yaml`: this GlobalNetworkSet has no `metadata.name`"
    );
    let error = broken(&format!("{}  labels:\n    a: [b]\n", set("a")));
    assert_eq!(error.detail[2], "6 |     a: [b]");
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.yaml"), b"a: 1\nb: \xff\xfe\n").unwrap();
    let error = unreadable(folder.path());
    assert_eq!(
        error.message,
        "cannot read `x.yaml`: not UTF-8 text at x.yaml:2:4"
    );
}

#[test]
fn large_files_documents_and_bombs_are_refused() {
    let error = broken(&format!("{}x: {}\n", set("a"), "y".repeat(11 << 20)));
    assert_eq!(
        error.message,
        "the document at `a/x.yaml:1` is larger than 10 MB"
    );
    let huge = tempfile::tempdir().unwrap();
    let file = fs::File::create(huge.path().join("x.yaml")).unwrap();
    file.set_len(100 << 20).unwrap();
    assert_eq!(
        unreadable(huge.path()).message,
        "`x.yaml` is larger than 64 MB"
    );
    let mut bomb = String::from("a0: &a0 x\n");
    for i in 1..30 {
        bomb.push_str(&format!("a{i}: &a{i} [*a{0}, *a{0}, *a{0}]\n", i - 1));
    }
    broken(&bomb);
    broken(&"- ".repeat(100_000));
    broken(&"[".repeat(1 << 20));
    broken(&"a: {".repeat(1 << 18));
}

#[test]
fn unquoted_label_values_are_strings_with_a_warning() {
    let text = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata:
  name: a
  labels:
    b: true
    c: on
    d: \"on\"
    e: 1.10
    f:
    g: 017
    h: worker
    i: \"017\"
  annotations: {n: 5}
";
    let folder = folder(&[("x.yaml", text)]);
    let (_, snapshot) = read(folder.path());
    let object = snapshot.global(Kind::GlobalNetworkSet, "a").unwrap();
    let labels: Vec<_> = object.labels().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        labels,
        [
            "b=true", "c=true", "d=on", "e=1.1", "f=", "g=15", "h=worker", "i=017"
        ]
    );
    assert_eq!(object.annotation("n"), Some("5"));
    let places: Vec<_> = snapshot
        .warnings
        .iter()
        .map(|w| w.rsplit_once('(').unwrap().1)
        .collect();
    assert_eq!(
        places,
        [
            "x.yaml:6)",
            "x.yaml:7)",
            "x.yaml:9)",
            "x.yaml:11)",
            "x.yaml:14)"
        ]
    );
}

#[test]
fn many_warnings_are_counted() {
    let text: String = (0..50)
        .map(|n| format!("---\n{}  labels: {{a: true}}\n", set(&format!("s{n}"))))
        .collect();
    let folder = folder(&[("x.yaml", &text)]);
    let (_, snapshot) = read(folder.path());
    assert_eq!(snapshot.warnings.len(), 21);
    assert_eq!(
        snapshot.warnings[20],
        "30 more unquoted values were read as strings"
    );
}

#[test]
fn the_cluster_tells_its_version_in_either_form() {
    for api in ["projectcalico.org/v3", "crd.projectcalico.org/v1"] {
        let text = format!(
            "apiVersion: {api}\nkind: ClusterInformation\nmetadata: {{name: default}}\nspec: {{calicoVersion: v3.30.2, clusterGUID: abc}}\n"
        );
        let folder = folder(&[("x.yaml", &text)]);
        let (_, snapshot) = read(folder.path());
        assert_eq!(snapshot.datastore.version, Some(Version::new(3, 30, 2)));
        assert_eq!(snapshot.datastore.cluster_guid.as_deref(), Some("abc"));
    }
}

#[test]
fn anchors_and_merge_keys_are_carried_out() {
    let text = format!(
        "x-common: &l {{a: b, c: d}}\n{SET}metadata:\n  name: n\n  labels: {{<<: *l, c: e}}\nspec: {{nets: &n [192.0.2.1]}}\nmore: *n\n"
    );
    let folder = folder(&[("x.yaml", &text)]);
    let (_, snapshot) = read(folder.path());
    let object = snapshot.global(Kind::GlobalNetworkSet, "n").unwrap();
    assert_eq!(
        (object.label("a"), object.label("c")),
        (Some("b"), Some("e"))
    );
}

#[test]
fn a_path_that_is_not_there_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let error = unreadable(&folder.path().join("none"));
    assert_eq!(error.kind, StoreErrorKind::Usage);
    assert!(error.message.starts_with("no such file or folder: `"));
    assert!(error.hint.is_some());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_reading_panic(
        text in "(---\n|\\.\\.\\.\n|kind: |apiVersion: projectcalico.org/v3\n|Tier\n|metadata:|name: a|labels: |items:\n|[\\[\\]{},:?&*|>!\"'#%é\\-]|  |\n|\r\n|\t|<<: ){0,40}",
        json: bool,
    ) {
        let folder = folder(&[(if json { "x.json" } else { "x.yaml" }, &text)]);
        let mut store = Manifests::open(folder.path()).unwrap();
        if let Err(error) = run(store.read(&Wanted::everything())) {
            proptest::prop_assert!(error.hint.is_some(), "{:?}", error);
            proptest::prop_assert!(!error.message.contains('\n'), "{:?}", error);
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn links_inside_the_folder_are_read_once_and_links_out_of_it_never() {
        let outside = folder(&[("o.yaml", &set("outside")), ("d/p.yaml", &set("deep"))]);
        let folder = folder(&[
            ("real/a.yaml", &set("a")),
            (".hidden/b.yaml", &set("b")),
            (".data/c.yaml", &set("c")),
        ]);
        let at = |name: &str| folder.path().join(name);
        symlink("real", at("again")).unwrap();
        symlink("real/a.yaml", at("0.yaml")).unwrap();
        symlink(".hidden/b.yaml", at("b.yaml")).unwrap();
        symlink(".data", at("data")).unwrap();
        symlink("..", at("real/up")).unwrap();
        symlink("nowhere.yaml", at("n.yaml")).unwrap();
        symlink(outside.path().join("o.yaml"), at("o.yaml")).unwrap();
        symlink(outside.path().join("d"), at("d")).unwrap();
        let (_, snapshot) = read(folder.path());
        let places: Vec<_> = snapshot.all().map(|s| s.place.as_str()).collect();
        assert_eq!(places, ["real/a.yaml:1", "b.yaml:1", "data/c.yaml:1"]);
        assert_eq!(snapshot.warnings.len(), 3, "{:?}", snapshot.warnings);
    }

    #[test]
    fn a_file_that_may_not_be_read_is_told() {
        let folder = folder(&[("a.yaml", &set("a"))]);
        let path = folder.path().join("a.yaml");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&path).is_ok() {
            return; // The administrator may read everything.
        }
        let error = unreadable(folder.path());
        assert_eq!(error.kind, StoreErrorKind::Failed);
        assert_eq!(error.message, "cannot read `a.yaml`: permission denied");
        assert!(error.hint.is_some());
    }
}
