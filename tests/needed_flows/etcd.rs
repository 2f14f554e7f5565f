//! etcd: Kubernetes' own, and Calico's.

use calicoctl_protect::calico::DatastoreKind;
use calicoctl_protect::reach::needs::{Need, families};
use serde_json::{Value, json};

use crate::{
    api_server, calico, calico_node, config_map, ids, ids_in, member, needs, node, nodes, slice,
    snapshot, with,
};

#[test]
fn an_api_server_needs_the_etcd_that_it_is_told_of() {
    let told = |servers: &str| json!(["kube-apiserver", format!("--etcd-servers={servers}")]);
    let objects = with(
        nodes(&["a", "b"]),
        [
            api_server(
                "one",
                "a",
                told("https://127.0.0.1:2379,https://192.0.2.9:2379"),
            ),
            api_server("two", "b", told("https://192.0.2.9:2379")),
        ],
    );
    assert_eq!(
        ids(&objects, "apiserver-to-etcd"),
        ["a:a", "a:192.0.2.9", "b:192.0.2.9"]
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let loopback: Vec<&str> = needs
        .iter()
        .filter(|need| need.connection_is_loopback())
        .map(|need| need.id.as_str())
        .collect();
    assert_eq!(loopback, ["apiserver-to-etcd:a:a"]);
}

#[test]
fn members_of_etcd_need_each_other_and_themselves() {
    let objects = with(nodes(&["a", "b"]), [member("e-1", "a"), member("e-2", "b")]);
    assert_eq!(ids(&objects, "etcd-peers"), ["a:b", "b:a"]);
    assert_eq!(ids(&objects, "etcd-loopback"), ["a:a", "b:b"]);
    assert_eq!(ids(&objects, "agent-to-etcd"), [""; 0]);
    let one = with(nodes(&["a", "b"]), [member("e-1", "a")]);
    assert_eq!(ids(&one, "etcd-peers"), [""; 0]);
}

#[test]
fn more_members_than_any_etcd_has_are_no_cluster() {
    let members = |count: usize| -> Vec<Value> {
        let member = |n| member(&format!("e-{n}"), &format!("n{n}"));
        (0..count).map(member).collect()
    };
    assert_eq!(ids(&members(32), "etcd-peers").len(), 32 * 31);
    assert_eq!(ids(&members(33), "etcd-peers").len(), 0);
    assert_eq!(ids(&members(33), "etcd-loopback").len(), 33);
}

#[test]
fn agents_need_etcd_where_calicos_data_are_in_it() {
    let cluster = |kinds: &str| {
        let information = calico(
            "ClusterInformation",
            "default",
            json!({"clusterType": kinds}),
        );
        with(nodes(&["a", "b"]), [member("e-1", "a"), information])
    };
    let ids = |kind, kinds: &str| ids_in(kind, &cluster(kinds), "agent-to-etcd");
    let files = DatastoreKind::Manifests;
    assert_eq!(ids(DatastoreKind::Etcd, "k8s,kdd"), ["a:a", "b:a"]);
    assert_eq!(ids(files, "k8s,bgp"), ["a:a", "b:a"]);
    assert_eq!(ids(files, "k8s,kdd"), [""; 0]);
    assert_eq!(ids(files, ""), [""; 0]);
    assert_eq!(ids(DatastoreKind::NativeV3, "k8s,bgp"), [""; 0]);
}

#[test]
fn options_may_be_words_of_their_own() {
    let command = json!([
        "kube-apiserver",
        "--secure-port",
        "8443",
        "--etcd-servers",
        "https://192.0.2.9:2379",
        "--etcd-servers-overrides",
        "/events#https://192.0.2.9:4001;https://192.0.2.8:2379"
    ]);
    let objects = with(nodes(&["a"]), [api_server("api", "a", command)]);
    assert_eq!(
        ids(&objects, "apiserver-to-etcd"),
        ["a:192.0.2.8", "a:192.0.2.9", "a:192.0.2.9:4001"]
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let api = needs.iter().find(|n| n.id == "agent-to-apiserver:a:a");
    assert_eq!(api.unwrap().connection_text(), "node a to node a, tcp/8443");
}

#[test]
fn names_are_resolved_as_far_as_the_cluster_tells_them() {
    let told = json!([
        "kube-apiserver",
        "--etcd-servers=https://E-1:2379,https://etcd-2.example.test:2379,https://alias:2379,\
         https://etcd.store.svc:2379,https://elsewhere.example.test:2379,https://$(WHERE):2379,\
         https://localhost:2379"
    ]);
    let mut server = api_server("api", "a", told);
    server["spec"]["hostAliases"] = json!([{"ip": "192.0.2.7", "hostnames": ["alias"]}]);
    let mut second = node("e-2", json!({}));
    second["status"]["addresses"] =
        json!([{"type": "InternalDNS", "address": "etcd-2.example.test"}]);
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "etcd", "namespace": "store"}, "spec": {}});
    let objects = with(
        nodes(&["a", "e-1"]),
        [
            second,
            server,
            service,
            slice("store", "etcd", 2379, &["10.65.0.9"]),
        ],
    );
    assert_eq!(
        ids(&objects, "apiserver-to-etcd"),
        [
            "a:e-1",
            "a:e-2",
            "a:10.65.0.9",
            "a:a",
            "a:192.0.2.7",
            "a:elsewhere.example.test",
            "a:https://$(WHERE):2379"
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<Vec<_>>()
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let named = needs
        .iter()
        .filter(|n| n.named.as_deref() == Some("elsewhere.example.test"));
    let texts: Vec<String> = named.map(Need::connection_text).collect();
    assert_eq!(
        texts[0],
        "node a to elsewhere.example.test, which may be node a, tcp/2379"
    );
    assert_eq!(texts.len(), 3);
    // Members are as good as unknown then, and any host may be one.
    assert_eq!(
        ids(&objects, "etcd-peers"),
        [
            "e-1:e-2",
            "e-2:e-1",
            "a:members",
            "e-1:members",
            "e-2:members"
        ]
    );
}

#[test]
fn names_are_those_of_known_members_where_there_are_as_many() {
    let told = |names: &str| json!(["kube-apiserver", format!("--etcd-servers={names}")]);
    let hosts = |names: &str| {
        let objects = with(
            nodes(&["a", "b", "c"]),
            [api_server("api", "a", told(names)), member("e", "b")],
        );
        let needs = needs(DatastoreKind::NativeV3, &objects);
        let named = needs
            .into_iter()
            .filter(|n| n.named.as_deref() == Some("x"));
        named
            .map(|n| n.connection.to.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(hosts("http://x:2379"), ["node b"]);
    assert_eq!(
        hosts("http://x:2379,http://y:2379"),
        ["node a", "node b", "node c"]
    );
}

#[test]
fn agents_need_the_etcd_that_the_datastore_is_read_from() {
    let mut whole = snapshot(
        DatastoreKind::Etcd,
        &with(
            nodes(&["a"]),
            [
                calico(
                    "Node",
                    "e",
                    json!({"addresses": [{"address": "192.0.2.9"}]}),
                ),
                calico(
                    "Node",
                    "f",
                    json!({"addresses": [{"address": "192.0.2.8"}]}),
                ),
            ],
        ),
    );
    let mut ids = |location: &str, rule: &str| {
        whole.datastore.location = location.to_owned();
        let families = families(&whole);
        let needs = families.iter().flat_map(|f| f.needs());
        let of_rule = needs.filter(|n| n.rule.name == rule);
        let mut ids: Vec<String> = of_rule.map(|n| n.id).collect();
        ids.dedup();
        ids
    };
    let two = "https://192.0.2.8:2379,https://192.0.2.9:6666";
    assert_eq!(
        ids(two, "agent-to-etcd"),
        [
            "agent-to-etcd:a:192.0.2.8",
            "agent-to-etcd:e:192.0.2.8",
            "agent-to-etcd:f:192.0.2.8",
            "agent-to-etcd:a:192.0.2.9:6666",
            "agent-to-etcd:e:192.0.2.9:6666",
            "agent-to-etcd:f:192.0.2.9:6666"
        ]
    );
    assert_eq!(ids(two, "etcd-peers"), ["etcd-peers:e:f", "etcd-peers:f:e"]);
    // An end of a tunnel does not tell where agents find it.
    let here = "https://127.0.0.1:12379";
    assert_eq!(
        ids(here, "agent-to-etcd"),
        [
            "agent-to-etcd:a:datastore",
            "agent-to-etcd:e:datastore",
            "agent-to-etcd:f:datastore"
        ]
    );
    assert_eq!(ids(here, "etcd-peers").len(), 3);
}

#[test]
fn manifests_tell_where_calicos_etcd_is() {
    let files = DatastoreKind::Manifests;
    let with_more = |more: Vec<Value>| ids_in(files, &with(nodes(&["a"]), more), "agent-to-etcd");
    let endpoints = json!({"etcd_endpoints": "https://192.0.2.9:2379"});
    let map = config_map("calico-config", endpoints);
    let reference = json!([{"name": "ETCD_ENDPOINTS",
        "valueFrom": {"configMapKeyRef": {"name": "calico-config", "key": "etcd_endpoints"}}}]);
    assert_eq!(with_more(vec![map.clone()]), ["a:192.0.2.9"]);
    assert_eq!(
        with_more(vec![map.clone(), calico_node(reference)]),
        ["a:192.0.2.9"]
    );
    let set = json!([{"name": "ETCD_ENDPOINTS", "value": "https://192.0.2.8:2379"}]);
    assert_eq!(
        with_more(vec![map.clone(), calico_node(set)]),
        ["a:192.0.2.8"]
    );
    let kubernetes = json!([{"name": "DATASTORE_TYPE", "value": "kubernetes"}]);
    assert_eq!(with_more(vec![map, calico_node(kubernetes)]), [""; 0]);
    let placeholder = config_map(
        "calico-config",
        json!({"etcd_endpoints": "http://<ETCD_IP>:<ETCD_PORT>"}),
    );
    assert_eq!(
        with_more(vec![placeholder]),
        ["a:http://<ETCD_IP>:<ETCD_PORT>"]
    );
}
