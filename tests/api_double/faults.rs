//! Faults on demand, and what the journal tells.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::behaviour::{mk_double, mk_hep};
use crate::client::Client;
use crate::double::{ADMIN_TOKEN, Double, Fault, Shape, When};

const HEPS: &str = "/apis/projectcalico.org/v3/hostendpoints";

#[tokio::test]
async fn only_the_requests_meant_are_met() {
    let double = mk_double(2);
    let client = Client::admin(&double);
    let second = When::method("GET").and_path("/hostendpoints/").nth(2);
    double.fault(second, Fault::Internal);
    let mut seen = Vec::new();
    for path in ["h-0", "h-1", "h-0"] {
        seen.push(client.get(&format!("{HEPS}/{path}")).await.status);
    }
    assert_eq!(seen, [200, 500, 200]);
    double.fault(When::any().from(2).times(2), Fault::Unavailable);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(client.get("/version").await.status);
    }
    assert_eq!(seen, [200, 503, 503, 200]);
    double.clear_faults();
    double.fault(When::any().and_query("continue="), Fault::Gone);
    let first = client.get(&format!("{HEPS}?limit=1")).await;
    assert_eq!(first.status, 200);
    let first = first.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let gone = client.get(&format!("{HEPS}?continue={token}")).await;
    assert_eq!(gone.status, 410);
    assert!(gone.json()["metadata"]["continue"].is_string());
}

#[tokio::test]
async fn both_kinds_of_429_come_with_and_without_a_time() {
    let double = mk_double(1);
    let client = Client::admin(&double);
    for retry_after in [Some(7), None] {
        double.fault(When::any().nth(1), Fault::FlowControl { retry_after });
        let answer = client.get(HEPS).await;
        double.clear_faults();
        let expected: Vec<String> = retry_after.iter().map(ToString::to_string).collect();
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (429, expected.clone())
        );
        assert!(answer.text.starts_with("Too many requests"));
        let message =
            "Cannot evict pod as it would violate the pod's disruption budget.".to_owned();
        double.fault(
            When::any().nth(1),
            Fault::TooMany {
                message,
                retry_after,
            },
        );
        let answer = client.get(HEPS).await;
        double.clear_faults();
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (429, expected)
        );
        assert_eq!(answer.json()["reason"], "TooManyRequests");
    }
    double.initializing("hostendpoints");
    assert_eq!(
        client.get(HEPS).await.json()["message"],
        "storage is (re)initializing"
    );
    assert_eq!(client.get(HEPS).await.status, 200);
}

#[tokio::test]
async fn a_conflict_can_be_made_up() {
    let double = mk_double(1);
    let client = Client::admin(&double);
    double.fault(When::method("PATCH").nth(1), Fault::Conflict);
    let path = format!("{HEPS}/h-0");
    let patch = json!({"metadata": {"labels": {"x": "1"}}});
    let refused = client.merge(&path, &patch).await;
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (409, &json!("Conflict"))
    );
    assert_eq!(client.merge(&path, &patch).await.status, 200);
}

#[tokio::test]
async fn a_cut_leaves_the_object_or_changes_it() {
    for (fault, changed) in [(Fault::CutBefore, false), (Fault::CutAfter, true)] {
        let double = mk_double(1);
        let client = Client::admin(&double);
        double.fault(When::method("PATCH"), fault);
        let headers = [("content-type", "application/merge-patch+json")];
        let patch = json!({"spec": {"interfaceName": "eth7"}}).to_string();
        let lost = client
            .try_send("PATCH", &format!("{HEPS}/h-0"), &headers, patch)
            .await;
        assert!(lost.is_err());
        let object = double
            .get("hostendpoints.projectcalico.org", "h-0")
            .unwrap();
        assert_eq!(object["spec"]["interfaceName"] == "eth7", changed);
        let requests = double.requests();
        assert!(
            requests
                .iter()
                .all(|r| r.method == "PATCH" && r.status.is_none())
        );
    }
}

#[tokio::test]
async fn an_answer_can_end_in_the_middle() {
    let double = mk_double(1);
    let client = Client::admin(&double);
    double.fault(When::any().nth(1), Fault::CutInside);
    let path = format!("{HEPS}/h-0");
    let lost = client.try_send("GET", &path, &[], String::new()).await;
    assert!(lost.is_err());
    assert_eq!(double.requests()[0].status, Some(200));
    assert_eq!(client.get(&path).await.status, 200);
}

#[tokio::test]
async fn a_web_page_can_take_the_place_of_an_answer() {
    let double = mk_double(1);
    let client = Client::admin(&double);
    double.fault(When::method("PATCH"), Fault::WebPage(403));
    let path = format!("{HEPS}/h-0");
    let patch = json!({"spec": {"interfaceName": "eth7"}});
    let answer = client.merge(&path, &patch).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("content-type"), ["text/html"]);
    assert!(answer.text.starts_with("<!DOCTYPE html>"));
    assert_ne!(
        client.get(&path).await.json()["spec"]["interfaceName"],
        "eth7"
    );
}

