//! The object `store/format`, and stores that have none.

use aft_core::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
use aft_core::record::{BlobGroup, Format, Kind, Meta, Stub, VersionEntry};
use aft_core::store::{Body, Name};
use aft_format::{
    About, AboutError, Blobs, Claim, FormatFound, Holds, Looked, Looking, Race, Times, encode_object,
    read_format,
};
use aft_store::{Capabilities, Space, Store};
use aft_store_memory::MemoryStore;
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

const CAPABILITIES: Capabilities = Capabilities {
    delete_if: true,
    exclusive: false,
    grace_ms: 3_600_000,
    body_bytes_max: 16 << 20,
    blob_part_bytes: 8 << 20,
    durability: "replicated",
};

const TIMES: Times = Times {
    timeout_max_ms: 900_000,
    recheck_after_ms: 10_000,
    put_limit_ms: 30_000,
    skew_max_ms: 2_000,
    grace_ms: 3_600_000,
};

fn about() -> About {
    About::new(
        [7; 16],
        &CAPABILITIES,
        Race::Passed { writers: 8, rounds: 20 },
        "aft 0.2.0",
        1_700_000_000_000,
        TIMES,
    )
}

proptest! {
    #[test]
    fn what_a_store_says_of_itself_is_read_back(
        identity: [u8; 16],
        flags: (bool, bool),
        numbers: (u64, u32, u32),
        race in 0..3,
        writers: u32,
        program in "\\PC{0,20}",
        made_ms: u64,
    ) {
        let capabilities = Capabilities {
            delete_if: flags.0,
            exclusive: flags.1,
            grace_ms: numbers.0,
            body_bytes_max: numbers.1 as usize,
            blob_part_bytes: numbers.2 as usize,
            durability: "",
        };
        let race = match race {
            0 => Race::Passed { writers, rounds: 3 },
            1 if flags.1 => Race::Exclusive,
            _ => Race::NotProbed,
        };
        let about = About::new(identity, &capabilities, race, &program, made_ms, TIMES);
        prop_assert_eq!(About::decode(&about.encode()), Ok(about.clone()));
        prop_assert!(about.differences(&capabilities).is_empty());
        let format = about.to_format();
        prop_assert_eq!(&format, &Format::new(about.encode()));
        let (_, body) = encode_object(&Name::Format, &Body::Format(format.clone().into()));
        prop_assert_eq!(read_format(Some(&body)), FormatFound::Readable(format.into(), Box::new(about)));
    }
}

/// A store from before the times were written says nothing of them.
#[test]
fn a_store_without_times_is_read() {
    let before = About { times: None, ..about() };
    assert_eq!(About::decode(&before.encode()), Ok(before.clone()));
    assert!(before.encode().len() < about().encode().len());
}

/// A store with its large values elsewhere has a format number that other programs reject.
#[test]
fn a_store_with_its_large_values_elsewhere_is_read() {
    let blobs = Blobs { place: "s3://shop/large".into(), claimed: true };
    let split = about().with_blobs(blobs.clone());
    assert_eq!((split.format, split.blobs.as_ref()), (3, Some(&blobs)));
    assert_eq!(About::decode(&split.encode()), Ok(split.clone()));
    // A description whose number and content contradict each other is damage.
    let mut bytes = split.encode().to_vec();
    assert_eq!(bytes[..2], [8, 3], "the number comes first");
    bytes[1] = 2;
    assert!(matches!(About::decode(&bytes.into()), Err(AboutError::Broken(_))));
    let mut bytes = about().encode().to_vec();
    bytes[1] = 3;
    assert!(matches!(About::decode(&bytes.into()), Err(AboutError::Broken(_))));
}

/// The message, as far as it is needed to spoil it.
#[derive(Clone, PartialEq, Message)]
struct Spoilt {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "vec", tag = "2")]
    identity: Vec<u8>,
}

