//! The growth of a session: the commits of which a node informs a client enter the client's token,
//! within its bound.

use crate::clock::Bounds;
use crate::ids::{Hlc, NodeId, Session, SessionEntry};
use crate::settings::Settings;

impl Session {
    /// Adds transactions of which a node informs the client now, and drops those that every listing
    /// younger than the settings' `recheck_after_ms` shows. If the time is unknown, none is
    /// dropped.
    pub fn add(
        &mut self,
        entries: impl IntoIterator<Item = SessionEntry>,
        now: Option<Bounds>,
        settings: &Settings,
        node: NodeId,
    ) {
        let (recheck_after_ms, len_max) = (settings.recheck_after_ms, settings.session_len_max);
        assert!(len_max <= Session::LEN_MAX, "a token has room for a session");
        let fresh_until_ms = self.fresh_until_ms;
        if self.through != node {
            // The client changes its node. What it saw before, if anything, is shown by every
            // listing once those of now have expired.
            if *self != Session::default() {
                let until_ms = now.map_or(u64::MAX, |now| now.latest_ms.saturating_add(recheck_after_ms));
                self.mixed_until_ms = self.mixed_until_ms.max(self.fresh_until_ms).max(until_ms);
            }
            self.through = node;
        }
        let mut newest = Hlc::default();
        // Drop only what is certainly old enough: use the lower bound of the time. A token comes
        // from outside, so its times may have any value.
        let now_ms = now.map_or(0, |now| now.earliest_ms);
        self.entries.retain(|entry| entry.seen_ms.saturating_add(recheck_after_ms) >= now_ms);
        for entry in entries {
            newest = newest.max(entry.txn.time);
            if !self.entries.iter().any(|known| known.txn == entry.txn) {
                self.entries.push(entry);
            }
        }
        self.entries.sort_by_key(|entry| std::cmp::Reverse(entry.txn));
        // The oldest ones that do not fit are covered by fresh transactions until every listing
        // shows them.
        if self.entries.len() > len_max {
            self.entries.truncate(len_max);
            let until_ms = now.map_or(u64::MAX, |now| now.latest_ms + recheck_after_ms);
            self.fresh_until_ms = self.fresh_until_ms.max(until_ms);
        }
        assert!(self.entries.len() <= Session::LEN_MAX, "a session's size is bounded");
        assert!(self.entries.is_sorted_by(|a, b| a.txn >= b.txn), "a session names the newest first");
        assert!(self.newest() >= newest, "dropped entries are older than those that a session names");
        assert!(self.fresh_until_ms >= fresh_until_ms, "a session stays fresh as long as it was to be");
    }
}
