//! The two counters of a request, which make its effects visible.
//!
//! A value is a count (8 bytes, big-endian) followed by incompressible filler. A missing value
//! means a count of 0.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The size of the count itself, in bytes.
pub(crate) const COUNT_BYTES: usize = 8;

/// One of a request's two counters. The first function increments `A`, the second one `B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counter {
    A,
    B,
}

impl Counter {
    /// Both counters, in the order in which they are written.
    pub(crate) const ALL: [Counter; 2] = [Counter::A, Counter::B];

    /// Returns the last part of a counter's name, after its request's.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Counter::A => "a",
            Counter::B => "b",
        }
    }
}

/// Both counts of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counts {
    pub(crate) a: u64,
    pub(crate) b: u64,
}

impl Counts {
    /// Returns true if one effect happened and the other did not.
    pub(crate) fn is_half(self) -> bool {
        (self.a > 0) != (self.b > 0)
    }

    /// Returns true if an effect happened more than once.
    pub(crate) fn is_double(self) -> bool {
        self.a > 1 || self.b > 1
    }

    /// Returns true if no effect happened.
    pub(crate) fn is_nothing(self) -> bool {
        self.a == 0 && self.b == 0
    }
}

/// An encoder for values of one size.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    filler: Arc<[u8]>,
}

impl Values {
    /// Returns an encoder for values of `value_bytes` each, at least [`COUNT_BYTES`].
    pub(crate) fn new(value_bytes: usize, seed: u64) -> Values {
        let mut filler = vec![0; value_bytes.saturating_sub(COUNT_BYTES)];
        StdRng::seed_from_u64(seed).fill_bytes(&mut filler);
        Values { filler: filler.into() }
    }

    /// Encodes a counter's value.
    pub(crate) fn encode(&self, count: u64) -> Bytes {
        let mut bytes = BytesMut::with_capacity(COUNT_BYTES + self.filler.len());
        bytes.put_u64(count);
        bytes.put_slice(&self.filler);
        bytes.freeze()
    }
}

/// Decodes the count in a counter's value; `None` if `bytes` is too short to be one.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<u64> {
    bytes.try_get_u64().ok()
}

#[cfg(test)]
mod tests {
    use super::{Counts, Values, decode};

    #[test]
    fn round_trip() {
        for value_bytes in [8, 9, 4096] {
            let bytes = Values::new(value_bytes, 1).encode(17);
            assert_eq!((bytes.len(), decode(&bytes)), (value_bytes, Some(17)));
        }
        assert_eq!(decode(b"short"), None);
    }

    #[test]
    fn counts_are_half_double_or_nothing() {
        let check = |a, b, half, double, nothing| {
            let counts = Counts { a, b };
            let found = (counts.is_half(), counts.is_double(), counts.is_nothing());
            assert_eq!(found, (half, double, nothing), "{counts:?}");
        };
        check(0, 0, false, false, true);
        check(1, 1, false, false, false);
        check(1, 0, true, false, false);
        check(0, 1, true, false, false);
        check(2, 1, false, true, false);
        check(1, 2, false, true, false);
        check(2, 0, true, true, false);
    }
}
