//! The dispatcher: a link named `calicoctl`.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use crate::machine::{Machine, PROGRAM, copy, err, example, out};

/// The variable by which dispatchers know of each other.
const TRACE: &str = "CALICOCTL_PROTECT_DISPATCHED";

/// A machine with the dispatcher before a calicoctl.
fn mk_machine() -> Machine {
    let machine = Machine::with(&["links", "bin"]);
    machine.link("links/calicoctl");
    machine
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[test]
fn what_is_no_plugin_goes_to_the_next_calicoctl_as_it_is() {
    let machine = mk_machine();
    let real = machine.stand_in("bin/calicoctl");
    let odd = OsString::from_vec(b"not \xff text".to_vec());
    let mut given = words(&["get", "", "two words", "line\nbreak", "--", "-o=*", "$HOME"]);
    given.push(odd);
    let mut command = machine.command(&machine.at("links/calicoctl"));
    let command = command.args(&given).env("DATASTORE_TYPE", "etcdv3");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a\0b\n").unwrap();
    let process = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(out(&output), "to standard output\n");
    assert_eq!(err(&output), "to standard error\n");
    assert_eq!(real.arguments(), Some(given));
    assert_eq!(real.input(), b"a\0b\n");
    assert_eq!(real.process(), process, "it took the dispatcher's place");
    let mut environment = real.environment();
    // Shells set these for themselves.
    for name in ["PWD", "OLDPWD", "SHLVL", "_"] {
        environment.remove(OsStr::new(name));
    }
    assert!(environment.remove(OsStr::new(TRACE)).is_some());
    let names: Vec<&OsStr> = environment.keys().map(OsString::as_os_str).collect();
    assert_eq!(names, ["DATASTORE_TYPE", "HOME", "PATH"]);
}

#[test]
fn commands_of_calicoctl_are_its_own_whatever_plugins_there_are() {
    let machine = mk_machine();
    let real = machine.stand_in("bin/calicoctl");
    for command in [
        "get", "apply", "node", "ipam", "validate", "version", "help",
    ] {
        let plugin = machine.stand_in(&format!("bin/calicoctl-{command}"));
        let given = words(&["--context", "x", command, "-h"]);
        machine.run(&machine.at("links/calicoctl"), &given);
        assert_eq!(real.arguments(), Some(given));
        assert_eq!(plugin.arguments(), None);
    }
}

#[test]
fn calls_without_a_command_are_calicoctls() {
    let machine = mk_machine();
    let real = machine.stand_in("bin/calicoctl");
    machine.stand_in("bin/calicoctl-tool");
    for given in [
        &[][..],
        &["--help"],
        &["--version"],
        &["--context", "tool"],
        &["-l", "tool"],
        &["--unknown", "tool"],
        &["--", "tool"],
        &["no/tool"],
        &[""],
    ] {
        machine.run(&machine.at("links/calicoctl"), given);
        assert_eq!(real.arguments(), Some(words(given)), "{given:?}");
    }
}

#[test]
fn a_plugin_gets_what_follows_its_word_and_the_options_before_it() {
    let machine = mk_machine();
    let plugin = machine.stand_in("bin/calicoctl-tool");
    let cases: [(&[&str], &[&str]); 5] = [
        (&["tool"], &[]),
        (&["tool", "a b", "", "--x"], &["a b", "", "--x"]),
        (
            &["--context", "prod", "-ldebug", "tool", "x"],
            &["--context", "prod", "-ldebug", "x"],
        ),
        (
            &["--allow-version-mismatch", "-c", "f.cfg", "tool"],
            &["--allow-version-mismatch", "-c", "f.cfg"],
        ),
        (
            &["--config=f.cfg", "--log-level", "info", "tool", "get"],
            &["--config=f.cfg", "--log-level", "info", "get"],
        ),
    ];
    for (given, expected) in cases {
        let output = machine.run(&machine.at("links/calicoctl"), given);
        assert_eq!(output.status.code(), Some(42), "{}", err(&output));
        assert_eq!(plugin.arguments(), Some(words(expected)), "{given:?}");
    }
}

#[test]
fn protect_is_this_program_and_shows_the_name_that_was_typed() {
    let machine = mk_machine();
    let calicoctl = machine.at("links/calicoctl");
    let output = machine.run(&calicoctl, &["protect", "grant", "--help"]);
    assert!(output.status.success(), "{}", err(&output));
    let help = out(&output);
    assert!(help.contains("Usage: calicoctl protect grant"), "{help}");
    assert!(help.contains("\n  calicoctl protect grant etcd --all-nodes\n"));
    assert!(!help.contains("calicoctl-protect"), "{help}");

    let folder = example();
    let folder = folder.to_str().unwrap();
    let given = [
        "--log-level",
        "error",
        "protect",
        "--manifests",
        folder,
        "status",
    ];
    let output = machine.run(&calicoctl, &given);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn help_can_be_asked_for_as_a_command() {
    let machine = mk_machine();
    let calicoctl = machine.at("links/calicoctl");
    let told = |words: &[&str]| {
        let output = machine.run(&calicoctl, words);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        out(&output)
    };
    assert_eq!(told(&["protect", "help"]), told(&["protect", "--help"]));
    for command in [&["undo"][..], &["plugin", "install"]] {
        let asked = told(&[&["protect", "help"], command].concat());
        assert!(asked.contains(&format!("Usage: calicoctl protect {}", command.join(" "))));
        assert_eq!(asked, told(&[&["protect"], command, &["--help"]].concat()));
    }
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else { return };
    let machine = Machine::with(&[]);
    let mut command = machine.command(Path::new(PROGRAM));
    let status = command.arg("--help").stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn the_command_to_repeat_is_shown_as_it_was_typed() {
    let machine = mk_machine();
    let folder = example();
    let folder = folder.to_str().unwrap();
    let given = ["--context", "x", "protect", "--manifests", folder];
    let given = [&given[..], &["grant", "etcd", "--net", "192.0.2.0/28"]].concat();
    let output = machine.run(&machine.at("links/calicoctl"), &given);
    assert_eq!(output.status.code(), Some(64));
    let expected = format!(
        "run `calicoctl --context x protect --manifests {folder} grant etcd --net 192.0.2.0/28 --yes`"
    );
    assert!(err(&output).contains(&expected), "{}", err(&output));
}

#[test]
fn another_calicoctl_protect_that_comes_first_on_path_is_the_one_that_runs() {
    let machine = mk_machine();
    let other = machine.stand_in("bin/calicoctl-protect");
    machine.run(&machine.at("links/calicoctl"), &["protect", "status"]);
    assert_eq!(other.arguments(), Some(words(&["status"])));
}

#[test]
fn a_signal_that_ends_calicoctl_ends_the_call() {
    let machine = mk_machine();
    for (name, number) in [("TERM", 15), ("PIPE", 13), ("USR1", 10)] {
        machine.script("bin/calicoctl", &format!("kill -{name} $$; exit 1"));
        let output = machine.run(&machine.at("links/calicoctl"), &["get"]);
        assert_eq!(output.status.signal(), Some(number), "SIG{name}");
    }
}

#[test]
fn without_a_calicoctl_the_code_is_a_shells_and_the_way_on_is_told() {
    let machine = mk_machine();
    // What nobody may execute is no program.
    std::fs::write(machine.at("bin/calicoctl"), "#!/bin/sh\n").unwrap();
    let output = machine.run(&machine.at("links/calicoctl"), &["get", "nodes"]);
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(
        err(&output),
        "error: no other `calicoctl` is on PATH, and this one is only the way to its plugins\n\
         hint: install calicoctl, or put its folder on PATH; `calicoctl protect` works without it\n"
    );
    assert_eq!(out(&output), "");
}

#[test]
fn the_dispatcher_does_not_find_itself_by_whatever_way_leads_to_it() {
    let machine = Machine::with(&["links", "again", "aliased", "hard", "copies"]);
    machine.link("links/calicoctl");
    machine.link_to("again/calicoctl", Path::new("../links/calicoctl"));
    std::fs::remove_dir(machine.at("aliased")).unwrap();
    machine.link_to("aliased", Path::new("links"));
    // A hard link, where the file system has them across these folders, else a copy.
    let hard = machine.at("hard/calicoctl");
    std::fs::hard_link(PROGRAM, &hard).unwrap_or_else(|_| {
        copy(PROGRAM.as_ref(), &hard);
    });
    for call in ["links/calicoctl", "aliased/calicoctl", "hard/calicoctl"] {
        for program in [machine.at(call), call.into()] {
            let output = machine.run(&program, &["get"]);
            assert_eq!(output.status.code(), Some(127), "{program:?}");
            assert!(err(&output).starts_with("error: "), "{}", err(&output));
        }
    }
    let mut relative = machine.command(Path::new("./links/calicoctl"));
    relative.env("PATH", "links:./again::aliased/../links:/usr/bin:/bin");
    assert_eq!(relative.output().unwrap().status.code(), Some(127));
}

#[test]
fn two_dispatchers_find_the_calicoctl_behind_both() {
    let machine = Machine::with(&["one", "two", "bin"]);
    machine.link("one/calicoctl");
    copy(PROGRAM.as_ref(), &machine.at("two/calicoctl"));
    let output = machine.run(&machine.at("one/calicoctl"), &["get"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(
        err(&output).contains("only lead to each other"),
        "{}",
        err(&output)
    );

    let real = machine.stand_in("bin/calicoctl");
    for first in ["one/calicoctl", "two/calicoctl"] {
        let output = machine.run(&machine.at(first), &["get", first]);
        assert_eq!(output.status.code(), Some(42), "{}", err(&output));
        assert_eq!(real.arguments(), Some(words(&["get", first])));
    }
}

#[test]
fn scripts_that_lead_back_are_passed_over() {
    for hop in [
        "exec '{link}' \"$@\"",
        "'{link}' \"$@\"",
        "exec env calicoctl \"$@\"",
    ] {
        let machine = Machine::with(&["links", "wrapped", "bin"]);
        let link = machine.link("links/calicoctl");
        let hop = hop.replace("{link}", link.to_str().unwrap());
        machine.script("wrapped/calicoctl", &hop);
        let call = machine.at("wrapped/calicoctl");
        let output = machine.run(&call, &["get"]);
        assert_eq!(output.status.code(), Some(127), "{hop}: {}", err(&output));

        let real = machine.stand_in("bin/calicoctl");
        for call in [&call, &link] {
            let output = machine.run(call, &["get"]);
            assert_eq!(output.status.code(), Some(42), "{hop}: {}", err(&output));
            assert_eq!(real.arguments(), Some(words(&["get"])));
        }
    }
}

#[test]
fn circles_of_ever_new_processes_end() {
    for hop in [
        // The dispatcher's parent is not the process that a dispatcher became.
        "sh -c '\"{link}\" get; exit $?'; exit $?",
        // Each call differs from the one before.
        "'{link}' \"$@\" more",
        // Nothing tells of the one before but that it waits.
        "env -i PATH=\"$PATH\" calicoctl \"$@\"",
        "env -i PATH=\"$PATH\" '{link}' \"$@\" more",
    ] {
        let machine = Machine::with(&["links", "wrapped"]);
        let link = machine.link("links/calicoctl");
        let hop = hop.replace("{link}", link.to_str().unwrap());
        let count = machine.at("count");
        let count = count.display();
        let script = format!(
            "echo >> '{count}'; [ $(wc -l < '{count}') -lt 50 ] || exit 99\n{hop}\nexit $?"
        );
        machine.script("wrapped/calicoctl", &script);
        machine.script("wrapped/calicoctl-tool", &script);
        for word in ["get", "tool"] {
            let _ = std::fs::remove_file(machine.at("count"));
            let output = machine.run(&link, &[word]);
            assert_eq!(output.status.code(), Some(127), "{hop}: {}", err(&output));
            assert!(
                err(&output).contains("only lead to each other"),
                "{}",
                err(&output)
            );
        }
    }
}

#[test]
fn a_program_that_the_dispatcher_ran_may_call_calicoctl_afresh() {
    let machine = Machine::with(&["links", "bin", "behind"]);
    machine.link("links/calicoctl");
    let script = "case $1 in outer) sh -c 'calicoctl inner; exit $?' ;;\n\
                  twice) calicoctl inner; calicoctl inner ;;\n\
                  itself) [ -n \"$INNER\" ] || INNER=yes exec calicoctl \"$@\"; echo got $1 ;;\n\
                  *) echo got $1 ;; esac";
    machine.script("bin/calicoctl", script);
    let told = |word: &str| {
        let output = machine.run(&machine.at("links/calicoctl"), &[word]);
        assert_eq!(err(&output), "", "{word}");
        out(&output)
    };
    assert_eq!(told("outer"), "got inner\n");
    assert_eq!(told("twice"), "got inner\ngot inner\n");
    assert_eq!(told("itself"), "got itself\n");

    // A plugin, too, of which the dispatcher is the parent.
    machine.script("bin/calicoctl-tool", "calicoctl inner; exit $?");
    assert_eq!(told("tool"), "got inner\n");

    // It is asked again also where there is another one behind it.
    machine.script("behind/calicoctl", "echo another got $1");
    for word in ["outer", "twice", "tool"] {
        assert!(told(word).starts_with("got inner\n"), "{word}");
    }
}

#[test]
fn completion_of_a_plugins_words_is_asked_of_the_plugin() {
    let machine = mk_machine();
    let real = machine.stand_in("bin/calicoctl");
    let plugin = machine.stand_in("bin/calicoctl-tool");
    let calicoctl = machine.at("links/calicoctl");
    machine.run(
        &calicoctl,
        &["__complete", "--context", "x", "tool", "a", ""],
    );
    let expected = words(&["__complete", "--context", "x", "a", ""]);
    assert_eq!(plugin.arguments(), Some(expected));
    assert_eq!(real.arguments(), None);
    // The word itself is calicoctl's to complete.
    machine.run(&calicoctl, &["__complete", "tool"]);
    assert_eq!(real.arguments(), Some(words(&["__complete", "tool"])));

    let output = machine.run(&calicoctl, &["__complete", "protect", "gra"]);
    assert_eq!(out(&output), "grant\tLet clients in\n:4\n");
}

#[test]
fn a_real_calicoctl_answers_behind_the_dispatcher_as_it_does_alone() {
    let Some(real) = std::env::var_os("CALICOCTL_PROTECT_TEST_CALICOCTL") else {
        println!("skipped: CALICOCTL_PROTECT_TEST_CALICOCTL names no calicoctl");
        return;
    };
    let machine = mk_machine();
    std::os::unix::fs::symlink(real, machine.at("bin/calicoctl")).unwrap();
    let alone = machine.at("bin/calicoctl");
    let calls: [&[&str]; 8] = [
        &[],
        &["--help"],
        &["get", "--help"],
        &["no-such-command"],
        &["get", "nodes", "--config", "/no/such/file"],
        &["--log-level", "none", "version"],
        &["validate", "-f", "/no/such/file"],
        &["-c"],
    ];
    for call in calls {
        let told = |program: &Path| {
            let output = machine.run(program, &words(call));
            (output.status.code(), out(&output), err(&output))
        };
        let (expected, given) = (told(&alone), told(&machine.at("links/calicoctl")));
        assert_eq!(given, expected, "{call:?}");
    }
}
