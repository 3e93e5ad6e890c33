//! A running node, as the doors see it.

use std::any::Any;
use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aft_core::ids::{AttemptId, NodeId};
use aft_core::message::{Bound, Refusal, Reply, Verb};
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
use crate::meters::Meters;
use crate::opening::{NewStore, Opened, open_store, times_refusal};
use crate::settings::{NodeSettings, core_shared_by};
use crate::stats::Stats;
use crate::waiters::Outcome;

/// Nodes of one process: a byte of an attempt tells them apart, and leaves each a fair share.
const NODES_MAX: usize = 64;

/// Why a node does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The settings break a relation; the text names it and the remedy.
    #[error("settings: {0}")]
    Settings(String),
    /// The store cannot be used by this program; the text says why, and the remedy.
    #[error("{0}")]
    Refused(String),
    /// The store does not answer, or refuses; the text names it.
    #[error("the store cannot be opened: {0}")]
    Unavailable(String),
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Serving,
    /// It opens no new transactions, and finishes those that are open.
    Draining,
    /// It has ended: drained, or broken.
    Stopped,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Transactions that were open at the deadline, and are lost.
    pub cut_off: usize,
}

/// The state that a handle and a loop share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: NodeSettings,
    pub(crate) meters: Meters,
    pub(crate) state: watch::Sender<State>,
    /// Set once by the loop's end: transactions that were still open.
    cut_off: watch::Sender<usize>,
    /// The store as it was found at the start.
    pub(crate) opened: Opened,
    /// The largest error of the store's time with which the core commits.
    skew_max_ms: u64,
    /// The reason why this node must not sweep.
    no_sweeps: Option<String>,
    /// The queues of the other nodes of this process. They end with their handles.
    pub(crate) peers: OnceLock<Vec<mpsc::WeakSender<Item>>>,
}

/// One node of a handle.
#[derive(Debug, Clone)]
struct Member {
    queue: mpsc::Sender<Item>,
    shared: Arc<Shared>,
}

/// A running node, or several of one process on one store. Clones name the same; when the last one is dropped, it stops.
///
/// A transaction is its node's from begin to end: the last byte of its attempt says which one that is ([`NodeHandle::is_near`]).
#[derive(Debug, Clone)]
pub struct NodeHandle {
    members: Arc<[Member]>,
}

/// Opens the store and starts a node on this runtime, as one task. A store that is empty is made.
///
/// # Errors
/// If the settings break a relation, or the store cannot be used or does not answer.
pub async fn start(store: Arc<dyn Store>, settings: NodeSettings) -> Result<NodeHandle, StartError> {
    start_several(store, settings, NonZeroUsize::MIN).await
}

/// Opens the store and starts so many nodes on this runtime, each as a task, behind one handle. They are peers, as nodes on other machines
/// are, and hear of each other's commits at once. They share the bounds on memory, calls and transactions; the first one sweeps.
///
/// # Errors
/// As [`start`]; and if there is to be more than one on a store that one process holds: there a single node must know of every commit.
pub async fn start_several(
    store: Arc<dyn Store>,
    settings: NodeSettings,
    count: NonZeroUsize,
) -> Result<NodeHandle, StartError> {
    let count = count.get();
    if count > 1 && settings.core.exclusive {
        return Err(StartError::Settings(format!(
            "{count} nodes on {}, which one process holds: a single node must know of every commit there",
            store.url()
        )));
    }
    if count > NODES_MAX {
        return Err(StartError::Settings(format!(
            "{count} nodes in one process: at most {NODES_MAX} are possible"
        )));
    }
    let mut core = settings.scaled_core()?;
    let times = Times::of(&core);
    let new = NewStore { race: settings.race, times, levels: core.levels.clone() };
    let opened = open_store(&*store, &new, settings.timeouts.read).await?;
    let mut no_sweeps = None;
    let mark_ms = match &opened {
        Opened::Marked { mark, about, .. } => {
            if let Some(why) = times_refusal(about, &times, settings.maintain) {
                return Err(StartError::Refused(format!("{}: {why}", store.url())));
            }
            no_sweeps = times_refusal(about, &times, true);
            core.levels = about.levels.clone();
            mark.time.ms().max(about.made_ms)
        }
        Opened::Unmarked(why) => {
            core.levels_known = core.exclusive;
            match core.levels_known {
                true => warn!(why, "the store has no mark: it is served, and nothing is collected"),
                false => warn!(
                    why,
                    "the store has no mark, and the levels of its keys are not known: it is read, and nothing is \
                     written or collected"
                ),
            }
            0
        }
    };
    let share = settings.shared_by(count);
    let core = core_shared_by(core, count);
    let started = (0..count).map(|at| {
        let settings = NodeSettings { maintain: settings.maintain && at == 0, ..share.clone() };
        let (queue, items) = mpsc::channel(settings.queue_len_max);
        let id = clock::fresh_node();
        let shared = Arc::new(Shared {
            id,
            meters: Meters::new(id, store.costs().as_ref().filter(|_| at == 0)),
            store: store.clone(),
            settings,
            state: watch::Sender::new(State::Serving),
            cut_off: watch::Sender::new(0),
            opened: opened.clone(),
            skew_max_ms: core.skew_max_ms,
            no_sweeps: no_sweeps.clone(),
            peers: OnceLock::new(),
        });
        let event_loop = EventLoop::new(shared.clone(), core.clone(), items, mark_ms);
        (Member { queue, shared }, event_loop)
    });
    let (members, loops): (Vec<Member>, Vec<EventLoop>) = started.unzip();
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

/// Runs the loop; if it breaks, says so and turns everybody away instead of hanging.
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
            Ok(()) => Asking { member: self, answer }.outcome().await,
            Err(TrySendError::Full(_)) => Err(self.turned_away(Refusal::Overloaded(Bound::VerbQueue))),
            Err(TrySendError::Closed(_)) => Err(self.turned_away(Refusal::NotServing)),
        }
    }

    /// A verb is refused that the loop never sees.
    fn turned_away(&self, refusal: Refusal) -> Refusal {
        self.shared.meters.turned_away(&refusal);
        refusal
    }

    /// Opens no new transactions, finishes those that are open, and stops. Returns how many were cut off.
    async fn drain(&self, until: tokio::time::Instant) -> usize {
        // A stopped node is drained.
        let _ = self.queue.send(Item::Drain { until }).await;
        self.wait_for(|state| *state == State::Stopped).await;
        *self.shared.cut_off.borrow()
    }
}

