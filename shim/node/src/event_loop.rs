//! The event loop: one task that owns the state machine.
//!
//! ```text
//!   turn:  answers that are ready ─┐
//!          store calls that ended ─┼─► step ─► outputs ─► replies · notes · calls
//!          verbs in the queue ─────┘                                          │
//!                 answers that are ready ◄── cached, or ready at once ◄───────┤
//!                 store calls that ended ◄── in flight ◄──────────────────────┘
//! ```
//!
//! It is a hand-written future, so that a store call is first polled in the step that made it: a
//! store that answers at once (memory, an adapter's own cache) costs no allocation in the set of
//! calls in flight, no timeout and no wake-up. The three sources take turns, each with a bounded
//! number of events, so that none starves another. The clocks are read before every step, after the
//! answer arrived: an answer must not look younger than it is.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aft_core::Node;
use aft_core::clock::{Now, StoreTime};
use aft_core::ids::{AttemptId, Key, NodeId, TxnId};
use aft_core::message::{End, Input, Note, Output, Refusal, Reply, Tell, Ticket, Verb};
use aft_core::record::{Record, Write};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallError, CallId, Created, Name};
use aft_format::{About, call_error};
use aft_store::{Error, Store};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Sleep, sleep};
use tracing::{debug, error, info, warn};

use crate::cache::ValueCache;
use crate::clock::{Deadline, Instants};
use crate::handle::{Shared, State};
use crate::heard::Heard;
use crate::opening::Opened;
use crate::reports::{Descriptions, Spell};
use crate::stats::CallKind;
use crate::waiters::{Outcome, Waiters};
use crate::{calls, clock};

/// The most events of one source in a row: long enough to amortise the change of source, short
/// enough (some 50 µs) to be fair.
const STREAK_LEN_MAX: usize = 32;
/// The most steps before other tasks of the runtime have their turn: about a millisecond.
const TURN_STEPS_MAX: usize = 1_024;
/// The longest sleep. It bounds the age of the gauges that the node exports.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// An entry of the loop's queue.
#[derive(Debug)]
pub(crate) enum Item {
    /// A verb, with the sender of its reply and the time at which it was sent.
    Ask { verb: Verb, reply: oneshot::Sender<Outcome>, since: Instant },
    /// A transaction to abort, since no caller knows of it.
    Forget(AttemptId),
    /// A query for the deadline of an open transaction. If it is not open, `reply` is dropped.
    OpenUntil { attempt: AttemptId, reply: oneshot::Sender<Deadline> },
    /// A tell about a commit, from another node of this process.
    Heard(NodeId, Tell),
    /// A record that another node of this process has written, before its tell: it fills the cache,
    /// since its values may be read here.
    Wrote(Arc<Record>),
    /// An order to start sweeping (`true`) or to stop.
    Upkeep(bool),
    /// An order to finish the open transactions, and to stop at `until` at the latest.
    Drain { until: tokio::time::Instant },
}

/// A store call that has ended.
struct Landed {
    id: CallId,
    kind: CallKind,
    since: Instant,
    /// The record that the call creates, if it creates one.
    record: Option<Arc<Record>>,
    /// The key whose value the call fetches, if it fetches one.
    read: Option<Key>,
    /// True if the call reads the store's description of itself.
    of_description: bool,
    outcome: Result<Answer, Error>,
}

type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

