use super::*;

fn gnp(spec: &Value) -> Object {
    mk_object("GlobalNetworkPolicy", "a", spec)
}

fn ingress(rule: &Value) -> Object {
    gnp(&json!({"ingress": [rule]}))
}

/// An allowing TCP rule with one field of its source or destination.
fn entity(side: &str, key: &str, value: Value) -> Object {
    let mut rule = json!({"action": "Allow", "protocol": "TCP"});
    rule[side] = json!({});
    rule[side][key] = value;
    ingress(&rule)
}

fn nets(nets: Value) -> Object {
    entity("source", "nets", nets)
}

#[test]
fn the_policies_that_the_tool_makes_are_legal_everywhere() {
    let policy = gnp(&json!({
        "order": 500, "selector": "protected-typha-server == \"true\"", "types": ["Ingress"],
        "ingress": [{
            "action": "Deny", "protocol": "TCP",
            "source": {"notSelector": "has(allowed-typha-client)"},
            "destination": {"ports": [5473]},
        }],
    }));
    ALL.into_iter().for_each(|v| accepts(&policy, v));
}

#[test]
fn a_tier_is_unknown_before_v3_29() {
    let policy = |tier: &str| gnp(&json!({"tier": tier}));
    accepts(&policy("default"), V3_31);
    refuses(&policy("default"), V3_28, "spec.tier", &[Libcalico]);
    refuses(&policy("T"), V3_32, "spec.tier", &[Libcalico]);
    accepts(&policy("t"), V3_32);
}

#[test]
fn an_order_is_a_number() {
    accepts(&gnp(&json!({"order": -1.5})), V3_33);
    let by = [Libcalico, Server, UNREADABLE];
    refuses(&gnp(&json!({"order": "5"})), V3_33, "spec.order", &by);
}

#[test]
fn types_are_named_once_each() {
    let typed = |types| gnp(&json!({"types": types}));
    accepts(&typed(json!(["Ingress", "Egress"])), V3_33);
    let both = [Libcalico, Server];
    let twice = typed(json!(["Ingress", "Ingress"]));
    refuses(&twice, V3_32, "spec.types[1]", &both);
    refuses(&twice, V3_31, "spec.types[1]", &[Libcalico]);
    // Felix does not look at case.
    refuses(&typed(json!(["ingress"])), V3_32, "spec.types[0]", &both);
    let by = [Libcalico, Server, DROPPED];
    refuses(&typed(json!(["Inbound"])), V3_32, "spec.types[0]", &by);
    refuses(&typed(json!([])), V3_32, "spec.types", &[Server]);
    accepts(&typed(json!([])), V3_31);
}

#[test]
fn flags_for_host_traffic_hang_together() {
    let flags = |keys: &[&str]| {
        let mut spec = json!({});
        keys.iter().for_each(|key| spec[*key] = json!(true));
        spec
    };
    accepts(&gnp(&flags(&["applyOnForward"])), V3_33);
    accepts(&gnp(&flags(&["applyOnForward", "preDNAT"])), V3_33);
    accepts(&gnp(&flags(&["applyOnForward", "doNotTrack"])), V3_33);
    let both = [Libcalico, Server];
    for flag in ["preDNAT", "doNotTrack"] {
        let policy = gnp(&flags(&[flag]));
        refuses(&policy, V3_32, "spec.applyOnForward", &both);
        refuses(&policy, V3_31, "spec.applyOnForward", &[Libcalico]);
    }
    let three = gnp(&flags(&["applyOnForward", "preDNAT", "doNotTrack"]));
    refuses(&three, V3_32, "spec.preDNAT", &both);
    let mut spec = flags(&["applyOnForward", "preDNAT"]);
    spec["egress"] = json!([]);
    spec["types"] = json!(["Ingress"]);
    accepts(&gnp(&spec), V3_33);
    spec["types"] = json!(["Ingress", "Egress"]);
    refuses(&gnp(&spec), V3_32, "spec.types", &both);
    spec["types"] = Value::Null;
    spec["egress"] = json!([{"action": "Allow"}]);
    refuses(&gnp(&spec), V3_32, "spec.egress", &both);
    let by = [Libcalico, Server, UNREADABLE];
    refuses(&gnp(&json!({"preDNAT": "no"})), V3_33, "spec.preDNAT", &by);
}

