//! The mark: the moves of it, each judged when it lands, and when each has settled.
//!
//! A move is judged by times alone here; [`Audit`] judges the transactions that the mark passes.

use std::collections::BTreeSet;

use aft_core::ids::TxnId;
use aft_core::record::Format;
use aft_sim::verdict::{Verdict, broken};

use super::Audit;
use super::scene::Scene;
use crate::model::StoreModel;

/// A move of the mark that has not settled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Moved {
    mark: TxnId,
    /// The true time of the move.
    at_ms: u64,
    /// The store's time of the move.
    store_ms: u64,
    /// The numbers of the attempts that were open then. Kept for exclusive stores only.
    open: BTreeSet<usize>,
}

impl Moved {
    /// Returns true if the mark has settled, by a clock that is ahead of true time by `ahead_ms`:
    /// it has been at this place or above for as long as readers and late puts need.
    fn has_settled(&self, scene: Scene<'_>, ahead_ms: u64) -> bool {
        let settings = scene.settings;
        // A process that moves the mark alone goes by its open transactions, and not by time.
        if settings.exclusive {
            return self.open.iter().all(|number| !scene.attempts[*number].opened);
        }
        // Relation (b) of section 9, without its tolerance.
        let wait_ms = settings.settle_after_ms() - settings.skew_max_ms;
        scene.now_ms + ahead_ms + scene.slack_ms() >= self.at_ms + wait_ms
    }
}

/// The mark of a world, as it moved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Mark {
    /// The newest mark that has settled.
    settled: Option<TxnId>,
    /// The moves that have not settled, oldest first.
    unsettled: Vec<Moved>,
}

impl Mark {
    /// Returns true if the mark was ever moved.
    pub(super) fn has_moved(&self) -> bool {
        !self.unsettled.is_empty() || self.settled.is_some()
    }

    /// Returns the settled mark; `TxnId::ZERO` if no mark has settled.
    pub(super) fn settled(&self) -> TxnId {
        self.settled.unwrap_or(TxnId::ZERO)
    }

    /// Settles the moves of the mark that are old enough.
    pub(super) fn settle(&mut self, scene: Scene<'_>) {
        while let Some(first) = self.unsettled.first()
            && first.has_settled(scene, 0)
        {
            self.settled = Some(self.unsettled.remove(0).mark);
        }
    }

    /// Returns the newest mark that a reader may count as settled: a reader goes by its upper bound
    /// of the store's time, which may be ahead by `skew_max`.
    pub(super) fn settled_for_readers(&self, scene: Scene<'_>) -> TxnId {
        let settled = |moved: &&Moved| moved.has_settled(scene, scene.settings.skew_max_ms);
        let newest = self.unsettled.iter().take_while(settled).last();
        newest.map_or(self.settled(), |moved| moved.mark)
    }

    /// Judges by times a replacement of the mark's object: it moves the mark, or notes when the
    /// mark was seen in its place, or both.
    fn judge(&self, held: &Format, new: &Format, scene: Scene<'_>) -> Verdict {
        let settings = scene.settings;
        let tolerance_ms = if scene.stepped_ms.is_some() { settings.skew_max_ms } else { 0 };
        if new.mark < held.mark || new.settled < held.settled || new.settled > new.mark {
            return broken("section 2: the mark only grows", format!("{held:?}, then {new:?}"));
        }
        if new.about != held.about {
            return broken("the store's description stays the same", format!("{held:?}, then {new:?}"));
        }
        if new.settled > self.settled() {
            return broken(
                "section 9 (b): a mark settles when it has stayed in its place",
                format!("{new:?}, but {:?} has settled", self.settled),
            );
        }
        // A process that moves the mark alone does not go by times.
        let timed = !settings.moves_mark_alone();
        // The mark stays: the noted time is not before the move.
        if new.mark == held.mark {
            let moved = self.unsettled.iter().find(|moved| moved.mark == new.mark);
            if let (Some(moved), Some(seen_ms)) = (moved, new.moved_ms)
                && timed
                && seen_ms + settings.skew_max_ms < moved.store_ms
            {
                return broken(
                    "section 9 (b): a mark settles from when it was seen in its place",
                    format!("{new:?}, but it moved there at {}", moved.store_ms),
                );
            }
            return Ok(());
        }
        // The mark moves: a time noted along with the move is not before the move lands.
        if timed && new.moved_ms.is_some_and(|seen_ms| seen_ms + settings.skew_max_ms < scene.store_ms) {
            return broken(
                "section 9 (b): a mark settles from when it was seen in its place",
                format!("{new:?} lands at {}", scene.store_ms),
            );
        }
        let target_ms = new.mark.time.ms() + settings.over_after_ms();
        if !settings.exclusive && target_ms > scene.store_ms + tolerance_ms {
            return broken(
                "section 9 (a): the mark stays behind attempts that may not be over",
                format!("{new:?} at the store's time {}", scene.store_ms),
            );
        }
        Ok(())
    }

    /// Remembers that the mark has moved to `mark`.
    fn moved(&mut self, mark: TxnId, scene: Scene<'_>) {
        let open = scene.attempts.iter().enumerate().filter(|(_, attempt)| attempt.opened);
        let open =
            if scene.settings.exclusive { open.map(|(number, _)| number).collect() } else { BTreeSet::new() };
        self.unsettled.push(Moved { mark, at_ms: scene.now_ms, store_ms: scene.store_ms, open });
    }
}

impl Audit {
    /// Judges a replacement of the mark's object, and remembers where the mark is now.
    pub(super) fn judge_mark(
        &mut self,
        store: &StoreModel,
        held: &Format,
        new: &Format,
        scene: Scene<'_>,
    ) -> Verdict {
        self.mark.judge(held, new, scene)?;
        if new.mark > held.mark {
            self.judge_passed(store, held.mark, new.mark)?;
            self.mark.moved(new.mark, scene);
        }
        Ok(())
    }

    /// Judges the transactions between two places of the mark: committed ones have had an entry at
    /// every key, the others have none. What is noted as damaged is exempt.
    fn judge_passed(&self, store: &StoreModel, from: TxnId, to: TxnId) -> Verdict {
        let passed = |txn: TxnId| from < txn && txn <= to;
        for commit in self.commits.values().filter(|commit| passed(commit.record.txn)) {
            let noted = store.damaged.contains_key(&commit.record.hash);
            if !commit.is_entered() && !noted {
                return broken(
                    "section 2: what committed at or below the mark has had an entry at every key",
                    format!("{}: entries only at {:?}", commit.record.txn, commit.entered.keys()),
                );
            }
        }
        let dead = store.all_entries().find(|(_, entry)| {
            let committed = self.commits.get(&entry.txn.attempt);
            passed(entry.txn)
                && committed.is_none_or(|commit| commit.record.txn != entry.txn)
                && !store.damaged.contains_key(&entry.hash)
        });
        if let Some((key, dead)) = dead {
            return broken(
                "section 2: what did not commit has no entry at or below the mark",
                format!("{key}: {dead:?}"),
            );
        }
        Ok(())
    }
}
