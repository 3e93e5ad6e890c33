//! Tokens that were given out are read back; nothing else is.

use aft_core::ids::{AttemptId, NodeId, Session};
use aft_format::{SESSION_TOKEN_BYTES_MAX, TokenError, TransactionToken, decode_session, encode_session};
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
