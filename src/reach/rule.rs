//! Rules as the evaluator uses them: every field resolved to numbers and sets.
//!
//! Source: semantics, section 2.1; projectcalico/calico `felix/rules/policy.go`.

use crate::calico::policy::{Action, EntityRule, Icmp, Rule as Spec};
use crate::calico::{PortMatch, Protocol};

use super::addresses::{Addresses, parse_net};
use super::selection::{self, SelectorProblem};
use super::sets::{PortSetId, SetId, SetNames};

/// One rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub action: Action,
    /// Whether the rule exists for IPv4 and for IPv6.
    families: [bool; 2],
    pub protocol: Option<Protocol>,
    pub not_protocol: Option<Protocol>,
    pub icmp: Option<Icmp>,
    pub not_icmp: Option<Icmp>,
    pub source: Side,
    pub destination: Side,
}

/// One side of a rule.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// The address is in each of these.
    pub inside: Vec<SetId>,
    /// The address is in none of these.
    pub outside: Vec<SetId>,
    /// The address is in these networks.
    pub nets: Option<Addresses>,
    /// The address is not in these networks.
    pub not_nets: Option<Addresses>,
    /// The port is one of these.
    pub ports: Option<Ports>,
    /// The port is none of these.
    pub not_ports: Option<Ports>,
    /// Address and port are in this.
    pub service: Option<PortSetId>,
}

impl Side {
    /// Whether the address is looked at.
    pub fn looks_at_address(&self) -> bool {
        let named = |ports: &Option<Ports>| ports.as_ref().is_some_and(|p| !p.named.is_empty());
        !self.inside.is_empty()
            || !self.outside.is_empty()
            || self.nets.is_some()
            || self.not_nets.is_some()
            || self.service.is_some()
            || named(&self.ports)
            || named(&self.not_ports)
    }
}

/// Ports by number and by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports {
    pub numbers: Vec<(u16, u16)>,
    pub named: Vec<PortSetId>,
}

/// Why Felix would treat a policy with this rule as absent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RuleProblem {
    #[error(transparent)]
    Selector(#[from] SelectorProblem),
    #[error("numbers of ports need a protocol that has ports")]
    PortsWithoutProtocol,
    #[error("port 0 is no port")]
    PortZero,
    #[error("ipVersion is 4 or 6")]
    IpVersion,
    #[error("ICMP type 255 cannot be matched")]
    IcmpType,
}

impl Rule {
    /// A rule that lets everything through.
    pub fn allow_all() -> Self {
        Self {
            action: Action::Allow,
            families: [true; 2],
            protocol: None,
            not_protocol: None,
            icmp: None,
            not_icmp: None,
            source: Side::default(),
            destination: Side::default(),
        }
    }

    /// Resolves a rule. `namespace` is that of a namespaced policy.
    ///
    /// # Errors
    ///
    /// When Felix would treat the policy as absent.
    pub fn compile(
        spec: &Spec,
        namespace: Option<&str>,
        sets: &mut SetNames,
    ) -> Result<Self, RuleProblem> {
        check(spec)?;
        let protocol = spec.protocol;
        let source = side(&spec.source, namespace, sets)?;
        let destination = side(&spec.destination, namespace, sets)?;
        let (mut source, mut destination) = (source, destination);
        // Services match addresses only as a source, address and port as a destination.
        if let Some(service) = &spec.source.services {
            let namespace = service.namespace.as_deref().unwrap_or_default();
            source.inside.push(sets.service(namespace, &service.name));
        }
        if let Some(service) = &spec.destination.services {
            let namespace = service.namespace.as_deref().unwrap_or_default();
            destination.service = Some(sets.service_ports(namespace, &service.name));
        }
        let mut rule = Self {
            action: spec.action,
            families: [true; 2],
            protocol,
            not_protocol: spec.not_protocol,
            icmp: spec.icmp,
            not_icmp: spec.not_icmp,
            source,
            destination,
        };
        rule.families = [rule.exists_for(spec, false), rule.exists_for(spec, true)];
        Ok(rule)
    }

