//! `aft-layer maintain`: a function of its own that sweeps the store, on a schedule. It is its own
//! runtime, and answers each event with what the sweep has removed.

use std::time::{Duration, Instant, SystemTime};

use aft_node::{NodeHandle, NodeSettings, State, Stats, start};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use tracing::{info, warn};

use crate::http::full;
use crate::runtime_api::invocation::Invocation;
use crate::runtime_api::upstream::Upstream;
use crate::runtime_api::{NEXT, VERSION};
use crate::settings::{Place, Settings};
use crate::transactions::store;

/// The end of an invocation's time that is left for the notes of a stopped sweep and the response.
const END: Duration = Duration::from_secs(5);
/// The interval at which the sweep's progress is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Sweeps for every event, until Lambda ends the environment.
///
/// # Errors
/// Returns the reason why there is nothing to sweep, or why Lambda does not answer.
pub async fn run(settings: Settings) -> Result<(), String> {
    let Place::Store { url } = &settings.place else {
        return Err(
            "AFT_URL is set: a shim sweeps its store by itself; set AFT_STORE to sweep a store from here"
                .into(),
        );
    };
    let upstream = Upstream::new(&settings.lambda.runtime_api)?;
    loop {
        let answer = upstream.get(NEXT, HeaderMap::new()).await;
        let answer = answer.map_err(|why| format!("the Runtime API does not answer: {why}"))?;
        let (head, body) = answer.into_parts();
        let event = http_body_util::BodyExt::collect(body).await;
        let event = event.map_err(|why| format!("the Runtime API does not answer: {why}"))?.to_bytes();
        let invocation = Invocation::new(head.headers, event);
        let until = Instant::now() + invocation.time_left(SystemTime::now()).saturating_sub(END);
        let (what, document) = match sweep(url, until).await {
            Ok(stats) => {
                let document = described(&stats);
                info!(%document, "aft: swept");
                ("response", document)
            }
            Err(why) => {
                warn!(why, "aft: the sweep has failed");
                ("error", json!({ "errorType": "Aft.SweepFailed", "errorMessage": why }))
            }
        };
        let path = format!("{VERSION}/runtime/invocation/{}/{what}", invocation.request_id());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = full(Bytes::from(document.to_string()));
        let posted = upstream.send(Method::POST, &path, headers, body).await;
        // Nothing is lost: the next sweep goes on.
        if let Err(why) = posted {
            warn!(why = %why, "aft: the response could not be posted");
        }
    }
}

/// Sweeps the store once, or until the time is over. A sweep that is stopped leaves notes, from
/// which the next one goes on.
async fn sweep(url: &str, until: Instant) -> Result<Stats, String> {
    let store = store::open(url).await?;
    let mut settings = NodeSettings::new(&store.capabilities());
    let description = aft_node::read_description(&*store, settings.timeouts.read).await;
    let Some((_, about)) = description.map_err(|why| why.to_string())? else {
        return Err(format!("{url}: there is no store here: make it once with `aft store init {url}`"));
    };
    if let Some(times) = &about.times {
        times.apply(&mut settings.core);
    }
    settings.core.guest = true;
    settings.maintain = true;
    let node = start(store, settings).await.map_err(|why| why.to_string())?;
    while !is_done(&node) && Instant::now() < until {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    node.drain(END).await;
    Ok(node.stats())
}

fn is_done(node: &NodeHandle) -> bool {
    node.stats().sweeps_whole > 0 || node.ready() == State::Stopped
}

fn described(stats: &Stats) -> serde_json::Value {
    json!({
        "superseded_versions_removed": stats.entries_removed,
        "commit_records_removed": stats.records_removed,
        "large_value_parts_removed": stats.parts_removed,
        "missing_entries_put": stats.entries_repaired,
        "bytes_reclaimed": stats.bytes_reclaimed,
        "whole_sweeps": stats.sweeps_whole,
    })
}
