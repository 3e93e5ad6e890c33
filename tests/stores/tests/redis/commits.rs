//! Commits: record and entries are written by one script or not at all, large commits are split,
//! and nothing happens after a deadline.

use std::time::{Duration, Instant};

use aft_store::{Committed, Created, Error, Name, Space, Store, TIMES_KEPT_MAX, Writes};
use aft_store_tests::{no_answer, refused};
use bytes::Bytes;

use crate::requests::calls;
use crate::{admin, open, server, tell, url};

fn record(number: usize) -> Name {
    Name::new(Space::Commit, format!("record {number}"), "")
}

fn entry(commit: usize, number: usize) -> Name {
    Name::new(Space::Version, format!("key {number}"), format!("commit {commit}"))
}

/// Returns the writes of a commit: a record and `entries` entries.
fn writes(commit: usize, entries: usize) -> Writes {
    let body = Bytes::from(format!("body of {commit}"));
    let puts = (0..entries).map(|number| (entry(commit, number), Bytes::new())).collect();
    Writes { create: Some((record(commit), body)), puts }
}

fn succeeded(committed: &Committed, created: Created) {
    assert_eq!(committed.created, Some(Ok(created)));
    assert!(committed.puts.iter().all(Result::is_ok), "{committed:?}");
}

/// Returns the items at a key, each of which names its commit.
async fn at_key(store: &dyn Store, number: usize) -> Vec<Bytes> {
    store
        .list(Space::Version, format!("key {number}").as_bytes(), None, 1_000)
        .await
        .expect("the server runs")
        .items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_one_script() {
    let Some(server) = server() else { return };
    let (store, mut admin) = (open(&url(&server)).await, admin(&server));
    for (commit, entries) in [0, 1, 10, 999].into_iter().enumerate() {
        let before = calls(&mut admin);
        let committed = store.commit(writes(commit, entries)).await;
        succeeded(&committed, Created::Created);
        assert_eq!(committed.puts.len(), entries);
        let after = calls(&mut admin);
        // The script checks the identity, which is the GET.
        assert_eq!([after[0] - before[0], after[1] - before[1]], [1, 1], "{entries} entries");
        let (body, _) = store.get(&record(commit)).await.unwrap().expect("it was created");
        assert_eq!(body, format!("body of {commit}"));
        for number in 0..entries {
            assert_eq!(store.get(&entry(commit, number)).await.unwrap().expect("it was put").0, "");
        }
    }
    // The record's name is taken: nothing of the second commit is written.
    let second = Writes { puts: vec![(entry(77, 0), Bytes::new())], ..writes(1, 0) };
    succeeded(&store.commit(second).await, Created::Exists);
    assert_eq!(store.get(&entry(77, 0)).await, Ok(None));
    // Entries without a record are always written.
    let alone = Writes {
        create: None,
        puts: vec![(entry(1, 0), Bytes::from_static(b"new")), (entry(78, 0), Bytes::new())],
    };
    let committed = store.commit(alone).await;
    assert_eq!(committed, Committed { created: None, puts: vec![Ok(()), Ok(())] });
    assert_eq!(store.get(&entry(1, 0)).await.unwrap().expect("it was put").0, "new");
    // An empty commit sends nothing.
    let before = calls(&mut admin);
    assert_eq!(store.commit(Writes::default()).await, Committed { created: None, puts: Vec::new() });
    assert_eq!(calls(&mut admin), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_commits_are_split_into_scripts() {
    let Some(server) = server() else { return };
    let (store, mut admin) = (open(&url(&server)).await, admin(&server));
    let before = calls(&mut admin)[0];
    succeeded(&store.commit(writes(1, 2_500)).await, Created::Created);
    assert_eq!(calls(&mut admin)[0] - before, 3, "1,000 names in a script");
    for number in 0..2_500 {
        assert_eq!(at_key(&*store, number).await, ["commit 1"]);
    }
    // A commit that loses writes no entry, and sends the first script only.
    let before = calls(&mut admin)[0];
    let lost = Writes { puts: writes(2, 2_500).puts, ..writes(1, 0) };
    succeeded(&store.commit(lost).await, Created::Exists);
    assert_eq!(calls(&mut admin)[0] - before, 1);
    for number in [0, 998, 999, 1_000, 2_499] {
        assert_eq!(at_key(&*store, number).await, ["commit 1"]);
    }
    // Split by size: a record that fills a script, and entries of a MiB.
    let body_max = store.capabilities().body_bytes_max;
    let mut heavy = writes(3, 5);
    heavy.create.as_mut().expect("there is one").1 = vec![1; body_max].into();
    heavy.puts.iter_mut().for_each(|(_, body)| *body = vec![2; 1 << 20].into());
    let before = calls(&mut admin)[0];
    succeeded(&store.commit(heavy).await, Created::Created);
    assert_eq!(calls(&mut admin)[0] - before, 3, "the record, three entries, two entries");
    assert_eq!(store.get(&record(3)).await.unwrap().expect("it was created").0.len(), body_max);
    for number in 0..5 {
        assert_eq!(store.get(&entry(3, number)).await.unwrap().expect("it was put").0.len(), 1 << 20);
    }
    // A commit with a piece that can never be written is not begun.
    let before = calls(&mut admin)[0];
    let mut beyond = writes(4, 2);
    beyond.puts[1].1 = vec![0; body_max + 1].into();
    let committed = store.commit(beyond).await;
    for outcome in
        [committed.created.unwrap().map(|_| ()), committed.puts[0].clone(), committed.puts[1].clone()]
    {
        let error = outcome.expect_err("one is too large");
        assert!(refused(&error) && error.to_string().contains("commit 4: body of"), "{error:?}");
    }
    assert_eq!(calls(&mut admin)[0], before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_cannot_be_put_fails_alone() {
    let Some(server) = server() else { return };
    let (store, mut admin) = (open(&url(&server)).await, admin(&server));
    redis::cmd("SET").arg("aft/version/i/key 1").arg("no index").query::<()>(&mut admin).unwrap();
    let committed = store.commit(writes(1, 3)).await;
    assert_eq!(committed.created, Some(Ok(Created::Created)));
    assert_eq!((&committed.puts[0], &committed.puts[2]), (&Ok(()), &Ok(())));
    let error = committed.puts[1].as_ref().expect_err("text is no index");
    assert!(
        matches!(error, Error::Damaged(text) if text.contains("version/key 1/commit 1") && text.contains("WRONGTYPE")),
        "{error:?}"
    );
    assert_eq!(store.get(&entry(1, 1)).await, Ok(None));
    assert!(store.get(&entry(1, 2)).await.unwrap().is_some());
    // If the record cannot be created, no entry is written.
    tell::<()>(&mut admin, "DEL aft/commit/g");
    tell::<()>(&mut admin, "SET aft/commit/g text");
    let committed = store.commit(writes(2, 3)).await;
    for outcome in [committed.created.unwrap().map(|_| ()), committed.puts[0].clone()] {
        assert!(matches!(outcome, Err(Error::Damaged(_))), "{outcome:?}");
    }
    assert_eq!(at_key(&*store, 0).await, ["commit 1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_commits_only_the_winner_has_entries() {
    let Some(server) = server() else { return };
    let store = open(&url(&server)).await;
    for round in 0..20 {
        let racing = (0..16).map(|commit| {
            let (store, mut writes) = (store.clone(), writes(round * 100 + commit, 5));
            writes.create.as_mut().expect("there is one").0 = record(round);
            tokio::spawn(async move { store.commit(writes).await.created })
        });
        let mut winners = Vec::new();
        for (commit, ended) in racing.enumerate().collect::<Vec<_>>() {
            match ended.await.unwrap() {
                Some(Ok(Created::Created)) => winners.push(round * 100 + commit),
                other => assert_eq!(other, Some(Ok(Created::Exists))),
            }
        }
        let [winner] = winners[..] else { panic!("round {round}: {winners:?} won") };
        for number in 0..5 {
            let expect = Bytes::from(format!("commit {winner}"));
            let found = at_key(&*store, number).await;
            let of_round = |item: &&Bytes| {
                let number: usize = std::str::from_utf8(&item[7..]).unwrap().parse().unwrap();
                number / 100 == round
            };
            assert_eq!(found.iter().filter(of_round).collect::<Vec<_>>(), [&expect], "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_takes_effect_after_its_deadline() {
    let Some(mut server) = server() else { return };
    let store = open(&url(&server)).await;
    succeeded(&store.commit(writes(1, 3)).await, Created::Created);
    let bounded = |time: Duration| store.until(Instant::now() + time).expect("it can");

    // A server that continues in time executes the calls that wait in its socket. Without this, the
    // rest of the test would show nothing.
    server.pause();
    let in_time = bounded(Duration::from_secs(5));
    let given_up = tokio::time::timeout(Duration::from_millis(300), in_time.commit(writes(2, 3))).await;
    assert!(given_up.is_err(), "nobody answers");
    server.resume();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        store.get(&record(2)).await.unwrap().is_some(),
        "the server executed the call, whose deadline was not over"
    );

    // A server that continues later does not execute them, although the store's own timeouts would
    // allow it.
    server.pause();
    let late = bounded(Duration::from_millis(500));
    let there = [record(1)];
    let (committed, deleted, put) = tokio::join!(
        late.commit(writes(3, 3)),
        late.delete(&there),
        // A large body goes over the other connection.
        late.commit(Writes { create: None, puts: vec![(entry(4, 0), vec![0; 100_000].into())] }),
    );
    assert!(no_answer(&committed.created.unwrap().expect_err("nobody answers")));
    assert!(no_answer(&deleted.expect_err("nobody answers")));
    // No connection was made for it.
    assert!(no_answer(put.puts[0].as_ref().expect_err("nobody answers")));
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.resume();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.get(&record(3)).await, Ok(None), "created after its deadline");
    assert!(store.get(&record(1)).await.unwrap().is_some(), "deleted after its deadline");
    assert_eq!(at_key(&*store, 0).await, ["commit 1", "commit 2"]);
    succeeded(&store.commit(writes(3, 3)).await, Created::Created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_carry_the_time() {
    let Some(server) = server() else { return };
    let store = open(&url(&server)).await;
    let wall_ms =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    // The times from the opening.
    assert!(!store.times_heard().is_empty());
    assert!(store.times_heard().is_empty());
    let (sent, before) = (Instant::now(), wall_ms());
    succeeded(&store.commit(writes(1, 2)).await, Created::Created);
    store.put(&record(2), Bytes::new()).await.unwrap();
    store.scan(Space::Version, b"", None, 10).await.unwrap();
    store.get(&record(2)).await.unwrap();
    store.list(Space::Version, b"key", None, 10).await.unwrap();
    let (received, after) = (Instant::now(), wall_ms());
    let times = store.times_heard();
    assert_eq!(times.len(), 5);
    for time in &times {
        assert!(sent <= time.sent && time.sent <= time.received && time.received <= received, "{time:?}");
        // The server runs on this machine.
        assert!(
            before <= time.at_ms && time.at_ms <= after && time.span_ms == 1,
            "{before} {time:?} {after}"
        );
    }
    assert!(times.is_sorted_by_key(|time| time.at_ms));
    for _ in 0..TIMES_KEPT_MAX + 10 {
        store.put(&record(2), Bytes::new()).await.unwrap();
    }
    let times = store.times_heard();
    assert!(times.len() == TIMES_KEPT_MAX && times.is_sorted_by_key(|time| time.sent));
}
