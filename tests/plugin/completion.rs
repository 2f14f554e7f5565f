//! What can follow on a command line, asked as kubectl and the shells' scripts ask it.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::machine::{Machine, PROGRAM, err, example, out};

/// A machine whose current folder holds the sample cluster.
fn mk_machine() -> Machine {
    let machine = Machine::with(&["bin"]);
    machine.link_to("cluster", &example());
    machine
}

fn ask(machine: &Machine, words: &[&str]) -> Output {
    let mut command = machine.command(Path::new(PROGRAM));
    command
        .arg("__completeNoDesc")
        .args(words)
        .output()
        .unwrap()
}

/// The candidates, in order.
fn completed(machine: &Machine, words: &[&str]) -> Vec<String> {
    let output = ask(machine, words);
    assert!(output.status.success());
    assert_eq!(err(&output), "", "nothing disturbs the prompt");
    let text = out(&output);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let directive = lines.pop().unwrap();
    assert!([":4", ":6"].contains(&&*directive), "{text}");
    lines
}

#[test]
fn commands_and_options_follow() {
    let machine = mk_machine();
    assert_eq!(
        completed(&machine, &["re"]),
        ["remove", "revoke", "restore"]
    );
    assert_eq!(
        completed(&machine, &["plugin", ""]),
        ["install", "list", "remove", "help"]
    );
    assert_eq!(completed(&machine, &["server", "--gr"]), ["--grant-needed"]);
    assert_eq!(completed(&machine, &["status", "-o", "j"]), ["json"]);
    // As cobra answers, of which kubectl and its scripts are made.
    assert_eq!(completed(&machine, &["status", "--output=y"]), ["yaml"]);
    assert!(completed(&machine, &["grant", "--"]).contains(&"--manifests".to_owned()));
    let words = completed(&machine, &[]);
    assert!(words.contains(&"server".to_owned()) && !words.contains(&"--color".to_owned()));
}

#[test]
fn explanations_come_behind_a_tab() {
    let machine = mk_machine();
    let mut command = machine.command(Path::new(PROGRAM));
    let output = command
        .args(["__complete", "server", "etcd-"])
        .output()
        .unwrap();
    assert_eq!(out(&output), "etcd-peer\tetcd, between its members\n:4\n");
}

#[test]
fn nodes_come_from_the_folder_that_the_line_names() {
    let machine = mk_machine();
    let workers = ["worker-1", "worker-2"];
    for line in [
        &["--manifests", "cluster", "grant", "etcd", "--node", "wor"][..],
        &["grant", "etcd", "--manifests=cluster", "--node", "wor"],
        &[
            "grant",
            "--manifests",
            "cluster",
            "--node",
            "cp-1",
            "--node",
            "wor",
        ],
        &["prune", "etcd", "--manifests", "cluster", "--node", "wor"],
        &[
            "explain",
            "--manifests",
            "cluster",
            "--from",
            "cp-1",
            "--to",
            "wor",
        ],
    ] {
        assert_eq!(completed(&machine, line), workers, "{line:?}");
    }
    let line = ["grant", "--manifests", "cluster", "--node=wor"];
    assert_eq!(completed(&machine, &line), workers);
}

#[test]
fn the_home_folder_and_variables_are_found_as_they_are_typed() {
    let machine = mk_machine();
    machine.folder("home");
    machine.link_to("home/cluster", &example());
    let words = |folder| ["grant", "--manifests", folder, "--node", "wor"];
    for folder in [
        "~/cluster",
        "$HOME/cluster",
        "${HOME}/cluster",
        "home/../cluster",
    ] {
        let found = completed(&machine, &words(folder));
        assert_eq!(found, ["worker-1", "worker-2"], "{folder}");
    }
    let joined = ["grant", "--manifests=$HOME/cluster", "--node", "wor"];
    assert_eq!(completed(&machine, &joined), ["worker-1", "worker-2"]);
    // What is no variable stands for itself.
    for folder in ["do$l", "do${l", "$", "a$$b", "${}"] {
        machine.link_to(folder, &example());
        assert_eq!(completed(&machine, &words(folder)).len(), 2, "{folder}");
    }
}

