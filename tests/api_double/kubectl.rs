//! The real kubectl works against the double.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::behaviour::mk_double;
use crate::double::{ADMIN_TOKEN, Credentials, Double, Shape};

/// kubectl with a kubeconfig of its own; `None` where there is no kubectl. In CI there has to be one.
struct Kubectl {
    kubeconfig: PathBuf,
    dir: tempfile::TempDir,
}

impl Kubectl {
    fn new(double: &Double, credentials: Option<&Credentials>) -> Option<Self> {
        let found = Command::new("kubectl")
            .args(["version", "--client"])
            .output()
            .is_ok_and(|out| out.status.success());
        if !found {
            let ci = std::env::var("CI").is_ok_and(|v| v == "true");
            assert!(!ci, "kubectl is needed in CI");
            println!("skipped: no kubectl");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = match credentials {
            Some(credentials) => double.kubeconfig_with(dir.path(), credentials),
            None => double.kubeconfig(dir.path()),
        };
        Some(Self { kubeconfig, dir })
    }

    fn output(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// Runs and returns what was printed; fails with kubectl's own words.
    fn run(&self, args: &[&str]) -> String {
        self.feed(args, "")
    }

    fn feed(&self, args: &[&str], input: &str) -> String {
        let output = self.output(args, input);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

const HEP: &str = "hostendpoints.projectcalico.org";

fn label<'a>(object: &'a Value, key: &str) -> &'a Value {
    &object["metadata"]["labels"][key]
}

#[test]
fn reads_and_writes_host_endpoints() {
    let double = mk_double(2);
    let Some(kubectl) = Kubectl::new(&double, None) else {
        return;
    };
    let table = kubectl.run(&["get", "hep"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NAME", "NODE", "INTERFACE"]);
    assert_eq!(rows[1], ["h-0", "node-0", "eth0"]);
    let yaml = kubectl.run(&["get", HEP, "h-0", "-o", "yaml"]);
    let object: Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(object["spec"]["interfaceName"], "eth0");
    let stored = |name: &str| double.get(HEP, name);
    assert_eq!(
        kubectl.run(&["label", "hep", "h-0", "env=prod"]).trim(),
        "hostendpoint.projectcalico.org/h-0 labeled"
    );
    assert_eq!(label(&stored("h-0").unwrap(), "env"), "prod");
    kubectl.run(&["label", "hep", "--all", "env=test", "--overwrite"]);
    assert_eq!(label(&stored("h-1").unwrap(), "env"), "test");
    let patch = r#"{"spec":{"interfaceName":"eth5"}}"#;
    kubectl.run(&["patch", "hep", "h-0", "--type=merge", "-p", patch]);
    assert_eq!(stored("h-0").unwrap()["spec"]["interfaceName"], "eth5");
    let patch = r#"[{"op":"test","path":"/metadata/labels/env","value":"test"},{"op":"remove","path":"/metadata/labels/env"}]"#;
    kubectl.run(&["patch", "hep", "h-0", "--type=json", "-p", patch]);
    assert!(label(&stored("h-0").unwrap(), "env").is_null());
    let bad = kubectl.output(
        &[
            "patch",
            "hep",
            "h-0",
            "--type=merge",
            "-p",
            r#"{"spec":{"node":null}}"#,
        ],
        "",
    );
    assert!(String::from_utf8_lossy(&bad.stderr).contains("node must be specified"));
    let managers = double.requests();
    let managers: Vec<&str> = managers
        .iter()
        .filter(|r| r.is_write())
        .map(|r| r.param("fieldManager"))
        .collect();
    assert_eq!(managers[0], "kubectl-label");
    assert_eq!(
        kubectl.run(&["delete", "hep", "h-1"]).trim(),
        r#"hostendpoint.projectcalico.org "h-1" deleted"#
    );
    assert!(stored("h-1").is_none());
}

#[test]
fn applies_from_files_by_client_and_by_server() {
    let double = mk_double(0);
    let Some(kubectl) = Kubectl::new(&double, None) else {
        return;
    };
    let manifest = |interface: &str| {
        json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": "HostEndpoint",
            "metadata": {"name": "h"},
            "spec": {"node": "node-0", "interfaceName": interface},
        })
        .to_string()
    };
    let client = ["apply", "-f", "-"];
    assert!(kubectl.feed(&client, &manifest("eth0")).contains("created"));
    assert!(
        kubectl
            .feed(&client, &manifest("eth0"))
            .contains("unchanged")
    );
    assert!(
        kubectl
            .feed(&client, &manifest("eth1"))
            .contains("configured")
    );
    assert_eq!(
        double.get(HEP, "h").unwrap()["spec"]["interfaceName"],
        "eth1"
    );
    let server = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    kubectl.feed(&server, &manifest("eth2"));
    assert_eq!(
        double.get(HEP, "h").unwrap()["spec"]["interfaceName"],
        "eth2"
    );
    let dry = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
    kubectl.feed(&dry, &manifest("eth2"));
    assert!(
        kubectl
            .feed(&["delete", "-f", "-"], &manifest("eth2"))
            .contains("deleted")
    );
    assert!(double.get(HEP, "h").is_none());
}

#[test]
fn reads_and_writes_nodes_with_every_kind_of_credentials() {
    let double = Double::builder(Shape::LegacyV1).calico("v3.28.5").start();
    double.load(["node-0", "node-1"].map(
        |name| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}),
    ));
    let token = Credentials::Token(ADMIN_TOKEN.into());
    let exec = Credentials::Exec(ADMIN_TOKEN.into());
    for credentials in [None, Some(token), Some(exec)] {
        let Some(kubectl) = Kubectl::new(&double, credentials.as_ref()) else {
            return;
        };
        assert!(kubectl.run(&["get", "nodes"]).contains("node-1"));
        let yaml = kubectl.run(&["get", "node", "node-0", "-o", "yaml"]);
        assert!(yaml.contains("kind: Node"));
        kubectl.run(&["label", "node", "node-0", "role=edge"]);
        assert_eq!(
            label(&double.get("nodes", "node-0").unwrap(), "role"),
            "edge"
        );
        kubectl.run(&["label", "node", "node-0", "role-"]);
        let patch = r#"{"metadata":{"annotations":{"a":"b"}}}"#;
        kubectl.run(&["patch", "node", "node-0", "-p", patch]);
        let node = double.get("nodes", "node-0").unwrap();
        assert_eq!(node["metadata"]["annotations"]["a"], "b");
        assert!(node["metadata"].get("labels").is_none());
    }
    let Some(kubectl) = Kubectl::new(&double, None) else {
        return;
    };
    let node =
        r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-2","labels":{"x":"y"}}}"#;
    kubectl.feed(&["apply", "-f", "-"], node);
    assert_eq!(label(&double.get("nodes", "node-2").unwrap(), "x"), "y");
    kubectl.run(&["delete", "node", "node-2"]);
    assert!(double.get("nodes", "node-2").is_none());
    assert!(
        kubectl
            .run(&["version"])
            .contains("Server Version: v1.36.2")
    );
    assert!(kubectl.run(&["api-resources"]).contains("hostendpoints"));
}
