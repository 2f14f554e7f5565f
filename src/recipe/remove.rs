//! Taking a protection away again.

use std::collections::BTreeSet;

use super::base::{Base, is_labelled, others};
use super::hosts::carries;
use super::policies::{self, Approach};
use super::server::SELF_SET;
use super::{Draft, Importance, RecipeError, Stage, marks, workloads};
use crate::calico::names::ServerName;
use crate::calico::{Kind, Object, ObjectId};

/// Take a protection away: what is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveServer {
    /// The server.
    pub server: ServerName,
    /// Whether parts that the tool did not make go away, too.
    pub all: bool,
}

/// Drafts the opposite of [`super::server::protect`]: what the tool added goes away, what was there
/// before stays.
///
/// # Errors
///
/// When the server is not known, or when all of its protection is somebody else's.
pub fn remove(draft: &mut Draft<'_>, intent: &RemoveServer) -> Result<(), RecipeError> {
    let server = &intent.server;
    let label = server.protected_label();
    let all: Vec<&Object> = policies::find_all(draft.snapshot(), server).collect();
    let is_ours = |policy: &Object| intent.all || marks::is_created(policy);
    let foreign = all.iter().find(|policy| !is_ours(policy)).copied();
    let ours = foreign.is_none();
    let labelled: Vec<Object> = draft
        .all()
        .filter(|o| is_labelled(o, &label))
        .cloned()
        .collect();
    policies::check_known(draft.snapshot(), server)?;
    let ours_alone =
        |object: &Object| ours || marks::has_label(object, &label) || marks::is_created(object);
    let bases = Base::ALL.map(|base| (base, base.is_ours(draft)));
    for object in labelled.iter().filter(|o| ours_alone(o)) {
        let why = format!("no longer protects {}", place_of(object));
        let others = others(object, server);
        // What a server kept on its way into a tier of its own stays with it.
        let unneeded = |(base, _): &(Base, bool)| !base.is_needed(draft.snapshot(), &others, true);
        let unneeded: Vec<(Base, bool)> = bases.into_iter().filter(unneeded).collect();
        draft.edit(Stage::ProtectedLabels, object.id(), why, |object| {
            object.remove_label(&label);
            marks::remove_label(object, &label);
            for (base, is_ours) in unneeded {
                base.take_off(object, is_ours);
            }
        });
    }
    let why = "no longer protects its pods";
    workloads::unlabel(draft, None, &label, Stage::ProtectedLabels, why, ours_alone);
    for policy in &all {
        if is_ours(policy) {
            // One that lets the clients in is needed as long as endpoints drop everything else.
            let drops = policies::read(policy, server)
                .is_some_and(|known| known.approach == Approach::DenyByDefault);
            let stage = match drops {
                true => Stage::Clients,
                false => Stage::ProtectPolicy,
            };
            draft.delete(stage, policy.id(), "lets everybody in again");
        } else {
            let why = "no longer says which ports were asked for";
            draft.edit(Stage::ProtectPolicy, policy.id(), why, |policy| {
                marks::set_ports(policy, None);
            });
        }
    }
    delete_empty_endpoints(draft);
    let own_set = ObjectId::global(
        Kind::GlobalNetworkSet,
        server.client_set_name(Some(SELF_SET)),
    );
    if draft
        .current(&own_set)
        .is_some_and(|set| intent.all || marks::is_created(set))
    {
        draft.delete(
            Stage::Clients,
            &own_set,
            "held loopback and the server's own hosts",
        );
    }
    for (base, _) in bases {
        base.delete_unused(draft, Stage::DefaultAllow);
    }
    // Also one that a policy was to move into and never did.
    delete_empty_tiers(draft, Stage::Tier, |_| true);
    note_left(draft, intent, foreign);
    Ok(())
}

fn place_of(object: &Object) -> &str {
    object.spec_str("node").unwrap_or_else(|| object.name())
}

/// Takes away host endpoints that the tool made and that serve nothing any more.
pub fn delete_empty_endpoints(draft: &mut Draft<'_>) {
    let recipe = |key: &str| {
        key.starts_with("protected-") && key.ends_with("-server")
            || key.starts_with("allowed-") && key.ends_with("-client")
    };
    let touched = |draft: &Draft<'_>, object: &Object| {
        draft
            .snapshot()
            .get(object.id())
            .is_some_and(|before| before != object)
    };
    let empty: Vec<ObjectId> = draft
        .all()
        .filter(|o| o.id().kind == Kind::HostEndpoint && marks::is_created(o))
        .filter(|o| touched(draft, o) && !o.labels().any(|(key, _)| recipe(key)))
        .map(|o| o.id().clone())
        .collect();
    for id in empty {
        draft.delete(Stage::HostEndpoints, &id, "was made for the protection");
    }
}

/// Takes tiers away that the tool made and that hold no policy any more.
pub fn delete_empty_tiers(draft: &mut Draft<'_>, stage: Stage, meant: impl Fn(&str) -> bool) {
    let policies = draft.all().filter(|o| o.id().kind.is_tiered_policy());
    let used: BTreeSet<&str> = policies.map(policies::tier_of).collect();
    let tiers = draft.all().filter(|o| o.id().kind == Kind::Tier);
    let empty = tiers.filter(|tier| {
        marks::is_created(tier) && meant(tier.name()) && !used.contains(tier.name())
    });
    let empty: Vec<ObjectId> = empty.map(|tier| tier.id().clone()).collect();
    for id in empty {
        draft.delete(stage, &id, "holds no policy any more");
    }
}

fn note_left(draft: &mut Draft<'_>, intent: &RemoveServer, policy: Option<&Object>) {
    let server = intent.server.as_str();
    if let Some(policy) = policy {
        let label = intent.server.protected_label();
        let kept = draft
            .all()
            .filter(|o| carries(o, &label) && is_labelled(o, &label))
            .count();
        let (on, stay, them) = match kept {
            0 => (String::new(), "stays", "it"),
            1 => (" and its label on 1 object".to_owned(), "stay", "them"),
            n => (format!(" and its label on {n} objects"), "stay", "them"),
        };
        draft.note(
            Importance::Warning,
            format!(
                "{}{on} {stay}: calicoctl-protect did not make {them}",
                policy.id()
            ),
            Some(format!("`remove {server} --all` takes {them} away, too")),
        );
    }
    let client = intent.server.allowed_label();
    let clients = draft.all().filter(|o| o.label(&client).is_some()).count();
    if clients > 0 {
        let objects = match clients {
            1 => "1 object".to_owned(),
            n => format!("{n} objects"),
        };
        draft.note(
            Importance::Note,
            format!("the client label `{client}` stays on {objects}; without the protection it does nothing"),
            Some(format!("`revoke {server} …` takes it away")),
        );
    }
}
