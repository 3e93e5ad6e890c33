//! Golden files: `golden/<name>.hex` holds the bytes that each object had when its format was made.
//! They are read by every later version. A test that fails here says that stored data would no
//! longer be read, or would be written differently: raise the format number, keep the old file, and
//! add a new one.

use std::fmt::Write as _;
use std::path::Path;

use aft_core::ids::{AttemptId, Fingerprint, Hlc, Key, RequestHash, Session, SessionEntry, TxnId};
use aft_core::message::Isolation;
use aft_core::record::{
    Aborted, BlobGroup, BlobRef, Follows, Format, LargeResult, Location, Record, Stub, Value, VersionEntry,
    Write,
};
use aft_core::settings::Levels;
use aft_core::store::{Body, Name, Place};
use aft_core::sweep::{HashRange, Notes, Pending, Phase};
use aft_format::{
    About, Blobs, Claim, Race, Times, decode_body, decode_name, encode_object, encode_session, fingerprint,
    own_hash, own_hash_of, request_hash,
};
use aft_store::Capabilities;
use bytes::Bytes;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

/// Holds lines of `label hex` against a golden file.
fn check(file: &str, lines: &[(&str, &[u8])]) {
    let now: String = lines.iter().map(|(label, bytes)| format!("{label} {}\n", hex(bytes))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == now, "the encoding differs from {}. It gives now:\n{now}", path.display());
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

const ATTEMPT: AttemptId = AttemptId([0x01, 0x92, 3, 4, 5, 6, 0x70, 8, 0x80, 10, 11, 12, 13, 14, 15, 16]);
const HASH: RequestHash = RequestHash([0xa5; 32]);
const TXN: TxnId = TxnId { time: Hlc::from_ms(1_700_000_000_000), attempt: ATTEMPT };
const GROUP: BlobGroup = BlobGroup { attempt: ATTEMPT, hash: HASH, reserved_ms: 1_699_999_999_000 };

fn object(file: &str, name: &Name, body: &Body) {
    let (at, encoded) = encode_object(name, body);
    check(file, &[("group", &at.group), ("item", &at.item), ("body", &encoded)]);
    assert_eq!(decode_name(&at).as_ref(), Ok(name));
    assert_eq!(decode_body(name, &encoded).as_ref(), Ok(body));
}

fn record() -> Record {
    let value = |location, size| Value {
        location,
        size,
        etag: Bytes::from_static(b"etag"),
        attributes: Bytes::from_static(b"text/plain"),
    };
    let blob = BlobRef { group: GROUP, number: 2, parts: 3, part_bytes: 8 << 20 };
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
        writes: writes.into(),
        follows: None,
    }
}

#[test]
fn records() {
    object("commit.hex", &Name::Commit(HASH), &Body::Record(record().into()));
    let blob = BlobRef { group: GROUP, number: 1, parts: 2, part_bytes: 8 << 20 };
    let large_result = Some(LargeResult { blob, size: 9_000_000 });
    let large = Record { result: None, large_result, writes: [].into(), ..record() };
    object("commit-large-result.hex", &Name::Commit(HASH), &Body::Record(large.into()));
    object("stub.hex", &Name::Commit(HASH), &Body::Stub(Stub { txn: TXN, hash: HASH }));
}

#[test]
fn entries() {
    let (key, entry) = record().entries().remove(0);
    object("version.hex", &Name::Version(key, entry), &Body::Empty);
    let writes = [record().writes[0].clone()].into();
    let whole = Record { named: false, fingerprint: None, result: None, writes, ..record() };
    let (key, entry) = whole.entries().remove(0);
    let name = Name::Version(key, VersionEntry { whole: true, ..entry });
    object("version-whole.hex", &name, &Body::Record(whole.into()));
}

/// Entries of checked keys, and what excludes attempts.
#[test]
fn locks() {
    let before = TxnId { time: Hlc::from_ms(1_699_000_000_000), attempt: AttemptId([9; 16]) };
    let versions = [before, TxnId::ZERO, before].into();
    let locked = Record { follows: Some(Follows { versions, checks_more: true }), ..record() };
    object("commit-locked.hex", &Name::Commit(HASH), &Body::Record(locked.clone().into()));
    let (key, entry) = locked.entries().remove(0);
    object("successor.hex", &entry.name(&key), &entry.body());
    object("successor-free.hex", &Name::Successor(key, TxnId::ZERO), &Body::Free);
    let writes = [record().writes[0].clone()].into();
    let follows = Some(Follows { versions: [before].into(), checks_more: false });
    let whole = Record { named: false, fingerprint: None, result: None, writes, follows, ..record() };
    let (key, entry) = whole.entries().remove(0);
    object("successor-whole.hex", &entry.name(&key), &Body::Record(whole.into()));
    let aborted = Aborted::new(HASH, ATTEMPT, 1_700_000_000_500).with(AttemptId([0; 16]), 1_700_000_000_400);
    object("aborted.hex", &Name::Commit(HASH), &Body::Aborted(aborted.into()));
}

