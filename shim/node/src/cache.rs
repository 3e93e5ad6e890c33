//! The value cache: committed inline values by version, bounded in bytes.
//!
//! Only what a store call acknowledged or returned enters it: the writes of a record whose create was answered *Created*, and those of a
//! record that was fetched. A version's value never changes, so there is nothing to invalidate; a collected version's value may linger
//! and is still that version's value. Blobs are left out: a cached place would outlive the parts, and a fetch tells that they are gone.

use aft_core::ids::{AttemptId, Key};
use aft_core::record::{Kind, Record, Value, Write};
use bytes::Bytes;
use moka::sync::Cache;

/// What an entry costs besides its bytes: two hash table places, counters, the key's text.
const ENTRY_BYTES: usize = 256;

/// Values of committed versions.
#[derive(Debug)]
pub(crate) struct ValueCache {
    entries: Cache<(AttemptId, Key), Write>,
    bytes_max: u64,
}

impl ValueCache {
    pub(crate) fn new(bytes_max: u64) -> ValueCache {
        let weigh = |(_, key): &(AttemptId, Key), write: &Write| {
            let attributes = write.value().map_or(0, |value| value.attributes.len());
            let bytes = ENTRY_BYTES + key.as_str().len() + attributes + write.inline_bytes();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        // Least recently used, not moka's default: every version is a new entry, and the newest version of a hot key is hot from its first
        // instant. A policy that admits by past frequency turns just these away.
        let entries = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(weigh)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .build();
        ValueCache { entries, bytes_max }
    }

    /// The write of a key by an attempt that committed.
    pub(crate) fn get(&self, attempt: AttemptId, key: &Key) -> Option<Write> {
        self.entries.get(&(attempt, key.clone()))
    }

    /// Keeps the inline values of a committed record.
    pub(crate) fn keep(&self, record: &Record) {
        if self.bytes_max == 0 {
            return;
        }
        for (key, write) in record.full().map_or(&[][..], |writes| writes) {
            if write.meta().kind == Kind::Inline {
                self.entries.insert((record.txn.attempt, key.clone()), detached(write));
            }
        }
    }

    /// The bytes held, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

/// The write with buffers of its own. What comes from the network or from a record is a slice of something greater, which the cache's
/// bound does not see.
fn detached(write: &Write) -> Write {
    let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    match write {
        Write::Tombstone => Write::Tombstone,
        Write::Put(value) => Write::Put(Value {
            location: match &value.location {
                aft_core::record::Location::Inline(bytes) => aft_core::record::Location::Inline(copy(bytes)),
                aft_core::record::Location::Blob(blob) => aft_core::record::Location::Blob(*blob),
            },
            size: value.size,
            etag: copy(&value.etag),
            attributes: copy(&value.attributes),
        }),
    }
}
