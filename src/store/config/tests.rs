use super::*;

fn env(pairs: &[(&str, &str)]) -> Environment {
    let pairs = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    pairs.collect()
}

fn from_env(pairs: &[(&str, &str)]) -> Result<Settings, StoreError> {
    from_environment(&Options::default(), &env(pairs))
}

fn in_file(spec: &str) -> Result<Settings, StoreError> {
    let text = format!(
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n{spec}"
    );
    from_file(&text, Path::new("x.cfg"), &Options::default(), &env(&[]))
}

fn etcd_of(settings: Result<Settings, StoreError>) -> EtcdConfig {
    match settings.unwrap().connection {
        Connection::Etcd(config) => *config,
        Connection::Kubernetes(_) => panic!("not etcd"),
    }
}

fn kubernetes_of(settings: Result<Settings, StoreError>) -> KubernetesConfig {
    match settings.unwrap().connection {
        Connection::Kubernetes(config) => *config,
        Connection::Etcd(_) => panic!("not Kubernetes"),
    }
}

fn message(settings: Result<Settings, StoreError>) -> String {
    let error = settings.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Usage);
    error.message
}

#[test]
fn the_datastore_is_etcd_when_endpoints_are_set_and_kubernetes_otherwise() {
    assert_eq!(kubernetes_of(from_env(&[])), KubernetesConfig::default());
    assert_eq!(
        etcd_of(from_env(&[("ETCD_ENDPOINTS", "http://a:2379")])).endpoints,
        ["http://a:2379"]
    );
    let both = [
        ("DATASTORE_TYPE", "kubernetes"),
        ("ETCD_ENDPOINTS", "http://a:2379"),
    ];
    kubernetes_of(from_env(&both));
    assert_eq!(
        etcd_of(in_file("  etcdEndpoints: \"http://a:1 , https://b:2\"")).endpoints,
        ["http://a:1", "https://b:2"]
    );
    kubernetes_of(in_file("  datastoreType: kubernetes"));
    for wrong in ["etcd", "Kubernetes", "etcdv2"] {
        let error = message(from_env(&[("DATASTORE_TYPE", wrong)]));
        assert_eq!(
            error,
            format!("`DATASTORE_TYPE` is `{wrong}`, which is no datastore")
        );
    }
}

#[test]
fn discovery_alone_does_not_choose_etcd_and_a_warning_says_so() {
    let settings = from_env(&[("ETCD_DISCOVERY_SRV", "example.org")]).unwrap();
    assert!(matches!(settings.connection, Connection::Kubernetes(_)));
    assert_eq!(
        settings.warnings,
        [
            "the datastore is `kubernetes`, so these settings are not used, as by calicoctl: \
          `ETCD_DISCOVERY_SRV`"
        ]
    );
}

