//! Tokens that were given out are read back; nothing else is.

use aft_core::ids::{AttemptId, NodeId, Session};
use aft_format::{
    SESSION_TOKEN_BYTES_MAX, TokenError, TransactionToken, decode_session, encode_session, merge_sessions,
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
    /// `fresh`.
    #[test]
    fn merged_sessions(one in generate::session(), other in generate::session()) {
        let (one_text, other_text) = (encode_session(&one), encode_session(&other));
        let text = merge_sessions(&one_text, &other_text).unwrap();
        prop_assert_eq!(&text, &merge_sessions(&other_text, &one_text).unwrap());
        let merged = decode_session(&text).unwrap();
        let newest = one.newest().max(other.newest());
        prop_assert_eq!(merged.newest(), newest);
        for entry in one.entries.iter().chain(&other.entries) {
            prop_assert!(merged.fresh || merged.entries.contains(entry), "{:?} is lost", entry);
        }
        prop_assert!(!(one.fresh || other.fresh) || merged.fresh);
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
    check(&[3], TokenError::Newer(3));
    check(&[2], TokenError::Garbage);
    check(&[2, 2], TokenError::Garbage);
    check(&[2, 0, 1], TokenError::Garbage);
    let mut long = vec![2, 0];
    long.resize(2 + 56 * (Session::LEN_MAX + 1), 0);
    check(&long, TokenError::TooLong);
    assert_eq!(decode_session("AgA="), Err(TokenError::Garbage));
    assert_eq!(decode_session("AgB"), Err(TokenError::Garbage), "spare bits are zero");
    assert_eq!(decode_session("AgA"), Ok(Session::default()));
    assert_eq!(decode_session("AgE"), Ok(Session { entries: Vec::new(), fresh: true }));
}

/// The longest token has exactly the bound's length but for padding.
#[test]
fn the_bound_is_close() {
    use aft_core::ids::{RequestHash, SessionEntry, TxnId};
    let entry = SessionEntry { txn: TxnId::ZERO, hash: RequestHash([0; 32]) };
    let text = encode_session(&Session { entries: vec![entry; Session::LEN_MAX], fresh: true });
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
