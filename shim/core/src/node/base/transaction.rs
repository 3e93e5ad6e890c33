//! An open transaction: its reads, its writes, its commit and its deadline.
//!
//! The read set is an *atomic read set* at every instant (the paper's section 3.2): for every
//! version in it and every key that its transaction wrote too, the key is absent from the set, or
//! present at that version or a newer one, or was deleted since. [`Transaction::lower_bound`] and
//! [`Transaction::rejection`] are the two halves of the rule that keeps it so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bug::Bug;
use crate::clock::Moment;
use crate::ids::{AttemptId, Fingerprint, Hlc, Key, RequestHash, Session, SessionEntry, TxnId};
use crate::message::{Begin, Conflict, Header, Isolation, Read, Ticket};
use crate::record::{
    BlobGroup, Follows, LARGE_RESULT_BYTES, LargeResult, Record, VersionEntry, Write, write_bytes_max,
};

use super::calls::Limit;
use super::checks::{Checks, Reads};
use super::read_set::{Basis, ListedRange, ReadVersion};

/// A waiter for the end of a commit.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct CommitWaiter {
    pub(in crate::node) ticket: Ticket,
    pub(in crate::node) form: CommitForm,
    /// The monotonic instant, in milliseconds, at which its wait times out. It is set when the
    /// commit starts.
    pub(in crate::node) until_mono: u64,
}

impl CommitWaiter {
    pub(in crate::node) fn new(ticket: Ticket, form: CommitForm) -> CommitWaiter {
        CommitWaiter { ticket, form, until_mono: u64::MAX }
    }
}

/// The form of the reply to a commit.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) enum CommitForm {
    /// [`Reply::Committed`](crate::message::Reply::Committed).
    Alone,
    /// [`Reply::Ran`](crate::message::Reply::Ran), with the batch's reads.
    Ran(Vec<Read>),
    /// [`Reply::Begun`](crate::message::Reply::Begun), with the batch's reads.
    Begun(AttemptId, Vec<Read>),
}

/// The phase of an open transaction.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) enum Phase {
    /// The transaction accepts operations.
    Open,
    /// A commit was requested, and waits for operations in flight.
    Closing(Option<bytes::Bytes>, Vec<CommitWaiter>),
    /// A commit was requested; its time is not taken yet, and nothing was sent.
    Preparing(Option<bytes::Bytes>, Vec<CommitWaiter>),
    /// The commit may have been sent.
    Committing(Arc<Record>, Vec<CommitWaiter>),
    /// The record and every entry are durable; the store's time must pass the commit time before
    /// the commit may be reported.
    Passing(Arc<Record>, Vec<CommitWaiter>),
}

/// A cache of judgements. They follow from the rest of the state, so the hash of the state leaves
/// them out.
#[derive(Debug, Clone, Default)]
struct Judged(BTreeMap<TxnId, (u64, Rejection)>);

impl std::hash::Hash for Judged {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// The judgement of a candidate against the read set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Rejection {
    /// The candidate is compatible with everything that was read.
    None,
    /// A key that it wrote was read as absent by a listing that may reflect a later deletion. It is
    /// compatible if nothing was removed behind the reads.
    UnlessDeleted,
    /// A key that it wrote was read at an older version, so it is not compatible.
    Rejected,
}

/// The moment of a begin. The transaction's timeout counts from it, and includes the look-up of the
/// request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) struct Began {
    pub(in crate::node) at: Moment,
    /// The number of the next store call at that moment.
    pub(in crate::node) call: u64,
}

/// The data by which a serializable transaction is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) struct Checked {
    /// The number of commits that had ended when it began.
    pub(in crate::node) began: u64,
    /// The number of conflicts that its request has met.
    pub(in crate::node) conflicts: u32,
}

