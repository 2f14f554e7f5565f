use super::create::take_map;
use super::*;
use crate::calico::Object;
use crate::calico::object::label_path;
use proptest::prelude::*;

const V3_27_4: Version = Version::new(3, 27, 4);
const V3_27_5: Version = Version::new(3, 27, 5);
const V3_28: Version = Version::new(3, 28, 5);
const V3_31: Version = Version::new(3, 31, 0);
const V3_32: Version = Version::new(3, 32, 1);
const ALL: [Version; 5] = [V3_27_4, V3_27_5, V3_28, V3_31, V3_32];

/// A host endpoint as calicoctl v3.28 stores it, with a label that kubectl added.
fn mk_hep() -> Value {
    json!({
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "HostEndpoint",
        "metadata": {
            "name": "m1-eth0",
            "uid": "af01552d-cd77-4a47-b15f-d83a9d874065",
            "resourceVersion": "533",
            "generation": 1,
            "creationTimestamp": "2026-11-23T02:14:15Z",
            "labels": {"rack": "r7"},
            "annotations": {METADATA: concat!(
                r#"{"creationTimestamp":"2026-11-23T02:14:14Z","labels":{"b":"1","note":"a\u003cb"}"#,
                r#","ownerReferences":[{"apiVersion":"crd.projectcalico.org/v1","kind":"Tier","#,
                r#""name":"t","uid":"01020304-0506-4708-890a-0b0c0d0e0f10"}]}"#
            )},
        },
        "spec": {"node": "m1", "interfaceName": "eth0", "expectedIPs": ["192.0.2.51"]},
    })
}

fn mk_by_kubectl() -> Value {
    json!({
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "GlobalNetworkSet",
        "metadata": {"name": "scrapers", "labels": {"role": "scraper"}},
        "spec": {"nets": ["198.51.100.77/32"]},
    })
}

fn mk_policy(annotation: Option<&str>) -> Value {
    let mut policy = json!({
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "default.x"},
        "spec": {"order": 1},
    });
    if let Some(text) = annotation {
        policy["metadata"]["annotations"] = json!({METADATA: text});
    }
    policy
}

fn set(key: &str, value: &str) -> FieldEdit {
    FieldEdit::Set {
        path: label_path().key(key),
        value: json!(value),
    }
}

fn unset(key: &str) -> FieldEdit {
    FieldEdit::Remove {
        path: label_path().key(key),
    }
}

fn edited(stored: &Value, v3_edits: &[FieldEdit], version: Version) -> Value {
    let mut stored = stored.clone();
    let edits = edits(&stored, v3_edits, version).unwrap();
    edit::apply(&mut stored, &edits).unwrap();
    stored
}

fn text(stored: &Value) -> &str {
    stored["metadata"]["annotations"][METADATA]
        .as_str()
        .unwrap()
}

#[test]
fn the_view_merges_the_annotation_over_the_object() {
    let view = to_v3(&mk_hep(), V3_28).unwrap();
    assert_eq!(
        view,
        json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": "HostEndpoint",
            "metadata": {
                "name": "m1-eth0",
                "uid": convert_uid("af01552d-cd77-4a47-b15f-d83a9d874065").unwrap(),
                "resourceVersion": "533",
                "creationTimestamp": "2026-11-23T02:14:14Z",
                "labels": {"rack": "r7", "b": "1", "note": "a<b"},
                "ownerReferences": [{
                    "apiVersion": "projectcalico.org/v3", "kind": "Tier", "name": "t",
                    "uid": "8040c020-a060-4710-8950-d030b070f008",
                }],
            },
            "spec": {"node": "m1", "interfaceName": "eth0", "expectedIPs": ["192.0.2.51"]},
        })
    );
}

#[test]
fn the_annotation_wins_over_the_object_from_v3_28_on() {
    let mut hep = mk_hep();
    hep["metadata"]["labels"]["b"] = json!("2");
    let label = |version| to_v3(&hep, version).unwrap()["metadata"]["labels"]["b"].clone();
    assert_eq!(label(V3_28), "1");
    assert_eq!(label(V3_27_5), "2");
}

#[test]
fn up_to_v3_27_labels_inside_the_annotation_are_not_seen() {
    let view = to_v3(&mk_hep(), V3_27_5).unwrap();
    assert_eq!(view["metadata"]["labels"], json!({"rack": "r7"}));
}

#[test]
fn up_to_v3_27_4_the_uid_is_not_converted() {
    let uid = |version| to_v3(&mk_hep(), version).unwrap()["metadata"]["uid"].clone();
    assert_eq!(uid(V3_27_4), mk_hep()["metadata"]["uid"]);
    assert_ne!(uid(V3_27_5), mk_hep()["metadata"]["uid"]);
}

