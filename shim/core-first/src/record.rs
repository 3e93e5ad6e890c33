//! What is durable: the commit record and what stands around it, as plain data. `aft-wire` gives it bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{AttemptId, Fingerprint, Key, Nonce, RequestHash, TxnId};

/// Where the bytes of a value are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// In the commit record itself.
    Inline(Bytes),
    /// In parts of a fixed size, stored before the commit.
    Blob(BlobRef),
}

/// A large value's place: parts `0..parts` of blob `number` of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// The attempt that wrote it.
    pub attempt: AttemptId,
    /// Which of its blobs.
    pub number: u32,
    /// How many parts.
    pub parts: u32,
    /// The size of every part but the last, in bytes.
    pub part_bytes: u32,
}

/// A value as a transaction writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// Where its bytes are.
    pub location: Location,
    /// Its logical size in bytes.
    pub size: u64,
    /// An entity tag given by the door, opaque, possibly empty, at most [`ETAG_BYTES_MAX`] bytes.
    pub etag: Bytes,
    /// Content type, user metadata, tags: opaque to the core.
    pub attributes: Bytes,
}

impl Value {
    /// The bytes that stand in the commit record.
    pub fn inline_bytes(&self) -> usize {
        match &self.location {
            Location::Inline(bytes) => bytes.len(),
            Location::Blob(_) => 0,
        }
    }
}

/// A result too large for the commit record: a blob of the attempt's own, kept as long as the record, its slim form included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeResult {
    /// Its place.
    pub blob: BlobRef,
    /// Its size in bytes.
    pub size: u64,
}

/// The longest entity tag; it stands in names.
pub const ETAG_BYTES_MAX: usize = 48;

/// What a transaction writes to a key: a value, or a tombstone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write {
    /// A value.
    Put(Value),
    /// The key is deleted.
    Tombstone,
}

/// What kind of version a transaction wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A value in the commit record.
    Inline,
    /// A deletion.
    Tombstone,
    /// A value in blobs.
    Blob,
}

/// What is known of a version without its bytes.
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
    /// What is known of this version without its bytes.
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

    /// The value, unless this is a tombstone.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Write::Put(value) => Some(value),
            Write::Tombstone => None,
        }
    }

    /// The bytes of the value that stand in the commit record.
    pub fn inline_bytes(&self) -> usize {
        self.value().map_or(0, Value::inline_bytes)
    }
}

/// The object whose creation *is* the commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// The transaction.
    pub txn: TxnId,
    /// Its request, and so the record's own name.
    pub hash: RequestHash,
    /// Whether the caller named the request. If not, the name is derived from the attempt and is never used again.
    pub named: bool,
    /// The payload's fingerprint, where the caller gave one.
    pub fingerprint: Option<Fingerprint>,
    /// How long the record is kept at least, in milliseconds from the commit time.
    pub retention_ms: u64,
    /// What to replay to later attempts; opaque. Kept by the slim form.
    pub result: Option<Bytes>,
    /// What to replay, if it is large: then `result` is `None`. Kept by the slim form.
    pub large_result: Option<LargeResult>,
    /// How many blobs the attempt reserved. Those that neither a write nor the result names are removed before the attempt's intent goes.
    pub blobs: u32,
    /// The write set.
    pub writes: Writes,
}

/// A record's write set, in key order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writes {
    /// Every key with its value or its value's location.
    Full(Arc<[(Key, Write)]>),
    /// The slim form: the values are gone, the keys' names stay for look-ups.
    Slim(Arc<[Key]>),
}

/// What a stored commit record has at most beside its writes and its result: identities, times, the form's own bytes.
pub const RECORD_BYTES_BASE: usize = 160;

/// What a write has at most in a stored commit record beside its key, entity tag, attributes and inline value: the place of a blob,
/// sizes, the form's own bytes.
pub const WRITE_BYTES_BASE: usize = 80;

/// What a large result's place has at most in a stored commit record.
pub const LARGE_RESULT_BYTES: usize = 48;

/// The bytes that a write of a value (`None`: a tombstone) has in a stored commit record, at most. A value that goes from inline to a blob
/// spares exactly its inline bytes of this. Whoever gives records bytes keeps to it.
pub fn write_bytes_max(key: &Key, value: Option<&Value>) -> usize {
    let of_value = |value: &Value| value.etag.len() + value.attributes.len() + value.inline_bytes();
    WRITE_BYTES_BASE + key.as_str().len() + value.map_or(0, of_value)
}

impl Record {
    /// The bytes that this record has when it is stored, at most; its collect entry has no more.
    pub fn bytes_max(&self) -> usize {
        let result = self.result.as_ref().map_or(0, Bytes::len)
            + self.large_result.as_ref().map_or(0, |_| LARGE_RESULT_BYTES);
        let writes: usize = match &self.writes {
            Writes::Full(writes) => {
                writes.iter().map(|(key, write)| write_bytes_max(key, write.value())).sum()
            }
            Writes::Slim(keys) => keys.iter().map(|key| write_bytes_max(key, None)).sum(),
        };
        RECORD_BYTES_BASE + result + writes
    }

