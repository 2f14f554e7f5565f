//! Rights by tier, which Calico's own API server asks for beside those on the resource: `get` on the
//! tier, and the verb on `tier.<resource>`, by the policy's name or as `<tier>.*`. Lists leave out
//! the tiers that somebody has no rights in.

use std::sync::Arc;

use serde_json::Value;

use super::admission::is_tiered;
use super::api::Api;
use super::kinds::Kind;
use super::list::Page;
use super::objects::meta;
use super::rbac::Identity;
use super::request::{Request, Target};
use super::status::{Outcome, details, failure};
use super::store::Key;

fn tier_of(policy: &Value) -> &str {
    let tier = policy["spec"]["tier"].as_str();
    tier.filter(|tier| !tier.is_empty()).unwrap_or("default")
}

impl Api {
    fn may_in_tier(&self, who: &Identity, target: &Target, tier: &str) -> bool {
        let see = Target {
            resource: "tiers".into(),
            namespace: None,
            name: Some(tier.into()),
            verb: "get",
            ..target.clone()
        };
        let named = |name: Option<String>| Target {
            resource: format!("tier.{}", target.resource),
            name,
            ..target.clone()
        };
        let policy = named(target.name.clone());
        let whole = named(Some(format!("{tier}.*")));
        self.rbac.allows(who, &see)
            && (self.rbac.allows(who, &policy) || self.rbac.allows(who, &whole))
    }

    /// Refuses a request on a policy of a tier that the user has no rights in.
    pub fn check_tier(&self, request: &Request, kind: &Kind, target: &Target) -> Outcome<()> {
        if !kind.aggregated || !is_tiered(kind) || target.verb == "list" {
            return Ok(());
        }
        let stored = target.name.as_ref();
        let stored = stored.and_then(|name| self.store.get(&Self::key(kind, target, name)));
        let sent: Option<Value> = serde_json::from_slice(&request.body).ok();
        let policy = match (&stored, &sent) {
            (Some(stored), _) => stored.as_ref(),
            (None, Some(sent)) if target.verb == "create" => sent,
            _ => return Ok(()),
        };
        let (who, tier) = (&request.user, tier_of(policy));
        if self.may_in_tier(who, target, tier) {
            return Ok(());
        }
        let name = meta(policy, "name");
        let words = format!(
            "{}.{} {name:?} is forbidden: User {:?} cannot {} {}.{} in tier {tier:?}",
            kind.plural, kind.group, who.user, target.verb, kind.plural, kind.group
        );
        Err(failure(
            403,
            Some("Forbidden"),
            words,
            Some(details(kind, kind.plural, name).into()),
        ))
    }

    /// Leaves the policies of tiers out of a list that the user has no rights in.
    pub fn only_tiers_in_sight(
        &self,
        page: &mut Page,
        request: &Request,
        kind: &Kind,
        target: &Target,
    ) -> Outcome<()> {
        if !kind.aggregated || !is_tiered(kind) {
            return Ok(());
        }
        let who = &request.user;
        let tiers = format!("{}/tiers", kind.group);
        let tiers = self.store.at(&tiers, None, u64::MAX);
        let seen = |(key, _): &(Key, Arc<Value>)| self.may_in_tier(who, target, &key.name);
        if !tiers.is_empty() && !tiers.iter().any(seen) {
            return Err(failure(
                403,
                Some("Forbidden"),
                format!(
                    "{}.{} is forbidden: operation on Calico tiered policy is forbidden",
                    kind.plural, kind.group
                ),
                Some(details(kind, kind.plural, "").into()),
            ));
        }
        page.items
            .retain(|(_, policy)| self.may_in_tier(who, target, tier_of(policy)));
        Ok(())
    }
}
