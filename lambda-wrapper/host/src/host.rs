//! The host: functions, their environments, and the Invoke API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::config::{Config, ConfigError, Function};
use crate::environment::{Environment, EnvironmentId, Shared};
use crate::invoke::kinds::{EVENT_MAX, PAYLOAD_MAX};
use crate::invoke::queue::Queue;
use crate::invoke::{self, Delivery, Invoke, InvokeError, Invoked, Queued};
use crate::logs::Logs;
use crate::machine::Stage;
use crate::pool::Pool;
use crate::{api, arn, ids};

/// The longest time between two looks for idle environments.
const TIDY_MAX: Duration = Duration::from_secs(1);
/// The shortest time between two looks for idle environments.
const TIDY_MIN: Duration = Duration::from_millis(10);

/// A local Lambda. Every process that it has started is killed when it is dropped.
#[derive(Debug)]
pub struct Host {
    inner: Arc<Inner>,
    address: SocketAddr,
    tasks: Vec<AbortHandle>,
}

/// The functions, for the Invoke API and the host's own methods.
#[derive(Debug)]
pub(crate) struct Inner {
    config: Arc<Config>,
    pools: BTreeMap<String, Arc<Pool>>,
    queue: Queue,
    /// Notified after every change of an environment.
    changed: Arc<Notify>,
}

/// The reason why a host cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used. Correct it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on. Free it, or choose another one.
    #[error("cannot listen for invocations on {address}: {why}; free the port, or give another one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        why: std::io::Error,
    },
}

/// An environment as it was at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentInfo {
    /// Its name.
    pub id: EnvironmentId,
    /// Its function's name.
    pub function: String,
    /// Its state.
    pub stage: Stage,
    /// The request IDs of the invocations that it works on: one, but on managed instances.
    pub request_ids: Vec<String>,
    /// True if its processes are stopped: frozen because it is idle, or by [`Host::freeze`].
    pub is_stopped: bool,
    /// The number of its process group.
    pub group: i32,
}

/// There is no such environment, or it is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no environment {0}: it may be gone; list the environments again")]
pub struct NoSuchEnvironment(EnvironmentId);

impl Host {
    /// Starts a host. Environments are started by invocations. It must be called in a runtime of
    /// tokio, and every line of the processes goes to `logs`.
    ///
    /// # Errors
    /// Returns an error if the configuration cannot be used, or its address is taken.
    pub async fn start(config: Config, logs: Logs) -> Result<Self, StartError> {
        config.check()?;
        let listen = config.listen;
        let failed = |why| StartError::Listen { address: listen, why };
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (config, changed) = (Arc::new(config), Arc::new(Notify::new()));
        let pool = |function: &Function| {
            let mut function = function.clone();
            // Processes are started in it, and may be told it.
            function.directory = std::path::absolute(&function.directory).unwrap_or(function.directory);
            let name = function.name.clone();
            let shared = Arc::new(Shared {
                config: Arc::clone(&config),
                function,
                logs: logs.clone(),
                changed: Arc::clone(&changed),
            });
            (name, Arc::new(Pool::new(shared)))
        };
        let pools: BTreeMap<_, _> = config.functions.iter().map(pool).collect();
        assert_eq!(pools.len(), config.functions.len(), "names are unique");
        let inner = Arc::new(Inner { config: Arc::clone(&config), pools, queue: Queue::default(), changed });
        let router = invoke::http::router(Arc::clone(&inner));
        let serving = tokio::spawn(api::serve_on(listener, router)).abort_handle();
        let tidying = tokio::spawn(tidy(Arc::clone(&inner))).abort_handle();
        Ok(Self { inner, address, tasks: vec![serving, tidying] })
    }

    /// Returns the address of the Invoke API.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Invokes a function and waits for its answer, which may be the function's error.
    ///
    /// # Errors
    /// Returns an error if the function was not invoked: it does not exist, is throttled, or the
    /// request is wrong.
    pub async fn invoke(&self, invoke: Invoke) -> Result<Invoked, InvokeError> {
        self.inner.invoke(invoke).await
    }

    /// Takes an event for a function, and returns at once. The event is retried by Lambda's rules.
    ///
    /// # Errors
    /// Returns an error if the event was not taken, as [`Host::invoke`] does.
    pub fn send(&self, event: Invoke, delivery: Delivery) -> Result<Queued, InvokeError> {
        self.inner.send(event, delivery)
    }

    /// Lists the environments that are not gone, by function, the oldest first.
    #[must_use]
    pub fn environments(&self) -> Vec<EnvironmentInfo> {
        let all = self.inner.pools.values().flat_map(|pool| pool.environments());
        all.map(|one| info(&one)).collect()
    }

