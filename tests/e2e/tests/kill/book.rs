//! The book: everything that the clients saw, as one history; the server's address; the signal to
//! stop.
//!
//! A value is a transaction's number plus one, so it names its writer without help from the server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use aft_e2e::versions::Versions;
use aft_history::{History, KeyNames, Recorder, RequestId, TransactionId};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tokio::sync::watch;

/// The number of keys that all writers write and all readers read: few, so that they conflict.
const POOL_LEN: usize = 12;

/// A request that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    /// The request ID.
    pub(crate) id: String,
    /// The attempt that committed.
    pub(crate) winner: TransactionId,
    /// All keys that it wrote, in order; the ledger key is one of them.
    pub(crate) keys: Vec<String>,
    /// The ledger key that this request alone writes.
    pub(crate) ledger: String,
}

/// One client's handle of the book. All handles share the pages.
#[derive(Clone)]
pub(crate) struct Book {
    epoch: u64,
    server: watch::Receiver<SocketAddr>,
    /// True if other servers share the store.
    is_shared: bool,
    stop: Arc<AtomicBool>,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    recorder: Recorder,
    names: KeyNames,
    /// The commits' versions, as the server reported them.
    versions: Versions,
    acknowledged: Vec<Acknowledged>,
    attempts: u64,
    unknown: u64,
    replayed: u64,
}

impl Book {
    pub(crate) fn new(epoch: u64, server: watch::Receiver<SocketAddr>) -> Book {
        Book { epoch, server, is_shared: false, stop: Arc::default(), pages: Arc::default() }
    }

    /// Returns a handle for a client that follows another server, which may not be the only one on
    /// the store.
    pub(crate) fn at(&self, server: watch::Receiver<SocketAddr>, is_shared: bool) -> Book {
        Book { server, is_shared, ..self.clone() }
    }

