//! The commits against which serializable transactions are checked, where one process holds the
//! store (protocol, section 13).
//!
//! In a store that several processes share, entries decide (`serve/lock`). There a conflict found
//! here saves the store a commit that would lose to another one of this node.
//!
//! Every commit of an exclusive store takes its commit time in this process. So a version that was
//! read is still the newest of its key, unless a commit that writes the key was in flight when the
//! transaction began, or took its commit time since. This module keeps exactly these commits.
//!
//! ```text
//!   a commit:       takes its time ─► in flight ─► ends ─► forgotten, once every open serializable
//!                                                          transaction began after its end
//!   a transaction:            opens ─────────────► is checked, ends
//! ```
//!
//! A commit counts from the instant at which it takes its commit time, because it may be durable
//! from then on. A transaction is checked in the step in which it takes its own. So if two
//! transactions each read what the other one writes, the check of the second finds the first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::bug::Bug;
use crate::ids::{AttemptId, Key, TxnId};
use crate::message::Conflict;

use super::ids::OperationId;
use super::read_set::{ListedRange, ReadVersion};

/// The number of consecutive conflicts after which the keys that a request reads are reserved for
/// it.
const PATIENT_CONFLICTS: u32 = 5;

/// The time for which a key is reserved, in milliseconds: several round trips of a client.
const RESERVED_MS: u64 = 1_000;

/// A commit that writes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Writer {
    txn: TxnId,
    /// The number of commits that had ended before this one ended; `None` while it is in flight.
    ended: Option<u64>,
}

/// A commit in flight.
#[derive(Debug, Clone, Hash)]
struct UnderWay {
    txn: TxnId,
    keys: Vec<Key>,
    /// The monotonic instant at which it took its time.
    since_mono: u64,
}

/// The consequences of the end of a commit in flight.
#[derive(Debug, Default)]
pub(in crate::node) struct Freed {
    /// The reads that waited for the end of a commit.
    pub(in crate::node) operations: BTreeSet<OperationId>,
    /// The keys that it wrote.
    pub(in crate::node) keys: Vec<Key>,
}

/// The reservation of a key, which other attempts may not write for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reservation {
    attempt: AttemptId,
    /// The number of conflicts that its request has met.
    conflicts: u32,
    until_mono: u64,
}

/// The commits of a node, as far as open transactions are checked against them.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Checks {
    ended_keys_max: usize,
    /// The number of commits that have ended.
    ends: u64,
    under_way: BTreeMap<AttemptId, UnderWay>,
    /// The commits that have ended, oldest first, each with the number of those before it.
    ended: VecDeque<(u64, TxnId, Vec<Key>)>,
    /// The total number of keys in `ended`.
    ended_keys: usize,
    /// The number of the first commit that is not forgotten.
    forgotten: u64,
    /// The commits of `under_way` and `ended` that write a key, in the order of commit times.
    writers: BTreeMap<Key, VecDeque<Writer>>,
    /// Open serializable transactions, by the number of commits that had ended before.
    open: BTreeSet<(u64, AttemptId)>,
    reserved: BTreeMap<Key, Reservation>,
    /// Reads that wait for the end of a commit in flight.
    waiting: BTreeSet<OperationId>,
}

/// The reads that are checked.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) struct Reads<'a> {
    pub(in crate::node) attempt: AttemptId,
    /// The number of commits that had ended when it began.
    pub(in crate::node) began: u64,
    pub(in crate::node) keys: &'a BTreeMap<Key, ReadVersion>,
    pub(in crate::node) ranges: &'a BTreeSet<ListedRange>,
    /// True to skip keys that were not delivered to the client: they are only written, and their
    /// writes may follow any version.
    pub(in crate::node) delivered_only: bool,
}

