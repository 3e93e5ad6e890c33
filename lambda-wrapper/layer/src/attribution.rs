//! The invocation that a call of the handler belongs to.
//!
//! An ordinary environment handles one invocation at a time: whatever calls between the event
//! handed out and the response taken belongs to it, and no header is needed, whichever SDK calls.
//! Where several invocations run at once, on managed instances, a call belongs to
//!
//! 1. the invocation that its trace ID names, in a field that the layer has added: SDKs send the
//!    trace ID with every call;
//! 2. else that of the worker that it comes from: the process that has asked for the event, or a
//!    child of it. Such a process must have one invocation;
//! 3. else the only one in the environment, if the call's process is not known. A process that is
//!    known and is no worker's may be starting, or left over.
//!
//! A call that cannot be attributed may read, and must not write. An invocation runs until its
//! response is here, also if its time is over: its code goes on, and must not be taken for
//! another one's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::processes::{Holders, Peer, Process};

/// The most processes that have asked for events which are remembered: far more than the workers
/// of an environment. A runtime that starts a process for each event has as many.
const WORKERS_MAX: usize = 4_096;
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
    /// The call names an invocation that has ended, or comes from a worker that runs none.
    Ended,
    /// The call comes from a process that is no worker and no child of one.
    Stranger,
}

/// The invocations whose handlers run.
#[derive(Debug)]
pub struct Attribution {
    /// True if several invocations may run at once.
    concurrent: bool,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    /// By the nonce of each invocation, which the layer draws.
    running: BTreeMap<u64, Entry>,
    /// The processes that have asked for events.
    workers: BTreeSet<Process>,
    /// True once an invocation or a worker was forgotten whose code may still run: the only
    /// invocation that is known need not be the only one.
    has_forgotten: bool,
}

#[derive(Debug)]
struct Entry {
    running: Arc<Running>,
    /// The process that has asked for its event, if it is known.
    worker: Option<Process>,
}

