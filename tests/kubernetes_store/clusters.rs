//! The main job, forth and back, on whole clusters.

use std::path::PathBuf;
use std::process::Command;

use calicoctl_protect::calico::Kind;
use serde_json::Value;

use crate::double::{Double, Shape};
use crate::support::plain;

/// A sample cluster, if this machine has them beside the sources.
fn sample(name: &str) -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut places = here
        .ancestors()
        .map(|a| a.join("shared/clusters").join(name));
    if let Some(folder) = places.find(|path| path.is_dir()) {
        return Some(folder);
    }
    eprintln!("skipped: no sample cluster `{name}` beside the repository");
    None
}

struct Cluster {
    double: Double,
    kubeconfig: PathBuf,
    dir: tempfile::TempDir,
    group: &'static str,
}

impl Cluster {
    fn load(name: &str, shape: Shape, version: &str) -> Option<Self> {
        let folder = sample(name)?;
        let double = Double::builder(shape).calico(version).bare().start();
        double.load_export(folder);
        let dir = tempfile::tempdir().unwrap();
        Some(Self {
            kubeconfig: double.kubeconfig(dir.path()),
            double,
            dir,
            group: match shape {
                Shape::LegacyV1 => "crd.projectcalico.org",
                _ => "projectcalico.org",
            },
        })
    }

    /// Runs the command; its exit code and all it said.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_calicoctl-protect"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(said).unwrap(),
        )
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    }

    /// Everything that is stored, without what servers keep for themselves.
    fn everything(&self) -> Vec<Value> {
        let kinds = Kind::ALL.iter().filter(|kind| {
            !matches!(
                kind,
                Kind::CalicoNode | Kind::WorkloadEndpoint | Kind::Profile
            )
        });
        kinds
            .flat_map(|kind| {
                let resource = match (kind.is_calico(), kind.group()) {
                    (true, _) => format!("{}.{}", kind.plural(), self.group),
                    (false, "") => kind.plural().to_owned(),
                    (false, group) => format!("{}.{group}", kind.plural()),
                };
                self.double.list(&resource)
            })
            .map(plain)
            .map(without_defaults)
            .collect()
    }
}

/// An object without what a schema younger than the export fills in at the first write.
fn without_defaults(mut object: Value) -> Value {
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.shift_remove("nftablesFlowTableOffload");
    }
    object
}

/// What somebody who is not the reader would look for first.
fn show_differences(before: &[Value], after: &[Value]) {
    let name = |v: &Value| format!("{} {}", v["kind"], v["metadata"]["name"]);
    for object in after.iter().filter(|o| !before.contains(o)) {
        eprintln!("after: {}\n{object}", name(object));
    }
    for object in before.iter().filter(|o| !after.contains(o)) {
        eprintln!("before: {}\n{object}", name(object));
    }
}

fn forth_and_back(cluster: &Cluster, job: &[&[&str]]) {
    let before = cluster.everything();
    assert!(before.len() > 50);
    for (n, command) in job.iter().enumerate() {
        let rehearsed = cluster.done(&[*command, &["--dry-run"]].concat());
        assert!(
            rehearsed.contains("dry run: nothing was written"),
            "{rehearsed}"
        );
        let said = cluster.done(&[*command, &["--yes"]].concat());
        assert!(said.contains("done: "), "{n} {command:?}: {said}");
        let again = cluster.done(&[*command, &["--yes"]].concat());
        assert!(
            again.contains("nothing to do"),
            "{n} {command:?} again: {again}"
        );
        if n + 1 == job.len() / 2 {
            assert_ne!(cluster.everything(), before);
        }
    }
    let after = cluster.everything();
    show_differences(&before, &after);
    assert_eq!(before.len(), after.len());
    assert!(before == after, "the cluster is not as it was");
}

#[test]
fn etcd_of_a_kubeadm_cluster_is_protected_and_freed_again() {
    let Some(cluster) = Cluster::load("kubeadm-v3", Shape::NativeV3, "v3.32.1") else {
        return;
    };
    let control_plane = "has(node-role.kubernetes.io/control-plane)";
    forth_and_back(
        &cluster,
        &[
            &["server", "etcd", "--node-selector", control_plane],
            &[
                "grant",
                "etcd",
                "--node-selector",
                control_plane,
                "--net",
                "203.0.113.0/28",
            ],
            &["prune", "etcd"],
            &["restore", "etcd"],
            &[
                "revoke",
                "etcd",
                "--node-selector",
                control_plane,
                "--net",
                "203.0.113.0/28",
            ],
            &["remove", "etcd"],
        ],
    );
    assert!(
        cluster.double.counters().connections < 30,
        "a run makes one connection"
    );
}

#[test]
fn felix_metrics_of_a_legacy_cluster_are_protected_and_freed_again() {
    let Some(cluster) = Cluster::load("legacy-v1", Shape::LegacyV1, "v3.28.5") else {
        return;
    };
    forth_and_back(
        &cluster,
        &[
            &[
                "server",
                "felix-metrics",
                "--node",
                "node-a",
                "--interface",
                "eth0",
            ],
            &["grant", "felix-metrics", "--net", "198.51.100.64/28"],
            &["revoke", "felix-metrics", "--net", "198.51.100.64/28"],
            &["remove", "felix-metrics"],
        ],
    );
}

#[test]
fn errors_of_the_store_reach_the_user_with_their_exit_codes() {
    let Some(cluster) = Cluster::load("kubeadm-v3", Shape::NativeV3, "v3.32.1") else {
        return;
    };
    let (code, said) = cluster.run(&["--context", "prod", "status"]);
    assert_eq!(code, 64, "{said}");
    assert!(
        said.contains("context `prod` is not in the kubeconfig"),
        "{said}"
    );
    cluster.double.deny("create", "globalnetworkpolicies");
    let (code, said) = cluster.run(&["server", "etcd", "--node", "cp-1", "--yes"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("not allowed to create `globalnetworkpolicies.projectcalico.org`"),
        "{said}"
    );
    assert!(!cluster.double.requests().iter().any(|r| r.is_write()));
}

#[test]
fn the_configuration_file_of_calicoctl_is_taken_and_the_environment_is_named() {
    let Some(cluster) = Cluster::load("kubeadm-v3", Shape::NativeV3, "v3.32.1") else {
        return;
    };
    let file = cluster.dir.path().join("calicoctl.cfg");
    let spec = format!("{{kubeconfig: {}}}", cluster.kubeconfig.display());
    let text = format!("apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec: {spec}\n");
    std::fs::write(&file, text).unwrap();
    let said = cluster.done(&["-c", file.to_str().unwrap(), "status"]);
    assert!(
        said.contains("is used, so the environment is not read, as by calicoctl: `KUBECONFIG`"),
        "{said}"
    );
}

#[test]
fn logs_hold_no_credentials() {
    let Some(cluster) = Cluster::load("kubeadm-v3", Shape::NativeV3, "v3.32.1") else {
        return;
    };
    let token = crate::double::Credentials::Token(crate::double::ADMIN_TOKEN.into());
    cluster.double.kubeconfig_with(cluster.dir.path(), &token);
    let said = cluster.done(&["-l", "debug", "status"]);
    assert!(
        said.contains("INFO calicoctl_protect::store::kubernetes: connected"),
        "{said}"
    );
    assert!(!said.contains(crate::double::ADMIN_TOKEN), "{said}");
}
