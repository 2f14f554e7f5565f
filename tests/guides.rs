//! The guides and the README are run: every command of their `console` blocks, in one shell on a copy
//! of the sample cluster that the page names, must print what the page shows.
//!
//! A page names its sample by a line `<!-- sample: tests/data/clusters/kubeadm -->`; the copy is
//! `cluster/` beneath the folder where the shell runs. A line that is only `...` stands for any
//! number of lines, `[..]` for any part of a line. A command that fails must be followed by
//! `echo $?`, so that the page shows its exit code. `UPDATE=1` writes what the commands print today into
//! the pages.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

mod command;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use command::Cluster;

/// One command of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// The line where it stands, counted from 0.
    line: usize,
    /// The command, continuation lines included.
    command: String,
    /// The lines of the page that show its output.
    shown: std::ops::Range<usize>,
}

/// Set, it lets pages and pictures be written anew.
const UPDATE: &str = "UPDATE";

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    output: String,
    code: i32,
}

macro_rules! pages {
    ($($test:ident => $page:literal,)*) => {
        $(#[test]
        fn $test() {
            run_page(&sources().join($page));
        })*

        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    the_readme_shows_what_happens => "README.md",
    etcd_on_kubeadm => "docs/guides/etcd-on-kubeadm.md",
    typha => "docs/guides/typha.md",
    felix_metrics_with_prometheus_in_a_pod => "docs/guides/felix-metrics.md",
    an_external_etcd_cluster => "docs/guides/external-etcd.md",
    a_bare_metal_cluster => "docs/guides/bare-metal.md",
    gitops_review => "docs/guides/gitops-review.md",
    undo_at_3_am => "docs/guides/undo.md",
}

#[test]
fn every_guide_is_run_and_listed() {
    let folder = sources().join("docs/guides");
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    let run: BTreeSet<&str> = PAGES.iter().copied().collect();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        assert!(
            run.contains(format!("docs/guides/{name}").as_str()),
            "{name} is not run"
        );
        assert!(
            index.contains(&format!("({name})")),
            "{name} is not in the index"
        );
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages: Vec<PathBuf> = PAGES.iter().map(|page| sources().join(page)).collect();
    pages.push(sources().join("docs/guides/README.md"));
    pages.push(sources().join("packaging/README.md"));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || link.contains("://") {
                continue;
            }
            let target = page.parent().unwrap().join(path);
            assert!(target.exists(), "{}: no {link}", page.display());
        }
    }
}

/// The picture of the README: a session as a terminal shows it.
#[test]
fn the_picture_of_the_readme_shows_what_is_printed() {
    let cluster = Cluster::own("kubeadm");
    cluster.does(&["server", "typha", "--node", "w-1", "--yes"]);
    let mut shown = String::new();
    for (typed, streams) in [
        ("grant typha --node w-2 --dry-run -q", [true, false]),
        (
            "prune typha --direction inbound --yes -q >plan.txt",
            [false, true],
        ),
    ] {
        let words: Vec<&str> = typed
            .split(' ')
            .filter(|word| *word != ">plan.txt")
            .collect();
        let run = cluster.run(&[&["--color", "always"][..], &words].concat());
        shown.push_str(&format!("\u{1b}[1m$ calicoctl-protect {typed}\u{1b}[0m\n"));
        for (text, is_shown) in [&run.out, &run.err].into_iter().zip(streams) {
            shown.push_str(if is_shown { text } else { "" });
        }
        shown.push('\n');
    }
    let picture = anstyle_svg::Term::new().render_svg(&wrapped(&shown, 120));
    let path = sources().join("docs/refused.svg");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, picture).unwrap();
    } else {
        let drawn = fs::read_to_string(path).unwrap();
        assert!(
            drawn == picture,
            "docs/refused.svg is not what is printed: {UPDATE}=1 draws it anew"
        );
    }
}

/// Lines broken where a terminal of this width breaks them; escapes take no room.
fn wrapped(text: &str, width: usize) -> String {
    let (mut out, mut column, mut escape) = (String::new(), 0, false);
    for c in text.chars() {
        match c {
            '\n' => column = 0,
            '\u{1b}' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            _ if column == width => {
                out.push('\n');
                column = 1;
            }
            _ => column += 1,
        }
        out.push(c);
    }
    out
}

