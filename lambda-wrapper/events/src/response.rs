//! Answers that callers understand: HTTP responses in the form of each proxy, problem documents
//! (RFC 9457), and the error documents of Lambda.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use crate::Source;

use crate::json::{Document, fields};
use crate::rejected::{Reason, Rejected};

/// The header that marks the stored answer of an earlier delivery.
pub const REPLAYED_HEADER: &str = "Idempotent-Replayed";

/// The longest message in an answer, in characters. A function's own error may be of any size, and
/// the answer must fit where Lambda's do.
const MESSAGE_CHARACTERS_MAX: usize = 4_000;

/// The reason why an answer does not come from the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Another attempt of the request is running.
    InProgress,
    /// The request ID was used for another request.
    KeyReused,
    /// The request has committed, and its result is not kept any longer.
    ResultGone,
    /// The request has no request ID, and the rules require one.
    KeyMissing,
    /// The request's ID cannot be read, or it has two.
    KeyRejected,
    /// The store does not answer, so the outcome is unknown.
    OutcomeUnknown,
    /// Records of a batch failed, and the mapping does not report single ones.
    RecordsFailed,
}

impl Code {
    /// Returns the error type, as states and clients name it.
    #[must_use]
    pub fn error_type(self) -> &'static str {
        match self {
            Code::InProgress => "Aft.InProgress",
            Code::KeyReused => "Aft.KeyReused",
            Code::ResultGone => "Aft.ResultGone",
            Code::KeyMissing => "Aft.KeyMissing",
            Code::KeyRejected => "Aft.KeyRejected",
            Code::OutcomeUnknown => "Aft.OutcomeUnknown",
            Code::RecordsFailed => "Aft.RecordsFailed",
        }
    }

    /// Returns the status of an HTTP response.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Code::KeyMissing | Code::KeyRejected => 400,
            Code::InProgress => 409,
            Code::ResultGone => 410,
            Code::KeyReused => 422,
            Code::RecordsFailed => 500,
            Code::OutcomeUnknown => 503,
        }
    }

    /// Returns the title of a problem document.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Code::InProgress => "A request is outstanding for this idempotency key",
            Code::KeyReused => "The idempotency key is already used for another request",
            Code::ResultGone => "The request is done, and its result is not kept any longer",
            Code::KeyMissing => "The idempotency key is missing",
            Code::KeyRejected => "The idempotency key cannot be read",
            Code::OutcomeUnknown => "The outcome of the request is unknown",
            Code::RecordsFailed => "Records of the batch failed",
        }
    }

    /// Returns true if the same request may succeed later. A service that retries it otherwise
    /// should move it to its dead-letter queue.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Code::InProgress | Code::OutcomeUnknown | Code::RecordsFailed => true,
            Code::KeyReused | Code::ResultGone | Code::KeyMissing | Code::KeyRejected => false,
        }
    }
}

/// An answer that does not come from the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The response of the invocation: an HTTP response.
    Response(Vec<u8>),
    /// An error document of the invocation.
    Error(Vec<u8>),
}

/// Returns the answer to a caller of `source`.
#[must_use]
pub fn answer(source: Source, code: Code, detail: &str, retry_after: Option<Duration>) -> Answer {
    if source.is_http() {
        Answer::Response(problem(source, code, detail, retry_after))
    } else {
        Answer::Error(error_document(code, detail))
    }
}

/// Returns the answer to an event that was rejected.
#[must_use]
pub fn rejected(rejected: &Rejected) -> Answer {
    let code = match rejected.reason {
        Reason::KeyMissing => Code::KeyMissing,
        Reason::SeveralKeys | Reason::KeyMalformed => Code::KeyRejected,
    };
    answer(rejected.source, code, &rejected.message, None)
}

/// Returns a problem document inside an HTTP response in the form of a source.
///
/// # Panics
/// Panics if the source is not HTTP: its caller would take the response for a success.
#[must_use]
pub fn problem(source: Source, code: Code, detail: &str, retry_after: Option<Duration>) -> Vec<u8> {
    assert!(source.is_http(), "only HTTP has problem documents");
    let body = json!({
        "status": code.status(),
        "title": code.title(),
        "detail": bounded(detail),
        "code": code.error_type(),
    });
    let mut headers = vec![("Content-Type", "application/problem+json".to_owned())];
    if let Some(after) = retry_after {
        // Whole seconds, and never "at once": the header has no finer unit.
        headers.push(("Retry-After", after.as_millis().div_ceil(1_000).max(1).to_string()));
    }
    let single: Map<String, Value> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let mut response = json!({
        "statusCode": code.status(),
        "headers": single,
        "body": body.to_string(),
        "isBase64Encoded": false,
    });
    if source == Source::LoadBalancer {
        // A target group reads one of the two members, by a setting that responses do not see.
        let several: Map<String, Value> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), json!([value]))).collect();
        response["multiValueHeaders"] = Value::Object(several);
    }
    response.to_string().into_bytes()
}

