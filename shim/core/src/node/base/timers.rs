//! Instants at which the node must do something, by the monotonic clock.

use std::collections::BTreeSet;

use crate::ids::{AttemptId, RequestHash};
use crate::message::Ticket;
use crate::store::CallId;

/// A task due at an instant. Each is harmless when its reason has gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::node) enum Timer {
    /// A transaction's time is over.
    Deadline(AttemptId),
    /// A begin has waited long enough for an open attempt.
    WaiterGivesUp(RequestHash, Ticket),
    /// A store call is to be repeated.
    Repeat(CallId),
    /// Some have waited long enough for a commit's outcome.
    CommitPatience(AttemptId),
    /// The store's time may have passed a commit time.
    CommitWait(AttemptId),
    /// The next sweep may begin, or goes on.
    Sweep,
}

/// Timers by instant.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Timers {
    set: BTreeSet<(u64, Timer)>,
}

impl Timers {
    pub(in crate::node) fn set(&mut self, at_mono: u64, timer: Timer) {
        self.set.insert((at_mono, timer));
    }

    pub(in crate::node) fn cancel(&mut self, at_mono: u64, timer: Timer) {
        self.set.remove(&(at_mono, timer));
    }

    /// Returns the next instant.
    pub(in crate::node) fn next(&self) -> Option<u64> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes the next timer that is due.
    pub(in crate::node) fn pop_due(&mut self, now_mono: u64) -> Option<Timer> {
        let (at, _) = self.set.first()?;
        if *at > now_mono {
            return None;
        }
        self.set.pop_first().map(|(_, timer)| timer)
    }
}
