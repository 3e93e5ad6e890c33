//! Bugs that the checker's own tests plant in it, to prove that the tests would find them.
//!
//! This module is compiled only into unit tests. Elsewhere `planted!(…)` is the constant `false`.

use std::cell::Cell;

/// A planted bug, named after what the checker does wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Counts unknown outcomes as aborted although another transaction read them.
    UnknownIsAborted,
    /// Treats any write of a transaction as its last write of the key.
    IntermediateIsLast,
    /// Ignores a transaction's own writes when it reads.
    OwnWriteForgotten,
    /// Accepts a read of the reader's own later write.
    FutureIsFine,
    /// Accepts a key that changes between two reads.
    RepeatableIgnored,
    /// Considers only reads after the read of the newer transaction.
    UpperBoundLost,
    /// Considers only reads before the read of the newer transaction.
    LowerBoundLost,
    /// Treats version 0 as newer than everything.
    AbsentIsNewer,
    /// Omits that a writer comes before its readers.
    ReadEdgesLost,
    /// Finds only cycles of two.
    LongCyclesMissed,
    /// Considers only some of the other keys of each transaction that was seen.
    OneSiblingOnly,
    /// Compares stamps only where the newer transaction was seen first.
    StampsOneWay,
    /// Does not check that a reader's stamp is later than the stamps of what it read.
    LaterStampsFine,
    /// Leaves the stamps of a partly stamped history out of the graph.
    StampChainLost,
    /// Ignores the earlier commits of a session.
    OwnCommitsForgotten,
    /// Ignores the order of a session's transactions.
    SessionOrderLost,
    /// Omits that a reader comes before the transaction that replaced what it read.
    AntiDependencyLost,
}

impl Plant {
    /// All bugs.
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

/// Returns true if the bug is planted for the checks of this thread.
pub(crate) fn is_planted(plant: Plant) -> bool {
    PLANTED.get() == Some(plant)
}

/// Runs `body` with a bug planted for this thread.
pub(crate) fn with<T>(plant: Plant, body: impl FnOnce() -> T) -> T {
    PLANTED.set(Some(plant));
    let result = body();
    PLANTED.set(None);
    result
}
