//! `GET`, `HEAD`, `PUT` and `DELETE` of one key, each a transaction of its own. `Aft-Session` in and out; writes take `Idempotency-Key`.

use aft_access::Right;
use aft_api::{self as api, Format, OpIf, OpKind, Put, header};
use aft_core::ids::{Key, RequestHash, Session};
use aft_core::message::{Batch, CommitArgs, Isolation, Op, Read, Refusal, Replayed};
use aft_format::{encode_session, fingerprint};
use aft_node::Begun;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use axum::response::Response;
use tracing::Span;

use crate::arriving::Arriving;
use crate::body;
use crate::caller::Caller;
use crate::failure::Result;
use crate::native::call::{self, header_value, token};
use crate::native::conditional;
use crate::native::content::{self, Content, Incoming};
use crate::native::idempotency;
use crate::native::opening::{self, AbortOnDrop, Asked, Opening};
use crate::native::outcome::Outcome;
use crate::native::values::Plan;
use crate::path;

/// As long as a transaction may be open: more is clamped.
const LONGEST: u64 = u64::MAX;

const PREFIX: &str = "/v1/keys/";

pub(crate) async fn read(caller: Caller, request: Request<Body>) -> Result<Response> {
    let [fresh] = path::query(request.uri().query(), ["fresh"])?;
    let fresh = path::flag("fresh", fresh.as_deref())?;
    let key = caller.key_in_path(path::after(request.uri().path(), PREFIX), Right::Read)?;
    let session = call::session(None, request.headers())?;
    let mut opening = Opening { session, fresh, ..Opening::default() };
    let (mut begin, guard) = opening.begin(&caller, Some(&key))?;
    // Nothing is written: the commit stores nothing, and a value that is gone after it is gone without harm.
    begin.batch = Batch { ops: vec![Op::Get(key)], commit: Some(CommitArgs::default()) };
    let (reads, committed) = match caller.node.begin(begin).await? {
        Begun::Committed { committed, reads } => (reads, committed),
        begun => panic!("a read was answered {begun:?}"),
    };
    guard.ended();
    let read = reads.into_iter().next().expect("one get has one read");
    let session = header_value(&encode_session(&committed.session));
    let (read, held) = match content::takes_long(&read) && request.method() == Method::GET {
        true => read_held(&caller, read.key, committed.session, fresh).await?,
        false => (read, None),
    };
    let mut response = content::respond(&caller, read, request.method(), request.headers(), held).await?;
    response.headers_mut().insert(header::SESSION, session);
    Ok(response)
}

/// Reads a key again, in a transaction that stays open while its value is sent: as long as it is, the value is not collected.
async fn read_held(
    caller: &Caller,
    key: Key,
    session: Session,
    fresh: bool,
) -> Result<(Read, Option<AbortOnDrop>)> {
    let mut opening = Opening { session, fresh, timeout_ms: Some(LONGEST), ..Opening::default() };
    let (mut begin, held) = opening.begin(caller, Some(&key))?;
    begin.batch = Batch { ops: vec![Op::Get(key)], commit: None };
    match caller.node.begin(begin).await? {
        Begun::Open { reads, .. } => {
            Ok((reads.into_iter().next().expect("one get has one read"), Some(held)))
        }
        begun => panic!("a read was answered {begun:?}"),
    }
}

pub(crate) async fn write(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (opening, key) = opening(&caller, &request)?;
    let condition = conditional::of_headers(request.headers())?;
    let reply = body::accepted(request.headers()).unwrap_or_default();
    let Incoming { content_type, content } = Incoming::start(&caller, request, "a value").await?;
    match content {
        Content::Whole(whole) => {
            let put = Put { key: key.as_str().to_owned(), value: whole.bytes.clone(), content_type };
            run(&caller, opening, api::Op { condition, ..api::Op::of(OpKind::Put(put)) }, reply).await
        }
        Content::Large(large) => {
            let id = opening.request_id.clone();
            let outcome = write_large(&caller, opening, (key, condition), content_type, *large).await;
            outcome.map_err(|failure| failure.of_request(id.as_deref()))?.respond(&caller, reply)
        }
    }
}

