//! The values that a call reads, with the memory that its reply takes.

use aft_core::ids::{Key, TxnId};
use aft_core::message::{Committed, Found, Read, Refusal};
use aft_core::record::{Location, Value, Write};
use aft_format::{Attributes, ComposedTag};
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};

use crate::caller::Caller;
use crate::large::{self, size_of};
use crate::refused::{Refused, Result};
use crate::share::Share;

/// The number of values of one call that are fetched at once. It hides the store's latency if many
/// are blobs.
const READS_AT_ONCE: usize = 8;
/// The memory of a reply, as a multiple of its values: they are held together with their encoding,
/// which in JSON is a third longer, in a vector that grows.
const ENCODED_TIMES: usize = 3;
/// Replies up to this size need no share of the memory for large bodies.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// The version of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The transaction's own write, which has no version yet.
    Uncommitted,
    /// The version that this transaction committed.
    Committed(TxnId),
}

/// A value that was read.
#[derive(Debug, Clone)]
pub struct ReadValue {
    /// The key.
    pub key: Key,
    /// The value; `None` if the key has none.
    pub found: Option<Got>,
}

/// A value with its bytes.
#[derive(Debug, Clone)]
pub struct Got {
    /// The attributes that a door keeps with the value.
    pub attributes: Attributes,
    /// The version.
    pub version: Version,
    /// The bytes.
    pub bytes: Bytes,
}

/// The reads of a call, in order, and the share of the reply that they will be in.
#[derive(Debug, Default)]
pub struct Reads {
    /// The reads.
    pub values: Vec<ReadValue>,
    /// The share; a small reply has none.
    pub share: Option<Share>,
}

/// Returns the value that a read found and its version; `None` if the key has no value.
pub fn value_of(found: Found) -> Option<(Value, Version)> {
    match found {
        Found::Own(Write::Put(value)) => Some((value, Version::Uncommitted)),
        Found::Version(txn, Write::Put(value)) => Some((value, Version::Committed(txn))),
        Found::Own(Write::Tombstone) | Found::Version(_, Write::Tombstone) | Found::Absent => None,
    }
}

/// Decodes the attributes of a value of `key`.
///
/// # Errors
/// Returns [`Refusal::Damaged`] if the bytes cannot be decoded.
pub fn attributes_of(key: &Key, value: &Value) -> Result<Attributes> {
    Attributes::from_bytes(&value.attributes).map_err(|why| {
        Refusal::Damaged(format!("the attributes of the value of {key:?} cannot be read: {why}")).into()
    })
}

impl Reads {
    /// Returns the sums that a committed batch wrote; each is a version of that commit.
    pub(crate) fn of_sums(reads: Vec<Read>, committed: &Committed) -> Reads {
        let sum = |Read { key, found }| {
            let (value, _) = value_of(found).expect("a sum is a value");
            let Location::Inline(bytes) = &value.location else { panic!("a sum is a few digits") };
            let bytes = bytes.clone();
            let txn = committed.txn.expect("a sum is a write");
            let version = Version::Committed(txn);
            ReadValue { key, found: Some(Got { attributes: Attributes::default(), version, bytes }) }
        };
        Reads { values: reads.into_iter().map(sum).collect(), share: None }
    }

    /// Fetches the values of `reads`. The reply is held and encoded as a whole, so its values
    /// together have the limit of a request's body.
    pub(crate) async fn resolve(caller: &Caller, reads: Vec<Read>) -> Result<Reads> {
        let size = |read: &Read| match &read.found {
            Found::Own(write) | Found::Version(_, write) => {
                write.value().map_or(0, |value| size_of(&value.etag, value.size))
            }
            Found::Absent => 0,
        };
        let bytes: u64 = reads.iter().map(size).sum();
        let actual = usize::try_from(bytes).unwrap_or(usize::MAX);
        let limit = caller.settings().body_bytes_max;
        // A single value is read at any size: the client could not split the call.
        if reads.len() > 1 && actual > limit {
            return Err(Refused::ReadsTooLarge { limit, actual });
        }
        let with_keys = reads.iter().fold(actual, |sum, read| sum.saturating_add(read.key.as_str().len()));
        let share = match with_keys {
            ..=SMALL_BYTES_MAX => None,
            large => caller.share(large.saturating_mul(ENCODED_TIMES))?,
        };
        let values =
            iter(reads).map(|read| resolve_one(caller, read)).buffered(READS_AT_ONCE).try_collect().await?;
        Ok(Reads { values, share })
    }
}

async fn resolve_one(caller: &Caller, read: Read) -> Result<ReadValue> {
    let Some((value, version)) = value_of(read.found) else {
        return Ok(ReadValue { key: read.key, found: None });
    };
    let attributes = attributes_of(&read.key, &value)?;
    let bytes = match ComposedTag::of(&value.etag) {
        None => caller.node().read_value(&read.key, &value).await?,
        Some(_) => large::read_whole(caller, &read.key, &value).await?,
    };
    Ok(ReadValue { key: read.key, found: Some(Got { attributes, version, bytes }) })
}
