//! Failures of requests to etcd: what is known about them, and the words for them.

use std::error::Error;
use std::fmt;

use rustls::{AlertDescription, CertificateError};
use tonic::{Code, Status};

use super::endpoint::Address;
use crate::store::{StoreError, StoreErrorKind};

const CERTIFICATE_HINT: &str =
    "set ETCD_CERT_FILE and ETCD_KEY_FILE (or etcdCertFile and etcdKeyFile)";

/// Why a request has no answer that could be used.
#[derive(Debug)]
pub enum Fault {
    /// The server refused it: nothing was carried out.
    Refused {
        /// The code.
        code: Code,
        /// etcd's words.
        message: String,
    },
    /// The server has too much to do. It refused before it proposed anything to the other members:
    /// nothing was carried out, and the same may be sent again.
    Busy {
        /// Which server.
        address: Address,
        /// etcd's words.
        message: String,
    },
    /// It was sent, and what became of it is not known.
    Lost {
        /// To which server.
        address: Address,
        /// What happened.
        reason: Reason,
        /// Whether it was etcd that said so.
        answered: bool,
    },
    /// There is no server that could be connected to: nothing was sent.
    Unreachable(Vec<(Address, Reason)>),
    /// It makes no sense to try any more.
    Final(StoreError),
}

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In words, to follow "cannot reach etcd at ...:".
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Reason {
    /// A reason without a remedy.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What is known about a connection when it fails.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// Whether it is TLS.
    pub tls: bool,
    /// Whether a client certificate is configured.
    pub has_certificate: bool,
    /// Whether this server has answered before.
    pub has_answered: bool,
    /// Whether the connection is still being made.
    pub is_connecting: bool,
}

impl Fault {
    /// Reads the status that a request ended with.
    #[must_use]
    pub fn of_status(status: &Status, address: &Address, known: Circumstances) -> Self {
        let made_here = status.source().is_some();
        let passing = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Internal
        );
        let etcds = status.message().starts_with("etcdserver:");
        // A full disk has the same code, and passes only when somebody makes room.
        if status.code() == Code::ResourceExhausted
            && etcds
            && status.message().contains("too many requests")
        {
            return Self::Busy {
                address: address.clone(),
                message: words(status.message()),
            };
        }
        if made_here || passing || (status.code() == Code::Unknown && !etcds) {
            let reason = if made_here || !etcds {
                diagnose(status, known)
            } else {
                Reason::new(words(status.message())).hint(
                    "has the cluster a leader, and a majority of its members? `etcdctl endpoint status --cluster` shows it",
                )
            };
            return Self::Lost {
                address: address.clone(),
                reason,
                answered: etcds && !made_here,
            };
        }
        Self::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }

    /// Whether etcd wants another login.
    #[must_use]
    pub fn wants_login(&self) -> bool {
        match self {
            Self::Refused { code, message } => {
                *code == Code::Unauthenticated
                    || message.contains("invalid auth token")
                    || message.contains("revision of auth store is old")
                    || message.contains("revision in header is old")
            }
            _ => false,
        }
    }

    /// Whether the revision that was asked for is gone.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        matches!(self, Self::Refused { code: Code::OutOfRange, message }
            if message.contains("compacted"))
    }

    /// Whether etcd takes only smaller transactions.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        matches!(self, Self::Refused { message, .. }
            if message.contains("too many operations") || message.contains("request is too large"))
    }

    /// Whether trying again, perhaps elsewhere, may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::Lost { .. } | Self::Unreachable(_)
        )
    }

    /// The failure in words. `what` was asked for, such as a key; `user` is who asked.
    #[must_use]
    pub fn into_error(self, what: &str, user: Option<&str>) -> StoreError {
        match self {
            Self::Final(error) => error,
            Self::Busy { address, message } => {
                failed(format!("etcd at `{address}` has too much to do: {message}"))
                    .hint("try again later; `etcdctl endpoint status --cluster` shows how far its members are")
            }
            Self::Lost {
                address, reason, ..
            } => connection_error(&[(address, reason)]),
            Self::Unreachable(reasons) => connection_error(&reasons),
            Self::Refused { code, message } => refusal(code, &message, what, user),
        }
    }
}

/// A failure to reach any of these servers.
#[must_use]
pub fn connection_error(reasons: &[(Address, Reason)]) -> StoreError {
    let hint = reasons.iter().find_map(|(_, reason)| reason.hint.clone());
    let hint = hint.unwrap_or_else(|| "look at ETCD_ENDPOINTS, and whether etcd runs".into());
    let error = match reasons {
        [(address, reason)] => failed(format!("cannot reach etcd at `{address}`: {}", reason.text)),
        _ => reasons.iter().fold(
            failed(format!(
                "cannot reach any of {} etcd endpoints",
                reasons.len()
            )),
            |error, (address, reason)| error.detail(format!("{address}: {}", reason.text)),
        ),
    };
    error.hint(hint)
}

