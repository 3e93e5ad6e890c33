//! Goal: the promises that only this store makes hold: calls complete on the first poll, clones
//! share the objects, capabilities can be set and are enforced, and a group's two forms (one item
//! inline, many in a tree) behave the same. Method: calls are polled by hand.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aft_store::{Capabilities, Committed, Created, Error, Name, Replaced, Space, Store, Writes};
use aft_store_memory::MemoryStore;
use bytes::Bytes;

/// Returns the result of a call that must complete on its first poll.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a call yielded"),
    }
}

fn version(item: &'static str) -> Name {
    Name::new(Space::Version, "key", item)
}

fn items(store: &MemoryStore) -> Vec<Bytes> {
    at_once(store.list(Space::Version, b"key", None, 100)).expect("memory does not fail").items
}

#[test]
fn clones_share_the_objects() {
    let one = MemoryStore::shared();
    let other = one.clone();
    assert!(!one.capabilities().exclusive);
    assert_eq!(at_once(one.create(&version("a"), Bytes::from("x"))), Ok(Created::Created));
    assert_eq!(at_once(other.create(&version("a"), Bytes::from("y"))), Ok(Created::Exists));
    assert_eq!(other.objects(), vec![(version("a"), Bytes::from("x"))]);
}

#[test]
fn a_transaction_writes_all_bodies_or_none() {
    let small = Capabilities { body_bytes_max: 4, blob_part_bytes: 4, ..MemoryStore::new().capabilities() };
    let store = MemoryStore::new().with_capabilities(small);
    let (a, b) = (version("a"), version("b"));
    let too_large = vec![(a.clone(), Bytes::from("1")), (b.clone(), Bytes::from("12345"))];
    assert!(matches!(store.transact_put(too_large), Err(Error::Refused(_))));
    assert_eq!(
        store.transact_get(std::slice::from_ref(&a)),
        [None],
        "nothing is written by a rejected transaction"
    );
    store.transact_put(vec![(a.clone(), "1".into()), (b.clone(), "2".into())]).expect("both fit");
    let found = store.transact_get(&[b, version("c"), a]);
    assert_eq!(found, [Some("2".into()), None, Some("1".into())], "in the order of the names");
}

#[test]
fn a_group_grows_and_shrinks() {
    let store = MemoryStore::new();
    for item in ["b", "a", "", "c"] {
        at_once(store.put(&version(item), Bytes::from(item))).unwrap();
    }
    assert_eq!(items(&store), ["", "a", "b", "c"]);
    at_once(store.delete(&[version("a"), version("missing"), version("c"), version("")])).unwrap();
    assert_eq!(items(&store), ["b"]);
    at_once(store.delete(&[version("b")])).unwrap();
    assert!(at_once(store.groups(Space::Version, b"", None, 1)).unwrap().groups.is_empty());
}

#[test]
fn configured_capabilities_are_enforced() {
    let base = MemoryStore::new().capabilities();
    let capabilities = Capabilities { delete_if: false, body_bytes_max: 4, blob_part_bytes: 4, ..base };
    let store = MemoryStore::new().with_capabilities(capabilities);
    assert!(matches!(at_once(store.put(&version("a"), Bytes::from("12345"))), Err(Error::Refused(_))));
    at_once(store.put(&version("a"), Bytes::from("1234"))).unwrap();
    let (_, tag) = at_once(store.get(&version("a"))).unwrap().unwrap();
    assert!(matches!(at_once(store.delete_if(&version("a"), &tag)), Err(Error::Refused(_))));
    assert_eq!(at_once(store.replace(&version("a"), &tag, Bytes::from("5"))), Ok(Replaced::Replaced));
    assert_eq!(at_once(store.replace(&version("a"), &tag, Bytes::from("6"))), Ok(Replaced::Changed));
}

/// Shows that a losing commit writes none of its entries and leaves the record as it is.
#[test]
fn a_commit_of_a_taken_name_writes_nothing() {
    let store = MemoryStore::new();
    let record = |body: &'static str| Some((Name::new(Space::Commit, "request", ""), Bytes::from(body)));
    let puts = |body: &'static str| vec![(version("a"), body.into()), (version("b"), body.into())];
    let winner = at_once(store.commit(Writes { create: record("first"), puts: puts("first") }));
    assert_eq!(winner, Committed { created: Some(Ok(Created::Created)), puts: vec![Ok(()); 2] });
    let before = store.objects();
    let loser = at_once(store.commit(Writes { create: record("second"), puts: puts("second") }));
    assert_eq!(loser, Committed { created: Some(Ok(Created::Exists)), puts: vec![Ok(()); 2] });
    assert_eq!(store.objects(), before);
}

#[test]
fn a_scan_is_one_page_of_names_and_bodies() {
    let store = MemoryStore::new();
    for item in ["a", "", "b"] {
        at_once(store.put(&version(item), Bytes::from(item))).unwrap();
    }
    at_once(store.put(&Name::new(Space::Version, "key/2", "x"), Bytes::from("x"))).unwrap();
    let page = at_once(store.scan(Space::Version, b"key", None, 100)).unwrap();
    let bodies: Vec<_> = page.names.iter().map(|found| found.body.as_deref().unwrap()).collect();
    assert_eq!(bodies, [&b""[..], b"a", b"b", b"x"]);
    assert!(!page.more, "the page holds the last name, so no more follow");
}

#[test]
#[should_panic(expected = "twice")]
fn a_commit_writes_no_name_twice() {
    let puts = vec![(version("a"), Bytes::new()), (version("b"), Bytes::new()), (version("a"), Bytes::new())];
    drop(at_once(MemoryStore::new().commit(Writes { create: None, puts })));
}
