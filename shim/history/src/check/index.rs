//! An index of a history: the writer of each value, the source of each read, and the transactions
//! that count as committed.
//!
//! It uses sorted arrays and binary search instead of hash maps, so that the same history gives the
//! same report, byte for byte.

use std::ops::Range;

use crate::{History, Key, Operation, Outcome, Transaction, TransactionId, Value, Version};

/// A rule of logging that a history breaks, so that it cannot be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Two transactions have the same id.
    #[error("{0} is logged twice; give every attempt an id of its own")]
    IdReused(TransactionId),
    /// A pair of key and value was written twice, so that the writer behind a read is ambiguous.
    #[error(
        "value {value} of {key} is written by {first} and again by {second}; values must name their writer: write \
         every value to a key only once"
    )]
    ValueReused {
        /// The key.
        key: Key,
        /// The value.
        value: Value,
        /// The first writer, in the order of the log.
        first: TransactionId,
        /// The second writer, perhaps the same transaction.
        second: TransactionId,
    },
    /// A write has value 0, which is reserved for version 0.
    #[error("{transaction} writes value 0 to {key}, which means never written; count values from 1")]
    AbsentWritten {
        /// The writer.
        transaction: TransactionId,
        /// The key.
        key: Key,
    },
    /// The history has more transactions than the checker can number.
    #[error("{0} transactions are more than the {max} that one check can hold; check parts of the history", max = u32::MAX)]
    TooMany(usize),
}

/// The source of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// No transaction wrote the value.
    Nobody,
    /// The value is version 0.
    Initial,
    /// A transaction wrote it.
    Written {
        /// The place of the transaction in the history.
        writer: u32,
        /// True if it is the last value that the writer wrote to the key.
        is_last: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    key: Key,
    value: Value,
    writer: u32,
    is_last: bool,
}

/// See the file's head.
pub(crate) struct Index<'h> {
    transactions: &'h [Transaction],
    /// Every write, sorted; (key, value) is unique.
    written: Vec<Written>,
    /// The last write of each key by each transaction, sorted by key within a transaction.
    left: Vec<(Key, Value)>,
    /// The index at which each transaction's part of `left` begins; one more entry than there are
    /// transactions.
    left_at: Vec<usize>,
    /// The source of each read of the history, in order.
    sources: Vec<Source>,
    /// The index at which each transaction's part of `sources` begins; one more entry than there
    /// are transactions.
    sources_at: Vec<usize>,
    /// True for each transaction that committed, or has an unknown outcome and was read by another.
    committed: Vec<bool>,
}

impl<'h> Index<'h> {
    pub(crate) fn new(history: &'h History) -> Result<Self, Malformed> {
        let transactions = history.transactions();
        // Places are u32, and u32::MAX itself must stay free as a marker.
        if u32::try_from(transactions.len()).is_err() {
            return Err(Malformed::TooMany(transactions.len()));
        }
        check_ids(transactions)?;
        let (left, left_at) = last_writes(transactions);
        let written = sorted_writes(transactions, &left, &left_at)?;
        let committed = transactions.iter().map(|t| t.outcome == Outcome::Committed).collect();
        let mut index = Self {
            transactions,
            written,
            left,
            left_at,
            sources: Vec::new(),
            sources_at: Vec::with_capacity(transactions.len() + 1),
            committed,
        };
        index.resolve_reads();
        Ok(index)
    }

    /// Finds the source of every read, and thereby the unknown outcomes that were commits.
    fn resolve_reads(&mut self) {
        for (reader, transaction) in self.transactions.iter().enumerate() {
            self.sources_at.push(self.sources.len());
            for (key, value) in transaction.reads() {
                let source = self.source(key, value);
                if let Source::Written { writer, .. } = source {
                    let writer = writer as usize;
                    let unknown = self.transactions[writer].outcome == Outcome::Unknown;
                    if writer != reader && unknown && !planted!(UnknownIsAborted) {
                        self.committed[writer] = true;
                    }
                }
                self.sources.push(source);
            }
        }
        self.sources_at.push(self.sources.len());
    }

    /// Returns the number of transactions.
    pub(crate) const fn len(&self) -> usize {
        self.transactions.len()
    }

