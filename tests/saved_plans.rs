//! Plans that are saved, approved and applied exactly, or refused.

mod command;

use std::fs;

use calicoctl_protect::plan::saved;
use command::{Cluster, Run};
use proptest::prelude::*;
use serde_json::Value;

const PLAN: &str = "plan.json";
const GRANT: [&str; 4] = ["grant", "etcd", "--node", "worker-1"];

/// Saves the plan of a command.
#[track_caller]
fn saved(cluster: &Cluster, arguments: &[&str]) -> Run {
    cluster.refused(0, &[arguments, &["--out", PLAN]].concat())
}

/// The example cluster with a saved grant.
#[track_caller]
fn with_grant() -> Cluster {
    let cluster = Cluster::example();
    saved(&cluster, &GRANT);
    cluster
}

fn text(cluster: &Cluster) -> String {
    fs::read_to_string(cluster.home().join(PLAN)).unwrap_or_default()
}

fn put(cluster: &Cluster, text: &str) {
    assert!(fs::write(cluster.home().join(PLAN), text).is_ok());
}

/// A plan that was edited by somebody who can compute checksums.
fn signed(document: &Value) -> String {
    let plan = serde_json::from_value(document.clone());
    plan.map(|plan| saved::write(&plan)).unwrap_or_default()
}

fn document(cluster: &Cluster) -> Value {
    serde_json::from_str(&text(cluster)).unwrap_or_default()
}

fn replace(cluster: &Cluster, file: &str, from: &str, to: &str) {
    let old = cluster.read(file);
    assert!(old.contains(from), "{old}");
    cluster.write(file, old.replace(from, to));
}

