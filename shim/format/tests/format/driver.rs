//! Every call of the core over a store in memory.

use std::sync::Arc;

use aft_core::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
use aft_core::record::{BlobGroup, BlobRef, Format, Location, Record, Stub, Value, Write};
use aft_core::store::{
    Answer, Body, Call, CallError, Created, Found, FoundRecord, Group, Name, Pieces, Scan, Writes,
};
use aft_format::{call_error, encode_name};
use aft_store::{Error, Space, Store};
use aft_store_memory::MemoryStore;
use bytes::Bytes;

/// The answer to a call, as the core gets it.
async fn perform(store: &dyn Store, call: Call) -> Answer {
    aft_format::perform(store, call).await.unwrap_or_else(|error| Answer::Failed(call_error(error)))
}

const ATTEMPT: AttemptId = AttemptId([1; 16]);
const HASH: RequestHash = RequestHash([2; 32]);
const TXN: TxnId = TxnId { time: Hlc::from_ms(1_700_000_000_000), attempt: ATTEMPT };

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn record() -> Record {
    let group = BlobGroup { attempt: ATTEMPT, hash: HASH, reserved_ms: 1_699_999_999_000 };
    let blob = BlobRef { group, number: 0, parts: 1, part_bytes: 8 };
    let value =
        |location, size| Value { location, size, etag: Bytes::from_static(b"e"), attributes: Bytes::new() };
    let writes = [
        (key("a"), Write::Put(value(Location::Inline(Bytes::from_static(b"one")), 3))),
        (key("b"), Write::Tombstone),
        (key("c"), Write::Put(value(Location::Blob(blob), 4))),
    ];
    Record {
        txn: TXN,
        hash: HASH,
        named: true,
        fingerprint: None,
        retention_ms: 86_400_000,
        result: Some(Bytes::from_static(b"ok")),
        large_result: None,
        writes: writes.into(),
        follows: None,
    }
}

#[tokio::test]
async fn a_commit_is_found_by_every_call() {
    let store = MemoryStore::new();
    let record = Arc::new(record());
    let writes = Writes { record: Some(record.clone()), entries: record.entries() };
    let done = Answer::Committed(Pieces { record: Some(Ok(Created::Created)), entries: vec![Ok(()); 3] });
    assert_eq!(perform(&store, Call::Commit(writes.clone())).await, done);
    let Answer::Committed(pieces) = perform(&store, Call::Commit(writes)).await else { panic!("no pieces") };
    assert_eq!(pieces.record, Some(Ok(Created::Exists)));

    let at = Name::Commit(HASH);
    let fetch = Call::Fetch { at: at.clone(), txn: TXN, key: key("a") };
    let Answer::Got(Some((body, tag))) = perform(&store, fetch).await else { panic!("the record is gone") };
    assert_eq!(body, Body::Record(record.clone()));

    for (key, entry) in record.entries() {
        let listed = Call::List { group: Group::Versions(key.clone()), after: None, limit: 10 };
        let names = vec![Name::Version(key.clone(), entry.clone())];
        let expect = Answer::Listed { names: names.clone(), damaged: Vec::new(), more: false };
        assert_eq!(perform(&store, listed).await, expect);
        let got = perform(&store, Call::Get(names[0].clone())).await;
        assert!(matches!(got, Answer::Got(Some((Body::Empty, _)))), "{got:?}");
    }
    let scan =
        Call::Scan { scan: Scan::Versions { prefix: String::new(), after: None, heads: None }, limit: 10 };
    let found = Found::Versions(record.entries());
    assert_eq!(
        perform(&store, scan).await,
        Answer::Scanned { found, damaged: Vec::new(), unread: Vec::new(), more: false }
    );
    let scan = Call::Scan { scan: Scan::Commits { after: None }, limit: 10 };
    let Answer::Scanned { found: Found::Commits(found), .. } = perform(&store, scan).await else {
        panic!("no scan")
    };
    assert_eq!(found.iter().map(|FoundRecord { hash, .. }| *hash).collect::<Vec<_>>(), [HASH]);

    // The record goes by its tag; a stub takes its place only while the tag holds.
    let stub = Body::Stub(Stub { txn: TXN, hash: HASH });
    let replace = Call::Replace(at.clone(), tag.clone(), stub.clone());
    assert_eq!(perform(&store, replace.clone()).await, Answer::Replaced);
    assert_eq!(perform(&store, replace).await, Answer::Changed);
    assert_eq!(perform(&store, Call::DeleteIf(at.clone(), tag)).await, Answer::Changed);
    let Answer::Got(Some((body, tag))) = perform(&store, Call::Get(at.clone())).await else {
        panic!("the stub is gone")
    };
    assert_eq!(body, stub);
    assert_eq!(perform(&store, Call::DeleteIf(at.clone(), tag)).await, Answer::Replaced);
    assert_eq!(perform(&store, Call::Get(at)).await, Answer::Got(None));
}