#[test]
fn selectors_of_a_policy_parse_and_are_not_global() {
    for (field, effect) in [
        ("selector", MISSING),
        ("namespaceSelector", DROPPED),
        ("serviceAccountSelector", DROPPED),
    ] {
        let path = format!("spec.{field}");
        let policy = |text: &str| gnp(&json!({field: text}));
        accepts(&policy("a == 'b'"), V3_33);
        accepts(&policy(""), V3_33);
        refuses(&policy("!!"), V3_33, &path, &[Libcalico, effect]);
        refuses(&policy("global()"), V3_33, &path, &[Libcalico, Server]);
        refuses(&policy("global()"), V3_32, &path, &[Libcalico]);
        let long = policy(&"a".repeat(1025));
        refuses(&long, V3_33, &path, &[Server]);
        accepts(&long, V3_32);
    }
}

#[test]
fn hints_and_staged_actions_are_known_ones() {
    let hinted = |hint: &str| gnp(&json!({"performanceHints": [hint]}));
    accepts(&hinted("AssumeNeededOnEveryNode"), V3_33);
    let by = [Libcalico, Server, MISSING];
    refuses(&hinted("Fast"), V3_33, "spec.performanceHints[0]", &by);
    let staged = |action: &str| {
        let spec = json!({"stagedAction": action});
        mk_object("StagedGlobalNetworkPolicy", "a", &spec)
    };
    accepts(&staged("Set"), V3_33);
    refuses(
        &staged("set"),
        V3_33,
        "spec.stagedAction",
        &[Libcalico, Server],
    );
}

#[test]
fn a_rule_has_an_action_that_felix_knows() {
    for action in ["Allow", "Deny", "Log", "Pass"] {
        accepts(&ingress(&json!({"action": action})), V3_33);
    }
    let path = "spec.ingress[0].action";
    let missing = [Libcalico, Server, DROPPED];
    refuses(&ingress(&json!({})), V3_31, path, &missing);
    refuses(&ingress(&json!({"action": ""})), V3_31, path, &missing);
    let lower = ingress(&json!({"action": "deny"}));
    refuses(&lower, V3_32, path, &[Libcalico, Server]);
    refuses(&lower, V3_31, path, &[Libcalico]);
    let other = ingress(&json!({"action": "Reject"}));
    refuses(&other, V3_31, path, &[Libcalico, STOPS]);
}

#[test]
fn protocols_are_spelled_exactly_for_libcalico_alone() {
    for field in ["protocol", "notProtocol"] {
        let rule = |protocol: Value| ingress(&json!({"action": "Allow", field: protocol}));
        for protocol in [
            json!("TCP"),
            json!("ICMPv6"),
            json!("UDPLite"),
            json!(47),
            json!("47"),
        ] {
            accepts(&rule(protocol), V3_33);
        }
        let path = format!("spec.ingress[0].{field}");
        refuses(&rule(json!("tcp")), V3_33, &path, &[Libcalico]);
        refuses(&rule(json!("HTTP")), V3_33, &path, &[Libcalico, MISSING]);
        refuses(&rule(json!(0)), V3_33, &path, &[Libcalico, MISSING]);
        refuses(&rule(json!(256)), V3_33, &path, &[Libcalico, UNREADABLE]);
    }
}

