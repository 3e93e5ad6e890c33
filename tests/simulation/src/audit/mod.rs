//! The store auditor: judges every effect on the store when it lands, and remembers the commits.
//!
//! It compares the node with the protocol, not with the node's code:
//!
//! * a record is created once under its name, and is not changed;
//! * an entry belongs to an attempt that may still commit or that has;
//! * no call takes effect after its attempt is over;
//! * the mark passes only attempts that are over, committed ones only with all entries;
//! * only what is superseded by a version at or below the settled mark is removed, and it does not
//!   come back.
//!
//! Effects are judged when they land, so late calls of dead nodes are judged too. Times are true
//! times unless the name says otherwise.
//!
//! [`Audit::land`] is the way in. `written` judges what is put, created or replaced, `removed` what
//! is deleted, and `mark` the moves of the mark. They remember each [`Commit`] (`commit`), and ask
//! the [`Scene`] (`scene`) whether an attempt may be over. `locks`, `serial` and `conditional` of
//! the crate add the judgements of checked keys.

mod commit;
mod mark;
mod removed;
mod scene;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aft_core::ids::{AttemptId, Key, RequestHash, TxnId};
use aft_core::record::{BlobGroup, BlobRef, Location, Record, VersionEntry, Write};
use aft_core::store::{Answer, Body, Call, Name};
use aft_sim::verdict::{Verdict, Violation, broken};
use bytes::Bytes;

pub use self::commit::Commit;
use self::mark::Mark;
pub(crate) use self::scene::Scene;
use crate::model::StoreModel;

/// The auditor: the commits and the mark of a world, as they landed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Audit {
    /// Every transaction that ever committed.
    pub commits: BTreeMap<AttemptId, Commit>,
    /// The attempts that committed under a name, oldest first.
    pub winners: BTreeMap<RequestHash, Vec<AttemptId>>,
    /// The time at which each attempt's node first sent its commit to the store.
    pub asked: BTreeMap<AttemptId, u64>,
    /// The newest version of each key that was reported as committed.
    pub told: BTreeMap<Key, TxnId>,
    /// The keys at which an entry of a committed transaction was removed.
    pub removed_keys: BTreeSet<Key>,
    /// The transactions of checked keys that only read and committed, with the times at which their
    /// clients got the acknowledgement.
    pub(crate) readers: BTreeMap<AttemptId, u64>,
    /// The entries of transactions without a record, with the times at which they landed.
    pub(crate) hints: BTreeMap<TxnId, BTreeMap<Key, u64>>,
    mark: Mark,
}

impl Audit {
    /// Lands a call: judges its effect, performs it, and remembers it.
    ///
    /// # Errors
    ///
    /// Returns the violation if the effect breaks a promise. The effect may or may not have been
    /// performed then, and the run must end.
    pub(crate) fn land(
        &mut self,
        store: &mut StoreModel,
        call: &Call,
        scene: Scene<'_>,
    ) -> Result<Answer, Violation> {
        self.mark.settle(scene);
        match call {
            Call::Get(_) | Call::Fetch { .. } | Call::List { .. } | Call::Scan { .. } => {
                Ok(store.apply(call, scene.store_ms))
            }
            Call::Put(name, body) => {
                self.judge_put(store, name, body, scene)?;
                let answer = store.apply(call, scene.store_ms);
                // A whole entry is a commit.
                if let (Name::Version(key, entry), Body::Record(record)) = (name, body) {
                    self.committed(store, record, true, scene);
                    self.entered(key, entry, scene.now_ms);
                    self.judge_serial(
                        record,
                        scene.attempt(record.txn.attempt).expect("judged above"),
                        scene,
                    )?;
                    self.judge_conditions(record.txn, scene)?;
                }
                Ok(answer)
            }
            Call::Commit(_) => self.land_commit(store, call, scene),
            Call::Create(name, body) => {
                // It has no effect on a name that is taken.
                if store.get(name).is_some() {
                    return Ok(store.apply(call, scene.store_ms));
                }
                self.judge_lock_or_decision(store, name, body, scene)?;
                let answer = store.apply(call, scene.store_ms);
                self.lock_or_decision_landed(store, (name, body), scene)?;
                Ok(answer)
            }
            Call::Replace(name, tag, body) => {
                if !store.holds(name, tag) {
                    return Ok(store.apply(call, scene.store_ms));
                }
                if matches!((name, body), (Name::Successor(..), _) | (_, Body::Record(_) | Body::Aborted(_)))
                {
                    self.judge_replaced_lock(store, name, body, scene)?;
                    let answer = store.apply(call, scene.store_ms);
                    self.lock_or_decision_landed(store, (name, body), scene)?;
                    return Ok(answer);
                }
                self.judge_replace(store, name, body, scene)?;
                Ok(store.apply(call, scene.store_ms))
            }
            Call::Delete(names) => {
                // One by one, as the removal of one name may depend on another's.
                for name in names {
                    self.judge_delete(store, name, false, scene)?;
                    store.apply(&Call::Delete(vec![name.clone()]), scene.store_ms);
                }
                Ok(Answer::Done)
            }
            Call::DeleteIf(name, tag) => {
                if store.holds(name, tag) && store.abilities.delete_if {
                    self.judge_delete(store, name, true, scene)?;
                }
                Ok(store.apply(call, scene.store_ms))
            }
        }
    }