#[test]
fn a_saved_plan_is_shown_and_written_to_its_file_alone() {
    let cluster = Cluster::example();
    saved(&cluster, &GRANT)
        .shows("allowed-etcd-client")
        .says("saved: the plan is in `plan.json`, and nothing was written to the datastore")
        .says("hint: `calicoctl-protect apply plan.json --manifests cluster` executes exactly this (sha256:");
    assert_eq!(document(&cluster)["format_version"], "1.0");
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_a_saved_plan() {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = with_grant();
    let metadata = fs::metadata(cluster.home().join(PLAN));
    assert_eq!(
        metadata.map(|m| m.permissions().mode() & 0o777).ok(),
        Some(0o600)
    );
}

#[test]
fn an_applied_plan_does_what_its_command_does() {
    let (planned, direct) = (with_grant(), Cluster::example());
    planned.does(&["apply", PLAN, "--yes"]);
    direct.does(&[&GRANT[..], &["--yes"]].concat());
    let files = |cluster: &Cluster| {
        let names = cluster.tree().names();
        let read = |name: String| (cluster.read(&name), name);
        names.into_iter().map(read).collect::<Vec<_>>()
    };
    assert_eq!(files(&planned), files(&direct));
}

#[test]
fn a_plan_that_is_applied_has_nothing_to_do_the_second_time() {
    let cluster = with_grant();
    cluster.does(&["apply", PLAN, "--yes"]);
    cluster
        .refused(0, &["apply", PLAN, "--yes"])
        .says("nothing to do: everything is as the plan wants it");
}

#[test]
fn a_dry_run_of_a_plan_writes_nothing_and_tells_that_changes_are_pending() {
    let cluster = with_grant();
    cluster
        .refused(2, &["apply", PLAN, "--dry-run", "--detailed-exitcode"])
        .shows("allowed-etcd-client")
        .says("dry run: nothing was written");
}

#[test]
fn a_plan_on_which_nothing_has_changed_is_fresh() {
    let cluster = with_grant();
    let shown = cluster.refused(0, &["apply", PLAN, "--dry-run"]).out;
    let run = cluster.refused(0, &["diff", PLAN]);
    run.says("note: the plan is fresh: nothing of what it was made on has changed")
        .says("hint: `calicoctl-protect apply plan.json --manifests cluster` writes it");
    assert_eq!(run.out, shown);
}

#[test]
fn a_diff_tells_by_its_exit_code_whether_something_is_to_be_done() {
    let cluster = with_grant();
    let arguments = ["diff", PLAN, "--detailed-exitcode"];
    cluster.refused(2, &arguments);
    cluster.does(&["apply", PLAN, "--yes"]);
    cluster
        .refused(0, &arguments)
        .says("nothing to do: everything is as the plan wants it");
}

#[test]
fn a_diff_says_where_something_changed_and_the_plan_means_the_same() {
    let cluster = with_grant();
    let theirs = cluster.read("hosts/workers.yaml") + "# theirs\n";
    cluster.write("hosts/workers.yaml", &theirs);
    cluster
        .refused(0, &["diff", PLAN])
        .says("changed since the plan was saved (")
        .says("the plan changes and means the same")
        .shows("allowed-etcd-client");
}

#[test]
fn a_diff_of_a_stale_plan_is_what_differs() {
    let cluster = with_grant();
    replace(&cluster, "hosts/workers.yaml", "192.0.2.21", "192.0.2.99");
    cluster
        .refused(4, &["diff", PLAN])
        .says("no longer means what was approved")
        .says("- approved, + now")
        .says("hint: make the plan anew and have it approved")
        .shows_nothing();
}

#[test]
fn a_diff_leaves_nothing_behind() {
    let cluster = with_grant();
    let journal = cluster.home().join("journal");
    let folder = journal.to_str().unwrap_or_default();
    cluster.refused(
        2,
        &["diff", PLAN, "--detailed-exitcode", "--journal", folder],
    );
    assert!(!journal.exists());
}

#[test]
fn saving_tells_that_changes_are_pending() {
    let cluster = Cluster::example();
    let arguments = [&GRANT[..], &["--out", PLAN, "--detailed-exitcode"]].concat();
    cluster.refused(2, &arguments);
}

#[test]
fn without_a_terminal_a_plan_is_applied_with_yes_only() {
    let cluster = with_grant();
    cluster
        .refused(64, &["apply", PLAN])
        .says("`--yes` is not given");
}

#[test]
fn saving_and_writing_at_once_is_wrong_usage() {
    let arguments = [&GRANT[..], &["--out", PLAN, "--yes"]].concat();
    let cluster = Cluster::example();
    cluster.refused(64, &arguments).says("cannot be used with");
}

#[test]
fn a_comment_that_came_since_does_not_stop_a_plan() {
    let cluster = with_grant();
    let theirs = cluster.read("hosts/workers.yaml") + "# theirs\n";
    cluster.write("hosts/workers.yaml", &theirs);
    cluster
        .does(&["apply", PLAN, "--yes"])
        .says("changed since the plan was saved (")
        .says("the plan changes and means the same");
    assert!(cluster.read("hosts/workers.yaml").contains("# theirs"));
}

#[test]
fn a_client_of_another_server_that_came_since_does_not_stop_a_plan() {
    let cluster = with_grant();
    cluster.does(&["grant", "typha", "--net", "198.51.100.0/28", "--yes"]);
    cluster
        .does(&["apply", PLAN, "--yes"])
        .says("changed since the plan was saved (")
        .says("the plan changes and means the same");
}

#[test]
fn a_plan_that_means_something_else_by_now_is_refused_with_the_difference() {
    let cluster = with_grant();
    replace(&cluster, "hosts/workers.yaml", "192.0.2.21", "192.0.2.99");
    let run = cluster.refused(4, &["apply", PLAN, "--yes"]);
    run.says("error: refused: `plan.json` no longer means what was approved")
        .says("- approved, + now")
        .says("changes:")
        .says("hint: make the plan anew and have it approved: `calicoctl-protect --manifests cluster grant etcd --node worker-1 --out plan.json`")
        .shows_nothing();
}

#[test]
fn a_policy_that_came_since_and_shuts_clients_out_is_told_by_its_meaning() {
    let cluster = Cluster::example();
    saved(
        &cluster,
        &["server", "etcd", "--node", "cp-1", "--grant-needed"],
    );
    cluster.write(
        "theirs.yaml",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  name: theirs\n\
         spec:\n  order: 1\n  selector: has(protected-etcd-server)\n  types: [Ingress]\n  ingress:\n\
         \x20 - action: Deny\n    protocol: TCP\n    source: {nets: [192.0.2.21/32]}\n",
    );
    cluster
        .refused(4, &["apply", PLAN, "--yes"])
        .says("meaning:")
        .says("GlobalNetworkPolicy/theirs");
}

#[test]
fn a_plan_of_another_cluster_is_refused() {
    let cluster = with_grant();
    let guid = "5d1f6c2ae0f04b0e9f0b1d7c3a9e4c11";
    replace(
        &cluster,
        "cluster.yaml",
        guid,
        "00000000000000000000000000000000",
    );
    cluster
        .refused(4, &["apply", PLAN, "--yes"])
        .says("error: refused: `plan.json` is a plan for another datastore")
        .says(guid)
        .says("hint: name the plan's datastore");
}

#[test]
fn a_plan_that_was_edited_by_hand_is_refused() {
    let cluster = with_grant();
    put(&cluster, &text(&cluster).replace("worker-1", "worker-2"));
    cluster.refuses(
        4,
        &["apply", PLAN, "--yes"],
        &[
            "error: refused: `plan.json` is not as it was saved: its checksum does not fit",
            "hint: a plan is approved as it is: make it anew by the command you mean",
        ],
    );
}

#[test]
fn changes_that_the_command_does_not_make_are_refused_even_under_a_checksum() {
    let cluster = with_grant();
    let mut edited = document(&cluster);
    edited["changes"][0]["stage"] = "failsafes".into();
    put(&cluster, &signed(&edited));
    cluster
        .refused(4, &["apply", PLAN, "--yes"])
        .says("no longer means what was approved");
}

#[test]
fn a_waiver_that_is_put_in_does_not_make_a_cut_flow_pass() {
    let cluster = Cluster::example();
    let cutting = ["server", "etcd", "--node", "cp-1", "--no-self", "--prune"];
    let refused = cluster.refused(3, &[&cutting[..], &["--dry-run"]].concat());
    assert!(!refused.err.is_empty());
    cluster.refused(3, &[&cutting[..], &["--out", PLAN]].concat());
    assert!(text(&cluster).is_empty(), "a refused plan is not saved");
    // A plan for the granting of a node, with a word put in that cuts everybody off.
    saved(&cluster, &GRANT);
    let mut edited = document(&cluster);
    let words = serde_json::json!(cutting);
    edited["words"] = words;
    edited["waivers"]["allowLockout"] = serde_json::json!(["etcd-loopback:cp-1:cp-1"]);
    put(&cluster, &signed(&edited));
    cluster.refused(4, &["apply", PLAN, "--yes"]);
}

#[test]
fn a_waiver_is_saved_with_the_flow_it_is_for_and_no_other() {
    let cluster = Cluster::example();
    let cutting = ["server", "etcd", "--node", "cp-1", "--no-self", "--prune"];
    let run = cluster.refused(3, &[&cutting[..], &["--dry-run", "-o", "json"]].concat());
    let report: Value = serde_json::from_str(&run.out).unwrap_or_default();
    let flows = report["proof"]["flows"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let cut = flows.iter().filter(|flow| flow["fate"] == "cut");
    let cut: Vec<String> = cut
        .filter_map(|flow| flow["id"].as_str().map(str::to_owned))
        .collect();
    assert!(!cut.is_empty(), "{run}");
    let mut arguments = cutting.to_vec();
    for id in &cut {
        arguments.extend(["--allow-lockout", id]);
    }
    arguments.extend(["--allow-lockout", "no-such-flow"]);
    saved(&cluster, &arguments);
    let waived = &document(&cluster)["waivers"]["allowLockout"];
    assert_eq!(waived, &serde_json::json!(cut));
    cluster.does(&["apply", PLAN, "--yes"]);
}

#[test]
fn a_plan_of_an_unknown_major_version_is_refused() {
    let cluster = with_grant();
    let newer =
        text(&cluster).replace("\"format_version\": \"1.0\"", "\"format_version\": \"2.0\"");
    put(&cluster, &newer);
    cluster.refuses(
        4,
        &["apply", PLAN, "--yes"],
        &[
            "error: refused: `plan.json` has format version `2.0`, which this version of the tool does not know",
            "hint: apply it with the version of the tool that saved it",
        ],
    );
}

#[test]
fn a_plan_of_a_newer_minor_version_is_taken() {
    let cluster = with_grant();
    let mut newer = document(&cluster);
    newer["format_version"] = "1.7".into();
    put(&cluster, &signed(&newer));
    cluster.does(&["apply", PLAN, "--yes"]);
}

#[test]
fn what_is_no_plan_is_refused() {
    let cluster = Cluster::example();
    let report = cluster.run(&[&GRANT[..], &["--dry-run", "-o", "json"]].concat());
    let cut = text(&with_grant());
    let cut = cut.get(..cut.len() / 2).unwrap_or_default();
    for other in ["", "{}", "[]", "kind: Node\n", &report.out, cut] {
        put(&cluster, other);
        cluster
            .refused(4, &["apply", PLAN, "--yes"])
            .says("error: refused: `plan.json` is not a saved plan: ")
            .says("hint: `--out PLAN.json` on a command that writes saves a plan");
    }
}

#[test]
fn a_plan_that_is_not_there_is_wrong_usage() {
    let cluster = Cluster::example();
    cluster
        .refused(64, &["apply", "no.json", "--yes"])
        .says("error: cannot read `no.json`: ");
}

#[test]
fn a_plan_that_cannot_be_saved_is_an_error() {
    let cluster = Cluster::example();
    let arguments = [&GRANT[..], &["--out", "no/plan.json"]].concat();
    cluster
        .refused(1, &arguments)
        .says("error: cannot write `no/plan.json`: ");
}

#[test]
fn nothing_to_do_can_be_saved_and_applied() {
    let cluster = Cluster::example();
    cluster.does(&[&GRANT[..], &["--yes"]].concat());
    saved(&cluster, &GRANT);
    cluster
        .refused(0, &["apply", PLAN, "--yes"])
        .says("nothing to do");
}

#[test]
fn the_prepared_undo_takes_the_changes_back_in_the_opposite_order() {
    let cluster = Cluster::example();
    let arguments = [
        "server",
        "etcd",
        "--node",
        "cp-1",
        "--grant-needed",
        "--prune",
    ];
    saved(&cluster, &arguments);
    let document = document(&cluster);
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let (changes, undo) = (list("changes"), list("undo"));
    assert!(changes.len() > 3);
    assert_eq!(
        undo.first().map(|change| &change["stage"]),
        Some(&"failsafes".into())
    );
    assert_eq!(changes.len(), undo.len());
    for (there, back) in changes.iter().zip(undo.iter().rev()) {
        assert_eq!(there["name"], back["name"]);
        assert_eq!(
            (&there["before"], &there["after"]),
            (&back["after"], &back["before"])
        );
    }
}

#[test]
fn a_plan_keeps_the_version_of_everything_that_was_read() {
    let document = document(&with_grant());
    for resource in [
        "nodes",
        "hostendpoints.projectcalico.org",
        "deployments.apps",
    ] {
        let versions = document["read"][resource].as_object();
        assert!(
            versions.is_some_and(|versions| !versions.is_empty()),
            "{resource}"
        );
    }
}

fn arb_damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
}

proptest! {
    #[test]
    fn a_damaged_plan_is_never_taken_and_nothing_breaks(damage in arb_damage(), cut in any::<prop::sample::Index>()) {
        let whole = sample();
        let mut bytes = whole.clone().into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(text == whole || saved::read(&text).is_err());
        }
        let cut = cut.index(whole.len());
        if let Some(part) = whole.get(..cut) {
            prop_assert!(saved::read(part).is_err());
        }
    }
}

