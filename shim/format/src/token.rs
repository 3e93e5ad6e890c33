//! Tokens that clients carry from call to call: of a session and of a transaction. Text, because it
//! travels in headers and paths.

use std::fmt;
use std::str::FromStr;

use aft_core::ids::{AttemptId, Hlc, NodeId, RequestHash, Session, SessionEntry, TxnId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The format of a session that names no node.
const PLAIN: u8 = 2;
/// The format of one that does.
const THROUGH: u8 = 3;
/// The bytes of the format number, and of the time until which transactions of the session are
/// fresh.
const PREFIX_LEN: usize = 1 + 8;
/// The bytes of the node through which everything was seen, and of the time after which that
/// counts.
const THROUGH_LEN: usize = 8 + 8;
/// The bytes of a commit: its identity (time, attempt, request hash), the time when the client
/// heard of it, and flags.
const ENTRY_LEN: usize = 8 + 16 + 32 + 8 + 1;
/// The flag of a whole entry.
const WHOLE: u8 = 1;
/// The time, in milliseconds, for which a session that a client merged covers entries that had no
/// room, after the client heard of them: longer than any node uses a listing. Clients do not know
/// their server's settings, so `aft-api` has the same number.
pub const MERGED_COVER_MS: u64 = 60_000;

/// The longest session token, as text: doors may refuse longer ones unread.
pub const SESSION_TOKEN_BYTES_MAX: usize =
    (PREFIX_LEN + THROUGH_LEN + Session::LEN_MAX * ENTRY_LEN).div_ceil(3) * 4;

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

/// Returns a session as its client carries it, in base64url without padding. Its bytes are the
/// format's number; the time until which transactions are fresh; in format 3 the node through which
/// everything was seen, and the time after which that counts; then the commits. Numbers are
/// big-endian.
///
/// # Panics
/// Panics if the session has more than [`Session::LEN_MAX`] entries.
pub fn encode_session(session: &Session) -> String {
    let Session { entries, fresh_until_ms, through, mixed_until_ms } = session;
    assert!(entries.len() <= Session::LEN_MAX, "a session of {} entries", entries.len());
    let mut bytes = Vec::with_capacity(PREFIX_LEN + THROUGH_LEN + entries.len() * ENTRY_LEN);
    let is_plain = (*through, *mixed_until_ms) == (NodeId::default(), 0);
    bytes.push(if is_plain { PLAIN } else { THROUGH });
    bytes.extend(fresh_until_ms.to_be_bytes());
    if !is_plain {
        bytes.extend(through.0.to_be_bytes());
        bytes.extend(mixed_until_ms.to_be_bytes());
    }
    for entry in entries {
        bytes.extend(entry.txn.time.0.to_be_bytes());
        bytes.extend(entry.txn.attempt.0);
        bytes.extend(entry.hash.0);
        bytes.extend(entry.seen_ms.to_be_bytes());
        bytes.push(if entry.whole { WHOLE } else { 0 });
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
    let (format, rest) = match bytes[..] {
        [] | [0, ..] => return Err(TokenError::Garbage),
        [1, ..] => return Err(TokenError::First),
        [format, ..] if format > THROUGH => return Err(TokenError::Newer(format)),
        [format, ref rest @ ..] => (format, rest),
    };
    let number = |rest| split_number(rest).ok_or(TokenError::Garbage);
    let (fresh_until_ms, rest) = number(rest)?;
    let (through, mixed_until_ms, entries) = match format {
        PLAIN => (0, 0, rest),
        _ => {
            let (through, rest) = number(rest)?;
            let (mixed_until_ms, rest) = number(rest)?;
            // One text for one session.
            if (through, mixed_until_ms) == (0, 0) {
                return Err(TokenError::Garbage);
            }
            (through, mixed_until_ms, rest)
        }
    };
    if !entries.len().is_multiple_of(ENTRY_LEN) {
        return Err(TokenError::Garbage);
    }
    if entries.len() / ENTRY_LEN > Session::LEN_MAX {
        return Err(TokenError::TooLong);
    }
    let entries = entries.chunks_exact(ENTRY_LEN).map(decode_entry).collect::<Option<_>>();
    let entries = entries.ok_or(TokenError::Garbage)?;
    Ok(Session { entries, fresh_until_ms, through: NodeId(through), mixed_until_ms })
}

fn split_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn decode_entry(bytes: &[u8]) -> Option<SessionEntry> {
    const LENGTH: &str = "the chunk is one entry long";
    let (time, rest) = bytes.split_first_chunk().expect(LENGTH);
    let (attempt, rest) = rest.split_first_chunk().expect(LENGTH);
    let (hash, rest) = rest.split_first_chunk().expect(LENGTH);
    let (seen_ms, rest) = rest.split_first_chunk().expect(LENGTH);
    let whole = match rest {
        [0] => false,
        [WHOLE] => true,
        _ => return None,
    };
    let txn = TxnId { time: Hlc(u64::from_be_bytes(*time)), attempt: AttemptId(*attempt) };
    let seen_ms = u64::from_be_bytes(*seen_ms);
    Some(SessionEntry { txn, hash: RequestHash(*hash), whole, seen_ms })
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
