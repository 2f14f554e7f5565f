//! From calicoctl's and kubectl's settings to one cluster, one user and one way to reach it.

use std::borrow::Cow;
use std::path::Path;

use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, KubeconfigError, LoadDataError};
use secrecy::ExposeSecret;

use super::oidc::Origin;
use crate::store::config::{Kubeconfig, KubernetesConfig};
use crate::store::{StoreError, StoreErrorKind};

/// A cluster and a user, ready to connect.
pub(super) struct Target {
    /// What the kubeconfig or the pod says, with the settings of calicoctl over it.
    pub config: Config,
    /// `proxy-url` of the kubeconfig. The library's own idea of the proxy is not used: it looks
    /// for the proxy's address in `NO_PROXY` instead of the server's.
    pub proxy: Option<String>,
    /// The same without user and password.
    pub shown_proxy: Option<String>,
    /// The server as people know it, without credentials.
    pub server: String,
    /// Where the user is from; `None` where that is no file.
    pub origin: Option<Origin>,
}

/// Reads what there is to read.
pub(super) async fn resolve(settings: &KubernetesConfig) -> Result<Target, StoreError> {
    let merged = match &settings.kubeconfig {
        Kubeconfig::InCluster => None,
        Kubeconfig::Home(path) => path.exists().then(|| read(path)).transpose()?,
        Kubeconfig::Files(paths) => Some(read_all(paths)?),
        Kubeconfig::Inline(text) => Some(
            kube::config::Kubeconfig::from_yaml(text.expose())
                .map_err(|error| said(&error, "`kubeconfigInline`"))?,
        ),
    };
    let mut target = match merged {
        Some(kubeconfig) => of_kubeconfig(kubeconfig, settings).await?,
        None => without_kubeconfig(settings)?,
    };
    override_with(&mut target.config, settings)?;
    target.config.cluster_url = url(&target.config.cluster_url.to_string())?;
    target.server = shown(&target.config.cluster_url);
    target.shown_proxy = target.proxy.as_deref().map(shown_proxy).transpose()?;
    let roots = target.config.root_cert.as_ref();
    if roots.is_some_and(|roots| roots.is_empty() || roots.iter().all(Vec::is_empty)) {
        return Err(
            wrong("the kubeconfig's certificate authority holds no certificate").hint(
                "`certificate-authority` names a PEM file, `certificate-authority-data` is one in base64",
            ),
        );
    }
    Ok(target)
}

/// The contexts that the kubeconfig names; none where it cannot be read.
pub fn contexts(settings: &KubernetesConfig) -> Vec<String> {
    let merged = match &settings.kubeconfig {
        Kubeconfig::InCluster => None,
        Kubeconfig::Home(path) => read(path).ok(),
        Kubeconfig::Files(paths) => read_all(paths).ok(),
        Kubeconfig::Inline(text) => kube::config::Kubeconfig::from_yaml(text.expose()).ok(),
    };
    let contexts = merged
        .into_iter()
        .flat_map(|kubeconfig| kubeconfig.contexts);
    contexts.map(|context| context.name).collect()
}

/// Several files as kubectl merges them: those that do not exist are left out, unless there is
/// only one.
fn read_all(paths: &[std::path::PathBuf]) -> Result<kube::config::Kubeconfig, StoreError> {
    if let [path] = paths {
        return read(path);
    }
    let mut merged: Option<kube::config::Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let next = read(path)?;
        merged = Some(match merged {
            None => next,
            Some(before) => before
                .merge(next)
                .map_err(|error| said(&error, &format!("`{}`", path.display())))?,
        });
    }
    merged.ok_or_else(|| {
        wrong("none of the kubeconfig files exists")
            .hint("`KUBECONFIG` or `--kubeconfig` names them")
    })
}

fn read(path: &Path) -> Result<kube::config::Kubeconfig, StoreError> {
    let place = format!("`{}`", path.display());
    let mut kubeconfig =
        kube::config::Kubeconfig::read_from(path).map_err(|error| said(&error, &place))?;
    // `current-context: ""` is how kubectl writes none; it must not hide that of a later file.
    kubeconfig.current_context = kubeconfig.current_context.filter(|name| !name.is_empty());
    Ok(kubeconfig)
}

