//! Requests over one HTTP/2 connection: kube's credentials and middleware on reqwest.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use kube::Config;
use kube::client::ConfigExt;
use reqwest::Body;
use tokio::sync::{Mutex, RwLock};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::exec;
use super::kubeconfig::{self, Target};
use super::limits::Limits;
use super::oidc::{self, Login};
use super::trouble::{self, Trouble};
use crate::store::config::KubernetesConfig;
use crate::store::{StoreError, StoreErrorKind};

/// What sends requests with credentials. The library's own client would pass each one through a
/// queue to a task of its own, and wrap bodies twice.
type Client = BoxCloneSyncService<http::Request<Body>, http::Response<Bytes>, BoxError>;

/// The manager under which changes are recorded in `managedFields`.
pub(super) const MANAGER: &str = "calicoctl-protect";

/// How long a connection may be silent before it is tested.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What is asked of the server.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: http::Method,
    /// Path and query.
    pub path: String,
    /// Content type and body.
    pub body: Option<(&'static str, Bytes)>,
}

impl Request {
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: http::Method::GET,
            path: path.into(),
            body: None,
        }
    }

    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            method: http::Method::POST,
            path: path.into(),
            body: Some(("application/json", body.into())),
        }
    }
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// After how long it wants to be asked again.
    pub retry_after: Option<Duration>,
    pub body: Bytes,
    /// How often it was asked until this answer came.
    pub tries: u32,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the same request may well succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 500 | 502 | 503 | 504)
    }
}

/// A way to the server. Credentials that a plugin hands out, or that somebody rotates in a file, are
/// renewed once the server refuses them.
pub(super) struct Transport {
    target: Target,
    limits: Limits,
    live: RwLock<Client>,
    /// How often the credentials were renewed.
    renewed: AtomicU32,
    /// The user's login at an issuer, if that is how they are had. Held by whoever renews them.
    login: Mutex<Option<Login>>,
    /// Whether the server has answered yet: before, there is no sense in trying again.
    reached: AtomicBool,
}

impl Transport {
    /// Reads the configuration and makes ready to connect; nothing is sent yet.
    pub async fn open(settings: &KubernetesConfig, limits: Limits) -> Result<Self, StoreError> {
        // An error says that a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let target = kubeconfig::resolve(settings).await?;
        let origin = target.origin.clone();
        let mut login = Login::of(&target.config.auth_info, origin, &limits)?;
        let client = connect(&target, &limits, login.as_mut(), false).await?;
        Ok(Self {
            target,
            limits,
            live: RwLock::new(client),
            renewed: AtomicU32::new(0),
            login: Mutex::new(login),
            reached: AtomicBool::new(false),
        })
    }

