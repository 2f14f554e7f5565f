//! Inputs that an answer may depend on and that a datastore may not tell.

use std::fmt;
use std::net::IpAddr;

use crate::calico::felix::Direction;

/// An input that is not known and whose possible values give different answers. Shown as one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// No object describes the node.
    Node {
        /// The name that was asked for.
        node: String,
    },
    /// No object describes the workload, or it has no address of the family.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// No address to speak of: the node has none of the wanted family.
    Address {
        /// The node.
        node: String,
    },
    /// The node does not report its interfaces, so which host endpoint governs is open.
    Interface {
        /// The node.
        node: String,
        /// The address whose interface is asked for.
        address: IpAddr,
    },
    /// The addresses of an interface are not reported, so which host endpoint governs is open.
    InterfaceAddresses {
        /// The node.
        node: String,
        /// The interface.
        interface: String,
    },
    /// The node has several addresses, and its routes decide which one is the source.
    SourceAddress {
        /// The node.
        node: String,
    },
    /// Whether traffic between two nodes goes through a tunnel.
    Tunnel {
        /// The node it leaves.
        from: String,
        /// The node it goes to.
        to: String,
    },
    /// A setting of Felix that is neither in the datastore nor in a workload's environment.
    Setting {
        /// The node.
        node: String,
        /// The field of FelixConfiguration.
        name: &'static str,
    },
    /// Felix does not run, so nothing is known of what its rules are.
    FelixStopped {
        /// The node.
        node: String,
        /// What stops it.
        problem: String,
    },
    /// A failsafe list that is overridden by something that cannot be read.
    Failsafes {
        /// The node.
        node: String,
        /// The list.
        direction: Direction,
    },
    /// The interface by which packets come in from outside or from other nodes.
    ArrivalInterface {
        /// The node.
        node: String,
    },
    /// The interface by which packets with a given source leave.
    DepartureInterface {
        /// The node.
        node: String,
    },
    /// Nothing that was read has the address.
    Owner {
        /// The address.
        address: IpAddr,
    },
    /// Nothing tells where a server is, and it may be where it could not be reached.
    Whereabouts {
        /// What it is called.
        name: String,
        /// Where it may be.
        at: String,
        /// Why it could not be reached there.
        because: String,
    },
    /// The client's own port, which a rule looks at.
    ClientPort,
    /// Whether a client chooses a failsafe port as its own, which untracked policy lets through.
    ChosenPort,
    /// The type or code of an ICMP packet, which a rule looks at.
    IcmpType,
    /// How kube-proxy works, or where it sends the connection.
    Service {
        /// The address that was dialled.
        address: IpAddr,
    },
    /// How kube-proxy works on the node: in IPVS mode node ports skip host policy.
    ProxyMode {
        /// The node.
        node: String,
    },
    /// Which rules others have put in front of Felix's.
    RulesInFront {
        /// The node.
        node: String,
    },
    /// A fact about Felix that is not certain, by policy or interface.
    Behaviour {
        /// What is not certain.
        what: &'static str,
    },
    /// Too many inputs are missing to try all their values.
    TooMany,
}

impl Missing {
    /// What a user can do about it, where there is a way.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Setting { name, .. } => Some(format!(
                "`{name}` in FelixConfiguration/default makes it known, unless calico-node's environment sets it"
            )),
            Self::Whereabouts { name, .. } => Some(format!(
                "let its clients in wherever `{name}` may be (`--grant-needed`), tell where it is (an address instead of a name)"
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { node } => write!(f, "node {node} is not described by any object"),
            Self::Pod { namespace, name } => write!(
                f,
                "workload {namespace}/{name} is not described by any object, or has no address"
            ),
            Self::Address { node } => write!(f, "no address of node {node} is known"),
            Self::Interface { node, address } => {
                write!(f, "the interface of {address} on {node} is not known")
            }
            Self::InterfaceAddresses { node, interface } => {
                write!(f, "the addresses of {interface} on {node} are not known")
            }
            Self::SourceAddress { node } => write!(
                f,
                "which of its addresses {node} uses as source is not known"
            ),
            Self::Tunnel { from, to } => write!(
                f,
                "whether traffic from {from} to {to} goes through a tunnel is not known"
            ),
            Self::Setting { node, name } => write!(f, "{name} of Felix on {node} is not known"),
            Self::FelixStopped { node, problem } => {
                write!(f, "Felix on {node} does not run: {problem}")
            }
            Self::Failsafes { node, direction } => write!(
                f,
                "the {direction} failsafe list of {node} is set where it cannot be read"
            ),
            Self::ArrivalInterface { node } => {
                write!(f, "by which interface packets reach {node} is not known")
            }
            Self::DepartureInterface { node } => {
                write!(f, "by which interface packets leave {node} is not known")
            }
            Self::Owner { address } => {
                write!(
                    f,
                    "neither a node nor a workload is known to have {address}"
                )
            }
            Self::Whereabouts { name, at, because } => {
                write!(f, "nothing tells where `{name}` is, and at {at}: {because}")
            }
            Self::ClientPort => f.write_str("the client's own port is not known"),
            Self::ChosenPort => f.write_str(
                "untracked policy does not hold against clients that choose a failsafe port as their own",
            ),
            Self::IcmpType => f.write_str("the type and code of the ICMP packet are not known"),
            Self::Service { address } => {
                write!(
                    f,
                    "where kube-proxy sends connections to {address} is not known"
                )
            }
            Self::ProxyMode { node } => write!(
                f,
                "whether kube-proxy on {node} runs in IPVS mode is not known"
            ),
            Self::RulesInFront { node } => write!(
                f,
                "`chainInsertMode` Append puts other rules in front of Felix's on {node}, which may let through what policy drops"
            ),
            Self::Behaviour { what } => f.write_str(what),
            Self::TooMany => f.write_str("too many inputs are not known to try all their values"),
        }
    }
}
