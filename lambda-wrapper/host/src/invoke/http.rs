//! The Invoke API, 2015-03-31, in the form that AWS SDKs and the AWS CLI speak. Signatures are not
//! checked.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::kinds::PAYLOAD_MAX;
use super::{Delivery, Invoke, InvokeError, Invoked};
use crate::api::body::{Read, read};
use crate::arn::VERSION;
use crate::host::Inner;

/// The header in which a browser tells where a call comes from (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const REQUEST_ID: &str = "x-amzn-requestid";
const TRACE_ID: &str = "x-amzn-trace-id";

/// Returns the router of the Invoke API.
pub(crate) fn router(host: Arc<Inner>) -> Router {
    Router::new().route("/2015-03-31/functions/{name}/invocations", post(invoke)).with_state(host)
}

async fn invoke(
    State(host): State<Arc<Inner>>,
    Path(function): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, InvokeError> {
    if let Some(header) = sign_of_web_page(&headers) {
        return Err(InvokeError::Denied(format!(
            "the header {header} says that the call may come from a web page: call from a program, by a loopback \
             address such as 127.0.0.1"
        )));
    }
    let payload = match read(body, PAYLOAD_MAX as u64).await {
        Read::Whole { bytes, .. } => bytes,
        Read::TooLarge(bytes) => return Err(InvokeError::TooLarge { bytes, max: PAYLOAD_MAX }),
        Read::Truncated => {
            return Err(InvokeError::InvalidContent("the body broke off: send it again".to_owned()));
        }
    };
    let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let client_context = given("x-amz-client-context").map(|context| decoded(&context)).transpose()?;
    let invoke = Invoke {
        function,
        payload,
        request_id: given(REQUEST_ID),
        client_context,
        trace_id: given(TRACE_ID),
        timeout: None,
    };
    match given("x-amz-invocation-type").as_deref() {
        None | Some("RequestResponse") => {
            let wants_tail = given("x-amz-log-type").as_deref() == Some("Tail");
            host.invoke(invoke).await.map(|invoked| answer(invoked, wants_tail))
        }
        Some("Event") => {
            let queued = host.send(invoke, Delivery::Once)?;
            Ok((StatusCode::ACCEPTED, id(&queued.request_id)).into_response())
        }
        Some("DryRun") => host.check(invoke).map(|()| StatusCode::NO_CONTENT.into_response()),
        Some(other) => Err(InvokeError::InvalidParameter(format!(
            "{other:?} is no invocation type: give RequestResponse, Event or DryRun"
        ))),
    }
}

fn answer(invoked: Invoked, wants_tail: bool) -> Response {
    let content_type = invoked.content_type.as_deref().unwrap_or("application/json");
    let content_type = HeaderValue::from_str(content_type).expect("it came in a header");
    let mut response = (StatusCode::OK, id(&invoked.request_id), invoked.payload).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert("x-amz-executed-version", HeaderValue::from_static(VERSION));
    if let Some(error) = invoked.function_error {
        headers.insert("x-amz-function-error", HeaderValue::from_static(error));
    }
    if wants_tail {
        let tail = HeaderValue::from_str(&STANDARD.encode(invoked.log_tail)).expect("base64 is ASCII");
        headers.insert("x-amz-log-result", tail);
    }
    response
}

fn id(request_id: &str) -> [(HeaderName, HeaderValue); 1] {
    let value = HeaderValue::from_str(request_id).expect("request IDs are checked");
    [(HeaderName::from_static(REQUEST_ID), value)]
}

fn decoded(context: &str) -> Result<String, InvokeError> {
    let bytes = STANDARD.decode(context).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        InvokeError::InvalidContent("Client context must be a valid Base64-encoded JSON object.".to_owned())
    })
}

/// Returns the header that shows that a call may come from a web page in a browser on this machine.
/// Programs on it may invoke functions; pages must not. A page whose name resolves to a loopback
/// address (DNS rebinding) shows it by the host that it names.
fn sign_of_web_page(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Some("Origin");
    }
    if headers.get_all(FETCH_SITE).iter().any(|site| site != "none") {
        return Some("Sec-Fetch-Site");
    }
    let is_loopback = |host: &HeaderValue| {
        let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
        let name = host.host().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    };
    match headers.get_all(header::HOST).iter().all(is_loopback) {
        true => None,
        false => Some("Host"),
    }
}

impl IntoResponse for InvokeError {
    fn into_response(self) -> Response {
        let (status, kind) = self.kind();
        let mut body = serde_json::json!({
            "Type": if status < 500 { "User" } else { "Service" },
            "Message": self.to_string(),
        });
        if self == Self::Throttled {
            body["Reason"] = "ReservedFunctionConcurrentInvocationLimitExceeded".into();
        }
        let status = StatusCode::from_u16(status).expect("it is a status");
        let headers =
            [(header::CONTENT_TYPE, "application/json"), (HeaderName::from_static("x-amzn-errortype"), kind)];
        (status, headers, body.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_web_pages_are_recognized() {
        for (name, value, sign) in [
            ("host", "127.0.0.1:9001", None),
            ("host", "localhost:9001", None),
            ("host", "[::1]:9001", None),
            ("host", "a.localhost.", None),
            ("host", "evil.example", Some("Host")),
            ("host", "127.0.0.1.evil.example", Some("Host")),
            ("origin", "https://evil.example", Some("Origin")),
            ("origin", "null", Some("Origin")),
            ("sec-fetch-site", "cross-site", Some("Sec-Fetch-Site")),
            ("sec-fetch-site", "none", None),
        ] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(sign_of_web_page(&headers), sign, "{name}: {value}");
        }
    }
}