#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Transaction {
    pub(in crate::node) attempt: AttemptId,
    pub(in crate::node) hash: RequestHash,
    pub(in crate::node) named: bool,
    pub(in crate::node) fingerprint: Option<Fingerprint>,
    pub(in crate::node) retention_ms: u64,
    /// The deadline, after which nothing is sent for it.
    pub(in crate::node) deadline: Limit,
    /// The monotonic instant at which its timer fires.
    pub(in crate::node) deadline_mono: u64,
    pub(in crate::node) session: Session,
    /// The greatest commit time, in milliseconds, that is trusted for commits that its session
    /// names and that were not found. It is set when the commit takes its own time.
    pub(in crate::node) believed_ms: u64,
    /// True if every first read must rest on a listing made since the begin.
    pub(in crate::node) fresh: bool,
    /// The requested level.
    pub(in crate::node) isolation: Option<Isolation>,
    /// The data by which its reads are checked, if it commits as a serializable transaction.
    pub(in crate::node) checked: Option<Checked>,
    /// True if its entries are locks, and its reads are checked after they are taken and before the
    /// record is created. Decided when it commits.
    pub(in crate::node) locks: bool,
    /// The number of the next store call when it began.
    pub(in crate::node) began_call: u64,
    pub(in crate::node) reads: BTreeMap<Key, ReadVersion>,
    pub(in crate::node) ranges: BTreeSet<ListedRange>,
    /// The range that was added last, which the next one may continue.
    last_range: Option<ListedRange>,
    /// The lower bounds: for each key, the newest transaction of the read set and the floor that
    /// wrote it.
    lower: BTreeMap<Key, Arc<Header>>,
    /// The number of times that a key or a range was read as absent, or a choice was taken back.
    absences: u64,
    /// Judgements of transactions that are lower bounds, each with the value of `absences` then.
    judged: Judged,
    /// The commits that the session has seen.
    floor: Vec<Arc<Header>>,
    pub(in crate::node) buffer: BTreeMap<Key, Write>,
    /// The size of the inline values in the buffer, in bytes.
    pub(in crate::node) inline_bytes: usize,
    /// The result for later attempts, if the commit itself has none.
    pub(in crate::node) large_result: Option<LargeResult>,
    /// The greatest size of the buffer and of the large result's place in a stored commit record,
    /// in bytes.
    pub(in crate::node) record_bytes: usize,
    /// A digest of the last batch that carried a commit.
    pub(in crate::node) carrier: Option<u64>,
    /// The group of its blobs, once one was reserved.
    pub(in crate::node) blob_group: Option<BlobGroup>,
    pub(in crate::node) blobs: u32,
    /// The number of operations in flight.
    pub(in crate::node) operations: usize,
    pub(in crate::node) phase: Phase,
    /// Its share of the node's sum, in bytes: [`Transaction::bytes`] after its last operation.
    pub(in crate::node) weighed: usize,
}

/// The estimated size of an open transaction without its buffer and its reads: itself, its request
/// and its timer.
const TRANSACTION_BYTES: usize = 1_024;
/// The estimated size of a write in the buffer, a read, or a bound on a key, without the bytes of a
/// value: a place in a map, the key's text, a share of a header.
const ITEM_BYTES: usize = 256;
/// The number of items that a listed range counts as: its texts may be as long as three keys.
const RANGE_ITEMS: usize = 13;

impl Transaction {
    pub(in crate::node) fn new(
        begin: &Begin,
        retention_ms: u64,
        (deadline, deadline_mono): (Limit, u64),
        fresh: bool,
        began_call: u64,
    ) -> Transaction {
        Transaction {
            attempt: begin.attempt,
            hash: begin.hash,
            named: begin.named,
            fingerprint: begin.fingerprint,
            retention_ms,
            deadline,
            deadline_mono,
            session: begin.session.clone(),
            believed_ms: u64::MAX,
            fresh,
            isolation: begin.isolation,
            checked: None,
            locks: false,
            began_call,
            reads: BTreeMap::new(),
            ranges: BTreeSet::new(),
            last_range: None,
            lower: BTreeMap::new(),
            absences: 0,
            judged: Judged::default(),
            floor: Vec::new(),
            buffer: BTreeMap::new(),
            inline_bytes: 0,
            large_result: None,
            record_bytes: 0,
            carrier: None,
            blob_group: None,
            blobs: 0,
            operations: 0,
            phase: Phase::Open,
            weighed: 0,
        }
    }

    /// Returns true if its caller asked for the serializable level, independently of its keys.
    pub(in crate::node) fn is_serializable(&self) -> bool {
        self.isolation == Some(Isolation::Serializable)
    }

