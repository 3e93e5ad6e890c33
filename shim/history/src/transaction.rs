//! One transaction as its client saw it: operations in program order, and how it ended.
//!
//! Plain data. A transaction here is one *attempt*: a request that was tried twice is two transactions with one
//! request id.

use crate::{Key, RequestId, SessionId, Stamp, TransactionId, Value};

/// One operation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The key was read, and this value was returned ([`Value::ABSENT`]: never written).
    Read {
        /// The key that was asked for.
        key: Key,
        /// The value that came back.
        value: Value,
    },
    /// The key was written. A deletion that clients can tell from "never written" is a write of a value, too.
    Write {
        /// The key that was written.
        key: Key,
        /// A value that nobody else writes to this key, and not [`Value::ABSENT`].
        value: Value,
    },
}

/// How a transaction ended, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The commit was acknowledged.
    Committed,
    /// The transaction did not commit, and never will.
    Aborted,
    /// A commit may have been sent and no answer came: it counts as committed if and only if somebody read it.
    Unknown,
}

/// A transaction of a [`History`](crate::History).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its name, unique in the history.
    pub id: TransactionId,
    /// Its session. Without real sessions: one of its own, see [`Transaction::alone`].
    pub session: SessionId,
    /// How it ended. [`Outcome::Unknown`] until somebody says otherwise.
    pub outcome: Outcome,
    /// What it did, in program order.
    pub operations: Vec<Operation>,
    /// Its place in the order of versions, if the system under test tells.
    pub stamp: Option<Stamp>,
    /// The request that it is an attempt of, if any.
    pub request: Option<RequestId>,
    /// When its client began it, in milliseconds of any one clock. Only staleness uses it.
    pub begin_ms: Option<u64>,
    /// When its commit was acknowledged, on the same clock. Only staleness uses it.
    pub commit_ms: Option<u64>,
}

impl Transaction {
    /// An empty transaction of a session, outcome still unknown.
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

    /// An empty transaction in a session of its own, numbered like the transaction.
    ///
    /// # Panics
    ///
    /// If the id has no number (see [`TransactionId::number`]).
    #[must_use]
    pub fn alone(id: TransactionId) -> Self {
        let number = id.number().expect("only a text file makes transactions without a number");
        Self::new(id, SessionId::new(number))
    }

    /// Adds a read at the end.
    pub fn read(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.operations.push(Operation::Read { key: key.into(), value: value.into() });
    }

    /// Adds a write at the end.
    pub fn write(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.operations.push(Operation::Write { key: key.into(), value: value.into() });
    }

    /// The reads, in program order.
    pub fn reads(&self) -> impl Iterator<Item = (Key, Value)> {
        self.operations.iter().filter_map(|operation| match *operation {
            Operation::Read { key, value } => Some((key, value)),
            Operation::Write { .. } => None,
        })
    }

    /// The writes, in program order.
    pub fn writes(&self) -> impl Iterator<Item = (Key, Value)> {
        self.operations.iter().filter_map(|operation| match *operation {
            Operation::Write { key, value } => Some((key, value)),
            Operation::Read { .. } => None,
        })
    }
}
