//! What a proof means for the user: the flows, refusals, and waivers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use super::error::CliError;
use super::exit::Exit;
use super::show::counted;
use super::ui::{GREEN, RED, YELLOW, clean};
use crate::plan::proof::{Fate, FlowProof, Proof};
use crate::plan::saved::Waivers;
use crate::reach::{Party, Reason};

/// How many flows are named one by one.
const NAMED: usize = 6;

/// The proof for people: one line of counts, and what is not kept.
#[must_use]
pub fn text(proof: &Proof) -> String {
    let mut text = String::new();
    if proof.flows.is_empty() {
        return text;
    }
    let counts: Vec<String> = [
        Fate::Kept,
        Fate::Cut,
        Fate::Unproven,
        Fate::Undecided,
        Fate::ClosedBefore,
    ]
    .into_iter()
    .map(|fate| (fate, proof.count(fate)))
    .filter(|(fate, count)| *count > 0 || *fate == Fate::Kept)
    .map(|(fate, count)| format!("{count} {}", fate.word()))
    .collect();
    let by = proof.stand_in.map_or_else(String::new, |(few, all)| {
        format!(", by {few} hosts that stand for {all}")
    });
    let _ = writeln!(
        text,
        "needed flows: {} (proved in {}{by})",
        counts.join(", "),
        counted(proof.states, "state")
    );
    for fate in [Fate::Cut, Fate::Unproven] {
        let style = if fate == Fate::Cut { RED } else { YELLOW };
        for flow in proof.with(fate).take(NAMED) {
            let _ = writeln!(
                text,
                "  {style}{}{style:#} {}{}: {}",
                fate.word(),
                clean(&flow.need.id),
                and_alike(flow.count()),
                clean(&flow.decision.why())
            );
        }
        let shown = proof.with(fate).take(NAMED).map(FlowProof::count);
        let more = proof.count(fate).saturating_sub(shown.sum());
        if more > 0 {
            let _ = writeln!(text, "  {style}{}{style:#} … and {more} more", fate.word());
        }
    }
    for (fate, said) in [
        (Fate::Undecided, "cannot be decided, before as after"),
        (Fate::ClosedBefore, "did not come about before, either"),
    ] {
        for (rule, flows) in by_rule(proof, fate) {
            let first = flows
                .first()
                .map(|flow| flow.decision.why())
                .unwrap_or_default();
            let _ = writeln!(
                text,
                "  {GREEN}unchanged{GREEN:#} {} of {rule} {said}: {}",
                counted(flows.iter().map(|flow| flow.count()).sum(), "flow"),
                clean(&first)
            );
        }
    }
    text
}

fn by_rule(proof: &Proof, fate: Fate) -> BTreeMap<&'static str, Vec<&FlowProof>> {
    let mut rules: BTreeMap<&str, Vec<&FlowProof>> = BTreeMap::new();
    for flow in proof.with(fate) {
        rules.entry(flow.need.rule.name).or_default().push(flow);
    }
    rules
}

/// How many more flows are decided as one is.
pub fn and_alike(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {more} more like it"),
    }
}

/// How many flows a proof speaks for that are not waived.
fn open_flows(flow: &FlowProof, waived: &[String]) -> usize {
    let waived: BTreeSet<&String> = waived.iter().collect();
    let mut known = waived.into_iter().filter(|id| flow.speaks_for(id));
    flow.count().saturating_sub(known.by_ref().count())
}

/// The first of them.
fn first_open(flow: &FlowProof, waived: &[String]) -> String {
    let first = flow.ids().find(|id| !waived.contains(id));
    first.unwrap_or_else(|| flow.need.id.clone())
}

