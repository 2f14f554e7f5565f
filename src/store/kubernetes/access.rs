//! What this user is allowed to do, as the API server answers it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::resource::Resource;
use super::transport::{Request, Transport};
use super::trouble::{self, failed};
use crate::calico::kind::V3;
use crate::calico::policy::DEFAULT_TIER;
use crate::calico::{Kind, Snapshot};
use crate::store::StoreError;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Whether a verb on a resource is allowed: on all its objects, or on the one of a name.
///
/// # Errors
///
/// When the server does not answer.
pub(super) async fn allowed(
    transport: &Transport,
    verb: &str,
    resource: &Resource,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<bool, StoreError> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": verb,
            "group": resource.group,
            "resource": resource.plural,
            "namespace": namespace,
            "name": name,
        }},
    });
    let request = Request::post(REVIEWS, review.to_string().into_bytes());
    let answer = transport.ask(&request).await?;
    if !answer.is_success() {
        // Who may not even ask finds out from what is done next.
        tracing::info!(status = answer.status, "no answer about permissions");
        return Ok(true);
    }
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok(value.pointer("/status/allowed") != Some(&Value::Bool(false)))
}

/// The resource that stands for a policy kind where rights go by tier: `tier.globalnetworkpolicies`.
/// Calico's own API server asks for it beside the resource itself, and for `get` on the tier.
pub(super) fn by_tier(kind: Kind) -> Option<Resource> {
    let plural = match kind {
        Kind::GlobalNetworkPolicy => "tier.globalnetworkpolicies",
        Kind::NetworkPolicy => "tier.networkpolicies",
        Kind::StagedGlobalNetworkPolicy => "tier.stagedglobalnetworkpolicies",
        Kind::StagedNetworkPolicy => "tier.stagednetworkpolicies",
        _ => return None,
    };
    let (group, version) = V3.split_once('/')?;
    Some(Resource::other(group, version, plural))
}

/// Makes sure that the policies of every tier were in the lists. Calico's own API server leaves out
/// those of tiers that the user has no rights in, and says nothing of it: a proof without them would
/// be none.
///
/// # Errors
///
/// When a tier is out of sight, or when the server does not answer.
pub(super) async fn all_tiers_in_sight(
    transport: &Transport,
    snapshot: &Snapshot,
    read: &BTreeSet<Kind>,
) -> Result<(), StoreError> {
    let Some((group, version)) = V3.split_once('/') else {
        return Ok(());
    };
    let tiers = Resource::other(group, version, "tiers");
    let named = snapshot.of(Kind::Tier).map(|tier| tier.name());
    let names: BTreeSet<&str> = named.chain([DEFAULT_TIER]).collect();
    let policies = read.iter().filter_map(|kind| by_tier(*kind));
    let mut needed: Vec<(&str, Resource, &str)> =
        policies.map(|resource| ("list", resource, ".*")).collect();
    if !needed.is_empty() {
        needed.push(("get", tiers, ""));
    }
    for (verb, resource, rest) in &needed {
        if allowed(transport, verb, resource, None, None).await? {
            continue;
        }
        for tier in &names {
            let object = format!("{tier}{rest}");
            if !allowed(transport, verb, resource, None, Some(&object)).await? {
                return Err(out_of_sight(tier, verb, resource));
            }
        }
    }
    Ok(())
}

fn out_of_sight(tier: &str, verb: &str, resource: &Resource) -> StoreError {
    let rule = trouble::forbidden(verb, resource, None).hint;
    failed(format!(
        "you are not allowed to see the policies of tier `{tier}`"
    ))
    .detail("Calico's API server leaves them out of its lists without saying so: nothing could be proved")
    .hint(rule.unwrap_or_default())
}
