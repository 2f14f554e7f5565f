//! The store against a live API server, when there is one.

use calicoctl_protect::calico::{FieldEdit, FieldPath, Kind, ObjectId};
use calicoctl_protect::store::kubernetes::{KubernetesStore, Limits};
use calicoctl_protect::store::{Store, StoreErrorKind, Write};
use serde_json::json;

use crate::support::*;

/// Names a kubeconfig of a cluster with Calico's resource definitions.
const VARIABLE: &str = "CALICOCTL_PROTECT_TEST_KUBECONFIG";
/// All that the test makes has a name that begins so.
const PREFIX: &str = "calicoctl-protect-test-";

#[tokio::test]
async fn objects_are_made_changed_and_taken_away_on_a_live_server() {
    let Some(path) = std::env::var_os(VARIABLE) else {
        eprintln!("skipped: no live API server ({VARIABLE} is not set)");
        return;
    };
    let mut store = KubernetesStore::new(config(path), Limits::default());
    let kinds = [
        Kind::HostEndpoint,
        Kind::GlobalNetworkPolicy,
        Kind::GlobalNetworkSet,
    ];
    let wanted = kinds_wanted(&kinds);
    let ours = |id: &ObjectId| id.name.starts_with(PREFIX);
    // What an earlier run left behind.
    let before = store.read(&wanted).await.unwrap();
    let left: Vec<Write> = before
        .all()
        .map(|s| s.object.id())
        .filter(|id| ours(id))
        .map(|id| delete(&before, id))
        .collect();
    write(&mut store, &left).await.1.unwrap();

    let name = |n: &str| format!("{PREFIX}{n}");
    let mut hep = mk_hep(&name("h"), &[("a", "1")]).into_value();
    // No node has this name, so that nothing is policed.
    hep["spec"]["node"] = json!(name("no-node"));
    let mut policy = mk_policy(&name("p")).into_value();
    policy["spec"]["selector"] = json!("has(calicoctl-protect-test)");
    let create = [
        Write::Create(object(hep)),
        Write::Create(object(policy)),
        Write::Create(mk_set(&name("s"), &["192.0.2.0/24"])),
    ];
    store.preflight(&create).await.unwrap();
    assert_eq!(write(&mut store, &create).await, (vec![0, 1, 2], Ok(())));

    let made = store.read(&wanted).await.unwrap();
    let set = ObjectId::global(Kind::GlobalNetworkSet, name("s"));
    let net = FieldEdit::Insert {
        path: FieldPath::of(["spec", "nets"]),
        index: 1,
        value: json!("198.51.100.0/24"),
    };
    let change = [
        set_label(&made, &hep_id(&name("h")), "x", "1"),
        update(&made, &set, vec![net]),
    ];
    store.preflight(&change).await.unwrap();
    assert_eq!(write(&mut store, &change).await, (vec![0, 1], Ok(())));
    let mut late = KubernetesStore::new(
        config(std::env::var_os(VARIABLE).unwrap()),
        Limits::default(),
    );
    let error = write(&mut late, &change[..1]).await.1.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);

    let changed = store.read(&wanted).await.unwrap();
    let hep = changed.get(&hep_id(&name("h"))).unwrap();
    assert_eq!((hep.label("a"), hep.label("x")), (Some("1"), Some("1")));
    assert_eq!(
        changed.get(&set).unwrap().spec("nets"),
        Some(&json!(["192.0.2.0/24", "198.51.100.0/24"]))
    );
    let gone: Vec<Write> = changed
        .all()
        .map(|s| s.object.id())
        .filter(|id| ours(id))
        .map(|id| delete(&changed, id))
        .collect();
    assert_eq!(gone.len(), 3);
    store.preflight(&gone).await.unwrap();
    assert_eq!(write(&mut store, &gone).await, (vec![0, 1, 2], Ok(())));
    let after = store.read(&wanted).await.unwrap();
    assert_eq!(after.len(), before.len() - left.len());
}