/// The loop, as a future that ends when the node stops.
pub(crate) struct EventLoop {
    node: Node,
    shared: Arc<Shared>,
    cache: ValueCache,
    /// The record in the input of the current step, if it carries one: the core may fetch one of
    /// its values in the same step.
    got: Option<Arc<Record>>,
    queue: mpsc::Receiver<Item>,
    waiters: Waiters,
    /// Inputs for the next steps, in order.
    ready: VecDeque<Input>,
    /// Store calls in flight; at most `store_calls_max`.
    flights: FuturesUnordered<Flight>,
    /// Store calls that wait for a place in `flights`, in order. The core's own bounds on its calls
    /// bound this queue.
    waiting: VecDeque<(CallId, Call)>,
    /// The outputs of a step. Empty between steps; kept for its allocation.
    outputs: Vec<Output>,
    sleep: Pin<Box<Sleep>>,
    /// The end of `sleep`, by the runtime's clock.
    sleep_until: tokio::time::Instant,
    drain_until: Option<tokio::time::Instant>,
    /// True once every handle was dropped.
    abandoned: bool,
    /// The clocks at the last step.
    now: Now,
    instants: Instants,
    heard: Heard,
    /// True if the store can hold writes to a deadline.
    holds_deadlines: bool,
    /// A lower bound of the mark from the opening, in milliseconds since the epoch: the mark as it
    /// was read, or the time at which the store was made. 0 if the mark is lost.
    mark_ms: u64,
    /// The store's description of itself, as it was seen last.
    about: Option<Box<About>>,
    /// The descriptions of damage that were logged.
    damage: Descriptions,
    /// The state of meeting versions ahead of the store's time.
    ahead: Spell,
    /// The state of meeting sessions that name commits which the store has lost.
    losses: Spell,
}

impl EventLoop {
    pub(crate) fn new(
        shared: Arc<Shared>,
        core: Settings,
        queue: mpsc::Receiver<Item>,
        mark_ms: u64,
    ) -> EventLoop {
        let sleep = Box::pin(sleep(Duration::ZERO));
        let holds_deadlines = shared.store.until(Instant::now()).is_some();
        let first = shared.settings.maintain.then_some(Input::Upkeep(true));
        let about = match &shared.opened {
            Opened::Marked { about, .. } => Some(about.clone()),
            Opened::Unmarked(_) => None,
        };
        EventLoop {
            node: Node::new(shared.id, core),
            cache: ValueCache::new(shared.settings.value_cache_bytes_max),
            got: None,
            shared,
            queue,
            waiters: Waiters::default(),
            ready: first.into_iter().collect(),
            flights: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            outputs: Vec::new(),
            sleep_until: sleep.deadline(),
            sleep,
            drain_until: None,
            abandoned: false,
            now: clock::now(),
            instants: Instants::new(),
            heard: Heard::default(),
            holds_deadlines,
            mark_ms,
            about,
            damage: Descriptions::default(),
            ahead: Spell::default(),
            losses: Spell::default(),
        }
    }

    pub(crate) fn open_transactions(&self) -> usize {
        self.node.open_transactions()
    }

