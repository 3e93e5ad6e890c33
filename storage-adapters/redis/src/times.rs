//! The server's times from its answers, kept until they are taken.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use aft_store::{TIMES_KEPT_MAX, TimeHeard};

/// The resolution of a time: `TIME` has microseconds, which are truncated to milliseconds.
const SPAN_MS: u64 = 1;

/// The last times heard, at most [`TIMES_KEPT_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Times {
    kept: Mutex<VecDeque<TimeHeard>>,
}

impl Times {
    /// Keeps the time `at_us`, in microseconds since the epoch, and drops the oldest if there are
    /// too many.
    pub(crate) fn hear(&self, sent: Instant, received: Instant, at_us: i64) {
        assert!(sent <= received, "an answer comes after its request");
        let at_ms = u64::try_from(at_us).expect("a time before 1970 is rejected where it is read") / 1_000;
        let mut kept = self.kept.lock().expect("no holder panics");
        if kept.len() == TIMES_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(TimeHeard { sent, received, at_ms, span_ms: SPAN_MS });
        assert!(kept.len() <= TIMES_KEPT_MAX, "too many times kept");
    }

    /// Takes the times heard since the last call, oldest first.
    pub(crate) fn take(&self) -> Vec<TimeHeard> {
        std::mem::take(&mut *self.kept.lock().expect("no holder panics")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_time_is_dropped() {
        let (times, now) = (Times::default(), Instant::now());
        for second in 0..TIMES_KEPT_MAX as i64 + 3 {
            times.hear(now, now, second * 1_000_000 + 999);
        }
        let taken = times.take();
        assert_eq!(taken.len(), TIMES_KEPT_MAX);
        assert_eq!((taken[0].at_ms, taken[0].span_ms), (3_000, 1));
        assert!(taken.is_sorted_by_key(|time| time.at_ms));
        assert!(times.take().is_empty());
    }
}
