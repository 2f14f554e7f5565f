//! Arguments that cannot be meant: each with a clear message, a hint, exit code 64, and no byte
//! changed.

mod command;

use command::{Cluster, FOLDER};

/// The same for usage errors on the sample cluster.
#[track_caller]
fn wrong(arguments: &[&str], message: &str, hint: &str) {
    let [message, hint] = [format!("error: {message}"), format!("hint: {hint}")];
    Cluster::example().refuses(64, arguments, &[&message, &hint]);
}

#[test]
fn unknown_servers() {
    wrong(
        &["server", "ectd", "--all-nodes"],
        "unknown server `ectd`",
        "did you mean `etcd`? a server of your own begins with `server ectd --port tcp/PORT`",
    );
    let own = "a server of your own begins with `server postgres --port tcp/PORT`";
    for arguments in [
        &["server", "postgres", "--all-nodes"][..],
        &["grant", "postgres", "--all-nodes"],
        &["prune", "postgres"],
        &["remove", "postgres"],
        &["revoke", "postgres", "--all-nodes"],
        &["restore", "postgres"],
        &["status", "postgres"],
    ] {
        wrong(arguments, "unknown server `postgres`", own);
    }
}

#[test]
fn a_mistyped_server_of_ones_own_finds_its_neighbour() {
    let cluster = Cluster::example();
    cluster.does(&[
        "server", "postgres", "--port", "tcp/5432", "--node", "worker-1", "--yes",
    ]);
    cluster.refuses(
        64,
        &["remove", "postgre"],
        &[
            "error: unknown server `postgre`",
            "hint: did you mean `postgres`? a server of your own begins with `server postgre --port tcp/PORT`",
        ],
    );
}

#[test]
fn unknown_nodes() {
    let hint = "nodes here: worker-1, worker-2, cp-1";
    for arguments in [
        &["server", "etcd", "--node", "worker1"][..],
        &["grant", "etcd", "--node", "worker1"],
        &["revoke", "etcd", "--node", "worker-1", "--node", "worker1"],
        &["prune", "etcd", "--node", "worker1"],
        &["restore", "etcd", "--node", "worker1"],
    ] {
        wrong(arguments, "unknown node `worker1`", hint);
    }
    wrong(
        &["server", "etcd", "--node-selector", "has(gpu)"],
        "no node matches `has(gpu)`",
        "nodes here: cp-1, worker-1, worker-2",
    );
}

#[test]
fn ports_that_are_none() {
    let hint = "ports are written `tcp/2379` or `udp/51820`";
    for (port, fault) in [
        ("tcp/0", "ports are 1 to 65535"),
        ("tcp/70000", "ports are 1 to 65535"),
        (
            "tcp/-1",
            "behind the protocol comes a number, such as `tcp/2379`",
        ),
        (
            "tcp/",
            "behind the protocol comes a number, such as `tcp/2379`",
        ),
        (
            "tcp/abc",
            "behind the protocol comes a number, such as `tcp/2379`",
        ),
        ("icmp/8", "the protocol is `tcp`, `udp` or `sctp`"),
    ] {
        let message = format!("`{port}` is no port: {fault}");
        wrong(
            &["server", "web", "--port", port, "--all-nodes"],
            &message,
            hint,
        );
        wrong(&["prune", port], &message, hint);
        wrong(&["restore", port], &message, hint);
    }
    wrong(
        &["server", "web", "--port", "80", "--all-nodes"],
        "`80` is no port: write protocol and port, such as `tcp/2379`",
        hint,
    );
    wrong(
        &["prune", "2379"],
        "`2379` is no port: write protocol and port",
        "did you mean `tcp/2379`?",
    );
}

#[test]
fn a_failsafe_is_tcp_or_udp() {
    for verb in ["prune", "restore"] {
        wrong(
            &[verb, "sctp/2379"],
            "`sctp/2379` cannot be a failsafe",
            "Felix's failsafes are TCP and UDP; an SCTP entry stops Felix on every node",
        );
    }
}

