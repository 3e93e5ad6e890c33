//! Tokens: what is handed out is read back; nothing else is.

use aft_core::ids::{AttemptId, NodeId, SESSION_LEN_MAX};
use aft_wire::durable::{
    SESSION_TOKEN_BYTES_MAX, TokenError, TransactionToken, decode_session, encode_session, merge_sessions,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate;

proptest! {
    #[test]
    fn sessions(session in vec(generate::session_entry(), 0..=SESSION_LEN_MAX)) {
        let text = encode_session(&session);
        prop_assert!(text.len() <= SESSION_TOKEN_BYTES_MAX);
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        prop_assert_eq!(decode_session(&text), Ok(session));
    }

    /// One text for one session: no text that differs decodes to the same.
    #[test]
    fn changed_sessions(session in vec(generate::session_entry(), 0..=SESSION_LEN_MAX), at: usize, to in "[A-Za-z0-9=+/_-]") {
        let mut text = encode_session(&session);
        let at = at % text.len();
        prop_assume!(text[at..=at] != to);
        text.replace_range(at..=at, &to);
        prop_assert_ne!(decode_session(&text), Ok(session));
    }

    /// The newest commits of both, whatever the order of the two.
    #[test]
    fn merged_sessions(one in vec(generate::session_entry(), 0..=SESSION_LEN_MAX), other in vec(generate::session_entry(), 0..=SESSION_LEN_MAX)) {
        let (one_text, other_text) = (encode_session(&one), encode_session(&other));
        let merged = merge_sessions(&one_text, &other_text).unwrap();
        prop_assert_eq!(&merged, &merge_sessions(&other_text, &one_text).unwrap());
        prop_assert_eq!(&merged, &merge_sessions(&merged, &one_text).unwrap());
        let mut newest: Vec<_> = one.iter().chain(&other).map(|entry| entry.txn).collect();
        newest.sort();
        let merged = decode_session(&merged).unwrap();
        prop_assert_eq!(merged.first().map(|entry| entry.txn), newest.pop());
        prop_assert!(merged.iter().all(|entry| one.contains(entry) || other.contains(entry)));
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
    check(&[2], TokenError::Newer(2));
    check(&[1, 1], TokenError::Garbage);
    check(&[1; 1 + 56 * (SESSION_LEN_MAX + 1)], TokenError::TooLong);
    assert_eq!(decode_session("AQ=="), Err(TokenError::Garbage));
    assert_eq!(decode_session("AR"), Err(TokenError::Garbage), "spare bits are zero");
    assert_eq!(decode_session("AQ"), Ok(vec![]));
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