#[test]
fn every_setting_of_etcd_is_read_from_the_environment() {
    let config = etcd_of(from_env(&[
        ("DATASTORE_TYPE", "etcdv3"),
        ("ETCD_DISCOVERY_SRV", "example.org"),
        ("ETCD_USERNAME", "calico"),
        ("ETCD_PASSWORD", "hunter2"),
        ("ETCD_KEY_FILE", "/k"),
        ("ETCD_CERT_FILE", "/c"),
        ("ETCD_CA_CERT_FILE", "/ca"),
    ]));
    assert_eq!(
        config,
        EtcdConfig {
            endpoints: Vec::new(),
            discovery_srv: Some("example.org".into()),
            username: Some("calico".into()),
            password: Some(Secret::new("hunter2")),
            ca: Some(Pem::File("/ca".into())),
            cert: Some(Pem::File("/c".into())),
            key: Some(Pem::File("/k".into())),
        }
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn certificates_of_etcd_may_stand_in_the_file() {
    let config = etcd_of(in_file(
        "  etcdEndpoints: https://a:1\n  etcdKey: K\n  etcdCert: C\n  etcdCACert: A\n  etcdPassword: 12345",
    ));
    assert_eq!(config.key, Some(Pem::Inline(Secret::new("K"))));
    assert_eq!(config.cert, Some(Pem::Inline(Secret::new("C"))));
    assert_eq!(config.ca, Some(Pem::Inline(Secret::new("A"))));
    assert_eq!(config.password, Some(Secret::new("12345")));
    let both = in_file("  etcdEndpoints: https://a:1\n  etcdKey: K\n  etcdCertFile: /c");
    assert!(message(both).starts_with("`spec.etcdCertFile` and `spec.etcdKey` exclude each other"));
    // Inline forms have no variable.
    let settings = from_env(&[("ETCD_ENDPOINTS", "http://a:1"), ("ETCD_KEY", "K")]).unwrap();
    assert_eq!(
        settings.warnings,
        ["`ETCD_KEY` is not read, as by calicoctl; `ETCD_KEY_FILE` is"]
    );
}

#[test]
fn endpoints_and_discovery_exclude_each_other_and_one_is_needed() {
    let both = [
        ("ETCD_ENDPOINTS", "http://a:1"),
        ("ETCD_DISCOVERY_SRV", "b"),
    ];
    assert_eq!(
        message(from_env(&both)),
        "`ETCD_ENDPOINTS` and `ETCD_DISCOVERY_SRV` exclude each other"
    );
    assert_eq!(
        message(from_env(&[("DATASTORE_TYPE", "etcdv3")])),
        "the datastore is `etcdv3`, but no endpoints are given"
    );
}

#[test]
fn every_setting_of_kubernetes_is_read_from_the_environment() {
    let config = kubernetes_of(from_env(&[
        ("KUBECONFIG", "/a:/b::"),
        ("K8S_API_ENDPOINT", "https://api:6443"),
        ("K8S_KEY_FILE", "/k"),
        ("K8S_CERT_FILE", "/c"),
        ("K8S_CA_FILE", "/ca"),
        ("CALICO_K8SAPITOKEN", "t0ken"),
        ("K8S_INSECURE_SKIP_TLS_VERIFY", "T"),
        ("K8S_DISABLE_NODE_POLL", "true"),
        ("USE_POD_CIDR", "1"),
        ("K8S_CURRENT_CONTEXT", "prod"),
        ("K8S_CLIENT_QPS", "25"),
        ("K8S_CLIENT_BURST", "50"),
        ("CALICO_API_GROUP", "ProjectCalico.org/V3"),
    ]));
    let expected = KubernetesConfig {
        kubeconfig: Kubeconfig::Files(vec!["/a".into(), "/b".into()]),
        context: Some("prod".into()),
        endpoint: Some("https://api:6443".into()),
        key_file: Some("/k".into()),
        cert_file: Some("/c".into()),
        ca_file: Some("/ca".into()),
        token: Some(Secret::new("t0ken")),
        insecure: true,
        api_group: Some(ApiGroup::V3),
        qps: Some(25.0),
        burst: Some(50.0),
    };
    assert_eq!(config, expected);
    assert!(!format!("{config:?}").contains("t0ken"));
}

#[test]
fn every_setting_of_kubernetes_is_read_from_the_file() {
    let config = kubernetes_of(in_file(
        "  kubeconfig: /a\n  k8sAPIEndpoint: https://api:6443\n  k8sKeyFile: /k\n  k8sCertFile: /c
  k8sCAFile: /ca\n  k8sAPIToken: t0ken\n  k8sInsecureSkipTLSVerify: yes\n  k8sDisableNodePoll: true
  usePodCIDR: false\n  k8sCurrentContext: prod\n  k8sClientQPS: 2.5\n  k8sClientBurst: 5
  calicoAPIGroup: crd.projectcalico.org/v1",
    ));
    let expected = KubernetesConfig {
        kubeconfig: Kubeconfig::Files(vec!["/a".into()]),
        context: Some("prod".into()),
        endpoint: Some("https://api:6443".into()),
        key_file: Some("/k".into()),
        cert_file: Some("/c".into()),
        ca_file: Some("/ca".into()),
        token: Some(Secret::new("t0ken")),
        insecure: true,
        api_group: Some(ApiGroup::CrdV1),
        qps: Some(2.5),
        burst: Some(5.0),
    };
    assert_eq!(config, expected);
    let inline = kubernetes_of(in_file("  kubeconfigInline: 'users: []'"));
    assert_eq!(
        inline.kubeconfig,
        Kubeconfig::Inline(Secret::new("users: []"))
    );
}

#[test]
fn without_a_kubeconfig_the_home_folder_is_looked_into() {
    let home = kubernetes_of(from_env(&[("HOME", "/home/x")]));
    assert_eq!(
        home.kubeconfig,
        Kubeconfig::Home("/home/x/.kube/config".into())
    );
    // KUBECONFIG set to nothing is as good as unset.
    let empty = kubernetes_of(from_env(&[("KUBECONFIG", "")]));
    assert_eq!(empty.kubeconfig, Kubeconfig::InCluster);
}

#[test]
fn a_variable_with_the_prefix_wins() {
    let settings = from_env(&[
        ("DATASTORE_TYPE", "kubernetes"),
        ("CALICO_DATASTORE_TYPE", "etcdv3"),
        ("CALICO_ETCD_ENDPOINTS", "http://a:1"),
    ]);
    assert_eq!(
        settings.clone().unwrap().warnings,
        [
            "`CALICO_DATASTORE_TYPE` and `DATASTORE_TYPE` differ: `CALICO_DATASTORE_TYPE` counts, \
          as for calicoctl"
        ]
    );
    assert_eq!(etcd_of(settings).endpoints, ["http://a:1"]);
    // Set to nothing it still hides the other.
    let hidden = [("CALICO_KUBECONFIG", ""), ("KUBECONFIG", "/a")];
    assert_eq!(
        kubernetes_of(from_env(&hidden)).kubeconfig,
        Kubeconfig::InCluster
    );
}

#[test]
fn the_token_has_one_variable_only() {
    let settings = from_env(&[("K8S_API_TOKEN", "t0ken")]).unwrap();
    assert_eq!(
        settings.warnings,
        ["`K8S_API_TOKEN` is not read, as by calicoctl; `CALICO_K8SAPITOKEN` is"]
    );
    assert_eq!(kubernetes_of(Ok(settings)).token, None);
}

#[test]
fn a_boolean_that_is_none_is_an_error_and_so_is_an_empty_one() {
    for name in [
        "K8S_INSECURE_SKIP_TLS_VERIFY",
        "K8S_DISABLE_NODE_POLL",
        "USE_POD_CIDR",
    ] {
        for value in ["", "yes", "2", "tRUE"] {
            assert_eq!(
                message(from_env(&[(name, value)])),
                format!("`{name}` is `{value}`, which is neither true nor false")
            );
        }
    }
    assert_eq!(
        message(from_env(&[("K8S_CLIENT_QPS", "many")])),
        "`K8S_CLIENT_QPS` is `many`, which is no number"
    );
    assert!(message(in_file("  usePodCIDR: 7")).ends_with("`spec.usePodCIDR` has a wrong type"));
}

#[test]
fn a_file_must_be_of_the_right_kind_and_have_no_unknown_fields() {
    let read = |text: &str| from_file(text, Path::new("x.cfg"), &Options::default(), &env(&[]));
    let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\n";
    read(head).unwrap();
    read(&format!(
        "\u{feff}{head}spec:\n  DATASTORETYPE: kubernetes\n"
    ))
    .unwrap();
    read(r#"{"apiVersion":"projectcalico.org/v3","kind":"CalicoAPIConfig","spec":{}}"#).unwrap();
    for (text, says) in [
        ("", "not an object of kind `CalicoAPIConfig`"),
        (
            "kind: CalicoAPIConfig",
            "not an object of kind `CalicoAPIConfig` of `projectcalico.org/v3`",
        ),
        ("kind: [", "no valid YAML or JSON (line 2, column 1)"),
        (&format!("{head}colour: red"), "unknown field `colour`"),
        (
            &format!("{head}spec:\n  etcdColour: red"),
            "unknown field `spec.etcdColour`",
        ),
        (&format!("{head}spec: 7"), "`spec` is no map"),
        (
            &format!("{head}spec:\n  etcdPassword: [s3cret]"),
            "`spec.etcdPassword` has a wrong type",
        ),
    ] {
        let error = message(read(text));
        assert_eq!(
            error,
            format!("configuration file `x.cfg`: {says}"),
            "{text}"
        );
        assert!(!error.contains("s3cret"));
    }
}

#[test]
fn beside_a_file_the_environment_is_not_read_but_named() {
    let options = Options {
        context: Some("mine".into()),
        ..Options::default()
    };
    let text = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec: {k8sCurrentContext: theirs}";
    let vars = env(&[
        ("KUBECONFIG", "/a"),
        ("HOME", "/h"),
        ("K8S_API_TOKEN", "t0ken"),
    ]);
    let settings = from_file(text, Path::new("x.cfg"), &options, &vars).unwrap();
    assert_eq!(
        settings.warnings,
        [
            "configuration file `x.cfg` is used, so the environment is not read, as by calicoctl: \
             `K8S_API_TOKEN`, `KUBECONFIG`",
            "`--context` is used here, but calicoctl ignores it beside a configuration file (`x.cfg`)",
        ]
    );
    let config = kubernetes_of(Ok(settings));
    assert_eq!(config.context.as_deref(), Some("mine"));
    assert_eq!(
        config.kubeconfig,
        Kubeconfig::Home("/h/.kube/config".into())
    );
}

#[test]
fn options_go_before_everything_and_are_never_dropped() {
    let options = Options {
        config: None,
        kubeconfig: Some("/mine".into()),
        context: Some("c".into()),
    };
    let vars = env(&[("KUBECONFIG", "/a"), ("K8S_CURRENT_CONTEXT", "d")]);
    let config = kubernetes_of(from_environment(&options, &vars));
    assert_eq!(config.kubeconfig, Kubeconfig::Files(vec!["/mine".into()]));
    assert_eq!(config.context.as_deref(), Some("c"));
    let etcd = env(&[("ETCD_ENDPOINTS", "http://a:1")]);
    assert_eq!(
        message(from_environment(&options, &etcd)),
        "`--kubeconfig` is given, but the configured datastore is `etcdv3`"
    );
}

#[test]
fn kubernetes_settings_beside_etcd_are_named_unless_plainly_meant_for_others() {
    let vars = [("ETCD_ENDPOINTS", "http://a:1"), ("KUBECONFIG", "/a")];
    assert_eq!(
        from_env(&vars).unwrap().warnings,
        [
            "the datastore is `etcdv3`, so these settings are not used, as by calicoctl: `KUBECONFIG`"
        ]
    );
    let chosen = [vars[0], vars[1], ("DATASTORE_TYPE", "etcdv3")];
    assert!(from_env(&chosen).unwrap().warnings.is_empty());
}

#[test]
fn a_named_file_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calicoctl.cfg");
    let options = Options {
        config: Some(path.clone()),
        ..Options::default()
    };
    assert!(message(load(&options, &env(&[]))).contains("cannot be read"));
    let text = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec: {etcdEndpoints: 'http://a:1'}";
    std::fs::write(&path, text).unwrap();
    etcd_of(load(&options, &env(&[])));
}
