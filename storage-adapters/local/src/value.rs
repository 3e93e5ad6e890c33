//! The encoding of the values that the tree holds under names.
//!
//! ```text
//! kind 1, inline:
//!     kind (1) │ tag (8) │ checksum (8) │ the body
//! kind 2, in a file beside the tree:
//!     kind (1) │ tag (8) │ checksum (8) │ file (8) │ length (8) │ body's checksum (8)
//! ```
//!
//! The checksum covers the key, the kind, the tag and all that follows. So a value that is damaged,
//! cut short or stored under another name is detected when it is read, even if the layers below
//! miss it. Integers are little-endian.

use bytes::Bytes;

use aft_disk::xxh64;

const INLINE: u8 = 1;
const IN_FILE: u8 = 2;
const HEADER_BYTES: usize = 1 + 8 + 8;
const FILE_PAYLOAD_BYTES: usize = 8 + 8 + 8;
/// The length of a value whose body is in a file, in bytes. A value of any other length holds its
/// body.
pub(crate) const FILE_REF_BYTES: usize = HEADER_BYTES + FILE_PAYLOAD_BYTES;

/// The place of a body that is too large for the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileRef {
    /// The number of the file, which is never used for another body.
    pub(crate) id: u64,
    /// The body's length in bytes.
    pub(crate) len: u64,
    /// The body's checksum, with the file's id as seed.
    pub(crate) checksum: u64,
}

/// A body as the tree holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Inline(Bytes),
    File(FileRef),
}

/// A decoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// The tag of this content, which is never used for another content.
    pub(crate) tag: u64,
    pub(crate) body: Body,
}

fn checksum(key: &[u8], kind: u8, tag: u64, payload: &[u8]) -> u64 {
    xxh64(payload, xxh64(key, tag ^ u64::from(kind) << 56))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Returns the value to store for a body under `key`.
pub(crate) fn encode(key: &[u8], tag: u64, body: &Body) -> Vec<u8> {
    let file_payload;
    let (kind, payload) = match body {
        Body::Inline(body) => (INLINE, &body[..]),
        Body::File(file) => {
            file_payload = [file.id, file.len, file.checksum].map(u64::to_le_bytes).concat();
            (IN_FILE, &file_payload[..])
        }
    };
    assert!(kind == INLINE || payload.len() == FILE_PAYLOAD_BYTES, "{} bytes", payload.len());
    let mut value = Vec::with_capacity(HEADER_BYTES + payload.len());
    value.push(kind);
    value.extend_from_slice(&tag.to_le_bytes());
    value.extend_from_slice(&checksum(key, kind, tag, payload).to_le_bytes());
    value.extend_from_slice(payload);
    value
}

/// Decodes the value stored under `key`.
///
/// # Errors
/// Returns a text that says what is wrong with the value if it is damaged or of an unknown kind.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Value, &'static str> {
    if value.len() < HEADER_BYTES {
        return Err("the stored value is shorter than its header");
    }
    let (kind, tag, payload) = (value[0], u64_at(value, 1), &value[HEADER_BYTES..]);
    if checksum(key, kind, tag, payload) != u64_at(value, 9) {
        return Err("the stored value does not match its checksum");
    }
    let body = match (kind, payload.len()) {
        (INLINE, _) => Body::Inline(Bytes::copy_from_slice(payload)),
        (IN_FILE, FILE_PAYLOAD_BYTES) => Body::File(FileRef {
            id: u64_at(payload, 0),
            len: u64_at(payload, 8),
            checksum: u64_at(payload, 16),
        }),
        _ => return Err("the stored value is of a kind that this version does not know"),
    };
    Ok(Value { tag, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let file = FileRef { id: 7, len: 1 << 23, checksum: 99 };
        for body in [Body::Inline(Bytes::from("a body")), Body::Inline(Bytes::new()), Body::File(file)] {
            let good = encode(b"key", 42, &body);
            assert_eq!(decode(b"key", &good), Ok(Value { tag: 42, body }));
            assert!(decode(b"another key", &good).is_err());
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(b"key", &bad).is_err(), "bit {bit}");
            }
            for len in 0..good.len() {
                assert!(decode(b"key", &good[..len]).is_err(), "cut to {len}");
            }
        }
    }
}
