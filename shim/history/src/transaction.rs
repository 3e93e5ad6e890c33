//! One transaction as its client saw it: operations in program order, and the outcome.
//!
//! A transaction here is one *attempt*: a request that was tried twice is two transactions with the
//! same request id.

use crate::{Key, RequestId, SessionId, Stamp, TransactionId, Value};

/// One operation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A read of a key.
    Read {
        /// The key that was read.
        key: Key,
        /// The value that was returned; [`Value::ABSENT`] if the key was reported as never written.
        value: Value,
    },
    /// A write of a key. A deletion counts as a write of a value if clients can distinguish a
    /// deleted key from a key that was never written.
    Write {
        /// The key that was written.
        key: Key,
        /// The value, unique among the writes of this key and different from [`Value::ABSENT`].
        value: Value,
    },
}

/// The outcome of a transaction, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The commit was acknowledged.
    Committed,
    /// The transaction did not commit and never will.
    Aborted,
    /// A commit may have been sent and no answer came. The transaction counts as committed if and
    /// only if another transaction read one of its writes.
    Unknown,
}

/// A transaction of a [`History`](crate::History).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The id, unique in the history.
    pub id: TransactionId,
    /// The session. Without real sessions, each transaction has a session with its own number, see
    /// [`Transaction::alone`].
    pub session: SessionId,
    /// The outcome, initially [`Outcome::Unknown`].
    pub outcome: Outcome,
    /// The operations, in program order.
    pub operations: Vec<Operation>,
    /// The place in the order of versions, if the system under test reports it.
    pub stamp: Option<Stamp>,
    /// The request that the transaction is an attempt of, if any.
    pub request: Option<RequestId>,
    /// The time at which the client began the transaction, in milliseconds of a clock that all
    /// transactions of the history share. Used only to measure staleness.
    pub begin_ms: Option<u64>,
    /// The time at which the commit was acknowledged, in milliseconds of the same clock. Used only
    /// to measure staleness.
    pub commit_ms: Option<u64>,
}

impl Transaction {
    /// Creates a transaction without operations and with an unknown outcome.
    #[must_use]
    pub const fn new(id: TransactionId, session: SessionId) -> Self {
        Self {
            id,
            session,
            outcome: Outcome::Unknown,
            operations: Vec::new(),
            stamp: None,
            request: None,
            begin_ms: None,
            commit_ms: None,
        }
    }

    /// Creates a transaction without operations in a session with the same number.
    ///
    /// # Panics
    ///
    /// Panics if `id` has no number (see [`TransactionId::number`]).
    #[must_use]
    pub fn alone(id: TransactionId) -> Self {
        let number = id.number().expect("only a text file makes transactions without a number");
        Self::new(id, SessionId::new(number))
    }

    /// Appends a read.
    pub fn read(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.operations.push(Operation::Read { key: key.into(), value: value.into() });
    }

    /// Appends a write.
    pub fn write(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.operations.push(Operation::Write { key: key.into(), value: value.into() });
    }

    /// Returns the reads, in program order.
    pub fn reads(&self) -> impl Iterator<Item = (Key, Value)> {
        self.operations.iter().filter_map(|operation| match *operation {
            Operation::Read { key, value } => Some((key, value)),
            Operation::Write { .. } => None,
        })
    }

    /// Returns the writes, in program order.
    pub fn writes(&self) -> impl Iterator<Item = (Key, Value)> {
        self.operations.iter().filter_map(|operation| match *operation {
            Operation::Write { key, value } => Some((key, value)),
            Operation::Read { .. } => None,
        })
    }
}
