//! What is disturbed: commands, each with those that lead to its start.

/// A command and the commands before it.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name in messages.
    pub name: &'static str,
    /// What is done before, undisturbed.
    pub before: &'static [&'static str],
    /// The command that is disturbed.
    pub command: &'static str,
}

impl Scenario {
    /// Whether a flow is given up on purpose.
    pub fn waives(&self, flow: &str) -> bool {
        let lines = self.before.iter().chain([&self.command]);
        let mut words = lines.flat_map(|line| line.split_whitespace());
        words.any(|word| word == flow)
    }
}

const fn scenario(
    name: &'static str,
    before: &'static [&'static str],
    command: &'static str,
) -> Scenario {
    Scenario {
        name,
        before,
        command,
    }
}

/// The scenarios to try: all of them where `CALICOCTL_PROTECT_EVERY_FAULT` is set, which takes long,
/// else a few.
pub fn chosen(all: &[Scenario], from: usize, few: usize) -> Vec<Scenario> {
    let all = all.iter().copied();
    match std::env::var_os("CALICOCTL_PROTECT_EVERY_FAULT") {
        Some(_) => all.collect(),
        None => all.skip(from).take(few).collect(),
    }
}

const PROTECT_ETCD: &str = "server etcd --node cp-1 --node cp-2 --grant-needed";
const PROTECT_AND_PRUNE: &str = "server etcd --node cp-1 --node cp-2 --grant-needed --prune";

const IN_A_TIER: &str =
    "server postgres --port tcp/5432 --workload 'shop/app == \"db\"' --tier guard";

/// On the Kubernetes sample cluster.
pub const KUBERNETES: [Scenario; 14] = [
    scenario("grant nodes", &[], "grant etcd --all-nodes"),
    scenario(
        "grant networks",
        &[PROTECT_ETCD],
        "grant etcd --net 198.51.100.0/28 --net 203.0.113.0/28",
    ),
    scenario("protect", &[], PROTECT_ETCD),
    scenario("protect and prune", &[], PROTECT_AND_PRUNE),
    scenario(
        "protect Typha and prune",
        &[],
        "server typha --all-nodes --grant-needed --prune",
    ),
    scenario(
        "protect what is no failsafe",
        &[],
        "server felix-metrics --all-nodes",
    ),
    scenario("protect in a tier", &[], IN_A_TIER),
    scenario("prune", &[PROTECT_ETCD], "prune etcd"),
    scenario(
        "narrow a failsafe",
        &[],
        "prune tcp/22 --keep-net 192.0.2.0/24 --direction inbound",
    ),
    scenario("restore", &[PROTECT_AND_PRUNE], "restore etcd"),
    scenario("remove", &[PROTECT_ETCD], "remove etcd"),
    scenario(
        "remove with the failsafes",
        &[PROTECT_AND_PRUNE],
        "remove etcd --restore",
    ),
    scenario(
        "revoke",
        &["grant etcd --all-nodes --net 198.51.100.0/28"],
        "revoke etcd --all-nodes --net 198.51.100.0/28",
    ),
    scenario(
        "grant a pod",
        &[IN_A_TIER],
        "grant postgres --workload 'monitoring/app == \"prometheus\"'",
    ),
];

const ON_HOSTS: &str = "server etcd --node m1 --node m2 --grant-needed";
const ON_HOSTS_AND_PRUNE: &str = "server etcd --node m1 --node m2 --grant-needed --prune \
    --accept-unproven agent-to-etcd:m3:m1 --accept-unproven agent-to-etcd:m3:m2";

/// On hosts without Kubernetes. What the sample does not tell is waived.
pub const HOSTS: [Scenario; 12] = [
    scenario("grant nodes", &[], "grant etcd --all-nodes"),
    scenario("protect", &[], ON_HOSTS),
    scenario(
        "protect what is no failsafe",
        &[],
        "server felix-metrics --all-nodes",
    ),
    scenario(
        "grant networks",
        &[ON_HOSTS],
        "grant etcd --net 198.51.100.0/28",
    ),
    scenario("protect and prune", &[], ON_HOSTS_AND_PRUNE),
    scenario(
        "protect in a tier",
        &[],
        "server postgres --port tcp/5432 --node m1 --tier guard",
    ),
    scenario(
        "prune",
        &[ON_HOSTS],
        "prune etcd --accept-unproven agent-to-etcd:m3:m1 --accept-unproven agent-to-etcd:m3:m2",
    ),
    scenario(
        "narrow a failsafe",
        &[],
        "prune tcp/22 --keep-net 192.0.2.0/24 --direction inbound \
         --accept-unproven ssh:m1 --accept-unproven ssh:m2 --accept-unproven ssh:m3",
    ),
    scenario("restore", &[ON_HOSTS_AND_PRUNE], "restore etcd"),
    scenario(
        "remove",
        &[ON_HOSTS],
        "remove etcd --accept-unproven bgp-mesh:m2:m1 \
         --accept-unproven bgp-mesh:m3:m1 --accept-unproven bgp-mesh:m3:m2",
    ),
    scenario(
        "remove with the failsafes",
        &[ON_HOSTS_AND_PRUNE],
        "remove etcd --restore --accept-unproven bgp-mesh:m2:m1 \
         --accept-unproven bgp-mesh:m3:m1 --accept-unproven bgp-mesh:m3:m2",
    ),
    scenario(
        "revoke",
        &["grant etcd --all-nodes"],
        "revoke etcd --all-nodes",
    ),
];
