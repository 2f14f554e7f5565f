//! The selector room against facts about Calico's own parser.
#![expect(
    clippy::unwrap_used,
    reason = "a vector that cannot be read is a failed test"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use calicoctl_protect::selector::Selector;
use serde::Deserialize;

/// The variable that names a file of further vectors, one JSON object a line.
const VECTORS_VARIABLE: &str = "CALICOCTL_PROTECT_SELECTOR_VECTORS";

#[derive(Deserialize)]
struct Vectors {
    valid: Vec<Verdict>,
    invalid: Vec<Refused>,
    canonical: Vec<Canonical>,
}

#[derive(Deserialize)]
struct Verdict {
    selector: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    matches: bool,
}

#[derive(Deserialize)]
struct Refused {
    selector: String,
}

#[derive(Deserialize)]
struct Canonical {
    selector: String,
    canonical: String,
}

/// One line of the file that the variable names.
#[derive(Deserialize)]
struct Line {
    s: String,
    #[serde(default)]
    l: Option<BTreeMap<String, String>>,
    valid: bool,
    #[serde(rename = "match")]
    matches: Option<bool>,
    canonical: Option<String>,
}

fn beside_the_manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What differs from the vectors in `text`, and how many there are.
fn check(text: &str) -> (usize, Vec<String>) {
    let vectors: Vectors = serde_yaml::from_str(text).unwrap();
    let count = vectors.valid.len() + vectors.invalid.len() + vectors.canonical.len();
    let mut differ = Vec::new();
    for Verdict {
        selector,
        labels,
        matches,
    } in vectors.valid
    {
        match Selector::parse(&selector) {
            Ok(parsed) if parsed.matches(&labels) == matches => {}
            Ok(_) => differ.push(format!("{selector:?} on {labels:?} is not {matches}")),
            Err(error) => differ.push(format!("{error}\n{}", error.pointed(&selector))),
        }
    }
    for Refused { selector } in vectors.invalid {
        if let Ok(parsed) = Selector::parse(&selector) {
            differ.push(format!("{selector:?} was taken as {parsed}"));
        }
    }
    for Canonical {
        selector,
        canonical,
    } in vectors.canonical
    {
        let ours = Selector::parse(&selector).map(|parsed| parsed.canonical());
        if ours.as_ref() != Ok(&canonical) {
            differ.push(format!("{selector:?} became {ours:?}, not {canonical:?}"));
        }
    }
    (count, differ)
}

#[test]
fn the_vectors_of_this_repository_hold() {
    let text = std::fs::read_to_string(beside_the_manifest("tests/data/selector.yaml")).unwrap();
    let (count, differ) = check(&text);
    assert!(count > 150, "only {count} vectors");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn vectors_kept_beside_the_repository_hold() {
    let path = beside_the_manifest("../shared/vectors/selector.yaml");
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    let (_, differ) = check(&text);
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// What differs from one line, if anything does.
fn check_line(line: &Line) -> Option<String> {
    let none = BTreeMap::new();
    let labels = line.l.as_ref().unwrap_or(&none);
    let ours = Selector::parse(&line.s);
    let (text, parsed) = match (&ours, line.valid) {
        (Err(_), false) => return None,
        (Err(error), true) => return Some(format!("{:?} was refused: {error}", line.s)),
        (Ok(parsed), false) => return Some(format!("{:?} was taken as {parsed}", line.s)),
        (Ok(parsed), true) => (parsed.canonical(), parsed),
    };
    if line
        .canonical
        .as_ref()
        .is_some_and(|theirs| *theirs != text)
    {
        return Some(format!(
            "{:?} became {text:?}, not {:?}",
            line.s, line.canonical
        ));
    }
    let matches = parsed.matches(labels);
    line.matches
        .is_some_and(|theirs| theirs != matches)
        .then(|| format!("{:?} on {labels:?} is {matches}", line.s))
}

#[test]
fn the_vectors_that_the_variable_names_hold() {
    // Written past the capture of the test harness: how many were checked is the point of the run.
    let tell = |text: String| std::io::stderr().write_all(text.as_bytes()).unwrap();
    let Some(path) = std::env::var_os(VECTORS_VARIABLE) else {
        return tell(format!(
            "{VECTORS_VARIABLE} is not set: no further vectors\n"
        ));
    };
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (mut checked, mut differ) = (0_usize, Vec::new());
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.unwrap();
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("{}:{}: {e}", path.display(), number + 1));
        checked += 1;
        differ.extend(check_line(&line).map(|text| format!("line {}: {text}", number + 1)));
    }
    tell(format!(
        "{checked} selector vectors checked, {} differ\n",
        differ.len()
    ));
    differ.truncate(10);
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
