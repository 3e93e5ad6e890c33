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
        let mut running = Running::new(self, name);
        running.update(payload);
        running.sum()
    }
}

/// A checksum under way.
enum Running {
    Sha256(Sha256),
    Xxh3(Box<Xxh3>),
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Running::Sha256(_) => "SHA-256",
            Running::Xxh3(_) => "XXH3",
        })
    }
}

impl Running {
    /// The name is summed.
    fn new(sum: Sum, name: &Name) -> Running {
        let mut running = match sum {
            Sum::Sha256 => Running::Sha256(Sha256::new()),
            Sum::Xxh3 => Running::Xxh3(Box::default()),
        };
        let (group, item) = (&name.group, &name.item);
        let (group_len, item_len) = ((group.len() as u64).to_be_bytes(), (item.len() as u64).to_be_bytes());
        let summed: [&[u8]; 5] = [&[name.space as u8], &group_len, group, &item_len, item];
        summed.iter().for_each(|bytes| running.update(bytes));
        running
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Running::Sha256(hasher) => hasher.update(bytes),
            Running::Xxh3(hasher) => hasher.update(bytes),
        }
    }

    /// Of all so far.
    fn sum(&self) -> [u8; CHECKSUM_LEN] {
        match self {
            Running::Sha256(hasher) => {
                let digest: [u8; 32] = hasher.clone().finalize().into();
                std::array::from_fn(|at| digest[at])
            }
            Running::Xxh3(hasher) => hasher.digest().to_be_bytes(),
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

/// How much of a payload has gone on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gone {
    /// In bytes.
    pub bytes: usize,
    /// Of those bytes.
    sum: [u8; CHECKSUM_LEN],
}

/// A framed body that is opened piece by piece.
#[derive(Debug)]
pub(crate) struct Opening {
    name: Name,
    header: BytesMut,
    /// From the header's end on.
    running: Option<Running>,
    /// The last piece.
    held: Bytes,
    /// Of the payload.
    received: usize,
    /// In earlier tries.
    before: Gone,
    gone: Gone,
}

impl Opening {
    /// A body of which so much has gone on in earlier tries.
    pub(crate) fn new(name: Name, before: Gone) -> Opening {
        Opening {
            name,
            header: BytesMut::new(),
            running: None,
            held: Bytes::new(),
            received: 0,
            before,
            gone: before,
        }
    }

    /// Takes the body's next piece, and gives one of the payload that may go on: empty if there is none. One piece is held back.
    pub(crate) fn push(&mut self, mut piece: Bytes) -> Result<Bytes, Fault> {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let missing = HEADER_LEN - self.header.len();
                self.header.extend_from_slice(&piece.split_to(missing.min(piece.len())));
                if self.header.len() < HEADER_LEN {
                    return Ok(Bytes::new());
                }
                self.running.insert(Running::new(Sum::of_format(self.header[0])?, &self.name))
            }
        };
        if self.received < self.before.bytes {
            let known = piece.split_to(piece.len().min(self.before.bytes - self.received));
            running.update(&known);
            self.received += known.len();
            if self.received == self.before.bytes && running.sum() != self.before.sum {
                return Err(Fault::Broken("the body is another one than a moment ago"));
            }
        }
        if piece.is_empty() {
            return Ok(piece);
        }
        self.gone = Gone { bytes: self.received, sum: running.sum() };
        running.update(&piece);
        self.received += piece.len();
        Ok(std::mem::replace(&mut self.held, piece))
    }

    /// What has gone on, in earlier tries and in this one.
    pub(crate) fn gone(&self) -> Gone {
        self.gone
    }

    /// The piece that was held back, if the whole payload is right.
    pub(crate) fn end(&mut self) -> Result<Bytes, Fault> {
        let Some(running) = &self.running else {
            return Err(Fault::Broken(if self.header.is_empty() {
                "the body is empty"
            } else {
                "the body is cut short"
            }));
        };
        if running.sum() != self.header[1..HEADER_LEN] {
            return Err(Fault::Broken("the body's checksum does not match"));
        }
        Ok(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use aft_store::Space;

    use super::*;

    fn name(item: &'static str) -> Name {
        Name::new(Space::Blob, "attempt", item)
    }

    fn sealed(sum: Sum, payload: &[u8]) -> Bytes {
        seal(&name("part"), sum, payload.len(), |body| body.put_slice(payload))
    }

    fn payload() -> Vec<u8> {
        (0..1_000_u32).map(|at| (at * 7 % 251) as u8).collect()
    }

    /// What goes on of a body that comes in pieces of this size.
    fn opened(opening: &mut Opening, body: &Bytes, piece_bytes: usize) -> Result<Vec<u8>, Fault> {
        let mut gone = Vec::new();
        for piece in body.chunks(piece_bytes) {
            gone.extend_from_slice(&opening.push(body.slice_ref(piece))?);
        }
        Ok(gone)
    }

    #[test]
    fn pieces_of_every_size_make_the_payload() {
        for sum in [Sum::Sha256, Sum::Xxh3] {
            for len in [0, 1, 2, 1_000] {
                let body = sealed(sum, &payload()[..len]);
                assert_eq!(open(&name("part"), &body).unwrap(), payload()[..len]);
                for piece_bytes in [1, 2, 8, 9, 10, 11, 500, 2_000] {
                    let mut opening = Opening::new(name("part"), Gone::default());
                    let mut gone = opened(&mut opening, &body, piece_bytes).unwrap();
                    assert_eq!(opening.gone().bytes, gone.len());
                    assert!(len == 0 || gone.len() < len, "the end is held back");
                    gone.extend_from_slice(&opening.end().unwrap());
                    assert_eq!(gone, payload()[..len]);
                }
            }
        }
    }

    #[test]
    fn what_is_damaged_does_not_come_to_its_end() {
        for at in [1, 9, 10, 500, 1_008] {
            let mut body = sealed(Sum::Xxh3, &payload()).to_vec();
            body[at] ^= 1;
            let mut opening = Opening::new(name("part"), Gone::default());
            opened(&mut opening, &body.into(), 100).unwrap();
            assert_eq!(opening.end(), Err(Fault::Broken("the body's checksum does not match")), "byte {at}");
        }
        let body = sealed(Sum::Xxh3, &payload());
        for len in [0, 1, 8, 9, 500, 1_008] {
            let mut opening = Opening::new(name("part"), Gone::default());
            opened(&mut opening, &body.slice(..len), 100).unwrap();
            assert!(opening.end().is_err(), "{len} bytes");
        }
        let mut elsewhere = Opening::new(name("another"), Gone::default());
        opened(&mut elsewhere, &body, 100).unwrap();
        assert!(elsewhere.end().is_err());
        let mut newer = body.to_vec();
        newer[0] = FORMAT_MAX + 1;
        let mut opening = Opening::new(name("part"), Gone::default());
        assert!(matches!(opened(&mut opening, &newer.into(), 100), Err(Fault::Newer { .. })));
    }

    #[test]
    fn a_second_try_goes_on_where_the_first_one_ended() {
        let body = sealed(Sum::Xxh3, &payload());
        for cut in [0, 5, 9, 10, 300, 333, 900, 1_009] {
            for piece_bytes in [1, 70, 333, 2_000] {
                let mut first = Opening::new(name("part"), Gone::default());
                let mut gone = opened(&mut first, &body.slice(..cut), 100).unwrap();
                // Broken off twice, the second time before it came as far.
                let mut second = Opening::new(name("part"), first.gone());
                gone.extend(opened(&mut second, &body.slice(..cut / 2), 100).unwrap());
                let mut third = Opening::new(name("part"), second.gone());
                gone.extend(opened(&mut third, &body, piece_bytes).unwrap());
                gone.extend_from_slice(&third.end().unwrap());
                assert_eq!(gone, payload(), "{cut} {piece_bytes}");
            }
        }
    }

    #[test]
    fn a_second_try_that_differs_is_found() {
        let mut first = Opening::new(name("part"), Gone::default());
        opened(&mut first, &sealed(Sum::Xxh3, &payload()).slice(..700), 100).unwrap();
        let mut other = payload();
        other[5] ^= 1;
        let mut second = Opening::new(name("part"), first.gone());
        let outcome = opened(&mut second, &sealed(Sum::Xxh3, &other), 100);
        assert_eq!(outcome, Err(Fault::Broken("the body is another one than a moment ago")));
    }
}