fn refusal(code: Code, message: &str, what: &str, user: Option<&str>) -> StoreError {
    let whose = match user {
        Some(user) => format!("etcd user `{user}`"),
        None => "the etcd user of the client certificate".into(),
    };
    if code == Code::PermissionDenied {
        return failed(format!("{whose} may not access {what}")).hint(
            "its role needs `etcdctl role grant-permission ROLE --prefix=true readwrite /calico/`",
        );
    }
    if message.contains("authentication failed") {
        return failed(format!(
            "etcd refuses the password of {whose}, or there is no such user"
        ))
        .hint("look at ETCD_USERNAME and ETCD_PASSWORD (or etcdUsername and etcdPassword)");
    }
    if message.contains("user name is empty") || message.contains("invalid auth token") {
        return failed("etcd wants a user, and none is given").hint(
            "set ETCD_USERNAME and ETCD_PASSWORD, or ETCD_CERT_FILE and ETCD_KEY_FILE \
             when the certificate's common name is the user",
        );
    }
    if message.contains("user name not found") {
        return failed(format!("{whose} does not exist in etcd"));
    }
    if message.contains("database space exceeded") {
        return failed("etcd takes no writes: its space is used up (alarm NOSPACE)")
            .hint("compact and defragment etcd, then `etcdctl alarm disarm`");
    }
    if message.contains("request is too large") {
        return failed(format!(
            "etcd refuses {what}: the value is larger than it takes"
        ));
    }
    if code == Code::Unimplemented {
        return failed("the server does not speak etcd's v3 interface")
            .hint("look at ETCD_ENDPOINTS: it may be another server's port");
    }
    failed(format!("etcd refuses {what}: {}", words(message)))
}

/// Finds the deepest cause that says something.
#[must_use]
pub fn diagnose(error: &(dyn Error + 'static), known: Circumstances) -> Reason {
    let mut next = Some(error);
    let mut last = String::new();
    while let Some(error) = next {
        if let Some(reason) = read_cause(error, known) {
            return reason;
        }
        last = words(&error.to_string());
        // The inner error of an input/output error is not part of the chain.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref())
            .map(|inner| inner as &(dyn Error + 'static));
        next = inner.or_else(|| error.source());
    }
    if known.has_answered {
        return Reason::new(last);
    }
    // From TLS 1.3 on a server tells only after the handshake what it thinks of the client.
    match (known.tls, known.has_certificate) {
        (true, false) => {
            Reason::new("the connection is closed; etcd seems to want a client certificate")
                .hint(CERTIFICATE_HINT)
        }
        (true, true) => {
            Reason::new("the connection is closed; etcd seems to refuse the client certificate")
                .hint("look at ETCD_CERT_FILE: it must be signed by a CA that etcd trusts")
        }
        (false, _) => {
            Reason::new(format!("{last}; it may want TLS")).hint("try the endpoint with `https://`")
        }
    }
}

fn read_cause(error: &(dyn Error + 'static), known: Circumstances) -> Option<Reason> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls_reason(error, known));
    }
    let error = error.downcast_ref::<std::io::Error>()?;
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
    {
        return None;
    }
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Some(Reason::new("connection refused")),
        std::io::ErrorKind::TimedOut => Some(Reason::new("no answer in time")),
        std::io::ErrorKind::UnexpectedEof if error.to_string().contains("handshake") => {
            Some(no_tls())
        }
        // A server without TLS may hang up before its answer is read.
        std::io::ErrorKind::ConnectionReset if known.tls && known.is_connecting => Some(
            Reason::new("it hangs up in the TLS handshake: it may not speak TLS")
                .hint("is it starting? else try the endpoint with `http://`"),
        ),
        _ => None,
    }
}

fn tls_reason(error: &rustls::Error, known: Circumstances) -> Reason {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Reason::new("its certificate is signed by a CA that is not trusted")
                .hint("set ETCD_CA_CERT_FILE (or etcdCACertFile) to the CA of etcd's certificates")
        }
        E::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Reason::new("its certificate has expired").hint(
            "renew it (kubeadm: `kubeadm certs renew etcd-server`), or set this machine's clock",
        ),
        E::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Reason::new("its certificate is not valid yet").hint("is this machine's clock right?"),
        E::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Reason::new("its certificate is made out for other names")
            .hint("use an endpoint that the certificate names"),
        E::InvalidCertificate(other) => Reason::new(format!("its certificate is refused: {other}")),
        E::InvalidMessage(_) => no_tls(),
        E::AlertReceived(_) if !known.has_certificate => {
            Reason::new("etcd wants a client certificate").hint(CERTIFICATE_HINT)
        }
        E::AlertReceived(alert) => {
            let why = match alert {
                AlertDescription::CertificateExpired => "it has expired",
                AlertDescription::UnknownCA => "etcd does not trust its CA",
                _ => "it may have expired, or be signed by a CA that etcd does not trust",
            };
            Reason::new(format!("etcd refuses the client certificate: {why}"))
                .hint("look at ETCD_CERT_FILE")
        }
        other => Reason::new(words(&other.to_string())),
    }
}

fn no_tls() -> Reason {
    Reason::new("it does not speak TLS").hint("try the endpoint with `http://`")
}

/// One line without control characters: what a server says is shown on terminals.
fn words(text: &str) -> String {
    let text = text.trim().trim_start_matches("etcdserver: ");
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

fn failed(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, message)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
