//! Clocks and random names: the two things besides I/O that the core takes as arguments.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aft_core::clock::{Now, StoreTime};
use aft_core::ids::{AttemptId, NodeId};
use aft_core::message::Begin;
use aft_format::own_hash;
use aft_store::TimeHeard;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// Reads a clock of the operating system.
fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the wall clock's milliseconds since the epoch.
pub(crate) fn wall_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set to a time after 1970");
    wall.as_millis() as u64
}

/// The most tries to read all clocks at one instant.
const TRIES_MAX: u32 = 3;

/// Reads every clock for one step: at one instant if possible, since the core takes time that one
/// clock has counted and another has not for a pause of the process.
pub(crate) fn now() -> Now {
    let mut tries = 0;
    loop {
        let mono = read(ClockId::Monotonic);
        let boot = read(ClockId::Boottime);
        let wall_ms = wall_ms();
        tries += 1;
        // The thread may have been suspended between the reads: then they are repeated.
        let span = read(ClockId::Monotonic).saturating_sub(mono);
        if span < Duration::from_millis(1) || tries == TRIES_MAX {
            return Now { mono_ms: mono.as_millis() as u64, boot_ms: boot.as_millis() as u64, wall_ms };
        }
    }
}

/// A translation of the standard library's instants, which stores use, to the milliseconds of the
/// monotonic clock, which the core uses. Both are the same clock; only their zeros differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instants {
    instant: Instant,
    /// The monotonic clock at `instant`, at the earliest and at the latest.
    mono: (Duration, Duration),
}

impl Instants {
    pub(crate) fn new() -> Instants {
        let before = read(ClockId::Monotonic);
        let instant = Instant::now();
        Instants { instant, mono: (before, read(ClockId::Monotonic)) }
    }

    /// Returns the store's time in the core's terms, rounded outward: the request was sent no
    /// earlier, and its answer came no later, than the result says.
    pub(crate) fn store_time(&self, heard: &TimeHeard) -> StoreTime {
        let (earliest, latest) = self.mono;
        let at = |zero: Duration, instant: Instant| match instant.checked_duration_since(self.instant) {
            Some(since) => zero + since,
            None => zero.saturating_sub(self.instant - instant),
        };
        let sent_mono_ms = at(earliest, heard.sent).as_millis() as u64;
        let received_mono_ms = at(latest, heard.received).as_nanos().div_ceil(1_000_000) as u64;
        assert!(sent_mono_ms <= received_mono_ms, "an answer comes after its request");
        StoreTime { sent_mono_ms, received_mono_ms, at_ms: heard.at_ms, span_ms: heard.span_ms }
    }
}

/// The deadline of an open transaction, by every clock. Calls for the transaction are sent only
/// before the first clock has reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    from: Now,
    ms: u64,
}

impl Deadline {
    /// Makes the deadline of a transaction that had `remaining_ms` left at `from`.
    pub(crate) fn new(from: Now, remaining_ms: u64) -> Deadline {
        Deadline { from, ms: remaining_ms }
    }

    /// Returns the milliseconds that are left, by the clock that went furthest.
    pub(crate) fn remaining_ms(&self, now: Now) -> u64 {
        let mono = now.mono_ms.saturating_sub(self.from.mono_ms);
        let boot = now.boot_ms.saturating_sub(self.from.boot_ms);
        let wall = now.wall_ms.saturating_sub(self.from.wall_ms);
        self.ms.saturating_sub(mono.max(boot).max(wall))
    }
}

/// Makes a name for a new attempt: a fresh UUIDv7.
pub fn fresh_attempt() -> AttemptId {
    AttemptId(Uuid::now_v7().into_bytes())
}

/// Makes the opening of a transaction whose request has no name: a fresh attempt, the defaults, no
/// batch. Replace single fields as in `Begin { batch, ..fresh_begin() }`.
pub fn fresh_begin() -> Begin {
    let attempt = fresh_attempt();
    Begin::new(attempt, own_hash(attempt))
}

/// Makes a name for one run of a node: the random half of a fresh UUIDv7.
pub(crate) fn fresh_node() -> NodeId {
    NodeId(Uuid::now_v7().as_u64_pair().1)
}

/// Makes the identity of a new store.
pub(crate) fn fresh_identity() -> [u8; 16] {
    Uuid::now_v7().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heard_time_is_rounded_outward() {
        let zero = Instants::new();
        let check = |sent_us: i64, received_us: i64| {
            let at = |us: i64| match u64::try_from(us) {
                Ok(us) => zero.instant + Duration::from_micros(us),
                Err(_) => zero.instant - Duration::from_micros(us.unsigned_abs()),
            };
            let heard = TimeHeard { sent: at(sent_us), received: at(received_us), at_ms: 5, span_ms: 1_000 };
            let time = zero.store_time(&heard);
            let us = |zero: Duration, us: i64| zero.as_micros() as i64 + us;
            let (sent, received) = (us(zero.mono.0, sent_us), us(zero.mono.1, received_us));
            let sent_by = sent - time.sent_mono_ms as i64 * 1_000;
            let received_by = time.received_mono_ms as i64 * 1_000 - received;
            assert!((0..1_001).contains(&sent_by), "{sent_by}");
            assert!((-1..1_001).contains(&received_by), "{received_by}");
            assert_eq!((time.at_ms, time.span_ms), (5, 1_000));
        };
        check(0, 0);
        check(1, 1);
        check(-1_500, 2_300);
        check(-2_000_000, -1_999_999);
        check(999, 1_001);
    }

    #[test]
    fn a_deadline_passes_by_any_clock() {
        let from = Now { mono_ms: 10, boot_ms: 20, wall_ms: 30 };
        let deadline = Deadline::new(from, 100);
        let check = |mono_ms, boot_ms, wall_ms, expect| {
            assert_eq!(deadline.remaining_ms(Now { mono_ms, boot_ms, wall_ms }), expect);
        };
        check(10, 20, 30, 100);
        check(50, 60, 70, 60);
        check(50, 119, 70, 1);
        check(50, 60, 130, 0);
        check(110, 110, 10, 0);
        check(10, 20, 0, 100);
    }
}
