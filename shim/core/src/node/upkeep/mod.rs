//! Upkeep: what nobody waits for.

use crate::store::Answer;

use super::base::state::State;

/// The upkeep of a node.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Upkeep {
    is_on: bool,
}

impl Upkeep {
    /// Starts sweeping from time to time, or stops.
    pub(in crate::node) fn switch(&mut self, _state: &mut State, on: bool) {
        self.is_on = on;
    }

    /// The instant has come at which a sweep begins or goes on.
    pub(in crate::node) fn wake(&mut self, _state: &mut State) {}

    /// Returns true if the sweep under way waits for this call of its own.
    pub(in crate::node) fn waits_for(&self, _place: u64) -> bool {
        self.is_on
    }

    /// Takes the answer to a call of the sweep under way.
    pub(in crate::node) fn answered(&mut self, _state: &mut State, _place: u64, _answer: Answer) {}
}
