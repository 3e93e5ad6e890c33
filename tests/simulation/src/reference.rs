//! The reference model: the contents of a perfect shim, computed from the commits alone.
//!
//! Commits take effect in the order of their TxnIds. From this follow the final value of every key,
//! and what may be left in the store once every wait has passed.

use std::collections::BTreeMap;

use aft_core::ids::{Key, TxnId};
use aft_core::record::{Record, Write};

use crate::audit::{Audit, Commit};

/// The contents of a perfect shim.
#[derive(Debug)]
pub struct Reference<'a> {
    /// The commits, in order.
    commits: BTreeMap<TxnId, &'a Commit>,
}

impl<'a> Reference<'a> {
    /// Computes the model from what the auditor saw.
    pub fn new(audit: &'a Audit) -> Reference<'a> {
        let commits = audit.commits.values().map(|commit| (commit.record.txn, commit));
        Reference { commits: commits.collect() }
    }

    /// Returns the newest version of `key`: of all commits if `all`, otherwise of those that were
    /// reported or have every entry in place, so that every reader can find them.
    pub fn newest(&self, key: &Key, all: bool) -> Option<(TxnId, &'a Write)> {
        let mut commits = self.commits.iter().rev();
        commits.find_map(|(txn, commit)| {
            let counts = all || commit.told_ms.is_some() || commit.is_entered();
            Some((*txn, commit.record.write(key).filter(|_| counts)?))
        })
    }

    /// Returns the transactions that keep an entry once all else was collected, each with its
    /// record and the keys of those entries: the newest versions that are values.
    pub fn remaining(&self) -> BTreeMap<TxnId, (&'a Record, Vec<Key>)> {
        let of = |commit: &&'a Commit| {
            let record = &*commit.record;
            let values = record.writes.iter().filter(|(key, write)| {
                *write != Write::Tombstone && self.newest(key, true).is_some_and(|(txn, _)| txn == record.txn)
            });
            let keys: Vec<Key> = values.map(|(key, _)| key.clone()).collect();
            (!keys.is_empty()).then_some((record.txn, (record, keys)))
        };
        self.commits.values().filter_map(of).collect()
    }
}
