//! The seam between an attempt and what protects it, if anything does.
//!
//! An attempt claims its request, reads and writes its counters, and finishes. What each of these asks of the store is the way's own matter;
//! where the attempt dies is not.

use std::time::{Duration, Instant};

use aft_core::ids::AttemptId;
use async_trait::async_trait;

use crate::exactly_once::counter::{Counter, Counts};

/// An attempt, as a way sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// The request that it is of.
    pub(crate) request: u64,
    /// Its own name, fresh for each attempt.
    pub(crate) id: AttemptId,
    /// When the platform ends it.
    pub(crate) deadline: Instant,
}

impl Attempt {
    /// What remains of its time.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// What came of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The work is this attempt's.
    Work,
    /// The work was done before: the request is answered with the result of then.
    Answered,
    /// Another attempt is at it: come again later.
    InProgress,
}

/// A call failed, under this code; the attempt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) &'static str);

/// A store's or a node's answer, or a code.
pub(crate) type Answer<T> = Result<T, Failed>;

/// How a request's functions reach the store.
#[async_trait]
pub(crate) trait Way: Send + Sync + std::fmt::Debug {
    /// Before the first function.
    async fn claim(&self, attempt: &Attempt) -> Answer<Claim>;

    /// A counter's count.
    async fn read(&self, attempt: &Attempt, counter: Counter) -> Answer<u64>;

    /// Sets a counter's count.
    async fn write(&self, attempt: &Attempt, counter: Counter, count: u64) -> Answer<()>;

    /// After the last function.
    async fn finish(&self, attempt: &Attempt) -> Answer<()>;

    /// Both counts as others see them now.
    async fn look(&self, request: u64) -> Answer<Counts>;
}
