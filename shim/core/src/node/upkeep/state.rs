//! The state of one sweep: its phase, what it has met, the deletions that wait for a batch, and its
//! end. The pump is in `sweep`.

use std::collections::BTreeSet;

use crate::bug::Bug;
use crate::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
use crate::message::Note;
use crate::record::{Kind, Record, VersionEntry};
use crate::store::{Answer, CallError};
use crate::sweep::HashRange;

use super::super::base::state::{Entered, State};
use super::basis::{Basis, Settling};
use super::flow::{Flow, Job, Removal};
use super::found_notes::FoundNotes;
use super::met::{self, Met};
use super::progress::{Commits, Groups, Keys};
use super::window::Window;

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
    notes: FoundNotes,
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
            notes: FoundNotes::new(history.salt),
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

    // For the pump.

    /// Returns the jobs that are waiting or in flight.
    pub(super) fn flow(&self) -> &Flow {
        &self.flow
    }

    pub(super) fn flow_mut(&mut self) -> &mut Flow {
        &mut self.flow
    }

    /// Returns true if the sweep is being stopped.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Returns true if a key has an unreadable entry.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Takes a batch of `len` deletions, if there are as many.
    pub(super) fn take_full_batch(&mut self, len: usize) -> Option<Job> {
        if self.removals.len() >= len {
            let rest = self.removals.split_off(len);
            return Some(Job::Remove(std::mem::replace(&mut self.removals, rest)));
        }
        if self.unnamed.len() >= len {
            let rest = self.unnamed.split_off(len);
            return Some(Job::RemoveUnnamed(std::mem::replace(&mut self.unnamed, rest)));
        }
        None
    }

    /// Takes deletions that did not fill a batch, if there are any.
    pub(super) fn take_rest(&mut self) -> Option<Job> {
        if !self.removals.is_empty() {
            return Some(Job::Remove(std::mem::take(&mut self.removals)));
        }
        if !self.unnamed.is_empty() {
            return Some(Job::RemoveUnnamed(std::mem::take(&mut self.unnamed)));
        }
        None
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

    pub(super) fn notes(&self) -> &FoundNotes {
        &self.notes
    }

    pub(super) fn notes_mut(&mut self) -> &mut FoundNotes {
        &mut self.notes
    }

    /// Takes the target of the notes.
    pub(super) fn take_target(&mut self, target: TxnId) {
        self.basis.as_mut().expect("set when the mark was read").take_target(target);
    }
}
