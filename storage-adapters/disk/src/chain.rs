//! The commit chain: every batch has a number, one more than that of the batch before, and a digest
//! of itself and of the chain so far.
//!
//! An LSM tree's own recovery takes a damaged batch in its journal for the torn end of an
//! unfinished write, and silently drops it and all that follow. The numbers reveal a missing batch,
//! and the digests a damaged one.
//!
//! The store keeps the newest link in the tree under a fixed key, so it is the last item of its
//! batch in the journal.

use crate::checksum::xxh64;

/// A link of the chain: the value of the last item of every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// The batch's number. The first is 1.
    pub number: u64,
    /// The digest of the batch before.
    pub previous: u64,
    /// The digest of this batch's other items, seeded with `previous` and the number.
    pub digest: u64,
}

impl Link {
    /// The length of an encoded link.
    pub const BYTES: usize = 3 * 8;

    /// Returns the link's three fields, little-endian. The encoding is durable.
    pub fn encode(self) -> [u8; Link::BYTES] {
        let mut bytes = [0; Link::BYTES];
        for (i, field) in [self.number, self.previous, self.digest].into_iter().enumerate() {
            bytes[8 * i..8 * (i + 1)].copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Returns the link that `bytes` encode, or `None` if they have another length.
    pub fn decode(bytes: &[u8]) -> Option<Link> {
        let bytes: &[u8; Link::BYTES] = bytes.try_into().ok()?;
        let field = |i: usize| u64::from_le_bytes(bytes[8 * i..8 * (i + 1)].try_into().expect("8 bytes"));
        Some(Link { number: field(0), previous: field(1), digest: field(2) })
    }
}

/// The digest of a batch that is being built. Its items are added in their order in the journal,
/// the link left out.
#[derive(Debug, Clone, Copy)]
pub struct Digest(u64);

impl Digest {
    /// Returns the digest of an empty batch that follows the batch with `number` and `digest`.
    pub fn after(number: u64, digest: u64) -> Digest {
        Digest(xxh64(&(number + 1).to_le_bytes(), digest))
    }

    /// Adds the batch's next item: a value, or a deletion if `value` is `None`.
    pub fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        let seed = xxh64(key, self.0);
        self.0 = match value {
            Some(value) => xxh64(value, seed),
            // Another seed, so that a deletion differs from an empty value.
            None => xxh64(b"", !seed),
        };
    }

    /// Returns the digest, for [`Link::digest`].
    pub fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Link};

    #[test]
    fn links_round_trip() {
        let link = Link { number: 7, previous: 1 << 60, digest: u64::MAX };
        assert_eq!(Link::decode(&link.encode()), Some(link));
        assert_eq!(Link::decode(&link.encode()[1..]), None);
        assert_eq!(Link::decode(&[0; Link::BYTES + 1]), None);
    }

    #[test]
    fn a_digest_depends_on_everything() {
        let of = |number, previous, items: &[(&[u8], Option<&[u8]>)]| {
            let mut digest = Digest::after(number, previous);
            items.iter().for_each(|(key, value)| digest.add(key, *value));
            digest.finish()
        };
        let digests = [
            of(1, 2, &[]),
            of(2, 2, &[]),
            of(1, 3, &[]),
            of(1, 2, &[(b"k", Some(b"v"))]),
            of(1, 2, &[(b"kv", Some(b""))]),
            of(1, 2, &[(b"", Some(b"kv"))]),
            // A deletion differs from an empty value.
            of(1, 2, &[(b"k", Some(b""))]),
            of(1, 2, &[(b"k", None)]),
            of(1, 2, &[(b"k", None), (b"l", None)]),
            of(1, 2, &[(b"l", None), (b"k", None)]),
        ];
        let distinct: std::collections::BTreeSet<u64> = digests.into_iter().collect();
        assert_eq!(distinct.len(), digests.len(), "{digests:x?}");
    }
}
