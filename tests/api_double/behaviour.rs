//! Paging, preconditions, dry run, ownership and shapes, beyond single recorded exchanges.

use serde_json::{Value, json};

use crate::client::Client;
use crate::double::{ADMIN_TOKEN, Credentials, Double, Grant, Shape};

const HEPS: &str = "/apis/projectcalico.org/v3/hostendpoints";

/// A host endpoint.
pub fn mk_hep(name: &str) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "HostEndpoint",
        "metadata": {"name": name, "labels": {"zone": "a"}},
        "spec": {"node": "node-0", "interfaceName": "eth0"},
    })
}

/// A native double with host endpoints `h-0`, `h-1`, ….
pub fn mk_double(n: usize) -> Double {
    let double = Double::builder(Shape::NativeV3).start();
    double.load((0..n).map(|i| mk_hep(&format!("h-{i}"))));
    double
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|i| i["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_show_the_state_of_the_first_page() {
    let double = mk_double(5);
    let client = Client::admin(&double);
    let first = client.get(&format!("{HEPS}?limit=2")).await.json();
    assert_eq!(names(&first), ["h-0", "h-1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    double.load([mk_hep("h-2a")]);
    double.remove("hostendpoints.projectcalico.org", "h-3");
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = client
        .get(&format!("{HEPS}?limit=9&continue={token}"))
        .await
        .json();
    assert_eq!(names(&second), ["h-2", "h-3", "h-4"]);
    let version = |list: &Value| list["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&first), version(&second));
    assert_eq!(second["metadata"]["continue"], "");
}

#[tokio::test]
async fn a_compacted_page_is_gone_and_offers_the_rest() {
    let double = mk_double(4);
    let client = Client::admin(&double);
    let first = client.get(&format!("{HEPS}?limit=1")).await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    double.load([mk_hep("h-9")]);
    double.compact();
    let gone = client
        .get(&format!("{HEPS}?limit=1&continue={token}"))
        .await;
    assert_eq!(
        (gone.status, &gone.json()["reason"]),
        (410, &json!("Expired"))
    );
    let gone = gone.json();
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let rest = client.get(&format!("{HEPS}?continue={token}")).await.json();
    assert_eq!(names(&rest), ["h-1", "h-2", "h-3", "h-9"]);
}

#[tokio::test]
async fn pages_across_namespaces_go_by_namespace_then_name() {
    let double = mk_double(0);
    let pod = |ns: &str, name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": ns, "name": name},
            "spec": {"nodeName": "node-0"},
        })
    };
    // As text, `a-b/x` would sort before `a/z`.
    double.load([pod("a-b", "x"), pod("a", "y"), pod("a", "z")]);
    let client = Client::admin(&double);
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = client
            .get(&format!("/api/v1/pods?limit=1&continue={token}"))
            .await
            .json();
        found.extend(names(&page).into_iter().map(str::to_owned));
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.into(),
            _ => break,
        }
    }
    assert_eq!(found, ["y", "z", "x"]);
}

#[tokio::test]
async fn selectors_choose_by_labels_and_fields() {
    let double = mk_double(2);
    let mut other = mk_hep("other");
    other["metadata"]["labels"] = json!({"zone": "b", "rank": "7"});
    let mut bare = mk_hep("bare");
    bare["metadata"]["labels"] = json!({});
    double.load([other, bare]);
    let client = Client::admin(&double);
    for (selector, expected) in [
        ("zone%3Da", vec!["h-0", "h-1"]),
        ("zone+in+(a,b)", vec!["h-0", "h-1", "other"]),
        ("zone+notin+(a)", vec!["bare", "other"]),
        ("zone!%3Da", vec!["bare", "other"]),
        ("!zone", vec!["bare"]),
        ("zone,rank", vec!["other"]),
        ("rank%3E6", vec!["other"]),
    ] {
        let list = client
            .get(&format!("{HEPS}?labelSelector={selector}"))
            .await;
        assert_eq!(names(&list.json()), expected, "{selector}");
    }
    let list = client
        .get(&format!("{HEPS}?fieldSelector=metadata.name!%3Dh-0"))
        .await;
    assert_eq!(names(&list.json()), ["bare", "h-1", "other"]);
}

