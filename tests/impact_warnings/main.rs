//! Every warning of `calico-semantics` 6.7 on a small cluster that looks like real ones.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../impact_support/mod.rs"]
mod impact_support;

mod effects;
mod surroundings;

/// Number of the warning, what produces it (a note or error of the recipe, or a warning of the
/// impact by its code), and the test that shows it.
const TABLE: [(u8, &str, &str); 31] = [
    (
        1,
        "recipe::server::note_failsafes",
        "w01_a_failsafe_makes_the_protection_idle",
    ),
    (1, "impact: failsafe", "w01_clients_of_an_idle_protection"),
    (2, "impact: lock-out", "w02_protected_without_an_allow"),
    (
        3,
        "impact: default-allow-gone",
        "w03_the_default_allow_goes",
    ),
    (
        3,
        "impact: default-allow-shadowed",
        "w03_an_earlier_tier_hides_the_default_allow",
    ),
    (
        3,
        "recipe::server::put_policy",
        "w03_the_default_allow_selects_something_else",
    ),
    (4, "impact: loopback", "w04_loopback_is_policed"),
    (
        5,
        "impact: other-interfaces",
        "w05_one_interface_is_not_the_host",
    ),
    (6, "impact: own-pods", "w06_own_pods_go_past"),
    (
        7,
        "impact: nodes-stand-for-pods",
        "w07_nodes_stand_for_their_pods",
    ),
    (
        7,
        "recipe::grant::note_nat",
        "w07_a_pod_behind_nat_is_no_client",
    ),
    (8, "impact: kernel-accepts", "w08_later_rules_of_the_kernel"),
    (
        9,
        "impact: standing-connections",
        "w09_standing_connections",
    ),
    (10, "impact: ipv6-off", "w10_ipv6_is_not_policed"),
    (
        10,
        "impact: ipv6-neighbours",
        "w10_neighbour_discovery_is_dropped",
    ),
    (
        10,
        "impact: no-ipv6-address",
        "w10_clients_without_an_ipv6_address",
    ),
    (11, "impact: negative-selector", "w11_negative_selectors"),
    (
        12,
        "impact: client-without-address",
        "w12_a_label_without_addresses",
    ),
    (
        12,
        "impact: client-on-host-network",
        "w12_a_label_on_the_host_network",
    ),
    (
        12,
        "recipe::workloads::label",
        "w12_the_recipe_refuses_the_host_network",
    ),
    (
        12,
        "impact: label-on-automatic-endpoint",
        "w12_a_label_that_is_reverted",
    ),
    (
        13,
        "impact: client-endpoint-closes",
        "w13_an_endpoint_for_a_client",
    ),
    (
        14,
        "recipe::hosts::check_shadowing",
        "w14_two_endpoints_for_one_interface",
    ),
    (
        14,
        "impact: shadowed",
        "w14_an_automatic_endpoint_comes_first",
    ),
    (15, "impact: decided-before", "w15_an_earlier_allow"),
    (
        15,
        "impact: policies that begin",
        "w15_a_policy_for_all_begins_to_apply",
    ),
    (16, "impact: ipvs, bpf-interface", "w16_ipvs_and_bpf"),
    (
        17,
        "impact: node-port, host-port",
        "w17_node_ports_and_host_ports",
    ),
    (18, "impact: unknown-node", "w18_a_node_that_nobody_knows"),
    (19, "impact: other-protocol", "w19_the_same_port_of_udp"),
    (20, "impact: invalid-packets", "w20_invalid_packets"),
];

#[test]
fn every_warning_has_a_test() {
    let numbers: std::collections::BTreeSet<u8> = TABLE.iter().map(|(n, _, _)| *n).collect();
    assert_eq!(numbers, (1..=20).collect());
    let source = concat!(include_str!("effects.rs"), include_str!("surroundings.rs"));
    for (number, by, test) in TABLE {
        assert!(
            source.contains(&format!("fn {test}()")),
            "{number} {by}: no {test}"
        );
    }
}