    /// Notes that a commit was requested and waits for operations in flight.
    pub(in crate::node) fn close(&mut self, result: Option<bytes::Bytes>, waiter: CommitWaiter) {
        assert!(matches!(self.phase, Phase::Open), "a commit is asked of an open transaction");
        assert!(self.operations > 0, "a commit waits for operations only if there are some");
        self.phase = Phase::Closing(result, vec![waiter]);
    }

    /// Takes the commit that waited for operations. The transaction is open until it starts.
    pub(in crate::node) fn take_closing(&mut self) -> Option<(Option<bytes::Bytes>, Vec<CommitWaiter>)> {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Closing(result, waiters) => {
                assert_eq!(self.operations, 0, "a commit starts when all operations are done");
                Some((result, waiters))
            }
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Starts a commit: its time is to be taken.
    pub(in crate::node) fn prepare(&mut self, result: Option<bytes::Bytes>, waiters: Vec<CommitWaiter>) {
        assert!(matches!(self.phase, Phase::Open), "a commit starts once");
        assert!(!waiters.is_empty(), "a commit has a waiter");
        let stores = self.named || !self.buffer.is_empty();
        assert!(stores || self.is_serializable(), "a commit stores something, or is checked");
        self.phase = Phase::Preparing(result, waiters);
    }

    /// Takes the commit time, after which the commit may be sent. Returns its record. `follows` are
    /// the versions that its writes follow, if its entries are locks.
    pub(in crate::node) fn take_time(&mut self, time: Hlc, follows: Option<Follows>) -> Arc<Record> {
        assert!(time > self.newest_seen(), "a commit's time is above all that it read");
        assert_eq!(follows.is_some(), self.locks, "exactly the writes under locks follow versions");
        // A write must follow the version that the client read. If the client has not read the key,
        // it may follow a newer version.
        for (key, version) in self.buffer.keys().zip(follows.iter().flat_map(|of| of.versions.iter())) {
            let read = self.reads.get(key).expect("a key that is written under a lock was read");
            let is_newer = *version > read.version() && !read.delivered;
            assert!(is_newer || *version == read.version(), "a write follows what its client read");
        }
        let Phase::Preparing(result, waiters) = std::mem::replace(&mut self.phase, Phase::Open) else {
            unreachable!("the time of a commit is taken once")
        };
        let record = Arc::new(Record {
            txn: TxnId { time, attempt: self.attempt },
            hash: self.hash,
            named: self.named,
            fingerprint: self.fingerprint,
            retention_ms: self.retention_ms,
            large_result: self.large_result.filter(|_| result.is_none()),
            result,
            writes: self.buffer.iter().map(|(key, write)| (key.clone(), write.clone())).collect(),
            follows,
        });
        record.check_invariants();
        assert_eq!(record.writes.len(), self.buffer.len(), "a record has the whole buffer");
        self.phase = Phase::Committing(record.clone(), waiters);
        record
    }

    /// Replaces the record of a commit by the one that was written, whose writes may follow other
    /// versions than planned.
    pub(in crate::node) fn was_written_as(&mut self, written: Arc<Record>) {
        let Phase::Committing(record, _) = &mut self.phase else { unreachable!("it was being written") };
        assert_eq!(record.txn, written.txn, "the written record is that of the commit");
        assert_eq!(record.writes, written.writes, "the written record is that of the commit");
        *record = written;
    }

    /// Notes that the record and every entry are durable, so that only the wait for the store's
    /// time remains.
    pub(in crate::node) fn pass(&mut self) {
        let Phase::Committing(record, waiters) = std::mem::replace(&mut self.phase, Phase::Open) else {
            unreachable!("a durable commit was sent")
        };
        assert_eq!(record.txn.attempt, self.attempt, "a commit is its own attempt's");
        self.phase = Phase::Passing(record, waiters);
    }

    /// Reopens the transaction, after a commit that took no effect and has no waiters left.
    pub(in crate::node) fn reopen(&mut self) {
        assert!(!matches!(self.phase, Phase::Passing(..)), "a durable commit is not reopened");
        let waiters = self.waiters_mut().expect("a commit was asked");
        assert!(waiters.is_empty(), "all waiters have been answered");
        self.phase = Phase::Open;
    }

    /// Adds a range that was listed. It is merged with the last one if it continues it. A range
    /// that is listed again counts once.
    pub(in crate::node) fn add_range(&mut self, mut range: ListedRange) {
        let through = range.through.as_deref();
        let goes_on = range.after.as_deref().is_none_or(|after| through.is_none_or(|to| after <= to));
        assert!(goes_on, "a range ends behind its start");
        self.absences += 1;
        let continued = self.last_range.take().filter(|last| {
            range.after.is_some() && last.prefix == range.prefix && last.through == range.after
        });
        if let Some(last) = continued {
            let was_listed = self.ranges.remove(&last);
            assert!(was_listed, "the last range is one of them");
            // The pages become one range, for which only the oldest mark holds.
            range.after = last.after;
            range.mark = range.mark.min(last.mark);
        }
        self.ranges.insert(range.clone());
        self.last_range = Some(range);
    }

    /// Returns a conflict of its reads with another commit, if it is checked and there is one.
    pub(in crate::node) fn conflict(&self, checks: &Checks, bug: impl Fn(Bug) -> bool) -> Option<Conflict> {
        let Checked { began, .. } = self.checked?;
        let (attempt, delivered_only) = (self.attempt, self.locks);
        let reads = Reads { attempt, began, keys: &self.reads, ranges: &self.ranges, delivered_only };
        checks.conflict(reads, bug)
    }

    /// Returns its estimated size in bytes.
    pub(in crate::node) fn bytes(&self) -> usize {
        let items = self.buffer.len() + self.reads.len() + self.lower.len() + RANGE_ITEMS * self.ranges.len();
        TRANSACTION_BYTES + self.record_bytes + items * ITEM_BYTES
    }

    /// Adds a commit that the session has seen, which is a lower bound for every key that it wrote.
    pub(in crate::node) fn add_floor(&mut self, header: Arc<Header>) {
        assert!(self.reads.is_empty(), "the floor is known before the first read");
        self.raise(&header);
        self.floor.push(header);
    }

    /// Adds a version, or an absence, to the read set.
    pub(in crate::node) fn add_read(
        &mut self,
        key: Key,
        header: Option<Arc<Header>>,
        basis: Basis,
        strays: Vec<VersionEntry>,
    ) {
        if let Some(header) = &header {
            let bound = self.lower.get(&key).map(|bound| bound.txn);
            assert!(bound <= Some(header.txn), "a read never goes back below its lower bound");
            assert!(header.meta(&key).is_some(), "a version's key is in its write set");
            // Raising walks over all keys of the transaction. If it is the bound already, they were
            // raised before; to raise them again would make a listing of one large commit's keys
            // quadratic.
            if bound != Some(header.txn) {
                self.raise(header);
            }
        } else {
            self.absences += 1;
        }
        let before = self.reads.insert(key, ReadVersion { header, delivered: false, basis, strays });
        assert!(before.is_none(), "a key enters the read set once");
    }

    /// Removes a choice from the read set that was not returned to the client.
    pub(in crate::node) fn take_back(&mut self, key: &Key) {
        let read = self.reads.remove(key).expect("only what is in the read set is taken back");
        assert!(!read.delivered, "a delivered read is not taken back");
        // Rebuild the bounds without those that came from the choice.
        self.absences += 1;
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
            assert!(bound.txn >= header.txn, "a lower bound only rises");
        }
    }