#[tokio::test]
async fn writes_with_a_stale_version_or_uid_change_nothing() {
    let double = mk_double(1);
    let client = Client::admin(&double);
    let path = format!("{HEPS}/h-0");
    let read = client.get(&path).await.json();
    let label = json!({"metadata": {"labels": {"x": "1"}}});
    assert_eq!(client.merge(&path, &label).await.status, 200);
    let now = double.get("hostendpoints.projectcalico.org", "h-0");
    assert_eq!(
        client
            .send_json("PUT", &path, &read.to_string())
            .await
            .status,
        409
    );
    let stale = json!({"metadata": {
        "resourceVersion": read["metadata"]["resourceVersion"],
        "labels": {"x": "2"},
    }});
    assert_eq!(client.merge(&path, &stale).await.status, 409);
    let version =
        json!({"preconditions": {"resourceVersion": read["metadata"]["resourceVersion"]}});
    let uid = json!({"preconditions": {"uid": "11111111-1111-1111-1111-111111111111"}});
    for body in [version, uid] {
        let answer = client.send_json("DELETE", &path, &body.to_string()).await;
        assert_eq!(answer.status, 409, "{}", answer.text);
    }
    assert_eq!(double.get("hostendpoints.projectcalico.org", "h-0"), now);
}

#[tokio::test]
async fn dry_runs_answer_and_store_nothing() {
    let double = mk_double(1);
    let client = Client::admin(&double);
    let before = (
        double.resource_version(),
        double.list("hostendpoints.projectcalico.org"),
    );
    let path = format!("{HEPS}/h-0?dryRun=All");
    let patch = json!({"spec": {"interfaceName": "eth1"}});
    let patched = client.merge(&path, &patch).await.json();
    assert_eq!(patched["spec"]["interfaceName"], "eth1");
    assert_eq!(patched["metadata"]["generation"], 2);
    let made = client
        .send_json(
            "POST",
            &format!("{HEPS}?dryRun=All"),
            &mk_hep("new").to_string(),
        )
        .await;
    assert_eq!(made.status, 201);
    assert!(made.json()["metadata"].get("resourceVersion").is_none());
    let bad = json!({"spec": {"node": null}});
    assert_eq!(client.merge(&path, &bad).await.status, 422);
    assert_eq!(client.send_json("DELETE", &path, "").await.status, 200);
    let after = (
        double.resource_version(),
        double.list("hostendpoints.projectcalico.org"),
    );
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_version() {
    let double = mk_double(1);
    let client = Client::admin(&double);
    let path = format!("{HEPS}/h-0?fieldManager=somebody");
    let before = double.resource_version();
    let same = json!({"metadata": {"labels": {"zone": "a"}}});
    assert_eq!(client.merge(&path, &same).await.status, 200);
    assert_eq!(double.resource_version(), before);
}

#[tokio::test]
async fn changed_fields_move_to_the_manager_that_changed_them() {
    let double = mk_double(0);
    let client = Client::admin(&double);
    let create = format!("{HEPS}?fieldManager=maker");
    let made = client
        .send_json("POST", &create, &mk_hep("h").to_string())
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let patch = json!({"metadata": {"labels": {"zone": "b"}}, "spec": {"interfaceName": null, "expectedIPs": ["192.0.2.1"]}});
    let path = format!("{HEPS}/h?fieldManager=changer");
    let object = client.merge(&path, &patch).await.json();
    let owned = |manager: &str| {
        let entries = object["metadata"]["managedFields"].as_array().unwrap();
        let entry = entries.iter().find(|e| e["manager"] == manager).unwrap();
        entry["fieldsV1"].clone()
    };
    assert_eq!(
        owned("maker"),
        json!({
            "f:metadata": {"f:labels": {}},
            "f:spec": {".": {}, "f:node": {}},
        })
    );
    assert_eq!(
        owned("changer"),
        json!({
            "f:metadata": {"f:labels": {"f:zone": {}}},
            "f:spec": {"f:expectedIPs": {".": {}, "v:\"192.0.2.1\"": {}}},
        })
    );
}

#[tokio::test]
async fn an_apply_takes_away_what_it_no_longer_wants() {
    let double = mk_double(0);
    let client = Client::admin(&double);
    let apply = async |manager: &str, labels: Value| {
        let mut object = mk_hep("h");
        object["metadata"]["labels"] = labels;
        let path = format!("{HEPS}/h?fieldManager={manager}");
        let headers = [("content-type", "application/apply-patch+yaml")];
        client
            .send("PATCH", &path, &headers, object.to_string())
            .await
    };
    assert_eq!(apply("one", json!({"a": "1", "b": "1"})).await.status, 201);
    assert_eq!(apply("two", json!({"b": "1"})).await.status, 200);
    let left = apply("one", json!({"c": "1"})).await;
    assert_eq!(
        left.json()["metadata"]["labels"],
        json!({"b": "1", "c": "1"})
    );
    let refused = apply("two", json!({"c": "2", "b": "1"})).await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.json()["details"]["causes"][0]["field"],
        ".metadata.labels.c"
    );
}

