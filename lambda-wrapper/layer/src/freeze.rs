//! Finding out that the process was frozen between two events.
//!
//! Between a response and the next event Lambda freezes the environment: no code runs, connections
//! die on the other side, and the clocks move on, each in its own way. Before the first call after
//! such a pause everything that rests on the time before it is made again.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// A pause between two events that may have been a freeze. Connections and calls of before it are
/// not used again.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The clocks at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Instants {
    /// The monotonic clock, which may stand still while the machine is suspended.
    monotonic: Duration,
    /// The clock that counts suspension.
    boot: Duration,
    wall: SystemTime,
}

impl Instants {
    /// Reads the clocks.
    pub fn now() -> Instants {
        let read = |clock| {
            let time = clock_gettime(clock);
            let seconds = u64::try_from(time.tv_sec).expect("the clock starts at zero");
            Duration::new(seconds, u32::try_from(time.tv_nsec).expect("less than a second"))
        };
        Instants {
            monotonic: read(ClockId::Monotonic),
            boot: read(ClockId::Boottime),
            wall: SystemTime::now(),
        }
    }

    /// Returns true if the process may have been frozen since `before`: any clock moved by more
    /// than a second, forwards or, as a wall clock can, backwards.
    pub fn may_have_been_frozen_since(&self, before: &Instants) -> bool {
        let wall = match self.wall.duration_since(before.wall) {
            Ok(passed) => passed,
            Err(back) => back.duration(),
        };
        let monotonic = self.monotonic.saturating_sub(before.monotonic);
        let boot = self.boot.saturating_sub(before.boot);
        [monotonic, boot, wall].into_iter().any(|passed| passed >= PAUSE_MIN)
    }
}

/// Gives this thread fresh random numbers: those of a process that was restored from a snapshot are
/// the same as in every other copy of it.
pub fn reseed() {
    rand::rng().reseed().expect("the system's generator of random numbers always answers");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_clock_shows_a_pause() {
        let second = Duration::from_secs(1);
        let before = Instants { monotonic: second * 10, boot: second * 12, wall: SystemTime::now() };
        let less = Duration::from_millis(999);
        let same = Instants {
            monotonic: before.monotonic + less,
            boot: before.boot + less,
            wall: before.wall + less,
        };
        assert!(!same.may_have_been_frozen_since(&before));
        for later in [
            Instants { monotonic: before.monotonic + second, ..before },
            Instants { boot: before.boot + second, ..before },
            Instants { wall: before.wall + second, ..before },
            // A wall clock that is set back says nothing about the time that passed.
            Instants { wall: before.wall - second, ..before },
        ] {
            assert!(later.may_have_been_frozen_since(&before), "{later:?}");
        }
    }

    #[test]
    fn the_clocks_are_read() {
        let before = Instants::now();
        assert!(!Instants::now().may_have_been_frozen_since(&before));
        assert!(before.monotonic > Duration::ZERO && before.boot > Duration::ZERO);
    }
}
