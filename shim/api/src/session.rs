//! Session tokens as a client sees them: it merges them, and understands nothing else of them.
//!
//! ```text
//!   base64url without padding of:
//!     format 2: 2, fresh until (8 bytes), entries of 65 bytes
//!     format 3: 3, fresh until (8), node (8), mixed until (8), entries
//!   an entry: time (8), attempt (16), request hash (32), time heard of (8), whole (0 or 1)
//! ```
//!
//! Numbers are big-endian, times are milliseconds since the Unix epoch. `aft-format` has the same
//! bytes for the server.

use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The time, in milliseconds, for which a merged session covers entries that had no room, after the
/// client heard of them: longer than any node uses a listing. A client does not know its server's
/// settings.
pub const MERGED_COVER_MS: u64 = 60_000;

/// The most commits that a session names.
const ENTRIES_MAX: usize = 8;
/// The bytes of a commit in a token.
const ENTRY_LEN: usize = 8 + 16 + 32 + 8 + 1;
/// The format of a session that names no node.
const PLAIN: u8 = 2;
/// The format of one that does.
const THROUGH: u8 = 3;

/// A session token that this version cannot read: it is damaged, or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is no session token that this version reads: send the last token unchanged, or none")]
pub struct UnreadableSession;

/// A commit that a session names. The order of the fields is that of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    time: u64,
    attempt: [u8; 16],
    hash: [u8; 32],
    seen_ms: u64,
    whole: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Session {
    entries: Vec<Entry>,
    fresh_until_ms: u64,
    through: u64,
    mixed_until_ms: u64,
}

/// Returns one token for two of one client: the union of their entries, the newest first. Those
/// that do not fit are covered by fresh transactions, for [`MERGED_COVER_MS`]. Seen through two
/// nodes, all counts as seen through the one that was heard of last, once that time is over for the
/// other.
///
/// # Errors
/// Returns [`UnreadableSession`] if one of the texts is not of the form that servers give.
pub fn merge_sessions(one: &str, other: &str) -> Result<String, UnreadableSession> {
    let one = decode(one).ok_or(UnreadableSession)?;
    let other = decode(other).ok_or(UnreadableSession)?;
    let (through, mixed_until_ms) = merge_through(&one, &other);
    let mut fresh_until_ms = one.fresh_until_ms.max(other.fresh_until_ms);
    let mut entries = one.entries;
    entries.extend(other.entries);
    // Of two entries of one transaction, the one that was heard of last: it is kept for longer.
    entries.sort_by_key(|entry| Reverse(*entry));
    entries.dedup_by_key(|entry| (entry.time, entry.attempt, entry.hash));
    for left_out in entries.iter().skip(ENTRIES_MAX) {
        fresh_until_ms = fresh_until_ms.max(left_out.seen_ms.saturating_add(MERGED_COVER_MS));
    }
    entries.truncate(ENTRIES_MAX);
    Ok(encode(&Session { entries, fresh_until_ms, through, mixed_until_ms }))
}

/// Returns the node through which a merged session was seen, and after which time that counts.
fn merge_through(one: &Session, other: &Session) -> (u64, u64) {
    let mixed_until_ms = one.mixed_until_ms.max(other.mixed_until_ms);
    if one.through == other.through {
        return (one.through, mixed_until_ms);
    }
    let is_empty = |session: &Session| *session == Session::default();
    match (is_empty(one), is_empty(other)) {
        (true, _) => return (other.through, mixed_until_ms),
        (_, true) => return (one.through, mixed_until_ms),
        (false, false) => {}
    }
    let seen_ms = |session: &Session| session.entries.iter().map(|entry| entry.seen_ms).max().unwrap_or(0);
    let mut both = [one, other].map(|session| (seen_ms(session), session.through, session));
    both.sort_by_key(|(seen_ms, through, _)| (*seen_ms, *through));
    let [(earlier_ms, _, earlier), (_, through, _)] = both;
    let covered_ms = earlier.fresh_until_ms.max(earlier_ms.saturating_add(MERGED_COVER_MS));
    (through, mixed_until_ms.max(covered_ms))
}

