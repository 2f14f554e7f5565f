//! Short ways into raw objects. What is absent or of another type reads as nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

/// The value at a JSON pointer through objects; null where there is none.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    let mut found = value;
    for name in pointer.split('/').skip(1) {
        let next = match name.contains('~') {
            true => found.get(name.replace("~1", "/")),
            false => found.get(name),
        };
        found = match next {
            Some(next) => next,
            None => return &Value::Null,
        };
    }
    found
}

/// The text at a JSON pointer; empty where there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_default()
}

/// Whether there is a true at a JSON pointer.
pub fn flag(value: &Value, pointer: &str) -> bool {
    at(value, pointer) == &Value::Bool(true)
}

/// The list at a JSON pointer.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    at(value, pointer).as_array().map_or(&[], Vec::as_slice)
}

/// The texts in the list at a JSON pointer.
pub fn texts<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(value, pointer)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// The texts in the map at a JSON pointer.
pub fn map(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let entries = at(value, pointer).as_object();
    entries
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect()
}

/// A CIDR or an address, masked as Calico's libraries mask it.
pub fn net(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(net) => Some(net.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// The CIDRs and addresses in a list; what cannot be read is left out, as Felix leaves it out.
pub fn nets(value: &Value, pointer: &str) -> Vec<IpNet> {
    texts(value, pointer).into_iter().filter_map(net).collect()
}
