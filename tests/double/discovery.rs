//! `/version`, health, and discovery: plain and aggregated.

use serde_json::{Value, json};

use super::api::Api;
use super::kinds::{Kind, Serving};
use super::request::Request;
use super::status::{Answer, Outcome, method_not_allowed, page_not_found};

/// Verbs of subresources.
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// Media type of aggregated discovery.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A subresource besides `status`: name, group and version of its kind, kind, verbs.
type Sub = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// Subresources that the double lists without serving them.
fn listed(kind: &Kind) -> &'static [Sub] {
    match (kind.group, kind.plural) {
        ("", "namespaces") => &[("finalize", "", "", "Namespace", &["update"])],
        ("", "nodes") => &[("proxy", "", "", "NodeProxyOptions", PROXY)],
        ("", "pods") => &[
            ("attach", "", "", "PodAttachOptions", &["create", "get"]),
            ("binding", "", "", "Binding", &["create"]),
            ("ephemeralcontainers", "", "", "Pod", STATUS_VERBS),
            ("eviction", "policy", "v1", "Eviction", &["create"]),
            ("exec", "", "", "PodExecOptions", &["create", "get"]),
            ("log", "", "", "Pod", &["get"]),
            (
                "portforward",
                "",
                "",
                "PodPortForwardOptions",
                &["create", "get"],
            ),
            ("proxy", "", "", "PodProxyOptions", PROXY),
            ("resize", "", "", "Pod", STATUS_VERBS),
        ],
        _ => &[],
    }
}

/// All subresources by name, `status` in its place.
fn subresources(kind: &Kind) -> Vec<Sub> {
    let mut out = listed(kind).to_vec();
    if kind.status {
        out.push(("status", "", "", kind.kind, STATUS_VERBS));
    }
    out.sort_unstable_by_key(|sub| sub.0);
    out
}

/// Answers a path that is no resource.
pub fn answer(api: &Api, request: &Request, path: &str) -> Outcome {
    let known = matches!(
        path,
        "/version" | "/healthz" | "/livez" | "/readyz" | "/api" | "/apis"
    );
    if known && !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Err(method_not_allowed(json!({})));
    }
    let aggregated = request
        .header("accept")
        .contains("as=APIGroupDiscoveryList");
    match path {
        "/version" => Ok(Answer::json(200, version(api))),
        "/healthz" | "/livez" | "/readyz" => Ok(Answer::text(200, "ok")),
        "/api" | "/apis" if aggregated => {
            let mut answer = Answer::json(200, groups_with_resources(api, path == "/api"));
            answer.content_type = AGGREGATED.into();
            Ok(answer.with("Vary", "Accept").with("Etag", "\"double\""))
        }
        "/api" => Ok(Answer::json(
            200,
            json!({
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [
                    {"clientCIDR": "0.0.0.0/0", "serverAddress": request.header("host")}
                ],
            }),
        )),
        "/apis" => {
            let groups: Vec<Value> = groups(api)
                .into_iter()
                .filter(|(group, _)| !group.is_empty())
                .map(|(group, version)| group_document(group, version, false))
                .collect();
            Ok(Answer::json(
                200,
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
            ))
        }
        "/openapi/v3" => Ok(openapi_index(api)),
        _ if path.starts_with("/openapi/v3/") => openapi(api, path),
        _ => group_or_version(api, path).map(|document| Answer::json(200, document)),
    }
}

