//! Before the first write: permissions and a dry run.

use calicoctl_protect::calico::{Kind, ObjectId};
use calicoctl_protect::store::{Store, StoreErrorKind, Write};
use serde_json::json;

use crate::double::{Fault, Grant, Shape, When};
use crate::support::*;

const KINDS: [Kind; 2] = [Kind::HostEndpoint, Kind::GlobalNetworkPolicy];

#[tokio::test]
async fn it_asks_for_everything_and_writes_nothing() {
    for (shape, version) in SERVERS {
        let mut bench = mk_bench(shape, version);
        bench.load([mk_hep("h", &[("a", "1")]), mk_hep("gone", &[])]);
        let snapshot = bench.read(&KINDS).await;
        let before = bench.double.resource_version();
        bench.double.reset_journal();
        let plan = [
            Write::Create(mk_policy("p")),
            set_label(&snapshot, &hep_id("h"), "x", "1"),
            delete(&snapshot, &hep_id("gone")),
            set_label(&snapshot, &hep_id("h"), "y", "1"),
        ];
        bench.store.preflight(&plan).await.unwrap();
        assert_eq!(
            bench.double.resource_version(),
            before,
            "{shape:?} {version}"
        );
        let requests = bench.double.requests();
        let reviews = requests
            .iter()
            .filter(|r| r.path.contains("selfsubjectaccessreviews"));
        assert_eq!(reviews.count(), 3);
        let tried = requests.iter().filter(|r| {
            r.method != "GET" && (!r.param("dryRun").is_empty() || r.body.contains("dryRun"))
        });
        assert_eq!(tried.count(), 3, "{shape:?} {version}");
        assert_eq!(bench.write(&plan).await, (vec![0, 1, 2, 3], Ok(())));
    }
}

#[tokio::test]
async fn every_missing_permission_is_named_before_anything_is_written() {
    let mut bench = native();
    bench.load([mk_hep("h", &[("a", "1")])]);
    let snapshot = bench.read(&KINDS).await;
    bench.double.deny("create", "globalnetworkpolicies");
    bench.double.deny("patch", "hostendpoints");
    let plan = [
        Write::Create(mk_policy("p")),
        set_label(&snapshot, &hep_id("h"), "x", "1"),
    ];
    let error = bench.store.preflight(&plan).await.unwrap_err();
    let words = words(&error);
    assert!(
        words.contains("not allowed to create `globalnetworkpolicies.projectcalico.org`"),
        "{words}"
    );
    assert!(
        words.contains("not allowed to patch `hostendpoints.projectcalico.org`"),
        "{words}"
    );
    assert!(
        words.contains("verbs: [\"patch\"]") && words.contains("verbs: [\"create\"]"),
        "{words}"
    );
    assert_eq!(
        bench
            .double
            .requests()
            .iter()
            .filter(|r| r.is_write())
            .count(),
        0
    );
    let error = bench.write(&plan[..1]).await.1.unwrap_err();
    assert_eq!(
        error.message,
        "you are not allowed to create `globalnetworkpolicies.projectcalico.org`"
    );
}

#[tokio::test]
async fn permissions_for_single_objects_are_enough() {
    let bench = native();
    bench.load([mk_hep("h", &[("a", "1")])]);
    let user = bench.double.certificate("some", &[]);
    let group = ["projectcalico.org"];
    bench
        .double
        .grant(Grant::new("some", &["list", "get"], &group, &["*"]));
    let one = Grant::new("some", &["patch"], &group, &["hostendpoints"]).names(&["h"]);
    bench.double.grant(one);
    let dir = tempfile::tempdir().unwrap();
    let credentials = crate::double::Credentials::Certificate(user);
    let path = bench.double.kubeconfig_with(dir.path(), &credentials);
    let mut store =
        calicoctl_protect::store::kubernetes::KubernetesStore::new(config(path), limits());
    let snapshot = store
        .read(&kinds_wanted(&[Kind::HostEndpoint]))
        .await
        .unwrap();
    let plan = [set_label(&snapshot, &hep_id("h"), "x", "1")];
    store.preflight(&plan).await.unwrap();
    let plan = [delete(&snapshot, &hep_id("h"))];
    let error = store.preflight(&plan).await.unwrap_err();
    assert!(error.message.contains("not allowed to delete"));
}

