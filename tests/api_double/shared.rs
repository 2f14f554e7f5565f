//! The recordings as they were made, when they lie beside the repository.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::replay::Server;
use crate::script::OUT_OF_SCOPE;

/// A folder of `../shared`, or of `$SHARED`, when it is there.
pub fn folder(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("SHARED")
        .map_or_else(beside, PathBuf::from)
        .join(name);
    folder.exists().then_some(folder)
}

/// All recordings of a server in the form of `tests/data/api-exchanges.jsonl`.
pub fn recorded(server: Server) -> Option<HashMap<String, Value>> {
    let folder = folder("api-samples")?;
    let read = |path: PathBuf| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let prefix = format!("{}-", server.version());
    let index = read(folder.join("index.json"));
    let mut out = HashMap::new();
    for entry in index.as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let Some(name) = file
            .strip_prefix(&prefix)
            .and_then(|f| f.strip_suffix(".json"))
        else {
            continue;
        };
        if !OUT_OF_SCOPE.iter().any(|(out, _)| *out == name) {
            out.insert(name.into(), compact(name, &read(folder.join(file))));
        }
    }
    Some(out)
}

/// One recording with only what is sent and compared.
fn compact(name: &str, sample: &Value) -> Value {
    let (request, response) = (&sample["request"], &sample["response"]);
    let who = request["as"].as_str().unwrap();
    let who = [
        ("admin", "admin"),
        ("restricted", "restricted"),
        ("throttled", "throttled"),
        ("not known", "unknown"),
        ("no credentials", "nobody"),
    ]
    .into_iter()
    .find(|(part, _)| who.contains(part))
    .map(|(_, user)| user);
    let mut line = json!({
        "n": name,
        "as": who.unwrap(),
        "m": request["method"],
        "p": request["path"],
        "q": request["query"],
        "accept": request["headers"]["Accept"],
        "ct": request["headers"]["Content-Type"],
        "ua": request["headers"]["User-Agent"],
        "imp": request["headers"]["Impersonate-User"],
        "s": response["status"],
        "type": response["headers"]["Content-Type"],
        "retry": response["headers"]["Retry-After"],
    });
    line["warn"] = match &response["headers"]["Warning"] {
        Value::String(one) => json!([one]),
        other => other.clone(),
    };
    match &request["body"] {
        Value::Null => {}
        Value::String(left_out) => line["big"] = left_out.as_str().into(),
        body => line["body"] = body.clone(),
    }
    if let Some(raw) = request["rawBody"].as_str() {
        line["raw"] = raw.into();
    }
    match &response["body"] {
        Value::String(text) if text == "(left out)" || request["method"] == "HEAD" => {}
        Value::String(text) => line["text"] = text.as_str().into(),
        body => {
            line["json"] = body.clone();
            line["cut"] = cut(sample, &mut line["json"]).into();
        }
    }
    line
}

/// What the recorder left out of an answer.
fn cut(sample: &Value, body: &mut Value) -> Option<&'static str> {
    // The refusal of a pod change ends with a diff of Go structures, which the double leaves out.
    for text in ["/message", "/details/causes/0/message"] {
        if let Some(slot) = body.pointer_mut(text)
            && let Some((before, _)) = slot.as_str().and_then(|s| s.split_once("@@"))
        {
            *slot = before.to_owned().into();
        }
    }
    let trimmed = body.as_object_mut()?.shift_remove("(trimmed)");
    let core = matches!(body["kind"].as_str(), Some("Node" | "Pod"));
    match trimmed {
        Some(note) if note.as_str()?.contains("cut to names") => Some("items"),
        Some(_) => Some("some"),
        // Only Calico's entry of the index was kept.
        None if body.get("paths").is_some() => Some("some"),
        None if core && body["metadata"].get("managedFields").is_none() => Some("owners"),
        None => {
            let note = sample["description"].as_str()?;
            note.contains("managedFields cut").then_some("owners")
        }
    }
}
