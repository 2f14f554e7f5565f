//! Where servers are that are told of by URLs: what the cluster itself says of a name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::calico::{Host, Kind, Object, Snapshot};

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// A host of the cluster.
    Host(String),
    /// Whoever has an address.
    Address(IpAddr),
    /// Whoever a name means that nothing here resolves.
    Unknown(String),
}

/// A server that somebody is told to use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Where it is.
    pub site: Site,
    /// Its port.
    pub port: u16,
}

/// The host of a URL, as it is written, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// An address or a name, without brackets.
    pub host: String,
    /// The port, where one is written.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads a URL, or what stands in one behind `//`. Nothing of what is no host, such as a
    /// placeholder, is taken for one.
    #[must_use]
    pub fn read(url: &str) -> Option<Self> {
        let rest = url.trim();
        let rest = rest.split_once("://").map_or(rest, |(_, rest)| rest);
        let rest = rest.split(['/', '?', '#']).next()?;
        let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let (host, port) = match rest.strip_prefix('[') {
            Some(inside) => {
                let (host, behind) = inside.split_once(']')?;
                (host, behind.strip_prefix(':'))
            }
            None if rest.parse::<IpAddr>().is_ok() => (rest, None),
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_host = host.parse::<IpAddr>().is_ok() || host.chars().all(of_names);
        let port = port.map(str::parse).transpose().ok()?;
        (is_host && !host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// What a cluster tells of names.
#[derive(Debug)]
pub struct Sites<'s> {
    snapshot: &'s Snapshot,
    /// Hosts by the names that they go by.
    hosts: BTreeMap<String, String>,
    by_address: BTreeMap<IpAddr, String>,
}

impl<'s> Sites<'s> {
    /// Reads the names of hosts: their own, `kubernetes.io/hostname`, and those that a Node reports.
    #[must_use]
    pub fn of(snapshot: &'s Snapshot) -> Self {
        let mut hosts = BTreeMap::new();
        let mut by_address = BTreeMap::new();
        let all = Host::all(snapshot);
        for (name, host) in &all {
            if let Some(label) = host.labels.get("kubernetes.io/hostname") {
                hosts.insert(label.to_ascii_lowercase(), name.clone());
            }
            for (ip, _) in &host.addresses {
                by_address.entry(*ip).or_insert_with(|| name.clone());
            }
        }
        for node in snapshot.of(Kind::Node) {
            let listed = node.value().pointer("/status/addresses");
            for entry in listed.and_then(Value::as_array).into_iter().flatten() {
                let text = |key: &str| entry.get(key).and_then(Value::as_str);
                let is_name = matches!(
                    text("type"),
                    Some("Hostname" | "InternalDNS" | "ExternalDNS")
                );
                if let Some(name) = text("address").filter(|_| is_name) {
                    hosts.insert(name.to_ascii_lowercase(), node.name().to_owned());
                }
            }
        }
        for name in all.into_keys() {
            hosts.insert(name.to_ascii_lowercase(), name);
        }
        Self {
            snapshot,
            hosts,
            by_address,
        }
    }

    /// The host that has an address.
    #[must_use]
    pub fn host_with(&self, ip: IpAddr) -> Option<&str> {
        self.by_address.get(&ip).map(String::as_str)
    }

    /// The host of a site, where it is one of the cluster's.
    #[must_use]
    pub fn host_of<'t>(&'t self, site: &'t Site) -> Option<&'t str> {
        match site {
            Site::Host(name) => Some(name),
            Site::Address(ip) => self.host_with(*ip),
            Site::Unknown(_) => None,
        }
    }

    /// Where the servers of a list of URLs are; `usual` is the port of one that names none. A pod's
    /// `hostAliases` stand above all else for its own containers. What cannot be read may be
    /// anybody.
    #[must_use]
    pub fn targets(&self, urls: &str, usual: u16, pod: Option<&Value>) -> Vec<Target> {
        let listed = urls.split([',', ';']).map(str::trim);
        let listed = listed.filter(|url| !url.is_empty());
        let all = listed.flat_map(|url| match Authority::read(url) {
            Some(authority) => self.target(&authority, usual, pod),
            None => vec![Target {
                site: Site::Unknown(url.to_owned()),
                port: usual,
            }],
        });
        let all: BTreeSet<Target> = all.collect();
        all.into_iter().collect()
    }

    /// Where one server is: in several places where a service stands before it.
    #[must_use]
    pub fn target(&self, url: &Authority, usual: u16, pod: Option<&Value>) -> Vec<Target> {
        let port = url.port.unwrap_or(usual);
        let at = |site| vec![Target { site, port }];
        let host = url.host.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(ip) = host.parse() {
            return at(Site::Address(ip));
        }
        if let Some(ip) = alias(pod, &host) {
            return at(Site::Address(ip));
        }
        if host == "localhost" {
            return at(Site::Address(Ipv4Addr::LOCALHOST.into()));
        }
        if let Some(name) = self.hosts.get(&host) {
            return at(Site::Host(name.clone()));
        }
        if let Some((namespace, service)) = service(self.snapshot, &host) {
            let behind = backends(self.snapshot, &namespace, &service).into_iter();
            let behind: BTreeSet<Target> = behind
                .map(|backend| Target {
                    site: Site::Address(backend.address),
                    port: backend.port,
                })
                .collect();
            if !behind.is_empty() {
                return behind.into_iter().collect();
            }
        }
        at(Site::Unknown(host))
    }
}

/// What a pod's `hostAliases` say of a name.
fn alias(pod: Option<&Value>, host: &str) -> Option<IpAddr> {
    let aliases = pod?.pointer("/spec/hostAliases")?.as_array()?;
    let mut named = aliases.iter().filter(|alias| {
        let names = alias.get("hostnames").and_then(Value::as_array);
        let mut names = names.into_iter().flatten().filter_map(Value::as_str);
        names.any(|name| name.eq_ignore_ascii_case(host))
    });
    named.find_map(|alias| alias.get("ip")?.as_str()?.parse().ok())
}

/// The service that a name of the cluster's own DNS means: `NAME.NAMESPACE.svc`, and what follows.
pub fn service(snapshot: &Snapshot, host: &str) -> Option<(String, String)> {
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    if parts.next().is_some_and(|part| part != "svc") {
        return None;
    }
    let mut services = snapshot.of(Kind::Service);
    let is_it = |s: &&Object| s.name() == name && s.id().namespace.as_deref() == Some(namespace);
    services
        .find(is_it)
        .map(|_| (namespace.to_owned(), name.to_owned()))
}

/// Who answers for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The pod's name, or the address.
    pub name: String,
}

/// The backends of a service.
pub fn backends(snapshot: &Snapshot, namespace: &str, service: &str) -> Vec<Backend> {
    let mut found = Vec::new();
    for slice in snapshot.of(Kind::EndpointSlice) {
        if slice.id().namespace.as_deref() != Some(namespace)
            || slice.label("kubernetes.io/service-name") != Some(service)
        {
            continue;
        }
        let list = |key: &str| slice.value().get(key).and_then(Value::as_array);
        let ports: Vec<u16> = list("ports")
            .into_iter()
            .flatten()
            .filter_map(|p| u16::try_from(p.get("port")?.as_u64()?).ok())
            .collect();
        for endpoint in list("endpoints").into_iter().flatten() {
            let addresses = endpoint.get("addresses").and_then(Value::as_array);
            let target = endpoint.pointer("/targetRef/name").and_then(Value::as_str);
            for address in addresses.into_iter().flatten().filter_map(Value::as_str) {
                let Ok(ip) = address.parse::<IpAddr>() else {
                    continue;
                };
                let name = target.map_or_else(|| address.to_owned(), str::to_owned);
                found.extend(ports.iter().map(|port| Backend {
                    address: ip,
                    port: *port,
                    name: name.clone(),
                }));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read_from_urls() {
        let read = |url: &str| {
            let read = Authority::read(url);
            read.map(|a| (a.host, a.port.map(|p| p.to_string()).unwrap_or_default()))
        };
        let at = |host: &str, port: &str| Some((host.to_owned(), port.to_owned()));
        assert_eq!(read("https://127.0.0.1:2379"), at("127.0.0.1", "2379"));
        assert_eq!(
            read("https://[2001:db8::1]:2379/"),
            at("2001:db8::1", "2379")
        );
        assert_eq!(read("https://[2001:db8::1]"), at("2001:db8::1", ""));
        assert_eq!(read("2001:db8::1"), at("2001:db8::1", ""));
        assert_eq!(
            read(" http://u:p@etcd.example:1/x?y "),
            at("etcd.example", "1")
        );
        assert_eq!(read("etcd-1.example"), at("etcd-1.example", ""));
        assert_eq!(read("http://<ETCD_IP>:<ETCD_PORT>"), None);
        assert_eq!(read("https://etcd:port"), None);
        assert_eq!(read(""), None);
    }
}
