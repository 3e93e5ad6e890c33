//! `GET`, `HEAD`, `PUT` and `DELETE` of one key in a transaction; values are raw bodies.

use std::sync::Arc;

use aft_core::ids::Key;
use aft_core::message::{Batch, Op, Read, Reply, Verb};
use aft_core::record::Location;
use aft_wire::durable::TransactionToken;
use aft_wire::http::{self, Code, OpKind, Put, header};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::body::{self, Whole};
use crate::failure::{Failure, Result};
use crate::native::call::{self, header_value};
use crate::native::opening;
use crate::native::values::{content_type, found};
use crate::path;
use crate::reply;
use crate::router::Doors;
use crate::share::with_copies;

/// The content type of a value that was written without one.
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

fn target(doors: &Doors, request: &Request<Body>) -> Result<(TransactionToken, Key)> {
    path::query(request.uri().query(), []).map(|[]| ())?;
    let token = call::transaction(doors, request.uri().path())?;
    let key = path::key(path::after(request.uri().path(), "/keys/"))?;
    Ok((token, key))
}

pub(crate) async fn read(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&doors, &request)?;
    let batch = Batch { ops: vec![Op::Get(key)], commit: None };
    let reads = match doors.node.ask(Verb::Run(token.attempt, batch)).await {
        Ok(Reply::Ran { reads, .. }) => reads,
        Ok(reply) => panic!("a batch was answered {reply:?}"),
        Err(refusal) => return Err(Failure::from(refusal).of(&token)),
    };
    let read = reads.into_iter().next().expect("one get has one read");
    respond(&doors, read, request.method()).await.map_err(|failure| failure.of(&token))
}

/// A value as a raw body.
pub(crate) async fn respond(doors: &Doors, read: Read, method: &Method) -> Result<Response> {
    let Some((value, version)) = found(read.found) else {
        let detail = format!("{:?} has no value in this transaction's snapshot", read.key);
        return Err(Failure::new(Code::Absent, detail));
    };
    let mut response = if method == Method::HEAD {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(value.size));
        response
    } else {
        // Before the value is fetched: what has no room is not held. The reply gives back what only the fetching takes.
        let size = usize::try_from(value.size).unwrap_or(usize::MAX);
        let share = match &value.location {
            Location::Blob(blob) if blob.parts > 1 => doors.bodies.share(with_copies(size))?,
            Location::Blob(_) | Location::Inline(_) => doors.bodies.share(size)?,
        };
        let bytes = match &value.location {
            // A slice of a record or of a request's body, of which a slow reader would hold all.
            Location::Inline(bytes) => Bytes::copy_from_slice(bytes),
            Location::Blob(_) => doors.node.read_value(&read.key, &value).await?,
        };
        reply::response(bytes, share)
    };
    let content_type = content_type(&read.key, &value)?;
    // Written through another door it may hold what a header cannot.
    let content_type =
        content_type.and_then(|text| HeaderValue::try_from(text).ok()).unwrap_or(DEFAULT_CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::VERSION, header_value(&version));
    Ok(response)
}

pub(crate) async fn write(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&doors, &request)?;
    let (value, content_type) = value(&doors, request).await?;
    let put = Put { key: key.as_str().to_owned(), value: value.bytes.clone(), content_type };
    run(&doors, &token, http::Op { kind: Some(OpKind::Put(put)) }).await
}

/// A raw body as a value, with its content type.
pub(crate) async fn value(doors: &Doors, request: Request<Body>) -> Result<(Whole, Option<String>)> {
    let (head, body) = request.into_parts();
    let content_type = match head.headers.get(CONTENT_TYPE) {
        Some(text) => Some(
            text.to_str().map_err(|_| Failure::invalid("the header Content-Type is not ASCII"))?.to_owned(),
        ),
        None => None,
    };
    let whole = body::read(doors, body, &head.headers, "a value", doors.settings.value_bytes_max).await?;
    Ok((whole, content_type))
}

pub(crate) async fn delete(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&doors, &request)?;
    run(&doors, &token, http::Op::delete(key.as_str())).await
}

async fn run(doors: &Doors, token: &TransactionToken, op: http::Op) -> Result<Response> {
    opening::run(doors, token.attempt, vec![op], None).await.map_err(|failure| failure.of(token))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
