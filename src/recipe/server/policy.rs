//! The policies of a protection, and the tier that holds them.

use serde_json::json;

use super::ProtectServer;
use super::change::Standing;
use crate::calico::policy::{DEFAULT_TIER, TierSpec};
use crate::calico::v1::TIER_LABEL;
use crate::calico::{Kind, Object, ObjectId};
use crate::recipe::base::Base;
use crate::recipe::policies::{self, Approach, PROTECT_ORDER, ProtectPolicy};
use crate::recipe::{Draft, RecipeError, Stage, marks};

/// Order of a tier that the tool makes: before `default`, behind the reserved early ones.
const TIER_ORDER: i64 = 500_000;

/// The policy that the intent asks for: what it leaves open is taken from the policy that is
/// there, so that a second run with other nodes changes nothing but the nodes.
pub fn desired_policy(
    draft: &Draft<'_>,
    intent: &ProtectServer,
    standing: &Standing<'_>,
) -> Result<ProtectPolicy, RecipeError> {
    let snapshot = draft.snapshot();
    let known = standing.protection.as_ref();
    let (ports, ports_asked) = if intent.ports.is_empty() {
        let ports = policies::ports_of(snapshot, &intent.server)?;
        (ports, standing.policy.and_then(marks::ports).is_some())
    } else {
        (intent.ports.clone(), true)
    };
    let own = |tier: &String| tier != DEFAULT_TIER;
    let asked = intent.tier.clone().filter(own);
    if let (Some(tier), false) = (&asked, snapshot.version().has_tiers()) {
        return Err(RecipeError::usage(format!(
            "tier `{tier}` cannot be used: Calico {} has no tiers",
            snapshot.version()
        ))
        .hint("tiers came with v3.29: leave `--tier` out"));
    }
    if known.is_some_and(|known| known.between) && intent.approach.is_none() {
        let name = intent.server.as_str();
        return Err(RecipeError::refused(format!(
            "which approach is `{name}` to have? a change from one to the other stopped on its way"
        ))
        .hint(format!(
            "`server {name} … --approach APPROACH` ends it; so does `apply --resume ID`, and `undo ID` takes it back"
        )));
    }
    let approach = intent
        .approach
        .or(known.map(|k| k.approach))
        .unwrap_or_default();
    let tier = match intent.tier {
        Some(_) => asked,
        None => known.map(|k| k.tier.clone()).filter(own),
    };
    if let (Approach::DenyByDefault, Some(tier)) = (approach, &tier) {
        return Err(RecipeError::usage(format!(
            "deny by default in tier `{tier}` would shut nobody out"
        ))
        .detail([
            "the policy would only allow, and the tier passes everything else on".to_owned(),
        ])
        .hint("choose one: `--approach allow-by-default --tier NAME`, or `--approach deny-by-default` without a tier"));
    }
    Ok(ProtectPolicy {
        server: intent.server.clone(),
        ports,
        ports_asked,
        approach,
        discovery: known.is_some_and(|known| known.discovery),
        tier,
        order: intent
            .order
            .or(known.and_then(|k| k.order))
            .unwrap_or(PROTECT_ORDER),
    })
}

/// Puts the policy's tier in place, or finds one that passes on what it does not decide.
pub fn protect_tier(draft: &mut Draft<'_>, policy: &ProtectPolicy) -> Result<(), RecipeError> {
    let Some(name) = policy.tier.as_deref().filter(|t| *t != DEFAULT_TIER) else {
        return Ok(());
    };
    let id = ObjectId::global(Kind::Tier, name);
    let Some(existing) = draft.current(&id) else {
        let mut tier = Object::empty(id);
        tier.set_spec("order", json!(TIER_ORDER));
        tier.set_spec("defaultAction", json!("Pass"));
        marks::set_created(&mut tier);
        draft.put(
            Stage::Tier,
            tier,
            "holds the protect policy and passes everything else on",
        );
        return Ok(());
    };
    let spec: TierSpec = existing.typed_spec().map_err(RecipeError::failed)?;
    if !spec.passes() {
        return Err(RecipeError::refused(format!(
            "tier `{name}` drops what none of its policies decides"
        ))
        .detail([format!(
            "a host endpoint that the protect policy selects would lose everything that tier `{name}` does not allow"
        )])
        .hint(format!("use a tier with `defaultAction: Pass`, or leave `--tier {name}` out")));
    }
    if spec.order() >= TierSpec::DEFAULT_ORDER {
        return Err(
            RecipeError::refused(format!("tier `{name}` comes after the default tier"))
                .detail([
                    "an Allow of the default tier would decide before the protect policy"
                        .to_owned(),
                ])
                .hint(format!(
                    "use a tier of an order below {}",
                    TierSpec::DEFAULT_ORDER
                )),
        );
    }
    Ok(())
}

