//! What proves who asks, and when it does not any more.

use std::fs;

use calicoctl_protect::calico::Kind;
use calicoctl_protect::store::Store;
use calicoctl_protect::store::kubernetes::KubernetesStore;
use serde_json::json;

use crate::double::{ADMIN_TOKEN, Credentials};
use crate::support::*;

#[tokio::test]
async fn certificates_tokens_token_files_and_plugins_prove_who_asks() {
    let (double, dir) = mk_double();
    assert_eq!(try_read(config(double.kubeconfig(dir.path()))).await, Ok(1));
    let token = mk_kubeconfig(&double, &dir, |_| ());
    assert_eq!(try_read(config(token)).await, Ok(1));
    fs::write(dir.path().join("token-file"), ADMIN_TOKEN).unwrap();
    let file = mk_kubeconfig(&double, &dir, |value| {
        value["users"][0]["user"] = json!({"tokenFile": "token-file"});
    });
    assert_eq!(try_read(config(file)).await, Ok(1));
    let plugin = Credentials::Exec(ADMIN_TOKEN.into());
    let plugin = double.kubeconfig_with(dir.path(), &plugin);
    assert_eq!(try_read(config(plugin)).await, Ok(1));
    assert!(double.requests().iter().all(|r| r.user == "admin"));
}

#[tokio::test]
async fn credentials_of_a_plugin_are_renewed_when_the_server_refuses_them() {
    let (double, dir) = mk_double();
    double.load((0..50).map(|n| mk_hep(&format!("h{n}"), &[("a", "1")]).into_value()));
    let plugin = Credentials::Exec(ADMIN_TOKEN.into());
    let path = double.kubeconfig_with(dir.path(), &plugin);
    let mut store = KubernetesStore::new(config(path), limits());
    let snapshot = store
        .read(&kinds_wanted(&[Kind::HostEndpoint]))
        .await
        .unwrap();
    double.expire_token(ADMIN_TOKEN);
    double.token("fresh", "admin", &[crate::double::MASTERS]);
    fs::write(dir.path().join("token"), "fresh").unwrap();
    let batch: Vec<_> = (0..50)
        .map(|n| set_label(&snapshot, &hep_id(&format!("h{n}")), "x", "1"))
        .collect();
    let (done, result) = write(&mut store, &batch).await;
    assert_eq!((done.len(), result), (50, Ok(())));
    double.expire_token("fresh");
    let error = store.read(&kinds_wanted(&[])).await.unwrap_err();
    assert!(
        error.message.contains("does not accept the credentials"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_token_that_is_rotated_in_its_file_is_read_anew_when_the_old_one_is_refused() {
    let (double, dir) = mk_double();
    let file = dir.path().join("token-file");
    fs::write(&file, ADMIN_TOKEN).unwrap();
    let path = mk_kubeconfig(&double, &dir, |value| {
        value["users"][0]["user"] = json!({"tokenFile": "token-file"});
    });
    let mut store = KubernetesStore::new(config(path), limits());
    let wanted = kinds_wanted(&[Kind::HostEndpoint]);
    let snapshot = store.read(&wanted).await.unwrap();
    double.expire_token(ADMIN_TOKEN);
    double.token("rotated", "admin", &[crate::double::MASTERS]);
    fs::write(&file, "rotated").unwrap();
    let label = set_label(&snapshot, &hep_id("h"), "x", "1");
    assert_eq!(write(&mut store, &[label]).await, (vec![0], Ok(())));
}

#[tokio::test]
async fn a_plugin_may_hand_out_a_certificate() {
    let (double, dir) = mk_double();
    let client = double.certificate("admin", &[crate::double::MASTERS]);
    let credential = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"clientCertificateData": client.certificate, "clientKeyData": client.key}});
    let file = dir.path().join("credential.json");
    fs::write(&file, credential.to_string()).unwrap();
    let path = mk_kubeconfig(&double, &dir, |value| {
        value["users"][0]["user"] = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [file],
            "interactiveMode": "Never"}});
    });
    assert_eq!(try_read(config(path)).await, Ok(1));
    assert!(double.requests().iter().all(|r| r.user == "admin"));
}

#[tokio::test]
async fn blanks_around_the_token_in_a_file_are_no_part_of_it() {
    let (double, dir) = mk_double();
    let file = dir.path().join("token-file");
    let path = mk_kubeconfig(&double, &dir, |value| {
        value["users"][0]["user"] = json!({"tokenFile": "token-file"});
    });
    fs::write(&file, format!("{ADMIN_TOKEN}\n")).unwrap();
    assert_eq!(try_read(config(&path)).await, Ok(1));
    fs::write(&file, " \n").unwrap();
    let error = try_read(config(&path)).await.unwrap_err();
    assert!(error.message.ends_with("token-file` is empty"), "{error}");
    assert!(error.hint.unwrap().contains("log in again"));
    // A token beside it is good enough.
    let path = mk_kubeconfig(&double, &dir, |value| {
        value["users"][0]["user"] = json!({"tokenFile": "token-file", "token": ADMIN_TOKEN});
    });
    assert_eq!(try_read(config(&path)).await, Ok(1));
    fs::write(&file, "another").unwrap();
    let error = try_read(config(&path)).await.unwrap_err();
    assert!(
        error.message.contains("does not accept the credentials"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_certificate_that_has_expired_is_told_as_a_refusal_of_this_side() {
    let (double, dir) = mk_double();
    let old = double.expired_certificate("admin", &[crate::double::MASTERS]);
    fs::write(dir.path().join("old.crt"), old.certificate).unwrap();
    fs::write(dir.path().join("old.key"), old.key).unwrap();
    let path = mk_kubeconfig(&double, &dir, |value| {
        value["users"][0]["user"] =
            json!({"client-certificate": "old.crt", "client-key": "old.key"});
    });
    let words = words(&try_read(config(&path)).await.unwrap_err());
    assert!(words.contains(double.url()), "{words}");
    assert!(words.contains("has it not expired?"), "{words}");
}
