//! `POST /v1/transactions`, its `batch`, `commit` and `abort`, and `POST /v1/execute`.

use aft_access::Right;
use aft_api::{self as api, Code, Format, IfOpen};
use aft_core::ids::{AttemptId, RequestHash};
use aft_core::message::{CommitArgs, Isolation};
use aft_desk::{Asked, Opening, RESULT_BYTES_MAX, Reads, Refused};
use aft_format::{TransactionToken, fingerprint};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tracing::Span;

use crate::body;
use crate::caller::Caller;
use crate::calls::call::{self, check_name};
use crate::calls::idempotency;
use crate::calls::outcome::Reported;
use crate::calls::values;
use crate::failure::{Failure, Result};

pub(crate) async fn begin(caller: Caller, request: Request<Body>) -> Result<Response> {
    open(&caller, request, false).await
}

pub(crate) async fn execute(caller: Caller, request: Request<Body>) -> Result<Response> {
    open(&caller, request, true).await
}

/// Opens a transaction; with `whole`, the call always commits.
async fn open(caller: &Caller, request: Request<Body>, whole: bool) -> Result<Response> {
    no_parameters(&request)?;
    let headers = request.headers().clone();
    let call = body::message::<api::Begin>(caller, request).await?;
    let mut begin = call.message;
    // The request ID may come in the header or in the body, or be the same in both.
    if let Some(id) = idempotency::request_id(&headers)?
        && *begin.request_id.get_or_insert_with(|| id.clone()) != id
    {
        return Err(Failure::invalid(
            "the header Idempotency-Key and the body's request_id differ: send only one of them",
        ));
    }
    if whole && begin.commit == Some(false) {
        return Err(Failure::invalid(
            "execute always commits: leave commit out, or open a transaction with POST /v1/transactions",
        ));
    }
    if whole && begin.ops.is_empty() && begin.request_id.is_none() {
        return Err(Failure::invalid(
            "the call has no operations and no request ID, so there is nothing to commit: give it ops",
        ));
    }
    let commits = whole || begin.commit == Some(true);
    let commit = commit_args(caller, commits, begin.result, None)?;
    // A call that is the whole transaction of a request is its own fingerprint, unless it gives
    // one.
    let fingerprint = match &begin.fingerprint {
        Some(text) => {
            check_name("a fingerprint", text)?;
            Some(fingerprint(text.as_bytes()))
        }
        None => match (&begin.request_id, &commit) {
            (Some(_), Some(args)) => Some(fingerprint_of(&begin.ops, args)),
            _ => None,
        },
    };
    let opening = Opening {
        fingerprint,
        timeout_ms: begin.timeout_ms,
        wait_ms: begin.wait_ms,
        waits: match IfOpen::try_from(begin.if_open) {
            Ok(IfOpen::Run) => false,
            Ok(IfOpen::Wait) => true,
            Err(_) => {
                return Err(Failure::invalid(format!(
                    "if_open must be RUN (0) or WAIT (1), not {}",
                    begin.if_open
                )));
            }
        },
        session: call::session(begin.session.as_deref(), &headers)?,
        retention_ms: begin.retention_s.map(|s| s.saturating_mul(1_000)),
        fresh: begin.fresh,
        isolation: match api::Isolation::try_from(begin.isolation) {
            Ok(api::Isolation::Unspecified) => None,
            Ok(api::Isolation::ReadAtomic) => Some(Isolation::ReadAtomic),
            Ok(api::Isolation::Serializable) => Some(Isolation::Serializable),
            Err(_) => {
                return Err(Failure::invalid(format!(
                    "isolation must be READ_ATOMIC (1), SERIALIZABLE (2), or left out (0), not {}",
                    begin.isolation
                )));
            }
        },
        conflicts: begin.conflicts.unwrap_or(0),
        request_id: begin.request_id,
        scope: begin.scope,
    };
    run_opening(caller, opening, begin.ops, commit).await?.respond(caller, call.reply)
}

/// Opens a transaction, runs operations in it, and commits if there are arguments for it.
pub(crate) async fn run_opening(
    caller: &Caller,
    opening: Opening,
    ops: Vec<api::Op>,
    commit: Option<CommitArgs>,
) -> Result<Reported> {
    let plan = values::plan(caller, ops)?;
    let id = opening.request_id.clone();
    let ready = opening.prepare(caller, plan.first_key())?;
    let token = caller.token(ready.attempt());
    Span::current().record("transaction", tracing::field::display(&token));
    let outcome = ready.run(caller, plan, commit).await.map_err(|refused| {
        let opened_nothing = refused.opened_nothing();
        let failure = Failure::from(refused).of_request(id.as_deref());
        // The problem names the transaction only if there was one.
        if opened_nothing { failure } else { failure.of(&token) }
    })?;
    Ok(outcome.into())
}

