//! Commands and their opposites, there and back.

use super::Cluster;

/// A command and its opposite.
pub type Pair<'a> = (&'a str, &'a str);

pub const ETCD: &str = "server etcd --node-selector has(node-role.kubernetes.io/control-plane)";

pub const OWN: [&str; 3] = ["example", "team", "export-v1"];

/// A copy of a cluster; `None` for one that is not beside the sources.
pub fn copy(name: &str) -> Option<Cluster> {
    println!("on {name}");
    match name {
        "example" => Some(Cluster::example()),
        "team" | "export-v1" => Some(Cluster::own(name)),
        _ => Cluster::beside(name),
    }
}

/// A command line in words; single quotes keep blanks.
pub fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}

/// Runs a command that changes something, then once more, when there is nothing left to do.
#[track_caller]
pub fn twice(cluster: &Cluster, line: &str) {
    let arguments = words(line);
    cluster
        .does(&[&arguments[..], &["--yes"]].concat())
        .says("done: ");
    let again = cluster.refused(0, &[&arguments[..], &["--yes"]].concat());
    again.says("nothing to do").shows_nothing();
}

/// There and back, in the opposite order, exact at every step.
#[track_caller]
pub fn there_and_back(cluster: &Cluster, pairs: &[Pair<'_>]) {
    let mut before = Vec::new();
    for (command, _) in pairs {
        before.push(cluster.tree());
        twice(cluster, command);
    }
    for ((_, opposite), tree) in pairs.iter().zip(before).rev() {
        twice(cluster, opposite);
        cluster.tree().assert_same(&tree, &words(opposite));
    }
}

/// There, and back in the same order: only the end must be what the beginning was.
#[track_caller]
pub fn there_and_back_in_order(cluster: &Cluster, pairs: &[Pair<'_>]) {
    let before = cluster.tree();
    for (command, _) in pairs {
        twice(cluster, command);
    }
    for (_, opposite) in pairs {
        cluster.does(&[&words(opposite)[..], &["--yes"]].concat());
    }
    let all: Vec<&str> = pairs.iter().map(|(_, opposite)| *opposite).collect();
    cluster.tree().assert_same(&before, &all);
}