#[test]
fn icmp_needs_its_protocol_and_a_type_in_range() {
    let rule = |protocol: Value, icmp: Value| {
        ingress(&json!({"action": "Allow", "protocol": protocol, "icmp": icmp}))
    };
    accepts(&rule(json!("ICMP"), json!({"type": 8, "code": 0})), V3_32);
    accepts(&rule(json!(1), json!({"type": 8})), V3_33);
    let path = "spec.ingress[0].icmp";
    refuses(
        &rule(json!(1), json!({"type": 8})),
        V3_32,
        path,
        &[Libcalico],
    );
    let both = [Libcalico, Server];
    refuses(&rule(json!("TCP"), json!({"type": 8})), V3_33, path, &both);
    refuses(&rule(Value::Null, json!({"type": 8})), V3_33, path, &both);
    refuses(&rule(json!("ICMP"), json!({"code": 8})), V3_32, path, &both);
    let path = "spec.ingress[0].icmp.type";
    let by = [Libcalico, Server, MISSING];
    refuses(&rule(json!("ICMP"), json!({"type": 255})), V3_32, path, &by);
    let not = json!({"action": "Allow", "notICMP": {"type": 8}});
    accepts(&ingress(&not), V3_33);
}

#[test]
fn the_ip_version_agrees_with_protocol_and_networks() {
    let rule = |version: Value, protocol: &str, net: &str| {
        let source = json!({"nets": [net]});
        let rule = json!({"action": "Allow", "ipVersion": version, "source": source});
        let mut rule = rule;
        rule["protocol"] = json!(protocol);
        ingress(&rule)
    };
    accepts(&rule(json!(4), "ICMP", "192.0.2.0/24"), V3_33);
    accepts(&rule(json!(6), "ICMPv6", "::/0"), V3_33);
    let path = "spec.ingress[0].ipVersion";
    let wrong = rule(json!(6), "ICMP", "::/0");
    refuses(&wrong, V3_33, path, &[Libcalico, Server]);
    refuses(&wrong, V3_32, path, &[Libcalico]);
    let wrong = rule(json!(5), "TCP", "::/0");
    refuses(&wrong, V3_32, path, &[Libcalico, Server, MISSING]);
    let path = "spec.ingress[0].source.nets[0]";
    let wrong = rule(json!(4), "TCP", "::/0");
    refuses(&wrong, V3_33, path, &[Libcalico]);
}

#[test]
fn networks_of_rules_are_strict_for_libcalico_and_left_out_by_felix_when_unreadable() {
    accepts(&nets(json!(["192.0.2.0/24", "198.51.100.1/32"])), V3_33);
    let path = "spec.ingress[0].source.nets[0]";
    for net in ["192.0.2.1", "192.0.2.1/24"] {
        refuses(&nets(json!([net])), V3_33, path, &[Libcalico]);
    }
    for net in ["010.0.0.1/32", "192.0.2.0/33", "banana"] {
        refuses(&nets(json!([net])), V3_33, path, &[Libcalico, DROPPED]);
    }
    let twice = nets(json!(["::1/128", "::1/128"]));
    refuses(&twice, V3_32, "spec.ingress[0].source.nets[1]", &[Server]);
    accepts(&twice, V3_31);
}

#[test]
fn networks_of_one_rule_are_of_one_family() {
    let path = "spec.ingress[0].source.nets[1]";
    let mixed = nets(json!(["192.0.2.0/24", "2001:db8::/32"]));
    refuses(&mixed, V3_33, path, &[Libcalico]);
    accepts(
        &nets(json!(["192.0.2.0/24", "::ffff:192.0.2.0/120"])),
        V3_33,
    );
    let rule = json!({
        "action": "Allow",
        "source": {"nets": ["192.0.2.0/24"]},
        "destination": {"notNets": ["2001:db8::/32"]},
    });
    let path = "spec.ingress[0].destination.notNets[0]";
    refuses(&ingress(&rule), V3_33, path, &[Libcalico]);
}

#[test]
fn all_addresses_cannot_be_excluded_in_recent_releases() {
    let path = "spec.ingress[0].source.notNets[0]";
    for net in ["0.0.0.0/0", "::/0"] {
        let policy = entity("source", "notNets", json!([net]));
        for version in [V3_29, Version::new(3, 30, 3), V3_31, V3_33] {
            refuses(&policy, version, path, &[Libcalico]);
        }
        for version in [V3_28, Version::new(3, 29, 5), Version::new(3, 30, 2)] {
            accepts(&policy, version);
        }
    }
    accepts(&entity("source", "notNets", json!(["0.0.0.0/1"])), V3_33);
    accepts(&nets(json!(["0.0.0.0/0"])), V3_33);
}

