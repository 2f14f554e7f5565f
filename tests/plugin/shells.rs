//! The scripts of `completions/` in real shells, and the answers in those of kubectl, on a terminal
//! where somebody types; fish also by its own question.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use crate::machine::{Machine, PROGRAM, err, example, found, out};

/// The shells' prompt.
const PROMPT: &str = "READY>";

/// What the commands print when they have run.
const DONE: &str = "HAS-RUN";

/// How long a shell has to start, or to run a line, before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A machine with the sample cluster in the current folder and both commands. They answer when they
/// are asked for completion; else they write down what they are given.
fn mk_machine() -> Machine {
    let machine = Machine::with(&["bin"]);
    machine.folder("home");
    machine.folder("links");
    machine.folder("home/links");
    machine.folder("a b");
    // bash does not take a link for a folder at once.
    for folder in ["cluster", "home/cluster"] {
        let copied = machine
            .command(Path::new("cp"))
            .arg("-R")
            .args([example(), machine.at(folder)])
            .status();
        assert!(copied.unwrap().success());
    }
    machine.link_to("q'uote", &example());
    let dispatcher = machine.link("links/calicoctl");
    let record = machine.at("typed");
    let record = record.display();
    for (name, program) in [
        ("calicoctl-protect", Path::new(PROGRAM)),
        ("calicoctl", &dispatcher),
    ] {
        let text = format!(
            "case $1 in __complete*) exec '{}' \"$@\" ;; esac\n\
             printf '<%s>' {name} \"$@\" > '{record}'\necho {DONE}",
            program.display()
        );
        machine.script(&format!("bin/{name}"), &text);
        machine.script(&format!("home/links/{name}"), &text);
    }
    machine
}

/// The script for a shell, as the program prints it.
fn script(machine: &Machine, shell: &str) -> String {
    let output = machine.run(Path::new(PROGRAM), &["completion", shell]);
    assert!(output.status.success());
    out(&output)
}

/// Has a shell run lines in which `\t` is a press of the key, each when the shell is ready for it,
/// and returns what the commands got.
fn type_into(machine: &Machine, shell: &str, lines: &[&str]) -> Vec<String> {
    let mut child = machine
        .command(Path::new("script"))
        .args(["--quiet", "--flush", "--return", "--command"])
        .arg(format!("stty rows 40 cols 400; exec {shell}"))
        .arg("/dev/null")
        .envs([
            ("TERM", "xterm"),
            ("LC_ALL", "C.UTF-8"),
            ("SHELL", "/bin/sh"),
        ])
        .env("ZDOTDIR", machine.at("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut screen = Screen::new(child.stdout.take().unwrap());
    screen.until(PROMPT);
    let record = machine.at("typed");
    let run = |line: &&str| {
        keys.write_all(line.as_bytes()).unwrap();
        keys.write_all(b"\r").unwrap();
        screen.until(DONE);
        screen.until(PROMPT);
        fs::read_to_string(&record).unwrap()
    };
    let got = lines.iter().map(run).collect();
    let _ = child.kill();
    let _ = child.wait();
    got
}

/// What a terminal shows.
struct Screen {
    more: mpsc::Receiver<String>,
    shown: String,
}

impl Screen {
    fn new(mut from: impl Read + Send + 'static) -> Self {
        let (send, more) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
                if send.send(text).is_err() {
                    break;
                }
            }
        });
        let shown = String::new();
        Self { more, shown }
    }

    /// Waits for a text and forgets what came before it.
    fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            match self.more.recv_timeout(PATIENCE) {
                Ok(more) => self.shown.push_str(&more),
                Err(_) => panic!("no {text:?} in {:?}", self.shown),
            }
        }
    }
}

