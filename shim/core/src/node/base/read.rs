//! Reads in flight: the keys that a verb reads, and the progress of each key. The choice of
//! versions is in `serve/choose`.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Moment;
use crate::ids::{AttemptId, Key, TxnId};
use crate::message::{Batch, Found, ListKeys, Ticket};
use crate::record::VersionEntry;
use crate::store::Place;

use super::calls::Limit;
use super::ids::OperationId;
use super::read_set::ListedRange;

/// An operation: the reads in flight for one verb.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Operation {
    pub(in crate::node) ticket: Ticket,
    pub(in crate::node) attempt: AttemptId,
    pub(in crate::node) purpose: Purpose,
    pub(in crate::node) wanted: BTreeMap<Key, Want>,
    /// The limit of its store calls.
    pub(in crate::node) limit: Limit,
    /// The number of the next store call when it began: a listing made by this call or a later one
    /// is always young enough for it.
    pub(in crate::node) began_call: u64,
    /// The obstacles met on the way to each key's version.
    pub(in crate::node) met: BTreeMap<Key, Met>,
}

impl Operation {
    /// Returns true if a key's version is chosen only for a write, and is not returned to the
    /// client.
    pub(in crate::node) fn is_only_written(&self, key: &Key) -> bool {
        matches!(&self.purpose, Purpose::Batch { written, .. } if written.contains(key))
    }
}

/// The obstacles that an operation met on the way to one key's version.
#[derive(Debug, Clone, Copy, Default, Hash)]
pub(in crate::node) struct Met {
    /// The number of times that the key was listed again because something was found removed or
    /// entered since.
    pub(in crate::node) rounds: u32,
    /// The number of times that a chosen value was gone when it was fetched.
    pub(in crate::node) values_gone: u32,
    /// The first call whose read of the mark may be used: something was found missing before it.
    pub(in crate::node) mark_since: u64,
}

/// The purpose of reads.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) enum Purpose {
    /// A batch, perhaps the one that came with its begin.
    Batch {
        /// The batch.
        batch: Batch,
        /// The outcome of each `Get`, `Check` and `Add`; `None` if it is in `wanted`.
        reads: Vec<(Key, Option<Found>)>,
        /// Keys that it writes and whose newest version must be known for that, without the value.
        written: BTreeSet<Key>,
        /// True if the batch came with a begin, so that the reply is that of a begin.
        begun: bool,
    },
    /// A listing, page by page.
    List(ListKeys, Box<Listing>),
}

/// The progress of a listing.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Listing {
    /// The place after which the next page of the scan begins, exclusive.
    pub(in crate::node) next: Option<Place>,
    /// The page whose keys are being read; `None` while the page is in flight.
    pub(in crate::node) page: Option<Page>,
    /// True if its first page was requested.
    pub(in crate::node) is_asked: bool,
    /// Common prefixes that are settled: a key of each was found, and others are skipped.
    pub(in crate::node) settled: BTreeSet<String>,
    /// The number of lines that the pages so far have shown.
    pub(in crate::node) found: usize,
    /// The last line of those pages, if it is a common prefix.
    pub(in crate::node) last: Option<String>,
    /// The number of keys of each common prefix that the next page shows.
    pub(in crate::node) heads: u32,
}

/// A page of a scan. It serves as a listing of every key in its range, shown or not.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Page {
    /// The keys that it covers, with the mark that the node knew before it asked.
    pub(in crate::node) range: ListedRange,
    pub(in crate::node) asked: Moment,
    pub(in crate::node) asked_call: u64,
    /// The number of keys of each common prefix that it shows at least; it may leave others out
    /// behind them. `None` if it shows all keys.
    pub(in crate::node) heads: Option<u32>,
    /// The keys below each common prefix.
    pub(in crate::node) below: BTreeMap<String, Below>,
    /// True if it was ended early, below a prefix of which it shows too few keys.
    pub(in crate::node) is_cut: bool,
}

/// The keys of a page below one common prefix.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Below {
    /// The keys that are not wanted yet, with the entries that the page shows of them. All of them
    /// lie behind those that are.
    pub(in crate::node) later: BTreeMap<Key, Vec<VersionEntry>>,
    /// The last key that is wanted.
    pub(in crate::node) last: Option<Key>,
    /// The number of keys that the page shows, and the last of them.
    pub(in crate::node) shown: u32,
    pub(in crate::node) end: Option<Key>,
    /// The number of keys that were wanted last time.
    pub(in crate::node) wave: usize,
}