#[tokio::test]
async fn strategic_patches_merge_containers_by_name() {
    let double = mk_double(0);
    double.load([json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system", "generation": 1},
        "spec": {"template": {"spec": {"containers": [
            {"name": "calico-node", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "other"},
        ]}}},
    })]);
    let client = Client::admin(&double);
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "calico-node", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]},
    ]}}}});
    let path = "/apis/apps/v1/namespaces/kube-system/daemonsets/calico-node";
    let headers = [("content-type", "application/strategic-merge-patch+json")];
    let answer = client
        .send("PATCH", path, &headers, patch.to_string())
        .await;
    let object = answer.json();
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"],
        json!([
            {"name": "calico-node", "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "3"},
                {"name": "C", "value": "4"},
            ]},
            {"name": "other"},
        ])
    );
    assert_eq!(object["metadata"]["generation"], 2);
}

#[tokio::test]
async fn permissions_decide_and_reviews_tell() {
    let double = mk_double(1);
    double.grant(
        Grant::new(
            "team",
            &["get", "patch"],
            &["projectcalico.org"],
            &["hostendpoints"],
        )
        .names(&["h-0"]),
    );
    double.token("t", "jane", &["team"]);
    let client = Client::token(&double, "t");
    let label = json!({"metadata": {"labels": {"x": "1"}}});
    assert_eq!(
        client.merge(&format!("{HEPS}/h-0"), &label).await.status,
        200
    );
    assert_eq!(
        client.merge(&format!("{HEPS}/h-1"), &label).await.status,
        403
    );
    assert_eq!(client.get(HEPS).await.status, 403);
    let review = |name: &str| {
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "verb": "patch", "group": "projectcalico.org", "resource": "hostendpoints", "name": name,
            }},
        })
    };
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (name, allowed) in [("h-0", true), ("h-1", false)] {
        let answer = client
            .send_json("POST", path, &review(name).to_string())
            .await;
        assert_eq!(answer.json()["status"]["allowed"], allowed, "{name}");
    }
    let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = client.send_json("POST", path, &rules.to_string()).await;
    let rules = answer.json();
    let rules = rules["status"]["resourceRules"].as_array().unwrap();
    assert!(rules.iter().any(|r| r["resourceNames"] == json!(["h-0"])));
    let pods = Grant::new("jane", &["list"], &[""], &["pods"]).namespace("default");
    double.grant(pods);
    let path = "/api/v1/namespaces/default/pods";
    assert_eq!(client.get(path).await.status, 200);
    assert_eq!(client.get("/api/v1/pods").await.status, 403);
}

