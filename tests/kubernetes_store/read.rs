//! Reading: what is asked for, in pages, as of one moment.

use std::collections::BTreeSet;

use calicoctl_protect::calico::{DatastoreKind, Kind, ObjectId, Snapshot, Version};
use calicoctl_protect::selector::Selector;
use calicoctl_protect::store::{Further, Part, Pods, Store, StoreErrorKind, Wanted};
use serde_json::json;

use crate::double::{Double, Fault, Grant, Shape, When};
use crate::support::*;

#[tokio::test]
async fn objects_are_read_in_their_v3_form_from_every_shape() {
    for (shape, version) in SERVERS {
        let mut bench = mk_bench(shape, version);
        bench.load([
            mk_hep("h", &[("a", "1")]),
            mk_policy("p"),
            mk_set("s", &["192.0.2.0/24"]),
        ]);
        let kinds = [
            Kind::HostEndpoint,
            Kind::GlobalNetworkPolicy,
            Kind::GlobalNetworkSet,
            Kind::Tier,
        ];
        let snapshot = bench.read(&kinds).await;
        let expected = match shape {
            Shape::NativeV3 => DatastoreKind::NativeV3,
            Shape::AggregatedV3 => DatastoreKind::AggregatedV3,
            Shape::LegacyV1 => DatastoreKind::CrdV1,
        };
        assert_eq!(snapshot.datastore.kind, expected);
        assert_eq!(snapshot.datastore.location, bench.double.url());
        assert_eq!(snapshot.datastore.version, Some(bench.version));
        assert_eq!(
            snapshot.datastore.cluster_guid.as_deref(),
            Some("0123456789abcdef0123456789abcdef")
        );
        assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
        let hep = snapshot.global(Kind::HostEndpoint, "h").unwrap();
        assert_eq!(hep.value()["apiVersion"], "projectcalico.org/v3");
        assert_eq!(hep.label("a"), Some("1"), "{shape:?} {version}");
        let id = ObjectId::global(Kind::GlobalNetworkPolicy, "p");
        let policy = snapshot.stored(&id).unwrap();
        let name = match (shape, bench.version < Version::new(3, 32, 0)) {
            (Shape::LegacyV1, true) => "default.p",
            _ => "p",
        };
        assert!(
            policy
                .place
                .ends_with(&format!("/globalnetworkpolicies/{name}"))
        );
        let stored = bench
            .double
            .get(&bench.resource(Kind::GlobalNetworkPolicy), name)
            .unwrap();
        assert_eq!(
            stored["metadata"]["resourceVersion"],
            policy.revision.as_str()
        );
    }
}

#[tokio::test]
async fn long_lists_come_in_pages_of_one_moment() {
    let mut bench = native();
    bench.load((0..1203).map(|n| mk_hep(&format!("h{n:04}"), &[])));
    let snapshot = bench.read(&[Kind::HostEndpoint, Kind::Node]).await;
    assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 1203);
    let requests = bench.double.requests();
    let pages = requests
        .iter()
        .filter(|r| r.path.ends_with("/hostendpoints"));
    let sizes: Vec<&str> = pages.map(|r| r.param("limit")).collect();
    assert_eq!(sizes, ["500"; 3]);
    let revisions = bench.store.list_revisions();
    assert_eq!(revisions[&Kind::HostEndpoint], revisions[&Kind::Node]);
    let counters = bench.double.counters();
    assert_eq!(counters.connections, 1);
    assert!(requests.iter().all(|r| r.version == "HTTP/2.0"));
}

#[tokio::test]
async fn writes_of_others_between_pages_are_not_seen() {
    let mut bench = mk_bench_with(
        Shape::NativeV3,
        "v3.32.1",
        calicoctl_protect::store::kubernetes::Limits {
            page: 2,
            ..limits()
        },
    );
    bench.load((0..6).map(|n| mk_hep(&format!("h{n}"), &[])));
    // The first list, which the moment is taken from, is answered late: somebody else writes.
    let (held, gate) = Fault::held();
    bench.double.fault(When::path("/clusterinformations"), held);
    let wanted = kinds_wanted(&[Kind::Node, Kind::HostEndpoint]);
    let read = bench.store.read(&wanted);
    let double = &bench.double;
    let meddle = async {
        gate.reached().await;
        double.load([mk_hep("h9", &[]).into_value()]);
        gate.open();
    };
    let (snapshot, ()) = tokio::join!(read, meddle);
    let revisions = bench.store.list_revisions();
    assert_eq!(revisions[&Kind::HostEndpoint], revisions[&Kind::Node]);
    assert_eq!(snapshot.unwrap().of(Kind::HostEndpoint).count(), 6);
}