async fn of_kubeconfig(
    mut kubeconfig: kube::config::Kubeconfig,
    settings: &KubernetesConfig,
) -> Result<Target, StoreError> {
    let names: Vec<String> = kubeconfig
        .contexts
        .iter()
        .map(|c| format!("`{}`", c.name))
        .collect();
    let context = settings
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone());
    let Some(context) = context else {
        // Nothing but a server: the rest is in calicoctl's own settings.
        if settings.endpoint.is_some() {
            return without_kubeconfig(settings);
        }
        return Err(
            wrong("the kubeconfig has no current context").hint(if names.is_empty() {
                "it has no contexts at all; is it the right file?".to_owned()
            } else {
                format!("choose one with `--context`: {}", names.join(", "))
            }),
        );
    };
    let cluster = kubeconfig
        .contexts
        .iter()
        .find(|c| c.name == context)
        .and_then(|c| c.context.as_ref())
        .map(|c| c.cluster.clone());
    let Some(cluster) = cluster else {
        return Err(
            wrong(format!("context `{context}` is not in the kubeconfig")).hint(
                if names.is_empty() {
                    "it has no contexts at all; is it the right file?".to_owned()
                } else {
                    format!("it has {}", names.join(", "))
                },
            ),
        );
    };
    let origin = origin(&kubeconfig, &context, &settings.kubeconfig);
    let found = kubeconfig.clusters.iter_mut().find(|c| c.name == cluster);
    let mut proxy = None;
    if let Some(cluster) = found.and_then(|c| c.cluster.as_mut()) {
        // Taken out so that the library does not parse it: a proxy may be one that it cannot.
        proxy = cluster.proxy_url.take().filter(|url| !url.is_empty());
        if let Some(endpoint) = &settings.endpoint {
            cluster.server = Some(endpoint.clone());
        }
    }
    let options = KubeConfigOptions {
        context: Some(context.clone()),
        cluster: None,
        user: None,
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| said(&error, &format!("context `{context}`")))?;
    Ok(Target {
        config,
        proxy,
        shown_proxy: None,
        server: String::new(),
        origin,
    })
}

/// Where the user of a context is from.
fn origin(
    kubeconfig: &kube::config::Kubeconfig,
    context: &str,
    from: &Kubeconfig,
) -> Option<Origin> {
    let files = match from {
        Kubeconfig::Home(path) => vec![path.clone()],
        Kubeconfig::Files(paths) => paths.iter().filter(|path| path.exists()).cloned().collect(),
        Kubeconfig::InCluster | Kubeconfig::Inline(_) => return None,
    };
    let mut contexts = kubeconfig.contexts.iter();
    let user = contexts.find(|c| c.name == context)?.context.as_ref()?;
    let user = user.user.clone()?;
    Some(Origin { files, user })
}

fn without_kubeconfig(settings: &KubernetesConfig) -> Result<Target, StoreError> {
    let config = match (&settings.endpoint, Config::incluster()) {
        (_, Ok(config)) => config,
        (Some(endpoint), Err(_)) => Config::new(url(endpoint)?),
        (None, Err(_)) => {
            return Err(wrong(
                "no kubeconfig is given or found, and this does not run in a pod",
            )
            .hint(
                "name one with `--kubeconfig` or `KUBECONFIG`, or work on files with `--manifests DIR`",
            ));
        }
    };
    Ok(Target {
        config,
        proxy: None,
        shown_proxy: None,
        server: String::new(),
        origin: None,
    })
}

/// Single settings go before what the kubeconfig says.
fn override_with(config: &mut Config, settings: &KubernetesConfig) -> Result<(), StoreError> {
    if let Some(endpoint) = &settings.endpoint {
        config.cluster_url = url(endpoint)?;
    }
    if let Some(path) = &settings.ca_file {
        let text = std::fs::read(path).map_err(|error| {
            wrong(format!(
                "CA file `{}` cannot be read: {error}",
                path.display()
            ))
        })?;
        config.root_cert =
            Some(certificates(&text).ok_or_else(|| {
                wrong(format!("CA file `{}` holds no certificate", path.display()))
            })?);
        config.root_cert_file = None;
    }
    config.accept_invalid_certs |= settings.insecure;
    let auth = &mut config.auth_info;
    if let Some(path) = &settings.cert_file {
        auth.client_certificate = Some(path.display().to_string());
        auth.client_certificate_data = None;
    }
    if let Some(path) = &settings.key_file {
        auth.client_key = Some(path.display().to_string());
        auth.client_key_data = None;
    }
    if let Some(token) = &settings.token {
        auth.token = Some(token.expose().to_owned().into());
        auth.auth_provider = None;
    }
    Ok(())
}

fn certificates(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found: Vec<Vec<u8>> = found.ok()?.into_iter().map(|der| der.to_vec()).collect();
    (!found.is_empty()).then_some(found)
}

fn url(text: &str) -> Result<http::Uri, StoreError> {
    let parsed = text.parse::<http::Uri>().ok();
    parsed
        .filter(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some())
        .ok_or_else(|| {
            wrong(format!("`{text}` is no URL of an API server"))
                .hint("it looks like `https://192.0.2.10:6443`")
        })
}

