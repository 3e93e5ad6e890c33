//! An open transaction: what it read, what it would write, and how long it may stay.
//!
//! The read set is an *atomic read set* at every instant (the paper's section 3.2): for every version in it and every key that its transaction
//! wrote too, the key is absent from the set or present at that version or a newer one. [`Transaction::lower_bound`] and
//! [`Transaction::rejects`] are the two halves of the rule that keeps it so.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{AttemptId, Fingerprint, Hlc, Key, RequestHash, Session, TxnId};
use crate::message::{Header, Ticket, Visibility};
use crate::record::{LARGE_RESULT_BYTES, LargeResult, Record, Write, write_bytes_max};

/// A version in the read set.
#[derive(Debug, Clone, Hash)]
pub(super) struct ReadVersion {
    /// The version's transaction; `None`: absent, older than everything.
    pub(super) header: Option<Arc<Header>>,
    /// The client has been told. Until then the choice may be taken back.
    pub(super) delivered: bool,
    /// When the listing was asked that the choice rests on, by the monotonic clock.
    pub(super) basis_mono: u64,
}

/// A range of keys that was listed: what is in it and not in the read set was read as absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ListedRange {
    pub(super) prefix: String,
    /// Exclusive.
    pub(super) after: Option<String>,
    /// Inclusive; `None`: the end of the prefix.
    pub(super) through: Option<String>,
}

impl ListedRange {
    pub(super) fn contains(&self, key: &str) -> bool {
        key.starts_with(&self.prefix)
            && self.after.as_deref().is_none_or(|after| key > after)
            && self.through.as_deref().is_none_or(|through| key <= through)
    }
}

/// Whom to tell how a commit ended, and in which form.
#[derive(Debug, Clone, Hash)]
pub(super) struct CommitWaiter {
    pub(super) ticket: Ticket,
    pub(super) form: CommitForm,
    /// When it has waited long enough, by the monotonic clock; counts from the commit's start on.
    pub(super) until_mono: u64,
}

impl CommitWaiter {
    pub(super) fn new(ticket: crate::message::Ticket, form: CommitForm) -> CommitWaiter {
        CommitWaiter { ticket, form, until_mono: u64::MAX }
    }
}

/// The form of the reply to a commit.
#[derive(Debug, Clone, Hash)]
pub(super) enum CommitForm {
    /// [`Reply::Committed`](crate::message::Reply::Committed).
    Alone,
    /// [`Reply::Ran`](crate::message::Reply::Ran), with what was read.
    Ran(Vec<crate::message::Read>),
    /// [`Reply::Begun`](crate::message::Reply::Begun), with what was read.
    Begun(AttemptId, Vec<crate::message::Read>),
}

/// Where a transaction stands.
#[derive(Debug, Clone, Hash)]
pub(super) enum Phase {
    /// Operations are welcome.
    Open,
    /// A commit was asked and waits for operations under way.
    Closing(Option<bytes::Bytes>, Vec<CommitWaiter>),
    /// The commit record may have been sent.
    Committing(Arc<Record>, Vec<CommitWaiter>),
}

/// Commits that a session has seen and whose records are slim, gone or too old: they set no bound, since newer versions of all their keys are there, and a fresh listing
/// shows them. But what it shows may be rejected (protocol 5.4), and what is below may then be older than what the session has seen.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Collected {
    by_key: BTreeMap<Key, TxnId>,
    /// The newest of those whose keys are not known.
    of_any_key: Option<TxnId>,
    is_any: bool,
}

impl Collected {
    pub(super) fn add(&mut self, txn: TxnId, keys: Option<Vec<Key>>) {
        self.is_any = true;
        match keys {
            None => self.of_any_key = self.of_any_key.max(Some(txn)),
            Some(keys) => {
                for key in keys {
                    let newest = self.by_key.entry(key).or_insert(txn);
                    *newest = (*newest).max(txn);
                }
            }
        }
    }

    pub(super) fn is_any(&self) -> bool {
        self.is_any
    }

    /// The newest of them that wrote the key, or may have.
    pub(super) fn newest_of(&self, key: &Key) -> Option<TxnId> {
        self.by_key.get(key).copied().max(self.of_any_key)
    }
}

