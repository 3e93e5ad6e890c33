//! P6: after everything has healed, is each key's newest acknowledged version still there?
//!
//! Rule, for each final read of a key: let `N` be its newest version whose commit was acknowledged. The read must
//! return `N`, or a version that may be newer: one whose outcome its client never learned, or whose place in the order is
//! not known. So a lost write is never excused by a missing stamp unless the write that hides it has none.
//!
//! The keys to be read finally are the caller's choice; what was left out is counted, not judged.

use std::collections::BTreeSet;

use super::index::{Index, Malformed, Source};
use crate::{History, Key, Outcome, TransactionId, Value, Version};

/// Something that a final read shows to be lost or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// An acknowledged write is not there, and nothing newer is.
    #[error("lost write: {acknowledged} was acknowledged, and a final read returned {read}")]
    LostWrite {
        /// The newest acknowledged version.
        acknowledged: Version,
        /// What came back.
        read: Version,
    },
    /// A value that nobody wrote.
    #[error("thin-air final read: {0}, which nobody wrote")]
    ThinAir(Version),
    /// A value of an aborted transaction.
    #[error("dirty final read: {0}, which aborted")]
    Dirty(Version),
    /// A value that its writer overwrote before it committed.
    #[error("intermediate final read: {read}, which its writer overwrote with {last}")]
    Intermediate {
        /// What came back.
        read: Version,
        /// What the writer left in the key.
        last: Value,
    },
}

/// The verdict on durability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// What was lost, in the order of the final reads.
    pub losses: Vec<Loss>,
    /// Final reads that were judged.
    pub reads: u64,
    /// Keys with an acknowledged write that no final read asked for.
    pub keys_unread: u64,
}

impl Durability {
    /// Whether every acknowledged write was looked for, and found (or something newer).
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.losses.is_empty() && self.keys_unread == 0
    }
}

/// Judges reads that were made after all faults healed. A key may be read several times, say once on each node.
///
/// # Errors
///
/// If the history is no history, see [`Malformed`].
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

/// The newest acknowledged version of each key: the one with the latest stamp, if any has one. Sorted by key.
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
    /// The transaction that the loss is about: whose write is missing, or whose value should not be there.
    #[must_use]
    pub const fn transaction(&self) -> Option<TransactionId> {
        match self {
            Self::LostWrite { acknowledged, .. } => acknowledged.writer,
            Self::ThinAir(read) | Self::Dirty(read) | Self::Intermediate { read, .. } => read.writer,
        }
    }
}
