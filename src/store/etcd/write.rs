//! Writing: transactions that hold while everything is as it was read.
//!
//! When a connection ends between a transaction and its answer, nobody knows whether it took
//! effect. It is not sent again before its keys have been read back.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use super::client::Hope;
use super::fault::Fault;
use super::prepare::{Operation, Prepared, Seen, check_tiers, compare, keys_of, prepare};
use super::proto::{KeyValue, RequestOp, TxnRequest, TxnResponse};
use super::read::Cluster;
use super::{Etcd, keys};
use crate::calico::{ObjectId, Version};
use crate::store::{StoreError, StoreErrorKind, Write};

/// etcd takes 1.5 MiB in one request by default (`--max-request-bytes`).
const MAX_BYTES: usize = 1_400_000;

/// How often a transaction is sent again because ClusterInformation was written meanwhile.
const CLUSTER_CHANGES: usize = 5;

/// Writes a batch.
///
/// # Errors
///
/// When something has changed since it was read, or etcd refuses or does not answer.
pub async fn write(
    store: &mut Etcd,
    batch: &[Write],
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize),
) -> Result<(), StoreError> {
    let mut first = 0;
    while first < batch.len() && !stop.load(Ordering::Relaxed) {
        // A transaction must not write one key twice.
        let mut ids: BTreeSet<&ObjectId> = BTreeSet::new();
        let rest = batch.get(first..).unwrap_or_default();
        let length = rest
            .iter()
            .take_while(|write| ids.insert(write.id()))
            .count();
        let part = rest.get(..length).unwrap_or_default();
        write_part(store, part, first, stop, done).await?;
        first += length.max(1);
    }
    Ok(())
}

/// Finds out whether writes can be made: whether the datastore is open, the tiers of new policies
/// are there or made, and every object is as it was read.
///
/// # Errors
///
/// As [`write`]; nothing is written.
pub async fn preflight(store: &mut Etcd, writes: &[Write]) -> Result<(), StoreError> {
    let (_, version) = open(store).await?;
    let wanted = writes
        .iter()
        .flat_map(|write| keys_of(store, write, version));
    let wanted: BTreeSet<String> = wanted.collect();
    let seen = look(store, &wanted).await?;
    check_tiers(&seen, version, writes)?;
    // Later writes of an object build upon what the first one makes of it.
    let mut ids: BTreeSet<&ObjectId> = BTreeSet::new();
    for (index, write) in writes.iter().enumerate() {
        if ids.insert(write.id()) {
            prepare(store, &seen, version, index, write)?;
        }
    }
    Ok(())
}

/// The cluster, which must be open to writing, and the release whose form objects get.
async fn open(store: &Etcd) -> Result<(Cluster, Version), StoreError> {
    let cluster = store.cluster().await?;
    check_ready(&cluster)?;
    let version = match store.version {
        Some(version) => version,
        None => version_of(&cluster)?,
    };
    Ok((cluster, version))
}

async fn write_part(
    store: &mut Etcd,
    batch: &[Write],
    first: usize,
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize),
) -> Result<(), StoreError> {
    let (cluster, version) = open(store).await?;
    let wanted = batch
        .iter()
        .flat_map(|write| keys_of(store, write, version));
    let wanted: BTreeSet<String> = wanted.collect();
    let seen = look(store, &wanted).await?;
    check_tiers(&seen, version, batch)?;
    let mut all = Vec::new();
    for (index, write) in batch.iter().enumerate() {
        all.push(prepare(store, &seen, version, first + index, write)?);
    }
    let mut guard = cluster.mod_revision;
    let mut groups = grouped(all, store.max_operations);
    while let Some(group) = groups.pop_front() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match commit(store, &group, &mut guard).await? {
            Commit::Done(revision) => {
                for written in &group {
                    remember(store, written, revision);
                    done(written.index);
                }
            }
            Commit::TooMuch => {
                take_less(store);
                let mut front = group;
                let back = front.split_off(front.len().div_ceil(2));
                groups.push_front(back);
                groups.push_front(front);
            }
        }
    }
    Ok(())
}

