//! The host endpoints of a protected server's hosts: those that are there, those that are made, and
//! their labels.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::json;

use super::ProtectServer;
use super::change::others_by;
use crate::calico::endpoint::{ALL_INTERFACES, ALLOW_PROFILE};
use crate::calico::names::{ServerName, host_endpoint_name};
use crate::calico::{Kind, Object, ObjectId, Version};
use crate::reach::topology::LOOPBACK;
use crate::reach::without_ipv6;
use crate::recipe::base::Base;
use crate::recipe::hosts::{
    EndpointView, HostView, Hosts, LabelHolder, carries, note_without_node,
};
use crate::recipe::policies::{Approach, DEFAULT_ALLOW};
use crate::recipe::{Draft, Importance, Note, RecipeError, Stage, few, marks};

/// Something on a host that the protected label goes on.
pub enum Target<'h> {
    /// An endpoint that is there, through the object that holds its labels.
    Existing {
        holder: LabelHolder,
        endpoint: Option<EndpointView<'h>>,
        host: &'h HostView<'h>,
    },
    /// An endpoint to be made.
    New {
        object: Object,
        host: &'h HostView<'h>,
    },
}

impl<'h> Target<'h> {
    /// The host that it is on.
    pub fn host(&self) -> &'h HostView<'h> {
        match self {
            Self::Existing { host, .. } | Self::New { host, .. } => host,
        }
    }

    /// The object that its labels go on.
    pub fn id(&self) -> &ObjectId {
        match self {
            Self::Existing { holder, .. } => &holder.id,
            Self::New { object, .. } => object.id(),
        }
    }

    /// Whether a profile decides about what no policy covers.
    fn has_profile(&self, draft: &Draft<'_>) -> bool {
        match self {
            Self::Existing {
                endpoint: Some(endpoint),
                ..
            } => {
                let object = draft.current(endpoint.object.id());
                object.is_some_and(|o| o.spec_strs("profiles").next().is_some())
            }
            Self::Existing { endpoint: None, .. } => true,
            Self::New { object, .. } => object.spec("profiles").is_some(),
        }
    }

    /// Whether it has an IPv6 address that counts beyond its own link.
    fn has_ipv6(&self) -> bool {
        let interface = match self {
            Self::Existing {
                endpoint: Some(endpoint),
                ..
            } => endpoint.spec.interface_name.as_str(),
            Self::Existing { endpoint: None, .. } => ALL_INTERFACES,
            Self::New { object, .. } => object.spec_str("interfaceName").unwrap_or_default(),
        };
        let host = self.host();
        let known = host.node.iter().flat_map(|node| &node.interfaces).flatten();
        let is_meant = |name: &str| interface == ALL_INTERFACES || interface == name;
        let mut reported = known.filter(|(name, _)| is_meant(name)).peekable();
        let counts = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if !ip.is_loopback() && !ip.is_unicast_link_local());
        let is_told = interface != ALL_INTERFACES && reported.peek().is_some();
        reported.any(|(_, ips)| ips.iter().any(counts))
            || !is_told && host.sources().iter().any(counts)
    }

    /// Whether loopback and the host's own addresses meet policy here: only an endpoint for all
    /// interfaces governs `lo`.
    pub fn polices_loopback(&self) -> bool {
        match self {
            Self::Existing {
                endpoint: Some(endpoint),
                ..
            } => governs_loopback(&endpoint.spec.interface_name),
            Self::Existing { endpoint: None, .. } => true,
            Self::New { object, .. } => object
                .spec_str("interfaceName")
                .is_some_and(governs_loopback),
        }
    }
}

fn governs_loopback(interface: &str) -> bool {
    interface == ALL_INTERFACES || interface == LOOPBACK
}

/// What the protected label goes on, on the hosts and interfaces that are meant.
pub fn targets<'h>(
    draft: &mut Draft<'_>,
    hosts: &'h Hosts<'h>,
    intent: &ProtectServer,
) -> Result<Vec<Target<'h>>, RecipeError> {
    let mut targets = Vec::new();
    let chosen = hosts.choose(&intent.nodes)?;
    note_without_node(draft, &chosen);
    for host in chosen {
        host.check_shadowing()?;
        if intent.interfaces.iter().any(|i| i == ALL_INTERFACES) {
            for endpoint in host.counting() {
                targets.push(existing(host, endpoint)?);
            }
            if host.wildcard().is_none() {
                targets.push(wildcard(draft, hosts, host, intent)?);
            }
        } else {
            for interface in &intent.interfaces {
                check_interface(draft, host, interface)?;
                targets.push(on_interface(draft, hosts, host, interface, intent)?);
            }
        }
    }
    Ok(targets)
}

