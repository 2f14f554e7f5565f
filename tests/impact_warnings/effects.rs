//! Warnings 1 to 9: what a protection does, and what goes past it.

use calicoctl_protect::calico::{Kind, ObjectId};
use calicoctl_protect::plan::impact::Change;
use calicoctl_protect::recipe::policies::Approach;
use calicoctl_protect::recipe::{Importance, Stage};

use crate::impact_support::*;

#[test]
fn w01_a_failsafe_makes_the_protection_idle() {
    let cluster = mk_cluster(&[]);
    let shown = mk_protect(&cluster, "etcd", |_| ());
    let note = shown.note("is an inbound failsafe");
    assert!(
        note.contains("tcp/2379") && note.contains("built-in list"),
        "{note}"
    );
    // The impact shows the same and does not say it twice.
    assert!(shown.find("failsafe").is_none());
    let part = shown.part("etcd", Change::Keeps);
    assert_eq!(
        part.reason.to_string(),
        "inbound failsafe tcp/2379 (built-in list)"
    );
    assert!(
        !shown.impact.servers[0]
            .classes
            .iter()
            .flat_map(|c| &c.parts)
            .any(|p| p.change == Change::Loses)
    );
}

#[test]
fn w01_clients_of_an_idle_protection() {
    let cluster = mk_protected(&mk_cluster(&[]), "etcd", |_| ());
    let shown = mk_grant(&cluster, "etcd", |g| {
        g.nets = vec!["198.51.100.0/28".parse().unwrap()]
    });
    let warning = shown.get("failsafe");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(
        warning
            .text
            .contains("tcp/2379 is an inbound failsafe (built-in list)"),
        "{}",
        warning.text
    );
    assert!(warning.hint.as_deref().unwrap().contains("`prune etcd`"));
}

#[test]
fn w02_protected_without_an_allow() {
    let shown = mk_protect(&mk_cluster(&[]), "etcd", |p| {
        p.approach = Some(Approach::DenyByDefault)
    });
    let warning = shown.get("lock-out");
    assert_eq!(warning.hosts, ["cp-1"]);
    let text = "HostEndpoint/cp-1-auto-hep drops all ingress but failsafes and what rules allow";
    assert!(warning.text.starts_with(text), "{}", warning.text);
    assert!(
        warning
            .text
            .contains("protected without `bl-default-allow`")
    );
    // Where the allow label is there, there is nothing to warn of.
    assert!(
        mk_protect(&mk_cluster(&[]), "etcd", |_| ())
            .find("lock-out")
            .is_none()
    );
}

const ALLOW_HEP: &str = r#"
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: m1-eth0, labels: {bl-default-allow: "true"}}
spec: {node: m1, interfaceName: eth0, expectedIPs: [192.0.2.101]}
"#;
const ALLOW: &str = r#"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: bl-default-allow}
spec:
  order: 5000
  selector: bl-default-allow == 'true'
  types: [Ingress, Egress]
  ingress: [{action: Allow}]
  egress: [{action: Allow}]
"#;

#[test]
fn w03_the_default_allow_goes() {
    let cluster = mk_cluster(&[ALLOW_HEP, ALLOW]);
    let shown = mk_plan(&cluster, |draft| {
        let id = ObjectId::global(Kind::GlobalNetworkPolicy, "bl-default-allow");
        draft.delete(Stage::DefaultAllow, &id, "test");
        Ok(())
    });
    let warning = shown.get("default-allow-gone");
    assert_eq!(warning.hosts, ["m1"]);
    assert!(
        warning.text.contains("drops all ingress and egress"),
        "{}",
        warning.text
    );
    assert!(
        warning.text.contains("there is no such policy"),
        "{}",
        warning.text
    );
}

#[test]
fn w03_an_earlier_tier_hides_the_default_allow() {
    let tier = "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: security}, spec: {order: 100, defaultAction: Deny}}";
    let policy = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: only-ssh}, spec: {tier: security, order: 1, selector: has(bl-default-allow), types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: [22]}}]}}";
    let shown = mk_protect(&mk_cluster(&[tier, policy]), "etcd", |_| ());
    let warning = shown.get("default-allow-shadowed");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(warning.text.contains("the end of tier `security` drops what is left before policy `bl-default-allow` is reached"), "{}", warning.text);
}

#[test]
fn w03_the_default_allow_selects_something_else() {
    let other = ALLOW.replace(
        "selector: bl-default-allow == 'true'",
        "selector: role == 'old'",
    );
    let error = mk_protect_error(&mk_cluster(&[&other]), "etcd", |_| ());
    assert!(
        error
            .to_string()
            .contains("policy `bl-default-allow` is there with other content"),
        "{error}"
    );
}

#[test]
fn w04_loopback_is_policed() {
    let cluster = mk_pruned(&mk_cluster(&[]), "etcd");
    let shown = mk_protect(&cluster, "etcd", |p| p.allow_self = false);
    let warning = shown.get("loopback");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(
        warning.text.contains("127.0.0.1")
            && warning.hint.as_deref().unwrap().contains("--no-self")
    );
    assert!(
        mk_protect(&cluster, "etcd", |_| ())
            .find("loopback")
            .is_none()
    );
    // An endpoint for one interface leaves loopback alone.
    let named = mk_protect(&cluster, "postgres", |p| {
        p.ports = vec!["tcp/5432".parse().unwrap()];
        p.nodes.names = vec!["m1".to_owned()];
        p.interfaces = vec!["eth0".to_owned()];
        p.allow_self = false;
    });
    assert!(named.find("loopback").is_none());
}