/// A URL without user and password.
fn shown(url: &http::Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("https");
    let authority = url.authority().map_or("", |a| a.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{scheme}://{host}{path}")
}

/// The proxy without user and password.
fn shown_proxy(text: &str) -> Result<String, StoreError> {
    // What is no URL would be passed over without a word, and the proxy with it.
    let known = |url: &http::Uri| {
        let scheme = url.scheme_str();
        scheme.is_some_and(|s| matches!(s, "http" | "https" | "socks5" | "socks5h"))
            && url.host().is_some()
    };
    let url = text.parse::<http::Uri>().ok().filter(known);
    url.as_ref().map(shown).ok_or_else(no_proxy)
}

/// The proxy as kubectl uses it: a SOCKS proxy is told the server's name, and finds the address itself.
pub(super) fn resolving_names(proxy: &str) -> Cow<'_, str> {
    match proxy.strip_prefix("socks5://") {
        Some(rest) => Cow::Owned(format!("socks5h://{rest}")),
        None => Cow::Borrowed(proxy),
    }
}

/// Whether a server is on this machine: like kubectl's, connections to it never go through the proxy of
/// the environment.
pub(super) fn is_this_machine(url: &http::Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn no_proxy() -> StoreError {
    wrong("`proxy-url` of the kubeconfig is no URL of a proxy")
        .hint("it begins with `http://`, `https://` or `socks5://`")
}

/// Puts the token of a token file in its place, without the blanks around it, as kubectl does. Where
/// it cannot be read a token beside it is good enough.
pub(super) fn read_token(auth: &mut AuthInfo) -> Result<(), StoreError> {
    let Some(path) = auth.token_file.take() else {
        return Ok(());
    };
    let why = match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            auth.token = Some(text.trim().to_owned().into());
            return Ok(());
        }
        _ if auth.token.is_some() => return Ok(()),
        Ok(_) => "is empty".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    let error = StoreError::new(StoreErrorKind::Failed, format!("token file `{path}` {why}"));
    Err(error.hint("log in again, or look at `tokenFile` of the kubeconfig's user"))
}

/// Refuses a token that no header can hold: the library would panic.
pub(super) fn check_token(auth: &AuthInfo) -> Result<(), StoreError> {
    let token = auth.token.as_ref().map(ExposeSecret::expose_secret);
    match token.map(http::HeaderValue::from_str) {
        Some(Err(_)) => {
            let error = StoreError::new(
                StoreErrorKind::Failed,
                "the token holds characters that no token has",
            );
            Err(error.hint("it must be one line: look at `token` of the kubeconfig's user, its `tokenFile`, or what its plugin prints"))
        }
        _ => Ok(()),
    }
}

/// The library's errors in our words; `place` is what was being read. A parser's message quotes
/// the text, where tokens are, so it is left out.
pub(super) fn said(error: &KubeconfigError, place: &str) -> StoreError {
    let part = |what: &str, error: &LoadDataError| match error {
        LoadDataError::ReadFile(error, path) => wrong(format!(
            "{place}: the {what} `{}` cannot be read: {error}",
            path.display()
        )),
        LoadDataError::DecodeBase64(_) => wrong(format!("{place}: the {what} is no valid base64")),
        LoadDataError::NoBase64DataOrFile => wrong(format!(
            "{place}: the {what} is missing, but its other half is there"
        )),
    };
    match error {
        KubeconfigError::LoadCertificateAuthority(error) => part("certificate authority", error),
        KubeconfigError::LoadClientCertificate(error) => part("client certificate", error),
        KubeconfigError::LoadClientKey(error) => part("client key", error),
        KubeconfigError::ParseCertificates(_) => wrong(format!(
            "{place}: the certificate authority is no valid PEM"
        )),
        KubeconfigError::ReadConfig(error, _) => {
            wrong(format!("kubeconfig {place} cannot be read: {error}"))
        }
        KubeconfigError::Parse(error) => {
            let at = error
                .location()
                .map(|l| format!(" (line {}, column {})", l.line(), l.column()));
            wrong(format!(
                "kubeconfig {place} does not parse{}",
                at.unwrap_or_default()
            ))
        }
        KubeconfigError::LoadClusterOfContext(name) => wrong(format!(
            "{place} names the cluster `{name}`, which is not in the kubeconfig"
        )),
        KubeconfigError::MissingClusterUrl => {
            wrong(format!("{place} has a cluster without `server`"))
        }
        other => wrong(format!("kubeconfig: {place}: {other}")),
    }
}

fn wrong(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Usage, message)
}
