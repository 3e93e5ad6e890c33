//! Violations that a history can contain, each with the smallest witness that proves it.
//!
//! P1 to P8 are the promises in the protocol's description. A violation names transactions, keys
//! and values, by which they can be found in the history; it never refers to a position in a file.

use std::fmt;

use crate::{Key, Level, RequestId, SessionId, Stamp, TransactionId, Value};

/// The number of steps of a cycle that its text shows. A person could not follow more.
const EDGES_SHOWN_MAX: usize = 12;

/// A version of a key as a read returned it, or as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The key.
    pub key: Key,
    /// The value, [`Value::ABSENT`] for version 0.
    pub value: Value,
    /// The writer; `None` for version 0 and for a value that no transaction wrote.
    pub writer: Option<TransactionId>,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.writer, self.value) {
            (Some(writer), value) => write!(f, "{}={value} of {writer}", self.key),
            (None, Value::ABSENT) => write!(f, "{} as absent", self.key),
            (None, value) => write!(f, "{}={value}", self.key),
        }
    }
}

/// The order of the two reads of a fracture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The reader saw the newer transaction first, and then an older version of another key: the
    /// lower bound was lost.
    NewerFirst,
    /// The reader read an old version first, and then saw the newer transaction that had replaced
    /// it: the upper bound was lost.
    OlderFirst,
}

/// A reason why one transaction must come before another in every order of versions.
///
/// The variants call the two transactions the *earlier* and the *later* one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The later transaction read a write of the earlier one.
    Read {
        /// The version that was read.
        version: Version,
    },
    /// A reader saw both, and read the later transaction's version of a key that the earlier one
    /// also wrote.
    Sibling {
        /// The reader.
        reader: TransactionId,
        /// The version by which the reader saw the earlier transaction.
        seen: Version,
        /// The version that the earlier transaction wrote to the key of `read`.
        sibling: Version,
        /// The version that the reader read instead.
        read: Version,
    },
    /// The later transaction followed the earlier one in their session (only if session order is
    /// checked).
    Session {
        /// The session.
        session: SessionId,
    },
    /// The earlier transaction has the lower stamp (used only where some transactions have no
    /// stamp, or session order is checked).
    Stamps {
        /// The stamp of the earlier transaction.
        before: Stamp,
        /// The stamp of the later transaction.
        after: Stamp,
    },
    /// The reader's session had committed the earlier transaction's write of a key before the
    /// reader read the later transaction's version of it (only if session order is checked).
    SessionSibling {
        /// The reader.
        reader: TransactionId,
        /// The version that the session had committed last.
        own: Version,
        /// The version that the reader read instead.
        read: Version,
    },
    /// The earlier transaction read a version that the later one replaced (only if serializability
    /// is checked).
    Replaced {
        /// The version that was read.
        read: Version,
        /// The newer version, which the later transaction wrote.
        newer: Version,
    },
    /// A reader that comes after both read the later transaction's version of a key that the
    /// earlier one had also written (only if serializability is checked).
    Hidden {
        /// The reader.
        reader: TransactionId,
        /// The version that was read.
        read: Version,
        /// The version that the earlier transaction wrote.
        older: Version,
    },
}

/// One step of a [`Cycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The transaction that must come first.
    pub before: TransactionId,
    /// The transaction that must come later.
    pub after: TransactionId,
    /// The reason.
    pub because: Because,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, because } = self;
        write!(f, "{before} before {after}: ")?;
        match because {
            Because::Read { version } => write!(f, "{after} read {version}"),
            Because::Sibling { reader, seen, sibling, read } => write!(
                f,
                "{reader} read {seen} and {read}; {before} also wrote {}={}, so that must be the older one",
                sibling.key, sibling.value
            ),
            Because::Stamps { before: earlier, after: later } => {
                write!(f, "{before} is stamped {earlier}, and {after} {later}")
            }
            Because::Session { session } => write!(f, "{after} followed {before} in {session}"),
            Because::Replaced { read, newer } => {
                write!(f, "{before} read {read}, which {after} replaced with {}={}", newer.key, newer.value)
            }
            Because::Hidden { reader, read, older } => write!(
                f,
                "{reader} read {read}; {before}, which comes before {reader}, wrote {}={}, so that must be the older one",
                older.key, older.value
            ),
            Because::SessionSibling { reader, own, read } => {
                write!(
                    f,
                    "{reader} read {read}; its session had committed {own}, so that must be the older one"
                )
            }
        }
    }
}

