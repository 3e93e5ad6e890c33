//! Durable objects as plain data: the commit record, version entries, blobs, and the mark.
//! `aft-format` encodes them.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{AttemptId, Fingerprint, Key, RequestHash, TxnId};

/// The place of a value's bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// The bytes are in the commit record itself.
    Inline(Bytes),
    /// The bytes are in parts of a fixed size, stored before the commit.
    Blob(BlobRef),
}

/// The group of all blobs of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobGroup {
    /// The attempt that wrote them.
    pub attempt: AttemptId,
    /// Its request: a sweep finds the record by it.
    pub hash: RequestHash,
    /// The store's time when the first blob was reserved, at the latest, in milliseconds. The
    /// attempt began before it, so a sweep can compute when the attempt is over.
    pub reserved_ms: u64,
}

/// A large value's place: parts `0..parts` of blob `number` of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// The attempt that wrote it.
    pub group: BlobGroup,
    /// Its number among the attempt's blobs.
    pub number: u32,
    /// The number of parts.
    pub parts: u32,
    /// The size of every part but the last, in bytes.
    pub part_bytes: u32,
}

/// A value as a transaction writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// The place of its bytes.
    pub location: Location,
    /// Its logical size in bytes.
    pub size: u64,
    /// The entity tag given by the door: opaque, possibly empty, at most [`ETAG_BYTES_MAX`] bytes.
    pub etag: Bytes,
    /// The content type, user metadata and tags, opaque to the core.
    pub attributes: Bytes,
}

impl Value {
    /// Returns the number of bytes that the value adds to the commit record.
    pub fn inline_bytes(&self) -> usize {
        match &self.location {
            Location::Inline(bytes) => bytes.len(),
            Location::Blob(_) => 0,
        }
    }
}

/// A result too large for the commit record: a blob of the attempt, kept as long as the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeResult {
    /// Its place.
    pub blob: BlobRef,
    /// Its size in bytes.
    pub size: u64,
}

/// The greatest length of a sum that an [`Op::Add`](crate::message::Op::Add) writes: the digits of
/// the longest signed number of 64 bits, with its sign.
pub const SUM_BYTES_MAX: usize = 20;

/// The greatest length of an entity tag, which is part of names.
pub const ETAG_BYTES_MAX: usize = 48;

/// A transaction's write of one key: a value, or a tombstone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write {
    /// A value.
    Put(Value),
    /// A deletion of the key.
    Tombstone,
}

/// The kind of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A value in the commit record.
    Inline,
    /// A deletion.
    Tombstone,
    /// A value in blobs.
    Blob,
}

/// A version without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Meta {
    /// Its kind.
    pub kind: Kind,
    /// Its logical size in bytes; 0 for a tombstone.
    pub size: u64,
    /// Its entity tag; empty for a tombstone.
    pub etag: Bytes,
}

impl Write {
    /// Returns this version without its bytes.
    pub fn meta(&self) -> Meta {
        match self {
            Write::Tombstone => Meta { kind: Kind::Tombstone, size: 0, etag: Bytes::new() },
            Write::Put(value) => Meta {
                kind: match value.location {
                    Location::Inline(_) => Kind::Inline,
                    Location::Blob(_) => Kind::Blob,
                },
                size: value.size,
                etag: value.etag.clone(),
            },
        }
    }

    /// Returns the value, unless this is a tombstone.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Write::Put(value) => Some(value),
            Write::Tombstone => None,
        }
    }

    /// Returns the number of bytes that the write's value adds to the commit record.
    pub fn inline_bytes(&self) -> usize {
        self.value().map_or(0, Value::inline_bytes)
    }

    /// Returns the place of the value's parts, if it is large.
    pub fn blob(&self) -> Option<&BlobRef> {
        match self {
            Write::Put(Value { location: Location::Blob(blob), .. }) => Some(blob),
            Write::Put(_) | Write::Tombstone => None,
        }
    }
}

/// The object whose creation *is* the commit. It never changes while it exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// The transaction.
    pub txn: TxnId,
    /// Its request, and so the record's own name.
    pub hash: RequestHash,
    /// True if the caller named the request. If not, the name is derived from the attempt and is
    /// never used again.
    pub named: bool,
    /// The payload's fingerprint, where the caller gave one.
    pub fingerprint: Option<Fingerprint>,
    /// The least time that the record is kept, in milliseconds from the commit time.
    pub retention_ms: u64,
    /// The result that later attempts get; opaque.
    pub result: Option<Bytes>,
    /// The result, if it is large: then `result` is `None`.
    pub large_result: Option<LargeResult>,
    /// The write set, in key order, each key once.
    pub writes: Arc<[(Key, Write)]>,
    /// The version that each write follows, in the same order, where the store checks its keys
    /// (protocol, section 13). If it is `None`, the entries are named by their own transaction.
    pub follows: Option<Follows>,
}

