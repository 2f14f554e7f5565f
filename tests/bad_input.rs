//! Bad input: each with a clear message, a hint, the right exit code, and no byte changed.

#![expect(
    clippy::print_stdout,
    reason = "a test that cannot be run here says so"
)]

mod command;

use std::fs;
use std::process::Stdio;

use command::{Cluster, FOLDER, Run};

/// Checks a refusal whole: exit code, message, hint; nothing on standard output, no byte changed.
#[track_caller]
fn refused(cluster: &Cluster, code: i32, arguments: &[&str], lines: &[&str]) {
    let run = cluster.refused(code, arguments);
    run.shows_nothing().says_all(lines);
}

/// The same for usage errors on the sample cluster.
#[track_caller]
fn wrong(arguments: &[&str], message: &str, hint: &str) {
    let [message, hint] = [format!("error: {message}"), format!("hint: {hint}")];
    refused(&Cluster::example(), 64, arguments, &[&message, &hint]);
}

const SERVER: [&str; 4] = ["server", "etcd", "--all-nodes", "--yes"];

#[test]
fn no_such_folder() {
    let cluster = Cluster::example();
    let mut command = cluster.bare();
    command.args(["--manifests", "nowhere", "status"]);
    Run::of(command)
        .ended(64, &["nowhere"])
        .shows_nothing()
        .says_all(&[
            "error: no such file or folder: `nowhere`",
            "hint: give `--manifests` a folder of YAML files, or one file",
        ]);
}

#[test]
fn no_folder_at_all() {
    let cluster = Cluster::example();
    let mut command = cluster.bare();
    command.args(["status"]);
    let run = Run::of(command);
    run.ended(64, &["status"]).shows_nothing();
    run.says("error: no datastore is given\nhint: name a folder of manifests: `--manifests DIR`\n");
}

#[test]
fn broken_yaml_is_shown_with_its_place() {
    let cluster = Cluster::example();
    cluster.write(
        "hosts/broken.yaml",
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\n  metadata: {name: x}\n",
    );
    refused(
        &cluster,
        1,
        &SERVER,
        &[
            "error: cannot read `hosts/broken.yaml`: mapping values are not allowed in this context",
            "   --> hosts/broken.yaml:3:11",
            "    |",
            "  3 |   metadata: {name: x}",
            "    |           ^",
            "hint: point `--manifests` at a folder without this file, or give the file a hidden name",
        ],
    );
}

#[test]
fn broken_json_is_shown_with_its_place() {
    let cluster = Cluster::example();
    cluster.write(
        "broken.json",
        "{\"kind\": \"HostEndpoint\",\n \"metadata\": }\n",
    );
    refused(
        &cluster,
        1,
        &SERVER,
        &[
            "error: cannot read `broken.json`: expected value",
            "   --> broken.json:2:14",
            "    |",
            "  2 |  \"metadata\": }",
            "    |              ^",
            "hint: point `--manifests` at a folder without this file, or give the file a hidden name",
        ],
    );
}

#[test]
fn a_template_has_to_be_rendered_first() {
    for (text, place) in [
        (
            "kind: HostEndpoint\nmetadata:\n  name: {{ .Values.name }}\n",
            "helm.yaml:3:",
        ),
        (
            "{{- if .Values.on }}\nkind: HostEndpoint\n{{- end }}\n",
            "helm.yaml:1:",
        ),
    ] {
        let cluster = Cluster::example();
        cluster.write("helm.yaml", text);
        let run = cluster.refused(1, &SERVER);
        run.says("error: cannot read `helm.yaml`: ")
            .says(place)
            .says("hint: a template has to be rendered first");
    }
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let cluster = Cluster::example();
    cluster.write("latin.yaml", b"# caf\xe9\n");
    refused(
        &cluster,
        1,
        &SERVER,
        &[
            "error: cannot read `latin.yaml`: not UTF-8 text at latin.yaml:1:6",
            "hint: point `--manifests` at a folder without this file, or give the file a hidden name",
        ],
    );
}

#[test]
fn a_bomb_of_aliases_does_not_go_off() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, now) in ('a'..'p').zip('b'..='p') {
        let many = vec![format!("*{before}"); 9].join(", ");
        bomb.push_str(&format!("{now}: &{now} [{many}]\n"));
    }
    let cluster = Cluster::example();
    cluster.write("bomb.yaml", &bomb);
    let began = std::time::Instant::now();
    let run = cluster.refused(1, &SERVER);
    run.says("error: cannot read `bomb.yaml`: ").says("hint: ");
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn nesting_has_an_end() {
    for text in [
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        "- ".repeat(50_000),
    ] {
        let cluster = Cluster::example();
        cluster.write("deep.yaml", &text);
        cluster
            .refused(1, &SERVER)
            .says("error: cannot read `deep.yaml`: ")
            .says("hint: ");
    }
}

