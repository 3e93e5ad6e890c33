//! When to try again: exponential back-off with jitter, within a total time.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

use crate::error::Error;

/// The first pause: some store round trips.
const FIRST_MS: u64 = 10;
/// The longest pause of our own: what a person would not call broken.
const LONGEST_MS: u64 = 1_000;
/// The longest pause that a server may ask for: longer than its own figures, far below a run's time.
const ASKED_MS_MAX: u64 = 5_000;

/// The pauses of one run.
#[derive(Debug)]
pub(crate) struct Pace {
    nth: u32,
    until: Instant,
}

impl Pace {
    pub(crate) fn new(time_max: Duration) -> Pace {
        Pace { nth: 0, until: Instant::now() + time_max }
    }

    /// What is left of the time.
    pub(crate) fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Pauses after a failure; `false`, without a pause, if the time would be over after it.
    pub(crate) async fn pause(&mut self, after: &Error) -> bool {
        let own_ms = FIRST_MS.saturating_mul(1 << self.nth.min(20)).min(LONGEST_MS);
        self.nth += 1;
        let ms = match (after, after.retry_after_ms()) {
            // When the other attempt ends at the latest: it is likely to end before.
            (Error::InProgress(_), Some(asked)) => own_ms.min(asked),
            (_, Some(asked)) => own_ms.max(asked.min(ASKED_MS_MAX)),
            (_, None) => own_ms,
        };
        let pause = Duration::from_millis(rand::rng().random_range(ms / 2..=ms));
        if pause >= self.remaining() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