#[test]
fn server_names_that_make_no_label_or_object() {
    wrong(
        &["server", "Etcd", "--all-nodes"],
        "server name `Etcd` must not have upper-case letters",
        "use `etcd`",
    );
    wrong(
        &["grant", "my.etcd", "--all-nodes"],
        "server name `my.etcd` must not have `.` in it",
        "use `my-etcd`",
    );
    let long = "a".repeat(47);
    wrong(
        &["remove", &long],
        &format!("server name `{long}` is 1 character too long (at most 46)"),
        "use at most 46 of a-z, 0-9 and `-`, so that the label `protected-<name>-server` is not longer than 63",
    );
    for name in ["", "-x-", "a/b", "ä"] {
        let run = Cluster::example().refused(64, &["status", "--", name]);
        run.says("error: server name `").says("\nhint: use ");
    }
}

#[test]
fn selectors_that_do_not_parse_are_shown_with_the_place() {
    let cluster = Cluster::example();
    cluster.refuses(
        64,
        &["server", "etcd", "--node-selector", "role = \"master\""],
        &[
            "error: `role = \"master\"` is no selector: expected `==`, found a single `=`",
            "  role = \"master\"",
            "       ^",
            "hint: equality is written `==`",
        ],
    );
    cluster.refuses(
        64,
        &["grant", "etcd", "--node-selector", "has(a) && has(b"],
        &[
            "error: `has(a) && has(b` is no selector: `has(` is not closed",
            "  has(a) && has(b",
            "                 ^",
            "hint: selectors look like `has(role)`, `role == \"db\"`, `zone in {\"a\", \"b\"}`",
        ],
    );
    cluster
        .refused(
            64,
            &[
                "grant",
                "etcd",
                "--workload",
                "monitoring/app == prometheus",
            ],
        )
        .says("error: `app == prometheus` is no selector: ")
        .says("\n  app == prometheus\n         ^")
        .says("\nhint: ");
}

#[test]
fn an_empty_selector_is_an_unset_variable_and_not_all() {
    for text in ["", "  "] {
        wrong(
            &["server", "etcd", "--node-selector", text],
            "the selector is empty",
            "`all()` matches everything",
        );
    }
}

#[test]
fn networks_and_addresses_that_are_none() {
    wrong(
        &["grant", "etcd", "--net", "192.0.2.1/24"],
        "`192.0.2.1/24` has bits set behind its prefix; the network is `192.0.2.0/24`",
        "did you mean `192.0.2.0/24`?",
    );
    wrong(
        &["prune", "etcd", "--keep-net", "2001:db8::1/32"],
        "`2001:db8::1/32` has bits set behind its prefix; the network is `2001:db8::/32`",
        "did you mean `2001:db8::/32`?",
    );
    let networks = "networks are written `192.0.2.0/24` or `2001:db8::/32`";
    wrong(
        &["grant", "etcd", "--net", "192.0.2.0/33"],
        "`33` is no prefix length for `192.0.2.0`",
        networks,
    );
    wrong(
        &["revoke", "etcd", "--net", "office"],
        "`office` is no IP address",
        networks,
    );
    wrong(
        &["grant", "etcd", "--ip", "192.0.2.0/24"],
        "`192.0.2.0/24` is no IP address",
        "addresses are written `192.0.2.7` or `2001:db8::7`; networks go into `--net`",
    );
}

#[test]
fn nothing_is_meant() {
    wrong(
        &["server", "etcd"],
        "where does `etcd` run? no node and no workload is given",
        "add `--node NAME`, `--node-selector SELECTOR`, `--all-nodes` or `--workload NS/SELECTOR`",
    );
    let clients = "add `--node NAME`, `--all-nodes`, `--net CIDR`, `--net-set NAME` or `--workload NS/SELECTOR`";
    wrong(
        &["grant", "etcd"],
        "who is to be let in? no client of `etcd` is given",
        clients,
    );
    wrong(
        &["revoke", "etcd"],
        "who is to be shut out? no client of `etcd` is given",
        clients,
    );
}

