//! The byte order of encoded names is the order that `aft_core::store::Name` documents: the order
//! of listings, on which cursors rest.

use std::cmp::Ordering;

use aft_core::ids::{AttemptId, Hlc, RequestHash, TxnId};
use aft_core::record::{Kind, Meta, VersionEntry};
use aft_core::store::Name;
use aft_format::encode_name;
use bytes::Bytes;
use proptest::prelude::*;

use crate::generate;

/// The order of typed entries within a key: newest first, then field by field, an etag by length
/// and then by bytes.
fn typed_order(a: &VersionEntry, b: &VersionEntry) -> Ordering {
    let etag = |entry: &VersionEntry| (entry.meta.etag.len(), entry.meta.etag.clone());
    let kind = |entry: &VersionEntry| match entry.meta.kind {
        Kind::Inline => 1,
        Kind::Tombstone => 2,
        Kind::Blob => 3,
    };
    b.txn
        .cmp(&a.txn)
        .then(a.hash.cmp(&b.hash))
        .then(kind(a).cmp(&kind(b)))
        .then(a.meta.size.cmp(&b.meta.size))
        .then(etag(a).cmp(&etag(b)))
        .then(a.cowritten.cmp(&b.cowritten))
        .then(a.whole.cmp(&b.whole))
}

fn item(entry: &VersionEntry) -> Bytes {
    encode_name(&Name::Version(aft_core::ids::Key::parse("k").unwrap(), entry.clone())).item
}

/// Entries that differ in as few fields as possible: some fields of one are put into the other.
fn neighbours() -> impl Strategy<Value = (VersionEntry, VersionEntry)> {
    (generate::entry(), generate::entry(), any::<[bool; 5]>()).prop_map(|(a, b, same)| {
        let pick = |at: usize| if same[at] { &a } else { &b };
        let meta = pick(2).meta.clone();
        let (cowritten, whole) = (pick(3).cowritten, pick(3).whole);
        let whole = whole && cowritten == 1 && meta.kind != Kind::Blob;
        let near =
            VersionEntry { txn: pick(0).txn, hash: pick(1).hash, meta, cowritten, whole, follows: None };
        (a, near)
    })
}

proptest! {
    #[test]
    fn entries_come_in_typed_order((a, b) in neighbours()) {
        prop_assert_eq!(item(&a).cmp(&item(&b)), typed_order(&a, &b), "{:?} and {:?}", a, b);
    }

    /// The place just below a transaction lies right behind it: whatever else the two entries hold.
    #[test]
    fn the_place_just_below_comes_next(a in generate::entry(), b in generate::entry(), other in generate::entry()) {
        prop_assume!(a.txn != TxnId::ZERO);
        let below = VersionEntry { txn: a.txn.just_below(), ..b };
        prop_assert!(item(&a) < item(&below));
        let (first, last) = (item(&a).slice(..25), item(&below).slice(..25));
        let between = item(&other);
        prop_assert!(other.txn == a.txn || other.txn == below.txn || between < first || between.slice(..25) > last);
    }

    #[test]
    fn keys_come_in_order(k in generate::key(), l in generate::key(), entry in generate::entry()) {
        let group = |key| encode_name(&Name::Version(key, entry.clone())).group;
        prop_assert_eq!(k.cmp(&l), group(k).cmp(&group(l)));
    }

    #[test]
    fn blobs_come_by_group_number_and_part(a in generate::blob_name(), b in generate::blob_name()) {
        prop_assert_eq!(a.cmp(&b), encode_name(&a).cmp(&encode_name(&b)));
    }

    #[test]
    fn records_and_damage_come_by_hash(a in generate::hash(), b in generate::hash()) {
        prop_assert_eq!(a.cmp(&b), encode_name(&Name::Commit(a)).cmp(&encode_name(&Name::Commit(b))));
        prop_assert_eq!(a.cmp(&b), encode_name(&Name::Damaged(a)).cmp(&encode_name(&Name::Damaged(b))));
    }
}

/// Each field by itself, at its ends.
#[test]
fn every_field_counts() {
    let meta = Meta { kind: Kind::Inline, size: 5, etag: Bytes::from_static(b"b") };
    let txn = TxnId { time: Hlc(0x0100), attempt: AttemptId([0; 16]) };
    let hash = RequestHash([1; 32]);
    let base = VersionEntry { txn, hash, meta: meta.clone(), cowritten: 1, whole: false, follows: None };
    let with = |txn| VersionEntry { txn, ..base.clone() };
    let of = |meta| VersionEntry { meta, ..base.clone() };
    let later = VersionEntry { hash: RequestHash([2; 32]), ..base.clone() };
    let ordered = [
        with(TxnId { time: Hlc(u64::MAX), attempt: AttemptId([0xff; 16]) }),
        with(TxnId { time: Hlc(0x0101), ..txn }),
        with(TxnId { attempt: AttemptId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), ..txn }),
        of(Meta { size: 4, ..meta.clone() }),
        of(Meta { etag: Bytes::new(), ..meta.clone() }),
        of(Meta { etag: Bytes::from_static(b"a"), ..meta.clone() }),
        base.clone(),
        VersionEntry { whole: true, ..base.clone() },
        VersionEntry { cowritten: 2, ..base.clone() },
        VersionEntry { cowritten: 256, ..base.clone() },
        of(Meta { etag: Bytes::from_static(b"aa"), ..meta.clone() }),
        of(Meta { size: 256, ..meta.clone() }),
        of(Meta { kind: Kind::Tombstone, size: 0, etag: Bytes::new() }),
        of(Meta { kind: Kind::Blob, ..meta }),
        later,
        with(txn.just_below()),
        with(TxnId::at(Hlc(0xff))),
        with(TxnId::ZERO),
    ];
    for pair in ordered.windows(2) {
        assert!(item(&pair[0]) < item(&pair[1]), "{:?} comes before {:?}", pair[0], pair[1]);
        assert_eq!(typed_order(&pair[0], &pair[1]), Ordering::Less);
    }
}
