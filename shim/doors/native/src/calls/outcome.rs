//! The outcome of a call on a transaction, and its reply.

use aft_api::{Format, Reply, header, rfc3339};
use aft_desk::{Outcome, Reads, Share};
use aft_format::encode_session;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::body;
use crate::caller::Caller;
use crate::calls::call::header_value;
use crate::calls::values;
use crate::failure::Result;

/// The outcome of a call in the types of the API, with the share of the reply.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    reply: Reply,
    opened: bool,
    share: Option<Share>,
}

impl From<Outcome> for Reported {
    fn from(outcome: Outcome) -> Reported {
        let mut reported = Reported::default();
        let reply = &mut reported.reply;
        let reads = match outcome {
            Outcome::Open { token, remaining_ms, reads } => {
                reported.opened = true;
                reply.transaction = Some(token.to_string());
                reply.expires_at = Some(rfc3339(now_ms() + remaining_ms));
                reads
            }
            Outcome::Ran { reads } => reads,
            Outcome::Committed { committed, reads } => {
                reply.committed = true;
                reply.version = committed.txn.map(|txn| txn.to_string());
                reply.session = Some(encode_session(&committed.session));
                reads
            }
            // The reads of this attempt are left out: the result is that of the other attempt.
            Outcome::Replayed(replayed) => {
                reply.replayed = true;
                reply.result = replayed.result;
                reply.result_size = replayed.large_result.map(|result| result.size);
                reply.version = Some(replayed.txn.to_string());
                reply.session = Some(encode_session(&replayed.session));
                Reads::default()
            }
        };
        reply.results = reads.values.into_iter().map(values::reported).collect();
        reported.share = reads.share;
        reported
    }
}

impl Reported {
    /// Makes the response.
    /// # Errors
    /// Returns a failure if this is the replay of another attempt with a large result, and the
    /// bound for large bodies is reached: the caller can repeat the call. The outcome of this
    /// call's own transaction is always reported; its share was taken before.
    pub(crate) fn respond(self, caller: &Caller, format: Format) -> Result<Response> {
        aft_core::room!();
        let Reported { reply, opened, share } = self;
        let status = if opened { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = match reply.replayed {
            true => body::respond_within(caller, status, format, &reply)?,
            false => body::respond(caller, status, format, &reply, share),
        };
        add_headers(response.headers_mut(), &reply);
        Ok(response)
    }
}

/// Adds the headers that name a transaction: for calls whose reply has no body, and for proxies.
fn add_headers(headers: &mut HeaderMap, reply: &Reply) {
    for (name, text) in [
        (header::TRANSACTION, &reply.transaction),
        (header::VERSION, &reply.version),
        (header::SESSION, &reply.session),
    ] {
        if let Some(text) = text {
            headers.insert(name, header_value(text));
        }
    }
    if reply.replayed {
        headers.insert(header::IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
}

/// Returns the wall clock of this machine, in milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set to a time after 1970");
    since.as_millis() as u64
}