fn existing<'h>(
    host: &'h HostView<'h>,
    endpoint: &EndpointView<'h>,
) -> Result<Target<'h>, RecipeError> {
    Ok(Target::Existing {
        holder: LabelHolder::of(host, endpoint)?,
        endpoint: Some(endpoint.clone()),
        host,
    })
}

/// The endpoint for all interfaces of a host that has none here: the automatic one, where
/// calico-kube-controllers makes those, else a new one.
fn wildcard<'h>(
    draft: &Draft<'_>,
    hosts: &Hosts<'_>,
    host: &'h HostView<'h>,
    intent: &ProtectServer,
) -> Result<Target<'h>, RecipeError> {
    if hosts.has_automatic() && host.node.is_some() {
        return Ok(Target::Existing {
            holder: LabelHolder::node(host)?,
            endpoint: None,
            host,
        });
    }
    new_endpoint(draft, host, ALL_INTERFACES, intent)
}

fn on_interface<'h>(
    draft: &mut Draft<'_>,
    hosts: &Hosts<'_>,
    host: &'h HostView<'h>,
    interface: &str,
    intent: &ProtectServer,
) -> Result<Target<'h>, RecipeError> {
    let addresses = interface_addresses(host, interface);
    let unreported = note_unreported(host, interface);
    let governs = |e: &&EndpointView<'h>| {
        e.spec.interface_name == interface
            || e.spec.interface_name.is_empty()
                && e.spec.addresses().any(|ip| addresses.contains(&ip))
    };
    if let Some(endpoint) = host.endpoints.iter().find(governs) {
        if let Some(note) = unreported {
            draft.note(note.importance, note.text, note.hint);
        }
        return existing(host, endpoint);
    }
    let covering = host.wildcard();
    if covering.is_some() || hosts.has_automatic() && host.node.is_some() {
        draft.note(
            Importance::Note,
            format!(
                "the host endpoint for all interfaces of `{}` governs `{interface}` too: its other interfaces and loopback are protected with it",
                host.name
            ),
            None,
        );
        return match covering {
            Some(endpoint) => Ok(Target::Existing {
                holder: LabelHolder::of(host, endpoint)?,
                endpoint: host
                    .endpoints
                    .iter()
                    .find(|e| e.object.id() == endpoint.object.id())
                    .cloned(),
                host,
            }),
            None => wildcard(draft, hosts, host, intent),
        };
    }
    if let Some(note) = unreported {
        draft.note(note.importance, note.text, note.hint);
    }
    new_endpoint(draft, host, interface, intent)
}

/// Refuses interfaces that Felix takes for those of workloads: no host endpoint ever governs one.
fn check_interface(
    draft: &Draft<'_>,
    host: &HostView<'_>,
    interface: &str,
) -> Result<(), RecipeError> {
    let prefixes = workload_prefixes(draft, &host.name);
    let Some(prefix) = prefixes.iter().find(|p| interface.starts_with(p.as_str())) else {
        return Ok(());
    };
    let error = RecipeError::usage(format!(
        "interface `{interface}` cannot be protected: Felix takes those that begin with `{prefix}` for workloads'"
    ));
    Err(error.hint(match reported(host) {
        Some(names) => format!("interfaces of {}: {names}", host.name),
        None => "name an interface of the host itself, or leave `--interface` out".to_owned(),
    }))
}

/// How the names of workloads' interfaces begin on a node: `interfacePrefix` of Felix.
fn workload_prefixes(draft: &Draft<'_>, node: &str) -> Vec<String> {
    let own = format!("node.{node}");
    let mut layers = [own.as_str(), "default"].into_iter().filter_map(|name| {
        let id = ObjectId::global(Kind::FelixConfiguration, name);
        let set = draft.current(&id)?.spec_str("interfacePrefix")?;
        Some(set.to_owned()).filter(|set| !set.is_empty())
    });
    let set = layers.next().unwrap_or_else(|| "cali".to_owned());
    let prefixes = set.split(',').map(str::trim).filter(|p| !p.is_empty());
    prefixes.map(str::to_owned).collect()
}

