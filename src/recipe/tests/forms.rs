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
