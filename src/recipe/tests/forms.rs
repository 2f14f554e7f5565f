//! Protections that take another form.

use super::*;
use crate::plan::{Course, Plan};
use crate::reach::{Connection, Party, Verdict, World};
use crate::recipe::policies::{Approach, DEFAULT_ALLOW};

const CLIENT: &str = "198.51.100.7";
const STRANGER: &str = "203.0.113.7";

/// A host with an endpoint of its own and one client of etcd; nothing is a failsafe.
fn one_host() -> Snapshot {
    let set = mk(
        "GlobalNetworkSet",
        "c",
        &json!({"nets": ["198.51.100.7/32"]}),
    );
    mk_cluster([
        mk_node("a", "192.0.2.1"),
        mk_felix("default", &[]),
        mk_endpoint("a-all", "a", "*", &["192.0.2.1"]),
        labelled(set, "allowed-etcd-client", "true"),
    ])
}

fn by(approach: Approach, server: &str) -> ProtectServer {
    ProtectServer {
        approach: Some(approach),
        ..mk_server(server, &["a"])
    }
}

#[test]
fn clients_stay_in_and_others_out_at_every_step_from_one_approach_to_the_other() {
    use Approach::{AllowByDefault, DenyByDefault};
    for (from, to) in [
        (DenyByDefault, AllowByDefault),
        (AllowByDefault, DenyByDefault),
    ] {
        let before = protected(&one_host(), &by(from, "etcd")).after;
        let mut draft = Draft::new(&before);
        protect(&mut draft, &by(to, "etcd")).unwrap();
        let plan = Plan::new(draft, Course::Forward);
        assert!(plan.changes.len() > 3, "{:?}", plan.changes);
        for count in 0..=plan.changes.len() {
            let world = World::from_snapshot(&plan.after(&before, count));
            let verdict = |from: &str| {
                let (from, to) = (Party::Address(from.parse().unwrap()), Party::node("a"));
                let port = "tcp/2379".parse().unwrap();
                world.explain(&Connection::to_port(from, to, port)).verdict
            };
            assert_eq!(verdict(CLIENT), Verdict::Allow, "{to:?} {count}");
            assert_eq!(verdict(STRANGER), Verdict::Deny, "{to:?} {count}");
        }
        let after = plan.after(&before, plan.changes.len());
        // Labels have no order.
        let back = protected(&after, &by(from, "etcd")).after;
        let values = |state: &Snapshot| -> Vec<Value> {
            let all = state.all().map(|stored| stored.object.value().clone());
            all.collect()
        };
        assert_eq!(values(&back), values(&before));
    }
}

/// What becomes of a connection to etcd on a host.
fn to_etcd(state: &Snapshot, from: &str) -> Verdict {
    let (from, to) = (Party::Address(from.parse().unwrap()), Party::node("a"));
    let asked = Connection::to_port(from, to, "tcp/2379".parse().unwrap());
    World::from_snapshot(state).explain(&asked).verdict
}

#[test]
fn a_switch_that_stopped_anywhere_is_ended_by_the_same_command() {
    use Approach::{AllowByDefault, DenyByDefault};
    for (from, to) in [
        (DenyByDefault, AllowByDefault),
        (AllowByDefault, DenyByDefault),
    ] {
        let before = protected(&one_host(), &by(from, "etcd")).after;
        let wanted = protected(&before, &by(to, "etcd")).after;
        let mut draft = Draft::new(&before);
        protect(&mut draft, &by(to, "etcd")).unwrap();
        let plan = Plan::new(draft, Course::Forward);
        let mut undecided = 0;
        for count in 0..=plan.changes.len() {
            let stopped = plan.after(&before, count);
            let ended = protected(&stopped, &by(to, "etcd")).after;
            assert_eq!(to_etcd(&ended, CLIENT), Verdict::Allow, "{to:?} {count}");
            assert_eq!(to_etcd(&ended, STRANGER), Verdict::Deny, "{to:?} {count}");
            let spec = |state: &Snapshot, name: &str| {
                let policy = state.global(Kind::GlobalNetworkPolicy, name);
                policy.map(|policy| policy.value()["spec"].clone())
            };
            let name = "protected-etcd-server";
            assert_eq!(spec(&ended, name), spec(&wanted, name), "{to:?} {count}");
            // Labels have no order.
            assert_eq!(
                endpoint(&ended, "a-all").value(),
                endpoint(&wanted, "a-all").value(),
                "{to:?} {count}"
            );
            // Without a word of which approach is meant it is not guessed.
            let mut draft = Draft::new(&stopped);
            let guessed = protect(&mut draft, &mk_server("etcd", &["a"]));
            undecided += usize::from(guessed.is_err());
        }
        assert!(undecided > 0, "{to:?}");
    }
}

