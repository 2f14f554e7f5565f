//! What names the server and the user: calicoctl's settings, kubeconfigs, and what is wrong in them.

use std::fs;

use calicoctl_protect::store::config::{ApiGroup, Kubeconfig, KubernetesConfig, Secret};
use serde_json::{Value, json};

use crate::double::ADMIN_TOKEN;
use crate::support::*;

#[tokio::test]
async fn settings_of_calicoctl_need_no_kubeconfig() {
    let (double, dir) = mk_double();
    let path = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let client = double.certificate("admin", &[crate::double::MASTERS]);
    let by_certificate = KubernetesConfig {
        kubeconfig: Kubeconfig::InCluster,
        endpoint: Some(double.url().into()),
        ca_file: Some(path("ca", double.ca())),
        cert_file: Some(path("cert", client.certificate)),
        key_file: Some(path("key", client.key)),
        ..KubernetesConfig::default()
    };
    assert_eq!(try_read(by_certificate).await, Ok(1));
    let by_token = KubernetesConfig {
        endpoint: Some(double.url().into()),
        insecure: true,
        token: Some(Secret::new(ADMIN_TOKEN)),
        api_group: Some(ApiGroup::V3),
        ..KubernetesConfig::default()
    };
    assert_eq!(try_read(by_token).await, Ok(1));
    let inline = fs::read_to_string(mk_kubeconfig(&double, &dir, |_| ())).unwrap();
    let inline = KubernetesConfig {
        kubeconfig: Kubeconfig::Inline(Secret::new(inline)),
        ..KubernetesConfig::default()
    };
    assert_eq!(try_read(inline).await, Ok(1));
}

#[tokio::test]
async fn several_kubeconfigs_are_merged_and_a_context_is_chosen() {
    let (double, dir) = mk_double();
    let real = mk_kubeconfig(&double, &dir, |value| value["current-context"] = json!(""));
    let first = dir.path().join("first");
    let other = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "tester"}}],
    });
    fs::write(&first, other.to_string()).unwrap();
    let mk = |context: Option<&str>| KubernetesConfig {
        kubeconfig: Kubeconfig::Files(vec![
            first.clone(),
            dir.path().join("missing"),
            real.clone(),
        ]),
        context: context.map(str::to_owned),
        ..KubernetesConfig::default()
    };
    assert_eq!(try_read(mk(Some("double"))).await, Ok(1));
    let error = try_read(mk(None)).await.unwrap_err();
    assert_eq!(error.message, "the kubeconfig has no current context");
    assert!(error.hint.unwrap().contains("`nowhere`, `double`"));
    let error = try_read(mk(Some("prod"))).await.unwrap_err();
    assert_eq!(error.message, "context `prod` is not in the kubeconfig");
    let error = try_read(mk(Some("nowhere"))).await.unwrap_err();
    assert!(
        error
            .message
            .starts_with("no connection to `https://127.0.0.1:1`"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_kubeconfig_that_is_missing_or_broken_is_named_without_its_content() {
    let (double, dir) = mk_double();
    let error = try_read(config(dir.path().join("missing")))
        .await
        .unwrap_err();
    assert!(
        error.message.contains("missing` cannot be read"),
        "{}",
        error.message
    );
    let path = mk_kubeconfig(&double, &dir, |value| value["users"] = json!("s3cret"));
    let error = try_read(config(&path)).await.unwrap_err();
    assert!(
        error.message.contains("does not parse"),
        "{}",
        error.message
    );
    assert!(!words(&error).contains("s3cret"));
    let error = try_read(KubernetesConfig {
        kubeconfig: Kubeconfig::Home(dir.path().join("none")),
        ..KubernetesConfig::default()
    })
    .await
    .unwrap_err();
    assert!(error.message.starts_with("no kubeconfig is given or found"));
}

/// What each fault of the set-up is called, and what must be in the hint.
#[tokio::test]
async fn every_wrong_set_up_has_its_words() {
    let (double, dir) = mk_double();
    let (other, _) = mk_double();
    let base64 = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let exec = |command: &str| {
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command,
            "args": ["-c", "echo tok3n; exit 3"], "interactiveMode": "Never",
            "installHint": "get it from example.org"}})
    };
    let text = |output: &str| {
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh",
            "args": ["-c", format!("printf '{output}'")], "interactiveMode": "Never"}})
    };
    type Change = Box<dyn FnOnce(&mut Value)>;
    let cluster = |field: &'static str, to: Value| -> Change {
        Box::new(move |v: &mut Value| {
            let cluster = v["clusters"][0]["cluster"].as_object_mut().unwrap();
            cluster.shift_remove("certificate-authority");
            cluster.insert(field.into(), to);
        })
    };
    let user = |to: Value| -> Change { Box::new(move |v: &mut Value| v["users"][0]["user"] = to) };
    let wrong_ca = cluster("certificate-authority-data", json!(base64(&other.ca())));
    let cases: Vec<(Change, &str, &str)> = vec![
        (
            wrong_ca,
            "is not signed by the CA that is trusted here",
            "certificate-authority-data",
        ),
        (
            cluster("certificate-authority", json!("none.crt")),
            "none.crt",
            "",
        ),
        (
            cluster("certificate-authority-data", json!(base64("tok3n"))),
            "the kubeconfig's certificate authority holds no certificate",
            "certificate-authority-data",
        ),
        (
            user(exec("no-such-plugin")),
            "credential plugin `no-such-plugin` cannot be run",
            "get it from example.org",
        ),
        (
            user(exec("/bin/sh")),
            "credential plugin `/bin/sh` failed (exit status: 3)",
            "log in again",
        ),
        (
            user(text("tok3n")),
            "did not print an `ExecCredential`",
            "run it by hand",
        ),
        (user(text("{}")), "printed no credential", "run it by hand"),
        (
            user(text(r#"{"status": {}}"#)),
            "neither a token nor a certificate",
            "run it by hand",
        ),
        (
            user(json!({"token": "tok3n"})),
            "does not accept the credentials",
            "log in again",
        ),
        (
            user(json!({"tokenFile": "none"})),
            "cannot be read",
            "`tokenFile`",
        ),
        (
            user(json!({"token": "tok3n\nx"})),
            "holds characters that no token has",
            "`token`",
        ),
        (
            user(
                json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh",
                "interactiveMode": "Always"}}),
            ),
            "wants to ask, but there is no terminal",
            "log in by hand first",
        ),
        (
            user(
                json!({"client-certificate-data": base64("tok3n"), "client-key-data": base64("tok3n")}),
            ),
            "the certificates of the kubeconfig cannot be used",
            "must be PEM and belong together",
        ),
        (
            user(json!({})),
            "you are not allowed to get `/apis`",
            "without credentials",
        ),
        (
            user(json!({"client-certificate-data": "tok3n"})),
            "the client certificate is no valid base64",
            "",
        ),
        (
            user(json!({"client-certificate": "ca.crt"})),
            "the client key is missing, but its other half is there",
            "",
        ),
    ];
    for (change, says, hints) in cases {
        let path = mk_kubeconfig(&double, &dir, change);
        let error = try_read(config(&path)).await.unwrap_err();
        let words = words(&error);
        assert!(words.contains(says), "{words}\nshould say: {says}");
        assert!(words.contains(hints), "{words}\nshould hint: {hints}");
        assert!(!words.contains("tok3n"), "{words}");
    }
}
