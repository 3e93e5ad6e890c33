//! Goal: the store on DynamoDB keeps the contract on real servers, races of 32 writers included,
//! and leaves nothing behind. Method: the conformance suite with a fresh prefix for each check, and
//! the probe that `aft store probe` runs in a store in use; longer names and larger groups than the
//! suite has; scans of awkward names compared with groups and lists; the server's time compared
//! with this machine's.
//!
//! moto serves from threads, and may check the condition first and write afterwards: it gets no
//! races, and no probe, which would show nothing more and is slow there.

use std::sync::Arc;

use aft_services::Service;
use aft_store::conformance;
use aft_store::{Name, Position, Space, Store, Writes};
use aft_store_tests::{
    Table, check_crowded_scans, check_scans, check_times, moto_stands_in_for, put_all, scan_all,
};
use bytes::Bytes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract_on_dynamodb_local() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let report = conformance::run(async || table.fresh().await).await;
    println!("{report}");
    report.assert_passed();
    // The longest prefix that is allowed.
    let store = table.open(&table.url(&"p".repeat(128))).await.expect("the server runs");
    let report = conformance::probe(store.clone()).await;
    println!("{report}");
    report.assert_passed();
    for space in Space::ALL {
        let page = store.groups(space, b"", None, 10).await.expect("the server runs");
        assert!(page.groups.is_empty(), "{space:?}: {page:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract_on_moto() {
    if !moto_stands_in_for(Service::DynamoDb) {
        return;
    }
    let Some(table) = Table::start(Service::Moto).await else { return };
    let report = conformance::run_without_races(async || table.fresh_in_its_own().await).await;
    println!("{report}");
    report.assert_passed();
}

async fn all_groups(store: &dyn Store, space: Space, prefix: &[u8], limit: usize) -> Vec<Bytes> {
    let mut found: Vec<Bytes> = Vec::new();
    loop {
        let after = found.last().cloned();
        let page = store.groups(space, prefix, after.as_deref(), limit).await.expect("the server runs");
        assert!(page.groups.len() <= limit && (!page.more || !page.groups.is_empty()));
        found.extend(page.groups);
        if !page.more {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_too_long_for_a_key_are_listed_in_order() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let store = table.fresh().await;
    let mut groups: Vec<Bytes> = ["a", "c"].map(Bytes::from).to_vec();
    // Around the length at which a group is cut, with bytes that are encoded as one byte and as
    // two.
    for fill in [b'b', 0] {
        for len in [360, 366, 367, 368, 732, 733, 734, 735, 736, 900, 1_088] {
            groups.push(vec![fill; len].into());
        }
    }
    for end in 0..12_u8 {
        groups.push([&[b'b'; 800][..], &[end]].concat().into());
    }
    groups.push([&[b'b'; 734][..], b"c"].concat().into());
    groups.push([&[b'b'; 733][..], b"\x00\x00"].concat().into());
    groups.sort();
    for (i, group) in groups.iter().enumerate() {
        for item in 0..1 + i % 3 {
            store
                .put(&Name::new(Space::Version, group.clone(), vec![item as u8]), Bytes::new())
                .await
                .expect("the server runs");
        }
    }
    for limit in [1, 3, 7, 1_000] {
        assert_eq!(all_groups(&*store, Space::Version, b"", limit).await, groups, "in pages of {limit}");
    }
    for prefix in [&[b'b'; 700][..], &[b'b'; 734], &[b'b'; 800], &[b'b'; 1_000], &[0; 367], &[0; 368]] {
        let expected: Vec<Bytes> = groups.iter().filter(|group| group.starts_with(prefix)).cloned().collect();
        assert!(!expected.is_empty());
        for limit in [2, 1_000] {
            let found = all_groups(&*store, Space::Version, prefix, limit).await;
            assert_eq!(found, expected, "{} of {:?} by {limit}", prefix.len(), prefix.first());
        }
    }
    let longest = groups.iter().find(|group| group.len() == 1_088).expect("it is among them");
    let page = store.list(Space::Version, longest, None, 10).await.expect("the server runs");
    assert!(!page.items.is_empty() && page.items[0] == [0_u8][..], "{page:?}");
}

/// Pages through more groups with a long common start than a page holds, in each partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_long_names_are_paged() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let store = table.fresh().await;
    let mut groups: Vec<Bytes> = ["a", "c"].map(Bytes::from).to_vec();
    groups.extend((0..1_900).map(|end| Bytes::from("b".repeat(900) + &format!("{end:04}"))));
    groups.sort();
    let name = |group: &Bytes| (Name::new(Space::Version, group.clone(), "i"), Bytes::new());
    let puts = store.commit(Writes { create: None, puts: groups.iter().map(name).collect() }).await.puts;
    assert!(puts.iter().all(Result::is_ok));
    // One group has more items than a page of keys.
    let crowded = groups[1_000].clone();
    let item =
        |item: u32| (Name::new(Space::Version, crowded.clone(), item.to_be_bytes().to_vec()), Bytes::new());
    let puts = store.commit(Writes { create: None, puts: (0..300).map(item).collect() }).await.puts;
    assert!(puts.iter().all(Result::is_ok));
    for limit in [1_000, 70] {
        assert_eq!(all_groups(&*store, Space::Version, b"", limit).await, groups, "in pages of {limit}");
    }
    for limit in [1_000, 170] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.scan(Space::Version, b"", after.as_ref(), limit).await.expect("the server runs");
            found.extend(page.names.iter().map(|name| (name.group.clone(), name.item.clone())));
            let Some(last) = page.names.last().filter(|_| page.more) else { break };
            after = Some(Position { group: last.group.clone(), item: Some(last.item.clone()) });
        }
        assert!(found.is_sorted_by(|a, b| a < b), "in pages of {limit}");
        assert_eq!(found.len(), groups.len() + 300);
        found.dedup_by(|a, b| a.0 == b.0);
        assert!(found.iter().map(|(group, _)| group).eq(&groups), "in pages of {limit}");
    }
}

