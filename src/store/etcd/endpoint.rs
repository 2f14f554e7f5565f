//! Addresses of etcd servers.

use http::Uri;

use crate::store::{StoreError, StoreErrorKind};

/// One etcd server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// Reads an address as it stands in the configuration: `https://host:port`. Without a scheme
    /// it is TLS when the configuration has certificates, as Go's client does it.
    ///
    /// # Errors
    ///
    /// When it is no such address.
    pub fn parse(text: &str, has_certificates: bool) -> Result<Self, StoreError> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None if has_certificates => ("https".to_owned(), text),
            None => ("http".to_owned(), text),
        };
        // Before anything is repeated to the user: a password may stand before the `@`.
        if rest.contains('@') {
            return Err(
                wrong("an etcd endpoint has a user name or a password in it")
                    .hint("set ETCD_USERNAME and ETCD_PASSWORD (or etcdUsername and etcdPassword)"),
            );
        }
        let tls = match scheme.as_str() {
            "https" => true,
            "http" => false,
            "unix" | "unixs" => {
                return Err(wrong(format!(
                    "etcd endpoint `{text}` is a socket of this machine, which is not supported"
                ))
                .hint("name a URL such as `https://192.0.2.1:2379`"));
            }
            other => {
                return Err(wrong(format!(
                    "etcd endpoint `{text}` has the scheme `{other}`, neither `http` nor `https`"
                ))
                .hint("name a URL such as `https://192.0.2.1:2379`"));
            }
        };
        let uri: Option<Uri> = format!("{scheme}://{rest}").parse().ok();
        let uri = uri.filter(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none());
        let host = uri
            .as_ref()
            .and_then(Uri::host)
            .filter(|host| !host.is_empty());
        let (Some(uri), Some(host)) = (&uri, host) else {
            return Err(
                wrong(format!("etcd endpoint `{text}` is no URL of a server"))
                    .hint("name a URL such as `https://192.0.2.1:2379`"),
            );
        };
        let Some(port) = uri.port_u16() else {
            return Err(wrong(format!("etcd endpoint `{text}` has no port"))
                .hint(format!("etcd listens on 2379: `{scheme}://{host}:2379`")));
        };
        Ok(Self {
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }

    /// Whether the host is an IPv6 address, which stands in brackets.
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

fn wrong(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, certificates, expected) in [
            ("https://192.0.2.1:2379", false, "https://192.0.2.1:2379"),
            ("http://etcd-1:2379/", true, "http://etcd-1:2379"),
            (
                " HTTPS://[2001:db8::1]:2379",
                false,
                "https://[2001:db8::1]:2379",
            ),
            ("etcd-1:2379", false, "http://etcd-1:2379"),
            ("etcd-1:2379", true, "https://etcd-1:2379"),
        ] {
            let address = Address::parse(text, certificates).unwrap();
            assert_eq!(address.to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_password_is_repeated() {
        for bad in [
            "",
            "https://",
            "ftp://x:1",
            "unix:///run/etcd.sock",
            "https://x",
            "https://x:2379/v3",
            "https://x:99999",
            "https://x y:1",
        ] {
            let error = Address::parse(bad, false).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Usage, "{bad}");
            assert!(error.hint.is_some(), "{bad}");
        }
        let error = Address::parse("https://root:hunter2@x:2379", false).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
