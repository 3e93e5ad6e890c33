//! Bugs that the checker's own tests put into it, to prove that they would notice.
//!
//! Compiled into unit tests only. Elsewhere `planted!(…)` is the constant `false`.

use std::cell::Cell;

/// One bug, named by what the checker would wrongly do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Count unknown outcomes as aborted though somebody read them.
    UnknownIsAborted,
    /// Take any write of a transaction for its last one.
    IntermediateIsLast,
    /// Forget own writes when a read follows.
    OwnWriteForgotten,
    /// Take a read of one's own later write for a read from somebody.
    FutureIsFine,
    /// Let a key change between two reads.
    RepeatableIgnored,
    /// Look only at reads that follow the read of the newer transaction.
    UpperBoundLost,
    /// Look only at reads that precede the read of the newer transaction.
    LowerBoundLost,
    /// Let version 0 pass for newer than everything.
    AbsentIsNewer,
    /// Leave out that a writer comes before its readers.
    ReadEdgesLost,
    /// Find only cycles of two.
    LongCyclesMissed,
    /// Look only at one other key of each transaction that was seen.
    OneSiblingOnly,
    /// Judge by stamps only where the newer transaction was seen first.
    StampsOneWay,
    /// Do not look whether a stamp precedes what was read.
    LaterStampsFine,
    /// Do not let the stamps of some transactions into the graph.
    StampChainLost,
    /// Forget what a session committed.
    OwnCommitsForgotten,
    /// Forget in which order a session ran.
    SessionOrderLost,
    /// Leave out that a reader comes before whoever replaced what it read.
    AntiDependencyLost,
}

impl Plant {
    /// Every bug.
    pub(crate) const ALL: [Self; 17] = [
        Self::UnknownIsAborted,
        Self::IntermediateIsLast,
        Self::OwnWriteForgotten,
        Self::FutureIsFine,
        Self::RepeatableIgnored,
        Self::UpperBoundLost,
        Self::LowerBoundLost,
        Self::AbsentIsNewer,
        Self::ReadEdgesLost,
        Self::LongCyclesMissed,
        Self::OneSiblingOnly,
        Self::StampsOneWay,
        Self::LaterStampsFine,
        Self::StampChainLost,
        Self::OwnCommitsForgotten,
        Self::SessionOrderLost,
        Self::AntiDependencyLost,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
}

/// Whether this thread's checker has the bug.
pub(crate) fn is_planted(plant: Plant) -> bool {
    PLANTED.get() == Some(plant)
}

/// Runs `body` with a bug planted.
pub(crate) fn with<T>(plant: Plant, body: impl FnOnce() -> T) -> T {
    PLANTED.set(Some(plant));
    let result = body();
    PLANTED.set(None);
    result
}
