//! Composed values: values whose bytes are those of other values, one after the other, which other
//! transactions wrote. An upload in parts ends in one, without a copy of the parts.
//!
//! The value under the key is a [`Manifest`], an ordinary value. Its entity tag is a
//! [`ComposedTag`], so that a listing knows the size without the manifest. Who keeps the bytes of
//! the parts alive: `docs/protocol.md`, section 17. Both forms are durable.

use aft_core::ids::{AttemptId, RequestHash};
use aft_core::record::{BlobGroup, BlobRef};
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use crate::messages;

/// The first byte of the tag of a composed value. Other tags are text.
const COMPOSED: u8 = 1;
/// The length of such a tag: the first byte, an MD5, a number of parts, a size.
const TAG_BYTES: usize = 1 + 16 + 2 + 8;

/// The entity tag of a composed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComposedTag {
    /// The MD5 of the MD5s of the parts.
    pub md5: [u8; 16],
    /// The number of parts.
    pub parts: u16,
    /// The size of the value in bytes.
    pub size: u64,
}

impl ComposedTag {
    /// Returns the tag as a value keeps it.
    pub fn to_bytes(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(TAG_BYTES);
        bytes.put_u8(COMPOSED);
        bytes.put_slice(&self.md5);
        bytes.put_u16(self.parts);
        bytes.put_u64(self.size);
        assert_eq!(bytes.len(), TAG_BYTES, "the tag has its fields");
        bytes.freeze()
    }

    /// Returns the tag that `bytes` are; `None` if they are the tag of another value.
    pub fn of(bytes: &[u8]) -> Option<ComposedTag> {
        let bytes: &[u8; TAG_BYTES] = bytes.try_into().ok()?;
        let field = |at: usize, len: usize| &bytes[at..at + len];
        (bytes[0] == COMPOSED).then(|| ComposedTag {
            md5: field(1, 16).try_into().expect("sixteen bytes"),
            parts: u16::from_be_bytes(field(17, 2).try_into().expect("two bytes")),
            size: u64::from_be_bytes(field(19, 8).try_into().expect("eight bytes")),
        })
    }
}

/// A piece of a composed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes that are kept in the manifest.
    Inline(Bytes),
    /// A blob of `size` bytes.
    Blob {
        /// The blob's place.
        blob: BlobRef,
        /// Its size in bytes.
        size: u64,
    },
}

impl Piece {
    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        match self {
            Piece::Inline(bytes) => bytes.len() as u64,
            Piece::Blob { size, .. } => *size,
        }
    }
}

/// The pieces of a composed value, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The pieces.
    pub pieces: Vec<Piece>,
}

impl Manifest {
    /// Returns the bytes that are stored under the value's key.
    pub fn to_bytes(&self) -> Bytes {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Inline(bytes) => {
                messages::Piece { inline: Some(bytes.clone()), ..messages::Piece::default() }
            }
            Piece::Blob { blob, size } => messages::Piece {
                attempt: Bytes::copy_from_slice(&blob.group.attempt.0),
                hash: Bytes::copy_from_slice(&blob.group.hash.0),
                number: blob.number,
                parts: blob.parts,
                part_bytes: blob.part_bytes,
                size: *size,
                inline: None,
                reserved_ms: blob.group.reserved_ms,
            },
        });
        messages::Manifest { pieces: pieces.collect() }.encode_to_vec().into()
    }

    /// Reads the bytes that are stored under the value's key; `None` if they are no manifest.
    pub fn from_bytes(bytes: &Bytes) -> Option<Manifest> {
        let manifest = messages::Manifest::decode(bytes.clone()).ok()?;
        let piece = |piece: messages::Piece| {
            if let Some(bytes) = piece.inline {
                return Some(Piece::Inline(bytes));
            }
            let group = BlobGroup {
                attempt: AttemptId(piece.attempt[..].try_into().ok()?),
                hash: RequestHash(piece.hash[..].try_into().ok()?),
                reserved_ms: piece.reserved_ms,
            };
            let blob =
                BlobRef { group, number: piece.number, parts: piece.parts, part_bytes: piece.part_bytes };
            Some(Piece::Blob { blob, size: piece.size })
        };
        let pieces = manifest.pieces.into_iter().map(piece).collect::<Option<_>>()?;
        Some(Manifest { pieces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are in stores: a change of this test is a change of the durable format.
    #[test]
    fn golden() {
        let tag = ComposedTag { md5: [7; 16], parts: 3, size: 0x0102 };
        let mut bytes = vec![1];
        bytes.extend([7; 16]);
        bytes.extend([0, 3, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(tag.to_bytes(), bytes);
        assert_eq!(ComposedTag::of(&bytes), Some(tag));
        for other in [&b""[..], b"5d41402abc4b2a76b9719d911017c592", &bytes[1..], &[0; TAG_BYTES]] {
            assert_eq!(ComposedTag::of(other), None);
        }

        let group = BlobGroup { attempt: AttemptId([1; 16]), hash: RequestHash([2; 32]), reserved_ms: 7 };
        let blob = BlobRef { group, number: 3, parts: 4, part_bytes: 5 };
        let pieces = vec![Piece::Blob { blob, size: 6 }, Piece::Inline(Bytes::from_static(b"end"))];
        let manifest = Manifest { pieces };
        let mut bytes = vec![0x0a, 62, 0x0a, 16];
        bytes.extend([1; 16]);
        bytes.extend([0x12, 32]);
        bytes.extend([2; 32]);
        bytes.extend([0x18, 3, 0x20, 4, 0x28, 5, 0x30, 6, 0x40, 7]);
        bytes.extend([0x0a, 5, 0x3a, 3, b'e', b'n', b'd']);
        assert_eq!(manifest.to_bytes(), bytes);
        assert_eq!(Manifest::from_bytes(&manifest.to_bytes()), Some(manifest));
        assert_eq!(Manifest::from_bytes(&Bytes::from_static(b"\x0a\x02\x0a\x00")), None);
        assert_eq!(Manifest::from_bytes(&Bytes::from_static(b"\xff")), None);
    }
}
