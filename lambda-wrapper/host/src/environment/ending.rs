//! The end of an environment: SIGTERM, SHUTDOWN, SIGKILL.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, timeout, timeout_at};

use super::Environment;
use crate::machine::{Audience, Machine, Reason, Stage};
use crate::{ids, process};

/// The time that Lambda gives to a runtime with internal extensions only.
const INTERNAL: Duration = Duration::from_millis(500);
/// The part of that time in which the runtime has to end after SIGTERM: 30 %, in tenths.
const RUNTIME_TENTHS: u32 = 3;

impl Environment {
    /// Ends the environment, and returns when its processes are gone.
    pub(crate) async fn end(self: &Arc<Self>, reason: Reason) {
        if self.change(Machine::begin_end) {
            // A task of its own, since the caller may be dropped.
            tokio::spawn(Arc::clone(self).shut_down(reason));
        }
        self.machine.wait_for(|machine| machine.stage() == Stage::Gone).await;
    }

    /// Shuts the processes down. The machine's end has begun.
    pub(super) async fn shut_down(self: Arc<Self>, reason: Reason) {
        let patience = match self.machine.look(Machine::audience) {
            Audience::RuntimeOnly => Duration::ZERO,
            Audience::InternalExtensions => INTERNAL,
            Audience::ExternalExtensions => self.shared.config.shutdown,
        };
        // Stopped processes hear nothing but SIGKILL.
        self.group.resume();
        if !patience.is_zero() {
            let deadline = Instant::now() + patience;
            self.end_runtime(patience * RUNTIME_TENTHS / 10).await;
            let deadline_ms = ids::epoch_ms() + ids::ms(deadline.saturating_duration_since(Instant::now()));
            self.change(|machine| machine.send_shutdown(reason, deadline_ms));
            let done = self.machine.wait_for(Machine::shutdown_is_done);
            if timeout_at(deadline, done).await.is_err() {
                self.say(format!("SIGKILL: an extension has not ended within {patience:?}"));
            }
        }
        self.dispose();
    }

    /// Kills whatever is left, at once. An environment whose end has begun is gone then.
    pub(crate) fn dispose(&self) {
        self.group.kill();
        self.change(|machine| {
            machine.begin_end();
            if machine.stage() != Stage::Gone {
                machine.gone();
            }
        });
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Ends the runtime's process: SIGTERM, and SIGKILL after `patience`.
    async fn end_runtime(&self, patience: Duration) {
        let Some(handle) = self.runtime.get() else { return };
        process::signal(handle, Signal::TERM);
        let ended = self.machine.wait_for(|machine| !machine.runtime_runs());
        if timeout(patience, ended).await.is_err() {
            process::signal(handle, Signal::KILL);
        }
    }
}
