//! A transaction that committed, as the auditor remembers it: its record, the times of its life,
//! and what was removed of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aft_core::ids::{Key, NodeId};
use aft_core::record::Record;
use aft_core::settings::Settings;

use super::scene::Scene;
use crate::attempt::Attempt;

/// A transaction that committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Its record as it was created.
    pub record: Arc<Record>,
    /// The time at which its node first sent the commit to the store.
    pub asked_ms: u64,
    /// The time at which the record landed.
    pub landed_ms: u64,
    /// True if it is a whole entry: its one entry is the commit.
    pub whole: bool,
    /// The node that committed it: one life of its host.
    pub life: Option<NodeId>,
    /// The time at which it was first reported: by an acknowledgement, a replay, a look-up.
    pub told_ms: Option<u64>,
    /// The time at which each of its version entries first landed.
    pub entered: BTreeMap<Key, u64>,
    /// The keys at which its entry was removed.
    pub removed: BTreeSet<Key>,
    /// Its record was removed, or replaced by a stub.
    pub record_gone: bool,
}

impl Commit {
    /// Returns true once it has had an entry at every key that it wrote.
    pub fn is_entered(&self) -> bool {
        self.entered.len() == self.record.writes.len()
    }

    /// Returns the true time until which its record must be kept.
    pub(super) fn kept_until_ms(&self) -> u64 {
        self.asked_ms + self.record.retention_ms
    }

    /// Returns true if its retention has passed, so that its record may be removed. An exclusive
    /// store has no other clock than its process's: a jump of the wall clock counts as time that
    /// passed.
    pub(super) fn is_kept_long_enough(&self, scene: Scene<'_>) -> bool {
        if scene.settings.exclusive {
            return scene.store_ms >= self.record.txn.time.ms() + self.record.retention_ms;
        }
        scene.now_ms + scene.settings.skew_max_ms + scene.slack_ms() >= self.kept_until_ms()
    }

    /// Returns true if `attempt` began too early to commit under the same name after this commit.
    pub(super) fn excludes(&self, attempt: &Attempt, settings: &Settings) -> bool {
        if settings.exclusive {
            return !self.record_gone || attempt.begun_ms < self.landed_ms;
        }
        attempt.begun_ms + settings.skew_max_ms < self.kept_until_ms()
    }
}