    /// Returns true if other servers share the store: then only a fresh transaction sees all that
    /// was acknowledged before.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("no thread panics while it holds the lock")
    }

    /// Returns the current or last address of the server.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.server.borrow()
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn request_id(&self, writer: u64, number: u64) -> String {
        format!("request-{}-{writer}-{number}", self.epoch)
    }

    pub(crate) fn ledger_prefix(&self) -> String {
        format!("ledger/{}/", self.epoch)
    }

    pub(crate) fn ledger_key(&self, writer: u64, number: u64) -> String {
        format!("{}{writer}/{number}", self.ledger_prefix())
    }

    /// Returns the keys that all clients share.
    pub(crate) fn pool(&self) -> Vec<String> {
        (0..POOL_LEN).map(|at| format!("pool/{}/{at:02}", self.epoch)).collect()
    }

    /// Returns `count` different keys of the pool, in random order.
    pub(crate) fn draw(&self, rng: &mut StdRng, count: usize) -> Vec<String> {
        let pool = self.pool();
        rand::seq::index::sample(rng, pool.len(), count).into_iter().map(|at| pool[at].clone()).collect()
    }

    /// Records a new transaction; it is an attempt of `request`, if there is one.
    pub(crate) fn begin(&self, request: Option<RequestId>) -> TransactionId {
        let mut pages = self.pages();
        let transaction = pages.recorder.begin();
        if let Some(request) = request {
            pages.recorder.request(transaction, request);
            pages.attempts += 1;
        }
        transaction
    }

    pub(crate) fn read(&self, transaction: TransactionId, key: &str, value: Option<&Bytes>) {
        let pages = &mut *self.pages();
        let value = value.map_or(0, |value| parse_value(key, value));
        pages.recorder.read(transaction, pages.names.key(key), value);
    }

    pub(crate) fn write(&self, transaction: TransactionId, key: &str) {
        let pages = &mut *self.pages();
        pages.recorder.write(transaction, pages.names.key(key), value_of(transaction));
    }

    /// Records that a reader has read to its end.
    pub(crate) fn finished(&self, reader: TransactionId) {
        self.pages().recorder.commit(reader, None);
    }

    pub(crate) fn aborted(&self, transaction: TransactionId) {
        self.pages().recorder.abort(transaction);
    }

    pub(crate) fn unknown(&self) {
        self.pages().unknown += 1;
    }

    /// Records that a request's outcome is known: one of its attempts committed, the others did not
    /// and never will.
    pub(crate) fn acknowledged(&self, request: Acknowledged, attempts: &[TransactionId], version: &str) {
        let mut pages = self.pages();
        let winner = request.winner;
        assert!(
            attempts.contains(&winner),
            "{request:?} was committed by a transaction that is not among its attempts {attempts:?}"
        );
        for &attempt in attempts {
            if attempt != winner {
                pages.recorder.abort(attempt);
            }
        }
        pages.recorder.commit(winner, None);
        pages.replayed += u64::from(attempts.last() != Some(&winner));
        pages.versions.insert(winner, version);
        pages.acknowledged.push(request);
    }

    /// Returns a random acknowledged request.
    pub(crate) fn any_acknowledged(&self, rng: &mut StdRng) -> Option<Acknowledged> {
        let pages = self.pages();
        let count = pages.acknowledged.len();
        (count > 0).then(|| pages.acknowledged[rng.random_range(0..count)].clone())
    }

    pub(crate) fn all_acknowledged(&self) -> Vec<Acknowledged> {
        self.pages().acknowledged.clone()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.pages().acknowledged.len() as u64
    }

    /// Returns for each shared key the newest committed transaction that wrote it, in the server's
    /// order.
    pub(crate) fn newest(&self) -> BTreeMap<String, TransactionId> {
        let pages = self.pages();
        let mut newest = BTreeMap::new();
        for request in &pages.acknowledged {
            for key in request.keys.iter().filter(|key| **key != request.ledger) {
                let best = newest.entry(key.clone()).or_insert(request.winner);
                if pages.versions.get(request.winner) > pages.versions.get(*best) {
                    *best = request.winner;
                }
            }
        }
        newest
    }

    /// Returns the history, with the commits' ranks in the server's order as their stamps.
    pub(crate) fn history(&self) -> History {
        let pages = self.pages();
        pages.versions.stamped(pages.recorder.history())
    }

    pub(crate) fn summary(&self) -> String {
        let pages = self.pages();
        format!(
            "{} requests in {} attempts ({} of unknown outcome, {} requests won by an earlier attempt), {} transactions in all",
            pages.acknowledged.len(),
            pages.attempts,
            pages.unknown,
            pages.replayed,
            pages.recorder.history().transactions().len()
        )
    }
}

/// Returns the value that a transaction writes, to every key.
pub(crate) fn value_of(transaction: TransactionId) -> u64 {
    transaction.number().expect("a recorder numbers its transactions") + 1
}

/// Returns the transaction that wrote `value`.
pub(crate) fn writer_of(value: u64) -> TransactionId {
    TransactionId::new(value.checked_sub(1).expect("0 is no value"))
}

/// Returns the bytes of `value`: the number, and padding, so that some are large.
pub(crate) fn value_bytes(value: u64, rng: &mut StdRng) -> Bytes {
    let padding = if rng.random_bool(0.1) { rng.random_range(0..20_000) } else { rng.random_range(0..100) };
    let mut bytes = format!("{value} ").into_bytes();
    let from = bytes.len();
    bytes.resize(from + padding, 0);
    rng.fill_bytes(&mut bytes[from..]);
    bytes.into()
}

/// Returns the number in a value's bytes.
pub(crate) fn parse_value(key: &str, bytes: &Bytes) -> u64 {
    let number = bytes.split(|byte| *byte == b' ').next().and_then(|digits| std::str::from_utf8(digits).ok());
    number
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{key} holds a value that no client wrote: {bytes:?}"))
}
