//! Estimated sizes of the index's parts, in bytes: upper bounds of the allocated bytes, which
//! exceed them by less than half for keys of usual length.

use std::mem::size_of;

use std::sync::Arc;

use crate::ids::{Key, TxnId};
use crate::message::Header;
use crate::record::{Meta, VersionEntry};

/// The overhead of an allocation: a word for the allocator, and rounding.
const ALLOCATION: usize = 16;
/// The two counters of an `Arc`.
const COUNTERS: usize = 2 * size_of::<usize>();

/// The share of an entry in the nodes of a B-tree map. Nodes have 11 places; inserts in key order
/// leave six of them taken, and there are never fewer than five. Inner nodes, one for six or more
/// others, add pointers.
const fn in_tree<K, V>() -> usize {
    (size_of::<K>() + size_of::<V>()) * 11 / 5 + ALLOCATION
}

const HEADER: usize = in_tree::<TxnId, (Arc<Header>, u32)>()
    + COUNTERS
    + size_of::<Header>()
    + ALLOCATION
    + COUNTERS
    + ALLOCATION;

fn text(key: &Key) -> usize {
    COUNTERS + key.as_str().len() + ALLOCATION
}

/// The size of an entity tag: its own buffer, and the counter of the buffer.
fn etag(meta: &Meta) -> usize {
    match meta.etag.len() {
        0 => 0,
        len => len + ALLOCATION + 24 + ALLOCATION,
    }
}

/// Returns the size of an entry that a listing showed and whose record is not known.
pub(in crate::node) fn hint(entry: &VersionEntry) -> usize {
    let bytes = size_of::<VersionEntry>() + ALLOCATION + etag(&entry.meta);
    assert!(bytes > entry.meta.etag.len(), "a weight is an upper bound");
    bytes
}

/// Returns the size of a key with `versions` versions of `version_bytes` each, and an entry of
/// type `K`.
pub(in crate::node) fn key<K>(key: &Key, versions: usize, version_bytes: usize) -> usize {
    let versions = match places(versions) {
        0 => 0,
        places => places * version_bytes + ALLOCATION,
    };
    in_tree::<Key, K>() + 2 * size_of::<Key>() + text(key) + versions
}

/// Returns the capacity for `versions` versions of a key: a power of two. It starts at one, not at
/// four as a vector does by itself, because most keys have one or two versions. It depends only on
/// their number, so that a copy of an index has the same size as its original.
pub(in crate::node) fn places(versions: usize) -> usize {
    let places = if versions == 0 { 0 } else { versions.next_power_of_two() };
    assert!(places >= versions, "every version has a place");
    assert!(places < 2 * versions.max(1), "fewer than half of the places are free");
    places
}

pub(in crate::node) fn header(header: &Header) -> usize {
    let writes = header.writes.iter();
    HEADER + writes.map(|(key, meta)| size_of::<(Key, Meta)>() + text(key) + etag(meta)).sum::<usize>()
}