#[tokio::test]
async fn a_whole_entry_is_one_put() {
    let store = MemoryStore::new();
    let base = record();
    let writes = [base.writes[0].clone()].into();
    let record = Arc::new(Record { named: false, result: None, writes, ..base });
    let (key, entry) = record.entries().remove(0);
    let name = Name::Version(key, entry);
    let body = Body::Record(record);
    assert_eq!(perform(&store, Call::Put(name.clone(), body.clone())).await, Answer::Done);
    let Answer::Got(Some((got, _))) = perform(&store, Call::Get(name.clone())).await else {
        panic!("the entry is gone")
    };
    assert_eq!(got, body);
    assert_eq!(perform(&store, Call::Delete(vec![name.clone()])).await, Answer::Done);
    assert_eq!(perform(&store, Call::Get(name)).await, Answer::Got(None));
}

#[tokio::test]
async fn marks_blobs_and_damage() {
    let store = MemoryStore::new();
    let format = Body::Format(Arc::new(Format::new(Bytes::from_static(b"about"))));
    assert_eq!(perform(&store, Call::Put(Name::Format, format.clone())).await, Answer::Done);
    let Answer::Got(Some((got, _))) = perform(&store, Call::Get(Name::Format)).await else {
        panic!("the mark is gone")
    };
    assert_eq!(got, format);

    let note = Name::Damaged(HASH);
    assert_eq!(perform(&store, Call::Put(note, Body::Text("broken".into()))).await, Answer::Done);
    let scan = Call::Scan { scan: Scan::Damaged { after: None }, limit: 1 };
    let expect = |found| Answer::Scanned { found, damaged: Vec::new(), unread: Vec::new(), more: false };
    assert_eq!(perform(&store, scan).await, expect(Found::Damaged(vec![HASH])));

    let group = BlobGroup { attempt: ATTEMPT, hash: HASH, reserved_ms: 5 };
    let part = |part| Name::Blob { group, number: 0, part };
    for at in 0..3 {
        let put = Call::Put(part(at), Body::Part(Bytes::from_static(b"part")));
        assert_eq!(perform(&store, put).await, Answer::Done);
    }
    let scan = Call::Scan { scan: Scan::Blobs { after: None }, limit: 10 };
    assert_eq!(perform(&store, scan).await, expect(Found::Blobs(vec![group])));
    let listed = Call::List { group: Group::Blobs(group), after: Some(part(0)), limit: 1 };
    let expect = Answer::Listed { names: vec![part(1)], damaged: Vec::new(), more: true };
    assert_eq!(perform(&store, listed).await, expect);
}

/// Names of the first version between ours: a page of them alone does not end a listing.
#[tokio::test]
async fn a_listing_goes_on_over_damaged_names() {
    let store = MemoryStore::new();
    for at in 0..7_u8 {
        let name = aft_store::Name::new(Space::Version, "a", vec![1, at]);
        store.put(&name, Bytes::new()).await.unwrap();
    }
    let record = record();
    let (key, entry) = record.entries().remove(0);
    let name = Name::Version(key.clone(), entry.clone());
    perform(&store, Call::Put(name.clone(), Body::Empty)).await;
    let listed =
        perform(&store, Call::List { group: Group::Versions(key.clone()), after: None, limit: 2 }).await;
    let Answer::Listed { names, damaged, more: _ } = listed else { panic!("{listed:?}") };
    assert_eq!((names, damaged.len()), (vec![name], 7));
    assert!(damaged[0].starts_with("version/a/") && damaged[0].contains("first version"), "{}", damaged[0]);
    let scan = Scan::Versions { prefix: String::new(), after: None, heads: None };
    let scanned = perform(&store, Call::Scan { scan, limit: 2 }).await;
    let Answer::Scanned { found, damaged, .. } = scanned else { panic!("{scanned:?}") };
    assert_eq!((found, damaged.len()), (Found::Versions(vec![(key, entry)]), 7));
}

#[tokio::test]
async fn damage_and_errors_reach_the_core() {
    let store = MemoryStore::new();
    let at = Name::Commit(HASH);
    store.put(&encode_name(&at), Bytes::from_static(b"\x21\x01garbage")).await.unwrap();
    let got = perform(&store, Call::Get(at)).await;
    let Answer::Failed(CallError::Damaged(text)) = got else { panic!("{got:?}") };
    assert!(text.contains(&format!("commit/{HASH}")), "{text}");
    assert_eq!(call_error(Error::NoAnswer("why".into())), CallError::NoAnswer);
    assert_eq!(call_error(Error::Busy("why".into())), CallError::Busy);
    assert_eq!(call_error(Error::Refused("why".into())), CallError::Refused("why".into()));
}
