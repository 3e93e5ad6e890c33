//! Draws keys from a Zipf distribution: key `i` (from 0) with a probability in proportion to `1 /
//! (i + 1)^z`.
//!
//! It uses a table of cumulative probabilities and a binary search. This is exact for every
//! exponent, 1.0 included (where the usual closed forms divide by zero), and takes about ten
//! comparisons for a thousand keys.

use rand::{Rng, RngExt};

/// The maximum number of keys in a table: 10 million take 80 MB. The paper goes up to 100,000.
pub(crate) const KEYS_MAX: usize = 10_000_000;

/// A sampler over `0..keys`.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    /// Entry `i` is the probability of `0..=i`. Ascending; the last is 1.
    cumulated: Vec<f64>,
}

impl Zipf {
    /// Returns a sampler over `0..keys` with the given exponent `z`.
    ///
    /// # Panics
    /// If `keys` is 0 or above [`KEYS_MAX`], or `exponent` is not between 0 and 3. Options are
    /// checked before.
    pub(crate) fn new(keys: usize, exponent: f64) -> Zipf {
        assert!((1..=KEYS_MAX).contains(&keys), "{keys} keys");
        assert!((0.0..=3.0).contains(&exponent), "exponent {exponent}");
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (1..=keys)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        for entry in &mut cumulated {
            *entry /= sum;
        }
        *cumulated.last_mut().expect("there is at least one key") = 1.0;
        Zipf { cumulated }
    }

    /// Draws one key.
    pub(crate) fn draw(&self, random: &mut impl Rng) -> u32 {
        let point: f64 = random.random();
        let key = self.cumulated.partition_point(|entry| *entry <= point);
        u32::try_from(key).expect("a table has fewer than 2^32 entries")
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::Zipf;

    /// Checks that each key's frequency is within five standard deviations of its expected value.
    fn check(keys: usize, exponent: f64) {
        const DRAWS: u32 = 200_000;
        let zipf = Zipf::new(keys, exponent);
        let mut random = StdRng::seed_from_u64(7);
        let mut seen = vec![0_u32; keys];
        for _ in 0..DRAWS {
            seen[zipf.draw(&mut random) as usize] += 1;
        }
        let weight = |key: usize| 1.0 / ((key + 1) as f64).powf(exponent);
        let total: f64 = (0..keys).map(weight).sum();
        for (key, count) in seen.into_iter().enumerate() {
            let probability = weight(key) / total;
            let expected = probability * f64::from(DRAWS);
            let deviation = (expected * (1.0 - probability)).sqrt();
            let off = (f64::from(count) - expected).abs();
            assert!(off <= 5.0 * deviation + 1.0, "z {exponent}, key {key}: {count}, expected {expected:.1}");
        }
    }

    #[test]
    fn frequencies_follow_the_law() {
        for exponent in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0] {
            for keys in [1, 2, 10, 1_000] {
                check(keys, exponent);
            }
        }
    }

    #[test]
    fn a_seed_gives_one_sequence() {
        let zipf = Zipf::new(1_000, 1.0);
        let draw = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            (0..100).map(|_| zipf.draw(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
