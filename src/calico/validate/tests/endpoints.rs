use super::*;

fn hep(spec: Value) -> Object {
    mk_object("HostEndpoint", "a", &spec)
}

fn hep_with(field: &str, value: Value) -> Object {
    let mut spec = json!({"node": "m1", "interfaceName": "eth0"});
    spec[field] = value;
    hep(spec)
}

#[test]
fn host_endpoints_name_a_node() {
    accepts(&hep_with("node", json!("m1.example.org")), V3_33);
    for node in [json!(""), Value::Null] {
        let endpoint = hep_with("node", node);
        refuses(&endpoint, V3_33, "spec.node", &[Libcalico, Server, MISSING]);
        refuses(&endpoint, V3_31, "spec.node", &[Libcalico, MISSING]);
    }
    refuses(
        &hep_with("node", json!("M1")),
        V3_33,
        "spec.node",
        &[Libcalico],
    );
    let long = hep_with("node", json!("m".repeat(254)));
    refuses(&long, V3_33, "spec.node", &[Libcalico, Server]);
}

#[test]
fn host_endpoints_name_an_interface_or_addresses() {
    accepts(
        &hep(json!({"node": "m1", "expectedIPs": ["192.0.2.1"]})),
        V3_33,
    );
    let neither = hep(json!({"node": "m1", "interfaceName": "", "expectedIPs": []}));
    refuses(&neither, V3_33, "spec", &[Libcalico, Server, MISSING]);
    for name in ["*", "eth0", "bond0.100", "Eth_0"] {
        accepts(&hep_with("interfaceName", json!(name)), V3_33);
    }
    let path = "spec.interfaceName";
    let odd = hep_with("interfaceName", json!("eth0:1"));
    refuses(&odd, V3_33, path, &[Libcalico, MISSING]);
    let long = hep_with("interfaceName", json!("abcdefghijklmnop"));
    refuses(&long, V3_33, path, &[Libcalico, Server, MISSING]);
}

