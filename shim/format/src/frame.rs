//! The frame around every body.
//!
//! ```text
//! ┌──────────────────────┬──────┬────────────────────┬─────────────
//! │ format 2 · checksum  │ kind │ checksum (8 bytes) │ payload …
//! │ (4 bits · 4 bits)    │      │                    │
//! └──────────────────────┴──────┴────────────────────┴─────────────
//! ```
//!
//! The checksum covers the object's name, the two bytes before it and the payload: a flipped bit, a
//! truncated body and a body under another object's name are all found. It defends against
//! accidents, not against people.
//!
//! It is XXH3 with 64 bits, which has the number 2: 8 MiB take under a millisecond, a record of two
//! values of 4 KiB less than one microsecond.
//!
//! The first version's bodies begin with 1 or 2, and it calls greater bytes *newer*. So it refuses
//! all of these, whose first byte is 0x22.

use aft_store::Name;
use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

use crate::FORMAT;
use crate::fault::{Fault, check_format};

/// One accident in 2^64 passes.
const CHECKSUM_LEN: usize = 8;
/// The first byte and the kind.
const PREFIX_LEN: usize = 2;
/// All that lies before the payload.
pub(crate) const HEADER_LEN: usize = PREFIX_LEN + CHECKSUM_LEN;
const _: () = assert!(HEADER_LEN <= aft_store::PART_BYTES_BEYOND, "a store takes a part with its frame");

/// The number of XXH3 with 64 bits; durable.
const CHECKSUM: u8 = 2;

const _: () = assert!(CHECKSUM < 16, "the checksum's number has four bits");
const _: () = assert!(FORMAT > 0 && FORMAT < 16, "the format number has four bits");
const _: () = assert!((FORMAT << 4) > 2, "the first version refuses these bodies");

/// A kind of body; its number is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Record = 1,
    Stub = 2,
    Part = 3,
    Format = 4,
    Text = 5,
    Notes = 6,
    Entry = 7,
    Aborted = 8,
    Free = 9,
    Claim = 10,
}

impl Kind {
    fn of_byte(byte: u8) -> Result<Kind, Fault> {
        match byte {
            1 => Ok(Kind::Record),
            2 => Ok(Kind::Stub),
            3 => Ok(Kind::Part),
            4 => Ok(Kind::Format),
            5 => Ok(Kind::Text),
            6 => Ok(Kind::Notes),
            7 => Ok(Kind::Entry),
            8 => Ok(Kind::Aborted),
            9 => Ok(Kind::Free),
            10 => Ok(Kind::Claim),
            _ => Err(Fault::Broken("unknown kind of body")),
        }
    }

    /// Returns the two bytes that a body of this kind begins with.
    const fn prefix(self) -> [u8; PREFIX_LEN] {
        [FORMAT << 4 | CHECKSUM, self as u8]
    }

    /// Reads the first bytes of a body.
    fn of_prefix(prefix: [u8; PREFIX_LEN]) -> Result<Kind, Fault> {
        check_first_byte(prefix[0])?;
        let kind = Kind::of_byte(prefix[1])?;
        if prefix[0] == kind.prefix()[0] { Ok(kind) } else { Err(Fault::Broken("unknown checksum")) }
    }
}

/// Checks the format number in a body's first byte. The first version has its number in the lower
/// bits.
pub(crate) fn check_first_byte(byte: u8) -> Result<(), Fault> {
    match byte {
        1 | 2 => Err(Fault::First),
        _ => check_format(byte >> 4),
    }
}

/// A checksum in progress.
struct Running(Xxh3);

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("XXH3")
    }
}

