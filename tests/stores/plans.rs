//! The same plans over every store: native and aggregated v3, v1 as four releases write it, etcd and
//! manifests.
//!
//! A scenario is a list of commands and the commands that undo them. Each is run on the same
//! cluster in every store, and must come to the same changes, in v3 form, with the same proof, the
//! same exit code and the same objects in the end; undone, every stored object is as it was.

use super::scenario::{Scenario, on_every_store};

#[tokio::test]
async fn a_server_is_protected() {
    on_every_store(&Scenario {
        forth: &[(0, "server etcd --node cp-1 --interface eth0")],
        back: &[(0, "remove etcd")],
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn hosts_are_let_in_by_their_endpoints_and_their_nodes() {
    on_every_store(&Scenario {
        forth: &[
            (0, "server felix-metrics --node w-1 --interface eth0"),
            (0, "grant felix-metrics --node w-2"),
            (0, "grant felix-metrics --all-nodes"),
        ],
        back: &[
            (0, "revoke felix-metrics --all-nodes"),
            (0, "remove felix-metrics"),
        ],
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn networks_addresses_and_sets_are_let_in() {
    on_every_store(&Scenario {
        forth: &[
            (0, "grant typha --net 198.51.100.0/28 --net 2001:db8:5::/64"),
            (0, "grant typha --ip 203.0.113.7"),
            (0, "grant typha --net-set office"),
        ],
        back: &[
            (0, "revoke typha --net-set office"),
            (0, "revoke typha --ip 203.0.113.7"),
            (
                0,
                "revoke typha --net 198.51.100.0/28 --net 2001:db8:5::/64",
            ),
        ],
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn pods_are_let_in_by_their_template() {
    on_every_store(&Scenario {
        forth: &[(
            0,
            "grant felix-metrics --workload 'monitoring/app == \"prometheus\"'",
        )],
        back: &[(
            0,
            "revoke felix-metrics --workload 'monitoring/app == \"prometheus\"'",
        )],
        of_kubernetes: true,
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn pods_that_run_are_let_in_by_themselves() {
    on_every_store(&Scenario {
        forth: &[(
            0,
            "grant felix-metrics --pods-only --workload 'monitoring/app == \"prometheus\"'",
        )],
        back: &[(
            0,
            "revoke felix-metrics --workload 'monitoring/app == \"prometheus\"'",
        )],
        of_kubernetes: true,
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn failsafes_are_pruned_in_the_layer_that_decides() {
    on_every_store(&Scenario {
        forth: &[
            (0, "grant etcd --all-nodes"),
            (0, "prune tcp/6666 tcp/6667"),
            (0, "prune udp/68 --direction inbound --node w-2"),
            (
                0,
                "prune tcp/22 --direction inbound --keep-net 198.51.100.0/28",
            ),
        ],
        back: &[
            (0, "restore tcp/22 --direction inbound"),
            (0, "restore udp/68 --direction inbound --node w-2"),
            (0, "restore tcp/6666 tcp/6667"),
            (0, "revoke etcd --all-nodes"),
        ],
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn a_server_is_protected_granted_and_pruned_in_one_go() {
    on_every_store(&Scenario {
        forth: &[
            (0, "grant etcd --all-nodes --net 192.0.2.10/32"),
            (0, "server etcd --node cp-1 --interface eth0 --prune"),
        ],
        back: &[
            (0, "restore etcd"),
            (0, "remove etcd"),
            (0, "revoke etcd --all-nodes --net 192.0.2.10/32"),
        ],
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn a_tier_of_its_own_needs_a_release_with_tiers() {
    on_every_store(&Scenario {
        forth: &[(
            0,
            "server db --port tcp/5432 --node w-1 --interface eth0 --tier guard",
        )],
        back: &[(0, "remove db")],
        needs_tiers: true,
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn a_prune_that_would_cut_needed_clients_is_refused() {
    on_every_store(&Scenario {
        forth: &[(0, "server etcd --node cp-1 --no-self"), (3, "prune etcd")],
        back: &[(0, "remove etcd")],
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn a_policy_moves_from_tier_to_tier() {
    on_every_store(&Scenario {
        forth: &[
            (
                0,
                "server db --port tcp/5432 --node w-1 --interface eth0 --tier other",
            ),
            (0, "server db --node w-1 --interface eth0 --tier default"),
            (0, "server db --node w-1 --interface eth0 --tier guard"),
        ],
        back: &[(0, "remove db")],
        needs_tiers: true,
        moves: true,
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn a_protection_that_drops_everything_else_is_refused() {
    on_every_store(&Scenario {
        forth: &[(
            3,
            "server db --port tcp/5432 --node cp-1 --approach deny-by-default",
        )],
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_overwritten() {
    on_every_store(&Scenario {
        forth: &[
            (1, "server bgp --node w-1"),
            (1, "grant bgp --net 198.51.100.0/28"),
        ],
        ..Scenario::default()
    })
    .await;
}

#[tokio::test]
async fn what_is_not_known_is_wrong_usage() {
    on_every_store(&Scenario {
        forth: &[
            (64, "server etcd --node w-9"),
            (64, "grant etcd --net-set attic"),
            (64, "remove database"),
        ],
        ..Scenario::default()
    })
    .await;
}
