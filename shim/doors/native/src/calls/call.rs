//! The parts of a call that identify its transaction: the token, the session, the request's ID.

use aft_api::{Code, header};
use aft_core::ids::Session;
use aft_desk::NAME_BYTES_MAX;
use aft_format::{TransactionToken, decode_session};
use axum::http::{HeaderMap, HeaderValue};
use tracing::Span;

use crate::caller::Caller;
use crate::failure::{Failure, Result};
use crate::path;

/// Returns the token of the transaction in a path, and checks that it is on this node.
pub(crate) fn transaction(caller: &Caller, path: &str) -> Result<TransactionToken> {
    let token = parsed(path)?;
    caller.need_here(&token).map_err(|refused| Failure::from(refused).of(&token))?;
    Ok(token)
}

/// Returns the token of the transaction in the path of a call that may commit, and true if it is on
/// this node.
pub(crate) fn committing(caller: &Caller, path: &str) -> Result<(TransactionToken, bool)> {
    let token = parsed(path)?;
    let here = caller.is_here(&token).map_err(|refused| Failure::from(refused).of(&token))?;
    Ok((token, here))
}

fn parsed(path: &str) -> Result<TransactionToken> {
    let token = path::transaction(path)?;
    Span::current().record("transaction", tracing::field::display(&token));
    Ok(token)
}

/// Returns the commits that the client has seen: from the body's session token, or else the
/// header's.
pub(crate) fn session(in_body: Option<&str>, headers: &HeaderMap) -> Result<Session> {
    let in_header = match headers.get(header::SESSION) {
        Some(value) => {
            Some(value.to_str().map_err(|_| Failure::invalid("the header Aft-Session is not ASCII"))?)
        }
        None => None,
    };
    match in_body.or(in_header).map(str::trim) {
        None | Some("") => Ok(Session::default()),
        Some(text) => decode_session(text)
            .map_err(|why| Failure::invalid(format!("the session token is not valid: {why}"))),
    }
}

/// Checks the length of a request ID, a scope or a fingerprint's text.
pub(crate) fn check_name(what: &str, text: &str) -> Result<()> {
    if text.len() > NAME_BYTES_MAX {
        Err(Failure::beyond(Code::Invalid, what, NAME_BYTES_MAX, text.len()))
    } else {
        Ok(())
    }
}

/// Returns a header's value. The text must be one that this crate made, such as a token or a
/// version.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("tokens and versions are visible ASCII")
}
