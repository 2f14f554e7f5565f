//! A cluster in one of the stores, the command on it, and what is stored.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use calicoctl_protect::calico::{Kind, Object, Snapshot, Version, v1};
use calicoctl_protect::store::config::{EtcdConfig, Kubeconfig, KubernetesConfig};
use calicoctl_protect::store::etcd::{Etcd, Patience};
use calicoctl_protect::store::kubernetes::{KubernetesStore, Limits};
use calicoctl_protect::store::manifests::Manifests;
use calicoctl_protect::store::{Store, Wanted};
use serde_json::Value;
use tempfile::TempDir;

use super::cluster;
use super::double::admission::BY_LIBCALICO;
use super::double::{Double, Shape};
use super::etcd_server::EtcdServer;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Manifests,
    Kubernetes(Shape),
    Etcd,
}

/// Every kind of store, with every way of storing that releases have.
pub const STORES: [(What, &str); 11] = [
    (What::Manifests, "v3.32.1"),
    (What::Kubernetes(Shape::NativeV3), "v3.32.1"),
    (What::Kubernetes(Shape::AggregatedV3), "v3.30.7"),
    (What::Kubernetes(Shape::AggregatedV3), "v3.32.1"),
    (What::Kubernetes(Shape::LegacyV1), "v3.27.4"),
    (What::Kubernetes(Shape::LegacyV1), "v3.27.5"),
    (What::Kubernetes(Shape::LegacyV1), "v3.28.5"),
    (What::Kubernetes(Shape::LegacyV1), "v3.30.7"),
    (What::Kubernetes(Shape::LegacyV1), "v3.32.1"),
    (What::Etcd, "v3.27.5"),
    (What::Etcd, "v3.32.1"),
];

enum Server {
    None,
    Double(Double, Shape),
    Etcd(EtcdServer),
}

/// A cluster in a store.
pub struct Place {
    pub what: What,
    pub version: Version,
    dir: TempDir,
    server: Server,
}

/// What a run of the command came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The result as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Checks that something was said beside the result.
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.err.contains(text), "no `{text}` in\n{self}");
        self
    }

    /// Checks that the result holds something.
    pub fn shows(&self, text: &str) -> &Self {
        assert!(self.out.contains(text), "no `{text}` in\n{self}");
        self
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit code {}\n--- stdout\n{}--- stderr\n{}---",
            self.code, self.out, self.err
        )
    }
}

impl Place {
    /// The cluster in a store; `None` where etcd is not installed.
    pub async fn new(what: What, version: &str) -> Option<Self> {
        let version: Version = version.parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut objects = cluster::objects(version);
        let server = match what {
            What::Manifests => {
                objects.extend(cluster::of_kubernetes());
                let folder = dir.path().join("cluster");
                std::fs::create_dir(&folder).unwrap();
                let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
                std::fs::write(folder.join("all.yaml"), texts.join("\n---\n") + "\n").unwrap();
                Server::None
            }
            What::Kubernetes(shape) => {
                let double = Double::builder(shape)
                    .calico(&version.to_string())
                    .bare()
                    .start();
                let stored = objects.into_iter().map(|object| match shape {
                    Shape::LegacyV1 => v1::create(&Object::new(object).unwrap(), version),
                    _ => object,
                });
                double.load(stored.collect::<Vec<_>>());
                double.load(cluster::of_kubernetes());
                double.kubeconfig(dir.path());
                Server::Double(double, shape)
            }
            What::Etcd => {
                objects.extend(cluster::of_etcd());
                let server = EtcdServer::start().await?;
                let pairs = objects.into_iter().map(|object| pair(object, version));
                server.raw().put_all(pairs.collect::<Vec<_>>()).await;
                Server::Etcd(server)
            }
        };
        Some(Self {
            what,
            version,
            dir,
            server,
        })
    }

    /// The cluster of an export, a folder with `raw/*.json`.
    pub fn of_export(folder: &Path, shape: Shape, version: &str) -> Self {
        let double = Double::builder(shape).calico(version).bare().start();
        double.load_export(folder);
        let dir = tempfile::tempdir().unwrap();
        double.kubeconfig(dir.path());
        Self {
            what: What::Kubernetes(shape),
            version: version.parse().unwrap(),
            dir,
            server: Server::Double(double, shape),
        }
    }

