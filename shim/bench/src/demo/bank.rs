//! The demo's functions on the simulated platform: each attempt of a transfer is two processes, one
//! after the other, which are really killed and paused.
//!
//! Requests of one pair of accounts are carried out one after the other: the next one starts when
//! the last one is acknowledged (FIFO by key, as queues offer it). Attempts of *one* request
//! overlap freely. Read atomicity does not prevent two different requests that read the same
//! balance at the same time from overwriting each other. Preventing that is up to the platform, the
//! caller, or a serializable transaction. `balances` shows both levels without such an order:
//! there, requests go to workers regardless of their accounts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aft_api::{Code, Isolation};
use indicatif::ProgressBar;
use tokio::time::{sleep, timeout};

use crate::demo::access::{Access, Opened, Opening};
use crate::demo::account::OPENING_ATTEMPT;
use crate::demo::order::{self, Hold, Order, Role, Said, Task};
use crate::demo::process::Function;
use crate::demo::timeline::{Event, Timeline};
use crate::http::Server;
use crate::platform::fate::{Fate, Fates, Point, Which};
use crate::platform::tally::Tally;
use crate::platform::{Calls, Ended, Executor, Platform, Policy, Rest, Stragglers};

/// The longest time between two messages of a function, after which it is killed: a thousand times
/// what it usually takes.
const FUNCTION_MAX: Duration = Duration::from_secs(20);
/// The shares of attempts that are killed and late, and of requests that are delivered twice. That
/// is far more than on a real platform, so that a short demo shows every fault.
const CRASHES: f64 = 0.12;
const LATE: f64 = 0.07;
const DUPLICATES: f64 = 0.08;
const _: () = assert!(CRASHES + LATE + DUPLICATES < 0.5, "most requests are spared");
/// The limits of retries, far above what a run needs. Each conflict means that another request has
/// committed.
const POLICY: Policy = Policy {
    calls: Calls::Synchronous,
    retries_max: 10,
    conflict_retries_max: 100,
    pause: Duration::from_millis(1),
};
/// The longest pause after a conflict; the pause grows by [`CONFLICT_PAUSE_MS`] with each.
const CONFLICT_PAUSE_MAX_MS: u64 = 100;
const CONFLICT_PAUSE_MS: u64 = 10;
/// The range of delays, in milliseconds after the acknowledgement, after which a late function
/// continues. By then later requests of its pair are done or in flight.
const LATE_BY: std::ops::Range<u64> = 30..200;
/// The code of a serializable transaction that lost to another one.
pub(crate) const CONFLICT: &str = Code::Conflict.as_str();

/// The function of an attempt that has the fault. One that dies is killed between its two writes,
/// which leaves its work half done. One that is late pauses before its writes, which then come
/// after those of the retry.
impl Point for Role {
    const ALL: &'static [Role] = &[Role::Debit, Role::Credit];
}

/// A transfer, as its functions carry it out.
#[derive(Debug)]
pub(crate) struct Job {
    /// The transfer's number, which its request ID contains.
    pub(crate) request: u64,
    /// The queue's number. The jobs of one queue are carried out one after the other.
    pub(crate) queue: u32,
    /// The key of the account that the money comes from.
    pub(crate) from: String,
    /// The key of the account that the money goes to.
    pub(crate) to: String,
    pub(crate) amount: i64,
}

/// The place where functions run, and what they access there.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) program: PathBuf,
    pub(crate) server: Server,
    /// True if `server` is the shim; false if it is the plain server.
    pub(crate) shim: bool,
    pub(crate) prefix: String,
    /// The isolation level of transactions. `Unspecified`: the default of the store or the server.
    pub(crate) isolation: Isolation,
}

/// The state of one run.
#[derive(Debug)]
pub(crate) struct Bank {
    pub(crate) site: Site,
    pub(crate) timeline: Timeline,
    /// The transfers by the numbers of their requests.
    jobs: BTreeMap<u64, Job>,
    bar: ProgressBar,
    attempts: AtomicU64,
    /// Functions that missed the write of an earlier function of their own attempt.
    own_write: AtomicU64,
}

impl Bank {
    pub(crate) fn new(site: Site, jobs: impl Iterator<Item = Job>, bar: ProgressBar) -> Arc<Bank> {
        Arc::new(Bank {
            site,
            timeline: Timeline::start(),
            jobs: jobs.map(|job| (job.request, job)).collect(),
            bar,
            attempts: AtomicU64::new(OPENING_ATTEMPT + 1),
            own_write: AtomicU64::new(0),
        })
    }

    /// Carries out all transfers with `workers` workers. Each queue belongs to one worker, which
    /// keeps its order. Late functions may still be running afterwards.
    pub(crate) async fn carry_out(
        self: &Arc<Self>,
        workers: u32,
        seed: u64,
    ) -> (Arc<Platform<Bank>>, Stragglers) {
        let fates = Fates { seed, crashes: CRASHES, late: LATE, duplicates: DUPLICATES };
        let platform = Platform::new(Arc::clone(self), fates, POLICY);
        let mut requests = vec![Vec::new(); workers as usize];
        for job in self.jobs.values() {
            requests[(job.queue % workers) as usize].push(job.request);
        }
        let stragglers = platform.carry_out(requests.into_iter().map(Vec::into_iter)).await;
        (platform, stragglers)
    }

