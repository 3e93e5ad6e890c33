//! The part of the world that the auditor needs, and the ends of attempts by true time.

use aft_core::ids::AttemptId;
use aft_core::settings::Settings;

use crate::attempt::{Attempt, attempt_number};
use crate::script::Request;

/// The part of the world that the auditor needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// The true time.
    pub(crate) now_ms: u64,
    /// The store's time.
    pub(crate) store_ms: u64,
    /// The true time at which the store's clock was last set to another offset.
    pub(crate) stepped_ms: Option<u64>,
    /// The longest pause that no clock showed.
    pub(crate) unseen_ms: u64,
    pub(crate) settings: &'a Settings,
    pub(crate) requests: &'a [Request],
    pub(crate) attempts: &'a [Attempt],
}

impl<'a> Scene<'a> {
    /// Returns the attempt with this id, if there is one in this world.
    pub(crate) fn attempt(&self, id: AttemptId) -> Option<&'a Attempt> {
        self.attempts.get(attempt_number(id)).filter(|attempt| attempt.id == id)
    }

    /// Returns the error that ages may have, from clocks that drift and pauses that no clock shows.
    pub(super) fn slack_ms(&self) -> u64 {
        2 + self.settings.timeout_max_ms / 1_000 + self.unseen_ms
    }

    /// Returns true if a node may take the attempt for over: no call of it can take effect any
    /// more.
    pub(super) fn is_over(&self, attempt: &Attempt) -> bool {
        let request = &self.requests[attempt.request];
        // The earliest possible end: the auditor does not always know whether a begin that may wait
        // for another attempt did so.
        let over_ms = attempt.least_deadline_ms(request, self.settings) + self.settings.grace_ms;
        attempt.begun_ms > 0 && self.now_ms + self.slack_ms() >= over_ms
    }

    /// Returns true if the attempt with this id is over, or if there is none.
    pub(crate) fn is_attempt_over(&self, id: AttemptId) -> bool {
        self.attempt(id).is_none_or(|attempt| self.is_over(attempt))
    }

    /// Returns true if at `now_ms` every attempt that was open at `open_ms` is over, by the longest
    /// deadline. That may be earlier than an attempt's own end, which allows for a wait that it may
    /// not have needed.
    pub(super) fn are_over_since(&self, open_ms: u64, now_ms: u64) -> bool {
        now_ms + self.slack_ms() >= open_ms + self.settings.over_after_ms()
    }

    /// Returns true if a call that the attempt's node sent before the deadline must have landed by
    /// now.
    pub(super) fn is_late(&self, attempt: &Attempt) -> bool {
        let request = &self.requests[attempt.request];
        let over_ms = attempt.deadline_ms(request, self.settings) + self.settings.grace_ms;
        // A begin that waits looks its request up twice, and its timeout counts from the second
        // look-up: the first one takes time as well.
        let looked_ms = if request.waits() { self.settings.store_patience_ms } else { 0 };
        self.now_ms > over_ms + looked_ms + self.slack_ms()
    }
}