#[tokio::test]
async fn a_change_that_the_server_would_refuse_stops_the_whole_plan() {
    let mut bench = native();
    bench.load([mk_hep("h", &[("a", "1")]), mk_hep("i", &[("a", "1")])]);
    let snapshot = bench.read(&KINDS).await;
    let mut other = bench.another();
    let theirs = other.read(&kinds_wanted(&KINDS)).await.unwrap();
    write(
        &mut other,
        &[set_label(&theirs, &hep_id("i"), "theirs", "1")],
    )
    .await
    .1
    .unwrap();
    let plan = [
        set_label(&snapshot, &hep_id("h"), "x", "1"),
        set_label(&snapshot, &hep_id("i"), "x", "1"),
    ];
    let error = bench.store.preflight(&plan).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    assert!(
        error
            .detail
            .iter()
            .any(|line| line.contains("nothing was written"))
    );
    let h = bench
        .double
        .get("hostendpoints.projectcalico.org", "h")
        .unwrap();
    assert_eq!(h["metadata"]["labels"], json!({"a": "1"}));
}

#[tokio::test]
async fn policies_need_their_tier() {
    for (shape, version) in [(Shape::LegacyV1, "v3.30.7"), (Shape::NativeV3, "v3.32.1")] {
        let mut bench = mk_bench(shape, version);
        bench.read(&KINDS).await;
        let mut policy = mk_policy("guard.p").into_value();
        policy["spec"]["tier"] = json!("guard");
        let policy = Write::Create(object(policy));
        let error = bench
            .store
            .preflight(std::slice::from_ref(&policy))
            .await
            .unwrap_err();
        assert_eq!(error.message, "tier `guard` does not exist");
        let tier = Write::Create(object(json!({
            "apiVersion": "projectcalico.org/v3", "kind": "Tier",
            "metadata": {"name": "guard"}, "spec": {"order": 10, "defaultAction": "Pass"},
        })));
        let plan = [tier, policy];
        bench.store.preflight(&plan).await.unwrap();
        assert_eq!(bench.write(&plan[..1]).await, (vec![0], Ok(())));
        assert_eq!(bench.write(&plan[1..]).await, (vec![0], Ok(())));
        let id = ObjectId::global(Kind::GlobalNetworkPolicy, "guard.p");
        assert!(bench.read(&KINDS).await.get(&id).is_some());
    }
}

#[tokio::test]
async fn a_field_that_the_server_does_not_know_is_not_dropped_in_silence() {
    let mut bench = native();
    bench.read(&KINDS).await;
    let mut policy = mk_policy("p").into_value();
    policy["spec"]["colour"] = json!("red");
    let plan = [Write::Create(object(policy))];
    let error = bench.store.preflight(&plan).await.unwrap_err();
    assert!(error.message.contains("colour"), "{}", error.message);
}

#[tokio::test]
async fn busy_servers_are_waited_for_in_a_dry_run_as_well() {
    let mut bench = native();
    bench.load([mk_hep("h", &[("a", "1")])]);
    let snapshot = bench.read(&KINDS).await;
    let fault = Fault::FlowControl { retry_after: None };
    bench
        .double
        .fault(When::any().and_query("dryRun=All").times(2), fault);
    bench
        .double
        .fault(When::path("/selfsubject").times(1), Fault::Unavailable);
    let plan = [set_label(&snapshot, &hep_id("h"), "x", "1")];
    bench.store.preflight(&plan).await.unwrap();
}
