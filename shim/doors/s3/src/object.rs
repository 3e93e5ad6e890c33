//! Objects and buckets as keys and values of the shim's store.
//!
//! The object `KEY` of the bucket `NAME` is the key `NAME/KEY`. A bucket exists while the key
//! `NAME/`, its *marker*, has a value: no object has an empty key. So a bucket is a prefix of keys,
//! which the native API reads and writes as well, and whether it exists is a committed fact like
//! any other.

use aft_core::ids::{Key, TxnId};
use aft_core::message::Read;
use aft_core::record::{Location, Value};
use aft_desk::large::size_of;
use aft_desk::{Version, attributes_of, value_of};
use aft_format::{Attributes, ComposedTag};
use bytes::Bytes;

use crate::failure::Result;
use crate::origin::mapping::Kind;
use crate::origin::through::Through;

/// The longest key of an object, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 1_024;
/// The longest name of a bucket, in bytes.
const BUCKET_BYTES_MAX: usize = 63;
const _: () = assert!(BUCKET_BYTES_MAX + 1 + KEY_BYTES_MAX <= Key::BYTES_MAX);

/// Returns the text of an object's key.
pub(crate) fn name(bucket: &str, key: &str) -> String {
    format!("{bucket}/{key}")
}

/// Returns the key of a bucket's marker. Everybody may learn whether a bucket exists, so it needs
/// no right.
pub(crate) fn marker(bucket: &str) -> Key {
    assert!(
        (1..=BUCKET_BYTES_MAX).contains(&bucket.len()),
        "{bucket:?} was checked to be a name of a bucket"
    );
    Key::parse(&name(bucket, "")).expect("a short text with a slash is a key")
}

/// Returns a value of the endpoint's own, without attributes.
pub(crate) fn inline(bytes: Bytes) -> Value {
    Value {
        size: bytes.len() as u64,
        location: Location::Inline(bytes),
        etag: Bytes::new(),
        attributes: Bytes::new(),
    }
}

/// Returns the kind of a bucket and its version, if this is its marker; `None` if the bucket does
/// not exist. A key that holds other bytes was written by the native API, and makes no bucket.
pub(crate) fn bucket_of(marker: Read) -> Option<(Kind, Version)> {
    let (value, version) = value_of(marker.found)?;
    let Location::Inline(bytes) = &value.location else { return None };
    Some((Kind::of(bytes)?, version))
}

/// An object that was read, without its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) key: Key,
    pub(crate) value: Value,
    pub(crate) version: Version,
    pub(crate) about: Attributes,
    /// The place of the bytes, if they are at the bucket's origin.
    pub(crate) through: Option<Through>,
}

impl Object {
    /// Returns the object that a read found.
    pub(crate) fn of(read: Read) -> Result<Option<Object>> {
        let key = read.key;
        let Some((value, version)) = value_of(read.found) else { return Ok(None) };
        let about = attributes_of(&key, &value)?;
        Ok(Some(Object { key, value, version, about, through: None }))
    }

    /// Returns true if the bytes are in the value itself.
    pub(crate) fn is_at_hand(&self) -> bool {
        let is_inline = matches!(self.value.location, Location::Inline(_));
        is_inline && self.about.upload.is_none() && self.through.is_none()
    }

    /// Returns the entity tag, without quotes.
    pub(crate) fn etag(&self) -> String {
        etag(&self.value.etag, self.version)
    }

    /// Returns the number of parts of an object that was uploaded in parts.
    pub(crate) fn parts(&self) -> Option<i32> {
        ComposedTag::of(&self.value.etag).map(|tag| i32::from(tag.parts))
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> u64 {
        size_of(&self.value.etag, self.value.size)
    }

    /// Returns the time of the last change of the bytes, in milliseconds since the epoch. An
    /// uncommitted write changes at `now_ms`.
    pub(crate) fn modified_ms(&self, now_ms: u64) -> u64 {
        self.about.modified_ms.unwrap_or_else(|| modified_ms(self.version, now_ms))
    }
}

/// Returns the time at which a version was written.
pub(crate) fn modified_ms(version: Version, now_ms: u64) -> u64 {
    match version {
        Version::Uncommitted => now_ms,
        Version::Committed(txn) => txn.time.ms(),
    }
}

/// Returns the entity tag of a version. That of a composed value is the MD5 of the MD5s of its
/// parts, with their number. A value that the native API wrote has no MD5, so its tag is
/// made of its transaction. It has the form of the tag of a multipart upload, which clients do not
/// take for an MD5.
pub(crate) fn etag(kept: &[u8], version: Version) -> String {
    if let Some(tag) = ComposedTag::of(kept) {
        return format!("{}-{}", hex(&tag.md5), tag.parts);
    }
    match (std::str::from_utf8(kept), version) {
        (Ok(kept), _) if !kept.is_empty() => kept.to_owned(),
        (_, Version::Committed(TxnId { attempt, .. })) => {
            format!("{}-1", hex(&attempt.0))
        }
        (_, Version::Uncommitted) => format!("{}-1", "0".repeat(32)),
    }
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