fn check_ready(cluster: &Cluster) -> Result<(), StoreError> {
    if cluster.ready {
        return Ok(());
    }
    Err(
        failed("the datastore is locked (`datastoreReady` is false): a migration may be under way")
            .hint("when it is over, `calicoctl datastore migrate unlock` opens the datastore"),
    )
}

/// The version without a read before; it decides under which names policies are written.
fn version_of(cluster: &Cluster) -> Result<Version, StoreError> {
    let text = cluster.version.as_deref().unwrap_or_default();
    text.parse().map_err(|_| {
        failed("ClusterInformation does not tell the version of Calico, which names depend on")
    })
}

/// What is under these keys now; absent ones are left out.
async fn look(store: &mut Etcd, wanted: &BTreeSet<String>) -> Result<Seen, StoreError> {
    let mut rest: VecDeque<&String> = wanted.iter().collect();
    let mut seen = Seen::new();
    while let Some(first) = rest.front() {
        let what = match rest.len() {
            1 => format!("`{first}`"),
            count => format!("`{first}` or one of {} more keys", count - 1),
        };
        let part = rest.iter().take(store.max_operations);
        let request = TxnRequest {
            success: part.map(|key| RequestOp::get(key)).collect(),
            ..TxnRequest::default()
        };
        match store.client.look(&request).await {
            Ok(response) => {
                seen.extend(found(response));
                rest.drain(..request.success.len());
            }
            Err(fault) if fault.is_too_much() && store.max_operations > 1 => take_less(store),
            Err(fault) => return Err(fault.into_error(&what, store.client.user())),
        }
    }
    Ok(seen)
}

fn take_less(store: &mut Etcd) {
    store.max_operations = (store.max_operations / 2).max(1);
}

fn found(response: TxnResponse) -> impl Iterator<Item = (String, KeyValue)> {
    let ranges = response.responses.into_iter().filter_map(|op| op.range);
    ranges
        .flat_map(|range| range.kvs)
        .map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv))
}

/// Splits into transactions that etcd takes, each as large as possible.
fn grouped(all: Vec<Prepared>, max_operations: usize) -> VecDeque<Vec<Prepared>> {
    let mut groups: VecDeque<Vec<Prepared>> = VecDeque::new();
    let (mut conditions, mut bytes) = (0, 0);
    for prepared in all {
        let (more, size) = (prepared.guards().count(), prepared.size());
        // One condition more is that on ClusterInformation.
        let fits = conditions + more < max_operations && bytes + size <= MAX_BYTES;
        match groups.back_mut().filter(|_| fits) {
            Some(group) => {
                group.push(prepared);
                conditions += more;
                bytes += size;
            }
            None => {
                groups.push_back(vec![prepared]);
                (conditions, bytes) = (more, size);
            }
        }
    }
    groups
}

enum Commit {
    /// It took effect, at this revision.
    Done(i64),
    /// etcd takes only smaller transactions.
    TooMuch,
}