/// Refuses a plan that cuts a needed flow, or leaves one undecided, unless it is waived.
///
/// # Errors
///
/// Exit code 3 for a flow that is cut, 5 for one that cannot be decided.
pub fn refuse(proof: &Proof, waivers: &Waivers) -> Result<(), CliError> {
    let open = |fate, waived: &[String]| -> (Vec<&FlowProof>, usize) {
        let flows: Vec<_> = proof
            .with(fate)
            .map(|flow| (flow, open_flows(flow, waived)))
            .filter(|(_, open)| *open > 0)
            .collect();
        let count = flows.iter().map(|(_, open)| open).sum();
        (flows.into_iter().map(|(flow, _)| flow).collect(), count)
    };
    let waived = &waivers.allow_lockout;
    let (cut, count) = open(Fate::Cut, waived);
    if let Some(first) = cut.first() {
        let error = CliError::new(
            Exit::Cut,
            format!("refused: {} would be cut", counted(count, "needed flow")),
        );
        let hint = remedy(&cut, first, &first_open(first, waived));
        return Err(detailed(error, &cut, count, waived).hint(hint));
    }
    let waived = &waivers.accept_unproven;
    let (cut, count) = open(Fate::Unproven, waived);
    if let Some(first) = cut.first() {
        let error = CliError::new(
            Exit::Unproven,
            format!(
                "refused: {} cannot be proved",
                counted(count, "needed flow")
            ),
        );
        let supply = match (first.decision.reason(), first.need.rule.server) {
            (Some(Reason::Missing(missing)), _) => missing.remedy().map(|it| it + ", or "),
            (_, Some(server)) => Some(format!(
                "let in whoever must get in (`grant {server} --net NETWORK`), then "
            )),
            // Left open for the user's own ways in alone.
            _ => Some("make sure that you get in from where you are, then ".to_owned()),
        };
        return Err(detailed(error, &cut, count, waived).hint(format!(
            "{}take the risk for each flow: `--accept-unproven {}`",
            supply.unwrap_or_default(),
            first_open(first, waived)
        )));
    }
    Ok(())
}

fn detailed(error: CliError, flows: &[&FlowProof], count: usize, waived: &[String]) -> CliError {
    let mut told = 0;
    let shown = flows.iter().take(NAMED).fold(error, |error, flow| {
        let open = open_flows(flow, waived);
        told += open;
        error
            .detail(format!(
                "{}{}: {}",
                first_open(flow, waived),
                and_alike(open),
                flow.need.connection_text()
            ))
            .detail(format!("  {}: {}", flow.when, flow.decision.why()))
            .detail(format!(
                "  needed: {}; without it, {}",
                flow.need.evidence, flow.need.rule.without
            ))
    });
    match count.saturating_sub(told) {
        0 => shown,
        more => shown.detail(format!("… and {more} more")),
    }
}

/// The command that would let the cut clients in.
fn remedy(cut: &[&FlowProof], first: &FlowProof, id: &str) -> String {
    let waive = format!("or cut it knowingly: `--allow-lockout {id}`");
    // Only a protect policy asks for a client label; what another rule drops no grant lets in.
    let server = first.need.rule.server.filter(|server| {
        let policy = format!("protected-{server}-server");
        matches!(
            first.decision.reason(),
            Some(Reason::Rule { policy: by, .. }) if by.name.ends_with(&policy)
        )
    });
    let Some(server) = server else {
        return format!("open the port by a policy of your own first, {waive}");
    };
    let of_server = cut
        .iter()
        .filter(|flow| flow.need.rule.server == Some(server));
    let nodes: BTreeSet<&str> = of_server.clone().flat_map(|flow| flow.clients()).collect();
    let outside: BTreeSet<IpAddr> = of_server
        .filter_map(|flow| match flow.need.connection.from {
            Party::Address(ip) => Some(ip),
            _ => None,
        })
        .collect();
    let loopback = first
        .need
        .id
        .starts_with(crate::reach::needs::ETCD_SELF.name)
        || first.need.connection_is_loopback();
    if loopback {
        return format!(
            "let loopback in: leave `--no-self` out, or `grant {server} --net 127.0.0.0/8`; {waive}"
        );
    }
    const FEW: usize = 4;
    let mut list: Vec<String> = nodes.iter().map(|n| format!("--node {n}")).collect();
    if list.len() > FEW {
        list = vec!["--all-nodes".to_owned()];
    }
    list.extend(outside.iter().map(|ip| format!("--ip {ip}")));
    let grant = format!("grant {server} {}", list.join(" "));
    format!("let the clients in first: `{grant}` (or `--grant-needed` with `server`), {waive}")
}