#[test]
fn workloads_that_are_none() {
    wrong(
        &["grant", "etcd", "--workload", "monitoring"],
        "`monitoring` names no workload",
        "write namespace and selector: `monitoring/app == \"prometheus\"`",
    );
    wrong(
        &["grant", "etcd", "--workload", "shop/all()"],
        "no workload matches `shop/all()`",
        "there are no workloads in namespace `shop` here",
    );
    wrong(
        &[
            "grant",
            "etcd",
            "--workload",
            "monitoring/app == \"grafana\"",
        ],
        "no workload matches `monitoring/app == \"grafana\"`",
        "workloads of `monitoring` here: Deployment/monitoring/prometheus",
    );
}

#[test]
fn options_of_server_that_make_no_object() {
    for name in ["", "a/b", "a b", "sixteen-letters1"] {
        wrong(
            &[
                "server",
                "etcd",
                "--all-nodes",
                &format!("--interface={name}"),
            ],
            &format!("`{name}` is no name of an interface"),
            "interfaces are named with 1 to 15 letters, digits, `_`, `.` and `-`; `*` is all of them",
        );
    }
    for order in ["nan", "inf", "-inf"] {
        wrong(
            &["server", "etcd", "--all-nodes", &format!("--order={order}")],
            "the order is not a number",
            "policies run from the lowest order to the highest; the recipe's is `--order 500`",
        );
    }
    wrong(
        &["server", "etcd", "--all-nodes", "--tier", "My.Tier"],
        "`My.Tier` cannot name a tier: it must not have `.` in it",
        "tiers are named with a-z, 0-9 and `-`, such as `guard`",
    );
}

#[test]
fn without_a_terminal_nothing_is_asked_and_the_command_to_run_is_printed() {
    let cluster = Cluster::example();
    let arguments = [
        "grant",
        "etcd",
        "--workload",
        "monitoring/app == \"prometheus\"",
    ];
    let run = cluster.refused(64, &arguments);
    let program = env!("CARGO_BIN_EXE_calicoctl-protect");
    run.shows("allowed-etcd-client")
        .says("error: there is no terminal to ask on, and `--yes` is not given\n")
        .says(&format!(
            "hint: read the changes above, then run `{program} --manifests {FOLDER} grant etcd \
             --workload 'monitoring/app == \"prometheus\"' --yes`\n"
        ));
}

#[test]
fn a_place_for_new_objects_must_be_read_again() {
    let hint = "name a YAML file inside the folder of the manifests";
    wrong(
        &[
            "grant",
            "etcd",
            "--net",
            "192.0.2.0/24",
            "--into",
            "new.txt",
        ],
        "`cluster/new.txt` is no name for a YAML file",
        hint,
    );
    wrong(
        &[
            "grant",
            "etcd",
            "--net",
            "192.0.2.0/24",
            "--into",
            "../new.yaml",
        ],
        "the folder of `cluster/../new.yaml` is not there, or is outside the manifests",
        hint,
    );
}

#[test]
fn words_that_the_command_line_does_not_know() {
    for arguments in [
        &["frobnicate"][..],
        &["server"],
        &["server", "etcd", "--nod", "cp-1"],
        &["server", "etcd", "--order", "first"],
        &["server", "etcd", "-o", "xml"],
        &["prune"],
        &["prune", "etcd", "--direction", "up"],
        &["status", "--color", "purple"],
        &["status", "--calico-version", "newest"],
        &["completion", "tcsh"],
    ] {
        let run = Cluster::example().refused(64, arguments);
        run.shows_nothing().says("error: ").says("--help");
    }
}
