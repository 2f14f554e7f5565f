//! Manifests that cannot be worked on: each with a clear message, a hint, the right exit code, and
//! no byte changed.

mod command;

use std::fs;

use command::{Cluster, Run};

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
fn no_folder_at_all_and_no_cluster() {
    let cluster = Cluster::example();
    let mut command = cluster.bare();
    command.args(["status"]);
    let run = Run::of(command);
    run.ended(64, &["status"]).shows_nothing();
    run.says("error: ").says("hint: ").says("`--manifests DIR`");
}

#[test]
fn broken_yaml_is_shown_with_its_place() {
    let cluster = Cluster::example();
    cluster.write(
        "hosts/broken.yaml",
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\n  metadata: {name: x}\n",
    );
    cluster.refuses(
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
    cluster.refuses(
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
    cluster.refuses(
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
    cluster.refuses(
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
    cluster.refuses(
        1,
        &SERVER,
        &[
            "error: FelixConfiguration/default is there twice: `copy.yaml:1` and `felix.yaml:1`",
            "hint: remove one of the two, or point `--manifests` at a folder that holds only one of them",
        ],
    );
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
        cluster.refuses(
            1,
            &[verb, "etcd", "--yes"],
            &[
                "error: FelixConfiguration/default: failsafe `{\"protocol\":\"SCTP\",\"port\":22}` stops Felix: Felix takes TCP and UDP only",
                "hint: Felix does not start with this entry, even where another layer decides: correct it first",
            ],
        );
    }
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
    cluster.refuses(
        1,
        &["grant", "etcd", "--net-set", "empty", "--yes"],
        &[
            "error: network set `empty` holds no addresses, so nothing would be let in",
            "hint: fill the set first, or name the networks: `--net CIDR`",
        ],
    );
    cluster.refuses(
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
    cluster.refuses(
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
    cluster.refuses(
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
    cluster.refuses(
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
    cluster.refuses(
        1,
        &["grant", "etcd", "--net", "203.0.113.0/24", "--yes"],
        &[
            "error: network set `allowed-etcd-client` is there without the label `allowed-etcd-client`",
            "hint: look at its addresses; `--net-set allowed-etcd-client` lets all of them in",
        ],
    );
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
