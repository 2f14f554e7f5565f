//! What others write between the plan and its steps.

use calicoctl_protect::apply::State;
use calicoctl_protect::calico::{Kind, ObjectId};
use calicoctl_protect::cli::error::CliError;
use calicoctl_protect::cli::exit::Exit;
use calicoctl_protect::cli::write::Order;
use calicoctl_protect::plan::Course;
use calicoctl_protect::recipe::failsafes::{Failsafes, PortChoice, prune};
use calicoctl_protect::recipe::grant::grant;
use serde_json::json;

use crate::{Objects, Shared, clients, cluster, granting, label, recorded, set};

/// Takes tcp/179 out of the failsafe lists.
fn pruning() -> Order {
    let failsafes = bgp();
    Order::new("prune", Course::Forward, move |draft| {
        prune(draft, &failsafes)
    })
}

fn bgp() -> Failsafes {
    Failsafes {
        ports: vec![PortChoice::Port("tcp/179".parse().unwrap())],
        directions: calicoctl_protect::calico::felix::Direction::BOTH.to_vec(),
        nodes: Vec::new(),
        keep_nets: Vec::new(),
        add: false,
    }
}

/// Lets m1 and m2 in, and takes tcp/179 out of the failsafe lists behind that.
fn granting_and_pruning() -> Order {
    let (clients, failsafes) = (clients(&["m1", "m2"]), bgp());
    Order::new("server", Course::Forward, move |draft| {
        grant(draft, &clients)?;
        prune(draft, &failsafes)
    })
}

fn carried_out(order: &Order, store: &mut Shared) -> Result<Exit, CliError> {
    recorded(order, store).0
}

#[test]
fn labels_that_a_controller_rewrites_in_between_do_not_stop_a_grant() {
    let mut store = cluster().before_write(0, |objects| {
        let labels = Some(json!("rewritten"));
        set(
            objects,
            Kind::HostEndpoint,
            "m1-eth0",
            "/metadata/labels",
            "theirs",
            labels,
        );
    });
    assert_eq!(carried_out(&granting(), &mut store), Ok(Exit::Ok));
    let endpoint = store.value(Kind::HostEndpoint, "m1-eth0");
    assert_eq!(label(endpoint, "theirs").as_deref(), Some("rewritten"));
    assert_eq!(
        label(endpoint, "allowed-etcd-client").as_deref(),
        Some("true")
    );
}

#[test]
fn a_setting_that_an_operator_writes_in_between_does_not_stop_a_prune() {
    let mut store = cluster().before_write(0, |objects| {
        let level = Some(json!("Debug"));
        set(
            objects,
            Kind::FelixConfiguration,
            "default",
            "/spec",
            "logSeverityScreen",
            level,
        );
    });
    let end = carried_out(&pruning(), &mut store);
    assert_eq!(end, Ok(Exit::Ok));
    let felix = store.value(Kind::FelixConfiguration, "default");
    assert_eq!(felix["spec"]["logSeverityScreen"], "Debug");
    assert!(felix["spec"]["failsafeInboundHostPorts"].is_array());
}

#[test]
fn a_failsafe_list_that_an_operator_writes_in_between_stops_a_prune_with_the_difference() {
    let mut store = cluster().before_write(0, |objects| {
        let list = json!([{"protocol": "tcp", "port": 22}, {"protocol": "tcp", "port": 179}]);
        set(
            objects,
            Kind::FelixConfiguration,
            "default",
            "/spec",
            "failsafeInboundHostPorts",
            Some(list),
        );
    });
    let error = carried_out(&pruning(), &mut store).unwrap_err();
    assert_eq!(error.exit, Exit::Conflict, "{error:?}");
    assert!(
        error
            .message
            .starts_with("`FelixConfiguration/default` has changed since it was read; "),
        "{error:?}"
    );
    let gone = error
        .detail
        .iter()
        .any(|line| line.starts_with("  - FelixConfiguration/default"));
    let come = error
        .detail
        .iter()
        .any(|line| line.starts_with("  + FelixConfiguration/default"));
    assert!(gone && come, "{error:?}");
    assert_eq!(store.writes, 0);
}

