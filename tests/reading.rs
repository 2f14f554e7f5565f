//! What is left unread changes no answer: every command on a cluster of which it read the needed
//! parts says what it says on the whole.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

mod impact_support;

use std::collections::{BTreeMap, BTreeSet};

use calicoctl_protect::calico::{Kind, Object, ObjectId, Snapshot};
use calicoctl_protect::plan::check::check;
use calicoctl_protect::plan::proof::{prove, standing};
use calicoctl_protect::plan::reading::{Ends, Question};
use calicoctl_protect::reach::{Connection, Party, World};
use calicoctl_protect::store::{Part, Wanted};
use impact_support::*;

/// A store of one snapshot that reads no more than it must.
fn read(whole: &Snapshot, wanted: &Wanted) -> Snapshot {
    let of = |part: &Part| {
        let inside = |o: &Object| part.namespace.is_none() || o.id().namespace == part.namespace;
        let all = whole.all().filter(|s| s.object.id().kind == part.kind);
        let all = all.filter(|s| inside(&s.object));
        let meant = |o: &Object| {
            let own = o.labels().map(|(k, v)| (k.to_owned(), v.to_owned()));
            let mut labels: BTreeMap<String, String> = own.collect();
            let namespace = o.id().namespace.clone().unwrap_or_default();
            labels.insert("projectcalico.org/namespace".into(), namespace);
            part.selector.as_ref().is_none_or(|s| s.matches(&labels))
        };
        all.filter(|s| meant(&s.object))
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut asked = BTreeSet::new();
    let mut next: BTreeSet<Part> = wanted.kinds.iter().copied().map(Part::whole).collect();
    let mut picture = Snapshot::new(whole.datastore.clone(), []);
    while !next.is_empty() {
        next.iter().for_each(|part| picture.extend(of(part)));
        asked.append(&mut next);
        let further = wanted.further.as_ref().unwrap();
        next = further.parts(&picture);
        next.retain(|part| !asked.contains(part));
    }
    picture
}

fn pods(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.of(Kind::Pod).map(Object::name).collect()
}

fn mk_pod(name: &str, namespace: &str, ip: &str, labels: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         spec: {{nodeName: worker-1, {spec}}}\nstatus: {{podIP: {ip}, podIPs: [{{ip: {ip}}}]}}\n"
    )
}

/// Pods of every sort that counts, a policy for hosts that selects some, and many that do not.
fn mk_busy(further: &[&str]) -> Snapshot {
    let made = "pod-template-hash: abc";
    let mut objects = vec![
        mk_pod("scraper", "mon", "10.244.1.20", &format!("app: scraper, {made}"), ""),
        mk_pod("typha", "kube-system", "192.0.2.21", &format!("k8s-app: calico-typha, {made}"), "hostNetwork: true"),
        mk_pod("etcd-cp-1", "kube-system", "192.0.2.11", "component: etcd", "hostNetwork: true"),
        mk_pod("kube-apiserver-cp-1", "kube-system", "192.0.2.11", "component: kube-apiserver", "hostNetwork: true")
            .replace("nodeName: worker-1", "nodeName: cp-1"),
        mk_pod("hook", "hooks", "10.244.1.21", &format!("app: hook, {made}"), ""),
        mk_pod("agg", "apis", "10.244.1.25", &format!("app: agg, {made}"), ""),
        "apiVersion: v1\nkind: Service\nmetadata: {name: agg, namespace: apis}\nspec: {clusterIP: 10.96.0.8, selector: {app: agg}, ports: [{port: 443, targetPort: 5443}]}".to_owned(),
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: agg-1, namespace: apis, labels: {kubernetes.io/service-name: agg}}\n\
         ports: [{port: 5443, protocol: TCP, name: \"\"}]\nendpoints: [{addresses: [10.244.1.25], conditions: {ready: true}, targetRef: {kind: Pod, name: agg}}]".to_owned(),
        "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v3.projectcalico.org}\nspec: {group: projectcalico.org, version: v3, service: {namespace: apis, name: agg}}".to_owned(),
        mk_pod("door", "edge", "10.244.1.22", "app: door, controller-revision-hash: x", "containers: [{name: c, ports: [{containerPort: 9091, hostPort: 9091}]}]"),
        mk_pod("bare", "edge", "10.244.1.23", "app: bare", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 9080}]}]"),
        mk_pod("client", "mon", "10.244.1.24", &format!("allowed-etcd-client: \"true\", {made}"), ""),
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: door, namespace: edge}\n\
         spec: {selector: {matchLabels: {app: door}}, template: {metadata: {labels: {app: door}}, spec: {containers: [{name: c, ports: [{containerPort: 9091, hostPort: 9091}]}]}}}".to_owned(),
        "apiVersion: v1\nkind: Service\nmetadata: {name: hook, namespace: hooks}\nspec: {clusterIP: 10.96.0.9, selector: {app: hook}, ports: [{port: 443, targetPort: 8443}]}".to_owned(),
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: hook-1, namespace: hooks, labels: {kubernetes.io/service-name: hook}}\n\
         ports: [{port: 8443, protocol: TCP, name: \"\"}]\nendpoints: [{addresses: [10.244.1.21], conditions: {ready: true}, targetRef: {kind: Pod, name: hook}}]".to_owned(),
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: hook}\n\
         webhooks: [{name: a.b.c, failurePolicy: Fail, clientConfig: {service: {namespace: hooks, name: hook}}}]".to_owned(),
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: scrape}\n\
         spec: {order: 100, selector: has(kubernetes.io/hostname), types: [Ingress], ingress: [\
         {action: Allow, protocol: TCP, source: {selector: app == 'scraper'}, destination: {ports: [2379, 9091]}}]}".to_owned(),
    ];
    for n in 0..50 {
        let labels = format!("app: app-{n}, {made}");
        let ip = format!("10.244.1.{}", 100 + n);
        objects.push(mk_pod(&format!("p{n}"), "shop", &ip, &labels, ""));
    }
    let all: Vec<&str> = objects
        .iter()
        .map(String::as_str)
        .chain(further.iter().copied())
        .collect();
    mk_cluster(&all)
}