/// Returns the fingerprint of a whole transaction: the same in JSON and in protobuf.
fn fingerprint_of(ops: &[api::Op], args: &CommitArgs) -> aft_core::ids::Fingerprint {
    let batch = api::Batch { ops: ops.to_vec(), commit: Some(true), result: args.result.clone() };
    fingerprint(&Format::Protobuf.encode(&batch))
}

/// Returns the request that a commit repeats, by the header `Idempotency-Key` and the parameter
/// `scope`. With it, a node that does not know the transaction answers from the request's record.
fn repeated(caller: &Caller, request: &Request<Body>) -> Result<Option<RequestHash>> {
    let [scope] = crate::path::query(request.uri().query(), ["scope"])?;
    let Some(id) = idempotency::request_id(request.headers())? else {
        return match scope {
            None => Ok(None),
            Some(_) => Err(Failure::invalid(
                "a scope needs a request ID: send the header Idempotency-Key as well, or leave the scope out",
            )),
        };
    };
    let scope = scope.unwrap_or_default();
    check_name("a scope", &scope)?;
    check_name("a request ID", &id)?;
    Ok(Some(caller.request_hash(&scope, &id)))
}

/// Returns the arguments of a commit; `None` if the call does not commit. A result is stored with
/// the commit, so it needs the right to write.
fn commit_args(
    caller: &Caller,
    commits: bool,
    result: Option<Bytes>,
    request: Option<RequestHash>,
) -> Result<Option<CommitArgs>> {
    if result.is_some() {
        caller.need(Right::Write).map_err(|refused| {
            let mut failure = Failure::from(refused);
            let more = "; a commit with a result needs this right, and a commit without one does not";
            failure.problem.detail.push_str(more);
            failure
        })?;
    }
    match &result {
        Some(_) if !commits => {
            return Err(Failure::invalid(
                "a result needs a commit, and this call does not commit: add \"commit\": true, or leave the result out",
            ));
        }
        Some(bytes) if bytes.len() > RESULT_BYTES_MAX => {
            return Err(Failure::beyond(Code::TooLarge, "a result", RESULT_BYTES_MAX, bytes.len()));
        }
        _ => {}
    }
    Ok(commits.then_some(CommitArgs { result, request }))
}

pub(crate) async fn batch(caller: Caller, request: Request<Body>) -> Result<Response> {
    let request_hash = repeated(&caller, &request)?;
    let (token, here) = call::committing(&caller, request.uri().path())?;
    let call = body::message::<api::Batch>(&caller, request).await?;
    let batch = call.message;
    let commit = commit_args(&caller, batch.commit == Some(true), batch.result, request_hash)?;
    let outcome = if here {
        run(&caller, token.attempt, batch.ops, commit).await
    } else if commit.is_some() {
        elsewhere(&caller, &token, request_hash).await
    } else {
        Err(Refused::Elsewhere(token).into())
    };
    outcome.and_then(|outcome| outcome.respond(&caller, call.reply)).map_err(|failure| failure.of(&token))
}

async fn run(
    caller: &Caller,
    attempt: AttemptId,
    ops: Vec<api::Op>,
    commit: Option<CommitArgs>,
) -> Result<Reported> {
    let plan = values::plan(caller, ops)?;
    Ok(caller.run(attempt, plan, commit, &Asked::Within).await?.into())
}

/// Answers a commit of a transaction that is not on this node.
async fn elsewhere(
    caller: &Caller,
    token: &TransactionToken,
    request: Option<RequestHash>,
) -> Result<Reported> {
    Ok(caller.commit_elsewhere(token, request).await?.into())
}

pub(crate) async fn commit(caller: Caller, request: Request<Body>) -> Result<Response> {
    aft_core::room!();
    let request_hash = repeated(&caller, &request)?;
    let (token, here) = call::committing(&caller, request.uri().path())?;
    let call = body::message::<api::Commit>(&caller, request).await?;
    let result = call.message.result;
    let args = commit_args(&caller, true, result, request_hash)?.expect("this call commits");
    let outcome = if here {
        let committed = caller.commit(token.attempt, args, Reads::default(), &Asked::Within).await;
        committed.map(Reported::from).map_err(Failure::from)
    } else {
        elsewhere(&caller, &token, request_hash).await
    };
    outcome.and_then(|outcome| outcome.respond(&caller, call.reply)).map_err(|failure| failure.of(&token))
}

pub(crate) async fn abort(caller: Caller, request: Request<Body>) -> Result<Response> {
    no_parameters(&request)?;
    let token = call::transaction(&caller, request.uri().path())?;
    caller.abort(token.attempt).await.map_err(|refused| Failure::from(refused).of(&token))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Rejects a call with any parameter.
fn no_parameters(request: &Request<Body>) -> Result<()> {
    crate::path::query(request.uri().query(), []).map(|[]| ())
}
