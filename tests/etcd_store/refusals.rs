//! An etcd that says no for the moment: too much to do, no leader.

use std::time::{Duration, Instant};

use calicoctl_protect::store::config::Secret;
use calicoctl_protect::store::etcd::{Etcd, Patience};
use calicoctl_protect::store::{Store, Wanted, Write};

use super::etcd_server::gate::{Gate, Refusal};
use super::support::*;

/// Refused before anything is proposed.
const BUSY: Refusal = Refusal {
    method: "KV/Txn",
    code: 8,
    message: "etcdserver: too many requests",
    carried_out: false,
    // The first transaction of a batch looks at what is there.
    after: 1,
    times: 3,
};

/// May have been proposed.
const NO_LEADER: Refusal = Refusal {
    code: 14,
    message: "etcdserver: leader changed",
    ..BUSY
};

#[tokio::test]
async fn a_server_with_too_much_to_do_is_asked_again() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let gate = Gate::to(server.port()).await;
    let mut store = open(&mk_config(&gate.url())).await.unwrap();
    read(&mut store).await;
    gate.refuse(BUSY);
    let batch = ["h1", "h2"].map(|name| Write::Create(mk_hep(name)));
    write_all(&mut store, &batch).await;
    assert_eq!(gate.left(), 0);
    for name in ["hostendpoints/h1", "hostendpoints/h2"] {
        assert_eq!(get(&server, name).await.version, 1);
    }
}

#[tokio::test]
async fn one_that_stays_too_busy_is_given_up_and_nothing_is_written() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let gate = Gate::to(server.port()).await;
    let patience = Patience {
        return_of_server: Duration::from_secs(3),
        ..patience()
    };
    let mut store = Etcd::connect_with(&mk_config(&gate.url()), patience)
        .await
        .unwrap();
    read(&mut store).await;
    gate.refuse(Refusal {
        times: usize::MAX,
        ..BUSY
    });
    let before = contents(&server).await;
    let begin = Instant::now();
    let (done, result) = write(&mut store, &[Write::Create(mk_hep("h"))]).await;
    assert!(begin.elapsed() < Duration::from_secs(25));
    let error = result.unwrap_err();
    assert!(done.is_empty());
    let expected = format!(
        "etcd at `{}` has too much to do: too many requests",
        gate.url()
    );
    assert_eq!(error.message, expected);
    assert!(error.detail[0].starts_with("tried for "), "{error:?}");
    assert!(error.hint.unwrap().contains("try again later"));
    assert_eq!(contents(&server).await, before);
}

#[tokio::test]
async fn a_login_that_is_refused_for_the_moment_is_tried_again() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    server.raw().turn_users_on().await;
    let gate = Gate::to(server.port()).await;
    gate.refuse(Refusal {
        method: "Auth/Authenticate",
        after: 0,
        ..BUSY
    });
    let mut config = mk_config(&gate.url());
    config.username = Some("calico".into());
    config.password = Some(Secret::new("calico-secret"));
    let mut store = open(&config).await.unwrap();
    assert_eq!(read(&mut store).await.len(), 1);
    assert_eq!(gate.left(), 0);
}

#[tokio::test]
async fn a_change_of_leaders_is_waited_for_whether_or_not_the_write_took_effect() {
    for carried_out in [false, true] {
        let Some(server) = start_empty("v3.27.5").await else {
            return;
        };
        let gate = Gate::to(server.port()).await;
        let mut store = open(&mk_config(&gate.url())).await.unwrap();
        read(&mut store).await;
        gate.refuse(Refusal {
            carried_out,
            times: 1,
            ..NO_LEADER
        });
        write_all(&mut store, &[Write::Create(mk_hep("h"))]).await;
        assert_eq!(gate.left(), 0);
        assert_eq!(get(&server, "hostendpoints/h").await.version, 1);
    }
}

#[tokio::test]
async fn a_cluster_without_a_leader_is_given_up_with_where_to_look() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let gate = Gate::to(server.port()).await;
    gate.refuse(Refusal {
        method: "KV/Range",
        message: "etcdserver: no leader",
        after: 0,
        times: usize::MAX,
        ..NO_LEADER
    });
    let patience = Patience {
        return_of_server: Duration::from_secs(2),
        ..patience()
    };
    let begin = Instant::now();
    let error = match Etcd::connect_with(&mk_config(&gate.url()), patience).await {
        Ok(mut store) => store.read(&Wanted::everything()).await.unwrap_err(),
        Err(error) => error,
    };
    // It has answered, if only that, so that it is worth waiting for.
    assert!(begin.elapsed() > Duration::from_secs(1));
    assert!(error.message.ends_with("no leader"), "{error:?}");
    assert!(error.hint.unwrap().contains("etcdctl endpoint status"));
}

#[tokio::test]
async fn a_full_disk_is_not_waited_for() {
    let Some(server) = start_empty("v3.27.5").await else {
        return;
    };
    let gate = Gate::to(server.port()).await;
    let mut store = open(&mk_config(&gate.url())).await.unwrap();
    read(&mut store).await;
    gate.refuse(Refusal {
        message: "etcdserver: mvcc: database space exceeded",
        times: 1,
        ..BUSY
    });
    let (_, result) = write(&mut store, &[Write::Create(mk_hep("h"))]).await;
    let error = result.unwrap_err();
    assert!(error.message.contains("its space is used up"), "{error:?}");
}
