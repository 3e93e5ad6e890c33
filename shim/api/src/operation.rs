//! An operation of a batch.
//!
//! ```text
//!   {"get": KEY}
//!   {"put": KEY, "value": BASE64 | "text": STRING, "content_type"?: STRING}
//!   {"delete": KEY}   {"check": KEY}   {"add": KEY, "by": NUMBER}
//! ```
//!
//! A put or a delete may have one condition: `"if_absent": true`, `"if_version": VERSION` or
//! `"if_value": BASE64`. A check must have one.

use std::fmt;

use bytes::Bytes;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base64_text;

/// The most operations in one call: as many as one transaction may write keys. The bound also keeps
/// a small body from becoming a large vector.
pub const OPS_LEN_MAX: usize = 1_000;

/// An operation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Op {
    /// The kind of operation. A door rejects an operation without one.
    #[prost(oneof = "OpKind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<OpKind>,
    /// The condition on the key's committed value. If it does not hold, the call has no effect.
    #[prost(oneof = "OpIf", tags = "6, 7, 8")]
    pub condition: Option<OpIf>,
}

/// A kind of operation.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OpKind {
    /// Reads a key; adds one [`Read`](super::Read) to the reply.
    #[prost(string, tag = "1")]
    Get(String),
    /// Writes a value.
    #[prost(message, tag = "2")]
    Put(Put),
    /// Writes a tombstone.
    #[prost(string, tag = "3")]
    Delete(String),
    /// Checks its condition, and does nothing else.
    #[prost(string, tag = "4")]
    Check(String),
    /// Adds to a number in decimal text; adds one [`Read`](super::Read), of the sum, to the reply.
    #[prost(message, tag = "5")]
    Add(Add),
}

/// A condition on the value of a key.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OpIf {
    /// The key has no value. False is the same as no condition.
    #[prost(bool, tag = "6")]
    Absent(bool),
    /// The key's value has this version.
    #[prost(string, tag = "7")]
    Version(String),
    /// The key's value has these bytes.
    #[prost(bytes = "bytes", tag = "8")]
    Value(Bytes),
}

/// An addition to the number that a key holds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Add {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The number to add; may be negative.
    #[prost(sint64, tag = "2")]
    pub by: i64,
}

/// A value for a key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Put {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The content type, kept with the value and returned by a `GET` of the key.
    #[prost(string, optional, tag = "3")]
    pub content_type: Option<String>,
}

impl Op {
    /// Makes an operation that reads a key.
    pub fn get(key: impl Into<String>) -> Op {
        Op::of(OpKind::Get(key.into()))
    }

    /// Makes an operation that writes a value without a content type.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Op {
        Op::of(OpKind::Put(Put { key: key.into(), value: value.into(), content_type: None }))
    }

    /// Makes an operation that writes a tombstone.
    pub fn delete(key: impl Into<String>) -> Op {
        Op::of(OpKind::Delete(key.into()))
    }

    /// Makes an operation that checks a condition, and does nothing else. Add the condition with
    /// [`Op::if_absent`], [`Op::if_version`] or [`Op::if_value`].
    pub fn check(key: impl Into<String>) -> Op {
        Op::of(OpKind::Check(key.into()))
    }

    /// Makes an operation that adds `by` to the number that the key holds in decimal text. A key
    /// without a value counts as 0.
    pub fn add(key: impl Into<String>, by: i64) -> Op {
        Op::of(OpKind::Add(Add { key: key.into(), by }))
    }

    /// Adds a condition: the call takes effect only if the key has no committed value.
    #[must_use]
    pub fn if_absent(self) -> Op {
        Op { condition: Some(OpIf::Absent(true)), ..self }
    }

    /// Adds a condition: the call takes effect only if the key's committed value has this version.
    #[must_use]
    pub fn if_version(self, version: impl Into<String>) -> Op {
        Op { condition: Some(OpIf::Version(version.into())), ..self }
    }

    /// Adds a condition: the call takes effect only if the key's committed value has these bytes.
    #[must_use]
    pub fn if_value(self, value: impl Into<Bytes>) -> Op {
        Op { condition: Some(OpIf::Value(value.into())), ..self }
    }

    /// Returns true if the effect depends on the key's value: if there is a condition, or an
    /// addition.
    pub fn is_conditional(&self) -> bool {
        let is_none = matches!(self.condition, None | Some(OpIf::Absent(false)));
        !is_none || matches!(self.kind, Some(OpKind::Add(_)))
    }

    /// Makes an operation without a condition.
    pub fn of(kind: OpKind) -> Op {
        Op { kind: Some(kind), condition: None }
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Value<'a>(#[serde(with = "base64_text")] &'a Bytes);
        let mut map = serializer.serialize_map(None)?;
        match &self.kind {
            Some(OpKind::Get(key)) => map.serialize_entry("get", key)?,
            Some(OpKind::Delete(key)) => map.serialize_entry("delete", key)?,
            Some(OpKind::Put(put)) => {
                map.serialize_entry("put", &put.key)?;
                map.serialize_entry("value", &Value(&put.value))?;
                if let Some(content_type) = &put.content_type {
                    map.serialize_entry("content_type", content_type)?;
                }
            }
            Some(OpKind::Check(key)) => map.serialize_entry("check", key)?,
            Some(OpKind::Add(add)) => {
                map.serialize_entry("add", &add.key)?;
                map.serialize_entry("by", &add.by)?;
            }
            None => {}
        }
        match &self.condition {
            Some(OpIf::Absent(absent)) => map.serialize_entry("if_absent", absent)?,
            Some(OpIf::Version(version)) => map.serialize_entry("if_version", version)?,
            Some(OpIf::Value(value)) => map.serialize_entry("if_value", &Value(value))?,
            None => {}
        }
        map.end()
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Get,
    Put,
    Delete,
    Check,
    Add,
    Value,
    Text,
    ContentType,
    By,
    IfAbsent,
    IfVersion,
    IfValue,
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Op, D::Error> {
        deserializer.deserialize_map(OpVisitor)
    }
}

