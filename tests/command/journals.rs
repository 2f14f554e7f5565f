//! What the journal says.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::Cluster;

/// What the history tells, oldest first.
#[track_caller]
pub fn history(cluster: &Cluster) -> Vec<Value> {
    let run = cluster.refused(0, &["history", "-o", "json"]);
    let value: Value = serde_json::from_str(&run.out).unwrap_or_default();
    let member = |key: &str| value.get(key).cloned().unwrap_or_default();
    assert_eq!(member("format_version"), "1.0", "{run}");
    member("runs").as_array().cloned().unwrap_or_default()
}

/// Id and state of the last run.
#[track_caller]
pub fn last(cluster: &Cluster) -> (String, String) {
    let runs = history(cluster);
    let text = |key: &str| {
        let text = runs.last().and_then(|run| run.get(key)?.as_str());
        text.unwrap_or_default().to_owned()
    };
    (text("id"), text("state"))
}

/// Every file of the journal.
pub fn journals(cluster: &Cluster) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![cluster.state()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "jsonl") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
