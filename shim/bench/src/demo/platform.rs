//! A small serverless platform: it starts a process for each function, and injects the faults that
//! real platforms show.
//!
//! Requests of one pair of accounts are carried out one after the other: the next one starts when
//! the last one is acknowledged (FIFO by key, as queues offer it). Attempts of *one* request
//! overlap freely. Read atomicity does not prevent two different requests that read the same
//! balance at the same time from overwriting each other. Preventing that is up to the platform, the
//! caller, or a serializable transaction. `balances` shows both levels without such an order:
//! there, requests go to workers regardless of their accounts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aft_api::{Code, Isolation};
use indicatif::ProgressBar;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::demo::access::{Access, Opened, Opening};
use crate::demo::account::OPENING_ATTEMPT;
use crate::demo::fate::Fate;
use crate::demo::order::{Ended, Hold, Order, Role, Said, Task};
use crate::demo::process::Function;
use crate::demo::timeline::{Event, Timeline};
use crate::http::Server;
use crate::latency::Latencies;

/// The longest time between two messages of a function, after which it is killed: a thousand times
/// what it usually takes.
const FUNCTION_MAX: Duration = Duration::from_secs(20);
/// The maximum number of retries of one request, not counting those after conflicts.
const ATTEMPTS_MAX: u32 = 10;
/// The maximum number of retries of one request after conflicts. Each conflict means that another
/// request has committed.
const CONFLICTS_MAX: u32 = 100;
/// The longest pause after a conflict; the pause grows by [`CONFLICT_PAUSE_MS`] with each.
const CONFLICT_PAUSE_MAX_MS: u64 = 100;
const CONFLICT_PAUSE_MS: u64 = 10;
/// The range of delays, in milliseconds after the acknowledgement, after which a late function
/// continues. By then later requests of its pair are done or in flight.
const LATE_BY: std::ops::Range<u64> = 30..200;

/// A transfer, as the platform carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub(crate) fate: Fate,
}

/// The state of the platform during one run.
#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) program: PathBuf,
    pub(crate) server: Server,
    /// True if `server` is the shim; false if it is the plain server.
    pub(crate) shim: bool,
    pub(crate) prefix: String,
    /// The isolation level of transactions. `Unspecified`: the default of the store or the server.
    pub(crate) isolation: Isolation,
    pub(crate) timeline: Timeline,
    pub(crate) bar: ProgressBar,
    attempts: AtomicU64,
    tally: Mutex<Tally>,
    /// Attempts that nobody waits for: they may continue after their request was acknowledged.
    stragglers: Mutex<JoinSet<()>>,
}

/// The platform's counts of one run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The numbers of the acknowledged requests.
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) attempts: u64,
    pub(crate) kills: u64,
    pub(crate) duplicates: u64,
    pub(crate) zombies: u64,
    pub(crate) own_write: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) latencies: Latencies,
}

/// A fault to inject into one function of an attempt.
#[derive(Debug)]
struct Interruption {
    role: Role,
    hold: Hold,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Kill,
    /// Pause the function and report it on `stopped`; continue after the delay that `release`
    /// brings.
    Late {
        stopped: mpsc::Sender<News>,
        release: oneshot::Receiver<Duration>,
    },
}

/// The history of a request before an attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Again {
    /// Earlier attempts of the request may still be running; do not wait for them.
    pub(crate) overlap: bool,
    /// The number of conflicts so far.
    pub(crate) conflicts: u32,
}

/// The messages from an attempt in its own task to the request's task.
#[derive(Debug)]
enum News {
    /// A function of the attempt is paused.
    Stopped,
    /// The attempt ended.
    Ended(Ended),
}

impl Platform {
    pub(crate) fn new(
        program: PathBuf,
        server: Server,
        shim: bool,
        prefix: String,
        isolation: Isolation,
        bar: ProgressBar,
    ) -> Platform {
        let tally = Tally {
            acknowledged: Vec::new(),
            attempts: 0,
            kills: 0,
            duplicates: 0,
            zombies: 0,
            own_write: 0,
            errors: BTreeMap::new(),
            latencies: Latencies::new(),
        };
        Platform {
            program,
            server,
            shim,
            prefix,
            isolation,
            timeline: Timeline::start(),
            bar,
            attempts: AtomicU64::new(OPENING_ATTEMPT + 1),
            tally: Mutex::new(tally),
            stragglers: Mutex::new(JoinSet::new()),
        }
    }

