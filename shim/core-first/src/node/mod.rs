//! The state machine: one struct, one owner, one `step`.
//!
//! ```text
//!   Verb ─► begin ─► run / list ─► commit ─► publish          (a request's path, and what follows it)
//!   Wake ─► deadlines, repeated calls, maintain ─► collect    (what nobody waits for)
//! ```
//!
//! Every store call belongs to an owner (an operation, a script, a scan), is repeated with growing pauses while its owner lives and
//! has time, and its final answer is handed to that owner. Calls of dead owners are forgotten; their answers are dropped.

mod begin;
mod calls;
mod collect;
mod commit;
mod enter;
mod horizon;
mod index;
mod list;
mod maintain;
mod pace;
mod publish;
mod reading;
mod retire;
mod run;
mod script;
mod supersede;
mod tasks;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::bug::Bug;
use crate::ids::{AttemptId, Hlc, NodeId, Nonce, RequestHash};
use crate::message::{Input, Note, Now, Output, Refusal, Reply, Tell, Ticket, Verb};
use crate::settings::Settings;
use calls::WaitingCalls;
use index::{Index, Source};
use maintain::Maintenance;
use reading::{Operation, OperationId};
use tasks::{Task, TaskId};
use transaction::Transaction;

/// How many ended transactions are remembered, so that a repeated commit gets its answer again.
const ENDED_KEPT_MAX: usize = 10_000;

/// How many attempts are remembered as settled (a durable intent or a full publication was seen): a repeated replay then costs no intent.
const SETTLED_KEPT_MAX: usize = 50_000;

/// How many collected transactions are remembered: far more than can be collected while one store call is under way.
const COLLECTED_KEPT_MAX: usize = 100_000;

/// A node of the shim.
#[derive(Debug, Clone, Hash)]
pub struct Node {
    id: NodeId,
    settings: Settings,
    /// The clocks of the step under way.
    now: Now,
    /// The last time of the hybrid clock that was given out or heard.
    clock: Hlc,
    nonces: u64,
    tells: u64,
    /// The heartbeat is alive.
    serving: bool,
    draining: bool,
    transactions: BTreeMap<AttemptId, Transaction>,
    /// Estimated bytes of `transactions`, those of operations under way not included.
    transactions_bytes: usize,
    /// Requests with an open attempt on this node.
    requests: BTreeMap<RequestHash, begin::OpenRequest>,
    ended: Remembered<AttemptId, commit::Ended>,
    settled: Remembered<AttemptId, ()>,
    /// Transactions that this node has collected: a copy of their record that was on its way may not bring them back into the index.
    collected: Remembered<crate::ids::TxnId, ()>,
    index: Index,
    operations: BTreeMap<OperationId, Operation>,
    operation_ids: u64,
    tasks: BTreeMap<TaskId, Task>,
    task_ids: u64,
    calls: WaitingCalls,
    timers: BTreeSet<(u64, Timer)>,
    /// Commits of this node that are not published yet.
    publishing: BTreeMap<crate::ids::TxnId, publish::Unpublished>,
    maintenance: Maintenance,
    /// Empty between steps.
    out: Vec<Output>,
}

/// What happens at an instant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    Deadline(AttemptId),
    WaiterGivesUp(RequestHash, Ticket),
    Repeat(crate::store::CallId),
    MaintenancePass,
    Mark,
    Pump,
    Publish(crate::ids::TxnId),
    CommitPatience(AttemptId),
}

/// A bounded memory of recent things: the oldest goes first.
#[derive(Debug, Clone, Hash)]
struct Remembered<K, V> {
    map: BTreeMap<K, V>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Ord + Clone, V> Remembered<K, V> {
    fn new(max: usize) -> Remembered<K, V> {
        Remembered { map: BTreeMap::new(), order: VecDeque::new(), max }
    }

    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.map.remove(&oldest);
            }
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }
}

impl<K: Ord + Clone> Remembered<K, ()> {
    /// Whether it was not there yet.
    fn add(&mut self, key: K) -> bool {
        let new = self.get(&key).is_none();
        if new {
            self.insert(key, ());
        }
        new
    }
}