#[test]
fn numeric_ports_need_a_protocol_that_has_ports() {
    for (side, key) in [("source", "notPorts"), ("destination", "ports")] {
        let rule = |protocol: Value, port: Value| {
            let mut rule = json!({"action": "Deny", "protocol": protocol});
            rule[side] = json!({key: [port]});
            ingress(&rule)
        };
        let path = format!("spec.ingress[0].{side}.{key}");
        let by = [Libcalico, MISSING];
        for protocol in [json!("TCP"), json!("SCTP"), json!(17)] {
            accepts(&rule(protocol, json!("80:90")), V3_33);
        }
        for protocol in [Value::Null, json!("ICMP"), json!(47)] {
            refuses(&rule(protocol, json!(80)), V3_33, &path, &by);
        }
        // A name carries its protocol, from v3.32 on.
        accepts(&rule(Value::Null, json!("http")), V3_32);
        refuses(&rule(Value::Null, json!("http")), V3_31, &path, &by);
        refuses(&rule(json!("ICMP"), json!("http")), V3_32, &path, &by);
        let path = format!("{path}[0]");
        refuses(&rule(json!("TCP"), json!(0)), V3_33, &path, &by);
        let by = [Libcalico, UNREADABLE];
        refuses(&rule(json!("TCP"), json!("9:8")), V3_33, &path, &by);
    }
}

#[test]
fn lists_have_limits_in_the_schema_of_v3_33() {
    let ports = |n: usize| entity("destination", "ports", json!(vec![80; n]));
    accepts(&ports(50), V3_33);
    accepts(&ports(51), V3_32);
    refuses(
        &ports(51),
        V3_33,
        "spec.ingress[0].destination.ports",
        &[Server],
    );
    let many = |n: usize| {
        let nets: Vec<_> = (0..n)
            .map(|i| format!("10.0.{}.{}/32", i / 256, i % 256))
            .collect();
        super::policies::nets(json!(nets))
    };
    accepts(&many(256), V3_33);
    refuses(&many(257), V3_33, "spec.ingress[0].source.nets", &[Server]);
    let rules = |n: usize| gnp(&json!({"egress": vec![json!({"action": "Allow"}); n]}));
    accepts(&rules(1024), V3_33);
    refuses(&rules(1025), V3_33, "spec.egress", &[Server]);
}

#[test]
fn selectors_of_rules_parse_and_global_stands_alone_for_namespaces() {
    for key in ["selector", "notSelector", "namespaceSelector"] {
        accepts(&entity("source", key, json!("has(a)")), V3_33);
        let path = format!("spec.ingress[0].source.{key}");
        let bad = entity("source", key, json!("!!"));
        refuses(&bad, V3_33, &path, &[Libcalico, MISSING]);
    }
    let global = |key, text: &str| entity("source", key, json!(text));
    accepts(&global("namespaceSelector", "global()"), V3_33);
    accepts(&global("namespaceSelector", " global( ) "), V3_33);
    let path = "spec.ingress[0].source.namespaceSelector";
    let mixed = global("namespaceSelector", "global() && has(a)");
    refuses(&mixed, V3_33, path, &[Libcalico]);
    let path = "spec.ingress[0].source.selector";
    refuses(
        &global("selector", "global()"),
        V3_33,
        path,
        &[Libcalico, Server],
    );
    let accounts = |text: &str| entity("source", "serviceAccounts", json!({"selector": text}));
    accepts(&accounts("has(a)"), V3_33);
    let path = "spec.ingress[0].source.serviceAccounts.selector";
    refuses(&accounts("!!"), V3_33, path, &[Libcalico, MISSING]);
}

fn service(side: &str, direction: &str, services: &Value, beside: &Value) -> Value {
    let mut rule = json!({"action": "Allow", "protocol": "TCP"});
    rule[side] = beside.clone();
    rule[side]["services"] = services.clone();
    json!({direction: [rule]})
}

