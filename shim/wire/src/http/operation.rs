//! One operation of a batch.
//!
//! ```text
//!   {"get": KEY}   {"put": KEY, "value": BASE64 | "text": STRING, "content_type"?: STRING}   {"delete": KEY}
//! ```

use std::fmt;

use bytes::Bytes;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base64_text;

/// The most operations in one call: what one transaction may write. Also keeps a small body from becoming a large vector.
pub const OPS_LEN_MAX: usize = 1_000;

/// An operation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Op {
    /// Which; a door refuses an operation without it.
    #[prost(oneof = "OpKind", tags = "1, 2, 3")]
    pub kind: Option<OpKind>,
}

/// What an operation does.
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
    /// Kept with the value, and given back by a `GET` of the key.
    #[prost(string, optional, tag = "3")]
    pub content_type: Option<String>,
}

impl Op {
    /// Reads a key.
    pub fn get(key: impl Into<String>) -> Op {
        Op { kind: Some(OpKind::Get(key.into())) }
    }

    /// Writes a value without a content type.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Op {
        Op { kind: Some(OpKind::Put(Put { key: key.into(), value: value.into(), content_type: None })) }
    }

    /// Writes a tombstone.
    pub fn delete(key: impl Into<String>) -> Op {
        Op { kind: Some(OpKind::Delete(key.into())) }
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
            None => {}
        }
        map.end()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Field {
    Get,
    Put,
    Delete,
    Value,
    Text,
    ContentType,
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
            r#"an operation: {"get": key}, {"put": key, "value": base64} (or "text": string), or {"delete": key}"#,
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Op, A::Error> {
        #[derive(Deserialize)]
        struct Base64(#[serde(with = "base64_text")] Bytes);
        let mut verb: Option<(Field, String)> = None;
        let mut value: Option<Bytes> = None;
        let mut content_type: Option<String> = None;
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Get | Field::Put | Field::Delete => {
                    if verb.replace((field, map.next_value()?)).is_some() {
                        return Err(de::Error::custom(
                            "an operation has one of \"get\", \"put\" and \"delete\"; this one has two",
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
                            "a \"put\" has one of \"value\" and \"text\"; this one has two",
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
        let kind = match (verb, value, content_type) {
            (Some((Field::Put, key)), Some(value), content_type) => {
                OpKind::Put(Put { key, value, content_type })
            }
            (Some((Field::Put, _)), None, _) => {
                return Err(de::Error::custom("a \"put\" needs \"value\" (base64) or \"text\""));
            }
            (Some((Field::Get, key)), None, None) => OpKind::Get(key),
            (Some((Field::Delete, key)), None, None) => OpKind::Delete(key),
            (Some(_), _, _) => {
                return Err(de::Error::custom(
                    "\"value\", \"text\" and \"content_type\" belong to \"put\" only",
                ));
            }
            (None, _, _) => {
                return Err(de::Error::custom("an operation needs \"get\", \"put\" or \"delete\""));
            }
        };
        Ok(Op { kind: Some(kind) })
    }
}

/// A list of operations, refused with both numbers when it is too long.
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
            let mut count = OPS_LEN_MAX;
            while seq.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
            if count > OPS_LEN_MAX { Err(de::Error::custom(too_many_ops(count))) } else { Ok(ops) }
        }
    }
    deserializer.deserialize_seq(Ops)
}

pub(super) fn too_many_ops(count: usize) -> String {
    format!(
        "a call has at most {OPS_LEN_MAX} operations; this one has {count}: split it over several calls of one transaction"
    )
}