/// Sends a transaction until it is known what became of it. `guard` is the revision of
/// ClusterInformation, so that nothing is written once the datastore has been locked.
async fn commit(
    store: &mut Etcd,
    group: &[Prepared],
    guard: &mut i64,
) -> Result<Commit, StoreError> {
    let cluster_key = keys::cluster_information();
    let mut hope: Option<Hope> = None;
    let (mut in_doubt, mut cluster_changes) = (false, 0);
    loop {
        let request = request(group, &cluster_key, *guard);
        let fault = match store.client.transact(&request).await {
            Ok(response) if response.succeeded => {
                return Ok(Commit::Done(
                    response.header.map_or(0, |header| header.revision),
                ));
            }
            Ok(response) => {
                let now: Seen = found(response).collect();
                if let (true, Fate::Done(revision)) = (in_doubt, fate(group, &now)) {
                    return Ok(Commit::Done(revision));
                }
                refused(group, &now)?;
                // Then it is ClusterInformation.
                let cluster = Cluster::of(now.get(&cluster_key), &store.client.location())?;
                check_ready(&cluster)?;
                cluster_changes += 1;
                if cluster_changes > CLUSTER_CHANGES {
                    return Err(failed("ClusterInformation is written all the time"));
                }
                *guard = cluster.mod_revision;
                continue;
            }
            Err(fault) if fault.is_too_much() && group.len() > 1 => return Ok(Commit::TooMuch),
            Err(fault) => fault,
        };
        in_doubt |= matches!(fault, Fault::Lost { .. });
        let mut patience = match hope.take() {
            Some(hope) => hope,
            None => Hope::new(&store.client).await,
        };
        let waited = patience.another_try(fault).await;
        hope = Some(patience);
        if let Err(fault) = waited {
            let error = fault.into_error(&what(group), store.client.user());
            return Err(if in_doubt {
                unknown(group, &error)
            } else {
                error
            });
        }
        if in_doubt {
            match fate(group, &look_again(store, group).await?) {
                Fate::Done(revision) => return Ok(Commit::Done(revision)),
                // The first one may still be on its way. Then the second does not hold any more,
                // and is seen through above.
                Fate::Open => {}
                Fate::Unclear => {
                    let why = failed("its objects were changed by somebody else meanwhile");
                    return Err(unknown(group, &why));
                }
            }
        }
    }
}

fn request(group: &[Prepared], cluster_key: &str, guard: i64) -> TxnRequest {
    let guards = group.iter().flat_map(Prepared::guards);
    let guards: Vec<(&str, i64)> = guards.chain([(cluster_key, guard)]).collect();
    TxnRequest {
        compare: guards.iter().map(|(key, rev)| compare(key, *rev)).collect(),
        success: group.iter().filter_map(Prepared::request).collect(),
        failure: guards.iter().map(|(key, _)| RequestOp::get(key)).collect(),
    }
}

/// The conflict that kept a transaction from taking effect.
fn refused(group: &[Prepared], now: &Seen) -> Result<(), StoreError> {
    for prepared in group {
        for (key, expected) in prepared.guards() {
            let kv = now.get(key);
            if kv.map_or(0, |kv| kv.mod_revision) != expected {
                return Err(prepared.conflict(key, kv));
            }
        }
    }
    Ok(())
}

async fn look_again(store: &mut Etcd, group: &[Prepared]) -> Result<Seen, StoreError> {
    let keys = group.iter().map(|prepared| prepared.key.clone()).collect();
    let seen = look(store, &keys).await;
    seen.map_err(|error| unknown(group, &error))
}

enum Fate {
    /// It took effect, at this revision.
    Done(i64),
    /// It did not, so far.
    Open,
    /// Nothing is as it was, nor as it should be.
    Unclear,
}

/// What became of a transaction, by what is under its keys. All of it took effect or nothing, so
/// one key tells, even when others were written again since.
fn fate(group: &[Prepared], now: &Seen) -> Fate {
    let revision = |key: &str| now.get(key).map_or(0, |kv| kv.mod_revision);
    let put = group.iter().find_map(|prepared| match &prepared.operation {
        Operation::Put { text, .. } => now
            .get(&prepared.key)
            .filter(|kv| kv.value == text.as_bytes() && kv.mod_revision != prepared.before)
            .map(|kv| kv.mod_revision),
        _ => None,
    });
    if let Some(revision) = put {
        return Fate::Done(revision);
    }
    let mut written = group.iter().filter(|p| p.operation != Operation::Keep);
    if written
        .clone()
        .any(|prepared| revision(&prepared.key) == prepared.before)
    {
        return Fate::Open;
    }
    let all_gone = written
        .all(|prepared| prepared.operation == Operation::Delete && revision(&prepared.key) == 0);
    if all_gone {
        Fate::Done(0)
    } else {
        Fate::Unclear
    }
}

