//! Strategies for everything that is stored.

use aft_core::ids::{AttemptId, Fingerprint, Hlc, Key, NodeId, RequestHash, Session, SessionEntry, TxnId};
use aft_core::record::{
    Aborted, BlobGroup, BlobRef, ETAG_BYTES_MAX, Follows, Format, Kind, LargeResult, Location, Meta, Record,
    Stub, Value, VersionEntry, Write,
};
use aft_core::store::{Body, Name, Place};
use aft_core::sweep::{HashRange, Notes, Pending, Phase};
use bytes::Bytes;
use proptest::collection::{btree_map, btree_set as set_of, vec};
use proptest::prelude::*;

pub(crate) fn attempt() -> impl Strategy<Value = AttemptId> {
    prop_oneof![
        2 => any::<[u8; 16]>().prop_map(AttemptId),
        1 => Just(AttemptId([0; 16])),
        1 => Just(AttemptId([0xff; 16])),
    ]
}

pub(crate) fn hash() -> impl Strategy<Value = RequestHash> {
    any::<[u8; 32]>().prop_map(RequestHash)
}

/// Small times are common, so that ties are.
pub(crate) fn time() -> impl Strategy<Value = Hlc> {
    prop_oneof![(1_u64..4).prop_map(Hlc), any::<u64>().prop_map(Hlc), Just(Hlc(u64::MAX))]
}

pub(crate) fn txn() -> impl Strategy<Value = TxnId> {
    (time(), attempt()).prop_map(|(time, attempt)| TxnId { time, attempt })
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

pub(crate) fn session() -> impl Strategy<Value = Session> {
    let entry = (txn(), hash(), any::<bool>(), any::<u64>())
        .prop_map(|(txn, hash, whole, seen_ms)| SessionEntry { txn, hash, whole, seen_ms });
    let through = prop_oneof![Just((0, 0)), (0..3_u64, any::<u64>())];
    let all = (vec(entry, 0..=Session::LEN_MAX), any::<u64>(), through);
    all.prop_map(|(entries, fresh_until_ms, (through, mixed_until_ms))| Session {
        entries,
        fresh_until_ms,
        through: NodeId(through),
        mixed_until_ms,
    })
}

pub(crate) fn meta() -> impl Strategy<Value = Meta> {
    prop_oneof![
        1 => Just(Meta { kind: Kind::Tombstone, size: 0, etag: Bytes::new() }),
        3 => (any::<bool>(), any::<u64>(), bytes(ETAG_BYTES_MAX)).prop_map(|(inline, size, etag)| Meta {
            kind: if inline { Kind::Inline } else { Kind::Blob },
            size,
            etag,
        }),
    ]
}

pub(crate) fn entry() -> impl Strategy<Value = VersionEntry> {
    let cowritten = prop_oneof![1_u32..3, 1_u32..];
    (txn(), hash(), meta(), cowritten, any::<bool>()).prop_map(|(txn, hash, meta, cowritten, whole)| {
        let whole = whole && meta.kind != Kind::Blob && cowritten == 1;
        VersionEntry { txn, hash, meta, cowritten, whole, follows: None }
    })
}

/// The entry of a checked key, not whole.
pub(crate) fn lock() -> impl Strategy<Value = VersionEntry> {
    (entry(), txn()).prop_filter_map("something comes after it", |(entry, before)| {
        let before = Some(before).filter(|before| *before < entry.txn).unwrap_or(TxnId::ZERO);
        (entry.txn > TxnId::ZERO).then(|| VersionEntry { follows: Some(before), whole: false, ..entry })
    })
}

pub(crate) fn blob_group() -> impl Strategy<Value = BlobGroup> {
    (attempt(), hash(), any::<u64>()).prop_map(|(attempt, hash, reserved_ms)| BlobGroup {
        attempt,
        hash,
        reserved_ms,
    })
}

pub(crate) fn blob_name() -> impl Strategy<Value = Name> {
    (blob_group(), any::<u32>(), any::<u32>()).prop_map(|(group, number, part)| Name::Blob {
        group,
        number,
        part,
    })
}

pub(crate) fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        (key(), txn()).prop_map(|(key, before)| Name::Successor(key, before)),
        hash().prop_map(Name::Commit),
        (key(), entry()).prop_map(|(key, entry)| Name::Version(key, entry)),
        blob_name(),
        hash().prop_map(Name::Damaged),
        Just(Name::Format),
        Just(Name::Notes),
    ]
}

