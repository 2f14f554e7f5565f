//! The client's own port, where nobody says which it is.
//!
//! Untracked policy is the one place that looks at it even if no rule does: failsafe ports count
//! there as source ports, too. A client does not come by such a port by chance, but may choose one.
//!
//! Source: semantics, section 4.1; projectcalico/calico `felix/rules/static.go`
//! (`failsafeInChain`, `failsafeOutChain`, table `raw`).

use crate::calico::felix::Direction;
use crate::calico::{ServerPort, Transport};

use super::connection::Traffic;
use super::oracle::{ClientPorts, ForAnybody, Oracle, Outcome, explore};
use super::world::World;

const LISTS: [Direction; 2] = [Direction::Inbound, Direction::Outbound];

impl World {
    /// Evaluates for a client that means well: unless its port is given, it is no failsafe port.
    pub(super) fn for_client<O: Outcome>(
        &self,
        port: Option<u16>,
        traffic: Traffic,
        run: impl FnMut(&mut Oracle) -> O,
    ) -> O {
        explore(&self.usual_ports(port, traffic), run)
    }

    /// The ports of a client that means well.
    pub(super) fn usual_ports(&self, port: Option<u16>, traffic: Traffic) -> ClientPorts {
        if port.is_some() || !self.minds_ports(traffic) {
            return ClientPorts::given(port);
        }
        let (ports, _) = self.failsafe_ports();
        ClientPorts::without(&ports)
    }

    /// Evaluates for whoever comes: what is denied has to be denied whatever port a client chooses.
    pub(super) fn for_anybody<O: ForAnybody>(
        &self,
        traffic: Traffic,
        mut run: impl FnMut(&mut Oracle) -> O,
    ) -> O {
        if !self.minds_ports(traffic) {
            return explore(&ClientPorts::given(None), run);
        }
        let (ports, is_hidden) = self.failsafe_ports();
        let usual = explore(&ClientPorts::without(&ports), &mut run);
        if !usual.denies() || (ports.is_empty() && !is_hidden) {
            return usual;
        }
        let chosen = explore(&ClientPorts::chosen(&ports), &mut run);
        usual.unless_chosen(&chosen)
    }

    /// Whether it makes a difference that a client's port is a failsafe port.
    fn minds_ports(&self, traffic: Traffic) -> bool {
        let has_failsafes = |transport| matches!(transport, Transport::Tcp | Transport::Udp);
        let may_be = matches!(traffic, Traffic::Port(ServerPort { transport, .. }) if has_failsafes(transport));
        self.has_untracked && may_be
    }

    /// Every port of a failsafe list of some node, and whether some list cannot be seen.
    fn failsafe_ports(&self) -> (Vec<u16>, bool) {
        let mut ports = Vec::new();
        let mut is_hidden = false;
        let mut known = Vec::new();
        for settings in self.nodes().map(|node| &node.settings) {
            let at = std::sync::Arc::as_ptr(settings);
            if known.contains(&at) {
                continue;
            }
            known.push(at);
            for list in LISTS {
                is_hidden |= settings.is_hidden(list);
                let entries = settings.failsafes(list).entries.iter();
                ports.extend(entries.map(|entry| entry.port.port));
            }
        }
        ports.sort_unstable();
        ports.dedup();
        (ports, is_hidden)
    }
}
