//! The versions that servers give to commits, and their stamps in a history.

use std::collections::BTreeMap;

use aft_history::{History, Stamp, Transaction, TransactionId};

/// A version as the API writes it: commit time in milliseconds, counter, attempt. Their order is
/// that of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    time_ms: u64,
    counter: u64,
    attempt: String,
}

impl Version {
    /// Parses a version from an answer.
    ///
    /// # Panics
    /// If `text` is not a version.
    pub fn parse(text: &str) -> Version {
        let parse = || {
            let (time, attempt) = text.split_once('-')?;
            let (ms, counter) = time.split_once('.')?;
            Some(Version {
                time_ms: ms.parse().ok()?,
                counter: counter.parse().ok()?,
                attempt: attempt.to_owned(),
            })
        };
        parse().unwrap_or_else(|| panic!("not a version: {text:?}"))
    }

    /// Returns the commit time: milliseconds and counter. A process never uses one twice.
    pub fn time(&self) -> (u64, u64) {
        (self.time_ms, self.counter)
    }
}

/// The versions of a history's commits.
#[derive(Debug, Default)]
pub struct Versions(BTreeMap<TransactionId, Version>);

impl Versions {
    /// Records the version with which a commit was answered.
    ///
    /// # Panics
    /// If `version` is not a version, or if the same commit had another one before.
    pub fn insert(&mut self, transaction: TransactionId, version: &str) {
        let version = Version::parse(version);
        let before = self.0.insert(transaction, version.clone());
        assert!(before.is_none_or(|before| before == version), "{transaction} has two versions");
    }

    /// Returns a commit's version.
    pub fn get(&self, transaction: TransactionId) -> Option<&Version> {
        self.0.get(&transaction)
    }

    /// Iterates over all versions, in the order of their transactions' numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        self.0.values()
    }

    /// Returns the history with stamps: the ranks of the versions, since a version itself does not
    /// fit into a stamp. A transaction without a version has no stamp.
    pub fn stamped(&self, history: &History) -> History {
        let mut order: Vec<_> = self.0.iter().collect();
        order.sort_by_key(|(_, version)| *version);
        let ranks: BTreeMap<_, _> = order.into_iter().map(|(id, _)| *id).zip(1..).collect();
        let stamped = history.transactions().iter().map(|transaction| {
            let stamp = ranks.get(&transaction.id).map(|rank| Stamp(*rank));
            Transaction { stamp, ..transaction.clone() }
        });
        stamped.collect()
    }
}