#[test]
fn w05_one_interface_is_not_the_host() {
    let cluster = mk_cluster(&[]);
    let shown = mk_protect(&cluster, "postgres", |p| {
        p.ports = vec!["tcp/5432".parse().unwrap()];
        p.nodes.names = vec!["m1".to_owned()];
        p.interfaces = vec!["eth0".to_owned()];
    });
    let warning = shown.get("other-interfaces");
    assert_eq!(warning.hosts, ["m1"]);
    assert!(warning.text.contains("`postgres` is protected on eth0 only: tunnel vxlan.calico, interface br0, interface eth1 and loopback stay open"), "{}", warning.text);
    assert!(
        mk_protect(&mk_pruned(&cluster, "etcd"), "etcd", |_| ())
            .find("other-interfaces")
            .is_none()
    );
}

#[test]
fn w06_own_pods_go_past() {
    let cluster = mk_pruned(&mk_cluster(&[]), "etcd");
    let warning = mk_protect(&cluster, "etcd", |_| ()).get("own-pods").clone();
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(
        warning
            .text
            .ends_with("defaultEndpointToHostAction is Accept"),
        "{}",
        warning.text
    );
    // With a failsafe in the way nobody is shut out, and there is nothing to go past.
    assert!(
        mk_protect(&mk_cluster(&[]), "etcd", |_| ())
            .find("own-pods")
            .is_none()
    );
    let drop = FELIX.replace("ACCEPT", "DROP");
    let dropping = mk_pruned(&mk_cluster_with(&drop, &[]), "etcd");
    assert!(
        mk_protect(&dropping, "etcd", |_| ())
            .find("own-pods")
            .is_none()
    );
}

#[test]
fn w06_pruning_puts_an_old_protection_in_force() {
    let cluster = mk_protected(&mk_cluster(&[]), "etcd", |_| ());
    let shown = mk_prune(&cluster, "etcd");
    assert_eq!(shown.get("own-pods").hosts, ["cp-1"]);
    assert_eq!(shown.get("felix-restarts").importance, Importance::Note);
    assert!(
        shown
            .get("felix-restarts")
            .text
            .starts_with("every Felix restarts")
    );
    assert!(shown.find("failsafe").is_none());
}

#[test]
fn w07_nodes_stand_for_their_pods() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}}";
    let shown = mk_grant(&mk_cluster(&[service]), "etcd", |g| {
        g.nodes.names = vec!["worker-1".to_owned()]
    });
    let warning = shown.get("nodes-stand-for-pods");
    assert_eq!(warning.hosts, ["worker-1"]);
    assert!(
        warning
            .text
            .contains("pool default-ipv4-ippool has natOutgoing"),
        "{}",
        warning.text
    );
    assert!(warning.text.contains("node port"), "{}", warning.text);
    let net = mk_grant(&mk_cluster(&[]), "etcd", |g| {
        g.nets = vec!["198.51.100.0/28".parse().unwrap()]
    });
    assert!(net.find("nodes-stand-for-pods").is_none());
}

#[test]
fn w07_a_pod_behind_nat_is_no_client() {
    let shown = mk_grant(&mk_cluster(&[]), "etcd", |g| {
        g.workloads = vec![mk_workload("shop", "app == 'web'")]
    });
    let note = shown.note("leave a pool with `natOutgoing`");
    assert!(note.contains("the label does nothing there"), "{note}");
}

#[test]
fn w08_later_rules_of_the_kernel() {
    let protect = |cluster: &_| {
        mk_protect(cluster, "postgres", |p| {
            p.ports = vec!["tcp/5432".parse().unwrap()];
            p.nodes.names = vec!["m1".to_owned()];
        })
    };
    let shown = protect(&mk_cluster(&[]));
    let warning = shown.get("kernel-accepts");
    assert_eq!(warning.hosts, ["m1"]);
    assert!(
        warning
            .hint
            .as_deref()
            .unwrap()
            .contains("iptablesFilterAllowAction: Return")
    );
    let returns = "{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default}, spec: {iptablesFilterAllowAction: Return}}";
    assert!(
        protect(&mk_cluster(&[returns]))
            .find("kernel-accepts")
            .is_none()
    );
    // Endpoints that were there before have accepted before.
    assert!(
        mk_protect(&mk_cluster(&[]), "etcd", |_| ())
            .find("kernel-accepts")
            .is_none()
    );
}

#[test]
fn w09_standing_connections() {
    let shown = mk_protect(&mk_pruned(&mk_cluster(&[]), "etcd"), "etcd", |_| ());
    let warning = shown.get("standing-connections");
    assert!(
        warning
            .text
            .starts_with("connections to etcd that stand already are not cut")
    );
    assert!(
        mk_protect(&mk_cluster(&[]), "etcd", |_| ())
            .find("standing-connections")
            .is_none()
    );
}