    /// Returns the version below which the key may not be read (protocol, section 5, step 3; the
    /// paper's case 1).
    pub(in crate::node) fn lower_bound(&self, key: &Key) -> Option<&Arc<Header>> {
        let bound = self.lower.get(key)?;
        assert!(bound.meta(key).is_some(), "a lower bound wrote the key");
        Some(bound)
    }

    /// Returns the keys within bounds that a listing must not miss, in order: those written by
    /// transactions of the read set and the floor.
    pub(in crate::node) fn bounds_in_order(
        &self,
        within: (std::ops::Bound<&str>, std::ops::Bound<&str>),
    ) -> impl Iterator<Item = &Key> {
        self.lower.range::<str, _>(within).map(|(key, _)| key)
    }

    /// Returns the mark of the listing that showed the key as absent, if its range was listed and
    /// it is not in the read set.
    pub(in crate::node) fn listed_as_absent(&self, key: &Key) -> Option<TxnId> {
        if self.reads.contains_key(key) {
            return None;
        }
        let ranges = self.ranges.iter().filter(|range| range.contains(key.as_str()));
        ranges.map(|range| range.mark).min()
    }

    /// Judges a candidate for `key` (protocol, section 5, step 5; the paper's case 2). It is
    /// rejected if one of its cowritten keys was read at an older version, unless that key was
    /// deleted since. Absent is older than everything.
    ///
    /// A candidate that is the key's lower bound was judged when it was first read, or was known
    /// before the first read, and versions that were read since are not older. So only absences
    /// since then can reject it, and it is judged again only if there are new ones.
    pub(in crate::node) fn rejection(
        &mut self,
        key: &Key,
        candidate: &Header,
        bug: impl Fn(Bug) -> bool,
    ) -> Rejection {
        let is_bound = self.lower.get(key).is_some_and(|bound| bound.txn == candidate.txn);
        if !is_bound {
            return self.judge(candidate, bug);
        }
        match self.judged.0.get(&candidate.txn) {
            Some((absences, judgement)) if *absences == self.absences => *judgement,
            Some(_) | None => {
                let judgement = self.judge(candidate, bug);
                self.judged.0.insert(candidate.txn, (self.absences, judgement));
                judgement
            }
        }
    }

