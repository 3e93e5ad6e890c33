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
//!
//! On a managed instance several invocations are open at once, and the runtime asks for events from
//! several connections. The environment then is busy while an invocation is open, settles when the
//! last one has ended, and is idle when the runtime asks again. It takes invocations in all these
//! stages, is never frozen, and has no zombies of its own: a handler whose time is over goes on
//! beside the others.
//!
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

/// An open invocation, from its assignment until it is answered or times out.
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
    /// Open invocations, the oldest first: at most one, but on managed instances.
    open: Vec<Open>,
    /// Outcomes with their invocation IDs, until they are taken.
    outcomes: Vec<(String, Outcome)>,
    /// The invocation ID of the last outcome.
    concluded: Option<String>,
    /// Set once: the environment cannot be used any more.
    failure: Option<Failure>,
    /// Invocations that have timed out, the newest last.
    timed_out: VecDeque<Arc<Invocation>>,
    /// Only the invocation for which it was started may have it.
    is_reserved: bool,
    /// The number of invocations at once on a managed instance; `None` elsewhere.
    managed: Option<usize>,
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
        Self::with(extensions, freezes, None)
    }

    /// Returns a new environment on a managed instance, which takes `max_concurrency` invocations
    /// at once.
    pub(crate) fn managed(extensions: Vec<String>, max_concurrency: usize) -> Self {
        assert!(max_concurrency > 0, "the configuration was checked");
        Self::with(extensions, false, Some(max_concurrency))
    }

    fn with(extensions: Vec<String>, freezes: bool, managed: Option<usize>) -> Self {
        let machine = Self {
            stage: Stage::Init,
            runtime: Runtime::new(managed.is_some()),
            extensions: extensions.into_iter().map(Extension::external).collect(),
            open: Vec::new(),
            outcomes: Vec::new(),
            concluded: None,
            failure: None,
            timed_out: VecDeque::new(),
            is_reserved: true,
            managed,
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

    /// Returns the open invocations, the oldest first.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Invocation> {
        self.open.iter().map(|open| &*open.invocation)
    }

    /// Returns true if this invocation is open.
    pub(crate) fn is_open(&self, invocation_id: &str) -> bool {
        self.open().any(|open| open.invocation_id == invocation_id)
    }

    /// Returns true if an invocation may be assigned.
    pub(crate) fn is_free(&self) -> bool {
        if self.is_reserved || self.is_held {
            return false;
        }
        match self.managed {
            // The last outcome is still to be taken for an instant after the runtime has answered.
            None => self.stage == Stage::Idle && self.outcomes.is_empty(),
            Some(_) => self.takes_invocations() && self.runtime.has_poller(),
        }
    }

    /// Returns true if this invocation may be assigned. Lambda does not give an environment two
    /// invocations of one request at once, unless the first one has timed out.
    pub(crate) fn is_free_for(&self, request_id: &str) -> bool {
        self.is_free() && !self.has_open(request_id)
    }

    /// Returns true if an invocation of this request is open.
    pub(crate) fn has_open(&self, request_id: &str) -> bool {
        self.open().any(|open| open.request_id == request_id)
    }

    /// Returns the number of invocations that it may take soon, apart from those that it may take
    /// now: each one may wait for it.
    pub(crate) fn takes_soon(&self) -> usize {
        match self.managed {
            _ if self.is_held => 0,
            None => usize::from(self.stage == Stage::Settling),
            Some(max) => match self.stage {
                // One of them is the invocation for which it was started.
                Stage::Init => max - 1,
                _ if self.takes_invocations() => max - self.open.len(),
                _ => 0,
            },
        }
    }

    /// Returns true if one more invocation may be open on a managed instance.
    fn takes_invocations(&self) -> bool {
        let is_up = matches!(self.stage, Stage::Idle | Stage::Busy | Stage::Settling);
        is_up && self.failure.is_none() && self.managed.is_some_and(|max| self.open.len() < max)
    }

    /// Returns true if a process has not asked for its next event after this invocation. On a
    /// managed instance nobody has to.
    pub(crate) fn is_settling_after(&self, invocation_id: &str) -> bool {
        let is_last = self.concluded.as_deref() == Some(invocation_id);
        self.managed.is_none() && self.stage == Stage::Settling && is_last
    }

    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.idle_since.filter(|_| self.is_free())
    }

    /// Hands an invocation to the environment, which must be idle, or free on a managed instance.
    /// The caller lets its processes run first if they are stopped.
    pub(crate) fn assign(&mut self, invocation: Arc<Invocation>) {
        assert!(!self.is_stopped(), "stopped processes get no event");
        match self.managed {
            None => {
                assert_eq!(self.stage, Stage::Idle, "one invocation at a time");
                assert!(self.open.is_empty() && self.outcomes.is_empty(), "the last invocation is over");
                for extension in &mut self.extensions {
                    extension.hand_invoke(&invocation);
                }
            }
            Some(_) => assert!(self.takes_invocations(), "it has room"),
        }
        self.is_reserved = false;
        self.stage = Stage::Busy;
        self.idle_since = None;
        self.runtime.hand(Arc::clone(&invocation));
        self.open.push(Open { invocation, is_responding: false });
        self.check_invariants();
    }

    /// Takes the outcome of an invocation.
    pub(crate) fn take_outcome(&mut self, invocation_id: &str) -> Option<Outcome> {
        let at = self.outcomes.iter().position(|(id, _)| id == invocation_id)?;
        Some(self.outcomes.remove(at).1)
    }

    /// Ends an open invocation, whose time is over. Returns false if it was answered meanwhile. The
    /// environment goes on with whatever it does.
    pub(crate) fn time_out(&mut self, invocation_id: &str) -> bool {
        let Some(open) = self.take_open(invocation_id) else { return false };
        if self.timed_out.len() == TIMED_OUT_MAX {
            self.timed_out.pop_front();
        }
        self.runtime.drop_pending(invocation_id);
        self.timed_out.push_back(open.invocation);
        if self.open.is_empty() {
            self.stage = if self.managed.is_some() { Stage::Settling } else { Stage::TimedOut };
        }
        self.check_invariants();
        true
    }

    /// Records that the runtime's process has ended. Open invocations fail, unless their responses
    /// are being read: then those have to end first.
    pub(crate) fn runtime_ended(&mut self, exit: Exit) {
        self.runtime.end();
        if matches!(self.stage, Stage::Ending | Stage::Gone) {
            return;
        }
        let failure = Failure::Exited(exit);
        let lost = self.open.iter().filter(|open| !open.is_responding);
        let lost: Vec<_> = lost.map(|open| open.invocation.invocation_id.clone()).collect();
        lost.iter().for_each(|id| self.conclude(id, Outcome::Failed(failure.clone())));
        match self.open.is_empty() {
            true => self.fail(failure),
            false => drop(self.failure.get_or_insert(failure)),
        }
        self.check_invariants();
    }

    /// Records that the environment cannot be used any more. Open invocations fail for the same
    /// reason. An environment that is being shut down is expected to lose its processes.
    pub(crate) fn fail(&mut self, failure: Failure) {
        if matches!(self.stage, Stage::Ending | Stage::Gone) {
            return;
        }
        self.conclude_all(&Outcome::Failed(failure.clone()));
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
        let failure = self.failure.clone().unwrap_or(Failure::Exited(Exit::KILLED));
        self.conclude_all(&Outcome::Failed(failure));
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

    fn take_open(&mut self, invocation_id: &str) -> Option<Open> {
        let at = self.open.iter().position(|open| open.invocation.invocation_id == invocation_id)?;
        Some(self.open.remove(at))
    }

    /// Settles the outcome of every open invocation.
    fn conclude_all(&mut self, outcome: &Outcome) {
        let ids: Vec<_> = self.open().map(|open| open.invocation_id.clone()).collect();
        ids.iter().for_each(|id| self.conclude(id, outcome.clone()));
    }

    /// Settles the outcome of an open invocation.
    fn conclude(&mut self, invocation_id: &str, outcome: Outcome) {
        assert_eq!(self.stage, Stage::Busy, "only a busy environment has an open invocation");
        let open = self.take_open(invocation_id).expect("the caller has seen it");
        let id = &open.invocation.invocation_id;
        assert!(self.outcomes.iter().all(|(of, _)| of != id), "an invocation has one outcome");
        self.outcomes.push((id.clone(), outcome));
        self.concluded = Some(id.clone());
        if self.open.is_empty() {
            self.stage = Stage::Settling;
        }
    }

    /// Becomes idle if every process waits for its next event.
    fn settle(&mut self, now: Instant) {
        let may_settle = matches!(self.stage, Stage::Init | Stage::Settling | Stage::TimedOut);
        if may_settle && self.all_wait() && self.failure.is_none() {
            self.stage = Stage::Idle;
            self.idle_since = Some(now);
        }
        self.check_invariants();
    }

    /// Returns true if the runtime and every extension have asked for their next event.
    fn all_wait(&self) -> bool {
        self.runtime.is_waiting() && self.extensions.iter().all(Extension::is_waiting)
    }

    /// Asserts the relations between the parts.
    fn check_invariants(&self) {
        assert_eq!(!self.open.is_empty(), self.stage == Stage::Busy, "busy means an open invocation");
        assert!(self.open.len() <= self.managed.unwrap_or(1), "no more invocations than allowed");
        assert!(self.managed.is_none() || self.stage != Stage::TimedOut, "it goes on beside the others");
        assert_eq!(self.idle_since.is_some(), self.stage == Stage::Idle, "idle means since a time");
        assert!(self.timed_out.len() <= TIMED_OUT_MAX, "few timed-out invocations are remembered");
        assert!(!self.is_frozen || self.stage == Stage::Idle, "only an idle environment is frozen");
        if let Some((id, _)) = self.outcomes.first().filter(|_| self.managed.is_none()) {
            assert_eq!(self.concluded.as_ref(), Some(id), "an outcome is that of the last invocation");
            assert_eq!(self.outcomes.len(), 1, "one invocation at a time");
        }
        // On a managed instance a poller may have closed its connection meanwhile.
        if self.stage == Stage::Idle && self.managed.is_none() {
            assert!(self.all_wait(), "in an idle environment all wait");
        }
        if matches!(self.stage, Stage::Ending | Stage::Gone) {
            assert!(!self.is_stopped(), "an end is not held up");
        }
    }
}