/// The place of a transaction's writes behind the versions that they follow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Follows {
    /// The version that each write follows, in key order; [`TxnId::ZERO`] where the key was absent.
    pub versions: Arc<[TxnId]>,
    /// True if something else was checked between the entries and the record, such as a key that
    /// was only read, so that a single entry is not the commit.
    pub checks_more: bool,
}

/// The greatest size of a stored commit record without its writes and its result, in bytes:
/// identities, times, the overhead of the format.
pub const RECORD_BYTES_BASE: usize = 160;

/// The greatest size of a write in a stored commit record without its key, entity tag, attributes
/// and inline value, in bytes: the place of a blob, sizes, the overhead of the format.
pub const WRITE_BYTES_BASE: usize = 96;

/// The greatest size of a large result's place in a stored commit record, in bytes.
pub const LARGE_RESULT_BYTES: usize = 64;

/// Returns the greatest size of a write of a value (`None`: a tombstone) in a stored commit record,
/// in bytes. Moving a value from the record to a blob reduces it by exactly the value's inline
/// bytes. The format keeps to this bound.
pub fn write_bytes_max(key: &Key, value: Option<&Value>) -> usize {
    let of_value = |value: &Value| value.etag.len() + value.attributes.len() + value.inline_bytes();
    let bytes = WRITE_BYTES_BASE + key.as_str().len() + value.map_or(0, of_value);
    assert!(bytes >= value.map_or(0, Value::inline_bytes), "a write holds its value");
    bytes
}

/// The size of a version entry's name without its key and entity tag, in bytes. The format keeps to
/// it.
pub const ENTRY_BYTES_BASE: usize = 72;

impl VersionEntry {
    /// Returns the approximate size of the entry in the store under a key, in bytes: its name, and
    /// its body if it is whole.
    pub fn stored_bytes(&self, key: &Key) -> u64 {
        let text = (key.as_str().len() + self.meta.etag.len()) as u64;
        let name = ENTRY_BYTES_BASE as u64 + text;
        let body = (RECORD_BYTES_BASE + WRITE_BYTES_BASE) as u64 + text + self.meta.size;
        if self.whole { name + body } else { name }
    }
}

impl Record {
    /// Returns the approximate size in the store of the record and everything that only it refers
    /// to, in bytes: itself, its large values and its large result.
    pub fn stored_bytes(&self) -> u64 {
        let large =
            self.writes.iter().filter_map(|(_, write)| write.value().filter(|_| write.blob().is_some()));
        let values: u64 = large.map(|value| value.size).sum();
        let result = self.large_result.as_ref().map_or(0, |result| result.size);
        (size_of::<RequestHash>() + self.bytes_max()) as u64 + values + result
    }

    /// Returns the greatest size that this record can have when it is stored, in bytes.
    pub fn bytes_max(&self) -> usize {
        let result = self.result.as_ref().map_or(0, Bytes::len)
            + self.large_result.as_ref().map_or(0, |_| LARGE_RESULT_BYTES);
        let writes: usize = self.writes.iter().map(|(key, write)| write_bytes_max(key, write.value())).sum();
        let bytes = RECORD_BYTES_BASE + result + writes;
        assert!(bytes >= self.writes.len() * WRITE_BYTES_BASE, "every write takes its place");
        bytes
    }

    /// Returns the write of one key, unless the transaction did not write it.
    pub fn write(&self, key: &Key) -> Option<&Write> {
        let at = self.writes.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let (found, write) = &self.writes[at];
        assert_eq!(found, key, "a write is its key's");
        Some(write)
    }

    /// Returns true if one entry is the commit: a transaction of one key, without a request ID,
    /// blobs or a result.
    pub fn is_whole(&self) -> bool {
        let has_blob = self.writes.iter().any(|(_, write)| write.blob().is_some());
        let has_result = self.result.is_some() || self.large_result.is_some();
        let checks_more = self.follows.as_ref().is_some_and(|follows| follows.checks_more);
        !self.named && self.writes.len() == 1 && !has_blob && !has_result && !checks_more
    }

    /// Returns every version entry of the transaction, in key order.
    pub fn entries(&self) -> Vec<(Key, VersionEntry)> {
        (0..self.writes.len()).map(|at| self.entry(at)).collect()
    }

    /// Returns the version entry of the write at index `at`.
    pub fn entry(&self, at: usize) -> (Key, VersionEntry) {
        let (key, write) = &self.writes[at];
        let cowritten = u32::try_from(self.writes.len()).expect("a write set is bounded");
        let whole = self.is_whole();
        assert!(!whole || cowritten == 1, "a whole entry is the commit of one key");
        let entry = VersionEntry {
            txn: self.txn,
            hash: self.hash,
            meta: write.meta(),
            cowritten,
            whole,
            follows: self.follows.as_ref().map(|follows| follows.versions[at]),
        };
        (key.clone(), entry)
    }

