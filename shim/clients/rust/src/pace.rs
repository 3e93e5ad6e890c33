//! The pauses between tries: exponential back-off with jitter, within a total time.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::error::Error;
use crate::settings::TIME_MAX;

/// The first pause: a few round trips to a store.
const FIRST_MS: u64 = 10;
/// The longest pause that the client chooses: short enough that a person who waits does not notice
/// a stall.
const LONGEST_MS: u64 = 1_000;
/// The longest pause that a server may ask for: above the values that servers send, far below a
/// run's time.
const ASKED_MS_MAX: u64 = 5_000;

/// The pauses of one run.
#[derive(Debug)]
pub(crate) struct Pace {
    nth: u32,
    until: Instant,
    /// False if there is one try only.
    repeats: bool,
}

impl Pace {
    pub(crate) fn new(time_max: Duration) -> Pace {
        Pace { nth: 0, until: Instant::now() + time_max.min(TIME_MAX), repeats: true }
    }

    /// Sets whether there are further tries.
    pub(crate) fn repeats(self, repeats: bool) -> Pace {
        Pace { repeats, ..self }
    }

    /// Returns the time that is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Returns the time at which the pace ends.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Pauses after a failure, if another try may succeed and there is time for one.
    ///
    /// # Errors
    /// Returns the failure otherwise, with the number of tries.
    pub(crate) async fn again(&mut self, failure: Error) -> Result<(), Error> {
        if failure.is_retryable() {
            return if self.pause(&failure).await { Ok(()) } else { Err(self.last(failure)) };
        }
        Err(failure.after_tries(self.nth + 1))
    }

    /// Returns the failure after which [`Pace::pause`] has returned false, with the number of
    /// tries.
    pub(crate) fn last(&self, failure: Error) -> Error {
        failure.after_tries(self.nth)
    }

    /// Pauses after a failure. Returns false at once, without a pause, if the time would be over
    /// after it.
    pub(crate) async fn pause(&mut self, after: &Error) -> bool {
        let range = range(self.nth, matches!(after, Error::InProgress(_)), after.retry_after_ms());
        self.nth += 1;
        let pause = Duration::from_millis(rand::rng().random_range(range));
        if !self.repeats || pause >= self.remaining() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// Returns the shortest and the longest pause in milliseconds after `nth` earlier failures. `asked`
/// is the pause that the server asked for, in milliseconds.
fn range(nth: u32, in_progress: bool, asked: Option<u64>) -> RangeInclusive<u64> {
    let own = FIRST_MS.saturating_mul(1 << nth.min(20)).min(LONGEST_MS);
    match asked {
        None => own / 2..=own,
        // The server named the latest end of the other attempt, which is likely to end earlier.
        Some(asked) if in_progress => own.min(asked) / 2..=own.min(asked),
        // An earlier try is useless. The random part spreads the clients that got the same answer.
        Some(asked) => {
            let least = asked.min(ASKED_MS_MAX);
            least.max(own / 2)..=least + own
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, TIME_MAX, range};

    #[test]
    fn a_time_without_end_is_a_long_one() {
        let left = Pace::new(Duration::MAX).remaining();
        assert!(left <= TIME_MAX && left > TIME_MAX / 2, "{left:?}");
    }

    #[test]
    fn all_clients_pause_alike() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors.json")).unwrap();
        let pauses = vectors["pauses"].as_array().unwrap();
        assert!(pauses.len() > 8);
        for vector in pauses {
            let number = |name: &str| vector[name].as_u64();
            let in_progress = vector["code"] == "in_progress";
            let found = range(number("failures").unwrap() as u32, in_progress, number("retry_after_ms"));
            let expect = number("least_ms").unwrap()..=number("most_ms").unwrap();
            assert_eq!(found, expect, "{vector}");
        }
    }
}
