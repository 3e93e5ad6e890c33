//! Scans, compared with a model, and the work that a page costs the server.

use std::collections::BTreeSet;

use aft_store::{Name, Position, Scanned, Space, Store, Writes};
use bytes::Bytes;

use crate::requests::calls;
use crate::{admin, open, server, tell, url};

type Place = (Bytes, Bytes);

/// Returns every name after a place, read in pages of at most `limit`, and the number of pages.
async fn scanned(
    store: &dyn Store,
    prefix: &[u8],
    after: Option<Position>,
    limit: usize,
) -> (Vec<Place>, usize) {
    let (mut found, mut after, mut pages) = (Vec::new(), after, 0);
    loop {
        let page = store.scan(Space::Version, prefix, after.as_ref(), limit).await.expect("the server runs");
        pages += 1;
        assert!(page.names.len() <= limit && !(page.more && page.names.is_empty()), "{page:?}");
        for Scanned { group, item, body, written_ms } in page.names {
            assert_eq!((body, written_ms), (None, None));
            found.push((group, item));
        }
        if !page.more {
            assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
            return (found, pages);
        }
        let (group, item) = found.last().cloned().expect("more follow after a name");
        after = Some(Position { group, item: Some(item) });
    }
}

async fn put_all(store: &dyn Store, places: &BTreeSet<Place>) {
    let name = |(group, item): &Place| (Name::new(Space::Version, group.clone(), item.clone()), Bytes::new());
    let puts = places.iter().map(name).collect();
    let put = store.commit(Writes { create: None, puts }).await;
    assert!(put.puts.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_find_all_names_in_order() {
    let Some(server) = server() else { return };
    let store = open(&url(&server)).await;
    let groups: [&[u8]; 9] =
        [b"a", b"a\x00", b"a/b", b"ab", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"];
    let items: [&[u8]; 6] = [b"", b"\x00", b"a", b"a/", b"\xfe", b"\xff\xff"];
    // Groups of 1 to 6 items.
    let places: BTreeSet<Place> = groups
        .iter()
        .enumerate()
        .flat_map(|(at, group)| {
            items[..1 + at * 5 % 6].iter().map(|item| (Bytes::from_static(group), Bytes::from_static(item)))
        })
        .collect();
    put_all(&*store, &places).await;
    // A name in another space.
    store.put(&Name::new(Space::Commit, "a", "elsewhere"), Bytes::new()).await.unwrap();

    let mut positions = vec![None];
    for group in groups.into_iter().chain([&b"A"[..], b"a\x01", b"\xff\xff\xff"]) {
        let group = Bytes::from_static(group);
        positions.push(Some(Position { group: group.clone(), item: None }));
        for item in items.into_iter().chain([&b"0"[..], b"zz"]) {
            positions.push(Some(Position { group: group.clone(), item: Some(Bytes::from_static(item)) }));
        }
    }
    let prefixes: [&[u8]; 8] = [b"", b"a", b"a/", b"a\xff", b"b", b"c", b"\xff", b"\xff\xff\xff"];
    for prefix in prefixes {
        for after in &positions {
            let behind = |(group, item): &&Place| match after {
                None => true,
                Some(Position { group: of, item: None }) => group > of,
                Some(Position { group: of, item: Some(last) }) => (group, item) > (of, last),
            };
            let expect: Vec<Place> = places
                .iter()
                .filter(|(group, _)| group.starts_with(prefix))
                .filter(behind)
                .cloned()
                .collect();
            for limit in [1, 2, 3, 7, 1_000, usize::MAX] {
                let (found, pages) = scanned(&*store, prefix, after.clone(), limit).await;
                assert_eq!(found, expect, "{:?} after {after:?} in pages of {limit}", prefix.escape_ascii());
                assert_eq!(pages, expect.len().div_ceil(limit).max(1), "a page is full, or the last");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_one_request_and_bounded() {
    let Some(server) = server() else { return };
    let (store, mut admin) = (open(&url(&server)).await, admin(&server));
    // 2,500 groups of one item, which is the most work per name; and a group of 2,500.
    let number = |number: usize| Bytes::from(format!("{number:05}"));
    let mut places: BTreeSet<Place> = (0..2_500).map(|group| (number(group), Bytes::new())).collect();
    places.extend((0..2_500).map(|item| (Bytes::from_static(b"01000"), number(item))));
    put_all(&*store, &places).await;
    tell::<()>(&mut admin, "CONFIG RESETSTAT");
    let (found, pages) = scanned(&*store, b"", None, usize::MAX).await;
    assert_eq!((found.len(), pages), (places.len(), 5));
    assert_eq!(calls(&mut admin)[0], pages, "one script a page");
    let stats: String = tell(&mut admin, "INFO commandstats");
    let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).expect("scripts ran");
    println!("pages of 1,000 names: {line}");

    // Groups in the index without items, which the store itself never leaves: the scan skips them,
    // in bounded steps.
    for group in 2_000..2_500 {
        tell::<()>(&mut admin, &format!("DEL aft/version/i/{group:05}"));
    }
    for group in 3_000..5_500 {
        tell::<()>(&mut admin, &format!("ZADD aft/version/g 0 {group:05}"));
    }
    store.put(&Name::new(Space::Version, "09999", ""), Bytes::new()).await.unwrap();
    tell::<()>(&mut admin, "CONFIG RESETSTAT");
    let after = Position { group: number(1_999), item: None };
    let page = store.scan(Space::Version, b"", Some(&after), 1_000).await.unwrap();
    assert_eq!(page.names.len(), 1, "{page:?}");
    assert_eq!((&page.names[0].group[..], page.more), (&b"09999"[..], false));
    assert_eq!(calls(&mut admin)[0], 3, "3,000 groups at 1,000 a script");
}
