//! Arguments that several commands share, and how they are resolved into what is meant.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::error::CliError;
use super::exit::Exit;
use super::ui::Color;
use crate::calico::net::{parse_cidr_or_ip, parse_ip};
use crate::calico::{ServerPort, Version};
use crate::plan::Plan;
use crate::plan::saved::Waivers;
use crate::recipe::hosts::NodeChoice;
use crate::recipe::workloads::WorkloadChoice;
use crate::selector::Selector;

/// Options of every command
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Work on a folder (or one file) of YAML and JSON manifests instead of a live cluster
    #[arg(long, global = true, value_name = "DIR")]
    pub manifests: Option<PathBuf>,

    /// calicoctl's configuration file [default: /etc/calico/calicoctl.cfg, else the environment]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Context of the kubeconfig to use instead of the current one
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub context: Option<String>,

    /// Kubeconfig to use instead of `KUBECONFIG` or the one in the home folder
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Where journals are kept [default: its own folder in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, global = true, value_name = "DIR")]
    pub journal: Option<PathBuf>,

    /// What to log to standard error
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "LEVEL"
    )]
    pub log_level: LogLevel,

    /// Version of Calico that the manifests are for, where they do not say it
    #[arg(long, global = true, value_name = "VERSION")]
    pub calico_version: Option<Version>,

    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,

    /// Print results, warnings and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Accepted for calicoctl's sake: versions are compared by feature, never by equality
    #[arg(long, global = true)]
    pub allow_version_mismatch: bool,
}

/// calicoctl's words for how much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    #[default]
    Panic,
    /// Nothing either.
    Fatal,
    /// What failed.
    Error,
    /// What may be wrong.
    Warn,
    /// What is done.
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// Begins to log to standard error. Of the libraries below nothing is logged that could hold
    /// a credential: only what they warn about.
    pub fn start(self) {
        use tracing_subscriber::filter::{LevelFilter, Targets};
        use tracing_subscriber::layer::SubscriberExt;
        use tracing_subscriber::util::SubscriberInitExt;
        let level = match self {
            Self::Panic | Self::Fatal => return,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        };
        let targets = Targets::new()
            .with_default(level.min(LevelFilter::WARN))
            .with_target(env!("CARGO_CRATE_NAME"), level);
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false);
        // It fails when somebody logs already, as tests of one process do.
        let _ = tracing_subscriber::registry()
            .with(targets)
            .with(lines)
            .try_init();
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// JSON with a `format_version`.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Format {
    /// A document in this format; text has none of its own and is shown as YAML.
    #[must_use]
    pub fn document(self, value: &impl serde::Serialize) -> String {
        let value = serde_json::to_value(value).unwrap_or_default();
        match self {
            Self::Json => format!("{value:#}\n"),
            Self::Text | Self::Yaml => crate::calico::yaml::to_yaml(&value),
        }
    }
}

/// How plans are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    #[default]
    Text,
    /// JSON with a `format_version`.
    Json,
    /// The same as YAML.
    Yaml,
    /// For merge requests.
    Markdown,
    /// One page for a browser.
    Html,
}

/// How a plan is carried out
#[derive(Debug, Clone, Args)]
pub struct Running {
    /// Show what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// End with exit code 2 when changes are pending (with --dry-run or --out)
    #[arg(long)]
    pub detailed_exitcode: bool,

    /// Write without asking
    #[arg(short, long)]
    pub yes: bool,

    /// Take it back unless it is confirmed within this time: `30s`, `5m`, `1h`
    ///
    /// After writing it waits for the Enter key, or for `confirm` from another terminal of the same
    /// user (or a machine that shares the journal's folder). When the time is up,
    /// on Ctrl-C, when the terminal hangs up, or when the cluster gives no answer any more, what was
    /// written is taken back, proved and read back. That is tried for ten minutes where the cluster
    /// does not answer; `undo` does it at any time. It saves those who cut others off. Who cuts off
    /// the machine on which this runs cannot be saved by it: nothing can be taken back from there.
    #[arg(long, value_name = "TIME", value_parser = crate::apply::window::duration)]
    pub confirm_within: Option<std::time::Duration>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: PlanFormat,
}

impl Running {
    /// How a run ends that wrote nothing though there is something to write.
    #[must_use]
    pub fn pending(&self, plan: &Plan) -> Exit {
        pending(self.detailed_exitcode, plan)
    }
}

/// How a command ends that wrote nothing, where the exit code is to tell whether there was
/// something to write.
#[must_use]
pub fn pending(detailed: bool, plan: &Plan) -> Exit {
    if detailed && !plan.is_empty() {
        Exit::Pending
    } else {
        Exit::Ok
    }
}