/// The text of a saved plan.
fn sample() -> String {
    static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    TEXT.get_or_init(|| text(&with_grant())).clone()
}

#[test]
fn a_plan_is_read_as_it_was_saved() {
    let whole = sample();
    let plan = saved::read(&whole);
    assert_eq!(plan.map(|plan| saved::write(&plan)), Ok(whole));
}

#[test]
fn plans_that_mean_the_same_have_the_same_digest() {
    let digest = |cluster: &Cluster| document(cluster)["digest"].clone();
    let (one, other) = (with_grant(), Cluster::example());
    other.write("cluster.yaml", other.read("cluster.yaml") + "# a comment\n");
    saved(&other, &GRANT);
    assert_eq!(digest(&one), digest(&other));
    saved(&other, &["grant", "etcd", "--node", "worker-2"]);
    assert_ne!(digest(&one), digest(&other));
}

#[test]
fn a_plan_for_a_node_that_is_gone_is_stale() {
    let cluster = with_grant();
    replace(&cluster, "nodes.yaml", "worker-1", "worker-7");
    replace(&cluster, "hosts/workers.yaml", "worker-1", "worker-7");
    cluster
        .refused(4, &["apply", PLAN, "--yes"])
        .says("error: refused: the command of `plan.json` makes no plan any more: ");
}

#[test]
fn a_plan_can_be_shown_as_markdown_and_as_a_page() {
    let cluster = with_grant();
    let shown = |format| cluster.refused(0, &["apply", PLAN, "--dry-run", "-o", format]);
    shown("markdown")
        .shows("# Plan of `grant` for `cluster`")
        .shows("### update `HostEndpoint/worker-1-eth0`")
        .shows("```diff\n@@ ")
        .shows("+    allowed-etcd-client: \"true\"")
        .shows("## What it means");
    shown("html")
        .shows("<h1>Plan of grant for cluster</h1>")
        .shows("<ins>+    allowed-etcd-client: &quot;true&quot;</ins>");
}