/// Puts the policy in place that keeps something open.
pub fn base_policy(draft: &mut Draft<'_>, base: Base, overwrite: bool) -> Result<(), RecipeError> {
    let stage = Stage::DefaultAllow;
    put_policy(draft, stage, base.policy(), base.about(), overwrite).map(drop)
}

/// Puts the protect policy in place; tells whether it is the tool's own.
pub fn protect_policy(
    draft: &mut Draft<'_>,
    policy: &ProtectPolicy,
    id: ObjectId,
    stage: Stage,
    overwrite: bool,
) -> Result<bool, RecipeError> {
    let ports: Vec<String> = policy.ports.iter().map(ToString::to_string).collect();
    let who = match policy.approach {
        Approach::AllowByDefault => "shuts out everybody but the clients",
        Approach::DenyByDefault => "lets in the clients and nobody else",
    };
    let mut why = format!("{who} on {}", ports.join(", "));
    let known = draft.current(&id);
    if known.is_some_and(|known| policies::tier_of(known) != policy.tier()) {
        why = format!("goes into tier `{}`: {why}", policy.tier());
    }
    put_policy(draft, stage, policy.object_of(id), &why, overwrite)
}

/// Makes a policy, or finds one of the same meaning. Another content is overwritten only where
/// the tool made it or the user says so.
fn put_policy(
    draft: &mut Draft<'_>,
    stage: Stage,
    mut wanted: Object,
    why: &str,
    overwrite: bool,
) -> Result<bool, RecipeError> {
    let Some(existing) = draft.current(wanted.id()) else {
        draft.put(stage, wanted, why);
        return Ok(true);
    };
    let ours = marks::is_created(existing);
    let ports = marks::ports(&wanted);
    let mark = |policy: &mut Object| marks::set_ports(policy, ports.as_deref());
    if policies::same_meaning(existing, &wanted) {
        if marks::ports(existing) != ports {
            draft.edit(
                stage,
                wanted.id(),
                "writes down the ports that were asked for",
                mark,
            );
        }
        return Ok(ours);
    }
    // Servers write the default tier out and put it back when it is left out.
    if wanted.spec_str("tier").is_none() && existing.spec_str("tier") == Some(DEFAULT_TIER) {
        wanted.set_spec("tier", json!(DEFAULT_TIER));
    }
    if !ours && !overwrite {
        let id = existing.id().clone();
        let place = draft
            .snapshot()
            .stored(&id)
            .map(|s| s.place.clone())
            .unwrap_or_default();
        let spec = existing.value().get("spec").cloned().unwrap_or_default();
        let text = crate::calico::yaml::to_yaml(&json!({"spec": spec}));
        return Err(RecipeError::failed(format!(
            "policy `{}` is there with other content, and calicoctl-protect did not make it",
            id.name
        ))
        .detail(
            std::iter::once(format!("{id}, {place}:"))
                .chain(text.lines().map(|line| format!("  {line}"))),
        )
        .hint("look at it; `--overwrite` puts the recipe's policy in its place"));
    }
    let spec = wanted.value().get("spec").cloned().unwrap_or_default();
    draft.edit(stage, wanted.id(), why, |policy| {
        policy.replace_spec(spec);
        // Servers give the tier as a label, too, and do not change it with every kind of store.
        if policy.label(TIER_LABEL).is_some() {
            policy.set_label(TIER_LABEL, policies::tier_of(&wanted));
        }
        mark(policy);
    });
    Ok(ours)
}
