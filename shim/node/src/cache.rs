//! The value cache: committed inline values by version, bounded in bytes.
//!
//! Only values that a store call acknowledged or returned enter it: all writes of a record whose
//! create was answered *Created*; and of a record that a read fetched, the value that was read,
//! with the record's other values if they are few, since a caller that reads one of a transaction's
//! writes often reads more of them. A record that a sweep reads enters nothing.
//!
//! A version's value never changes, so there is nothing to invalidate; the value of a removed
//! version may linger, and is still that version's value. Of large values only the place is kept,
//! not the bytes.

use aft_core::ids::{AttemptId, Key};
use aft_core::record::{Kind, Record, Value, Write};
use bytes::Bytes;
use moka::sync::Cache;

/// The memory that an entry takes besides its bytes (tests/memory.rs): hash table places, a node in
/// two queues, counters, and the rounding of six allocations.
const ENTRY_BYTES: usize = 512;

/// The most writes of a record that one read brings in together: an insertion costs about as much
/// as the read of a value from a local disk's cache.
const NEIGHBOURS_MAX: usize = 16;

/// The most bytes of evicted entries that may still take memory. moka drops evicted entries only
/// after some dozens of further insertions, which with large values would be far above the bound.
/// So its pending tasks are run after insertions of half of this many bytes (or of this share of a
/// small cache), and the memory is freed a little later. The capacity given to moka is smaller by
/// this amount.
const PENDING_BYTES_MAX: u64 = 1 << 20;
/// The divisor of the cache's bound that gives the same limit for a small cache.
const PENDING_SHARE: u64 = 8;

fn pending_max(bytes_max: u64) -> u64 {
    PENDING_BYTES_MAX.min(bytes_max / PENDING_SHARE)
}

/// The values of committed versions, by attempt and key.
#[derive(Debug)]
pub(crate) struct ValueCache {
    entries: Cache<(AttemptId, Key), Write, foldhash::fast::RandomState>,
    bytes_max: u64,
    /// The bytes that were inserted since moka's pending tasks last ran.
    pending: u64,
}

impl ValueCache {
    pub(crate) fn new(bytes_max: u64) -> ValueCache {
        let weigh = |(_, key): &(AttemptId, Key), write: &Write| weight(key, write);
        // Evict the least recently used, unlike moka's default: every version is a new entry, and
        // the newest version of a hot key is hot from its first instant. A policy that admits by
        // past frequency rejects just these.
        let entries = Cache::builder()
            .max_capacity(bytes_max - pending_max(bytes_max))
            .weigher(weigh)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            // A fast hash that is not safe against chosen keys is enough: attempts are drawn at
            // random, so no caller can aim at one bucket. Speed matters, since a table that grows
            // hashes all of its keys again.
            .build_with_hasher(foldhash::fast::RandomState::default());
        ValueCache { entries, bytes_max, pending: 0 }
    }

    /// Returns the write of `key` by `attempt`, which has committed, if it is cached.
    pub(crate) fn get(&self, attempt: AttemptId, key: &Key) -> Option<Write> {
        self.entries.get(&(attempt, key.clone()))
    }

    /// Caches the values of a record that has just been committed; of large ones, their places.
    pub(crate) fn keep(&mut self, record: &Record) {
        for (key, write) in record.writes.iter() {
            self.insert(record, key, write);
        }
    }

    /// Caches the value of a key that was read, or its place. If the record has at most
    /// [`NEIGHBOURS_MAX`] writes, caches all of them.
    pub(crate) fn keep_read(&mut self, record: &Record, key: &Key) {
        if record.writes.len() <= NEIGHBOURS_MAX {
            self.keep(record);
        } else if let Some(write) = record.write(key) {
            self.insert(record, key, write);
        }
    }

    fn insert(&mut self, record: &Record, key: &Key, write: &Write) {
        if self.bytes_max == 0 || write.meta().kind == Kind::Tombstone {
            return;
        }
        self.entries.insert((record.txn.attempt, key.clone()), detached(write));
        self.pending += u64::from(weight(key, write));
        if self.pending >= pending_max(self.bytes_max) / 2 {
            self.entries.run_pending_tasks();
            self.pending = 0;
        }
    }

    /// Returns the number of bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

fn weight(key: &Key, write: &Write) -> u32 {
    let attributes = write.value().map_or(0, |value| value.attributes.len());
    u32::try_from(ENTRY_BYTES + key.as_str().len() + attributes + write.inline_bytes()).unwrap_or(u32::MAX)
}

/// Returns a copy of `write` with buffers of its own. Bytes that come from the network or from a
/// record are slices of a larger buffer, which would stay in memory without counting towards the
/// cache's bound.
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
