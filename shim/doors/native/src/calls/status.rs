//! `/healthz`, `/readyz`, `/metrics`, `/openapi.json`.

use std::sync::Arc;

use aft_access::Right;
use aft_api::Code;
use aft_node::State as NodeState;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;

use crate::caller::Caller;
use crate::failure::{Failure, Result};
use crate::openapi::OPENAPI;
use crate::router::Door;

/// Answers as long as the process runs.
pub(crate) async fn healthz() -> Response {
    text("text/plain; charset=utf-8", "ok\n")
}

/// Answers with success while the node accepts new transactions and the store takes writes;
/// otherwise with the reason.
pub(crate) async fn readyz(State(door): State<Arc<Door>>) -> Result<Response> {
    let detail = match door.desk.node().ready() {
        NodeState::Serving => {
            if let Some(why) = door.desk.node().store_ended() {
                let detail =
                    format!("the store accepts no more writes until this server is restarted: {why}");
                return Err(Failure::new(Code::StoreUnavailable, detail));
            }
            if let Some(why) = door.desk.node().time_unsure() {
                return Err(Failure::new(Code::StoreUnavailable, why));
            }
            if let Some(why) = door.desk.node().store_trouble().await {
                return Err(Failure::new(Code::StoreUnavailable, why));
            }
            return Ok(text("text/plain; charset=utf-8", "ready\n"));
        }
        NodeState::Draining => "draining: the node finishes open transactions, and accepts no new ones",
        NodeState::Stopped => "stopped: the node has ended",
    };
    Err(Failure::new(Code::NotServing, detail))
}

/// Returns the metrics. They count the calls of all tenants, so they need the right *admin*.
pub(crate) async fn metrics(caller: Caller) -> Result<Response> {
    caller.need(Right::Admin)?;
    Ok(text("text/plain; version=0.0.4; charset=utf-8", caller.door().meters.render()))
}

pub(crate) async fn openapi() -> Response {
    text("application/json", OPENAPI)
}

fn text(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