/// Returns an error document of Lambda.
#[must_use]
pub fn error_document(code: Code, message: &str) -> Vec<u8> {
    json!({ "errorType": code.error_type(), "errorMessage": bounded(message) }).to_string().into_bytes()
}

fn bounded(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}

/// Returns the status that a function's response sends to an HTTP caller; `None` if the source is
/// not HTTP, or if the proxy will not understand the response.
#[must_use]
pub fn status_of(source: Source, response: &[u8]) -> Option<u16> {
    if !source.is_http() {
        return None;
    }
    let document = Document::parse(response);
    let status = document.as_ref().and_then(|document| document.tree.get("statusCode"));
    let number = match status {
        Some(Value::Number(number)) => number.as_u64(),
        // REST APIs take text, too.
        Some(Value::String(text)) => text.parse().ok(),
        // The payload format 2.0 makes a success of every JSON without a status.
        None if takes_any(source) && document.is_some() => Some(200),
        _ => None,
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|status| (100..600).contains(status))
}

/// Returns a stored response with the header that says so. A response that the proxy will not
/// understand, or of a source that is not HTTP, stays as it is.
#[must_use]
pub fn replayed(source: Source, response: &[u8]) -> Vec<u8> {
    let unchanged = || response.to_vec();
    if status_of(source, response).is_none() {
        return unchanged();
    }
    let Some(document) = Document::parse(response) else { return unchanged() };
    if document.tree.get("statusCode").is_none() {
        return spelled_out(&document).to_string().into_bytes();
    }
    let Some(mut members) = fields(document.raw) else { return unchanged() };
    let is_object = |name: &str| members.get(name).is_some_and(|raw| fields(raw).is_some());
    let (has_single, has_several) = (is_object("headers"), is_object("multiValueHeaders"));
    // A load balancer reads one of the two members, by a setting that responses do not see: the one
    // that the function filled, or else either.
    let is_balancer = source == Source::LoadBalancer;
    let (into_single, into_several) =
        (!has_several || (is_balancer && has_single), has_several || (is_balancer && !has_single));
    assert!(into_single || into_several, "every replay is marked");
    let single = with_header(&document.tree, "headers", json!("true"));
    let several = with_header(&document.tree, "multiValueHeaders", json!(["true"]));
    // The other members stay as they were written: the body of a response may be large.
    if into_single {
        members.insert("headers".to_owned(), &single);
    }
    if into_several {
        members.insert("multiValueHeaders".to_owned(), &several);
    }
    let written = members.iter().map(|(name, raw)| format!("{}:{}", json!(name), raw.get()));
    format!("{{{}}}", written.collect::<Vec<_>>().join(",")).into_bytes()
}

/// Returns true if a source makes a response of any JSON: those with the payload format 2.0.
fn takes_any(source: Source) -> bool {
    matches!(source, Source::HttpApi | Source::FunctionUrl)
}

/// Returns the headers of a response with the one of a replay, in place of one that it had.
fn with_header(response: &Value, member: &str, value: Value) -> Box<RawValue> {
    let old = response.get(member).and_then(Value::as_object);
    let kept = old.into_iter().flatten().filter(|(name, _)| !name.eq_ignore_ascii_case(REPLAYED_HEADER));
    let mut headers: BTreeMap<String, Value> =
        kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    headers.insert(REPLAYED_HEADER.to_owned(), value);
    to_raw_value(&headers).expect("headers are always JSON")
}

/// Returns the HTTP response that the payload format 2.0 makes of JSON without a status.
fn spelled_out(document: &Document<'_>) -> Value {
    let body = document.tree.as_str().map_or_else(|| document.raw.get().to_owned(), str::to_owned);
    json!({
        "statusCode": 200,
        "headers": { "content-type": "application/json", REPLAYED_HEADER: "true" },
        "body": body,
        "isBase64Encoded": false,
    })
}
