//! Goal: a node that is drained, abandoned or broken stops, and every caller gets a correct answer.
//! Method: nodes on memory stores, some of which hang or panic.

use std::sync::Arc;
use std::time::Duration;

use aft_core::message::Refusal;
use aft_node::{Drained, Ended, State, fresh_begin};
use aft_store_memory::MemoryStore;

use crate::client::{begin_named, commit, hash, node, open, put, read, run, write};
use crate::trouble::{Trouble, TroubledStore};

#[tokio::test]
async fn a_drained_node_finishes_what_is_open() {
    let store = MemoryStore::new();
    let serving = node(Arc::new(store.clone()), |_| {}).await;
    let attempt = open(&serving, fresh_begin()).await.unwrap();
    run(&serving, attempt, vec![put("k", "v")]).await.unwrap();
    let drain = tokio::spawn({
        let node = serving.clone();
        async move { node.drain(Duration::from_secs(10)).await }
    });
    while serving.ready() == State::Serving {
        tokio::task::yield_now().await;
    }
    assert_eq!(serving.ready(), State::Draining);
    assert_eq!(open(&serving, fresh_begin()).await, Err(Refusal::NotServing));
    assert!(matches!(commit(&serving, attempt, "").await, Ok(Ended::Committed(_))));
    assert_eq!(drain.await.unwrap(), Drained { cut_off: 0 });
    assert_eq!(serving.ready(), State::Stopped);
    assert_eq!(open(&serving, fresh_begin()).await, Err(Refusal::NotServing));
    assert_eq!(serving.drain(Duration::ZERO).await, Drained { cut_off: 0 }, "again, and at once");
    let next = node(Arc::new(store), |_| {}).await;
    assert!(read(&next, &["k"]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
    open(&node, fresh_begin()).await.unwrap();
    let drained = tokio::time::timeout(Duration::from_secs(5), node.drain(Duration::from_millis(50))).await;
    assert_eq!(drained, Ok(Drained { cut_off: 1 }));
}

/// A commit that is in flight at the drain's deadline may have taken effect: it is answered
/// *unknown*.
#[tokio::test]
async fn a_commit_that_is_cut_off_is_unknown() {
    let store = TroubledStore::new(MemoryStore::new());
    let node = node(Arc::new(store.clone()), |_| {}).await;
    let attempt = open(&node, begin_named("r")).await.unwrap();
    run(&node, attempt, vec![put("k", "v")]).await.unwrap();
    store.set(Trouble::Hang);
    let (outcome, _) = futures::join!(commit(&node, attempt, ""), node.drain(Duration::from_millis(50)));
    assert_eq!(outcome, Err(Refusal::Unknown(hash("r"))));
}

/// The loop panics with verbs in flight: no caller hangs, and commits are answered *unknown*.
#[tokio::test]
async fn a_node_that_panics_answers_every_caller() {
    let store = TroubledStore::new(MemoryStore::new());
    let node = node(Arc::new(store.clone()), |_| {}).await;
    write(&node, vec![put("k", "v")]).await.unwrap();
    let attempt = open(&node, begin_named("r")).await.unwrap();
    run(&node, attempt, vec![put("k", "w")]).await.unwrap();
    let waits = open(&node, begin_named("waits")).await.unwrap();
    store.set(Trouble::Hang);
    let hangs = tokio::spawn({
        let node = node.clone();
        async move { commit(&node, waits, "").await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.set(Trouble::Panic);
    assert_eq!(commit(&node, attempt, "").await, Err(Refusal::Unknown(hash("r"))));
    assert_eq!(hangs.await.unwrap(), Err(Refusal::Unknown(hash("waits"))));
    node.stopped().await;
    assert_eq!(node.ready(), State::Stopped);
    assert_eq!(node.look_up(hash("r")).await, Err(Refusal::NotServing));
    node.drain(Duration::from_secs(1)).await;
}

/// A node stops when its last handle is dropped.
#[tokio::test]
async fn an_abandoned_node_stops() {
    let store = TroubledStore::new(MemoryStore::new());
    let node = node(Arc::new(store.clone()), |_| {}).await;
    let mut holders = store.holders();
    assert!(holders > 1);
    drop(node);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        holders = store.holders();
    }
    assert_eq!(holders, 1, "the loop still holds the store");
}
