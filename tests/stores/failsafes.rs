//! The failsafe list in force, wherever it comes from, on live clusters.

use serde_json::{Value, json};

use super::double::Shape;
use super::place::{Place, What};

/// Each shape, with a release that knows FelixConfigurations for some nodes and one that does not.
const CLUSTERS: [(Shape, &str); 3] = [
    (Shape::NativeV3, "v3.32.1"),
    (Shape::AggregatedV3, "v3.30.7"),
    (Shape::LegacyV1, "v3.28.5"),
];

fn felix(name: &str, metadata: Value, spec: Value) -> Value {
    let mut object = json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
        "metadata": metadata, "spec": spec});
    object["metadata"]["name"] = json!(name);
    object
}

fn list(ports: &[u16]) -> Value {
    let entry = |port: &u16| json!({"protocol": "TCP", "port": port});
    json!({"failsafeInboundHostPorts": ports.iter().map(entry).collect::<Vec<_>>()})
}

fn daemon_set(env: Value, env_from: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system", "labels": {"k8s-app": "calico-node"}},
        "spec": {"template": {"metadata": {"labels": {"k8s-app": "calico-node"}}, "spec": {
            "hostNetwork": true, "containers": [{"name": "calico-node", "env": env, "envFrom": env_from}]}}}})
}

/// Where the list with this port comes from on each node that has it, by `status`.
fn sources(place: &Place) -> Vec<(String, Vec<String>)> {
    let shown = place.does("status etcd -o json").json();
    let mut found: Vec<(String, Vec<String>)> = shown["servers"][0]["failsafes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failsafe| {
            let nodes = failsafe["nodes"].as_array().unwrap().iter();
            let nodes = nodes.map(|n| n.as_str().unwrap().to_owned()).collect();
            (failsafe["source"].as_str().unwrap().to_owned(), nodes)
        })
        .collect();
    found.sort();
    found
}

fn expect(place: &Place, expected: &[(&str, &[&str])]) {
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(source, nodes)| {
            (
                (*source).to_owned(),
                nodes.iter().map(|n| (*n).to_owned()).collect(),
            )
        })
        .collect();
    assert_eq!(sources(place), expected, "{:?}", place.what);
}

const CONFIGURATION: &str = "FelixConfiguration/node.w-2";

#[tokio::test]
async fn every_layer_is_found_and_named() {
    for (shape, version) in CLUSTERS {
        let place = Place::new(What::Kubernetes(shape), version).await.unwrap();
        expect(
            &place,
            &[
                (CONFIGURATION, &["w-2"]),
                ("built-in list", &["cp-1", "w-1", "w-3"]),
            ],
        );
        // `default` stands above the built-in list.
        place.load([felix("default", json!({}), list(&[22, 2379]))]);
        expect(
            &place,
            &[
                ("FelixConfiguration/default", &["cp-1", "w-1", "w-3"]),
                (CONFIGURATION, &["w-2"]),
            ],
        );
        // One for some nodes stands above `default`, where the release has them.
        let mut spec = list(&[2379]);
        spec["nodeSelector"] = json!("host == 'w-1'");
        place.load([felix("some", json!({}), spec)]);
        if place.version.has_scoped_felix_configuration() {
            expect(
                &place,
                &[
                    ("FelixConfiguration/default", &["cp-1", "w-3"]),
                    (CONFIGURATION, &["w-2"]),
                    ("FelixConfiguration/some", &["w-1"]),
                ],
            );
        } else {
            expect(
                &place,
                &[
                    ("FelixConfiguration/default", &["cp-1", "w-1", "w-3"]),
                    (CONFIGURATION, &["w-2"]),
                ],
            );
        }
        // An annotation stands above the field of its object.
        let key = "config.projectcalico.org/FailsafeInboundHostPorts";
        let metadata = json!({"annotations": {key: "tcp:22,tcp:2379"}});
        place.load([felix("node.w-2", metadata, list(&[22]))]);
        let found = sources(&place);
        let annotation = format!("annotation {key} of {CONFIGURATION}");
        assert!(
            found.contains(&(annotation, vec!["w-2".to_owned()])),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn the_environment_stands_above_all_and_prune_names_what_must_change() {
    let nodes: &[&str] = &["cp-1", "w-1", "w-2", "w-3"];
    let variable = "FELIX_FAILSAFEINBOUNDHOSTPORTS";
    let workload = "DaemonSet/kube-system/calico-node";
    for (shape, version) in CLUSTERS {
        let place = Place::new(What::Kubernetes(shape), version).await.unwrap();
        let env = json!([{"name": variable, "value": "tcp:22,tcp:2379"}]);
        place.load([daemon_set(env, json!([]))]);
        expect(&place, &[(&format!("{variable} of {workload}"), nodes)]);
        let run = refused(&place, "prune etcd --yes").await;
        run.says(&format!(
            "the failsafe list is set by `{variable}` of {workload}"
        ))
        .says("the port would stay as it is")
        .says(&format!(
            "kubectl -n kube-system set env daemonset/calico-node {variable}=tcp:22"
        ));

        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "felix", "namespace": "kube-system"},
            "data": {"FailsafeInboundHostPorts": "tcp:2379"}});
        let from = json!([{"prefix": "FELIX_", "configMapRef": {"name": "felix"}}]);
        place.load([map, daemon_set(json!([]), from)]);
        let source = format!(
            "FELIX_FailsafeInboundHostPorts of {workload}, from ConfigMap/kube-system/felix"
        );
        expect(&place, &[(&source, nodes)]);
        refused(&place, "prune etcd --yes").await.says(
            "hint: change what becomes `FELIX_FailsafeInboundHostPorts` in ConfigMap/kube-system/felix to `none`, then `kubectl -n kube-system rollout restart daemonset/calico-node`",
        );

        let secret =
            json!([{"name": variable, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        place.load([daemon_set(secret, json!([]))]);
        refused(&place, "prune etcd --yes").await.says(&format!(
            "set by {variable} of {workload}, whose value cannot be read here"
        ));
    }
}

#[tokio::test]
async fn who_controls_the_daemon_set_is_named_with_the_variable() {
    let place = Place::new(What::Kubernetes(Shape::NativeV3), "v3.32.1")
        .await
        .unwrap();
    let env = json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": "tcp:2379"}]);
    let mut daemon_set = daemon_set(env, json!([]));
    daemon_set["metadata"]["namespace"] = json!("calico-system");
    daemon_set["metadata"]["ownerReferences"] = json!([{"apiVersion": "operator.tigera.io/v1",
        "kind": "Installation", "name": "default", "controller": true,
        "uid": "0c1d6c5e-2b39-4d8c-9d5f-3f3f3f3f3f3f"}]);
    place.load([daemon_set]);
    refused(&place, "prune etcd --yes").await.says(
        "  Installation/default controls DaemonSet/calico-system/calico-node: it may put the environment back to its own",
    );
}

/// Runs a command that must refuse without a write.
async fn refused(place: &Place, line: &str) -> super::place::Run {
    let before = place.stored().await;
    let run = place.run(line);
    assert_eq!(run.code, 1, "{:?}\n{run}", place.what);
    assert_eq!(place.stored().await, before, "{line}");
    run
}