/// A later write to the same object must expect our own revision, not the one that was read.
fn remember(store: &mut Etcd, written: &Prepared, revision: i64) {
    match &written.operation {
        Operation::Keep => {}
        Operation::Delete => {
            store.own.remove(&written.key);
            store.keys.remove(&written.id);
        }
        Operation::Put { .. } => {
            let own = store.own.entry(written.key.clone()).or_default();
            own.replaced.extend([written.asked, written.before]);
            own.now = revision;
            store.keys.insert(written.id.clone(), written.key.clone());
        }
    }
}

fn what(group: &[Prepared]) -> String {
    match group {
        [one] => format!("`{}`", one.key),
        [one, ..] => format!("`{}` or one of {} more keys", one.key, group.len() - 1),
        [] => "nothing".into(),
    }
}

fn unknown(group: &[Prepared], why: &StoreError) -> StoreError {
    let error = failed(format!(
        "the connection was lost while {} was written, and whether it was is not known: {}",
        what(group),
        why.message
    ));
    let details = why.detail.iter().cloned();
    let error = details.fold(error, StoreError::detail);
    error.hint("run the command again: it begins with what is there then")
}

fn failed(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::Kind;

    fn mk_put(index: usize, text: &str) -> Prepared {
        Prepared {
            index,
            id: ObjectId::global(Kind::HostEndpoint, format!("h{index}")),
            key: format!("/h{index}"),
            before: 5,
            asked: 5,
            operation: Operation::Put {
                text: text.into(),
                lease: 0,
            },
            others: Vec::new(),
        }
    }

    fn mk_delete(index: usize) -> Prepared {
        Prepared {
            operation: Operation::Delete,
            ..mk_put(index, "")
        }
    }

    fn mk_seen(found: &[(usize, &str, i64)]) -> Seen {
        let kv = |(index, text, rev): &(usize, &str, i64)| {
            let kv = KeyValue {
                value: (*text).into(),
                mod_revision: *rev,
                ..KeyValue::default()
            };
            (format!("/h{index}"), kv)
        };
        found.iter().map(kv).collect()
    }

    #[test]
    fn transactions_stay_within_what_etcd_takes() {
        let groups = grouped((0..300).map(|i| mk_put(i, "x")).collect(), 128);
        let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        assert_eq!(sizes, [127, 127, 46]);
        let large = "x".repeat(600_000);
        let groups = grouped((0..3).map(|i| mk_put(i, &large)).collect(), 128);
        let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1]);
    }

    #[test]
    fn what_became_of_a_transaction_is_read_from_its_keys() {
        let group = [mk_put(0, "new"), mk_delete(1)];
        let is_done =
            |seen: &[(usize, &str, i64)]| matches!(fate(&group, &mk_seen(seen)), Fate::Done(9));
        assert!(is_done(&[(0, "new", 9)]));
        assert!(is_done(&[(0, "new", 9), (1, "put back by another", 10)]));
        let open = mk_seen(&[(0, "old", 5), (1, "old", 5)]);
        assert!(matches!(fate(&group, &open), Fate::Open));
        let foreign = mk_seen(&[(0, "another's", 8), (1, "another's", 8)]);
        assert!(matches!(fate(&group, &foreign), Fate::Unclear));
        let deletes = [mk_delete(0), mk_delete(1)];
        assert!(matches!(fate(&deletes, &mk_seen(&[])), Fate::Done(0)));
        assert!(matches!(
            fate(&deletes, &mk_seen(&[(1, "old", 5)])),
            Fate::Open
        ));
        let group = [mk_put(0, "new")];
        assert!(matches!(fate(&group, &mk_seen(&[])), Fate::Unclear));
    }
}
