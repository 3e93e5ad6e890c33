//! What a history can do wrong, each with the shortest story that proves it.
//!
//! The numbers P1 to P8 are those of the promises in the protocol's description. A violation names transactions,
//! keys and values, never places in a file: who has the history finds them by these names.

use std::fmt;

use crate::{Key, Level, RequestId, SessionId, Stamp, TransactionId, Value};

/// Steps of a cycle that its text shows: nobody follows a longer one.
const EDGES_SHOWN_MAX: usize = 12;

/// A version of a key as a read returned it, or as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The key.
    pub key: Key,
    /// The value, [`Value::ABSENT`] for version 0.
    pub value: Value,
    /// Who wrote it; none for version 0 (and for a value that nobody wrote).
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

/// Which of the two reads of a fracture came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The newer transaction was seen first and then, of another key, something older: the lower bound was lost.
    NewerFirst,
    /// Something old was read first, and then the newer transaction that had replaced it: the upper bound was lost.
    OlderFirst,
}

/// Why one transaction must come before another in every order of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The later one read the earlier one's write.
    Read {
        /// What was read.
        version: Version,
    },
    /// A reader saw both, and one key's version of the later one although the earlier one wrote that key, too.
    Sibling {
        /// Who read.
        reader: TransactionId,
        /// How the reader saw the earlier transaction.
        seen: Version,
        /// What the earlier transaction wrote to the key of `read`.
        sibling: Version,
        /// What the reader got instead.
        read: Version,
    },
    /// The one followed the other in their session (only if session order is checked).
    Session {
        /// The session.
        session: SessionId,
    },
    /// Their stamps say so (where only some transactions have stamps, or session order is checked, too).
    Stamps {
        /// The stamp of the earlier one.
        before: Stamp,
        /// The stamp of the later one.
        after: Stamp,
    },
    /// A reader's own session had committed the earlier one's write before it got the later one's (only if session
    /// order is checked).
    SessionSibling {
        /// Who read.
        reader: TransactionId,
        /// What the session had written last.
        own: Version,
        /// What the reader got instead.
        read: Version,
    },
    /// The earlier one read a version that the later one replaced (only if serializability is checked).
    Replaced {
        /// The version that was read.
        read: Version,
        /// The version that the later one wrote, which is newer.
        newer: Version,
    },
    /// A reader came after both, and read the later one's version of a key although the earlier one had written that
    /// key, too (only if serializability is checked).
    Hidden {
        /// The reader.
        reader: TransactionId,
        /// The version that was read.
        read: Version,
        /// The version that the earlier one wrote.
        older: Version,
    },
}

/// One step of a [`Cycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Who must come first.
    pub before: TransactionId,
    /// Who must come later.
    pub after: TransactionId,
    /// Why.
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

/// Transactions each of which must come before the next, and the last before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The steps; each begins where the one before it ends, and the first where the last ends.
    pub edges: Vec<Edge>,
    /// The weakest level that forbids it.
    pub breaks: Level,
}

/// The promise that a violation breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// P2: no fractured read, whole transactions or nothing (and with it P1).
    ReadAtomic,
    /// P3: only committed versions are read.
    NoDirtyRead,
    /// P4: own writes are read back, and a key reads the same twice.
    OwnWritesAndRepeatable,
    /// P5: one request, at most one commit.
    ExactlyOnce,
    /// P8: a session sees its own commits (only if asked for).
    Sessions,
    /// Stamps order transactions, totally, each after everything that it read.
    TotalOrder,
    /// Transactions come to what they would have come to one after the other (only if asked for).
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

/// One thing that a history did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A value that nobody wrote was read.
    ThinAirRead {
        /// Who read.
        reader: TransactionId,
        /// What came back.
        read: Version,
    },
    /// A value of an aborted transaction was read.
    DirtyRead {
        /// Who read.
        reader: TransactionId,
        /// What came back.
        read: Version,
    },
    /// A transaction read a value that it wrote itself, but later.
    FutureRead {
        /// Who read and wrote.
        reader: TransactionId,
        /// What came back.
        read: Version,
    },
    /// A value was read that its writer overwrote before it committed.
    IntermediateRead {
        /// Who read.
        reader: TransactionId,
        /// What came back.
        read: Version,
        /// What the writer left in the key.
        last: Value,
    },
    /// A transaction wrote a key and then read something other than its last write of it.
    OwnWriteLost {
        /// Who wrote and read.
        reader: TransactionId,
        /// Its last write before the read.
        own: Version,
        /// What came back.
        read: Version,
    },
    /// A key read twice gave two versions.
    NonRepeatableRead {
        /// Who read.
        reader: TransactionId,
        /// What came back first.
        first: Version,
        /// What came back later.
        later: Version,
    },
    /// A transaction was seen together with a version older than what that transaction itself wrote.
    FracturedRead {
        /// Who read.
        reader: TransactionId,
        /// How the reader saw the newer transaction.
        seen: Version,
        /// What the newer transaction wrote to the other key.
        sibling: Version,
        /// The older version that the reader got there.
        read: Version,
        /// Which of the two came first.
        direction: Direction,
    },
    /// No order of versions whatever explains the reads.
    Cycle(Cycle),
    /// A transaction read a version with a later stamp than its own.
    LaterStampRead {
        /// Who read.
        reader: TransactionId,
        /// Its stamp.
        stamp: Stamp,
        /// What came back.
        read: Version,
        /// The stamp of that.
        read_stamp: Stamp,
    },
    /// Two committed transactions have one stamp.
    SharedStamp {
        /// The one.
        first: TransactionId,
        /// The other.
        second: TransactionId,
        /// The stamp.
        stamp: Stamp,
    },
    /// Two transactions of one request committed.
    DoubleEffect {
        /// The request.
        request: RequestId,
        /// The one.
        first: TransactionId,
        /// The other.
        second: TransactionId,
    },
    /// A session committed a write and then read something older (only if session order is checked).
    OwnCommitLost {
        /// Who read.
        reader: TransactionId,
        /// The last write of the session to the key.
        own: Version,
        /// What came back.
        read: Version,
    },
}

impl Violation {
    /// The promise that it breaks.
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

    /// The weakest level that forbids it; none if it is no matter of levels.
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
                write!(f, "cycle of {}: {what} explains that", cycle.edges.len())?;
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