/// A cycle of transactions: each must come before the next, and the last before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The steps. Each begins where the previous one ends, and the first begins where the last
    /// ends.
    pub edges: Vec<Edge>,
    /// The weakest level that forbids the cycle.
    pub breaks: Level,
}

/// The promise that a violation breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// P2: no fractured read; a reader sees a transaction's writes as a whole or not at all.
    /// Implies P1.
    ReadAtomic,
    /// P3: only committed versions are read.
    NoDirtyRead,
    /// P4: a transaction reads its own writes, and reads of a key are repeatable.
    OwnWritesAndRepeatable,
    /// P5: a request commits at most once.
    ExactlyOnce,
    /// P8: a session sees its own commits (checked only on request).
    Sessions,
    /// The stamps are a total order in which each transaction comes after everything that it read.
    TotalOrder,
    /// The result is as if all transactions had run one after the other (checked only on request).
    Serializable,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadAtomic => "P2 read atomic",
            Self::NoDirtyRead => "P3 no dirty read",
            Self::OwnWritesAndRepeatable => "P4 own writes, repeatable",
            Self::ExactlyOnce => "P5 exactly once",
            Self::Sessions => "P8 sessions",
            Self::TotalOrder => "total order of versions",
            Self::Serializable => "serializable",
        })
    }
}

/// A violation of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A transaction read a value that no transaction wrote.
    ThinAirRead {
        /// The reader.
        reader: TransactionId,
        /// The version that was returned.
        read: Version,
    },
    /// A transaction read a value of an aborted transaction.
    DirtyRead {
        /// The reader.
        reader: TransactionId,
        /// The version that was returned.
        read: Version,
    },
    /// A transaction read a value that it wrote itself only later.
    FutureRead {
        /// The reader, which is also the writer.
        reader: TransactionId,
        /// The version that was returned.
        read: Version,
    },
    /// A transaction read a value that its writer overwrote before it committed.
    IntermediateRead {
        /// The reader.
        reader: TransactionId,
        /// The version that was returned.
        read: Version,
        /// The last value that the writer wrote to the key.
        last: Value,
    },
    /// A transaction wrote a key and then did not read back its last write of the key.
    OwnWriteLost {
        /// The reader, which is also the writer.
        reader: TransactionId,
        /// The last write of the key before the read.
        own: Version,
        /// The version that was returned.
        read: Version,
    },
    /// A transaction read a key twice and got two versions.
    NonRepeatableRead {
        /// The reader.
        reader: TransactionId,
        /// The version that was returned first.
        first: Version,
        /// The version that was returned later.
        later: Version,
    },
    /// A reader saw a transaction, and read a version older than what that transaction wrote to the
    /// same key.
    FracturedRead {
        /// The reader.
        reader: TransactionId,
        /// The version by which the reader saw the newer transaction.
        seen: Version,
        /// The version that the newer transaction wrote to the key of `read`.
        sibling: Version,
        /// The older version that the reader read instead.
        read: Version,
        /// The order of `seen` and `read`.
        direction: Direction,
    },
    /// No order of versions explains the reads; or, if [`Cycle::breaks`] is
    /// [`Level::Serializable`], no order of transactions does.
    Cycle(Cycle),
    /// A transaction read a version with a later stamp than its own.
    LaterStampRead {
        /// The reader.
        reader: TransactionId,
        /// The stamp of the reader.
        stamp: Stamp,
        /// The version that was returned.
        read: Version,
        /// The stamp of the version's writer.
        read_stamp: Stamp,
    },
    /// Two committed transactions have the same stamp.
    SharedStamp {
        /// The first one in the history.
        first: TransactionId,
        /// A later one in the history.
        second: TransactionId,
        /// The stamp.
        stamp: Stamp,
    },
    /// Two transactions of the same request committed.
    DoubleEffect {
        /// The request.
        request: RequestId,
        /// The first one in the history.
        first: TransactionId,
        /// A later one in the history.
        second: TransactionId,
    },
    /// A session committed a write and then read an older version (only if session order is
    /// checked).
    OwnCommitLost {
        /// The reader.
        reader: TransactionId,
        /// The version that the session had committed last.
        own: Version,
        /// The version that was returned.
        read: Version,
    },
}