/// What is to be said of an interface that a node does not report, though it reports others.
fn note_unreported(host: &HostView<'_>, interface: &str) -> Option<Note> {
    let node = host.node.as_ref()?;
    let known = node
        .interfaces
        .as_ref()?
        .iter()
        .map(|(name, _)| name.as_str());
    let mut known = known.chain(node.tunnels.iter().map(|(name, _)| *name));
    if interface == LOOPBACK || known.any(|name| name == interface) {
        return None;
    }
    Some(Note {
        importance: Importance::Warning,
        text: format!(
            "{} reports no interface `{interface}`: as long as it has none, nothing is protected there",
            host.name
        ),
        hint: reported(host).map(|names| format!("it reports {names}")),
    })
}

/// The interfaces that a node reports, for people.
fn reported(host: &HostView<'_>) -> Option<String> {
    let interfaces = host.node.as_ref()?.interfaces.as_ref()?;
    let names: Vec<&str> = interfaces.iter().map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| few(&names))
}

fn interface_addresses(host: &HostView<'_>, interface: &str) -> BTreeSet<IpAddr> {
    let known = host.node.as_ref().and_then(|n| n.interfaces.as_ref());
    known
        .into_iter()
        .flatten()
        .filter(|(name, _)| name == interface)
        .flat_map(|(_, addresses)| addresses.iter().copied())
        .collect()
}

fn new_endpoint<'h>(
    draft: &Draft<'_>,
    host: &'h HostView<'h>,
    interface: &str,
    intent: &ProtectServer,
) -> Result<Target<'h>, RecipeError> {
    let id = ObjectId::global(
        Kind::HostEndpoint,
        host_endpoint_name(&host.name, interface),
    );
    if let Some(taken) = draft.current(&id) {
        return Err(RecipeError::failed(format!(
            "a host endpoint `{}` is needed for interface `{interface}` of node `{}`, but that name is taken",
            id.name, host.name
        ))
        .detail([format!(
            "it is for interface `{}` of node `{}`",
            taken.spec_str("interfaceName").unwrap_or_default(),
            taken.spec_str("node").unwrap_or_default()
        )])
        .hint("rename or delete that host endpoint"));
    }
    let of_interface = interface_addresses(host, interface);
    let addresses = if of_interface.is_empty() {
        host.sources()
    } else {
        of_interface
    };
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut object = Object::empty(id);
    object.set_spec("node", json!(host.name));
    object.set_spec("interfaceName", json!(interface));
    if !addresses.is_empty() {
        object.set_spec("expectedIPs", json!(addresses));
    }
    // The built-in profile is a net below the policy: without it, losing the default-allow policy
    // cuts egress as well. It exists since automatic host endpoints do (v3.14).
    if intent.approach == Some(Approach::AllowByDefault)
        && draft.snapshot().version() >= Version::new(3, 14, 0)
    {
        object.set_spec("profiles", json!([ALLOW_PROFILE]));
    }
    marks::set_created(&mut object);
    Ok(Target::New { object, host })
}

/// How targets that drop everything else let IPv6 discovery through.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Those that no profile keeps open outwards, either: by a policy of its own, from birth on.
    pub labelled: BTreeSet<ObjectId>,
    /// Whether others are left: the protect policy closes them inwards, and lets it in itself.
    pub by_policy: bool,
}

impl Discovery {
    /// What targets need of it: nothing without IPv6. That everything is open now is no reason to do
    /// without: it may be for another server's sake, and end with that.
    pub fn of<'t>(draft: &Draft<'_>, targets: impl Iterator<Item = &'t Target<'t>>) -> Self {
        let meant: Vec<&Target<'_>> = targets.filter(|t| t.has_ipv6()).collect();
        let mut needed = Self::default();
        if meant.is_empty() {
            return needed;
        }
        let hosts = meant
            .iter()
            .map(|t| (t.host().name.as_str(), t.host().node.as_ref()));
        let unpoliced = without_ipv6(draft.snapshot(), hosts);
        for target in meant {
            if unpoliced.contains(target.host().name.as_str()) {
                continue;
            }
            if target.has_profile(draft) {
                needed.by_policy = true;
            } else {
                needed.labelled.insert(target.id().clone());
            }
        }
        needed
    }
}

