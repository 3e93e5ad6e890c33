//! Opens a transaction, and perhaps runs all of it.
//!
//! Most calls are one question to the node. A call that reads and commits is two: the values are read before the commit (a large value might be
//! gone after it, and the call must not fail once it has committed).

use aft_core::ids::{AttemptId, Fingerprint, Session};
use aft_core::message::{Batch, Begin, CommitArgs, Refusal, Reply, Verb, Visibility};
use aft_node::{NodeHandle, fresh_attempt};
use aft_wire::durable::{own_hash, request_hash};
use aft_wire::http::{Code, Op};
use tracing::Span;

use crate::failure::{Failure, Result};
use crate::native::call::{check_name, token};
use crate::native::outcome::Outcome;
use crate::native::values::{Plan, Results, resolve};
use crate::router::Doors;
use crate::settings::TENANT;

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
    pub(crate) visibility: Visibility,
}

impl Opening {
    /// Opens a transaction, runs operations, and commits if asked to.
    pub(crate) async fn run(
        mut self,
        doors: &Doors,
        ops: Vec<Op>,
        commit: Option<CommitArgs>,
    ) -> Result<Outcome> {
        let plan = Plan::new(ops)?;
        let begin = self.begin(doors)?;
        let attempt = begin.attempt;
        let token = token(doors, attempt);
        Span::current().record("transaction", tracing::field::display(&token));
        let guard = AbortOnDrop::new(&doors.node, attempt);
        let outcome = open(doors, begin, plan, commit).await.map_err(|failure| {
            let failure = failure.of_request(self.request_id.as_deref());
            // Then there never was a transaction that could be named.
            if is_unopened(failure.0.code) { failure } else { failure.of(&token) }
        })?;
        guard.keep();
        Ok(outcome)
    }

    /// The verb for it; takes the session along.
    pub(crate) fn begin(&mut self, doors: &Doors) -> Result<Box<Begin>> {
        if let Some(scope) = &self.scope {
            check_name("a scope", scope)?;
        }
        if self.scope.is_some() && self.request_id.is_none() {
            return Err(Failure::invalid("a scope belongs to a request ID, and there is none"));
        }
        let attempt = fresh_attempt();
        let hash = match &self.request_id {
            None => own_hash(attempt),
            Some(id) => {
                if id.is_empty() {
                    return Err(Failure::invalid(
                        "a request ID has at least one byte: leave it out if there is none",
                    ));
                }
                check_name("a request ID", id)?;
                Span::current().record("request", id.as_str());
                request_hash(TENANT, self.scope.as_deref().unwrap_or_default(), id)
            }
        };
        let settings = &doors.settings;
        Ok(Box::new(Begin {
            attempt,
            hash,
            named: self.request_id.is_some(),
            fingerprint: self.fingerprint,
            timeout_ms: self.timeout_ms,
            wait_ms: self.wait_ms.unwrap_or(settings.wait_default_ms).min(settings.wait_max_ms),
            overlap: self.overlap,
            session: std::mem::take(&mut self.session),
            retention_ms: self.retention_ms,
            visibility: self.visibility,
            batch: Batch::default(),
        }))
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
    doors: &Doors,
    mut begin: Box<Begin>,
    plan: Plan,
    commit: Option<CommitArgs>,
) -> Result<Outcome> {
    let attempt = begin.attempt;
    begin.batch.commit = commit.clone().filter(|_| !plan.has_reads);
    begin.batch.ops = plan.ops;
    let (remaining_ms, reads) = match doors.node.begin(begin).await? {
        Reply::Begun { committed: Some(committed), reads, .. } => {
            assert!(reads.is_empty(), "a commit in the same verb is asked for without reads only");
            return Ok(Outcome::Committed { committed, results: Results::default() });
        }
        Reply::Begun { remaining_ms, reads, committed: None, .. } => (remaining_ms, reads),
        Reply::Replayed(replayed) => return Ok(Outcome::Replayed(replayed)),
        reply => panic!("a begin was answered {reply:?}"),
    };
    let results = resolve(doors, reads).await?;
    match commit {
        Some(args) => commit_with(doors, attempt, args, results).await,
        None => Ok(Outcome::Open { token: token(doors, attempt), remaining_ms, results }),
    }
}

/// Runs operations in an open transaction, and commits if asked to.
pub(crate) async fn run(
    doors: &Doors,
    attempt: AttemptId,
    plan: Plan,
    commit: Option<CommitArgs>,
) -> Result<Outcome> {
    let at_once = commit.clone().filter(|_| !plan.has_reads);
    let (reads, committed) = match doors.node.run(attempt, Batch { ops: plan.ops, commit: at_once }).await? {
        Reply::Ran { reads, committed } => (reads, committed),
        Reply::Replayed(replayed) => return Ok(Outcome::Replayed(replayed)),
        reply => panic!("a batch was answered {reply:?}"),
    };
    if let Some(committed) = committed {
        return Ok(Outcome::Committed { committed, results: Results::default() });
    }
    let results = resolve(doors, reads).await?;
    match commit {
        Some(args) => commit_with(doors, attempt, args, results).await,
        None => Ok(Outcome::Ran { results }),
    }
}

/// Commits.
pub(crate) async fn commit_with(
    doors: &Doors,
    attempt: AttemptId,
    args: CommitArgs,
    results: Results,
) -> Result<Outcome> {
    match doors.node.ask(Verb::Commit(attempt, args)).await {
        Ok(Reply::Committed(committed)) => Ok(Outcome::Committed { committed, results }),
        Ok(Reply::Replayed(replayed)) => Ok(Outcome::Replayed(replayed)),
        Ok(reply) => panic!("a commit was answered {reply:?}"),
        // A commit of what has committed, or is about to, is answered with the outcome; what ran out of time is lost.
        Err(Refusal::Ended) => {
            let detail =
                "the transaction was aborted: nothing of it took effect; run the request again if it is to";
            Err(Failure::new(Code::Ended, detail))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// What became of a transaction whose node is gone: its commit record tells, if the request had no name.
pub(crate) async fn of_another_life(doors: &Doors, attempt: AttemptId) -> Result<Outcome> {
    let hash = own_hash(attempt);
    match doors.node.ask(Verb::LookUp(hash)).await {
        Ok(Reply::Found(record)) => {
            let session = vec![aft_core::ids::SessionEntry { txn: record.txn, hash }];
            let committed = aft_core::message::Committed { txn: Some(record.txn), session };
            Ok(Outcome::Committed { committed, results: Results::default() })
        }
        Ok(reply) => panic!("a look-up was answered {reply:?}"),
        Err(Refusal::NotFound) => {
            let mut failure = Failure::from(Refusal::Unknown(hash));
            failure.0.detail =
                "the transaction's node is gone, and a commit may have been sent before: look the request up by its ID, or send it again under its ID; without an ID, read what it would have written".into();
            Err(failure)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Aborts a transaction that its client will not hear of: the call failed, or the client went away before it was answered; or one that was open for
/// the sake of a reply, once that is sent.
pub(crate) struct AbortOnDrop {
    node: NodeHandle,
    attempt: AttemptId,
    kept: bool,
}

impl AbortOnDrop {
    pub(crate) fn new(node: &NodeHandle, attempt: AttemptId) -> AbortOnDrop {
        AbortOnDrop { node: node.clone(), attempt, kept: false }
    }

    /// The client hears of the transaction, or it has ended.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (node, attempt) = (self.node.clone(), self.attempt);
        // Most often there is nothing to abort, and the refusal says so; what has committed stays so.
        tokio::spawn(async move { node.forget(attempt).await });
    }
}
