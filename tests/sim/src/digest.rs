//! A 128-bit hash of a state, fast enough to be taken of every state of a search.
//!
//! Two lanes take each word: a lane multiplies it with what it holds and folds the product, as
//! wyhash does. The standard library's hasher is made for hostile keys, and was half of a search's
//! time. Nobody is hostile here, and two states share a digest with a chance of 2⁻¹²⁸ a pair.

use std::hash::Hasher;

/// Odd numbers with as many ones as zeros: digits of the golden ratio and of √2, √3 and √5.
const FACTORS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b];

/// A hasher with 128 bits of state and result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest {
    lanes: [u64; 2],
    words: u64,
}

impl Digest {
    pub(crate) fn new() -> Digest {
        Digest { lanes: [FACTORS[2], FACTORS[3]], words: 0 }
    }

    fn take(&mut self, word: u64) {
        self.words += 1;
        self.lanes[0] = fold(self.lanes[0] ^ word, FACTORS[0]);
        self.lanes[1] = fold(self.lanes[1] ^ word.rotate_left(32), FACTORS[1]);
    }

    /// Returns the digest of all words taken.
    pub(crate) fn finish128(mut self) -> u128 {
        // The number of words sets a sequence apart from one with zeros after it.
        self.take(self.words);
        let [low, high] = self.lanes;
        u128::from(fold(high, FACTORS[2]) ^ low) << 64 | u128::from(fold(low, FACTORS[3]) ^ high)
    }
}

/// Multiplies to 128 bits, and folds the two halves.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.finish128() as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.take(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.take(u64::from_le_bytes(word));
        }
        // Sets a text apart from the same one with zeros after it.
        self.take(bytes.len() as u64);
    }

    fn write_u8(&mut self, number: u8) {
        self.take(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.take(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.take(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.take(number);
    }

    fn write_u128(&mut self, number: u128) {
        self.take(number as u64);
        self.take((number >> 64) as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.take(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{Hash, Hasher as _};

    use super::Digest;

    fn of(state: &impl Hash) -> u128 {
        let mut digest = Digest::new();
        state.hash(&mut digest);
        digest.finish128()
    }

    /// Takes states that differ little, as those of a search do, and compares even halves of their
    /// digests: with 32 bits each, a million of them would collide a hundred times by chance.
    #[test]
    fn states_that_differ_little_have_different_digests() {
        let (mut low, mut high) = (HashSet::new(), HashSet::new());
        for a in 0..1_000_u64 {
            for b in 0..1_000_u32 {
                let digest = of(&(a, Some(b), vec![a as u8, b as u8], false));
                assert!(low.insert(digest as u64), "{a} {b}");
                assert!(high.insert((digest >> 64) as u64), "{a} {b}");
            }
        }
    }

    #[test]
    fn order_length_and_place_matter() {
        let all = [
            of(&""),
            of(&"\0"),
            of(&"\0\0\0\0\0\0\0\0"),
            of(&[0_u64; 1]),
            of(&[0_u64; 2]),
            of(&(1_u8, 2_u8)),
            of(&(2_u8, 1_u8)),
            of(&("ab", "c")),
            of(&("a", "bc")),
            of(&(1_u64 << 32)),
            of(&1_u64),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "{all:x?}");
    }

    #[test]
    fn the_same_words_give_the_same_digest() {
        let mut one = Digest::new();
        one.write_u64(7);
        let mut other = Digest::new();
        other.write_u64(7);
        assert_eq!((one.finish(), one.finish128()), (other.finish(), other.finish128()));
    }
}
