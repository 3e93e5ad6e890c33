//! Goal: large values are stored and read in parts, and missing or damaged parts are reported for
//! what they are. Method: nodes on memory stores with small parts, with faults, damage and
//! deletions.

use std::sync::Arc;

use aft_core::message::{Batch, Begin, CommitArgs, Found, Op, Refusal};
use aft_core::record::{BlobRef, Location, Value, Write};
use aft_node::{Begun, CallKind, NodeHandle, fresh_begin};
use aft_store::{Capabilities, Space, Store};
use aft_store_faulty::{Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use bytes::Bytes;
use futures::future::join_all;

use crate::client::{commit, key, node, open, run};
use crate::trouble::TroubledStore;

const PART_BYTES: usize = 10_000;

fn store() -> MemoryStore {
    let capabilities = Capabilities { blob_part_bytes: PART_BYTES, ..MemoryStore::new().capabilities() };
    MemoryStore::new().with_capabilities(capabilities)
}

fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

fn value(len: usize) -> Value {
    Value {
        location: Location::Inline(bytes(len)),
        size: len as u64,
        etag: Bytes::from_static(b"etag"),
        attributes: Bytes::from_static(b"text/plain"),
    }
}

fn parts(value: &Value) -> Option<u32> {
    match &value.location {
        Location::Inline(_) => None,
        Location::Blob(blob) => Some(blob.parts),
    }
}

async fn get(node: &NodeHandle, at: &str) -> Value {
    let attempt = open(node, fresh_begin()).await.unwrap();
    let reads = run(node, attempt, vec![Op::Get(key(at))]).await.unwrap();
    let Found::Version(_, Write::Put(value)) = &reads[0].found else { panic!("{reads:?}") };
    value.clone()
}

/// Writes a value of `len` bytes, and checks that it is read back and has `expect_parts` parts
/// (`None`: it is inline).
async fn check(node: &NodeHandle, len: usize, expect_parts: Option<u32>) {
    let attempt = open(node, fresh_begin()).await.unwrap();
    let batch = Batch { ops: vec![Op::Put(key("k"), value(len))], commit: None };
    available(async || node.run(attempt, batch.clone()).await).await.unwrap();
    commit(node, attempt, "").await.unwrap();
    let found = get(node, "k").await;
    assert_eq!(parts(&found), expect_parts, "{len} bytes");
    assert_eq!(
        (found.size, &found.etag, &found.attributes),
        (len as u64, &value(0).etag, &value(0).attributes)
    );
    assert_eq!(available(async || node.read_value(&key("k"), &found).await).await, Ok(bytes(len)));
}

/// Reads a part in pieces, and returns the bytes that were passed on, and the outcome.
async fn pieces(node: &NodeHandle, value: &Value, part: u32) -> (Vec<u8>, Result<(), Refusal>) {
    let Location::Blob(blob) = &value.location else { panic!("{value:?} is inline") };
    let mut bytes = Vec::new();
    let take = |piece: Bytes| bytes.extend_from_slice(&piece);
    let outcome = node.read_part_in_pieces(&key("k"), blob, value.size, part, take).await;
    (bytes, outcome)
}

/// Repeats a call until the store is available, and returns its outcome. After a few failed tries
/// of one part a node answers that the store is unavailable.
async fn available<T>(call: impl AsyncFn() -> Result<T, Refusal>) -> Result<T, Refusal> {
    for _ in 0..20 {
        match call().await {
            Err(Refusal::StoreUnavailable(_)) => {}
            outcome => return outcome,
        }
    }
    panic!("the store is never available");
}

#[tokio::test]
async fn values_of_every_size_are_read_back() {
    let node = node(Arc::new(store()), |settings| settings.inline_value_bytes_max = 50_000).await;
    for (len, parts) in [
        (0, None),
        (1, None),
        (50_000, None),
        (50_001, Some(6)),
        (1_000_000, Some(100)),
        (2_000_000, Some(200)),
    ] {
        check(&node, len, parts).await;
    }
    assert_eq!(node.stats().calls(CallKind::PutPart), 6 + 100 + 200);
}

/// Values that are small each, and too large together: the largest are stored in parts, and the
/// others stay inline.
#[tokio::test]
async fn values_that_do_not_fit_together_are_spilled_largest_first() {
    let node = node(Arc::new(store()), |settings| {
        settings.inline_value_bytes_max = 50_000;
        settings.core.write_buffer_bytes_max = 100_000;
    })
    .await;
    let put = |n: usize, len| Op::Put(key(&format!("k{n}")), value(len));
    let check = async |attempt, lens: &[usize], expect: &[Option<u32>]| {
        commit(&node, attempt, "").await.unwrap();
        for (n, (&len, &expect)) in lens.iter().zip(expect).enumerate() {
            let (at, found) = (key(&format!("k{n}")), get(&node, &format!("k{n}")).await);
            assert_eq!(parts(&found), expect, "{at} of {lens:?}");
            assert_eq!(node.read_value(&at, &found).await, Ok(bytes(len)));
        }
    };
    // Four ways to write them: with the opening, in one batch, one by one, and all at once.
    let lens = [40_000, 9_000, 45_000, 9_000, 30_000];
    let ops: Vec<Op> = lens.iter().enumerate().map(|(n, len)| put(n, *len)).collect();
    let spilled = [None, None, Some(5), None, None];
    let attempt = match node
        .begin(Box::new(Begin { batch: Batch { ops: ops.clone(), commit: None }, ..fresh_begin() }))
        .await
        .unwrap()
    {
        Begun::Open { attempt, .. } => attempt,
        reply => panic!("{reply:?}"),
    };
    check(attempt, &lens, &spilled).await;
    let attempt = open(&node, fresh_begin()).await.unwrap();
    node.run(attempt, Batch { ops: ops.clone(), commit: None }).await.unwrap();
    check(attempt, &lens, &spilled).await;
    let attempt = open(&node, fresh_begin()).await.unwrap();
    for op in ops {
        node.run(attempt, Batch { ops: vec![op], commit: None }).await.unwrap();
    }
    check(attempt, &lens, &[None, None, None, Some(1), Some(3)]).await;
    let attempt = open(&node, fresh_begin()).await.unwrap();
    let all = (0..50).map(|n| node.run(attempt, Batch { ops: vec![put(n, 9_000)], commit: None }));
    let outcomes = join_all(all).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let inline = (0..50).map(|n| if n < 11 { None } else { Some(1) }).collect::<Vec<_>>();
    check(attempt, &[9_000; 50], &inline).await;
}

/// Large values and the rest of their batch take effect together, or not at all.
#[tokio::test]
async fn a_batch_whose_values_cannot_be_stored_leaves_nothing() {
    let store = store();
    let node = node(Arc::new(store.clone()), |settings| settings.core.write_buffer_bytes_max = 10_000).await;
    let attempt = open(&node, fresh_begin()).await.unwrap();
    let long = Value { etag: Bytes::from(vec![b'e'; 49]), ..value(20_000) };
    let ops = vec![Op::Put(key("a"), value(9_000)), Op::Put(key("b"), long)];
    let outcome = node.run(attempt, Batch { ops, commit: Some(CommitArgs::default()) }).await;
    assert!(matches!(outcome, Err(Refusal::Invalid(_))), "{outcome:?}");
    let reads = run(&node, attempt, vec![Op::Get(key("a")), Op::Get(key("b"))]).await.unwrap();
    assert!(reads.iter().all(|read| read.found == Found::Absent), "{reads:?}");
}

/// An opening that is rejected after its large values were stored leaves no transaction open, not
/// even until its deadline.
#[tokio::test]
async fn a_rejected_opening_leaves_nothing_open() {
    let node = node(Arc::new(store()), |settings| settings.core.write_buffer_bytes_max = 10_000).await;
    let long = Value { etag: Bytes::from(vec![b'e'; 49]), ..value(100) };
    let batch = Batch {
        ops: vec![Op::Put(key("a"), value(300_000)), Op::Put(key("b"), long)],
        commit: Some(CommitArgs::default()),
    };
    let outcome = node.begin(Box::new(Begin { batch, ..fresh_begin() })).await;
    assert!(matches!(outcome, Err(Refusal::Invalid(_))), "{outcome:?}");
    assert_eq!(node.stats().calls(CallKind::PutPart), 30, "the values were stored before the rejection");
    // This opening comes behind the abort of the first one in the queue.
    open(&node, fresh_begin()).await.unwrap();
    assert_eq!(node.stats().open_transactions, 1);
}

#[tokio::test]
async fn parts_are_stored_under_faults() {
    let latency = Latency::Uniform { min_us: 0, max_us: 500 };
    let faults = Faults::all(0.03, latency, Latency::fixed(1_000));
    let capabilities = Capabilities { exclusive: false, ..store().capabilities() };
    let store = FaultyStore::new(Arc::new(store().with_capabilities(capabilities)), 3, faults);
    let node = node(Arc::new(store), |settings| settings.core.grace_ms = 3_600_000).await;
    check(&node, 300_000, Some(30)).await;
}

/// A part that is read in pieces is complete and in order, also when the store breaks off in its
/// middle and sends other pieces at the next try.
#[tokio::test]
async fn a_part_in_pieces_survives_broken_reads() {
    let store = TroubledStore::new(store());
    let node = node(Arc::new(store.clone()), |settings| settings.inline_value_bytes_max = PART_BYTES).await;
    check(&node, 35_000, Some(4)).await;
    let value = get(&node, "k").await;
    let parts: Vec<_> = (0..4)
        .map(|part| bytes(35_000).slice(part * PART_BYTES..35_000.min((part + 1) * PART_BYTES)))
        .collect();
    for breaks in 0..4 {
        for (number, part) in parts.iter().enumerate() {
            store.break_off(breaks);
            let (read, outcome) = pieces(&node, &value, number as u32).await;
            assert_eq!(outcome, Ok(()), "{breaks} breaks");
            assert_eq!(read, part[..], "{breaks} breaks");
        }
    }
    // All four tries break off.
    store.break_off(4);
    let (read, outcome) = pieces(&node, &value, 1).await;
    assert!(matches!(outcome, Err(Refusal::StoreUnavailable(_))), "{outcome:?}");
    assert!(!read.is_empty() && read.len() < PART_BYTES && parts[1].starts_with(&read));
    // There is no fifth part.
    let (read, outcome) = pieces(&node, &value, 4).await;
    let is_missing = matches!(&outcome, Err(Refusal::Damaged(what)) if what.contains("/4 is missing"));
    assert!(is_missing && read.is_empty(), "{outcome:?}");
}

/// The last piece of a damaged part is never passed on.
#[tokio::test]
async fn the_end_of_a_damaged_part_is_not_passed_on() {
    let objects = store();
    let node = node(Arc::new(TroubledStore::new(objects.clone())), |settings| {
        settings.inline_value_bytes_max = PART_BYTES
    })
    .await;
    check(&node, 35_000, Some(4)).await;
    let value = get(&node, "k").await;
    let mut parts = objects.objects().into_iter().filter(|(name, _)| name.space == Space::Blob);
    let (name, body) = parts.nth(1).unwrap();
    for at in [0, 1, 9, 5_000, body.len() - 1] {
        let mut damaged = body.to_vec();
        damaged[at] ^= 0x40;
        objects.put(&name, damaged.into()).await.unwrap();
        let (read, outcome) = pieces(&node, &value, 1).await;
        assert!(matches!(&outcome, Err(Refusal::Damaged(text)) if text.contains("blob/")), "{outcome:?}");
        assert!(read.len() < PART_BYTES, "{at}");
    }
    // A sound body that is longer than the part should be: nothing beyond the part's length is
    // passed on.
    let blob = BlobRef {
        part_bytes: PART_BYTES as u32 / 2,
        parts: 7,
        ..match value.location {
            Location::Blob(blob) => blob,
            Location::Inline(_) => unreachable!("it has parts"),
        }
    };
    objects.put(&name, body).await.unwrap();
    let shorter = Value { location: Location::Blob(blob), ..value };
    // The second size makes the first piece end exactly where the part should end: 9 bytes are the
    // frame.
    for piece_bytes in [100, 9 + PART_BYTES / 2, PART_BYTES] {
        let node = crate::client::node(Arc::new(objects.clone().in_pieces(piece_bytes)), |_| {}).await;
        let (read, outcome) = pieces(&node, &shorter, 1).await;
        assert!(
            matches!(&outcome, Err(Refusal::Damaged(text)) if text.contains("part 1 of 7")),
            "{outcome:?}"
        );
        assert!(read.len() < PART_BYTES / 2, "{}", read.len());
    }
}

/// Collection removes the record of a version first and its parts later: a reader must then run
/// again. A part that is missing while the record is there is damage.
#[tokio::test]
async fn a_missing_part_is_snapshot_gone_or_damage() {
    let store = store();
    let node = node(Arc::new(store.clone()), |_| {}).await;
    check(&node, 300_000, Some(30)).await;
    let value = get(&node, "k").await;
    let parts: Vec<_> =
        store.objects().into_iter().map(|(name, _)| name).filter(|name| name.space == Space::Blob).collect();
    assert_eq!(parts.len(), 30);
    store.delete(&parts[7..8]).await.unwrap();
    let outcome = node.read_value(&key("k"), &value).await;
    assert!(matches!(&outcome, Err(Refusal::Damaged(text)) if text.contains("/7 is missing")), "{outcome:?}");
    let all = store.objects();
    let (name, record) = all.iter().find(|(name, _)| name.space == Space::Commit).unwrap();
    store.delete(std::slice::from_ref(name)).await.unwrap();
    assert_eq!(node.read_value(&key("k"), &value).await, Err(Refusal::SnapshotGone(key("k"))));
    store.put(name, record.clone()).await.unwrap();
    store.put(&parts[7], Bytes::from_static(b"something else")).await.unwrap();
    let outcome = node.read_value(&key("k"), &value).await;
    assert!(matches!(&outcome, Err(Refusal::Damaged(text)) if text.contains("blob/")), "{outcome:?}");
}

/// No part is stored for a transaction that is not open: the sweep that removes its parts may have
/// passed already.
#[tokio::test]
async fn an_ended_transaction_stores_no_part() {
    let store = store();
    let node = node(Arc::new(store.clone()), |_| {}).await;
    let attempt = open(&node, fresh_begin()).await.unwrap();
    node.abort(attempt).await.unwrap();
    let batch = Batch { ops: vec![Op::Put(key("k"), value(300_000))], commit: None };
    let outcome = node.run(attempt, batch).await;
    assert!(matches!(outcome, Err(Refusal::Ended | Refusal::NotFound | Refusal::Lost)), "{outcome:?}");
    assert_eq!(store.objects().iter().filter(|(name, _)| name.space == Space::Blob).count(), 0);
}
