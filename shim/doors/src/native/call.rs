//! What a call says of its transaction: the token, the session, the request's name.

use aft_api::{Code, header};
use aft_core::ids::{AttemptId, Session};
use aft_core::message::Refusal;
use aft_format::{TransactionToken, decode_session};
use axum::http::{HeaderMap, HeaderValue};
use tracing::Span;

use crate::caller::Caller;
use crate::failure::{Failure, Result};
use crate::path;
use crate::settings::NAME_BYTES_MAX;

/// The transaction in a path, if it lives on this node.
pub(crate) fn transaction(caller: &Caller, path: &str) -> Result<TransactionToken> {
    let (token, here) = committing(caller, path)?;
    if here { Ok(token) } else { Err(of_another_life(&token)) }
}

/// The transaction in the path of a call that may commit: on this node, or not. One that another tenant opened is not there.
pub(crate) fn committing(caller: &Caller, path: &str) -> Result<(TransactionToken, bool)> {
    let token = path::transaction(path)?;
    Span::current().record("transaction", tracing::field::display(&token));
    let here = token.node == caller.node.id();
    if here && !caller.opened(&token.attempt) {
        return Err(Failure::from(Refusal::NotFound).of(&token));
    }
    Ok((token, here))
}

pub(crate) fn of_another_life(token: &TransactionToken) -> Failure {
    let detail = format!(
        "the transaction was open on node {}, which is another node or an earlier life of this one: unless its commit was sent, nothing took effect; run the request again",
        token.node
    );
    Failure::new(Code::Lost, detail).of(token)
}

/// What the client has seen: out of the body, or else the header.
pub(crate) fn session(in_body: Option<&str>, headers: &HeaderMap) -> Result<Session> {
    let in_header = match headers.get(header::SESSION) {
        Some(value) => {
            Some(value.to_str().map_err(|_| Failure::invalid("the header Aft-Session is not ASCII"))?)
        }
        None => None,
    };
    match in_body.or(in_header).map(str::trim) {
        None | Some("") => Ok(Session::default()),
        Some(text) => {
            decode_session(text).map_err(|why| Failure::invalid(format!("the session token: {why}")))
        }
    }
}

/// A request ID, a scope, a fingerprint: bounded.
pub(crate) fn check_name(what: &str, text: &str) -> Result<()> {
    if text.len() > NAME_BYTES_MAX {
        Err(Failure::beyond(Code::Invalid, what, NAME_BYTES_MAX, text.len()))
    } else {
        Ok(())
    }
}

/// The token of a transaction on this node.
pub(crate) fn token(caller: &Caller, attempt: AttemptId) -> TransactionToken {
    TransactionToken { node: caller.node.id(), attempt }
}

/// A header's value of text that this crate made.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("tokens and versions are visible ASCII")
}
