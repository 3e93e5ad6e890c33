//! The attempts between the mark and the target some of whose entries a sweep has met, but not all.
//!
//! An attempt leaves the window when its last entry is met; then its record is read once. Attempts
//! that are left at the end of the listing miss some entries, or are dead. If there are too many,
//! the newest are dropped, and the target falls below them: the next sweep verifies them.

use std::collections::BTreeMap;

use crate::ids::{Key, RequestHash, TxnId};
use crate::record::VersionEntry;
use crate::sweep::Pending;

/// The window of a sweep.
#[derive(Debug, Clone, Hash)]
pub(super) struct Window {
    map: BTreeMap<(TxnId, RequestHash), Vec<(Key, VersionEntry)>>,
    len_max: usize,
}

impl Window {
    pub(super) fn new(len_max: usize) -> Window {
        assert!(len_max > 0, "some attempts fit");
        Window { map: BTreeMap::new(), len_max }
    }

    /// Takes an entry. Returns its attempt if this was its last entry.
    pub(super) fn meet(&mut self, key: Key, entry: VersionEntry) -> Option<Pending> {
        assert!(!entry.whole, "a whole entry is verified by itself");
        let (id, cowritten) = ((entry.txn, entry.hash), entry.cowritten as usize);
        let entries = self.map.entry(id).or_default();
        if !entries.iter().any(|(known, _)| *known == key) {
            entries.push((key, entry));
        }
        if entries.len() < cowritten {
            return None;
        }
        let entries = self.map.remove(&id).expect("it was met above");
        Some(Pending { txn: id.0, hash: id.1, entries })
    }

    /// Puts back an attempt whose record was not read after all.
    pub(super) fn put_back(&mut self, attempt: Pending) {
        assert!(!attempt.entries.is_empty(), "an attempt is known by its entries");
        self.map.entry((attempt.txn, attempt.hash)).or_default().extend(attempt.entries);
    }

    /// Drops the newest attempts until the rest fits. Returns the place below all dropped ones, if
    /// there are any.
    pub(super) fn shrink(&mut self) -> Option<TxnId> {
        let mut below = None;
        while self.map.len() > self.len_max {
            let ((txn, _), _) = self.map.pop_last().expect("it is longer than its bound");
            below = Some(txn.just_below());
        }
        below
    }

    /// Takes the next attempt with missing entries, once the listing has ended.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let ((txn, hash), entries) = self.map.pop_first()?;
        Some(Pending { txn, hash, entries })
    }

    /// Drops all attempts above the target, which are left to the next sweep.
    pub(super) fn cut(&mut self, target: TxnId) {
        while self.map.last_key_value().is_some_and(|((txn, _), _)| *txn > target) {
            self.map.pop_last();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Panics if an attempt does not belong into the window.
    pub(super) fn check_invariants(&self, mark: TxnId, target: TxnId) {
        assert!(self.map.len() <= self.len_max, "attempts in the window are bounded");
        for ((txn, hash), entries) in &self.map {
            assert!(mark < *txn && *txn <= target, "an attempt of the window is to be verified");
            assert!(!entries.is_empty(), "an attempt is known by its entries");
            let own = entries.iter().all(|(_, entry)| entry.txn == *txn && entry.hash == *hash);
            assert!(own, "an attempt has its own entries");
        }
    }

    /// Returns all attempts, in order, for the notes.
    pub(super) fn pending(&self) -> Vec<Pending> {
        let attempts = self.map.iter();
        attempts
            .map(|((txn, hash), entries)| Pending { txn: *txn, hash: *hash, entries: entries.clone() })
            .collect()
    }
}
