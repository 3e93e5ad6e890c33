//! A seeded tree of random streams: SplitMix64, with a branch for each purpose, so that more draws
//! for one purpose do not change the numbers of the others.

/// A stream of random numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Random(u64);

/// The increment of SplitMix64 (Steele, Lea, Flood 2014): the golden ratio in 64 bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Returns the root of the tree for `seed`.
    pub fn new(seed: u64) -> Random {
        let mut root = Random(seed);
        root.draw();
        root
    }

    /// Returns the stream for `purpose`. It depends on this stream's state, which does not change.
    pub fn branch(&self, purpose: &str) -> Random {
        let folded = purpose.bytes().fold(self.0, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3) // FNV-1a's prime
        });
        Random::new(folded)
    }

    /// Draws a number, uniform over all 64-bit values.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws a number below `bound`, which must be at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound >= 1, "cannot draw a number below 0");
        self.draw() % bound
    }

    /// Draws a number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "cannot draw a number from {low} to {high}");
        low + self.below(high - low + 1)
    }

    /// Returns true with a probability of `per_mille` in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Picks one of `things`, which must not be empty.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        assert!(!things.is_empty(), "cannot pick one of no things");
        &things[self.below(things.len() as u64) as usize]
    }
}
