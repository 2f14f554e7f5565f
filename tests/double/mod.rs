//! A double of a Kubernetes API server that serves Calico's API groups.
//!
//! Real HTTP/1.1 and HTTP/2, with TLS or without, on a free port of the loopback interface; objects in
//! memory. Its answers follow exchanges recorded from a real server (`tests/api_double.rs` replays
//! them). Not served: watches, protobuf, compression, OpenAPI schemas; objects of Kubernetes' own types
//! are stored without validation.
//!
//! A test crate that uses a part of it writes `#[expect(dead_code, reason = "…")]` above `mod double;`.
//!
//! ```ignore
//! mod double;
//! use double::{Credentials, Double, Fault, Shape, When};
//!
//! let double = Double::builder(Shape::NativeV3).calico("v3.32.1").start();
//! double.load([json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint", …})]);
//! let kubeconfig = double.kubeconfig(dir.path());
//! double.fault(When::method("PATCH").and_path("/hostendpoints/").nth(2), Fault::CutAfter);
//! // … run the product with KUBECONFIG=kubeconfig …
//! assert_eq!(double.requests().iter().filter(|r| r.is_write()).count(), 2);
//! ```
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test double that is used wrongly should fail the test at once"
)]

pub mod admission;
mod api;
mod apply;
mod delete;
mod discovery;
mod duplicates;
mod faults;
mod fields;
mod journal;
mod kinds;
mod kubeconfig;
mod list;
mod load;
mod names;
mod objects;
mod patch;
mod rbac;
mod render;
mod request;
mod rules;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod tiered;
mod tls;
mod token;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

pub use self::faults::{Fault, When};
pub use self::journal::{Counters, Logged};
pub use self::kinds::Shape;
pub use self::kubeconfig::Credentials;
pub use self::rbac::{Grant, Identity, MASTERS};
pub use self::tls::ClientCertificate;

use self::api::Api;
use self::rbac::Rbac;
use self::server::{Shared, lock};
use self::store::{Key, Store};
use self::tls::Authority;

/// The bearer token of an administrator that every double knows.
pub const ADMIN_TOKEN: &str = "admin-token";

/// How a double is to be.
#[derive(Debug, Clone)]
pub struct Builder {
    shape: Shape,
    calico: String,
    kubernetes: String,
    tls: bool,
    http2: bool,
    bare: bool,
}

impl Builder {
    /// Calico's version (`v3.32.1` unless set): decides which kinds, defaults and rules there are,
    /// and what ClusterInformation says.
    #[must_use]
    pub fn calico(mut self, version: &str) -> Self {
        self.calico = version.into();
        self
    }

    /// Kubernetes' version as `/version` tells it (`v1.36.2` unless set).
    #[must_use]
    pub fn kubernetes(mut self, version: &str) -> Self {
        self.kubernetes = version.into();
        self
    }

    /// Plain HTTP. Requests without a token are then those of an administrator.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.tls = false;
        self
    }

    /// Offers only HTTP/1.1 in TLS.
    #[must_use]
    pub fn http1(mut self) -> Self {
        self.http2 = false;
        self
    }

    /// Without ClusterInformation: a cluster where Calico has not started yet.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Starts to serve.
    pub fn start(self) -> Double {
        let minor = self.calico.split('.').nth(1);
        let minor = minor.and_then(|m| m.parse().ok()).unwrap_or(32);
        let mut api = Api {
            shape: self.shape,
            minor,
            kubernetes: self.kubernetes,
            kinds: kinds::catalogue(self.shape, minor),
            store: Store::default(),
            rbac: Rbac::default(),
            initializing: Vec::new(),
        };
        api.load_basics();
        if !self.bare {
            api.load(load::cluster_information(self.shape, &self.calico));
        }
        let authority = Authority::new();
        let acceptor = self
            .tls
            .then(|| TlsAcceptor::from(authority.server_config(self.http2)));
        let admin = Identity::new("admin", &[MASTERS]);
        let shared = Arc::new(Shared {
            api: Mutex::new(api),
            script: Mutex::default(),
            journal: Mutex::default(),
            tokens: Mutex::new([(ADMIN_TOKEN.to_owned(), admin)].into()),
            latency: Mutex::default(),
            authority,
            plain: !self.tls,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).expect("a socket")
        };
        runtime.spawn(server::accept(listener, shared.clone(), acceptor));
        let scheme = if self.tls { "https" } else { "http" };
        Double {
            shared,
            url: format!("{scheme}://{address}"),
            runtime: Some(runtime),
        }
    }
}

/// A running API server double. It ends when dropped.
pub struct Double {
    shared: Arc<Shared>,
    url: String,
    runtime: Option<Runtime>,
}

