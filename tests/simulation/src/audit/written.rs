//! The judgement of what is written: records, version entries, parts of blobs, and the objects that
//! are replaced.
//!
//! ```text
//!   judge_put      a whole entry ──► judge_create, judge_entry;  an entry ──► judge_entry
//!   judge_create   the content, the attempt, its commit time, its retention, its blobs, its name
//!   judge_entry    what its record says, or what its attempt may still commit
//!   judge_replace  the mark's object ──► `mark`;  a record by a stub ──► `removed`
//! ```

use std::collections::{BTreeMap, BTreeSet};

use aft_core::ids::{Key, SessionEntry, TxnId};
use aft_core::message::Refusal;
use aft_core::record::{Record, Stub, VersionEntry};
use aft_core::store::{Body, Name};
use aft_sim::verdict::{Verdict, broken};

use super::scene::Scene;
use super::{Audit, blob_parts};
use crate::attempt::{Attempt, Ended, Seen};
use crate::model::StoreModel;
use crate::script::Request;

impl Audit {
    /// Judges a put by the kind of its name.
    pub(super) fn judge_put(
        &self,
        store: &StoreModel,
        name: &Name,
        body: &Body,
        scene: Scene<'_>,
    ) -> Verdict {
        match (name, body) {
            (Name::Version(key, entry), Body::Record(record)) => {
                let agrees = record.writes.len() == 1
                    && entry.whole
                    && !record.named
                    && record.txn == entry.txn
                    && record.result.is_none()
                    && record.large_result.is_none()
                    && record.write(key).is_some_and(|write| write.blob().is_none());
                if !agrees {
                    return broken(
                        "section 3: whole entries are for one small write without a request ID",
                        format!("{key}: {entry:?} with {record:?}"),
                    );
                }
                if !self.commits.contains_key(&record.txn.attempt) {
                    self.judge_create(store, record, true, scene)?;
                }
                self.judge_entry(store, key, entry, scene)
            }
            (Name::Version(key, entry), _) => self.judge_entry(store, key, entry, scene),
            (Name::Blob { group, .. }, _) => {
                let late = scene.attempt(group.attempt).is_none_or(|attempt| scene.is_late(attempt));
                if late {
                    return broken("section 4: nothing is sent after the deadline", format!("{name:?}"));
                }
                Ok(())
            }
            (Name::Damaged(hash), _) => {
                let entry = |name: &Name| matches!(name, Name::Version(_, entry) if entry.hash == *hash);
                let damaged = store.unreadable.contains(&Name::Commit(*hash))
                    || store.unreadable.iter().any(entry)
                    || store.damaged.contains_key(hash);
                // The damage may have been repaired before its note lands.
                if damaged || self.winners.contains_key(hash) {
                    return Ok(());
                }
                broken("section 11: only what is damaged is noted as damaged", format!("{hash}"))
            }
            (Name::Notes, _) => Ok(()),
            (Name::Commit(_) | Name::Format | Name::Successor(..), _) => {
                broken("records are created, the mark is replaced, neither is put", format!("{name:?}"))
            }
        }
    }

    /// Judges a version entry that lands. If its record is there, it must say the same. If not, it
    /// must belong to an attempt that may have sent it and may still commit.
    pub(crate) fn judge_entry(
        &self,
        store: &StoreModel,
        key: &Key,
        entry: &VersionEntry,
        scene: Scene<'_>,
    ) -> Verdict {
        let id = entry.txn.attempt;
        // Only with the record's own TxnId: an attempt whose first try was refused may commit again
        // at another time, and its earlier entries are dead.
        if let Some(commit) = self.commits.get(&id).filter(|commit| commit.record.txn == entry.txn) {
            let right = commit.record.entries().iter().any(|(of, said)| {
                of == key && VersionEntry { whole: commit.whole, ..said.clone() } == *entry
            });
            if !right {
                return broken(
                    "a version entry says what its record says",
                    format!("{key}: {entry:?} for {:?}", commit.record),
                );
            }
            if commit.removed.contains(key) {
                return broken(
                    "section 8: names of entries are never used again",
                    format!("{key}: the entry of {} was removed, and is put again", entry.txn),
                );
            }
            return Ok(());
        }
        // There is no such record (yet): compare with what the client has sent.
        let Some(attempt) = scene.attempt(id) else {
            return broken("an entry names the attempt that asked for it", format!("{key}: {entry:?}"));
        };
        let request = &scene.requests[attempt.request];
        let written = attempt.may_enter(key, &entry.meta);
        let keys = attempt.written().into_iter().chain(attempt.dropped.keys()).collect::<BTreeSet<_>>().len();
        if attempt.commits == 0
            || request.hash_for(id) != entry.hash
            || !written
            || !(1..=keys).contains(&(entry.cowritten as usize))
        {
            return broken(
                "an entry names the attempt that asked for it",
                format!("{key}: {entry:?}, but the client wrote {:?}, {:?}", attempt.writes, attempt.carried),
            );
        }
        if scene.is_late(attempt) {
            return broken(
                "section 4: nothing is sent after the deadline",
                format!("an entry of {key} by {} lands after its attempt is over", entry.txn),
            );
        }
        self.judge_above_mark(store, entry.txn)
    }