impl Attribution {
    /// Makes the attribution of an environment that handles `concurrency` invocations at once.
    pub fn new(concurrency: usize) -> Attribution {
        assert!(concurrency >= 1, "an environment handles an invocation");
        Attribution { concurrent: concurrency > 1, all: Mutex::default() }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, All> {
        self.all.lock().expect("nothing panics while it holds the invocations")
    }

    /// Notes that a process asks for an event.
    pub fn polls(&self, worker: Process) {
        let mut all = self.all();
        if all.workers.len() == WORKERS_MAX && !all.workers.contains(&worker) {
            // Those that have ended make no calls.
            all.workers.retain(Process::is_alive);
            if all.workers.len() == WORKERS_MAX {
                all.workers.pop_first();
                all.has_forgotten = true;
            }
        }
        all.workers.insert(worker);
        assert!(all.workers.len() <= WORKERS_MAX, "the workers are bounded");
    }

    /// Adds an invocation whose event is about to be handed out, to a worker if it is known.
    pub fn enter(&self, nonce: u64, running: Arc<Running>, worker: Option<Process>) {
        let mut all = self.all();
        // The runtime has asked for the next event, so an earlier handler has ended: its response
        // got lost, for instance because it was larger than the runtime can send.
        if !self.concurrent {
            all.running.clear();
        }
        let before = all.running.insert(nonce, Entry { running, worker });
        assert!(before.is_none(), "a nonce is drawn for one invocation");
    }

    /// Removes an invocation. Calls that come from now on belong to none.
    pub fn leave(&self, nonce: u64) {
        self.all().running.remove(&nonce);
    }

    /// Removes an invocation whose code may still run.
    pub fn forget(&self, nonce: u64) {
        let mut all = self.all();
        all.running.remove(&nonce);
        all.has_forgotten = true;
    }

    /// Returns the place of a call with this trace ID, from this client.
    pub async fn of(&self, trace_id: Option<&str>, peer: &Peer) -> Place {
        if !self.concurrent {
            // One at most.
            return self.all().only();
        }
        if let Some(token) = trace_id.and_then(token_of) {
            return self.all().named(token);
        }
        if self.all().running.is_empty() {
            return Place::Outside(Outside::NothingRuns);
        }
        let unknown = Holders::default();
        let holders = peer.holders().await.unwrap_or(&unknown);
        self.all().of_holders(holders, Process::is_alive)
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

impl All {
    fn named(&self, token: &str) -> Place {
        let named = self.running.values().find(|entry| entry.running.token == token);
        named.map_or(Place::Outside(Outside::Ended), |entry| Place::Within(entry.running.clone()))
    }

    /// Returns the only invocation that runs.
    fn only(&self) -> Place {
        only_of(self.running.values(), Outside::NothingRuns)
    }

    /// Returns the place of a call that names no invocation, over a connection with these holders.
    fn of_holders(&self, holders: &Holders, is_alive: impl Fn(&Process) -> bool) -> Place {
        let nearest = |line: &Vec<Process>| line.iter().find(|one| self.workers.contains(one)).copied();
        let workers: BTreeSet<Option<Process>> = holders.lines().iter().map(nearest).collect();
        // One whose worker is not known may run in any process.
        let all_known = self.running.values().all(|entry| entry.worker.is_some());
        let mut workers = workers.into_iter();
        match (workers.next(), workers.next()) {
            (Some(Some(worker)), None) if all_known => {
                let of_worker = self.running.values().filter(|entry| entry.worker == Some(worker));
                return only_of(of_worker, Outside::Ended);
            }
            // Processes with and without a worker, or with two, share the connection.
            (Some(_), Some(_)) => return Place::Outside(Outside::Stranger),
            _ => {}
        }
        match self.only() {
            Place::Within(_) if self.has_forgotten => Place::Outside(Outside::Several),
            // A worker that has ended has left its event to another process.
            Place::Within(_) if !holders.lines().is_empty() && self.workers_live(is_alive) => {
                Place::Outside(Outside::Stranger)
            }
            place => place,
        }
    }

    /// Returns true if the worker of each invocation is known, and lives.
    fn workers_live(&self, is_alive: impl Fn(&Process) -> bool) -> bool {
        self.running.values().all(|entry| entry.worker.as_ref().is_some_and(&is_alive))
    }
}

/// Returns the only one of these invocations; outside for the reason `none` if there is none.
fn only_of<'a>(mut entries: impl Iterator<Item = &'a Entry>, none: Outside) -> Place {
    match (entries.next(), entries.next()) {
        (None, _) => Place::Outside(none),
        (Some(only), None) => Place::Within(only.running.clone()),
        (Some(_), Some(_)) => Place::Outside(Outside::Several),
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

    fn enter(attribution: &Attribution, nonce: u64, token: &str, worker: Option<u32>) {
        attribution.enter(nonce, Arc::new(Running::new(token)), worker.map(Process::of));
    }

    /// Returns the place of a call over a connection that nobody on this machine has.
    async fn of(attribution: &Attribution, trace_id: Option<&str>) -> String {
        let nobody = Peer::new("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap());
        within(attribution.of(trace_id, &nobody).await)
    }

    /// Returns the place of a call without a trace ID over a connection with these holders, each
    /// with its ancestors behind it. All processes but 99 live.
    fn from(attribution: &Attribution, lines: &[&[u32]]) -> String {
        let line = |ids: &&[u32]| ids.iter().map(|id| Process::of(*id)).collect::<Vec<_>>();
        let holders = Holders::new(lines.iter().map(line).collect());
        let place = attribution.all().of_holders(&holders, |process| *process != Process::of(99));
        within(place)
    }

    #[tokio::test]
    async fn a_single_invocation_needs_no_header() {
        let attribution = Attribution::new(1);
        assert_eq!(of(&attribution, None).await, "NothingRuns");
        enter(&attribution, 1, "a", None);
        for trace in [None, Some("Root=1-2-3"), Some("Root=1-2-3;Txn=of-another")] {
            assert_eq!(of(&attribution, trace).await, "a");
        }
        attribution.leave(1);
        assert_eq!(of(&attribution, Some("Txn=a")).await, "NothingRuns");
        // A runtime that asks for an event has ended the handler before.
        enter(&attribution, 2, "b", None);
        enter(&attribution, 3, "c", None);
        assert_eq!(of(&attribution, None).await, "c");
    }

    #[tokio::test]
    async fn several_invocations_are_told_apart_by_the_trace_id() {
        let attribution = Attribution::new(4);
        enter(&attribution, 1, "a", None);
        assert_eq!(of(&attribution, None).await, "a", "it is the only one");
        enter(&attribution, 2, "b", None);
        assert_eq!(of(&attribution, None).await, "Several");
        let inherited = Some("Root=1-2-3;Txn=of-the-caller;Lineage=1:2:0");
        for (given, token) in [(Some("Root=1-2-3;Lineage=1:2:0"), "b"), (inherited, "b"), (None, "a")] {
            let trace = attribution.trace_id(given, token).unwrap();
            let start = given.map_or("Root=1-00000000-", |_| "Root=1-2-3;Lineage=1:2:0;");
            assert!(trace.starts_with(start), "{trace}");
            assert_eq!(of(&attribution, Some(&trace)).await, token);
        }
        attribution.leave(2);
        let trace = attribution.trace_id(None, "b").unwrap();
        assert_eq!(of(&attribution, Some(&trace)).await, "Ended", "never guessed");
    }

    #[test]
    fn workers_are_told_apart_by_their_processes() {
        let attribution = Attribution::new(4);
        // The workers 10, 20 and 30 are children of 2; 10 and 20 have an invocation each.
        for worker in [10, 20, 30] {
            attribution.polls(Process::of(worker));
        }
        enter(&attribution, 1, "a", Some(10));
        enter(&attribution, 2, "b", Some(20));
        assert_eq!(from(&attribution, &[&[10, 2, 1]]), "a");
        assert_eq!(from(&attribution, &[&[20, 2, 1]]), "b");
        assert_eq!(from(&attribution, &[&[21, 22, 20, 2, 1]]), "b", "a grandchild of the worker");
        assert_eq!(from(&attribution, &[&[20, 2, 1], &[21, 20, 2, 1]]), "b", "they share the connection");
        assert_eq!(from(&attribution, &[&[30, 2, 1]]), "Ended", "its handler has returned");
        assert_eq!(from(&attribution, &[&[2, 1]]), "Several", "the parent is no worker");
        assert_eq!(from(&attribution, &[]), "Several");
        // A connection that was made before the fork may be anybody's.
        assert_eq!(from(&attribution, &[&[2, 1], &[10, 2, 1]]), "Stranger");
        assert_eq!(from(&attribution, &[&[10, 2, 1], &[20, 2, 1]]), "Stranger");
        // Several in one process, as threads or tasks: the process does not say whose a call is.
        enter(&attribution, 3, "c", Some(20));
        assert_eq!(from(&attribution, &[&[20, 2, 1]]), "Several");
        attribution.leave(2);
        assert_eq!(from(&attribution, &[&[20, 2, 1]]), "c");
    }

    #[test]
    fn the_only_invocation_is_not_taken_for_that_of_another_process() {
        let attribution = Attribution::new(4);
        for worker in [10, 20] {
            attribution.polls(Process::of(worker));
        }
        enter(&attribution, 1, "a", Some(10));
        assert_eq!(from(&attribution, &[]), "a", "nobody knows where the call comes from");
        assert_eq!(from(&attribution, &[&[20, 2, 1]]), "Ended", "left over in another worker");
        assert_eq!(from(&attribution, &[&[40, 2, 1]]), "Stranger", "another worker that starts");
        // A process that has fetched the event for another one and ended.
        attribution.leave(1);
        enter(&attribution, 2, "b", Some(99));
        assert_eq!(from(&attribution, &[&[40, 2, 1]]), "b");
        attribution.leave(2);
        // An invocation whose process is not known may run anywhere.
        enter(&attribution, 3, "c", None);
        assert_eq!(from(&attribution, &[&[40, 2, 1]]), "c");
        enter(&attribution, 4, "d", Some(10));
        assert_eq!(from(&attribution, &[&[10, 2, 1]]), "Several");
        // Code that was forgotten may make calls.
        attribution.forget(3);
        assert_eq!(from(&attribution, &[]), "Several");
        assert_eq!(from(&attribution, &[&[10, 2, 1]]), "d");
    }

    #[test]
    fn the_workers_that_are_remembered_are_bounded() {
        let attribution = Attribution::new(4);
        let me = std::process::id();
        // None of these lives: no process has started one tick after the machine.
        for id in 0..u32::try_from(WORKERS_MAX).unwrap() + 1 {
            attribution.polls(Process::of(me + id));
        }
        let all = attribution.all();
        assert!(all.workers.len() == 1 && !all.has_forgotten, "{} are left", all.workers.len());
    }
}
