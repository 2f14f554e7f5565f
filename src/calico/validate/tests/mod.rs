//! Each rule with a value that is refused and one beside it that is not.

use serde_json::{Value, json};

use super::Who::{Felix, Libcalico, LibcalicoOnKubernetes, Server};
use super::*;

mod endpoints;
mod policies;

const V3_17: Version = Version::new(3, 17, 0);
const V3_28: Version = Version::new(3, 28, 5);
const V3_29: Version = Version::new(3, 29, 7);
const V3_31: Version = Version::new(3, 31, 0);
const V3_32: Version = Version::new(3, 32, 1);
const V3_33: Version = Version::new(3, 33, 0);
const ALL: [Version; 5] = [V3_28, V3_29, V3_31, V3_32, V3_33];

const MISSING: Who = Felix(Effect::Missing);
const DROPPED: Who = Felix(Effect::Dropped);
const UNREADABLE: Who = Felix(Effect::Unreadable);
const STOPS: Who = Felix(Effect::Stops);

fn mk_object(kind: &str, name: &str, spec: &Value) -> Object {
    let metadata = json!({"name": name, "namespace": "ns"});
    mk_with(kind, metadata, spec)
}

fn mk_with(kind: &str, metadata: Value, spec: &Value) -> Object {
    let value = json!({
        "apiVersion": "projectcalico.org/v3", "kind": kind,
        "metadata": metadata, "spec": spec,
    });
    Object::new(value).unwrap()
}

#[track_caller]
fn accepts(object: &Object, version: Version) {
    let found = validate_with(object, version, &no_bang);
    assert_eq!(found, [], "{version}: {}", object.value());
}

/// Exactly one violation, of this field, and minded by these.
#[track_caller]
fn refuses(object: &Object, version: Version, path: &str, by: &[Who]) {
    let found = validate_with(object, version, &no_bang);
    let [violation] = found.as_slice() else {
        panic!("{version}: {}: {found:?}", object.value());
    };
    assert_eq!(violation.path.to_string(), path, "{violation}");
    assert_eq!(violation.by, by, "{violation} {version}");
}

/// Stands for the parser of selectors.
fn no_bang(selector: &str) -> Result<(), String> {
    match selector.contains("!!") {
        true => Err("two `!`".into()),
        false => Ok(()),
    }
}

#[test]
fn names_are_subdomains() {
    let named = |name: &str| mk_object("GlobalNetworkSet", name, &json!({}));
    accepts(&named("a.b-c"), V3_33);
    accepts(&named(&"a".repeat(253)), V3_33);
    for name in ["A", "a_b", "a..b", "-a", &"a".repeat(254)] {
        refuses(&named(name), V3_33, "metadata.name", &[Libcalico, Server]);
    }
}

#[test]
fn names_of_policies_have_at_most_one_dot_and_none_before_tiers() {
    for kind in ["GlobalNetworkPolicy", "NetworkPolicy"] {
        let named = |name| mk_object(kind, name, &json!({}));
        accepts(&named("a"), V3_28);
        refuses(&named("default.a"), V3_28, "metadata.name", &[Libcalico]);
        accepts(&named("default.a"), V3_31);
        accepts(&named("x.a"), V3_32);
        refuses(&named("a.b.c"), V3_32, "metadata.name", &[Libcalico]);
    }
    let derived = mk_object("NetworkPolicy", "knp.default.a.b", &json!({}));
    ALL.into_iter().for_each(|v| accepts(&derived, v));
}

#[test]
fn names_of_policies_begin_with_their_tier_before_v3_32() {
    let policy = |name, tier: &str| mk_object("GlobalNetworkPolicy", name, &json!({"tier": tier}));
    accepts(&policy("t.a", "t"), V3_31);
    accepts(&policy("a", "t"), V3_32);
    for (name, tier) in [("a", "t"), ("t.a", "u"), ("t.a", "default")] {
        refuses(&policy(name, tier), V3_31, "metadata.name", &[Libcalico]);
    }
}

#[test]
fn labels_have_kubernetes_syntax() {
    let set = |labels| {
        let metadata = json!({"name": "a", "labels": labels});
        mk_with("GlobalNetworkSet", metadata, &json!({}))
    };
    accepts(&set(json!({"x.y/A_b": "", "b": "1.10"})), V3_33);
    let both = [Libcalico, Server];
    refuses(
        &set(json!({"a b": ""})),
        V3_33,
        r#"metadata.labels["a b"]"#,
        &both,
    );
    refuses(&set(json!({"a": "b c"})), V3_33, "metadata.labels.a", &both);
    let all = [Libcalico, Server, UNREADABLE];
    refuses(&set(json!({"a": true})), V3_33, "metadata.labels.a", &all);
}

