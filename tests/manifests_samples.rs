//! Manifests as they are in the field: read whole, changed, and put back byte for byte.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod manifests_support;

use calicoctl_protect::calico::{FieldEdit, FieldPath, Kind, Object, ObjectId, Version};
use calicoctl_protect::store::Write;
use calicoctl_protect::store::manifests::Manifests;
use manifests_support::{
    bytes, deletion, id, label, opposite, read, sample, unreadable, update, write,
};
use serde_json::json;

#[test]
fn a_repository_written_by_hand_is_read_whole() {
    let Some(folder) = sample("gitops") else {
        return;
    };
    let (_, snapshot) = read(folder.path());
    let places: Vec<_> = snapshot
        .all()
        .map(|s| format!("{} {}", s.object.id(), s.place))
        .collect();
    let wanted = [
        "GlobalNetworkPolicy/bl-default-allow policies/global.yaml:3",
        "GlobalNetworkPolicy/masters-from-management policies/global.yaml:14",
        "GlobalNetworkPolicy/no-smb policies/global.yaml:43",
        "GlobalNetworkPolicy/protected-typha-server overlays/prod/typha.yaml:2",
        "NetworkPolicy/monitoring/prometheus-out policies/workloads.yaml:1",
        "HostEndpoint/m1-star hosts/host-endpoints.yaml:7",
        "HostEndpoint/m2-star hosts/host-endpoints.yaml:17",
        "HostEndpoint/m3-eth0 hosts/m3.yml:4",
        "HostEndpoint/w1-eth0 hosts/w1.yaml:2",
        "HostEndpoint/w1-eth1 hosts/w1.yaml:15",
        "HostEndpoint/w2-eth0 hosts/host-endpoints.yaml:34",
        "GlobalNetworkSet/backup-hosts policies/sets/backup.json:1",
        "GlobalNetworkSet/office-north policies/sets/offices.yaml:1",
        "GlobalNetworkSet/office-south policies/sets/offices.yaml:5",
        "FelixConfiguration/default 10-felix.yaml:1",
        "FelixConfiguration/node.m3 10-felix.yaml:35",
        "Tier/default 00-tiers.yaml:13",
        "Tier/netsec 00-tiers.yaml:4",
        "Node/m1 hosts/nodes.yaml:4",
        "Node/m2 hosts/nodes.yaml:18",
        "Node/m3 hosts/nodes.yaml:30",
        "Node/w1 hosts/nodes.yaml:42",
        "NetworkPolicy/monitoring/deny-ingress policies/workloads.yaml:21",
        "Deployment/tools/dashboard apps/dashboard.yaml:2",
    ];
    assert_eq!(places, wanted);
    assert_eq!(
        snapshot.warnings,
        [
            "label `bl-default-allow` of HostEndpoint/m3-eth0 is an unquoted `true`, read as \"true\"; \
             kubectl refuses it, so quote it (hosts/m3.yml:10)"
        ]
    );
}

#[test]
fn exports_of_clusters_are_read_in_both_forms() {
    if let Some(folder) = sample("kubeadm-v3/yaml") {
        let (_, snapshot) = read(folder.path());
        assert_eq!(snapshot.datastore.version, Some(Version::new(3, 32, 1)));
        assert_eq!(
            snapshot.datastore.cluster_guid.as_deref(),
            Some("8395796992c94ffeb81f8c9a9478e9ae")
        );
        assert!(snapshot.of(Kind::Pod).count() > 20 && snapshot.of(Kind::Node).count() == 6);
        assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
    }
    if let Some(folder) = sample("legacy-v1/yaml") {
        let (_, snapshot) = read(folder.path());
        assert_eq!(snapshot.datastore.version, Some(Version::new(3, 28, 5)));
        let endpoint = snapshot.global(Kind::HostEndpoint, "ctl-0-eth0").unwrap();
        assert_eq!(endpoint.label("protected-typha-server"), Some("true"));
        let policy = snapshot.global(Kind::GlobalNetworkPolicy, "bl-default-allow");
        assert!(policy.is_some(), "policies have their v3 names");
    }
}

/// A label on everything, in one batch, and off again.
fn label_all_and_back(name: &str) {
    let Some(folder) = sample(name) else { return };
    let before = bytes(folder.path());
    let (mut store, snapshot) = read(folder.path());
    let mut there = Vec::new();
    let mut back = Vec::new();
    for stored in snapshot.all() {
        let id = stored.object.id();
        let edits = label(&snapshot, id, "allowed-etcd-client", "true");
        if edits.is_empty() {
            continue;
        }
        let undo = opposite(stored.object.value(), &edits);
        there.push(update(&snapshot, id, edits));
        back.push(update(&snapshot, id, undo));
    }
    let mut done = write(&mut store, &there).unwrap_or_else(|e| panic!("{e:#?}"));
    done.sort_unstable();
    assert_eq!(done.len(), there.len());
    let (_, after) = read(folder.path());
    for stored in after.all() {
        let object = &stored.object;
        assert_eq!(
            object.label("allowed-etcd-client"),
            Some("true"),
            "{}",
            object.id()
        );
    }
    // Every line that was there is there still, or is one with a label more in its braces.
    for ((name, old), (_, new)) in before.iter().zip(bytes(folder.path())) {
        let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(&new));
        let mut new = new.lines();
        for line in old.lines() {
            let head = line.split(['}', '\'']).next().unwrap().trim_end();
            let kept = new.any(|n| n == line || (n.starts_with(head) && n.contains("allowed-")));
            assert!(kept, "{}: {line}", name.display());
        }
    }
    write(&mut store, &back).unwrap_or_else(|e| panic!("{e:#?}"));
    for ((name, old), (_, new)) in before.iter().zip(bytes(folder.path())) {
        assert!(
            *old == new,
            "{}\n{}",
            name.display(),
            String::from_utf8_lossy(&new)
        );
    }
}

