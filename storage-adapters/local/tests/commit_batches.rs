//! Goal: a commit of any number of pieces is one batch, and so one sync, and it exists whole or not
//! at all. Method: the file `ACKED` holds the number of the newest acknowledged batch, and every
//! batch is synced once. So the number is read before and after.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;

use aft_store::{Committed, Created, Error, Name, Space, Store, Writes};
use aft_store_local::{LocalStore, Options};
use bytes::Bytes;

/// The size of a body that is too large to be inline, in bytes.
const LARGE: usize = 100_000;

fn batches(dir: &Path) -> u64 {
    let acked = std::fs::read(dir.join("ACKED")).unwrap();
    u64::from_le_bytes(*acked.first_chunk().unwrap())
}

/// Counts the body files after earlier writes have removed theirs. A file is removed after the
/// answer and before the next write, so this makes one more write first.
async fn body_files_at_rest(store: &LocalStore, dir: &Path) -> usize {
    store.delete(&[record(usize::MAX)]).await.unwrap();
    body_files(dir)
}

fn body_files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("bodies")).unwrap().count()
}

fn record(request: usize) -> Name {
    Name::new(Space::Commit, format!("request {request}"), "")
}

fn entry(key: usize, attempt: usize) -> Name {
    Name::new(Space::Version, format!("key {key}"), format!("{attempt}"))
}

/// Returns the writes of a record with entries of its own.
fn writes(request: usize, attempt: usize, entries: usize) -> Writes {
    Writes {
        create: Some((record(request), attempt.to_string().into())),
        puts: (0..entries).map(|key| (entry(key, attempt), Bytes::new())).collect(),
    }
}

fn done(created: Option<Created>, puts: usize) -> Committed {
    Committed { created: created.map(Ok), puts: vec![Ok(()); puts] }
}

async fn is_there(store: &LocalStore, name: &Name) -> bool {
    store.get(name).await.unwrap().is_some()
}

#[tokio::test]
async fn a_commit_is_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    let mut before = batches(dir.path());
    let mut expect = |more: u64, what: &str| {
        let now = batches(dir.path());
        assert_eq!(now - before, more, "batches of {what}");
        before = now;
    };
    assert_eq!(store.commit(writes(1, 1, 200)).await, done(Some(Created::Created), 200));
    expect(1, "a record and 200 entries");
    assert_eq!(store.commit(writes(1, 2, 200)).await, done(Some(Created::Exists), 200));
    expect(0, "a loser");
    assert!(!is_there(&store, &entry(0, 2)).await, "a losing commit wrote an entry");
    assert_eq!(store.commit(Writes { create: None, ..writes(1, 2, 200) }).await, done(None, 200));
    expect(1, "entries alone");
    assert_eq!(
        store.commit(Writes { puts: Vec::new(), ..writes(2, 3, 0) }).await,
        done(Some(Created::Created), 0)
    );
    expect(1, "a record alone");
    assert_eq!(store.commit(Writes::default()).await, done(None, 0));
    expect(0, "nothing");
    for key in [0, 199] {
        assert!(is_there(&store, &entry(key, 1)).await && is_there(&store, &entry(key, 2)).await);
    }
}

/// Shows that a large body is a file, which exists only if its commit does.
#[tokio::test]
async fn body_files_exist_only_with_their_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    let large = |attempt: usize| {
        let body = Bytes::from(vec![attempt as u8; LARGE]);
        let mut writes = writes(1, attempt, 3);
        writes.create = Some((record(1), body.clone()));
        writes.puts[1].1 = body;
        writes
    };
    let before = batches(dir.path());
    assert_eq!(store.commit(large(1)).await, done(Some(Created::Created), 3));
    assert_eq!((batches(dir.path()) - before, body_files(dir.path())), (1, 2));
    assert_eq!(store.commit(large(2)).await, done(Some(Created::Exists), 3));
    assert_eq!(body_files(dir.path()), 2, "a losing commit left its files behind");
    assert_eq!(store.get(&record(1)).await.unwrap().unwrap().0, vec![1; LARGE]);
    // An entry overwrites what its name holds, and the old file is removed.
    let puts = vec![(entry(1, 1), Bytes::from("small"))];
    assert_eq!(store.commit(Writes { create: None, puts }).await, done(None, 1));
    // It is removed after the answer, and before the store is closed.
    drop(store);
    assert_eq!(body_files(dir.path()), 1);
}

