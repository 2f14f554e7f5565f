//! Certificates: an own CA, the server's certificate, client certificates.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::rbac::Identity;

/// The CA of a double, and who it gave certificates to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    known: Mutex<HashMap<Vec<u8>, Identity>>,
}

/// A client certificate with its key, PEM.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// Certificate.
    pub certificate: String,
    /// Private key.
    pub key: String,
}

impl Authority {
    /// A new CA.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "double-ca");
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a CA"),
            known: Mutex::new(HashMap::new()),
        }
    }

    /// The CA's certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Server side of TLS: certificate for localhost, optional client certificates, ALPN for HTTP/2
    /// (left out when `http2` is off).
    pub fn server_config(&self, http2: bool) -> Arc<ServerConfig> {
        let names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        let mut params = CertificateParams::new(names).expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a CA");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .expect("a verifier");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Arc::new(config)
    }

    /// A client certificate: common name is the user, organizations are the groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> ClientCertificate {
        self.client_until(user, groups, 4096)
    }

    /// The same, good until a year.
    pub fn client_until(&self, user: &str, groups: &[&str], year: i32) -> ClientCertificate {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params
                .distinguished_name
                .push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let mut identity = Identity::new(user, groups);
        identity.credential = Some(format!("X509SHA256={}", sha256(certificate.der())));
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(certificate.der().to_vec(), identity);
        ClientCertificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Who a verified certificate was given to.
    pub fn identity(&self, certificate: &CertificateDer<'_>) -> Option<Identity> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(certificate.as_ref())
            .cloned()
    }
}

/// SHA-256 in hex, by the hash of a TLS cipher suite.
fn sha256(bytes: &[u8]) -> String {
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite
        .tls13()
        .expect("a TLS 1.3 suite")
        .common
        .hash_provider
        .hash(bytes);
    hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
