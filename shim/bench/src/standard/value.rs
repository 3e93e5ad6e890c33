//! The bytes of a value: metadata for the detector, then filler.
//!
//! As in the paper (section 6.1.2), each value says who wrote it, when, and what else was written
//! with it, so that a reader can detect an anomaly without help from the system:
//!
//! ```text
//!   magic 8 | run 8 | attempt 8 | number 8 | time 8 | count 2 | keys 4 × count | filler …
//!   (50 bytes for two writes)
//! ```
//!
//! The filler is incompressible, so that a store that compresses has no advantage.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const MAGIC: &[u8; 8] = b"aftbench";
const FIXED_BYTES: usize = 8 + 8 + 8 + 8 + 8 + 2;

/// The metadata in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The ID of the run, since several runs may use one server in turn.
    pub(crate) run: u64,
    /// The number of the attempt that wrote the value, unique in a run.
    pub(crate) attempt: u64,
    /// The number of this write, unique in a run and never 0.
    pub(crate) number: u64,
    /// The time at which the attempt began, in nanoseconds since the Unix epoch.
    pub(crate) time_ns: u64,
    /// The keys that the attempt writes, ascending.
    pub(crate) write_set: Vec<u32>,
}

/// Returns the size of the metadata of a transaction with this number of `writes`, in bytes.
pub(crate) fn metadata_bytes(writes: usize) -> usize {
    FIXED_BYTES + 4 * writes
}

/// An encoder for values of one size.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    filler: Arc<[u8]>,
}

impl Values {
    /// Returns an encoder for values of `value_bytes` each (or as long as their metadata, if that
    /// is longer).
    pub(crate) fn new(value_bytes: usize, seed: u64) -> Values {
        let mut filler = vec![0; value_bytes];
        StdRng::seed_from_u64(seed).fill_bytes(&mut filler);
        Values { filler: filler.into() }
    }

    /// Encodes the value of one write.
    pub(crate) fn encode(&self, metadata: &Metadata) -> Bytes {
        let head = metadata_bytes(metadata.write_set.len());
        let mut bytes = BytesMut::with_capacity(self.filler.len().max(head));
        bytes.put_slice(MAGIC);
        bytes.put_u64(metadata.run);
        bytes.put_u64(metadata.attempt);
        bytes.put_u64(metadata.number);
        bytes.put_u64(metadata.time_ns);
        bytes.put_u16(u16::try_from(metadata.write_set.len()).expect("options bound a transaction's writes"));
        for key in &metadata.write_set {
            bytes.put_u32(*key);
        }
        bytes.put_slice(self.filler.get(head..).unwrap_or_default());
        bytes.freeze()
    }
}

/// Decodes a value's metadata; `None` if the value is not of this load.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Metadata> {
    bytes = bytes.strip_prefix(MAGIC)?;
    let run = bytes.try_get_u64().ok()?;
    let attempt = bytes.try_get_u64().ok()?;
    let number = bytes.try_get_u64().ok()?;
    let time_ns = bytes.try_get_u64().ok()?;
    let count = bytes.try_get_u16().ok()?;
    let write_set = (0..count).map(|_| bytes.try_get_u32()).collect::<Result<_, _>>().ok()?;
    Some(Metadata { run, attempt, number, time_ns, write_set })
}

#[cfg(test)]
mod tests {
    use super::{Metadata, Values, decode, metadata_bytes};

    #[test]
    fn round_trip() {
        for value_bytes in [0, 50, 4096] {
            for write_set in [vec![], vec![7], vec![1, 999]] {
                let metadata = Metadata { run: 1, attempt: 2, number: 3, time_ns: u64::MAX, write_set };
                let bytes = Values::new(value_bytes, 1).encode(&metadata);
                assert_eq!(bytes.len(), value_bytes.max(metadata_bytes(metadata.write_set.len())));
                assert_eq!(decode(&bytes).as_ref(), Some(&metadata));
            }
        }
        assert_eq!(decode(b"something else"), None);
        assert_eq!(decode(b"aftbench\0\0"), None);
    }
}
