//! The checks of a transaction's reads one by one: P3 and P4.
//!
//! A read that breaks one of these is reported once and left out of all later checks: the fracture
//! that a dirty read also causes would give no new information.

use std::collections::BTreeMap;

use super::index::{Index, Source};
use crate::{Key, Operation, Value, Version, Violation};

/// A run of consecutive reads of one key that returned the same committed version of another
/// transaction (or version 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) key: Key,
    pub(crate) value: Value,
    /// The place of the writer; `None` for version 0.
    pub(crate) writer: Option<u32>,
    /// The place of the run's first read in the transaction.
    pub(crate) first: usize,
    /// The place of the run's last read in the transaction.
    pub(crate) last: usize,
    /// True if the writer is the one that the transaction's first read of the key returned. If
    /// false, the read was not repeatable.
    pub(crate) is_first: bool,
}

impl Seen {
    /// Returns the version that was read.
    pub(crate) fn version(&self, index: &Index<'_>) -> Version {
        index.version(self.key, self.value, self.writer)
    }
}

/// The result of the checks of a transaction's reads.
pub(crate) struct Scan {
    /// The good reads of versions of other transactions, sorted by key, then by time.
    pub(crate) seen: Vec<Seen>,
    /// The number of all reads, good or bad.
    pub(crate) reads: u64,
}

/// Checks a transaction's reads and returns those that other checks build upon.
pub(crate) fn scan(index: &Index<'_>, reader: usize, violations: &mut Vec<Violation>) -> Scan {
    let transaction = index.transaction(reader);
    // Judge each read in program order, with the transaction's own writes before it.
    let mut own: BTreeMap<Key, Value> = BTreeMap::new();
    let mut sources = index.sources(reader).iter();
    let mut seen = Vec::new();
    for (place, operation) in transaction.operations.iter().enumerate() {
        match *operation {
            Operation::Write { key, value } => {
                own.insert(key, value);
            }
            Operation::Read { key, value } => {
                let source = *sources.next().expect("every read has a source");
                let own = own.get(&key).copied().filter(|_| !planted!(OwnWriteForgotten));
                match judge(index, reader, key, value, source, own) {
                    Ok(None) => {}
                    Ok(Some(writer)) => {
                        seen.push(Seen { key, value, writer, first: place, last: place, is_first: true });
                    }
                    Err(violation) => violations.push(violation),
                }
            }
        }
    }
    // Merge consecutive reads of the same version into runs.
    seen.sort_unstable_by_key(|seen| (seen.key, seen.first));
    seen.dedup_by(|later, run| {
        let same = later.key == run.key && later.writer == run.writer;
        if same {
            run.last = later.last;
        }
        same
    });
    check_repeatable(index, reader, &mut seen, violations);
    Scan { seen, reads: index.sources(reader).len() as u64 }
}

/// Checks one read, given the transaction's own last write of the key before it.
///
/// Returns `Some(writer)` for a good read from another transaction, where `writer` is `None` for
/// version 0; and `None` for a good read of the transaction's own write.
fn judge(
    index: &Index<'_>,
    reader: usize,
    key: Key,
    value: Value,
    source: Source,
    own: Option<Value>,
) -> Result<Option<Option<u32>>, Violation> {
    let id = index.id(reader);
    let read = |writer| index.version(key, value, writer);
    // After an own write of the key, only that write may be read.
    if let Some(own) = own {
        let writer = match source {
            Source::Nobody | Source::Initial => None,
            Source::Written { writer, .. } => Some(writer),
        };
        let own_version = Version { key, value: own, writer: Some(id) };
        return if own == value {
            Ok(None)
        } else {
            Err(Violation::OwnWriteLost { reader: id, own: own_version, read: read(writer) })
        };
    }
    match source {
        Source::Nobody => Err(Violation::ThinAirRead { reader: id, read: read(None) }),
        Source::Initial => Ok(Some(None)),
        // There is no own write before the read, so this one comes later.
        Source::Written { writer, .. } if writer as usize == reader => {
            if planted!(FutureIsFine) {
                return Ok(None);
            }
            Err(Violation::FutureRead { reader: id, read: read(Some(writer)) })
        }
        Source::Written { writer, .. } if !index.is_committed(writer as usize) => {
            Err(Violation::DirtyRead { reader: id, read: read(Some(writer)) })
        }
        Source::Written { writer, is_last: false } => {
            let last =
                index.last_write(writer as usize, key).expect("a writer of the key left something in it");
            Err(Violation::IntermediateRead { reader: id, read: read(Some(writer)), last })
        }
        Source::Written { writer, is_last: true } => Ok(Some(Some(writer))),
    }
}

/// Reports each key that was read in more than one version once, and sets `is_first`.
fn check_repeatable(index: &Index<'_>, reader: usize, seen: &mut [Seen], violations: &mut Vec<Violation>) {
    for key in seen.chunk_by_mut(|a, b| a.key == b.key) {
        let [first, others @ ..] = key else { unreachable!("a chunk is not empty") };
        if let [later, ..] = others
            && !planted!(RepeatableIgnored)
        {
            violations.push(Violation::NonRepeatableRead {
                reader: index.id(reader),
                first: first.version(index),
                later: later.version(index),
            });
        }
        for other in others {
            other.is_first = other.writer == first.writer;
        }
    }
}
