//! The frame around every body.
//!
//! ```text
//! ┌─────────┬────────────────────┬─────────────
//! │ format  │ checksum (8 bytes) │ payload …
//! └─────────┴────────────────────┴─────────────
//! ```
//!
//! The checksum covers the object's name and the payload: a flipped bit, a cut body and a body under another object's name are all found. It defends
//! against accidents, not against people.
//!
//! | format | checksum | of |
//! |---|---|---|
//! | 1 | the start of SHA-256 | all objects but parts; it is here already, and a record of 4 KiB takes 3 µs |
//! | 2 | XXH3, 64 bits | parts of large values, where SHA-256 would be most of the work: 8 MiB take under a millisecond instead of five |

use aft_store::Name;
use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::fault::{Fault, check_format};

/// The newest format that this program reads.
const FORMAT_MAX: u8 = Sum::Xxh3 as u8;
/// Of the checksum: one accident in 2^64 passes.
const CHECKSUM_LEN: usize = 8;
/// What stands before the payload.
const HEADER_LEN: usize = 1 + CHECKSUM_LEN;

/// A kind of checksum; its number is the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    Sha256 = 1,
    Xxh3 = 2,
}

impl Sum {
    fn of_format(format: u8) -> Result<Sum, Fault> {
        check_format(format, FORMAT_MAX)?;
        Ok(if format == Sum::Sha256 as u8 { Sum::Sha256 } else { Sum::Xxh3 })
    }

    fn of(self, name: &Name, payload: &[u8]) -> [u8; CHECKSUM_LEN] {
        let (group, item) = (&name.group, &name.item);
        let (group_len, item_len) = ((group.len() as u64).to_be_bytes(), (item.len() as u64).to_be_bytes());
        let summed: [&[u8]; 6] = [&[name.space as u8], &group_len, group, &item_len, item, payload];
        match self {
            Sum::Sha256 => {
                let mut hasher = Sha256::new();
                summed.iter().for_each(|bytes| hasher.update(bytes));
                let digest: [u8; 32] = hasher.finalize().into();
                std::array::from_fn(|at| digest[at])
            }
            Sum::Xxh3 => {
                let mut hasher = Xxh3::new();
                summed.iter().for_each(|bytes| hasher.update(bytes));
                hasher.digest().to_be_bytes()
            }
        }
    }
}

/// A framed body. `write` appends the payload, about `payload_len` bytes of it.
pub(crate) fn seal(name: &Name, sum: Sum, payload_len: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut body = BytesMut::with_capacity(HEADER_LEN + payload_len);
    body.put_u8(sum as u8);
    body.put_bytes(0, CHECKSUM_LEN);
    write(&mut body);
    let sum = sum.of(name, &body[HEADER_LEN..]);
    body[1..HEADER_LEN].copy_from_slice(&sum);
    body.freeze()
}

/// The payload of a framed body.
pub(crate) fn open(name: &Name, body: &Bytes) -> Result<Bytes, Fault> {
    let format = *body.first().ok_or(Fault::Broken("the body is empty"))?;
    let sum = Sum::of_format(format)?;
    if body.len() < HEADER_LEN {
        return Err(Fault::Broken("the body is cut short"));
    }
    let payload = body.slice(HEADER_LEN..);
    if sum.of(name, &payload) != body[1..HEADER_LEN] {
        return Err(Fault::Broken("the body's checksum does not match"));
    }
    Ok(payload)
}