/// Options of commands that write
#[derive(Debug, Clone, Args)]
pub struct Writing {
    /// How the plan is carried out
    #[command(flatten)]
    pub running: Running,

    /// Save the plan to this file for `apply`, and write nothing to the datastore
    #[arg(long, value_name = "PLAN.json", conflicts_with = "yes")]
    pub out: Option<PathBuf>,

    /// Put new objects into this file of the manifests folder instead of a new file each
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,

    /// Risks taken knowingly
    #[command(flatten)]
    pub waivers: WaiverArgs,
}

/// Flows that the user takes the risk for.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Waivers")]
pub struct WaiverArgs {
    /// Cut this needed flow knowingly (repeatable); its id is printed with the refusal
    #[arg(long, value_name = "FLOW-ID")]
    allow_lockout: Vec<String>,

    /// Go on though this needed flow cannot be decided (repeatable)
    #[arg(long, value_name = "FLOW-ID")]
    accept_unproven: Vec<String>,
}

impl From<&WaiverArgs> for Waivers {
    fn from(args: &WaiverArgs) -> Self {
        Self {
            allow_lockout: args.allow_lockout.clone(),
            accept_unproven: args.accept_unproven.clone(),
        }
    }
}

/// Hosts
#[derive(Debug, Clone, Default, Args)]
pub struct Nodes {
    /// A node by name (repeatable)
    #[arg(long = "node", value_name = "NODE")]
    pub names: Vec<String>,

    /// Nodes by label, such as `has(node-role.kubernetes.io/control-plane)`
    #[arg(long, value_name = "SELECTOR")]
    pub node_selector: Option<String>,

    /// All nodes
    #[arg(long)]
    pub all_nodes: bool,
}

impl Nodes {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// When the selector does not parse.
    pub fn resolve(&self) -> Result<NodeChoice, CliError> {
        Ok(NodeChoice {
            names: self.names.clone(),
            selector: self.node_selector.as_deref().map(selector).transpose()?,
            all: self.all_nodes,
        })
    }
}

/// Reads a selector.
///
/// # Errors
///
/// When it is empty; with the place marked when it does not parse.
pub fn selector(text: &str) -> Result<Selector, CliError> {
    // Calico takes an empty selector for all. On a command line it is an unset variable.
    if text.trim().is_empty() {
        return Err(CliError::usage("the selector is empty").hint("`all()` matches everything"));
    }
    Selector::parse(text).map_err(|error| CliError::selector(text, &error))
}

/// Reads `NAMESPACE/SELECTOR`.
///
/// # Errors
///
/// When there is no namespace, or the selector does not parse.
pub fn workload(text: &str) -> Result<WorkloadChoice, CliError> {
    match text.split_once('/') {
        Some((namespace, rest)) if !namespace.is_empty() && !rest.trim().is_empty() => {
            Ok(WorkloadChoice {
                namespace: namespace.to_owned(),
                selector: selector(rest)?,
                pods_only: false,
            })
        }
        _ => Err(CliError::usage(format!("`{text}` names no workload"))
            .hint("write namespace and selector: `monitoring/app == \"prometheus\"`")),
    }
}

/// Reads ports.
///
/// # Errors
///
/// When one is no port.
pub fn ports(texts: &[String]) -> Result<Vec<ServerPort>, CliError> {
    texts
        .iter()
        .map(|text| text.parse::<ServerPort>().map_err(CliError::from))
        .collect()
}

/// Reads networks; a bare address stands for itself alone.
///
/// # Errors
///
/// When one is no network, or has host bits set.
pub fn nets(texts: &[String]) -> Result<Vec<IpNet>, CliError> {
    texts.iter().map(|text| net(text)).collect()
}

fn net(text: &str) -> Result<IpNet, CliError> {
    if text.contains('/') {
        return crate::calico::net::parse_cidr(text).map_err(CliError::from);
    }
    parse_cidr_or_ip(text).map_err(CliError::from)
}

/// Reads addresses.
///
/// # Errors
///
/// When one is no address.
pub fn ips(texts: &[String]) -> Result<Vec<std::net::IpAddr>, CliError> {
    let read = |text: &String| {
        parse_ip(text).map_err(|error| {
            CliError::usage(error.to_string()).hint(
                "addresses are written `192.0.2.7` or `2001:db8::7`; networks go into `--net`",
            )
        })
    };
    texts.iter().map(read).collect()
}