#[test]
fn a_document_beyond_ten_megabytes_is_not_read() {
    let cluster = Cluster::example();
    cluster.write("big.yaml", format!("data: \"{}\"\n", "x".repeat(10 << 20)));
    refused(
        &cluster,
        1,
        &SERVER,
        &[
            "error: the document at `big.yaml:1` is larger than 10 MB",
            "hint: calicoctl takes no larger document either: cut it with lines `---`",
        ],
    );
}

#[test]
fn a_file_of_a_hundred_megabytes_is_not_read() {
    let cluster = Cluster::example();
    cluster.write("huge.yaml", "");
    let file = fs::File::options()
        .write(true)
        .open(cluster.path().join("huge.yaml"));
    let sized = file.and_then(|file| file.set_len(100 << 20));
    assert!(sized.is_ok(), "{sized:?}");
    let run = cluster.run(&SERVER);
    run.ended(1, &SERVER).shows_nothing().says_all(&[
        "error: `huge.yaml` is larger than 64 MB",
        "hint: point `--manifests` at a folder without this file, or give the file a hidden name",
    ]);
}

#[test]
fn an_object_twice_is_told_with_both_places() {
    let cluster = Cluster::example();
    cluster.write("copy.yaml", cluster.read("felix.yaml"));
    refused(
        &cluster,
        1,
        &SERVER,
        &[
            "error: FelixConfiguration/default is there twice: `copy.yaml:1` and `felix.yaml:1`",
            "hint: remove one of the two, or point `--manifests` at a folder that holds only one of them",
        ],
    );
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
    refused(
        &cluster,
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
fn a_failsafe_list_that_stops_felix_is_not_built_upon() {
    let cluster = Cluster::example();
    let felix = cluster.read("felix.yaml");
    cluster.write(
        "felix.yaml",
        format!("{felix}  failsafeInboundHostPorts: [{{protocol: SCTP, port: 22}}]\n"),
    );
    for verb in ["prune", "restore"] {
        refused(
            &cluster,
            1,
            &[verb, "etcd", "--yes"],
            &[
                "error: FelixConfiguration/default: failsafe `{\"protocol\":\"SCTP\",\"port\":22}` stops Felix: Felix takes TCP and UDP only",
                "hint: Felix does not start with this entry, even where another layer decides: correct it first",
            ],
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
    refused(
        &cluster,
        64,
        &["server", "etcd", "--node-selector", "role = \"master\""],
        &[
            "error: `role = \"master\"` is no selector: expected `==`, found a single `=`",
            "  role = \"master\"",
            "       ^",
            "hint: equality is written `==`",
        ],
    );
    refused(
        &cluster,
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

/// The sample cluster with one more file.
fn with(text: &str) -> Cluster {
    let cluster = Cluster::example();
    cluster.write("more.yaml", text);
    cluster
}

#[test]
fn an_empty_set_lets_nobody_in() {
    let cluster = with(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: empty}\nspec: {nets: []}\n",
    );
    refused(
        &cluster,
        1,
        &["grant", "etcd", "--net-set", "empty", "--yes"],
        &[
            "error: network set `empty` holds no addresses, so nothing would be let in",
            "hint: fill the set first, or name the networks: `--net CIDR`",
        ],
    );
    refused(
        &cluster,
        64,
        &["grant", "etcd", "--net-set", "offices", "--yes"],
        &[
            "error: unknown network set `offices`",
            "hint: global network sets here: empty",
        ],
    );
}

#[test]
fn a_client_without_address_is_not_let_in() {
    let cluster = with(
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: ghost-eth0}\nspec: {node: ghost, interfaceName: eth0}\n",
    );
    refused(
        &cluster,
        1,
        &["grant", "etcd", "--node", "ghost", "--yes"],
        &[
            "error: no address of node `ghost` is known, so nothing would be let in",
            "hint: name its addresses: `--ip ADDRESS` or `--net CIDR`",
        ],
    );
}

#[test]
fn two_host_endpoints_for_one_interface() {
    let cluster = with(
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: cp-1-zz}\nspec: {node: cp-1, interfaceName: '*'}\n",
    );
    refused(
        &cluster,
        1,
        &["server", "etcd", "--node", "cp-1", "--yes"],
        &[
            "error: two host endpoints for interface `*` of node `cp-1`: `cp-1-all` and `cp-1-zz`",
            "hint: Felix takes `cp-1-all`, the first by name, and ignores the other: delete one of them",
        ],
    );
}

#[test]
fn a_policy_of_somebody_elses_is_shown_and_not_overwritten_unasked() {
    let cluster = with(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: protected-etcd-server}\n\
         spec: {selector: \"role == 'control-plane'\", order: 10, types: [Ingress], ingress: [{action: Allow}]}\n",
    );
    let server = ["server", "etcd", "--node", "cp-1", "--yes"];
    refused(
        &cluster,
        1,
        &server,
        &[
            "error: policy `protected-etcd-server` is there with other content, and calicoctl-protect did not make it",
            "  GlobalNetworkPolicy/protected-etcd-server, more.yaml:1:",
            "    spec:",
            "      selector: role == 'control-plane'",
            "      order: 10",
            "      types:",
            "      - Ingress",
            "      ingress:",
            "      - action: Allow",
            "hint: look at it; `--overwrite` puts the recipe's policy in its place",
        ],
    );
    let overwritten = cluster.does(&[&server[..], &["--overwrite"]].concat());
    overwritten
        .shows("~ GlobalNetworkPolicy/protected-etcd-server  more.yaml:1")
        .shows("-  selector: role == 'control-plane'")
        .shows("+  selector: protected-etcd-server == \"true\"");
    cluster.refused(0, &server).says("nothing to do");
}

#[test]
fn a_set_of_somebody_elses_is_not_filled() {
    let cluster = with(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: allowed-etcd-client}\nspec: {nets: [192.0.2.0/24]}\n",
    );
    refused(
        &cluster,
        1,
        &["grant", "etcd", "--net", "203.0.113.0/24", "--yes"],
        &[
            "error: network set `allowed-etcd-client` is there without the label `allowed-etcd-client`",
            "hint: look at its addresses; `--net-set allowed-etcd-client` lets all of them in",
        ],
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

/// The program as somebody who may not do everything: as another user, where the tests run as
/// root. `None` where that cannot be had.
fn unprivileged(cluster: &Cluster) -> Option<std::process::Command> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let home = cluster.home();
    let mut command = cluster.bare();
    if fs::metadata(home).ok()?.uid() == 0 {
        use std::os::unix::process::CommandExt as _;
        fs::set_permissions(home, fs::Permissions::from_mode(0o755)).ok()?;
        command.uid(65_534).gid(65_534);
        let mut probe = cluster.bare();
        probe.arg("version").uid(65_534).gid(65_534);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            println!("skipped: this machine lets root be nobody else");
            return None;
        }
    }
    command.args(["--manifests", FOLDER]);
    Some(command)
}

fn chmod(cluster: &Cluster, name: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = cluster.path().join(name);
    let changed = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    assert!(changed.is_ok(), "{changed:?}");
}

#[test]
fn a_file_that_may_not_be_read() {
    let cluster = Cluster::example();
    chmod(&cluster, "felix.yaml", 0o000);
    let Some(mut command) = unprivileged(&cluster) else {
        return;
    };
    command.args(SERVER);
    let run = Run::of(command);
    chmod(&cluster, "felix.yaml", 0o644);
    run.ended(1, &SERVER).shows_nothing().says_all(&[
        "error: cannot read `felix.yaml`: permission denied",
        "hint: check that the file can be read by this user",
    ]);
}

#[test]
fn a_folder_that_may_not_be_written_to() {
    let cluster = Cluster::example();
    chmod(&cluster, "", 0o555);
    chmod(&cluster, "hosts", 0o555);
    let before = cluster.tree();
    let Some(mut command) = unprivileged(&cluster) else {
        return;
    };
    command.args(["grant", "etcd", "--all-nodes", "--yes"]);
    let run = Run::of(command);
    cluster.tree().assert_untouched(&before, &["grant"]);
    chmod(&cluster, "", 0o755);
    chmod(&cluster, "hosts", 0o755);
    run.ended(1, &["grant"])
        .says("error: cannot write `")
        .says(": permission denied\n")
        .says("hint: check that this user may write into the folder of the file\n");
}

/// The command under a limit on the size of files, in blocks of 512 bytes: what a full disk is
/// like, on any machine.
fn on_a_full_disk(cluster: &Cluster, blocks: u32, arguments: &[&str]) -> Run {
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
            "sh",
        ])
        .arg(blocks.to_string())
        .arg(env!("CARGO_BIN_EXE_calicoctl-protect"))
        .args(["--manifests", FOLDER])
        .args(arguments)
        .current_dir(cluster.home())
        .env_clear()
        .stdin(Stdio::null());
    Run::of(shell)
}

