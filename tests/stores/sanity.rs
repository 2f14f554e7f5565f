//! What is looked at before anything is written.

use serde_json::json;

use super::double::Shape;
use super::place::{Place, What};

const GUID: &str = "5d1f6c2ae0f04b0e9f0b1d7c3a9e4c11";
const GRANT: &str = "grant typha --net 198.51.100.0/28";

/// The live stores, as far as they can be had here.
async fn live(version: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for shape in [Shape::NativeV3, Shape::AggregatedV3, Shape::LegacyV1] {
        places.extend(Place::new(What::Kubernetes(shape), version).await);
    }
    places.extend(Place::new(What::Etcd, version).await);
    places
}

/// Changes a field of ClusterInformation.
async fn set(place: &Place, field: &str, value: serde_json::Value) {
    if place.what == What::Etcd {
        let key = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
        let mut object = place.etcd().raw().get(key).await.unwrap().json();
        object["spec"][field] = value;
        place.etcd().raw().put(key, object.to_string()).await;
        return;
    }
    let group = match place.what {
        What::Kubernetes(Shape::LegacyV1) => "crd.projectcalico.org",
        _ => "projectcalico.org",
    };
    let resource = format!("clusterinformations.{group}");
    let mut object = place.double().get(&resource, "default").unwrap();
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .shift_remove("resourceVersion");
    object["spec"][field] = value;
    place.double().load([object]);
}

#[tokio::test]
async fn the_cluster_is_shown_before_anything_is_asked() {
    for place in live("v3.32.1").await {
        let url = match place.what {
            What::Etcd => place.etcd().url(),
            _ => place.double().url().to_owned(),
        };
        // Without a terminal and `--yes` it ends where it would ask.
        let run = place.run(GRANT);
        assert_eq!(run.code, 64, "{run}");
        let line = run
            .err
            .lines()
            .find(|line| line.starts_with("cluster: "))
            .unwrap_or_default();
        for part in [url.as_str(), GUID, "Calico v3.32.1"] {
            assert!(line.contains(part), "no `{part}` in {line}\n{run}");
        }
        let shown = place.run(&format!("{GRANT} --dry-run -o json")).json();
        assert_eq!(shown["datastore"]["clusterGUID"], GUID);
        assert_eq!(shown["datastore"]["calicoVersion"], "v3.32.1");
        assert_eq!(shown["datastore"]["location"], url);
    }
}

#[tokio::test]
async fn a_locked_datastore_is_not_written_to() {
    for place in live("v3.32.1").await {
        set(&place, "datastoreReady", json!(false)).await;
        let before = place.stored().await;
        let run = place.run(&format!("{GRANT} --yes"));
        assert_eq!(run.code, 1, "{:?}\n{run}", place.what);
        run.says("error: the datastore is locked")
            .says("datastoreReady");
        run.says("hint: ")
            .says("`calicoctl datastore migrate unlock`");
        assert_eq!(place.stored().await, before);
    }
}

#[tokio::test]
async fn a_version_from_the_future_is_told_and_gone_on_with() {
    for place in live("v3.32.1").await {
        set(&place, "calicoVersion", json!("v3.99.0")).await;
        let run = place.does(&format!("{GRANT} --yes"));
        run.says("warning: Calico v3.99.0 is newer than")
            .says("done: ");
    }
}

#[tokio::test]
async fn a_policy_needs_its_tier_before_the_first_write() {
    let Some(place) = Place::new(What::Etcd, "v3.32.1").await else {
        return;
    };
    // Tiers of another cluster: that of the policies is not there.
    let key = "/calico/resources/v3/projectcalico.org/tiers/default";
    place.etcd().raw().delete(key).await;
    let before = place.stored().await;
    let run = place.run("server db --port tcp/5432 --node w-1 --interface eth0 --yes");
    assert_eq!(run.code, 1, "{run}");
    run.says("there is no tier `default`").says("hint: ");
    assert_eq!(place.stored().await, before);
}
