//! Values as a transaction reads them.

use aft_api::{Put, Read, header};
use bytes::Bytes;

/// The content type of a value that was written without one.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The value itself.
    pub bytes: Bytes,
    /// What it was written with; `application/octet-stream` if with nothing.
    pub content_type: String,
    /// Which version it is, or `uncommitted` for the transaction's own write.
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

    /// What a read of a batch found.
    pub(crate) fn of(read: Read) -> Option<Value> {
        read.value.map(|bytes| Value::new(bytes, read.content_type, read.version))
    }

    /// A write of the transaction's own.
    pub(crate) fn own(put: &Put) -> Value {
        let version = Some(header::VERSION_UNCOMMITTED.to_owned());
        Value::new(put.value.clone(), put.content_type.clone(), version)
    }
}
