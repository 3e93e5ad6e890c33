//! Writes that wait in the client, to go with the commit.
//!
//! Nobody else sees a transaction's writes before its commit, so when they reach the server is the client's own business, as long as the transaction
//! itself sees them. The last write of a key is the one that counts; the order of different keys means nothing.

use std::collections::BTreeMap;

use aft_api::{Op, OpKind, Put};

use crate::settings::BUFFERED_WRITES_MAX;
use crate::value::Value;

/// The writes that wait, by key.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// `None`: a tombstone.
    writes: BTreeMap<String, Option<Put>>,
    bytes: usize,
}

impl Buffer {
    /// What the transaction sees under a key, if it is here.
    pub(crate) fn read(&self, key: &str) -> Option<Option<Value>> {
        self.writes.get(key).map(|write| write.as_ref().map(Value::own))
    }

    /// Whether a write fits in beside the others.
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

    /// Forgets the write of a key, because a later one goes to the server.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(write) = self.writes.remove(key) {
            self.bytes -= weight(key, write.as_ref());
        }
    }

    /// All that waits, as operations; nothing waits any more.
    pub(crate) fn take(&mut self) -> Vec<Op> {
        self.bytes = 0;
        let writes = std::mem::take(&mut self.writes);
        writes
            .into_iter()
            .map(|(key, put)| put.map_or_else(|| Op::delete(key), |put| Op::of(OpKind::Put(put))))
            .collect()
    }
}

/// What a write takes in a call's body, about.
fn weight(key: &str, put: Option<&Put>) -> usize {
    /// Field numbers and lengths.
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
    fn the_last_write_counts_and_bytes_are_those_that_wait() {
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