    fn judge(&self, candidate: &Header, bug: impl Fn(Bug) -> bool) -> Rejection {
        if bug(Bug::DropUpperBound) {
            return Rejection::None;
        }
        let mut judgement = Rejection::None;
        for (key, _) in candidate.writes.iter() {
            // The mark of the listing by which the key was read as absent.
            let absent_by = match self.reads.get(key) {
                Some(ReadVersion { header: Some(header), .. }) => {
                    if older(header.txn, candidate.txn, &bug) {
                        return Rejection::Rejected;
                    }
                    continue;
                }
                Some(ReadVersion { header: None, basis, .. }) => basis.mark,
                None => match self.listed_as_absent(key) {
                    Some(mark) => mark,
                    None => continue,
                },
            };
            if bug(Bug::TreatAbsentAsNewest) {
                continue;
            }
            // Above the mark of the listing, absence means that the candidate was not entered yet,
            // so the key was read before the candidate. At or below it, the key was deleted after
            // the candidate and the deletion collected.
            if candidate.txn > absent_by || bug(Bug::TreatAbsentAsVersionZero) {
                return Rejection::Rejected;
            }
            judgement = Rejection::UnlessDeleted;
        }
        judgement
    }

    /// Returns the least mark of the listings on which its reads rest; `None` if it has read
    /// nothing.
    pub(in crate::node) fn least_mark(&self) -> Option<TxnId> {
        let reads = self.reads.values().map(|read| read.basis.mark);
        let least = reads.chain(self.ranges.iter().map(|range| range.mark)).min();
        assert_eq!(least.is_none(), self.reads.is_empty() && self.ranges.is_empty(), "each has a mark");
        least
    }

    /// Returns the newest commit time that this transaction has seen; its own is greater.
    pub(in crate::node) fn newest_seen(&self) -> Hlc {
        let reads = self.reads.values().filter_map(|read| read.header.as_ref()).map(|header| header.txn.time);
        let is_believed =
            |entry: &&SessionEntry| entry.txn.time.ms() <= self.believed_ms || self.is_found(entry.txn);
        let session = self.session.entries.iter().filter(is_believed).map(|entry| entry.txn.time).max();
        reads.max().max(session).unwrap_or_default()
    }

    /// Returns true if its session names a commit that was not found and has a time after `ms`. It
    /// comes from a version from the future, or from a forged token: its time is not trusted, and
    /// the written keys are listed instead.
    pub(in crate::node) fn session_is_ahead_of(&self, ms: u64) -> bool {
        self.session.entries.iter().any(|entry| entry.txn.time.ms() > ms && !self.is_found(entry.txn))
    }

