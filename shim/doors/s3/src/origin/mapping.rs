//! The store's record of a bucket, in its marker, and the keys beside those of a bucket with an
//! origin.
//!
//! | key | says |
//! |---|---|
//! | `.origin/NAME/mapped` | the bucket has an origin |
//! | `.origin/NAME/behind` | the mirror was switched on, and has not listed every key yet |
//! | `.origin/NAME/hidden/KEY` | the bucket has deleted KEY: the origin has no version 0 of it |
//! | `.origin/NAME/due/ID/KEY` | a commit has changed KEY, and the mirror has to look at it |
//! | `.origin/NAME/plain/KEY` | the mirror has written KEY, and left this entity tag |
//!
//! A transaction of the bucket writes hidden keys and due ones together with the keys that it
//! changes, so both are true or neither is. No bucket is called `.origin`.

use aft_core::ids::{Key, TxnId};
use aft_core::message::{Condition, Op};
use aft_core::record::Value;
use aft_desk::attributes_of;
use aft_format::{Attributes, Pair};
use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::attributes::METADATA_BYTES_MAX;
use crate::failure::{Failure, Result};
use crate::object::{hex, inline, name};
use crate::origin::MARK;

/// The prefix of the keys beside those of buckets with an origin.
pub(crate) const PREFIX: &str = ".origin/";
/// The longest name of a bucket with an origin, in bytes: the longest key of an object must fit
/// behind it in an entry of the mirror's list.
pub(crate) const NAME_BYTES_MAX: usize = 34;
/// The number of digits of the ID of such an entry.
const ID_LEN: usize = 16;
const _: () = assert!(
    PREFIX.len() + NAME_BYTES_MAX + "/due/".len() + ID_LEN + 1 + crate::object::KEY_BYTES_MAX
        <= Key::BYTES_MAX
);

/// The beginning of a marker that records an origin. A marker with other bytes was written by the
/// native API.
const MAGIC: &[u8] = b"aft-origin 1\n";

/// A bucket, as its marker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All its objects are in the store.
    Own,
    /// It has an origin.
    Mapped(Mapping),
}

/// The origin of a bucket, as it is stored. The field numbers are durable.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Mapping {
    /// Drawn when the bucket was mapped: the marks of mirrored objects begin with it.
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// The place of the origin.
    #[prost(string, tag = "2")]
    pub(crate) place: String,
    /// True if committed versions are written to the origin.
    #[prost(bool, tag = "3")]
    pub(crate) mirror: bool,
}

impl Kind {
    /// Returns the bucket that a marker with these bytes describes.
    pub(crate) fn of(bytes: &Bytes) -> Option<Kind> {
        if bytes.is_empty() {
            return Some(Kind::Own);
        }
        Mapping::decode(bytes.strip_prefix(MAGIC)?).ok().map(Kind::Mapped)
    }

    /// Returns the bytes of the marker.
    fn bytes(&self) -> Bytes {
        match self {
            Kind::Own => Bytes::new(),
            Kind::Mapped(mapping) => [MAGIC, &mapping.encode_to_vec()].concat().into(),
        }
    }

    /// Returns the value of the marker.
    pub(crate) fn value(&self) -> Value {
        inline(self.bytes())
    }

    /// Returns the condition on the marker that the bucket is of this kind.
    pub(crate) fn holds(&self) -> Condition {
        Condition::Value(self.bytes())
    }

    /// Checks the attributes of an object that will be written to the bucket.
    ///
    /// # Errors
    /// Returns a failure if they have too much metadata for a mark.
    pub(crate) fn check(&self, about: &Attributes) -> Result<()> {
        match self {
            Kind::Mapped(mapping) if mapping.mirror => check_room_for_mark(&about.metadata),
            Kind::Mapped(_) | Kind::Own => Ok(()),
        }
    }

