//! Kustomizations, as far as they tell which files are patches.
//!
//! A patch has the kind and the name of the object that it changes, so it would pass for a second
//! object of the same identity.

use std::path::Path;

use serde_json::Value;

use crate::store::StoreError;

use super::documents;
use super::edit::Syntax;
use super::picture::{MARK, Source};
use super::read;
use super::value;

/// Whether a file is a kustomization, by its name.
#[must_use]
pub fn is_kustomization(name: &Path) -> bool {
    let name = name.file_name().and_then(|n| n.to_str());
    matches!(
        name,
        Some("kustomization.yaml" | "kustomization.yml" | "Kustomization")
    )
}

/// The files that a kustomization names as patches, relative to its folder.
///
/// # Errors
///
/// When the file cannot be read. One that is no YAML names none here: it is told as every broken
/// file is.
pub fn patches(source: &Source) -> Result<Vec<String>, StoreError> {
    let bytes = read::bytes(source)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix(MARK).unwrap_or(&text);
    let mut found = Vec::new();
    for range in documents::split(text) {
        let document = text.get(range).unwrap_or_default();
        if let Ok(value) = value::read(document, Syntax::Yaml) {
            collect(&value, &mut found);
        }
    }
    Ok(found)
}

fn collect(kustomization: &Value, found: &mut Vec<String>) {
    let list = |key: &str| {
        let list = kustomization.get(key).and_then(Value::as_array);
        list.into_iter().flatten()
    };
    let paths = ["patches", "patchesJson6902"]
        .into_iter()
        .flat_map(list)
        .filter_map(|patch| patch.get("path")?.as_str());
    // Strategic merge patches stand in the list themselves or are named there.
    let names = list("patchesStrategicMerge")
        .filter_map(Value::as_str)
        .filter(|text| !text.contains('\n'));
    found.extend(paths.chain(names).map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_three_ways_to_name_a_patch_are_known() {
        let mut found = Vec::new();
        collect(
            &json!({
                "patches": [{"path": "a.yaml"}, {"patch": "x: 1\n"}],
                "patchesStrategicMerge": ["b.yaml", "kind: X\n"],
                "patchesJson6902": [{"path": "c.json", "target": {}}],
                "resources": ["d.yaml"],
            }),
            &mut found,
        );
        assert_eq!(found, ["a.yaml", "c.json", "b.yaml"]);
    }
}
