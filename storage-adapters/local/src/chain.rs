//! The commit chain: every batch has a number, one more than that of the batch before, and a digest
//! of itself and of the chain so far.
//!
//! The tree's own recovery takes a damaged batch in its journal for the torn end of an unfinished
//! write, and silently drops it and all that follow. The numbers reveal a missing batch, and the
//! digests a damaged one.
//!
//! The newest link is stored in the tree under a fixed key, and is the last item of its batch in
//! the journal.

use crate::checksum::xxh64;

/// A link of the chain: the value of the last item of every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Link {
    /// The batch's number. The first is 1.
    pub(crate) number: u64,
    /// The digest of the batch before.
    pub(crate) previous: u64,
    /// The digest of this batch's other items, seeded with `previous` and the number.
    pub(crate) digest: u64,
}

impl Link {
    pub(crate) const BYTES: usize = 3 * 8;

    pub(crate) fn encode(self) -> [u8; Link::BYTES] {
        let mut bytes = [0; Link::BYTES];
        for (i, field) in [self.number, self.previous, self.digest].into_iter().enumerate() {
            bytes[8 * i..8 * (i + 1)].copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Link> {
        let bytes: &[u8; Link::BYTES] = bytes.try_into().ok()?;
        let field = |i: usize| u64::from_le_bytes(bytes[8 * i..8 * (i + 1)].try_into().expect("8 bytes"));
        Some(Link { number: field(0), previous: field(1), digest: field(2) })
    }
}

/// The digest of a batch that is being built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest(u64);

impl Digest {
    /// Returns the digest of an empty batch that follows the batch with `number` and `digest`.
    pub(crate) fn after(number: u64, digest: u64) -> Digest {
        Digest(xxh64(&(number + 1).to_le_bytes(), digest))
    }

    /// Adds the batch's next item: a value, or a deletion if `value` is `None`.
    pub(crate) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        let seed = xxh64(key, self.0);
        self.0 = match value {
            Some(value) => xxh64(value, seed),
            // Another seed, so that a deletion differs from an empty value.
            None => xxh64(b"", !seed),
        };
    }

    pub(crate) fn finish(self) -> u64 {
        self.0
    }
}