    /// The server, for people.
    pub fn server(&self) -> &str {
        &self.target.server
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sends once, and once more with new credentials if there can be any.
    pub async fn send(&self, request: &Request) -> Result<Answer, Trouble> {
        let generation = self.renewed.load(Ordering::Relaxed);
        let answer = self.send_once(request).await?;
        let auth = &self.target.config.auth_info;
        let renewable =
            exec::is_used(auth) || auth.token_file.is_some() || auth.auth_provider.is_some();
        if answer.status != 401 || !renewable {
            return Ok(answer);
        }
        self.renew(generation).await.map_err(Trouble::fatal)?;
        self.send_once(request).await
    }

    /// New credentials, unless somebody else has fetched them since `generation`.
    async fn renew(&self, generation: u32) -> Result<(), StoreError> {
        let mut login = self.login.lock().await;
        if self.renewed.load(Ordering::Relaxed) == generation {
            tracing::info!("the server refuses the credentials: looking for new ones");
            let client = connect(&self.target, &self.limits, login.as_mut(), true).await?;
            *self.live.write().await = client;
            self.renewed
                .store(generation.wrapping_add(1), Ordering::Relaxed);
        }
        Ok(())
    }

    async fn send_once(&self, request: &Request) -> Result<Answer, Trouble> {
        let reached = self.reached.load(Ordering::Relaxed);
        let auth = &self.target.config.auth_info;
        let context = trouble::Context {
            server: &self.target.server,
            proxy: self.target.shown_proxy.as_deref(),
            reached,
            shows_certificate: auth.client_certificate.is_some()
                || auth.client_certificate_data.is_some(),
        };
        let sent = tokio::time::timeout(self.limits.answer, self.exchange(request)).await;
        match sent {
            Err(_) => Err(Trouble::late(&context, self.limits.answer)),
            Ok(Err(error)) => Err(Trouble::of_transport(&context, &error)),
            Ok(Ok(answer)) => {
                self.reached.store(true, Ordering::Relaxed);
                Ok(answer)
            }
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, BoxError> {
        let client = self.live.read().await.clone();
        let mut sent = http::Request::builder()
            .method(request.method.clone())
            .uri(&request.path)
            .header(ACCEPT, "application/json")
            .header(
                USER_AGENT,
                concat!("calicoctl-protect/", env!("CARGO_PKG_VERSION")),
            );
        let mut body = Body::default();
        if let Some((content_type, bytes)) = &request.body {
            sent = sent.header(CONTENT_TYPE, *content_type);
            body = bytes.clone().into();
        }
        let (head, body) = client.oneshot(sent.body(body)?).await?.into_parts();
        let seconds = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let seconds = seconds.and_then(|text| text.trim().parse().ok());
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: seconds.map(Duration::from_secs),
            body,
            tries: 1,
        })
    }

    /// Asks until there is an answer that will not be another one soon.
    pub async fn ask(&self, request: &Request) -> Result<Answer, StoreError> {
        let mut tried = 0;
        loop {
            tried += 1;
            let last = tried >= self.limits.tries;
            let pause = match self.send(request).await {
                Ok(answer) if answer.is_passing() && !last => {
                    tracing::info!(status = answer.status, path = request.path, "trying again");
                    self.limits.pause(tried, answer.retry_after)
                }
                Ok(mut answer) => {
                    answer.tries = tried;
                    return Ok(answer);
                }
                Err(trouble) if trouble.is_passing() && !last => {
                    tracing::info!(error = %trouble.error, path = request.path, "trying again");
                    self.limits.pause(tried, None)
                }
                Err(trouble) => return Err(trouble.error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    pub async fn get(&self, path: impl Into<String>) -> Result<Answer, StoreError> {
        self.ask(&Request::get(path)).await
    }
}

/// Credentials, TLS, proxy, and the client on top. `refused` says that the server did not take the
/// last credentials.
async fn connect(
    target: &Target,
    limits: &Limits,
    login: Option<&mut Login>,
    refused: bool,
) -> Result<Client, StoreError> {
    let mut config = target.config.clone();
    if let Some(login) = login {
        oidc::put(&mut config.auth_info, login.token(refused).await?);
    }
    kubeconfig::read_token(&mut config.auth_info)?;
    if exec::is_used(&config.auth_info) {
        exec::run(&mut config.auth_info).await?;
    }
    kubeconfig::check_token(&config.auth_info)?;
    let mut http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(&config)?)
        .connect_timeout(limits.connect)
        // Trying again is for the caller, who knows which requests may be sent twice.
        .retry(reqwest::retry::never())
        // Credentials must not follow a redirect.
        .redirect(reqwest::redirect::Policy::none())
        .http2_adaptive_window(true)
        // Without these a connection that broke in silence would be used again and again.
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(limits.connect)
        .gzip(!config.disable_compression);
    if let Some(proxy) = &target.proxy {
        let proxy = kubeconfig::resolving_names(proxy);
        let proxy = reqwest::Proxy::all(&*proxy).map_err(|_| kubeconfig::no_proxy())?;
        http = http.proxy(proxy);
    } else if kubeconfig::is_this_machine(&config.cluster_url) {
        http = http.no_proxy();
    }
    if let Some(name) = config.tls_server_name.take() {
        let (url, addresses) = directed(&config, &name, target.proxy.is_some(), limits).await?;
        http = http.resolve_to_addrs(&name, &addresses);
        config.cluster_url = url;
    }
    let http = http
        .build()
        .map_err(|error| wrong(format!("cannot make an HTTP client: {error}")))?;
    let transport = tower::service_fn(move |request: http::Request<Body>| {
        let sent = reqwest::Request::try_from(request).map(|request| http.execute(request));
        async move {
            let mut response = sent?.await?;
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            std::mem::swap(answer.headers_mut(), response.headers_mut());
            *answer.body_mut() = response.bytes().await?;
            Ok::<_, BoxError>(answer)
        }
    });
    let said = |error: kube::Error| trouble::of_setup(&error);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(said)?)
        .layer(config.extra_headers_layer().map_err(said)?)
        .map_err(BoxError::from)
        .service(transport);
    Ok(BoxCloneSyncService::new(service))
}

fn tls(config: &Config) -> Result<rustls::ClientConfig, StoreError> {
    let mut tls = if config.cluster_url.scheme_str() == Some("http") {
        let none = rustls::RootCertStore::empty();
        rustls::ClientConfig::builder()
            .with_root_certificates(none)
            .with_no_client_auth()
    } else {
        config
            .rustls_client_config()
            .map_err(|error| trouble::of_setup(&error))?
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// `tls-server-name`: the URL gets that name, and the name the server's addresses, because the
/// HTTP client takes the name to verify from the URL.
async fn directed(
    config: &Config,
    name: &str,
    proxied: bool,
    limits: &Limits,
) -> Result<(http::Uri, Vec<SocketAddr>), StoreError> {
    let unsupported = |what: &str| {
        Err(wrong(format!(
            "`tls-server-name: {name}` {what}, which is not supported"
        )))
    };
    if proxied {
        return unsupported("goes through a proxy (`proxy-url`)");
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return unsupported("is an address");
    }
    let url = &config.cluster_url;
    let https = url.scheme_str() != Some("http");
    let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let lookup = tokio::net::lookup_host((host, port));
    let found = tokio::time::timeout(limits.connect, lookup).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        _ => Vec::new(),
    };
    if addresses.is_empty() {
        return Err(StoreError::new(
            StoreErrorKind::Failed,
            format!("no address is known for `{host}`"),
        )
        .hint("check the name in the kubeconfig, and this machine's DNS"));
    }
    let mut parts = url.clone().into_parts();
    parts.authority = format!("{name}:{port}").parse().ok();
    match http::Uri::from_parts(parts) {
        Ok(url) => Ok((url, addresses)),
        Err(_) => Err(wrong(format!("`tls-server-name: {name}` is no host name"))),
    }
}

fn wrong(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Usage, message)
}
