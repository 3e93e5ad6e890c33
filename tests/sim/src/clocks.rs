//! Clocks as functions of true time, and the faults that make them wrong.
//!
//! Only this file turns true time into the time that a host reads. Promises are judged by true
//! time.

/// A reading of a host's clocks at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reading {
    /// Milliseconds of a clock that never goes back and does not count suspension.
    pub mono_ms: u64,
    /// Milliseconds of a clock that never goes back and counts suspension.
    pub boot_ms: u64,
    /// Milliseconds since the Unix epoch. May jump.
    pub wall_ms: u64,
}

/// A kind of pause of a host, by which of its clocks keep running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pause {
    /// The process alone stops: every clock keeps running.
    Process,
    /// The machine sleeps: the monotonic clock stops.
    Suspended,
    /// The machine is paused from outside, and its wall clock is set right afterwards: the other
    /// clocks stop.
    Machine,
    /// The machine is paused from outside: all clocks of the host stop, so none shows the pause.
    Unseen,
}

impl Pause {
    /// Every kind.
    pub const ALL: [Pause; 4] = [Pause::Process, Pause::Suspended, Pause::Machine, Pause::Unseen];
}

/// A million: drift is counted in parts per million.
const MILLION: i128 = 1_000_000;

/// The clocks of a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostClocks {
    /// The true time at which the monotonic clock read 0, moved on by each pause that it did not
    /// count.
    mono_zero_ms: u64,
    /// The same for the clock that counts suspension.
    boot_zero_ms: u64,
    /// The wall clock minus true time.
    pub wall_offset_ms: i64,
    /// The drift of the monotonic clocks: the milliseconds that they gain in a million.
    pub drift_ppm: i64,
}

impl HostClocks {
    /// Returns correct clocks whose monotonic clocks read 0 at the true time `zero_ms`.
    pub fn new(zero_ms: u64) -> HostClocks {
        HostClocks { mono_zero_ms: zero_ms, boot_zero_ms: zero_ms, wall_offset_ms: 0, drift_ppm: 0 }
    }

    fn drifted(&self, elapsed_ms: u64) -> u64 {
        let elapsed = i128::from(elapsed_ms);
        let shown = elapsed + elapsed * i128::from(self.drift_ppm) / MILLION;
        u64::try_from(shown).expect("clocks stay near the present")
    }

    /// Returns what the clocks read at `true_ms`. The wall clock advances in steps of `grain_ms`.
    pub fn at(&self, true_ms: u64, grain_ms: u64) -> Reading {
        assert!(grain_ms >= 1, "a wall clock advances in steps of at least a millisecond");
        assert!(true_ms >= self.mono_zero_ms, "a clock cannot be read before it starts");
        let wall_ms = true_ms.checked_add_signed(self.wall_offset_ms).expect("clocks stay near the present");
        Reading {
            mono_ms: self.drifted(true_ms - self.mono_zero_ms),
            boot_ms: self.drifted(true_ms - self.boot_zero_ms),
            wall_ms: wall_ms - wall_ms % grain_ms,
        }
    }

    /// Returns the first true time at which the monotonic clock reads at least `mono_ms`.
    pub fn true_ms(&self, mono_ms: u64) -> u64 {
        // The quotient is rounded: start a little before it and step to the exact millisecond.
        let guess = i128::from(mono_ms) * MILLION / (MILLION + i128::from(self.drift_ppm));
        let mut elapsed = u64::try_from(guess).expect("clocks stay near the present").saturating_sub(2);
        while self.drifted(elapsed) < mono_ms {
            elapsed += 1;
        }
        self.mono_zero_ms + elapsed
    }

    /// Applies a pause of `span_ms` that has just ended.
    pub fn paused(&mut self, kind: Pause, span_ms: u64) {
        match kind {
            Pause::Process => {}
            Pause::Suspended => self.mono_zero_ms += span_ms,
            Pause::Machine | Pause::Unseen => {
                self.mono_zero_ms += span_ms;
                self.boot_zero_ms += span_ms;
            }
        }
        if kind == Pause::Unseen {
            self.wall_offset_ms -= i64::try_from(span_ms).expect("pauses are short");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HostClocks, Pause};

    #[test]
    fn a_wake_is_the_first_millisecond_at_which_the_clock_has_reached_it() {
        for drift_ppm in [-200, -1, 0, 1, 200] {
            let clocks = HostClocks { drift_ppm, ..HostClocks::new(1_000_000) };
            for mono_ms in [0, 1, 4_999, 5_000, 123_456, 86_400_000] {
                let at = clocks.true_ms(mono_ms);
                assert!(clocks.at(at, 1).mono_ms >= mono_ms, "{drift_ppm} {mono_ms}");
                assert!(
                    at == 1_000_000 || clocks.at(at - 1, 1).mono_ms < mono_ms,
                    "{drift_ppm} {mono_ms}: not the first"
                );
            }
        }
    }

    #[test]
    fn each_kind_of_pause_stops_its_own_clocks() {
        let check = |kind: Pause, mono: u64, boot: u64, wall: u64| {
            let mut clocks = HostClocks::new(0);
            let before = clocks.at(5_000, 1);
            clocks.paused(kind, 1_000);
            let after = clocks.at(6_000, 1);
            let shown = (
                after.mono_ms - before.mono_ms,
                after.boot_ms - before.boot_ms,
                after.wall_ms - before.wall_ms,
            );
            assert_eq!(shown, (mono, boot, wall), "{kind:?}");
        };
        check(Pause::Process, 1_000, 1_000, 1_000);
        check(Pause::Suspended, 0, 1_000, 1_000);
        check(Pause::Machine, 0, 0, 1_000);
        check(Pause::Unseen, 0, 0, 0);
    }
}