#[test]
fn an_object_made_by_kubectl_is_taken_as_it_is() {
    let view = to_v3(&mk_by_kubectl(), V3_32).unwrap();
    assert_eq!(view["metadata"], mk_by_kubectl()["metadata"]);
}

#[test]
fn policy_names_follow_the_record_and_the_release() {
    for (annotation, version, name) in [
        (None, V3_28, "x"),
        (None, V3_31, "default.x"),
        (Some("{}"), V3_28, "x"),
        (Some("{}"), V3_31, "x"),
        (Some("{}"), Version::new(3, 30, 0), "default.x"),
        (Some(r#"{"name":"x"}"#), V3_31, "x"),
        (Some(r#"{"name":"default.x"}"#), V3_32, "default.x"),
        (Some("null"), V3_32, "x"),
    ] {
        let view = to_v3(&mk_policy(annotation), version).unwrap();
        assert_eq!(view["metadata"]["name"], name, "{annotation:?} {version}");
    }
}

#[test]
fn an_annotation_that_calico_could_not_read_is_an_error_that_names_it() {
    for bad in [
        "",
        "{",
        "[]",
        r#"{"labels":[]}"#,
        r#"{"labels":{"a":true}}"#,
        r#"{"labels":{"a":"1"},"labels":{}}"#,
        r#"{"labels":{"a":"1","a":"2"}}"#,
    ] {
        let policy = mk_policy(Some(bad));
        let error = to_v3(&policy, V3_32).unwrap_err().to_string();
        assert!(error.contains("`projectcalico.org/metadata`"), "{error}");
        assert!(
            error.starts_with("GlobalNetworkPolicy/default.x: "),
            "{error}"
        );
        assert!(edits(&policy, &[set("k", "v")], V3_32).is_err(), "{bad}");
    }
    let good = mk_policy(Some(r#"{"labels":{"a":null}}"#));
    assert_eq!(to_v3(&good, V3_32).unwrap()["metadata"]["labels"]["a"], "");
}

#[test]
fn what_is_no_stored_object_is_refused() {
    let view = to_v3(&mk_hep(), V3_28).unwrap();
    for value in [view, json!({}), json!(1)] {
        assert_eq!(to_v3(&value, V3_28), Err(V1Error::NotStored));
    }
    let mut hep = mk_hep();
    hep["metadata"]["uid"] = json!("1");
    assert!(matches!(to_v3(&hep, V3_28), Err(V1Error::Uid { .. })));
}

#[test]
fn a_new_label_goes_where_the_writer_puts_it() {
    let hep = edited(&mk_hep(), &[set("k", "v")], V3_28);
    assert_eq!(hep["metadata"]["labels"], json!({"rack": "r7"}));
    assert!(text(&hep).contains(r#""labels":{"b":"1","k":"v","note":"a\u003cb"}"#));

    let hep = edited(&mk_hep(), &[set("k", "v")], V3_27_5);
    assert_eq!(hep["metadata"]["labels"], json!({"rack": "r7", "k": "v"}));
    assert_eq!(text(&hep), text(&mk_hep()));

    let set_by_kubectl = edited(&mk_by_kubectl(), &[set("k", "v")], V3_32);
    assert_eq!(
        set_by_kubectl["metadata"]["labels"],
        json!({"role": "scraper", "k": "v"})
    );
    assert!(set_by_kubectl["metadata"].get("annotations").is_none());
}

#[test]
fn calicos_own_labels_stand_on_the_object_as_well() {
    let hep = edited(&mk_hep(), &[set(TIER_LABEL, "t")], V3_28);
    assert_eq!(hep["metadata"]["labels"][TIER_LABEL], "t");
    assert!(text(&hep).contains(r#""projectcalico.org/tier":"t""#));
}

#[test]
fn a_label_is_taken_away_wherever_it_stands() {
    let mut hep = mk_hep();
    hep["metadata"]["labels"]["b"] = json!("2");
    let hep = edited(&hep, &[unset("b"), unset("rack")], V3_28);
    assert!(hep["metadata"].get("labels").is_none());
    assert!(text(&hep).contains(r#""labels":{"note":"#));
}

#[test]
fn a_label_that_kubectl_set_is_changed_where_it_is() {
    let hep = edited(&mk_hep(), &[set("rack", "r8")], V3_28);
    assert_eq!(hep["metadata"]["labels"], json!({"rack": "r8"}));
    assert_eq!(text(&hep), text(&mk_hep()));
}

#[test]
fn edits_of_the_spec_are_the_same_on_both_sides() {
    let edit = FieldEdit::Insert {
        path: FieldPath::of(["spec", "expectedIPs"]),
        index: 1,
        value: json!("192.0.2.52"),
    };
    let result = edits(&mk_hep(), std::slice::from_ref(&edit), V3_28).unwrap();
    assert_eq!(result, [edit]);
}

#[test]
fn what_must_not_change_cannot_be_edited() {
    let at = |keys: &[&str], value: Value| FieldEdit::Set {
        path: FieldPath::of(keys.iter().copied()),
        value,
    };
    for edit in [
        at(&["metadata", "name"], json!("y")),
        at(&["metadata", "finalizers"], json!(["y"])),
        at(&["kind"], json!("Tier")),
        at(&["metadata", "labels"], json!("y")),
        at(&["metadata", "annotations"], json!({METADATA: "{}"})),
    ] {
        let result = edits(&mk_hep(), std::slice::from_ref(&edit), V3_28);
        assert!(matches!(result, Err(V1Error::Fixed(_))), "{edit:?}");
    }
    let number = at(&["metadata", "labels", "k"], json!(1));
    assert!(matches!(
        edits(&mk_hep(), &[number], V3_28),
        Err(V1Error::NotText(_))
    ));
    let nowhere = at(&["spec", "x", "y"], json!(1));
    assert!(matches!(
        edits(&mk_hep(), &[nowhere], V3_28),
        Err(V1Error::Edit(_))
    ));
}

#[test]
fn labels_added_and_taken_away_again_leave_no_trace() {
    let objects = [
        mk_hep(),
        mk_by_kubectl(),
        mk_policy(Some("{}")),
        mk_policy(None),
    ];
    for version in ALL {
        for stored in &objects {
            let view = to_v3(stored, version).unwrap();
            let mut wanted = Object::new(view.clone()).unwrap();
            wanted.set_label("a<&>", "v");
            wanted.set_label("operator.tigera.io/x", "v");
            wanted.set_annotation("n", "<");
            let there = edited(stored, &edit::diff(&view, wanted.value()), version);
            assert_ne!(&there, stored);
            let now = to_v3(&there, version).unwrap();
            let back = edited(&there, &edit::diff(&now, &view), version);
            assert_eq!(&back, stored, "{version}");
        }
    }
}

fn mk_new_policy() -> Object {
    let value = json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "x", "uid": "u", "labels": {"b": "2", "a": "1"}},
        "spec": {"order": 500},
    });
    Object::new(value).unwrap()
}

#[test]
fn a_new_object_is_stored_as_the_release_writes_it() {
    let metadata = |version| create(&mk_new_policy(), version)["metadata"].clone();
    assert_eq!(
        metadata(V3_27_5),
        json!({"name": "default.x", "labels": {"a": "1", "b": "2"}, "annotations": {METADATA: "{}"}})
    );
    assert_eq!(
        metadata(V3_28),
        json!({
            "name": "default.x",
            "annotations": {METADATA: r#"{"labels":{"a":"1","b":"2"}}"#},
        })
    );
    assert_eq!(
        metadata(V3_31),
        json!({
            "name": "default.x",
            "annotations": {METADATA: r#"{"name":"x","labels":{"a":"1","b":"2"}}"#},
        })
    );
    assert_eq!(
        metadata(V3_32),
        json!({
            "name": "x",
            "labels": {TIER_LABEL: "default"},
            "annotations": {METADATA:
                r#"{"name":"x","labels":{"a":"1","b":"2","projectcalico.org/tier":"default"}}"#},
        })
    );
}

#[test]
fn a_policy_of_another_tier_is_labelled_from_v3_29_on() {
    let mut policy = mk_new_policy();
    policy.set_spec("tier", json!("t"));
    let label = |version| create(&policy, version)["metadata"]["labels"][TIER_LABEL].clone();
    assert_eq!(label(V3_31), "t");
    assert_eq!(label(V3_28), Value::Null);
}

#[test]
fn a_new_object_reads_back_as_it_was_written() {
    for version in ALL {
        for kind in ["GlobalNetworkPolicy", "HostEndpoint", "NetworkSet"] {
            let mut value = mk_new_policy().into_value();
            value["kind"] = json!(kind);
            value["metadata"]["annotations"] = json!({"n": "<", "operator.tigera.io/y": "1"});
            value["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "projectcalico.org/v3",
                "uid": "8040c020-a060-4710-8950-d030b070f008",
            }]);
            value["metadata"].as_object_mut().unwrap().remove("uid");
            if kind == "NetworkSet" {
                value["metadata"]["namespace"] = json!("ns");
            }
            let object = Object::new(value.clone()).unwrap();
            let mut view = to_v3(&create(&object, version), version).unwrap();
            if kind == "GlobalNetworkPolicy" && version == V3_32 {
                let labels = view["metadata"]["labels"].as_object_mut().unwrap();
                assert!(labels.remove(TIER_LABEL).is_some());
            }
            assert_eq!(view, value, "{kind} {version}");
        }
    }
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]", "[a-b]projectcalico.org/[a-b]", "[<&]"]
}

fn any_map() -> impl Strategy<Value = Option<Map<String, Value>>> {
    let map = prop::collection::btree_map(any_key(), "[x<]{0,2}", 1..4);
    prop::option::of(map.prop_map(|m| m.into_iter().map(|(k, v)| (k, json!(v))).collect()))
}

fn any_metadata() -> impl Strategy<Value = Map<String, Value>> {
    (any_map(), any_map()).prop_map(|(labels, annotations)| {
        let mut meta = Map::new();
        put_map(&mut meta, "labels", labels.unwrap_or_default());
        put_map(&mut meta, "annotations", annotations.unwrap_or_default());
        meta
    })
}

fn any_stored() -> impl Strategy<Value = Value> {
    let kept = prop::option::of((any_metadata(), any::<bool>()));
    (any_metadata(), kept).prop_map(|(mut metadata, kept)| {
        metadata.insert("name".into(), json!("default.x"));
        let mut annotations = take_map(&mut metadata, "annotations");
        if let Some((mut kept, named)) = kept {
            if named {
                kept.insert("name".into(), json!("x"));
            }
            let text = splice::go_json(&Value::Object(in_go_order(kept)));
            annotations.insert(METADATA.into(), json!(text));
        }
        put_map(&mut metadata, "annotations", annotations);
        json!({
            "apiVersion": CRD_V1, "kind": "GlobalNetworkPolicy",
            "metadata": metadata, "spec": {"order": 1},
        })
    })
}

proptest! {
    #[test]
    fn the_reader_sees_exactly_what_was_wanted(
        stored in any_stored(), wanted in any_metadata(), order in 0..2, whole: bool,
        version in prop::sample::select(ALL.to_vec()),
    ) {
        let view = to_v3(&stored, version).unwrap();
        let mut target = view.clone();
        for field in MAPS {
            let metadata = target["metadata"].as_object_mut().unwrap();
            metadata.shift_remove(field);
            metadata.extend(wanted.get(field).map(|m| (field.to_owned(), m.clone())));
        }
        target["spec"]["order"] = json!(order);
        let v3_edits = if whole {
            vec![FieldEdit::Set { path: FieldPath::root(), value: target.clone() }]
        } else {
            edit::diff(&view, &target)
        };
        let after = edited(&stored, &v3_edits, version);
        prop_assert_eq!(to_v3(&after, version).unwrap(), target);
        prop_assert!(edits(&after, &[], version).unwrap().is_empty());
    }

    #[test]
    fn adding_and_taking_away_a_label_gives_back_the_stored_object(
        stored in any_stored(), key in any_key(),
        version in prop::sample::select(ALL.to_vec()),
    ) {
        let view = to_v3(&stored, version).unwrap();
        let labels = view["metadata"].get("labels");
        // Up to v3.27 a copy may hide in the annotation, where it goes with the label.
        let hidden = text_holds(&stored, &key);
        prop_assume!(labels.is_none_or(|l| l.get(&key).is_none()) && !hidden);
        let mut wanted = Object::new(view.clone()).unwrap();
        wanted.set_label(&key, "v");
        let there = edited(&stored, &edit::diff(&view, wanted.value()), version);
        let now = to_v3(&there, version).unwrap();
        prop_assert_eq!(edited(&there, &edit::diff(&now, &view), version), stored);
    }

    #[test]
    fn a_uid_converted_twice_is_itself(bytes: [u8; 16]) {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let uid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        prop_assert_eq!(convert_uid(&convert_uid(&uid).unwrap()).unwrap(), uid);
    }
}

fn text_holds(stored: &Value, key: &str) -> bool {
    let source = Source::read(stored).unwrap();
    source.keeps("labels", key)
}

#[test]
fn what_is_no_uuid_is_not_converted() {
    for bad in [
        "",
        "1",
        "01020304-0506-4708-890a-0b0c0d0e0f1g",
        "+1020304-0506-4708-890a-0b0c0d0e0f10",
    ] {
        assert_eq!(convert_uid(bad), None, "{bad}");
    }
}
