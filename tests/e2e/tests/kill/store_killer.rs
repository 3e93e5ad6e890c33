//! Kills the store and starts it again, or stops it and lets it go on, at instants drawn from the seed; then demands that the server goes on by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_e2e::remote::Remote;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::book::Book;

/// How often the store is killed, and how often it hangs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blows {
    pub(crate) kills: u32,
    pub(crate) hangs: u32,
}

/// How long it serves in between: long enough for some hundred requests.
const LIFE_MS: std::ops::Range<u64> = 100..1_000;
/// How long it is away.
const GONE_MS: std::ops::Range<u64> = 0..800;
/// Requests that must be acknowledged once it is back, and within which time: far above what they take.
const AFTERWARDS: u64 = 50;
const BACK_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn run(rng: &mut StdRng, mut remote: Remote, blows: Blows, book: Arc<Book>) -> Remote {
    let mut left = [blows.kills, blows.hangs];
    while left.iter().sum::<u32>() > 0 {
        pause(rng, LIFE_MS).await;
        let kills = rng.random_range(0..left[0] + left[1]) < left[0];
        left[usize::from(!kills)] -= 1;
        if kills {
            remote.service.kill();
            pause(rng, GONE_MS).await;
            remote = tokio::task::spawn_blocking(move || {
                remote.service.restart().expect("the store starts again");
                remote
            })
            .await
            .expect("the store starts again");
        } else {
            remote.service.pause();
            pause(rng, GONE_MS).await;
            remote.service.resume();
        }
    }
    let (since, before) = (Instant::now(), book.requests());
    while book.requests() < before + AFTERWARDS {
        let done = book.requests() - before;
        assert!(
            since.elapsed() < BACK_TIME_MAX,
            "{done} requests since the store is back: the server does not go on"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("back at work {} ms after the store", since.elapsed().as_millis());
    remote
}

async fn pause(rng: &mut StdRng, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(ms))).await;
}
