//! `status`: what is protected.

use std::fmt::Write as _;

use clap::Args;

use super::args::{Format, Global};
use super::check::addresses;
use super::error::CliError;
use super::exit::Exit;
use super::show::counted;
use super::ui::{BOLD, GREEN, RED, Ui, YELLOW, clean};
use crate::calico::ObjectId;
use crate::calico::names::ServerName;
use crate::plan::check::{Checked, OpenTo, check};
use crate::plan::reading::Question;
use crate::plan::report;
use crate::reach::Addresses;
use crate::recipe::few;
use crate::recipe::policies::{Approach, Drift};
use crate::recipe::status::{ClientStatus, PolicyStatus, ServerStatus, Verdict};
use crate::store::Store;

/// Show what is protected, by what, who is let in, and whether failsafes stand in the way
///
/// The verdict is one word: `protected`, `failsafe` (the port is still an inbound failsafe, so the
/// policy does nothing), `partial` (parts are missing, or others than clients get in somewhere),
/// `drifted` (the policy says something else than the recipe), `unproven`, `open`, or `locked-out`
/// (an endpoint would drop all other traffic). Who gets in without being a client is named first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect status
  calicoctl-protect status etcd -o json")]
pub struct StatusArgs {
    /// Only this server
    #[arg(value_name = "SERVER")]
    server: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

impl StatusArgs {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the server is not known.
    pub async fn run(&self, global: &Global, ui: Ui) -> Result<Exit, CliError> {
        let server: Option<ServerName> = self
            .server
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(CliError::from)?;
        let mut store = super::open_store(global, None).await?;
        let snapshot = store.read(&Question::of(server.as_ref()).wanted()).await?;
        for warning in &snapshot.warnings {
            ui.warn(warning);
        }
        let servers = check(&snapshot, server.as_ref())?;
        ui.result(&match self.output {
            Format::Text => text(&servers),
            format => format.document(&report::Status::new(&snapshot.datastore, &servers)),
        })?;
        if servers.is_empty() {
            ui.say("no server is protected here");
        }
        Ok(Exit::Ok)
    }
}

fn text(servers: &[Checked]) -> String {
    let mut text = String::new();
    for (i, server) in servers.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        server_text(&mut text, &server.status, &server.open_to);
    }
    text
}

fn server_text(text: &mut String, server: &ServerStatus, open_to: &[OpenTo]) {
    let style = match server.verdict {
        Verdict::Protected => GREEN,
        Verdict::Failsafe | Verdict::Partial | Verdict::Drifted | Verdict::Unproven => YELLOW,
        Verdict::Open | Verdict::LockedOut => RED,
    };
    let ports: Vec<String> = server.ports.iter().map(ToString::to_string).collect();
    let ports = match ports.as_slice() {
        [] => "ports unknown".to_owned(),
        ports => ports.join(", "),
    };
    let _ = writeln!(
        text,
        "{BOLD}{}{BOLD:#}  {ports}  {style}{}{style:#}",
        server.server.as_str(),
        server.verdict.word()
    );
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {}", clean(&value));
    };
    row("policy", policy_text(server));
    for id in &server.more_policies {
        let name = server.server.as_str();
        row(
            "",
            format!(
                "{} as well: `server {name}` or `remove {name}` takes it away",
                id.name
            ),
        );
    }
    let endpoints: Vec<String> = server.endpoints.iter().map(endpoint_text).collect();
    let workloads = server.workloads.iter().map(ObjectId::to_string);
    let protected: Vec<String> = endpoints.into_iter().chain(workloads).collect();
    rows(
        &mut row,
        "protects",
        &protected,
        "nothing carries its label",
    );
    let clients: Vec<String> = server.clients.iter().map(client_text).collect();
    rows(&mut row, "clients", &clients, "nobody");
    let failsafes: Vec<String> = server
        .failsafes
        .iter()
        .map(|f| {
            let on = match f.hosts.len() {
                0 => String::new(),
                n => format!(" on {}", counted(n, "node")),
            };
            format!("{} from {}{on}", f.entries.join(", "), f.source)
        })
        .collect();
    rows(&mut row, "failsafe", &failsafes, "none inbound");
    let reachable: Vec<String> = reachable(open_to);
    if !open_to.is_empty() {
        rows(&mut row, "open to", &reachable, "nobody");
    }
}

