//! How a call on a transaction went, and its reply.

use aft_api::{Format, Reply, header, rfc3339};
use aft_core::message::{Committed, Replayed};
use aft_format::{TransactionToken, encode_session};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::body;
use crate::caller::Caller;
use crate::failure::Result;
use crate::native::call::header_value;
use crate::native::values::Results;

/// How it went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A transaction is open.
    Open { token: TransactionToken, remaining_ms: u64, results: Results },
    /// The operations ran; the transaction stays open.
    Ran { results: Results },
    /// It committed.
    Committed { committed: Committed, results: Results },
    /// Another attempt of the request had committed.
    Replayed(Replayed),
}

impl Outcome {
    /// The reply, with its headers.
    ///
    /// # Errors
    /// If it is a large result of another attempt and the bound for large bodies is reached: the caller asks again. What this call has done is
    /// told in any case; its share was taken before.
    pub(crate) fn respond(self, caller: &Caller, format: Format) -> Result<Response> {
        let mut reply = Reply::default();
        let mut status = StatusCode::OK;
        let mut share = None;
        match self {
            Outcome::Open { token, remaining_ms, results } => {
                status = StatusCode::CREATED;
                reply.transaction = Some(token.to_string());
                reply.expires_at = Some(rfc3339(now_ms() + remaining_ms));
                (reply.results, share) = (results.reads, results.share);
            }
            Outcome::Ran { results } => (reply.results, share) = (results.reads, results.share),
            Outcome::Committed { committed, results } => {
                reply.committed = true;
                reply.version = committed.txn.map(|txn| txn.to_string());
                reply.session = Some(encode_session(&committed.session));
                (reply.results, share) = (results.reads, results.share);
            }
            Outcome::Replayed(replayed) => {
                reply.replayed = true;
                reply.result = replayed.result;
                reply.result_size = replayed.large_result.map(|result| result.size);
                reply.version = Some(replayed.txn.to_string());
                reply.session = Some(encode_session(&replayed.session));
            }
        }
        let mut response = match reply.replayed {
            true => body::respond_within(caller, status, format, &reply)?,
            false => body::respond(caller, status, format, &reply, share),
        };
        add_headers(response.headers_mut(), &reply);
        Ok(response)
    }
}

/// What a reply says of its transaction, as headers: for calls whose reply has no body to say it, and for proxies.
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

/// The wall clock of this machine, in milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set to a time after 1970");
    since.as_millis() as u64
}
