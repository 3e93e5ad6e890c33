//! The server's clock, as its answers showed it on one connection.
//!
//! A write carries the latest time, by the server's clock, at which its script may begin
//! (`scripts`): its *moment*. The moment must not be later than the caller's deadline, so it is the
//! *earliest* time that the server's clock can show at the deadline:
//!
//! ```text
//!   sent ── server reads its clock: `at` ── received ── now ── deadline
//!                                           clock ≥ at         clock ≥ at + (deadline − received)
//! ```
//!
//! If the answer was in flight for long, the bound is low, and the write expires too early, but
//! never too late. Of several answers, the highest bound counts, reduced by the drift that the two
//! clocks may have. This machine's wall clock is not used.
//!
//! A time is dropped, so that the next write queries `TIME` first, if it was heard
//! * on another connection: the address may lead to another server by now, with another clock;
//! * on any connection, once one of them shows an earlier time than is possible: the clock was set
//!   back;
//! * before this machine was suspended (the clock that counts suspension moved further than the one
//!   that does not). A process or machine that was paused in any other way needs no care: at worst
//!   its clock is behind the server's, and moments are too early;
//! * more than [`AGE_MAX`] ago.
//!
//! *One case remains*: a server whose clock is set back between the answer and the script carries
//! out the script later by the same amount. The next answer shows that the clock was set back, if
//! by more than a round trip.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The largest drift of the server's clock against this machine's, in parts per thousand. NTP slews
/// by at most half of that.
const DRIFT_PER_MILLE: i64 = 1;
/// The time after which a heard time is dropped. It is longer than the pause between looks on a
/// connection in use.
pub(crate) const AGE_MAX: Duration = Duration::from_secs(120);
/// The shortest difference that counts as a suspension. The two clocks are read one after the
/// other, so that they differ a little without any.
const SUSPENSION_MIN: Duration = Duration::from_millis(100);

/// This machine's two clocks, read at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    /// The clock that does not count suspension.
    pub(crate) now: Instant,
    /// The time for which this machine was suspended since it started.
    pub(crate) suspended: Duration,
}

impl Here {
    /// Reads both clocks.
    pub(crate) fn read() -> Here {
        let now = Instant::now();
        let monotonic = duration(clock_gettime(ClockId::Monotonic));
        let with_suspension = duration(clock_gettime(ClockId::Boottime));
        Here { now, suspended: with_suspension.saturating_sub(monotonic) }
    }
}

impl Here {
    /// Returns true if this machine was suspended between `then` and `self`.
    pub(crate) fn was_suspended_since(self, then: Here) -> bool {
        self.suspended >= then.suspended + SUSPENSION_MIN
    }
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).expect("these clocks begin at 0");
    let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanos)
}

/// An answer that bounds the server's clock from below.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// The time that the server's clock showed, in microseconds since the epoch.
    at_us: i64,
    /// The time at which the answer was received.
    received: Here,
}

impl Heard {
    /// Returns the earliest time that the server's clock can show at `when`, unless it is set.
    /// `when` must not be before the answer was received.
    fn earliest_at(&self, when: Instant) -> i64 {
        let ahead =
            i64::try_from((when - self.received.now).as_micros()).expect("no deadline is that far ahead");
        self.at_us + ahead - ahead * DRIFT_PER_MILLE / 1_000
    }
}

/// The clock of the server at the other end of one connection.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    heard: Option<Heard>,
}

impl Clock {
    /// Records that the server's clock showed `at_us` at some time between `sent` and `received`.
    /// Returns true if that is earlier than is possible: then the clock was set back.
    pub(crate) fn hear(&mut self, sent: Instant, received: Here, at_us: i64) -> bool {
        assert!(sent <= received.now, "an answer comes after its request");
        let new = Heard { at_us, received };
        let Some(old) = self.heard.filter(|old| old.holds(received)) else {
            self.heard = Some(new);
            return false;
        };
        // The server read its clock after `sent`, so it cannot show less than the bound at `sent`.
        let set_back = sent >= old.received.now && at_us < old.earliest_at(sent);
        // Answers may be processed out of order: then the later one is kept.
        let higher = received.now >= old.received.now
            && new.earliest_at(received.now) >= old.earliest_at(received.now);
        if set_back || higher {
            self.heard = Some(new);
        }
        set_back
    }

    /// Drops the time heard.
    pub(crate) fn forget(&mut self) {
        self.heard = None;
    }

