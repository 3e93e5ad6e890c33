//! Bodies of requests.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base64_text;
use super::operation::{Op, deserialize_ops};

/// Opens a transaction (`POST /v1/transactions`), or runs a whole one (`POST /v1/execute`, where
/// the commit is implied).
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Begin {
    /// The ID of the request. At most one of all attempts with this ID commits. The header
    /// `Idempotency-Key` is an alias.
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The scope of the request ID. It keeps the IDs of different functions apart.
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// A text that identifies the request's payload, in any form. A different fingerprint under the
    /// same request ID is rejected. If a call holds the whole transaction and gives none, the door
    /// computes one from the call's contents.
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The longest time that the transaction stays open, in milliseconds.
    #[prost(uint64, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The longest wait for another open attempt of the request, in milliseconds.
    #[prost(uint64, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The [`IfOpen`] for the case that another attempt of the request is open.
    #[prost(enumeration = "IfOpen", tag = "6")]
    #[serde(with = "IfOpen", skip_serializing_if = "is_zero")]
    pub if_open: i32,
    /// The session token of the client's last commit. The header `Aft-Session` is an alias.
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The time for which the commit is remembered, in seconds.
    #[prost(uint64, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_s: Option<u64>,
    /// The operations to run at once, in order.
    #[prost(message, repeated, tag = "10")]
    #[serde(deserialize_with = "deserialize_ops", skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<Op>,
    /// True to commit when the operations have run.
    #[prost(bool, optional, tag = "11")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<bool>,
    /// The result that later attempts of the request get; with `commit` only.
    #[prost(bytes = "bytes", optional, tag = "12")]
    #[serde(with = "base64_text::option", skip_serializing_if = "Option::is_none")]
    pub result: Option<Bytes>,
    /// True to see every commit that was acknowledged before the call, on any node: the first read
    /// of each key lists it in the store again.
    #[prost(bool, tag = "13")]
    #[serde(skip_serializing_if = "is_false")]
    pub fresh: bool,
    /// The [`Isolation`] level of the transaction.
    #[prost(enumeration = "Isolation", tag = "14")]
    #[serde(with = "Isolation", skip_serializing_if = "is_zero")]
    pub isolation: i32,
    /// The number of consecutive attempts of the request that ended with `conflict`. After five,
    /// other serializable transactions are kept off the keys that this one reads, for at most a
    /// second.
    #[prost(uint32, optional, tag = "15")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<u32>,
}

/// Runs operations in an open transaction (`POST /v1/transactions/{t}/batch`).
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// The operations to run, in order.
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "deserialize_ops", skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<Op>,
    /// True to commit when the operations have run.
    #[prost(bool, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<bool>,
    /// The result that later attempts of the request get; with `commit` only.
    #[prost(bytes = "bytes", optional, tag = "3")]
    #[serde(with = "base64_text::option", skip_serializing_if = "Option::is_none")]
    pub result: Option<Bytes>,
}

/// Commits (`POST /v1/transactions/{t}/commit`). The body may be left out.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Commit {
    /// The result that later attempts of the request get.
    #[prost(bytes = "bytes", optional, tag = "1")]
    #[serde(with = "base64_text::option", skip_serializing_if = "Option::is_none")]
    pub result: Option<Bytes>,
}

/// The behaviour of an opening while another attempt of the request is open on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, prost::Enumeration)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum IfOpen {
    /// Run concurrently with it; the commit record decides between the two.
    Run = 0,
    /// Wait up to `wait_ms` for its end, then reject the call (`in_progress`).
    Wait = 1,
}

/// The level at which a transaction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, prost::Enumeration)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum Isolation {
    /// Serializable if the call has a condition or an addition; else the level of the keys that it
    /// writes, where several servers share the store; else read atomic.
    #[serde(skip)]
    Unspecified = 0,
    /// The transaction sees all or none of another one's writes, and its own become visible
    /// together.
    ReadAtomic = 1,
    /// Read atomic, and every version it read is still the newest when it commits; otherwise the
    /// commit is rejected (`conflict`).
    Serializable = 2,
}

macro_rules! enumeration_text {
    ($name:ident) => {
        impl $name {
            fn serialize<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                match $name::try_from(*number) {
                    Ok(value) => value.serialize(serializer),
                    Err(why) => Err(serde::ser::Error::custom(why)),
                }
            }

            fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
                Ok(<$name as Deserialize>::deserialize(deserializer)? as i32)
            }
        }
    };
}
enumeration_text!(IfOpen);
enumeration_text!(Isolation);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}