fn of(server: &str) -> Question {
    Question::of(Some(&server.parse().unwrap()))
}

fn shutting(server: &str) -> Question {
    Question {
        shuts_out: true,
        ..of(server)
    }
}

/// What a plan means and what is proved of it, as text.
fn told(cluster: &Snapshot, shown: &Shown) -> String {
    let proof = prove(cluster, &shown.plan, &[]);
    let (changes, impact) = (&shown.plan.changes, &shown.impact);
    format!("{changes:#?}\n{impact:#?}\n{:#?}", proof.flows)
}

/// Compares line by line, and shows no more than what differs.
fn assert_equal(whole: &str, part: &str) {
    let differing: Vec<(&str, &str)> = whole
        .lines()
        .zip(part.lines())
        .filter(|(whole, part)| whole != part)
        .take(20)
        .collect();
    assert!(
        differing.is_empty() && whole.len() == part.len(),
        "{differing:#?}"
    );
}

fn assert_same(
    whole: &Snapshot,
    question: Question,
    plan: impl Fn(&Snapshot) -> Shown,
) -> Snapshot {
    let part = read(whole, &question.wanted());
    let (on_whole, on_part) = (plan(whole), plan(&part));
    assert!(!on_whole.plan.is_empty());
    assert_equal(&told(whole, &on_whole), &told(&part, &on_part));
    part
}

#[test]
fn plans_on_hosts_say_the_same_without_the_pods_that_do_not_count() {
    let whole = mk_busy(&[]);
    let part = assert_same(&whole, shutting("etcd"), |c| mk_protect(c, "etcd", |_| ()));
    assert_eq!(
        pods(&part),
        [
            "agg",
            "bare",
            "door",
            "hook",
            "etcd-cp-1",
            "kube-apiserver-cp-1",
            "typha",
            "client",
            "scraper"
        ]
    );
    let protected = mk_protected(&whole, "etcd", |_| ());
    let on_worker = |c: &Snapshot| {
        mk_protect(c, "felix-metrics", |intent| {
            intent.nodes.names = vec!["worker-1".into()]
        })
    };
    assert_same(&protected, shutting("felix-metrics"), on_worker);
    assert_same(&protected, shutting("etcd"), |c| mk_prune(c, "etcd"));
    let nets = |c: &Snapshot| {
        mk_grant(c, "etcd", |intent| {
            intent.nets.push("203.0.113.0/28".parse().unwrap())
        })
    };
    assert_same(&protected, of("etcd"), nets);
}

