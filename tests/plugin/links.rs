//! `plugin install`, `list` and `remove`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::machine::{Machine, PROGRAM, copy, err, out};

const NAMES: [&str; 4] = [
    "calicoctl",
    "calicoctl-protect",
    "kubectl-calico-protect",
    "kubectl_complete-calico-protect",
];

/// A machine with the folder of links first on `PATH`.
fn mk_machine() -> Machine {
    Machine::with(&["home/.local/bin", "bin"])
}

fn plugin(machine: &Machine, arguments: &[&str]) -> Output {
    let mut command = machine.command(Path::new(PROGRAM));
    command.arg("plugin").args(arguments).output().unwrap()
}

fn links(machine: &Machine) -> Vec<String> {
    let entries = fs::read_dir(machine.at("home/.local/bin")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn target(machine: &Machine, name: &str) -> PathBuf {
    fs::read_link(machine.at("home/.local/bin").join(name)).unwrap()
}

#[test]
fn install_makes_the_links_once_and_remove_takes_them_back() {
    let machine = Machine::with(&["bin"]);
    let output = plugin(&machine, &["install"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(links(&machine), NAMES);
    for name in NAMES {
        assert_eq!(target(&machine, name), Path::new(PROGRAM));
    }
    let again = plugin(&machine, &["install"]);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(out(&again), "");
    assert!(err(&again).contains("nothing to do"), "{}", err(&again));

    let output = plugin(&machine, &["remove"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(links(&machine).is_empty());
    let again = plugin(&machine, &["remove"]);
    assert!(err(&again).contains("nothing to do"), "{}", err(&again));
}

#[test]
fn a_dry_run_does_nothing() {
    let machine = mk_machine();
    let output = plugin(&machine, &["install", "--dry-run"]);
    assert_eq!(out(&output).lines().count(), 4);
    assert!(links(&machine).is_empty());
    plugin(&machine, &["install"]);
    let output = plugin(&machine, &["remove", "--dry-run"]);
    assert_eq!(out(&output).lines().count(), 4);
    assert_eq!(links(&machine), NAMES);
}

#[test]
fn only_the_links_of_one_tool_can_be_made_and_taken_back() {
    let machine = mk_machine();
    plugin(&machine, &["install", "--only", "kubectl"]);
    assert_eq!(links(&machine), NAMES[1..]);
    plugin(&machine, &["install", "--only", "calicoctl"]);
    assert_eq!(links(&machine), NAMES);
    plugin(&machine, &["remove", "--only", "calicoctl"]);
    assert_eq!(links(&machine), NAMES[1..], "the rest needs the program");
    plugin(&machine, &["remove", "--only", "kubectl"]);
    assert!(links(&machine).is_empty());
}

/// Puts something that is not ours at a path.
type Put = fn(&Path);

#[test]
fn a_foreign_file_is_refused_before_anything_is_done() {
    let foreign: [(&str, Put); 4] = [
        ("a program", |at| fs::write(at, "calicoctl").unwrap()),
        ("a link", |at| {
            std::os::unix::fs::symlink("/bin/true", at).unwrap()
        }),
        ("a dangling link", |at| {
            std::os::unix::fs::symlink("/nowhere/calicoctl", at).unwrap();
        }),
        ("a folder", |at| fs::create_dir(at).unwrap()),
    ];
    for (what, make) in foreign {
        let machine = mk_machine();
        let at = machine.at("home/.local/bin/calicoctl");
        make(&at);
        let before = fs::symlink_metadata(&at).unwrap();
        let output = plugin(&machine, &["install"]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        let expected = format!(
            "error: `{}` is not a link of calicoctl-protect's, so it stays as it is\n\
             hint: move it away, leave its link out with `--only`, or name another folder with `--dir`\n",
            at.display()
        );
        assert_eq!(err(&output), expected, "{what}");
        let output = plugin(&machine, &["install", "--only", "calicoctl"]);
        let hint = "hint: move it away, or name another folder with `--dir`\n";
        assert!(err(&output).ends_with(hint), "{what}: {}", err(&output));
        assert_eq!(links(&machine), ["calicoctl"], "{what}");
        let output = plugin(&machine, &["remove"]);
        assert_eq!(output.status.code(), Some(0));
        let after = fs::symlink_metadata(&at).unwrap();
        assert_eq!(
            after.modified().unwrap(),
            before.modified().unwrap(),
            "{what}"
        );
        // The rest can be had.
        let output = plugin(&machine, &["install", "--only", "kubectl"]);
        assert_eq!(output.status.code(), Some(0), "{what}: {}", err(&output));
    }
}

#[test]
fn links_that_an_earlier_version_left_are_renewed_and_removed() {
    let machine = mk_machine();
    let old = Path::new("/opt/old/calicoctl-protect");
    machine.link_to("home/.local/bin/calicoctl", old);
    let output = plugin(&machine, &["list"]);
    assert!(out(&output).contains("stale"), "{}", out(&output));
    let output = plugin(&machine, &["install"]);
    assert!(out(&output).contains("~ "), "{}", out(&output));
    assert_eq!(target(&machine, "calicoctl"), Path::new(PROGRAM));
    plugin(&machine, &["remove"]);
    machine.link_to("home/.local/bin/calicoctl", old);
    plugin(&machine, &["remove"]);
    assert!(links(&machine).is_empty());
}

#[test]
fn the_program_itself_in_the_folder_and_links_of_other_hands_stay() {
    let machine = mk_machine();
    let own = machine.at("home/.local/bin/calicoctl-protect");
    copy(PROGRAM.as_ref(), &own);
    machine.link_to(
        "home/.local/bin/kubectl-calico-protect",
        Path::new("calicoctl-protect"),
    );
    let run = |words: &[&str]| machine.run(&own, words);
    let output = run(&["plugin", "install"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(links(&machine), NAMES);
    assert_eq!(target(&machine, "calicoctl"), own);
    run(&["plugin", "remove"]);
    assert_eq!(
        links(&machine),
        ["calicoctl-protect", "kubectl-calico-protect"]
    );
}

#[test]
fn a_users_own_link_to_the_program_stays_and_is_what_the_others_lead_to() {
    let machine = mk_machine();
    machine.folder("opt");
    let versioned = machine.at("opt/calicoctl-protect-0.1.0");
    copy(PROGRAM.as_ref(), &versioned);
    let own = machine.link_to("home/.local/bin/calicoctl-protect", &versioned);
    let output = machine.run(&own, &["plugin", "install"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(links(&machine), NAMES);
    assert_eq!(target(&machine, "calicoctl"), own);
    for only in ["calicoctl", "kubectl"] {
        machine.run(&own, &["plugin", "remove", "--only", only]);
    }
    assert_eq!(links(&machine), ["calicoctl-protect"]);
    assert_eq!(target(&machine, "calicoctl-protect"), versioned);
}

#[test]
fn what_works_already_gets_no_link() {
    let machine = mk_machine();
    copy(PROGRAM.as_ref(), &machine.at("bin/calicoctl-protect"));
    let packaged = Path::new("calicoctl-protect");
    let by = machine.link_to("bin/kubectl-calico-protect", packaged);
    machine.link_to("bin/kubectl_complete-calico-protect", packaged);
    let run = |words: &[&str]| machine.run(&machine.at("bin/calicoctl-protect"), words);
    let output = run(&["plugin", "install"]);
    assert_eq!(links(&machine), ["calicoctl"]);
    let note = format!(
        "note: kubectl calico protect works already, by `{}`\n",
        by.display()
    );
    assert!(err(&output).contains(&note), "{}", err(&output));
    let output = run(&["plugin", "list"]);
    let states: Vec<String> = out(&output)
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    let expected = ["elsewhere", "installed", "elsewhere", "elsewhere"];
    assert_eq!(states, expected, "{}", out(&output));
    assert!(out(&output).contains(by.to_str().unwrap()));
    // Where something else is found first, the name does not work yet.
    machine.folder("home/first");
    let mut path = machine.at("home/first").into_os_string();
    path.push(":");
    path.push(machine.search_path());
    machine.script("home/first/kubectl-calico-protect", "exit 0");
    let mut command = machine.command(&machine.at("bin/calicoctl-protect"));
    command.args(["plugin", "install"]).env("PATH", path);
    assert!(command.output().unwrap().status.success());
    assert_eq!(links(&machine), ["calicoctl", "kubectl-calico-protect"]);
}

#[test]
fn links_do_not_lead_through_another_folder_of_links() {
    let machine = Machine::with(&["one", "two", "bin"]);
    plugin(&machine, &["install", "--dir", "one", "--only", "kubectl"]);
    let found = machine.at("one/calicoctl-protect");
    let given = ["plugin", "install", "--dir", "two", "--only", "calicoctl"];
    let output = machine.run(&found, &given);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let target = fs::read_link(machine.at("two/calicoctl")).unwrap();
    assert_eq!(target, Path::new(PROGRAM));
}

#[test]
fn links_to_what_krew_installed_outlive_its_next_version() {
    let machine = Machine::with(&["home/.local/bin", "krew/bin"]);
    let version = |number: &str| {
        let folder = format!("krew/store/calico-protect/{number}");
        machine.folder(&folder);
        machine.at(&folder).join("calicoctl-protect")
    };
    copy(PROGRAM.as_ref(), &version("v0.1.0"));
    let link = machine.link_to("krew/bin/kubectl-calico_protect", &version("v0.1.0"));
    machine.run(&link, &["plugin", "install"]);
    assert_eq!(links(&machine), NAMES);
    assert_eq!(target(&machine, "calicoctl"), link);
    // As krew upgrades.
    fs::rename(version("v0.1.0"), version("v0.2.0")).unwrap();
    fs::remove_file(&link).unwrap();
    machine.link_to("krew/bin/kubectl-calico_protect", &version("v0.2.0"));
    let calicoctl = machine.at("home/.local/bin/calicoctl");
    let output = machine.run(&calicoctl, &["protect", "version"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    // Links that are left when krew took the program away are ours still.
    fs::remove_file(&link).unwrap();
    plugin(&machine, &["remove"]);
    assert!(links(&machine).is_empty());
}

#[test]
fn links_are_given_the_path_by_which_the_program_is_found() {
    let machine = mk_machine();
    let found = machine.link("bin/calicoctl-protect");
    plugin(&machine, &["install"]);
    assert_eq!(target(&machine, "calicoctl"), found);
    // Also when it is called by one of the links.
    let link = machine.at("home/.local/bin/kubectl-calico-protect");
    plugin(&machine, &["remove", "--only", "calicoctl"]);
    machine.run(&link, &["plugin", "install"]);
    assert_eq!(target(&machine, "calicoctl"), found);
}

#[test]
fn a_folder_that_is_not_on_path_is_told_of() {
    let machine = Machine::with(&["bin"]);
    let output = plugin(&machine, &["install", "--dir", "elsewhere"]);
    let folder = machine.at("elsewhere");
    let folder = folder.display();
    assert!(err(&output).contains(&format!("warning: `{folder}` is not on PATH")));
    assert!(err(&output).contains(&format!("export PATH=\"{folder}:$PATH\"")));
    let output = plugin(&machine, &["install", "--dir", "a $x \"b\""]);
    let hint = "/a \\$x \\\"b\\\":$PATH\"";
    assert!(err(&output).contains(hint), "{}", err(&output));
    let output = plugin(&machine, &["install", "--dir", "a:b"]);
    let hint = "a folder with `:` in its name cannot be on PATH";
    assert!(err(&output).contains(hint), "{}", err(&output));
}

#[test]
fn what_the_links_hide_and_what_hides_them_is_told() {
    let machine = Machine::with(&["first", "home/.local/bin", "bin"]);
    let output = plugin(&machine, &["install"]);
    assert!(err(&output).contains("there is no other `calicoctl` on PATH"));

    let real = machine.script("bin/calicoctl", "exit 0");
    let output = plugin(&machine, &["install"]);
    let expected = format!(
        "hands everything that is no plugin on to `{}`",
        real.display()
    );
    assert!(err(&output).contains(&expected), "{}", err(&output));

    let other = machine.script("bin/kubectl-calico-protect", "exit 0");
    let output = plugin(&machine, &["list"]);
    let expected = format!(
        "`kubectl-calico-protect` is found before `{}`",
        other.display()
    );
    assert!(err(&output).contains(&expected), "{}", err(&output));

    let first = machine.script("first/calicoctl", "exit 0");
    let output = plugin(&machine, &["list"]);
    let expected = format!(
        "warning: the link `calicoctl` has no effect: `{}` is found first",
        first.display()
    );
    assert!(err(&output).contains(&expected), "{}", err(&output));
}

#[test]
fn list_shows_the_links_as_json() {
    let machine = mk_machine();
    plugin(&machine, &["install", "--only", "kubectl"]);
    let output = plugin(&machine, &["list", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["onPath"], true);
    assert_eq!(
        value["folder"],
        machine.at("home/.local/bin").to_str().unwrap()
    );
    let states: Vec<&str> = value["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["installed", "missing", "installed", "installed"]);
}

#[test]
fn list_shows_programs_what_hides_a_link_and_what_it_hides() {
    let machine = Machine::with(&["first", "home/.local/bin", "bin"]);
    let hidden_by = machine.script("first/kubectl-calico-protect", "exit 0");
    let hides = machine.script("bin/calicoctl", "exit 0");
    plugin(&machine, &["install"]);
    let output = plugin(&machine, &["list", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["links"][1]["hides"], hides.to_str().unwrap());
    assert_eq!(value["links"][2]["hiddenBy"], hidden_by.to_str().unwrap());
}

#[test]
fn a_folder_whose_name_is_no_text_is_shown_as_well_as_it_can_be() {
    let machine = mk_machine();
    for format in ["text", "json", "yaml"] {
        let mut command = machine.command(Path::new(PROGRAM));
        command.args(["plugin", "list", "-o", format, "--dir"]);
        let output = command.arg(OsStr::from_bytes(b"b\xff")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(out(&output).contains("b\u{fffd}"), "{}", out(&output));
    }
}

#[test]
fn without_a_home_a_folder_has_to_be_named() {
    let machine = mk_machine();
    let mut command = machine.command(Path::new(PROGRAM));
    let output = command.args(["plugin", "install"]).env_remove("HOME");
    let output = output.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).contains("hint: name a folder with `--dir`"));
}

#[test]
fn what_the_file_system_refuses_is_an_error_and_not_told_as_done() {
    let machine = mk_machine();
    fs::write(machine.at("file"), "").unwrap();
    let output = plugin(&machine, &["install", "--dir", "file/bin"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "");
    assert!(
        err(&output).starts_with("error: cannot make `"),
        "{}",
        err(&output)
    );
    for command in ["install", "list", "remove"] {
        let output = plugin(&machine, &[command, "--dir", "file"]);
        assert_eq!(output.status.code(), Some(1));
        let expected = format!(
            "error: `{}` is not a folder\nhint: name another folder with `--dir`\n",
            machine.at("file").display()
        );
        assert_eq!(err(&output), expected);
    }
}