    /// Adds to operations on objects of a bucket what they mean for its origin. Returns the new
    /// entries of the mirror's list as well.
    ///
    /// # Errors
    /// Returns a failure if an object has too much metadata for a mark.
    pub(crate) fn complete(&self, bucket: &str, ops: Vec<Op>) -> Result<(Vec<Op>, Vec<Key>)> {
        let Kind::Mapped(mapping) = self else { return Ok((ops, Vec::new())) };
        let (first, mut all, mut dues) = (name(bucket, ""), Vec::with_capacity(ops.len()), Vec::new());
        for op in ops {
            let written = match &op {
                Op::Put(key, _) | Op::Delete(key) => key.as_str().strip_prefix(&first).map(str::to_owned),
                _ => None,
            };
            // Other keys are those of an upload.
            let Some(key) = written.filter(|key| !key.is_empty()) else {
                all.push(op);
                continue;
            };
            if let Op::Put(key, value) = &op {
                self.check(&attributes_of(key, value)?)?;
            }
            if matches!(op, Op::Delete(_)) {
                all.push(Op::Put(hidden(bucket, &key), inline(Bytes::new())));
            }
            all.push(op);
            if mapping.mirror {
                let due = due(bucket, &key);
                all.push(Op::Put(due.clone(), inline(Bytes::new())));
                dues.push(due);
            }
        }
        Ok((all, dues))
    }
}

/// Checks that an object's metadata leaves room for a mark.
fn check_room_for_mark(metadata: &[Pair]) -> Result<()> {
    let bytes: usize = metadata.iter().map(|pair| pair.name.len() + pair.value.len()).sum();
    let mark = MARK.len() + ID_LEN + 1 + VERSION_LEN + 1 + 16;
    if bytes + mark <= METADATA_BYTES_MAX {
        return Ok(());
    }
    let most = METADATA_BYTES_MAX - mark;
    let why = format!(
        "the metadata has {bytes} bytes, and in a bucket with a mirror at most {most} are allowed: its objects get a \
         mark there"
    );
    Err(Failure::new("MetadataTooLarge", 400, why))
}

impl Mapping {
    /// Returns the URL that an argument of the server names the origin with.
    pub(crate) fn argument(&self) -> String {
        let Mapping { place, mirror, .. } = self;
        match mirror {
            true => format!("{place}{}mirror=on", if place.contains('?') { '&' } else { '?' }),
            false => place.clone(),
        }
    }

    /// Returns the mark of a mirrored version of a key. It names the key, because a copy of the
    /// object keeps its metadata.
    pub(crate) fn mark(&self, key: &str, version: TxnId) -> String {
        format!("{}-{:016x}{}-{}", self.id, version.time.0, hex(&version.attempt.0), name_of(key))
    }

    /// Returns the version that a mark of this mapping names, if it is one of this key.
    pub(crate) fn marked(&self, key: &str, mark: &str) -> Option<TxnId> {
        let (version, named) = mark.strip_prefix(&self.id)?.strip_prefix('-')?.split_once('-')?;
        if named != name_of(key) || version.len() != VERSION_LEN || !version.is_ascii() {
            return None;
        }
        let (time, attempt) = version.split_at(16);
        let time = aft_core::ids::Hlc(u64::from_str_radix(time, 16).ok()?);
        let attempt = u128::from_str_radix(attempt, 16).ok()?.to_be_bytes();
        Some(TxnId { time, attempt: aft_core::ids::AttemptId(attempt) })
    }
}

/// Returns the part of a mark that names a key.
fn name_of(key: &str) -> String {
    hex(&Sha256::digest(key)[..8])
}

/// The number of digits of a version in a mark.
const VERSION_LEN: usize = 16 + 32;

fn own(bucket: &str, rest: std::fmt::Arguments<'_>) -> Key {
    Key::parse(&format!("{PREFIX}{bucket}/{rest}")).expect("the names of mapped buckets are short")
}

/// Returns the prefix of all keys beside a bucket's.
pub(crate) fn prefix(bucket: &str) -> String {
    format!("{PREFIX}{bucket}/")
}

/// Returns the key that says that a bucket has an origin.
pub(crate) fn mapped(bucket: &str) -> Key {
    own(bucket, format_args!("mapped"))
}

/// Returns the key that says that not every key of a bucket is on the mirror's list.
pub(crate) fn behind(bucket: &str) -> Key {
    own(bucket, format_args!("behind"))
}

/// Returns the key that says that a bucket has deleted `key`; with an empty one, the prefix of all
/// such keys.
pub(crate) fn hidden(bucket: &str, key: &str) -> Key {
    own(bucket, format_args!("hidden/{key}"))
}

/// Returns the key that says what the mirror has written under `key`; with an empty one, the prefix
/// of all such keys.
pub(crate) fn plain(bucket: &str, key: &str) -> Key {
    own(bucket, format_args!("plain/{key}"))
}

