//! Everything that is encoded is decoded to the same, within the sizes that the core reckons with.

use std::sync::Arc;

use aft_core::ids::{AttemptId, Key, RequestHash};
use aft_core::record::{
    Follows, RECORD_BYTES_BASE, Record, VersionEntry, WRITE_BYTES_BASE, Write, write_bytes_max,
};
use aft_core::store::{Body, Name};
use aft_format::{
    Gone, PartInPieces, decode_body, decode_name, encode_name, encode_object, encode_part, fingerprint,
    own_hash, own_hash_of, request_hash,
};
use bytes::Bytes;
use proptest::prelude::*;

use crate::generate;

fn stored_bytes(record: &Record) -> usize {
    encode_object(&Name::Commit(record.hash), &Body::Record(Arc::new(record.clone()))).1.len()
}

proptest! {
    #[test]
    fn names(name in generate::name()) {
        let encoded = encode_name(&name);
        prop_assert!(encoded.item.len() <= aft_store::Name::ITEM_BYTES_MAX);
        prop_assert!(encoded.group.len() <= aft_store::Name::GROUP_BYTES_MAX);
        prop_assert_eq!(decode_name(&encoded), Ok(name));
    }

    #[test]
    fn bodies((name, body) in generate::object()) {
        let (at, encoded) = encode_object(&name, &body);
        prop_assert_eq!(&at, &encode_name(&name));
        prop_assert_eq!((&at, &encoded), (&at, &encode_object(&name, &body).1), "one body, one encoding");
        prop_assert_eq!(decode_body(&name, &encoded), Ok(body));
    }

    /// The core keeps records within the largest body by this bound. It is close, or a transaction
    /// would be refused without need.
    #[test]
    fn records_keep_to_their_bound(record in generate::record(), result: bool) {
        let record = match result {
            true => Record { result: Some(vec![0; 1 << 20].into()), large_result: None, ..record },
            false => record,
        };
        let bytes = stored_bytes(&record);
        prop_assert!(bytes <= record.bytes_max(), "{} bytes, {} at most", bytes, record.bytes_max());
        let loose = RECORD_BYTES_BASE + record.writes.len() * WRITE_BYTES_BASE + 64;
        prop_assert!(bytes + loose >= record.bytes_max(), "{} bytes, {} at most", bytes, record.bytes_max());
    }

    /// One more write takes at most what the core adds for it.
    #[test]
    fn writes_keep_to_their_bound(record in generate::record()) {
        for skipped in 0..record.writes.len() {
            let (key, write) = &record.writes[skipped];
            let mut writes = record.writes.to_vec();
            writes.remove(skipped);
            let without = Record { named: true, writes: writes.into(), ..record.clone() };
            let with = stored_bytes(&Record { named: true, ..record.clone() });
            let added = with - stored_bytes(&without);
            prop_assert!(added <= write_bytes_max(key, write.value()), "{} bytes for {}", added, key);
        }
    }

    #[test]
    fn parts_in_pieces(name in generate::blob_name(), bytes in generate::bytes(300), piece in 1_usize..200) {
        let pieces: Vec<Bytes> = bytes.chunks(piece).map(|piece| bytes.slice_ref(piece)).collect();
        let (at, body) = encode_part(&name, &pieces);
        prop_assert_eq!((&at, &body), (&encode_name(&name), &encode_object(&name, &Body::Part(bytes.clone())).1));
        let mut part = PartInPieces::new(name, Gone::default());
        let mut gone = Vec::new();
        for piece in body.chunks(piece) {
            gone.extend_from_slice(&part.push(body.slice_ref(piece)).unwrap());
        }
        gone.extend_from_slice(&part.end().unwrap());
        prop_assert_eq!(gone, bytes);
    }
}

/// The longest of everything still keeps to the bounds.
#[test]
fn the_largest_fields_keep_to_the_bound() {
    use aft_core::ids::{Fingerprint, Hlc, TxnId};
    use aft_core::record::{BlobGroup, BlobRef, LargeResult, Location, Value};
    let (attempt, hash) = (AttemptId([0xff; 16]), RequestHash([0xff; 32]));
    let group = BlobGroup { attempt, hash, reserved_ms: u64::MAX };
    let blob = BlobRef { group, number: u32::MAX, parts: u32::MAX, part_bytes: u32::MAX };
    let value = |location| Value {
        location,
        size: u64::MAX,
        etag: vec![0xff; 48].into(),
        attributes: vec![0; 300_000].into(),
    };
    let writes = [
        (Key::parse(&"k".repeat(Key::BYTES_MAX)).unwrap(), Write::Put(value(Location::Blob(blob)))),
        (Key::parse("z").unwrap(), Write::Put(value(Location::Inline(vec![0; 3 << 20].into())))),
        (Key::parse("zz").unwrap(), Write::Tombstone),
    ];
    let just_before = TxnId { time: Hlc(u64::MAX), attempt }.just_below();
    let record = Record {
        txn: TxnId { time: Hlc(u64::MAX), attempt },
        hash,
        named: true,
        fingerprint: Some(Fingerprint([0xff; 32])),
        retention_ms: u64::MAX,
        result: None,
        large_result: Some(LargeResult { blob, size: u64::MAX }),
        writes: writes.into(),
        follows: Some(Follows { versions: vec![just_before; 3].into(), checks_more: true }),
    };
    assert!(stored_bytes(&record) <= record.bytes_max());
}

#[test]
fn hashes_keep_requests_apart() {
    assert_ne!(request_hash("ab", "c", "d"), request_hash("a", "bc", "d"));
    assert_ne!(request_hash("a", "", "b"), request_hash("a", "b", ""));
    let attempt = AttemptId([7; 16]);
    assert_ne!(own_hash(attempt).0, fingerprint(&[7; 16]).0);
    assert_ne!(own_hash(attempt), own_hash_of("", attempt));
    assert_ne!(own_hash_of("a", attempt), own_hash_of("b", attempt));
}

#[test]
#[should_panic(expected = "cannot hold a text")]
fn a_body_lies_under_a_name_of_its_kind() {
    encode_object(&Name::Commit(request_hash("a", "b", "c")), &Body::Text("note".into()));
}

#[test]
#[should_panic(expected = "neither size nor etag")]
fn a_tombstone_has_no_size() {
    use aft_core::ids::TxnId;
    use aft_core::record::{Kind, Meta};
    let meta = Meta { kind: Kind::Tombstone, size: 1, etag: Bytes::new() };
    let entry = VersionEntry {
        txn: TxnId::ZERO,
        hash: RequestHash([0; 32]),
        meta,
        cowritten: 1,
        whole: false,
        follows: None,
    };
    encode_name(&Name::Version(Key::parse("k").unwrap(), entry));
}