impl NodeHandle {
    /// The identity of the process's first node, which stands for all of them; fresh at every start.
    pub fn id(&self) -> NodeId {
        self.shared().id
    }

    /// Returns the state of the nodes: stopped, as soon as one of them is.
    pub fn ready(&self) -> State {
        let states = self.members.iter().map(Member::state);
        let furthest = states.max_by_key(|state| match state {
            State::Serving => 0,
            State::Draining => 1,
            State::Stopped => 2,
        });
        furthest.expect("a handle has a node")
    }

    /// Returns true if a transaction with this attempt runs where others run that were opened for the same text, such as a request or a key:
    /// those meet in one node's memory, and not in the store. With a single node, always.
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

    /// Why the store takes no more writes as long as this process lives, if something has put an end to them ([`aft_store::Store::ended`]).
    pub fn store_ended(&self) -> Option<String> {
        self.shared().store.ended()
    }

    /// Returns the store as it was found at the start.
    pub fn opened(&self) -> &Opened {
        &self.shared().opened
    }

    /// Returns the reason why the node takes no commits for now, if there is one: it does not know the store's time well enough.
    pub fn time_unsure(&self) -> Option<String> {
        let errors = self.members.iter().filter_map(|member| member.shared.meters.time_error_ms.get());
        let (error_ms, most_ms) = (errors.max()?, self.shared().skew_max_ms);
        (error_ms > most_ms).then(|| {
            format!("the store's time is known to {error_ms} ms only, and commits need {most_ms} ms: answers of the store disagree")
        })
    }

    /// Waits until every node has stopped.
    pub async fn stopped(&self) {
        for member in &*self.members {
            member.wait_for(|state| *state == State::Stopped).await;
        }
    }

    /// Asks the node. The future may be dropped: the verb is carried out all the same, but a transaction that nobody heard of is aborted.
    ///
    /// # Errors
    /// As the core refuses; [`Bound::VerbQueue`] if the queue is full; [`Refusal::NotServing`] if the node has stopped; and
    /// [`Refusal::Unknown`] if it stopped while this verb's commit may have been under way.
    pub(crate) async fn ask(&self, verb: Verb) -> Outcome {
        let member = match &verb {
            Verb::Begin(begin) => self.member(begin.attempt),
            Verb::Run(attempt, _) | Verb::List(attempt, _) | Verb::Commit(attempt, _) => {
                self.member(*attempt)
            }
            Verb::ReserveBlob(attempt) | Verb::Abort(attempt) | Verb::LookUpOf(attempt, _) => {
                self.member(*attempt)
            }
            // Any of them may ask the store.
            Verb::LookUp(hash) => &self.members[usize::from(hash.0[0]) % self.members.len()],
        };
        member.ask(verb).await
    }

    /// Aborts a transaction that nobody heard of, or will. Unlike [`Verb::Abort`] it waits for its place in the queue: a full one must not leave
    /// the transaction open until its deadline. What has ended stays as it ended.
    pub async fn forget(&self, attempt: AttemptId) {
        // A stopped node has no open transactions.
        let _ = self.member(attempt).queue.send(Item::Forget(attempt)).await;
    }

    /// Starts sweeping from time to time, or stops: one node of them. One that does not wait long enough for others on its store does not start.
    pub async fn maintain(&self, on: bool) {
        let first = &self.members[0];
        if on && let Some(why) = &first.shared.no_sweeps {
            warn!(why, "this node does not sweep");
            return;
        }
        // A stopped node sweeps nothing.
        let _ = first.queue.send(Item::Upkeep(on)).await;
    }

    /// Returns the end of a transaction's time; `None` if it is not open.
    pub(crate) async fn open_until(&self, attempt: AttemptId) -> Option<Deadline> {
        let (reply, answer) = oneshot::channel();
        self.member(attempt).queue.send(Item::OpenUntil { attempt, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Opens no new transactions, finishes those that are open, and stops: at the deadline, whatever is left.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let until = tokio::time::Instant::now() + deadline;
        let cut_off = join_all(self.members.iter().map(|member| member.drain(until))).await;
        Drained { cut_off: cut_off.into_iter().sum() }
    }

    /// Returns the counts of all nodes, together.
    pub fn stats(&self) -> Stats {
        let stats = self.members.iter().map(|member| member.shared.meters.stats());
        stats.reduce(|all, more| all.with(&more)).expect("a handle has a node")
    }

    /// Returns the first node's share of the state: settings and store are the same for all.
    pub(crate) fn shared(&self) -> &Shared {
        &self.members[0].shared
    }
}

/// A caller that waits. If it leaves after the reply was sent and before it was read, nobody heard of the transaction that was opened.
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
