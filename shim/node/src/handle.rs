//! A running node, as the doors see it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_core::ids::{AttemptId, NodeId};
use aft_core::message::{Bound, Refusal, Reply, Verb};
use aft_format::Times;
use aft_store::Store;
use futures::FutureExt as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, error, info, warn};

use crate::clock::{self, Deadline};
use crate::event_loop::{EventLoop, Item};
use crate::meters::Meters;
use crate::opening::{NewStore, Opened, open_store, times_refusal};
use crate::settings::NodeSettings;
use crate::stats::Stats;
use crate::waiters::Outcome;

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

/// What the handle and the loop share.
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
}

/// A running node. Clones name the same node; when the last one is dropped, the node stops.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    queue: mpsc::Sender<Item>,
    shared: Arc<Shared>,
}

/// Opens the store and starts a node on this runtime, as one task. A store that is empty is made.
///
/// # Errors
/// If the settings break a relation, or the store cannot be used or does not answer.
pub async fn start(store: Arc<dyn Store>, settings: NodeSettings) -> Result<NodeHandle, StartError> {
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
    let id = clock::fresh_node();
    let (exclusive, maintain) = (core.exclusive, settings.maintain);
    let (queue, items) = mpsc::channel(settings.queue_len_max);
    let meters = Meters::new(id, store.costs().as_ref());
    let shared = Arc::new(Shared {
        id,
        store,
        settings,
        meters,
        state: watch::Sender::new(State::Serving),
        cut_off: watch::Sender::new(0),
        opened,
        skew_max_ms: core.skew_max_ms,
        no_sweeps,
    });
    info!(node = %id, store = shared.store.url(), exclusive, maintain, "node starts");
    let event_loop = EventLoop::new(shared.clone(), core, items, mark_ms);
    tokio::spawn(guard(event_loop, shared.clone()).instrument(tracing::info_span!("node", id = %id)));
    Ok(NodeHandle { queue, shared })
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

impl NodeHandle {
    /// The node's identity, fresh at every start.
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// What the node is doing.
    pub fn ready(&self) -> State {
        *self.shared.state.borrow()
    }

    /// Why the store takes no more writes as long as this process lives, if something has put an end to them ([`aft_store::Store::ended`]).
    pub fn store_ended(&self) -> Option<String> {
        self.shared.store.ended()
    }

    /// Returns the store as it was found at the start.
    pub fn opened(&self) -> &Opened {
        &self.shared.opened
    }

    /// Returns the reason why the node takes no commits for now, if there is one: it does not know the store's time well enough.
    pub fn time_unsure(&self) -> Option<String> {
        let (error_ms, most_ms) = (self.shared.meters.time_error_ms.get()?, self.shared.skew_max_ms);
        (error_ms > most_ms).then(|| {
            format!("the store's time is known to {error_ms} ms only, and commits need {most_ms} ms: answers of the store disagree")
        })
    }

    /// Waits until the node has stopped.
    pub async fn stopped(&self) {
        self.wait_for(|state| *state == State::Stopped).await;
    }

    async fn wait_for(&self, condition: impl FnMut(&State) -> bool) -> State {
        let mut states = self.shared.state.subscribe();
        *states.wait_for(condition).await.expect("this handle holds the sender")
    }

    /// Asks the node. The future may be dropped: the verb is carried out all the same, but a transaction that nobody heard of is aborted.
    ///
    /// # Errors
    /// As the core refuses; [`Bound::VerbQueue`] if the queue is full; [`Refusal::NotServing`] if the node has stopped; and
    /// [`Refusal::Unknown`] if it stopped while this verb's commit may have been under way.
    pub async fn ask(&self, verb: Verb) -> Outcome {
        match self.ready() {
            State::Serving | State::Draining => {}
            State::Stopped => return Err(self.turned_away(Refusal::NotServing)),
        }
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Item::Ask { verb, reply, since: Instant::now() }) {
            Ok(()) => Asking { node: self, answer }.outcome().await,
            Err(TrySendError::Full(_)) => Err(self.turned_away(Refusal::Overloaded(Bound::VerbQueue))),
            Err(TrySendError::Closed(_)) => Err(self.turned_away(Refusal::NotServing)),
        }
    }

    /// Aborts a transaction that nobody heard of, or will. Unlike [`Verb::Abort`] it waits for its place in the queue: a full one must not leave
    /// the transaction open until its deadline. What has ended stays as it ended.
    pub async fn forget(&self, attempt: AttemptId) {
        // A stopped node has no open transactions.
        let _ = self.queue.send(Item::Forget(attempt)).await;
    }

    /// A verb is refused that the loop never sees.
    fn turned_away(&self, refusal: Refusal) -> Refusal {
        self.shared.meters.turned_away(&refusal);
        refusal
    }

    /// Starts sweeping from time to time, or stops. A node that does not wait long enough for others on its store does not start.
    pub async fn maintain(&self, on: bool) {
        if on && let Some(why) = &self.shared.no_sweeps {
            warn!(why, "this node does not sweep");
            return;
        }
        // A stopped node sweeps nothing.
        let _ = self.queue.send(Item::Upkeep(on)).await;
    }

    /// Returns the end of a transaction's time; `None` if it is not open.
    pub(crate) async fn open_until(&self, attempt: AttemptId) -> Option<Deadline> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Item::OpenUntil { attempt, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Opens no new transactions, finishes those that are open, and stops: at the deadline, whatever is left.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let until = tokio::time::Instant::now() + deadline;
        // A stopped node is drained.
        let _ = self.queue.send(Item::Drain { until }).await;
        self.wait_for(|state| *state == State::Stopped).await;
        Drained { cut_off: *self.shared.cut_off.borrow() }
    }

    /// What the node has done.
    pub fn stats(&self) -> Stats {
        self.shared.meters.stats()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// A caller that waits. If it leaves after the reply was sent and before it was read, nobody heard of the transaction that was opened.
struct Asking<'a> {
    node: &'a NodeHandle,
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
            let _ = self.node.queue.try_send(Item::Forget(attempt));
        }
    }
}
