//! The notes of a sweep that stopped, and resuming from them (protocol, section 8, *Notes*).
//!
//! Notes are facts about listings made after the target was over, so they do not expire, and any
//! node may resume from them as long as the mark has not moved. They are written when everything
//! that was decided is answered. So at worst the next sweep verifies some attempts again.
//!
//! A process that holds the store alone uses only its own notes, because the target rests on what
//! that process knew of its own attempts.

use std::mem::size_of;
use std::sync::Arc;

use crate::sweep::{self, Notes, Pending};

use super::super::base::state::State;
use super::met::Met;
use super::progress::{Commits, Keys};
use super::state::{Phase, Sweep};

/// Starts the phases: from the notes, or from the beginning.
pub(super) fn start(sweep: &mut Sweep, state: &State) {
    let usable = sweep.notes_mut().take_usable();
    let Some(notes) = usable.filter(|notes| may_go_on(sweep, notes)) else {
        sweep.phase = Phase::Versions(Keys::default());
        return;
    };
    sweep.notes_mut().note_use();
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