/// Stores a large value as it arrives, and then commits.
async fn write_large(
    caller: &Caller,
    mut opening: Opening,
    (key, condition): (Key, Option<OpIf>),
    content_type: Option<String>,
    mut large: Arriving,
) -> Result<Outcome> {
    let check = conditional::check(caller, &key, condition.as_ref())?;
    // The transaction begins before the node sees the condition.
    opening.isolation = check.as_ref().map(|_| Isolation::Serializable);
    // All of the payload is known only at its end: the transaction begins without a fingerprint, and gets it with its commit.
    if opening.request_id.is_some() {
        large.sum_up(&named(&key, content_type.as_deref(), condition.as_ref()));
    }
    // It takes as long as its client takes to send it.
    opening.timeout_ms = Some(LONGEST);
    let (begin, guard) = opening.begin(caller, Some(&key))?;
    let (attempt, hash) = (begin.attempt, begin.hash);
    Span::current().record("transaction", tracing::field::display(token(caller, attempt)));
    match caller.node.begin(begin).await {
        Ok(Begun::Open { .. }) => {}
        Ok(Begun::Replayed(replayed)) => {
            return replay(caller, hash, replayed, large).await;
        }
        Ok(begun) => panic!("an empty opening was answered {begun:?}"),
        Err(refusal) => {
            large.skip().await;
            return Err(refusal.into());
        }
    }
    let stored = content::store(caller, attempt, large).await?;
    let mut plan = Plan::of(content::put_large(key, &stored, content_type)?);
    plan.ops.splice(0..0, check);
    plan.ops.extend(stored.fingerprint.map(Op::Fingerprint));
    let asked = Asked::Whole { id: opening.request_id.as_deref(), scope: opening.scope.as_deref() };
    let outcome = opening::run(caller, attempt, plan, Some(CommitArgs::default()), asked).await?;
    guard.ended();
    Ok(outcome)
}

/// Another attempt has committed: whether with this payload, its end tells.
async fn replay(
    caller: &Caller,
    hash: RequestHash,
    replayed: Replayed,
    mut large: Arriving,
) -> Result<Outcome> {
    large.read_on().await?;
    let theirs = caller.node.look_up(hash).await?.fingerprint;
    match (theirs, large.fingerprint()) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(Refusal::KeyReused.into()),
        _ => Ok(Outcome::Replayed(replayed)),
    }
}

/// What the fingerprint of a large value covers before its bytes.
fn named(key: &Key, content_type: Option<&str>, condition: Option<&OpIf>) -> Vec<u8> {
    let mut text = Vec::new();
    let condition = condition.map(|condition| format!("{condition:?}"));
    let parts = [key.as_str(), content_type.unwrap_or_default()];
    for part in parts.into_iter().chain(condition.as_deref()) {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    text
}

pub(crate) async fn delete(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (opening, key) = opening(&caller, &request)?;
    let reply = body::accepted(request.headers()).unwrap_or_default();
    let condition = conditional::of_headers(request.headers())?;
    let op = api::Op { condition, ..api::Op::delete(key.as_str()) };
    run(&caller, opening, op, reply).await
}

fn opening(caller: &Caller, request: &Request<Body>) -> Result<(Opening, Key)> {
    let headers: &HeaderMap = request.headers();
    let [scope] = path::query(request.uri().query(), ["scope"])?;
    let key = caller.key_in_path(path::after(request.uri().path(), PREFIX), Right::Write)?;
    let opening = Opening {
        request_id: idempotency::request_id(headers)?,
        scope,
        session: call::session(None, headers)?,
        ..Opening::default()
    };
    Ok((opening, key))
}

async fn run(caller: &Caller, mut opening: Opening, op: api::Op, reply: Format) -> Result<Response> {
    if opening.request_id.is_some() {
        let batch = api::Batch { ops: vec![op.clone()], commit: Some(true), result: None };
        opening.fingerprint = Some(fingerprint(&Format::Protobuf.encode(&batch)));
    }
    let outcome = opening.run(caller, vec![op], Some(CommitArgs::default())).await?;
    outcome.respond(caller, reply)
}
