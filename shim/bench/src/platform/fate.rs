//! The fate of each attempt: a function of the seed, the request, the delivery and the attempt
//! alone. So runs with the same seed meet the same faults, in whatever order they execute requests.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A point of an attempt at which a fault can happen.
pub(crate) trait Point: Copy + 'static {
    /// All points, each of which is drawn equally often.
    const ALL: &'static [Self];
}

/// The fate of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate<P> {
    /// The attempt has no fault.
    Survives,
    /// The attempt dies at this point, if it gets that far.
    Dies(P),
    /// The attempt pauses at this point, if it gets that far, and is abandoned. It continues once
    /// its request has been retried.
    Late(P),
}

/// The position of an attempt in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Which {
    /// The request's number.
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
    /// The share of attempts that are late, 0 to 1, among those that do not die.
    pub(crate) late: f64,
    /// The share of requests that are delivered twice, 0 to 1.
    pub(crate) duplicates: f64,
}

impl Fates {
    /// Draws the fate of an attempt.
    pub(crate) fn of<P: Point>(&self, which: Which) -> Fate<P> {
        // The delivery and the attempt together select the sequence of draws.
        let mut random =
            self.random(which.request, u64::from(which.delivery) << 32 | u64::from(which.attempt));
        // Always draw all three, so that a different share of crashes does not move the points.
        let dies = random.random_bool(self.crashes);
        let point = P::ALL[random.random_range(0..P::ALL.len())];
        let is_late = random.random_bool(self.late);
        match (dies, is_late) {
            (true, _) => Fate::Dies(point),
            (false, true) => Fate::Late(point),
            (false, false) => Fate::Survives,
        }
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

    use super::{Fate, Fates, Point, Which};

    impl Point for u8 {
        const ALL: &'static [u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    }

    fn fates(seed: u64, crashes: f64) -> Fates {
        Fates { seed, crashes, late: 0.0, duplicates: 0.25 }
    }

    fn drawn(fates: Fates) -> Vec<Fate<u8>> {
        let attempts = |request| (1..=3).map(move |attempt| Which { request, delivery: 0, attempt });
        (0..2_000).flat_map(attempts).map(|which| fates.of(which)).collect()
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(drawn(fates(1, 0.5)), drawn(fates(1, 0.5)));
        assert_ne!(drawn(fates(1, 0.5)), drawn(fates(2, 0.5)));
        let which = |delivery, attempt| (0..100).map(move |request| Which { request, delivery, attempt });
        let of = |delivery, attempt| which(delivery, attempt).map(|which| fates(1, 0.5).of(which)).collect();
        let first: Vec<Fate<u8>> = of(0, 1);
        for (delivery, attempt) in [(0, 2), (1, 1)] {
            let other: Vec<Fate<u8>> = of(delivery, attempt);
            assert_ne!(first, other, "delivery {delivery}, attempt {attempt}");
        }
    }

    #[test]
    fn faults_happen_at_every_point() {
        let mut counts: BTreeMap<Fate<u8>, u32> = BTreeMap::new();
        for fate in drawn(Fates { late: 0.5, ..fates(1, 0.5) }) {
            *counts.entry(fate).or_default() += 1;
        }
        let survivors = counts.remove(&Fate::Survives).unwrap();
        assert!((1_350..1_650).contains(&survivors), "{survivors} of 6,000 survive");
        assert_eq!(counts.len(), 2 * u8::ALL.len());
        for (fate, count) in counts {
            let expect = if let Fate::Dies(_) = fate { 180..320 } else { 80..170 };
            assert!(expect.contains(&count), "{fate:?}: {count}");
        }
    }

    #[test]
    fn shares_of_0_and_1_are_exact() {
        assert!(drawn(fates(1, 0.0)).iter().all(|fate| *fate == Fate::Survives));
        assert!(drawn(fates(1, 1.0)).iter().all(|fate| matches!(fate, Fate::Dies(_))));
        let late = Fates { late: 1.0, ..fates(1, 0.0) };
        assert!(drawn(late).iter().all(|fate| matches!(fate, Fate::Late(_))));
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