    /// The write set with values, unless the record is slim.
    pub fn full(&self) -> Option<&Arc<[(Key, Write)]>> {
        match &self.writes {
            Writes::Full(writes) => Some(writes),
            Writes::Slim(_) => None,
        }
    }

    /// The keys that the transaction wrote, in order.
    pub fn keys(&self) -> Vec<Key> {
        match &self.writes {
            Writes::Full(writes) => writes.iter().map(|(key, _)| key.clone()).collect(),
            Writes::Slim(keys) => keys.to_vec(),
        }
    }

    /// The write of one key, unless the record is slim or does not name the key.
    pub fn write(&self, key: &Key) -> Option<&Write> {
        let writes = self.full()?;
        writes.binary_search_by(|(other, _)| other.cmp(key)).ok().map(|at| &writes[at].1)
    }

    /// The blobs that its writes and its result name: (number, parts).
    pub fn named_blobs(&self) -> Vec<(u32, u32)> {
        self.written_blobs().into_iter().chain(self.result_blob()).collect()
    }

    fn result_blob(&self) -> Option<(u32, u32)> {
        self.large_result.map(|LargeResult { blob, .. }| (blob.number, blob.parts))
    }

    fn written_blobs(&self) -> Vec<(u32, u32)> {
        let writes = self.full().map_or(&[][..], |writes| writes);
        let blob = |write: &Write| match write {
            Write::Put(Value { location: Location::Blob(blob), .. }) => Some((blob.number, blob.parts)),
            Write::Put(_) | Write::Tombstone => None,
        };
        writes.iter().filter_map(|(_, write)| blob(write)).collect()
    }

    /// The slim form.
    pub fn slim(&self) -> Record {
        Record { writes: Writes::Slim(self.keys().into()), ..self.clone() }
    }
}

/// What a listing tells of one version of a key; all of it stands in the entry's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionEntry {
    /// The transaction that wrote it.
    pub txn: TxnId,
    /// Where its commit record stands.
    pub hash: RequestHash,
    /// What it wrote.
    pub meta: Meta,
    /// How many keys the transaction wrote, this one included. At 1, the entry says all that the read rule needs.
    pub cowritten: u32,
}

/// "Look for the commit record of this attempt"; all of it stands in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Intent {
    /// The minute it stands under: that of `time`, or the one at which a tombstone may go.
    pub minute: u32,
    /// When it was put.
    pub time: crate::ids::Hlc,
    /// The attempt.
    pub attempt: AttemptId,
    /// Fresh at every put.
    pub nonce: Nonce,
    /// Where the attempt's commit record stands, if there is one.
    pub hash: RequestHash,
}

/// The name of a collect entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectName {
    /// The minute at which it is due.
    pub minute: u32,
    /// When it was put.
    pub time: crate::ids::Hlc,
    /// The attempt of its first transaction.
    pub attempt: AttemptId,
    /// Fresh at every put.
    pub nonce: Nonce,
}

/// How far a collection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Markers, slim records, version entries, blobs, cascade: any of these may be undone.
    Pieces,
    /// Only the slim records remain, until their retention has passed.
    Header,
    /// Only their keys' markers remain.
    Markers,
}

/// "Finish collecting" these transactions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectEntry {
    /// What is still to do.
    pub stage: Stage,
    /// They are superseded by versions older than this. A maintainer whose horizon is older cannot see all that follows from their end.
    pub horizon: crate::ids::Hlc,
    /// At least one; all in this stage.
    pub transactions: Vec<Superseded>,
}

/// A transaction that no reader needs any more: all that its collection must know once its record is slim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Superseded {
    /// The transaction.
    pub txn: TxnId,
    /// Where its record stands.
    pub hash: RequestHash,
    /// Its write set.
    pub writes: Arc<[(Key, Meta)]>,
    /// The blobs of its values: (number, parts).
    pub blobs: Vec<(u32, u32)>,
    /// The blob of its result: (number, parts). It goes with the header.
    pub result_blob: Option<(u32, u32)>,
    /// How long its record is kept at least, in milliseconds from the commit time.
    pub retention_ms: u64,
}

impl Superseded {
    /// What the collection of a full record must know; `None` for a slim one.
    pub fn of(record: &Record) -> Option<Superseded> {
        Some(Superseded {
            txn: record.txn,
            hash: record.hash,
            writes: record.full()?.iter().map(|(key, write)| (key.clone(), write.meta())).collect(),
            blobs: record.written_blobs(),
            result_blob: record.result_blob(),
            retention_ms: record.retention_ms,
        })
    }
}