#[tokio::test]
async fn a_forgotten_moment_makes_reading_begin_anew() {
    for times in [1, 2] {
        let limits = calicoctl_protect::store::kubernetes::Limits {
            page: 2,
            ..limits()
        };
        let mut bench = mk_bench_with(Shape::NativeV3, "v3.32.1", limits);
        bench.load((0..5).map(|n| mk_hep(&format!("h{n}"), &[])));
        let gone = When::path("/hostendpoints")
            .and_query("continue=")
            .times(times);
        bench.double.fault(gone, Fault::Gone);
        let snapshot = bench.read(&[Kind::HostEndpoint]).await;
        assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 5);
    }
    // Where every moment is forgotten at once the list is read whole.
    let mut bench = native();
    bench.load([mk_hep("h", &[])]);
    bench.double.fault(
        When::path("/hostendpoints").and_query("limit=500"),
        Fault::Gone,
    );
    assert_eq!(bench.read(&[Kind::HostEndpoint]).await.len(), 2);
}

#[tokio::test]
async fn a_server_that_forgets_at_once_is_named() {
    let mut bench = native();
    bench
        .double
        .fault(When::path("/hostendpoints"), Fault::Gone);
    let error = bench
        .store
        .read(&kinds_wanted(&[Kind::HostEndpoint]))
        .await
        .unwrap_err();
    assert!(words(&error).contains("forgets its state faster than it can be read"));
}

#[tokio::test]
async fn only_what_is_wanted_is_asked_for() {
    let mut bench = native();
    bench.read(&[Kind::Tier]).await;
    let lists: Vec<String> = bench
        .double
        .requests()
        .into_iter()
        .map(|r| r.path)
        .filter(|path| !path.contains("apiservices") && path.matches('/').count() > 3)
        .collect();
    assert_eq!(
        lists,
        [
            "/apis/projectcalico.org/v3/clusterinformations",
            "/apis/projectcalico.org/v3/tiers"
        ]
    );
}

fn mk_pods(double: &Double) {
    let pods = (0..40).map(|n| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("p{n}"),
                "namespace": if n % 2 == 0 { "even" } else { "odd" },
                "labels": {"n": format!("{n}"), "app": format!("app-{}", n % 4)},
            },
            "spec": {"nodeName": "n1", "hostNetwork": n == 3, "volumes": [{"name": "v"}],
                     "containers": [{"name": "c", "image": "i", "resources": {"limits": {}}}]},
            "status": {"podIP": format!("10.0.0.{n}"), "conditions": [{"type": "Ready"}]},
        })
    });
    double.load(pods);
}

async fn pods(bench: &mut Bench, choices: &[(Option<&str>, &str)]) -> Vec<String> {
    bench.double.reset_journal();
    let choices = choices.iter().map(|(namespace, selector)| {
        (
            namespace.map(str::to_owned),
            Selector::parse(selector).unwrap(),
        )
    });
    let wanted = Wanted {
        kinds: Vec::new(),
        pods: Pods::Matching(choices.collect()),
        ..Wanted::default()
    };
    let snapshot = bench.store.read(&wanted).await.unwrap();
    snapshot
        .of(Kind::Pod)
        .map(|p| p.name().to_owned())
        .collect()
}

#[tokio::test]
async fn pods_are_asked_for_by_label_as_far_as_kubernetes_can() {
    let mut bench = native();
    mk_pods(&bench.double);
    assert_eq!(
        pods(&mut bench, &[(None, "n in {'1','2'}")]).await,
        ["p2", "p1"]
    );
    let asked = bench.double.requests();
    let asked = asked.iter().find(|r| r.path == "/api/v1/pods").unwrap();
    assert_eq!(asked.param("labelSelector"), "n in (1,2)");
    let odd = pods(
        &mut bench,
        &[(Some("odd"), "app starts with 'app-1' && n != '1'")],
    )
    .await;
    assert_eq!(odd.len(), 9);
    let asked = bench.double.requests();
    let asked = asked.iter().find(|r| r.path.ends_with("/pods")).unwrap();
    assert_eq!(asked.path, "/api/v1/namespaces/odd/pods");
    assert_eq!(asked.param("labelSelector"), "app,n notin (1)");
    let two = pods(
        &mut bench,
        &[(Some("odd"), "n == '2'"), (None, "n == '1' || n == '4'")],
    )
    .await;
    assert_eq!(two, ["p4", "p1"]);
    assert!(pods(&mut bench, &[]).await.is_empty());
}

