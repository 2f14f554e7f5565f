//! The API server double behaves as the real server was recorded.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod double;

#[path = "api_double/client.rs"]
mod client;
#[path = "api_double/compare.rs"]
mod compare;
#[path = "api_double/replay.rs"]
mod replay;
#[path = "api_double/script.rs"]
mod script;

use replay::{Server, recorded, replay};

#[tokio::test]
async fn answers_as_recorded_v1() {
    let (n, differences) = replay(Server::V1, &recorded(Server::V1)).await;
    println!("{n} replayed");
    assert!(
        differences.is_empty(),
        "{}\n{} differ",
        differences.join("\n"),
        differences.len()
    );
}

#[tokio::test]
async fn answers_as_recorded_v3() {
    let (n, differences) = replay(Server::V3, &recorded(Server::V3)).await;
    println!("{n} replayed");
    assert!(
        differences.is_empty(),
        "{}\n{} differ",
        differences.join("\n"),
        differences.len()
    );
}
