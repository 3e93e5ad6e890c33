//! The time that the monotonic clock has not counted.

use super::reading::Now;

/// The greatest jitter of a wall clock: it advances in steps, and is read just after the other
/// clocks.
const WALL_GRAIN_MS: i64 = 20;

/// The time since the process began that another clock has counted, and the monotonic clock has
/// not. It never decreases. The clock that counts suspension is compared with the monotonic one,
/// and the wall clock with the clock that counts suspension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Slip {
    suspended_ms: u64,
    /// The distance of the wall clock when the process began, or when it was last set back.
    wall_base_ms: i64,
    /// The greatest distance beyond `wall_base_ms` so far. A maximum, so that jitter does not add
    /// up.
    wall_ms: u64,
    /// The sum of the values that `wall_ms` had each time the wall clock was set back.
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

    /// Returns the slip at a later step, with the clocks `now`.
    pub(super) fn step(self, start: Now, now: Now) -> Slip {
        let boot_ms = now.boot_ms - start.boot_ms;
        let suspended_ms = self.suspended_ms.max(boot_ms.saturating_sub(now.mono_ms - start.mono_ms));
        let ahead_ms = Slip::wall_ahead_ms(now);
        let mut slip = Slip { suspended_ms, ..self };
        let beyond_ms = ahead_ms - self.wall_base_ms;
        let furthest_ms = i64::try_from(self.wall_ms).expect("times fit into 63 bits");
        if beyond_ms < furthest_ms - WALL_GRAIN_MS {
            // The wall clock was set back: keep the slip that it showed before, and add what it
            // shows from now on.
            slip.carried_ms += self.wall_ms;
            (slip.wall_base_ms, slip.wall_ms) = (ahead_ms, 0);
        } else {
            slip.wall_ms = self.wall_ms.max(u64::try_from(beyond_ms).unwrap_or(0));
        }
        assert!(slip.total_ms() >= self.total_ms(), "the slip never decreases");
        slip
    }

    pub(super) fn total_ms(self) -> u64 {
        self.suspended_ms + self.wall_ms + self.carried_ms
    }
}