#[tokio::test]
async fn pods_keep_what_policy_needs_and_no_more() {
    let mut bench = native();
    mk_pods(&bench.double);
    let wanted = Wanted {
        kinds: Vec::new(),
        pods: Pods::All,
        ..Wanted::default()
    };
    let snapshot = bench.store.read(&wanted).await.unwrap();
    assert_eq!(snapshot.of(Kind::Pod).count(), 40);
    let id = ObjectId::namespaced(Kind::Pod, "odd", "p3");
    let pod = snapshot.get(&id).unwrap().value();
    assert_eq!(pod["spec"]["hostNetwork"], true);
    assert_eq!(pod["status"]["podIP"], "10.0.0.3");
    assert_eq!(pod["spec"].get("volumes"), None);
    // What was left out is not lost by a write.
    let label = set_label(&snapshot, &id, "x", "1");
    assert_eq!(bench.write(&[label]).await, (vec![0], Ok(())));
    let stored = bench.double.get("pods", "odd/p3").unwrap();
    assert_eq!(stored["spec"]["volumes"], json!([{"name": "v"}]));
    assert_eq!(stored["metadata"]["labels"]["x"], "1");
}

#[tokio::test]
async fn kinds_that_are_not_served_are_empty() {
    let mut bench = mk_bench(Shape::LegacyV1, "v3.28.5");
    let snapshot = bench.store.read(&Wanted::everything()).await.unwrap();
    assert_eq!(snapshot.of(Kind::Tier).count(), 0);
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
}

#[tokio::test]
async fn forbidden_lists_are_named_with_the_rule_that_allows_them() {
    let mut bench = native();
    bench.double.deny("list", "hostendpoints");
    let error = bench
        .store
        .read(&kinds_wanted(&[Kind::HostEndpoint]))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Failed);
    assert_eq!(
        error.message,
        "you are not allowed to list `hostendpoints.projectcalico.org`"
    );
    assert_eq!(
        error.hint.as_deref(),
        Some(
            "a ClusterRole of yours needs this rule: {apiGroups: [\"projectcalico.org\"], \
             resources: [\"hostendpoints\"], verbs: [\"list\"]}"
        )
    );
    assert!(error.detail[0].contains("User \"admin\" cannot list resource"));
    bench.double.pardon();
    bench.double.deny("list", "configmaps");
    let snapshot = bench.read(&[Kind::HostEndpoint, Kind::ConfigMap]).await;
    assert_eq!(snapshot.warnings.len(), 1);
    assert!(snapshot.warnings[0].starts_with("`configmaps` were left out: you are not allowed"));
}

#[tokio::test]
async fn a_user_with_few_rights_can_read_what_those_rights_allow() {
    for shape in [Shape::NativeV3, Shape::LegacyV1] {
        let bench = mk_bench(shape, "v3.32.1");
        let few = bench.double.certificate("few", &[]);
        let groups = ["projectcalico.org", "crd.projectcalico.org"];
        bench
            .double
            .grant(Grant::new("few", &["list"], &groups, &["*"]));
        let dir = tempfile::tempdir().unwrap();
        let credentials = crate::double::Credentials::Certificate(few);
        let path = bench.double.kubeconfig_with(dir.path(), &credentials);
        let mut store =
            calicoctl_protect::store::kubernetes::KubernetesStore::new(config(path), limits());
        bench.load([mk_hep("h", &[])]);
        let snapshot = store
            .read(&kinds_wanted(&[Kind::HostEndpoint]))
            .await
            .unwrap();
        assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 1, "{shape:?}");
    }
}

#[tokio::test]
async fn policies_that_the_server_keeps_out_of_its_lists_are_missed() {
    let bench = mk_bench(Shape::AggregatedV3, "v3.30.7");
    let few = bench.double.certificate("few", &[]);
    let group = ["projectcalico.org"];
    let see = |tier: &str| Grant::new("few", &["get"], &group, &["tiers"]).names(&[tier]);
    bench
        .double
        .grant(Grant::new("few", &["list"], &group, &["*"]));
    bench.double.grant(see("default"));
    let of_tier = |name: &str, tier: &str| {
        let mut policy = mk_policy(name);
        policy.set_spec("tier", json!(tier));
        policy
    };
    let tier = |name: &str| {
        object(json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier",
            "metadata": {"name": name}, "spec": {"order": 100}}))
    };
    let policies = [of_tier("default.a", "default"), of_tier("guard.b", "guard")];
    bench.load(["default", "guard"].map(tier).into_iter().chain(policies));
    let dir = tempfile::tempdir().unwrap();
    let credentials = crate::double::Credentials::Certificate(few);
    let path = bench.double.kubeconfig_with(dir.path(), &credentials);
    let mut store =
        calicoctl_protect::store::kubernetes::KubernetesStore::new(config(path), limits());
    let policies = kinds_wanted(&[Kind::Tier, Kind::GlobalNetworkPolicy]);
    let error = store.read(&policies).await.unwrap_err();
    assert_eq!(
        error.message,
        "you are not allowed to see the policies of tier `guard`"
    );
    assert!(
        error
            .hint
            .unwrap()
            .contains("resources: [\"tiers\"], verbs: [\"get\"]")
    );
    // Where no policy is read, nobody asks.
    let endpoints = kinds_wanted(&[Kind::HostEndpoint]);
    store.read(&endpoints).await.unwrap();
    bench.double.grant(see("guard"));
    let snapshot = store.read(&policies).await.unwrap();
    assert_eq!(snapshot.of(Kind::GlobalNetworkPolicy).count(), 2);
}