#[derive(Debug, Clone, Hash)]
pub(super) struct Transaction {
    pub(super) attempt: AttemptId,
    pub(super) hash: RequestHash,
    pub(super) named: bool,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) retention_ms: u64,
    pub(super) visibility: Visibility,
    /// By the monotonic clock. No commit record is sent after it.
    pub(super) deadline_mono: u64,
    /// The node's clock at its begin; the collector's horizon stays below it.
    pub(super) began: Hlc,
    pub(super) session: Session,
    /// What the session has seen of commits that set no bound. If there is any, every first read must rest on a listing asked since the begin.
    pub(super) collected: Collected,
    /// Store calls made from now on have this number or a greater one.
    pub(super) began_call: u64,
    pub(super) reads: BTreeMap<Key, ReadVersion>,
    pub(super) ranges: Vec<ListedRange>,
    /// The newest transaction of the read set and the floor that wrote the key.
    lower: BTreeMap<Key, Arc<Header>>,
    floor: Vec<Arc<Header>>,
    pub(super) buffer: BTreeMap<Key, Write>,
    /// Bytes of inline values in the buffer.
    pub(super) inline_bytes: usize,
    /// The result to replay, if the commit brings none.
    pub(super) large_result: Option<LargeResult>,
    /// Bytes of the buffer and of the large result's place in a stored commit record, at most.
    pub(super) record_bytes: usize,
    /// What the last batch was that carried a commit.
    pub(super) carrier: Option<u64>,
    /// An intent for this attempt is durable.
    pub(super) intent_durable: bool,
    pub(super) blobs: u32,
    /// Operations under way.
    pub(super) operations: usize,
    pub(super) phase: Phase,
    /// What this transaction counts for in the node's sum: [`Transaction::bytes`] after its last operation.
    pub(super) weighed: usize,
}

/// What an open transaction holds besides its buffer and its reads: its own places, its request's, its timer's.
const TRANSACTION_BYTES: usize = 1_024;
/// What a write in the buffer, a read, or a bound on a key holds besides the bytes of a value: a place in a map, the key's text, a header's share.
const ITEM_BYTES: usize = 256;

/// Items that a listed range counts for: its texts may be as long as three keys.
const RANGE_ITEMS: usize = 13;

impl Transaction {
    pub(super) fn new(
        begin: &crate::message::Begin,
        retention_ms: u64,
        deadline_mono: u64,
        began: Hlc,
        began_call: u64,
    ) -> Transaction {
        Transaction {
            attempt: begin.attempt,
            hash: begin.hash,
            named: begin.named,
            fingerprint: begin.fingerprint,
            retention_ms,
            visibility: begin.visibility,
            deadline_mono,
            began,
            session: begin.session.clone(),
            collected: Collected::default(),
            began_call,
            reads: BTreeMap::new(),
            ranges: Vec::new(),
            lower: BTreeMap::new(),
            floor: Vec::new(),
            buffer: BTreeMap::new(),
            inline_bytes: 0,
            large_result: None,
            record_bytes: 0,
            carrier: None,
            intent_durable: false,
            blobs: 0,
            operations: 0,
            phase: Phase::Open,
            weighed: 0,
        }
    }

    /// A range was listed: it goes on from the last one, or is one more.
    pub(super) fn add_range(&mut self, range: ListedRange) {
        match self.ranges.last_mut() {
            Some(last) if *last == range => {}
            Some(last)
                if range.after.is_some() && last.prefix == range.prefix && last.through == range.after =>
            {
                last.through = range.through;
            }
            Some(_) | None => self.ranges.push(range),
        }
    }

    /// What it holds, about.
    pub(super) fn bytes(&self) -> usize {
        let items = self.buffer.len() + self.reads.len() + self.lower.len() + RANGE_ITEMS * self.ranges.len();
        TRANSACTION_BYTES + self.record_bytes + items * ITEM_BYTES
    }

    /// A commit that the session has seen: a lower bound for every key that it wrote.
    pub(super) fn add_floor(&mut self, header: Arc<Header>) {
        self.raise(&header);
        self.floor.push(header);
    }

