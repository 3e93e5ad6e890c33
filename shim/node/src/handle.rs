//! Starting nodes, and [`NodeHandle`], through which the doors use them.

use std::any::Any;
use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aft_core::ids::{AttemptId, Key, NodeId};
use aft_core::message::{Bound, Refusal, Reply, Verb};
use aft_core::settings::Settings;
use aft_format::Times;
use aft_store::Store;
use foldhash::fast::FixedState;
use futures::FutureExt as _;
use futures::future::join_all;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, error, info, warn};

use crate::clock::{self, Deadline};
use crate::event_loop::{EventLoop, Item};
use crate::health::Health;
use crate::meters::Meters;
use crate::opening::{NewStore, Opened, open_store, times_refusal};
use crate::settings::{NodeSettings, core_shared_by};
use crate::stats::Stats;
use crate::waiters::Outcome;

/// The most nodes in one process. The last byte of an attempt's UUID picks the node; up to this
/// number, each node gets nearly the same share of the 256 values.
const NODES_MAX: usize = 64;

/// The reason why a node does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other; the text names the settings and the remedy.
    #[error("settings: {0}")]
    Settings(String),
    /// This program cannot use the store; the text says why, and names the remedy.
    #[error("{0}")]
    Refused(String),
    /// The store does not answer, or rejects the calls; the text names the store.
    #[error("the store cannot be opened: {0}")]
    Unavailable(String),
}

/// The state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The node serves all verbs.
    Serving,
    /// The node opens no new transactions, and finishes those that are open.
    Draining,
    /// The node has ended: it was drained, or an invariant was broken.
    Stopped,
}

/// The outcome of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// The number of transactions that were still open at the deadline, and are lost.
    pub cut_off: usize,
}

/// The state that a handle and a loop share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: NodeSettings,
    pub(crate) meters: Meters,
    pub(crate) health: Health,
    pub(crate) state: watch::Sender<State>,
    /// The number of transactions that were open when the loop ended; set once, at its end.
    cut_off: watch::Sender<usize>,
    /// The store's description of itself, as it was found at the start.
    pub(crate) opened: Opened,
    /// The largest error of the store's time at which the core still commits.
    skew_max_ms: u64,
    /// The time after which an attempt is over, and the pause between sweeps.
    over_after: Duration,
    sweep_interval: Duration,
    /// The reason why this node must not sweep, if there is one.
    no_sweeps: Option<String>,
    /// The queues of the other nodes of this process. The references are weak, so that a node still
    /// stops when its last handle is dropped.
    pub(crate) peers: OnceLock<Vec<mpsc::WeakSender<Item>>>,
}

/// One node of a handle.
#[derive(Debug, Clone)]
struct Member {
    queue: mpsc::Sender<Item>,
    shared: Arc<Shared>,
}

/// A running node, or several nodes of one process on one store. Clones refer to the same nodes;
/// when the last clone is dropped, the nodes stop.
///
/// A transaction stays on one node from begin to end: the last byte of its attempt picks the node
/// ([`NodeHandle::is_near`]).
#[derive(Debug, Clone)]
pub struct NodeHandle {
    members: Arc<[Member]>,
}

/// Opens the store and starts a node on the current runtime, as one task. An empty store gets its
/// description first.
///
/// # Errors
/// Returns [`StartError::Settings`] if the settings contradict each other, [`StartError::Refused`]
/// if this program cannot use the store, and [`StartError::Unavailable`] if the store does not
/// answer.
pub async fn start(store: Arc<dyn Store>, settings: NodeSettings) -> Result<NodeHandle, StartError> {
    start_several(store, settings, NonZeroUsize::MIN).await
}

/// Opens the store and starts `count` nodes on the current runtime, each as a task, behind one
/// handle. They are peers, as nodes on other machines are, and hear of each other's commits at
/// once. They share the bounds on memory, calls and transactions; the first one sweeps.
///
/// # Errors
/// Returns the errors of [`start`]; also [`StartError::Settings`] if `count` is above 64, or above
/// one on a store that one process holds, where a single node must know of every commit.
pub async fn start_several(
    store: Arc<dyn Store>,
    settings: NodeSettings,
    count: NonZeroUsize,
) -> Result<NodeHandle, StartError> {
    let count = count.get();
    if count > 1 && settings.core.exclusive {
        return Err(StartError::Settings(format!(
            "cannot start {count} nodes on {}: one process holds this store, and a single node must know of every \
             commit there; start one node",
            store.url()
        )));
    }
    if count > NODES_MAX {
        return Err(StartError::Settings(format!(
            "cannot start {count} nodes in one process: the most is {NODES_MAX}"
        )));
    }
    let core = settings.scaled_core()?;
    let new = NewStore { race: settings.race, times: Times::of(&core), levels: core.levels.clone() };
    let opened = open_store(&*store, &new, settings.timeouts.read).await?;
    start_on(store, settings, core, opened, count)
}

