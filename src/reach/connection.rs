//! The question: one new connection.

use std::fmt;
use std::net::IpAddr;

use crate::calico::{Protocol, ServerPort};

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A process in the host namespace of a node, or a host-networked pod.
    Node {
        /// Calico's node name.
        name: String,
        /// As a client: its source address, where not routing decides. As a server: the address
        /// dialled, where it is not the first address of the default interface.
        address: Option<IpAddr>,
    },
    /// A workload with a network of its own.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name: of the WorkloadEndpoint or of the Pod.
        name: String,
        /// The address dialled, where it differs from the workload's own.
        address: Option<IpAddr>,
    },
    /// An address. One that belongs to a node or a workload stands for it.
    Address(IpAddr),
}

impl Party {
    /// A process on a node, with the address that routing gives it.
    pub fn node(name: impl Into<String>) -> Self {
        Self::Node {
            name: name.into(),
            address: None,
        }
    }

    /// A workload, at its own address.
    pub fn pod(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Pod {
            namespace: namespace.into(),
            name: name.into(),
            address: None,
        }
    }

    /// The same party with an address.
    #[must_use]
    pub fn at(self, ip: IpAddr) -> Self {
        match self {
            Self::Node { name, .. } => Self::Node {
                name,
                address: Some(ip),
            },
            Self::Pod {
                namespace, name, ..
            } => Self::Pod {
                namespace,
                name,
                address: Some(ip),
            },
            Self::Address(_) => Self::Address(ip),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node {
                name,
                address: Some(ip),
            } => write!(f, "node {name} ({ip})"),
            Self::Node { name, .. } => write!(f, "node {name}"),
            Self::Pod {
                namespace,
                name,
                address: Some(ip),
            } => write!(f, "pod {namespace}/{name} ({ip})"),
            Self::Pod {
                namespace, name, ..
            } => write!(f, "pod {namespace}/{name}"),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// To a port.
    Port(ServerPort),
    /// ICMP or ICMPv6, by the family of the addresses; `None` where type or code is not known.
    Icmp {
        /// The type.
        kind: Option<u8>,
        /// The code.
        code: Option<u8>,
    },
    /// Another protocol. TCP, UDP and SCTP need a port and are not written so.
    Protocol(Protocol),
}

impl From<ServerPort> for Traffic {
    fn from(port: ServerPort) -> Self {
        Self::Port(port)
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Icmp { kind, code } => {
                f.write_str("icmp")?;
                if let Some(kind) = kind {
                    write!(f, "/{kind}")?;
                    if let Some(code) = code {
                        write!(f, ".{code}")?;
                    }
                }
                Ok(())
            }
            Self::Protocol(protocol) => write!(f, "protocol {protocol}"),
        }
    }
}

/// A new connection: who to whom, and what. Whether something listens is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// The client.
    pub from: Party,
    /// The server.
    pub to: Party,
    /// What is sent.
    pub traffic: Traffic,
    /// The client's own port, where it is known. Rules seldom look at it.
    pub client_port: Option<u16>,
    /// The interface of the server's node that a client outside the cluster comes in on, where it
    /// is known. Otherwise it is the node's default interface or the one with the address.
    pub arrives_on: Option<String>,
}

impl Connection {
    /// A connection to a port.
    #[must_use]
    pub fn to_port(from: Party, to: Party, port: ServerPort) -> Self {
        Self {
            from,
            to,
            traffic: Traffic::Port(port),
            client_port: None,
            arrives_on: None,
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}, {}", self.from, self.to, self.traffic)
    }
}
