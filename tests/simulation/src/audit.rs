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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aft_core::ids::{AttemptId, Key, NodeId, RequestHash, SessionEntry, TxnId};
use aft_core::message::Refusal;
use aft_core::record::{BlobGroup, BlobRef, Format, Location, Record, Stub, VersionEntry, Write};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, Name};
use aft_sim::verdict::{Verdict, Violation, broken};
use bytes::Bytes;

use crate::attempt::{Attempt, Ended, Seen, attempt_number};
use crate::model::StoreModel;
use crate::script::Request;

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
    fn kept_until_ms(&self) -> u64 {
        self.asked_ms + self.record.retention_ms
    }

    /// Returns true if its retention has passed, so that its record may be removed. An exclusive
    /// store has no other clock than its process's: a jump of the wall clock counts as time that
    /// passed.
    fn is_kept_long_enough(&self, scene: Scene<'_>) -> bool {
        if scene.settings.exclusive {
            return scene.store_ms >= self.record.txn.time.ms() + self.record.retention_ms;
        }
        scene.now_ms + scene.settings.skew_max_ms + scene.slack_ms() >= self.kept_until_ms()
    }

    /// Returns true if `attempt` began too early to commit under the same name after this commit.
    fn excludes(&self, attempt: &Attempt, settings: &Settings) -> bool {
        if settings.exclusive {
            return !self.record_gone || attempt.begun_ms < self.landed_ms;
        }
        attempt.begun_ms + settings.skew_max_ms < self.kept_until_ms()
    }
}

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

/// The part of the world that the auditor needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// The true time.
    pub(crate) now_ms: u64,
    /// The store's time.
    pub(crate) store_ms: u64,
    /// The true time at which the store's clock was last set to another offset.
    pub(crate) stepped_ms: Option<u64>,
    /// The longest pause that no clock showed.
    pub(crate) unseen_ms: u64,
    pub(crate) settings: &'a Settings,
    pub(crate) requests: &'a [Request],
    pub(crate) attempts: &'a [Attempt],
}

impl<'a> Scene<'a> {
    /// Returns the attempt with this id, if there is one in this world.
    pub(crate) fn attempt(&self, id: AttemptId) -> Option<&'a Attempt> {
        self.attempts.get(attempt_number(id)).filter(|attempt| attempt.id == id)
    }

    /// Returns the error that ages may have, from clocks that drift and pauses that no clock shows.
    fn slack_ms(&self) -> u64 {
        2 + self.settings.timeout_max_ms / 1_000 + self.unseen_ms
    }

    /// Returns true if a node may take the attempt for over: no call of it can take effect any
    /// more.
    fn is_over(&self, attempt: &Attempt) -> bool {
        let request = &self.requests[attempt.request];
        // The earliest possible end: the auditor does not always know whether a begin that may wait
        // for another attempt did so.
        let over_ms = attempt.least_deadline_ms(request, self.settings) + self.settings.grace_ms;
        attempt.begun_ms > 0 && self.now_ms + self.slack_ms() >= over_ms
    }

    /// Returns true if the attempt with this id is over, or if there is none.
    pub(crate) fn is_attempt_over(&self, id: AttemptId) -> bool {
        self.attempt(id).is_none_or(|attempt| self.is_over(attempt))
    }

    /// Returns true if at `now_ms` every attempt that was open at `open_ms` is over, by the longest
    /// deadline. That may be earlier than an attempt's own end, which allows for a wait that it may
    /// not have needed.
    fn are_over_since(&self, open_ms: u64, now_ms: u64) -> bool {
        now_ms + self.slack_ms() >= open_ms + self.settings.over_after_ms()
    }

    /// Returns true if a call that the attempt's node sent before the deadline must have landed by
    /// now.
    fn is_late(&self, attempt: &Attempt) -> bool {
        let request = &self.requests[attempt.request];
        let over_ms = attempt.deadline_ms(request, self.settings) + self.settings.grace_ms;
        // A begin that waits looks its request up twice, and its timeout counts from the second
        // look-up: the first one takes time as well.
        let looked_ms = if request.waits() { self.settings.store_patience_ms } else { 0 };
        self.now_ms > over_ms + looked_ms + self.slack_ms()
    }
}

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
    /// The newest mark that has settled.
    pub settled: Option<TxnId>,
    /// The transactions of checked keys that only read and committed, with the times at which their
    /// clients got the acknowledgement.
    pub(crate) readers: BTreeMap<AttemptId, u64>,
    /// The entries of transactions without a record, with the times at which they landed.
    pub(crate) hints: BTreeMap<TxnId, BTreeMap<Key, u64>>,
    /// The moves of the mark that have not settled, oldest first.
    moves: Vec<Moved>,
}

