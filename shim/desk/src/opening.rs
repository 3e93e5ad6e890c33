//! A transaction from its opening to its end, as a door drives it.
//!
//! Most calls are one verb to the node. A call that reads and commits is two: the values are
//! fetched before the commit, since a large value might be collected after it, and the call must
//! not fail once it has committed.

use std::time::Duration;

use aft_access::Right;
use aft_core::ids::{AttemptId, Fingerprint, Key, RequestHash, Session};
use aft_core::message::{Batch, Begin, CommitArgs, Committed, Isolation, Op, Read, Refusal, Replayed};
use aft_format::TransactionToken;
use aft_node::{Begun, Ended, NodeHandle, Ran};
use tracing::Span;

use crate::caller::{Caller, Place, check_name};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::reads::Reads;
use crate::refused::{Cause, Doubt, Refused, Result};

/// The timeout of a transaction that stays open as long as possible. The node shortens it to its
/// own maximum.
const LONGEST_MS: u64 = u64::MAX;

/// The arguments of an opening.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// The request's ID. Without one, this attempt is a request of its own.
    pub request_id: Option<String>,
    /// The scope of the ID.
    pub scope: Option<String>,
    /// The payload's fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// The longest time that the transaction stays open, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// True to wait for another open attempt of the request instead of running beside it.
    pub waits: bool,
    /// The longest wait, in milliseconds.
    pub wait_ms: Option<u64>,
    /// The commits that the client has seen.
    pub session: Session,
    /// The time for which the commit record is kept, in milliseconds.
    pub retention_ms: Option<u64>,
    /// True if first reads see every commit that was acknowledged before the begin.
    pub fresh: bool,
    /// The level at which the transaction runs.
    pub isolation: Option<Isolation>,
    /// The number of consecutive attempts of the request that ended in a conflict.
    pub conflicts: u32,
}

/// The kind of call that asked for a commit. It determines how the caller can ask for the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A call that is a whole request, with the ID and the scope that it gave.
    Whole {
        /// The request's ID, if it has one.
        id: Option<String>,
        /// Its scope.
        scope: Option<String>,
    },
    /// A call on an open transaction.
    Within,
}

/// A transaction that is about to be opened: its attempt and its place exist. If it is dropped,
/// nothing is opened.
#[derive(Debug)]
pub struct Ready {
    pub(crate) begin: Box<Begin>,
    pub(crate) held: Held,
    pub(crate) asked: Asked,
}

impl Opening {
    /// Checks the arguments, draws an attempt and takes a place for it. `first` is the first key
    /// that the transaction touches, if that is known: transactions on one key run on one node of
    /// the process.
    ///
    /// # Errors
    /// Returns [`Refused::Invalid`] or [`Refused::TooLong`] if an argument is wrong, and
    /// [`Refused::Denied`] if the caller may not open this transaction, or not now.
    pub fn prepare(self, caller: &Caller, first: Option<&Key>) -> Result<Ready> {
        caller.need_to_open()?;
        if let Some(scope) = &self.scope {
            check_name("a scope", scope)?;
        }
        if self.scope.is_some() && self.request_id.is_none() {
            return Err(Refused::Invalid("a scope needs a request ID, and the call has none: send a request ID as well, or leave the scope out".into()));
        }
        let (attempt, hash) = match &self.request_id {
            None => {
                let attempt = caller.fresh_attempt_near(first.map(|key| key.as_str().as_bytes()));
                (attempt, caller.own_hash(attempt))
            }
            // The commit of a request with an ID is stored even if it wrote nothing, so it needs
            // the right to write.
            Some(id) => {
                caller.need(Right::Write)?;
                if id.trim().is_empty() {
                    let why = "the request ID is blank, and all who send a blank one would share it: give one of at least one byte that is not white space, or leave it out";
                    return Err(Refused::Invalid(why.into()));
                }
                check_name("a request ID", id)?;
                Span::current().record("request", id.as_str());
                let hash = caller.request_hash(self.scope.as_deref().unwrap_or_default(), id);
                (caller.fresh_attempt_near(Some(&hash.0)), hash)
            }
        };
        let settings = caller.settings();
        let held = Held::new(caller, attempt)?;
        let begin = Box::new(Begin {
            attempt,
            hash,
            named: self.request_id.is_some(),
            fingerprint: self.fingerprint,
            timeout_ms: self.timeout_ms,
            wait_ms: self.wait_ms.unwrap_or(settings.wait_default_ms).min(settings.wait_max_ms),
            overlap: !self.waits,
            session: self.session,
            retention_ms: self.retention_ms,
            fresh: self.fresh,
            isolation: self.isolation,
            conflicts: self.conflicts,
            batch: Batch::default(),
        });
        let asked = Asked::Whole { id: self.request_id, scope: self.scope };
        Ok(Ready { begin, held, asked })
    }
}

