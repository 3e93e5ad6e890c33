//! Typed numbers for keys, values, transactions, sessions, requests and stamps.
//!
//! A history consists of integers that are easily mixed up, so each kind has its own type. The
//! numbers are independent of the names that the system under test uses.

use std::fmt;

/// A key. The names of keys are kept outside the history, see [`KeyNames`](crate::KeyNames).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// A value, which identifies its writer: a pair of key and value is written at most once in a
/// history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

impl Value {
    /// The value that a read of a never written key returns: version 0, older than all others.
    pub const ABSENT: Self = Self(0);
}

/// A request, which at most one committed transaction may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The place of a transaction in the order of versions, as reported by the system under test: its
/// `TxnId`, or the rank of its `TxnId`. It has no unit; only the order of stamps counts.
///
/// A `TxnId` (64 bits of time and a 128-bit UUID) does not fit as a whole. Its rank fits, and so do
/// the time and the UUID's last 64 bits, which are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u128);

/// A session: transactions that one client ran one after the other, each with the session token of
/// the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The greatest session number (a signed integer in the text format).
    pub const MAX: u64 = i64::MAX as u64;

    /// Returns the session with a number.
    ///
    /// # Panics
    ///
    /// Panics if `number` is greater than [`SessionId::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Self {
        assert!(number <= Self::MAX, "a session's number fits a signed 64 bit integer");
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A transaction, numbered by its logger. An aborted transaction that a text file does not number
/// is identified by its session instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(
    /// The number if it is not negative; else `-1 - s`, where `s` is the number of the session of a
    /// nameless aborted transaction.
    i64,
);

impl TransactionId {
    /// The greatest transaction number (a signed integer in the text format, where -1 means
    /// aborted).
    pub const MAX: u64 = i64::MAX as u64;

    /// Returns the transaction with a number.
    ///
    /// # Panics
    ///
    /// Panics if `number` is greater than [`TransactionId::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Self {
        assert!(number <= Self::MAX, "a transaction's number fits a signed 64 bit integer");
        Self(number as i64)
    }

    /// Returns the id under which all unnumbered aborted transactions of a session are kept. They
    /// count as one transaction.
    pub(crate) const fn nameless_of(session: SessionId) -> Self {
        Self(-1 - session.0 as i64)
    }

    /// Returns the number, or `None` for an aborted transaction that the text did not number.
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
