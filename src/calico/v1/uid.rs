//! UIDs, which differ between the two sides.

use serde_json::{Map, Value, json};

use crate::calico::kind::V3;

/// The other side's UID: the bits of each byte reversed, except where a UUID keeps its version and
/// variant (bytes 6 and 8). It is its own inverse. `None` when the text is no UUID.
///
/// Preconditions of deletes and owner references need the UID of the side they are used on (data
/// model, 3.3); v3.27.5 and later convert.
///
/// ```
/// use calicoctl_protect::calico::v1::convert_uid;
/// let v1 = "01020304-0506-4708-890a-0b0c0d0e0f10";
/// let v3 = convert_uid(v1).unwrap();
/// assert_eq!(v3, "8040c020-a060-4710-8950-d030b070f008");
/// assert_eq!(convert_uid(&v3).as_deref(), Some(v1));
/// ```
#[must_use]
pub fn convert_uid(uid: &str) -> Option<String> {
    let groups: Vec<&str> = uid.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    if !lengths.eq([8, 4, 4, 4, 12]) {
        return None;
    }
    let mut at = 0;
    let mut converted = Vec::new();
    for group in groups {
        let mut text = String::new();
        for pair in group.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).ok();
            let pair = pair.filter(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))?;
            let byte = u8::from_str_radix(pair, 16).ok()?;
            let kept = at == 6 || at == 8;
            let byte = if kept { byte } else { byte.reverse_bits() };
            text.push_str(&format!("{byte:02x}"));
            at += 1;
        }
        converted.push(text);
    }
    Some(converted.join("-"))
}

/// Owners of one API group named by the other, with the UID of that side. An owner whose UID is no
/// UUID is left as it is: it refers to nothing.
pub(super) fn convert_owners(meta: &mut Map<String, Value>, from: &str, to: &str) {
    let owners = meta.get_mut("ownerReferences");
    for owner in owners.and_then(Value::as_array_mut).into_iter().flatten() {
        let group = owner.get("apiVersion").and_then(Value::as_str);
        // Before v3.28 the annotation held the v3 group with the UID of the stored object.
        let concerned = group == Some(from) || (to == V3 && group == Some(V3));
        let uid = owner.get("uid").and_then(Value::as_str);
        let uid = uid.filter(|_| concerned).and_then(convert_uid);
        if let (Some(uid), Value::Object(owner)) = (uid, owner) {
            owner.insert("apiVersion".into(), json!(to));
            owner.insert("uid".into(), json!(uid));
        }
    }
}
