//! Bodies of replies.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::base64_text;

/// What the calls on transactions answer. Which fields stand in it says how it went:
///
/// * `transaction`, `expires_at` – a transaction is open (status 201);
/// * `committed`, `version`, `session` – it committed (200); without a `version` there was nothing to store;
/// * `replayed`, `result` (or `result_size`), `version`, `session` – another attempt of the request committed, and this one has no effect (200);
/// * `results` – one for every `get` of the call, in order.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// The open transaction's token.
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// When its time runs out, by the node's clock (RFC 3339).
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// One for every `get`, in order.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<Read>,
    /// The transaction committed.
    #[prost(bool, tag = "4")]
    #[serde(skip_serializing_if = "is_false")]
    pub committed: bool,
    /// Another attempt had committed.
    #[prost(bool, tag = "5")]
    #[serde(skip_serializing_if = "is_false")]
    pub replayed: bool,
    /// The result that the winner left.
    #[prost(bytes = "bytes", optional, tag = "6")]
    #[serde(with = "base64_text::option", skip_serializing_if = "Option::is_none")]
    pub result: Option<Bytes>,
    /// The committed transaction's identity.
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// For the client's next transaction.
    #[prost(string, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The size of the winner's result in bytes, if it is large: `GET /v1/results/{id}` gives it.
    #[prost(uint64, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_size: Option<u64>,
}

/// What a `get` found.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Read {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value; null (in protobuf: left out) if it has none.
    #[prost(bytes = "bytes", optional, tag = "2")]
    #[serde(with = "base64_text::option")]
    pub value: Option<Bytes>,
    /// The version that was read, or `uncommitted` for the transaction's own write.
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Kept with the value.
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// A page of keys (`GET /v1/transactions/{t}/keys`).
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// In order of their bytes.
    #[prost(message, repeated, tag = "1")]
    pub keys: Vec<Listed>,
    /// If more may follow: pass it as `after`.
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Up to and including the delimiter, under which there is a key; in order of their bytes.
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
    /// Its value's size in bytes.
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
    /// The request's hash, in hexadecimal: under it stands the commit record.
    #[prost(string, tag = "1")]
    pub hash: String,
    /// The transaction that committed.
    #[prost(string, tag = "2")]
    pub version: String,
    /// When (RFC 3339).
    #[prost(string, tag = "3")]
    pub committed_at: String,
    /// Until when the record is kept at least (RFC 3339).
    #[prost(string, tag = "4")]
    pub kept_until: String,
    /// The keys that it wrote, in order.
    #[prost(string, repeated, tag = "5")]
    pub keys: Vec<String>,
    /// What later attempts are answered.
    #[prost(bytes = "bytes", optional, tag = "6")]
    #[serde(with = "base64_text::option", skip_serializing_if = "Option::is_none")]
    pub result: Option<Bytes>,
    /// The size of the result in bytes, if it is large: `GET /v1/results/{id}` gives it.
    #[prost(uint64, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_size: Option<u64>,
    /// For a transaction that is to see this commit.
    #[prost(string, tag = "9")]
    pub session: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}
