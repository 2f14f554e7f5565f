//! Warnings 10 to 20: families, clients, other endpoints and policies, services.

use calicoctl_protect::calico::{Kind, ObjectId};
use calicoctl_protect::recipe::policies::Approach;
use calicoctl_protect::recipe::{Importance, Stage};

use crate::impact_support::*;

#[test]
fn w10_ipv6_is_not_policed() {
    let off = FELIX.replace(r#""true""#, r#""false""#);
    let cluster = mk_pruned(&mk_cluster_with(&off, &[]), "etcd");
    let shown = mk_protect(&cluster, "etcd", |_| ());
    let warning = shown.get("ipv6-off");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(
        warning
            .text
            .contains("over IPv6 `etcd` stays open to everybody"),
        "{}",
        warning.text
    );
    let on = mk_protect(&mk_pruned(&mk_cluster(&[]), "etcd"), "etcd", |_| ());
    assert!(on.find("ipv6-off").is_none());
}

#[test]
fn w10_neighbour_discovery_is_dropped() {
    let deny = |cluster| {
        mk_protect(cluster, "etcd", |p| {
            p.approach = Some(Approach::DenyByDefault)
        })
    };
    // The recipe lets it through; somebody's earlier policy may not.
    let plain = mk_cluster(&[]);
    let through = deny(&plain);
    assert_eq!(through.all("ipv6-neighbours").count(), 0);
    let earlier = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: no-icmp}, spec: {order: 100, selector: has(protected-etcd-server), types: [Ingress], ingress: [{action: Deny, protocol: ICMPv6}]}}";
    let guarded = mk_cluster(&[earlier]);
    let shown = deny(&guarded);
    let warning = shown.get("ipv6-neighbours");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(
        warning
            .text
            .contains("even failsafe ports cannot be reached")
    );
}

#[test]
fn w10_clients_without_an_ipv6_address() {
    let cluster = mk_protected(&mk_cluster(&[]), "etcd", |_| ());
    let shown = mk_grant(&cluster, "etcd", |g| {
        g.nodes.names = vec!["cp-1".to_owned(), "worker-1".to_owned()]
    });
    let warning = shown.get("no-ipv6-address");
    assert_eq!(
        (warning.hosts.as_slice(), warning.importance),
        (["worker-1".to_owned()].as_slice(), Importance::Note)
    );
}

#[test]
fn w11_negative_selectors() {
    let global = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: guard-etcd}, spec: {order: 100, selector: has(x), types: [Ingress], ingress: [{action: Deny, protocol: TCP, source: {selector: '!has(etcd-client)'}, destination: {ports: ['2000:3000']}}]}}";
    let namespaced = "{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: guard, namespace: kube-system}, spec: {selector: all(), types: [Ingress], ingress: [{action: Deny, protocol: TCP, source: {notSelector: has(etcd-client)}, destination: {ports: [2379]}}]}}";
    let good = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: fine}, spec: {order: 100, selector: has(x), types: [Ingress], ingress: [{action: Deny, protocol: TCP, source: {notSelector: has(etcd-client)}, destination: {ports: [2379]}}]}}";
    let shown = mk_protect(&mk_cluster(&[global, namespaced, good]), "etcd", |_| ());
    let texts: Vec<&str> = shown
        .all("negative-selector")
        .map(|w| w.text.as_str())
        .collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].starts_with("GlobalNetworkPolicy/guard-etcd")
            && texts[0].contains("`source.selector` with `!`")
    );
    assert!(
        texts[1].starts_with("NetworkPolicy/kube-system/guard")
            && texts[1].contains("namespaced policy")
    );
    // A policy of the recipe's name and that form is not taken for the recipe's.
    let named = global.replace("guard-etcd", "protected-etcd-server");
    let error = mk_protect_error(&mk_cluster(&[&named]), "etcd", |_| ());
    assert!(
        error
            .to_string()
            .contains("`protected-etcd-server` is there with other content"),
        "{error}"
    );
}

#[test]
fn w12_a_label_without_addresses() {
    let hep = "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: m1-eth1, labels: {allowed-etcd-client: 'true'}}, spec: {node: m1, interfaceName: eth1, profiles: [projectcalico-default-allow]}}";
    let shown = mk_protect(&mk_cluster(&[hep]), "etcd", |_| ());
    let warning = shown.get("client-without-address");
    assert!(
        warning.text.contains("HostEndpoint/m1-eth1 lets nobody in"),
        "{}",
        warning.text
    );
}

const HOST_NETWORK: &str = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: exporter, namespace: monitoring}, spec: {template: {metadata: {labels: {app: exporter, allowed-etcd-client: 'true'}}, spec: {hostNetwork: true}}}}";

#[test]
fn w12_a_label_on_the_host_network() {
    let shown = mk_protect(&mk_cluster(&[HOST_NETWORK]), "etcd", |_| ());
    let warning = shown.get("client-on-host-network");
    assert!(
        warning
            .text
            .contains("DaemonSet/monitoring/exporter lets nobody in"),
        "{}",
        warning.text
    );
}

