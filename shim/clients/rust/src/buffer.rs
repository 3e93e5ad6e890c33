//! The write buffer: writes that wait in the client until they are sent with the commit.
//!
//! Other clients do not see a transaction's writes before its commit, so the client may send them
//! at any time, as long as the transaction itself sees them. Only the last write of a key matters,
//! and the order of different keys does not.

use std::collections::BTreeMap;

use aft_api::{Op, OpKind, Put};

use crate::settings::BUFFERED_WRITES_MAX;
use crate::value::Value;

/// The buffered writes, by key.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// The writes; `None` is a tombstone.
    writes: BTreeMap<String, Option<Put>>,
    bytes: usize,
}

impl Buffer {
    /// Returns the buffered write of a key as the transaction reads it (`Some(None)` for a
    /// tombstone); `None` if no write is buffered.
    pub(crate) fn read(&self, key: &str) -> Option<Option<Value>> {
        self.writes.get(key).map(|write| write.as_ref().map(Value::own))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Returns true if a write fits into the buffer beside the others.
    pub(crate) fn has_room(&self, key: &str, put: Option<&Put>, bytes_max: usize) -> bool {
        let replaced = self.writes.get(key).map_or(0, |write| weight(key, write.as_ref()));
        let writes = self.writes.len() + usize::from(!self.writes.contains_key(key));
        writes <= BUFFERED_WRITES_MAX && self.bytes - replaced + weight(key, put) <= bytes_max
    }

    pub(crate) fn insert(&mut self, key: String, put: Option<Put>) {
        self.bytes += weight(&key, put.as_ref());
        if let Some(replaced) = self.writes.insert(key.clone(), put) {
            self.bytes -= weight(&key, replaced.as_ref());
        }
    }

    /// Drops the write of a key, because a later one was sent to the server.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(write) = self.writes.remove(key) {
            self.bytes -= weight(key, write.as_ref());
        }
    }

    /// Takes all writes out of the buffer, as operations.
    pub(crate) fn take(&mut self) -> Vec<Op> {
        self.bytes = 0;
        let writes = std::mem::take(&mut self.writes);
        writes
            .into_iter()
            .map(|(key, put)| put.map_or_else(|| Op::delete(key), |put| Op::of(OpKind::Put(put))))
            .collect()
    }
}

/// Returns the number of bytes that a write takes in a call's body, estimated.
fn weight(key: &str, put: Option<&Put>) -> usize {
    /// The bytes of field numbers and lengths.
    const AROUND: usize = 32;
    let value = put.map_or(0, |put| put.value.len() + put.content_type.as_ref().map_or(0, String::len));
    key.len() + value + AROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Option<Put> {
        Some(Put { key: key.to_owned(), value: value.to_owned().into(), content_type: None })
    }

    #[test]
    fn the_last_write_of_a_key_replaces_the_earlier_one_and_its_bytes() {
        let mut buffer = Buffer::default();
        buffer.insert("a".into(), put("a", "long value"));
        buffer.insert("b".into(), None);
        let two = buffer.bytes;
        buffer.insert("a".into(), put("a", "1"));
        assert_eq!(buffer.bytes, two - "long value".len() + 1);
        assert_eq!(buffer.read("a").flatten().map(|value| value.bytes), Some("1".into()));
        assert_eq!(buffer.read("b"), Some(None));
        assert_eq!(buffer.read("c"), None);
        assert!(buffer.has_room("a", put("a", "2").as_ref(), buffer.bytes));
        assert!(!buffer.has_room("a", put("a", "22").as_ref(), buffer.bytes));
        buffer.remove("b");
        assert_eq!(buffer.take(), [Op::put("a", "1")]);
        assert_eq!((buffer.bytes, buffer.take()), (0, Vec::new()));
    }
}