impl Ready {
    /// Returns the attempt of the transaction.
    pub fn attempt(&self) -> AttemptId {
        self.begin.attempt
    }

    /// Opens the transaction, runs the plan in it, and commits if there are arguments for it.
    ///
    /// # Errors
    /// Returns the reason why the call failed. Then the transaction is aborted, unless the outcome
    /// of its commit is not known.
    pub async fn run(self, caller: &Caller, plan: Plan, commit: Option<CommitArgs>) -> Result<Outcome> {
        let Ready { mut begin, held, asked } = self;
        let attempt = begin.attempt;
        caller.load(attempt, &plan)?;
        // With reads, the commit is a second verb, sent once their values are fetched.
        begin.batch.commit = commit.clone().filter(|_| !plan.has_reads());
        begin.batch.ops = plan.into_ops();
        let begun = caller.node().begin(begin).await;
        let outcome = match begun.map_err(|refusal| caller.doubt(attempt, refusal, &asked))? {
            Begun::Committed { committed, reads } => {
                let reads = Reads::of_sums(reads, &committed);
                Outcome::Committed { committed, reads }
            }
            Begun::Replayed(replayed) => Outcome::Replayed(replayed),
            Begun::Open { remaining_ms, reads, .. } => {
                let reads = Reads::resolve(caller, reads).await?;
                match commit {
                    Some(args) => caller.commit(attempt, args, reads, &asked).await?,
                    None => Outcome::Open { token: caller.token(attempt), remaining_ms, reads },
                }
            }
        };
        match &outcome {
            Outcome::Open { remaining_ms, .. } => held.open(*remaining_ms),
            Outcome::Ran { .. } => unreachable!("an opening opens, commits or replays"),
            Outcome::Committed { .. } | Outcome::Replayed(_) => held.ended(),
        }
        Ok(outcome)
    }

    /// Reads one key in a transaction of its own, which has committed when this returns. If the
    /// value is collected before it is fetched, no harm is done: nothing was written.
    ///
    /// # Errors
    /// Returns the node's refusal.
    pub async fn read(self, caller: &Caller, key: Key) -> Result<(Read, Committed)> {
        let Ready { mut begin, held, .. } = self;
        begin.batch = Batch { ops: vec![Op::Get(key)], commit: Some(CommitArgs::default()) };
        let (reads, committed) = match caller.node().begin(begin).await? {
            Begun::Committed { committed, reads } => (reads, committed),
            begun => panic!("a read was answered {begun:?}"),
        };
        held.ended();
        Ok((only(reads), committed))
    }

    /// Reads one key in a transaction that stays open, at most for the longest timeout, until the
    /// returned [`Held`] is dropped. Meanwhile the value is not collected.
    ///
    /// # Errors
    /// Returns the node's refusal.
    pub async fn read_held(self, caller: &Caller, key: Key) -> Result<(Read, Held)> {
        let Ready { mut begin, held, .. } = self;
        begin.timeout_ms = Some(LONGEST_MS);
        begin.batch = Batch { ops: vec![Op::Get(key)], commit: None };
        match caller.node().begin(begin).await? {
            Begun::Open { reads, .. } => Ok((only(reads), held)),
            begun => panic!("a read was answered {begun:?}"),
        }
    }

    /// Opens the transaction and reads keys in it, without their values.
    ///
    /// # Errors
    /// Returns the node's refusal.
    pub async fn open(self, caller: &Caller, keys: Vec<Key>) -> Result<Opened> {
        let Ready { mut begin, held, asked } = self;
        let plan: Plan = keys.into_iter().map(Op::Get).collect();
        caller.load(begin.attempt, &plan)?;
        begin.batch = Batch { ops: plan.into_ops(), commit: None };
        match caller.node().begin(begin).await? {
            Begun::Open { reads, .. } => Ok(Opened::Open { reads, open: Open { held, asked } }),
            Begun::Replayed(replayed) => Ok(Opened::Replayed(replayed)),
            begun => panic!("an opening was answered {begun:?}"),
        }
    }

