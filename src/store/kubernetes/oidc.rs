//! Logins by OpenID Connect (`users[].user.auth-provider` with the name `oidc`).
//!
//! The Kubernetes library would renew tokens as well, but only of issuers with a public CA and of
//! clients with a secret, which `kubectl` asks of nobody.
//!
//! A refresh token that the issuer gives in the place of the old one is written into the kubeconfig,
//! as `kubectl` does it: the old one may be good for nothing from then on.
//!
//! Source: kubernetes/client-go `plugin/pkg/client/auth/oidc`, `tools/clientcmd/config.go`.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kube::config::AuthInfo;
use serde::Deserialize;
use serde_json::{Value, json};

use super::limits::Limits;
use super::resource::escaped;
use super::trouble::failed;
use crate::calico::{FieldEdit, FieldPath};
use crate::store::StoreError;
use crate::store::manifests::amend;

/// A token that ends sooner is as good as ended.
const MARGIN: Duration = Duration::from_secs(10);

/// What is known of a user and the issuer.
pub(super) struct Login {
    settings: HashMap<String, String>,
    http: reqwest::Client,
    origin: Option<Origin>,
}

/// Where the settings of a user are kept.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// Kubeconfigs, the first that has the user winning.
    pub files: Vec<PathBuf>,
    /// The user's name in them.
    pub user: String,
}

#[derive(Deserialize)]
struct Discovery {
    token_endpoint: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tokens {
    id_token: Option<String>,
    refresh_token: Option<String>,
    /// A code of the standard, such as `invalid_grant`.
    error: Option<String>,
}

impl Login {
    /// The login that a kubeconfig describes; `None` where it is another way to prove who the user
    /// is.
    pub fn of(
        auth: &AuthInfo,
        origin: Option<Origin>,
        limits: &Limits,
    ) -> Result<Option<Self>, StoreError> {
        let Some(provider) = auth.auth_provider.as_ref().filter(|p| p.name == "oidc") else {
            return Ok(None);
        };
        let settings = provider.config.clone();
        let data = settings.get("idp-certificate-authority-data");
        let file = settings.get("idp-certificate-authority");
        let ca = match (data, file) {
            (Some(data), _) => Some(STANDARD.decode(data).map_err(|_| unusable_ca())?),
            (None, Some(path)) => Some(std::fs::read(path).map_err(|error| {
                failed(format!("the issuer's CA `{path}` cannot be read: {error}"))
            })?),
            (None, None) => None,
        };
        let mut http = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            .timeout(limits.answer)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = ca {
            let ca = reqwest::Certificate::from_pem_bundle(&ca).map_err(|_| unusable_ca())?;
            http = http.tls_certs_only(ca);
        }
        let http = http
            .build()
            .map_err(|_| failed("cannot make an HTTP client for the issuer"))?;
        Ok(Some(Self {
            settings,
            http,
            origin,
        }))
    }

    /// A token that is good for now. `refused` says that the server did not take the last one.
    pub async fn token(&mut self, refused: bool) -> Result<String, StoreError> {
        let known = self.settings.get("id-token").cloned();
        match known.filter(|token| !refused && is_good(token)) {
            Some(token) => Ok(token),
            None => self.renew().await,
        }
    }

    async fn renew(&mut self) -> Result<String, StoreError> {
        let issuer = self
            .setting("idp-issuer-url")?
            .trim_end_matches('/')
            .to_owned();
        let refresh = self.setting("refresh-token")?.to_owned();
        let client = self.setting("client-id")?.to_owned();
        let secret = self.settings.get("client-secret").cloned();
        let secret = secret.filter(|secret| !secret.is_empty());
        let url = format!("{issuer}/.well-known/openid-configuration");
        let answer = self.http.get(&url).send().await;
        let (status, body) = body_of(&issuer, answer).await?;
        let found: Discovery = serde_json::from_slice(&body).map_err(|_| {
            failed(format!(
                "`{url}` answers {status}, not with the description of an issuer"
            ))
        })?;
        let form = format!(
            "grant_type=refresh_token&refresh_token={}",
            escaped(&refresh)
        );
        let post = |form: String| {
            let request = self.http.post(&found.token_endpoint);
            let form_type = "application/x-www-form-urlencoded";
            request
                .header(http::header::CONTENT_TYPE, form_type)
                .body(form)
        };
        let id = format!("&client_id={}", escaped(&client));
        // Issuers want the client's secret in the header or in the form; the standard prefers
        // the header.
        let mut attempts = Vec::new();
        if let Some(secret) = &secret {
            let (user, password) = (escaped(&client), escaped(secret));
            attempts.push(post(form.clone()).basic_auth(user, Some(password)));
            attempts.push(post(format!(
                "{form}{id}&client_secret={}",
                escaped(secret)
            )));
        } else {
            attempts.push(post(format!("{form}{id}")));
        }
        let mut said = String::new();
        for attempt in attempts {
            let (status, body) = body_of(&issuer, attempt.send().await).await?;
            // What does not parse is not quoted: it may hold a token.
            let tokens: Tokens = serde_json::from_slice(&body).unwrap_or_default();
            if let Some(token) = tokens.id_token.filter(|_| status == 200) {
                self.settings.insert("id-token".into(), token.clone());
                if let Some(next) = tokens.refresh_token.filter(|next| *next != refresh) {
                    if let Err(why) = self.keep(&refresh, &next, &token) {
                        tracing::warn!(
                            "the issuer gave a new refresh token, which the kubeconfig does not hold: {why}"
                        );
                    }
                    self.settings.insert("refresh-token".into(), next);
                }
                return Ok(token);
            }
            said = match tokens.error {
                Some(code) => format!("{status} {}", super::trouble::one_line(&code)),
                None => format!("{status}, and no id_token"),
            };
        }
        Err(failed(format!("`{issuer}` gives no new token ({said})"))
            .hint("log in again with your identity provider's tool"))
    }