/// Lines that every shell completes, with what the command is to get; `HOME` is the home folder.
const LINES: [(&str, &str); 12] = [
    (
        "calicoctl-protect gran\tetcd-\t",
        "<calicoctl-protect><grant><etcd-peer>",
    ),
    (
        "calicoctl-protect --manifests clu\t grant etcd --node cp\t",
        "<calicoctl-protect><--manifests><cluster><grant><etcd><--node><cp-1>",
    ),
    (
        "calicoctl-protect grant --manifests=cluster --node=cp\t",
        "<calicoctl-protect><grant><--manifests=cluster><--node=cp-1>",
    ),
    (
        "calicoctl-protect --manifests=clu\t status",
        "<calicoctl-protect><--manifests=cluster><status>",
    ),
    (
        "calicoctl-protect --manifests ~/clu\t status",
        "<calicoctl-protect><--manifests><HOME/cluster><status>",
    ),
    (
        "calicoctl-protect --manifests ~/cluster grant etcd --node cp\t",
        "<calicoctl-protect><--manifests><HOME/cluster><grant><etcd><--node><cp-1>",
    ),
    (
        "calicoctl-protect grant --node-selector 'a == \"b\" && has(c)' --manifests cluster --node cp\t",
        "<calicoctl-protect><grant><--node-selector><a == \"b\" && has(c)><--manifests><cluster><--node><cp-1>",
    ),
    (
        "calicoctl-protect --config a\\ \t",
        "<calicoctl-protect><--config><a b>",
    ),
    (
        "calicoctl-protect plugin install --dir clu\t",
        "<calicoctl-protect><plugin><install><--dir><cluster>",
    ),
    (
        "calicoctl protect gran\tetcd --manifests cluster --node cp\t",
        "<calicoctl><protect><grant><etcd><--manifests><cluster><--node><cp-1>",
    ),
    (
        "calicoctl protect grant --manifests cluster --node=cp\t",
        "<calicoctl><protect><grant><--manifests><cluster><--node=cp-1>",
    ),
    (
        "calicoctl --context x protect gran\t",
        "<calicoctl><--context><x><protect><grant>",
    ),
];

/// More lines for shells in which variables and quotes are written as in sh.
const LINES_OF_SH: [(&str, &str); 3] = [
    (
        "calicoctl-protect --manifests $HOME/clu\t grant etcd --node cp\t",
        "<calicoctl-protect><--manifests><HOME/cluster><grant><etcd><--node><cp-1>",
    ),
    (
        "calicoctl-protect --manifests \"q'uote\" grant etcd --node cp\t",
        "<calicoctl-protect><--manifests><q'uote><grant><etcd><--node><cp-1>",
    ),
    (
        "~/links/calicoctl protect gran\t",
        "<calicoctl><protect><grant>",
    ),
];

#[track_caller]
fn check(machine: &Machine, shell: &str, lines: &[(&str, &str)]) {
    let keys: Vec<&str> = lines.iter().map(|(keys, _)| *keys).collect();
    let got = type_into(machine, shell, &keys);
    let home = machine.at("home");
    for ((keys, expected), got) in lines.iter().zip(&got) {
        let expected = expected.replace("HOME", home.to_str().unwrap());
        // Shells differ in whether a folder's slash stays when a blank is typed behind it.
        assert_eq!(got.replace("/>", ">"), expected, "{keys:?}");
    }
}

#[test]
fn bash_completes() {
    if !found("bash") {
        return;
    }
    let machine = mk_machine();
    let before =
        "_own() { COMPREPLY=($(compgen -W get-nodes -- \"$2\")); }; complete -F _own calicoctl";
    let text = format!(
        "PS1='{PROMPT}'; bind 'set bell-style none'\n{before}\n{}",
        script(&machine, "bash")
    );
    fs::write(machine.at("rc"), text).unwrap();
    let shell = "bash --noprofile --rcfile rc -i";
    check(&machine, shell, &[&LINES[..], &LINES_OF_SH].concat());
    // bash parts words at `=`, and takes care of quotes itself.
    let own = [
        (
            "calicoctl-protect --manifests=clu\tx",
            "<calicoctl-protect><--manifests=cluster/x>",
        ),
        (
            "calicoctl-protect grant --manifests=cluster --node=\"cp\t",
            "<calicoctl-protect><grant><--manifests=cluster><--node=cp-1>",
        ),
        (
            "calicoctl-protect --config 'a\t",
            "<calicoctl-protect><--config><a b>",
        ),
        ("calicoctl ge\tx", "<calicoctl><get-nodes><x>"),
        ("calicoctl prot\tx", "<calicoctl><protect><x>"),
    ];
    check(&machine, shell, &own);
}

/// bash-completion loads a command's completion when it is asked for the first time.
#[test]
fn bash_goes_on_to_load_what_completes_calicoctl() {
    if !found("bash") {
        return;
    }
    let machine = mk_machine();
    let own =
        "_own() { COMPREPLY=($(compgen -W get-nodes -- \"$2\")); }; complete -F _own calicoctl";
    fs::write(machine.at("calicoctl.bash"), own).unwrap();
    fs::write(machine.at("script"), script(&machine, "bash")).unwrap();
    let begin = format!("PS1='{PROMPT}'; bind 'set bell-style none'; source ./script\n");
    let loaders = [
        // Up to 2.11, then of 2.12 and later; behind the script as well as before it.
        "__load_completion() { source ./\"$1.bash\"; }",
        "_comp_load() { source ./\"$2.bash\"; }",
    ];
    let lines = [
        ("calicoctl ge\tx", "<calicoctl><get-nodes><x>"),
        ("calicoctl prot\tx", "<calicoctl><protect><x>"),
        ("calicoctl protect gran\t", "<calicoctl><protect><grant>"),
    ];
    for loader in loaders {
        fs::write(machine.at("rc"), format!("{begin}{loader}\n")).unwrap();
        check(&machine, "bash --noprofile --rcfile rc -i", &lines);
    }
    // Nothing is there to be loaded.
    fs::write(machine.at("calicoctl.bash"), "return 1").unwrap();
    check(&machine, "bash --noprofile --rcfile rc -i", &lines[1..]);
}