#[test]
fn w12_the_recipe_refuses_the_host_network() {
    let error = mk_grant_error(&mk_cluster(&[HOST_NETWORK]), "etcd", |g| {
        g.workloads = vec![mk_workload("monitoring", "app == 'exporter'")];
    });
    assert!(
        error.to_string().contains("use their host's network"),
        "{error}"
    );
}

#[test]
fn w12_a_label_that_is_reverted() {
    let mut cluster = mk_cluster(&[]);
    let id = ObjectId::global(Kind::HostEndpoint, "worker-1-auto-hep");
    let mut endpoint = cluster.get(&id).unwrap().clone();
    endpoint.set_label("allowed-etcd-client", "true");
    cluster.put(endpoint);
    let shown = mk_protect(&cluster, "etcd", |_| ());
    let warning = shown.get("label-on-automatic-endpoint");
    assert!(
        warning
            .text
            .contains("`allowed-etcd-client` on HostEndpoint/worker-1-auto-hep does not last"),
        "{}",
        warning.text
    );
    assert_eq!(warning.hint.as_deref(), Some("label the Node instead"));
}

#[test]
fn w13_an_endpoint_for_a_client() {
    let shown = mk_plan(&mk_cluster(&[]), |draft| {
        let hep = mk_object(
            "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: m1-eth0, labels: {allowed-etcd-client: 'true'}}, spec: {node: m1, interfaceName: eth0, expectedIPs: [192.0.2.101]}}",
        );
        draft.put(Stage::Clients, hep, "test");
        Ok(())
    });
    let warning = shown.get("client-endpoint-closes");
    assert_eq!(warning.hosts, ["m1"]);
    assert!(
        warning.text.contains("drops all ingress and egress"),
        "{}",
        warning.text
    );
    assert!(
        warning
            .hint
            .as_deref()
            .unwrap()
            .starts_with("a GlobalNetworkSet")
    );
}

#[test]
fn w14_two_endpoints_for_one_interface() {
    let other = "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: cp-1-old}, spec: {node: cp-1, interfaceName: '*'}}";
    let error = mk_protect_error(&mk_cluster(&[other]), "etcd", |_| ());
    assert!(
        error
            .to_string()
            .contains("two host endpoints for interface `*` of node `cp-1`"),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("Felix takes `cp-1-auto-hep`"));
}

#[test]
fn w14_an_automatic_endpoint_comes_first() {
    let automatic = "{apiVersion: projectcalico.org/v3, kind: KubeControllersConfiguration, metadata: {name: default}, spec: {controllers: {node: {hostEndpoint: {autoCreate: Enabled}}}}}";
    let mut cluster = mk_cluster(&[automatic]);
    cluster.remove(&ObjectId::global(Kind::HostEndpoint, "cp-1-auto-hep"));
    cluster.put(mk_object("{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: cp-1-star}, spec: {node: cp-1, interfaceName: '*', profiles: [projectcalico-default-allow]}}"));
    let shown = mk_protect(&cluster, "etcd", |_| ());
    let warning = shown.get("shadowed");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(
        warning
            .text
            .starts_with("HostEndpoint/cp-1-star governs nothing: HostEndpoint/cp-1-auto-hep"),
        "{}",
        warning.text
    );
}

#[test]
fn w15_an_earlier_allow() {
    let tier = "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: ops}, spec: {order: 50, defaultAction: Pass}}";
    let allow = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: office}, spec: {tier: ops, order: 7, selector: has(node-role.kubernetes.io/control-plane), types: [Ingress], ingress: [{action: Allow, source: {nets: [198.51.100.64/26]}}]}}";
    let cluster = mk_pruned(&mk_cluster(&[tier, allow]), "etcd");
    let shown = mk_protect(&cluster, "etcd", |_| ());
    let warning = shown.get("decided-before");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(warning.text.contains("198.51.100.64/26 still get in on tcp/2379: GlobalNetworkPolicy/office (tier ops, order 7)"), "{}", warning.text);
    let pass = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: office}, spec: {order: 7, selector: has(node-role.kubernetes.io/control-plane), types: [Ingress], ingress: [{action: Pass, source: {nets: [198.51.100.64/26]}}]}}";
    let shown = mk_protect(&mk_pruned(&mk_cluster(&[pass]), "etcd"), "etcd", |_| ());
    assert!(
        shown
            .get("decided-before")
            .text
            .contains("a Pass, or no policy, hands them to profile projectcalico-default-allow")
    );
}

