//! What packages and manifests say is true: names that belong together, versions, oldest compiler.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize as _;
use serde_json::Value;

fn sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(sources().join(path)).unwrap()
}

fn documents(path: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(&read(path))
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

fn names(documents: &[Value], kind: &str) -> BTreeSet<String> {
    let of_kind = documents.iter().filter(|d| d["kind"] == kind);
    of_kind
        .map(|d| d["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_nightly_check_is_bound_to_the_roles_that_look() {
    let manifests = documents("packaging/kubernetes/check-cronjob.yaml");
    let of_kind = |kind: &str| -> Vec<&Value> {
        let of_kind = manifests.iter().filter(|d| d["kind"] == kind);
        of_kind.collect()
    };
    let job = of_kind("CronJob")[0];
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let account = pod["serviceAccountName"].as_str().unwrap();
    assert!(names(&manifests, "ServiceAccount").contains(account));
    let namespaces = names(&manifests, "Namespace");
    assert!(namespaces.contains(job["metadata"]["namespace"].as_str().unwrap()));
    let mut bound = BTreeSet::new();
    for binding in of_kind("ClusterRoleBinding") {
        let subject = &binding["subjects"][0];
        assert_eq!(subject["name"], account);
        assert!(namespaces.contains(subject["namespace"].as_str().unwrap()));
        bound.insert(binding["roleRef"]["name"].as_str().unwrap().to_owned());
    }
    let files = [
        "packaging/rbac/check.yaml",
        "packaging/rbac/aggregated-api.yaml",
    ];
    let roles = files
        .iter()
        .flat_map(|file| names(&documents(file), "ClusterRole"));
    let that_look: BTreeSet<String> = roles.filter(|role| role.ends_with("check")).collect();
    assert_eq!(bound, that_look);
}

#[test]
fn the_nightly_check_runs_this_version_as_nobody_with_a_command_that_is_there() {
    let manifests = documents("packaging/kubernetes/check-cronjob.yaml");
    let job = manifests.iter().find(|d| d["kind"] == "CronJob").unwrap();
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let image = format!("calicoctl-protect:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image.as_str());
    assert!(read("packaging/container/Containerfile").contains(&image));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let arguments: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    let help = Command::new(env!("CARGO_BIN_EXE_calicoctl-protect"))
        .args(arguments)
        .arg("--help")
        .status();
    assert!(help.unwrap().success());
}

#[test]
fn the_container_runs_as_nobody_and_holds_what_the_build_laid_out() {
    let text = read("packaging/container/Containerfile");
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    let expected = [
        "FROM scratch",
        "COPY . /",
        "USER 65532:65532",
        "ENTRYPOINT [\"/calicoctl-protect\"]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_krew_manifest_keeps_the_rules_for_plugin_names() {
    let plugin = documents("packaging/krew/calico-protect.yaml").remove(0);
    let name = plugin["metadata"]["name"].as_str().unwrap();
    // krew: lower case, dashes, the name of the file; no `kubectl` prefix.
    assert_eq!(name, "calico-protect");
    assert_eq!(plugin["spec"]["version"], "v@VERSION@");
    let short = plugin["spec"]["shortDescription"].as_str().unwrap();
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    assert!(
        sources()
            .join(format!("packaging/krew/{name}.yaml"))
            .exists()
    );
}

/// One toolchain cannot try an older one. What it can tell: no library asks for a newer compiler
/// than Cargo.toml states, and clippy's `incompatible_msrv` knows since when each function of the
/// standard library is there.
#[test]
fn no_library_needs_a_newer_compiler_than_the_manifest_states() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .current_dir(sources())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let version = |text: &str| {
        let parts = text.split('.').map(|part| part.parse::<u32>().unwrap());
        parts.chain([0, 0]).take(3).collect::<Vec<_>>()
    };
    let stated = version(env!("CARGO_PKG_RUST_VERSION"));
    let newer: Vec<String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|package| {
            let wanted = package["rust_version"].as_str()?;
            let name = format!("{} wants {wanted}", package["id"]);
            (version(wanted) > stated).then_some(name)
        })
        .collect();
    assert!(newer.is_empty(), "{newer:#?}");
}
