//! Certificates and keys for the connection.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::endpoint::Address;
use crate::store::config::{EtcdConfig, Pem};
use crate::store::{StoreError, StoreErrorKind};

/// What the configuration has for TLS, read and looked through once.
#[derive(Clone, Default)]
pub struct Material {
    ca: Option<String>,
    identity: Option<(String, String)>,
}

impl Material {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    ///
    /// When one cannot be read, holds something else, or when of certificate and key only one is
    /// given.
    pub fn read(config: &EtcdConfig) -> Result<Self, StoreError> {
        let ca = text_of(config.ca.as_ref(), "CA certificate", "ETCD_CA_CERT_FILE")?;
        let cert = text_of(config.cert.as_ref(), "client certificate", "ETCD_CERT_FILE")?;
        let key = text_of(config.key.as_ref(), "client key", "ETCD_KEY_FILE")?;
        for (text, what) in [(&ca, "CA certificate"), (&cert, "client certificate")] {
            if text.as_ref().is_some_and(|text| !holds_certificate(text)) {
                return Err(wrong(format!(
                    "the {what} for etcd holds no PEM certificate"
                )));
            }
        }
        if let Some(text) = &key {
            check_key(text)?;
        }
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(
                    wrong("a client certificate for etcd is given without its key")
                        .hint("set ETCD_KEY_FILE, too"),
                );
            }
            (None, Some(_)) => {
                return Err(
                    wrong("a client key for etcd is given without its certificate")
                        .hint("set ETCD_CERT_FILE, too"),
                );
            }
        };
        Ok(Self { ca, identity })
    }

    /// Whether there is anything at all.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }

    /// Whether there is a client certificate.
    #[must_use]
    pub fn has_client_certificate(&self) -> bool {
        self.identity.is_some()
    }

    /// TLS towards one server. Without a CA of its own the machine's are trusted.
    #[must_use]
    pub fn towards(&self, address: &Address) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().domain_name(&address.host);
        let config = match &self.ca {
            Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
            None => config.with_native_roots(),
        };
        match &self.identity {
            Some((cert, key)) => config.identity(Identity::from_pem(cert, key)),
            None => config,
        }
    }
}

fn text_of(pem: Option<&Pem>, what: &str, variable: &str) -> Result<Option<String>, StoreError> {
    match pem {
        None => Ok(None),
        Some(Pem::Inline(text)) => Ok(Some(text.expose().to_owned())),
        Some(Pem::File(path)) => read(path, what, variable).map(Some),
    }
}

fn read(path: &Path, what: &str, variable: &str) -> Result<String, StoreError> {
    std::fs::read_to_string(path).map_err(|error| {
        wrong(format!(
            "cannot read the {what} for etcd, `{}`: {error}",
            path.display()
        ))
        .hint(format!("look at {variable}"))
    })
}

fn holds_certificate(text: &str) -> bool {
    let mut found = CertificateDer::pem_slice_iter(text.as_bytes()).peekable();
    found.peek().is_some() && found.all(|certificate| certificate.is_ok())
}

fn check_key(text: &str) -> Result<(), StoreError> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(
            wrong("the client key for etcd is encrypted with a passphrase")
                .hint("give a key without one, as calicoctl wants it, too"),
        );
    }
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(_) => Ok(()),
        // The reason is left out: it may hold what it failed on.
        Err(_) => Err(wrong("the client key for etcd holds no PEM private key")
            .hint("PKCS#8, PKCS#1 and SEC1 are read")),
    }
}

fn wrong(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Usage, message)
}