/// Starts a node on a store whose description was read before, and sends nothing to the store: for
/// nodes that live inside functions, whose starts somebody waits for.
///
/// # Errors
/// Returns [`StartError::Settings`] if the settings contradict each other, and
/// [`StartError::Refused`] if this program cannot use the store.
pub fn start_described(
    store: Arc<dyn Store>,
    settings: NodeSettings,
    opened: Opened,
) -> Result<NodeHandle, StartError> {
    let core = settings.scaled_core()?;
    start_on(store, settings, core, opened, 1)
}

/// Starts `count` nodes on a store with the description `opened`.
fn start_on(
    store: Arc<dyn Store>,
    settings: NodeSettings,
    mut core: Settings,
    opened: Opened,
    count: usize,
) -> Result<NodeHandle, StartError> {
    let times = Times::of(&core);
    // A node whose times differ from the store's must not work on it, or must at least not sweep:
    // the nodes of a store rely on each other's deadlines.
    let mut no_sweeps = None;
    let mark_ms = match &opened {
        Opened::Marked { mark, about, .. } => {
            if let Some(why) = times_refusal(about, &times, settings.maintain) {
                return Err(StartError::Refused(format!("{}: {why}", store.url())));
            }
            no_sweeps = times_refusal(about, &times, true);
            // The levels of an existing store count, not those of the settings.
            core.levels = about.levels.clone();
            mark.time.ms().max(about.made_ms)
        }
        Opened::Unmarked(why) => {
            // The levels of keys are lost together with the mark. On a store that one process holds
            // there are none.
            core.levels_known = core.exclusive;
            match core.levels_known {
                true => warn!(why, "the store has no mark: the node serves it, but collects nothing"),
                false => warn!(
                    why,
                    "the store has no mark, and the levels of its keys are not known: the node serves reads, but writes \
                     and collects nothing"
                ),
            }
            0
        }
    };
    // The first node alone sweeps, and exports the costs of the store, which all nodes share.
    let share = settings.shared_by(count);
    let core = core_shared_by(core, count);
    let started = (0..count).map(|at| {
        let settings = NodeSettings { maintain: settings.maintain && at == 0, ..share.clone() };
        let (queue, items) = mpsc::channel(settings.queue_len_max);
        let id = clock::fresh_node();
        let shared = Arc::new(Shared {
            id,
            health: Health::new(&id.to_string()),
            meters: Meters::new(id, store.costs().as_ref().filter(|_| at == 0)),
            store: store.clone(),
            settings,
            state: watch::Sender::new(State::Serving),
            cut_off: watch::Sender::new(0),
            opened: opened.clone(),
            skew_max_ms: core.skew_max_ms,
            over_after: Duration::from_millis(core.over_after_ms()),
            sweep_interval: Duration::from_millis(core.sweep_interval_ms),
            no_sweeps: no_sweeps.clone(),
            peers: OnceLock::new(),
        });
        let event_loop = EventLoop::new(shared.clone(), core.clone(), items, mark_ms);
        (Member { queue, shared }, event_loop)
    });
    let (members, loops): (Vec<Member>, Vec<EventLoop>) = started.unzip();
    // Each node gets the queues of the others before its loop runs.
    for (at, (member, event_loop)) in members.iter().zip(loops).enumerate() {
        let others = members.iter().enumerate().filter(|(other, _)| *other != at);
        let peers = others.map(|(_, peer)| peer.queue.downgrade()).collect();
        let shared = member.shared.clone();
        shared.peers.set(peers).expect("peers are set once");
        let (exclusive, maintain) = (core.exclusive, shared.settings.maintain);
        info!(node = %shared.id, store = shared.store.url(), exclusive, maintain, "node starts");
        let span = tracing::info_span!("node", id = %shared.id);
        tokio::spawn(guard(event_loop, shared).instrument(span));
    }
    Ok(NodeHandle { members: members.into() })
}

