//! The proxy of the Runtime API, between the function's runtime and Lambda.
//!
//! ```text
//!   GET next        Lambda's event ─► identify ─► begin ─┬─► open: hand the event out
//!                                                        └─► committed before: post the kept reply
//!   POST response   reply ─► (calls belong to nobody from here) ─► commit ─► post ─► 202
//!   POST error      abort ─► post ─► 202
//!   anything else   passed on, both ways
//! ```
//!
//! A batch of records from a queue or a stream takes another way ([`records`]), since it is cut
//! differently each time that it comes. The runtime gets its records one after the other, as events
//! of one record with the deadline and the request ID of the batch. Each has a transaction of its
//! own, and the request ID of the record. A record that has committed before is skipped, whichever
//! batch it comes in. When all have ended, or the rest may not run because an earlier one failed or
//! time is short, Lambda gets one answer for the batch, which names the records that must come
//! again. If the runtime ends within a record, Lambda delivers the whole batch again, and those
//! that have committed are skipped then. `AFT_RECORDS=batch` makes one transaction of a batch
//! instead.
//!
//! The runtime is never answered with an error that it would die of: what Lambda says about a
//! response goes to the log.

pub mod handed;
pub mod invocation;
pub mod next;
pub mod post;
pub mod records;
pub mod reply;
pub mod upstream;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tracing::warn;

use crate::http::{Answers, Body, arriving, json, strip_hop_by_hop};
use crate::layer::Layer;
use crate::processes::Peer;

/// The version of the Runtime API, as its paths begin.
pub(crate) const VERSION: &str = "/2018-06-01";
pub(crate) const NEXT: &str = "/2018-06-01/runtime/invocation/next";
const INVOCATION: &str = "/2018-06-01/runtime/invocation/";
const RESTORE: &str = "/2018-06-01/runtime/restore/next";

/// The proxy.
#[derive(Debug, Clone)]
pub struct RuntimeApi(pub Arc<Layer>);

/// A call of the runtime.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    Next,
    Response(&'a str),
    Error(&'a str),
    /// The end of a snapshot, which this process was restored from.
    Restore,
    Other,
}

impl<'a> Call<'a> {
    fn of(method: &Method, path: &'a str) -> Call<'a> {
        let of_invocation = path.strip_prefix(INVOCATION).and_then(|rest| rest.split_once('/'));
        match (method.as_str(), path, of_invocation) {
            ("GET", NEXT, _) => Call::Next,
            ("GET", RESTORE, _) => Call::Restore,
            ("POST", _, Some((id, "response"))) => Call::Response(id),
            ("POST", _, Some((id, "error"))) => Call::Error(id),
            _ => Call::Other,
        }
    }
}

impl Answers for RuntimeApi {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let layer = &self.0;
        let path = request.uri().path().to_owned();
        match Call::of(request.method(), &path) {
            Call::Next => layer.next(request.headers(), peer).await,
            // A runtime that closes its connection, or ends, must not end this half-way: between a
            // commit and its response.
            Call::Response(id) => {
                let (layer, id) = (layer.clone(), id.to_owned());
                finished(tokio::spawn(async move { layer.respond(&id, request).await }).await)
            }
            Call::Error(id) => {
                let (layer, id) = (layer.clone(), id.to_owned());
                finished(tokio::spawn(async move { layer.fail(&id, request).await }).await)
            }
            Call::Restore => {
                let answer = forward(layer, request).await;
                layer.restored().await;
                answer
            }
            Call::Other => forward(layer, request).await,
        }
    }
}

/// Returns the answer of a task, and passes a panic of it on.
fn finished(answer: Result<Response<Body>, tokio::task::JoinError>) -> Response<Body> {
    match answer {
        Ok(answer) => answer,
        Err(why) => match why.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime of the layer shuts down.
            Err(_) => accepted(),
        },
    }
}

/// Passes a call on to Lambda, and its answer back.
async fn forward(layer: &Layer, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    match layer.upstream.send(head.method, &path, head.headers, arriving(body)).await {
        Ok(answer) => passed_on(answer),
        Err(why) => {
            warn!(path, why = %why, "aft: Lambda's Runtime API does not answer");
            json(
                StatusCode::BAD_GATEWAY,
                r#"{"errorMessage":"the Runtime API does not answer","errorType":"Aft.NoRuntimeApi"}"#,
            )
        }
    }
}

/// Returns an answer of Lambda as one to the runtime.
fn passed_on(answer: Response<Incoming>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    strip_hop_by_hop(&mut head.headers);
    Response::from_parts(head, arriving(body))
}

/// Returns the answer to a response that was taken.
pub(crate) fn accepted() -> Response<Body> {
    json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart() {
        let get = |path| Call::of(&Method::GET, path);
        let post = |path| Call::of(&Method::POST, path);
        assert_eq!(get("/2018-06-01/runtime/invocation/next"), Call::Next);
        assert_eq!(post("/2018-06-01/runtime/invocation/a-b/response"), Call::Response("a-b"));
        assert_eq!(post("/2018-06-01/runtime/invocation/a-b/error"), Call::Error("a-b"));
        assert_eq!(get("/2018-06-01/runtime/restore/next"), Call::Restore);
        for other in [
            post("/2018-06-01/runtime/init/error"),
            post("/2018-06-01/runtime/invocation/next"),
            get("/2018-06-01/runtime/invocation/a-b/response"),
            post("/2018-06-01/runtime/invocation/a-b/response/more"),
            get("/2018-06-01/ping"),
        ] {
            assert_eq!(other, Call::Other);
        }
    }
}