#[tokio::test]
async fn a_commit_that_is_refused_in_part_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    let mut too_large = writes(1, 1, 3);
    too_large.puts[2].1 = Bytes::from(vec![0; store.capabilities().body_bytes_max + 1]);
    too_large.puts[1].1 = Bytes::from(vec![0; LARGE]);
    let before = batches(dir.path());
    let committed = store.commit(too_large).await;
    assert!(matches!(committed.created, Some(Err(Error::Refused(_)))), "{committed:?}");
    assert!(committed.puts.iter().all(|put| matches!(put, Err(Error::Refused(_)))), "{committed:?}");
    assert_eq!((batches(dir.path()) - before, body_files(dir.path())), (0, 0));
    assert!(!is_there(&store, &record(1)).await && !is_there(&store, &entry(0, 1)).await);
    // Then a commit with more bytes of names and bodies than one may have.
    let mut bodies = writes(1, 1, 600);
    bodies.puts.iter_mut().for_each(|(_, body)| *body = Bytes::from(vec![0; 60_000]));
    let committed = store.commit(bodies).await;
    assert!(matches!(committed.created, Some(Err(Error::Refused(_)))), "{:?}", committed.created);
    assert_eq!(batches(dir.path()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commits_share_batches_and_one_wins_per_request() {
    const COMMITS: usize = 128;
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    let before = batches(dir.path());
    // Every fourth commit is a second attempt of the request before it.
    let request = |attempt: usize| attempt - usize::from(attempt % 4 == 3);
    let commits = (0..COMMITS).map(|attempt| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(writes(request(attempt), attempt, 3)).await })
    });
    let commits: Vec<_> = commits.collect();
    let mut created = Vec::new();
    for (attempt, commit) in commits.into_iter().enumerate() {
        let committed = commit.await.unwrap();
        let won = committed == done(Some(Created::Created), 3);
        assert!(won || committed == done(Some(Created::Exists), 3), "{committed:?}");
        created.extend(won.then_some(attempt));
        assert_eq!(is_there(&store, &entry(2, attempt)).await, won, "the last entry of attempt {attempt}");
    }
    let requests: Vec<usize> = created.iter().map(|&attempt| request(attempt)).collect();
    assert_eq!(requests, (0..COMMITS).filter(|attempt| attempt % 4 != 3).collect::<Vec<_>>());
    let taken = batches(dir.path()) - before;
    println!("{COMMITS} commits of 4 pieces at once: {taken} batches");
    assert!((1..=COMMITS as u64).contains(&taken), "{taken} batches");
}

/// Shows that commits whose writes do not fit into one batch are split between batches, each commit
/// whole. A write's place in its batch has 16 bits in the tag.
#[tokio::test]
async fn the_largest_commits_do_not_share_tags() {
    const ENTRIES: usize = (1 << 15) - 1;
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    let before = batches(dir.path());
    let commits = tokio::join!(
        store.commit(writes(1, 1, ENTRIES)),
        store.commit(writes(2, 2, ENTRIES)),
        store.commit(writes(3, 3, ENTRIES)),
    );
    for committed in [commits.0, commits.1, commits.2] {
        assert_eq!(committed, done(Some(Created::Created), ENTRIES));
    }
    assert!((2..=3).contains(&(batches(dir.path()) - before)));
    let one_more = store.commit(writes(4, 4, ENTRIES + 1)).await;
    assert!(matches!(one_more.created, Some(Err(Error::Refused(_)))), "{:?}", one_more.created);
}

/// Shows that the body file of a name is removed with the name, even if an earlier process wrote
/// it. The old value is looked up only if a file may have to be removed; one body in the tree has
/// the length of a reference to a file.
#[tokio::test]
async fn a_body_file_from_before_the_restart_is_removed_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let names = [entry(1, 1), entry(2, 1), entry(3, 1)];
    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    for name in &names {
        store.put(name, Bytes::from(vec![7; LARGE])).await.unwrap();
    }
    drop(store);
    assert_eq!(body_files(dir.path()), 3);

    let store = LocalStore::open(dir.path(), &Options::default()).unwrap();
    store.delete(&names[..1]).await.unwrap();
    assert_eq!(body_files_at_rest(&store, dir.path()).await, 2, "a deletion removes it");
    store.put(&names[1], Bytes::from(vec![7; 24])).await.unwrap();
    assert_eq!(body_files_at_rest(&store, dir.path()).await, 1, "an overwrite removes it");
    let commit = Writes { create: None, puts: vec![(names[2].clone(), Bytes::new())] };
    assert_eq!(store.commit(commit).await, done(None, 1));
    assert_eq!(body_files_at_rest(&store, dir.path()).await, 0, "a commit removes it");
    store.delete(&names[1..]).await.unwrap();
    for name in &names[..2] {
        assert!(!is_there(&store, name).await, "{name} is deleted");
    }
}
