//! calicoctl's configuration: a file, or the environment, never both (data model, 9.1).
//!
//! [`load`] reads the file and hands on; everything else is pure. Where calicoctl would ignore a
//! setting without a word, this says so in [`Settings::warnings`].

mod fields;
mod file;
mod secret;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use secret::Secret;

use self::fields::Values;
use super::{StoreError, StoreErrorKind};

/// Where the configuration file is unless an option names another.
pub const DEFAULT_FILE: &str = "/etc/calico/calicoctl.cfg";

/// The variables that calicoctl's settings are read from where there is no file.
pub fn variables() -> impl Iterator<Item = &'static str> {
    let settings = fields::FIELDS.iter().filter_map(|field| field.variable);
    settings.chain([fields::TOKEN.1])
}

/// Environment variables.
pub type Environment = BTreeMap<String, String>;

/// What the command line says about the datastore.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `-c`, `--config`.
    pub config: Option<PathBuf>,
    /// `--kubeconfig`: goes before what file or environment name.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`: goes before what file or environment name.
    pub context: Option<String>,
}

/// Which datastore is meant, and what was ignored on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The datastore.
    pub connection: Connection,
    /// What the user may have meant to count, and does not.
    pub warnings: Vec<String>,
}

/// A datastore and how to reach it.
#[derive(Debug, Clone, PartialEq)]
pub enum Connection {
    /// A Kubernetes API server.
    Kubernetes(Box<KubernetesConfig>),
    /// etcd v3.
    Etcd(Box<EtcdConfig>),
}

/// How to reach a Kubernetes API server. Single settings go before those of the kubeconfig.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KubernetesConfig {
    /// Where the kubeconfig is.
    pub kubeconfig: Kubeconfig,
    /// The context to use instead of the kubeconfig's current one.
    pub context: Option<String>,
    /// URL of the API server.
    pub endpoint: Option<String>,
    /// Client key, PEM.
    pub key_file: Option<PathBuf>,
    /// Client certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// CA of the API server, PEM.
    pub ca_file: Option<PathBuf>,
    /// Bearer token.
    pub token: Option<Secret>,
    /// Whether the server's certificate is taken unseen.
    pub insecure: bool,
    /// Which of Calico's API groups to use, where it is not to be found out.
    pub api_group: Option<ApiGroup>,
    /// Requests a second at most.
    pub qps: Option<f64>,
    /// Requests at once at most, where `qps` is set.
    pub burst: Option<f64>,
}

/// Where the kubeconfig is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Kubeconfig {
    /// Nothing was said: the file in the home folder if there is one, else the service account of
    /// the pod that this runs in.
    #[default]
    InCluster,
    /// The file in the home folder; the service account when it does not exist.
    Home(PathBuf),
    /// Files that are merged, the first one winning.
    Files(Vec<PathBuf>),
    /// The text itself.
    Inline(Secret),
}

/// Calico's API groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiGroup {
    /// `projectcalico.org/v3`.
    V3,
    /// `crd.projectcalico.org/v1`.
    CrdV1,
}

/// How to reach etcd.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EtcdConfig {
    /// Endpoints, as written; empty when `discovery_srv` is set.
    pub endpoints: Vec<String>,
    /// DNS domain whose SRV records name the endpoints.
    pub discovery_srv: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Certificates of the CA, PEM.
    pub ca: Option<Pem>,
    /// Client certificate, PEM.
    pub cert: Option<Pem>,
    /// Client key, PEM.
    pub key: Option<Pem>,
}

/// PEM text, or where it is. Of one configuration all are files or all are inline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file.
    File(PathBuf),
    /// The text itself.
    Inline(Secret),
}

/// The environment of this process; variables that are no text are left out.
#[must_use]
pub fn process_environment() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Finds out which datastore is meant. Reads the configuration file and nothing else.
///
/// # Errors
///
/// When the file that was named does not exist, cannot be read or parsed, or when the settings
/// contradict each other.
pub fn load(options: &Options, env: &Environment) -> Result<Settings, StoreError> {
    let default = Path::new(DEFAULT_FILE);
    let path = options.config.as_deref().unwrap_or(default);
    match std::fs::read_to_string(path) {
        Ok(text) => from_file(&text, path, options, env),
        Err(error) if options.config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            from_environment(options, env)
        }
        Err(error) => Err(wrong(format!(
            "configuration file `{}` cannot be read: {error}",
            path.display()
        ))),
    }
}

