//! What the values of arguments can be: from the cluster or folder that the line names, within a
//! short time, or not at all.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::mpsc;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};
use clap_complete::engine::CompletionCandidate;

use super::line::Line;
use crate::calico::endpoint::ALL_INTERFACES;
use crate::calico::{Kind, Object, Snapshot};
use crate::cli::args::Global;
use crate::plugin::called::PROGRAM;
use crate::recipe::catalogue::SERVERS;
use crate::recipe::hosts::Hosts;
use crate::recipe::policies::servers_here;
use crate::selector::Selector;
use crate::store::config::{self, Connection, Options};
use crate::store::{Pods, Store, Wanted, kubernetes};

/// How long a cluster has for its answer. Who pressed the key is waiting.
const DEADLINE: Duration = Duration::from_millis(1500);

/// Commands about servers that have something to do with the cluster already.
const ABOUT_PRESENT: [&str; 5] = ["remove", "revoke", "restore", "status", "check"];

/// Kinds of values that something is known about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Files and folders.
    Path,
    /// Hosts.
    Node,
    /// Servers.
    Server,
    /// Contexts of the kubeconfig.
    Context,
    /// Namespaces, with a selector behind them.
    Workload,
    /// Nodes and pods.
    Party,
    /// GlobalNetworkSets.
    NetworkSet,
    /// Tiers.
    Tier,
    /// Interfaces.
    Interface,
}

impl Known {
    /// What a value of this name in help texts is.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "DIR" | "FILE" | "PLAN.json" => Self::Path,
            "NODE" => Self::Node,
            "NAME" | "SERVER" | "SERVER|PROTO/PORT" => Self::Server,
            "CONTEXT" => Self::Context,
            "NS/SELECTOR" => Self::Workload,
            "PARTY" => Self::Party,
            "SET" => Self::NetworkSet,
            "TIER" => Self::Tier,
            "IF" => Self::Interface,
            _ => return None,
        })
    }
}

/// Where values come from.
#[derive(Debug)]
pub struct Values {
    /// Which cluster or folder; `None` when the line does not say it well.
    global: Option<Global>,
    /// Whether only servers are meant that are there.
    present: bool,
}

impl Values {
    /// For a line.
    pub fn new(line: &Line) -> Self {
        let program = std::iter::once(PROGRAM.into());
        let matches = Global::augment_args(Command::new(PROGRAM))
            .try_get_matches_from(program.chain(line.global.iter().cloned()));
        let first = line.commands.first();
        Self {
            global: matches.and_then(|m| Global::from_arg_matches(&m)).ok(),
            present: first.is_some_and(|name| ABOUT_PRESENT.contains(&name.as_str())),
        }
    }

    /// What a value that begins like this can be.
    pub fn candidates(&self, known: Known, typed: &OsStr) -> Vec<CompletionCandidate> {
        let typed = typed.to_string_lossy();
        let found = match known {
            Known::Path => Vec::new(),
            Known::Node => named(self.nodes()),
            Known::Server => self.servers(),
            Known::Context => named(self.contexts()),
            Known::Workload => named(self.namespaces().iter().map(|name| format!("{name}/"))),
            Known::Party => named(self.parties(&typed)),
            Known::NetworkSet => named(self.names(Kind::GlobalNetworkSet)),
            Known::Tier => named(self.names(Kind::Tier)),
            Known::Interface => named(self.interfaces()),
        };
        let begins = |c: &CompletionCandidate| {
            let value = c.get_value().to_str();
            value.is_some_and(|value| value.starts_with(&*typed))
        };
        found.into_iter().filter(begins).collect()
    }

    fn nodes(&self) -> BTreeSet<String> {
        let kinds = [Kind::Node, Kind::CalicoNode, Kind::HostEndpoint];
        let Some(snapshot) = self.read(&kinds, Pods::None) else {
            return BTreeSet::new();
        };
        match Hosts::read(&snapshot) {
            Ok(hosts) => hosts.all().map(|host| host.name.clone()).collect(),
            Err(_) => names_of(&snapshot, Kind::Node),
        }
    }

