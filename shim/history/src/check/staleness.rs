//! How far reads lag behind: a number, no verdict.
//!
//! A read of a version is stale by the time for which a newer version had been acknowledged when the reader began.
//! Both times must come from one clock; a reader's begin (not the single read's) is what the log has, so the number
//! is a lower bound. "Newer" means acknowledged later: stamps order versions, but only times tell how long ago.

use super::index::Index;
use super::reads::Seen;
use crate::{Key, Staleness};

/// A version of a key and when it was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Acknowledged {
    key: Key,
    commit_ms: u64,
    writer: u32,
}

/// Collects the lag of every read.
pub(crate) struct Lags {
    /// Sorted.
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

    /// Adds a reader's good reads, if it is known when it began.
    pub(crate) fn add_reader(&mut self, index: &Index<'_>, reader: usize, seen: &[Seen]) {
        let Some(begin_ms) = index.transaction(reader).begin_ms else { return };
        for read in seen {
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

    /// The distribution; none if nothing could be measured.
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

/// Those of the versions known at the reader's begin (of one key, by time) that are newer than the one it read; none
/// if that cannot be said.
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