impl Drop for Double {
    fn drop(&mut self) {
        // A plain drop would block, which async tests must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Double {
    /// Prepares a double of a shape: TLS with HTTP/2, Calico v3.32.1.
    pub fn builder(shape: Shape) -> Builder {
        Builder {
            shape,
            calico: "v3.32.1".into(),
            kubernetes: "v1.36.2".into(),
            tls: true,
            http2: true,
            bare: false,
        }
    }

    /// Where it listens, `https://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The CA's certificate, PEM.
    pub fn ca(&self) -> String {
        self.shared.authority.pem()
    }

    /// Stores objects (or the items of lists) as they are, without validation or admission. A
    /// `resourceVersion` is kept.
    pub fn load(&self, objects: impl IntoIterator<Item = Value>) {
        let mut api = lock(&self.shared.api);
        objects.into_iter().for_each(|object| api.load(object));
    }

    /// Stores the objects of a cluster export (a folder with `raw/*.json` lists).
    pub fn load_export(&self, folder: impl AsRef<Path>) {
        lock(&self.shared.api).load_export(folder.as_ref());
    }

    /// The present object of a resource, or nothing. `resource` is `plural.group` (`nodes`,
    /// `hostendpoints.projectcalico.org`), `name` is `name` or `namespace/name`.
    pub fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        let key = Key::new(format!("{group}/{plural}"), namespace, name);
        lock(&self.shared.api)
            .store
            .get(&key)
            .map(|object| (*object).clone())
    }

    /// All present objects of a resource (`plural.group`), in list order.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let api = lock(&self.shared.api);
        let id = format!("{group}/{plural}");
        api.store
            .at(&id, None, api.store.counter())
            .into_iter()
            .map(|(_, object)| (*object).clone())
            .collect()
    }

    /// Deletes an object behind everybody's back.
    pub fn remove(&self, resource: &str, name: &str) {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        let key = Key::new(format!("{group}/{plural}"), namespace, name);
        lock(&self.shared.api).store.remove(&key);
    }

    /// The number of the last write.
    pub fn resource_version(&self) -> u64 {
        lock(&self.shared.api).store.counter()
    }

    /// Lets the counter of writes jump ahead, as writes elsewhere would.
    pub fn advance(&self, to: u64) {
        lock(&self.shared.api).store.advance(to);
    }

    /// Compacts the store: continue tokens of before are a 410.
    pub fn compact(&self) {
        lock(&self.shared.api).store.compact();
    }

    /// The next list of this resource (plural) meets a cache that is still being filled: 429 once.
    pub fn initializing(&self, plural: &str) {
        lock(&self.shared.api).initializing.push(plural.into());
    }

    /// A kubeconfig of an administrator with a client certificate (with nothing for plain HTTP).
    pub fn kubeconfig(&self, dir: impl AsRef<Path>) -> PathBuf {
        let credentials = if self.shared.plain {
            Credentials::None
        } else {
            Credentials::Certificate(self.certificate("admin", &[MASTERS]))
        };
        self.kubeconfig_with(dir, &credentials)
    }

    /// A kubeconfig with given credentials, in `dir/kubeconfig`.
    pub fn kubeconfig_with(&self, dir: impl AsRef<Path>, credentials: &Credentials) -> PathBuf {
        let ca = (!self.shared.plain).then(|| self.ca());
        kubeconfig::write(dir.as_ref(), &self.url, ca.as_deref(), credentials)
    }

    /// A client certificate for a user.
    pub fn certificate(&self, user: &str, groups: &[&str]) -> ClientCertificate {
        self.shared.authority.client(user, groups)
    }

    /// A client certificate that has expired.
    pub fn expired_certificate(&self, user: &str, groups: &[&str]) -> ClientCertificate {
        self.shared.authority.client_until(user, groups, 2021)
    }

    /// Makes a bearer token known.
    pub fn token(&self, token: &str, user: &str, groups: &[&str]) {
        lock(&self.shared.tokens).insert(token.into(), Identity::new(user, groups));
    }

    /// The token is 401 from now on.
    pub fn expire_token(&self, token: &str) {
        lock(&self.shared.tokens).remove(token);
    }

    /// Gives a permission.
    pub fn grant(&self, grant: Grant) {
        lock(&self.shared.api).rbac.grant(grant);
    }

    /// Denies a verb on a resource (`hostendpoints`, `tiers/status`; `*` for all) to everybody.
    pub fn deny(&self, verb: &str, resource: &str) {
        lock(&self.shared.api).rbac.deny(verb, resource);
    }

    /// Takes all denials back.
    pub fn pardon(&self) {
        lock(&self.shared.api).rbac.pardon();
    }

    /// Adds a fault.
    pub fn fault(&self, when: When, fault: Fault) {
        lock(&self.shared.script).add(when, fault);
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        lock(&self.shared.script).clear();
    }

    /// Every answer comes so much later; makes concurrency visible.
    pub fn latency(&self, latency: Duration) {
        *lock(&self.shared.latency) = latency;
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Logged> {
        lock(&self.shared.journal).log()
    }

    /// How many requests a fault has left without an answer for good.
    pub fn stalled(&self) -> usize {
        lock(&self.shared.journal).stalled
    }

    /// Every present object as it is stored, in the order of keys.
    pub fn everything(&self) -> Vec<Value> {
        let api = lock(&self.shared.api);
        api.store
            .present()
            .map(|object| (*object).clone())
            .collect()
    }

    /// Requests in flight, connections, bytes.
    pub fn counters(&self) -> Counters {
        lock(&self.shared.journal).counters()
    }

    /// Empties log and counters.
    pub fn reset_journal(&self) {
        lock(&self.shared.journal).reset();
    }
}
