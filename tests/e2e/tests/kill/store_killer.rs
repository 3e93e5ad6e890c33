//! Kills and restarts the store, or stops and continues it, at instants drawn from the seed; then
//! checks that the server continues by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_e2e::real_store::RealStore;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::book::Book;

/// The numbers of kills and of hangs of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blows {
    pub(crate) kills: u32,
    pub(crate) hangs: u32,
}

/// The time for which it serves in between: long enough for some hundred requests.
const LIFE_MS: std::ops::Range<u64> = 100..1_000;
/// The time for which it is away.
const GONE_MS: std::ops::Range<u64> = 0..800;
/// The number of requests that must be acknowledged once it is back.
const AFTERWARDS: u64 = 50;
/// The longest time without a further one of them: far above what a request takes.
const STILL_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn run(rng: &mut StdRng, mut store: RealStore, blows: Blows, book: Arc<Book>) -> RealStore {
    let mut left = [blows.kills, blows.hangs];
    while left.iter().sum::<u32>() > 0 {
        pause(rng, LIFE_MS).await;
        // Kills and hangs are mixed in proportion to those that are left.
        let kills = rng.random_range(0..left[0] + left[1]) < left[0];
        left[usize::from(!kills)] -= 1;
        if kills {
            store.service.kill();
            pause(rng, GONE_MS).await;
            store = tokio::task::spawn_blocking(move || {
                store.service.restart().expect("the store starts again");
                store
            })
            .await
            .expect("the store starts again");
        } else {
            store.service.pause();
            pause(rng, GONE_MS).await;
            store.service.resume();
        }
    }
    // The store is back for good: the clients must get on without a restart of the server.
    let (since, before) = (Instant::now(), book.requests());
    let (mut done, mut moved) = (0, Instant::now());
    while done < AFTERWARDS {
        let now = book.requests() - before;
        if now > done {
            (done, moved) = (now, Instant::now());
        }
        assert!(
            moved.elapsed() < STILL_MAX,
            "only {done} requests were acknowledged since the store is back: the server does not continue"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("the server is back at work {} ms after the store", since.elapsed().as_millis());
    store
}

async fn pause(rng: &mut StdRng, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(ms))).await;
}