#[test]
fn the_rest_of_a_half_written_plan_goes_on_where_it_is_what_was_shown() {
    let mut store = cluster().before_write(1, |objects| {
        let labels = Some(json!("rewritten"));
        set(
            objects,
            Kind::HostEndpoint,
            "m2-eth0",
            "/metadata/labels",
            "theirs",
            labels,
        );
    });
    assert_eq!(carried_out(&granting(), &mut store), Ok(Exit::Ok));
    for name in ["m1-eth0", "m2-eth0"] {
        let endpoint = store.value(Kind::HostEndpoint, name);
        assert_eq!(
            label(endpoint, "allowed-etcd-client").as_deref(),
            Some("true"),
            "{name}"
        );
    }
}

#[test]
fn a_half_written_plan_stops_with_the_difference_where_the_rest_would_be_another() {
    let mut store = cluster().before_write(1, |objects| {
        // The endpoint that was labelled first is made anew, without its label and elsewhere.
        set(
            objects,
            Kind::HostEndpoint,
            "m1-eth0",
            "/metadata/labels",
            "allowed-etcd-client",
            None,
        );
        set(
            objects,
            Kind::HostEndpoint,
            "m2-eth0",
            "/spec",
            "interfaceName",
            Some(json!("eth7")),
        );
        objects.retain(|id, _| id.name != "m1-eth0");
    });
    let error = carried_out(&granting(), &mut store).unwrap_err();
    assert_eq!(error.exit, Exit::Partly, "{error:?}");
    assert!(error.message.contains("going on is refused"), "{error:?}");
    assert!(
        error.detail.iter().any(|line| line.starts_with("+ ")),
        "{error:?}"
    );
    assert_eq!(store.writes, 1);
}

#[test]
fn the_next_stage_is_not_begun_where_what_it_rests_on_did_not_stay() {
    type Case = (&'static str, fn(&mut Objects), &'static str);
    let cases: [Case; 2] = [
        (
            "label",
            |objects| {
                let (labels, key) = ("/metadata/labels", "allowed-etcd-client");
                set(objects, Kind::HostEndpoint, "m1-eth0", labels, key, None);
            },
            "HostEndpoint/m1-eth0: metadata.labels.allowed-etcd-client is not as written",
        ),
        (
            "object",
            |objects| objects.retain(|id, _| id.name != "m2-eth0"),
            "HostEndpoint/m2-eth0: is gone",
        ),
    ];
    for (what, meddling, words) in cases {
        let mut store = cluster().behind_write(2, meddling);
        let (end, runs) = recorded(&granting_and_pruning(), &mut store);
        let error = end.unwrap_err();
        assert_eq!(error.exit, Exit::Partly, "{what}: {error:?}");
        assert!(
            error.message.starts_with(
                "2 of 3 steps were written, then: 1 object did not stay as written; the rest"
            ),
            "{error:?}"
        );
        assert_eq!(error.detail, [words], "{what}");
        assert_eq!(store.writes, 2, "the failsafe list stays");
        assert_eq!(runs[0].state(), State::Partly);
    }
}

#[test]
fn what_another_writer_has_done_already_is_not_done_again() {
    let mut store = cluster().before_write(0, |objects| {
        for name in ["m1-eth0", "m2-eth0"] {
            let (labels, key) = ("/metadata/labels", "allowed-etcd-client");
            set(
                objects,
                Kind::HostEndpoint,
                name,
                labels,
                key,
                Some(json!("true")),
            );
        }
    });
    assert_eq!(carried_out(&granting(), &mut store), Ok(Exit::Ok));
    assert_eq!(store.writes, 0);
}

#[test]
fn a_writer_who_never_rests_ends_in_a_refusal_and_not_in_a_loop() {
    let mut store = cluster();
    store.restless = Some(ObjectId::global(Kind::HostEndpoint, "m1-eth0"));
    let error = carried_out(&granting(), &mut store).unwrap_err();
    assert_eq!(error.exit, Exit::Conflict, "{error:?}");
    assert_eq!(store.writes, 0);
}