#[test]
fn pods_that_the_command_line_chooses_are_read() {
    let whole = mk_protected(&mk_busy(&[]), "etcd", |_| ());
    let question = Question {
        workloads: vec![mk_workload("shop", "app == 'web'")],
        ..of("etcd")
    };
    let grant = |c: &Snapshot| {
        mk_grant(c, "etcd", |intent| {
            intent.workloads.push(mk_workload("shop", "app == 'web'"))
        })
    };
    let part = assert_same(&whole, question, grant);
    assert!(pods(&part).contains(&"web-77f-a"));
    assert!(!pods(&part).contains(&"p7"));
}

#[test]
fn what_stands_is_judged_the_same() {
    let whole = mk_pruned(&mk_protected(&mk_busy(&[]), "etcd", |_| ()), "etcd");
    let part = read(&whole, &Question::of(None).wanted());
    assert!(part.of(Kind::Pod).count() < 10);
    let judged = |c: &Snapshot| format!("{:#?} {:#?}", check(c, None).unwrap(), standing(c));
    assert_equal(&judged(&whole), &judged(&part));
}

#[test]
fn a_rule_that_selects_clients_by_anything_else_than_labels_asks_for_all_of_them() {
    for (source, all) in [
        ("{selector: all()}", true),
        ("{notSelector: has(x)}", false),
        ("{selector: '!has(x)'}", true),
        (
            "{namespaceSelector: kubernetes.io/metadata.name == 'shop'}",
            true,
        ),
        ("{namespaceSelector: global(), selector: has(x)}", false),
        ("{serviceAccounts: {names: [a]}}", true),
        ("{nets: [203.0.113.0/24]}", false),
    ] {
        let policy = format!(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: q}}\n\
             spec: {{order: 7, selector: all(), types: [Ingress], ingress: [{{action: Allow, protocol: TCP, source: {source}}}]}}"
        );
        let shop = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}";
        let whole = mk_busy(&[&policy, shop]);
        let part = assert_same(&whole, shutting("etcd"), |c| mk_protect(c, "etcd", |_| ()));
        assert_eq!(pods(&part).contains(&"p7"), all, "{source}");
    }
}

#[test]
fn every_pod_counts_where_pods_are_protected_or_seen_by_their_own_addresses() {
    let whole = mk_busy(&[]);
    let all = whole.of(Kind::Pod).count();
    let anybody = read(&whole, &Question::of_anybody().wanted());
    assert_eq!(anybody.of(Kind::Pod).count(), all);
    let labelled = mk_pod(
        "db",
        "shop",
        "10.244.1.99",
        "protected-db-server: \"true\"",
        "",
    );
    let protecting = mk_busy(&[&labelled]);
    let part = read(&protecting, &of("etcd").wanted());
    assert_eq!(part.of(Kind::Pod).count(), all + 1);
    let seen = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: routed}\nspec: {cidr: 10.250.0.0/16}";
    let part = read(&mk_busy(&[seen]), &shutting("etcd").wanted());
    assert_eq!(part.of(Kind::Pod).count(), all);
    let part = read(&mk_busy(&[seen]), &of("etcd").wanted());
    assert!(part.of(Kind::Pod).count() < 10);
}

#[test]
fn more_parts_than_anybody_asks_for_one_by_one_are_read_as_a_whole() {
    let policies: Vec<String> = (0..200)
        .map(|n| {
            format!(
                "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: q{n}}}\n\
                 spec: {{selector: all(), ingress: [{{action: Allow, source: {{selector: has(l{n})}}}}]}}"
            )
        })
        .collect();
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let parts = of("etcd").parts(&mk_busy(&policies));
    assert!(parts.contains(&Part::whole(Kind::Pod)));
    assert!(parts.len() < 100);
}

#[test]
fn settings_are_read_from_the_namespaces_that_hold_them() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big, namespace: shop}";
    let whole = mk_busy(&[other]);
    let part = read(&whole, &of("etcd").wanted());
    let proxy = ObjectId::namespaced(Kind::ConfigMap, "kube-system", "kube-proxy");
    assert!(part.get(&proxy).is_some());
    assert_eq!(part.of(Kind::ConfigMap).count(), 1);
}

