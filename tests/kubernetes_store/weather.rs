//! Bad weather: busy servers, lost answers, cut connections.

use std::time::{Duration, Instant};

use calicoctl_protect::calico::Kind;
use calicoctl_protect::store::kubernetes::Limits;
use calicoctl_protect::store::{Store, Write};
use serde_json::json;

use crate::double::{Fault, Shape, When};
use crate::support::*;

const HEP: &str = "hostendpoints.projectcalico.org";

fn both_429(retry_after: Option<u64>) -> [Fault; 2] {
    let message = "storage is (re)initializing".to_owned();
    [
        Fault::FlowControl { retry_after },
        Fault::TooMany {
            message,
            retry_after,
        },
    ]
}

#[tokio::test]
async fn reading_waits_for_a_busy_server() {
    for fault in both_429(Some(1))
        .into_iter()
        .chain([Fault::Unavailable, Fault::Internal])
    {
        let mut bench = native();
        bench.load([mk_hep("h", &[])]);
        bench
            .double
            .fault(When::path("/hostendpoints").times(2), fault);
        let snapshot = bench.read(&[Kind::HostEndpoint]).await;
        assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 1);
    }
}

#[tokio::test]
async fn the_pause_that_the_server_asks_for_is_kept() {
    let limits = Limits {
        longest_pause: Duration::from_secs(20),
        ..limits()
    };
    let mut bench = mk_bench_with(crate::double::Shape::NativeV3, "v3.32.1", limits);
    bench.load([mk_hep("h", &[("a", "1")])]);
    bench.double.initializing("hostendpoints");
    let started = Instant::now();
    let snapshot = bench.read(&[Kind::HostEndpoint]).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    let [flow, _] = both_429(Some(1));
    bench.double.fault(When::method("PATCH").times(1), flow);
    let started = Instant::now();
    let result = bench
        .write(&[set_label(&snapshot, &hep_id("h"), "x", "1")])
        .await;
    assert_eq!(result, (vec![0], Ok(())));
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_stays_busy_is_given_up_with_its_words() {
    let mut bench = native();
    bench.load([mk_hep("h", &[("a", "1")])]);
    let snapshot = bench.read(&[Kind::HostEndpoint]).await;
    let [flow, _] = both_429(None);
    bench.double.fault(When::any(), flow);
    let error = bench
        .store
        .read(&kinds_wanted(&[Kind::HostEndpoint]))
        .await
        .unwrap_err();
    assert!(
        words(&error).contains("is too busy: Too many requests"),
        "{}",
        words(&error)
    );
    assert_eq!(error.detail, ["asked 4 times"]);
    let (done, result) = bench
        .write(&[set_label(&snapshot, &hep_id("h"), "x", "1")])
        .await;
    let error = result.unwrap_err();
    assert!(done.is_empty() && error.message.contains("is too busy"));
    assert_eq!(error.detail, ["asked 8 times"]);
}

#[tokio::test]
async fn fewer_writes_are_under_way_after_the_server_was_busy() {
    // On a slow machine it may be the same write that is refused again and again.
    let patient = Limits {
        tries: 60,
        ..limits()
    };
    let mut bench = mk_bench_with(Shape::NativeV3, "v3.32.1", patient);
    bench.load((0..300).map(|n| mk_hep(&format!("h{n}"), &[("a", "1")])));
    let snapshot = bench.read(&[Kind::HostEndpoint]).await;
    bench.double.latency(Duration::from_millis(3));
    let [flow, _] = both_429(None);
    bench
        .double
        .fault(When::method("PATCH").from(65).times(60), flow);
    let batch: Vec<Write> = (0..300)
        .map(|n| set_label(&snapshot, &hep_id(&format!("h{n}")), "x", "1"))
        .collect();
    let (done, result) = bench.write(&batch).await;
    assert_eq!((done.len(), result), (300, Ok(())));
    let refused = bench
        .double
        .requests()
        .iter()
        .filter(|r| r.status == Some(429))
        .count();
    assert_eq!(refused, 60);
}

/// Every way to lose the answer to a write, and what must come of it.
#[tokio::test]
async fn a_write_whose_answer_is_lost_takes_effect_once() {
    let slow = Fault::Slow(Duration::from_secs(30));
    for fault in [
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::CutInside,
        Fault::WebPage(200),
        slow,
        Fault::Internal,
        Fault::Unavailable,
    ] {
        for method in ["POST", "PATCH", "DELETE"] {
            let limits = Limits {
                answer: Duration::from_secs(1),
                ..limits()
            };
            let mut bench = mk_bench_with(crate::double::Shape::NativeV3, "v3.32.1", limits);
            bench.load([mk_hep("h", &[("a", "1")]), mk_hep("gone", &[])]);
            let snapshot = bench.read(&[Kind::HostEndpoint]).await;
            bench
                .double
                .fault(When::method(method).times(1), fault.clone());
            let batch = [
                Write::Create(mk_hep("new", &[("b", "2")])),
                set_label(&snapshot, &hep_id("h"), "x", "1"),
                delete(&snapshot, &hep_id("gone")),
            ];
            let case = format!("{method} {fault:?}");
            assert_eq!(bench.write(&batch).await, (vec![0, 1, 2], Ok(())), "{case}");
            let h = bench.double.get(HEP, "h").unwrap();
            assert_eq!(
                h["metadata"]["labels"],
                json!({"a": "1", "x": "1"}),
                "{case}"
            );
            assert!(bench.double.get(HEP, "new").is_some(), "{case}");
            assert!(bench.double.get(HEP, "gone").is_none(), "{case}");
            // The next write still knows the version.
            let again = set_label(&snapshot, &hep_id("h"), "x", "2");
            assert_eq!(bench.write(&[again]).await, (vec![0], Ok(())), "{case}");
        }
    }
}

#[tokio::test]
async fn what_somebody_else_did_meanwhile_is_not_taken_for_ours() {
    let mut bench = native();
    bench.load([mk_hep("h", &[("a", "1")])]);
    let snapshot = bench.read(&[Kind::HostEndpoint]).await;
    bench
        .double
        .fault(When::method("PATCH").times(1), Fault::CutBefore);
    let mut theirs = mk_hep("h", &[("a", "2")]).into_value();
    theirs["metadata"]["resourceVersion"] = json!("9999");
    bench.double.load([theirs]);
    let (done, result) = bench
        .write(&[set_label(&snapshot, &hep_id("h"), "x", "1")])
        .await;
    assert!(done.is_empty());
    assert!(
        result
            .unwrap_err()
            .message
            .contains("changed by somebody else")
    );
}

#[tokio::test]
async fn a_server_that_goes_away_in_the_middle_leaves_an_honest_account() {
    // A connection that goes away takes the answers of all others on it along.
    let limits = Limits {
        in_flight: 1,
        ..limits()
    };
    let mut bench = mk_bench_with(crate::double::Shape::NativeV3, "v3.32.1", limits);
    bench.load((0..10).map(|n| mk_hep(&format!("h{n}"), &[("a", "1")])));
    let snapshot = bench.read(&[Kind::HostEndpoint]).await;
    bench
        .double
        .fault(When::method("PATCH").from(4), Fault::CutBefore);
    bench.double.fault(
        When::method("GET").and_path("/hostendpoints/"),
        Fault::CutBefore,
    );
    let batch: Vec<Write> = (0..10)
        .map(|n| set_label(&snapshot, &hep_id(&format!("h{n}")), "x", "1"))
        .collect();
    let (done, result) = bench.write(&batch).await;
    let error = result.unwrap_err();
    assert!(
        error
            .message
            .starts_with("it is not known whether the change of HostEndpoint/")
    );
    assert_eq!(done.len(), 3);
    // Once it is back, the same run goes on from the new state.
    bench.double.clear_faults();
    let now = bench.read(&[Kind::HostEndpoint]).await;
    let left: Vec<Write> = (0..10)
        .map(|n| hep_id(&format!("h{n}")))
        .filter(|id| now.get(id).unwrap().label("x").is_none())
        .map(|id| set_label(&now, &id, "x", "1"))
        .collect();
    assert_eq!(left.len(), 7);
    bench.write(&left).await.1.unwrap();
}

#[tokio::test]
async fn connections_that_break_while_reading_are_made_anew() {
    let mut bench = native();
    bench.load([mk_hep("h", &[])]);
    bench.read(&[]).await;
    bench
        .double
        .fault(When::path("/hostendpoints").times(2), Fault::CutBefore);
    assert_eq!(bench.read(&[Kind::HostEndpoint]).await.len(), 2);
}

#[tokio::test]
async fn an_answer_that_ends_in_the_middle_is_asked_for_again() {
    let mut bench = native();
    bench.load((0..50).map(|n| mk_hep(&format!("h{n}"), &[])));
    let torn = When::path("/hostendpoints");
    bench.double.fault(torn.clone().times(2), Fault::CutInside);
    assert_eq!(bench.read(&[Kind::HostEndpoint]).await.len(), 51);
    bench.double.clear_faults();
    bench.double.fault(torn, Fault::CutInside);
    let error = bench.store.read(&kinds_wanted(&[Kind::HostEndpoint])).await;
    let words = words(&error.unwrap_err());
    assert!(words.contains("was lost: "), "{words}");
    assert!(
        words.contains("a proxy or load balancer on the way"),
        "{words}"
    );
    assert!(!words.contains("docs.rs"), "{words}");
}

#[tokio::test]
async fn a_rehearsal_that_a_web_page_answers_is_not_taken_for_done() {
    let mut bench = native();
    bench.load([mk_hep("h", &[("a", "1")])]);
    let snapshot = bench.read(&[Kind::HostEndpoint]).await;
    let label = [set_label(&snapshot, &hep_id("h"), "x", "1")];
    let patch = When::method("PATCH");
    bench.double.fault(patch, Fault::WebPage(200));
    let error = bench.store.preflight(&label).await.unwrap_err();
    let said = words(&error);
    assert!(
        said.contains("answered 200 to the change of HostEndpoint/h with a web page"),
        "{said}"
    );
    let (done, result) = bench.write(&label).await;
    assert!(done.is_empty() && result.is_err());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_forever() {
    let limits = Limits {
        answer: Duration::from_millis(50),
        ..limits()
    };
    let mut bench = mk_bench_with(crate::double::Shape::NativeV3, "v3.32.1", limits);
    bench.double.fault(When::any(), Fault::StallBefore);
    let error = bench.store.read(&kinds_wanted(&[])).await.unwrap_err();
    assert!(
        error.message.contains("did not answer within 0.05 s"),
        "{}",
        error.message
    );
}
