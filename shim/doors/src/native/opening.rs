//! Opens a transaction, and perhaps runs all of it.
//!
//! Most calls are one question to the node. A call that reads and commits is two: the values are read before the commit (a large value might be
//! gone after it, and the call must not fail once it has committed).

use aft_access::Right;
use aft_api::{Code, Op};
use aft_core::ids::{AttemptId, Fingerprint, Key, RequestHash, Session};
use aft_core::message::{Batch, Begin, CommitArgs, Isolation, Refusal};
use aft_node::{Begun, Ended, NodeHandle, Ran};
use std::time::Duration;
use tracing::Span;

use crate::caller::{Caller, Place};
use crate::failure::{Failure, NOT_SAID, Result, damaged_in_doubt, look_up_by_transaction};
use crate::native::call::{check_name, token};
use crate::native::outcome::Outcome;
use crate::native::values::{Plan, Results, resolve};
use crate::path::encode;

/// What opens a transaction.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pub(crate) request_id: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) wait_ms: Option<u64>,
    pub(crate) overlap: bool,
    pub(crate) session: Session,
    pub(crate) retention_ms: Option<u64>,
    pub(crate) fresh: bool,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) conflicts: u32,
}

impl Opening {
    /// Opens a transaction, runs operations, and commits if asked to.
    pub(crate) async fn run(
        mut self,
        caller: &Caller,
        ops: Vec<Op>,
        commit: Option<CommitArgs>,
    ) -> Result<Outcome> {
        let plan = Plan::new(caller, ops)?;
        let (begin, guard) = self.begin(caller, plan.first_key())?;
        let attempt = begin.attempt;
        let token = token(caller, attempt);
        Span::current().record("transaction", tracing::field::display(&token));
        let asked = Asked::Whole { id: self.request_id.as_deref(), scope: self.scope.as_deref() };
        let outcome = open(caller, begin, plan, commit, asked).await.map_err(|failure| {
            let failure = failure.of_request(self.request_id.as_deref());
            // Then there never was a transaction that could be named.
            if is_unopened(failure.0.code) { failure } else { failure.of(&token) }
        })?;
        match &outcome {
            Outcome::Open { remaining_ms, .. } => guard.open(*remaining_ms),
            Outcome::Ran { .. } => unreachable!("an opening opens, commits or replays"),
            Outcome::Committed { .. } | Outcome::Replayed(_) => guard.ended(),
        }
        Ok(outcome)
    }

    /// The verb for it, which takes the session along; and what ends the transaction unless its client hears of it. `first`: the first key
    /// that it touches, if that is known.
    pub(crate) fn begin(
        &mut self,
        caller: &Caller,
        first: Option<&Key>,
    ) -> Result<(Box<Begin>, AbortOnDrop)> {
        caller.need_to_open()?;
        if let Some(scope) = &self.scope {
            check_name("a scope", scope)?;
        }
        if self.scope.is_some() && self.request_id.is_none() {
            return Err(Failure::invalid("a scope belongs to a request ID, and there is none"));
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
                    return Err(Failure::invalid(
                        "a request ID has at least one byte: leave it out if there is none",
                    ));
                }
                check_name("a request ID", id)?;
                Span::current().record("request", id.as_str());
                let hash = caller.request_hash(self.scope.as_deref().unwrap_or_default(), id);
                (caller.fresh_attempt_near(Some(&hash.0)), hash)
            }
        };
        let settings = &caller.settings;
        let guard = AbortOnDrop::new(caller, attempt)?;
        let begin = Box::new(Begin {
            attempt,
            hash,
            named: self.request_id.is_some(),
            fingerprint: self.fingerprint,
            timeout_ms: self.timeout_ms,
            wait_ms: self.wait_ms.unwrap_or(settings.wait_default_ms).min(settings.wait_max_ms),
            overlap: self.overlap,
            session: std::mem::take(&mut self.session),
            retention_ms: self.retention_ms,
            fresh: self.fresh,
            isolation: self.isolation,
            conflicts: self.conflicts,
            batch: Batch::default(),
        });
        Ok((begin, guard))
    }
}