    /// Kills the processes of an environment at once (SIGKILL). An invocation that it works on
    /// fails.
    ///
    /// # Errors
    /// Returns an error if there is no such environment.
    pub fn kill(&self, environment: &EnvironmentId) -> Result<(), NoSuchEnvironment> {
        self.find(environment).map(|found| found.kill())
    }

    /// Stops the processes of an environment at whatever they do (SIGSTOP), until [`Host::thaw`].
    /// Meanwhile it gets no invocations. Time goes on: an invocation that it works on may time out.
    ///
    /// # Errors
    /// Returns an error if there is no such environment.
    pub fn freeze(&self, environment: &EnvironmentId) -> Result<(), NoSuchEnvironment> {
        self.find(environment).map(|found| found.hold())
    }

    /// Lets the processes of an environment go on after [`Host::freeze`].
    ///
    /// # Errors
    /// Returns an error if there is no such environment.
    pub fn thaw(&self, environment: &EnvironmentId) -> Result<(), NoSuchEnvironment> {
        self.find(environment).map(|found| found.release())
    }

    /// Waits until `is` holds for the list of environments, and returns that list.
    pub async fn wait_for(&self, is: impl Fn(&[EnvironmentInfo]) -> bool) -> Vec<EnvironmentInfo> {
        loop {
            // Before the look: a change after it must not be missed.
            let mut changed = std::pin::pin!(self.inner.changed.notified());
            changed.as_mut().enable();
            let list = self.environments();
            if is(&list) {
                return list;
            }
            changed.await;
        }
    }

    /// Stops the host: extensions get SHUTDOWN, and whatever is left is killed. Invocations in
    /// flight fail.
    pub async fn stop(self) {
        let closing = self.inner.pools.values().map(|pool| {
            let pool = Arc::clone(pool);
            tokio::spawn(async move { pool.close().await })
        });
        for closed in closing.collect::<Vec<_>>() {
            let _ = closed.await;
        }
    }

    fn find(&self, id: &EnvironmentId) -> Result<Arc<Environment>, NoSuchEnvironment> {
        let mut all = self.inner.pools.values().flat_map(|pool| pool.environments());
        all.find(|one| one.id == *id).ok_or_else(|| NoSuchEnvironment(id.clone()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.inner.pools.values().for_each(|pool| pool.abandon());
    }
}

impl Inner {
    pub(crate) async fn invoke(&self, invoke: Invoke) -> Result<Invoked, InvokeError> {
        let (pool, invoke) = self.prepare(invoke, PAYLOAD_MAX)?;
        // A task of its own: the invocation goes on if its caller leaves.
        let task = tokio::spawn(invoke::perform::perform(pool, invoke));
        task.await.unwrap_or_else(|why| match why.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(InvokeError::Unavailable(
                "the host has ended before the function: start it again".to_owned(),
            )),
        })
    }

    pub(crate) fn send(&self, event: Invoke, delivery: Delivery) -> Result<Queued, InvokeError> {
        let (pool, event) = self.prepare(event, EVENT_MAX)?;
        self.queue.send(&pool, &event, delivery)
    }

    /// Checks an invocation without making it.
    pub(crate) fn check(&self, invoke: Invoke) -> Result<(), InvokeError> {
        self.prepare(invoke, PAYLOAD_MAX).map(drop)
    }

    /// Finds the function of an invocation, checks the rest, and gives it a request ID.
    fn prepare(&self, invoke: Invoke, bytes_max: usize) -> Result<(Arc<Pool>, Invoke), InvokeError> {
        let name = arn::name_in(&invoke.function);
        let pool = name.and_then(|name| self.pools.get(name)).ok_or_else(|| {
            let asked = name.map_or_else(|| invoke.function.clone(), |name| arn::arn(&self.config, name));
            InvokeError::NotFound(asked)
        })?;
        let mut invoke = invoke.check(bytes_max)?;
        invoke.request_id.get_or_insert_with(ids::request_id);
        Ok((Arc::clone(pool), invoke))
    }
}

fn info(environment: &Environment) -> EnvironmentInfo {
    environment.machine.look(|machine| EnvironmentInfo {
        id: environment.id.clone(),
        function: environment.shared.function.name.clone(),
        stage: machine.stage(),
        request_ids: machine.open().map(|open| open.request_id.clone()).collect(),
        is_stopped: machine.is_stopped(),
        group: environment.group(),
    })
}

/// Ends idle environments, for as long as the task runs.
async fn tidy(host: Arc<Inner>) {
    let idle = host.config.idle;
    let mut ticks = tokio::time::interval((idle / 4).clamp(TIDY_MIN, TIDY_MAX));
    loop {
        ticks.tick().await;
        host.pools.values().for_each(|pool| pool.tidy(idle));
    }
}
