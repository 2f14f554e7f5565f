//! What the API server asks before it answers: webhooks, and servers of aggregated APIs.

use std::collections::BTreeSet;

use serde_json::Value;

use super::components::Components;
use super::family::{Evidence, Family, Servers, to_target};
use super::sites::{Authority, Site, Sites, backends, service};
use super::{AGGREGATED, Rule, WEBHOOK};
use crate::calico::{Kind, Object, ServerPort, Snapshot};

/// The port of a URL without one.
const HTTPS: u16 = 443;

/// Adds what API servers ask, and need an answer from.
pub fn webhooks(
    snapshot: &Snapshot,
    sites: &Sites<'_>,
    components: &Components,
    nodes: &[String],
    found: &mut Vec<Family>,
) {
    let clients: Vec<String> = components.api_servers.keys().cloned().collect();
    for (rule, configuration, asked) in asked(snapshot) {
        let evidence = |whom: &str| Evidence::All(format!("{} asks {whom}", configuration.id()));
        match asked {
            Asked::Service(namespace, name) => {
                for backend in backends(snapshot, &namespace, &name) {
                    found.push(Family {
                        rule,
                        evidence: evidence(&format!("Service/{namespace}/{name}")),
                        port: ServerPort::tcp(backend.port),
                        clients: clients.clone(),
                        servers: Servers::Address {
                            name: format!("{}:{}", backend.name, backend.port),
                            address: backend.address,
                        },
                    });
                }
            }
            Asked::Url(url) => {
                for target in sites.target(&url, HTTPS, None) {
                    found.push(Family {
                        rule,
                        evidence: evidence(&url.host),
                        port: ServerPort::tcp(target.port),
                        clients: clients.clone(),
                        servers: to_target(&target, HTTPS, nodes),
                    });
                }
            }
        }
    }
}

/// The services that are asked, by namespace and name: their backends tell which flows are needed.
#[must_use]
pub fn asked_services(snapshot: &Snapshot) -> BTreeSet<(String, String)> {
    let all = asked(snapshot).into_iter();
    let all = all.filter_map(|(_, _, asked)| match asked {
        Asked::Service(namespace, name) => Some((namespace, name)),
        Asked::Url(url) => service(snapshot, &url.host),
    });
    // A service's name says nothing as long as its backends are not read.
    let components = Components::find(snapshot);
    let etcd = components.api_servers.values().flat_map(|api| &api.etcd);
    let etcd = etcd.filter_map(|target| match &target.site {
        Site::Unknown(name) => service(snapshot, name),
        _ => None,
    });
    all.chain(etcd).collect()
}

/// Who is asked.
enum Asked {
    /// A service, by namespace and name.
    Service(String, String),
    /// Somebody who is told of by URL.
    Url(Authority),
}

/// All that are asked and whose silence counts, with the objects that say so.
fn asked(snapshot: &Snapshot) -> Vec<(Rule, &Object, Asked)> {
    let mut found = Vec::new();
    let of_service = |service: Option<&Value>| {
        let text = |key: &str| Some(service?.get(key)?.as_str()?.to_owned());
        Some(Asked::Service(text("namespace")?, text("name")?))
    };
    let kinds = [
        Kind::ValidatingWebhookConfiguration,
        Kind::MutatingWebhookConfiguration,
    ];
    for configuration in kinds.into_iter().flat_map(|kind| snapshot.of(kind)) {
        let list = configuration.value().get("webhooks");
        for webhook in list.and_then(Value::as_array).into_iter().flatten() {
            // A webhook whose failure is ignored cuts nothing off.
            if webhook.get("failurePolicy").and_then(Value::as_str) == Some("Ignore") {
                continue;
            }
            let url = webhook.pointer("/clientConfig/url").and_then(Value::as_str);
            let asked = of_service(webhook.pointer("/clientConfig/service"))
                .or_else(|| url.and_then(Authority::read).map(Asked::Url));
            found.extend(asked.map(|asked| (WEBHOOK, configuration, asked)));
        }
    }
    for api in snapshot.of(Kind::ApiService) {
        let asked = of_service(api.spec("service"));
        found.extend(asked.map(|asked| (AGGREGATED, api, asked)));
    }
    found
}
