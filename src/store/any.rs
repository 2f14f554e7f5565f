//! The store that a command line means.

use super::config::{Connection, Settings};
use super::kubernetes::{KubernetesStore, Limits};
use super::manifests::Manifests;
use super::{Store, StoreError, StoreErrorKind, Wanted, Write};
use crate::calico::Snapshot;

/// One of the stores.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in a process, and it is not moved about"
)]
pub enum AnyStore {
    /// Files on disk.
    Manifests(Manifests),
    /// A cluster; with what was odd about the settings that name it.
    Kubernetes(KubernetesStore, Vec<String>),
}

impl AnyStore {
    /// The live datastore that settings name.
    ///
    /// # Errors
    ///
    /// When it is of a kind that cannot be worked on.
    pub fn connect(settings: Settings) -> Result<Self, StoreError> {
        match settings.connection {
            Connection::Kubernetes(config) => Ok(Self::Kubernetes(
                KubernetesStore::new(*config, Limits::default()),
                settings.warnings,
            )),
            Connection::Etcd(_) => Err(StoreError::new(
                StoreErrorKind::Failed,
                "the datastore `etcdv3` cannot be worked on yet",
            )),
        }
    }
}

impl Store for AnyStore {
    async fn read(&mut self, wanted: &Wanted) -> Result<Snapshot, StoreError> {
        match self {
            Self::Manifests(store) => store.read(wanted).await,
            Self::Kubernetes(store, warnings) => {
                let mut snapshot = store.read(wanted).await?;
                // Said once: later reads of the same run have nothing new to say.
                snapshot.warnings.splice(0..0, std::mem::take(warnings));
                Ok(snapshot)
            }
        }
    }

    async fn preflight(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        match self {
            Self::Manifests(store) => store.preflight(writes).await,
            Self::Kubernetes(store, _) => store.preflight(writes).await,
        }
    }

    async fn write(
        &mut self,
        batch: &[Write],
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        match self {
            Self::Manifests(store) => store.write(batch, done).await,
            Self::Kubernetes(store, _) => store.write(batch, done).await,
        }
    }
}
