//! Bodies of replies.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::base64_text;

/// The reply to a call on a transaction. The fields that are present give the outcome:
///
/// * `transaction`, `expires_at` – a transaction is open (status 201);
/// * `committed`, `version`, `session` – it committed (200); without a `version` there was nothing
///   to store;
/// * `replayed`, `result` (or `result_size`), `version`, `session` – another attempt of the request
///   committed, and this one has no effect (200);
/// * `results` – one for every `get` and `add` of the call, in order.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// The open transaction's token.
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// The time at which the transaction expires, by the node's clock (RFC 3339).
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The results of every `get` and `add`, in order.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<Read>,
    /// True if this transaction committed.
    #[prost(bool, tag = "4")]
    #[serde(skip_serializing_if = "is_false")]
    pub committed: bool,
    /// True if another attempt of the request had committed before.
    #[prost(bool, tag = "5")]
    #[serde(skip_serializing_if = "is_false")]
    pub replayed: bool,
    /// The result of the attempt that committed.
    #[prost(bytes = "bytes", optional, tag = "6")]
    #[serde(with = "base64_text::option", skip_serializing_if = "Option::is_none")]
    pub result: Option<Bytes>,
    /// The committed transaction's identity.
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The session token for the client's next transaction.
    #[prost(string, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The size in bytes of a result that is too large for `result`: `GET /v1/results/{id}` returns
    /// it.
    #[prost(uint64, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_size: Option<u64>,
}

/// The result of a `get` or an `add`.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Read {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value; null (in protobuf: left out) if the key has none.
    #[prost(bytes = "bytes", optional, tag = "2")]
    #[serde(with = "base64_text::option")]
    pub value: Option<Bytes>,
    /// The version that was read, or `uncommitted` for the transaction's own write.
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The content type that was written with the value.
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// A page of keys (`GET /v1/transactions/{t}/keys`).
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// The keys, in the order of their bytes.
    #[prost(message, repeated, tag = "1")]
    pub keys: Vec<Listed>,
    /// The text to pass as `after` for the next page; left out on the last page.
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The common prefixes of keys, up to and including the delimiter, in the order of their bytes.
    #[prost(string, repeated, tag = "3")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
}

/// A key of a listing.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Listed {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The size of its value in bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// The version, or `uncommitted` for the transaction's own write.
    #[prost(string, tag = "3")]
    pub version: String,
}

/// A committed request (`GET /v1/requests/{id}`).
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The request's hash in hexadecimal, which names the commit record.
    #[prost(string, tag = "1")]
    pub hash: String,
    /// The identity of the transaction that committed.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The commit time (RFC 3339).
    #[prost(string, tag = "3")]
    pub committed_at: String,
    /// The time until which the record is kept at least (RFC 3339).
    #[prost(string, tag = "4")]
    pub kept_until: String,
    /// The keys that it wrote, in order.
    #[prost(string, repeated, tag = "5")]
    pub keys: Vec<String>,
    /// The result that later attempts of the request get.
    #[prost(bytes = "bytes", optional, tag = "6")]
    #[serde(with = "base64_text::option", skip_serializing_if = "Option::is_none")]
    pub result: Option<Bytes>,
    /// The size in bytes of a result that is too large for `result`: `GET /v1/results/{id}` returns
    /// it.
    #[prost(uint64, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_size: Option<u64>,
    /// The session token for a transaction that must see this commit.
    #[prost(string, tag = "9")]
    pub session: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}