impl Checks {
    pub(in crate::node) fn new(ended_keys_max: usize) -> Checks {
        Checks {
            ended_keys_max,
            ends: 0,
            under_way: BTreeMap::new(),
            ended: VecDeque::new(),
            ended_keys: 0,
            forgotten: 0,
            writers: BTreeMap::new(),
            open: BTreeSet::new(),
            reserved: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Opens a serializable transaction. Returns the number of commits that have ended so far.
    pub(in crate::node) fn open(&mut self, attempt: AttemptId) -> u64 {
        let is_new = self.open.insert((self.ends, attempt));
        assert!(is_new, "an attempt opens once");
        self.ends
    }

    /// Closes a serializable transaction. `began` is the number that `open` returned.
    pub(in crate::node) fn close(&mut self, began: u64, attempt: AttemptId) {
        let was_open = self.open.remove(&(began, attempt));
        assert!(was_open, "only what is open is closed");
        self.reserved.retain(|_, reservation| reservation.attempt != attempt);
        self.forget();
    }

    /// Notes a commit that takes its commit time.
    pub(in crate::node) fn commit(&mut self, txn: TxnId, keys: Vec<Key>, since_mono: u64) {
        for key in &keys {
            let writers = self.writers.entry(key.clone()).or_default();
            // One process gives out commit times in order, except times that follow a version from
            // the future.
            let at = writers.partition_point(|writer| writer.txn < txn);
            writers.insert(at, Writer { txn, ended: None });
        }
        let before = self.under_way.insert(txn.attempt, UnderWay { txn, keys, since_mono });
        assert!(before.is_none(), "an attempt has one commit under way");
    }

    /// Notes that an attempt's commit is no longer in flight and may have taken effect.
    pub(in crate::node) fn end(&mut self, attempt: AttemptId) -> Freed {
        let Some(UnderWay { txn, keys, .. }) = self.under_way.remove(&attempt) else {
            return Freed::default();
        };
        for key in &keys {
            let writers = self.writers.get_mut(key).expect("a commit under way is noted at its keys");
            let writer = writers.iter_mut().rev().find(|writer| writer.txn == txn);
            writer.expect("a commit under way is noted at its keys").ended = Some(self.ends);
        }
        self.ended_keys += keys.len();
        self.ended.push_back((self.ends, txn, keys.clone()));
        self.ends += 1;
        self.forget();
        Freed { operations: std::mem::take(&mut self.waiting), keys }
    }

    /// Forgets an attempt's commit that certainly took no effect.
    pub(in crate::node) fn undo(&mut self, attempt: AttemptId) -> Freed {
        let Some(UnderWay { txn, keys, .. }) = self.under_way.remove(&attempt) else {
            return Freed::default();
        };
        keys.iter().for_each(|key| self.strike(key, txn));
        Freed { operations: std::mem::take(&mut self.waiting), keys }
    }

    fn strike(&mut self, key: &Key, txn: TxnId) {
        let writers = self.writers.get_mut(key).expect("a commit that is kept is noted at its keys");
        let at = writers.iter().position(|writer| writer.txn == txn);
        writers.remove(at.expect("a commit that is kept is noted at its keys"));
        if writers.is_empty() {
            self.writers.remove(key);
        }
    }

    /// Forgets commits that ended before every open transaction began, and the oldest ones if there
    /// are too many.
    fn forget(&mut self) {
        let oldest = self.open.first().map_or(self.ends, |(began, _)| *began);
        let keys_max = self.ended_keys_max;
        let is_kept = |number: u64, keys: usize| number >= oldest && keys <= keys_max;
        while self.ended.front().is_some_and(|(number, _, _)| !is_kept(*number, self.ended_keys)) {
            let (number, txn, keys) = self.ended.pop_front().expect("just seen");
            keys.iter().for_each(|key| self.strike(key, txn));
            self.forgotten = number + 1;
            self.ended_keys -= keys.len();
        }
    }

    /// Returns true if another attempt's commit of the key is in flight.
    pub(in crate::node) fn is_under_way(&self, key: &Key, attempt: AttemptId) -> bool {
        let writers = self.writers.get(key).into_iter().flatten();
        writers.into_iter().any(|writer| writer.ended.is_none() && writer.txn.attempt != attempt)
    }

    /// Returns the monotonic instant, in milliseconds, at which the latest commit in flight that
    /// writes a key took its commit time, not counting that of `attempt`.
    pub(in crate::node) fn under_way_since(&self, key: &Key, attempt: AttemptId) -> Option<u64> {
        let writers = self.writers.get(key).into_iter().flatten();
        let others = writers.filter(|writer| writer.ended.is_none() && writer.txn.attempt != attempt);
        others.map(|writer| self.under_way[&writer.txn.attempt].since_mono).max()
    }

    /// Lets a read wait for the end of a commit in flight.
    pub(in crate::node) fn wait(&mut self, operation: OperationId) {
        assert!(!self.under_way.is_empty(), "a read waits for a commit that is under way");
        self.waiting.insert(operation);
    }

    /// Reserves a key for a while for an attempt whose request has met many conflicts, unless an
    /// attempt with as many conflicts has reserved it already.
    pub(in crate::node) fn reserve(&mut self, key: &Key, attempt: AttemptId, conflicts: u32, now_mono: u64) {
        if conflicts < PATIENT_CONFLICTS {
            return;
        }
        let until_mono = now_mono + RESERVED_MS;
        let held = self.reserved.get(key).filter(|held| held.until_mono > now_mono);
        if held.is_none_or(|held| held.attempt != attempt && held.conflicts < conflicts) {
            self.reserved.insert(key.clone(), Reservation { attempt, conflicts, until_mono });
        }
    }

    /// Returns the first of the keys that an attempt wants to write that is reserved for another
    /// attempt.
    pub(in crate::node) fn reserved_key<'a>(
        &self,
        attempt: AttemptId,
        keys: impl Iterator<Item = &'a Key>,
        now_mono: u64,
    ) -> Option<&'a Key> {
        let holder = |key: &Key| self.reserved.get(key).filter(|held| held.until_mono > now_mono);
        keys.into_iter().find(|key| holder(key).is_some_and(|held| held.attempt != attempt))
    }

