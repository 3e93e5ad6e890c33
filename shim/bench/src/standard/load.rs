//! The load: clients that run transactions, retry them where that is allowed, and count what they
//! saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::latency::Latencies;
use crate::standard::Prepare;
use crate::standard::backend::{Backend, Effect, Refused, Work};
use crate::standard::detect::{Detector, Order};
use crate::standard::history::Log;
use crate::standard::plan::{Plan, Planner};
use crate::standard::session::Floors;
use crate::standard::target::Clients;
use crate::standard::value::{Metadata, Values};

/// The number of attempts after which a transaction is abandoned. With the pauses between them they
/// take about two seconds, far longer than a rejection lasts under normal conditions.
const ATTEMPTS_MAX: u32 = 24;
/// The time after which a transaction is abandoned if none of its attempts was answered: calls that
/// time out would take far longer than the pauses between them.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The codes of attempts that the target did not answer.
const UNANSWERED: [&str; 3] = ["cannot_connect", "no_answer", "store_unavailable"];
/// The longest pause before another attempt.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// The maximum number of writes in one attempt: a write's number consists of its attempt's number
/// and 16 bits.
pub(crate) const WRITES_MAX: usize = 1_000;

const _: () = assert!(WRITES_MAX < 1 << 16, "a write's place fits its number");

/// The state that all clients share.
#[derive(Debug)]
pub(crate) struct Load {
    planner: Planner,
    values: Values,
    run: u64,
    /// The next attempt's number.
    attempts: AtomicU64,
    keep_history: bool,
    /// The transactions that committed, for progress.
    committed: AtomicU64,
    /// True from when none of the attempts of a transaction was answered: the target has gone away.
    is_gone: AtomicBool,
}

/// One client: its access to the store or the servers, and the versions that its session must not
/// fall behind.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) backend: Backend,
    /// The floors of the session, if the client moves between servers. Clients of one server need
    /// no session.
    pub(crate) floors: Option<Floors>,
}

/// The counts of one client, or of all of them.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) transactions: u64,
    /// The time of the last commit, if a transaction committed.
    pub(crate) last_committed: Option<Instant>,
    pub(crate) attempts: u64,
    pub(crate) own_write: u64,
    pub(crate) fractured: u64,
    /// Transactions that read something older than their session had seen.
    pub(crate) sessions_broken: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) latencies: Latencies,
    pub(crate) log: Log,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            transactions: 0,
            last_committed: None,
            attempts: 0,
            own_write: 0,
            fractured: 0,
            sessions_broken: 0,
            errors: BTreeMap::new(),
            latencies: Latencies::new(),
            log: Log::default(),
        }
    }

    /// Adds the counts of another client.
    pub(crate) fn add(&mut self, other: Tally) {
        self.transactions += other.transactions;
        self.last_committed = self.last_committed.max(other.last_committed);
        self.attempts += other.attempts;
        self.own_write += other.own_write;
        self.fractured += other.fractured;
        self.sessions_broken += other.sessions_broken;
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.latencies.add(&other.latencies);
        self.log.add(other.log);
    }

    pub(crate) fn error(&mut self, code: &str) {
        self.errors(code, 1);
    }

    pub(crate) fn errors(&mut self, code: &str, count: u64) {
        if count > 0 {
            *self.errors.entry(code.to_owned()).or_default() += count;
        }
    }
}

impl Load {
    pub(crate) fn new(planner: Planner, values: Values, clients: &Clients, keep_history: bool) -> Load {
        let attempts = AtomicU64::new(clients.attempts_from);
        Load {
            planner,
            values,
            run: clients.run,
            attempts,
            keep_history,
            committed: AtomicU64::new(0),
            is_gone: AtomicBool::new(false),
        }
    }

    /// Returns the number of transactions that committed so far, in all phases.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Returns true if the target has gone away.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// Returns the plan of the transaction with this number.
    pub(crate) fn plan(&self, number: u64) -> Plan {
        self.planner.plan(number)
    }

    /// Returns transactions that write or read every key once.
    pub(crate) fn preparation(&self, how: Prepare) -> Vec<Plan> {
        self.planner.preparation(how)
    }