    /// Carries out all `jobs` with `workers` workers. Each queue belongs to one worker, which keeps
    /// its order.
    pub(crate) async fn carry_out(self: &Arc<Self>, jobs: &[Job], workers: u32) {
        let mut tasks = JoinSet::new();
        for worker in 0..workers {
            let mine = jobs.iter().filter(|job| job.queue % workers == worker).cloned();
            let (platform, mine) = (Arc::clone(self), mine.collect::<Vec<_>>());
            tasks.spawn(async move {
                for job in mine {
                    platform.request(job).await;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a worker does not panic, and nobody aborts it");
        }
    }

    /// Waits for the attempts that continued after their requests were acknowledged.
    pub(crate) async fn wait_for_stragglers(&self) {
        let mut stragglers = std::mem::take(&mut *self.stragglers.lock().expect(POISONED));
        while stragglers.join_next().await.is_some() {}
    }

    /// Takes the counts of the run. It does not wait for attempts that are still running.
    pub(crate) fn take_tally(&self) -> Tally {
        let empty = Tally {
            acknowledged: Vec::new(),
            errors: BTreeMap::new(),
            latencies: Latencies::new(),
            ..*self.tally()
        };
        std::mem::replace(&mut *self.tally(), empty)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect(POISONED)
    }

    fn error(&self, code: &str) {
        *self.tally().errors.entry(code.to_owned()).or_default() += 1;
    }

    /// Carries out one request: its first attempt with its fate, then retries until it is done.
    async fn request(self: &Arc<Self>, job: Job) {
        let start = Instant::now();
        let (release, late) = oneshot::channel();
        let mut ended = match job.fate {
            Fate::Spared => self.attempt(&job, None, Again::default()).await,
            Fate::Killed(role, hold) => {
                let kill = Interruption { role, hold, kind: Kind::Kill };
                self.attempt(&job, Some(kill), Again::default()).await
            }
            Fate::Twice => self.twice(&job).await,
            Fate::Late(role, hold) => self.late(&job, role, hold, late).await,
        };
        let (mut failures, mut conflicts) = (0, 0);
        while failures < ATTEMPTS_MAX && conflicts < CONFLICTS_MAX {
            match &ended {
                Ended::Done | Ended::Replayed => break,
                Ended::Retry(code) if code == CONFLICT => {
                    self.error(code);
                    conflicts += 1;
                    // A random pause keeps two requests from colliding again and again.
                    let longest_ms = (CONFLICT_PAUSE_MS * u64::from(conflicts)).min(CONFLICT_PAUSE_MAX_MS);
                    sleep(Duration::from_millis(rand::random_range(1..=longest_ms))).await;
                }
                // An unknown outcome is safe to retry: with the same request ID at most one attempt
                // takes effect.
                Ended::Retry(_) | Ended::Unknown => {
                    self.error(if let Ended::Retry(code) = &ended { code } else { "unknown" });
                    failures += 1;
                    sleep(Duration::from_millis(u64::from(failures))).await;
                }
                Ended::Failed(code) => {
                    self.error(code);
                    break;
                }
            }
            // The earlier attempt is dead or abandoned, so do not wait for it.
            ended = self.attempt(&job, None, Again { overlap: true, conflicts }).await;
        }
        if matches!(ended, Ended::Done | Ended::Replayed) {
            let mut tally = self.tally();
            tally.acknowledged.push(job.request);
            tally.latencies.record(start.elapsed());
        } else {
            self.error("gave_up");
        }
        // The request is done: a function that was paused may continue after a delay, which the
        // request's number decides.
        let span = LATE_BY.end - LATE_BY.start;
        // Nobody receives this if the request had another fate.
        let _ = release.send(Duration::from_millis(LATE_BY.start + job.request * 37 % span));
        self.bar.inc(1);
    }

    /// Runs two attempts at the same time. The first one that is done decides; the other one
    /// continues.
    async fn twice(self: &Arc<Self>, job: &Job) -> Ended {
        self.tally().duplicates += 1;
        self.timeline.note(Event::Twice);
        let (news, mut told) = mpsc::channel(2);
        for _ in 0..2 {
            self.straggle(job, None, Again { overlap: true, conflicts: 0 }, news.clone());
        }
        drop(news);
        let mut last = Ended::Retry("function_failed".into());
        while let Some(News::Ended(ended)) = told.recv().await {
            last = ended;
            if matches!(last, Ended::Done | Ended::Replayed) {
                break;
            }
        }
        last
    }

    /// Runs an attempt one of whose functions is paused until `release`. The attempt is abandoned
    /// as soon as the function pauses.
    async fn late(
        self: &Arc<Self>,
        job: &Job,
        role: Role,
        hold: Hold,
        release: oneshot::Receiver<Duration>,
    ) -> Ended {
        let (news, mut told) = mpsc::channel(2);
        let kind = Kind::Late { stopped: news.clone(), release };
        self.straggle(job, Some(Interruption { role, hold, kind }), Again::default(), news);
        match told.recv().await {
            Some(News::Ended(ended)) => ended,
            Some(News::Stopped) | None => Ended::Retry(GIVEN_UP.into()),
        }
    }

    /// Starts an attempt in a task of its own, which reports to `news`.
    fn straggle(
        self: &Arc<Self>,
        job: &Job,
        interruption: Option<Interruption>,
        again: Again,
        news: mpsc::Sender<News>,
    ) {
        let (platform, job) = (Arc::clone(self), job.clone());
        self.stragglers.lock().expect(POISONED).spawn(async move {
            let ended = platform.attempt(&job, interruption, again).await;
            // The receiver is gone if the request has been acknowledged already.
            let _ = news.send(News::Ended(ended)).await;
        });
    }

    /// Runs one attempt: both functions, one after the other.
    async fn attempt(&self, job: &Job, interruption: Option<Interruption>, again: Again) -> Ended {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        self.tally().attempts += 1;
        // Both functions work in one transaction, which the last one commits.
        let transaction = match self.begin(job, again).await {
            Ok(transaction) => transaction,
            Err(ended) => return ended,
        };
        let mut interruption = interruption;
        for role in [Role::Debit, Role::Credit] {
            let mine = interruption.take_if(|interruption| interruption.role == role);
            // Only the function that the fault names is told to hold.
            let task = Task {
                role,
                server: self.server.url.clone(),
                transaction: transaction.clone(),
                request: job.request,
                attempt,
                from: job.from.clone(),
                to: job.to.clone(),
                amount: job.amount,
                hold: mine.as_ref().map(|interruption| interruption.hold),
            };
            let ended = match Function::start(&self.program, &Order::Function(task)) {
                Ok(function) => self.follow(function, mine).await,
                Err(why) => Ended::Failed(format!("cannot start a process: {why}")),
            };
            match ended {
                // The second function only runs if the first one did its work.
                Ended::Done if role == Role::Debit => {}
                ended => return ended,
            }
        }
        Ended::Done
    }

    /// Opens the attempt's transaction. Without the shim there is none.
    async fn begin(&self, job: &Job, again: Again) -> Result<Option<String>, Ended> {
        if !self.shim {
            return Ok(None);
        }
        let mut access = Access::new(self.server.clone(), None);
        let request = format!("{}-transfer-{}", self.prefix, job.request);
        let begin = Opening { request: Some(request), isolation: self.isolation, again };
        match access.begin(begin).await? {
            Opened::Open(transaction) => Ok(Some(transaction)),
            Opened::Replayed => Err(Ended::Replayed),
        }
    }

    /// Follows a function to its end, and injects its fault, if it has one.
    async fn follow(&self, mut function: Function, mut interruption: Option<Interruption>) -> Ended {
        let mut was_late = false;
        loop {
            let Ok(said) = timeout(FUNCTION_MAX, function.next()).await else {
                function.kill().await;
                return Ended::Retry("function_timed_out".into());
            };
            match (said, interruption.take().map(|interruption| interruption.kind)) {
                (Said::OwnWriteMissed, kept) => {
                    // The fault waits for the function's next message. It applies wherever the
                    // function holds next, so role and point no longer matter.
                    self.tally().own_write += 1;
                    interruption =
                        kept.map(|kind| Interruption { role: Role::Credit, hold: Hold::Read, kind });
                }
                (Said::Held, Some(Kind::Kill)) => {
                    function.kill().await;
                    self.tally().kills += 1;
                    self.timeline.note(Event::Killed);
                    return Ended::Retry(KILLED.into());
                }
                (Said::Held, Some(Kind::Late { stopped, release })) => {
                    function.stop();
                    self.tally().zombies += 1;
                    let _ = stopped.send(News::Stopped).await;
                    // Without a sender the request was dropped, and the delay with it.
                    sleep(release.await.unwrap_or_default()).await;
                    self.timeline.note(Event::Late);
                    function.go_on().await;
                    was_late = true;
                }
                // The fault was injected already, or there is none here: let the function continue.
                (Said::Held, None) => function.go_on().await,
                (Said::Ended(ended), _) => {
                    function.end().await;
                    // The attempt was abandoned while this function was paused, so no further
                    // function follows.
                    let given_up = was_late && ended == Ended::Done;
                    return if given_up { Ended::Retry(GIVEN_UP.into()) } else { ended };
                }
            }
        }
    }
}

const POISONED: &str = "nothing panics while it holds this lock";
/// The codes of attempts that the platform killed or abandoned itself.
pub(crate) const KILLED: &str = "killed";
pub(crate) const GIVEN_UP: &str = "given_up";
/// The code of a serializable transaction that lost to another one.
pub(crate) const CONFLICT: &str = Code::Conflict.as_str();
