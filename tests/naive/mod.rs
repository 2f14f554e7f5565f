//! A second evaluator, naive on purpose: it takes one packet at a time through a cluster as
//! section 9 of the semantics writes it down, and looks at every object anew each time. It shares
//! with the product only the words of its answers.

mod admin;
mod ask;
pub mod case;
mod chains;
mod discovery;
mod felix;
pub mod json;
mod objects;
mod policies;
mod reply;
mod route;
mod rules;
pub mod selector;
mod vectors;
mod walk;

use calicoctl_protect::calico::Version;

use case::Case;
use felix::Felix;
use objects::Objects;
use policies::{Reading, Tier};

/// A cluster as the naive evaluator sees it.
#[derive(Debug, Clone)]
pub struct Naive {
    wires: case::Wires,
    objects: Objects,
    /// All there is, as it is written.
    sources: Vec<serde_json::Value>,
    tiers: Vec<Tier>,
    felix: Felix,
    version: Version,
    /// Nodes on which Felix runs in eBPF mode, and those on which it does not run.
    bpf_nodes: Vec<String>,
    stopped_nodes: Vec<String>,
    /// Whether eBPF mode polices UDP on the loopback interface, which is not certain.
    udp_on_loopback: bool,
    /// Whether eBPF mode takes untracked policy as the other modes do, which is not certain.
    untracked_in_bpf: bool,
    /// Whether eBPF mode takes `interfacePrefix` as the other modes do, which is not certain.
    prefixes_in_bpf: bool,
    /// Whether rules in front of Felix's let everything through.
    let_through_before: bool,
}

/// The version of Calico that a case states, or the newest.
pub fn version_of(case: &Case) -> Version {
    let stated = case.version.as_ref().map(|v| v.parse().expect("a version"));
    stated.unwrap_or(Version::NEWEST)
}

impl Naive {
    pub fn new(case: &Case) -> Self {
        let version = version_of(case);
        let reading = Reading {
            version,
            raw: !matches!(case.datastore.as_deref(), None | Some("manifests")),
        };
        let felix = Felix::read(&case.resources, &case.felix, version);
        let names = case.topology.nodes.iter().map(|n| n.name.clone());
        let (mut bpf_nodes, mut stopped_nodes): (Vec<_>, Vec<_>) =
            (names.clone().collect(), names.collect());
        bpf_nodes.retain(|n| felix.text(n, "bpfEnabled").flatten().as_deref() == Some("true"));
        stopped_nodes.retain(|n| felix.stops(n) && !felix.is_absent(n));
        Self {
            bpf_nodes,
            stopped_nodes,
            wires: case.topology.clone(),
            objects: Objects::read(&case.resources),
            sources: case.resources.clone(),
            tiers: policies::read(&case.resources, reading),
            felix,
            version,
            udp_on_loopback: true,
            untracked_in_bpf: true,
            prefixes_in_bpf: true,
            let_through_before: false,
        }
    }
}
