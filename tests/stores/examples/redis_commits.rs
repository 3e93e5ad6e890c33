//! Measures a commit on Redis in one call and the same commit in separate calls, and reads and
//! writes of one name.
//!
//! ```sh
//! cargo run --release -p aft-store-tests --example redis_commits -- \
//!     redis://127.0.0.1:6379/bench [WHAT]
//! ```
//!
//! `WHAT` selects the measurements whose names contain it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aft_store::{Created, Name, Space, Store, Writes};
use aft_store_redis::{Options, RedisStore};
use bytes::Bytes;

const TIME: Duration = Duration::from_secs(3);
const BODY_BYTES: usize = 1_024;

fn writes(commit: usize, entries: usize) -> Writes {
    let entry = |number: usize| {
        (
            Name::new(
                Space::Version,
                format!("key {}", (commit * 7 + number) % 10_000),
                format!("{commit:020}"),
            ),
            Bytes::new(),
        )
    };
    let record = Name::new(Space::Commit, format!("{commit:032}"), "");
    Writes { create: Some((record, vec![7; BODY_BYTES].into())), puts: (0..entries).map(entry).collect() }
}

/// Runs calls for [`TIME`], `at_once` of them in flight, and prints their rate and latencies.
async fn measure<F: Future<Output = ()> + Send>(
    what: &str,
    at_once: usize,
    call: impl Fn() -> F + Send + Sync + 'static,
) {
    if std::env::args().nth(2).is_some_and(|chosen| !what.contains(&chosen)) {
        return;
    }
    let (call, end) = (Arc::new(call), Instant::now() + TIME);
    let runners: Vec<_> = (0..at_once)
        .map(|_| {
            let call = call.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    call().await;
                    took.push(start.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for runner in runners {
        took.extend(runner.await.expect("a call failed"));
    }
    took.sort();
    let (rate, at) = (took.len() as f64 / TIME.as_secs_f64(), |part: usize| took[took.len() * part / 100]);
    println!("{what:44} {at_once:3} at once: {rate:8.0}/s, median {:?}, p99 {:?}", at(50), at(99));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let url = std::env::args().nth(1).expect("the URL of a store to write to");
    let opened = RedisStore::open(&url, &Options::default()).await;
    let store = Arc::new(opened.unwrap_or_else(|why| panic!("{why}")));
    // Numbers that no earlier run has used.
    let started = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as usize;
    let next = Arc::new(AtomicUsize::new(started * 1_000_000));
    for at_once in [1, 32] {
        for entries in [2, 10] {
            // The same writes, first as one script, then as separate concurrent calls.
            let one = {
                let (store, next) = (store.clone(), next.clone());
                move || {
                    let (store, writes) =
                        (store.clone(), writes(next.fetch_add(1, Ordering::Relaxed), entries));
                    async move {
                        let committed = store.commit(writes).await;
                        assert_eq!(committed.created, Some(Ok(Created::Created)));
                        assert!(committed.puts.iter().all(Result::is_ok));
                    }
                }
            };
            measure(&format!("record and {entries} entries, one call"), at_once, one).await;
            let separate = {
                let (store, next) = (store.clone(), next.clone());
                move || {
                    let (store, writes) =
                        (store.clone(), writes(next.fetch_add(1, Ordering::Relaxed), entries));
                    async move {
                        let (name, body) = writes.create.expect("there is a record");
                        let puts = writes.puts.iter().map(|(name, body)| store.put(name, body.clone()));
                        let (created, puts) =
                            futures::future::join(store.create(&name, body), futures::future::join_all(puts))
                                .await;
                        assert!(created == Ok(Created::Created) && puts.iter().all(Result::is_ok));
                    }
                }
            };
            measure(&format!("record and {entries} entries, separate calls at once"), at_once, separate)
                .await;
        }
        let name = writes(0, 0).create.expect("there is a record").0;
        store.put(&name, vec![7; BODY_BYTES].into()).await.expect("the server runs");
        let get = {
            let (store, name) = (store.clone(), name.clone());
            move || {
                let (store, name) = (store.clone(), name.clone());
                async move { assert!(store.get(&name).await.is_ok_and(|found| found.is_some())) }
            }
        };
        measure("get", at_once, get).await;
        let put = {
            let (store, name) = (store.clone(), name.clone());
            move || {
                let (store, name) = (store.clone(), name.clone());
                async move { assert!(store.put(&name, vec![7; BODY_BYTES].into()).await.is_ok()) }
            }
        };
        measure("put", at_once, put).await;
    }
}
