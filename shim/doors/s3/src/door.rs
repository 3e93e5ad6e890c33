//! The door: the layer around every call, from its head to its answer.

use std::sync::Arc;
use std::time::Instant;

use aft_access::{Presented, Unauthorized};
use aft_desk::{Caller, Desk};
use aft_net::body::lend;
use aft_net::{Tls, browser};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, RANGE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use axum::response::Response;
use http_body_util::{BodyExt as _, Limited};
use metrics::{counter, histogram};
use tokio::net::TcpListener;
use tracing::{Instrument as _, debug_span};

use crate::checksum::{Digests, Wanted};
use crate::failure::{Failure, Result};
use crate::protocol::{Service, answer_of};
use crate::settings::Settings;
use crate::unchecked;

/// The start of a header with a bearer token; the case of its letters does not matter.
const BEARER: &str = "bearer ";
/// The header of every answer that identifies the call.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// The S3 door: the parts that its calls share.
#[derive(Debug)]
pub struct Door {
    desk: Arc<Desk>,
    net: aft_net::Settings,
    settings: Settings,
    service: Service,
}

impl Door {
    /// Makes a door in front of `desk`.
    pub fn new(desk: Arc<Desk>, net: aft_net::Settings, settings: Settings) -> Arc<Door> {
        let service = Service::new(&desk, &net, &settings);
        Arc::new(Door { desk, net, settings, service })
    }
}

/// Serves the protocol until `stop` completes. Then it accepts no new connection, finishes the
/// calls in flight within the settings' `stop_timeout`, and returns. With `tls`, connections that
/// do not speak TLS are dropped.
pub async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()>,
) {
    aft_net::serve(listener, router(door.clone()), &door.net, tls, stop).await;
}

/// Makes the endpoint as a service.
pub fn router(door: Arc<Door>) -> Router {
    Router::new().fallback(around).with_state(door)
}

/// Carries out one call: checks its head, finds its caller, and records its metrics.
async fn around(State(door): State<Arc<Door>>, request: Request<Body>) -> Response {
    let since = Instant::now();
    let id = format!("{:016X}", rand::random::<u64>());
    let method = method_label(request.method());
    // The metrics of doors have the same names; this one has a single route.
    let span = debug_span!("call", door = "s3", method, id);
    // If the call fails early, the rest of the body is read, so that the client can read the
    // answer.
    let (request, rest) = lend(request);
    let answered = async {
        match admit(&door, request).await {
            Ok(request) => door.service.call(request).await,
            Err(failure) => answer_of(failure),
        }
    };
    let mut response = answered.instrument(span).await;
    if let (true, Some(rest)) = (response.status().as_u16() >= 400, rest) {
        rest.skip().await;
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::from_str(&id).expect("digits are a header's value"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("server", HeaderValue::from_static("aft"));
    let status = response.status().as_u16().to_string();
    counter!("aft_http_requests_total", "route" => "s3", "method" => method, "status" => status).increment(1);
    histogram!("aft_http_request_seconds", "route" => "s3", "method" => method).record(since.elapsed());
    response
}

/// Checks the head of a call, and prepares it for the protocol's library.
async fn admit(door: &Door, mut request: Request<Body>) -> Result<Request<Body>> {
    let headers = request.headers();
    let (limit, bytes) = (door.net.header_bytes_max, aft_net::header_bytes(headers));
    if bytes > limit {
        let why = format!("the headers have {bytes} bytes, and at most {limit} are allowed");
        return Err(Failure::new("RequestHeaderSectionTooLarge", 400, why));
    }
    browser::check_one_host(request.version(), headers)?;
    if !is_method(request.method()) {
        let why = "the methods of this protocol are GET, HEAD, PUT, POST and DELETE";
        return Err(Failure::new("MethodNotAllowed", 405, why));
    }
    if request.headers().get(RANGE).is_some_and(|range| !is_single_range(range)) {
        // As if there were none: the whole object is a right answer.
        request.headers_mut().remove(RANGE);
    }
    if door.desk.is_open() {
        browser::check(request.uri(), request.headers())?;
        let caller = door.desk.caller(|| Ok(Presented::Nothing))?;
        request.extensions_mut().insert(caller);
        request = unchecked::take_off(request)?;
    } else if let Some(caller) = bearer(door, request.headers())? {
        request.extensions_mut().insert(caller);
        request = unchecked::take_off(request)?;
    }
    verify_control(door, request).await
}

/// Returns the caller that presents a bearer token; `None` if the call presents none.
fn bearer(door: &Door, headers: &HeaderMap) -> Result<Option<Caller>> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    match value.as_bytes().split_at_checked(BEARER.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER.as_bytes()) => {
            let presented = || match headers.get_all(AUTHORIZATION).iter().count() {
                1 => Ok(Presented::Token(token.trim_ascii())),
                _ => Err(Unauthorized::Malformed),
            };
            Ok(Some(door.desk.caller(presented)?))
        }
        _ => Ok(None),
    }
}

