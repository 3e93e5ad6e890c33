//! Golden files: `golden/<name>.hex` holds the bytes that each object had when its format was made. They are read by every later
//! version. A test that fails here says that stored data would no longer be read, or would be written differently: raise the format
//! version, keep the old file, and add a new one.

use std::fmt::Write as _;
use std::path::Path;

use aft_core::ids::{AttemptId, Fingerprint, Hlc, Key, NodeId, Nonce, RequestHash, SessionEntry, TxnId};
use aft_core::record::{
    BlobRef, CollectEntry, CollectName, Intent, Kind, LargeResult, Location, Meta, Record, Stage, Superseded,
    Value, VersionEntry, Write, Writes,
};
use aft_core::store::{Body, Name};
use aft_wire::durable::{
    decode_body, decode_name, encode_body, encode_name, encode_session, fingerprint, own_hash, own_hash_of,
    request_hash,
};
use bytes::Bytes;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

fn unhex(text: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("golden files are in hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn golden(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file)
}

/// Holds lines of `label hex` against a golden file.
fn check(file: &str, lines: &[(&str, &[u8])]) {
    let now: String = lines.iter().map(|(label, bytes)| format!("{label} {}\n", hex(bytes))).collect();
    let path = golden(file);
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == now, "the encoding differs from {}. It gives now:\n{now}", path.display());
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

const ATTEMPT: AttemptId = AttemptId([0x01, 0x92, 3, 4, 5, 6, 0x70, 8, 0x80, 10, 11, 12, 13, 14, 15, 16]);
const HASH: RequestHash = RequestHash([0xa5; 32]);
const TXN: TxnId = TxnId { time: Hlc::from_ms(1_700_000_000_000), attempt: ATTEMPT };
const NONCE: Nonce = Nonce { node: NodeId(0x1122_3344_5566_7788), count: 9 };

fn object(file: &str, name: &Name, body: &Body) {
    let at = encode_name(name);
    let encoded = encode_body(&at, body);
    check(file, &[("group", &at.group), ("item", &at.item), ("body", &encoded)]);
    assert_eq!(decode_name(&at).as_ref(), Ok(name));
    assert_eq!(decode_body(&at, &encoded).as_ref(), Ok(body));
}

fn record() -> Record {
    let value = |location, size| Value {
        location,
        size,
        etag: Bytes::from_static(b"etag"),
        attributes: Bytes::from_static(b"text/plain"),
    };
    let blob = BlobRef { attempt: ATTEMPT, number: 2, parts: 3, part_bytes: 8 << 20 };
    let writes = [
        (key("account/1"), Write::Put(value(Location::Inline(Bytes::from_static(b"hello")), 5))),
        (key("account/2"), Write::Tombstone),
        (key("größe"), Write::Put(value(Location::Blob(blob), 20_000_000))),
    ];
    Record {
        txn: TXN,
        hash: HASH,
        named: true,
        fingerprint: Some(Fingerprint([0x5a; 32])),
        retention_ms: 86_400_000,
        result: Some(Bytes::from_static(b"{\"ok\":true}")),
        large_result: None,
        blobs: 3,
        writes: Writes::Full(writes.into()),
    }
}

#[test]
fn commit_records() {
    object("commit-full.hex", &Name::Commit(HASH), &Body::Record(record().into()));
    object("commit-slim.hex", &Name::Commit(HASH), &Body::Record(record().slim().into()));
    let unnamed =
        Record { named: false, fingerprint: None, result: None, writes: Writes::Full([].into()), ..record() };
    let blob = BlobRef { attempt: ATTEMPT, number: 1, parts: 2, part_bytes: 8 << 20 };
    let large_result = Some(LargeResult { blob, size: 9_000_000 });
    let large = Record { result: None, large_result, ..record() };
    object("commit-large-result.hex", &Name::Commit(HASH), &Body::Record(large.slim().into()));
    let entry = CollectEntry {
        stage: Stage::Header,
        horizon: TXN.time,
        transactions: vec![Superseded::of(&large).expect("the record is full")],
    };
    let name = CollectName { minute: 28_333_333, time: TXN.time, attempt: ATTEMPT, nonce: NONCE };
    object("collect-large-result.hex", &Name::Collect(name), &Body::Collect(entry.into()));
    object("commit-unnamed.hex", &Name::Commit(HASH), &Body::Record(unnamed.into()));
}

#[test]
fn collect_entries() {
    let name = CollectName { minute: 28_333_333, time: TXN.time, attempt: ATTEMPT, nonce: NONCE };
    let meta = |kind, size| Meta { kind, size, etag: Bytes::from_static(b"etag") };
    let tombstone = Meta { kind: Kind::Tombstone, size: 0, etag: Bytes::new() };
    let first = Superseded {
        txn: TXN,
        hash: HASH,
        writes: [
            (key("account/1"), meta(Kind::Inline, 5)),
            (key("account/2"), tombstone),
            (key("größe"), meta(Kind::Blob, 20_000_000)),
        ]
        .into(),
        blobs: vec![(2, 3)],
        result_blob: None,
        retention_ms: 86_400_000,
    };
    let second = Superseded {
        txn: TxnId { time: TXN.time, attempt: AttemptId([9; 16]) },
        hash: own_hash(AttemptId([9; 16])),
        writes: [(key("account/1"), meta(Kind::Inline, 6))].into(),
        blobs: Vec::new(),
        result_blob: None,
        retention_ms: 0,
    };
    let entry = CollectEntry { stage: Stage::Header, horizon: TXN.time, transactions: vec![first, second] };
    object("collect.hex", &Name::Collect(name), &Body::Collect(entry.into()));
}

#[test]
fn small_objects() {
    object("entered.hex", &Name::Entered, &Body::Time(TXN.time));
    object("horizon.hex", &Name::Horizon, &Body::Time(TXN.time));
    object("marker.hex", &Name::Marker(key("account/1")), &Body::Marker(NONCE));
    let part = Name::Blob { attempt: ATTEMPT, number: 2, part: 1 };
    let body = Body::Part(Bytes::from_static(b"a part of a large value"));
    object("part-2.hex", &part, &body);
    // With the checksum that parts had first.
    let old = std::fs::read_to_string(golden("part.hex")).expect("the golden file is there");
    let old = old.lines().find_map(|line| line.strip_prefix("body ")).expect("the file has a body");
    assert_eq!(decode_body(&encode_name(&part), &unhex(old)), Ok(body));
    let intent = Intent { minute: 28_333_333, time: TXN.time, attempt: ATTEMPT, nonce: NONCE, hash: HASH };
    object("intent.hex", &Name::Intent(intent), &Body::Empty);
    let meta = Meta { kind: Kind::Inline, size: 5, etag: Bytes::from_static(b"etag") };
    let version = VersionEntry { txn: TXN, hash: HASH, meta, cowritten: 3 };
    object("version.hex", &Name::Version(key("account/1"), version), &Body::Empty);
}

#[test]
fn hashes_and_tokens() {
    let session = encode_session(&[SessionEntry { txn: TXN, hash: HASH }]);
    check(
        "hashes.hex",
        &[
            ("request", &request_hash("local", "billing", "order-17").0),
            ("own", &own_hash(ATTEMPT).0),
            ("own_of_tenant", &own_hash_of("shop", ATTEMPT).0),
            ("fingerprint", &fingerprint(b"{\"order\":17}").0),
            ("session", session.as_bytes()),
        ],
    );
}
