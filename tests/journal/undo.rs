//! Taking runs back.

use serde_json::Value;

use crate::command::Cluster;
use crate::command::journals::{history, last};
use crate::command::trips::{ETCD, OWN, copy, words};
use crate::{SERVER, does, files, same};

const BESIDE: [&str; 3] = ["gitops", "kubeadm-v3/yaml", "legacy-v1/yaml"];

/// Commands of the main job that go through one after the other.
fn main_job(name: &str) -> Vec<&'static str> {
    let mut lines = vec![ETCD, "grant etcd --all-nodes --net 198.51.100.0/28"];
    if ["team", "gitops"].contains(&name) {
        lines.push("grant typha --all-nodes");
    }
    lines.extend([
        "server felix-metrics --all-nodes",
        "prune tcp/2379",
        "revoke etcd --net 198.51.100.0/28",
        "restore tcp/2379",
        "remove felix-metrics",
    ]);
    lines
}

#[test]
fn undo_gives_back_every_byte() {
    for name in OWN.into_iter().chain(BESIDE) {
        let Some(cluster) = copy(name) else { continue };
        let mut trees = vec![cluster.tree()];
        for line in main_job(name) {
            does(&cluster, line).says("done: ");
            trees.push(cluster.tree());
        }
        trees.pop();
        for (line, before) in main_job(name).into_iter().zip(trees).rev() {
            does(&cluster, "undo").says("done: ");
            same(
                &cluster.tree(),
                &before,
                &format!("undo of {line} on {name}"),
            );
        }
        cluster
            .refused(64, &["undo", "--yes"])
            .says("there is no run to undo");
    }
}

#[test]
fn undo_puts_back_comments_quotes_and_files() {
    let cluster = Cluster::example();
    cluster.does(&["grant", "etcd", "--net", "198.51.100.0/28", "--yes"]);
    // Somebody makes the file of the tool their own.
    let names = cluster.tree().names();
    let name = names
        .iter()
        .find(|name| name.contains("allowed-etcd-client"));
    assert!(name.is_some(), "{names:?}");
    let name = name.map_or("", String::as_str);
    let text = format!(
        "# why: ask Joe\n{}\n---\n# nothing here\n",
        cluster.read(name)
    );
    cluster.write(
        name,
        text.replace("198.51.100.0/28", "198.51.100.0/28 # backup"),
    );
    let before = cluster.tree();
    cluster.does(&["revoke", "etcd", "--net", "198.51.100.0/28", "--yes"]);
    assert!(!cluster.read(name).contains("backup"));
    cluster.does(&["undo", "--yes"]);
    same(&cluster.tree(), &before, "undo of revoke");
}

