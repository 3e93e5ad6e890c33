//! The invocation that a call of the handler belongs to.
//!
//! An ordinary environment handles one invocation at a time: whatever calls between the event
//! handed out and the response taken belongs to it, and no header is needed, whichever SDK calls.
//! If several invocations run at once, a field that the layer has added to the trace ID tells them
//! apart: SDKs send the trace ID with every call. A call that cannot be attributed may read,
//! and must not write.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The field of a trace ID with a transaction's token. Its letters need no escape in any SDK.
const TRACE_FIELD: &str = "Txn=";

/// An invocation whose handler runs.
#[derive(Debug)]
pub struct Running {
    /// The token of its transaction.
    pub token: String,
    /// The calls of the S3 endpoint in it that only read.
    pub reads: AtomicU64,
    /// The other ones.
    pub writes: AtomicU64,
}

impl Running {
    /// Makes an invocation in a transaction.
    pub fn new(token: impl Into<String>) -> Running {
        Running { token: token.into(), reads: AtomicU64::new(0), writes: AtomicU64::new(0) }
    }

    /// Counts a call.
    pub fn count(&self, writes: bool) {
        let counter = if writes { &self.writes } else { &self.reads };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The place of a call.
#[derive(Debug, Clone)]
pub enum Place {
    /// Within an invocation.
    Within(Arc<Running>),
    /// Outside, for this reason.
    Outside(Outside),
}

/// The reason why a call belongs to no invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// No handler runs: the function initialises itself, or something was left over from an earlier
    /// invocation.
    NothingRuns,
    /// Several handlers run, and the call does not say whose it is.
    Several,
    /// The call names an invocation that has ended.
    Ended,
}

/// The invocations whose handlers run.
#[derive(Debug)]
pub struct Attribution {
    /// True if several invocations may run at once.
    concurrent: bool,
    /// By the nonce of each invocation, which the layer draws.
    running: Mutex<BTreeMap<u64, Arc<Running>>>,
}

impl Attribution {
    /// Makes the attribution of an environment that handles `concurrency` invocations at once.
    pub fn new(concurrency: usize) -> Attribution {
        assert!(concurrency >= 1, "an environment handles an invocation");
        Attribution { concurrent: concurrency > 1, running: Mutex::default() }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Running>>> {
        self.running.lock().expect("nothing panics while it holds the invocations")
    }

    /// Adds an invocation whose event is about to be handed out.
    pub fn enter(&self, nonce: u64, running: Arc<Running>) {
        let mut all = self.running();
        // The runtime has asked for the next event, so an earlier handler has ended: its response
        // got lost, for instance because it was larger than the runtime can send.
        if !self.concurrent {
            all.clear();
        }
        let before = all.insert(nonce, running);
        assert!(before.is_none(), "a nonce is drawn for one invocation");
    }

    /// Removes an invocation. Calls that come from now on belong to none.
    pub fn leave(&self, nonce: u64) {
        self.running().remove(&nonce);
    }

    /// Returns the place of a call with this trace ID.
    pub fn of(&self, trace_id: Option<&str>) -> Place {
        let all = self.running();
        if self.concurrent
            && let Some(token) = trace_id.and_then(token_of)
        {
            let named = all.values().find(|running| running.token == token);
            return named.cloned().map_or(Place::Outside(Outside::Ended), Place::Within);
        }
        let mut each = all.values();
        match (each.next(), each.next()) {
            (None, _) => Place::Outside(Outside::NothingRuns),
            (Some(only), None) => Place::Within(only.clone()),
            (Some(_), Some(_)) => Place::Outside(Outside::Several),
        }
    }

    /// Returns the trace ID to hand out with an event: the one that Lambda gave, with the token
    /// behind its fields where it is needed.
    pub fn trace_id(&self, given: Option<&str>, token: &str) -> Option<String> {
        if !self.concurrent {
            return given.map(str::to_owned);
        }
        // A function that was invoked from another one's handler may have that one's field.
        let given = given.map(|given| {
            let fields = given.split(';').filter(|field| !field.trim().starts_with(TRACE_FIELD));
            fields.collect::<Vec<_>>().join(";")
        });
        Some(match given {
            Some(given) => format!("{given};{TRACE_FIELD}{token}"),
            // SDKs send none if the runtime has none. The sampling is not ours to decide.
            None => format!(
                "Root=1-00000000-{:024x};Sampled=0;{TRACE_FIELD}{token}",
                rand::random::<u128>() >> 32
            ),
        })
    }
}

/// Returns the token in a trace ID.
fn token_of(trace_id: &str) -> Option<&str> {
    trace_id.split(';').find_map(|field| field.trim().strip_prefix(TRACE_FIELD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(place: Place) -> String {
        match place {
            Place::Within(running) => running.token.clone(),
            Place::Outside(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn a_single_invocation_needs_no_header() {
        let attribution = Attribution::new(1);
        assert_eq!(within(attribution.of(None)), "NothingRuns");
        attribution.enter(1, Arc::new(Running::new("a")));
        for trace in [None, Some("Root=1-2-3"), Some("Root=1-2-3;Txn=of-another")] {
            assert_eq!(within(attribution.of(trace)), "a");
        }
        attribution.leave(1);
        assert_eq!(within(attribution.of(Some("Txn=a"))), "NothingRuns");
        // A runtime that asks for an event has ended the handler before.
        attribution.enter(2, Arc::new(Running::new("b")));
        attribution.enter(3, Arc::new(Running::new("c")));
        assert_eq!(within(attribution.of(None)), "c");
    }

    #[test]
    fn several_invocations_are_told_apart_by_the_trace_id() {
        let attribution = Attribution::new(4);
        attribution.enter(1, Arc::new(Running::new("a")));
        assert_eq!(within(attribution.of(None)), "a", "it is the only one");
        attribution.enter(2, Arc::new(Running::new("b")));
        assert_eq!(within(attribution.of(None)), "Several");
        let inherited = Some("Root=1-2-3;Txn=of-the-caller;Lineage=1:2:0");
        for (given, token) in [(Some("Root=1-2-3;Lineage=1:2:0"), "b"), (inherited, "b"), (None, "a")] {
            let trace = attribution.trace_id(given, token).unwrap();
            let start = given.map_or("Root=1-00000000-", |_| "Root=1-2-3;Lineage=1:2:0;");
            assert!(trace.starts_with(start), "{trace}");
            assert_eq!(within(attribution.of(Some(&trace))), token);
        }
        attribution.leave(2);
        let trace = attribution.trace_id(None, "b").unwrap();
        assert_eq!(within(attribution.of(Some(&trace))), "Ended", "never guessed");
    }
}
