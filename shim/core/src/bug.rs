//! Faults put into the protocol on purpose, to prove that the tests find them (protocol, section 11).
//!
//! Without the feature `planted-bugs` nothing can turn one on, and the core's test for it is constantly false.

/// One planted bug. Off by default; at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the sentences of section 11")]
pub enum Bug {
    DropLowerBound,
    DropUpperBound,
    TreatAbsentAsNewer,
    IndexOnlyTheKeyAsked,
    AcknowledgeBeforeIntent,
    ReplayBeforeIntent,
    CommitUnderNewUuidAfterNoAnswer,
    TakeExistsForSuccess,
    IndexAborted,
    PublishBeforeCommit,
    DeleteIntentBeforePublished,
    SkipPublishingBecauseHeard,
    CollectWithoutMarker,
    CollectSupersededOnAllButOne,
    DeleteHeaderEarly,
    DeleteHeaderUnconditionally,
    ReuseIntentName,
    TombstoneAgeZero,
    SkipSecondPage,
    UnionOnRecheck,
    ListAgainOnlyOnce,
    OrderByTimeOnly,
    ServeAfterHeartbeatLost,
    MarkBeforeEntered,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Bug; 24] = [
        Bug::DropLowerBound,
        Bug::DropUpperBound,
        Bug::TreatAbsentAsNewer,
        Bug::IndexOnlyTheKeyAsked,
        Bug::AcknowledgeBeforeIntent,
        Bug::ReplayBeforeIntent,
        Bug::CommitUnderNewUuidAfterNoAnswer,
        Bug::TakeExistsForSuccess,
        Bug::IndexAborted,
        Bug::PublishBeforeCommit,
        Bug::DeleteIntentBeforePublished,
        Bug::SkipPublishingBecauseHeard,
        Bug::CollectWithoutMarker,
        Bug::CollectSupersededOnAllButOne,
        Bug::DeleteHeaderEarly,
        Bug::DeleteHeaderUnconditionally,
        Bug::ReuseIntentName,
        Bug::TombstoneAgeZero,
        Bug::SkipSecondPage,
        Bug::UnionOnRecheck,
        Bug::ListAgainOnlyOnce,
        Bug::OrderByTimeOnly,
        Bug::ServeAfterHeartbeatLost,
        Bug::MarkBeforeEntered,
    ];
}