#[test]
fn a_label_on_everything_by_hand_goes_on_and_off() {
    label_all_and_back("gitops");
}

#[test]
fn a_label_on_everything_exported_goes_on_and_off() {
    label_all_and_back("kubeadm-v3/yaml");
}

#[test]
fn a_label_on_everything_in_stored_form_goes_on_and_off() {
    label_all_and_back("legacy-v1/yaml");
}

#[test]
fn failsafe_ports_are_pruned_and_restored() {
    let Some(folder) = sample("gitops") else {
        return;
    };
    let before = bytes(folder.path());
    let (mut store, snapshot) = read(folder.path());
    let inbound = FieldPath::of(["spec", "failsafeInboundHostPorts"]);
    for (name, indices) in [("default", [4, 4]), ("node.m3", [1, 1])] {
        let id = id(Kind::FelixConfiguration, name);
        let edits: Vec<_> = indices
            .iter()
            .map(|index| FieldEdit::Delete {
                path: inbound.clone(),
                index: *index,
            })
            .collect();
        let undo = opposite(snapshot.get(&id).unwrap().value(), &edits);
        write(&mut store, &[update(&snapshot, &id, edits)]).unwrap();
        let (_, now) = read(folder.path());
        assert!(!format!("{:?}", now.get(&id)).contains("2379"));
        write(&mut store, &[update(&snapshot, &id, undo)]).unwrap();
    }
    assert!(before == bytes(folder.path()));
}

#[test]
fn a_shared_value_is_not_edited() {
    let Some(folder) = sample("gitops") else {
        return;
    };
    let before = bytes(folder.path());
    let (mut store, snapshot) = read(folder.path());
    let id = id(Kind::GlobalNetworkPolicy, "masters-from-management");
    let edit = FieldEdit::Insert {
        path: FieldPath::of(["spec", "ingress"])
            .item(1)
            .key("source")
            .key("nets"),
        index: 1,
        value: json!("192.0.2.0/28"),
    };
    let error = write(&mut store, &[update(&snapshot, &id, vec![edit])]).unwrap_err();
    assert!(error.message.contains("`*mgmt`"), "{error:?}");
    assert!(
        error.detail[0].contains("policies/global.yaml:39"),
        "{error:?}"
    );
    assert!(error.hint.is_some());
    assert!(before == bytes(folder.path()));
}

#[test]
fn new_objects_come_and_go() {
    for (name, into) in [
        ("gitops", None),
        ("gitops", Some("hosts/w1.yaml")),
        ("gitops", Some("hosts/host-endpoints.yaml")),
        ("gitops", Some("policies/sets/offices.yaml")),
        ("gitops", Some("new.yaml")),
        ("kubeadm-v3/yaml", Some("projectcalico.org_bgppeers.yaml")),
        (
            "kubeadm-v3/yaml",
            Some("projectcalico.org_hostendpoints.yaml"),
        ),
        (
            "legacy-v1/yaml",
            Some("crd.projectcalico.org_networksets.yaml"),
        ),
        ("legacy-v1/yaml", None),
    ] {
        let Some(folder) = sample(name) else { return };
        let before = bytes(folder.path());
        let mut store = Manifests::open(folder.path()).unwrap();
        if let Some(into) = into {
            store = store.into_file(into);
        }
        let first = object("new-1");
        let second = object("new-2");
        let batch = [Write::Create(first.clone()), Write::Create(second.clone())];
        let done = write(&mut store, &batch).unwrap_or_else(|e| panic!("{into:?}: {e:#?}"));
        assert_eq!(done, [0, 1]);
        let (_, now) = read(folder.path());
        for object in [&first, &second] {
            let found = now.get(object.id()).unwrap();
            assert_eq!(
                found.spec("nodeName"),
                object.spec("nodeName"),
                "{name} {into:?}"
            );
            assert_eq!(found.label("a"), Some("true"));
        }
        let deletes = [deletion(&now, second.id()), deletion(&now, first.id())];
        write(&mut store, &deletes).unwrap_or_else(|e| panic!("{into:?}: {e:#?}"));
        assert!(before == bytes(folder.path()), "{name} {into:?}");
    }
}

fn object(name: &str) -> Object {
    let mut object = Object::empty(ObjectId::global(Kind::HostEndpoint, name));
    object.set_spec("node", json!("m9"));
    object.set_spec("interfaceName", json!("*"));
    object.set_spec("expectedIPs", json!(["192.0.2.9", "2001:db8::9"]));
    object.set_label("a", "true");
    object
}

#[test]
fn a_patch_by_itself_is_an_object_like_any_other() {
    let Some(folder) = sample("gitops") else {
        return;
    };
    std::fs::remove_file(folder.path().join("overlays/prod/kustomization.yaml")).unwrap();
    let error = unreadable(folder.path());
    assert_eq!(
        error.message,
        "HostEndpoint/m1-star is there twice: `hosts/host-endpoints.yaml:7` and `overlays/prod/m1-labels.patch.yaml:2`"
    );
}
