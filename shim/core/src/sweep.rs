//! The notes of a sweep that stopped: facts about listings, from which another run can resume as
//! long as the mark has not moved (protocol, section 8).

use crate::ids::{Key, RequestHash, TxnId};
use crate::record::{Place, VersionEntry};

/// A sweep's progress, as one object in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Notes {
    /// The mark that the sweep began with. Notes of another mark are useless.
    pub mark: TxnId,
    /// The place up to which the sweep verifies; every transaction at or below it was over when the
    /// sweep began.
    pub target: TxnId,
    /// The salt under which request hashes are shortened.
    pub salt: u64,
    /// The progress.
    pub phase: Phase,
    /// The attempts between mark and target some of whose entries are still to be met, in order.
    pub window: Vec<Pending>,
    /// The request hashes that this pass is for.
    pub hashes: HashRange,
    /// Shortened hashes of requests to which entries of verified attempts led, in order.
    pub met: Vec<u64>,
}

/// A range of request hashes by their first two bytes: a sweep that cannot hold all hashes at once
/// works through several ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// The first two bytes of the least hash, inclusive.
    pub from: u32,
    /// The first two bytes of the greatest hash, exclusive; at most [`HashRange::END`].
    pub to: u32,
}

impl HashRange {
    /// The end of all hashes.
    pub const END: u32 = 1 << 16;
    /// The range of all hashes.
    pub const ALL: HashRange = HashRange { from: 0, to: HashRange::END };

    /// Returns true if a hash lies in the range.
    pub fn contains(self, hash: RequestHash) -> bool {
        let contains = self.from <= first_bytes(hash) && !self.ends_before(hash);
        assert!(!contains || self.from < self.to, "an empty range contains nothing");
        contains
    }

    /// Returns true if a hash, and every greater one, lies above the range.
    pub fn ends_before(self, hash: RequestHash) -> bool {
        let ends_before = first_bytes(hash) >= self.to;
        assert!(!ends_before || self.to < HashRange::END, "no hash is above the end of all hashes");
        ends_before
    }
}

const _: () = assert!(HashRange::END == u16::MAX as u32 + 1, "two bytes name a place in a range");

fn first_bytes(hash: RequestHash) -> u32 {
    u32::from(u16::from_be_bytes([hash.0[0], hash.0[1]]))
}

/// The part of the store that a sweep is working through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Version entries.
    Versions {
        /// The place up to which everything is done.
        after: Option<Place>,
        /// The newest settled entry of the key in which `after` lies, if there was one: those below
        /// it are superseded.
        survivor: Option<TxnId>,
    },
    /// Commit records.
    Commits {
        /// The place up to which everything is done.
        after: Option<RequestHash>,
    },
}

/// An attempt some of whose entries a sweep has met, but not all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pending {
    /// The transaction, if its record names this attempt.
    pub txn: TxnId,
    /// Its request.
    pub hash: RequestHash,
    /// The entries met, in key order.
    pub entries: Vec<(Key, VersionEntry)>,
}
