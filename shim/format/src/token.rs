//! Tokens that clients carry from call to call: of a session and of a transaction. Text, because it
//! travels in headers and paths.

use std::fmt;
use std::str::FromStr;

use aft_core::ids::{AttemptId, Hlc, NodeId, RequestHash, Session, SessionEntry, TxnId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::FORMAT;

/// The format number and the flags.
const PREFIX_LEN: usize = 2;
/// The flag of a session that has seen more than its entries.
const FRESH: u8 = 1;
/// Time, attempt and request hash.
const ENTRY_LEN: usize = 8 + 16 + 32;

/// The longest session token, as text: doors may refuse longer ones unread.
pub const SESSION_TOKEN_BYTES_MAX: usize = (PREFIX_LEN + Session::LEN_MAX * ENTRY_LEN).div_ceil(3) * 4;

/// The reason why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not what this project gives out.
    #[error("the text is no token of this service: send the last token unchanged, or none")]
    Garbage,
    /// It names more commits than a session has.
    #[error(
        "a session token names at most {} commits: send the last token unchanged, or none",
        Session::LEN_MAX
    )]
    TooLong,
    /// The first version of this program gave it out, for a store that this one does not read.
    #[error(
        "the session token is of the first version of this service, whose stores this one does not read: send none"
    )]
    First,
    /// A newer version of this program gave it out.
    #[error("the session token has format {0}, of a newer version of this service: upgrade this node")]
    Newer(u8),
}

/// Returns a session as its client carries it: format number, flags, then the entries (time,
/// attempt, request hash), in base64url without padding.
///
/// # Panics
/// If the session has more than [`Session::LEN_MAX`] entries.
pub fn encode_session(session: &Session) -> String {
    let Session { entries, fresh } = session;
    assert!(entries.len() <= Session::LEN_MAX, "a session of {} entries", entries.len());
    let mut bytes = Vec::with_capacity(PREFIX_LEN + entries.len() * ENTRY_LEN);
    bytes.push(FORMAT);
    bytes.push(if *fresh { FRESH } else { 0 });
    for entry in entries {
        bytes.extend(entry.txn.time.0.to_be_bytes());
        bytes.extend(entry.txn.attempt.0);
        bytes.extend(entry.hash.0);
    }
    let text = URL_SAFE_NO_PAD.encode(bytes);
    assert!(text.len() <= SESSION_TOKEN_BYTES_MAX, "a token of {} bytes", text.len());
    text
}

/// Reads the session that a client presents.
///
/// # Errors
/// [`TokenError`] if the text is not of the form that [`encode_session`] gives.
pub fn decode_session(text: &str) -> Result<Session, TokenError> {
    if text.len() > SESSION_TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Garbage)?;
    // The number comes first: all else may mean something different in another format.
    let fresh = match bytes[..] {
        [] | [0, ..] => return Err(TokenError::Garbage),
        [1, ..] => return Err(TokenError::First),
        [format, ..] if format > FORMAT => return Err(TokenError::Newer(format)),
        [_, 0, ..] => false,
        [_, FRESH, ..] => true,
        [_] | [_, _, ..] => return Err(TokenError::Garbage),
    };
    let entries = &bytes[PREFIX_LEN..];
    if !entries.len().is_multiple_of(ENTRY_LEN) {
        return Err(TokenError::Garbage);
    }
    if entries.len() / ENTRY_LEN > Session::LEN_MAX {
        return Err(TokenError::TooLong);
    }
    Ok(Session { entries: entries.chunks_exact(ENTRY_LEN).map(decode_entry).collect(), fresh })
}

/// Returns one token for two of one client: the union of their entries, the newest first. If not
/// all of them fit, or one of the two is fresh, so is the union.
///
/// # Errors
/// [`TokenError`] if one of the texts is not of the form that [`encode_session`] gives.
pub fn merge_sessions(one: &str, other: &str) -> Result<String, TokenError> {
    let (one, other) = (decode_session(one)?, decode_session(other)?);
    let mut entries = one.entries;
    entries.extend(other.entries);
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.txn, entry.hash)));
    entries.dedup();
    let fresh = one.fresh || other.fresh || entries.len() > Session::LEN_MAX;
    entries.truncate(Session::LEN_MAX);
    Ok(encode_session(&Session { entries, fresh }))
}

fn decode_entry(bytes: &[u8]) -> SessionEntry {
    let (time, rest) = bytes.split_first_chunk().expect("the chunk is one entry long");
    let (attempt, rest) = rest.split_first_chunk().expect("the chunk is one entry long");
    let hash = rest.first_chunk().expect("the chunk is one entry long");
    let txn = TxnId { time: Hlc(u64::from_be_bytes(*time)), attempt: AttemptId(*attempt) };
    SessionEntry { txn, hash: RequestHash(*hash) }
}

/// The name of an open transaction and of the node that it lives on: `<node>-<attempt>`, 16 and 32
/// lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionToken {
    /// The node that it lives on.
    pub node: NodeId,
    /// The attempt that opened it.
    pub attempt: AttemptId,
}

impl TransactionToken {
    /// The length of the text.
    pub const LEN: usize = 16 + 1 + 32;
}

impl fmt::Display for TransactionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.node, self.attempt)
    }
}

impl FromStr for TransactionToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<TransactionToken, TokenError> {
        let parse = || {
            let (node, attempt) = text.split_once('-')?;
            let node = NodeId(u64::from_be_bytes(decode_hex(node)?));
            Some(TransactionToken { node, attempt: AttemptId(decode_hex(attempt)?) })
        };
        parse().ok_or(TokenError::Garbage)
    }
}

/// Reads exactly `2 N` lower-case digits: one text for one token.
fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
