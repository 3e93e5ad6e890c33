//! What the checker found: the strongest level that holds, counts, violations.
//!
//! Its text is what `aft check FILE` prints. Whether a finding is a failure is for the caller to say.

use std::fmt;

use crate::Violation;

/// Violations that the text of a report shows in full: a broken run has thousands, and the first tell the story.
const SHOWN_MAX: usize = 20;

/// How strong a history is; a stronger level forbids all that a weaker one does.
///
/// The levels are the axiomatic ones of Biswas and Enea (OOPSLA 2019), which the public checkers use, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing holds.
    None,
    /// Only last, committed values are read, own writes are seen, and who saw a transaction's write reads nothing
    /// older than that transaction *from then on*.
    ReadCommitted,
    /// As before, in both directions of time, and repeatable: P1 to P4.
    ReadAtomic,
    /// As if all transactions had run one after the other. Found only if it is asked for.
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

/// How many of the committed transactions that wrote something have a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// None: the order of versions is not known, and any order that explains the reads will do.
    None,
    /// Some: versions may stand in any order that keeps to the stamps there are.
    Some,
    /// All: stamps are the order of versions.
    All,
}

/// The verdict on whether one order of all committed transactions explains the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serializability {
    /// It was not asked for.
    NotAsked,
    /// An order was found in which every read returns the newest write before it.
    Yes,
    /// There is none.
    No,
    /// None was found, and none is excluded: too little is known of the order of versions. With a stamp for every
    /// writer this does not happen.
    Unknown,
}

/// What was in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions whose commit was acknowledged.
    pub committed: u64,
    /// Transactions that did not commit.
    pub aborted: u64,
    /// Transactions of unknown outcome that somebody read, and that count as committed therefore.
    pub unknown_read: u64,
    /// Transactions of unknown outcome that nobody read.
    pub unknown_unread: u64,
    /// Reads, of all transactions.
    pub reads: u64,
    /// Reads that were checked: those of committed transactions, unless all are asked for.
    pub reads_checked: u64,
    /// Writes, of all transactions.
    pub writes: u64,
    /// Keys that were written.
    pub keys_written: u64,
}

/// How far reads lagged behind. Not a violation: AFT promises no freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// Reads that could be measured: the reader's begin and the times of the key's commits are known.
    pub reads: u64,
    /// Those for which a newer version had been acknowledged before the reader began.
    pub stale: u64,
    /// Median of the time for which the version read had been superseded, in milliseconds; 0 for a fresh read.
    pub p50_ms: u64,
    /// The same, exceeded by one read in a hundred.
    pub p99_ms: u64,
    /// The same, at worst.
    pub max_ms: u64,
    /// Acknowledged versions between the one that was read and the newest one, at worst.
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
    /// The strongest level that holds.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.violations.iter().filter_map(Violation::breaks).min() {
            None if self.serializability == Serializability::Yes => Level::Serializable,
            None | Some(Level::Serializable) => Level::ReadAtomic,
            Some(Level::ReadAtomic) => Level::ReadCommitted,
            Some(Level::ReadCommitted | Level::None) => Level::None,
        }
    }

    /// Whether P1 to P4 hold (and P8, if session order was asked for).
    #[must_use]
    pub fn is_read_atomic(&self) -> bool {
        self.level() >= Level::ReadAtomic
    }

    /// Returns the verdict on one order of all transactions, if that was asked for.
    #[must_use]
    pub const fn serializability(&self) -> Serializability {
        self.serializability
    }

    /// Whether nothing at all was found: read atomic, exactly once, stamps in order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// All that was found, grouped by kind, each kind in the order of the history.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What was in the history.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How much of the order of versions was known.
    #[must_use]
    pub const fn stamps(&self) -> Stamps {
        self.stamps
    }

    /// How far reads lagged behind, if the history has times.
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
                "serializable: not known; no order of transactions was found, and none is excluded: give stamps to \
                 those that write"
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
            Stamps::None => "not given; any order that explains the reads will do",
            Stamps::Some => "given for some; any order that keeps to it and explains the reads will do",
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
