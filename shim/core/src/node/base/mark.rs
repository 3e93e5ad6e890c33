//! The node's knowledge of the mark (protocol, sections 2 and 5).
//!
//! Every mark that the store has held is a lower bound of the present mark. Rules that need the
//! mark *now* name the store call after which it must have been read.

use std::sync::Arc;

use crate::clock::{Bounds, Moment};
use crate::ids::TxnId;
use crate::record::Format;
use crate::settings::Settings;
use crate::store::Tag;

/// The mark as one read of it found it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::node) struct Seen {
    pub(in crate::node) format: Arc<Format>,
    pub(in crate::node) tag: Tag,
    /// The number of the call that read it.
    pub(in crate::node) asked_call: u64,
    /// The instant at which it was asked.
    pub(in crate::node) asked: Moment,
    /// The settled mark for readers, who count a mark as settled earlier than a sweep does. Where
    /// this process moves the mark alone, sweeps use it, too.
    pub(in crate::node) settled: TxnId,
}

/// The node's view of the mark.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct MarkView {
    seen: Option<Seen>,
    /// True if a read of the mark was answered, successfully or not.
    was_looked_at: bool,
}

/// Returns the settled mark as a reader counts it: `skew_max` before a sweep does, and at once
/// while the store's time is not known.
fn settled_for_readers(format: &Format, now: Option<Bounds>, settings: &Settings) -> TxnId {
    assert!(settings.settle_after_ms() >= settings.skew_max_ms, "a mark settles after any error");
    let after_ms = settings.settle_after_ms() - settings.skew_max_ms;
    let settled = match (format.moved_ms, now) {
        // Nothing is removed below a mark that no node has seen in its place.
        (None, _) => false,
        (Some(moved_ms), Some(now)) => now.latest_ms.saturating_sub(moved_ms) >= after_ms,
        (Some(_), None) => true,
    };
    if settled { format.mark } else { format.settled }
}

/// Returns the settled mark as sweeps count it.
pub(in crate::node) fn settled_for_sweeps(format: &Format, now: Bounds, settings: &Settings) -> TxnId {
    assert!(now.earliest_ms <= now.latest_ms, "bounds are in order");
    let settled = format
        .moved_ms
        .is_some_and(|moved_ms| now.earliest_ms.saturating_sub(moved_ms) >= settings.settle_after_ms());
    let settled = if settled { format.mark } else { format.settled };
    let readers = settled_for_readers(format, Some(now), settings);
    assert!(settled <= readers, "readers count a mark as settled before a sweep does");
    settled
}

impl MarkView {
    /// Learns the mark from a read of it.
    pub(in crate::node) fn learn(
        &mut self,
        (format, tag): (Arc<Format>, Tag),
        (asked_call, asked): (u64, Moment),
        now: Option<Bounds>,
        settings: &Settings,
    ) {
        format.check_invariants();
        // Answers may overtake each other; the read that was made last is the newest.
        if self.seen.as_ref().is_some_and(|seen| seen.asked_call > asked_call) {
            return;
        }
        let alone = settings.moves_mark_alone();
        if let Some(seen) = self.seen.as_mut().filter(|seen| alone && seen.format.mark > format.mark) {
            // Two concurrent reads were carried out in the reverse order. The mark only grows, so
            // the later call would now find the known one.
            seen.asked_call = asked_call;
            seen.asked = asked;
            return;
        }
        let settled = match &self.seen {
            _ if !alone => settled_for_readers(&format, now, settings),
            // It settles when the transactions that were open as it moved have ended
            // (`MarkView::settle`), independently of the time.
            Some(seen) => seen.settled,
            // An earlier process moved it, and none of its transactions is open any more.
            None => format.mark,
        };
        assert!(settled <= format.mark, "only what was a mark settles");
        assert!(alone || settled >= format.settled, "a settled mark stays settled");
        self.seen = Some(Seen { format, tag, asked_call, asked, settled });
    }

    /// Counts the mark as settled, where this process moves it alone: from now on what is below it
    /// may be removed.
    pub(in crate::node) fn settle(&mut self) {
        let seen = self.seen.as_mut().expect("a mark that was moved was read");
        assert!(seen.settled <= seen.format.mark, "the settled mark only grows");
        seen.settled = seen.format.mark;
    }

    /// Notes that a read of the mark was answered, successfully or not, so that operations no
    /// longer wait for the first read.
    pub(in crate::node) fn note_look(&mut self) {
        self.was_looked_at = true;
    }

    pub(in crate::node) fn was_looked_at(&self) -> bool {
        self.was_looked_at || self.seen.is_some()
    }

    /// Returns a mark that the store has held: a lower bound of the mark.
    pub(in crate::node) fn known(&self) -> TxnId {
        self.seen.as_ref().map_or(TxnId::ZERO, |seen| seen.format.mark)
    }

    /// Returns the mark if it was read by `call` or a later call.
    pub(in crate::node) fn since(&self, call: u64) -> Option<&Seen> {
        let seen = self.seen.as_ref().filter(|seen| seen.asked_call >= call)?;
        assert!(seen.settled <= seen.format.mark, "only what was a mark settles");
        Some(seen)
    }

    /// Panics if an invariant is broken. `next_call` is the number of the next call.
    pub(in crate::node) fn check_invariants(&self, next_call: u64, alone: bool) {
        let Some(seen) = &self.seen else { return };
        seen.format.check_invariants();
        assert!(seen.asked_call < next_call, "the mark was asked by a call that was made");
        assert!(seen.settled <= seen.format.mark, "only what was a mark settles");
        assert!(alone || seen.settled >= seen.format.settled, "a settled mark stays settled");
    }

    /// Returns the last read of the mark, however old.
    pub(in crate::node) fn last(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }
}
