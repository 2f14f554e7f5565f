//! What is known of one file: its text, its documents, and where each object is in them.

use std::ops::Range;
use std::path::PathBuf;

use crate::calico::{FieldPath, ObjectId};

use super::edit::Syntax;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The name that people know the file by: relative to the folder.
    pub name: String,
    /// The file itself, symbolic links resolved.
    pub path: PathBuf,
}

/// A file as it was read.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The file.
    pub source: Source,
    /// The notation.
    pub syntax: Syntax,
    /// Whether the file begins with a byte order mark, which is not in `text`.
    pub mark: bool,
    /// The text.
    pub text: String,
    /// A digest of the file's bytes.
    pub revision: String,
    /// The documents in order.
    pub documents: Vec<Document>,
}

/// A document of a file.
#[derive(Debug, Clone)]
pub struct Document {
    /// The document's part of the text.
    pub range: Range<usize>,
    /// Where the document's items are, when it is a list.
    pub list: Option<List>,
    /// The objects in it.
    pub objects: Vec<Located>,
}

/// A document that is a list of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The field that holds the items; the root for an array.
    pub path: FieldPath,
    /// The kind of its items, for a typed list such as `HostEndpointList`.
    pub kind: Option<String>,
    /// How many items there are.
    pub len: usize,
}

/// The form in which an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `projectcalico.org/v3`, or Kubernetes' own.
    Plain,
    /// `crd.projectcalico.org/v1`.
    CrdV1,
}

/// An object's place in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The object.
    pub id: ObjectId,
    /// How it is written.
    pub form: Form,
    /// The line on which it begins.
    pub line: usize,
    /// Its number in the list; `None` for an object that is a document of its own.
    pub item: Option<usize>,
    /// The part of the text that can be edited by itself: the document, or the item if it can be
    /// cut out.
    pub cut: Option<Range<usize>>,
}

impl Picture {
    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.text.len() + 3);
        if self.mark {
            bytes.extend_from_slice(MARK.as_bytes());
        }
        bytes.extend_from_slice(self.text.as_bytes());
        bytes
    }

    /// The line break of the file: that of its first line.
    #[must_use]
    pub fn newline(&self) -> &'static str {
        newline(&self.text)
    }
}

/// The line break of a text: that of its first line.
#[must_use]
pub fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text.get(..at).is_some_and(|line| line.ends_with('\r')) => "\r\n",
        _ => "\n",
    }
}

/// A byte order mark.
pub const MARK: &str = "\u{feff}";

/// A digest of a file's bytes (FNV-1a, 128 bits). It tells versions of a file apart; before a
/// write the bytes themselves are compared.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let hash = bytes.iter().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    });
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_published_vectors() {
        assert_eq!(digest(b""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(digest(b"a"), "d228cb696f1a8caf78912b704e4a8964");
    }
}
