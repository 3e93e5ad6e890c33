//! What clients carry from call to call: the session token and the transaction token. Text, because it travels in headers and paths.

use std::fmt;
use std::str::FromStr;

use aft_core::ids::{AttemptId, Hlc, NodeId, RequestHash, SESSION_LEN_MAX, SessionEntry, TxnId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The format of session tokens that this program writes.
const FORMAT: u8 = 1;
/// Time, attempt and request hash.
const ENTRY_LEN: usize = 8 + 16 + 32;

/// The longest session token, as text: doors may refuse longer ones unseen.
pub const SESSION_TOKEN_BYTES_MAX: usize = (1 + SESSION_LEN_MAX * ENTRY_LEN).div_ceil(3) * 4;

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not what this project hands out.
    #[error("the text is no token that this service hands out")]
    Garbage,
    /// It names more commits than a session has.
    #[error("a session token names at most {SESSION_LEN_MAX} commits")]
    TooLong,
    /// A newer version of this program handed it out.
    #[error("the token has format {0}, of a newer version of this service: upgrade this node")]
    Newer(u8),
}

/// A session as its client carries it: format version, then the entries (time, attempt, request hash), in base64url without padding.
///
/// # Panics
/// If the session has more than [`SESSION_LEN_MAX`] entries.
pub fn encode_session(session: &[SessionEntry]) -> String {
    assert!(session.len() <= SESSION_LEN_MAX, "a session of {} entries", session.len());
    let mut bytes = Vec::with_capacity(1 + session.len() * ENTRY_LEN);
    bytes.push(FORMAT);
    for entry in session {
        bytes.extend(entry.txn.time.0.to_be_bytes());
        bytes.extend(entry.txn.attempt.0);
        bytes.extend(entry.hash.0);
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The session that a client presents.
///
/// # Errors
/// If the text is not of the form that [`encode_session`] gives.
pub fn decode_session(text: &str) -> Result<Vec<SessionEntry>, TokenError> {
    if text.len() > SESSION_TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Garbage)?;
    match bytes.split_first() {
        None | Some((0, _)) => Err(TokenError::Garbage),
        Some((format, _)) if *format > FORMAT => Err(TokenError::Newer(*format)),
        Some((_, entries)) if !entries.len().is_multiple_of(ENTRY_LEN) => Err(TokenError::Garbage),
        Some((_, entries)) if entries.len() / ENTRY_LEN > SESSION_LEN_MAX => Err(TokenError::TooLong),
        Some((_, entries)) => Ok(entries.chunks_exact(ENTRY_LEN).map(decode_entry).collect()),
    }
}

/// One token for what two tell of one client's commits: the union of their entries, the newest first, as many as a token holds.
///
/// # Errors
/// If one of the texts is not of the form that [`encode_session`] gives.
pub fn merge_sessions(one: &str, other: &str) -> Result<String, TokenError> {
    let mut entries = decode_session(one)?;
    entries.extend(decode_session(other)?);
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.txn, entry.hash.0)));
    entries.dedup();
    entries.truncate(SESSION_LEN_MAX);
    Ok(encode_session(&entries))
}

fn decode_entry(bytes: &[u8]) -> SessionEntry {
    let (time, rest) = bytes.split_first_chunk().expect("the chunk is one entry long");
    let (attempt, rest) = rest.split_first_chunk().expect("the chunk is one entry long");
    let hash = rest.first_chunk().expect("the chunk is one entry long");
    let txn = TxnId { time: Hlc(u64::from_be_bytes(*time)), attempt: AttemptId(*attempt) };
    SessionEntry { txn, hash: RequestHash(*hash) }
}

/// Names an open transaction and the node that it lives on: `<node>-<attempt>`, 16 and 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionToken {
    /// Where it lives.
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

/// Exactly `2 N` lower-case digits: one text for one token.
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