    /// Lets the transaction stay open for the longest timeout that the node allows.
    pub fn as_long_as_possible(&mut self) {
        self.begin.timeout_ms = Some(LONGEST_MS);
    }
}

/// The outcome of an opening that reads.
#[derive(Debug)]
pub enum Opened {
    /// The transaction is open.
    Open {
        /// One read for each key, in order.
        reads: Vec<Read>,
        /// The transaction.
        open: Open,
    },
    /// Another attempt of the request had committed.
    Replayed(Replayed),
}

/// An open transaction whose client does not know it. If it is dropped, it is aborted.
#[derive(Debug)]
pub struct Open {
    held: Held,
    asked: Asked,
}

impl Open {
    /// Returns the attempt of the transaction.
    pub fn attempt(&self) -> AttemptId {
        self.held.attempt
    }

    /// Runs a plan in the transaction, and commits it.
    ///
    /// # Errors
    /// Returns the reason why the transaction was not committed. Then it is aborted, unless the
    /// outcome of its commit is not known.
    pub async fn commit(self, caller: &Caller, plan: Plan, args: CommitArgs) -> Result<Outcome> {
        let outcome = caller.run(self.attempt(), plan, Some(args), &self.asked).await?;
        self.held.ended();
        Ok(outcome)
    }
}

/// Returns the one read of a batch with one get.
fn only(reads: Vec<Read>) -> Read {
    let mut reads = reads.into_iter();
    match (reads.next(), reads.next()) {
        (Some(read), None) => read,
        _ => panic!("one get has one read"),
    }
}

impl Caller {
    /// Runs a plan in an open transaction, and commits if there are arguments for it.
    ///
    /// # Errors
    /// Returns the reason why the call failed. The transaction stays as it was, unless the refusal
    /// says that it has ended.
    pub async fn run(
        &self,
        attempt: AttemptId,
        plan: Plan,
        commit: Option<CommitArgs>,
        asked: &Asked,
    ) -> Result<Outcome> {
        self.load(attempt, &plan)?;
        let at_once = commit.clone().filter(|_| !plan.has_reads());
        let ran = self.node().run(attempt, Batch { ops: plan.into_ops(), commit: at_once }).await;
        let reads = match ran.map_err(|refusal| self.doubt(attempt, refusal, asked))? {
            Ran::Open { reads } => reads,
            Ran::Committed { committed, reads } => {
                self.leave(attempt);
                let reads = Reads::of_sums(reads, &committed);
                return Ok(Outcome::Committed { committed, reads });
            }
            Ran::Replayed(replayed) => {
                self.leave(attempt);
                return Ok(Outcome::Replayed(replayed));
            }
        };
        let reads = Reads::resolve(self, reads).await?;
        match commit {
            Some(args) => self.commit(attempt, args, reads, asked).await,
            None => Ok(Outcome::Ran { reads }),
        }
    }

    /// Reads one key in an open transaction, without its value.
    ///
    /// # Errors
    /// Returns the reason why it was not read.
    pub async fn read(&self, attempt: AttemptId, key: Key) -> Result<Read> {
        aft_core::room!();
        let plan = Plan::of(Op::Get(key));
        self.load(attempt, &plan)?;
        match self.node().run(attempt, Batch { ops: plan.into_ops(), commit: None }).await? {
            Ran::Open { reads } => Ok(only(reads)),
            ran => panic!("a read was answered {ran:?}"),
        }
    }

    /// Commits an open transaction. `reads` are passed on to the outcome.
    ///
    /// # Errors
    /// Returns [`Refused::Doubt`] if the outcome is not known, [`Refused::Aborted`] if the
    /// transaction was aborted, or the reason why it was not committed.
    pub async fn commit(
        &self,
        attempt: AttemptId,
        args: CommitArgs,
        reads: Reads,
        asked: &Asked,
    ) -> Result<Outcome> {
        aft_core::room!();
        let answer = self.node().commit(attempt, args).await;
        if answer.as_ref().map_or_else(ends, |_| true) {
            self.leave(attempt);
        }
        match answer {
            Ok(Ended::Committed(committed)) => Ok(Outcome::Committed { committed, reads }),
            Ok(Ended::Replayed(replayed)) => Ok(Outcome::Replayed(replayed)),
            // The commit of a transaction that has committed, or is committing, returns the
            // outcome, and one that has expired is lost. So this transaction was aborted.
            Err(Refusal::Ended) => Err(Refused::Aborted),
            Err(refusal) => Err(self.doubt(attempt, refusal, asked)),
        }
    }

