//! A protection that stands and is to take another form: by another approach, or in another tier.
//!
//! The rules and labels of two forms do not fit together. What the new one rests on is put in
//! place first, the policy follows, and what only the old one needed goes last. While endpoints go
//! over from one approach to the other the policy says what both say: it lets the clients in by a
//! rule, and shuts everybody else out by a rule.

use serde_json::json;

use super::ProtectServer;
use super::endpoints::Target;
use crate::calico::endpoint::ALLOW_PROFILE;
use crate::calico::names::ServerName;
use crate::calico::policy::DEFAULT_TIER;
use crate::calico::{Kind, Object, ObjectId, Snapshot, Version};
use crate::recipe::base::{Base, is_labelled, others};
use crate::recipe::hosts::{Hosts, LabelHolder, carries};
use crate::recipe::policies::{self, Approach, DEFAULT_ALLOW, ProtectPolicy, Protection};
use crate::recipe::remove::delete_empty_tiers;
use crate::recipe::{Draft, Importance, RecipeError, Stage, few, marks, status};

/// The protection that stands.
#[derive(Debug, Default)]
pub struct Standing<'s> {
    /// Its policy: that of the tier which is asked for, else the first.
    pub policy: Option<&'s Object>,
    /// What that policy says, where it is the recipe's.
    pub protection: Option<Protection>,
    /// Policies of the server in other tiers.
    others: Vec<&'s Object>,
}

impl<'s> Standing<'s> {
    /// Finds the protection of a server.
    pub fn find(snapshot: &'s Snapshot, server: &ServerName, tier: Option<&str>) -> Self {
        let mut all: Vec<&Object> = policies::find_all(snapshot, server).collect();
        if all.is_empty() {
            return Self::default();
        }
        let asked = tier.and_then(|tier| all.iter().position(|p| policies::tier_of(p) == tier));
        let policy = all.remove(asked.unwrap_or_default());
        Self {
            policy: Some(policy),
            protection: policies::read(policy, server),
            others: all,
        }
    }

    /// Whether a policy is there, or somebody whom one would be about at once.
    pub fn is_in_force(&self, draft: &Draft<'_>, server: &ServerName) -> bool {
        let label = server.protected_label();
        self.policy.is_some()
            || draft.all().any(|object| is_labelled(object, &label))
            || !status::workloads(draft.snapshot(), &label).is_empty()
    }

    /// The identity under which a policy is written: its own where it stays in its tier.
    pub fn id_of(&self, policy: &ProtectPolicy, version: Version) -> ObjectId {
        let stays = |known: &&Object| policies::tier_of(known) == policy.tier();
        match self.policy.filter(stays) {
            Some(known) => known.id().clone(),
            None => policy.id(version),
        }
    }

    /// What becomes another.
    ///
    /// # Errors
    ///
    /// When no order of writing would be safe, or the policy is somebody else's.
    pub fn change(
        &self,
        draft: &Draft<'_>,
        policy: &ProtectPolicy,
        intent: &ProtectServer,
    ) -> Result<Change, RecipeError> {
        let name = intent.server.as_str();
        let id = self.id_of(policy, draft.snapshot().version());
        let moved = self.policy.filter(|policy| *policy.id() != id);
        if let Some(foreign) = moved.filter(|policy| !marks::is_created(policy)) {
            return Err(RecipeError::refused(format!(
                "policy `{}` cannot go into tier `{}`: calicoctl-protect did not make it",
                foreign.name(),
                policy.tier()
            ))
            .hint(format!(
                "leave `--tier` out, or `remove {name} --all` takes it away"
            )));
        }
        let Some(known) = &self.protection else {
            return Ok(Change::default());
        };
        let moves = known.tier != policy.tier();
        let switches = known.between || known.approach != policy.approach;
        if moves && switches {
            let (first, then) = match policy.approach {
                Approach::DenyByDefault => ("--tier default", "--approach deny-by-default".into()),
                Approach::AllowByDefault => (
                    "--approach allow-by-default",
                    format!("--tier {}", policy.tier()),
                ),
            };
            return Err(RecipeError::refused(format!(
                "approach and tier of `{name}` cannot change at once"
            ))
            .hint(format!(
                "first `server {name} … {first}`, then `server {name} … {then}`"
            )));
        }
        let keeps_open = policy.keeps_open();
        // On the way from one to the other some endpoints are as before, whichever they are.
        let was = match (known.between, policy.approach) {
            (false, _) => known.approach,
            (true, Approach::DenyByDefault) => Approach::AllowByDefault,
            (true, Approach::AllowByDefault) => Approach::DenyByDefault,
        };
        let kept_open = was == Approach::AllowByDefault && known.tier == DEFAULT_TIER;
        if moves && keeps_open {
            let label = intent.server.protected_label();
            let pods = status::workloads(draft.snapshot(), &label);
            if !pods.is_empty() {
                return Err(RecipeError::refused(format!(
                    "`{name}` cannot leave tier `{}`: that would close all other ports of its pods",
                    known.tier
                ))
                .detail([format!("they are {}", few(&pods))])
                .hint(format!("stay in a tier, or begin with `remove {name}`")));
            }
        }
        Ok(Change {
            opens: keeps_open && !kept_open,
            closes: switches && kept_open,
            switches,
            stays_open: moves && kept_open && !keeps_open,
        })
    }

