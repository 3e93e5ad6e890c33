//! One sweep: its phases, and the pump that keeps a bounded number of calls in flight (protocol,
//! section 8).
//!
//! ```text
//!   begin ─► versions ─► window ─► commits ─┬─► move ─► blobs ─► finish
//!               ▲                           │
//!               └── next range of hashes ───┘        stopped: carry out what is decided ─► saving
//! ```
//!
//! A sweep is not a script, because it may run for hours over millions of names within bounded
//! memory. A phase ends when none of its jobs is waiting or in flight, so everything on which a
//! later phase rests has been answered: records are read when the deletions of entries are done,
//! and the mark moves when every put and every deletion of dead entries is done.
//!
//! The mark moves before blobs are removed: this does not depend on blobs, and a job that has too
//! little time for both makes more progress.

use std::collections::BTreeSet;

use crate::bug::Bug;
use crate::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
use crate::message::Note;
use crate::record::{Kind, Record, VersionEntry};
use crate::store::{Answer, Body, Call, CallError, Found, Name, Scan};
use crate::sweep::HashRange;

use super::super::base::calls::{Limit, Owner};
use super::super::base::state::{Entered, State};
use super::super::serve::lock;
use super::blobs::{self, Groups};
use super::flow::{Flow, Job, Removal};
use super::mark::{self, Basis, Settling};
use super::met::{self, Met};
use super::records::{self, Commits};
use super::versions::{self, Keys};
use super::window::Window;
use super::{notes, verify};

/// The current phase of a sweep.
#[derive(Debug, Clone, Hash)]
pub(super) enum Phase {
    /// The mark, the notes and the notes on damage are read.
    Begin,
    /// Version entries are listed.
    Versions(Keys),
    /// All version entries were listed; attempts with missing entries are verified.
    Window(Keys),
    /// Commit records of a range of hashes are listed.
    Commits(Commits),
    /// The mark moves.
    Move,
    /// Attempts that have blobs are listed.
    Blobs(Groups),
    /// The notes of an earlier sweep are deleted.
    Finish,
    /// A sweep that was stopped puts notes.
    Saving,
}

/// The end of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct End {
    /// True if it covered the whole store.
    pub(super) whole: bool,
    /// The pause before the next sweep, in milliseconds; `None` for the usual interval.
    pub(super) retry_ms: Option<u64>,
}

impl End {
    /// Returns the end of a sweep that covered the whole store.
    pub(super) fn whole() -> End {
        End { whole: true, retry_ms: None }
    }

    /// Returns the end of a sweep that was stopped, and resumes as soon as it may.
    pub(super) fn stopped() -> End {
        End { whole: false, retry_ms: Some(0) }
    }

    /// Returns the end of a sweep that cannot continue because of the store.
    pub(super) fn broken() -> End {
        End { whole: false, retry_ms: None }
    }

    /// Returns the end of a sweep whose mark another sweeper has moved.
    pub(super) fn overtaken() -> End {
        End { whole: false, retry_ms: None }
    }

    /// Returns the end of a sweep that does not know the store's time.
    pub(super) fn not_yet(retry_ms: u64) -> End {
        End { whole: false, retry_ms: Some(retry_ms) }
    }
}

/// A running sweep.
#[derive(Debug, Clone, Hash)]
pub(super) struct Sweep {
    pub(super) phase: Phase,
    pub(super) window: Window,
    pub(super) met: Met,
    /// Hashes of records that cannot be read.
    pub(super) damaged: BTreeSet<RequestHash>,
    /// Keys that have an unreadable entry. Records that wrote them are kept, because the entry may
    /// be theirs.
    unread: BTreeSet<Key>,
    /// Hashes of records whose first read failed.
    doubted: BTreeSet<RequestHash>,
    /// Records that were listed, but not read, when the sweep was stopped.
    pub(super) unlooked: Vec<RequestHash>,
    /// The move of the mark, where the mark settles when everything that was open then has ended.
    pub(super) settling: Option<Settling>,
    flow: Flow,
    /// The basis; `None` until the mark was read.
    basis: Option<Basis>,
    /// Entries to be deleted in batches.
    removals: Vec<Removal>,
    /// Unnamed records to be deleted in batches, each with its size in bytes.
    unnamed: Vec<(RequestHash, u64)>,
    /// The notes of a sweep that stopped, to resume from or to delete.
    notes: notes::Found,
    is_stopping: bool,
    end: Option<End>,
    history: History,
}