    /// Judges that a transaction that lands is above the mark.
    fn judge_above_mark(&self, store: &StoreModel, txn: TxnId) -> Verdict {
        let mark = store.format.as_ref().map_or(TxnId::ZERO, |format| format.mark);
        if txn <= mark {
            return broken(
                "section 2: every transaction at or below the mark is over",
                format!("{txn} lands, but the mark is at {mark}"),
            );
        }
        Ok(())
    }

    /// Judges a record that is about to commit.
    pub(crate) fn judge_create(
        &self,
        store: &StoreModel,
        record: &Record,
        whole: bool,
        scene: Scene<'_>,
    ) -> Verdict {
        // The content: what the client asked for, all of it and nothing else.
        let Some(attempt) = scene.attempt(record.txn.attempt) else {
            return broken("a record names the attempt that asked for it", format!("{record:?}"));
        };
        let request = &scene.requests[attempt.request];
        let writes = record.writes.iter().cloned().collect::<BTreeMap<_, _>>();
        if attempt.commits == 0 || request.hash_for(attempt.id) != record.hash {
            return broken("P3: what commits was asked to commit, under its own name", format!("{record:?}"));
        }
        if !attempt.explains(&writes) {
            return broken(
                "P1: a record holds the transaction's writes, all of them and no others",
                format!("{record:?}, but the client wrote {:?}, {:?}", attempt.writes, attempt.carried),
            );
        }
        if record.named != request.named || (request.named && record.fingerprint != request.fingerprint()) {
            return broken("section 3: a record says what its request said", format!("{record:?}"));
        }
        if record.writes.len() > scene.settings.write_set_len_max {
            return broken("every bound holds", format!("{} keys in {record:?}", record.writes.len()));
        }
        // The attempt: it may still commit, and is in time.
        if attempt.outcome == Some(Ended::Aborted) {
            return broken("P1: what is aborted has no effect", format!("{record:?}"));
        }
        if let Some(Ended::Refused(refusal)) = attempt.ended()
            && !matches!(refusal, Refusal::Unknown(_) | Refusal::UnknownDamaged(..) | Refusal::Ended)
        {
            return broken(
                "a rejection is true: only after Unknown may an attempt still commit",
                format!("{} was rejected with {refusal:?}, and now commits", record.txn),
            );
        }
        if scene.is_late(attempt) {
            return broken(
                "section 4: nothing is sent after the deadline",
                format!("{} commits after its attempt is over", record.txn),
            );
        }
        self.judge_above_mark(store, record.txn)?;
        self.judge_time(record, attempt, scene)?;
        self.judge_retention(record, request, whole, scene)?;
        judge_parts(store, record, attempt)?;
        // Its entries: those that have landed already say the same as the record.
        for key in record.writes.iter().map(|(key, _)| key) {
            let entries = record.entries();
            let other = store.entries(key).find(|entry| {
                entry.txn == record.txn
                    && !entry.whole
                    && !entries.iter().any(|(of, said)| of == key && said == entry)
            });
            if let Some(other) = other {
                return broken("a version entry says what its record says", format!("{other:?}: {record:?}"));
            }
        }
        // The name: no earlier commit under it excludes this attempt.
        for winner in self.winners.get(&record.hash).into_iter().flatten() {
            let earlier = &self.commits[winner];
            let kept_until_ms = earlier.kept_until_ms();
            if *winner == attempt.id || earlier.excludes(attempt, scene.settings) {
                return broken(
                    "P5: of all attempts of one request at most one commits",
                    format!(
                        "{} committed (kept until {kept_until_ms}), and now {} of an attempt begun at {}",
                        earlier.record.txn, record.txn, attempt.begun_ms
                    ),
                );
            }
        }
        Ok(())
    }