#[test]
fn a_value_that_is_named_like_a_command_stays_a_value() {
    let machine = mk_machine();
    machine.link_to("status", &example());
    let line = [
        "--manifests",
        "status",
        "grant",
        "--node",
        "server",
        "--node",
        "wor",
    ];
    assert_eq!(completed(&machine, &line), ["worker-1", "worker-2"]);
}

#[test]
fn servers_that_are_protected_come_before_known_ones() {
    let machine = mk_machine();
    let cluster = machine.at("copy");
    fs::create_dir(&cluster).unwrap();
    let policy = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                  metadata: {name: protected-shop-server}\nspec: {order: 500}\n";
    fs::write(cluster.join("policy.yaml"), policy).unwrap();
    let line = |command| ["--manifests", "copy", command, ""];
    assert_eq!(completed(&machine, &line("remove")), ["shop"]);
    assert_eq!(completed(&machine, &line("status")), ["shop"]);
    let grant = completed(&machine, &line("grant"));
    assert_eq!(grant[..2], ["shop", "etcd"]);
    assert!(grant.contains(&"kubelet".to_owned()));
}

#[test]
fn namespaces_sets_tiers_interfaces_and_pods_come_from_the_folder() {
    let machine = Machine::with(&[]);
    let objects = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop}
spec: {nodeName: n1}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: offices}
spec: {nets: [192.0.2.0/28]}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: guard}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: n1-eth0}
spec: {node: n1, interfaceName: eth0}
";
    fs::write(machine.at("all.yaml"), objects).unwrap();
    let of = |words: &[&str]| completed(&machine, &[&["--manifests", "all.yaml"], words].concat());
    assert_eq!(of(&["grant", "etcd", "--workload", ""]), ["shop/"]);
    assert_eq!(of(&["grant", "etcd", "--net-set", ""]), ["offices"]);
    assert_eq!(of(&["server", "etcd", "--tier", ""]), ["guard"]);
    assert_eq!(of(&["server", "etcd", "--interface", "e"]), ["eth0"]);
    assert_eq!(of(&["explain", "--from", ""]), ["n1", "pod/"]);
    assert_eq!(of(&["explain", "--from", "node/"]), ["node/n1"]);
    assert_eq!(of(&["explain", "--from", "pod/"]), ["pod/shop/"]);
    assert_eq!(of(&["explain", "--from", "pod/shop/"]), ["pod/shop/web-0"]);
    assert!(of(&["explain", "--from", "pod/other/"]).is_empty());
    // What goes on has no blank behind it.
    let output = ask(
        &machine,
        &[
            "--manifests",
            "all.yaml",
            "grant",
            "etcd",
            "--workload",
            "s",
        ],
    );
    assert_eq!(out(&output), "shop/\n:6\n");
}

#[test]
fn files_and_folders_are_left_to_the_shell() {
    let machine = mk_machine();
    let answer = |words: &[&str]| out(&ask(&machine, words));
    for files in [
        &["--config", "cal"][..],
        &["--manifests", "clu"],
        &["--manifests=clu"],
        &["apply", ""],
        &["apply", "pl"],
        &["server", "etcd", "--out", ""],
    ] {
        assert_eq!(answer(files), ":0\n", "{files:?}");
    }
    for folders in [&["plugin", "install", "--dir", "b"][..], &["--journal=j"]] {
        assert_eq!(answer(folders), ":16\n", "{folders:?}");
    }
    // Options are no paths.
    assert_eq!(completed(&machine, &["apply", "--resu"]), ["--resume"]);
}

