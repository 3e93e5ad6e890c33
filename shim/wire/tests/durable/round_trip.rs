//! What is encoded is decoded to the same.

use std::sync::Arc;

use aft_core::ids::{Key, NodeId, Nonce};
use aft_core::record::{
    CollectEntry, CollectName, RECORD_BYTES_BASE, Record, Stage, Superseded, WRITE_BYTES_BASE, Writes,
};
use aft_core::store::{Body, Group, Groups, Name};
use aft_store::Space;
use aft_wire::durable::{
    decode_body, decode_item, decode_keys, decode_minutes, decode_name, encode_after, encode_body,
    encode_group, encode_groups, encode_name, fingerprint, own_hash, own_hash_of, request_hash,
};
use bytes::Bytes;
use proptest::prelude::*;

use crate::generate;

fn group_of(name: &Name) -> Option<Group> {
    match name {
        Name::Commit(_) | Name::Marker(_) | Name::Entered | Name::Horizon => None,
        Name::Intent(intent) => Some(Group::Intents(intent.minute)),
        Name::Version(key, _) => Some(Group::Versions(key.clone())),
        Name::Blob { attempt, .. } => Some(Group::Blobs(*attempt)),
        Name::Collect(collect) => Some(Group::Collects(collect.minute)),
    }
}

proptest! {
    #[test]
    fn names(name in generate::name()) {
        let encoded = encode_name(&name);
        prop_assert!(encoded.item.len() <= aft_store::Name::ITEM_BYTES_MAX);
        prop_assert_eq!(decode_name(&encoded), Ok(name.clone()));
        if let Some(group) = group_of(&name) {
            prop_assert_eq!(encode_group(&group), (encoded.space, encoded.group));
            prop_assert_eq!(&encode_after(&group, &name), &encoded.item);
            prop_assert_eq!(decode_item(&group, &encoded.item), Ok(name));
        }
    }

    #[test]
    fn bodies((name, body) in generate::object()) {
        let name = encode_name(&name);
        let encoded = encode_body(&name, &body);
        prop_assert_eq!(&encoded, &encode_body(&name, &body), "one body, one encoding");
        prop_assert_eq!(decode_body(&name, &encoded), Ok(body));
    }

    /// Who keeps records within what a store takes reckons with this bound. It is close, or a transaction would be refused without need.
    #[test]
    fn records_have_at_most_the_bytes_that_were_said(record in generate::record(), result: bool) {
        let result = result.then(|| Bytes::from(vec![0; 1 << 20]));
        let record = match result {
            Some(result) => Record { result: Some(result), large_result: None, ..record },
            None => record,
        };
        let name = encode_name(&Name::Commit(record.hash));
        let bytes = encode_body(&name, &Body::Record(Arc::new(record.clone()))).len();
        prop_assert!(bytes <= record.bytes_max(), "{} bytes, {} at most", bytes, record.bytes_max());
        let loose = RECORD_BYTES_BASE + record.keys().len() * WRITE_BYTES_BASE;
        prop_assert!(bytes + loose >= record.bytes_max(), "{} bytes, {} at most", bytes, record.bytes_max());
        let Some(superseded) = Superseded::of(&record) else { return Ok(()) };
        let (txn, attempt) = (record.txn, record.txn.attempt);
        let entry = CollectEntry { stage: Stage::Markers, horizon: txn.time, transactions: vec![superseded] };
        let nonce = Nonce { node: NodeId(0), count: 0 };
        let name = encode_name(&Name::Collect(CollectName { minute: 0, time: txn.time, attempt, nonce }));
        let bytes = encode_body(&name, &Body::Collect(Arc::new(entry))).len();
        prop_assert!(bytes <= record.bytes_max(), "{} bytes, {} at most", bytes, record.bytes_max());
    }

    #[test]
    fn keys_and_minutes(keys in proptest::collection::vec(generate::key(), 0..4), minutes: Vec<u32>) {
        let groups: Vec<Bytes> = keys.iter().map(|key| encode_group(&Group::Versions(key.clone())).1).collect();
        prop_assert_eq!(decode_keys(&groups), Ok(keys));
        let groups: Vec<Bytes> = minutes.iter().map(|&minute| encode_group(&Group::Collects(minute)).1).collect();
        prop_assert_eq!(decode_minutes(Space::Collect, &groups), Ok(minutes));
    }

    #[test]
    fn key_cursors_cut_exactly(key in generate::key(), after in "k{1,1200}\\PC{0,3}") {
        let groups = Groups::Keys { prefix: String::new(), after: Some(after.clone()) };
        let cut = encode_groups(&groups).unwrap().after.unwrap();
        prop_assert!(cut.len() <= Key::BYTES_MAX);
        prop_assert_eq!(key.as_str().as_bytes() > after.as_bytes(), key.as_str().as_bytes() > &cut[..]);
    }
}

#[test]
fn group_queries() {
    let keys = encode_groups(&Groups::Keys { prefix: "a/".into(), after: Some("a/b".into()) }).unwrap();
    assert_eq!(
        (keys.space, &keys.prefix[..], keys.after.as_deref()),
        (Space::Version, &b"a/"[..], Some(&b"a/b"[..]))
    );
    let minutes = encode_groups(&Groups::IntentMinutes { after: Some(258) }).unwrap();
    assert_eq!((minutes.space, minutes.after.as_deref()), (Space::Intent, Some(&[0, 0, 1, 2][..])));
    let minutes = encode_groups(&Groups::CollectMinutes { after: None }).unwrap();
    assert_eq!((minutes.space, minutes.prefix.len(), minutes.after), (Space::Collect, 0, None));
    let endless = Groups::Keys { prefix: "k".repeat(Key::BYTES_MAX + 1), after: None };
    assert_eq!(encode_groups(&endless), None, "no key has this prefix");
}

#[test]
fn hashes_keep_requests_apart() {
    assert_ne!(request_hash("ab", "c", "d"), request_hash("a", "bc", "d"));
    assert_ne!(request_hash("a", "", "b"), request_hash("a", "b", ""));
    let attempt = aft_core::ids::AttemptId([7; 16]);
    assert_ne!(own_hash(attempt).0, fingerprint(&[7; 16]).0);
    assert_ne!(own_hash(attempt), own_hash_of("", attempt));
    assert_ne!(own_hash_of("a", attempt), own_hash_of("b", attempt));
}

#[test]
#[should_panic(expected = "a body of marker")]
fn a_body_goes_under_a_name_of_its_kind() {
    let nonce = aft_core::ids::Nonce { node: aft_core::ids::NodeId(1), count: 1 };
    let commit = encode_name(&Name::Commit(request_hash("a", "b", "c")));
    encode_body(&commit, &aft_core::store::Body::Marker(nonce));
}

/// An empty full write set and an empty slim one are different records.
#[test]
fn empty_write_sets_keep_their_form() {
    for writes in [Writes::Full([].into()), Writes::Slim([].into())] {
        let hash = request_hash("local", "", "r");
        let txn =
            aft_core::ids::TxnId { time: aft_core::ids::Hlc(9), attempt: aft_core::ids::AttemptId([1; 16]) };
        let record = Record {
            txn,
            hash,
            named: true,
            fingerprint: None,
            retention_ms: 0,
            result: None,
            large_result: None,
            blobs: 0,
            writes,
        };
        let body = aft_core::store::Body::Record(record.into());
        let name = encode_name(&Name::Commit(hash));
        assert_eq!(decode_body(&name, &encode_body(&name, &body)), Ok(body));
    }
}