/// Settings of a configuration file; of the environment only the home folder counts.
///
/// # Errors
///
/// When the text does not parse, or the settings contradict each other.
pub fn from_file(
    text: &str,
    path: &Path,
    options: &Options,
    env: &Environment,
) -> Result<Settings, StoreError> {
    let values = file::parse(text, &path.display().to_string())?;
    let mut warnings = Vec::new();
    let ignored = fields::ignored_variables(env);
    if !ignored.is_empty() {
        warnings.push(format!(
            "configuration file `{}` is used, so the environment is not read, as by calicoctl: {}",
            path.display(),
            listed(&ignored)
        ));
    }
    if options.context.is_some() {
        warnings.push(format!(
            "`--context` is used here, but calicoctl ignores it beside a configuration file (`{}`)",
            path.display()
        ));
    }
    settle(&values, options, env, warnings)
}

/// Settings of the environment.
///
/// # Errors
///
/// When a variable cannot be read, or the settings contradict each other.
pub fn from_environment(options: &Options, env: &Environment) -> Result<Settings, StoreError> {
    let mut warnings = Vec::new();
    let values = fields::from_environment(env, &mut warnings)?;
    settle(&values, options, env, warnings)
}

fn settle(
    values: &Values,
    options: &Options,
    env: &Environment,
    mut warnings: Vec<String>,
) -> Result<Settings, StoreError> {
    let is_etcd = match values.text("datastoreType") {
        Some("etcdv3") => true,
        Some("kubernetes") => false,
        Some(other) => {
            let from = values.from("datastoreType").unwrap_or_default();
            return Err(wrong(format!("{from} is `{other}`, which is no datastore"))
                .hint("it is `kubernetes` or `etcdv3`"));
        }
        None => values.text("etcdEndpoints").is_some(),
    };
    warnings.extend(unused(values, is_etcd));
    let connection = if is_etcd {
        refuse_kubernetes_options(options)?;
        Connection::Etcd(Box::new(etcd(values)?))
    } else {
        Connection::Kubernetes(Box::new(kubernetes(values, options, env)))
    };
    Ok(Settings {
        connection,
        warnings,
    })
}