/// The facts that a sweep gets from earlier sweeps of this process.
#[derive(Debug, Clone, Copy, Default, Hash)]
pub(super) struct History {
    /// The first unused place.
    pub(super) next_place: u64,
    /// The number of sweeps so far.
    pub(super) sweeps_begun: u64,
    /// The lower bound of the store's time, in milliseconds, at the begin of the last sweep that
    /// read every record without entries.
    pub(super) looked_at_all_ms: Option<u64>,
    /// The salt of the last sweep.
    pub(super) salt: Option<u64>,
}

impl Sweep {
    pub(super) fn new(state: &State, history: History) -> Sweep {
        let settings = &state.settings;
        let mut sweep = Sweep {
            phase: Phase::Begin,
            window: Window::new(settings.sweep_window_max),
            met: Met::new(0, HashRange::ALL, settings.sweep_hashes_max),
            damaged: BTreeSet::new(),
            unread: BTreeSet::new(),
            doubted: BTreeSet::new(),
            unlooked: Vec::new(),
            settling: None,
            flow: Flow::new(history.next_place, settings.sweep_calls_max),
            basis: None,
            removals: Vec::new(),
            unnamed: Vec::new(),
            notes: notes::Found::new(history.salt),
            is_stopping: false,
            end: None,
            history,
        };
        sweep.push(Job::Begin);
        sweep
    }

    // For the phases.

    /// Notes keys that have an unreadable entry.
    pub(super) fn note_unread(&mut self, keys: Vec<Key>) {
        self.unread.extend(keys);
    }

    /// Returns true if an entry of the key cannot be read.
    pub(super) fn is_unread(&self, key: &Key) -> bool {
        self.unread.contains(key)
    }

    /// Returns true if an unreadable entry may belong to the record. `None` stands for a record
    /// whose writes are not known.
    pub(super) fn may_have_unread(&self, record: Option<&Record>) -> bool {
        let wrote = |record: &Record| record.writes.iter().any(|(key, _)| self.unread.contains(key));
        !self.unread.is_empty() && record.is_none_or(wrote)
    }

    /// Returns true if a record that could not be read must be read a second time.
    pub(super) fn doubt(&mut self, hash: RequestHash) -> bool {
        self.doubted.insert(hash)
    }

    pub(super) fn push(&mut self, job: Job) {
        assert!(self.end.is_none(), "a sweep that has ended starts nothing");
        self.flow.push(job);
    }

    /// Deletes an entry, in a batch unless it must be deleted by tag.
    pub(super) fn remove(&mut self, removal: Removal) {
        assert!(
            removal.is_dead || removal.entry.txn <= self.basis().mark(),
            "only what is dead goes above the mark"
        );
        match removal.goes_by_tag() {
            true => self.push(Job::LookAtLock(removal)),
            false => self.removals.push(removal),
        }
    }

    /// Deletes a record whose name is never used again, in a batch.
    pub(super) fn remove_unnamed(&mut self, hash: RequestHash, entered: Entered) {
        assert!(!entered.named, "a name that may be used again goes by tag");
        assert!(entered.txn <= self.basis().mark(), "only a record that the mark has passed is removed");
        self.unnamed.push((hash, entered.bytes));
    }

