//! Decoders never panic, and find damage: arbitrary bytes, and valid ones with a few changes.

use aft_core::store::{Body, Group, Name, Scan};
use aft_format::{
    About, Listing, Scanning, TransactionToken, decode_body, decode_name, decode_session, describe,
    encode_name, encode_object, read_format,
};
use aft_store::{Error, GroupPage, ItemPage, ScanPage, Scanned, Space};
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

/// Lets every kind of page take these names, sorted as a store would.
fn take_pages(group: Bytes, item: Bytes, body: Option<Bytes>) {
    let key = aft_core::ids::Key::parse("k").unwrap();
    let mut listing = Listing::new(Group::Versions(key), None);
    let wanted = listing.take(ItemPage { items: vec![item.clone()], ..ItemPage::default() });
    // Without a body, the page is asked for again.
    if listing.resolve(vec![body.clone(); wanted.len()]) == Ok(false) {
        listing.answer();
    }
    for scan in [
        Scan::Versions { prefix: String::new(), after: None, heads: None },
        Scan::Commits { after: None },
        Scan::Damaged { after: None },
    ] {
        let mut scanning = Scanning::new(&scan);
        let (group, item, body) = (group.clone(), item.clone(), body.clone());
        let wanted = scanning.take_names(ScanPage {
            names: vec![Scanned { group, item, body: body.clone(), written_ms: None }],
            ..ScanPage::default()
        });
        if scanning.resolve(vec![body; wanted.len()]) == Ok(false) {
            scanning.answer();
        }
    }
    let mut scanning = Scanning::new(&Scan::Blobs { after: None });
    scanning.take_groups(GroupPage { groups: vec![group], ..GroupPage::default() });
    scanning.answer();
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
    fn changed_names(name in generate::name(), changes in changes(), of_group: bool) {
        let mut encoded = encode_name(&name);
        if of_group {
            encoded.group = apply(&encoded.group, &changes);
        } else {
            encoded.item = apply(&encoded.item, &changes);
        }
        if let Ok(decoded) = decode_name(&encoded) {
            prop_assert_eq!(&encode_name(&decoded), &encoded);
        }
        take_pages(encoded.group, encoded.item, None);
    }

    #[test]
    fn arbitrary_bodies(name in generate::name(), body in vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        let decoded = decode_body(&name, &body);
        match &name {
            Name::Version(_, entry) if !entry.whole => prop_assert_eq!(decoded.is_ok(), body.is_empty()),
            _ => prop_assert!(matches!(decoded, Err(Error::Damaged(_)))),
        }
        let at = encode_name(&name);
        take_pages(at.group, at.item, Some(body.clone()));
        let _ = About::decode(&body);
        let _ = read_format(Some(&body));
    }

    /// Damage is found, whatever it is, and named.
    #[test]
    fn changed_bodies((name, body) in generate::object(), changes in changes()) {
        let (_, encoded) = encode_object(&name, &body);
        let changed = apply(&encoded, &changes);
        prop_assume!(changed != encoded);
        let Err(Error::Damaged(text)) = decode_body(&name, &changed) else {
            return Err(TestCaseError::fail(format!("{changes:?} passed unseen")));
        };
        prop_assert!(text.starts_with(&describe(&name)), "{}", text);
    }

    /// A body that lies under another object's name is found.
    #[test]
    fn swapped_bodies((name, body) in generate::object(), (other, _) in generate::object()) {
        prop_assume!(name != other && !matches!(body, Body::Empty));
        prop_assert!(decode_body(&other, &encode_object(&name, &body).1).is_err());
    }

    #[test]
    fn arbitrary_tokens(text in "\\PC{0,400}") {
        let _ = decode_session(&text);
        let _ = text.parse::<TransactionToken>();
    }
}

/// Every truncation and every flipped bit of one object of each kind.
#[test]
fn no_truncation_and_no_flipped_bit_passes() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let (name, body) = generate::object().new_tree(&mut runner).unwrap().current();
        let (_, encoded) = encode_object(&name, &body);
        for len in 0..encoded.len() {
            assert!(decode_body(&name, &encoded.slice(..len)).is_err(), "{name:?} cut to {len}");
        }
        for bit in 0..encoded.len() * 8 {
            let mut flipped = encoded.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_body(&name, &flipped.into()).is_err(), "{name:?} with bit {bit} flipped");
        }
    }
}

#[test]
fn other_versions_say_so() {
    let hash = aft_core::ids::RequestHash([3; 32]);
    let body = |first: u8| match decode_body(&Name::Commit(hash), &vec![first; 40].into()) {
        Err(Error::Damaged(text)) => text,
        other => panic!("{first}: {other:?}"),
    };
    assert!(body(0x31).contains("written by a newer version"), "{}", body(0x31));
    assert!(body(1).contains("the first version"), "{}", body(1));
    assert!(body(2).contains("the first version"), "{}", body(2));
    assert!(body(0).contains("never was"), "{}", body(0));
    let item = |first: u8| match decode_name(&aft_store::Name::new(Space::Version, "k", vec![first; 73])) {
        Err(Error::Damaged(text)) => text,
        other => panic!("{first}: {other:?}"),
    };
    assert!(item(9).starts_with("version/k/") && item(9).contains("a newer version"), "{}", item(9));
    assert!(item(1).contains("the first version"), "{}", item(1));
    for space in [Space::Intent, Space::Collect, Space::Marker] {
        let text = decode_name(&aft_store::Name::new(space, "k", "")).unwrap_err().to_string();
        assert!(text.contains("the first version"), "{text}");
    }
}

/// The first version reads bodies that begin with 1 or 2, and items that begin with 1; it calls
/// greater bytes newer. Entries of the second have empty bodies, and their items begin with 2.
#[test]
fn the_first_version_refuses_what_this_one_writes() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    for _ in 0..200 {
        let (name, body) = generate::object().new_tree(&mut runner).unwrap().current();
        let (at, bytes) = encode_object(&name, &body);
        assert!(at.item.first().is_none_or(|first| *first > 1), "{at}");
        assert!(bytes.first().is_none_or(|first| *first > 2), "{at}");
        assert!(!at.item.is_empty() || !bytes.is_empty(), "{at} carries its version in name or body");
    }
}