/// An option that would be ignored could be the one by which the user told two clusters apart.
fn refuse_kubernetes_options(options: &Options) -> Result<(), StoreError> {
    let given = [
        ("--kubeconfig", options.kubeconfig.is_some()),
        ("--context", options.context.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => Err(wrong(format!(
            "`{name}` is given, but the configured datastore is `etcdv3`"
        ))
        .hint("leave the option out, or set `DATASTORE_TYPE=kubernetes`")),
    }
}

const OF_ETCD: [&str; 10] = [
    "etcdEndpoints",
    "etcdDiscoverySrv",
    "etcdUsername",
    "etcdPassword",
    "etcdKeyFile",
    "etcdCertFile",
    "etcdCACertFile",
    "etcdKey",
    "etcdCert",
    "etcdCACert",
];

const OF_KUBERNETES: [&str; 9] = [
    "kubeconfig",
    "kubeconfigInline",
    "k8sAPIEndpoint",
    "k8sKeyFile",
    "k8sCertFile",
    "k8sCAFile",
    "k8sAPIToken",
    "k8sCurrentContext",
    "calicoAPIGroup",
];

/// Settings of the datastore that is not used.
fn unused(values: &Values, is_etcd: bool) -> Option<String> {
    let (other, used): (&[&str], _) = if is_etcd {
        (&OF_KUBERNETES, "etcdv3")
    } else {
        (&OF_ETCD, "kubernetes")
    };
    let mut found = values.found(other);
    // Who sets both on purpose names the datastore; KUBECONFIG is there for other tools as well.
    if is_etcd && values.from("datastoreType").is_some() {
        found.retain(|name| *name != "`KUBECONFIG`");
    }
    (!found.is_empty()).then(|| {
        format!(
            "the datastore is `{used}`, so these settings are not used, as by calicoctl: {}",
            found.join(", ")
        )
    })
}

fn etcd(values: &Values) -> Result<EtcdConfig, StoreError> {
    let endpoints = values.text("etcdEndpoints").unwrap_or_default();
    let endpoints = endpoints.split(',').map(str::trim);
    let endpoints: Vec<String> = endpoints
        .filter(|endpoint| !endpoint.is_empty())
        .map(str::to_owned)
        .collect();
    let discovery_srv = values.owned("etcdDiscoverySrv");
    if endpoints.is_empty() == discovery_srv.is_none() {
        let found = values.found(&["etcdEndpoints", "etcdDiscoverySrv"]);
        return Err(if endpoints.is_empty() {
            wrong("the datastore is `etcdv3`, but no endpoints are given")
                .hint("set `ETCD_ENDPOINTS` or `ETCD_DISCOVERY_SRV`")
        } else {
            wrong(format!("{} exclude each other", found.join(" and ")))
        });
    }
    let files = values.found(&["etcdKeyFile", "etcdCertFile", "etcdCACertFile"]);
    let inline = values.found(&["etcdKey", "etcdCert", "etcdCACert"]);
    if let (Some(file), Some(inline)) = (files.first(), inline.first()) {
        return Err(wrong(format!(
            "{file} and {inline} exclude each other: certificates and keys are all files or all inline"
        )));
    }
    let pem = |file: &str, inline: &str| match values.text(file) {
        Some(path) => Some(Pem::File(path.into())),
        None => values.secret(inline).map(Pem::Inline),
    };
    Ok(EtcdConfig {
        endpoints,
        discovery_srv,
        username: values.owned("etcdUsername"),
        password: values.secret("etcdPassword"),
        ca: pem("etcdCACertFile", "etcdCACert"),
        cert: pem("etcdCertFile", "etcdCert"),
        key: pem("etcdKeyFile", "etcdKey"),
    })
}

fn kubernetes(values: &Values, options: &Options, env: &Environment) -> KubernetesConfig {
    let path = |json| values.text(json).map(PathBuf::from);
    let group = |text: &str| {
        if text.eq_ignore_ascii_case("projectcalico.org/v3") {
            ApiGroup::V3
        } else {
            ApiGroup::CrdV1
        }
    };
    KubernetesConfig {
        kubeconfig: kubeconfig(values, options, env),
        context: options
            .context
            .clone()
            .or_else(|| values.owned("k8sCurrentContext")),
        endpoint: values.owned("k8sAPIEndpoint"),
        key_file: path("k8sKeyFile"),
        cert_file: path("k8sCertFile"),
        ca_file: path("k8sCAFile"),
        token: values.secret("k8sAPIToken"),
        insecure: values.bool("k8sInsecureSkipTLSVerify"),
        api_group: values.text("calicoAPIGroup").map(group),
        qps: values.number("k8sClientQPS").filter(|n| *n > 0.0),
        burst: values.number("k8sClientBurst").filter(|n| *n > 0.0),
    }
}

fn kubeconfig(values: &Values, options: &Options, env: &Environment) -> Kubeconfig {
    if let Some(path) = &options.kubeconfig {
        return Kubeconfig::Files(vec![path.clone()]);
    }
    if let Some(text) = values.secret("kubeconfigInline") {
        return Kubeconfig::Inline(text);
    }
    if let Some(list) = values.text("kubeconfig") {
        let files = std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty());
        return Kubeconfig::Files(files.collect());
    }
    match env.get("HOME").filter(|home| !home.is_empty()) {
        Some(home) => Kubeconfig::Home(Path::new(home).join(".kube").join("config")),
        None => Kubeconfig::InCluster,
    }
}

fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn wrong(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Usage, message)
}

#[cfg(test)]
mod tests;
