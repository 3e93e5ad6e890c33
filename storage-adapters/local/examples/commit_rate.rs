//! Measures commits a second and their latency at several numbers of concurrent callers. A commit is what a small transaction
//! costs: the create of a record and the put of a small entry, in parallel.
//!
//! `cargo run --release -p aft-store-local --example commit_rate [directory] [seconds a row] [record bytes]`; with `INLINE_VALUES=1` all
//! values lie in tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_store::{Error, Name, Space, Store};
use aft_store_local::{LocalStore, Options};
use bytes::Bytes;

const CALLERS: [usize; 4] = [1, 16, 64, 128];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(|| std::env::temp_dir().join("aft-commit-rate"), Into::into);
    let seconds: u64 = arguments.next().map_or(Ok(5), |seconds| seconds.parse())?;
    let record_bytes: usize = arguments.next().map_or(Ok(8192), |bytes| bytes.parse())?;
    let mut options = Options::default();
    options.separate_values = std::env::var_os("INLINE_VALUES").is_none();
    let store = LocalStore::open(&dir, &options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{} ({record_bytes} byte records, {seconds} s a row)", store.url());
    println!("{:>8} {:>12} {:>10} {:>10} {:>10}", "callers", "commits/s", "p50 ms", "p99 ms", "max ms");
    for callers in CALLERS {
        let mut latencies =
            runtime.block_on(commit_for(&store, callers, Duration::from_secs(seconds), record_bytes));
        latencies.sort();
        let ms = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let rate = latencies.len() as f64 / seconds as f64;
        println!("{callers:>8} {rate:>12.0} {:>10.2} {:>10.2} {:>10.2}", ms(0.5), ms(0.99), ms(1.0));
    }
    Ok(())
}

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len.div_ceil(8)).flatten().collect::<Vec<u8>>().into()
}

/// The latencies of all commits that `callers` callers make within this time.
async fn commit_for(
    store: &LocalStore,
    callers: usize,
    time: Duration,
    record_bytes: usize,
) -> Vec<Duration> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let run = std::process::id();
    let (store, end) = (Arc::new(store.clone()), Instant::now() + time);
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let id = NEXT.fetch_add(1, Ordering::Relaxed);
                    // Spread over the key space, as hashes of request IDs are.
                    let spread = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    let record = Name::new(Space::Commit, format!("{spread:016x}{run:08x}"), "");
                    let intent = Name::new(Space::Intent, format!("minute {run}"), format!("{id:016x}"));
                    let body = noise(spread, record_bytes);
                    let start = Instant::now();
                    let (created, put) =
                        tokio::join!(store.create(&record, body), store.put(&intent, Bytes::from("attempt")));
                    match created.and(put) {
                        Ok(()) => latencies.push(start.elapsed()),
                        Err(Error::Busy(_)) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("callers do not panic"));
    }
    all
}
