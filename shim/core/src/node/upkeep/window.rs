//! Attempts between the mark and the target of which a sweep has met some entries, and not all.
//!
//! An attempt leaves the window when its last entry is met, and then its record is asked for, once.
//! Those that are left at the end of the listing are half-entered, or dead. If more are open than
//! fit, the newest go, and the target falls below them: the next sweep has them.

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

    /// Meets an entry. Returns its attempt if it was the last one of it.
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

    /// Puts an attempt back whose record was not asked for after all.
    pub(super) fn put_back(&mut self, attempt: Pending) {
        assert!(!attempt.entries.is_empty(), "an attempt is known by its entries");
        self.map.entry((attempt.txn, attempt.hash)).or_default().extend(attempt.entries);
    }

    /// Lets go of the newest attempts until the rest fits. Returns the place below all that went.
    pub(super) fn shrink(&mut self) -> Option<TxnId> {
        let mut below = None;
        while self.map.len() > self.len_max {
            let ((txn, _), _) = self.map.pop_last().expect("it is longer than its bound");
            below = Some(txn.just_below());
        }
        below
    }

    /// Takes the next attempt of which entries are missing, once the listing has ended.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let ((txn, hash), entries) = self.map.pop_first()?;
        Some(Pending { txn, hash, entries })
    }

    /// Lets go of all attempts above the target: they are the next sweep's.
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

    /// Returns all of them, in order, for the notes.
    pub(super) fn pending(&self) -> Vec<Pending> {
        let attempts = self.map.iter();
        attempts
            .map(|((txn, hash), entries)| Pending { txn: *txn, hash: *hash, entries: entries.clone() })
            .collect()
    }
}