/// Runs a page and compares, or writes it anew when asked to.
fn run_page(page: &Path) {
    let text = fs::read_to_string(page).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let steps = steps(&lines);
    assert!(!steps.is_empty(), "{}: no command", page.display());
    let sample = lines.iter().find_map(|line| {
        line.strip_prefix("<!-- sample: ")
            .and_then(|rest| rest.strip_suffix(" -->"))
    });
    let sample = sample.unwrap_or_else(|| panic!("{}: names no sample", page.display()));
    // Readers need a copy, too.
    let copies = [
        format!("`cp -R {sample} cluster`"),
        format!("`cp -R {sample} .`"),
    ];
    assert!(
        copies.iter().any(|copy| text.contains(copy)),
        "{}: does not say how to get its sample",
        page.display()
    );
    let outcomes = run(&Cluster::copy_of(&sources().join(sample)), &steps);

    let mut differences = String::new();
    let mut new: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    for (index, (step, outcome)) in steps.iter().zip(&outcomes).enumerate().rev() {
        let next = steps.get(index + 1).map(|step| step.command.as_str());
        assert!(
            outcome.code == 0 || next == Some("echo $?"),
            "{}:{}: `{}` ended with {} and no `echo $?` behind it shows that\n{}",
            page.display(),
            step.line + 1,
            step.command,
            outcome.code,
            outcome.output
        );
        let shown = &lines[step.shown.clone()];
        let printed: Vec<&str> = outcome.output.lines().collect();
        if !matches(shown, &printed) {
            let shown = shown.join("\n");
            let diff = similar::TextDiff::from_lines(&shown, outcome.output.trim_end())
                .unified_diff()
                .header("on the page", "printed")
                .to_string();
            let (name, line) = (page.display(), step.line + 1);
            differences.insert_str(0, &format!("{name}:{line}: $ {}\n{diff}\n", step.command));
            new.splice(step.shown.clone(), printed.into_iter().map(str::to_owned));
        }
    }
    if differences.is_empty() {
        return;
    }
    assert!(
        std::env::var_os(UPDATE).is_some(),
        "{differences}\n{UPDATE}=1 writes what is printed into the page"
    );
    fs::write(page, new.join("\n") + "\n").unwrap();
}

/// The commands of the `console` blocks.
fn steps(lines: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in lines.iter().enumerate() {
        match line.strip_prefix("```") {
            Some("console") => inside = true,
            Some(_) => inside = false,
            None if !inside => {}
            None => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    line: number,
                    command: command.to_owned(),
                    shown: number + 1..number + 1,
                }),
                (None, Some(step)) if step.continues(line) => {
                    let more = line.strip_prefix("> ").unwrap_or(line);
                    step.command.push('\n');
                    step.command.push_str(more);
                    step.shown = number + 1..number + 1;
                }
                (None, Some(step)) => step.shown.end = number + 1,
                (None, None) => panic!("line {}: output before any command", number + 1),
            },
        }
    }
    steps
}

impl Step {
    /// Whether the next line belongs to the command: behind a backslash, or in a here-document.
    fn continues(&self, line: &str) -> bool {
        let here = self.command.contains("<<") && line.starts_with("> ");
        self.shown.is_empty() && (here || self.command.ends_with('\\'))
    }
}

/// Whether lines are as shown, where `...` is any number of lines and `[..]` any part of one.
fn matches(shown: &[&str], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "..." => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, more)| line_matches(first, line) && matches(rest, more)),
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Runs the commands one after the other in one shell.
fn run(cluster: &Cluster, steps: &[Step]) -> Vec<Outcome> {
    const MARK: char = '\u{1e}';
    let mut script =
        String::from("exec 2>&1\nmark() { s=$?; printf '\\036%s\\n' $s; return $s; }\n");
    for step in steps {
        script.push_str(&step.command);
        script.push_str("\nmark\n");
    }
    let program = Path::new(env!("CARGO_BIN_EXE_calicoctl-protect"));
    let folder = program.parent().unwrap().display();
    let output = Command::new("/bin/sh")
        .args(["-c", &script])
        .current_dir(cluster.home())
        .env_clear()
        .env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"))
        .env("HOME", cluster.home())
        .env("USER", "operator")
        .envs(GIT)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let outcomes: Vec<Outcome> = text
        .split_inclusive('\n')
        .fold(vec![String::new()], |mut parts, line| {
            match line.split_once(MARK) {
                Some((before, code)) => {
                    let last = parts.last_mut().unwrap();
                    last.push_str(before);
                    last.push(MARK);
                    last.push_str(code);
                    parts.push(String::new());
                }
                None => parts.last_mut().unwrap().push_str(line),
            }
            parts
        })
        .iter()
        .filter_map(|part| part.split_once(MARK))
        .map(|(output, code)| Outcome {
            output: output.to_owned(),
            code: code.trim().parse().unwrap(),
        })
        .collect();
    assert_eq!(
        outcomes.len(),
        steps.len(),
        "the shell ended early:\n{text}"
    );
    outcomes
}

/// A git that knows nothing of this machine and dates everything alike.
const GIT: [(&str, &str); 8] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_AUTHOR_NAME", "Operator"),
    ("GIT_AUTHOR_EMAIL", "operator@example.test"),
    ("GIT_COMMITTER_NAME", "Operator"),
    ("GIT_COMMITTER_EMAIL", "operator@example.test"),
    ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
    ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
];

fn sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_line_of_three_dots_stands_for_any_number_of_lines() {
    assert!(matches(&["a", "...", "z"], &["a", "z"]));
    assert!(matches(&["a", "   ...", "z"], &["a", "b", "c", "z"]));
    assert!(!matches(&["a", "...", "z"], &["a", "b"]));
    assert!(!matches(&["a"], &["a", "b"]));
}

#[test]
fn dots_in_brackets_stand_for_any_part_of_a_line() {
    assert!(line_matches("id [..] done [..]", "id 17 done now"));
    assert!(!line_matches("id [..] done", "id 17 open"));
    assert!(!line_matches("a", "ab"));
}