#[test]
fn parts() {
    let part = Name::Blob { group: GROUP, number: 2, part: 1 };
    object("part.hex", &part, &Body::Part(Bytes::from_static(b"a part of a large value")));
}

fn about() -> About {
    let capabilities = Capabilities {
        delete_if: true,
        exclusive: false,
        grace_ms: 3_600_000,
        body_bytes_max: 16 << 20,
        blob_part_bytes: 8 << 20,
        durability: "replicated",
    };
    let race = Race::Passed { writers: 8, rounds: 20 };
    let times = Times {
        timeout_max_ms: 900_000,
        recheck_after_ms: 10_000,
        put_limit_ms: 30_000,
        skew_max_ms: 2_000,
        grace_ms: 3_600_000,
    };
    About::new([7; 16], &capabilities, race, "aft 0.2.0", 1_700_000_000_000, times)
}

#[test]
fn the_store_itself() {
    let format = Format {
        mark: TXN,
        moved_ms: Some(1_700_000_900_000),
        settled: TxnId::at(Hlc::from_ms(1_699_000_000_000)),
        // As stores have it that were made before the times were written.
        about: About { times: None, ..about() }.encode(),
    };
    object("format.hex", &Name::Format, &Body::Format(format.into()));
    object("format-new.hex", &Name::Format, &Body::Format(about().to_format().into()));
    let mut levels = Levels::everywhere(Isolation::Serializable);
    levels.set("log/".into(), Isolation::ReadAtomic);
    let about = About { levels, ..about() };
    assert_eq!(About::decode(&about.encode()).as_ref(), Ok(&about));
    object("format-levels.hex", &Name::Format, &Body::Format(about.to_format().into()));
    let blobs = Blobs { place: "s3://shop/large".into(), claimed: true };
    let split = self::about().with_blobs(blobs);
    object("format-split.hex", &Name::Format, &Body::Format(split.to_format().into()));
    let claim = Claim {
        identity: [7; 16],
        store: "dynamodb://shop".into(),
        program: "aft 0.2.0".into(),
        made_ms: 1_700_000_000_000,
    };
    let (at, encoded) = (Claim::name(), claim.encode());
    check("claim.hex", &[("group", &at.group), ("item", &at.item), ("body", &encoded)]);
    let text = "commit record cannot be read: checksum";
    object("damaged.hex", &Name::Damaged(HASH), &Body::Text(text.into()));
}

#[test]
fn notes() {
    let entries = record().entries();
    let (key, entry) = entries[0].clone();
    let versions = Notes {
        mark: TxnId::at(Hlc::from_ms(1_699_000_000_000)),
        target: TXN,
        salt: 0x1122_3344_5566_7788,
        phase: Phase::Versions {
            after: Some(Place { key: key.to_string(), entry: Some(entry) }),
            survivor: Some(TxnId::at(Hlc::from_ms(1_698_000_000_000))),
        },
        window: vec![Pending { txn: TXN, hash: HASH, entries: entries[..2].to_vec() }],
        hashes: HashRange { from: 0x4000, to: 0x8000 },
        met: vec![1, 0x8877_6655_4433_2211],
    };
    let phase = Phase::Commits { after: Some(HASH) };
    let commits = Notes { phase, window: Vec::new(), ..versions.clone() };
    object("notes-versions.hex", &Name::Notes, &Body::Notes(versions.into()));
    object("notes-commits.hex", &Name::Notes, &Body::Notes(commits.into()));
}

#[test]
fn hashes_and_tokens() {
    let session = |whole, fresh_until_ms| {
        let entry = SessionEntry { txn: TXN, hash: HASH, whole, seen_ms: 1_700_000_000_123 };
        encode_session(&Session { entries: vec![entry], fresh_until_ms, ..Session::default() })
    };
    check(
        "hashes.hex",
        &[
            ("request", &request_hash("local", "billing", "order-17").0),
            ("own", &own_hash(ATTEMPT).0),
            ("own_of_tenant", &own_hash_of("shop", ATTEMPT).0),
            ("fingerprint", &fingerprint(b"{\"order\":17}").0),
            ("session", session(false, 0).as_bytes()),
            ("session_fresh", session(true, 1_700_000_010_123).as_bytes()),
        ],
    );
}
