//! The store that a command line means.

use std::sync::atomic::AtomicBool;

use super::config::{Connection, Settings};
use super::etcd::Etcd;
use super::kubernetes::{KubernetesStore, Limits};
use super::manifests::Manifests;
use super::{Keepsake, Store, StoreError, Wanted, Write};
use crate::calico::Snapshot;

/// One of the stores.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in a process, and it is not moved about"
)]
pub enum AnyStore {
    /// Files on disk.
    Manifests(Manifests),
    /// A cluster.
    Kubernetes(Live<KubernetesStore>),
    /// etcd.
    Etcd(Live<Etcd>),
}

/// A store that settings name, with what was odd about them.
pub struct Live<S> {
    store: S,
    warnings: Vec<String>,
}

impl AnyStore {
    /// The live datastore that settings name.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or is not Calico's.
    pub async fn connect(settings: Settings) -> Result<Self, StoreError> {
        let warnings = settings.warnings;
        Ok(match settings.connection {
            Connection::Kubernetes(config) => Self::Kubernetes(Live {
                store: KubernetesStore::new(*config, Limits::default()),
                warnings,
            }),
            Connection::Etcd(config) => Self::Etcd(Live {
                store: Etcd::connect(&config).await?,
                warnings,
            }),
        })
    }
}

impl<S: Store> Live<S> {
    async fn read(&mut self, wanted: &Wanted) -> Result<Snapshot, StoreError> {
        let mut snapshot = self.store.read(wanted).await?;
        // Said once: later reads of the same run have nothing new to say.
        let warnings = std::mem::take(&mut self.warnings);
        snapshot.warnings.splice(0..0, warnings);
        Ok(snapshot)
    }
}

impl Store for AnyStore {
    async fn read(&mut self, wanted: &Wanted) -> Result<Snapshot, StoreError> {
        match self {
            Self::Manifests(store) => store.read(wanted).await,
            Self::Kubernetes(live) => live.read(wanted).await,
            Self::Etcd(live) => live.read(wanted).await,
        }
    }

    async fn preflight(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        match self {
            Self::Manifests(store) => store.preflight(writes).await,
            Self::Kubernetes(live) => live.store.preflight(writes).await,
            Self::Etcd(live) => live.store.preflight(writes).await,
        }
    }

    async fn keepsakes(&mut self, batch: &[Write]) -> Result<Vec<Keepsake>, StoreError> {
        match self {
            Self::Manifests(store) => store.keepsakes(batch).await,
            Self::Kubernetes(live) => live.store.keepsakes(batch).await,
            Self::Etcd(live) => live.store.keepsakes(batch).await,
        }
    }

    fn tidy(&mut self) {
        if let Self::Manifests(store) = self {
            store.tidy();
        }
    }

    fn recall(&mut self, keepsakes: &[Keepsake]) {
        match self {
            Self::Manifests(store) => store.recall(keepsakes),
            Self::Kubernetes(live) => live.store.recall(keepsakes),
            Self::Etcd(live) => live.store.recall(keepsakes),
        }
    }

    async fn write(
        &mut self,
        batch: &[Write],
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        match self {
            Self::Manifests(store) => store.write(batch, stop, done).await,
            Self::Kubernetes(live) => live.store.write(batch, stop, done).await,
            Self::Etcd(live) => live.store.write(batch, stop, done).await,
        }
    }
}
