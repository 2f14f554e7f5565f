//! What the command prints: results, formats, colours, help, status in every verdict.

mod command;

use calicoctl_protect::cli::exit::Exit;
use command::{Cluster, Run};
use serde_json::Value;

const VERBS: [&str; 12] = [
    "server",
    "grant",
    "prune",
    "remove",
    "revoke",
    "restore",
    "status",
    "check",
    "explain",
    "version",
    "completion",
    "plugin",
];

#[test]
fn a_plan_is_a_diff_per_object_with_reasons_and_counts_last() {
    let cluster = Cluster::example();
    let run = cluster.refused(
        0,
        &[
            "grant",
            "etcd",
            "--node",
            "worker-1",
            "--net",
            "198.51.100.0/28",
            "--dry-run",
        ],
    );
    run.shows_all(
        "\
+ GlobalNetworkSet/allowed-etcd-client-nodes
  clients: lets in addresses of hosts that no labelled host endpoint lists
@@ -0,0 +1,11 @@
+apiVersion: projectcalico.org/v3
+kind: GlobalNetworkSet
+metadata:
+  name: allowed-etcd-client-nodes
+  labels:
+    allowed-etcd-client: \"true\"
+  annotations:
+    calicoctl-protect/created: \"true\"
+spec:
+  nets:
+  - 10.244.1.64/32

+ GlobalNetworkSet/allowed-etcd-client
  clients: lets these addresses in
@@ -0,0 +1,11 @@
+apiVersion: projectcalico.org/v3
+kind: GlobalNetworkSet
+metadata:
+  name: allowed-etcd-client
+  labels:
+    allowed-etcd-client: \"true\"
+  annotations:
+    calicoctl-protect/created: \"true\"
+spec:
+  nets:
+  - 198.51.100.0/28

~ HostEndpoint/worker-1-eth0  hosts/workers.yaml:5
  clients: lets worker-1 in
@@ -4,6 +4,7 @@
   name: worker-1-eth0
   labels:
     role: worker
+    allowed-etcd-client: \"true\"
 spec:
   node: worker-1
   interfaceName: eth0

etcd (tcp/2379)
  not protected anywhere: client labels count for nothing until it is

needed flows: 9 kept (proved in 4 states)
2 to create, 1 to change, 0 to delete
",
    );
    run.says_all(&[
        "warning: worker-1: who is let in as a node stands for all pods on it (pool default-ipv4-ippool has natOutgoing, so a server on another host sees the node's address)",
        "hint: egress policy on the pods keeps those out that have no business there",
        "dry run: nothing was written",
    ]);
}

#[test]
fn what_is_done_is_counted_as_it_was_shown() {
    let cluster = Cluster::own("team");
    let run = cluster.does(&["server", "felix-metrics", "--node", "cedar", "--yes"]);
    // cedar's new host endpoint is made in one stage and labelled in another.
    run.shows("3 to create, 1 to change, 0 to delete\n")
        .says("done: 4 changes written and read back\n");
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_default()
}

#[track_caller]
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    let found = value.pointer(pointer);
    assert!(found.is_some(), "no {pointer} in {value:#}");
    found.unwrap_or(&Value::Null)
}

