//! Work of a sweep: what is decided and not started yet, and what is under way.
//!
//! A bounded number of calls is under way at once. The next page is asked for only when nothing of
//! the last ones waits, so the queue holds what one page gave rise to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::ids::{Key, RequestHash, TxnId};
use crate::record::{BlobGroup, Format, Record};
use crate::store::{Name, Tag};
use crate::sweep::{Notes, Pending};

/// One store call of a sweep, and what its answer is for.
#[derive(Debug, Clone, Hash)]
pub(super) enum Job {
    /// Read the mark, to begin.
    Begin,
    /// Note the time at which a mark was seen in its place that nobody has seen there yet.
    Confirm(Arc<Format>, Tag),
    /// Read the notes of a sweep that stopped.
    Notes,
    /// List the notes on damage.
    Damaged(Option<RequestHash>),
    /// Read the mark again, for the puts that rest on it.
    Recheck,
    /// The next page of the phase.
    Page,
    /// Get the record that an attempt's entries lead to.
    Verify(Pending),
    /// Get a record to which no entry led.
    Look(RequestHash),
    /// Put entries of a committed transaction.
    Enter(Entering),
    /// Delete entries.
    Remove(Vec<Removal>),
    /// Get an entry that goes by tag: its name may be somebody else's by now.
    LookAtLock(Removal),
    /// Delete an entry as it was read.
    RemoveLock(Removal, Tag),
    /// Remove a record as it was read.
    RemoveRecord(Arc<Record>, Tag),
    /// Remove records whose names are never used again, each with its bytes.
    RemoveUnnamed(Vec<(RequestHash, u64)>),
    /// Remove what excludes attempts that are over.
    RemoveAborted(RequestHash, Tag),
    /// Note that a record cannot be read.
    NoteDamage(RequestHash, String),
    /// Move the mark.
    Move,
    /// See the mark in its new place.
    SeeMoved,
    /// Note when it was seen there.
    ConfirmMoved(Arc<Format>, Tag),
    /// Get the record of an attempt that has blobs.
    LookForBlobs(BlobGroup),
    /// List the parts of an attempt's blobs.
    ListParts(BlobGroup, Option<Name>),
    /// Delete parts.
    RemoveParts(Vec<Name>),
    /// Leave notes.
    SaveNotes(Arc<Notes>),
    /// Delete the notes of the sweep that this one went on from.
    RemoveNotes,
}

/// Entries of a committed transaction that are to be put.
#[derive(Debug, Clone, Hash)]
pub(super) struct Entering {
    pub(super) record: Arc<Record>,
    /// Those that the listing did not show.
    pub(super) entries: Vec<(Key, crate::record::VersionEntry)>,
    /// Tries that failed.
    pub(super) failed: u32,
}

/// An entry that is to be deleted.
#[derive(Debug, Clone, Hash)]
pub(super) struct Removal {
    pub(super) key: Key,
    pub(super) entry: crate::record::VersionEntry,
    /// It is dead, and the mark passes it only if it has gone.
    pub(super) is_dead: bool,
}

impl Removal {
    pub(super) fn txn(&self) -> TxnId {
        self.entry.txn
    }

    /// Returns true if its name may be used again, so that it goes by tag: the name of a dead lock
    /// can be taken over, and a key that was absent begins anew.
    pub(super) fn goes_by_tag(&self) -> bool {
        self.entry.follows.is_some_and(|before| self.is_dead || before == TxnId::ZERO)
    }
}

/// The work of a sweep.
#[derive(Debug, Clone, Hash)]
pub(super) struct Flow {
    queue: VecDeque<Job>,
    /// By the place that owns the call.
    under_way: BTreeMap<u64, Job>,
    next_place: u64,
    calls_max: usize,
}

impl Flow {
    /// Starts with no work. Places count from `next_place`, which no earlier sweep of the node has
    /// reached.
    pub(super) fn new(next_place: u64, calls_max: usize) -> Flow {
        assert!(calls_max > 0, "a sweep makes calls");
        Flow { queue: VecDeque::new(), under_way: BTreeMap::new(), next_place, calls_max }
    }

    pub(super) fn push(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    pub(super) fn front(&self) -> Option<&Job> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) -> Option<Job> {
        self.queue.pop_front()
    }

    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < self.calls_max
    }

    /// Returns true if nothing is waiting and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.under_way.is_empty()
    }

    /// Notes that a job's call is made. Returns the place that owns it.
    pub(super) fn start(&mut self, job: Job) -> u64 {
        assert!(self.has_room(), "calls under way are bounded");
        let place = self.next_place;
        self.next_place += 1;
        let before = self.under_way.insert(place, job);
        assert!(before.is_none(), "places are unique");
        place
    }

    /// Takes the job whose call is answered; `None`: it was dropped.
    pub(super) fn finish(&mut self, place: u64) -> Option<Job> {
        assert!(place < self.next_place, "only calls that were made are answered");
        self.under_way.remove(&place)
    }

    pub(super) fn waits_for(&self, place: u64) -> bool {
        self.under_way.contains_key(&place)
    }

    pub(super) fn is_under_way(&self, is_wanted: impl Fn(&Job) -> bool) -> bool {
        self.under_way.values().any(is_wanted)
    }

    /// Takes waiting jobs out of the queue; the others stay in order.
    pub(super) fn take_waiting(&mut self, goes: impl Fn(&Job) -> bool) -> Vec<Job> {
        let (taken, left): (Vec<Job>, Vec<Job>) = self.queue.drain(..).partition(goes);
        self.queue = left.into();
        taken
    }

    /// Drops jobs whose calls are under way; their answers are dropped.
    pub(super) fn drop_under_way(&mut self, goes: impl Fn(&Job) -> bool) {
        self.under_way.retain(|_, job| !goes(job));
    }

    /// Panics if an invariant is broken.
    pub(super) fn check_invariants(&self) {
        assert!(self.under_way.len() <= self.calls_max, "calls under way are bounded");
        let last = self.under_way.last_key_value();
        assert!(last.is_none_or(|(place, _)| *place < self.next_place), "places grow");
        let pages = self.under_way.values().filter(|job| matches!(job, Job::Page)).count();
        assert!(pages <= 1, "one page is asked for at a time");
        assert!(!self.queue.iter().any(|job| matches!(job, Job::Page)), "a page is asked for at once");
    }

    /// Returns the first place of the next sweep.
    pub(super) fn next_place(&self) -> u64 {
        self.next_place
    }
}
