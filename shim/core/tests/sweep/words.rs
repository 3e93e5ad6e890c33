//! The text form of stores.
//!
//! `100x a b- : record a` is a transaction of attempt `x` at 100 ms that wrote `a` and deleted `b`.
//! The store has its record, and its entry at `a`. `all` stands for the record and every entry.
//! More words after the colon: `whole` (its one entry is the commit; without this word, a
//! transaction of one key has a result, and so a record), `named`, `of=y` (it is an attempt of the
//! request of `y`), `kept=ms` (its retention), `parts` (the parts of its blob). A key with a `*`
//! has its value in a blob.
//!
//! A store is shown as `record x, stub x, damaged x, notes, x/0, a@100x, b@100x-`.

use std::sync::Arc;

use aft_core::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
use aft_core::record::{BlobGroup, BlobRef, Kind, Location, Record, Stub, Value, Write};
use aft_core::store::{Body, Name};
use bytes::Bytes;

use crate::store::Store;

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn attempt(name: char) -> AttemptId {
    AttemptId([name as u8; 16])
}

pub(crate) fn hash(name: char) -> RequestHash {
    RequestHash([name as u8; 32])
}

fn group(name: char, of: char, ms: u64) -> BlobGroup {
    BlobGroup { attempt: attempt(name), hash: hash(of), reserved_ms: ms }
}

/// A transaction, parsed from a line.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) record: Arc<Record>,
    there: Vec<Name>,
}

impl Line {
    pub(crate) fn parse(line: &str, retention_ms: u64) -> Line {
        let (head, tail) = line.split_once(':').unwrap();
        let mut head = head.split_whitespace();
        let id = head.next().unwrap();
        let name = id.chars().last().unwrap();
        let ms: u64 = id[..id.len() - 1].parse().unwrap();
        let tail: Vec<&str> = tail.split_whitespace().collect();
        let option = |word: &str| tail.iter().find_map(|other| other.strip_prefix(word));
        let of = option("of=").map_or(name, |of| of.chars().next().unwrap());
        let write = |word: &str| match (word.strip_suffix('-'), word.strip_suffix('*')) {
            (Some(deleted), _) => (key(deleted), Write::Tombstone),
            (None, large) => {
                let blob = BlobRef { group: group(name, of, ms), number: 0, parts: 1, part_bytes: 8 };
                let location = match large {
                    Some(_) => Location::Blob(blob),
                    None => Location::Inline(Bytes::from_static(b"v")),
                };
                let value = Value { location, size: 1, etag: Bytes::new(), attributes: Bytes::new() };
                (key(large.unwrap_or(word)), Write::Put(value))
            }
        };
        let mut writes: Vec<(Key, Write)> = head.map(write).collect();
        writes.sort();
        let whole = tail.contains(&"whole");
        // Without a result, a transaction of one key would be a whole entry without a record.
        let needs_result = writes.len() == 1 && !whole;
        let record = Arc::new(Record {
            txn: TxnId { time: Hlc::from_ms(ms), attempt: attempt(name) },
            hash: hash(of),
            named: tail.contains(&"named") || of != name,
            fingerprint: None,
            retention_ms: option("kept=").map_or(retention_ms, |ms| ms.parse().unwrap()),
            result: needs_result.then(|| Bytes::from_static(b"r")),
            large_result: None,
            writes: writes.into(),
            follows: None,
        });
        assert_eq!(record.is_whole(), whole, "{line}");
        let entries = record.entries().into_iter();
        let is_there_at = |key: &Key| whole || tail.contains(&"all") || tail.contains(&key.as_str());
        let entries = entries.filter(|(key, _)| is_there_at(key));
        let mut there: Vec<Name> = entries.map(|(key, entry)| Name::Version(key, entry)).collect();
        if tail.contains(&"all") || tail.contains(&"record") {
            there.push(Name::Commit(record.hash));
        }
        if tail.contains(&"parts") {
            there.push(Name::Blob { group: group(name, of, ms), number: 0, part: 0 });
        }
        Line { record, there }
    }

    /// Puts the objects that the store has of the transaction.
    pub(crate) fn put(&self, store: &mut Store) {
        for name in &self.there {
            let body = match name {
                Name::Commit(_) => Body::Record(self.record.clone()),
                Name::Version(_, entry) if entry.whole => Body::Record(self.record.clone()),
                Name::Blob { .. } => Body::Part(Bytes::from_static(b"part")),
                _ => Body::Empty,
            };
            store.put(name.clone(), body);
            store.backdate(name.clone(), self.record.txn.time.ms());
        }
    }

    /// Returns the name of its entry at a key.
    pub(crate) fn entry(&self, at: &str) -> Name {
        let entries = self.record.entries().into_iter();
        let (key, entry) = entries.into_iter().find(|(key, _)| key.as_str() == at).unwrap();
        Name::Version(key, entry)
    }
}

fn letter(bytes: &[u8]) -> char {
    char::from(bytes[0])
}

/// Returns a store as text, without its mark.
pub(crate) fn show(store: &Store) -> String {
    let name = |name: &&Name| match name {
        Name::Format => None,
        Name::Commit(hash) => Some(match store.body(name) {
            Some(Body::Stub(Stub { txn, .. })) => format!("stub {}", letter(&txn.attempt.0)),
            Some(Body::Record(record)) => format!("record {}", letter(&record.txn.attempt.0)),
            _ => format!("something under {}", letter(&hash.0)),
        }),
        Name::Version(key, entry) => {
            let deleted = if entry.meta.kind == Kind::Tombstone { "-" } else { "" };
            let (ms, attempt) = (entry.txn.time.ms(), letter(&entry.txn.attempt.0));
            Some(format!("{key}@{ms}{attempt}{deleted}"))
        }
        Name::Successor(key, before) => Some(format!("{key}>{}", before.time.ms())),
        Name::Blob { group, part, .. } => Some(format!("{}/{part}", letter(&group.attempt.0))),
        Name::Damaged(hash) => Some(format!("damaged {}", letter(&hash.0))),
        Name::Notes => Some("notes".into()),
    };
    store.names().iter().filter_map(name).collect::<Vec<String>>().join(", ")
}
