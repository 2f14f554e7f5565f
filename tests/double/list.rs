//! Lists: paging, resourceVersion, selectors.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::objects::{child, printed};
use super::request::{Request, Target};
use super::selector::{Fields, Labels};
use super::status::{Outcome, Refusal, bad_request, failure, failure_with};
use super::store::{Key, Store};
use super::token::Continue;

/// The objects of a list answer, and its metadata.
#[derive(Debug)]
pub struct Page {
    /// Items with their keys.
    pub items: Vec<(Key, Arc<Value>)>,
    /// `resourceVersion`, `continue`, `remainingItemCount`.
    pub metadata: Map<String, Value>,
}

/// Where to read, and how far.
struct Scope {
    at: u64,
    limit: usize,
    after: Option<String>,
}

fn number(text: &str) -> Outcome<u64> {
    text.parse().map_err(|_| {
        bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

/// The 410 of a page whose state is gone; its metadata offers an inconsistent rest.
pub fn expired_token(after: &str) -> Refusal {
    let rest = Continue {
        at: None,
        after: after.into(),
    };
    failure_with(
        json!({"continue": rest.encode()}),
        410,
        Some("Expired"),
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        None,
    )
}

/// The 504 of a resourceVersion from the future; the server waits about 3 s first.
fn from_the_future(asked: u64, current: u64) -> Refusal {
    let mut refusal = failure(
        504,
        Some("Timeout"),
        format!("Timeout: Too large resource version: {asked}, current: {current}"),
        Some(json!({
            "causes": [{
                "reason": "ResourceVersionTooLarge",
                "message": "Too large resource version",
            }],
            "retryAfterSeconds": 1,
        })),
    );
    refusal.headers.push(("Retry-After", "1".into()));
    refusal
}

fn scope(request: &Request, store: &Store) -> Outcome<Scope> {
    let current = store.counter();
    let limit = request.text("limit").parse().unwrap_or(0);
    let version = request.text("resourceVersion");
    let exact = request.text("resourceVersionMatch") == "Exact";
    let token = request.text("continue");
    if !token.is_empty() {
        if !version.is_empty() && version != "0" {
            return Err(bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = Continue::decode(token)?;
        let at = token.at.unwrap_or(current);
        if store.is_compacted(at) {
            return Err(expired_token(&token.after));
        }
        return Ok(Scope {
            at,
            limit,
            after: Some(token.after),
        });
    }
    let mut scope = Scope {
        at: current,
        limit,
        after: None,
    };
    if version.is_empty() {
        return Ok(scope);
    }
    let asked = number(version)?;
    if asked > current {
        return Err(from_the_future(asked, current));
    }
    if exact {
        if store.is_compacted(asked) {
            return Err(failure(
                410,
                Some("Expired"),
                "The resourceVersion for the provided list is too old.",
                None,
            ));
        }
        scope.at = asked;
    } else if asked == 0 {
        scope.limit = 0;
    }
    Ok(scope)
}

/// The key of an object inside a list, as continue tokens hold it.
fn position(key: &Key, across: bool) -> String {
    if across {
        format!("/{}/{}", key.namespace, key.name)
    } else {
        format!("/{}", key.name)
    }
}

/// Reads one page.
pub fn page(store: &Store, kind: &Kind, target: &Target, request: &Request) -> Outcome<Page> {
    let labels = Labels::parse(request.text("labelSelector"))?;
    let fields = Fields::parse(request.text("fieldSelector"), kind)?;
    let selecting =
        !request.text("labelSelector").is_empty() || !request.text("fieldSelector").is_empty();
    let scope = scope(request, store)?;
    let across = kind.namespaced && target.namespace.is_none();
    let namespace = match (&target.namespace, across) {
        (_, true) => None,
        (Some(ns), false) => Some(ns.as_str()),
        (None, false) => Some(""),
    };
    // Compared as key pairs: as text, `/` would sort namespaces wrongly.
    let after = scope.after.as_deref().map(|after| {
        let after = after.trim_start_matches('/');
        match after.split_once('/') {
            Some((ns, name)) if across => (ns.to_owned(), name.to_owned()),
            _ => (namespace.unwrap_or_default().to_owned(), after.to_owned()),
        }
    });
    let mut found: Vec<_> = store
        .at(&kind.id(), namespace, scope.at)
        .into_iter()
        .filter(|(key, object)| {
            after
                .as_ref()
                .is_none_or(|a| (&key.namespace, &key.name) > (&a.0, &a.1))
                && labels.matches(object)
                && fields.matches(object)
        })
        .collect();
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), scope.at.to_string().into());
    let more = scope.limit > 0 && found.len() > scope.limit;
    if more {
        let remaining = found.len() - scope.limit;
        found.truncate(scope.limit);
        let last = found.last().map(|(key, _)| position(key, across));
        let token = Continue {
            at: Some(scope.at),
            after: last.unwrap_or_default(),
        };
        metadata.insert("continue".into(), token.encode().into());
        if !selecting {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
    } else if kind.custom {
        metadata.insert("continue".into(), "".into());
    }
    Ok(Page {
        items: found,
        metadata,
    })
}

/// A page as the list object of its kind.
pub fn document(kind: &Kind, page: &Page) -> Value {
    let items: Value = page
        .items
        .iter()
        .map(|(_, object)| {
            let mut item = printed(kind, object);
            if !kind.custom {
                let item = item.as_object_mut().expect("objects are maps");
                item.shift_remove("kind");
                item.shift_remove("apiVersion");
            }
            item
        })
        .collect();
    let mut list = json!({
        "kind": format!("{}List", kind.kind),
        "apiVersion": kind.api_version(),
        "metadata": page.metadata,
        "items": items,
    });
    if kind.custom {
        child(&mut list, "metadata").sort_keys();
        list.as_object_mut().expect("just made").sort_keys();
    }
    list
}
