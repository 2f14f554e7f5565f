//! Certificates, users, rights, and the words for what is wrong with them.

use std::path::Path;

use calicoctl_protect::store::config::{EtcdConfig, Pem, Secret};
use calicoctl_protect::store::{Store, StoreError, StoreErrorKind, Wanted, Write};

use super::etcd_server::EtcdServer;
use super::etcd_server::certificates::{Ca, Certified, unwrapped};
use super::support::*;

fn inline(text: &str) -> Option<Pem> {
    Some(Pem::Inline(Secret::new(text)))
}

fn with_certificate(config: &EtcdConfig, certified: &Certified) -> EtcdConfig {
    EtcdConfig {
        cert: inline(&certified.certificate),
        key: inline(&certified.key),
        ..config.clone()
    }
}

fn with_user(config: &EtcdConfig, name: &str, password: &str) -> EtcdConfig {
    EtcdConfig {
        username: Some(name.into()),
        password: Some(Secret::new(password)),
        ..config.clone()
    }
}

async fn refusal(config: &EtcdConfig) -> StoreError {
    let error = open(config).await.unwrap_err();
    let all = format!("{error:?}");
    assert!(
        !all.contains("-secret") && !all.contains("PRIVATE KEY"),
        "{all}"
    );
    assert_eq!(error.message.lines().count(), 1);
    error
}

/// It can be read, and one object made and taken away.
async fn works(config: &EtcdConfig) {
    let mut store = open(config).await.unwrap();
    read(&mut store).await;
    write_all(&mut store, &[Write::Create(mk_hep("h"))]).await;
    let snapshot = read(&mut store).await;
    let delete = Write::Delete {
        id: hep("h"),
        revision: snapshot
            .stored(&hep("h"))
            .map(|stored| stored.revision.clone()),
    };
    write_all(&mut store, &[delete]).await;
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_its_ca() {
    let Some(mut server) = start_empty("v3.27.5").await else {
        return;
    };
    let ca = Ca::new("etcd-ca");
    server.restart_with_tls(&ca.server(), None).await;
    let config = EtcdConfig {
        ca: inline(&ca.pem()),
        ..mk_config(&server.url())
    };
    works(&config).await;
    // Without a scheme a configuration with certificates means TLS.
    let bare = EtcdConfig {
        endpoints: vec![format!("localhost:{}", server.port())],
        ..config.clone()
    };
    works(&bare).await;

    for other in [
        inline(&Ca::new("other").pem()),
        inline(&Ca::new("etcd-ca").pem()),
        None,
    ] {
        let error = refusal(&EtcdConfig {
            ca: other,
            ..config.clone()
        })
        .await;
        assert!(
            error.message.contains("signed by a CA that is not trusted"),
            "{error}"
        );
        assert!(error.hint.unwrap().contains("ETCD_CA_CERT_FILE"));
    }
    let plain = mk_config(&format!("http://127.0.0.1:{}", server.port()));
    let error = refusal(&plain).await;
    assert!(
        error.hint.unwrap().contains("https://"),
        "{}",
        error.message
    );

    server.restart_with_tls(&ca.expired_server(), None).await;
    let error = refusal(&config).await;
    assert!(error.message.contains("has expired"), "{error}");
    assert!(
        error
            .hint
            .unwrap()
            .contains("kubeadm certs renew etcd-server")
    );
    server
        .restart_with_tls(&ca.server_named("elsewhere.test"), None)
        .await;
    assert!(
        refusal(&config)
            .await
            .message
            .contains("made out for other names")
    );
    server.restart_plain().await;
    let error = refusal(&config).await;
    // It may hang up before it has said so.
    assert!(error.message.contains("not speak TLS"), "{error}");
    assert!(error.hint.unwrap().contains("http://"));
}

#[tokio::test]
async fn the_common_name_of_a_client_certificate_is_the_user() {
    let Some(mut server) = start_empty("v3.27.5").await else {
        return;
    };
    server.raw().turn_users_on().await;
    let ca = Ca::new("etcd-ca");
    server.restart_with_tls(&ca.server(), Some(&ca)).await;
    let config = EtcdConfig {
        ca: inline(&ca.pem()),
        ..mk_config(&server.url())
    };
    let error = refusal(&config).await;
    assert!(
        error.message.contains("want a client certificate"),
        "{error}"
    );
    let hint = error.hint.unwrap();
    assert!(hint.contains("ETCD_CERT_FILE") && hint.contains("ETCD_KEY_FILE"));

    let client = ca.client("calico");
    works(&with_certificate(&config, &client)).await;
    // Keys come in three forms.
    let sec1 = Certified {
        certificate: client.certificate.clone(),
        key: unwrapped(&client.key, "EC PRIVATE KEY"),
    };
    works(&with_certificate(&config, &sec1)).await;
    let rsa = ca.rsa_client("calico");
    works(&with_certificate(&config, &rsa)).await;
    let pkcs1 = Certified {
        certificate: rsa.certificate.clone(),
        key: unwrapped(&rsa.key, "RSA PRIVATE KEY"),
    };
    works(&with_certificate(&config, &pkcs1)).await;

    let error = refusal(&with_certificate(
        &config,
        &Ca::new("other").client("calico"),
    ))
    .await;
    assert!(error.message.contains("client certificate"), "{error}");
    let error = refusal(&with_certificate(&config, &ca.client("nobody"))).await;
    assert!(error.message.contains("may not access"), "{error}");
    assert!(
        error.message.contains("clusterinformations/default`"),
        "{error}"
    );
    let error = refusal(&with_certificate(&config, &ca.client("stranger"))).await;
    assert!(error.message.contains("user"), "{error}");
    // A password wins over the certificate.
    let both = with_user(
        &with_certificate(&config, &ca.client("nobody")),
        "calico",
        "calico-secret",
    );
    works(&both).await;
}

#[tokio::test]
async fn users_and_what_they_may_do() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    server.raw().turn_users_on().await;
    let config = mk_config(&server.url());
    works(&with_user(&config, "calico", "calico-secret")).await;

    let error = refusal(&with_user(&config, "calico", "wrong-secret")).await;
    let expected = "etcd refuses the password of etcd user `calico`, or there is no such user";
    assert_eq!(error.message, expected);
    assert!(error.hint.unwrap().contains("ETCD_PASSWORD"));
    assert_eq!(
        refusal(&with_user(&config, "calicO", "x-secret"))
            .await
            .kind,
        StoreErrorKind::Failed
    );
    let error = refusal(&config).await;
    assert_eq!(error.message, "etcd wants a user, and none is given");
    for name in ["nobody", "writer"] {
        let error = refusal(&with_user(&config, name, &format!("{name}-secret"))).await;
        let key = format!("{ROOT}clusterinformations/default");
        assert_eq!(
            error.message,
            format!("etcd user `{name}` may not access `{key}`")
        );
        assert!(error.hint.unwrap().contains("grant-permission"));
    }

    let mut reader = open(&with_user(&config, "reader", "reader-secret"))
        .await
        .unwrap();
    reader.read(&Wanted::everything()).await.unwrap();
    let (done, result) = write(&mut reader, &[Write::Create(mk_hep("h"))]).await;
    let error = result.unwrap_err();
    assert!(done.is_empty());
    let expected = format!("etcd user `reader` may not access `{ROOT}hostendpoints/h`");
    assert_eq!(error.message, expected);
}

