//! Filling the store: single objects, and exports of whole clusters.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::api::Api;
use super::kinds::{Kind, Shape};
use super::objects::{meta, meta_mut, now, uid};
use super::render::columns;
use super::store::Key;

impl Api {
    /// Stores an object, or every item of a list, as it is: past validation and admission. Missing uid and creationTimestamp
    /// are filled in; a resourceVersion is kept.
    pub fn load(&mut self, mut object: Value) {
        if object["items"].is_array() {
            items(&object).into_iter().for_each(|item| self.load(item));
            return;
        }
        let version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        let name = object["kind"].as_str().unwrap_or_default().to_owned();
        let found = self
            .kinds
            .iter()
            .find(|k| k.kind == name && k.api_version() == version);
        let kind = found.unwrap_or_else(|| panic!("the double serves no {name} in {version}"));
        let key = Key::new(kind.id(), meta(&object, "namespace"), meta(&object, "name"));
        let metadata = meta_mut(&mut object);
        metadata.entry("uid").or_insert_with(|| uid().into());
        metadata
            .entry("creationTimestamp")
            .or_insert_with(|| now().into());
        if kind.custom {
            metadata.entry("generation").or_insert(1.into());
        }
        self.store.load(key, object);
    }

    /// Loads every `raw/*.json` list of a cluster export. Kinds that are not served are skipped.
    pub fn load_export(&mut self, folder: &Path) {
        let raw = folder.join("raw");
        let entries = fs::read_dir(&raw).unwrap_or_else(|e| panic!("{}: {e}", raw.display()));
        let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        let mut highest = 0;
        for path in paths {
            let text = fs::read_to_string(&path).expect("an export is readable");
            let list: Value = serde_json::from_str(&text).expect("an export is JSON");
            let version = list["apiVersion"].as_str().unwrap_or_default();
            let kind = list["kind"].as_str().unwrap_or_default();
            let kind = kind.trim_end_matches("List");
            let rv = meta(&list, "resourceVersion").parse().unwrap_or(0);
            highest = highest.max(rv);
            let known = |k: &Kind| k.kind == kind && k.api_version() == version;
            if !self.kinds.iter().any(known) {
                continue;
            }
            self.load(list);
        }
        self.store.advance(highest);
    }

    /// The objects every server has: namespaces, APIServices, CRDs.
    pub fn load_basics(&mut self) {
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            self.load(json!({
                "kind": "Namespace",
                "apiVersion": "v1",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }));
        }
        let kinds = self.kinds.clone();
        let mut versions: Vec<(&str, &str, bool)> = Vec::new();
        for kind in &kinds {
            let version = (kind.group, kind.version, kind.aggregated);
            if !versions.contains(&version) {
                versions.push(version);
            }
            if kind.custom && !kind.aggregated {
                self.load(definition(kind));
            }
        }
        for (group, version, aggregated) in versions {
            self.load(api_service(group, version, aggregated));
        }
    }
}

/// The items of a list. Those of core lists carry neither kind nor apiVersion.
fn items(list: &Value) -> Vec<Value> {
    let kind = list["kind"].as_str().unwrap_or_default();
    let kind = kind.trim_end_matches("List");
    let items = list["items"].as_array().into_iter().flatten();
    let whole = items.map(|item| {
        let mut object = json!({"kind": kind, "apiVersion": list["apiVersion"]});
        for (key, value) in item.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        object
    });
    whole.collect()
}

fn api_service(group: &str, version: &str, aggregated: bool) -> Value {
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": 1000, "versionPriority": 100});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    let (reason, message) = if aggregated {
        spec["service"] =
            json!({"namespace": "calico-apiserver", "name": "calico-api", "port": 443});
        ("Passed", "all checks passed")
    } else {
        ("Local", "Local APIServices are always available")
    };
    json!({
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": format!("{version}.{group}")},
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available",
            "status": "True",
            "lastTransitionTime": now(),
            "reason": reason,
            "message": message,
        }]},
    })
}

/// The CRD of a custom resource, without its schema.
fn definition(kind: &Kind) -> Value {
    let mut names = json!({"plural": kind.plural, "singular": kind.singular});
    if !kind.short.is_empty() {
        names["shortNames"] = json!(kind.short);
    }
    names["kind"] = kind.kind.into();
    names["listKind"] = format!("{}List", kind.kind).into();
    let mut version = json!({
        "name": kind.version,
        "served": true,
        "storage": true,
        "schema": {"openAPIV3Schema": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
        }},
    });
    if kind.status {
        version["subresources"] = json!({"status": {}});
    } else if kind.group == "projectcalico.org" {
        version["subresources"] = json!({});
    }
    let own: Vec<Value> = columns(kind)
        .iter()
        .map(|(name, kind, path)| {
            json!({
                "name": name,
                "type": kind,
                "description": format!("{name} of the object"),
                "jsonPath": format!(".{path}"),
            })
        })
        .collect();
    if columns(kind).len() > 1 {
        version["additionalPrinterColumns"] = own.into();
    }
    let condition = |name: &str, reason: &str, message: &str| {
        json!({
            "type": name,
            "status": "True",
            "lastTransitionTime": now(),
            "reason": reason,
            "message": message,
        })
    };
    let scope = if kind.namespaced {
        "Namespaced"
    } else {
        "Cluster"
    };
    json!({
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {
            "name": kind.qualified(),
            "generation": 1,
            "annotations": {"controller-gen.kubebuilder.io/version": "v0.18.0"},
        },
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": scope,
            "versions": [version],
            "conversion": {"strategy": "None"},
        },
        "status": {
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition(
                    "Established",
                    "InitialNamesAccepted",
                    "the initial names have been accepted",
                ),
            ],
            "acceptedNames": names,
            "storedVersions": [kind.version],
        },
    })
}

/// The ClusterInformation of a version, as Calico's own components write it.
pub fn cluster_information(shape: Shape, version: &str) -> Value {
    let api = match shape {
        Shape::LegacyV1 => "crd.projectcalico.org/v1",
        Shape::NativeV3 | Shape::AggregatedV3 => "projectcalico.org/v3",
    };
    json!({
        "apiVersion": api,
        "kind": "ClusterInformation",
        "metadata": {"name": "default"},
        "spec": {
            "calicoVersion": version,
            "clusterGUID": "0123456789abcdef0123456789abcdef",
            "clusterType": "k8s,kdd",
            "datastoreReady": true,
        },
    })
}
