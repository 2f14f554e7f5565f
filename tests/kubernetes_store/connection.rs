//! Ways to the server, and what is said when one does not lead there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use calicoctl_protect::calico::Kind;
use calicoctl_protect::store::config::{ApiGroup, Kubeconfig, KubernetesConfig, Secret};
use calicoctl_protect::store::kubernetes::{KubernetesStore, Limits};
use calicoctl_protect::store::{Store, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::double::{ADMIN_TOKEN, Credentials, Double, Fault, Shape, When};
use crate::support::*;

async fn try_read(config: KubernetesConfig) -> Result<usize, StoreError> {
    let mut store = KubernetesStore::new(config, limits());
    let snapshot = store.read(&kinds_wanted(&[Kind::HostEndpoint])).await?;
    Ok(snapshot.of(Kind::HostEndpoint).count())
}

fn mk_double() -> (Double, TempDir) {
    let double = Double::builder(Shape::NativeV3).start();
    double.load([mk_hep("h", &[]).into_value()]);
    (double, tempfile::tempdir().unwrap())
}

/// A kubeconfig of a token, changed by `change`.
fn mk_kubeconfig(double: &Double, dir: &TempDir, change: impl FnOnce(&mut Value)) -> PathBuf {
    let token = Credentials::Token(ADMIN_TOKEN.into());
    let path = double.kubeconfig_with(dir.path(), &token);
    let text = fs::read_to_string(&path).unwrap();
    let mut value: Value = serde_yaml::from_str(&text).unwrap();
    change(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    path
}

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
async fn plain_http_and_http_1_work() {
    let double = Double::builder(Shape::NativeV3).plain().start();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(try_read(config(double.kubeconfig(dir.path()))).await, Ok(0));
    let double = Double::builder(Shape::NativeV3).http1().start();
    assert_eq!(try_read(config(double.kubeconfig(dir.path()))).await, Ok(0));
}

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
            user(exec("no-such-plugin")),
            "credential plugin `no-such-plugin` cannot be run",
            "get it from example.org",
        ),
        (
            user(exec("/bin/sh")),
            "credential plugin `/bin/sh` failed (exit status: 3)",
            "log in again",
        ),
        (user(text("tok3n")), "did not print an `ExecCredential`", ""),
        (user(text("{}")), "printed no credential", ""),
        (
            user(text(r#"{"status": {}}"#)),
            "neither a token nor a certificate",
            "",
        ),
        (
            user(json!({"token": "tok3n"})),
            "does not accept the credentials",
            "log in again",
        ),
        (user(json!({"tokenFile": "none"})), "cannot be read", ""),
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

#[tokio::test]
async fn an_expired_certificate_is_called_that() {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    fs::write(&ca, certificate.pem()).unwrap();
    let error = try_read(KubernetesConfig {
        endpoint: Some(format!("https://{address}")),
        ca_file: Some(ca),
        ..KubernetesConfig::default()
    })
    .await
    .unwrap_err();
    assert_eq!(
        error.message,
        format!("the certificate of `https://{address}` has expired")
    );
    assert!(error.hint.unwrap().contains("clock"));
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
async fn the_name_in_the_certificate_may_be_another_than_in_the_url() {
    let (double, dir) = mk_double();
    let port = double.url().rsplit(':').next().unwrap().to_owned();
    // The certificate is for `localhost` and 127.0.0.1, not for 127.0.0.2.
    let elsewhere = format!("https://127.0.0.2:{port}");
    let forward = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    let address = forward.local_addr().unwrap();
    tokio::spawn(relay(forward, format!("127.0.0.1:{port}")));
    let _ = elsewhere;
    let path = mk_kubeconfig(&double, &dir, |v| {
        v["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
    });
    let error = try_read(config(&path)).await.unwrap_err();
    assert!(
        error.message.ends_with("is for other names"),
        "{}",
        error.message
    );
    assert!(error.hint.unwrap().contains("tls-server-name"));
    let path = mk_kubeconfig(&double, &dir, |v| {
        v["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
        v["clusters"][0]["cluster"]["tls-server-name"] = json!("localhost");
    });
    assert_eq!(try_read(config(&path)).await, Ok(1));
}

async fn relay(listener: TcpListener, to: String) {
    while let Ok((mut from, _)) = listener.accept().await {
        let to = to.clone();
        tokio::spawn(async move {
            let mut to = TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

/// A proxy that answers CONNECT with a status and, when that is good, goes through.
async fn proxy(listener: TcpListener, status: &'static str) {
    while let Ok((mut from, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = from.read_u8().await else {
                    return;
                };
                head.push(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let to = head.split(' ').nth(1).unwrap().to_owned();
            let answer = format!("HTTP/1.1 {status}\r\n\r\n");
            let _ = from.write_all(answer.as_bytes()).await;
            if status.starts_with("200")
                && let Ok(mut to) = TcpStream::connect(to).await
            {
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

#[tokio::test]
async fn the_proxy_of_the_kubeconfig_is_used_and_its_refusal_is_told() {
    let (double, dir) = mk_double();
    for (status, works) in [
        ("200 OK", true),
        ("403 Forbidden", false),
        ("407 Proxy Authentication Required", false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(proxy(listener, status));
        let path = mk_kubeconfig(&double, &dir, |v| {
            v["clusters"][0]["cluster"]["proxy-url"] = json!(format!("http://{address}"));
        });
        match (try_read(config(&path)).await, works) {
            (Ok(found), true) => assert_eq!(found, 1),
            (Err(error), false) => {
                let words = words(&error);
                assert!(
                    words.starts_with(&format!("no connection to `{}`", double.url())),
                    "{words}"
                );
                assert!(
                    words.contains("check `proxy-url` of the kubeconfig"),
                    "{words}"
                );
            }
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn servers_that_are_not_there_are_told_quickly() {
    let started = std::time::Instant::now();
    for (url, says, hints) in [
        (
            "https://127.0.0.1:1",
            "no connection to `https://127.0.0.1:1`",
            "is the server running",
        ),
        (
            "https://no-such-host.invalid:6443",
            "no connection to `https://no-such-host.invalid:6443`",
            "DNS",
        ),
        ("127.0.0.1:6443", "is no URL of an API server", "https://"),
    ] {
        let error = try_read(KubernetesConfig {
            endpoint: Some(url.into()),
            insecure: true,
            ..KubernetesConfig::default()
        })
        .await
        .unwrap_err();
        let words = words(&error);
        assert!(words.contains(says) && words.contains(hints), "{words}");
    }
    // An address that swallows packets.
    let limits = Limits {
        connect: Duration::from_millis(200),
        ..limits()
    };
    let config = KubernetesConfig {
        endpoint: Some("https://192.0.2.1:6443".into()),
        insecure: true,
        ..KubernetesConfig::default()
    };
    let mut store = KubernetesStore::new(config, limits);
    let error = store.read(&kinds_wanted(&[])).await.unwrap_err();
    assert!(
        error
            .message
            .starts_with("no connection to `https://192.0.2.1:6443`"),
        "{}",
        error.message
    );
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn something_that_is_no_api_server_is_called_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(proxy(listener, "204 No Content"));
    let error = try_read(KubernetesConfig {
        endpoint: Some(format!("http://{address}")),
        ..KubernetesConfig::default()
    })
    .await
    .unwrap_err();
    assert!(
        error.message.contains("answered 204 to `/apis`"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn an_aggregated_server_that_is_down_is_named() {
    let double = Double::builder(Shape::AggregatedV3)
        .calico("v3.30.7")
        .start();
    let dir = tempfile::tempdir().unwrap();
    double.fault(When::path("/apis/projectcalico.org/v3"), Fault::Unavailable);
    let error = try_read(config(double.kubeconfig(dir.path())))
        .await
        .unwrap_err();
    let words = words(&error);
    assert!(
        words.contains("does not serve `projectcalico.org/v3` now"),
        "{words}"
    );
    assert!(words.contains("calico-apiserver"), "{words}");
}

/// A token that ends at a moment (seconds since 1970), by its own word.
fn mk_id_token(name: &str, exp: u64) -> String {
    use base64::Engine as _;
    let part =
        |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "none"}));
    format!("{head}.{}.{name}", part(json!({"sub": name, "exp": exp})))
}

const LONG_AGO: u64 = 1_000_000_000;
const FAR_AWAY: u64 = 9_000_000_000;

/// An issuer that gives one token, for the refresh token `refresh-1` and the client `tool` with the
/// secret `s3cret`, which it takes in the form only. Tells every request.
async fn issuer(gives: String) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    issuer_with(gives, None).await
}

/// The same, with a new refresh token for the old one.
async fn issuer_with(
    gives: String,
    refresh: Option<&'static str>,
) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let log = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let endpoint = format!("{url}/token");
    let tell = log.clone();
    let discover = move || async move { json!({"token_endpoint": endpoint}).to_string() };
    let token = move |headers: HeaderMap, body: String| async move {
        let by_header = headers.contains_key("authorization");
        tell.lock().unwrap().push(format!("{by_header} {body}"));
        let good =
            "grant_type=refresh_token&refresh_token=refresh-1&client_id=tool&client_secret=s3cret";
        if body == good {
            let tokens = json!({"id_token": gives, "refresh_token": refresh});
            (StatusCode::OK, tokens.to_string())
        } else {
            let why = json!({"error": "invalid_client"}).to_string();
            (StatusCode::BAD_REQUEST, why)
        }
    };
    let app = Router::new()
        .route("/.well-known/openid-configuration", get(discover))
        .route("/token", post(token));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, log)
}

fn with_login(double: &Double, dir: &TempDir, login: Value) -> PathBuf {
    mk_kubeconfig(double, dir, |value| {
        value["users"][0]["user"] = json!({"auth-provider": {"name": "oidc", "config": login}});
    })
}

#[tokio::test]
async fn an_oidc_token_is_used_until_it_ends_and_then_renewed() {
    let (double, dir) = mk_double();
    let (old, good) = (mk_id_token("old", LONG_AGO), mk_id_token("good", FAR_AWAY));
    let fresh = mk_id_token("fresh", FAR_AWAY);
    for token in [&old, &good, &fresh] {
        double.token(token, "admin", &[crate::double::MASTERS]);
    }
    let (url, log) = issuer(fresh.clone()).await;
    let login = |token: &str| {
        json!({"idp-issuer-url": format!("{url}/"), "client-id": "tool", "client-secret": "s3cret",
               "refresh-token": "refresh-1", "id-token": token})
    };
    // One that does not end yet needs no issuer.
    let path = with_login(&double, &dir, login(&good));
    assert_eq!(try_read(config(path)).await, Ok(1));
    assert!(log.lock().unwrap().is_empty());
    let path = with_login(&double, &dir, login(&old));
    assert_eq!(try_read(config(path)).await, Ok(1));
    assert_eq!(log.lock().unwrap().len(), 2, "header first, then form");
    // One that the server refuses before its time is renewed as well.
    double.expire_token(&good);
    let path = with_login(&double, &dir, login(&good));
    assert_eq!(try_read(config(path)).await, Ok(1));
    assert_eq!(log.lock().unwrap().len(), 4);
}

/// A kubeconfig as people write it, with a login that has ended and other users.
fn commented(double: &Double, dir: &TempDir, url: &str) -> (PathBuf, String) {
    let other = r#"{"name": "other", "user": {"token": "other-token"}, "note": "kept"}"#;
    let written = fs::read_to_string(with_login(double, dir, json!({}))).unwrap();
    let value: Value = serde_json::from_str(&written)
        .or_else(|_| serde_yaml::from_str(&written))
        .unwrap();
    let name = value["users"][0]["name"].as_str().unwrap();
    let user = format!(
        "users:\n- {other}\n- name: {name}\n  user:  # mine\n    auth-provider:\n      name: oidc\n      \
         config:\n        client-id: tool\n        client-secret: s3cret\n        idp-issuer-url: {url}\n        \
         refresh-token: refresh-1 # of today\n        id-token: {}\n",
        mk_id_token("old", LONG_AGO)
    );
    let of = |key: &str| format!("{key}: {}\n", value[key]);
    let rest = [
        "apiVersion",
        "kind",
        "clusters",
        "contexts",
        "current-context",
    ]
    .map(of);
    let text = format!("# my clusters\n{}{user}", rest.concat());
    let path = dir.path().join("commented");
    fs::write(&path, &text).unwrap();
    (path, text)
}

#[tokio::test]
async fn a_new_refresh_token_takes_the_place_of_the_old_one_in_the_kubeconfig() {
    use std::os::unix::fs::PermissionsExt as _;
    let (double, dir) = mk_double();
    let (old, fresh) = (mk_id_token("old", LONG_AGO), mk_id_token("fresh", FAR_AWAY));
    double.token(&fresh, "admin", &[crate::double::MASTERS]);
    let (url, _) = issuer_with(fresh.clone(), Some("refresh-2")).await;
    let (path, text) = commented(&double, &dir, &url);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(try_read(config(link.clone())).await, Ok(1));
    let wanted = text.replace("refresh-1", "refresh-2").replace(&old, &fresh);
    assert_eq!(fs::read_to_string(&path).unwrap(), wanted);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // The token lasts: the issuer, who would refuse the old one now, is not asked again.
    assert_eq!(try_read(config(path)).await, Ok(1));
}

#[tokio::test]
async fn a_kubeconfig_that_somebody_else_writes_to_or_that_has_another_name_stays_as_it_is() {
    let (double, dir) = mk_double();
    let fresh = mk_id_token("fresh", FAR_AWAY);
    double.token(&fresh, "admin", &[crate::double::MASTERS]);
    let (url, _) = issuer_with(fresh.clone(), Some("refresh-2")).await;
    let (path, text) = commented(&double, &dir, &url);
    let lock = dir.path().join("commented.lock");
    fs::write(&lock, "").unwrap();
    assert_eq!(try_read(config(path.clone())).await, Ok(1));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    fs::remove_file(&lock).unwrap();
    fs::hard_link(&path, dir.path().join("twin")).unwrap();
    assert_eq!(try_read(config(path.clone())).await, Ok(1));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert!(!lock.exists());
}

#[tokio::test]
async fn an_oidc_login_that_has_ended_says_so_without_its_secrets() {
    let (double, dir) = mk_double();
    let old = mk_id_token("old", LONG_AGO);
    let (url, _) = issuer(String::new()).await;
    let nowhere = "http://127.0.0.1:1";
    for (issuer, secret, refresh, says) in [
        (
            url.as_str(),
            "s3cret",
            None,
            "no `refresh-token` to get one with",
        ),
        (
            url.as_str(),
            "wr0ng",
            Some("refresh-1"),
            "gives no new token (400 invalid_client)",
        ),
        (nowhere, "s3cret", Some("refresh-1"), "does not answer"),
    ] {
        let mut login = json!({"idp-issuer-url": issuer, "client-id": "tool",
            "client-secret": secret, "id-token": old});
        if let Some(refresh) = refresh {
            login["refresh-token"] = json!(refresh);
        }
        let path = with_login(&double, &dir, login);
        let error = try_read(config(path)).await.unwrap_err();
        let words = words(&error);
        assert!(words.contains(says), "{words}");
        for hidden in [secret, "refresh-1", old.as_str()] {
            assert!(!words.contains(hidden), "{words}");
        }
    }
    assert!(double.requests().is_empty());
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
