//! Servers that die, connections that end, answers that do not come.

use std::time::{Duration, Instant};

use calicoctl_protect::calico::Kind;
use calicoctl_protect::store::etcd::{Etcd, Patience};
use calicoctl_protect::store::{Store, Wanted, Write};

use serde_json::json;

use super::etcd_server::proxy::Proxy;
use super::etcd_server::{EtcdServer, free_port};
use super::support::*;

/// An object whose transactions the proxy recognises.
fn mk_marked(name: &str) -> Write {
    let mut object = mk_hep(name);
    object.set_label("a", "lose-me");
    Write::Create(object)
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let mut config = mk_config(&format!("http://127.0.0.1:{}", free_port()));
    config.endpoints.push(server.url());
    let mut store = open(&config).await.unwrap();
    assert_eq!(read(&mut store).await.len(), 1);
    write_all(&mut store, &[Write::Create(mk_hep("h"))]).await;
}

#[tokio::test]
async fn when_the_server_in_use_dies_the_next_one_takes_over() {
    let Some(mut server) = start_empty("v3.27.5").await else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let mut config = mk_config(&proxy.url());
    config.endpoints.push(server.url());
    let patience = Patience {
        answer: Duration::from_secs(1),
        ..patience()
    };
    let mut store = Etcd::connect_with(&config, patience).await.unwrap();
    proxy.swallow();
    let begin = Instant::now();
    assert_eq!(read(&mut store).await.len(), 1);
    write_all(&mut store, &[Write::Create(mk_hep("h"))]).await;
    assert!(begin.elapsed() < Duration::from_secs(25));
    server.stop();
}