#[test]
fn runs_come_from_the_journal_of_the_cluster() {
    let machine = Machine::with(&[]);
    for cluster in ["one", "two"] {
        let copied = machine
            .command(Path::new("cp"))
            .arg("-R")
            .args([example(), machine.at(cluster)])
            .status();
        assert!(copied.unwrap().success());
    }
    let run = |words: &[&str]| {
        let mut command = machine.command(Path::new(PROGRAM));
        let output = command.args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    };
    let of = |words: &[&str]| completed(&machine, words);
    assert!(of(&["history", "6"]).is_empty());
    for net in ["192.0.2.0/28", "198.51.100.0/28"] {
        run(&["--manifests", "one", "grant", "etcd", "--net", net, "--yes"]);
    }
    let all = of(&["history", "6"]);
    assert_eq!(all.len(), 2);
    assert!(all[0] > all[1], "the last one first: {all:?}");
    assert_eq!(of(&["--manifests", "one", "undo", ""]), all);
    assert!(of(&["--manifests", "two", "undo", "6"]).is_empty());
    assert_eq!(of(&["--manifests", "nowhere", "undo", "6"]), all);
    // None of them stopped half-way, or waits.
    assert!(of(&["--manifests", "one", "apply", "--resume", "6"]).is_empty());
    assert!(of(&["confirm", "6"]).is_empty());
    // Their commands explain them.
    let mut command = machine.command(Path::new(PROGRAM));
    let output = command.args(["__complete", "history", &all[1]]).output();
    let text = out(&output.unwrap());
    assert!(text.contains("--manifests one grant etcd"), "{text}");
    // What has been taken back is not taken back again.
    run(&["--manifests", "one", "undo", &all[0], "--yes"]);
    let left = of(&["--manifests", "one", "undo", ""]);
    assert!(
        !left.contains(&all[0]) && left.contains(&all[1]),
        "{left:?}"
    );
}

#[test]
fn contexts_come_from_the_kubeconfig() {
    let machine = mk_machine();
    let text = "apiVersion: v1\nkind: Config\ncontexts:\n\
                - {name: prod, context: {cluster: a, user: b}}\n\
                - {name: rehearsal, context: {cluster: a, user: b}}\n";
    fs::write(machine.at("kube.yaml"), text).unwrap();
    let line = ["--kubeconfig", "kube.yaml", "status", "--context", ""];
    assert_eq!(completed(&machine, &line), ["prod", "rehearsal"]);
    let mut command = machine.command(Path::new(PROGRAM));
    let command = command.args(["__completeNoDesc", "--context", "p"]);
    let output = command.env("KUBECONFIG", "kube.yaml").output().unwrap();
    assert_eq!(out(&output), "prod\n:4\n");
}

#[test]
fn a_cluster_that_cannot_be_read_leaves_what_is_known_without_it() {
    let machine = mk_machine();
    fs::write(machine.at("broken.yaml"), "kind: [").unwrap();
    for source in [
        ["--manifests", "broken.yaml"],
        ["--manifests", "nowhere"],
        ["-c", "nowhere"],
    ] {
        let of = |words: &[&str]| completed(&machine, &[&source, words].concat());
        assert!(of(&["grant", "etcd", "--node", ""]).is_empty());
        assert_eq!(
            of(&["remove", "typ"]),
            ["typha", "typha-metrics", "typha-health"]
        );
    }
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let machine = mk_machine();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         users: [{{name: b, user: {{token: t}}}}]\n\
         contexts: [{{name: x, context: {{cluster: a, user: b}}}}]\n"
    );
    fs::write(machine.at("kube.yaml"), text).unwrap();
    let line = ["--kubeconfig", "kube.yaml", "grant", "etcd", "--node", ""];
    assert!(completed(&machine, &line).is_empty());
    let line = ["--kubeconfig", "kube.yaml", "grant", "kubel"];
    assert_eq!(completed(&machine, &line), ["kubelet"]);
}

#[test]
fn names_that_would_do_harm_to_a_terminal_are_left_out() {
    let machine = Machine::with(&[]);
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: \"n\\u001b[2J\"}\n---\n\
                apiVersion: v1\nkind: Node\nmetadata: {name: \"n\\nx\"}\n---\n\
                apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n";
    fs::write(machine.at("nodes.yaml"), node).unwrap();
    let line = ["--manifests", "nodes.yaml", "grant", "etcd", "--node", ""];
    assert_eq!(completed(&machine, &line), ["n1"]);
}