impl Node {
    /// A node with an empty index. `id` is fresh at every start of a process.
    ///
    /// # Panics
    /// If the settings break a relation that safety rests on ([`Settings::check`]).
    pub fn new(id: NodeId, settings: Settings) -> Node {
        if let Err(why) = settings.check() {
            panic!("{why}");
        }
        Node {
            id,
            settings,
            now: Now { wall_ms: 0, mono_ms: 0 },
            clock: Hlc::default(),
            nonces: 0,
            tells: 0,
            serving: true,
            draining: false,
            transactions: BTreeMap::new(),
            transactions_bytes: 0,
            requests: BTreeMap::new(),
            ended: Remembered::new(ENDED_KEPT_MAX),
            settled: Remembered::new(SETTLED_KEPT_MAX),
            collected: Remembered::new(COLLECTED_KEPT_MAX),
            index: Index::default(),
            operations: BTreeMap::new(),
            operation_ids: 0,
            tasks: BTreeMap::new(),
            task_ids: 0,
            calls: WaitingCalls::default(),
            timers: BTreeSet::new(),
            publishing: BTreeMap::new(),
            maintenance: Maintenance::default(),
            out: Vec::new(),
        }
    }

    /// The node's identity.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// How many transactions are open.
    pub fn open_transactions(&self) -> usize {
        self.transactions.len()
    }

    /// How many commits of this node wait to be published.
    pub fn unpublished(&self) -> usize {
        self.publishing.len()
    }

    /// Bytes of the index, estimated; at most `index_bytes_max` and what cannot be forgotten yet.
    pub fn index_bytes(&self) -> usize {
        self.index.bytes()
    }

    /// Bytes of open transactions, estimated; at most `transactions_bytes_max` and what operations under way add.
    pub fn transactions_bytes(&self) -> usize {
        self.transactions_bytes
    }

    /// One step: takes an event, changes the state, appends what must be done.
    ///
    /// `now` never goes back in its monotonic part.
    pub fn step(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        assert!(now.mono_ms >= self.now.mono_ms, "the monotonic clock never goes back");
        self.now = now;
        match input {
            Input::Verb(ticket, verb) => self.verb(ticket, verb),
            Input::Answer(id, answer) => self.answered(id, answer),
            Input::Heard(from, tell) => self.heard(from, tell),
            Input::Wake => {}
            Input::Maintain(on) => self.maintain(on),
            Input::HeartbeatLost => self.heartbeat_lost(),
            Input::HeartbeatBack => self.serving = true,
            Input::Drain => {
                self.draining = true;
                if self.planted(Bug::ForgetQueueWhenDraining) {
                    self.publishing.clear();
                }
            }
        }
        self.fire_timers();
        if self.index.bytes() > self.settings.index_bytes_max {
            self.index.shrink(self.settings.index_bytes_max);
        }
        outputs.append(&mut self.out);
    }