#[tokio::test]
async fn no_endpoint_at_all_is_told_at_once_and_one_by_one() {
    let urls = [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
    let mut config = mk_config(&urls[0]);
    let begin = Instant::now();
    let error = open(&config).await.unwrap_err();
    assert_eq!(
        error.message,
        format!("cannot reach etcd at `{}`: connection refused", urls[0])
    );
    config.endpoints.push(urls[1].clone());
    let error = open(&config).await.unwrap_err();
    assert_eq!(error.message, "cannot reach any of 2 etcd endpoints");
    let details = urls.map(|url| format!("{url}: connection refused"));
    assert_eq!(error.detail, details);
    assert!(error.hint.unwrap().contains("ETCD_ENDPOINTS"));
    assert!(begin.elapsed() < Duration::from_secs(25));
    config.endpoints = vec!["http://no-such-host.invalid:2379".into()];
    let error = open(&config).await.unwrap_err();
    assert!(
        error
            .message
            .starts_with("cannot reach etcd at `http://no-such-host"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_restarts_in_the_middle_is_waited_for() {
    let Some(mut server) = start_empty("v3.27.5").await else {
        return;
    };
    let mut store = open_at(&server).await;
    read(&mut store).await;
    for name in ["a", "b"] {
        server.stop();
        let later = async {
            tokio::time::sleep(Duration::from_millis(800)).await;
            server.start_again().await;
        };
        let create = [Write::Create(mk_hep(name))];
        tokio::join!(later, write_all(&mut store, &create));
        assert_eq!(
            get(&server, &format!("hostendpoints/{name}")).await.version,
            1
        );
    }
    server.stop();
    let later = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        server.start_again().await;
    };
    let (snapshot, ()) = tokio::join!(read(&mut store), later);
    assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 2);
}

#[tokio::test]
async fn a_server_that_does_not_come_back_is_given_up() {
    let Some(mut server) = start_empty("v3.27.5").await else {
        return;
    };
    let patience = Patience {
        return_of_server: Duration::from_secs(1),
        ..patience()
    };
    let mut store = Etcd::connect_with(&mk_config(&server.url()), patience)
        .await
        .unwrap();
    server.stop();
    let begin = Instant::now();
    let error = store.read(&Wanted::everything()).await.unwrap_err();
    assert!(error.message.starts_with("cannot reach etcd at"), "{error}");
    let (done, result) = write(&mut store, &[Write::Create(mk_hep("h"))]).await;
    assert!(done.is_empty() && result.is_err());
    assert!(begin.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn an_answer_that_is_lost_does_not_write_twice() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let mut store = open(&mk_config(&proxy.url())).await.unwrap();
    proxy.drop_next_answer();
    write_all(&mut store, &[mk_marked("h")]).await;
    assert!(proxy.is_fine());
    let kv = get(&server, "hostendpoints/h").await;
    assert_eq!(kv.version, 1);
    // Its revision is known, so that the next step finds it.
    let snapshot = read(&mut store).await;
    proxy.drop_next_answer();
    write_all(
        &mut store,
        &[mk_label(&snapshot, &hep("h"), "b", "lose-me")],
    )
    .await;
    assert!(proxy.is_fine());
    assert_eq!(get(&server, "hostendpoints/h").await.version, 2);
    write_all(&mut store, &[mk_label(&snapshot, &hep("h"), "c", "x")]).await;
    let kv = get(&server, "hostendpoints/h").await;
    assert_eq!(kv.version, 3);
    assert_eq!(kv.json()["metadata"]["labels"]["b"], "lose-me");
}

#[tokio::test]
async fn a_request_that_is_lost_is_sent_again() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let mut store = open(&mk_config(&proxy.url())).await.unwrap();
    proxy.drop_next_request();
    let batch = [mk_marked("h1"), mk_marked("h2")];
    write_all(&mut store, &batch).await;
    assert!(proxy.is_fine());
    assert_eq!(get(&server, "hostendpoints/h1").await.version, 1);
    assert_eq!(get(&server, "hostendpoints/h2").await.version, 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let patience = Patience {
        connect: Duration::from_secs(1),
        answer: Duration::from_secs(1),
        return_of_server: Duration::from_secs(3),
    };
    let config = mk_config(&proxy.url());
    let mut store = Etcd::connect_with(&config, patience).await.unwrap();
    proxy.swallow();
    let begin = Instant::now();
    let error = store.read(&Wanted::everything()).await.unwrap_err();
    assert!(error.message.contains("no answer in time"), "{error}");
    assert!(Etcd::connect_with(&config, patience).await.is_err());
    assert!(begin.elapsed() < Duration::from_secs(25));
    proxy.clear_up();
    read(&mut store).await;
}

#[tokio::test]
async fn a_revision_that_is_compacted_away_is_read_anew() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let raw = server.raw();
    let mut store = open_at(&server).await;
    let busy = tokio::spawn(async move {
        loop {
            raw.put("/elsewhere", "x").await;
            let revision = raw.get("/elsewhere").await.unwrap().mod_revision;
            raw.compact(revision).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    for _ in 0..20 {
        assert_eq!(read(&mut store).await.len(), 1);
    }
    busy.abort();
}

#[tokio::test]
async fn members_that_die_are_left_and_without_a_quorum_nothing_is_claimed() {
    let Some(mut members) = EtcdServer::start_three().await else {
        return;
    };
    load(&members[0], &basics("v3.27.5")).await;
    let mut config = mk_config(&members[0].url());
    config
        .endpoints
        .extend([members[1].url(), members[2].url()]);
    let mut store = open(&config).await.unwrap();
    let snapshot = read(&mut store).await;
    write_all(&mut store, &[Write::Create(mk_hep("a"))]).await;
    // The one in use is gone, and with it perhaps the leader.
    members[0].stop();
    write_all(&mut store, &[Write::Create(mk_hep("b"))]).await;
    assert_eq!(read(&mut store).await.len(), snapshot.len() + 2);
    assert_eq!(get(&members[2], "hostendpoints/b").await.version, 1);
    // One of three can neither read as of now nor write.
    members[1].stop();
    let impatient = Patience {
        answer: Duration::from_secs(2),
        return_of_server: Duration::from_secs(4),
        ..patience()
    };
    let mut lonely = match Etcd::connect_with(&config, impatient).await {
        Ok(store) => store,
        Err(error) => {
            assert!(error.message.contains("etcd"), "{error}");
            members[0].start_again().await;
            let mut store = open(&config).await.unwrap();
            assert_eq!(read(&mut store).await.len(), snapshot.len() + 2);
            return;
        }
    };
    let (done, result) = write(&mut lonely, &[Write::Create(mk_hep("c"))]).await;
    assert!(done.is_empty() && result.is_err());
    members[0].start_again().await;
    let mut store = open(&config).await.unwrap();
    let after = read(&mut store).await.len() - snapshot.len();
    assert!((2..=3).contains(&after), "{after}");
}

#[tokio::test]
async fn a_list_whose_revision_is_compacted_away_between_two_pages_is_whole_all_the_same() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let spec = json!({"node": "m1", "interfaceName": "eth0"});
    let many = (0..3000).map(|n| {
        let name = format!("h{n}");
        let key = format!("{ROOT}hostendpoints/{name}");
        (key, stored("HostEndpoint", &name, spec.clone()))
    });
    load(&server, &many.collect::<Vec<_>>()).await;
    let mut store = open_at(&server).await;
    for delay in 0..12 {
        let raw = server.raw();
        let compaction = async move {
            tokio::time::sleep(Duration::from_millis(delay * 8)).await;
            raw.put("/elsewhere", "x").await;
            let revision = raw.get("/elsewhere").await.unwrap().mod_revision;
            raw.compact(revision).await;
        };
        let (snapshot, ()) = tokio::join!(read(&mut store), compaction);
        assert_eq!(snapshot.of(Kind::HostEndpoint).count(), 3000);
    }
}
