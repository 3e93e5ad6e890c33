//! Goal: a named request takes effect once, and its duplicates, look-ups and a restarted node see
//! its result. Method: nodes on memory stores.

use std::sync::Arc;

use aft_core::ids::Fingerprint;
use aft_core::message::{Batch, Begin, CommitArgs, Refusal, Replayed};
use aft_node::{Begun, Ended};
use aft_store_memory::MemoryStore;
use bytes::Bytes;
use futures::future::join_all;

use crate::client::{begin_named, commit, hash, node, open, put, read, run, write};

/// Makes an opening that is a whole request: it writes and commits.
fn whole(id: &str, value: &str) -> Box<Begin> {
    let commit = Some(CommitArgs { result: Some(Bytes::copy_from_slice(value.as_bytes())), request: None });
    let batch = Batch { ops: vec![put("k", value.to_owned())], commit };
    Box::new(Begin { batch, wait_ms: 1_000, ..begin_named(id) })
}

#[tokio::test]
async fn a_repeated_request_is_replayed() {
    let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
    assert!(matches!(node.begin(whole("r", "one")).await, Ok(Begun::Committed { .. })));
    let Ok(Begun::Replayed(Replayed { result, .. })) = node.begin(whole("r", "two")).await else {
        panic!("the request ran twice")
    };
    assert_eq!(result, Some(Bytes::from_static(b"one")));
    assert_eq!(read(&node, &["k"]).await, Ok(vec![Some(Bytes::from_static(b"one"))]));
    let other = Begin { fingerprint: Some(Fingerprint([2; 32])), ..begin_named("r") };
    assert_eq!(node.begin(Box::new(other)).await, Err(Refusal::KeyReused));
    assert_eq!(node.stats().replayed, 1);
}

#[tokio::test]
async fn one_of_many_duplicates_runs_and_the_others_are_replayed() {
    let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
    let outcomes = join_all((0..20).map(|n| node.begin(whole("r", &n.to_string())))).await;
    let ran = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Begun::Committed { .. }))).count();
    let replayed = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Begun::Replayed(_)))).count();
    assert_eq!((ran, replayed), (1, 19), "{outcomes:?}");
    assert_eq!(node.stats().replayed, 19);
}

#[tokio::test]
async fn a_duplicate_waits_and_is_then_answered_in_progress() {
    let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
    let first = open(&node, begin_named("r")).await.unwrap();
    let second = Begin { wait_ms: 20, ..begin_named("r") };
    let refusal = node.begin(Box::new(second)).await;
    assert!(matches!(refusal, Err(Refusal::InProgress { .. })), "{refusal:?}");
    assert_eq!(node.stats().in_progress, 1);
    run(&node, first, vec![put("k", "v")]).await.unwrap();
    assert!(matches!(commit(&node, first, "done").await, Ok(Ended::Committed(_))));
}

/// Replays after waiting for an open attempt are counted apart from replays of an existing record.
#[tokio::test]
async fn duplicates_that_waited_are_counted() {
    let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
    let duplicate = |wait_ms| node.begin(Box::new(Begin { wait_ms, ..begin_named("r") }));
    let first = open(&node, begin_named("r")).await.unwrap();
    let beside = Begin { overlap: true, ..begin_named("r") };
    let beside = open(&node, beside).await.unwrap();
    let (impatient, waited, ended) =
        futures::join!(duplicate(0), join_all((0..3).map(|_| duplicate(5_000))), async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            commit(&node, first, "done").await
        });
    assert!(matches!(impatient, Err(Refusal::InProgress { .. })), "{impatient:?}");
    assert!(matches!(ended, Ok(Ended::Committed(_))), "{ended:?}");
    for outcome in waited {
        let Ok(Begun::Replayed(Replayed { result, .. })) = outcome else { panic!("{outcome:?}") };
        assert_eq!(result, Some(Bytes::from_static(b"done")));
    }
    assert_eq!((node.stats().replayed, node.stats().replayed_after_wait), (3, 3));
    // These did not wait: one ran beside the winner, one came after it.
    assert!(matches!(commit(&node, beside, "late").await, Ok(Ended::Replayed(_))));
    assert!(matches!(duplicate(5_000).await, Ok(Begun::Replayed(_))));
    assert_eq!((node.stats().replayed, node.stats().replayed_after_wait), (5, 3));
}

#[tokio::test]
async fn requests_are_looked_up() {
    let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
    assert_eq!(node.look_up(hash("r")).await, Err(Refusal::NotFound));
    node.begin(whole("r", "one")).await.unwrap();
    let Ok(record) = node.look_up(hash("r")).await else { panic!("not found") };
    assert_eq!(record.result, Some(Bytes::from_static(b"one")));
}

/// A node that dies right after its commits leaves all of them readable for the next node.
#[tokio::test]
async fn a_commit_survives_its_node() {
    let store = MemoryStore::new();
    let first = node(Arc::new(store.clone()), |_| {}).await;
    for n in 0..10 {
        write(&first, vec![put(&format!("k/{n}"), "v"), put("last", n.to_string())]).await.unwrap();
    }
    drop(first);
    tokio::task::yield_now().await;
    let second = node(Arc::new(store), |_| {}).await;
    for n in 0..10 {
        assert_eq!(read(&second, &[&format!("k/{n}")]).await, Ok(vec![Some(Bytes::from_static(b"v"))]));
    }
    assert_eq!(read(&second, &["last"]).await, Ok(vec![Some(Bytes::from_static(b"9"))]));
}

/// Values that this node has just committed are read from the cache, without a store call.
#[tokio::test]
async fn own_commits_are_read_from_the_cache() {
    let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
    write(&node, vec![put("k", "v"), put("l", "w")]).await.unwrap();
    for _ in 0..5 {
        read(&node, &["k", "l"]).await.unwrap();
    }
    let stats = node.stats();
    assert_eq!((stats.value_cache_hits, stats.calls(aft_node::CallKind::Fetch)), (10, 0), "{stats:?}");
}
