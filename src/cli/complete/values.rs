//! What the values of arguments can be: from the cluster or folder that the line names, within a
//! short time, or not at all.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use clap::{Arg, Args, Command, FromArgMatches};
use clap_complete::engine::CompletionCandidate;

use super::line::Line;
use crate::apply::{Folder, Record, State, folder, record};
use crate::calico::endpoint::ALL_INTERFACES;
use crate::calico::{Kind, Object, Snapshot};
use crate::cli::args::Global;
use crate::cli::session::{folder_of, when};
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

/// How many runs are offered, the newest first: each is read.
const RUNS: usize = 16;

/// What the shell itself completes: it knows about quotes, `~` and variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// Files and folders.
    All,
    /// Folders.
    Folders,
}

/// Kinds of values that something is known about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Files, or folders.
    Path(Paths),
    /// Runs of the journal.
    Run,
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
    /// What the value of an argument is, by its name in help texts.
    pub fn of(arg: &Arg) -> Option<Self> {
        Some(match arg.get_value_names()?.first()?.as_str() {
            // Manifests may be one file.
            "DIR" if arg.get_id() == "manifests" => Self::Path(Paths::All),
            "DIR" => Self::Path(Paths::Folders),
            "FILE" | "PLAN.json" => Self::Path(Paths::All),
            "ID" => Self::Run,
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
    /// The outermost command.
    command: String,
    /// Set when the value can be a path.
    paths: OnceLock<Paths>,
}

impl Values {
    /// For a line.
    pub fn new(line: &Line) -> Self {
        let program = std::iter::once(PROGRAM.into());
        let matches = Global::augment_args(Command::new(PROGRAM))
            .try_get_matches_from(program.chain(line.global.iter().cloned()));
        Self {
            global: matches.and_then(|m| Global::from_arg_matches(&m)).ok(),
            command: line.commands.first().cloned().unwrap_or_default(),
            paths: OnceLock::new(),
        }
    }

    /// What the shell has to complete, as far as candidates were asked for.
    pub fn paths(&self) -> Option<Paths> {
        self.paths.get().copied()
    }

    /// What a value that begins like this can be.
    pub fn candidates(&self, known: Known, typed: &OsStr) -> Vec<CompletionCandidate> {
        let typed = typed.to_string_lossy();
        let found = match known {
            Known::Path(paths) => {
                // An option that is being typed is no path.
                if !typed.starts_with('-') {
                    let _ = self.paths.set(paths);
                }
                Vec::new()
            }
            Known::Run => self.runs(),
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

    /// Those that the command can do something with, newest first.
    fn runs(&self) -> Vec<CompletionCandidate> {
        let mut runs: Vec<Record> = self
            .journals()
            .iter()
            .flat_map(|folder| match self.command.as_str() {
                "confirm" | "apply" => record::unfinished(folder).unwrap_or_default().known,
                _ => {
                    let ids = folder.runs().unwrap_or_default();
                    let newest = ids.into_iter().rev().take(RUNS);
                    newest
                        .filter_map(|id| Record::read(folder, id).ok())
                        .collect()
                }
            })
            .filter(|record| match self.command.as_str() {
                "confirm" => record.state() == State::Unconfirmed,
                "undo" => !matches!(record.state(), State::Undone | State::Nothing),
                _ => true,
            })
            .collect();
        runs.sort_by_key(|record| std::cmp::Reverse(record.id()));
        let shown = runs.iter().take(RUNS).map(|record| {
            let header = &record.header;
            let help = format!("{}  {}", when(header.started), header.by.command.join(" "));
            CompletionCandidate::new(record.id().to_string()).help(Some(help.into()))
        });
        shown.collect()
    }

    /// The journals of the cluster where a command has to do with it and it can be asked, else of all.
    fn journals(&self) -> Vec<Folder> {
        let Some(global) = &self.global else {
            return Vec::new();
        };
        let asks = matches!(self.command.as_str(), "undo" | "apply");
        let read = asks.then(|| self.read(&[], Pods::None)).flatten();
        let own = read.and_then(|snapshot| folder_of(global, &snapshot.datastore).ok());
        let all = || Folder::all(&folder::root(global.journal.as_deref()).ok()?).ok();
        own.map(|folder| vec![folder])
            .or_else(all)
            .unwrap_or_default()
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
        let about_present = ABOUT_PRESENT.contains(&self.command.as_str());
        let known = SERVERS.iter().filter(|server| {
            let is_here = here.iter().any(|name| name.as_str() == server.name);
            !is_here && (here.is_empty() || !about_present)
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
        // A folder shows the pods of all namespaces.
        let here = |object: &&Object| object.id().namespace.as_deref() == Some(namespace);
        let pods = snapshot.of(Kind::Pod).filter(here).map(Object::name);
        let endpoints = snapshot.of(Kind::WorkloadEndpoint).filter(here);
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
