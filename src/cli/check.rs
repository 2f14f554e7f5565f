//! `check`: prove all protections and needed flows.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use ipnet::IpNet;

use super::args::{Format, Global};
use super::error::CliError;
use super::exit::Exit;
use super::show::counted;
use super::ui::{BOLD, GREEN, RED, Ui, YELLOW, clean};
use crate::calico::names::ServerName;
use crate::calico::{DatastoreKind, Kind, Snapshot};
use crate::plan::check::{Checked, Leak, OpenTo, Proven, check};
use crate::plan::proof::{FlowProof, standing};
use crate::plan::reading::Question;
use crate::plan::report;
use crate::reach::{Addresses, Reason, Verdict};
use crate::recipe::status::Verdict as Word;
use crate::store::Store;

/// Prove all protections and needed flows; made for CI and cron
///
/// Ends with exit code 7 when a protection does not hold (open, inert or drifted), 3 when a flow
/// that the cluster needs is cut, 5 when either cannot be decided, and 0 when all is well. Of
/// several the first of these is taken.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect check
  calicoctl-protect check etcd -o json
  calicoctl-protect check --accept-unproven bgp-mesh:worker-1:cp-1")]
pub struct CheckArgs {
    /// Only this server
    #[arg(value_name = "SERVER")]
    server: Option<String>,

    /// Do not mind that this needed flow is cut (repeatable)
    #[arg(long, value_name = "FLOW-ID")]
    allow_lockout: Vec<String>,