fn blob(attempt: AttemptId, hash: RequestHash) -> impl Strategy<Value = BlobRef> {
    any::<(u64, u32, u32, u32)>().prop_map(move |(reserved_ms, number, parts, part_bytes)| {
        let group = BlobGroup { attempt, hash, reserved_ms };
        BlobRef { group, number, parts, part_bytes }
    })
}

fn write(attempt: AttemptId, hash: RequestHash) -> impl Strategy<Value = Write> {
    let location =
        prop_oneof![bytes(64).prop_map(Location::Inline), blob(attempt, hash).prop_map(Location::Blob)];
    prop_oneof![
        1 => Just(Write::Tombstone),
        4 => (location, any::<u64>(), bytes(ETAG_BYTES_MAX), bytes(16)).prop_map(
            |(location, size, etag, attributes)| Write::Put(Value { location, size, etag, attributes })
        ),
    ]
}

pub(crate) fn record() -> BoxedStrategy<Record> {
    (txn(), hash())
        .prop_flat_map(|(txn, hash)| {
            let attempt = txn.attempt;
            let about = (any::<bool>(), proptest::option::of(any::<[u8; 32]>()), any::<u64>());
            let result = prop_oneof![
                2 => proptest::option::of(bytes(32)).prop_map(|result| (result, None)),
                1 => (blob(attempt, hash), any::<u64>())
                    .prop_map(|(blob, size)| (None, Some(LargeResult { blob, size }))),
            ];
            let writes = btree_map(key(), write(attempt, hash), 0..6);
            (about, result, writes).prop_map(
                move |((named, fingerprint, retention_ms), (result, large_result), writes)| {
                    let record = Record {
                        txn,
                        hash,
                        named: named || writes.is_empty(),
                        fingerprint: fingerprint.map(Fingerprint),
                        retention_ms,
                        result,
                        large_result,
                        writes: writes.into_iter().collect(),
                        follows: None,
                    };
                    // A whole entry has no record of its own.
                    let named = record.named || record.is_whole();
                    Record { named, ..record }
                },
            )
        })
        .boxed()
}

/// A transaction of one key that needs no record of its own.
pub(crate) fn whole() -> impl Strategy<Value = (Name, Record)> {
    (record(), key(), bytes(64), bytes(ETAG_BYTES_MAX), any::<bool>()).prop_map(
        |(record, key, bytes, etag, deletes)| {
            let (size, location) = (bytes.len() as u64, Location::Inline(bytes));
            let value = Value { location, size, etag, attributes: Bytes::new() };
            let write = if deletes { Write::Tombstone } else { Write::Put(value) };
            let writes = [(key.clone(), write)].into();
            let record = Record { named: false, result: None, large_result: None, writes, ..record };
            let (_, entry) = record.entries().remove(0);
            (Name::Version(key, entry), record)
        },
    )
}

/// A record whose writes follow versions, or none.
fn locked() -> impl Strategy<Value = Record> {
    (record(), vec(txn(), 6), any::<bool>()).prop_map(|(record, before, checks_more)| {
        let earlier = |at: usize| before.get(at).copied().filter(|before| *before < record.txn);
        let versions = (0..record.writes.len()).map(|at| earlier(at).unwrap_or(TxnId::ZERO)).collect();
        let follows = (record.txn > TxnId::ZERO).then_some(Follows { versions, checks_more });
        Record { follows, ..record }
    })
}

/// A whole entry that follows a version, or none.
fn whole_locked() -> impl Strategy<Value = (Name, Record)> {
    (whole(), txn()).prop_filter_map("something comes after it", |((_, record), before)| {
        let before = Some(before).filter(|before| *before < record.txn).unwrap_or(TxnId::ZERO);
        let follows = Some(Follows { versions: [before].into(), checks_more: false });
        let record = Record { follows, ..record };
        let (key, entry) = record.entries().remove(0);
        (record.txn > TxnId::ZERO).then(|| (entry.name(&key), record))
    })
}