/// Services of all sorts, and policies that tell pods from each other.
fn mk_served() -> Snapshot {
    let made = "pod-template-hash: abc";
    let service = |name: &str, spec: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: back}}\nspec: {{{spec}}}"
        )
    };
    let slice = |service: &str, endpoints: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {service}-1, namespace: back, labels: {{kubernetes.io/service-name: {service}}}}}\n\
             ports: [{{port: 8080, protocol: TCP, name: \"\"}}]\nendpoints: [{endpoints}]"
        )
    };
    let pod = |ip: &str, namespace: &str, name: &str| {
        format!(
            "{{addresses: [{ip}], conditions: {{ready: true}}, targetRef: {{kind: Pod, namespace: {namespace}, name: {name}}}}}"
        )
    };
    let objects = [
        mk_pod("web", "front", "10.244.1.40", &format!("app: web, {made}"), ""),
        mk_pod("api", "back", "10.244.1.41", &format!("app: api, {made}"), ""),
        mk_pod("far", "other", "10.244.1.42", &format!("app: far, {made}"), ""),
        mk_pod("lone", "alone", "10.244.1.43", &format!("app: lone, {made}"), ""),
        service("plain", "clusterIP: 10.96.0.20, selector: {app: api}, ports: [{port: 80, targetPort: 8080}]"),
        slice("plain", &pod("10.244.1.41", "back", "api")),
        service("open", "type: NodePort, clusterIP: 10.96.0.21, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]"),
        slice("open", &pod("10.244.1.42", "other", "far")),
        service("bare", "clusterIP: 10.96.0.22, externalIPs: [203.0.113.77], ports: [{port: 80, targetPort: 8080}]"),
        slice("bare", "{addresses: [10.244.1.43], conditions: {ready: true}}"),
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: pods}\n\
         spec: {order: 5, selector: \"app in {'api', 'far', 'lone'}\", types: [Ingress], ingress: [\
         {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [8080]}}]}".to_owned(),
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: hosts}\n\
         spec: {order: 6, selector: has(kubernetes.io/hostname), types: [Ingress], applyOnForward: true, ingress: [\
         {action: Deny, protocol: TCP, source: {selector: app == 'far'}}, {action: Allow}]}".to_owned(),
    ];
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    mk_busy(&objects)
}

#[test]
fn a_connection_is_explained_the_same_without_the_pods_that_have_no_part_in_it() {
    let ip = |text: &str| text.parse().unwrap();
    let ends = [
        Party::node("cp-1"),
        Party::node("worker-1"),
        Party::node("cp-1").at(ip("127.0.0.1")),
        Party::node("worker-1").at(ip("10.244.1.0")),
        Party::pod("front", "web"),
        Party::pod("back", "api"),
        Party::pod("other", "far"),
        Party::pod("kube-system", "etcd-cp-1"),
        Party::pod("edge", "door"),
        Party::pod("back", "api").at(ip("10.244.1.42")),
        Party::Address(ip("192.0.2.11")),
        Party::Address(ip("10.244.1.40")),
        Party::Address(ip("10.244.1.43")),
        Party::Address(ip("203.0.113.9")),
        Party::Address(ip("10.96.0.20")),
        Party::Address(ip("10.96.0.21")),
        Party::Address(ip("10.96.0.22")),
        Party::Address(ip("203.0.113.77")),
    ];
    let (mut tried, mut few, mut verdicts) = (0, 0, BTreeSet::new());
    for whole in [mk_served(), mk_protected(&mk_served(), "etcd", |_| ())] {
        let all = whole.of(Kind::Pod).count();
        let on_whole = World::from_snapshot(&whole);
        for from in &ends {
            for to in &ends {
                for port in ["tcp/80", "tcp/8080", "tcp/2379", "tcp/30080"] {
                    let port: calicoctl_protect::calico::ServerPort = port.parse().unwrap();
                    let connection = Connection::to_port(from.clone(), to.clone(), port);
                    let question = Question::of_connection(Ends {
                        from: from.clone(),
                        to: to.clone(),
                        port: port.port,
                    });
                    let part = read(&whole, &question.wanted());
                    let expected = on_whole.explain(&connection);
                    let found = World::from_snapshot(&part).explain(&connection);
                    assert_eq!(expected, found, "{connection:?}");
                    verdicts.insert(format!("{:?}", found.verdict));
                    tried += 1;
                    few += usize::from(part.of(Kind::Pod).count() < all / 2);
                }
            }
        }
    }
    println!("{tried} connections, {few} of them explained with less than half of the pods");
    assert!(
        few > tried / 3 && verdicts.len() >= 2,
        "{few} of {tried}, {verdicts:?}"
    );
}
