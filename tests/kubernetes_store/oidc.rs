//! Logins at an issuer: tokens that end, and are renewed without the user.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::double::Double;
use crate::support::*;

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
