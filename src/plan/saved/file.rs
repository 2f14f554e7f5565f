//! A saved plan as text, with a checksum that finds what was changed by hand.

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::SavedPlan;

/// Why a text is no plan that may be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is something else, or only a part of a plan.
    #[error("is not a saved plan: {0}")]
    NotAPlan(String),
    /// It was made by a version of the tool whose plans mean something else.
    #[error("has format version `{0}`, which this version of the tool does not know")]
    UnknownVersion(String),
    /// It is not as it was saved.
    #[error("is not as it was saved: its checksum does not fit")]
    Edited,
}

/// A saved plan with its checksum, as it is in a file.
#[derive(Debug, JsonSchema)]
#[schemars(title = "SavedPlan")]
pub struct SavedFile {
    /// The plan.
    #[serde(flatten)]
    pub plan: SavedPlan,
    /// SHA-256 of all that stands before this member.
    pub checksum: String,
}

/// What comes before the checksum. Everything up to here is what the checksum is of.
const MARK: &str = ",\n  \"checksum\": \"sha256:";
const END: &str = "\"\n}\n";

/// The text of a plan: JSON whose last member is a checksum of all the others, as they are
/// written.
#[must_use]
pub fn write(plan: &SavedPlan) -> String {
    let mut text = serde_json::to_string_pretty(plan).unwrap_or_default();
    text.truncate(text.trim_end_matches('}').trim_end().len());
    let sum = sha256(text.as_bytes());
    text.push_str(MARK);
    text.push_str(&sum);
    text.push_str(END);
    text
}

#[derive(Deserialize)]
struct Head {
    format_version: String,
    document: String,
}

/// Reads the text of a plan.
///
/// # Errors
///
/// When it is none, of an unknown format, or not as it was saved.
pub fn read(text: &str) -> Result<SavedPlan, FileError> {
    let no_plan = |error: serde_json::Error| FileError::NotAPlan(error.to_string());
    let head: Head = serde_json::from_str(text).map_err(no_plan)?;
    if head.document != "SavedPlan" {
        return Err(FileError::NotAPlan(format!("it is a {}", head.document)));
    }
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(&head.format_version) != major(crate::plan::report::FORMAT_VERSION) {
        return Err(FileError::UnknownVersion(head.format_version));
    }
    let (covered, tail) = text.rsplit_once(MARK).ok_or(FileError::Edited)?;
    if tail.strip_suffix(END) != Some(sha256(covered.as_bytes()).as_str()) {
        return Err(FileError::Edited);
    }
    serde_json::from_str(text).map_err(no_plan)
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