/// Verifies the body of a call that consists of XML, which the protocol's library parses without a
/// look at its digests.
async fn verify_control(door: &Door, request: Request<Body>) -> Result<Request<Body>> {
    let Some(wanted) = wanted_of_control(&request)? else { return Ok(request) };
    let (head, body) = request.into_parts();
    let limit = door.settings.xml_bytes_max;
    let read = tokio::time::timeout(door.net.body_timeout, Limited::new(body, limit).collect());
    let bytes = match read.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(why)) if why.is::<http_body_util::LengthLimitError>() => {
            let why = format!("the body has more than {limit} bytes");
            return Err(Failure::new("MaxMessageLengthExceeded", 400, why));
        }
        Ok(Err(why)) => {
            return Err(Failure::new("IncompleteBody", 400, format!("the body ended early: {why}")));
        }
        Err(_) => return Err(Failure::new("RequestTimeout", 400, "the body did not arrive in time")),
    };
    let mut digests = Digests::new(wanted);
    digests.update(&bytes);
    digests.verify(&[])?;
    Ok(Request::from_parts(head, Body::from(bytes)))
}

/// Returns the digests of the body of a call that consists of XML; `None` for any other call.
fn wanted_of_control(request: &Request<Body>) -> Result<Option<Wanted>> {
    let headers = request.headers();
    let is_framed =
        headers.get("x-amz-content-sha256").is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"));
    let has = |name: &str| {
        let mut pairs = request.uri().query().unwrap_or_default().split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    };
    match *request.method() {
        _ if is_framed => Ok(None),
        Method::POST if has("delete") => Wanted::of_headers(headers).map(Some),
        Method::PUT if has("tagging") => Wanted::of_headers(headers).map(Some),
        // The checksums of this call are those of the object.
        Method::POST if has("uploadId") => Ok(Some(Wanted::of_payload(headers))),
        _ => Ok(None),
    }
}

/// Returns true for a method of the protocol.
fn is_method(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE].contains(method)
}

/// Returns true if a header asks for one range of bytes. Any other one is ignored, as S3 does.
fn is_single_range(range: &HeaderValue) -> bool {
    let Some(range) = range.to_str().ok().and_then(|text| text.strip_prefix("bytes=")) else { return false };
    let Some((first, last)) = range.split_once('-') else { return false };
    let is_number =
        |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match (first, last) {
        ("", last) => is_number(last),
        (first, "") => is_number(first),
        (first, last) => {
            let order = |text: &str| text.parse::<u64>().expect("at most eighteen digits");
            is_number(first) && is_number(last) && order(first) <= order(last)
        }
    }
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_ranges_are_ignored() {
        for (range, single) in [
            ("bytes=0-0", true),
            ("bytes=5-", true),
            ("bytes=-5", true),
            ("bytes=0-1,3-4", false),
            ("bytes=4-2", false),
            ("bytes=-", false),
            ("bytes=a-b", false),
            ("lines=1-2", false),
            ("bytes=+1-2", false),
            ("bytes=0-99999999999999999999", false),
        ] {
            assert_eq!(is_single_range(&HeaderValue::from_static(range)), single, "{range}");
        }
    }
}