    /// When [`Input::Wake`] is wanted at the latest, by the monotonic clock in milliseconds.
    pub fn next_wake(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Panics if an invariant of the state is broken. Costs time in proportion to the state; for tests.
    pub fn check_invariants(&self) {
        self.index.check_invariants();
        self.transactions.values().for_each(Transaction::check_invariants);
        let weighed: usize = self.transactions.values().map(|transaction| transaction.weighed).sum();
        assert_eq!(self.transactions_bytes, weighed, "bytes of transactions are counted");
        for (attempt, transaction) in &self.transactions {
            assert_eq!(*attempt, transaction.attempt);
            let operations =
                self.operations.values().filter(|operation| operation.attempt == *attempt).count();
            assert!(operations <= transaction.operations, "operations under way are counted");
        }
        for (hash, request) in &self.requests {
            assert!(!request.attempts.is_empty(), "a request without an open attempt is forgotten");
            for attempt in &request.attempts {
                let transaction = &self.transactions[attempt];
                assert_eq!(transaction.hash, *hash, "a request's attempts are its own");
            }
        }
        assert!(self.out.is_empty(), "outputs leave with their step");
    }

    fn verb(&mut self, ticket: Ticket, verb: Verb) {
        if !self.serving && !self.planted(Bug::ServeAfterHeartbeatLost) {
            return self.refuse(ticket, Refusal::NotServing);
        }
        if self.is_recovering() {
            return self.refuse(ticket, Refusal::NotServing);
        }
        match verb {
            Verb::Begin(begin) => self.begin(ticket, begin),
            Verb::Run(attempt, batch) => self.run(ticket, attempt, batch),
            Verb::List(attempt, list) => self.list(ticket, attempt, list),
            Verb::ReserveBlob(attempt) => self.reserve_blob(ticket, attempt),
            Verb::Commit(attempt, args) => match self.fit_result(attempt, &args) {
                Ok(()) => self.commit_verb(ticket, attempt, args),
                Err(refusal) => self.refuse(ticket, refusal),
            },
            Verb::Abort(attempt) => self.abort(ticket, attempt),
            Verb::LookUp(hash) => self.look_up(ticket, hash),
            Verb::LookUpOf(attempt, otherwise) => {
                let hash = self.hash_of(attempt).unwrap_or(otherwise);
                self.look_up(ticket, hash);
            }
        }
    }

    fn fire_timers(&mut self) {
        while let Some((at, _)) = self.timers.first() {
            if *at > self.now.mono_ms {
                return;
            }
            let (_, timer) = self.timers.pop_first().expect("seen above");
            match timer {
                Timer::Deadline(attempt) => self.deadline(attempt),
                Timer::WaiterGivesUp(hash, ticket) => self.waiter_gives_up(hash, ticket),
                Timer::Repeat(call) => self.repeat(call),
                Timer::MaintenancePass => self.begin_pass(),
                Timer::Mark => self.mark(),
                Timer::Pump => self.pump_again(),
                Timer::Publish(txn) => self.publish_now(txn),
                Timer::CommitPatience(attempt) => self.commit_takes_long(attempt),
            }
        }
    }

    /// Commits that a peer tells of. A peer whose clock is further ahead than clocks may be apart is not believed.
    fn heard(&mut self, _from: NodeId, tell: Tell) {
        let Tell { sequence: _, time, commits } = tell;
        if !self.serving || time.ms() > self.now.wall_ms + self.settings.skew_max_ms {
            return;
        }
        self.clock = self.clock.max(time);
        for header in &commits {
            self.learn(header, Source::Heard, None);
        }
    }

    /// The node counts as dead for others: forget everything that others may now change or finish.
    fn heartbeat_lost(&mut self) {
        self.serving = false;
        if self.planted(Bug::ServeAfterHeartbeatLost) {
            return;
        }
        let mut dropped: Vec<(Ticket, Refusal)> = Vec::new();
        dropped.extend(self.operations.values().map(|operation| (operation.ticket, Refusal::NotServing)));
        dropped.extend(self.tasks.values().filter_map(Task::dropped_waiter));
        let waiting = self.requests.values().flat_map(|request| &request.waiters);
        dropped.extend(waiting.map(|waiter| (waiter.ticket, Refusal::NotServing)));
        dropped.extend(self.transactions.values().flat_map(commit::dropped_waiters));
        dropped.into_iter().for_each(|(ticket, refusal)| self.refuse(ticket, refusal));
        // These did commit; only their publishing is now another's.
        for unpublished in std::mem::take(&mut self.publishing).into_values() {
            for (waiter, committed) in unpublished.waiters {
                self.reply_committed(waiter, committed);
            }
        }
        self.remember_dropped();
        self.transactions_bytes = 0;
        self.requests.clear();
        self.operations.clear();
        self.tasks.clear();
        self.calls = WaitingCalls::with_next(self.calls.next_id());
        self.timers.clear();
        self.index = Index::default();
        self.settled = Remembered::new(SETTLED_KEPT_MAX);
        self.maintenance = self.maintenance.anew();
    }

    // What all verbs use.

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.out.push(Output::Reply(ticket, Ok(reply)));
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        self.out.push(Output::Reply(ticket, Err(refusal)));
    }

    fn note(&mut self, note: Note) {
        self.out.push(Output::Note(note));
    }

    /// A time of the hybrid clock: greater than `after` and than all that was given out or heard before, and not before the wall clock.
    fn tick(&mut self, after: Hlc) -> Hlc {
        let next = self.clock.max(after).0 + 1;
        self.clock = Hlc(next).max(Hlc::from_ms(self.now.wall_ms));
        self.clock
    }

    /// The hybrid clock, not advanced.
    fn time(&self) -> Hlc {
        self.clock.max(Hlc::from_ms(self.now.wall_ms))
    }

    fn nonce(&mut self) -> Nonce {
        if self.planted(Bug::ReuseIntentName) {
            return Nonce { node: NodeId(0), count: 0 };
        }
        self.nonces += 1;
        Nonce { node: self.id, count: self.nonces }
    }

    /// Learns a committed transaction.
    fn learn(
        &mut self,
        header: &std::sync::Arc<crate::message::Header>,
        source: Source,
        asked: Option<&crate::ids::Key>,
    ) {
        self.clock = self.clock.max(header.txn.time);
        if self.collected.get(&header.txn).is_some() {
            return;
        }
        let bug = bug_of(&self.settings);
        self.index.learn(header, self.now.mono_ms, source, |planted| bug == Some(planted), asked);
    }

    /// Whether this fault was put in on purpose. Constantly false in a shipped build.
    fn planted(&self, bug: Bug) -> bool {
        bug_of(&self.settings) == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
fn bug_of(settings: &Settings) -> Option<Bug> {
    settings.bug
}

#[cfg(not(feature = "planted-bugs"))]
fn bug_of(_settings: &Settings) -> Option<Bug> {
    None
}
