//! The external extension: Lambda starts it before the runtime, and tells it of the end.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use tracing::info;

use crate::http::full;
use crate::layer::Layer;
use crate::role::EXTENSION;
use crate::runtime_api::upstream::Upstream;
use crate::{Settings, environment};

const REGISTER: &str = "/2020-01-01/extension/register";
const NEXT: &str = "/2020-01-01/extension/event/next";
const NAME: HeaderName = HeaderName::from_static("lambda-extension-name");
const IDENTIFIER: HeaderName = HeaderName::from_static("lambda-extension-identifier");

/// An event of the Extensions API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_type: String,
    shutdown_reason: Option<String>,
}

/// Serves until Lambda ends the environment.
///
/// # Errors
/// Returns the reason why the layer cannot start, or why Lambda does not accept it.
pub async fn run(settings: Settings) -> Result<(), String> {
    let runtime_api = settings.lambda.runtime_api.clone();
    // Everything listens before Lambda is told: the runtime starts right after.
    let (layer, endpoints) = Layer::start(settings).await?;
    environment::offer(&runtime_api, endpoints)?;
    let upstream = Upstream::new(&runtime_api)?;
    let identifier = register(&upstream).await?;
    loop {
        let mut headers = HeaderMap::new();
        headers.insert(IDENTIFIER, identifier.clone());
        let answer =
            upstream.get(NEXT, headers).await.map_err(|why| format!("the Extensions API ended: {why}"))?;
        let body =
            answer.into_body().collect().await.map_err(|why| format!("the Extensions API ended: {why}"))?;
        let event: Event = serde_json::from_slice(&body.to_bytes())
            .map_err(|why| format!("the Extensions API sent what is no event: {why}"))?;
        if event.event_type == "SHUTDOWN" {
            info!(reason = event.shutdown_reason.as_deref().unwrap_or("none"), "aft: the environment ends");
            // Only quicker than the deadline: without it, nothing would be committed either.
            layer.abort_all().await;
            return Ok(());
        }
    }
}

/// Registers for the end of the environment, and returns the identifier for further calls.
async fn register(upstream: &Upstream) -> Result<HeaderValue, String> {
    let mut headers = HeaderMap::new();
    headers.insert(NAME, HeaderValue::from_static(EXTENSION));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = full(Bytes::from_static(br#"{"events":["SHUTDOWN"]}"#));
    let answer = upstream.send(Method::POST, REGISTER, headers, body).await;
    let answer = answer.map_err(|why| format!("cannot register as an extension: {why}"))?;
    let status = answer.status();
    let identifier = answer.headers().get(&IDENTIFIER).cloned();
    match identifier.filter(|_| status.is_success()) {
        Some(identifier) => Ok(identifier),
        None => {
            let text = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            Err(format!("cannot register as an extension: status {status}: {text}"))
        }
    }
}
