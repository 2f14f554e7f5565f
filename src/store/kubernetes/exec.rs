//! Credential plugins of a kubeconfig (`users[].user.exec`).
//!
//! The Kubernetes library would run them as well, but twice for one start, without an end to the
//! waiting, and with their output, which is the credential, in its error messages.

use std::io::IsTerminal;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;

use crate::store::{StoreError, StoreErrorKind};

/// How long a plugin may take that talks to nobody.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a plugin may take that asks a person.
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_secs(600);

const BY_HAND: &str = "run it by hand, as `users[].user.exec` of the kubeconfig has it: it should print JSON with the credential in `status`";

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Whether a plugin is what proves who the user is.
pub(super) fn is_used(auth: &AuthInfo) -> bool {
    auth.exec.is_some()
        && auth.token.is_none()
        && auth.token_file.is_none()
        && auth.auth_provider.is_none()
        && auth.password.is_none()
}

/// Runs the plugin and puts what it says in its place.
pub(super) async fn run(auth: &mut AuthInfo) -> Result<(), StoreError> {
    let Some(exec) = auth.exec.take() else {
        return Ok(());
    };
    let name = exec.command.clone().unwrap_or_default();
    if name.is_empty() {
        return Err(
            failed("the kubeconfig's credential plugin has no `command`")
                .hint("look at `users[].user.exec` of the kubeconfig"),
        );
    }
    let output = output_of(&exec, &name).await?;
    // What does not parse is not quoted: it may be a credential that is only formatted badly.
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| {
        failed(format!(
            "credential plugin `{name}` did not print an `ExecCredential`"
        ))
        .hint(BY_HAND)
    })?;
    let status = answer.status.ok_or_else(|| {
        failed(format!(
            "credential plugin `{name}` printed no credential (`status` is missing)"
        ))
        .hint(BY_HAND)
    })?;
    if let (Some(certificate), Some(key)) = (status.client_certificate_data, status.client_key_data)
    {
        auth.client_certificate_data = Some(STANDARD.encode(certificate));
        auth.client_key_data = Some(STANDARD.encode(key).into());
        auth.client_certificate = None;
        auth.client_key = None;
    }
    auth.token = status.token.map(Into::into);
    if auth.token.is_none() && auth.client_certificate_data.is_none() {
        return Err(failed(format!(
            "credential plugin `{name}` gave neither a token nor a certificate"
        ))
        .hint(BY_HAND));
    }
    Ok(())
}

async fn output_of(exec: &ExecConfig, name: &str) -> Result<Vec<u8>, StoreError> {
    let mode = exec.interactive_mode.as_ref();
    let terminal = std::io::stdin().is_terminal();
    if mode == Some(&ExecInteractiveMode::Always) && !terminal {
        return Err(failed(format!(
            "credential plugin `{name}` wants to ask, but there is no terminal"
        ))
        .hint("log in by hand first, or use credentials that need no asking"));
    }
    let interactive = terminal && mode != Some(&ExecInteractiveMode::Never);
    let cluster = exec.cluster.as_ref().filter(|_| exec.provide_cluster_info);
    let spec = match cluster {
        Some(cluster) => json!({"interactive": interactive, "cluster": cluster}),
        None => json!({"interactive": interactive}),
    };
    let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    let mut command = tokio::process::Command::new(name);
    command
        .args(exec.args.iter().flatten())
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(if interactive {
            Stdio::inherit()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        // For the user, as with kubectl: "open this page to log in".
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    for pair in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
            command.env(name, value);
        }
    }
    let patience = if interactive {
        PATIENCE_WITH_PEOPLE
    } else {
        PATIENCE
    };
    let output = tokio::time::timeout(patience, command.output()).await;
    let output = output.map_err(|_| {
        let seconds = patience.as_secs();
        failed(format!(
            "credential plugin `{name}` did not end within {seconds} s"
        ))
        .hint("it may wait for somebody to log in: run it by hand first")
    })?;
    let output = output.map_err(|error| {
        let error = failed(format!("credential plugin `{name}` cannot be run: {error}"));
        match &exec.install_hint {
            Some(hint) => error.hint(hint.replace('\n', " ")),
            None => error.hint(
                "the kubeconfig names it under `users[].user.exec`; is it installed and on `PATH`?",
            ),
        }
    })?;
    if !output.status.success() {
        return Err(failed(format!(
            "credential plugin `{name}` failed ({})",
            output.status
        ))
        .hint("run it by hand, or log in again; what it said is above"));
    }
    Ok(output.stdout)
}

fn failed(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, message)
}