#[test]
fn what_was_opened_for_a_server_that_goes_is_closed_again_for_one_that_drops_the_rest() {
    let dropped = protected(&one_host(), &by(Approach::DenyByDefault, "etcd")).after;
    let opened = protected(&dropped, &by(Approach::AllowByDefault, "kubelet")).after;
    assert_eq!(to_etcd(&opened, STRANGER), Verdict::Allow);
    assert_same(&removed(&opened, "kubelet").after, &dropped);
}

#[test]
fn what_a_server_kept_open_on_its_way_into_a_tier_stays_when_another_one_goes() {
    let guarded = ProtectServer {
        tier: Some("guard".to_owned()),
        ..mk_server("etcd", &["a"])
    };
    let plain = protected(&one_host(), &mk_server("etcd", &["a"])).after;
    let moved = protected(&plain, &guarded).after;
    let both = protected(&moved, &by(Approach::AllowByDefault, "kubelet")).after;
    assert_same(&removed(&both, "kubelet").after, &moved);
    assert_same(&removed(&moved, "etcd").after, &one_host());
}

#[test]
fn a_profile_that_another_server_s_endpoint_has_stays() {
    let mut bare = one_host();
    bare.remove(&ObjectId::global(Kind::HostEndpoint, "a-all"));
    let guarded = ProtectServer {
        tier: Some("guard".to_owned()),
        ..mk_server("kubelet", &["a"])
    };
    let before = protected(&bare, &guarded).after;
    let profiles = |state: &Snapshot| -> Vec<String> {
        let all = state.of(Kind::HostEndpoint);
        all.flat_map(|o| {
            o.spec_strs("profiles")
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
    };
    let begun = profiles(&before);
    assert_eq!(begun.len(), 1);
    let mut state = before;
    for approach in [
        Approach::DenyByDefault,
        Approach::AllowByDefault,
        Approach::DenyByDefault,
    ] {
        state = protected(&state, &by(approach, "etcd")).after;
        assert_eq!(profiles(&state), begun, "{approach:?}");
    }
}

#[test]
fn an_endpoint_that_drops_the_rest_is_born_under_the_policy_that_lets_the_clients_in() {
    let mut bare = one_host();
    bare.remove(&ObjectId::global(Kind::HostEndpoint, "a-all"));
    let mut draft = Draft::new(&bare);
    protect(&mut draft, &by(Approach::DenyByDefault, "etcd")).unwrap();
    let plan = Plan::new(draft, Course::Forward);
    for count in 0..=plan.changes.len() {
        let state = plan.after(&bare, count);
        assert_eq!(to_etcd(&state, CLIENT), Verdict::Allow, "{count}");
    }
    let after = plan.after(&bare, plan.changes.len());
    assert_eq!(to_etcd(&after, STRANGER), Verdict::Deny);
    assert_same(&removed(&after, "etcd").after, &bare);
}

#[test]
fn a_tier_that_a_policy_never_moved_into_goes_with_the_protection() {
    let before = one_host();
    let there = protected(&before, &mk_server("etcd", &["a"])).after;
    let into = ProtectServer {
        tier: Some("guard".to_owned()),
        ..mk_server("etcd", &["a"])
    };
    let mut draft = Draft::new(&there);
    protect(&mut draft, &into).unwrap();
    let plan = Plan::new(draft, Course::Forward);
    let stopped = plan.after(&there, 1);
    assert_eq!(stopped.of(Kind::Tier).count(), 1);
    assert_same(&removed(&stopped, "etcd").after, &before);
}

#[test]
fn what_another_server_on_an_endpoint_rests_on_stays_until_it_goes_over_too() {
    let allowed = |server| by(Approach::AllowByDefault, server);
    let dropped = |server| by(Approach::DenyByDefault, server);
    let one = protected(&one_host(), &allowed("etcd")).after;
    let both = protected(&one, &allowed("kubelet")).after;
    let mixed = protected(&both, &dropped("etcd"));
    let label = |state: &Snapshot| endpoint(state, "a-all").label(DEFAULT_ALLOW).is_some();
    assert!(label(&mixed.after));
    assert!(mixed.notes.join(" ").contains("`etcd` stays open there"));
    // The other way round the one that still drops everything else is named.
    let apart = protected(&one_host(), &dropped("etcd")).after;
    let opened = protected(&apart, &allowed("kubelet"));
    assert!(opened.notes.join(" ").contains("`etcd` stays open there"));
    let none = protected(&mixed.after, &dropped("kubelet")).after;
    assert!(!label(&none));
    assert!(
        none.global(Kind::GlobalNetworkPolicy, DEFAULT_ALLOW)
            .is_none()
    );
}

#[test]
fn a_default_allow_of_somebody_elses_outlives_the_approach() {
    let mut mine = one_host();
    let mut policy = crate::recipe::policies::default_allow().into_value();
    policy["metadata"] = json!({"name": DEFAULT_ALLOW});
    mine.put(Object::new(policy).unwrap());
    let there = protected(&mine, &by(Approach::AllowByDefault, "etcd")).after;
    let over = protected(&there, &by(Approach::DenyByDefault, "etcd")).after;
    assert_eq!(endpoint(&over, "a-all").label(DEFAULT_ALLOW), None);
    assert!(
        over.global(Kind::GlobalNetworkPolicy, DEFAULT_ALLOW)
            .is_some()
    );
    assert_same(&removed(&over, "etcd").after, &mine);
}

#[test]
fn a_tier_of_somebody_elses_stays_when_the_policy_leaves_it() {
    let mut before = one_host();
    let tier = mk(
        "Tier",
        "guard",
        &json!({"order": 100, "defaultAction": "Pass"}),
    );
    before.put(Object::new(tier).unwrap());
    let into = |tier: &str| ProtectServer {
        tier: Some(tier.to_owned()),
        ..mk_server("etcd", &["a"])
    };
    let there = protected(&before, &into("guard")).after;
    let over = protected(&there, &into("other")).after;
    let tiers: Vec<&str> = over.of(Kind::Tier).map(Object::name).collect();
    assert_eq!(tiers, ["guard", "other"]);
    assert_same(&removed(&over, "etcd").after, &before);
}

#[test]
fn a_policy_that_an_upgrade_left_under_its_old_name_stays_one() {
    let mut before = mk_cluster_of(Version::new(3, 30, 7), []);
    for stored in one_host().all() {
        before.put(stored.object.clone());
    }
    let guarded = ProtectServer {
        tier: Some("guard".to_owned()),
        ..mk_server("etcd", &["a"])
    };
    let old = protected(&before, &guarded).after;
    let mut upgraded = mk_cluster([]);
    for stored in old.all() {
        upgraded.put(stored.object.clone());
    }
    assert_eq!(protected(&upgraded, &guarded).told(), [""; 0]);
    let moved = protected(
        &upgraded,
        &ProtectServer {
            tier: Some("other".to_owned()),
            ..guarded
        },
    );
    let policies = moved.after.of(Kind::GlobalNetworkPolicy);
    let names: Vec<&str> = policies.map(Object::name).collect();
    assert_eq!(names, ["protected-etcd-server"]);
}
