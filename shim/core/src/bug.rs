//! Bugs planted in the protocol, to prove that the tests find them (protocol, section 16).
//!
//! Without the feature `planted-bugs` nothing can turn one on, and the core's test for it is
//! constantly false.

/// The tests that must find a planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finder {
    /// Seeds or small worlds: `tests/simulation/tests/planted_bugs.rs`.
    Simulation,
    /// The sweep tests: `shim/core/tests/sweep`.
    Sweep,
    /// A story that `shim/core/tests/stories/planted.rs` names.
    Story,
}

/// Defines the bugs, each with the tests that must find it, at least one.
macro_rules! bugs {
    ($($bug:ident => [$($finder:ident),+],)+) => {
        /// One planted bug. Off by default; at most one at a time.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are the sentences of section 16, and more of their kind")]
        pub enum Bug {
            $($bug,)+
        }

        impl Bug {
            /// Every bug.
            pub const ALL: [Bug; [$(Bug::$bug),+].len()] = [$(Bug::$bug),+];

            /// Returns the tests that must find the bug.
            pub fn finders(self) -> &'static [Finder] {
                match self {
                    $(Bug::$bug => &[$(Finder::$finder),+],)+
                }
            }

            /// Returns the bugs that a kind of tests must find.
            pub fn found_by(finder: Finder) -> impl Iterator<Item = Bug> {
                Bug::ALL.into_iter().filter(move |bug| bug.finders().contains(&finder))
            }
        }
    };
}

bugs! {
    // Reading.
    TakeHintForVersion => [Simulation],
    UndecidedNeverAskedAgain => [Simulation],
    SkipListedWithoutRecord => [Simulation],
    ReadMarkBeforeGet => [Simulation],
    ReadMarkBeforeListing => [Simulation],
    IndexOnlyTheKeyAsked => [Simulation],
    DropLowerBound => [Simulation],
    DropUpperBound => [Simulation],
    TreatAbsentAsNewest => [Simulation],
    TreatAbsentAsVersionZero => [Simulation],
    IndexWhateverTheMark => [Simulation],
    BelieveAbsenceThoughMarkMoved => [Simulation],
    AbsentAfterRejection => [Simulation],
    OlderVersionAfterRejection => [Simulation],
    FreshByOldListing => [Simulation],
    KnowWhatOthersShowed => [Story],
    SessionLostWhateverTheMark => [Simulation, Story],
    SkipSecondPage => [Simulation],
    OrderByTimeOnly => [Simulation],
    ForgetLaterRanges => [Simulation],
    BelieveSkippedAbsent => [Simulation],
    ForgetRangesBesidePrefixes => [Simulation],
    SettleByHiddenKey => [Simulation],
    ListFromTheStart => [Story],
    BelieveListingsOfTheForgotten => [Story],
    TakeDamageForAbsence => [Simulation],
    // Committing.
    SendAfterDeadline => [Simulation],
    DeadlineAfterInput => [Simulation],
    AcknowledgeRecordAlone => [Simulation],
    TellBeforeEntries => [Simulation],
    TakeExistsForSuccess => [Simulation],
    RepairOnOldMark => [Sweep, Simulation],
    CommitUnderNewUuidAfterNoAnswer => [Simulation],
    IndexAborted => [Simulation],
    CommitBesideOperations => [Simulation],
    CheckBoundsOnlyAtFirst => [Simulation],
    ReopenAfterDamage => [Simulation],
    BeginWhileDraining => [Simulation],
    ForgetWaiters => [Simulation],
    ReplayToAnyWaiter => [Simulation],
    // Checking.
    CommitUnchecked => [Simulation],
    CheckWithoutUnderWay => [Simulation],
    CheckWithoutRanges => [Simulation],
    CheckThoughForgotten => [Simulation],
    CheckBeforeLocking => [Simulation],
    DeadWithoutRecord => [Simulation],
    DeadByAnyExclusion => [Simulation],
    CommitThoughExcluded => [Simulation],
    TakeOverWithoutTag => [Simulation],
    FollowUndecided => [Simulation],
    TrustOldDeletions => [Simulation],
    ForgetStrays => [Simulation],
    ExclusionGoesEarly => [Simulation],
    JudgeConditionsByOldListings => [Simulation],
    FailConditionsOfTheCommitted => [Simulation],
    MoveSumsOn => [Simulation],
    MoveConditionsOn => [Simulation],
    // Collecting.
    SupersedeByUndecided => [Sweep, Simulation],
    RemoveUndecidedEarly => [Sweep, Simulation],
    MarkPassesOpenAttempts => [Sweep, Simulation],
    MarkPassesHalfEntered => [Sweep, Simulation],
    MarkPassesDeadEntries => [Sweep, Simulation],
    DeadEntriesCountForWinner => [Sweep, Simulation],
    RemoveUpToTheMark => [Sweep, Simulation],
    MarkWithoutTag => [Sweep, Simulation],
    TombstoneNotAlone => [Sweep, Simulation],
    RemoveUnverifiedRecord => [Sweep, Simulation],
    RemoveRecordSupersededAtOneKey => [Sweep, Simulation],
    RemoveRecordWithoutTag => [Sweep, Simulation],
    RetentionEndsEarly => [Sweep, Simulation],
    BlobsGoEarly => [Sweep, Simulation],
    LoserBlobsStay => [Sweep, Simulation],
    SettleFromSending => [Sweep, Simulation],
    // Clocks.
    OwnClockForRetention => [Sweep, Simulation],
    WallClockAlone => [Simulation],
    TimeBeforeFirstAnswer => [Simulation],
    IgnoreErrorInAge => [Simulation],
    SkipCommitWait => [Simulation],
    LowerTimeByOldListing => [Simulation],
    IntersectOverStep => [Simulation],
}
