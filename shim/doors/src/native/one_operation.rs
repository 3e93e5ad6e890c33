//! `GET`, `HEAD`, `PUT` and `DELETE` of one key, each a transaction of its own. `Aft-Session` in and out; writes take `Idempotency-Key`.

use aft_core::ids::{Fingerprint, Key, Session};
use aft_core::message::{Batch, CommitArgs, Op, Read, Reply, Verb};
use aft_wire::durable::{encode_session, fingerprint};
use aft_wire::http::{self, Format, OpKind, Put, header};
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use axum::response::Response;
use tracing::Span;

use crate::auth::{Caller, Right};
use crate::body::{self, Large};
use crate::failure::Result;
use crate::native::call::{self, header_value, token};
use crate::native::content::{self, Content, Incoming};
use crate::native::idempotency;
use crate::native::opening::{self, AbortOnDrop, Opening};
use crate::native::outcome::Outcome;
use crate::native::values::Plan;
use crate::path;

/// As long as a transaction may be open: more is clamped.
const LONGEST: u64 = u64::MAX;
/// Of a large value, the first bytes that its request's fingerprint covers.
const FINGERPRINT_BYTES: usize = 64 << 10;

const PREFIX: &str = "/v1/keys/";

pub(crate) async fn read(caller: Caller, request: Request<Body>) -> Result<Response> {
    path::query(request.uri().query(), []).map(|[]| ())?;
    let key = caller.key_in_path(path::after(request.uri().path(), PREFIX), Right::Read)?;
    let mut opening = Opening { session: call::session(None, request.headers())?, ..Opening::default() };
    let (mut begin, guard) = opening.begin(&caller)?;
    // Nothing is written: the commit stores nothing, and a value that is gone after it is gone without harm.
    begin.batch = Batch { ops: vec![Op::Get(key)], commit: Some(CommitArgs::default()) };
    let (reads, committed) = match caller.node.ask(Verb::Begin(begin)).await? {
        Reply::Begun { reads, committed: Some(committed), .. } => (reads, committed),
        reply => panic!("a read was answered {reply:?}"),
    };
    guard.ended();
    let read = reads.into_iter().next().expect("one get has one read");
    let session = header_value(&encode_session(&committed.session));
    let (read, held) = match content::takes_long(&read) && request.method() == Method::GET {
        true => read_held(&caller, read.key, committed.session).await?,
        false => (read, None),
    };
    let mut response = content::respond(&caller, read, request.method(), request.headers(), held).await?;
    response.headers_mut().insert(header::SESSION, session);
    Ok(response)
}

/// Reads a key again, in a transaction that stays open while its value is sent: as long as it is, the value is not collected.
async fn read_held(caller: &Caller, key: Key, session: Session) -> Result<(Read, Option<AbortOnDrop>)> {
    let mut opening = Opening { session, timeout_ms: Some(LONGEST), ..Opening::default() };
    let (mut begin, held) = opening.begin(caller)?;
    begin.batch = Batch { ops: vec![Op::Get(key)], commit: None };
    match caller.node.ask(Verb::Begin(begin)).await? {
        Reply::Begun { reads, committed: None, .. } => {
            Ok((reads.into_iter().next().expect("one get has one read"), Some(held)))
        }
        reply => panic!("a read was answered {reply:?}"),
    }
}

pub(crate) async fn write(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (opening, key) = opening(&caller, &request)?;
    let reply = body::accepted(request.headers()).unwrap_or_default();
    let Incoming { content_type, content } = Incoming::start(&caller, request, "a value").await?;
    match content {
        Content::Whole(whole) => {
            let put = Put { key: key.as_str().to_owned(), value: whole.bytes.clone(), content_type };
            run(&caller, opening, http::Op { kind: Some(OpKind::Put(put)) }, reply).await
        }
        Content::Large(large) => {
            let id = opening.request_id.clone();
            let outcome = write_large(&caller, opening, key, content_type, large).await;
            outcome.map_err(|failure| failure.of_request(id.as_deref()))?.respond(&caller, reply)
        }
    }
}

/// Stores a large value as it arrives, and then commits.
async fn write_large(
    caller: &Caller,
    mut opening: Opening,
    key: Key,
    content_type: Option<String>,
    large: Large,
) -> Result<Outcome> {
    if opening.request_id.is_some() {
        opening.fingerprint = Some(fingerprint_of_large(&key, content_type.as_deref(), &large));
    }
    // It takes as long as its client takes to send it.
    opening.timeout_ms = Some(LONGEST);
    let (begin, guard) = opening.begin(caller)?;
    let attempt = begin.attempt;
    Span::current().record("transaction", tracing::field::display(token(caller, attempt)));
    match caller.node.ask(Verb::Begin(begin)).await {
        Ok(Reply::Begun { committed: None, .. }) => {}
        Ok(Reply::Replayed(replayed)) => {
            large.skip().await;
            return Ok(Outcome::Replayed(replayed));
        }
        Ok(reply) => panic!("a begin was answered {reply:?}"),
        Err(refusal) => {
            large.skip().await;
            return Err(refusal.into());
        }
    }
    let (blob, size) = content::store(caller, attempt, large).await?;
    let plan = Plan::of(content::put_large(key, blob, size, content_type)?);
    let outcome = opening::run(caller, attempt, plan, Some(CommitArgs::default())).await?;
    guard.ended();
    Ok(outcome)
}

/// Tells a request's payload from others before all of it is here: by the key, the content type, the announced size, and the first bytes.
fn fingerprint_of_large(key: &Key, content_type: Option<&str>, large: &Large) -> Fingerprint {
    let announced = large.announced.map_or(String::new(), |bytes| bytes.to_string());
    let mut text = Vec::new();
    for part in [key.as_str(), content_type.unwrap_or_default(), &announced] {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    // As many of them as every attempt has at hand, however the network cuts the body.
    large.first.iter().flatten().take(FINGERPRINT_BYTES).for_each(|byte| text.push(*byte));
    fingerprint(&text)
}

pub(crate) async fn delete(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (opening, key) = opening(&caller, &request)?;
    let reply = body::accepted(request.headers()).unwrap_or_default();
    run(&caller, opening, http::Op::delete(key.as_str()), reply).await
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

async fn run(caller: &Caller, mut opening: Opening, op: http::Op, reply: Format) -> Result<Response> {
    if opening.request_id.is_some() {
        let batch = http::Batch { ops: vec![op.clone()], commit: Some(true), result: None };
        opening.fingerprint = Some(fingerprint(&Format::Protobuf.encode(&batch)));
    }
    let outcome = opening.run(caller, vec![op], Some(CommitArgs::default())).await?;
    outcome.respond(caller, reply)
}
