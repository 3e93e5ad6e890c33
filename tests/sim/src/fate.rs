//! The fates of calls to servers: when a part of a call lands, and what its caller hears.

use crate::random::Random;

/// The surroundings of a call, and the chance of each fault per thousand.
#[derive(Debug, Clone)]
pub struct CallFaults {
    /// It gets no answer.
    pub no_answer: u64,
    /// It takes nearly as long as its timeout.
    pub slow: u64,
    /// The time after which its caller stops waiting for the answer.
    pub timeout_ms: u64,
    /// The longest usual delay, in one direction.
    pub delay_max_ms: u64,
}

/// The fate of a part of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate<E> {
    /// It lands.
    Lands {
        /// The time until then.
        after_ms: u64,
    },
    /// It fails without having landed.
    Fails {
        /// The time until then.
        after_ms: u64,
        /// The error.
        error: E,
    },
    /// Its caller gets no answer, after the timeout. It landed before, may land later, or is lost.
    NoAnswer {
        /// The time until it lands, before the timeout.
        lands_after_ms: Option<u64>,
        /// True if it may land after the timeout.
        may_be_late: bool,
    },
}

/// Draws the fate of a part of a call. One that takes effect `at_once` lands when it is sent.
/// `error` draws the failures that only the driver knows.
pub fn draw_fate<E>(
    random: &mut Random,
    faults: &CallFaults,
    at_once: bool,
    error: impl FnOnce(&mut Random) -> Option<E>,
) -> Fate<E> {
    let after_ms = draw_delay(random, at_once, faults.delay_max_ms);
    if let Some(error) = error(random) {
        return Fate::Fails { after_ms, error };
    }
    if random.chance(faults.no_answer) {
        // One in three lands before the timeout, one in three may land late, one is lost.
        let fate = random.below(3);
        let lands_after_ms = (fate == 0).then(|| if at_once { 0 } else { random.below(faults.timeout_ms) });
        return Fate::NoAnswer { lands_after_ms, may_be_late: fate == 1 };
    }
    let slow = !at_once && random.chance(faults.slow);
    Fate::Lands { after_ms: if slow { random.below(faults.timeout_ms) } else { after_ms } }
}

/// Draws the usual delay of a call on its way. One that takes effect `at_once` has none.
pub fn draw_delay(random: &mut Random, at_once: bool, delay_max_ms: u64) -> u64 {
    if at_once { 0 } else { random.below(delay_max_ms + 1) }
}

/// Draws the delay after which a late call lands, `span_ms` at most. `None` if it is lost, as four
/// in ten are.
pub fn draw_late(random: &mut Random, span_ms: u64) -> Option<u64> {
    if span_ms == 0 || random.chance(400) {
        return None;
    }
    // Often at the last moment, as this tests the relations between times.
    Some(if random.chance(300) { span_ms } else { random.below(span_ms + 1) })
}

#[cfg(test)]
mod tests {
    use super::{CallFaults, Fate, draw_fate, draw_late};
    use crate::random::Random;

    #[test]
    fn fates_keep_their_bounds() {
        let mut random = Random::new(1);
        let faults = CallFaults { no_answer: 300, slow: 300, timeout_ms: 100, delay_max_ms: 5 };
        let mut answered = 0;
        for _ in 0..1_000 {
            match draw_fate(&mut random, &faults, false, |random| random.chance(100).then_some("busy")) {
                Fate::Lands { after_ms } => {
                    answered += 1;
                    assert!(after_ms < 100);
                }
                Fate::Fails { after_ms, error } => assert!(after_ms <= 5 && error == "busy"),
                Fate::NoAnswer { lands_after_ms, may_be_late } => {
                    assert!(lands_after_ms.is_none_or(|after_ms| after_ms < 100 && !may_be_late));
                }
            }
        }
        assert!((400..800).contains(&answered), "{answered} of 1000 calls were answered");
    }

    #[test]
    fn what_takes_effect_at_once_has_no_delay() {
        let mut random = Random::new(1);
        let faults = CallFaults { no_answer: 0, slow: 1_000, timeout_ms: 100, delay_max_ms: 5 };
        let fate = draw_fate(&mut random, &faults, true, |_| None::<()>);
        assert_eq!(fate, Fate::Lands { after_ms: 0 });
        assert_eq!(draw_late(&mut random, 0), None);
    }
}
