//! `GET`, `HEAD`, `PUT` and `DELETE` of one key, each a transaction of its own. All accept and
//! return `Aft-Session`; writes accept `Idempotency-Key`.

use aft_access::Right;
use aft_api::{self as api, Format, OpIf, OpKind, Put, header};
use aft_core::ids::Key;
use aft_core::message::{CommitArgs, Isolation};
use aft_desk::Opening;
use aft_desk::large::{Arriving, Stored};
use aft_format::{encode_session, fingerprint};
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use axum::response::Response;
use bytes::Bytes;
use tracing::Span;

use crate::body::{self, Large};
use crate::caller::Caller;
use crate::calls::call::{self, header_value};
use crate::calls::conditional;
use crate::calls::content::{self, Content, Incoming};
use crate::calls::idempotency;
use crate::calls::outcome::Reported;
use crate::calls::transactions::run_opening;
use crate::calls::values::attributes;
use crate::failure::Result;
use crate::path;

const PREFIX: &str = "/v1/keys/";

pub(crate) async fn read(caller: Caller, request: Request<Body>) -> Result<Response> {
    let [fresh] = path::query(request.uri().query(), ["fresh"])?;
    let fresh = path::flag("fresh", fresh.as_deref())?;
    let key = caller.key_in_path(path::after(request.uri().path(), PREFIX), Right::Read)?;
    let session = call::session(None, request.headers())?;
    let opening = Opening { session, fresh, ..Opening::default() };
    let ready = opening.prepare(&caller, Some(&key))?;
    let (read, committed) = ready.read(&caller, key).await?;
    let session = header_value(&encode_session(&committed.session));
    let (read, held) = match content::takes_long(&read) && request.method() == Method::GET {
        true => {
            // Read again, in a transaction that stays open while the value is sent, so that the
            // value is not collected meanwhile.
            let opening = Opening { session: committed.session, fresh, ..Opening::default() };
            let ready = opening.prepare(&caller, Some(&read.key))?;
            let (read, held) = ready.read_held(&caller, read.key).await?;
            (read, Some(held))
        }
        false => (read, None),
    };
    let mut response = content::respond(&caller, read, request.method(), request.headers(), held).await?;
    response.headers_mut().insert(header::SESSION, session);
    Ok(response)
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
            let outcome = write_large(&caller, opening, (key, condition), content_type, large).await;
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
    large: Large,
) -> Result<Reported> {
    let check = conditional::check(caller, &key, condition.as_ref())?;
    // Conditions need a serializable transaction. The node sees the condition only after the begin,
    // so the level is set here.
    opening.isolation = check.as_ref().map(|_| Isolation::Serializable);
    let mut value = Arriving::new(large);
    // The whole payload is known only at its end, so the transaction begins without a fingerprint,
    // and gets one with its commit.
    if opening.request_id.is_some() {
        value.sum_up(&named(&key, content_type.as_deref(), condition.as_ref()));
    }
    let attributes = attributes(content_type)?;
    let mut ready = opening.prepare(caller, Some(&key))?;
    // The transaction must stay open for as long as the client takes to send the value.
    ready.as_long_as_possible();
    Span::current().record("transaction", tracing::field::display(caller.token(ready.attempt())));
    let plan =
        |stored: &Stored| check.into_iter().chain([stored.put(key, Bytes::new(), attributes)]).collect();
    Ok(ready.store(caller, value, plan).await?.into())
}

/// Returns the bytes that the fingerprint of a large value covers before the value itself: the key,
/// the content type and the condition, each with its length.
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

/// Returns the arguments of the opening, and the key, of a write.
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

/// Runs one write in a transaction of its own. With a request ID, the operation is the fingerprint.
async fn run(caller: &Caller, mut opening: Opening, op: api::Op, reply: Format) -> Result<Response> {
    if opening.request_id.is_some() {
        let batch = api::Batch { ops: vec![op.clone()], commit: Some(true), result: None };
        opening.fingerprint = Some(fingerprint(&Format::Protobuf.encode(&batch)));
    }
    let outcome = run_opening(caller, opening, vec![op], Some(CommitArgs::default())).await?;
    outcome.respond(caller, reply)
}
