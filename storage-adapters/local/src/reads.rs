//! Where a read of the tree runs: on the caller's thread while reads are fast, on the runtime's blocking threads while they are not.
//!
//! A read that finds its blocks in memory takes a few microseconds; handing it to another thread and back takes tens. A read that goes to
//! the disk takes long enough to hold up everything else on an event loop. Which it will be is not known before. So reads are timed: after a slow
//! one, all go to other threads for a while, and then one is tried again. That bounds what the event loop loses to the disk to one
//! slow read per [`AWAY_MS`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_store::{Error, Result};
use tokio::sync::Semaphore;

/// A read that took longer went to the disk, or its thread was held up.
const SLOW: Duration = Duration::from_micros(300);
/// How long reads stay away from the caller's thread after a slow one.
const AWAY_MS: u64 = 50;
/// The most reads on other threads at once: enough to keep a disk's queue filled. More would only hold threads.
const AWAY_READS_MAX: usize = 32;

/// Decides where reads run.
#[derive(Debug)]
pub(crate) struct Reads {
    start: Instant,
    /// Until when reads run on other threads, in milliseconds since `start`.
    away_until_ms: AtomicU64,
    away: Semaphore,
}

impl Reads {
    pub(crate) fn new() -> Reads {
        Reads {
            start: Instant::now(),
            away_until_ms: AtomicU64::new(0),
            away: Semaphore::new(AWAY_READS_MAX),
        }
    }

    /// Runs a read that is usually fast.
    pub(crate) async fn run<T, F>(self: &Arc<Self>, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let started = Instant::now();
        let now_ms = self.start.elapsed().as_millis() as u64;
        if now_ms < self.away_until_ms.load(Ordering::Relaxed) {
            return self.run_away(read).await;
        }
        let result = read();
        if started.elapsed() > SLOW {
            self.away_until_ms.fetch_max(now_ms + AWAY_MS, Ordering::Relaxed);
        }
        result
    }

    /// Runs a read that is never fast.
    pub(crate) async fn run_away<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let _permit = self.away.acquire().await.expect("never closed");
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::NoAnswer("the runtime is shutting down".to_owned())),
        }
    }
}