    /// Notes an entry of a verified attempt.
    pub(super) fn meet_verified(&mut self, entry: &VersionEntry) {
        if entry.whole {
            return;
        }
        self.met.insert(entry.hash);
        if entry.meta.kind == Kind::Blob {
            self.met.insert_blobs(entry.hash, entry.txn.attempt);
        }
    }

    /// Lowers the target below a transaction, which is left to the next sweep with all above it.
    pub(super) fn fall_below(&mut self, txn: TxnId) {
        let basis = self.basis.as_mut().expect("set when the mark was read");
        basis.fall_below(txn);
        self.window.cut(basis.target());
    }

    /// Lowers the target to a place. Everything above is left to the next sweep.
    pub(super) fn lower_target(&mut self, below: TxnId) {
        let basis = self.basis.as_mut().expect("set when the mark was read");
        basis.lower_to(below);
        self.window.cut(basis.target());
    }

    /// Cancels the move of the mark. The rest of the sweep goes on.
    pub(super) fn hold(&mut self) {
        let basis = self.basis.as_mut().expect("set when the mark was read");
        basis.hold();
        self.window.cut(basis.target());
    }

    /// Leaves the newest attempts to the next sweep, if the window holds too many.
    pub(super) fn shrink_window(&mut self) {
        if let Some(below) = self.window.shrink() {
            self.lower_target(below);
        }
    }

    pub(super) fn basis(&self) -> &Basis {
        self.basis.as_ref().expect("set when the mark was read")
    }

    pub(super) fn set_basis(&mut self, state: &State, basis: Basis) {
        let salt = met::salt(state.id, self.history.sweeps_begun, basis.mark());
        self.met = Met::new(salt, HashRange::ALL, state.settings.sweep_hashes_max);
        self.basis = Some(basis);
    }

    /// Returns true if this is the first pass over the version entries. It verifies attempts; later
    /// passes only collect hashes.
    pub(super) fn is_first_pass(&self) -> bool {
        self.met.range().from == 0
    }

    /// Ends the sweep. Answers to calls in flight are dropped.
    pub(super) fn end(&mut self, end: End) {
        assert!(self.end.is_none(), "a sweep ends once");
        self.end = Some(end);
    }

    /// Reports the reason why the sweep cannot continue, unless it is a failed call.
    pub(super) fn note_failure(&mut self, state: &mut State, answer: &Answer) {
        match answer {
            Answer::Failed(CallError::Damaged(what)) => state.note(Note::Damaged(what.clone())),
            Answer::Failed(_) => {}
            other => state.note(Note::Damaged(format!("the store answered a sweep with {other:?}"))),
        }
    }

    // For the owner of sweeps.

    /// Returns the end of the sweep, if it has come.
    pub(super) fn ended(&self) -> Option<End> {
        self.end
    }

    pub(super) fn waits_for(&self, place: u64) -> bool {
        self.flow.waits_for(place)
    }

    /// Returns true if the sweep has read the mark.
    pub(super) fn has_begun(&self) -> bool {
        self.basis.is_some()
    }

    /// Returns true if it reads every record without entries, independently of its age.
    pub(super) fn looks_at_all(&self, state: &State) -> bool {
        let now_ms = self.basis().began_ms();
        self.history.looked_at_all_ms.is_none_or(|ms| now_ms >= ms + state.settings.look_at_all_ms)
    }

    /// Returns the history for the next sweep.
    pub(super) fn history(&self, state: &State) -> History {
        let is_whole = self.end.is_some_and(|end| end.whole);
        let all = is_whole && !self.notes.were_used() && self.looks_at_all(state);
        let looked_at_all_ms =
            if all { Some(self.basis().began_ms()) } else { self.history.looked_at_all_ms };
        History {
            next_place: self.flow.next_place(),
            sweeps_begun: self.history.sweeps_begun + 1,
            looked_at_all_ms,
            salt: Some(self.met.salt()).filter(|_| self.has_begun()).or(self.history.salt),
        }
    }

