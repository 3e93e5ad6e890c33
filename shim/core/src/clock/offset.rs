//! Bounds of store time minus monotonic time, and how they widen.

use super::reading::{At, StoreTime};

/// Clocks drift apart by at most this, in parts per million: four times what quartz does.
const DRIFT_PPM: u64 = 200;

/// One bound of store time minus monotonic time, as of the monotonic instant from which it drifts.
/// It is signed, because a monotonic clock may be ahead of the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Edge {
    ms: i64,
    as_of_mono: u64,
}

impl Edge {
    /// Returns the drift since then, rounded up.
    fn drift_ms(self, mono_ms: u64) -> i64 {
        let elapsed = mono_ms.checked_sub(self.as_of_mono).expect("a bound is as of an earlier step");
        let drift = (elapsed * DRIFT_PPM).div_ceil(1_000_000) as i64;
        assert!(drift >= 0, "bounds widen with time, and never narrow");
        drift
    }
}

/// The upper bound. A pause that the monotonic clock did not count moves the store's time ahead of
/// it, so the bound widens by the slip since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct UpperEdge {
    edge: Edge,
    slip_ms: u64,
}

/// The bounds of store time minus monotonic time. Each keeps the instant from which it drifts: if
/// every answer restamped both, the rounding of the drift would add up to a millisecond per answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Offset {
    low: Edge,
    high: UpperEdge,
}

impl Offset {
    /// Returns the bounds that follow from an answer that is heard at `now`. `slip_ms` is the slip
    /// when the call was sent, or earlier.
    pub(super) fn of(heard: StoreTime, slip_ms: u64, now: At) -> Offset {
        assert!(slip_ms <= now.slip_ms, "a call is answered after it was sent");
        let at = |ms: u64| i64::try_from(ms).expect("times fit into 63 bits");
        // The driver may have read the clock for the answer after it read those of the step, and
        // rounds it up. To let the bound drift from the step on is the safe choice.
        let edge = |ms: i64, as_of_mono: u64| Edge { ms, as_of_mono: as_of_mono.min(now.mono_ms) };
        // The store read its clock while the request was in flight. If it did so at the end,
        // nothing has drifted since; if it did so earlier, the lower bound has more room than drift
        // can use up.
        let low = edge(at(heard.at_ms) - at(heard.received_mono_ms), heard.received_mono_ms);
        // If it did so at the beginning, the upper bound has no such room: it drifts from there,
        // and a pause since then counts.
        let high = edge(at(heard.at_ms) + at(heard.span_ms) - at(heard.sent_mono_ms), heard.sent_mono_ms);
        assert!(low.ms < high.ms, "an answer bounds the offset from both sides");
        Offset { low, high: UpperEdge { edge: high, slip_ms } }
    }

    /// Returns the lower bound at an instant.
    pub(super) fn low_at(self, now: At) -> i64 {
        self.low.ms - self.low.drift_ms(now.mono_ms)
    }

    /// Returns the upper bound at an instant.
    pub(super) fn high_at(self, now: At) -> i64 {
        let UpperEdge { edge, slip_ms } = self.high;
        let slipped_ms = i64::try_from(now.slip_ms - slip_ms).expect("times fit into 63 bits");
        edge.ms + edge.drift_ms(now.mono_ms) + slipped_ms
    }

    /// Returns the bounds that hold if both hold at an instant, or `None` if they contradict each
    /// other. Of equal bounds it keeps the older, which is as wide only because its drift was
    /// rounded up.
    pub(super) fn intersection(self, newer: Offset, now: At) -> Option<Offset> {
        let low = if self.low_at(now) >= newer.low_at(now) { self.low } else { newer.low };
        let high = if self.high_at(now) <= newer.high_at(now) { self.high } else { newer.high };
        let both = Offset { low, high };
        (both.low_at(now) <= both.high_at(now)).then_some(both)
    }

    /// Returns bounds that hold, now and later, if one of the two holds at an instant.
    pub(super) fn hull(self, other: Offset, now: At) -> Offset {
        let (low, other_low) = (self.low_at(now), other.low_at(now));
        let (high, other_high) = (self.high_at(now), other.high_at(now));
        assert!(low.min(other_low) <= high.max(other_high), "a hull is not empty");
        // An edge that is further out by a millisecond stays so, however drift is rounded.
        let stamped = |ms: i64| Edge { ms, as_of_mono: now.mono_ms };
        let low = if low < other_low { self.low } else { stamped(other_low) };
        let stamped_high = UpperEdge { edge: stamped(other_high), slip_ms: now.slip_ms };
        let high = if high > other_high { self.high } else { stamped_high };
        Offset { low, high }
    }
}
