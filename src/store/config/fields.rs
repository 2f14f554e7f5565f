//! The settings of calicoctl: their names in the file and in the environment (data model, 9.1).

use super::{Environment, wrong};
use crate::store::StoreError;

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    Bool,
    Number,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Field {
    /// Its member of `spec` in the file.
    pub json: &'static str,
    /// Its variable; each can be written with `CALICO_` before it, which then wins.
    pub variable: Option<&'static str>,
    pub holds: Holds,
}

/// The one setting whose variable has no form without the prefix, because calicoctl gives it none.
pub(super) const TOKEN: (&str, &str) = ("k8sAPIToken", "CALICO_K8SAPITOKEN");

/// Variables that look as if calicoctl read them, and what to use instead.
const NOT_READ: &[(&str, &str)] = &[
    ("K8S_API_TOKEN", "`CALICO_K8SAPITOKEN` is"),
    ("CALICO_K8S_API_TOKEN", "`CALICO_K8SAPITOKEN` is"),
    ("ETCD_KEY", "`ETCD_KEY_FILE` is"),
    ("ETCD_CERT", "`ETCD_CERT_FILE` is"),
    ("ETCD_CA_CERT", "`ETCD_CA_CERT_FILE` is"),
    ("KUBECONFIG_INLINE", "`KUBECONFIG` is"),
];

const fn text(json: &'static str, variable: &'static str) -> Field {
    Field {
        json,
        variable: Some(variable),
        holds: Holds::Text,
    }
}

const fn file_only(json: &'static str) -> Field {
    Field {
        json,
        variable: None,
        holds: Holds::Text,
    }
}

const fn typed(json: &'static str, variable: &'static str, holds: Holds) -> Field {
    Field {
        json,
        variable: Some(variable),
        holds,
    }
}

/// Every setting.
pub(super) const FIELDS: &[Field] = &[
    text("datastoreType", "DATASTORE_TYPE"),
    text("etcdEndpoints", "ETCD_ENDPOINTS"),
    text("etcdDiscoverySrv", "ETCD_DISCOVERY_SRV"),
    text("etcdUsername", "ETCD_USERNAME"),
    text("etcdPassword", "ETCD_PASSWORD"),
    text("etcdKeyFile", "ETCD_KEY_FILE"),
    text("etcdCertFile", "ETCD_CERT_FILE"),
    text("etcdCACertFile", "ETCD_CA_CERT_FILE"),
    file_only("etcdKey"),
    file_only("etcdCert"),
    file_only("etcdCACert"),
    text("kubeconfig", "KUBECONFIG"),
    file_only("kubeconfigInline"),
    text("k8sAPIEndpoint", "K8S_API_ENDPOINT"),
    text("k8sKeyFile", "K8S_KEY_FILE"),
    text("k8sCertFile", "K8S_CERT_FILE"),
    text("k8sCAFile", "K8S_CA_FILE"),
    file_only(TOKEN.0),
    typed(
        "k8sInsecureSkipTLSVerify",
        "K8S_INSECURE_SKIP_TLS_VERIFY",
        Holds::Bool,
    ),
    typed("k8sDisableNodePoll", "K8S_DISABLE_NODE_POLL", Holds::Bool),
    typed("usePodCIDR", "USE_POD_CIDR", Holds::Bool),
    text("k8sCurrentContext", "K8S_CURRENT_CONTEXT"),
    typed("k8sClientQPS", "K8S_CLIENT_QPS", Holds::Number),
    typed("k8sClientBurst", "K8S_CLIENT_BURST", Holds::Number),
    text("calicoAPIGroup", "CALICO_API_GROUP"),
];

/// A value and where it was found: a member of the file or a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    field: &'static str,
    value: super::Secret,
    from: String,
}

/// What was given, by setting. Any value may be a secret, so all are kept as such.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Values(Vec<Given>);

