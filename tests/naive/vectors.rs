//! The naive evaluator and its matcher on the vectors that were checked against Calico itself.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::case::Case;
use super::json::{self, list};
use super::{Naive, selector};

/// The folders of vectors that are there.
fn folders() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("CALICOCTL_PROTECT_REACH_VECTORS").map(PathBuf::from);
    let beside = [
        here.join("tests/data/reach"),
        here.join("../shared/vectors/reach"),
    ];
    let mut folders: Vec<PathBuf> = beside.into_iter().chain(named).collect();
    folders.retain(|f| f.is_dir());
    folders
}

/// Every case of a folder of vectors, by file name.
pub fn read(folder: &Path) -> Vec<Case> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder of vectors")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a vector can be read");
        Case::from_yaml(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    files.iter().map(read).collect()
}

#[test]
fn the_naive_evaluator_agrees_with_every_vector() {
    let (mut checked, mut differ) = (0, Vec::new());
    for case in folders().iter().flat_map(|folder| read(folder)) {
        let naive = Naive::new(&case);
        for (number, query) in case.queries.iter().enumerate() {
            let Some(expected) = &query.expect else {
                continue;
            };
            checked += 1;
            let decision = naive.decide(query);
            if decision.verdict.to_string() != *expected {
                let steps: Vec<String> = decision.steps.iter().map(ToString::to_string).collect();
                differ.push(format!(
                    "{} query {number}: {expected}, not {decision}\n    {}\n    expected because {}",
                    case.name,
                    steps.join("\n    "),
                    query.because,
                ));
            }
        }
    }
    println!("{checked} queries checked, {} differ", differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn the_naive_matcher_agrees_with_every_selector_that_is_written_down() {
    let text = include_str!("../data/selector.yaml");
    let data: Value = serde_yaml::from_str(text).expect("selectors as data");
    for vector in list(&data, "/valid") {
        let written = json::text(vector, "/selector");
        let read = selector::parse(written).unwrap_or_else(|| panic!("{written:?} is refused"));
        let matches = read.matches(&json::map(vector, "/labels"));
        assert_eq!(matches, json::flag(vector, "/matches"), "{vector}");
    }
    for vector in list(&data, "/invalid") {
        let written = json::text(vector, "/selector");
        assert_eq!(selector::parse(written), None, "{vector}");
    }
}
