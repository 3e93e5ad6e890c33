//! The time that the monotonic clock has not counted.

use super::Now;

/// A wall clock wavers by at most this: it goes on in steps, and is read a moment after the others.
const WALL_GRAIN_MS: i64 = 20;

/// The time that the monotonic clock has not counted, and another clock has, since the process
/// began: it never goes back. The clock that counts suspension is held against the monotonic one,
/// the wall clock against that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Slip {
    suspended_ms: u64,
    /// The distance of the wall clock when the process began, or when it was last set back.
    wall_base_ms: i64,
    /// The furthest that it has gone beyond that: a clock that only wavers does not add up.
    wall_ms: u64,
    /// The distance that it had shown each time when it was set back, in all.
    carried_ms: u64,
}

impl Slip {
    /// Returns the slip at the first step of a process.
    pub(super) fn at_start(now: Now) -> Slip {
        Slip { wall_base_ms: Slip::wall_ahead_ms(now), ..Slip::default() }.step(now, now)
    }

    fn wall_ahead_ms(now: Now) -> i64 {
        let ahead_ms = i128::from(now.wall_ms) - i128::from(now.boot_ms);
        i64::try_from(ahead_ms).expect("times fit into 63 bits")
    }

    /// Goes on to the clocks of a step.
    pub(super) fn step(self, start: Now, now: Now) -> Slip {
        let boot_ms = now.boot_ms - start.boot_ms;
        let suspended_ms = self.suspended_ms.max(boot_ms.saturating_sub(now.mono_ms - start.mono_ms));
        let ahead_ms = Slip::wall_ahead_ms(now);
        let mut slip = Slip { suspended_ms, ..self };
        let beyond_ms = ahead_ms - self.wall_base_ms;
        let furthest_ms = i64::try_from(self.wall_ms).expect("times fit into 63 bits");
        if beyond_ms < furthest_ms - WALL_GRAIN_MS {
            // It was set back: what it showed before stays, and what it shows from now on comes on
            // top.
            slip.carried_ms += self.wall_ms;
            (slip.wall_base_ms, slip.wall_ms) = (ahead_ms, 0);
        } else {
            slip.wall_ms = self.wall_ms.max(u64::try_from(beyond_ms).unwrap_or(0));
        }
        assert!(slip.total_ms() >= self.total_ms(), "what has slipped has slipped");
        slip
    }

    pub(super) fn total_ms(self) -> u64 {
        self.suspended_ms + self.wall_ms + self.carried_ms
    }
}
