//! The platform: it delivers requests, some of them twice at the same time, and retries failed
//! deliveries.
//!
//! ```text
//!   client   request ─► first attempt of each delivery ─► next request
//!                              │ failed, or rejected
//!   beside              wait ──┴─► next attempt ─► … ─► done, or abandoned
//! ```
//!
//! Each delivery is retried independently, as events of a queue are: an answer to its twin does not
//! stop it. A request is acknowledged when one of its deliveries is done, and abandoned when all of
//! them are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aft_node::fresh_attempt;
use rand::RngExt;
use tokio::task::JoinSet;

use crate::exactly_once::Options;
use crate::exactly_once::attempt::{self, Ended};
use crate::exactly_once::way::{Attempt, Way};
use crate::latency::Latencies;
use crate::platform::fate::{Fates, Which};

/// The pause between two looks of one reader: as short as possible without taking the processor
/// from the requests.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

const POISONED: &str = "nobody panics while holding the lock";

/// The state of one run of all requests in one way.
#[derive(Debug)]
pub(crate) struct Platform {
    way: Arc<dyn Way>,
    options: Options,
    fates: Fates,
    next: AtomicU64,
    tally: Mutex<Tally>,
    /// The numbers of requests with an open delivery.
    under_way: Mutex<BTreeSet<u64>>,
    /// Deliveries that are being retried.
    again: Mutex<JoinSet<()>>,
    /// True when the last delivery is over.
    over: AtomicBool,
}

/// The platform's counts of one run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Executions of a request's functions, rejected ones included.
    pub(crate) attempts: u64,
    pub(crate) crashes: u64,
    /// Requests that were delivered twice at the same time.
    pub(crate) duplicates: u64,
    /// Attempts that were rejected because another one was in progress.
    pub(crate) refused: u64,
    pub(crate) acknowledged: BTreeSet<u64>,
    pub(crate) given_up: u64,
    pub(crate) looks: u64,
    pub(crate) halves_seen: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) latencies: Latencies,
    /// The time until the first attempt of the last request had ended.
    pub(crate) load_time: Duration,
    /// Requests that were acknowledged within `load_time`.
    pub(crate) acknowledged_in_load: usize,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            attempts: 0,
            crashes: 0,
            duplicates: 0,
            refused: 0,
            acknowledged: BTreeSet::new(),
            given_up: 0,
            looks: 0,
            halves_seen: 0,
            errors: BTreeMap::new(),
            latencies: Latencies::new(),
            load_time: Duration::ZERO,
            acknowledged_in_load: 0,
        }
    }
}

/// One request with all of its deliveries.
#[derive(Debug)]
struct Request {
    number: u64,
    start: Instant,
    /// The number of deliveries that are not over.
    open: AtomicU64,
}

