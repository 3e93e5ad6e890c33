//! The protobuf messages within the bodies. Field numbers are durable: never change or reuse one.

use bytes::Bytes;

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
    /// The slim form: `writes` is empty and `slim_keys` holds the keys. Otherwise the other way round.
    #[prost(bool, tag = "8")]
    pub(crate) slim: bool,
    /// In key order.
    #[prost(message, repeated, tag = "9")]
    pub(crate) writes: Vec<Write>,
    /// In order.
    #[prost(string, repeated, tag = "10")]
    pub(crate) slim_keys: Vec<String>,
    /// How many blobs the attempt reserved.
    #[prost(uint32, tag = "11")]
    pub(crate) blobs: u32,
    /// The result's place, if it is in a blob.
    #[prost(message, optional, tag = "12")]
    pub(crate) large_result: Option<LargeResult>,
}

/// Where a large result is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LargeResult {
    #[prost(message, optional, tag = "1")]
    pub(crate) blob: Option<Blob>,
    #[prost(uint64, tag = "2")]
    pub(crate) size: u64,
}

/// What a transaction wrote to a key.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Write {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(enumeration = "Kind", tag = "2")]
    pub(crate) kind: i32,
    /// The value, if it is inline.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) inline: Bytes,
    /// The value's place, if it is in blobs.
    #[prost(message, optional, tag = "4")]
    pub(crate) blob: Option<Blob>,
    #[prost(uint64, tag = "5")]
    pub(crate) size: u64,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) etag: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) attributes: Bytes,
}

/// The kind of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    /// Never written: what a missing field reads as.
    None = 0,
    Inline = 1,
    Tombstone = 2,
    Blob = 3,
}

/// Where a large value is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) attempt: Bytes,
    #[prost(uint32, tag = "2")]
    pub(crate) number: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) parts: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) part_bytes: u32,
}

/// A collect entry.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Collect {
    #[prost(enumeration = "Stage", tag = "1")]
    pub(crate) stage: i32,
    #[prost(fixed64, tag = "2")]
    pub(crate) horizon: u64,
    /// At least one.
    #[prost(message, repeated, tag = "3")]
    pub(crate) transactions: Vec<Superseded>,
}

/// A transaction that is collected.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Superseded {
    #[prost(fixed64, tag = "1")]
    pub(crate) time: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) attempt: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) hash: Bytes,
    /// In key order.
    #[prost(message, repeated, tag = "4")]
    pub(crate) writes: Vec<CollectWrite>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) blobs: Vec<CollectBlob>,
    #[prost(uint64, tag = "6")]
    pub(crate) retention_ms: u64,
    #[prost(message, optional, tag = "7")]
    pub(crate) result_blob: Option<CollectBlob>,
}

/// What is known of a version without its bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CollectWrite {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(enumeration = "Kind", tag = "2")]
    pub(crate) kind: i32,
    #[prost(uint64, tag = "3")]
    pub(crate) size: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) etag: Bytes,
}

/// A blob of a transaction that is collected.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct CollectBlob {
    #[prost(uint32, tag = "1")]
    pub(crate) number: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) parts: u32,
}

/// How far a collection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Stage {
    /// Never written: what a missing field reads as.
    None = 0,
    Pieces = 1,
    Header = 2,
    Markers = 3,
}

/// Of the mark: up to when intents are entered; of the horizon: below what is collected.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Time {
    #[prost(fixed64, tag = "1")]
    pub(crate) time: u64,
}

/// A marker.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Marker {
    #[prost(fixed64, tag = "1")]
    pub(crate) node: u64,
    #[prost(fixed64, tag = "2")]
    pub(crate) count: u64,
}
