//! The main job on whole clusters in live stores, there and back.

use std::path::{Path, PathBuf};

use super::double::Shape;
use super::place::Place;

/// A sample cluster, if this machine has them beside the sources.
fn sample(name: &str) -> Option<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places = sources
        .ancestors()
        .map(|a| a.join("shared/clusters").join(name));
    let found = places.find(|path| path.exists());
    if found.is_none() {
        super::etcd_server::say(&format!(
            "skipped: no sample cluster `{name}` beside the sources"
        ));
    }
    found
}

/// Each command, a second time, and then the opposites in the opposite order; after each of them
/// everything is as it was before its command.
async fn there_and_back(place: &Place, pairs: &[(&str, &str)]) {
    let mut before = Vec::new();
    for (command, _) in pairs {
        before.push(place.stored().await);
        place.does(&format!("{command} --yes")).says("done: ");
        place
            .does(&format!("{command} --yes"))
            .says("nothing to do");
    }
    assert!(before[0].len() > 10, "the cluster is there");
    for ((_, opposite), before) in pairs.iter().zip(before).rev() {
        place.does(&format!("{opposite} --yes")).says("done: ");
        let after = place.stored().await;
        for (key, value) in &before {
            assert_eq!(after.get(key), Some(value), "{opposite}: {key}");
        }
        assert_eq!(
            after.len(),
            before.len(),
            "{opposite}: something is left behind"
        );
    }
}

const ETCD: (&str, &str) = (
    "server etcd --node-selector has(node-role.kubernetes.io/control-plane)",
    "remove etcd",
);
const CLIENTS: (&str, &str) = (
    "grant etcd --all-nodes --net 198.51.100.0/28",
    "revoke etcd --all-nodes --net 198.51.100.0/28",
);
const TYPHA: (&str, &str) = (
    "server typha --node-selector has(node-role.kubernetes.io/control-plane)",
    "remove typha",
);
const METRICS: (&str, &str) = ("server felix-metrics --all-nodes", "remove felix-metrics");
const PRUNE: (&str, &str) = ("prune tcp/2379", "restore tcp/2379");

#[tokio::test]
async fn a_kubeadm_cluster_with_native_definitions() {
    let Some(folder) = sample("kubeadm-v3") else {
        return;
    };
    let place = Place::of_export(&folder, Shape::NativeV3, "v3.32.1");
    let pods = (
        "grant felix-metrics --workload 'monitoring/app == \"prometheus\"'",
        "revoke felix-metrics --workload 'monitoring/app == \"prometheus\"'",
    );
    there_and_back(&place, &[ETCD, CLIENTS, TYPHA, METRICS, pods, PRUNE]).await;
}

#[tokio::test]
async fn a_cluster_with_definitions_of_the_first_version() {
    let Some(folder) = sample("legacy-v1") else {
        return;
    };
    let place = Place::of_export(&folder, Shape::LegacyV1, "v3.28.5");
    let pods = (
        "grant felix-metrics --workload monitoring/all()",
        "revoke felix-metrics --workload monitoring/all()",
    );
    there_and_back(&place, &[ETCD, CLIENTS, TYPHA, METRICS, pods]).await;
}

#[tokio::test]
async fn a_datastore_in_etcd_without_kubernetes() {
    let Some(dump) = sample("etcd-baremetal/dump.jsonl") else {
        return;
    };
    let dump = std::fs::read_to_string(dump).unwrap();
    let Some(place) = Place::of_dump(&dump, "v3.27.5").await else {
        return;
    };
    let infra = "--node infra-1 --node infra-2 --node infra-3";
    there_and_back(
        &place,
        &[
            (
                "grant etcd --all-nodes --net 203.0.113.16/28 --net-set neutron-api",
                "revoke etcd --all-nodes --net 203.0.113.16/28 --net-set neutron-api",
            ),
            (
                &format!("server etcd {infra} --interface bond0"),
                "remove etcd",
            ),
            (
                "server felix-metrics --node compute-1 --interface bond0",
                "remove felix-metrics",
            ),
            (
                "grant felix-metrics --net 203.0.113.64/28",
                "revoke felix-metrics --net 203.0.113.64/28",
            ),
            ("prune tcp/6666 tcp/6667", "restore tcp/6666 tcp/6667"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_small_datastore_in_etcd() {
    let dump = include_str!("../data/etcd/dump.jsonl");
    let Some(place) = Place::of_dump(dump, "v3.32.1").await else {
        return;
    };
    there_and_back(
        &place,
        &[
            (
                "grant etcd --all-nodes --net 203.0.113.16/28",
                "revoke etcd --all-nodes --net 203.0.113.16/28",
            ),
            (
                "grant etcd --net-set office",
                "revoke etcd --net-set office",
            ),
        ],
    )
    .await;
}