/// The progress of one key.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) enum Want {
    /// No version is chosen yet.
    Choosing,
    /// A version is chosen, and its value is being fetched.
    Fetching(TxnId),
    /// The version was found.
    Found(Found),
    /// The version was chosen and is in the read set; its value is not needed.
    Listed,
}

impl Want {
    pub(in crate::node) fn is_done(&self) -> bool {
        match self {
            Want::Found(_) | Want::Listed => true,
            Want::Choosing | Want::Fetching(_) => false,
        }
    }
}

/// Operations in flight.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Operations {
    map: BTreeMap<OperationId, Operation>,
    next: u64,
}

impl Operations {
    pub(in crate::node) fn add(&mut self, operation: Operation) -> OperationId {
        let id = OperationId(self.next);
        self.next += 1;
        let before = self.map.insert(id, operation);
        assert!(before.is_none(), "numbers of operations are unique");
        id
    }

    pub(in crate::node) fn get(&self, id: OperationId) -> Option<&Operation> {
        self.map.get(&id)
    }

    pub(in crate::node) fn get_mut(&mut self, id: OperationId) -> Option<&mut Operation> {
        self.map.get_mut(&id)
    }

    pub(in crate::node) fn take(&mut self, id: OperationId) -> Option<Operation> {
        self.map.remove(&id)
    }

    pub(in crate::node) fn put_back(&mut self, id: OperationId, operation: Operation) {
        assert!(id.0 < self.next, "an operation that is worked on was added");
        let before = self.map.insert(id, operation);
        assert!(before.is_none(), "an operation is worked on once at a time");
    }

    pub(in crate::node) fn contains(&self, id: OperationId) -> bool {
        self.map.contains_key(&id)
    }

    /// Returns the operations of a transaction.
    pub(in crate::node) fn of(&self, attempt: AttemptId) -> Vec<OperationId> {
        self.map.iter().filter(|(_, operation)| operation.attempt == attempt).map(|(id, _)| *id).collect()
    }

    /// Returns the operations of a transaction for modification.
    pub(in crate::node) fn of_mut(&mut self, attempt: AttemptId) -> impl Iterator<Item = &mut Operation> {
        self.map.values_mut().filter(move |operation| operation.attempt == attempt)
    }

    pub(in crate::node) fn iter(&self) -> impl Iterator<Item = (&OperationId, &Operation)> {
        self.map.iter()
    }

    /// Panics if an invariant is broken. `next_call` is the number of the next call.
    pub(in crate::node) fn check_invariants(&self, next_call: u64) {
        for (id, operation) in &self.map {
            assert!(id.0 < self.next, "numbers grow");
            assert!(operation.began_call <= next_call, "an operation began before the next call");
            for met in operation.met.values() {
                assert!(met.mark_since <= next_call, "the mark is asked from a call on");
                assert!(met.mark_since == 0 || met.values_gone > 0, "only what was found gone asks so");
            }
            match &operation.purpose {
                Purpose::Batch { reads, written, .. } => {
                    let waited = |(key, own): &(Key, Option<Found>)| {
                        own.is_some() || operation.wanted.contains_key(key)
                    };
                    assert!(reads.iter().all(waited), "a read of a batch is an own write or wanted");
                    let is_listed =
                        |(key, want): (&Key, &Want)| matches!(want, Want::Listed) && !written.contains(key);
                    assert!(
                        !operation.wanted.iter().any(is_listed),
                        "a batch wants the values that it reads"
                    );
                }
                Purpose::List(_, listing) => {
                    assert!(listing.is_asked || listing.page.is_none(), "a page was asked for");
                    let fetches = |want: &Want| matches!(want, Want::Fetching(_) | Want::Found(_));
                    assert!(!operation.wanted.values().any(fetches), "a listing wants no values");
                    let below = listing.page.iter().flat_map(|page| page.below.values());
                    for Below { shown, end, .. } in below {
                        assert_eq!(*shown > 0, end.is_some(), "keys that are shown have a last one");
                    }
                }
            }
        }
    }
}
