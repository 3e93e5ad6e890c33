//! Counts and times of one node, kept twice: through the `metrics` facade (for the recorder that
//! the process has installed, if any) and as plain numbers for [`Stats`]. All handles are made
//! once; the hot path builds no name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aft_core::ids::NodeId;
use aft_core::message::{Bound, End, Refusal, Reply};
use aft_store::{Costs, Error};
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

use crate::stats::{CallKind, Stats};
use crate::waiters::{Outcome, VerbKind};

/// A counter that can also be read.
pub(crate) struct Count {
    counter: Counter,
    total: AtomicU64,
}

impl Count {
    fn new(counter: Counter) -> Count {
        Count { counter, total: AtomicU64::new(0) }
    }

    pub(crate) fn add(&self) {
        self.add_all(1);
    }

    pub(crate) fn add_all(&self, count: u64) {
        self.counter.increment(count);
        self.total.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// A gauge that can also be read.
pub(crate) struct Level {
    gauge: Gauge,
    now: AtomicU64,
}

impl Level {
    fn new(gauge: Gauge) -> Level {
        Level { gauge, now: AtomicU64::new(0) }
    }

    pub(crate) fn set(&self, level: u64) {
        if self.now.swap(level, Ordering::Relaxed) != level {
            self.gauge.set(level as f64);
        }
    }

    fn get(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

/// A gauge that can also be read, of a number that may not be known: then the gauge is NaN.
pub(crate) struct MaybeLevel {
    gauge: Gauge,
    /// The number; [`UNKNOWN`] means `None`.
    now: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl MaybeLevel {
    fn new(gauge: Gauge) -> MaybeLevel {
        gauge.set(f64::NAN);
        MaybeLevel { gauge, now: AtomicU64::new(UNKNOWN) }
    }

    pub(crate) fn set(&self, level: Option<u64>) {
        let now = level.unwrap_or(UNKNOWN);
        if self.now.swap(now, Ordering::Relaxed) != now {
            self.gauge.set(level.map_or(f64::NAN, |level| level as f64));
        }
    }

    pub(crate) fn get(&self) -> Option<u64> {
        Some(self.now.load(Ordering::Relaxed)).filter(|now| *now != UNKNOWN)
    }
}

struct VerbMeters {
    asked: Count,
    seconds: Histogram,
}

struct CallMeters {
    made: Count,
    seconds: Histogram,
    /// In the order of [`ERROR_KINDS`].
    errors: [Count; ERROR_KINDS.len()],
}

/// The labels of the reasons why store calls fail.
const ERROR_KINDS: [&str; 4] = ["no_answer", "busy", "refused", "damaged"];

/// The labels of the reasons why verbs are rejected.
const REFUSALS: [&str; 21] = [
    "snapshot_gone",
    "overloaded_transactions",
    "overloaded_operations_in_transaction",
    "overloaded_waiters",
    "overloaded_verb_queue",
    "lost",
    "store_unavailable",
    "in_progress",
    "key_reused",
    "result_gone",
    "unknown",
    "not_found",
    "ended",
    "not_serving",
    "too_large",
    "invalid",
    "damaged",
    "unknown_damaged",
    "conflict",
    "condition_failed",
    "session_lost",
];
const VERB_QUEUE: usize = 4;
const IN_PROGRESS: usize = 7;

fn refusal_index(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::SnapshotGone(_) => 0,
        Refusal::Overloaded(Bound::Transactions) => 1,
        Refusal::Overloaded(Bound::OperationsInTransaction) => 2,
        Refusal::Overloaded(Bound::Waiters) => 3,
        Refusal::Overloaded(Bound::VerbQueue) => VERB_QUEUE,
        Refusal::Lost => 5,
        Refusal::StoreUnavailable(_) => 6,
        Refusal::InProgress { .. } => IN_PROGRESS,
        Refusal::KeyReused => 8,
        Refusal::ResultGone => 9,
        Refusal::Unknown(_) => 10,
        Refusal::NotFound => 11,
        Refusal::Ended => 12,
        Refusal::NotServing => 13,
        Refusal::TooLarge(_) => 14,
        Refusal::Invalid(_) => 15,
        Refusal::Damaged(_) => 16,
        Refusal::UnknownDamaged(..) => 17,
        Refusal::Conflict(_) => 18,
        Refusal::ConditionFailed(_) => 19,
        Refusal::SessionLost(_) => 20,
    }
}

/// The labels of the ends of transactions.
const ENDS: [&str; 6] = ["committed", "aborted", "lost_to_other", "expired", "unknown", "conflicted"];

/// All meters of a node.
pub(crate) struct Meters {
    verbs: [VerbMeters; VerbKind::ALL.len()],
    refusals: [Count; REFUSALS.len()],
    replayed: Count,
    pub(crate) replayed_after_wait: Count,
    calls: [CallMeters; CallKind::ALL.len()],
    ends: [Count; ENDS.len()],
    pub(crate) cache_hits: Count,
    pub(crate) cache_misses: Count,
    pub(crate) cache_bytes: Level,
    pub(crate) index_bytes: Level,
    pub(crate) transactions_bytes: Level,
    pub(crate) calls_expired: Count,
    pub(crate) damaged: Count,
    pub(crate) thaws: Count,
    pub(crate) clocks_disagree: Count,
    pub(crate) ahead_of_time: Count,
    pub(crate) entries_removed: Count,
    pub(crate) entries_repaired: Count,
    pub(crate) records_removed: Count,
    pub(crate) parts_removed: Count,
    pub(crate) bytes_reclaimed: Count,
    pub(crate) sweeps: Count,
    pub(crate) sweeps_whole: Count,
    pub(crate) marks_moved: Count,
    pub(crate) mark_age_s: MaybeLevel,
    pub(crate) time_error_ms: MaybeLevel,
    pub(crate) time_ahead_ms: Level,
    pub(crate) queue_len: Level,
    pub(crate) open_transactions: Level,
    pub(crate) calls_open: Level,
    pub(crate) calls_waiting: Level,
    costs: Option<CostMeters>,
}

/// The meters of a store that charges by request. The store counts; these meters export its counts.
struct CostMeters {
    /// In the order of [`Costs::requests`].
    requests: Vec<Counter>,
    /// In the order of [`Costs::consumed`]; gauges, since units come in halves.
    consumed: Vec<Gauge>,
    bytes_sent: Counter,
    bytes_received: Counter,
    /// A gauge, since counters are whole numbers; it only grows.
    dollars: Gauge,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.stats(), f)
    }
}

impl Meters {
    /// Registers all meters. Gauges and the store's own counts carry the node's name, since a
    /// process may run several nodes; counters without it add up. `costs` are those of the store,
    /// if it has any.
    pub(crate) fn new(node: NodeId, costs: Option<&Costs>) -> Meters {
        describe();
        let node = node.to_string();
        let level = |gauge| Level::new(gauge);
        let costs = costs.map(|costs| CostMeters {
            requests: costs
                .requests
                .iter()
                .map(|of| counter!("aft_store_requests_total", "node" => node.clone(), "class" => of.class))
                .collect(),
            consumed: costs
                .consumed
                .iter()
                .map(|of| gauge!("aft_store_consumed", "node" => node.clone(), "unit" => of.unit))
                .collect(),
            bytes_sent: counter!("aft_store_sent_bytes_total", "node" => node.clone()),
            bytes_received: counter!("aft_store_received_bytes_total", "node" => node.clone()),
            dollars: gauge!("aft_store_cost_dollars", "node" => node.clone()),
        });
        Meters {
            verbs: VerbKind::ALL.map(|kind| VerbMeters {
                asked: Count::new(counter!("aft_verbs_total", "verb" => kind.as_str())),
                seconds: histogram!("aft_verb_seconds", "verb" => kind.as_str()),
            }),
            refusals: REFUSALS.map(|kind| Count::new(counter!("aft_refusals_total", "kind" => kind))),
            replayed: Count::new(counter!("aft_replays_total")),
            replayed_after_wait: Count::new(counter!("aft_replays_after_wait_total")),
            calls: CallKind::ALL.map(|kind| CallMeters {
                made: Count::new(counter!("aft_store_calls_total", "call" => kind.as_str())),
                seconds: histogram!("aft_store_call_seconds", "call" => kind.as_str()),
                errors: ERROR_KINDS.map(|error| {
                    Count::new(counter!("aft_store_errors_total", "call" => kind.as_str(), "kind" => error))
                }),
            }),
            ends: ENDS.map(|end| Count::new(counter!("aft_transactions_ended_total", "end" => end))),
            cache_hits: Count::new(counter!("aft_value_cache_hits_total")),
            cache_misses: Count::new(counter!("aft_value_cache_misses_total")),
            cache_bytes: level(gauge!("aft_value_cache_bytes", "node" => node.clone())),
            index_bytes: level(gauge!("aft_index_bytes", "node" => node.clone())),
            transactions_bytes: level(gauge!("aft_transactions_bytes", "node" => node.clone())),
            calls_expired: Count::new(counter!("aft_store_calls_expired_total")),
            damaged: Count::new(counter!("aft_damaged_total")),
            thaws: Count::new(counter!("aft_thaws_total")),
            clocks_disagree: Count::new(counter!("aft_clocks_disagree_total")),
            ahead_of_time: Count::new(counter!("aft_ahead_of_time_total")),
            entries_removed: Count::new(counter!("aft_entries_removed_total")),
            entries_repaired: Count::new(counter!("aft_entries_repaired_total")),
            records_removed: Count::new(counter!("aft_records_removed_total")),
            parts_removed: Count::new(counter!("aft_parts_removed_total")),
            bytes_reclaimed: Count::new(counter!("aft_reclaimed_bytes_total")),
            sweeps: Count::new(counter!("aft_sweeps_total")),
            sweeps_whole: Count::new(counter!("aft_sweeps_whole_total")),
            marks_moved: Count::new(counter!("aft_marks_moved_total")),
            mark_age_s: MaybeLevel::new(gauge!("aft_mark_age_seconds", "node" => node.clone())),
            time_error_ms: MaybeLevel::new(gauge!("aft_time_error_ms", "node" => node.clone())),
            time_ahead_ms: level(gauge!("aft_time_ahead_ms", "node" => node.clone())),
            queue_len: level(gauge!("aft_queue_len", "node" => node.clone())),
            open_transactions: level(gauge!("aft_open_transactions", "node" => node.clone())),
            calls_open: level(gauge!("aft_store_calls_open", "node" => node.clone())),
            calls_waiting: level(gauge!("aft_store_calls_waiting", "node" => node)),
            costs,
        }
    }

    /// Counts a verb that the loop has answered.
    pub(crate) fn answered(&self, kind: VerbKind, time: Duration, outcome: &Outcome) {
        let verb = &self.verbs[kind as usize];
        verb.asked.add();
        verb.seconds.record(time);
        match outcome {
            Err(refusal) => self.refusals[refusal_index(refusal)].add(),
            Ok(Reply::Replayed(_)) => self.replayed.add(),
            Ok(
                Reply::Begun { .. }
                | Reply::Ran { .. }
                | Reply::Listed { .. }
                | Reply::Reserved { .. }
                | Reply::Committed(_)
                | Reply::Aborted
                | Reply::Found(_),
            ) => {}
        }
    }

    /// Counts a verb that was rejected before it reached the loop.
    pub(crate) fn turned_away(&self, refusal: &Refusal) {
        self.refusals[refusal_index(refusal)].add();
    }

    /// Counts a store call that has ended.
    pub(crate) fn called(&self, kind: CallKind, time: Duration, error: Option<&Error>) {
        let call = &self.calls[kind as usize];
        call.made.add();
        call.seconds.record(time);
        if let Some(error) = error {
            call.errors[match error {
                Error::NoAnswer(_) => 0,
                Error::Busy(_) => 1,
                Error::Refused(_) => 2,
                Error::Damaged(_) => 3,
            }]
            .add();
        }
    }

    /// Sets the meters of the store's costs.
    pub(crate) fn show_costs(&self, now: Option<&Costs>) {
        let (Some(meters), Some(now)) = (&self.costs, now) else { return };
        assert!(
            meters.requests.len() == now.requests.len(),
            "the classes of a store's requests do not change"
        );
        for (counter, requests) in meters.requests.iter().zip(&now.requests) {
            counter.absolute(requests.count);
        }
        assert!(meters.consumed.len() == now.consumed.len(), "the units of a store's costs do not change");
        for (gauge, units) in meters.consumed.iter().zip(&now.consumed) {
            gauge.set(units.amount);
        }
        meters.bytes_sent.absolute(now.bytes_sent);
        meters.bytes_received.absolute(now.bytes_received);
        meters.dollars.set(now.dollars);
    }

    /// Counts a transaction that has ended.
    pub(crate) fn ended(&self, end: End) {
        self.ends[end_index(end)].add();
    }

    /// Returns all counts and levels.
    pub(crate) fn stats(&self) -> Stats {
        let calls = |kind: CallKind| &self.calls[kind as usize];
        let errors = |kind: CallKind| calls(kind).errors.iter().map(Count::get).sum::<u64>();
        let ended = |end| self.ends[end_index(end)].get();
        Stats {
            open_transactions: self.open_transactions.get(),
            queue_len: self.queue_len.get(),
            store_calls_open: self.calls_open.get(),
            store_calls_waiting: self.calls_waiting.get(),
            value_cache_bytes: self.cache_bytes.get(),
            index_bytes: self.index_bytes.get(),
            transactions_bytes: self.transactions_bytes.get(),
            verbs: self.verbs.iter().map(|verb| verb.asked.get()).sum(),
            queue_full: self.refusals[VERB_QUEUE].get(),
            store_calls: CallKind::ALL.map(|kind| calls(kind).made.get()),
            store_errors: CallKind::ALL.into_iter().map(errors).sum(),
            value_cache_hits: self.cache_hits.get(),
            value_cache_misses: self.cache_misses.get(),
            committed: ended(End::Committed),
            aborted: ended(End::Aborted),
            lost_to_other: ended(End::LostToOther),
            conflicted: ended(End::Conflicted),
            expired: ended(End::Expired),
            unknown: ended(End::Unknown),
            replayed: self.replayed.get(),
            replayed_after_wait: self.replayed_after_wait.get(),
            in_progress: self.refusals[IN_PROGRESS].get(),
            entries_removed: self.entries_removed.get(),
            entries_repaired: self.entries_repaired.get(),
            records_removed: self.records_removed.get(),
            parts_removed: self.parts_removed.get(),
            bytes_reclaimed: self.bytes_reclaimed.get(),
            sweeps: self.sweeps.get(),
            sweeps_whole: self.sweeps_whole.get(),
            marks_moved: self.marks_moved.get(),
            thaws: self.thaws.get(),
            mark_age_s: self.mark_age_s.get(),
            time_error_ms: self.time_error_ms.get(),
            time_ahead_ms: self.time_ahead_ms.get(),
        }
    }
}

fn end_index(end: End) -> usize {
    match end {
        End::Committed => 0,
        End::Aborted => 1,
        End::LostToOther => 2,
        End::Expired => 3,
        End::Unknown => 4,
        End::Conflicted => 5,
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("aft_verbs_total", "Verbs answered, by verb");
    describe_histogram!("aft_verb_seconds", Unit::Seconds, "From the queue to the reply, by verb");
    describe_counter!("aft_refusals_total", "Verbs rejected, by kind");
    describe_counter!("aft_replays_total", "Verbs answered with the result of another attempt");
    describe_counter!(
        "aft_replays_after_wait_total",
        "Duplicates that came while an attempt of their request was open on this node, and were answered with its result"
    );
    describe_counter!("aft_store_calls_total", "Calls to the store, by call");
    describe_gauge!(
        "aft_store_up",
        "1, or 0 while the store answers none of these calls (read, write), or rejects them"
    );
    describe_histogram!("aft_store_call_seconds", Unit::Seconds, "Time of calls to the store, by call");
    describe_counter!("aft_store_errors_total", "Calls to the store that failed, by call and kind");
    describe_counter!(
        "aft_store_requests_total",
        "Requests to a store that charges for them, by class of price"
    );
    describe_counter!("aft_store_sent_bytes_total", Unit::Bytes, "Bytes of bodies sent to such a store");
    describe_counter!(
        "aft_store_received_bytes_total",
        Unit::Bytes,
        "Bytes of bodies received from such a store"
    );
    describe_gauge!(
        "aft_store_consumed",
        "Units consumed by those requests, of the kinds by which the store charges; it only grows"
    );
    describe_gauge!("aft_store_cost_dollars", "Cost of those requests, in US dollars; it only grows");
    describe_counter!("aft_transactions_ended_total", "Transactions that ended, by end");
    describe_counter!("aft_value_cache_hits_total", "Values read from the cache");
    describe_counter!("aft_value_cache_misses_total", "Values that the cache did not hold");
    describe_gauge!("aft_value_cache_bytes", Unit::Bytes, "Bytes in the value cache, estimated");
    describe_counter!(
        "aft_store_calls_expired_total",
        "Calls to the store that were not sent, since their deadline had passed while they waited"
    );
    describe_counter!("aft_damaged_total", "Objects found that cannot be read");
    describe_counter!(
        "aft_thaws_total",
        "Pauses of the process after which it dropped what it knew of the store's time"
    );
    describe_counter!("aft_clocks_disagree_total", "Answers of the store that disagreed on its time");
    describe_counter!("aft_ahead_of_time_total", "Versions found that lie ahead of the store's time");
    describe_counter!("aft_entries_removed_total", "Superseded version entries removed by sweeps");
    describe_counter!(
        "aft_entries_repaired_total",
        "Version entries put by sweeps for commits whose nodes had not put them"
    );
    describe_counter!("aft_records_removed_total", "Commit records removed by sweeps");
    describe_counter!("aft_parts_removed_total", "Parts of large values removed by sweeps");
    describe_counter!(
        "aft_reclaimed_bytes_total",
        Unit::Bytes,
        "Bytes of the entries and records removed by sweeps, estimated, with the large values of those records"
    );
    describe_counter!("aft_sweeps_total", "Sweeps that ended");
    describe_counter!("aft_sweeps_whole_total", "Sweeps that covered the whole store");
    describe_counter!("aft_marks_moved_total", "Moves of the mark");
    describe_gauge!(
        "aft_mark_age_seconds",
        Unit::Seconds,
        "Age of the mark: the time by which collection lags behind"
    );
    describe_gauge!(
        "aft_time_error_ms",
        Unit::Milliseconds,
        "Error of the node's estimate of the store's time"
    );
    describe_gauge!(
        "aft_time_ahead_ms",
        Unit::Milliseconds,
        "Lead of the node's commit times over the store's time"
    );
    describe_gauge!("aft_index_bytes", Unit::Bytes, "Bytes of the index of versions, estimated");
    describe_gauge!("aft_transactions_bytes", Unit::Bytes, "Bytes of open transactions, estimated");
    describe_gauge!("aft_queue_len", "Verbs that wait for the event loop");
    describe_gauge!("aft_open_transactions", "Open transactions");
    describe_gauge!("aft_store_calls_open", "Calls to the store in flight");
    describe_gauge!("aft_store_calls_waiting", "Calls to the store that wait for their turn");
}

#[cfg(test)]
mod tests {
    use super::*;
    use aft_core::ids::{Key, RequestHash, TxnId};
    use aft_core::message::{Conflict, Excess, Failed, Measured};

    #[test]
    fn every_refusal_has_its_own_label() {
        let mut seen = Vec::new();
        let mut check = |refusal: Refusal, expect: &str| {
            assert_eq!(REFUSALS[refusal_index(&refusal)], expect, "{refusal:?}");
            seen.push(expect.to_owned());
        };
        for bound in [Bound::Transactions, Bound::OperationsInTransaction, Bound::Waiters, Bound::VerbQueue] {
            check(Refusal::Overloaded(bound), &format!("overloaded{}", snake(&format!("{bound:?}"))));
        }
        let excess = Excess { of: Measured::InlineValues, actual: 2, limit: 1 };
        for refusal in [
            Refusal::SnapshotGone(Key::parse("k").unwrap()),
            Refusal::Conflict(Conflict { key: None, by: None }),
            Refusal::ConditionFailed(Failed { key: Key::parse("k").unwrap(), found: None }),
            Refusal::Lost,
            Refusal::StoreUnavailable(String::new()),
            Refusal::InProgress { retry_after_ms: 0 },
            Refusal::KeyReused,
            Refusal::ResultGone,
            Refusal::Unknown(RequestHash([0; 32])),
            Refusal::NotFound,
            Refusal::Ended,
            Refusal::NotServing,
            Refusal::TooLarge(excess),
            Refusal::Invalid(String::new()),
            Refusal::Damaged(String::new()),
            Refusal::UnknownDamaged(RequestHash([0; 32]), String::new()),
            Refusal::SessionLost(TxnId::ZERO),
        ] {
            let name = format!("{refusal:?}");
            let name = name.split(['(', ' ']).next().expect("a name");
            check(refusal, snake(name).trim_start_matches('_'));
        }
        seen.sort_unstable();
        let mut all = REFUSALS.map(str::to_owned);
        all.sort_unstable();
        assert_eq!(seen, all, "every label belongs to a refusal");
    }

    fn snake(name: &str) -> String {
        let part = |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.to_string() };
        name.chars().map(part).collect()
    }
}
