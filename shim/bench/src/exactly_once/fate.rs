//! What befalls each attempt: a function of the seed, the request, the delivery and the attempt, and of nothing else. So all three ways
//! meet the same fates.
//!
//! The steps are those that every way has in common; a way that does nothing at one of them (plain functions claim nothing) can be killed
//! there all the same.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::exactly_once::counter::Counter;

/// What an attempt does, in this order. Each is one call, but for a claim that meets another one's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Nothing · create the record, or take it over · begin the transaction.
    Claim,
    /// Read a counter.
    Read(Counter),
    /// Write it one higher.
    Write(Counter),
    /// Nothing · say in the record that it is done · commit.
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

/// Where an attempt dies with respect to a step's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The call is not made.
    Before,
    /// The call is made; its answer is never seen.
    After,
}

/// What befalls an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Nothing.
    Survives,
    /// It dies, if it comes so far.
    Dies(Step, Side),
}

/// Which attempt it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Which {
    /// From 0.
    pub(crate) request: u64,
    /// 0, or 1 for the second delivery of a request that is delivered twice.
    pub(crate) delivery: u32,
    /// Of this delivery, from 1.
    pub(crate) attempt: u32,
}

/// Draws fates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fates {
    pub(crate) seed: u64,
    /// The share of attempts that die.
    pub(crate) crashes: f64,
    /// The share of requests that are delivered twice.
    pub(crate) duplicates: f64,
}

impl Fates {
    /// The fate of an attempt.
    pub(crate) fn of(&self, which: Which) -> Fate {
        let mut random =
            self.random(which.request, u64::from(which.delivery) << 32 | u64::from(which.attempt));
        // Both are always drawn: another share of crashes moves no point.
        let (dies, point) = (random.random_bool(self.crashes), random.random_range(0..2 * Step::ALL.len()));
        let side = if point % 2 == 0 { Side::Before } else { Side::After };
        if dies { Fate::Dies(Step::ALL[point / 2], side) } else { Fate::Survives }
    }

    /// How often a request is delivered.
    pub(crate) fn deliveries(&self, request: u64) -> u32 {
        // No attempt has the number 0.
        if self.random(request, 0).random_bool(self.duplicates) { 2 } else { 1 }
    }

    fn random(&self, request: u64, which: u64) -> StdRng {
        // `seed_from_u64` mixes; the odd factors keep neighbours apart.
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
    fn every_step_is_died_at_before_and_after() {
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
    fn shares_at_their_ends() {
        assert!(drawn(fates(1, 0.0)).iter().all(|fate| *fate == Fate::Survives));
        assert!(!drawn(fates(1, 1.0)).contains(&Fate::Survives));
        let twice = |fates: Fates| (0..2_000).filter(|request| fates.deliveries(*request) == 2).count();
        assert!((430..570).contains(&twice(fates(1, 0.0))));
        assert_eq!(twice(Fates { duplicates: 0.0, ..fates(1, 0.0) }), 0);
        assert_eq!(twice(Fates { duplicates: 1.0, ..fates(1, 0.0) }), 2_000);
    }

    /// More crashes kill more attempts, and the same ones at the same points.
    #[test]
    fn another_share_moves_no_point() {
        let (few, many) = (drawn(fates(1, 0.1)), drawn(fates(1, 0.9)));
        for (few, many) in few.into_iter().zip(many) {
            assert!(few == Fate::Survives || few == many, "{few:?} became {many:?}");
        }
    }
}