    fn is_found(&self, txn: TxnId) -> bool {
        let read = self.reads.values().filter_map(|read| read.header.as_ref());
        self.floor.iter().chain(read).any(|header| header.txn == txn)
    }

    /// Panics if the read set is not atomic, or the buffer is not what was counted.
    pub(in crate::node) fn check_invariants(&self) {
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
                let whole = match &sibling.header {
                    Some(sibling) => sibling.txn >= header.txn,
                    // Deleted after this version, or the read set is broken; the listing's mark is
                    // the witness.
                    None => header.txn <= sibling.basis.mark,
                };
                assert!(
                    whole,
                    "fractured read set in {}: {key} at {}, {other} at {:?}",
                    self.attempt,
                    header.txn,
                    sibling.header.as_ref().map(|header| header.txn)
                );
            }
        }
        assert!(self.blob_group.is_some() || self.blobs == 0, "blobs have a group");
        if let Some(group) = &self.blob_group {
            assert_eq!(group.attempt, self.attempt, "an attempt's blobs are its own");
            assert_eq!(group.hash, self.hash, "an attempt's blobs lead to its record");
        }
        for (key, bound) in &self.lower {
            assert!(bound.meta(key).is_some(), "the lower bound of {key} wrote it");
            let read = self.reads.get(key).and_then(|read| read.header.as_ref());
            assert!(read.is_none_or(|read| read.txn >= bound.txn), "{key} was read below its lower bound");
        }
        for header in &self.floor {
            let is_bound = |(key, _): &(Key, _)| self.lower.get(key).is_some_and(|b| b.txn >= header.txn);
            assert!(header.writes.iter().all(is_bound), "a session's commit bounds every key that it wrote");
        }
        assert!(self.session.entries.len() <= Session::LEN_MAX, "a session's size is bounded");
        assert!(self.weighed >= TRANSACTION_BYTES, "an open transaction was weighed");
        self.check_phase();
    }

    /// Panics if the transaction is not what its phase says.
    fn check_phase(&self) {
        match &self.phase {
            Phase::Open => {}
            Phase::Closing(..) => assert!(self.operations > 0, "it waits for operations under way"),
            Phase::Preparing(_, waiters) => {
                let patience = waiters.iter().all(|waiter| waiter.until_mono < u64::MAX);
                assert!(patience, "a waiter of a commit has a time-out");
            }
            Phase::Committing(record, _) | Phase::Passing(record, _) => {
                assert_eq!(record.txn.attempt, self.attempt, "a commit is its own attempt's");
                assert_eq!(record.hash, self.hash, "a commit is its own request's");
                assert_eq!(record.writes.len(), self.buffer.len(), "a commit has the whole buffer");
                assert!(record.txn.time > self.newest_seen(), "a commit is above all that it read");
            }
        }
    }

    /// Returns the waiters of a commit, in any phase.
    pub(in crate::node) fn waiters_mut(&mut self) -> Option<&mut Vec<CommitWaiter>> {
        match &mut self.phase {
            Phase::Open => None,
            Phase::Closing(_, waiters)
            | Phase::Preparing(_, waiters)
            | Phase::Committing(_, waiters)
            | Phase::Passing(_, waiters) => Some(waiters),
        }
    }

    /// Returns the transactions of the read set that a session must name, since their other entries
    /// may not be durable yet.
    pub(in crate::node) fn unsure_reads(&self, seen_ms: u64) -> Vec<SessionEntry> {
        let headers = self.reads.values().filter_map(|read| read.header.as_ref());
        let several = headers.filter(|header| header.writes.len() > 1);
        let unsure = several
            .map(|header| SessionEntry { txn: header.txn, hash: header.hash, whole: false, seen_ms })
            .collect::<Vec<_>>();
        assert!(unsure.len() <= self.reads.len(), "only what was read is unsure");
        unsure
    }
}

fn older(a: TxnId, b: TxnId, bug: &impl Fn(Bug) -> bool) -> bool {
    if bug(Bug::OrderByTimeOnly) { a.time < b.time } else { a < b }
}
