//! Whose hands are in what changes, in text and in JSON.

use serde_json::{Value, json};

use super::double::Shape;
use super::place::{Place, What};

const NATIVE: What = What::Kubernetes(Shape::NativeV3);

async fn native() -> Place {
    Place::new(NATIVE, "v3.32.1").await.unwrap()
}

/// Changes the metadata of an object that is there.
fn mark(place: &Place, resource: &str, name: &str, field: &str, value: Value) {
    let mut object = place.double().get(resource, name).unwrap();
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .shift_remove("resourceVersion");
    object["metadata"][field] = value;
    place.double().load([object]);
}

#[tokio::test]
async fn the_tool_that_deployed_an_object_is_named_and_warned_of() {
    let place = native().await;
    let heps = "hostendpoints.projectcalico.org";
    mark(
        &place,
        heps,
        "w-1-eth0",
        "labels",
        json!({"argocd.argoproj.io/instance": "network"}),
    );
    let run = place.does("grant etcd --node w-1 --dry-run");
    run.shows("~ HostEndpoint/w-1-eth0")
        .shows("\n  owned by: Argo CD `network` (by argocd.argoproj.io/instance)\n")
        .says("warning: Argo CD `network` deployed HostEndpoint/w-1-eth0: its next run may put back what changes here")
        .says("hint: make the same change in its source");
    let shown = place.does("grant etcd --node w-1 --dry-run -o json").json();
    let expected = json!([{"name": "Argo CD `network`", "grip": "deployed",
        "mark": "argocd.argoproj.io/instance"}]);
    assert_eq!(shown["changes"][0]["owners"], expected);
}

#[tokio::test]
async fn a_manager_of_the_field_that_changes_is_named_in_every_shape() {
    let fields = json!({"f:spec": {"f:failsafeInboundHostPorts": {}}});
    let others = json!({"f:spec": {"f:bpfEnabled": {}, "f:healthPort": {}}});
    for (shape, version, group) in [
        (Shape::NativeV3, "v3.32.1", "projectcalico.org"),
        (Shape::AggregatedV3, "v3.32.1", "projectcalico.org"),
        (Shape::LegacyV1, "v3.27.4", "crd.projectcalico.org"),
        (Shape::LegacyV1, "v3.28.5", "crd.projectcalico.org"),
    ] {
        let place = Place::new(What::Kubernetes(shape), version).await.unwrap();
        let entry = |manager: &str, fields: &Value| {
            json!({"manager": manager, "operation": "Update", "fieldsType": "FieldsV1",
                "apiVersion": format!("{group}/v1"), "time": "2026-11-01T10:00:00Z", "fieldsV1": fields})
        };
        let managers = json!([
            entry("fleet-agent", &fields),
            entry("operator", &others),
            entry("kubectl-edit", &fields)
        ]);
        let resource = format!("felixconfigurations.{group}");
        mark(&place, &resource, "node.w-2", "managedFields", managers);
        let line = "prune tcp/6667 --direction inbound --node w-2 --dry-run";
        let run = place.does(line);
        run.shows("\n  owned by: field manager `fleet-agent` (sets spec.failsafeInboundHostPorts)\n")
            .shows("\n  owned by: field manager `operator` (sets other fields)\n")
            .says("field manager `fleet-agent` sets spec.failsafeInboundHostPorts of FelixConfiguration/node.w-2: it may set it back");
        assert!(!run.out.contains("kubectl-edit"), "{run}");
        let owners = place.does(&format!("{line} -o json")).json()["changes"][0]["owners"].clone();
        assert_eq!(
            owners[0]["fields"],
            json!(["spec.failsafeInboundHostPorts"]),
            "{owners}"
        );
    }
}

#[tokio::test]
async fn automatic_host_endpoints_are_left_to_their_controller() {
    let place = native().await;
    let run = place.does("grant etcd --node w-3 --dry-run");
    run.shows("~ Node/w-3");
    assert!(!run.out.contains("owned by"), "{run}");
}

#[tokio::test]
async fn a_restart_is_announced_and_pods_by_themselves_forget() {
    let place = native().await;
    let grant = "grant felix-metrics --workload 'monitoring/app == \"prometheus\"'";
    place
        .does(&format!("{grant} --dry-run"))
        .says("note: rollout restart: Deployment/monitoring/prometheus makes its pods (1 pod) anew, some at a time");
    place
        .does(&format!("{grant} --pods-only --dry-run"))
        .shows("~ Pod/monitoring/prometheus-77f9-x")
        .shows("\n  owned by: ReplicaSet/prometheus-77f9 (controls it)\n")
        .says("warning: a restart loses the label: Deployment/monitoring/prometheus makes new pods without it");
    let shown = place
        .does(&format!("{grant} --pods-only --dry-run -o json"))
        .json();
    assert_eq!(
        shown["changes"][0]["owners"][0]["name"],
        "ReplicaSet/prometheus-77f9"
    );
    let texts: Vec<&str> = shown["notes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|n| n["text"].as_str())
        .collect();
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("a restart loses the label")),
        "{texts:?}"
    );
    place.does(&format!("{grant} --pods-only --yes"));
    place
        .does("status felix-metrics")
        .shows("Pod/monitoring/prometheus-77f9-x");
}

#[tokio::test]
async fn the_template_of_a_running_job_is_refused_with_what_is_left() {
    let place = native().await;
    place
        .double()
        .load([json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "backup", "namespace": "monitoring"},
        "spec": {"template": {"metadata": {"labels": {"app": "backup"}}, "spec": {}}}})]);
    let run = place.run("grant felix-metrics --workload 'monitoring/app == \"backup\"' --yes");
    assert_eq!(run.code, 1, "{run}");
    run.says("error: the pod template of Job/monitoring/backup cannot be changed")
        .says("`--pods-only` labels the pods that run");
}

#[tokio::test]
async fn files_are_what_others_deploy_from() {
    let place = Place::new(What::Manifests, "v3.32.1").await.unwrap();
    let file = place.dir().join("cluster/all.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let marked = text.replace(
        "\"labels\":{\"node\":\"w-1\"",
        "\"labels\":{\"app.kubernetes.io/managed-by\":\"Helm\",\"node\":\"w-1\"",
    );
    assert_ne!(text, marked);
    std::fs::write(&file, marked).unwrap();
    let run = place.does("grant etcd --node w-1 --dry-run");
    run.shows("\n  owned by: Helm (by app.kubernetes.io/managed-by)\n");
    assert!(!run.err.contains("Helm"), "{run}");
}