    /// Those that are protected here, then the known ones.
    fn servers(&self) -> Vec<CompletionCandidate> {
        let snapshot = self.read(&[Kind::GlobalNetworkPolicy], Pods::None);
        let here = snapshot.map(|s| servers_here(&s)).unwrap_or_default();
        let known = SERVERS.iter().filter(|server| {
            let is_here = here.iter().any(|name| name.as_str() == server.name);
            !is_here && (here.is_empty() || !self.present)
        });
        let known = known.map(|server| {
            CompletionCandidate::new(server.name).help(Some(server.about.to_owned().into()))
        });
        let protected = here.iter().map(|name| {
            CompletionCandidate::new(name.as_str()).help(Some("protected here".into()))
        });
        protected.chain(known).collect()
    }

    fn contexts(&self) -> Vec<String> {
        let Some(global) = &self.global else {
            return Vec::new();
        };
        let options = Options {
            config: global.config.clone(),
            kubeconfig: global.kubeconfig.clone(),
            context: None,
        };
        let settings = config::load(&options, &config::process_environment());
        match settings.map(|settings| settings.connection) {
            Ok(Connection::Kubernetes(settings)) => kubernetes::contexts(&settings),
            _ => Vec::new(),
        }
    }

    /// Those that are there, and in folders those that objects are in.
    fn namespaces(&self) -> BTreeSet<String> {
        let Some(snapshot) = self.read(&[Kind::Namespace], Pods::None) else {
            return BTreeSet::new();
        };
        let objects = snapshot.all().map(|stored| stored.object.id());
        let of_objects = objects.filter_map(|id| id.namespace.clone());
        of_objects
            .chain(names_of(&snapshot, Kind::Namespace))
            .collect()
    }

    fn parties(&self, typed: &str) -> BTreeSet<String> {
        let Some(pod) = typed.strip_prefix("pod/") else {
            let nodes = self.nodes();
            let nodes = nodes.iter().map(|name| match typed.starts_with("node/") {
                true => format!("node/{name}"),
                false => name.clone(),
            });
            return nodes.chain(["pod/".to_owned()]).collect();
        };
        let Some((namespace, _)) = pod.split_once('/') else {
            let namespaces = self.namespaces();
            return namespaces.iter().map(|ns| format!("pod/{ns}/")).collect();
        };
        let all = vec![(Some(namespace.to_owned()), Selector::all())];
        let Some(snapshot) = self.read(&[], Pods::Matching(all)) else {
            return BTreeSet::new();
        };
        let pods = snapshot.of(Kind::Pod).map(Object::name);
        let endpoints = snapshot.of(Kind::WorkloadEndpoint);
        let pods = pods.chain(endpoints.filter_map(|endpoint| endpoint.spec_str("pod")));
        pods.map(|pod| format!("pod/{namespace}/{pod}")).collect()
    }

    fn interfaces(&self) -> BTreeSet<String> {
        let snapshot = self.read(&[Kind::HostEndpoint], Pods::None);
        let endpoints = snapshot.iter().flat_map(|s| s.of(Kind::HostEndpoint));
        let names = endpoints.filter_map(|endpoint| endpoint.spec_str("interfaceName"));
        names
            .chain([ALL_INTERFACES])
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn names(&self, kind: Kind) -> BTreeSet<String> {
        let snapshot = self.read(&[kind], Pods::None);
        snapshot.map(|s| names_of(&s, kind)).unwrap_or_default()
    }

    /// Reads within the deadline. A thread that does not make it ends with the process.
    fn read(&self, kinds: &[Kind], pods: Pods) -> Option<Snapshot> {
        let global = self.global.clone()?;
        let wanted = Wanted {
            kinds: kinds.to_vec(),
            pods,
            ..Wanted::default()
        };
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let read = crate::cli::block_on(async {
                let mut store = crate::cli::open_store(&global, None).await?;
                Ok(store.read(&wanted).await?)
            });
            // Nobody listens any more behind the deadline.
            let _ = send.send(read);
        });
        receive.recv_timeout(DEADLINE).ok()?.ok()
    }
}

fn names_of(snapshot: &Snapshot, kind: Kind) -> BTreeSet<String> {
    let names = snapshot.of(kind).map(Object::name);
    names.map(str::to_owned).collect()
}

fn named(names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}