#[test]
fn errors_name_the_remedy() {
    let check = |bytes: Vec<u8>, expect: AboutError, remedy: &str| {
        let error = About::decode(&bytes.clone().into()).unwrap_err();
        assert_eq!(error, expect);
        let text = error.to_string();
        assert!(text.starts_with("store/format: ") && text.contains(remedy), "{text}");
        // Within the whole object, a newer format is refused; damage is not.
        let format = Format::new(bytes.into());
        let (_, body) = encode_object(&Name::Format, &Body::Format(format.into()));
        match (read_format(Some(&body)), error) {
            (FormatFound::Refused(of), AboutError::Newer { .. }) => assert_eq!(of, text),
            (FormatFound::Damaged(of), AboutError::Broken(_)) => assert_eq!(of, text),
            (other, _) => panic!("{other:?}"),
        }
    };
    let newer = |format| Spoilt { format, identity: Vec::new() }.encode_to_vec();
    check(newer(4), AboutError::Newer { found: 4 }, "upgrade this node");
    check(newer(300), AboutError::Newer { found: 300 }, "upgrade this node");
    let broken = AboutError::Broken;
    check(newer(1), broken("the format number is none of this program's"), "restore");
    check(Vec::new(), broken("the format number is none of this program's"), "restore");
    check(newer(2), broken("the identity is of the wrong length"), "restore");
    let no_abilities = Spoilt { format: 2, identity: vec![1; 16] }.encode_to_vec();
    check(no_abilities, broken("the abilities are missing"), "new prefix");
    check(vec![0xff; 9], broken("the bytes are no message of this format"), "restore");
}

#[test]
fn the_object_as_it_is_found() {
    assert_eq!(read_format(None), FormatFound::Missing);
    let (_, body) = encode_object(&Name::Format, &Body::Format(about().to_format().into()));
    let with_first = |first: u8| {
        let mut body = body.to_vec();
        body[0] = first;
        read_format(Some(&body.into()))
    };
    let FormatFound::Refused(text) = with_first(0x31) else { panic!("{:?}", with_first(0x31)) };
    assert!(text.contains("newer version") && text.contains("upgrade"), "{text}");
    let FormatFound::Refused(text) = with_first(1) else { panic!("{:?}", with_first(1)) };
    assert!(text.contains("first version"), "{text}");
    let cut = read_format(Some(&body.slice(..20)));
    let FormatFound::Damaged(text) = cut else { panic!("{cut:?}") };
    assert!(text.contains("restore the object from a backup"), "{text}");
}

#[test]
fn differences_are_said() {
    let now = Capabilities { grace_ms: 0, delete_if: false, ..CAPABILITIES };
    let found = about().differences(&now);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("deletion by tag was true when the store was made and is false now"),
        "{found:?}"
    );
    assert!(found[1].contains("3600000"), "{found:?}");
    let parts = Capabilities { blob_part_bytes: 1, ..CAPABILITIES };
    assert!(about().differences(&parts).is_empty());
}

/// Space, group, item and body.
type Stored<'a> = (Space, &'a [u8], &'a [u8], &'a [u8]);

