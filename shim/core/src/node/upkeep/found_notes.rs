//! The notes of an earlier sweep, as a sweep finds them at its begin.

use std::sync::Arc;

use crate::message::Note;
use crate::store::{Answer, Body, CallError};
use crate::sweep::Notes;

use super::super::base::state::State;

/// The notes that a sweep found at its begin.
#[derive(Debug, Clone, Hash)]
pub(super) struct FoundNotes {
    /// True if an object has their name.
    are_there: bool,
    usable: Option<Arc<Notes>>,
    /// The salt of the last sweep of this process.
    own_salt: Option<u64>,
    were_used: bool,
}

impl FoundNotes {
    pub(super) fn new(own_salt: Option<u64>) -> FoundNotes {
        FoundNotes { are_there: false, usable: None, own_salt, were_used: false }
    }

    /// Returns true if notes must be deleted when the sweep has covered the store.
    pub(super) fn are_there(&self) -> bool {
        self.are_there
    }

    /// Takes the notes out, if the sweep may use them.
    pub(super) fn take_usable(&mut self) -> Option<Arc<Notes>> {
        self.usable.take()
    }

    /// Notes that the sweep resumes from them.
    pub(super) fn note_use(&mut self) {
        self.were_used = true;
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
