//! A small HTTP client that sends what it is told and nothing else.

use reqwest::{Certificate, Identity};
use serde_json::Value;

use crate::double::{ClientCertificate, Double, MASTERS};

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// All values of a header.
    pub fn header(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values.map(|v| v.to_str().unwrap().to_owned()).collect()
    }
}

/// One user of a double.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

fn builder(double: &Double) -> reqwest::ClientBuilder {
    // Fails when another test was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = Certificate::from_pem(double.ca().as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([ca])
        .no_gzip()
        .no_proxy()
}

impl Client {
    fn new(double: &Double, http: reqwest::ClientBuilder) -> Self {
        Self {
            http: http.build().unwrap(),
            url: double.url().into(),
            token: None,
        }
    }

    /// An administrator.
    pub fn admin(double: &Double) -> Self {
        Self::certificate(double, "admin", &[MASTERS])
    }

    /// A user with a client certificate.
    pub fn certificate(double: &Double, user: &str, groups: &[&str]) -> Self {
        Self::of_certificate(double, &double.certificate(user, groups))
    }

    /// Somebody who shows this certificate.
    pub fn of_certificate(double: &Double, client: &ClientCertificate) -> Self {
        let pem = format!("{}\n{}", client.certificate, client.key);
        let identity = Identity::from_pem(pem.as_bytes()).unwrap();
        Self::new(double, builder(double).identity(identity))
    }

    /// Somebody with a bearer token.
    pub fn token(double: &Double, token: &str) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::anonymous(double)
        }
    }

    /// Somebody without credentials.
    pub fn anonymous(double: &Double) -> Self {
        Self::new(double, builder(double))
    }

    /// Sends a request; an error means that the connection was lost.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Reply, reqwest::Error> {
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.body(body).send().await?;
        Ok(Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    /// Sends a request and wants an answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Reply {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    /// A request without a body.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], String::new()).await
    }

    /// A request with a JSON body.
    pub async fn send_json(&self, method: &str, path: &str, body: &str) -> Reply {
        let headers = [("content-type", "application/json")];
        self.send(method, path, &headers, body.to_owned()).await
    }

    /// A merge patch.
    pub async fn merge(&self, path: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/merge-patch+json")];
        self.send("PATCH", path, &headers, body.to_string()).await
    }
}