fn encode(session: &Session) -> String {
    let Session { entries, fresh_until_ms, through, mixed_until_ms } = session;
    assert!(entries.len() <= ENTRIES_MAX, "a session of {} entries", entries.len());
    let is_plain = (*through, *mixed_until_ms) == (0, 0);
    let mut bytes = vec![if is_plain { PLAIN } else { THROUGH }];
    bytes.extend(fresh_until_ms.to_be_bytes());
    if !is_plain {
        bytes.extend(through.to_be_bytes());
        bytes.extend(mixed_until_ms.to_be_bytes());
    }
    for entry in entries {
        bytes.extend(entry.time.to_be_bytes());
        bytes.extend(entry.attempt);
        bytes.extend(entry.hash);
        bytes.extend(entry.seen_ms.to_be_bytes());
        bytes.push(entry.whole.into());
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Session> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (format, rest) = bytes.split_first()?;
    let (fresh_until_ms, rest) = split_number(rest)?;
    let (through, mixed_until_ms, entries) = match *format {
        PLAIN => (0, 0, rest),
        THROUGH => {
            let (through, rest) = split_number(rest)?;
            let (mixed_until_ms, rest) = split_number(rest)?;
            // One text for one session.
            if (through, mixed_until_ms) == (0, 0) {
                return None;
            }
            (through, mixed_until_ms, rest)
        }
        _ => return None,
    };
    if !entries.len().is_multiple_of(ENTRY_LEN) || entries.len() / ENTRY_LEN > ENTRIES_MAX {
        return None;
    }
    let entries = entries.chunks_exact(ENTRY_LEN).map(decode_entry).collect::<Option<_>>()?;
    Some(Session { entries, fresh_until_ms, through, mixed_until_ms })
}

fn split_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let (time, rest) = split_number(bytes)?;
    let (attempt, rest) = rest.split_first_chunk()?;
    let (hash, rest) = rest.split_first_chunk()?;
    let (seen_ms, rest) = split_number(rest)?;
    let whole = match rest {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    Some(Entry { time, attempt: *attempt, hash: *hash, seen_ms, whole })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        (0..50_u64, 0..3_u8, 0..3_u8, 0..100_000_u64, any::<bool>()).prop_map(
            |(time, attempt, hash, seen_ms, whole)| Entry {
                time,
                attempt: [attempt; 16],
                hash: [hash; 32],
                seen_ms,
                whole,
            },
        )
    }

    fn session() -> impl Strategy<Value = Session> {
        (prop::collection::vec(entry(), 0..=ENTRIES_MAX), 0..100_000_u64, 0..3_u64, 0..100_000_u64).prop_map(
            |(mut entries, fresh_until_ms, through, mixed_until_ms)| {
                entries.sort_by_key(|entry| Reverse(*entry));
                entries.dedup_by_key(|entry| (entry.time, entry.attempt, entry.hash));
                Session { entries, fresh_until_ms, through, mixed_until_ms }
            },
        )
    }

    proptest! {
        #[test]
        fn tokens_are_read_back(session in session()) {
            prop_assert_eq!(decode(&encode(&session)), Some(session));
        }

        /// The newest commits of both, whatever the order of the two; what does not fit is covered
        /// by fresh transactions.
        #[test]
        fn a_merged_session_covers_both(one in session(), other in session()) {
            let (one_text, other_text) = (encode(&one), encode(&other));
            let text = merge_sessions(&one_text, &other_text).unwrap();
            prop_assert_eq!(&text, &merge_sessions(&other_text, &one_text).unwrap());
            let merged = decode(&text).unwrap();
            let key = |entry: &Entry| (entry.time, entry.attempt, entry.hash);
            let both = || one.entries.iter().chain(&other.entries);
            prop_assert_eq!(merged.entries.iter().map(key).max(), both().map(key).max());
            for entry in both() {
                let covered_ms = entry.seen_ms.saturating_add(MERGED_COVER_MS);
                let keeps = |kept: &Entry| key(kept) == key(entry) && kept.seen_ms >= entry.seen_ms;
                let has = merged.entries.iter().any(keeps);
                prop_assert!(has || merged.fresh_until_ms >= covered_ms, "{:?} is lost", entry);
            }
            prop_assert!(merged.fresh_until_ms >= one.fresh_until_ms.max(other.fresh_until_ms));
            // A node knows all of it only if it knows all of both, or what it has not shown is
            // covered.
            for session in [&one, &other] {
                let covers = |ms: u64| merged.mixed_until_ms >= ms;
                let covered = |entry: &Entry| covers(entry.seen_ms.saturating_add(MERGED_COVER_MS));
                let unseen = session.entries.iter().all(covered) && covers(session.fresh_until_ms);
                let is_its = session.through == merged.through || *session == Session::default();
                prop_assert!(covers(session.mixed_until_ms) && (is_its || unseen), "{:?}", merged);
            }
            prop_assert!(merged.entries.iter().all(|entry| both().any(|of| of == entry)));
            prop_assert_eq!(merge_sessions(&one_text, "?"), Err(UnreadableSession));
        }
    }

    /// One transaction that both name is one entry, of the later hearing.
    #[test]
    fn one_transaction_merges_into_one_entry() {
        let session = |seen_ms| {
            let entry = Entry { time: 0, attempt: [0; 16], hash: [0; 32], seen_ms, whole: true };
            encode(&Session { entries: vec![entry], ..Session::default() })
        };
        assert_eq!(merge_sessions(&session(1), &session(2)), Ok(session(2)));
        assert_eq!(merge_sessions(&session(2), &session(1)), Ok(session(2)));
    }

    #[test]
    fn what_servers_do_not_give_is_not_read() {
        let entries = |len: usize| [&[PLAIN][..], &vec![0; 8 + ENTRY_LEN * len]].concat();
        let read = |bytes: &[u8]| decode(&URL_SAFE_NO_PAD.encode(bytes));
        let mut flagged = entries(1);
        *flagged.last_mut().expect("an entry has bytes") = 2;
        let through_nothing = [&[THROUGH][..], &[0; 24]].concat();
        let many = entries(ENTRIES_MAX + 1);
        for bytes in [&[][..], &[0], &[1; 57], &[2; 8], &[2; 10], &[4], &flagged, &through_nothing, &many] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
        assert!(read(&entries(ENTRIES_MAX)).is_some());
        assert_eq!(decode("AgAAAAAAAAAA"), Some(Session::default()));
        assert_eq!(decode("AgAAAAAAAAAA=="), None);
    }
}
