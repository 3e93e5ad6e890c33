//! Tokens that were given out are read back; nothing else is.

use aft_core::ids::{AttemptId, NodeId, Session};
use aft_format::{
    MERGED_COVER_MS, SESSION_TOKEN_BYTES_MAX, TokenError, TransactionToken, decode_session, encode_session,
    merge_sessions,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use crate::generate;

proptest! {
    #[test]
    fn sessions(session in generate::session()) {
        let text = encode_session(&session);
        prop_assert!(text.len() <= SESSION_TOKEN_BYTES_MAX);
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        prop_assert_eq!(decode_session(&text), Ok(session));
    }

    /// One text for one session: no text that differs decodes to the same.
    #[test]
    fn changed_sessions(session in generate::session(), at: usize, to in "[A-Za-z0-9=+/_-]") {
        let mut text = encode_session(&session);
        let at = at % text.len();
        prop_assume!(text[at..=at] != to);
        text.replace_range(at..=at, &to);
        prop_assert_ne!(decode_session(&text), Ok(session));
    }

    /// The newest commits of both, whatever the order of the two; what does not fit is covered by
    /// fresh transactions.
    #[test]
    fn merged_sessions(one in generate::session(), other in generate::session()) {
        let (one_text, other_text) = (encode_session(&one), encode_session(&other));
        let text = merge_sessions(&one_text, &other_text).unwrap();
        prop_assert_eq!(&text, &merge_sessions(&other_text, &one_text).unwrap());
        let merged = decode_session(&text).unwrap();
        let newest = one.newest().max(other.newest());
        prop_assert_eq!(merged.newest(), newest);
        for entry in one.entries.iter().chain(&other.entries) {
            let covered_ms = entry.seen_ms.saturating_add(MERGED_COVER_MS);
            let has = merged.entries.iter().any(|kept| kept.txn == entry.txn && kept.seen_ms >= entry.seen_ms);
            prop_assert!(has || merged.fresh_until_ms >= covered_ms, "{:?} is lost", entry);
        }
        prop_assert!(merged.fresh_until_ms >= one.fresh_until_ms.max(other.fresh_until_ms));
        // A node knows all of it only if it knows all of both, or what it has not shown is covered.
        let node = merged.through;
        for session in [&one, &other] {
            let covers = |ms: u64| merged.mixed_until_ms >= ms;
            let unseen = session.entries.iter().all(|entry| covers(entry.seen_ms.saturating_add(MERGED_COVER_MS)))
                && covers(session.fresh_until_ms);
            let is_its = session.through == node || *session == Session::default();
            prop_assert!(covers(session.mixed_until_ms) && (is_its || unseen), "{:?} in {:?}", session, merged);
        }
        prop_assert!(merged.entries.iter().all(|entry| one.entries.contains(entry) || other.entries.contains(entry)));
        prop_assert!(merge_sessions(&one_text, "?").is_err());
    }

    #[test]
    fn transactions(node: u64, attempt in generate::attempt()) {
        let token = TransactionToken { node: NodeId(node), attempt };
        let text = token.to_string();
        prop_assert_eq!(text.len(), TransactionToken::LEN);
        prop_assert_eq!(text.parse(), Ok(token));
        prop_assert_eq!(text.to_uppercase().parse::<TransactionToken>().is_ok(), text.to_uppercase() == text);
    }
}

#[test]
fn session_garbage() {
    let check =
        |bytes: &[u8], expect| assert_eq!(decode_session(&URL_SAFE_NO_PAD.encode(bytes)), Err(expect));
    check(&[], TokenError::Garbage);
    check(&[0], TokenError::Garbage);
    check(&[1], TokenError::First);
    check(&[1; 1 + 56], TokenError::First);
    check(&[4], TokenError::Newer(4));
    check(&[3], TokenError::Garbage);
    // As in format 2, at greater length.
    check(&[&[3][..], &[0; 24]].concat(), TokenError::Garbage);
    check(&[2], TokenError::Garbage);
    check(&[2; 8], TokenError::Garbage);
    check(&[2; 10], TokenError::Garbage);
    let entries = |len: usize| {
        let mut bytes = vec![0; 9 + 65 * len];
        bytes[0] = 2;
        bytes
    };
    let mut flagged = entries(1);
    *flagged.last_mut().unwrap() = 2;
    check(&flagged, TokenError::Garbage);
    check(&entries(Session::LEN_MAX + 1), TokenError::TooLong);
    assert!(decode_session(&URL_SAFE_NO_PAD.encode(entries(Session::LEN_MAX))).is_ok());
    assert_eq!(decode_session("AgAAAAAAAAAA"), Ok(Session::default()));
    assert_eq!(decode_session("AgAAAAAAAAAA=="), Err(TokenError::Garbage));
    assert_eq!(decode_session("AgAAAAAAAAAB"), Ok(Session { fresh_until_ms: 1, ..Session::default() }));
}

/// One transaction that both name is one entry, of the later hearing.
#[test]
fn one_transaction_merges_into_one_entry() {
    use aft_core::ids::{RequestHash, SessionEntry, TxnId};
    let session = |seen_ms| {
        let entry = SessionEntry { txn: TxnId::ZERO, hash: RequestHash([0; 32]), whole: true, seen_ms };
        encode_session(&Session { entries: vec![entry], ..Session::default() })
    };
    assert_eq!(merge_sessions(&session(1), &session(2)), Ok(session(2)));
    assert_eq!(merge_sessions(&session(2), &session(1)), Ok(session(2)));
}

/// The longest token has exactly the bound's length but for padding.
#[test]
fn the_bound_is_close() {
    use aft_core::ids::{RequestHash, SessionEntry, TxnId};
    let entry = SessionEntry { txn: TxnId::ZERO, hash: RequestHash([0; 32]), whole: true, seen_ms: 1 };
    let entries = vec![entry; Session::LEN_MAX];
    let text = encode_session(&Session {
        entries,
        fresh_until_ms: u64::MAX,
        through: NodeId(u64::MAX),
        mixed_until_ms: u64::MAX,
    });
    assert!(text.len() + 3 > SESSION_TOKEN_BYTES_MAX, "{} of {SESSION_TOKEN_BYTES_MAX}", text.len());
}

#[test]
fn transaction_garbage() {
    let token = TransactionToken { node: NodeId(0xab), attempt: AttemptId([0xcd; 16]) };
    let text = "00000000000000ab-cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    assert_eq!(token.to_string(), text);
    for garbage in [
        "",
        "-",
        "00000000000000ab",
        "00000000000000ab-",
        "ab-cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        "00000000000000AB-cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        "00000000000000ab-cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd0",
        "00000000000000ab-cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcg",
        " 00000000000000ab-cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        "00000000000000ab_cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        "+0000000000000ab-cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
    ] {
        assert_eq!(garbage.parse::<TransactionToken>(), Err(TokenError::Garbage), "{garbage}");
    }
}