impl Running {
    /// Begins a sum with the name and the body's first bytes.
    fn new(kind: Kind, name: &Name) -> Running {
        let mut running = Running(Xxh3::new());
        let (group, item) = (&name.group, &name.item);
        let (group_len, item_len) = ((group.len() as u64).to_be_bytes(), (item.len() as u64).to_be_bytes());
        let summed: [&[u8]; 6] = [&kind.prefix(), &[name.space as u8], &group_len, group, &item_len, item];
        summed.iter().for_each(|bytes| running.update(bytes));
        running
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the sum of all bytes so far.
    fn sum(&self) -> [u8; CHECKSUM_LEN] {
        self.0.digest().to_be_bytes()
    }
}

/// Returns a framed body. `write` appends the payload, about `payload_len` bytes of it.
pub(crate) fn seal(name: &Name, kind: Kind, payload_len: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut body = BytesMut::with_capacity(HEADER_LEN + payload_len);
    body.put_slice(&kind.prefix());
    body.put_bytes(0, CHECKSUM_LEN);
    write(&mut body);
    assert!(body.len() >= HEADER_LEN, "a payload is appended");
    let mut running = Running::new(kind, name);
    running.update(&body[HEADER_LEN..]);
    body[PREFIX_LEN..HEADER_LEN].copy_from_slice(&running.sum());
    body.freeze()
}

/// Returns the kind and the payload of a framed body. The payload is a slice of the body.
pub(crate) fn open(name: &Name, body: &Bytes) -> Result<(Kind, Bytes), Fault> {
    let first = *body.first().ok_or(Fault::Broken("the body is empty"))?;
    // The format number comes first: a body of another version may have any length.
    check_first_byte(first)?;
    if body.len() < HEADER_LEN {
        return Err(Fault::Broken("the body is truncated"));
    }
    let kind = Kind::of_prefix([first, body[1]])?;
    let payload = body.slice(HEADER_LEN..);
    let mut running = Running::new(kind, name);
    running.update(&payload);
    if running.sum() != body[PREFIX_LEN..HEADER_LEN] {
        return Err(Fault::Broken("the body's checksum does not match"));
    }
    Ok((kind, payload))
}

/// The amount of a payload that has been passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gone {
    /// The number of bytes.
    pub bytes: usize,
    /// The checksum of those bytes.
    sum: [u8; CHECKSUM_LEN],
}

/// A framed body of one kind that is opened piece by piece.
#[derive(Debug)]
pub(crate) struct Opening {
    name: Name,
    kind: Kind,
    header: BytesMut,
    /// The sum so far, once the header is complete.
    running: Option<Box<Running>>,
    /// The last piece.
    held: Bytes,
    /// Bytes of the payload that came.
    received: usize,
    /// Bytes that earlier tries passed on.
    before: Gone,
    gone: Gone,
}

impl Opening {
    /// Opens a body of which earlier tries passed on `before`.
    pub(crate) fn new(name: Name, kind: Kind, before: Gone) -> Opening {
        Opening {
            name,
            kind,
            header: BytesMut::new(),
            running: None,
            held: Bytes::new(),
            received: 0,
            before,
            gone: before,
        }
    }

