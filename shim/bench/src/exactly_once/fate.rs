//! The fate of each attempt: a function of the seed, the request, the delivery and the attempt
//! alone, so that it is the same in all three ways.
//!
//! The steps are common to all ways. An attempt can also die at a step where its way does nothing
//! (plain functions claim nothing).

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::exactly_once::counter::Counter;

/// The steps of an attempt, in order. Each is one call, except a claim that meets another attempt's
/// record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Plain: nothing. Record: create the record, or take it over. Shim: begin the transaction.
    Claim,
    /// Read a counter.
    Read(Counter),
    /// Write a counter, incremented by one.
    Write(Counter),
    /// Plain: nothing. Record: mark the record as done. Shim: commit.
    Finish,
}

impl Step {
    const ALL: [Step; 6] = [
        Step::Claim,
        Step::Read(Counter::A),
        Step::Write(Counter::A),
        Step::Read(Counter::B),
        Step::Write(Counter::B),
        Step::Finish,
    ];
}

/// The point of an attempt's death, relative to a step's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The call is not made.
    Before,
    /// The call is made, but its answer is not seen.
    After,
}

/// The fate of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// The attempt does not die.
    Survives,
    /// The attempt dies at this point, if it gets that far.
    Dies(Step, Side),
}

/// The position of an attempt in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Which {
    /// The request's number, from 0.
    pub(crate) request: u64,
    /// The delivery: 0, or 1 for the second delivery of a request that is delivered twice.
    pub(crate) delivery: u32,
    /// The attempt's number within the delivery, from 1.
    pub(crate) attempt: u32,
}

/// The seed and shares from which fates are drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fates {
    pub(crate) seed: u64,
    /// The share of attempts that die, 0 to 1.
    pub(crate) crashes: f64,
    /// The share of requests that are delivered twice, 0 to 1.
    pub(crate) duplicates: f64,
}

impl Fates {
    /// Draws the fate of an attempt.
    pub(crate) fn of(&self, which: Which) -> Fate {
        // The delivery and the attempt together select the sequence of draws.
        let mut random =
            self.random(which.request, u64::from(which.delivery) << 32 | u64::from(which.attempt));
        // Always draw both, so that a different share of crashes does not move the points.
        let (dies, point) = (random.random_bool(self.crashes), random.random_range(0..2 * Step::ALL.len()));
        let side = if point % 2 == 0 { Side::Before } else { Side::After };
        if dies { Fate::Dies(Step::ALL[point / 2], side) } else { Fate::Survives }
    }

    /// Returns how often a request is delivered.
    pub(crate) fn deliveries(&self, request: u64) -> u32 {
        // Attempts are numbered from 1, so 0 gives an independent draw.
        if self.random(request, 0).random_bool(self.duplicates) { 2 } else { 1 }
    }

    fn random(&self, request: u64, which: u64) -> StdRng {
        // `seed_from_u64` mixes the bits; the odd factors keep neighbouring numbers apart.
        let request = request.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        StdRng::seed_from_u64(self.seed ^ request.rotate_left(17) ^ which.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Fate, Fates, Step, Which};

    fn fates(seed: u64, crashes: f64) -> Fates {
        Fates { seed, crashes, duplicates: 0.25 }
    }

    fn drawn(fates: Fates) -> Vec<Fate> {
        let attempts = |request| (1..=3).map(move |attempt| Which { request, delivery: 0, attempt });
        (0..2_000).flat_map(attempts).map(|which| fates.of(which)).collect()
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(drawn(fates(1, 0.5)), drawn(fates(1, 0.5)));
        assert_ne!(drawn(fates(1, 0.5)), drawn(fates(2, 0.5)));
        let which = |delivery, attempt| (0..100).map(move |request| Which { request, delivery, attempt });
        let of = |delivery, attempt| which(delivery, attempt).map(|which| fates(1, 0.5).of(which)).collect();
        let first: Vec<Fate> = of(0, 1);
        for (delivery, attempt) in [(0, 2), (1, 1)] {
            let other: Vec<Fate> = of(delivery, attempt);
            assert_ne!(first, other, "delivery {delivery}, attempt {attempt}");
        }
    }

    #[test]
    fn attempts_die_before_and_after_every_step() {
        let mut counts: BTreeMap<Fate, u32> = BTreeMap::new();
        for fate in drawn(fates(1, 0.5)) {
            *counts.entry(fate).or_default() += 1;
        }
        let survivors = counts.remove(&Fate::Survives).unwrap();
        assert!((2_800..3_200).contains(&survivors), "{survivors} of 6,000 survive");
        assert_eq!(counts.len(), 2 * Step::ALL.len());
        assert!(counts.values().all(|count| (180..320).contains(count)), "{counts:?}");
    }

    #[test]
    fn shares_of_0_and_1_are_exact() {
        assert!(drawn(fates(1, 0.0)).iter().all(|fate| *fate == Fate::Survives));
        assert!(!drawn(fates(1, 1.0)).contains(&Fate::Survives));
        let twice = |fates: Fates| (0..2_000).filter(|request| fates.deliveries(*request) == 2).count();
        assert!((430..570).contains(&twice(fates(1, 0.0))));
        assert_eq!(twice(Fates { duplicates: 0.0, ..fates(1, 0.0) }), 0);
        assert_eq!(twice(Fates { duplicates: 1.0, ..fates(1, 0.0) }), 2_000);
    }

    /// A larger share kills more attempts, and the same ones at the same points.
    #[test]
    fn a_different_share_does_not_move_the_points() {
        let (few, many) = (drawn(fates(1, 0.1)), drawn(fates(1, 0.9)));
        for (few, many) in few.into_iter().zip(many) {
            assert!(few == Fate::Survives || few == many, "{few:?} became {many:?}");
        }
    }
}