    /// Lands a part of a commit, or a whole one on a store that commits at once.
    fn land_commit(
        &mut self,
        store: &mut StoreModel,
        call: &Call,
        scene: Scene<'_>,
    ) -> Result<Answer, Violation> {
        let Call::Commit(writes) = call else { unreachable!("only called for a commit") };
        let free = |record: &Arc<Record>| !store.commits.contains_key(&record.hash);
        let wins = writes.record.as_ref().is_some_and(free);
        if let Some(record) = writes.record.as_ref().filter(|_| wins) {
            self.judge_create(store, record, false, scene)?;
        }
        // The record first: if its entries land in the same call, they are those of a commit.
        if let Some(record) = writes.record.as_ref().filter(|_| wins) {
            self.committed(store, record, false, scene);
            self.judge_serial(record, scene.attempt(record.txn.attempt).expect("judged above"), scene)?;
            self.judge_conditions(record.txn, scene)?;
        }
        let lost = writes.record.is_some() && !wins && store.abilities.commit_at_once;
        for (key, entry) in writes.entries.iter().filter(|_| !lost) {
            self.judge_entry(store, key, entry, scene)?;
            self.entered(key, entry, scene.now_ms);
        }
        Ok(store.apply(call, scene.store_ms))
    }

    /// Remembers a commit.
    pub(crate) fn committed(
        &mut self,
        store: &StoreModel,
        record: &Arc<Record>,
        whole: bool,
        scene: Scene<'_>,
    ) {
        let id = record.txn.attempt;
        if self.commits.contains_key(&id) {
            return;
        }
        self.winners.entry(record.hash).or_default().push(id);
        // Entries that landed before the record count if they are still there.
        let mut entered = self.hints.remove(&record.txn).unwrap_or_default();
        entered.retain(|key, _| store.has_entry(key, record.txn));
        let asked_ms = self.asked.get(&id).copied().unwrap_or(scene.now_ms);
        let asked_ms = match &record.follows {
            // Its commit time was taken before its locks, and waits for some of these may have come
            // in between. The retention counts from the commit time.
            Some(_) => {
                let taken_ms = record.txn.time.ms() + scene.settings.skew_max_ms + scene.now_ms;
                asked_ms.min(taken_ms.saturating_sub(scene.store_ms))
            }
            None => asked_ms,
        };
        let commit = Commit {
            record: record.clone(),
            asked_ms,
            landed_ms: scene.now_ms,
            whole,
            life: scene.attempt(id).and_then(|attempt| attempt.node),
            told_ms: None,
            entered,
            removed: BTreeSet::new(),
            record_gone: false,
        };
        self.commits.insert(id, commit);
    }