#[test]
fn a_plan_as_json_and_as_yaml_says_the_same() {
    let cluster = Cluster::example();
    let plan = ["grant", "etcd", "--node", "worker-1", "--dry-run", "-o"];
    let document = json(&cluster.refused(0, &[&plan[..], &["json"]].concat()));
    for (pointer, value) in [
        ("/format_version", "1.0"),
        ("/command", "grant"),
        ("/datastore/kind", "manifests"),
        ("/datastore/location", "cluster"),
        ("/datastore/calicoVersion", "v3.32.1"),
        ("/changes/0/action", "create"),
        ("/changes/0/after/spec/nets/0", "10.244.1.64/32"),
        ("/changes/1/action", "update"),
        ("/changes/1/kind", "HostEndpoint"),
        ("/changes/1/name", "worker-1-eth0"),
        ("/changes/1/place", "hosts/workers.yaml:5"),
        ("/changes/1/why/0", "lets worker-1 in"),
        (
            "/changes/1/after/metadata/labels/allowed-etcd-client",
            "true",
        ),
    ] {
        assert_eq!(at(&document, pointer), value, "{pointer}");
    }
    assert_eq!(at(&document, "/summary/create"), 1);
    assert!(at(&document, "/changes/0/before").is_null());
    let yaml = cluster.refused(0, &[&plan[..], &["yaml"]].concat());
    let same: Result<Value, _> = serde_yaml::from_str(&yaml.out);
    assert_eq!(same.ok(), Some(document));
}

#[test]
fn notes_are_part_of_a_document_and_not_said_twice() {
    let cluster = Cluster::example();
    let run = cluster.refused(
        0,
        &[
            "server",
            "etcd",
            "--node",
            "cp-1",
            "--dry-run",
            "-o",
            "json",
        ],
    );
    run.says_all(&["dry run: nothing was written"]);
    let document = json(&run);
    assert_eq!(at(&document, "/notes/0/importance"), "warning");
    let text = at(&document, "/notes/0/text").as_str().unwrap_or_default();
    assert!(
        text.starts_with("tcp/2379 is an inbound failsafe"),
        "{text}"
    );
}

#[test]
fn status_as_json_and_as_yaml_says_the_same() {
    let cluster = Cluster::own("export-v1");
    let document = json(&cluster.refused(0, &["status", "-o", "json"]));
    assert_eq!(at(&document, "/format_version"), "1.0");
    assert_eq!(at(&document, "/servers/0/server"), "typha");
    assert_eq!(at(&document, "/servers/0/verdict"), "failsafe");
    assert_eq!(at(&document, "/servers/0/ports/0"), "tcp/5473");
    assert_eq!(at(&document, "/servers/0/endpoints/0/interface"), "eth0");
    let yaml = cluster.refused(0, &["status", "-o", "yaml"]);
    let same: Result<Value, _> = serde_yaml::from_str(&yaml.out);
    assert_eq!(same.ok(), Some(document));
}

#[test]
fn nothing_protected_is_an_empty_document() {
    let cluster = Cluster::example();
    let run = cluster.refused(0, &["status", "-o", "json"]);
    assert_eq!(at(&json(&run), "/servers"), &Value::Array(Vec::new()));
    cluster
        .refused(0, &["status"])
        .shows_nothing()
        .says_all(&["no server is protected here"]);
}

#[test]
fn quiet_leaves_results_warnings_and_errors() {
    let cluster = Cluster::example();
    let run = cluster.does(&["-q", "server", "etcd", "--node", "cp-1", "--yes"]);
    run.shows("3 to create")
        .says("warning: tcp/2379 is an inbound failsafe on cp-1 (built-in list): ")
        .silent_about("done:")
        .silent_about("hint:");
    cluster
        .refused(64, &["-q", "grant", "etcd"])
        .says("error: ")
        .says("hint: ");
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let cluster = Cluster::example();
    let plan = ["grant", "etcd", "--all-nodes", "--dry-run"];
    let plain = cluster.refused(0, &plan);
    assert!(!plain.out.contains('\u{1b}') && !plain.err.contains('\u{1b}'));
    for variables in [
        &[("NO_COLOR", "1")][..],
        &[("TERM", "dumb")],
        &[("TERM", "xterm")],
    ] {
        let mut command = cluster.command(&plan);
        command.envs(variables.iter().copied());
        assert_eq!(Run::of(command).out, plain.out, "{variables:?}");
    }
    let coloured = cluster.refused(0, &[&["--color", "always"][..], &plan].concat());
    assert!(
        coloured.out.contains("\u{1b}[32m+    allowed-etcd-client"),
        "{coloured}"
    );
    assert_eq!(
        anstream::adapter::strip_str(&coloured.out).to_string(),
        plain.out
    );
    let mut never = cluster.command(&[&plan[..], &["--color", "never"]].concat());
    never.env("CLICOLOR_FORCE", "1");
    assert_eq!(Run::of(never).out, plain.out);
}

