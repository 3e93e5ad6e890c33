//! The states of an environment, without processes, sockets and clocks.
//!
//! ```text
//!   Init ──► Idle ──► Busy ──► Settling ──► Idle        (frozen while idle, if configured)
//!                      │ time is over            ▲
//!                      └──────────► TimedOut ────┘       (a zombie that asks for its next event)
//!   any ──► Ending ──► Gone
//! ```
//!
//! The environment is idle when the runtime and every extension have asked for their next event.
//! * `runtime` – calls of the runtime. `extensions` – calls of extensions, and their events.
//! * `invocation` – an invocation and its ends. `rejected` – calls that do not fit the state.

mod extensions;
pub(crate) mod invocation;
mod rejected;
mod runtime;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use extensions::{Event, ExtensionEvent};
pub(crate) use rejected::Rejected;

use extensions::Extension;
use invocation::{Exit, Failure, Invocation, Outcome};
use runtime::Runtime;

/// The number of timed-out invocations that are remembered, so that their late responses are
/// answered as such: as many as Lambda's emulator keeps.
const TIMED_OUT_MAX: usize = 1_000;

/// The state of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its processes are starting.
    Init,
    /// It waits for an event.
    Idle,
    /// The runtime works on an invocation that nothing has been heard of.
    Busy,
    /// The invocation is answered, and a process has not asked for its next event yet.
    Settling,
    /// Its invocation has timed out, and a zombie may still work on it.
    TimedOut,
    /// Its processes are being shut down.
    Ending,
    /// Its processes are gone.
    Gone,
}

/// The reason for which an environment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Spindown,
    Timeout,
    Failure,
}

impl Reason {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

/// The processes that an end must give time to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    RuntimeOnly,
    InternalExtensions,
    ExternalExtensions,
}

/// The open invocation, from its assignment until it is answered or times out.
#[derive(Debug)]
struct Open {
    invocation: Arc<Invocation>,
    /// The runtime's response is being read.
    is_responding: bool,
}

/// The states of an environment and its processes.
#[derive(Debug)]
pub(crate) struct Machine {
    stage: Stage,
    runtime: Runtime,
    extensions: Vec<Extension>,
    open: Option<Open>,
    /// The outcome of the last invocation, with its invocation ID, until it is taken.
    outcome: Option<(String, Outcome)>,
    /// The invocation ID of the last outcome.
    concluded: Option<String>,
    /// Set once: the environment cannot be used any more.
    failure: Option<Failure>,
    /// Invocations that have timed out, the newest last.
    timed_out: VecDeque<Arc<Invocation>>,
    /// Only the invocation for which it was started may have it.
    is_reserved: bool,
    /// Idle environments are stopped.
    freezes: bool,
    /// Stopped because it is idle.
    is_frozen: bool,
    /// Stopped by a test, until the test lets it go on.
    is_held: bool,
    /// The time since when it is idle.
    idle_since: Option<Instant>,
}

impl Machine {
    /// Returns a new environment, in which the external extensions `extensions` will be started.
    pub(crate) fn new(extensions: Vec<String>, freezes: bool) -> Self {
        let machine = Self {
            stage: Stage::Init,
            runtime: Runtime::default(),
            extensions: extensions.into_iter().map(Extension::external).collect(),
            open: None,
            outcome: None,
            concluded: None,
            failure: None,
            timed_out: VecDeque::new(),
            is_reserved: true,
            freezes,
            is_frozen: false,
            is_held: false,
            idle_since: None,
        };
        machine.check_invariants();
        machine
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Returns true if its processes are stopped, for whichever reason.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_frozen || self.is_held
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Returns the open invocation.
    pub(crate) fn open(&self) -> Option<&Invocation> {
        self.open.as_ref().map(|open| &*open.invocation)
    }

    /// Returns true if any invocation may be assigned.
    pub(crate) fn is_free(&self) -> bool {
        // The last outcome is still to be taken for an instant after the runtime has answered.
        self.stage == Stage::Idle && !self.is_reserved && !self.is_held && self.outcome.is_none()
    }

    /// Returns true if a process has not asked for its next event after this invocation.
    pub(crate) fn is_settling_after(&self, invocation_id: &str) -> bool {
        self.stage == Stage::Settling && self.concluded.as_deref() == Some(invocation_id)
    }

    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.idle_since.filter(|_| self.is_free())
    }

    /// Hands an invocation to the environment, which must be idle. The caller lets its processes
    /// run first if they are stopped.
    pub(crate) fn assign(&mut self, invocation: Arc<Invocation>) {
        assert_eq!(self.stage, Stage::Idle, "one invocation at a time");
        assert!(!self.is_stopped(), "stopped processes get no event");
        assert!(self.open.is_none() && self.outcome.is_none(), "the last invocation is over");
        self.is_reserved = false;
        self.stage = Stage::Busy;
        self.idle_since = None;
        for extension in &mut self.extensions {
            extension.hand_invoke(&invocation);
        }
        self.runtime.hand(Arc::clone(&invocation));
        self.open = Some(Open { invocation, is_responding: false });
        self.check_invariants();
    }

    /// Takes the outcome of an invocation.
    pub(crate) fn take_outcome(&mut self, invocation_id: &str) -> Option<Outcome> {
        let (_, outcome) = self.outcome.take_if(|(id, _)| id == invocation_id)?;
        Some(outcome)
    }

