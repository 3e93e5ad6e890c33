//! One seeded tree of random streams: SplitMix64, with a branch for every purpose, so that a change in one does not shift the others.

/// A stream of random numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Random(u64);

/// The increment of SplitMix64 (Steele, Lea, Flood 2014): the golden ratio in 64 bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The root of the tree.
    pub fn new(seed: u64) -> Random {
        let mut root = Random(seed);
        root.draw();
        root
    }

    /// A stream of its own for a purpose.
    pub fn branch(&self, purpose: &str) -> Random {
        let folded = purpose.bytes().fold(self.0, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3) // FNV-1a's prime
        });
        Random::new(folded)
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a bound, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound >= 1, "nothing is below 0");
        self.draw() % bound
    }

    /// A number from a range, both ends included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True with so many chances in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of some things.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len() as u64) as usize]
    }
}
