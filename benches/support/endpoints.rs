//! Host endpoints of the bench's own, on a server that may hold others.

use std::sync::atomic::AtomicBool;

use calicoctl_protect::calico::{Kind, Object, Snapshot, Stored};
use calicoctl_protect::store::kubernetes::KubernetesStore;
use calicoctl_protect::store::{Store, Wanted, Write};
use serde_json::json;

/// How many there are.
pub const COUNT: usize = 5_000;

/// What their names, and those of their nodes, begin with.
const PREFIX: &str = "calicoctl-protect-bench-";

/// The name of one.
pub fn name(number: usize) -> String {
    format!("{PREFIX}{number}-eth0")
}

/// One of them.
pub fn mk(number: usize) -> Object {
    let host_endpoint = Object::new(json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "HostEndpoint",
        "metadata": {"name": name(number), "labels": {
            "env": "prod", "rack": format!("r{}", number % 40), "bl-default-allow": "true"}},
        "spec": {"node": format!("{PREFIX}{number}"), "interfaceName": "eth0",
                 "expectedIPs": [format!("10.{}.{}.7", number / 250, number % 250)]},
    }));
    host_endpoint.unwrap()
}

/// Those of what was read.
pub fn of(snapshot: &Snapshot) -> impl Iterator<Item = &Stored> {
    snapshot.all().filter(|stored| {
        let id = stored.object.id();
        id.kind == Kind::HostEndpoint && id.name.starts_with(PREFIX)
    })
}

/// What has to be read for them.
pub fn wanted() -> Wanted {
    Wanted {
        kinds: vec![Kind::HostEndpoint],
        ..Wanted::default()
    }
}

/// Makes them.
pub async fn make(store: &mut KubernetesStore) {
    let all: Vec<Write> = (0..COUNT).map(|n| Write::Create(mk(n))).collect();
    write(store, &all).await;
}

/// Takes away those that are there.
pub async fn clear(store: &mut KubernetesStore) {
    let snapshot = store.read(&wanted()).await.unwrap();
    let all = of(&snapshot).map(|stored| Write::Delete {
        id: stored.object.id().clone(),
        revision: Some(stored.revision.clone()),
    });
    write(store, &all.collect::<Vec<_>>()).await;
}

async fn write(store: &mut KubernetesStore, writes: &[Write]) {
    let never = AtomicBool::new(false);
    store.write(writes, &never, &mut |_| ()).await.unwrap();
}