/// Lists the items of an intent's minute, which are spread over the partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spread_items_are_listed_in_order() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let store: Arc<dyn Store> = table.fresh().await;
    let items: Vec<Bytes> = (0..60_u8).map(|i| Bytes::from(vec![i / 7, i])).collect();
    for minute in ["11:58", "11:59"] {
        for item in &items {
            let name = Name::new(Space::Intent, minute, item.clone());
            store.put(&name, Bytes::new()).await.expect("the server runs");
        }
    }
    for limit in [1, 7, 59, 60, 61, 1_000] {
        let mut found: Vec<Bytes> = Vec::new();
        loop {
            let after = found.last().cloned();
            let page = store.list(Space::Intent, b"11:58", after.as_deref(), limit).await.unwrap();
            assert!(page.items.len() <= limit);
            found.extend(page.items);
            if !page.more {
                break;
            }
        }
        assert_eq!(found, items, "in pages of {limit}");
    }
    assert_eq!(all_groups(&*store, Space::Intent, b"", 1).await, ["11:58", "11:59"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_and_times_are_right_on_dynamodb_local() {
    // The items of intents are spread over the partitions.
    scans_and_times(Service::DynamoDb, &[Space::Version, Space::Intent, Space::Blob]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_and_times_are_right_on_moto() {
    if !moto_stands_in_for(Service::DynamoDb) {
        return;
    }
    scans_and_times(Service::Moto, &[Space::Version]).await;
}

async fn scans_and_times(service: Service, spaces: &[Space]) {
    let Some(table) = Table::start(service).await else { return };
    check_times(&*table.fresh().await).await;
    check_crowded_scans(&*table.fresh().await).await;
    for &space in spaces {
        for one in check_scans(&*table.fresh().await, space).await {
            // The bodies that `check_scans` writes. A scan does not return the parts of large
            // values.
            let body = (space != Space::Blob).then(|| Bytes::from(format!("{} bytes", one.group.len())));
            assert_eq!((one.body, one.written_ms), (body, None), "{space:?}");
        }
    }
}

/// Scans records that are so large that the size of a page's bodies limits it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_shorten_the_pages_of_a_scan() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let store = table.fresh().await;
    let body = Bytes::from(vec![7; 250_000]);
    let groups: Vec<Bytes> = (0..60).map(|i| Bytes::from(format!("record {i:02}"))).collect();
    let names = groups.iter().map(|group| (Name::new(Space::Commit, group.clone(), ""), body.clone()));
    put_all(&*store, names).await;
    let page = store.scan(Space::Commit, b"", None, 1_000).await.expect("the server runs");
    let bytes: usize = page.names.iter().map(|one| one.body.as_ref().map_or(0, Bytes::len)).sum();
    println!("a page of {} records with {bytes} bytes", page.names.len());
    assert!(page.more && bytes <= 12 << 20, "{} records with {bytes} bytes", page.names.len());
    let (found, _) = scan_all(&*store, Space::Commit, b"", None, 1_000).await;
    assert!(found.iter().map(|one| &one.group).eq(&groups));
    assert!(found.iter().all(|one| one.body.as_ref() == Some(&body)));
}