/// Whether a refusal of an opening says that nothing was opened.
fn is_unopened(code: Code) -> bool {
    matches!(
        code,
        Code::NotServing | Code::Overloaded | Code::InProgress | Code::KeyReused | Code::ResultGone
    )
}

async fn open(
    caller: &Caller,
    mut begin: Box<Begin>,
    plan: Plan,
    commit: Option<CommitArgs>,
    asked: Asked<'_>,
) -> Result<Outcome> {
    let attempt = begin.attempt;
    caller.load(attempt, || plan.load())?;
    begin.batch.commit = commit.clone().filter(|_| !plan.has_reads);
    begin.batch.ops = plan.ops;
    let (remaining_ms, reads) =
        match caller.node.begin(begin).await.map_err(|refusal| told(caller, attempt, refusal, asked))? {
            Begun::Committed { committed, reads } => {
                let results = Results::of_sums(reads, &committed);
                return Ok(Outcome::Committed { committed, results });
            }
            Begun::Open { remaining_ms, reads, .. } => (remaining_ms, reads),
            Begun::Replayed(replayed) => return Ok(Outcome::Replayed(replayed)),
        };
    let results = resolve(caller, reads).await?;
    match commit {
        Some(args) => commit_with(caller, attempt, args, results, asked).await,
        None => Ok(Outcome::Open { token: token(caller, attempt), remaining_ms, results }),
    }
}

/// Runs operations in an open transaction, and commits if asked to.
pub(crate) async fn run(
    caller: &Caller,
    attempt: AttemptId,
    plan: Plan,
    commit: Option<CommitArgs>,
    asked: Asked<'_>,
) -> Result<Outcome> {
    caller.load(attempt, || plan.load())?;
    let at_once = commit.clone().filter(|_| !plan.has_reads);
    let ran = caller.node.run(attempt, Batch { ops: plan.ops, commit: at_once }).await;
    let reads = match ran.map_err(|refusal| told(caller, attempt, refusal, asked))? {
        Ran::Open { reads } => reads,
        Ran::Committed { committed, reads } => {
            caller.leave(attempt);
            let results = Results::of_sums(reads, &committed);
            return Ok(Outcome::Committed { committed, results });
        }
        Ran::Replayed(replayed) => {
            caller.leave(attempt);
            return Ok(Outcome::Replayed(replayed));
        }
    };
    let results = resolve(caller, reads).await?;
    match commit {
        Some(args) => commit_with(caller, attempt, args, results, asked).await,
        None => Ok(Outcome::Ran { results }),
    }
}

/// Commits.
pub(crate) async fn commit_with(
    caller: &Caller,
    attempt: AttemptId,
    args: CommitArgs,
    results: Results,
    asked: Asked<'_>,
) -> Result<Outcome> {
    let answer = caller.node.commit(attempt, args).await;
    if answer.as_ref().map_or_else(ends, |_| true) {
        caller.leave(attempt);
    }
    match answer {
        Ok(Ended::Committed(committed)) => Ok(Outcome::Committed { committed, results }),
        Ok(Ended::Replayed(replayed)) => Ok(Outcome::Replayed(replayed)),
        // A commit of what has committed, or is about to, is answered with the outcome; what ran out of time is lost.
        Err(Refusal::Ended) => {
            let detail =
                "the transaction was aborted: nothing of it took effect; run the request again if it is to";
            Err(Failure::new(Code::Ended, detail))
        }
        Err(refusal) => Err(told(caller, attempt, refusal, asked)),
    }
}

/// Whether a transaction is over whose commit was refused so. One that may go on keeps its place until its deadline.
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

/// What kind of call asked for a commit: what its caller has in hand, if the outcome is not known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// A whole request, by the ID and the scope that it was given.
    Whole {
        /// The request's ID, if it has one.
        id: Option<&'a str>,
        /// Its scope.
        scope: Option<&'a str>,
    },
    /// A call on an open transaction.
    Within,
}

