//! Values that a transaction reads.

use aft_api::{Put, Read, header};
use bytes::Bytes;

/// The content type of a value that was written without one.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The value's bytes.
    pub bytes: Bytes,
    /// The content type with which it was written; `application/octet-stream` if there was none.
    pub content_type: String,
    /// The version's identity; `uncommitted` for the transaction's own write.
    pub version: String,
}

impl Value {
    pub(crate) fn new(bytes: Bytes, content_type: Option<String>, version: Option<String>) -> Value {
        Value {
            bytes,
            content_type: content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()),
            version: version.unwrap_or_default(),
        }
    }

    /// Returns the value that a read of a batch found.
    pub(crate) fn of(read: Read) -> Option<Value> {
        read.value.map(|bytes| Value::new(bytes, read.content_type, read.version))
    }

    /// Returns the transaction's own write as a value.
    pub(crate) fn own(put: &Put) -> Value {
        let version = Some(header::VERSION_UNCOMMITTED.to_owned());
        Value::new(put.value.clone(), put.content_type.clone(), version)
    }
}
