//! Lambda's rules for events, which nobody waits for: when the next attempt is made.

use std::time::Duration;

/// The pauses after the first and the second error.
const AFTER_ERRORS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
/// The first pause after the function was throttled. It doubles with each further one.
const AFTER_THROTTLE: Duration = Duration::from_secs(1);
/// The longest pause after the function was throttled.
const AFTER_THROTTLE_MAX: Duration = Duration::from_secs(300);

/// The outcome of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempted {
    /// The function returned.
    Returned,
    /// It failed, timed out, or its process ended.
    Failed,
    /// No environment was free, so nothing ran.
    Throttled,
}

/// The next step for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt after a pause.
    Retry(Duration),
    /// The event is done: its function has returned.
    Done,
    /// The event is dropped: it has no retries left.
    Exhausted,
    /// The event is dropped: it is too old.
    TooOld,
}

/// The attempts of one event.
#[derive(Debug)]
pub(crate) struct Retries {
    retries: u8,
    age_max: Duration,
    pause_divisor: u32,
    errors: u8,
    throttles: u32,
}

impl Retries {
    /// Returns the rules for a new event.
    pub(crate) fn new(retries: u8, age_max: Duration, pause_divisor: u32) -> Self {
        assert!(usize::from(retries) <= AFTER_ERRORS.len(), "each retry has its pause");
        assert!(pause_divisor > 0 && !age_max.is_zero(), "the configuration was checked");
        Self { retries, age_max, pause_divisor, errors: 0, throttles: 0 }
    }

    /// Counts an attempt that ended at the event's `age`, and returns the next step.
    pub(crate) fn after(&mut self, attempted: Attempted, age: Duration) -> Next {
        assert!(self.errors <= self.retries, "an exhausted event has no attempt");
        let pause = match attempted {
            Attempted::Returned => return Next::Done,
            Attempted::Failed if self.errors == self.retries => return Next::Exhausted,
            Attempted::Failed => {
                self.errors += 1;
                self.throttles = 0;
                AFTER_ERRORS[usize::from(self.errors) - 1]
            }
            Attempted::Throttled => {
                let doublings = self.throttles.min(16);
                self.throttles = self.throttles.saturating_add(1);
                AFTER_THROTTLE_MAX.min(AFTER_THROTTLE * 2_u32.pow(doublings))
            }
        };
        assert!(self.errors <= self.retries, "no more retries than allowed");
        let pause = pause / self.pause_divisor;
        if age + pause > self.age_max { Next::TooOld } else { Next::Retry(pause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(6 * 60 * 60);

    #[test]
    fn errors_are_retried_after_one_and_two_minutes() {
        let mut retries = Retries::new(2, AGE_MAX, 1);
        assert_eq!(retries.after(Attempted::Failed, Duration::ZERO), Next::Retry(Duration::from_secs(60)));
        assert_eq!(retries.after(Attempted::Failed, Duration::ZERO), Next::Retry(Duration::from_secs(120)));
        assert_eq!(retries.after(Attempted::Failed, Duration::ZERO), Next::Exhausted);
        assert_eq!(Retries::new(0, AGE_MAX, 1).after(Attempted::Failed, Duration::ZERO), Next::Exhausted);
        assert_eq!(Retries::new(0, AGE_MAX, 1).after(Attempted::Returned, Duration::ZERO), Next::Done);
    }

    #[test]
    fn throttled_events_wait_longer_each_time_and_keep_their_retries() {
        let mut retries = Retries::new(1, AGE_MAX, 1);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            match retries.after(Attempted::Throttled, Duration::ZERO) {
                Next::Retry(pause) => pauses.push(pause.as_secs()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(retries.after(Attempted::Failed, Duration::ZERO), Next::Retry(Duration::from_secs(60)));
    }

    #[test]
    fn old_events_are_dropped() {
        let mut retries = Retries::new(2, Duration::from_secs(90), 1);
        assert_eq!(
            retries.after(Attempted::Failed, Duration::from_secs(30)),
            Next::Retry(Duration::from_secs(60))
        );
        assert_eq!(retries.after(Attempted::Failed, Duration::from_secs(31)), Next::TooOld);
    }

    #[test]
    fn tests_divide_the_pauses() {
        let mut retries = Retries::new(2, AGE_MAX, 1_000);
        assert_eq!(retries.after(Attempted::Failed, Duration::ZERO), Next::Retry(Duration::from_millis(60)));
    }
}