    /// Asserts what holds for every record that this project writes.
    pub fn check_invariants(&self) {
        assert!(self.writes.is_sorted_by(|(a, _), (b, _)| a < b), "keys are in order, each once");
        assert!(self.result.is_none() || self.large_result.is_none(), "a record has one result");
        assert!(self.named || !self.writes.is_empty(), "an unnamed request without writes needs no record");
        if let Some(follows) = &self.follows {
            assert_eq!(follows.versions.len(), self.writes.len(), "every write follows a version");
            let is_after = |before: &TxnId| *before < self.txn;
            assert!(follows.versions.iter().all(is_after), "a version comes after what it follows");
        }
        for (key, write) in self.writes.iter() {
            if let Some(blob) = write.blob() {
                assert_eq!(blob.group.attempt, self.txn.attempt, "the blob of {key} is the attempt's own");
                assert_eq!(blob.group.hash, self.hash, "the blob of {key} leads to its record");
            }
        }
    }
}

/// The remainder of a removed record of a named request where the store cannot delete by tag. It
/// shows that the name was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stub {
    /// The transaction whose record it was.
    pub txn: TxnId,
    /// Its request.
    pub hash: RequestHash,
}

/// A hint at one version of a key: "look at this record". All fields are in the entry's name,
/// except where the store checks the key: there the name is the version that it follows, and the
/// rest is in its body.
///
/// A *whole* entry has its record as its body, and is the commit by itself: a transaction of one
/// key without a request ID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionEntry {
    /// The transaction that wrote it, if its record names this attempt.
    pub txn: TxnId,
    /// The request: the name of the commit record.
    pub hash: RequestHash,
    /// The version without its bytes.
    pub meta: Meta,
    /// The number of keys that the transaction wrote, this one included.
    pub cowritten: u32,
    /// True if the entry is the commit, with the record as its body.
    pub whole: bool,
    /// The version of the key that it follows, by which it is named; [`TxnId::ZERO`] where the key
    /// was absent. If it is `None`, the entry is named by its own transaction.
    pub follows: Option<TxnId>,
}

/// A place in the order of all version entries, exclusive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// A key, or any other text in key order.
    pub key: String,
    /// The entry within the key; `None` means after every entry of the key.
    pub entry: Option<VersionEntry>,
}

/// The object, under a commit record's name, that lists attempts of the request that may not commit
/// any more: another transaction met their entries and did not wait for them (protocol, section
/// 13).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aborted {
    /// The request.
    pub hash: RequestHash,
    /// The attempts, in order, at least one. Each that is added changes the object's tag.
    pub attempts: Vec<AttemptId>,
    /// The store's time at which the last of them was added, at the latest, in milliseconds.
    pub at_ms: u64,
}

impl Aborted {
    /// Returns the object that excludes one attempt.
    pub fn new(hash: RequestHash, attempt: AttemptId, at_ms: u64) -> Aborted {
        Aborted { hash, attempts: vec![attempt], at_ms }
    }

    /// Returns true if this attempt may not commit.
    pub fn excludes(&self, attempt: AttemptId) -> bool {
        self.attempts.binary_search(&attempt).is_ok()
    }

    /// Returns the object that excludes `attempt`, too.
    #[must_use]
    pub fn with(&self, attempt: AttemptId, at_ms: u64) -> Aborted {
        assert!(!self.excludes(attempt), "an attempt is excluded once");
        let mut attempts = self.attempts.clone();
        attempts.push(attempt);
        attempts.sort_unstable();
        let aborted = Aborted { hash: self.hash, attempts, at_ms: at_ms.max(self.at_ms) };
        aborted.check_invariants();
        aborted
    }

    /// Asserts what holds for every such object.
    pub fn check_invariants(&self) {
        assert!(!self.attempts.is_empty(), "at least one attempt is excluded");
        assert!(self.attempts.is_sorted_by(|a, b| a < b), "attempts are in order, each once");
    }
}

/// The mark and what belongs to it; one object in the store (protocol, sections 2 and 8).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Format {
    /// The mark. Every transaction at or below it is over; the committed ones have had an entry at
    /// every key they wrote; the others have none.
    pub mark: TxnId,
    /// The store's time at some instant after the mark had moved here, in milliseconds; `None`
    /// until a node has seen the mark here.
    pub moved_ms: Option<u64>,
    /// The mark that had settled when this one was put.
    pub settled: TxnId,
    /// The remaining contents of the object (format version, identity, abilities), which are opaque
    /// to the core and copied unchanged.
    pub about: Bytes,
}

impl Format {
    /// Returns the object of a new store.
    pub fn new(about: Bytes) -> Format {
        Format { mark: TxnId::ZERO, moved_ms: Some(0), settled: TxnId::ZERO, about }
    }

    /// Asserts what holds for every mark.
    pub fn check_invariants(&self) {
        assert!(self.settled <= self.mark, "a mark settles before the next one is put");
    }
}