    /// Returns the latest time by the server's clock, in microseconds, at which `deadline` has
    /// surely not passed; `None` if no valid time was heard.
    pub(crate) fn moment(&self, deadline: Instant, here: Here) -> Option<i64> {
        assert!(deadline >= here.now, "a write past its deadline is not sent");
        let heard = self.heard.filter(|heard| heard.holds(here))?;
        Some(heard.earliest_at(deadline))
    }
}

impl Heard {
    /// Returns true if the time is not too old, and this machine was not suspended since.
    fn holds(&self, here: Here) -> bool {
        let age = here.now.saturating_duration_since(self.received.now);
        age <= AGE_MAX && !here.was_suspended_since(self.received)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const EPOCH_US: i64 = 1_700_000_000_000_000;

    fn here(now: Instant) -> Here {
        Here { now, suspended: Duration::from_secs(3) }
    }

    #[test]
    fn a_moment_is_counted_from_the_receipt() {
        let start = Instant::now();
        let mut clock = Clock::default();
        assert_eq!(clock.moment(start + MS, here(start)), None, "nothing was heard");
        clock.hear(start, here(start + 10 * MS), EPOCH_US);
        // The deadline is 1,000 ms after the receipt; less the drift.
        let deadline = start + 1_010 * MS;
        assert_eq!(clock.moment(deadline, here(start + 20 * MS)), Some(EPOCH_US + 999_000));
    }

    #[test]
    fn the_highest_bound_counts() {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.hear(start, here(start + MS), EPOCH_US);
        let deadline = start + 5_000 * MS;
        let before = clock.moment(deadline, here(start + MS)).unwrap();
        // An answer that was in a socket for three seconds; then one that arrived immediately.
        clock.hear(start + 10 * MS, here(start + 3_010 * MS), EPOCH_US + 10_000);
        assert_eq!(clock.moment(deadline, here(start + 3_010 * MS)), Some(before));
        clock.hear(start + 3_010 * MS, here(start + 3_011 * MS), EPOCH_US + 3_010_900);
        let after = clock.moment(deadline, here(start + 3_011 * MS)).unwrap();
        assert!(after > before, "{after} {before}");
    }

    #[test]
    fn a_clock_that_was_set_back_replaces_the_earlier_time() {
        let start = Instant::now();
        let mut clock = Clock::default();
        assert!(!clock.hear(start, here(start + MS), EPOCH_US));
        let set_back = EPOCH_US - 3_600_000_000;
        assert!(clock.hear(start + 2 * MS, here(start + 3 * MS), set_back));
        let moment = clock.moment(start + 1_003 * MS, here(start + 3 * MS));
        assert_eq!(moment, Some(set_back + 999_000));
    }

    #[test]
    fn suspension_and_age_drop_the_time() {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.hear(start, here(start), EPOCH_US);
        let deadline = start + Duration::from_secs(600);
        let slept = Here { now: start + MS, suspended: Duration::from_secs(4) };
        assert_eq!(clock.moment(deadline, slept), None);
        assert!(clock.moment(deadline, here(start + AGE_MAX)).is_some());
        assert_eq!(clock.moment(deadline, here(start + AGE_MAX + MS)), None);
        // A time heard afterwards is used, although its bound is lower.
        clock.hear(slept.now, slept, EPOCH_US - 1_000_000);
        assert!(clock.moment(deadline, slept).is_some());
    }

    #[test]
    fn these_clocks_can_be_read() {
        let (one, two) = (Here::read(), Here::read());
        assert!(one.now <= two.now);
        assert!(two.suspended.abs_diff(one.suspended) < SUSPENSION_MIN, "{one:?} {two:?}");
    }

    proptest! {
        /// Goal: for any duration of the ways there and back, and any drift of the server's clock,
        /// the deadline has not passed when that clock shows the moment.
        #[test]
        fn no_moment_is_later_than_its_deadline(
            ways in proptest::collection::vec((0_u64..4_000, 0_u64..4_000, 0_u64..8_000), 1..8),
            within_ms in 0_u64..60_000,
            drift_ppm in -900_i64..900,
        ) {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            // The server's clock at a time of this machine's.
            let server = |ms: u64| EPOCH_US + ms as i64 * 1_000 + ms as i64 * drift_ppm / 1_000;
            let mut clock = Clock::default();
            let mut now = 0;
            for (there, back, pause) in ways {
                clock.hear(at(now), here(at(now + there + back)), server(now + there));
                now += there + back + pause;
            }
            let deadline = now + within_ms;
            if let Some(moment) = clock.moment(at(deadline), here(at(now))) {
                prop_assert!(moment <= server(deadline), "{} late", moment - server(deadline));
            }
        }
    }
}
