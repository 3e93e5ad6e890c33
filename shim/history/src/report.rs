//! The checker's report: the strongest level that holds, counts and violations.
//!
//! `aft check FILE` prints the text of a report. The caller decides which findings are failures.

use std::fmt;

use crate::Violation;

/// The number of violations that the text of a report shows in full. A broken run has thousands,
/// and the first few are enough to diagnose it.
const SHOWN_MAX: usize = 20;

/// An isolation level. A stronger level forbids everything that a weaker one forbids.
///
/// The levels are the axiomatic ones of Biswas and Enea (OOPSLA 2019), which the public checkers
/// use, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No level holds.
    None,
    /// Reads return only the last values that committed transactions wrote to a key; a transaction
    /// sees its own writes; and a reader that saw a write of a transaction reads nothing older than
    /// that transaction *afterwards*.
    ReadCommitted,
    /// The reader also reads nothing older than that transaction *beforehand*, and reads are
    /// repeatable: P1 to P4.
    ReadAtomic,
    /// The result is as if all transactions had run one after the other. Checked only on request.
    Serializable,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::ReadCommitted => "read committed",
            Self::ReadAtomic => "read atomic",
            Self::Serializable => "serializable",
        })
    }
}

/// The share of the committed writing transactions that have a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// No transaction has one: any order of versions that explains the reads is accepted.
    None,
    /// Some transactions have one: any order of versions that agrees with these stamps and explains
    /// the reads is accepted.
    Some,
    /// All transactions have one: the stamps are the order of versions.
    All,
}

/// The verdict on whether one order of all committed transactions explains the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serializability {
    /// The check was not requested.
    NotAsked,
    /// An order was found in which every read returns the newest write before it.
    Yes,
    /// No such order exists.
    No,
    /// No such order was found, but none was ruled out either, because too little is known about
    /// the order of versions. This cannot happen if every writer has a stamp.
    Unknown,
}

/// The sizes of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of transactions whose commit was acknowledged.
    pub committed: u64,
    /// The number of transactions that did not commit.
    pub aborted: u64,
    /// The number of transactions of unknown outcome that another transaction read, so that they
    /// count as committed.
    pub unknown_read: u64,
    /// The number of transactions of unknown outcome that no other transaction read.
    pub unknown_unread: u64,
    /// The number of reads of all transactions.
    pub reads: u64,
    /// The number of reads that were checked: those of committed transactions, unless all are
    /// requested.
    pub reads_checked: u64,
    /// The number of writes of all transactions.
    pub writes: u64,
    /// The number of keys that were written.
    pub keys_written: u64,
}

/// The staleness of reads. A stale read is not a violation: AFT promises no freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// The number of reads that could be measured, because the times of the reader's begin and of
    /// the key's commits are known.
    pub reads: u64,
    /// The number of stale reads, for which a newer version had been acknowledged before the reader
    /// began.
    pub stale: u64,
    /// The median lag, in milliseconds: the time from the acknowledgement of the first newer
    /// version to the reader's begin, or 0 for a fresh read.
    pub p50_ms: u64,
    /// The 99th percentile of the lag, in milliseconds.
    pub p99_ms: u64,
    /// The maximum lag, in milliseconds.
    pub max_ms: u64,
    /// The greatest number of acknowledged versions that are newer than the version that was read.
    pub max_versions: u64,
}

/// The verdict on a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(crate) counts: Counts,
    pub(crate) stamps: Stamps,
    pub(crate) violations: Vec<Violation>,
    pub(crate) serializability: Serializability,
    pub(crate) staleness: Option<Staleness>,
}

impl Report {
    /// Returns the strongest level that holds.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.violations.iter().filter_map(Violation::breaks).min() {
            None if self.serializability == Serializability::Yes => Level::Serializable,
            None | Some(Level::Serializable) => Level::ReadAtomic,
            Some(Level::ReadAtomic) => Level::ReadCommitted,
            Some(Level::ReadCommitted | Level::None) => Level::None,
        }
    }

    /// Returns true if P1 to P4 hold (and P8, if the session check was requested).
    #[must_use]
    pub fn is_read_atomic(&self) -> bool {
        self.level() >= Level::ReadAtomic
    }

    /// Returns the verdict on serializability.
    #[must_use]
    pub const fn serializability(&self) -> Serializability {
        self.serializability
    }

    /// Returns true if there are no violations: the history is read atomic, every request took
    /// effect at most once, and the stamps are in order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Returns all violations, grouped by kind, and within a kind in the order of the history.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns the sizes of the history.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the share of the writing transactions whose place in the order of versions is known.
    #[must_use]
    pub const fn stamps(&self) -> Stamps {
        self.stamps
    }

    /// Returns the staleness of reads, or `None` if the history has no times.
    #[must_use]
    pub const fn staleness(&self) -> Option<&Staleness> {
        self.staleness.as_ref()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { committed, aborted, unknown_read, unknown_unread, reads, writes, keys_written, .. } =
            self.counts;
        let verdict = if self.is_read_atomic() { "yes" } else { "no" };
        writeln!(f, "read atomic: {verdict} (strongest level that holds: {})", self.level())?;
        match self.serializability {
            Serializability::NotAsked => {}
            Serializability::Yes => writeln!(f, "serializable: yes")?,
            Serializability::No => writeln!(f, "serializable: no")?,
            Serializability::Unknown => writeln!(
                f,
                "serializable: unknown; no order of transactions was found, but none is ruled out either: give stamps \
                 to the transactions that write"
            )?,
        }
        writeln!(
            f,
            "transactions: {committed} committed, {aborted} aborted, {} unknown (of these {unknown_read} read by \
             others, so committed)",
            unknown_read + unknown_unread
        )?;
        writeln!(
            f,
            "operations: {reads} reads ({} checked), {writes} writes to {keys_written} keys",
            self.counts.reads_checked
        )?;
        let order = match self.stamps {
            Stamps::None => "not given; any order that explains the reads is accepted",
            Stamps::Some => {
                "given for some; any order that agrees with it and explains the reads is accepted"
            }
            Stamps::All => "given",
        };
        writeln!(f, "order of versions: {order}")?;
        if let Some(stale) = &self.staleness {
            writeln!(
                f,
                "staleness: {} of {} reads stale, p50 {} ms, p99 {} ms, max {} ms, {} versions",
                stale.stale, stale.reads, stale.p50_ms, stale.p99_ms, stale.max_ms, stale.max_versions
            )?;
        }
        write!(f, "violations: {}", self.violations.len())?;
        for violation in self.violations.iter().take(SHOWN_MAX) {
            write!(f, "\n  [{}] {violation}", violation.promise())?;
        }
        match self.violations.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