/// A refusal for this caller. Where a commit's outcome is not known, it is told to ask with what it has: the ID that it gave, or the transaction.
fn told(caller: &Caller, attempt: AttemptId, refusal: Refusal, asked: Asked<'_>) -> Failure {
    let why = match &refusal {
        Refusal::Unknown(_) => NOT_SAID.to_owned(),
        Refusal::UnknownDamaged(_, what) => damaged_in_doubt(what),
        _ => return refusal.into(),
    };
    let token = token(caller, attempt).to_string();
    let (look_up, remedy) = match asked {
        Asked::Whole { id: Some(id), scope } => {
            let path = look_up_path(id, scope);
            let id = crate::path::excerpt(id);
            let remedy = format!(
                "send the request {id:?} again under this ID, which commits once at most, or ask GET {path}"
            );
            (path, remedy)
        }
        Asked::Whole { id: None, .. } => {
            let path = look_up_by_transaction(&token);
            let remedy = format!(
                "ask what became of its transaction with GET {path} or POST /v1/transactions/{token}/commit; the same call again would be another request"
            );
            (path, remedy)
        }
        Asked::Within => {
            let path = look_up_by_transaction(&token);
            let remedy = format!(
                "ask GET {path}, or send the same call again (a batch that carried the commit as a batch), which commits once at most"
            );
            (path, remedy)
        }
    };
    let mut failure = Failure::new(
        Code::Unknown,
        format!("whether transaction {token} committed is not known: {why}: {remedy}"),
    );
    failure.0.look_up = Some(look_up);
    failure
}

/// Where to ask for a request of this name.
fn look_up_path(id: &str, scope: Option<&str>) -> String {
    let mut path = format!("/v1/requests/{}", encode(id));
    if let Some(scope) = scope {
        path.push_str("?scope=");
        path.push_str(&encode(scope));
    }
    path
}

/// The outcome of a transaction whose node is gone: its commit record tells. Of a request with a name, if the caller repeats it.
pub(crate) async fn of_another_life(
    caller: &Caller,
    attempt: AttemptId,
    request: Option<RequestHash>,
) -> Result<Outcome> {
    let request = request.unwrap_or_else(|| caller.own_hash(attempt));
    let args = CommitArgs { result: None, request: Some(request) };
    match caller.node.commit(attempt, args).await {
        Ok(Ended::Committed(committed)) => Ok(Outcome::Committed { committed, results: Results::default() }),
        Ok(Ended::Replayed(replayed)) => Ok(Outcome::Replayed(replayed)),
        Err(Refusal::Unknown(_)) => {
            let detail = "the transaction's node is gone, and a commit may have been sent before: repeat the commit with the request's ID as Idempotency-Key (and ?scope= if there was one), look the request up by its ID, or send it again under its ID; without an ID, ask as look_up says, for as long as a call may take to land, or read what it would have written";
            Err(Failure::new(Code::Unknown, detail).of(&token(caller, attempt)))
        }
        Err(refusal) => Err(told(caller, attempt, refusal, Asked::Within)),
    }
}

/// Aborts a transaction that its client will not hear of: the call failed, or the client went away before it was answered; or one that was open for
/// the sake of a reply, once that is sent.
#[derive(Debug)]
pub(crate) struct AbortOnDrop {
    node: NodeHandle,
    attempt: AttemptId,
    /// `None` once there is nothing to abort.
    place: Option<Place>,
}

impl AbortOnDrop {
    /// Takes the transaction's place.
    fn new(caller: &Caller, attempt: AttemptId) -> Result<AbortOnDrop> {
        let place = Some(caller.enter(attempt)?);
        Ok(AbortOnDrop { node: caller.node.clone(), attempt, place })
    }

    /// The transaction has ended.
    pub(crate) fn ended(mut self) {
        self.place = None;
    }

    /// The client hears of the transaction, which stays open for so long at most.
    fn open(mut self, remaining_ms: u64) {
        let place = self.place.take().expect("it is taken when the guard goes");
        place.stay(Duration::from_millis(remaining_ms));
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let (node, attempt) = (self.node.clone(), self.attempt);
        // Most often there is nothing to abort, and the refusal says so; what has committed stays so.
        tokio::spawn(async move {
            node.forget(attempt).await;
            drop(place);
        });
    }
}
