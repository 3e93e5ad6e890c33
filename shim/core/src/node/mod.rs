//! The state machine.

use crate::ids::NodeId;
use crate::message::{Input, Now, Output};
use crate::settings::Settings;

/// A node of the shim.
#[derive(Debug, Clone, Hash)]
pub struct Node {
    id: NodeId,
    settings: Settings,
}

impl Node {
    /// A node with an empty index. `id` is fresh at every start of a process.
    ///
    /// # Panics
    /// If the settings break a relation that safety rests on ([`Settings::check`]).
    pub fn new(id: NodeId, settings: Settings) -> Node {
        if let Err(why) = settings.check() {
            panic!("{why}");
        }
        Node { id, settings }
    }

    /// The node's identity.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// One step: takes an event, changes the state, appends what must be done.
    pub fn step(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        let _ = (now, input, outputs, &self.settings);
    }

    /// When [`Input::Wake`] is wanted at the latest, by the monotonic clock in milliseconds.
    pub fn next_wake(&self) -> Option<u64> {
        None
    }

    /// Panics if an invariant of the state is broken. Costs time in proportion to the state; for tests.
    pub fn check_invariants(&self) {}

    /// How many transactions are open.
    pub fn open_transactions(&self) -> usize {
        0
    }
}
