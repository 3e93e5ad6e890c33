//! The environments of one function.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::choice::{Choice, Standing, choose};
use crate::environment::{Environment, Shared};
use crate::machine::invocation::Invocation;
use crate::machine::{Reason, Stage};

/// The most zombies of a function. When there are more, the oldest one is killed.
const ZOMBIES_MAX: usize = 100;

/// A function with its environments.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    environments: Vec<Arc<Environment>>,
    /// The number of invocations that wait for an environment which is about to become free.
    waiting: usize,
    /// No environment is started any more.
    is_closed: bool,
}

/// An environment for an invocation.
#[derive(Debug)]
pub(crate) enum Acquired {
    /// It has got the invocation, which times out then.
    Warm(Arc<Environment>, Arc<Invocation>, Instant),
    /// It has to be started first.
    Cold(Arc<Environment>),
}

/// The reason why an invocation gets no environment.
#[derive(Debug)]
pub(crate) enum NoEnvironment {
    Throttled,
    Closed,
    /// The system does not give its parts.
    System(std::io::Error),
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, state: Mutex::default() }
    }

    /// Returns the environments that are not gone, the oldest first.
    pub(crate) fn environments(&self) -> Vec<Arc<Environment>> {
        self.lock().environments.clone()
    }

    /// Finds an environment for an invocation of the request `request_id`. `make` makes the
    /// invocation, which times out at the instant that it returns, at the moment of its start.
    pub(crate) async fn acquire(
        &self,
        request_id: &str,
        make: impl Fn() -> (Arc<Invocation>, Instant),
    ) -> Result<Acquired, NoEnvironment> {
        let config = &self.shared.config;
        // On managed instances an invocation may wait for a start, too.
        let is_managed = self.shared.function.max_concurrency.is_some();
        let patience = if is_managed { config.settle.max(config.init) } else { config.settle };
        let patience = Instant::now() + patience;
        loop {
            // Before the look: a change after it must not be missed.
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            if let Some(acquired) = self.try_acquire(request_id, &make, Instant::now() < patience)? {
                return Ok(acquired);
            }
            let _ = tokio::time::timeout_at(patience.into(), changed).await;
            let mut state = self.lock();
            state.waiting = state.waiting.checked_sub(1).expect("this invocation is counted");
        }
    }

    /// Returns `None`, and counts the invocation as waiting, if it has to wait.
    fn try_acquire(
        &self,
        request_id: &str,
        make: &impl Fn() -> (Arc<Invocation>, Instant),
        may_wait: bool,
    ) -> Result<Option<Acquired>, NoEnvironment> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return Err(NoEnvironment::Closed);
            }
            let standings = state.environments.iter().map(|one| standing(one, request_id));
            let standings: Vec<Standing> = standings.collect();
            match choose(&standings, state.waiting, self.shared.function.concurrency, may_wait) {
                Choice::Take(at) => {
                    let environment = Arc::clone(&state.environments[at]);
                    let (invocation, deadline) = make();
                    // False if it has failed or was held meanwhile. Then the look is repeated.
                    if environment.assign(&invocation, false) {
                        return Ok(Some(Acquired::Warm(environment, invocation, deadline)));
                    }
                }
                Choice::Start => return self.add(&mut state).map(|one| Some(Acquired::Cold(one))),
                Choice::Wait => {
                    state.waiting += 1;
                    return Ok(None);
                }
                Choice::Throttle => return Err(NoEnvironment::Throttled),
            }
        }
    }

    /// Returns a second environment for an invocation whose first one could not be started, at any
    /// concurrency: the first one is gone.
    pub(crate) fn another(&self) -> Result<Arc<Environment>, NoEnvironment> {
        let mut state = self.lock();
        if state.is_closed { Err(NoEnvironment::Closed) } else { self.add(&mut state) }
    }

    fn add(&self, state: &mut State) -> Result<Arc<Environment>, NoEnvironment> {
        assert!(!state.is_closed, "a closed pool starts nothing");
        let environment = Environment::new(&self.shared).map_err(NoEnvironment::System)?;
        state.environments.push(Arc::clone(&environment));
        Ok(environment)
    }

    /// Forgets environments that are gone, ends those that were idle for `idle`, and kills the
    /// oldest zombies if there are too many.
    pub(crate) fn tidy(&self, idle: Duration) {
        let environments = self.environments();
        let now = Instant::now();
        environments.iter().for_each(|one| one.reap(idle, now));
        let zombies: Vec<_> = environments.iter().filter(|one| one.stage() == Stage::TimedOut).collect();
        let excess = zombies.len().saturating_sub(ZOMBIES_MAX);
        zombies[..excess].iter().for_each(|one| one.kill());
    }

    /// Shuts all environments down, and starts no more.
    pub(crate) async fn close(&self) {
        self.lock().is_closed = true;
        let ends = self
            .environments()
            .into_iter()
            .map(|one| tokio::spawn(async move { one.end(Reason::Spindown).await }));
        for end in ends.collect::<Vec<_>>() {
            let _ = end.await;
        }
    }

    /// Kills all environments at once, and starts no more.
    pub(crate) fn abandon(&self) {
        self.lock().is_closed = true;
        self.environments().iter().for_each(|one| one.dispose());
    }

    /// Locks the state, without environments that are gone.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.environments.retain(|one| one.stage() != Stage::Gone);
        state
    }
}

fn standing(environment: &Arc<Environment>, request_id: &str) -> Standing {
    environment.machine.look(|machine| Standing {
        stage: machine.stage(),
        is_free: machine.is_free_for(request_id),
        soon: if machine.has_open(request_id) { 0 } else { machine.takes_soon() },
    })
}