#[test]
fn texts_of_the_cluster_cannot_write_to_the_terminal() {
    let cluster = Cluster::example();
    cluster.write(
        "evil.yaml",
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata:\n  name: evil\n  annotations: {note: \"\\e[2J\\u202e\"}\n\
         spec: {node: \"w9\\e[31m\", interfaceName: eth0, expectedIPs: [192.0.2.99]}\n",
    );
    for arguments in [&["grant", "etcd", "--all-nodes", "--yes"][..], &["status"]] {
        let run = cluster.does(arguments);
        assert!(
            !run.out.contains('\u{1b}') && !run.err.contains('\u{1b}'),
            "{run}"
        );
        assert!(!run.out.contains('\u{202e}'), "{run}");
    }
}

#[track_caller]
fn help(arguments: &[&str]) -> String {
    let mut command = Cluster::empty().bare();
    command
        .current_dir("/")
        .args(arguments)
        .env("COLUMNS", "200");
    let run = Run::of(command);
    run.ended(0, arguments);
    assert!(run.err.is_empty(), "{run}");
    run.out
}

#[test]
fn help_fits_a_hundred_columns_and_shows_examples() {
    for verb in VERBS {
        for flag in ["--help", "-h"] {
            let text = help(&[verb, flag]);
            for line in text.lines() {
                assert!(line.chars().count() <= 100, "{verb} {flag}: {line}");
                assert!(!line.contains('\u{1b}'), "{verb} {flag}: {line}");
            }
            assert!(text.contains("Usage: calicoctl-protect "), "{verb} {flag}");
            if !["version"].contains(&verb) {
                let examples = text.split("\nExamples:\n").nth(1).unwrap_or_default();
                assert!(
                    examples.contains(&format!("calicoctl-protect {verb}"))
                        || examples.contains(&format!(" {verb} ")),
                    "{verb} {flag}: {examples}"
                );
            }
        }
    }
    let all = help(&["--help"]);
    assert!(all.lines().all(|line| line.chars().count() <= 100), "{all}");
    for verb in VERBS {
        assert!(
            all.contains(&format!("\n  {verb} ")),
            "{verb} is not in the help"
        );
    }
}

#[test]
fn help_without_words_is_wrong_usage() {
    let mut command = Cluster::empty().bare();
    command.current_dir("/");
    let run = Run::of(command);
    run.ended(64, &[])
        .shows_nothing()
        .says("Usage: calicoctl-protect");
}

#[test]
fn the_table_of_exit_codes_in_the_help_is_the_one_in_the_code() {
    let text = help(&["--help"]);
    let table = text.split("\nExit codes:\n").nth(1).unwrap_or_default();
    let rows: Vec<String> = Exit::TABLE
        .iter()
        .map(|(exit, meaning)| format!("  {:<3} {meaning}", exit.code()))
        .collect();
    let shown: Vec<&str> = table.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(shown, rows);
}

#[test]
fn help_names_the_plugin_as_it_was_called() {
    let home = tempfile::tempdir();
    let Ok(home) = home else {
        return;
    };
    for (file, name) in [
        ("kubectl-calico-protect", "kubectl calico protect"),
        ("kubectl-calico_protect", "kubectl calico-protect"),
        ("calicoctl-protect", "calicoctl-protect"),
    ] {
        let link = home.path().join(file);
        let made = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_calicoctl-protect"), &link);
        assert!(made.is_ok(), "{made:?}");
        let mut command = std::process::Command::new(&link);
        command.env_clear().arg("--help");
        let run = Run::of(command);
        run.ended(0, &[file])
            .shows(&format!("Usage: {name} [OPTIONS] <COMMAND>"));
    }
}

#[test]
fn version_and_completion() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(help(&["version"]).starts_with(&format!("calicoctl-protect {version}\n")));
    assert_eq!(
        help(&["--version"]),
        format!("calicoctl-protect {version}\n")
    );
    let document: Value =
        serde_json::from_str(&help(&["version", "-o", "json"])).unwrap_or_default();
    assert_eq!(at(&document, "/version"), version);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = help(&["completion", shell]);
        assert!(script.contains("calicoctl-protect"), "{shell}");
    }
}

