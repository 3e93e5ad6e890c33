//! The protobuf messages within the bodies. Field numbers are durable: never change or reuse one.

use bytes::Bytes;

/// A transaction's place in order.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Txn {
    #[prost(fixed64, tag = "1")]
    pub(crate) time: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) attempt: Bytes,
}

/// A commit record.
///
/// Field numbers 20 to 29 are kept for outbox entries, 30 to 39 for conditions.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(fixed64, tag = "1")]
    pub(crate) time: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) attempt: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) hash: Bytes,
    /// The caller named the request.
    #[prost(bool, tag = "4")]
    pub(crate) named: bool,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(crate) fingerprint: Option<Bytes>,
    #[prost(uint64, tag = "6")]
    pub(crate) retention_ms: u64,
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub(crate) result: Option<Bytes>,
    /// The result's place, if it is in a blob.
    #[prost(message, optional, tag = "8")]
    pub(crate) large_result: Option<LargeResult>,
    /// In key order.
    #[prost(message, repeated, tag = "9")]
    pub(crate) writes: Vec<Write>,
    /// Every write follows a version.
    #[prost(bool, tag = "10")]
    pub(crate) locks: bool,
    /// Something else was checked between the entries and the record.
    #[prost(bool, tag = "11")]
    pub(crate) checks_more: bool,
}

/// A large result's place.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LargeResult {
    #[prost(message, optional, tag = "1")]
    pub(crate) blob: Option<Blob>,
    #[prost(uint64, tag = "2")]
    pub(crate) size: u64,
}

/// A piece of a composed value: a blob, or bytes in its place.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Piece {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) attempt: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) hash: Bytes,
    #[prost(uint32, tag = "3")]
    pub(crate) number: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) parts: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) part_bytes: u32,
    #[prost(uint64, tag = "6")]
    pub(crate) size: u64,
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub(crate) inline: Option<Bytes>,
    #[prost(uint64, tag = "8")]
    pub(crate) reserved_ms: u64,
}

/// The pieces of a composed value, in order.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Manifest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) pieces: Vec<Piece>,
}

/// A transaction's write of one key.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Write {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(enumeration = "Kind", tag = "2")]
    pub(crate) kind: i32,
    /// The value, if it is inline.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) inline: Bytes,
    /// The value's place, if it is in a blob.
    #[prost(message, optional, tag = "4")]
    pub(crate) blob: Option<Blob>,
    #[prost(uint64, tag = "5")]
    pub(crate) size: u64,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) etag: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) attributes: Bytes,
    /// The version that it follows, where the store checks the key. Missing: it was absent.
    #[prost(message, optional, tag = "8")]
    pub(crate) follows: Option<Txn>,
}

/// The kind of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    /// Never written: a missing field reads so.
    None = 0,
    Inline = 1,
    Tombstone = 2,
    Blob = 3,
}

/// A blob's place. Its attempt and request are those of the record.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Blob {
    #[prost(uint32, tag = "1")]
    pub(crate) number: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) parts: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) part_bytes: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) reserved_ms: u64,
}

/// The rest of a removed record.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Stub {
    #[prost(message, optional, tag = "1")]
    pub(crate) txn: Option<Txn>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) hash: Bytes,
}

/// Attempts of a request that may not commit.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Aborted {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) hash: Bytes,
    /// In order.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(crate) attempts: Vec<Bytes>,
    #[prost(uint64, tag = "3")]
    pub(crate) at_ms: u64,
}

/// The version entry of a checked key. Its name says what it follows.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Lock {
    /// The item that its name would have if the key were not checked.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) item: Bytes,
}

/// The rest of the version entry of a checked key.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Free {}

/// The mark and its company.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Format {
    #[prost(message, optional, tag = "1")]
    pub(crate) mark: Option<Txn>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) moved_ms: Option<u64>,
    #[prost(message, optional, tag = "3")]
    pub(crate) settled: Option<Txn>,
    /// An [`About`].
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) about: Bytes,
}

/// A store's description of itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct About {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) identity: Bytes,
    #[prost(message, optional, tag = "3")]
    pub(crate) abilities: Option<Abilities>,
    #[prost(message, optional, tag = "4")]
    pub(crate) race: Option<Race>,
    #[prost(string, tag = "5")]
    pub(crate) program: String,
    #[prost(uint64, tag = "6")]
    pub(crate) made_ms: u64,
    /// Missing in stores that were made before it was written.
    #[prost(message, optional, tag = "7")]
    pub(crate) times: Option<Times>,
    /// In the order of prefixes.
    #[prost(message, repeated, tag = "8")]
    pub(crate) levels: Vec<Level>,
    /// Only in stores whose parts of large values are in another one; these have a format number of
    /// their own.
    #[prost(message, optional, tag = "9")]
    pub(crate) blobs: Option<Blobs>,
}