/// Who gets in, over all places that answer alike: `tcp/2379: 127.0.0.0/8, 192.0.2.11/32`.
fn reachable(open_to: &[OpenTo]) -> Vec<String> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for open in open_to {
        let allowed = allowed(open);
        let unproven = addresses(&open.unproven);
        let who = match (allowed.is_empty(), unproven.is_empty()) {
            (true, true) => continue,
            (false, true) => allowed,
            (true, false) => format!("undecided for {unproven}"),
            (false, false) => format!("{allowed} (undecided for {unproven})"),
        };
        let text = format!("{}: {who}", open.port);
        match found.iter_mut().find(|(known, _)| *known == text) {
            Some((_, places)) => *places += open.places.len(),
            None => found.push((text, open.places.len())),
        }
    }
    let counted = |(text, places)| format!("{text} at {}", counted(places, "address"));
    found.into_iter().map(counted).collect()
}

/// Who gets in at a class of places: first those who are no clients.
fn allowed(open: &OpenTo) -> String {
    let families = [false, true].map(|ipv6| {
        let (all, others) = (open.allowed.only(ipv6), open.others.only(ipv6));
        // Where everybody gets in there is nobody to set apart.
        if others.is_empty()
            || all == Addresses::family(ipv6)
            || addresses(&all).starts_with("everybody")
        {
            return addresses(&all);
        }
        let clients = addresses(&all.difference(&others));
        let others = format!("{} (no client)", addresses(&others));
        if clients.is_empty() {
            others
        } else {
            format!("{others}, {clients}")
        }
    });
    let said: Vec<String> = families.into_iter().filter(|s| !s.is_empty()).collect();
    said.join(", ")
}

fn rows(row: &mut impl FnMut(&str, String), name: &str, values: &[String], none: &str) {
    match values {
        [] => row(name, none.to_owned()),
        [first, rest @ ..] => {
            row(name, first.clone());
            rest.iter().for_each(|value| row("", value.clone()));
        }
    }
}

fn policy_text(server: &ServerStatus) -> String {
    match &server.policy {
        PolicyStatus::Missing => "none".to_owned(),
        PolicyStatus::Other(id) => format!("{id} says something else than the recipe"),
        PolicyStatus::Recipe(id, protection) => {
            let approach = match protection.approach {
                Approach::AllowByDefault => "allow by default",
                Approach::DenyByDefault => "deny by default",
            };
            let order = protection
                .order
                .map_or_else(|| "last".to_owned(), |o| o.to_string());
            let drift = drift(server).map_or_else(String::new, |drift| format!("; {drift}"));
            format!(
                "{} in tier {}, order {order}, {approach}{drift}",
                id.name, protection.tier
            )
        }
    }
}

/// In what a policy has come away from the recipe, if it has.
pub fn drift(server: &ServerStatus) -> Option<String> {
    match &server.policy {
        PolicyStatus::Missing => None,
        PolicyStatus::Other(_) => Some("says something else than the recipe".to_owned()),
        PolicyStatus::Recipe(_, protection) => Some(match protection.drift? {
            Drift::Ports => format!(
                "is for {} instead of {}",
                few(&protection.ports),
                few(&server.ports)
            ),
            Drift::Rules => "has other rules than the recipe's".to_owned(),
        }),
    }
}

fn endpoint_text(endpoint: &crate::recipe::status::EndpointStatus) -> String {
    let interface = match endpoint.interface.as_str() {
        "*" => "all interfaces".to_owned(),
        "" => "by address".to_owned(),
        name => name.to_owned(),
    };
    let mut text = format!("{} ({interface}) by {}", endpoint.host, endpoint.object);
    if !endpoint.stays_open {
        text.push_str(": drops all other traffic");
    }
    if let Some(other) = &endpoint.shadowed_by {
        text.push_str(&format!(
            ": without effect, `{other}` governs the interface"
        ));
    }
    text
}

fn client_text(client: &ClientStatus) -> String {
    const SHOWN: usize = 4;
    if client.without_effect {
        return format!("{}: no address, so the label does nothing", client.object);
    }
    let shown: Vec<&str> = client
        .addresses
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect();
    let more = client.addresses.len().saturating_sub(SHOWN);
    match (shown.is_empty(), more) {
        (true, _) => client.object.to_string(),
        (false, 0) => format!("{}: {}", client.object, shown.join(", ")),
        (false, more) => format!("{}: {} and {more} more", client.object, shown.join(", ")),
    }
}