impl Audit {
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

    /// Returns true if the mark was ever moved.
    pub(crate) fn has_moved(&self) -> bool {
        !self.moves.is_empty() || self.settled.is_some()
    }

    /// Returns the settled mark; `TxnId::ZERO` if no mark has settled.
    pub fn settled_mark(&self) -> TxnId {
        self.settled.unwrap_or(TxnId::ZERO)
    }

    /// Settles the moves of the mark that are old enough.
    fn settle(&mut self, scene: Scene<'_>) {
        while let Some(first) = self.moves.first()
            && first.has_settled(scene, 0)
        {
            self.settled = Some(self.moves.remove(0).mark);
        }
    }

    /// Returns the newest mark that a reader may count as settled: a reader goes by its upper bound
    /// of the store's time, which may be ahead by `skew_max`.
    pub(crate) fn settled_for_readers(&self, scene: Scene<'_>) -> TxnId {
        let settled = |moved: &&Moved| moved.has_settled(scene, scene.settings.skew_max_ms);
        let newest = self.moves.iter().take_while(settled).last();
        newest.map_or(self.settled_mark(), |moved| moved.mark)
    }

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
        self.settle(scene);
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

    /// Returns true if a commit newer than `txn` has had an entry at `key`.
    pub(crate) fn is_superseded(&self, key: &Key, txn: TxnId) -> bool {
        self.commits.values().any(|other| other.record.txn > txn && other.entered.contains_key(key))
    }

    /// Returns true if the entry of `txn` at `key` was removed.
    pub(crate) fn was_removed(&self, key: &Key, txn: TxnId) -> bool {
        self.commits.get(&txn.attempt).is_some_and(|commit| commit.removed.contains(key))
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

    /// Judges a put by the kind of its name.
    fn judge_put(&self, store: &StoreModel, name: &Name, body: &Body, scene: Scene<'_>) -> Verdict {
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
    fn judge_replace(&mut self, store: &StoreModel, name: &Name, body: &Body, scene: Scene<'_>) -> Verdict {
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

    /// Judges a replacement of the mark's object: it moves the mark, or notes when the mark was
    /// seen in its place, or both.
    fn judge_mark(&mut self, store: &StoreModel, held: &Format, new: &Format, scene: Scene<'_>) -> Verdict {
        let settings = scene.settings;
        let tolerance_ms = if scene.stepped_ms.is_some() { settings.skew_max_ms } else { 0 };
        if new.mark < held.mark || new.settled < held.settled || new.settled > new.mark {
            return broken("section 2: the mark only grows", format!("{held:?}, then {new:?}"));
        }
        if new.about != held.about {
            return broken("the store's description stays the same", format!("{held:?}, then {new:?}"));
        }
        if new.settled > self.settled_mark() {
            return broken(
                "section 9 (b): a mark settles when it has stayed in its place",
                format!("{new:?}, but {:?} has settled", self.settled),
            );
        }
        // A process that moves the mark alone does not go by times.
        let timed = !settings.moves_mark_alone();
        // The mark stays: the noted time is not before the move.
        if new.mark == held.mark {
            let moved = self.moves.iter().find(|moved| moved.mark == new.mark);
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
        self.judge_passed(store, held.mark, new.mark)?;
        let open = scene.attempts.iter().enumerate().filter(|(_, attempt)| attempt.opened);
        let open =
            if settings.exclusive { open.map(|(number, _)| number).collect() } else { BTreeSet::new() };
        self.moves.push(Moved { mark: new.mark, at_ms: scene.now_ms, store_ms: scene.store_ms, open });
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

    /// Judges the removal of one name, by the kind of its content.
    fn judge_delete(&mut self, store: &StoreModel, name: &Name, by_tag: bool, scene: Scene<'_>) -> Verdict {
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
    fn judge_record_goes(&mut self, store: &StoreModel, record: &Record, scene: Scene<'_>) -> Verdict {
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
