//! The API's routes, and the layer around every call: the checks of its head, a span, the metrics,
//! the headers that every answer has.

use std::sync::Arc;
use std::time::Instant;

use aft_api::Code;
use aft_desk::Desk;
use aft_net::Tls;
use aft_net::body::lend;
use aft_net::browser::{self, excerpt};
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::header::{CACHE_CONTROL, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Request};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use metrics::{counter, histogram};
use tokio::net::TcpListener;
use tower::ServiceExt as _;
use tracing::{Instrument as _, debug_span};

use crate::calls::{keys, listing, one_operation, requests, results, status, transactions};
use crate::failure::{Failure, Result};
use crate::meters::Meters;
use crate::names_in_query;

/// The native door: the parts that its handlers share.
#[derive(Debug)]
pub struct Door {
    pub(crate) desk: Arc<Desk>,
    pub(crate) net: aft_net::Settings,
    pub(crate) meters: Meters,
}

impl Door {
    /// Makes a door in front of `desk`.
    pub fn new(desk: Arc<Desk>, net: aft_net::Settings, meters: Meters) -> Arc<Door> {
        Arc::new(Door { desk, net, meters })
    }
}

/// Serves the API until `stop` completes. Then it accepts no new connection, finishes the calls in
/// flight within the settings' `stop_timeout`, and returns. With `tls`, connections that do not
/// speak TLS are dropped.
pub async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()>,
) {
    let served = aft_net::serve(listener, router(door.clone()), &door.net, tls, stop);
    tokio::select! {
        () = served => {}
        () = door.meters.upkeep() => unreachable!("upkeep has no end"),
    }
}

/// Every call of the API: its method, and its path as in the OpenAPI document. A `{key}` or `{id}`
/// at the end may contain `/`.
pub const ROUTES: &[(&str, &str)] = &[
    ("POST", "/v1/transactions"),
    ("GET", "/v1/transactions/{transaction}/keys"),
    ("GET", "/v1/transactions/{transaction}/keys/{key}"),
    ("HEAD", "/v1/transactions/{transaction}/keys/{key}"),
    ("PUT", "/v1/transactions/{transaction}/keys/{key}"),
    ("DELETE", "/v1/transactions/{transaction}/keys/{key}"),
    ("PUT", "/v1/transactions/{transaction}/result"),
    ("POST", "/v1/transactions/{transaction}/batch"),
    ("POST", "/v1/transactions/{transaction}/commit"),
    ("POST", "/v1/transactions/{transaction}/abort"),
    ("POST", "/v1/execute"),
    ("GET", "/v1/keys/{key}"),
    ("HEAD", "/v1/keys/{key}"),
    ("PUT", "/v1/keys/{key}"),
    ("DELETE", "/v1/keys/{key}"),
    ("GET", "/v1/requests/{id}"),
    ("GET", "/v1/results/{id}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
];

type Routes = Router<Arc<Door>>;

/// Makes the API as a service.
pub fn router(door: Arc<Door>) -> Router {
    // A name in the query goes to the path before the routes are matched.
    let named = routes(door).map_request(|mut request: Request<Body>| {
        if let Some(uri) = names_in_query::in_path(request.uri()) {
            *request.uri_mut() = uri;
        }
        request
    });
    Router::new().fallback_service(named)
}

fn routes(door: Arc<Door>) -> Router {
    let in_transaction = || get(keys::read).put(keys::write).delete(keys::delete);
    let alone = || get(one_operation::read).put(one_operation::write).delete(one_operation::delete);
    Routes::new()
        .route("/v1/transactions", post(transactions::begin))
        .route("/v1/transactions/{transaction}/keys", get(listing::list))
        .merge(with_rest("/v1/transactions/{transaction}/keys/", "key", in_transaction))
        .route("/v1/transactions/{transaction}/result", put(results::write))
        .route("/v1/transactions/{transaction}/batch", post(transactions::batch))
        .route("/v1/transactions/{transaction}/commit", post(transactions::commit))
        .route("/v1/transactions/{transaction}/abort", post(transactions::abort))
        .route("/v1/execute", post(transactions::execute))
        .merge(with_rest("/v1/keys/", "key", alone))
        .merge(with_rest("/v1/requests/", "id", || get(requests::look_up)))
        .merge(with_rest("/v1/results/", "id", || get(results::read)))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(status::openapi))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_path)
        .layer(from_fn_with_state(door.clone(), around))
        .with_state(door)
}

