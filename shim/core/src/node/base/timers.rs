//! Timers: instants of the monotonic clock at which the node must do something.

use std::collections::BTreeSet;

use crate::ids::{AttemptId, RequestHash};
use crate::message::Ticket;
use crate::store::CallId;

use super::ids::TaskId;

/// A task that is due at an instant. A timer does nothing if its reason no longer exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::node) enum Timer {
    /// The deadline of a transaction has passed.
    Deadline(AttemptId),
    /// The wait of a begin for an open attempt has timed out.
    WaiterGivesUp(RequestHash, Ticket),
    /// A store call is to be retried.
    Repeat(CallId),
    /// The wait of some callers for a commit's outcome has timed out.
    CommitPatience(AttemptId),
    /// The store's time may have passed a commit time.
    CommitWait(AttemptId),
    /// The wait of a commit for other commits of its node has timed out.
    Turn(AttemptId),
    /// A read of the store's time narrows its bounds most now.
    SharpenTime,
    /// A script's pause, at this place of the script, has ended.
    ScriptPause(TaskId, usize),
    /// The next sweep may begin, or continue.
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
        assert!(self.next().is_none_or(|at| at > now_mono), "a due timer fires within its step");
    }
}
