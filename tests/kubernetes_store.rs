//! Clusters as a datastore, over the API server double in its three shapes, and over a live one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

#[expect(dead_code, reason = "the double can do more than is needed here")]
mod double;

#[path = "kubernetes_store/clusters.rs"]
mod clusters;
#[path = "kubernetes_store/connection.rs"]
mod connection;
#[path = "kubernetes_store/credentials.rs"]
mod credentials;
#[path = "kubernetes_store/live.rs"]
mod live;
#[path = "kubernetes_store/live_rights.rs"]
mod live_rights;
#[path = "kubernetes_store/oidc.rs"]
mod oidc;
#[path = "kubernetes_store/preflight.rs"]
mod preflight;
#[path = "kubernetes_store/read.rs"]
mod read;
#[path = "kubernetes_store/rights.rs"]
mod rights;
#[path = "kubernetes_store/settings.rs"]
mod settings;
#[path = "kubernetes_store/shapes.rs"]
mod shapes;
#[path = "kubernetes_store/support.rs"]
mod support;
#[path = "kubernetes_store/weather.rs"]
mod weather;
#[path = "kubernetes_store/write.rs"]
mod write;
