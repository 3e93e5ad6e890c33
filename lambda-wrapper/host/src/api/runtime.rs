//! The Runtime API, 2018-06-01.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::accepted;
use super::body::{BUFFERED_MAX, Read, STREAMED_MAX, read};
use crate::environment::Environment;
use crate::machine::invocation::{Failure, Invocation, Outcome, document, error_type};
use crate::machine::{Machine, Rejected};

/// The header in which a runtime says that its response is a stream.
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
/// The header, or the trailer of a stream, with an error's type.
pub(super) const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
/// The trailer of a stream with an error's document, in base64.
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
/// The nonce of an invocation, which newer runtimes send back.
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";

pub(super) async fn ping() -> &'static str {
    "pong"
}

/// Waits for the next event, without a limit.
pub(super) async fn next(State(environment): State<Arc<Environment>>) -> Response {
    if let Err(rejected) = environment.change(|machine| machine.runtime_next(Instant::now())) {
        return rejected.into_response();
    }
    let mut poll = Poll { environment: &environment, has_ended: false };
    let invocation = environment.machine.take(|machine| machine.take_invocation()).await;
    poll.has_ended = true;
    let mut answer = (StatusCode::OK, invocation.payload.clone()).into_response();
    describe(&invocation, answer.headers_mut());
    answer
}

/// A call for the next event. It is dropped without an event if its connection closes.
struct Poll<'a> {
    environment: &'a Arc<Environment>,
    has_ended: bool,
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.environment.change(Machine::poller_left);
        }
    }
}

/// Sets the headers of an event. Runtimes of all ages need a content type: without one some crash.
fn describe(invocation: &Invocation, headers: &mut HeaderMap) {
    let deadline = invocation.deadline_ms.to_string();
    let values = [
        ("content-type", "application/json"),
        ("lambda-runtime-aws-request-id", invocation.request_id.as_str()),
        (INVOCATION_ID, invocation.invocation_id.as_str()),
        ("lambda-runtime-deadline-ms", deadline.as_str()),
        ("lambda-runtime-invoked-function-arn", invocation.arn.as_str()),
        ("lambda-runtime-trace-id", invocation.trace_id.as_str()),
        ("lambda-runtime-client-context", invocation.client_context.as_deref().unwrap_or_default()),
    ];
    for (name, value) in values.into_iter().filter(|(_, value)| !value.is_empty()) {
        let value = HeaderValue::from_str(value)
            .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
            .expect("invocations are checked when they are made");
        headers.insert(name, value);
    }
}

pub(super) async fn response(
    State(environment): State<Arc<Environment>>,
    Path(request_id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejected> {
    let max = match text(&headers, RESPONSE_MODE) {
        None => BUFFERED_MAX,
        Some("streaming") => STREAMED_MAX,
        Some(_) => return Err(Rejected::response_mode()),
    };
    let content_type = text(&headers, "content-type").map(str::to_owned);
    let invocation = match begin(&environment, &request_id, &headers) {
        Ok(invocation) => invocation,
        Err(rejected) => return Err(after(body, rejected).await),
    };
    let (outcome, rejected) = match read(body, max).await {
        Read::Whole { bytes, trailers } => match error_of(&trailers) {
            // The stream broke off in the function, which says so behind it.
            Some(document) => (Outcome::Failed(Failure::Reported(document)), None),
            None => (Outcome::Returned { body: bytes, content_type }, None),
        },
        Read::TooLarge(bytes) => {
            (Outcome::Failed(Failure::TooLarge { bytes, max }), Some(Rejected::too_large(max)))
        }
        Read::Truncated => (Outcome::Failed(Failure::Truncated), Some(Rejected::truncated())),
    };
    environment.change(|machine| machine.end_response(&invocation, outcome))?;
    rejected.map_or_else(|| Ok(accepted()), Err)
}

pub(super) async fn error(
    State(environment): State<Arc<Environment>>,
    Path(request_id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejected> {
    let invocation = match begin(&environment, &request_id, &headers) {
        Ok(invocation) => invocation,
        Err(rejected) => return Err(after(body, rejected).await),
    };
    let (failure, rejected) = match read(body, BUFFERED_MAX).await {
        Read::Whole { bytes, .. } => (Failure::Reported(bytes), None),
        Read::TooLarge(bytes) => {
            (Failure::TooLarge { bytes, max: BUFFERED_MAX }, Some(Rejected::too_large(BUFFERED_MAX)))
        }
        Read::Truncated => (Failure::Truncated, Some(Rejected::truncated())),
    };
    environment.change(|machine| machine.end_response(&invocation, Outcome::Failed(failure)))?;
    rejected.map_or_else(|| Ok(accepted()), Err)
}

pub(super) async fn init_error(
    State(environment): State<Arc<Environment>>,
    body: Body,
) -> Result<Response, Rejected> {
    let failure = match read(body, BUFFERED_MAX).await {
        Read::Whole { bytes, .. } => Failure::Reported(bytes),
        Read::TooLarge(_) => return Err(Rejected::too_large(BUFFERED_MAX)),
        Read::Truncated => return Err(Rejected::truncated()),
    };
    environment.change(|machine| machine.init_error(failure))?;
    Ok(accepted())
}

/// Reads a body that nobody wants, and returns the rejection of its call: with an unread body the
/// connection would be closed under a runtime that sends its next call there.
async fn after(body: Body, rejected: Rejected) -> Rejected {
    let _ = read(body, 0).await;
    rejected
}

/// Begins a response, and returns the nonce of its invocation.
///
/// If the call is dropped while its body is read, which happens when its process dies, the
/// invocation fails.
fn begin(environment: &Arc<Environment>, request_id: &str, headers: &HeaderMap) -> Result<Reading, Rejected> {
    let given = text(headers, INVOCATION_ID);
    let invocation_id = environment.change(|machine| machine.begin_response(request_id, given))?;
    Ok(Reading { environment: Arc::clone(environment), invocation_id })
}

/// A response that is being read.
struct Reading {
    environment: Arc<Environment>,
    invocation_id: String,
}

impl std::ops::Deref for Reading {
    type Target = str;

    fn deref(&self) -> &str {
        &self.invocation_id
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Rejected if the response has been taken, or the invocation is over for another reason.
        let outcome = Outcome::Failed(Failure::Truncated);
        let _ = self.environment.change(|machine| machine.end_response(&self.invocation_id, outcome));
    }
}

/// Returns the error document behind a stream.
fn error_of(trailers: &HeaderMap) -> Option<Bytes> {
    let given = text(trailers, ERROR_TYPE)?;
    let body = text(trailers, ERROR_BODY).and_then(|body| STANDARD.decode(body).ok());
    Some(body.map_or_else(
        || {
            let error_type = error_type(Some(given), "Function.Unknown");
            document(&error_type, "the function's stream ended with an error")
        },
        Bytes::from,
    ))
}

/// Returns a header's value if it is ASCII.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_behind_a_stream_are_decoded() {
        let mut trailers = HeaderMap::new();
        assert_eq!(error_of(&trailers), None);
        trailers.insert(ERROR_TYPE, HeaderValue::from_static("Function.Broken"));
        let document = error_of(&trailers).unwrap();
        assert!(document.starts_with(br#"{"errorType":"Function.Broken""#), "{document:?}");
        trailers.insert(ERROR_BODY, HeaderValue::from_static("e30="));
        assert_eq!(error_of(&trailers).unwrap(), "{}");
    }
}
