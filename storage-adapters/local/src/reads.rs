//! The threads on which reads of the tree run: the caller's while reads are fast, the runtime's
//! blocking threads while they are not.
//!
//! A read that finds its blocks in memory takes a few microseconds; handing it to another thread
//! and back takes tens. A read that goes to the disk takes long enough to delay everything else on
//! an event loop. It is not known beforehand which one a read will be. So reads are timed: after a
//! slow one, all reads run on other threads for a while, and then one is tried again. So the event
//! loop loses at most one slow read per [`AWAY_MS`] to the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_store::{Error, Result};
use tokio::sync::Semaphore;

/// The time beyond which a read is slow: it went to the disk, or its thread was preempted.
const SLOW: Duration = Duration::from_micros(300);
/// The time for which reads run on other threads after a slow one, in milliseconds.
const AWAY_MS: u64 = 50;
/// The most reads on other threads at once: enough to fill a disk's queue. More would only occupy
/// threads.
const AWAY_READS_MAX: usize = 32;

/// The choice of the thread for each read.
#[derive(Debug)]
pub(crate) struct Reads {
    start: Instant,
    /// The end of the time for which reads run on other threads, in milliseconds since `start`.
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

    /// Runs a read that is usually fast: on the caller's thread, unless a read was slow just now.
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

    /// Runs a read that is never fast, on another thread.
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
