//! The Extensions API, 2020-01-01.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::body::{Read, read};
use super::runtime::text;
use super::{accepted, json};
use crate::arn::VERSION;
use crate::environment::Environment;
use crate::ids;
use crate::machine::invocation::error_type;
use crate::machine::{Event, ExtensionEvent, Rejected};

const NAME: &str = "lambda-extension-name";
const IDENTIFIER: &str = "lambda-extension-identifier";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";
/// The longest body of an extension's call, in bytes. Its content is small.
const BODY_MAX: u64 = 256 << 10;

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
}

pub(super) async fn register(
    State(environment): State<Arc<Environment>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejected> {
    let name = text(&headers, NAME).unwrap_or_default().to_owned();
    let Read::Whole { bytes, .. } = read(body, BODY_MAX).await else { return Err(Rejected::truncated()) };
    let registration: Registration = serde_json::from_slice(&bytes)
        .map_err(|why| Rejected::extension("InvalidRequestFormat", why.to_string()))?;
    let events = registration.events.iter().map(|event| match event.as_str() {
        "INVOKE" => Ok(Event::Invoke),
        "SHUTDOWN" => Ok(Event::Shutdown),
        other => Err(Rejected::extension("Extension.InvalidEventType", format!("{other}: no such event"))),
    });
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let id = ids::request_id();
    environment.change(|machine| machine.register(&name, &events, &id))?;
    let shared = &environment.shared;
    let mut answer = serde_json::json!({
        "functionName": shared.function.name,
        "functionVersion": VERSION,
        "handler": shared.function.handler,
    });
    if text(&headers, "lambda-extension-accept-feature").is_some_and(|given| given.contains("accountId")) {
        answer["accountId"] = shared.config.account.clone().into();
    }
    let mut answer = json(StatusCode::OK, answer.to_string());
    let id = HeaderValue::from_str(&id).expect("an identifier is ASCII");
    answer.headers_mut().insert(IDENTIFIER, id);
    Ok(answer)
}

/// Waits for the next event, without a limit.
pub(super) async fn next(
    State(environment): State<Arc<Environment>>,
    headers: HeaderMap,
) -> Result<Response, Rejected> {
    let id = identifier(&headers)?;
    environment.change(|machine| machine.extension_next(&id, Instant::now()))?;
    let event = environment.machine.take(|machine| machine.take_event(&id)).await;
    let event = match event {
        ExtensionEvent::Invoke(invocation) => serde_json::json!({
            "eventType": "INVOKE",
            "deadlineMs": invocation.deadline_ms,
            "requestId": invocation.request_id,
            "invokedFunctionArn": invocation.arn,
            "tracing": { "type": "X-Amzn-Trace-Id", "value": invocation.trace_id },
        }),
        ExtensionEvent::Shutdown { reason, deadline_ms } => serde_json::json!({
            "eventType": "SHUTDOWN",
            "shutdownReason": reason.word(),
            "deadlineMs": deadline_ms,
        }),
    };
    let mut answer = json(StatusCode::OK, event.to_string());
    let id = HeaderValue::from_str(&id).expect("it came in a header");
    answer.headers_mut().insert(IDENTIFIER, id);
    let event_id = HeaderValue::from_str(&ids::request_id()).expect("an identifier is ASCII");
    answer.headers_mut().insert("lambda-extension-event-identifier", event_id);
    Ok(answer)
}

/// Takes the report of an error, in the extension's start or before its end.
pub(super) async fn error(
    State(environment): State<Arc<Environment>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejected> {
    let id = identifier(&headers)?;
    let Some(given) = text(&headers, ERROR_TYPE) else {
        return Err(Rejected::extension("Extension.MissingHeader", format!("{ERROR_TYPE} not found")));
    };
    let given = error_type(Some(given), "Extension.UnknownError");
    // The body explains the error for people. It is read so that the connection stays usable.
    let Read::Whole { .. } = read(body, BODY_MAX).await else { return Err(Rejected::truncated()) };
    environment.change(|machine| machine.extension_error(&id, given))?;
    Ok(accepted())
}

/// Answers subscriptions to logs and telemetry as Lambda's emulator does: they are taken, and
/// nothing is ever sent.
pub(super) async fn telemetry(uri: Uri, body: Body) -> Rejected {
    // Read so that the connection stays usable.
    let _ = read(body, BODY_MAX).await;
    if uri.path().ends_with("logs") {
        Rejected::unsupported("Logs.NotSupported", "Logs API is not supported")
    } else {
        Rejected::unsupported("Telemetry.NotSupported", "Telemetry API is not supported")
    }
}

fn identifier(headers: &HeaderMap) -> Result<String, Rejected> {
    let missing =
        || Rejected::extension("Extension.MissingExtensionIdentifier", format!("{IDENTIFIER} not found"));
    text(headers, IDENTIFIER).map(str::to_owned).ok_or_else(missing)
}