/// Status of a server on a cluster.
#[track_caller]
fn verdict(cluster: &Cluster, server: &str, word: &str) -> Run {
    let run = cluster.refused(0, &["status", server]);
    let first = run.out.lines().next().unwrap_or_default();
    assert!(first.starts_with(server) && first.ends_with(word), "{run}");
    run
}

#[test]
fn status_has_a_word_for_every_state() {
    let cluster = Cluster::example();
    verdict(&cluster, "etcd", "open")
        .shows("  policy     none\n")
        .shows("  protects   nothing carries its label\n")
        .shows("  clients    nobody\n")
        .shows("  failsafe   tcp/2379 from built-in list on 3 nodes\n");

    cluster.does(&["server", "etcd", "--node", "cp-1", "--yes"]);
    verdict(&cluster, "etcd", "failsafe")
        .shows("  policy     protected-etcd-server in tier default, order 500, allow by default\n")
        .shows("  protects   cp-1 (all interfaces) by HostEndpoint/cp-1-all\n")
        .shows("  failsafe   tcp/2379 from built-in list on 1 node\n");

    cluster.does(&["grant", "etcd", "--all-nodes", "--yes"]);
    cluster.does(&["prune", "etcd", "--yes"]);
    verdict(&cluster, "etcd", "protected").shows("  failsafe   none inbound\n");

    // Somebody takes the default-allow policy away.
    let file = cluster
        .path()
        .join("globalnetworkpolicy-bl-default-allow.yaml");
    assert!(std::fs::remove_file(&file).is_ok());
    verdict(&cluster, "etcd", "locked-out").shows(": drops all other traffic\n");

    // And the protect policy, too: labels are left.
    let file = cluster
        .path()
        .join("globalnetworkpolicy-protected-etcd-server.yaml");
    assert!(std::fs::remove_file(&file).is_ok());
    verdict(&cluster, "etcd", "partial");
}

#[test]
fn status_sees_what_hides_an_endpoint() {
    let cluster = Cluster::example();
    cluster.does(&["server", "felix-metrics", "--node", "cp-1", "--yes"]);
    verdict(&cluster, "felix-metrics", "protected");
    cluster.write(
        "first.yaml",
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: a-first}\nspec: {node: cp-1, interfaceName: '*'}\n",
    );
    verdict(&cluster, "felix-metrics", "partial")
        .shows(": without effect, `a-first` governs the interface\n");
}

#[test]
fn status_says_when_a_policy_is_not_the_recipes() {
    let cluster = Cluster::example();
    cluster.write(
        "other.yaml",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: protected-etcd-server}\nspec: {selector: all()}\n",
    );
    verdict(&cluster, "etcd", "drifted")
        .shows("  policy     GlobalNetworkPolicy/protected-etcd-server says something else than the recipe\n");
}

#[test]
fn status_says_when_a_client_label_does_nothing() {
    let cluster = Cluster::example();
    cluster.write(
        "client.yaml",
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: w7, labels: {allowed-etcd-client: \"true\"}}\nspec: {node: w7, interfaceName: eth0}\n",
    );
    verdict(&cluster, "etcd", "open")
        .shows("  clients    HostEndpoint/w7: no address, so the label does nothing\n");
}