    /// Lets the policy say what either approach says, until the endpoints have gone over.
    pub fn bridge(&self, draft: &mut Draft<'_>, policy: &ProtectPolicy, overwrite: bool) {
        let (Some(standing), Some(known)) = (self.policy, &self.protection) else {
            return;
        };
        // Writing the policy itself refuses what is somebody else's.
        if !marks::is_created(standing) && !overwrite {
            return;
        }
        let mut both = policy.clone();
        both.discovery |= known.discovery;
        let missing = known.ports.iter().filter(|p| !policy.ports.contains(p));
        both.ports.extend(missing);
        let mut rules = Vec::new();
        for approach in [Approach::DenyByDefault, Approach::AllowByDefault] {
            both.approach = approach;
            rules.extend(both.rules());
        }
        let why =
            "lets the clients in and shuts everybody else out by rules, while endpoints change";
        draft.edit(Stage::Clients, standing.id(), why, |policy| {
            policy.set_spec("ingress", json!(rules));
        });
    }

    /// Takes away what the new form has no need of: the policy in another tier, a tier that holds
    /// nothing any more, policies that nobody is under.
    pub fn clear(&self, draft: &mut Draft<'_>, policy: &ProtectPolicy, change: &Change) {
        let stage = Stage::Leftovers;
        let id = self.id_of(policy, draft.snapshot().version());
        let all = || self.policy.into_iter().chain(self.others.iter().copied());
        for old in all().filter(|old| *old.id() != id && marks::is_created(old)) {
            let why = format!("the policy is in tier `{}` now", policy.tier());
            draft.delete(stage, old.id(), why);
        }
        let left: Vec<&str> = all().map(policies::tier_of).collect();
        delete_empty_tiers(draft, stage, |tier| left.contains(&tier));
        if change.stays_open {
            let name = policy.server.as_str();
            draft.note(
                Importance::Note,
                format!(
                    "`{DEFAULT_ALLOW}` stays on the endpoints: all other traffic stays open there, as it is"
                ),
                Some(format!(
                    "`remove {name}` takes it away; protected anew in tier `{}` they leave other traffic to other policies",
                    policy.tier()
                )),
            );
        }
        if change.relabels() {
            for base in Base::ALL {
                base.delete_unused(draft, stage);
            }
        }
    }
}

/// What of a protection that stands becomes another.
#[derive(Debug, Default)]
pub struct Change {
    /// Endpoints begin to keep all other traffic open by a label.
    pub opens: bool,
    /// They cease to.
    pub closes: bool,
    /// The approach becomes the other one.
    pub switches: bool,
    /// They go on to keep all other traffic open, though the new form could do without.
    pub stays_open: bool,
}

impl Change {
    /// Whether endpoints that are protected already get other labels.
    pub fn relabels(&self) -> bool {
        self.opens || self.closes
    }

    /// Takes off an endpoint what the old form has put there.
    pub fn leave(&self, draft: &mut Draft<'_>, server: &ServerName, target: &Target<'_>) {
        let id = target.id();
        let Some(object) = draft.current(id) else {
            return;
        };
        let base = match self.closes {
            true => Base::DefaultAllow,
            false => Base::Discovery,
        };
        let others = others(object, server);
        if base.is_needed(draft.snapshot(), &others, false) {
            return;
        }
        let ours = base.is_ours(draft);
        let profiles = self.switches
            && others.is_empty()
            && draft.snapshot().version() >= Version::new(3, 14, 0);
        let why = match self.closes {
            true => "no longer keeps all other traffic open",
            false => "drops other traffic no longer",
        };
        draft.edit(Stage::HostEndpoints, id, why, |object| {
            base.take_off(object, ours);
            if !profiles || object.id().kind != Kind::HostEndpoint || !marks::is_created(object) {
                return;
            }
            // As they are when they are made.
            let named: Vec<&str> = object.spec_strs("profiles").collect();
            match (self.closes, named.as_slice()) {
                (true, [ALLOW_PROFILE]) => object.remove_spec("profiles"),
                (false, []) => object.set_spec("profiles", json!([ALLOW_PROFILE])),
                _ => {}
            }
        });
    }
}

/// Other servers that an endpoint is protected for by an approach, in the default tier.
pub fn others_by(
    snapshot: &Snapshot,
    object: &Object,
    server: &ServerName,
    approach: Approach,
) -> Vec<ServerName> {
    let others = others(object, server).into_iter();
    let is_by = |name: &ServerName| {
        let policy = policies::find(snapshot, name);
        let known = policy.and_then(|policy| policies::read(policy, name));
        known.is_some_and(|known| known.approach == approach && known.tier == DEFAULT_TIER)
    };
    others.filter(is_by).collect()
}

/// Everything that a protected label is on, on hosts.
pub fn carriers<'h>(
    draft: &Draft<'_>,
    hosts: &'h Hosts<'h>,
    server: &ServerName,
) -> Result<Vec<Target<'h>>, RecipeError> {
    let label = server.protected_label();
    let is_labelled = |id: &ObjectId| draft.current(id).is_some_and(|o| carries(o, &label));
    let mut found = Vec::new();
    for host in hosts.all() {
        for endpoint in &host.endpoints {
            let holder = match LabelHolder::of(host, endpoint) {
                Ok(holder) if is_labelled(&holder.id) => holder,
                Err(error) if carries(endpoint.object, &label) => return Err(error),
                _ => continue,
            };
            found.push(Target::Existing {
                holder,
                endpoint: Some(endpoint.clone()),
                host,
            });
        }
        let automatic = host.wildcard().is_none() && hosts.has_automatic();
        if automatic && host.node.is_some() {
            let holder = LabelHolder::node(host)?;
            if is_labelled(&holder.id) {
                found.push(Target::Existing {
                    holder,
                    endpoint: None,
                    host,
                });
            }
        }
    }
    Ok(found)
}
