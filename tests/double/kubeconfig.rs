//! kubeconfig files for a double.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::tls::ClientCertificate;

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Not at all.
    None,
    /// A bearer token in the file.
    Token(String),
    /// A client certificate in files beside it.
    Certificate(ClientCertificate),
    /// A credential plugin: a shell script beside the file that hands out the token found in
    /// `token` at that moment.
    Exec(String),
}

/// Writes `kubeconfig` (and what it refers to) into a directory and returns its path.
pub fn write(dir: &Path, url: &str, ca: Option<&str>, credentials: &Credentials) -> PathBuf {
    let save = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).expect("the directory takes files");
        path
    };
    let mut cluster = json!({"server": url});
    if let Some(ca) = ca {
        cluster["certificate-authority"] = json!(save("ca.crt", ca));
    }
    let user = match credentials {
        Credentials::None => json!({}),
        Credentials::Token(token) => json!({"token": token}),
        Credentials::Certificate(client) => json!({
            "client-certificate": save("client.crt", &client.certificate),
            "client-key": save("client.key", &client.key),
        }),
        Credentials::Exec(token) => {
            let token = save("token", token);
            let script = save(
                "credential.sh",
                &format!(
                    "#!/bin/sh\nprintf '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"%s\"}}}}' \"$(cat '{}')\"\n",
                    token.display()
                ),
            );
            json!({"exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": "/bin/sh",
                "args": [script],
                "interactiveMode": "Never",
            }})
        }
    };
    let config: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "double",
        "clusters": [{"name": "double", "cluster": cluster}],
        "users": [{"name": "tester", "user": user}],
        "contexts": [{"name": "double", "context": {"cluster": "double", "user": "tester"}}],
    });
    let text = serde_yaml::to_string(&config).expect("a document");
    save("kubeconfig", &text)
}