    /// Returns the number of functions so far that missed their own attempt's write.
    pub(crate) fn own_write(&self) -> u64 {
        self.own_write.load(Ordering::Relaxed)
    }

    /// Opens the attempt's transaction. Without the shim there is none.
    async fn begin(&self, request: u64, conflicts: u32) -> Result<Option<String>, order::Ended> {
        if !self.site.shim {
            return Ok(None);
        }
        let mut access = Access::new(self.site.server.clone(), None);
        let request = Some(format!("{}-transfer-{request}", self.site.prefix));
        let opening = Opening { request, isolation: self.site.isolation, conflicts };
        match access.begin(opening).await? {
            Opened::Open(transaction) => Ok(Some(transaction)),
            Opened::Replayed => Err(order::Ended::Replayed),
        }
    }

    /// Waits until a function holds (`None`), or has ended.
    async fn follow(&self, function: &mut Function) -> Option<order::Ended> {
        loop {
            match timeout(FUNCTION_MAX, function.next()).await {
                Ok(Said::OwnWriteMissed) => {
                    self.own_write.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Said::Held) => return None,
                Ok(Said::Ended(ended)) => return Some(ended),
                Err(_) => return Some(order::Ended::Retry("function_timed_out".into())),
            }
        }
    }

    /// Continues a function that was paused, after a delay that the request's number decides. Its
    /// attempt was abandoned, so no further function follows.
    async fn continue_late(self: Arc<Self>, mut function: Function, request: u64) {
        let span = LATE_BY.end - LATE_BY.start;
        sleep(Duration::from_millis(LATE_BY.start + request * 37 % span)).await;
        self.timeline.note(Event::Late);
        function.go_on().await;
        // Nobody waits for its outcome.
        let _ = self.follow(&mut function).await;
        function.end().await;
    }
}

impl Executor for Bank {
    type Point = Role;

    /// Runs one attempt: both functions, one after the other.
    async fn attempt(self: &Arc<Self>, which: Which, fate: Fate<Role>, conflicts: u32) -> Ended {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        if (which.delivery, which.attempt, conflicts) == (1, 1, 0) {
            self.timeline.note(Event::Twice);
        }
        let job = &self.jobs[&which.request];
        // Both functions work in one transaction, which the last one commits.
        let transaction = match self.begin(job.request, conflicts).await {
            Ok(transaction) => transaction,
            Err(ended) => return ended.into(),
        };
        for &role in Role::ALL {
            // Only the function that the fate names is told to hold.
            let hold = match fate {
                Fate::Dies(at) if at == role => Some(Hold::Wrote),
                Fate::Late(at) if at == role => Some(Hold::Read),
                Fate::Dies(_) | Fate::Late(_) | Fate::Survives => None,
            };
            let task = Task {
                role,
                server: self.site.server.url.clone(),
                transaction: transaction.clone(),
                request: job.request,
                attempt,
                from: job.from.clone(),
                to: job.to.clone(),
                amount: job.amount,
                hold,
            };
            let mut function = match Function::start(&self.site.program, &Order::Function(task)) {
                Ok(function) => function,
                Err(why) => return Ended::Rejected(format!("cannot start a process: {why}")),
            };
            match (self.follow(&mut function).await, hold) {
                (Some(ended), _) => {
                    function.end().await;
                    // The second function only runs if the first one did its work.
                    if ended != order::Ended::Done {
                        return ended.into();
                    }
                }
                (None, Some(Hold::Read)) => {
                    function.stop();
                    return Ended::Late(Rest(Box::pin(
                        Arc::clone(self).continue_late(function, job.request),
                    )));
                }
                // It holds at no other point.
                (None, Some(Hold::Wrote) | None) => {
                    function.kill().await;
                    self.timeline.note(Event::Killed);
                    return Ended::Died;
                }
            }
        }
        Ended::Done
    }

    fn conflict_pause(&self, conflicts: u32) -> Duration {
        // A random pause keeps two requests from colliding again and again.
        let longest_ms = (CONFLICT_PAUSE_MS * u64::from(conflicts)).min(CONFLICT_PAUSE_MAX_MS);
        Duration::from_millis(rand::random_range(1..=longest_ms))
    }

    fn over(&self, _request: u64) {
        self.bar.inc(1);
    }
}

impl From<order::Ended> for Ended {
    fn from(ended: order::Ended) -> Ended {
        match ended {
            order::Ended::Done | order::Ended::Replayed => Ended::Done,
            order::Ended::Retry(code) if code == CONFLICT => Ended::Conflict,
            order::Ended::Retry(code) => Ended::Failed(code),
            // An unknown outcome is safe to retry: with the same request ID at most one attempt
            // takes effect.
            order::Ended::Unknown => Ended::Failed("unknown".into()),
            order::Ended::Failed(reason) => Ended::Rejected(reason),
        }
    }
}

/// Returns the errors that reports show: those of attempts, requests that were given up, and audits
/// that failed.
pub(crate) fn errors(tally: &Tally, audits_failed: u64) -> BTreeMap<String, u64> {
    let others = [("gave_up", tally.given_up), ("audit_failed", audits_failed)];
    let others = others.into_iter().filter(|(_, count)| *count > 0);
    tally.errors.clone().into_iter().chain(others.map(|(code, count)| (code.to_owned(), count))).collect()
}