impl Violation {
    /// Returns the promise that the violation breaks.
    #[must_use]
    pub const fn promise(&self) -> Promise {
        match self {
            Self::ThinAirRead { .. }
            | Self::DirtyRead { .. }
            | Self::FutureRead { .. }
            | Self::IntermediateRead { .. } => Promise::NoDirtyRead,
            Self::OwnWriteLost { .. } | Self::NonRepeatableRead { .. } => Promise::OwnWritesAndRepeatable,
            Self::Cycle(Cycle { breaks: Level::Serializable, .. }) => Promise::Serializable,
            Self::FracturedRead { .. } | Self::Cycle(_) => Promise::ReadAtomic,
            Self::LaterStampRead { .. } | Self::SharedStamp { .. } => Promise::TotalOrder,
            Self::DoubleEffect { .. } => Promise::ExactlyOnce,
            Self::OwnCommitLost { .. } => Promise::Sessions,
        }
    }

    /// Returns the weakest level that forbids the violation, or `None` if no level does: the levels
    /// do not cover shared stamps and double effects.
    #[must_use]
    pub const fn breaks(&self) -> Option<Level> {
        match self {
            Self::ThinAirRead { .. }
            | Self::DirtyRead { .. }
            | Self::FutureRead { .. }
            | Self::IntermediateRead { .. }
            | Self::OwnWriteLost { .. }
            | Self::LaterStampRead { .. }
            | Self::FracturedRead { direction: Direction::NewerFirst, .. } => Some(Level::ReadCommitted),
            Self::NonRepeatableRead { .. }
            | Self::OwnCommitLost { .. }
            | Self::FracturedRead { direction: Direction::OlderFirst, .. } => Some(Level::ReadAtomic),
            Self::Cycle(cycle) => Some(cycle.breaks),
            Self::SharedStamp { .. } | Self::DoubleEffect { .. } => None,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThinAirRead { reader, read } => {
                write!(f, "thin-air read: {reader} read {read}, which nobody wrote")
            }
            Self::DirtyRead { reader, read } => {
                write!(f, "dirty read: {reader} read {read}, which aborted")
            }
            Self::FutureRead { reader, read } => {
                write!(
                    f,
                    "future read: {reader} read {}={} before it wrote that itself",
                    read.key, read.value
                )
            }
            Self::IntermediateRead { reader, read, last } => write!(
                f,
                "intermediate read: {reader} read {read}, which its writer overwrote with {}={last}",
                read.key
            ),
            Self::OwnWriteLost { reader, own, read } => {
                write!(f, "own write lost: {reader} wrote {}={} and then read {read}", own.key, own.value)
            }
            Self::NonRepeatableRead { reader, first, later } => {
                write!(f, "non-repeatable read: {reader} read {first} and later {later}")
            }
            Self::FracturedRead { reader, seen, sibling, read, direction } => {
                write!(f, "fractured read: {reader} read ")?;
                match direction {
                    Direction::NewerFirst => write!(f, "{seen} and then {read}")?,
                    Direction::OlderFirst => write!(f, "{read} and then {seen}")?,
                }
                match sibling.writer {
                    Some(writer) => write!(f, ", but {writer} also wrote {}={}", sibling.key, sibling.value)?,
                    None => write!(f, ", beside {}={}", sibling.key, sibling.value)?,
                }
                f.write_str(", which is newer")
            }
            Self::Cycle(cycle) => {
                let what = match cycle.breaks {
                    Level::Serializable => "no order of transactions",
                    Level::None | Level::ReadCommitted | Level::ReadAtomic => "no order of versions",
                };
                write!(f, "cycle of {}: {what} satisfies all of these", cycle.edges.len())?;
                cycle.edges.iter().take(EDGES_SHOWN_MAX).try_for_each(|edge| write!(f, "\n    {edge}"))?;
                match cycle.edges.len().saturating_sub(EDGES_SHOWN_MAX) {
                    0 => Ok(()),
                    more => write!(f, "\n    and {more} more steps, back to the first"),
                }
            }
            Self::LaterStampRead { reader, stamp, read, read_stamp } => write!(
                f,
                "read of a later stamp: {reader}, stamped {stamp}, read {read}, stamped {read_stamp}"
            ),
            Self::SharedStamp { first, second, stamp } => {
                write!(f, "shared stamp: {first} and {second} are both stamped {stamp}")
            }
            Self::DoubleEffect { request, first, second } => {
                write!(f, "double effect: {first} and {second} both committed {request}")
            }
            Self::OwnCommitLost { reader, own, read } => {
                write!(f, "own commit lost: {reader} read {read}, but its session had committed {own}")
            }
        }
    }
}