    pub(crate) const fn transactions(&self) -> &'h [Transaction] {
        self.transactions
    }

    pub(crate) const fn transaction(&self, at: usize) -> &'h Transaction {
        &self.transactions[at]
    }

    pub(crate) const fn id(&self, at: usize) -> TransactionId {
        self.transactions[at].id
    }

    /// Returns true if a transaction counts as committed.
    pub(crate) fn is_committed(&self, at: usize) -> bool {
        self.committed[at]
    }

    /// Returns the source of a value.
    pub(crate) fn source(&self, key: Key, value: Value) -> Source {
        if value == Value::ABSENT {
            return Source::Initial;
        }
        match self.written.binary_search_by_key(&(key, value), |written| (written.key, written.value)) {
            Ok(at) => {
                let Written { writer, is_last, .. } = self.written[at];
                Source::Written { writer, is_last }
            }
            Err(_) => Source::Nobody,
        }
    }

    /// Returns the sources of a transaction's reads, in program order.
    pub(crate) fn sources(&self, reader: usize) -> &[Source] {
        &self.sources[self.sources_at[reader]..self.sources_at[reader + 1]]
    }

    /// Returns the last value that a transaction wrote to each of its keys, sorted by key.
    pub(crate) fn write_set(&self, at: usize) -> &[(Key, Value)] {
        &self.left[self.left_at[at]..self.left_at[at + 1]]
    }

    /// Returns the last value that a transaction wrote to a key, if it wrote the key.
    pub(crate) fn last_write(&self, at: usize, key: Key) -> Option<Value> {
        let set = self.write_set(at);
        set.binary_search_by_key(&key, |(key, _)| *key).ok().map(|place| set[place].1)
    }

    /// Returns a version, given its writer's place.
    pub(crate) fn version(&self, key: Key, value: Value, writer: Option<u32>) -> Version {
        Version { key, value, writer: writer.map(|at| self.id(at as usize)) }
    }

    /// Returns the number of keys that were written.
    pub(crate) fn keys_written(&self) -> u64 {
        self.written.chunk_by(|a, b| a.key == b.key).count() as u64
    }

    /// Returns every version that a committed transaction left, by key: (key, value, writer).
    pub(crate) fn committed_versions(&self) -> impl Iterator<Item = (Key, Value, u32)> {
        self.written
            .iter()
            .filter(|written| written.is_last && self.committed[written.writer as usize])
            .map(|written| (written.key, written.value, written.writer))
    }
}

fn check_ids(transactions: &[Transaction]) -> Result<(), Malformed> {
    let mut ids: Vec<_> = transactions.iter().map(|transaction| transaction.id).collect();
    ids.sort_unstable();
    match ids.array_windows().find(|[one, other]| one == other) {
        Some([id, _]) => Err(Malformed::IdReused(*id)),
        None => Ok(()),
    }
}

fn last_writes(transactions: &[Transaction]) -> (Vec<(Key, Value)>, Vec<usize>) {
    let mut left = Vec::new();
    let mut left_at = Vec::with_capacity(transactions.len() + 1);
    let mut own: Vec<(Key, usize, Value)> = Vec::new();
    for transaction in transactions {
        left_at.push(left.len());
        own.clear();
        own.extend(transaction.writes().enumerate().map(|(at, (key, value))| (key, at, value)));
        own.sort_unstable();
        left.extend(
            own.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last).map(|(key, _, value)| (*key, *value)),
        );
    }
    left_at.push(left.len());
    (left, left_at)
}

fn sorted_writes(
    transactions: &[Transaction],
    left: &[(Key, Value)],
    left_at: &[usize],
) -> Result<Vec<Written>, Malformed> {
    let mut written = Vec::new();
    for (at, transaction) in transactions.iter().enumerate() {
        let writer = u32::try_from(at).expect("the number of transactions was checked");
        let Range { start, end } = left_at[at]..left_at[at + 1];
        let set = &left[start..end];
        for operation in &transaction.operations {
            let Operation::Write { key, value } = *operation else { continue };
            if value == Value::ABSENT {
                return Err(Malformed::AbsentWritten { transaction: transaction.id, key });
            }
            let is_last = planted!(IntermediateIsLast) || set.binary_search(&(key, value)).is_ok();
            written.push(Written { key, value, writer, is_last });
        }
    }
    // The writer is part of the sort, so that of two writers of a value the first in the log comes
    // first.
    written.sort_unstable();
    let twice = written.array_windows().find(|[one, other]| (one.key, one.value) == (other.key, other.value));
    match twice {
        Some([one, other]) => Err(Malformed::ValueReused {
            key: one.key,
            value: one.value,
            first: transactions[one.writer as usize].id,
            second: transactions[other.writer as usize].id,
        }),
        None => Ok(written),
    }
}
