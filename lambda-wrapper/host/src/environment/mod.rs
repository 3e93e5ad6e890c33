//! An environment: its machine, its processes and its own Runtime API.
//!
//! * `start` – extensions, then the runtime. `ending` – the way out. `lines` – what they print.
//!
//! Every change of the machine goes through [`Environment::change`], which stops the processes in
//! the same step if the environment has become idle and freezes then.

mod ending;
mod lines;
mod start;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::config::{Config, Function};
use crate::logs::{Line, Logs, Source};
use crate::machine::invocation::{Exit, Failure, Invocation, Outcome};
use crate::machine::{Machine, Reason, Stage};
use crate::process::Group;
use crate::watched::Watched;
use crate::{api, ids};

/// The name of an environment. It is unique and random, and the end of its log stream's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentId(String);

impl fmt::Display for EnvironmentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The parts that all environments of a function share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) function: Function,
    pub(crate) logs: Logs,
    /// Notified after every change of any environment of the host.
    pub(crate) changed: Arc<Notify>,
}

/// An environment.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) id: EnvironmentId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) machine: Watched<Machine>,
    /// The end of the processes' output, for callers that ask for it.
    pub(crate) tail: lines::Tail,
    group: Group,
    address: SocketAddr,
    log_stream: String,
    /// The handle of the runtime's process.
    runtime: OnceLock<OwnedFd>,
    /// The tasks that hold this environment and end with it.
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Environment {
    /// Makes an environment, which listens and has no processes yet.
    pub(crate) fn new(shared: &Arc<Shared>) -> io::Result<Arc<Self>> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let name = |path: &std::path::PathBuf| {
            let name = path.file_name().expect("the configuration was checked");
            name.to_string_lossy().into_owned()
        };
        let function = &shared.function;
        let extensions = function.extensions.iter().map(name).collect();
        let id = EnvironmentId(ids::nonce());
        let log_stream = ids::log_stream(&id.0);
        let machine = match function.max_concurrency {
            None => Machine::new(extensions, function.freeze),
            Some(max) => Machine::managed(extensions, max as usize),
        };
        let environment = Arc::new(Self {
            id,
            shared: Arc::clone(shared),
            machine: Watched::new(machine),
            tail: lines::Tail::default(),
            group: Group::start()?,
            address,
            log_stream,
            runtime: OnceLock::new(),
            tasks: Mutex::default(),
        });
        environment.keep(api::serve(listener, Arc::clone(&environment)));
        environment.keep(tokio::spawn(Arc::clone(&environment).supervise()).abort_handle());
        Ok(environment)
    }

    /// Changes the machine, stops the processes if it has become idle and freezes then, and wakes
    /// the invocations that wait for an environment.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Machine) -> R) -> R {
        let result = self.machine.change(|machine| {
            let result = change(machine);
            if machine.freeze_if_idle() {
                self.group.stop();
            }
            result
        });
        self.shared.changed.notify_waiters();
        result
    }

    pub(crate) fn stage(&self) -> Stage {
        self.machine.look(Machine::stage)
    }

    /// Returns the number of its process group.
    pub(crate) fn group(&self) -> i32 {
        self.group.id()
    }

    /// Hands an invocation to the environment if it is free for it, or, for the one that started
    /// it, if it `is_owner`. Returns false otherwise.
    pub(crate) fn assign(&self, invocation: &Arc<Invocation>, is_owner: bool) -> bool {
        self.change(|machine| {
            let may = machine.is_free_for(&invocation.request_id)
                || (is_owner && machine.stage() == Stage::Idle && !machine.is_held());
            if !may {
                return false;
            }
            self.tail.clear();
            if machine.thaw() {
                self.group.resume();
            }
            machine.assign(Arc::clone(invocation));
            true
        })
    }

    /// Waits for the outcome of an invocation that was assigned. Returns `None` if its time is over
    /// before; the runtime goes on with it.
    pub(crate) async fn outcome(&self, invocation: &Invocation, deadline: Instant) -> Option<Outcome> {
        let id = &invocation.invocation_id;
        let answered = self.machine.wait_for(|machine| !machine.is_open(id));
        let in_time = tokio::time::timeout_at(deadline.into(), answered).await.is_ok();
        self.change(|machine| {
            // An answer that came in the same instant counts.
            if !in_time && machine.time_out(id) { None } else { machine.take_outcome(id) }
        })
    }

    /// Waits until every process has asked for its next event after the invocation. An environment
    /// that does not come to it by the invocation's deadline is ended.
    pub(crate) async fn watch_settling(self: Arc<Self>, invocation_id: String, deadline: Instant) {
        let settled = self.machine.wait_for(|machine| !machine.is_settling_after(&invocation_id));
        if tokio::time::timeout_at(deadline.into(), settled).await.is_err() {
            self.say("an extension or the runtime has not asked for its next event in time".to_owned());
            self.end(Reason::Timeout).await;
        }
    }

    /// Stops its processes at whatever they do.
    pub(crate) fn hold(&self) {
        self.change(|machine| {
            if machine.hold() {
                self.group.stop();
            }
        });
    }

    /// Lets its processes go on after [`hold`](Self::hold).
    pub(crate) fn release(&self) {
        self.change(|machine| {
            if machine.release() {
                self.group.resume();
            }
        });
    }

    /// Kills its processes at once.
    pub(crate) fn kill(&self) {
        self.change(|machine| {
            self.group.kill();
            machine.fail(Failure::Exited(Exit::KILLED));
        });
    }

    /// Ends it if it has been idle for `time`. Returns at once.
    pub(crate) fn reap(self: &Arc<Self>, time: Duration, now: Instant) {
        let is_due = |machine: &Machine| {
            machine.idle_since().is_some_and(|since| now.saturating_duration_since(since) >= time)
        };
        if self.machine.look(is_due) && self.change(|machine| is_due(machine) && machine.begin_end()) {
            tokio::spawn(Arc::clone(self).shut_down(Reason::Spindown));
        }
    }

    /// Writes a line of the host.
    pub(crate) fn say(&self, text: String) {
        self.line("host", Source::Platform, text);
    }

    fn line(&self, process: &str, source: Source, text: String) {
        self.shared.logs.line(Line {
            function: self.shared.function.name.clone(),
            environment: self.id.0.clone(),
            process: process.to_owned(),
            source,
            text,
        });
    }

    /// Aborts a task when the environment is gone.
    fn keep(&self, task: AbortHandle) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Ends the environment as soon as it cannot be used any more.
    async fn supervise(self: Arc<Self>) {
        self.machine.wait_for(|machine| machine.failure().is_some()).await;
        // An invocation whose response is being read is answered first.
        self.machine.wait_for(|machine| machine.open().next().is_none()).await;
        self.end(Reason::Failure).await;
    }
}