#[test]
fn a_disk_that_is_full_from_the_start() {
    let cluster = Cluster::example();
    let before = cluster.tree();
    let arguments = ["grant", "etcd", "--all-nodes", "--yes"];
    let run = on_a_full_disk(&cluster, 0, &arguments);
    run.ended(1, &arguments)
        .says("error: cannot write `")
        .says("hint: the file is as it was; ");
    cluster.tree().assert_untouched(&before, &arguments);
}

#[test]
fn a_disk_that_fills_half_way_leaves_no_half_file() {
    let cluster = Cluster::example();
    let mut long = cluster.read("hosts/control-plane.yaml");
    long.push_str(&"# a long story\n".repeat(400));
    cluster.write("hosts/control-plane.yaml", &long);
    let arguments = ["server", "felix-metrics", "--node", "cp-1", "--yes"];
    let run = on_a_full_disk(&cluster, 4, &arguments);
    run.ended(6, &arguments)
        .says("error: 3 of 4 steps were written, then: cannot write `hosts/control-plane.yaml`: ")
        .says("  not written: ~ HostEndpoint/cp-1-all\n")
        .says("hint: ")
        .says("run the same command again to go on");
    assert_eq!(cluster.read("hosts/control-plane.yaml"), long);
    assert!(
        cluster
            .tree()
            .names()
            .iter()
            .all(|name| !name.contains("/.") && !name.starts_with('.'))
    );
    // With room again the same command ends what it began.
    cluster.does(&arguments).says("done: 1 change written");
    cluster.refused(0, &arguments).says("nothing to do");
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let cluster = Cluster::example();
    for arguments in [
        &[
            "server",
            "etcd",
            "--all-nodes",
            "--dry-run",
            "--grant-needed",
        ][..],
        &["completion", "bash"],
        &["--help"],
    ] {
        let mut command = cluster.command(arguments);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            assert!(child.is_ok(), "{child:?}");
            return;
        };
        drop(child.stdout.take());
        let Ok(output) = child.wait_with_output() else {
            continue;
        };
        let run = Run::from(output);
        run.ended(0, arguments).silent_about("error");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let cluster = Cluster::example();
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else {
        println!("skipped: there is no /dev/full here");
        return;
    };
    let mut command = cluster.command(&["status", "etcd"]);
    let output = command.stdout(full).stderr(Stdio::piped()).spawn();
    let run = output
        .and_then(std::process::Child::wait_with_output)
        .map(Run::from);
    assert!(run.is_ok(), "{run:?}");
    if let Ok(run) = run {
        run.ended(1, &["status"])
            .says("error: cannot write to standard output: ");
    }
}