#[test]
fn services_stand_alone_on_the_far_side() {
    let full = json!({"name": "a", "namespace": "b"});
    let source = |services: &Value, beside| gnp(&service("source", "ingress", services, &beside));
    accepts(&source(&full, json!({})), V3_33);
    accepts(
        &gnp(&service("destination", "egress", &full, &json!({}))),
        V3_33,
    );
    accepts(&source(&full, json!({"ports": [80]})), V3_33);

    let path = "spec.ingress[0].source.services";
    refuses(
        &source(&json!({"name": "a"}), json!({})),
        V3_33,
        path,
        &[Libcalico],
    );
    let local = mk_object(
        "NetworkPolicy",
        "a",
        &service("source", "ingress", &json!({"name": "a"}), &json!({})),
    );
    accepts(&local, V3_33);
    let nameless = source(&json!({"namespace": "b"}), json!({}));
    refuses(&nameless, V3_33, path, &[Libcalico, Server]);
    for beside in [
        json!({"selector": "has(a)"}),
        json!({"notSelector": "has(a)"}),
        json!({"namespaceSelector": "has(a)"}),
        json!({"serviceAccounts": {}}),
        json!({"nets": ["::/0"]}),
        json!({"notNets": ["::1/128"]}),
    ] {
        let policy = source(&full, beside);
        refuses(&policy, V3_33, path, &[Libcalico, Server]);
        refuses(&policy, V3_32, path, &[Libcalico]);
    }
    let with_ports = gnp(&service(
        "destination",
        "egress",
        &full,
        &json!({"ports": [80]}),
    ));
    let path = "spec.egress[0].destination.services";
    refuses(&with_ports, V3_32, path, &[Libcalico, Server]);
    let near = gnp(&service("destination", "ingress", &full, &json!({})));
    refuses(
        &near,
        V3_33,
        "spec.ingress[0].destination.services",
        &[Libcalico],
    );
    let near = gnp(&service("source", "egress", &full, &json!({})));
    refuses(&near, V3_33, "spec.egress[0].source.services", &[Libcalico]);
}

#[test]
fn http_is_for_rules_that_allow_incoming_tcp() {
    let http = json!({"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]});
    let rule = |action, protocol, http: &Value| json!({"action": action, "protocol": protocol, "http": http});
    accepts(&ingress(&rule("Allow", json!("TCP"), &http)), V3_33);
    accepts(&ingress(&rule("Allow", Value::Null, &http)), V3_33);
    let path = "spec.ingress[0].http";
    let both = [Libcalico, Server];
    refuses(
        &ingress(&rule("Deny", json!("TCP"), &http)),
        V3_32,
        path,
        &both,
    );
    refuses(
        &ingress(&rule("Allow", json!("UDP"), &http)),
        V3_32,
        path,
        &both,
    );
    let out = gnp(&json!({"egress": [rule("Allow", json!("TCP"), &http)]}));
    refuses(&out, V3_33, "spec.egress[0].http", &[Libcalico]);
    let path = "spec.ingress[0].http.paths[0]";
    for bad in [
        json!({}),
        json!({"exact": "/", "prefix": "/"}),
        json!({"exact": "a"}),
        json!({"prefix": "/a?b"}),
    ] {
        let policy = ingress(&rule("Allow", json!("TCP"), &json!({"paths": [bad]})));
        refuses(&policy, V3_33, path, &[Libcalico]);
    }
    let twice = rule("Allow", json!("TCP"), &json!({"methods": ["GET", "GET"]}));
    refuses(
        &ingress(&twice),
        V3_33,
        "spec.ingress[0].http.methods[1]",
        &[Libcalico],
    );
}

#[test]
fn rules_are_maps() {
    let by = [Libcalico, Server, UNREADABLE];
    refuses(&ingress(&json!("Allow")), V3_33, "spec.ingress[0]", &by);
    refuses(&gnp(&json!({"ingress": {}})), V3_33, "spec.ingress", &by);
}
