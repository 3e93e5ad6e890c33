//! The work of a sweep: jobs that are waiting, and jobs that are in flight.
//!
//! A bounded number of calls is in flight at once. The next page is requested only when no job of
//! earlier pages is waiting, so the queue holds at most the jobs of one page.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::ids::{Key, RequestHash, TxnId};
use crate::record::{BlobGroup, Format, Record};
use crate::store::{Name, Tag};
use crate::sweep::{Notes, Pending};

/// One store call of a sweep, with its purpose.
#[derive(Debug, Clone, Hash)]
pub(super) enum Job {
    /// Read the mark, to begin.
    Begin,
    /// Note the time at which a mark without a time was seen in its place.
    Confirm(Arc<Format>, Tag),
    /// Read the notes of a sweep that stopped.
    Notes,
    /// List the notes on damage.
    Damaged(Option<RequestHash>),
    /// Read the mark again, for the puts that rest on it.
    Recheck,
    /// List the next page of the phase.
    Page,
    /// Get the record that an attempt's entries lead to.
    Verify(Pending),
    /// Get a record to which no entry led.
    Look(RequestHash),
    /// Put entries of a committed transaction.
    Enter(Entering),
    /// Delete entries.
    Remove(Vec<Removal>),
    /// Get an entry that must be deleted by tag, because its name may be taken by another one now.
    LookAtLock(Removal),
    /// Delete an entry by the tag that was read.
    RemoveLock(Removal, Tag),
    /// Remove a record by the tag that was read.
    RemoveRecord(Arc<Record>, Tag),
    /// Remove records whose names are never used again, each with its size in bytes.
    RemoveUnnamed(Vec<(RequestHash, u64)>),
    /// Remove the object that excludes attempts which are over.
    RemoveAborted(RequestHash, Tag),
    /// Put a note that a record cannot be read.
    NoteDamage(RequestHash, String),
    /// Move the mark.
    Move,
    /// Read the mark in its new place.
    SeeMoved,
    /// Note the time at which it was seen there.
    ConfirmMoved(Arc<Format>, Tag),
    /// Get the record of an attempt that has blobs.
    LookForBlobs(BlobGroup),
    /// List the parts of an attempt's blobs.
    ListParts(BlobGroup, Option<Name>),
    /// Delete parts.
    RemoveParts(Vec<Name>),
    /// Put notes for the next sweep.
    SaveNotes(Arc<Notes>),
    /// Delete the notes of an earlier sweep.
    RemoveNotes,
}

/// Entries of a committed transaction that are to be put.
#[derive(Debug, Clone, Hash)]
pub(super) struct Entering {
    pub(super) record: Arc<Record>,
    /// The entries that the listing did not show.
    pub(super) entries: Vec<(Key, crate::record::VersionEntry)>,
    /// The number of failed tries.
    pub(super) failed: u32,
}

/// An entry that is to be deleted.
#[derive(Debug, Clone, Hash)]
pub(super) struct Removal {
    pub(super) key: Key,
    pub(super) entry: crate::record::VersionEntry,
    /// True if it is dead, so that the mark may pass it only after its deletion.
    pub(super) is_dead: bool,
}

impl Removal {
    pub(super) fn txn(&self) -> TxnId {
        self.entry.txn
    }

    /// Returns true if its name may be used again, so that it must be deleted by tag: the name of a
    /// dead lock can be taken over, and the name of a key's first version is used again after the
    /// key was deleted.
    pub(super) fn goes_by_tag(&self) -> bool {
        self.entry.follows.is_some_and(|before| self.is_dead || before == TxnId::ZERO)
    }
}

/// The work of a sweep.
#[derive(Debug, Clone, Hash)]
pub(super) struct Flow {
    queue: VecDeque<Job>,
    /// The jobs in flight, by the place that owns the call.
    under_way: BTreeMap<u64, Job>,
    next_place: u64,
    calls_max: usize,
}

impl Flow {
    /// Creates an empty flow. Places count from `next_place`, which no earlier sweep of the node
    /// has used.
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

    /// Returns true if no job is waiting or in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.under_way.is_empty()
    }

    /// Marks a job as in flight. Returns the place that owns its call.
    pub(super) fn start(&mut self, job: Job) -> u64 {
        assert!(self.has_room(), "calls under way are bounded");
        let place = self.next_place;
        self.next_place += 1;
        let before = self.under_way.insert(place, job);
        assert!(before.is_none(), "places are unique");
        place
    }

    /// Takes the job whose call is answered. Returns `None` if the job was dropped.
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

    /// Drops jobs in flight, and thereby the answers to their calls.
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
