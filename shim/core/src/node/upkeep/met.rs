//! The set of request hashes to which entries of verified attempts led. The records phase of a
//! sweep need not read these records.
//!
//! A hash takes 8 bytes: its first two bytes unchanged, so that a range of hashes is a range of the
//! set; and 48 bits of a mix with a salt that clients do not know, so that nobody can choose
//! request IDs that hide each other. A false hit would leave a record unverified; among four
//! million hashes its probability is one in a million per sweep.
//!
//! If there are more hashes than fit, the range is narrowed, and the sweep goes through the store
//! again for the next range.

use std::collections::BTreeSet;

use crate::ids::{AttemptId, NodeId, RequestHash, TxnId};
use crate::sweep::HashRange;

/// The hashes met in one range of them.
#[derive(Debug, Clone, Hash)]
pub(super) struct Met {
    salt: u64,
    range: HashRange,
    shorts: BTreeSet<u64>,
    len_max: usize,
}

/// Returns a permutation of 64 bits in which every bit of the result depends on every bit of `x`
/// (the finaliser of SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn mix_bytes(salt: u64, bytes: &[u8]) -> u64 {
    assert_eq!(bytes.len() % 8, 0, "hashes and attempts are whole words");
    let words = bytes.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().expect("of 8 bytes")));
    words.fold(mix(salt), |state, word| mix(state ^ word))
}

/// Returns the salt of a node's next sweep. Node ids are random, and sweeps are counted: no two
/// sweeps share one.
pub(super) fn salt(node: NodeId, sweeps_begun: u64, mark: TxnId) -> u64 {
    let of_node = mix(mix(node.0) ^ sweeps_begun);
    mix_bytes(of_node ^ mark.time.0, &mark.attempt.0)
}

impl Met {
    pub(super) fn new(salt: u64, range: HashRange, len_max: usize) -> Met {
        assert!(range.from < range.to && range.to <= HashRange::END, "a range holds hashes");
        assert!(len_max > 0, "some hashes fit");
        Met { salt, range, shorts: BTreeSet::new(), len_max }
    }

    /// Restores the set of a sweep that stopped.
    pub(super) fn resumed(salt: u64, range: HashRange, shorts: &[u64], len_max: usize) -> Met {
        let mut met = Met::new(salt, range, len_max);
        met.shorts.extend(shorts);
        met.narrow();
        met
    }

    /// Adds a hash to which an entry of a verified attempt led.
    pub(super) fn insert(&mut self, hash: RequestHash) {
        self.add(hash, mix_bytes(self.salt, &hash.0));
    }

    /// Adds an attempt that has blobs and was verified.
    pub(super) fn insert_blobs(&mut self, hash: RequestHash, attempt: AttemptId) {
        self.add(hash, self.of_blobs(hash, attempt));
    }

    fn add(&mut self, hash: RequestHash, mixed: u64) {
        if self.range.contains(hash) {
            self.shorts.insert(short(hash, mixed));
            self.narrow();
        }
    }

    fn of_blobs(&self, hash: RequestHash, attempt: AttemptId) -> u64 {
        mix_bytes(mix_bytes(!self.salt, &hash.0), &attempt.0)
    }

    /// Drops the greatest hashes, and narrows the range, until the rest fits. Hashes with the same
    /// first two bytes stay together, so the set may be larger than its bound.
    fn narrow(&mut self) {
        while self.shorts.len() > self.len_max && self.range.to - self.range.from > 1 {
            let middle = *self.shorts.iter().nth(self.shorts.len() / 2).expect("it is longer than its bound");
            let first = (middle >> 48) as u32;
            assert!(self.range.from <= first && first < self.range.to, "a hash of the set is in the range");
            self.range.to = first.max(self.range.from + 1);
            self.shorts.split_off(&(u64::from(self.range.to) << 48));
        }
        assert!(self.range.from < self.range.to, "a range holds hashes");
    }

    /// Returns true if an entry of a verified attempt led to the hash.
    pub(super) fn contains(&self, hash: RequestHash) -> bool {
        assert!(self.range.contains(hash), "only hashes of the range are known");
        self.shorts.contains(&short(hash, mix_bytes(self.salt, &hash.0)))
    }

