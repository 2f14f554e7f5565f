//! The way of replies. Past the raw table, which looks at every packet, tracking knows those of
//! tracked requests; the others are invalid or begin a connection of their own (semantics, section
//! 4.2).

use calicoctl_protect::calico::PolicyType::{Egress, Ingress};
use calicoctl_protect::reach::Reason;

use super::case::Node;
use super::objects::Workload;
use super::rules::Packet;
use super::walk::{Stop, Walk};

/// Where a request came through, for the way of its reply.
pub struct Pass<'a> {
    pub node: &'a Node,
    pub kind: PassKind<'a>,
    /// The request as it left.
    pub packet: Packet,
    /// A raw chain took it out of tracking.
    pub untracked: bool,
    /// Tracking changed its addresses or ports.
    pub translated: bool,
}

/// How a request came through a node.
pub enum PassKind<'a> {
    /// From a process, by an interface.
    Sent(String),
    /// By an interface, to a process.
    Taken(String),
    /// By one interface and workload, if it is one's, and out by another.
    Through(Side<'a>, Side<'a>),
}

/// An interface, and the workload behind it.
type Side<'a> = (String, Option<&'a Workload>);

impl<'a> Walk<'a> {
    /// Replies go back the way their requests came.
    pub fn replies(&mut self) -> Result<(), Stop> {
        for pass in std::mem::take(&mut self.passes).iter().rev() {
            let before = self.steps.len();
            let end = self.reply(pass);
            for step in &mut self.steps[before..] {
                step.reply = true;
            }
            end?;
        }
        Ok(())
    }

    /// A reply goes back through a node: past the raw table, then through tracking. Only what
    /// tracking does not know goes on to what stands behind it.
    fn reply(&mut self, pass: &Pass<'a>) -> Result<(), Stop> {
        let (naive, node) = (self.naive, pass.node);
        let reply = pass.packet.reply();
        if naive.off(node, &reply).is_some() {
            return Ok(());
        }
        let before = self.steps.len();
        let (by, untracked) = match &pass.kind {
            PassKind::Sent(out) => (out, self.raw(node, out, Ingress, &reply)?),
            PassKind::Taken(into) => (into, self.raw(node, into, Egress, &reply)?),
            PassKind::Through(_, (out, Some(_))) => (out, false),
            PassKind::Through(_, (out, None)) => (out, self.raw(node, out, Ingress, &reply)?),
        };
        if !untracked && !pass.untracked {
            self.steps.truncate(before);
            return Ok(());
        }
        // TCP, SCTP and the ICMPs tell a reply from a request; Felix may be told not to mind.
        let told = [6, 132, 1, 58].contains(&reply.protocol);
        if matches!(pass.kind, PassKind::Taken(_)) && !untracked && told && naive.has_nftables(node)
        {
            self.steps.truncate(before);
            return Ok(());
        }
        let invalid = !untracked && told && !naive.invalid_passes(node);
        if invalid || (untracked && pass.translated) {
            self.steps.truncate(before);
            return self.note(node, by, false, Reason::UntrackedReply);
        }
        if untracked && !pass.untracked && self.is_waited_for(pass) {
            self.steps.truncate(before);
            return self.note(node, by, false, Reason::HalfTracked);
        }
        match &pass.kind {
            PassKind::Sent(out) => {
                let done = untracked || self.pre_dnat(node, out, &reply)?;
                self.input(node, out, None, done, &reply)
            }
            PassKind::Taken(_) if untracked => Ok(()),
            PassKind::Taken(into) => self.output(node, into, &reply),
            PassKind::Through((into, from), (out, to)) => {
                let done = untracked || self.pre_dnat(node, out, &reply)?;
                self.forward(node, (out, *to), (into, *from), done, &reply)
            }
        }
    }

    /// Whether tracking, which saw a request but not its reply, takes what follows for invalid and
    /// some chain drops it for that. TCP and SCTP have more to say before anything is sent.
    fn is_waited_for(&self, pass: &Pass<'a>) -> bool {
        let (naive, node) = (self.naive, pass.node);
        if ![6, 132].contains(&pass.packet.protocol) || naive.invalid_passes(node) {
            return false;
        }
        match &pass.kind {
            PassKind::Sent(_) => !naive.has_nftables(node),
            PassKind::Taken(into) => {
                !naive.takes_node_port_as_forwarded(node, &pass.packet)
                    || naive.has_pre_dnat(node, into, &pass.packet)
            }
            PassKind::Through(..) => true,
        }
    }
}