#[test]
fn a_dry_run_tells_by_its_exit_code_whether_something_is_to_be_done() {
    let cluster = Cluster::example();
    let grant = ["grant", "etcd", "--all-nodes"];
    let look = [&grant[..], &["--dry-run", "--detailed-exitcode"]].concat();
    cluster
        .refused(2, &look)
        .says("dry run: nothing was written");
    cluster.refused(0, &[&grant[..], &["--dry-run"]].concat());
    cluster.does(&[&grant[..], &["--yes"]].concat());
    cluster.refused(0, &look).says("nothing to do");
}

#[test]
fn what_lies_about_in_a_folder_is_left_alone() {
    let cluster = Cluster::example();
    cluster.write("folder.yaml/inner.yaml", "kind: Nothing\n");
    cluster.write("notes.txt", "kind: HostEndpoint\n");
    cluster.write(".hidden.yaml", "broken: [\n");
    cluster.write("empty.yaml", "");
    cluster.write("comment.yaml", "# nothing\n");
    let linked = std::os::unix::fs::symlink("/etc/hostname", cluster.path().join("out.yaml"));
    assert!(linked.is_ok());
    cluster.refused(0, &["status"]).says_all(&[
        "warning: `out.yaml` is a symbolic link out of the folder; it was not followed",
        "no server is protected here",
    ]);
}