    /// Takes the body's next piece, and returns payload that may be passed on: empty if there is
    /// none. One piece is held back.
    pub(crate) fn push(&mut self, mut piece: Bytes) -> Result<Bytes, Fault> {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let missing = HEADER_LEN - self.header.len();
                self.header.extend_from_slice(&piece.split_to(missing.min(piece.len())));
                if let Some(first) = self.header.first() {
                    check_first_byte(*first)?;
                }
                if self.header.len() < HEADER_LEN {
                    return Ok(Bytes::new());
                }
                if Kind::of_prefix([self.header[0], self.header[1]])? != self.kind {
                    return Err(Fault::Broken("the body is of another kind"));
                }
                self.running.insert(Box::new(Running::new(self.kind, &self.name)))
            }
        };
        // Sum again what an earlier try passed on, and compare: the rest must belong to the same
        // body.
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
        assert!(self.gone.bytes < self.received, "the newest piece is held back");
        Ok(std::mem::replace(&mut self.held, piece))
    }

    /// Returns the amount passed on, in earlier tries and in this one.
    pub(crate) fn gone(&self) -> Gone {
        self.gone
    }

    /// Returns the piece that was held back, if the whole payload is right.
    pub(crate) fn end(&mut self) -> Result<Bytes, Fault> {
        let Some(running) = &self.running else {
            return Err(Fault::Broken(if self.header.is_empty() {
                "the body is empty"
            } else {
                "the body is truncated"
            }));
        };
        if running.sum() != self.header[PREFIX_LEN..HEADER_LEN] {
            return Err(Fault::Broken("the body's checksum does not match"));
        }
        if self.received < self.before.bytes {
            return Err(Fault::Broken("the body is another one than a moment ago"));
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

    fn sealed(kind: Kind, payload: &[u8]) -> Bytes {
        seal(&name("part"), kind, payload.len(), |body| body.put_slice(payload))
    }

    fn payload() -> Vec<u8> {
        (0..1_000_u32).map(|at| (at * 7 % 251) as u8).collect()
    }

    fn opening(before: Gone) -> Opening {
        Opening::new(name("part"), Kind::Part, before)
    }

    /// Returns the payload that is passed on of a body in pieces of this size.
    fn opened(opening: &mut Opening, body: &Bytes, piece_bytes: usize) -> Result<Vec<u8>, Fault> {
        let mut gone = Vec::new();
        for piece in body.chunks(piece_bytes) {
            gone.extend_from_slice(&opening.push(body.slice_ref(piece))?);
        }
        Ok(gone)
    }

    #[test]
    fn pieces_of_every_size_make_the_payload() {
        for kind in [Kind::Part, Kind::Record] {
            for len in [0, 1, 2, 1_000] {
                let body = sealed(kind, &payload()[..len]);
                assert_eq!(open(&name("part"), &body).unwrap(), (kind, payload()[..len].to_vec().into()));
                for piece_bytes in [1, 2, 9, 10, 11, 12, 500, 2_000] {
                    let mut opening = Opening::new(name("part"), kind, Gone::default());
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
    fn damaged_bodies_do_not_come_to_their_end() {
        for at in [2, 9, 10, 500, 1_009] {
            let mut body = sealed(Kind::Part, &payload()).to_vec();
            body[at] ^= 1;
            let mut opening = opening(Gone::default());
            opened(&mut opening, &body.into(), 100).unwrap();
            assert_eq!(opening.end(), Err(Fault::Broken("the body's checksum does not match")), "byte {at}");
        }
        let body = sealed(Kind::Part, &payload());
        for len in [0, 1, 9, 10, 500, 1_009] {
            let mut opening = opening(Gone::default());
            opened(&mut opening, &body.slice(..len), 100).unwrap();
            assert!(opening.end().is_err(), "{len} bytes");
        }
        let mut elsewhere = Opening::new(name("another"), Kind::Part, Gone::default());
        opened(&mut elsewhere, &body, 100).unwrap();
        assert!(elsewhere.end().is_err());
    }

    #[test]
    fn other_formats_and_kinds_are_refused_at_the_first_byte_that_says_so() {
        let check = |at: usize, byte: u8, expect: Fault| {
            let mut body = sealed(Kind::Part, &payload()).to_vec();
            body[at] = byte;
            let body = Bytes::from(body);
            assert_eq!(open(&name("part"), &body).map(|_| ()), Err(expect.clone()), "byte {at} is {byte}");
            assert_eq!(opened(&mut opening(Gone::default()), &body, 100), Err(expect), "byte {at} is {byte}");
        };
        check(0, 1, Fault::First);
        check(0, 2, Fault::First);
        check(0, 0x31, Fault::Newer { found: 3 });
        check(0, 0xff, Fault::Newer { found: 15 });
        check(0, 0, Fault::Broken("format 0, which never was"));
        check(0, 0x21, Fault::Broken("unknown checksum"));
        check(0, 0x20, Fault::Broken("unknown checksum"));
        check(1, 11, Fault::Broken("unknown kind of body"));
        let record = sealed(Kind::Record, &payload());
        let found = opened(&mut opening(Gone::default()), &record, 100);
        assert_eq!(found, Err(Fault::Broken("the body is of another kind")));
    }

    #[test]
    fn a_second_try_goes_on_from_the_end_of_the_first() {
        let body = sealed(Kind::Part, &payload());
        for cut in [0, 5, 10, 11, 300, 333, 900, 1_010] {
            for piece_bytes in [1, 70, 333, 2_000] {
                let mut first = opening(Gone::default());
                let mut gone = opened(&mut first, &body.slice(..cut), 100).unwrap();
                // Broken off twice, the second time before it came as far.
                let mut second = opening(first.gone());
                gone.extend(opened(&mut second, &body.slice(..cut / 2), 100).unwrap());
                let mut third = opening(second.gone());
                gone.extend(opened(&mut third, &body, piece_bytes).unwrap());
                gone.extend_from_slice(&third.end().unwrap());
                assert_eq!(gone, payload(), "{cut} {piece_bytes}");
            }
        }
    }

    #[test]
    fn a_second_try_that_differs_is_found() {
        let mut first = opening(Gone::default());
        opened(&mut first, &sealed(Kind::Part, &payload()).slice(..700), 100).unwrap();
        let mut other = payload();
        other[5] ^= 1;
        let mut second = opening(first.gone());
        let outcome = opened(&mut second, &sealed(Kind::Part, &other), 100);
        assert_eq!(outcome, Err(Fault::Broken("the body is another one than a moment ago")));
        // A shorter body, which is right by itself, ends before the place where the first try broke
        // off.
        let mut third = opening(first.gone());
        opened(&mut third, &sealed(Kind::Part, &payload()[..100]), 100).unwrap();
        assert_eq!(third.end(), Err(Fault::Broken("the body is another one than a moment ago")));
    }
}
