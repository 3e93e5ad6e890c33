//! Goal: the embedded store keeps to the contract, and its data is there after it is opened again.
//! Method: the conformance suite on fresh directories; the same values are read before and after
//! reopening.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use aft_store::{Created, Name, Position, Replaced, Space, Store, Writes, conformance};
use aft_store_local::{LocalStore, Options};
use bytes::Bytes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_to_the_contract() {
    let dirs = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    let make = async || {
        let dir = dirs.path().join(made.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
        Arc::new(LocalStore::open(dir, &Options::default()).expect("a fresh directory")) as Arc<dyn Store>
    };
    conformance::run(make).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    conformance::probe(Arc::new(store.clone())).await.assert_passed();
    for space in Space::ALL {
        assert!(store.groups(space, b"", None, 1).await.unwrap().groups.is_empty(), "{space:?}");
    }
    let bodies = std::fs::read_dir(dir.path().join("bodies")).unwrap().count();
    assert_eq!(bodies, 0, "the probe left body files behind");
}

fn body(i: usize) -> Bytes {
    // Some bodies are inline, some in files.
    let len = if i.is_multiple_of(5) { 70_000 + i } else { 10 * i };
    Bytes::from(vec![i as u8; len])
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    const NAMES: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let name = |i: usize| {
        Name::new(Space::ALL[i % Space::ALL.len()], format!("group {}", i % 3), format!("item {i:03}"))
    };
    let mut tags = Vec::new();
    for round in 0..3 {
        let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
        for i in 0..NAMES {
            if round == 0 {
                assert_eq!(store.create(&name(i), body(i)).await, Ok(Created::Created));
                tags.push(store.get(&name(i)).await.unwrap().unwrap().1);
            }
            let (read, tag) = store.get(&name(i)).await.unwrap().expect("it was written");
            assert_eq!((read, &tag), (body(i), &tags[i]), "{}", name(i));
            assert_eq!(store.create(&name(i), Bytes::new()).await, Ok(Created::Exists));
        }
        // A tag from before the reopening still matches its content, and a new content gets a tag
        // that was never used.
        assert_eq!(store.replace(&name(1), &tags[1], body(1)).await, Ok(Replaced::Replaced));
        let (_, tag) = store.get(&name(1)).await.unwrap().unwrap();
        assert!(!tags.contains(&tag));
        tags[1] = tag;
    }
}

#[tokio::test]
async fn a_body_file_without_an_entry_is_removed_at_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let name = Name::new(Space::Blob, "attempt", "0");
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    store.put(&name, body(0)).await.unwrap();
    drop(store);
    let stray = dir.path().join("bodies/00000000000000ff.body");
    std::fs::write(&stray, "left by a crash").unwrap();
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    assert!(!stray.exists());
    assert_eq!(store.get(&name).await.unwrap().unwrap().0, body(0));
}

/// Shows that a page is bounded under every limit, so that a long scan does not delay other
/// callers.
#[tokio::test]
async fn scans_come_in_bounded_pages() {
    const GROUPS: usize = 40;
    const ITEMS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    let name = |i: usize| {
        Name::new(Space::Version, format!("group {:03}", i / ITEMS), format!("item {:03}", i % ITEMS))
    };
    let puts = (0..GROUPS * ITEMS).map(|i| (name(i), body(i % 2))).collect();
    let committed = store.commit(Writes { create: None, puts }).await;
    assert!(committed.puts.iter().all(Result::is_ok), "{:?}", committed.puts[0]);
    let (mut found, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = store.scan(Space::Version, b"group", after.as_ref(), usize::MAX).await.unwrap();
        assert!(page.names.len() <= 1024, "a page of {}", page.names.len());
        pages += 1;
        after = page
            .names
            .last()
            .map(|last| Position { group: last.group.clone(), item: Some(last.item.clone()) });
        found.extend(page.names.into_iter().map(|found| Name::new(Space::Version, found.group, found.item)));
        if !page.more {
            break;
        }
    }
    assert!(pages > 1, "{} names in one page", found.len());
    assert_eq!(found, (0..GROUPS * ITEMS).map(name).collect::<Vec<_>>());
}

/// Shows that other users of the machine can read nothing in a new store.
#[tokio::test]
async fn a_new_store_is_readable_by_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    // The directory that the store is made in is open to all.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let made = dir.path().join("made/here");
    let found = dir.path().join("found");
    std::fs::create_dir(&found).unwrap();
    std::fs::set_permissions(&found, PermissionsExt::from_mode(0o755)).unwrap();
    for dir in [&made, &found] {
        let store = LocalStore::open(dir, &Options::default()).unwrap();
        // One body is in the tree, one in a file.
        for i in 0..2 {
            store.put(&Name::new(Space::Version, "key", i.to_string()), body(i)).await.unwrap();
        }
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let expect = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expect, "{}", path.display());
        }
    }
    assert_eq!(mode(&made), 0o700);
    assert_eq!(mode(&found), 0o755, "an empty directory that was there belongs to the operator");
}