#[test]
fn the_namespace_label_is_reserved_on_sets() {
    let labels = json!({"projectcalico.org/namespace": "x"});
    let metadata = json!({"name": "a", "namespace": "ns", "labels": labels});
    let path = r#"metadata.labels["projectcalico.org/namespace"]"#;
    for kind in ["GlobalNetworkSet", "NetworkSet"] {
        let set = mk_with(kind, metadata.clone(), &json!({}));
        refuses(&set, V3_33, path, &[Libcalico]);
    }
    accepts(&mk_with("GlobalNetworkPolicy", metadata, &json!({})), V3_33);
}

#[test]
fn annotations_are_limited_in_size_and_keys() {
    let set = |annotations| {
        let metadata = json!({"name": "a", "annotations": annotations});
        mk_with("GlobalNetworkSet", metadata, &json!({}))
    };
    accepts(&set(json!({"X.Y/a": "b".repeat(256 * 1024 - 5)})), V3_33);
    let big = set(json!({"X.Y/a": "b".repeat(256 * 1024 - 4)}));
    refuses(&big, V3_33, "metadata.annotations", &[Libcalico, Server]);
    let bad = set(json!({"a b": "c"}));
    let path = r#"metadata.annotations["a b"]"#;
    refuses(&bad, V3_33, path, &[Libcalico, Server]);
}

#[test]
fn of_kubernetes_kinds_only_the_metadata_is_checked_and_by_the_server() {
    let node = |labels| {
        let value = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "M1", "labels": labels}, "spec": {"nets": 1},
        });
        Object::new(value).unwrap()
    };
    accepts(&node(json!({"a": "b"})), V3_33);
    refuses(
        &node(json!({"a": "b c"})),
        V3_33,
        "metadata.labels.a",
        &[Server],
    );
}

#[test]
fn tiers_have_simple_names_and_two_ends() {
    let tier = |name: &str, spec| mk_object("Tier", name, &spec);
    accepts(
        &tier("a", json!({"order": 5, "defaultAction": "Pass"})),
        V3_31,
    );
    refuses(
        &tier("a.b", json!({})),
        V3_31,
        "metadata.name",
        &[Libcalico],
    );
    refuses(
        &tier(&"a".repeat(64), json!({})),
        V3_31,
        "metadata.name",
        &[Libcalico],
    );
    let allow = tier("a", json!({"defaultAction": "Allow"}));
    refuses(&allow, V3_31, "spec.defaultAction", &[Libcalico, Server]);
    refuses(&tier("a", json!({})), V3_28, "kind", &[Libcalico, Server]);
}

#[test]
fn built_in_tiers_are_fixed() {
    let tier = |name: &str, spec| mk_object("Tier", name, &spec);
    let both = [Libcalico, Server];
    for (name, order, action, version) in [
        ("default", 1e6, "Deny", V3_33),
        ("kube-admin", 1e3, "Pass", V3_33),
        ("kube-baseline", 1e7, "Pass", V3_33),
        ("adminnetworkpolicy", 1e3, "Pass", V3_31),
        ("baselineadminnetworkpolicy", 1e7, "Pass", V3_31),
    ] {
        let good = json!({"order": order, "defaultAction": action});
        accepts(&tier(name, good), version);
        let moved = json!({"order": 5, "defaultAction": action});
        let by = if version == V3_33 {
            &both[..]
        } else {
            &both[..1]
        };
        refuses(&tier(name, moved.clone()), version, "spec.order", by);
        if version == V3_33 {
            refuses(&tier(name, moved), V3_32, "spec.order", &[Libcalico]);
        }
    }
    let passes = tier("default", json!({"order": 1e6, "defaultAction": "Pass"}));
    refuses(&passes, V3_32, "spec.defaultAction", &both);
    accepts(&passes, V3_31);
    accepts(&tier("default", json!({})), V3_32);
    refuses(&tier("default", json!({})), V3_33, "spec.order", &[Server]);
    // A name of another release is a name like any other.
    accepts(&tier("kube-admin", json!({"order": 5})), V3_31);
    accepts(&tier("adminnetworkpolicy", json!({"order": 5})), V3_32);
}

#[test]
fn switches_of_kube_controllers() {
    let config = |node| {
        let spec = json!({"controllers": {"node": node}});
        mk_object("KubeControllersConfiguration", "default", &spec)
    };
    let good = json!({"syncLabels": "Enabled", "hostEndpoint": {"autoCreate": "Enabled"}});
    accepts(&config(good), V3_33);
    let sync = "spec.controllers.node.syncLabels";
    let off = config(json!({"syncLabels": "Disabled"}));
    refuses(&off, V3_33, sync, &[LibcalicoOnKubernetes]);
    let typo = config(json!({"syncLabels": "enabled"}));
    refuses(&typo, V3_32, sync, &[Libcalico, Server]);
    refuses(&typo, V3_31, sync, &[Libcalico]);
    let auto = config(json!({"hostEndpoint": {"autoCreate": true}}));
    let path = "spec.controllers.node.hostEndpoint.autoCreate";
    refuses(&auto, V3_31, path, &[Libcalico, Server, UNREADABLE]);
}
