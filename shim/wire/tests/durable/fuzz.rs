//! Decoders never panic, and find damage: arbitrary bytes, and valid ones with a few changes.

use aft_core::store::{Body, Group, Name};
use aft_store::{Error, Space};
use aft_wire::durable::{
    TransactionToken, decode_body, decode_item, decode_keys, decode_minutes, decode_name, decode_session,
    encode_body, encode_name,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate;

/// One change to some bytes.
#[derive(Debug, Clone)]
enum Change {
    Flip(usize, u8),
    Cut(usize),
    Add(u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<usize>(), 1_u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => any::<usize>().prop_map(Change::Cut),
        1 => any::<u8>().prop_map(Change::Add),
    ];
    vec(change, 1..4)
}

fn apply(bytes: &Bytes, changes: &[Change]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for change in changes {
        match change {
            Change::Flip(at, bits) if !bytes.is_empty() => {
                let at = at % bytes.len();
                bytes[at] ^= bits;
            }
            Change::Cut(len) if !bytes.is_empty() => bytes.truncate(len % bytes.len()),
            Change::Add(byte) => bytes.push(*byte),
            Change::Flip(..) | Change::Cut(_) => {}
        }
    }
    bytes.into()
}

fn spaces() -> impl Strategy<Value = Space> {
    proptest::sample::select(&Space::ALL[..])
}

proptest! {
    #[test]
    fn arbitrary_names(space in spaces(), group in vec(any::<u8>(), 1..64), item in vec(any::<u8>(), 0..130)) {
        let name = aft_store::Name::new(space, group, item);
        match decode_name(&name) {
            Ok(decoded) => prop_assert_eq!(encode_name(&decoded), name, "one name, one encoding"),
            Err(error) => prop_assert!(matches!(error, Error::Damaged(_)), "{}", error),
        }
    }

    #[test]
    fn changed_names(name in generate::name(), changes in changes()) {
        let mut encoded = encode_name(&name);
        encoded.item = apply(&encoded.item, &changes);
        if let Ok(decoded) = decode_name(&encoded) {
            prop_assert_eq!(&encode_name(&decoded), &encoded);
        }
        let _ = decode_item(&Group::Intents(1), &encoded.item);
        let _ = decode_keys(&[encoded.item.clone()]);
        let _ = decode_minutes(Space::Intent, &[encoded.item]);
    }

    #[test]
    fn arbitrary_bodies(name in generate::name(), body in vec(any::<u8>(), 0..200)) {
        let name = encode_name(&name);
        let decoded = decode_body(&name, &Bytes::from(body.clone()));
        match name.space {
            Space::Intent | Space::Version => prop_assert_eq!(decoded.is_ok(), body.is_empty()),
            _ => prop_assert!(matches!(decoded, Err(Error::Damaged(_)))),
        }
    }

    /// Damage is found, whatever it is, and named.
    #[test]
    fn changed_bodies((name, body) in generate::object(), changes in changes()) {
        let name = encode_name(&name);
        let encoded = encode_body(&name, &body);
        let changed = apply(&encoded, &changes);
        prop_assume!(changed != encoded);
        let Err(Error::Damaged(text)) = decode_body(&name, &changed) else {
            return Err(TestCaseError::fail(format!("{changes:?} passed unseen")));
        };
        prop_assert!(text.starts_with(&name.to_string()), "{}", text);
    }

    /// A body that stands under another object's name is found.
    #[test]
    fn swapped_bodies((name, body) in generate::object(), (other, _) in generate::object()) {
        let (name, other) = (encode_name(&name), encode_name(&other));
        prop_assume!(name != other && !matches!(body, Body::Empty));
        prop_assert!(decode_body(&other, &encode_body(&name, &body)).is_err());
    }

    #[test]
    fn arbitrary_tokens(text in "\\PC{0,400}") {
        let _ = decode_session(&text);
        let _ = text.parse::<TransactionToken>();
    }
}

#[test]
fn newer_formats_say_so() {
    let name = encode_name(&Name::Commit(aft_core::ids::RequestHash([3; 32])));
    let Err(Error::Damaged(text)) = decode_body(&name, &Bytes::from_static(&[3; 40])) else {
        panic!("format 3 was read")
    };
    assert!(text.contains("written by a newer version"), "{text}");
    let Err(Error::Damaged(text)) = decode_item(&Group::Intents(7), &Bytes::from_static(&[9; 73])) else {
        panic!("format 9 was read")
    };
    assert!(text.starts_with("intent/") && text.contains("written by a newer version"), "{text}");
    assert!(decode_body(&name, &Bytes::from_static(&[0; 40])).is_err());
}
