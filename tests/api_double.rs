//! The API server double behaves as the real server was recorded.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints what it skips"
)]

mod double;

#[path = "api_double/behaviour.rs"]
mod behaviour;
#[path = "api_double/client.rs"]
mod client;
#[path = "api_double/compare.rs"]
mod compare;
#[path = "api_double/faults.rs"]
mod faults;
#[path = "api_double/kubectl.rs"]
mod kubectl;
#[path = "api_double/replay.rs"]
mod replay;
#[path = "api_double/script.rs"]
mod script;
#[path = "api_double/shared.rs"]
mod shared;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use replay::{Server, recorded, replay};
use script::{OUT_OF_SCOPE, SCRIPT, Step};

async fn check(server: Server, exchanges: &HashMap<String, Value>) {
    let (replayed, differences) = replay(server, exchanges).await;
    let version = server.version();
    println!(
        "{version}: {replayed} exchanges replayed, {} out of scope",
        OUT_OF_SCOPE.len()
    );
    for (name, reason) in OUT_OF_SCOPE {
        println!("{version}: {name} is out of scope: {reason}");
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn answers_as_the_v1_server_did() {
    check(Server::V1, &recorded(Server::V1)).await;
}

#[tokio::test]
async fn answers_as_the_v3_server_did() {
    check(Server::V3, &recorded(Server::V3)).await;
}

#[tokio::test]
async fn answers_as_in_the_recordings_beside_the_repository() {
    for server in [Server::V1, Server::V3] {
        match shared::recorded(server) {
            Some(exchanges) => check(server, &exchanges).await,
            None => println!("skipped: no recordings beside the repository"),
        }
    }
}

#[test]
fn every_recorded_exchange_is_replayed_once_or_out_of_scope() {
    let mut played = Vec::new();
    for step in SCRIPT {
        if let Step::Play(names) = step {
            played.extend(names.iter().map(|name| (*name).to_owned()));
        }
    }
    let once: HashSet<String> = played.iter().cloned().collect();
    assert_eq!(once.len(), played.len(), "an exchange is played twice");
    assert_eq!((played.len(), OUT_OF_SCOPE.len()), (200, 14));
    for server in [Server::V1, Server::V3] {
        let kept: HashSet<String> = recorded(server).into_keys().collect();
        assert_eq!(kept, once);
        if let Some(beside) = shared::recorded(server) {
            assert_eq!(beside.into_keys().collect::<HashSet<_>>(), once);
        }
    }
}