#[test]
fn an_undo_can_be_undone() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    cluster.does(&SERVER);
    let after = cluster.tree();
    let (first, _) = last(&cluster);
    cluster.does(&["undo", "--yes"]);
    same(&cluster.tree(), &before, "undo");
    let (second, _) = last(&cluster);
    let states = |cluster: &Cluster| -> Vec<String> {
        let runs = history(cluster);
        runs.iter()
            .map(|run| run["state"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(states(&cluster), ["undone", "done"]);
    cluster
        .refused(0, &["undo", &first, "--yes"])
        .says(&format!("nothing to do: run {first} is undone already"));
    cluster.does(&["undo", &second, "--yes"]);
    same(&cluster.tree(), &after, "undo of undo");
    assert_eq!(states(&cluster), ["done", "undone", "done"]);
    cluster.does(&["undo", &first, "--yes"]);
    same(&cluster.tree(), &before, "undo again");
}

#[test]
fn the_history_marks_who_took_whom_back() {
    let cluster = Cluster::example();
    cluster.does(&SERVER);
    let (first, _) = last(&cluster);
    cluster.does(&["undo", "--yes"]);
    let (second, _) = last(&cluster);
    let list = cluster.refused(0, &["history"]);
    let rows: Vec<&str> = list.out.lines().skip(1).collect();
    let is = |row: &str, id: &str, state: &str, end: &str| {
        assert!(row.starts_with(id) && row.ends_with(end), "{list}");
        assert!(row.contains(&format!("  {state}  ")), "{list}");
    };
    let undone = format!("undone by {second}");
    is(rows[0], &first, &undone, "--node cp-1 --yes");
    let takes_back = format!("undo --yes  (takes back {first})");
    is(rows[1], &second, "done", &takes_back);
    assert_eq!(rows.len(), 2, "{list}");
    let told = |runs: &[Value], key: &str| -> Vec<Value> {
        runs.iter().map(|run| run[key].clone()).collect()
    };
    let runs = history(&cluster);
    assert_eq!(
        told(&runs, "undoneBy"),
        [second.as_str().into(), Value::Null]
    );
    assert_eq!(told(&runs, "undoes"), [Value::Null, first.as_str().into()]);
    cluster
        .refused(0, &["history", &second])
        .shows(&format!("  takes back run {first}\n"));
    cluster
        .refused(0, &["history", &first])
        .shows(&format!("run {first}  {undone}\n"))
        .shows(&format!(" by run {second}\n"));
    // The mark goes where the one that took it back is taken back itself.
    cluster.does(&["undo", &second, "--yes"]);
    let (third, _) = last(&cluster);
    let runs = history(&cluster);
    let nothing = Value::Null;
    assert_eq!(
        told(&runs, "undoneBy"),
        [nothing.clone(), third.into(), nothing]
    );
}

#[test]
fn undo_takes_failsafes_back_first() {
    let cluster = Cluster::example();
    cluster.does(&words(&format!("{ETCD} --grant-needed --prune --yes")));
    let run = cluster.refused(0, &["undo", "--dry-run"]);
    let order: Vec<usize> = [
        "FelixConfiguration/",
        "protected labels: ",
        "- GlobalNetworkSet/",
    ]
    .iter()
    .filter_map(|part| run.out.find(part))
    .collect();
    assert!(order.len() == 3 && order.is_sorted(), "{run}");
}

#[test]
fn an_undo_that_would_cut_a_needed_flow_is_refused() {
    let cluster = Cluster::own("kubeadm");
    cluster.does(&["grant", "typha", "--all-nodes", "--yes"]);
    let (grant, _) = last(&cluster);
    cluster.does(&["server", "typha", "--node", "w-1", "--yes"]);
    cluster.does(&["prune", "typha", "--yes"]);
    cluster
        .refused(3, &["undo", &grant, "--yes"])
        .says("would be cut")
        .says("agent-to-typha:");
}

#[test]
fn undo_keeps_what_others_have_changed_since() {
    let cluster = Cluster::example();
    let before = cluster.read("hosts/control-plane.yaml");
    cluster.does(&SERVER);
    let mine = |text: &str| {
        text.replacen(
            "role: control-plane",
            "role: control-plane\n    mine: \"1\"",
            1,
        )
    };
    let text = mine(&cluster.read("hosts/control-plane.yaml"));
    cluster.write("hosts/control-plane.yaml", text);
    cluster.does(&["undo", "--yes"]);
    assert_eq!(cluster.read("hosts/control-plane.yaml"), mine(&before));
}

#[test]
fn an_object_that_is_gone_is_told_once_and_the_rest_is_put_back() {
    let cluster = Cluster::example();
    let name = "hosts/control-plane.yaml";
    let mut before = files(&cluster);
    // Two steps of the run are about the endpoint.
    does(&cluster, &format!("{ETCD} --grant-needed"));
    cluster.write(name, "");
    let run = does(&cluster, "undo");
    let words = "HostEndpoint/cp-1-all is not there any more";
    assert_eq!(run.err.matches(words).count(), 1, "{run}");
    before.insert(name.into(), String::new());
    assert_eq!(files(&cluster), before);
}

#[test]
fn an_object_that_others_have_made_anew_is_theirs() {
    let name = "globalnetworkpolicy-protected-felix-metrics-server.yaml";
    let theirs = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  \
        name: protected-felix-metrics-server\nspec:\n  order: 7\n  selector: none == 'x'\n";
    for (whose, stays) in [("keep", true), ("restore", false)] {
        let cluster = Cluster::example();
        let mut before = files(&cluster);
        cluster.does(&SERVER);
        cluster.write(name, theirs);
        cluster
            .refused(4, &["undo", "--yes"])
            .says("GlobalNetworkPolicy/protected-felix-metrics-server: spec.order is 7, and would become nothing")
            .says("GlobalNetworkPolicy/protected-felix-metrics-server: spec.types is gone, and the object would go");
        cluster.does(&["undo", "--yes", "--overlaps", whose]);
        if stays {
            before.insert(name.into(), theirs.into());
        }
        assert_eq!(files(&cluster), before, "{whose}");
    }
}

#[test]
fn where_others_have_changed_the_same_undo_asks_or_refuses() {
    let set = |cluster: &Cluster, value: &str| {
        let name = "hosts/control-plane.yaml";
        let label = "protected-felix-metrics-server: ";
        let text = cluster.read(name);
        let changed = text.replacen(
            &format!("{label}\"true\""),
            &format!("{label}\"{value}\""),
            1,
        );
        assert_ne!(text, changed);
        cluster.write(name, changed);
    };
    let cluster = Cluster::example();
    let before = cluster.tree();
    cluster.does(&SERVER);
    set(&cluster, "mine");
    cluster
        .refused(4, &["undo", "--yes"])
        .says("HostEndpoint/cp-1-all: metadata.labels.protected-felix-metrics-server is \"mine\", and would become nothing")
        .says("`--overlaps keep`");
    let restored = cluster.refused(0, &["undo", "--dry-run", "--overlaps", "restore"]);
    restored.shows("-    protected-felix-metrics-server: mine");
    cluster.does(&["undo", "--yes", "--overlaps", "restore"]);
    same(&cluster.tree(), &before, "undo");
    cluster.does(&SERVER);
    set(&cluster, "mine");
    cluster.does(&["undo", "--yes", "--overlaps", "keep"]);
    let text = cluster.read("hosts/control-plane.yaml");
    assert!(
        text.contains("mine") && !text.contains("bl-default-allow"),
        "{text}"
    );
}