/// Runs the loop. If it panics, logs the panic and marks the node as stopped, so that callers get
/// an answer instead of hanging.
async fn guard(mut event_loop: EventLoop, shared: Arc<Shared>) {
    let ended = AssertUnwindSafe(&mut event_loop).catch_unwind().await;
    let open = event_loop.open_transactions();
    match ended {
        Ok(()) => info!(node = %shared.id, open, "node stopped"),
        Err(panic) => {
            error!(node = %shared.id, open, panic = text_of(&*panic), "the node broke an invariant and stopped: restart it");
        }
    }
    shared.cut_off.send_replace(open);
    shared.state.send_replace(State::Stopped);
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

impl Member {
    fn state(&self) -> State {
        *self.shared.state.borrow()
    }

    async fn wait_for(&self, condition: impl FnMut(&State) -> bool) -> State {
        let mut states = self.shared.state.subscribe();
        *states.wait_for(condition).await.expect("this handle holds the sender")
    }

    async fn ask(&self, verb: Verb) -> Outcome {
        match self.state() {
            State::Serving | State::Draining => {}
            State::Stopped => return Err(self.turned_away(Refusal::NotServing)),
        }
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Item::Ask { verb, reply, since: Instant::now() }) {
            Ok(()) => self.with_cause(Asking { member: self, answer }.outcome().await),
            Err(TrySendError::Full(_)) => Err(self.turned_away(Refusal::Overloaded(Bound::VerbQueue))),
            Err(TrySendError::Closed(_)) => Err(self.turned_away(Refusal::NotServing)),
        }
    }

    /// Adds the reason why the store does not answer to a refusal that only says that it does not.
    fn with_cause(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Err(Refusal::StoreUnavailable(text)) => {
                let cause = self.shared.health.why_silent().filter(|cause| !text.contains(cause.as_str()));
                Err(Refusal::StoreUnavailable(match cause {
                    Some(cause) => format!("{text}: {cause}"),
                    None => text,
                }))
            }
            outcome => outcome,
        }
    }

    /// Counts a verb that is rejected before it reaches the loop, and returns `refusal`.
    fn turned_away(&self, refusal: Refusal) -> Refusal {
        self.shared.meters.turned_away(&refusal);
        refusal
    }

    /// Opens no new transactions, finishes those that are open, and stops at the latest at `until`.
    /// Returns the number of transactions that were cut off.
    async fn drain(&self, until: tokio::time::Instant) -> usize {
        // The queue of a node that has stopped is closed; it is drained already.
        let _ = self.queue.send(Item::Drain { until }).await;
        self.wait_for(|state| *state == State::Stopped).await;
        *self.shared.cut_off.borrow()
    }
}

impl NodeHandle {
    /// Returns the identity of the process's first node, which is used for all of them. It is fresh
    /// at every start.
    pub fn id(&self) -> NodeId {
        self.shared().id
    }

    /// Returns the state of the nodes: the furthest of them all, so `Stopped` as soon as one node
    /// has stopped.
    pub fn ready(&self) -> State {
        let states = self.members.iter().map(Member::state);
        let furthest = states.max_by_key(|state| match state {
            State::Serving => 0,
            State::Draining => 1,
            State::Stopped => 2,
        });
        furthest.expect("a handle has a node")
    }

    /// Returns true if the node that `attempt` is pinned to is the preferred node for `text`, such
    /// as a request ID or a key. Transactions that are opened for the same text on the same node
    /// meet in that node's memory, and not in the store. With a single node, always true.
    pub fn is_near(&self, attempt: AttemptId, text: &[u8]) -> bool {
        let place = FixedState::default().hash_one(text) % self.members.len() as u64;
        self.place(attempt) as u64 == place
    }

    fn place(&self, attempt: AttemptId) -> usize {
        usize::from(attempt.0[15]) % self.members.len()
    }

    fn member(&self, attempt: AttemptId) -> &Member {
        &self.members[self.place(attempt)]
    }

    /// Returns the reason why the store does not answer the calls of a transaction's node, while it
    /// does not.
    pub fn why_silent(&self, attempt: AttemptId) -> Option<String> {
        self.member(attempt).shared.health.why_silent()
    }

    /// Returns the reason why the store takes no more writes for the rest of this process's life,
    /// if something has ended them ([`aft_store::Store::ended`]).
    pub fn store_ended(&self) -> Option<String> {
        self.shared().store.ended()
    }

    /// Returns the store's description of itself, as it was found at the start.
    pub fn opened(&self) -> &Opened {
        &self.shared().opened
    }

    /// Returns the time after which an attempt is over: no call that it made can take effect any
    /// more.
    pub fn over_after(&self) -> Duration {
        self.shared().over_after
    }

    /// Returns the pause between two sweeps.
    pub fn sweep_interval(&self) -> Duration {
        self.shared().sweep_interval
    }

    /// Returns true if this process holds the store alone.
    pub fn is_exclusive(&self) -> bool {
        self.shared().settings.core.exclusive
    }

    /// Returns true if a serializable transaction can write a key. Where several processes share
    /// the store, that depends on the key's prefix.
    pub fn is_checked(&self, key: &Key) -> bool {
        match self.opened() {
            Opened::Marked { about, .. } => self.is_exclusive() || about.levels.checks(key),
            // Nothing can be written there, and the core says why.
            Opened::Unmarked(_) => true,
        }
    }

