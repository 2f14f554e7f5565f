//! Two users of one cluster, each with a journal of their own, in every kind of store: an undo keeps
//! what the other has made of the same objects since.

use super::double::Shape;
use super::place::{Place, Run, What};

/// One of each kind.
const KINDS: [(What, &str); 4] = [
    (What::Manifests, "v3.32.1"),
    (What::Kubernetes(Shape::NativeV3), "v3.32.1"),
    (What::Kubernetes(Shape::LegacyV1), "v3.30.7"),
    (What::Etcd, "v3.32.1"),
];

async fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for (what, version) in KINDS {
        places.extend(Place::new(what, version).await);
    }
    places
}

/// A command of a user.
fn ends(place: &Place, code: i32, who: &str, line: &str) -> Run {
    let journal = place.dir().join(who);
    let run = place.run(&format!("--journal {} {line} --yes", journal.display()));
    assert_eq!(run.code, code, "{:?}: {line}\n{run}", place.what);
    run
}

/// Checks that a cluster holds what one does on which one user alone has given these commands.
async fn is_as_after(place: &Place, lines: &[&str]) {
    let other = Place::new(place.what, &place.version.to_string()).await;
    let other = other.unwrap();
    for line in lines {
        ends(&other, 0, "b", line);
    }
    let (is, expected) = (place.objects().await, other.objects().await);
    assert_eq!(is, expected, "{:?}", place.what);
}

#[tokio::test]
async fn other_fields_of_the_same_object_stay() {
    for place in places().await {
        ends(
            &place,
            0,
            "a",
            "server felix-metrics --node w-1 --interface eth0",
        );
        ends(&place, 0, "b", "grant typha --node w-1");
        ends(&place, 0, "a", "undo");
        is_as_after(&place, &["grant typha --node w-1"]).await;
    }
}

#[tokio::test]
async fn the_same_field_is_asked_for_and_put_back_or_kept() {
    for place in places().await {
        let before = place.stored().await;
        let server = "server felix-metrics --node w-1 --interface eth0";
        ends(&place, 0, "a", server);
        ends(&place, 0, "b", &format!("{server} --order 300 --overwrite"));
        let between = place.stored().await;
        ends(&place, 4, "a", "undo").says("spec.order is 300");
        assert_eq!(place.stored().await, between, "{:?}", place.what);
        ends(&place, 0, "a", "undo --overlaps restore");
        assert_eq!(place.stored().await, before, "{:?}", place.what);
        // Of what the other has changed nothing is left to put back.
        ends(&place, 0, "b", "undo").says("is not there any more");
        assert_eq!(place.stored().await, before, "{:?}", place.what);
    }
}

#[tokio::test]
async fn an_object_that_is_gone_or_was_made_anew_is_told_from_ones_own() {
    let grant = |net: &str| format!("grant typha --net {net}");
    let (ours, theirs) = (grant("198.51.100.0/28"), grant("203.0.113.0/24"));
    for place in places().await {
        let before = place.stored().await;
        ends(&place, 0, "a", &ours);
        ends(&place, 0, "b", "revoke typha --net 198.51.100.0/28");
        assert_eq!(place.stored().await, before, "{:?}", place.what);
        ends(&place, 0, "a", "undo").says("nothing of the run is in effect");
        // Made anew by the same name, it is another's.
        ends(&place, 0, "b", &theirs);
        ends(&place, 4, "a", "undo").says("error: others have changed ");
        ends(&place, 0, "a", "undo --overlaps keep");
        is_as_after(&place, &[&theirs]).await;
        ends(&place, 0, "b", "undo");
        assert_eq!(place.stored().await, before, "{:?}", place.what);
    }
}

#[tokio::test]
async fn a_run_that_was_made_at_another_address_is_taken_back_by_its_id_alone() {
    let place = Place::new(What::Kubernetes(Shape::NativeV3), "v3.32.1").await;
    let place = place.unwrap();
    let before = place.stored().await;
    place.does("grant typha --node w-1 --yes");
    let between = place.stored().await;
    let path = place.kubeconfig();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("127.0.0.1"), "{text}");
    std::fs::write(&path, text.replace("127.0.0.1", "localhost")).unwrap();
    let run = place.run("undo --yes");
    assert_eq!(run.code, 4, "{run}");
    run.says("a cluster of the same GUID, but perhaps another one");
    assert_eq!(place.stored().await, between);
    let hint = run.err.rsplit("name the run: `calicoctl-protect ").next();
    let (undo, _) = hint.unwrap().split_once('`').unwrap();
    place.does(&format!("{undo} --yes")).says("warning: run ");
    assert_eq!(place.stored().await, before);
}