    /// Returns true if the attempt's blobs are certainly in use, because an entry of it was met and
    /// verified.
    pub(super) fn contains_blobs(&self, hash: RequestHash, attempt: AttemptId) -> bool {
        self.range.contains(hash) && self.shorts.contains(&short(hash, self.of_blobs(hash, attempt)))
    }

    /// Continues with the next range. Returns false if this was the last one.
    pub(super) fn next_range(&mut self) -> bool {
        if self.range.to == HashRange::END {
            return false;
        }
        self.range = HashRange { from: self.range.to, to: HashRange::END };
        self.shorts.clear();
        true
    }

    pub(super) fn range(&self) -> HashRange {
        self.range
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shorts.len()
    }

    /// Panics if a hash is outside the range, or there are too many.
    pub(super) fn check_invariants(&self) {
        let first = |short: &u64| (*short >> 48) as u32;
        let (least, greatest) = (self.shorts.first(), self.shorts.last());
        assert!(
            least.is_none_or(|short| first(short) >= self.range.from),
            "a hash of the set is in the range"
        );
        assert!(
            greatest.is_none_or(|short| first(short) < self.range.to),
            "a hash of the set is in the range"
        );
        let alike = self.range.to - self.range.from == 1;
        assert!(alike || self.shorts.len() <= self.len_max, "hashes met are bounded");
    }

    /// Returns all shortened hashes, in order, for the notes.
    pub(super) fn shorts(&self) -> Vec<u64> {
        self.shorts.iter().copied().collect()
    }
}

/// Shortens a hash to 8 bytes, given its mix.
fn short(hash: RequestHash, mixed: u64) -> u64 {
    let first = u64::from(u16::from_be_bytes([hash.0[0], hash.0[1]]));
    first << 48 | mixed >> 16
}

#[cfg(test)]
mod tests {
    use super::{Met, salt};
    use crate::ids::{AttemptId, NodeId, RequestHash, TxnId};
    use crate::sweep::HashRange;

    fn hash(n: u32) -> RequestHash {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
        RequestHash(bytes)
    }

    #[test]
    fn ranges_cover_every_hash_once_and_each_fits() {
        let check = |hashes: u32, len_max: usize| {
            let mut met = Met::new(salt(NodeId(1), 0, TxnId::ZERO), HashRange::ALL, len_max);
            let mut seen = 0;
            let mut ranges = 0;
            loop {
                (0..hashes).for_each(|n| met.insert(hash(n)));
                let within = (0..hashes).filter(|n| met.range().contains(hash(*n)));
                let within = within.inspect(|n| assert!(met.contains(hash(*n)), "{n}")).count();
                assert_eq!(met.len(), within, "the set holds exactly the hashes of the range");
                assert!(within <= len_max, "{within} fit into {len_max}");
                seen += within;
                ranges += 1;
                if !met.next_range() {
                    break;
                }
            }
            assert_eq!(seen, hashes as usize);
            assert_eq!(ranges > 1, hashes as usize > len_max, "{ranges} ranges");
        };
        check(0, 1);
        check(1_000, 1_000);
        check(1_000, 999);
        check(3_000, 7);
    }

    #[test]
    fn hashes_that_begin_alike_stay_together() {
        let mut met = Met::new(1, HashRange::ALL, 2);
        let alike = |n: u8| RequestHash(std::array::from_fn(|at| if at == 31 { n } else { 5 }));
        (0..9).for_each(|n| met.insert(alike(n)));
        assert!((0..9).all(|n| !met.range().contains(alike(n)) || met.contains(alike(n))));
        while !met.range().contains(alike(0)) {
            assert!(met.next_range());
            (0..9).for_each(|n| met.insert(alike(n)));
        }
        assert_eq!(met.len(), 9);
    }

    #[test]
    fn a_winners_hash_does_not_keep_a_losers_blobs() {
        let mut met = Met::new(1, HashRange::ALL, 100);
        met.insert(hash(1));
        met.insert_blobs(hash(1), AttemptId([1; 16]));
        assert!(met.contains_blobs(hash(1), AttemptId([1; 16])));
        assert!(!met.contains_blobs(hash(1), AttemptId([2; 16])));
        assert!(!met.contains(hash(2)));
    }
}
