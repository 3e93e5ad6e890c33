//! `GET /v1/requests/{id}`: the commit of a request, with its time, keys and result.

use std::sync::Arc;

use aft_access::Right;
use aft_api::{Code, Request as Found, header, rfc3339};
use aft_core::ids::{RequestHash, Session, SessionEntry};
use aft_core::message::Refusal;
use aft_core::record::Record;
use aft_format::{MERGED_COVER_MS, TransactionToken, encode_session};
use aft_net::browser::excerpt;
use axum::body::Body;
use axum::http::{Request, StatusCode, Uri};
use axum::response::Response;
use tracing::Span;

use crate::body;
use crate::caller::Caller;
use crate::calls::call::{check_name, header_value};
use crate::calls::outcome::now_ms;
use crate::failure::{Failure, Result};
use crate::path;

/// Returns the record of the request that `target` names after `prefix` in its path.
pub(crate) async fn find(caller: &Caller, target: &Uri, prefix: &str) -> Result<Arc<Record>> {
    caller.need(Right::Read)?;
    let [scope, by] = path::query(target.query(), ["scope", "by"])?;
    let id = path::decode(path::after(target.path(), prefix), "the request ID", false)?;
    Span::current().record("request", id.as_str());
    let found = match by.as_deref() {
        None | Some("id") => {
            if id.is_empty() {
                return Err(Failure::invalid("the path has no request ID: give one of at least one byte"));
            }
            check_name("a request ID", &id)?;
            let scope = scope.unwrap_or_default();
            check_name("a scope", &scope)?;
            caller.node().look_up(caller.request_hash(&scope, &id)).await
        }
        Some("transaction") => match id.parse::<TransactionToken>() {
            Ok(token) => caller.look_up_transaction(&token).await,
            Err(_) => {
                return Err(Failure::invalid("by=transaction needs the token of a transaction in the path"));
            }
        },
        // A record does not name its tenant, so a look-up by hash needs the right to see all of
        // them.
        Some("hash") => {
            caller.need_to_see_all()?;
            let hash = parse_hash(&id).ok_or_else(|| {
                Failure::invalid(
                    "by=hash needs a request's hash in the path: 64 lower-case hexadecimal digits",
                )
            })?;
            caller.node().look_up(hash).await
        }
        Some(other) => {
            return Err(Failure::invalid(format!(
                "by must be id, transaction or hash, not {:?}",
                excerpt(other)
            )));
        }
    };
    match found {
        Ok(record) => Ok(record),
        Err(Refusal::NotFound) => {
            let detail = match by.as_deref() {
                Some("transaction") => {
                    "no commit of this transaction's request is known here: it has not committed yet, will never commit, or is no longer kept. If the transaction was opened with a request ID, look the request up by it: GET /v1/requests/{id}, with ?scope= if there was one. Only the node on which the transaction was open knows the request's ID, and only for a while"
                }
                Some(_) | None => {
                    "no commit of this request is known: the request never ran, has not committed yet, or is no longer kept"
                }
            };
            Err(Failure::new(Code::NotFound, detail))
        }
        Err(refusal) => Err(Failure::from(refusal).of_request(Some(&id))),
    }
}

pub(crate) async fn look_up(caller: Caller, request: Request<Body>) -> Result<Response> {
    let record = find(&caller, request.uri(), "/v1/requests/").await?;
    let committed_ms = record.txn.time.ms();
    let found = Found {
        hash: record.hash.to_string(),
        version: record.txn.to_string(),
        committed_at: rfc3339(committed_ms),
        kept_until: rfc3339(committed_ms.saturating_add(record.retention_ms)),
        keys: record.writes.iter().map(|(key, _)| key.as_str().to_owned()).collect(),
        result: record.result.clone(),
        result_size: record.large_result.map(|result| result.size),
        session: encode_session(&session_of(&record)),
    };
    let format = body::accepted(request.headers()).unwrap_or_default();
    let mut response = body::respond_within(&caller, StatusCode::OK, format, &found)?;
    response.headers_mut().insert(header::VERSION, header_value(&found.version));
    response.headers_mut().insert(header::SESSION, header_value(&found.session));
    Ok(response)
}

/// Returns the session of a client that has just learned of a commit. The store's time is not known
/// here, so the entry may be kept longer than needed, which costs a look-up at most.
fn session_of(record: &Record) -> Session {
    let seen_ms = now_ms().max(record.txn.time.ms()).saturating_add(MERGED_COVER_MS);
    let whole = record.is_whole();
    let entries = vec![SessionEntry { txn: record.txn, hash: record.hash, whole, seen_ms }];
    Session { entries, ..Session::default() }
}

/// Parses a request's hash in lower-case hexadecimal digits.
fn parse_hash(text: &str) -> Option<RequestHash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(RequestHash(hash))
}