    /// Returns the reason why the node takes no commits for now, if there is one: it does not know
    /// the store's time well enough.
    pub fn time_unsure(&self) -> Option<String> {
        let errors = self.members.iter().filter_map(|member| member.shared.meters.time_error_ms.get());
        let (error_ms, most_ms) = (errors.max()?, self.shared().skew_max_ms);
        (error_ms > most_ms).then(|| {
            format!("the store's time is only known to within {error_ms} ms, and commits need {most_ms} ms: answers of the store disagree")
        })
    }

    /// Waits until every node has stopped.
    pub async fn stopped(&self) {
        for member in &*self.members {
            member.wait_for(|state| *state == State::Stopped).await;
        }
    }

    /// Sends a verb to its node and waits for the reply. If the future is dropped, the verb is
    /// still carried out, but a transaction that it opened is aborted, since no caller knows of it.
    ///
    /// # Errors
    /// Returns the core's refusals; [`Refusal::Overloaded`] with [`Bound::VerbQueue`] if the queue
    /// is full; [`Refusal::NotServing`] if the node has stopped; and [`Refusal::Unknown`] if it
    /// stopped while this verb's commit may have been in flight.
    pub(crate) async fn ask(&self, verb: Verb) -> Outcome {
        aft_core::room!();
        let member = match &verb {
            Verb::Begin(begin) => self.member(begin.attempt),
            Verb::Run(attempt, _) | Verb::List(attempt, _) | Verb::Commit(attempt, _) => {
                self.member(*attempt)
            }
            Verb::ReserveBlob(attempt) | Verb::Abort(attempt) | Verb::LookUpOf(attempt, _) => {
                self.member(*attempt)
            }
            // Any node may query the store; the hash spreads the look-ups.
            Verb::LookUp(hash) => &self.members[usize::from(hash.0[0]) % self.members.len()],
        };
        member.ask(verb).await
    }

    /// Aborts a transaction of which no caller knows. Unlike [`Verb::Abort`] it waits for a place
    /// in the queue: a full queue must not leave the transaction open until its deadline. A
    /// transaction that has ended already keeps its outcome.
    pub async fn forget(&self, attempt: AttemptId) {
        // A stopped node has no open transactions.
        let _ = self.member(attempt).queue.send(Item::Forget(attempt)).await;
    }

    /// Starts or stops the regular sweeps of the first node. A node whose times are shorter than
    /// the store's description allows does not start: it would not wait long enough for other
    /// nodes.
    pub async fn maintain(&self, on: bool) {
        let first = &self.members[0];
        if on && let Some(why) = &first.shared.no_sweeps {
            warn!(why, "this node does not sweep");
            return;
        }
        // The queue of a node that has stopped is closed; it sweeps nothing.
        let _ = first.queue.send(Item::Upkeep(on)).await;
    }

    /// Returns the end of a transaction's time; `None` if it is not open.
    pub(crate) async fn open_until(&self, attempt: AttemptId) -> Option<Deadline> {
        let (reply, answer) = oneshot::channel();
        self.member(attempt).queue.send(Item::OpenUntil { attempt, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Opens no new transactions, finishes those that are open, and stops all nodes. What is still
    /// open after `deadline` is cut off.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let until = tokio::time::Instant::now() + deadline;
        let cut_off = join_all(self.members.iter().map(|member| member.drain(until))).await;
        Drained { cut_off: cut_off.into_iter().sum() }
    }

    /// Returns the summed counts of all nodes.
    pub fn stats(&self) -> Stats {
        let stats = self.members.iter().map(|member| member.shared.meters.stats());
        stats.reduce(|all, more| all.with(&more)).expect("a handle has a node")
    }

    /// Returns the health of the store as each node sees it.
    pub(crate) fn all_health(&self) -> impl Iterator<Item = &Health> {
        self.members.iter().map(|member| &member.shared.health)
    }

    /// Returns the first node's share of the state: settings and store are the same for all.
    pub(crate) fn shared(&self) -> &Shared {
        &self.members[0].shared
    }
}

/// A caller that waits for a reply. If it is dropped after the reply was sent and before it was
/// read, it aborts the transaction that the reply opened, since no caller knows of it.
struct Asking<'a> {
    member: &'a Member,
    answer: oneshot::Receiver<Outcome>,
}

impl Asking<'_> {
    async fn outcome(mut self) -> Outcome {
        (&mut self.answer).await.unwrap_or(Err(Refusal::NotServing))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Ok(Ok(Reply::Begun { attempt, committed: None, .. })) = self.answer.try_recv() {
            // If the queue is full, the transaction ends at its deadline.
            let _ = self.member.queue.try_send(Item::Forget(attempt));
        }
    }
}
