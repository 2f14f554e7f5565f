//! What is kept of files before they are written, so that they can be put back to the letter.
//!
//! Field edits put back what objects say. How they said it (a comment, quotes, the file they were in)
//! goes with the lines that a write takes out; so these lines are kept, and nothing else of a file.
//! They are used when a later write leads a file, which is still as the first write left it, to what
//! it said before.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{Algorithm, TextDiff};

use crate::calico::yaml::for_people;
use crate::calico::{Object, ObjectId, Version};
use crate::store::Keepsake;

use super::commit::Prepared;
use super::folder::{Folder, settle};
use super::picture::{Source, digest};
use super::read;

/// A file before and after a write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// The file's name in the folder.
    file: String,
    /// Digest of the bytes before.
    before: String,
    /// Digest of the bytes after; `None` when the file goes away.
    after: Option<String>,
    /// What turns the text after into the text before.
    back: Vec<Hunk>,
}

/// A part of a text that takes the place of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Hunk {
    /// The line where it begins, counted from zero.
    at: usize,
    /// So many lines go.
    lines: usize,
    /// What comes.
    text: String,
}

/// What is needed to take a write of a file back; `None` for a new file, which goes as a whole.
pub fn of(prepared: &Prepared) -> Option<Keepsake> {
    let before = prepared.before.as_ref()?;
    let after = prepared.after.as_ref().map(|(bytes, _)| bytes);
    if after == Some(before) {
        return None;
    }
    let kept = Kept {
        file: prepared.source.name.clone(),
        before: digest(before),
        after: after.map(|bytes| digest(bytes)),
        back: hunks(
            std::str::from_utf8(after.map_or(&[][..], |bytes| bytes)).ok()?,
            std::str::from_utf8(before).ok()?,
        ),
    };
    serde_json::to_value(kept).ok().map(Keepsake)
}

fn hunks(from: &str, to: &str) -> Vec<Hunk> {
    let (from, to) = (lines(from), lines(to));
    // Lines that occur once, such as names, hold the rest in place: fast in large files, too.
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Patience)
        .diff_slices(&from, &to);
    let changed = diff.ops().iter();
    let changed = changed.filter(|op| op.tag() != similar::DiffTag::Equal);
    changed
        .map(|op| Hunk {
            at: op.old_range().start,
            lines: op.old_range().len(),
            text: to.get(op.new_range()).unwrap_or_default().concat(),
        })
        .collect()
}

fn patched(text: &str, hunks: &[Hunk]) -> Option<String> {
    let lines = lines(text);
    let mut patched = String::with_capacity(text.len());
    let mut at = 0;
    for hunk in hunks {
        patched.push_str(&lines.get(at..hunk.at)?.concat());
        patched.push_str(&hunk.text);
        at = hunk.at.checked_add(hunk.lines)?;
    }
    patched.push_str(&lines.get(at..)?.concat());
    Some(patched)
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Texts that files had before.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<String, Vec<Image>>);

#[derive(Debug)]
struct Image {
    /// Digest of the file's bytes that come after it; `None` when there is no file.
    after: Option<String>,
    /// The bytes before.
    bytes: Vec<u8>,
    /// What they say.
    says: BTreeMap<ObjectId, Value>,
}

impl Memory {
    /// What is still of use of what was kept, newest last: files that are as they were left.
    pub fn of(keepsakes: &[Keepsake], folder: &Folder) -> Self {
        let mut texts: BTreeMap<String, Option<String>> = BTreeMap::new();
        for tracked in folder.files.iter().flatten() {
            let bytes = tracked.picture.bytes();
            let text = String::from_utf8(bytes).ok();
            texts.insert(tracked.picture.source.name.clone(), text);
        }
        let mut memory = Self::default();
        for keepsake in keepsakes.iter().rev() {
            let Ok(kept) = Kept::deserialize(&keepsake.0) else {
                continue;
            };
            let now = texts.get(&kept.file).cloned().flatten();
            if now.as_ref().map(|text| digest(text.as_bytes())) != kept.after {
                continue;
            }
            let before = patched(now.as_deref().unwrap_or_default(), &kept.back);
            let Some(before) = before.filter(|b| digest(b.as_bytes()) == kept.before) else {
                continue;
            };
            let bytes = before.clone().into_bytes();
            if let Some(says) = says(&kept.file, &bytes, folder.version_or_newest()) {
                memory.0.entry(kept.file.clone()).or_default().push(Image {
                    after: kept.after,
                    bytes,
                    says,
                });
            }
            texts.insert(kept.file, Some(before));
        }
        memory
    }

    /// The file that an object was in: its name, and whether it is there now.
    pub fn home(&self, id: &ObjectId, folder: &Folder) -> Option<(&str, Option<usize>)> {
        self.0.iter().find_map(|(name, images)| {
            let known = folder.files.iter().position(|tracked| {
                tracked
                    .as_ref()
                    .is_some_and(|t| t.picture.source.name == *name)
            });
            let now = known.and_then(|n| folder.files.get(n)?.as_ref());
            let now = now.map(|tracked| &tracked.picture.revision);
            let fits = |image: &&Image| image.after.as_ref() == now && image.says.contains_key(id);
            images.iter().find(fits).map(|_| (name.as_str(), known))
        })
    }

    /// The bytes that a file had when it said the same as new bytes do; `now` is the digest of the
    /// bytes that it has, `None` for a file to be made.
    pub fn same(
        &self,
        source: &Source,
        now: Option<&String>,
        new: &[u8],
        version: Version,
    ) -> Option<Vec<u8>> {
        let images = self.0.get(&source.name)?;
        let image = images.iter().find(|image| image.after.as_ref() == now)?;
        let says = says(&source.name, new, version)?;
        (says == image.says).then(|| image.bytes.clone())
    }
}

/// Every object of a file, without what only servers keep; `None` where it does not parse.
fn says(name: &str, bytes: &[u8], version: Version) -> Option<BTreeMap<ObjectId, Value>> {
    let source = Source {
        name: name.to_owned(),
        path: Path::new(name).to_owned(),
    };
    let contents = read::contents(source, bytes.to_vec()).ok()?;
    let (_, objects) = settle(contents, version).ok()?;
    let said = |(object, _): (Object, usize)| (object.id().clone(), for_people(object.value()));
    Some(objects.into_iter().map(said).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hunks_lead_from_one_text_to_the_other(
            a in "([ab]?\n){0,6}[ab]?", b in "([ab]?\n){0,6}[ab]?"
        ) {
            prop_assert_eq!(patched(&a, &hunks(&a, &b)), Some(b));
        }

        #[test]
        fn hunks_that_do_not_fit_are_refused(a in "([ab]\n){0,3}", at in 4..9_usize) {
            let hunk = Hunk { at, lines: 1, text: String::new() };
            prop_assert_eq!(patched(&a, &[hunk]), None);
        }
    }

    #[test]
    fn only_lines_that_go_are_kept() {
        let kept = hunks("a\nc\n", "a\n# b: secret\nc\n");
        assert_eq!(
            kept,
            [Hunk {
                at: 1,
                lines: 0,
                text: "# b: secret\n".into()
            }]
        );
    }
}
