//! The roles in `packaging/rbac` are enough for every command, and not one right too many.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use calicoctl_protect::calico::v1;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::double::{ADMIN_TOKEN, Credentials, Double, Grant, Logged, Shape};
use crate::support::object;

const USER: &str = "operator";

/// A verb on a resource of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    verb: String,
}

/// The main job and all that goes with it, forth and back; every command works on what those before
/// it left.
const JOB: &[&str] = &[
    "status",
    "check",
    "explain --from w-1 --to cp-1 --port tcp/2379",
    "prune udp/68 --node w-1 --yes",
    "restore udp/68 --node w-1 --yes",
    "grant etcd --node cp-1 --net 203.0.113.0/28 --yes",
    "grant etcd --net 203.0.113.16/28 --yes",
    "grant typha --workload shop/app=='agent' --yes",
    "grant typha --workload shop/app=='queue' --yes",
    "grant typha --workload shop/app=='alone' --yes",
    "grant typha --workload shop/app=='later' --yes",
    "grant typha --workload shop/app=='nightly' --yes",
    "grant typha --workload shop/app=='db' --pods-only --yes",
    "server etcd --node cp-1 --grant-needed --prune --yes",
    "server etcd --node cp-1 --order 400 --yes",
    "server db --port tcp/5432 --workload shop/app=='db' --tier guard --yes",
    "server felix-metrics --node w-2 --interface eth0 --yes",
    "server typha-metrics --node w-2 --interface eth0 --yes",
    "remove typha-metrics --yes",
    "remove felix-metrics --yes",
    "remove db --yes",
    "restore etcd --yes",
    "remove etcd --yes",
    "revoke etcd --net 203.0.113.0/28 --net 203.0.113.16/28 --yes",
];

/// A cluster, and somebody who has the rights of some roles.
struct Bench {
    double: Double,
    dir: tempfile::TempDir,
}

/// Releases that store in different ways.
const SERVERS: [(Shape, &str); 3] = [
    (Shape::NativeV3, "v3.32.1"),
    (Shape::LegacyV1, "v3.30.7"),
    (Shape::AggregatedV3, "v3.30.7"),
];
/// What Calico's own API server asks rights by tier for, beside those on the resource.
const TIERED: [&str; 4] = [
    "globalnetworkpolicies",
    "networkpolicies",
    "stagedglobalnetworkpolicies",
    "stagednetworkpolicies",
];

#[test]
fn the_check_role_is_enough_to_look_and_holds_no_right_too_many() {
    prove_on_all(&["check"], &JOB[..3]);
}

#[test]
fn both_roles_are_enough_for_the_whole_job_and_hold_no_right_too_many() {
    prove_on_all(&["check", "operator"], JOB);
}

/// What one release has no need of, another must have.
fn prove_on_all(roles: &[&str], job: &[&str]) {
    let proved = SERVERS.map(|(shape, version)| prove(shape, version, roles, job));
    let needed: BTreeSet<_> = proved.iter().flat_map(|(needed, _)| needed).collect();
    let idle: BTreeSet<_> = proved.iter().flat_map(|(_, idle)| idle).collect();
    let nowhere: Vec<_> = idle.difference(&needed).collect();
    assert!(nowhere.is_empty(), "nothing needs {nowhere:?}");
}

/// Resources and verbs.
type Uses = BTreeSet<(String, String)>;

/// Does a job with the rights of roles, and tries each command without each right that it is the first
/// to use: the answer must be another one. Returns what was needed, and what nothing used.
fn prove(shape: Shape, version: &str, roles: &[&str], job: &[&str]) -> (Uses, Uses) {
    let mut all: Vec<String> = roles
        .iter()
        .map(|role| format!("calicoctl-protect-{role}"))
        .collect();
    if shape == Shape::AggregatedV3 {
        let tiered = roles
            .iter()
            .map(|role| format!("calicoctl-protect-tiered-{role}"));
        all.extend(tiered);
    }
    let rights: BTreeSet<Right> = all.iter().flat_map(|role| rights(role, shape)).collect();
    let scout = Bench::new(shape, version);
    let bench = Bench::new(shape, version);
    for right in &rights {
        let [verb, group, resource] = [&right.verb, &right.group, &right.resource];
        let grant = Grant::new(USER, &[verb], &[group], &[resource]);
        bench.double.grant(grant);
    }
    let mut needed: BTreeSet<Right> = BTreeSet::new();
    for command in job {
        let command: &[&str] = &command.split(' ').collect::<Vec<_>>();
        scout.double.reset_journal();
        let (code, said) = scout.run(ADMIN_TOKEN, command);
        assert_eq!(code, 0, "{shape:?}: {command:?}: {said}");
        let requests = scout.double.requests();
        let used = requests.iter().filter_map(right);
        let used: BTreeSet<Right> = used.flat_map(|right| with_its_tier(right, shape)).collect();
        let rehearsal = rehearsal(command);
        let whole = bench.run(USER, &rehearsal);
        for right in used
            .intersection(&rights)
            .filter(|right| needed.insert((*right).clone()))
        {
            bench.double.deny(&right.verb, &right.resource);
            // A pod is read whole before it is changed.
            let changes = match right.verb.as_str() {
                "create" | "patch" | "delete" => true,
                verb => verb == "get" && right.resource == "pods",
            };
            let command = if changes { command } else { &rehearsal[..] };
            let without = bench.run(USER, command);
            bench.double.pardon();
            assert_ne!(
                whole, without,
                "{shape:?}: {command:?} is the same without {right:?}"
            );
            assert!(
                !changes || without.0 == 1,
                "{command:?} without {right:?}: {without:?}"
            );
        }
        let (code, said) = bench.run(USER, command);
        assert_eq!(code, 0, "{shape:?}: {command:?}: {said}");
        assert!(
            !said.contains("not allowed"),
            "{shape:?}: {command:?}: {said}"
        );
    }
    println!(
        "{shape:?}, {roles:?}: {} rights shown to be needed",
        needed.len()
    );
    let uses = |right: &Right| (right.resource.clone(), right.verb.clone());
    let idle = rights.difference(&needed).map(uses).collect();
    (needed.iter().map(uses).collect(), idle)
}