    /// Do not mind that this needed flow cannot be decided (repeatable)
    #[arg(long, value_name = "FLOW-ID")]
    accept_unproven: Vec<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Needed flows that do not come about, or cannot be decided.
struct Trouble {
    flow: FlowProof,
    /// How many of them are accepted.
    waived: usize,
}

impl CheckArgs {
    /// Prints it; the exit code is the answer.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the server is not known.
    pub async fn run(&self, global: &Global, ui: Ui) -> Result<Exit, CliError> {
        let server: Option<ServerName> = self.server.as_deref().map(str::parse).transpose()?;
        let mut store = super::open_store(global, None).await?;
        let snapshot = store.read(&Question::of(server.as_ref()).wanted()).await?;
        for warning in &snapshot.warnings {
            ui.warn(warning);
        }
        refuse_nothing(&snapshot)?;
        let mut checked = check(&snapshot, server.as_ref())?;
        let left = match server {
            None => leave_out(&mut checked),
            Some(_) => Vec::new(),
        };
        let proof = standing(&snapshot);
        let flows: usize = proof.flows.iter().map(FlowProof::count).sum();
        let troubles: Vec<Trouble> = proof
            .flows
            .into_iter()
            .filter(|flow| flow.decision.verdict != Verdict::Allow)
            .map(|flow| {
                let list = match flow.decision.verdict {
                    Verdict::Deny => &self.allow_lockout,
                    _ => &self.accept_unproven,
                };
                let list: BTreeSet<&String> = list.iter().collect();
                let waived = list.into_iter().filter(|id| flow.speaks_for(id)).count();
                Trouble { flow, waived }
            })
            .collect();
        let document = || {
            let told = |t: &Trouble| report::Trouble::new(&t.flow, t.waived);
            let needed_flows = report::NeededFlows {
                checked: flows,
                troubles: troubles.iter().map(told).collect(),
            };
            report::Check::new(&snapshot.datastore, &checked, needed_flows)
        };
        ui.result(&match self.output {
            Format::Text => text(&checked, flows, &troubles),
            format => format.document(&document()),
        })?;
        for remedy in remedies(&checked) {
            ui.hint(&remedy);
        }
        for name in left {
            ui.say(&format!(
                "note: `{name}` is not protected here; its client labels do nothing"
            ));
            ui.hint(&format!("`revoke {name} …` takes them away"));
        }
        Ok(exit(&checked, &troubles))
    }
}

/// A store in which nothing can be proved is the wrong one, or not ready.
fn refuse_nothing(snapshot: &Snapshot) -> Result<(), CliError> {
    let kinds = [Kind::Node, Kind::CalicoNode, Kind::HostEndpoint];
    let files = snapshot.datastore.kind == DatastoreKind::Manifests;
    let what = if kinds.iter().all(|kind| snapshot.of(*kind).next().is_none()) {
        "there is nothing to check here: no node and no host endpoint"
    } else if !files && (snapshot.global(Kind::ClusterInformation, "default")).is_none() {
        "Calico has not been started here: there is no ClusterInformation `default`"
    } else {
        return Ok(());
    };
    Err(CliError::new(Exit::Failed, what).hint("check that this is the right datastore"))
}

/// Leaves out servers of which nothing is there but client labels: nothing is claimed of them.
/// Returns their names.
fn leave_out(checked: &mut Vec<Checked>) -> Vec<String> {
    let left = checked.extract_if(.., |server| !server.is_begun());
    left.map(|server| server.status.server.as_str().to_owned())
        .collect()
}

fn exit(checked: &[Checked], troubles: &[Trouble]) -> Exit {
    let with = |verdict| {
        let mut all = troubles.iter().filter(|t| t.waived < t.flow.count());
        all.any(|t| t.flow.decision.verdict == verdict)
    };
    let held = |proven| checked.iter().any(|c| c.holds() == proven);
    if held(Proven::No) {
        Exit::NotProtected
    } else if with(Verdict::Deny) {
        Exit::Cut
    } else if held(Proven::Undecided) || with(Verdict::Unproven) {
        Exit::Unproven
    } else {
        Exit::Ok
    }
}

/// What would decide whether somebody gets in.
fn remedies(checked: &[Checked]) -> BTreeSet<String> {
    let leaks = checked.iter().flat_map(|server| &server.leaks);
    leaks
        .filter_map(|leak| match &leak.reason {
            Reason::Missing(missing) => missing.remedy(),
            _ => None,
        })
        .collect()
}

fn text(checked: &[Checked], flows: usize, troubles: &[Trouble]) -> String {
    let mut text = String::new();
    for server in checked {
        let (style, word) = match server.holds() {
            Proven::Yes => (GREEN, "holds"),
            Proven::No => (RED, "does not hold"),
            Proven::Undecided => (YELLOW, "is unproven"),
        };
        let name = server.status.server.as_str();
        let _ = write!(text, "{BOLD}{name}{BOLD:#}  {style}{word}{style:#}");
        let _ = match server.status.verdict {
            Word::Unproven => writeln!(text),
            verdict => writeln!(text, " ({})", verdict.word()),
        };
        if let Some(drift) = super::status::drift(&server.status) {
            let policy = server.status.server.policy_name();
            let _ = writeln!(text, "  policy {policy} {}", clean(&drift));
        }
        for open in server
            .open_to
            .iter()
            .filter(|open| everybody_is_client(open))
        {
            let _ = writeln!(
                text,
                "  {} shuts nobody out at {}: the clients are {}",
                open.port,
                clean(&few(&open.places)),
                addresses(&open.allowed)
            );
        }
        for leak in &server.leaks {
            let _ = writeln!(text, "  {}", clean(&leak_text(leak)));
        }
    }
    let count = |verdict| -> usize {
        let all = troubles.iter().map(|t| &t.flow);
        let all = all.filter(|flow| flow.decision.verdict == verdict);
        all.map(FlowProof::count).sum()
    };
    let (cut, unproven) = (count(Verdict::Deny), count(Verdict::Unproven));
    let _ = writeln!(
        text,
        "needed flows: {} kept, {cut} cut, {unproven} unproven",
        flows.saturating_sub(cut.saturating_add(unproven)),
    );
    for trouble in troubles {
        let flow = &trouble.flow;
        let (style, word) = match flow.decision.verdict {
            Verdict::Deny => (RED, "cut"),
            _ => (YELLOW, "unproven"),
        };
        let waived = match trouble.waived {
            0 => String::new(),
            all if all == flow.count() => " (accepted)".to_owned(),
            some => format!(" ({some} accepted)"),
        };
        let _ = writeln!(
            text,
            "  {style}{word}{style:#}{waived} {}{}: {}",
            clean(&flow.need.id),
            super::prove::and_alike(flow.count()),
            clean(&flow.decision.why())
        );
    }
    text
}

/// Whether everybody who can knock is declared to be a client.
fn everybody_is_client(open: &OpenTo) -> bool {
    open.everybody && open.others.is_empty() && !open.loopback
}

fn leak_text(leak: &Leak) -> String {
    let certain = if leak.certain {
        "open to"
    } else {
        "may be open to"
    };
    format!(
        "{} {certain} {} at {}: {}",
        leak.port,
        addresses(&leak.sources),
        few(&leak.places),
        leak.reason
    )
}

/// A set for people: a few networks, or everybody but a few.
#[must_use]
pub fn addresses(set: &Addresses) -> String {
    let families = [(false, "IPv4"), (true, "IPv6")].map(|(ipv6, name)| {
        let part = set.only(ipv6);
        let rest = Addresses::family(ipv6).difference(&part);
        let outside: Vec<IpNet> = rest
            .nets()
            .filter(|net| !net.addr().is_loopback())
            .take(MANY)
            .collect();
        match (part.is_empty(), outside.is_empty()) {
            (true, _) => None,
            (false, true) => Some(format!("everybody over {name}")),
            (false, false) if outside.len() < part.nets().take(MANY).count() => Some(format!(
                "everybody over {name} but {}",
                networks(outside.into_iter())
            )),
            (false, false) => Some(networks(part.nets())),
        }
    });
    let said: Vec<String> = families.into_iter().flatten().collect();
    said.join(", ")
}

/// More networks than anybody reads.
const MANY: usize = 1000;

fn networks(mut nets: impl Iterator<Item = IpNet>) -> String {
    const SHOWN: usize = 4;
    let plain = |net: IpNet| {
        if net.prefix_len() == net.max_prefix_len() {
            net.addr().to_string()
        } else {
            net.to_string()
        }
    };
    let shown: Vec<String> = nets.by_ref().take(SHOWN).map(plain).collect();
    match nets.count() {
        0 => shown.join(", "),
        more => format!("{} and {}", shown.join(", "), counted(more, "more network")),
    }
}

fn few(places: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = places.iter().take(SHOWN).map(String::as_str).collect();
    match places.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {}", shown.join(", "), counted(more, "more place")),
    }
}
