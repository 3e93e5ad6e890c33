//! Strategies for everything that is stored.

use aft_core::ids::{AttemptId, Fingerprint, Hlc, Key, NodeId, Nonce, RequestHash, SessionEntry, TxnId};
use aft_core::record::{
    BlobRef, CollectEntry, CollectName, ETAG_BYTES_MAX, Intent, Kind, LargeResult, Location, Meta, Record,
    Stage, Superseded, Value, VersionEntry, Write, Writes,
};
use aft_core::store::{Body, Name};
use bytes::Bytes;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

pub(crate) fn attempt() -> impl Strategy<Value = AttemptId> {
    any::<[u8; 16]>().prop_map(AttemptId)
}

pub(crate) fn hash() -> impl Strategy<Value = RequestHash> {
    any::<[u8; 32]>().prop_map(RequestHash)
}

/// Small times are common, so that ties are.
pub(crate) fn time() -> impl Strategy<Value = Hlc> {
    prop_oneof![(0_u64..4).prop_map(Hlc), any::<u64>().prop_map(Hlc)]
}

pub(crate) fn txn() -> impl Strategy<Value = TxnId> {
    (time(), attempt()).prop_map(|(time, attempt)| TxnId { time, attempt })
}

pub(crate) fn nonce() -> impl Strategy<Value = Nonce> {
    (any::<u64>(), any::<u64>()).prop_map(|(node, count)| Nonce { node: NodeId(node), count })
}

pub(crate) fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        8 => "[a-c/]{1,4}".prop_map(|text| Key::parse(&text).unwrap()),
        4 => "\\PC{1,20}".prop_map(|text| Key::parse(&text).unwrap()),
        1 => (1..=Key::BYTES_MAX).prop_map(|len| Key::parse(&"k".repeat(len)).unwrap()),
    ]
}

pub(crate) fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

pub(crate) fn session_entry() -> impl Strategy<Value = SessionEntry> {
    (txn(), hash()).prop_map(|(txn, hash)| SessionEntry { txn, hash })
}

pub(crate) fn meta() -> impl Strategy<Value = Meta> {
    let kind = prop_oneof![Just(Kind::Inline), Just(Kind::Tombstone), Just(Kind::Blob)];
    (kind, any::<u64>(), bytes(ETAG_BYTES_MAX)).prop_map(|(kind, size, etag)| Meta { kind, size, etag })
}

pub(crate) fn version() -> impl Strategy<Value = VersionEntry> {
    (txn(), hash(), meta(), any::<u32>()).prop_map(|(txn, hash, meta, cowritten)| VersionEntry {
        txn,
        hash,
        meta,
        cowritten,
    })
}

pub(crate) fn intent() -> impl Strategy<Value = Intent> {
    (any::<u32>(), time(), attempt(), nonce(), hash())
        .prop_map(|(minute, time, attempt, nonce, hash)| Intent { minute, time, attempt, nonce, hash })
}

pub(crate) fn collect_name() -> impl Strategy<Value = CollectName> {
    (any::<u32>(), time(), attempt(), nonce()).prop_map(|(minute, time, attempt, nonce)| CollectName {
        minute,
        time,
        attempt,
        nonce,
    })
}

pub(crate) fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        hash().prop_map(Name::Commit),
        intent().prop_map(Name::Intent),
        (key(), version()).prop_map(|(key, entry)| Name::Version(key, entry)),
        (attempt(), any::<u32>(), any::<u32>()).prop_map(|(attempt, number, part)| Name::Blob {
            attempt,
            number,
            part
        }),
        collect_name().prop_map(Name::Collect),
        key().prop_map(Name::Marker),
        Just(Name::Entered),
        Just(Name::Horizon),
    ]
}

fn blob() -> impl Strategy<Value = BlobRef> {
    (attempt(), any::<u32>(), any::<u32>(), any::<u32>())
        .prop_map(|(attempt, number, parts, part_bytes)| BlobRef { attempt, number, parts, part_bytes })
}

fn write() -> impl Strategy<Value = Write> {
    let location = prop_oneof![bytes(64).prop_map(Location::Inline), blob().prop_map(Location::Blob)];
    prop_oneof![
        1 => Just(Write::Tombstone),
        4 => (location, any::<u64>(), bytes(ETAG_BYTES_MAX), bytes(16)).prop_map(
            |(location, size, etag, attributes)| Write::Put(Value { location, size, etag, attributes })
        ),
    ]
}

fn writes() -> impl Strategy<Value = Writes> {
    prop_oneof![
        3 => btree_map(key(), write(), 0..6).prop_map(|writes| Writes::Full(writes.into_iter().collect())),
        1 => btree_set(key(), 0..6).prop_map(|keys| Writes::Slim(keys.into_iter().collect())),
    ]
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let about = (any::<bool>(), proptest::option::of(any::<[u8; 32]>()), any::<u64>(), any::<u32>());
    let result = prop_oneof![
        2 => proptest::option::of(bytes(32)).prop_map(|result| (result, None)),
        1 => (blob(), any::<u64>()).prop_map(|(blob, size)| (None, Some(LargeResult { blob, size }))),
    ];
    (txn(), hash(), about, result, writes()).prop_map(
        |(txn, hash, (named, fingerprint, retention_ms, blobs), (result, large_result), writes)| {
            let fingerprint = fingerprint.map(Fingerprint);
            Record { txn, hash, named, fingerprint, retention_ms, result, large_result, blobs, writes }
        },
    )
}

fn collect_entry() -> impl Strategy<Value = CollectEntry> {
    let stage = prop_oneof![Just(Stage::Pieces), Just(Stage::Header), Just(Stage::Markers)];
    (stage, time(), vec(superseded(), 1..4)).prop_map(|(stage, horizon, transactions)| CollectEntry {
        stage,
        horizon,
        transactions,
    })
}

fn superseded() -> impl Strategy<Value = Superseded> {
    let writes = btree_map(key(), meta(), 0..6);
    let blobs = vec((any::<u32>(), any::<u32>()), 0..4);
    let result_blob = proptest::option::of((any::<u32>(), any::<u32>()));
    (txn(), hash(), writes, blobs, result_blob, any::<u64>()).prop_map(
        |(txn, hash, writes, blobs, result_blob, retention_ms)| {
            let writes = writes.into_iter().collect();
            Superseded { txn, hash, writes, blobs, result_blob, retention_ms }
        },
    )
}

/// An object: a name with a body that may stand under it.
pub(crate) fn object() -> impl Strategy<Value = (Name, Body)> {
    prop_oneof![
        4 => record().prop_map(|record| (Name::Commit(record.hash), Body::Record(record.into()))),
        2 => (collect_name(), collect_entry()).prop_map(|(name, entry)| {
            let attempt = entry.transactions[0].txn.attempt;
            (Name::Collect(CollectName { attempt, ..name }), Body::Collect(entry.into()))
        }),
        1 => (key(), nonce()).prop_map(|(key, nonce)| (Name::Marker(key), Body::Marker(nonce))),
        1 => time().prop_map(|time| (Name::Entered, Body::Time(time))),
        1 => time().prop_map(|time| (Name::Horizon, Body::Time(time))),
        1 => (attempt(), any::<u32>(), any::<u32>(), bytes(256)).prop_map(|(attempt, number, part, bytes)| {
            (Name::Blob { attempt, number, part }, Body::Part(bytes))
        }),
        1 => intent().prop_map(|intent| (Name::Intent(intent), Body::Empty)),
        1 => (key(), version()).prop_map(|(key, entry)| (Name::Version(key, entry), Body::Empty)),
    ]
}
