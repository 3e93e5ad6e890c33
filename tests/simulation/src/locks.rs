//! The auditor of locks: entries that are created if absent, and the records that make them
//! versions (protocol, section 13).

use aft_core::ids::{RequestHash, TxnId};
use aft_core::record::{Aborted, VersionEntry};
use aft_core::store::{Body, Name};
use aft_sim::verdict::{Verdict, broken};

use crate::audit::{Audit, Scene};
use crate::model::StoreModel;

impl Audit {
    /// Judges a body that is about to be created under a free name.
    pub(crate) fn judge_lock_or_decision(
        &self,
        store: &StoreModel,
        name: &Name,
        body: &Body,
        scene: Scene<'_>,
    ) -> Verdict {
        match (name, body) {
            (Name::Successor(key, before), Body::Entry(entry)) => {
                if entry.follows != Some(*before) || *before >= entry.txn {
                    return broken(
                        "section 13: an entry comes after what it follows",
                        format!("{name:?}: {entry:?}"),
                    );
                }
                self.judge_followed(store, key, *before)?;
                self.judge_entry(store, key, entry, scene)
            }
            (Name::Successor(key, before), Body::Record(record)) => {
                self.judge_followed(store, key, *before)?;
                // If it has committed already, this call lands a second time, late: its entry is
                // enough.
                if !self.commits.contains_key(&record.txn.attempt) {
                    self.judge_create(store, record, true, scene)?;
                }
                let entry = VersionEntry::of_lock(body).expect("a whole entry names its transaction");
                self.judge_entry(store, key, &entry, scene)
            }
            (Name::Commit(hash), Body::Record(record)) => {
                if record.hash != *hash {
                    return broken("section 3: a record says what its request said", format!("{record:?}"));
                }
                self.judge_create(store, record, false, scene)?;
                for (key, entry) in record.entries().iter().filter(|(_, entry)| entry.follows.is_some()) {
                    // All locks must be in place when the record lands.
                    let held = store.get(&entry.name(key)).as_ref().and_then(VersionEntry::of_lock);
                    if held.as_ref() != Some(entry) {
                        return broken(
                            "section 13: a record is created while every lock of it is held",
                            format!("{key}: {held:?} instead of {entry:?}"),
                        );
                    }
                }
                Ok(())
            }
            (Name::Commit(hash), Body::Aborted(aborted)) => self.judge_exclusion(*hash, aborted),
            (name, body) => broken("only locks and decisions are created", format!("{name:?}: {body:?}")),
        }
    }

    /// Judges the version that a lock follows: a committed version of `key`, or none.
    fn judge_followed(&self, store: &StoreModel, key: &aft_core::ids::Key, before: TxnId) -> Verdict {
        let commit = self.commits.get(&before.attempt).filter(|commit| commit.record.txn == before);
        let is_version = commit.is_some_and(|commit| commit.record.write(key).is_some());
        // A dead entry that the mark has passed counts as committed until it is removed by hand.
        if before == TxnId::ZERO || is_version || store.has_passed_dead(key) {
            return Ok(());
        }
        broken("section 13: an entry follows a version", format!("{key}: {before} is not a version of it"))
    }

    /// Judges that no attempt is excluded that has committed and whose record is still there.
    fn judge_exclusion(&self, hash: RequestHash, aborted: &Aborted) -> Verdict {
        let kept = aborted.attempts.iter().find(|attempt| {
            self.commits.get(attempt).is_some_and(|commit| !commit.record_gone && !commit.whole)
        });
        if let Some(kept) = kept {
            return broken(
                "section 13: an attempt that has committed is not excluded",
                format!("{hash}: {kept}"),
            );
        }
        Ok(())
    }

