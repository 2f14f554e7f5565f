//! The store against a live API server, when there is one.

use std::collections::BTreeSet;

use calicoctl_protect::calico::{FieldEdit, FieldPath, Kind, ObjectId, Snapshot};
use calicoctl_protect::plan::check::check;
use calicoctl_protect::plan::proof::standing;
use calicoctl_protect::plan::reading::Question;
use calicoctl_protect::store::kubernetes::{KubernetesStore, Limits};
use calicoctl_protect::store::{Store, StoreErrorKind, Wanted, Write};
use serde_json::json;

use crate::support::*;

/// Names a kubeconfig of a cluster with Calico's resource definitions.
pub const VARIABLE: &str = "CALICOCTL_PROTECT_TEST_KUBECONFIG";

/// A live server, and the beginning of all names that a test gives there.
struct Live {
    store: KubernetesStore,
    prefix: String,
}

const KINDS: [Kind; 3] = [
    Kind::HostEndpoint,
    Kind::GlobalNetworkPolicy,
    Kind::GlobalNetworkSet,
];

impl Live {
    /// The server without what an earlier run of the test left behind; `None` where there is none.
    async fn find(test: &str, limits: Limits) -> Option<Self> {
        let Some(path) = std::env::var_os(VARIABLE) else {
            eprintln!("skipped: no live API server ({VARIABLE} is not set)");
            return None;
        };
        let mut live = Self {
            store: KubernetesStore::new(config(path), limits),
            prefix: format!("calicoctl-protect-test-{test}-"),
        };
        live.clear().await;
        Some(live)
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What the test made, as it is now.
    async fn own(&mut self) -> (Snapshot, Vec<ObjectId>) {
        let snapshot = self.store.read(&kinds_wanted(&KINDS)).await.unwrap();
        let ids = snapshot.all().map(|stored| stored.object.id());
        let ids = ids.filter(|id| id.name.starts_with(&self.prefix));
        let ids = ids.cloned().collect();
        (snapshot, ids)
    }

    /// Takes all of it away; how many there were.
    async fn clear(&mut self) -> usize {
        let (snapshot, ids) = self.own().await;
        let gone: Vec<Write> = ids.iter().map(|id| delete(&snapshot, id)).collect();
        self.store.preflight(&gone).await.unwrap();
        let (done, result) = write(&mut self.store, &gone).await;
        result.unwrap();
        assert!(self.own().await.1.is_empty());
        done.len()
    }
}

#[tokio::test]
async fn objects_are_made_changed_and_taken_away_on_a_live_server() {
    let Some(mut live) = Live::find("change", Limits::default()).await else {
        return;
    };
    let name = |n: &str| format!("calicoctl-protect-test-change-{n}");
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
    live.store.preflight(&create).await.unwrap();
    assert_eq!(
        write(&mut live.store, &create).await,
        (vec![0, 1, 2], Ok(()))
    );

    let (made, _) = live.own().await;
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
    live.store.preflight(&change).await.unwrap();
    assert_eq!(write(&mut live.store, &change).await, (vec![0, 1], Ok(())));
    let mut late = KubernetesStore::new(
        config(std::env::var_os(VARIABLE).unwrap()),
        Limits::default(),
    );
    let error = write(&mut late, &change[..1]).await.1.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);

    let (changed, _) = live.own().await;
    let hep = changed.get(&hep_id(&name("h"))).unwrap();
    assert_eq!((hep.label("a"), hep.label("x")), (Some("1"), Some("1")));
    assert_eq!(
        changed.get(&set).unwrap().spec("nets"),
        Some(&json!(["192.0.2.0/24", "198.51.100.0/24"]))
    );
    assert_eq!(live.clear().await, 3);
}

#[tokio::test]
async fn lists_of_a_live_server_come_in_pages_of_one_moment() {
    let limits = Limits {
        page: 2,
        ..Limits::default()
    };
    let Some(mut live) = Live::find("pages", limits).await else {
        return;
    };
    let sets =
        (0..7).map(|n| Write::Create(mk_set(&live.name(&format!("s{n}")), &["192.0.2.0/24"])));
    let sets: Vec<Write> = sets.collect();
    write(&mut live.store, &sets).await.1.unwrap();
    let (snapshot, ids) = live.own().await;
    assert_eq!(ids.len(), 7);
    let revisions: BTreeSet<&String> = live.store.list_revisions().values().collect();
    assert_eq!(revisions.len(), 1, "{:?}", snapshot.datastore);
    live.clear().await;
}

#[tokio::test]
async fn what_a_live_server_would_refuse_is_known_before_anything_is_written() {
    let Some(mut live) = Live::find("refused", Limits::default()).await else {
        return;
    };
    let good = Write::Create(mk_set(&live.name("good"), &["192.0.2.0/24"]));
    let mut policy = mk_policy(&live.name("bad")).into_value();
    policy["spec"]["selector"] = json!("has(calicoctl-protect-test)");
    policy["spec"]["preDNAT"] = json!(true);
    policy["spec"]["applyOnForward"] = json!(true);
    policy["spec"]["doNotTrack"] = json!(true);
    policy["metadata"]["labels"] = json!({"a": "no label has spaces"});
    let bad = Write::Create(object(policy));
    let error = live.store.preflight(&[good, bad]).await.unwrap_err();
    assert!(
        error.message.contains("calicoctl-protect-test-refused-bad"),
        "{error}"
    );
    assert!(live.own().await.1.is_empty());
}

#[tokio::test]
async fn a_part_of_a_live_cluster_is_judged_as_the_whole() {
    let Some(mut live) = Live::find("part", Limits::default()).await else {
        return;
    };
    let whole = live.store.read(&Wanted::everything()).await.unwrap();
    let part = live.store.read(&Question::of(None).wanted()).await.unwrap();
    assert!(part.of(Kind::Pod).count() <= whole.of(Kind::Pod).count());
    let judged = |c: &Snapshot| format!("{:?} {:?}", check(c, None).unwrap(), standing(c));
    assert_eq!(judged(&whole), judged(&part));
}
