//! No secret reaches a result, a log or an error, whatever it was set up by and whatever goes wrong.

use std::process::Command;

use serde_json::{Value, json};

use super::double::{ADMIN_TOKEN, Credentials, Fault, Shape, When};
use super::place::{Place, Run, What};

const LINES: [&str; 4] = [
    "status",
    "grant typha --net 198.51.100.0/28 --node w-1 --dry-run",
    "grant typha --net 198.51.100.0/28 --node w-1 -o json --yes",
    "check",
];

/// Runs commands with everything logged, in good weather and in bad, and looks for the secrets.
fn none_of(secrets: &[&str], run: impl Fn(&str) -> Run) {
    for line in LINES {
        for level in ["debug", "panic"] {
            let run = run(&format!("{line} -l {level}"));
            for secret in secrets {
                let said = format!("{}{}", run.out, run.err);
                assert!(!said.contains(secret), "`{secret}` after {line}:\n{said}");
            }
        }
    }
}

async fn native() -> Place {
    Place::new(What::Kubernetes(Shape::NativeV3), "v3.32.1")
        .await
        .unwrap()
}

fn set_up(place: &Place, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(place.kubeconfig()).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    change(&mut config);
    std::fs::write(place.kubeconfig(), config.to_string()).unwrap();
}

#[tokio::test]
async fn tokens_and_keys_of_a_kubeconfig() {
    for credentials in [
        Credentials::Token(ADMIN_TOKEN.into()),
        Credentials::Exec(ADMIN_TOKEN.into()),
    ] {
        let place = native().await;
        place.double().kubeconfig_with(place.dir(), &credentials);
        none_of(&[ADMIN_TOKEN], |line| place.run(line));
        place.double().fault(When::any(), Fault::Unauthorized);
        none_of(&[ADMIN_TOKEN], |line| place.run(line));
        place.double().clear_faults();
        place.double().fault(When::any(), Fault::Internal);
        none_of(&[ADMIN_TOKEN], |line| place.run(line));
    }
    let place = native().await;
    let key = std::fs::read_to_string(place.dir().join("client.key")).unwrap();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let encoded = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(&key)
    };
    set_up(&place, |c| {
        let user = c["users"][0]["user"].as_object_mut().unwrap();
        user.shift_remove("client-key");
        user.insert("client-key-data".into(), json!(encoded));
    });
    none_of(&[&secret, &encoded[40..80]], |line| place.run(line));
    // One that does not fit its certificate, or is none.
    set_up(&place, |c| {
        c["users"][0]["user"]["client-key-data"] = json!("c2VjcmV0LXRleHQ=")
    });
    none_of(&["secret-text", "c2VjcmV0LXRleHQ="], |line| place.run(line));
    // A password in a URL.
    set_up(&place, |c| {
        c["clusters"][0]["cluster"]["proxy-url"] = json!("http://user:passw0rd@127.0.0.1:9");
    });
    none_of(&["passw0rd"], |line| place.run(line));
    // A file that does not parse.
    std::fs::write(
        place.kubeconfig(),
        "users: [{name: x, user: {token: tok3n, : }]",
    )
    .unwrap();
    none_of(&["tok3n"], |line| place.run(line));
}

#[tokio::test]
async fn passwords_of_proxies_and_what_web_pages_hold() {
    let place = native().await;
    for status in [200, 302, 403, 503] {
        place.double().fault(When::any(), Fault::WebPage(status));
        none_of(&["s3cr3t"], |line| place.run(line));
        place.double().clear_faults();
    }
    let free = super::etcd_server::free_port();
    set_up(&place, |config| {
        let proxy = format!("http://me:s3cr3t@127.0.0.1:{free}");
        config["clusters"][0]["cluster"]["proxy-url"] = json!(proxy);
    });
    none_of(&["s3cr3t"], |line| place.run(line));
}

#[tokio::test]
async fn what_calicoctls_configuration_and_environment_hold() {
    let place = native().await;
    let ca = place.dir().join("ca.crt");
    let url = place.double().url().to_owned();
    let by_environment = |token: &str, line: &str| {
        let mut command: Command = place.bare();
        command
            .env("DATASTORE_TYPE", "kubernetes")
            .env("K8S_API_ENDPOINT", &url)
            .env("K8S_CA_FILE", &ca)
            .env("CALICO_K8SAPITOKEN", token)
            .args(line.split(' '));
        Run::of(&mut command)
    };
    none_of(&[ADMIN_TOKEN], |line| by_environment(ADMIN_TOKEN, line));
    none_of(&["tok3n-wrong"], |line| by_environment("tok3n-wrong", line));
    let by_file = |spec: &str, line: &str| {
        let file = place.dir().join("calicoctl.cfg");
        let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec:\n";
        std::fs::write(&file, format!("{head}{spec}")).unwrap();
        let mut command: Command = place.bare();
        command.arg("-c").arg(file).args(line.split(' '));
        Run::of(&mut command)
    };
    for spec in [
        format!("  datastoreType: kubernetes\n  k8sAPIEndpoint: {url}\n  k8sCAFile: {}\n  k8sAPIToken: tok3n\n", ca.display()),
        "  datastoreType: kubernetes\n  k8sAPIToken: tok3n\n  nosuchfield: tok3n\n".to_owned(),
        "  datastoreType: kubernetes\n  kubeconfigInline: 'users: [{user: {token: tok3n'\n".to_owned(),
        "  datastoreType: etcdv3\n  etcdEndpoints: http://127.0.0.1:9\n  etcdUsername: u\n  etcdPassword: tok3n\n".to_owned(),
        "  datastoreType: etcdv3\n  etcdEndpoints: http://u:tok3n@127.0.0.1:9\n".to_owned(),
        "  datastoreType: etcdv3\n  etcdEndpoints: https://127.0.0.1:9\n  etcdKey: tok3n\n  etcdCert: tok3n\n  etcdCACert: tok3n\n".to_owned(),
    ] {
        none_of(&["tok3n"], |line| by_file(&spec, line));
    }
}

#[tokio::test]
async fn the_password_of_etcd() {
    let Some(place) = Place::new(What::Etcd, "v3.32.1").await else {
        return;
    };
    place.etcd().raw().turn_users_on().await;
    let run = |password: &str, line: &str| {
        let mut command = place.command(line);
        command
            .env("ETCD_USERNAME", "calico")
            .env("ETCD_PASSWORD", password);
        Run::of(&mut command)
    };
    none_of(&["calico-secret"], |line| run("calico-secret", line));
    none_of(&["wrong-passw0rd"], |line| run("wrong-passw0rd", line));
}