    /// Continues a sweep that was being stopped.
    pub(super) fn go_on(&mut self) {
        self.is_stopping = false;
        std::mem::take(&mut self.unlooked).into_iter().for_each(|hash| self.push(Job::Look(hash)));
    }

    /// Stops the sweep: decided work is carried out, and reads are dropped or put back.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.flow.drop_under_way(|job| matches!(job, Job::Page));
        // Attempts that wait for verification go back to the window, which the notes contain.
        for job in self.flow.take_waiting(|job| matches!(job, Job::Verify(_))) {
            let Job::Verify(attempt) = job else { unreachable!("taken above") };
            // An attempt above the target is left to the next sweep.
            if attempt.txn <= self.basis().target() {
                self.window.put_back(attempt);
            }
        }
        // Other attempts may have taken the room of those that were put back.
        self.shrink_window();
        match self.phase {
            // Nothing is decided yet.
            Phase::Begin => self.end(End::stopped()),
            Phase::Commits(_) => {
                for job in self.flow.take_waiting(|job| matches!(job, Job::Look(_))) {
                    let Job::Look(hash) = job else { unreachable!("taken above") };
                    self.unlooked.push(hash);
                }
            }
            // The next sweep finds the same blobs; but a mark that was moved must get its time.
            Phase::Blobs(_) => {
                let goes = |job: &Job| !matches!(job, Job::ConfirmMoved(..));
                self.flow.take_waiting(goes);
                self.flow.drop_under_way(goes);
            }
            Phase::Versions(_) | Phase::Window(_) | Phase::Move | Phase::Finish | Phase::Saving => {}
        }
    }

    /// Starts jobs as long as there is room, until everything waits for the store or the sweep has
    /// ended.
    pub(super) fn pump(&mut self, state: &mut State) {
        loop {
            if self.end.is_none() && self.is_overtaken(state) {
                self.end(End::overtaken());
            }
            if self.end.is_some() {
                return;
            }
            while self.flow.has_room()
                && let Some(job) = self.next_job(state)
            {
                self.start(state, job);
            }
            if !self.flow.is_idle() {
                return;
            }
            // Everything that was decided is answered: the next phase may rest on it.
            self.advance(state);
        }
    }

    /// Returns true if another sweeper has moved the mark. Then this sweep's puts must stop, and
    /// its move would fail.
    fn is_overtaken(&self, state: &State) -> bool {
        match self.phase {
            Phase::Versions(_) | Phase::Window(_) | Phase::Commits(_) => mark::has_moved(self.basis(), state),
            // Its own move may be what changed it.
            Phase::Move => !self.is_moving() && mark::has_moved(self.basis(), state),
            Phase::Begin | Phase::Blobs(_) | Phase::Finish | Phase::Saving => false,
        }
    }

    fn is_moving(&self) -> bool {
        self.flow.is_under_way(|job| matches!(job, Job::Move | Job::SeeMoved))
            || matches!(self.flow.front(), Some(Job::SeeMoved))
    }

    /// Returns the next job to start.
    fn next_job(&mut self, state: &State) -> Option<Job> {
        match self.flow.front() {
            Some(Job::Enter(_)) if mark::must_recheck(state) => {
                // The put waits until the mark is read again.
                let is_asked = self.flow.is_under_way(|job| matches!(job, Job::Recheck));
                (!is_asked).then_some(Job::Recheck)
            }
            Some(_) => self.flow.pop(),
            // Nothing is waiting: send full batches first, then produce new work.
            None if self.removals.len() >= state.settings.delete_batch_len => {
                let rest = self.removals.split_off(state.settings.delete_batch_len);
                Some(Job::Remove(std::mem::replace(&mut self.removals, rest)))
            }
            None if self.unnamed.len() >= state.settings.delete_batch_len => {
                let rest = self.unnamed.split_off(state.settings.delete_batch_len);
                Some(Job::RemoveUnnamed(std::mem::replace(&mut self.unnamed, rest)))
            }
            None if self.is_stopping => None,
            None => match &self.phase {
                Phase::Versions(keys) => self.page_if(!keys.is_done()),
                Phase::Window(_) => self.window.pop().map(Job::Verify),
                Phase::Commits(commits) => self.page_if(!commits.is_done()),
                Phase::Blobs(groups) => self.page_if(!groups.is_done()),
                Phase::Begin | Phase::Move | Phase::Finish | Phase::Saving => None,
            },
        }
    }

    /// Returns the job for the next page, unless one is in flight.
    fn page_if(&self, more: bool) -> Option<Job> {
        let is_asked = self.flow.is_under_way(|job| matches!(job, Job::Page));
        (more && !is_asked).then_some(Job::Page)
    }

    fn start(&mut self, state: &mut State, job: Job) {
        let (call, limit) = self.call_of(state, &job);
        let place = self.flow.start(job);
        state.call(Owner::Sweep(place), call, limit);
    }

    fn call_of(&self, state: &State, job: &Job) -> (Call, Option<Limit>) {
        let call = match job {
            Job::Begin | Job::Recheck | Job::SeeMoved => Call::Get(Name::Format),
            Job::Confirm(format, tag) | Job::ConfirmMoved(format, tag) => {
                mark::confirm_call(state, format, tag)
            }
            Job::Notes => Call::Get(Name::Notes),
            Job::Damaged(after) => {
                Call::Scan { scan: Scan::Damaged { after: *after }, limit: state.settings.scan_page_len }
            }
            Job::Page => match &self.phase {
                Phase::Versions(keys) => versions::page_call(keys, state),
                Phase::Commits(commits) => records::page_call(commits, state),
                Phase::Blobs(groups) => blobs::page_call(groups, state),
                Phase::Begin | Phase::Window(_) | Phase::Move | Phase::Finish | Phase::Saving => {
                    unreachable!("this phase lists nothing")
                }
            },
            Job::Verify(attempt) => Call::Get(Name::Commit(attempt.hash)),
            Job::Look(hash) => Call::Get(Name::Commit(*hash)),
            Job::LookForBlobs(group) => Call::Get(Name::Commit(group.hash)),
            Job::Enter(entering) => return (verify::enter_call(entering), mark::put_limit(state)),
            Job::Remove(removals) => verify::remove_call(removals),
            Job::LookAtLock(removal) => Call::Get(removal.entry.name(&removal.key)),
            Job::RemoveLock(removal, tag) => {
                lock::free_call(state, removal.entry.name(&removal.key), tag.clone())
            }
            Job::RemoveAborted(hash, tag) => Call::DeleteIf(Name::Commit(*hash), tag.clone()),
            Job::RemoveRecord(record, tag) => records::remove_call(state, record, tag),
            Job::RemoveUnnamed(records) => records::remove_unnamed_call(records),
            Job::NoteDamage(hash, what) => Call::Put(Name::Damaged(*hash), Body::Text(what.clone())),
            Job::Move => mark::move_call(self.basis(), state),
            Job::ListParts(group, after) => blobs::list_call(state, *group, after.clone()),
            Job::RemoveParts(names) => Call::Delete(names.clone()),
            Job::SaveNotes(notes) => Call::Put(Name::Notes, Body::Notes(notes.clone())),
            Job::RemoveNotes => Call::Delete(vec![Name::Notes]),
        };
        // Without a limit: calls are retried as long as the sweep lives, since what was decided
        // remains true.
        (call, None)
    }

    /// Takes the answer to a call of this sweep.
    pub(super) fn answered(&mut self, state: &mut State, place: u64, answer: Answer) {
        if self.end.is_some() {
            return;
        }
        let Some(job) = self.flow.finish(place) else { return };
        match job {
            Job::Begin => mark::begun(self, state, answer),
            Job::Confirm(..) => mark::confirmed(self, &answer),
            Job::Notes => self.notes.take(state, answer),
            Job::Damaged(_) => self.damaged_listed(state, answer),
            Job::Recheck => mark::rechecked(self, state, answer),
            Job::Page => self.page_answered(state, answer),
            Job::Verify(attempt) => verify::answered(self, state, attempt, answer),
            Job::Look(hash) => records::looked(self, state, hash, answer),
            Job::Enter(entering) => verify::entered(self, state, entering, answer),
            Job::Remove(removals) => verify::removed(self, state, removals, &answer),
            Job::LookAtLock(removal) => verify::lock_looked_at(self, removal, answer),
            Job::RemoveLock(removal, _) => verify::removed(self, state, vec![removal], &answer),
            // If it failed or the object was changed, a later sweep decides.
            Job::RemoveAborted(..) => {}
            Job::RemoveRecord(record, _) => records::removed(state, &[record.stored_bytes()], &answer),
            Job::RemoveUnnamed(records) => {
                let bytes: Vec<u64> = records.into_iter().map(|(_, bytes)| bytes).collect();
                records::removed(state, &bytes, &answer);
            }
            Job::NoteDamage(..) => verify::damage_noted(self, &answer),
            Job::Move => mark::moved(self, &answer),
            Job::SeeMoved => mark::seen_moved(self, state, answer),
            // If it failed, the mark stays unconfirmed, and the next sweep notes a time.
            Job::ConfirmMoved(..) => {}
            Job::LookForBlobs(group) => blobs::looked(self, group, answer),
            Job::ListParts(group, _) => blobs::listed(self, state, group, answer),
            Job::RemoveParts(names) => blobs::removed(state, names.len(), &answer),
            Job::SaveNotes(_) | Job::RemoveNotes => {}
        }
    }

    fn page_answered(&mut self, state: &mut State, answer: Answer) {
        match std::mem::replace(&mut self.phase, Phase::Begin) {
            Phase::Versions(keys) => versions::page_answered(self, state, keys, answer),
            Phase::Commits(commits) => records::page_answered(self, state, commits, answer),
            Phase::Blobs(groups) => blobs::page_answered(self, state, groups, answer),
            Phase::Begin | Phase::Window(_) | Phase::Move | Phase::Finish | Phase::Saving => {
                unreachable!("this phase lists nothing")
            }
        }
    }

    fn damaged_listed(&mut self, state: &mut State, answer: Answer) {
        let Answer::Scanned { found: Found::Damaged(hashes), damaged, more, .. } = answer else {
            self.note_failure(state, &answer);
            return self.end(End::broken());
        };
        damaged.into_iter().for_each(|what| state.note(Note::Damaged(what)));
        let last = hashes.last().copied();
        self.damaged.extend(hashes);
        if more {
            self.push(Job::Damaged(Some(last.expect("an empty page is the last"))));
        }
    }

    /// Advances to the next phase, when no job is waiting or in flight.
    fn advance(&mut self, state: &State) {
        assert!(self.flow.is_idle(), "a phase ends when everything is answered");
        // Deletions that did not fill a batch belong to the phase that has just ended.
        if !self.removals.is_empty() {
            let removals = std::mem::take(&mut self.removals);
            return self.push(Job::Remove(removals));
        }
        if !self.unnamed.is_empty() {
            let unnamed = std::mem::take(&mut self.unnamed);
            return self.push(Job::RemoveUnnamed(unnamed));
        }
        if self.is_stopping {
            return self.advance_to_the_stop(state.settings.record_bytes_max);
        }
        match &self.phase {
            Phase::Begin => notes::start(self, state),
            Phase::Versions(keys) => {
                assert!(keys.is_done(), "the next page would be asked for");
                self.phase = Phase::Window(keys.clone());
            }
            Phase::Window(_) => {
                assert!(self.window.is_empty(), "the next attempt would be verified");
                self.phase = Phase::Commits(Commits::new(self.met.range().from));
            }
            Phase::Commits(commits) => {
                assert!(commits.is_done(), "the next page would be asked for");
                self.phase = match self.met.next_range() {
                    true => Phase::Versions(Keys::default()),
                    false => Phase::Move,
                };
            }
            Phase::Move => self.advance_from_move(),
            Phase::Blobs(groups) => {
                assert!(groups.is_done(), "the next page would be asked for");
                self.phase = Phase::Finish;
                if self.notes.are_there() {
                    self.push(Job::RemoveNotes);
                }
            }
            Phase::Finish => self.end(End::whole()),
            // It was switched on again while the notes were in flight: the next sweep uses them.
            Phase::Saving => self.end(End::stopped()),
        }
    }

    fn advance_from_move(&mut self) {
        if self.basis().target() > self.basis().mark() {
            self.push(Job::Move);
        } else {
            self.phase = Phase::Blobs(Groups::default());
        }
    }

    fn advance_to_the_stop(&mut self, size_max: usize) {
        match &self.phase {
            // Notes do not contain the keys with unreadable entries, so the next sweep must list
            // everything again.
            Phase::Versions(_) | Phase::Window(_) | Phase::Commits(_) if !self.unread.is_empty() => {
                self.end(End::stopped());
            }
            Phase::Versions(_) | Phase::Window(_) | Phase::Commits(_) => match notes::of(self, size_max) {
                Some(notes) => {
                    self.phase = Phase::Saving;
                    self.push(Job::SaveNotes(notes));
                }
                None => self.end(End::stopped()),
            },
            // The work is done, and the move takes only a few short calls.
            Phase::Move => self.advance_from_move(),
            Phase::Finish => self.end(End::whole()),
            Phase::Begin | Phase::Blobs(_) | Phase::Saving => self.end(End::stopped()),
        }
    }

    /// Panics if an invariant of the sweep is broken.
    pub(super) fn check_invariants(&self, state: &State) {
        assert!(self.end.is_none(), "a sweep that has ended is gone");
        assert!(!self.flow.is_idle(), "a sweep under way waits for something");
        self.flow.check_invariants();
        self.met.check_invariants();
        let Some(basis) = &self.basis else {
            assert!(matches!(self.phase, Phase::Begin), "no phase starts before the mark was read");
            return;
        };
        basis.check_invariants();
        self.window.check_invariants(basis.mark(), self.verifies_up_to(state, basis));
        let batch = state.settings.delete_batch_len + state.settings.scan_page_len as usize;
        let dead = self.removals.iter().filter(|removal| !removal.is_dead).count();
        assert!(dead <= batch, "removals leave in batches");
        assert!(self.unnamed.len() <= batch, "and so do records");
        match &self.phase {
            Phase::Commits(_) | Phase::Move | Phase::Blobs(_) | Phase::Finish => {
                assert!(self.window.is_empty(), "attempts are verified before records are looked at");
            }
            Phase::Begin | Phase::Versions(_) | Phase::Window(_) | Phase::Saving => {}
        }
        assert!(
            self.unlooked.is_empty() || self.is_stopping,
            "listed records are left unread only when the sweep is stopped"
        );
    }

    /// Returns the place up to which attempts are verified. With the planted bug: all of them.
    fn verifies_up_to(&self, state: &State, basis: &Basis) -> TxnId {
        let greatest = TxnId { time: Hlc(u64::MAX), attempt: AttemptId([0xff; 16]) };
        if state.planted(Bug::RemoveUndecidedEarly) { greatest } else { basis.target() }
    }

    // For the notes.

    pub(super) fn notes_mut(&mut self) -> &mut notes::Found {
        &mut self.notes
    }

    /// Takes the target of the notes.
    pub(super) fn take_target(&mut self, target: TxnId) {
        self.basis.as_mut().expect("set when the mark was read").take_target(target);
    }
}
