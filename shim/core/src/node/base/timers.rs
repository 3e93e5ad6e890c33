//! Instants at which the node must do something, by the monotonic clock.

use std::collections::BTreeSet;

use crate::ids::{AttemptId, RequestHash};
use crate::message::Ticket;
use crate::store::CallId;

use super::script::TaskId;

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
    /// A commit has waited long enough for others of its node that write one of its keys.
    Turn(AttemptId),
    /// A question for the store's time narrows it down most now.
    SharpenTime,
    /// A script has paused for long enough, at this place of its own.
    ScriptPause(TaskId, usize),
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
        let (at, timer) = self.set.pop_first()?;
        assert!(at <= now_mono, "a timer fires when it is due");
        assert!(self.next().is_none_or(|next| next >= at), "timers fire in order");
        Some(timer)
    }

    /// Returns true if a timer is set for this instant.
    pub(in crate::node) fn contains(&self, at_mono: u64, timer: &Timer) -> bool {
        self.set.contains(&(at_mono, timer.clone()))
    }

    /// Returns true if a timer is set for any instant.
    pub(in crate::node) fn has(&self, timer: &Timer) -> bool {
        self.set.iter().any(|(_, other)| other == timer)
    }

    /// Panics if a timer is due that a step should have fired.
    pub(in crate::node) fn check_invariants(&self, now_mono: u64) {
        assert!(self.next().is_none_or(|at| at > now_mono), "what is due fires within its step");
    }
}
