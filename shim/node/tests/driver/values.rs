//! Large values: in parts, with faults, collected, and when the transaction has ended.

use std::sync::Arc;

use aft_core::message::{Found, Op, Refusal, Verb};
use aft_core::record::{Location, Value, Write};
use aft_node::{CallKind, NodeHandle};
use aft_store::{Capabilities, Space, Store};
use aft_store_faulty::{Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use bytes::Bytes;

use crate::client::{begin, commit, key, node, open, run};

const PART_BYTES: usize = 10_000;

fn store() -> MemoryStore {
    let capabilities = Capabilities { blob_part_bytes: PART_BYTES, ..MemoryStore::new().capabilities() };
    MemoryStore::new().with_capabilities(capabilities)
}

fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

fn place(value: &Value) -> Option<u32> {
    match &value.location {
        Location::Inline(_) => None,
        Location::Blob(blob) => Some(blob.parts),
    }
}

async fn get(node: &NodeHandle) -> Value {
    let attempt = open(node, begin()).await.unwrap();
    let reads = run(node, attempt, vec![Op::Get(key("k"))]).await.unwrap();
    let Found::Version(_, Write::Put(value)) = &reads[0].found else { panic!("{reads:?}") };
    value.clone()
}

async fn check(node: &NodeHandle, len: usize, budget: usize, expect_parts: Option<u32>) {
    let attempt = open(node, begin()).await.unwrap();
    let (etag, attributes) = (Bytes::from_static(b"etag"), Bytes::from_static(b"text/plain"));
    let value =
        node.store_value(attempt, bytes(len), etag.clone(), attributes.clone(), budget).await.unwrap();
    assert_eq!((place(&value), value.size, &value.etag), (expect_parts, len as u64, &etag), "{len} bytes");
    run(node, attempt, vec![Op::Put(key("k"), value)]).await.unwrap();
    commit(node, attempt, "").await.unwrap();
    let value = get(node).await;
    assert_eq!((&value.etag, &value.attributes), (&etag, &attributes));
    assert_eq!(node.read_value(&key("k"), &value).await, Ok(bytes(len)));
}

#[tokio::test]
async fn values_of_every_size() {
    let node = node(Arc::new(store()), |settings| settings.inline_value_bytes_max = 50_000).await;
    for (len, budget, parts) in [
        (0, 0, None),
        (1, 0, None),
        (16_384, 0, None),
        (16_385, 0, Some(2)),
        (16_385, 20_000, None),
        (50_000, 50_000, None),
        (50_000, 49_999, Some(5)),
        (50_001, 1 << 20, Some(6)),
        (1_000_000, 1 << 20, Some(100)),
    ] {
        check(&node, len, budget, parts).await;
    }
    assert_eq!(node.stats().calls(CallKind::PutPart), 2 + 5 + 6 + 100);
}

#[tokio::test]
async fn parts_are_stored_under_faults() {
    let latency = Latency::Uniform { min_us: 0, max_us: 500 };
    let faults = Faults::all(0.03, latency, Latency::fixed(1_000));
    let store = FaultyStore::new(Arc::new(store()), 3, faults);
    let node = node(Arc::new(store), |settings| {
        settings.core.grace_ms = 3_600_000;
        settings.core.exclusive = false;
    })
    .await;
    check(&node, 300_000, 0, Some(30)).await;
}

/// A collected version's parts go; its reader is told to run again.
#[tokio::test]
async fn a_missing_part_is_a_snapshot_that_is_gone() {
    let store = store();
    let node = node(Arc::new(store.clone()), |_| {}).await;
    check(&node, 300_000, 0, Some(30)).await;
    let value = get(&node).await;
    let parts: Vec<_> =
        store.objects().into_iter().map(|(name, _)| name).filter(|name| name.space == Space::Blob).collect();
    assert_eq!(parts.len(), 30);
    store.delete(&parts[7..8]).await.unwrap();
    assert_eq!(node.read_value(&key("k"), &value).await, Err(Refusal::SnapshotGone(key("k"))));
    store.put(&parts[7], Bytes::from_static(b"something else")).await.unwrap();
    let outcome = node.read_value(&key("k"), &value).await;
    assert!(matches!(&outcome, Err(Refusal::Damaged(text)) if text.contains("blob/")), "{outcome:?}");
}

/// No part is stored for a transaction that is not open: whoever removes its leavings may have been there already.
#[tokio::test]
async fn an_ended_transaction_stores_no_part() {
    let store = store();
    let node = node(Arc::new(store.clone()), |_| {}).await;
    let attempt = open(&node, begin()).await.unwrap();
    node.ask(Verb::Abort(attempt)).await.unwrap();
    let outcome = node.store_value(attempt, bytes(300_000), Bytes::new(), Bytes::new(), 0).await;
    assert!(matches!(outcome, Err(Refusal::Ended | Refusal::NotFound | Refusal::Lost)), "{outcome:?}");
    let long = Bytes::from(vec![b'e'; 49]);
    let outcome = node.store_value(attempt, bytes(1), long, Bytes::new(), 0).await;
    assert!(matches!(outcome, Err(Refusal::Invalid(_))));
    assert_eq!(store.objects().iter().filter(|(name, _)| name.space == Space::Blob).count(), 0);
}
