//! Calls of the runtime.

use std::sync::Arc;
use std::time::Instant;

use super::invocation::{Failure, Invocation, Outcome};
use super::{Machine, Rejected, Stage};

/// The runtime's side of an environment.
#[derive(Debug, Default)]
pub(super) struct Runtime {
    state: State,
    /// An invocation that the runtime has not fetched yet.
    pending: Option<Arc<Invocation>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its process has not been started.
    #[default]
    Absent,
    /// It starts, or handles an event.
    Working,
    /// It has asked for its next event.
    Waiting,
    /// Its process has ended.
    Ended,
}

impl Runtime {
    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    pub(super) fn end(&mut self) {
        assert_ne!(self.state, State::Absent, "only a process that was started ends");
        self.state = State::Ended;
        self.pending = None;
    }

    pub(super) fn hand(&mut self, invocation: Arc<Invocation>) {
        assert_eq!(self.state, State::Waiting, "the runtime waits for an event");
        assert!(self.pending.is_none(), "one event at a time");
        self.state = State::Working;
        self.pending = Some(invocation);
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
        match (self.runtime.state, self.open.is_some(), self.runtime.pending.is_some()) {
            (State::Absent | State::Ended, ..) => Err(Rejected::transition("RuntimeStarted", "RuntimeReady")),
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
        let taken = self.runtime.pending.take();
        assert!(taken.is_none() || self.runtime.state == State::Working, "a fetched event is worked on");
        taken
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
        let open = self.open.as_mut().filter(|open| is_meant(&open.invocation));
        if let Some(open) = open {
            if open.is_responding || self.runtime.pending.is_some() {
                return Err(Rejected::transition(self.state_name(), "InvocationResponse"));
            }
            open.is_responding = true;
            return Ok(open.invocation.invocation_id.clone());
        }
        if self.timed_out.iter().any(|old| is_meant(old)) {
            return Err(Rejected::timed_out());
        }
        if self.open.is_some() {
            return Err(Rejected::request_id());
        }
        Err(Rejected::transition(self.state_name(), "InvocationResponse"))
    }

    /// Ends the reading of a response or an error with the outcome.
    pub(crate) fn end_response(&mut self, invocation_id: &str, outcome: Outcome) -> Result<(), Rejected> {
        if self.open().is_none_or(|open| open.invocation_id != invocation_id) {
            // It has timed out meanwhile, or the environment is being shut down.
            return Err(Rejected::timed_out());
        }
        assert!(self.open.as_ref().is_some_and(|open| open.is_responding), "a reading has begun");
        self.conclude(outcome);
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
        match (self.runtime.state, &self.open) {
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
