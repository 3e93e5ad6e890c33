//! The door: the layer around every call, from its head to its answer.

use std::sync::Arc;
use std::time::Instant;

use aft_access::{Presented, Unauthorized};
use aft_desk::{Caller, Desk};
use aft_net::body::lend;
use aft_net::{Tls, browser};
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONNECTION, EXPECT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use axum::response::Response;
use metrics::{counter, histogram};
use tokio::net::TcpListener;
use tracing::{Instrument as _, debug_span};

use crate::failure::{Failure, Result};
use crate::finish::finish;
use crate::origin::Origins;
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
    service: Service,
    origins: Arc<Origins>,
}

impl Door {
    /// Makes a door in front of `desk`, some of whose buckets have origins.
    pub fn new(
        desk: Arc<Desk>,
        net: aft_net::Settings,
        settings: Settings,
        origins: Arc<Origins>,
    ) -> Arc<Door> {
        let service = Service::new(&desk, &net, &settings);
        Arc::new(Door { desk, net, service, origins })
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
async fn around(State(door): State<Arc<Door>>, mut request: Request<Body>) -> Response {
    let since = Instant::now();
    let id = format!("{:016X}", rand::random::<u64>());
    let (method, is_head) = (method_label(request.method()), request.method() == Method::HEAD);
    // The metrics of doors have the same names; this one has a single route.
    let span = debug_span!("call", door = "s3", method, id);
    let is_unasked = expects_in_vain(&request);
    request.extensions_mut().insert(door.origins.clone());
    // If the call fails early, the rest of the body is read, so that the client can read the
    // answer.
    let (request, rest) = lend(request);
    let answered = async {
        match admit(&door, request) {
            Ok(Admitted::Plain(request)) => door.service.call(request).await,
            Ok(Admitted::Signed(request)) => door.service.call_signed(request).await,
            Err(failure) => answer_of(failure),
        }
    };
    let mut response = finish(answered.instrument(span).await, is_head, &id).await;
    if let (true, Some(rest)) = (response.status().as_u16() >= 400, rest) {
        rest.skip().await;
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::from_str(&id).expect("digits are a header's value"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("server", HeaderValue::from_static("aft"));
    if is_unasked {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16().to_string();
    counter!("aft_http_requests_total", "route" => "s3", "method" => method, "status" => status).increment(1);
    histogram!("aft_http_request_seconds", "route" => "s3", "method" => method).record(since.elapsed());
    response
}

/// Returns true if the client waits for a 100 (Continue) that it will not get, because its body is
/// empty. Version 1.46.3 of the command line of AWS, and older SDKs for Python, lose the headers of
/// the next answer on such a connection, so the next one has to be another.
fn expects_in_vain(request: &Request<Body>) -> bool {
    request.version() == Version::HTTP_11
        && request.headers().contains_key(EXPECT)
        && request.body().is_end_stream()
}

/// A call whose head was checked.
enum Admitted {
    /// It has its caller, and no signature.
    Plain(Request<Body>),
    /// Its signature has to be checked.
    Signed(Request<Body>),
}

/// Checks the head of a call.
fn admit(door: &Door, mut request: Request<Body>) -> Result<Admitted> {
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
    if !is_encoded(request.uri().path()) {
        let why = "the path has a % without two hexadecimal digits: write %25 for a percent sign";
        return Err(Failure::new("InvalidURI", 400, why));
    }
    let caller = if door.desk.is_open() {
        browser::check(request.uri(), request.headers())?;
        door.desk.caller(|| Ok(Presented::Nothing))?
    } else {
        match bearer(door, request.headers())? {
            Some(caller) => caller,
            None => return Ok(Admitted::Signed(request)),
        }
    };
    request.extensions_mut().insert(caller);
    unchecked::take_off(request).map(Admitted::Plain)
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

/// Returns true if each % of a path begins an escape.
fn is_encoded(path: &str) -> bool {
    let digits =
        |escape: &str| escape.len() >= 2 && escape.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    path.split('%').skip(1).all(digits)
}

/// Returns true for a method of the protocol.
fn is_method(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE].contains(method)
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
