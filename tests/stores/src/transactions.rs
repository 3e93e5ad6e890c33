//! Transactions of a node over a store, and the requests that they sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_core::ids::{Key, RequestHash};
use aft_core::message::{Batch, Begin, CommitArgs, Found, Op};
use aft_core::record::{Location, Value, Write};
use aft_node::{Begun, NodeHandle, NodeSettings, fresh_begin};
use aft_store::{Name, Space, Store, Writes};
use bytes::Bytes;

use crate::{Front, Seen};

/// The time within which a node that is always busy must know the store's time to 50 ms.
const NARROW_MAX: Duration = Duration::from_secs(60);

/// The time within which a planned request for the time is sent and answered: half a second since
/// the last one, a second of the server's, and a request that the front holds back.
const PLANNED_MAX: Duration = Duration::from_millis(2_000);

/// Returns the key `number`.
pub fn key(number: usize) -> Key {
    Key::parse(&format!("stock/tea {number}")).expect("the text is short and not empty")
}

/// Returns a write of `value` to the key `number`.
pub fn put(number: usize, value: impl Into<Bytes>) -> Op {
    let bytes = value.into();
    let size = bytes.len() as u64;
    let value =
        Value { location: Location::Inline(bytes), size, etag: Bytes::new(), attributes: Bytes::new() };
    Op::Put(key(number), value)
}

/// Returns a write of a small value that names the key.
pub fn put_small(number: usize) -> Op {
    put(number, format!("value {number}"))
}

/// Starts a node with its default settings.
pub async fn node(store: Arc<dyn Store>) -> NodeHandle {
    let settings = NodeSettings::new(&store.capabilities());
    aft_node::start(store, settings).await.expect("the defaults are fine")
}

/// Runs one transaction in one call.
pub async fn run(node: &NodeHandle, ops: Vec<Op>) -> Begun {
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    node.begin(Box::new(Begin { batch, ..fresh_begin() })).await.expect("nothing is in the way")
}

/// Runs one transaction in one call, for a request whose hash is the byte `id` repeated.
pub async fn run_named(node: &NodeHandle, id: u8, ops: Vec<Op>) -> Begun {
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, hash: RequestHash([id; 32]), named: true, ..fresh_begin() };
    node.begin(Box::new(begin)).await.expect("nothing is in the way")
}

/// Reads one key in a transaction of its own.
pub async fn read(node: &NodeHandle, number: usize) -> Bytes {
    value(run(node, vec![Op::Get(key(number))]).await)
}

/// Reads one key in a fresh transaction.
pub async fn read_fresh(node: &NodeHandle, number: usize) -> Bytes {
    let batch = Batch { ops: vec![Op::Get(key(number))], commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, fresh: true, ..fresh_begin() };
    value(node.begin(Box::new(begin)).await.expect("nothing is in the way"))
}

/// Returns the first value that a transaction read.
fn value(begun: Begun) -> Bytes {
    let Begun::Committed { reads, .. } = begun else { panic!("a fresh request is not replayed") };
    match &reads[0].found {
        Found::Version(_, Write::Put(Value { location: Location::Inline(bytes), .. })) => bytes.clone(),
        other => panic!("{other:?}"),
    }
}

/// Repeats a transaction until no written key is listed first and no request for the time is sent
/// beside it, which is the case once the node's bounds of the store's time are narrow. Returns the
/// result of the last one and its requests.
///
/// # Panics
/// If the bounds are not narrow after [`NARROW_MAX`].
pub async fn when_time_is_known<T>(front: &Front, mut transaction: impl AsyncFnMut() -> T) -> (T, Vec<Seen>) {
    let begun = Instant::now();
    loop {
        front.take();
        let gave = transaction().await;
        let seen = front.take();
        let lists = |one: &Seen| ["LIST version", "Query version"].contains(&one.what().as_str());
        if !seen.iter().any(|one| lists(one) || one.asks_time()) {
            return (gave, seen);
        }
        assert!(begun.elapsed() < NARROW_MAX, "the bounds are wide after {NARROW_MAX:?}");
        // Answers at different fractions of the server's seconds narrow the bounds.
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
}

/// Waits for the request for the time that a commit plans if the bounds are wide, at the end of one
/// of the server's seconds. Then takes the requests since the last call: returns those that do not
/// ask for the time, and the number of those that do.
pub async fn take_settled(front: &Front) -> (Vec<Seen>, usize) {
    tokio::time::sleep(PLANNED_MAX).await;
    let (asked, rest): (Vec<_>, Vec<_>) = front.take().into_iter().partition(Seen::asks_time);
    (rest, asked.len())
}

/// Returns the number of requests for each [`Seen::what`].
pub fn counted(seen: &[Seen]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in seen {
        *counts.entry(request.what()).or_default() += 1;
    }
    counts
}

/// Asserts that the requests are exactly `expected`: each [`Seen::what`] with its number.
pub fn expect(seen: &[Seen], expected: &[(&str, usize)]) {
    let expected = expected.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    assert_eq!(counted(seen), expected);
}

/// Returns the writes of one commit of `n` small entries: its record, named by `request`, and an
/// entry for each of `n` keys, named by `attempt`.
pub fn writes(request: &'static str, attempt: &'static str, n: usize) -> Writes {
    let entry = |i| {
        let name = Name::new(Space::Version, format!("stock/tea {i}"), attempt);
        (name, Bytes::from(format!("{attempt} {i}")))
    };
    let record = (Name::new(Space::Commit, request, ""), Bytes::from(attempt));
    Writes { create: Some(record), puts: (0..n).map(entry).collect() }
}

/// Returns the highest number of requests in flight at the same time.
pub fn at_once(seen: &[Seen]) -> usize {
    let under_way = |at: &Seen| seen.iter().filter(|one| one.from <= at.from && at.from < one.to).count();
    seen.iter().map(under_way).max().unwrap_or_default()
}
