//! The measurement of staleness. It is a number, not a verdict.
//!
//! The lag of a read is the time from the acknowledgement of the first newer version to the
//! reader's begin. Both times must come from the same clock. The log has the begin of the reader,
//! not of the single read, so the lag is a lower bound. "Newer" means acknowledged later: stamps
//! order versions, but only times show how long ago a version was superseded.

use super::index::Index;
use super::reads::Seen;
use crate::{Key, Staleness};

/// A version of a key and the time of its acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Acknowledged {
    key: Key,
    commit_ms: u64,
    writer: u32,
}

/// The lags of reads so far.
pub(crate) struct Lags {
    /// All acknowledged versions, sorted.
    versions: Vec<Acknowledged>,
    lags_ms: Vec<u64>,
    stale: u64,
    max_versions: u64,
}

impl Lags {
    pub(crate) fn new(index: &Index<'_>) -> Self {
        let versions = index.committed_versions().filter_map(|(key, _, writer)| {
            let commit_ms = index.transaction(writer as usize).commit_ms?;
            Some(Acknowledged { key, commit_ms, writer })
        });
        let mut versions: Vec<_> = versions.collect();
        versions.sort_unstable();
        Self { versions, lags_ms: Vec::new(), stale: 0, max_versions: 0 }
    }

    /// Adds a reader's good reads, if the time of its begin is known.
    pub(crate) fn add_reader(&mut self, index: &Index<'_>, reader: usize, seen: &[Seen]) {
        let Some(begin_ms) = index.transaction(reader).begin_ms else { return };
        for read in seen {
            // The versions of the key that were acknowledged when the reader began.
            let start = self.versions.partition_point(|version| version.key < read.key);
            let known = self.versions[start..]
                .partition_point(|version| version.key == read.key && version.commit_ms <= begin_ms);
            let known = &self.versions[start..start + known];
            let Some(newer) = newer_than(index, known, read.writer) else { continue };
            let lag_ms = newer.first().map_or(0, |first| begin_ms - first.commit_ms);
            self.lags_ms.push(lag_ms);
            self.stale += u64::from(!newer.is_empty());
            self.max_versions = self.max_versions.max(newer.len() as u64);
        }
    }

    /// Returns the distribution, or `None` if nothing could be measured.
    pub(crate) fn summary(mut self) -> Option<Staleness> {
        self.lags_ms.sort_unstable();
        let max_ms = *self.lags_ms.last()?;
        let reads = self.lags_ms.len();
        let rank = |per_cent: usize| self.lags_ms[(reads * per_cent).div_ceil(100) - 1];
        Some(Staleness {
            reads: reads as u64,
            stale: self.stale,
            p50_ms: rank(50),
            p99_ms: rank(99),
            max_ms,
            max_versions: self.max_versions,
        })
    }
}

/// Returns the versions of a key that are newer than the one that was read. `known` are the
/// versions acknowledged at the reader's begin, sorted by time. Returns `None` if the time of the
/// version that was read is not known.
fn newer_than<'v>(
    index: &Index<'_>,
    known: &'v [Acknowledged],
    read: Option<u32>,
) -> Option<&'v [Acknowledged]> {
    let Some(read) = read else { return Some(known) };
    let commit_ms = index.transaction(read as usize).commit_ms?;
    let from = known.partition_point(|version| (version.commit_ms, version.writer) <= (commit_ms, read));
    Some(&known[from..])
}
