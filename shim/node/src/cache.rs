//! The value cache: committed inline values by version, bounded in bytes.
//!
//! Only what a store call acknowledged or returned enters it: the writes of a record whose create was answered *Created*, and of a record that a
//! read came upon, the value wanted; with it the others, if they are few, since who reads one of a transaction's writes often reads more of
//! them. A record that a sweep looks at enters nothing. A version's value never changes, so there is nothing to invalidate; a removed version's
//! value may linger and is still that version's value. Blobs are left out: a cached place would outlive the parts, and a fetch tells that they are gone.

use aft_core::ids::{AttemptId, Key};
use aft_core::record::{Kind, Record, Value, Write};
use bytes::Bytes;
use moka::sync::Cache;

/// What an entry costs besides its bytes (tests/memory.rs): hash table places, a node in two queues, counters, and six allocations' roundings.
const ENTRY_BYTES: usize = 512;

/// The most writes of a record that one read brings in together: an insertion costs about as much as the read of a value from a local disk's cache.
const NEIGHBOURS_MAX: usize = 16;

/// moka drops what an insertion displaces after some dozens more. With large values that would be far above the bound: it is told to do so after
/// insertions of half of this much, or of this share of a small cache; and frees it a little later. The cache proper is smaller by as much.
const PENDING_BYTES_MAX: u64 = 1 << 20;
const PENDING_SHARE: u64 = 8;

fn pending_max(bytes_max: u64) -> u64 {
    PENDING_BYTES_MAX.min(bytes_max / PENDING_SHARE)
}

/// Values of committed versions.
#[derive(Debug)]
pub(crate) struct ValueCache {
    entries: Cache<(AttemptId, Key), Write, foldhash::fast::RandomState>,
    bytes_max: u64,
    /// Bytes of insertions since what they displaced was last dropped.
    pending: u64,
}

impl ValueCache {
    pub(crate) fn new(bytes_max: u64) -> ValueCache {
        let weigh = |(_, key): &(AttemptId, Key), write: &Write| weight(key, write);
        // Least recently used, not moka's default: every version is a new entry, and the newest version of a hot key is hot from its first
        // instant. A policy that admits by past frequency turns just these away.
        let entries = Cache::builder()
            .max_capacity(bytes_max - pending_max(bytes_max))
            .weigher(weigh)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            // Attempts are drawn at random, so nobody can aim at one bucket; and a table that grows
            // hashes all of its keys again.
            .build_with_hasher(foldhash::fast::RandomState::default());
        ValueCache { entries, bytes_max, pending: 0 }
    }

    /// The write of a key by an attempt that committed.
    pub(crate) fn get(&self, attempt: AttemptId, key: &Key) -> Option<Write> {
        self.entries.get(&(attempt, key.clone()))
    }

    /// Keeps the values of a record that has just been committed; of large ones, their places.
    pub(crate) fn keep(&mut self, record: &Record) {
        for (key, write) in record.writes.iter() {
            self.insert(record, key, write);
        }
    }

    /// Keeps the value of a key that was read, or its place, and those of its neighbours in the record if they are few.
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

    /// The bytes held, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

fn weight(key: &Key, write: &Write) -> u32 {
    let attributes = write.value().map_or(0, |value| value.attributes.len());
    u32::try_from(ENTRY_BYTES + key.as_str().len() + attributes + write.inline_bytes()).unwrap_or(u32::MAX)
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
