//! A simulated serverless platform: it delivers requests, some of them twice at the same time,
//! injects faults into attempts, and retries.
//!
//! ```text
//!   worker     request ─┬─► delivery ─► … ─► answer ─► next request
//!                       └─► delivery (some requests)
//!   delivery   attempt ─► failed, died, late ─► pause ─► attempt ─► … ─► done, or given up
//! ```
//!
//! * [`fate`] – the fault of each attempt. [`tally`] – the counts of a run.
//! * [`Executor`] – an implementation of attempts, and of what a fault does to them.
//! * [`Policy`] – the limits of retries, and who waits for them.
//! * [`Platform`] – workers, deliveries and retries.

pub(crate) mod fate;
pub(crate) mod tally;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use fate::{Fate, Fates, Point, Which};
use tally::Tally;

/// The outcome of an attempt.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The request took effect, by this attempt or by an earlier one.
    Done,
    /// Another attempt, of the same or another request, had precedence.
    Conflict,
    /// The attempt died at its point.
    Died,
    /// The attempt paused at its point. Holds the rest of it.
    Late(Rest),
    /// The attempt failed, and another may succeed. Holds the error's code.
    Failed(String),
    /// The attempt failed, and another cannot succeed. Holds the reason.
    Rejected(String),
}

/// The rest of an attempt that is late, which runs when its delivery is over.
pub(crate) struct Rest(pub(crate) BoxFuture<'static, ()>);

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

/// An implementation of attempts.
pub(crate) trait Executor: Send + Sync + Sized + 'static {
    /// The points at which attempts die or are late.
    type Point: Point;

    /// Runs one attempt, with the fault that `fate` names. `conflicts` is the number of conflicts
    /// that its delivery has had.
    fn attempt(
        self: &Arc<Self>,
        which: Which,
        fate: Fate<Self::Point>,
        conflicts: u32,
    ) -> impl Future<Output = Ended> + Send;

    /// Returns the pause after the conflict with this number, from 1.
    fn conflict_pause(&self, conflicts: u32) -> Duration;

    /// Notes that a request is over: see [`Calls`].
    fn over(&self, request: u64);
}

/// The limits of retries, and who waits for them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) calls: Calls,
    /// The maximum number of retries of one delivery, not counting those after conflicts.
    pub(crate) retries_max: u32,
    /// The maximum number of retries of one delivery after conflicts.
    pub(crate) conflict_retries_max: u32,
    /// The pause before the first retry. It is twice as long before the second one, and so on.
    pub(crate) pause: Duration,
}

/// The ways to call functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// A worker waits for its request. The request is over when one delivery is done, or when all
    /// are given up. After that no delivery is retried, but attempts that are running continue.
    Synchronous,
    /// A worker waits for the first attempt of each delivery; retries run beside it. Each delivery
    /// is retried independently, as events of a queue are: an answer to its twin does not stop it.
    /// The request is over when all deliveries are.
    Asynchronous,
}

/// A platform during one run.
#[derive(Debug)]
pub(crate) struct Platform<E> {
    executor: Arc<E>,
    fates: Fates,
    policy: Policy,
    tally: Mutex<Tally>,
}

/// One request with all of its deliveries.
#[derive(Debug)]
struct Request {
    number: u64,
    start: Instant,
    /// The number of deliveries that are not over.
    open: AtomicU32,
    over: AtomicBool,
}

/// Deliveries that may still be running when the workers have ended. Dropping them aborts them.
#[derive(Debug)]
pub(crate) struct Stragglers(Vec<JoinSet<()>>);

impl Stragglers {
    /// Waits until the last delivery is over, and the last late attempt has ended.
    pub(crate) async fn wait(self) {
        for deliveries in self.0 {
            deliveries.join_all().await;
        }
    }
}

impl<E: Executor> Platform<E> {
    pub(crate) fn new(executor: Arc<E>, fates: Fates, policy: Policy) -> Arc<Platform<E>> {
        Arc::new(Platform { executor, fates, policy, tally: Mutex::default() })
    }

    /// Carries out requests. Each worker gets the numbers of its requests, and carries them out one
    /// after the other. Returns when the last worker has ended.
    pub(crate) async fn carry_out<I>(self: &Arc<Self>, workers: impl IntoIterator<Item = I>) -> Stragglers
    where
        I: Iterator<Item = u64> + Send + 'static,
    {
        let workers: JoinSet<_> =
            workers.into_iter().map(|requests| Arc::clone(self).worker(requests)).collect();
        Stragglers(workers.join_all().await)
    }