struct OpVisitor;

impl<'de> Visitor<'de> for OpVisitor {
    type Value = Op;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            r#"an operation: {"get": key}, {"put": key, "value": base64} (or "text": string), {"delete": key}, {"check": key} with a condition, or {"add": key, "by": number}"#,
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Op, A::Error> {
        #[derive(Deserialize)]
        struct Base64(#[serde(with = "base64_text")] Bytes);
        // Fields may come in any order, so they are collected first and combined below.
        let mut verb: Option<(Field, String)> = None;
        let mut value: Option<Bytes> = None;
        let mut content_type: Option<String> = None;
        let mut by: Option<i64> = None;
        let mut condition: Option<OpIf> = None;
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Get | Field::Put | Field::Delete | Field::Check | Field::Add => {
                    if verb.replace((field, map.next_value()?)).is_some() {
                        return Err(de::Error::custom(
                            "an operation has only one of \"get\", \"put\", \"delete\", \"check\" and \"add\"; this one has two",
                        ));
                    }
                }
                Field::By => {
                    if by.replace(map.next_value()?).is_some() {
                        return Err(de::Error::duplicate_field("by"));
                    }
                }
                Field::IfAbsent | Field::IfVersion | Field::IfValue => {
                    let given = match field {
                        Field::IfAbsent => OpIf::Absent(map.next_value()?),
                        Field::IfVersion => OpIf::Version(map.next_value()?),
                        _ => OpIf::Value(map.next_value::<Base64>()?.0),
                    };
                    if condition.replace(given).is_some() {
                        return Err(de::Error::custom(
                            "an operation has only one of \"if_absent\", \"if_version\" and \"if_value\"; this one has two",
                        ));
                    }
                }
                Field::Value | Field::Text => {
                    let bytes = match field {
                        Field::Text => map.next_value::<String>()?.into(),
                        _ => map.next_value::<Base64>()?.0,
                    };
                    if value.replace(bytes).is_some() {
                        return Err(de::Error::custom(
                            "a \"put\" has only one of \"value\" and \"text\"; this one has two",
                        ));
                    }
                }
                Field::ContentType => {
                    if content_type.replace(map.next_value()?).is_some() {
                        return Err(de::Error::duplicate_field("content_type"));
                    }
                }
            }
        }
        // Each verb takes its own fields only. A condition's verb is checked by the door, which
        // does the same for protobuf.
        if by.is_some() != matches!(verb, Some((Field::Add, _))) {
            return Err(de::Error::custom(
                "an \"add\" needs \"by\", a whole number; no other operation has \"by\"",
            ));
        }
        let kind = match (verb, value, content_type) {
            (Some((Field::Put, key)), Some(value), content_type) => {
                OpKind::Put(Put { key, value, content_type })
            }
            (Some((Field::Put, _)), None, _) => {
                return Err(de::Error::custom("a \"put\" needs \"value\" (base64) or \"text\""));
            }
            (Some((Field::Get, key)), None, None) => OpKind::Get(key),
            (Some((Field::Delete, key)), None, None) => OpKind::Delete(key),
            (Some((Field::Check, key)), None, None) => OpKind::Check(key),
            (Some((Field::Add, key)), None, None) => OpKind::Add(Add { key, by: by.unwrap_or_default() }),
            (Some(_), _, _) => {
                return Err(de::Error::custom(
                    "\"value\", \"text\" and \"content_type\" belong to \"put\" only",
                ));
            }
            (None, _, _) => {
                return Err(de::Error::custom(
                    "an operation needs \"get\", \"put\", \"delete\", \"check\" or \"add\"",
                ));
            }
        };
        Ok(Op { kind: Some(kind), condition })
    }
}

/// Reads a list of operations. The error for one that is too long gives the limit and the length.
pub(super) fn deserialize_ops<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Op>, D::Error> {
    struct Ops;
    impl<'de> Visitor<'de> for Ops {
        type Value = Vec<Op>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of operations")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Op>, A::Error> {
            let mut ops = Vec::new();
            while ops.len() < OPS_LEN_MAX {
                match seq.next_element()? {
                    Some(op) => ops.push(op),
                    None => return Ok(ops),
                }
            }
            // Operations beyond the limit are counted for the message, and not kept.
            let mut count = OPS_LEN_MAX;
            while seq.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
            if count > OPS_LEN_MAX { Err(de::Error::custom(too_many_ops(count))) } else { Ok(ops) }
        }
    }
    deserializer.deserialize_seq(Ops)
}

/// Returns the message for a call with `count` operations, which is more than it may have.
pub(super) fn too_many_ops(count: usize) -> String {
    format!(
        "a call may have at most {OPS_LEN_MAX} operations; this one has {count}: split them over several calls of one transaction"
    )
}