async fn holding(objects: &[Stored<'_>]) -> Holds {
    let store = MemoryStore::new();
    for (space, group, item, body) in objects {
        let part = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        store.put(&aft_store::Name::new(*space, part(group), part(item)), part(body)).await.unwrap();
    }
    let mut looking = Looking::new();
    loop {
        match looking.go_on(&store).await.unwrap() {
            Looked::More(next) => looking = next,
            Looked::All(holds) => return holds,
        }
    }
}

async fn holding_object(name: Name, body: Body) -> Holds {
    let (at, body) = encode_object(&name, &body);
    holding(&[(at.space, &at.group, &at.item, &body)]).await
}

#[tokio::test]
async fn a_store_without_anything_may_be_made() {
    assert_eq!(holding(&[]).await, Holds::Nothing);
    // Leftovers of a race probe, in the spaces that it uses; and another member's entry.
    let probe = b"aft-probe-0123/race to create";
    let names = (0..120_u32).map(u32::to_be_bytes).collect::<Vec<_>>();
    let mut objects: Vec<Stored<'_>> =
        names.iter().map(|item| (Space::Intent, &probe[..], &item[..], &b"1"[..])).collect();
    objects.push((Space::Lease, probe, b"", b"1"));
    objects.push((Space::Marker, probe, b"", b"1"));
    objects.push((Space::Node, b"0123", b"", b""));
    let holds = holding(&objects).await;
    assert_eq!(holds, Holds::Nothing);
    assert_eq!((holds.refusal(), holds.warning()), (None, None));
}

#[tokio::test]
async fn the_place_of_another_stores_large_values_is_refused() {
    let claim =
        Claim { identity: [7; 16], store: "dynamodb://shop".into(), program: "aft".into(), made_ms: 1 };
    let name = Claim::name();
    let group = BlobGroup { attempt: AttemptId([1; 16]), hash: RequestHash([2; 32]), reserved_ms: 3 };
    let part = Name::Blob { group, number: 0, part: 0 };
    let (at, part) = encode_object(&part, &Body::Part(Bytes::from_static(b"part")));
    let body = claim.encode();
    for (body, word) in [(&body[..], "dynamodb://shop"), (b"damaged", "store/claim")] {
        let holds =
            holding(&[(name.space, &name.group, &name.item, body), (at.space, &at.group, &at.item, &part)])
                .await;
        let text = holds.refusal().unwrap();
        assert!(text.contains(word) && text.contains("another prefix"), "{text}");
        assert_eq!(holds.warning(), None);
    }
}

#[tokio::test]
async fn a_store_of_the_first_version_is_refused() {
    let cases: [Stored<'_>; 9] = [
        (Space::Intent, &[0, 0, 0, 7], &[1; 73], b""),
        (Space::Collect, &[0, 0, 0, 7], &[1; 41], b"\x01"),
        (Space::Marker, b"key", b"", b"\x01"),
        (Space::Node, b"entered", b"", b"\x01"),
        (Space::Node, b"horizon", b"", b"\x01"),
        (Space::Version, b"key", &[1; 73], b""),
        (Space::Blob, &[1; 16], &[1; 9], b"\x02"),
        (Space::Commit, &[1; 32], b"", b"\x01full record"),
        (Space::Commit, &[1; 32], b"", b"\x02"),
    ];
    for case in cases {
        let holds = holding(&[case]).await;
        assert!(matches!(holds, Holds::First { .. }), "{case:?}: {holds:?}");
        let text = holds.refusal().unwrap();
        assert!(
            text.contains("written by the first version") && text.contains("write them to a new prefix"),
            "{text}"
        );
        assert!(text.contains(case.0.as_str()), "{text}");
    }
    // It outweighs anything else.
    let holds = holding(&[(Space::Version, b"key", &[9; 73], b""), cases[7]]).await;
    assert!(matches!(holds, Holds::First { .. }), "{holds:?}");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    for case in [
        (Space::Version, &b"key"[..], &[3; 73][..], &b""[..]),
        (Space::Blob, &[1; 57], &[3; 9], b""),
        (Space::Commit, &[1; 32], b"", b"\x31"),
    ] {
        let holds = holding(&[case]).await;
        assert!(matches!(holds, Holds::Newer { found: 3, .. }), "{case:?}: {holds:?}");
        assert!(holds.refusal().unwrap().contains("upgrade this node"));
    }
}

#[tokio::test]
async fn a_store_whose_mark_was_lost_is_not_made_again() {
    let (attempt, hash) = (AttemptId([1; 16]), RequestHash([1; 32]));
    let txn = TxnId { time: Hlc(9), attempt };
    let meta = Meta { kind: Kind::Inline, size: 5, etag: Bytes::new() };
    let entry = VersionEntry { txn, hash, meta, cowritten: 2, whole: false, follows: None };
    let group = BlobGroup { attempt, hash, reserved_ms: 1 };
    let part = Name::Blob { group, number: 0, part: 0 };
    let found = [
        holding_object(Name::Version(Key::parse("key").unwrap(), entry), Body::Empty).await,
        holding_object(Name::Commit(hash), Body::Stub(Stub { txn, hash })).await,
        holding_object(part, Body::Part(Bytes::from_static(b"part"))).await,
        holding_object(Name::Damaged(hash), Body::Text("note".into())).await,
        // Names that no version writes are no reason to begin a new mark either.
        holding(&[(Space::Version, b"key", b"", b"")]).await,
        holding(&[(Space::Commit, b"foreign", b"", b"")]).await,
    ];
    for holds in found {
        assert!(matches!(holds, Holds::Unmarked { .. }), "{holds:?}");
        assert_eq!(holds.refusal(), None);
        assert!(holds.warning().unwrap().contains("restore store/format"), "{holds:?}");
    }
}