    /// Runs one transaction until it commits or is abandoned. Returns true if it committed.
    pub(crate) async fn transaction(&self, client: &mut Client, plan: &Plan, tally: &mut Tally) -> bool {
        let start = Instant::now();
        let mut is_answered = false;
        for nth in 0..ATTEMPTS_MAX {
            tally.attempts += 1;
            let Err(refused) = self.attempt(client, plan, tally).await else {
                tally.transactions += 1;
                tally.last_committed = Some(Instant::now());
                self.committed.fetch_add(1, Ordering::Relaxed);
                return true;
            };
            tally.error(refused.code);
            is_answered |= !UNANSWERED.contains(&refused.code);
            if !is_answered && (nth + 1 == ATTEMPTS_MAX || start.elapsed() >= SILENCE_MAX) {
                self.is_gone.store(true, Ordering::Relaxed);
                break;
            }
            // A transaction of unknown outcome is not retried: both attempts could commit.
            match refused.effect {
                Effect::Nothing | Effect::Unknown => return false,
                Effect::NothingRetry => {
                    // Wait as long as the server asked, within reason, but at least the usual
                    // pause.
                    let asked = Duration::from_millis(refused.retry_after_ms.unwrap_or_default());
                    tokio::time::sleep(pause(nth).max(asked.min(PAUSE_MAX))).await;
                }
            }
        }
        tally.error("gave_up");
        false
    }

    async fn attempt(&self, client: &mut Client, plan: &Plan, tally: &mut Tally) -> Result<(), Refused> {
        // Each attempt has a number of its own, since a failed one may have written values.
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let mut seen = Attempt {
            detector: Detector::default(),
            entry: self.keep_history.then(|| Log::entry(attempt)),
            metadata: Metadata {
                run: self.run,
                attempt,
                number: attempt << 16,
                time_ns: now_ns(),
                write_set: plan.write_set.clone(),
            },
        };
        let ended = self.functions(&mut client.backend, plan, &mut seen).await;
        if let Ok(committed) = &ended {
            // Only committed transactions count: the shim promises nothing to others.
            let found = seen.detector.found();
            tally.own_write += u64::from(found.own_write);
            tally.fractured += u64::from(found.fractured);
            if let Some(floors) = &mut client.floors {
                let reads = seen.detector.reads();
                // Compare with the floors first, then raise them.
                tally.sessions_broken += u64::from(floors.is_broken(reads));
                floors.read(reads);
                if let Some(order) = committed {
                    floors.wrote(&plan.write_set, *order);
                }
            }
        }
        if let Some(entry) = seen.entry {
            // The history holds all attempts, whatever their outcome.
            let outcome = ended.as_ref().map_err(|refused| refused.effect);
            tally.log.push(entry, outcome.copied());
        }
        ended.map(|_| ())
    }

    /// Runs the functions of one attempt in order. Returns the place of its writes, if it is known.
    async fn functions(
        &self,
        backend: &mut Backend,
        plan: &Plan,
        seen: &mut Attempt,
    ) -> Result<Option<Order>, Refused> {
        let mut committed = None;
        for (nth, function) in plan.functions.iter().enumerate() {
            let puts =
                function.writes.iter().map(|key| (*key, self.values.encode(seen.write(*key)))).collect();
            // The first function opens the transaction, and the last one commits it.
            let (first, last) = (nth == 0, nth + 1 == plan.functions.len());
            let ran = backend.run(Work { puts, gets: &function.reads, first, last }).await?;
            for (key, version) in function.reads.iter().zip(ran.reads) {
                if let Some(entry) = &mut seen.entry {
                    entry.read(u64::from(*key), version.number);
                }
                seen.detector.read(*key, version);
            }
            committed = ran.committed;
        }
        Ok(committed)
    }
}

/// The observations of one attempt by its client.
struct Attempt {
    detector: Detector,
    entry: Option<aft_history::Transaction>,
    metadata: Metadata,
}

impl Attempt {
    /// Records the next write, and returns the metadata for its value.
    fn write(&mut self, key: u32) -> &Metadata {
        self.metadata.number += 1;
        self.detector.write(key, self.metadata.number);
        if let Some(entry) = &mut self.entry {
            entry.write(u64::from(key), self.metadata.number);
        }
        &self.metadata
    }
}

/// Returns the pause after the failure of attempt `nth` (from 0): a millisecond, doubled each time,
/// up to [`PAUSE_MAX`].
pub(crate) fn pause(nth: u32) -> Duration {
    Duration::from_millis(1_u64 << nth.min(16)).min(PAUSE_MAX)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_a_bound() {
        assert_eq!(super::pause(0), Duration::from_millis(1));
        assert_eq!(super::pause(3), Duration::from_millis(8));
        assert_eq!(super::pause(u32::MAX), super::PAUSE_MAX);
    }
}
