//! P6: the check, after all faults have healed, that each key's newest acknowledged version is
//! still there.
//!
//! Rule for each final read of a key: let `N` be the key's newest version whose commit was
//! acknowledged. The read must return `N` or a version that may be newer: one of unknown outcome
//! with a later stamp, or any committed one if its stamp or that of `N` is missing. A version with
//! an earlier stamp than `N` always proves a lost write.
//!
//! The caller chooses the keys of the final reads. Keys that it left out are counted, not checked.

use std::collections::BTreeSet;

use super::index::{Index, Malformed, Source};
use crate::{History, Key, Outcome, TransactionId, Value, Version};

/// A final read that shows a lost write or returned a wrong value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The final read returned a version older than an acknowledged one.
    #[error("lost write: {acknowledged} was acknowledged, and a final read returned {read}")]
    LostWrite {
        /// The newest acknowledged version.
        acknowledged: Version,
        /// The version that was returned.
        read: Version,
    },
    /// The final read returned a value that no transaction wrote.
    #[error("thin-air final read: {0}, which nobody wrote")]
    ThinAir(Version),
    /// The final read returned a value of an aborted transaction.
    #[error("dirty final read: {0}, which aborted")]
    Dirty(Version),
    /// The final read returned a value that its writer overwrote before it committed.
    #[error("intermediate final read: {read}, which its writer overwrote with {last}")]
    Intermediate {
        /// The version that was returned.
        read: Version,
        /// The last value that the writer wrote to the key.
        last: Value,
    },
}

/// The verdict on durability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// The failures, in the order of the final reads.
    pub losses: Vec<Loss>,
    /// The number of final reads that were checked.
    pub reads: u64,
    /// The number of keys with an acknowledged write but without a final read.
    pub keys_unread: u64,
}

impl Durability {
    /// Returns true if every key with an acknowledged write was read, and no final read failed.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.losses.is_empty() && self.keys_unread == 0
    }
}

/// Checks reads that were made after all faults healed. A key may be read several times, for
/// example once on each node.
///
/// # Errors
///
/// Returns [`Malformed`] if the history is not well formed. Fix the logger.
pub fn check_durable(
    history: &History,
    final_reads: impl IntoIterator<Item = (Key, Value)>,
) -> Result<Durability, Malformed> {
    let index = Index::new(history)?;
    let newest = newest_acknowledged(&index);
    let mut unread: BTreeSet<Key> = newest.iter().map(|newest| newest.0).collect();
    let mut losses = Vec::new();
    let mut reads = 0;
    for (key, value) in final_reads {
        unread.remove(&key);
        reads += 1;
        let of_key = newest.binary_search_by_key(&key, |newest| newest.0).ok().map(|at| newest[at]);
        losses.extend(judge(&index, key, value, of_key));
    }
    Ok(Durability { losses, reads, keys_unread: unread.len() as u64 })
}

/// Returns the newest acknowledged version of each key, sorted by key. It is the one with the
/// latest stamp; if none has a stamp, it is an arbitrary but fixed one.
fn newest_acknowledged(index: &Index<'_>) -> Vec<(Key, Value, u32)> {
    let mut versions: Vec<_> = index
        .committed_versions()
        .filter(|(.., writer)| index.transaction(*writer as usize).outcome == Outcome::Committed)
        .collect();
    versions.sort_by_key(|(key, _, writer)| (*key, index.transaction(*writer as usize).stamp));
    let newest = versions.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last);
    newest.copied().collect()
}

fn judge(index: &Index<'_>, key: Key, value: Value, newest: Option<(Key, Value, u32)>) -> Option<Loss> {
    let read = |writer| index.version(key, value, writer);
    let (writer, is_last) = match index.source(key, value) {
        Source::Nobody => return Some(Loss::ThinAir(read(None))),
        Source::Initial => {
            let (key, value, writer) = newest?;
            let acknowledged = index.version(key, value, Some(writer));
            return Some(Loss::LostWrite { acknowledged, read: read(None) });
        }
        Source::Written { writer, is_last } => (writer, is_last),
    };
    let of_read = index.transaction(writer as usize);
    if of_read.outcome == Outcome::Aborted {
        return Some(Loss::Dirty(read(Some(writer))));
    }
    if !is_last {
        let last = index.last_write(writer as usize, key).expect("a writer of the key left something in it");
        return Some(Loss::Intermediate { read: read(Some(writer)), last });
    }
    let (_, newest_value, newest_writer) = newest?;
    let is_older = matches!(
        (of_read.stamp, index.transaction(newest_writer as usize).stamp),
        (Some(read), Some(newest)) if read < newest
    );
    is_older.then(|| Loss::LostWrite {
        acknowledged: index.version(key, newest_value, Some(newest_writer)),
        read: read(Some(writer)),
    })
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.is_durable() { "yes" } else { "no" };
        write!(f, "durable: {verdict} ({} final reads, {} keys not read)", self.reads, self.keys_unread)?;
        self.losses.iter().try_for_each(|loss| write!(f, "\n  {loss}"))
    }
}

impl Loss {
    /// Returns the transaction whose write is missing, or whose value should not have been
    /// returned.
    #[must_use]
    pub const fn transaction(&self) -> Option<TransactionId> {
        match self {
            Self::LostWrite { acknowledged, .. } => acknowledged.writer,
            Self::ThinAir(read) | Self::Dirty(read) | Self::Intermediate { read, .. } => read.writer,
        }
    }
}
