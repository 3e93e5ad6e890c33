//! Numbers with names: keys, values, transactions, sessions, requests, stamps.
//!
//! A history is made of integers, and mixing them up is the easiest mistake to make with one; so each kind is its
//! own type. None of them knows how the system under test names the same thing.

use std::fmt;

/// A key. Names of keys live outside of the history, see [`KeyNames`](crate::KeyNames).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// A value, which names its writer: a pair of key and value is written at most once in a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

impl Value {
    /// What a read of a key that was never written returns: version 0, older than every other.
    pub const ABSENT: Self = Self(0);
}

/// A request, which at most one committed transaction may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The place of a transaction in the order of versions, as the system under test says it is (its `TxnId`, or the
/// rank of it). No unit; only the order of stamps counts. A `TxnId` of 64 bits of time and a 128 bit UUID does not fit
/// whole: its rank does, and so do the time and the UUID's last 64 bits (which are random).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u128);

/// A session: transactions that one client ran one after the other, each knowing the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The greatest number of a session (a signed integer in the text format).
    pub const MAX: u64 = i64::MAX as u64;

    /// A session by its number, at most [`SessionId::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Self {
        assert!(number <= Self::MAX, "a session's number fits a signed 64 bit integer");
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A transaction. Numbered by who logs it; an aborted transaction that a text file does not name is known by its
/// session instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(
    /// Not negative: the number. Negative: -1 - the number of the session of a nameless aborted transaction.
    i64,
);

impl TransactionId {
    /// The greatest number of a transaction (a signed integer in the text format, where -1 means aborted).
    pub const MAX: u64 = i64::MAX as u64;

    /// A transaction by its number, at most [`TransactionId::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Self {
        assert!(number <= Self::MAX, "a transaction's number fits a signed 64 bit integer");
        Self(number as i64)
    }

    /// What a session aborted without a number of its own. Several such transactions of one session are one.
    pub(crate) const fn nameless_of(session: SessionId) -> Self {
        Self(-1 - session.0 as i64)
    }

    /// The number; none if the text did not name this (aborted) transaction.
    #[must_use]
    pub const fn number(self) -> Option<u64> {
        if self.0 < 0 { None } else { Some(self.0 as u64) }
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ABSENT { f.write_str("absent") } else { write!(f, "{}", self.0) }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.0)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}", self.0)
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "T{number}"),
            None => write!(f, "an aborted transaction of session {}", -1 - self.0),
        }
    }
}
