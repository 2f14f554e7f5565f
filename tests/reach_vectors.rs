//! The evaluator agrees with Felix on every vector there is: those of this repository, those laid
//! beside it, and those of the folder named by `CALICOCTL_PROTECT_REACH_VECTORS`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};

fn check(folder: &Path) {
    let vectors = support::folder(folder);
    let queries: usize = vectors.iter().map(|v| v.queries.len()).sum();
    let differing: Vec<String> = vectors
        .iter()
        .flat_map(support::Vector::differing)
        .collect();
    // Not by a macro, so that it is seen even where the output of tests is captured.
    let told = format!(
        "{}: {queries} queries in {} files checked, {} differ\n",
        folder.display(),
        vectors.len(),
        differing.len()
    );
    std::io::stderr().write_all(told.as_bytes()).unwrap();
    assert!(!vectors.is_empty(), "{}: no vectors", folder.display());
    assert!(differing.is_empty(), "\n{}", differing.join("\n"));
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn our_own_vectors_hold() {
    check(&here("tests/data/reach"));
}

#[test]
fn the_vectors_laid_beside_the_repository_hold() {
    let folder = here("../shared/vectors/reach");
    if folder.is_dir() {
        check(&folder);
    }
}

#[test]
fn the_vectors_of_the_folder_that_is_named_hold() {
    if let Some(folder) = std::env::var_os("CALICOCTL_PROTECT_REACH_VECTORS") {
        check(Path::new(&folder));
    }
}