#[tokio::test]
async fn an_annotation_that_is_no_json_is_named_with_its_object() {
    let mut bench = mk_bench(Shape::LegacyV1, "v3.28.5");
    bench.double.load([json!({
        "apiVersion": "crd.projectcalico.org/v1", "kind": "HostEndpoint",
        "metadata": {"name": "broken", "annotations": {"projectcalico.org/metadata": "{"}},
        "spec": {},
    })]);
    let error = bench
        .store
        .read(&kinds_wanted(&[Kind::HostEndpoint]))
        .await
        .unwrap_err();
    assert!(error.message.starts_with(
        "HostEndpoint/broken: annotation `projectcalico.org/metadata` cannot be read"
    ));
    assert!(
        error
            .hint
            .unwrap()
            .contains("kubectl edit hostendpoints.crd.projectcalico.org broken")
    );
}

#[tokio::test]
async fn a_policy_that_is_stored_twice_is_shown_twice() {
    let mut bench = mk_bench(Shape::LegacyV1, "v3.32.1");
    let old = json!({
        "apiVersion": "crd.projectcalico.org/v1", "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "default.p", "annotations": {"projectcalico.org/metadata": "{}"}},
        "spec": {"order": 1},
    });
    bench.double.load([old]);
    bench.load([mk_policy("p")]);
    let snapshot = bench.read(&[Kind::GlobalNetworkPolicy]).await;
    let names: Vec<&str> = snapshot
        .of(Kind::GlobalNetworkPolicy)
        .map(|p| p.name())
        .collect();
    assert_eq!(names, ["default.p", "p"]);
    let p = snapshot.global(Kind::GlobalNetworkPolicy, "p").unwrap();
    assert_eq!(p.spec("order"), Some(&json!(500)));
    assert_eq!(snapshot.warnings.len(), 1, "{:?}", snapshot.warnings);
    assert!(snapshot.warnings[0].starts_with("GlobalNetworkPolicy/p is stored twice"));
}

#[tokio::test]
async fn versions_that_are_not_known_warn_and_go_on() {
    let mut bench = mk_bench(Shape::NativeV3, "v3.99.0");
    let snapshot = bench.read(&[Kind::HostEndpoint]).await;
    assert_eq!(snapshot.warnings.len(), 1);
    assert!(snapshot.warnings[0].contains("newer than this tool knows"));
}

/// After the first look, pods of the shade that a ConfigMap names.
#[derive(Debug)]
struct ByShade;

impl Further for ByShade {
    fn parts(&self, read: &Snapshot) -> BTreeSet<Part> {
        let shades = read
            .of(Kind::ConfigMap)
            .filter_map(|map| map.value().pointer("/data/shade")?.as_str());
        let pods = shades.map(|shade| Part::pods(Selector::equals("shade", shade).unwrap()));
        let first = Part {
            kind: Kind::ConfigMap,
            namespace: Some("odd".into()),
            selector: None,
        };
        std::iter::once(first).chain(pods).collect()
    }
}

#[tokio::test]
async fn what_the_reading_itself_tells_to_read_is_read_as_of_the_same_moment() {
    let mut bench = native();
    bench.double.load([
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "odd"}, "data": {"shade": "red"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d", "namespace": "even"}, "data": {"shade": "blue"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "even", "labels": {"shade": "red"}}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": "even", "labels": {"shade": "blue"}}}),
    ]);
    bench.double.reset_journal();
    let wanted = Wanted {
        further: Some(std::sync::Arc::new(ByShade)),
        ..kinds_wanted(&[Kind::HostEndpoint])
    };
    let snapshot = bench.store.read(&wanted).await.unwrap();
    let names = |kind| {
        snapshot
            .of(kind)
            .map(|o| o.name().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(Kind::ConfigMap), names(Kind::Pod)),
        (vec!["c".to_owned()], vec!["p".to_owned()])
    );
    let asked = bench.double.requests();
    let list = |end: &str| {
        asked
            .iter()
            .filter(|r| r.path.ends_with(end))
            .collect::<Vec<_>>()
    };
    let (maps, pods) = (list("/configmaps"), list("/pods"));
    assert_eq!((maps.len(), pods.len()), (1, 1));
    assert_eq!(maps[0].path, "/api/v1/namespaces/odd/configmaps");
    assert_eq!(pods[0].param("labelSelector"), "shade=red");
    assert_eq!(pods[0].param("resourceVersionMatch"), "Exact");
    assert_eq!(
        pods[0].param("resourceVersion"),
        maps[0].param("resourceVersion")
    );
}
