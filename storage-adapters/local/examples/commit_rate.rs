//! Measures the rate and the latency of commits at several numbers of concurrent callers, then the
//! rate at which their entries are scanned. A commit is a small transaction of two keys: a record
//! and two entries, either in one call, or as a create and two puts in parallel.
//!
//! `cargo run --release -p aft-store-local --example commit_rate [directory] [seconds a row]
//! [record bytes]`; with `INLINE_VALUES=1` all values are kept in tables.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_store::{Error, Name, Position, Space, Store, Writes};
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
    println!(
        "{:>8} {:>8} {:>10} {:>8} {:>8} {:>8} {:>14}",
        "callers", "way", "commits/s", "p50 ms", "p99 ms", "max ms", "commits/batch"
    );
    for callers in CALLERS {
        for way in [Way::Pieces, Way::Call] {
            // The batches of the run show how many commits share one sync.
            let before = batches(&dir)?;
            let time = Duration::from_secs(seconds);
            let mut latencies = runtime.block_on(commit_for(&store, way, callers, time, record_bytes));
            latencies.sort();
            let ms =
                |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
            let rate = latencies.len() as f64 / seconds as f64;
            let shared = latencies.len() as f64 / (batches(&dir)? - before) as f64;
            println!(
                "{callers:>8} {:>8} {rate:>10.0} {:>8.2} {:>8.2} {:>8.2} {shared:>14.2}",
                format!("{way:?}"),
                ms(0.5),
                ms(0.99),
                ms(1.0)
            );
        }
    }
    runtime.block_on(scan_all(&store))?;
    Ok(())
}

/// The way in which a commit is written.
#[derive(Debug, Clone, Copy)]
enum Way {
    Pieces,
    Call,
}

/// Returns the number of the newest acknowledged batch. Each batch is synced once.
fn batches(dir: &Path) -> std::io::Result<u64> {
    let acked = std::fs::read(dir.join("ACKED"))?;
    Ok(u64::from_le_bytes(*acked.first_chunk().expect("an open store has one")))
}

/// Scans the entries in pages of several lengths, then lists as many of them group by group.
async fn scan_all(store: &LocalStore) -> Result<(), Error> {
    println!("{:>8} {:>12} {:>12} {:>12}", "page", "names", "names/s", "us a page");
    for limit in [32, 512] {
        let (mut names, mut pages, mut after, start) = (0, 0, None, Instant::now());
        loop {
            let page = store.scan(Space::Version, b"", after.as_ref(), limit).await?;
            (names, pages) = (names + page.names.len(), pages + 1);
            let last = page.names.into_iter().next_back();
            after = last.map(|last| Position { group: last.group, item: Some(last.item) });
            if !page.more {
                break;
            }
        }
        let took = start.elapsed().as_secs_f64();
        println!("{limit:>8} {names:>12} {:>12.0} {:>12.0}", names as f64 / took, took * 1e6 / pages as f64);
    }
    let start = Instant::now();
    let groups = store.groups(Space::Version, b"", None, 512).await?.groups;
    let mut names = 0;
    for group in &groups {
        names += store.list(Space::Version, group, None, 512).await?.items.len();
    }
    let took = start.elapsed().as_secs_f64();
    println!("{:>8} {names:>12} {:>12.0} {:>12.0}", "groups", names as f64 / took, took * 1e6);
    Ok(())
}

/// Returns `len` bytes that do not compress.
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

/// Returns the latencies of all commits that `callers` callers make within this time.
async fn commit_for(
    store: &LocalStore,
    way: Way,
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
                    let entry = |key: u64| {
                        Name::new(Space::Version, format!("key {:08x}", key >> 44), format!("{id:016x}"))
                    };
                    let (one, two) = (entry(spread), entry(spread << 20));
                    let body = noise(spread, record_bytes);
                    let start = Instant::now();
                    let done = match way {
                        Way::Pieces => {
                            let created = store.create(&record, body);
                            let (one, two) = (store.put(&one, Bytes::new()), store.put(&two, Bytes::new()));
                            let (created, one, two) = tokio::join!(created, one, two);
                            created.and(one).and(two)
                        }
                        Way::Call => {
                            let puts = vec![(one, Bytes::new()), (two, Bytes::new())];
                            let committed = store.commit(Writes { create: Some((record, body)), puts }).await;
                            committed.created.expect("there is a record").map(|_| ())
                        }
                    };
                    match done {
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