fn version(api: &Api) -> Value {
    let minor = api.kubernetes.split('.').nth(1).unwrap_or_default();
    let before = minor.parse::<u32>().map_or(0, |n| n.saturating_sub(1));
    json!({
        "major": "1",
        "minor": minor,
        "emulationMajor": "1",
        "emulationMinor": minor,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": before.to_string(),
        "gitVersion": api.kubernetes,
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "go1.26.0",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

/// The index of OpenAPI v3 documents, one for each group version.
fn openapi_index(api: &Api) -> Answer {
    let paths: serde_json::Map<String, Value> = groups(api)
        .into_iter()
        .map(|(group, version)| {
            let root = if group.is_empty() { "api" } else { "apis" };
            let path = format!("{root}/{group}/{version}").replace("//", "/");
            let url = format!("/openapi/v3/{path}?hash={:0128}", 0);
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    let mut answer = Answer::json(200, json!({"paths": paths}));
    answer.content_type = "text/plain; charset=utf-8".into();
    answer
}

/// An OpenAPI v3 document with what kubectl looks for before it leaves validation to the server: that
/// a PATCH of each kind takes `fieldValidation` and `dryRun`. There are no schemas.
fn openapi(api: &Api, path: &str) -> Outcome {
    let parts: Vec<&str> = path.split('/').skip(3).collect();
    let (group, version) = match parts.as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return Err(page_not_found()),
    };
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"]
        .into_iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
        .collect();
    let paths: serde_json::Map<String, Value> = of_group(api, group, version)
        .map(|kind| {
            let path = format!("/{}/{}/{{name}}", parts.join("/"), kind.plural);
            let patch = json!({
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind":
                    {"group": group, "version": version, "kind": kind.kind},
                "parameters": parameters,
                "responses": {"200": {"description": "OK"}},
            });
            (path, json!({"patch": patch}))
        })
        .collect();
    if paths.is_empty() {
        return Err(page_not_found());
    }
    Ok(Answer::json(
        200,
        json!({
            "openapi": "3.0.0",
            "info": {"title": "double", "version": api.kubernetes},
            "paths": paths,
        }),
    ))
}

/// Groups in the order they are served, each with its version.
fn groups(api: &Api) -> Vec<(&'static str, &'static str)> {
    let mut out: Vec<(&str, &str)> = Vec::new();
    for kind in &api.kinds {
        if !out.contains(&(kind.group, kind.version)) {
            out.push((kind.group, kind.version));
        }
    }
    out
}

fn group_document(group: &str, version: &str, alone: bool) -> Value {
    let entry = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let mut out = if alone {
        json!({"kind": "APIGroup", "apiVersion": "v1"})
    } else {
        json!({})
    };
    out["name"] = group.into();
    out["versions"] = json!([entry]);
    out["preferredVersion"] = entry;
    out
}

fn group_or_version(api: &Api, path: &str) -> Outcome<Value> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let (group, version) = match parts.as_slice() {
        ["api", version] => ("", *version),
        ["apis", group] => {
            return groups(api)
                .into_iter()
                .find(|(g, _)| g == group && !g.is_empty())
                .map(|(g, version)| group_document(g, version, true))
                .ok_or_else(page_not_found);
        }
        ["apis", group, version] => (*group, *version),
        _ => return Err(page_not_found()),
    };
    let kinds: Vec<&Kind> = of_group(api, group, version).collect();
    if kinds.is_empty() {
        return Err(page_not_found());
    }
    let mut resources = Vec::new();
    for kind in kinds {
        resources.push(resource(kind));
        for (name, group, version, sub_kind, verbs) in subresources(kind) {
            let mut entry = json!({
                "name": format!("{}/{name}", kind.plural),
                "singularName": "",
                "namespaced": kind.namespaced,
            });
            if !group.is_empty() {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            entry["kind"] = sub_kind.into();
            entry["verbs"] = json!(verbs);
            resources.push(entry);
        }
    }
    let mut out = json!({"kind": "APIResourceList"});
    if !group.is_empty() {
        out["apiVersion"] = "v1".into();
    }
    out["groupVersion"] = if group.is_empty() {
        version.into()
    } else {
        format!("{group}/{version}").into()
    };
    out["resources"] = resources.into();
    Ok(out)
}

fn of_group<'a>(api: &'a Api, group: &str, version: &str) -> impl Iterator<Item = &'a Kind> {
    api.kinds
        .iter()
        .filter(move |k| k.group == group && k.version == version)
}

fn resource(kind: &Kind) -> Value {
    let mut out = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": kind.verbs(),
    });
    describe(kind, &mut out);
    if kind.serving != Serving::Review {
        out["storageVersionHash"] = super::token::encode64(kind.plural.as_bytes()).into();
    }
    out
}

/// Short names and categories, where there are any.
fn describe(kind: &Kind, out: &mut Value) {
    if !kind.short.is_empty() {
        out["shortNames"] = json!(kind.short);
    }
    if kind.all {
        out["categories"] = json!(["all"]);
    }
}

fn groups_with_resources(api: &Api, core: bool) -> Value {
    let items: Vec<Value> = groups(api)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, version)| {
            let resources: Vec<Value> = of_group(api, group, version)
                .map(aggregated_resource)
                .collect();
            let metadata = if core {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({
                "metadata": metadata,
                "versions": [
                    {"version": version, "resources": resources, "freshness": "Current"}
                ],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(kind: &Kind) -> Value {
    // Core kinds are listed without group and version: they are those of the entry.
    let response = |group: &str, version: &str, name: &str| {
        if kind.custom {
            json!({"group": kind.group, "version": kind.version, "kind": name})
        } else {
            json!({"group": group, "version": version, "kind": name})
        }
    };
    let mut out = json!({
        "resource": kind.plural,
        "responseKind": response("", "", kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs(),
    });
    describe(kind, &mut out);
    let subs: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|(name, group, version, sub_kind, verbs)| {
            json!({
                "subresource": name,
                "responseKind": response(group, version, sub_kind),
                "verbs": verbs,
            })
        })
        .collect();
    if !subs.is_empty() {
        out["subresources"] = subs.into();
    }
    out
}
