//! Weights of the index's parts, in bytes: upper bounds of what is allocated, and above it by less
//! than half for keys of usual length.

use std::mem::size_of;

use std::sync::Arc;

use crate::ids::{Key, TxnId};
use crate::message::Header;
use crate::record::{Meta, VersionEntry};

/// The cost of an allocation to its allocator: a word of its own, and rounding.
const ALLOCATION: usize = 16;
/// Two counters before what an `Arc` holds.
const COUNTERS: usize = 2 * size_of::<usize>();

/// An entry's share of a B-tree map's nodes. Nodes have 11 places; in keys' order they are left
/// with six taken, and never with fewer than five. Inner nodes, one to six or more others, add
/// pointers.
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

/// A buffer of its own, and the counter beside it.
fn etag(meta: &Meta) -> usize {
    match meta.etag.len() {
        0 => 0,
        len => len + ALLOCATION + 24 + ALLOCATION,
    }
}

/// Returns the weight of an entry that a listing showed and whose record is not known.
pub(in crate::node) fn hint(entry: &VersionEntry) -> usize {
    let bytes = size_of::<VersionEntry>() + ALLOCATION + etag(&entry.meta);
    assert!(bytes > entry.meta.etag.len(), "a weight is an upper bound");
    bytes
}

/// Returns the weight of a key with so many versions of `version_bytes` each, and `KeyEntry` of
/// `K`.
pub(in crate::node) fn key<K>(key: &Key, versions: usize, version_bytes: usize) -> usize {
    let versions = match places(versions) {
        0 => 0,
        places => places * version_bytes + ALLOCATION,
    };
    in_tree::<Key, K>() + 2 * size_of::<Key>() + text(key) + versions
}

/// Returns the places that a key's versions have: a power of two, from one on, where a vector's own
/// first step is four; most keys have one version or two. A function of their number, so that a
/// copy of an index weighs the same as its original.
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