    /// The datastore of a dump, one object a line with `key` and `value`; `None` where etcd is not
    /// installed.
    pub async fn of_dump(dump: &str, version: &str) -> Option<Self> {
        let server = EtcdServer::start().await?;
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            let value = match &row["value"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (row["key"].as_str().unwrap().to_owned(), value.into_bytes())
        };
        server
            .raw()
            .put_all(dump.lines().map(row).collect::<Vec<_>>())
            .await;
        Some(Self {
            what: What::Etcd,
            version: version.parse().unwrap(),
            dir: tempfile::tempdir().unwrap(),
            server: Server::Etcd(server),
        })
    }

    /// Puts objects into the double, as the release stores them.
    pub fn load(&self, objects: impl IntoIterator<Item = Value>) {
        let Server::Double(double, shape) = &self.server else {
            panic!("{:?} is no API server", self.what);
        };
        let stored = objects.into_iter().map(|object| {
            let read = Object::new(object.clone()).unwrap();
            match shape {
                Shape::LegacyV1 if read.id().kind.is_calico() => v1::create(&read, self.version),
                _ => object,
            }
        });
        double.load(stored.collect::<Vec<_>>());
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// The double of a Kubernetes API server behind it.
    pub fn double(&self) -> &Double {
        match &self.server {
            Server::Double(double, _) => double,
            _ => panic!("{:?} is no API server", self.what),
        }
    }

    /// The etcd behind it.
    pub fn etcd(&self) -> &EtcdServer {
        match &self.server {
            Server::Etcd(server) => server,
            _ => panic!("{:?} is no etcd", self.what),
        }
    }

    /// A folder for what a test needs beside.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The program without arguments, with nothing of this machine's environment.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calicoctl-protect"));
        command.env_clear().env("HOME", self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    /// The program on this cluster.
    pub fn command(&self, line: &str) -> Command {
        let mut command = self.bare();
        match &self.server {
            Server::None => command.arg("--manifests").arg(self.folder()),
            Server::Double(..) => command.env("KUBECONFIG", self.kubeconfig()),
            Server::Etcd(server) => command
                .env("DATASTORE_TYPE", "etcdv3")
                .env("ETCD_ENDPOINTS", server.url()),
        };
        command.args(words(line));
        command
    }

    /// Runs the command.
    pub fn run(&self, line: &str) -> Run {
        Run::of(&mut self.command(line))
    }

    /// Runs the command, which must end well.
    pub fn does(&self, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, 0, "{:?}: {line}\n{run}", self.what);
        run
    }

    /// Everything that is stored, as it is stored, without what servers keep for themselves.
    pub async fn stored(&self) -> BTreeMap<String, String> {
        match &self.server {
            Server::None => {
                let files = std::fs::read_dir(self.folder()).unwrap().flatten();
                let file = |path: PathBuf| {
                    (
                        path.display().to_string(),
                        std::fs::read_to_string(path).unwrap(),
                    )
                };
                files.map(|entry| file(entry.path())).collect()
            }
            Server::Double(double, shape) => {
                let group = match shape {
                    Shape::LegacyV1 => "crd.projectcalico.org",
                    _ => "projectcalico.org",
                };
                let mut all = BTreeMap::new();
                for kind in served() {
                    let group = if kind.is_calico() {
                        group
                    } else {
                        kind.group()
                    };
                    let resource = match group {
                        "" => kind.plural().to_owned(),
                        group => format!("{}.{group}", kind.plural()),
                    };
                    for mut object in double.list(&resource).into_iter().map(plain) {
                        // A server orders the members of what it writes.
                        object.sort_all_objects();
                        let metadata = &object["metadata"];
                        let key =
                            format!("{resource} {} {}", metadata["namespace"], metadata["name"]);
                        all.insert(key, object.to_string());
                    }
                }
                all
            }
            Server::Etcd(server) => {
                let all = server.raw().all("/calico/").await;
                all.iter().map(|kv| (kv.key.clone(), kv.text())).collect()
            }
        }
    }

    /// Everything in v3 form, in a form that does not depend on who serves it.
    pub async fn objects(&self) -> BTreeMap<String, Value> {
        let wanted = Wanted::everything();
        let snapshot: Snapshot = match &self.server {
            Server::None => Manifests::open(&self.folder()).unwrap().read(&wanted).await,
            Server::Double(..) => {
                let config = KubernetesConfig {
                    kubeconfig: Kubeconfig::Files(vec![self.kubeconfig()]),
                    ..KubernetesConfig::default()
                };
                KubernetesStore::new(config, Limits::default())
                    .read(&wanted)
                    .await
            }
            Server::Etcd(server) => {
                let config = EtcdConfig {
                    endpoints: vec![server.url()],
                    ..EtcdConfig::default()
                };
                let patience = Patience {
                    connect: Duration::from_secs(20),
                    answer: Duration::from_secs(60),
                    return_of_server: Duration::from_secs(60),
                };
                Etcd::connect_with(&config, patience)
                    .await
                    .unwrap()
                    .read(&wanted)
                    .await
            }
        }
        .unwrap();
        snapshot
            .all()
            .filter(|stored| stored.object.id().kind != Kind::ClusterInformation)
            .filter(|stored| {
                // What every server makes by itself.
                let made = [Kind::Profile, Kind::Namespace, Kind::ApiService];
                !made.contains(&stored.object.id().kind)
            })
            .map(|stored| {
                (
                    // Before v3.32 a policy's name begins with its tier.
                    stored.object.id().to_string().replace("/guard.", "/"),
                    neutral(stored.object.value().clone()),
                )
            })
            .collect()
    }
}

/// A key of etcd and its value, as a release stores an object.
fn pair(object: Value, version: Version) -> (String, Vec<u8>) {
    use calicoctl_protect::calico::names::stored_name;
    let read = Object::new(object.clone()).unwrap();
    let kind = read.id().kind;
    let stored = stored_name(kind, read.name(), version);
    let mut object = object;
    if kind.is_tiered_policy() {
        object["metadata"]["name"] = stored.clone().into();
        if version >= Version::new(3, 29, 4) {
            let meta = serde_json::json!({"name": read.name()}).to_string();
            object["metadata"]["annotations"] =
                serde_json::json!({"projectcalico.org/metadata": meta});
        }
    }
    object["metadata"]["uid"] = "6f1c2f0e-7f5b-4a5a-9a55-0f6f0d1f5a11".into();
    object["metadata"]["creationTimestamp"] = "2026-11-01T10:00:00Z".into();
    let key = format!(
        "/calico/resources/v3/projectcalico.org/{}/{stored}",
        kind.plural()
    );
    (key, object.to_string().into_bytes())
}

fn served() -> impl Iterator<Item = Kind> {
    let kinds = Kind::ALL.iter().copied();
    kinds.filter(|kind| {
        !matches!(
            kind,
            Kind::CalicoNode | Kind::WorkloadEndpoint | Kind::Profile
        )
    })
}

/// An object without what servers keep for themselves.
fn plain(mut object: Value) -> Value {
    if let Some(metadata) = map(&mut object, "/metadata") {
        for field in [
            "resourceVersion",
            "uid",
            "generation",
            "managedFields",
            "creationTimestamp",
        ] {
            metadata.shift_remove(field);
        }
    }
    // What the schemas of newer releases fill in at the first write.
    if let Some(spec) = map(&mut object, "/spec") {
        for field in ["nftablesMode", "nftablesFlowTableOffload"] {
            spec.shift_remove(field);
        }
        // What libcalico fills in at every write.
        for (field, value) in BY_LIBCALICO {
            if spec.get(field) == Some(&value.into()) {
                spec.shift_remove(field);
            }
        }
        if spec.get("tier") == Some(&"default".into()) {
            spec.shift_remove("tier");
        }
    }
    if let Some(labels) = map(&mut object, "/metadata/labels") {
        labels.shift_remove("projectcalico.org/tier");
    }
    object
}

fn map<'v>(value: &'v mut Value, pointer: &str) -> Option<&'v mut serde_json::Map<String, Value>> {
    value.pointer_mut(pointer)?.as_object_mut()
}

/// An object in v3 form without what depends on release and server.
pub fn neutral(object: Value) -> Value {
    let mut object = plain(object);
    if let Some(root) = object.as_object_mut() {
        root.shift_remove("status");
        if root
            .get("spec")
            .is_some_and(|spec| spec == &serde_json::json!({}))
        {
            root.shift_remove("spec");
        }
    }
    if let Some(metadata) = map(&mut object, "/metadata") {
        for map in ["labels", "annotations"] {
            if metadata
                .get(map)
                .and_then(Value::as_object)
                .is_some_and(serde_json::Map::is_empty)
            {
                metadata.shift_remove(map);
            }
        }
    }
    // What was pruned is remembered as it was stored.
    let pruned = "/metadata/annotations/calicoctl-protect~1pruned-failsafes";
    if let Some(Value::String(text)) = object.pointer_mut(pruned) {
        let mut memory: Value = serde_json::from_str(text).unwrap();
        memory.sort_all_objects();
        *text = memory.to_string();
    }
    object.sort_all_objects();
    object
}

/// A command line in words; single quotes keep blanks.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}
