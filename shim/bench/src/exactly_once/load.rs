//! One run of all requests in one way: the platform's executor, and readers beside it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aft_node::fresh_attempt;
use rand::RngExt;
use tokio::task::JoinSet;

use crate::exactly_once::Options;
use crate::exactly_once::attempt;
use crate::exactly_once::step::{Side, Step};
use crate::exactly_once::way::{Attempt, Way};
use crate::platform::fate::{Fate, Fates, Which};
use crate::platform::tally::Tally;
use crate::platform::{Calls, Ended, Executor, Platform, Policy};
use crate::progress::{Progress, State};

/// The pause between two looks of one reader: as short as possible without taking the processor
/// from the requests.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// The results of a run.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) tally: Tally,
    pub(crate) looks: Looks,
    /// The time from the start to the last acknowledgement; zero if there was none.
    pub(crate) acknowledged_within: Duration,
}

/// The findings of readers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Looks {
    /// Looks at requests in flight.
    pub(crate) count: u64,
    /// Looks that found one effect and not the other.
    pub(crate) halves: u64,
}

/// Runs all requests until the last delivery is over. `name` is that of the way, for progress.
pub(crate) async fn load(name: &str, way: Arc<dyn Way>, options: &Options, fates: Fates) -> Loaded {
    let functions = Arc::new(Functions {
        way,
        timeout: options.function_timeout,
        retry_delay: options.retry_delay,
        in_flight: Mutex::default(),
    });
    let policy = Policy {
        calls: Calls::Asynchronous,
        retries_max: options.attempts - 1,
        // A rejected delivery is retried as often as necessary.
        conflict_retries_max: u32::MAX,
        pause: options.retry_delay,
    };
    let over = Arc::new(AtomicBool::new(false));
    let readers = (0..options.readers).map(|_| Arc::clone(&functions).read(Arc::clone(&over)));
    let readers: JoinSet<Looks> = readers.collect();

    // Each client takes the next request that nobody has taken.
    let (next, end) = (Arc::new(AtomicU64::new(0)), options.requests);
    let requests = std::iter::from_fn(move || {
        Some(next.fetch_add(1, Ordering::Relaxed)).filter(|request| *request < end)
    });
    let start = Instant::now();
    let platform = Platform::new(Arc::clone(&functions), fates, policy);
    let drawn = Arc::clone(&platform);
    let _progress =
        Progress::show(options.progress, name.to_owned(), options.requests, move || state(&drawn.tally()));
    let stragglers = platform.carry_out(std::iter::repeat_n(requests, options.clients)).await;
    stragglers.wait().await;
    assert!(functions.in_flight().is_empty(), "every delivery is over");
    // Readers finish their look: otherwise part of it would be counted at the store but not here.
    over.store(true, Ordering::Release);
    let mut looks = Looks::default();
    for of_reader in readers.join_all().await {
        looks.count += of_reader.count;
        looks.halves += of_reader.halves;
    }
    let tally = platform.take_tally();
    let acknowledged_within = tally.last_acknowledged.map_or(Duration::ZERO, |last| last - start);
    Loaded { tally, looks, acknowledged_within }
}

/// Returns the state of a run for progress.
fn state(tally: &Tally) -> State {
    let (acknowledged, given_up) = (tally.acknowledged.len() as u64, tally.given_up);
    let text = format!("{acknowledged} acknowledged, {given_up} given up, {} attempts", tally.attempts);
    State { done: acknowledged + given_up, text }
}

/// The functions of all requests, in one way.
#[derive(Debug)]
struct Functions {
    way: Arc<dyn Way>,
    timeout: Duration,
    /// The pause after a rejection.
    retry_delay: Duration,
    /// The numbers of requests with an open delivery.
    in_flight: Mutex<BTreeSet<u64>>,
}

impl Executor for Functions {
    type Point = (Step, Side);

    async fn attempt(self: &Arc<Self>, which: Which, fate: Fate<(Step, Side)>, _conflicts: u32) -> Ended {
        self.in_flight().insert(which.request);
        let deadline = Instant::now() + self.timeout;
        let attempt = Attempt { request: which.request, id: fresh_attempt(), deadline };
        attempt::run(&*self.way, &attempt, fate).await
    }

    fn conflict_pause(&self, _conflicts: u32) -> Duration {
        self.retry_delay
    }

    fn over(&self, request: u64) {
        self.in_flight().remove(&request);
    }
}

impl Functions {
    fn in_flight(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.in_flight.lock().expect("nothing panics while it holds this lock")
    }

    /// Looks at random requests in flight until the run is over, as other clients might.
    async fn read(self: Arc<Self>, over: Arc<AtomicBool>) -> Looks {
        let mut looks = Looks::default();
        while !over.load(Ordering::Acquire) {
            let chosen = {
                let in_flight = self.in_flight();
                let nth = rand::rng().random_range(0..in_flight.len().max(1));
                in_flight.iter().nth(nth).copied()
            };
            // A failed look has seen nothing, and is not counted: failures are counted in the
            // attempts.
            if let Some(request) = chosen
                && let Ok(counts) = self.way.look(request).await
            {
                looks.count += 1;
                looks.halves += u64::from(counts.is_half());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        looks
    }
}
