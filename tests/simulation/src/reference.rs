//! The reference model: what a perfect shim would hold, computed from the commits alone.
//!
//! Commits that somebody was told of, and those of which a piece was published, take effect in the order of their TxnIds; that is all. From it follow
//! the final value of every key, and which transactions may still leave anything in the store.

use std::collections::{BTreeMap, BTreeSet};

use aft_core::ids::{AttemptId, Key, TxnId};
use aft_core::record::{Location, Record, Write};

use crate::audit::{Audit, Commit};

/// What a perfect shim would hold.
#[derive(Debug)]
pub struct Reference<'a> {
    /// The commits that count, in order.
    commits: BTreeMap<TxnId, &'a Commit>,
}

impl<'a> Reference<'a> {
    /// From what the auditor saw.
    pub fn new(audit: &'a Audit) -> Reference<'a> {
        let counts = |commit: &&Commit| commit.told || commit.collected || !commit.entered.is_empty();
        let commits = audit.commits.values().filter(counts).map(|commit| (commit.record.txn, commit));
        Reference { commits: commits.collect() }
    }

    /// The newest version of a key.
    pub fn newest(&self, key: &Key) -> Option<(TxnId, &'a Write)> {
        self.commits.iter().rev().find_map(|(txn, commit)| Some((*txn, commit.record.write(key)?)))
    }

    fn superseded_on(&self, txn: TxnId, key: &Key) -> bool {
        self.newest(key).is_some_and(|(newest, _)| newest > txn)
    }

    /// What is left when all that may be collected is: a transaction goes when each of its versions is superseded, or is the tombstone
    /// that alone remains of its key.
    pub fn remaining(&self) -> BTreeMap<TxnId, &'a Record> {
        let mut left: BTreeMap<TxnId, &'a Record> =
            self.commits.iter().map(|(txn, commit)| (*txn, &*commit.record)).collect();
        loop {
            let goes: Vec<TxnId> = left
                .iter()
                .filter(|(txn, record)| {
                    record.keys().iter().all(|key| {
                        let alone =
                            !left.iter().any(|(other, record)| other != *txn && record.write(key).is_some());
                        let tombstone = record.write(key) == Some(&Write::Tombstone);
                        self.superseded_on(**txn, key) || (tombstone && alone)
                    })
                })
                .map(|(txn, _)| *txn)
                .collect();
            if goes.is_empty() {
                return left;
            }
            goes.iter().for_each(|txn| {
                left.remove(txn);
            });
        }
    }

    /// The blob parts that the remaining transactions need.
    pub fn blobs(remaining: &BTreeMap<TxnId, &Record>) -> BTreeSet<(AttemptId, u32, u32)> {
        let writes = remaining.values().filter_map(|record| record.full()).flat_map(|writes| writes.iter());
        writes
            .filter_map(|(_, write)| match write {
                Write::Put(value) => match &value.location {
                    Location::Blob(blob) => Some(*blob),
                    Location::Inline(_) => None,
                },
                Write::Tombstone => None,
            })
            .chain(remaining.values().filter_map(|record| record.large_result).map(|result| result.blob))
            .flat_map(|blob| (0..blob.parts).map(move |part| (blob.attempt, blob.number, part)))
            .collect()
    }
}