/// Returns a new entry of the mirror's list. No two are the same, so that no transaction conflicts
/// with the mirror.
pub(crate) fn due(bucket: &str, key: &str) -> Key {
    own(bucket, format_args!("due/{:016x}/{key}", rand::random::<u64>()))
}

/// Returns the prefix of all entries of the mirror's list.
pub(crate) fn dues(bucket: &str) -> String {
    format!("{PREFIX}{bucket}/due/")
}

/// Returns the key that an entry of the mirror's list names.
pub(crate) fn key_of_due<'a>(bucket: &str, due: &'a Key) -> Option<&'a str> {
    due.as_str().strip_prefix(&dues(bucket))?.get(ID_LEN + 1..).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use aft_core::ids::{AttemptId, Hlc};

    use super::*;

    fn mapping(mirror: bool) -> Mapping {
        Mapping { id: "00112233aabbccdd".into(), place: "s3://real/p/".into(), mirror }
    }

    /// The bytes are durable.
    #[test]
    fn markers_are_read_as_they_were_written() {
        let kind = Kind::Mapped(mapping(true));
        let bytes = b"aft-origin 1\n\x0a\x1000112233aabbccdd\x12\x0cs3://real/p/\x18\x01";
        assert_eq!(kind.bytes(), bytes[..]);
        for kind in [kind, Kind::Own, Kind::Mapped(mapping(false))] {
            assert_eq!(Kind::of(&kind.bytes()), Some(kind));
        }
        assert_eq!(Kind::of(&Bytes::from_static(b"written by somebody")), None);
    }

    #[test]
    fn marks_name_versions() {
        let version = TxnId { time: Hlc(0x0123_4567_89ab_cdef), attempt: AttemptId([0xfe; 16]) };
        let mark = mapping(true).mark("a", version);
        let named = "ca978112ca1bbdca";
        assert_eq!(mark, format!("00112233aabbccdd-0123456789abcdef{}-{named}", "fe".repeat(16)));
        assert_eq!(mapping(true).marked("a", &mark), Some(version));
        assert_eq!(mapping(true).marked("b", &mark), None, "it was copied");
        let another = Mapping { id: "another".into(), ..mapping(true) };
        assert_eq!(another.marked("a", &mark), None);
        for wrong in ["", "00112233aabbccdd", "00112233aabbccdd-12", &mark.replace("fe", "xy")] {
            assert_eq!(mapping(true).marked("a", wrong), None, "{wrong}");
        }
    }

    #[test]
    fn operations_say_what_they_mean_for_the_origin() {
        let key = |key: &str| Key::parse(&name("photos", key)).unwrap();
        let ops = || vec![Op::Put(key("a/b"), inline(Bytes::new())), Op::Delete(key("c"))];
        let texts = |ops: &[Op]| -> Vec<String> {
            let text = |op: &Op| match op {
                Op::Put(key, _) => format!("put {key}"),
                Op::Delete(key) => format!("delete {key}"),
                op => panic!("{op:?}"),
            };
            ops.iter().map(text).collect()
        };
        let (same, dues) = Kind::Own.complete("photos", ops()).unwrap();
        assert_eq!((texts(&same), dues), (texts(&ops()), vec![]));
        let (all, dues) = Kind::Mapped(mapping(false)).complete("photos", ops()).unwrap();
        assert_eq!(texts(&all), ["put photos/a/b", "put .origin/photos/hidden/c", "delete photos/c"]);
        assert!(dues.is_empty());
        let (all, dues) = Kind::Mapped(mapping(true)).complete("photos", ops()).unwrap();
        assert_eq!(all.len(), 5);
        let keys: Vec<_> = dues.iter().map(|due| key_of_due("photos", due).unwrap()).collect();
        assert_eq!(keys, ["a/b", "c"]);
    }

    #[test]
    fn metadata_leaves_room_for_a_mark() {
        let pair = |bytes: usize| vec![Pair { name: "a".into(), value: "b".repeat(bytes - 1) }];
        assert_eq!(check_room_for_mark(&pair(1_956)), Ok(()));
        assert_eq!(check_room_for_mark(&pair(1_957)).unwrap_err().code, "MetadataTooLarge");
    }
}