    /// Judges the commit time of a record: it is above all that was read, the session, and what had
    /// been reported before the attempt began.
    fn judge_time(&self, record: &Record, attempt: &Attempt, scene: Scene<'_>) -> Verdict {
        let txn = record.txn;
        for seen in attempt.read.values() {
            if let Seen::Version(read) = seen
                && read.time >= txn.time
            {
                return broken(
                    "section 2: a commit time is greater than all that was read",
                    format!("{txn} read {read}"),
                );
            }
        }
        // A node believes the time of a commit that it does not find only up to a bound above the
        // store's time. That was at least the following when the commit took its own time. An
        // exclusive store's clock may have been set back since, so nothing is judged there.
        let since_ms = scene.now_ms.saturating_sub(attempt.begun_ms);
        let believed_ms = scene.store_ms.saturating_sub(since_ms).min(txn.time.ms());
        let is_above = |entry: &SessionEntry| {
            entry.txn.time >= txn.time && entry.txn != txn && entry.txn.time.ms() <= believed_ms
        };
        if !scene.settings.exclusive && attempt.session.entries.iter().any(is_above) {
            return broken("section 2: a commit time is greater than the session floor", format!("{txn}"));
        }
        // Beyond the promise: the node may not have noticed yet that the store's clock was set
        // within the last minute, or that its host was paused.
        let stepped = scene.stepped_ms.is_some_and(|at_ms| scene.now_ms < at_ms + 60_000);
        if stepped || attempt.blind {
            return Ok(());
        }
        for (key, _) in record.writes.iter() {
            if let Some(earlier) = attempt.told_before.get(key)
                && *earlier >= txn
            {
                return broken(
                    "P10: what was reported before a transaction began is older",
                    format!("{key}: {earlier} had been reported before the attempt of {txn} began"),
                );
            }
        }
        Ok(())
    }

    /// Judges the retention of a record: the request's wish, raised to the least that is allowed.
    fn judge_retention(&self, record: &Record, request: &Request, whole: bool, scene: Scene<'_>) -> Verdict {
        let settings = scene.settings;
        let wish_ms = match (request.retention_ms, request.named) {
            (Some(wish_ms), _) => wish_ms,
            (None, true) => settings.retention_default_ms,
            (None, false) => 0,
        };
        let least_ms = wish_ms.min(settings.retention_max_ms).max(settings.retention_min_ms());
        if !whole && record.retention_ms < least_ms {
            return broken(
                "section 9: a retention is at least the least one and the request's wish",
                format!("{} ms instead of {least_ms} ms: {record:?}", record.retention_ms),
            );
        }
        Ok(())
    }

    /// Judges a replacement of the mark's object, of a record by a stub, or of a sweep's notes.
    pub(super) fn judge_replace(
        &mut self,
        store: &StoreModel,
        name: &Name,
        body: &Body,
        scene: Scene<'_>,
    ) -> Verdict {
        match (name, body) {
            (Name::Format, Body::Format(format)) => {
                let held = store.format.clone().expect("a tag matched");
                self.judge_mark(store, &held, format, scene)
            }
            (Name::Commit(hash), Body::Stub(stub)) => {
                let Some(record) = store.record(hash).cloned() else {
                    return broken("a stub replaces a record", format!("{stub:?}"));
                };
                if (*stub != Stub { txn: record.txn, hash: *hash }) || store.abilities.delete_if {
                    return broken(
                        "a stub names the record that it replaces, where the store cannot delete by tag",
                        format!("{stub:?}"),
                    );
                }
                self.judge_record_goes(store, &record, scene)
            }
            (Name::Notes, Body::Notes(_)) => Ok(()),
            (name, body) => broken("no name holds two contents", format!("{name:?}: {body:?}")),
        }
    }
}

/// Judges that every blob that a record refers to is whole in the store.
fn judge_parts(store: &StoreModel, record: &Record, attempt: &Attempt) -> Verdict {
    for (_, write) in record.writes.iter() {
        if let Some(blob) = write.blob()
            && blob_parts(blob).iter().any(|part| !store.blobs.contains_key(part))
        {
            return broken("P6: a committed blob is whole", format!("{} of {}", blob.number, record.txn));
        }
    }
    if let Some(result) = &record.large_result {
        let parts = blob_parts(&result.blob);
        if attempt.large_result != Some(*result) || parts.iter().any(|part| !store.blobs.contains_key(part)) {
            return broken("P5: a large result is the one that was given, whole", format!("{record:?}"));
        }
    }
    Ok(())
}