    /// Remembers that an entry has landed.
    pub(crate) fn entered(&mut self, key: &Key, entry: &VersionEntry, now_ms: u64) {
        let id = entry.txn.attempt;
        let commit = self.commits.get_mut(&id).filter(|commit| commit.record.txn == entry.txn);
        let landed = match commit {
            Some(commit) => &mut commit.entered,
            None => self.hints.entry(entry.txn).or_default(),
        };
        landed.entry(key.clone()).or_insert(now_ms);
    }

    /// Notes that this commit is reported now, and judges that all its entries are in place.
    pub(crate) fn tell(&mut self, attempt: AttemptId, now_ms: u64) -> Verdict {
        let Some(commit) = self.commits.get_mut(&attempt) else { return Ok(()) };
        commit.told_ms.get_or_insert(now_ms);
        if !commit.is_entered() {
            return broken(
                "section 4: entries first: a commit is reported after every entry is durable",
                format!("{}: entries only at {:?}", commit.record.txn, commit.entered.keys()),
            );
        }
        let raise = |newest: &mut BTreeMap<Key, TxnId>, record: &Record| {
            for (key, _) in record.writes.iter() {
                let known = newest.entry(key.clone()).or_insert(record.txn);
                *known = record.txn.max(*known);
            }
        };
        let record = commit.record.clone();
        raise(&mut self.told, &record);
        Ok(())
    }

    /// Returns the committed write of `key` by an attempt.
    pub fn write(&self, attempt: AttemptId, key: &Key) -> Option<&Write> {
        self.commits.get(&attempt)?.record.write(key)
    }

    /// Returns the record of every committed tombstone of `key` that is not older than `least`.
    pub fn tombstones_since(&self, key: &Key, least: TxnId) -> impl Iterator<Item = &Record> {
        let records = self.commits.values().map(|commit| &*commit.record);
        records
            .filter(move |record| record.txn >= least && matches!(record.write(key), Some(Write::Tombstone)))
    }

    /// Returns the newest reported version of each key, with the bytes of its value if they are in
    /// its record.
    pub(crate) fn told_values(&self) -> BTreeMap<Key, (TxnId, Option<Bytes>)> {
        let of = |(key, txn): (&Key, &TxnId)| {
            let value = self.write(txn.attempt, key).and_then(Write::value);
            let bytes = value.and_then(|value| match &value.location {
                Location::Inline(bytes) => Some(bytes.clone()),
                Location::Blob(_) => None,
            });
            (key.clone(), (*txn, bytes))
        };
        self.told.iter().map(of).collect()
    }

    /// Returns true if a commit newer than `txn` has had an entry at `key`.
    pub(crate) fn is_superseded(&self, key: &Key, txn: TxnId) -> bool {
        self.commits.values().any(|other| other.record.txn > txn && other.entered.contains_key(key))
    }

    /// Returns true if the entry of `txn` at `key` was removed.
    pub(crate) fn was_removed(&self, key: &Key, txn: TxnId) -> bool {
        self.commits.get(&txn.attempt).is_some_and(|commit| commit.removed.contains(key))
    }

    /// Returns true if the mark was ever moved.
    pub(crate) fn has_moved(&self) -> bool {
        self.mark.has_moved()
    }

    /// Returns the settled mark; `TxnId::ZERO` if no mark has settled.
    pub fn settled_mark(&self) -> TxnId {
        self.mark.settled()
    }

    /// Returns the newest mark that a reader may count as settled.
    pub(crate) fn settled_for_readers(&self, scene: Scene<'_>) -> TxnId {
        self.mark.settled_for_readers(scene)
    }
}

/// Returns the parts of a blob.
pub(crate) fn blob_parts(blob: &BlobRef) -> Vec<(BlobGroup, u32, u32)> {
    (0..blob.parts).map(|part| (blob.group, blob.number, part)).collect()
}

/// Returns every blob that a record refers to.
pub(crate) fn blobs_of(record: &Record) -> Vec<BlobRef> {
    let of_writes = record.writes.iter().filter_map(|(_, write)| match write.value()?.location {
        Location::Blob(blob) => Some(blob),
        Location::Inline(_) => None,
    });
    of_writes.chain(record.large_result.map(|result| result.blob)).collect()
}