    /// Puts a version into the read set.
    pub(super) fn add_read(&mut self, key: Key, header: Option<Arc<Header>>, basis_mono: u64) {
        if let Some(header) = &header {
            self.raise(header);
        }
        let before = self.reads.insert(key, ReadVersion { header, delivered: false, basis_mono });
        assert!(before.is_none(), "a key enters the read set once");
    }

    /// Takes a choice back that nobody was told of.
    pub(super) fn take_back(&mut self, key: &Key) {
        let read = self.reads.remove(key).expect("only what is in the read set is taken back");
        assert!(!read.delivered, "what the client was told stays");
        self.lower.clear();
        let known: Vec<Arc<Header>> = self
            .reads
            .values()
            .filter_map(|read| read.header.clone())
            .chain(self.floor.iter().cloned())
            .collect();
        known.iter().for_each(|header| self.raise(header));
    }

    fn raise(&mut self, header: &Arc<Header>) {
        for (key, _) in header.writes.iter() {
            let bound = self.lower.entry(key.clone()).or_insert_with(|| header.clone());
            if bound.txn < header.txn {
                *bound = header.clone();
            }
        }
    }

    /// Protocol 5.3, the paper's case 1: the key may not be read at a version older than this one.
    pub(super) fn lower_bound(&self, key: &Key) -> Option<&Arc<Header>> {
        self.lower.get(key)
    }

    /// Headers whose keys a listing must not miss: those of the read set and the floor.
    pub(super) fn bounds_in_order(&self) -> impl Iterator<Item = &Key> {
        self.lower.keys()
    }

    /// Whether the key was read as absent by a listing of its range.
    pub(super) fn listed_as_absent(&self, key: &Key) -> bool {
        !self.reads.contains_key(key) && self.ranges.iter().any(|range| range.contains(key.as_str()))
    }

    /// Protocol 5.4, the paper's case 2: a candidate is rejected if one of its cowritten keys was read at an older version, absent being older than
    /// everything.
    pub(super) fn rejects(&self, candidate: &Header, bug: impl Fn(Bug) -> bool) -> bool {
        if bug(Bug::DropUpperBound) {
            return false;
        }
        candidate.writes.iter().any(|(key, _)| match self.reads.get(key) {
            Some(ReadVersion { header: Some(header), .. }) => older(header.txn, candidate.txn, &bug),
            Some(ReadVersion { header: None, .. }) => !bug(Bug::TreatAbsentAsNewer),
            None => self.listed_as_absent(key) && !bug(Bug::TreatAbsentAsNewer),
        })
    }

    /// The newest commit time that this transaction has seen; its own is greater.
    pub(super) fn newest_seen(&self) -> Hlc {
        let reads = self.reads.values().filter_map(|read| read.header.as_ref()).map(|header| header.txn.time);
        let session = self.session.iter().map(|entry| entry.txn.time);
        reads.chain(session).max().unwrap_or_default()
    }

    /// Panics if the read set is not atomic, or the buffer is not what was counted.
    pub(super) fn check_invariants(&self) {
        let inline_bytes: usize = self.buffer.values().map(Write::inline_bytes).sum();
        assert_eq!(self.inline_bytes, inline_bytes, "inline bytes of the buffer are counted");
        let writes: usize = self.buffer.iter().map(|(key, write)| write_bytes_max(key, write.value())).sum();
        let result = self.large_result.map_or(0, |_| LARGE_RESULT_BYTES);
        assert_eq!(self.record_bytes, writes + result, "bytes of the buffer are counted");
        for (key, read) in &self.reads {
            let Some(header) = &read.header else { continue };
            assert!(
                header.writes.iter().any(|(other, _)| other == key),
                "read {key} from a transaction that did not write it"
            );
            for (other, _) in header.writes.iter() {
                let Some(sibling) = self.reads.get(other) else { continue };
                let seen = sibling.header.as_ref().map(|header| header.txn);
                assert!(
                    seen >= Some(header.txn),
                    "fractured read set in {}: {key} at {}, {other} at {seen:?}",
                    self.attempt,
                    header.txn
                );
            }
        }
    }
}

fn older(a: TxnId, b: TxnId, bug: &impl Fn(Bug) -> bool) -> bool {
    if bug(Bug::OrderByTimeOnly) { a.time < b.time } else { a < b }
}
