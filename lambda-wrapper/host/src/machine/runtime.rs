//! Calls of the runtime.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::invocation::{Failure, Invocation, Outcome};
use super::{Machine, Rejected, Stage};

/// The runtime's side of an environment.
#[derive(Debug)]
pub(super) struct Runtime {
    state: State,
    /// Invocations that the runtime has not fetched yet: at most one, but on managed instances.
    pending: VecDeque<Arc<Invocation>>,
    /// The number of calls for the next event that wait, on a managed instance; `None` elsewhere.
    pollers: Option<usize>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its process has not been started.
    #[default]
    Absent,
    /// It starts, or handles an event. On a managed instance it may do so and wait at once.
    Working,
    /// It has asked for its next event.
    Waiting,
    /// Its process has ended.
    Ended,
}

impl Runtime {
    /// Returns a runtime whose process was not started, on a managed instance or elsewhere.
    pub(super) fn new(is_managed: bool) -> Self {
        Self { state: State::Absent, pending: VecDeque::new(), pollers: is_managed.then_some(0) }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Waiting || (self.state == State::Working && self.has_poller())
    }

    /// Returns true if a call for the next event waits on a managed instance, and no event is for
    /// it yet.
    pub(super) fn has_poller(&self) -> bool {
        self.pollers.is_some_and(|pollers| pollers > self.pending.len())
    }

    /// Forgets an event that was not fetched in its time, on a managed instance. Elsewhere the
    /// runtime gets it all the same.
    pub(super) fn drop_pending(&mut self, invocation_id: &str) {
        if self.pollers.is_some() {
            self.pending.retain(|pending| pending.invocation_id != invocation_id);
        }
    }

    pub(super) fn end(&mut self) {
        assert_ne!(self.state, State::Absent, "only a process that was started ends");
        self.state = State::Ended;
        self.pending.clear();
    }

    pub(super) fn hand(&mut self, invocation: Arc<Invocation>) {
        if self.pollers.is_none() {
            assert_eq!(self.state, State::Waiting, "the runtime waits for an event");
            assert!(self.pending.is_empty(), "one event at a time");
        }
        self.state = State::Working;
        self.pending.push_back(invocation);
    }
}

impl Machine {
    /// Records that the runtime's process was started.
    pub(crate) fn runtime_started(&mut self) {
        assert_eq!(self.runtime.state, State::Absent, "an environment has one runtime");
        self.runtime.state = State::Working;
    }

    /// Returns true if the runtime's process runs.
    pub(crate) fn runtime_runs(&self) -> bool {
        matches!(self.runtime.state, State::Working | State::Waiting)
    }

    /// Takes the runtime's call for its next event. [`Machine::take_invocation`] has the event
    /// then, at once or later.
    ///
    /// A runtime that lost its connection may call again.
    pub(crate) fn runtime_next(&mut self, now: Instant) -> Result<(), Rejected> {
        match (self.runtime.state, !self.open.is_empty(), !self.runtime.pending.is_empty()) {
            (State::Absent | State::Ended, ..) => Err(Rejected::transition("RuntimeStarted", "RuntimeReady")),
            _ if self.runtime.pollers.is_some() => {
                self.runtime.pollers = self.runtime.pollers.map(|pollers| pollers + 1);
                self.settle(now);
                Ok(())
            }
            // It has fetched the event, and not answered it.
            (_, true, false) => Err(Rejected::transition(self.state_name(), "RuntimeReady")),
            // It has not fetched the event, and does so now.
            (_, _, true) => Ok(()),
            (_, false, false) => {
                self.runtime.state = State::Waiting;
                self.settle(now);
                Ok(())
            }
        }
    }

    /// Takes the event that the runtime waits for, if there is one.
    pub(crate) fn take_invocation(&mut self) -> Option<Arc<Invocation>> {
        let taken = self.runtime.pending.pop_front()?;
        assert_eq!(self.runtime.state, State::Working, "a fetched event is worked on");
        self.poller_left();
        Some(taken)
    }

    /// Records that a call for the next event has ended: with an event, or with its connection. An
    /// event that nobody has fetched waits for another call.
    pub(crate) fn poller_left(&mut self) {
        let pollers = &mut self.runtime.pollers;
        *pollers = pollers.map(|pollers| pollers.checked_sub(1).expect("each call is counted once"));
    }

    /// Begins to read a response or an error of the runtime. `invocation_id` is the nonce, which
    /// older runtimes do not send.
    pub(crate) fn begin_response(
        &mut self,
        request_id: &str,
        invocation_id: Option<&str>,
    ) -> Result<String, Rejected> {
        let is_meant = |of: &Invocation| {
            of.request_id == request_id && invocation_id.is_none_or(|id| id == of.invocation_id)
        };
        let open = self.open.iter_mut().find(|open| is_meant(&open.invocation));
        if let Some(open) = open {
            let is_pending =
                self.runtime.pending.iter().any(|pending| Arc::ptr_eq(pending, &open.invocation));
            if open.is_responding || is_pending {
                return Err(Rejected::transition(self.state_name(), "InvocationResponse"));
            }
            open.is_responding = true;
            return Ok(open.invocation.invocation_id.clone());
        }
        if self.timed_out.iter().any(|old| is_meant(old)) {
            return Err(Rejected::timed_out());
        }
        if !self.open.is_empty() {
            return Err(Rejected::request_id());
        }
        Err(Rejected::transition(self.state_name(), "InvocationResponse"))
    }

    /// Ends the reading of a response or an error with the outcome.
    pub(crate) fn end_response(&mut self, invocation_id: &str, outcome: Outcome) -> Result<(), Rejected> {
        let open = self.open.iter().find(|open| open.invocation.invocation_id == invocation_id);
        // None if it has timed out meanwhile, or the environment is being shut down.
        let open = open.ok_or_else(Rejected::timed_out)?;
        assert!(open.is_responding, "a reading has begun");
        self.conclude(invocation_id, outcome);
        self.check_invariants();
        Ok(())
    }

    /// Takes the runtime's report that it cannot start.
    pub(crate) fn init_error(&mut self, failure: Failure) -> Result<(), Rejected> {
        if self.stage != Stage::Init || self.runtime.state != State::Working {
            return Err(Rejected::transition(self.state_name(), "InitError"));
        }
        self.fail(failure);
        Ok(())
    }

    /// Returns the name of the runtime's state in messages.
    fn state_name(&self) -> &'static str {
        match (self.runtime.state, self.open.first()) {
            (State::Absent, _) => "RuntimeStarted",
            (State::Waiting, _) => "RuntimeReady",
            (State::Ended, _) => "RuntimeExited",
            (State::Working, Some(open)) if open.is_responding => "RuntimeResponding",
            (State::Working, Some(_)) => "RuntimeRunning",
            (State::Working, None) if self.stage == Stage::Init => "RuntimeStarted",
            (State::Working, None) => "RuntimeResponseSent",
        }
    }
}