fn aborted() -> impl Strategy<Value = Aborted> {
    (hash(), set_of(attempt(), 1..4), any::<u64>()).prop_map(|(hash, attempts, at_ms)| Aborted {
        hash,
        attempts: attempts.into_iter().collect(),
        at_ms,
    })
}

fn format() -> impl Strategy<Value = Format> {
    (txn(), txn(), proptest::option::of(any::<u64>()), bytes(64)).prop_map(|(a, b, moved_ms, about)| {
        let (settled, mark) = (a.min(b), a.max(b));
        Format { mark, moved_ms, settled, about }
    })
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        (key(), entry()).prop_map(|(key, entry)| Place { key: key.to_string(), entry: Some(entry) }),
        (key(), lock()).prop_map(|(key, entry)| Place { key: key.to_string(), entry: Some(entry) }),
        "\\PC{0,20}".prop_map(|key| Place { key, entry: None }),
    ]
}

fn pending() -> impl Strategy<Value = Pending> {
    (txn(), hash(), btree_map(key(), entry(), 0..4)).prop_map(|(txn, hash, entries)| {
        let entry = |(key, entry)| (key, VersionEntry { txn, hash, ..entry });
        Pending { txn, hash, entries: entries.into_iter().map(entry).collect() }
    })
}

fn notes() -> BoxedStrategy<Notes> {
    let phase = prop_oneof![
        (proptest::option::of(place()), proptest::option::of(txn()))
            .prop_map(|(after, survivor)| Phase::Versions { after, survivor }),
        proptest::option::of(hash()).prop_map(|after| Phase::Commits { after }),
    ];
    let met = vec(any::<u64>(), 0..6);
    let hashes = (0..HashRange::END).prop_flat_map(|from| (Just(from), from + 1..=HashRange::END));
    let hashes = hashes.prop_map(|(from, to)| HashRange { from, to });
    (txn(), txn(), any::<u64>(), phase, vec(pending(), 0..4), met, hashes)
        .prop_map(|(a, b, salt, phase, mut window, mut met, hashes)| {
            window.sort();
            met.sort_unstable();
            Notes { mark: a.min(b), target: a.max(b), salt, phase, window, hashes, met }
        })
        .boxed()
}

/// An object: a name with a body that may lie under it.
/// Boxed, as records are: two of them side by side are too large for a test's stack.
pub(crate) fn object() -> BoxedStrategy<(Name, Body)> {
    prop_oneof![
        4 => record().prop_map(|record| (Name::Commit(record.hash), Body::Record(record.into()))),
        2 => whole().prop_map(|(name, record)| (name, Body::Record(record.into()))),
        1 => (txn(), hash()).prop_map(|(txn, hash)| (Name::Commit(hash), Body::Stub(Stub { txn, hash }))),
        2 => format().prop_map(|format| (Name::Format, Body::Format(format.into()))),
        2 => notes().prop_map(|notes| (Name::Notes, Body::Notes(notes.into()))),
        1 => (hash(), "\\PC{0,40}").prop_map(|(hash, text)| (Name::Damaged(hash), Body::Text(text))),
        1 => (blob_name(), bytes(256)).prop_map(|(name, bytes)| (name, Body::Part(bytes))),
        1 => (key(), entry()).prop_map(|(key, entry)| {
            (Name::Version(key, VersionEntry { whole: false, ..entry }), Body::Empty)
        }),
        2 => locked().prop_map(|record| (Name::Commit(record.hash), Body::Record(record.into()))),
        1 => whole_locked().prop_map(|(name, record)| (name, Body::Record(record.into()))),
        1 => aborted().prop_map(|aborted| (Name::Commit(aborted.hash), Body::Aborted(aborted.into()))),
        1 => (key(), txn()).prop_map(|(key, before)| (Name::Successor(key, before), Body::Free)),
        2 => (key(), lock()).prop_map(|(key, entry)| (entry.name(&key), entry.body())),
    ]
    .boxed()
}