    /// Asks for the outcome of a transaction of another node; its commit record decides.
    /// `request` is the request's hash, if the caller repeats the request's ID.
    ///
    /// # Errors
    /// Returns the errors of [`Caller::commit`]. The doubt's cause is [`Cause::NodeElsewhere`] if
    /// there is no record yet.
    pub async fn commit_elsewhere(
        &self,
        token: &TransactionToken,
        request: Option<RequestHash>,
    ) -> Result<Outcome> {
        let attempt = token.attempt;
        let request = request.unwrap_or_else(|| self.own_hash(attempt));
        let args = CommitArgs { result: None, request: Some(request) };
        match self.node().commit(attempt, args).await {
            Ok(Ended::Committed(committed)) => Ok(Outcome::Committed { committed, reads: Reads::default() }),
            Ok(Ended::Replayed(replayed)) => Ok(Outcome::Replayed(replayed)),
            // The token names the node that it is of, so that the caller can ask there.
            Err(Refusal::Unknown(_)) => Err(Refused::Doubt(Box::new(Doubt {
                token: *token,
                cause: Cause::NodeElsewhere,
                asked: Asked::Within,
            }))),
            Err(refusal) => Err(self.doubt(attempt, refusal, &Asked::Within)),
        }
    }

    /// Aborts an open transaction.
    ///
    /// # Errors
    /// Returns the node's refusal.
    pub async fn abort(&self, attempt: AttemptId) -> Result<()> {
        self.node().abort(attempt).await?;
        self.leave(attempt);
        Ok(())
    }

    /// Converts a refusal of the node. An unknown outcome becomes a [`Doubt`], with the means to
    /// ask again.
    fn doubt(&self, attempt: AttemptId, refusal: Refusal, asked: &Asked) -> Refused {
        let cause = match refusal {
            Refusal::Unknown(_) => Cause::NoAnswer(self.node().why_silent(attempt)),
            Refusal::UnknownDamaged(_, what) => Cause::Damaged(what),
            refusal => return refusal.into(),
        };
        Refused::Doubt(Box::new(Doubt { token: self.token(attempt), cause, asked: asked.clone() }))
    }

    /// Returns the token of a transaction on this node.
    pub fn token(&self, attempt: AttemptId) -> TransactionToken {
        TransactionToken { node: self.node().id(), attempt }
    }
}

/// Returns true if a commit that fails with `refusal` ends its transaction. A transaction that may
/// go on keeps its place until its deadline.
fn ends(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Conflict(_)
        | Refusal::Lost
        | Refusal::KeyReused
        | Refusal::ResultGone
        | Refusal::NotFound
        | Refusal::Ended => true,
        Refusal::SnapshotGone(_)
        | Refusal::ConditionFailed(_)
        | Refusal::Overloaded(_)
        | Refusal::StoreUnavailable(_)
        | Refusal::InProgress { .. }
        | Refusal::Unknown(_)
        | Refusal::UnknownDamaged(..)
        | Refusal::NotServing
        | Refusal::TooLarge(_)
        | Refusal::Invalid(_)
        | Refusal::Damaged(_)
        | Refusal::SessionLost(_) => false,
    }
}

/// The place of a transaction. If it is dropped, the transaction is aborted: its client will never
/// learn of it, because the call failed or the client disconnected, or the transaction was only
/// open for a reply that has been sent.
#[derive(Debug)]
pub struct Held {
    node: NodeHandle,
    attempt: AttemptId,
    /// `None` once there is nothing to abort.
    place: Option<Place>,
}

impl Held {
    fn new(caller: &Caller, attempt: AttemptId) -> Result<Held> {
        let place = Some(caller.enter(attempt)?);
        Ok(Held { node: caller.node().clone(), attempt, place })
    }

    /// Gives back the place of a transaction that has ended.
    pub(crate) fn ended(mut self) {
        self.place = None;
    }

    /// Leaves the transaction open for at most `remaining_ms`: its client learns of it.
    fn open(mut self, remaining_ms: u64) {
        let place = self.place.take().expect("the place is taken when the guard goes");
        place.stay(Duration::from_millis(remaining_ms));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let (node, attempt) = (self.node.clone(), self.attempt);
        // Usually there is nothing to abort, and the node says so. A commit is not undone.
        tokio::spawn(async move {
            node.forget(attempt).await;
            drop(place);
        });
    }
}