    /// Feeds one input to the core and carries out its outputs.
    fn step(&mut self, input: Input, cx: &mut Context<'_>) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.got = match &input {
            Input::Answer(_, Answer::Got(Some((Body::Record(record), _))), _) => Some(record.clone()),
            _ => None,
        };
        self.now = clock::now();
        self.node.step(self.now, input, &mut outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Reply(ticket, outcome) => self.reply(ticket, outcome),
                Output::Call(id, call) => self.call(id, call, cx),
                Output::Tell(tell) => self.tell(&tell),
                Output::Note(note) => self.note(&note),
            }
        }
        self.outputs = outputs;
        self.got = None;
    }

    // The three sources. Each returns the number of steps that it took.

    fn take_ready(&mut self, cx: &mut Context<'_>) -> usize {
        let streak = self.ready.len().min(STREAK_LEN_MAX);
        for _ in 0..streak {
            let input = self.ready.pop_front().expect("counted above");
            self.step(input, cx);
        }
        streak
    }

    fn take_landed(&mut self, cx: &mut Context<'_>) -> usize {
        for taken in 0..STREAK_LEN_MAX {
            let Poll::Ready(Some(landed)) = self.flights.poll_next_unpin(cx) else { return taken };
            let answer = self.landed(landed);
            self.step(answer, cx);
            self.launch_waiting(cx);
        }
        STREAK_LEN_MAX
    }

    fn take_queued(&mut self, cx: &mut Context<'_>) -> usize {
        for taken in 0..STREAK_LEN_MAX {
            match self.queue.poll_recv(cx) {
                Poll::Pending => return taken,
                Poll::Ready(None) => {
                    self.abandoned = true;
                    return taken;
                }
                Poll::Ready(Some(Item::Ask { verb, reply, since })) => self.ask(verb, Some(reply), since, cx),
                Poll::Ready(Some(Item::Forget(attempt))) => {
                    self.ask(Verb::Abort(attempt), None, Instant::now(), cx);
                }
                Poll::Ready(Some(Item::OpenUntil { attempt, reply })) => {
                    if let Some(deadline) = self.waiters.deadline(attempt) {
                        // The caller may have gone.
                        let _ = reply.send(deadline);
                    }
                }
                Poll::Ready(Some(Item::Heard(from, tell))) => self.step(Input::Heard(from, tell), cx),
                Poll::Ready(Some(Item::Wrote(record))) => self.cache.keep(&record),
                Poll::Ready(Some(Item::Upkeep(on))) => self.step(Input::Upkeep(on), cx),
                Poll::Ready(Some(Item::Drain { until })) => self.drain(until, cx),
            }
        }
        STREAK_LEN_MAX
    }

    /// Sends a tell about a commit to the other nodes of this process, before the client gets its
    /// reply: the client's next verb comes behind the tell in their queues. A node whose queue is
    /// full does not get the tell; it reads from the store, as it would without peers.
    fn tell(&self, tell: &Tell) {
        self.send_peers(|| Item::Heard(self.shared.id, tell.clone()));
    }

    fn send_peers(&self, item: impl Fn() -> Item) {
        let peers = self.shared.peers.get().into_iter().flatten();
        for peer in peers.filter_map(mpsc::WeakSender::upgrade) {
            let _ = peer.try_send(item());
        }
    }

    /// Caches the values of a record that this node has written, here and in the other nodes of
    /// this process.
    fn keep(&mut self, record: &Arc<Record>) {
        self.cache.keep(record);
        self.send_peers(|| Item::Wrote(record.clone()));
    }

    // Verbs and replies.

    fn ask(
        &mut self,
        verb: Verb,
        reply: Option<oneshot::Sender<Outcome>>,
        since: Instant,
        cx: &mut Context<'_>,
    ) {
        aft_core::room!();
        let ticket = self.waiters.enter(&verb, reply, since);
        self.step(Input::Verb(ticket, verb), cx);
    }

    fn reply(&mut self, ticket: Ticket, outcome: Outcome) {
        let waiter = self.waiters.take(ticket);
        self.shared.meters.answered(waiter.kind, waiter.since.elapsed(), &outcome);
        if waiter.waited_for(&outcome) {
            self.shared.meters.replayed_after_wait.add();
        }
        let opened = match &outcome {
            Ok(Reply::Begun { attempt, committed: None, remaining_ms, .. }) => {
                self.waiters.opened(*attempt, Deadline::new(self.now, *remaining_ms));
                Some(*attempt)
            }
            Err(Refusal::Unknown(hash) | Refusal::UnknownDamaged(hash, _)) => {
                // The door logs what an operator should see.
                debug!(request = %hash, verb = waiter.kind.as_str(), "the outcome of a transaction is not known");
                None
            }
            Ok(_) | Err(_) => None,
        };
        if let (None, Some(attempt)) = (opened, waiter.opens) {
            self.waiters.ended(attempt);
        }
        let unheard = waiter.reply.is_some_and(|reply| reply.send(outcome).is_err());
        if let (true, Some(attempt)) = (unheard, opened) {
            // No caller knows of this transaction. Free its place now instead of at its deadline.
            let verb = Verb::Abort(attempt);
            let ticket = self.waiters.enter(&verb, None, Instant::now());
            self.ready.push_back(Input::Verb(ticket, verb));
        }
    }

    // Store calls and answers.

    /// Answers a call from the cache, sends it, or queues it behind the calls that wait.
    fn call(&mut self, id: CallId, call: Call, cx: &mut Context<'_>) {
        if let Call::Fetch { at: _, txn, key } = &call {
            if let Some(write) = self.cached(*txn, key) {
                self.shared.meters.cache_hits.add();
                self.ready.push_back(Input::Answer(id, Answer::Cached(write), None));
                return;
            }
            self.shared.meters.cache_misses.add();
        }
        if self.flights.len() < self.shared.settings.store_calls_max && self.waiting.is_empty() {
            self.launch(id, call, cx);
        } else {
            self.waiting.push_back((id, call));
        }
    }

    /// Returns a value from the cache, or from the record in the current step's input, with which
    /// the core has just chosen this version.
    fn cached(&mut self, txn: TxnId, key: &Key) -> Option<Write> {
        if let Some(write) = self.cache.get(txn.attempt, key) {
            return Some(write);
        }
        let record = self.got.as_ref().filter(|record| record.txn == txn)?;
        let write = record.write(key).filter(|write| write.value().is_some())?;
        self.cache.keep_read(record, key);
        Some(write.clone())
    }

    fn launch_waiting(&mut self, cx: &mut Context<'_>) {
        while self.flights.len() < self.shared.settings.store_calls_max {
            let Some((id, call)) = self.waiting.pop_front() else { return };
            // The call's deadline may have passed while it waited, and nothing is sent after a
            // deadline.
            if self.node.may_send(clock::now(), id) {
                self.launch(id, call, cx);
            } else {
                self.shared.meters.calls_expired.add();
                self.ready.push_back(Input::Answer(id, Answer::Failed(CallError::Expired), None));
            }
        }
    }

    fn launch(&mut self, id: CallId, call: Call, cx: &mut Context<'_>) {
        let (kind, record, since) = (calls::kind_of(&call), calls::record_of(&call), Instant::now());
        let read = match &call {
            Call::Fetch { key, .. } => Some(key.clone()),
            _ => None,
        };
        let of_description = matches!(&call, Call::Get(Name::Format));
        let store = if call.is_write() { self.store_until(id) } else { self.shared.store.clone() };
        let mut future = Box::pin(calls::perform(store.clone(), call));
        // A store that answers at once needs no place in `flights` and no timeout.
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            let answer = self.landed(Landed { id, kind, since, record, read, of_description, outcome });
            self.ready.push_back(answer);
            return;
        }
        let limit = calls::limit(kind, &self.shared.settings.timeouts);
        self.flights.push(Box::pin(async move {
            let outcome = calls::within(limit, &*store, kind, future).await;
            Landed { id, kind, since, record, read, of_description, outcome }
        }));
    }

    /// Returns the store for one write, with the write's deadline attached if the store can hold
    /// writes to a deadline.
    fn store_until(&self, id: CallId) -> Arc<dyn Store> {
        let shared = &self.shared.store;
        if !self.holds_deadlines {
            return shared.clone();
        }
        let Some(remaining_ms) = self.node.may_land_for_ms(id) else { return shared.clone() };
        let until = Instant::now() + Duration::from_millis(remaining_ms);
        shared.until(until).expect("a store that holds writes to deadlines always does so")
    }

    /// Counts, caches and logs the outcome of a store call, and returns it as an input of the core.
    fn landed(&mut self, landed: Landed) -> Input {
        let Landed { id, kind, since, record, read, of_description, outcome } = landed;
        self.shared.meters.called(kind, since.elapsed(), outcome.as_ref().err());
        self.shared.health.called(kind, outcome.as_ref().err());
        match (&outcome, &record) {
            (Ok(Answer::Committed(pieces)), Some(record)) if pieces.record == Some(Ok(Created::Created)) => {
                self.keep(record);
            }
            // The write of a whole entry is a commit too; and a record whose entries are locks is
            // created by a call of its own, after the locks.
            (Ok(Answer::Done | Answer::Created(Created::Created) | Answer::Replaced), Some(record)) => {
                self.keep(record);
            }
            (Ok(Answer::Got(Some((Body::Record(record), _)))), _) => {
                if let Some(key) = &read {
                    self.cache.keep_read(record, key);
                }
            }
            (Ok(Answer::Got(Some((Body::Format(format), _)))), _) => self.look_at_description(&format.about),
            // It was there when this node started, and nothing of ours removes it.
            (Ok(Answer::Got(None)), _) if of_description && self.about.is_some() => {
                self.stop_because(
                    "the store's description of itself is gone: somebody has emptied the store",
                );
            }
            (Err(Error::Damaged(what)), _) => self.log_damage(what),
            // Trouble that lasts is logged once by the health.
            (Err(error), _) => debug!(call = kind.as_str(), %error, "a store call failed"),
            (Ok(_), _) => {}
        }
        let answer = outcome.unwrap_or_else(|error| Answer::Failed(call_error(error)));
        Input::Answer(id, answer, self.time_heard(since))
    }

    /// Compares the store's description of itself with the one seen before, and logs a difference:
    /// an operator has changed settings that its nodes share, or has replaced the store by another
    /// one. Changed levels stop the node.
    fn look_at_description(&mut self, bytes: &Bytes) {
        let Some(before) = &self.about else { return };
        // A description that cannot be read is damage, which the next start reports.
        let Ok(now) = About::decode(bytes) else { return };
        if **before == now {
            return;
        }
        let times = |about: &About| about.times.map_or_else(|| "none".to_owned(), |times| times.to_string());
        warn!(
            times_before = times(before),
            times_now = times(&now),
            levels_before = %before.levels,
            levels_now = %now.levels,
            is_same_store = before.identity == now.identity,
            "the store's description of itself has changed since this node started: restart the node with the same \
             settings as the other nodes"
        );
        // Writes at a key's old level would not be checked against those at its new one; what this
        // node knows of one store says nothing about another; and large values that are written to
        // their old place are not found in the new one.
        let why = if before.identity != now.identity {
            Some("another store is in the place of this one")
        } else if before.levels != now.levels && !self.shared.settings.core.exclusive {
            Some("the levels of this store's keys have changed")
        } else if before.blobs != now.blobs {
            Some("the place of this store's large values has changed")
        } else {
            None
        };
        if let Some(why) = why {
            self.stop_because(why);
        }
        self.about = Some(Box::new(now));
    }

    /// Stops the node, since the store is another one than it knows.
    fn stop_because(&mut self, why: &str) {
        error!(why, "the store is not what it was when this node started, so the node stops: restart it");
        self.drain_until = Some(tokio::time::Instant::now());
        self.shared.state.send_replace(State::Draining);
    }

    /// Returns the newest time that an answer carried to a request which was sent after `since`,
    /// the instant at which the call that has landed was made.
    fn time_heard(&mut self, since: Instant) -> Option<StoreTime> {
        self.heard.add(self.shared.store.times_heard());
        self.heard.since(since).map(|heard| self.instants.store_time(heard))
    }

    // Notes, times, the end.

    /// Counts an event that the core reports, and logs it.
    fn note(&mut self, note: &Note) {
        let meters = &self.shared.meters;
        match note {
            Note::Ended(attempt, end) => {
                meters.ended(*end);
                self.waiters.ended(*attempt);
                match end {
                    End::Unknown => warn!(transaction = %attempt, "transaction ended with unknown outcome"),
                    End::Committed | End::Aborted | End::LostToOther | End::Conflicted | End::Expired => {
                        debug!(transaction = %attempt, ?end, "transaction ended");
                    }
                }
            }
            Note::Thawed { gap_ms } => {
                meters.thaws.add();
                warn!(
                    gap_ms,
                    "the process did not run for a while: it drops what it knew of the store's time"
                );
            }
            Note::ClocksDisagree { apart_ms } => {
                meters.clocks_disagree.add();
                warn!(apart_ms, "answers of the store disagree on its time: commits wait until they agree");
            }
            Note::AheadOfTime(txn) => {
                meters.ahead_of_time.add();
                // A clock that was wrong for an hour leaves a version for each commit of that hour,
                // so only the first one of a spell is logged.
                if self.ahead.begins(self.now.mono_ms) {
                    warn!(
                        version = %txn,
                        "versions lie ahead of the store's time: a clock was wrong when they were written; \
                         aft_ahead_of_time_total counts them, and they are not logged one by one"
                    );
                }
            }
            Note::SessionLost(txn) => {
                // Each client of the lost commits meets this once.
                if self.losses.begins(self.now.mono_ms) {
                    warn!(
                        commit = %txn,
                        "the store does not have a commit that a client's session names, though it is too recent \
                         to have been removed: the store was restored from an older backup, has lost writes, or the \
                         session is of another store; aft_refusals_total{{kind=\"session_lost\"}} counts such \
                         clients, and they are not logged one by one"
                    );
                }
            }
            Note::Damaged(what) => {
                meters.damaged.add();
                self.log_damage(what);
            }
            Note::MarkMoved(mark) => {
                meters.marks_moved.add();
                info!(%mark, "the mark moved: every transaction at or below it is over");
            }
            Note::EntriesRemoved(count) => meters.entries_removed.add_all(*count),
            Note::RecordsRemoved(count) => meters.records_removed.add_all(*count),
            Note::PartsRemoved(count) => meters.parts_removed.add_all(*count),
            Note::BytesReclaimed(bytes) => meters.bytes_reclaimed.add_all(*bytes),
            Note::EntriesRepaired(count) => {
                meters.entries_repaired.add_all(*count);
                info!(count, "put version entries that the nodes of their commits had not put");
            }
            Note::Swept { whole } => {
                meters.sweeps.add();
                if *whole {
                    meters.sweeps_whole.add();
                }
                info!(whole, "a sweep ended");
            }
        }
    }

    fn log_damage(&mut self, what: &str) {
        // Every sweep and every read that passes it reports the same damage again.
        if self.damage.is_news(what) {
            error!(what, "an object in the store cannot be read; it is left as it is");
        }
    }

    fn drain(&mut self, until: tokio::time::Instant, cx: &mut Context<'_>) {
        info!(open = self.node.open_transactions(), "node drains");
        self.drain_until = Some(self.drain_until.map_or(until, |before| before.min(until)));
        self.shared.state.send_replace(State::Draining);
        self.step(Input::Drain, cx);
    }

    /// Steps the core if its next timer is due; else sets this task's own timer for it. Returns
    /// true if it stepped, or if the task's timer has fired.
    fn wake(&mut self, cx: &mut Context<'_>) -> bool {
        let (now, mono_ms) = (tokio::time::Instant::now(), clock::now().mono_ms);
        let pause = match self.node.next_wake() {
            Some(wake) if wake <= mono_ms => {
                self.step(Input::Wake, cx);
                return true;
            }
            Some(wake) => Duration::from_millis(wake - mono_ms).min(SLEEP_MAX),
            None => SLEEP_MAX,
        };
        let until = self.drain_until.map_or(now + pause, |drain| drain.min(now + pause));
        // A sleep that ends too early does no harm, and a reset costs: reset only for an earlier
        // end.
        if until < self.sleep_until || self.sleep_until <= now {
            self.sleep_until = until;
            self.sleep.as_mut().reset(until);
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }

    fn is_over(&self) -> bool {
        let Some(until) = self.drain_until else { return self.abandoned };
        let idle = self.node.open_transactions() == 0
            && self.waiters.is_empty()
            && self.ready.is_empty()
            && self.flights.is_empty()
            && self.waiting.is_empty();
        self.abandoned || idle || tokio::time::Instant::now() >= until
    }

    /// Sets the gauges.
    fn show_levels(&self) {
        let meters = &self.shared.meters;
        meters.queue_len.set(self.queue.len() as u64);
        meters.open_transactions.set(self.node.open_transactions() as u64);
        meters.calls_open.set(self.flights.len() as u64);
        meters.calls_waiting.set(self.waiting.len() as u64);
        meters.cache_bytes.set(self.cache.bytes());
        meters.index_bytes.set(self.node.index_bytes() as u64);
        meters.transactions_bytes.set(self.node.transactions_bytes() as u64);
        meters.time_error_ms.set(self.node.time_error_ms());
        meters.time_ahead_ms.set(self.node.time_ahead_ms());
        let mark_ms = self.node.mark().time.ms().max(self.mark_ms);
        let age_ms = (mark_ms > 0).then(|| self.now.wall_ms.saturating_sub(mark_ms));
        meters.mark_age_s.set(age_ms.map(|ms| ms / 1_000));
        meters.show_costs(self.shared.store.costs().as_ref());
    }
}

impl Future for EventLoop {
    type Output = ();

    /// Runs one turn: all events that are there, up to [`TURN_STEPS_MAX`] steps.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut steps = 0;
        while steps < TURN_STEPS_MAX {
            let taken = this.take_ready(cx) + this.take_landed(cx) + this.take_queued(cx);
            if this.is_over() {
                this.show_levels();
                return Poll::Ready(());
            }
            steps += taken;
            if taken == 0 && !this.wake(cx) {
                this.show_levels();
                return Poll::Pending;
            }
            steps += usize::from(taken == 0);
        }
        // More may be waiting: yield to the runtime's other tasks, and ask to be polled again.
        this.show_levels();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