/// A command that writes nothing.
fn rehearsal<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let swap = |word| if word == "--yes" { "--dry-run" } else { word };
    command.iter().copied().map(swap).collect()
}

/// The right that a request takes; none for what everybody may ask.
fn right(request: &Logged) -> Option<Right> {
    let mut parts = request.path.trim_start_matches('/').split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    parts.next()?;
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let resource = *rest.first()?;
    if group == "authorization.k8s.io" {
        return None;
    }
    let verb = match (request.method.as_str(), rest.len()) {
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        (other, _) => panic!("{other} {}", request.path),
    };
    Some(Right {
        group: group.to_owned(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
    })
}

/// A right, and those that Calico's own API server asks for with it.
fn with_its_tier(right: Right, shape: Shape) -> Vec<Right> {
    let tiered = shape == Shape::AggregatedV3
        && right.group == "projectcalico.org"
        && TIERED.contains(&right.resource.as_str());
    let by_tier = Right {
        resource: format!("tier.{}", right.resource),
        ..right.clone()
    };
    let tier = Right {
        resource: "tiers".into(),
        verb: "get".into(),
        ..right.clone()
    };
    let more = [by_tier, tier].into_iter().filter(|_| tiered);
    std::iter::once(right).chain(more).collect()
}

/// The rights of a role, as far as this shape of cluster serves them.
fn rights(name: &str, shape: Shape) -> Vec<Right> {
    let other = match shape {
        Shape::LegacyV1 => "projectcalico.org",
        _ => "crd.projectcalico.org",
    };
    let files = ["check.yaml", "operator.yaml", "aggregated-api.yaml"];
    let roles = files.map(|file| documents(&format!("packaging/rbac/{file}")));
    let mut roles = roles.into_iter().flatten();
    let role = roles.find(|role| role["metadata"]["name"] == name).unwrap();
    assert_eq!(role["kind"], "ClusterRole");
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        let list = |key: &str| {
            let words = rule[key].as_array().unwrap().iter();
            words
                .map(|w| w.as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        for group in list("apiGroups").into_iter().filter(|group| group != other) {
            for resource in list("resources") {
                for verb in list("verbs") {
                    let [group, resource] = [group.clone(), resource.clone()];
                    rights.push(Right {
                        group,
                        resource,
                        verb,
                    });
                }
            }
        }
    }
    rights
}

/// The documents of a file of the repository.
pub fn documents(path: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&path).unwrap();
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The sample cluster of the tests.
fn sample() -> Vec<Value> {
    ["calico", "host-endpoints", "nodes", "pods", "workloads"]
        .iter()
        .flat_map(|file| documents(&format!("tests/data/clusters/kubeadm/{file}.yaml")))
        .collect()
}

/// Controllers of the kinds that the sample does not have.
fn more() -> Vec<Value> {
    let workload = |kind: &str, name: &str| {
        json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "main", "image": "example.test/x:1"}]},
                },
            },
        })
    };
    let in_batch = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "batch/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "shop"},
            "spec": spec,
        })
    };
    let job = |name: &str| {
        json!({
            "suspend": true,
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.test/x:1"}]},
            },
        })
    };
    let nightly = json!({"schedule": "17 3 * * *", "jobTemplate": {"spec": job("nightly")}});
    vec![
        workload("DaemonSet", "agent"),
        workload("StatefulSet", "queue"),
        workload("ReplicaSet", "alone"),
        in_batch("Job", "later", job("later")),
        in_batch("CronJob", "nightly", nightly),
    ]
}

impl Bench {
    fn new(shape: Shape, version: &str) -> Self {
        let double = Double::builder(shape).calico(version).start();
        double.token(USER, USER, &[]);
        let release = version.parse().unwrap();
        // The double has a ClusterInformation and tiers of its own; one host has no endpoint yet, and
        // nobody makes one.
        let left_out = |object: &Value| {
            let kinds = ["ClusterInformation", "Tier", "KubeControllersConfiguration"];
            kinds.iter().any(|kind| object["kind"] == *kind)
                || object["metadata"]["name"] == "w-2-auto-hep"
        };
        let stored = sample().into_iter().chain(more());
        let stored = stored.filter(|object| !left_out(object));
        let stored = stored.map(|value| {
            let object = object(value);
            match (shape, object.id().kind.is_calico()) {
                (Shape::LegacyV1, true) => v1::create(&object, release),
                _ => object.into_value(),
            }
        });
        double.load(stored.collect::<Vec<_>>());
        let dir = tempfile::tempdir().unwrap();
        Self { double, dir }
    }

    /// Runs a command as whoever has a token; its exit code and all it said.
    fn run(&self, token: &str, command: &[&str]) -> (i32, String) {
        let credentials = Credentials::Token(token.to_owned());
        let kubeconfig = self.double.kubeconfig_with(self.dir.path(), &credentials);
        let output = Command::new(env!("CARGO_BIN_EXE_calicoctl-protect"))
            .args(command)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        (output.status.code().unwrap(), said)
    }
}
