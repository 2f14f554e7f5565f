//! etcd v3 as a datastore (data model, section 5).
//!
//! Objects are read at one revision and written in transactions that hold only while every object
//! is as it was read. The connection is etcd's gRPC interface, so that the common name of a client
//! certificate can be the user; a proxy (HTTPS_PROXY) is not used.

mod client;
mod endpoint;
mod fault;
pub mod keys;
mod order;
mod prepare;
mod proto;
mod read;
mod srv;
mod text;
mod tls;
mod values;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

pub use self::client::Patience;
use self::client::{Client, User};
use self::endpoint::Address;
use self::read::Cluster;
use self::tls::Material;
use super::config::EtcdConfig;
use super::{Store, StoreError, StoreErrorKind, Wanted, Write};
use crate::calico::{ObjectId, Snapshot, Version};

/// A datastore of Calico's in etcd.
#[derive(Debug)]
pub struct Etcd {
    client: Client,
    /// Where the objects of the last picture are. One that is not in it is looked for under every
    /// name that a release may have given it.
    keys: BTreeMap<ObjectId, String>,
    /// What this store has written itself, by key.
    own: BTreeMap<String, Own>,
    /// The release whose form new objects get; known once something was read.
    version: Option<Version>,
    /// Operations in one transaction at most.
    max_operations: usize,
    /// What was ignored of the configuration.
    note: Option<String>,
}

/// Revisions of a key that were replaced by writes of ours, and the one it has by the last of
/// them: a plan may change an object in several steps, but knows only the revision it has read.
#[derive(Debug, Clone, Default)]
struct Own {
    replaced: BTreeSet<i64>,
    now: i64,
}

/// What etcd takes unless it was told otherwise (`--max-txn-ops`).
const MAX_OPERATIONS: usize = 128;

impl Etcd {
    /// Opens the datastore that the configuration names.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be used, no server answers, etcd refuses the user, or what
    /// is there is not Calico's.
    pub async fn connect(config: &EtcdConfig) -> Result<Self, StoreError> {
        Self::connect_with(config, Patience::default()).await
    }

    /// As [`Etcd::connect`], with deadlines of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Etcd::connect`].
    pub async fn connect_with(config: &EtcdConfig, patience: Patience) -> Result<Self, StoreError> {
        let material = Material::read(config)?;
        let (user, note) = user_of(config);
        let addresses = addresses_of(config, &material).await?;
        let client = Client::new(addresses, material, user, patience);
        let store = Self {
            client,
            keys: BTreeMap::new(),
            own: BTreeMap::new(),
            version: None,
            max_operations: MAX_OPERATIONS,
            note,
        };
        store.cluster().await?;
        Ok(store)
    }

    /// ClusterInformation as it is now.
    async fn cluster(&self) -> Result<Cluster, StoreError> {
        let key = keys::cluster_information();
        let found = self.client.range(&proto::RangeRequest::key(&key)).await;
        let found =
            found.map_err(|fault| fault.into_error(&format!("`{key}`"), self.client.user()))?;
        Cluster::of(found.kvs.first(), &self.client.location())
    }
}

impl Store for Etcd {
    async fn read(&mut self, wanted: &Wanted) -> Result<Snapshot, StoreError> {
        let mut picture = read::read(&self.client, wanted).await?;
        picture.snapshot.warnings.extend(self.note.clone());
        self.keys = picture.keys;
        self.version = picture.snapshot.datastore.version;
        Ok(picture.snapshot)
    }

    async fn preflight(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        write::preflight(self, writes).await
    }

    async fn write(
        &mut self,
        batch: &[Write],
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        write::write(self, batch, stop, done).await
    }
}

/// The user to log in as. As by calicoctl, a name counts only with a password and the other way
/// round; but it is said.
fn user_of(config: &EtcdConfig) -> (Option<User>, Option<String>) {
    let name = config.username.as_deref().filter(|name| !name.is_empty());
    let password = config
        .password
        .as_ref()
        .filter(|text| !text.expose().is_empty());
    match (name, password) {
        (None, None) => (None, None),
        (Some(name), Some(password)) => {
            let user = User {
                name: name.to_owned(),
                password: password.clone(),
            };
            (Some(user), None)
        }
        (Some(name), None) => (
            None,
            Some(format!(
                "etcd user `{name}` is not used, as by calicoctl: it has no password"
            )),
        ),
        (None, Some(_)) => (
            None,
            Some(
                "the password for etcd is not used, as by calicoctl: there is no user name".into(),
            ),
        ),
    }
}

async fn addresses_of(
    config: &EtcdConfig,
    material: &Material,
) -> Result<Vec<Address>, StoreError> {
    let mut addresses = Vec::new();
    for text in &config.endpoints {
        let address = Address::parse(text, material.is_some())?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if let Some(domain) = config
        .discovery_srv
        .as_ref()
        .filter(|_| addresses.is_empty())
    {
        addresses = srv::discover(domain, &srv::name_servers()?).await?;
    }
    if addresses.is_empty() {
        return Err(
            StoreError::new(StoreErrorKind::Usage, "no etcd endpoints are given")
                .hint("set ETCD_ENDPOINTS or ETCD_DISCOVERY_SRV"),
        );
    }
    Ok(addresses)
}
