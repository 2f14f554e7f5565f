//! Ways to the server, and what is said when one does not lead there.

use std::fs;
use std::time::Duration;

use calicoctl_protect::store::Store;
use calicoctl_protect::store::config::KubernetesConfig;
use calicoctl_protect::store::kubernetes::{KubernetesStore, Limits};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::double::{Double, Fault, Shape, When};
use crate::support::*;

#[tokio::test]
async fn plain_http_and_http_1_work() {
    let double = Double::builder(Shape::NativeV3).plain().start();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(try_read(config(double.kubeconfig(dir.path()))).await, Ok(0));
    let double = Double::builder(Shape::NativeV3).http1().start();
    assert_eq!(try_read(config(double.kubeconfig(dir.path()))).await, Ok(0));
}

#[tokio::test]
async fn an_expired_certificate_is_called_that() {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    fs::write(&ca, certificate.pem()).unwrap();
    let error = try_read(KubernetesConfig {
        endpoint: Some(format!("https://{address}")),
        ca_file: Some(ca),
        ..KubernetesConfig::default()
    })
    .await
    .unwrap_err();
    assert_eq!(
        error.message,
        format!("the certificate of `https://{address}` has expired")
    );
    assert!(error.hint.unwrap().contains("clock"));
}

#[tokio::test]
async fn the_name_in_the_certificate_may_be_another_than_in_the_url() {
    let (double, dir) = mk_double();
    let port = double.url().rsplit(':').next().unwrap().to_owned();
    // The certificate is for `localhost` and 127.0.0.1, not for 127.0.0.2.
    let forward = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    let address = forward.local_addr().unwrap();
    tokio::spawn(relay(forward, format!("127.0.0.1:{port}")));
    let path = mk_kubeconfig(&double, &dir, |v| {
        v["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
    });
    let error = try_read(config(&path)).await.unwrap_err();
    assert!(
        error.message.ends_with("is for other names"),
        "{}",
        error.message
    );
    assert!(error.hint.unwrap().contains("tls-server-name"));
    let path = mk_kubeconfig(&double, &dir, |v| {
        v["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
        v["clusters"][0]["cluster"]["tls-server-name"] = json!("localhost");
    });
    assert_eq!(try_read(config(&path)).await, Ok(1));
}

async fn relay(listener: TcpListener, to: String) {
    while let Ok((mut from, _)) = listener.accept().await {
        let to = to.clone();
        tokio::spawn(async move {
            let mut to = TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

/// A proxy that answers CONNECT with a status and, when that is good, goes through.
async fn proxy(listener: TcpListener, status: &'static str) {
    while let Ok((mut from, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = from.read_u8().await else {
                    return;
                };
                head.push(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let to = head.split(' ').nth(1).unwrap().to_owned();
            let answer = format!("HTTP/1.1 {status}\r\n\r\n");
            let _ = from.write_all(answer.as_bytes()).await;
            if status.starts_with("200")
                && let Ok(mut to) = TcpStream::connect(to).await
            {
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

#[tokio::test]
async fn the_proxy_of_the_kubeconfig_is_used_and_its_refusal_is_told() {
    let (double, dir) = mk_double();
    for (status, hint) in [
        ("200 OK", None),
        ("403 Forbidden", Some("check `proxy-url` of the kubeconfig")),
        (
            "407 Proxy Authentication Required",
            Some("the proxy wants a user and a password"),
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(proxy(listener, status));
        let path = mk_kubeconfig(&double, &dir, |v| {
            v["clusters"][0]["cluster"]["proxy-url"] = json!(format!("http://me:s3cr3t@{address}"));
        });
        match (try_read(config(&path)).await, hint) {
            (Ok(found), None) => assert_eq!(found, 1),
            (Err(error), Some(hint)) => {
                let words = words(&error);
                let expected = format!(
                    "no connection to `{}` through the proxy `http://{address}`",
                    double.url()
                );
                assert!(words.starts_with(&expected), "{words}");
                assert!(words.contains(hint), "{words}");
                assert!(!words.contains("s3cr3t"), "{words}");
            }
            other => panic!("{status}: {other:?}"),
        }
    }
}

/// A SOCKS proxy for one connection; gives back the name that it was asked for, none for an address.
async fn socks(listener: TcpListener, port: u16) -> Option<String> {
    let (mut from, _) = listener.accept().await.unwrap();
    let mut greeting = [0; 3];
    from.read_exact(&mut greeting).await.unwrap();
    from.write_all(&[5, 0]).await.unwrap();
    let mut head = [0; 4];
    from.read_exact(&mut head).await.unwrap();
    let is_name = head[3] == 3;
    let length = if is_name {
        from.read_u8().await.unwrap()
    } else {
        4
    };
    let mut host = vec![0; usize::from(length)];
    from.read_exact(&mut host).await.unwrap();
    from.read_u16().await.unwrap();
    from.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0])
        .await
        .unwrap();
    let mut to = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
    is_name.then(|| String::from_utf8(host).unwrap())
}

#[tokio::test]
async fn a_socks_proxy_finds_the_server_by_its_name() {
    let (double, dir) = mk_double();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let port = double.url().rsplit(':').next().unwrap().parse().unwrap();
    let asked = tokio::spawn(socks(listener, port));
    let path = mk_kubeconfig(&double, &dir, |v| {
        let cluster = &mut v["clusters"][0]["cluster"];
        cluster["server"] = json!(format!("https://localhost:{port}"));
        cluster["proxy-url"] = json!(format!("socks5://{address}"));
    });
    assert_eq!(try_read(config(&path)).await, Ok(1));
    assert_eq!(asked.await.unwrap().as_deref(), Some("localhost"));
}

#[tokio::test]
async fn a_proxy_of_an_unknown_kind_is_not_passed_over() {
    let (double, dir) = mk_double();
    for url in ["gopher://me:s3cr3t@proxy.example", "me:s3cr3t@proxy"] {
        let path = mk_kubeconfig(&double, &dir, |v| {
            v["clusters"][0]["cluster"]["proxy-url"] = json!(url);
        });
        let words = words(&try_read(config(&path)).await.unwrap_err());
        assert!(words.contains("is no URL of a proxy"), "{words}");
        assert!(
            words.contains("`http://`") && !words.contains("s3cr3t"),
            "{words}"
        );
    }
    assert!(double.requests().is_empty());
}

#[tokio::test]
async fn https_to_a_server_that_speaks_http_is_told() {
    let double = Double::builder(Shape::NativeV3).plain().start();
    let error = try_read(KubernetesConfig {
        endpoint: Some(double.url().replace("http://", "https://")),
        insecure: true,
        ..KubernetesConfig::default()
    })
    .await
    .unwrap_err();
    let hint = error.hint.as_deref().unwrap_or_default();
    assert!(hint.contains("speaks HTTP"), "{error:?}");
    // Others end the connection without a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    let error = try_read(KubernetesConfig {
        endpoint: Some(format!("https://{address}")),
        insecure: true,
        ..KubernetesConfig::default()
    })
    .await
    .unwrap_err();
    let hint = error.hint.as_deref().unwrap_or_default();
    assert!(hint.contains("speaks HTTP"), "{error:?}");
}

/// Login pages of networks, and proxies that explain themselves.
#[tokio::test]
async fn a_web_page_is_told_from_an_answer_and_nothing_of_it_is_shown() {
    for path in ["/apis", "/hostendpoints"] {
        for status in [200, 302, 401, 403, 404, 407, 502, 503] {
            let (double, dir) = mk_double();
            double.fault(When::path(path), Fault::WebPage(status));
            let error = try_read(config(double.kubeconfig(dir.path()))).await;
            let words = words(&error.unwrap_err());
            assert!(words.contains(&format!("answered {status}")), "{words}");
            assert!(words.contains("a web page (`Sign in`)"), "{words}");
            assert!(words.contains("a proxy or login page"), "{words}");
            assert!(!words.contains("s3cr3t"), "{words}");
        }
    }
}

#[tokio::test]
async fn servers_that_are_not_there_are_told_quickly() {
    for (url, says, hints) in [
        (
            "https://127.0.0.1:1",
            "no connection to `https://127.0.0.1:1`",
            "is the server running",
        ),
        (
            "https://no-such-host.invalid:6443",
            "no connection to `https://no-such-host.invalid:6443`",
            "DNS",
        ),
        ("127.0.0.1:6443", "is no URL of an API server", "https://"),
    ] {
        let error = try_read(KubernetesConfig {
            endpoint: Some(url.into()),
            insecure: true,
            ..KubernetesConfig::default()
        })
        .await
        .unwrap_err();
        let words = words(&error);
        assert!(words.contains(says) && words.contains(hints), "{words}");
    }
    // An address that swallows packets.
    let limits = Limits {
        connect: Duration::from_millis(200),
        ..limits()
    };
    let config = KubernetesConfig {
        endpoint: Some("https://192.0.2.1:6443".into()),
        insecure: true,
        ..KubernetesConfig::default()
    };
    let mut store = KubernetesStore::new(config, limits);
    let started = std::time::Instant::now();
    let error = store.read(&kinds_wanted(&[])).await.unwrap_err();
    assert!(
        error
            .message
            .starts_with("no connection to `https://192.0.2.1:6443`"),
        "{}",
        error.message
    );
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn something_that_is_no_api_server_is_called_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(proxy(listener, "204 No Content"));
    let error = try_read(KubernetesConfig {
        endpoint: Some(format!("http://{address}")),
        ..KubernetesConfig::default()
    })
    .await
    .unwrap_err();
    assert!(
        error.message.contains("answered 204 to `/apis`"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn an_aggregated_server_that_is_down_is_named() {
    let double = Double::builder(Shape::AggregatedV3)
        .calico("v3.30.7")
        .start();
    let dir = tempfile::tempdir().unwrap();
    double.fault(When::path("/apis/projectcalico.org/v3"), Fault::Unavailable);
    let error = try_read(config(double.kubeconfig(dir.path())))
        .await
        .unwrap_err();
    let words = words(&error);
    assert!(
        words.contains("does not serve `projectcalico.org/v3` now"),
        "{words}"
    );
    assert!(words.contains("calico-apiserver"), "{words}");
}