/// Lines that kubectl's own script completes, by the plugin's answers.
const LINES_OF_KUBECTL: [(&str, &str); 4] = [
    (
        "kubectl calico protect gran\tetcd --manifests cluster --node cp\t",
        "<kubectl><calico><protect><grant><etcd><--manifests><cluster><--node><cp-1>",
    ),
    (
        "kubectl calico protect grant --manifests cluster --node=cp\t",
        "<kubectl><calico><protect><grant><--manifests><cluster><--node=cp-1>",
    ),
    (
        "kubectl calico protect --manifests=clu\t status",
        "<kubectl><calico><protect><--manifests=cluster><status>",
    ),
    (
        "kubectl calico protect --manifests ~/clu\t grant etcd --node cp\t",
        "<kubectl><calico><protect><--manifests><HOME/cluster><grant><etcd><--node><cp-1>",
    ),
];

/// A machine where kubectl completes, and writes down what it is given.
fn mk_machine_with_kubectl() -> Option<Machine> {
    if !found("kubectl") {
        return None;
    }
    let machine = mk_machine();
    machine.link("bin/kubectl-calico-protect");
    machine.link("bin/kubectl_complete-calico-protect");
    let record = machine.at("typed");
    let text = format!(
        "case $1 in __complete*|completion) PATH=${{PATH#*:}}:${{PATH%%:*}} exec kubectl \"$@\" ;; esac\n\
         printf '<%s>' kubectl \"$@\" > '{}'\necho {DONE}",
        record.display()
    );
    machine.script("bin/kubectl", &text);
    Some(machine)
}

#[test]
fn kubectl_completes_in_zsh() {
    if !found("zsh") {
        return;
    }
    let Some(machine) = mk_machine_with_kubectl() else {
        return;
    };
    let text = format!(
        "PS1='{PROMPT}'; setopt no_beep; autoload -Uz compinit; compinit -u -D\n\
         source <(kubectl completion zsh)\n"
    );
    fs::write(machine.at("home/.zshrc"), text).unwrap();
    check(&machine, "zsh -d -i", &LINES_OF_KUBECTL);
}

#[test]
fn kubectl_completes_in_bash() {
    let functions = "/usr/share/bash-completion/bash_completion";
    if !found("bash") || !Path::new(functions).exists() {
        println!("skipped: no {functions}");
        return;
    }
    let Some(machine) = mk_machine_with_kubectl() else {
        return;
    };
    let text = format!(
        "PS1='{PROMPT}'; bind 'set bell-style none'; source {functions}\n\
         source <(kubectl completion bash)\n"
    );
    fs::write(machine.at("rc"), text).unwrap();
    let shell = "bash --noprofile --rcfile rc -i";
    check(&machine, shell, &LINES_OF_KUBECTL);
}

#[test]
fn kubectl_completes_in_fish() {
    if !found("fish") {
        return;
    }
    let Some(machine) = mk_machine_with_kubectl() else {
        return;
    };
    let text = format!(
        "function fish_prompt; echo -n '{PROMPT}'; end\nkubectl completion fish | source\n"
    );
    fs::write(machine.at("rc.fish"), text).unwrap();
    check(&machine, FISH, &LINES_OF_KUBECTL);
}

#[test]
fn zsh_completes() {
    if !found("zsh") {
        return;
    }
    let machine = mk_machine();
    let begin = format!("PS1='{PROMPT}'; setopt no_beep; autoload -Uz compinit\n");
    let own = [
        ("calicoctl ge\tx", "<calicoctl><get-nodes><x>"),
        ("calicoctl prot\tx", "<calicoctl><protect><x>"),
        (
            "calicoctl-protect --manifests=~/clu\t status",
            "<calicoctl-protect><--manifests=~/cluster><status>",
        ),
    ];
    let lines = [&LINES[..], &LINES_OF_SH, &own].concat();
    let shell = "zsh -d -i";
    // Sourced, with a completion of calicoctl that is there before.
    let before = "compinit -u -D; _own() { compadd get-nodes }; compdef _own calicoctl";
    let text = script(&machine, "zsh");
    let sourced = format!("{begin}{before}\nsource ./script\n");
    fs::write(machine.at("script"), &text).unwrap();
    fs::write(machine.at("home/.zshrc"), sourced).unwrap();
    check(&machine, shell, &lines);
    // From the folder of functions, beside that of calicoctl.
    machine.folder("functions");
    fs::write(machine.at("functions/_calicoctl-protect"), &text).unwrap();
    let before = "#compdef calicoctl\ncompadd get-nodes\n";
    fs::write(machine.at("functions/_calicoctl"), before).unwrap();
    let found = format!("{begin}fpath=(./functions $fpath)\ncompinit -u -D\n");
    fs::write(machine.at("home/.zshrc"), found).unwrap();
    check(&machine, shell, &lines);
}

