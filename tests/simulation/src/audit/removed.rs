//! The judgement of what is removed: version entries, parts of blobs and records, each only when
//! nobody can need it any more.

use aft_core::ids::{Key, TxnId};
use aft_core::record::{BlobGroup, Record, VersionEntry, Write};
use aft_core::store::{Body, Name};
use aft_sim::verdict::{Verdict, broken};

use super::Audit;
use super::scene::Scene;
use crate::attempt::Attempt;
use crate::model::StoreModel;

impl Audit {
    /// Judges the removal of one name, by the kind of its content.
    pub(super) fn judge_delete(
        &mut self,
        store: &StoreModel,
        name: &Name,
        by_tag: bool,
        scene: Scene<'_>,
    ) -> Verdict {
        if store.get(name).is_none() {
            return Ok(());
        }
        match name {
            Name::Commit(hash) if matches!(store.get(name), Some(Body::Aborted(_))) => {
                self.judge_aborted_goes(store, *hash, by_tag, scene)
            }
            Name::Commit(hash) => {
                let Some(record) = store.record(hash).cloned() else {
                    return broken("section 10: a stub stays", format!("{name:?}"));
                };
                if record.named && !by_tag {
                    return broken(
                        "section 8: a record whose name may be used again goes by tag",
                        format!("{}", record.txn),
                    );
                }
                self.judge_record_goes(store, &record, scene)
            }
            Name::Version(key, entry) => self.judge_entry_goes(store, key, entry, scene),
            Name::Successor(key, before) => {
                let entry = store.get(name).as_ref().and_then(VersionEntry::of_lock);
                // A lock on a key without a version follows nothing, and later ones have the same
                // name.
                if !by_tag && *before == TxnId::ZERO {
                    return broken("section 13: a name that is used again goes by tag", format!("{name:?}"));
                }
                entry.map_or(Ok(()), |entry| self.judge_entry_goes(store, key, &entry, scene))
            }
            Name::Blob { group, number, .. } => self.judge_blob_goes(store, *group, *number, scene),
            Name::Damaged(_) | Name::Notes => Ok(()),
            Name::Format => broken("the mark stays", format!("{name:?}")),
        }
    }

    /// Judges the removal of a version entry: it is dead and its attempt cannot commit any more, or
    /// it is superseded, or it is a tombstone that is the last entry of its key.
    pub(crate) fn judge_entry_goes(
        &mut self,
        store: &StoreModel,
        key: &Key,
        entry: &VersionEntry,
        scene: Scene<'_>,
    ) -> Verdict {
        let settled = self.settled_mark();
        let id = entry.txn.attempt;
        let commit = self.commits.get(&id).filter(|commit| commit.record.txn == entry.txn);
        // No commit of this TxnId: is it certain that none will come?
        let Some(commit) = commit else {
            let attempt = scene.attempt(id);
            let asked = self.asked.get(&id);
            let over = attempt.is_none_or(|attempt| scene.is_over(attempt))
                || asked.is_some_and(|asked_ms| scene.are_over_since(*asked_ms, scene.now_ms));
            // Its record cannot be created while another object has the name.
            let lost = store.commits.contains_key(&entry.hash);
            // An attempt removes its own locks once it has ended without a commit.
            let given_up = entry.follows.is_some() && attempt.is_some_and(|attempt| attempt.gave_up);
            if !over && !lost && !given_up {
                return broken(
                    "section 8: an undecided entry stays until its attempt is over",
                    format!("{key}: {entry:?}"),
                );
            }
            return Ok(());
        };
        let superseded = self.commits.values().any(|other| {
            let record = &other.record;
            record.txn > entry.txn && record.txn <= settled && other.entered.contains_key(key)
        });
        let below = || store.entries(key).find(|other| other.txn < entry.txn);
        let tombstone = commit.record.write(key) == Some(&Write::Tombstone);
        if !superseded {
            if !tombstone || entry.txn > settled {
                return broken(
                    "section 8: only what is superseded at or below the settled mark is removed",
                    format!("{key}: {}, the settled mark is {settled}", entry.txn),
                );
            }
            if let Some(below) = below() {
                return broken(
                    "section 8: a tombstone that is the newest goes alone",
                    format!("{key}: {} above {below:?}", entry.txn),
                );
            }
        }
        self.removed_keys.insert(key.clone());
        let commit = self.commits.get_mut(&id).expect("looked up above");
        commit.removed.insert(key.clone());
        Ok(())
    }

    /// Judges the removal of a part of a blob: its attempt lost, or is over, and no record refers
    /// to it.
    fn judge_blob_goes(
        &self,
        store: &StoreModel,
        group: BlobGroup,
        number: u32,
        scene: Scene<'_>,
    ) -> Verdict {
        let of_record = store.record(&group.hash).is_some_and(|record| record.txn.attempt == group.attempt);
        if of_record {
            return broken(
                "P6: the blobs of a committed transaction stay as long as its record",
                format!("blob {number} of {}", group.attempt),
            );
        }
        let attempt = scene.attempt(group.attempt);
        let over = scene.are_over_since(group.reserved_ms, scene.store_ms);
        let ended = |attempt: &Attempt| attempt.ended().is_some() || over || scene.is_over(attempt);
        if attempt.is_none_or(ended) || store.commits.contains_key(&group.hash) {
            return Ok(());
        }
        broken(
            "section 8: blobs stay until their attempt is over",
            format!("blob {number} of {}", group.attempt),
        )
    }

    /// Judges the removal of a record: its retention has passed, all its entries are gone, and it
    /// was verified.
    pub(super) fn judge_record_goes(
        &mut self,
        store: &StoreModel,
        record: &Record,
        scene: Scene<'_>,
    ) -> Verdict {
        let commit = self.commits.get(&record.txn.attempt).expect("every record was seen when it landed");
        let told = if commit.told_ms.is_some() { "it was reported" } else { "it was not reported" };
        if !commit.is_kept_long_enough(scene) {
            return broken(
                "P5: a record is kept for its request's retention",
                format!("{} is removed before {}; {told}", record.txn, commit.kept_until_ms()),
            );
        }
        if let Some((key, _)) = record.writes.iter().find(|(key, _)| store.has_entry(key, record.txn)) {
            return broken(
                "section 6: a record is kept as long as any entry of it",
                format!("{} is removed, but its entry at {key} is in place", record.txn),
            );
        }
        if record.txn > self.settled_mark() || !commit.is_entered() {
            return broken(
                "section 8: only a verified record at or below the settled mark is removed",
                format!("{}: the settled mark is {}, {told}", record.txn, self.settled_mark()),
            );
        }
        self.commits.get_mut(&record.txn.attempt).expect("looked up above").record_gone = true;
        Ok(())
    }
}