    /// Returns the conflict of a transaction's reads with a commit, if there is one.
    pub(in crate::node) fn conflict(&self, reads: Reads<'_>, bug: impl Fn(Bug) -> bool) -> Option<Conflict> {
        let Reads { attempt, began, keys, ranges, delivered_only } = reads;
        assert!(began <= self.ends, "a transaction began after commits that have ended");
        // A forgotten commit may have written what this transaction read.
        if began < self.forgotten && !bug(Bug::CheckThoughForgotten) {
            return Some(Conflict { key: None, by: None });
        }
        // Commits that are in flight, or ended after the transaction began.
        let counts = |writer: &&Writer| {
            let is_since = writer.ended.map_or(!bug(Bug::CheckWithoutUnderWay), |ended| ended >= began);
            writer.txn.attempt != attempt && is_since
        };
        let newest = |writers: &VecDeque<Writer>| writers.iter().rev().find(counts).map(|writer| writer.txn);
        for (key, read) in keys.iter().filter(|(_, read)| read.delivered || !delivered_only) {
            let Some(txn) = self.writers.get(key).and_then(newest) else { continue };
            if read.header.as_ref().is_none_or(|read| read.txn < txn) {
                return Some(Conflict { key: Some(key.clone()), by: Some(txn) });
            }
        }
        // Every other key of a listed range was read as absent, so any commit of it is a conflict.
        if ranges.is_empty() || bug(Bug::CheckWithoutRanges) {
            return None;
        }
        let in_a_range = |key: &Key| ranges.iter().any(|range| range.contains(key.as_str()));
        let others = self.writers.iter().filter(|(key, _)| !keys.contains_key(*key));
        let mut new = others.filter(|(key, _)| in_a_range(key));
        let found = new.find_map(|(key, writers)| Some((key, newest(writers)?)));
        found.map(|(key, txn)| Conflict { key: Some(key.clone()), by: Some(txn) })
    }

    /// Panics if an invariant is broken. `is_open` returns true if an attempt is open.
    pub(in crate::node) fn check_invariants(&self, is_open: impl Fn(AttemptId) -> bool) {
        let ended = self.ended.iter().map(|(_, _, keys)| keys.len()).sum::<usize>();
        assert_eq!(self.ended_keys, ended, "keys of commits that have ended are counted");
        assert!(ended <= self.ended_keys_max, "the keys of ended commits are bounded");
        let under_way = self.under_way.values().map(|commit| commit.keys.len()).sum::<usize>();
        let noted = self.writers.values().map(VecDeque::len).sum::<usize>();
        assert_eq!(noted, ended + under_way, "a commit is noted at each of its keys");
        assert!(
            self.under_way.keys().all(|attempt| is_open(*attempt)),
            "a commit in flight belongs to an open transaction"
        );
        assert!(self.open.iter().all(|(_, attempt)| is_open(*attempt)), "an attempt that is checked is open");
        assert!(
            self.open.iter().all(|(began, _)| *began <= self.ends),
            "a transaction began after ends that were counted"
        );
        assert!(
            !self.open.is_empty() || self.ended.is_empty(),
            "ended commits are kept only for open transactions"
        );
        for writers in self.writers.values() {
            assert!(writers.iter().is_sorted_by(|a, b| a.txn < b.txn), "writers are in the order of time");
        }
        let holders = self.reserved.values().map(|reservation| reservation.attempt);
        assert!(holders.into_iter().all(is_open), "a reservation ends with its attempt");
        assert!(self.waiting.is_empty() || !self.under_way.is_empty(), "a read waits for what is under way");
    }
}