    /// Whether the rule exists for a family. A list of excluded networks with none of the family
    /// takes the whole rule away, and so does an exclusion of the whole family.
    fn exists_for(&self, spec: &Spec, ipv6: bool) -> bool {
        let version = spec.ip_version.is_none_or(|v| (v == 6) == ipv6);
        let by_protocol = match self.protocol {
            Some(Protocol::ICMP) => !ipv6,
            Some(Protocol::ICMPV6) => ipv6,
            _ => true,
        };
        let sides = [&self.source, &self.destination];
        let not_nets = |nets: &Option<Addresses>| {
            let of_family = nets.as_ref().map(|n| n.only(ipv6));
            of_family.is_none_or(|n| !n.is_empty() && n != Addresses::family(ipv6))
        };
        version && by_protocol && sides.iter().all(|s| not_nets(&s.not_nets))
    }

    /// Whether the rule exists for a family.
    pub fn is_for(&self, ipv6: bool) -> bool {
        let [v4, v6] = self.families;
        if ipv6 { v6 } else { v4 }
    }
}

fn side(
    spec: &EntityRule,
    namespace: Option<&str>,
    sets: &mut SetNames,
) -> Result<Side, RuleProblem> {
    let peers = selection::of_peer(spec, namespace)?;
    let mut ports = |list: &[PortMatch]| {
        if list.is_empty() {
            return None;
        }
        let mut ports = Ports::default();
        for port in list {
            match port {
                PortMatch::Range(low, high) => ports.numbers.push((*low, *high)),
                PortMatch::Named(name) => {
                    // Also for ports that may not match: the rule needs the positive selector to
                    // hold anyway.
                    let set = sets.named_port(name, peers.inside.clone());
                    ports.named.push(set);
                }
            }
        }
        Some(ports)
    };
    let (ports, not_ports) = (ports(&spec.ports), ports(&spec.not_ports));
    Ok(Side {
        inside: peers.inside.map(|s| sets.selector(s)).into_iter().collect(),
        outside: peers
            .outside
            .map(|s| sets.selector(s))
            .into_iter()
            .collect(),
        nets: nets(&spec.nets),
        not_nets: nets(&spec.not_nets),
        ports,
        not_ports,
        service: None,
    })
}

/// The networks of a list. Entries that cannot be read are skipped, and a list of nothing else is
/// no restriction at all: so Calico converts them.
fn nets(list: &[String]) -> Option<Addresses> {
    let nets: Vec<_> = list.iter().filter_map(|n| parse_net(n)).collect();
    (!nets.is_empty()).then(|| Addresses::of(nets))
}

/// What Felix's validation filter refuses (projectcalico/calico
/// `libcalico-go/lib/validator/v1/validator.go`, `validateBackendRule`).
fn check(spec: &Spec) -> Result<(), RuleProblem> {
    if spec.ip_version.is_some_and(|v| v != 4 && v != 6) {
        return Err(RuleProblem::IpVersion);
    }
    let lists = [
        &spec.source.ports,
        &spec.source.not_ports,
        &spec.destination.ports,
        &spec.destination.not_ports,
    ];
    let has_ports = spec.protocol.map(|p| p.transport().is_some());
    for port in lists.into_iter().flatten() {
        match (port, has_ports) {
            (PortMatch::Range(0, _), _) => return Err(RuleProblem::PortZero),
            (PortMatch::Range(..), None) | (_, Some(false)) => {
                return Err(RuleProblem::PortsWithoutProtocol);
            }
            _ => {}
        }
    }
    let mut icmp = [spec.icmp, spec.not_icmp].into_iter().flatten();
    if icmp.any(|i| i.kind == Some(u8::MAX)) {
        return Err(RuleProblem::IcmpType);
    }
    Ok(())
}
