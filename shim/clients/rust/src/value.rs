//! Values that a transaction reads.

use aft_api::{Put, Read, header};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};

use crate::answer::{self, Fault};
use crate::error::Error;
use crate::transport::Answer;

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
    /// The size of the whole value in bytes, of which a range is a part.
    pub size: u64,
}

impl Value {
    pub(crate) fn new(bytes: Bytes, content_type: Option<String>, version: Option<String>) -> Value {
        Value {
            size: bytes.len() as u64,
            bytes,
            content_type: content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()),
            version: version.unwrap_or_default(),
        }
    }

    /// Returns the value of an answer.
    pub(crate) fn of_answer(answer: Answer) -> Value {
        let content_type = answer::text(&answer, CONTENT_TYPE.as_str());
        let version = answer::text(&answer, header::VERSION);
        Value::new(answer.body, content_type, version)
    }

    /// Returns the range of an answer. An answer with the whole value, from a proxy that knows no
    /// ranges, is cut to the range.
    pub(crate) fn of_range(answer: Answer, range: Range) -> Result<Value, Fault> {
        if answer.status != StatusCode::PARTIAL_CONTENT {
            return Value::of_answer(answer).cut(range).map_err(Fault::Refused);
        }
        let told = answer::text(&answer, CONTENT_RANGE.as_str()).unwrap_or_default();
        let parse = || {
            let (part, size) = told.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = part.split_once('-')?;
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            let len = last.checked_sub(first)?.checked_add(1)?;
            let fits = first == range.start && len <= range.len && len == answer.body.len() as u64;
            size.parse::<u64>().ok().filter(|_| fits)
        };
        let Some(size) = parse() else {
            let asked = range.header();
            return Err(Fault::Strange(format!("the answer to the range {asked} has the range {told:?}")));
        };
        Ok(Value { size, ..Value::of_answer(answer) })
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

    /// Returns a range of a value that is there as a whole.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the range begins after the value's end, as the server does.
    pub(crate) fn cut(self, range: Range) -> Result<Value, Error> {
        let size = self.bytes.len() as u64;
        if range.start >= size {
            return Err(Error::invalid(format!(
                "the range {} begins after the value's end: the value has {size} bytes",
                range.header()
            )));
        }
        let end = range.start.saturating_add(range.len).min(size);
        let bytes = self.bytes.slice(range.start as usize..end as usize);
        Ok(Value { bytes, size, ..self })
    }
}

/// A range of a value's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Range {
    /// Makes a range of `len` bytes from byte `start` on.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the range is empty, or ends after the largest number.
    pub(crate) fn new(start: u64, len: u64) -> Result<Range, Error> {
        if len == 0 || start.checked_add(len).is_none() {
            return Err(Error::invalid(format!(
                "a range of {len} bytes from byte {start} on cannot be read: ask for at least 1 byte, and an end below 2^64"
            )));
        }
        Ok(Range { start, len })
    }

    /// Returns the range as the header `Range` has it.
    pub(crate) fn header(&self) -> String {
        assert!(self.len > 0, "a range is not empty");
        format!("bytes={}-{}", self.start, self.start + self.len - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_as_the_server_cuts_them() {
        let value = || Value::new("0123456789".into(), None, None);
        let cut = |start, len| value().cut(Range::new(start, len).unwrap()).map(|value| value.bytes);
        assert_eq!(cut(0, 1).unwrap(), "0");
        assert_eq!(cut(2, 3).unwrap(), "234");
        assert_eq!(cut(9, 100).unwrap(), "9");
        assert!(matches!(cut(10, 1), Err(Error::Invalid(_))));
        assert_eq!(value().cut(Range::new(2, 3).unwrap()).unwrap().size, 10);
        assert_eq!(Range::new(2, 3).unwrap().header(), "bytes=2-4");
        assert!(Range::new(2, 0).is_err() && Range::new(u64::MAX, 2).is_err());
    }
}
