//! The trait between an attempt and the mechanism that protects it, if there is one.
//!
//! An attempt claims its request, reads and writes its counters, and finishes. Each implementation
//! decides which requests to the store these steps need, but not where the attempt dies.

use std::time::{Duration, Instant};

use aft_core::ids::AttemptId;
use async_trait::async_trait;

use crate::exactly_once::counter::{Counter, Counts};

/// An attempt, as the implementations of [`Way`] see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// The number of the attempt's request.
    pub(crate) request: u64,
    /// The attempt's own ID, which is unique.
    pub(crate) id: AttemptId,
    /// The time at which the platform ends the attempt.
    pub(crate) deadline: Instant,
}

impl Attempt {
    /// Returns the time until the deadline.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The result of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// This attempt carries out the request.
    Work,
    /// The request was carried out before, and is answered with that result.
    Answered,
    /// Another attempt is in progress; retry later.
    InProgress,
}

/// A call that failed, with the error's code. The attempt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) &'static str);

/// The result of a call to a store or a node.
pub(crate) type Answer<T> = Result<T, Failed>;

/// A way for a request's functions to access the store.
#[async_trait]
pub(crate) trait Way: Send + Sync + std::fmt::Debug {
    /// Claims the request, before the first function.
    async fn claim(&self, attempt: &Attempt) -> Answer<Claim>;

    /// Reads a counter's count.
    async fn read(&self, attempt: &Attempt, counter: Counter) -> Answer<u64>;

    /// Sets a counter's count.
    async fn write(&self, attempt: &Attempt, counter: Counter, count: u64) -> Answer<()>;

    /// Completes the request, after the last function.
    async fn finish(&self, attempt: &Attempt) -> Answer<()>;

    /// Reads both counts, as other clients see them now.
    async fn look(&self, request: u64) -> Answer<Counts>;
}