/// How targets are labelled.
pub struct Labelling<'a> {
    pub server: &'a ServerName,
    /// How other traffic is treated.
    pub approach: Approach,
    /// Whether all of it is kept open by a label.
    pub keep_open: bool,
    /// Those that let IPv6 discovery through.
    pub discovering: &'a BTreeSet<ObjectId>,
    /// Whether the tool made the protect policy, so that `remove` takes its labels with it.
    pub policy_is_ours: bool,
}

impl Labelling<'_> {
    /// What stays open at a target.
    fn base(&self, target: &Target<'_>) -> Option<Base> {
        let discovers = || self.discovering.contains(target.id());
        match self.keep_open {
            true => Some(Base::DefaultAllow),
            false => discovers().then_some(Base::Discovery),
        }
    }

    /// Lets a target that is protected already go over to another form of the policy.
    pub fn enter(&self, draft: &mut Draft<'_>, target: &Target<'_>) {
        if let Some(base) = self.base(target) {
            let is_ours = base.will_be_ours(draft);
            draft.edit(Stage::HostEndpoints, target.id(), base.about(), |object| {
                base.put_on(object, is_ours);
            });
        }
        self.note_open_anyway(draft, target.id());
    }

    /// Labels one target.
    pub fn apply(&self, draft: &mut Draft<'_>, target: &Target<'_>) {
        let base = self.base(target);
        let base = base.map(|base| (base, base.will_be_ours(draft)));
        let (id, why) = match target {
            Target::New { object, host } => {
                let mut born = object.clone();
                if let Some((base, is_ours)) = base {
                    base.put_on(&mut born, is_ours);
                }
                if self.approach == Approach::DenyByDefault {
                    born.set_label(&self.server.protected_label(), "true");
                }
                let interface = object.spec_str("interfaceName").unwrap_or_default();
                let which = if interface == ALL_INTERFACES {
                    "all interfaces".to_owned()
                } else {
                    format!("interface {interface}")
                };
                let why = format!("governs {which} of {}", host.name);
                draft.put(Stage::HostEndpoints, born, why);
                (object.id().clone(), format!("protects {}", host.name))
            }
            Target::Existing { holder, host, .. } => {
                let why = match holder.because {
                    Some(because) => format!("protects {}: {because}", host.name),
                    None => format!("protects {}", host.name),
                };
                (holder.id.clone(), why)
            }
        };
        let protected = self.server.protected_label();
        draft.edit(Stage::ProtectedLabels, &id, why, |object| {
            let created = marks::is_created(object);
            if let Some((base, is_ours)) = base {
                base.put_on(object, is_ours);
            }
            if !carries(object, &protected) {
                object.set_label(&protected, "true");
                if !created && !self.policy_is_ours {
                    marks::add_label(object, &protected);
                }
            }
        });
        self.note_open_anyway(draft, &id);
    }

    /// Says for whom an endpoint that lets everybody in behind the protect policies is no
    /// protection: those whose policies only let clients in.
    fn note_open_anyway(&self, draft: &mut Draft<'_>, id: &ObjectId) {
        let Some(object) = draft.current(id).filter(|o| carries(o, DEFAULT_ALLOW)) else {
            return;
        };
        let drops = Approach::DenyByDefault;
        let (names, what) = if self.approach == drops {
            (vec![self.server.clone()], "it")
        } else {
            let others = others_by(draft.snapshot(), object, self.server, drops);
            (others, "that, too,")
        };
        for name in names {
            let name = name.as_str();
            draft.note(
                Importance::Warning,
                format!(
                    "{id} carries `{DEFAULT_ALLOW}`, which lets everybody in behind the protect policy: `{name}` stays open there"
                ),
                Some(format!(
                    "take the label away, or protect {what} without `--approach deny-by-default`"
                )),
            );
        }
    }
}