#[tokio::test]
async fn the_aggregated_api_keeps_cluster_information_and_labels_tiers() {
    let double = Double::builder(Shape::AggregatedV3)
        .calico("v3.30.7")
        .start();
    let client = Client::admin(&double);
    let path = "/apis/projectcalico.org/v3/clusterinformations/default";
    assert_eq!(
        client.get(path).await.json()["spec"]["calicoVersion"],
        "v3.30.7"
    );
    let patch = json!({"spec": {"datastoreReady": false}});
    assert_eq!(client.merge(path, &patch).await.status, 405);
    let policy = json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {"selector": "all()", "egress": []},
    });
    let path = "/apis/projectcalico.org/v3/globalnetworkpolicies";
    let made = client
        .send_json("POST", path, &policy.to_string())
        .await
        .json();
    assert_eq!(
        made["metadata"]["labels"]["projectcalico.org/tier"],
        "default"
    );
    // It counts rules; the admission policy of native mode looks whether the field is there.
    assert_eq!(made["spec"]["types"], json!(["Ingress"]));
    let service = double.get("apiservices.apiregistration.k8s.io", "v3.projectcalico.org");
    assert!(service.unwrap()["spec"].get("service").is_some());
}

#[tokio::test]
async fn old_releases_have_fewer_kinds_and_check_types_only() {
    let double = Double::builder(Shape::LegacyV1).calico("v3.28.5").start();
    let client = Client::admin(&double);
    let heps = "/apis/crd.projectcalico.org/v1/hostendpoints";
    let mut hep = mk_hep("h");
    hep["apiVersion"] = "crd.projectcalico.org/v1".into();
    hep["spec"] = json!({"interfaceName": "no-node-and-a-long-name"});
    assert_eq!(
        client
            .send_json("POST", heps, &hep.to_string())
            .await
            .status,
        201
    );
    let tiers = client.get("/apis/crd.projectcalico.org/v1/tiers").await;
    assert_eq!(tiers.status, 404);
}

#[tokio::test]
async fn exports_of_clusters_can_be_loaded() {
    let Some(shared) = crate::shared::folder("clusters") else {
        println!("skipped: no exports beside the repository");
        return;
    };
    for (folder, shape, version, heps) in [
        (
            "kubeadm-v3",
            Shape::NativeV3,
            "v3.32.1",
            "hostendpoints.projectcalico.org",
        ),
        (
            "legacy-v1",
            Shape::LegacyV1,
            "v3.28.5",
            "hostendpoints.crd.projectcalico.org",
        ),
    ] {
        let double = Double::builder(shape).calico(version).start();
        double.load_export(shared.join(folder));
        assert!(!double.list(heps).is_empty(), "{folder}");
        assert!(!double.list("nodes").is_empty(), "{folder}");
        let nodes = Client::admin(&double).get("/api/v1/nodes").await;
        assert_eq!(nodes.status, 200);
    }
}

#[tokio::test]
async fn a_client_of_the_kube_crate_works_with_the_kubeconfig() {
    let double = mk_double(2);
    let exec = Credentials::Exec(ADMIN_TOKEN.into());
    for credentials in [None, Some(exec)] {
        let dir = tempfile::tempdir().unwrap();
        let path = match credentials {
            Some(credentials) => double.kubeconfig_with(dir.path(), &credentials),
            None => double.kubeconfig(dir.path()),
        };
        let kubeconfig = kube::config::Kubeconfig::read_from(path).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let request = http::Request::get(format!("{HEPS}?limit=1")).body(Vec::new());
        let list: Value = client.request(request.unwrap()).await.unwrap();
        assert_eq!(names(&list), ["h-0"]);
    }
}

#[tokio::test]
async fn rules_about_the_whole_object_name_no_field() {
    let double = mk_double(0);
    let client = Client::admin(&double);
    let felix = json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "FelixConfiguration",
        "metadata": {"name": "default"},
        "spec": {"nodeSelector": "all()"},
    });
    let path = "/apis/projectcalico.org/v3/felixconfigurations";
    let answer = client.send_json("POST", path, &felix.to_string()).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["details"]["causes"][0]["field"], "<nil>");
}
