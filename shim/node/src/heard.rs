//! The store's times, as its answers carried them, and the calls that may count as their source.
//!
//! A store hands its times out without saying which answer carried which. The core must know that a
//! time is no older than a call: a commit time is taken only from an answer to a call that was made
//! since the transaction began (protocol, section 9). So a call that has landed gets the newest
//! time whose request was sent after the call was made, and not simply the newest of all: the
//! answer to an older call may have been in flight for as long as the machine was paused. A store
//! of two has calls whose answers carry no time at all, and those would take that of another call.

use std::collections::VecDeque;
use std::time::Instant;

use aft_store::{TIMES_KEPT_MAX, TimeHeard};

/// The last times heard, in the order in which the store handed them out.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    kept: VecDeque<TimeHeard>,
}

impl Heard {
    /// Adds the times that the store has just handed out, and drops the oldest beyond
    /// [`TIMES_KEPT_MAX`].
    pub(crate) fn add(&mut self, times: Vec<TimeHeard>) {
        self.kept.extend(times);
        let dropped = self.kept.len().saturating_sub(TIMES_KEPT_MAX);
        self.kept.drain(..dropped);
        assert!(self.kept.len() <= TIMES_KEPT_MAX, "{} times kept", self.kept.len());
    }

    /// Returns the newest time whose request was sent at `since` or later. It stays: the call whose
    /// answer carried it may land after another one that may use it as well.
    pub(crate) fn since(&self, since: Instant) -> Option<&TimeHeard> {
        self.kept.iter().rev().find(|heard| heard.sent >= since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_hears_no_time_of_an_earlier_request() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let time =
            |sent, received| TimeHeard { sent: at(sent), received: at(received), at_ms: sent, span_ms: 1 };
        let mut heard = Heard::default();
        heard.add(vec![time(5, 6), time(1, 9)]);
        let of = |heard: &Heard, ms| heard.since(at(ms)).map(|heard| heard.at_ms);
        assert_eq!(of(&heard, 0), Some(1), "the newest answer");
        assert_eq!(of(&heard, 2), Some(5), "the newest to a request that was sent since");
        assert_eq!(of(&heard, 2), Some(5), "for every call that may use it");
        assert_eq!(of(&heard, 6), None);
        heard.add((0..TIMES_KEPT_MAX as u64 - 1).map(|n| time(10 + n, 10 + n)).collect());
        assert_eq!(of(&heard, 6), Some(9 + TIMES_KEPT_MAX as u64 - 1));
        assert_eq!(heard.kept.front(), Some(&time(1, 9)), "the oldest was dropped");
    }
}