    /// Ends the open invocation, whose time is over. Returns false if it was answered meanwhile.
    /// The environment goes on with whatever it does.
    pub(crate) fn time_out(&mut self, invocation_id: &str) -> bool {
        if self.open().is_none_or(|open| open.invocation_id != invocation_id) {
            return false;
        }
        let open = self.open.take().expect("it was just looked at");
        if self.timed_out.len() == TIMED_OUT_MAX {
            self.timed_out.pop_front();
        }
        self.timed_out.push_back(open.invocation);
        if self.stage == Stage::Busy {
            self.stage = Stage::TimedOut;
        }
        self.check_invariants();
        true
    }

    /// Records that the runtime's process has ended. The open invocation fails, unless its response
    /// is being read: then that has to end first.
    pub(crate) fn runtime_ended(&mut self, exit: Exit) {
        self.runtime.end();
        let is_responding = self.open.as_ref().is_some_and(|open| open.is_responding);
        if !is_responding {
            self.fail(Failure::Exited(exit));
        } else if self.failure.is_none() {
            self.failure = Some(Failure::Exited(exit));
        }
        self.check_invariants();
    }

    /// Records that the environment cannot be used any more. An open invocation fails for the same
    /// reason. An environment that is being shut down is expected to lose its processes.
    pub(crate) fn fail(&mut self, failure: Failure) {
        if matches!(self.stage, Stage::Ending | Stage::Gone) {
            return;
        }
        self.conclude(Outcome::Failed(failure.clone()));
        self.failure.get_or_insert(failure);
        if self.stage == Stage::Idle {
            self.stage = Stage::Settling;
            (self.idle_since, self.is_frozen) = (None, false);
        }
        self.check_invariants();
    }

    /// Begins the end. Returns false if it has begun before.
    pub(crate) fn begin_end(&mut self) -> bool {
        if matches!(self.stage, Stage::Ending | Stage::Gone) {
            return false;
        }
        // An invocation that is open now gets no answer from its runtime any more.
        self.conclude(Outcome::Failed(self.failure.clone().unwrap_or(Failure::Exited(Exit::KILLED))));
        self.stage = Stage::Ending;
        self.idle_since = None;
        // The shutdown lets its processes run.
        (self.is_frozen, self.is_held) = (false, false);
        self.check_invariants();
        true
    }

    /// Records that every process is gone.
    pub(crate) fn gone(&mut self) {
        assert_eq!(self.stage, Stage::Ending, "an end has a beginning");
        self.stage = Stage::Gone;
        self.check_invariants();
    }

    /// Freezes the environment if it is idle and freezes then. Returns true if its processes must
    /// be stopped now.
    pub(crate) fn freeze_if_idle(&mut self) -> bool {
        let is_due = self.freezes && self.is_free() && !self.is_frozen;
        self.is_frozen |= is_due;
        is_due
    }

    /// Ends the freeze of an idle environment. Returns true if its processes must run on now.
    pub(crate) fn thaw(&mut self) -> bool {
        assert!(!self.is_held, "a held environment stays stopped");
        std::mem::take(&mut self.is_frozen)
    }

    /// Stops the environment at whatever it does. Returns false if there is nothing to stop.
    pub(crate) fn hold(&mut self) -> bool {
        let runs = !matches!(self.stage, Stage::Ending | Stage::Gone);
        self.is_held |= runs;
        runs
    }

    /// Ends a hold. Returns true if its processes must run on now.
    pub(crate) fn release(&mut self) -> bool {
        std::mem::take(&mut self.is_held) && !self.is_frozen
    }

    /// Settles the outcome of the open invocation, if there is one.
    fn conclude(&mut self, outcome: Outcome) {
        let Some(open) = self.open.take() else { return };
        assert!(self.outcome.is_none(), "an invocation has one outcome");
        assert_eq!(self.stage, Stage::Busy, "only a busy environment has an open invocation");
        let id = &open.invocation.invocation_id;
        self.outcome = Some((id.clone(), outcome));
        self.concluded = Some(id.clone());
        self.stage = Stage::Settling;
    }

    /// Becomes idle if every process waits for its next event.
    fn settle(&mut self, now: Instant) {
        let may_settle = matches!(self.stage, Stage::Init | Stage::Settling | Stage::TimedOut);
        let all_wait = self.runtime.is_waiting() && self.extensions.iter().all(Extension::is_waiting);
        if may_settle && all_wait && self.failure.is_none() {
            self.stage = Stage::Idle;
            self.idle_since = Some(now);
        }
        self.check_invariants();
    }

    /// Asserts the relations between the parts.
    fn check_invariants(&self) {
        assert_eq!(self.open.is_some(), self.stage == Stage::Busy, "busy means an open invocation");
        assert_eq!(self.idle_since.is_some(), self.stage == Stage::Idle, "idle means since a time");
        assert!(self.timed_out.len() <= TIMED_OUT_MAX, "few timed-out invocations are remembered");
        assert!(!self.is_frozen || self.stage == Stage::Idle, "only an idle environment is frozen");
        if let Some((id, _)) = &self.outcome {
            assert_eq!(self.concluded.as_ref(), Some(id), "an outcome is that of the last invocation");
        }
        if self.stage == Stage::Idle {
            assert!(self.runtime.is_waiting(), "an idle runtime waits");
            assert!(self.extensions.iter().all(Extension::is_waiting), "idle extensions wait");
        }
        if matches!(self.stage, Stage::Ending | Stage::Gone) {
            assert!(!self.is_stopped(), "an end is not held up");
        }
    }
}