    /// Judges a lock, or a record or an exclusion, that replaces another one.
    pub(crate) fn judge_replaced_lock(
        &mut self,
        store: &StoreModel,
        name: &Name,
        body: &Body,
        scene: Scene<'_>,
    ) -> Verdict {
        let held = store.get(name).expect("a tag matched");
        match (name, &held, body) {
            (Name::Successor(key, _), _, Body::Free) => match VersionEntry::of_lock(&held) {
                Some(entry) => self.judge_entry_goes(store, key, &entry, scene),
                None => Ok(()),
            },
            (Name::Successor(key, _), _, Body::Entry(_) | Body::Record(_)) => {
                if let Some(before) = VersionEntry::of_lock(&held) {
                    let commit = self.commits.get(&before.txn.attempt);
                    let is_version = commit.is_some_and(|commit| commit.record.txn == before.txn);
                    let by_record = store.record(&before.hash).is_some_and(|record| record.txn != before.txn);
                    let excluded = match store.commits.get(&before.hash) {
                        Some((Body::Aborted(aborted), _)) => aborted.excludes(before.txn.attempt),
                        Some((Body::Stub(_), _)) => true,
                        _ => false,
                    };
                    // An attempt may use its own name again, at a later time.
                    let own = VersionEntry::of_lock(body)
                        .is_some_and(|entry| entry.txn.attempt == before.txn.attempt);
                    let over = scene.is_attempt_over(before.txn.attempt);
                    if is_version || !(by_record || excluded || own || over) {
                        return broken(
                            "section 13: only a dead entry is replaced",
                            format!("{key}: {before:?} by {body:?}"),
                        );
                    }
                }
                self.judge_lock_or_decision(store, name, body, scene)
            }
            (Name::Commit(_), Body::Aborted(aborted), Body::Record(record)) => {
                if aborted.excludes(record.txn.attempt) {
                    return broken("section 13: an excluded attempt does not commit", format!("{record:?}"));
                }
                self.judge_lock_or_decision(store, name, body, scene)
            }
            (Name::Commit(hash), Body::Aborted(before), Body::Aborted(aborted)) => {
                if before.attempts.iter().any(|attempt| !aborted.excludes(*attempt)) {
                    return broken(
                        "section 13: an excluded attempt stays excluded",
                        format!("{before:?}, then {aborted:?}"),
                    );
                }
                self.judge_exclusion(*hash, aborted)
            }
            (name, held, body) => {
                broken("no name holds two contents", format!("{name:?}: {held:?}, then {body:?}"))
            }
        }
    }

    /// Remembers a lock, a record or a whole entry that has landed, and judges the order that
    /// results.
    pub(crate) fn lock_or_decision_landed(
        &mut self,
        store: &StoreModel,
        (name, body): (&Name, &Body),
        scene: Scene<'_>,
    ) -> Verdict {
        match (name, body) {
            (Name::Successor(key, _), Body::Entry(entry)) => self.entered(key, entry, scene.now_ms),
            (Name::Successor(key, _), Body::Record(record)) => {
                self.committed(store, record, true, scene);
                let entry = VersionEntry::of_lock(body).expect("a whole entry names its transaction");
                self.entered(key, &entry, scene.now_ms);
                self.judge_order(record.txn.attempt, scene)?;
                return self.judge_conditions(record.txn, scene);
            }
            (Name::Commit(_), Body::Record(record)) => {
                self.committed(store, record, false, scene);
                self.judge_order(record.txn.attempt, scene)?;
                return self.judge_conditions(record.txn, scene);
            }
            (_, _) => {}
        }
        Ok(())
    }

    /// Judges the removal of an object that excludes attempts: all of them are over.
    pub(crate) fn judge_aborted_goes(
        &self,
        store: &StoreModel,
        hash: RequestHash,
        by_tag: bool,
        scene: Scene<'_>,
    ) -> Verdict {
        let Some((Body::Aborted(aborted), _)) = store.commits.get(&hash) else { return Ok(()) };
        let open = aborted.attempts.iter().find(|attempt| !scene.is_attempt_over(**attempt));
        if let Some(open) = open.filter(|_| by_tag) {
            return broken(
                "section 13: an exclusion stays until its attempt is over",
                format!("{hash}: {open}"),
            );
        }
        if !by_tag {
            return broken("section 13: an exclusion goes by tag", format!("{hash}"));
        }
        Ok(())
    }
}