    /// Returns the counts so far.
    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nothing panics while it holds this lock")
    }

    /// Takes the counts, and leaves zeros.
    pub(crate) fn take_tally(&self) -> Tally {
        std::mem::take(&mut *self.tally())
    }

    async fn worker(self: Arc<Self>, requests: impl Iterator<Item = u64>) -> JoinSet<()> {
        let mut deliveries = JoinSet::new();
        for request in requests {
            self.request(request, &mut deliveries).await;
            // Free the memory of the deliveries that are over.
            while let Some(ended) = deliveries.try_join_next() {
                ended.expect("a delivery does not panic, and nobody aborts it");
            }
        }
        deliveries
    }

    /// Starts the deliveries of a request, and waits as long as its worker has to.
    async fn request(self: &Arc<Self>, number: u64, deliveries: &mut JoinSet<()>) {
        let count = self.fates.deliveries(number);
        self.tally().duplicates += u64::from(count > 1);
        let (start, over) = (Instant::now(), AtomicBool::new(false));
        let request = Arc::new(Request { number, start, open: AtomicU32::new(count), over });
        let (waiting, mut answers) = mpsc::channel(1);
        for delivery in 0..count {
            let (platform, request) = (Arc::clone(self), Arc::clone(&request));
            deliveries.spawn(platform.delivery(request, delivery, waiting.clone()));
        }
        drop(waiting);
        // Either one delivery sends the answer, or all of them drop their senders.
        answers.recv().await;
    }

    /// Runs attempts until one is done or the retries are used up. Then lets the late ones
    /// continue.
    async fn delivery(self: Arc<Self>, request: Arc<Request>, delivery: u32, waiting: mpsc::Sender<()>) {
        let Policy { calls, retries_max, conflict_retries_max, pause } = self.policy;
        let mut waiting = Some(waiting);
        let (mut retries, mut conflicts) = (0, 0);
        let mut late = Vec::new();
        let done = loop {
            // A conflict does not use up an attempt: the next one has the same number and fate.
            let which = Which { request: request.number, delivery, attempt: retries + 1 };
            self.tally().attempts += 1;
            let ended = self.executor.attempt(which, self.fates.of(which), conflicts).await;
            self.count(&request, &ended);
            let pause = match ended {
                Ended::Done => break true,
                Ended::Rejected(_) => break false,
                Ended::Conflict => {
                    conflicts += 1;
                    self.executor.conflict_pause(conflicts)
                }
                Ended::Died | Ended::Failed(_) | Ended::Late(_) => {
                    if let Ended::Late(rest) = ended {
                        late.push(rest.0);
                    }
                    retries += 1;
                    pause * retries
                }
            };
            if retries > retries_max || conflicts > conflict_retries_max {
                break false;
            }
            match calls {
                Calls::Synchronous => {}
                Calls::Asynchronous => waiting = None,
            }
            sleep(pause).await;
            if request.over.load(Ordering::Acquire) {
                break false;
            }
        };
        let is_last = request.open.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last || (done && calls == Calls::Synchronous) {
            self.end(&request);
            // The channel is full if the other delivery has answered already.
            if let Some(waiting) = &waiting {
                let _ = waiting.try_send(());
            }
        }
        drop(waiting);
        join_all(late).await;
    }

    /// Counts the outcome of an attempt.
    fn count(&self, request: &Request, ended: &Ended) {
        let mut tally = self.tally();
        match ended {
            Ended::Done => {
                if tally.acknowledged.insert(request.number) {
                    let now = Instant::now();
                    tally.last_acknowledged = Some(now);
                    tally.latencies.record(now - request.start);
                }
            }
            Ended::Died => tally.died += 1,
            Ended::Late(_) => tally.late += 1,
            // Nobody waits for this attempt any more: its failure is not one of the request.
            Ended::Conflict | Ended::Failed(_) | Ended::Rejected(_)
                if request.over.load(Ordering::Acquire) => {}
            Ended::Conflict => tally.conflicts += 1,
            Ended::Failed(code) | Ended::Rejected(code) => tally.error(code.clone()),
        }
    }

    /// Ends a request, if it has not ended.
    fn end(&self, request: &Request) {
        if request.over.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut tally = self.tally();
        tally.given_up += u64::from(!tally.acknowledged.contains(&request.number));
        drop(tally);
        self.executor.over(request.number);
    }
}

#[cfg(test)]
mod tests;