    /// Writes a new refresh token into the kubeconfig that the old one is from.
    fn keep(&self, old: &str, new: &str, id_token: &str) -> Result<(), String> {
        let origin = self.origin.as_ref().ok_or("it is no file")?;
        let user = |value: &Value| {
            let users = value.get("users").and_then(Value::as_array)?;
            users
                .iter()
                .position(|user| user.get("name").and_then(Value::as_str) == Some(&origin.user))
        };
        for file in &origin.files {
            // Held until the file is written.
            let mut lock = None;
            let mut has_user = true;
            let kept = amend(file, |value| {
                let Some(index) = user(value) else {
                    has_user = false;
                    return Err("it does not have the user".to_owned());
                };
                lock = Some(Lock::of(file)?);
                let of_user = FieldPath::of(["users"]).item(index);
                let config = ["user", "auth-provider", "config"];
                let config = config.iter().fold(of_user, |path, key| path.key(*key));
                let pointer = format!("/users/{index}/user/auth-provider/config/refresh-token");
                // Somebody else may have been given another one meanwhile.
                if value.pointer(&pointer).and_then(Value::as_str) != Some(old) {
                    return Err("it holds another one than before".to_owned());
                }
                let set = |key: &str, value: &str| FieldEdit::Set {
                    path: config.key(key),
                    value: json!(value),
                };
                Ok(vec![set("refresh-token", new), set("id-token", id_token)])
            });
            drop(lock);
            if has_user {
                return kept.map_err(|why| format!("`{}`: {why}", file.display()));
            }
        }
        Err("no file has the user".to_owned())
    }

    fn setting(&self, name: &str) -> Result<&str, StoreError> {
        let value = self.settings.get(name).filter(|value| !value.is_empty());
        value.map(String::as_str).ok_or_else(|| {
            failed(format!(
                "the OIDC login has no token that is still good, and no `{name}` to get one with"
            ))
            .hint("log in again with your identity provider's tool")
        })
    }
}

/// Keeps `kubectl` and its like from writing to a kubeconfig at the same time: they make the same
/// file before they do.
struct Lock(PathBuf);

impl Lock {
    fn of(file: &std::path::Path) -> Result<Self, String> {
        let mut name = file.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        made.map_err(|error| format!("`{}` cannot be made: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Puts a token in the place of the login.
pub(super) fn put(auth: &mut AuthInfo, token: String) {
    auth.auth_provider = None;
    auth.token = Some(token.into());
}

/// Whether a token does not end yet, by its own word. It is the API server that checks it.
fn is_good(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = token
        .split('.')
        .nth(1)
        .map(|part| part.trim_end_matches('='));
    let claims = claims.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Claims> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default() + MARGIN;
    claims.is_some_and(|claims| claims.exp > now.as_secs_f64())
}

async fn body_of(
    issuer: &str,
    answer: Result<reqwest::Response, reqwest::Error>,
) -> Result<(u16, Vec<u8>), StoreError> {
    // The words of the library name the URL, which is no secret, and never the body.
    let lost = |error: reqwest::Error| {
        failed(format!(
            "the issuer `{issuer}` of the OIDC login does not answer: {}",
            super::trouble::chain(&error)
        ))
    };
    let answer = answer.map_err(lost)?;
    let status = answer.status().as_u16();
    Ok((status, answer.bytes().await.map_err(lost)?.into()))
}

fn unusable_ca() -> StoreError {
    failed("the issuer's CA in the kubeconfig holds no certificate")
}