#[test]
fn w15_a_policy_for_all_begins_to_apply() {
    let all = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: no-smb}, spec: {order: 10, selector: all(), types: [Ingress, Egress], ingress: [{action: Deny, protocol: TCP, destination: {ports: [445]}}], egress: [{action: Deny, protocol: TCP, destination: {ports: [445]}}]}}";
    let shown = mk_protect(&mk_cluster(&[all]), "postgres", |p| {
        p.ports = vec!["tcp/5432".parse().unwrap()];
        p.nodes.names = vec!["m1".to_owned()];
    });
    let begun: Vec<String> = shown
        .impact
        .selections
        .iter()
        .map(|s| format!("{} {} {:?}", s.policy, s.begins, s.hosts))
        .collect();
    assert_eq!(begun, [r#"GlobalNetworkPolicy/no-smb true ["m1"]"#]);
}

#[test]
fn w16_ipvs_and_bpf() {
    let ipvs = "{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-proxy, namespace: kube-system}, data: {config.conf: 'mode: ipvs'}}";
    let shown = mk_protect(&mk_cluster(&[ipvs]), "registry", |p| {
        p.ports = vec!["tcp/30500".parse().unwrap()]
    });
    let warning = shown.get("ipvs");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(
        warning.text.contains("tcp/30500 is in the node-port range"),
        "{}",
        warning.text
    );
    let bpf = "{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default}, spec: {bpfEnabled: true}}";
    let shown = mk_protect(&mk_cluster(&[bpf]), "postgres", |p| {
        p.ports = vec!["tcp/5432".parse().unwrap()];
        p.nodes.names = vec!["m1".to_owned()];
        p.interfaces = vec!["br0".to_owned()];
    });
    let warning = shown.get("bpf-interface");
    assert_eq!(warning.hosts, ["m1"]);
    assert!(
        warning
            .text
            .contains("`bpfDataIfacePattern` does not match"),
        "{}",
        warning.text
    );
}

#[test]
fn w17_node_ports_and_host_ports() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: etcd, namespace: kube-system}, spec: {type: NodePort, ports: [{port: 2379, nodePort: 32379}]}}";
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: etcd-1, namespace: kube-system, labels: {kubernetes.io/service-name: etcd}}, endpoints: [{addresses: [192.0.2.11]}], ports: [{port: 2379, protocol: TCP}]}";
    let shown = mk_protect(&mk_cluster(&[service, slice]), "etcd", |_| ());
    let warning = shown.get("node-port");
    assert!(
        warning
            .text
            .starts_with("Service/kube-system/etcd leads to `etcd` by node port 32379"),
        "{}",
        warning.text
    );
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: edge, namespace: ingress}, spec: {nodeName: cp-1, containers: [{name: c, ports: [{containerPort: 80, hostPort: 8443}]}]}, status: {podIP: 10.244.0.9, podIPs: [{ip: 10.244.0.9}]}}";
    let shown = mk_protect(&mk_cluster(&[pod]), "edge", |p| {
        p.ports = vec!["tcp/8443".parse().unwrap()]
    });
    let warning = shown.get("host-port");
    assert_eq!(warning.hosts, ["cp-1"]);
    assert!(
        warning
            .text
            .starts_with("tcp/8443 is a hostPort of Pod/ingress/edge"),
        "{}",
        warning.text
    );
}

#[test]
fn w18_a_node_that_nobody_knows() {
    let hep = "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: x-eth0}, spec: {node: worker-11, interfaceName: eth0, expectedIPs: [192.0.2.31], profiles: [projectcalico-default-allow]}}";
    let shown = mk_grant(&mk_cluster(&[hep]), "etcd", |g| {
        g.nodes.names = vec!["worker-11".to_owned()]
    });
    let warning = shown.get("unknown-node");
    assert!(
        warning
            .text
            .contains("`spec.node` `worker-11` is no known node"),
        "{}",
        warning.text
    );
    assert_eq!(warning.hint.as_deref(), Some("did you mean `worker-1`?"));
}

#[test]
fn w19_the_same_port_of_udp() {
    let shown = mk_protect(&mk_cluster(&[]), "dns", |p| {
        p.ports = vec!["tcp/53".parse().unwrap()]
    });
    let warning = shown.get("other-protocol");
    assert!(
        warning.text.contains("udp/53 stays open to everybody"),
        "{}",
        warning.text
    );
    let both = mk_protect(&mk_cluster(&[]), "dns", |p| {
        p.ports = vec!["tcp/53".parse().unwrap(), "udp/53".parse().unwrap()];
    });
    assert!(both.find("other-protocol").is_none());
    // What the catalogue's servers listen on is known.
    assert!(
        mk_protect(&mk_cluster(&[]), "etcd", |_| ())
            .find("other-protocol")
            .is_none()
    );
}

#[test]
fn w20_invalid_packets() {
    let shown = mk_protect(&mk_cluster(&[]), "postgres", |p| {
        p.ports = vec!["tcp/5432".parse().unwrap()];
        p.nodes.names = vec!["m1".to_owned()];
    });
    let warning = shown.get("invalid-packets");
    assert_eq!(warning.hosts, ["m1"]);
    assert!(warning.text.contains("as soon as the host endpoint exists"));
    assert!(
        mk_protect(&mk_cluster(&[]), "etcd", |_| ())
            .find("invalid-packets")
            .is_none()
    );
}
