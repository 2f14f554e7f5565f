//! The roles in `packaging/rbac` on a live API server: somebody who has them alone does the main job
//! there, on a node that is made for it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::live::VARIABLE;
use crate::rights::documents;

/// The user, and the beginning of all names that are made.
const NAME: &str = "calicoctl-protect-test-rights";

/// What was made on the server, and who made it. It goes away at the end.
struct Live {
    admin: PathBuf,
    made: Vec<Value>,
}

impl Live {
    fn kubectl(&self, args: &[&str], input: &Value) -> (bool, String) {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.admin)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.to_string().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    fn make(&mut self, object: Value) {
        let (made, said) = self.kubectl(&["create", "--validate=false", "-f", "-"], &object);
        assert!(made, "{said}");
        self.made.push(object);
    }

    /// A role under a name of its own, bound to the user.
    fn bind(&mut self, mut role: Value) {
        let name = format!("{NAME}-{}", role["metadata"]["name"].as_str().unwrap());
        role["metadata"] = json!({"name": name});
        self.make(role);
        self.make(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NAME}],
        }));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for object in self.made.iter().rev() {
            let (gone, said) = self.kubectl(&["delete", "--ignore-not-found", "-f", "-"], object);
            if !gone {
                println!("left behind: {said}");
            }
        }
    }
}

/// The same server, asked in the user's name.
fn as_user(admin: &Path, dir: &Path) -> PathBuf {
    let text = std::fs::read_to_string(admin).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    for user in config["users"].as_array_mut().unwrap() {
        user["user"]["as"] = json!(NAME);
    }
    // Files are named as seen from the folder of a kubeconfig.
    let path = dir.join("kubeconfig");
    for (list, part) in [("clusters", "cluster"), ("users", "user")] {
        for entry in config[list].as_array_mut().unwrap() {
            for field in [
                "certificate-authority",
                "client-certificate",
                "client-key",
                "tokenFile",
            ] {
                if let Some(file) = entry[part][field].as_str() {
                    let file = admin.parent().unwrap().join(file);
                    entry[part][field] = json!(file);
                }
            }
        }
    }
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[test]
fn the_roles_are_enough_on_a_live_server() {
    let Some(admin) = std::env::var_os(VARIABLE) else {
        println!("skipped: no live API server ({VARIABLE} is not set)");
        return;
    };
    let mut live = Live {
        admin: std::fs::canonicalize(admin).unwrap(),
        made: Vec::new(),
    };
    for file in ["check.yaml", "operator.yaml", "aggregated-api.yaml"] {
        for role in documents(&format!("packaging/rbac/{file}")) {
            live.bind(role);
        }
    }
    // Kubelets label their Nodes from the beginning.
    let labels = json!({"kubernetes.io/hostname": NAME});
    let metadata = json!({"name": NAME, "labels": labels});
    live.make(json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata}));
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = as_user(&live.admin, dir.path());
    let run = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_calicoctl-protect"))
            .args(command.split(' '))
            .env("HOME", dir.path())
            .env("XDG_STATE_HOME", dir.path())
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains("not allowed"), "{command}: {said}");
        (output.status.code().unwrap(), said)
    };
    // What these say of the cluster is the cluster's business.
    for command in [
        "check",
        &format!("explain --from {NAME} --to {NAME} --port tcp/65001"),
    ] {
        let (code, said) = run(command);
        assert!([0, 3, 5, 7].contains(&code), "{command}: {code}: {said}");
    }
    let protect = format!("server {NAME} --port tcp/65001 --node {NAME} --yes");
    let (code, said) = run(&protect);
    if [3, 5].contains(&code) {
        println!("writing was not tried: {said}");
        return;
    }
    assert_eq!(code, 0, "{protect}: {said}");
    for command in [
        "status",
        &format!("grant {NAME} --net 192.0.2.0/28 --yes"),
        &format!("revoke {NAME} --net 192.0.2.0/28 --yes"),
        &format!("remove {NAME} --yes"),
    ] {
        let (code, said) = run(command);
        assert_eq!(code, 0, "{command}: {said}");
    }
}
