//! `GET`, `HEAD`, `PUT` and `DELETE` of one key, each a transaction of its own. `Aft-Session` in and out; writes take `Idempotency-Key`.

use std::sync::Arc;

use aft_core::message::{Batch, CommitArgs, Op, Reply, Verb};
use aft_wire::durable::{encode_session, fingerprint};
use aft_wire::http::{self, Format, OpKind, Put, header};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request};
use axum::response::Response;

use crate::body;
use crate::failure::Result;
use crate::native::call::{self, header_value};
use crate::native::idempotency;
use crate::native::keys::{respond, value};
use crate::native::opening::{AbortOnDrop, Opening};
use crate::path;
use crate::router::Doors;

const PREFIX: &str = "/v1/keys/";

pub(crate) async fn read(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    path::query(request.uri().query(), []).map(|[]| ())?;
    let key = path::key(path::after(request.uri().path(), PREFIX))?;
    let mut opening = Opening { session: call::session(None, request.headers())?, ..Opening::default() };
    let mut begin = opening.begin(&doors)?;
    // Nothing is written: the commit stores nothing, and a value that is gone after it is gone without harm.
    begin.batch = Batch { ops: vec![Op::Get(key)], commit: Some(CommitArgs::default()) };
    let guard = AbortOnDrop::new(&doors.node, begin.attempt);
    let (reads, committed) = match doors.node.ask(Verb::Begin(begin)).await? {
        Reply::Begun { reads, committed: Some(committed), .. } => (reads, committed),
        reply => panic!("a read was answered {reply:?}"),
    };
    guard.keep();
    let read = reads.into_iter().next().expect("one get has one read");
    let session = header_value(&encode_session(&committed.session));
    match respond(&doors, read, request.method()).await {
        Ok(mut response) => {
            response.headers_mut().insert(header::SESSION, session);
            Ok(response)
        }
        Err(failure) => Err(failure),
    }
}

pub(crate) async fn write(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    let (opening, key) = opening(&request)?;
    let reply = body::accepted(request.headers()).unwrap_or_default();
    let (value, content_type) = value(&doors, request).await?;
    let put = Put { key, value: value.bytes.clone(), content_type };
    run(&doors, opening, http::Op { kind: Some(OpKind::Put(put)) }, reply).await
}

pub(crate) async fn delete(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    let (opening, key) = opening(&request)?;
    let reply = body::accepted(request.headers()).unwrap_or_default();
    run(&doors, opening, http::Op::delete(key), reply).await
}

fn opening(request: &Request<Body>) -> Result<(Opening, String)> {
    let headers: &HeaderMap = request.headers();
    let [scope] = path::query(request.uri().query(), ["scope"])?;
    let key = path::key(path::after(request.uri().path(), PREFIX))?;
    let opening = Opening {
        request_id: idempotency::request_id(headers)?,
        scope,
        session: call::session(None, headers)?,
        ..Opening::default()
    };
    Ok((opening, key.as_str().to_owned()))
}

async fn run(doors: &Doors, mut opening: Opening, op: http::Op, reply: Format) -> Result<Response> {
    if opening.request_id.is_some() {
        let batch = http::Batch { ops: vec![op.clone()], commit: Some(true), result: None };
        opening.fingerprint = Some(fingerprint(&Format::Protobuf.encode(&batch)));
    }
    let outcome = opening.run(doors, vec![op], Some(CommitArgs::default())).await?;
    outcome.respond(doors, reply)
}