impl Platform {
    pub(crate) fn new(way: Arc<dyn Way>, options: Options, fates: Fates) -> Platform {
        Platform {
            way,
            options,
            fates,
            next: AtomicU64::new(0),
            tally: Mutex::new(Tally::new()),
            under_way: Mutex::default(),
            again: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Runs all requests until the last delivery is over, and returns the counts.
    pub(crate) async fn run(self: Arc<Self>) -> Tally {
        let mut readers = JoinSet::new();
        for _ in 0..self.options.readers {
            readers.spawn(Arc::clone(&self).read());
        }
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..self.options.clients {
            clients.spawn(Arc::clone(&self).client());
        }
        join(clients).await;
        {
            // The throughput is measured up to here: afterwards only retries run.
            let mut tally = self.tally();
            tally.load_time = start.elapsed();
            tally.acknowledged_in_load = tally.acknowledged.len();
        }
        // Only clients add retries, and they have ended.
        let again = std::mem::take(&mut *self.again.lock().expect(POISONED));
        join(again).await;
        assert!(self.under_way().is_empty(), "every delivery is over");
        // Readers finish their look: otherwise part of it would be counted at the store but not
        // here.
        self.over.store(true, Ordering::Release);
        join(readers).await;
        std::mem::replace(&mut *self.tally(), Tally::new())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect(POISONED)
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.under_way.lock().expect(POISONED)
    }

    async fn client(self: Arc<Self>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.options.requests {
                return;
            }
            self.request(number).await;
        }
    }

    /// Delivers a request, and waits for the first attempt of each delivery. Retries run in tasks
    /// of their own.
    async fn request(self: &Arc<Self>, number: u64) {
        let deliveries = self.fates.deliveries(number);
        self.tally().duplicates += u64::from(deliveries > 1);
        self.under_way().insert(number);
        let open = AtomicU64::new(u64::from(deliveries));
        let request = Arc::new(Request { number, start: Instant::now(), open });
        let mut first = JoinSet::new();
        for delivery in 0..deliveries {
            let (platform, request) = (Arc::clone(self), Arc::clone(&request));
            first.spawn(async move {
                let again = platform.attempt(&request, delivery, 1).await;
                if let Some(again) = again {
                    let after = Arc::clone(&platform).delivery(request, delivery, again);
                    platform.again.lock().expect(POISONED).spawn(after);
                }
            });
        }
        join(first).await;
    }

    /// Retries a delivery until it is over.
    async fn delivery(self: Arc<Self>, request: Arc<Request>, delivery: u32, mut again: Again) {
        loop {
            tokio::time::sleep(again.after).await;
            match self.attempt(&request, delivery, again.attempt).await {
                Some(next) => again = next,
                None => return,
            }
        }
    }

    /// Runs one attempt. Returns the attempt that follows; `None` if the delivery is over.
    async fn attempt(&self, request: &Request, delivery: u32, nth: u32) -> Option<Again> {
        let fate = self.fates.of(Which { request: request.number, delivery, attempt: nth });
        let deadline = Instant::now() + self.options.function_timeout;
        let attempt = Attempt { request: request.number, id: fresh_attempt(), deadline };
        let ended = attempt::run(&*self.way, &attempt, fate).await;
        let mut tally = self.tally();
        tally.attempts += 1;
        match ended {
            Ended::Done => {
                if tally.acknowledged.insert(request.number) {
                    tally.latencies.record(request.start.elapsed());
                }
            }
            Ended::InProgress => {
                // A rejection does not use up an attempt.
                tally.refused += 1;
                return Some(Again { attempt: nth, after: self.options.retry_delay });
            }
            Ended::Crashed => tally.crashes += 1,
            Ended::Failed(code) => *tally.errors.entry(code.to_owned()).or_default() += 1,
        }
        if ended != Ended::Done && nth < self.options.attempts {
            return Some(Again { attempt: nth + 1, after: self.options.retry_delay * nth });
        }
        // This delivery is over. After the last one the request is acknowledged or abandoned.
        if request.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            tally.given_up += u64::from(!tally.acknowledged.contains(&request.number));
            self.under_way().remove(&request.number);
        }
        None
    }

    /// Looks at random requests in flight until the run is over, as other clients might.
    async fn read(self: Arc<Self>) {
        while !self.over.load(Ordering::Acquire) {
            let chosen = {
                let under_way = self.under_way();
                let nth = rand::rng().random_range(0..under_way.len().max(1));
                under_way.iter().nth(nth).copied()
            };
            // A failed look has seen nothing, and is not counted: failures are counted in the
            // attempts.
            if let Some(request) = chosen
                && let Ok(counts) = self.way.look(request).await
            {
                let mut tally = self.tally();
                tally.looks += 1;
                tally.halves_seen += u64::from(counts.is_half());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

/// The attempt that follows a failed or rejected one.
#[derive(Debug, Clone, Copy)]
struct Again {
    attempt: u32,
    after: Duration,
}

async fn join(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a task of the platform does not panic, and nobody aborts it");
    }
}
