//! A transaction from its opening to its end, as a door drives it.
//!
//! Most calls are one question to the node. A call that reads and commits is two: the values are
//! fetched before the commit, since a large value might be gone after it, and the call must not
//! fail once it has committed.

use std::time::Duration;

use aft_access::Right;
use aft_core::ids::{AttemptId, Fingerprint, Key, RequestHash, Session};
use aft_core::message::{Batch, Begin, CommitArgs, Committed, Isolation, Op, Read, Refusal};
use aft_format::TransactionToken;
use aft_node::{Begun, Ended, NodeHandle, Ran};
use tracing::Span;

use crate::caller::{Caller, Place, check_name};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::reads::Reads;
use crate::refused::{Cause, Doubt, Refused, Result};

/// The longest time that a transaction may be open: more is clamped.
const LONGEST_MS: u64 = u64::MAX;

/// The arguments of an opening.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// The request's ID; without one the request is that of this attempt alone.
    pub request_id: Option<String>,
    /// The scope of the ID.
    pub scope: Option<String>,
    /// The payload's fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// The longest time that the transaction stays open, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The longest wait for another open attempt of the request, in milliseconds.
    pub wait_ms: Option<u64>,
    /// Run beside an open attempt of the request instead of waiting for it.
    pub overlap: bool,
    /// The commits that the client has seen.
    pub session: Session,
    /// The time for which the commit record is kept, in milliseconds.
    pub retention_ms: Option<u64>,
    /// First reads see every commit that was acknowledged before the begin.
    pub fresh: bool,
    /// The level at which the transaction runs.
    pub isolation: Option<Isolation>,
    /// The number of conflicts in a row that earlier attempts of the request have met.
    pub conflicts: u32,
}

/// The kind of call that asked for a commit: what its caller has in hand to ask again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A whole request, by the ID and the scope that it was given.
    Whole {
        /// The request's ID, if it has one.
        id: Option<String>,
        /// Its scope.
        scope: Option<String>,
    },
    /// A call on an open transaction.
    Within,
}

/// A transaction that is about to be opened: it has its name and its place. Dropped, it opens
/// nothing.
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
    /// Returns the reason why the caller may not open this transaction, or not now.
    pub fn prepare(self, caller: &Caller, first: Option<&Key>) -> Result<Ready> {
        caller.need_to_open()?;
        if let Some(scope) = &self.scope {
            check_name("a scope", scope)?;
        }
        if self.scope.is_some() && self.request_id.is_none() {
            return Err(Refused::Invalid("a scope belongs to a request ID, and there is none".into()));
        }
        let (attempt, hash) = match &self.request_id {
            None => {
                let attempt = caller.fresh_attempt_near(first.map(|key| key.as_str().as_bytes()));
                (attempt, caller.own_hash(attempt))
            }
            // The commit of a request with a name is stored, even if it wrote nothing.
            Some(id) => {
                caller.need(Right::Write)?;
                if id.is_empty() {
                    let why = "a request ID has at least one byte: leave it out if there is none";
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
            overlap: self.overlap,
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
    /// Returns the reason why not all of it was done. Then the transaction is aborted, unless its
    /// commit is in doubt.
    pub async fn run(self, caller: &Caller, plan: Plan, commit: Option<CommitArgs>) -> Result<Outcome> {
        let Ready { mut begin, held, asked } = self;
        let attempt = begin.attempt;
        caller.load(attempt, &plan)?;
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

    /// Reads one key in a transaction of its own, which has committed when this returns. A value
    /// that is gone after it is gone without harm: nothing was written.
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

    /// Reads one key in a transaction that stays open, as long as it may, until the second part of
    /// the answer is dropped: so long its value is not collected.
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

    /// Lets the transaction be open as long as any may.
    pub fn as_long_as_possible(&mut self) {
        self.begin.timeout_ms = Some(LONGEST_MS);
    }
}

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
    /// Returns the reason why not all of it was done. The transaction stays as it was, unless the
    /// refusal says that it has ended.
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
        let answer = self.node().commit(attempt, args).await;
        if answer.as_ref().map_or_else(ends, |_| true) {
            self.leave(attempt);
        }
        match answer {
            Ok(Ended::Committed(committed)) => Ok(Outcome::Committed { committed, reads }),
            Ok(Ended::Replayed(replayed)) => Ok(Outcome::Replayed(replayed)),
            // A commit of a transaction that has committed, or is about to, returns its outcome,
            // and one that ran out of time is lost: so this one was aborted.
            Err(Refusal::Ended) => Err(Refused::Aborted),
            Err(refusal) => Err(self.doubt(attempt, refusal, asked)),
        }
    }

    /// Asks for the outcome of a transaction whose node is gone; its commit record decides.
    /// `request` is the request's hash if the caller repeats its name.
    ///
    /// # Errors
    /// As [`Caller::commit`]; the doubt's cause is [`Cause::NodeGone`] if no record is there yet.
    pub async fn commit_elsewhere(
        &self,
        attempt: AttemptId,
        request: Option<RequestHash>,
    ) -> Result<Outcome> {
        let request = request.unwrap_or_else(|| self.own_hash(attempt));
        let args = CommitArgs { result: None, request: Some(request) };
        match self.node().commit(attempt, args).await {
            Ok(Ended::Committed(committed)) => Ok(Outcome::Committed { committed, reads: Reads::default() }),
            Ok(Ended::Replayed(replayed)) => Ok(Outcome::Replayed(replayed)),
            Err(Refusal::Unknown(_)) => Err(Refused::Doubt(Box::new(Doubt {
                token: self.token(attempt),
                cause: Cause::NodeGone,
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

    /// Returns a refusal as this caller hears of it: an unknown outcome with what it has in hand to
    /// ask again.
    fn doubt(&self, attempt: AttemptId, refusal: Refusal, asked: &Asked) -> Refused {
        let cause = match refusal {
            Refusal::Unknown(_) => Cause::NoAnswer,
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

/// Returns true if a transaction is over whose commit was refused so. One that may go on keeps its
/// place until its deadline.
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
        | Refusal::Damaged(_) => false,
    }
}

/// The place of a transaction. Dropped, it aborts the transaction: its client will not hear of it,
/// because the call failed or the client went away; or the transaction was open for the sake of a
/// reply that has been sent.
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

    /// Gives up the place: the transaction has ended.
    pub(crate) fn ended(mut self) {
        self.place = None;
    }

    /// Leaves the transaction open for at most `remaining_ms`: its client hears of it.
    fn open(mut self, remaining_ms: u64) {
        let place = self.place.take().expect("the place is taken when the guard goes");
        place.stay(Duration::from_millis(remaining_ms));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let (node, attempt) = (self.node.clone(), self.attempt);
        // Most often there is nothing to abort, and the refusal says so; a commit is not undone.
        tokio::spawn(async move {
            node.forget(attempt).await;
            drop(place);
        });
    }
}