#[test]
fn expected_addresses_are_plain_and_felix_passes_over_others() {
    let expecting = |ips| hep_with("expectedIPs", ips);
    accepts(
        &expecting(json!(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2"])),
        V3_33,
    );
    for ip in ["192.0.2.1/32", "010.0.0.1", "m1", ""] {
        let by = [Libcalico, DROPPED];
        refuses(&expecting(json!([ip])), V3_33, "spec.expectedIPs[0]", &by);
    }
    let twice = expecting(json!(["192.0.2.1", "192.0.2.1"]));
    refuses(&twice, V3_32, "spec.expectedIPs[1]", &[Server]);
    accepts(&twice, V3_31);
    let number = expecting(json!([1]));
    let by = [Libcalico, Server, UNREADABLE];
    refuses(&number, V3_33, "spec.expectedIPs[0]", &by);
    refuses(&expecting(json!("x")), V3_33, "spec.expectedIPs", &by);
}

#[test]
fn an_expected_network_is_answered_with_its_address() {
    let endpoint = hep_with("expectedIPs", json!(["192.0.2.1/32"]));
    let found = validate(&endpoint, V3_33);
    let message = "`192.0.2.1/32` is a network; write the plain address `192.0.2.1`";
    assert_eq!(found[0].message, message);
}

#[test]
fn profiles_are_names() {
    accepts(&hep_with("profiles", json!(["a.b"])), V3_33);
    let bad = hep_with("profiles", json!(["A"]));
    refuses(&bad, V3_33, "spec.profiles[0]", &[Libcalico]);
}

#[test]
fn named_ports_have_name_protocol_and_port() {
    let port = |key: &str, value: Value| {
        let mut port = json!({"name": "http", "protocol": "TCP", "port": 80});
        match value.is_null() {
            true => drop(port.as_object_mut().unwrap().remove(key)),
            false => port[key] = value,
        }
        hep_with("ports", json!([port]))
    };
    for (key, value) in [
        ("name", json!("a-1")),
        ("protocol", json!(17)),
        ("port", json!(65535)),
    ] {
        accepts(&port(key, value), V3_33);
    }
    let all = [Libcalico, Server, MISSING];
    for (key, value, by) in [
        ("name", Value::Null, &all[..]),
        ("name", json!("Http"), &[Libcalico]),
        ("protocol", Value::Null, &all),
        ("protocol", json!("tcp"), &[Libcalico]),
        ("protocol", json!("ICMP"), &[Libcalico, MISSING]),
        ("protocol", json!("HTTP"), &[Libcalico, MISSING]),
        ("port", Value::Null, &all),
        ("port", json!(0), &all),
        ("port", json!(65536), &[Libcalico, Server, UNREADABLE]),
        ("port", json!("80"), &[Libcalico, Server, UNREADABLE]),
    ] {
        refuses(
            &port(key, value),
            V3_32,
            &format!("spec.ports[0].{key}"),
            by,
        );
    }
    let zero = port("port", json!(0));
    refuses(&zero, V3_31, "spec.ports[0].port", &[Libcalico, MISSING]);
}

#[test]
fn network_sets_take_addresses_and_any_network() {
    for kind in ["GlobalNetworkSet", "NetworkSet"] {
        let set = |net: &str| mk_object(kind, "a", &json!({"nets": [net]}));
        for net in ["192.0.2.1", "192.0.2.1/24", "2001:db8::/32"] {
            accepts(&set(net), V3_33);
        }
        for net in ["010.0.0.1/32", "192.0.2.0/33", "m1", ""] {
            refuses(&set(net), V3_33, "spec.nets[0]", &[Libcalico, DROPPED]);
        }
        let twice = mk_object(kind, "a", &json!({"nets": ["::1", "::1"]}));
        refuses(&twice, V3_32, "spec.nets[1]", &[Server]);
        accepts(&twice, V3_31);
    }
}

fn felix(name: &str, spec: &Value) -> Object {
    mk_object("FelixConfiguration", name, spec)
}

fn failsafe(entry: &Value) -> Object {
    felix("default", &json!({"failsafeInboundHostPorts": [entry]}))
}

#[test]
fn failsafe_lists_may_be_absent_and_empty() {
    for list in [Value::Null, json!([])] {
        let spec = json!({"failsafeInboundHostPorts": list, "failsafeOutboundHostPorts": list});
        accepts(&felix("default", &spec), V3_33);
    }
    let spec = json!({"failsafeOutboundHostPorts": "none"});
    let by = [Libcalico, Server, UNREADABLE];
    refuses(
        &felix("default", &spec),
        V3_33,
        "spec.failsafeOutboundHostPorts",
        &by,
    );
}

#[test]
fn failsafe_entries_that_felix_takes() {
    for entry in [
        json!({"protocol": "TCP", "port": 22}),
        json!({"protocol": "udp", "port": 65535, "net": ""}),
        json!({"protocol": "TCP", "port": 22, "net": "192.0.2.1"}),
        json!({"protocol": "TCP", "port": 22, "net": "192.0.2.1/24"}),
        json!({"protocol": "TCP", "port": 22, "net": "2001:db8::/32"}),
    ] {
        accepts(&failsafe(&entry), V3_33);
    }
}

#[test]
fn failsafe_entries_that_stop_felix_though_nobody_else_minds() {
    let path = |field: &str| format!("spec.failsafeInboundHostPorts[0].{field}");
    for protocol in ["SCTP", "ICMP", "6", ""] {
        let entry = json!({"protocol": protocol, "port": 22});
        refuses(&failsafe(&entry), V3_29, &path("protocol"), &[STOPS]);
    }
    let bare = failsafe(&json!({"port": 22}));
    refuses(&bare, V3_31, &path("protocol"), &[STOPS]);
    refuses(&bare, V3_29, &path("protocol"), &[Server, STOPS]);
    for net in ["banana", "010.0.0.0/8", "192.0.2.0/33"] {
        let entry = json!({"protocol": "TCP", "port": 22, "net": net});
        refuses(&failsafe(&entry), V3_33, &path("net"), &[STOPS]);
    }
    let early = failsafe(&json!({"protocol": "TCP", "port": 22, "net": "192.0.2.0/24"}));
    refuses(&early, V3_17, &path("net"), &[Libcalico]);
}

#[test]
fn failsafe_ports_are_ports() {
    let path = "spec.failsafeInboundHostPorts[0].port";
    for (port, by) in [
        (json!(0), &[DROPPED][..]),
        (json!(65536), &[Libcalico, UNREADABLE]),
        (json!(-1), &[Libcalico, UNREADABLE]),
        (json!("22"), &[Libcalico, Server, UNREADABLE]),
        (Value::Null, &[Server, DROPPED]),
    ] {
        let entry = json!({"protocol": "TCP", "port": port});
        refuses(&failsafe(&entry), V3_33, path, by);
    }
}

#[test]
fn a_node_selector_belongs_on_a_configuration_of_another_name() {
    let selected = json!({"nodeSelector": "a == 'b'"});
    accepts(&felix("group", &selected), V3_32);
    accepts(&felix("default", &json!({})), V3_32);
    accepts(&felix("node.m1", &json!({})), V3_28);
    let path = "spec.nodeSelector";
    for name in ["default", "node.m1"] {
        refuses(&felix(name, &selected), V3_32, path, &[Libcalico, Server]);
    }
    refuses(&felix("default", &selected), V3_31, path, &[Libcalico]);
    refuses(&felix("group", &json!({})), V3_32, path, &[MISSING]);
    refuses(
        &felix("group", &json!({})),
        V3_31,
        "metadata.name",
        &[MISSING],
    );
    let broken = felix("group", &json!({"nodeSelector": "!!"}));
    refuses(&broken, V3_32, path, &[Libcalico, MISSING]);
}

#[test]
fn route_tables_are_given_in_one_way() {
    let one = json!({"routeTableRanges": [{"min": 1, "max": 9}]});
    accepts(&felix("default", &one), V3_33);
    let mut both = one;
    both["routeTableRange"] = json!({"min": 1, "max": 9});
    let both = felix("default", &both);
    refuses(&both, V3_33, "spec.routeTableRange", &[Libcalico, Server]);
}
