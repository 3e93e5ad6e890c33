//! Upkeep: background work for which nobody waits. Periodically a sweep goes through the store
//! (protocol, section 8).
//!
//! * [`sweep`] – one sweep: its phases and its pump; [`state`] – what it has met and decided;
//!   [`flow`] – its work; [`notes`] and [`found_notes`] – stopping and resuming it.
//! * [`basis`] – the marks on which it rests; [`mark`] – their choice, and the move of the mark.
//! * [`progress`] – how far it has listed.
//! * [`versions`], [`window`], [`verify`] – version entries, and the attempts that they belong to.
//! * [`records`], [`met`] – commit records, and the set of those that need no read.
//! * [`blobs`] – parts of large values.
//!
//! Any number of nodes may sweep at once; one node runs one sweep at a time. A member begins one at
//! every interval, but not before a moved mark can have settled: until then there is little to
//! remove and nothing to move. A guest sweeps on request.

mod basis;
mod blobs;
mod flow;
mod found_notes;
mod mark;
mod met;
mod notes;
mod progress;
mod records;
mod state;
mod sweep;
mod verify;
mod versions;
mod window;

use crate::message::Note;
use crate::store::Answer;

use super::base::state::State;
use super::base::timers::Timer;
use basis::Settling;
use state::{End, History, Sweep};

/// The upkeep of a node.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Upkeep {
    is_on: bool,
    sweep: Option<Box<Sweep>>,
    /// The monotonic instant of the next sweep, in milliseconds.
    due_mono: Option<u64>,
    /// The monotonic instant, in milliseconds, at which the last sweep that was not stopped ended.
    ended_mono: Option<u64>,
    history: History,
    /// The last move of the mark until it has settled, where this process moves it alone.
    settling: Option<Settling>,
}

impl Upkeep {
    /// Switches periodic sweeps on or off.
    pub(in crate::node) fn switch(&mut self, state: &mut State, on: bool) {
        self.is_on = on;
        match &mut self.sweep {
            Some(sweep) if on => sweep.go_on(),
            Some(sweep) => sweep.stop(),
            None if on => {
                // A guest is asked for one sweep, so it sweeps at once. A member that is switched
                // off and on again must not sweep more often than at its interval.
                let interval_ms = if state.settings.guest { 0 } else { state.settings.sweep_interval_ms };
                let wait_ms = self
                    .ended_mono
                    .map_or(0, |ended| (ended + interval_ms).saturating_sub(state.clock.mono_ms()));
                return self.set_due(state, wait_ms);
            }
            None => return self.cancel_due(state),
        }
        self.drive(state);
    }

    /// Begins a sweep if one is due.
    pub(in crate::node) fn wake(&mut self, state: &mut State) {
        let is_due = self.due_mono.is_some_and(|due| due <= state.clock.mono_ms());
        if !is_due || !self.is_on || self.sweep.is_some() {
            return;
        }
        self.due_mono = None;
        if self.settling.as_ref().is_some_and(|settling| settling.has_ended(state)) {
            self.settling = None;
            state.mark.settle();
        }
        self.sweep = Some(Box::new(Sweep::new(state, self.history)));
        self.drive(state);
    }

    /// Returns true if the running sweep waits for the call of its place `place`.
    pub(in crate::node) fn waits_for(&self, place: u64) -> bool {
        self.sweep.as_ref().is_some_and(|sweep| sweep.waits_for(place))
    }

    /// Takes the answer to a call of the running sweep. Answers to an earlier sweep are dropped.
    pub(in crate::node) fn answered(&mut self, state: &mut State, place: u64, answer: Answer) {
        let Some(sweep) = &mut self.sweep else { return };
        if sweep.waits_for(place) {
            sweep::answered(sweep, state, place, answer);
            self.drive(state);
        }
    }

    /// Panics if an invariant is broken.
    pub(in crate::node) fn check_invariants(&self, state: &State) {
        if let Some(sweep) = &self.sweep {
            assert!(self.due_mono.is_none(), "one sweep at a time");
            sweep.check_invariants(state);
        }
        assert!(self.is_on || self.due_mono.is_none(), "no sweep is due while sweeps are switched off");
        let alone = state.settings.moves_mark_alone();
        assert!(alone || self.settling.is_none(), "elsewhere a mark settles by time");
    }

    /// Runs the sweep until it waits or ends, and does what follows from its end.
    fn drive(&mut self, state: &mut State) {
        let Some(sweep) = &mut self.sweep else { return };
        sweep::pump(sweep, state);
        let Some(end) = sweep.ended() else { return };
        let sweep = self.sweep.take().expect("it was looked at above");
        self.history = sweep.history(state);
        self.settling = sweep.settling.clone().or(self.settling.take());
        // The move may have landed although this sweep did not see it: another verb may have read
        // it.
        if self.settling.is_none() && mark::is_unsettled_alone(state) {
            self.settling = Some(Settling::new(state));
        }
        if sweep.has_begun() {
            state.note(Note::Swept { whole: end.whole });
        }
        self.ended_mono = Some(state.clock.mono_ms()).filter(|_| end.retry_ms.is_none());
        if self.is_on {
            self.schedule(state, end);
        }
    }

    fn schedule(&mut self, state: &mut State, end: End) {
        match end.retry_ms {
            Some(retry_ms) => self.set_due(state, retry_ms),
            None if state.settings.guest => {}
            None => {
                let wait_ms = state.settings.sweep_interval_ms.max(mark::settles_in_ms(state));
                self.set_due(state, wait_ms);
            }
        }
    }

    fn set_due(&mut self, state: &mut State, wait_ms: u64) {
        self.cancel_due(state);
        let due = state.clock.mono_ms().saturating_add(wait_ms);
        self.due_mono = Some(due);
        state.timers.set(due, Timer::Sweep);
    }

    fn cancel_due(&mut self, state: &mut State) {
        if let Some(due) = self.due_mono.take() {
            state.timers.cancel(due, Timer::Sweep);
        }
    }
}
