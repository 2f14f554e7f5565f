//! Which API Calico's objects are served by, and what the cluster says of itself (data model, 4.2
//! to 4.4 and 5.4).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::resource::Resource;
use super::transport::Transport;
use super::trouble::{self, failed};
use crate::calico::{Datastore, DatastoreKind, Kind, Version};
use crate::store::config::ApiGroup;
use crate::store::{StoreError, StoreErrorKind};

const V3_GROUP: &str = "projectcalico.org";
const V1_GROUP: &str = "crd.projectcalico.org";
const MIGRATION_GROUP: &str = "migration.projectcalico.org";
const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v3.projectcalico.org";

/// A cluster whose shape is known.
#[derive(Debug)]
pub(super) struct Cluster {
    /// How Calico's objects are served.
    pub shape: DatastoreKind,
    /// The plurals that Calico's group serves.
    pub served: BTreeSet<String>,
    /// Why nothing may be written, for instance while Calico moves its data.
    pub frozen: Option<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What ClusterInformation says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// Whether there is one.
    pub found: bool,
    pub guid: Option<String>,
    pub version: Option<Version>,
    /// `datastoreReady`; absent means ready.
    pub ready: bool,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Group {
    name: String,
    versions: Vec<GroupVersion>,
    preferred_version: GroupVersion,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupVersion {
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    resources: Vec<Name>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Name {
    name: String,
}

/// What the APIService of `projectcalico.org/v3` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backing {
    /// A server of its own.
    Service,
    /// Resource definitions.
    Local,
    /// This user may not know.
    Hidden,
}

impl Cluster {
    /// Finds the shape out; `wanted` is what the user's settings ask for.
    pub async fn detect(
        transport: &Transport,
        wanted: Option<ApiGroup>,
    ) -> Result<Self, StoreError> {
        let groups: Groups = json(transport, "/apis").await?;
        let groups: BTreeMap<String, Group> = groups
            .groups
            .into_iter()
            .map(|group| (group.name.clone(), group))
            .collect();
        let serves = |name: &str, version: &str| {
            groups
                .get(name)
                .is_some_and(|g| g.versions.iter().any(|v| v.version == version))
        };
        let (v3, v1) = (serves(V3_GROUP, "v3"), serves(V1_GROUP, "v1"));
        let mut cluster = Self {
            shape: DatastoreKind::CrdV1,
            served: BTreeSet::new(),
            frozen: None,
            warnings: Vec::new(),
        };
        match (wanted, v3, v1) {
            (_, false, false) => return Err(not_calico(transport.server())),
            (Some(ApiGroup::V3), false, _) => {
                return Err(not_served(transport.server(), "projectcalico.org/v3"));
            }
            (Some(ApiGroup::CrdV1), _, false) => {
                return Err(not_served(transport.server(), "crd.projectcalico.org/v1"));
            }
            (None, false, true) => {}
            (None | Some(ApiGroup::V3), true, _) | (Some(ApiGroup::CrdV1), _, true) => {
                let backing = if v3 {
                    backing(transport).await?
                } else {
                    Backing::Local
                };
                let migration = groups.get(MIGRATION_GROUP);
                cluster
                    .choose(transport, wanted, backing, v1, migration)
                    .await?;
            }
        }
        let path = match cluster.shape {
            DatastoreKind::CrdV1 => format!("/apis/{V1_GROUP}/v1"),
            _ => format!("/apis/{V3_GROUP}/v3"),
        };
        let resources: Resources = json(transport, &path).await?;
        cluster.served = resources.resources.into_iter().map(|r| r.name).collect();
        if !cluster.served.contains(Kind::GlobalNetworkPolicy.plural()) {
            return Err(not_calico(transport.server()));
        }
        Ok(cluster)
    }

    /// Chooses between the groups that are there.
    async fn choose(
        &mut self,
        transport: &Transport,
        wanted: Option<ApiGroup>,
        backing: Backing,
        v1: bool,
        migration: Option<&Group>,
    ) -> Result<(), StoreError> {
        // Who may not read the APIService still sees whether Calico's migration is installed, which
        // is there for native definitions only.
        let local = match backing {
            Backing::Local => true,
            Backing::Service => false,
            Backing::Hidden => !v1 || migration.is_some(),
        };
        self.shape = match (local, v1) {
            (false, _) => DatastoreKind::AggregatedV3,
            (true, false) => DatastoreKind::NativeV3,
            (true, true) => self.migrated(transport, migration).await?,
        };
        match wanted {
            Some(ApiGroup::CrdV1) => self.shape = DatastoreKind::CrdV1,
            Some(ApiGroup::V3) if self.shape == DatastoreKind::CrdV1 => {
                self.shape = DatastoreKind::NativeV3;
            }
            _ => {}
        }
        Ok(())
    }

    /// Both sets of resource definitions are there: only one of them is alive.
    async fn migrated(
        &mut self,
        transport: &Transport,
        migration: Option<&Group>,
    ) -> Result<DatastoreKind, StoreError> {
        let mut phase = None;
        if let Some(group) = migration {
            let path = format!(
                "/apis/{MIGRATION_GROUP}/{}/datastoremigrations/v1-to-v3",
                group.preferred_version.version
            );
            let found = object(transport, &path).await?;
            let text = |v: Value| Some(v.pointer("/status/phase")?.as_str()?.to_owned());
            phase = found.map(|value| text(value).unwrap_or_default());
        }
        match phase.as_deref() {
            Some("Converged" | "Complete") => Ok(DatastoreKind::NativeV3),
            Some(now @ ("Migrating" | "WaitingForConflictResolution")) => {
                self.frozen = Some(format!(
                    "Calico's data is being moved to `projectcalico.org/v3` (DatastoreMigration `v1-to-v3` is `{now}`)"
                ));
                Ok(DatastoreKind::CrdV1)
            }
            Some(now) => {
                self.warnings.push(format!(
                    "DatastoreMigration `v1-to-v3` is there (phase `{now}`): Calico's data is about to move to `projectcalico.org/v3`"
                ));
                Ok(DatastoreKind::CrdV1)
            }
            None => {
                let ready = async |group: &'static str, version: &'static str| {
                    let resource = Resource::other(group, version, "clusterinformations");
                    let found = object(transport, &resource.object(None, "default")).await?;
                    Ok::<_, StoreError>(
                        found.and_then(|v| v.pointer("/spec/datastoreReady")?.as_bool()),
                    )
                };
                let (old, new) = (ready(V1_GROUP, "v1").await?, ready(V3_GROUP, "v3").await?);
                Ok(if old == Some(false) && new == Some(true) {
                    DatastoreKind::NativeV3
                } else {
                    DatastoreKind::CrdV1
                })
            }
        }
    }

    /// Whether the API server serves a kind.
    pub fn serves(&self, kind: Kind) -> bool {
        !kind.is_calico() || self.served.contains(kind.plural())
    }

    /// The resource of a kind.
    pub fn resource(&self, kind: Kind) -> Option<Resource> {
        Resource::of(kind, self.shape)
    }
}

impl Identity {
    /// Reads ClusterInformation.
    pub fn of(value: Option<&Value>) -> Self {
        let Some(spec) = value.map(|v| v.get("spec").unwrap_or(&Value::Null)) else {
            return Self {
                warnings: vec![
                    "there is no ClusterInformation: Calico has not started here yet".into(),
                ],
                ..Self::default()
            };
        };
        let text = |field: &str| {
            spec.get(field)
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
        };
        let mut identity = Self {
            found: true,
            guid: text("clusterGUID").map(str::to_owned),
            version: text("calicoVersion").and_then(|v| v.parse().ok()),
            ready: spec.get("datastoreReady") != Some(&Value::Bool(false)),
            warnings: Vec::new(),
        };
        let newest = Version::NEWEST;
        match (identity.version, text("calicoVersion")) {
            (Some(version), _) if version.is_unknown() => identity.warnings.push(format!(
                "Calico {version} is newer than this tool knows; it is treated like {newest}"
            )),
            (Some(_), _) => {}
            (None, Some(odd)) => identity.warnings.push(format!(
                "ClusterInformation gives Calico's version as `{odd}`, which cannot be read; it is treated like {newest}"
            )),
            (None, None) => identity.warnings.push(format!(
                "ClusterInformation does not give Calico's version; it is treated like {newest}"
            )),
        }
        if let Some(variant) = text("variant").filter(|v| v.contains("Enterprise")) {
            identity.warnings.push(format!(
                "this is `{variant}`, whose versions are not those of open-source Calico"
            ));
        }
        identity
    }

    /// The version to go by.
    pub fn version(&self) -> Version {
        self.version.unwrap_or(Version::NEWEST)
    }

    /// The datastore for people and saved plans.
    pub fn datastore(&self, shape: DatastoreKind, server: &str) -> Datastore {
        Datastore {
            kind: shape,
            location: server.to_owned(),
            cluster_guid: self.guid.clone(),
            version: self.version,
        }
    }

    /// Whether Calico itself says that nothing may be written now.
    pub fn is_locked(&self) -> bool {
        self.found && !self.ready
    }

    /// Whether this cluster may be written to.
    pub fn check_writable(&self, cluster: &Cluster) -> Result<(), StoreError> {
        if let Some(why) = &cluster.frozen {
            return Err(failed(format!("nothing may be written now: {why}"))
                .hint("wait until the migration has converged"));
        }
        if !self.found {
            return Err(failed(
                "there is no ClusterInformation: Calico has not started here yet, or this is another cluster",
            )
            .hint("is this the right context? start Calico first"));
        }
        if !self.ready {
            return Err(failed(
                "the datastore is locked: ClusterInformation says `datastoreReady: false`",
            )
            .hint("an upgrade or migration is going on; `calicoctl datastore migrate unlock` ends a forgotten one"));
        }
        if self.version.is_none() && cluster.shape == DatastoreKind::CrdV1 {
            return Err(failed(
                "Calico's version is not known, and the form of stored objects depends on it",
            )
            .hint("ClusterInformation `default` should have `spec.calicoVersion`; is calico-node running?"));
        }
        Ok(())
    }
}

async fn backing(transport: &Transport) -> Result<Backing, StoreError> {
    let answer = transport.get(API_SERVICE).await?;
    if answer.status == 403 {
        return Ok(Backing::Hidden);
    }
    if !answer.is_success() {
        // Without an aggregation layer there is no such object, and nothing but definitions.
        return Ok(Backing::Local);
    }
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let service = value.pointer("/spec/service");
    Ok(match service {
        Some(service) if !service.is_null() => Backing::Service,
        _ => Backing::Local,
    })
}

/// An object, or nothing when it is not there or not to be seen.
async fn object(transport: &Transport, path: &str) -> Result<Option<Value>, StoreError> {
    let answer = transport.get(path).await?;
    Ok(if answer.is_success() {
        serde_json::from_slice(&answer.body).ok()
    } else {
        None
    })
}

/// A document of discovery.
async fn json<T: for<'a> Deserialize<'a>>(
    transport: &Transport,
    path: &str,
) -> Result<T, StoreError> {
    let answer = transport.get(path).await?;
    let server = transport.server();
    match answer.status {
        _ if trouble::is_web_page(&answer) => Err(failed(format!(
            "`{server}` answered {} to `{path}` with {}",
            answer.status,
            trouble::Status::of(&answer).message
        ))
        .hint(trouble::WEB_PAGE)),
        200 => serde_json::from_slice(&answer.body).map_err(|_| {
            failed(format!("`{server}` is no Kubernetes API server: `{path}` is not what it should be"))
                .hint("check `server` of the kubeconfig")
        }),
        401 => Err(trouble::of_answer(
            server,
            &answer,
            "get",
            &Resource::other("", "", "apis"),
        )),
        403 => Err(failed(format!("you are not allowed to get `{path}`")).hint(
            "the ClusterRole `system:discovery` allows it; without credentials nothing is allowed: is there a user in the kubeconfig?",
        )),
        503 if path.contains(V3_GROUP) => Err(failed(format!(
            "`{server}` does not serve `projectcalico.org/v3` now"
        ))
        .hint("is calico-apiserver running? `CALICO_API_GROUP=crd.projectcalico.org/v1` goes round it")),
        status => Err(failed(format!(
            "`{server}` answered {status} to `{path}`: {}",
            trouble::Status::of(&answer).message
        ))
        .hint("is this a Kubernetes API server?")),
    }
}

fn not_calico(server: &str) -> StoreError {
    failed(format!(
        "`{server}` has no Calico resources: neither `projectcalico.org/v3` nor `crd.projectcalico.org/v1` is served"
    ))
    .hint("is this the right context (`--context`)? if Calico keeps its data in etcd, set `DATASTORE_TYPE=etcdv3` and `ETCD_ENDPOINTS`")
}

fn not_served(server: &str, group: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Usage,
        format!("`{server}` does not serve `{group}`, which the settings ask for"),
    )
    .hint("leave `CALICO_API_GROUP` (`calicoAPIGroup`) out to have the group found out")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mk_cluster(frozen: Option<&str>) -> Cluster {
        Cluster {
            shape: DatastoreKind::CrdV1,
            served: BTreeSet::new(),
            frozen: frozen.map(str::to_owned),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_cluster_is_written_to_only_when_it_says_so() {
        let of = |spec: Value| Identity::of(Some(&json!({"spec": spec})));
        let good = of(json!({"calicoVersion": "v3.28.5", "datastoreReady": true}));
        good.check_writable(&mk_cluster(None)).unwrap();
        assert!(good.check_writable(&mk_cluster(Some("moving"))).is_err());
        for spec in [
            json!({"calicoVersion": "v3.28.5", "datastoreReady": false}),
            json!({"datastoreReady": true}),
        ] {
            assert!(of(spec).check_writable(&mk_cluster(None)).is_err());
        }
        assert!(
            Identity::of(None)
                .check_writable(&mk_cluster(None))
                .is_err()
        );
    }

    #[test]
    fn versions_that_are_not_known_are_told() {
        let warnings = |version: &str| {
            Identity::of(Some(&json!({"spec": {"calicoVersion": version}}))).warnings
        };
        assert!(warnings("v3.32.1").is_empty());
        assert_eq!(
            warnings("v3.99.0"),
            ["Calico v3.99.0 is newer than this tool knows; it is treated like v3.33.0"]
        );
        assert_eq!(warnings("master").len(), 1);
    }
}