/// Makes a route whose last part may contain `/`. It may also be empty, so that the handler can
/// report what is wrong.
fn with_rest(path: &str, name: &str, methods: impl Fn() -> MethodRouter<Arc<Door>>) -> Routes {
    Routes::new().route(path, methods()).route(&format!("{path}{{*{name}}}"), methods())
}

async fn no_such_path(request: Request<Body>) -> Failure {
    let path = excerpt(request.uri().path());
    Failure::new(
        Code::NoSuchPath,
        format!("the path {path:?} does not exist: GET /openapi.json describes all paths"),
    )
}

async fn method_not_allowed(request: Request<Body>) -> Failure {
    let detail = format!(
        "the method {} is not supported for {:?}: the header Allow lists the methods that are",
        excerpt(request.method().as_str()),
        excerpt(request.uri().path())
    );
    Failure::new(Code::MethodNotAllowed, detail)
}

/// Handles one call: checks its headers, runs it in a span, and records its metrics.
async fn around(State(door): State<Arc<Door>>, request: Request<Body>, next: Next) -> Response {
    aft_core::room!();
    let since = Instant::now();
    let method = method_label(request.method());
    // The label is the router's own text, one of a few: it must not contain text from clients.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route_label = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = debug_span!(
        "call",
        method,
        route = route_label,
        transaction = tracing::field::Empty,
        request = tracing::field::Empty
    );
    let mut response = if let Err(failure) = check_head(&door, &request) {
        failure.into_response()
    } else {
        // If the handler fails early, the rest of the body is read, so that the client can read the
        // answer.
        let (request, rest) = lend(request);
        let response = next.run(request).instrument(span).await;
        if let (true, Some(rest)) = (response.status().as_u16() >= 400, rest) {
            rest.skip().await;
        }
        response
    };
    // A value may be a page that somebody else wrote, and no answer holds for a second call.
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = status_label(response.status().as_u16());
    let route_label = route_label.to_owned();
    counter!("aft_http_requests_total", "route" => route_label.clone(), "method" => method, "status" => status).increment(1);
    histogram!("aft_http_request_seconds", "route" => route_label, "method" => method)
        .record(since.elapsed());
    response
}

/// Checks the parts of a call's head that do not depend on its route.
fn check_head(door: &Door, request: &Request<Body>) -> Result<()> {
    let headers = request.headers();
    let (limit, bytes) = (door.net.header_bytes_max, aft_net::header_bytes(headers));
    if bytes > limit {
        return Err(Failure::beyond(Code::HeadersTooLarge, "a call's headers", limit, bytes));
    }
    browser::check_one_host(request.version(), headers)?;
    // The HTTP library takes `gzip, chunked` for `chunked`, and would pass on compressed bytes.
    if let Some(coding) = headers.get_all(TRANSFER_ENCODING).iter().find(|coding| !is_chunked(coding)) {
        let coding = String::from_utf8_lossy(coding.as_bytes());
        return Err(Failure::new(
            Code::UnsupportedTransferEncoding,
            format!("the body has the transfer encoding {:?}: only chunked is supported", excerpt(&coding)),
        ));
    }
    if door.desk.is_open() {
        browser::check(request.uri(), headers)?;
    }
    Ok(())
}

fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
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

fn status_label(status: u16) -> &'static str {
    const TEXTS: &[(u16, &str)] = &[
        (200, "200"),
        (201, "201"),
        (204, "204"),
        (206, "206"),
        (400, "400"),
        (401, "401"),
        (403, "403"),
        (404, "404"),
        (405, "405"),
        (408, "408"),
        (409, "409"),
        (410, "410"),
        (413, "413"),
        (415, "415"),
        (416, "416"),
        (422, "422"),
        (429, "429"),
        (431, "431"),
        (501, "501"),
        (503, "503"),
    ];
    TEXTS.iter().find(|(number, _)| *number == status).map_or("other", |(_, text)| text)
}