impl Values {
    /// Takes a value after a look at its type. Empty texts count as not given.
    pub fn put(&mut self, field: &Field, value: &str, from: String) -> Result<(), StoreError> {
        let fits = match field.holds {
            Holds::Text => true,
            Holds::Bool => go_bool(value).is_some(),
            Holds::Number => number(value).is_some(),
        };
        if !fits {
            let what = match field.holds {
                Holds::Number => "no number",
                _ => "neither true nor false",
            };
            return Err(wrong(format!("{from} is `{value}`, which is {what}")));
        }
        if !value.is_empty() {
            self.0.push(Given {
                field: field.json,
                value: super::Secret::new(value),
                from,
            });
        }
        Ok(())
    }

    pub fn text(&self, json: &str) -> Option<&str> {
        self.given(json).map(|given| given.value.expose())
    }

    pub fn owned(&self, json: &str) -> Option<String> {
        self.text(json).map(str::to_owned)
    }

    pub fn secret(&self, json: &str) -> Option<super::Secret> {
        self.given(json).map(|given| given.value.clone())
    }

    pub fn bool(&self, json: &str) -> bool {
        self.text(json).and_then(go_bool).unwrap_or(false)
    }

    pub fn number(&self, json: &str) -> Option<f64> {
        self.text(json).and_then(number)
    }

    /// Where the setting was found.
    pub fn from(&self, json: &str) -> Option<&str> {
        self.given(json).map(|given| given.from.as_str())
    }

    /// Where those of the settings that were given were found.
    pub fn found<'v>(&'v self, json: &'v [&str]) -> Vec<&'v str> {
        json.iter().filter_map(|json| self.from(json)).collect()
    }

    fn given(&self, json: &str) -> Option<&Given> {
        self.0.iter().find(|given| given.field == json)
    }
}

/// Reads the settings from the environment, as calicoctl does when there is no file.
///
/// A variable that is set to nothing still hides the one without the prefix.
pub(super) fn from_environment(
    env: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Values, StoreError> {
    let mut values = Values::default();
    for field in FIELDS {
        for (name, value) in variables(field, env).into_iter().take(1) {
            values.put(field, value, format!("`{name}`"))?;
        }
        if let [(first, one), (second, other)] = variables(field, env).as_slice()
            && one != other
        {
            warnings.push(format!(
                "`{first}` and `{second}` differ: `{first}` counts, as for calicoctl"
            ));
        }
    }
    for (name, instead) in NOT_READ {
        if is_set(env, name) {
            warnings.push(format!("`{name}` is not read, as by calicoctl; {instead}"));
        }
    }
    Ok(values)
}

/// The variables that are set although a file is used, so that nobody reads them.
pub(super) fn ignored_variables(env: &Environment) -> Vec<&str> {
    let known = FIELDS.iter().flat_map(|field| variables(field, env));
    let known = known.filter(|(_, value)| !value.is_empty());
    let mut names: Vec<&str> = known.map(|(name, _)| name).collect();
    names.extend(
        NOT_READ
            .iter()
            .filter(|(name, _)| is_set(env, name))
            .map(|(name, _)| *name),
    );
    names.sort_unstable();
    names
}

fn is_set(env: &Environment, name: &str) -> bool {
    env.get(name).is_some_and(|value| !value.is_empty())
}

/// The variables of a setting that are set, the one that wins first.
fn variables<'e>(field: &Field, env: &'e Environment) -> Vec<(&'e str, &'e str)> {
    let mut names = Vec::new();
    if field.json == TOKEN.0 {
        names.push(TOKEN.1.to_owned());
    }
    if let Some(variable) = field.variable {
        names.push(format!("CALICO_{variable}"));
        names.push(variable.to_owned());
    }
    let set = names.iter().filter_map(|name| env.get_key_value(name));
    set.map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// What Go's `strconv.ParseBool` takes.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|n: &f64| n.is_finite())
}