#[tokio::test]
async fn an_etcd_without_users_does_not_mind_a_password() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    works(&with_user(&mk_config(&server.url()), "calico", "x-secret")).await;
    // As calicoctl, a name without a password is not used; it is said.
    let config = EtcdConfig {
        username: Some("calico".into()),
        ..mk_config(&server.url())
    };
    let snapshot = read(&mut open(&config).await.unwrap()).await;
    assert!(snapshot.warnings[0].contains("it has no password"));
}

#[tokio::test]
async fn a_login_that_runs_out_is_renewed() {
    let Some(mut server) = EtcdServer::start_with(&["--auth-token-ttl=1"]).await else {
        return;
    };
    load(&server, &basics("v3.27.5")).await;
    server.raw().turn_users_on().await;
    let config = with_user(&mk_config(&server.url()), "calico", "calico-secret");
    let mut store = open(&config).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    read(&mut store).await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    write_all(&mut store, &[Write::Create(mk_hep("h"))]).await;
    // A server that restarts has forgotten every login.
    server.stop();
    server.start_again().await;
    let snapshot = read(&mut store).await;
    assert!(snapshot.get(&hep("h")).is_some());
}

#[tokio::test]
async fn what_the_configuration_names_must_be_there_and_be_what_it_says() {
    let ca = Ca::new("etcd-ca");
    let client = ca.client("calico");
    let base = mk_config("https://127.0.0.1:1");
    let missing = Path::new("no/such/file.pem");
    for (config, words) in [
        (
            EtcdConfig {
                ca: Some(Pem::File(missing.into())),
                ..base.clone()
            },
            "cannot read the CA certificate for etcd, `no/such/file.pem`",
        ),
        (
            EtcdConfig {
                ca: inline("x"),
                ..base.clone()
            },
            "holds no PEM certificate",
        ),
        (
            EtcdConfig {
                cert: inline(&client.certificate),
                ..base.clone()
            },
            "without its key",
        ),
        (
            EtcdConfig {
                key: inline(&client.key),
                ..base.clone()
            },
            "without its certificate",
        ),
        (
            EtcdConfig {
                cert: inline(&client.certificate),
                key: inline("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n"),
                ..base.clone()
            },
            "holds no PEM private key",
        ),
        (
            EtcdConfig {
                cert: inline(&client.certificate),
                key: inline(
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
                ),
                ..base.clone()
            },
            "encrypted with a passphrase",
        ),
        (EtcdConfig::default(), "no etcd endpoints are given"),
    ] {
        let error = refusal(&config).await;
        assert_eq!(error.kind, StoreErrorKind::Usage);
        assert!(error.message.contains(words), "{error}");
    }
}
