//! The real kubectl finds, runs and completes the plugin.

use std::path::Path;
use std::process::{Command, Output};

use crate::machine::{Machine, PROGRAM, copy, err, example, found, out};

/// A machine with kubectl and the installed links; `None` where there is no kubectl.
fn mk_machine() -> Option<Machine> {
    if !found("kubectl") {
        return None;
    }
    let machine = Machine::with(&["home/.local/bin"]);
    let output = machine.run(Path::new(PROGRAM), &["plugin", "install"]);
    assert!(output.status.success(), "{}", err(&output));
    Some(machine)
}

fn kubectl(machine: &Machine, arguments: &[&str]) -> Output {
    let mut command: Command = machine.command(Path::new("kubectl"));
    command.args(arguments);
    command.output().unwrap()
}

#[test]
fn lists_the_plugin_without_complaint() {
    let Some(machine) = mk_machine() else { return };
    let output = kubectl(&machine, &["plugin", "list"]);
    assert!(output.status.success(), "{}", err(&output));
    let path = machine.at("home/.local/bin/kubectl-calico-protect");
    assert!(
        out(&output).contains(path.to_str().unwrap()),
        "{}",
        out(&output)
    );
    assert!(!err(&output).contains("warning"), "{}", err(&output));
}

#[test]
fn lists_a_packaged_plugin_without_complaint_after_plugin_install() {
    if !found("kubectl") {
        return;
    }
    let machine = Machine::with(&["home/.local/bin", "bin"]);
    let program = machine.at("bin/calicoctl-protect");
    copy(PROGRAM.as_ref(), &program);
    for name in ["kubectl-calico-protect", "kubectl_complete-calico-protect"] {
        machine.link_to(&format!("bin/{name}"), Path::new("calicoctl-protect"));
    }
    let output = machine.run(&program, &["plugin", "install"]);
    assert!(output.status.success(), "{}", err(&output));
    let output = kubectl(&machine, &["plugin", "list"]);
    assert!(output.status.success(), "{}", err(&output));
}

#[test]
fn runs_it_by_its_words() {
    let Some(machine) = mk_machine() else { return };
    let folder = example();
    let folder = folder.to_str().unwrap();
    let given = [
        "calico",
        "protect",
        "status",
        "--manifests",
        folder,
        "-o",
        "json",
    ];
    let output = kubectl(&machine, &given);
    assert!(output.status.success(), "{}", err(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value["servers"].is_array());
    // Exit codes are the plugin's.
    let given = [
        "calico",
        "protect",
        "--manifests",
        folder,
        "status",
        "nonesuch",
    ];
    assert_eq!(kubectl(&machine, &given).status.code(), Some(64));
}

#[test]
fn help_and_hints_show_kubectls_words() {
    let Some(machine) = mk_machine() else { return };
    let help = kubectl(&machine, &["calico", "protect", "prune", "--help"]);
    let help = out(&help);
    assert!(
        help.contains("Usage: kubectl calico protect prune"),
        "{help}"
    );
    assert!(
        help.contains("\n  kubectl calico protect prune etcd\n"),
        "{help}"
    );

    let folder = example();
    let folder = folder.to_str().unwrap();
    let given = [
        "calico",
        "protect",
        "grant",
        "etcd",
        "--net",
        "192.0.2.0/28",
    ];
    let output = kubectl(&machine, &[&given[..], &["--manifests", folder]].concat());
    assert_eq!(output.status.code(), Some(64));
    let words = err(&output);
    assert!(
        words.contains("run `kubectl calico protect grant etcd"),
        "{words}"
    );
}

#[test]
fn an_underscore_in_the_file_is_a_dash_on_the_command_line() {
    let Some(machine) = mk_machine() else { return };
    machine.link("home/.local/bin/kubectl-calico_protect");
    let output = kubectl(&machine, &["calico-protect", "status", "--help"]);
    let help = out(&output);
    assert!(
        help.contains("Usage: kubectl calico-protect status"),
        "{help}"
    );
}

#[test]
fn completes_its_words() {
    let Some(machine) = mk_machine() else { return };
    let folder = example();
    let folder = folder.to_str().unwrap();
    let completed = |words: &[&str]| out(&kubectl(&machine, &[&["__complete"], words].concat()));
    let grant = completed(&["calico", "protect", "gra"]);
    assert_eq!(grant, "grant\tLet clients in\n:4\n");
    let given = [
        "calico",
        "protect",
        "--manifests",
        folder,
        "grant",
        "etcd",
        "--node",
        "wor",
    ];
    assert_eq!(completed(&given), "worker-1\nworker-2\n:4\n");
    machine.link("home/.local/bin/kubectl-calico_protect");
    machine.link("home/.local/bin/kubectl_complete-calico_protect");
    assert_eq!(completed(&["calico-protect", "gra"]), grant);
}
