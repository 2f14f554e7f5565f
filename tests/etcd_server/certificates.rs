//! Certificates for tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// A CA.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub struct Certified {
    pub certificate: String,
    pub key: String,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server on loopback. Its gateway to itself needs it as a client, too.
    pub fn server(&self) -> Certified {
        self.issue(
            "etcd-1",
            &["127.0.0.1", "::1", "localhost"],
            KeyPair::generate().unwrap(),
            2099,
        )
    }

    pub fn expired_server(&self) -> Certified {
        self.issue("etcd-1", &["127.0.0.1"], KeyPair::generate().unwrap(), 2020)
    }

    pub fn server_named(&self, name: &str) -> Certified {
        self.issue(name, &[name], KeyPair::generate().unwrap(), 2099)
    }

    /// A certificate for a client; etcd takes its common name for the user.
    pub fn client(&self, user: &str) -> Certified {
        self.issue(user, &[], KeyPair::generate().unwrap(), 2099)
    }

    /// The same with an RSA key, whose PEM is PKCS#8.
    pub fn rsa_client(&self, user: &str) -> Certified {
        let pem = include_str!("../data/etcd/rsa-test-key.pem");
        self.issue(user, &[], KeyPair::from_pem(pem).unwrap(), 2099)
    }

    fn issue(&self, name: &str, hosts: &[&str], key: KeyPair, last_year: i32) -> Certified {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = named(name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Certified {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// The older form of a PKCS#8 key: PKCS#1 or SEC1 are what it has inside.
pub fn unwrapped(pkcs8_pem: &str, label: &str) -> String {
    use rustls::pki_types::pem::PemObject;
    let key = PrivatePkcs8KeyDer::from_pem_slice(pkcs8_pem.as_bytes()).unwrap();
    let der = key.secret_pkcs8_der();
    // SEQUENCE { INTEGER, SEQUENCE algorithm, OCTET STRING inner, ... }
    let (_, sequence, _) = element(der);
    let (_, _, rest) = element(sequence);
    let (_, _, rest) = element(rest);
    let (tag, inner, _) = element(rest);
    assert_eq!(tag, 4);
    let body = base64(inner);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|c| std::str::from_utf8(c).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// Tag, content and what follows of a DER element.
fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (length, start) = match der[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        long => {
            let count = usize::from(long & 0x7f);
            let bytes = &der[2..2 + count];
            (
                bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)),
                2 + count,
            )
        }
    };
    (der[0], &der[start..start + length], &der[start + length..])
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number =
            part.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - part.len()));
        for i in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= part.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}
