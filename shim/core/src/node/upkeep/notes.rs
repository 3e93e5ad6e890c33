//! The notes of a sweep that stopped, and resuming from them (protocol, section 8, *Notes*).
//!
//! Notes are facts about listings made after the target was over, so they do not expire, and any
//! node may resume from them as long as the mark has not moved. They are written when everything
//! that was decided is answered. So at worst the next sweep verifies some attempts again.
//!
//! Where one process holds the store, a target rests on what that process knew of its own attempts,
//! so a process uses only its own notes.

use std::mem::size_of;
use std::sync::Arc;

use crate::message::Note;
use crate::store::{Answer, Body, CallError};
use crate::sweep::{self, Notes, Pending};

use super::super::base::state::State;
use super::met::Met;
use super::records::Commits;
use super::sweep::{Phase, Sweep};
use super::versions::Keys;

/// The notes that a sweep found at its begin.
#[derive(Debug, Clone, Hash)]
pub(super) struct Found {
    /// True if an object has their name.
    are_there: bool,
    usable: Option<Arc<Notes>>,
    /// The salt of the last sweep of this process.
    own_salt: Option<u64>,
    were_used: bool,
}

impl Found {
    pub(super) fn new(own_salt: Option<u64>) -> Found {
        Found { are_there: false, usable: None, own_salt, were_used: false }
    }

    /// Returns true if notes must be deleted when the sweep has covered the store.
    pub(super) fn are_there(&self) -> bool {
        self.are_there
    }

    /// Returns true if the sweep resumed from notes.
    pub(super) fn were_used(&self) -> bool {
        self.were_used
    }

    /// Takes the object with the notes' name. If it cannot be read, the sweep starts without notes.
    pub(super) fn take(&mut self, state: &mut State, answer: Answer) {
        match answer {
            Answer::Got(None) => {}
            Answer::Got(Some((Body::Notes(notes), _))) => {
                self.are_there = true;
                let alone = state.settings.moves_mark_alone();
                let counts = !alone || self.own_salt == Some(notes.salt);
                self.usable = Some(notes).filter(|_| counts);
            }
            Answer::Got(Some(_)) => self.are_there = true,
            Answer::Failed(CallError::Damaged(what)) => {
                self.are_there = true;
                state.note(Note::Damaged(what));
            }
            Answer::Failed(_) => {}
            other => unreachable!("a get is answered {other:?}"),
        }
    }
}

/// Starts the phases: from the notes, or from the beginning.
pub(super) fn start(sweep: &mut Sweep, state: &State) {
    let usable = sweep.notes_mut().usable.take();
    let Some(notes) = usable.filter(|notes| may_go_on(sweep, notes)) else {
        sweep.phase = Phase::Versions(Keys::default());
        return;
    };
    sweep.notes_mut().were_used = true;
    sweep.take_target(notes.target);
    sweep.met = Met::resumed(notes.salt, notes.hashes, &notes.met, state.settings.sweep_hashes_max);
    notes.window.iter().for_each(|attempt| sweep.window.put_back(attempt.clone()));
    sweep.shrink_window();
    sweep.phase = match &notes.phase {
        sweep::Phase::Versions { after, survivor } => {
            Phase::Versions(Keys::resumed(after.clone(), *survivor))
        }
        sweep::Phase::Commits { after } => Phase::Commits(Commits::resumed(*after)),
    };
}

/// Returns true if a sweep may resume from notes: the mark is the same, and their target was over
/// when they were written.
fn may_go_on(sweep: &Sweep, notes: &Notes) -> bool {
    let basis = sweep.basis();
    let (target, mark) = (basis.target(), basis.mark());
    let range = notes.hashes;
    let is_sound = range.from < range.to && range.to <= sweep::HashRange::END;
    // Either both sweeps may move the mark or neither: otherwise for one of them the mark has not
    // settled, or there is no place to move it to.
    let is_alike = (notes.target > mark) == (target > mark);
    let is_own = |attempt: &Pending| mark < attempt.txn && attempt.txn <= notes.target;
    let is_sound =
        is_sound && notes.window.iter().all(|attempt| is_own(attempt) && !attempt.entries.is_empty());
    notes.mark == mark && is_alike && notes.target <= target && is_sound
}

/// Returns the notes of a sweep that was stopped, if it has made progress and the notes fit into
/// `bytes_max` bytes.
pub(super) fn of(sweep: &Sweep, bytes_max: usize) -> Option<Arc<Notes>> {
    let phase = match &sweep.phase {
        Phase::Versions(keys) | Phase::Window(keys) => keys.noted(),
        Phase::Commits(commits) => commits.noted(sweep.unlooked.iter().copied()),
        Phase::Begin | Phase::Move | Phase::Blobs(_) | Phase::Finish | Phase::Saving => {
            unreachable!("this phase leaves no notes")
        }
    };
    if phase == (sweep::Phase::Versions { after: None, survivor: None }) && sweep.is_first_pass() {
        return None;
    }
    let basis = sweep.basis();
    let notes = Notes {
        mark: basis.mark(),
        target: basis.target(),
        salt: sweep.met.salt(),
        phase,
        window: sweep.window.pending(),
        hashes: sweep.met.range(),
        met: sweep.met.shorts(),
    };
    assert!(notes.mark <= notes.target, "a sweep verifies above the mark");
    assert!(notes.met.is_sorted(), "hashes are noted in order");
    (bytes_of(&notes) <= bytes_max).then(|| Arc::new(notes))
}

/// Returns the approximate size of stored notes, in bytes.
fn bytes_of(notes: &Notes) -> usize {
    let of_attempt = |attempt: &Pending| {
        let keys = attempt.entries.iter().map(|(key, _)| key.as_str().len());
        keys.map(|len| len + size_of::<crate::record::VersionEntry>()).sum::<usize>()
    };
    notes.met.len() * size_of::<u64>() + notes.window.iter().map(of_attempt).sum::<usize>()
}