/// The place of a store's parts of large values, in another store.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Blobs {
    #[prost(string, tag = "1")]
    pub(crate) place: String,
    #[prost(bool, tag = "2")]
    pub(crate) claimed: bool,
}

/// The claim of a store on the place of its parts.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Claim {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) identity: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) store: String,
    #[prost(string, tag = "3")]
    pub(crate) program: String,
    #[prost(uint64, tag = "4")]
    pub(crate) made_ms: u64,
}

/// The level of the keys that start with a prefix.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Level {
    #[prost(string, tag = "1")]
    pub(crate) prefix: String,
    #[prost(enumeration = "Isolation", tag = "2")]
    pub(crate) isolation: i32,
}

/// A level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Isolation {
    /// Never written: a missing field reads so.
    None = 0,
    ReadAtomic = 1,
    Serializable = 2,
}

/// The times that all nodes on a store share.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Times {
    #[prost(uint64, tag = "1")]
    pub(crate) timeout_max_ms: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) recheck_after_ms: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) put_limit_ms: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) skew_max_ms: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) grace_ms: u64,
}

/// A store's abilities.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Abilities {
    #[prost(bool, tag = "1")]
    pub(crate) delete_if: bool,
    #[prost(bool, tag = "2")]
    pub(crate) exclusive: bool,
    #[prost(uint64, tag = "3")]
    pub(crate) grace_ms: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) body_bytes_max: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) blob_part_bytes: u64,
}

/// The verdict of a race probe.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Race {
    #[prost(enumeration = "Verdict", tag = "1")]
    pub(crate) verdict: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) writers: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) rounds: u32,
}

/// The kind of a race probe's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Verdict {
    /// Never written: a missing field reads so.
    None = 0,
    NotProbed = 1,
    Exclusive = 2,
    Passed = 3,
}

/// A text for people.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// The notes of a sweep that stopped.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Notes {
    #[prost(message, optional, tag = "1")]
    pub(crate) mark: Option<Txn>,
    #[prost(message, optional, tag = "2")]
    pub(crate) target: Option<Txn>,
    #[prost(fixed64, tag = "3")]
    pub(crate) salt: u64,
    #[prost(oneof = "Phase", tags = "4, 5")]
    pub(crate) phase: Option<Phase>,
    /// In order.
    #[prost(message, repeated, tag = "6")]
    pub(crate) window: Vec<Pending>,
    /// In order.
    #[prost(fixed64, repeated, tag = "7")]
    pub(crate) met: Vec<u64>,
    /// The first two bytes of the least hash that the pass is for, inclusive.
    #[prost(uint32, tag = "8")]
    pub(crate) hashes_from: u32,
    /// The first two bytes of the greatest, exclusive.
    #[prost(uint32, tag = "9")]
    pub(crate) hashes_to: u32,
}

/// The phase of a sweep.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Phase {
    #[prost(message, tag = "4")]
    Versions(VersionsPhase),
    #[prost(message, tag = "5")]
    Commits(CommitsPhase),
}

/// Progress over version entries.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VersionsPhase {
    #[prost(message, optional, tag = "1")]
    pub(crate) after: Option<Place>,
    #[prost(message, optional, tag = "2")]
    pub(crate) survivor: Option<Txn>,
}

/// Progress over commit records.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CommitsPhase {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) after: Option<Bytes>,
}

/// A place in the order of version entries.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Place {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// The item of the entry's name, or of the name that it would have if the key were not checked.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) item: Option<Bytes>,
    /// The version that it follows, where the store checks the key.
    #[prost(message, optional, tag = "3")]
    pub(crate) follows: Option<Txn>,
}

/// An attempt of which not every entry was met.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Pending {
    #[prost(message, optional, tag = "1")]
    pub(crate) txn: Option<Txn>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) hash: Bytes,
    #[prost(message, repeated, tag = "3")]
    pub(crate) entries: Vec<Entry>,
}

/// A version entry of a key.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// As that of a place.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) item: Bytes,
    #[prost(message, optional, tag = "3")]
    pub(crate) follows: Option<Txn>,
}
