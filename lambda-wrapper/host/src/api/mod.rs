//! The APIs that an environment's processes call, on a loopback port of its own.
//!
//! * `runtime` – the Runtime API, 2018-06-01. `extensions` – the Extensions API, 2020-01-01.
//! * `body` – responses of runtimes, within their bounds.

pub(crate) mod body;
mod extensions;
mod runtime;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::environment::Environment;
use crate::machine::Rejected;

/// Serves the APIs until the task is aborted.
pub(crate) fn serve(listener: TcpListener, environment: Arc<Environment>) -> AbortHandle {
    let router = Router::new()
        .route("/2018-06-01/ping", get(runtime::ping))
        .route("/2018-06-01/runtime/invocation/next", get(runtime::next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(runtime::response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(runtime::error))
        .route("/2018-06-01/runtime/init/error", post(runtime::init_error))
        .route("/2020-01-01/extension/register", post(extensions::register))
        .route("/2020-01-01/extension/event/next", get(extensions::next))
        .route("/2020-01-01/extension/init/error", post(extensions::error))
        .route("/2020-01-01/extension/exit/error", post(extensions::error))
        .route("/2022-07-01/telemetry", put(extensions::telemetry))
        .route("/2020-08-15/logs", put(extensions::telemetry))
        .with_state(environment);
    tokio::spawn(async move { serve_on(listener, router).await }).abort_handle()
}

/// Serves a router on a listener, for as long as the task runs. Answers are sent at once
/// (TCP_NODELAY): a small answer in two packets would wait 40 ms for the first one's receipt.
pub(crate) async fn serve_on(listener: TcpListener, router: Router) {
    let listener = listener.tap_io(|stream| {
        // A connection that has just been reset; the next read says so.
        let _ = stream.set_nodelay(true);
    });
    // `axum::serve` returns only if a shutdown is asked for.
    let _ = axum::serve(listener, router).await;
}

/// Returns the answer to a call that was taken.
fn accepted() -> Response {
    json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#.to_owned())
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("it is a status");
        let body = serde_json::json!({ "errorMessage": self.message, "errorType": self.error_type });
        json(status, body.to_string())
    }
}