#[tokio::test]
async fn a_certificate_that_has_expired_opens_nothing() {
    let double = mk_double(1);
    let old = double.expired_certificate("admin", &[crate::double::MASTERS]);
    let client = Client::of_certificate(&double, &old);
    let refused = client.try_send("GET", HEPS, &[], String::new()).await;
    assert!(refused.is_err() && double.requests().is_empty());
}

#[tokio::test]
async fn slow_answers_are_slow() {
    let double = mk_double(1);
    let client = Client::admin(&double);
    let path = format!("{HEPS}/h-0");
    double.fault(When::path("h-0"), Fault::Slow(Duration::from_millis(120)));
    let start = Instant::now();
    assert_eq!(client.get(&path).await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(120));
    double.latency(Duration::from_millis(60));
    let start = Instant::now();
    assert_eq!(client.get(HEPS).await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn tokens_expire_and_rights_go() {
    let double = mk_double(1);
    let client = Client::token(&double, ADMIN_TOKEN);
    let path = format!("{HEPS}/h-0");
    assert_eq!(client.get(&path).await.status, 200);
    double.deny("patch", "hostendpoints");
    let patch = json!({"metadata": {"labels": {"x": "1"}}});
    assert_eq!(client.merge(&path, &patch).await.status, 403);
    double.pardon();
    assert_eq!(client.merge(&path, &patch).await.status, 200);
    double.fault(When::any().nth(1), Fault::Unauthorized);
    assert_eq!(client.get(&path).await.status, 401);
    assert_eq!(client.get(&path).await.status, 200);
    double.expire_token(ADMIN_TOKEN);
    assert_eq!(client.get(&path).await.status, 401);
    assert_eq!(client.get(&path).await.status, 401);
}

#[tokio::test]
async fn the_journal_tells_what_came() {
    let double = mk_double(3);
    let (held, gate) = Fault::held();
    double.fault(When::path("/h-"), held);
    let client = Client::admin(&double);
    let paths: Vec<String> = (0..3).map(|i| format!("{HEPS}/h-{i}")).collect();
    let together = async {
        gate.reached().await;
        while double.counters().in_flight < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gate.open();
    };
    let (a, b, c, ()) = tokio::join!(
        client.get(&paths[0]),
        client.get(&paths[1]),
        client.get(&paths[2]),
        together
    );
    let counters = double.counters();
    assert_eq!((counters.max_in_flight, counters.in_flight), (3, 0));
    for (path, answer) in paths.iter().zip([a, b, c]) {
        assert_eq!(counters.bytes[path], answer.text.len());
    }
    double.reset_journal();
    let path = format!("{HEPS}?fieldManager=me&dryRun=All");
    let body = mk_hep("new").to_string();
    assert_eq!(client.send_json("POST", &path, &body).await.status, 201);
    let requests = double.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", HEPS)
    );
    assert_eq!(request.param("fieldManager"), "me");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(
        (request.body.as_str(), request.user.as_str()),
        (body.as_str(), "admin")
    );
    assert_eq!(
        (request.version.as_str(), request.status),
        ("HTTP/2.0", Some(201))
    );
    assert!((1..=3).contains(&request.connection));
    assert!(!request.is_write(), "a dry run writes nothing");
    assert_eq!(
        double.counters().connections,
        0,
        "the connection is the old one"
    );
}

#[tokio::test]
async fn both_versions_of_http_and_plain_http_are_served() {
    let double = Double::builder(Shape::NativeV3).http1().start();
    assert_eq!(Client::admin(&double).get("/version").await.status, 200);
    assert_eq!(double.requests()[0].version, "HTTP/1.1");
    let double = Double::builder(Shape::NativeV3)
        .plain()
        .bare()
        .kubernetes("v1.30.4")
        .start();
    assert!(double.url().starts_with("http://"));
    let client = Client::anonymous(&double);
    assert_eq!(client.get("/version").await.json()["minor"], "30");
    let information = "/apis/projectcalico.org/v3/clusterinformations/default";
    assert_eq!(client.get(information).await.status, 404);
}

#[tokio::test]
async fn what_stalls_has_taken_effect_or_not_and_is_counted() {
    let double = mk_double(0);
    let client = Client::admin(&double);
    double.fault(When::write().nth(1), Fault::StallBefore);
    double.fault(When::write().nth(2), Fault::StallAfter);
    for (name, stored) in [("first", false), ("second", true)] {
        let (body, before) = (mk_hep(name).to_string(), double.stalled());
        let stalls = async {
            while double.stalled() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            answer = client.send_json("POST", HEPS, &body) => panic!("{} for {name}", answer.status),
            () = stalls => {}
        }
        let objects = double.everything();
        let is_there = objects.iter().any(|o| o["metadata"]["name"] == name);
        assert_eq!(is_there, stored, "{name}");
    }
    assert_eq!(double.stalled(), 2);
}
