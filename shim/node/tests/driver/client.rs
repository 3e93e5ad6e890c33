//! Short forms of the calls that the tests make.

use std::sync::Arc;

use aft_core::ids::{AttemptId, Fingerprint, Key, RequestHash};
use aft_core::message::{Batch, Begin, CommitArgs, Found, Op, Read, Refusal};
use aft_core::record::{Location, Value, Write};
use aft_format::request_hash;
use aft_node::{Begun, Ended, NodeHandle, NodeSettings, Ran, State, fresh_begin, start};
use aft_store::Store;
use bytes::Bytes;

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

pub(crate) fn hash(id: &str) -> RequestHash {
    request_hash("local", "", id)
}

pub(crate) fn put(at: &str, bytes: impl Into<Bytes>) -> Op {
    let bytes = bytes.into();
    let size = bytes.len() as u64;
    let value =
        Value { location: Location::Inline(bytes), size, etag: Bytes::new(), attributes: Bytes::new() };
    Op::Put(key(at), value)
}

/// Starts a node with the default settings of `store`, changed by `change`.
pub(crate) async fn node(store: Arc<dyn Store>, change: impl FnOnce(&mut NodeSettings)) -> NodeHandle {
    let mut settings = NodeSettings::new(&store.capabilities());
    change(&mut settings);
    let node = start(store, settings).await.unwrap();
    assert_eq!(node.ready(), State::Serving);
    node
}

/// Makes the opening of a new attempt of a named request.
pub(crate) fn begin_named(id: &str) -> Begin {
    Begin { hash: hash(id), named: true, fingerprint: Some(Fingerprint([1; 32])), ..fresh_begin() }
}

/// Opens a transaction; panics on a replay.
pub(crate) async fn open(node: &NodeHandle, begin: Begin) -> Result<AttemptId, Refusal> {
    match node.begin(Box::new(begin)).await? {
        Begun::Open { attempt, .. } => Ok(attempt),
        begun => panic!("begin was answered with {begun:?}"),
    }
}

pub(crate) async fn run(node: &NodeHandle, attempt: AttemptId, ops: Vec<Op>) -> Result<Vec<Read>, Refusal> {
    match node.run(attempt, Batch { ops, commit: None }).await? {
        Ran::Open { reads } => Ok(reads),
        ran => panic!("a batch was answered with {ran:?}"),
    }
}

pub(crate) fn inline(read: &Read) -> Option<Bytes> {
    match &read.found {
        Found::Own(Write::Put(value)) | Found::Version(_, Write::Put(value)) => match &value.location {
            Location::Inline(bytes) => Some(bytes.clone()),
            Location::Blob(blob) => panic!("{} is in {blob:?}", read.key),
        },
        Found::Own(Write::Tombstone) | Found::Version(_, Write::Tombstone) | Found::Absent => None,
    }
}

pub(crate) async fn commit(node: &NodeHandle, attempt: AttemptId, result: &str) -> Result<Ended, Refusal> {
    let args = CommitArgs { result: Some(Bytes::copy_from_slice(result.as_bytes())), request: None };
    node.commit(attempt, args).await
}

/// Reads keys in a new transaction.
pub(crate) async fn read(node: &NodeHandle, keys: &[&str]) -> Result<Vec<Option<Bytes>>, Refusal> {
    let attempt = open(node, fresh_begin()).await?;
    let reads = run(node, attempt, keys.iter().map(|at| Op::Get(key(at))).collect()).await;
    let _ = node.abort(attempt).await;
    Ok(reads?.iter().map(inline).collect())
}

/// Writes keys in a new transaction, and commits it.
pub(crate) async fn write(node: &NodeHandle, puts: Vec<Op>) -> Result<Ended, Refusal> {
    let attempt = open(node, fresh_begin()).await?;
    run(node, attempt, puts).await?;
    commit(node, attempt, "").await
}