#[test]
fn elvish_completes() {
    if !found("elvish") {
        return;
    }
    let machine = mk_machine();
    let before = "set edit:completion:arg-completer[calicoctl] = {|@words| edit:complex-candidate get-nodes &code-suffix=' ' }";
    let text = format!(
        "set edit:prompt = {{ put '{PROMPT}' }}\nset edit:rprompt = {{ }}\n{before}\n{}",
        script(&machine, "elvish")
    );
    fs::write(machine.at("rc.elv"), text).unwrap();
    // A blank is written in quotes here, as is a word with `=`, and the home folder is written out. What
    // changes the text that was typed has to be accepted.
    let as_typed = |keys: &str| !["\\", "=c", "~/clu\t"].iter().any(|t| keys.contains(t));
    let lines: Vec<_> = LINES
        .into_iter()
        .filter(|(keys, _)| as_typed(keys))
        .collect();
    let own = [
        (
            "calicoctl-protect --manifests ~/clu\t\r status",
            "<calicoctl-protect><--manifests><HOME/cluster><status>",
        ),
        (
            "calicoctl-protect grant --manifests=cluster --node=cp\t\r",
            "<calicoctl-protect><grant><--manifests=cluster><--node=cp-1>",
        ),
        (
            "calicoctl-protect --manifests=clu\t\rx",
            "<calicoctl-protect><--manifests=cluster/x>",
        ),
        ("calicoctl ge\tx", "<calicoctl><get-nodes><x>"),
        ("calicoctl prot\tx", "<calicoctl><protect><x>"),
    ];
    check(&machine, "elvish -rc rc.elv", &[&lines[..], &own].concat());
}

/// Without its own configuration.
const FISH: &str = "fish --no-config --private --init-command 'source rc.fish' --interactive";

#[test]
fn fish_completes() {
    if !found("fish") {
        return;
    }
    let machine = mk_machine();
    let before = "complete --command calicoctl --no-files --arguments get-nodes";
    let text = format!(
        "function fish_prompt; echo -n '{PROMPT}'; end\n{before}\n{}",
        script(&machine, "fish")
    );
    fs::write(machine.at("rc.fish"), text).unwrap();
    let own = [
        ("calicoctl ge\tx", "<calicoctl><get-nodes><x>"),
        ("calicoctl prot\tx", "<calicoctl><protect><x>"),
    ];
    let lines = [&LINES[..], &LINES_OF_SH, &own].concat();
    check(&machine, FISH, &lines);

    let ask = |line: &str| {
        let mut command = machine.command(Path::new("fish"));
        let command = command.args(["--no-config", "--command"]);
        let command = command.arg("source rc.fish; complete --do-complete $argv[1]");
        let output = command.arg(line).output().unwrap();
        assert_eq!(err(&output), "", "{line}");
        out(&output)
    };
    assert_eq!(ask("calicoctl-protect gran"), "grant\tLet clients in\n");
    let nodes = "worker-1\nworker-2\n";
    assert_eq!(
        ask("calicoctl-protect grant --manifests cluster --node wor"),
        nodes
    );
    assert_eq!(ask("calicoctl-protect --config 'a"), "a b/\n");
    assert!(ask("calicoctl pro").starts_with("protect\t"));
    assert_eq!(ask("calicoctl protect unre"), "");
    // A program that is not there has nothing to say.
    assert_eq!(ask("~/nowhere/calicoctl protect gran"), "");
}

#[test]
fn every_shells_script_is_printed_as_it_is_in_the_folder() {
    let machine = Machine::with(&[]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let mut files = 0;
    for (shell, file) in [
        ("bash", "calicoctl-protect.bash"),
        ("zsh", "_calicoctl-protect"),
        ("fish", "calicoctl-protect.fish"),
        ("powershell", "_calicoctl-protect.ps1"),
        ("elvish", "calicoctl-protect.elv"),
    ] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(script(&machine, shell), text);
        files += 1;
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), files, "no others");
}
