//! The local S3 endpoint, to which the environment's `AWS_ENDPOINT_URL_S3` points: the S3 door of
//! the node in this process, or a way to that of a shim.
//!
//! A call within an invocation is a part of its transaction. Outside of any, a call may read what
//! was committed last, and its writes are rejected: nobody would commit them.

pub mod forward;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tracing::warn;

use crate::attribution::{Outside, Place};
use crate::http::{Answers, Body, full};
use crate::layer::Layer;
use crate::processes::Peer;
use crate::transactions::Transactions;

/// The header that names a transaction.
const TRANSACTION: HeaderName = HeaderName::from_static("aft-transaction");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// The bytes of a rejected call's body that are read, so that the client reads the answer.
const SKIPPED_BYTES_MAX: usize = 64 << 20;

/// The endpoint.
#[derive(Debug, Clone)]
pub struct S3(pub Arc<Layer>);

impl Answers for S3 {
    async fn answer(&self, mut request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let layer = &self.0;
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let trace_id = request.headers().get(&TRACE_ID).and_then(|value| value.to_str().ok());
        let place = layer.attribution.of(trace_id, peer).await;
        // Only the layer says which transaction a call belongs to.
        request.headers_mut().remove(&TRANSACTION);
        request.headers_mut().remove(&TRACE_ID);
        match place {
            Place::Within(running) => {
                running.count(writes);
                let token = HeaderValue::from_str(&running.token).expect("a token is visible ASCII");
                request.headers_mut().insert(TRANSACTION, token);
            }
            Place::Outside(why) if writes => {
                let path = request.uri().path().to_owned();
                warn!(method = %request.method(), path, why = text_of(why), "aft: a write of S3 was rejected");
                // The body is read, so that the client can read the answer.
                let _ = Limited::new(request.into_body(), SKIPPED_BYTES_MAX).collect().await;
                return rejected(text_of(why));
            }
            Place::Outside(_) => {}
        }
        match &layer.transactions {
            Transactions::Embedded(embedded) => {
                let answer = embedded.answer_s3(request).await;
                answer.unwrap_or_else(|failure| unavailable(&failure.text))
            }
            Transactions::Shim(_) => match &layer.forward {
                Some(forward) => match forward.send(request).await {
                    Ok(answer) => answer,
                    Err(why) => unavailable(&format!("the shim's S3 endpoint does not answer: {why}")),
                },
                None => unavailable("AFT_S3_URL is not set, so there is no S3 endpoint"),
            },
        }
    }
}

fn text_of(why: Outside) -> &'static str {
    match why {
        Outside::NothingRuns => {
            "the call came while no handler ran, so no transaction would commit it: write within the handler, and wait \
             there for every call and every thread before it returns"
        }
        Outside::Several => {
            "several handlers run in this environment, and the call does not say whose it is: use an SDK that sends \
             X-Amzn-Trace-Id, in the thread or task of the handler, or send that header with the trace ID that the \
             runtime gives the handler"
        }
        Outside::Stranger => {
            "the call came from a process that is neither the handler's nor a child of it, and does not say whose it \
             is: send X-Amzn-Trace-Id with the trace ID that the runtime gives the handler"
        }
        Outside::Ended => {
            "the call came after its handler had returned: wait in the handler for every call and every thread"
        }
    }
}

/// Returns the rejection of a write. SDKs do not retry this status.
fn rejected(why: &str) -> Response<Body> {
    document(StatusCode::BAD_REQUEST, "InvalidRequest", &format!("AFT rejected this write: {why}"))
}

fn unavailable(why: &str) -> Response<Body> {
    document(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why)
}

/// Returns an error document of S3.
fn document(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let mut response = Response::new(full(Bytes::from(text)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
