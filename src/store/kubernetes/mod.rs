//! A Kubernetes API server as a datastore, in all three shapes in which it serves Calico's objects.
//!
//! Nothing is sent before the first read or write. Every wait has an end ([`Limits`]).

mod access;
mod cluster;
mod exec;
mod kubeconfig;
mod limits;
mod oidc;
mod patch;
mod pods;
mod preflight;
mod prepare;
mod read;
mod resource;
mod transport;
mod trouble;
mod window;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;

use self::cluster::{Cluster, Identity};
use self::prepare::Desk;
use self::read::{Place, Reader, Reading, Unread};
use self::transport::Transport;
use self::trouble::failed;
use self::window::Window;
use self::write::Job;
use super::config::KubernetesConfig;
use super::{Store, StoreError, Wanted, Write};
use crate::calico::{Kind, ObjectId, Snapshot};

pub use kubeconfig::contexts;
pub use limits::Limits;

/// How often reading begins anew because the server has forgotten the moment it was to be of.
const MOST_BEGINNINGS: usize = 3;

/// A cluster.
pub struct KubernetesStore {
    settings: KubernetesConfig,
    limits: Limits,
    window: Window,
    open: Option<Open>,
    identity: Identity,
    places: HashMap<ObjectId, Place>,
    revisions: BTreeMap<Kind, String>,
}

struct Open {
    transport: Transport,
    cluster: Cluster,
}

impl KubernetesStore {
    /// A cluster that is reached as `settings` say.
    #[must_use]
    pub fn new(settings: KubernetesConfig, limits: Limits) -> Self {
        Self {
            window: Window::new(limits.in_flight, settings.qps, settings.burst),
            settings,
            limits,
            open: None,
            identity: Identity::default(),
            places: HashMap::new(),
            revisions: BTreeMap::new(),
        }
    }

    /// The version of the server's store that each list of the last read is of. All are the same,
    /// but for those of an aggregated API server, which may count for itself.
    #[must_use]
    pub fn list_revisions(&self) -> &BTreeMap<Kind, String> {
        &self.revisions
    }

    async fn open(&mut self) -> Result<&Open, StoreError> {
        if self.open.is_none() {
            let transport = Transport::open(&self.settings, self.limits.clone()).await?;
            let cluster = Cluster::detect(&transport, self.settings.api_group).await?;
            tracing::info!(shape = %cluster.shape, server = transport.server(), "connected");
            self.open = Some(Open { transport, cluster });
        }
        opened(&self.open)
    }

    async fn read_from(&mut self, wanted: &Wanted) -> Result<Reading, StoreError> {
        let page = self.limits.page;
        let open = self.open().await?;
        for beginning in 1..=MOST_BEGINNINGS {
            let reader = Reader {
                transport: &open.transport,
                cluster: &open.cluster,
                page: (beginning < MOST_BEGINNINGS).then_some(page),
            };
            match reader.read(wanted).await {
                Ok(reading) => return Ok(reading),
                Err(Unread::Failed(error)) => return Err(error),
                Err(Unread::Expired) => tracing::info!(beginning, "reading begins anew"),
            }
        }
        Err(failed(format!(
            "`{}` forgets its state faster than it can be read",
            open.transport.server()
        ))
        .hint("its etcd compacts too often, or the network is slow: try again"))
    }

    /// Whether the cluster may be written to now, by its own word.
    async fn check_writable(&mut self) -> Result<(), StoreError> {
        let reading = self.read_from(&Wanted::default()).await?;
        self.identity = reading.identity;
        self.identity.check_writable(&opened(&self.open)?.cluster)
    }

    /// Runs writes of which no two are of one object.
    async fn run(
        &mut self,
        batch: &[Write],
        indices: &[usize],
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        let desk = desk(&self.open, &self.identity, &self.places, false)?;
        let jobs = indices
            .iter()
            .filter_map(|i| Some(Job::new(*i, batch.get(*i)?)));
        let result = write::run(desk, &mut self.window, jobs.collect(), stop, done).await;
        for (id, place) in result.written {
            match place {
                Some(place) => self.places.insert(id, place),
                None => self.places.remove(&id),
            };
        }
        result.error.map_or(Ok(()), Err)
    }
}

fn opened(open: &Option<Open>) -> Result<&Open, StoreError> {
    open.as_ref()
        .ok_or_else(|| failed("the cluster has not been connected to"))
}

fn desk<'d>(
    open: &'d Option<Open>,
    identity: &Identity,
    places: &'d HashMap<ObjectId, Place>,
    dry_run: bool,
) -> Result<Desk<'d>, StoreError> {
    let open = opened(open)?;
    Ok(Desk {
        transport: &open.transport,
        cluster: &open.cluster,
        version: identity.version(),
        places,
        dry_run,
    })
}

impl Store for KubernetesStore {
    async fn read(&mut self, wanted: &Wanted) -> Result<Snapshot, StoreError> {
        let reading = self.read_from(wanted).await?;
        let open = self.open().await?;
        let mut warnings = open.cluster.warnings.clone();
        if let Some(frozen) = &open.cluster.frozen {
            warnings.push(format!("nothing may be written now: {frozen}"));
        } else if reading.identity.is_locked() {
            warnings.push(
                "the datastore is locked (`datastoreReady` is false): writes will be refused"
                    .into(),
            );
        }
        warnings.extend(reading.warnings);
        let mut places = reading.places;
        // A plan that is half written knows the version from before this run's own writes.
        for (id, place) in &mut places {
            let before = self.places.get(id);
            if let Some(before) = before.filter(|before| before.latest == place.latest) {
                place.read.clone_from(&before.read);
            }
        }
        let read: BTreeSet<Kind> = reading.revisions.keys().copied().collect();
        self.places.retain(|id, _| !read.contains(&id.kind));
        self.places.extend(places);
        self.identity = reading.identity;
        self.revisions = reading.revisions;
        let mut snapshot = reading.snapshot;
        snapshot.warnings = warnings;
        Ok(snapshot)
    }

    async fn preflight(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.check_writable().await?;
        let desk = desk(&self.open, &self.identity, &self.places, true)?;
        preflight::rights(desk, writes).await?;
        preflight::tiers(desk, writes).await?;
        preflight::dry_run(desk, &mut self.window, writes).await
    }

    async fn write(
        &mut self,
        batch: &[Write],
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        if self.identity.found {
            self.identity.check_writable(&opened(&self.open)?.cluster)?;
        } else {
            self.check_writable().await?;
        }
        // Two writes of one object have an order, whatever the batch says.
        let mut rounds: Vec<(BTreeSet<&ObjectId>, Vec<usize>)> = Vec::new();
        for (index, write) in batch.iter().enumerate() {
            let id = write.id();
            let last = rounds.iter().rposition(|(ids, _)| ids.contains(id));
            let round = last.map_or(0, |last| last + 1);
            if round == rounds.len() {
                rounds.push((BTreeSet::new(), Vec::new()));
            }
            if let Some((ids, indices)) = rounds.get_mut(round) {
                ids.insert(id);
                indices.push(index);
            }
        }
        for (_, indices) in rounds {
            self.run(batch, &indices, stop, done).await?;
        }
        Ok(())
    }
}
